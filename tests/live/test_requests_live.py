# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An attack on the real example application, as its log file, its container's log and the engine tell of it; and logs that real containers hold open."""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import subprocess
import time
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import Selection, discover
from ansible_collections.stackops.runbook.plugins.module_utils._engine import Engine, EngineOptions
from ansible_collections.stackops.runbook.plugins.module_utils._log_cleanup import CleanupOptions, carry_out, directories_of, plan
from ansible_collections.stackops.runbook.plugins.module_utils._request_check import openapi_locations, sources_of
from ansible_collections.stackops.runbook.plugins.module_utils._request_findings import RequestFindings
from ansible_collections.stackops.runbook.plugins.module_utils._request_rules import WatchOptions
from ansible_collections.stackops.runbook.plugins.module_utils._request_watch import load_routes, watch_requests

pytestmark = pytest.mark.live

PROJECT = f"requestslive{os.getpid()}"
IMAGE = "stackops-test/app"
DAY = 86400.0
Json = dict[str, t.Any]


def docker(*arguments: str, check: bool = True) -> str:
    return subprocess.run(["docker", *arguments], check=check, capture_output=True, text=True, timeout=120).stdout.strip()


def start(service: str, *options: str) -> None:
    labels = {"project": PROJECT, "service": service, "container-number": "1", "oneoff": "False", "version": "2.26.1", "config-hash": "x"}
    flags = [flag for key, value in labels.items() for flag in ("--label", f"com.docker.compose.{key}={value}")]
    settings = ("-e", "MIGRATE_ON_START=false", "-e", "JWT_SECRET=" + "s" * 32)
    docker("run", "-d", "--name", f"{PROJECT}-{service}-1", "-p", "127.0.0.1::8000", *flags, *settings, *options, IMAGE)


def ask(service: str, method: str, path: str, client: str = "", token: str = "") -> int:
    port = int(docker("port", f"{PROJECT}-{service}-1", "8000/tcp").split(":")[-1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {**({"X-Forwarded-For": client} if client else {}), **({"Authorization": f"Bearer {token}"} if token else {})}
    try:
        connection.request(method, path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[pathlib.Path]:
    if not docker("images", "-q", IMAGE):
        pytest.skip(f"the image {IMAGE} is not there: make demo builds it")
    mount = tmp_path_factory.mktemp("logs")
    try:
        start("backend", "-v", f"{mount}:/app/logs")
        start("other", "--log-driver", "local")
        deadline = time.monotonic() + 60
        for service in ("backend", "other"):
            while "Uvicorn running" not in subprocess.run(
                ["docker", "logs", f"{PROJECT}-{service}-1"], capture_output=True, text=True, check=True
            ).stderr + docker("logs", f"{PROJECT}-{service}-1"):
                assert time.monotonic() < deadline, docker("logs", f"{PROJECT}-{service}-1")
                time.sleep(0.3)
        yield mount
    finally:
        for service in ("backend", "other"):
            docker("rm", "-f", "-v", f"{PROJECT}-{service}-1", check=False)


def watch(state: t.Optional[Json], **options: t.Any) -> tuple[Json, RequestFindings]:
    engine = Engine.connect(EngineOptions.from_environment())
    stacks = discover(engine, Selection(project_name=PROJECT))
    sources, errors = sources_of(stacks, engine)
    assert not errors
    new, found = watch_requests(sources, engine, WatchOptions(openapi=openapi_locations(stacks, engine), **options), state, time.time())
    return json.loads(json.dumps(new)), found


def test_an_attack_is_found_in_the_log_that_knows_the_client_and_told_once(logs: pathlib.Path) -> None:
    state, quiet = watch(None)
    assert quiet.status == "ok" and not quiet.errors
    for number in range(40):
        assert ask("backend", "GET", "/openapi.json", f"198.51.100.{number}") == 200
    for number in range(60):
        assert ask("backend", "POST", "/api/v1/orders", "203.0.113.9", f"forged.{number}") == 401
    for path in ("/.env", "/.git/config", "/wp-login.php"):
        assert ask("backend", "GET", path, "203.0.113.77") == 404
    by_hand = watch(state)[1]
    new, found = watch(state)
    assert [(finding.rule, finding.status) for finding in found.findings] == [
        ("auth_failures", "warning"),
        ("auth_burst_ip", "warning"),
        ("path_scan", "warning"),
    ]
    assert [finding.rule for finding in by_hand.findings] == [finding.rule for finding in found.findings]
    failures, burst, scan = found.findings
    file = str(logs / "app.log")
    # The container's own log has the same requests, all of them from the bridge's gateway: they are not added up.
    assert (failures.count, failures.stack) == (60, PROJECT) and {failures.log, *failures.also_in} == {file, f"container:{PROJECT}/backend"}
    assert burst.log == file and [client for client, dummy in burst.clients] == ["203.0.113.9"] and "-s 203.0.113.9 -j DROP" in burst.hint
    assert scan.clients == (("203.0.113.77", 1),) and scan.paths == (("GET /wp-login.php", 1),)
    assert {log.name: log.quality.blind for log in found.logs if log.requests} == {file: False, f"container:{PROJECT}/backend": True}
    assert watch(new)[1].status == "ok"


def test_a_container_whose_log_only_the_engine_can_read(logs: pathlib.Path) -> None:
    state = watch(None)[0]
    assert all(ask("other", "POST", "/api/v1/orders") == 401 for dummy in range(60))
    state, found = watch(state)
    log = next(each for each in found.logs if each.service == "other" and each.name.startswith("container:"))
    assert log.statuses == {401: 60} and log.quality.blind
    assert next(log for log in watch(state)[1].logs if log.service == "other").requests == 0


def test_the_applications_own_document_tells_which_writes_it_has(logs: pathlib.Path) -> None:
    engine = Engine.connect(EngineOptions.from_environment())
    place = openapi_locations(discover(engine, Selection(project_name=PROJECT)), engine)[f"{PROJECT}/backend"]
    assert {"POST /api/v1/orders", "DELETE /api/v1/items/{item_id}"} <= set(load_routes(place))
    assert all(not log.learning for log in watch(None)[1].logs)


def test_what_a_container_holds_open_stays_and_the_rest_goes(logs: pathlib.Path) -> None:
    engine = Engine.connect(EngineOptions.from_environment())
    stacks = discover(engine, Selection(project_name=PROJECT))
    docker("exec", f"{PROJECT}-backend-1", "sh", "-c", "cp logs/app.log logs/app.log.1 && echo x > logs/old.log && ln -s /etc/hostname logs/link.log")
    in_ten_days = time.time() + 10 * DAY
    with_link = plan(CleanupOptions(tuple(directories_of(stacks, engine))), in_ten_days)
    assert not with_link.candidates and not with_link.directories, "a directory with a link in it holds more than logs"
    (logs / "link.log").unlink()
    report = carry_out(plan(CleanupOptions(tuple(directories_of(stacks, engine))), in_ten_days))
    assert sorted(os.path.basename(candidate.path) for candidate in report.removed) == ["app.log.1", "old.log"]
    assert [(os.path.basename(candidate.path), reason) for candidate, reason in report.kept] == [("app.log", "open in a process")]
    assert not any("-json.log" in candidate.path for candidate, dummy in report.kept) and (logs / "app.log").exists()
