# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the sets of a project cannot say themselves: which ones there ought to be, the highest clock, the last success.

Where the file is missing or damaged, it is made anew from the sets: nothing is lost but the memory of those that are gone.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from ._backup_manifest import SCHEMA_VERSION, Json, StoredSet, canonical, check_schema, parse_set_id, parse_time, pretty
from ._envelope import CheckError, rfc3339
from ._files import write_whole
from ._guarded_files import lock_descriptor, read_json_object, set_aside, told

#: A clock that goes further than this between two runs is not believed by itself.
CLOCK_JUMP_SECONDS = 30 * 86400.0
_GUARD_SECONDS = 30.0


class BackupIndex:
    """``index.json`` of a project; *sets* reads the sets and *warnings* takes what was put right."""

    def __init__(self, path: str, sets: t.Callable[[], list[StoredSet]], warnings: list[str]) -> None:
        self.path = path
        self._sets = sets
        self._warnings = warnings

    @contextlib.contextmanager
    def guard(self) -> t.Iterator[None]:
        """Be alone with the project's small files for a moment: a lock on their directory, for verifying does not need the project's."""
        directory = os.path.dirname(self.path)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not lock_descriptor(descriptor, _GUARD_SECONDS):
                raise CheckError(directory, f"is in use for more than {_GUARD_SECONDS:g} s", f"Look with: fuser -v {directory}", "locked")
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def change(self) -> t.Iterator[Json]:
        """Hand out the index for a change. A damaged file is moved aside before."""
        with told(self.path), self.guard():
            index, damage = self._read()
            if damage:
                self._warnings.append(f"{damage}; moved to {set_aside(self.path)} and made anew from the sets.")
            before = canonical(index)
            yield index
            if canonical(index) != before or not os.path.lexists(self.path):
                write_whole(self.path, pretty(index))

    def read(self) -> Json:
        """Return the index; where it is missing or damaged, what it will be."""
        with told(self.path):
            return self._read()[0]

    def _read(self) -> tuple[Json, str]:
        try:
            index = read_json_object(self.path)
            check_schema(self.path, index)
            sets = index.get("sets")
            if not isinstance(sets, dict) or not all(parse_set_id(name) is not None and isinstance(entry, dict) for name, entry in sets.items()):
                raise ValueError("its list of sets is none")
            if index.get("high_water") is not None and parse_time(index["high_water"]) is None:
                raise ValueError("its clock is none")
            return {"high_water": None, "last_success": None, "last_verified": None, **index}, ""
        except FileNotFoundError:
            return self._made_anew(), ""
        except ValueError as error:
            return self._made_anew(), f"{self.path} is damaged ({error})"

    def _made_anew(self) -> Json:
        index: Json = {"schema_version": SCHEMA_VERSION, "high_water": None, "last_success": None, "last_verified": None, "sets": {}}
        high_water: t.Optional[float] = None
        for stored in reversed(self._sets()):
            if stored.belongs and stored.created_at is not None:
                enter(index, stored)
                high_water = believed(high_water, stored.created_at)
        index["high_water"] = rfc3339(high_water)
        return index


def entry_of(stored: StoredSet) -> Json:
    """Return the entry of a set."""
    return {"created_at": rfc3339(stored.created_at), "bytes": stored.bytes, "level": stored.level}


def enter(index: Json, stored: StoredSet) -> None:
    """Enter a set, and what it was the last of."""
    manifest = stored.manifest or {}
    index["sets"][stored.id] = entry_of(stored)
    at = manifest.get("finished_at") or rfc3339(stored.created_at)
    last = {"set_id": stored.id, "created_at": rfc3339(stored.created_at), "at": at, "bytes": stored.bytes, "level": stored.level}
    if _is_later(at, index["last_success"]):
        index["last_success"] = {**last, "duration_seconds": manifest.get("duration_seconds")}
    verified_at = (manifest.get("verification") or {}).get("at") or at
    if stored.verified and _is_later(verified_at, index["last_verified"]):
        index["last_verified"] = {"set_id": stored.id, "level": stored.level, "at": verified_at, "duration_seconds": None}


def _is_later(at: t.Any, last: t.Any) -> bool:
    return not isinstance(last, dict) or (parse_time(at) or 0.0) >= (parse_time(last.get("at")) or 0.0)


def believed(high_water: t.Optional[float], now: float, accept_jump: bool = False) -> float:
    """Return the highest clock after one of *now*; one that jumped too far is not believed."""
    if high_water is None or (now > high_water and (accept_jump or now <= high_water + CLOCK_JUMP_SECONDS)):
        return now
    return high_water
