# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Which remediations to carry out on a host: those that were asked for by name, or those of a report's findings."""

from __future__ import annotations

import dataclasses
import difflib
import json
import typing as t


@dataclasses.dataclass(frozen=True)
class Action:
    """The parameters of one action: those it cannot do without, and others."""

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def parameters(self) -> tuple[str, ...]:
        """All of them."""
        return self.required + self.optional


#: By name; each has a task file of that name in the role ``remediate``.
ACTIONS: t.Mapping[str, Action] = {
    "restart_service": Action(("service",), ("grace_seconds",)),
    "recreate_service": Action(("service",), ("force",)),
    "start_missing": Action((), ("services",)),
    "pull_image": Action(("service",)),
    "build_check": Action(("service",), ("no_cache", "timeout_seconds")),
    "rebuild_service": Action(("service",), ("pull", "timeout_seconds")),
    "run_command": Action(("service", "command"), ("user", "entrypoint", "with_dependencies", "timeout_seconds", "ignore_exit_code")),
    "resource_limits": Action(("service",), ("memory", "cpus", "memory_reservation", "cpus_reservation")),
    "health_check": Action(("service", "test"), ("interval", "timeout", "retries", "start_period")),
    "restart_policy": Action(("service", "policy")),
    "docker_cleanup": Action((), ("older_than_hours", "images", "build_cache", "one_offs")),
    "migration_status": Action((), ("service",)),
    "migration_upgrade": Action((), ("service", "revision", "backup", "timeout_seconds")),
    "migration_stamp": Action(("revision",), ("service",)),
    "reset_database": Action((), ("service", "database_service", "database")),
    "debug_on": Action((), ("service", "minutes", "variables", "env_file")),
    "debug_off": Action(),
    "docker_group": Action(("user",), ("group",)),
    "socket_permissions": Action((), ("socket", "group")),
    "create_extension": Action((), ("extension", "service", "database")),
    "terminate_session": Action((), ("service", "sessions", "blocking_seconds", "idle_in_transaction_seconds")),
    "suggest_indexes": Action((), ("service",)),
    "log_cleanup": Action((), ("directories", "older_than_days", "patterns")),
}

Step = dict[str, t.Any]
Report = t.Mapping[str, t.Any]


class PlanError(ValueError):
    """What was asked for cannot be done; the message says why, and what there is."""


def remediation_plan(actions: t.Any, host: str, report: t.Optional[Report] = None, rules: t.Any = (), stack: str = "", service: str = "") -> dict[str, t.Any]:
    """Return ``steps`` (``action``, ``project``, ``parameters``, and the ``findings`` it is for), ``notes``, and the ``problem`` where there is one."""
    try:
        asked = [_asked(entry, service) for entry in _entries(actions)]
        if asked and report is not None:
            raise PlanError("Set remediate_actions or remediate_from, not both.")
        if report is None:
            if not asked:
                raise PlanError(f"Nothing was asked for. Set remediate_from to a report, or remediate_actions to some of: {', '.join(sorted(ACTIONS))}.")
            return {"problem": "", "steps": asked, "notes": []}
        steps, notes = _of_report(report, host, _words(rules), stack)
        return {"problem": "", "steps": steps, "notes": notes}
    except PlanError as error:
        return {"problem": str(error), "steps": [], "notes": []}


def step_problem(action: t.Any, parameters: t.Collection[str]) -> str:
    """Return what is wrong with an action's name or the names of its parameters, nothing where they are right."""
    known = ACTIONS.get(action) if isinstance(action, str) else None
    if known is None:
        close = difflib.get_close_matches(str(action), ACTIONS, 1)
        return f"There is no action {action!r}{f'; did you mean {close[0]}?' if close else ''}. There are: {', '.join(sorted(ACTIONS))}."
    unknown = sorted(set(parameters) - set(known.parameters))
    if unknown:
        return f"{action} has no parameter {unknown[0]}. It has: {', '.join(known.parameters) or 'none'}."
    missing = [name for name in known.required if name not in parameters]
    if missing:
        return f"{action} needs {', '.join(missing)}, for example {_example(action, known)}"
    return ""


def _example(action: str, known: Action) -> str:
    values = {"action": action, **{name: ["..."] if name in ("command", "test") else "..." for name in known.required}}
    return f"-e '{json.dumps({'remediate_actions': [values]})}'"


def _entries(actions: t.Any) -> list[t.Any]:
    if isinstance(actions, str):
        return _words(actions)
    if isinstance(actions, t.Mapping):
        return [actions]
    if not isinstance(actions, (list, tuple)):
        raise PlanError(f"remediate_actions must be a list of names and mappings, not {type(actions).__name__}.")
    return list(actions)


def _words(value: t.Any) -> list[str]:
    """Return a list, or names with commas between them as one types them."""
    words = value.split(",") if isinstance(value, str) else list(value or ())
    return [str(word).strip() for word in words if str(word).strip()]


def _asked(entry: t.Any, service: str) -> Step:
    given = dict(entry) if isinstance(entry, t.Mapping) else {"action": entry}
    action, project = given.pop("action", None), given.pop("project", "")
    known = ACTIONS.get(action) if isinstance(action, str) else None
    if service and known is not None and "service" in known.parameters:
        given.setdefault("service", service)
    problem = step_problem(action, given)
    if problem:
        raise PlanError(problem)
    return {"action": action, "project": project, "parameters": given, "findings": []}


def _of_report(report: Report, host: str, rules: t.Sequence[str], stack: str) -> tuple[list[Step], list[str]]:
    row = (report.get("hosts") or {}).get(host)
    if row is None:
        raise PlanError(f"The report has no host {host}. It has: {', '.join(sorted(report.get('hosts') or {})) or 'none'}.")
    findings = [finding for finding in row.get("findings") or () if finding.get("result") == "fire"]
    unknown = sorted(set(rules) - {finding["rule"] for finding in findings})
    if unknown:
        there = ", ".join(sorted({finding["rule"] for finding in findings})) or "none"
        raise PlanError(f"The report has no finding of {', '.join(unknown)} on {host}. It has findings of: {there}.")
    effects = {effect for finding in findings for effect in finding.get("effects") or ()}
    steps: list[Step] = []
    notes: list[str] = []
    for finding in findings:
        # What another finding explains goes with its cause, unless it is asked for.
        if finding["rule"] not in rules if rules else finding["id"] in effects:
            continue
        remedy = dict(finding.get("remediation") or {})
        action, project = remedy.pop("action", None), remedy.pop("project", "")
        if stack and project != stack and not str(finding["object"]).startswith(f"{stack}/"):
            continue
        if action is None:
            notes.append(f"{finding['rule']} ({finding['object']}): no action for it, see its steps in the report")
            continue
        problem = step_problem(action, remedy)
        if problem:
            raise PlanError(f"The report has an action that this version does not know: {problem}")
        found = {"id": finding["id"], "name": f"{finding['rule']} {finding['object']}"}
        same = next((step for step in steps if (step["action"], step["project"], step["parameters"]) == (action, project, remedy)), None)
        if same is not None:
            same["findings"].append(found)
        else:
            steps.append({"action": action, "project": project, "parameters": remedy, "findings": [found]})
    if not steps:
        notes.append(f"There is nothing to do for {host}{f' in the stack {stack}' if stack else ''}: no finding that has an action.")
    return steps, notes
