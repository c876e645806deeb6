# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils._time_limit import HostTimeout, time_limit


@pytest.fixture(autouse=True)
def no_alarm_is_left() -> t.Iterator[None]:
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


def test_a_host_that_hangs_is_left_at_the_limit() -> None:
    began = time.monotonic()
    with pytest.raises(HostTimeout, match="no end within 0.05 s"), time_limit(0.05):
        time.sleep(60)
    assert time.monotonic() - began < 30


def test_the_limit_ends_with_its_block() -> None:
    with time_limit(0.05):
        pass
    time.sleep(0.1)


def test_what_goes_on_after_any_error_does_not_go_on_after_the_limit() -> None:
    # As Ansible does where it looks for an interpreter, and where it tries a connection again.
    with pytest.raises(HostTimeout), time_limit(0.05):
        with contextlib.suppress(Exception):
            time.sleep(60)
        time.sleep(60)


def test_what_was_waited_for_ends_too() -> None:
    started: list[subprocess.Popen[bytes]] = []

    def wait_for_a_host() -> None:
        process = subprocess.Popen(["sleep", "600"])
        started.append(process)
        process.wait()

    with pytest.raises(HostTimeout), time_limit(0.2):
        wait_for_a_host()
    assert started[0].returncode == -signal.SIGKILL


class TaskTimeout(BaseException):
    pass


@pytest.mark.parametrize("inner_seconds", [30, 0.01], ids=["longer than the outer one", "shorter, and kept"])
def test_a_limit_around_it_stays_in_force(inner_seconds: float) -> None:
    def on_alarm(dummy_signal: int, dummy_frame: object) -> None:
        raise TaskTimeout

    previous = signal.signal(signal.SIGALRM, on_alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(TaskTimeout):
            with contextlib.suppress(HostTimeout), time_limit(inner_seconds):
                time.sleep(60)
            time.sleep(60)
    finally:
        signal.signal(signal.SIGALRM, previous)
