# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of a log: what belongs together, where a moment is, and lines through every kind of rotation."""

from __future__ import annotations

import gzip
import os
import pathlib
import random
import shutil
import subprocess

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _log_files as files
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from hypothesis import given, settings
from hypothesis import strategies as st


class Lines:
    """Keeps the lines it is handed."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def block(self, data: bytes, start: int, end: int) -> None:
        assert data[start : start + 1] == b"\n"
        self.lines.extend(data[start + 1 : end].split(b"\n"))

    def line(self, line: bytes) -> None:
        self.lines.append(line)


def time_of(line: bytes) -> float | None:
    head = line.split(b" ", 1)[0]
    return float(head) if head.isdigit() else None


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line and not line.startswith(b"\0"))), st.integers(1, 40), st.booleans())
def test_every_line_is_handed_over_once_and_in_order(lines: list[bytes], size: int, ended: bool) -> None:
    data = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    taker = Lines()
    held = files.feed((data[start : start + size] for start in range(0, len(data), size)), taker)
    assert [line for line in taker.lines if line] == [line for line in data.split(b"\n") if line]
    assert held == len(data.rpartition(b"\n")[2])


def test_a_line_without_end_can_be_left_for_later() -> None:
    taker = Lines()
    assert files.feed([b"one\ntw", b"o"], taker, last_line=False) == 3
    assert taker.lines == [b"one"]


def test_long_lines_and_runs_of_nul_are_not_kept() -> None:
    taker = Lines()
    piece = b"x" * (1 << 17)
    files.feed([b"\0" * (1 << 17)] * 40 + [b"first\nlong"] + [piece] * 40 + [b"\nlast\n"], taker)
    assert [line[:5] for line in taker.lines] == [b"first", b"longx", b"last"]
    assert max(map(len, taker.lines)) == files.KEPT_OF_LONG_LINE


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from((10, 3000)), st.booleans(), st.integers(-10, 20_000))
def test_seeking_misses_no_line(tmp_path_factory: pytest.TempPathFactory, seed: int, width: int, untimed: bool, wanted: int) -> None:
    dice = random.Random(seed)
    moment, lines = 1000, []
    for number in range(600):
        moment += dice.randrange(0, 40)
        lines.append(f"{moment} {'x' * dice.randrange(width)}")
        if untimed and number % 3 == 0:
            lines.extend(["  going on"] * dice.randrange(4))
    path = tmp_path_factory.mktemp("log") / "app.log"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    entry = files.stat_file(str(path))
    assert entry is not None
    with files.Source(entry) as source:
        assert files.is_ordered(source, entry.size, time_of)
        offset = files.seek(source, wanted, entry.size, time_of)
        data = path.read_bytes()
        assert offset == 0 or data[offset - 1 : offset] == b"\n"
        before = [time_of(line) for line in data[:offset].split(b"\n")]
        assert all(found is None or found < wanted for found in before)
        after = [found for found in (time_of(line) for line in data[offset : offset + 200_000].split(b"\n")) if found is not None]
        if offset and wanted <= moment:
            assert after and after[0] < wanted + 40 * 600


def test_disorder_is_seen(tmp_path: pathlib.Path) -> None:
    lines = [f"{number} x" for number in range(1000, 40_000)]
    random.Random(1).shuffle(lines)
    path = tmp_path / "app.log"
    path.write_text("\n".join(lines), encoding="utf-8")
    entry = files.stat_file(str(path))
    assert entry is not None
    with files.Source(entry) as source:
        assert not files.is_ordered(source, entry.size, time_of)


@pytest.mark.parametrize(("name", "base"), [
    ("app.log", "app.log"), ("app.log.1", "app.log"), ("app.log.2.gz", "app.log"), ("app.log.12.zst", "app.log"), ("app.log-20261122", "app.log"),
    ("app.log-20261122.gz", "app.log"), ("app.log.2026-11-22", "app.log"), ("app-20261122.log", "app.log"), ("app.2026-11-22_10-00-00_123456.log", "app.log"),
    ("abc123-json.log", "abc123-json.log"), ("abc123-json.log.1", "abc123-json.log"), ("worker-1.log", "worker-1.log"), ("access.log.gz", "access.log"),
    ("v2.log", "v2.log"), ("error_log", "error_log"),
])  # fmt: skip
def test_base_of(name: str, base: str) -> None:
    assert files.base_of("/logs/" + name) == "/logs/" + base


def test_numbered_logs_that_are_no_rotation_stay_apart(tmp_path: pathlib.Path) -> None:
    for name in ("worker-1.log", "worker-2.log", "app.log", "app.log.1"):
        (tmp_path / name).write_text("x\n", encoding="utf-8")
    found, errors = files.expand([str(tmp_path)])
    assert [os.path.basename(path) for path in found] == ["app.log", "worker-1.log", "worker-2.log"] and not errors
    assert [os.path.basename(entry.path) for entry in files.files_of(str(tmp_path / "worker-1.log"))] == ["worker-1.log"]


def test_rotated_files_come_oldest_first(tmp_path: pathlib.Path) -> None:
    for age, name in enumerate(("app.log", "app.log.1", "app.log.2.gz", "app.log.10.gz", "application.log", "app.log.bak~")):
        (tmp_path / name).write_bytes(b"x\n")
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    assert [os.path.basename(entry.path) for entry in files.files_of(str(tmp_path / "app.log"))] == ["app.log.10.gz", "app.log.2.gz", "app.log.1", "app.log"]


def test_paths_globs_and_directories(tmp_path: pathlib.Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("app.log", "app.log.1", "deep/other.log", "deep/er/third.log", "deep/readme.txt"):
        (tmp_path / name).write_text("x\n", encoding="utf-8")
    (tmp_path / "deep" / "er" / "too").mkdir()
    (tmp_path / "deep" / "er" / "too" / "deep.log").write_text("x\n", encoding="utf-8")
    names = ["app.log", "deep/er/third.log", "deep/other.log"]
    assert [os.path.relpath(path, tmp_path) for path in files.expand([str(tmp_path)])[0]] == names
    assert [os.path.relpath(path, tmp_path) for path in files.expand([str(tmp_path / "*.log*")])[0]] == ["app.log"]
    found, errors = files.expand([str(tmp_path / "*.nothing")])
    assert not found and errors[0].code == "missing"


def test_what_cannot_be_opened_says_why(tmp_path: pathlib.Path) -> None:
    with pytest.raises(CheckError) as caught:
        files.files_of(str(tmp_path / "nothing.log"))
    assert caught.value.code == "missing"
    entry = files.LogFile(str(tmp_path / "gone.log"), 1, 0, 0, 0)
    with pytest.raises(CheckError) as caught:
        files.Source(entry)
    assert caught.value.code == "missing" and caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_without_permission(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("x\n", encoding="utf-8")
    path.chmod(0)
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            files.Source(files.LogFile(str(path), 1, 0, 0, 0))
        except CheckError as error:
            os._exit(7 if error.code == "permission-denied" else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.parametrize("ending", ["gz", "zst", "bz2", "xz"])
def test_compressed_files_are_read(tmp_path: pathlib.Path, ending: str) -> None:
    data = "".join(f"{number} line\n" for number in range(50_000)).encode()
    path = tmp_path / f"app.log.1.{ending}"
    if ending == "zst":
        if shutil.which("zstd") is None:
            pytest.skip("zstd is not installed")
        path.write_bytes(subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout)
    elif ending == "gz":
        path.write_bytes(gzip.compress(data))
    else:
        import bz2
        import lzma

        path.write_bytes(bz2.compress(data) if ending == "bz2" else lzma.compress(data))
    entry = files.stat_file(str(path))
    assert entry is not None and entry.compressed
    with files.Source(entry) as source:
        assert b"".join(source.pieces()) == data
    with files.Source(entry) as source:
        assert b"".join(source.pieces(100, 300_000)) == data[100:300_000]


def test_zst_without_the_tool_is_said(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "app.log.1.zst"
    path.write_bytes(b"x")
    monkeypatch.setenv("PATH", str(tmp_path))
    entry = files.stat_file(str(path))
    assert entry is not None
    with pytest.raises(CheckError) as caught:
        files.Source(entry)
    assert "zstd" in caught.value.hint


def test_a_damaged_archive_is_said_and_the_rest_kept(tmp_path: pathlib.Path) -> None:
    data = gzip.compress(os.urandom(400_000))
    path = tmp_path / "app.log.1.gz"
    path.write_bytes(data[: len(data) // 2])
    entry = files.stat_file(str(path))
    assert entry is not None
    found: list[bytes] = []

    def read() -> None:
        with files.Source(entry) as source:
            found.extend(source.pieces())

    with pytest.raises(CheckError) as caught:
        read()
    assert caught.value.code == "unparsable" and found
