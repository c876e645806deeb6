# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Texts of rules: substitution of collected values, languages, and making collected text harmless to look at.

What was collected is data. It is never evaluated: ``{{ path }}`` is looked up, nothing else is known here, and a value
that itself holds ``{{ }}`` is not looked at again. In commands, which are between backticks, values are quoted for the
shell, since a person will paste them.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
import typing as t
import unicodedata

from ..module_utils._envelope import human_bytes

LANGUAGES: tuple[str, ...] = ("en", "zh_TW")

_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*|\[\d+\])*)\s*\}\}")
_ANY_BRACES = re.compile(r"\{\{.*?\}\}")
_STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\[(\d+)\]")

_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
# Control characters, and what reorders or hides text: bidirectional overrides, zero width, separators of lines.
_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]+")

_MAXIMUM_VALUE = 300
_MAXIMUM_ELEMENTS = 5

#: Values of these names are whole commands that were put together, and quoted, here.
COMMAND_NAMES: frozenset[str] = frozenset(("compose", "compose_up", "psql"))

_NOT_KNOWN = {"en": "unknown", "zh_TW": "不明"}
_YES_NO = {"en": ("yes", "no"), "zh_TW": ("是", "否")}


class MissingValue(Exception):
    """A text names a value that is not there."""


def harmless(value: str, maximum: int = _MAXIMUM_VALUE) -> str:
    """Return *value* on one line, without control characters and cut to *maximum* characters."""
    text = _ESCAPE_SEQUENCE.sub("", value[: maximum * 4])
    text = " ".join(_HARMFUL.sub(" ", text).split())
    return text if len(text) <= maximum else text[: maximum - 1].rstrip() + "…"


_HARMFUL_IN_LINES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f" + _HARMFUL.pattern[len("[\x00-\x1f\x7f-\x9f") :])


def without_controls(value: str) -> str:
    """Return *value* as long as it is, without escape sequences and characters that control, reorder or hide; its lines and blanks stay."""
    if _HARMFUL_IN_LINES.search(value) is None:
        return value
    return _HARMFUL_IN_LINES.sub(" ", _ESCAPE_SEQUENCE.sub("", value))


def harmless_line(value: str, maximum: int = 4000) -> str:
    """Return *value*, a line without its end, without control characters and cut to *maximum* characters; its blanks stay."""
    text = _HARMFUL.sub(" ", _ESCAPE_SEQUENCE.sub("", value[: maximum * 4]).expandtabs(4)).rstrip()
    return text if len(text) <= maximum else text[: maximum - 1] + "…"


def display_width(text: str) -> int:
    """Return how many columns *text* takes on a terminal: two for East Asian wide characters, none for combining ones."""
    return sum(_character_width(character) for character in text)


def _character_width(character: str) -> int:
    if character < "\u0300":
        return 1
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def clip(text: str, width: int) -> str:
    """Return *text* cut to *width* columns, with an ellipsis where something is left out."""
    if display_width(text) <= width:
        return text
    kept: list[str] = []
    used = 0
    for character in text:
        used += _character_width(character)
        if used > width - 1:
            break
        kept.append(character)
    return "".join(kept).rstrip() + "…"


# Chinese text breaks between any two characters, except before closing and after opening punctuation.
_NO_LINE_START = frozenset("，。、；：！？）」』】》〉…％,.;:!?)]}%")
_NO_LINE_END = frozenset("（「『【《〈([{")


def _pieces(text: str) -> list[str]:
    """Return the parts of *text* between which a line may break; blanks belong to the part before them."""
    pieces: list[str] = []
    current = ""
    for character in text:
        wide = _character_width(character) == 2
        breakable = current and (
            current[-1] == " " or ((wide or _character_width(current[-1]) == 2) and character not in _NO_LINE_START and current[-1] not in _NO_LINE_END)
        )
        if breakable and character != " ":
            pieces.append(current)
            current = ""
        current += character
    if current:
        pieces.append(current)
    return pieces


def wrap(text: str, width: int) -> list[str]:
    """Return *text* as lines of at most *width* columns; a word that is longer than a line is cut into several."""
    lines: list[str] = []
    line = ""
    for piece in _pieces(text):
        if line and display_width(line + piece.rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        while display_width(piece.rstrip()) > width:
            head = _head(piece, width)
            lines.append(head)
            piece = piece[len(head) :]
        line += piece
    if line.strip() or not lines:
        lines.append(line.rstrip())
    return lines


def _head(text: str, width: int) -> str:
    used = 0
    for position, character in enumerate(text):
        used += _character_width(character)
        if used > width:
            return text[: max(position, 1)]
    return text


def human_duration(seconds: float) -> str:
    """Return a time span in the largest two units that matter, e.g. ``3 h 20 min``."""
    if abs(seconds) < 60:
        return f"{seconds:.3g} s"
    whole = int(seconds)
    for size, unit, smaller_size, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if abs(whole) >= size:
            rest = whole % size // smaller_size
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def _number(value: float) -> str:
    if isinstance(value, int) or value == int(value):
        return str(int(value))
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def human_value(name: str, value: t.Any, language: str = "en") -> str:
    """Return *value* for a person; the unit comes from *name*, whose end says it (``_bytes``, ``_ms``, ``_percent`` …)."""
    if value is None:
        return _NOT_KNOWN[language]
    if isinstance(value, bool):
        return _YES_NO[language][0 if value else 1]
    if isinstance(value, (int, float)):
        return _human_number(name, value)
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, dict):
        parts = [f"{harmless(str(key), 60)}={human_value(str(key), element, language)}" for key, element in list(value.items())[:_MAXIMUM_ELEMENTS]]
        return ", ".join(parts) + (" …" if len(value) > _MAXIMUM_ELEMENTS else "")
    if isinstance(value, list):
        separator = "; " if any(isinstance(element, dict) for element in value) else ", "
        parts = [human_value(name, element, language) for element in value[:_MAXIMUM_ELEMENTS]]
        return separator.join(parts) + (f" … (+{len(value) - _MAXIMUM_ELEMENTS})" if len(value) > _MAXIMUM_ELEMENTS else "")
    return harmless(str(value))


def _human_number(name: str, value: float) -> str:
    if name.endswith("_bytes"):
        return human_bytes(value)
    if name.endswith("_percent"):
        return f"{_number(value)} %"
    if name.endswith("_ms"):
        return human_duration(value / 1000) if abs(value) >= 1000 else f"{_number(value)} ms"
    if name.endswith("_seconds"):
        return human_duration(value)
    if name.endswith("_per_minute"):
        return f"{_number(value)}/min"
    return _number(value)


@dataclasses.dataclass(frozen=True)
class Placeholder:
    """``{{ path }}`` in a text: the *keys* to follow from the root of the values."""

    path: str
    keys: tuple[t.Union[str, int], ...]
    quoting: str = "prose"  # prose | bare | single | double, the last three inside a command

    def value(self, values: dict[str, t.Any]) -> t.Any:
        """Return what the path leads to in *values*, ``None`` where it leads nowhere."""
        current: t.Any = values
        for key in self.keys:
            if isinstance(key, int):
                current = current[key] if isinstance(current, list) and key < len(current) else None
            else:
                current = current.get(key) if isinstance(current, dict) else None
        return current

    @property
    def name(self) -> str:
        """The last name of the path, which says the value's unit."""
        return next((key for key in reversed(self.keys) if isinstance(key, str)), "")


class TextError(ValueError):
    """A text of a rule is not well formed."""


@dataclasses.dataclass(frozen=True)
class Template:
    """A text of a rule, parsed once."""

    source: str
    parts: tuple[t.Union[str, Placeholder], ...]

    @classmethod
    def parse(cls, source: str) -> Template:
        """Return the parsed text.

        :raises TextError: something in double braces that is not a path, or a backtick without its partner.
        """
        if source.count("`") % 2:
            raise TextError("a backtick has no partner: commands are written between two")
        parts: list[t.Union[str, Placeholder]] = []
        position = 0
        state = "prose"
        for match in _ANY_BRACES.finditer(source):
            if match.group().startswith(("{{.", "{{json .")):  # a Go template in a command, as `docker inspect -f` takes it
                continue
            literal = source[position : match.start()]
            state = _quoting_after(literal, state)
            placeholder = _PLACEHOLDER.fullmatch(match.group())
            if placeholder is None:
                raise TextError(f"{match.group()} is not a path: only names, dots and [number] are looked up, nothing is evaluated")
            if literal:
                parts.append(literal)
            parts.append(Placeholder(placeholder.group(1), _keys(placeholder.group(1)), state))
            position = match.end()
        if source[position:]:
            parts.append(source[position:])
        return cls(source, tuple(parts))

    @property
    def placeholders(self) -> tuple[Placeholder, ...]:
        """All values that the text names."""
        return tuple(part for part in self.parts if isinstance(part, Placeholder))

    def render(self, values: dict[str, t.Any], language: str = "en", strict: bool = False) -> str:
        """Return the text with its values.

        With *strict*, and in commands always, a value that is not there raises :class:`MissingValue`: half a command is
        worse than none.
        """
        rendered = []
        for part in self.parts:
            if isinstance(part, str):
                rendered.append(part)
                continue
            value = part.value(values)
            if value is None and (strict or part.quoting != "prose"):
                raise MissingValue(part.path)
            rendered.append(_shown(part, value, language))
        return "".join(rendered)


def _keys(path: str) -> tuple[t.Union[str, int], ...]:
    first = re.match(r"[A-Za-z_][A-Za-z0-9_]*", path)
    keys: list[t.Union[str, int]] = [first.group()] if first else []
    for name, index in _STEP.findall(path):
        keys.append(name or int(index))
    return tuple(keys)


def _quoting_after(literal: str, state: str) -> str:
    """Return how a value must be quoted that follows *literal*, which itself began in *state*."""
    for character in literal:
        if character == "`":
            state = "bare" if state == "prose" else "prose"
        elif state == "bare" and character in "'\"":
            state = "single" if character == "'" else "double"
        elif (state == "single" and character == "'") or (state == "double" and character == '"'):
            state = "bare"
    return state


_SHELL_SPECIAL = re.compile(r'(["$\\!])')


def _shown(placeholder: Placeholder, value: t.Any, language: str) -> str:
    if placeholder.quoting == "prose":
        return human_value(placeholder.name, value, language).replace("`", "'")
    if placeholder.keys[0] in COMMAND_NAMES:
        return str(value)
    text = harmless(str(value), 1000).replace("`", "?")
    if placeholder.quoting == "bare":
        return shlex.quote(text)
    if placeholder.quoting == "single":
        return text.replace("'", "'\\''")
    return _SHELL_SPECIAL.sub(r"\\\1", text)


def split_commands(text: str) -> list[tuple[str, str]]:
    """Return *text* as ``("text" | "command", part)`` in order; commands are what stands between backticks."""
    parts = [("command" if position % 2 else "text", part) for position, part in enumerate(text.split("`"))]
    return [(kind, part) for kind, part in parts if part.strip()]
