# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.action.stack_facts import HostTimeout, failure_reason, set_clock_offset, time_limit

BEGAN = 1_790_000_000.0


def result_at(moment: str) -> dict[str, t.Any]:
    return {"host": {"collected_at": moment}, "facts": {"host": {"clock": {"synchronized": True, "offset_ms": None}}}}


@pytest.mark.parametrize(
    ("moment", "offset_ms"),
    [
        ("2026-09-21T14:13:21Z", 0),
        ("2026-09-21T14:13:22.900Z", 0),
        ("2026-09-21T14:13:10Z", -10_000),
        ("2026-09-21T14:13:33.500Z", 10_500),
    ],
    ids=["inside", "late but inside", "behind", "ahead"],
)
def test_only_what_the_run_cannot_explain_is_the_clock_s_offset(moment: str, offset_ms: int) -> None:
    result = result_at(moment)
    set_clock_offset(result, BEGAN, BEGAN + 3)
    assert result["facts"]["host"]["clock"]["offset_ms"] == offset_ms


def test_a_result_without_a_clock_is_left_alone() -> None:
    result: dict[str, t.Any] = {"host": {"collected_at": "2026-09-21T14:13:20Z"}, "facts": {"host": {"status": "unknown"}}}
    set_clock_offset(result, BEGAN, BEGAN + 3)
    assert result["facts"]["host"] == {"status": "unknown"}


def test_a_host_that_hangs_is_left_at_the_limit() -> None:
    began = time.monotonic()
    with pytest.raises(HostTimeout, match="no answer within 0.05 s"), time_limit(0.05):
        time.sleep(5)
    assert time.monotonic() - began < 2


def test_the_limit_ends_with_its_block() -> None:
    with time_limit(0.05):
        pass
    time.sleep(0.1)


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"msg": "Failed\nsee below", "module_stderr": "noise\nsh: 1: python: not found\n"}, "Failed (sh: 1: python: not found)"),
        ({"msg": "No space left on device"}, "No space left on device"),
        ({}, "the module gave no reason"),
    ],
)
def test_a_failure_is_told_in_one_line(result: dict[str, t.Any], reason: str) -> None:
    assert failure_reason(result) == reason
