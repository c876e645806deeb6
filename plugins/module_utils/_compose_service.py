# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Restart, recreate, start or pull services of a Compose project."""

from __future__ import annotations

import shlex
import time
import typing as t

from ._compose_config import start_configs
from ._compose_health import ComposeOptions, collect_compose
from ._compose_project import ComposeProject
from ._discovery import Selection, discover
from ._envelope import CheckError
from ._remediation import Change, Facts, NothingChanged, Verified, Work, run_remediation

_Dependencies = t.Mapping[str, t.Iterable[str]]


def run_compose_service(params: t.Mapping[str, t.Any], check_mode: bool) -> Facts:
    """Return the result of the module ``compose_service``."""
    plans = {"restarted": _restart, "recreated": _recreate, "started": _start, "pulled": _pull}
    return run_remediation(lambda: plans[params["state"]](ComposeProject.of(params), params), params, check_mode)


def start_order(missing: t.Iterable[str], depends_on: _Dependencies) -> list[str]:
    """Return the services of *missing* so that each comes after those that it depends on, through others as well."""
    wanted = set(missing)
    order: list[str] = []
    seen: set[str] = set()

    def visit(service: str) -> None:
        if service in seen:
            return
        seen.add(service)
        for other in sorted(depends_on.get(service, ())):
            visit(other)
        if service in wanted:
            order.append(service)

    for service in sorted(wanted):
        visit(service)
    return order


def _named(project: ComposeProject, params: t.Mapping[str, t.Any]) -> list[str]:
    services = list(dict.fromkeys(params["services"]))
    if not services:
        raise CheckError(project.name, "no service was named", "Name it in services.", "service-unknown")
    project.require(services)
    return services


def _target(project: ComposeProject, services: t.Sequence[str]) -> str:
    return f"{project.name}/{','.join(services)}"


def _states(project: ComposeProject, services: t.Sequence[str]) -> list[Facts]:
    return [row for service in services for row in project.state_of(service)]


def not_started_again(before: t.Sequence[Facts], after: t.Sequence[Facts]) -> list[str]:
    """Return the containers of *after* that do not run, or run since when they did *before*."""
    started = {row["id"]: row["started_at"] for row in before}
    return [row["container"] for row in after if row["started_at"] is None or row["started_at"] == started.get(row["id"])]


def _restart(project: ComposeProject, params: t.Mapping[str, t.Any]) -> Work:
    services = _named(project, params)
    before = _states(project, services)
    if not before:
        raise CheckError(_target(project, services), "it has no container that could be restarted", "Use the action start_missing.", "not-found")
    grace = [] if params["grace_seconds"] is None else ["-t", str(params["grace_seconds"])]
    argv = project.argv("restart", *grace, *services)

    def carry_out() -> Facts:
        project.carry_out(argv, params["command_timeout_seconds"])
        return {"containers": _states(project, services)}

    def verify() -> Verified:
        well = project.well(services, params["health_timeout_seconds"])
        left = not_started_again(before, _states(project, services))
        return Verified(False, f"not started again: {', '.join(left)}") if left else well

    return Work(
        Change(
            "restart_service",
            _target(project, services),
            f"restart {', '.join(services)}",
            (argv,),
            {"containers": before},
            {"state": "running", "started_at": "later"},
            ("Nothing is to be undone: it is the same container with the same configuration.",),
        ),
        carry_out,
        verify,
        project.redactor,
    )


def _recreate(project: ComposeProject, params: t.Mapping[str, t.Any]) -> Work:
    services = _named(project, params)
    before = _states(project, services)
    drift = {service: project.drift_of(service) for service in services}
    reasons = [f"{service}: {reason}" for service, found in drift.items() for reason in found]
    force = ["--force-recreate"] if params["force"] else []
    argv = project.up_argv(services, *force)

    def carry_out() -> Facts:
        project.keep_images(services)
        project.carry_out(argv, params["command_timeout_seconds"])
        after = _states(project, services)
        return {"containers": after, "changed": {row["id"] for row in after} != {row["id"] for row in before}}

    def verify() -> Verified:
        left = [f"{service}: {reason}" for service in services for reason in project.drift_of(service, "--no-deps" not in argv)]
        return Verified(False, "; ".join(left)) if left else project.well(services, params["health_timeout_seconds"])

    what = f"recreate {', '.join(services)}" + (f" ({'; '.join(reasons)})" if reasons else " (it is as declared, and is forced)" if force else "")
    undo = (
        *project.image_undo(services),
        "What has changed in the Compose file or .env is taken back there; then run the last command again.",
    )
    change = Change(
        "recreate_service",
        _target(project, services),
        what if reasons or force else f"{', '.join(services)} is as declared",
        (argv,),
        {"containers": before, "drift": reasons},
        {"drift": [], "state": "running"},
        undo,
        needed=bool(reasons or force),
    )
    return Work(change, carry_out, verify, project.redactor)


def _start(project: ComposeProject, params: t.Mapping[str, t.Any]) -> Work:
    project.require(params["services"])
    project.config  # noqa: B018  # it must be readable: without it nobody knows what is missing
    missing, depends_on = _missing(project, params["services"])
    order = start_order(missing, depends_on)
    commands = tuple(project.argv("up", "-d", "--no-recreate", "--no-build", service) for service in order)
    before = {service: [row["state"] for row in project.state_of(service)] or ["no container"] for service in order}

    def carry_out() -> Facts:
        deadline = time.monotonic() + params["health_timeout_seconds"]
        for service, argv in zip(order, commands):
            project.carry_out(argv, params["command_timeout_seconds"])
            # Each must be well before what depends on it is started; that it is not is told with its cause.
            well = project.well([service], max(1.0, deadline - time.monotonic()))
            if not well.ok:
                raise CheckError(f"{project.name}/{service}", f"it was started and is not well: {well.detail}", "Put that right first.", "unhealthy")
        return {service: [row["state"] for row in project.state_of(service)] for service in order}

    return Work(
        Change(
            "start_missing",
            _target(project, order) if order else project.name,
            f"start {', '.join(order)}, each after what it depends on" if order else "all services run",
            commands,
            before,
            dict.fromkeys(order, ["running"]),
            (shlex.join(project.argv("stop", *reversed(order))),) if order else (),
            needed=bool(order),
        ),
        carry_out,
        lambda: project.well(order, params["health_timeout_seconds"]),
        project.redactor,
    )


def _missing(project: ComposeProject, services: t.Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Return the services that should run and do not, and what each service depends on."""
    stacks = discover(project.engine, Selection(project_name=project.name)) if project.stack.siblings else [project.stack]
    start_configs(stacks)
    facts = collect_compose(stacks, project.engine, ComposeOptions(stats=False, log_tail=0))
    rows = facts["projects"][0]["services"]
    depends_on = {row["name"]: [dependency["service"] for dependency in row["depends_on"]] for row in rows}
    ended_well = {row["service"] for row in facts["containers"] if row["state"] == "exited" and row["exit_code"] == 0 and not row["oneoff"]} & {
        row["name"] for row in rows if row["one_shot"]
    }
    needed_jobs = {dependency["service"] for row in rows for dependency in row["depends_on"] if dependency["condition"] == "service_completed_successfully"}
    missing = [
        row["name"]
        for row in rows
        if not row["orphan"]
        and row["name"] not in ended_well
        and (row["missing"] or row["running_replicas"] < (row["expected_replicas"] or 0))
        # A job that nothing waits for was left away on purpose, or runs at its time.
        and (not row["one_shot"] or row["name"] in needed_jobs)
        and (not services or row["name"] in services)
    ]
    return missing, depends_on


def _pull(project: ComposeProject, params: t.Mapping[str, t.Any]) -> Work:
    services = _named(project, params)
    before = _states(project, services)
    pull = project.argv("pull", *services)
    made: list[tuple[str, ...]] = []
    up = project.up_argv(services)

    def carry_out() -> Facts:
        done = project.run(pull, params["command_timeout_seconds"])
        if done.exit_code != 0:
            from ._build_errors import classify_build  # here, because it is read where something failed  # pylint: disable=import-outside-toplevel

            failure = classify_build(done.text + "\n" + done.error_text)
            raise NothingChanged(_target(project, services), failure.summary, failure.hint, failure.kind)
        project.keep_images(services)
        # What they depend on may have the same image, which is another one by now.
        made.append(project.up_argv(services))
        project.carry_out(made[0], params["command_timeout_seconds"])
        after = _states(project, services)
        return {"containers": after, "changed": {(row["id"], row["image_id"]) for row in after} != {(row["id"], row["image_id"]) for row in before}}

    def verify() -> Verified:
        left = [reason for service in services for reason in project.drift_of(service, "--no-deps" not in made[0])]
        return Verified(False, "; ".join(left)) if left else project.well(services, params["health_timeout_seconds"])

    return Work(
        Change(
            "pull_image",
            _target(project, services),
            f"pull the images of {', '.join(services)}, and recreate what has an older one (only the registry knows whether there is a newer one)",
            (pull, up),
            {"containers": before},
            {"image_id": "what the registry has under this name"},
            project.image_undo(services),
        ),
        carry_out,
        verify,
        project.redactor,
    )
