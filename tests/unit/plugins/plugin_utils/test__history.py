# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is left of each run, which reports may go, and what is never touched."""

from __future__ import annotations

import datetime
import gzip
import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils import _history
from ansible_collections.stackops.runbook.plugins.plugin_utils._history import (
    METRICS,
    FleetMetrics,
    entry_of,
    own_reports,
    read_history,
    remember,
    removable,
    tidy,
)
from ansible_collections.stackops.runbook.plugins.plugin_utils._html_view import history_view
from ansible_collections.stackops.runbook.plugins.plugin_utils._stored import open_report
from ansible_collections.stackops.runbook.tests.support.diagnoses import NOW, diagnosis, recorded
from hypothesis import given, settings
from hypothesis import strategies as st

DAY = datetime.timedelta(days=1)


def a_report(directory: pathlib.Path, moment: datetime.datetime, **files: str) -> pathlib.Path:
    target = directory / moment.strftime("%Y-%m-%dT%H%M%SZ")
    target.mkdir()
    for name, content in (files or {"report.json": '{"schema":1}', "report.md": "#", "report.html": "<html>"}).items():
        (target / name).write_text(content)
    return target


def names(directory: pathlib.Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_runs_in_a_row_leave_a_line_each_and_show_the_last(tmp_path: pathlib.Path) -> None:
    facts = recorded()[2:4]
    for number in range(4):
        judging = diagnosis(tmp_path, 10 * number)
        written = judging.write(judging.judge({f"web{position}": {"reachable": True, "result": given} for position, given in enumerate(facts)}))
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [line["generated_at"][11:16] for line in lines] == ["10:00", "10:10", "10:20", "10:30"]
    report = json.loads(written.paths["json"].read_bytes())
    assert report["history"] == lines
    assert lines[0]["changes"]["new"] > 0 and lines[1]["changes"]["new"] == 0
    assert lines[0]["summary"] == report["summary"] and set(lines[0]["metrics"]) == set(METRICS)
    causes = [finding for row in report["hosts"].values() for finding in row["findings"] if finding["result"] == "fire" and not finding.get("effect_of")]
    assert sum(lines[0]["findings"].values()) == len(causes) + sum(finding["result"] == "fire" for finding in report["fleet_findings"])
    # The two newest reports are whole, the others packed; a packed one is still a report.
    directories = sorted(path for path in tmp_path.iterdir() if path.is_dir() and not path.is_symlink())
    assert [(path / "report.json").exists() for path in directories] == [False, False, True, True]
    assert open_report(directories[0] / "report.json.gz")["hosts"]["web0"]["findings"]
    assert '"history":{"times":[' in written.paths["html"].read_text(encoding="utf-8")


def test_history_lines_that_are_none_are_left_out_and_the_file_stays_bounded(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "history.jsonl"
    good = {"schema": 1, "generated_at": "2026-11-23T10:00:00Z", "summary": {"hosts": 1}, "findings": [], "metrics": None}
    path.write_text("\n".join(["{", "[]", '{"schema":2}', '{"schema":1,"generated_at":"x"}', "[" * 100_000, json.dumps(good)]))
    assert read_history(tmp_path) == [{**good, "findings": {}, "metrics": {}}]
    monkeypatch.setattr(_history, "MAXIMUM_ENTRIES", 3)
    for minute in range(5):
        remember(tmp_path, {**good, "generated_at": f"2026-11-23T11:0{minute}:00Z"})
    assert [entry["generated_at"][14:16] for entry in read_history(tmp_path)] == ["02", "03", "04"]


def test_history_that_cannot_be_written_is_told_and_the_report_is_there(tmp_path: pathlib.Path) -> None:
    (tmp_path / "history.jsonl").mkdir()
    judging = diagnosis(tmp_path)
    written = judging.write(judging.judge({"web1": {"reachable": False, "reason": "gone"}}))
    assert "history.jsonl" in written.problem and "The report is written" in written.problem
    assert json.loads((tmp_path / "latest" / "report.json").read_bytes())["summary"]["unreachable"] == 1


MOMENTS = st.lists(st.integers(0, 400), unique=True, max_size=12)


@given(MOMENTS, st.integers(0, 5), st.integers(0, 200), st.integers(0, 11))
def test_what_stays_is_what_was_asked_for_and_the_latest(days: list[int], keep: int, keep_days: int, latest: int) -> None:
    reports = {f"r{age}": NOW - age * DAY for age in sorted(days)}
    name = list(reports)[latest % len(reports)] if reports else ""
    going = removable(reports, name, keep, keep_days, NOW)
    assert name not in going
    if not keep and not keep_days:
        assert going == []
    staying = [one for one in reports if one not in going]
    if keep:
        assert len(staying) <= keep + 1 and all(one in staying for one in list(reports)[:keep] if not keep_days or NOW - reports[one] <= keep_days * DAY)
    if keep_days:
        assert all(NOW - reports[one] <= keep_days * DAY for one in staying if one != name)


def test_only_reports_of_ours_are_removed(tmp_path: pathlib.Path) -> None:
    old = [a_report(tmp_path, NOW - number * DAY) for number in range(1, 7)]
    (old[2] / "notes.txt").write_text("mine")
    (old[3] / "report.md").unlink()
    (old[3] / "report.md").symlink_to("/etc/hostname")
    a_report(tmp_path, NOW - 30 * DAY).rename(tmp_path / "2026-10-24")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "report.json").write_text("{}")
    (tmp_path / "2020-01-01T000000Z").symlink_to("elsewhere")
    (tmp_path / "2020-01-02T000000Z").mkdir()
    (tmp_path / "2020-01-03T999999Z").mkdir()
    (tmp_path / "latest").symlink_to(old[5].name)
    (tmp_path / "history.jsonl").write_text("")
    before = set(names(tmp_path))
    assert set(own_reports(tmp_path)) == {old[number].name for number in (0, 1, 4, 5)}
    done = tidy(tmp_path, 1, 0, NOW)
    assert done["removed"] == [old[1].name, old[4].name]
    assert before - set(names(tmp_path)) == set(done["removed"])
    assert (tmp_path / "latest" / "report.json").exists()


def test_a_removal_that_was_interrupted_is_finished(tmp_path: pathlib.Path) -> None:
    a_report(tmp_path, NOW).rename(tmp_path / ".removing-2026-11-23T100000Z")
    tidy(tmp_path, 0, 0, NOW)
    assert names(tmp_path) == []


def test_packing_keeps_what_is_in_it_and_is_not_done_twice(tmp_path: pathlib.Path) -> None:
    paths = [a_report(tmp_path, NOW - number * DAY) for number in range(4)]
    (tmp_path / "latest").symlink_to(paths[0].name)
    assert tidy(tmp_path, 0, 0, NOW) == {"removed": [], "packed": [paths[2].name, paths[3].name]}
    assert tidy(tmp_path, 0, 0, NOW) == {"removed": [], "packed": []}
    packed = paths[3] / "report.json.gz"
    assert gzip.decompress(packed.read_bytes()) == b'{"schema":1}' and packed.stat().st_mode & 0o777 == 0o600
    assert names(paths[3]) == ["report.html", "report.json.gz", "report.md"]


def test_check_mode_leaves_older_reports_alone(tmp_path: pathlib.Path) -> None:
    old = a_report(tmp_path, NOW - 10 * DAY)
    for check_mode in (True, False):
        judging = diagnosis(tmp_path, keep_reports=1, check_mode=check_mode)
        written = judging.write(judging.judge({}))
        assert (old.exists(), sorted(written.removed)) == ((True, []) if check_mode else (False, [old.name, "2026-11-23T100000Z"]))


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["sources", "instances", "connections", "used", "errors_per_minute"]), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["logs", "requests", "postgres", "host", "compose"]), ODD))
def test_metrics_of_any_facts_are_numbers_or_none(facts: t.Any) -> None:
    metrics = FleetMetrics()
    metrics.add(facts)
    assert all(value is None or isinstance(value, (int, float)) for value in metrics.view().values())


def test_metrics_of_a_fleet_add_up_or_the_worst_counts() -> None:
    metrics = FleetMetrics()
    for used, percent in ((10, 20.0), (30, 90.0)):
        metrics.add({"postgres": {"instances": [{"connections": {"used": used, "used_percent": percent}}]}})
    metrics.add({})
    assert metrics.view()["connections_used"] == 40 and metrics.view()["connections_used_percent"] == 90.0
    assert metrics.view()["requests"] is None


def test_a_course_needs_two_runs_and_a_run_without_the_number_is_a_gap() -> None:
    entries = [{"generated_at": f"2026-11-23T1{number}:00:00Z", "summary": {"hosts": 2}, "findings": {}, "metrics": {"requests": value}}
               for number, value in enumerate((5, None, 7))]  # fmt: skip
    view = history_view({"history": entries})
    assert view is not None and view["series"] == {"hosts": [2, 2, 2], "requests": [5, None, 7]} and len(view["times"]) == 3
    assert history_view({"history": entries[:1]}) is None and history_view({}) is None and history_view({"history": [None, "x"]}) is None


def test_an_entry_counts_causes_and_their_hosts() -> None:
    cause = {"result": "fire", "severity": "critical", "rule": "a-b"}
    rows = {host: {"findings": [cause, {**cause, "rule": "c-d", "effect_of": ["x"]}, {**cause, "result": "silenced"}]} for host in ("a", "b")}
    entry = entry_of({"generated_at": "t", "summary": {}, "changes": {"new": [1], "ongoing": [], "resolved": []}, "hosts": rows})
    assert entry["findings"] == {"critical": 2, "warning": 0, "info": 0} and entry["rules"] == {"a-b": 2} and entry["changes"]["new"] == 1
    assert len(json.dumps(entry)) < 500 and os.linesep not in json.dumps(entry)
