# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Facts and verdicts of servers. What real servers answer is in tests/live."""

from __future__ import annotations

import pathlib

import pytest
import yaml
from ansible_collections.stackops.runbook.plugins.module_utils import _postgres_health as health
from ansible_collections.stackops.runbook.plugins.module_utils._postgres import HealthOptions, Login, PostgresOptions
from ansible_collections.stackops.runbook.plugins.module_utils._postgres_session import DatabaseError
from hypothesis import given
from hypothesis import strategies as st

SCHEMA = yaml.safe_load((pathlib.Path(__file__).parents[4] / "roles/diagnose/files/facts_schema.yml").read_text())


def keys(tree):
    return {name.rstrip("[]{}") for name in tree}


def test_an_entry_has_exactly_the_keys_of_the_schema():
    result = health.collect_postgres([], None, PostgresOptions(servers=(Login(dsn="nonsense"),)))
    (entry,) = result["instances"]
    declared = SCHEMA["collectors"]["postgres"]["instances[]"]
    assert set(entry) == keys(declared)
    for part in ("statements", "connections", "activity", "wraparound", "indexes"):
        assert set(entry[part]) == keys(declared[part])


def test_a_server_that_cannot_be_reached_is_an_entry():
    result = health.collect_postgres([], None, PostgresOptions(servers=(Login(host="127.0.0.1", port=1),)))
    (entry,) = result["instances"]
    assert entry["reachable"] is False
    assert entry["failure"] in ("refused", "driver-missing")
    assert entry["connections"]["used"] is None
    assert result["errors"][0]["hint"]
    assert "127.0.0.1:1" in result["summary"]


def test_nothing_to_look_at_is_ok():
    assert health.collect_postgres([], None)["status"] == "ok"


def test_a_section_that_failed_leaves_the_others():
    failed = DatabaseError("db", "permission denied", "", "permission-denied", "42501")
    facts = health.facts_of({"size": [{"size_bytes": 5}], "tables": failed, "database": failed})
    assert facts["size_bytes"] == 5
    assert facts["tables"] is None, "an empty list would say that there are none"
    assert facts["deadlocks"] is None


# -- who blocks whom ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pid, blocked_by, root",
    [
        (1, {1: [2]}, 2),
        (1, {1: [2], 2: [3], 3: [4]}, 4),
        (1, {1: [2, 5], 2: [3]}, 5),
        (1, {1: [0]}, 0),
        (1, {1: [1]}, 1),
    ],
)
def test_root_blocker(pid, blocked_by, root):
    assert health.root_blocker(pid, blocked_by) == root


@given(st.dictionaries(st.integers(1, 8), st.lists(st.integers(0, 8), max_size=4), max_size=8))
def test_a_root_is_found_in_any_tangle(blocked_by):
    """It ends even in a circle, and outside of circles the root is someone who does not wait."""
    for pid in blocked_by:
        root = health.root_blocker(pid, blocked_by)
        reached, edge = {pid}, [pid]
        while edge:
            edge = [other for one in edge for other in blocked_by.get(one, ()) if other not in reached and not reached.add(other)]
        assert root in reached
        if all(not set(blocked_by.get(one, ())) & reached or one == pid for one in reached):
            assert not blocked_by.get(root) or root == pid


LOCKS = [
    {
        "minimum": 3.0,
        "waiting": [
            {"pid": 11, "blocked_by": [10], "lock_mode": "ShareLock", "relation": "items", "query": "UPDATE items SET n = 5", "wait_seconds": 30.25},
            {"pid": 12, "blocked_by": [11], "lock_mode": "ShareLock", "relation": None, "query": "DELETE FROM items", "wait_seconds": 12.0},
            {"pid": 13, "blocked_by": [10], "lock_mode": "ShareLock", "relation": None, "query": "SELECT 1", "wait_seconds": 0.1},
        ],
        "blockers": [
            {"pid": 10, "state": "idle in transaction", "query": "UPDATE items SET name = 'Canary-1'", "backend_start": "10:00", "query_start": "10:05"},
            {"pid": 11, "state": "active", "query": "UPDATE items SET n = 5", "backend_start": "10:01", "query_start": "10:06"},
        ],
    }
]


def test_the_blocking_tree():
    blocked = health.facts_of({"locks": LOCKS})["activity"]["blocked"]
    assert [(one["pid"], one["root_blocker"], one["blocker_state"]) for one in blocked] == [(11, 10, "idle in transaction"), (12, 10, "idle in transaction")]
    assert [(one["root_backend_start"], one["root_query_start"]) for one in blocked] == [("10:00", "10:05")] * 2
    assert blocked[0]["query"] == "UPDATE items SET n = ?"
    assert blocked[1]["blocker_query"] == "UPDATE items SET name = ?"


# -- numbers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value, unit, shown",
    [
        ("16384", "8kB", "128MB"),
        ("4096", "kB", "4MB"),
        ("1024", "MB", "1GB"),
        ("300", "s", "5min"),
        ("1000", "ms", "1s"),
        ("1500", "ms", "1500ms"),
        ("0", "ms", "0"),
        ("-1", "ms", "-1"),
        ("on", None, "on"),
        ("100", "", "100"),
    ],
)
def test_settings_are_shown_as_the_server_shows_them(value, unit, shown):
    assert health.with_unit(value, unit) == shown


def test_connections_are_measured_by_what_applications_may_use():
    row = {"used": 97, "maximum": 100, "reserved": 3, "by_state": {"idle": 97}, "by_user": None, "by_application": {}}
    connections = health.facts_of({"connections": [row]})["connections"]
    assert connections["used_percent"] == 100.0
    assert connections["by_user"] == {}


def test_few_block_accesses_say_nothing_about_the_cache():
    row = {"blks_hit": 10, "blks_read": 90, "deadlocks": 0, "temp_bytes": 0}
    assert health.facts_of({"database": [row]})["cache_hit_percent"] is None
    assert health.facts_of({"database": [{**row, "blks_hit": 99_000, "blks_read": 1000}]})["cache_hit_percent"] == 99.0


@pytest.mark.parametrize(
    "change, concern, status",
    [
        (lambda facts: facts["connections"].update(used_percent=85.0), "connections", "warning"),
        (lambda facts: facts["connections"].update(used_percent=96.0), "connections", "critical"),
        (lambda facts: facts["activity"].update(blocked=[{"wait_seconds": 5.0}]), "blocked sessions", "warning"),
        (lambda facts: facts["activity"].update(long_running=[{"duration_seconds": 700.0}]), "long-running statements", "critical"),
        (lambda facts: facts["activity"].update(idle_in_transaction=[{"duration_seconds": 31.0}]), "idle transactions", "warning"),
        (lambda facts: facts["wraparound"].update(used_percent=85.0), "wraparound", "critical"),
        (lambda facts: facts.update(sequences=[{"used_percent": 96.0}]), "sequences", "critical"),
        (lambda facts: facts["indexes"].update(invalid=["public.x"]), "invalid indexes", "warning"),
        (lambda facts: facts.update(read_only=True, in_recovery=False), "read-only", "critical"),
    ],
)
def test_verdicts(change, concern, status):
    facts = health.no_facts()
    change(facts)
    verdicts = health._verdicts(facts, PostgresOptions())
    assert {name: verdict for name, verdict in verdicts.items() if verdict != "ok"} == {concern: status}


def test_every_section_is_one_query():
    for name, sql in health.sections(HealthOptions()).items():
        assert ";" not in sql, name
