# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Reading archives (tar, tar.gz) that nobody vouches for: damaged ones are an error, harmful members are refused.

``tarfile`` only parses headers here. Its own extraction follows links and its filters came after Python 3.9; its reader takes a
damaged header for the end of the archive, and a header's word for how much memory to take.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import gzip
import math
import os
import shlex
import shutil
import tarfile
import typing as t
import zlib

from ._envelope import CheckError

CHUNK_BYTES = 256 * 1024
# A header may announce any length for its extended names; no real one comes near this.
_LONGEST_READ_BYTES = 1024 * 1024
_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
}
_REFUSED_KINDS = {tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device", tarfile.FIFOTYPE: "a pipe", tarfile.GNUTYPE_SPARSE: "a sparse file"}


@dataclasses.dataclass(frozen=True)
class Member:
    """One member of an archive; *kind* is ``file``, ``directory``, ``symlink`` or ``hardlink``, *target* is a link's."""

    name: str
    kind: str
    bytes: int
    mode: int
    mtime: float
    target: str


def list_archive(path: str) -> list[Member]:
    """Return the members of an archive; it is read to its end, so that a damaged one is an error."""
    with open_archive(path) as reader:
        return [_member(info, path) for info in reader.members()]


def check_archive(path: str) -> int:
    """Return the number of members after reading everything: structure, end mark, gzip's checksum, no harmful member."""
    with open_archive(path) as reader:
        count = 0
        for info in reader.members():
            _member(info, path)
            count += 1
        return count


def extract(path: str, into: str, *, names: t.Optional[t.Iterable[str]] = None, keep_outside_links: bool = False) -> list[str]:
    """Extract an archive into the empty or new directory *into*; return the paths written. See :func:`extract_tar`."""
    with open_archive(path) as reader:
        return _Extraction(reader, into, names, keep_outside_links).run()


def extract_tar(stream: t.IO[bytes], source: str, into: str, *, names: t.Optional[t.Iterable[str]] = None, keep_outside_links: bool = False) -> list[str]:
    """Extract an uncompressed tar, all of it or nothing, into the empty or new directory *into*.

    Refused are absolute names, ``..``, members below a link, two members of one name, devices and pipes, and links that
    lead out of *into* (*keep_outside_links* allows symbolic ones: a volume's may be right for its container; they are
    made last and never followed). Set-user-id bits are dropped; modes and times are kept, owners when root does it.
    *names* restricts it to these members and what is below them. Nothing is synced to the disk.

    :returns: the paths of files and links, not of directories.
    """
    return _Extraction(TarReader(stream, source), into, names, keep_outside_links).run()


@contextlib.contextmanager
def open_archive(path: str) -> t.Iterator[TarReader]:
    """Open an archive for reading it once, forwards."""
    try:
        file = gzip.GzipFile(path, "rb")
    except OSError as error:
        code = "not-found" if error.errno == errno.ENOENT else "permission-denied"
        raise CheckError(path, f"cannot be opened: {error.strerror}", f"Look at it: sudo ls -l {shlex.quote(path)}", code) from error
    with file:
        yield TarReader(t.cast("t.IO[bytes]", file), path)


class TarReader:
    """The members of an uncompressed tar in a stream that is read once, forwards, in pieces of bounded size."""

    def __init__(self, stream: t.IO[bytes], source: str) -> None:
        self.source = source
        self._stream = stream
        self._position = 0
        self._last = b""

    def members(self) -> t.Iterator[tarfile.TarInfo]:
        """Yield each member's header; :meth:`content` gives its bytes until the next one is asked for."""
        tar = None
        while True:
            try:
                if tar is None:
                    tar = tarfile.TarFile(fileobj=t.cast("t.IO[bytes]", self), mode="r")  # reads the first header
                    if tar.firstmember is None:  # type: ignore[attr-defined]
                        break
                info = tar.next()
            except (tarfile.TarError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
                raise damaged(self.source, f"a header cannot be read ({error})") from error
            if info is None:
                break
            tar.members.clear()  # type: ignore[attr-defined]  # else memory grows with the number of members
            yield info
        # tarfile takes a damaged header for the end as well.
        if len(self._last) != tarfile.BLOCKSIZE or any(self._last):
            raise damaged(self.source, "it has no end mark: it was cut off, or a header is damaged")
        while chunk := self.read(CHUNK_BYTES):
            if any(chunk):
                raise damaged(self.source, "something follows its end mark")

    def content(self, info: tarfile.TarInfo) -> t.Iterator[bytes]:
        """Yield the content of the member that :meth:`members` gave last."""
        left = info.size
        while left > 0:
            chunk = self.read(min(left, CHUNK_BYTES))
            if not chunk:
                raise damaged(self.source, f"it ends within {info.name}")
            left -= len(chunk)
            yield chunk

    def read(self, size: int) -> bytes:
        """Return *size* bytes, fewer only at the end of the stream (for tarfile)."""
        if not 0 <= size <= _LONGEST_READ_BYTES:
            raise damaged(self.source, f"a header announces {size} bytes of names")
        pieces: list[bytes] = []
        left = size
        try:
            while left and (piece := self._stream.read(left)):
                pieces.append(piece)
                left -= len(piece)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise damaged(self.source, str(error)) from error
        except OSError as error:
            raise CheckError(self.source, f"cannot be read: {error.strerror}", "Look for errors of the disk: sudo dmesg | tail", "read-failed") from error
        self._last = b"".join(pieces)
        self._position += len(self._last)
        return self._last

    def tell(self) -> int:
        """Return the position in the stream (for tarfile)."""
        return self._position

    def seek(self, position: int) -> None:
        """Skip to *position*, which lies ahead (for tarfile)."""
        if position < self._position:
            raise damaged(self.source, "a header leads backwards")
        while self._position < position and self.read(min(position - self._position, CHUNK_BYTES)):
            pass


class _Extraction:
    def __init__(self, reader: TarReader, into: str, names: t.Optional[t.Iterable[str]], keep_outside_links: bool) -> None:
        self.reader = reader
        self.source = reader.source
        self.into = os.path.abspath(into)
        self.wanted = None if names is None else {safe_name(name): False for name in names}
        self.keep_outside_links = keep_outside_links
        self.directories: dict[str, tarfile.TarInfo] = {}
        self.symlinks: dict[str, tarfile.TarInfo] = {}
        self.written: list[str] = []

    def run(self) -> list[str]:
        existed = os.path.lexists(self.into)
        if existed and (os.path.islink(self.into) or not os.path.isdir(self.into) or os.listdir(self.into)):
            raise CheckError(self.into, "is not an empty directory; nothing was extracted", "Extract into a new directory.", "not-empty")
        try:
            os.makedirs(self.into, 0o700, exist_ok=True)
            for info in self.reader.members():
                member = _member(info, self.source)
                if member.name and self._is_wanted(member.name):
                    self._extract(info, member)
            self._finish()
        except BaseException as error:
            _remove_below(self.into)
            if not existed:
                shutil.rmtree(self.into, ignore_errors=True)
            if isinstance(error, OSError):
                raise write_failed(error.filename or self.into, error) from error
            raise
        return self.written

    def _is_wanted(self, name: str) -> bool:
        if self.wanted is None:
            return True
        for candidate in (name, *parents_of(name)):
            if candidate in self.wanted:
                self.wanted[candidate] = True
                return True
        return False

    def _extract(self, info: tarfile.TarInfo, member: Member) -> None:
        path = os.path.join(self.into, member.name)
        for parent in parents_of(member.name):
            if parent in self.symlinks:
                raise refused(self.source, member.name, f"it lies below the link {parent}")
            if os.path.isfile(os.path.join(self.into, parent)):
                raise refused(self.source, member.name, f"it lies below the file {parent}")
        may_be_there = member.kind == "directory" and os.path.isdir(path)
        if member.name in self.symlinks or (os.path.lexists(path) and not may_be_there):
            raise refused(self.source, member.name, "there are two members of this name")
        if member.kind == "directory":
            os.makedirs(path, 0o700, exist_ok=True)
            self.directories[path] = info
            return
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        if member.kind == "symlink":
            self._check_symlink(member)
            self.symlinks[member.name] = info
        elif member.kind == "hardlink":
            first = os.path.join(self.into, safe_name(member.target, self.source))
            if not os.path.isfile(first):
                raise refused(self.source, member.name, f"it is another name of {member.target}, which was not extracted before it")
            os.link(first, path, follow_symlinks=False)
        else:
            self._write(info, path)
        self.written.append(path)

    def _check_symlink(self, member: Member) -> None:
        target = os.path.normpath(os.path.join(os.path.dirname(member.name), member.target))
        if (os.path.isabs(member.target) or target.split("/")[0] == "..") and not self.keep_outside_links:
            raise refused(self.source, member.name, f"it is a link that leads out of the archive, to {member.target}")

    def _write(self, info: tarfile.TarInfo, path: str) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for chunk in self.reader.content(info):
                file.write(chunk)
            file.flush()
            if os.geteuid() == 0:
                os.fchown(descriptor, info.uid, info.gid)
            os.fchmod(descriptor, info.mode & 0o777)
            os.utime(descriptor, (info.mtime, info.mtime))

    def _finish(self) -> None:
        missing = sorted(name for name, found in (self.wanted or {}).items() if not found)
        if missing:
            hint = f"See what there is: tar -tzf {shlex.quote(self.source)}"
            raise CheckError(self.source, f"has no member {', '.join(missing)}; nothing was extracted", hint, "not-found")
        for name, info in self.symlinks.items():
            path = os.path.join(self.into, name)
            os.symlink(info.linkname, path)
            if os.geteuid() == 0:
                os.lchown(path, info.uid, info.gid)
            os.utime(path, (info.mtime, info.mtime), follow_symlinks=False)
        # Last and from the inside out, because writing into a directory changes its time and may need its permission.
        for path, info in sorted(self.directories.items(), reverse=True):
            if os.geteuid() == 0:
                os.chown(path, info.uid, info.gid)
            os.chmod(path, info.mode & 0o3777)
            os.utime(path, (info.mtime, info.mtime))


def _remove_below(directory: str) -> None:
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)


def _member(info: tarfile.TarInfo, source: str) -> Member:
    """Return what a header says, or refuse it."""
    kind = _KINDS.get(info.type, "")
    if not kind or info.issparse():
        raise refused(source, info.name, f"it is {_REFUSED_KINDS.get(info.type, 'a sparse file' if kind else f'of the unknown type {info.type!r}')}")
    name = safe_name(info.name, source)
    if kind in ("symlink", "hardlink") and (not info.linkname or "\0" in info.linkname):
        raise refused(source, info.name, "it is a link to nothing")
    if info.size < 0 or not math.isfinite(info.mtime) or abs(info.mtime) > 1e11 or not (0 <= info.uid < 2**32 and 0 <= info.gid < 2**32):
        raise refused(source, info.name, "its size, time or owner is no possible one")
    return Member(name, kind, info.size if kind == "file" else 0, info.mode & 0o7777, info.mtime, info.linkname)


def safe_name(name: str, source: str = "") -> str:
    """Return a member's name without ``.`` and doubled slashes (``""`` for the top itself); refuse what leads elsewhere."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise refused(source, name, "its name leads out of the archive")
    try:
        too_long = any(len(os.fsencode(part)) > 255 for part in parts) or len(os.fsencode(name)) > 4095
    except UnicodeEncodeError:
        raise refused(source, name, "its name cannot be written on this host (set LANG=C.UTF-8)") from None
    if too_long:
        raise refused(source, name[:60] + "…", "its name is too long")
    return "/".join(parts)


def parents_of(name: str) -> t.Iterator[str]:
    """Yield the directories above *name*, the nearest first."""
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def refused(source: str, name: str, reason: str) -> CheckError:
    """Return the error for a member that must not be written."""
    return CheckError(source, f"member {name!r} is refused: {reason}", "This archive was not written by a backup, or it was changed since.", "archive-refused")


def damaged(source: str, reason: str) -> CheckError:
    """Return the error for an archive that is not what was written."""
    return CheckError(source, f"the archive is damaged: {reason}", "Use another backup set, or an off-site copy of this one.", "archive-damaged")


def write_failed(path: str, error: OSError) -> CheckError:
    """Return the error for something that cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    directory = shlex.quote(os.path.dirname(path) or ".")
    hint = f"See what takes the space: df -h {directory}" if full else f"Look at its directory: sudo ls -ld {directory}"
    return CheckError(path, f"cannot be written: {error.strerror}; what was written of it was removed", hint, "no-space" if full else "write-failed")
