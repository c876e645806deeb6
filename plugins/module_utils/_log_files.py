# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The files of one log: which belong together after rotation, where a moment is in them, and their lines in blocks."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
import typing as t

from ._envelope import CheckError

BLOCK_BYTES = 1 << 17
#: For long regions: fewer, larger ones cost less; but of those that an end of the window cuts, every line is parsed.
LARGE_BLOCK_BYTES = 1 << 19
LARGE_REGION_BYTES = 1 << 27
#: A line that is longer is read past, and only its beginning looked at.
LONGEST_LINE_BYTES = 2 << 20
KEPT_OF_LONG_LINE = 1 << 16
#: How far writers that share a file may be behind one another.
SKEW_SECONDS = 5.0
PROBES = 16
SAMPLE_BYTES = 1 << 16
PROBE_BYTES = 1 << 12
MAX_WALK_DEPTH = 3
MAX_FILES = 200

_COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
_DATE = r"[._-]\d{4}-?\d\d-?\d\d(?:[T_-]?\d\d[-:]?\d\d(?:[-:]?\d\d)?(?:[_.]\d{1,6})?)?"
_ROTATED = re.compile(r"^(?P<base>.+?)(?:\.\d{1,3}|" + _DATE + r"(?P<ext>\.log|\.json|\.txt)?)$")

TimeOf = t.Callable[[bytes], t.Optional[float]]


@dataclasses.dataclass(frozen=True)
class LogFile:
    """One file of a log."""

    path: str
    size: int
    modified: float
    device: int
    inode: int

    @property
    def compressed(self) -> bool:
        """Whether it has to be unpacked to be read."""
        return self.path.endswith(_COMPRESSED)


def base_of(path: str) -> str:
    """Return the path of the log that the file at *path* is or was: without number, date and compression."""
    for ending in _COMPRESSED:
        if path.endswith(ending):
            path = path[: -len(ending)]
    directory, name = os.path.split(path)
    match = _ROTATED.match(name)
    if match:
        name = match["base"] + (match["ext"] or "")
    return os.path.join(directory, name)


def files_of(base: str) -> list[LogFile]:
    """Return the file *base* and those rotated from it, oldest first.

    :raises CheckError: codes ``missing`` and ``permission-denied``.
    """
    directory = os.path.dirname(base) or "."
    stem = os.path.splitext(os.path.basename(base))[0]
    try:
        names = [name for name in os.listdir(directory) if name.startswith(stem)]
    except OSError as error:
        raise _unreadable(base, error) from None
    found = []
    for name in names:
        path = os.path.join(directory, name)
        if base_of(path) == base or path == base:
            entry = stat_file(path)
            if entry is not None:
                found.append(entry)
    if not found:
        # Listing was possible, so the file is not there: say it in the kernel's words.
        raise _unreadable(base, FileNotFoundError(2, "No such file or directory"))
    return sorted(found, key=lambda entry: (entry.path == base, -_number(entry.path), entry.modified, entry.path))[-MAX_FILES:]


def _number(path: str) -> int:
    """Return the number that rotation gave a file; the higher, the older it is, whatever its time says."""
    match = re.search(r"\.(\d{1,3})(?:\.(?:gz|zst|bz2|xz))?$", path)
    return int(match[1]) if match else 0


def stat_file(path: str) -> t.Optional[LogFile]:
    """Return the regular file at *path*, or ``None``."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return LogFile(path, status.st_size, status.st_mtime, status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def expand(patterns: t.Iterable[str]) -> tuple[list[str], list[CheckError]]:
    """Return the logs that paths, globs and directories name (without their rotated files), and what names none."""
    # What only some runs need is imported there: a run should be over before it is noticed.
    import glob

    bases: dict[str, None] = {}
    errors = []
    for pattern in patterns:
        if os.path.isdir(pattern):
            found = walk(pattern)
        elif glob.has_magic(pattern):
            found = sorted(path for path in glob.glob(pattern, recursive=True) if stat_file(path))
        else:
            found = [pattern]
        if not found:
            errors.append(CheckError(pattern, "no log file is there", f"Look with: ls -la {pattern}", "missing"))
        for path in found:
            bases[base_of(path) if path in found and base_of(path) != path and _exists_or_rotated(path) else path] = None
    return list(bases), errors


def _exists_or_rotated(path: str) -> bool:
    return os.path.exists(base_of(path)) or path.endswith(_COMPRESSED)


def walk(directory: str, depth: int = MAX_WALK_DEPTH) -> list[str]:
    """Return the logs under *directory*: files called ``*.log``, at most *depth* levels down, without following links."""
    found: dict[str, None] = {}
    pending = [(directory, 0)]
    while pending and len(found) < MAX_FILES:
        current, level = pending.pop()
        try:
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries[:10000]:
            if entry.is_dir(follow_symlinks=False):
                if level < depth - 1:
                    pending.append((entry.path, level + 1))
            elif entry.is_file(follow_symlinks=False) and base_of(entry.path).endswith(".log"):
                found[base_of(entry.path)] = None
    return sorted(found)


class Source:
    """Bytes of one file from the front, or of a plain file from anywhere."""

    def __init__(self, file: LogFile) -> None:
        self.file = file
        self.read_bytes = 0
        self._process: t.Any = None
        self._stream: t.Any = None
        self._descriptor = -1
        try:
            if not file.compressed:
                self._descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
            else:
                self._stream = self._unpack(file.path)
        except OSError as error:
            raise _unreadable(file.path, error) from None

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *dummy: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        elif self._stream is not None:
            self._stream.close()

    def _unpack(self, path: str) -> t.Any:
        if path.endswith(".gz"):
            import gzip

            return gzip.open(path, "rb")
        if path.endswith(".zst"):
            return self._unzstd(path)
        import bz2
        import lzma

        return bz2.open(path, "rb") if path.endswith(".bz2") else lzma.open(path, "rb")

    def _unzstd(self, path: str) -> t.Any:
        import shutil
        import subprocess

        program = shutil.which("zstd")
        if program is None:
            raise CheckError(path, "zstd is needed to read it and is not installed", "Install zstd on this host.", "driver-unreadable")
        self._process = subprocess.Popen(
            [program, "-dcq", "--", path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        return self._process.stdout

    def at(self, offset: int, size: int) -> bytes:
        """Return up to *size* bytes from *offset* of a plain file."""
        return os.pread(self._descriptor, size, offset)

    def pieces(self, start: int = 0, end: t.Optional[int] = None) -> t.Iterator[bytes]:
        """Yield what lies between *start* and *end* (of the unpacked bytes), piece by piece."""
        offset = start
        block = LARGE_BLOCK_BYTES if self.file.size - start > LARGE_REGION_BYTES else BLOCK_BYTES
        try:
            if self._stream is not None:
                skip = start
                while skip > 0:
                    skipped = len(self._stream.read(min(skip, 1 << 20)))
                    if not skipped:
                        return
                    skip -= skipped
            while end is None or offset < end:
                size = block if end is None else min(block, end - offset)
                # read1 gives what there is before a damaged place, where read would give nothing.
                piece = self._stream.read1(size) if self._stream is not None else self.at(offset, size)
                if not piece:
                    return
                offset += len(piece)
                self.read_bytes += len(piece)
                yield piece
        except (OSError, EOFError) as error:
            raise CheckError(self.file.path, f"cannot be read to its end: {error}", f"Look at it with: ls -l {self.file.path}", "unparsable") from None


class Taker(t.Protocol):
    """What takes lines: see :class:`._log_scan.Scanner`."""

    def block(self, data: bytes, start: int, end: int) -> None:
        """Take whole lines."""

    def line(self, line: bytes) -> None:
        """Take one line."""


def feed(pieces: t.Iterable[bytes], taker: Taker, last_line: bool = True) -> int:
    """Hand the lines in *pieces* over in order; return how many bytes at the end belong to a line without newline.

    That line is handed over only if *last_line*. Of a line longer than :data:`LONGEST_LINE_BYTES` the beginning is
    handed over; runs of NUL, which a copied and truncated file begins with, are dropped.
    """
    rest = b""
    rest_size = 0
    for piece in pieces:
        first = piece.find(b"\n")
        if first < 0:
            rest_size += len(piece)
            if len(rest) < LONGEST_LINE_BYTES:
                rest = (rest + piece).lstrip(b"\0")
            continue
        if rest_size or first:
            rest = (rest + piece[:first]).lstrip(b"\0")
            taker.line(rest if len(rest) <= LONGEST_LINE_BYTES else rest[:KEPT_OF_LONG_LINE])
        last = piece.rfind(b"\n")
        if last > first:
            taker.block(piece, first, last)
        rest = piece[last + 1 :]
        rest_size = len(rest)
    if rest and last_line:
        taker.line(rest if len(rest) <= LONGEST_LINE_BYTES else rest[:KEPT_OF_LONG_LINE])
    return rest_size


def line_start(source: Source, offset: int, limit: int) -> int:
    """Return the offset of the first line that begins at or after *offset*; *limit* where none does before it."""
    if offset <= 0:
        return 0
    position, size = offset - 1, PROBE_BYTES
    while position < limit:
        data = source.at(position, min(size, limit - position))
        size = min(4 * size, 1 << 20)
        if not data:
            return limit
        found = data.find(b"\n")
        if found >= 0:
            return position + found + 1
        position += len(data)
    return limit


def _time_at(source: Source, offset: int, limit: int, time_of: TimeOf) -> t.Optional[tuple[int, float]]:
    """Return where the first line with a time begins at or after *offset*, and that time."""
    position, size = line_start(source, offset, limit), PROBE_BYTES
    while position < limit:
        data = source.at(position, min(size, limit - position))
        if not data:
            # Cut short by somebody while it is read.
            return None
        size = min(4 * size, SAMPLE_BYTES)
        end = data.rfind(b"\n")
        if end < 0 and len(data) < min(SAMPLE_BYTES, limit - position):
            continue
        if end < 0:
            # One line fills all of it: its time stands in front if anywhere.
            moment = time_of(data)
            if moment is not None:
                return position, moment
            position = line_start(source, position + len(data), limit)
            continue
        begin = 0
        for line in data[:end].split(b"\n"):
            moment = time_of(line) if line else None
            if moment is not None:
                return position + begin, moment
            begin += len(line) + 1
        position += end + 1
    return None


def is_ordered(source: Source, limit: int, time_of: TimeOf) -> bool:
    """Tell by evenly spread samples whether times grow with offsets, but for :data:`SKEW_SECONDS`."""
    before = None
    for number in range(PROBES):
        found = _time_at(source, limit * number // PROBES, limit, time_of)
        if found is None:
            continue
        if before is not None and found[1] < before - SKEW_SECONDS:
            return False
        before = found[1] if before is None else max(before, found[1])
    return True


def seek(source: Source, moment: float, limit: int, time_of: TimeOf) -> int:
    """Return an offset at the begin of a line, before which no line is as late as *moment*: by halving, in ordered files."""
    low, high = 0, limit
    while high - low > SAMPLE_BYTES // 4:
        middle = (low + high) // 2
        found = _time_at(source, middle, high, time_of)
        if found is None or found[1] >= moment:
            high = middle
        else:
            low = found[0]
    return low


def _unreadable(path: str, error: OSError) -> CheckError:
    if isinstance(error, PermissionError):
        return CheckError(path, "permission denied", "Run with become, or let the user read the file.", "permission-denied")
    return CheckError(path, error.strerror or str(error), f"Look with: ls -la {os.path.dirname(path) or '.'}", "missing")
