# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import pathlib
import time

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _progress
from ansible_collections.stackops.runbook.plugins.module_utils._progress import Progress, bytes_under


def test_a_step_replaces_the_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "progress.json"
    progress = Progress(str(path), "run")
    progress.step("shop", "databases", 1, 6)
    state = json.loads(path.read_text())
    names = ("run_id", "project", "step", "step_number", "steps", "percent")
    assert tuple(state[name] for name in names) == ("run", "shop", "databases", 1, 6, None)
    progress.step("shop", "files", 2, 6)
    assert json.loads(path.read_text())["step"] == "files" and [one.name for one in tmp_path.iterdir()] == ["progress.json"]


def test_bytes_are_followed(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_progress, "_INTERVAL_SECONDS", 0.01)
    path = tmp_path / "progress.json"
    progress = Progress(str(path))
    progress.step("shop", "databases", 1, 6)
    with progress.watching(lambda: 500, 1000):
        deadline = time.monotonic() + 10
        while json.loads(path.read_text())["percent"] is None and time.monotonic() < deadline:
            time.sleep(0.01)
    state = json.loads(path.read_text())
    assert (state["done_bytes"], state["total_bytes"], state["percent"]) == (500, 1000, 50) and state["bytes_per_second"] > 0
    # It is not done before it is done.
    with progress.watching(lambda: 5000, 1000):
        time.sleep(0.1)
    assert json.loads(path.read_text())["percent"] == 99


def test_what_cannot_be_written_stops_nothing(tmp_path: pathlib.Path) -> None:
    Progress(str(tmp_path / "none" / "progress.json")).step("shop", "databases", 1, 6)
    silent = Progress(None)
    silent.step("shop", "databases", 1, 6)
    with silent.watching(lambda: 1, 1):
        pass


def test_nobodys_link_is_written_through(tmp_path: pathlib.Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "progress.json.new").symlink_to(victim)
    Progress(str(tmp_path / "progress.json")).step("shop", "databases", 1, 6)
    assert victim.read_text() == "mine"


def test_bytes_under_a_directory(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_bytes(b"x" * 10)
    (tmp_path / "two").write_bytes(b"x" * 5)
    (tmp_path / "link").symlink_to(tmp_path / "two")
    assert bytes_under(str(tmp_path)) >= 15 and bytes_under(str(tmp_path / "none")) == 0
