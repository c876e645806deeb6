# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A container's counters from its control group, where the engine is on this host.

Reading them takes four small files and no request to the engine, which on hosts with both versions of control groups
mounted answers zeros. They also count processes that the kernel killed for memory, which the engine overlooks where it
is a child that was killed.
"""

from __future__ import annotations

import os
import typing as t

from ._envelope import rfc3339, utc_now

Raw = dict[str, t.Any]


def read_sample(pid: t.Optional[int], container_id: str, root: str = "/") -> t.Optional[Raw]:
    """Return one sample of the counters in the shape of the engine's stats, or ``None`` where they cannot be read."""
    groups = _groups(pid, container_id, root)
    if "memory" in groups:
        memory = _number(groups["memory"], "memory.usage_in_bytes")
        processor = _number(groups.get("cpuacct", ""), "cpuacct.usage")
        times = _table(groups.get("cpu", groups.get("cpuacct", "")), "cpu.stat")
    else:
        memory = _number(groups.get("", ""), "memory.current")
        times = _table(groups.get("", ""), "cpu.stat")
        microseconds = times.get("usage_usec")
        processor = None if microseconds is None else microseconds * 1000
    if memory is None or processor is None:
        return None
    directory = groups.get("memory", groups.get("", ""))
    return {
        "read": rfc3339(utc_now()),
        "pids_stats": {"current": _number(groups.get("pids", groups.get("", "")), "pids.current")},
        "cpu_stats": {
            "cpu_usage": {"total_usage": processor},
            "throttling_data": {"periods": times.get("nr_periods"), "throttled_periods": times.get("nr_throttled")},
        },
        "memory_stats": {"usage": memory, "stats": _table(directory, "memory.stat")},
    }


def oom_kills(pid: t.Optional[int], container_id: str, root: str = "/") -> t.Optional[int]:
    """Return how many processes of a running container the kernel killed for memory; ``None`` where that cannot be read."""
    groups = _groups(pid, container_id, root)
    if "memory" in groups:
        return _table(groups["memory"], "memory.oom_control").get("oom_kill")
    return _table(groups.get("", ""), "memory.events").get("oom_kill")


def _groups(pid: t.Optional[int], container_id: str, root: str) -> dict[str, str]:
    """Return the directory of each controller (of version 2 under ``""``) that is the container's own."""
    try:
        with open(os.path.join(root, f"proc/{pid}/cgroup"), encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return {}
    groups: dict[str, str] = {}
    for line in lines:
        dummy, controllers, path = line.split(":", 2)
        own = _own_part(path, container_id)
        for controller in controllers.split(",") if own else []:
            groups[controller] = os.path.join(root, "sys/fs/cgroup", controller, own.lstrip("/"))
    return groups


def _own_part(path: str, container_id: str) -> str:
    """Cut what lies below the container's own group: systemd inside one makes groups for itself."""
    start = path.find(container_id) if container_id else -1
    if start < 0:
        return ""
    end = path.find("/", start)
    return path if end < 0 else path[:end]


def _number(directory: str, name: str) -> t.Optional[int]:
    try:
        with open(os.path.join(directory, name), encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _table(directory: str, name: str) -> dict[str, int]:
    """Return a file of ``name number`` lines."""
    try:
        with open(os.path.join(directory, name), encoding="ascii") as file:
            pairs = [line.split(" ", 1) for line in file]
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}
    except (OSError, ValueError):
        return {}
