# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reports of slices as one: as the whole run's, the newest row, what cannot be used, and once only."""

from __future__ import annotations

import gzip
import json
import pathlib
import shutil
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils._diagnosis import DiagnosisError
from ansible_collections.stackops.runbook.plugins.plugin_utils._merge import NOT_MERGED, read_inputs, row_problem
from ansible_collections.stackops.runbook.plugins.plugin_utils._publish import Written
from ansible_collections.stackops.runbook.tests.support.diagnoses import diagnosis, recorded, without_times
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Json = dict[str, t.Any]

ROWS: dict[str, Json] = {f"web{number:02d}": {"reachable": True, "result": facts} for number, facts in enumerate(recorded()[:7])}
ROWS["db99"] = {"reachable": False, "reason": "ssh: timed out"}


def run(directory: pathlib.Path, rows: Json, minutes: int = 0, **arguments: t.Any) -> Written:
    judging = diagnosis(directory, minutes, formats=["json"], **arguments)
    return judging.write(judging.judge(rows))


def merged(directory: pathlib.Path, inputs: t.Sequence[t.Union[str, pathlib.Path]], minutes: int = 60, **arguments: t.Any) -> t.Optional[Written]:
    merging = diagnosis(directory, minutes, **arguments)
    report = merging.merge([str(path) for path in inputs])
    return None if report is None else merging.write(report)


def read(written: t.Optional[Written]) -> Json:
    assert written is not None
    return json.loads(written.paths["json"].read_bytes())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Json:
    return read(run(tmp_path_factory.mktemp("whole"), ROWS))


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.integers(0, 3), min_size=len(ROWS), max_size=len(ROWS)), st.randoms(use_true_random=False))
def test_slices_merged_are_the_report_of_the_whole_run(tmp_path_factory: pytest.TempPathFactory, whole: Json, slices: list[int], rng: t.Any) -> None:
    directory = tmp_path_factory.mktemp("slices")
    inputs = []
    for number in set(slices):
        part = {host: row for host, where in zip(ROWS, slices) if where == number for row in [ROWS[host]]}
        inputs.append(run(directory / str(number), part).paths["json"])
    rng.shuffle(inputs)
    report = read(merged(directory / "merged", inputs, formats=["json"]))
    assert without_times(report) == without_times(whole)
    assert report["generated_at"] == whole["generated_at"]
    assert len(report["merged"]["inputs"]) == len(inputs) and report["merged"]["overlaps"] == [] == report["merged"]["problems"]


def test_the_same_inputs_give_no_second_report(tmp_path: pathlib.Path) -> None:
    run(tmp_path / "a", {"web00": ROWS["web00"]})
    assert merged(tmp_path / "merged", [tmp_path / "a"]) is not None
    before = sorted(path.name for path in (tmp_path / "merged").iterdir())
    assert merged(tmp_path / "merged", [tmp_path / "a"], 120) is None
    # A copy elsewhere is the same, another threshold is not.
    shutil.copytree(tmp_path / "a", tmp_path / "copy", symlinks=True)
    assert merged(tmp_path / "merged", [tmp_path / "copy"], 120) is None
    assert sorted(path.name for path in (tmp_path / "merged").iterdir()) == before
    assert merged(tmp_path / "merged", [tmp_path / "a"], language="zh_TW") is not None


def test_check_mode_says_what_it_would_do_and_writes_nothing(tmp_path: pathlib.Path) -> None:
    run(tmp_path / "a", {"web00": ROWS["web00"], "db99": ROWS["db99"]})
    report = diagnosis(tmp_path / "merged", check_mode=True).merge([str(tmp_path / "a")])
    assert report is not None and report["summary"]["hosts"] == 2
    assert not (tmp_path / "merged").exists()


def test_of_a_host_in_several_reports_the_newest_counts_and_it_is_said(tmp_path: pathlib.Path) -> None:
    old = run(tmp_path / "old", {"web00": ROWS["db99"], "web01": ROWS["web01"]})
    new = run(tmp_path / "new", {"web00": ROWS["web00"]}, 5)
    written = merged(tmp_path / "merged", [old.directory, new.directory])
    report = read(written)
    assert report["hosts"]["web00"]["status"] != "unreachable" and set(report["hosts"]) == {"web00", "web01"}
    assert report["merged"]["overlaps"] == [{"host": "web00", "kept": str(new.paths["json"]), "left": [str(old.paths["json"])]}]
    assert report["generated_at"] == "2026-11-23T10:05:00Z"
    assert "1 hosts were in several of them, the newest counts: web00" in diagnosis(tmp_path).summary(written, False)
    assert "newest counts" in written.paths["markdown"].read_text(encoding="utf-8")
    assert '"merged":{"inputs":2,"overlaps":1,"hosts":["web00"]}' in written.paths["html"].read_text(encoding="utf-8")


def test_changes_are_against_the_merged_report_before(tmp_path: pathlib.Path) -> None:
    first = run(tmp_path / "a", {"web00": ROWS["web00"], "web02": ROWS["web02"]})
    before = read(merged(tmp_path / "merged", [first.directory]))
    second = run(tmp_path / "b", {"web00": ROWS["web00"], "web02": ROWS["web03"]}, 30)
    after = read(merged(tmp_path / "merged", [second.directory], 90))
    assert after["compared_with"] == before["generated_at"]
    new, ongoing, resolved = ({(entry["host"], entry["id"]) for entry in after["changes"][kind]} for kind in ("new", "ongoing", "resolved"))
    known = {(entry["host"], entry["id"]) for entry in before["changes"]["new"]}
    assert {host for host, dummy in new} == {"web02"} and ongoing <= known and resolved <= known and not resolved & ongoing
    assert [entry["generated_at"] for entry in after["history"]] == [before["generated_at"], after["generated_at"]]


def broken(path: pathlib.Path, content: bytes) -> pathlib.Path:
    path.write_bytes(content)
    return path


def test_what_cannot_be_used_is_told_with_its_reason_and_stops_nothing(tmp_path: pathlib.Path) -> None:
    good = run(tmp_path / "good", {"web00": ROWS["web00"]}).paths["json"]
    text = good.read_bytes()
    inputs = {
        "cut.json": (text[: len(text) // 2], "damaged"),
        "other.json": (text.replace(b'"schema":1', b'"schema":2', 1), "its schema is 2"),
        "list.json": (b"[]", "not a mapping"),
        "deep.json": (b"[" * 100_000, "damaged"),
        "empty.json": (b"", "damaged"),
        "binary.json.gz": (b"\x1f\x8b\x08\x00garbage", "damaged"),
        "half.json.gz": (gzip.compress(text)[:-20], "damaged"),
        "none.json": (b'{"schema":1,"generated_at":"soon","hosts":{}}', "no report"),
    }
    paths = [broken(tmp_path / name, content) for name, (content, dummy) in inputs.items()]
    written = merged(tmp_path / "merged", [good, *paths, tmp_path / "nowhere"])
    report = read(written)
    reasons = {pathlib.Path(entry["path"]).name: entry["reason"] for entry in report["merged"]["problems"]}
    assert set(reasons) == {*inputs, "nowhere"}
    assert all(part in reasons[name] for name, (dummy, part) in inputs.items()), reasons
    told = [finding for finding in report["fleet_findings"] if finding["rule"] == NOT_MERGED]
    assert len(told) == len(reasons) and all(finding["result"] == "unknown" for finding in told)
    assert list(report["hosts"]) == ["web00"]
    assert "could not be merged" in written.paths["html"].read_text(encoding="utf-8")
    assert "could not be merged" in written.paths["markdown"].read_text(encoding="utf-8")
    assert "other.json" in diagnosis(tmp_path).summary(written, False)


def test_nothing_to_merge_is_an_error_with_every_reason(tmp_path: pathlib.Path) -> None:
    (tmp_path / "empty").mkdir()
    bad = broken(tmp_path / "bad.json", b"{")
    for inputs, part in (([tmp_path / "empty", bad], "no report in this directory"), ([], "merge_reports_from")):
        with pytest.raises(DiagnosisError, match=part):
            diagnosis(tmp_path / "merged").merge([str(path) for path in inputs])


def test_a_directory_of_slices_means_the_latest_report_of_each(tmp_path: pathlib.Path) -> None:
    for number in (1, 2):
        run(tmp_path / "slices" / f"job{number}", {f"web0{number}": ROWS["db99"]})
        run(tmp_path / "slices" / f"job{number}", {f"web0{number}": ROWS[f"web0{number}"]}, 10)
    loose = run(tmp_path / "elsewhere", {"web03": ROWS["web03"]})
    (tmp_path / "slices" / "extra.json.gz").write_bytes(gzip.compress(loose.paths["json"].read_bytes()))
    (tmp_path / "slices" / "notes.txt").write_text("not a report")
    inputs = read_inputs([tmp_path / "slices", tmp_path / "slices" / "job1"])
    assert len(inputs.usable) == 3 and not inputs.problems
    report = read(merged(tmp_path / "merged", [tmp_path / "slices"]))
    assert set(report["hosts"]) == {"web01", "web02", "web03"} and report["summary"]["unreachable"] == 0


def test_a_report_of_another_version_of_the_collection_is_accepted(tmp_path: pathlib.Path) -> None:
    path = run(tmp_path / "a", {"web00": ROWS["web00"]}).paths["json"]
    # As another tool writes it: not one line for each host.
    report = json.loads(path.read_bytes())
    path.write_text(json.dumps({**report, "collection_version": "0.9.1"}, indent=2))
    after = read(merged(tmp_path / "merged", [path]))
    assert after["merged"]["inputs"][0]["collection_version"] == "0.9.1" and after["collection_version"] == "1.0.0"


ODD = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=6)
    | st.lists(st.none(), max_size=2)
    | st.dictionaries(st.text(max_size=3), st.none(), max_size=2)
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_no_row_whatever_is_in_it_stops_the_others(tmp_path_factory: pytest.TempPathFactory, whole: Json, data: st.DataObject) -> None:
    report = json.loads(json.dumps({**whole, "hosts": {host: whole["hosts"][host] for host in ("web00", "web02")}}))
    row = report["hosts"]["web02"]
    place = data.draw(
        st.sampled_from([row, *row["findings"][:2], row["facts"], *[envelope for envelope in row["facts"].values() if isinstance(envelope, dict)]])
    )
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(ODD)
    directory = tmp_path_factory.mktemp("odd")
    path = broken(directory / "report.json", json.dumps(report).encode())
    after = read(merged(directory / "merged", [path], formats=["json", "markdown"]))
    assert after["hosts"]["web00"] == whole["hosts"]["web00"]
    assert row_problem(after["hosts"]["web02"]) == ""


def test_texts_of_a_strange_report_do_nothing_to_a_terminal(tmp_path: pathlib.Path, whole: Json) -> None:
    report = json.loads(json.dumps({**whole, "hosts": {"web\x1b[2J": whole["hosts"]["web02"]}}))
    for finding in report["hosts"]["web\x1b[2J"]["findings"]:
        finding.update(title="\x1b]0;owned\x07" + finding["title"], cause="\x1b[2Jx", fix=["\u202e`rm\x00 x`"])
    written = merged(tmp_path / "merged", [broken(tmp_path / "report.json", json.dumps(report).encode())])
    shown = diagnosis(tmp_path).summary(written, False)
    assert not any(ord(character) < 32 and character != "\n" for character in shown) and "\u202e" not in shown
    assert "\x1b" not in written.paths["markdown"].read_text(encoding="utf-8")


def test_silences_of_the_slices_hold_in_the_whole(tmp_path: pathlib.Path) -> None:
    silence = {"rule": "*", "object": "*", "host": "web02", "reason": "being rebuilt", "expires": "never"}
    slices = [run(tmp_path / "a", {"web02": ROWS["web02"]}, silences=[silence]).directory, run(tmp_path / "b", {"web03": ROWS["web03"]}).directory]
    report = read(merged(tmp_path / "merged", slices))
    assert [entry["reason"] for entry in report["silences"]] == ["being rebuilt"]
    assert {finding["result"] for finding in report["hosts"]["web02"]["findings"]} <= {"silenced", "unknown"}
