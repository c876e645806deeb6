# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs checks in processes that may be killed after any of their steps, as cron would run them minute by minute.

Each line of standard input is a job as JSON; it is done in a fork of this process, so that hundreds of them take seconds. A step is whatever
changes something outside of the process: a rename, a removal, a sync to the disk, a request that was sent, an answer that was read. What comes
back for each job is one line of JSON: the signal or exit code, how many steps there were, and which run was the last to begin.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import threading
import typing as t

from ansible_collections.stackops.runbook.plugins.module_utils import _check_state as machine
from ansible_collections.stackops.runbook.plugins.module_utils._alert_channels import Channel
from ansible_collections.stackops.runbook.plugins.module_utils._alert_delivery import Limits, deliver
from ansible_collections.stackops.runbook.plugins.module_utils._alert_spool import Spool
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_types import Observation, Policy

Json = dict[str, t.Any]

STEPS: tuple[tuple[t.Any, str], ...] = (
    (os, "replace"),
    (os, "rename"),
    (os, "unlink"),
    (os, "fsync"),
    (http.client.HTTPConnection, "request"),
    (http.client.HTTPConnection, "getresponse"),
)
STATUSES = {"o": "ok", "c": "critical", "w": "warning", "u": "unknown"}
LIMITS = Limits(jitter=0.0, lock_seconds=10.0, pause_seconds=0.02)


class Steps:
    """Counts the steps and kills this process after the *kill_after*-th."""

    def __init__(self, kill_after: t.Optional[int]) -> None:
        self.number = 0
        self._kill_after = kill_after
        self._lock = threading.Lock()
        for owner, name in STEPS:
            setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, function: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        def call(*arguments: t.Any, **options: t.Any) -> t.Any:
            result = function(*arguments, **options)
            with self._lock:
                self.number += 1
                if self.number == self._kill_after:
                    os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call


def run_once(job: Json, channels: list[Channel], number: int) -> None:
    """Do what cron has done in one minute: look, decide, queue, deliver."""
    directory, check = job["directory"], job["check"]
    now = job["start"] + 60.0 * number
    seen = [Observation(name, STATUSES[letters[min(number, len(letters) - 1)]], f"{name} of run {number}", "shop") for name, letters in job["objects"].items()]
    path = machine.state_path(directory, check)
    state = machine.load_state(path, check, now, f"{directory}/run")
    policy = Policy(fail_after=2, recover_after=1, repeat_seconds=0)
    state, dummy = machine.advance(state, seen, policy, machine.RunContext(check, "web-01", now))
    spool = Spool(directory, f"{directory}/run")
    problems = machine.settle(path, state, lambda batch, events: spool.put(batch, events, channels, now), f"{directory}/run")
    assert not problems, problems
    deliver(spool, channels, now, LIMITS)


def work(job: Json, report: t.Callable[[Json], None]) -> None:
    """Do one job: the runs *first* to *last* of its timeline."""
    steps = Steps(job.get("kill_after"))
    channels = [Channel.from_options(options) for options in job["channels"]]
    for number in range(job["first"], job["last"] + 1):
        report({"run": number})
        run_once(job, channels, number)
    report({"steps": steps.number})


def main() -> None:
    """Fork for each job; those that are given together, as a list, run side by side."""
    for line in sys.stdin:
        given = json.loads(line)
        jobs = given if isinstance(given, list) else [given]
        started = []
        for job in jobs:
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(reading)
                code = 1
                try:
                    work(job, lambda what, out=writing: os.write(out, json.dumps(what).encode() + b"\n"))  # type: ignore[misc]
                    code = 0
                finally:
                    os._exit(code)
            os.close(writing)
            started.append((pid, reading))
        results = []
        for pid, reading in started:
            with os.fdopen(reading, "rb") as pipe:
                lines = [json.loads(one) for one in pipe]
            dummy, status = os.waitpid(pid, 0)
            merged: Json = {"code": os.waitstatus_to_exitcode(status), "run": None, "steps": None}
            for one in lines:
                merged.update(one)
            results.append(merged)
        sys.stdout.write(json.dumps(results if isinstance(given, list) else results[0]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
