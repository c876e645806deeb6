# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""One backup of one stack, from the first look to the last word. Nothing is published unless every step succeeded."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import os
import platform
import shutil
import socket
import stat
import time
import typing as t

from . import _archives as archives
from . import _encryption as encryption
from . import _extraction as extraction
from . import _offsite as offsite
from ._archive_data import DataFile, check_sums
from ._backup_dump import DumpOptions, dump_database, dump_globals, instance_entry, list_databases
from ._backup_manifest import Hashed, hash_files, quote_name, still_good
from ._backup_options import BackupOptions
from ._backup_store import BackupStore, OpenSet, StoredSet
from ._backup_verify import SET_MOUNT, WORK_MOUNT, Decoded, decode, decode_into, decoded_checks, decoded_with, drill, raise_first, work_directory
from ._compose_config import project_env_file
from ._database_facts import Facts, check
from ._discovery import Stack
from ._engine import Engine
from ._envelope import CheckError, human_bytes, rfc3339
from ._log_sources import discover_sources
from ._offsite_retention import expire
from ._postgres import Instance
from ._postgres_tools import Tools, beside, compression_of
from ._process import run_side_by_side
from ._progress import Progress, bytes_under
from ._retention import Candidate, Plan, comparison, plan

if t.TYPE_CHECKING:
    from ._discovery import ContainerRef

_STEPS = ("databases", "files", "verification", "publishing", "off-site copy", "retention")
# What a dump comes to of the size that the database says, where no earlier set tells.
_FIRST_ESTIMATE = 0.4
_FREE_MARGIN = 1.2
_FREE_FLOOR_BYTES = 64 << 20


class BackupRun:
    """One run for one stack, with the lock held."""

    def __init__(self, engine: Engine, stack: Stack, instances: t.Sequence[Instance], store: BackupStore, options: BackupOptions) -> None:
        self.engine, self.stack, self.instances, self.store, self.options = engine, stack, instances, store, options
        self.progress = Progress(options.progress_file)
        self.warnings: list[str] = []
        self.checks: list[Facts] = []
        self.phases_seconds: dict[str, float] = {}
        self._phase: t.Optional[tuple[str, float]] = None
        self.servers: list[Facts] = []
        self.hashed: dict[str, Hashed] = {}
        self.previous = last_good(store)
        self.equivalent = self._equivalent_is_due()

    def run(self) -> Facts:
        """Make a set, publish it, and see to what comes after.

        :raises CheckError: there is no new set, or there is one and something else failed: the reason says which.
        """
        now = time.time()
        if self.options.encryption is not None:
            encryption.check_encryption(self.options.encryption)
        open_set = self.store.new_set(now)
        try:
            stored = self._make(open_set, now)
        except BaseException:
            open_set.discard()
            raise
        return self._after(stored)

    def _make(self, open_set: OpenSet, now: float) -> StoredSet:
        """Fill and publish the set. Whatever fails in here, there is no set."""
        with work_directory(self.store.tmp_path) as work:
            self._step("databases")
            databases = self._dump_and_decode(open_set, work)
            self._step("files")
            self._archive_files(open_set)
            level = "decodable"
            if self.equivalent and databases:
                self._step("verification")
                level = self._drill(open_set, databases)
            if self.options.plain_sql:
                self._write_plain(open_set, databases, work, now)
        manifest = self._manifest(open_set, now, databases, level)
        measured = {**manifest, "files": open_set.files(), "totals": {"rows": _rows(databases)}}
        previous = self.previous.manifest if self.previous else None
        manifest["compare"] = comparison(previous, measured, self.options.shrink_ratio, self.options.allow_shrink)
        self._step("publishing")
        if self.options.encryption is not None:
            self._encrypt(open_set, manifest)
        manifest["phases_seconds"] = self.phases_seconds
        manifest["finished_at"], manifest["duration_seconds"] = rfc3339(time.time()), round(time.time() - now, 3)
        stored = self.store.publish(open_set, manifest, still_good(open_set.path, self.hashed))
        if not stored.suspect:
            self.store.point_latest(stored)
        return stored

    def _step(self, name: str) -> None:
        now = time.monotonic()
        if self._phase is not None:
            self.phases_seconds[self._phase[0]] = round(now - self._phase[1], 3)
        self._phase = (name, now)
        self.progress.step(self.stack.name, name, _STEPS.index(name) + 1, len(_STEPS))

    # -- before --------------------------------------------------------------------------------------------------------

    def _have_room(self, database_bytes: int) -> None:
        """Refuse to begin what would fill the disk. :raises CheckError: code ``no-space``."""
        root = self.options.root
        needed = round(estimate_bytes(self.store, database_bytes) * _FREE_MARGIN) + _FREE_FLOOR_BYTES
        if free_bytes(root) < needed and self.options.prune:
            # Expired sets are what the space is for; a run that fails for want of it would otherwise fail for ever.
            delete_sets(self.store, retention(self.store, self.options, time.time()).delete)
        free = free_bytes(root)
        if free < needed:
            hint = f"Free {human_bytes(needed - free)} there (df -h {root}), keep sets for fewer days, or move root to a larger file system."
            raise CheckError(root, f"{human_bytes(free)} free, about {human_bytes(needed)} needed", hint, "no-space")

    def _equivalent_is_due(self) -> bool:
        if self.options.level in ("restorable", "equivalent"):
            return True
        if self.options.level != "auto" or self.options.equivalent_days <= 0:
            return False
        newest = max((one.created_at or 0.0 for one in self.store.sets() if one.belongs and one.level == "equivalent" and not one.problem), default=0.0)
        return time.time() - newest >= self.options.equivalent_days * 86400

    # -- databases -----------------------------------------------------------------------------------------------------

    def _dump_and_decode(self, open_set: OpenSet, work: str) -> list[Facts]:
        binds = [f"{open_set.path}:{SET_MOUNT}", f"{work}:{WORK_MOUNT}"]
        databases: list[Facts] = []
        with contextlib.ExitStack() as stack:
            servers = [(one, stack.enter_context(beside(self.engine, one, "backup", binds))) for one in self.instances]
            listed = [(str(one.service), tools, options, row) for one, tools in servers for options, row in self._look_at(open_set, one, tools)]
            if servers and not listed:
                raise CheckError(self.stack.name, "its servers have no database of an application", "Name them in databases if this is right.", "no-database")
            self._have_room(sum(row["size_bytes"] for dummy, dummy2, dummy3, row in listed))
            for service, tools, options, row in listed:
                expected = estimate_bytes(self.store, row["size_bytes"])
                facts, data = dump_database(tools, open_set.path, service, row["name"], options, self.equivalent, self.progress, expected)
                databases.append(self._decoded(open_set, tools, facts, data, work))
        return databases

    def _look_at(self, open_set: OpenSet, instance: Instance, tools: Tools) -> list[tuple[DumpOptions, Facts]]:
        """Note what a server is and keep its roles; return its databases, each with how to dump it."""
        options = self.options.dump
        # Each of them waits for the engine more than it works.
        work_to_do: dict[str, t.Callable[[], t.Any]] = {
            "databases": lambda: list_databases(tools, options.databases),
            "entry": lambda: instance_entry(self.engine, instance, tools, options),
            "globals": lambda: dump_globals(tools, open_set.path, str(instance.service), options),
        }
        outcomes = run_side_by_side(work_to_do, options.time_limit_seconds)
        raise_first(outcomes)
        entry: Facts = t.cast("Facts", outcomes["entry"].value)
        self.servers.append(entry)
        self.warnings += t.cast("list[str]", outcomes["globals"].value)
        compression = compression_of(tools.source, options.compression, entry["server_version_num"] // 10000)
        return [(dataclasses.replace(options, compression=compression), row) for row in t.cast("list[Facts]", outcomes["databases"].value)]

    def _decoded(self, open_set: OpenSet, tools: Tools, facts: Facts, data: t.Optional[dict[str, DataFile]], work: str) -> Facts:
        limit = self.options.dump.time_limit_seconds
        began = time.monotonic()
        directory = os.path.join(open_set.path, facts["path"])
        names = sorted(os.listdir(directory))
        if data is None:
            # In this order: what pg_restore reads is what the disk gave back.
            hashed = hash_files(directory, names)
            decoded = decode(tools, f"{SET_MOUNT}/{facts['path']}", work, limit)
        else:
            # The one waits for programs, the other for the disk.
            work_to_do: dict[str, t.Callable[[], t.Any]] = {
                "decode": lambda: decoded_with(tools, open_set.path, facts, work, data, limit),
                "hash": lambda: hash_files(directory, names),
            }
            outcomes = run_side_by_side(work_to_do, limit)
            raise_first(outcomes)
            decoded, hashed = t.cast(Decoded, outcomes["decode"].value), t.cast("dict[str, Hashed]", outcomes["hash"].value)
            # What was decoded while it was written came from the memory.
            sums = {name: one.sha256 for name, one in hashed.items()}
            check_sums(directory, data, sums, "the disk gives back something else than what was written", "Look at the disk: dmesg, smartctl.")
        self.hashed.update({f"{facts['path']}/{name}": one for name, one in hashed.items()})
        checks = decoded_checks(facts, decoded)
        for one in checks:
            one["name"] = f"{facts['service']}/{facts['name']}: {one['name']}"
            if not one["ok"]:
                raise CheckError(one["name"], one["detail"], "The dump does not hold what the database held: nothing was published.", "corrupt")
        self.checks += checks
        # Sequences know no snapshot: what the archive has is what counts.
        places = [
            {"schema": name[0], "name": name[1], "last_value": str(value), "is_called": called} for name, (value, called) in sorted(decoded.sequences.items())
        ]
        return {**facts, "sequences": places, "plain_bytes": decoded.bytes, "decode_seconds": round(time.monotonic() - began, 3)}

    def _drill(self, open_set: OpenSet, databases: list[Facts]) -> str:
        level = "restorable" if self.options.level == "restorable" else "equivalent"
        limits = (self.options.dump.parallel, self.options.dump.time_limit_seconds)
        checks = drill(self.engine, open_set.path, self.servers, databases, level == "equivalent", *limits)
        self.checks += checks
        failed = [one for one in checks if not one["ok"]]
        if failed:
            hint = "The set does not come back as what it was made of: nothing was published."
            raise CheckError(failed[0]["name"], failed[0]["detail"], hint, "not-equivalent")
        return level

    # -- files ---------------------------------------------------------------------------------------------------------

    def _archive_files(self, open_set: OpenSet) -> None:
        if self.options.config:
            entries = config_files(self.stack, self.options)
            if entries:
                self._archive(open_set, "config.tar.gz", entries, 6)
        if self.options.logs:
            entries = _log_entries(self.stack, self.engine, self.options)
            if entries:
                self._archive(open_set, "logs.tar.gz", entries, 1)
        with self._paused():
            for name, path in self._data():
                self._archive(open_set, f"volumes/{quote_name(name)}.tar.gz", [(path, quote_name(name))], 1)

    def _archive(self, open_set: OpenSet, name: str, entries: t.Sequence[tuple[str, str]], level: int) -> None:
        target = open_set.path_of(*name.split("/"))
        with self.progress.watching(lambda: bytes_under(target), None):
            made = archives.write_archive(target, entries, level=level)
        self.warnings += [f"{name}: {warning}" for warning in made.warnings]
        # In this order: what is read back is what the disk gave back.
        self.hashed.update(hash_files(open_set.path, [name]))
        members = extraction.check_archive(target)
        self.checks.append(check(name, [], f"{members} members read back"))

    def _data(self) -> t.Iterator[tuple[str, str]]:
        """Yield name and path of the named volumes and of other paths that are to be kept."""
        mounts = {str(mount["name"]): mount for container in self.stack.siblings for mount in container.mounts if mount["type"] == "volume" and mount["name"]}
        for wanted in self.options.volumes:
            mount = mounts.get(wanted) or mounts.get(f"{self.stack.name}_{wanted}")
            if mount is None:
                there = ", ".join(sorted(mounts)) or "none"
                raise CheckError(
                    f"volume {wanted}", f"no container of {self.stack.name} has it; there are {there}", "Correct the list of volumes.", "not-found"
                )
            yield wanted, str(mount["source"])
        for number, path in enumerate(self.options.paths):
            if not os.path.isdir(path):
                raise CheckError(path, "no such directory", "Correct the list of paths.", "not-found")
            yield f"path-{number}-{os.path.basename(path.rstrip('/')) or 'root'}", path

    @contextlib.contextmanager
    def _paused(self) -> t.Iterator[None]:
        """Freeze what may write to the volumes, databases aside, for the block; thawed whatever happens."""
        frozen: list[str] = []
        try:
            if self.options.pause and (self.options.volumes or self.options.paths):
                for container in self.stack.siblings:
                    if container.running and container.role != "postgres":
                        frozen.append(container.id)
                        self.engine.pause(container.id)
            yield
        finally:
            for container_id in frozen:
                with contextlib.suppress(CheckError):
                    self.engine.unpause(container_id)

    def _write_plain(self, open_set: OpenSet, databases: t.Sequence[Facts], work: str, now: float) -> None:
        """Write the guide's ``backup_<date>.sql.gz`` as well, out of the archive that was just verified."""
        stamp = time.strftime("%Y%m%d_%H%M%S", time.localtime(now))
        for one in databases:
            label = "" if len(databases) == 1 else f"_{one['path'].rsplit('/', 1)[-1]}"
            instance = next(item for item in self.instances if item.service == one["service"])
            binds = [f"{open_set.path}:{SET_MOUNT}:ro", f"{work}:{WORK_MOUNT}"]
            with beside(self.engine, instance, "plain", binds) as tools:
                write_plain_sql(
                    tools, f"{SET_MOUNT}/{one['path']}", work, open_set.path_of(f"backup_{stamp}{label}.sql.gz"), self.options.dump.time_limit_seconds
                )

    def _encrypt(self, open_set: OpenSet, manifest: Facts) -> None:
        how = t.cast(encryption.Encryption, self.options.encryption)
        for name in sorted(os.listdir(open_set.path)):
            path = os.path.join(open_set.path, name)
            if name == "databases":
                for one in manifest["databases"]:
                    one["path"] = os.path.relpath(encryption.encrypt_path(how, os.path.join(open_set.path, one["path"])), open_set.path)
            elif os.path.isdir(path):
                for inner in sorted(os.listdir(path)):
                    encryption.encrypt_path(how, os.path.join(path, inner))
            else:
                encryption.encrypt_path(how, path)
        manifest["encryption"] = {"method": how.method, "recipients": list(how.recipients)}

    # -- the manifest --------------------------------------------------------------------------------------------------

    def _manifest(self, open_set: OpenSet, now: float, databases: list[Facts], level: str) -> Facts:
        return {
            "schema_version": 1,
            "set_id": open_set.id,
            "created_at": rfc3339(now),
            "tool": {"collection": "stackops.runbook", "python": platform.python_version()},
            "host": {"hostname": socket.gethostname(), "machine_id_hash": _machine_id_hash()},
            "project": {
                "id": self.store.project_id, "name": self.stack.name, "flavour": self.stack.flavour, "working_dir": self.stack.working_dir,
                "config_files": list(self.stack.config_files),
            },
            "services": _services(self.stack),
            "instances": self.servers,
            "databases": databases,
            "verification": {"level": level, "at": rfc3339(time.time()), "checks": self.checks},
            "encryption": None,
            "warnings": self.warnings,
        }  # fmt: skip

    # -- after ---------------------------------------------------------------------------------------------------------

    def _after(self, stored: StoredSet) -> Facts:
        row = {**set_row(stored), "changed": True, "warnings": [*self.store.warnings, *self.warnings], "errors": []}
        problems: list[CheckError] = []
        if stored.suspect:
            reasons = "; ".join((stored.manifest or {})["compare"]["reasons"])
            hint = "Look at the application's data. If it is right, run again with allow_shrink: true; until then no set is deleted and latest stays."
            problems.append(CheckError(f"set {stored.id}", reasons, hint, "suspect"))
        elif self.options.offsite is not None:
            self._step("off-site copy")
            try:
                row["offsite"] = offsite.push(self.options.offsite, self.stack.name, stored.path, stored.id)
            except CheckError as error:
                problems.append(error)
        if self.options.pgbackrest_stanza:
            try:
                row["pgbackrest"] = self._pgbackrest(self.options.pgbackrest_stanza)
            except CheckError as error:
                problems.append(error)
        self._step("retention")
        self.store.note_clock(time.time(), accept_jump=self.options.force_retention)
        if self.options.prune and not problems:
            decided = retention(self.store, self.options, time.time())
            row["pruned"], row["retention"] = delete_sets(self.store, decided.delete), decided.frozen
            try:
                found = expire_offsite(self.store, self.options, time.time())
                row["warnings"] += found.pop("warnings", [])
                row.update(found)
            except CheckError as error:
                # The set and its copy are there: what has failed is only to make room.
                row["warnings"].append(f"expired copies off the host stay: {error.sentence}")
        self.store.note_clock(time.time(), accept_jump=self.options.force_retention)
        if problems:
            first = problems[0]
            raise CheckError(first.source, f"{first.reason} (the set {stored.id} is kept at {stored.path})", first.hint, first.code)
        row["status"] = "warning" if row["warnings"] else "ok"
        row["summary"] = f"{stored.id}: {row['rows']} rows, {human_bytes(stored.bytes)}, {stored.level}, {row['duration_seconds']:.1f} s, in {stored.path}"
        return row

    def _pgbackrest(self, stanza: str) -> str:
        """Have pgBackRest, where the server's container has it, make its own backup: for recovery to any moment."""
        instance = self.instances[0]
        container = t.cast("ContainerRef", instance.container)
        argv = ["pgbackrest", f"--stanza={stanza}", "backup"]
        done = self.engine.exec(container.id, argv, self.options.dump.time_limit_seconds, user="postgres")
        said = (done.text + done.error_text).strip().splitlines()
        if done.exit_code != 0:
            hint = f"Run it by hand: docker exec -u postgres {container.name} {' '.join(argv)}"
            raise CheckError(f"{instance.name}: pgbackrest", " / ".join(said[-3:]) or f"exit code {done.exit_code}", hint, "tool-failed")
        return said[-1] if said else "done"


def write_plain_sql(tools: Tools, archive: str, work: str, target: str, timeout_seconds: float) -> None:
    """Write a directory archive as compressed SQL, whole or not at all."""
    temporary = f"{target}.new"
    try:
        with gzip.open(temporary, "wb", compresslevel=6) as file:
            decode_into(tools, ["pg_restore"], archive, work, file.write, timeout_seconds)
        os.chmod(temporary, stat.S_IRUSR | stat.S_IWUSR)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _services(stack: Stack) -> list[Facts]:
    found = {one.service: one for one in stack.siblings if not one.oneoff}
    return [{"name": name, "image": one.image_reference, "image_id": one.image_id, "role": one.role} for name, one in sorted(found.items())]


def _machine_id_hash() -> t.Optional[str]:
    try:
        with open("/etc/machine-id", "rb") as file:
            return hashlib.sha256(b"stackops.runbook:" + file.read().strip()).hexdigest()[:16]
    except OSError:
        return None


def config_files(stack: Stack, options: BackupOptions) -> list[tuple[str, str]]:
    if not options.config or not stack.working_dir or not os.path.isdir(stack.working_dir):
        return []
    environment = [path for path in (project_env_file(stack), *stack.environment_files) if path]
    return archives.config_entries(stack.working_dir, stack.config_files, environment, options.config_paths)


def _log_entries(stack: Stack, engine: Engine, options: BackupOptions) -> list[tuple[str, str]]:
    paths = list(options.log_paths) or [source.path for source in discover_sources(stack, engine) if source.type == "file" and source.path]
    return [(path, path.lstrip("/")) for path in dict.fromkeys(paths)]


def _rows(databases: t.Iterable[Facts]) -> int:
    return sum(table["rows"] for one in databases for table in one["tables"])


def last_good(store: BackupStore) -> t.Optional[StoredSet]:
    for stored in store.sets():
        if stored.verified and not stored.suspect:
            return stored
    return None


def estimate_bytes(store: BackupStore, database_bytes: int) -> int:
    """Return how large a set will be, by the last one's proportion to its databases where there is one."""
    last = last_good(store)
    before = sum(one["size_bytes"] for one in (last.manifest or {}).get("databases", [])) if last else 0
    return round(database_bytes * (last.bytes / before if last and before else _FIRST_ESTIMATE))


def free_bytes(root: str) -> int:
    """Return what is free where *root* is or will be."""
    path = os.path.abspath(root)
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return shutil.disk_usage(path).free


def set_row(stored: StoredSet) -> Facts:
    """Return what there is to say of a set."""
    manifest = stored.manifest or {}
    return {
        "set_id": stored.id, "path": stored.path, "bytes": stored.bytes, "rows": (manifest.get("totals") or {}).get("rows"), "level": stored.level,
        "created_at": rfc3339(stored.created_at), "duration_seconds": manifest.get("duration_seconds"), "suspect": stored.suspect, "keep": stored.keep,
        "problem": stored.problem, "databases": [f"{one['service']}/{one['name']}" for one in manifest.get("databases", [])],
    }  # fmt: skip


def retention(store: BackupStore, options: BackupOptions, now: float) -> Plan:
    candidates = [Candidate.of(stored) for stored in store.sets()]
    return plan(candidates, options.policy, now, store.high_water, options.force_retention)


def expire_offsite(store: BackupStore, options: BackupOptions, now: float, dry: bool = False) -> Facts:
    """Remove the copies off the host that have expired, where that is wanted, and return what to add to a row."""
    if options.offsite is None or not options.offsite.retention:
        return {}
    expiry = expire(options.offsite, store, options.policy, now, force=options.force_retention, dry=dry)
    return {"offsite_pruned": list(expiry.removed), "offsite_retention": expiry.frozen, "warnings": list(expiry.warnings)}


def delete_sets(store: BackupStore, ids: t.Sequence[str]) -> list[str]:
    """Delete sets, in their order; return those that went."""
    there = {stored.id: stored for stored in store.sets()}
    gone = [name for name in ids if name in there]
    for name in gone:
        store.delete(there[name])
    return gone
