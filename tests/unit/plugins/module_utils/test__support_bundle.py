# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pathlib
import stat
import tarfile
import time

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import Selection
from ansible_collections.stackops.runbook.plugins.module_utils._engine import EngineOptions
from ansible_collections.stackops.runbook.plugins.module_utils._engine_on_disk import stacks_on_disk
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._log_sources import LogSource
from ansible_collections.stackops.runbook.plugins.module_utils._stack_facts import FactsOptions
from ansible_collections.stackops.runbook.plugins.module_utils._support_bundle import (
    ARCHIVE_NAME,
    BundleOptions,
    Evidence,
    _container_lines,
    _Private,
    _write,
    collect_bundle,
)


def read(path: pathlib.Path) -> dict[str, bytes]:
    with tarfile.open(path) as opened:
        return {member.name: opened.extractfile(member).read() for member in opened}  # type: ignore[union-attr]


def docker_directory(root: pathlib.Path, log: str) -> pathlib.Path:
    """Write what a Docker that is dead now has left of one container."""
    directory = root / "containers" / ("a" * 64)
    directory.mkdir(parents=True)
    (directory / "a.log").write_text(log)
    config = {
        "ID": "a" * 64,
        "Name": "/shop-web-1",
        "Created": "2026-11-23T09:00:00Z",
        "State": {"Running": True, "Pid": 7},
        "LogPath": str(directory / "a.log"),
        "Config": {"Labels": {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}, "Env": ["DB_PASSWORD=canary-Zx81Qq"], "Image": "web"},
        "MountPoints": {"/data": {"Type": "volume", "Source": "/v", "Destination": "/data", "RW": True, "Name": "v"}},
    }
    (directory / "config.v2.json").write_text(json.dumps(config))
    (directory / "hostconfig.json").write_text(json.dumps({"LogConfig": {"Type": "json-file"}}))
    (root / "containers" / "half-written").mkdir()
    (root / "containers" / "half-written" / "config.v2.json").write_text("{")
    return root


def test_without_an_engine_there_is_still_a_bundle(tmp_path: pathlib.Path) -> None:
    extra = tmp_path / "extra.yml"
    extra.write_text("api_key: canary-Zx81-Qq\n")
    facts = FactsOptions(engine=EngineOptions(docker_host=f"unix://{tmp_path}/none.sock"), timeout_seconds=20)
    result = collect_bundle(BundleOptions(facts=facts, files=(str(extra), str(tmp_path / "nothing*"))), str(tmp_path))
    assert result["engine"] is False
    path = pathlib.Path(result["path"])
    assert (path.name, stat.S_IMODE(path.stat().st_mode)) == (ARCHIVE_NAME, 0o600)
    files = read(path)
    index = json.loads(files["index.json"])
    entries = {entry["path"]: entry for entry in index["files"]}
    assert {"facts.json", "versions.txt", "system/uname.txt", "system/os-release.txt"} <= set(files)
    assert json.loads(files["facts.json"])["facts"]["engine"]["reachable"] is False
    assert "none.sock" in entries["engine/info.json"]["left_out"] or "socket" in entries["engine/info.json"]["left_out"]
    assert any("nothing" in str(entry["source"]) and "No such file" in entry["left_out"] for entry in index["files"] if "left_out" in entry)
    assert all({"path", "source", "duration_ms"} <= set(entry) for entry in index["files"])
    assert set(files) == {"private.json", "index.json"} | {path for path, entry in entries.items() if "left_out" not in entry}
    assert "canary-Zx81-Qq" in json.loads(files["private.json"])["secrets"]


def test_nothing_is_overwritten_or_followed(tmp_path: pathlib.Path) -> None:
    (tmp_path / ARCHIVE_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckError):
        _write(str(tmp_path), {})
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_archive_belongs_to_the_user_who_logs_in(tmp_path: pathlib.Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    path, size = _write(str(tmp_path), {"index.json": b"{}"})
    status = os.stat(path)
    assert (status.st_uid, stat.S_IMODE(status.st_mode), status.st_size) == (65534, 0o600, size)


def test_stacks_of_a_dead_engine(tmp_path: pathlib.Path) -> None:
    log = "".join(json.dumps({"log": f"line {number}\n", "stream": "stdout", "time": "2026-11-23T10:00:00Z"}) + "\n" for number in range(50))
    stacks = stacks_on_disk([Selection()], str(docker_directory(tmp_path, log + "cut")))
    assert [stack.name for stack in stacks] == ["shop"]
    container = stacks[0].containers[0]
    assert (container.service, container.state, container.env["DB_PASSWORD"]) == ("web", "dead", "canary-Zx81Qq")
    lines = _container_lines(LogSource("container:shop-web-1", "container", container.log_path), None, BundleOptions(log_lines=3))
    assert lines == [f"2026-11-23T10:00:00Z line {number}" for number in (47, 48, 49)]
    private = _Private(BundleOptions())
    private.learn_stack(stacks[0])
    assert private.as_dict()["secrets"] == ["canary-Zx81Qq"]
    assert "web" in private.as_dict()["kept"]
    assert stacks_on_disk([Selection(project_name="other")], str(tmp_path)) == []
    assert stacks_on_disk([Selection()], str(tmp_path / "none")) == []


def test_limits_cut_texts_and_leave_out_the_rest() -> None:
    evidence = Evidence(max_file_bytes=10_000, max_bytes=15_000, timeout_seconds=60)
    now = time.monotonic()
    evidence.add("a.log", "text", "log", "".join(f"line {number}\n" for number in range(5000)), now)
    evidence.add("b.json", "json", "engine", json.dumps(["x" * 11_000]), now)
    evidence.add("c.txt", "text", "cat", "y\n" * 3000, now)
    evidence.add("a.log", "text", "again", "z", now)
    evidence.close()
    evidence.add("late.txt", "text", "late", "late", now)
    assert set(evidence.files) == {"a.log", "c.txt", "a-2.log"}
    assert evidence.files["a.log"].startswith(b"line ") and evidence.files["a.log"].endswith(b"line 4999\n")
    assert len(evidence.files["a.log"]) <= 10_000
    assert sum(len(content) for content in evidence.files.values()) <= 15_000
    states = {entry["path"]: (entry.get("truncated"), "left_out" in entry) for entry in evidence.entries}
    assert states == {"a.log": (True, False), "b.json": (True, True), "c.txt": (True, False), "a-2.log": (False, False)}


def test_the_time_limit_holds_and_what_was_there_by_then_is_kept(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "bin"
    slow.mkdir()
    (slow / "uptime").write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    (slow / "uptime").chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow}:/usr/bin:/bin")
    facts = FactsOptions(engine=EngineOptions(docker_host=f"unix://{tmp_path}/none.sock"), timeout_seconds=4)
    began = time.monotonic()
    result = collect_bundle(BundleOptions(facts=facts, timeout_seconds=6), str(tmp_path))
    assert time.monotonic() - began < 50
    files = read(pathlib.Path(result["path"]))
    assert "system/uname.txt" in files
    entries = {entry["path"]: entry for entry in json.loads(files["index.json"])["files"]}
    assert "no answer within" in entries["system/uptime.txt"]["left_out"]
    assert "no time left" in entries["system/disk.txt"]["left_out"]
    assert not pathlib.Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
