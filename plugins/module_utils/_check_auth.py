# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Does somebody guess passwords, look for holes, or write where nobody writes: what the requests in the logs tell."""

from __future__ import annotations

import math
import typing as t

from ._envelope import CheckError, metric
from ._monitoring_checks import CheckResult, CheckRun
from ._monitoring_types import Observation
from ._nagios import Range
from ._request_check import openapi_locations, sources_of
from ._request_findings import RequestFindings, RuleFinding, WatchedLog
from ._request_rules import RULES, WatchOptions
from ._request_watch import watch_requests

if t.TYPE_CHECKING:
    from ._engine import Engine
    from ._log_sources import LogSource


def check(run: CheckRun) -> CheckResult:
    """Judge what is new in the logs since the last run; by hand, their last window."""
    engine, sources, routes, errors = _sources(run)
    try:
        options = WatchOptions.from_options({"openapi": routes, **_options(run)})
    except (TypeError, ValueError) as error:
        raise CheckError(run.setting.name, str(error), "Correct the check in monitoring_checks, and run the role monitoring again.", "invalid-option") from None
    state, found = watch_requests(sources, engine, options, dict(run.memory) if run.scheduled else None, run.now)
    observations = [*_rules(found, options), *_unreadable([*errors, *found.errors])]
    return CheckResult(tuple(observations), state if run.scheduled else {})


def _options(run: CheckRun) -> dict[str, t.Any]:
    limits = run.setting.thresholds["failed_logins"]
    numbers = {"auth_failures_warning": _first_above(limits.warning), "auth_failures_critical": _first_above(limits.critical)}
    return {**run.setting.options["watch"], "window_seconds": run.setting.options["window_seconds"], **numbers}


def _first_above(limit: t.Optional[Range]) -> t.Optional[float]:
    """Return the smallest number of failures that a range like ``50`` alerts of."""
    if limit is None:
        return None
    if limit.inside or limit.end == math.inf:
        raise ValueError(f"failed_logins takes thresholds like 50 (more than 50), not {limit.text!r}")
    return math.floor(limit.end) + 1


def _sources(run: CheckRun) -> tuple[t.Optional[Engine], list[LogSource], dict[str, str], list[CheckError]]:
    """Return engine, logs to read, where applications say which routes they have, and what is wrong. Logs at paths need no engine."""
    if run.setting.options["paths"]:
        sources, errors = sources_of((), None, run.setting.options["paths"])
        return None, sources, {}, errors
    engine, stacks = run.monitoring.discover()
    sources, errors = sources_of(stacks, engine, run.monitoring.params["log_paths"])
    return engine, sources, openapi_locations(stacks, engine), errors


def _rules(found: RequestFindings, options: WatchOptions) -> t.Iterator[Observation]:
    """Yield one observation for every rule and stack: those that did not fire are what an alert of them recovers with."""
    fired = {(one.stack, one.rule): one for one in found.findings}
    for stack in found.stacks:
        # A request may be in two logs of one service, and a failed login in words as well as by its status: the fuller log counts.
        logins = fired[(stack, "auth_failures")].count if (stack, "auth_failures") in fired else _fullest(found, stack, _failures)
        requests = _fullest(found, stack, lambda log: log.requests)
        for rule in RULES:
            if rule in options.disabled:
                continue
            name = f"{stack} {rule}".strip()
            metrics = {"failed_logins": metric(logins), "requests": metric(requests)} if rule == "auth_failures" else {}
            if (stack, rule) in fired:
                yield _fired(name, fired[(stack, rule)], metrics)
            else:
                yield Observation(name, "ok", f"nothing in {requests} requests", stack, metrics=metrics)


def _failures(log: WatchedLog) -> int:
    return max(log.failed_logins, log.statuses.get(401, 0))


def _fullest(found: RequestFindings, stack: str, count: t.Callable[[WatchedLog], int]) -> int:
    """Return the sum over the services of a stack of what the fullest log of each has."""
    most: dict[str, int] = {}
    for log in found.logs:
        if log.stack == stack:
            most[log.service or log.name] = max(most.get(log.service or log.name, 0), count(log))
    return sum(most.values())


def _fired(name: str, finding: RuleFinding, metrics: dict[str, t.Any]) -> Observation:
    details = [f"{count} x {client}" for client, count in finding.clients]
    details += [f"{count} x {path}" for path, count in finding.paths]
    details += finding.samples
    return Observation(name, finding.status, finding.summary, finding.stack, next_command=finding.hint, details=tuple(details), metrics=metrics)


def _unreadable(errors: t.Sequence[CheckError]) -> t.Iterator[Observation]:
    for source, error in {error.source: error for error in errors}.items():
        yield Observation(source, "unknown", error.reason, next_command=error.hint)
