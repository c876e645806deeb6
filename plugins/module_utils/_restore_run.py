# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""One restore of one stack: built beside the live database, compared, swapped in, and taken back where the application does not get well.

Until the swap the application serves as before. The swap is one transaction; whatever happens before it leaves the old
database, whatever happens after it leaves the new one or brings the old one back. A record on the disk says what is under
way, so that a run that was killed is finished or undone by the next.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gzip
import os
import tempfile
import threading
import time
import typing as t

from ._backup_dump import list_databases, server_facts
from ._backup_manifest import counts, parse_time
from ._backup_store import BackupStore, StoredSet, check_intact
from ._backup_verify import (
    SET_MOUNT,
    WORK_MOUNT,
    compared,
    create_database,
    decode_stored,
    decoded_checks,
    entries_check,
    entries_in,
    listing_of,
    make_roles,
    raise_first,
    restore_archive,
    restored_properties,
)
from ._database_facts import Facts, alembic_revisions, check, properties
from ._discovery import ContainerRef, Stack
from ._engine import Engine
from ._envelope import CheckError
from ._http_probe import Endpoint, display_url, probe
from ._postgres import Instance
from ._postgres_session import literal
from ._postgres_tools import Tools, beside
from ._process import run_side_by_side
from ._progress import Progress
from ._restore_checks import check_plain, problems_before
from ._restore_files import put_files, put_logs, remove_stages, take_files_back
from ._restore_journal import Journal, journals
from ._restore_load import load_rows, loads_by_rows
from ._restore_logins import Doors, problems_now, warnings_later
from ._restore_swap import (
    Names,
    allow_connections,
    apply_properties,
    drop_ours,
    empty_database,
    exists,
    maintenance_database,
    oid_of,
    our_databases,
    set_comment,
    swap,
    swap_back,
    tag,
)
from ._restore_volumes import Volume, find_volumes, record_back, record_of, remove_kept, stage, swap_in
from ._restore_volumes import remove_stages as remove_stages_of_volumes
from ._restore_volumes import swap_back as swap_back_volumes

STEPS = ("checks", "restore beside the live database", "verification", "swap", "health")
_PIPE = "sql"
_STOP_SECONDS = 600.0
_SETTLE_SECONDS = 2.0
_POLL_SECONDS = 0.25
_ANALYZE_SECONDS = 3600.0
_LOADING_BYTES = 1 << 30


@dataclasses.dataclass(frozen=True)
class RestoreOptions:
    """What a restore goes by; the options of ``pg_restore`` are described there."""

    stop_services: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    config: bool = False
    logs: bool = False
    volumes: tuple[str, ...] = ()
    create_missing_roles: bool = False
    allow_slots: bool = False
    target_database: t.Optional[str] = None
    swap_timeout_seconds: float = 30.0
    health_timeout_seconds: float = 120.0
    jobs: int = 0
    time_limit_seconds: float = 14400.0
    # An empty host: what was made for this restore and not started yet is started at its end.
    start_created: bool = False

    @property
    def parallel(self) -> int:
        """The number of jobs."""
        return self.jobs or min(4, os.cpu_count() or 1)


@dataclasses.dataclass(frozen=True)
class Source:
    """What is restored: the *databases* of a set whose readable files are at *path*, or one *plain* file of SQL.

    With *fill* it is a database that begins empty: *fill* is called with the server's programs, its name beside the live one, and the live name.
    """

    label: str
    path: str
    databases: tuple[Facts, ...]
    manifest: t.Optional[Facts] = None
    stored: t.Optional[StoredSet] = None
    plain: t.Optional[str] = None
    fill: t.Optional[t.Callable[[Tools, str, str], None]] = None

    @property
    def is_described(self) -> bool:
        """Whether it says of each database what that is to be like; else the live one is the model."""
        return self.plain is None and self.fill is None


@dataclasses.dataclass(frozen=True)
class Target:
    """One database that is restored: its facts, its server and the names it has on the way."""

    facts: Facts
    instance: Instance
    names: Names

    @property
    def label(self) -> str:
        """Service and name."""
        return f"{self.instance.service}/{self.names.live}"


class Restore:
    """One restore, with the lock of the project held."""

    def __init__(self, engine: Engine, stack: Stack, instances: t.Sequence[Instance], store: BackupStore, options: RestoreOptions, progress: Progress) -> None:
        self.engine, self.stack, self.instances, self.store, self.options, self.progress = engine, stack, instances, store, options, progress
        self.checks: list[Facts] = []
        self.downtime_seconds = 0.0
        self.kept: list[str] = []
        self.warnings: list[str] = []
        # The containers that use a volume which is restored.
        self.holders: set[str] = set()

    # -- restore -------------------------------------------------------------------------------------------------------

    def run(self, source: Source, keep_old_hours: t.Optional[float] = None) -> Journal:
        """Restore *source* and return the record, which is ``done``; first drop what is older than *keep_old_hours*, if given: see :meth:`tidy`.

        :raises CheckError: the old databases are live, as before; the reason says what failed and what is live.
        """
        self._step(0)
        journal = Journal.begin(self.store.restore_path, kind="restore", source=source.label)
        targets = [self._target(facts, journal.id) for facts in source.databases]
        journal.data["targets"] = [_recorded(target) for target in targets]
        with contextlib.ExitStack() as stack:
            work = stack.enter_context(tempfile.TemporaryDirectory(prefix="work-", dir=self.store.tmp_path))
            tools = self._tools(stack, targets, [f"{source.path}:{SET_MOUNT}:ro", f"{work}:{WORK_MOUNT}"])
            if keep_old_hours is not None:
                self.tidy(keep_old_hours, tools=tools)
            self._check(source, targets, tools, work)
            volumes = self._find_volumes(source)
            try:
                journal.save("preparing", volumes=[record_of(one, journal.id) for one in volumes])
                for volume, record in zip(volumes, journal.data["volumes"]):
                    self.checks.append(check(f"volume {volume.name}", [], f"{stage(volume, record)} files"))
                for target in targets:
                    self._build(target, source, tools[str(target.instance.service)], journal, work)
                self._swap_in(journal, targets, tools, source)
            except BaseException as error:
                raise self._undone(journal, error) from error
            self._compare_revisions(targets, tools)
            self._warn_of_configuration(journal, targets, tools)
        return journal

    def _warn_of_configuration(self, journal: Journal, targets: t.Sequence[Target], tools: t.Mapping[str, Tools]) -> None:
        if journal.data.get("files"):
            self.warnings += warnings_later(self.engine, self.stack, *_servers(targets, tools), journal.data["files"])

    def _compare_revisions(self, targets: t.Sequence[Target], tools: t.Mapping[str, Tools]) -> None:
        """Say where the application has migrated what was restored, which going back to it later has to know."""
        for target in targets:
            with tools[str(target.instance.service)].session(target.names.live) as session:
                found = alembic_revisions(session)
            expected = target.facts.get("alembic_revisions", found)
            if found != expected:
                self.warnings.append(f"{target.label}: the application has migrated it from {', '.join(expected) or 'nothing'} to {', '.join(found)}")

    def _find_volumes(self, source: Source) -> list[Volume]:
        if not self.options.volumes:
            return []
        if not source.is_described or self.options.target_database is not None:
            reason = "volumes are restored from a set, with the databases that they belong to"
            raise CheckError(source.label, reason, "Leave volumes out, or plain files and target_database.", "unsupported")
        found = find_volumes(self.engine, self.stack, source.path, self.options.volumes)
        self.holders = {container for one in found for container in one.containers}
        return found

    def _tools(self, stack: contextlib.ExitStack, targets: t.Sequence[Target], binds: t.Sequence[str] = ()) -> dict[str, Tools]:
        """Return the programs beside each server of *targets*, by service, for as long as *stack* is open."""
        instances = {str(target.instance.service): target.instance for target in targets}
        return {service: stack.enter_context(beside(self.engine, instance, "restore", binds)) for service, instance in instances.items()}

    def _step(self, number: int) -> None:
        self.progress.step(self.stack.name, STEPS[number], number + 1, len(STEPS))

    def _target(self, facts: Facts, restore_id: str) -> Target:
        instance = next((one for one in self.instances if one.service == facts["service"]), None) or (self.instances[0] if len(self.instances) == 1 else None)
        if instance is None:
            there = ", ".join(str(one.service) for one in self.instances) or "none"
            raise CheckError(facts["service"], f"there is no such PostgreSQL service; there are: {there}", "Start it, or name the service.", "not-found")
        return Target(facts, instance, Names.of(self.options.target_database or facts["name"], restore_id))

    def _check(self, source: Source, targets: t.Sequence[Target], tools: t.Mapping[str, Tools], work: str) -> None:
        """Look at the source and at the servers side by side: one keeps the machine busy, the other waits for answers."""
        outcomes = run_side_by_side(
            {
                "servers": lambda: self._check_servers(source, targets, tools),
                "source": lambda: self._check_source(source, targets, tools, work),
            },
            self.options.time_limit_seconds,
        )
        # First what the server says: the tools of an older one cannot even read the archive, and would not say why.
        raise_first({"servers": outcomes["servers"]})
        raise_first(outcomes)

    def _check_source(self, source: Source, targets: t.Sequence[Target], tools: t.Mapping[str, Tools], work: str) -> None:
        if source.plain is not None:
            self.checks.append(check("file", [], f"{check_plain(source.plain)} bytes of SQL, to the end"))
        if not source.is_described:
            return
        hint = "Choose another set: restore_list shows them."
        limit = self.options.time_limit_seconds

        def intact() -> None:
            if source.stored is not None and source.manifest is not None:
                problems = check_intact(source.stored.path, source.manifest)
                self.checks.append(check("intact", problems, f"{len(source.manifest['files'])} files as they were written"))
                if problems:
                    raise CheckError(f"set {source.label}", "; ".join(problems[:5]), hint, "corrupt")

        def decoded() -> list[Facts]:
            return [{**one, "name": f"{target.label}: archive: {one['name']}"} for target in targets for one in self._decoded(source, target, tools, work)]

        # Both read every byte: the second finds it in memory. That a file was altered says more than that it does not decode.
        work_to_do: dict[str, t.Callable[[], t.Any]] = {"intact": intact, "decoded": decoded}
        outcomes = run_side_by_side(work_to_do, limit)
        raise_first({"intact": outcomes["intact"]})
        raise_first(outcomes)
        for found in t.cast("list[Facts]", outcomes["decoded"].value):
            self._keep(found, hint)

    def _decoded(self, source: Source, target: Target, tools: t.Mapping[str, Tools], work: str) -> list[Facts]:
        """Compare what is in an archive with what was dumped: all of it, or all but the rows, where their loading decodes, sums and counts them.

        That comes before the swap as well. And these are bytes that were decoded when the set was made: their sums are the same.
        """
        one, limit = tools[str(target.instance.service)], self.options.time_limit_seconds
        before = source.manifest is not None and counts(source.manifest["verification"]["level"])
        if not (before and loads_by_rows(one, source.path, target.facts, self.options.parallel)):
            return decoded_checks(target.facts, decode_stored(one, source.path, target.facts, work, limit))
        archive = f"{SET_MOUNT}/{target.facts['path']}"
        one.check(["pg_restore", "--schema-only", "--file=/dev/null", archive], limit)
        return [entries_check(target.facts, entries_in(listing_of(one, archive, limit)))]

    def _keep(self, found: Facts, hint: str) -> None:
        self.checks.append(found)
        if not found["ok"]:
            raise CheckError(found["name"], found["detail"], hint, "not-equivalent")

    def _check_servers(self, source: Source, targets: t.Sequence[Target], tools: t.Mapping[str, Tools]) -> None:
        problems: list[str] = []
        for service, one in tools.items():
            ours = [target for target in targets if str(target.instance.service) == service]
            origin = next((entry for entry in (source.manifest or {}).get("instances", []) if entry["service"] == ours[0].facts["service"]), None)
            live = [target.names.live for target in ours]
            found = problems_before(
                one,
                ours[0].instance,
                server_facts(one),
                origin,
                [target.facts for target in ours],
                live,
                self.options.allow_slots,
                self.options.create_missing_roles,
            )
            problems += [f"{service}: {problem}" for problem in found]
        problems += problems_now(self.engine, self.stack, *_servers(targets, tools))
        if problems:
            raise CheckError(self.stack.name, "; ".join(problems), "Nothing was changed.", "preflight")

    # -- beside the live database --------------------------------------------------------------------------------------

    def _build(self, target: Target, source: Source, tools: Tools, journal: Journal, work: str) -> None:
        self._step(1)
        restored = target.names.restored
        facts = target.facts
        if not source.is_described:
            facts = {**self._properties_of_live(tools, target), **facts}
        made = make_roles(tools, facts.get("roles", [])) if self.options.create_missing_roles else []
        self.warnings += [f"role {name} was created without a login" for name in made]
        create_database(tools, restored, facts, facts["owner"])
        maintenance = maintenance_database([target.names.live])
        with tools.session(maintenance) as session:
            set_comment(session, restored, tag(journal.id, "restore"))
            own = int(session.value("SELECT pg_catalog.pg_size_bytes(pg_catalog.current_setting('maintenance_work_mem'))"))
        memory = t.cast("ContainerRef", target.instance.container).memory_limit_bytes or int(self.engine.info().get("MemTotal") or 0)
        loading = dataclasses.replace(tools, settings=loading_settings(own, memory, self.options.parallel))
        if source.fill is not None:
            source.fill(tools, restored, target.names.live)
        elif source.plain is not None:
            self._run_plain(tools, source.plain, restored, work)
        else:
            with self.progress.watching(lambda: _size(tools, maintenance, restored), facts.get("size_bytes")):
                self._load(target, source, loading, work)
        with tools.session(maintenance) as session:
            apply_properties(tools, session, restored, facts)
        self._step(2)
        analyze = ["vacuumdb", "--analyze-only", "--quiet", f"--jobs={self.options.parallel}", f"--dbname={restored}"]
        # Neither keeps all processors busy.
        outcomes = run_side_by_side(
            {
                "analyze": lambda: tools.check(analyze, _ANALYZE_SECONDS, restored) and None,
                "compare": lambda: compared(tools, restored, facts) if source.is_described else [],
            },
            self.options.time_limit_seconds,
        )
        raise_first(outcomes)
        hint = "Choose another set: restore_list shows them."
        for found in t.cast("list[Facts]", outcomes["compare"].value):
            self._keep({**found, "name": f"{target.label}: {found['name']}"}, hint)
        wanted = {**facts, "comment": None}
        found = restored_properties(tools, restored, wanted, without=("comment",) if source.is_described else ("comment", "tablespace"))
        self._keep({**found, "name": f"{target.label}: {found['name']}"}, hint)

    def _load(self, target: Target, source: Source, tools: Tools, work: str) -> None:
        restored, limit = target.names.restored, self.options.time_limit_seconds
        if loads_by_rows(tools, source.path, target.facts, self.options.parallel):
            at = f"{target.facts['path']}/"
            sums = {one["path"][len(at) :]: one["sha256"] for one in (source.manifest or {}).get("files", []) if one["path"].startswith(at)}
            found = load_rows(tools, source.path, target.facts, sums, restored, work, self.options.parallel, limit)
            self._keep({**found, "name": f"{target.label}: archive: {found['name']}"}, "Choose another set: restore_list shows them.")
        else:
            restore_archive(tools, f"{SET_MOUNT}/{target.facts['path']}", restored, self.options.parallel, limit)

    def _properties_of_live(self, tools: Tools, target: Target) -> Facts:
        """A plain dump says nothing of the database itself: the live one, or that of the login, is the model."""
        with tools.session(maintenance_database([target.names.live])) as session:
            model = target.names.live if exists(session, target.names.live) else str(tools.credentials.database or "template1")
            return properties(session, model)

    def _run_plain(self, tools: Tools, plain: str, database: str, work: str) -> None:
        """Have psql read the decompressed file; the first error ends it, and nothing of it stays."""
        pipe = os.path.join(work, _PIPE)
        os.mkfifo(pipe, 0o600)
        ended = threading.Event()

        def restore() -> None:
            try:
                argv = ["psql", "--no-psqlrc", "--quiet", "--no-password", "--single-transaction", "--set=ON_ERROR_STOP=1", f"--file={WORK_MOUNT}/{_PIPE}"]
                tools.check([*argv, "--output=/dev/null"], self.options.time_limit_seconds, database)
            finally:
                ended.set()

        try:
            outcomes = run_side_by_side({"restore": restore, "read": lambda: _feed(plain, pipe, ended)}, self.options.time_limit_seconds)
            raise_first(outcomes)
        finally:
            os.unlink(pipe)

    # -- the swap ------------------------------------------------------------------------------------------------------

    def _swap_in(self, journal: Journal, targets: t.Sequence[Target], tools: t.Mapping[str, Tools], source: t.Optional[Source]) -> None:
        self._step(3)
        writers = self._writers(targets, tools)
        journal.save("stopping", stopped=[one.id for one in writers])
        began = time.monotonic()
        self._stop([one.id for one in writers])
        volumes: list[Facts] = journal.data.get("volumes") or []
        files_pending = bool(volumes) or (source is not None and (self.options.config or self.options.logs))
        journal.save("swapping", files_pending=files_pending, targets=[_with_oid(one, tools) for one in journal.data["targets"]])
        comments: dict[str, t.Optional[str]] = {}
        for service, one in tools.items():
            ours = [target for target in targets if str(target.instance.service) == service]
            with one.session(maintenance_database(target.names.live for target in ours)) as session:
                pairs = []
                for target in ours:
                    comment = None
                    if exists(session, target.names.live):
                        comment = properties(session, target.names.live)["comment"]
                        self.kept.append(target.names.old)
                        empty_database(session, target.names.live, self.options.swap_timeout_seconds)
                    allow_connections(session, target.names.restored, True)
                    comments[target.label] = comment
                    new_comment = target.facts.get("comment", comment)
                    pairs.append((target.names, tag(journal.id, "old", comment), new_comment))
                swap(session, pairs, self.options.swap_timeout_seconds)
        journal.save("starting")
        if source is not None:
            self._put_files(journal, source)
        swap_in(volumes)
        journal.save("starting", files_pending=False)
        self._step(4)
        self._start(journal.data["stopped"])
        self._wait_until_well(journal.data["stopped"])
        self.downtime_seconds = round(time.monotonic() - began, 3)
        journal.save("done", downtime_seconds=self.downtime_seconds)
        if source is not None:
            remove_stages_of_volumes(volumes, journal.id)

    def _writers(self, targets: t.Sequence[Target], tools: t.Mapping[str, Tools]) -> list[ContainerRef]:
        """Return the running containers to stop: those that were named, else applications and whoever is connected to what is swapped."""
        states = ("running", "created") if self.options.start_created else ("running",)
        running = [one for one in self.stack.siblings if one.state in states and one.role != "postgres"]
        if self.options.start_created:
            return running
        if self.options.stop_services:
            unknown = sorted(set(self.options.stop_services) - {one.service for one in self.stack.siblings})
            if unknown:
                raise CheckError(self.stack.name, f"no service {', '.join(unknown)} to stop", "Correct stop_services.", "not-found")
            return [one for one in running if one.service in self.options.stop_services or one.id in self.holders]
        addresses: set[str] = set()
        for target in targets:
            with tools[str(target.instance.service)].session(maintenance_database([target.names.live])) as session:
                rows = session.rows("SELECT DISTINCT pg_catalog.host(client_addr) AS address, datname AS database FROM pg_catalog.pg_stat_activity")
                addresses |= {row["address"] for row in rows if row["address"] and row["database"] == target.names.live}
        own = self.options.target_database is None

        def writes(container: ContainerRef) -> bool:
            connected = any(network["ip_address"] in addresses for network in container.networks.values())
            return connected or container.id in self.holders or (own and container.role == "application")

        return [one for one in running if writes(one)]

    def _stop(self, ids: t.Sequence[str]) -> None:
        if ids:
            raise_first(run_side_by_side({one: functools.partial(self.engine.stop, one) for one in ids}, _STOP_SECONDS))

    def _start(self, ids: t.Sequence[str]) -> None:
        for one in ids:
            self.engine.start(one)

    def _wait_until_well(self, ids: t.Sequence[str]) -> None:
        """Wait until every container runs and, where it has a health check, is healthy, and every endpoint answers.

        :raises CheckError: code ``unhealthy``.
        """
        deadline = time.monotonic() + self.options.health_timeout_seconds
        problem = ""
        since = time.monotonic()
        while True:
            problem = next((said for said in map(self._unwell, ids) if said), "") or self._unanswered()
            if problem:
                since = time.monotonic()
            elif time.monotonic() - since >= (_SETTLE_SECONDS if ids else 0):
                return
            if time.monotonic() > deadline:
                limit = f"{self.options.health_timeout_seconds:g} s"
                raise CheckError(self.stack.name, f"not well within {limit}: {problem or 'it does not stay up'}", "", "unhealthy")
            time.sleep(_POLL_SECONDS)

    def _unwell(self, container_id: str) -> str:
        container = ContainerRef(self.engine.inspect(container_id))
        if not container.running:
            return f"{container.service} is {container.state}, exit code {container.exit_code}"
        health = ((container.inspect.get("State") or {}).get("Health") or {}).get("Status")
        return "" if health in (None, "healthy", "none", "") else f"{container.service} is {health}"

    def _unanswered(self) -> str:
        for url in self.options.endpoints:
            row = probe(Endpoint.from_options({"url": url}))
            if row["failure"] not in (None, "slow"):
                return f"{display_url(url)}: {row['message'] or row['failure']}"
        return ""

    def _put_files(self, journal: Journal, source: Source) -> None:
        config, logs = (os.path.join(source.path, name) for name in ("config.tar.gz", "logs.tar.gz"))
        where = self.stack.working_dir
        if self.options.config and os.path.exists(config) and where:
            put_files(config, where, journal.id, lambda renames: journal.save("starting", files=renames))
        if self.options.logs and os.path.exists(logs) and where:
            put_logs(logs, os.path.join(where, f"restored-logs-{journal.id}"), journal.id)

    # -- undoing -------------------------------------------------------------------------------------------------------

    def _undone(self, journal: Journal, error: BaseException) -> CheckError:
        """Bring the old state back and return the error that says what failed and what is live now."""
        failed = error if isinstance(error, CheckError) else CheckError(self.stack.name, f"{type(error).__name__}: {error}", "", "internal")
        try:
            self.settle(journal, finish=False)
        except CheckError as second:
            if journal.finished:
                reason = f"{failed.reason}; the old database is live again, but: {second.reason}"
                return CheckError(failed.source, reason, "See why: ansible-playbook stackops.runbook.diagnose", failed.code)
            reason = f"{failed.reason}; and taking it back failed: {second.source}: {second.reason}"
            return CheckError(failed.source, reason, f"Run the restore again: it will finish or undo restore {journal.id}.", "interrupted")
        state = "the old database is live again" if journal.data.get("stopped") is not None else "the live database was not touched"
        return CheckError(failed.source, f"{failed.reason} ({state})", failed.hint, failed.code)

    def settle(self, journal: Journal, finish: bool) -> bool:
        """Bring an interrupted restore to an end: finish it where it was swapped in and *finish* is true, else undo it.

        Return whether it was finished. It looks at what is, not only at what was written down.
        """
        targets = [self._recorded_target(one) for one in journal.data.get("targets", [])]
        keep_restored = journal.data["kind"] == "rollback"
        stopped = [one for one in journal.data.get("stopped") or [] if self._is_there(one)]
        with contextlib.ExitStack() as stack:
            tools = self._tools(stack, targets)
            swapped = {target.label: self._is_swapped(journal, target, tools) for target in targets}
            if self.stack.working_dir:
                remove_stages(self.stack.working_dir, journal.id)
            # Files that were put only in part are in no set: then there is nothing to finish.
            finish = finish and not journal.data.get("files_pending")
            if targets and all(swapped.values()) and finish and journal.state in ("swapping", "starting"):
                return self._finish(journal, targets, tools, stopped)
            if journal.state != "preparing":
                journal.save("rolling-back")
            # To the end: a stop that was interrupted goes on by itself, and would end what is started below.
            self._stop(stopped)
            take_files_back(journal.data.get("files") or [])
            swap_back_volumes(journal.data.get("volumes") or [])
            if not keep_restored:
                remove_stages_of_volumes(journal.data.get("volumes") or [], journal.id)
            for target in targets:
                one = tools[str(target.instance.service)]
                with one.session(maintenance_database([target.names.live])) as session:
                    if swapped[target.label]:
                        empty_database(session, target.names.live, self.options.swap_timeout_seconds)
                        purpose = "old" if keep_restored else "restore"
                        swap_back(session, [(target.names, tag(journal.id, purpose, target.facts.get("comment")))], self.options.swap_timeout_seconds)
                    if exists(session, target.names.live):
                        allow_connections(session, target.names.live, True)
                    if not keep_restored:
                        drop_ours(session, target.names.restored, just_made=True)
        self._start(stopped)
        journal.save("rolled-back")
        self._wait_until_well(stopped)
        return False

    def _finish(self, journal: Journal, targets: t.Sequence[Target], tools: t.Mapping[str, Tools], stopped: t.Sequence[str]) -> bool:
        for target in targets:
            with tools[str(target.instance.service)].session(maintenance_database([target.names.live])) as session:
                allow_connections(session, target.names.live, True)
        self._start(stopped)
        try:
            self._wait_until_well(stopped)
        except CheckError:
            return self.settle(journal, finish=False)
        journal.save("done")
        self._warn_of_configuration(journal, targets, tools)
        return True

    def _is_swapped(self, journal: Journal, target: Target, tools: t.Mapping[str, Tools]) -> bool:
        """Tell whether the restored database has the live one's name. By its number: one that has no other name may be dropped already."""
        if journal.state in ("preparing", "stopping"):
            return False
        recorded = next(one for one in journal.data["targets"] if one["service"] == target.instance.service and one["live"] == target.names.live)
        with tools[str(target.instance.service)].session(maintenance_database([target.names.live])) as session:
            return recorded["oid"] is not None and oid_of(session, target.names.live) == recorded["oid"]

    def _recorded_target(self, recorded: Facts) -> Target:
        instance = next((one for one in self.instances if one.service == recorded["service"]), None)
        if instance is None:
            raise CheckError(recorded["service"], "the service of an interrupted restore is not there", "Start it, then run the restore again.", "not-found")
        names = Names(recorded["live"], recorded["restored"], recorded["old"])
        return Target({"service": recorded["service"], "name": recorded["live"], "comment": recorded.get("comment")}, instance, names)

    def _is_there(self, container_id: str) -> bool:
        try:
            self.engine.inspect(container_id)
        except CheckError as error:
            if error.code == "not-found":
                return False
            raise
        return True

    # -- rollback and tidying ------------------------------------------------------------------------------------------

    def roll_back(self, done: Journal) -> Journal:
        """Bring back the databases that *done* put aside; what is live now is kept in their place."""
        journal = Journal.begin(self.store.restore_path, kind="rollback", source=f"before restore {done.id}")
        journal.data["volumes"] = [record_back(one, journal.id) for one in done.data.get("volumes") or []]
        self.holders = self._holders_of(journal.data["volumes"])
        targets = []
        for recorded in done.data["targets"]:
            before = self._recorded_target(recorded)
            names = Names(before.names.live, before.names.old, Names.of(before.names.live, journal.id).old)
            targets.append(Target(before.facts, before.instance, names))
        with contextlib.ExitStack() as stack:
            tools = self._tools(stack, targets)
            for number, target in enumerate(targets):
                with tools[str(target.instance.service)].session(maintenance_database([target.names.live])) as session:
                    kept = next((row for row in our_databases(session) if row["name"] == target.names.restored), None)
                if kept is None:
                    reason = f"{target.names.restored} is not there any more"
                    raise CheckError(target.label, reason, "It was removed after keep_old_hours. Restore a set instead: restore_list shows them.", "not-found")
                targets[number] = dataclasses.replace(target, facts={**target.facts, "comment": kept["comment"]})
            journal.data["targets"] = [_recorded(target) for target in targets]
            try:
                journal.save("preparing")
                self._swap_in(journal, targets, tools, None)
            except BaseException as error:
                raise self._undone(journal, error) from error
        return journal

    def _holders_of(self, volumes: t.Sequence[Facts]) -> set[str]:
        paths = {one["path"] for one in volumes}
        return {one.id for one in self.stack.siblings for mount in one.mounts if mount["source"] in paths}

    def tidy(self, keep_old_hours: float, busy: t.Container[str] = (), tools: t.Optional[t.Mapping[str, Tools]] = None) -> list[str]:
        """Drop what restores left: databases and contents of volumes put aside longer than *keep_old_hours* ago, and unfinished ones; return their names.

        *tools* are those by service that are there already.
        """
        gone = []
        for journal in journals(self.store.restore_path):
            if not journal.finished:
                continue
            remove_stages_of_volumes(journal.data.get("volumes") or [], journal.id)
            if _age_hours(journal.data.get("updated_at")) >= keep_old_hours:
                gone += [f"the old content of {name}" for name in remove_kept(journal.data.get("volumes") or [], journal.id)]
        for instance in self.instances:
            with contextlib.ExitStack() as stack:
                one = (tools or {}).get(str(instance.service)) or stack.enter_context(beside(self.engine, instance, "restore"))
                session = stack.enter_context(one.session(maintenance_database(())))
                for row in our_databases(session):
                    expired = row["purpose"] != "old" or _age_hours(row["at"]) >= keep_old_hours
                    if expired and row["restore_id"] not in busy and drop_ours(session, row["name"]):
                        gone.append(row["name"])
        return gone


def _servers(targets: t.Sequence[Target], tools: t.Mapping[str, Tools]) -> tuple[dict[str, list[str]], Doors]:
    """Return the databases that are replaced, and how an administrator gets in, by service."""
    live: dict[str, list[str]] = {}
    doors = {}
    for target in targets:
        service = str(target.instance.service)
        live.setdefault(service, []).append(target.names.live)
        doors[service] = (t.cast("ContainerRef", target.instance.container).name, tools[service].credentials.user)
    return live, doors


def _with_oid(recorded: Facts, tools: t.Mapping[str, Tools]) -> Facts:
    """Return what is recorded of a target with the number that its restored database keeps through every rename."""
    with tools[str(recorded["service"])].session(maintenance_database([recorded["live"]])) as session:
        return {**recorded, "oid": oid_of(session, recorded["restored"])}


def loading_settings(own_bytes: int, memory_bytes: int, jobs: int) -> tuple[tuple[str, str], ...]:
    """Return what makes loading faster and does no harm to a database that nobody uses yet.

    *own_bytes* is what the server itself lets an index take, *memory_bytes* what it may use at all.
    """
    # An eighth of the memory for all indexes and foreign keys that are made at a time: the server goes on serving.
    kilobytes = max(own_bytes, min(_LOADING_BYTES, memory_bytes // 8 // jobs)) >> 10
    # What is committed is on the disk with the commit of the swap at the latest: the log is written in order.
    # And what a foreign key or an index reads once is not worth a compilation.
    return (("maintenance_work_mem", f"{kilobytes}kB"), ("synchronous_commit", "off"), ("jit", "off"))


def _recorded(target: Target) -> Facts:
    names = target.names
    return {"service": target.instance.service, "live": names.live, "restored": names.restored, "old": names.old, "comment": target.facts.get("comment")}


def _age_hours(at: t.Optional[str]) -> float:
    then = parse_time(at)
    return 0.0 if then is None else (time.time() - then) / 3600


def _size(tools: Tools, maintenance: str, database: str) -> int:
    try:
        with tools.session(maintenance) as session:
            return int(session.value(f"SELECT pg_catalog.pg_database_size(oid) FROM pg_catalog.pg_database WHERE datname = {literal(database)}") or 0)
    except CheckError:
        return 0


def _feed(plain: str, pipe: str, ended: threading.Event) -> None:
    """Write the decompressed file to the pipe. The reader may fail before it opens it: nobody must wait for it then."""
    while True:
        try:
            descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError:
            if ended.wait(0.05):
                return
    os.set_blocking(descriptor, True)
    with gzip.open(plain, "rb") as source, os.fdopen(descriptor, "wb") as target, contextlib.suppress(BrokenPipeError):
        while True:
            block = source.read(1 << 20)
            if not block:
                return
            target.write(block)


def plain_source(path: str, service: str, database: str) -> Source:
    """Return one of the guide's ``backup_*.sql.gz`` files as a source for *database*."""
    return Source(os.path.basename(path), os.path.dirname(os.path.abspath(path)), ({"service": service, "name": database},), plain=os.path.abspath(path))


def only_database(engine: Engine, instance: Instance) -> str:
    """Return the name of the only database of an application on a server.

    :raises CheckError: there are several, or none.
    """
    with beside(engine, instance, "restore") as tools:
        names: list[str] = [one["name"] for one in list_databases(tools)] or [str(tools.credentials.database)]
    if len(names) != 1:
        raise CheckError(instance.name, f"it has several databases: {', '.join(names)}", "Name the one in database.", "ambiguous")
    return names[0]
