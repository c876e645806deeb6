# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The state of PostgreSQL servers: connections, activity, locks, wraparound, tables, indexes, sequences, settings.

Every section is one query. They go to the server together; where one fails, each is asked by itself and only the
failing ones are missing, with an entry in ``errors``. Columns that came in a later version are read through
``to_jsonb``, which gives null where the server does not have them.
"""

from __future__ import annotations

import functools
import typing as t

from ._envelope import CheckError, Thresholds, envelope, metric, rfc3339, worst
from ._postgres import HealthOptions, Instance, PostgresOptions, connect, find_instances
from ._postgres_session import Answer, DatabaseError, Row, Session, literal
from ._postgres_statements import PROBE, StatementReader, as_check_error, normalised, not_available, statements_status
from ._postgres_wire import APPLICATION_NAME
from ._process import run_side_by_side

if t.TYPE_CHECKING:
    from ._discovery import Stack
    from ._engine import Engine

Facts = dict[str, t.Any]

_UNUSED_INDEX_BYTES = 10 * 1024 * 1024
_MINIMUM_BLOCK_ACCESSES = 10_000
_QUERY_CHARACTERS = 500
_TWO_TO_31 = 2**31

_SETTINGS = (
    "autovacuum",
    "autovacuum_freeze_max_age",
    "checkpoint_completion_target",
    "checkpoint_timeout",
    "default_transaction_read_only",
    "deadlock_timeout",
    "effective_cache_size",
    "fsync",
    "full_page_writes",
    "idle_in_transaction_session_timeout",
    "jit",
    "lock_timeout",
    "log_lock_waits",
    "log_min_duration_statement",
    "maintenance_work_mem",
    "max_connections",
    "max_wal_size",
    "password_encryption",
    "shared_buffers",
    "shared_preload_libraries",
    "ssl",
    "statement_timeout",
    "superuser_reserved_connections",
    "synchronous_commit",
    "track_activities",
    "track_counts",
    "track_io_timing",
    "wal_level",
    "work_mem",
)

# Who counts against max_connections; what other users' sessions are is hidden from users without pg_read_all_stats,
# but only sessions of clients have a user.
_CLIENTS = "usesysid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend' AND pid <> pg_backend_pid()"


def exact_time(column: str) -> str:
    """Return the expression for a time of the server to the microsecond, as RFC 3339 in UTC: what tells a session from one with the same number."""
    return f"to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"


_STARTS = f"{exact_time('backend_start')} AS backend_start, {exact_time('query_start')} AS query_start"
_SESSION = f"pid, usename::text AS user, datname::text AS database, nullif(application_name, '') AS application, state, {_STARTS}"


def sections(options: HealthOptions) -> dict[str, str]:
    """Return the queries by section name."""
    return {
        "server": _server_query(),
        "connections": _connections_query(),
        "long_running": _long_running_query(options),
        "idle_in_transaction": _idle_in_transaction_query(options),
        "locks": _locks_query(options),
        "wraparound": _wraparound_query(),
        "tables": _tables_query(options),
        "indexes": _indexes_query(options),
        "sequences": _sequences_query(options),
        "database": _database_query(),
        "replication_slots": _slots_query(options),
        "settings": _settings_query(),
        "size": "SELECT pg_database_size(current_database()) AS size_bytes",
    }


def _server_query() -> str:
    return """
      SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS version_number,
             pg_is_in_recovery() AS in_recovery"""


def _connections_query() -> str:
    def counted(expression: str) -> str:
        return f"(SELECT json_object_agg(name, number) FROM (SELECT {expression} AS name, count(*) AS number FROM clients GROUP BY 1) AS counted)"

    return f"""
      WITH clients AS (SELECT * FROM pg_stat_activity WHERE {_CLIENTS})
      SELECT (SELECT count(*) FROM clients) AS used,
             current_setting('max_connections')::int AS maximum,
             current_setting('superuser_reserved_connections')::int + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved,
             {counted("coalesce(state, 'unknown')")} AS by_state,
             {counted("usename")} AS by_user,
             {counted("coalesce(nullif(application_name, ''), 'unnamed')")} AS by_application"""


def _long_running_query(options: HealthOptions) -> str:
    return f"""
      SELECT {_SESSION}, extract(epoch FROM clock_timestamp() - query_start)::float8 AS duration_seconds, left(query, 4000) AS query,
             wait_event_type || ':' || wait_event AS wait_event
      FROM pg_stat_activity
      WHERE {_CLIENTS} AND state = 'active' AND application_name <> {literal(APPLICATION_NAME)}
        AND clock_timestamp() - query_start >= {literal(options.long_running_seconds)} * interval '1 second'
      ORDER BY query_start LIMIT {literal(options.list_limit)}"""


def _idle_in_transaction_query(options: HealthOptions) -> str:
    return f"""
      SELECT {_SESSION}, extract(epoch FROM clock_timestamp() - state_change)::float8 AS duration_seconds, left(query, 4000) AS query
      FROM pg_stat_activity
      WHERE {_CLIENTS} AND state LIKE 'idle in transaction%'
        AND clock_timestamp() - state_change >= {literal(options.idle_in_transaction_seconds)} * interval '1 second'
      ORDER BY state_change LIMIT {literal(options.list_limit)}"""


def _locks_query(options: HealthOptions) -> str:
    """Return the query for who waits for whom: only sessions that wait for a lock are looked at, which is cheap.

    A wait for a row is a wait for a transaction; the table is that of the tuple lock held meanwhile.
    """
    return f"""
      WITH waiting AS MATERIALIZED (
        SELECT l.pid, l.mode, pg_blocking_pids(l.pid) AS blocked_by,
               coalesce(l.relation, (SELECT held.relation FROM pg_locks held WHERE held.pid = l.pid AND held.locktype = 'tuple' AND held.granted LIMIT 1))
                 AS relation,
               coalesce((to_jsonb(l)->>'waitstart')::timestamptz, a.state_change) AS since, a.query, a.datname
        FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid WHERE NOT l.granted LIMIT 500),
      blockers AS (
        SELECT DISTINCT a.pid, a.state, {_STARTS}, left(a.query, 4000) AS query
        FROM waiting, unnest(blocked_by) AS blocker JOIN pg_stat_activity a ON a.pid = blocker)
      SELECT (SELECT json_agg(json_build_object('pid', pid, 'blocked_by', blocked_by, 'lock_mode', mode, 'query', left(query, 4000),
                'relation', CASE WHEN datname = current_database() THEN relation::regclass::text END,
                'wait_seconds', extract(epoch FROM clock_timestamp() - since)) ORDER BY since)
              FROM waiting) AS waiting,
             (SELECT json_agg(blockers) FROM blockers) AS blockers,
             {literal(options.blocked_seconds)} AS minimum"""


def _wraparound_query() -> str:
    return """
      SELECT datname::text AS database, age(datfrozenxid) AS max_xid_age, current_setting('autovacuum_freeze_max_age')::bigint AS freeze_max_age,
             (SELECT max(mxid_age(datminmxid)) FROM pg_database) AS max_multixact_age
      FROM pg_database ORDER BY age(datfrozenxid) DESC LIMIT 1"""


def _tables_query(options: HealthOptions) -> str:
    """Return the query for the tables that stand out by size, by sequential reading or by dead rows.

    The size of a table that someone holds an exclusive lock on is its size at the last vacuum: asking for the present
    one would wait for the lock.
    """
    return f"""
      WITH counted AS (
        SELECT s.relid, s.schemaname || '.' || s.relname AS name, greatest(c.reltuples::bigint, s.n_live_tup, 0) AS rows, c.relpages,
               coalesce(s.seq_scan, 0) AS sequential_scans, coalesce(s.idx_scan, 0) AS index_scans, coalesce(s.seq_tup_read, 0) AS rows_read_sequentially,
               s.n_live_tup, s.n_dead_tup AS dead_rows, greatest(s.last_vacuum, s.last_autovacuum) AS vacuumed,
               greatest(s.last_analyze, s.last_autoanalyze) AS analyzed
        FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid),
      judged AS (
        SELECT *, rows >= {literal(options.missing_index_rows)} AND sequential_scans >= {literal(options.missing_index_scans)}
                  AND rows_read_sequentially >= sequential_scans * greatest(1000, rows / 10)
                  AND index_scans < 19 * sequential_scans AS missing_index_likely
        FROM counted),
      ranked AS (
        SELECT *, row_number() OVER (ORDER BY relpages DESC, relid) AS by_size, row_number() OVER (ORDER BY dead_rows DESC, relid) AS by_dead,
               row_number() OVER (ORDER BY missing_index_likely DESC, rows_read_sequentially DESC, relid) AS by_reading
        FROM judged)
      SELECT name, rows, sequential_scans, index_scans, rows_read_sequentially, n_live_tup, dead_rows, missing_index_likely,
             extract(epoch FROM vacuumed)::float8 AS vacuumed, extract(epoch FROM analyzed)::float8 AS analyzed,
             CASE WHEN EXISTS (SELECT FROM pg_locks l WHERE l.relation = relid AND l.mode = 'AccessExclusiveLock'
                                 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
                  THEN relpages * current_setting('block_size')::bigint ELSE pg_table_size(relid) END AS size_bytes
      FROM ranked WHERE least(by_size, by_dead, by_reading) <= {literal(max(1, options.list_limit // 2))}
      ORDER BY missing_index_likely DESC, rows_read_sequentially DESC, name LIMIT {literal(options.list_limit)}"""


def _indexes_query(options: HealthOptions) -> str:
    """Return the query for indexes that are invalid, never used or there twice.

    Not counted as unused: what enforces something, the index of a foreign key, and anything while the statistics are
    young. A standby's reading is not counted on its primary, so neither says much about the other.
    """
    return f"""
      WITH every AS (
        SELECT i.*, c.relpages, c.relam, c.relkind, c.relnamespace::regnamespace || '.' || quote_ident(c.relname) AS name,
               c.relispartition, coalesce(s.idx_scan, 0) AS scans,
               EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')) AS enforces
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid LEFT JOIN pg_stat_all_indexes s ON s.indexrelid = i.indexrelid
        WHERE c.relnamespace::regnamespace::text NOT IN ('pg_catalog', 'pg_toast', 'information_schema') AND c.relpersistence <> 't'),
      old_enough AS (
        SELECT coalesce(stats_reset, pg_postmaster_start_time()) < now() - {literal(options.unused_index_days)} * interval '1 day' AND NOT pg_is_in_recovery()
                 AS old_enough
        FROM pg_stat_database WHERE datname = current_database()),
      twins AS (
        SELECT name, enforces, first_value(name) OVER same AS original, row_number() OVER same AS number
        FROM every WHERE indisvalid AND relkind = 'i' AND NOT relispartition
        WINDOW same AS (PARTITION BY indrelid, relam, indkey::text, indclass::text, indoption::text, indcollation::text,
                        coalesce(pg_get_expr(indexprs, indrelid), ''), coalesce(pg_get_expr(indpred, indrelid), '')
                        ORDER BY enforces DESC, indisunique DESC, indexrelid))
      SELECT (SELECT json_agg(name ORDER BY name) FROM (
                SELECT name FROM every WHERE (NOT indisvalid OR NOT indisready) AND relkind = 'i'
                  AND indexrelid NOT IN (SELECT index_relid FROM pg_stat_progress_create_index) ORDER BY name LIMIT {literal(options.list_limit)}) AS listed)
               AS invalid,
             (SELECT json_agg(name ORDER BY relpages DESC) FROM (
                SELECT name, relpages FROM every
                WHERE (SELECT old_enough FROM old_enough) AND scans = 0 AND indisvalid AND NOT indisunique AND NOT enforces AND relkind = 'i'
                  AND relpages * current_setting('block_size')::bigint > {_UNUSED_INDEX_BYTES}
                  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid = indrelid AND k.conkey[1] = indkey[0])
                ORDER BY relpages DESC LIMIT {literal(options.list_limit)}) AS listed) AS unused,
             (SELECT json_agg(name || ' (same as ' || original || ')' ORDER BY name) FROM (
                SELECT * FROM twins WHERE number > 1 AND NOT enforces ORDER BY name LIMIT {literal(options.list_limit)}) AS listed) AS duplicate"""


def _sequences_query(options: HealthOptions) -> str:
    """Return the query for the fullest sequences; one that fills an ``integer`` column ends where the column does."""
    return f"""
      SELECT format('%I.%I', s.schemaname, s.sequencename) AS name,
             100.0 * (s.last_value - s.min_value) / greatest(1, least(s.max_value, coalesce(owner.ends, s.max_value)) - s.min_value) AS used_percent
      FROM pg_sequences s
      LEFT JOIN LATERAL (
        SELECT CASE a.atttypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647 END AS ends
        FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
          AND d.objid = format('%I.%I', s.schemaname, s.sequencename)::regclass LIMIT 1) AS owner ON true
      WHERE s.last_value IS NOT NULL AND s.increment_by > 0 AND NOT s.cycle
      ORDER BY used_percent DESC, name LIMIT {literal(options.list_limit)}"""


def _database_query() -> str:
    return """
      SELECT blks_hit, blks_read, deadlocks, temp_bytes FROM pg_stat_database WHERE datname = current_database()"""


def _slots_query(options: HealthOptions) -> str:
    return f"""
      SELECT slot_name::text AS name, active,
             pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END, restart_lsn)::bigint AS retained_bytes
      FROM pg_replication_slots ORDER BY active, retained_bytes DESC NULLS LAST LIMIT {literal(options.list_limit)}"""


def _settings_query() -> str:
    # What a new session gets, not what this one has set for itself.
    return f"""
      SELECT name, reset_val AS value, unit FROM pg_settings WHERE name IN ({", ".join(literal(name) for name in _SETTINGS)})"""


# -- from rows to facts ------------------------------------------------------------------------------------------------


def no_facts() -> Facts:
    """Return the facts of a server about which nothing is known: null everywhere, because an empty list says "none"."""
    return {
        **dict.fromkeys(("via", "failure", "message", "version", "version_number", "database", "user", "in_recovery", "read_only")),
        "statements": not_available("no-connection"),
        "connections": dict.fromkeys(("used", "maximum", "reserved", "used_percent", "by_state", "by_user", "by_application")),
        "activity": dict.fromkeys(("long_running", "idle_in_transaction", "blocked")),
        "wraparound": dict.fromkeys(("max_xid_age", "max_multixact_age", "freeze_max_age", "used_percent", "database")),
        "indexes": dict.fromkeys(("invalid", "unused", "duplicate")),
        **dict.fromkeys(("tables", "sequences", "cache_hit_percent", "deadlocks", "temp_bytes", "replication_slots", "settings", "size_bytes")),
    }


def facts_of(answers: t.Mapping[str, Answer]) -> Facts:
    """Return the facts that the sections' *answers* give; a section that failed leaves its facts unknown."""
    rows = {name: answer for name, answer in answers.items() if not isinstance(answer, DatabaseError)}
    facts = no_facts()
    for name in ("server", "size"):
        facts.update(*rows.get(name, [])[:1])
    for name, shape in _SHAPES.items():
        if name in rows:
            shape(facts, rows[name])
    return facts


def _shape_connections(facts: Facts, rows: list[Row]) -> None:
    row = rows[0]
    # The reserved ones are not for applications: at 100 % the next of them is refused.
    available = row["maximum"] - row["reserved"]
    facts["connections"] = {
        **{name: row[name] for name in ("used", "maximum", "reserved")},
        "used_percent": _percent(row["used"], available),
        **{name: row[name] or {} for name in ("by_state", "by_user", "by_application")},
    }


def _shape_long_running(facts: Facts, rows: list[Row]) -> None:
    facts["activity"]["long_running"] = [_with_query(row) for row in rows]


def _shape_idle(facts: Facts, rows: list[Row]) -> None:
    facts["activity"]["idle_in_transaction"] = [_with_query(row) for row in rows]


def _with_query(row: Row) -> Row:
    return {**row, "duration_seconds": round(row["duration_seconds"], 1), "query": _shown(row["query"])}


def _shown(query: t.Optional[str]) -> str:
    return normalised(query or "", _QUERY_CHARACTERS, numbers=True)


def _shape_locks(facts: Facts, rows: list[Row]) -> None:
    waiting, blockers = rows[0]["waiting"] or [], {blocker["pid"]: blocker for blocker in rows[0]["blockers"] or []}
    blocked_by = {row["pid"]: row["blocked_by"] for row in waiting}
    entries = []
    for row in waiting:
        root = root_blocker(row["pid"], blocked_by)
        blocker = blockers.get(root)
        if row["wait_seconds"] is None or row["wait_seconds"] < rows[0]["minimum"]:
            continue
        entries.append(
            {
                "pid": row["pid"],
                "blocked_by": row["blocked_by"],
                "root_blocker": root,
                "root_backend_start": blocker["backend_start"] if blocker else None,
                "root_query_start": blocker["query_start"] if blocker else None,
                "wait_seconds": round(row["wait_seconds"], 1),
                "lock_mode": row["lock_mode"],
                "relation": row["relation"],
                "query": _shown(row["query"]),
                "blocker_query": _shown(blocker["query"]) if blocker else None,
                "blocker_state": blocker["state"] if blocker else ("prepared transaction" if root == 0 else None),
            }
        )
    facts["activity"]["blocked"] = entries


def root_blocker(pid: int, blocked_by: t.Mapping[int, t.Sequence[int]]) -> int:
    """Return who is at the end of the chain of waits that begins at *pid*; 0 is a prepared transaction."""
    seen = {pid}
    while blocked_by.get(pid):
        following = [blocker for blocker in blocked_by[pid] if blocker not in seen]
        if not following:
            break
        # Someone who does not wait is an end; behind the others the chain goes on.
        pid = next((blocker for blocker in following if not blocked_by.get(blocker)), following[0])
        seen.add(pid)
    return pid


def _shape_wraparound(facts: Facts, rows: list[Row]) -> None:
    row = rows[0]
    oldest = max(row["max_xid_age"], row["max_multixact_age"] or 0)
    facts["wraparound"] = {**row, "used_percent": _percent(oldest, _TWO_TO_31)}


def _shape_tables(facts: Facts, rows: list[Row]) -> None:
    facts["tables"] = [
        {
            **{name: row[name] for name in ("name", "rows", "size_bytes", "sequential_scans", "index_scans", "rows_read_sequentially", "dead_rows")},
            "index_use_percent": _percent(row["index_scans"], row["index_scans"] + row["sequential_scans"]),
            "dead_percent": _percent(row["dead_rows"], row["dead_rows"] + row["n_live_tup"]),
            "last_vacuum_at": rfc3339(row["vacuumed"]),
            "last_analyze_at": rfc3339(row["analyzed"]),
            "missing_index_likely": row["missing_index_likely"],
        }
        for row in rows
    ]


def _shape_indexes(facts: Facts, rows: list[Row]) -> None:
    facts["indexes"] = {name: rows[0][name] or [] for name in ("invalid", "unused", "duplicate")}


def _shape_sequences(facts: Facts, rows: list[Row]) -> None:
    facts["sequences"] = [{"name": row["name"], "used_percent": round(float(row["used_percent"]), 2)} for row in rows]


def _shape_database(facts: Facts, rows: list[Row]) -> None:
    row = rows[0]
    accesses = row["blks_hit"] + row["blks_read"]
    facts["cache_hit_percent"] = _percent(row["blks_hit"], accesses) if accesses >= _MINIMUM_BLOCK_ACCESSES else None
    facts["deadlocks"] = row["deadlocks"]
    facts["temp_bytes"] = row["temp_bytes"]


def _shape_slots(facts: Facts, rows: list[Row]) -> None:
    facts["replication_slots"] = rows


def _shape_settings(facts: Facts, rows: list[Row]) -> None:
    facts["settings"] = {row["name"]: with_unit(str(row["value"] or ""), row["unit"]) for row in rows}
    facts["read_only"] = facts["settings"].get("default_transaction_read_only") == "on"


_SHAPES: dict[str, t.Callable[[Facts, list[Row]], None]] = {
    "connections": _shape_connections,
    "long_running": _shape_long_running,
    "idle_in_transaction": _shape_idle,
    "locks": _shape_locks,
    "wraparound": _shape_wraparound,
    "tables": _shape_tables,
    "indexes": _shape_indexes,
    "sequences": _shape_sequences,
    "database": _shape_database,
    "replication_slots": _shape_slots,
    "settings": _shape_settings,
}


def _percent(part: t.Optional[float], whole: t.Optional[float]) -> t.Optional[float]:
    return round(100 * part / whole, 2) if whole and part is not None else None


def with_unit(value: str, unit: t.Optional[str]) -> str:
    """Return a setting as ``SHOW`` writes it: ``16384`` in units of ``8kB`` is ``128MB``; -1 and 0 have no unit."""
    if not unit or not value.lstrip("-").isdigit() or int(value) <= 0:
        return value
    for names, factor in ((("B", "kB", "MB", "GB", "TB"), 1024), (("us", "ms", "s", "min", "h", "d"), 0)):
        name = unit.lstrip("0123456789")
        if name in names:
            number = int(value) * int(unit[: -len(name)] or 1)
            steps = [factor] * (len(names) - 1) if factor else [1000, 1000, 60, 60, 24]
            index = names.index(name)
            while index < len(steps) and number % steps[index] == 0:
                number //= steps[index]
                index += 1
            return f"{number}{names[index]}"
    return f"{value}{unit}"


# -- verdicts ----------------------------------------------------------------------------------------------------------


def _verdicts(facts: Facts, options: PostgresOptions) -> dict[str, str]:
    """Return the verdict of every part by what it is about; parts that are not known do not count."""
    health = options.health
    activity = facts["activity"]

    def longest(rows: t.Optional[list[Row]], name: str) -> t.Optional[float]:
        return None if rows is None else max((row[name] for row in rows), default=0.0)

    checked: list[tuple[str, t.Optional[float], float, float]] = [
        ("connections", facts["connections"]["used_percent"], health.connections_warning_percent, health.connections_critical_percent),
        ("long-running statements", longest(activity["long_running"], "duration_seconds"), health.long_running_seconds, health.long_running_critical_seconds),
        (
            "idle transactions",
            longest(activity["idle_in_transaction"], "duration_seconds"),
            health.idle_in_transaction_seconds,
            health.idle_in_transaction_critical_seconds,
        ),
        ("blocked sessions", longest(activity["blocked"], "wait_seconds"), health.blocked_seconds, health.blocked_critical_seconds),
        ("wraparound", facts["wraparound"]["used_percent"], health.wraparound_warning_percent, health.wraparound_critical_percent),
        ("sequences", longest(facts["sequences"], "used_percent"), health.sequence_warning_percent, health.sequence_critical_percent),
    ]
    verdicts = {name: Thresholds(warning, critical).verdict(value) for name, value, warning, critical in checked if value is not None}
    verdicts["invalid indexes"] = "warning" if facts["indexes"]["invalid"] else "ok"
    verdicts["read-only"] = "critical" if facts["read_only"] and not facts["in_recovery"] else "ok"
    verdicts["slow statements"] = "ok" if facts["statements"]["failure"] else statements_status(facts["statements"], options.statements)
    return verdicts


#: What a server that the collector cannot use is worth: it is down, or only this collector may not see it.
_FAILURE_STATUS = {
    "not-running": "critical",
    "refused": "critical",
    "timeout": "critical",
    "too-many-connections": "critical",
    "name-not-resolved": "critical",
    "starting-up": "warning",
}


def collect_instance(session: Session, instance: Instance, options: PostgresOptions) -> tuple[Facts, list[CheckError]]:
    """Return the facts that *session* gives about its server, and what could not be read of them."""
    reader = StatementReader(session, instance, options.statements)
    answers = session.answers({"probe": PROBE, **sections(options.health)})
    reader.begin(answers.pop("probe"))
    facts = facts_of(answers)
    facts["statements"] = reader.finish()
    errors = [
        CheckError(f"{instance.name}: {name}", answer.reason, answer.hint, answer.code) for name, answer in answers.items() if isinstance(answer, DatabaseError)
    ]
    return facts, errors


def _collect_one(instance: Instance, engine: t.Optional[Engine], options: PostgresOptions) -> tuple[Facts, list[CheckError]]:
    connection = connect(instance, engine, options)
    with connection.session as session:
        facts, errors = collect_instance(session, instance, options)
    login = connection.target.credentials
    verdicts = _verdicts(facts, options)
    entry = _entry(instance, {**facts, "reachable": True, "via": connection.via, "database": login.database, "user": login.user})
    entry["status"] = worst(verdicts.values())
    entry["concerns"] = sorted(name for name, verdict in verdicts.items() if verdict in ("warning", "critical"))
    # Another way worked in the end, but a wrong password in the environment is worth to be known.
    problems = [CheckError(instance.name, error.reason, error.hint, error.code) for error in connection.problems[:1]]
    return entry, problems + errors


def _entry(instance: Instance, facts: Facts) -> Facts:
    head: Facts = {"name": instance.name, "project": instance.project, "service": instance.service, "status": "unknown", "reachable": False, "concerns": []}
    return {**head, **no_facts(), **facts}


def _failed(instance: Instance, error: CheckError) -> Facts:
    failed = _entry(instance, {"failure": error.code or None, "message": error.reason, "status": _FAILURE_STATUS.get(error.code, "unknown")})
    failed["statements"]["fix"] = [error.hint] if error.hint else []
    return failed


def collect_postgres(stacks: t.Sequence[Stack], engine: t.Optional[Engine], options: t.Optional[PostgresOptions] = None) -> Facts:
    """Return the envelope ``postgres``: every server of *stacks* and of *options*, read side by side.

    A server that cannot be reached is an entry with its failure and does not stop the others.
    """
    options = options or PostgresOptions()
    instances = find_instances(stacks, options)
    work = {f"{index} {instance.name}": functools.partial(_collect_one, instance, engine, options) for index, instance in enumerate(instances)}
    outcomes = run_side_by_side(work, options.timeout_seconds + options.statements.sample_seconds)
    entries: list[Facts] = []
    errors: list[CheckError] = []
    for instance, outcome in zip(instances, outcomes.values()):
        if outcome.value is not None:
            entries.append(outcome.value[0])
            errors += outcome.value[1]
        else:
            errors.append(as_check_error(outcome.error, instance.name))
            entries.append(_failed(instance, errors[-1]))
    return envelope(worst(entry["status"] for entry in entries), _summary(entries), _metrics(entries, options), errors, instances=entries)


def _summary(entries: t.Sequence[Facts]) -> str:
    if not entries:
        return "no PostgreSQL server"
    parts = []
    for entry in entries:
        if not entry["reachable"]:
            parts.append(f"{entry['name']}: {entry['failure'] or 'not reachable'}")
        elif entry["concerns"]:
            parts.append(f"{entry['name']}: {', '.join(entry['concerns'])}")
    return "; ".join(parts) or f"{len(entries)} PostgreSQL server{'s' if len(entries) > 1 else ''}, nothing stands out"


def _metrics(entries: t.Sequence[Facts], options: PostgresOptions) -> dict[str, dict[str, t.Any]]:
    health = options.health
    reachable = [entry for entry in entries if entry["reachable"]]

    def highest(values: t.Iterable[t.Optional[float]]) -> t.Optional[float]:
        return max((value for value in values if value is not None), default=None)

    metrics = {"servers": metric(len(entries)), "servers_unreachable": metric(len(entries) - len(reachable))}
    if reachable:
        metrics["connections_used_percent"] = metric(
            highest(entry["connections"]["used_percent"] for entry in reachable),
            "%",
            Thresholds(health.connections_warning_percent, health.connections_critical_percent),
        )
        metrics["sessions_blocked"] = metric(sum(len(entry["activity"]["blocked"] or ()) for entry in reachable))
        metrics["wraparound_used_percent"] = metric(
            highest(entry["wraparound"]["used_percent"] for entry in reachable),
            "%",
            Thresholds(health.wraparound_warning_percent, health.wraparound_critical_percent),
        )
        metrics["slowest_mean_ms"] = metric(
            highest(query["mean_exec_time_ms"] for entry in reachable for query in entry["statements"]["queries"]),
            "ms",
            Thresholds(options.statements.warning_ms, options.statements.critical_ms),
        )
    return metrics
