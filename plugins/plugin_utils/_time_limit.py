# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A time limit for what has none of its own, such as a connection to a host that hangs."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
import types
import typing as t


class HostTimeout(BaseException):
    """The host as a whole gave no answer in time: a hang of the connection or of the host, not of one collector.

    It is no :class:`Exception`: Ansible's look for an interpreter and its retries of connections go on after one of these, and would go on forever.
    """


@contextlib.contextmanager
def alarm(seconds: float, error: BaseException) -> t.Iterator[None]:
    """Raise *error* in the block when *seconds* are over; another alarm that waits meanwhile goes on. It is for the main thread of a process."""

    def on_alarm(dummy_signal: int, dummy_frame: object) -> None:
        raise error

    began = time.monotonic()
    previous = signal.signal(signal.SIGALRM, on_alarm)
    left, dummy = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, left - (time.monotonic() - began)))


@contextlib.contextmanager
def time_limit(seconds: float) -> t.Iterator[None]:
    """Raise :class:`HostTimeout` in the block when *seconds* are over; 0 is no limit. It is for the main thread of a process.

    A limit around this one (a task's own ``timeout``) stays in force.
    """
    outer_left = signal.getitimer(signal.ITIMER_REAL)[0]
    if not seconds or 0 < outer_left <= seconds:
        yield
        return
    with alarm(seconds, HostTimeout(f"no end within {seconds:g} s")):
        try:
            yield
        except HostTimeout as error:
            _end_what_was_waited_for(error.__traceback__)
            raise


def _end_what_was_waited_for(traceback: t.Optional[types.TracebackType]) -> None:
    """Kill the ``ssh`` that the interrupted code was waiting for: it would wait for the host until that is switched off."""
    while traceback is not None:
        for value in list(traceback.tb_frame.f_locals.values()):
            if isinstance(value, subprocess.Popen) and value.poll() is None:
                value.kill()
                value.wait()
        traceback = traceback.tb_next
