# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compose projects in the shape of well-known public ones: nothing about them is known here, and all of it must be found."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import json
import os
import pathlib
import subprocess
import time
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import Selection
from ansible_collections.stackops.runbook.plugins.module_utils._stack_facts import FactsOptions, collect_facts
from ansible_collections.stackops.runbook.plugins.plugin_utils._judge import judge_host
from ansible_collections.stackops.runbook.plugins.plugin_utils._rules import load_rules

pytestmark = pytest.mark.live

ROOT = pathlib.Path(__file__).parents[2]
STACKS = ROOT / "tests" / "live" / "public_stacks"
UP_SECONDS = 300


@dataclasses.dataclass(frozen=True)
class Expected:
    """What must be found: *roles* by service, *links* as ``from to:port``, *jobs* that have ended; stopping *needed* is a first finding of *rule*."""

    roles: t.Mapping[str, str]
    links: frozenset[str]
    needed: str
    rule: str = "database-down"
    jobs: frozenset[str] = frozenset()
    checked: frozenset[str] = frozenset()


EXPECTED = {
    "fastapi": Expected(
        {"db": "postgres", "backend": "application"},
        frozenset({"backend db:5432", "prestart db:5432", "adminer db:5432"}),
        "db",
        jobs=frozenset({"prestart"}),
        checked=frozenset({"db", "backend"}),
    ),
    "django": Expected(
        {"postgres": "postgres", "redis": "cache", "django": "application"},
        frozenset({f"{service} {link}" for service in ("django", "celeryworker", "celerybeat", "flower") for link in ("postgres:5432", "redis:6379")}),
        "postgres",
    ),
    "mastodon": Expected(
        {"db": "postgres", "redis": "cache", "web": "application"},
        frozenset({f"{service} {link}" for service in ("web", "streaming", "sidekiq") for link in ("db:5432", "redis:6379")}),
        "db",
        checked=frozenset({"db", "redis", "web", "streaming", "sidekiq"}),
    ),
    "airflow": Expected(
        {"postgres": "postgres", "redis": "cache"},
        frozenset(f"{service} {link}" for service in ("airflow-webserver", "airflow-scheduler", "airflow-worker") for link in ("postgres:5432", "redis:6379")),
        "postgres",
        jobs=frozenset({"airflow-init"}),
        checked=frozenset({"postgres", "redis", "airflow-webserver", "airflow-scheduler", "airflow-worker"}),
    ),
    "nextcloud": Expected(
        {"redis": "cache"},
        frozenset({"app redis:6379", "cron redis:6379"}),
        "redis",
        "container-stopped",
    ),
    "immich": Expected(
        {"database": "postgres", "redis": "cache"},
        frozenset({f"{service} {link}" for service in ("immich-server", "immich-machine-learning") for link in ("database:5432", "redis:6379")}),
        "database",
        checked=frozenset({"immich-server", "immich-machine-learning", "redis", "database"}),
    ),
}


@functools.cache
def compose_argv() -> list[str]:
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False, timeout=30)
    return ["docker", "compose"] if plugin.returncode == 0 else ["docker-compose"]


class Running:
    """One of the projects, up."""

    def __init__(self, name: str, directory: pathlib.Path) -> None:
        self.name = f"public{name}{os.getpid()}"
        self._directory = directory / self.name
        self._directory.mkdir()
        (self._directory / "docker-compose.yml").write_text((STACKS / f"{name}.yml").read_text("utf-8"), "utf-8")
        (self._directory / ".env").write_text(f"COMPOSE_PROJECT_NAME={self.name}\nPREFIX={self.name}\nSTAND_IN={STACKS / 'stand_in.py'}\n", "utf-8")

    def compose(self, *argv: str) -> None:
        done = subprocess.run([*compose_argv(), *argv], cwd=self._directory, capture_output=True, text=True, timeout=UP_SECONDS, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def up(self) -> None:
        self.compose("up", "-d")
        deadline = time.monotonic() + UP_SECONDS
        while any(state in row for state in ("health: starting", "unhealthy") for row in self._states()):
            assert time.monotonic() < deadline, self._states()
            time.sleep(1)

    def _states(self) -> list[str]:
        argv = ["docker", "ps", "--filter", f"label=com.docker.compose.project={self.name}", "--format", "{{.Names}} {{.Status}}"]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()

    def facts(self) -> dict[str, t.Any]:
        return collect_facts(FactsOptions(selections=(Selection(project_name=self.name),)))

    def causes(self, facts: t.Mapping[str, t.Any]) -> list[tuple[str, str]]:
        """The findings about this project that a person would be called for; the machine itself may be busy with other tests."""
        row = judge_host(load_rules([ROOT / "roles" / "diagnose" / "rules"]), "web1", facts)
        return [
            (finding["rule"], finding["object"].removeprefix(f"{self.name}/"))
            for finding in row["findings"]
            if finding["result"] == "fire" and finding["severity"] != "info" and not finding.get("effect_of") and finding["object"].startswith(self.name)
        ]


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[dict[str, Running]]:
    images = ["second-api", "postgres:17", "postgres:15", "second-cache"]
    built = subprocess.run([str(ROOT / "tests/testbed/testbed"), "images", *images], capture_output=True, timeout=900, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    running = {name: Running(name, tmp_path_factory.mktemp("public")) for name in EXPECTED}
    try:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(Running.up, running.values()))
        yield running
    finally:
        for one in running.values():
            one.compose("down", "--timeout", "0", "--volumes")


@pytest.fixture(scope="module")
def collected(projects: dict[str, Running]) -> dict[str, dict[str, t.Any]]:
    return {name: running.facts() for name, running in projects.items()}


@pytest.mark.parametrize("name", EXPECTED)
def test_services_are_known_for_what_they_are(collected: dict[str, t.Any], name: str) -> None:
    containers = {row["service"]: row for row in collected[name]["facts"]["compose"]["containers"]}
    services = {row["name"]: row for row in collected[name]["facts"]["compose"]["projects"][0]["services"]}
    expected = EXPECTED[name]
    assert {service: containers[service]["role"] for service in expected.roles} == dict(expected.roles)
    assert {service for service, row in containers.items() if row["health"]["status"] == "healthy"} == expected.checked
    assert {service for service, row in services.items() if row["one_shot"]} == expected.jobs
    assert [row["name"] for row in services.values() if row["missing"] or row["orphan"]] == []


@pytest.mark.parametrize("name", EXPECTED)
def test_what_they_need_is_found_and_reached(collected: dict[str, t.Any], name: str) -> None:
    links = {f"{row['from_service']} {row['to_service']}:{row['to_port']}": row["status"] for row in collected[name]["facts"]["links"]["links"]}
    assert EXPECTED[name].links - {*links, *(f"{job} {link.split()[1]}" for job in EXPECTED[name].jobs for link in EXPECTED[name].links)} == set()
    assert {link: status for link, status in links.items() if status not in ("ok", "unknown")} == {}


@pytest.mark.parametrize("name", EXPECTED)
def test_nothing_false_is_found(projects: dict[str, Running], collected: dict[str, t.Any], name: str) -> None:
    assert projects[name].causes(collected[name]) == []
    assert json.loads(json.dumps(collected[name])) == collected[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_stopping_what_all_need_is_the_first_finding(projects: dict[str, Running], collected: dict[str, t.Any], name: str) -> None:
    expected = EXPECTED[name]
    projects[name].compose("stop", "-t", "1", expected.needed)
    assert projects[name].causes(projects[name].facts())[:1] == [(expected.rule, expected.needed)]
