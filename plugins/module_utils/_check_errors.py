# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""How many errors the logs got in the window, and how many requests ended with one."""

from __future__ import annotations

import shlex
import typing as t

from ._envelope import metric, worst
from ._log_cursor import Cursors
from ._log_error_rate import LogOptions, collect_logs
from ._log_formats import CRITICAL, ERROR, WARNING
from ._monitoring_checks import CheckResult, CheckRun
from ._monitoring_types import Observation

Facts = dict[str, t.Any]

_LEVELS = {"warning": WARNING, "error": ERROR, "critical": CRITICAL}
_SHOWN_GROUPS = 3
# A log that could not be read at all; one that is empty, or is no log of levels, is told by the diagnosis.
_UNREADABLE = frozenset({"missing", "permission-denied", "driver-unreadable", "timeout"})


def check(run: CheckRun) -> CheckResult:
    """Count what is new in the logs since the last run, or by hand what the window has.

    Kept are the places that reading got to, and the counts of runs that the window still covers: a check that runs more often
    than its window is long judges the whole window.
    """
    options = run.setting.options
    window = float(options["window_seconds"])
    cursors = _cursors(run)
    paths = tuple(options["paths"] or run.monitoring.params["log_paths"])
    engine, stacks = (None, []) if options["paths"] else run.monitoring.discover()
    log_options = LogOptions(
        window_seconds=window,
        paths=paths,
        baseline=False,
        minimum_level=_LEVELS[options["level"]],
        # What a host wrote before a pause is no news of the last minutes.
        oldest=run.now - 2 * window,
    )
    logs, requests = collect_logs(stacks, engine, log_options, cursors, run.now)
    memory = dict(run.memory)
    recent: dict[str, list[list[float]]] = memory.get("recent") or {}
    observations = []
    counts = _count(logs, requests, options["level"])
    for stack in sorted({*counts, *recent}):
        samples = [one for one in recent.get(stack, []) if run.now - window < one[0] <= run.now] if cursors is not None else []
        samples.append([run.now, *counts.get(stack, (0, 0, 0))])
        recent[stack] = samples
        observations.append(_observation(run, stack, samples, [one for one in logs["sources"] if (one["project"] or "") == stack]))
    observations += [_unreadable(one, logs["errors"]) for one in logs["sources"] if one["reason"] in _UNREADABLE]
    if cursors is not None:
        memory = {"recent": {stack: samples for stack, samples in recent.items() if stack in counts}, "cursors": cursors.as_state(run.now)}
    return CheckResult(tuple(observations), memory)


def _cursors(run: CheckRun) -> t.Optional[Cursors]:
    """Return how far reading got; ``None`` by hand, where the window is read instead."""
    if not run.scheduled:
        return None
    try:
        return Cursors.from_state(run.memory["cursors"])
    except (KeyError, ValueError):
        return Cursors("")


def _count(logs: Facts, requests: Facts, level: str) -> dict[str, tuple[int, int, int]]:
    """Return errors, requests and those that ended with a server error, by project (empty outside Compose)."""
    counts: dict[str, tuple[int, int, int]] = {}
    for one in logs["sources"]:
        errors, total, failed = counts.get(one["project"] or "", (0, 0, 0))
        more = sum(group["count"] for group in one["groups"] if group["level"] == "warning") if level == "warning" else 0
        counts[one["project"] or ""] = (errors + one["errors"] + more, total, failed)
    # A request is often in two logs of one service, its own and that of its container: the fuller one counts.
    fullest: dict[tuple[str, str], tuple[int, int]] = {}
    for one in requests["sources"]:
        key = (one["project"] or "", one["service"] or one["name"])
        fullest[key] = max(fullest.get(key, (0, 0)), (one["requests"], one["errors_5xx"]))
    for (project, dummy), (more_requests, more_failed) in fullest.items():
        errors, total, failed = counts.get(project, (0, 0, 0))
        counts[project] = (errors, total + more_requests, failed + more_failed)
    return counts


def _observation(run: CheckRun, stack: str, samples: t.Sequence[t.Sequence[float]], sources: t.Sequence[Facts]) -> Observation:
    errors, total, failed = (int(sum(one[column] for one in samples)) for column in (1, 2, 3))
    enough = total >= run.setting.options["minimum_requests"]
    numbers: dict[str, t.Optional[float]] = {"errors": errors, "server_errors_percent": round(100 * failed / total, 2) if enough else None}
    status = worst(run.setting.verdict(numbers).values())
    minutes = run.setting.options["window_seconds"] / 60
    summary = f"{errors} errors in {minutes:g} min"
    if failed:
        summary += f", {failed} of {total} requests ended with a server error"
    counted = ("warning", "error", "critical") if run.setting.options["level"] == "warning" else ("error", "critical")
    found = ((group, one) for one in sources for group in one["groups"] if group["level"] in counted)
    groups = sorted(found, key=lambda pair: -pair[0]["count"])[:_SHOWN_GROUPS]
    details = tuple(f"{group['count']} x {group['sample']} ({one['service'] or one['name']})" for group, one in groups)
    cause = ""
    if groups and groups[0][0]["error"]:
        cause = str(groups[0][0]["error"].get("message") or groups[0][0]["error"].get("kind") or "")
    source = groups[0][1] if groups else next((one for one in sources if one["errors"]), sources[0] if sources else None)
    units = {"errors": "", "server_errors_percent": "%"}
    metrics = {name: metric(value, units[name]) for name, value in numbers.items() if value is not None}
    # While a service of the stack is down, what fails because of it is no news of its own.
    parents = tuple(sorted({f"health:{stack}/{one['service']}" for one in sources if stack and one["service"]}))
    return Observation(stack or "logs", status, summary, stack, cause, _look(source, minutes), parents, details, metrics)


def _look(source: t.Optional[Facts], minutes: float) -> str:
    """Return the command that shows the log where most errors are."""
    if source is None:
        return ""
    if source["type"] == "file" and source["paths"]:
        return f"tail -n 200 {shlex.quote(source['paths'][-1])}"
    if source["type"] == "journald":
        return f"journalctl -u {shlex.quote(source['name'].partition(':')[2])} --since -{minutes:g}min"
    return f"docker logs --since {minutes:g}m {shlex.quote(source['name'].partition(':')[2])}"


def _unreadable(source: Facts, errors: t.Sequence[t.Mapping[str, str]]) -> Observation:
    error = next((one for one in errors if one["source"] == source["name"]), {})
    parents = (f"health:{source['project']}/{source['service']}",) if source["project"] and source["service"] else ()
    summary = f"cannot be read: {error.get('reason') or source['reason']}"
    return Observation(source["name"], "unknown", summary, source["project"] or "", next_command=error.get("hint", ""), parents=parents)
