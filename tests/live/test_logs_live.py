# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logs of real containers: as json-file keeps them (split lines, rotation), and through the engine where it keeps no text."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import time
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _log_error_rate
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import Selection, discover
from ansible_collections.stackops.runbook.plugins.module_utils._engine import Engine, EngineOptions
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._log_error_rate import LogOptions, collect_logs

pytestmark = pytest.mark.live

PROJECT = f"logslive{os.getpid()}"
IMAGE = "debian:trixie-slim"
ENGINE = EngineOptions.from_environment()

# A structured error of 40 kB (three pieces of 16 KiB at most), 300 good lines, an exception as uvicorn prints it, and plain text.
SCRIPT = r"""
now() { date -u +%Y-%m-%dT%H:%M:%S.000000Z; }
long=$(head -c 40000 /dev/zero | tr '\0' x)
request='"duration_ms": %s, "status": %s, "method": "GET", "path": "/items/%s"'
i=0; while [ $i -lt 300 ]; do
  printf '{"timestamp": "%s", "level": "info", "message": "request completed", '"$request"'}\n' "$(now)" 12.5 200 $i
  i=$((i + 1)); done
printf '{"timestamp": "%s", "level": "error", "message": "long one", "more": "%s", '"$request"'}\n' "$(now)" "$long" 1500 500 long
printf '{"timestamp": "%s", "level": "error", "message": "Signature verification failed", "logger": "JWTParser"}\n' "$(now)"
printf 'ERROR:    Exception in ASGI application\nTraceback (most recent call last):\n  File "/srv/app/main.py", line 3, in f\n' >&2
printf "ModuleNotFoundError: No module named 'shop'\n" >&2
sleep 300
"""


def docker(*arguments: str, check: bool = True) -> str:
    return subprocess.run(["docker", *arguments], check=check, capture_output=True, text=True, timeout=120).stdout.strip()


def start(name: str, *options: str, script: str = SCRIPT) -> None:
    labels = {"project": PROJECT, "service": name, "container-number": "1", "oneoff": "False", "version": "2.26.1", "config-hash": "x"}
    flags = [flag for key, value in labels.items() for flag in ("--label", f"com.docker.compose.{key}={value}")]
    docker("run", "-d", "--name", f"{PROJECT}-{name}-1", *flags, *options, IMAGE, "sh", "-c", script)


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[pathlib.Path]:
    if not docker("images", "-q", IMAGE):
        pytest.skip(f"the image {IMAGE} is not there")
    mount = tmp_path_factory.mktemp("logs")
    line = '{"timestamp": "%s", "level": "error", "message": "order 7 failed"}\\n'
    writer = f"printf '{line}' $(date -u +%Y-%m-%dT%H:%M:%SZ) > /srv/app/logs/app.log; sleep 300"
    try:
        start("plain")
        start("rotating", "--log-opt", "max-size=8k", "--log-opt", "max-file=5", "--log-opt", "compress=true")
        start("local", "--log-driver", "local")
        start("silent", "--log-driver", "none", script="echo hello; sleep 300")
        start("writer", "-v", f"{mount}:/srv/app/logs", script=writer)
        deadline = time.monotonic() + 60
        while "ModuleNotFoundError" not in docker("logs", f"{PROJECT}-plain-1") + docker("logs", f"{PROJECT}-local-1") and time.monotonic() < deadline:
            time.sleep(0.5)
        time.sleep(3)
        yield mount
    finally:
        for name in ("plain", "rotating", "local", "silent", "writer"):
            docker("rm", "-f", "-v", f"{PROJECT}-{name}-1", check=False)


@pytest.fixture(scope="module")
def found(containers: pathlib.Path) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    engine = Engine.connect(ENGINE)
    return collect_logs(discover(engine, Selection(project_name=PROJECT)), engine, LogOptions(window_seconds=900))


def source(facts: dict[str, t.Any], name: str) -> dict[str, t.Any]:
    return next(entry for entry in facts["sources"] if entry["name"] == f"container:{PROJECT}-{name}-1")


@pytest.mark.parametrize("name", ["plain", "local"])
def test_records_errors_and_their_meaning(found: tuple[dict[str, t.Any], dict[str, t.Any]], name: str) -> None:
    entry = source(found[0], name)
    assert (entry["lines"], entry["errors"], entry["unparsed_lines"], entry["service"]) == (303, 3, 0, name)
    assert {group["error"]["kind"] for group in entry["groups"]} == {None, "jwt-bad-signature", "import-error"}
    kinds = {kind["kind"]: kind for kind in found[0]["kinds"] if kind["service"] == name}
    assert kinds["import-error"]["parameters"] == {"module": "shop"}


def test_a_line_in_three_pieces_is_one_record_and_one_request(found: tuple[dict[str, t.Any], dict[str, t.Any]]) -> None:
    requests = source(found[1], "plain")
    assert (requests["requests"], requests["errors_5xx"], requests["slow"]) == (301, 1, 1)


def test_rotated_and_compressed_logs_of_the_driver(found: tuple[dict[str, t.Any], dict[str, t.Any]]) -> None:
    entry = source(found[0], "rotating")
    assert len(entry["paths"]) > 2 and any(path.endswith(".gz") for path in entry["paths"])
    # Older files are gone; what is left holds the newest lines.
    assert entry["errors"] >= 2 and entry["lines"] >= entry["errors"]


def test_a_driver_that_keeps_nothing_is_unknown(found: tuple[dict[str, t.Any], dict[str, t.Any]]) -> None:
    entry = source(found[0], "silent")
    assert (entry["status"], entry["reason"]) == ("unknown", "driver-unreadable")
    assert any("json-file" in error["hint"] for error in found[0]["errors"] if error["source"] == entry["name"])


def test_a_log_file_on_a_mount_is_found(found: tuple[dict[str, t.Any], dict[str, t.Any]], containers: pathlib.Path) -> None:
    entry = next(entry for entry in found[0]["sources"] if entry["name"] == str(containers / "app.log"))
    assert (entry["type"], entry["service"], entry["errors"]) == ("file", "writer", 1)


def test_the_json_file_is_read_directly(found: tuple[dict[str, t.Any], dict[str, t.Any]]) -> None:
    path = json.loads(docker("inspect", f"{PROJECT}-plain-1"))[0]["LogPath"]
    assert source(found[0], "plain")["paths"] == [path]


def test_without_permission_the_engine_is_asked(containers: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(base: str) -> t.NoReturn:
        raise CheckError(base, "permission denied", "", "permission-denied")

    monkeypatch.setattr(_log_error_rate, "files_of", refuse)
    engine = Engine.connect(ENGINE)
    logs, dummy = collect_logs(discover(engine, Selection(project_name=PROJECT, services=("plain",))), engine, LogOptions(window_seconds=900))
    entry = source(logs, "plain")
    assert (entry["lines"], entry["errors"], entry["paths"]) == (303, 3, [])
