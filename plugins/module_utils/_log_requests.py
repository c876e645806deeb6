# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Requests seen in logs: latency histograms that can be merged, status classes, the worst paths."""

from __future__ import annotations

import collections
import math
import re
import typing as t

from ._envelope import rfc3339
from ._log_formats import LazyPattern

#: Buckets grow by 4 %, so a percentile is at most 2 % off, whatever was merged.
_GROWTH = math.log(1.04)
MAX_PATHS = 500
MAX_REMEMBERED = 50_000
SHOWN_PATHS = 20
OTHER = "(other)"

_BYTE_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_VERSIONED = re.compile(rb"/v\d{1,3}(?=/)")
_ID = LazyPattern(r"(?<=/)(?:[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-fA-F]{16,}|[^/]{0,60}\d[^/]{0,60}|[^/]{40,})(?=/|$)")
_VERSION = re.compile(r"v\d{1,3}(?:\.\d{1,3})?")


def bucket_of(value_ms: float) -> int:
    """Return the bucket of a duration in milliseconds."""
    return int(math.log(value_ms) / _GROWTH + 1000) if value_ms > 1e-6 else 0


class _Buckets(dict[bytes, int]):
    """The buckets of durations as text, which are often the same."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def __missing__(self, text: bytes) -> int:
        bucket = bucket_of(float(text) * self.scale)
        if len(self) < MAX_REMEMBERED:
            self[text] = bucket
        return bucket


class Histogram:
    """Counts of durations in buckets of equal ratio."""

    __slots__ = ("buckets", "count", "largest")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.count = 0
        self.largest = 0.0

    def add(self, value_ms: float) -> None:
        """Count one duration in milliseconds."""
        bucket = bucket_of(value_ms)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.count += 1
        if value_ms > self.largest:
            self.largest = value_ms

    def merge(self, other: Histogram) -> None:
        """Add what *other* counted."""
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.count += other.count
        self.largest = max(self.largest, other.largest)

    def percentile(self, share: float) -> t.Optional[float]:
        """Return the duration in milliseconds below which *share* (0 to 1) of all lie; ``None`` where there is none."""
        if not self.count:
            return None
        rank, seen = math.ceil(share * self.count), 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= rank:
                return 0.0 if bucket == 0 else round(min(math.exp((bucket - 1000 + 0.5) * _GROWTH), self.largest), 2)
        return round(self.largest, 2)


class _PathTally:
    __slots__ = ("histogram", "slow", "statuses")

    def __init__(self) -> None:
        self.slow = 0
        self.statuses: dict[int, int] = {}
        self.histogram = Histogram()

    @property
    def count(self) -> int:
        return sum(self.statuses.values())

    @property
    def errors_5xx(self) -> int:
        return sum(count for status, count in self.statuses.items() if status >= 500)


def mask_path(path: str) -> str:
    """Return *path* without its query, and with segments that are identifiers as ``{id}``."""
    path = re.sub(r"^[a-z]{2,6}://[^/]{1,255}", "", path.partition("?")[0].partition("#")[0])
    return _ID.sub(lambda match: match[0] if _VERSION.fullmatch(match[0]) else "{id}", path)[:200] or "/"


class RequestTally:
    """Adds up requests; *slow_ms* is the duration from which one counts as slow."""

    def __init__(self, slow_ms: float) -> None:
        self.slow_ms = slow_ms
        self.last_failed: t.Optional[float] = None
        self.paths: dict[tuple[str, str], _PathTally] = {}
        self._buckets: dict[float, _Buckets] = {}
        self._masked: dict[tuple[bytes, bytes, bytes], _PathTally] = {}

    def add(self, method: t.Optional[str], path: t.Optional[str], status: int, duration_ms: t.Optional[float]) -> None:
        """Count one request."""
        of_path = self._of((method or "")[:10].encode(), (path or "").encode())
        of_path.statuses[status] = of_path.statuses.get(status, 0) + 1
        if duration_ms is not None:
            of_path.histogram.add(duration_ms)
            of_path.slow += duration_ms >= self.slow_ms

    def failed_at(self, moment: float) -> None:
        """Know that a request was answered with 5xx at *moment*."""
        if self.last_failed is None or moment > self.last_failed:
            self.last_failed = moment

    def add_many(self, found: t.Iterable[tuple[bytes, ...]], places: t.Mapping[str, int], scale: float) -> bool:
        """Count requests whose values stand in tuples at *places*; durations times *scale* are milliseconds. Return whether one failed with 5xx.

        :raises ValueError: a value is no number; then some have been counted.
        """
        status, method, path, duration = (places.get(name, -1) for name in ("status", "method", "path", "duration"))
        failed = False
        sorted_out: dict[tuple[bytes, bytes], list[tuple[bytes, ...]]] = {}
        for values in found:
            verb = values[method] if method >= 0 else b""
            way = values[path] if path >= 0 else b""
            version = way.find(b"/v") + 4
            key = (verb, way.translate(_BYTE_DIGITS) if version < 4 else way[:version] + way[version:].translate(_BYTE_DIGITS))
            kept = sorted_out.get(key)
            if kept is None:
                kept = sorted_out[key] = []
            kept.append(values)
        for (verb, way), several in sorted_out.items():
            of_path = self._of(verb[:10], way)
            for code, count in collections.Counter([values[status] for values in several]).items():
                of_path.statuses[int(code)] = of_path.statuses.get(int(code), 0) + count
                failed = failed or int(code) >= 500
            if duration >= 0:
                self._add_durations(of_path, [values[duration] for values in several], scale)
        return failed

    def _add_durations(self, of_path: _PathTally, texts: list[bytes], scale: float) -> None:
        buckets = self._buckets.get(scale)
        if buckets is None:
            buckets = self._buckets[scale] = _Buckets(scale)
        counts = collections.Counter(map(buckets.__getitem__, texts))
        histogram, slow_bucket = of_path.histogram, bucket_of(self.slow_ms)
        for bucket, count in counts.items():
            histogram.buckets[bucket] = histogram.buckets.get(bucket, 0) + count
            if bucket > slow_bucket:
                of_path.slow += count
        histogram.count += len(texts)
        # Only at two places a bucket is not enough: at the threshold, and at the longest of all.
        if slow_bucket in counts:
            of_path.slow += sum(float(text) * scale >= self.slow_ms for text in texts if buckets[text] == slow_bucket)
        top = max(counts)
        if top >= bucket_of(histogram.largest):
            histogram.largest = max(histogram.largest, max(float(text) * scale for text in texts if buckets[text] == top))

    def _of(self, method: bytes, path: bytes) -> _PathTally:
        version = _VERSIONED.search(path)
        key = (method, version[0] if version else b"", path.translate(_BYTE_DIGITS))
        of_path = self._masked.get(key)
        if of_path is None:
            of_path = self._path(key, method.decode("utf-8", "replace"), path.decode("utf-8", "replace"))
        return of_path

    def _path(self, key: tuple[bytes, bytes, bytes], method: str, path: str) -> _PathTally:
        shown = (method, mask_path(path) if path else OTHER)
        if shown not in self.paths and len(self.paths) >= MAX_PATHS:
            shown = ("", OTHER)
        of_path = self.paths.setdefault(shown, _PathTally())
        if len(self._masked) < 20 * MAX_PATHS:
            self._masked[key] = of_path
        return of_path

    def facts(self) -> dict[str, t.Any]:
        """Return the numbers of one entry of ``requests.sources``; worst paths first (errors, then slow, then often)."""
        worst = sorted(self.paths.items(), key=lambda item: (-item[1].errors_5xx - item[1].slow, -item[1].count, item[0]))[:SHOWN_PATHS]
        every = Histogram()
        statuses: dict[int, int] = {}
        for tally in self.paths.values():
            every.merge(tally.histogram)
            for status, count in tally.statuses.items():
                statuses[status] = statuses.get(status, 0) + count
        slow = sum(tally.slow for tally in self.paths.values())
        requests = sum(statuses.values())
        failed = sum(count for status, count in statuses.items() if status >= 500)
        return {
            "requests": requests,
            "slow": slow,
            "slow_percent": round(100 * slow / every.count, 3) if every.count else None,
            "errors_5xx": failed,
            "errors_5xx_percent": round(100 * failed / requests, 3) if requests else None,
            "last_5xx_at": rfc3339(self.last_failed),
            "client_errors_4xx": sum(count for status, count in statuses.items() if 400 <= status < 500),
            "unauthorized_401": statuses.get(401, 0),
            **_latencies(every, p99=True),
            "paths": [
                {
                    "path": path,
                    "method": method,
                    "count": tally.count,
                    "slow": tally.slow,
                    "errors_5xx": tally.errors_5xx,
                    **_latencies(tally.histogram),
                }
                for (method, path), tally in worst
            ],
        }


def _latencies(histogram: Histogram, p99: bool = False) -> dict[str, t.Optional[float]]:
    shares = {"p50_ms": 0.5, "p95_ms": 0.95, **({"p99_ms": 0.99} if p99 else {})}
    found = {name: histogram.percentile(share) for name, share in shares.items()}
    return {**found, "max_ms": round(histogram.largest, 2) if histogram.count else None}
