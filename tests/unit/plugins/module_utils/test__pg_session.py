# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Only sessions that are in the way are ended, and never one that has the number of another."""

from __future__ import annotations

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._pg_session import Backend, Wanted, backends_of, choose

START, QUERY = "2026-11-26T03:14:15.926535Z", "2026-11-26T03:20:00.000100Z"


def row(pid, **changes):
    plain = {
        "pid": pid, "backend_start": START, "query_start": QUERY, "state": "active", "state_seconds": 90.0, "backend_type": "client backend", "user": "shop",
        "database": "shop", "application": "api", "client": "10.0.0.3", "query": "UPDATE items SET name = 'Canary-secret' WHERE id = 7", "blocked_by": [],
        "wait_seconds": 0.0,
    }  # fmt: skip
    return {**plain, **changes}


ROWS = [
    row(10, state="idle in transaction", state_seconds=120.0),
    row(11, blocked_by=[10], wait_seconds=70.0),
    row(12, blocked_by=[11], wait_seconds=65.0),
    row(13, state="idle", state_seconds=5000.0),
    row(14, state="idle in transaction", state_seconds=20.0),
    row(15, backend_type="autovacuum worker", user=None),
    row(16, blocked_by=[15], wait_seconds=400.0),
    row(17, application="stackops-backup", state="idle in transaction", state_seconds=300.0),
]
BACKENDS = backends_of(ROWS)


def pids(wanted):
    return [one.pid for one in choose(BACKENDS, wanted).backends]


def test_of_a_chain_only_the_one_at_its_end_is_in_the_way():
    by_pid = {one.pid: one for one in BACKENDS}
    assert by_pid[10].blocks == (11, 12)
    assert by_pid[10].blocks_seconds == 70.0
    assert by_pid[11].blocks == ()


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(blocking_seconds=60), [10]),
        (Wanted(blocking_seconds=100), []),
        (Wanted(idle_seconds=10), [10, 14]),
        (Wanted(idle_seconds=60, blocking_seconds=60), [10]),
        (Wanted(named=({"pid": 14},)), [14]),
        (Wanted(named=({"pid": 10, "backend_start": START, "query_start": QUERY},)), [10]),
        # With fewer digits than the server has, as other programs write it.
        (Wanted(named=({"pid": 10, "query_start": "2026-11-26T03:20:00.0001Z"},)), [10]),
    ],
)
def test_who_is_chosen(wanted, expected):
    assert pids(wanted) == expected


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"pid": 99}, "it is gone"),
        ({"pid": 10, "backend_start": "2026-11-26T01:00:00Z"}, "belongs to another session now"),
        ({"pid": 10, "backend_start": START, "query_start": "2026-11-26T01:00:00Z"}, "gone on to another statement"),
        ({"pid": 13}, "blocks nobody"),
        ({"pid": 12}, "blocks nobody"),
    ],
)
def test_who_is_left_alone_and_why(given, why):
    chosen = choose(BACKENDS, Wanted(named=(given,)))
    assert chosen.backends == ()
    assert why in chosen.left[0]


@pytest.mark.parametrize(
    ("wanted", "why"),
    [(Wanted(blocking_seconds=300), "autovacuum worker"), (Wanted(named=({"pid": 17},)), "a backup or a restore")],
)
def test_the_servers_own_processes_and_backups_are_never_ended(wanted, why):
    chosen = choose(BACKENDS, wanted)
    assert chosen.backends == ()
    assert why in chosen.left[0]


def test_the_server_compares_all_three():
    condition = BACKENDS[0].condition
    assert "pid = 10" in condition
    assert START in condition
    assert QUERY in condition
    assert "IS NOT DISTINCT FROM NULL" in Backend(**{**BACKENDS[0].__dict__, "query_start": None}).condition


def test_what_is_shown_has_no_values():
    assert "Canary-secret" not in str(BACKENDS[0].as_facts())
