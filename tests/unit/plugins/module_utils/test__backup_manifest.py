# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import hashlib
import os
import pathlib
import subprocess

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._backup_manifest import (
    check_intact,
    file_entry,
    hash_files,
    seal_files,
    still_good,
    sums_text,
)
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError


def make_files(top: pathlib.Path) -> list[str]:
    (top / "databases").mkdir()
    for number in range(20):
        (top / "databases" / f"{number}.dat").write_bytes(os.urandom(1000 * number))
    return sorted(f"databases/{number}.dat" for number in range(20))


def test_hashes_that_were_taken_ahead_are_those_of_the_files(tmp_path: pathlib.Path) -> None:
    paths = make_files(tmp_path)
    good = still_good(str(tmp_path), hash_files(str(tmp_path), paths))
    assert good == {path: hashlib.sha256((tmp_path / path).read_bytes()).hexdigest() for path in paths}
    assert [entry["sha256"] for entry in seal_files(str(tmp_path), paths, good)] == [good[path] for path in paths]


def test_a_hash_is_forgotten_where_the_file_was_written_to_replaced_or_removed_since(tmp_path: pathlib.Path) -> None:
    paths = make_files(tmp_path)
    hashed = hash_files(str(tmp_path), paths)
    with open(tmp_path / paths[0], "ab") as file:
        file.write(b"more")
    # The same size, and content that differs in nothing but a moment.
    os.utime(tmp_path / paths[1], ns=(0, 1))
    os.unlink(tmp_path / paths[2])
    good = still_good(str(tmp_path), hashed)
    assert sorted(good) == paths[3:]
    left = [path for path in paths if path != paths[2]]
    sums = {entry["path"]: entry["sha256"] for entry in seal_files(str(tmp_path), left, good)}
    assert sums == {path: hashlib.sha256((tmp_path / path).read_bytes()).hexdigest() for path in left}


def _read_from_disk() -> int:
    """Return how many bytes this process has had from disks so far."""
    with open("/proc/self/io", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("read_bytes:"))


def test_what_was_just_written_is_read_from_the_disk(tmp_path: pathlib.Path) -> None:
    kind = subprocess.run(["stat", "--file-system", "--format=%T", str(tmp_path)], check=True, capture_output=True, text=True).stdout.strip()
    if kind not in ("ext2/ext3", "xfs", "btrfs"):
        pytest.skip(f"{kind} may keep what it is told to forget")
    size = 4 << 20
    (tmp_path / "1.dat").write_bytes(os.urandom(size))
    before = _read_from_disk()
    hashed = hash_files(str(tmp_path), ["1.dat"])
    assert _read_from_disk() - before >= size
    # It is in the memory again, and comes from the disk once more where a set is looked at.
    entries = [{**file_entry("1.dat", size), "sha256": hashed["1.dat"].sha256}]
    (tmp_path / "SHA256SUMS").write_bytes(sums_text(entries))
    before = _read_from_disk()
    assert check_intact(str(tmp_path), {"files": entries}) == []
    assert _read_from_disk() - before >= size


def test_the_mode_and_owner_that_publishing_gives_make_no_hash_bad(tmp_path: pathlib.Path) -> None:
    paths = make_files(tmp_path)
    hashed = hash_files(str(tmp_path), paths)
    for path in paths:
        os.chmod(tmp_path / path, 0o644)
    assert len(still_good(str(tmp_path), hashed)) == len(paths)


def test_a_disk_that_is_full_when_it_comes_to_writing_is_told_as_such(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    paths = make_files(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckError, match="no space left") as caught:
        hash_files(str(tmp_path), paths)
    assert caught.value.code == "no-space"
