# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""That every host is a row which says why it is as it is, and that none keeps the others from theirs."""

from __future__ import annotations

import json
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/testbed"))

from testbedlib.odd import ODD_HOSTS  # noqa: E402

LATEST = ROOT / "build/molecule/fleet/reports/latest"


@pytest.fixture(scope="module")
def rows():
    """Return the rows of the report by the last part of their host's name."""
    report = json.loads((LATEST / "report.json").read_text(encoding="utf-8"))
    return {name.partition("-fleet-")[2]: row for name, row in report["hosts"].items()}


def causes(row):
    """Return the rules of what fired above info, and is nobody's effect."""
    return [finding["rule"] for finding in row["findings"] if finding["result"] == "fire" and finding["severity"] != "info" and not finding.get("effect_of")]


def unread(row):
    """Return the collectors that gave nothing."""
    return [name for name, facts in row["facts"].items() if facts["status"] == "unknown"]


def test_every_host_is_a_row(rows):
    assert set(rows) == {"well", "faulty", "old", "old-python2", "podman", *(f"well-{odd.name}" for odd in ODD_HOSTS)}


def test_a_healthy_host_is_well(rows):
    assert causes(rows["well"]) == []
    assert rows["well"]["status"] == "ok"


def test_the_cause_is_first_on_the_faulty_one(rows):
    assert causes(rows["faulty"])[:1] == ["database-down"]


def test_the_oldest_python_is_diagnosed_as_fully_as_the_newest(rows):
    row = rows["old"]
    assert row["host"]["python_version"].startswith("3.9.")
    assert unread(row) == unread(rows["well"]) == []
    assert row["facts"]["postgres"]["instances"][0]["status"] == "ok"
    assert {container["service"] for container in row["facts"]["compose"]["containers"]} == {"backend", "postgres"}
    assert causes(row) == []


def test_a_host_with_podman_is_diagnosed_as_well(rows):
    row = rows["podman"]
    assert unread(row) == unread(rows["well"])
    assert row["facts"]["engine"]["flavour"] == "podman"
    assert [(project["name"], project["flavour"]) for project in row["facts"]["compose"]["projects"]] == [("shop", "podman-compose")]
    assert row["facts"]["postgres"]["instances"][0]["status"] == "ok"
    assert causes(row) == []


def test_a_python_that_is_too_old_is_a_reason(rows):
    assert rows["old-python2"]["status"] == "unknown"
    assert "its Python is too old" in rows["old-python2"]["reason"]
    assert "3.9" in rows["old-python2"]["reason"]


@pytest.mark.parametrize("odd", [odd for odd in ODD_HOSTS if odd.reason], ids=lambda odd: odd.name)
def test_a_host_that_gave_nothing_says_why_and_what_next(rows, odd):
    row = rows[f"well-{odd.name}"]
    assert row["status"] == odd.status
    reason, dot, next_step = row["reason"].partition(". ")
    assert odd.reason in reason
    assert dot
    assert len(next_step) > 20


@pytest.mark.parametrize("odd", [odd for odd in ODD_HOSTS if odd.rule], ids=lambda odd: odd.name)
def test_a_host_that_lacks_something_is_told_what(rows, odd):
    row = rows[f"well-{odd.name}"]
    if any("not finished" in error["reason"] for error in row["facts"]["host"]["errors"]):
        pytest.skip("the machine was too busy to look at its file systems in time")
    assert row["status"] == odd.status
    assert causes(row)[:1] == [odd.rule]
    assert row["findings"][0]["fix"]
