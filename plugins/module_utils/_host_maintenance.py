# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""``stackops maintenance``: for some time, what goes wrong is recorded and wakes nobody."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
import typing as t

from ._envelope import CheckError, rfc3339
from ._maintenance import active, close_window, open_window, silenced
from ._nagios import one_line

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def add_commands(commands: t.Any, state_directory: str) -> None:
    """Add the command to the program's parser."""
    words = "Open, close and list maintenance windows. Each ends by itself."
    command = commands.add_parser("maintenance", help="be silent for some time", description=words)
    command.add_argument("--state-directory", default=state_directory, help="where the state is (%(default)s)")
    actions = command.add_subparsers(dest="action", required=True, metavar="action")
    begin = actions.add_parser("on", help="open a window")
    begin.add_argument("duration", help="how long, as 30m, 2h or 1d")
    begin.add_argument("--stack", action="append", default=[], help="a Compose project; without it the whole host")
    begin.add_argument("--check", action="append", default=[], help="a check; without it all")
    begin.add_argument("--purpose", default="", help="why, for those who look")
    end = actions.add_parser("off", help="close a window, or all")
    end.add_argument("window", nargs="?", help="id of the window")
    actions.add_parser("list", help="show the windows that are open")


def run(arguments: argparse.Namespace) -> int:
    """Carry it out and return the exit code."""
    directory, now = arguments.state_directory, time.time()
    try:
        if arguments.action == "on":
            user = os.environ.get("SUDO_USER") or os.environ.get("USER") or "somebody"
            seconds = _seconds(arguments.duration)
            window = open_window(directory, arguments.purpose or f"opened by {user}", arguments.stack, arguments.check, seconds, now)
            about = silenced(arguments.stack, arguments.check)
            sys.stdout.write(f"{window} until {rfc3339(int(now + seconds))}: {one_line(about)} is silent\n")
        elif arguments.action == "off":
            windows = [arguments.window] if arguments.window else [one.id for one in active(directory, now)]
            closed = [one for one in windows if close_window(directory, one)]
            sys.stdout.write(f"{len(closed)} closed\n")
            return 0 if len(closed) == len(windows) else 1
        else:
            for one in active(directory, now):
                sys.stdout.write(f"{one.id} until {rfc3339(int(one.until))}: {one_line(one.about)}: {one_line(one.purpose)}\n")
    except CheckError as error:
        sys.stderr.write(f"stackops: {error.sentence}\n")
        return 1
    return 0


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smhd])", text)
    if not match:
        raise CheckError("duration", f"{text!r} is no duration", "Write for example 30m or 2h.", "invalid-option")
    return float(match[1]) * _UNITS[match[2]]
