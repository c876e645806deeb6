# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""``stackops cleanup``: remove old log files, and say which."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import typing as t

from ._envelope import EXIT_CODES, CheckError, rfc3339
from ._files import write_whole
from ._guarded_files import lock_file, unlock_file
from ._log_cleanup import CleanupOptions, LogDirectory, carry_out, directories_of, plan
from ._maintenance import MONITORING_DIRECTORY
from ._monitoring_options import Monitoring, read_monitoring

_REPORT = "cleanup.json"


def add_commands(commands: t.Any, state_directory: str) -> None:
    """Add the command to the program's parser."""
    words = "Remove log files that were last written more than seven days ago, from the directories of the stacks that hold nothing else than logs."
    command = commands.add_parser("cleanup", help="remove old log files", description=words)
    command.add_argument("--config", help="configuration (/etc/stackops/monitoring.json where it is there)")
    command.add_argument("--state-directory", default=state_directory, help="where the report is left (%(default)s)")
    command.add_argument("--dry-run", action="store_true", help="only say what would go")
    command.add_argument("--json", action="store_true", help="print the report as JSON")
    command.add_argument("--scheduled", action="store_true", help="be silent unless something is wrong: for cron")


def run(arguments: argparse.Namespace) -> int:
    """Clean up and return the exit code."""
    now = time.time()
    try:
        facts = _clean(read_monitoring(arguments.config), arguments, now)
    except CheckError as error:
        sys.stderr.write(f"stackops: {error.sentence}\n")
        return EXIT_CODES["unknown"]
    if arguments.json:
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
    elif not arguments.scheduled:
        sys.stdout.write(_text(facts))
    for problem in facts["errors"]:
        sys.stderr.write(f"stackops: {problem['source']}: {problem['reason']}. {problem['hint']}\n")
    return EXIT_CODES[facts["status"]]


def _clean(monitoring: Monitoring, arguments: argparse.Namespace, now: float) -> dict[str, t.Any]:
    given = monitoring.params["cleanup"]
    found: list[LogDirectory] = []
    data_root = ""
    if given.get("directories") is None:
        found, data_root = _discovered(monitoring)
    try:
        options = CleanupOptions.from_options(given, found, data_root)
    except (TypeError, ValueError) as error:
        raise CheckError("cleanup", str(error), "Correct monitoring_cleanup, and run the role monitoring again.", "invalid-option") from None
    if arguments.dry_run:
        return carry_out(plan(options, now), dry_run=True).envelope()
    directory = os.path.join(arguments.state_directory, MONITORING_DIRECTORY)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    lock = lock_file(os.path.join(directory, f"{_REPORT}.lock"), 0, {"pid": os.getpid(), "purpose": "cleanup", "since": rfc3339(int(now))})
    try:
        facts = carry_out(plan(options, now)).envelope()
        write_whole(os.path.join(directory, _REPORT), json.dumps({"at": rfc3339(int(now)), **facts}, indent=2).encode() + b"\n")
    finally:
        unlock_file(lock)
    return facts


def _discovered(monitoring: Monitoring) -> tuple[list[LogDirectory], str]:
    """Return the directories of the stacks in which there are logs, and where the engine keeps its own things."""
    engine, stacks = monitoring.discover()
    return directories_of(stacks, engine), str(engine.info().get("DockerRootDir") or "")


def _text(facts: t.Mapping[str, t.Any]) -> str:
    lines = [facts["summary"]]
    lines += [f"  {row['path']} ({row['bytes']} bytes, {row['age_seconds'] / 86400:.1f} days)" for row in facts["removed"]]
    lines += [f"  kept {row['path']}: {row['reason']}" for row in facts["kept"]]
    return "\n".join(lines) + "\n"
