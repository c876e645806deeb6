# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import typing as t

import pytest
import yaml
from ansible_collections.stackops.runbook.plugins.filter.remediation_plan import remediation_plan as plan_filter
from ansible_collections.stackops.runbook.plugins.plugin_utils._remediation_plan import ACTIONS, remediation_plan

ROOT = pathlib.Path(__file__).parents[4]
TASKS = ROOT / "roles" / "remediate" / "tasks" / "actions"


def finding(rule: str, number: int, remediation: t.Optional[dict[str, t.Any]] = None, **more: t.Any) -> dict[str, t.Any]:
    shown = {"id": f"id{number}", "rule": rule, "object": "shop/api", "result": "fire", "effects": [], **more}
    return {**shown, "remediation": remediation} if remediation else shown


START = {"action": "start_missing", "project": "shop"}
REPORT = {
    "hosts": {
        "web1": {
            "findings": [
                finding("container-stopped", 1, START, effects=["id3"]),
                finding("service-missing", 2, START, object="shop/db"),
                finding("env-file-not-applied", 3, {"action": "recreate_service", "project": "shop", "service": "api"}),
                finding("slow-query", 4),
                finding("image-tag-moved", 5, {"action": "recreate_service", "project": "other", "service": "x"}, object="other/x"),
                finding("container-unhealthy", 6, {"action": "restart_service", "service": "y"}, result="silenced"),
            ]
        }
    }
}


def test_a_name_or_a_mapping_makes_a_step() -> None:
    made = remediation_plan(["start_missing", {"action": "restart_service", "service": "api", "project": "shop"}], "web1")
    assert made["problem"] == "" and made["steps"] == [
        {"action": "start_missing", "project": "", "parameters": {}, "findings": []},
        {"action": "restart_service", "project": "shop", "parameters": {"service": "api"}, "findings": []},
    ]


@pytest.mark.parametrize("asked", ["restart_service,pull_image", "restart_service, pull_image ", ["restart_service", "pull_image"]])
def test_names_can_be_typed_with_the_service_beside_them(asked: t.Any) -> None:
    steps = remediation_plan(asked, "web1", service="api")["steps"]
    assert [(step["action"], step["parameters"]) for step in steps] == [("restart_service", {"service": "api"}), ("pull_image", {"service": "api"})]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ([], ["Nothing was asked for", "docker_cleanup", "start_missing"]),
        ("restart_servcie", ["There is no action 'restart_servcie'", "did you mean restart_service?", "docker_cleanup"]),
        ([{"service": "api"}], ["There is no action None"]),
        (["start_missing", "restart_service"], ["restart_service needs service", "remediate_actions"]),
        ([{"action": "restart_service", "servcie": "api"}], ["has no parameter servcie", "service"]),
        (7, ["must be a list"]),
        ([["restart_service"]], ["There is no action"]),
    ],
)
def test_what_cannot_be_done_is_refused_as_a_whole_with_what_there_is(asked: t.Any, words: list[str]) -> None:
    made = remediation_plan(asked, "web1")
    assert made["steps"] == [] and all(word in made["problem"] for word in words), made["problem"]


def test_of_a_report_the_causes_are_done_and_each_thing_once() -> None:
    made = remediation_plan([], "web1", REPORT)
    assert [(step["action"], step["project"]) for step in made["steps"]] == [("start_missing", "shop"), ("recreate_service", "other")]
    assert made["steps"][0]["findings"] == [{"id": "id1", "name": "container-stopped shop/api"}, {"id": "id2", "name": "service-missing shop/db"}]
    assert made["notes"] == ["slow-query (shop/api): no action for it, see its steps in the report"]


def test_rules_that_are_named_are_done_even_where_another_finding_explains_them() -> None:
    steps = remediation_plan([], "web1", REPORT, "env-file-not-applied")["steps"]
    assert [(step["action"], step["parameters"]) for step in steps] == [("recreate_service", {"service": "api"})]


def test_a_stack_limits_it() -> None:
    assert [step["project"] for step in remediation_plan([], "web1", REPORT, stack="other")["steps"]] == ["other"]
    made = remediation_plan([], "web1", REPORT, stack="nosuch")
    assert made["problem"] == "" and made["steps"] == [] and "nothing to do for web1 in the stack nosuch" in made["notes"][-1]


@pytest.mark.parametrize(
    ("host", "rules", "actions", "words"),
    [
        ("web2", [], [], "The report has no host web2. It has: web1."),
        ("web1", ["nosuch-rule"], [], "no finding of nosuch-rule on web1. It has findings of: container-stopped"),
        ("web1", ["container-unhealthy"], [], "no finding of container-unhealthy"),
        ("web1", [], ["start_missing"], "not both"),
    ],
)
def test_a_report_that_does_not_fit_is_refused(host: str, rules: list[str], actions: list[str], words: str) -> None:
    assert words in remediation_plan(actions, host, REPORT, rules)["problem"]


def test_an_action_in_a_report_is_checked_like_one_that_is_typed() -> None:
    report = {"hosts": {"web1": {"findings": [finding("a-b", 1, {"action": "rm_rf"})]}}}
    assert "this version does not know: There is no action 'rm_rf'" in remediation_plan([], "web1", report)["problem"]


def test_nothing_of_a_report_is_ever_evaluated(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "report.json"
    path.write_text('{"hosts": {"web1": {"findings": [{"id": "1", "rule": "a-b", "object": "shop/x", "result": "fire",'
                    ' "remediation": {"action": "restart_service", "service": "{{ 7 * 6 }}"}}]}}}')  # fmt: skip
    value = plan_filter([], "web1", str(path))["steps"][0]["parameters"]["service"]
    assert value == "{{ 7 * 6 }}"
    if hasattr(value, "__UNSAFE__"):  # before ansible-core 2.19, which trusts no text but that of playbooks
        assert value.__UNSAFE__


def test_every_action_has_a_task_file_that_uses_all_of_its_parameters() -> None:
    assert {path.stem for path in TASKS.glob("*.yml")} == set(ACTIONS)
    for name, action in ACTIONS.items():
        text = (TASKS / f"{name}.yml").read_text()
        for parameter in action.parameters:
            assert f"parameters.{parameter}" in text, f"{name}: {parameter}"
        assert any(task.get("register") == "__remediate_result" for task in yaml.safe_load(text)), name


def test_every_action_is_in_both_pages() -> None:
    for page in ("remediation.md", "remediation.zh-TW.md"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        assert [name for name in ACTIONS if f"| `{name}` |" not in text] == [], page
