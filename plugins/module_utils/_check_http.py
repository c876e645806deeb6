# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Do endpoints answer as they should, and how fast."""

from __future__ import annotations

import shlex
import typing as t

from ._envelope import metric, worst
from ._http_probe import collect_http
from ._monitoring_checks import CheckResult, CheckRun
from ._monitoring_types import Observation

if t.TYPE_CHECKING:
    from ._monitoring_options import CheckSetting

_WORDS = {"response_time_seconds": "in total", "first_byte_seconds": "to the first byte"}


def check(run: CheckRun) -> CheckResult:
    """Ask the endpoints that the check names; the engine is not needed."""
    options = run.setting.options
    facts = collect_http((), options["endpoints"], False, timeout_seconds=options["request_timeout_seconds"], warning_ms=None, critical_ms=None)
    return CheckResult(tuple(endpoint_observations(facts, run.setting)))


def endpoint_observations(facts: t.Mapping[str, t.Any], setting: CheckSetting) -> list[Observation]:
    """Return one observation for each endpoint of the ``http`` facts."""
    observations = [_endpoint(row, setting) for row in facts["endpoints"]]
    urls = {row["url"] for row in facts["endpoints"]}
    for error in facts["errors"]:
        if error["source"] not in urls:
            observations.append(Observation(error["source"], "unknown", error["reason"], next_command=error["hint"]))
    return observations


def _endpoint(row: t.Mapping[str, t.Any], setting: CheckSetting) -> Observation:
    seconds = {"response_time_seconds": _seconds(row["time_total_ms"]), "first_byte_seconds": _seconds(row["time_first_byte_ms"])}
    verdicts = setting.verdict(seconds) if row["failure"] in (None, "slow") and row["reachable"] else {}
    status = worst([row["status"], *verdicts.values()])
    slow = [f"{seconds[name]:.2f} s {_WORDS[name]}" for name, verdict in verdicts.items() if verdict != "ok"]
    if row["status"] != "ok":
        summary = str(row["message"] or row["failure"])
    elif slow:
        summary = f"answers slowly: {', '.join(slow)}"
    else:
        summary = f"HTTP {row['http_status']} in {seconds['response_time_seconds'] or 0:.3f} s"
    stack = row["project"] or ""
    parents = (f"{stack}/{row['service']}",) if stack and row["service"] else ()
    # What is seen from inside a container's network cannot be asked for from here.
    command = f"curl -v {shlex.quote(row['url'])}" if row["via"] == "host" else ""
    metrics = {name: metric(value, "s") for name, value in seconds.items()}
    return Observation(
        row["url"] if row["via"] == "host" else f"{row['name']} {row['url']}",
        status,
        summary,
        stack,
        next_command=command,
        parents=parents,
        details=(str(row["body_excerpt"]),) if row["body_excerpt"] else (),
        metrics=metrics,
    )


def _seconds(milliseconds: t.Optional[float]) -> t.Optional[float]:
    return None if milliseconds is None else round(milliseconds / 1000, 4)
