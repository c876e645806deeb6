# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Facts and reports of a fleet that stay on the disk: what is in memory grows with the findings, not with all that was collected.

The facts of one host are some tens of kilobytes as JSON and ten times that as objects. They are needed once to judge and once to
tell, one host after another, so that they wait in an unnamed file meanwhile; ``report.json`` has one line for each host, so that an
earlier report is read the same way.
"""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import re
import shutil
import tempfile
import typing as t

Facts = t.Mapping[str, t.Any]

#: A small fleet's facts never get to the disk.
IN_MEMORY_BYTES = 16 << 20
#: What one report may have once it is unpacked. Ten thousand hosts take 400 MB.
MAXIMUM_REPORT_BYTES = 4 << 30

_NAME = re.compile(rb'"(?:[^"\\]|\\.)*":')
_BEGIN_OF_HOSTS = b'"hosts":{'


class DamagedRow(KeyError):
    """The row of a host in a report that cannot be read; for who only looks whether there is one, there is none."""


def dumps(value: t.Any) -> bytes:
    """Return *value* as compact JSON. Halves of surrogate pairs, which are no UTF-8, are written as JSON's escapes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def loads(content: bytes) -> t.Any:
    """Return the value of JSON *content*.

    :raises ValueError: it is none, or nested too deeply.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


class StoredFacts(t.Mapping[str, t.Any]):
    """The facts of one host in a :class:`FactsStore`. Each access reads them anew: take what is needed more than once with :meth:`load`."""

    __slots__ = ("_length", "_offset", "_store")

    def __init__(self, store: FactsStore, offset: int, length: int) -> None:
        self._store, self._offset, self._length = store, offset, length

    def raw(self) -> bytes:
        """Return them as they stand in ``report.json``."""
        return self._store.read(self._offset, self._length)

    def load(self) -> dict[str, t.Any]:
        """Return them as a mapping of their own."""
        return t.cast(dict[str, t.Any], json.loads(self.raw()))

    def __getitem__(self, key: str) -> t.Any:
        return self.load()[key]

    def __iter__(self) -> t.Iterator[str]:
        return iter(self.load())

    def __len__(self) -> int:
        return len(self.load())

    def __bool__(self) -> bool:
        return self._length > len(b"{}")


class FactsStore:
    """Facts by host in a file without a name, in *directory* once they are many; the file is gone with the process."""

    def __init__(self, directory: t.Union[str, os.PathLike[str]]) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES, dir=os.fspath(directory))  # noqa: SIM115  it lives as long as the report
        self._end = 0

    def add(self, facts: Facts) -> StoredFacts:
        """Keep *facts* and return what reads them back."""
        return self.add_raw(dumps(facts))

    def add_raw(self, content: bytes) -> StoredFacts:
        """Keep facts that are JSON already."""
        self._file.seek(self._end)
        self._file.write(content)
        stored = StoredFacts(self, self._end, len(content))
        self._end += len(content)
        return stored

    def read(self, offset: int, length: int) -> bytes:
        """Return what was kept at *offset*."""
        self._file.seek(offset)
        return self._file.read(length)


def facts_of(row: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the facts in a *row* of a report as a mapping, read once wherever they are; empty where it has none."""
    facts = row.get("facts")
    if isinstance(facts, StoredFacts):
        return facts.load()
    return facts if isinstance(facts, dict) else {}


class StoredRows(t.Mapping[str, t.Any]):
    """The rows of a report by host, each read from its line when it is asked for."""

    def __init__(self, file: t.IO[bytes], places: t.Mapping[str, tuple[int, int]]) -> None:
        self._file, self._places = file, places

    def __getitem__(self, host: str) -> dict[str, t.Any]:
        offset, length = self._places[host]
        self._file.seek(offset)
        try:
            row = loads(self._file.read(length))
        except ValueError as error:
            raise DamagedRow(f"{host}: {error}") from error
        if not isinstance(row, dict):
            raise DamagedRow(f"{host}: not a mapping")
        return row

    def __iter__(self) -> t.Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def open_report(path: pathlib.Path) -> dict[str, t.Any]:
    """Return the report at *path*, packed with gzip or not, with its rows left on the disk where they stand on lines of their own.

    :raises OSError: it cannot be read.
    :raises ValueError: it is no JSON, or no mapping.
    """
    file: t.IO[bytes] = open(path, "rb")  # noqa: SIM115  the rows read from it
    if path.suffix == ".gz":
        file = _unpacked(file)
    outer: list[bytes] = []
    places: dict[str, tuple[int, int]] = {}
    offset, inside = 0, False
    for line in file:
        text = line.rstrip(b"\r\n")
        if not inside:
            outer.append(line)
            inside = text == _BEGIN_OF_HOSTS
        elif text in (b"}", b"},"):
            outer.append(line)
            inside = False
        else:
            named = _NAME.match(text)
            if named is None:
                raise ValueError(f"byte {offset} is no row of a host")
            places[str(loads(named.group()[:-1]))] = (offset + named.end(), len(text) - named.end() - text.endswith(b","))
        offset += len(line)
    report = loads(b"".join(outer))
    if not isinstance(report, dict):
        raise ValueError("not a mapping")
    if places:
        report["hosts"] = StoredRows(file, places)
    return report


def _unpacked(packed: t.IO[bytes]) -> t.IO[bytes]:
    """Return the content of a packed file as one in which one can seek.

    :raises ValueError: it is damaged, or has no end.
    """
    plain = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115  the caller reads from it
    try:
        with packed, gzip.GzipFile(fileobj=packed) as content:
            while chunk := content.read(1 << 20):
                plain.write(chunk)
                if plain.tell() > MAXIMUM_REPORT_BYTES:
                    raise ValueError(f"larger than {MAXIMUM_REPORT_BYTES} bytes")
    except (OSError, EOFError) as error:
        raise ValueError(f"the packed file is damaged: {error}") from error
    plain.seek(0)
    return t.cast(t.IO[bytes], plain)


def pack(path: pathlib.Path) -> None:
    """Replace the file at *path* by one packed with gzip beside it; whenever it is interrupted, one of the two is there and whole."""
    packed = path.with_name(path.name + ".gz")
    with tempfile.NamedTemporaryFile(prefix=".new-", dir=path.parent, delete=False) as file:
        try:
            with open(path, "rb") as plain, gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) as content:
                shutil.copyfileobj(plain, content, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o600)
            os.replace(file.name, packed)
        except BaseException:
            os.unlink(file.name)
            raise
    path.unlink()
