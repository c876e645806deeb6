# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is put right on services, with the Compose command of this machine and real containers."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._compose_build import run_compose_build
from ansible_collections.stackops.runbook.plugins.module_utils._compose_override import run_compose_override
from ansible_collections.stackops.runbook.plugins.module_utils._compose_run import run_compose_run
from ansible_collections.stackops.runbook.plugins.module_utils._compose_service import run_compose_service

pytestmark = pytest.mark.live

ROOT = pathlib.Path(__file__).parents[2]
IMAGE = "stackops-test/app"
CANARY = "Canary-remedy-5c1d"
COMPOSE = """\
services:
  store:
    image: stackops-test/app
    entrypoint: []
    command: [sleep, infinity]
    stop_grace_period: 0s
    healthcheck: {test: [CMD, "true"], interval: 1s, start_period: 1s}
  api:
    build: ./api
    image: PROJECT-api
    command: [sleep, infinity]
    stop_grace_period: 0s
    environment: {LEVEL: "${LEVEL}", API_SECRET: "${API_SECRET}"}
    depends_on: {store: {condition: service_healthy}}
  front:
    image: stackops-test/app
    entrypoint: []
    command: [sleep, infinity]
    stop_grace_period: 0s
    depends_on: {api: {condition: service_started}}
"""
DOCKERFILE = "FROM stackops-test/app\nENTRYPOINT []\nCOPY marker /marker\nRUN cat /marker\n"


class Project:
    """The project in its directory; a context manager that removes it."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.name = f"remedylive{os.getpid()}"
        self.directory = directory
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False, timeout=30)
        self._compose = [*(["docker", "compose"] if plugin.returncode == 0 else ["docker-compose"]), "--project-name", self.name]
        (directory / "api").mkdir()
        (directory / "docker-compose.yml").write_text(COMPOSE.replace("PROJECT", self.name))
        self.level("info")
        self.source("one")

    def level(self, value: str) -> None:
        (self.directory / ".env").write_text(f"LEVEL={value}\nAPI_SECRET={CANARY}\n")

    def source(self, marker: str, dockerfile: str = DOCKERFILE) -> None:
        (self.directory / "api" / "marker").write_text(marker)
        (self.directory / "api" / "Dockerfile").write_text(dockerfile)

    def compose(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._compose, *words], cwd=self.directory, capture_output=True, text=True, check=False, timeout=180)

    def ids(self, *services: str) -> dict[str, str]:
        """Return the containers' ids by service, of those that run."""
        lines = docker(
            "ps", "--no-trunc", "--filter", f"label=com.docker.compose.project={self.name}", "--format", '{{.Label "com.docker.compose.service"}} {{.ID}}'
        )
        found = dict(line.split() for line in lines.splitlines())
        return {name: found.get(name, "") for name in services} if services else found

    def inspect(self, service: str) -> dict[str, t.Any]:
        inspected: dict[str, t.Any] = json.loads(docker("inspect", self.ids(service)[service]))[0]
        return inspected


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Project]:
    built = subprocess.run([str(ROOT / "tests/testbed/testbed"), "images", "app"], capture_output=True, text=True, timeout=900, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    running = Project(tmp_path_factory.mktemp("remedy"))
    try:
        started = running.compose("up", "-d", "--build")
        assert started.returncode == 0, started.stderr
        yield running
    finally:
        running.compose("down", "--timeout", "0", "--remove-orphans", "--volumes", "--rmi", "local")
        for image in (f"{running.name}-api", *(f"stackops-previous/{running.name}-{service}" for service in ("api", "front", "store"))):
            subprocess.run(["docker", "rmi", "--force", image], capture_output=True, check=False, timeout=60)


@pytest.fixture
def parameters(project: Project, tmp_path: pathlib.Path) -> dict[str, t.Any]:
    return {
        "project_name": project.name,
        "timeout": 60,
        "audit_log": str(tmp_path / "audit" / "log.jsonl"),
        "health_timeout_seconds": 60.0,
        "command_timeout_seconds": 180.0,
        "force": False,
        "grace_seconds": None,
        "services": [],
    }


def entries(parameters: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    path = pathlib.Path(parameters["audit_log"])
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_service_is_restarted_and_nothing_else(project: Project, parameters: dict[str, t.Any]) -> None:
    before, started = project.ids(), project.inspect("front")["State"]["StartedAt"]
    given = {**parameters, "state": "restarted", "services": ["front"]}
    assert run_compose_service(given, True)["status"] == "planned"
    assert project.inspect("front")["State"]["StartedAt"] == started and not entries(parameters)
    result = run_compose_service(given, False)
    assert result["status"] == "done" and result["changed"] and result["verified"]["ok"], result
    assert project.ids() == before and project.inspect("front")["State"]["StartedAt"] > started
    assert [entry["event"] for entry in entries(parameters)] == ["intent", "result"]


def test_a_changed_env_file_is_applied_to_that_service_alone(project: Project, parameters: dict[str, t.Any]) -> None:
    given = {**parameters, "state": "recreated", "services": ["api"]}
    assert run_compose_service(given, False)["status"] == "nothing-to-do"
    before = project.ids()
    project.level("debug")
    planned = run_compose_service(given, True)
    assert planned["status"] == "planned" and planned["before"]["drift"] == ["api: the Compose file or .env has changed since it was made"]
    result = run_compose_service(given, False)
    after = project.ids()
    assert result["status"] == "done" and result["verified"]["ok"], result
    assert {name for name in after if after[name] != before[name]} == {"api"}
    assert "LEVEL=debug" in project.inspect("api")["Config"]["Env"]
    assert run_compose_service(given, False)["status"] == "nothing-to-do"
    assert CANARY not in json.dumps([planned, result, entries(parameters)])


def test_a_service_whose_image_moved_is_recreated_with_it(project: Project, parameters: dict[str, t.Any]) -> None:
    given = {**parameters, "state": "recreated", "services": ["api"]}
    old = project.inspect("api")["Image"]
    project.source("two")
    assert project.compose("build", "api").returncode == 0
    assert f"api: {project.name}-api is another image now" in run_compose_service(given, True)["before"]["drift"]
    assert run_compose_service(given, False)["status"] == "done"
    assert project.inspect("api")["Image"] != old
    assert docker("inspect", "-f", "{{.Id}}", f"stackops-previous/{project.name}-api").strip() == old


def test_what_is_missing_is_started_after_what_it_depends_on(project: Project, parameters: dict[str, t.Any]) -> None:
    project.compose("stop", "-t", "0", "front", "api", "store")
    project.compose("rm", "-f", "api")
    given = {**parameters, "state": "started"}
    planned = run_compose_service(given, True)
    assert [line.split()[-1] for line in planned["plan"]] == ["store", "api", "front"] and project.ids() == {}
    result = run_compose_service(given, False)
    assert result["status"] == "done" and result["verified"]["ok"], result
    begun = [project.inspect(service)["State"]["StartedAt"] for service in ("store", "api", "front")]
    assert begun == sorted(begun)
    assert run_compose_service(given, False)["status"] == "nothing-to-do"


def test_a_service_that_does_not_stay_up_is_a_failure_with_its_log(project: Project, parameters: dict[str, t.Any]) -> None:
    compose = project.directory / "docker-compose.yml"
    good = compose.read_text()
    bad = good.replace("  front:\n", "  front:\n    restart: 'no'\n", 1).replace(
        "command: [sleep, infinity]\n    stop_grace_period: 0s\n    depends_on: {api",
        "command: [python3, -c, \"raise SystemExit(f'no {1 + 1}')\"]\n    depends_on: {api",
    )
    compose.write_text(bad)
    try:
        result = run_compose_service({**parameters, "state": "recreated", "services": ["front"], "health_timeout_seconds": 20.0}, False)
    finally:
        compose.write_text(good)
    assert result["failed"] and not result["verified"]["ok"] and "no 2" in result["verified"]["detail"], result
    assert run_compose_service({**parameters, "state": "recreated", "services": ["front"]}, False)["status"] == "done"


def test_a_name_that_is_no_service_is_refused_with_those_that_there_are(parameters: dict[str, t.Any]) -> None:
    result = run_compose_service({**parameters, "state": "restarted", "services": ["wbe"]}, False)
    assert result["failed"] and not result["changed"] and "It has: api, front, store." in result["summary"] and not entries(parameters)


def test_a_pull_that_fails_changes_nothing_and_says_why(project: Project, parameters: dict[str, t.Any]) -> None:
    before = project.ids()
    compose = project.directory / "docker-compose.yml"
    good = compose.read_text()
    compose.write_text(good.replace("image: stackops-test/app", "image: registry.invalid/stackops-test/app", 1))
    try:
        result = run_compose_service({**parameters, "state": "pulled", "services": ["store"]}, False)
    finally:
        compose.write_text(good)
    assert result["failed"] and not result["changed"] and "the registry registry.invalid of" in result["summary"], result
    assert project.ids() == before


def test_a_build_is_tried_and_nothing_of_it_stays(project: Project, parameters: dict[str, t.Any]) -> None:
    project.source("three")
    before = project.ids(), docker("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}", f"{project.name}-api")
    given = {**parameters, "services": ["api"], "keep": "nothing", "no_cache": True, "pull": False}
    assert run_compose_build(given, True)["status"] == "planned"
    result = run_compose_build(given, False)
    assert result["status"] == "done" and not result["changed"] and result["verified"]["ok"] and result["after"]["image_bytes"] > 0, result
    assert before == (project.ids(), docker("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}", f"{project.name}-api"))
    assert "stackops-build-check" not in docker("images", "--format", "{{.Repository}}")


@pytest.mark.parametrize(
    ("keep", "dockerfile", "kind", "named"),
    [
        ("nothing", "FROM stackops-test/app\nRNU true\n", "dockerfile-syntax", {"line": 2}),
        ("nothing", "FROM stackops-test/app\nRUN dd if=/dev/zero of=/dev/shm/x bs=1M count=100\n", "disk", {"exit_code": 1}),
        ("image", "FROM registry.invalid/team/base:1\n", "network", {"image": "registry.invalid/team/base:1"}),
        ("image", "FROM stackops-test/app\nRUN python3 -c 'import nosuch'\n", "command-failed", {"exit_code": 1}),
    ],
)
def test_a_failed_build_changes_nothing_and_says_what_to_correct(
    project: Project, parameters: dict[str, t.Any], keep: str, dockerfile: str, kind: str, named: dict[str, t.Any]
) -> None:
    before = project.ids()
    project.source("four", dockerfile)
    try:
        result = run_compose_build({**parameters, "services": ["api"], "keep": keep, "no_cache": True, "pull": False}, False)
    finally:
        project.source("four")
    build = result["after"]["build"]
    assert result["failed"] and not result["changed"] and "nothing was changed" in result["summary"], result
    assert (build["kind"], {key: build[key] for key in named}) == (kind, named)
    assert project.ids() == before and "stackops-build-check" not in docker("images", "--format", "{{.Repository}}")


def test_a_service_is_rebuilt_and_can_be_taken_back(project: Project, parameters: dict[str, t.Any]) -> None:
    before, old = project.ids(), project.inspect("api")["Image"]
    project.source("five")
    result = run_compose_build({**parameters, "services": ["api"], "keep": "image", "no_cache": True, "pull": False}, False)
    assert result["status"] == "done" and result["changed"] and result["verified"]["ok"], result
    assert docker("exec", project.ids("api")["api"], "cat", "/marker") == "five"
    assert {name for name, each in project.ids().items() if each != before[name]} == {"api"}
    for command in result["undo"]:
        assert subprocess.run(command, shell=True, capture_output=True, check=False, timeout=120).returncode == 0  # noqa: S602
    assert project.inspect("api")["Image"] == old


def test_what_is_not_built_is_refused(parameters: dict[str, t.Any]) -> None:
    result = run_compose_build({**parameters, "services": ["front"], "keep": "nothing", "no_cache": True, "pull": False}, False)
    assert result["failed"] and not result["changed"] and "no build" in result["summary"], result


def test_a_command_runs_beside_the_service_and_leaves_nothing(project: Project, parameters: dict[str, t.Any]) -> None:
    before = docker("ps", "--all", "--quiet", "--no-trunc")
    script = "import os, sys; print('hello', os.environ['API_SECRET']); print('woe', file=sys.stderr); sys.exit(3)"
    given = {**parameters, "service": "api", "command": ["python3", "-c", script], "user": None, "entrypoint": None, "with_dependencies": False}
    assert "output" not in run_compose_run(given, True)
    result = run_compose_run(given, False)
    assert result["status"] == "done" and result["output"]["exit_code"] == 3 and "woe" in result["output"]["stderr"], result
    assert result["output"]["stdout"] == "hello [redacted]\n" and CANARY not in json.dumps([result, entries(parameters)])
    assert {line for line in docker("ps", "--all", "--quiet", "--no-trunc").split() if line not in before.split()} & set(project.ids().values()) == set()
    assert entries(parameters)[-1]["after"] == {"exit_code": 3}


def test_a_command_that_does_not_end_is_ended_with_its_container(project: Project, parameters: dict[str, t.Any]) -> None:
    given = {**parameters, "service": "api", "command": ["sleep", "infinity"], "user": None, "entrypoint": None, "with_dependencies": False}
    result = run_compose_run({**given, "command_timeout_seconds": 8.0}, False)
    assert result["failed"] and "did not end within 8 s" in result["summary"], result
    assert f"{project.name}-api-run" not in docker("ps", "--all", "--format", "{{.Names}}")


def test_settings_are_laid_over_the_compose_file_and_can_be_taken_back(project: Project, parameters: dict[str, t.Any]) -> None:
    nothing = dict.fromkeys(
        ("memory", "cpus", "memory_reservation", "cpus_reservation", "test", "interval", "timeout_health", "retries", "start_period", "restart")
    )
    limits = {**parameters, **nothing, "service": "front", "memory": "96m", "cpus": 0.5}
    planned = run_compose_override(limits, True)
    path = project.directory / "docker-compose.override.yml"
    assert planned["status"] == "planned" and planned["diff"]["before"] == "" and "96m" in planned["diff"]["after"] and not path.exists()
    first = run_compose_override(limits, False)
    assert first["status"] == "done" and first["verified"]["ok"], first
    assert (project.inspect("front")["HostConfig"]["Memory"], project.inspect("front")["HostConfig"]["NanoCpus"]) == (96 * 1024**2, 500_000_000)
    again = run_compose_override(limits, False)
    assert again["status"] == "nothing-to-do", again
    health = {**parameters, **nothing, "service": "front", "test": ["CMD-SHELL", "test -n $HOME"], "interval": "1s", "timeout_health": "5s", "retries": 2}
    assert run_compose_override(health, False)["status"] == "done"
    policy = {**parameters, **nothing, "service": "front", "restart": "on-failure"}
    assert run_compose_override(policy, False)["status"] == "done"
    container = project.inspect("front")
    assert container["Config"]["Healthcheck"]["Test"] == ["CMD-SHELL", "test -n $HOME"] and container["HostConfig"]["Memory"] == 96 * 1024**2
    assert container["HostConfig"]["RestartPolicy"]["Name"] == "on-failure"
    # The operator's own command sees the same, without any options.
    assert project.compose("up", "-d", "front").returncode == 0 and project.inspect("front")["Id"] == container["Id"]
    refused = run_compose_override({**limits, "memory": "1k"}, False)
    assert refused["failed"] and not refused["changed"] and "would be killed" in refused["summary"], refused
    for command in first["undo"]:
        assert subprocess.run(command, shell=True, cwd=project.directory, capture_output=True, check=False, timeout=120).returncode == 0  # noqa: S602
    assert project.inspect("front")["HostConfig"]["Memory"] == 0 and not path.exists()
