# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Change single variables in the text of a ``.env`` file and leave every other byte as it is.

Compose takes the last assignment of a name. A quoted value may have several lines, and what looks like an assignment inside one is none.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*[=:](.*)", re.DOTALL)
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_.,:/@%+-]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclasses.dataclass(frozen=True)
class Assignment:
    """One assignment: its *name*, where its lines are in the text, and its *value*, without quotes and trailing comment."""

    name: str
    start: int
    end: int
    value: str


def assignments(text: str) -> list[Assignment]:
    """Return the assignments in *text*, in their order."""
    found: list[Assignment] = []
    position = 0
    lines = text.splitlines(keepends=True)
    index = 0
    while index < len(lines):
        start, line = position, lines[index]
        position += len(line)
        index += 1
        match = None if line.lstrip().startswith("#") else _ASSIGNMENT.fullmatch(line.rstrip("\r\n"))
        if match is None:
            continue
        raw = match[2].strip()
        quote = raw[:1] if raw[:1] in ("'", '"') else ""
        # A value that begins with a quote goes on to the next one, over lines.
        while quote and _closing(raw, quote) < 0 and index < len(lines):
            raw += "\n" + lines[index].rstrip("\r\n")
            position += len(lines[index])
            index += 1
        value = raw[1 : _closing(raw, quote)] if quote and _closing(raw, quote) > 0 else re.split(r"\s#", raw, maxsplit=1)[0].strip()
        found.append(Assignment(match[1], start, position, value))
    return found


def _closing(raw: str, quote: str) -> int:
    """Return where the quote that *raw* begins with is closed, -1 where it is not."""
    position = 1
    while position < len(raw):
        if raw[position] == "\\" and quote == '"':
            position += 2
            continue
        if raw[position] == quote:
            return position
        position += 1
    return -1


def value_of(text: str, name: str) -> t.Optional[str]:
    """Return what *text* gives to *name*, ``None`` where it does not."""
    return next((one.value for one in reversed(assignments(text)) if one.name == name), None)


def lines_of(text: str, names: t.Iterable[str]) -> dict[str, t.Optional[str]]:
    """Return for each name the lines of its last assignment as they are, ``None`` where there is none."""
    last = {one.name: text[one.start : one.end] for one in assignments(text)}
    return {name: last.get(name) for name in names}


def with_values(text: str, values: t.Mapping[str, str]) -> str:
    """Return *text* with *values*: in the place of the last assignment, or at the end.

    :raises ValueError: a name or value that cannot be written without quoting.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    for name, value in values.items():
        if not _NAME.fullmatch(name) or not _PLAIN_VALUE.fullmatch(value):
            raise ValueError(f"{name}={value!r} cannot be written into a .env file as it is")
        text = _replaced(text, name, f"{name}={value}", newline)
    return text


def with_lines(text: str, lines: t.Mapping[str, t.Optional[str]]) -> str:
    """Return *text* with the last assignment of each name as in *lines*; where that is ``None``, without it."""
    newline = "\r\n" if "\r\n" in text else "\n"
    for name, line in lines.items():
        if line is not None:
            text = _replaced(text, name, line.rstrip("\r\n"), newline)
            continue
        last = next((one for one in reversed(assignments(text)) if one.name == name), None)
        if last is not None:
            text = text[: last.start] + text[last.end :]
    return text


def _replaced(text: str, name: str, line: str, newline: str) -> str:
    last = next((one for one in reversed(assignments(text)) if one.name == name), None)
    if last is not None:
        ending = newline if text[last.start : last.end].endswith("\n") else ""
        return text[: last.start] + line + ending + text[last.end :]
    separator = "" if not text or text.endswith("\n") else newline
    return text + separator + line + newline
