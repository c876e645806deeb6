# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Make room on the engine's disk: images without a name, build cache, one-off containers that have ended. Never volumes."""

from __future__ import annotations

import dataclasses
import time
import typing as t

from ._discovery import ContainerRef, engine_time
from ._engine import Engine, EngineOptions
from ._envelope import CheckError, human_bytes
from ._redaction import Redactor
from ._remediation import Change, Facts, Verified, Work, run_remediation

_ENDED = ("created", "exited", "dead")
_NO_NAME = "<none>:<none>"


@dataclasses.dataclass(frozen=True)
class Reclaimable:
    """What would go: ids of images and of entries of the build cache, containers by id with their names, and about how many bytes."""

    images: tuple[str, ...]
    build_cache: tuple[str, ...]
    one_offs: t.Mapping[str, str]
    about_bytes: int

    @property
    def anything(self) -> bool:
        """Whether there is anything."""
        return bool(self.images or self.build_cache or self.one_offs)

    @property
    def sentence(self) -> str:
        """What it is, in words."""
        parts = [
            f"{len(self.images)} images without a name" if self.images else "",
            f"{len(self.build_cache)} entries of the build cache" if self.build_cache else "",
            f"{len(self.one_offs)} one-off containers that have ended" if self.one_offs else "",
        ]
        return ", ".join(filter(None, parts))


def run_docker_cleanup(params: t.Mapping[str, t.Any], check_mode: bool) -> Facts:
    """Return the result of the module ``docker_cleanup``."""
    return run_remediation(lambda: _plan(params), params, check_mode)


def reclaimable(usage: t.Mapping[str, t.Any], containers: t.Iterable[ContainerRef], params: t.Mapping[str, t.Any], now: float) -> Reclaimable:
    """Return what may go, from what the engine says it uses and from the one-off *containers*."""
    before = now - params["older_than_hours"] * 3600
    ended = {container.id: container.name for container in containers if params["one_offs"] and _has_ended(container, before)}
    images = [image for image in usage.get("Images") or () if params["images"] and _is_dangling(image, before)]
    cache = [entry for entry in usage.get("BuildCache") or () if params["build_cache"] and _is_stale(entry, before)]
    sizes = [int(image.get("Size") or 0) - max(0, int(image.get("SharedSize") or 0)) for image in images]
    sizes += [int(entry.get("Size") or 0) for entry in cache]
    return Reclaimable(
        tuple(sorted(str(image["Id"]) for image in images)),
        tuple(sorted(str(entry.get("ID")) for entry in cache)),
        ended,
        sum(sizes),
    )


def _is_dangling(image: t.Mapping[str, t.Any], before: float) -> bool:
    named = [tag for tag in image.get("RepoTags") or () if tag != _NO_NAME]
    return not named and not (image.get("Containers") or 0) > 0 and (image.get("Created") or 0) < before


def _is_stale(entry: t.Mapping[str, t.Any], before: float) -> bool:
    used = engine_time(entry.get("LastUsedAt")) or engine_time(entry.get("CreatedAt"))
    return not entry.get("InUse") and not entry.get("Shared") and (used is None or used.timestamp() < before)


def _has_ended(container: ContainerRef, before: float) -> bool:
    ended = container.finished_at or container.created_at
    return container.oneoff and container.state in _ENDED and ended is not None and ended.timestamp() < before


def sizes(usage: t.Mapping[str, t.Any]) -> dict[str, int]:
    """Return what images, build cache and containers take; volumes as well, so that one sees that they stay."""
    return {
        "images_bytes": int(usage.get("LayersSize") or 0),
        "build_cache_bytes": sum(int(entry.get("Size") or 0) for entry in usage.get("BuildCache") or () if not entry.get("Shared")),
        "containers_bytes": sum(int(container.get("SizeRw") or 0) for container in usage.get("Containers") or ()),
        "volumes": len(usage.get("Volumes") or ()),
    }


def _look(engine: Engine, params: t.Mapping[str, t.Any]) -> tuple[Reclaimable, dict[str, int]]:
    listed = engine.containers(labels=["com.docker.compose.oneoff=True"])
    one_offs = [ContainerRef(raw) for raw in engine.inspect_many([str(entry["Id"]) for entry in listed if entry.get("State") in _ENDED])]
    usage = engine.disk_usage()
    return reclaimable(usage, one_offs, params, time.time()), sizes(usage)


def _plan(params: t.Mapping[str, t.Any]) -> Work:
    options = EngineOptions.from_params(params)
    # To count what it uses takes an engine long where there is much.
    engine = Engine.connect(dataclasses.replace(options, timeout_seconds=max(options.timeout_seconds, 120.0)))
    found, before = _look(engine, params)
    until = [f"{params['older_than_hours']:g}h"] if params["older_than_hours"] else []
    filters = [word for value in until for word in ("--filter", f"until={value}")]
    commands = [
        *([("docker", "rm", *sorted(found.one_offs.values()))] if found.one_offs else []),
        *([("docker", "image", "prune", "--force", *filters)] if found.images else []),
        *([("docker", "builder", "prune", "--force", *filters)] if found.build_cache else []),
    ]

    def carry_out() -> Facts:
        problems = []
        for container_id in found.one_offs:
            try:
                engine.remove_stopped(container_id)
            except CheckError as error:  # somebody has started it: then it is in use
                problems.append(error.reason)
        given = {"until": until} if until else {}
        if found.images:
            engine.prune("images", {"dangling": ["true"], **given}, params["command_timeout_seconds"])
        if found.build_cache:
            engine.prune("build", given, params["command_timeout_seconds"])
        after = sizes(engine.disk_usage())
        freed = sum(before[key] - after[key] for key in ("images_bytes", "build_cache_bytes", "containers_bytes"))
        return {**after, "freed_bytes": max(0, freed), "freed": human_bytes(max(0, freed)), "kept": problems}

    def verify() -> Verified:
        left, after = _look(engine, params)
        if after["volumes"] < before["volumes"]:
            return Verified(False, "there are fewer volumes than before; this never removes one, so somebody else has")
        still = (set(left.images) & set(found.images)) | (set(left.build_cache) & set(found.build_cache)) | (set(left.one_offs) & set(found.one_offs))
        # What another image or build still needs stays, which is the engine's decision.
        was, now = (human_bytes(one["images_bytes"] + one["build_cache_bytes"]) for one in (before, after))
        detail = f"{was} of images and build cache before, {now} after"
        return Verified(True, detail + (f"; {len(still)} are still needed by others" if still else ""))

    return Work(
        Change(
            "docker_cleanup",
            "the engine's disk",
            f"remove {found.sentence}: about {human_bytes(found.about_bytes)}; volumes stay" if found.anything else "nothing is left over",
            tuple(commands),
            {**before, "images_without_a_name": len(found.images), "build_cache_entries": len(found.build_cache), "one_offs": sorted(found.one_offs.values())},
            {"images_without_a_name": 0, "build_cache_entries": 0, "one_offs": [], "volumes": before["volumes"]},
            ("There is no way back: images are built or pulled again, and a one-off container is run again.",),
            needed=found.anything,
            makes_room=True,
        ),
        carry_out,
        verify,
        Redactor([]),
    )
