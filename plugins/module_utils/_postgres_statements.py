# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The slowest statements of a PostgreSQL server, as pg_stat_statements counts them.

The columns of the view are read from the catalogue: the extension's version lags behind the server's, and forks have
columns of their own under known version numbers. Nothing is ever reset: what is slow now is the difference of two
readings.
"""

from __future__ import annotations

import functools
import re
import time
import typing as t

from ._envelope import CheckError, Thresholds, envelope, metric, rfc3339, worst
from ._postgres import Instance, PostgresOptions, StatementOptions, connect, find_instances
from ._postgres_session import MARKER, Answer, DatabaseError, Row, Session, literal
from ._process import run_side_by_side

if t.TYPE_CHECKING:
    from ._discovery import Stack
    from ._engine import Engine

EXTENSION = "pg_stat_statements"

#: What to rank statements by.
RANKINGS: tuple[str, ...] = ("mean", "total", "calls", "io", "temp")

# What the view calls a number, newest name first.
_COLUMNS: dict[str, tuple[str, ...]] = {
    "calls": ("calls",),
    "rows": ("rows",),
    "total_ms": ("total_exec_time", "total_time"),
    "max_ms": ("max_exec_time", "max_time"),
    "stddev_ms": ("stddev_exec_time", "stddev_time"),
    "blocks_hit": ("shared_blks_hit",),
    "blocks_read": ("shared_blks_read",),
    "temp_blocks": ("temp_blks_written",),
    "read_ms": ("shared_blk_read_time", "blk_read_time"),
    "write_ms": ("shared_blk_write_time", "blk_write_time"),
}
# Of one statement that was counted at top level and inside functions, the worse one is shown.
_NOT_SUMMED = frozenset(("max_ms", "stddev_ms"))
_COUNTERS = tuple(name for name in _COLUMNS if name not in _NOT_SUMMED)

_FETCHED_CHARACTERS = 8000
_SAMPLE_ROWS = 20_000
_SHORT_HISTORY_SECONDS = 600

#: One row about the extension, its settings and what this user may see of it.
PROBE = f"""
WITH extension AS (SELECT oid, extversion, extnamespace FROM pg_extension WHERE extname = '{EXTENSION}'),
     settings AS MATERIALIZED (
       SELECT name, setting, source FROM pg_settings
       WHERE name IN ('shared_preload_libraries', 'compute_query_id', 'track_io_timing') OR name LIKE '{EXTENSION}.%'),
     views AS (
       SELECT c.oid, c.relname FROM pg_class c JOIN extension e ON c.relnamespace = e.extnamespace
       WHERE c.relname IN ('{EXTENSION}', '{EXTENSION}_info') AND c.relkind = 'v')
SELECT (SELECT extversion FROM extension) AS extension_version,
       (SELECT default_version FROM pg_available_extensions WHERE name = '{EXTENSION}') AS available_version,
       (SELECT quote_ident(nspname) FROM pg_namespace n JOIN extension e ON e.extnamespace = n.oid) AS schema,
       (SELECT coalesce(bool_and(has_schema_privilege(extnamespace, 'USAGE')), true) FROM extension) AS may_use_schema,
       (SELECT array_agg(attname ORDER BY attnum) FROM pg_attribute a JOIN views v ON a.attrelid = v.oid
         WHERE v.relname = '{EXTENSION}' AND attnum > 0 AND NOT attisdropped) AS columns,
       EXISTS (SELECT FROM views WHERE relname = '{EXTENSION}_info') AS has_info,
       pg_has_role('pg_read_all_stats', 'USAGE') AS sees_all,
       quote_ident(current_user) AS user,
       (SELECT setting FROM settings WHERE name = 'shared_preload_libraries') AS preload,
       (SELECT source FROM settings WHERE name = 'shared_preload_libraries') AS preload_source,
       (SELECT setting FROM settings WHERE name = 'compute_query_id') AS compute_query_id,
       (SELECT setting FROM settings WHERE name = 'track_io_timing') = 'on' AS io_timing,
       (SELECT setting FROM settings WHERE name = '{EXTENSION}.track') AS track,
       (SELECT setting::bigint FROM settings WHERE name = '{EXTENSION}.max') AS maximum
"""


def not_available(failure: str, fix: t.Sequence[str] = (), message: t.Optional[str] = None) -> dict[str, t.Any]:
    """Return the ``statements`` facts where there are none, for the reason *failure*."""
    return {
        "available": False,
        "failure": failure,
        "message": message,
        "fix": list(fix),
        "extension_version": None,
        "evicted": None,
        "stats_reset_at": None,
        "io_timing": None,
        "problems": [],
        "queries": [],
    }


# -- privacy -----------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""
      (?P<string> [eE]'(?:[^'\\]|\\.|'')*(?:'|\Z) | (?:[nNbBxX]|[uU]&)?'(?:[^']|'')*(?:'|\Z) )
    | (?P<parameter> \$\d+ )
    | (?P<dollar> \$(?P<tag>[^\W\d]\w*)?\$ .*? (?:\$(?P=tag)\$|\Z) | \$\$ .*? (?:\$\$|\Z) )
    | (?P<comment> --[^\n]* | /\*.*?(?:\*/|\Z) )
    | (?P<identifier> "(?:[^"]|"")*(?:"|\Z) | [^\W\d][\w$]* )
    | (?P<number> (?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)? )
    """,
    re.VERBOSE | re.DOTALL,
)
_SETTING = re.compile(
    r"^\s*(?:SET|ALTER\s+(?:SYSTEM|ROLE|USER|DATABASE)\b.*?\bSET)\s+(?:SESSION\s+|LOCAL\s+)?[\w.\"]+\s*(?:=|\s+TO\s)", re.IGNORECASE | re.DOTALL
)


def normalised(query: str, characters: int, numbers: bool = False) -> str:
    """Return *query* on one line without comments and literals, at most *characters* long.

    pg_stat_statements itself leaves the literals of utility statements (``ALTER ROLE ... PASSWORD '...'``) as they are.
    With *numbers* those go too, as a running statement's text in pg_stat_activity needs it. A text that was cut inside
    a literal loses the rest.
    """

    def replacement(token: re.Match[str]) -> str:
        kind = token.lastgroup if token.lastgroup != "tag" else "dollar"
        if kind in ("string", "dollar") or (kind == "number" and numbers):
            return "?"
        return " " if kind == "comment" else token[0]

    text = " ".join(_TOKEN.sub(replacement, query).split())
    setting = _SETTING.match(text)
    if setting:
        text = f"{setting[0].rstrip()} ?"
    return text if len(text) <= characters else text[: characters - 1] + "…"


# -- availability ------------------------------------------------------------------------------------------------------


def availability(probe: Row, instance: Instance) -> t.Optional[tuple[str, list[str]]]:
    """Return why statements cannot be read and the exact fix, or ``None`` where they can."""
    create = f"CREATE EXTENSION {EXTENSION};"
    created = probe["extension_version"] is not None
    if not created and probe["available_version"] is None:
        return "package-missing", [
            "Install the contrib package of the server (Debian: in postgresql; RHEL: postgresql-contrib), or use an image that has it.",
            create,
        ]
    # Its settings exist only in a server that loaded the library at its start.
    if probe["maximum"] is None:
        return "not-preloaded", [*_preload_fix(probe, instance), *([] if created else [create])]
    if not created:
        return "not-created", [create]
    if not probe["may_use_schema"]:
        return "no-privilege", [f"GRANT USAGE ON SCHEMA {probe['schema']} TO {probe['user']};", f"GRANT pg_read_all_stats TO {probe['user']};"]
    if probe["track"] == "none":
        return "tracking-off", [f"ALTER SYSTEM SET {EXTENSION}.track = 'top';", "SELECT pg_reload_conf();"]
    if probe["compute_query_id"] == "off":
        return "tracking-off", ["ALTER SYSTEM SET compute_query_id = 'auto';", "SELECT pg_reload_conf();"]
    return None


def _preload_fix(probe: Row, instance: Instance) -> list[str]:
    present = [name.strip() for name in (probe["preload"] or "").split(",") if name.strip() and name.strip() != EXTENSION]
    restart = f"{instance.compose} restart {instance.service}" if instance.service else "Restart the server, e.g. systemctl restart postgresql"
    if probe["preload_source"] == "command line":
        value = ",".join([*present, EXTENSION])
        recreate = f"{instance.compose} up -d {instance.service}" if instance.service else restart
        return [f"In the server's command line, which overrides its configuration: -c shared_preload_libraries={value}", recreate]
    # One quoted string with commas in it would be taken for the name of one library, and the server would not start.
    return [f"ALTER SYSTEM SET shared_preload_libraries = {', '.join(literal(name) for name in [*present, EXTENSION])};", restart]


def _problems(probe: Row, info: Row, hidden: int, lost: int, age_seconds: t.Optional[float]) -> list[dict[str, str]]:
    """Return what makes the numbers less than they could be; each with its fix."""
    problems = []

    def add(code: str, message: str, fix: str) -> None:
        problems.append({"code": code, "message": message, "fix": fix})

    if hidden:
        add("no-privilege", f"the text of {hidden} statements of other users is hidden", f"GRANT pg_read_all_stats TO {probe['user']};")
    if _older(probe["extension_version"], probe["available_version"]):
        message = f"the extension is at {probe['extension_version']}, the server brings {probe['available_version']}"
        add("extension-outdated", message, f"ALTER EXTENSION {EXTENSION} UPDATE;")
    if info.get("dealloc"):
        message = f"statements were dropped {info['dealloc']} times because more than {probe['maximum']} are in use"
        add("evicted", message, f"ALTER SYSTEM SET {EXTENSION}.max = {2 * int(probe['maximum'])}; needs a restart")
    if not probe["io_timing"]:
        add("io-timing-off", "times of reading and writing are not measured", "ALTER SYSTEM SET track_io_timing = on; SELECT pg_reload_conf();")
    if lost:
        add("texts-lost", f"the text of {lost} statements is gone", f"Lower {EXTENSION}.max or look for statements that are generated with changing texts.")
    if age_seconds is not None and age_seconds < _SHORT_HISTORY_SECONDS:
        add("short-history", f"counting began {age_seconds:.0f} s ago", "Look again when the usual load has been there for a while.")
    return problems


def _older(version: str, other: t.Optional[str]) -> bool:
    try:
        return other is not None and [int(part) for part in version.split(".")] < [int(part) for part in other.split(".")]
    except ValueError:
        return False


# -- reading -----------------------------------------------------------------------------------------------------------


def view_query(probe: Row, options: StatementOptions) -> str:
    """Return the query for the statements since the last reset, ranked and cut by the server, from the view's columns."""
    numbers = _numbers(probe["columns"])
    conditions = [
        "queryid IS NOT NULL",
        f"calls >= {literal(options.min_calls)}",
        f"total_ms / calls >= {literal(options.min_mean_ms)}",
        f"strpos(coalesce(query, ''), {literal(MARKER)}) = 0",
    ]
    if options.exclude:
        conditions.append(f"coalesce(query, '') !~* ALL ({literal(options.exclude)})")
    return f"""
      WITH counted AS (
        SELECT queryid, dbid, userid, max(query) AS query, {numbers}
        FROM {probe["schema"]}.{EXTENSION} GROUP BY queryid, dbid, userid),
      shared AS (SELECT *, sum(total_ms) OVER () AS all_ms FROM counted WHERE calls > 0)
      SELECT queryid::text AS queryid, datname AS database, rolname AS user, left(query, {_FETCHED_CHARACTERS}) AS query,
             {", ".join(_COLUMNS)}, all_ms
      FROM shared LEFT JOIN pg_database d ON d.oid = dbid LEFT JOIN pg_roles r ON r.oid = userid
      WHERE {" AND ".join(conditions)}
      ORDER BY {_ranking(options.rank_by, bool(probe["io_timing"]))} DESC NULLS LAST, total_ms DESC LIMIT {literal(options.limit)}
    """


def _numbers(columns: t.Sequence[str]) -> str:
    return ", ".join(f"{_number(name, columns)} AS {name}" for name in _COLUMNS)


def _number(name: str, columns: t.Sequence[str]) -> str:
    """Return the SQL for one number, whatever the view calls it; what it lacks is null, not 0."""
    column = next((candidate for candidate in _COLUMNS[name] if candidate in columns), None)
    if column is None:
        return "NULL::float8"
    return f"{'max' if name in _NOT_SUMMED else 'sum'}({column})"


def _ranking(rank_by: str, io_timing: bool) -> str:
    return {
        "mean": "total_ms / calls",
        "total": "total_ms",
        "calls": "calls",
        "io": "coalesce(read_ms, 0) + coalesce(write_ms, 0)" if io_timing else "blocks_read",
        "temp": "temp_blocks",
    }[rank_by]


class StatementReader:
    """Reads the statements of one server: :meth:`begin`, then, a sample later, :meth:`finish`."""

    def __init__(self, session: Session, instance: Instance, options: StatementOptions) -> None:
        self._session = session
        self._instance = instance
        self._options = options
        self._probe: Row = {}
        self._first: dict[tuple[t.Any, ...], Row] = {}
        self._facts: t.Optional[dict[str, t.Any]] = None
        self._begun_at = 0.0

    def begin(self, probe: Answer) -> None:
        """Take the answer to :data:`PROBE` and, where two samples are asked for, the first of them."""
        if isinstance(probe, DatabaseError):
            self._facts = self._refused(probe)
            return
        self._probe = probe[0]
        problem = availability(self._probe, self._instance)
        if problem is not None:
            self._facts = {
                **not_available(problem[0], problem[1]),
                "extension_version": self._probe["extension_version"],
                "io_timing": self._probe["io_timing"],
            }
        elif self._options.sample_seconds > 0:
            try:
                self._first = self._sample()
            except DatabaseError as error:
                self._facts = self._refused(error)
            self._begun_at = time.monotonic()

    def finish(self) -> dict[str, t.Any]:
        """Return the ``statements`` facts; waits for the rest of the sample's time."""
        if self._facts is not None:
            return self._facts
        try:
            return self._read()
        except DatabaseError as error:
            return self._refused(error)

    def _read(self) -> dict[str, t.Any]:
        if self._options.sample_seconds > 0:
            time.sleep(max(0.0, self._begun_at + self._options.sample_seconds - time.monotonic()))
            rows, source = self._difference(self._sample()), "sample"
            answers = self._session.answers(self._side_queries())
        else:
            answers = self._session.answers({**self._side_queries(), "statements": view_query(self._probe, self._options)})
            statements = answers.pop("statements")
            if isinstance(statements, DatabaseError):
                raise statements
            rows, source = statements, "since_reset"
        info = _first_row(answers.get("info"))
        hidden = int(_first_row(answers.get("hidden")).get("hidden") or 0)
        lost = sum(1 for row in rows if row["query"] is None)
        return {
            **not_available("no-privilege", [f"GRANT pg_read_all_stats TO {self._probe['user']};"]),
            **({} if hidden else {"available": True, "failure": None, "fix": []}),
            **self._known(),
            "evicted": info.get("dealloc"),
            "stats_reset_at": rfc3339(info.get("stats_reset")),
            "problems": _problems(self._probe, info, hidden, lost, info.get("age") if source == "since_reset" else None),
            "queries": [_query(row, source, self._options.query_characters, bool(self._probe["io_timing"])) for row in rows],
        }

    def _side_queries(self) -> dict[str, str]:
        schema = self._probe["schema"]
        queries = {}
        if self._probe["has_info"]:
            queries["info"] = (
                "SELECT dealloc, extract(epoch FROM stats_reset)::float8 AS stats_reset, extract(epoch FROM now() - stats_reset)::float8 AS age "
                f"FROM {schema}.{EXTENSION}_info"
            )
        if not self._probe["sees_all"]:
            queries["hidden"] = f"SELECT count(*) AS hidden FROM {schema}.{EXTENSION}(showtext := false) WHERE queryid IS NULL"
        return queries

    def _sample(self) -> dict[tuple[t.Any, ...], Row]:
        rows = self._session.rows(
            f"SELECT queryid::text AS queryid, dbid::text AS dbid, userid::text AS userid, {_numbers(self._probe['columns'])} "
            f"FROM {self._probe['schema']}.{EXTENSION}(showtext := false) WHERE queryid IS NOT NULL "
            f"GROUP BY queryid, dbid, userid ORDER BY 4 DESC LIMIT {_SAMPLE_ROWS}"
        )
        return {(row["queryid"], row["dbid"], row["userid"]): row for row in rows}

    def _difference(self, second: dict[tuple[t.Any, ...], Row]) -> list[Row]:
        """Return what happened between the samples, ranked and with texts, as :func:`view_query` gives it."""
        rows = [row for key, now in second.items() for row in [_delta(self._first.get(key), now)] if row["calls"] > 0]
        all_ms = sum(row["total_ms"] for row in rows)
        options = self._options
        wanted = [row for row in rows if row["calls"] >= options.min_calls and row["total_ms"] / row["calls"] >= options.min_mean_ms]
        wanted.sort(key=lambda row: (_rank(row, options.rank_by, bool(self._probe["io_timing"])), row["total_ms"]), reverse=True)
        # Own and excluded statements are only known by their text, hence more than the limit.
        return self._with_texts([{**row, "all_ms": all_ms} for row in wanted[: 4 * options.limit + 20]])[: options.limit]

    def _with_texts(self, rows: list[Row]) -> list[Row]:
        if not rows:
            return []
        sql = (
            f"SELECT queryid::text AS queryid, dbid::text AS dbid, userid::text AS userid, max(datname) AS database, max(rolname) AS user, "
            f"left(max(query), {_FETCHED_CHARACTERS}) AS query "
            f"FROM {self._probe['schema']}.{EXTENSION} LEFT JOIN pg_database d ON d.oid = dbid LEFT JOIN pg_roles r ON r.oid = userid "
            f"WHERE queryid = ANY (%(ids)s::bigint[]) AND strpos(coalesce(query, ''), {literal(MARKER)}) = 0 "
            f"{'AND coalesce(query, %(nothing)s) !~* ALL (%(exclude)s)' if self._options.exclude else ''} GROUP BY queryid, dbid, userid"
        )
        texts = self._session.rows(sql, ids=[str(row["queryid"]) for row in rows], exclude=self._options.exclude, nothing="")
        known = {(text["queryid"], text["dbid"], text["userid"]): text for text in texts}
        return [{**row, **known[key]} for row in rows for key in [(row["queryid"], row["dbid"], row["userid"])] if key in known]

    def _refused(self, error: DatabaseError) -> dict[str, t.Any]:
        """Return the facts for a reading that failed, classified by what the server said."""
        user = self._probe.get("user") or "<user>"
        failure, fix = {
            "55000": ("not-preloaded", _preload_fix(self._probe, self._instance) if self._probe else []),
            "42501": ("no-privilege", [f"GRANT pg_read_all_stats TO {user};"]),
            "2201B": ("invalid-pattern", ["Correct the regular expressions in exclude."]),
        }.get(error.sqlstate or "", ("no-connection" if error.code != "query-failed" else "query-failed", [error.hint] if error.hint else []))
        return {**not_available(failure, fix, error.reason), **self._known()}

    def _known(self) -> dict[str, t.Any]:
        return {name: self._probe.get(name) for name in ("extension_version", "io_timing")}


def _first_row(answer: t.Optional[Answer]) -> Row:
    return answer[0] if isinstance(answer, list) and answer else {}


def _delta(before: t.Optional[Row], now: Row) -> Row:
    """Return what was counted in between; a counter that went back was reset in between and counts from 0."""
    started_anew = before is None or now["calls"] < before["calls"]
    base: Row = {} if started_anew else t.cast(Row, before)
    row = {**now, "max_ms": None, "stddev_ms": None}
    for name in _COUNTERS:
        row[name] = None if now[name] is None else now[name] - (base.get(name) or 0)
    return row


def _rank(row: Row, rank_by: str, io_timing: bool) -> float:
    values = {
        "mean": row["total_ms"] / row["calls"],
        "total": row["total_ms"],
        "calls": row["calls"],
        "io": (row["read_ms"] or 0) + (row["write_ms"] or 0) if io_timing else row["blocks_read"],
        "temp": row["temp_blocks"],
    }
    return float(values[rank_by] or 0)


def _query(row: Row, source: str, characters: int, io_timing: bool) -> dict[str, t.Any]:
    calls, total, accesses = int(row["calls"]), float(row["total_ms"]), (row["blocks_hit"] or 0) + (row["blocks_read"] or 0)
    return {
        "queryid": row["queryid"],
        "database": row["database"],
        "user": row["user"],
        "query": normalised(row["query"], characters) if row["query"] is not None else "<text lost>",
        "calls": calls,
        "rows": _integer(row["rows"]),
        "mean_exec_time_ms": round(total / calls, 3),
        "max_exec_time_ms": _rounded(row["max_ms"]),
        "stddev_exec_time_ms": _rounded(row["stddev_ms"]),
        "total_exec_time_ms": round(total, 3),
        "percent_of_total": round(100 * total / row["all_ms"], 2) if row["all_ms"] else None,
        "rows_per_call": round(row["rows"] / calls, 2) if row["rows"] is not None else None,
        "cache_hit_percent": round(100 * (row["blocks_hit"] or 0) / accesses, 2) if accesses else None,
        "shared_blocks_read": _integer(row["blocks_read"]),
        "temp_blocks_written": _integer(row["temp_blocks"]),
        "io_time_ms": _rounded((row["read_ms"] or 0) + (row["write_ms"] or 0)) if io_timing else None,
        "source": source,
    }


def _integer(value: t.Any) -> t.Optional[int]:
    return None if value is None else int(value)


def _rounded(value: t.Any) -> t.Optional[float]:
    return None if value is None else round(float(value), 3)


# -- the check behind the module ---------------------------------------------------------------------------------------


def statements_status(facts: dict[str, t.Any], options: StatementOptions) -> str:
    """Return the verdict on one server's statements: by its slowest mean, ``unknown`` where nothing could be read."""
    if facts["failure"] and not facts["queries"]:
        return "unknown"
    limits = Thresholds(options.warning_ms, options.critical_ms)
    return worst(limits.verdict(query["mean_exec_time_ms"]) for query in facts["queries"])


def collect_statements(stacks: t.Sequence[Stack], engine: t.Optional[Engine], options: PostgresOptions) -> dict[str, t.Any]:
    """Return the envelope of ``pg_slow_queries``: for every server its slowest statements or why there are none.

    A server that cannot be reached is an entry as well, with its failure, and does not stop the others.
    """
    instances = find_instances(stacks, options)
    work = {f"{index} {instance.name}": functools.partial(_one, instance, engine, options) for index, instance in enumerate(instances)}
    outcomes = run_side_by_side(work, options.timeout_seconds + options.statements.sample_seconds)
    results: list[dict[str, t.Any]] = []
    errors: list[CheckError] = []
    for outcome, instance in zip(outcomes.values(), instances):
        if outcome.value is not None:
            results.append(outcome.value)
        else:
            errors.append(as_check_error(outcome.error, instance.name))
            results.append(_unreachable(instance, errors[-1]))
    if not instances:
        hint = "Give login_host or dsn, or correct the selection of projects."
        errors.append(CheckError("PostgreSQL", "no PostgreSQL server was found", hint, "not-found"))
    return _statements_envelope(results, errors, options.statements)


def as_check_error(error: t.Optional[BaseException], name: str) -> CheckError:
    """Return *error* as a :class:`CheckError`, whatever it was."""
    if isinstance(error, CheckError):
        return error
    return CheckError(name, f"{type(error).__name__}: {error}", "This is a defect of the collection: please report it.", "protocol-error")


def _one(instance: Instance, engine: t.Optional[Engine], options: PostgresOptions) -> dict[str, t.Any]:
    connection = connect(instance, engine, options)
    with connection.session as session:
        reader = StatementReader(session, instance, options.statements)
        server = "SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS version_number"
        answers = session.answers({"server": server, "probe": PROBE})
        reader.begin(answers["probe"])
        statements = reader.finish()
    login = connection.target.credentials
    known = {**_first_row(answers["server"]), "database": login.database, "user": login.user}
    return _entry(instance, {**known, "reachable": True, "via": connection.via, "statements": statements})


def _unreachable(instance: Instance, error: CheckError) -> dict[str, t.Any]:
    statements = not_available("no-connection", [error.hint] if error.hint else [])
    return _entry(instance, {"failure": error.code or None, "message": error.reason, "statements": statements})


def _entry(instance: Instance, facts: dict[str, t.Any]) -> dict[str, t.Any]:
    empty = dict.fromkeys(("via", "failure", "message", "version", "version_number", "database", "user"))
    return {"name": instance.name, "project": instance.project, "service": instance.service, "status": "unknown", "reachable": False, **empty, **facts}


def _statements_envelope(results: list[dict[str, t.Any]], errors: list[CheckError], options: StatementOptions) -> dict[str, t.Any]:
    for result in results:
        result["status"] = statements_status(result["statements"], options)
        failure = result["statements"]["failure"]
        if result["reachable"] and failure:
            errors.append(CheckError(result["name"], f"{EXTENSION}: {failure}", " ".join(result["statements"]["fix"]), failure))
    queries = [query for result in results for query in result["statements"]["queries"]]
    slowest = max((query["mean_exec_time_ms"] for query in queries), default=None)
    readable = [result for result in results if not result["statements"]["failure"]]
    summary = f"{len(queries)} statements of {len(readable)} of {len(results)} servers"
    if slowest is not None:
        summary += f", the slowest takes {slowest:g} ms on average"
    metrics = {
        "statements": metric(len(queries)),
        "slowest_mean_ms": metric(slowest, "ms", Thresholds(options.warning_ms, options.critical_ms)),
    }
    status = worst(result["status"] for result in results) if results else "unknown"
    return envelope(status, summary, metrics, errors, instances=results)
