# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of a report gets into the page, and in which order."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import yaml
from ansible_collections.stackops.runbook.plugins.plugin_utils import _html_tables
from ansible_collections.stackops.runbook.plugins.plugin_utils._html_tables import FACTS, TABLES, lookup, table_rows
from ansible_collections.stackops.runbook.plugins.plugin_utils._html_view import FindingRows, Timeline, clean, collectors_of, epoch, host_details, index_view
from ansible_collections.stackops.runbook.tests.support.fleet import NOW, make_facts, make_report
from hypothesis import given
from hypothesis import strategies as st

Json = t.Any
SCHEMA = yaml.safe_load((pathlib.Path(_html_tables.__file__).parents[2] / "roles" / "diagnose" / "files" / "facts_schema.yml").read_text(encoding="utf-8"))


def example(schema: Json) -> Json:
    """Return facts that have a value for every leaf of *schema*."""
    if isinstance(schema, str):
        kind = schema.split(":")[0].rstrip("?")
        return {"string": "word", "integer": 7, "number": 7.5, "boolean": True, "time": "2026-11-23T03:00:00Z"}[kind]
    facts = {}
    for key, below in schema.items():
        if key.endswith("[]"):
            facts[key[:-2]] = [example(below)]
        elif key.endswith("{}"):
            facts[key[:-2]] = {"key": example(below)}
        else:
            facts[key] = example(below)
    return facts


def conforms(facts: Json, schema: Json, path: str = "") -> list[str]:
    """Return what in *facts* is not as *schema* says."""
    if isinstance(schema, str):
        kind, nullable = schema.split(":")[0].rstrip("?"), schema.split(":")[0].endswith("?")
        types = {"string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "time": (str,)}[kind]
        fits = (facts is None and nullable) or (isinstance(facts, types) and (kind == "boolean" or not isinstance(facts, bool)))
        return [] if fits else [f"{path}: {facts!r} is no {schema.split(':')[0]}"]
    wrong = []
    for key, value in facts.items():
        if key in schema:
            wrong += conforms(value, schema[key], f"{path}.{key}") if value is not None else []
        elif f"{key}[]" in schema:
            wrong += [problem for element in value for problem in conforms(element, schema[f"{key}[]"], f"{path}.{key}[]")]
        elif f"{key}{{}}" in schema:
            wrong += [problem for element in value.values() for problem in conforms(element, schema[f"{key}{{}}"], f"{path}.{key}")]
        elif key not in ("status", "summary", "metrics", "errors"):
            wrong.append(f"{path}.{key} is not in the schema")
    return wrong


@pytest.mark.parametrize("number", range(14))
def test_made_up_facts_are_as_the_schema_says(number: int) -> None:
    facts = make_facts(number)
    assert conforms(facts["host"], SCHEMA["host"]) == []
    for name, collector in facts["facts"].items():
        assert conforms(collector, SCHEMA["collectors"][name], name) == []


EVERYTHING = {
    **{name: {**example(collector), "errors": [{"source": "a", "reason": "b", "hint": "c"}]} for name, collector in SCHEMA["collectors"].items()},
    "meta": example(SCHEMA["host"]),
}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_column_is_a_fact_of_the_schema(table: _html_tables.Table) -> None:
    rows = table_rows(table, EVERYTHING)
    assert rows, "the table's rows are not where the schema has them"
    missing = [column.label for column, value in zip(table.columns, rows[0]) if value is None]
    assert not missing


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.label)
def test_every_fact_of_the_host_is_in_the_schema(fact: _html_tables.Fact) -> None:
    assert lookup(EVERYTHING, fact.path) is not None


def test_every_kind_of_column_is_known() -> None:
    assert {column.kind for table in TABLES for column in table.columns} | {fact.kind for fact in FACTS} <= set(_html_tables.KINDS)


def test_an_unreachable_host_is_a_row_with_its_reason() -> None:
    index, details = index_view(make_report(14), NOW, "en")
    position, row = next((position, host) for position, host in enumerate(index["hosts"]) if host["status"] == "unreachable")
    assert "Connection timed out" in row["reason"]
    assert details[position] is None


# Findings


def finding(identity: str, effects: t.Sequence[str] = (), result: str = "fire", severity: str = "critical", **more: t.Any) -> Json:
    return {"id": identity, "rule": f"rule-{identity}", "title": f"title {identity}", "severity": severity, "result": result, "effects": list(effects), **more}


def rows_of(findings: list[Json], **report: t.Any) -> FindingRows:
    return FindingRows({"hosts": {"a": {"findings": findings}}, **report}, ["a"])


def tree(rows: FindingRows) -> list[tuple[str, list[str]]]:
    return [(rows.rows[root]["id"], [rows.rows[effect]["id"] for effect in rows.rows[root].get("effects", [])]) for root in rows.roots]


def test_effects_are_under_their_cause_and_not_beside_it() -> None:
    assert tree(rows_of([finding("symptom"), finding("cause", ["symptom"])])) == [("cause", ["symptom"])]


def test_an_effect_of_two_causes_is_under_both_and_in_the_page_once() -> None:
    rows = rows_of([finding("one", ["both"]), finding("two", ["both"]), finding("both")])
    assert tree(rows) == [("one", ["both"]), ("two", ["both"])]
    assert len(rows.rows) == 3


def test_a_chain_is_flat_under_its_root() -> None:
    assert tree(rows_of([finding("a", ["b"]), finding("b", ["c"]), finding("c")])) == [("a", ["b", "c"])]


def test_what_fired_is_not_hidden_under_what_is_silenced() -> None:
    assert sorted(tree(rows_of([finding("known", ["other"], result="silenced"), finding("other")]))) == [("known", []), ("other", [])]


def test_what_passed_is_not_in_the_page() -> None:
    assert tree(rows_of([finding("fine", result="pass")])) == []


def test_worst_first_then_what_explains_most() -> None:
    findings = [
        finding("info", severity="info"),
        finding("warning", severity="warning"),
        finding("alone"),
        finding("hides-critical", ["effect"], severity="warning"),
        finding("effect"),
    ]
    assert [root for root, dummy in tree(rows_of(findings))] == ["hides-critical", "alone", "warning", "info"]


@given(
    st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=10),
    st.lists(st.sampled_from(["fire", "silenced", "unknown"]), min_size=10, max_size=10),
)
def test_every_finding_is_shown_whatever_explains_what(graph: list[list[int]], results: list[str]) -> None:
    findings = [finding(str(number), [str(effect) for effect in effects], result=results[number]) for number, effects in enumerate(graph)]
    shown = {name for root, effects in tree(rows_of(findings)) for name in (root, *effects)}
    assert shown == {str(number) for number in range(len(graph))}


def test_changes_mark_what_is_new_and_ongoing() -> None:
    changes = {"new": [{"id": "a"}], "ongoing": ["b"], "resolved": [{"id": "c", "host": "a", "title": "gone"}]}
    rows = rows_of([finding("a"), finding("b")], changes=changes)
    assert [row["change"] for row in rows.rows] == ["new", "ongoing"]
    report = {**make_report(2), "changes": changes}
    assert index_view(report, NOW, "en")[0]["resolved"][0]["title"] == "gone"


def test_why_something_is_silenced_is_kept() -> None:
    silence = {"reason": "known", "expires": "2026-12-31T00:00:00Z"}
    rows = rows_of([finding("a", result="silenced", silence=silence)])
    assert rows.strings.all[rows.rows[0]["reason"]] == "known · 2026-12-31T00:00:00Z"


# Charts


def minutes(*errors: int, start: int = 1_700_000_040) -> list[Json]:
    from ansible_collections.stackops.runbook.plugins.module_utils._envelope import rfc3339

    return [{"minute": rfc3339(start + 60 * number), "records": 10, "errors": count} for number, count in enumerate(errors)]


def test_timeline_adds_up_sources_minute_by_minute() -> None:
    timeline = Timeline()
    timeline.add(("a",), minutes(1, 0, 2))
    timeline.add(("b",), minutes(5, start=1_700_000_040 + 60))
    view = timeline.view(5)
    assert view is not None
    assert view["errors"] == [1, 5, 2]
    assert view["start"] == 1_700_000_040 and view["step"] == 60
    assert [(source["name"], source["total"]) for source in view["sources"]] == [(["b"], 5), (["a"], 3)]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=1500))
def test_a_long_timeline_is_in_steps_and_loses_nothing(errors: list[int]) -> None:
    timeline = Timeline()
    timeline.add(("a",), minutes(*errors))
    view = timeline.view(5)
    assert view is not None
    assert sum(view["errors"]) == sum(errors)
    assert sum(view["records"]) == 10 * len(errors)
    assert len(view["errors"]) <= 360


def test_buckets_without_a_time_are_left_out() -> None:
    timeline = Timeline()
    timeline.add(("a",), [{"minute": None, "errors": 3}, {"minute": "yesterday", "errors": 3}, {"errors": -1}])
    assert timeline.view(5) is None


def test_the_fleet_shows_its_slowest() -> None:
    report = make_report(14)
    trends = index_view(report, NOW, "en")[0]["trends"]
    assert trends["queries"][0]["mean"] == 1843.7
    assert trends["queries"] == sorted(trends["queries"], key=lambda query: -query["mean"])
    assert len(trends["endpoints"]) == 10
    assert trends["timeline"]["sources"][0]["total"] > 300


def test_details_of_a_host_have_its_last_log_lines() -> None:
    report = make_report(1)
    details = host_details(collectors_of(next(iter(report["hosts"].values()))))
    assert details["lines"][0][1][-1] == "LOG:  database system is shut down"


# Texts


@given(st.text(st.characters(exclude_categories=())))
def test_clean_text_can_be_written_and_stays_clean(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode("utf-8")
    assert clean(cleaned) == cleaned
    assert len(cleaned) == len(text)


def test_clean_keeps_what_people_write() -> None:
    text = "資料庫 is down:\n\tπ ≈ 3.14 🙂 café"
    assert clean(text) == text
    assert clean({"a\x1b": [text, 1, None, float("inf")]}) == {"a\ufffd": [text, 1, None, None]}


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        ("2026-11-23T03:12:00Z", 1795403520),
        ("2026-11-23T03:12:00.250Z", 1795403520),
        ("2026-11-23T11:12:00+08:00", 1795403520),
        ("soon", None),
        (None, None),
        (5, None),
    ],
)
def test_epoch(moment: Json, seconds: t.Optional[int]) -> None:
    assert epoch(moment) == seconds
