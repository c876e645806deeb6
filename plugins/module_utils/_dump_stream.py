# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Counts what a decoded archive holds: the rows of each table and where sequences stand.

It reads what ``pg_restore --data-only`` writes, block by block, at the speed of counting newlines. So every byte of the
archive is decompressed and every row counted, which neither ``pg_restore --list`` nor a checksum would do.
"""

from __future__ import annotations

import re
import typing as t

Name = tuple[str, str]

_PART = rb'(?:"(?:[^"]|"")*"|[^\s".(]+)'
_COPY = re.compile(rb"^COPY (" + _PART + rb")\.(" + _PART + rb") .*?FROM stdin;\n", re.DOTALL | re.MULTILINE)
_SETVAL = re.compile(rb"^SELECT pg_catalog\.setval\('((?:[^']|'')*)', (-?\d+), (true|false)\);$", re.MULTILINE)
_QUALIFIED = re.compile(rb"(" + _PART + rb")\.(" + _PART + rb")")
_END = b"\n\\.\n"
#: Of what stands between tables, so much may belong to one statement that has not ended.
_STATEMENT_BYTES = 1 << 20


class DumpCounter:
    """Takes the stream in blocks of any size."""

    def __init__(self) -> None:
        self.rows: dict[Name, int] = {}
        self.sequences: dict[Name, tuple[int, bool]] = {}
        self.bytes = 0
        self._table: t.Optional[Name] = None
        # What was read and not yet judged: between tables up to the statement that is not whole, in a table the last bytes,
        # which may be the beginning of its end.
        self._rest = b""

    def feed(self, block: bytes) -> None:
        """Take the next block."""
        self.bytes += len(block)
        data = self._rest + block if self._rest else block
        position = 0
        while True:
            position, more = self._rows_of(data, position) if self._table is not None else self._statements(data, position)
            if not more:
                break
        self._rest = data[position:]

    def finish(self) -> t.Optional[str]:
        """Take the end of the stream; return what is wrong with it, or ``None``."""
        if self._table is not None:
            return f"the data of {'.'.join(self._table)} has no end"
        self._setvals(self._rest)
        return None

    def _rows_of(self, data: bytes, position: int) -> tuple[int, bool]:
        """Count the rows from *position* on; return where to go on and whether there is more to judge."""
        name = t.cast("Name", self._table)
        # The newline before the first row stands for the end of a row before it, in the block's rest as well.
        # Most blocks hold no end, which a search from behind finds out in less than half the time: it skips where it may.
        end = data.find(_END, position) if data.rfind(_END, position) >= 0 else -1
        if end < 0:
            kept = max(position, len(data) - len(_END) + 1)
            self.rows[name] += data.count(b"\n", position, kept)
            return kept, False
        self.rows[name] += data.count(b"\n", position, end + 1) - 1
        self._table = None
        return end + len(_END), True

    def _statements(self, data: bytes, position: int) -> tuple[int, bool]:
        """Look for the next table from *position* on; return where to go on and whether there is more to judge."""
        found = _COPY.search(data, position)
        if found is None:
            # What is cut here is looked at again with the next block, from its line's beginning.
            kept = max(position, data.rfind(b"\nCOPY ", position, len(data)) + 1)
            if kept == position and len(data) - position > _STATEMENT_BYTES:
                kept = data.rfind(b"\n", position) + 1 or position
            self._setvals(data[position:kept])
            return kept, False
        self._setvals(data[position : found.start()])
        self._table = (unquoted(found[1]), unquoted(found[2]))
        self.rows.setdefault(self._table, 0)
        # With the newline that ends the statement, an empty table ends as any other.
        return found.end() - 1, True

    def _setvals(self, statements: bytes) -> None:
        for text, value, called in _SETVAL.findall(statements):
            name = _QUALIFIED.fullmatch(text.replace(b"''", b"'"))
            if name is not None:
                self.sequences[(unquoted(name[1]), unquoted(name[2]))] = (int(value), called == b"true")


def unquoted(name: bytes) -> str:
    """Return an identifier as it is called, without the quotes that SQL may need."""
    if name[:1] == b'"':
        name = name[1:-1].replace(b'""', b'"')
    return name.decode("utf-8", "surrogateescape")
