# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""End sessions of PostgreSQL that block others, or that leave a transaction open: the statement first, the session only where that does not help.

Numbers of processes are used again. A session is the same one only where its process, its start and the start of its statement are,
and the server compares all three in the statement that ends it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
import typing as t

from ._discovery import Stack
from ._engine import Engine, EngineOptions
from ._envelope import CheckError
from ._postgres import Instance
from ._postgres_health import exact_time, root_blocker
from ._postgres_session import DatabaseError, literal
from ._postgres_statements import normalised
from ._postgres_target import only_server, psql_words
from ._postgres_tools import APPLICATION_NAME as OWN_TOOLS
from ._postgres_tools import Tools, beside
from ._postgres_wire import APPLICATION_NAME
from ._psql_stream import PsqlStream
from ._redaction import redactor_of
from ._remediation import Change, Facts, Verified, Work, only_stack, run_remediation

_POLL_SECONDS = 0.2
_END_SECONDS = 15.0
_QUERY_CHARACTERS = 300


_SESSIONS = f"""
SELECT a.pid, a.usename::text AS user, a.datname::text AS database, nullif(a.application_name, '') AS application, host(a.client_addr) AS client,
       coalesce(a.backend_type, 'client backend') AS backend_type, coalesce(a.state, 'unknown') AS state, left(a.query, 4000) AS query,
       {exact_time("a.backend_start")} AS backend_start, {exact_time("a.query_start")} AS query_start,
       extract(epoch FROM clock_timestamp() - coalesce(a.state_change, a.backend_start))::float8 AS state_seconds,
       CASE WHEN w.pid IS NOT NULL THEN pg_catalog.pg_blocking_pids(a.pid) ELSE '{{}}'::int[] END AS blocked_by,
       extract(epoch FROM clock_timestamp() - coalesce(w.since, a.state_change))::float8 AS wait_seconds
FROM pg_catalog.pg_stat_activity a
LEFT JOIN (SELECT l.pid, min((to_jsonb(l)->>'waitstart')::timestamptz) AS since FROM pg_catalog.pg_locks l WHERE NOT l.granted GROUP BY l.pid) w
  ON w.pid = a.pid
WHERE a.pid <> pg_catalog.pg_backend_pid()"""


@dataclasses.dataclass(frozen=True)
class Backend:
    """One session of the server as it is now; *blocks* are the processes that wait for it, the longest for *blocks_seconds*."""

    pid: int
    backend_start: str
    query_start: t.Optional[str]
    state: str
    state_seconds: float
    backend_type: str
    user: t.Optional[str]
    database: t.Optional[str]
    application: t.Optional[str]
    client: t.Optional[str]
    query: str
    blocks: tuple[int, ...] = ()
    blocks_seconds: float = 0.0

    @property
    def idle_in_transaction(self) -> bool:
        """Whether its transaction is open and it does nothing."""
        return self.state.startswith("idle in transaction")

    @property
    def in_the_way(self) -> bool:
        """Whether it is one of those that may be ended at all."""
        return bool(self.blocks) or self.idle_in_transaction

    @property
    def holds(self) -> bool:
        """Whether it holds something up now. One whose transaction has failed has let go of its locks."""
        return bool(self.blocks) or self.state == "idle in transaction"

    @property
    def protected(self) -> str:
        """Why it is never ended, or nothing."""
        if self.backend_type != "client backend":
            return f"it is the server's own {self.backend_type}"
        return "it is a backup or a restore of this collection" if self.application in (OWN_TOOLS, APPLICATION_NAME) else ""

    def is_the_same(self, other: Backend) -> bool:
        """Whether *other* is this session, still at the same statement."""
        return (self.pid, self.backend_start, self.query_start) == (other.pid, other.backend_start, other.query_start)

    def as_facts(self) -> Facts:
        """Return what is shown and written down of it, without values."""
        facts = dataclasses.asdict(self)
        return {**facts, "blocks": list(self.blocks), "query": normalised(self.query, _QUERY_CHARACTERS, numbers=True)}

    @property
    def words(self) -> str:
        """What it does, for a sentence."""
        who = f"{self.user or '?'}@{self.database or '?'}" + (f" ({self.application})" if self.application else "")
        does = f"{self.state} for {self.state_seconds:.0f} s"
        holds = f", {len(self.blocks)} wait for it, the longest for {self.blocks_seconds:.0f} s" if self.blocks else ""
        return f"process {self.pid} of {who}, {does}{holds}"

    @property
    def condition(self) -> str:
        """The SQL that is true for this session alone."""
        start = f"query_start IS NOT DISTINCT FROM {literal(self.query_start)}::timestamptz"
        return f"pid = {self.pid} AND backend_start = {literal(self.backend_start)}::timestamptz AND {start}"


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Which sessions: *named* ones (of a finding), those that block others, or those that leave a transaction open for so long."""

    named: tuple[t.Mapping[str, t.Any], ...] = ()
    blocking_seconds: t.Optional[float] = None
    idle_seconds: t.Optional[float] = None


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The sessions to end, and why others are left alone."""

    backends: tuple[Backend, ...] = ()
    left: tuple[str, ...] = ()


def backends_of(rows: t.Sequence[t.Mapping[str, t.Any]]) -> list[Backend]:
    """Return the sessions in the server's *rows*, each with those that wait for it at the end of their chain."""
    blocked_by = {int(row["pid"]): [int(pid) for pid in row["blocked_by"] or ()] for row in rows}
    waits = {int(row["pid"]): float(row["wait_seconds"] or 0.0) for row in rows}
    blocks: dict[int, list[int]] = {}
    for pid, blockers in blocked_by.items():
        if blockers:
            blocks.setdefault(root_blocker(pid, blocked_by), []).append(pid)
    plain = ("backend_start", "query_start", "state", "backend_type", "user", "database", "application", "client")
    return [
        Backend(
            pid=int(row["pid"]),
            **{name: row[name] for name in plain},
            state_seconds=round(float(row["state_seconds"] or 0.0), 1),
            query=row["query"] or "",
            blocks=tuple(sorted(blocks.get(int(row["pid"]), ()))),
            blocks_seconds=round(max((waits[pid] for pid in blocks.get(int(row["pid"]), ())), default=0.0), 1),
        )
        for row in rows
    ]


def choose(backends: t.Sequence[Backend], wanted: Wanted) -> Chosen:
    """Return which of *backends* are *wanted* and may be ended."""
    by_pid = {one.pid: one for one in backends}
    picked: list[Backend] = []
    left: list[str] = []
    for given in wanted.named:
        found = by_pid.get(int(given["pid"]))
        reason = _not_the_one(found, given)
        if reason:
            left.append(f"process {given['pid']}: {reason}")
        else:
            picked.append(t.cast(Backend, found))
    if wanted.blocking_seconds is not None:
        picked += [one for one in backends if one.blocks and one.blocks_seconds >= wanted.blocking_seconds]
    if wanted.idle_seconds is not None:
        picked += [one for one in backends if one.idle_in_transaction and one.state_seconds >= wanted.idle_seconds]
    chosen = list(dict.fromkeys(picked))
    left += [f"{one.words}: {one.protected}" for one in chosen if one.protected]
    return Chosen(tuple(one for one in chosen if not one.protected), tuple(left))


def _not_the_one(found: t.Optional[Backend], given: t.Mapping[str, t.Any]) -> str:
    """Return why *found* is not the session that was named, or nothing."""
    if found is None:
        return "it is gone"
    if given.get("backend_start") and not _same_time(given["backend_start"], found.backend_start):
        return f"its number belongs to another session now, which began at {found.backend_start}"
    if given.get("query_start") and not _same_time(given["query_start"], found.query_start):
        return "it has gone on to another statement"
    return "" if found.in_the_way else f"it blocks nobody and has no transaction open ({found.state})"


def _same_time(one: str, other: t.Optional[str]) -> bool:
    return other is not None and one.rstrip("Z").rstrip("0").rstrip(".") == other.rstrip("Z").rstrip("0").rstrip(".")


class _Ending:
    """The way from a running statement to an ended session, on one connection."""

    def __init__(self, session: PsqlStream, grace_seconds: float) -> None:
        self._session = session
        self._grace_seconds = grace_seconds

    def end(self, backend: Backend) -> str:
        """End what *backend* does and return how; a session that is another one meanwhile is left alone.

        :raises CheckError: it is still there after all.
        """
        now = self._same(backend)
        if now is None:
            return "it was gone, or had gone on, before anything was done"
        if now.state == "active" and self._signal("pg_cancel_backend", now) and self._wait(now, self._grace_seconds, lambda one: one.holds):
            return "its statement was cancelled, its session stays"
        self._signal("pg_terminate_backend", now)
        if not self._wait(now, _END_SECONDS, lambda one: one.in_the_way):
            hint = "The server ends it as soon as it can: look again, and at its log."
            raise CheckError(f"process {backend.pid}", f"it is still there {_END_SECONDS:g} s after it was told to end", hint, "still-there")
        return "its session was ended; its transaction is rolled back"

    def _signal(self, function: str, backend: Backend) -> bool:
        sql = f"SELECT count(*) FILTER (WHERE pg_catalog.{function}(pid)) AS told FROM pg_catalog.pg_stat_activity WHERE {backend.condition}"
        return bool(self._session.value(sql))

    def _same(self, backend: Backend) -> t.Optional[Backend]:
        """Return *backend* as it is now, if it still is in the way."""
        found = next((one for one in list_backends(self._session) if one.is_the_same(backend)), None)
        return found if found is not None and found.in_the_way else None

    def _wait(self, backend: Backend, seconds: float, matters: t.Callable[[Backend], bool]) -> bool:
        deadline = time.monotonic() + seconds
        while True:
            now = self._same(backend)
            if now is None or not matters(now):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)


def list_backends(session: PsqlStream) -> list[Backend]:
    """Return the server's sessions as they are now."""
    return backends_of(session.rows(_SESSIONS))


def _plan(engine: Engine, stack: Stack, params: t.Mapping[str, t.Any]) -> Work:
    instance = only_server(stack, params)
    wanted = Wanted(tuple(params["sessions"]), params["blocking_seconds"], params["idle_in_transaction_seconds"])
    with _session(engine, instance) as (tools, session):
        prepared = session.rows("SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = current_database() ORDER BY prepared LIMIT 5")
        chosen = choose(list_backends(session), wanted)
        commands = tuple(_typed(instance, tools, one) for one in chosen.backends)
    listed = "; ".join(one.words for one in chosen.backends)
    what = f"end {listed}" if chosen.backends else "no session is in the way" + (f" ({'; '.join(chosen.left)})" if chosen.left else "")
    if prepared and not chosen.backends:
        what += f". Prepared transactions hold locks without a session: ROLLBACK PREPARED {literal(str(prepared[0]['gid'])).strip()}"
    change = Change(
        "terminate_session",
        instance.name,
        what,
        tuple(argv for pair in commands for argv in pair),
        {"sessions": [one.as_facts() for one in chosen.backends], "left": list(chosen.left)},
        {"sessions": []},
        ("It cannot be undone: an open transaction is rolled back, and the application has to repeat it.",),
        needed=bool(chosen.backends),
    )

    def carry_out() -> Facts:
        with _session(engine, instance) as (dummy, session):
            ending = _Ending(session, float(params["grace_seconds"]))
            return {"sessions": [{"pid": one.pid, "outcome": ending.end(one)} for one in chosen.backends]}

    def verify() -> Verified:
        with _session(engine, instance) as (dummy, session):
            left = [one for one in list_backends(session) if one.holds and any(one.is_the_same(old) for old in chosen.backends)]
        return Verified(not left, "; ".join(one.words for one in left) or "none of them is in the way any more")

    return Work(change, carry_out, verify, redactor_of([stack]))


def _typed(instance: Instance, tools: Tools, backend: Backend) -> tuple[tuple[str, ...], ...]:
    cancel = psql_words(instance, tools, f"SELECT pg_cancel_backend({backend.pid})")
    terminate = psql_words(instance, tools, f"SELECT pg_terminate_backend({backend.pid})")
    return (cancel, terminate) if backend.state == "active" else (terminate,)


@contextlib.contextmanager
def _session(engine: Engine, instance: Instance) -> t.Iterator[tuple[Tools, PsqlStream]]:
    with beside(engine, instance, "session") as tools:
        try:
            with tools.session() as session:
                yield tools, session
        except DatabaseError as error:
            if error.sqlstate == "42501":
                hint = "Only a superuser, or a member of pg_signal_backend, may end sessions of others: give login_user."
                raise CheckError(instance.name, error.reason, hint, "permission-denied") from error
            raise


def end_sessions(params: t.Mapping[str, t.Any], check_mode: bool) -> Facts:
    """Do what the module ``pg_session`` is asked for."""

    def plan() -> Work:
        if not params["sessions"] and params["blocking_seconds"] is None and params["idle_in_transaction_seconds"] is None:
            hint = "Name sessions (pid, backend_start and query_start of the finding), or blocking_seconds, or idle_in_transaction_seconds."
            raise CheckError("pg_session", "it is not said which sessions are meant", hint, "invalid-option")
        engine = Engine.connect(EngineOptions.from_params(params))
        return _plan(engine, only_stack(engine, params), params)

    return run_remediation(plan, params, check_mode)
