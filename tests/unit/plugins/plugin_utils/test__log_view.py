# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lines of many hosts: their order, their columns, and that no message can look like anything but a message."""

from __future__ import annotations

import typing as t
import unicodedata

from ansible_collections.stackops.runbook.plugins.plugin_utils._log_view import Printer, cut_off, merged, notes
from ansible_collections.stackops.runbook.plugins.plugin_utils._text import harmless_line
from hypothesis import given
from hypothesis import strategies as st


def line(second: float, text: str = "x", level: t.Optional[str] = "info", service: t.Optional[str] = "web") -> dict[str, t.Any]:
    return {"time": f"2026-11-23T10:00:{second:09.6f}Z", "project": "shop", "service": service, "log": "/srv/shop/logs/app.log", "level": level, "text": text}


def row(*lines: dict[str, t.Any], **result: t.Any) -> dict[str, t.Any]:
    return {"reachable": True, "result": {"lines": list(lines), **result}}


def test_columns_and_lines_that_go_on() -> None:
    text = Printer().text([("web1", line(1.5, "failed\nTraceback:\n    deep", "error")), ("database-1", line(2, "ok", None, None))])
    assert text == (
        "2026-11-23T10:00:01.500Z  web1        shop/web  ERROR    failed\n"
        "  | Traceback:\n"
        "  |     deep\n"
        "2026-11-23T10:00:02.000Z  database-1  app.log            ok\n"
    )


def test_columns_grow_and_do_not_jump_back() -> None:
    printer = Printer()
    printer.text([("database-1", line(1))])
    assert printer.text([("web1", line(2))]).startswith("2026-11-23T10:00:02.000Z  web1        shop/web  INFO")
    assert printer.text([("網頁伺服器", line(3))]).startswith("2026-11-23T10:00:03.000Z  網頁伺服器  shop/web  INFO")


def test_colours_are_ours_alone() -> None:
    text = Printer(color=True).text([("web1", line(1, "\x1b[32mgreen\x1b[0m\nmore", "critical"))])
    assert text.endswith("\x1b[1;31mCRITICAL green\x1b[0m\n\x1b[1;31m  | more\x1b[0m\n")


@given(st.lists(st.lists(st.integers(0, 59), max_size=20), min_size=1, max_size=4))
def test_hosts_are_merged_by_time_and_keep_their_own_order(seconds: list[list[int]]) -> None:
    rows = {f"web{number}": row(*(line(second, str(place)) for place, second in enumerate(sorted(one)))) for number, one in enumerate(seconds)}
    found = merged(rows)
    assert [entry["time"] for dummy, entry in found] == sorted(entry["time"] for dummy, entry in found)
    for host, one in rows.items():
        assert [entry for name, entry in found if name == host] == one["result"]["lines"]


@given(st.text(max_size=300), st.text(max_size=40), st.text(max_size=40), st.sampled_from([None, "info", "error", "\x1b[2J"]))
def test_whatever_was_logged_is_a_message(text: str, host: str, service: str, level: t.Optional[str]) -> None:
    printed = Printer().text([(host, {**line(1, text, level), "service": service})])
    first, *more = printed.removesuffix("\n").split("\n")
    assert first.startswith("2026-11-23T10:00:01.000Z  ")
    assert all(one.startswith("  |") for one in more)
    assert len(more) == text.count("\n")
    assert not [character for character in first + "".join(more) if unicodedata.category(character) in ("Cc", "Cs") or character in "\u2028\u2029\u202e\u200b"]
    printed.encode()


def test_what_was_not_read_is_said() -> None:
    error = {"source": "container:a", "reason": "nothing\x1b[2J kept", "hint": "Use json-file"}
    rows = {
        "web1": row(errors=[error], logs=[{"truncated": True}, {"truncated": False}]),
        "web2": {"reachable": False, "reason": "no route\nto host"},
        "web3": row(),
    }
    assert notes(rows) == ["Not read: web1: container:a: nothing kept. Use json-file", "Not read: web2: no route to host"]
    assert cut_off(rows) == 1
    many = notes({f"web{number}": {"reason": "gone"} for number in range(50)})
    assert (len(many), many[-1]) == (21, "and 30 more")


def test_blanks_of_a_line_stay_and_long_ones_are_cut() -> None:
    assert harmless_line("\tif x:  # y") == "    if x:  # y"
    assert harmless_line("x" * 9000) == "x" * 3999 + "…"
    assert harmless_line("a\rb\x00c") == "a b c"
