# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import math
import re

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._nagios import Limits, Range, one_line, parse_performance, performance_value, render
from hypothesis import given
from hypothesis import strategies as st

NUMBERS = st.floats(-1e9, 1e9).map(lambda number: round(number, 3))


# The table of the Monitoring Plugins guidelines, and its neighbours.
@pytest.mark.parametrize(
    ("text", "alerts", "fine"),
    [
        ("10", [-0.1, 10.1, 11], [0, 5, 10]),
        ("10:", [9.9, -3], [10, 1e9]),
        ("~:10", [10.5], [-1e9, 10]),
        ("10:20", [9, 21], [10, 15, 20]),
        ("@10:20", [10, 15, 20], [9.9, 20.1]),
        ("@0", [0], [0.1, -1]),
        (".5", [0.6], [0.5]),
        (10, [11], [10]),
    ],
)
def test_ranges_alert_as_the_guidelines_say(text, alerts, fine) -> None:
    parsed = Range.parse(text)
    assert all(parsed.alerts(value) for value in alerts)
    assert not any(parsed.alerts(value) for value in fine)


@pytest.mark.parametrize("text", ["", "@", "ten", "10:5", "10:20:30", "1e5", "~", "10 20", "\n"])
def test_what_is_no_range_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(CheckError, match=r"is no range|starts above") as caught:
        Range.parse(text, "errors")
    assert caught.value.source == "errors" and caught.value.hint


@given(NUMBERS, NUMBERS, NUMBERS)
def test_an_inverted_range_alerts_just_where_the_other_does_not(one: float, other: float, value: float) -> None:
    start, end = sorted((one, other))
    assert Range.parse(f"{start:.3f}:{end:.3f}").alerts(value) != Range.parse(f"@{start:.3f}:{end:.3f}").alerts(value)


def test_limits_give_the_worse_verdict_and_unknown_for_nothing() -> None:
    limits = Limits.parse({"warning": 10, "critical": "20"}, "errors")
    assert [limits.verdict(value) for value in (5, 11, 21, None)] == ["ok", "warning", "critical", "unknown"]
    assert Limits.parse({"warning": None}, "errors").verdict(1e9) == "ok"
    with pytest.raises(CheckError, match="unknown option worst"):
        Limits.parse({"worst": 1}, "errors")


def test_performance_data_is_quoted_and_carries_its_ranges() -> None:
    limits = Limits.parse({"warning": "1", "critical": "3"}, "x")
    assert performance_value("shop/backend response_time_seconds", 0.25, "s", limits) == "'shop/backend response_time_seconds'=0.25s;1;3;0"
    assert performance_value("it's=odd|\n", None) == "'its odd'=U;;;0"
    assert performance_value("x", math.inf, "fortnight") == "'x'=U;;;0"


@given(st.text(max_size=400))
def test_hostile_text_stays_in_its_line_and_out_of_the_performance_data(text: str) -> None:
    output = render("health", "critical", text, ["'a'=1"], [f"  {text}"])
    lines = output.splitlines()
    assert len(lines) == 2 and lines[0].count("|") == 1 and "|" not in lines[1]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", output)
    assert len(one_line(text)) <= 300


def test_performance_data_of_other_plugins_is_read() -> None:
    text = "load1=0.120;5.000;10.000;0; 'free space'=12MB;;;0;20 broken time=abc /=2643MB;5948;5958;0;5968"
    assert parse_performance(text) == {
        "load1": {"value": 0.12, "unit": ""},
        "free space": {"value": 12.0, "unit": "MB"},
        "/": {"value": 2643.0, "unit": "MB"},
    }
