# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Do the PostgreSQL servers answer, and does something in them stand out: connections, locks, long and idle transactions."""

from __future__ import annotations

import typing as t

from ._envelope import CheckError, metric, worst
from ._monitoring_checks import CheckResult, CheckRun
from ._monitoring_types import Observation
from ._postgres import Login, PostgresOptions
from ._postgres_health import collect_postgres

if t.TYPE_CHECKING:
    from ._discovery import Stack
    from ._engine import Engine

Facts = dict[str, t.Any]

_SHOWN = 3


def check(run: CheckRun) -> CheckResult:
    """Ask every server once."""
    servers = tuple(Login.from_params(server) for server in run.monitoring.params["postgres"])
    engine: t.Optional[Engine] = None
    stacks: list[Stack] = []
    observations: list[Observation] = []
    try:
        engine, stacks = run.monitoring.discover()
    except CheckError as error:
        words = f"servers in containers were not looked for: {error.source}: {error.reason}"
        observations.append(Observation("containers", "unknown", words, next_command=error.hint, parents=("health:engine",)))
    limit = max(5.0, run.setting.timeout_seconds - 5)
    facts = collect_postgres(stacks, engine, PostgresOptions(servers=servers, timeout_seconds=limit))
    observations += [instance_observation(one, run) for one in facts["instances"]]
    return CheckResult(tuple(observations))


def instance_observation(instance: Facts, run: CheckRun) -> Observation:
    """Return the observation of one server of the ``postgres`` facts."""
    used = instance["connections"]["used_percent"]
    verdicts = run.setting.verdict({"connections_used_percent": used})
    parents = (f"health:{instance['project']}/{instance['service']}",) if instance["project"] and instance["service"] else ()
    concerns = [one for one in instance["concerns"] if one != "connections" or verdicts.get("connections_used_percent") != "ok"]
    if not instance["reachable"]:
        summary = f"cannot be used: {instance['message'] or instance['failure'] or 'no answer'}"
        status = instance["status"]
    else:
        # The instance's own verdict includes the standard limits of connections, which may have been changed here.
        own = instance["status"] if concerns else "ok"
        status = worst([own, *verdicts.values()])
        summary = f"{', '.join(concerns)}" if concerns else f"PostgreSQL {instance['version']} answers, {used or 0:g} % of its connections are in use"
    fix = instance["statements"]["fix"] if not instance["reachable"] else []
    look = f"docker ps -a --filter name={instance['service']}" if parents else ""
    metrics = {} if used is None else {"connections_used_percent": metric(used, "%")}
    return Observation(
        instance["name"],
        status,
        summary,
        instance["project"] or "",
        next_command=(fix[0] if fix else look) if status != "ok" else "",
        parents=parents,
        details=tuple(_activity(instance)) if status != "ok" else (),
        metrics=metrics,
    )


def _activity(instance: Facts) -> t.Iterator[str]:
    activity = instance["activity"]
    for row in (activity["blocked"] or [])[:_SHOWN]:
        yield f"pid {row['pid']} waits for pid {row['root_blocker']} since {row['wait_seconds']:.0f} s"
    for name, words in (("long_running", "runs"), ("idle_in_transaction", "is idle in a transaction")):
        for row in (activity[name] or [])[:_SHOWN]:
            yield f"pid {row['pid']} ({row['user']}) {words} since {row['duration_seconds']:.0f} s: {row['query'][:100]}"
