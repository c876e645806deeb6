# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What else is in a set when it is asked for, and sets that were made long ago."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import tarfile
import time

import pytest

from tests.support.backup_stack import BackupStack

#: Made by version 1.0.0 from PostgreSQL 15; it must stay readable.
OLD_SET = pathlib.Path(__file__).parent / "sets" / "20261125T222203Z-abfe"


def members(path: pathlib.Path) -> set[str]:
    """Return the names of the files in an archive."""
    with tarfile.open(path) as archive:
        return {member.name for member in archive if member.isfile()}


def events_since(began: float, container: str) -> list[str]:
    """Return what happened to a container since a moment."""
    argv = ["docker", "events", "--since", str(int(began)), "--until", str(int(time.time()) + 1), "--filter", f"container={container}"]
    done = subprocess.run([*argv, "--format", "{{.Action}}"], capture_output=True, text=True, check=True, timeout=60)
    return [line for line in done.stdout.splitlines() if line in ("pause", "unpause")]


def test_volumes_and_directories_are_in_the_set_with_their_writers_frozen_meanwhile(shop: BackupStack, root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    uploads = tmp_path / "uploads"
    (uploads / "2026").mkdir(parents=True)
    (uploads / "2026" / "photo.jpg").write_bytes(b"\xff\xd8" * 1000)
    backend = str((shop.running().inspect("backend") or {})["Id"])
    began = time.time()
    ended = shop.backup(root, volumes=["database-data"], paths=[str(uploads)], pause=True)
    assert ended.exit_code == 0, ended.message
    path = pathlib.Path(ended.row()["path"])
    assert "database-data/PG_VERSION" in members(path / "volumes" / "database-data.tar.gz")
    assert members(path / "volumes" / "path-0-uploads.tar.gz") == {"path-0-uploads/2026/photo.jpg"}
    assert events_since(began, backend) == ["pause", "unpause"]
    shop.wait_until_well()
    kinds = {entry["kind"] for entry in json.loads((path / "manifest.json").read_text())["files"]}
    assert {"database", "globals", "config", "logs", "volume"} <= kinds


def test_a_volume_that_is_not_there_makes_no_set(shop: BackupStack, root: pathlib.Path) -> None:
    ended = shop.backup(root, volumes=["upload"])
    assert ended.exit_code == 1
    assert "volume upload" in ended.message
    assert "database-data" in ended.message
    assert not (root / shop.project / "latest").exists()


@pytest.mark.parametrize("server", ["server15", "server17"])
def test_a_set_of_an_older_version_is_read_and_restored(server: str, request: pytest.FixtureRequest, root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    stack: BackupStack = request.getfixturevalue(server)
    where = tmp_path / OLD_SET.name
    shutil.copytree(OLD_SET, where)
    options = {"from": str(where), "target_database": "kept_again", "allow_other_project": True, "create_missing_roles": True}
    try:
        ended = stack.restore(root, **options)
        assert ended.exit_code == 0, ended.message
        assert stack.sql("SELECT count(*), max(id) FROM things", "kept_again") == "50|154"
        assert stack.sql("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'kept_again'", "postgres") == "keeper"
        checks = {entry["name"].rpartition(": ")[2]: entry["ok"] for entry in ended.row()["verification"]}
        assert checks["contents"] is checks["sequences"] is checks["properties"] is True
    finally:
        stack.sql("DROP DATABASE IF EXISTS kept_again", "postgres")
        stack.sql("DROP ROLE IF EXISTS keeper", "postgres")
