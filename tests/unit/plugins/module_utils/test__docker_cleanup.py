# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.stackops.runbook.plugins.module_utils._discovery import ContainerRef
from ansible_collections.stackops.runbook.plugins.module_utils._docker_cleanup import reclaimable, sizes

NOW = datetime.datetime(2026, 11, 26, 12, tzinfo=datetime.timezone.utc).timestamp()
ALL: dict[str, t.Any] = {"older_than_hours": 24.0, "images": True, "build_cache": True, "one_offs": True}
OLD, NEW = NOW - 25 * 3600, NOW - 3600
USAGE = {
    "LayersSize": 1000,
    "Images": [
        {"Id": "dangling", "RepoTags": ["<none>:<none>"], "Created": OLD, "Containers": 0, "Size": 100, "SharedSize": 40},
        {"Id": "not-counted", "RepoTags": None, "Created": OLD, "Containers": -1, "Size": 10, "SharedSize": -1},
        {"Id": "young", "RepoTags": [], "Created": NEW, "Containers": 0, "Size": 1},
        {"Id": "used", "RepoTags": ["<none>:<none>"], "Created": OLD, "Containers": 1, "Size": 1},
        {"Id": "named", "RepoTags": ["shop:1"], "Created": OLD, "Containers": 0, "Size": 1},
    ],
    "BuildCache": [
        {"ID": "stale", "InUse": False, "Shared": False, "LastUsedAt": "2026-11-24T00:00:00Z", "Size": 200},
        {"ID": "never-used", "InUse": False, "Shared": False, "CreatedAt": "2026-11-24T00:00:00Z", "LastUsedAt": None, "Size": 5},
        {"ID": "shared", "InUse": False, "Shared": True, "LastUsedAt": "2026-11-24T00:00:00Z", "Size": 7},
        {"ID": "in-use", "InUse": True, "Shared": False, "LastUsedAt": "2026-11-24T00:00:00Z", "Size": 7},
        {"ID": "fresh", "InUse": False, "Shared": False, "LastUsedAt": "2026-11-26T11:00:00Z", "Size": 7},
    ],
    "Containers": [{"SizeRw": 3}],
    "Volumes": [{}, {}],
}


def container(name: str, state: str, ended: str, oneoff: str = "True") -> ContainerRef:
    labels = {"com.docker.compose.project": "shop", "com.docker.compose.service": "api", "com.docker.compose.oneoff": oneoff}
    return ContainerRef({"Id": name, "Name": f"/{name}", "Config": {"Labels": labels}, "State": {"Status": state, "FinishedAt": ended}, "Created": ended})


CONTAINERS = [
    container("ended", "exited", "2026-11-24T00:00:00Z"),
    container("just-ended", "exited", "2026-11-26T11:30:00Z"),
    container("runs", "running", "2026-11-24T00:00:00Z"),
    container("of-a-service", "exited", "2026-11-24T00:00:00Z", "False"),
]


def test_only_what_nothing_uses_and_is_old_goes() -> None:
    found = reclaimable(USAGE, CONTAINERS, ALL, NOW)
    assert (found.images, found.build_cache, found.one_offs) == (("dangling", "not-counted"), ("never-used", "stale"), {"ended": "ended"})
    assert found.about_bytes == 60 + 10 + 205 and found.anything
    assert found.sentence == "2 images without a name, 2 entries of the build cache, 1 one-off containers that have ended"


def test_each_kind_can_be_left_out() -> None:
    assert not reclaimable(USAGE, CONTAINERS, {**ALL, "images": False, "build_cache": False, "one_offs": False}, NOW).anything
    everything = reclaimable(USAGE, CONTAINERS, {**ALL, "older_than_hours": 0.0}, NOW)
    assert "young" in everything.images and "fresh" in everything.build_cache and "just-ended" in everything.one_offs


def test_sizes_before_and_after_have_the_volumes_as_well() -> None:
    assert sizes(USAGE) == {"images_bytes": 1000, "build_cache_bytes": 219, "containers_bytes": 3, "volumes": 2}
    assert sizes({}) == {"images_bytes": 0, "build_cache_bytes": 0, "containers_bytes": 0, "volumes": 0}
