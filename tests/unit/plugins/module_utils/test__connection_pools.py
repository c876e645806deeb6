# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes are counted where they work, sizes come from the environment, and loops are judged by what they wait for."""

from __future__ import annotations

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _connection_pools as pools
from ansible_collections.stackops.runbook.plugins.module_utils._connection_pools import Process, Watch
from ansible_collections.stackops.runbook.plugins.module_utils._database_url import parse_database_url
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import ContainerRef


def tree(*rows):
    return {pid: Process(pid, parent, tuple(argv.split()), program) for pid, parent, program, argv in rows}


UVICORN = "python3 /usr/bin/uvicorn app.main:app"
SPAWNED = "python3 -c from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=5)"
TRACKER = "python3 -c from multiprocessing.resource_tracker import main;main(4)"


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        (tree((1, 0, "python3.13", UVICORN)), [1]),
        (tree((1, 0, "docker-init", "/sbin/docker-init"), (7, 1, "python3.11", UVICORN)), [7]),
        (tree((1, 0, "dash", "sh -c uvicorn"), (7, 1, "python3.11", UVICORN), (99, 50, "python3", "python3 other.py")), [7]),
        # uvicorn --workers 3
        (
            tree((1, 0, "python3.13", UVICORN), (8, 1, "python3.13", TRACKER), *((pid, 1, "python3.13", SPAWNED) for pid in (9, 10, 11))),
            [9, 10, 11],
        ),
        # gunicorn and its workers have one command line
        (tree((1, 0, "python3.9", "gunicorn app:app"), (8, 1, "python3.9", "gunicorn app:app"), (9, 1, "python3.9", "gunicorn app:app")), [8, 9]),
        (tree((1, 0, "node", "node server.js")), []),
    ],
)
def test_the_processes_that_work_are_counted(processes, expected):
    assert [one.pid for one in pools.serving(processes, 1)] == expected


def container(command, **env):
    return ContainerRef({"Path": command.split()[0], "Args": command.split()[1:], "Config": {"Env": [f"{name}={value}" for name, value in env.items()]}})


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("uvicorn app.main:app --host 0.0.0.0", ("uvicorn", True)),
        ("/venv/bin/hypercorn app:app", ("hypercorn", True)),
        ("fastapi run app/main.py", ("uvicorn", True)),
        ("gunicorn -k uvicorn.workers.UvicornWorker -w 4 app:app", ("gunicorn", True)),
        ("gunicorn app:app", ("gunicorn", False)),
        ("celery -A app worker", ("celery", False)),
        ("python3 main.py", (None, None)),
    ],
)
def test_what_serves_and_whether_it_has_a_loop(command, expected):
    assert pools.server_of(container(command)) == expected


@pytest.mark.parametrize(
    ("command", "env", "number"),
    [
        ("uvicorn app:app --workers 4", {}, 4),
        ("gunicorn -w 3 app:app", {}, 3),
        ("gunicorn --workers=2 app:app", {"WEB_CONCURRENCY": "8"}, 2),
        ("uvicorn app:app", {"WEB_CONCURRENCY": "8"}, 8),
        ("uvicorn app:app", {"WEB_CONCURRENCY": "many"}, 1),
    ],
)
def test_what_is_asked_for_where_it_cannot_be_counted(command, env, number):
    assert pools.declared_processes(container(command, **env)) == number


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (5, None, 10, None, 30, None)),
        (
            {"DATABASE_POOL_SIZE": "20", "DATABASE_MAX_OVERFLOW": "30", "DATABASE_POOL_TIMEOUT": "15"},
            (20, "DATABASE_POOL_SIZE", 30, "DATABASE_MAX_OVERFLOW", 15, "DATABASE_POOL_TIMEOUT"),
        ),
        ({"SQLALCHEMY_POOL_SIZE": "4", "DB_MAX_OVERFLOW": "-1"}, (4, "SQLALCHEMY_POOL_SIZE", -1, "DB_MAX_OVERFLOW", 30, None)),
        ({"THREADPOOL_SIZE": "99", "DB_POOL_SIZE": "unset"}, (5, None, 10, None, 30, None)),
    ],
)  # fmt: skip
def test_sizes_and_where_they_come_from(environment, expected):
    found = pools.pool_settings(environment)
    names = [key for name in ("pool_size", "max_overflow", "pool_timeout_seconds") for key in (name, f"{name}_from")]
    assert tuple(found[name] for name in names) == expected


@pytest.mark.parametrize(("arguments", "most"), [((8, 20, 30), 400), ((1, 5, 10), 15), ((1, 0, 10), None), ((2, 5, -1), None)])
def test_what_may_be_opened_together(arguments, most):
    assert pools.connections_at_most(*arguments) == most


def application(processes, size, overflow, timeout=30):
    return {"processes": processes, "pool_size": size, "max_overflow": overflow, "pool_timeout_seconds": timeout}


@pytest.mark.parametrize("available", [10, 37, 97, 500])
@pytest.mark.parametrize("others", [0, 5])
@pytest.mark.parametrize("applications", [[application(8, 20, 30)], [application(1, 5, 10)], [application(2, 0, -1), application(4, 10, 0)]])
def test_what_is_advised_fits_and_is_never_more_than_there_was(available, others, applications):
    advice = pools.advise(available, others, applications)
    processes = sum(one["processes"] for one in applications)
    if advice is None:
        assert int(available * 0.9) - others < processes
        return
    assert advice["connections_at_most"] == processes * (advice["pool_size"] + advice["max_overflow"])
    assert advice["connections_at_most"] + others <= available
    assert advice["pool_size"] >= 1
    assert advice["pool_size"] <= max(one["pool_size"] or available for one in applications)
    assert advice["pool_timeout_seconds"] == 10


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@db/shop", ("psycopg2", True)),
        ("postgres://u:p@db/shop", ("psycopg2", True)),
        ("postgresql+asyncpg://u:p@db/shop", ("asyncpg", False)),
        ("postgresql+psycopg://u:p@db/shop", ("psycopg", None)),
        ("postgresql+other://u:p@db/shop", ("other", None)),
    ],
)
def test_drivers(url, expected):
    assert pools.driver_of(parse_database_url(url)) == expected
    assert pools.driver_of(None) == (None, None)


@pytest.mark.parametrize(
    ("places", "blocked", "waiting_in"),
    [
        (["do_epoll_wait", "ep_poll", "0", ""], 0, None),
        (["hrtimer_nanosleep", "hrtimer_nanosleep", "do_epoll_wait", "do_sys_poll"], 3, "hrtimer_nanosleep"),
        # Waiting for another thread of its own process, such as the interpreter's lock.
        (["futex_wait_queue", "futex_do_wait"], 0, None),
        (["wait_woken", "sk_wait_data"], 2, "wait_woken"),
        ([None], None, None),
    ],
)
def test_what_a_loop_was_seen_waiting_for(places, blocked, waiting_in):
    seen = Watch()
    for place in places:
        seen.add(place)
    facts = seen.as_facts(2)
    assert (facts["blocked"], facts["waiting_in"], facts["threads"]) == (blocked, waiting_in, 2)
