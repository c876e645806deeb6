# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Backup sets on disk: made aside, published by one rename, found again, verified, deleted.

What is true after a crash at any step: a set under ``sets`` is whole, ``latest`` leads to a verified set or is absent, and what lies
in ``tmp`` or ``trash`` is nobody's and goes with the next :meth:`BackupStore.sweep`. The sets themselves are the truth; ``index.json``
only remembers what they cannot say (which ones there ought to be, the highest clock), and is made anew from them where it is damaged.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import shutil
import stat
import time
import typing as t
import uuid

from ._backup_index import BackupIndex, believed, enter, entry_of
from ._backup_manifest import (
    COUNTED_LEVEL,
    ID_PATTERN,
    KEEP,
    LEVELS,
    MANIFEST,
    OWN_FILES,
    SCHEMA_VERSION,
    SUMS,
    Json,
    OnBytes,
    StoredSet,
    basic_time,
    check_intact,
    check_schema,
    counts,
    file_entry,
    keep_reason,
    parse_set_id,
    parse_time,
    pretty,
    quote_name,
    read_manifest,
    seal_directories,
    seal_files,
    set_id,
    signed,
    sums_text,
    walk,
)
from ._envelope import CheckError, rfc3339
from ._files import sync_directory, write_whole
from ._guarded_files import (
    TEMPORARY_PREFIX,
    lock_file,
    names,
    read_json_object,
    refuse_unsafe,
    refuse_unsafe_above,
    set_aside,
    told,
    unlock_file,
)

__all__ = ["COUNTED_LEVEL", "LEVELS", "BackupStore", "OpenSet", "StoredSet", "check_intact", "parse_set_id", "quote_name", "read_manifest", "set_id"]

_LEFTOVER = rf"{ID_PATTERN}\.[0-9a-f]+"
# Pipes, sets that were decrypted, sets that were fetched: made with tempfile while the lock is held.
_SCRATCH = r"(work|plain|offsite)-[a-z0-9_]{8}"
_EVIDENCE = rf"{ID_PATTERN}\.[0-9]{{8}}T[0-9]{{6}}Z(-[0-9]+)?\.json"


@dataclasses.dataclass(frozen=True)
class OpenSet:
    """A set in the making, in a directory of its own under ``tmp``."""

    id: str
    path: str
    created_at: float

    def path_of(self, *parts: str) -> str:
        """Return the path of something in the set; the directories above it are made."""
        if not parts or parts[0] in OWN_FILES or any(part in ("", ".", "..") or "/" in part or "\0" in part for part in parts):
            raise ValueError(f"not a name within a set: {parts!r}")
        directory = self.path
        with told(directory):
            for part in parts[:-1]:
                directory = os.path.join(directory, part)
                with contextlib.suppress(FileExistsError):
                    os.mkdir(directory, 0o700)
                if not stat.S_ISDIR(os.lstat(directory).st_mode):
                    raise CheckError(directory, "is not a directory", "", "store")
        return os.path.join(directory, parts[-1])

    def files(self) -> list[Json]:
        """Return path, bytes, kind and whether encrypted of every file so far; publishing adds the hashes."""
        with told(self.path):
            return [file_entry(path, size) for path, size in sorted(walk(self.path)[0].items()) if path not in OWN_FILES]

    def discard(self) -> None:
        """Remove it; what cannot be removed goes with the next sweep."""
        shutil.rmtree(self.path, ignore_errors=True)


class BackupStore:
    """The sets of one project, under a root that may hold those of others as well."""

    def __init__(self, root: str, project: str) -> None:
        if names_unsafe(project):
            raise CheckError(project, "cannot be the name of a directory of backups", "Use letters, digits, '_', '.' and '-'.", "bad-project-name")
        self.root = os.path.abspath(root)
        self.project = project
        self.path = os.path.join(self.root, project)
        self.sets_path, self.tmp_path, self.trash_path, self.verify_path, self.restore_path = (
            os.path.join(self.path, name) for name in ("sets", "tmp", "trash", "verify", "restore")
        )
        self.latest_path, self.index_path, self.identity_path, self.lock_path = (
            os.path.join(self.path, name) for name in ("latest", "index.json", "project.json", ".lock")
        )
        #: What was put right on the way, for the operator.
        self.warnings: list[str] = []
        self._index = BackupIndex(self.index_path, self.sets, self.warnings)
        self._id = ""
        self._holds_lock = False

    # Directories and identity

    def prepare(self) -> None:
        """Make the directories and the project's identity where they are missing; refuse those that others could tamper with."""
        with told(self.root):
            os.makedirs(os.path.dirname(self.root), mode=0o755, exist_ok=True)
            refuse_unsafe_above(self.root)
            for path in (self.root, self.path, self.sets_path, self.tmp_path, self.trash_path, self.verify_path, self.restore_path):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(path, 0o700)
                    sync_directory(os.path.dirname(path))
                refuse_unsafe(path)
            if len({os.lstat(path).st_dev for path in (self.sets_path, self.tmp_path, self.trash_path)}) > 1:
                raise CheckError(self.path, "sets, tmp and trash are not on one file system", f"Mount {self.path} as a whole.", "unsafe-root")
            known, damage = self._read_identity()
            if not known:
                # A new identity would make every old set a stranger's: theirs is taken on where they agree on one.
                found = self._identities_of_sets()
                if len(found) > 1:
                    reason = f"{damage or 'project.json is lost'} and the sets name {len(found)} identities"
                    raise CheckError(self.path, reason, f"Write the right one into {self.identity_path}.", "project-identity")
                self._write_identity(found.pop() if found else str(uuid.uuid4()), damage)

    @property
    def project_id(self) -> str:
        """The project's identity, which every set of it carries; empty where there is none yet."""
        if not self._id:
            known = self._read_identity()[0]
            found = self._identities_of_sets() if not known else set()
            self._id = known or (found.pop() if len(found) == 1 else "")
        return self._id

    def adopt(self, stored: StoredSet) -> None:
        """Take on the identity of a set of the same name, on a host that has none of its own: after a disaster, sets from off-site are ours."""
        project = (stored.manifest or {}).get("project", {})
        if project.get("name") != self.project or any(other.belongs for other in self.sets()):
            raise CheckError(stored.path, f"cannot be taken over by {self.project}, which has another name or sets of its own", "", "foreign")
        if project["id"] != self.project_id:
            self._write_identity(project["id"], "it is replaced by that of an adopted set" if os.path.lexists(self.identity_path) else "")

    def _read_identity(self) -> tuple[str, str]:
        """Return the identity that is written down, or why it cannot be read."""
        if not os.path.lexists(self.identity_path):
            return "", ""
        try:
            with told(self.identity_path):
                data = read_json_object(self.identity_path)
            check_schema(self.identity_path, data)
            if data.get("name") != self.project or not isinstance(data.get("id"), str) or not data["id"]:
                raise ValueError(f"it is that of {data.get('name')!r}")
            return data["id"], ""
        except ValueError as error:
            return "", f"{self.identity_path} is damaged ({error})"

    def _identities_of_sets(self) -> set[str]:
        found: set[str] = set()
        for path in self._set_paths():
            with contextlib.suppress(CheckError):
                project = read_manifest(path)["project"]
                found.update([project["id"]] if project["name"] == self.project else [])
        return found

    def _write_identity(self, identity: str, damage: str) -> None:
        with told(self.identity_path), self._index.guard():
            if damage and os.path.lexists(self.identity_path):
                self.warnings.append(f"{damage}; moved to {set_aside(self.identity_path)}.")
            if not os.path.lexists(self.identity_path):  # or else another run made it meanwhile
                write_whole(self.identity_path, pretty({"schema_version": SCHEMA_VERSION, "id": identity, "name": self.project}))
            self._id = self._read_identity()[0]

    # Locks and leftovers

    @contextlib.contextmanager
    def lock(self, purpose: str, wait_seconds: float = 0.0, run_id: str = "") -> t.Iterator[None]:
        """Hold the project's lock. Whoever holds it is named to others; a process that dies lets go of it."""
        holder = {"pid": os.getpid(), "purpose": purpose, "since": rfc3339(float(int(time.time()))), "run_id": run_id or secrets.token_hex(4)}
        with told(self.lock_path):
            descriptor = lock_file(self.lock_path, wait_seconds, holder)
        try:
            self._holds_lock = True
            yield
        finally:
            self._holds_lock = False
            unlock_file(descriptor)

    def _require_lock(self) -> None:
        if not self._holds_lock:
            raise RuntimeError("the project's lock must be held for this")

    def sweep(self) -> list[str]:
        """Remove what runs that died left behind and finish what they left half done; return what went."""
        self._require_lock()
        gone = []
        with told(self.path):
            for name in names(self.tmp_path, rf"({_LEFTOVER}|{_SCRATCH})"):
                path = os.path.join(self.tmp_path, name)
                if stat.S_ISDIR(os.lstat(path).st_mode) and self._remove(path):  # what is no directory is none of ours
                    gone.append(f"tmp/{name}")
            for name in names(self.trash_path, _LEFTOVER):
                if self._destroy(name):
                    gone.append(f"trash/{name}")
            with self._index.guard():  # nobody writes a file whole meanwhile, so that every temporary one is a leftover
                for directory in (self.path, self.verify_path):
                    for path in (os.path.join(directory, name) for name in names(directory, rf"\{TEMPORARY_PREFIX}.+")):
                        if not stat.S_ISDIR(os.lstat(path).st_mode):
                            os.unlink(path)
                            gone.append(os.path.relpath(path, self.path))
            with self._index.change() as index:  # and it is made anew, if need be, before anything else is lost
                if any(os.path.basename(path) not in index["sets"] for path in self._set_paths()):
                    for stored in self.sets():
                        if stored.belongs and stored.id not in index["sets"]:
                            enter(index, stored)
            self._mend_latest()
        return gone

    # Making sets

    def new_set(self, now: float) -> OpenSet:
        """Begin a set under an id that was never used before."""
        self._require_lock()
        with told(self.tmp_path):
            known = set(self._index.read()["sets"])
            for directory in (self.sets_path, self.tmp_path, self.trash_path, self.verify_path):
                known.update(name[:21] for name in names(directory))
            identifier = next(new for new in iter(lambda: set_id(now, secrets.token_hex(2)), "") if new not in known)
            path = os.path.join(self.tmp_path, f"{identifier}.{os.getpid()}")
            os.mkdir(path, 0o700)
        return OpenSet(identifier, path, now)

    def publish(self, open_set: OpenSet, manifest: Json, hashes: t.Optional[t.Mapping[str, str]] = None, on_bytes: OnBytes = None) -> StoredSet:
        """Complete *manifest*, have every byte on the disk and rename the set into place, whole or not at all.

        *hashes* has SHA-256 sums that are known already, by path within the set; *on_bytes* is told of what was hashed, from several threads.
        """
        self._require_lock()
        target = os.path.join(self.sets_path, open_set.id)
        with told(open_set.path):
            files, directories, odd = walk(open_set.path)
            paths = sorted(path for path in files if path not in OWN_FILES)
            if odd or not paths:
                raise CheckError(open_set.path, "; ".join(odd) or "the set is empty", "", "not-publishable")
            entries = seal_files(open_set.path, paths, hashes or {}, on_bytes)
            tables = [table for database in manifest.get("databases") or () for table in database.get("tables") or ()]
            complete = {
                "created_at": rfc3339(open_set.created_at),
                **manifest,
                "schema_version": SCHEMA_VERSION,
                "set_id": open_set.id,
                "project": {**manifest.get("project", {}), "id": self.project_id, "name": self.project},
                "files": entries,
                "totals": {"bytes": sum(entry["bytes"] for entry in entries), "rows": sum(table.get("rows") or 0 for table in tables)},
            }
            write_whole(os.path.join(open_set.path, SUMS), sums_text(entries))
            write_whole(os.path.join(open_set.path, MANIFEST), pretty(signed(complete)))
            seal_directories(open_set.path, reversed(directories))
            if os.path.lexists(target):
                raise CheckError(target, "is there already", "", "store")
            os.rename(open_set.path, target)
            sync_directory(self.sets_path)
            sync_directory(self.tmp_path)
        stored = self._load(target)
        try:
            with self._index.change() as index:
                enter(index, stored)
        except CheckError as error:  # the set is published all the same; the next sweep enters it
            self.warnings.append(f"The index was not written: {error.reason}")
        return stored

    def point_latest(self, stored: StoredSet) -> None:
        """Have ``latest`` lead to a verified set."""
        if not self._load(os.path.join(self.sets_path, stored.id)).verified:
            raise CheckError(stored.path, f"is not a verified set ({stored.problem or stored.level})", "", "not-verified")
        with told(self.latest_path), self._index.guard():
            if os.path.lexists(self.latest_path) and not os.path.islink(self.latest_path):
                raise CheckError(self.latest_path, "is not a link, and not ours", "Move it away.", "foreign")
            temporary = os.path.join(self.path, f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
            os.symlink(os.path.join("sets", stored.id), temporary)
            os.replace(temporary, self.latest_path)
            sync_directory(self.path)

    def _linked(self) -> t.Optional[StoredSet]:
        """Return the set that ``latest`` leads to, if it may."""
        try:
            head, name = os.path.split(os.readlink(self.latest_path))
        except OSError:
            return None
        stored = self._load(os.path.join(self.sets_path, name)) if head == "sets" and parse_set_id(name) is not None else None
        return stored if stored and stored.verified else None

    def _mend_latest(self, leaving: str = "") -> None:
        """Have ``latest`` lead elsewhere, or nowhere, if it leads to the set that is *leaving* or that is not to be relied on."""
        linked = self._linked()
        if not os.path.islink(self.latest_path) or (linked and linked.id != leaving):
            return
        other = next(self._verified(leaving), None)
        try:
            if other:
                self.point_latest(other)
                return
        except CheckError as error:  # a full disk has no room for a link, either
            self.warnings.append(f"latest was removed: {error.reason}")
        os.unlink(self.latest_path)
        sync_directory(self.path)

    # Finding sets

    def sets(self) -> list[StoredSet]:
        """Return every set there is, the newest first by its manifest and the unreadable ones last."""
        return sorted(map(self._load, self._set_paths()), key=lambda stored: (stored.created_at is not None, stored.created_at or 0.0, stored.id), reverse=True)

    def _set_paths(self) -> list[str]:
        """Return the paths that are named like a set, the newest first by that name."""
        with told(self.sets_path):
            return [os.path.join(self.sets_path, name) for name in reversed(names(self.sets_path, ID_PATTERN))]

    def _verified(self, leaving: str = "") -> t.Iterator[StoredSet]:
        """Yield the sets that count, newest first; suspect ones only after all others."""
        suspect = []
        for path in self._set_paths():
            stored = self._load(path)
            if stored.verified and stored.id != leaving:
                if not stored.suspect:
                    yield stored
                else:
                    suspect.append(stored)
        yield from suspect

    def find(self, wanted: str) -> StoredSet:
        """Return the set that *wanted* names: ``latest``, an id, a time or a date (the newest set up to its end), or an absolute path.

        A set with a manifest is returned whatever its *problem*: to look at it again, or to refuse it, is the caller's.
        """
        found: t.Optional[StoredSet] = None
        moment = parse_time(wanted, whole_unit=True)
        if wanted == "latest" or os.path.normpath(wanted) == self.latest_path:
            found = self._linked() or next(self._verified(), None)
        elif parse_set_id(wanted) is not None:
            found = self._load(os.path.join(self.sets_path, wanted))
        elif moment is not None:
            found = next((stored for stored in self.sets() if stored.belongs and not stored.problem and (stored.created_at or 0.0) <= moment), None)
        elif os.path.isabs(wanted):
            path = os.path.realpath(wanted)  # the operator's own links may be followed
            ours = os.path.dirname(path) == os.path.realpath(self.sets_path)
            found = self._load(os.path.join(self.sets_path, os.path.basename(path)) if ours else path)
        if found and found.manifest is not None:
            return found
        there = [f"{stored.id} ({stored.problem or stored.level})" for stored in self.sets()]
        more = f" and {len(there) - 10} more" if len(there) > 10 else ""
        hint = f"There are: {', '.join(there[:10])}{more}." if there else f"There are no sets in {self.sets_path}."
        raise CheckError(wanted, found.problem if found and os.path.lexists(found.path) else "there is no such set", hint, "no-such-set")

    def _load(self, path: str) -> StoredSet:
        name, ours = os.path.basename(path), os.path.dirname(path) == self.sets_path
        try:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                return StoredSet(name, path, problem="not a directory")
            manifest = read_manifest(path)
        except OSError as error:
            return StoredSet(name, path, problem=f"cannot be read: {error.strerror}")
        except CheckError as error:
            return StoredSet(name, path, problem=error.reason, keep=keep_reason(path))
        copied = ours and manifest["set_id"] != name
        # What was found out about the set here says nothing of a copy elsewhere.
        level, problem = self._level(manifest, names(self.verify_path, _EVIDENCE) if ours else ())
        problem = f"it is a copy of {manifest['set_id']}" if copied else problem
        return StoredSet(
            id=name if ours else manifest["set_id"],
            path=path,
            manifest=manifest,
            problem=problem,
            created_at=parse_time(manifest["created_at"]),
            level=level if not problem else LEVELS[0],
            suspect=bool((manifest.get("compare") or {}).get("suspect")),
            keep=keep_reason(path),
            bytes=manifest["totals"]["bytes"],
            belongs=not copied and bool(self.project_id) and (manifest["project"]["id"], manifest["project"]["name"]) == (self.project_id, self.project),
        )

    # What became of them

    def record_verification(self, stored: StoredSet, evidence: Json) -> None:
        """Write down how a later verification of a set in this store ended.

        Its *level* is what was reached. The set is corrupt if that is ``corrupt``, or if a check called ``intact`` or ``decodable`` is not ok.
        """
        if os.path.dirname(stored.path) != self.sets_path or stored.manifest is None:
            raise CheckError(stored.path, "is not a readable set of this store", "", "foreign")
        at = parse_time(evidence.get("at"))
        moment = time.time() if at is None else at
        evidence = {**evidence, "set_id": stored.id, "manifest_sha256": stored.manifest["self_sha256"]}
        evidence["at"] = rfc3339(float(int(moment))) if at is None else evidence["at"]
        with self._index.change() as index:
            taken = names(self.verify_path, _EVIDENCE)
            base = f"{stored.id}.{basic_time(moment)}"
            name = next(name for name in (f"{base}{f'-{number}' if number else ''}.json" for number in range(len(taken) + 1)) if name not in taken)
            write_whole(os.path.join(self.verify_path, name), pretty(evidence))
            fresh = self._load(stored.path)
            if fresh.belongs:
                index["sets"][fresh.id] = entry_of(fresh)
            if fresh.verified and counts(str(evidence.get("level"))):
                index["last_verified"] = {"set_id": fresh.id, **{key: evidence.get(key) for key in ("level", "at", "duration_seconds")}}
        with told(self.latest_path):
            self._mend_latest()

    def _level(self, manifest: Json, evidence_names: t.Iterable[str]) -> tuple[str, str]:
        """Return the highest level that was ever reached, and the problem if the newest evidence speaks against the set."""
        said = (manifest.get("verification") or {}).get("level")
        levels, problem, found = [said if said in LEVELS else LEVELS[0]], "", []
        for name in evidence_names:
            if name.startswith(f"{manifest['set_id']}."):
                with contextlib.suppress(OSError, ValueError):
                    found.append((read_json_object(os.path.join(self.verify_path, name)), name))
        for evidence, name in sorted(found, key=lambda pair: (parse_time(pair[0].get("at")) or 0.0, len(pair[1]), pair[1])):
            if evidence.get("manifest_sha256") != manifest["self_sha256"]:
                continue
            if _is_corruption(evidence):
                problem = f"found corrupt at {evidence.get('at')} ({os.path.join('verify', name)})"
            elif evidence.get("level") in LEVELS:
                levels.append(evidence["level"])
                problem = "" if counts(evidence["level"]) else problem
        return max(levels, key=LEVELS.index), problem

    def delete(self, stored: StoredSet) -> None:
        """Delete a set of this project, unless it is kept or no other verified set would stay."""
        self._require_lock()
        path = os.path.join(self.sets_path, stored.id)
        with told(path):
            fresh = self._load(path)  # it may have been marked, or replaced, since
            if stored.path != path or not fresh.belongs:
                raise CheckError(stored.path, f"is not a set of this project {fresh.problem}".rstrip(), "", "foreign")
            if fresh.keep is not None:
                raise CheckError(path, f"is kept: {fresh.keep}", f"Remove {os.path.join(path, KEEP)} if it is not to be.", "kept")
            if next(self._verified(leaving=fresh.id), None) is None:
                raise CheckError(path, "no other verified set would stay", "", "last-verified")
            self._mend_latest(leaving=fresh.id)
            name = f"{fresh.id}.{secrets.token_hex(4)}"
            os.rename(path, os.path.join(self.trash_path, name))
            sync_directory(self.trash_path)
            sync_directory(self.sets_path)
            self._destroy(name)

    def _destroy(self, name: str) -> bool:
        """Remove a set that lies in the trash: its manifest first, so that the rest is not taken for a set.

        Its empty directory goes last, to say until then that it was we who deleted it; on a full disk the index can be written only now.
        """
        identifier, path = name[:21], os.path.join(self.trash_path, name)
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            return False
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(path, MANIFEST))
            sync_directory(path)
        stays = [inner for inner in names(path) if not self._remove(os.path.join(path, inner))]
        if stays:
            return False
        if not os.path.lexists(os.path.join(self.sets_path, identifier)):
            with self._index.change() as index:
                index["sets"].pop(identifier, None)
                for evidence in names(self.verify_path, _EVIDENCE):
                    if evidence.startswith(f"{identifier}."):
                        os.unlink(os.path.join(self.verify_path, evidence))
        os.rmdir(path)
        return True

    def _remove(self, path: str) -> bool:
        try:
            if stat.S_ISDIR(os.lstat(path).st_mode):
                shutil.rmtree(path)  # follows no link
            else:
                os.unlink(path)
        except OSError as error:
            self.warnings.append(f"{path} could not be removed: {error.strerror}")
        return not os.path.lexists(path)

    # The index

    def index(self) -> Json:
        """Return the index; where it is missing or damaged, what it will be."""
        return self._index.read()

    @property
    def high_water(self) -> t.Optional[float]:
        """The highest clock that was believed."""
        return parse_time(self._index.read()["high_water"])

    def note_clock(self, now: float, accept_jump: bool = False) -> None:
        """Remember the clock. One that jumped stays unbelieved, or else a wrong one would be right by its second run."""
        with self._index.change() as index:
            index["high_water"] = rfc3339(believed(parse_time(index["high_water"]), now, accept_jump))

    def missing(self) -> list[str]:
        """Return the sets that ought to be there and are not, without our having deleted them; newest first."""
        gone = set(self._index.read()["sets"]) - {name[:21] for name in names(self.trash_path, _LEFTOVER)}
        return sorted((name for name in gone if not os.path.lexists(os.path.join(self.sets_path, name))), reverse=True)

    def forget(self, identifier: str) -> None:
        """No longer miss a set that somebody removed by hand."""
        with self._index.change() as index:
            if not os.path.lexists(os.path.join(self.sets_path, identifier)):
                index["sets"].pop(identifier, None)


def names_unsafe(project: str) -> bool:
    """Tell whether a project's name would not do as that of a directory."""
    return not project or len(project) > 128 or project[0] in ".-" or not all(char.isascii() and (char.isalnum() or char in "._-") for char in project)


def _is_corruption(evidence: Json) -> bool:
    """Tell whether the set itself failed; what failed above that may be the scratch server's fault."""
    checks = evidence.get("checks")
    failed = [check.get("name") for check in checks if isinstance(check, dict) and check.get("ok") is False] if isinstance(checks, list) else []
    return evidence.get("level") == "corrupt" or "intact" in failed or COUNTED_LEVEL in failed
