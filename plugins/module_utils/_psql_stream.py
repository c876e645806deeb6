# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""One ``psql`` inside a container, asked statement by statement: a session that can hold a transaction, a snapshot or a lock.

It is of the server's own version and needs nothing on the host. When this process ends, however it ends, psql's input
ends with it, psql ends, and the server rolls back.
"""

from __future__ import annotations

import json
import secrets
import time
import typing as t

from ._engine import STDERR_STREAM, AttachedProcess
from ._postgres_session import DatabaseError, statement_error

Row = dict[str, t.Any]
_ARGV = ("psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--no-password")


def psql_argv(program: str = "psql") -> list[str]:
    """Return the argument list of a psql that :class:`PsqlStream` can talk to."""
    return [program, *_ARGV[1:]]


class PsqlStream:
    """A session over *process*, a psql that was started with :func:`psql_argv`."""

    def __init__(self, process: AttachedProcess, timeout_seconds: float) -> None:
        self._process = process
        self._timeout_seconds = timeout_seconds
        # Nothing that the server says can look like the end of an answer: the word is not known before this run.
        self._word = f"stackops-{secrets.token_hex(8)}"

    def rows(self, sql: str, timeout_seconds: t.Optional[float] = None) -> list[Row]:
        """Return what the query *sql* (without semicolon) gives.

        :raises DatabaseError: the server refused it, with its SQLSTATE, or the session ended.
        """
        # Of the newlines in JSON, those in strings are escaped: the others may go, so that the answer is one line.
        lines = "coalesce(pg_catalog.json_agg(pg_catalog.row_to_json(answer)), '[]'::json)::text"
        wrapped = f"SELECT pg_catalog.replace({lines}, E'\\n', ' ') FROM ({sql}) AS answer"
        return t.cast("list[Row]", json.loads(self._ask(wrapped, True, timeout_seconds)))

    def value(self, sql: str, timeout_seconds: t.Optional[float] = None) -> t.Any:
        """Return the single value that the query *sql* gives; ``None`` where it gives no row."""
        rows = self.rows(sql, timeout_seconds)
        return next(iter(rows[0].values())) if rows else None

    def execute(self, sql: str, timeout_seconds: t.Optional[float] = None) -> None:
        """Run one statement (without semicolon) for its effect. :raises DatabaseError: as :meth:`rows`."""
        self._ask(sql, False, timeout_seconds)

    def _ask(self, sql: str, wants_line: bool, timeout_seconds: t.Optional[float]) -> str:
        limit = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        output = "" if wants_line else "\\o /dev/null\n"
        script = f"{output}{sql}\n;\n\\o\n\\warn {self._word} :SQLSTATE :LAST_ERROR_MESSAGE {self._word}\n"
        self._process.send(script.encode())
        out, err = bytearray(), bytearray()
        for stream, piece in self._process.frames(time.monotonic() + limit):
            (err if stream == STDERR_STREAM else out).extend(piece)
            state = self._state(err)
            # The two streams come by themselves: the verdict may be here before the answer.
            if state is not None and (not wants_line or state[0] != "00000" or out.endswith(b"\n")):
                if state[0] != "00000":
                    raise statement_error(self._process.source, state[0], state[1])
                return out.decode("utf-8", "replace")
        said = err.decode("utf-8", "replace").strip().splitlines()
        raise DatabaseError(self._process.source, said[-1] if said else "the session ended", "", "session-ended")

    def _state(self, err: bytearray) -> t.Optional[tuple[str, str]]:
        text = err.decode("utf-8", "replace").rstrip()
        begin = text.find(self._word)
        if begin < 0 or not text.endswith(self._word) or begin == len(text) - len(self._word):
            return None
        sqlstate, dummy, message = text[begin + len(self._word) : -len(self._word)].strip().partition(" ")
        return sqlstate, message.strip()
