# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Statements without literals, the columns of every version of the extension, the reasons why there are none."""

from __future__ import annotations

import json
import pathlib
import re

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _postgres_statements as statements
from ansible_collections.stackops.runbook.plugins.module_utils._postgres import Instance, StatementOptions
from hypothesis import given
from hypothesis import strategies as st

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures" / "postgres"
RECORDED = json.loads((FIXTURES / "statement_columns.json").read_text())["columns"]
CANARY = "Canary9d2f"
PROBE = {
    "extension_version": "1.11",
    "available_version": "1.11",
    "schema": "public",
    "may_use_schema": True,
    "columns": RECORDED["1.11"],
    "has_info": True,
    "sees_all": True,
    "user": "monitor",
    "preload": "pg_stat_statements",
    "preload_source": "configuration file",
    "compute_query_id": "auto",
    "io_timing": True,
    "track": "top",
    "maximum": 5000,
}
COMPOSE = Instance("shop/store", "shop", "store")
OUTSIDE = Instance("db:5432")


# -- privacy -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query, shown",
    [
        ("SELECT *\n  FROM items\tWHERE id = $1", "SELECT * FROM items WHERE id = $1"),
        (f"ALTER ROLE bob PASSWORD '{CANARY}'", "ALTER ROLE bob PASSWORD ?"),
        (f"CREATE USER bob PASSWORD E'it\\'s {CANARY}' LOGIN", "CREATE USER bob PASSWORD ? LOGIN"),
        (f"COPY t TO PROGRAM 'curl {CANARY}'", "COPY t TO PROGRAM ?"),
        (f"DO $body$ BEGIN PERFORM '{CANARY}'; END $body$", "DO ?"),
        (f"DO $$ BEGIN PERFORM '{CANARY}'; END $$", "DO ?"),
        (f"SET app.secret = {CANARY}", "SET app.secret = ?"),
        (f"set local app.secret to {CANARY}", "set local app.secret to ?"),
        (f"ALTER ROLE bob SET app.secret = {CANARY}", "ALTER ROLE bob SET app.secret = ?"),
        (f"/* {CANARY} */ SELECT 1 -- {CANARY}", "SELECT 1"),
        ("SELECT 'it''s' || \"a 'quoted' name\"", "SELECT ? || \"a 'quoted' name\""),
        (f"SELECT 'cut in the middle {CANARY}", "SELECT ?"),
        ("SELECT x'1f', N'text', U&'d\\0061t'", "SELECT ?, ?, ?"),
        ("UPDATE t1 SET a = 'x'", "UPDATE t1 SET a = ?"),
        ("SELECT $1::numeric(10,2)", "SELECT $1::numeric(10,2)"),
    ],
)
def test_literals_are_removed(query, shown):
    assert statements.normalised(query, 1000) == shown


def test_numbers_of_running_statements_are_removed_too():
    query = "SELECT * FROM t2 WHERE card = 4111111111111111 AND x > 1.5e3 AND y = .5 AND id = $1"
    assert statements.normalised(query, 1000, numbers=True) == "SELECT * FROM t2 WHERE card = ? AND x > ? AND y = ? AND id = $1"


def test_text_is_cut():
    assert statements.normalised("SELECT " + "x" * 100, 20) == "SELECT xxxxxxxxxxxx…"


@given(before=st.text("abcSET1 \n()=,.", max_size=20), inside=st.text("abc'\\$- \n", max_size=20))
def test_what_is_quoted_is_never_shown(before, inside):
    literal = "'" + inside.replace("'", "''") + CANARY + "'"
    assert CANARY not in statements.normalised(f"{before} {literal}", 10_000)


@given(st.text(max_size=300), st.integers(1, 100))
def test_any_text_is_shown_within_the_limit(text, characters):
    shown = statements.normalised(text, characters, numbers=True)
    assert len(shown) <= characters
    assert "\n" not in shown


# -- columns -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", sorted(RECORDED))
def test_every_version_has_what_is_read(version):
    """Only columns that are there are named, and none of ours is missing in any recorded version."""
    columns = RECORDED[version]
    sql = statements._numbers(columns)
    named = set(re.findall(r"(?:sum|max)\((\w+)\)", sql))
    assert named <= set(columns)
    assert "NULL" not in sql


def test_names_differ_between_versions():
    assert "sum(blk_read_time) AS read_ms" in statements._numbers(RECORDED["1.10"])
    assert "sum(shared_blk_read_time) AS read_ms" in statements._numbers(RECORDED["1.11"])


def test_unknown_columns_are_ignored_and_missing_ones_are_null():
    sql = statements._numbers(["calls", "total_exec_time", "cpu_user_time"])
    assert "cpu_user_time" not in sql
    assert "NULL::float8 AS temp_blocks" in sql


@pytest.mark.parametrize("rank_by", statements.RANKINGS)
def test_every_ranking_is_a_query(rank_by):
    sql = statements.view_query(PROBE, StatementOptions(rank_by=rank_by, exclude=("it's",)))
    assert "ORDER BY" in sql
    assert "'it''s'" in sql


# -- availability ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed, instance, failure, fix",
    [
        ({}, COMPOSE, None, None),
        ({"extension_version": None, "available_version": None, "maximum": None}, COMPOSE, "package-missing", "CREATE EXTENSION pg_stat_statements;"),
        ({"maximum": None, "preload": ""}, COMPOSE, "not-preloaded", "docker compose -p shop restart store"),
        (
            {"maximum": None, "preload": "timescaledb, auto_explain"},
            OUTSIDE,
            "not-preloaded",
            "ALTER SYSTEM SET shared_preload_libraries = 'timescaledb', 'auto_explain', 'pg_stat_statements';",
        ),
        (
            {"maximum": None, "preload": "timescaledb", "preload_source": "command line"},
            COMPOSE,
            "not-preloaded",
            "In the server's command line, which overrides its configuration: -c shared_preload_libraries=timescaledb,pg_stat_statements",
        ),
        ({"maximum": None, "preload": None, "extension_version": None}, COMPOSE, "not-preloaded", "CREATE EXTENSION pg_stat_statements;"),
        ({"extension_version": None}, COMPOSE, "not-created", "CREATE EXTENSION pg_stat_statements;"),
        ({"may_use_schema": False, "schema": "ext"}, COMPOSE, "no-privilege", "GRANT USAGE ON SCHEMA ext TO monitor;"),
        ({"track": "none"}, COMPOSE, "tracking-off", "ALTER SYSTEM SET pg_stat_statements.track = 'top';"),
        ({"compute_query_id": "off"}, COMPOSE, "tracking-off", "ALTER SYSTEM SET compute_query_id = 'auto';"),
    ],
)
def test_each_reason_has_its_fix(changed, instance, failure, fix):
    found = statements.availability({**PROBE, **changed}, instance)
    if failure is None:
        assert found is None
    else:
        assert found[0] == failure
        assert fix in found[1]


@pytest.mark.parametrize(
    "changed, info, hidden, lost, age, code, fix",
    [
        ({}, {}, 3, 0, None, "no-privilege", "GRANT pg_read_all_stats TO monitor;"),
        ({"extension_version": "1.9", "available_version": "1.10"}, {}, 0, 0, None, "extension-outdated", "ALTER EXTENSION pg_stat_statements UPDATE;"),
        ({}, {"dealloc": 7}, 0, 0, None, "evicted", "ALTER SYSTEM SET pg_stat_statements.max = 10000; needs a restart"),
        ({"io_timing": False}, {}, 0, 0, None, "io-timing-off", "ALTER SYSTEM SET track_io_timing = on; SELECT pg_reload_conf();"),
        ({}, {}, 0, 2, None, "texts-lost", None),
        ({}, {}, 0, 0, 30.0, "short-history", None),
    ],
)
def test_each_problem_is_told(changed, info, hidden, lost, age, code, fix):
    (problem,) = statements._problems({**PROBE, **changed}, info, hidden, lost, age)
    assert problem["code"] == code
    assert fix is None or problem["fix"] == fix


def test_versions_of_forks_are_not_compared():
    assert not statements._older("1.10-fork", "1.11")
    assert statements._older("1.9", "1.10")
    assert not statements._older("1.10", "1.9")


# -- samples -----------------------------------------------------------------------------------------------------------


def row(calls, total_ms, **more):
    return {"queryid": "1", "dbid": "2", "userid": "3", "calls": calls, "rows": 0, "total_ms": total_ms, "max_ms": 9.0, "stddev_ms": 1.0,
            "blocks_hit": 10, "blocks_read": 5, "temp_blocks": 0, "read_ms": None, "write_ms": None, **more}  # fmt: skip


def test_a_sample_is_what_happened_in_between():
    delta = statements._delta(row(10, 100.0), row(14, 180.0, blocks_hit=30))
    assert (delta["calls"], delta["total_ms"], delta["blocks_hit"], delta["read_ms"], delta["max_ms"]) == (4, 80.0, 20, None, None)


def test_a_statement_that_is_new_or_was_reset_counts_from_zero():
    assert statements._delta(None, row(3, 30.0))["calls"] == 3
    assert statements._delta(row(10, 100.0), row(2, 8.0))["total_ms"] == 8.0


def test_a_statement_as_it_is_shown():
    shown = statements._query({**row(4, 80.0), "database": "shop", "user": "app", "query": "SELECT 1", "all_ms": 160.0}, "sample", 100, False)
    assert shown["queryid"] == "1"
    assert shown["mean_exec_time_ms"] == 20.0
    assert shown["percent_of_total"] == 50.0
    assert shown["cache_hit_percent"] == 66.67
    assert shown["io_time_ms"] is None
    assert shown["source"] == "sample"


def test_a_lost_text_is_named_so():
    shown = statements._query({**row(4, 80.0), "database": "shop", "user": "app", "query": None, "all_ms": 0}, "since_reset", 100, True)
    assert (shown["query"], shown["percent_of_total"]) == ("<text lost>", None)


@pytest.mark.parametrize("mean, status", [(10.0, "ok"), (500.0, "warning"), (2000.0, "critical")])
def test_the_slowest_mean_decides(mean, status):
    facts = {"failure": None, "queries": [{"mean_exec_time_ms": 1.0}, {"mean_exec_time_ms": mean}]}
    assert statements.statements_status(facts, StatementOptions(warning_ms=500, critical_ms=2000)) == status


def test_what_could_not_be_read_is_unknown():
    assert statements.statements_status(statements.not_available("not-created"), StatementOptions()) == "unknown"


def test_no_server_is_not_ok():
    from ansible_collections.stackops.runbook.plugins.module_utils._postgres import PostgresOptions

    result = statements.collect_statements([], None, PostgresOptions())
    assert result["status"] == "unknown"
    assert result["errors"][0]["hint"]
