# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The check of requests, on real log files and on logs that an engine gives. That of the rules themselves: test__request_rules.py."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._check_auth import check
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_checks import CheckRun
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_options import parse_monitoring
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_types import Observation
from ansible_collections.stackops.runbook.plugins.module_utils._request_rules import RULES
from ansible_collections.stackops.runbook.tests.support.compose_engine import container, running_engine

NOW = 1795435200.0  # 2026-11-23T12:00:00Z


def run_of(options: dict[str, t.Any], top: t.Optional[dict[str, t.Any]] = None, **more: t.Any) -> CheckRun:
    monitoring = parse_monitoring({**(top or {}), "checks": {"auth": options}}, "test")
    return CheckRun(monitoring.checks["auth"], monitoring, **{"memory": {}, "now": NOW, **more})


def lines(count: int, status: int = 401, clock: str = "11:59", path: str = "/login", method: str = "POST", client: str = "203.0.113.9") -> str:
    return "".join(
        f'{client} - - [23/Nov/2026:{clock}:{number % 60:02} +0000] "{method} {path} HTTP/1.1" {status} 5 "-" "curl" rt=0.010\n' for number in range(count)
    )


def by_object(observations: t.Iterable[Observation]) -> dict[str, Observation]:
    return {one.object: one for one in observations}


def test_guessed_passwords_are_told_with_who_guessed_and_where(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(lines(60))
    seen = by_object(check(run_of({"paths": [str(log)]})).observations)
    assert set(seen) == set(RULES)
    failures = seen["auth_failures"]
    assert failures.status == "warning" and "60 x 203.0.113.9" in failures.details and "60 x POST /login" in failures.details
    assert failures.metrics["failed_logins"]["value"] == failures.metrics["requests"]["value"] == 60
    assert seen["auth_burst_ip"].status == "warning" and seen["auth_burst_ip"].metrics == {}
    assert (seen["path_scan"].status, seen["path_scan"].summary) == ("ok", "nothing in 60 requests")


def test_few_failures_are_counted_and_no_alert(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(lines(3) + lines(7, 200, path="/orders", method="GET"))
    failures = by_object(check(run_of({"paths": [str(log)]})).observations)["auth_failures"]
    assert (failures.status, failures.summary, failures.details) == ("ok", "nothing in 10 requests", ())
    assert {name: entry["value"] for name, entry in failures.metrics.items()} == {"failed_logins": 3, "requests": 10}


def test_a_failure_that_a_log_tells_in_words_and_by_its_status_counts_once(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "app.log"
    words = "".join(f"2026-11-23 11:59:{second:02},000 - auth - WARNING - Invalid credentials for ada\n" for second in range(4))
    log.write_text(lines(3) + words)
    failures = by_object(check(run_of({"paths": [str(log)]})).observations)["auth_failures"]
    assert {name: entry["value"] for name, entry in failures.metrics.items()} == {"failed_logins": 4, "requests": 3}


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        ({"warning": "3", "critical": "9"}, "ok"),
        ({"warning": "2", "critical": "9"}, "warning"),
        ({"warning": "1.5", "critical": "2.5"}, "critical"),
        ({"warning": None, "critical": "2"}, "critical"),
        ({"warning": None, "critical": None}, "ok"),
    ],
)
def test_the_thresholds_are_how_many_failures_are_too_many(tmp_path: pathlib.Path, limits: dict[str, t.Any], status: str) -> None:
    log = tmp_path / "access.log"
    log.write_text(lines(3))
    run = run_of({"paths": [str(log)], "thresholds": {"failed_logins": limits}})
    assert by_object(check(run).observations)["auth_failures"].status == status


@pytest.mark.parametrize("limit", ["@10:20", "10:"])
def test_a_threshold_that_is_no_upper_limit_is_refused(tmp_path: pathlib.Path, limit: str) -> None:
    with pytest.raises(CheckError, match="takes thresholds like 50") as caught:
        check(run_of({"paths": [str(tmp_path / "access.log")], "thresholds": {"failed_logins": {"warning": limit}}}))
    assert (caught.value.source, caught.value.code) == ("auth", "invalid-option") and "monitoring_checks" in caught.value.hint


def test_an_option_of_a_rule_that_there_is_not_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(CheckError, match="unknown option 'lernt'") as caught:
        check(run_of({"paths": [str(tmp_path / "access.log")], "watch": {"lernt": 1}}))
    assert caught.value.code == "invalid-option"


def test_rules_can_be_switched_off(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(lines(60))
    seen = by_object(check(run_of({"paths": [str(log)], "watch": {"rules": {"auth_failures": False, "source_quality": False}}})).observations)
    assert set(seen) == set(RULES) - {"auth_failures", "source_quality"}


def test_a_log_that_is_not_there_is_unknown_once(tmp_path: pathlib.Path) -> None:
    missing = str(tmp_path / "missing.log")
    (seen,) = [one for one in check(run_of({"paths": [missing]})).observations if one.object == missing]
    assert seen.status == "unknown" and seen.summary and seen.next_command


def test_the_schedule_judges_each_line_once_and_a_hand_every_time(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(lines(60))
    options = {"paths": [str(log)]}
    first = check(run_of(options, scheduled=True))
    assert by_object(first.observations)["auth_failures"].metrics["failed_logins"]["value"] == 60 and first.memory
    later = check(run_of(options, scheduled=True, memory=first.memory, now=NOW + 400))
    assert by_object(later.observations)["auth_failures"].metrics["requests"]["value"] == 0
    by_hand = check(run_of(options, memory=first.memory))
    assert by_object(by_hand.observations)["auth_failures"].metrics["requests"]["value"] == 60 and by_hand.memory == {}


def test_of_the_logs_of_one_service_the_fullest_counts(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("docker", reason="the Docker SDK for Python is not installed")
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "access.log").write_text(lines(5) + lines(4, 200, path="/orders", method="GET"))
    (logs / "errors.log").write_text(lines(5))
    mount = {"Type": "bind", "Source": str(logs), "Destination": "/app/logs", "RW": True}
    api, other = container("api", Mounts=[mount]), container("site", "blog")
    with running_engine(tmp_path, api, other) as engine:
        stamped = (f"2026-11-23T11:59:{number:02}.000000000Z {line}" for number, line in enumerate(lines(2, client="198.51.100.4").splitlines(keepends=True)))
        engine.logs[other["Id"]] = "".join(stamped).encode()
        seen = by_object(check(run_of({}, {"docker_host": engine.docker_host})).observations)
    assert {one.stack for one in seen.values() if one.stack} == {"shop", "blog"}
    numbers = {name: {metric: entry["value"] for metric, entry in seen[f"{name} auth_failures"].metrics.items()} for name in ("shop", "blog")}
    assert numbers == {"shop": {"failed_logins": 5, "requests": 9}, "blog": {"failed_logins": 2, "requests": 2}}
    assert seen["blog path_scan"].summary == "nothing in 2 requests"


def test_an_engine_that_is_not_there_is_the_reason(tmp_path: pathlib.Path) -> None:
    with pytest.raises(CheckError, match="no such socket"):
        check(run_of({}, {"docker_host": f"unix://{tmp_path}/none.sock"}))
