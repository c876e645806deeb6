# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images and containers of a real engine: what is pending in an image, by whom a service runs, and an image on its way to the controller."""

from __future__ import annotations

import io
import json
import os
import pathlib
import subprocess
import tarfile
import time

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._container_hardening import check_stacks
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import Selection, discover
from ansible_collections.stackops.runbook.plugins.module_utils._engine import Engine, EngineOptions
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._ignores import IgnoreList
from ansible_collections.stackops.runbook.plugins.module_utils._image_scan import base_time, collect_images
from ansible_collections.stackops.runbook.plugins.module_utils._image_updates import read_updates

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.geteuid() != 0, reason="processes of others need root")]

ROOT = pathlib.Path(__file__).parents[2]
APP = "stackops-test/app"
PROJECT = f"seclive{os.getpid()}"
SECRET = "Canary-security-4e7b"


def docker(*arguments, check=True):
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120, check=check).stdout.strip()


def need_image(image):
    """Build the image where it is missing; without it there is nothing to test, which is a failure in CI."""
    if subprocess.run(["docker", "image", "inspect", image], capture_output=True, timeout=60, check=False).returncode == 0:
        return
    built = subprocess.run([str(ROOT / "tests/testbed/testbed"), "images", "app"], capture_output=True, text=True, timeout=900, check=False)
    if built.returncode != 0:
        reason = f"no image {image}: {built.stderr.strip().splitlines()[-1:]}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


@pytest.fixture(scope="module")
def engine():
    need_image(APP)
    return Engine.connect(EngineOptions.from_environment())


def start(service, *options, image=APP):
    labels = {"project": PROJECT, "service": service, "container-number": "1", "oneoff": "False", "config-hash": "x", "version": "2.26.1"}
    given = [word for key, value in labels.items() for word in ("--label", f"com.docker.compose.{key}={value}")]
    docker("run", "--detach", "--name", f"{PROJECT}-{service}-1", *given, *options, "--entrypoint", "sleep", image, "600")


@pytest.fixture(scope="module")
def stack(engine):
    start("bad", "--volume", "/var/run/docker.sock:/sock/docker.sock:ro", "--cap-add", "NET_ADMIN", "--env", f"API_TOKEN={SECRET}", "--publish", "6379")
    start("good", "--user", "12345", "--read-only", "--memory", "64m", "--pids-limit", "50", "--cpus", "0.5", "--security-opt", "no-new-privileges",
          "--restart", "unless-stopped", "--log-opt", "max-size=1m", "--label", "stackops.test=1")  # fmt: skip
    try:
        yield discover(engine, Selection(project_name=PROJECT))
    finally:
        docker("rm", "--force", "--volumes", f"{PROJECT}-bad-1", f"{PROJECT}-good-1", check=False)


def test_what_containers_have_and_do_not_need(stack):
    facts = check_stacks(stack, IgnoreList(()))
    rules = {name: {one["rule"] for one in facts["findings"] if one["service"] == name} for name in ("bad", "good")}
    assert rules["good"] <= {"latest-tag"}
    assert rules["bad"] >= {
        "engine-socket", "capability", "root-user", "secret-in-environment", "database-published", "no-memory-limit", "no-restart-policy", "no-log-rotation",
        "new-privileges", "writable-root",
    }  # fmt: skip
    assert SECRET not in json.dumps(facts)


def test_images_of_a_stack_have_an_age(engine, stack):
    (row,) = collect_images(engine, stack)
    assert (row.image, sorted(row.services)) == (APP, [f"{PROJECT}/bad", f"{PROJECT}/good"])
    assert row.error is None
    assert row.base_created_at is not None
    assert row.base_created_at <= row.created_at
    assert row.base_created_at == base_time(engine.image_history(row.id))


def disposable():
    return docker("ps", "--all", "--quiet", "--filter", "label=stackops.runbook=image-updates", "--filter", f"ancestor={APP}")


def gone(before):
    """Say whether no container is left but those of others; one that is ended takes a moment to be removed."""
    deadline = time.monotonic() + 30
    while set(disposable().split()) - before and time.monotonic() < deadline:
        time.sleep(0.1)
    return not set(disposable().split()) - before


def test_an_image_is_asked_for_its_pending_updates(engine):
    before = set(disposable().split())
    found = read_updates(engine, engine.image(APP)["Id"], "bridge", 120)
    assert gone(before)
    assert found.os.startswith("Debian GNU/Linux")
    # Without a way to the packages it is unknown with the reason, and only then.
    assert not found.packages or not found.reason
    assert all(one.security and one.installed != one.candidate for one in found.packages)
    if found.reason:
        assert found.hint


def test_without_a_network_it_is_unknown_and_not_nothing_pending(engine):
    before = set(disposable().split())
    found = read_updates(engine, engine.image(APP)["Id"], "none", 120)
    assert "Failed to fetch" in found.reason
    assert (found.packages, bool(found.hint)) == ((), True)
    assert gone(before)


def test_an_image_without_any_tool_is_unknown(engine):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("nothing"))
    name = f"{PROJECT}:scratch"
    subprocess.run(["docker", "import", "-", name], input=content.getvalue(), capture_output=True, timeout=60, check=True)
    try:
        found = read_updates(engine, engine.image(name)["Id"], "none", 120)
        assert found.reason == "the image has no shell tools, so it cannot be asked"
    finally:
        docker("rmi", name, check=False)


def test_an_image_is_saved_as_docker_saves_it_and_not_beyond_its_limit(engine, tmp_path):
    path = tmp_path / "image.tar"
    with path.open("wb") as file:
        size = engine.save_image(APP, file, 1 << 32, 60)
    assert size == path.stat().st_size
    with tarfile.open(path) as archive:
        (manifest,) = json.load(archive.extractfile("manifest.json"))
    assert manifest["Layers"]
    with (tmp_path / "part").open("wb") as file, pytest.raises(CheckError) as caught:
        engine.save_image(APP, file, 1024, 60)
    assert caught.value.code == "too-large"
