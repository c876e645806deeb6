# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import json
import pathlib
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._container_health import health_of, http_status, probe_failure
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import ContainerRef

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures" / "compose"
RECORDED = {flavour: json.loads((FIXTURES / f"compose_{flavour}.json").read_text(encoding="utf-8")) for flavour in ("v1", "v2")}


@pytest.mark.parametrize("flavour", ["v1", "v2"])
@pytest.mark.parametrize(
    ("case", "status", "failure", "code", "url"),
    [
        ("probe-refused", "unhealthy", "connection-refused", None, "http://127.0.0.1:8000/health"),
        ("probe-status", "unhealthy", "http-status", 404, "http://127.0.0.1:8000/nosuch-path"),
        ("probe-python", "unhealthy", "http-status", 404, "http://127.0.0.1:8000/nosuch"),
        ("probe-name", "unhealthy", "name-not-resolved", None, "http://nosuch.invalid/health"),
        ("probe-missing", "unhealthy", "probe-missing", None, "http://localhost/"),
        ("probe-missing-in-shell", "unhealthy", "probe-missing", None, "http://localhost/"),
        ("probe-timeout", "unhealthy", "timeout", None, None),
        ("probe-silent", "unhealthy", "command-failed", None, None),
        ("starting", "starting", "command-failed", None, None),
        ("well", "healthy", None, None, None),
        ("port-holder", "none", None, None, None),
    ],
)
def test_recorded_probe(flavour: str, case: str, status: str, failure: t.Optional[str], code: t.Optional[int], url: t.Optional[str]) -> None:
    health = health_of(ContainerRef(RECORDED[flavour][case]["inspect"]))
    assert (health["status"], health["failure"], health["http_status"], health["url"]) == (status, failure, code, url)


@pytest.mark.parametrize("flavour", ["v1", "v2"])
def test_a_probe_from_before_the_last_start_is_stale(flavour: str) -> None:
    assert health_of(ContainerRef(RECORDED[flavour]["stale"]["inspect"]))["stale"] is True
    assert health_of(ContainerRef(RECORDED[flavour]["probe-silent"]["inspect"]))["stale"] is False


def test_defaults_of_the_engine_are_filled_in() -> None:
    raw = copy.deepcopy(RECORDED["v2"]["probe-silent"]["inspect"])
    raw["Config"]["Healthcheck"] = {"Test": ["CMD", "false"]}
    health = health_of(ContainerRef(raw))
    assert (health["interval_seconds"], health["timeout_seconds"], health["retries"], health["start_period_seconds"]) == (30.0, 30.0, 3, 0.0)


def test_old_podman_has_another_name_for_it() -> None:
    raw = copy.deepcopy(RECORDED["v2"]["probe-silent"]["inspect"])
    raw["State"]["Healthcheck"] = raw["State"].pop("Health")
    assert health_of(ContainerRef(raw))["status"] == "unhealthy"


def test_a_password_in_the_probe_is_not_shown() -> None:
    raw = copy.deepcopy(RECORDED["v2"]["probe-refused"]["inspect"])
    raw["Config"]["Healthcheck"]["Test"] = ["CMD", "curl", "http://admin:canary-5ecret@localhost/health"]
    assert "canary-5ecret" not in json.dumps(health_of(ContainerRef(raw)))


@pytest.mark.parametrize(
    ("test", "exit_code", "output", "failure"),
    [
        (
            "CMD-SHELL curl -f http://x || exit 1",
            1,
            "curl: (7) Failed to connect to localhost port 8000 after 0 ms: Couldn't connect to server",
            "connection-refused",
        ),
        ("CMD curl -fs http://x", 7, "", "connection-refused"),
        ("CMD curl -fs http://x", 22, "", "http-status"),
        ("CMD curl -fs http://x", 28, "", "timeout"),
        ("CMD curl -fs http://x", 6, "", "name-not-resolved"),
        ("CMD wget -q --spider http://x", 8, "", "http-status"),
        ("CMD wget -q --spider http://x", 1, "wget: can't connect to remote host (127.0.0.1): Connection refused", "connection-refused"),
        ("CMD wget -q --spider http://x", 1, "wget: server returned error: HTTP/1.1 500 Internal Server Error", "http-status"),
        ("CMD wget -q --spider http://x", 1, "wget: bad address 'x'", "name-not-resolved"),
        ("CMD-SHELL pg_isready -U app", 2, "/var/run/postgresql:5432 - no response", "connection-refused"),
        ("CMD-SHELL pg_isready -U app", 1, "/var/run/postgresql:5432 - rejecting connections", "command-failed"),
        ("CMD python -c ...", 1, "urllib.error.URLError: <urlopen error [Errno 111] Connection refused>", "connection-refused"),
        ("CMD python -c ...", 1, "urllib.error.URLError: <urlopen error [Errno -2] Name or service not known>", "name-not-resolved"),
        ("CMD python -c ...", 1, "TimeoutError: timed out", "timeout"),
        ("CMD python -c ...", 1, "httpx.HTTPStatusError: Server error '503 Service Unavailable' for url 'http://x/health'", "http-status"),
        (
            "CMD nosuch",
            -1,
            'OCI runtime exec failed: exec failed: unable to start container process: exec: "nosuch": executable file not found in $PATH: unknown',
            "probe-missing",
        ),
        ("CMD-SHELL /app/probe", 126, "/bin/sh: 1: /app/probe: Permission denied", "probe-missing"),
        ("CMD-SHELL bash -c x", 127, "/bin/sh: bash: not found", "probe-missing"),
        ("CMD x", -1, "Health check exceeded timeout (30s): ", "timeout"),
        ("CMD x", 1, "", "command-failed"),
    ],
)
def test_why_a_probe_failed(test: str, exit_code: int, output: str, failure: str) -> None:
    assert probe_failure(test.split(), exit_code, output) == failure


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ("curl: (22) The requested URL returned error: 500", 500),
        ("urllib.error.HTTPError: HTTP Error 404: Not Found", 404),
        ("< HTTP/1.1 503 Service Unavailable", 503),
        ("requests.exceptions.HTTPError: 502 Server Error: Bad Gateway for url: http://x", 502),
        ('{"status": "degraded"}', None),
        ("listening on port 8000", None),
        ("HTTP/1.1 999 Odd", None),
    ],
)
def test_http_status_of_a_probe(output: str, code: t.Optional[int]) -> None:
    assert http_status(output) == code
