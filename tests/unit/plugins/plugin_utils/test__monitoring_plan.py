# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils._monitoring_plan import monitoring_plan, spread_out
from hypothesis import given
from hypothesis import strategies as st

CHAT = {"name": "chat", "type": "slack", "url": "https://hooks.slack.com/services/T0/B0/canary"}


def test_without_anything_it_is_the_schedule_of_the_guide() -> None:
    plan = monitoring_plan({"host": "web1", "docker_host": "", "channels": []}, spread=False, cleanup_schedule="0 * * * *")
    assert plan["problem"] == ""
    assert plan["configuration"] == {"schema_version": 1, "options": {"host": "web1"}}
    assert [(job["name"], job["schedule"]) for job in plan["jobs"]] == [
        ("health", "* * * * *"), ("errors", "*/5 * * * *"), ("auth", "*/5 * * * *"), ("resources", "*/5 * * * *"), ("database", "*/5 * * * *"),
        ("backup", "0 6 * * *"), ("cleanup", "0 * * * *"),
    ]  # fmt: skip
    assert plan["jobs"][0]["arguments"] == ["check", "health", "--scheduled"]


def test_where_nothing_runs_every_minute_alerts_are_delivered_all_the_same() -> None:
    jobs = monitoring_plan({"host": "web1", "checks": {"health": {"enabled": False}}})["jobs"]
    assert [job["arguments"] for job in jobs if job["schedule"] == "* * * * *"] == [["alerts", "deliver", "--scheduled"]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"checks": {"errors": {"tresholds": {}}}}, "unknown option tresholds"),
        ({"checks": {"errors": {"schedule": "every minute"}}}, "'every minute' is no schedule"),
        ({"channels": [{**CHAT, "type": "telegram"}]}, "channel chat: its type must be one of"),
        ({"channels": [{"name": "chat", "type": "slack"}]}, "channel chat"),
        ({"channels": [CHAT, CHAT]}, "another one has this name"),
        ({"channels": [{**CHAT, "colr": "red"}]}, "slack knows no option 'colr'"),
        ({"channels": [CHAT], "checks": {"errors": {"channels": ["nosuch"]}}}, "there is no channel 'nosuch'. There are: chat."),
        ({"heartbeat_url": "htp:/nothing/canary"}, "heartbeat_url"),
    ],
)
def test_what_would_leave_somebody_untold_is_refused_before_it_is_installed(options: dict[str, t.Any], words: str) -> None:
    plan = monitoring_plan({"host": "web1", **options})
    assert words in plan["problem"] and set(plan) == {"problem"}
    assert "canary" not in plan["problem"]


@given(st.text(min_size=1, max_size=30), st.integers(2, 59), st.integers(0, 9))
def test_spread_minutes_keep_their_distance(host: str, distance: int, number: int) -> None:
    spread = spread_out(f"*/{distance} * * * *", host, "errors", number)
    match = re.fullmatch(rf"(\d+)-59/{distance} \* \* \* \*", spread)
    assert match and int(match[1]) < distance
    assert spread == spread_out(f"*/{distance} * * * *", host, "errors", number)


@pytest.mark.parametrize("schedule", ["* * * * *", "17 * * * *", "*/1 * * * *", "30 2 * * *", "@daily"])
def test_what_somebody_chose_stays(schedule: str) -> None:
    assert spread_out(schedule, "web1", "errors", 3) == schedule


def test_hosts_do_not_all_do_it_in_the_same_minute() -> None:
    assert len({spread_out("0 * * * *", f"web{number}", "cleanup", 0) for number in range(50)}) > 20
