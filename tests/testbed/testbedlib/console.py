# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands that are run, and what the person in front of the terminal is told about them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
import typing as t

OUTPUT_TAIL_LINES = 25
STILL_BUSY_SECONDS = 15.0
_lock = threading.Lock()


class Unavailable(Exception):
    """The machine lacks something that cannot be had here; the text says what, and what to type where it can."""


class CommandFailed(Exception):
    """A command did not end well; the text has its last lines."""


def say(text: str) -> None:
    """Tell the person one line, at once."""
    with _lock:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


@contextlib.contextmanager
def step(title: str) -> t.Iterator[None]:
    """Say what begins, that it is still going on every few seconds, and how long it took."""
    begin = time.monotonic()
    over = threading.Event()

    def tick() -> None:
        while not over.wait(STILL_BUSY_SECONDS):
            say(f"    {title} ... {time.monotonic() - begin:.0f} s")

    say(f"==> {title}")
    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield
    finally:
        over.set()
        ticker.join()
    say(f"    {title}: done in {time.monotonic() - begin:.1f} s")


def run(
    argv: t.Sequence[str],
    timeout_seconds: float = 60,
    stdin: t.Union[bytes, t.IO[bytes], None] = None,
    env: t.Optional[t.Mapping[str, str]] = None,
    check: bool = True,
) -> subprocess.CompletedProcess[bytes]:
    """Run *argv* with a time limit and return what it gave back.

    :raises CommandFailed: it could not be run, took too long or, with *check*, did not end with 0.
    """
    source: dict[str, t.Any] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin or subprocess.DEVNULL}
    try:
        completed = subprocess.run(list(argv), capture_output=True, timeout=timeout_seconds, env={**os.environ, **(env or {})}, check=False, **source)
    except FileNotFoundError:
        raise CommandFailed(f"{argv[0]}: command not found") from None
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"{' '.join(argv)}: no end after {timeout_seconds:g} s") from None
    if check and completed.returncode != 0:
        lines = (completed.stdout + completed.stderr).decode("utf-8", "replace").splitlines()[-OUTPUT_TAIL_LINES:]
        raise CommandFailed("\n".join([f"{' '.join(argv)}: exit code {completed.returncode}", *lines]))
    return completed


def output(argv: t.Sequence[str], timeout_seconds: float = 60) -> str:
    """Return what *argv* prints, without the final newline."""
    return run(argv, timeout_seconds).stdout.decode("utf-8", "replace").strip()


def succeeds(argv: t.Sequence[str], timeout_seconds: float = 60) -> bool:
    """Return whether *argv* is there and ends with 0 in time."""
    try:
        run(argv, timeout_seconds)
    except CommandFailed:
        return False
    return True


def wait_until(condition: t.Callable[[], bool], timeout_seconds: float, what: str, pause_seconds: float = 0.1) -> None:
    """Wait until *condition* holds.

    :raises CommandFailed: it did not within *timeout_seconds*.
    """
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise CommandFailed(f"{what}: not within {timeout_seconds:g} s")
        time.sleep(pause_seconds)


def side_by_side(work: t.Mapping[str, t.Callable[[], None]]) -> None:
    """Run every function in a thread of its own; raise what the first of them that failed raised."""
    failures: dict[str, BaseException] = {}

    def call(name: str, function: t.Callable[[], None]) -> None:
        try:
            function()
        except BaseException as error:  # handed to the caller below
            failures[name] = error

    threads = [threading.Thread(target=call, args=pair, daemon=True) for pair in work.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, error in failures.items():
        say(f"!!! {name}: {error}")
    for error in failures.values():
        raise error
