# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The check of resources, on this host and on an engine that a test has. What it makes of facts: test__checks.py."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._check_resources import check
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_checks import CheckRun
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_options import parse_monitoring
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_types import Observation
from ansible_collections.stackops.runbook.tests.support.compose_engine import Raw, container, running_engine

# All of the memory of this host can never be in use, and never none.
ANY_MEMORY: dict[str, t.Any] = {"thresholds": {"memory_used_percent": {"warning": "0", "critical": "100"}}}


def run(docker_host: str, **options: t.Any) -> dict[str, Observation]:
    monitoring = parse_monitoring({"docker_host": docker_host, "checks": {"resources": {**ANY_MEMORY, **options}}}, "test")
    return {one.object: one for one in check(CheckRun(monitoring.checks["resources"], monitoring, {}, 1795435200.0)).observations}


def limited(service: str, **more: t.Any) -> Raw:
    raw = container(service, **more)
    raw["HostConfig"]["Memory"] = 200 * 2**20
    return raw


def stats(mebibytes: int) -> Raw:
    return {"memory_stats": {"usage": mebibytes * 2**20, "stats": {"inactive_file": 0}}, "pids_stats": {"current": 2}, "cpu_stats": {}}


def test_host_and_containers_are_looked_at_together(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("docker", reason="the Docker SDK for Python is not installed")
    full, calm, free, ended = limited("api"), limited("worker"), container("db"), limited("job", state="exited")
    with running_engine(tmp_path, full, calm, free, ended) as engine:
        engine.stats = {full["Id"]: stats(180), calm["Id"]: stats(20), free["Id"]: stats(4000)}
        seen = run(engine.docker_host)
    memory = seen["memory"]
    assert memory.status == "warning" and memory.metrics["memory_used_percent"]["value"] > 0 and memory.next_command.startswith("top ") and memory.details
    assert {name: (one.status, one.summary) for name, one in seen.items() if name.startswith("shop/")} == {
        "shop/api": ("warning", "uses 90 % of its memory limit"),
        "shop/worker": ("ok", "uses 10 % of its memory limit"),
    }
    assert (seen["shop/api"].next_command, seen["shop/api"].parents) == ("docker stats --no-stream shop-api-1", ("health:shop/api",))


def test_without_an_engine_the_host_is_looked_at_and_the_containers_are_unknown(tmp_path: pathlib.Path) -> None:
    seen = run(f"unix://{tmp_path}/none.sock")
    assert seen["memory"].status == "warning"
    assert (seen["containers"].status, seen["containers"].parents) == ("unknown", ("health:engine",))
    assert "no such socket" in seen["containers"].summary and "systemctl start docker" in seen["containers"].next_command


def test_a_host_of_which_only_itself_is_watched_needs_no_engine(tmp_path: pathlib.Path) -> None:
    seen = run(f"unix://{tmp_path}/none.sock", containers=False)
    assert seen["memory"].status == "warning" and "containers" not in seen
