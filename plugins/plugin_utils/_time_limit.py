# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A time limit for what has none of its own, such as a connection to a host that hangs."""

from __future__ import annotations

import contextlib
import signal
import typing as t


class HostTimeout(Exception):
    """The host as a whole gave no answer in time: a hang of the connection or of the host, not of one collector."""


@contextlib.contextmanager
def time_limit(seconds: float) -> t.Iterator[None]:
    """Raise :class:`HostTimeout` in the block when *seconds* are over; 0 is no limit. It is for the main thread of a process."""

    def on_alarm(dummy_signal: int, dummy_frame: object) -> None:
        raise HostTimeout(f"no answer within {seconds:g} s")

    previous = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
