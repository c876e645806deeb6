# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Everything that can be read of a host and its stacks, collected side by side.

The collectors are the ones behind the single modules. Here they share one connection to the engine, one pass of
discovery, one deadline and their waiting: what takes two samples some time apart (processor, container statistics)
takes the first at the beginning and the second at the end, with everything else in between.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import os
import platform
import socket
import threading
import time
import typing as t

from ._compose_config import compose_version, find_compose_command
from ._compose_health import ComposeCollector, ComposeOptions, redacted
from ._connection_pools import collect_pools
from ._discovery import OVERRIDE_OF, Selection, Stack, UnknownProject, discover
from ._engine import Engine, EngineOptions
from ._envelope import CheckError, envelope, rfc3339, utc_now, worst
from ._host_resources import HostCollector, kernel_oom_kills
from ._http_probe import collect_http
from ._log_error_rate import LogOptions, collect_logs
from ._migrations import collect_migrations
from ._ports import Listening, collect_ports, read_listening
from ._postgres import Login, PostgresOptions, StatementOptions
from ._postgres_health import collect_postgres
from ._postgres_logins import collect_logins
from ._postgres_session import Limits
from ._process import Outcome, run_side_by_side
from ._published_ports import Expected, collect_firewall
from ._service_links import collect_links

Facts = dict[str, t.Any]

SCHEMA = 1

#: Collectors by name, in the order of the report. ``logs`` and ``requests`` come from one reading of the logs.
COLLECTORS: tuple[str, ...] = (
    "engine",
    "compose",
    "http",
    "logs",
    "requests",
    "postgres",
    "database_logins",
    "pools",
    "migrations",
    "links",
    "ports",
    "firewall",
    "host",
)

# Long enough for a processor's share to mean something, and no longer than the other collectors take.
_SAMPLE_SECONDS = 0.5
_OOM_WINDOW_SECONDS = 24 * 3600.0

# These say nothing at all without the engine; the others read the host, or what the inventory declares.
_NEED_ENGINE = frozenset({"compose", "database_logins", "pools", "migrations", "links"})
#: What these find without the stacks is what the inventory declares; that they found nothing then means nothing.
_OF_STACKS = {"http": "endpoints", "postgres": "instances"}


@dataclasses.dataclass(frozen=True)
class FactsOptions:
    """What to collect and where to look. Without any of it: every stack on this host."""

    engine: EngineOptions = EngineOptions()
    selections: tuple[Selection, ...] = (Selection(),)
    endpoints: tuple[t.Mapping[str, t.Any], ...] = ()
    log_paths: tuple[str, ...] = ()
    postgres: tuple[Login, ...] = ()
    window_seconds: float = 3600.0
    slow_request_ms: float = 1000.0
    sample_seconds: float = 0.0
    timeout_seconds: float = 60.0
    collectors: frozenset[str] = frozenset(COLLECTORS)
    firewall_expected: t.Optional[tuple[Expected, ...]] = None

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> FactsOptions:
        """Return the options from the parameters of ``stack_facts``."""
        stacks = params.get("stacks") or []
        expected = params.get("firewall_expected")
        return cls(
            engine=EngineOptions.from_params(params),
            selections=tuple(Selection.from_params(stack) for stack in stacks) or (Selection.from_params(params),),
            endpoints=tuple(params.get("endpoints") or ()),
            log_paths=tuple(params.get("log_paths") or ()),
            postgres=tuple(Login.from_params(server) for server in params.get("postgres") or ()),
            window_seconds=float(params["window_seconds"]),
            slow_request_ms=float(params["slow_request_ms"]),
            sample_seconds=float(params["sample_seconds"]),
            timeout_seconds=float(params["timeout_seconds"]),
            collectors=frozenset(params.get("collectors") or COLLECTORS),
            firewall_expected=None if expected is None else tuple(Expected.from_params(one) for one in expected),
        )


def collect_facts(options: FactsOptions) -> Facts:
    """Return ``schema``, ``host``, ``facts`` (an envelope for each collector), ``status`` and ``summary``.

    Never raises for what it finds on the host: a collector that fails or is late is an envelope with status
    ``unknown`` and the reason in its ``errors``.
    """
    began = time.monotonic()
    started_at = utc_now()
    host = HostCollector(sample_seconds=_SAMPLE_SECONDS)
    host.begin()
    engine, stacks, facts, unseen = _find_stacks(options)
    work = _work(options, engine, stacks, host)
    left = max(1.0, options.timeout_seconds - (time.monotonic() - began))
    outcomes = run_side_by_side({name: function for name, function in work.items() if _is_wanted(name, options)}, left)
    for name, outcome in outcomes.items():
        _take(facts, name, outcome)
    if unseen is not None:
        blind = [name for name, elements in _OF_STACKS.items() if name in facts and not facts[name].get(elements)]
        facts.update({name: _unknown(name, unseen) for name in (*sorted(_NEED_ENGINE), *blind)})
    kept = {name: facts[name] for name in COLLECTORS if name in facts and name in options.collectors}
    return {
        "schema": SCHEMA,
        "host": _host_row(started_at, began),
        "facts": redacted(kept, stacks),
        "status": worst(one["status"] for one in kept.values()),
        "summary": _summary(kept, stacks),
    }


def _is_wanted(name: str, options: FactsOptions) -> bool:
    return name in options.collectors or (name == "logs" and "requests" in options.collectors)


def _find_stacks(options: FactsOptions) -> tuple[t.Optional[Engine], list[Stack], Facts, t.Optional[CheckError]]:
    """Return the engine if there is one, the stacks, the ``engine`` envelope, and why no stack could be seen where that is so."""
    try:
        engine = Engine.connect(options.engine)
    except CheckError as error:
        return None, [], {"engine": {**_unknown("engine", error), "reachable": False, "failure": error.code}}, error
    stacks: dict[str, Stack] = {}
    errors = []
    for selection in options.selections:
        try:
            stacks.update({stack.name: stack for stack in selected(engine, selection)})
        except CheckError as error:
            errors.append(error)
    unseen = errors[0] if errors and not stacks else None
    return engine, list(stacks.values()), {"engine": _engine_facts(engine, errors)}, unseen


def selected(engine: Engine, selection: Selection) -> list[Stack]:
    """Return the stacks of *selection*.

    :raises UnknownProject: there are none, or the directory that was asked for holds none, so that there is nothing to look at.
    """
    stacks = discover(engine, selection)
    source = selection.project_src
    if not source or engine.remote or any(stack.siblings for stack in stacks) or not os.access(source, os.X_OK):
        return stacks
    if any(os.path.exists(os.path.join(source, name)) for name in OVERRIDE_OF):
        return stacks
    error = UnknownProject(source, "no Compose file is there, and no container is of there", "Correct project_src.", "project-unknown")
    error.selection = selection
    error.projects = {stack.name: stack.working_dir for stack in discover(engine, Selection())}
    raise error


def _work(options: FactsOptions, engine: t.Optional[Engine], stacks: list[Stack], host: HostCollector) -> dict[str, t.Callable[[], Facts]]:
    """Return what runs side by side, by collector; ``logs`` gives the ``requests`` as well."""
    remote = engine is not None and engine.remote
    postgres = PostgresOptions(
        servers=options.postgres,
        limits=Limits(session_seconds=options.timeout_seconds),
        timeout_seconds=options.timeout_seconds,
        statements=StatementOptions(sample_seconds=options.sample_seconds),
    )
    logs = LogOptions(window_seconds=options.window_seconds, slow_request_ms=options.slow_request_ms, paths=options.log_paths)
    listening = _Once()
    work: dict[str, t.Callable[[], Facts]] = {
        "http": functools.partial(collect_http, stacks, options.endpoints, remote=remote, engine=engine),
        "logs": functools.partial(_logs_and_requests, stacks, engine, logs),
        "postgres": functools.partial(collect_postgres, stacks, engine, postgres),
        "ports": functools.partial(collect_ports, stacks, engine, listening),
        "firewall": functools.partial(collect_firewall, stacks, engine, options.firewall_expected, listening=listening),
        "host": functools.partial(host.finish, stacks, engine, [("declared", path) for path in options.log_paths]),
    }
    if engine is not None:
        work["engine"] = functools.partial(_compose_facts, stacks)
        containers = {container.id for stack in stacks for container in stack.siblings}
        kills = functools.partial(kernel_oom_kills, time.time() - _OOM_WINDOW_SECONDS, containers)
        compose = ComposeCollector(stacks, engine, ComposeOptions(kernel_oom_kills=kills))
        compose.begin()
        work["compose"] = compose.finish
        work["database_logins"] = functools.partial(collect_logins, stacks, engine, postgres)
        work["pools"] = functools.partial(collect_pools, stacks, engine, postgres)
        work["migrations"] = functools.partial(collect_migrations, stacks, engine)
        work["links"] = functools.partial(collect_links, stacks, engine)
    return work


class _Once:
    """What listens, for whoever asks first: finding out whose it is takes going through all processes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: t.Optional[Listening] = None

    def __call__(self, stacks: t.Sequence[Stack], engine: t.Optional[Engine]) -> Listening:
        with self._lock:
            if self._seen is None:
                self._seen = read_listening(stacks, engine)
            return self._seen


def _logs_and_requests(stacks: t.Sequence[Stack], engine: t.Optional[Engine], options: LogOptions) -> Facts:
    logs, requests = collect_logs(stacks, engine, options)
    return {"logs": logs, "requests": requests}


def _take(facts: Facts, name: str, outcome: Outcome[Facts]) -> None:
    """Put what one piece of work gave into *facts*."""
    if name == "engine":
        facts["engine"].update(outcome.value or {})
    elif name == "logs":
        facts.update(outcome.value or {one: _unknown(one, outcome.error) for one in ("logs", "requests")})
    else:
        facts[name] = outcome.value or _unknown(name, outcome.error)


def _unknown(name: str, error: t.Optional[BaseException]) -> Facts:
    """Return the envelope of a collector that gave nothing. It has none of its facts, so that rules see them as absent."""
    if isinstance(error, CheckError):
        return envelope("unknown", f"{name}: {error.reason}", errors=[error])
    reason = f"{type(error).__name__}: {error}"
    hint = "This is a defect of the collection: please report it with this line and the report's JSON file."
    return envelope("unknown", f"{name}: {reason}", errors=[CheckError(name, reason, hint, "defect")])


def _compose_facts(stacks: t.Sequence[Stack]) -> Facts:
    """Return the part of the ``engine`` facts that takes running a command: which Compose there is."""
    command = find_compose_command(stacks[0].flavour if stacks else "compose-v2")
    if command is None:
        return {"compose_version": None, "compose_command": []}
    return {"compose_version": compose_version(command), "compose_command": [os.path.basename(command.argv[0]), *command.argv[1:]]}


def _engine_facts(engine: Engine, errors: t.Sequence[CheckError]) -> Facts:
    info = engine.info()
    facts: Facts = {
        "reachable": True,
        "failure": None,
        "version": engine.version,
        "api_version": engine.api_version,
        "flavour": engine.flavour,
        "rootless": engine.rootless,
        "remote": engine.remote,
        "storage_driver": info.get("Driver"),
        "cgroup_version": info.get("CgroupVersion"),
        "root_dir": info.get("DockerRootDir"),
        "compose_version": None,
        "compose_command": [],
        "not_found": [not_found(error) for error in errors if isinstance(error, UnknownProject)],
    }
    status = "unknown" if errors else "ok"
    return envelope(status, f"{engine.flavour} {engine.version}", errors=errors, **facts)


def not_found(error: UnknownProject) -> Facts:
    """Return what was asked for, and the projects that are there; first that whose name or directory is most like it."""
    source = error.selection.project_src
    asked = source or error.selection.project_name or ""
    word = os.path.basename(os.path.normpath(asked))

    def unlikeness(project: tuple[str, t.Optional[str]]) -> tuple[float, str]:
        name, directory = project
        return -max(difflib.SequenceMatcher(None, word, one).ratio() for one in (name, os.path.basename(directory or ""))), name

    return {
        "asked": asked,
        "by": "project_src" if source else "project_name",
        "directory_exists": os.path.isdir(source) if source else None,
        "projects": [{"name": name, "working_dir": directory} for name, directory in sorted(error.projects.items(), key=unlikeness)],
    }


def _host_row(started_at: t.Any, began: float) -> Facts:
    return {
        "hostname": socket.gethostname(),
        "os": _os_name(),
        "kernel": platform.release(),
        "python_version": platform.python_version(),
        "is_root": os.geteuid() == 0,
        "collected_at": rfc3339(started_at),
        "duration_ms": round((time.monotonic() - began) * 1000),
    }


def _os_name() -> t.Optional[str]:
    try:
        with open("/etc/os-release", encoding="utf-8") as file:
            lines = dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
    except OSError:
        return None
    return lines.get("PRETTY_NAME", "").strip('"') or None


def _summary(facts: t.Mapping[str, Facts], stacks: t.Sequence[Stack]) -> str:
    unwell = [f"{name}: {one['summary']}" for name, one in facts.items() if one["status"] in ("warning", "critical")]
    found = ", ".join(stack.name for stack in stacks) or "no stack"
    return f"{found}: {'; '.join(unwell[:3]) if unwell else 'nothing wrong was seen'}"
