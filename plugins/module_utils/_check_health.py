# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Is what the stacks declare up: the engine, the containers and their health, the endpoints and how fast they answer."""

from __future__ import annotations

import dataclasses
import os
import shlex
import time
import typing as t

from ._check_http import endpoint_observations
from ._compose_config import ComposeConfig, Dependency, ServiceConfig, project_env_file, start_configs
from ._compose_health import ComposeCollector, ComposeOptions, redacted
from ._discovery import Stack
from ._envelope import CheckError
from ._host_resources import kernel_oom_kills
from ._http_probe import collect_http
from ._monitoring_checks import CheckResult, CheckRun
from ._monitoring_types import Observation

Facts = dict[str, t.Any]

ENGINE = "engine"
_KERNEL_LOG_SECONDS = 3600.0
_CONFIG_SECONDS = 15.0
_ENDPOINT_SECONDS = 15.0
# The Compose file may include others that we know nothing of.
_CONFIG_AGE_SECONDS = 3600.0
#: What to type next for a container whose log has nothing to say about it.
_COMMANDS = {"terminated": "docker start", "created-never-started": "docker start", "paused": "docker unpause"}


def check(run: CheckRun) -> CheckResult:
    """Look at everything once. Kept are what each project declares, and what there was to see."""
    try:
        engine, stacks = run.monitoring.discover()
    except CheckError as error:
        return _without_engine(run, error)
    projects = _configure(stacks, run)
    stacks += _without_containers(projects, {stack.name for stack in stacks})
    known = {container.id for stack in stacks for container in stack.siblings}
    kills = None if engine.remote else (lambda: kernel_oom_kills(time.time() - _KERNEL_LOG_SECONDS, known))
    facts = ComposeCollector(stacks, engine, ComposeOptions(stats=False, kernel_oom_kills=kills, read_configs=False)).finish()
    services = service_observations(redacted(facts, stacks))
    observations = [Observation(ENGINE, "ok", f"{engine.flavour} {engine.version} answers"), *services]
    if run.setting.options["endpoints"]:
        timeout = run.setting.options["request_timeout_seconds"]
        http = collect_http(
            stacks,
            run.monitoring.params["endpoints"],
            remote=engine.remote,
            engine=engine,
            timeout_seconds=timeout,
            deadline_seconds=_ENDPOINT_SECONDS,
            warning_ms=None,
            critical_ms=None,
        )
        observations += with_dependencies(endpoint_observations(redacted(http, stacks), run.setting), services)
    seen = [[one.object, one.stack] for one in observations if one.object != ENGINE]
    return CheckResult(tuple(observations), {"projects": projects, "seen": seen})


def _without_engine(run: CheckRun, error: CheckError) -> CheckResult:
    """Say that the engine does not answer; of all else nothing is known while that is so."""
    status = "unknown" if error.code in ("permission-denied", "sdk-missing", "project-unknown") else "critical"
    observations = [Observation(ENGINE, status, f"{error.source}: {error.reason}", next_command=error.hint or "systemctl status docker")]
    for name, stack in run.memory.get("seen") or []:
        observations.append(Observation(name, "unknown", "the engine does not answer", stack, parents=(ENGINE,)))
    return CheckResult(tuple(observations), dict(run.memory))


# -- what is declared --------------------------------------------------------------------------------------------------


def _configure(stacks: t.Sequence[Stack], run: CheckRun) -> Facts:
    """Give each stack its resolved Compose file, and return what to keep of it.

    Reading it takes Compose most of a second of CPU time, so it is read when one of its files has changed, and now and then.
    """
    projects: Facts = dict(run.memory.get("projects") or {})
    pending = []
    for stack in stacks:
        key = _files_key(stack)
        kept = projects.get(stack.name) or {}
        if kept.get("key") == key and 0 <= run.now - float(kept.get("at") or 0) < _CONFIG_AGE_SECONDS:
            stack.declare(_load_config(kept["services"], kept["name"]))
        else:
            pending.append((stack, key))
    start_configs([stack for stack, dummy in pending], _CONFIG_SECONDS)
    for stack, key in pending:
        config = stack.config
        if config is not None:
            where = {"working_dir": stack.working_dir, "config_files": list(stack.config_files), "flavour": stack.flavour}
            projects[stack.name] = {"key": key, "at": run.now, "name": config.name, "services": _dump_config(config), **where}
        elif stack.name in projects:
            # It cannot be read now; what it said last still holds.
            stack.declare(_load_config(projects[stack.name]["services"], projects[stack.name]["name"]))
    return projects


def _files_key(stack: Stack) -> list[t.Any]:
    key: list[t.Any] = []
    for path in (*stack.config_files, *stack.environment_files, project_env_file(stack)):
        try:
            status = os.stat(path) if path else None
        except OSError:
            status = None
        key.append([path, status.st_mtime_ns, status.st_size] if status else [path])
    return key


def _without_containers(projects: Facts, found: t.Container[str]) -> list[Stack]:
    """Return the projects of which no container is left, as long as their Compose file is; the others are forgotten."""
    gone = []
    for name in sorted(set(projects) - {one for one in projects if one in found}):
        kept = projects[name]
        if not kept["config_files"] or not all(os.path.exists(path) for path in kept["config_files"]):
            del projects[name]
            continue
        gone.append(Stack(name, kept["flavour"], kept["working_dir"], kept["config_files"], config=_load_config(kept["services"], kept["name"])))
    return gone


def _dump_config(config: ComposeConfig) -> list[Facts]:
    """Return the services as JSON, without what may hold secrets."""
    return [{**dataclasses.asdict(one), "environment": {}, "command": list(one.command)[:1]} for one in config.services.values()]


def _load_config(services: t.Sequence[Facts], name: t.Optional[str]) -> ComposeConfig:
    loaded = {}
    for one in services:
        dependencies = tuple(Dependency(**dependency) for dependency in one["depends_on"])
        loaded[one["name"]] = ServiceConfig(**{**one, "depends_on": dependencies, "command": tuple(one["command"])})
    return ComposeConfig(loaded, name)


# -- observations ------------------------------------------------------------------------------------------------------


def service_observations(facts: Facts) -> list[Observation]:
    """Return one observation for each service that ought to run, from the ``compose`` facts."""
    observations = []
    for project in facts["projects"]:
        for service in project["services"]:
            rows = [row for row in facts["containers"] if (row["project"], row["service"]) == (project["name"], service["name"]) and not row["oneoff"]]
            if service["expected_replicas"] == 0 and not rows:
                continue
            observations.append(_service(project, service, rows))
    return observations


def with_dependencies(endpoints: t.Sequence[Observation], services: t.Sequence[Observation]) -> list[Observation]:
    """Return *endpoints*, each explained by what its service needs as well: a dead database answers for a service that runs."""
    parents = {one.object: one.parents for one in services}
    return [dataclasses.replace(one, parents=(*one.parents, *(more for parent in one.parents for more in parents.get(parent, ())))) for one in endpoints]


def _service(project: Facts, service: Facts, rows: t.Sequence[Facts]) -> Observation:
    name = f"{project['name']}/{service['name']}"
    parents = (ENGINE, *(f"{project['name']}/{one['service']}" for one in service["depends_on"]))
    common: dict[str, t.Any] = {"stack": project["name"], "parents": parents}
    if not rows and service["one_shot"]:
        return Observation(name, "ok", "a job that has ended", **common)
    if not rows:
        directory = f"cd {shlex.quote(project['working_dir'])} && " if project["working_dir"] else ""
        return Observation(name, "critical", "is down: it has no container", next_command=f"{directory}{_compose(project)} up -d {service['name']}", **common)
    ill = [row for row in rows if row["status"] != "ok"]
    if not ill:
        fewer = service["expected_replicas"] is not None and len(rows) < service["expected_replicas"]
        words = f"{len(rows)} of {service['expected_replicas']} replicas run" if fewer else "runs" + (", healthy" if _healthy(rows) else "")
        return Observation(name, service["status"], words, **common)
    worst_row = max(ill, key=lambda row: ("unknown", "warning", "critical").index(row["status"]))
    cause = worst_row["cause"] or {}
    summary = f"{worst_row['state']}: {cause['summary']}" if cause else f"is {worst_row['state']}"
    details = tuple(str(line) for line in worst_row["last_log_lines"][-3:])
    command = f"{_COMMANDS.get(cause.get('code', ''), 'docker logs --tail 50')} {worst_row['name']}"
    error = cause.get("error") or {}
    return Observation(name, service["status"], summary, cause=str(error.get("message") or ""), next_command=command, details=details, **common)


def _healthy(rows: t.Sequence[Facts]) -> bool:
    return all(row["health"]["status"] == "healthy" for row in rows)


def _compose(project: Facts) -> str:
    return {"compose-v1": "docker-compose", "podman-compose": "podman-compose"}.get(project["flavour"], "docker compose")
