# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What a host's monitoring configuration makes cron or systemd start, and when."""

from __future__ import annotations

import hashlib
import re
import typing as t

from ..module_utils._alert_channels import channels_from_options, check_url
from ..module_utils._envelope import CheckError
from ..module_utils._monitoring_options import SCHEMA_VERSION, Monitoring, parse_monitoring

EVERY_MINUTE = "* * * * *"
_SOURCE = "monitoring"
_FIELDS = re.compile(r"@(hourly|daily|midnight|weekly|monthly)|([0-9A-Za-z*/,-]+ +){4}[0-9A-Za-z*/,-]+")
_EVERY = re.compile(r"\*/(\d{1,2})")

Job = dict[str, t.Any]


def monitoring_plan(options: t.Mapping[str, t.Any], spread: bool = True, cleanup_schedule: str = "") -> dict[str, t.Any]:
    """Return ``configuration``, what goes into the file on the host, and ``jobs``: ``name``, ``schedule``, ``interval_seconds``, ``arguments``.

    Options without a value are left out of the configuration. Where an option is wrong, ``problem`` says which and what to do, without its
    value where that may be secret, and there is nothing else; otherwise it is empty.
    """
    try:
        return {"problem": "", **_plan(options, spread, cleanup_schedule)}
    except CheckError as error:
        return {"problem": error.sentence}


def _plan(options: t.Mapping[str, t.Any], spread: bool, cleanup_schedule: str) -> dict[str, t.Any]:
    given = {name: value for name, value in options.items() if value not in (None, "", [], {})}
    monitoring = parse_monitoring(given, _SOURCE)
    _refuse_wrong_channels(monitoring)
    jobs = _jobs(monitoring, cleanup_schedule)
    for job in jobs:
        if not _FIELDS.fullmatch(job["schedule"]):
            hint = "Write the five fields of cron, for example */5 * * * *."
            raise CheckError(job["name"], f"{job['schedule']!r} is no schedule", hint, "invalid-option")
    if spread:
        jobs = [{**job, "schedule": spread_out(job["schedule"], monitoring.host, job["name"], number)} for number, job in enumerate(jobs)]
    return {"configuration": {"schema_version": SCHEMA_VERSION, "options": given}, "jobs": jobs}


def _refuse_wrong_channels(monitoring: Monitoring) -> None:
    """Refuse before it is installed what would leave somebody untold; on the host a wrong channel only keeps what is for it."""
    channels, errors = channels_from_options(monitoring.params["channels"])
    if errors:
        raise errors[0]
    known = {channel.name for channel in channels}
    for setting in monitoring.checks.values():
        unknown = sorted(set(setting.channels or ()) - known)
        if unknown:
            hint = f"There are: {', '.join(sorted(known)) or 'none'}."
            raise CheckError(f"{_SOURCE}: checks.{setting.name}", f"there is no channel {unknown[0]!r}", hint, "invalid-option")
    for url in filter(None, (monitoring.params["heartbeat_url"], *(setting.heartbeat_url for setting in monitoring.checks.values()))):
        check_url("heartbeat", "heartbeat_url", url, "https://hc-ping.com/your-uuid")


def _jobs(monitoring: Monitoring, cleanup_schedule: str) -> list[Job]:
    jobs = [
        {
            "name": setting.name,
            "schedule": setting.schedule,
            "interval_seconds": int(setting.policy.interval_seconds),
            "arguments": ["check", setting.name, "--scheduled"],
        }
        for setting in monitoring.checks.values()
    ]
    if not any(job["schedule"] == EVERY_MINUTE for job in jobs):
        # Alerts that a receiver did not take are sent again by every run; without one each minute they would wait.
        jobs.append({"name": "deliver", "schedule": EVERY_MINUTE, "interval_seconds": 60, "arguments": ["alerts", "deliver", "--scheduled"]})
    if cleanup_schedule:
        jobs.append({"name": "cleanup", "schedule": cleanup_schedule, "interval_seconds": 3600, "arguments": ["cleanup", "--scheduled"]})
    return jobs


def spread_out(schedule: str, host: str, name: str, number: int) -> str:
    """Return *schedule* with other minutes, of the same distance, so that a fleet does not do everything in the same minute.

    ``*/5`` begins at a minute that hangs on the host, one later for each job of it; minute 0 becomes some minute of the hour.
    """
    minute, blank, rest = schedule.partition(" ")
    every = _EVERY.fullmatch(minute)
    if every and 1 < int(every[1]) < 60:
        distance = int(every[1])
        return f"{(_number(host) + number) % distance}-59/{distance}{blank}{rest}"
    return f"{_number(f'{host} {name}') % 60}{blank}{rest}" if minute == "0" else schedule


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
