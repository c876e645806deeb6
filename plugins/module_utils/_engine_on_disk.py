# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What Docker's directory says of the containers while the engine itself is dead: enough to find stacks and their logs."""

from __future__ import annotations

import json
import os
import typing as t

from ._discovery import ContainerRef, Selection, Stack, stacks_of

ROOT = "/var/lib/docker"
_MAX_CONTAINERS = 500
_MAX_BYTES = 4 << 20


def stacks_on_disk(selections: t.Iterable[Selection], root: str = ROOT) -> list[Stack]:
    """Return the stacks of *selections* as the engine wrote them down last; none where that may not be read."""
    try:
        ids = sorted(os.listdir(os.path.join(root, "containers")))[:_MAX_CONTAINERS]
    except OSError:
        return []
    containers = [container for container in (_container(os.path.join(root, "containers", name)) for name in ids) if container is not None]
    stacks = {stack.name: stack for selection in selections for stack in stacks_of(containers, selection)}
    return list(stacks.values())


def _container(directory: str) -> t.Optional[ContainerRef]:
    written = _read(os.path.join(directory, "config.v2.json"))
    if not isinstance(written, dict) or not isinstance(written.get("Config"), dict):
        return None
    state = written.get("State")
    # Written while it ran: nobody knows whether it still does.
    status = "exited" if isinstance(state, dict) and not state.get("Running") else "dead"
    inspect = {
        "Id": written.get("ID"),
        "Name": written.get("Name"),
        "Created": written.get("Created"),
        "Config": written["Config"],
        "State": {**(state if isinstance(state, dict) else {}), "Status": status},
        "HostConfig": _read(os.path.join(directory, "hostconfig.json")) or {},
        "Image": written.get("Image"),
        "LogPath": written.get("LogPath"),
        "Path": written.get("Path"),
        "Args": written.get("Args"),
        "RestartCount": written.get("RestartCount"),
        "Mounts": [
            {
                "Type": mount.get("Type"),
                "Source": mount.get("Source"),
                "Destination": mount.get("Destination"),
                "RW": mount.get("RW"),
                "Name": mount.get("Name"),
            }
            for mount in (written.get("MountPoints") or {}).values()
        ],
    }
    return ContainerRef(inspect)


def _read(path: str) -> t.Any:
    try:
        with open(path, "rb") as file:
            return json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError):
        return None
