# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cases that accuracy is measured with are well formed, and a diagnosis is compared with them as it should be."""

from __future__ import annotations

import collections
import json
import pathlib
import re

import pytest
import yaml
from faultlib import accuracy, accuracy_table, score
from faultlib.cases import Case, Expected
from faultlib.changes import Change, named

ROOT = pathlib.Path(__file__).resolve().parents[3]
RULES = {rule["id"] for path in (ROOT / "roles/diagnose/rules").glob("*.yml") for rule in yaml.safe_load(path.read_text("utf-8"))["rules"]}
CASES = [(profile, case) for profile in accuracy.PROFILES.values() for case in profile.cases()]


@pytest.mark.parametrize("profile", [one for one in accuracy.PROFILES.values() if not one.chosen], ids=lambda profile: profile.name)
def test_there_are_enough_cases_of_every_kind(profile):
    counts = collections.Counter(case.kind for case in profile.cases())
    assert counts["fault"] + counts["chain"] + counts["combined"] >= 60
    assert counts["combined"] >= 10
    assert counts["chain"] >= 10
    assert counts["healthy"] >= 15
    assert any(case.spread for case in profile.cases() if case.healthy)


@pytest.mark.parametrize(("profile", "case"), CASES, ids=[f"{profile.name}-{case.name}" for profile, case in CASES])
def test_a_case_is_well_formed(profile, case):
    assert case.cause.endswith(".")
    assert bool(case.expect) is not case.healthy
    for one in case.expect:
        assert {one.rule, *one.effects} <= RULES
    assert set(case.also) <= RULES
    assert len(case.expect) >= (2 if case.kind == "combined" else 1) or case.healthy
    assert not (case.kind == "chain" and not case.expect[0].effects)
    names = "|".join(profile.all_names())
    assert not re.search(r"\{(" + names + r")\}", repr(case))
    for change in case.changes:
        for step in (*change.get("steps", ()), *change.get("undo", ())):
            assert hasattr(Change, "_do_" + next(iter(step)))
        for condition in [*change.get("shows", ()), *(step["wait"] for step in change.get("steps", ()) if "wait" in step)]:
            assert hasattr(Change, "_is_" + next(iter(condition)))


def test_only_names_are_put_in():
    assert named({"{backend}": ["{{.State.Pid}} {backend} {other}"]}, {"backend": "web"}) == {"web": ["{{.State.Pid}} web {other}"]}


# -- comparing ------------------------------------------------------------------------------------------------------


def _finding(rule, number, severity="critical", effect_of=(), evidence=None, result="fire"):
    return {
        "id": number, "rule": rule, "object": "p/web", "severity": severity, "result": result, "effect_of": list(effect_of),
        "evidence": evidence or {}, "fix": ["do it"],
    }  # fmt: skip


def _row(*findings):
    return {"status": "critical", "findings": list(findings), "facts": {"compose": {"errors": []}}}


def _case(*expect, kind="fault", **fields):
    return Case("name", kind, "group", "Cause.", expect=tuple(Expected(rule, "p/web", *more) for rule, *more in expect), **fields)


def test_the_cause_on_top_with_its_effects_beneath_is_right():
    row = _row(_finding("down", "1", evidence={"state": "exited"}), _finding("unhealthy", "2", effect_of=["1"]), _finding("slow", "3", severity="info"))
    verdict = score.judged(_case(("down", ("exited",), ("unhealthy",)), kind="chain"), row)
    assert verdict.right
    assert verdict.causes == ("down p/web",)


def test_an_effect_beside_the_cause_is_wrong():
    verdict = score.judged(_case(("down", (), ("unhealthy",)), kind="chain"), _row(_finding("down", "1"), _finding("unhealthy", "2")))
    assert (verdict.first_right, verdict.folded) == (True, False)
    assert verdict.wrong_causes == ("unhealthy p/web",)
    assert verdict.not_folded == ("unhealthy",)


def test_the_cause_in_second_place_is_within_three_only():
    verdict = score.judged(_case(("down",)), _row(_finding("unhealthy", "2"), _finding("down", "1")))
    assert (verdict.first_right, verdict.within_three) == (False, True)


def test_the_injected_value_must_be_in_the_evidence():
    assert not score.judged(_case(("down", ("5433",))), _row(_finding("down", "1", evidence={"port": 5432}))).within_three


def test_two_independent_causes_must_both_be_on_top():
    case = _case(("down",), ("slow",), kind="combined")
    assert score.judged(case, _row(_finding("slow", "2"), _finding("down", "1"))).right
    assert not score.judged(case, _row(_finding("down", "1"), _finding("slow", "2", effect_of=["1"]))).first_right
    assert not score.judged(case, _row(_finding("down", "1"), _finding("other", "3"), _finding("slow", "2"))).first_right


def test_what_is_true_beside_the_cause_is_not_wrong():
    assert score.judged(_case(("down",), also=("slow",)), _row(_finding("down", "1"), _finding("slow", "2"))).right


def test_a_healthy_stack_may_have_information_and_what_is_silenced():
    healthy = _case(kind="healthy")
    assert score.judged(healthy, _row(_finding("clock", "1", severity="info"), _finding("paused", "2", result="silenced"))).right
    assert score.judged(healthy, _row(_finding("slow", "1", severity="warning"))).wrong_causes == ("slow p/web",)


def test_on_a_machine_that_is_far_too_busy_slowness_counts_only_where_it_was_injected():
    row = _row(_finding("down", "1"), _finding("endpoint-slow", "2"))
    assert score.judged(_case(("down",)), row).wrong_causes == ("endpoint-slow p/web",)
    busy = {**row, "facts": {**row["facts"], "host": {"load_per_cpu": 20.0}}}
    assert score.judged(_case(("down",)), busy).right
    assert score.judged(_case(("endpoint-slow",), ("down",), kind="combined"), busy).first_right


def test_information_counts_where_it_is_expected():
    row = _row(_finding("clock", "1", severity="info"), _finding("drift", "2", severity="info"))
    assert score.judged(_case(("drift",), info=True), row).right
    assert not score.judged(_case(("drift",)), row).within_three


@pytest.mark.parametrize(
    ("row", "crash"),
    [
        ({"status": "unknown", "findings": [], "reason": "the module failed"}, "the module failed"),
        ({"findings": [_finding("broken", "1", result="error")], "facts": {}}, "broken"),
        ({"findings": [], "facts": {"logs": {"errors": [{"code": "defect", "reason": "KeyError"}]}}}, "logs: KeyError"),
    ],
)
def test_a_defect_is_a_crash(row, crash):
    assert score.judged(_case(("down",)), row).crash == crash


# -- counting -------------------------------------------------------------------------------------------------------


def _record(name, kind="fault", right=True, seconds=2.0, wrong=(), crash=""):
    return {
        "name": name, "kind": kind, "group": kind, "first_right": right, "within_three": right, "folded": right, "wrong_causes": list(wrong),
        "not_folded": [], "causes": [], "crash": crash, "load_per_cpu": 0.5, "direct": False, "again": kind == "healthy",
        "seconds": {"renew": 1, "inject": 1, "diagnose": seconds, "all": 5},
    }  # fmt: skip


def test_bars_are_reached_or_named():
    good = [_record(str(number)) for number in range(99)] + [_record("chain", "chain"), _record("calm", "healthy")]
    assert score.missed_bars(good) == []
    missed = score.missed_bars([_record("1", right=False), _record("2", "healthy", wrong=["x"]), _record("3", "chain", right=False, crash="x", seconds=9)])
    assert len(missed) == 5
    assert score.missed_bars([_record("1", seconds=7)]) == ["the median diagnosis takes 7.0 s, wanted less than 5 s"]
    assert score.missed_bars([_record("1", seconds=7)], timed=False) == []


def test_page_says_what_was_missed_before(tmp_path):
    accuracy_table.write(tmp_path / "accuracy.md", [("A stack", [(_case(("down",)), {**_record("name"), "missed_before": True}), (_case(), _record("other"))])])
    assert "1 of 2 cases were missed at first, and measured again after a rule, or the case itself, was put right." in (tmp_path / "accuracy.md").read_text()


def test_page_shows_every_group_and_every_case(tmp_path):
    pairs = [(_case(("down",)), _record("name")), (_case(kind="healthy"), _record("calm", "healthy", wrong=["slow p/web"]))]
    accuracy_table.write(tmp_path / "accuracy.md", [("A stack", pairs)])
    page = (tmp_path / "accuracy.md").read_text()
    assert "| fault | 1 | 1 | 1 | 0 | 1 of 1 | 0 | 2.0 | 2.0 |" in page
    assert "Missed: 1 false alarms" in page
    assert page.count("| name |") == 2
    assert "0.5 processes (median) waited" in page
    assert "1 of 2 verdicts are those of the present rules" in page
    assert "Every diagnosis was a run of `ansible-playbook`." in page
    assert "missed at first" not in page
    assert (tmp_path / "accuracy.json").exists()


# -- no tuning to the stacks that are measured -----------------------------------------------------------------------

KNOWN_OF_THE_STACKS = (
    "shop", "readers", "mydb", "holdings", "librarian", "order_events", "ix_order_events", "loans", "/api/v1/", "/v2/", "app.log", "api.log", "stackops-test",
)  # fmt: skip


def test_no_rule_knows_a_name_a_path_or_a_table_of_the_stacks_that_are_measured():
    for path in sorted((ROOT / "roles/diagnose/rules").glob("*.yml")):
        for rule in yaml.safe_load(path.read_text("utf-8"))["rules"]:
            text = json.dumps({key: value for key, value in rule.items() if key != "tests"})
            assert [word for word in KNOWN_OF_THE_STACKS if re.search(rf"(?<![a-z]){re.escape(word)}(?![a-z])", text)] == [], rule["id"]
