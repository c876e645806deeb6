# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rows that are given to several sessions arrive whole, once, and in their own table, whatever their length."""

from __future__ import annotations

import collections
import gzip
import os
import pathlib
import threading
import time
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._archive_data import TABLE_END
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._restore_load import Feeder, Script

BEFORE, AFTER = b"\\restrict abc\n\nSET client_encoding = 'UTF8';\n", b"\n\n--\n-- complete\n--\n\n\\unrestrict abc\n\n"
STATEMENTS = {
    "11.dat.gz": b"COPY public.small (id) FROM stdin;\n",
    "12.dat.gz": b'COPY public."from stdin;" ("a\nCOPY b", id) FROM stdin;\n',
    "13.dat.gz": b"COPY public.nothing (id) FROM stdin;\n",
}
NAMES = {int(name.partition(".")[0]): name for name in STATEMENTS}
# In an order of its own.
SCRIPT = BEFORE + b"\n--\n-- Data for Name: x\n--\n\n".join(STATEMENTS[NAMES[one]] + b"%d\n" % one + TABLE_END for one in (12, 11, 13)) + AFTER
ROWS = {
    "11.dat.gz": [b"1", b"2", b""],
    "12.dat.gz": [b"%d\t%s" % (number, b"x" * (number * 37 % 500)) for number in range(40_000)] + [b"long" * 700_000, b"last"],
    "13.dat.gz": [],
}


class Sessions:
    """What reads the pipes, one slower than the other; the second may go away early."""

    def __init__(self, pipes: t.Sequence[pathlib.Path], leaves_after: int = 1 << 60) -> None:
        self.read = [bytearray() for dummy in pipes]
        self.threads = [threading.Thread(target=self._run, args=(number, path, leaves_after if number else 1 << 60)) for number, path in enumerate(pipes)]
        for thread in self.threads:
            thread.start()

    def _run(self, number: int, path: pathlib.Path, leaves_after: int) -> None:
        with path.open("rb", buffering=0) as pipe:
            while len(self.read[number]) < leaves_after:
                piece = pipe.read(65536)
                if not piece:
                    return
                self.read[number] += piece
                time.sleep(0.0005 * number)

    def all(self) -> list[bytes]:
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive()
        return [bytes(one) for one in self.read]


@pytest.fixture(name="pipes")
def _pipes(tmp_path: pathlib.Path) -> list[pathlib.Path]:
    for name, rows in ROWS.items():
        (tmp_path / name).write_bytes(gzip.compress(b"".join(row + b"\n" for row in rows) + TABLE_END, 1))
    pipes = [tmp_path / f"rows-{number}" for number in range(2)]
    for pipe in pipes:
        os.mkfifo(pipe)
    return pipes


def _feeder(tmp_path: pathlib.Path, pipes: t.Sequence[pathlib.Path]) -> Feeder:
    return Feeder(str(tmp_path), Script(SCRIPT, NAMES), [str(pipe) for pipe in pipes])


def test_the_script_is_taken_apart() -> None:
    script = Script(SCRIPT, NAMES)
    assert (script.before, script.after, script.numbers) == (BEFORE, AFTER, [12, 11, 13])
    assert script.copies == [(STATEMENTS[NAMES[number]], NAMES[number]) for number in script.numbers]
    assert Script(BEFORE, NAMES).copies == []


def test_every_row_arrives_once_in_its_table(tmp_path: pathlib.Path, pipes: list[pathlib.Path]) -> None:
    sessions = Sessions(pipes)
    feeder = _feeder(tmp_path, pipes)
    feeder.feed()
    arrived: dict[bytes, collections.Counter[bytes]] = {statement: collections.Counter() for statement in STATEMENTS.values()}
    taking: collections.Counter[bytes] = collections.Counter()
    for text in sessions.all():
        assert text.startswith(BEFORE) and text.endswith(AFTER)
        rest = text[len(BEFORE) : -len(AFTER)]
        while rest:
            statement = next(one for one in STATEMENTS.values() if rest.startswith(one))
            taking[statement] += 1
            data, dummy, rest = rest[len(statement) :].partition(TABLE_END)
            arrived[statement].update(data.split(b"\n")[:-1])
    for name, statement in STATEMENTS.items():
        assert arrived[statement] == collections.Counter(ROWS[name])
    assert [taking[statement] for statement in STATEMENTS.values()] == [1, 2, 0]
    assert not feeder.failed.is_set()


def test_who_goes_away_ends_it_for_all(tmp_path: pathlib.Path, pipes: list[pathlib.Path]) -> None:
    sessions = Sessions(pipes, leaves_after=100_000)
    feeder = _feeder(tmp_path, pipes)
    feeder.feed()
    assert feeder.failed.is_set()
    assert not sessions.all()[0].endswith(AFTER)


def test_a_file_that_does_not_end_is_told_and_ends_it_for_all(tmp_path: pathlib.Path, pipes: list[pathlib.Path]) -> None:
    path = tmp_path / "12.dat.gz"
    path.write_bytes(path.read_bytes()[:-100])
    sessions = Sessions(pipes)
    feeder = _feeder(tmp_path, pipes)
    with pytest.raises(CheckError, match="has no end"):
        feeder.feed()
    assert feeder.failed.is_set()
    assert not any(text.endswith(AFTER) for text in sessions.all())


def test_nobody_waits_for_who_never_came(tmp_path: pathlib.Path, pipes: list[pathlib.Path]) -> None:
    feeder = _feeder(tmp_path, pipes)
    sessions = Sessions(pipes[:1])
    feeder.failed.set()
    began = time.monotonic()
    threading.Timer(0.5, lambda: pipes[1].open("rb").read()).start()
    feeder.feed()
    assert time.monotonic() - began < 9
    assert sessions.all() == [b""]
