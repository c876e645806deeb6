# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Removes copies off the host that have expired: the plan is that of the sets on the host, made over what there is over there.

A copy goes only if its own manifest, as it is over there, says that it is of this project. Nothing else is looked at, and where
a manifest cannot be read the copy stays.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
import typing as t

from ._backup_manifest import Json, parse_set_id, parse_time, pretty, read_manifest
from ._backup_store import BackupStore
from ._envelope import CheckError, rfc3339
from ._files import write_whole
from ._guarded_files import read_json_object
from ._offsite_tools import Offsite, Tool, tool_of
from ._retention import DAY_SECONDS, Candidate, Policy, plan

#: How often restic gives back space: it reads much of the repository, and nobody else can write meanwhile.
RECLAIM_DAYS = 7
STATE = "offsite.json"


@dataclasses.dataclass(frozen=True)
class Expiry:
    """What became of the copies; *frozen* says why none may go now."""

    removed: tuple[str, ...]
    keep: t.Mapping[str, str]
    frozen: str = ""
    warnings: tuple[str, ...] = ()


def expire(offsite: Offsite, store: BackupStore, policy: Policy, now: float, *, force: bool = False, dry: bool = False) -> Expiry:
    """Remove the copies that have expired; with *dry* only say which. The project's lock is held.

    :raises CheckError: the far side cannot be read at all.
    """
    tool = tool_of(offsite, store.project)
    if not dry:
        tool.finish_removals()
    there = sorted(name for name in tool.sets() if parse_set_id(name) is not None)
    kept = tool.kept()
    local = {stored.id: stored for stored in store.sets() if stored.belongs}
    warnings: list[str] = []

    def manifest_of(name: str) -> t.Optional[Json]:
        """Return the manifest of a copy if it is of this project."""
        with tempfile.NamedTemporaryFile(prefix="offsite-", suffix=".json") as file:
            try:
                file.write(tool.manifest(name))
                file.flush()
                manifest = read_manifest(file.name)
            except CheckError as error:
                warnings.append(f"{name} off the host stays: {error.reason}")
                return None
        project = (manifest["project"]["id"], manifest["project"]["name"], manifest["set_id"])
        return manifest if store.project_id and project == (store.project_id, store.project, name) else None

    def candidate(name: str) -> Candidate:
        here = local.get(name)
        # Of a set that is here as well, both say the same: it was compared after the transfer.
        manifest = here.manifest if here is not None else manifest_of(name)
        if manifest is None:
            return Candidate(name, None, "", belongs=False)
        keep = here.keep if here is not None else None
        suspect = bool((manifest.get("compare") or {}).get("suspect"))
        keep = keep or ("marked off the host" if name in kept else None)
        return Candidate(name, parse_time(manifest["created_at"]), str(manifest["verification"]["level"]), suspect, keep=keep)

    decided = plan([candidate(name) for name in there], policy, now, store.high_water, force)
    removed = tuple(name for name in decided.delete if name not in local or manifest_of(name) is not None)
    if not dry:
        tool.remove(removed)
        _reclaim(tool, os.path.join(store.path, STATE), bool(removed), now)
    return Expiry(removed, decided.keep, decided.frozen, tuple(warnings))


def _reclaim(tool: Tool, path: str, removed: bool, now: float) -> None:
    """Give back space once a week, if anything was removed since the last time; where that fails, the next run tries again."""
    if not tool.reclaims:
        return
    state: Json = {}
    with contextlib.suppress(OSError, ValueError):
        state = read_json_object(path)
    last = parse_time(state.get("reclaimed_at"))
    if removed and not state.get("pending"):
        state = {**state, "schema_version": 1, "pending": True}
        write_whole(path, pretty(state))
    if state.get("pending") and (last is None or not 0 <= now - last < RECLAIM_DAYS * DAY_SECONDS):
        tool.reclaim()
        write_whole(path, pretty({"schema_version": 1, "reclaimed_at": rfc3339(now), "pending": False}))
