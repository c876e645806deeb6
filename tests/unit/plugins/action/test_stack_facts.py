# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.action.stack_facts import set_clock_offset

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
