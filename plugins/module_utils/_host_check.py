# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""``stackops check``: by hand and for Nagios it looks and says; for cron it also remembers, and alerts."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import typing as t

from ._check_output import as_json, summarise, text_of
from ._check_state import read_state_quietly, state_path
from ._envelope import EXIT_CODES, CheckError, worst
from ._maintenance import MONITORING_DIRECTORY
from ._monitoring_checks import CheckRun, run_isolated
from ._monitoring_options import Monitoring, read_monitoring, with_thresholds
from ._nagios import one_line, render


def add_commands(commands: t.Any, state_directory: str) -> None:
    """Add the command to the program's parser."""
    words = "Look at the stacks of this host. Exit code and output are those of a Nagios plugin."
    command = commands.add_parser("check", help="look at services, errors, logins, resources, databases, backups", description=words)
    command.add_argument("checks", nargs="+", metavar="CHECK", help="health, errors, auth, resources, database, backup, one of the configuration, or all")
    command.add_argument("--config", help="configuration (/etc/stackops/monitoring.json where it is there)")
    command.add_argument("--state-directory", default=state_directory, help="where the state is (%(default)s)")
    command.add_argument("--json", action="store_true", help="print everything as JSON")
    command.add_argument("--verbose", action="store_true", help="say what is well, too")
    command.add_argument("-w", "--warning", action="append", default=[], metavar="[METRIC=]RANGE", help="other thresholds for this run")
    command.add_argument("-c", "--critical", action="append", default=[], metavar="[METRIC=]RANGE", help="other thresholds for this run")
    command.add_argument("--scheduled", action="store_true", help="count the result, alert, and be silent: for cron")


def run(arguments: argparse.Namespace) -> int:
    """Run the checks that were asked for and return the exit code."""
    try:
        monitoring = read_monitoring(arguments.config)
        names = list(monitoring.checks) if "all" in arguments.checks else list(dict.fromkeys(arguments.checks))
        settings = [with_thresholds(monitoring.setting(name), arguments.warning, arguments.critical) for name in names]
        directory = os.path.join(arguments.state_directory, MONITORING_DIRECTORY)
        if arguments.scheduled:
            # Imported here, because by hand nothing is sent.
            from ._monitoring_run import run_scheduled  # pylint: disable=import-outside-toplevel

            return max(run_scheduled(setting, monitoring, directory) for setting in settings)
        return _by_hand(settings, monitoring, directory, arguments)
    except CheckError as error:
        sys.stdout.write(render("check", "unknown", error.sentence, [], []))
        return EXIT_CODES["unknown"]


def _by_hand(settings: t.Sequence[t.Any], monitoring: Monitoring, directory: str, arguments: argparse.Namespace) -> int:
    """Look at everything and print it. Nothing is written, so that it can be done at any time, by anybody who may read."""
    found = []
    for setting in settings:
        now = time.time()
        memory = read_state_quietly(state_path(directory, setting.name), setting.name, now)["memory"]
        result = run_isolated(CheckRun(setting, monitoring, memory, now))
        found.append((setting, result.observations))
    status = worst(summarise(observations)[0] for dummy, observations in found)
    if arguments.json:
        checks = {setting.name: as_json(setting, observations) for setting, observations in found}
        sys.stdout.write(json.dumps({"host": monitoring.host, "status": status, "checks": checks}, indent=2) + "\n")
        return EXIT_CODES[status]
    if len(found) > 1:
        verdicts = [f"{setting.name} {summarise(observations)[0]}" for setting, observations in found]
        sys.stdout.write(render("all", status, one_line(", ".join(verdicts)), [], []))
    for setting, observations in found:
        sys.stdout.write(text_of(setting, observations, arguments.verbose))
    return EXIT_CODES[status]
