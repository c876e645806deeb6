# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The format of a backup set: its id, its manifest, and whether its files are what the manifest says."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import datetime
import hashlib
import json
import os
import re
import stat
import typing as t
import urllib.parse

from ._envelope import CheckError
from ._guarded_files import open_regular, read_json_object, told

LEVELS: tuple[str, ...] = ("written", "intact", "decodable", "restorable", "equivalent")
#: The level from which on a set counts: ``latest`` leads to it and retention relies on it.
COUNTED_LEVEL = "decodable"
SCHEMA_VERSION = 1
MANIFEST, SUMS, KEEP = "manifest.json", "SHA256SUMS", "KEEP"
OWN_FILES = (MANIFEST, SUMS, KEEP)
ID_PATTERN = r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}"

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(:\d\d)?(\.\d+)?([Zz]|[+-]\d\d:\d\d)?)?")
_KINDS = (("databases/", "database"), ("globals/", "globals"), ("volumes/", "volume"), ("config.", "config"), ("logs.", "logs"), ("backup_", "plain"))
_CHUNK_BYTES = 1024 * 1024
_THREADS = 4

Json = dict[str, t.Any]
OnBytes = t.Optional[t.Callable[[int], None]]


def counts(level: str) -> bool:
    """Tell whether a set of this level is one to rely on."""
    return level in LEVELS and LEVELS.index(level) >= LEVELS.index(COUNTED_LEVEL)


@dataclasses.dataclass(frozen=True)
class StoredSet:
    """A set as it was when it was read; *problem* says why it cannot be relied on, *belongs* whether it is of this project."""

    id: str
    path: str
    manifest: t.Optional[Json] = None
    problem: str = ""
    created_at: t.Optional[float] = None
    level: str = LEVELS[0]
    suspect: bool = False
    keep: t.Optional[str] = None
    bytes: int = 0
    belongs: bool = False

    @property
    def verified(self) -> bool:
        """Whether it is this project's, nothing is known against it and it was verified far enough to count."""
        return self.belongs and not self.problem and counts(self.level)


# Ids, names, times


def basic_time(moment: float) -> str:
    """Return *moment* as it is written in names."""
    return datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def set_id(now: float, token: str) -> str:
    """Return the id of a set made at *now*; *token* (four hexadecimal digits) tells apart those of one second."""
    return f"{basic_time(now)}-{token}"


def parse_set_id(text: str) -> t.Optional[float]:
    """Return when the set of this id was made, to the second; ``None`` where it is no id."""
    if not re.fullmatch(ID_PATTERN, text):
        return None
    try:
        return datetime.datetime.strptime(text[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc).timestamp()
    except ValueError:
        return None


def quote_name(name: str) -> str:
    """Return the name of a database, service or volume as one that any file system takes; percent-decoding gives it back."""
    quoted = urllib.parse.quote(name, safe="")
    return f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted


def parse_time(text: t.Any, whole_unit: bool = False) -> t.Optional[float]:
    """Return the moment of an RFC 3339 time or date, in UTC unless it says otherwise; ``None`` where it is none.

    With *whole_unit* it is the end of the day, minute or second that was named: who asks for a day means all of it.
    """
    match = _TIME.fullmatch(text.strip()) if isinstance(text, str) else None
    if not match:
        return None
    date, minute, second, fraction, zone = match.groups()
    unit = 86400.0 if not minute else 60.0 if not second else 1.0
    try:
        zone = "+00:00" if zone in (None, "Z", "z") else zone
        moment = datetime.datetime.fromisoformat(f"{date}T{minute or '00:00'}{second or ':00'}{zone}").timestamp()
    except (ValueError, OverflowError):
        return None
    return moment + (float(fraction) if fraction else unit - 0.001 if whole_unit else 0.0)


# The manifest


def canonical(data: t.Any) -> bytes:
    """Return the one spelling of *data* that hashes are made of."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def pretty(data: t.Any) -> bytes:
    """Return *data* as JSON that a person can read and ``diff``."""
    return json.dumps(data, sort_keys=True, indent=1, allow_nan=False).encode() + b"\n"


def read_manifest(path: str) -> Json:
    """Return the manifest at *path* (a set's directory or the file) if it is one that we can read, and as it was written.

    :raises CheckError: ``no-manifest``, ``unreadable-manifest``, ``corrupt-manifest``, or ``schema-too-new`` where a later version wrote it.
    """
    path = os.path.join(path, MANIFEST) if os.path.isdir(path) else path
    hint = "Use another set, or fetch this one from its off-site copy."
    try:
        manifest = read_json_object(path)
        check_schema(path, manifest)
        said = manifest.pop("self_sha256", None)
        if said != hashlib.sha256(canonical(manifest)).hexdigest():
            raise ValueError("its own hash does not match")
        check_shape(manifest)
    except FileNotFoundError:
        raise CheckError(path, "there is no manifest", hint, "no-manifest") from None
    except OSError as error:
        raise CheckError(path, f"the manifest cannot be read: {error.strerror}", hint, "unreadable-manifest") from error
    except ValueError as error:
        raise CheckError(path, f"the manifest is damaged: {error}", hint, "corrupt-manifest") from None
    return {**manifest, "self_sha256": said}


def signed(manifest: Json) -> Json:
    """Return the manifest as it will be read back, with its own hash."""
    manifest = json.loads(canonical({key: value for key, value in manifest.items() if key != "self_sha256"}))
    check_shape(manifest)
    return {**manifest, "self_sha256": hashlib.sha256(canonical(manifest)).hexdigest()}


def check_schema(path: str, data: Json) -> None:
    """Refuse what a later version wrote, which we would misread; ``ValueError`` where no version wrote it."""
    version = data.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"its schema_version is {version!r}")
    if version > SCHEMA_VERSION:
        hint = "Upgrade the collection stackops.runbook to the version that wrote it, or a later one."
        raise CheckError(path, f"its format is version {version}; this version reads up to {SCHEMA_VERSION}", hint, "schema-too-new")


def check_shape(manifest: Json) -> None:
    """Raise ``ValueError`` where what we rely on is missing: the hash only says that it is as it was written."""
    try:
        project, total = manifest["project"], manifest["totals"]["bytes"]
        good = isinstance(project["id"], str) and isinstance(project["name"], str) and isinstance(total, int)
        good = good and parse_set_id(manifest["set_id"]) is not None and parse_time(manifest["created_at"]) is not None
        for entry in manifest["files"]:
            good = good and isinstance(entry["path"], str) and isinstance(entry["bytes"], int) and isinstance(entry["sha256"], str)
        for optional in ("verification", "compare"):
            good = good and isinstance(manifest.get(optional) or {}, dict)
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is incomplete: {error}") from None
    if not good:
        raise ValueError("something in it is not what it should be")


def file_entry(path: str, size: int) -> Json:
    """Return what a manifest says of a file, but for its hash."""
    kind = next((kind for prefix, kind in _KINDS if path.startswith(prefix)), "other")
    return {"path": path, "bytes": size, "kind": kind, "encrypted": path.endswith((".age", ".gpg"))}


def sums_text(entries: t.Iterable[Json]) -> bytes:
    """Return what ``sha256sum --check`` reads, with its own way to escape names."""
    lines = []
    for entry in entries:
        escaped = entry["path"].replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        lines.append(f"{chr(92) if escaped != entry['path'] else ''}{entry['sha256']}  {escaped}\n")
    return "".join(lines).encode("utf-8", "replace")


# The files


def walk(top: str) -> tuple[dict[str, int], list[str], list[str]]:
    """Return the files below *top* with their sizes, the directories (parents first) and what should not be there; no link is followed."""
    files: dict[str, int] = {}
    directories, odd = [""], []
    waiting = [""]
    while waiting:
        directory = waiting.pop()
        with os.scandir(os.path.join(top, directory)) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = os.path.join(directory, entry.name)
                info = entry.stat(follow_symlinks=False)
                if path.encode("utf-8", "replace").decode() != path:
                    odd.append(f"{path!r}: its name is not UTF-8")
                elif stat.S_ISDIR(info.st_mode):
                    directories.append(path)
                    waiting.append(path)
                elif stat.S_ISREG(info.st_mode):
                    files[path] = info.st_size
                else:
                    odd.append(f"{path}: a link or a device, not a file")
    return files, directories, odd


def seal_files(top: str, paths: t.Sequence[str], known: t.Mapping[str, str], on_bytes: OnBytes = None) -> list[Json]:
    """Make files ours alone, have them on the disk and return their entries in the manifest; *known* has hashes by path."""

    def seal(path: str) -> Json:
        descriptor = open_regular(os.path.join(top, path))
        try:
            _own(descriptor, 0o600)
            _sync(descriptor)
            before = os.fstat(descriptor)
            sha256 = known.get(path) or _hash(descriptor, on_bytes)
            after = os.fstat(descriptor)
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise CheckError(os.path.join(top, path), "somebody still writes to it", "", "not-publishable")
            return {**file_entry(path, after.st_size), "sha256": sha256}
        finally:
            os.close(descriptor)

    return side_by_side(seal, paths)


@dataclasses.dataclass(frozen=True)
class Hashed:
    """The SHA-256 of a file, and by what it would show that the file was written to since."""

    sha256: str
    bytes: int
    modified_ns: int


def hash_files(top: str, paths: t.Sequence[str], on_bytes: OnBytes = None) -> dict[str, Hashed]:
    """Have files on the disk and hash what it gives back, ahead of :func:`seal_files`: while something else has to be waited for."""

    def one(path: str) -> Hashed:
        descriptor = open_regular(os.path.join(top, path))
        try:
            _sync(descriptor)
            before = os.fstat(descriptor)
            return Hashed(_hash(descriptor, on_bytes), before.st_size, before.st_mtime_ns)
        finally:
            os.close(descriptor)

    with told(top):
        return dict(zip(paths, side_by_side(one, paths)))


def still_good(top: str, hashed: t.Mapping[str, Hashed]) -> dict[str, str]:
    """Return the hashes of the files that are as they were; those of others have to be taken again."""
    good: dict[str, str] = {}
    for path, one in hashed.items():
        with contextlib.suppress(FileNotFoundError):
            info = os.lstat(os.path.join(top, path))
            if (info.st_size, info.st_mtime_ns) == (one.bytes, one.modified_ns):
                good[path] = one.sha256
    return good


def seal_directories(top: str, directories: t.Iterable[str]) -> None:
    """Make directories (the deepest first) ours alone and have their names on the disk."""
    for directory in directories:
        descriptor = os.open(os.path.join(top, directory), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _own(descriptor, 0o700)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_intact(set_path: str, manifest: Json, on_bytes: OnBytes = None) -> list[str]:
    """Return how the files of a set differ from what its manifest says: by size, SHA-256 (of what the disk holds) and name, too few or too many."""
    with told(set_path):
        found, dummy, problems = walk(set_path)
    expected = {entry["path"]: entry for entry in manifest["files"]}
    problems += [f"{path}: missing" for path in expected if path not in found]
    problems += [f"{path}: not in the manifest" for path in found if path not in expected and path not in OWN_FILES]

    def compare(path: str) -> str:
        if found[path] != expected[path]["bytes"]:
            return f"{path}: {found[path]} bytes instead of {expected[path]['bytes']}"
        try:
            with open(os.path.join(set_path, path), "rb", buffering=0, opener=open_regular) as file:
                _forget(file.fileno())
                return "" if _hash(file.fileno(), on_bytes) == expected[path]["sha256"] else f"{path}: its SHA-256 differs"
        except OSError as error:
            return f"{path}: cannot be read: {error.strerror}"

    sums = sums_text(manifest["files"])
    problems += filter(None, side_by_side(compare, [path for path in expected if path in found]))
    try:
        with open(os.path.join(set_path, SUMS), "rb", opener=open_regular) as file:
            if file.read(len(sums) + 1) != sums:
                problems.append(f"{SUMS}: differs from the manifest")
    except OSError as error:
        problems.append(f"{SUMS}: {error.strerror}")
    return sorted(problems)


def keep_reason(set_path: str) -> t.Optional[str]:
    """Return what the marker says that keeps a set for good; ``None`` where there is none."""
    try:
        with open(os.path.join(set_path, KEEP), "rb", opener=open_regular) as file:
            line = file.read(300).decode("utf-8", "replace").strip().split("\n")[0]
        return "".join(char for char in line if char.isprintable())[:200] or KEEP
    except FileNotFoundError:
        return None
    except OSError:  # whatever it is, somebody put it there
        return KEEP


def _sync(descriptor: int) -> None:
    """Have a file on the disk, and read it from there."""
    os.fsync(descriptor)
    _forget(descriptor)


def _forget(descriptor: int) -> None:
    """Have the kernel forget a file: who reads it then gets what the disk holds, not what was written or read before."""
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _hash(descriptor: int, on_bytes: OnBytes) -> str:
    digest = hashlib.sha256()
    for piece in iter(lambda: os.read(descriptor, _CHUNK_BYTES), b""):
        digest.update(piece)
        if on_bytes:
            on_bytes(len(piece))
    return digest.hexdigest()


def _own(descriptor: int, mode: int) -> None:
    """Give a file the mode and, as root, our ownership: the tools in a container write as somebody else."""
    info = os.fstat(descriptor)
    if os.geteuid() == 0 and (info.st_uid, info.st_gid) != (0, 0):
        os.fchown(descriptor, 0, 0)
    if stat.S_IMODE(info.st_mode) != mode:
        os.fchmod(descriptor, mode)


Item = t.TypeVar("Item")
Result = t.TypeVar("Result")


def side_by_side(function: t.Callable[[Item], Result], items: t.Sequence[Item]) -> list[Result]:
    """Map in several threads: hashing and fsync let go of the interpreter. After an error, what has not begun does not begin."""
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()
