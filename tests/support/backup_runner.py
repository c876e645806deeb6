# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs one backup or restore in a process of its own, which may be killed after any of its steps.

    python backup_runner.py '{"what": "backup", "params": {...}, "check_mode": false, "kill_after": 7}'

A step is whatever changes something outside of the process: a rename, a written record, a statement, a program, a container that is
started or stopped. The result is the last line of standard output, as JSON with the number of ``steps`` in it, what each of them was, and
what the run cost: the process's peak of memory (``peak_mib``), the processor time of it and of its containers (``cpu_s``), and when a restore came to each
of its ``states``. With ``usual_priority`` it does not step aside for others, to be compared with what does not, either.
With ``terminate_in`` it gets a SIGTERM as soon as it has written down that state of a restore.
With ``split_bytes`` a restore of that size gives tables to several sessions, which otherwise only large ones do.
With ``clock_shift_seconds`` the process believes that it is that much later (or earlier).
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import sys
import time
import typing as t

from ansible_collections.stackops.runbook.plugins.module_utils import _engine, _postgres_tools, _psql_stream, _restore_journal, _restore_load
from ansible_collections.stackops.runbook.plugins.module_utils._backup import run_backup
from ansible_collections.stackops.runbook.plugins.module_utils._backup_arguments import backup_arguments, restore_arguments
from ansible_collections.stackops.runbook.plugins.module_utils._host_configuration import complete
from ansible_collections.stackops.runbook.plugins.module_utils._restore import run_restore
from container_cpu import cpu_seconds

STEPS: tuple[tuple[t.Any, str], ...] = (
    (os, "rename"),
    (os, "replace"),
    (os, "mkdir"),
    (_engine.Engine, "start"),
    (_engine.Engine, "stop"),
    (_postgres_tools.Tools, "run"),
    (_psql_stream.PsqlStream, "execute"),
    (_restore_journal.Journal, "save"),
)


class Steps:
    """Counts the steps of this process, kills it after the *kill_after*-th, and asks it to end after the record of the state *terminate_in*."""

    def __init__(self, kill_after: t.Optional[int], terminate_in: t.Optional[str]) -> None:
        self.number = 0
        self.names: list[str] = []
        self.states: dict[str, float] = {}
        self._kill_after = kill_after
        self._terminate_in = terminate_in
        for owner, name in STEPS:
            setattr(owner, name, self._counted(getattr(owner, name), name))

    def _counted(self, function: t.Callable[..., t.Any], name: str) -> t.Callable[..., t.Any]:
        @functools.wraps(function)
        def call(*arguments: t.Any, **options: t.Any) -> t.Any:
            result = function(*arguments, **options)
            if name == "save":
                self.states[arguments[1]] = time.time()
                if arguments[1] == self._terminate_in:
                    os.kill(os.getpid(), signal.SIGTERM)
            # A progress file is no step: how many of its renames there are depends on the clock.
            if not (name == "replace" and str(arguments[0]).endswith(".new")):
                self.number += 1
                self.names.append(f"{name} {_told(arguments)}")
                if self.number == self._kill_after:
                    os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call


class Helpers:
    """Adds up the processor time of the containers that this process starts for itself; the engine forgets it with them."""

    def __init__(self, usual_priority: bool) -> None:
        self.seconds = 0.0
        if usual_priority:
            _postgres_tools.HelperSpec = functools.partial(_engine.HelperSpec, cpu_shares=1024)  # type: ignore[assignment, misc]
            _postgres_tools._low_priority = lambda tools: ()
        helper = _engine.Engine.helper

        @contextlib.contextmanager
        def counted(engine: _engine.Engine, spec: _engine.HelperSpec) -> t.Iterator[str]:
            with helper(engine, spec) as container_id:
                try:
                    yield container_id
                finally:
                    # While it is there: it ends with its input, before it is removed.
                    self.seconds += cpu_seconds(container_id)

        _engine.Engine.helper = counted  # type: ignore[method-assign]


def _peak_mib() -> float:
    # Not ru_maxrss: that begins with what the parent had.
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))


def _told(arguments: t.Sequence[t.Any]) -> str:
    """Return what a step is about: the statement, the program, the state that is written down, or the path."""
    last = arguments[1] if len(arguments) > 1 and not isinstance(arguments[0], str) else arguments[-1]
    text = " ".join(map(str, last)) if isinstance(last, (list, tuple)) else str(last)
    return text[-60:] if text.startswith("/") else text[:60]


def _shift_clock(seconds: float) -> None:
    real = time.time
    time.time = lambda: real() + seconds


def main() -> int:
    """Run what the argument says."""
    asked = json.loads(sys.argv[1])
    if asked.get("clock_shift_seconds"):
        _shift_clock(asked["clock_shift_seconds"])
    _restore_load.SPLIT_BYTES = asked.get("split_bytes", _restore_load.SPLIT_BYTES)
    steps = Steps(asked.get("kill_after"), asked.get("terminate_in"))
    helpers = Helpers(bool(asked.get("usual_priority")))
    function, arguments = {"backup": (run_backup, backup_arguments), "restore": (run_restore, restore_arguments)}[asked["what"]]
    result = function(complete(asked["params"], arguments(), "the test"), bool(asked.get("check_mode")))
    cost = {"peak_mib": _peak_mib(), "cpu_s": sum(os.times()[:4]) + helpers.seconds, "states": steps.states}
    sys.stdout.write(json.dumps({**result, "steps": steps.number, "step_names": steps.names, **cost}) + "\n")
    return 1 if result.get("failed") else 0


if __name__ == "__main__":
    sys.exit(main())
