# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What only shows from run to run: whether a container's memory grows, or only goes up and down.

Each report carries the samples of those before it, so that one earlier report is enough to know them all. Growth is a trend
that chance does not make (Mann and Kendall's test), of an amount that matters (by the median of all slopes, as Theil and Sen have
it), more than the samples scatter around it, and that goes on in the newer half and not in one step: what a program takes to warm up does
not.
"""

from __future__ import annotations

import datetime
import itertools
import math
import statistics
import typing as t

from ..module_utils._envelope import envelope
from ._conditions import parse_time

Facts = dict[str, t.Any]
Sample = tuple[float, float]

MAX_SAMPLES = 24
#: Fewer samples, or samples of a shorter time, tell nothing.
MIN_SAMPLES = 6
MIN_SPAN_SECONDS = 600.0
#: One in a hundred series without a trend looks as if it had one.
SIGNIFICANT = 2.326
MIN_GROWTH_BYTES = 16 * 1024 * 1024
MIN_GROWTH_SHARE = 0.1
MIN_GROWTH_SCATTER = 4.0
MIN_NEWER_SHARE = 0.5
MIN_SHARE_BESIDE_STEP = 0.25


def trends(facts: t.Mapping[str, t.Any], collected_at: t.Any, previous: t.Any) -> Facts:
    """Return the envelope ``trends`` of one host: *facts* by collector, when they were collected, and those of the report before."""
    compose = facts.get("compose")
    containers = compose.get("containers") if isinstance(compose, dict) else None
    earlier = {_key(entry): entry for entry in _entries(previous)}
    rows = [
        _memory(container, collected_at, earlier.get(_key({**container, "container": container.get("name")})))
        for container in (containers if isinstance(containers, list) else ())
        if isinstance(container, dict) and container.get("state") == "running" and _number(container, "stats", "memory_bytes") is not None
    ]
    growing = [row for row in rows if row["growing"]]
    summary = f"{len(growing)} of {len(rows)} containers keep taking more memory" if growing else f"no container of {len(rows)} is known to keep taking memory"
    return envelope("ok", summary, memory=rows)


def _entries(previous: t.Any) -> list[Facts]:
    listed = previous.get("memory") if isinstance(previous, dict) else None
    return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []


def _key(entry: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    """Return what tells one life of a container from others: after a start its memory begins anew."""
    return tuple(str(entry.get(name)) for name in ("project", "service", "container", "started_at"))


def _number(container: t.Mapping[str, t.Any], group: str, name: str) -> t.Optional[float]:
    value = (container.get(group) or {}).get(name)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _memory(container: Facts, collected_at: t.Any, earlier: t.Optional[Facts]) -> Facts:
    samples = _samples(earlier)
    # Reports of an earlier release have one number.
    lowest = _number(container, "stats", "memory_lowest_bytes")
    now, memory = parse_time(collected_at), lowest if lowest is not None else _number(container, "stats", "memory_bytes")
    if now is not None and memory is not None and (not samples or now.timestamp() >= samples[-1][0] + 1):
        samples = thinned([*samples, (now.timestamp(), memory)])
    limit = _number(container, "limits", "memory_bytes")
    growth = growth_of(samples)
    rate = growth["bytes_per_hour"] if growth["growing"] else None
    left = None if rate is None or limit is None or not samples else max(0.0, limit - samples[-1][1]) / rate * 3600
    return {
        "project": container.get("project"),
        "service": container.get("service"),
        "container": container.get("name"),
        "started_at": container.get("started_at"),
        "samples": [{"at": _stamp(moment), "memory_bytes": int(value)} for moment, value in samples],
        "sample_count": len(samples),
        "span_seconds": round(samples[-1][0] - samples[0][0]) if samples else 0,
        "limit_bytes": limit,
        "seconds_to_limit": None if left is None else round(left),
        **growth,
    }


def _stamp(moment: float) -> str:
    return datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def _samples(earlier: t.Optional[Facts]) -> list[Sample]:
    found = []
    for entry in (earlier or {}).get("samples") or ():
        moment = parse_time(entry.get("at")) if isinstance(entry, dict) else None
        value = entry.get("memory_bytes") if isinstance(entry, dict) else None
        if moment is not None and isinstance(value, (int, float)) and not isinstance(value, bool):
            found.append((moment.timestamp(), float(value)))
    return sorted(found)


def thinned(samples: list[Sample]) -> list[Sample]:
    """Return at most :data:`MAX_SAMPLES` of *samples*, spread over all of their time: the first and the newest stay."""
    kept = list(samples)
    while len(kept) > MAX_SAMPLES:
        crowded = min(range(1, len(kept) - 1), key=lambda number: kept[number + 1][0] - kept[number - 1][0])
        del kept[crowded]
    return kept


def growth_of(samples: t.Sequence[Sample]) -> Facts:
    """Return ``growing`` (``None`` where the samples are too few), ``bytes_per_hour`` and ``grown_bytes`` of *samples* in order of time."""
    if len(samples) < MIN_SAMPLES or samples[-1][0] - samples[0][0] < MIN_SPAN_SECONDS:
        return {"growing": None, "bytes_per_hour": None, "grown_bytes": None}
    slope = _slope(samples)
    grown = slope * (samples[-1][0] - samples[0][0])
    level = statistics.median(value - slope * moment for moment, value in samples)
    scatter = statistics.median(abs(value - slope * moment - level) for moment, value in samples)
    begin = max(0.0, level + slope * samples[0][0])
    newer = samples[-max(4, len(samples) // 2) :]
    growing = (
        _significance([value for dummy, value in samples]) > SIGNIFICANT
        and grown >= max(MIN_GROWTH_BYTES, MIN_GROWTH_SHARE * begin, MIN_GROWTH_SCATTER * scatter)
        and _slope(newer) >= MIN_NEWER_SHARE * slope
        and _share_beside_step([value for dummy, value in samples]) >= MIN_SHARE_BESIDE_STEP
    )
    return {"growing": growing, "bytes_per_hour": round(slope * 3600), "grown_bytes": round(grown)}


def _slope(samples: t.Sequence[Sample]) -> float:
    """Return the median of the slopes between all pairs: a few samples far off do not move it."""
    pairs = [(earlier, later) for earlier, later in itertools.combinations(samples, 2) if later[0] > earlier[0]]
    return statistics.median((later[1] - earlier[1]) / (later[0] - earlier[0]) for earlier, later in pairs)


def _share_beside_step(values: t.Sequence[float]) -> float:
    """Return how much of what *values* grew is not their largest step: one more worker, or one large file, is no growth that goes on."""
    all_of_it = values[-1] - values[0]
    return 1 - max(later - earlier for earlier, later in zip(values, values[1:])) / all_of_it if all_of_it > 0 else 0.0


def _significance(values: t.Sequence[float]) -> float:
    """Return by how many standard deviations more pairs go up than down than chance would have it."""
    ups = sum((later > earlier) - (later < earlier) for earlier, later in itertools.combinations(values, 2))
    number = len(values)
    same = [values.count(value) for value in set(values)]
    variance = (number * (number - 1) * (2 * number + 5) - sum(one * (one - 1) * (2 * one + 5) for one in same)) / 18
    return (ups - 1) / math.sqrt(variance) if ups > 0 and variance > 0 else 0.0
