# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is written down of a debug mode, and how one ends whose project is gone."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import stat

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _debug_mode as debug
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._host_program import main

ORIGINAL = b"POSTGRES_PASSWORD=c4n4ry-value-91\nDEBUG=false # for now\n"


@pytest.fixture
def records(tmp_path):
    return debug.Records(str(tmp_path / "state"), str(tmp_path / "cron"))


@pytest.fixture
def record(tmp_path):
    env_file = tmp_path / ".env"
    on = ORIGINAL.decode().replace("DEBUG=false # for now", "DEBUG=true")
    env_file.write_text(on)
    return debug.Record(
        "shop-that-is-not-there", str(env_file), ORIGINAL, hashlib.sha256(on.encode()).hexdigest(), {"DEBUG": "DEBUG=false # for now\n"}, {"DEBUG": "true"},
        ("api",), 1000.0, audit_log=str(tmp_path / "log" / "audit.jsonl"),
    )  # fmt: skip


def keep(records, record):
    with records.lock():
        records.keep(record)


def test_a_record_comes_back_and_only_its_owner_may_read_it(records, record):
    keep(records, record)
    assert records.find(record.project) == record
    assert records.projects() == [record.project]
    (path,) = [one for one in os.listdir(records.directory) if one.endswith(".json")]
    assert stat.S_IMODE(os.stat(f"{records.directory}/{path}").st_mode) == 0o600
    assert stat.S_IMODE(os.stat(records.directory).st_mode) == 0o700
    assert "c4n4ry" not in pathlib.Path(records.cron_file).read_text()


def test_cron_looks_after_it_as_long_as_there_is_one(records, record):
    keep(records, record)
    assert "* * * * * root /usr/local/sbin/stackops debug end --due" in pathlib.Path(records.cron_file).read_text()
    with records.lock():
        records.forget(record.project)
    assert not os.path.exists(records.cron_file)
    assert records.find(record.project) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema_version": 99}'])
def test_a_damaged_record_is_said_and_not_guessed(records, record, content):
    keep(records, record)
    with open(f"{records.directory}/{record.project}.json", "w") as file:
        file.write(content)
    with pytest.raises(CheckError, match="damaged"):
        records.find(record.project)
    (result,) = debug.end_due(records, 2000.0)
    assert result["failed"]


def test_it_ends_when_its_time_is_over_and_not_before(records, record):
    keep(records, record)
    assert debug.end_due(records, 999.0) == []
    assert b"DEBUG=true" in pathlib.Path(record.env_file).read_bytes()


def test_the_diff_has_no_other_values(record):
    shown = debug.diff_of(record.env_file, ORIGINAL.decode(), pathlib.Path(record.env_file).read_text(), ("DEBUG",)).as_dict()
    assert "c4n4ry" not in json.dumps(shown)
    assert (shown["before"], shown["after"]) == ("DEBUG=false\n", "DEBUG=true\n")


def test_the_file_keeps_its_mode(record):
    os.chmod(record.env_file, 0o640)
    debug.replace_text(record.env_file, "A=1\n")
    assert stat.S_IMODE(os.stat(record.env_file).st_mode) == 0o640


def test_a_link_stays_one(record, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(record.env_file)
    debug.replace_text(str(link), "A=1\n")
    assert link.is_symlink()
    assert pathlib.Path(record.env_file).read_text() == "A=1\n"


def test_the_program_lists_them(records, record, capsys):
    keep(records, record)
    state = os.path.dirname(records.directory)
    assert main(["stackops", "debug", "--state-directory", state, "list"], "1.0.0") == 0
    assert "shop-that-is-not-there until 1970-01-01T00:16:40Z: api by" in capsys.readouterr().out
