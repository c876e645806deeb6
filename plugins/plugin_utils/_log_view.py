# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Lines of many hosts' logs as one text in the order of their times, for a terminal or a file.

What was logged is data of strangers: no control character of it is left, and what it says to be a line of its own stands
behind a mark that only lines that go on have.
"""

from __future__ import annotations

import heapq
import typing as t

from ._text import clip, display_width, harmless, harmless_line

Row = t.Mapping[str, t.Any]

_COLOURS = {"critical": "1;31", "error": "31", "warning": "33", "debug": "2"}
_DIM = "2"
_GOES_ON = "  | "
_WIDEST_HOST = 24
_WIDEST_SERVICE = 32
_MAXIMUM_NOTES = 20


class Printer:
    """Writes lines below one another; columns only grow, so that what was printed before stays as it was."""

    def __init__(self, color: bool = False) -> None:
        self._color = color
        self._host = self._service = 0

    def text(self, lines: t.Iterable[tuple[str, t.Mapping[str, t.Any]]]) -> str:
        """Return *lines*, each a host's name and what ``log_lines`` returned of one record, as text that ends with a newline."""
        listed = [(harmless(host, 200), _where(line), line) for host, line in lines]
        self._host = max([self._host, *(display_width(host) for host, dummy, dummy2 in listed)])
        self._service = max([self._service, *(display_width(where) for dummy, where, dummy2 in listed)])
        return "".join(self._one(host, where, line) for host, where, line in listed)

    def _one(self, host: str, where: str, line: t.Mapping[str, t.Any]) -> str:
        level = harmless(str(line.get("level") or ""), 8)
        first, *more = str(line.get("text") or "").split("\n")
        head = f"{_time(line)}  {_column(host, min(self._host, _WIDEST_HOST))}  {_column(where, min(self._service, _WIDEST_SERVICE))}"
        body = [f"{level.upper():8} {harmless_line(first)}", *(_GOES_ON + harmless_line(part) for part in more)]
        colour = _COLOURS.get(level, "") if self._color else ""
        painted = [f"\x1b[{colour}m{part}\x1b[0m" if colour else part for part in (part.rstrip() for part in body)]
        return f"{self._paint(head, _DIM)}  " + "\n".join(painted) + "\n"

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._color else text


def _time(line: t.Mapping[str, t.Any]) -> str:
    """Return the time to the millisecond, which is enough for a person."""
    text = harmless(str(line.get("time") or ""), 40)
    return f"{text[:23]}Z" if len(text) == 27 else text.ljust(24)


def _where(line: t.Mapping[str, t.Any]) -> str:
    if line.get("service"):
        return harmless("/".join(str(line[key]) for key in ("project", "service") if line.get(key)), 200)
    return harmless(str(line.get("log") or ""), 500).rpartition("/")[2]


def _column(text: str, width: int) -> str:
    text = clip(text, width)
    return text + " " * (width - display_width(text))


def merged(rows: t.Mapping[str, Row]) -> list[tuple[str, t.Mapping[str, t.Any]]]:
    """Return the lines of all hosts' *rows* in the order of their times; lines of one host stay in the order they have."""
    by_host = [[(str(line.get("time") or ""), host, line) for line in _lines(row)] for host, row in rows.items()]
    for lines in by_host:
        lines.sort(key=lambda entry: entry[0])
    return [(host, line) for dummy, host, line in heapq.merge(*by_host, key=lambda entry: entry[0])]


def _lines(row: Row) -> list[t.Mapping[str, t.Any]]:
    return (row.get("result") or {}).get("lines") or []


def notes(rows: t.Mapping[str, Row]) -> list[str]:
    """Return what could not be read, and why, one line each."""
    found = []
    for host, row in rows.items():
        if row.get("reason"):
            found.append(f"{host}: {row['reason']}")
        for error in (row.get("result") or {}).get("errors") or []:
            found.append(f"{host}: {error.get('source')}: {error.get('reason')}. {error.get('hint') or ''}".strip())
    shown = ["Not read: " + harmless(note) for note in found[:_MAXIMUM_NOTES]]
    return [*shown, f"and {len(found) - _MAXIMUM_NOTES} more"] if len(found) > _MAXIMUM_NOTES else shown


def counted(number: int, noun: str) -> str:
    """Return a number of things in words."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def cut_off(rows: t.Mapping[str, Row]) -> int:
    """Return the number of logs that have more such lines than were read."""
    return sum(bool(log.get("truncated")) for row in rows.values() for log in (row.get("result") or {}).get("logs") or [])
