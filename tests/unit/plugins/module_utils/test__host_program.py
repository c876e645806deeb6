# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pathlib
import stat
import sys
import types
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _host_program as host_program
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._host_backup import read_configuration, read_state, record, state_after, state_path
from ansible_collections.stackops.runbook.plugins.module_utils._host_program import main

NOW = 1_795_600_000.0
SET = "20261125T010203Z-7f3a"
DONE = {"project": "shop", "status": "ok", "summary": "shop: fine", "set_id": SET, "bytes": 392, "duration_seconds": 9.5, "level": "decodable", "warnings": []}


@pytest.fixture
def configure(tmp_path: pathlib.Path) -> t.Callable[..., str]:
    """Return how to write a configuration."""

    def write(options: t.Any, schema_version: int = 1, mode: int = 0o600) -> str:
        path = tmp_path / "backup.json"
        path.write_text(json.dumps({"schema_version": schema_version, "options": options}))
        path.chmod(mode)
        return str(path)

    return write


@pytest.fixture
def backup(monkeypatch: pytest.MonkeyPatch) -> t.Callable[[t.Any], list[dict[str, t.Any]]]:
    """Return how to say what the backup itself will return; what it was called with is in the list."""

    def returns(result: t.Any) -> list[dict[str, t.Any]]:
        calls: list[dict[str, t.Any]] = []

        def run_backup(params: dict[str, t.Any], check_mode: bool) -> t.Any:
            assert check_mode is False
            calls.append(params)
            if isinstance(result, Exception):
                raise result
            return result

        name = host_program.__name__.rpartition(".")[0] + "._backup"
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(run_backup=run_backup))
        return calls

    return returns


def test_a_configuration_is_completed_with_the_defaults_of_the_module(configure) -> None:
    options = {"keep_weekly": 8, "keep_days": "14", "encryption": {"method": "age", "recipients": ["age1x"]}}
    parameters = read_configuration(configure(options), "verify", {"set": "all"})
    assert (parameters["keep_weekly"], parameters["keep_days"], parameters["root"]) == (8, 14, "/var/backups/stackops")
    assert parameters["encryption"] == {"method": "age", "recipients": ["age1x"]}
    assert (parameters["action"], parameters["set"], parameters["level"]) == ("verify", "all", "auto")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"keep_day": 7}, "unknown option keep_day"),
        ({"keep_days": "a week"}, "keep_days is 'a week', which is no int"),
        ({"logs": "yes"}, "logs is 'yes', which is no bool"),
        ({"keep_days": True}, "keep_days is True, which is no int"),
        ({"level": "best"}, "level is 'best'"),
        ({"databases": ["a", 1]}, r"databases\[1\] is 1, which is no str"),
        ({"encryption": {"method": "age"}}, "recipients is missing"),
        ({"login_password": 5}, "login_password is no str"),
    ],
)
def test_what_a_person_got_wrong_is_said(configure, options: dict[str, t.Any], reason: str) -> None:
    with pytest.raises(CheckError, match=reason) as caught:
        read_configuration(configure(options), "backup", {})
    assert "backup.json" in caught.value.source


def test_numbers_may_be_text_as_ansible_core_2_18_writes_them(configure) -> None:
    options = read_configuration(configure({"keep_days": "14", "shrink_ratio": "0.25", "jobs": 2}), "backup", {})
    assert (options["keep_days"], options["shrink_ratio"], options["jobs"]) == (14, 0.25, 2)
    with pytest.raises(CheckError, match="keep_days is 'many'"):
        read_configuration(configure({"keep_days": "many"}), "backup", {})


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o602])
def test_a_configuration_that_others_can_read_or_write_is_refused(configure, mode: int) -> None:
    with pytest.raises(CheckError, match="others than its owner") as caught:
        read_configuration(configure({}, mode=mode), "backup", {})
    assert "chmod 0600" in caught.value.hint


def test_a_configuration_of_another_schema_is_refused(configure) -> None:
    with pytest.raises(CheckError, match="schema_version is 2"):
        read_configuration(configure({}, schema_version=2), "backup", {})


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema_version": 1, "options": []}', "\0"])
def test_what_is_no_configuration_is_refused(tmp_path: pathlib.Path, content: str) -> None:
    path = tmp_path / "backup.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(CheckError):
        read_configuration(str(path), "backup", {})


def test_a_good_run_is_recorded() -> None:
    state = state_after({}, "backup", DONE, NOW)
    assert state == {
        "schema_version": 1, "project": "shop", "set_id": SET, "last_success": "2026-11-25T01:02:03Z", "last_verified": "2026-11-25T09:46:40Z",
        "bytes": 392, "duration_seconds": 9.5, "level": "decodable", "age_seconds": 31477,
        "last_run": {"at": "2026-11-25T09:46:40Z", "action": "backup", "status": "ok", "summary": "shop: fine"},
    }  # fmt: skip


def test_a_failed_run_keeps_what_the_last_good_one_was() -> None:
    good = state_after({}, "backup", DONE, NOW)
    failed = state_after(good, "backup", {"project": "shop", "status": "critical", "summary": "shop: no", "set_id": None}, NOW + 86400)
    kept = ("set_id", "last_success", "last_verified", "bytes", "duration_seconds", "level")
    assert {name: failed[name] for name in kept} == {name: good[name] for name in kept}
    assert failed["age_seconds"] == good["age_seconds"] + 86400
    assert failed["last_run"]["status"] == "critical"


def test_a_run_that_finds_a_young_enough_set_verifies_nothing_anew() -> None:
    good = state_after({}, "backup", DONE, NOW)
    found = state_after(good, "backup", {"project": "shop", "status": "ok", "set_id": SET, "bytes": None, "duration_seconds": None}, NOW + 600)
    assert {**found, "last_run": None, "age_seconds": None} == {**good, "last_run": None, "age_seconds": None}


def test_a_verification_is_recorded() -> None:
    good = state_after({}, "backup", DONE, NOW)
    verified = state_after(good, "verify", {"project": "shop", "status": "ok", "set_id": SET, "level": "equivalent"}, NOW + 600)
    assert (verified["level"], verified["last_verified"]) == ("equivalent", "2026-11-25T09:56:40Z")
    assert verified["last_success"] == good["last_success"]


def test_a_state_that_cannot_be_read_is_none(tmp_path: pathlib.Path) -> None:
    for content in ("", "[]", '{"schema_version": 99}'):
        (tmp_path / "x").write_text(content)
        assert read_state(str(tmp_path / "x")) == {}
    assert read_state(str(tmp_path / "none")) == {}


def test_a_project_s_name_leads_nowhere_else(tmp_path: pathlib.Path) -> None:
    record(str(tmp_path), "backup", {"status": "ok", "stacks": [{**DONE, "project": "../../x"}]}, NOW)
    assert sorted(os.listdir(tmp_path)) == ["backup-..%2F..%2Fx.json", "backup.json"]
    assert {stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in os.listdir(tmp_path)} == {0o600}


@pytest.mark.parametrize(
    ("result", "code", "words"),
    [
        ({"status": "ok", "summary": "fine", "stacks": [DONE]}, 0, ""),
        ({"status": "warning", "summary": "small", "stacks": [{**DONE, "warnings": ["cut"]}]}, 1, "stackops: warning: small\n  shop: cut\n"),
        ({"status": "critical", "summary": "no", "stacks": []}, 2, "stackops: critical: no\n"),
        ({"failed": True, "msg": "no dump", "status": "ok"}, 2, "stackops: critical: no dump\n"),
        (CheckError("docker", "no engine", "Start it."), 2, "stackops: critical: docker: no engine. Start it.\n"),
        (ZeroDivisionError("oops"), 2, "stackops: critical: ZeroDivisionError: oops\n"),
    ],
    ids=["ok", "warning", "critical", "failed", "error", "exception"],
)
def test_it_says_what_is_wrong_and_nothing_else(configure, backup, tmp_path, capsys, result: t.Any, code: int, words: str) -> None:
    calls = backup(result)
    state = tmp_path / "state"
    assert main(["stackops", "backup", "--config", configure({}), "--state-directory", str(state)], "1.0.0") == code
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", words)
    assert calls[0]["action"] == "backup"
    last = json.loads((state / "backup.json").read_text())["last_run"]
    assert last["status"] == {0: "ok", 1: "warning", 2: "critical"}[code]
    if not isinstance(result, Exception) and result.get("stacks"):
        assert json.loads(pathlib.Path(state_path(str(state), "shop")).read_text())["set_id"] == SET


def test_it_says_what_was_done_when_asked(configure, backup, tmp_path, capsys) -> None:
    backup({"status": "ok", "summary": "fine", "stacks": []})
    assert main(["stackops", "verify", "--verbose", "--config", configure({}), "--state-directory", str(tmp_path / "s")], "1.0.0") == 0
    assert capsys.readouterr().out == "fine\n"


def test_a_link_is_the_command_of_its_name(configure, backup, tmp_path) -> None:
    calls = backup({"status": "ok", "summary": "fine", "stacks": []})
    assert main(["/usr/local/bin/stackops-verify", "--config", configure({}), "--state-directory", str(tmp_path / "s")], "1.0.0") == 0
    assert calls[0]["action"] == "verify"


def test_a_missing_configuration_is_told(tmp_path, capsys) -> None:
    assert main(["stackops", "backup", "--config", str(tmp_path / "none"), "--state-directory", str(tmp_path / "s")], "1.0.0") == 2
    assert "there is no such file. The role backup writes it" in capsys.readouterr().err
