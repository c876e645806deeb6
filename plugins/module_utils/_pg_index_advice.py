# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Which indexes may be worth to be made, made anew or dropped: as text, with what speaks for it. Nothing is ever carried out.

What is read sequentially again and again tells the table; the statements that take the time tell the columns; the catalogue tells which of
them there are, and which indexes there are already.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ._database_facts import identifier
from ._discovery import Stack
from ._engine import Engine, EngineOptions
from ._envelope import CheckError
from ._postgres import Instance, Login, PostgresOptions, StatementOptions, open_session
from ._postgres_health import collect_instance
from ._postgres_target import only_server
from ._redaction import redactor_of
from ._remediation import Facts, only_stack

_STATEMENTS = 100
_MOST_COLUMNS = 3
_SHOWN_CHARACTERS = 160
_IDENTIFIER = r'"?([A-Za-z_][A-Za-z0-9_$]*)"?'
_SOURCE = re.compile(rf"\b(?:FROM|JOIN|UPDATE|INTO|,)\s+(?:ONLY\s+)?(?:{_IDENTIFIER}\.)?{_IDENTIFIER}(?:\s+(?:AS\s+)?{_IDENTIFIER})?", re.IGNORECASE)
_PREDICATE = re.compile(rf"(?:{_IDENTIFIER}\.)?{_IDENTIFIER}\s*(<=|>=|<>|!=|=|<|>|\bIN\b|\bBETWEEN\b|\bIS\b)\s*", re.IGNORECASE)
_ORDER = re.compile(rf"\bORDER\s+BY\s+(?:{_IDENTIFIER}\.)?{_IDENTIFIER}", re.IGNORECASE)
_FILTERS = re.compile(r"\b(?:WHERE|ON|HAVING)\b(.*?)(?=\b(?:GROUP\s+BY|ORDER\s+BY|LIMIT|RETURNING|UNION|WHERE)\b|$)", re.IGNORECASE | re.DOTALL)
_NO_ALIAS = frozenset(("where", "join", "left", "right", "inner", "outer", "full", "cross", "on", "set", "group", "order", "limit", "using", "values", "for"))
_EQUAL = ("=", "in")
_RANGE = ("<", ">", "<=", ">=", "between")

# Of the tables that are named: their columns, and the columns of their valid indexes in order, without expressions and conditions.
_CATALOGUE = """
SELECT n.nspname || '.' || c.relname AS name, n.nspname AS schema, c.relname AS table,
       (SELECT json_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
       (SELECT json_agg((SELECT json_agg(a.attname ORDER BY k.place) FROM unnest(i.indkey::int[]) WITH ORDINALITY AS k(number, place)
                         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number))
        FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL) AS indexes
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname || '.' || c.relname = ANY(%(names)s)"""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table as the catalogue has it: its columns, and the columns of each of its indexes."""

    schema: str
    name: str
    columns: tuple[str, ...]
    indexes: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of_row(cls, row: t.Mapping[str, t.Any]) -> Table:
        """Return the table of a row of the catalogue."""
        return cls(row["schema"], row["table"], tuple(row["columns"] or ()), tuple(tuple(one or ()) for one in row["indexes"] or ()))


def columns_of(query: str, table: Table) -> tuple[str, ...]:
    """Return the columns of *table* by which *query* looks for its rows: those compared for equality, then one of a range or of the order.

    A name without a table counts where no other table of the query may have it.
    """
    aliases = set()
    sources = []
    for schema, name, alias in _SOURCE.findall(query):
        sources.append(name)
        if name == table.name and schema in ("", table.schema):
            aliases.add(name)
            if alias and alias.lower() not in _NO_ALIAS:
                aliases.add(alias)
    if not aliases:
        return ()
    alone = len(set(sources)) == 1

    def is_its(qualifier: str, column: str) -> bool:
        return column in table.columns and (qualifier in aliases or (not qualifier and alone))

    equal: list[str] = []
    ranged: list[str] = []
    for filters in _FILTERS.findall(query):
        # An index on one column serves no OR of two.
        if re.search(r"\bOR\b", filters, re.IGNORECASE):
            continue
        for qualifier, column, operator in _PREDICATE.findall(filters):
            if is_its(qualifier, column):
                (equal if operator.lower() in _EQUAL else ranged if operator.lower() in _RANGE else []).append(column)
    ordered = [column for qualifier, column in _ORDER.findall(query) if is_its(qualifier, column)]
    last = [column for column in (*ranged, *(ordered if equal else ())) if column not in equal][:1]
    return tuple(dict.fromkeys((*equal[: _MOST_COLUMNS - len(last)], *last)))


def is_served(columns: t.Sequence[str], indexes: t.Iterable[t.Sequence[str]]) -> bool:
    """Say whether one of *indexes* begins with *columns*, in any order of them."""
    return any(set(index[: len(columns)]) == set(columns) for index in indexes)


def suggestions(facts: Facts, tables: t.Sequence[Table]) -> list[Facts]:
    """Return what there is to suggest for the *facts* of one server: each with ``sql``, ``reason`` and ``caution``."""
    found: list[Facts] = []
    queries = sorted((facts["statements"] or {}).get("queries") or (), key=lambda one: -one["total_exec_time_ms"])
    candidates = {row["name"]: row for row in facts["tables"] or () if row["missing_index_likely"]}
    seen: set[tuple[str, tuple[str, ...]]] = set()
    helped: set[str] = set()
    for query in queries:
        for table in tables:
            name = f"{table.schema}.{table.name}"
            columns = columns_of(query["query"], table) if name in candidates else ()
            if not columns or is_served(columns, table.indexes) or (name, columns) in seen:
                continue
            seen.add((name, columns))
            helped.add(name)
            found.append(_create(table, columns, candidates[name], query))
    found += [_look(row) for name, row in candidates.items() if name not in helped]
    indexes = facts["indexes"]
    for name in indexes["invalid"] or ():
        reason = "it is left over from a CREATE INDEX CONCURRENTLY that failed: it is written to, and never read"
        found.append(_entry("rebuild", f"REINDEX INDEX CONCURRENTLY {name}", reason, "A unique one fails again while there are duplicates."))
    for text in indexes["duplicate"] or ():
        name, dummy, original = text.partition(" (same as ")
        found.append(_entry("drop", f"DROP INDEX CONCURRENTLY {name}", f"it is the same as {original.rstrip(')')}", "Keep the one that a constraint needs."))
    for name in indexes["unused"] or ():
        caution = "A standby may use it, and a report that runs once a month: look there first."
        found.append(_entry("drop", f"DROP INDEX CONCURRENTLY {name}", "nothing has read it since the statistics began, and every write pays for it", caution))
    return found


def _create(table: Table, columns: t.Sequence[str], row: t.Mapping[str, t.Any], query: t.Mapping[str, t.Any]) -> Facts:
    listed = ", ".join(identifier(column) for column in columns)
    sql = f"CREATE INDEX CONCURRENTLY ON {identifier(table.schema)}.{identifier(table.name)} ({listed})"
    reason = (
        f"{row['sequential_scans']} sequential scans read {row['rows_read_sequentially']} rows of a table of {row['rows']}; "
        f"{query['calls']} calls of {query['mean_exec_time_ms']:.0f} ms each: {query['query'][:_SHOWN_CHARACTERS]}"
    )
    return _entry("create", sql, reason, "Try it first: EXPLAIN (ANALYZE, BUFFERS) before and after, on a copy. Every write to the table pays for it.")


def _look(row: t.Mapping[str, t.Any]) -> Facts:
    reason = f"{row['sequential_scans']} sequential scans read {row['rows_read_sequentially']} rows of {row['name']}, and no statement tells by which column"
    table = row["name"].partition(".")[2]
    sql = f"SELECT query, calls, mean_exec_time FROM pg_stat_statements WHERE query ILIKE '%{table}%' ORDER BY total_exec_time DESC LIMIT 5"
    return _entry("look", sql, reason, "Where pg_stat_statements is missing, create it: the action create_extension.")


def _entry(kind: str, sql: str, reason: str, caution: str) -> Facts:
    return {"kind": kind, "sql": f"{sql};", "reason": reason, "caution": caution}


def _collect(engine: Engine, stack: Stack, instance: Instance, params: t.Mapping[str, t.Any]) -> tuple[list[Facts], list[CheckError]]:
    options = PostgresOptions(login=Login.from_params(params), statements=StatementOptions(rank_by="total", limit=_STATEMENTS))
    with open_session(instance, engine, options) as session:
        facts, errors = collect_instance(session, instance, options)
        names = [row["name"] for row in facts["tables"] or () if row["missing_index_likely"]]
        tables = [Table.of_row(row) for row in session.rows(_CATALOGUE, names=names)] if names else []
    if facts["statements"]["failure"]:
        reason = f"the statements are not known ({facts['statements']['failure']}), so that the columns are not"
        errors.append(CheckError(instance.name, reason, "Create pg_stat_statements: the action create_extension."))
    return suggestions(facts, tables), errors


def advise(params: t.Mapping[str, t.Any]) -> Facts:
    """Return the result of the module ``pg_index_advice``."""
    empty: Facts = {"changed": False, "plan": [], "before": {}, "after": {}, "undo": [], "suggestions": []}
    nothing = {"ok": None, "detail": "nothing was changed: an index is for a person to decide"}
    try:
        engine = Engine.connect(EngineOptions.from_params(params))
        stack = only_stack(engine, params)
        instance = only_server(stack, params)
        found, errors = _collect(engine, stack, instance, params)
    except CheckError as error:
        return {**empty, "failed": True, "status": "unknown", "summary": error.sentence, "verified": nothing, "errors": [error.as_dict()]}
    counted = f"{len(found)} suggestion{'s' if len(found) != 1 else ''}" if found else "nothing stands out"
    result = {
        **empty,
        "status": "unknown" if errors and not found else "ok",
        "summary": f"{instance.name}: {counted}",
        "plan": [f"{one['sql']}  -- {one['reason']}" for one in found],
        "suggestions": found,
        "verified": nothing,
        "errors": [error.as_dict() for error in errors],
    }
    return t.cast(Facts, redactor_of([stack]).tree(result))
