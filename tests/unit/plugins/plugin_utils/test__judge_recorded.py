# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Facts that were recorded on real hosts with one fault switched on: the first finding is what the catalogue says."""

from __future__ import annotations

import json
import pathlib
import re
import typing as t

import pytest
import yaml
from ansible_collections.stackops.runbook.plugins.plugin_utils._judge import judge_host
from ansible_collections.stackops.runbook.plugins.plugin_utils._rules import RuleSet, facts_schema, load_rules

ROOT = pathlib.Path(__file__).resolve().parents[4]
RECORDED = ROOT / "tests" / "unit" / "fixtures" / "facts"
CATALOGUE = ROOT / "tests" / "faults" / "catalogue.yml"
if not CATALOGUE.exists():
    pytest.skip("the catalogue of faults is in a checkout", allow_module_level=True)
FAULTS = {entry["name"]: entry for entry in yaml.safe_load(CATALOGUE.read_text(encoding="utf-8"))["faults"]}
NAMES = {"project": "shop", "backend": "backend", "database": "postgres", "port": "8000", "directory": "/srv/shop"}


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return load_rules([ROOT / "roles" / "diagnose" / "rules"])


def recorded(name: str) -> dict[str, t.Any]:
    facts: dict[str, t.Any] = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
    return facts


def causes(rules: RuleSet, name: str) -> list[dict[str, t.Any]]:
    row = judge_host(rules, "web1", recorded(name))
    return [finding for finding in row["findings"] if finding["result"] == "fire" and not finding.get("effect_of") and finding["severity"] != "info"]


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.json")), ids=lambda path: path.stem)
def test_recorded_facts_fit_the_schema(path):
    assert facts_schema().unknown_paths(json.loads(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("language", ["en", "zh_TW"])
@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.json")), ids=lambda path: path.stem)
def test_no_rule_fails_on_recorded_facts_and_no_text_lacks_what_it_is_about(rules, path, language):
    for finding in judge_host(rules, "web1", recorded(path.stem), {"language": language})["findings"]:
        assert finding["result"] != "error", finding["rule"]
        texts = [finding["title"], finding["cause"], *finding["fix"]]
        assert [text for text in texts if re.search(r"(?:^|\s)\?(?=[\s.,:]|$)", text)] == [], finding["rule"]


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_the_first_finding_is_the_cause_and_the_only_one(rules, name):
    if not (RECORDED / f"{name}.json").is_file():
        pytest.skip("not recorded yet")
    fault = FAULTS[name]
    found = causes(rules, name)
    assert [(finding["rule"], finding["object"]) for finding in found] == [(fault["rule"], fault["object"].format(**NAMES))]
    evidence = json.dumps(found[0]["evidence"], ensure_ascii=False)
    for text in (fault["value"], *fault["evidence"]):
        assert text.format(**NAMES) in evidence
    assert found[0]["fix"] and found[0]["verify"]


# By service of the recorded project: what its container is, and the first finding on it.
STATES = {
    "bad-import": "container-application-error",
    "bad-mount": "container-mount-failed",
    "child-out-of-memory": "container-oom-killed",
    "command-missing": "container-command-not-found",
    "killed": "container-killed",
    "loop-clean": "container-restart-loop",
    "loop-error": "container-application-error",
    "name-unknown": "database-name-not-resolved",
    "not-executable": "container-not-executable",
    "out-of-memory": "container-oom-killed",
    "paused": "container-paused",
    "port-taken": "port-already-allocated",
    "probe-missing": "healthcheck-probe-missing",
    "probe-refused": "healthcheck-refused",
    "probe-silent": "container-unhealthy",
    "probe-status": "healthcheck-wrong-path",
    "probe-timeout": "healthcheck-timeout",
    "segfault": "container-crashed",
    "startup-failure": "container-application-error",
    "stopped": "container-stopped",
    "waiting": "container-created-never-started",
    "waits-for-health": "service-missing",
}


@pytest.mark.parametrize("service", sorted(STATES))
def test_containers_in_every_state(rules, service):
    found = [finding for finding in causes(rules, "container-states") if finding["object"] == f"states/{service}"]
    assert found and found[0]["rule"] == STATES[service]


@pytest.mark.parametrize("service", ["well", "scaled", "job", "starting", "stale"])
def test_containers_that_are_well_are_no_finding(rules, service):
    assert [finding for finding in causes(rules, "container-states") if finding["object"] == f"states/{service}"] == []


@pytest.mark.parametrize(("name", "rule"), [("engine-forbidden", "docker-permission-denied"), ("engine-absent", "docker-not-running")])
def test_without_the_engine_there_is_one_finding_and_the_rest_is_unknown(rules, name, rule):
    row = judge_host(rules, "web1", recorded(name))
    assert [finding["rule"] for finding in causes(rules, name)] == [rule]
    unread = next(finding for finding in row["findings"] if finding["result"] == "unknown" and "compose" in finding["object"])
    assert unread["effect_of"]
    assert "container-stopped" in row["unknown_rules"]


def test_a_database_with_several_troubles_tells_each_of_them(rules):
    found = {finding["rule"]: finding for finding in causes(rules, "postgres-states")}
    assert set(found) == {
        "blocked-queries", "database-connections-exhausted", "invalid-index", "sequence-nearly-exhausted", "slow-query",
    }  # fmt: skip
    assert found["blocked-queries"]["evidence"]["blocker_state"] == "idle in transaction"
    row = judge_host(rules, "web1", recorded("postgres-states"))
    assert "idle-in-transaction" in {finding["rule"] for finding in row["findings"] if finding["id"] in found["blocked-queries"]["effects"]}
    assert "database-read-only" in {finding["rule"] for finding in causes(rules, "postgres-read-only")}


@pytest.mark.parametrize(("name", "cause"), [("firewall-states-ufw", "port-bypasses-firewall"), ("firewall-states-open", "database-open-to-everybody")])
def test_an_open_database_is_told_once(rules, name, cause):
    """That its port is bound to all addresses goes under what that means on this host."""
    findings = judge_host(rules, "web1", recorded(name))["findings"]
    about = [finding for finding in findings if finding["result"] == "fire" and "database" in finding["object"] and not finding.get("effect_of")]
    assert [(finding["rule"], finding["severity"]) for finding in about] == [(cause, "critical")]
