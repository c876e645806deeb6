# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Resource limits, health check and restart policy of a service, as a Compose file that is laid over the project's own.

The project's files are not touched. What is in our file is in its second line as JSON as well, from which it is read
again: hosts have no YAML library, and what a person has written into it is noticed and left alone.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import typing as t

from ._compose_config import compose_version
from ._compose_project import CONFIG_SECONDS, ComposeProject, said
from ._container_stats import StatsSampler
from ._discovery import OVERRIDE_OF, ContainerRef
from ._envelope import CheckError, human_bytes
from ._files import write_whole
from ._guarded_files import told
from ._remediation import Change, Diff, Facts, NothingChanged, Verified, Work, run_remediation

_HEADER = "# Written by stackops.runbook (role remediate). It is laid over the project's own Compose files; remove it to go back to them."
_DATA = "# stackops.runbook: "
_UNITS = {"": 1, "b": 1, "k": 1024, "kb": 1024, "m": 1024**2, "mb": 1024**2, "g": 1024**3, "gb": 1024**3}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 0.000001}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:h|ms|us|m|s))+")
#: Times of a health check, and the parameters that have them: `timeout` is that of the engine's connection.
_TIMES = {"interval": "interval", "timeout": "timeout_health", "start_period": "start_period"}
_OTHER_NAME = "compose.stackops.yml"


def run_compose_override(params: t.Mapping[str, t.Any], check_mode: bool) -> Facts:
    """Return the result of the module ``compose_override``."""
    return run_remediation(lambda: _plan(ComposeProject.of(params), params), params, check_mode)


# -- what goes into the file ----------------------------------------------------------------------------------------


def size_bytes(text: str) -> int:
    """Return the bytes of a size as Compose writes it, ``512m`` or ``1.5g``.

    :raises CheckError: it is none.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[2].lower() not in _UNITS:
        raise CheckError("memory", f"{text!r} is no size", "Write it as Compose does, for example 512m or 1g.", "invalid-option")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def duration_seconds(text: str) -> float:
    """Return the seconds of a duration as Compose writes it, ``1m30s``.

    :raises CheckError: it is none.
    """
    if not _DURATION.fullmatch(text):
        raise CheckError("health check", f"{text!r} is no duration", "Write it as Compose does, for example 30s or 1m30s.", "invalid-option")
    return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)(h|ms|us|m|s)", text))


def settings_of(params: t.Mapping[str, t.Any], with_deploy: bool) -> Facts:
    """Return the keys of a service for what *params* ask for; limits under ``deploy`` or, as Compose v1 has them, beside it."""
    settings: Facts = {}
    memory, cpus = params.get("memory"), params.get("cpus")
    reserved, reserved_cpus = params.get("memory_reservation"), params.get("cpus_reservation")
    for size in filter(None, (memory, reserved)):
        size_bytes(size)
    if with_deploy:
        limits = {key: value for key, value in (("cpus", _number(cpus)), ("memory", memory)) if value}
        reservations = {key: value for key, value in (("cpus", _number(reserved_cpus)), ("memory", reserved)) if value}
        resources = {key: value for key, value in (("limits", limits), ("reservations", reservations)) if value}
        if resources:
            settings["deploy"] = {"resources": resources}
    else:
        if reserved_cpus:
            raise CheckError("cpus_reservation", "Compose v1 knows no such thing", "Leave it out.", "invalid-option")
        flat = {"mem_limit": memory, "mem_reservation": reserved, "cpus": float(cpus) if cpus else None}
        settings.update({key: value for key, value in flat.items() if value})
    if params.get("test"):
        health: Facts = {"test": list(params["test"])}
        for key, parameter in _TIMES.items():
            if params.get(parameter):
                duration_seconds(params[parameter])
                health[key] = params[parameter]
        if params.get("retries"):
            health["retries"] = int(params["retries"])
        settings["healthcheck"] = health
    if params.get("restart"):
        settings["restart"] = params["restart"]
    return settings


def _number(value: t.Any) -> t.Optional[str]:
    return f"{float(value):g}" if value else None


def laid_over(present: t.Mapping[str, t.Any], service: str, settings: t.Mapping[str, t.Any]) -> Facts:
    """Return our Compose file *present* with *settings* of *service* in it; what else is there stays."""
    services = {name: dict(declared) for name, declared in (present.get("services") or {}).items()}
    services[service] = _merged(services.get(service, {}), settings)
    return {**{key: value for key, value in present.items() if key != "services"}, "services": services}


def _merged(below: t.Mapping[str, t.Any], above: t.Mapping[str, t.Any]) -> Facts:
    merged = dict(below)
    for key, value in above.items():
        # A health check is one thing: parts of two would make a third.
        both = isinstance(value, dict) and isinstance(merged.get(key), dict) and key != "healthcheck"
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def render(document: t.Mapping[str, t.Any]) -> str:
    """Return our file: YAML for people and Compose, and in its second line the same as JSON for us."""
    return "\n".join([_HEADER, _DATA + json.dumps(document, sort_keys=True), *_yaml(document, 0), ""])


def _yaml(value: t.Mapping[str, t.Any], depth: int) -> t.Iterator[str]:
    for key, below in sorted(value.items()):
        if isinstance(below, dict) and below:
            yield f"{'  ' * depth}{key}:"
            yield from _yaml(below, depth + 1)
        else:
            # Every scalar and list of JSON is one of YAML as well. A dollar sign would begin a variable.
            yield f"{'  ' * depth}{key}: {json.dumps(below, ensure_ascii=False).replace('$', '$$')}"


def parse(text: str) -> t.Optional[Facts]:
    """Return what our file says, or ``None`` where it is not ours or somebody has changed it."""
    lines = text.split("\n", 2)
    if len(lines) < 2 or not lines[1].startswith(_DATA):
        return None
    try:
        document = json.loads(lines[1][len(_DATA) :])
    except ValueError:
        return None
    return document if isinstance(document, dict) and render(document) == text else None


# -- where it is, and what it changes -------------------------------------------------------------------------------


def override_path(config_files: t.Sequence[str], is_ours: t.Callable[[str], bool], exists: t.Callable[[str], bool]) -> tuple[str, bool]:
    """Return the path of our file, and whether Compose takes it by itself; files that *exist* and are not ours are left alone."""
    ours = next((path for path in config_files if is_ours(path)), None)
    own = [path for path in config_files if path != ours]
    directory = os.path.dirname(own[0] if own else config_files[0])
    usual = OVERRIDE_OF.get(os.path.basename(own[0])) if len(own) == 1 else None
    by_itself = os.path.join(directory, usual) if usual else None
    if ours:
        return ours, ours == by_itself
    if by_itself and (not exists(by_itself) or is_ours(by_itself)):
        return by_itself, True
    return os.path.join(directory, _OTHER_NAME), False


def _read(path: str) -> t.Optional[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except FileNotFoundError:
        return None


def _is_ours(path: str) -> bool:
    return (_read(path) or "").startswith(_HEADER)


def _plan(project: ComposeProject, params: t.Mapping[str, t.Any]) -> Work:
    service = params["service"]
    project.require([service])
    files = _files(project)
    path, by_itself = override_path(files, _is_ours, os.path.exists)
    before = _read(path)
    present = parse(before) if before is not None else {}
    if present is None:
        raise CheckError(path, "somebody has changed this file, which was written by us", "Write the settings into it by hand, or move it away.", "changed")
    settings = settings_of(params, _with_deploy(project, service))
    if not settings:
        raise CheckError(f"{project.name}/{service}", "no setting was given", "Give at least one of the parameters.", "invalid-option")
    base: Facts = {"version": _version(files)} if project.command.flavour == "compose-v1" and _version(files) else {}
    document = laid_over(present or base, service, settings)
    after = render(document)
    _refuse_too_little(project, service, params)
    extra = [] if path in project.stack.config_files else [path]
    # Where only directories are known, Compose finds all files by itself, ours with them.
    if by_itself and not project.stack.config_files:
        extra = []
    up = project.up_argv([service], files=extra)
    containers = project.containers(service)

    def carry_out() -> Facts:
        kept = _write(project, path, before, after, extra)
        try:
            project.carry_out(up, params["command_timeout_seconds"])
        except CheckError as error:
            _put_back(path, before)
            raise CheckError(error.source, error.reason, f"{path} is as it was before. {error.hint}", error.code) from error
        return {"file": path, "kept": kept, "settings": settings, "containers": project.state_of(service)}

    def verify() -> Verified:
        wrong = [problem for container in project.containers(service) for problem in differences(container, params)]
        return Verified(False, "; ".join(wrong)) if wrong else project.well([service], params["health_timeout_seconds"])

    names_files = "" if by_itself else f" This project needs it named: {shlex.join(project.argv(files=extra))} …"
    undo = (
        shlex.join(["cp", f"{path}.before", path]) if before is not None else shlex.join(["rm", path]),
        shlex.join(up if before is not None else project.up_argv([service])),
    )
    different = [problem for container in containers for problem in differences(container, params)]
    return Work(
        Change(
            _action(params),
            f"{project.name}/{service}",
            f"write {path} and recreate {service} with it.{names_files}",
            (("write", path), up),
            {"file": path if before is not None else None, "differences": different},
            {"file": path, "settings": settings},
            undo,
            Diff(path, before or "", after),
            needed=before != after or bool(different) or not containers,
        ),
        carry_out,
        verify,
        project.redactor,
    )


def _action(params: t.Mapping[str, t.Any]) -> str:
    """Return what the role calls it."""
    return "health_check" if params.get("test") else "restart_policy" if params.get("restart") else "resource_limits"


def _files(project: ComposeProject) -> list[str]:
    if project.stack.config_files:
        return list(project.stack.config_files)
    directory = project.stack.working_dir or ""
    found = [os.path.join(directory, name) for name in OVERRIDE_OF if os.path.exists(os.path.join(directory, name))]
    if not found:
        raise CheckError(project.name, "nobody knows where its Compose file is", "Name its directory in project_src.", "missing")
    return found[:1]


def _version(files: t.Sequence[str]) -> t.Optional[str]:
    found = re.search(r"^version\s*:\s*[\"']?([\d.]+)", _read(files[0]) or "", re.MULTILINE)
    return found[1] if found else None


def _with_deploy(project: ComposeProject, service: str) -> bool:
    """Say whether limits go under ``deploy``: not with Compose v1, which ignores them there, nor where the file has them beside it."""
    if project.command.flavour == "compose-v1":
        version = compose_version(project.command) or ""
        if version.startswith(("1.1", "1.20", "1.21", "1.22", "1.23", "1.24", "1.25", "1.26")):
            hint = "Install Compose v2, or docker-compose 1.27 or newer."
            raise CheckError(project.name, f"docker-compose {version} takes no limits in files of every version", hint, "not-supported")
        return False
    if not project.command.speaks_json:
        return False
    done = project.run(project.argv("config", "--format", "json"), CONFIG_SECONDS)
    declared = ((json.loads(done.stdout) if done.exit_code == 0 else {}).get("services") or {}).get(service) or {}
    return not any(key in declared for key in ("mem_limit", "mem_reservation", "cpus"))


def _refuse_too_little(project: ComposeProject, service: str, params: t.Mapping[str, t.Any]) -> None:
    """Refuse a limit that the service is over already: it would be killed at once."""
    if not params.get("memory"):
        return
    limit = size_bytes(params["memory"])
    sampler = StatsSampler(project.engine, project.containers(service))
    sampler.begin()
    used = max((stats["memory_bytes"] or 0 for stats in sampler.finish().values()), default=0)
    if used >= limit:
        reason = f"it uses {human_bytes(used)} now, and would be killed at {human_bytes(limit)}"
        raise CheckError(f"{project.name}/{service}", reason, "Give it a limit above what it uses, or have it use less first.", "too-little")


def _write(project: ComposeProject, path: str, before: t.Optional[str], after: str, extra: t.Sequence[str]) -> t.Optional[str]:
    """Write the file, unless Compose does not take it, and return where the one from before is kept."""
    with told(path):
        try:
            mode = os.stat(path).st_mode & 0o777
        except FileNotFoundError:
            mode = 0o644
        kept = f"{path}.before" if before is not None else None
        if kept and before is not None:
            write_whole(kept, before.encode(), mode)
        write_whole(path, after.encode(), mode)
    checked = project.run(project.argv("config", "--quiet", files=extra), CONFIG_SECONDS)
    if checked.exit_code != 0:
        _put_back(path, before)
        raise NothingChanged(path, f"Compose does not take it: {said(checked)}", "Correct the settings.", "config-invalid")
    return kept


def _put_back(path: str, before: t.Optional[str]) -> None:
    with told(path):
        if before is None:
            os.unlink(path)
        else:
            write_whole(path, before.encode(), os.stat(path).st_mode & 0o777)


def differences(container: ContainerRef, params: t.Mapping[str, t.Any]) -> list[str]:
    """Return in what a container is not as *params* ask for."""
    host = container.inspect.get("HostConfig") or {}
    health = (container.inspect.get("Config") or {}).get("Healthcheck") or {}
    found = []

    def compare(what: str, wanted: t.Any, present: t.Any) -> None:
        if wanted is not None and wanted != present:
            found.append(f"{what} is {present if present not in (None, 0) else 'not set'}, not {wanted}")

    compare("memory limit (bytes)", size_bytes(params["memory"]) if params.get("memory") else None, host.get("Memory"))
    compare("memory reservation (bytes)", size_bytes(params["memory_reservation"]) if params.get("memory_reservation") else None, host.get("MemoryReservation"))
    compare("processors", round(float(params["cpus"]) * 1e9) if params.get("cpus") else None, host.get("NanoCpus"))
    compare("restart policy", params.get("restart") or None, (host.get("RestartPolicy") or {}).get("Name"))
    if params.get("test"):
        compare("health check", list(params["test"]), health.get("Test"))
        for key, parameter in _TIMES.items():
            wanted = round(duration_seconds(params[parameter]) * 1e9) if params.get(parameter) else None
            compare(f"{key} (ns)", wanted, health.get(key.title().replace("_", "")))
        compare("retries", params.get("retries") or None, health.get("Retries"))
    return found
