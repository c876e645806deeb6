# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""How much processor time and memory containers use, from two samples of their counters.

The engine makes such a difference by itself when asked for "stats without stream", and waits a second for it, for every
container. Here both samples are taken in one go each, and what lies between them is used for other work. They come from
the control groups, or from the engine where it is on another host.
"""

from __future__ import annotations

import time
import typing as t

from ._cgroup import read_sample
from ._discovery import ContainerRef, engine_time
from ._engine import Engine
from ._envelope import CheckError

#: Processor time is counted in steps of up to 10 ms: a shorter interval says too little.
MINIMUM_INTERVAL_SECONDS = 0.5

Raw = dict[str, t.Any]

NOT_AVAILABLE: Raw = {
    "available": False, "cpu_percent": None, "throttled_percent": None, "memory_bytes": None, "memory_lowest_bytes": None, "memory_percent": None,
    "pids": None,
}  # fmt: skip


class StatsSampler:
    """The two samples; :meth:`begin` and :meth:`finish` read those of all containers each."""

    def __init__(self, engine: Engine, containers: t.Iterable[ContainerRef]) -> None:
        self._engine = engine
        self._containers = {container.id: container for container in containers if container.running}
        self._first: dict[str, Raw] = {}
        self._began = 0.0
        self.error: t.Optional[CheckError] = None

    def begin(self) -> None:
        """Take the first sample."""
        self._first = self._sample()
        self._began = time.monotonic()

    def finish(self) -> dict[str, Raw]:
        """Take the second sample, after the shortest interval that says something, and return the ``stats`` facts by id."""
        if not self._first:
            return {}
        time.sleep(max(0.0, self._began + MINIMUM_INTERVAL_SECONDS - time.monotonic()))
        second = self._sample()
        return {id_: usage(self._first[id_], sample, self._containers[id_].memory_limit_bytes) for id_, sample in second.items() if id_ in self._first}

    def _sample(self) -> dict[str, Raw]:
        samples: dict[str, Raw] = {}
        if not self._engine.remote:
            read = {id_: read_sample(container.pid, id_) for id_, container in self._containers.items()}
            samples = {id_: sample for id_, sample in read.items() if sample is not None}
        others = [id_ for id_ in self._containers if id_ not in samples]
        try:
            return {**samples, **(self._engine.stats_once(others) if others else {})}
        except CheckError as error:
            self.error = error
            return samples


def usage(first: Raw, second: Raw, memory_limit_bytes: t.Optional[int]) -> Raw:
    """Return the ``stats`` facts from two raw samples of one container; *memory_limit_bytes* is its own limit, if any."""
    memory = _working_set(second)
    pids = (second.get("pids_stats") or {}).get("current")
    if not memory and not pids:
        # An engine that cannot read the control groups answers zeros.
        return dict(NOT_AVAILABLE)
    return {
        "available": True,
        "cpu_percent": _cpu_percent(first, second),
        "throttled_percent": _throttled_percent(first, second),
        "memory_bytes": memory,
        # What a request takes and gives back is not in all samples of a run.
        "memory_lowest_bytes": min((one for one in (_working_set(first), memory) if one is not None), default=None),
        "memory_percent": round(100 * memory / memory_limit_bytes, 1) if memory is not None and memory_limit_bytes else None,
        "pids": pids,
    }


def _working_set(sample: Raw) -> t.Optional[int]:
    """Return what cannot be given back at once: usage without the page cache that nobody used lately."""
    memory = sample.get("memory_stats") or {}
    if "usage" not in memory:
        return None
    details = memory.get("stats") or {}
    inactive = details.get("total_inactive_file", details.get("inactive_file", 0))
    return max(0, int(memory["usage"]) - int(inactive or 0))


def _cpu_percent(first: Raw, second: Raw) -> t.Optional[float]:
    began, ended = engine_time(first.get("read")), engine_time(second.get("read"))
    if began is None or ended is None or ended <= began:
        return None
    used = _cpu_nanoseconds(second) - _cpu_nanoseconds(first)
    # The counter starts again with the container.
    return round(used / 1e7 / (ended - began).total_seconds(), 1) if used >= 0 else None


def _throttled_percent(first: Raw, second: Raw) -> t.Optional[float]:
    """Return in how many of the periods between the samples the container had used up its share; ``None`` where it has none, or did nothing."""
    before, after = (dict((sample.get("cpu_stats") or {}).get("throttling_data") or {}) for sample in (first, second))
    periods, throttled = (int(after.get(name) or 0) - int(before.get(name) or 0) for name in ("periods", "throttled_periods"))
    return round(min(100.0, 100 * throttled / periods), 1) if periods > 0 and throttled >= 0 else None


def _cpu_nanoseconds(sample: Raw) -> int:
    return int(((sample.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage") or 0)
