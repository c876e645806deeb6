# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The checks by their types, each run in a process of its own that ends in time."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import select
import signal
import time
import typing as t

from ._envelope import CheckError
from ._monitoring_types import Observation

if t.TYPE_CHECKING:
    from ._monitoring_options import CheckSetting, Monitoring

Json = dict[str, t.Any]

#: Where each type's ``check(run) -> CheckResult`` is. Imported when it runs: few need the engine's library.
_MODULES = {
    "health": "_check_health",
    "http": "_check_http",
    "errors": "_check_errors",
    "auth": "_check_auth",
    "resources": "_check_resources",
    "database": "_check_database",
    "backup": "_check_backup",
    "command": "_check_command",
}
_ANSWER_BYTES = 8 * 1024 * 1024
_PIECE_BYTES = 65536


@dataclasses.dataclass(frozen=True)
class CheckRun:
    """What a check is given: its setting, what it kept of its last run (*memory*, empty at first), and the time."""

    setting: CheckSetting
    monitoring: Monitoring
    memory: t.Mapping[str, t.Any]
    now: float
    scheduled: bool = False


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """What a check saw, and what it wants to keep for its next run (JSON)."""

    observations: tuple[Observation, ...]
    memory: Json = dataclasses.field(default_factory=dict)


def run_check(run: CheckRun) -> CheckResult:
    """Run a check in this process; what it could not do is an observation as well."""
    try:
        module = importlib.import_module(f".{_MODULES[run.setting.type]}", __package__)
        return t.cast("CheckResult", module.check(run))
    except CheckError as error:
        return CheckResult((failed(run.setting.name, error),), dict(run.memory))
    except Exception as error:  # pylint: disable=broad-except  # whatever it is, somebody has to be told
        defect = CheckError(run.setting.type, f"{type(error).__name__}: {error}", "This is a defect of the collection: please report it.", "defect")
        return CheckResult((failed(run.setting.name, defect),), dict(run.memory))


def failed(name: str, error: CheckError) -> Observation:
    """Return the observation of a check that could not be made."""
    return Observation("check", "unknown", f"{name} could not be checked: {error.source}: {error.reason}", next_command=error.hint)


def run_isolated(run: CheckRun) -> CheckResult:
    """Run a check in a process of its own, which is killed with all that it has started when its time is over.

    A hanging file system or library holds up that process alone.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(run, reading, writing)
    os.close(writing)
    deadline = time.monotonic() + run.setting.timeout_seconds
    try:
        answer = _read_until(reading, deadline)
    finally:
        os.close(reading)
        # It leads a group of its own; where it has not come so far yet, it is the only one.
        for kill in (os.killpg, os.kill):
            try:
                kill(child, signal.SIGKILL)
                break
            except ProcessLookupError:
                continue
        os.waitpid(child, 0)
    if not answer.endswith(b"\n"):
        late = time.monotonic() >= deadline
        reason = f"not finished within {run.setting.timeout_seconds:g} s" if late else "its process ended without an answer"
        error = CheckError("time limit" if late else "process", reason, f"Run it by hand: stackops check {run.setting.name}", "timeout")
        return CheckResult((failed(run.setting.name, error),), dict(run.memory))
    return _decoded(answer)


def _answer(run: CheckRun, reading: int, writing: int) -> t.NoReturn:
    """Be the process that runs the check: write what came of it and end."""
    try:
        os.setsid()
        os.close(reading)
        result = run_check(run)
        data = json.dumps({"observations": [_plain(one) for one in result.observations], "memory": result.memory}).encode() + b"\n"
        while data:
            data = data[os.write(writing, data) :]
    finally:
        # Not through the exit handlers of a program that goes on elsewhere, and not waiting for threads that hang.
        os._exit(0)


def _read_until(descriptor: int, deadline: float) -> bytes:
    """Return what comes out of a pipe until its end, or until it is late or far too much."""
    pieces: list[bytes] = []
    total = 0
    while total < _ANSWER_BYTES:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            break
        piece = os.read(descriptor, _PIECE_BYTES)
        if not piece:
            break
        pieces.append(piece)
        total += len(piece)
    return b"".join(pieces)


def _plain(observation: Observation) -> Json:
    fields = {field.name: getattr(observation, field.name) for field in dataclasses.fields(observation)}
    return {**fields, "metrics": {name: dict(entry) for name, entry in observation.metrics.items()}}


def _decoded(answer: bytes) -> CheckResult:
    data = json.loads(answer)
    observations = []
    for one in data["observations"]:
        observations.append(Observation(**{**one, "parents": tuple(one["parents"]), "details": tuple(one["details"])}))
    return CheckResult(tuple(observations), data["memory"])
