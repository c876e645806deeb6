# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The check of databases where there are none that answer. Against real servers: tests/live; what it makes of facts: test__checks.py."""

from __future__ import annotations

import pathlib
import socket
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._check_database import check
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_checks import CheckRun
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_options import parse_monitoring
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_types import Observation
from ansible_collections.stackops.runbook.tests.support.compose_engine import container, running_engine


def run(docker_host: str, *servers: dict[str, t.Any]) -> list[Observation]:
    monitoring = parse_monitoring({"docker_host": docker_host, "postgres": list(servers), "checks": {"database": {"timeout_seconds": 12}}}, "test")
    return list(check(CheckRun(monitoring.checks["database"], monitoring, {}, 1795435200.0)).observations)


def test_a_server_in_a_container_that_has_ended_is_critical_because_of_it(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("docker", reason="the Docker SDK for Python is not installed")
    database = container("db", state="exited")
    database["Config"].update(Image="postgres:17", Env=["POSTGRES_PASSWORD=s3cret"])
    with running_engine(tmp_path, database, container("api")) as engine:
        (seen,) = run(engine.docker_host)
    assert (seen.object, seen.stack, seen.status, seen.parents) == ("shop/db", "shop", "critical", ("health:shop/db",))
    assert seen.summary.startswith("cannot be used: ") and seen.next_command and seen.metrics == {} and "s3cret" not in repr(seen)


def test_a_host_without_databases_has_nothing_to_tell(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("docker", reason="the Docker SDK for Python is not installed")
    with running_engine(tmp_path, container("api")) as engine:
        assert run(engine.docker_host) == []


def test_servers_outside_are_asked_even_without_an_engine(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("psycopg2", reason="psycopg2 is not installed")
    with socket.socket() as taken:
        # Bound and not listening: whoever connects is refused.
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        containers, server = run(f"unix://{tmp_path}/none.sock", {"login_host": "127.0.0.1", "login_port": port, "login_password": "s3cret"})
    assert (containers.object, containers.status, containers.parents) == ("containers", "unknown", ("health:engine",))
    assert "no such socket" in containers.summary and containers.next_command
    assert server.status == "critical" and str(port) in server.object and "refused" in server.summary.lower() and "s3cret" not in repr(server)
    assert (server.stack, server.parents) == ("", ())
