# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Which of a host's facts the report page shows, as tables.

A table's columns are sent to the page once and its rows as plain arrays: that, and leaving out what no one looks at,
is what keeps a thousand hosts in one file.
"""

from __future__ import annotations

import dataclasses
import typing as t

Json = t.Any
Facts = t.Mapping[str, Json]

#: How the page shows a value: with which unit, alignment and ornament.
KINDS = ("status", "text", "prose", "code", "id", "number", "bytes", "ms", "seconds", "percent", "meter", "boolean", "time", "list", "level", "new", "reach")


@dataclasses.dataclass(frozen=True)
class Column:
    """One column: *label* is the key of its heading, *path* leads to the value in a row's facts, *kind* is one of :data:`KINDS`."""

    label: str
    path: str
    kind: str = "text"


@dataclasses.dataclass(frozen=True)
class Table:
    """One table: *rows* yields the facts of each row, worst or biggest first; *limit* bounds how many the page gets."""

    name: str
    rows: t.Callable[[Facts], t.Iterable[Facts]]
    columns: tuple[Column, ...]
    limit: int = 40


def lookup(facts: Json, path: str) -> Json:
    """Return what dotted *path* leads to in *facts*, ``None`` where it leads nowhere."""
    if isinstance(facts, dict) and path in facts:
        return facts[path]
    for key in path.split("."):
        if not isinstance(facts, dict):
            return None
        facts = facts.get(key)
    return facts


def items(facts: Json, path: str) -> list[Facts]:
    """Return the mappings in the list at *path*; what is not there, or is something else, is no row."""
    found = lookup(facts, path)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def number(value: Json) -> float:
    """Return *value* to sort by; what is no number sorts last."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else -1.0


def _biggest_first(rows: t.Iterable[Facts], path: str) -> list[Facts]:
    return sorted(rows, key=lambda row: -number(lookup(row, path)))


_STATUS_ORDER = {"critical": 0, "warning": 1, "unknown": 2}


def _worst_first(rows: t.Iterable[Facts]) -> list[Facts]:
    return sorted(rows, key=lambda row: _STATUS_ORDER.get(str(row.get("status")), 3))


def _of(path: str) -> t.Callable[[Facts], list[Facts]]:
    return lambda facts: _worst_first(items(facts, path))


def _in_each(outer: str, inner: str, order: str = "") -> t.Callable[[Facts], list[Facts]]:
    """Return a reader of the rows at *inner* of each mapping at *outer*, whose name becomes the row's ``of``."""

    def rows(facts: Facts) -> list[Facts]:
        found: list[Facts] = [{**row, "of": parent.get("name")} for parent in items(facts, outer) for row in items(parent, inner)]
        return _biggest_first(found, order) if order else found

    return rows


def _odd_services(facts: Facts) -> list[Facts]:
    """Services that have no container where they should, or one where they should not: the others show as containers."""
    services = [{**service, "project": project.get("name")} for project in items(facts, "compose.projects") for service in items(project, "services")]
    return [service for service in services if service.get("missing") or service.get("orphan") or _other_replicas(service)]


def _other_replicas(service: Facts) -> bool:
    expected = service.get("expected_replicas")
    return expected is not None and expected != service.get("running_replicas") and not service.get("one_shot")


def _waiting(facts: Facts) -> list[Facts]:
    rows = []
    for instance in items(facts, "postgres.instances"):
        for kind in ("long_running", "idle_in_transaction"):
            rows += [{**row, "of": instance.get("name"), "kind": kind} for row in items(instance, f"activity.{kind}")]
    return _biggest_first(rows, "duration_seconds")


def _tables_to_look_at(facts: Facts) -> list[Facts]:
    rows = _in_each("postgres.instances", "tables")(facts)
    return sorted(rows, key=lambda row: (not row.get("missing_index_likely"), -number(row.get("size_bytes"))))


def _unread(facts: Facts) -> list[Facts]:
    """What could not be read, by any collector, with what to do about it."""
    return [{**error, "collector": name} for name, collector in facts.items() for error in items(collector, "errors")]


def _column(label: str, kind: str = "text", path: str = "") -> Column:
    return Column(label, path or label, kind)


#: In the order of the page.
TABLES: tuple[Table, ...] = (
    Table(
        "services",
        _odd_services,
        (
            _column("status", "status"),
            _column("project"),
            _column("service", path="name"),
            _column("expected", "number", "expected_replicas"),
            _column("running", "number", "running_replicas"),
            _column("missing", "boolean"),
            _column("orphan", "boolean"),
        ),
    ),
    Table(
        "containers",
        _of("compose.containers"),
        (
            _column("status", "status"),
            _column("container", "code", "name"),
            _column("state"),
            _column("health", path="health.status"),
            _column("cause", "prose", "cause.summary"),
            _column("restarts", "number", "restart_count"),
            _column("exit_code", "id"),
            _column("cpu", "percent", "stats.cpu_percent"),
            _column("memory", "bytes", "stats.memory_bytes"),
            _column("of_limit", "meter", "stats.memory_percent"),
            _column("uptime", "seconds", "uptime_seconds"),
            _column("image", "code", "image.reference"),
        ),
    ),
    Table(
        "endpoints",
        _of("http.endpoints"),
        (
            _column("status", "status"),
            _column("url", "code"),
            _column("service"),
            _column("answer", "id", "http_status"),
            _column("failure"),
            _column("name_lookup", "ms", "time_name_lookup_ms"),
            _column("connect", "ms", "time_connect_ms"),
            _column("tls", "ms", "time_tls_ms"),
            _column("first_byte", "ms", "time_first_byte_ms"),
            _column("total", "ms", "time_total_ms"),
            _column("tls_days_left", "number"),
        ),
    ),
    Table(
        "links",
        _of("links.links"),
        (
            _column("status", "status"),
            _column("from_service"),
            _column("to_host", "code"),
            _column("port", "id", "to_port"),
            _column("resolved", "boolean"),
            _column("connected", "boolean"),
            _column("connect", "ms", "connect_ms"),
            _column("failure"),
        ),
    ),
    Table(
        "logins",
        _of("database_logins.logins"),
        (
            _column("status", "status"),
            _column("service"),
            _column("variable", "code"),
            _column("to_host", "code", "host"),
            _column("port", "id"),
            _column("database", "code"),
            _column("user", "code"),
            _column("accepted", "boolean"),
            _column("failure"),
            _column("message", "prose"),
        ),
    ),
    Table(
        "postgres",
        _of("postgres.instances"),
        (
            _column("status", "status"),
            _column("instance", "code", "name"),
            _column("version"),
            _column("via"),
            _column("size", "bytes", "size_bytes"),
            _column("connections", "number", "connections.used"),
            _column("maximum", "number", "connections.maximum"),
            _column("of_maximum", "meter", "connections.used_percent"),
            _column("cache_hit", "percent", "cache_hit_percent"),
            _column("wraparound", "percent", "wraparound.used_percent"),
            _column("deadlocks", "number"),
            _column("failure"),
            _column("message", "prose"),
        ),
    ),
    Table(
        "queries",
        _in_each("postgres.instances", "statements.queries", "total_exec_time_ms"),
        (
            _column("query", "code"),
            _column("instance", "code", "of"),
            _column("calls", "number"),
            _column("mean", "ms", "mean_exec_time_ms"),
            _column("max", "ms", "max_exec_time_ms"),
            _column("total", "ms", "total_exec_time_ms"),
            _column("share", "meter", "percent_of_total"),
            _column("rows_per_call", "number"),
            _column("cache_hit", "percent", "cache_hit_percent"),
        ),
        limit=10,
    ),
    Table(
        "blocked",
        _in_each("postgres.instances", "activity.blocked", "wait_seconds"),
        (
            _column("pid", "id"),
            _column("root_blocker", "id"),
            _column("waiting", "seconds", "wait_seconds"),
            _column("lock", path="lock_mode"),
            _column("relation", "code"),
            _column("query", "code"),
            _column("blocker_query", "code"),
            _column("blocker_state"),
        ),
        limit=10,
    ),
    Table(
        "waiting",
        _waiting,
        (
            _column("pid", "id"),
            _column("kind"),
            _column("user", "code"),
            _column("application"),
            _column("state"),
            _column("since_then", "seconds", "duration_seconds"),
            _column("query", "code"),
        ),
        limit=10,
    ),
    Table(
        "tables",
        _tables_to_look_at,
        (
            _column("table", "code", "name"),
            _column("rows", "number"),
            _column("size", "bytes", "size_bytes"),
            _column("sequential_scans", "number"),
            _column("index_use", "percent", "index_use_percent"),
            _column("dead_rows", "percent", "dead_percent"),
            _column("missing_index", "boolean", "missing_index_likely"),
            _column("last_vacuum", "time", "last_vacuum_at"),
        ),
        limit=8,
    ),
    Table(
        "migrations",
        _of("migrations.applications"),
        (
            _column("status", "status"),
            _column("service"),
            _column("state"),
            _column("current", "list"),
            _column("heads", "list"),
            _column("pending", "list"),
            _column("reason", "prose"),
        ),
    ),
    Table(
        "logs",
        _of("logs.sources"),
        (
            _column("status", "status"),
            _column("source", "code", "name"),
            _column("service"),
            _column("format"),
            _column("lines", "number"),
            _column("errors", "number"),
            _column("warnings", "number"),
            _column("error_share", "percent", "error_percent"),
            _column("before", "number", "baseline_errors"),
            _column("peak", "number", "peak_minute_errors"),
            _column("last_line", "seconds", "last_record_age_seconds"),
            _column("reason", "prose"),
        ),
    ),
    Table(
        "messages",
        _in_each("logs.sources", "groups", "count"),
        (
            _column("count", "number"),
            _column("level", "level"),
            _column("sample", "code"),
            _column("new", "new", "is_new"),
            _column("source", "code", "of"),
            _column("first_seen", "time"),
            _column("last_seen", "time"),
        ),
        limit=12,
    ),
    Table(
        "requests",
        _of("requests.sources"),
        (
            _column("status", "status"),
            _column("source", "code", "name"),
            _column("requests", "number"),
            _column("slow", "number"),
            _column("slow_share", "percent", "slow_percent"),
            _column("errors_5xx", "number"),
            _column("errors_4xx", "number", "client_errors_4xx"),
            _column("p50", "ms", "p50_ms"),
            _column("p95", "ms", "p95_ms"),
            _column("p99", "ms", "p99_ms"),
            _column("max", "ms", "max_ms"),
        ),
    ),
    Table(
        "paths",
        _in_each("requests.sources", "paths", "p95_ms"),
        (
            _column("method"),
            _column("path", "code"),
            _column("requests", "number", "count"),
            _column("slow", "number"),
            _column("errors_5xx", "number"),
            _column("p50", "ms", "p50_ms"),
            _column("p95", "ms", "p95_ms"),
            _column("max", "ms", "max_ms"),
        ),
        limit=10,
    ),
    Table(
        "reachable",
        _of("firewall.ports"),
        (
            _column("status", "status"),
            _column("service", "code", "label"),
            _column("address", "text", "host_ip"),
            _column("port", "id", "host_port"),
            _column("protocol"),
            _column("ip_version", path="family"),
            _column("from_outside", "reach", "class"),
            _column("reason", "prose"),
        ),
    ),
    Table(
        "published",
        lambda facts: items(facts, "ports.published"),
        (
            _column("service"),
            _column("address", "code", "host_ip"),
            _column("port", "id", "host_port"),
            _column("container_port", "id"),
            _column("protocol"),
            _column("listening_host", "boolean", "listening_on_host"),
            _column("listening_container", "boolean", "listening_in_container"),
            _column("from_anywhere", "boolean", "world_reachable_bind"),
        ),
    ),
    Table(
        "conflicts",
        lambda facts: items(facts, "ports.conflicts"),
        (
            _column("port", "id", "host_port"),
            _column("protocol"),
            _column("wanted_by", "code"),
            _column("held_by", "code"),
            _column("pid", "id", "held_by_pid"),
        ),
    ),
    Table(
        "listeners",
        lambda facts: items(facts, "ports.listeners"),
        (
            _column("protocol"),
            _column("address", "code"),
            _column("port", "id"),
            _column("process", "code"),
            _column("container", "code"),
        ),
        limit=25,
    ),
    Table(
        "filesystems",
        lambda facts: _biggest_first(items(facts, "host.filesystems"), "used_percent"),
        (
            _column("status", "status"),
            _column("mount", "code"),
            _column("device", "code"),
            _column("size", "bytes", "size_bytes"),
            _column("available", "bytes", "available_bytes"),
            _column("used", "meter", "used_percent"),
            _column("inodes", "meter", "inodes_used_percent"),
            _column("read_only", "boolean"),
            _column("used_for", "list"),
        ),
    ),
    Table(
        "processes",
        lambda facts: _biggest_first(items(facts, "host.processes"), "memory_bytes"),
        (
            _column("process", "code", "name"),
            _column("pid", "id"),
            _column("user", "code"),
            _column("cpu", "percent", "cpu_percent"),
            _column("memory", "bytes", "memory_bytes"),
            _column("container", "code"),
        ),
        limit=10,
    ),
    Table(
        "oom_kills",
        lambda facts: items(facts, "host.kernel_oom_kills"),
        (
            _column("when", "time", "at"),
            _column("process", "code"),
            _column("pid", "id"),
            _column("scope"),
        ),
        limit=10,
    ),
    Table("unread", _unread, (_column("collector"), _column("source", "code"), _column("reason", "prose"), _column("hint", "prose"))),
)


@dataclasses.dataclass(frozen=True)
class Fact:
    """One fact about the host itself, for the list at the top of its panel."""

    label: str
    path: str
    kind: str = "text"


FACTS: tuple[Fact, ...] = (
    Fact("os", "meta.os"),
    Fact("kernel", "meta.kernel"),
    Fact("uptime", "host.uptime_seconds", "seconds"),
    Fact("cpus", "host.cpu_count", "number"),
    Fact("load", "host.load_5m", "number"),
    Fact("cpu", "host.cpu_percent", "percent"),
    Fact("steal", "host.cpu_steal_percent", "percent"),
    Fact("memory", "host.memory_used_percent", "meter"),
    Fact("memory_total", "host.memory_total_bytes", "bytes"),
    Fact("swap", "host.swap_used_percent", "meter"),
    Fact("clock", "host.clock.synchronized", "boolean"),
    Fact("clock_offset", "host.clock.offset_ms", "ms"),
    Fact("docker", "engine.version"),
    Fact("compose", "engine.compose_version"),
    Fact("reclaimable", "host.docker_disk.reclaimable_bytes", "bytes"),
    Fact("root", "meta.is_root", "boolean"),
    Fact("collected", "meta.collected_at", "time"),
    Fact("took", "meta.duration_ms", "ms"),
)

_LONGEST_CELL = 600


def cell(value: Json) -> Json:
    """Return *value* as the page gets it: numbers to two decimals, lists as their words, texts bounded."""
    if isinstance(value, float):
        return round(value, 2)
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_CELL else value[: _LONGEST_CELL - 1] + "…"
    if isinstance(value, list):
        return [_word(element) for element in value[:12]]
    if isinstance(value, dict):
        return _word(value)
    return value


def _word(element: Json) -> str:
    if isinstance(element, dict):
        return " ".join(str(value) for value in element.values() if value is not None)[:_LONGEST_CELL]
    return str(element)[:_LONGEST_CELL]


def table_rows(table: Table, facts: Facts) -> list[list[Json]]:
    """Return *table*'s rows over the collectors' *facts*."""
    rows = list(table.rows(facts))[: table.limit]
    return [[cell(lookup(row, column.path)) for column in table.columns] for row in rows]
