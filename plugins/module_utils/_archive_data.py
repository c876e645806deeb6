# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Reads the data files of a directory archive in this process: decoded to the end, hashed, and the rows of each counted.

``pg_restore`` reads an archive only when its table of contents is there, which ``pg_dump`` writes last. The data files can be
read before: :class:`Follower` does so while they are written, and is through when the dump is. What the table of contents
says of them comes afterwards (``_backup_verify``), and so does whether the disk gives back what was read here (``_backup_run``).
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import hashlib
import os
import re
import threading
import time
import typing as t
import zlib

from ._backup_manifest import side_by_side
from ._envelope import CheckError
from ._guarded_files import open_regular, told

_INPUT_BYTES = 256 << 10
_OUTPUT_BYTES = 1 << 20
#: What ``pg_dump`` writes after the last row of a table.
TABLE_END = b"\\.\n\n\n"
_TABLE = re.compile(r"(\d+)\.dat(?:\.\w+)?")
_DATA = re.compile(r"(?:\d+|blob_\d+)\.dat(\.\w+)?")
_LARGE_OBJECTS = re.compile(r"blobs(?:_\d+)?\.toc")
_PAUSE_SECONDS = 0.05
#: So much of the time may go into looking for new files.
_SCAN_SHARE = 0.1
_FLUSH_SECONDS = 0.5
_HINT = "The archive is not whole: do not rely on this set."

Take = t.Callable[[bytearray, int], t.Any]


@dataclasses.dataclass(frozen=True)
class DataFile:
    """What one data file holds; *rows* is 0 where it is not of a table."""

    rows: int
    bytes: int
    sha256: str


class _Plain:
    """What is not compressed."""

    ended = True

    def feed(self, data: bytearray, size: int, take: Take) -> None:
        take(data, size)

    def close(self) -> None:
        """There is nothing to give back."""


class _Gzip:
    """One gzip member."""

    def __init__(self, output_bytes: int) -> None:
        self._decoder, self._output_bytes = zlib.decompressobj(31), output_bytes
        self.ended = False

    def feed(self, data: bytearray, size: int, take: Take) -> None:
        waiting = bytes(memoryview(data)[:size])
        while waiting:
            if self._decoder.eof:
                raise ValueError("bytes after its end")
            try:
                piece = bytearray(self._decoder.decompress(waiting, self._output_bytes))
            except zlib.error as error:
                raise ValueError(str(error)) from None
            if piece:
                take(piece, len(piece))
            waiting = self._decoder.unconsumed_tail or self._decoder.unused_data
        self.ended = self._decoder.eof

    def close(self) -> None:
        """There is nothing to give back."""


class _InBuffer(ctypes.Structure):
    _fields_ = (("src", ctypes.c_void_p), ("size", ctypes.c_size_t), ("pos", ctypes.c_size_t))


class _OutBuffer(ctypes.Structure):
    _fields_ = (("dst", ctypes.c_void_p), ("size", ctypes.c_size_t), ("pos", ctypes.c_size_t))


@functools.cache
def _zstd() -> t.Optional[ctypes.CDLL]:
    """Return the system's library, which its package manager itself needs nearly everywhere; ``None`` where there is none."""
    try:
        library = ctypes.CDLL("libzstd.so.1")
        library.ZSTD_createDCtx.restype = ctypes.c_void_p
        library.ZSTD_freeDCtx.argtypes = [ctypes.c_void_p]
        library.ZSTD_decompressStream.restype = ctypes.c_size_t
        library.ZSTD_decompressStream.argtypes = [ctypes.c_void_p, ctypes.POINTER(_OutBuffer), ctypes.POINTER(_InBuffer)]
        library.ZSTD_isError.argtypes = [ctypes.c_size_t]
        library.ZSTD_getErrorName.argtypes = [ctypes.c_size_t]
        library.ZSTD_getErrorName.restype = ctypes.c_char_p
    except (OSError, AttributeError):
        return None
    return library


class _Zstd:
    """Zstandard frames, by the system's library: the standard library of these Pythons has none."""

    def __init__(self, output: bytearray) -> None:
        self._library = t.cast(ctypes.CDLL, _zstd())
        self._context = self._library.ZSTD_createDCtx()
        if not self._context:
            raise MemoryError
        self._output = output
        self._into = (ctypes.c_char * len(output)).from_buffer(output)
        self.ended = False

    def feed(self, data: bytearray, size: int, take: Take) -> None:
        source = (ctypes.c_char * len(data)).from_buffer(data)
        given = _InBuffer(ctypes.addressof(source), size, 0)
        made = _OutBuffer(ctypes.addressof(self._into), len(self._output), 0)
        while True:
            made.pos = 0
            left = self._library.ZSTD_decompressStream(self._context, ctypes.byref(made), ctypes.byref(given))
            if self._library.ZSTD_isError(left):
                raise ValueError(self._library.ZSTD_getErrorName(left).decode("ascii", "replace"))
            if made.pos:
                take(self._output, made.pos)
            self.ended = left == 0
            # A full output may have left something behind that needs no more input.
            if given.pos == given.size and (self.ended or made.pos < made.size):
                return

    def close(self) -> None:
        """Give its memory back."""
        if self._context:
            self._library.ZSTD_freeDCtx(self._context)
            self._context = None


class Buffers:
    """What one thread reads and decodes with; what comes out comes in pieces of *output_bytes*."""

    def __init__(self, output_bytes: int = _OUTPUT_BYTES) -> None:
        self.input, self.output = bytearray(_INPUT_BYTES), bytearray(output_bytes)


def can_decode(compression: str) -> bool:
    """Tell whether this process can read what ``pg_dump --compress`` of this value writes."""
    return not compression.startswith("zstd") or _zstd() is not None


def data_files(directory: str) -> list[str]:
    """Return the names of an archive's data files: tables and large objects."""
    with os.scandir(directory) as entries:
        return sorted(entry.name for entry in entries if _DATA.fullmatch(entry.name))


def table_file(dump_id: int, names: t.Container[str]) -> t.Optional[str]:
    """Return the name of the data file of an entry of the table of contents; ``None`` where there is none."""
    return _named(f"{dump_id}.dat", names)


def _named(name: str, names: t.Container[str]) -> t.Optional[str]:
    return next((one for one in (f"{name}{suffix}" for suffix in ("", ".zst", ".gz")) if one in names), None)


def large_objects(directory: str, data: t.Container[str]) -> int:
    """Return how many large objects an archive lists, the data of each of which is among *data*.

    :raises CheckError: code ``corrupt``.
    """
    listed: set[str] = set()
    with told(directory):
        for toc in sorted(name for name in os.listdir(directory) if _LARGE_OBJECTS.fullmatch(name)):
            with open(os.path.join(directory, toc), encoding="ascii", errors="replace", opener=open_regular) as file:
                listed.update(line.rstrip("\n").partition(" ")[2] for line in file)
    missing = sorted(name for name in listed if _named(name, data) is None)
    if missing:
        raise CheckError(directory, f"the data of {len(missing)} large objects is not there: {', '.join(missing[:3])}", _HINT, "corrupt")
    return len(listed)


class Reader:
    """One data file, read from its begin to where it ends at the time."""

    def __init__(self, directory: str, name: str) -> None:
        self.path = os.path.join(directory, name)
        self._name = name
        self._is_table = bool(_TABLE.fullmatch(name))
        self._descriptor = -1
        self._decoder: t.Union[_Plain, _Gzip, _Zstd, None] = None
        self._digest = hashlib.sha256()
        self._read, self._bytes, self._lines, self._tail = 0, 0, 0, b""

    @property
    def descriptor(self) -> int:
        """The open file; -1 where it is not open."""
        return self._descriptor

    @property
    def ended(self) -> bool:
        """Whether what was read says itself that it is all there is."""
        return self._decoder is not None and self._decoder.ended and not isinstance(self._decoder, _Plain)

    def advance(self, buffers: Buffers, take: t.Optional[Take] = None) -> bool:
        """Read the next piece, and give *take* what comes out of it; return whether there was one.

        :raises CheckError: code ``corrupt``.
        """
        if self._descriptor < 0:
            self._descriptor = open_regular(self.path)
        size = os.readv(self._descriptor, [buffers.input])
        if not size:
            if not self._read:
                # Nothing is in it yet, or ever: of a hundred thousand empty large objects none stays open.
                self.close()
            return False
        if self._decoder is None:
            self._decoder = self._decoder_with(buffers)

        def taken(data: bytearray, length: int) -> None:
            self._bytes += length
            self._lines += data.count(b"\n", 0, length)
            self._tail = (self._tail + bytes(data[max(0, length - len(TABLE_END) - 1) : length]))[-len(TABLE_END) - 1 :]
            if take is not None:
                take(data, length)

        self._read += size
        self._digest.update(memoryview(buffers.input)[:size])
        try:
            self._decoder.feed(buffers.input, size, taken)
        except ValueError as error:
            raise CheckError(self.path, f"it cannot be decoded: {error}", _HINT, "corrupt") from None
        return True

    def _decoder_with(self, buffers: Buffers) -> t.Union[_Plain, _Gzip, _Zstd]:
        if self._name.endswith(".zst"):
            return _Zstd(buffers.output)
        return _Gzip(len(buffers.output)) if self._name.endswith(".gz") else _Plain()

    def finish(self) -> DataFile:
        """Take the end of the file, which has been read to there and is not written to any more.

        :raises CheckError: code ``corrupt``: its data has no end.
        """
        # Of an empty large object not even the compression's own begin is written.
        ended = self._decoder.ended if self._decoder is not None else not self._is_table
        # A line of its own, or all there is.
        if self._is_table and not (self._tail.endswith(b"\n" + TABLE_END) or (self._bytes == len(TABLE_END) and self._tail == TABLE_END)):
            ended = False
        if not ended:
            raise CheckError(self.path, "its data has no end", _HINT, "corrupt")
        info = os.fstat(self._descriptor) if self._descriptor >= 0 else os.lstat(self.path)
        if info.st_size != self._read:
            raise CheckError(self.path, "somebody still writes to it", _HINT, "corrupt")
        rows = self._lines - TABLE_END.count(b"\n") if self._is_table else 0
        return DataFile(rows, self._bytes, self._digest.hexdigest())

    def close(self) -> None:
        """Give back what it holds."""
        if self._decoder is not None:
            self._decoder.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_data(directory: str) -> dict[str, DataFile]:
    """Read all data files of an archive that is whole, to their ends.

    :raises CheckError: code ``corrupt``.
    """

    def read(name: str) -> DataFile:
        buffers, reader = Buffers(), Reader(directory, name)
        try:
            while reader.advance(buffers):
                pass
            return reader.finish()
        finally:
            reader.close()

    with told(directory):
        # The largest first: what is left for the end is short.
        names = sorted(data_files(directory), key=lambda name: os.path.getsize(os.path.join(directory, name)), reverse=True)
        return dict(zip(names, side_by_side(read, names)))


def check_sums(directory: str, data: t.Mapping[str, DataFile], sums: t.Mapping[str, str], reason: str, hint: str) -> None:
    """Hold what was decoded against the SHA-256 that files have to have, where they are known.

    :raises CheckError: code ``corrupt``, with *reason*.
    """
    for name, one in data.items():
        if sums.get(name, one.sha256) != one.sha256:
            raise CheckError(os.path.join(directory, name), reason, hint, "corrupt")


class Follower:
    """Reads the data files in *directory* while they are written, in a thread of its own; use :func:`following`."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._buffers = Buffers()
        self._readers: dict[str, Reader] = {}
        self._over, self._abandoned = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._found: dict[str, DataFile] = {}
        self._error: t.Optional[Exception] = None
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._follow, self._flush)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def result(self) -> dict[str, DataFile]:
        """Wait until everything is read; call it when the last byte is written.

        :raises CheckError: code ``corrupt``.
        """
        self._over.set()
        self._threads[0].join()
        if self._error is not None:
            raise self._error
        return self._found

    def stop(self) -> None:
        """End, whether everything is read or not."""
        self._abandoned.set()
        self._over.set()
        for thread in self._threads:
            thread.join()
        for reader in self._readers.values():
            reader.close()

    def _follow(self) -> None:
        try:
            while not self._abandoned.is_set():
                over = self._over.is_set()
                began = time.monotonic()
                self._look()
                pause = max(_PAUSE_SECONDS, (time.monotonic() - began) / _SCAN_SHARE)
                if not self._advance_all() and not over:
                    self._over.wait(pause)
                if over:
                    for name in sorted(self._readers):
                        self._end(name)
                    return
        except Exception as error:  # pylint: disable=broad-except  # raised where its result is asked for
            self._error = error

    def _look(self) -> None:
        with told(self._directory):
            for name in data_files(self._directory) if os.path.isdir(self._directory) else ():
                if name not in self._readers and name not in self._found:
                    with self._lock:
                        self._readers[name] = Reader(self._directory, name)

    def _advance_all(self) -> bool:
        """Read on in every file to where it is; return whether there was anything."""
        some = False
        for name, reader in list(self._readers.items()):
            with told(self._directory):
                while not self._abandoned.is_set() and reader.advance(self._buffers):
                    some = True
            if reader.ended:
                # It is not written to any more: of ten thousand tables few are open at a time.
                self._end(name)
        return some

    def _end(self, name: str) -> None:
        self._found[name] = self._readers[name].finish()
        with self._lock:
            self._readers.pop(name).close()

    def _flush(self) -> None:
        """Have what is written on the disk little by little: at the end there would be a wait for all of it."""
        while not self._over.wait(_FLUSH_SECONDS):
            with self._lock:
                copies = [os.dup(reader.descriptor) for reader in self._readers.values() if reader.descriptor >= 0]
            for descriptor in copies:
                try:
                    os.fdatasync(descriptor)
                except OSError:
                    pass  # the dump and the publication meet the same error, and tell it
                finally:
                    os.close(descriptor)


@contextlib.contextmanager
def following(directory: str, compression: str) -> t.Iterator[t.Optional[Follower]]:
    """Yield what reads the archive in *directory* while the block writes it; ``None`` where this process cannot."""
    if not can_decode(compression):
        yield None
        return
    follower = Follower(directory)
    follower.start()
    try:
        yield follower
    finally:
        follower.stop()
