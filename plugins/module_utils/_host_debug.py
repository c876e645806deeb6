# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""``stackops debug``: which debug modes are on, and end them; cron calls it every minute while one is."""

from __future__ import annotations

import argparse
import sys
import time
import typing as t

from ._debug_mode import Records, end_due
from ._envelope import CheckError, rfc3339
from ._nagios import one_line


def add_commands(commands: t.Any, state_directory: str) -> None:
    """Add the command to the program's parser."""
    command = commands.add_parser("debug", help="list and end debug modes", description="List the debug modes that are on, and end them.")
    command.add_argument("--state-directory", default=state_directory, help="where the state is (%(default)s)")
    actions = command.add_subparsers(dest="action", required=True, metavar="action")
    actions.add_parser("list", help="show the debug modes that are on")
    end = actions.add_parser("end", help="end them")
    end.add_argument("--due", action="store_true", help="only those whose time is over")
    end.add_argument("project", nargs="*", help="a Compose project; without it all")


def run(arguments: argparse.Namespace) -> int:
    """Carry it out and return the exit code."""
    records = Records(arguments.state_directory)
    if arguments.action == "list":
        return _list(records)
    results = end_due(records, time.time(), arguments.project, arguments.due)
    for one in results:
        stream = sys.stderr if one.get("failed") else sys.stdout
        stream.write(f"stackops: {one_line(one['summary'])}\n")
    return 1 if any(one.get("failed") for one in results) else 0


def _list(records: Records) -> int:
    for project in records.projects():
        try:
            record = records.find(project)
        except CheckError as error:
            sys.stderr.write(f"stackops: {one_line(error.sentence)}\n")
            continue
        if record is not None:
            sys.stdout.write(f"{project} until {rfc3339(int(record.until))}: {one_line(', '.join(record.services))} by {one_line(record.env_file)}\n")
    return 0
