# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Has the host memory, disk and processor left, and have the containers memory left."""

from __future__ import annotations

import typing as t

from ._compose_health import ComposeCollector, ComposeOptions
from ._envelope import CheckError, metric, worst
from ._host_resources import HostCollector, HostLimits
from ._monitoring_checks import CheckResult, CheckRun
from ._monitoring_types import Observation

if t.TYPE_CHECKING:
    from ._discovery import Stack
    from ._engine import Engine

Facts = dict[str, t.Any]

_SAMPLE_SECONDS = 0.5
_PERCENT = ("memory_used_percent", "swap_used_percent")
_SHOWN_PROCESSES = 3


def check(run: CheckRun) -> CheckResult:
    """Take two samples half a second apart."""
    host = HostCollector(sample_seconds=_SAMPLE_SECONDS)
    host.begin()
    engine, stacks, observations = _containers(run) if run.setting.options["containers"] else (None, [], [])
    collector = None
    if engine is not None and not engine.remote:
        collector = ComposeCollector(stacks, engine, ComposeOptions(log_tail=0, read_configs=False))
        collector.begin()
    facts = host.finish(stacks, engine, docker_disk=False)
    observations += host_observations(facts, run)
    if collector is not None:
        observations += container_observations(collector.finish(), run)
    return CheckResult(tuple(observations))


def _containers(run: CheckRun) -> tuple[t.Optional[Engine], list[Stack], list[Observation]]:
    """Return engine and stacks; where there is no engine the host alone is looked at, for the health check tells that."""
    try:
        engine, stacks = run.monitoring.discover()
    except CheckError as error:
        words = f"not looked at: {error.source}: {error.reason}"
        return None, [], [Observation("containers", "unknown", words, next_command=error.hint, parents=("health:engine",))]
    return engine, stacks, []


def host_observations(facts: Facts, run: CheckRun) -> list[Observation]:
    """Return one observation each for memory, swap, load and every file system of the ``host`` facts."""
    by_memory, by_cpu = _largest(facts, "memory_bytes"), _largest(facts, "cpu_percent")
    observations = []
    for name, words, command in (
        ("memory_used_percent", "of the memory is in use", "top -b -n 1 -o %MEM"),
        ("swap_used_percent", "of the swap space is in use", "top -b -n 1 -o %MEM"),
        ("load_per_cpu", "processes wait for each CPU (mean of 5 min)", "top -b -n 1 -o %CPU"),
    ):
        value = facts[name]
        if value is None:
            continue
        unit = "%" if name in _PERCENT else ""
        status = worst(run.setting.verdict({name: value}).values())
        found = Observation(
            name.partition("_")[0],
            status,
            f"{value:g}{' %' if unit else ''} {words}",
            next_command=command if status != "ok" else "",
            details=(by_cpu if name == "load_per_cpu" else by_memory) if status != "ok" else (),
            metrics={name: metric(value, unit)},
        )
        observations.append(found)
    observations += [_filesystem(row, run) for row in facts["filesystems"]]
    observations += [Observation(error["source"], "unknown", error["reason"], next_command=error["hint"]) for error in facts["errors"]]
    return observations


def _largest(facts: Facts, name: str) -> tuple[str, ...]:
    rows = sorted(facts["processes"], key=lambda row: -(row[name] or 0))[:_SHOWN_PROCESSES]
    words = ((row["container"] or row["name"], row["memory_bytes"] / 2**20, row["cpu_percent"] or 0, row["pid"]) for row in rows)
    return tuple(f"{who} uses {mebibytes:.0f} MiB, {percent:g} % of a CPU (pid {pid})" for who, mebibytes, percent, pid in words)


def _filesystem(row: Facts, run: CheckRun) -> Observation:
    numbers = {"disk_used_percent": row["used_percent"], "inodes_used_percent": row["inodes_used_percent"]}
    verdicts = run.setting.verdict(numbers)
    free = row["available_bytes"]
    disk = run.setting.thresholds["disk_used_percent"]
    limits = HostLimits()
    # A large file system is not reported with the standard thresholds while much is free on it.
    standard = (disk.warning and disk.warning.text, disk.critical and disk.critical.text) == ("85", "95")
    if standard and verdicts.get("disk_used_percent") in ("warning", "critical"):
        verdicts["disk_used_percent"] = limits.disk_status(row["used_percent"], free)
    status = worst(verdicts.values())
    inodes = f", {row['inodes_used_percent']:g} % of its inodes" if row["inodes_used_percent"] is not None else ""
    return Observation(
        row["mount"],
        status,
        f"{row['used_percent']:g} % full{inodes}, {free / 2**30:.1f} GiB left",
        next_command=f"du -xh --max-depth=1 --threshold=500M {row['mount']}" if status != "ok" else "",
        metrics={name: metric(value, "%") for name, value in numbers.items() if value is not None},
    )


def container_observations(facts: Facts, run: CheckRun) -> list[Observation]:
    """Return one observation for each container that has a memory limit, from the ``compose`` facts."""
    observations = []
    for row in facts["containers"]:
        used = row["stats"]["memory_percent"]
        if row["oneoff"] or used is None:
            continue
        status = worst(run.setting.verdict({"container_memory_percent": used}).values())
        replica = f"#{row['replica']}" if row["replica"] > 1 else ""
        found = Observation(
            f"{row['project']}/{row['service']}{replica}",
            status,
            f"uses {used:g} % of its memory limit",
            row["project"],
            next_command=f"docker stats --no-stream {row['name']}" if status != "ok" else "",
            parents=(f"health:{row['project']}/{row['service']}",),
            metrics={"container_memory_percent": metric(used, "%")},
        )
        observations.append(found)
    return observations
