# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import threading
import time

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _maintenance as maintenance
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError

NOW = 1795435200.0


def test_a_window_opens_closes_and_ends_by_itself(tmp_path: pathlib.Path) -> None:
    directory = str(tmp_path / "stackops")
    assert maintenance.active(directory, NOW) == []
    backup = maintenance.open_window(directory, "backup of shop", ["shop"], [], 600, NOW)
    restore = maintenance.open_window(directory, "restore", [], ["health"], 3600, NOW)
    assert [window.id for window in maintenance.active(directory, NOW + 1)] == [backup, restore]
    assert [window.id for window in maintenance.active(directory, NOW + 600)] == [restore]
    assert maintenance.close_window(directory, restore) and not maintenance.close_window(directory, restore)
    assert maintenance.active(directory, NOW + 600) == []
    assert os.stat(os.path.join(directory, maintenance.FILE_NAME)).st_mode & 0o777 == 0o600


def test_what_a_window_covers(tmp_path: pathlib.Path) -> None:
    one = maintenance.Window("a", "", ("shop",), ("health", "errors"), NOW, NOW + 1)
    assert [one.covers(*what) for what in (("health", "shop"), ("auth", "shop"), ("health", "blog"), ("health", ""))] == [True, False, False, False]
    assert maintenance.Window("a", "", (), (), NOW, NOW + 1).covers("health", "")


def test_windows_that_are_over_leave_the_file(tmp_path: pathlib.Path) -> None:
    for number in range(3):
        maintenance.open_window(str(tmp_path), "x", [], [], 10, NOW + number * 100)
    assert len(json.loads((tmp_path / maintenance.FILE_NAME).read_text())["windows"]) == 1


@pytest.mark.parametrize("seconds", [0, -1, 8 * 86400, float("inf"), float("nan")])
def test_no_window_is_without_an_end(tmp_path: pathlib.Path, seconds: float) -> None:
    with pytest.raises(CheckError, match="cannot be opened"):
        maintenance.open_window(str(tmp_path), "x", [], [], seconds, NOW)


def test_a_window_of_the_future_silences_nothing(tmp_path: pathlib.Path) -> None:
    maintenance.open_window(str(tmp_path), "x", [], [], 600, NOW)
    assert maintenance.active(str(tmp_path), NOW - 200) and not maintenance.active(str(tmp_path), NOW - 400)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema_version": 1, "windows": [{"id": "x"}]}', b'{"schema_version": 9, "windows": []}'])
def test_a_damaged_file_silences_nothing_and_holds_nobody_up(tmp_path: pathlib.Path, content: bytes) -> None:
    (tmp_path / maintenance.FILE_NAME).write_bytes(content)
    assert maintenance.active(str(tmp_path), NOW) == []
    maintenance.open_window(str(tmp_path), "x", [], [], 600, NOW)
    assert len(maintenance.active(str(tmp_path), NOW)) == 1 and len(list(tmp_path.glob("*.damaged-*"))) == 1


def test_a_length_that_somebody_wrote_by_hand_is_bounded(tmp_path: pathlib.Path) -> None:
    window = {"id": "x", "purpose": "", "stacks": [], "checks": [], "start": NOW, "until": NOW + 1e9}
    (tmp_path / maintenance.FILE_NAME).write_text(json.dumps({"schema_version": 1, "windows": [window]}))
    assert maintenance.active(str(tmp_path), NOW + 6 * 86400) and not maintenance.active(str(tmp_path), NOW + 8 * 86400)


def test_two_at_once_lose_none(tmp_path: pathlib.Path) -> None:
    def work() -> None:
        for dummy in range(10):
            maintenance.open_window(str(tmp_path), "x", [], [], 600, NOW)

    threads = [threading.Thread(target=work) for dummy in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({window.id for window in maintenance.active(str(tmp_path), NOW)}) == 30


def test_a_window_of_a_process_ends_with_it(tmp_path: pathlib.Path) -> None:
    (tmp_path / "monitoring").mkdir()
    child = os.fork()
    if child == 0:
        with maintenance.window_while("restore of shop", ("shop",), (), 3600, str(tmp_path)):
            os.kill(os.getpid(), signal.SIGSTOP)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, os.WUNTRACED)
    (window,) = maintenance.active(str(tmp_path), time.time())
    assert (window.purpose, window.stacks, window.pid) == ("restore of shop", ("shop",), child)
    os.kill(child, signal.SIGCONT)
    os.waitpid(child, 0)
    assert maintenance.active(str(tmp_path), time.time()) == []


def test_a_window_is_closed_when_its_work_is_done_or_fails(tmp_path: pathlib.Path) -> None:
    (tmp_path / "monitoring").mkdir()
    with contextlib.suppress(KeyError), maintenance.window_while("backup", (), ("database",), 3600, str(tmp_path)):
        (window,) = maintenance.active(str(tmp_path), time.time())
        assert window.covers("database", "shop") and not window.covers("health", "shop")
        raise KeyError
    assert maintenance.active(str(tmp_path), time.time()) == []


def test_where_nobody_watches_no_window_is_written(tmp_path: pathlib.Path) -> None:
    with maintenance.window_while("backup", (), (), 3600, str(tmp_path)):
        assert list(tmp_path.iterdir()) == []
