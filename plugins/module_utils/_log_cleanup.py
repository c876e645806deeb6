# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Old log files are removed: ``find DIR -name '*.log' -mtime +7 -delete``, but only what it was meant to remove.

Only regular files in declared directories, on their file system, reached without a link that somebody else could have put there,
and held open by no process. What an engine keeps of its containers is never touched: to remove that breaks ``docker logs``
and frees nothing while the container runs.

What remains of a race: between the last look at a name and its removal lie microseconds. Whoever puts another file there
in that time loses it; a link put there is itself what goes, never what it leads to.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import fnmatch
import math
import os
import re
import signal
import stat
import typing as t

from ._envelope import CheckError, envelope, metric, rfc3339, worst
from ._log_files import base_of

if t.TYPE_CHECKING:
    from ._discovery import Stack
    from ._engine import Engine

WEEK_SECONDS = 7 * 86400.0
#: The guide's pattern, and what rotation makes of such files.
DEFAULT_PATTERNS = ("*.log", "*.log.[0-9]*", "*.log-[0-9]*", "*.log.gz", "*.log.zst", "*.log.bz2", "*.log.xz")
DATA_ROOTS = ("/var/lib/docker", "/var/lib/containers")
MAX_DEPTH = 8
MAX_ENTRIES = 200_000
MAX_LINKS = 8
SHOWN_FILES = 100
#: So many files are removed after one look at what all processes have open; each is looked at once more by itself.
BATCH_FILES = 50

_LEAST_COMPONENTS = 3
_NEVER_BELOW = ("/etc", "/boot", "/dev", "/proc", "/sys", "/bin", "/sbin", "/lib", "/lib64", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/share")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")
_ENGINE_LOG = re.compile(r".*-json\.log(?:\.\d+)?(?:\.gz)?")
_ONLY_LOGS_ALLOWED = frozenset((".gitkeep", ".gitignore", ".keep"))
_NO_FILE_ON_DISK = ("/dev/", "/proc/", "/sys/", "/memfd:")


@dataclasses.dataclass(frozen=True)
class LogDirectory:
    """One directory to clean. *only_logs*: nothing of it goes if there is anything else than logs in it."""

    path: str
    recursive: bool = True
    only_logs: bool = False


@dataclasses.dataclass(frozen=True)
class CleanupOptions:
    """What may go. A file goes when it was last written more than *max_age_seconds* ago; the oldest first, at most *max_files*."""

    directories: tuple[LogDirectory, ...] = ()
    patterns: tuple[str, ...] = DEFAULT_PATTERNS
    max_age_seconds: float = WEEK_SECONDS
    max_files: int = 1000
    data_roots: tuple[str, ...] = DATA_ROOTS

    @classmethod
    def from_options(cls, options: t.Mapping[str, t.Any], found: t.Sequence[LogDirectory] = (), data_root: str = "") -> CleanupOptions:
        """Return the options of a configuration; directories that are not named there are those *found* on the host.

        :raises ValueError: an option has a value that makes no sense.
        """
        named = options.get("directories")
        directories = tuple(LogDirectory(str(path)) for path in named) if named is not None else tuple(found)
        patterns = tuple(str(pattern) for pattern in options.get("patterns") or DEFAULT_PATTERNS)
        for pattern in patterns:
            if "/" in pattern or not pattern.strip("*?."):
                raise ValueError(f"patterns must name log files, as *.log does, not {pattern!r}")
        days = float(options.get("max_age_days", 7))
        if days < 0.01 or math.isnan(days):
            raise ValueError(f"max_age_days must be at least 0.01, not {days:g}")
        most = int(options.get("max_files", 1000))
        if most < 1:
            raise ValueError(f"max_files must be at least 1, not {most}")
        return cls(directories, patterns, days * 86400, most, tuple(dict.fromkeys((*DATA_ROOTS, *((data_root,) if data_root else ())))))


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One file that may go, as it was seen: *parts* lead to it from the *directory*, which has no links in it."""

    directory: str
    parts: tuple[str, ...]
    size: int
    modified_ns: int
    device: int
    inode: int
    age_seconds: float

    @property
    def path(self) -> str:
        """Where it is."""
        return os.path.join(self.directory, *self.parts)

    def is_still(self, status: os.stat_result) -> bool:
        """Tell whether this is the file that was seen, and nobody wrote to it since."""
        return stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns) == (
            self.device,
            self.inode,
            self.size,
            self.modified_ns,
        )


@dataclasses.dataclass(frozen=True)
class Plan:
    """What may go, oldest first; *left* are old as well, but more than one run removes."""

    candidates: tuple[Candidate, ...]
    left: int
    directories: tuple[str, ...]
    errors: tuple[CheckError, ...]


@dataclasses.dataclass
class Report:
    """What went, and what did not and why."""

    dry_run: bool
    directories: tuple[str, ...] = ()
    removed: list[Candidate] = dataclasses.field(default_factory=list)
    kept: list[tuple[Candidate, str]] = dataclasses.field(default_factory=list)
    left: int = 0
    errors: list[CheckError] = dataclasses.field(default_factory=list)

    @property
    def removed_bytes(self) -> int:
        """How large the files were that went."""
        return sum(candidate.size for candidate in self.removed)

    def envelope(self) -> dict[str, t.Any]:
        """Return the envelope: ``unknown`` where a directory could not be cleaned, ``warning`` where a file could not."""
        failed = [reason for dummy, reason in self.kept if reason.startswith("not removed")]
        status = worst(["unknown"] * bool(self.errors) + ["warning"] * bool(failed))
        verb = "would be removed" if self.dry_run else "removed"
        summary = f"{len(self.removed)} log files {verb} ({self.removed_bytes} bytes)"
        summary += f", {len(self.kept)} kept" if self.kept else ""
        summary += f", {self.left} more than one run removes" if self.left else ""
        if not self.directories and not self.errors:
            summary = "no directory that holds only logs was found: nothing to clean"
        return envelope(
            status,
            summary,
            {"removed_files": metric(len(self.removed)), "removed_bytes": metric(self.removed_bytes, "B"), "kept_files": metric(len(self.kept))},
            self.errors,
            dry_run=self.dry_run,
            directories=list(self.directories),
            removed=[_shown(candidate) for candidate in self.removed[:SHOWN_FILES]],
            kept=[{**_shown(candidate), "reason": reason} for candidate, reason in self.kept[:SHOWN_FILES]],
            left=self.left,
        )


def _shown(candidate: Candidate) -> dict[str, t.Any]:
    return {
        # A name may hold anything but a slash.
        "path": candidate.path.encode("utf-8", "backslashreplace").decode().translate(_CONTROLS),
        "bytes": candidate.size,
        "age_seconds": round(candidate.age_seconds),
        "modified_at": rfc3339(candidate.modified_ns // 1_000_000_000),
    }


_CONTROLS = dict.fromkeys((*range(32), *range(127, 160), 8232, 8233), "?")


def directories_of(stacks: t.Sequence[Stack], engine: t.Optional[Engine]) -> list[LogDirectory]:
    """Return the directories on mounts of *stacks* in which logs were found. Of those that hold anything else nothing will go."""
    from ._log_sources import discover_sources  # here, because declared directories need nothing of Docker  # pylint: disable=import-outside-toplevel

    found = {os.path.dirname(source.path) for stack in stacks for source in discover_sources(stack, engine) if source.type == "file" and source.path}
    return [LogDirectory(path, recursive=False, only_logs=True) for path in sorted(found)]


def plan(options: CleanupOptions, now: float) -> Plan:
    """Return what may go now. Nothing is changed."""
    found: dict[tuple[int, int], Candidate] = {}
    errors: list[CheckError] = []
    cleaned: list[str] = []
    homes = _homes()
    for directory in options.directories:
        try:
            descriptor, real = _open_directory(directory.path, lambda path: refusal(path, homes, options.data_roots))
        except CheckError as error:
            errors.append(error)
            continue
        try:
            walk = _Walk(real, directory, options, now, os.fstat(descriptor).st_dev, _mount_of(descriptor))
            if directory.only_logs and _holds_others(descriptor):
                continue
            walk.into(descriptor, ())
            cleaned.append(real)
            errors.extend(walk.errors)
            found.update(((each.device, each.inode), each) for each in walk.found if (each.device, each.inode) not in found)
        finally:
            os.close(descriptor)
    ordered = sorted(found.values(), key=lambda each: (each.modified_ns, each.path))
    return Plan(tuple(ordered[: options.max_files]), max(0, len(ordered) - options.max_files), tuple(cleaned), tuple(errors))


def carry_out(the_plan: Plan, dry_run: bool = False, open_files: t.Optional[t.Callable[[], t.AbstractSet[tuple[int, int]]]] = None) -> Report:
    """Remove what *the_plan* lists, unless it changed since, or a process has it open; a dry run only tells what would go."""
    look = open_files or files_held_open
    report = Report(dry_run, the_plan.directories, left=the_plan.left, errors=list(the_plan.errors))
    for start in range(0, len(the_plan.candidates), BATCH_FILES):
        held = look()
        for candidate in the_plan.candidates[start : start + BATCH_FILES]:
            reason = "open in a process" if (candidate.device, candidate.inode) in held else _remove(candidate, dry_run)
            if reason:
                report.kept.append((candidate, reason))
            else:
                report.removed.append(candidate)
    return report


def refusal(path: str, homes: t.AbstractSet[str], data_roots: t.Sequence[str]) -> str:
    """Return why nothing may be removed in a directory, nothing where it may; *path* is absolute and has no links in it."""
    parts = path.split("/")[1:]
    if len(parts) < _LEAST_COMPONENTS:
        return "is too close to the root of the file system to be a log directory"
    if path in homes or (parts[0] == "home" and len(parts) < 3):
        return "is a home directory"
    if any(_is_below(path, place) for place in _NEVER_BELOW):
        return "belongs to the system"
    if any(_CONTAINER_ID.fullmatch(part) for part in parts) or any(_of_engine(path, root) for root in data_roots):
        return "belongs to the container engine, whose logs only the engine may rotate"
    return ""


def _of_engine(path: str, root: str) -> bool:
    """Tell whether *path* is in the engine's data, other than in a volume, where a stack may well keep its logs."""
    if _is_below(root, path):
        return True
    if not _is_below(path, root):
        return False
    return re.fullmatch(r"(?:/storage)?/volumes/[^/]+/_data(?:/.*)?", path[len(root.rstrip("/")) :]) is None


def _is_below(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip("/") + "/")


def _homes() -> frozenset[str]:
    """Return the home directories of this host's users; asking the name service could take long, and lists only its own."""
    found = {os.path.expanduser("~"), "/root"}
    with contextlib.suppress(OSError), open("/etc/passwd", encoding="utf-8", errors="replace") as file:
        found.update(line.split(":")[5] for line in file if line.count(":") >= 6)
    return frozenset(os.path.normpath(path) for path in found if path.startswith("/"))


def _open_directory(path: str, refuse: t.Callable[[str], str]) -> tuple[int, str]:
    """Open a directory, and return it with its path without links.

    A link on the way is followed only where none but root and this user could have put it there, and it does not lead upwards.

    :raises CheckError: it may not be cleaned, or is not there.
    """
    if not path.startswith("/") or ".." in path.split("/"):
        raise CheckError(path, "is no absolute path", "Write the path from / on, without ..", "refused")
    pending, real = [part for part in path.split("/") if part not in ("", ".")], "/"
    links = 0
    descriptor = os.open("/", _DIRECTORY)
    try:
        while pending:
            part = pending.pop(0)
            status = os.stat(part, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                links += 1
                target = os.readlink(part, dir_fd=descriptor)
                holder = os.fstat(descriptor)
                if links > MAX_LINKS or ".." in target.split("/") or holder.st_uid not in (0, os.geteuid()) or holder.st_mode & 0o022:
                    where = os.path.join(real, part)
                    raise CheckError(path, f"{where} is a link, and is not followed", f"Name what it leads to: {os.path.realpath(path)}", "refused")
                pending[:0] = [piece for piece in target.split("/") if piece not in ("", ".")]
                if target.startswith("/"):
                    inner, real = os.open("/", _DIRECTORY), "/"
                else:
                    continue
            else:
                inner, real = os.open(part, _DIRECTORY, dir_fd=descriptor), os.path.join(real, part)
            os.close(descriptor)
            descriptor = inner
        reason = refuse(real)
        if reason:
            raise CheckError(path, reason, "Name the directory that holds the logs, and nothing else.", "refused")
        return descriptor, real
    except OSError as error:
        os.close(descriptor)
        raise _unreadable(path, error) from None
    except CheckError:
        os.close(descriptor)
        raise


def _unreadable(path: str, error: OSError) -> CheckError:
    if error.errno in (errno.EACCES, errno.EPERM):
        return CheckError(path, "permission denied", "Run as root, or as the user whose logs these are.", "permission-denied")
    return CheckError(path, error.strerror or str(error), f"Look with: ls -ld {path}", "missing")


def _mount_of(descriptor: int) -> str:
    """Return what tells one mount from another, a bind mount of the same file system included; nothing where the kernel does not say."""
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as file:
            return next((line for line in file if line.startswith("mnt_id:")), "")
    except OSError:
        return ""


def _holds_others(descriptor: int) -> bool:
    """Tell whether a directory holds anything but logs; its directories are looked at by themselves."""
    with os.scandir(descriptor) as entries:
        for number, entry in enumerate(entries):
            log = base_of(entry.name).endswith(".log") and entry.is_file(follow_symlinks=False)
            if number >= MAX_ENTRIES or not (log or entry.name in _ONLY_LOGS_ALLOWED or entry.is_dir(follow_symlinks=False)):
                return True
    return False


class _Walk:
    """Looks for old files in one directory."""

    def __init__(self, real: str, directory: LogDirectory, options: CleanupOptions, now: float, device: int, mount: str) -> None:
        self.real, self.recursive, self.options, self.now = real, directory.recursive, options, now
        self.device, self.mount = device, mount
        self.found: list[Candidate] = []
        self.errors: list[CheckError] = []
        self._entries = 0

    def into(self, descriptor: int, parts: tuple[str, ...]) -> None:
        """Look at what is in the open directory that *parts* lead to."""
        inner = []
        # A scan of a descriptor leaves it open, but at its end.
        with os.scandir(descriptor) as entries:
            for entry in entries:
                self._entries += 1
                if self._entries > MAX_ENTRIES:
                    break
                if entry.is_dir(follow_symlinks=False):
                    inner.append(entry.name)
                elif entry.is_file(follow_symlinks=False) and self._matches(entry.name):
                    self._file(descriptor, (*parts, entry.name))
        if not self.recursive or len(parts) >= MAX_DEPTH:
            return
        for name in sorted(inner):
            if not _CONTAINER_ID.fullmatch(name):
                self._directory(descriptor, (*parts, name))

    def _matches(self, name: str) -> bool:
        return not _ENGINE_LOG.fullmatch(name) and any(fnmatch.fnmatchcase(name, pattern) for pattern in self.options.patterns)

    def _file(self, descriptor: int, parts: tuple[str, ...]) -> None:
        try:
            status = os.stat(parts[-1], dir_fd=descriptor, follow_symlinks=False)
        except OSError:
            return
        age = self.now - status.st_mtime
        if stat.S_ISREG(status.st_mode) and status.st_dev == self.device and age > self.options.max_age_seconds:
            self.found.append(Candidate(self.real, parts, status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino, age))

    def _directory(self, descriptor: int, parts: tuple[str, ...]) -> None:
        try:
            inner = os.open(parts[-1], _DIRECTORY, dir_fd=descriptor)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
                self.errors.append(_unreadable(os.path.join(self.real, *parts), error))
            return
        try:
            if os.fstat(inner).st_dev == self.device and _mount_of(inner) == self.mount:
                self.into(inner, parts)
        finally:
            os.close(inner)


def files_held_open() -> set[tuple[int, int]]:
    """Return device and inode of every file that a process on this host has open, as far as this user may see."""
    held = set()
    for process in os.listdir("/proc"):
        if not process.isdigit():
            continue
        directory = f"/proc/{process}/fd"
        try:
            numbers = os.listdir(directory)
        except OSError:
            continue
        for number in numbers:
            try:
                target = os.readlink(f"{directory}/{number}")
                if target.startswith("/") and not target.startswith(_NO_FILE_ON_DISK):
                    status = os.stat(f"{directory}/{number}")
                    held.add((status.st_dev, status.st_ino))
            except OSError:
                continue
    return held


def _remove(candidate: Candidate, dry_run: bool) -> str:
    """Remove one file, and return why not. It is reached again from its directory, and must be what was seen."""
    descriptors = []
    try:
        descriptor = os.open("/", _DIRECTORY)
        descriptors.append(descriptor)
        for part in (*candidate.directory.split("/")[1:], *candidate.parts[:-1]):
            descriptor = os.open(part, _DIRECTORY, dir_fd=descriptor)
            descriptors.append(descriptor)
        name = candidate.parts[-1]
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=descriptor)
        descriptors.append(file)
        if not candidate.is_still(os.fstat(file)):
            return "changed since it was listed"
        if _is_open_elsewhere(file):
            return "open in a process"
        if not candidate.is_still(os.stat(name, dir_fd=descriptor, follow_symlinks=False)):
            return "changed since it was listed"
        if not dry_run:
            os.unlink(name, dir_fd=descriptor)
        return ""
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
            return "changed since it was listed"
        return f"not removed: {error.strerror or error}"
    finally:
        for each in reversed(descriptors):
            os.close(each)


def _is_open_elsewhere(descriptor: int) -> bool:
    """Ask the kernel whether a file is open anywhere else: only then it gives no lease. Where it knows no leases, say no."""
    try:
        # Whoever opens the file meanwhile has us sent a signal: one that is ignored, for the usual one would end this process.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    return False
