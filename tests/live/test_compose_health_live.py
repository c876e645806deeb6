# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Containers that are really brought into every state, and what compose_health says of each."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._compose_health import check_compose
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import Selection, discover
from ansible_collections.stackops.runbook.plugins.module_utils._engine import Engine, EngineOptions
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError

pytestmark = pytest.mark.live

ROOT = pathlib.Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("compose_cases", ROOT / "tests/live/compose_cases/cases.py")
assert SPEC is not None and SPEC.loader is not None
compose_cases = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(compose_cases)

PROJECT = f"composelive{os.getpid()}"
CANARY = "Canary-compose-8f2e"
PARAMETERS: dict[str, t.Any] = {
    "project_name": PROJECT,
    "log_tail": 20,
    "stats": True,
    "wait": False,
    "wait_timeout": 10,
    "memory_percent_warning": 80.0,
    "memory_percent_critical": 95.0,
    "restart_count": 3,
    "restart_window": 600,
    "config_timeout": 60,
    "timeout": 60,
}
# By case: the code, and what the evidence must name.
EXPECTED = {
    "well": (None, ""),
    "scaled": (None, ""),
    "job": (None, ""),
    "port-holder": (None, ""),
    "job-failed": ("application-error", "could not migrate"),
    "command-missing": ("command-not-found", "nosuchprogram"),
    "command-missing-in-shell": ("command-not-found", "nosuchprogram"),
    "not-executable": ("not-executable", "/etc/hostname"),
    "segfault": ("segfault", "exit code 139"),
    "killed": ("killed", "signals 9"),
    "stopped": ("terminated", "stop"),
    "stop-timeout": ("terminated", "signals 15, 9"),
    "stopped-by-hand": ("terminated", "exit code 143"),
    "loop-clean": ("restart-loop", "RestartCount"),
    "loop-error": ("application-error", "No module named 'nosuch'"),
    "bad-import": ("application-error", "No module named 'fastapi_nosuch'"),
    "name-unknown": ("application-error", "db-nosuch"),
    "startup-failure": ("startup-failure", "exit code 3"),
    "port-taken": ("port-already-allocated", "port is already allocated"),
    "bad-mount": ("mount-failed", "/etc/passwd"),
    "out-of-memory": ("oom-container", "33554432"),
    "out-of-memory-again": ("oom-container", "33554432"),
    "child-out-of-memory": ("oom-container", "oom_kill counter"),
    "paused": ("paused", "paused"),
    "waiting": ("created-never-started", "never started"),
    "starting": ("starting", "exit code 1"),
    "stale": ("starting", ""),
    "probe-refused": ("unhealthy", "Failed to connect"),
    "probe-status": ("unhealthy", "404"),
    "probe-name": ("unhealthy", "nosuch.invalid"),
    "probe-python": ("unhealthy", "HTTP Error 404"),
    "probe-missing": ("unhealthy", "executable file not found"),
    "probe-missing-in-shell": ("unhealthy", "curl: not found"),
    "probe-timeout": ("unhealthy", "exceeded timeout"),
    "probe-silent": ("unhealthy", "exit code 1"),
}


@pytest.fixture(scope="module")
def cases() -> t.Iterator[t.Any]:
    built = subprocess.run([str(ROOT / "tests/testbed/testbed"), "images", "app"], capture_output=True, text=True, timeout=900, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ["CASES_PORT"] = str(free.getsockname()[1])
    with compose_cases.Cases(PROJECT) as running:
        running.start()
        yield running


@pytest.fixture(scope="module")
def facts(cases: t.Any) -> dict[str, t.Any]:
    return check_compose(PARAMETERS)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.connect(EngineOptions())


def rows(facts: dict[str, t.Any], service: str) -> list[dict[str, t.Any]]:
    return [row for row in facts["containers"] if row["service"] == service and not row["oneoff"]]


def services(facts: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    return {service["name"]: service for service in facts["projects"][0]["services"]}


@pytest.mark.parametrize("case", sorted(EXPECTED))
def test_cause(facts: dict[str, t.Any], case: str) -> None:
    code, named = EXPECTED[case]
    for row in rows(facts, case):
        assert (row["cause"]["code"] if row["cause"] else None) == code, row["cause"]
        assert named in " ".join(entry["text"] for entry in (row["cause"] or {"evidence": []})["evidence"])
    assert rows(facts, case)


def test_every_service_has_a_case(facts: dict[str, t.Any]) -> None:
    assert set(services(facts)) == {*EXPECTED, "with-profile", "waits-for-health"}


def test_what_is_expected_comes_from_the_compose_file(facts: dict[str, t.Any]) -> None:
    found = services(facts)
    assert facts["projects"][0]["config_readable"], facts["errors"]
    assert (found["scaled"]["expected_replicas"], found["scaled"]["running_replicas"]) == (2, 2)
    assert not found["with-profile"]["missing"] and not any(service["orphan"] for service in found.values())
    assert found["waits-for-health"]["depends_on"] == [{"service": "probe-silent", "condition": "service_healthy"}]


def test_what_could_not_be_started_for_its_dependency(facts: dict[str, t.Any]) -> None:
    """Compose v1 does not even create it, Compose v2 leaves it behind."""
    if rows(facts, "waits-for-health"):
        assert rows(facts, "waits-for-health")[0]["cause"]["code"] == "dependency-failed"
    else:
        assert services(facts)["waits-for-health"]["missing"]


def test_a_one_off_container_is_listed_apart(facts: dict[str, t.Any]) -> None:
    oneoff = [row for row in facts["containers"] if row["oneoff"]]
    assert [(row["service"], row["status"]) for row in oneoff] == [("well", "ok")]
    assert services(facts)["well"]["running_replicas"] == 1


def test_stats_of_running_containers(facts: dict[str, t.Any]) -> None:
    stats = rows(facts, "well")[0]["stats"]
    assert stats["available"] and stats["memory_bytes"] > 0 and stats["pids"] >= 1 and stats["cpu_percent"] is not None
    assert not rows(facts, "killed")[0]["stats"]["available"]


def test_it_changes_nothing(cases: t.Any) -> None:
    """What is restarted again and again goes on by itself; everything else must be as before."""

    def state() -> dict[str, str]:
        ids = cases.docker("ps", "-aq", "--no-trunc", "--filter", f"label=com.docker.compose.project={PROJECT}").split()
        raws = json.loads(cases.docker("inspect", *ids))
        kept = [raw for raw in raws if "loop" not in raw["Name"] and not raw["RestartCount"]]
        for raw in kept:
            raw["State"].pop("Health", None)
            raw.pop("ExecIDs", None)
        return {raw["Id"]: json.dumps(raw, sort_keys=True) for raw in kept}

    before = state()
    check_compose(PARAMETERS)
    assert state() == before


def test_waiting_ends_at_once_where_something_is_dead(cases: t.Any) -> None:
    facts = check_compose({**PARAMETERS, "services": ["killed", "starting"], "wait": True, "wait_timeout": 30, "stats": False})
    assert facts["waited_seconds"] < 15 and facts["status"] == "critical"


def test_waiting_for_what_becomes_well(cases: t.Any) -> None:
    cases.docker("restart", "--time", "0", cases.container("well"))
    facts = check_compose({**PARAMETERS, "services": ["well"], "wait": True, "wait_timeout": 60, "stats": False})
    assert facts["status"] == "ok" and facts["waited_seconds"] < 60


def test_a_service_that_is_removed_is_missing_and_one_that_is_not_declared_an_orphan(cases: t.Any) -> None:
    name = f"{PROJECT}-leftover"
    labels = {"project": PROJECT, "service": "leftover", "container-number": "1", "oneoff": "False", "project.working_dir": str(cases.directory)}
    words = [word for label, value in labels.items() for word in ("--label", f"com.docker.compose.{label}={value}")]
    cases.docker("run", "-d", "--init", "--name", name, "--env", f"API_TOKEN={CANARY}", *words, "debian:trixie-slim", "sh", "-c", f"echo {CANARY}; exit 4")
    cases.docker("rm", "-f", cases.container("scaled"))
    try:
        found = services(check_compose({**PARAMETERS, "stats": False}))
    finally:
        facts = check_compose({**PARAMETERS, "stats": False, "services": ["leftover"]})
        cases.docker("rm", "-f", name)
        cases.compose("up", "-d", "scaled")
    assert found["leftover"]["orphan"] and found["leftover"]["status"] == "warning"
    assert (found["scaled"]["running_replicas"], found["scaled"]["status"]) == (1, "warning")
    assert facts["containers"][0]["last_log_lines"] == ["[redacted]"] and CANARY not in json.dumps(facts)


def test_a_compose_file_that_is_gone_leaves_the_rest(cases: t.Any) -> None:
    path = cases.directory / "docker-compose.yml"
    path.rename(path.with_suffix(".away"))
    try:
        facts = check_compose({**PARAMETERS, "stats": False})
    finally:
        path.with_suffix(".away").rename(path)
    assert not facts["projects"][0]["config_readable"] and facts["projects"][0]["config_error"]
    assert services(facts)["scaled"]["expected_replicas"] is None
    assert rows(facts, "bad-import")[0]["cause"]["code"] == "application-error"


def test_a_directory_whose_project_was_never_started(tmp_path: pathlib.Path) -> None:
    (tmp_path / "docker-compose.yml").write_text("services: {web: {image: 'debian:trixie-slim'}}\n", encoding="utf-8")
    facts = check_compose({**PARAMETERS, "project_name": None, "project_src": str(tmp_path), "stats": False})
    assert facts["status"] == "critical" and services(facts)["web"]["missing"]


# -- the engine -----------------------------------------------------------------------------------------------------


def test_one_pass_over_many_containers_is_quick(cases: t.Any, engine: Engine) -> None:
    began = time.process_time()
    stack = discover(engine, Selection(project_name=PROJECT))[0]
    seconds = time.process_time() - began
    assert len(stack.containers) >= 35
    assert seconds < 0.5, f"{seconds:.3f} s of CPU time for {len(stack.containers)} containers"


def test_exec(cases: t.Any, engine: Engine) -> None:
    container = cases.container("well")
    done = engine.exec(container, ["sh", "-c", 'cat; echo "$CANARY" >&2; exit 3'], 10, env={"CANARY": CANARY}, stdin=b"x" * 300_000)
    assert (done.exit_code, len(done.stdout), done.stderr) == (3, 300_000, f"{CANARY}\n".encode())
    assert engine.exec(container, ["id", "-u"], 10, user="1").text == "1\n"
    with pytest.raises(CheckError) as caught:
        engine.exec(container, ["sleep", "60"], 0.5)
    assert caught.value.code == "timeout"
    with pytest.raises(CheckError) as caught:
        engine.exec(cases.container("killed"), ["true"], 5)
    assert caught.value.code == "not-running"


def test_files_of_a_container_that_is_stopped(cases: t.Any, engine: Engine) -> None:
    files = engine.read_archive(cases.container("stopped"), "/etc/debian_version", 1000)
    assert files["/etc/debian_version"].startswith(b"13")
    with pytest.raises(CheckError) as caught:
        engine.read_archive(cases.container("stopped"), "/nosuch", 1000)
    assert caught.value.code == "not-found"


def test_stats_and_logs_through_the_engine(cases: t.Any, engine: Engine) -> None:
    ids = [cases.container("well"), cases.container("bad-import")]
    assert ids[0] in engine.stats_once(ids)
    assert engine.logs_tail(ids[1], 1) == b"ModuleNotFoundError: No module named 'fastapi_nosuch'\n"
    assert engine.inspect_many([*ids, "0" * 64])[0]["Id"] == ids[0]


def test_as_a_module(cases: t.Any) -> None:
    """The module under its own interpreter, without the network and as another user: it says what is in the way."""
    arguments = {"ANSIBLE_MODULE_ARGS": {"project_name": PROJECT, "services": ["bad-import"], "_ansible_check_mode": True}}
    module = [sys.executable, "-m", "ansible_collections.stackops.runbook.plugins.modules.compose_health"]
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".venv/collections")}
    done = subprocess.run(module, input=json.dumps(arguments), capture_output=True, text=True, timeout=120, check=False, env=env)
    result = json.loads(done.stdout)
    assert result["changed"] is False and result["status"] == "critical"
    assert result["containers"][0]["cause"]["error"]["parameters"] == {"module": "fastapi_nosuch"}
