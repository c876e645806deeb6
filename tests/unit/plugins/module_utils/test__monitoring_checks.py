# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import time
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _check_command as check_command
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_checks import CheckResult, CheckRun, run_check, run_isolated
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_options import parse_monitoring
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_types import Observation


def run_of(argv: t.Sequence[str], seconds: float = 10.0, memory: t.Optional[dict[str, t.Any]] = None) -> CheckRun:
    monitoring = parse_monitoring({"checks": {"mine": {"type": "command", "argv": list(argv), "timeout_seconds": seconds}}}, "test")
    return CheckRun(monitoring.checks["mine"], monitoring, memory or {}, time.time())


@pytest.mark.parametrize(("code", "status"), [(0, "ok"), (1, "warning"), (2, "critical"), (3, "unknown"), (4, "unknown"), (127, "unknown")])
def test_a_plugin_of_nagios_is_a_check(code: int, status: str) -> None:
    (seen,) = run_isolated(run_of(["/bin/sh", "-c", f"echo 'DISK says so | /=80%;90;95'; echo more; exit {code}"])).observations
    assert (seen.status, seen.summary, seen.details) == (status, "DISK says so", ())
    assert seen.metrics == {"/": {"value": 80.0, "unit": "%"}}


def test_the_long_output_of_a_plugin_is_kept() -> None:
    (seen,) = run_isolated(run_of(["/bin/sh", "-c", "echo first; echo second; echo third; exit 2"])).observations
    assert (seen.summary, seen.details) == ("first", ("second", "third"))


def test_a_command_that_is_not_there_is_unknown() -> None:
    (seen,) = run_isolated(run_of(["/nowhere/check_it"])).observations
    assert seen.status == "unknown" and "/nowhere/check_it" in seen.summary


def alive(marker: str) -> list[int]:
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if marker.encode() in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
        except OSError:
            continue
    return found


def test_a_command_that_hangs_is_ended_with_all_it_started() -> None:
    marker = f"sleep 31{os.getpid()}"
    began = time.monotonic()
    (seen,) = run_isolated(run_of(["/bin/sh", "-c", f"{marker} & {marker}"], 3.0)).observations
    assert time.monotonic() - began < 25
    assert seen.status == "unknown"
    assert alive(marker.replace(" ", "\0")) == []


def test_a_check_that_hangs_itself_is_killed_and_keeps_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_command, "check", lambda run: time.sleep(60))
    began = time.monotonic()
    result = run_isolated(run_of(["true"], 1.0, {"places": [1]}))
    assert time.monotonic() - began < 40
    assert result.observations[0].object == "check" and "not finished within 1 s" in result.observations[0].summary
    assert result.memory == {"places": [1]}


def test_a_check_whose_process_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_command, "check", lambda run: os.kill(os.getpid(), 9))
    (seen,) = run_isolated(run_of(["true"])).observations
    assert seen.status == "unknown" and "ended without an answer" in seen.summary


def test_a_defect_is_an_observation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_command, "check", lambda run: {}["missing"])
    (seen,) = run_check(run_of(["true"])).observations
    assert seen.status == "unknown" and "KeyError" in seen.summary and "report it" in seen.next_command


def test_what_was_seen_comes_back_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = {"m": {"value": 1.5, "unit": "s"}}
    observation = Observation("shop/backend", "critical", "\u202e{{ 7*7 }}\n", "shop", "why", "docker logs x", ("engine",), ("one", "two"), metrics)
    monkeypatch.setattr(check_command, "check", lambda run: CheckResult((observation,), {"x": {"y": [1, 2.5, None]}}))
    result = run_isolated(run_of(["true"]))
    assert result.observations == (observation,)
    assert result.memory == {"x": {"y": [1, 2.5, None]}}


def test_a_very_long_answer_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_command, "check", lambda run: CheckResult((Observation("x", "ok", "y" * 9_000_000),)))
    (seen,) = run_isolated(run_of(["true"])).observations
    assert seen.status == "unknown"
