# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Why one container is not well, with the evidence. Pure: everything it judges is handed to it.

Exit codes are a first reading and never the last: 137 is SIGKILL, which the kernel sends when memory is short, and
`docker stop` sends too. Each cause says how sure it is.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
import typing as t

from ._app_errors import UNHANDLED, AppError, classify_text
from ._discovery import ContainerRef, engine_time

Cause = dict[str, t.Any]
Evidence = dict[str, str]

_TEXT_CHARACTERS = 500
# A kernel's message and the engine's note of the end are this far apart at most.
_SAME_MOMENT_SECONDS = 30.0

_SIGNAL_EXITS = {
    130: "SIGINT",
    131: "SIGQUIT",
    132: "SIGILL: an instruction that this processor does not have",
    134: "SIGABRT: it aborted by itself",
    135: "SIGBUS: often /dev/shm is too small (shm_size)",
    136: "SIGFPE",
    141: "SIGPIPE",
}
_STOP_EXITS = (0, 130, 143)

_PORT_TAKEN = re.compile(
    r"(?:Bind for |listen (?:tcp|udp)[46]? )\[?(?P<address>[0-9a-fA-F.:]*?)\]?:(?P<port>\d+)(?: failed)?: .*(?:already allocated|already in use)"
)
_PORT_TAKEN_WORDS = re.compile(r"port is already allocated|address already in use|ports are not available")
_MOUNT_FAILED = re.compile(
    r"error mounting|mount config|error while mounting|failed to mount|are you trying to mount a directory|bind source path does not exist", re.IGNORECASE
)
_MOUNT_PLACES = re.compile(r'error mounting "(?P<source>[^"]+)" to rootfs at "(?P<destination>[^"]+)"')
_MOUNT_SOURCE = re.compile(r"(?:path does not exist|no such file or directory): (?P<source>/\S+)")
_IMAGE_MISSING = re.compile(r"no such image|image not known|unable to find image|manifest unknown", re.IGNORECASE)
_EXECUTABLE = re.compile(r'exec: \\?"(?P<command>[^"\\]+)\\?": (?P<why>[^:]+)|(?P<why2>exec format error)')
_SHELL_NOT_FOUND = re.compile(r"(?:^|: )(?P<command>[\w./+-]+): (?:command )?not found\s*$")
_NOT_FOUND_WORDS = ("executable file not found", "no such file or directory")
_STARTUP_SERVERS = (
    # (server, exit codes that only its start gives, what it prints then)
    ("uvicorn", (3,), "Application startup failed"),
    ("gunicorn", (3, 4), "Worker failed to boot"),
)


# So long after a restart by its policy a container may well end as it did before, unless its health check has passed.
_UNPROVEN_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Circumstances:
    """What is known around a container, beyond its own inspect answer.

    *log_lines*: the end of its log, oldest first. *oom_kills*: the counter of its control group, ``None`` where it
    could not be read. *kernel_oom_kills*: entries as in the facts' ``host.kernel_oom_kills``. *events*: what the engine
    remembers of this container. *dependencies*: what it waits for and is not so, as sentences by service. *one_shot*:
    it is a job that is meant to end. A container that was restarted *restart_count* times and runs for less than
    *restart_window_seconds* is in a loop.
    """

    now: datetime.datetime
    log_lines: t.Sequence[str] = ()
    oom_kills: t.Optional[int] = None
    kernel_oom_kills: t.Sequence[t.Mapping[str, t.Any]] = ()
    events: t.Sequence[t.Mapping[str, t.Any]] = ()
    dependencies: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    one_shot: bool = False
    image_present: t.Optional[bool] = None
    restart_count: int = 3
    restart_window_seconds: float = 600.0


def classify(container: ContainerRef, health: t.Mapping[str, t.Any], around: Circumstances) -> t.Optional[Cause]:
    """Return the ``cause`` of the facts schema, or ``None`` where nothing is wrong with *container*.

    *health* is what :func:`health_of` says of it.
    """
    state = container.state
    if state == "paused":
        return _cause("paused", "high", "someone paused it (docker pause)", [_inspect("State.Status: paused")])
    if state == "dead":
        return _cause("dead", "high", "the engine could not remove it", [_inspect(f"State.Status: dead {container.state_error}".strip())])
    if state == "removing":
        return None
    if container.state_error and state in ("created", "exited", "restarting"):
        return _start_failure(container, around)
    if state == "created":
        return _never_started(container, around)
    if state == "running":
        return _while_running(container, health, around)
    return _after_exit(container, around)


def oom_evidence(container: ContainerRef, around: Circumstances) -> tuple[t.Optional[str], list[Evidence]]:
    """Return (``oom-container`` | ``oom-host`` | ``None``, evidence) for the last life of *container*, or all while it runs."""
    evidence: list[Evidence] = []
    limit = container.memory_limit_bytes
    if _state(container).get("OOMKilled"):
        evidence.append(_inspect("State.OOMKilled: true"))
    if around.oom_kills:
        evidence.append(_evidence("kernel", f"oom_kill counter of its control group: {around.oom_kills}"))
    if any(event.get("Action") == "oom" for event in _own_events(container, around)):
        evidence.append(_inspect("engine events: oom"))
    scope = "oom-container"
    for kill in around.kernel_oom_kills:
        if _is_about(kill, container):
            evidence.append(_evidence("kernel", f"{kill.get('at') or 'time unknown'}: out of memory, killed {kill.get('process')} (pid {kill.get('pid')})"))
            scope = "oom-host" if kill.get("scope") == "host" else scope
    if not evidence:
        return None, []
    if limit:
        evidence.append(_inspect(f"HostConfig.Memory: {limit} bytes"))
    elif scope == "oom-container" and not around.oom_kills:
        # Without a limit of its own there is only the host's memory to run out of.
        scope = "oom-host"
    return scope, evidence


def in_restart_loop(container: ContainerRef, around: Circumstances) -> bool:
    """Whether the engine starts it again and again, or has just done so and nobody knows yet whether it will last."""
    if container.state == "restarting":
        return True
    uptime = _uptime(container, around.now)
    if container.state != "running" or uptime is None:
        return False
    if container.restart_count >= around.restart_count and uptime < around.restart_window_seconds:
        return True
    healthy = (_state(container).get("Health") or {}).get("Status") == "healthy"
    return container.restart_count > 0 and uptime < _UNPROVEN_SECONDS and not healthy


# -- by state -------------------------------------------------------------------------------------------------------


def _start_failure(container: ContainerRef, around: Circumstances) -> Cause:
    """The engine could not even start it, and says why in its own words."""
    text = container.state_error
    evidence = [_inspect(f"State.Error: {text}"), _inspect(f"State.ExitCode: {container.exit_code}")]
    if _PORT_TAKEN_WORDS.search(text):
        return _port_taken(container, text, evidence)
    if _MOUNT_FAILED.search(text):
        places = _MOUNT_PLACES.search(text) or _MOUNT_SOURCE.search(text)
        parameters = places.groupdict() if places else {}
        return _cause("mount-failed", "high", f"could not mount {_places(parameters)}", evidence, _error("mount-failed", text, parameters))
    if _IMAGE_MISSING.search(text) or around.image_present is False:
        parameters = {"image": container.image_reference}
        return _cause(
            "image-missing", "high", f"its image {container.image_reference} is not on this host", evidence, _error("image-missing", text, parameters)
        )
    executable = _EXECUTABLE.search(text)
    if executable:
        return _not_runnable(container, executable, text, evidence)
    return _cause("created-never-started", "high", f"the engine could not start it: {_shortened(text)}", evidence)


def _port_taken(container: ContainerRef, text: str, evidence: list[Evidence]) -> Cause:
    found = _PORT_TAKEN.search(text)
    parameters = {"port": found["port"], "address": found["address"] or "0.0.0.0"} if found else {}
    if not parameters:
        parameters = {"port": str(next((port["host_port"] for port in container.published_ports if port["host_port"]), ""))}
    summary = f"host port {parameters['port']} is taken by something else"
    return _cause("port-already-allocated", "high", summary, evidence, _error("address-in-use", text, parameters))


def _not_runnable(container: ContainerRef, executable: t.Match[str], text: str, evidence: list[Evidence]) -> Cause:
    command = executable["command"] or (container.command or [""])[0]
    why = (executable["why"] or executable["why2"] or "").strip()
    parameters = {"command": command}
    # Of a path the engine says `stat /path: no such file or directory`, of a name in $PATH the rest.
    if any(words in text[executable.start() :] for words in _NOT_FOUND_WORDS):
        return _cause("command-not-found", "high", f"its command {command} is not in the image", evidence, _error("command-not-found", text, parameters))
    kind = "exec-format-error" if "exec format error" in text else "permission-denied"
    return _cause("not-executable", "high", f"its command {command} cannot be executed: {why}", evidence, _error(kind, text, parameters))


def _never_started(container: ContainerRef, around: Circumstances) -> t.Optional[Cause]:
    if around.dependencies:
        return _dependency_failed(around)
    if around.image_present is False:
        text = f"image {container.image_reference} is not on this host"
        return _cause("image-missing", "high", text, [_inspect(text)], _error("image-missing", text, {"image": container.image_reference}))
    return _cause("created-never-started", "medium", "it was created, and nobody started it", [_inspect("State.Status: created, never started")])


def _dependency_failed(around: Circumstances) -> Cause:
    service, problem = next(iter(sorted(around.dependencies.items())))
    evidence = [_evidence("label", f"depends_on {name}: {text}") for name, text in sorted(around.dependencies.items())]
    error = _error("dependency-failed", problem, {"service": service})
    return _cause("dependency-failed", "high", f"it waits for {service}: {problem}", evidence, error)


def _while_running(container: ContainerRef, health: t.Mapping[str, t.Any], around: Circumstances) -> t.Optional[Cause]:
    scope, evidence = oom_evidence(container, around)
    if not scope and container.restart_count and container.memory_limit_bytes and _died_by_the_kernel(_own_events(container, around)):
        return _killed_again(container, "oom-container", "medium", [_inspect("engine events: die with exit code 137, no signal through the engine")])
    if in_restart_loop(container, around):
        return _killed_again(container, scope, "high", evidence) if scope else _looping(container, around)
    if health["status"] == "unhealthy" and not health["stale"]:
        return _unhealthy(health, around, evidence)
    if scope and container.restart_count:
        return _killed_again(container, scope, "high", evidence)
    if scope:
        return _cause(scope, "high", f"a process inside it was killed for memory{_limit_text(container)}; its main process goes on", evidence)
    if health["status"] in ("starting", "unhealthy"):
        text = "the health shown is from before its last start" if health["stale"] else "its health check has not passed yet"
        return _cause("starting", "high", text, _probe_evidence(health))
    return None


def _killed_again(container: ContainerRef, scope: str, confidence: str, evidence: list[Evidence]) -> Cause:
    """It runs, and a life before this one ended for want of memory."""
    likely = "" if confidence == "high" else ", most likely"
    summary = f"it was killed{likely} for memory{_limit_text(container)} and restarted {_times(container.restart_count)}"
    return _cause(scope, confidence, summary, [*evidence, _inspect(f"RestartCount: {container.restart_count}")])


def _unhealthy(health: t.Mapping[str, t.Any], around: Circumstances, evidence: list[Evidence]) -> Cause:
    words = {
        "connection-refused": "nothing listens where the probe connects",
        "http-status": f"the probe got HTTP status {health['http_status'] or 'of an error'}",
        "timeout": "the probe did not end in time",
        "probe-missing": "the probe's program is not in the image",
        "name-not-resolved": "the probe's host name does not resolve",
        "command-failed": "the probe failed",
    }
    url = f" at {health['url']}" if health["url"] else ""
    summary = f"unhealthy: {words[health['failure']] if health['failure'] else 'the last probe passed'}{url}"
    # An exception of the probe's own program says nothing that its failure does not.
    error = next((one for one in (classify_text(health["last_output"] or ""), classify_text(around.log_lines)) if one and one.kind != UNHANDLED), None)
    return _cause("unhealthy", "high", summary, [*_probe_evidence(health), *evidence], _as_dict(error))


def _after_exit(container: ContainerRef, around: Circumstances) -> t.Optional[Cause]:
    """It ended, or is between two lives."""
    code = container.exit_code
    scope, evidence = oom_evidence(container, around)
    if scope and code != 0:
        return _cause(scope, "high", f"killed for memory{_limit_text(container)}{_loop_text(container, around)}", [_inspect(f"exit code {code}"), *evidence])
    if in_restart_loop(container, around):
        return _looping(container, around)
    if code == 0 and around.one_shot:
        return None
    if code in _STOP_EXITS:
        return _stopped(container, around)
    return _by_exit_code(container, around)


def _looping(container: ContainerRef, around: Circumstances) -> Cause:
    code = container.exit_code
    known = None
    if container.state == "running" or code not in (0, None):
        known = _by_exit_code(container, around)
    if known is not None and known["confidence"] != "low":
        return known
    times = container.restart_count
    evidence = [_inspect(f"RestartCount: {times}"), _inspect(f"restart policy: {container.restart_policy}"), *_log_evidence(around)]
    ended = "ends at once with exit code 0" if code == 0 and container.state != "running" else "ends again and again"
    return _cause("restart-loop", "high", f"its main process {ended}; restarted {_times(times)}", evidence, known["error"] if known else None)


def _by_exit_code(container: ContainerRef, around: Circumstances) -> Cause:
    """Judge by the exit code and what the log says; a running container in a loop has lost its code, its log remains."""
    code = container.exit_code if container.state != "running" else None
    loop = _loop_text(container, around)
    evidence = [_inspect(f"exit code {code}")] if code is not None else [_inspect(f"RestartCount: {container.restart_count}")]
    if code == 137:
        return _killed(container, around, evidence)
    if code == 139:
        return _cause("segfault", "high", f"its main process crashed (SIGSEGV){loop}", evidence + _log_evidence(around))
    if code == 143:
        return _cause("terminated", "medium", f"its main process was ended by SIGTERM{loop}", evidence)
    if code in (126, 127):
        return _command_failed(container, around, evidence)
    error = classify_text(around.log_lines)
    server = _failed_server(code, around.log_lines, container.command)
    evidence += _log_evidence(around)
    if server:
        reason = f": {error.message}" if error else ""
        return _cause("startup-failure", "high", _shortened(f"{server} could not start the application{reason}{loop}"), evidence, _as_dict(error))
    if error is not None and error.kind == "command-not-found" and code is None:
        # Between two lives its exit code, 127, is lost; the shell's words are not.
        command = error.parameters.get("command", "?")
        return _cause("command-not-found", "medium", f"a command was not found in the image: {command}{loop}", evidence, _as_dict(error))
    if error is not None:
        shown = f"{error.exception}: {error.message}" if error.exception and not error.message.startswith(error.exception) else error.message
        confidence = "high" if error.exception else "medium"
        return _cause("application-error", confidence, _shortened(f"{shown}{loop}"), evidence, _as_dict(error))
    signal = _SIGNAL_EXITS.get(code or 0)
    summary = f"its main process ended by {signal}" if signal else f"its main process ended with exit code {code}"
    return _cause("application-error", "medium" if signal else "low", f"{summary}{loop}", evidence)


def _killed(container: ContainerRef, around: Circumstances, evidence: list[Evidence]) -> Cause:
    """SIGKILL without any trace of an OOM kill."""
    events = _own_events(container, around)
    actions = [event.get("Action") for event in events]
    signals = [str(_attributes(event).get("signal", "")) for event in events if event.get("Action") == "kill"]
    limit = container.memory_limit_bytes
    loop = _loop_text(container, around)
    if events:
        evidence = [*evidence, _inspect(f"engine events: {', '.join(map(str, actions))}{' with signals ' + ', '.join(signals) if signals else ''}")]
    if "stop" in actions or len(signals) > 1:
        return _cause("terminated", "high", f"stopped (docker stop); it did not end on SIGTERM in its grace period and was killed{loop}", evidence)
    if signals:
        return _cause("killed", "high", f"killed through the engine (docker kill){loop}", evidence)
    if limit:
        evidence = [*evidence, _inspect(f"HostConfig.Memory: {limit} bytes")]
    # The engine notes each signal that goes through it: one that does not came from the kernel or from the host.
    if "die" in actions and limit:
        return _cause("oom-container", "medium", f"killed, not through the engine: most likely for memory{_limit_text(container)}{loop}", evidence)
    if "die" in actions:
        return _cause("killed", "medium", f"killed, not through the engine: by the kernel for want of memory, or by someone on the host{loop}", evidence)
    hint = "; it has a memory limit, but nothing shows that memory ran out" if limit else ""
    return _cause("killed", "low", f"killed by SIGKILL, by whom is not known{hint}{loop}", evidence)


def _command_failed(container: ContainerRef, around: Circumstances, evidence: list[Evidence]) -> Cause:
    """126 and 127 of a container that did start: its shell passes on what happened to a command inside."""
    code = container.exit_code
    match = next((found for line in reversed(around.log_lines) for found in [_SHELL_NOT_FOUND.search(line)] if found), None)
    command = match["command"] if match else (container.command or ["?"])[0]
    evidence = evidence + _log_evidence(around)
    loop = _loop_text(container, around)
    if code == 127:
        error = _error("command-not-found", match.group().strip(": ") if match else "exit code 127", {"command": command})
        return _cause("command-not-found", "high" if match else "medium", f"a command was not found in the image: {command}{loop}", evidence, error)
    return _cause("not-executable", "medium", f"a command could not be executed: {command}{loop}", evidence, _as_dict(classify_text(around.log_lines)))


def _stopped(container: ContainerRef, around: Circumstances) -> Cause:
    """It ended the way a stopped container ends."""
    code = container.exit_code
    policy = container.restart_policy
    evidence = [_inspect(f"exit code {code}"), _inspect(f"restart policy: {policy}")]
    if any(event.get("Action") == "stop" for event in _own_events(container, around)):
        return _cause("terminated", "high", "someone stopped it (docker stop)", [*evidence, _inspect("engine events: stop")])
    if policy in ("always", "unless-stopped"):
        return _cause("terminated", "high", "someone stopped it: its restart policy would have started it again otherwise", evidence)
    if code == 0:
        return _cause("terminated", "medium", "its main process ended, or someone stopped it", evidence + _log_evidence(around))
    return _cause("terminated", "medium", "its main process was asked to end (SIGTERM or SIGINT)", evidence)


# -- small readings -------------------------------------------------------------------------------------------------


def _failed_server(code: t.Optional[int], lines: t.Sequence[str], command: t.Sequence[str]) -> t.Optional[str]:
    text = "\n".join(lines)
    for server, codes, words in _STARTUP_SERVERS:
        if words in text and (code is None or code in codes):
            return server
        if code in codes and any(server in word for word in command):
            return server
    return None


def _is_about(kill: t.Mapping[str, t.Any], container: ContainerRef) -> bool:
    named = str(kill.get("container_id") or "")
    if named:
        same = container.id.startswith(named) or named.startswith(container.id)
    else:
        same = kill.get("pid") is not None and kill.get("pid") == container.pid
        same = same or (kill.get("scope") == "host" and container.exit_code == 137 and container.state != "running")
    if not same:
        return False
    at, finished = engine_time(kill.get("at")), container.finished_at
    if at is None:
        return bool(named)
    if container.state == "running":
        return container.created_at is None or at >= container.created_at
    return finished is not None and abs((at - finished).total_seconds()) <= _SAME_MOMENT_SECONDS


def _died_by_the_kernel(events: t.Sequence[t.Mapping[str, t.Any]]) -> bool:
    """Whether the last end that the engine remembers was a SIGKILL that did not go through it."""
    if any(event.get("Action") in ("kill", "stop") for event in events):
        return False
    ends = [event for event in events if event.get("Action") == "die"]
    return bool(ends) and str(_attributes(ends[-1]).get("exitCode")) == "137"


def _log_evidence(around: Circumstances) -> list[Evidence]:
    return [_evidence("log", line) for line in [line for line in around.log_lines if line.strip()][-3:]]


def _probe_evidence(health: t.Mapping[str, t.Any]) -> list[Evidence]:
    if health["last_exit_code"] is None:
        return [_evidence("probe", "no probe has run yet")]
    # What went wrong stands at the end: below a traceback, below curl's progress.
    output = (health["last_output"] or "no output")[-_TEXT_CHARACTERS + 20 :]
    return [_evidence("probe", f"exit code {health['last_exit_code']}: {output}"), _evidence("probe", f"test: {' '.join(health['test'])}")]


def _limit_text(container: ContainerRef) -> str:
    limit = container.memory_limit_bytes
    return f" (its limit is {limit / 1024 / 1024:.0f} MiB)" if limit else ""


def _loop_text(container: ContainerRef, around: Circumstances) -> str:
    return f"; restarted {_times(container.restart_count)}" if in_restart_loop(container, around) else ""


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _places(parameters: t.Mapping[str, str]) -> str:
    if parameters.get("destination"):
        return f"{parameters['source']} at {parameters['destination']}"
    return parameters.get("source") or "a volume"


def _state(container: ContainerRef) -> t.Mapping[str, t.Any]:
    return container.inspect.get("State") or {}


def _uptime(container: ContainerRef, now: datetime.datetime) -> t.Optional[float]:
    return (now - container.started_at).total_seconds() if container.started_at else None


def _own_events(container: ContainerRef, around: Circumstances) -> list[t.Mapping[str, t.Any]]:
    """Events of its last life; of all its lives while it runs, because the present one has not ended."""
    began = container.created_at if container.state == "running" else container.started_at
    seconds = began.timestamp() if began else 0.0
    return [event for event in around.events if (event.get("timeNano") or 0) / 1e9 >= seconds]


def _attributes(event: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any]:
    return (event.get("Actor") or {}).get("Attributes") or {}


def _as_dict(error: t.Optional[AppError]) -> t.Optional[dict[str, t.Any]]:
    return error.as_dict() if error else None


def _error(kind: str, message: str, parameters: t.Mapping[str, str]) -> dict[str, t.Any]:
    return AppError(kind, None, _shortened(message), dict(parameters)).as_dict()


def _cause(code: str, confidence: str, summary: str, evidence: list[Evidence], error: t.Optional[dict[str, t.Any]] = None) -> Cause:
    return {"code": code, "confidence": confidence, "summary": summary, "error": error, "evidence": evidence}


def _evidence(source: str, text: str) -> Evidence:
    return {"source": source, "text": _shortened(text)}


def _inspect(text: str) -> Evidence:
    return _evidence("inspect", text)


def _shortened(text: str) -> str:
    return text if len(text) <= _TEXT_CHARACTERS else text[: _TEXT_CHARACTERS - 3] + "..."
