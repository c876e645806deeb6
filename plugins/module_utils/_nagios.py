# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Threshold ranges, performance data and output as the Monitoring Plugins guidelines have them.

https://www.monitoring-plugins.org/doc/guidelines.html
"""

from __future__ import annotations

import dataclasses
import math
import re
import typing as t

from ._envelope import CheckError

_NUMBER = r"[-+]?(?:\d{1,15}(?:\.\d{0,9})?|\.\d{1,9})"
_RANGE = re.compile(rf"(?P<inside>@)?(?:(?P<start>~|{_NUMBER})?(?P<colon>:))?(?P<end>{_NUMBER})?")
#: Units that performance data knows; others are left out.
_UNITS = {"s": "s", "ms": "ms", "us": "us", "%": "%", "B": "B", "c": "c"}
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069|]+")


@dataclasses.dataclass(frozen=True)
class Range:
    """An alert is due where a value is outside ``start`` to ``end``, both included; with *inside*, where it is within them."""

    start: float = 0.0
    end: float = math.inf
    inside: bool = False
    text: str = ""

    @classmethod
    def parse(cls, text: t.Union[str, float], source: str = "threshold") -> Range:
        """Return the range that *text* means: ``10``, ``10:``, ``~:10``, ``10:20`` or ``@10:20``.

        :raises CheckError: it is none.
        """
        given = str(text).strip()
        match = _RANGE.fullmatch(given)
        if not match or not given.strip("@") or (match["end"] is None and not match["colon"]):
            hint = "Write 10 (more than 10), 10: (less than 10), 10:20 (outside) or @10:20 (inside)."
            raise CheckError(source, f"{given!r} is no range", hint, "invalid-option")
        start = -math.inf if match["start"] == "~" else float(match["start"] or 0)
        end = math.inf if match["end"] is None else float(match["end"])
        if start > end:
            raise CheckError(source, f"{given!r} starts above its end", "Write the smaller number first.", "invalid-option")
        return cls(start, end, match["inside"] is not None, given)

    def alerts(self, value: float) -> bool:
        """Whether *value* is one to be alerted of."""
        within = self.start <= value <= self.end
        return within if self.inside else not within


@dataclasses.dataclass(frozen=True)
class Limits:
    """The ranges of one number."""

    warning: t.Optional[Range] = None
    critical: t.Optional[Range] = None

    @classmethod
    def parse(cls, given: t.Mapping[str, t.Any], source: str) -> Limits:
        """Return the limits of ``{warning: range, critical: range}``; what is ``null`` or empty never alerts."""
        unknown = sorted(set(given) - {"warning", "critical"})
        if unknown:
            raise CheckError(source, f"unknown option {', '.join(unknown)}", "There are warning and critical.", "invalid-option")
        ranges = {name: Range.parse(value, f"{source}: {name}") for name, value in given.items() if value is not None and str(value).strip()}
        return cls(ranges.get("warning"), ranges.get("critical"))

    def verdict(self, value: t.Optional[float]) -> str:
        """Return the status of *value*; one that is not there is ``unknown``."""
        if value is None:
            return "unknown"
        if self.critical is not None and self.critical.alerts(value):
            return "critical"
        return "warning" if self.warning is not None and self.warning.alerts(value) else "ok"


def one_line(text: str, limit: int = 300) -> str:
    """Return *text* as one line without what a terminal or the protocol would take for something else."""
    line = _UNSAFE.sub(" ", text).strip()
    return line if len(line) <= limit else line[: limit - 1] + "…"


def performance_value(label: str, value: t.Optional[float], unit: str = "", limits: t.Optional[Limits] = None, minimum: t.Optional[float] = 0) -> str:
    """Return one item of performance data: ``'label'=value[unit];[warn];[crit];[min];``."""
    name = one_line(label).replace("=", " ").replace("'", "")
    number = "U" if value is None or not math.isfinite(value) else f"{value:.10g}"
    warning, critical = (limits.warning, limits.critical) if limits else (None, None)
    fields = [f"'{name}'={number}{_UNITS.get(unit, '') if number != 'U' else ''}", *(one.text if one else "" for one in (warning, critical)), _plain(minimum)]
    return ";".join(fields).rstrip(";")


def _plain(value: t.Optional[float]) -> str:
    return "" if value is None else f"{value:.10g}"


def render(name: str, status: str, summary: str, performance: t.Sequence[str], lines: t.Sequence[str]) -> str:
    """Return the output of a plugin: one line with the verdict and performance data, then the rest."""
    first = f"{name.upper()} {status.upper()} - {one_line(summary)}"
    if performance:
        first += " | " + " ".join(performance)
    indented = (line[: len(line) - len(line.lstrip(" "))] + one_line(line, 500) for line in lines)
    return "\n".join([first, *indented]) + "\n"


def parse_performance(text: str) -> dict[str, dict[str, t.Any]]:
    """Return the performance data that another plugin printed, as metrics; what is not understood is left out."""
    found: dict[str, dict[str, t.Any]] = {}
    for match in re.finditer(rf"(?:'(?P<quoted>[^']{{1,200}})'|(?P<bare>[^\s='|]{{1,200}}))=(?P<value>{_NUMBER})(?P<unit>[A-Za-z%]{{0,3}})", text[:20_000]):
        found[match["quoted"] or match["bare"]] = {"value": float(match["value"]), "unit": match["unit"]}
    return found
