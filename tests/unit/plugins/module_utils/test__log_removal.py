# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pathlib
import time
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._log_removal import run_log_removal


@pytest.fixture
def logs(tmp_path: pathlib.Path) -> pathlib.Path:
    directory = tmp_path / "shop" / "logs"
    directory.mkdir(parents=True)
    for name, days in (("app.log.1", 30), ("app.log.2", 6), ("app.log", 0), ("letter.txt", 30), ("open.log", 30)):
        (directory / name).write_bytes(b"x" * 1000)
        os.utime(directory / name, (time.time() - days * 86400,) * 2)
    return directory


@pytest.fixture
def parameters(tmp_path: pathlib.Path, logs: pathlib.Path) -> dict[str, t.Any]:
    audit_log = str(tmp_path / "audit" / "log.jsonl")
    return {"directories": [str(logs)], "older_than_days": 7.0, "patterns": [], "max_files": 1000, "audit_log": audit_log}


def test_old_logs_go_and_nothing_else(parameters: dict[str, t.Any], logs: pathlib.Path) -> None:
    with (logs / "open.log").open("rb"):
        planned = run_log_removal(parameters, True)
        assert planned["status"] == "planned" and planned["plan"] == [f"rm {logs}/app.log.1"] and len(list(logs.iterdir())) == 5
        result = run_log_removal(parameters, False)
        assert result["status"] == "done" and result["verified"]["ok"] and result["after"]["removed_bytes"] == 1000, result
        assert {path.name for path in logs.iterdir()} == {"app.log.2", "app.log", "letter.txt", "open.log"}
        assert run_log_removal(parameters, False)["status"] == "nothing-to-do"
    assert [json.loads(line)["event"] for line in pathlib.Path(parameters["audit_log"]).read_text().splitlines()] == ["intent", "result"]


def test_a_directory_of_the_system_is_refused(parameters: dict[str, t.Any]) -> None:
    result = run_log_removal({**parameters, "directories": ["/etc"]}, False)
    assert result["failed"] and not result["changed"] and "too close to the root" in result["summary"]


def test_a_pattern_that_means_everything_is_refused(parameters: dict[str, t.Any]) -> None:
    result = run_log_removal({**parameters, "patterns": ["*"]}, False)
    assert result["failed"] and "patterns must name log files" in result["summary"]
