# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Any text in any string of the facts and the findings: the page, the Markdown and the terminal show it, and it does nothing there."""

from __future__ import annotations

import json
import pathlib
import random
import re
import typing as t
from html.parser import HTMLParser

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils._html import render_html
from ansible_collections.stackops.runbook.plugins.plugin_utils._markdown import render_markdown
from ansible_collections.stackops.runbook.plugins.plugin_utils._report import new_directory
from ansible_collections.stackops.runbook.plugins.plugin_utils._terminal import render_terminal
from ansible_collections.stackops.runbook.tests.support.diagnoses import NOW, diagnosis, recorded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Json = t.Any

NASTY = st.sampled_from(
    [
        "</script><script>x()</script>",
        "<!--",
        "]]>",
        "<img src=x onerror=x()>",
        '" onload="x()',
        "javascript:x()",
        "\x1b[2J\x1b]0;x\x07",
        "\x9b31m",
        "\u202e",
        "| a | b |\n|---|---|",
        "\n# heading\n",
        "```\n",
        "`x`",
        "[a](http://x)",
        "\\",
        "\\|",
        "{{ 7*7 }}",
        "${x}",
        "$index",
        "../../x",
        "\x00",
        "\ud800",
        "\r\n- x",
    ]
)
TEXT = st.text(st.characters(exclude_categories=()), max_size=20) | NASTY | st.builds("{}{}".format, NASTY, NASTY)

#: Words of the schema, which are not texts that anybody outside chooses.
FIXED = frozenset(
    ("status", "severity", "result", "category", "confidence", "id", "effects", "effect_of", "since", "generated_at", "language", "what", "compared_with")
)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Json:
    """A report of hosts with trouble, compared with one before, as its file has it."""
    directory = tmp_path_factory.mktemp("reports")
    rows = {f"web{number}": {"reachable": True, "result": facts} for number, facts in enumerate(recorded()[2:6])}
    for minutes, given_rows in ((0, {**rows, "web0": rows["web3"]}), (5, {**rows, "gone": {"reachable": False, "reason": "ssh"}})):
        judging = diagnosis(directory, minutes, formats=["json"])
        written = judging.write(judging.judge(given_rows))
    report = json.loads(written.paths["json"].read_bytes())
    assert any(row.get("what_changed") for row in report["hosts"].values())
    return {
        **report,
        "merged": {"inputs": [{"path": "a", "generated_at": "b", "hosts": 1}], "overlaps": [{"host": "web1", "kept": "a", "left": []}], "problems": []},
    }


def with_texts(value: Json, draw: t.Callable[[], str], share: t.Callable[[], bool]) -> Json:
    """Return *value* with some of its free texts, and some names of hosts and of evidence, taken from *draw*."""
    if isinstance(value, str):
        return draw() if share() else value
    if isinstance(value, list):
        return [with_texts(element, draw, share) for element in value]
    if isinstance(value, dict):
        changed = {}
        for key, element in value.items():
            if key == "evidence" and isinstance(element, dict) or key == "hosts" and isinstance(element, dict):
                changed[key] = {name + (draw() if share() else ""): with_texts(below, draw, share) for name, below in element.items()}
            else:
                changed[key] = element if key in FIXED else with_texts(element, draw, share)
        return changed
    return value


class Elements(HTMLParser):
    """Every element of a page with the names of its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.comments = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, t.Optional[str]]]) -> None:
        self.found.append((tag, tuple(name for name, dummy in attrs)))

    def handle_comment(self, data: str) -> None:
        self.comments += 1


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large])
@given(texts=st.lists(TEXT, min_size=4, max_size=12), seed=st.integers(0, 1 << 30))
def test_any_text_anywhere_is_shown_and_does_nothing(judged: Json, texts: list[str], seed: int) -> None:
    rng = random.Random(seed)
    report = with_texts(judged, lambda: rng.choice(texts), lambda: rng.random() < 0.2)
    if len(report["hosts"]) != len(judged["hosts"]):
        return
    page = render_html(report, "en", NOW)
    plain = Elements(render_html(judged, "en", NOW))
    shown = Elements(page)
    page.encode("utf-8")
    assert shown.found == plain.found and shown.comments == 0
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", page)

    terminal = render_terminal(report, {"path": "reports/latest/report.html"})
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", terminal)

    markdown = render_markdown(report)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", markdown)
    before = render_markdown(judged)
    kinds = [[line[:3] for line in text.splitlines() if line.startswith("#")] for text in (markdown, before)]
    assert sorted(kinds[0]) == sorted(kinds[1])
    for line in markdown.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) in (3, 4), line


@given(TEXT | st.from_regex(r"[0-9T:/.\-]{1,12}"))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_report_never_leaves_its_directory(tmp_path_factory: pytest.TempPathFactory, moment: str) -> None:
    parent = tmp_path_factory.mktemp("parent")
    target = new_directory(parent, moment)
    assert target.parent == parent and target.resolve().parent == parent.resolve()


@pytest.mark.parametrize("host", ["../../outside", "/etc/passwd", "a/b", "..", "\x00", "a" * 400, "web\n1", "latest"])
def test_a_host_s_name_is_no_path(tmp_path: pathlib.Path, host: str) -> None:
    judging = diagnosis(tmp_path / "in" / "reports")
    written = judging.write(judging.judge({host: {"reachable": False, "reason": "gone"}}))
    assert host in json.loads(written.paths["json"].read_bytes())["hosts"]
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"report.json", "report.md", "report.html", "history.jsonl", "known.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
