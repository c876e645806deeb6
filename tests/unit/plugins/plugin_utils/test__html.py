# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report page as a file: its policy, its size, and that collected text stays data. The browser's part is in tests/e2e."""

from __future__ import annotations

import base64
import copy
import gzip
import hashlib
import html.parser
import json
import pathlib
import re
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._published_ports import CLASSES
from ansible_collections.stackops.runbook.plugins.plugin_utils import _html
from ansible_collections.stackops.runbook.plugins.plugin_utils._html import PAGE_LIMIT_BYTES, render_html
from ansible_collections.stackops.runbook.plugins.plugin_utils._html_tables import FACTS, TABLES
from ansible_collections.stackops.runbook.plugins.plugin_utils._html_texts import TEXTS, verdict
from ansible_collections.stackops.runbook.plugins.plugin_utils._html_view import clean, history_names, index_view, to_json
from ansible_collections.stackops.runbook.tests.support.fleet import NOW, make_report
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Json = t.Any
ASSETS = pathlib.Path(_html.__file__).parent / "_html_assets"
HOSTILE = "</script><script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'><!-- {{ 7 * 7 }} ${index} \x1b[31m\x00\u202e\ud800 & \"quoted\""


class Page(html.parser.HTMLParser):
    """What a browser would see: the elements, the text of each script and style, and the attributes of each meta."""

    def __init__(self, content: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[str] = []
        self.scripts: list[tuple[dict[str, t.Optional[str]], str]] = []
        self.styles: list[str] = []
        self.attributes: list[tuple[str, str, t.Optional[str]]] = []
        self._inside: t.Optional[str] = None
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, t.Optional[str]]]) -> None:
        self.elements.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self._inside = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag == "style":
            self.styles.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif self._inside == "style":
            self.styles[-1] += data

    @property
    def index(self) -> Json:
        return json.loads(next(text for attributes, text in self.scripts if attributes.get("id") == "index"))

    def detail(self, host: dict[str, Json], position: int) -> Json:
        text = next(text for attributes, text in self.scripts if attributes.get("id") == host["detail"])
        if host["detail"].startswith("plain"):
            return json.loads(text)
        return json.loads(gzip.decompress(base64.b64decode(text)))[str(position)]


def page_of(report: Json, language: str = "en") -> Page:
    content = render_html(report, language, NOW)
    content.encode("utf-8")
    return Page(content)


def everywhere(value: Json, text: str) -> Json:
    """Return *value* with *text* after each of its texts, but for the words that the report's schema fixes."""
    if isinstance(value, str):
        return value + text
    if isinstance(value, list):
        return [everywhere(element, text) for element in value]
    if isinstance(value, dict):
        fixed = ("status", "severity", "result", "generated_at", "since", "minute", "id", "effects", "effect_of", "confidence")
        return {key: element if key in fixed else everywhere(element, text) for key, element in value.items()}
    return value


def hostile_report(text: str = HOSTILE, hosts: int = 14) -> Json:
    report = everywhere(make_report(hosts), text)
    report["hosts"] = {name + text: row for name, row in report["hosts"].items()}
    return report


# What the file is


@pytest.mark.parametrize("language", ["en", "zh_TW"])
def test_policy_allows_this_script_and_style_and_nothing_else(language: str) -> None:
    page = page_of(make_report(14, language=language), language)
    content = next(value for tag, name, value in page.attributes if tag == "meta" and name == "content" and value and "default-src" in value)
    policy = {part.split(" ", 1)[0]: part.split(" ", 1)[1] for part in content.split("; ")}

    def digest(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    programs = [text for attributes, text in page.scripts if "type" not in attributes]
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == digest(programs[0]) and len(programs) == 1
    assert policy["style-src"] == digest(page.styles[0]) and len(page.styles) == 1
    assert policy["require-trusted-types-for"] == "'script'"


def test_nothing_is_loaded_from_anywhere() -> None:
    page = page_of(make_report(14))
    addresses = [value for dummy, name, value in page.attributes if name in ("src", "href", "action", "data", "poster", "srcset") and value]
    assert all(value.startswith(("#", "data:image/svg+xml,")) for value in addresses)
    assert not re.search(r"url\(|@import", page.styles[0])


def test_the_library_has_its_licence_beside_it() -> None:
    assert "MIT License" in (ASSETS / "uplot" / "LICENSE").read_text(encoding="utf-8")
    assert "uPlot (v" in (ASSETS / "uplot" / "uPlot.iife.min.js").read_text(encoding="utf-8")[:200]


def test_same_report_gives_the_same_bytes() -> None:
    assert render_html(make_report(200), "en", NOW) == render_html(make_report(200), "en", NOW)


def test_rendering_leaves_the_report_as_it_was() -> None:
    report = make_report(14)
    before = copy.deepcopy(report)
    render_html(report, "en", NOW)
    assert report == before


# Collected text is data


def test_hostile_text_adds_no_element() -> None:
    hostile, harmless = page_of(hostile_report()), page_of(make_report(14))
    assert hostile.elements == harmless.elements
    assert "img" not in hostile.elements


ELEMENTS_OF_ONE_HOST = page_of(make_report(1)).elements


@given(
    st.text(st.characters(exclude_categories=()), max_size=40)
    | st.sampled_from(["</script>", "<!--", "<!--<script>", "]]>", "\u2028", "{{ x }}", "$index", "\\u003c"])
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_text_comes_through_unharmed(text: str) -> None:
    report = make_report(1)
    finding = next(iter(report["hosts"].values()))["findings"][0]
    finding.update(title=text, cause=text, fix=[text], evidence={"value": text})
    page = page_of(report)
    assert page.elements == ELEMENTS_OF_ONE_HOST
    row = page.index["findings"][page.index["roots"][0]]
    shown = clean(text)
    assert row["evidence"] == {"value": shown}
    assert (page.index["strings"][row["title"]] if "title" in row else "") == shown


def test_control_and_bidirectional_characters_are_shown_and_have_no_effect() -> None:
    content = render_html(hostile_report(), "en", NOW)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", content)
    assert "\ufffd" in content


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["status", "findings", "facts", "histogram", "sources", "effects", "minute", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(ODD)
@settings(max_examples=60, deadline=None)
def test_odd_facts_still_give_a_page(facts: Json) -> None:
    collectors = dict.fromkeys(["compose", "http", "logs", "requests", "postgres", "host", "ports", "links", "migrations", "database_logins"], facts)
    hosts = {"a": {"status": "ok", "findings": [], "facts": collectors}, "b": {"findings": None, "facts": facts}}
    index, details = index_view({"generated_at": "?", "hosts": hosts, "changes": None}, NOW, "en")
    json.loads(to_json([index, list(details)]))
    assert len(index["hosts"]) == 2


# Size


def test_small_fleet_stays_readable_in_the_file() -> None:
    page = page_of(make_report(14))
    with_facts = [host for host in page.index["hosts"] if host["status"] != "unreachable"]
    assert all(host["detail"].startswith("plain-") for host in with_facts)
    assert "without_details" not in page.index


def test_a_thousand_hosts_stay_under_five_megabytes_with_all_details() -> None:
    content = render_html(make_report(1000), "en", NOW)
    assert len(content.encode()) < PAGE_LIMIT_BYTES
    page = Page(content)
    hosts = page.index["hosts"]
    assert page.index["without_details"] == 0 and page.index["shortened"] == 0
    for position in (0, 1, 500, 999):
        if hosts[position]["status"] != "unreachable":
            assert page.detail(hosts[position], position)["tables"]["containers"]


def test_what_does_not_fit_is_details_of_healthy_hosts_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_html, "PAGE_LIMIT_BYTES", 310_000)
    monkeypatch.setattr(_html, "PLAIN_DETAILS_BYTES", 0)
    content = render_html(make_report(120), "en", NOW)
    hosts = Page(content).index["hosts"]
    cut = [host["status"] for host in hosts if "detail" not in host and host["status"] != "unreachable"]
    kept = [host["status"] for host in hosts if "detail" in host]
    assert len(content.encode()) < 310_000
    assert cut and set(cut) == {"ok"} and "critical" in kept
    assert Page(content).index["without_details"] == len(cut)


def test_a_flood_of_findings_stays_under_the_limit_and_is_said() -> None:
    report = make_report(300)
    for row in report["hosts"].values():
        for finding in row["findings"]:
            finding["evidence"] = {"lines": [f"{finding['id']} {number} " + "x" * 900 for number in range(40)]}
            finding["cause"] = f"{finding['id']} " + "y" * 2000
    content = render_html(report, "en", NOW)
    index = Page(content).index
    assert len(content.encode()) < PAGE_LIMIT_BYTES
    assert index["shortened"] > 0
    assert len(index["findings"]) == sum(len(row["findings"]) for row in report["hosts"].values()) + len(report["fleet_findings"])
    kept = [finding["severity"] for finding in index["findings"] if not finding.get("short")]
    assert kept[0] == "critical"


# Words


def test_languages_have_the_same_words() -> None:
    assert TEXTS["en"].keys() == TEXTS["zh_TW"].keys()
    for key, text in TEXTS["en"].items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", TEXTS["zh_TW"][key])), key


def test_every_word_that_the_page_asks_for_is_there_and_none_is_left_over() -> None:
    script = "".join(path.read_text(encoding="utf-8") for path in sorted(ASSETS.glob("*.js")))
    template = (ASSETS / "page.html").read_text(encoding="utf-8")
    asked = set(re.findall(r"words\('([a-z_0-9]+)'", script)) | set(re.findall(r"\$text_([a-z_0-9]+)", template))
    assert asked <= TEXTS["en"].keys()
    columns = {f"c_{column.label}" for table in TABLES for column in table.columns}
    tables = {f"table_{table.name}" for table in TABLES}
    facts = {f"f_{fact.label}" for fact in FACTS}
    runs = {f"h_{name}" for name in history_names()}
    assert runs == {key for key in TEXTS["en"] if key.startswith("h_")}
    assert columns | tables | facts <= TEXTS["en"].keys()
    quoted = set(re.findall(r"'([a-z_0-9]+)'", script))
    built = re.compile(r"^(c_|f_|h_|table_|section_|confidence_|reach_)|_section$|_note$")
    left_over = {key for key in TEXTS["en"] if key not in asked | columns | tables | facts | quoted and not built.search(key)}
    assert not left_over


@pytest.mark.parametrize(
    ("statuses", "english", "chinese"),
    [
        ([], "No hosts", "沒有主機"),
        (["ok"], "The host is fine", "主機正常"),
        (["ok", "ok"], "Every host is fine", "所有主機正常"),
        (["critical"], "The host is critical", "主機狀態嚴重"),
        (["critical", "ok", "warning"], "1 of 3 hosts is critical", "3 台主機中有 1 台狀態嚴重"),
        (["critical", "critical"], "All 2 hosts are critical", "2 台主機中有 2 台狀態嚴重"),
        (["unreachable", "warning"], "1 of 2 hosts cannot be reached", "2 台主機中有 1 台無法連線"),
        (["warning", "unknown", "warning"], "2 of 3 hosts have warnings", "3 台主機中有 2 台有警告"),
        (["unknown", "ok"], "1 of 2 hosts could not be checked in full", "2 台主機中有 1 台未能完整檢查"),
        (["critical"] * 1200 + ["ok"] * 34, "1,200 of 1,234 hosts are critical", "1,234 台主機中有 1,200 台狀態嚴重"),
    ],
)
def test_verdict(statuses: list[str], english: str, chinese: str) -> None:
    assert verdict("en", statuses) == english
    assert verdict("zh_TW", statuses) == chinese


def test_every_class_of_a_port_has_a_word() -> None:
    assert {f"reach_{name}" for name in CLASSES} == {key for key in TEXTS["en"] if key.startswith("reach_")}
