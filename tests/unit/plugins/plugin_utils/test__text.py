# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Texts: what is looked up, what is quoted, what is made harmless, and how it fits a terminal."""

from __future__ import annotations

import shlex
import subprocess
import unicodedata

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils._text import (
    MissingValue,
    Template,
    TextError,
    clip,
    display_width,
    harmless,
    human_duration,
    human_value,
    split_commands,
    wrap,
)
from hypothesis import given
from hypothesis import strategies as st


def render(text: str, **values: object) -> str:
    return Template.parse(text).render(values)


def test_paths_are_looked_up_and_nothing_else_is():
    assert render("{{ item.name }} has {{ item.list[1] }}", item={"name": "a", "list": [1, 2]}) == "a has 2"
    assert render("{{ item.name }}", item={"name": "{{ lookup('pipe', 'id') }}"}) == "{{ lookup('pipe', 'id') }}"
    for text in ("{{ 7 * 7 }}", "{{ item | upper }}", "{{ item.__class__() }}", "{{ lookup('env', 'HOME') }}"):
        with pytest.raises(TextError):
            Template.parse(text)


def test_go_templates_in_commands_stay():
    text = "`docker inspect -f '{{.State.OOMKilled}} {{json .Config}}' {{ item.name }}`"
    assert render(text, item={"name": "a"}) == "`docker inspect -f '{{.State.OOMKilled}} {{json .Config}}' a`"


def test_missing_values_are_named_in_prose_and_refused_in_commands():
    assert render("port {{ item.port }}", item={}) == "port unknown"
    assert Template.parse("連接埠 {{ item.port }}").render({"item": {}}, "zh_TW") == "連接埠 不明"
    with pytest.raises(MissingValue):
        render("`ss -ltn {{ item.port }}`", item={})
    with pytest.raises(MissingValue):
        Template.parse("port {{ item.port }}").render({"item": {}}, strict=True)


@pytest.mark.parametrize("text", ["`cmd {{ item.x }}`", "`cmd '{{ item.x }}'`", '`cmd "{{ item.x }}"`', "`cmd --a={{ item.x }} b`"])
@given(value=st.text(alphabet=st.characters(blacklist_characters="\x00`!", blacklist_categories=("Cs",)), min_size=1, max_size=40))
def test_values_in_commands_stay_one_word_of_the_shell(text: str, value: str):
    command = split_commands(render(text, item={"x": value}))[0][1]
    words = shlex.split(command)
    assert len(words) == len(shlex.split(text.strip("`").replace("{{ item.x }}", "x")))
    assert words[0] == "cmd"


@pytest.mark.parametrize("text", ["`printf %s {{ item.x }}`", "`printf %s '{{ item.x }}'`", '`printf %s "{{ item.x }}"`'])
def test_a_hostile_value_is_not_executed_by_a_real_shell(text: str):
    hostile = "a; $(touch /tmp/never) ' \" \\ $HOME | b"
    command = split_commands(render(text, item={"x": hostile}))[0][1]
    assert subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=10).stdout == hostile


def test_backticks_in_values_cannot_open_a_command():
    assert split_commands(render("see {{ item.x }}", item={"x": "`rm -rf /`"})) == [("text", "see 'rm -rf /'")]


@given(st.text())
def test_harmless_text_has_no_control_characters(text: str):
    shown = harmless(text)
    assert all(unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp") for character in shown)
    assert not any("\u202a" <= character <= "\u202e" for character in shown)


def test_harmless_takes_whole_escape_sequences_out():
    assert harmless("\x1b[31mred\x1b[0m \x1b]0;title\x07x\r\nnext\u202eabc") == "red x next abc"
    assert harmless("a" * 1000, 10) == "a" * 9 + "…"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("memory_bytes", 536870912, "512 MiB"),
        ("size_bytes", 1536, "1.5 KiB"),
        ("used_percent", 93.44, "93.4 %"),
        ("mean_ms", 812.5, "812.5 ms"),
        ("mean_ms", 3210.0, "3.21 s"),
        ("age_seconds", 12000, "3 h 20 min"),
        ("errors_per_minute", 4.0, "4/min"),
        ("ok", True, "yes"),
        ("ok", None, "unknown"),
        ("names", ["a", "b"], "a, b"),
        ("names", list("abcdefg"), "a, b, c, d, e … (+2)"),
        ("by_state", {"idle": 3, "active": 1}, "idle=3, active=1"),
    ],
)
def test_units_come_from_names(name: str, value: object, shown: str):
    assert human_value(name, value) == shown


def test_durations():
    assert [human_duration(seconds) for seconds in (0.5, 59, 90, 3600, 90000)] == ["0.5 s", "59 s", "1 min 30 s", "1 h", "1 d 1 h"]


def test_chinese_takes_two_columns():
    assert display_width("資料庫 a") == 8
    assert clip("資料庫已停止", 7) == "資料庫…"


@given(st.text(alphabet="ab 資料庫，。（）x1", max_size=200), st.integers(min_value=4, max_value=60))
def test_wrapped_lines_fit_and_lose_nothing(text: str, width: int):
    lines = wrap(text, width)
    assert all(display_width(line) <= width + 2 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_a_line_does_not_begin_with_closing_punctuation():
    assert all(line[0] not in "，。" for line in wrap("資料庫拒絕了登入，因此無法啟動。" * 5, 17) if line)
