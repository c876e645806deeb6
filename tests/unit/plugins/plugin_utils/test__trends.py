# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Memory from report to report: growth is told from noise, from warming up and from steps, and samples are carried along."""

from __future__ import annotations

import datetime
import json
import math
import pathlib
import random
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.stackops.runbook.plugins.plugin_utils._trends import MAX_SAMPLES, growth_of, thinned, trends
from hypothesis import given
from hypothesis import strategies as st

ROOT = pathlib.Path(__file__).parents[4]
MEBIBYTE = 1 << 20
HOUR = 3600.0
SERIES = 300


def series(shape: t.Callable[[float, random.Random], float], number: random.Random, count: int, hours: float) -> list[tuple[float, float]]:
    """Return *count* samples at somewhat uneven times; *shape* gives mebibytes for the part of the time that has passed."""
    times = sorted([0.0, 1.0, *(number.random() for dummy in range(count - 2))])
    return [(1.7e9 + part * hours * HOUR, max(1.0, shape(part, number)) * MEBIBYTE) for part in times]


def share_growing(shape: t.Callable[[float, random.Random], float], count: int, hours: float = 12) -> float:
    number = random.Random(f"{count} {hours}")
    return sum(bool(growth_of(series(shape, number, count, hours))["growing"]) for dummy in range(SERIES)) / SERIES


def saw(part: float, number: random.Random) -> float:
    """Grow until a collection or a renewed worker gives all of it back."""
    return 200 + 150 * ((part * 7.3 + 0.4) % 1) + number.gauss(0, 3)


NOISE: dict[str, t.Callable[[float, random.Random], float]] = {
    "nothing but noise": lambda part, number: number.gauss(300, 25),
    "much noise": lambda part, number: number.gauss(300, 120),
    "constant": lambda part, number: 300,
    "a saw": saw,
    "warming up": lambda part, number: 100 + 300 * (1 - math.exp(-12 * part)) + number.gauss(0, 4),
    "a step": lambda part, number: (100 if part < 0.3 else 260) + number.gauss(0, 4),
    "a late step": lambda part, number: (100 if part < 0.6 else 260) + number.gauss(0, 4),
    "rush hours": lambda part, number: 300 + 80 * math.sin(2 * math.pi * 2 * part) + number.gauss(0, 10),
    "a trifle": lambda part, number: 500 + 12 * part + number.gauss(0, 0.5),
    "falling": lambda part, number: 500 - 200 * part + number.gauss(0, 5),
}


@pytest.mark.parametrize("count", [6, 12, MAX_SAMPLES])
@pytest.mark.parametrize("name", NOISE)
def test_what_does_not_grow_is_not_said_to_grow(name: str, count: int) -> None:
    assert share_growing(NOISE[name], count) <= 0.01


LEAKS: dict[str, t.Callable[[float, random.Random], float]] = {
    "a leak": lambda part, number: 200 + 150 * part + number.gauss(0, 6),
    "a leak that does not stop after warming up": lambda part, number: 150 + 60 * (1 - math.exp(-12 * part)) + 400 * part + number.gauss(0, 6),
    "a fast leak": lambda part, number: 100 + 2000 * part + number.gauss(0, 30),
}


@pytest.mark.parametrize("count", [12, MAX_SAMPLES])
@pytest.mark.parametrize("name", LEAKS)
def test_leaks_are_found(name: str, count: int) -> None:
    assert share_growing(LEAKS[name], count) >= 0.97


def test_a_leak_in_a_saw_takes_more_samples() -> None:
    assert share_growing(lambda part, number: 300 * part + 0.3 * saw(part, number), MAX_SAMPLES) >= 0.95


def test_rate_and_amount() -> None:
    found = growth_of([(1.7e9 + number * HOUR, (100 + 10 * number) * MEBIBYTE) for number in range(8)])
    assert found == {"growing": True, "bytes_per_hour": 10 * MEBIBYTE, "grown_bytes": 70 * MEBIBYTE}


@pytest.mark.parametrize(("count", "seconds"), [(5, 3600), (12, 30), (0, 60), (1, 60)])
def test_too_little_is_not_known(count: int, seconds: float) -> None:
    samples = [(1.7e9 + number * seconds, number * 100.0 * MEBIBYTE) for number in range(count)]
    assert growth_of(samples)["growing"] is None


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 1 << 45)), max_size=60))
def test_any_samples_are_judged_and_thinned(samples: list[tuple[int, int]]) -> None:
    ordered = sorted((float(moment), float(value)) for moment, value in samples)
    kept = thinned(ordered)
    assert len(kept) == min(len(ordered), MAX_SAMPLES)
    assert set(kept) <= set(ordered)
    assert (kept[:1], kept[-1:]) == (ordered[:1], ordered[-1:])
    json.dumps(growth_of(ordered), allow_nan=False)


def stamp(hours: float) -> str:
    return (datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(hours=hours)).isoformat().replace("+00:00", "Z")


def facts(mebibytes: t.Any, started: str = stamp(0), state: str = "running") -> dict[str, t.Any]:
    memory = mebibytes * MEBIBYTE if mebibytes is not None else None
    container = {"project": "shop", "service": "api", "name": "shop-api-1", "state": state, "started_at": started, "stats": {"memory_bytes": memory}}
    return {"compose": {"containers": [{**container, "limits": {"memory_bytes": 400 * MEBIBYTE}}]}}


def carried(values: t.Iterable[t.Any], previous: t.Any = None, begin: float = 1) -> dict[str, t.Any]:
    for number, value in enumerate(values):
        previous = json.loads(json.dumps(trends(facts(value), stamp(begin + number), previous)))
    return previous


def test_every_report_carries_the_samples_of_those_before() -> None:
    found = carried(range(100, 200, 10))
    (row,) = found["memory"]
    assert (row["growing"], row["sample_count"], row["span_seconds"], row["bytes_per_hour"]) == (True, 10, 9 * 3600, 10 * MEBIBYTE)
    assert row["seconds_to_limit"] == 21 * 3600
    assert row["samples"][0] == {"at": "2026-01-01T01:00:00Z", "memory_bytes": 100 * MEBIBYTE}
    assert found["summary"] == "1 of 1 containers keep taking more memory"
    assert len(carried(range(100, 200))["memory"][0]["samples"]) == MAX_SAMPLES


def test_of_the_samples_of_a_run_the_lowest_counts() -> None:
    given_facts = facts(300)
    given_facts["compose"]["containers"][0]["stats"]["memory_lowest_bytes"] = 200 * MEBIBYTE
    assert trends(given_facts, stamp(1), None)["memory"][0]["samples"][0]["memory_bytes"] == 200 * MEBIBYTE


def test_a_restart_begins_anew() -> None:
    before = carried(range(100, 200, 10))
    (row,) = trends(facts(50, started=stamp(12)), stamp(13), before)["memory"]
    assert (row["growing"], row["sample_count"]) == (None, 1)


def test_what_does_not_run_or_has_no_number_has_no_row() -> None:
    assert trends(facts(100, state="exited"), stamp(1), None)["memory"] == []
    assert trends(facts(None), stamp(1), None)["memory"] == []
    assert trends({}, stamp(1), None)["memory"] == []


def test_the_same_facts_again_are_no_new_sample() -> None:
    before = carried([100, 110])
    (row,) = trends(facts(110), stamp(2), before)["memory"]
    assert row["sample_count"] == 2


@pytest.mark.parametrize("previous", [7, {"memory": 7}, {"memory": [7, {}, {"samples": 3}]}, {"memory": [{"samples": [{"at": "x"}, {"at": 1}, 2]}]}])
def test_a_damaged_report_is_as_none(previous: t.Any) -> None:
    assert trends(facts(100), stamp(1), previous)["memory"][0]["sample_count"] == 1


def test_a_finding_comes_of_reports_that_lie_in_one_directory(tmp_path: pathlib.Path) -> None:
    arguments = {
        "report_dir": str(tmp_path), "formats": ["json"], "language": "en", "fail_on": "never", "rule_dirs": [str(ROOT / "roles/diagnose/rules")],
        "disabled_rules": [], "thresholds": {}, "silences": [],
    }  # fmt: skip
    fired = []
    for number in range(8):
        moment = datetime.datetime(2026, 1, 1, number + 1, tzinfo=datetime.timezone.utc)
        diagnosis = Diagnosis(arguments, "1.0.0", moment)
        collected = {"schema": 1, "host": {"collected_at": stamp(number + 1)}, "facts": facts(100 + 20 * number)}
        report = diagnosis.write(diagnosis.judge({"web1": {"reachable": True, "result": collected}})).report
        findings = [finding for finding in report["hosts"]["web1"]["findings"] if finding["rule"] == "container-memory-growing"]
        fired.append([finding["object"] for finding in findings if finding["result"] == "fire"])
        assert "trends" not in collected["facts"]
    # Six reports are the fewest that can tell.
    assert fired == [[], [], [], [], [], ["shop/api"], ["shop/api"], ["shop/api"]]
    assert findings[0]["title"] == "shop/api keeps taking more memory: 140 MiB in 7 h"
    nothing = Diagnosis(arguments, "1.0.0", moment).judge({"web1": {"reachable": True, "result": {"schema": 1, "host": {}, "facts": {}}}})
    assert nothing["hosts"]["web1"]["status"] == "unknown"


def test_on_a_real_host_only_the_leak_was_found() -> None:
    recorded = json.loads((ROOT / "tests/unit/fixtures/facts/memory-growth.json").read_text(encoding="utf-8"))["facts"]["trends"]["memory"]
    assert {row["service"]: row["growing"] for row in recorded} == {"leaking": True, "breathing": False, "warming": False}
    for row in recorded:
        samples = [(datetime.datetime.fromisoformat(one["at"].replace("Z", "+00:00")).timestamp(), one["memory_bytes"]) for one in row["samples"]]
        assert growth_of(samples)["growing"] == row["growing"]
