# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The whole check of health: an engine's API on a socket, a real endpoint, and a Compose command. What it makes of facts: test__checks.py."""

from __future__ import annotations

import http.server
import json
import pathlib
import threading
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _compose_config
from ansible_collections.stackops.runbook.plugins.module_utils._check_health import check
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_checks import CheckResult, CheckRun
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_options import parse_monitoring
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_types import Observation
from ansible_collections.stackops.runbook.tests.support.compose_engine import Raw, SocketEngine, container, running_engine

pytest.importorskip("docker", reason="the Docker SDK for Python is not installed")

NOW = 1795435200.0  # 2026-11-23T12:00:00Z
SERVICES: dict[str, t.Any] = {
    "api": {"image": "shop:1", "command": ["uvicorn", "--key=s3cret"], "environment": {"KEY": "s3cret"}, "depends_on": {"db": {}}, "restart": "always"},
    "db": {"image": "postgres:17", "restart": "always"},
}


class Host:
    """A host with a project *shop* whose Compose file is there, and a Compose command that counts how often it was asked."""

    def __init__(self, directory: pathlib.Path, engine: SocketEngine) -> None:
        self.engine = engine
        self.directory = directory / "shop"
        self.directory.mkdir()
        self.compose_file = self.directory / "compose.yaml"
        self.answer = directory / "answer.json"
        self._calls = directory / "calls"
        program = directory / "bin" / "docker-compose"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho asked >> '{self._calls}'\nexec /bin/cat '{self.answer}'\n")
        program.chmod(0o755)
        self.declare(SERVICES)
        engine.add(self.container("api"), self.container("db"))

    def declare(self, services: dict[str, t.Any]) -> None:
        self.compose_file.write_text(json.dumps({"services": services}))
        self.answer.write_text(json.dumps({"name": "shop", "services": services}))

    def container(self, service: str, **more: t.Any) -> Raw:
        labels = {"com.docker.compose.project.working_dir": str(self.directory), "com.docker.compose.project.config_files": str(self.compose_file)}
        return container(service, labels=labels, **more)

    @property
    def calls(self) -> int:
        return len(self._calls.read_text(encoding="utf-8").splitlines()) if self._calls.exists() else 0

    def check(self, memory: t.Optional[Raw] = None, now: float = NOW, declared: t.Sequence[Raw] = (), **options: t.Any) -> CheckResult:
        top = {"docker_host": self.engine.docker_host, "endpoints": list(declared)}
        monitoring = parse_monitoring({**top, "checks": {"health": options}}, "test")
        result = check(CheckRun(monitoring.checks["health"], monitoring, memory or {}, now))
        # What is kept for the next run goes through a file.
        return CheckResult(result.observations, json.loads(json.dumps(result.memory)))


@pytest.fixture
def host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Host]:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(_compose_config, "PLUGIN_DIRECTORIES", (str(tmp_path / "plugins"),))
    with running_engine(tmp_path) as engine:
        yield Host(tmp_path, engine)


@pytest.fixture
def endpoint() -> t.Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 503)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *dummy: t.Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def by_object(result: CheckResult) -> dict[str, Observation]:
    return {one.object: one for one in result.observations}


def test_a_stack_that_runs_is_ok_from_the_engine_to_its_endpoint(host: Host, endpoint: str) -> None:
    url = f"{endpoint}/health"
    thresholds = {name: {"warning": None, "critical": None} for name in ("response_time_seconds", "first_byte_seconds")}
    result = host.check(declared=[{"url": url, "project": "shop", "service": "api"}], thresholds=thresholds)
    seen = by_object(result)
    assert {name: one.status for name, one in seen.items()} == {"engine": "ok", "shop/api": "ok", "shop/db": "ok", url: "ok"}
    assert seen["engine"].summary == "docker 26.1.5 answers"
    assert seen["shop/api"].parents == ("engine", "shop/db")
    # A dead database explains an endpoint as well.
    assert seen[url].parents == ("shop/api", "engine", "shop/db")
    assert sorted(result.memory["seen"]) == sorted([["shop/api", "shop"], ["shop/db", "shop"], [url, "shop"]])
    assert result.memory["projects"]["shop"]["config_files"] == [str(host.compose_file)] and "s3cret" not in json.dumps(result.memory)


def test_an_endpoint_that_refuses_is_told_and_can_be_left_out(host: Host, endpoint: str) -> None:
    declared = [{"url": f"{endpoint}/down", "project": "shop", "service": "api"}]
    refused = by_object(host.check(declared=declared))[f"{endpoint}/down"]
    assert refused.status == "critical" and "503" in refused.summary and refused.next_command == f"curl -v {endpoint}/down"
    assert set(by_object(host.check(declared=declared, endpoints=False))) == {"engine", "shop/api", "shop/db"}


def test_a_container_that_has_ended_is_told_with_its_last_words(host: Host) -> None:
    ended = host.container("api", state="exited")
    ended["State"]["ExitCode"] = 1
    host.engine.add(ended)
    host.engine.logs[ended["Id"]] = b"one\ntwo\nthree\nOSError: [Errno 28] No space left on device\n"
    seen = by_object(host.check())
    assert (seen["shop/api"].status, seen["shop/db"].status) == ("critical", "ok")
    assert seen["shop/api"].summary.startswith("exited: ") and seen["shop/api"].next_command.endswith("shop-api-1")
    assert seen["shop/api"].details == ("two", "three", "OSError: [Errno 28] No space left on device")


def test_the_compose_file_is_read_again_when_it_changed_or_an_hour_is_over(host: Host) -> None:
    first = host.check()
    assert host.calls == 1
    second = host.check(first.memory, NOW + 3599)
    assert host.calls == 1 and second.memory == first.memory
    assert host.check(second.memory, NOW + 3600).memory["projects"]["shop"]["at"] == NOW + 3600 and host.calls == 2
    # A clock that was set back must not keep it for ever.
    host.check(first.memory, NOW - 1)
    assert host.calls == 3
    host.declare({**SERVICES, "worker": {"image": "shop:1", "restart": "always"}})
    changed = host.check(first.memory, NOW + 60)
    assert host.calls == 4
    assert by_object(changed)["shop/worker"].summary == "is down: it has no container"
    (host.directory / ".env").write_text("TAG=2\n")
    host.check(changed.memory, NOW + 120)
    assert host.calls == 5


def test_what_a_compose_file_said_last_holds_while_it_cannot_be_read(host: Host) -> None:
    host.declare({**SERVICES, "worker": {"image": "shop:1", "restart": "always"}})
    before = host.check()
    host.compose_file.write_text("services: [")
    host.answer.unlink()
    after = host.check(before.memory, NOW + 60)
    assert host.calls == 2
    assert by_object(after)["shop/worker"].status == "critical" and by_object(after)["shop/api"].parents == ("engine", "shop/db")
    assert after.memory["projects"] == before.memory["projects"]
    # Nothing was ever said: the containers alone are known.
    alone = host.check({}, NOW + 60)
    assert set(by_object(alone)) == {"engine", "shop/api", "shop/db"} and alone.memory["projects"] == {}


def test_what_a_compose_file_said_last_holds_when_it_is_gone(host: Host) -> None:
    host.declare({**SERVICES, "worker": {"image": "shop:1", "restart": "always"}})
    before = host.check()
    host.compose_file.unlink()
    after = host.check(before.memory, NOW + 60)
    assert host.calls == 1
    assert by_object(after)["shop/worker"].status == "critical" and after.memory["projects"] == before.memory["projects"]


def test_a_project_whose_containers_are_all_gone_is_down_until_its_compose_file_goes(host: Host) -> None:
    memory = host.check().memory
    host.engine.containers.clear()
    down = host.check(memory, NOW + 60)
    seen = by_object(down)
    assert {name: one.status for name, one in seen.items()} == {"engine": "ok", "shop/api": "critical", "shop/db": "critical"}
    assert seen["shop/db"].next_command == f"cd {host.directory} && docker compose up -d db"
    host.compose_file.unlink()
    forgotten = host.check(down.memory, NOW + 120)
    assert set(by_object(forgotten)) == {"engine"} and forgotten.memory == {"projects": {}, "seen": []}


def test_an_engine_that_has_gone_away_explains_what_was_there(host: Host, tmp_path: pathlib.Path) -> None:
    memory = host.check().memory
    monitoring = parse_monitoring({"docker_host": f"unix://{tmp_path}/none.sock"}, "test")
    result = check(CheckRun(monitoring.checks["health"], monitoring, memory, NOW + 60))
    seen = by_object(result)
    assert seen["engine"].status == "critical" and "no such socket" in seen["engine"].summary and "systemctl start docker" in seen["engine"].next_command
    assert {name: (one.status, one.parents) for name, one in seen.items() if name != "engine"} == {
        "shop/api": ("unknown", ("engine",)),
        "shop/db": ("unknown", ("engine",)),
    }
    assert result.memory == memory


def test_a_project_that_is_not_there_is_no_outage_of_the_engine(host: Host) -> None:
    monitoring = parse_monitoring({"docker_host": host.engine.docker_host, "project_name": "shpo"}, "test")
    (seen,) = check(CheckRun(monitoring.checks["health"], monitoring, {}, NOW)).observations
    assert (seen.object, seen.status) == ("engine", "unknown") and "shpo: no container of this project; projects on this host: shop" in seen.summary
