# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""One run of a check by cron: look, decide, remember, tell. Whatever happens in it, the next run goes on from what is on the disk."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import typing as t

from ._alert_channels import Channel, channels_from_options
from ._alert_spool import Spool
from ._check_output import exposition, summarise, write_metrics
from ._check_state import RunContext, advance, load_state, outside_reader, retire, settle, state_path
from ._envelope import EXIT_CODES, CheckError, rfc3339
from ._guarded_files import lock_file, names, unlock_file
from ._maintenance import active
from ._monitoring_checks import CheckResult, CheckRun, run_isolated
from ._monitoring_types import Event, Observation

if t.TYPE_CHECKING:
    from ._monitoring_options import CheckSetting, Monitoring

#: The object of a check that could not be made.
_ITSELF = "check"


def run_scheduled(setting: CheckSetting, monitoring: Monitoring, directory: str) -> int:
    """Run a check, put what is news into the spool, and send what waits there; return the exit code.

    *directory* holds states and spool; maintenance windows are in the one above. A run while another of the same check is under way
    does nothing: that one has limits of its own.
    """
    os.makedirs(directory, mode=0o700, exist_ok=True)
    path = state_path(directory, setting.name)
    try:
        lock = lock_file(f"{path}.lock", 0, {"pid": os.getpid(), "purpose": f"check {setting.name}", "since": rfc3339(int(time.time()))})
    except CheckError as error:
        if error.code != "locked":
            raise
        return EXIT_CODES["unknown"]
    try:
        status = _run(setting, monitoring, directory, path)
    finally:
        unlock_file(lock)
    return EXIT_CODES[status]


def _run(setting: CheckSetting, monitoring: Monitoring, directory: str, path: str) -> str:
    if monitoring.params["delay_seconds"]:
        time.sleep(float(monitoring.params["delay_seconds"]))
    began = time.time()
    state = load_state(path, setting.name, began)
    result = run_isolated(CheckRun(setting, monitoring, state["memory"], began, scheduled=True))
    now = time.time()
    observations = _with_itself(result, state["objects"])
    context = RunContext(
        setting.name,
        monitoring.host,
        now,
        monitoring.group,
        tuple(active(os.path.dirname(directory), now)),
        outside_reader(directory, now),
        complete=all(one.object != _ITSELF or one.status == "ok" for one in observations),
    )
    state, dummy_events = advance(state, observations, setting.policy, context)
    state["memory"] = result.memory
    channels, problems = channels_from_options(monitoring.params["channels"])
    spool = Spool(directory)
    chosen = [one for one in channels if setting.channels is None or one.name in setting.channels]
    problems += settle(path, state, lambda batch, events: spool.put(batch, events, chosen, now))
    problems += _retire_others(monitoring, directory, now, lambda batch, events: spool.put(batch, events, channels, now))
    status = summarise(result.observations)[0]
    _deliver(spool, channels)
    _publish(setting, monitoring, result, spool, (began, now))
    _beat(setting, monitoring, status, spool, channels)
    for problem in problems:
        sys.stderr.write(f"stackops: {problem.sentence}\n")
    return status


def _retire_others(monitoring: Monitoring, directory: str, now: float, put: t.Callable[[str, list[Event]], object]) -> list[CheckError]:
    """End what was open of checks that are no longer configured: nobody else would tell of it."""
    problems: list[CheckError] = []
    for name in names(directory, r"state-[a-z][a-z0-9_-]*\.json"):
        check = name[len("state-") : -len(".json")]
        path = state_path(directory, check)
        if check in monitoring.checks or problems:
            continue
        try:
            lock = lock_file(f"{path}.lock", 0, {"pid": os.getpid(), "purpose": f"retire {check}", "since": rfc3339(int(now))})
        except CheckError:
            continue
        try:
            state, dummy_events = retire(load_state(path, check, now), RunContext(check, monitoring.host, now, monitoring.group))
            problems += settle(path, state, put)
            if not problems:
                for left in (path, f"{path}.previous"):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(left)
        finally:
            unlock_file(lock)
    return problems


def _with_itself(result: CheckResult, objects: t.Mapping[str, t.Any]) -> list[Observation]:
    """Return the observations, with one of the check itself where it could not be made before and can now."""
    observations = list(result.observations)
    if _ITSELF in objects and all(one.object != _ITSELF for one in observations):
        observations.append(Observation(_ITSELF, "ok", "it can be checked again"))
    return observations


def _deliver(spool: Spool, channels: t.Sequence[Channel]) -> None:
    """Send what waits. Its code is imported only where something does."""
    if not any(spool.waiting(channel.name) or spool.dead(channel.name) for channel in channels):
        return
    from ._alert_delivery import deliver  # pylint: disable=import-outside-toplevel

    deliver(spool, channels, time.time())


def _publish(setting: CheckSetting, monitoring: Monitoring, result: CheckResult, spool: Spool, times: tuple[float, float]) -> None:
    """Write the metrics for node_exporter, where there is a directory for them; what is wrong there must not stop an alert."""
    directory = monitoring.params["textfile_directory"]
    if not directory:
        return
    began, now = times
    alerts = spool.status([], now)
    text = exposition(setting, result.observations, now, now - began, {"queued": alerts["waiting"], "dead": alerts["dead"]})
    with contextlib.suppress(OSError):
        write_metrics(directory, setting.name, text)


def _beat(setting: CheckSetting, monitoring: Monitoring, status: str, spool: Spool, channels: t.Sequence[Channel]) -> None:
    """Tell the heartbeat that this run has come to its end, and whether alerts are stuck."""
    url = setting.heartbeat_url or monitoring.params["heartbeat_url"]
    if not url:
        return
    from ._alert_delivery import heartbeat  # pylint: disable=import-outside-toplevel

    alerts = spool.status([channel.name for channel in channels], time.time())
    stuck = alerts["dead"] or (alerts["oldest_seconds"] or 0) > 1800
    body = f"host: {monitoring.host}\ncheck: {setting.name}\nstatus: {status}\nalerts waiting: {alerts['waiting']}\nalerts refused: {alerts['dead']}\n"
    heartbeat(url, 1 if stuck else 0, body)
