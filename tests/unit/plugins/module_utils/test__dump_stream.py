# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The counter of a decoded dump, with any names and rows, in blocks of any size."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._dump_stream import DumpCounter, unquoted
from hypothesis import given
from hypothesis import strategies as st

# What may stand in an identifier and in a row of COPY's text format, with a preference for what looks like the dump's own words.
_WORDS = st.sampled_from(["COPY ", "FROM stdin;", "\\.", '"', "'", "(", ")", ".", " ", ";", "SELECT pg_catalog.setval(", "--", "a", "ü", "🐘", "public"])
_TEXT = st.characters(exclude_characters="\0\n\r\\", codec="utf-8")
_NAMES = st.one_of(st.lists(_WORDS, min_size=1, max_size=5).map("".join), st.text(_TEXT, min_size=1, max_size=12))
_FIELDS = st.one_of(_WORDS, st.sampled_from(["\\N", "", "\\n", "\\\\.", "\\\\", "x\\t"]), st.text(_TEXT, max_size=8))


def quoted(name: str) -> str:
    """Return an identifier as pg_dump writes it."""
    return name if name.isascii() and name.isidentifier() and name == name.lower() else '"' + name.replace('"', '""') + '"'


@dataclasses.dataclass(frozen=True)
class Table:
    """A table with some rows."""

    name: tuple[str, str]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def dumped(self) -> str:
        """Return its data as ``pg_restore --data-only`` writes it."""
        columns = f"({', '.join(map(quoted, self.columns))}) " if self.columns else " "
        lines = [f"COPY {'.'.join(map(quoted, self.name))} {columns}FROM stdin;"]
        lines += ["\t".join(row) for row in self.rows]
        return "\n".join([*lines, "\\.", "", ""])


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Draw a table."""
    columns = draw(st.lists(_NAMES, max_size=3))
    row = st.tuples(*(_FIELDS for dummy in columns))
    # The end of the data is a line that no row can be: in a row a backslash is doubled, or begins an escape.
    rows = draw(st.lists(row, max_size=6).map(lambda drawn: [one for one in drawn if one != ("\\.",)]))
    return Table((draw(_NAMES), draw(_NAMES)), tuple(columns), tuple(rows))


@dataclasses.dataclass(frozen=True)
class Sequence:
    """Where a sequence stands."""

    name: tuple[str, str]
    value: int
    called: bool

    def dumped(self) -> str:
        """Return the statement that puts it there."""
        name = ".".join(map(quoted, self.name)).replace("'", "''")
        return f"--\n-- Name: x; Type: SEQUENCE SET\n--\n\nSELECT pg_catalog.setval('{name}', {self.value}, {str(self.called).lower()});\n\n\n"


_SEQUENCES = st.builds(Sequence, st.tuples(_NAMES, _NAMES), st.integers(-(2**63), 2**63 - 1), st.booleans())


@given(st.lists(st.one_of(tables(), _SEQUENCES), max_size=6), st.integers(1, 200))
def test_any_dump_in_blocks_of_any_size(entries: list[Table | Sequence], block_bytes: int) -> None:
    text = "--\n-- PostgreSQL database dump\n--\n\nSET row_security = off;\n\n" + "".join(one.dumped() for one in entries)
    stream = (text + "--\n-- PostgreSQL database dump complete\n--\n\n").encode()
    counter = DumpCounter()
    for start in range(0, len(stream), block_bytes):
        counter.feed(stream[start : start + block_bytes])
    assert counter.finish() is None and counter.bytes == len(stream)
    rows: dict[tuple[str, str], int] = {}
    for one in entries:
        if isinstance(one, Table):
            rows[one.name] = rows.get(one.name, 0) + len(one.rows)
    assert counter.rows == rows
    assert counter.sequences == {one.name: (one.value, one.called) for one in entries if isinstance(one, Sequence)}


@given(tables(), st.data())
def test_a_dump_cut_within_a_table_is_noticed(table: Table, data: st.DataObject) -> None:
    stream = table.dumped().encode()
    begin, end = stream.index(b"FROM stdin;\n") + len(b"FROM stdin;\n"), stream.rindex(b"\\.\n") + 2
    if b"FROM stdin;\n" not in stream[: stream.index(b"\n") + 1]:
        return
    counter = DumpCounter()
    counter.feed(stream[: data.draw(st.integers(begin, end))])
    assert "has no end" in str(counter.finish())


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 20])
def test_sequences_between_tables(size: int) -> None:
    text = b"SELECT pg_catalog.setval('public.a', 7, true);\n\nCOPY public.t (a) FROM stdin;\n1\n\\.\n\n\n"
    text += b"SELECT pg_catalog.setval('\"S\".\"b''c\"', -3, false);\n"
    counter = DumpCounter()
    for start in range(0, len(text), size):
        counter.feed(text[start : start + size])
    assert counter.finish() is None
    assert counter.rows == {("public", "t"): 1}
    assert counter.sequences == {("public", "a"): (7, True), ("S", "b'c"): (-3, False)}


def test_names_without_their_quotes() -> None:
    assert unquoted(b'"a ""b"""') == 'a "b"' and unquoted(b"plain") == "plain" and unquoted('"ü"'.encode()) == "ü"


def test_large_objects_take_no_memory() -> None:
    """Between the tables stand the large objects: megabytes that are no table's."""
    counter = DumpCounter()
    line = b"SELECT pg_catalog.lowrite(0, '\\x" + b"00" * 16000 + b"');\n"
    for dummy in range(400):
        counter.feed(line)
    assert len(counter._rest) < 4 << 20  # pylint: disable=protected-access
    counter.feed(b"\nCOPY public.t (a) FROM stdin;\n1\n2\n\\.\n")
    assert counter.finish() is None and counter.rows == {("public", "t"): 2}
