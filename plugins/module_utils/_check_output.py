# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What a check saw, as a person or Nagios reads it, as JSON, and as metrics for node_exporter's textfile collector."""

from __future__ import annotations

import os
import re
import typing as t

from ._envelope import EXIT_CODES, worst
from ._files import write_whole
from ._monitoring_types import Observation
from ._nagios import one_line, performance_value, render

if t.TYPE_CHECKING:
    from ._monitoring_options import CheckSetting

_ORDER = {"critical": 0, "warning": 1, "unknown": 2, "ok": 3}
_LABEL = re.compile(r'[\\"\n]')


def explained_by(observation: Observation, observations: t.Mapping[str, Observation]) -> t.Optional[str]:
    """Return the object of the same check that explains why *observation* is not ok."""
    if observation.status == "ok":
        return None
    return next((one for one in observation.parents if one in observations and observations[one].status != "ok"), None)


def summarise(observations: t.Sequence[Observation]) -> tuple[str, str]:
    """Return status and summary of a check: what is not ok and explained by nothing else comes first."""
    if not observations:
        return "ok", "nothing to look at"
    status = worst(one.status for one in observations)
    by_name = {one.object: one for one in observations}
    ill = sorted((one for one in observations if one.status != "ok"), key=lambda one: (explained_by(one, by_name) is not None, _ORDER[one.status], one.object))
    if not ill:
        return "ok", f"{len(observations)} objects ok" if len(observations) > 1 else f"{observations[0].object}: {observations[0].summary}"
    more = f" (and {len(ill) - 1} more)" if len(ill) > 1 else ""
    return status, f"{ill[0].object}: {ill[0].summary}{more}"


def performance(observations: t.Sequence[Observation], setting: CheckSetting) -> list[str]:
    """Return the performance data of a check."""
    found = []
    for one in observations:
        for name, entry in one.metrics.items():
            found.append(performance_value(f"{one.object} {name}", entry["value"], str(entry.get("unit") or ""), setting.thresholds.get(name)))
    return found


def text_of(setting: CheckSetting, observations: t.Sequence[Observation], verbose: bool = False) -> str:
    """Return the output of a check: the line that Nagios reads, then what is not ok with its cause and the next command."""
    status, summary = summarise(observations)
    return render(setting.name, status, summary, performance(observations, setting), [*_lines(observations, verbose)])


def _lines(observations: t.Sequence[Observation], verbose: bool) -> t.Iterator[str]:
    by_name = {one.object: one for one in observations}
    for one in sorted(observations, key=lambda one: (explained_by(one, by_name) is not None, _ORDER[one.status], one.object)):
        if one.status == "ok" and not verbose:
            continue
        parent = explained_by(one, by_name)
        yield f"[{one.status}] {one.object}: {one.summary}" + (f" (explained by {parent})" if parent else "")
        if parent is None and one.status != "ok":
            if one.cause:
                yield f"  cause: {one_line(one.cause)}"
            for line in one.details:
                yield f"  {one_line(line, 200)}"
            if one.next_command:
                yield f"  next: {one_line(one.next_command)}"


def as_json(setting: CheckSetting, observations: t.Sequence[Observation]) -> dict[str, t.Any]:
    """Return what a check saw as JSON has it."""
    status, summary = summarise(observations)
    by_name = {one.object: one for one in observations}
    rows = []
    for one in observations:
        row = {name: getattr(one, name) for name in ("object", "status", "summary", "stack", "cause", "next_command")}
        rows.append({**row, "details": list(one.details), "explained_by": explained_by(one, by_name), "metrics": {**one.metrics}})
    return {"check": setting.name, "type": setting.type, "status": status, "summary": summary, "observations": rows}


# -- node_exporter ----------------------------------------------------------------------------------------------------------


def write_metrics(directory: str, name: str, text: str) -> None:
    """Write ``stackops_<name>.prom`` for node_exporter's textfile collector, whole and without times, as it asks for."""
    write_whole(os.path.join(directory, f"stackops_{name}.prom"), text.encode(), 0o644)


def exposition(setting: CheckSetting, observations: t.Sequence[Observation], now: float, seconds: float, alerts: t.Mapping[str, int]) -> str:
    """Return a check in Prometheus' text format; *alerts* are numbers of alerts by their state, such as ``queued``."""
    status, dummy = summarise(observations)
    check = _label(setting.name)
    families: list[tuple[str, str, list[tuple[str, float]]]] = [
        ("stackops_check_status", "0 ok, 1 warning, 2 critical, 3 unknown", [(f'check="{check}"', EXIT_CODES[status])]),
        (
            "stackops_object_status",
            "0 ok, 1 warning, 2 critical, 3 unknown",
            [(f'check="{check}",object="{_label(one.object)}",stack="{_label(one.stack)}"', EXIT_CODES[one.status]) for one in observations],
        ),
        (
            "stackops_object_metric",
            "a number that the check measured",
            [
                (f'check="{check}",object="{_label(one.object)}",stack="{_label(one.stack)}",metric="{_label(name)}"', entry["value"])
                for one in observations
                for name, entry in one.metrics.items()
                if entry["value"] is not None
            ],
        ),
        ("stackops_check_last_run_timestamp_seconds", "when it ran last", [(f'check="{check}"', now)]),
        ("stackops_check_duration_seconds", "how long that took", [(f'check="{check}"', seconds)]),
        ("stackops_check_alerts", "alerts of all checks", [(f'check="{check}",state="{_label(one)}"', count) for one, count in alerts.items()]),
    ]
    lines = []
    for name, words, samples in families:
        if samples:
            lines += [f"# HELP {name} {words}", f"# TYPE {name} gauge", *(f"{name}{{{labels}}} {value:.10g}" for labels, value in samples)]
    return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return _LABEL.sub(lambda match: {"\\": "\\\\", '"': '\\"', "\n": "\\n"}[match[0]], text)
