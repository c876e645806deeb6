# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _restore_volumes as volumes
from ansible_collections.stackops.runbook.plugins.module_utils._archives import write_archive
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError

ID, BACK = "0123abcd", "4567cdef"


def content(directory: pathlib.Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def volume(tmp_path: pathlib.Path) -> volumes.Volume:
    """A volume that was backed up and has changed since."""
    data = tmp_path / "shop_uploads" / "_data"
    (data / "a").mkdir(parents=True)
    (data / "a/one.txt").write_text("one")
    (data / "link").symlink_to("/elsewhere/in/the/container")
    data.chmod(0o2770)
    archive = tmp_path / "uploads.tar.gz"
    write_archive(str(archive), [(str(data), "uploads")])
    (data / "a/one.txt").write_text("changed")
    (data / "two.txt").write_text("two")
    return volumes.Volume("uploads", str(data), str(archive), ("c1",))


NEW, OLD = {"a/one.txt": "one"}, {"a/one.txt": "changed", "two.txt": "two"}


def test_there_and_back_and_gone(volume: volumes.Volume) -> None:
    path = pathlib.Path(volume.path)
    record = volumes.record_of(volume, ID)
    assert volumes.stage(volume, record) == 2
    assert content(path) == OLD
    volumes.swap_in([record])
    volumes.remove_stages([record], ID)
    assert content(path) == NEW
    assert os.readlink(path / "link") == "/elsewhere/in/the/container"
    assert path.stat().st_mode & 0o7777 == 0o2770
    back = volumes.record_back(record, BACK)
    volumes.swap_in([back])
    assert content(path) == OLD
    volumes.swap_back([back])
    assert content(path) == NEW
    volumes.swap_in([back])
    assert volumes.remove_kept([record], ID) == []
    assert volumes.remove_kept([back], BACK) == ["uploads"]
    assert content(path) == OLD
    assert os.listdir(path.parent) == ["_data"]
    with pytest.raises(CheckError, match="not there any more"):
        volumes.record_back(record, "89ab0000")


def test_whichever_rename_was_the_last_the_old_content_comes_back(volume: volumes.Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted on the way in, and interrupted again on the way back."""
    path = pathlib.Path(volume.path)
    rename = os.rename

    def killed_after(count: int, function: t.Callable[[t.Any], None], records: t.Any) -> None:
        left = count

        def counted(source: str, target: str) -> None:
            nonlocal left
            if not left:
                raise KeyboardInterrupt
            left -= 1
            rename(source, target)

        monkeypatch.setattr(os, "rename", counted)
        try:
            function(records)
        except KeyboardInterrupt:
            pass
        finally:
            monkeypatch.setattr(os, "rename", rename)

    for steps_in in range(3):
        for steps_back in range(3):
            record = volumes.record_of(volume, ID)
            volumes.stage(volume, record)
            killed_after(steps_in, volumes.swap_in, [record])
            killed_after(steps_back, volumes.swap_back, [record])
            volumes.swap_back([record])
            volumes.swap_back([record])
            volumes.remove_stages([record], ID)
            assert content(path) == OLD
            assert os.listdir(path.parent) == ["_data"]
