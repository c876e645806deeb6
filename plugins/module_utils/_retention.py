# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Which backup sets may go, and whether a new one looks as if data had been lost. Pure: no clock, no files.

In doubt a set stays. Ages come from the manifests. Only sets that were verified count, suspect ones only where there are no others.
"""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from ._backup_index import CLOCK_JUMP_SECONDS
from ._backup_manifest import StoredSet, counts
from ._envelope import rfc3339

DAY_SECONDS = 86400.0
#: For so long a corrupt set stays, so that somebody can look at it and save what is left.
CORRUPT_DAYS = 30
# Below these, half of it gone is an ordinary day of a small stack.
FLOOR_ROWS = 1000
FLOOR_TABLES = 4
FLOOR_BYTES = 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Policy:
    """What is to be kept at least."""

    keep_days: float = 7
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    min_verified: int = 3


@dataclasses.dataclass(frozen=True)
class Candidate:
    """What retention needs to know of one set."""

    id: str
    created_at: t.Optional[float]
    level: str
    suspect: bool = False
    corrupt: bool = False
    keep: t.Optional[str] = None
    belongs: bool = True

    @classmethod
    def of(cls, stored: StoredSet) -> Candidate:
        """Return the candidate for a set of the store."""
        return cls(stored.id, stored.created_at, stored.level, stored.suspect, bool(stored.problem), stored.keep, stored.belongs)

    @property
    def verified(self) -> bool:
        """Whether the data can be had back from it, as far as is known."""
        return not self.corrupt and counts(self.level)


@dataclasses.dataclass(frozen=True)
class Plan:
    """Every candidate is in one of *keep* (with the reason) and *delete* (oldest first); *frozen* says why none is deleted."""

    keep: dict[str, str]
    delete: tuple[str, ...]
    frozen: str = ""


def plan(candidates: t.Iterable[Candidate], policy: Policy, now: float, high_water: t.Optional[float], force: bool = False) -> Plan:
    """Return what is kept, why, and what may be deleted.

    *high_water* is the highest clock that was believed before this run. *force* overrides what freezes retention, but never the rest.
    """
    everything = list(candidates)
    keep: dict[str, str] = {}
    dated: list[tuple[float, Candidate]] = []
    for candidate in everything:
        if not candidate.belongs:
            keep[candidate.id] = "not known to be a set of this project"
        elif candidate.created_at is None:
            keep[candidate.id] = "its age is not known"
        else:
            dated.append((candidate.created_at, candidate))
    dated.sort(key=lambda pair: (pair[0], pair[1].id), reverse=True)

    frozen = _frozen(dated, now, high_water, force)
    if frozen:
        return Plan({candidate.id: keep.get(candidate.id, frozen) for candidate in everything}, (), frozen)

    def because(reason: str, chosen: t.Iterable[Candidate]) -> None:
        for candidate in chosen:
            keep.setdefault(candidate.id, reason)

    window = max(0.0, policy.keep_days) * DAY_SECONDS
    patience = max(window, CORRUPT_DAYS * DAY_SECONDS)
    verified = [(moment, candidate) for moment, candidate in dated if candidate.verified]
    trusted = [(moment, candidate) for moment, candidate in verified if not candidate.suspect]
    in_order_of_trust = trusted + [pair for pair in verified if pair[1].suspect]
    for dummy, candidate in dated:
        if candidate.keep is not None:
            because(f"KEEP: {candidate.keep}", [candidate])
    because(f"younger than {policy.keep_days:g} days", [candidate for moment, candidate in dated if now - moment < window])
    because(
        f"corrupt, and younger than {patience / DAY_SECONDS:g} days",
        [candidate for moment, candidate in dated if candidate.corrupt and now - moment < patience],
    )
    # Without it, the oldest moment of the window could not be restored.
    because(f"the first set older than {policy.keep_days:g} days", [candidate for moment, candidate in in_order_of_trust if now - moment >= window][:1])
    for count, name, form in ((policy.keep_daily, "day", "%Y-%m-%d"), (policy.keep_weekly, "week", "%G-W%V"), (policy.keep_monthly, "month", "%Y-%m")):
        for period, candidate in _newest_of_each(trusted, form)[: max(0, count)]:
            because(f"the newest of {name} {period}", [candidate])
    least = max(1, policy.min_verified)
    because(f"one of the newest {least} verified sets", [candidate for dummy, candidate in in_order_of_trust[:least]])
    return Plan(keep, tuple(candidate.id for dummy, candidate in reversed(dated) if candidate.id not in keep))


def _frozen(dated: t.Sequence[tuple[float, Candidate]], now: float, high_water: t.Optional[float], force: bool) -> str:
    """Return why nothing may be deleted now; *dated* has the newest first."""
    if not any(candidate.verified for dummy, candidate in dated):
        return "there is no verified set"
    if force:
        return ""
    moment, newest = dated[0]
    if newest.suspect:
        return f"the newest set {newest.id} looks as if data had been lost"
    if newest.corrupt:
        return f"the newest set {newest.id} is corrupt"
    if now < moment:
        return f"the clock ({rfc3339(now)}) is before the newest set {newest.id} ({rfc3339(moment)})"
    if high_water is not None and now > high_water + CLOCK_JUMP_SECONDS:
        return f"the clock ({rfc3339(now)}) is more than {CLOCK_JUMP_SECONDS / DAY_SECONDS:g} days after the last run ({rfc3339(high_water)})"
    return ""


def _newest_of_each(dated: t.Sequence[tuple[float, Candidate]], form: str) -> list[tuple[str, Candidate]]:
    """Return the newest set of every period (of UTC) that has any, newest period first."""
    newest: dict[str, Candidate] = {}
    for moment, candidate in dated:
        newest.setdefault(datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).strftime(form), candidate)
    return list(newest.items())


def suspicion(
    previous: t.Optional[t.Mapping[str, t.Any]], current: t.Mapping[str, t.Any], shrink_ratio: float = 0.5, allow_shrink: bool = False
) -> tuple[bool, list[str]]:
    """Return whether *current* looks as if data had been lost since *previous*, and why (the reasons also where that is allowed).

    Both are manifests; *previous* is that of the newest verified set that is not suspect itself, or else the second small set would be
    measured by the first. Databases are compared one by one, so that a large one does not hide a small one.
    """
    now, before = _databases(current), _databases(previous or {})
    reasons = []
    if now and not any(tables for tables, dummy in now.values()):
        reasons.append("no database has any table")
    for (service, name), (tables_before, rows_before) in sorted(before.items()):
        label = f"database {name} of {service}"
        if (service, name) not in now:
            if tables_before:
                reasons.append(f"{label} is not in this set")
            continue
        tables, rows = now[service, name]
        if tables_before and not tables:
            reasons.append(f"{label} has no tables, {tables_before} before")
        elif tables_before >= FLOOR_TABLES and tables < tables_before * shrink_ratio:
            reasons.append(f"{label} has {tables} tables, {tables_before} before")
        if rows is not None and rows_before and (not rows or (rows_before >= FLOOR_ROWS and rows < rows_before * shrink_ratio)):
            reasons.append(f"{label} has {rows} rows, {rows_before} before")
    bytes_before, size = _dumped_bytes(previous or {}), _dumped_bytes(current)
    if bytes_before is not None and size is not None and bytes_before >= FLOOR_BYTES and size < bytes_before * shrink_ratio:
        reasons.append(f"the dumps have {size} bytes, {bytes_before} before")
    return bool(reasons) and not allow_shrink, reasons


def comparison(
    previous: t.Optional[t.Mapping[str, t.Any]], current: t.Mapping[str, t.Any], shrink_ratio: float = 0.5, allow_shrink: bool = False
) -> dict[str, t.Any]:
    """Return the ``compare`` entry of a manifest: :func:`suspicion` with the ratios that an operator wants to see."""
    suspect, reasons = suspicion(previous, current, shrink_ratio, allow_shrink)
    rows = [[count for dummy, count in _databases(manifest or {}).values()] for manifest in (current, previous)]
    totals = [None if None in counts else sum(count or 0 for count in counts) for counts in rows]
    return {
        "previous_set_id": previous.get("set_id") if previous else None,
        "rows_ratio": _ratio(totals[0], totals[1]),
        "bytes_ratio": _ratio(_dumped_bytes(current), _dumped_bytes(previous or {})),
        "suspect": suspect,
        "reasons": reasons,
    }


def _ratio(now: t.Optional[int], before: t.Optional[int]) -> t.Optional[float]:
    return round(now / before, 4) if now is not None and before else None


def _databases(manifest: t.Mapping[str, t.Any]) -> dict[tuple[str, str], tuple[int, t.Optional[int]]]:
    """Return the number of tables and of rows (``None`` where one was not counted) of each database."""
    found: dict[tuple[str, str], tuple[int, t.Optional[int]]] = {}
    for database in manifest.get("databases") or ():
        counts = [table.get("rows") for table in database.get("tables") or ()]
        found[str(database.get("service")), str(database.get("name"))] = (len(counts), None if None in counts else sum(counts))
    return found


def _dumped_bytes(manifest: t.Mapping[str, t.Any]) -> t.Optional[int]:
    """Return the size of the dumps alone: logs and archives come and go without any loss."""
    sizes = [int(entry["bytes"]) for entry in manifest.get("files") or () if entry.get("kind") == "database"]
    return sum(sizes) if sizes else None
