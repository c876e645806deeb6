# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Puts the content of named volumes in the place of what they have, by two renames beside it, and takes that back by two others.

The directory of a volume gets the restored content and what was there before under another name beside it, so that nothing is copied
while the services are stopped. What is recorded of each: its *path*, what is *incoming* and what goes out (*outgoing*).
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import typing as t

from . import _extraction as extraction
from ._backup_manifest import quote_name
from ._database_facts import Facts
from ._envelope import CheckError

if t.TYPE_CHECKING:
    from ._discovery import Stack
    from ._engine import Engine

_MARK = "stackops-restore"


@dataclasses.dataclass(frozen=True)
class Volume:
    """One volume that is restored: where its content is on this host, the archive, and the containers of the stack that use it."""

    name: str
    path: str
    archive: str
    containers: tuple[str, ...]


def find_volumes(engine: Engine, stack: Stack, set_path: str, wanted: t.Sequence[str]) -> list[Volume]:
    """Return the volumes that are *wanted*, by the names that they have in the set.

    :raises CheckError: the set or the stack has none of that name, or it cannot be put in place while others use it.
    """
    directory = os.path.join(set_path, "volumes")
    there = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    return [_find(engine, stack, directory, there, name) for name in dict.fromkeys(wanted)]


def _find(engine: Engine, stack: Stack, directory: str, there: t.Sequence[str], name: str) -> Volume:
    source = f"volume {name}"
    # A set may have it by its short name or by the engine's.
    names = [name, f"{stack.name}_{name}", name.removeprefix(f"{stack.name}_")]
    archive = next((f"{quote_name(one)}.tar.gz" for one in names if f"{quote_name(one)}.tar.gz" in there), None)
    if archive is None:
        raise CheckError(source, f"the set has no such volume; it has: {', '.join(there) or 'none'}", "Correct volumes.", "not-found")
    mounts = [(one, mount) for one in stack.siblings for mount in one.mounts if mount["type"] == "volume" and mount["name"] in names]
    if not mounts:
        raise CheckError(source, f"no container of {stack.name} has it", "Create its containers: docker compose up --no-start", "not-found")
    of_database = next((one for one, dummy in mounts if one.role == "postgres"), None)
    if of_database is not None:
        raise CheckError(source, f"the server {of_database.name} has its data there", "Databases are restored from their dumps.", "unsupported")
    unsteady = next((one for one, dummy in mounts if one.state in ("paused", "restarting")), None)
    if unsteady is not None:
        raise CheckError(source, f"{unsteady.name}, which uses it, is {unsteady.state}", f"Stop it first: docker stop {unsteady.name}", "in-use")
    mount = mounts[0][1]
    path = str(mount["source"])
    if not os.path.isdir(path) or os.path.islink(path) or os.path.ismount(path):
        hint = "Unpack the archive by hand, with the services stopped: tar -xzf"
        raise CheckError(source, f"{path} is not a directory of this host that can be renamed", hint, "unsupported")
    ours = {one.id for one, dummy in mounts}
    for other in engine.containers():
        uses = any(one.get("Type") == "volume" and one.get("Name") == mount["name"] for one in other.get("Mounts") or [])
        if uses and str(other["Id"]) not in ours and other.get("State") not in ("created", "exited", "dead"):
            shown = str((other.get("Names") or [other["Id"]])[0]).lstrip("/")
            raise CheckError(source, f"{shown}, which is not of {stack.name}, uses it", f"Stop it first: docker stop {shown}", "in-use")
    return Volume(name, path, os.path.join(directory, archive), tuple(sorted(ours)))


def record_of(volume: Volume, restore_id: str) -> Facts:
    """Return what is recorded of a restore of *volume*, before anything is done."""
    incoming = os.path.join(_stage(volume.path, restore_id), os.path.basename(volume.archive)[: -len(".tar.gz")])
    return {"name": volume.name, "path": volume.path, "incoming": incoming, "outgoing": _kept(volume.path, restore_id)}


def record_back(record: Facts, restore_id: str) -> Facts:
    """Return what is recorded of bringing back what *record* put aside.

    :raises CheckError: it is not there any more.
    """
    if not os.path.isdir(record["outgoing"]):
        hint = "It was removed after keep_old_hours. Restore a set instead: restore_list shows them."
        raise CheckError(f"volume {record['name']}", f"{record['outgoing']} is not there any more", hint, "not-found")
    return {**record, "incoming": record["outgoing"], "outgoing": _kept(record["path"], restore_id)}


def stage(volume: Volume, record: Facts) -> int:
    """Extract the archive beside the volume, which stays as it is, and return the number of files."""
    top, inner = os.path.split(record["incoming"])
    # Links of a volume lead to where its container has something; they are made last and never followed.
    written = extraction.extract(volume.archive, top, names=[inner], keep_outside_links=True)
    return len(written)


def swap_in(records: t.Sequence[Facts]) -> None:
    """Put what is incoming in place of each volume's content. Nothing may use it."""
    for one in records:
        os.rename(one["path"], one["outgoing"])
        os.rename(one["incoming"], one["path"])


def swap_back(records: t.Sequence[Facts]) -> None:
    """Undo :func:`swap_in`, whichever of its renames were done."""
    for one in reversed(records):
        if os.path.lexists(one["outgoing"]):
            if os.path.lexists(one["path"]):
                os.rename(one["path"], one["incoming"])
            os.rename(one["outgoing"], one["path"])


def remove_stages(records: t.Sequence[Facts], restore_id: str) -> None:
    """Remove what was extracted for a restore and is not in place."""
    for one in records:
        shutil.rmtree(_stage(one["path"], restore_id), ignore_errors=True)


def remove_kept(records: t.Sequence[Facts], restore_id: str) -> list[str]:
    """Remove what a restore has put aside, and return the names of the volumes whose old content went."""
    gone = []
    for one in records:
        path = _kept(one["path"], restore_id)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
            gone.append(str(one["name"]))
    return gone


def _stage(path: str, restore_id: str) -> str:
    return os.path.join(os.path.dirname(path), f"{_MARK}-{restore_id}")


def _kept(path: str, restore_id: str) -> str:
    return f"{path}.{_MARK}-old-{restore_id}"
