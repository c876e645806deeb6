# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``stackops cleanup`` as cron and people call it. What may go at all: test__log_cleanup.py."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import stat
import time
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import EXIT_CODES
from ansible_collections.stackops.runbook.plugins.module_utils._guarded_files import lock_file, unlock_file
from ansible_collections.stackops.runbook.plugins.module_utils._host_cleanup import add_commands, run
from ansible_collections.stackops.runbook.tests.support.compose_engine import container, running_engine

DAY = 86400.0


class Host:
    """A host with a configuration, a state directory and a directory of logs."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.logs = directory / "shop" / "logs"
        self.logs.mkdir(parents=True)
        self.state = directory / "state"
        self.config = directory / "monitoring.json"
        self.report = self.state / "monitoring" / "cleanup.json"
        self.configure(cleanup={"directories": [str(self.logs)]})

    def configure(self, **options: t.Any) -> None:
        self.config.write_text(json.dumps({"schema_version": 1, "options": options}))
        self.config.chmod(0o600)

    def put(self, name: str, days: float) -> pathlib.Path:
        path = self.logs / name
        path.write_text("a line\n")
        written = time.time() - days * DAY
        os.utime(path, (written, written))
        return path

    def cleanup(self, *words: str) -> int:
        parser = argparse.ArgumentParser()
        add_commands(parser.add_subparsers(), "/nowhere/stackops")
        return run(parser.parse_args(["cleanup", "--config", str(self.config), "--state-directory", str(self.state), *words]))


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Host:
    return Host(tmp_path)


def test_old_logs_go_and_what_went_is_said_and_left_as_a_report(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    old, young = host.put("old.log", 10), host.put("young.log", 1)
    assert host.cleanup() == 0
    assert not old.exists() and young.exists()
    out, err = capsys.readouterr()
    assert out.splitlines() == ["1 log files removed (7 bytes)", f"  {old} (7 bytes, 10.0 days)"] and not err
    report = json.loads(host.report.read_text())
    assert report["at"].endswith("Z") and [row["path"] for row in report["removed"]] == [str(old)] and report["status"] == "ok"
    assert stat.S_IMODE(host.report.parent.stat().st_mode) == 0o700
    # Nothing of the first run is in the way of the next one.
    assert host.cleanup() == 0 and json.loads(host.report.read_text())["removed"] == []


def test_a_dry_run_removes_nothing_and_leaves_no_report(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    old = host.put("old.log", 10)
    assert host.cleanup("--dry-run") == 0
    assert "1 log files would be removed" in capsys.readouterr().out
    assert old.exists() and not host.state.exists()


def test_json_is_the_whole_envelope(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    old = host.put("old.log", 10)
    assert host.cleanup("--json", "--dry-run") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["dry_run"] and facts["directories"] == [str(host.logs)] and facts["removed"][0]["path"] == str(old)


def test_cron_hears_nothing_where_nothing_is_wrong(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    old = host.put("old.log", 10)
    assert host.cleanup("--scheduled") == 0
    assert capsys.readouterr() == ("", "") and not old.exists()


def test_a_log_that_a_process_writes_to_is_kept_with_the_reason(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    old = host.put("old.log", 10)
    with old.open(encoding="utf-8"):
        assert host.cleanup() == 0
    assert old.exists() and capsys.readouterr().out.splitlines()[1:] == [f"  kept {old}: open in a process"]


def test_a_directory_that_is_not_there_is_told_even_to_cron(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    missing = host.logs / "gone" / "logs"
    host.configure(cleanup={"directories": [str(missing)]})
    assert host.cleanup("--scheduled") == EXIT_CODES["unknown"] != 0
    out, err = capsys.readouterr()
    assert not out and err.startswith(f"stackops: {missing}: No such file or directory. Look with: ls -ld")
    assert json.loads(host.report.read_text())["status"] == "unknown"


@pytest.mark.parametrize(("option", "words"), [({"max_age_days": 0}, "max_age_days must be"), ({"patterns": ["*"]}, "must name log files")])
def test_an_option_that_makes_no_sense_removes_nothing(host: Host, capsys: pytest.CaptureFixture[str], option: dict[str, t.Any], words: str) -> None:
    old = host.put("old.log", 10)
    host.configure(cleanup={"directories": [str(host.logs)], **option})
    assert host.cleanup() == EXIT_CODES["unknown"]
    err = capsys.readouterr().err
    assert words in err and "Correct monitoring_cleanup" in err and old.exists() and not host.report.exists()


def test_a_configuration_that_is_not_there_is_told(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.config.unlink()
    assert host.cleanup("--scheduled") == EXIT_CODES["unknown"]
    assert str(host.config) in capsys.readouterr().err


def test_two_runs_do_not_clean_at_the_same_time(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    old = host.put("old.log", 10)
    assert host.cleanup("--dry-run") == 0
    host.report.parent.mkdir(parents=True)
    capsys.readouterr()
    lock = lock_file(f"{host.report}.lock", 0, {"pid": os.getpid(), "purpose": "cleanup", "since": "2026-11-23T12:00:00Z"})
    try:
        assert host.cleanup() == EXIT_CODES["unknown"]
    finally:
        unlock_file(lock)
    assert str(os.getpid()) in capsys.readouterr().err and old.exists()
    assert host.cleanup() == 0 and not old.exists()


def test_directories_are_those_of_the_stacks_that_hold_only_logs(host: Host, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("docker", reason="the Docker SDK for Python is not installed")
    old = host.put("old.log", 10)
    mixed = tmp_path / "shop" / "data"
    mixed.mkdir()
    (mixed / "old.log").write_text("a line\n")
    (mixed / "orders.sqlite").write_text("data")
    os.utime(mixed / "old.log", (1.0, 1.0))
    mounts = [{"Type": "bind", "Source": str(path), "Destination": f"/app/{path.name}", "RW": True} for path in (host.logs, mixed)]
    with running_engine(tmp_path, container("api", Mounts=mounts)) as engine:
        host.configure(docker_host=engine.docker_host)
        assert host.cleanup("--json") == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["directories"] == [str(host.logs)] and not old.exists() and (mixed / "old.log").exists()


def test_what_the_engine_keeps_at_a_place_of_its_own_stays(host: Host, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("docker", reason="the Docker SDK for Python is not installed")
    old = host.put("old.log", 10)
    mount = {"Type": "bind", "Source": str(host.logs), "Destination": "/app/logs", "RW": True}
    with running_engine(tmp_path, container("api", Mounts=[mount])) as engine:
        engine.info = {"DockerRootDir": str(host.logs.parent)}
        host.configure(docker_host=engine.docker_host)
        assert host.cleanup() == EXIT_CODES["unknown"]
    assert "belongs to the container engine" in capsys.readouterr().err and old.exists()


def test_without_an_engine_and_without_directories_nothing_is_cleaned(host: Host, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    host.configure(docker_host=f"unix://{tmp_path}/none.sock")
    assert host.cleanup() == EXIT_CODES["unknown"]
    assert "no such socket" in capsys.readouterr().err and not host.report.exists()
