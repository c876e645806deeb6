# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What it takes to have an extension."""

from __future__ import annotations

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._pg_extension import Server, Steps, decide, split_libraries

NAME = "pg_stat_statements"


def server(**changes):
    plain = {"installed": None, "available": "1.11", "loaded": (), "configured": (), "source": "default", "superuser": True, "in_recovery": False}
    return Server(**{**plain, "data_directory": "/data", **changes})


@pytest.mark.parametrize(
    ("now", "steps"),
    [
        (server(installed="1.11", loaded=(NAME,)), Steps()),
        (server(loaded=(NAME,)), Steps(create=True)),
        (server(), Steps((NAME,), True, True)),
        # What others need stays, in its order.
        (server(loaded=("timescaledb", "pg_cron"), configured=("timescaledb", "pg_cron")), Steps(("timescaledb", "pg_cron", NAME), True, True)),
        # Somebody has written it down, and not restarted yet.
        (server(configured=(NAME,)), Steps((), True, True)),
        (server(configured=("auto_explain", NAME)), Steps((), True, True)),
        # Created once, and its library was lost, as after a restore into a new server.
        (server(installed="1.11"), Steps((NAME,), True, False)),
    ],
)
def test_what_has_to_be_done(now, steps):
    assert decide(now, NAME, "shop/db") == steps


def test_one_that_needs_no_library():
    assert decide(server(), "hstore", "shop/db") == Steps(create=True)


@pytest.mark.parametrize(
    ("now", "code", "hint"),
    [
        (server(in_recovery=True), "read-only", "primary"),
        (server(superuser=False), "permission-denied", "login_user"),
        (server(available=None), "package-missing", "postgresql-contrib"),
        (server(source="command line", loaded=("pgaudit",)), "command-line", "shared_preload_libraries=pgaudit,pg_stat_statements"),
    ],
)
def test_what_is_refused_says_what_to_do(now, code, hint):
    with pytest.raises(CheckError) as raised:
        decide(now, NAME, "shop/db")
    assert raised.value.code == code
    assert hint in raised.value.hint


@pytest.mark.parametrize(("value", "names"), [("", ()), (None, ()), ("a, b", ("a", "b")), ("'a','b',a", ("a", "b")), ('"$libdir/x"', ("$libdir/x",))])
def test_a_list_of_libraries(value, names):
    assert split_libraries(value) == names
