# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The check of requests as a module and other callers have it: which logs, which options, and a state file of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import time
import typing as t

from ._envelope import CheckError, worst
from ._files import write_whole
from ._guarded_files import read_json_object
from ._log_sources import LogSource, discover_sources
from ._request_rules import Json, WatchOptions
from ._request_watch import watch_requests

if t.TYPE_CHECKING:
    from ._discovery import Stack
    from ._engine import Engine

_SPAN_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_OF_RULES = (
    "auth_failures_warning", "auth_failures_critical", "burst_capacity", "login_capacity", "leak_seconds", "spray_addresses", "success_window_seconds",
    "scan_paths", "sensitive_paths", "unusual_methods", "learn_days", "write_floor", "write_factor", "methods", "login_paths", "ignore_clients", "known_writes",
    "mask_addresses", "max_bytes",
)  # fmt: skip


def sources_of(stacks: t.Sequence[Stack], engine: t.Optional[Engine], paths: t.Sequence[str] = ()) -> tuple[list[LogSource], list[CheckError]]:
    """Return the logs to watch: those of *stacks*, and those at *paths*, of which the latter say more of who asked.

    Where paths are given, of the stacks only the containers' own logs are read beside them.
    """
    from ._log_error_rate import path_sources  # pylint: disable=import-outside-toplevel

    found = [source for stack in stacks for source in discover_sources(stack, engine) if not paths or source.type == "container"]
    listed, errors = path_sources(tuple(paths), stacks)
    return [*found, *listed], errors


def openapi_locations(stacks: t.Sequence[Stack], engine: t.Optional[Engine]) -> dict[str, str]:
    """Return where the OpenAPI documents of applications are likely to be, by project and service, asked from this host."""
    found: dict[str, str] = {}
    if engine is not None and engine.remote:
        return found
    for stack in stacks:
        for container in stack.containers:
            address = next((str(network["ip_address"]) for network in container.networks.values() if network["ip_address"]), None)
            if container.network_mode == "host":
                address = "127.0.0.1"
            if container.role == "application" and address and container.exposed_ports and not container.oneoff:
                host = f"[{address}]" if ":" in address else address
                found.setdefault(f"{container.project}/{container.service}", f"http://{host}:{container.exposed_ports[0]}/openapi.json")
    return found


def check_requests(params: t.Mapping[str, t.Any], check_mode: bool = False, now: t.Optional[float] = None) -> Json:
    """Return what the module ``log_requests`` returns for its *params*.

    :raises ValueError: an option makes no sense.
    """
    options = _module_options(params)
    now = time.time() if now is None else now
    stacks, engine, problems = _stacks(params)
    sources, missing = sources_of(stacks, engine, params["paths"])
    sources.extend(LogSource(f"journald:{unit}", "journald", unit=unit) for unit in params["units"])
    problems.extend(missing)
    if params["openapi_lookup"]:
        likely = openapi_locations(stacks, engine).items()
        named = {service: place for service, place in likely if service.partition("/")[2] not in options.openapi}
        options = dataclasses.replace(options, openapi={**named, **options.openapi})
    state = _load(params["state_file"], problems) if params["state_file"] else None
    new_state, found = watch_requests(sources, engine, options, state, now)
    facts = found.envelope()
    if params["state_file"] and not check_mode:
        _save(params["state_file"], new_state, problems)
    if problems:
        shown = [error for error in facts["errors"] if error["source"] != "logs"]
        facts["errors"] = [*(error.as_dict() for error in problems), *shown]
        facts["status"] = worst([facts["status"], "unknown"])
    facts["requests"] = _latencies(sources, engine, params, now) if params["latency"] else None
    return facts


def _module_options(params: t.Mapping[str, t.Any]) -> WatchOptions:
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([smhd]?)", str(params["window"]).strip())
    if not match or not float(match[1]):
        raise ValueError(f"window must be a time span as 90s, 15m, 1h or 3d, not {params['window']!r}")
    given = {name: params[name] for name in _OF_RULES}
    rules = dict.fromkeys(params["disabled_rules"], False)
    return WatchOptions.from_options(
        {
            **given, "rules": rules, "window_seconds": params["rule_window_seconds"], "openapi": params["openapi"] or {},
            "look_back_seconds": float(match[1]) * _SPAN_UNITS[match[2] or "s"], "max_lines": 200_000,
        }
    )  # fmt: skip


def _stacks(params: t.Mapping[str, t.Any]) -> tuple[list[Stack], t.Optional[Engine], list[CheckError]]:
    if (params["paths"] or params["units"]) and not (params["project_src"] or params["project_name"] or params["services"]):
        return [], None, []
    # Here, because a log at a path needs nothing of Docker.
    from ._discovery import Selection, discover  # pylint: disable=import-outside-toplevel
    from ._engine import Engine as DockerEngine  # pylint: disable=import-outside-toplevel
    from ._engine import EngineOptions  # pylint: disable=import-outside-toplevel

    try:
        engine = DockerEngine.connect(EngineOptions.from_params(params))
        return discover(engine, Selection.from_params(params)), engine, []
    except CheckError as error:
        return [], None, [error]


def _load(path: str, problems: list[CheckError]) -> Json:
    try:
        return read_json_object(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        problems.append(CheckError(path, f"the state is not readable: {error}", "The window was read instead; the state is written anew.", "state"))
        return {}


def _save(path: str, state: Json, problems: list[CheckError]) -> None:
    directory = os.path.dirname(os.path.abspath(path))
    try:
        os.makedirs(directory, mode=0o750, exist_ok=True)
        write_whole(path, json.dumps(state).encode())
    except OSError as error:
        problems.append(CheckError(path, f"the state could not be written: {error.strerror}", f"Look with: ls -ld {directory}", "state"))


def _latencies(sources: t.Sequence[LogSource], engine: t.Optional[Engine], params: t.Mapping[str, t.Any], now: float) -> Json:
    from ._log_error_rate import LogOptions, analyse  # pylint: disable=import-outside-toplevel

    span = _module_options(params).look_back_seconds or 0.0
    options = LogOptions(window_seconds=span, slow_request_ms=params["slow_request_ms"], baseline=False, max_bytes=params["max_bytes"])
    return analyse(sources, engine, options, now)[1]
