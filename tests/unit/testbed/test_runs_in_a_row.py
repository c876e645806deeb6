# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs one after the other, as people make them: over some hosts, without rights, over a bundle. Nothing is new or resolved by not looking."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils._baseline import FILE_NAME, FORGET_DAYS, Baseline
from ansible_collections.stackops.runbook.tests.support.diagnoses import diagnosis
from faultlib import recordings

RECORDED = recordings.load("shop")
Json = dict[str, t.Any]


def row_of(case: str, host: str) -> Json:
    """Return what came from a real host with the fault of *case*, now called *host*."""
    recording = RECORDED[case]
    return {"reachable": True, "result": {"schema": 1, "host": {**recording.host, "name": host, "collected_at": None}, "facts": recording.facts}}


WELL, STOPPED, BLIND, SLOW = "crawler", "database-stopped", "user-without-docker", "slow-query"
GONE = {"reachable": False, "reason": "ssh: connect to host port 22: Connection timed out"}
FULL = {"one": row_of(STOPPED, "one"), "two": row_of(SLOW, "two")}


class Runs:
    """Diagnoses into one directory, ten minutes after each other."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.count = 0

    def run(self, rows: t.Mapping[str, Json], recorded_facts: str = "", minutes: int = 10, **arguments: t.Any) -> Json:
        self.count += 1
        judging = diagnosis(self.directory, self.count * minutes, formats=["json"], **arguments)
        written = judging.write(judging.judge(rows, recorded_facts))
        report: Json = json.loads(written.paths["json"].read_bytes())
        self.shown = judging.summary(written, False)
        return report


@pytest.fixture
def runs(tmp_path: pathlib.Path) -> Runs:
    return Runs(tmp_path / "reports")


def told(report: Json, kind: str) -> set[tuple[str, str]]:
    entries = report["not_seen_again"] if kind == "not_seen_again" else report["changes"][kind]
    return {(entry["host"], entry["rule"]) for entry in entries}


def since(report: Json, host: str) -> dict[str, str]:
    return {finding["rule"]: finding["since"] for finding in report["hosts"][host]["findings"] if finding["result"] == "fire"}


def test_the_first_run_has_nothing_to_compare_with_and_does_not_say_new(runs: Runs) -> None:
    report = runs.run(FULL)
    assert ("one", "database-down") in told(report, "new")
    assert " new" not in runs.shown.splitlines()[0]
    runs.run(FULL)
    assert " new" not in runs.shown.splitlines()[0]


def test_a_run_over_some_hosts_leaves_the_others_as_they_were(runs: Runs) -> None:
    first = runs.run(FULL)
    some = runs.run({"two": FULL["two"]})
    assert told(some, "new") == told(some, "resolved") == set()
    again = runs.run(FULL)
    assert told(again, "new") == told(again, "resolved") == set()
    assert since(again, "one") == since(first, "one")


def test_a_host_that_did_not_answer_for_once_has_no_news_afterwards(runs: Runs) -> None:
    first = runs.run(FULL)
    gap = runs.run({**FULL, "one": GONE})
    assert told(gap, "resolved") == set()
    assert ("one", "database-down") in told(gap, "not_seen_again")
    assert "not looked at again" in runs.shown.splitlines()[0]
    again = runs.run(FULL)
    assert told(again, "new") == told(again, "not_seen_again") == set()
    assert since(again, "one") == since(first, "one")


def test_without_rights_nothing_is_resolved(runs: Runs) -> None:
    first = runs.run(FULL)
    blind = runs.run({**FULL, "one": row_of(BLIND, "one")})
    assert "database-down" not in {rule for dummy, rule in told(blind, "resolved")}
    assert ("one", "database-down") in told(blind, "not_seen_again")
    again = runs.run(FULL)
    assert {rule for dummy, rule in told(again, "new")} == set()
    assert since(again, "one")["database-down"] == since(first, "one")["database-down"]


def test_what_was_looked_at_and_is_gone_is_resolved_once(runs: Runs) -> None:
    runs.run(FULL)
    runs.run({"two": FULL["two"]})
    report = runs.run({**FULL, "one": row_of(WELL, "one")})
    assert ("one", "database-down") in told(report, "resolved")
    assert told(runs.run({**FULL, "one": row_of(WELL, "one")}), "resolved") == set()


def test_a_bundle_is_none_of_the_series(runs: Runs) -> None:
    runs.run(FULL)
    latest = (runs.directory / "latest").resolve()
    kept = (runs.directory / FILE_NAME).read_bytes(), (runs.directory / "history.jsonl").read_bytes()
    report = runs.run({"host1": FULL["one"]}, recorded_facts="bundle.tar.gz")
    assert report["compared_with"] is None
    assert (runs.directory / "latest").resolve() == latest
    assert ((runs.directory / FILE_NAME).read_bytes(), (runs.directory / "history.jsonl").read_bytes()) == kept
    assert told(runs.run(FULL), "new") == set()


def test_reports_over_bundles_alone_are_a_series(runs: Runs) -> None:
    runs.run({"host1": FULL["one"]}, recorded_facts="bundle.tar.gz")
    second = runs.run({"host1": row_of(WELL, "host1")}, recorded_facts="other.tar.gz")
    assert ("host1", "database-down") in told(second, "resolved")


def test_what_is_compared_over_a_gap_are_the_facts_of_the_last_look(runs: Runs) -> None:
    rows = {"one": row_of(WELL, "one")}
    runs.run(rows)
    runs.run({"one": GONE})
    runs.run({"two": FULL["two"]})
    runs.run({"two": FULL["two"]})
    known = Baseline.read(runs.directory, json.loads((runs.directory / "latest" / "report.json").read_bytes()))
    assert known.row("one")["facts"]["compose"]["containers"] == rows["one"]["result"]["facts"]["compose"]["containers"]
    assert known.row("nobody") == {} and known.open("nobody") == []


@pytest.mark.parametrize("content", [b"[" * 5000, b'{"schema": 2, "hosts": {}}', None])
def test_without_a_usable_file_the_report_before_counts(runs: Runs, content: bytes | None) -> None:
    runs.run(FULL)
    path = runs.directory / FILE_NAME
    path.unlink() if content is None else path.write_bytes(content)
    assert told(runs.run(FULL), "new") == set()


def test_a_file_that_somebody_changed_leads_nowhere(runs: Runs) -> None:
    runs.run(FULL)
    path = runs.directory / FILE_NAME
    for report in ("../../etc", "..", 7):
        known = json.loads(path.read_bytes())
        known["hosts"]["one"] = {"report": report, "findings": [1, {"id": []}], "at": 7}
        path.write_text(json.dumps(known), "utf-8")
        runs.run(FULL)


def test_a_host_that_was_not_seen_for_months_is_forgotten(runs: Runs) -> None:
    runs.run(FULL)
    runs.count = 0
    runs.run({"two": FULL["two"]}, minutes=60 * 24 * (FORGET_DAYS + 2))
    assert set(json.loads((runs.directory / FILE_NAME).read_bytes())["hosts"]) == {"", "two"}
