# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_options import (
    STANDARD_CHECKS,
    check_setting,
    interval_of,
    parse_monitoring,
    read_monitoring,
    with_thresholds,
)


def write(path: pathlib.Path, options: t.Any, mode: int = 0o600, schema_version: int = 1) -> str:
    path.write_text(json.dumps({"schema_version": schema_version, "options": options}))
    path.chmod(mode)
    return str(path)


def test_without_any_configuration_the_standard_checks_are_there() -> None:
    monitoring = parse_monitoring({}, "test")
    assert tuple(monitoring.checks) == STANDARD_CHECKS
    assert monitoring.host
    health = monitoring.checks["health"]
    assert (health.policy.fail_after, health.policy.recover_after, health.policy.interval_seconds, health.schedule) == (3, 2, 60.0, "* * * * *")


def test_the_defaults_are_those_of_the_guide() -> None:
    checks = parse_monitoring({}, "test").checks
    assert checks["errors"].schedule == checks["auth"].schedule == "*/5 * * * *"
    assert [checks["errors"].verdict({"errors": number})["errors"] for number in (10, 11)] == ["ok", "warning"]
    assert [checks["auth"].verdict({"failed_logins": number})["failed_logins"] for number in (50, 51)] == ["ok", "warning"]
    for metric in ("response_time_seconds", "first_byte_seconds"):
        assert [checks["health"].verdict({metric: seconds})[metric] for seconds in (1, 1.01, 3.01)] == ["ok", "warning", "critical"]


def test_checks_are_tuned_disabled_and_added() -> None:
    checks = parse_monitoring(
        {
            "checks": {
                "health": {"fail_after": 5, "thresholds": {"response_time_seconds": {"warning": "0.5"}}},
                "auth": {"enabled": False},
                "front": {"type": "http", "endpoints": [{"url": "https://example.org/"}], "channels": ["chat"]},
                "raid": {"type": "command", "argv": ["/usr/lib/nagios/plugins/check_raid"], "schedule": "*/10 * * * *"},
            }
        },
        "test",
    ).checks
    assert "auth" not in checks
    assert checks["health"].policy.fail_after == 5
    assert [checks["health"].verdict({name: 0.6})[name] for name in ("response_time_seconds", "first_byte_seconds")] == ["warning", "ok"]
    assert checks["front"].channels == ("chat",) and checks["front"].type == "http"
    assert checks["raid"].policy.interval_seconds == 600.0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"check": {}}, "unknown option check"),
        ({"checks": {"disk": {}}}, "its type is 'disk'"),
        ({"checks": {"Disk!": {"type": "command", "argv": ["x"]}}}, "no name of a check"),
        ({"checks": {"all": {"type": "command", "argv": ["x"]}}}, "no name of a check"),
        ({"checks": {"mine": {"type": "command"}}}, "argv is missing"),
        ({"checks": {"errors": {"thresholds": {"errors": [10]}}}}, r"\[10\] are no thresholds"),
        ({"checks": {"errors": {"thresholds": {"eror": {"warning": 3}}}}}, "it has no number 'eror'"),
        ({"checks": {"frnt": {"enabled": False}}}, "its type is 'frnt'"),
        ({"checks": {"errors": {"thresholds": {"errors": {"warning": "many"}}}}}, "'many' is no range"),
        ({"checks": {"errors": {"fail_after": 0}}}, "1 at least"),
        ({"checks": {"errors": {"flap_failures": 6, "flap_window": 5}}}, "flap_window"),
        ({"checks": {"errors": {"level": "bad"}}}, "level is 'bad'"),
    ],
)
def test_what_a_person_got_wrong_is_said(options: dict[str, t.Any], reason: str) -> None:
    with pytest.raises(CheckError, match=reason) as caught:
        parse_monitoring(options, "monitoring.json")
    assert "monitoring.json" in caught.value.source


def test_a_plain_number_is_the_warning_and_a_disabled_check_says_so() -> None:
    monitoring = parse_monitoring({"checks": {"errors": {"thresholds": {"errors": 20}}, "backup": {"enabled": False}}}, "test")
    assert [monitoring.checks["errors"].verdict({"errors": number})["errors"] for number in (20, 21)] == ["ok", "warning"]
    with pytest.raises(CheckError, match="it is disabled in monitoring_checks"):
        monitoring.setting("backup")


def test_no_secret_is_shown_in_what_is_wrong() -> None:
    with pytest.raises(CheckError) as caught:
        parse_monitoring({"channels": "https://hooks.example.org/T0P5ECRET"}, "monitoring.json")
    assert "T0P5ECRET" not in f"{caught.value.source} {caught.value.reason} {caught.value.hint}"


def test_the_file_is_read_and_guarded(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "monitoring.json"
    assert read_monitoring(write(path, {"host": "web1"})).host == "web1"
    with pytest.raises(CheckError, match="others than its owner"):
        read_monitoring(write(path, {}, mode=0o640))
    with pytest.raises(CheckError, match="schema_version is 9"):
        read_monitoring(write(path, {}, schema_version=9))
    with pytest.raises(CheckError, match="no such file"):
        read_monitoring(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("schedule", "seconds"),
    [
        ("* * * * *", 60), ("*/5 * * * *", 300), ("2-59/5 * * * *", 300), ("17 * * * *", 3600), ("0,30 * * * *", 1800), ("0 */6 * * *", 21600),
        ("0 6 * * *", 86400), ("0 6,18 * * *", 43200), ("0 6 * * 1", 86400), ("@hourly", 3600), ("@daily", 86400), ("@weekly", 86400),
    ],
)  # fmt: skip
def test_the_interval_follows_from_the_schedule(schedule: str, seconds: float) -> None:
    assert interval_of(schedule) == seconds


def test_thresholds_of_the_command_line_change_one_side_of_one_number() -> None:
    errors = check_setting("errors", {}, "test")
    changed = with_thresholds(errors, ["3"], ["errors=5", "server_errors_percent=50"])
    assert [changed.verdict({"errors": number})["errors"] for number in (3, 4, 6)] == ["ok", "warning", "critical"]
    assert [changed.verdict({"server_errors_percent": number})["server_errors_percent"] for number in (6, 20, 51)] == ["warning", "warning", "critical"]
    with pytest.raises(CheckError, match="no number 'faults'"):
        with_thresholds(errors, ["faults=3"], [])
