# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs from cron through every kind of rotation: no line is lost, none is counted twice."""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import shutil
import stat
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._log_error_rate import LogOptions, analyse
from ansible_collections.stackops.runbook.plugins.module_utils._log_sources import LogSource
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NOW = 1795435200.0


class Log:
    """An application's log that is written to, rotated and read, and what the readers counted."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.path = directory / "app.log"
        self.state = directory / "state.json"
        self.written = self.counted = 0
        self.clock = NOW - 5000
        self.half = ""
        self.path.touch()

    def write(self, count: int, half: bool = False) -> None:
        with open(self.path, "a", encoding="utf-8") as handle:
            for dummy in range(count):
                line = json.dumps({"timestamp": self.clock, "level": "error", "message": f"order {self.written} failed"}) + "\n"
                handle.write(self.half + line)
                self.half = ""
                self.written += 1
                self.clock += 0.25
            if half and not self.half:
                line = json.dumps({"timestamp": self.clock, "level": "error", "message": "half"}) + "\n"
                handle.write(line[:20])
                self.half = line[20:]
                self.written += 1
        self.touch()

    def end_half(self) -> None:
        if self.half:
            with open(self.path, "a", encoding="utf-8") as handle:
                handle.write(self.half)
            self.half = ""

    def touch(self) -> None:
        os.utime(self.path, (self.clock, self.clock))

    def rotated(self) -> list[pathlib.Path]:
        return sorted(self.path.parent.glob("app.log.*"), key=lambda path: int(path.name.split(".")[2]), reverse=True)

    def _shift(self) -> None:
        for path in self.rotated():
            parts = path.name.split(".")
            parts[2] = str(int(parts[2]) + 1)
            path.rename(path.with_name(".".join(parts)))

    def rotate(self, how: str) -> None:
        self.end_half()
        self._shift()
        first = self.path.with_name("app.log.1")
        if how == "copytruncate":
            shutil.copy2(self.path, first)
            os.truncate(self.path, 0)
        else:
            self.path.rename(first)
            self.path.touch()
        if how == "compress":
            packed = first.with_name("app.log.1.gz")
            packed.write_bytes(gzip.compress(first.read_bytes()))
            shutil.copystat(first, packed)
            first.unlink()
        self.clock += 1
        self.touch()

    def read(self, check_mode: bool = False) -> int:
        options = LogOptions(whole=True, state_file=str(self.state), check_mode=check_mode, baseline=False)
        logs, dummy = analyse([LogSource("app", "file", str(self.path))], None, options, now=NOW)
        found = int(logs["sources"][0]["errors"])
        if not check_mode:
            self.counted += found
        return found


steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 40)),
        st.tuples(st.just("half"), st.integers(1, 5)),
        st.tuples(st.sampled_from(("rename", "copytruncate", "compress")), st.just(0)),
        st.tuples(st.just("read"), st.just(0)),
        st.tuples(st.just("look"), st.just(0)),
    ),
    min_size=4,
    max_size=25,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_no_line_is_lost_or_doubled(tmp_path_factory: pytest.TempPathFactory, script: list[tuple[str, int]]) -> None:
    log = Log(tmp_path_factory.mktemp("rotation"))
    log.write(3)
    log.read()
    for step, count in script:
        if step in ("write", "half"):
            log.write(count, half=step == "half")
        elif step == "read":
            log.read()
        elif step == "look":
            log.read(check_mode=True)
        elif os.path.getsize(log.path) > 0:
            log.rotate(step)
    log.end_half()
    log.touch()
    log.read()
    assert log.counted == log.written
    assert log.read() == 0


def test_state_file_is_private_whole_and_not_moved_in_check_mode(tmp_path: pathlib.Path) -> None:
    log = Log(tmp_path)
    log.write(5)
    assert log.read(check_mode=True) == 5 and not log.state.exists()
    assert log.read() == 5
    assert stat.S_IMODE(log.state.stat().st_mode) == 0o600
    before = log.state.read_bytes()
    log.write(2)
    assert log.read(check_mode=True) == 2 and log.state.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_another_file_with_the_same_inode_is_new(tmp_path: pathlib.Path) -> None:
    log = Log(tmp_path)
    log.write(10)
    log.read()
    content = log.path.read_bytes().replace(b"order", b"other")
    with open(log.path, "r+b") as handle:
        handle.write(content)
    assert log.read() == 10


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 9}', '{"version": 1, "saved_at": 1, "sources": {"app": {}}}'])
def test_a_damaged_state_is_said_and_written_anew(tmp_path: pathlib.Path, content: str) -> None:
    log = Log(tmp_path)
    log.write(5)
    log.state.write_text(content, encoding="utf-8")
    options = LogOptions(whole=True, state_file=str(log.state))
    logs, dummy = analyse([LogSource("app", "file", str(log.path))], None, options, now=NOW)
    assert logs["sources"][0]["errors"] == 5
    assert "state" in logs["errors"][0]["reason"]
    assert log.read() == 0


def test_a_state_that_cannot_be_written_is_said(tmp_path: pathlib.Path) -> None:
    log = Log(tmp_path)
    log.write(5)
    (tmp_path / "file").write_text("", encoding="utf-8")
    options = LogOptions(whole=True, state_file=str(tmp_path / "file" / "state.json"))
    logs, dummy = analyse([LogSource("app", "file", str(log.path))], None, options, now=NOW)
    assert logs["sources"][0]["errors"] == 5 and "could not be written" in logs["errors"][-1]["reason"]


def docker(text: str) -> str:
    return json.dumps({"log": text, "stream": "stdout", "time": "2026-11-23T11:00:00.1Z"}, separators=(",", ":")) + "\n"


def test_a_split_line_is_read_when_it_is_whole(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x-json.log"
    sources = [LogSource("x", "container", str(path))]
    options = LogOptions(whole=True, state_file=str(tmp_path / "state"))

    def errors() -> t.Any:
        return analyse(sources, None, options, now=NOW)[0]["sources"][0]["errors"]

    path.write_text(docker("ERROR:    one\n") + docker("ERROR:    tw"), encoding="utf-8")
    assert errors() == 1
    with open(path, "a", encoding="utf-8") as handle:
        handle.write(docker("o\n") + docker("INFO:     three\n"))
    assert errors() == 1
    assert errors() == 0
