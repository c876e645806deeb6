# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Maintenance windows: while one is open, what goes wrong in it is recorded and wakes nobody. Each ends by itself."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import time
import typing as t

from ._envelope import CheckError
from ._files import write_whole
from ._guarded_files import lock_file, read_json_object, set_aside, told, unlock_file
from ._monitoring_text import inert

STATE_DIRECTORY = "/var/lib/stackops"
FILE_NAME = "maintenance.json"
#: Below the state directory: what the checks know, and alerts that wait. It is there where the host is watched.
MONITORING_DIRECTORY = "monitoring"
SCHEMA_VERSION = 1
LONGEST_SECONDS = 7 * 86400.0
_MOST_WINDOWS = 100
_LOCK_SECONDS = 5.0
# How much the clock may have been set back since a window was opened. A window in the future silences nothing.
_CLOCK_SLACK_SECONDS = 300.0


@dataclasses.dataclass(frozen=True)
class Window:
    """One window; without *stacks* it is about all stacks and the host itself, without *checks* about all checks."""

    id: str
    purpose: str
    stacks: tuple[str, ...]
    checks: tuple[str, ...]
    start: float
    until: float
    #: The process that it lasts for, and when that was started (in ticks since boot); 0 where it lasts until its time is over.
    pid: int = 0
    pid_started: int = 0

    def covers(self, check: str, stack: str) -> bool:
        """Tell whether what *check* sees of *stack* is part of it."""
        return (not self.checks or check in self.checks) and (not self.stacks or stack in self.stacks)

    @property
    def about(self) -> str:
        """What is silent, in words."""
        return silenced(self.stacks, self.checks)

    def is_active(self, now: float) -> bool:
        """Tell whether it is open."""
        return self.start - _CLOCK_SLACK_SECONDS <= now < self.until and (not self.pid or _started(self.pid) == self.pid_started)


def silenced(stacks: t.Iterable[str], checks: t.Iterable[str]) -> str:
    """Return what a window is about, in words."""
    return ", ".join((*stacks, *checks)) or "everything"


def open_window(directory: str, purpose: str, stacks: t.Sequence[str], checks: t.Sequence[str], seconds: float, now: float, pid: int = 0) -> str:
    """Open a window of so many *seconds*, or until the process *pid* has ended, and return its id for :func:`close_window`.

    :raises CheckError: the length is none, or it cannot be written.
    """
    if not 0 < seconds <= LONGEST_SECONDS:
        raise CheckError("maintenance", f"a window of {seconds:g} s cannot be opened", f"Give it between 1 and {LONGEST_SECONDS:g} seconds.", "invalid-option")
    window = Window(secrets.token_hex(6), inert(purpose, 200), tuple(stacks), tuple(checks), now, now + seconds, pid, _started(pid) if pid else 0)
    with _changing(directory, now) as windows:
        if len(windows) >= _MOST_WINDOWS:
            raise CheckError("maintenance", f"{len(windows)} windows are open", "Close those that are over: stackops maintenance list", "invalid-option")
        windows.append(window)
    return window.id


def close_window(directory: str, window_id: str) -> bool:
    """Close a window before its time; tell whether it was open."""
    with _changing(directory, 0.0) as windows:
        kept = [window for window in windows if window.id != window_id]
        found = len(kept) < len(windows)
        windows[:] = kept
    return found


@contextlib.contextmanager
def window_while(purpose: str, stacks: t.Sequence[str], checks: t.Sequence[str], seconds: float, directory: str = STATE_DIRECTORY) -> t.Iterator[None]:
    """Have a window open while this lasts, on a host that is watched. It ends with this process, by whatever that ends.

    Where no window can be opened the work goes on all the same: somebody may be woken, which is the lesser evil.
    """
    window_id = ""
    if os.path.exists(os.path.join(directory, MONITORING_DIRECTORY)):
        with contextlib.suppress(CheckError, OSError):
            window_id = open_window(directory, purpose, stacks, checks, min(seconds, LONGEST_SECONDS), time.time(), os.getpid())
    try:
        yield
    finally:
        if window_id:
            with contextlib.suppress(CheckError, OSError):
                close_window(directory, window_id)


def _started(pid: int) -> int:
    """Return when a process was started, in ticks since boot; -1 where there is none: numbers of processes are used again."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name may hold spaces and brackets.
            return int(file.read(4096).rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return -1


def active(directory: str, now: float) -> list[Window]:
    """Return the windows that are open; of a file that cannot be read none, for silence is what must not come about by mistake."""
    try:
        return [window for window in _read(os.path.join(directory, FILE_NAME)) if window.is_active(now)]
    except (OSError, ValueError):
        return []


@contextlib.contextmanager
def _changing(directory: str, now: float) -> t.Iterator[list[Window]]:
    """Hand out the windows that are not over at *now*, and write down what the caller has made of them."""
    path = os.path.join(directory, FILE_NAME)
    with told(directory):
        os.makedirs(directory, mode=0o755, exist_ok=True)
        lock = lock_file(f"{path}.lock", _LOCK_SECONDS, {"pid": os.getpid(), "purpose": "maintenance", "since": now})
        try:
            try:
                windows = _read(path)
            except ValueError:
                set_aside(path)
                windows = []
            windows = [window for window in windows if now < window.until]
            yield windows
            content = {"schema_version": SCHEMA_VERSION, "windows": [dataclasses.asdict(window) for window in windows]}
            write_whole(path, json.dumps(content, indent=2).encode() + b"\n")
        finally:
            unlock_file(lock)


def _read(path: str) -> list[Window]:
    """Return all windows of the file; ``ValueError`` where it is damaged."""
    try:
        content = read_json_object(path)
    except FileNotFoundError:
        return []
    try:
        if content["schema_version"] != SCHEMA_VERSION:
            raise ValueError("another schema")
        return [
            Window(
                str(one["id"]),
                str(one["purpose"]),
                tuple(map(str, one["stacks"])),
                tuple(map(str, one["checks"])),
                float(one["start"]),
                min(float(one["until"]), float(one["start"]) + LONGEST_SECONDS),
                int(one.get("pid", 0)),
                int(one.get("pid_started", 0)),
            )
            for one in content["windows"]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is no list of windows ({error})") from None
