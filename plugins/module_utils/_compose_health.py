# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Is every container of every Compose project well, and if not, why: the ``compose`` facts.

What takes a moment (the Compose command, the second sample of the counters) is begun first and fetched last, so that
whoever collects more does it in between.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
import time
import typing as t

from ._cgroup import oom_kills
from ._compose_config import (
    DEFAULT_TIMEOUT_SECONDS,
    ComposeConfig,
    Dependency,
    ServiceConfig,
    parse_depends_on_label,
    project_env_file,
    start_configs,
)
from ._container_cause import Circumstances, classify, in_restart_loop, oom_evidence
from ._container_health import health_of
from ._container_stats import NOT_AVAILABLE, StatsSampler
from ._database_url import database_urls
from ._discovery import ContainerRef, Selection, Stack, compose_label, discover, runs_a_job
from ._engine import Engine, EngineOptions
from ._envelope import CheckError, Thresholds, envelope, metric, rfc3339, utc_now, worst
from ._host_resources import kernel_oom_kills
from ._process import run_side_by_side
from ._redaction import redactor_of

Facts = dict[str, t.Any]

_LINE_CHARACTERS = 2000
_DETAIL_TIMEOUT_SECONDS = 30.0
_POLL_SECONDS = 0.5
_KERNEL_LOG_SECONDS = 7 * 86400.0
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")

#: How bad a container is for what was found; what is not named here is critical.
_STATUS_OF_CAUSE = {"paused": "warning", "starting": "unknown"}


@dataclasses.dataclass(frozen=True)
class ComposeOptions:
    """How to look: *log_tail* lines of what is not well, *stats* or none, and from when a number is no longer fine.

    *memory_percent* is of a container's own limit. One that was restarted *restart_count* times and has run for less
    than *restart_window_seconds* is in a restart loop. *kernel_oom_kills* gives entries as in ``host.kernel_oom_kills``.
    """

    log_tail: int = 20
    stats: bool = True
    memory_percent: Thresholds = Thresholds(80, 95)
    restart_count: int = 3
    restart_window_seconds: float = 600.0
    config_timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    kernel_oom_kills: t.Optional[t.Callable[[], t.Sequence[t.Mapping[str, t.Any]]]] = None
    read_configs: bool = True

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> ComposeOptions:
        """Return the options from the parameters of the module ``compose_health``."""
        return cls(
            log_tail=params["log_tail"],
            stats=params["stats"],
            memory_percent=Thresholds(params["memory_percent_warning"], params["memory_percent_critical"]),
            restart_count=params["restart_count"],
            restart_window_seconds=params["restart_window"],
            config_timeout_seconds=params["config_timeout"],
        )


class ComposeCollector:
    """Collects the ``compose`` facts in two steps; between :meth:`begin` and :meth:`finish` there is time for other work."""

    def __init__(self, stacks: t.Sequence[Stack], engine: Engine, options: t.Optional[ComposeOptions] = None) -> None:
        self._stacks = list(stacks)
        self._engine = engine
        self._options = options or ComposeOptions()
        self._containers = [container for stack in self._stacks for container in stack.containers]
        self._sampler = StatsSampler(engine, self._containers if self._options.stats else [])
        self._errors: list[CheckError] = []
        self._begun = False

    def begin(self) -> None:
        """Start to read the Compose files, and take the first sample of the counters."""
        if self._options.read_configs:
            start_configs(self._stacks, self._options.config_timeout_seconds)
        self._sampler.begin()
        self._begun = True

    def finish(self) -> Facts:
        """Return the envelope with ``projects`` and ``containers``."""
        if not self._begun:
            self.begin()
        now = utc_now()
        details = self._details(now)
        stats = self._sampler.finish()
        if self._sampler.error:
            self._errors.append(self._sampler.error)
        views = [ProjectView(stack, self._options, now, details, stats) for stack in self._stacks]
        for view in views:
            if view.config_error:
                self._errors.append(view.config_error)
        return _envelope([view.facts() for view in views], [row for view in views for row in view.containers()], self._errors)

    def _details(self, now: datetime.datetime) -> Details:
        """Ask for what only some containers need, all at the same time."""
        ill = [container for container in self._containers if self._looks_ill(container, now)]
        work: dict[str, t.Callable[[], t.Any]] = {
            "images": self._images,
            "logs": lambda: self._logs(ill),
            "events": lambda: self._events(ill, now),
            "oom": self._oom_kills,
        }
        # The kernel's log is long: it is read where it can decide something.
        if self._options.kernel_oom_kills is not None and any(container.exit_code == 137 or container.running for container in ill):
            work["kernel"] = self._options.kernel_oom_kills
        outcomes = run_side_by_side(work, _DETAIL_TIMEOUT_SECONDS)
        for name, outcome in sorted(outcomes.items()):
            if isinstance(outcome.error, CheckError):
                self._errors.append(outcome.error)
            elif outcome.error is not None:
                self._errors.append(CheckError(name, f"{type(outcome.error).__name__}: {outcome.error}"))
        values = {name: outcome.value for name, outcome in outcomes.items()}
        return Details(values["logs"] or {}, values["images"] or {}, values["events"] or {}, values["oom"] or {}, values.get("kernel") or [])

    def _looks_ill(self, container: ContainerRef, now: datetime.datetime) -> bool:
        around = Circumstances(now, restart_count=self._options.restart_count, restart_window_seconds=self._options.restart_window_seconds)
        # One that was restarted may look fine and still have a life behind it that ended badly.
        restarted = container.running and container.restart_count > 0
        return not container.oneoff and (restarted or classify(container, health_of(container), around) is not None)

    def _images(self) -> dict[str, t.Optional[str]]:
        """Return what each image reference names now, and whether images of containers that never started are there."""
        references = {container.image_reference for container in self._containers}
        references |= {container.image_id for container in self._containers if container.state == "created"}
        found: dict[str, t.Optional[str]] = {}
        for reference in sorted(references - {""}):
            image = self._engine.image(reference)
            found[reference] = str(image.get("Id")) if image else None
        return found

    def _oom_kills(self) -> dict[str, t.Optional[int]]:
        if self._engine.remote:
            return {}
        return {container.id: oom_kills(container.pid, container.id) for container in self._containers if container.pid}

    def _logs(self, containers: t.Sequence[ContainerRef]) -> dict[str, list[str]]:
        if self._options.log_tail <= 0:
            return {}
        found: dict[str, list[str]] = {}
        for container in containers:
            # What an earlier life of a running container said has nothing to do with its health now.
            since = container.started_at.timestamp() if container.running and container.started_at and not container.restart_count else None
            try:
                found[container.id] = log_lines(self._engine.logs_tail(container.id, self._options.log_tail, since))
            except CheckError as error:
                hint = error.hint or f"Its logging driver is {container.log_driver}; json-file and journald can be read."
                self._errors.append(CheckError(f"log of {container.name}", error.reason, hint, error.code))
        return found

    def _events(self, containers: t.Sequence[ContainerRef], now: datetime.datetime) -> dict[str, list[Facts]]:
        """Return what the engine remembers of containers that ended or were restarted, by id."""
        ended = [container for container in containers if container.finished_at and (container.restart_count or not container.running)]
        if not ended:
            return {}
        since = min(container.finished_at.timestamp() for container in ended if container.finished_at) - 120
        found: dict[str, list[Facts]] = {}
        for event in self._engine.events(since, now.timestamp(), [container.id for container in ended]):
            found.setdefault(str((event.get("Actor") or {}).get("ID") or event.get("id") or ""), []).append(event)
        return found


def collect_compose(stacks: t.Sequence[Stack], engine: Engine, options: t.Optional[ComposeOptions] = None) -> Facts:
    """Return the ``compose`` envelope of *stacks*; with stats it takes half a second at least."""
    collector = ComposeCollector(stacks, engine, options)
    collector.begin()
    return collector.finish()


def check_compose(params: t.Mapping[str, t.Any]) -> Facts:
    """Return the result of the module ``compose_health`` for its parameters."""
    selection = Selection.from_params(params)
    began = time.monotonic()
    waited: Facts = {}
    options = ComposeOptions.from_params(params)
    try:
        engine = Engine.connect(EngineOptions.from_params(params))
        if params["wait"]:
            stacks = wait_until_well(engine, selection, options, params["wait_timeout"])
            waited = {"waited_seconds": round(time.monotonic() - began, 1)}
        else:
            stacks = discover(engine, selection)
        if not engine.remote:
            known = {container.id for stack in stacks for container in stack.siblings}
            options = dataclasses.replace(options, kernel_oom_kills=lambda: kernel_oom_kills(time.time() - _KERNEL_LOG_SECONDS, known))
        facts = redacted(collect_compose(stacks, engine, options), stacks)
    except CheckError as error:
        facts = envelope("unknown", f"{error.source}: {error.reason}", errors=[error], projects=[], containers=[])
        if params["wait"]:
            waited = {"waited_seconds": round(time.monotonic() - began, 1)}
    return {**facts, **waited}


def redacted(facts: Facts, stacks: t.Sequence[Stack]) -> Facts:
    """Return *facts* without the secrets that the containers of *stacks* know, or that look like some."""
    return t.cast(Facts, redactor_of(stacks).tree(facts))


@dataclasses.dataclass(frozen=True)
class Details:
    """What was asked beyond the inspect pass: by container id, images by reference."""

    logs: t.Mapping[str, list[str]]
    images: t.Mapping[str, t.Optional[str]]
    events: t.Mapping[str, list[Facts]]
    oom_kills: t.Mapping[str, t.Optional[int]]
    kernel_oom_kills: t.Sequence[t.Mapping[str, t.Any]]


class ProjectView:
    """One project: what is declared against what is there."""

    def __init__(self, stack: Stack, options: ComposeOptions, now: datetime.datetime, details: Details, stats: t.Mapping[str, Facts]) -> None:
        self._stack = stack
        self._options = options
        self._now = now
        self._details = details
        self._stats = stats
        self._config: t.Optional[ComposeConfig] = stack.config
        self.config_error: t.Optional[CheckError] = stack.config_error
        self._health = {container.id: health_of(container) for container in stack.siblings}
        self._depends_on = {name: self._dependencies(name) for name in self._names(stack.siblings)}
        self._rows = {container.id: self._container(container) for container in stack.containers}

    def containers(self) -> list[Facts]:
        """Return the ``containers`` facts of this project."""
        return [self._rows[container.id] for container in self._stack.containers]

    def facts(self) -> Facts:
        """Return the ``projects`` entry."""
        env_file = project_env_file(self._stack)
        services = [self._service(name) for name in self._names(self._stack.containers)]
        return {
            "name": (self._config.name if self._config and not self._stack.siblings else None) or self._stack.name,
            "flavour": self._stack.flavour,
            "working_dir": self._stack.working_dir,
            "config_files": list(self._stack.config_files),
            "config_readable": self._config is not None,
            "config_error": self.config_error.reason if self.config_error else None,
            "env_file": env_file,
            "unset_variables": list(self._config.unset_variables) if self._config else [],
            "env_newer_than_containers": [service["name"] for service in services if service["changed_variables"]],
            "services": services,
        }

    def _names(self, containers: t.Iterable[ContainerRef]) -> list[str]:
        names = {container.service for container in containers}
        if self._config:
            selected = self._stack.selected_services
            names |= {name for name in self._config.services if not selected or name in selected}
        return sorted(names)

    def _declared(self, service: str) -> t.Optional[ServiceConfig]:
        return self._config.services.get(service) if self._config else None

    def _replicas(self, service: str) -> list[ContainerRef]:
        return [container for container in self._stack.siblings if container.service == service and not container.oneoff]

    def _dependencies(self, service: str) -> tuple[Dependency, ...]:
        declared = self._declared(service)
        if declared and self._config and self._config.complete:
            return declared.depends_on
        for container in self._replicas(service):
            label = compose_label(container.labels, "depends_on")
            if label:
                return parse_depends_on_label(label)
        return ()

    def _is_orphan(self, service: str) -> bool:
        return self._config is not None and service not in self._config.services and bool(self._replicas(service))

    def _one_shot(self, service: str) -> t.Optional[bool]:
        """Whether it is a job that is meant to end; ``None`` where nothing tells."""
        wanted_by = {entry.condition for dependencies in self._depends_on.values() for entry in dependencies if entry.service == service}
        if "service_completed_successfully" in wanted_by:
            return True
        declared, replicas = self._declared(service), self._replicas(service)
        policy = replicas[0].restart_policy if replicas else (declared.restart if declared else None) or "no"
        if policy in ("always", "unless-stopped") or "service_healthy" in wanted_by:
            return False
        command = replicas[0].command if replicas else list(declared.command if declared else ())
        job = runs_a_job(command)
        if job is not None:
            return job
        role = replicas[0].role if replicas else (declared.role if declared else "other")
        published = any(port["host_port"] for one in replicas for port in one.published_ports) or bool(declared and declared.publishes)
        return False if published or role in ("postgres", "proxy", "cache") or self._has_healthcheck(service) else None

    def _has_healthcheck(self, service: str) -> bool:
        declared = self._declared(service)
        if declared is not None and declared.has_healthcheck is not None:
            return declared.has_healthcheck
        return any(self._health[container.id]["status"] != "none" for container in self._replicas(service))

    def _broken_dependencies(self, service: str) -> dict[str, str]:
        """Return, by service, what *service* waits for in vain."""
        problems = {entry.service: self._dependency_problem(entry) for entry in self._depends_on.get(service, ())}
        return {name: problem for name, problem in problems.items() if problem}

    def _dependency_problem(self, dependency: Dependency) -> t.Optional[str]:
        replicas = self._replicas(dependency.service)
        if not replicas:
            return f"{dependency.service} has no container"
        one = replicas[0]
        state = f"is {one.state}" if one.state != "exited" else f"has exited with code {one.exit_code}"
        if dependency.condition == "service_completed_successfully":
            return None if one.state == "exited" and one.exit_code == 0 else f"{dependency.service} {state}"
        if one.state != "running":
            return f"{dependency.service} {state}"
        health = self._health[one.id]["status"]
        if dependency.condition != "service_healthy" or health == "healthy":
            return None
        return f"{dependency.service} has no health check" if health == "none" else f"{dependency.service} is {health}"

    def _circumstances(self, container: ContainerRef) -> Circumstances:
        details = self._details
        reference = details.images.get(container.image_reference)
        present = reference is not None or details.images.get(container.image_id) is not None
        return Circumstances(
            now=self._now,
            log_lines=details.logs.get(container.id, []),
            oom_kills=details.oom_kills.get(container.id),
            kernel_oom_kills=details.kernel_oom_kills,
            events=details.events.get(container.id, []),
            dependencies=self._broken_dependencies(container.service),
            # Where nothing tells, an end with exit code 0 is taken for that of a job.
            one_shot=self._one_shot(container.service) is not False,
            image_present=present if container.state == "created" and container.image_id in details.images else None,
            restart_count=self._options.restart_count,
            restart_window_seconds=self._options.restart_window_seconds,
        )

    def _container(self, container: ContainerRef) -> Facts:
        health = self._health[container.id]
        around = self._circumstances(container)
        cause = None if container.oneoff else classify(container, health, around)
        stats = dict(self._stats.get(container.id, NOT_AVAILABLE))
        return {
            "id": container.id[:12],
            "name": container.name,
            "project": container.project,
            "service": container.service,
            "role": container.role,
            "replica": container.replica,
            "oneoff": container.oneoff,
            "state": container.state,
            "status": self._container_status(container, cause, stats, around),
            "exit_code": None
            if container.state in ("running", "paused") or container.started_at is None and not container.state_error
            else container.exit_code,
            "state_error": container.state_error or None,
            "oom_killed": _oom_killed(container, around),
            "restart_count": container.restart_count,
            "restart_policy": container.restart_policy,
            "created_at": rfc3339(container.created_at),
            "started_at": rfc3339(container.started_at),
            "finished_at": rfc3339(container.finished_at),
            "uptime_seconds": _uptime(container, self._now),
            "pid": container.pid,
            "command": container.command,
            "config_hash": compose_label(container.labels, "config-hash"),
            "log_driver": container.log_driver,
            "health": health,
            "limits": _limits(container),
            "stats": stats,
            "ports": container.published_ports,
            "networks": [{"name": name, **attached} for name, attached in container.networks.items()],
            "mounts": [{name: mount[name] for name in ("type", "source", "destination", "read_only")} for mount in container.mounts],
            "image": _image(container, self._details.images),
            "depends_on": [dataclasses.asdict(dependency) for dependency in self._depends_on.get(container.service, ())],
            "database_urls": [] if container.role == "postgres" else _database_urls(container),
            "last_log_lines": around.log_lines if cause else [],
            "cause": cause,
        }

    def _container_status(self, container: ContainerRef, cause: t.Optional[Facts], stats: Facts, around: Circumstances) -> str:
        if container.oneoff:
            return "ok"
        if container.state == "removing":
            return "unknown"
        found = []
        if cause is not None:
            still_serving = container.running and cause["code"] in ("oom-container", "oom-host") and not in_restart_loop(container, around)
            found.append("warning" if still_serving else _STATUS_OF_CAUSE.get(cause["code"], "critical"))
        if stats["memory_percent"] is not None:
            found.append(self._options.memory_percent.verdict(stats["memory_percent"]))
        verdict = worst(found)
        # Nobody asked for it to be there: it cannot be more than a leftover.
        return "warning" if self._is_orphan(container.service) and verdict == "critical" else verdict

    def _service(self, name: str) -> Facts:
        declared, replicas = self._declared(name), self._replicas(name)
        one_shot = self._one_shot(name)
        expected = self._expected(declared, replicas)
        running = sum(container.running for container in replicas)
        missing = bool(declared and declared.enabled and not replicas and expected != 0 and one_shot is not True)
        return {
            "name": name,
            "role": replicas[0].role if replicas else (declared.role if declared else "other"),
            "image": (declared.image if declared else None) or (replicas[0].image_reference if replicas else None),
            "status": self._service_status(name, expected, missing),
            "expected_replicas": expected,
            "running_replicas": running,
            "missing": missing,
            "orphan": self._is_orphan(name),
            # Where nothing tells, it is one when it has ended well.
            "one_shot": one_shot if one_shot is not None else any(container.state == "exited" and container.exit_code == 0 for container in replicas),
            "has_healthcheck": self._has_healthcheck(name),
            "changed_variables": self._changed_variables(name),
            "depends_on": [dataclasses.asdict(dependency) for dependency in self._depends_on.get(name, ())],
        }

    def _expected(self, declared: t.Optional[ServiceConfig], replicas: t.Sequence[ContainerRef]) -> t.Optional[int]:
        if declared is None:
            return None
        if not declared.enabled:
            return None if replicas else 0
        return declared.replicas

    def _service_status(self, name: str, expected: t.Optional[int], missing: bool) -> str:
        if missing:
            return "critical"
        rows = [self._rows[container.id] for container in self._replicas(name) if container.id in self._rows]
        verdict = worst(row["status"] for row in rows)
        fewer = expected is not None and 0 < len(rows) < expected
        return worst([verdict, "warning" if fewer else "ok"])

    def _changed_variables(self, service: str) -> list[str]:
        """Return the variables that containers of *service* have with other values than the Compose file and ``.env`` give now."""
        declared = self._declared(service)
        containers = [one for one in self._replicas(service) if one.state != "removing"]
        if declared is None or not containers:
            return []
        return sorted(name for name, value in declared.environment.items() if any(_differs(value, one.env.get(name)) for one in containers))


def _differs(declared: str, present: t.Optional[str]) -> bool:
    # `compose config` writes a dollar sign twice, as the Compose file has to.
    return present not in (declared, declared.replace("$$", "$"))


def wait_until_well(engine: Engine, selection: Selection, options: ComposeOptions, timeout_seconds: float) -> list[Stack]:
    """Return the stacks as soon as all their containers are well, or what is there when waiting makes no sense any more.

    A container that starts is not well yet; one that is unhealthy, restarting or missing has until the deadline to
    become so. One that ended or could not start will not come back by itself: then waiting ends at once.

    :raises CheckError: as :func:`discover`, when the deadline is over.
    """
    deadline = time.monotonic() + timeout_seconds
    configured: dict[str, Stack] = {}
    while True:
        try:
            stacks = discover(engine, selection)
        except CheckError as error:
            if error.code != "project-unknown" or time.monotonic() >= deadline:
                raise
            stacks = []
        for stack in stacks:
            # The file is read once: it does not change while its containers start.
            if stack.name in configured:
                stack.pending_config = configured[stack.name].pending_config
            elif options.read_configs:
                start_configs([stack], min(options.config_timeout_seconds, max(1.0, timeout_seconds)))
                configured[stack.name] = stack
        outlook = _outlook(stacks, options)
        if outlook != "not-yet" or time.monotonic() >= deadline:
            return stacks
        time.sleep(min(_POLL_SECONDS, max(0.0, deadline - time.monotonic())))


def _outlook(stacks: t.Sequence[Stack], options: ComposeOptions) -> str:
    """Return ``well``, ``not-yet`` or ``hopeless``."""
    now = utc_now()
    nothing = Details({}, {}, {}, {}, [])
    views = [ProjectView(stack, options, now, nothing, {}) for stack in stacks]
    rows = [row for view in views for row in view.containers() if row["cause"]]
    ended = [row for row in rows if row["status"] == "critical" and row["state"] in ("created", "exited", "dead")]
    if any(row["state"] != "created" or row["state_error"] for row in ended):
        return "hopeless"
    unwell = any(service["missing"] or service["status"] != "ok" for view in views for service in view.facts()["services"])
    return "not-yet" if rows or unwell or not views else "well"


def log_lines(data: bytes) -> list[str]:
    """Return the lines of a log's end as text: no terminal escapes, no control characters, each of bounded length."""
    text = data.decode("utf-8", "replace")
    return [_ESCAPES.sub("", line)[:_LINE_CHARACTERS] for line in text.split("\n") if line.strip()]


def _envelope(projects: list[Facts], containers: list[Facts], errors: t.Sequence[CheckError]) -> Facts:
    regular = [row for row in containers if not row["oneoff"]]
    missing = [f"{project['name']}/{service['name']}" for project in projects for service in project["services"] if service["missing"]]
    services = [service["status"] for project in projects for service in project["services"]]
    status = worst([*services, *(row["status"] for row in regular)]) if projects else "unknown"
    return envelope(
        status,
        _summary(projects, regular, missing),
        {
            "containers": metric(len(regular)),
            "containers_not_ok": metric(sum(row["status"] != "ok" for row in regular)),
            "services_missing": metric(len(missing)),
            "restarts": metric(sum(row["restart_count"] for row in regular)),
        },
        errors,
        projects=projects,
        containers=containers,
    )


def _summary(projects: list[Facts], containers: list[Facts], missing: list[str]) -> str:
    if not projects:
        return "no Compose project has a container on this host"
    order = {"critical": 0, "warning": 1, "unknown": 2}
    ill = sorted((row for row in containers if row["status"] != "ok"), key=lambda row: (order[row["status"]], row["project"], row["service"]))
    found = [f"{row['project']}/{row['service']}: {_reason(row)}" for row in ill]
    found = [f"{name}: no container" for name in missing] + found
    total = f"{len(projects)} project{'s' * (len(projects) != 1)}, {len(containers)} container{'s' * (len(containers) != 1)}"
    if not found:
        few = [f"{project['name']}/{service['name']}" for project in projects for service in project["services"] if service["status"] != "ok"]
        return f"{total}, fewer than declared: {', '.join(few)}" if few else f"{total}, all well"
    more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
    return f"{total}; {'; '.join(found[:3])}{more}"


def _reason(row: Facts) -> str:
    if row["cause"]:
        return str(row["cause"]["summary"])
    if row["stats"]["memory_percent"] is not None:
        return f"uses {row['stats']['memory_percent']:g} % of its memory limit"
    return str(row["state"])


# -- readings of one container ---------------------------------------------------------------------------------------


def _host_config(container: ContainerRef) -> Facts:
    return container.inspect.get("HostConfig") or {}


def _uptime(container: ContainerRef, now: datetime.datetime) -> t.Optional[float]:
    if container.state not in ("running", "paused") or container.started_at is None:
        return None
    return round(max(0.0, (now - container.started_at).total_seconds()), 1)


def _oom_killed(container: ContainerRef, around: Circumstances) -> t.Optional[bool]:
    """Null where a running container's control group could not be read: the engine alone overlooks killed children."""
    found, dummy = oom_evidence(container, around)
    if found:
        return True
    return None if container.running and around.oom_kills is None else False


def _limits(container: ContainerRef) -> Facts:
    host_config = _host_config(container)
    quota, period = host_config.get("CpuQuota") or 0, host_config.get("CpuPeriod") or 100000
    cpus = (host_config.get("NanoCpus") or 0) / 1e9 or (quota / period if quota > 0 else 0)
    pids = host_config.get("PidsLimit") or 0
    return {"memory_bytes": host_config.get("Memory") or None, "cpus": cpus or None, "pids": pids if pids > 0 else None}


def _image(container: ContainerRef, images: t.Mapping[str, t.Optional[str]]) -> Facts:
    current = images.get(container.image_reference)
    return {
        "reference": container.image_reference,
        "id": container.image_id,
        "local_tag_id": current,
        "tag_moved": current != container.image_id if current else None,
    }


def _database_urls(container: ContainerRef) -> list[Facts]:
    return [
        {"variable": variable, "scheme": url.scheme, "host": url.host, "port": url.port, "database": url.database, "user": url.user}
        for variable, url in database_urls(container.env)
    ]
