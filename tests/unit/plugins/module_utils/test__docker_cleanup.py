# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import datetime
import json
import pathlib
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import ContainerRef
from ansible_collections.stackops.runbook.plugins.module_utils._docker_cleanup import reclaimable, run_docker_cleanup, sizes
from ansible_collections.stackops.runbook.tests.support.compose_engine import SocketEngine, running_engine
from ansible_collections.stackops.runbook.tests.support.compose_engine import container as engine_container

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


# With an engine


@pytest.fixture
def engine(tmp_path: pathlib.Path) -> t.Iterator[SocketEngine]:
    """An engine with rests, old and new, that prunes what it has no use for."""
    pytest.importorskip("docker", reason="the Docker SDK for Python is not installed")
    ended = [engine_container(service, state="exited", oneoff=True) for service in ("migrate", "shell")]
    others = [engine_container("api"), engine_container("api", "blog", state="exited"), engine_container("tail", oneoff=True)]
    with running_engine(tmp_path, *ended, *others) as running:
        running.usage = {
            "LayersSize": 300 * 2**20,
            "Images": [
                {"Id": "sha256:old", "RepoTags": ["<none>:<none>"], "Created": 1.0, "Containers": 0, "Size": 100 * 2**20},
                {"Id": "sha256:named", "RepoTags": ["shop:1"], "Created": 1.0, "Containers": 1, "Size": 200 * 2**20},
            ],
            "BuildCache": [{"ID": "layer", "InUse": False, "Shared": False, "LastUsedAt": "2026-01-01T00:00:00Z", "Size": 50 * 2**20}],
            "Containers": [],
            "Volumes": [{}, {}],
        }

        def prune_images() -> None:
            running.usage = {**running.usage, "LayersSize": 200 * 2**20, "Images": running.usage["Images"][1:]}

        def prune_build() -> None:
            running.usage = {**running.usage, "BuildCache": []}

        running.on_prune = {"images": prune_images, "build": prune_build}
        yield running


def params_for(engine: SocketEngine, **given: t.Any) -> dict[str, t.Any]:
    directory = pathlib.Path(str(engine.server_address)).parent
    return {**ALL, "command_timeout_seconds": 5.0, "docker_host": engine.docker_host, "audit_log": str(directory / "audit" / "log.jsonl"), **given}


def audited(engine: SocketEngine) -> list[dict[str, t.Any]]:
    return [json.loads(line) for line in pathlib.Path(params_for(engine)["audit_log"]).read_text(encoding="utf-8").splitlines()]


def of_one_offs(engine: SocketEngine) -> list[str]:
    return sorted(raw["Name"] for raw in engine.containers.values() if raw["Config"]["Labels"]["com.docker.compose.oneoff"] == "True")


def test_a_plan_says_what_would_go_and_the_engine_is_asked_to_remove_nothing(engine: SocketEngine) -> None:
    result = run_docker_cleanup(params_for(engine), True)
    assert (result["status"], result["changed"], engine.seen) == ("planned", True, [])
    assert result["plan"] == [
        "docker rm shop-migrate-run-1 shop-shell-run-1",
        "docker image prune --force --filter until=24h",
        "docker builder prune --force --filter until=24h",
    ]
    assert "1 images without a name, 1 entries of the build cache, 2 one-off containers that have ended: about 150" in result["summary"]
    assert result["summary"].endswith("volumes stay")
    assert (result["before"]["images_without_a_name"], result["before"]["volumes"]) == (1, 2)


def test_the_rests_go_and_what_became_free_is_told(engine: SocketEngine) -> None:
    result = run_docker_cleanup(params_for(engine), False)
    assert (result["status"], result["changed"], result["verified"]["ok"], result["errors"]) == ("done", True, True, [])
    assert result["after"]["freed_bytes"] == 150 * 2**20 and result["after"]["kept"] == [] and result["after"]["volumes"] == 2
    assert result["verified"]["detail"].endswith("after") and "still needed" not in result["verified"]["detail"]
    assert of_one_offs(engine) == ["/shop-tail-run-1"] and len(engine.containers) == 3
    asked = [request.partition(" {") for request in engine.seen if "/prune" in request]
    assert [(request, json.loads(brace.strip() + rest)) for request, brace, rest in asked] == [
        ("POST /images/prune", {"dangling": ["true"], "until": ["24h"]}),
        ("POST /build/prune", {"until": ["24h"]}),
    ]
    assert [entry["event"] for entry in audited(engine)] == ["intent", "result"]
    again = run_docker_cleanup(params_for(engine), False)
    assert (again["status"], again["changed"]) == ("nothing-to-do", False) and "nothing is left over" in again["verified"]["detail"]


def test_without_an_age_everything_that_is_not_used_goes(engine: SocketEngine) -> None:
    result = run_docker_cleanup(params_for(engine, older_than_hours=0.0, one_offs=False), False)
    assert result["plan"] == ["docker image prune --force", "docker builder prune --force"]
    assert engine.seen == ['POST /images/prune {"dangling": ["true"]}', "POST /build/prune {}"] and len(of_one_offs(engine)) == 3


def test_a_container_that_somebody_has_started_meanwhile_is_kept(engine: SocketEngine) -> None:
    started = next(container_id for container_id, raw in engine.containers.items() if raw["Name"] == "/shop-shell-run-1")
    engine.answers[f"DELETE /containers/{started}"] = (409, {"message": "cannot remove container: container is running"})
    result = run_docker_cleanup(params_for(engine, images=False, build_cache=False), False)
    assert (result["status"], len(result["after"]["kept"])) == ("done", 1) and "container is running" in result["after"]["kept"][0]
    assert "/shop-migrate-run-1" not in of_one_offs(engine) and "1 are still needed by others" in result["verified"]["detail"]
    assert not any("/prune" in request for request in engine.seen)


def test_a_volume_that_is_gone_afterwards_is_a_failure(engine: SocketEngine) -> None:
    def take_a_volume() -> None:
        engine.usage = {**copy.deepcopy(engine.usage), "Volumes": [{}], "Images": []}

    engine.on_prune["images"] = take_a_volume
    result = run_docker_cleanup(params_for(engine), False)
    assert result["failed"] and result["verified"]["ok"] is False and "fewer volumes than before" in result["summary"]


def test_an_engine_that_refuses_to_prune_is_told_and_what_went_before_stays_told(engine: SocketEngine) -> None:
    engine.answers["POST /images/prune"] = (500, {"message": "a prune operation is already running"})
    result = run_docker_cleanup(params_for(engine), False)
    assert result["failed"] and result["changed"] and "a prune operation is already running" in result["errors"][0]["reason"]
    assert audited(engine)[-1]["status"] == "failed"


def test_without_an_engine_there_is_no_plan(tmp_path: pathlib.Path) -> None:
    result = run_docker_cleanup({**ALL, "docker_host": f"unix://{tmp_path}/none.sock"}, False)
    assert (result["status"], result["changed"], result["failed"]) == ("failed", False, True) and "no such socket" in result["summary"]
