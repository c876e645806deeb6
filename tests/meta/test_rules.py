# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shipped rules are tested on facts that were recorded on real hosts, and what was recorded can be recorded anew."""

from __future__ import annotations

import typing as t

import pytest
from collection import ROOT, load

FACTS = ROOT / "tests/unit/fixtures/facts"
CASES = sorted((ROOT / "tests/live/rule_cases").glob("*/case.yml"))
RULES = {rule["id"]: rule for path in sorted((ROOT / "roles/diagnose/rules").glob("*.yml")) for rule in load(path)["rules"]}

#: Rules that no host of ours can be brought to fire, and why. Nothing may be added here that can be recorded.
BY_HAND = {
    "cpu-stolen": "time is stolen by a hypervisor whose other machines are busy, which no machine can do to itself",
}


def recordings(test: dict[str, t.Any]) -> list[str]:
    """Return the files that *test* takes its facts from."""
    given = test.get("given_file", [])
    return [given] if isinstance(given, str) else given


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_rule_fires_passes_and_does_not_know_in_its_tests(rule: dict[str, t.Any]) -> None:
    assert {test["expect"] for test in rule["tests"]} == {"fire", "pass", "unknown"}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_recordings_are_there(rule: dict[str, t.Any]) -> None:
    assert [name for test in rule["tests"] for name in recordings(test) if not (FACTS / name).is_file()] == []


def test_rules_fire_on_what_was_recorded_and_the_exceptions_are_named() -> None:
    recorded = {name for name, rule in RULES.items() if any(recordings(test) for test in rule["tests"] if test["expect"] == "fire")}
    assert set(RULES) - recorded == set(BY_HAND)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.parent.name)
def test_what_a_case_records_is_what_rules_are_tested_on(path) -> None:
    case = path.parent.name
    files = {"-".join(filter(None, (case, word))) + ".json" for word in load(path).get("hosts", [""])}
    used = {name for rule in RULES.values() for test in rule["tests"] for name in recordings(test)}
    assert files <= used
    assert (path.parent / "prepare").stat().st_mode & 0o111
