# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Archives (tar.gz) of files that change while they are read.

Kept are names, content, modes, times, numeric owners, symbolic and hard links; not kept are ACLs and extended attributes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import gzip
import os
import shlex
import stat
import tarfile
import tempfile
import typing as t

from ._envelope import CheckError
from ._extraction import CHUNK_BYTES, Member, check_archive, extract, extract_tar, list_archive, parents_of, safe_name, write_failed
from ._files import sync_directory

__all__ = [
    "OUTSIDE",
    "ArchiveResult",
    "Member",
    "check_archive",
    "config_entries",
    "extract",
    "extract_tar",
    "list_archive",
    "write_archive",
    "write_tar",
]

#: What an archive is made of: (path on disk, name in the archive). A directory stands for everything below it.
Entries = t.Iterable[tuple[str, str]]
#: Called with the number of bytes just read: to show progress, to slow down, or to stop by raising.
Pace = t.Callable[[int], None]

#: Compose files and environment files from outside the project's directory are archived below this name.
OUTSIDE = "outside-project"
_NOT_CONFIGURATION = frozenset({".git", ".hg", ".svn", ".venv", "__pycache__", "node_modules"})

_MOST_WARNINGS = 100
# Each level holds one file descriptor open; the usual limit is 1024.
_DEEPEST_DIRECTORY = 400


@dataclasses.dataclass(frozen=True)
class ArchiveResult:
    """What was written: number of members, bytes of their content, and what an operator should know about it."""

    files: int
    bytes: int
    warnings: tuple[str, ...]


def write_archive(target: str, entries: Entries, *, pace: t.Optional[Pace] = None, level: int = 6) -> ArchiveResult:
    """Write *entries* to *target* (tar.gz, mode 0600), whole or not at all.

    What happens to live files is a warning: one that grows is cut where it was when its turn came, one that shrinks is
    filled up with zero bytes, one that is gone is left out, as are sockets, pipes and devices.

    :raises CheckError: something is there and cannot be read, or the archive cannot be written.
    """
    # The name and time in gzip's own header are left out: the same content gives the same bytes.
    with whole_file(target) as file, gzip.GzipFile("", "wb", level, t.cast("t.Any", file), mtime=0) as compressed:
        return write_tar(t.cast("t.IO[bytes]", compressed), entries, pace=pace)


@contextlib.contextmanager
def whole_file(target: str) -> t.Iterator[t.IO[bytes]]:
    """Yield an open file that becomes *target* if nothing is raised, and is removed otherwise."""
    directory = os.path.dirname(os.path.abspath(target))
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=directory)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        sync_directory(directory)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise write_failed(target, error) from error
        raise


def write_tar(stream: t.IO[bytes], entries: Entries, *, pace: t.Optional[Pace] = None) -> ArchiveResult:
    """Write *entries* to *stream* as an uncompressed tar; see :func:`write_archive`."""
    return _Writer(stream, pace).write(entries)


class _Writer:
    def __init__(self, stream: t.IO[bytes], pace: t.Optional[Pace]) -> None:
        self.tar = tarfile.TarFile(fileobj=t.cast("t.IO[bytes]", _Sink(stream)), mode="w", format=tarfile.PAX_FORMAT, copybufsize=CHUNK_BYTES)
        self.pace = pace
        self.files = 0
        self.bytes = 0
        self.warnings: list[str] = []
        self.warnings_left_out = 0
        # First name of each file that has several, so that the others become links to it.
        self.names: dict[tuple[int, int], str] = {}

    def write(self, entries: Entries) -> ArchiveResult:
        for path, name in _without_overlaps(entries):
            self._add(path, None, path, name)
        self.tar.close()
        if self.warnings_left_out:
            self.warnings.append(f"and {self.warnings_left_out} more")
        return ArchiveResult(self.files, self.bytes, tuple(self.warnings))

    def _warn(self, text: str) -> None:
        if len(self.warnings) < _MOST_WARNINGS:
            self.warnings.append(text)
        else:
            self.warnings_left_out += 1

    def _add(self, path: str, directory: t.Optional[int], shown: str, name: str, depth: int = 0) -> None:
        """Add *path*, relative to the open *directory*. Containers may swap what is there at any moment: everything is
        opened without following links, and its properties are those of what was opened."""
        try:
            found = os.lstat(path, dir_fd=directory)
            if stat.S_ISLNK(found.st_mode):
                self._header(name, found, tarfile.SYMTYPE, os.readlink(path, dir_fd=directory))
                return
            if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
                self._warn(f"{shown}: {_kind_of(found.st_mode)}, left out")
                return
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(path, flags, dir_fd=directory)
        except FileNotFoundError:
            self._warn(f"{shown}: not there when its turn came")
            return
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENOTDIR):
                self._warn(f"{shown}: replaced while it was read, left out")
                return
            raise _cannot_read(shown, error) from error
        try:
            found = os.fstat(descriptor)
            if stat.S_ISDIR(found.st_mode):
                self._add_directory(descriptor, found, shown, name, depth)
            elif stat.S_ISREG(found.st_mode):
                self._add_file(descriptor, found, shown, name)
            else:
                self._warn(f"{shown}: replaced while it was read, left out")
        finally:
            os.close(descriptor)

    def _add_directory(self, descriptor: int, found: os.stat_result, shown: str, name: str, depth: int) -> None:
        if depth >= _DEEPEST_DIRECTORY:
            raise CheckError(shown, f"more than {_DEEPEST_DIRECTORY} directories inside each other", "Move it out of what is backed up.", "too-deep")
        self._header(name, found, tarfile.DIRTYPE)
        try:
            with os.scandir(descriptor) as children:
                for child in children:
                    self._add(child.name, descriptor, f"{shown}/{child.name}", f"{name}/{child.name}", depth + 1)
        except _TargetError:
            raise
        except OSError as error:
            raise _cannot_read(shown, error) from error

    def _add_file(self, descriptor: int, found: os.stat_result, shown: str, name: str) -> None:
        identity = (found.st_dev, found.st_ino)
        if found.st_nlink > 1 and identity in self.names:
            self._header(name, found, tarfile.LNKTYPE, self.names[identity])
            return
        content = _LiveFile(descriptor, shown, self.pace)
        self._header(name, found, tarfile.REGTYPE, content=content)
        self.bytes += found.st_size
        if found.st_nlink > 1:
            self.names[identity] = name
        if content.missing_bytes:
            self._warn(f"{shown}: shrank while it was read, its last {content.missing_bytes} bytes are zero")

    def _header(self, name: str, found: os.stat_result, kind: bytes, link: str = "", content: t.Optional[_LiveFile] = None) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        member.mode, member.uid, member.gid, member.mtime = stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_mtime
        member.size = found.st_size if content is not None else 0
        try:
            self.tar.addfile(member, t.cast("t.Optional[t.IO[bytes]]", content))
        except OSError as error:  # reading raises CheckError; what is left is the archive's own side
            raise _TargetError(error.errno, error.strerror) from error
        self.tar.members.clear()  # type: ignore[attr-defined]  # else memory grows with the number of files
        self.files += 1


class _Sink:
    """A stream that may be a pipe, which cannot tell its position."""

    def __init__(self, stream: t.IO[bytes]) -> None:
        self.stream = stream
        self.position = 0

    def write(self, data: bytes) -> None:
        self.stream.write(data)
        self.position += len(data)

    def tell(self) -> int:
        return self.position


class _TargetError(OSError):
    """The archive cannot be written, in contrast to a member that cannot be read."""


class _LiveFile:
    """An open file that gives exactly the bytes it had when it was opened, whatever happens to it meanwhile."""

    def __init__(self, descriptor: int, shown: str, pace: t.Optional[Pace]) -> None:
        self.descriptor = descriptor
        self.shown = shown
        self.pace = pace
        self.missing_bytes = 0

    def read(self, size: int) -> bytes:
        """Return exactly *size* bytes."""
        found = b""
        while len(found) < size and not self.missing_bytes:
            try:
                more = os.read(self.descriptor, size - len(found))
            except OSError as error:
                raise _cannot_read(self.shown, error) from error
            if not more:
                break
            found += more
        if self.pace is not None:
            self.pace(size)
        self.missing_bytes += size - len(found)
        return found.ljust(size, b"\0")


def _without_overlaps(entries: Entries) -> t.Iterator[tuple[str, str]]:
    """Yield *entries* without those that a directory among them brings anyway; two files of one name are a mistake."""
    paths: dict[str, str] = {}
    for path, name in entries:
        clean = safe_name(name, path)
        if not clean:
            raise CheckError(path, "has no name to be archived under", "", "no-name")
        if paths.setdefault(clean, path) != path:
            raise CheckError(path, f"would be archived under the same name as {paths[clean]}: {clean}", "Leave one of them out.", "same-name")
    for name, path in paths.items():
        for parent in parents_of(name):
            if parent in paths and not os.path.islink(paths[parent]):
                if os.path.join(paths[parent], os.path.relpath(name, parent)) != path:
                    raise CheckError(path, f"would be archived inside {paths[parent]}: {name}", "Leave one of them out.", "same-name")
                break
        else:
            yield path, name


def config_entries(
    working_dir: str, config_files: t.Iterable[str], environment_files: t.Iterable[str], extra_paths: t.Iterable[str] = ()
) -> list[tuple[str, str]]:
    """Return what describes a project: its Compose files, ``.env*`` beside them, files named by ``env_file``, *extra_paths*.

    Relative paths are the project directory's. A file that is a link is entered with what it points to, for a link
    alone restores nothing. Files outside the project directory get a name below :data:`OUTSIDE`.
    """
    root = os.path.abspath(working_dir)

    def absolute(paths: t.Iterable[str]) -> list[str]:
        return [os.path.normpath(os.path.join(root, path)) for path in paths]

    compose_files = absolute(config_files)
    paths = list(compose_files)
    for directory in dict.fromkeys([root, *(os.path.dirname(path) for path in compose_files)]):
        paths += _dot_env_files(directory)
    paths += [path for path in absolute(environment_files) if os.path.lexists(path)]
    for path in absolute(extra_paths):
        paths += _files_below(path) if os.path.isdir(path) else [path]
    entries: dict[str, str] = {}
    for path in paths:
        inside = os.path.relpath(path, root)
        name = f"{OUTSIDE}{path}" if inside.split("/")[0] == ".." else inside
        entries[name] = path if os.path.isdir(path) else os.path.realpath(path)
    return [(path, name) for name, path in entries.items()]


def _dot_env_files(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as found:
            return sorted(entry.path for entry in found if entry.name.startswith(".env") and not entry.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _cannot_read(directory, error) from error


def _files_below(top: str) -> list[str]:
    found = []
    for directory, names, files in os.walk(top, onerror=_give_up):
        # A link to a directory stays a link; what it leads to is not the project's.
        links = [name for name in names if os.path.islink(os.path.join(directory, name))]
        names[:] = sorted(name for name in names if name not in _NOT_CONFIGURATION and name not in links)
        found += [os.path.join(directory, name) for name in sorted(files + links)]
    return found


def _give_up(error: OSError) -> None:
    raise _cannot_read(str(error.filename), error) from error


def _cannot_read(shown: str, error: OSError) -> CheckError:
    code = "permission-denied" if error.errno in (errno.EACCES, errno.EPERM) else "read-failed"
    return CheckError(shown, f"cannot be read: {error.strerror}; nothing was archived", f"Look at it: sudo ls -ld {shlex.quote(shown)}", code)


def _kind_of(mode: int) -> str:
    if stat.S_ISSOCK(mode):
        return "socket"
    return "pipe" if stat.S_ISFIFO(mode) else "device"
