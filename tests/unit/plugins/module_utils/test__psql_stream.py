# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A session over a psql that is played by the test."""

from __future__ import annotations

import re
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._postgres_session import DatabaseError
from ansible_collections.stackops.runbook.plugins.module_utils._psql_stream import PsqlStream, psql_argv

OUT, ERR = 1, 2
Frames = list[tuple[int, bytes]]


class Psql:
    """Answers each script with what *answer* makes of it and of the word that ends an answer."""

    source = "container x: psql"

    def __init__(self, answer: t.Callable[[str, str], Frames]) -> None:
        self._answer = answer
        self._frames: Frames = []
        self.scripts: list[str] = []

    def send(self, data: bytes) -> None:
        self.scripts.append(data.decode())
        found = re.search(r"\\warn (\S+) ", data.decode())
        assert found is not None
        self._frames = self._answer(data.decode(), found[1])

    def frames(self, deadline: float) -> t.Iterator[tuple[int, bytes]]:
        yield from self._frames


def stream(answer: t.Callable[[str, str], Frames]) -> tuple[PsqlStream, Psql]:
    psql = Psql(answer)
    return PsqlStream(t.cast("t.Any", psql), 5.0), psql


def verdict(word: str, sqlstate: str = "00000", message: str = "") -> bytes:
    return f"{word} {sqlstate} {message} {word}\n".encode()


@pytest.mark.parametrize("verdict_first", [True, False])
def test_rows_come_whatever_stream_is_first(verdict_first: bool) -> None:
    def answer(script: str, word: str) -> Frames:
        frames = [(OUT, b'[{"a":1},'), (OUT, b' {"a":"\\n\xc3\xbc"}]\n'), (ERR, verdict(word))]
        return [frames[2], *frames[:2]] if verdict_first else frames

    session, psql = stream(answer)
    assert session.rows("SELECT a") == [{"a": 1}, {"a": "\nü"}]
    assert "FROM (SELECT a) AS answer" in psql.scripts[0]


def test_a_verdict_in_pieces() -> None:
    session, dummy = stream(lambda script, word: [(ERR, bytes([byte])) for byte in verdict(word)])
    session.execute("BEGIN")


def test_a_value_and_none() -> None:
    session, dummy = stream(lambda script, word: [(OUT, b'[{"n": 7, "m": 8}]\n' if "some" in script else b"[]\n"), (ERR, verdict(word))])
    assert session.value("SELECT some") == 7 and session.value("SELECT none") is None


def test_an_error_has_its_sqlstate_and_message() -> None:
    def answer(script: str, word: str) -> Frames:
        return [(ERR, b"ERROR:  division by zero\n" + verdict(word, "22012", "division by zero"))]

    session, dummy = stream(answer)
    for call in (session.execute, session.rows):
        with pytest.raises(DatabaseError, match="division by zero") as caught:
            call("SELECT 1/0")
        assert caught.value.sqlstate == "22012"


def test_what_an_effect_prints_is_not_taken_for_an_answer() -> None:
    session, psql = stream(lambda script, word: [(ERR, b"NOTICE:  something\n"), (ERR, verdict(word))])
    session.execute("DROP TABLE IF EXISTS a")
    assert psql.scripts[0].startswith("\\o /dev/null\n")


def test_the_word_is_not_to_be_guessed() -> None:
    """What a server says about a statement may be what a user wrote."""

    def answer(script: str, word: str) -> Frames:
        return [(ERR, b"NOTICE:  stackops-0000000000000000 00000  stackops-0000000000000000\n"), (ERR, verdict(word, "42601", "syntax error"))]

    session, dummy = stream(answer)
    with pytest.raises(DatabaseError, match="syntax error"):
        session.execute("X")


@pytest.mark.parametrize("frames", [[], [(ERR, b"FATAL:  terminating connection\n")], [(OUT, b'[{"a":1}]\n')]])
def test_a_session_that_ends_is_an_error(frames: Frames) -> None:
    session, dummy = stream(lambda script, word: frames)
    with pytest.raises(DatabaseError) as caught:
        session.rows("SELECT 1")
    assert caught.value.code == "session-ended"


def test_the_argument_list_reads_no_files_of_the_user() -> None:
    assert psql_argv("/opt/psql")[:2] == ["/opt/psql", "--no-psqlrc"] and "--no-password" in psql_argv()
