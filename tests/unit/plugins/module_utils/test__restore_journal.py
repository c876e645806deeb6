# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pathlib
import stat

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._restore_journal import STATES, Journal, journals, unfinished


def test_every_state_is_on_the_disk_before_going_on(tmp_path: pathlib.Path) -> None:
    journal = Journal.begin(str(tmp_path), kind="restore", source="set")
    assert not list(tmp_path.iterdir()) and journal.state == "preparing"
    for state in STATES:
        journal.save(state, stopped=["a"])
        (path,) = tmp_path.iterdir()
        written = json.loads(path.read_text())
        assert path.name == f"{journal.id}.json" and stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (written["state"], written["stopped"], written["kind"]) == (state, ["a"], "restore")
        assert [one.id for one in unfinished(str(tmp_path))] == ([] if state in ("done", "rolled-back") else [journal.id])


def test_records_are_read_newest_first_and_other_files_left_alone(tmp_path: pathlib.Path) -> None:
    for number in range(3):
        journal = Journal.begin(str(tmp_path), kind="restore", source=f"set {number}")
        journal.data["created_at"] = f"2026-11-2{number}T00:00:00Z"
        journal.save("done" if number else "swapping")
    (tmp_path / "notes.txt").write_text("not ours")
    (tmp_path / ".new-abc").write_text("{")
    assert [one.data["source"] for one in journals(str(tmp_path))] == ["set 2", "set 1", "set 0"]
    assert [one.data["source"] for one in unfinished(str(tmp_path))] == ["set 0"]
    assert journals(str(tmp_path / "none")) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema_version": 1, "restore_id": "0123abcd", "state": "dancing"}'])
def test_a_record_that_cannot_be_read_stops_the_run(tmp_path: pathlib.Path, text: str) -> None:
    (tmp_path / "0123abcd.json").write_text(text)
    with pytest.raises(CheckError, match="cannot be read") as caught:
        journals(str(tmp_path))
    assert caught.value.code == "corrupt"


def test_a_record_of_a_newer_version_stops_the_run(tmp_path: pathlib.Path) -> None:
    (tmp_path / "0123abcd.json").write_text('{"schema_version": 2, "restore_id": "0123abcd", "state": "done"}')
    with pytest.raises(CheckError, match="newer than 1"):
        journals(str(tmp_path))


def test_ids_are_not_given_twice(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0123abcd.json").write_text("{}")
    given = iter(["0123abcd", "0123abcd", "fedcba98"])
    monkeypatch.setattr("secrets.token_hex", lambda dummy: next(given))
    assert Journal.begin(str(tmp_path), kind="restore").id == "fedcba98"
    assert os.listdir(tmp_path) == ["0123abcd.json"]
