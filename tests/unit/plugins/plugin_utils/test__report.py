# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of a run: rows, what changed, what only shows across hosts, and how it is written."""

from __future__ import annotations

import datetime
import json
import pathlib

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils import _report
from ansible_collections.stackops.runbook.plugins.plugin_utils._diagnosis import Diagnosis, DiagnosisError
from ansible_collections.stackops.runbook.plugins.plugin_utils._judge import fleet_context, judge_fleet, judge_host
from ansible_collections.stackops.runbook.plugins.plugin_utils._report import (
    build_report,
    failed_row,
    read_previous,
    to_json,
    unreachable_row,
    write_report,
)
from ansible_collections.stackops.runbook.plugins.plugin_utils._rules import RuleSet, load_rules

ROOT = pathlib.Path(__file__).resolve().parents[4]
FIRST, SECOND = "2026-11-23T10:00:00Z", "2026-11-23T11:00:00Z"


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return load_rules([ROOT / "roles" / "diagnose" / "rules"])


def host_facts(*paused, engine="27.1.0", image="sha256:a"):
    containers = [
        {"project": "shop", "service": name, "name": name, "status": "warning" if name in paused else "ok", "state": "paused" if name in paused else "running",
         "image": {"reference": "shop/api:1", "id": image}}
        for name in ("api", "db")
    ]  # fmt: skip
    compose = {"status": "ok", "projects": [], "containers": containers}
    return {"schema": 1, "host": {}, "facts": {"engine": {"status": "ok", "reachable": True, "version": engine}, "compose": compose}}


def report_of(rules, now, previous=None, silences=(), **hosts):
    options = {"now": now, "silences": list(silences), "collection_version": "1.0.0"}
    rows = {name: judge_host(rules, name, given, options) if given is not None else unreachable_row("ssh: timed out") for name, given in hosts.items()}
    return build_report(rows, options, previous, rules)


def test_a_report_has_the_shape_of_the_design(rules):
    report = report_of(rules, FIRST, web1=host_facts("api"), web2=host_facts(), db1=None)
    assert report["schema"] == 1
    assert (report["generated_at"], report["collection_version"]) == (FIRST, "1.0.0")
    assert report["summary"] == {"hosts": 3, "ok": 1, "warning": 1, "critical": 0, "unknown": 0, "unreachable": 1}
    assert report["hosts"]["db1"] == {"status": "unreachable", "reason": "ssh: timed out", "findings": [], "facts": {}}
    assert report["hosts"]["web1"]["facts"]["compose"]["containers"]
    assert list(report["hosts"]) == ["db1", "web1", "web2"]
    assert set(report["changes"]) == {"new", "ongoing", "resolved"}


def test_a_host_on_which_collecting_failed_is_a_row(rules):
    report = build_report({"a": failed_row("MODULE FAILURE: no python")}, {"now": FIRST})
    assert report["summary"]["unknown"] == 1
    assert report["hosts"]["a"]["reason"] == "MODULE FAILURE: no python"


def test_new_ongoing_and_resolved(rules):
    first = report_of(rules, FIRST, web1=host_facts("api", "db"))
    assert [entry["object"] for entry in first["changes"]["new"]] == ["shop/api", "shop/db"]
    second = report_of(rules, SECOND, first, web1=host_facts("api"))
    assert [entry["object"] for entry in second["changes"]["ongoing"]] == ["shop/api"]
    assert [entry["object"] for entry in second["changes"]["resolved"]] == ["shop/db"]
    assert second["changes"]["new"] == []
    assert second["hosts"]["web1"]["findings"][0]["since"] == FIRST
    assert second["changes"]["resolved"][0]["host"] == "web1"


@pytest.mark.parametrize("later", [None, {"schema": 1, "host": {}, "facts": {"compose": {"status": "unknown"}}}], ids=["unreachable", "not readable"])
def test_nothing_is_resolved_by_not_looking(rules, later):
    first = report_of(rules, FIRST, web1=host_facts("api"))
    second = report_of(rules, SECOND, first, web1=later)
    assert second["changes"]["resolved"] == []


def test_nothing_is_resolved_by_being_silenced(rules):
    first = report_of(rules, FIRST, web1=host_facts("api"))
    silence = {"rule": "container-paused", "reason": "meant so", "expires": "never"}
    second = report_of(rules, SECOND, first, [silence], web1=host_facts("api"))
    assert second["changes"] == {"new": [], "ongoing": [], "resolved": []}
    silence = {"rule": "container-paused", "object": "*", "host": "*", "reason": "meant so", "expires": "never", "expired": False, "findings": 1}
    assert second["silences"] == [silence]


def test_expired_silences_are_reported(rules):
    report = report_of(rules, SECOND, None, [{"rule": "container-paused", "reason": "x", "expires": FIRST}], web1=host_facts("api"))
    assert report["silences"][0]["expired"] is True
    assert report["hosts"]["web1"]["findings"][0]["result"] == "fire"


def test_another_schema_of_the_previous_report_is_not_compared(rules):
    first = {**report_of(rules, FIRST, web1=host_facts("api")), "schema": 99}
    assert report_of(rules, SECOND, first, web1=host_facts())["changes"]["resolved"] == []


def test_what_only_shows_across_hosts(rules):
    hosts = {f"web{number}": host_facts("api", image=f"sha256:{number % 2}", engine=f"2{number % 2}.0") for number in range(4)}
    report = report_of(rules, FIRST, **hosts)
    found = {finding["rule"]: finding for finding in report["fleet_findings"]}
    assert set(found) == {"fleet-same-cause", "fleet-image-differs", "fleet-engine-differs"}
    assert found["fleet-same-cause"]["object"] == "container-paused"
    assert found["fleet-same-cause"]["evidence"]["hosts"] == ["web0", "web1", "web2", "web3"]


def test_the_context_of_fleet_rules(rules):
    report = report_of(rules, FIRST, web1=host_facts("api"), web2=None)
    context = fleet_context(report["hosts"])
    assert context["host_count"] == 2
    assert [(cause["rule"], cause["host_count"]) for cause in context["causes"]] == [("container-paused", 1)]
    assert context["engines"] == [{"version": "27.1.0", "hosts": ["web1"]}]
    assert context["clock_spread_ms"] is None


@pytest.mark.parametrize(("offsets", "spread"), [((3, 61000), 60997), ((-61000, 3), 61003), ((-61000, -60000), 1000), ((70000, 9000), 61000), ((9000,), 0)])
def test_clocks_that_differ_are_found_whichever_of_them_is_wrong(rules, offsets, spread):
    hosts = {f"web{number}": {"facts": {"host": {"clock": {"offset_ms": offset}}}} for number, offset in enumerate(offsets)}
    assert fleet_context(hosts)["clock_spread_ms"] == spread
    found = [finding["rule"] for finding in judge_fleet(rules, fleet_context(hosts))]
    assert ("fleet-clocks-differ" in found) == (spread >= 5000)


# Files


def test_json_has_one_line_for_each_host_and_is_json(rules):
    report = report_of(rules, FIRST, web1=host_facts("api"), web2=None)
    content = to_json(report)
    assert json.loads(content) == report
    assert sum(line.startswith(b'"web') for line in content.splitlines()) == 2
    assert json.loads(to_json(build_report({}, {"now": FIRST})))["hosts"] == {}


def test_broken_text_can_still_be_written(rules, tmp_path):
    report = report_of(rules, FIRST, **{"web\udc801": host_facts("api")})
    paths = write_report(report, tmp_path)
    json.loads(paths["json"].read_text(encoding="utf-8"))


def test_reports_are_written_and_latest_points_to_the_last(rules, tmp_path):
    first = report_of(rules, FIRST, web1=host_facts("api"))
    paths = write_report(first, tmp_path / "reports", ["json", "markdown", "html"], None, {"html": ("report.html", lambda report, options: "<html>")})
    assert {name: path.name for name, path in paths.items()} == {"json": "report.json", "markdown": "report.md", "html": "report.html"}
    assert paths["json"].parent.name == "2026-11-23T100000Z"
    assert read_previous(tmp_path / "reports")["generated_at"] == FIRST
    write_report(report_of(rules, SECOND, web1=host_facts()), tmp_path / "reports")
    assert read_previous(tmp_path / "reports")["generated_at"] == SECOND
    again = write_report(report_of(rules, SECOND, web1=host_facts()), tmp_path / "reports")
    assert again["json"].parent.name == "2026-11-23T110000Z-2"
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == ["2026-11-23T100000Z", "2026-11-23T110000Z", "2026-11-23T110000Z-2", "latest"]


def test_reports_are_not_for_everybody(rules, tmp_path):
    paths = write_report(report_of(rules, FIRST, web1=host_facts()), tmp_path)
    assert all(path.stat().st_mode & 0o077 == 0 for path in paths.values())
    assert paths["json"].parent.stat().st_mode & 0o077 == 0


def test_a_report_that_cannot_be_rendered_leaves_latest_alone(rules, tmp_path):
    write_report(report_of(rules, FIRST, web1=host_facts()), tmp_path)

    def broken(report, options):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        write_report(report_of(rules, SECOND, web1=host_facts()), tmp_path, ["json", "html"], None, {"html": ("report.html", broken)})
    assert read_previous(tmp_path)["generated_at"] == FIRST


def test_no_previous_report_is_no_problem(tmp_path):
    assert read_previous(tmp_path) is None
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest" / "report.json").write_text("{")
    assert read_previous(tmp_path) is None


def test_fired_skips_what_did_not_fire(rules):
    report = report_of(rules, FIRST, web1=host_facts("api"))
    assert [(host, finding["rule"]) for host, finding in _report.fired(report)] == [("web1", "container-paused")]


@pytest.mark.parametrize(("language", "words"), [("en", "Or have it done"), ("zh_TW", "也可以交由 Ansible 執行")])
def test_every_form_of_the_report_names_the_command_that_puts_a_finding_right(tmp_path: pathlib.Path, language: str, words: str) -> None:
    arguments = {
        "report_dir": str(tmp_path / "my reports"), "formats": ["json", "markdown", "html"], "language": language, "fail_on": "never", "disabled_rules": [],
        "rule_dirs": [str(ROOT / "roles/diagnose/rules")], "thresholds": {}, "silences": [], "remedies": True, "command_options": "-i 'my hosts.yml' -K",
    }  # fmt: skip
    collected = host_facts()
    collected["facts"]["compose"]["containers"][0].update(status="critical", state="exited", cause={"code": "killed", "confidence": "low", "summary": "x"})
    rows = {"web1": {"reachable": True, "result": collected}}
    diagnosis = Diagnosis(arguments, "1.0.0", datetime.datetime(2026, 11, 26, tzinfo=datetime.timezone.utc))
    written = diagnosis.write(diagnosis.judge(rows))
    report = f"'remediate_from={tmp_path}/my reports/latest/report.json'"
    command = f"ansible-playbook -i 'my hosts.yml' -K stackops.runbook.remediate -b -l web1 -e {report} -e remediate_rules=container-killed"
    finding = next(one for one in written.report["hosts"]["web1"]["findings"] if one["rule"] == "container-killed")
    assert finding["fix"][-1].startswith(words) and finding["fix"][-1].endswith(f"`{command} -e remediate_confirm=true`")
    shown = [line.strip() for line in diagnosis.summary(written, False).splitlines()]
    # What looks like a command is one: each is copied as it stands.
    assert f"$ {command}" in shown and f"$ {command} -e remediate_confirm=true" in shown
    assert not any(line.startswith("$ -") for line in shown)
    assert command in written.paths["markdown"].read_text(encoding="utf-8")
    assert "remediate_rules=container-killed" in written.paths["html"].read_text(encoding="utf-8")
    # A host's name is not taken for a pattern.
    other = next(one for one in diagnosis.judge({"db[1]": rows["web1"]})["hosts"]["db[1]"]["findings"] if one["rule"] == "container-killed")
    assert r"-l '~db\[1\]$' " in other["fix"][-1]
    nothing = Diagnosis({**arguments, "remedies": False}, "1.0.0", datetime.datetime(2026, 11, 26, tzinfo=datetime.timezone.utc)).judge(rows)
    assert not any("ansible-playbook stackops.runbook.remediate" in step for one in nothing["hosts"]["web1"]["findings"] for step in one["fix"])


def judged_against(rules, before, tmp_path, **hosts):
    """Return what becomes of the findings of *before* by a run that is told to compare with it."""
    paths = write_report(before, tmp_path / "before", ["json"])
    arguments = {"rule_dirs": [str(ROOT / "roles/diagnose/rules")], "disabled_rules": [], "thresholds": {}, "silences": [], "language": "en"}
    arguments.update(report_dir=str(tmp_path / "after"), compare_with=str(paths["json"]))
    diagnosis = Diagnosis(arguments, "1.0.0", datetime.datetime(2026, 11, 23, 11, tzinfo=datetime.timezone.utc))
    rows = {name: {"reachable": given is not None, "result": given, "reason": "ssh: timed out"} for name, given in hosts.items()}
    return diagnosis.judge(rows)


def test_what_an_earlier_report_says_is_still_there_gone_or_not_known(rules, tmp_path):
    before = report_of(rules, FIRST, web1=host_facts("api", "db"), web2=host_facts("api"), web3=host_facts("api"))
    after = judged_against(rules, before, tmp_path, web1=host_facts("db"), web2=None)
    assert after["compared_with"] == FIRST
    told = {kind: [(entry["host"], entry["object"]) for entry in entries] for kind, entries in {**after["changes"], "silent": after["not_seen_again"]}.items()}
    assert told == {"new": [], "ongoing": [("web1", "shop/db")], "resolved": [("web1", "shop/api")], "silent": [("", "container-paused"), ("web2", "shop/api")]}


def test_only_what_was_found_is_compared(rules, tmp_path):
    before = report_of(rules, FIRST, web1=host_facts("api", engine="20.10"))
    after = judged_against(rules, before, tmp_path, web1=host_facts("api", engine="27.1.0", image="sha256:b"))
    assert [finding["rule"] for finding in after["hosts"]["web1"]["findings"]] == [finding["rule"] for finding in before["hosts"]["web1"]["findings"]]


def test_a_report_to_compare_with_that_is_none_is_named(rules, tmp_path):
    arguments = {"rule_dirs": [str(ROOT / "roles/diagnose/rules")], "disabled_rules": [], "thresholds": {}, "silences": [], "language": "en"}
    arguments.update(report_dir=str(tmp_path), compare_with=str(tmp_path / "no.json"))
    diagnosis = Diagnosis(arguments, "1.0.0", datetime.datetime(2026, 11, 23, tzinfo=datetime.timezone.utc))
    with pytest.raises(DiagnosisError, match=r"no\.json: no report of a diagnosis to compare with"):
        diagnosis.judge({})
