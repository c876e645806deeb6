# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""``stackops alerts``: see what waits for a receiver, send it now, and send a test."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import typing as t

from ._alert_channels import Channel, channels_from_options
from ._alert_delivery import Limits, deliver, send_test
from ._alert_spool import Spool
from ._check_state import open_incidents, read_state_quietly, state_path
from ._envelope import CheckError, rfc3339
from ._maintenance import MONITORING_DIRECTORY, active
from ._monitoring_options import Monitoring, read_monitoring
from ._nagios import one_line


def add_commands(commands: t.Any, state_directory: str) -> None:
    """Add the command to the program's parser."""
    words = "See what is wrong now and which alerts wait for their receiver, send them, or send a test."
    command = commands.add_parser("alerts", help="see, send and test alerts", description=words)
    command.add_argument("--config", help="configuration (/etc/stackops/monitoring.json where it is there)")
    command.add_argument("--state-directory", default=state_directory, help="where the state is (%(default)s)")
    actions = command.add_subparsers(dest="action", required=True, metavar="action")
    status = actions.add_parser("status", help="say what is wrong, what waits, and what was refused")
    status.add_argument("--json", action="store_true", help="print it as JSON")
    send = actions.add_parser("deliver", help="send what waits, now")
    send.add_argument("--scheduled", action="store_true", help="what is not due yet goes on waiting: for cron")
    test = actions.add_parser("test", help="send a real alert by the way of all alerts; the exit code is 2 where it did not arrive")
    test.add_argument("channels", nargs="*", metavar="CHANNEL", help="names of channels; without them all")


def run(arguments: argparse.Namespace) -> int:
    """Carry it out and return the exit code."""
    try:
        monitoring = read_monitoring(arguments.config)
        channels, problems = channels_from_options(monitoring.params["channels"])
        for problem in problems:
            sys.stderr.write(f"stackops: {problem.sentence}\n")
        directory = os.path.join(arguments.state_directory, MONITORING_DIRECTORY)
        spool = Spool(directory)
        if arguments.action == "status":
            return _status(monitoring, channels, spool, arguments.json)
        if arguments.action == "deliver":
            return _deliver(channels, spool, arguments.scheduled)
        return _test(monitoring, channels, spool, arguments.channels)
    except CheckError as error:
        sys.stderr.write(f"stackops: {error.sentence}\n")
        return 3


def _status(monitoring: Monitoring, channels: t.Sequence[Channel], spool: Spool, as_json: bool) -> int:
    now = time.time()
    alerts = spool.status([channel.name for channel in channels], now)
    incidents = []
    for name in monitoring.checks:
        state = read_state_quietly(state_path(spool.directory, name), name, now)
        incidents += [{"check": name, **record} for record in open_incidents(state)]
    if as_json:
        sys.stdout.write(json.dumps({"host": monitoring.host, "incidents": incidents, **alerts}, indent=2) + "\n")
    else:
        for record in incidents:
            since = rfc3339(int(record["incident"]["since"]))
            sys.stdout.write(f"[{record['hard']}] {record['check']} {one_line(record['object'])} since {since}: {one_line(record['summary'])}\n")
        if not incidents:
            sys.stdout.write("nothing that somebody was told of is wrong now\n")
        for window in active(os.path.dirname(spool.directory), now):
            sys.stdout.write(f"silent until {rfc3339(int(window.until))}: {one_line(window.about)}: {one_line(window.purpose)}\n")
        for name, row in alerts["channels"].items():
            words = f"{row['waiting']} waiting, {row['dead']} refused" + ("" if row["configured"] else " (no longer configured)")
            reason = row["last_error"] or row["dead_reason"]
            sys.stdout.write(f"channel {name}: {words}{f': {one_line(reason)}' if reason else ''}\n")
        if not channels:
            sys.stdout.write("no channel is configured: nobody is told\n")
    return 2 if alerts["dead"] else 1 if alerts["waiting"] else 0


def _deliver(channels: t.Sequence[Channel], spool: Spool, scheduled: bool) -> int:
    report = deliver(spool, channels, time.time(), Limits() if scheduled else Limits(lock_seconds=25.0), force=not scheduled)
    for name, one in report.channels.items():
        if not scheduled:
            sys.stdout.write(f"channel {name}: {one.events} sent, {one.waiting} waiting{f': {one_line(one.reason)}' if one.reason else ''}\n")
    return 0 if scheduled else 2 if report.failing or report.busy else 0


def _test(monitoring: Monitoring, channels: t.Sequence[Channel], spool: Spool, names: t.Sequence[str]) -> int:
    unknown = sorted(set(names) - {channel.name for channel in channels})
    if unknown:
        known = ", ".join(channel.name for channel in channels) or "none"
        raise CheckError(unknown[0], "there is no such channel", f"There are: {known}.", "invalid-option")
    chosen = [channel for channel in channels if not names or channel.name in names]
    if not chosen:
        raise CheckError("alerts", "no channel is configured", "Set monitoring_channels, and run the role monitoring again.", "invalid-option")
    results = send_test(spool, chosen, monitoring.host, monitoring.group, time.time())
    for name, reason in results.items():
        sys.stdout.write(f"channel {name}: {f'it did not arrive: {one_line(reason)}' if reason else 'it arrived'}\n")
    return 2 if any(results.values()) else 0
