# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import stat
import types
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils import _packed_module
from ansible_collections.stackops.runbook.plugins.plugin_utils._packed import UNUSABLE
from ansible_collections.stackops.runbook.plugins.plugin_utils._packed_module import KEPT, PREFIX, packed_directory, run_packed

MODULE = "port_probe"


@pytest.fixture
def run_directory(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return the directory that Ansible makes for one run."""
    directory = tmp_path / "run"
    directory.mkdir()
    return directory


def kept(home: pathlib.Path) -> list[pathlib.Path]:
    return sorted((home / "stackops.runbook").glob(f"{PREFIX}{MODULE}-*.py"))


def test_the_next_run_takes_what_the_first_has_made(tmp_path: pathlib.Path, run_directory: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    first = (packed_directory(run_directory, home, MODULE) / f"{PREFIX}{MODULE}.py").read_bytes()
    assert [path.read_bytes() for path in kept(home)] == [first]
    monkeypatch.delattr(_packed_module, "pack")
    (tmp_path / "next").mkdir()
    assert (packed_directory(tmp_path / "next", home, MODULE) / f"{PREFIX}{MODULE}.py").read_bytes() == first


def test_other_sources_are_packed_anew(tmp_path: pathlib.Path, run_directory: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed_directory(run_directory, tmp_path / "home", MODULE)
    for number in range(KEPT + 2):
        monkeypatch.setattr(_packed_module, "_digest", lambda module, number=number: f"other{number}")
        (tmp_path / str(number)).mkdir()
        packed_directory(tmp_path / str(number), tmp_path / "home", MODULE)
    assert len(kept(tmp_path / "home")) == KEPT
    assert kept(tmp_path / "home")[-1].stem.endswith(f"other{KEPT + 1}")


def test_what_somebody_else_may_have_written_is_not_run(tmp_path: pathlib.Path, run_directory: pathlib.Path) -> None:
    home = tmp_path / "home"
    packed_directory(run_directory, home, MODULE)
    path = kept(home)[0]
    path.write_text("evil = 1\n")
    path.parent.chmod(0o777)
    (tmp_path / "next").mkdir()
    packed = packed_directory(tmp_path / "next", home, MODULE) / f"{PREFIX}{MODULE}.py"
    assert "evil" not in packed.read_text()
    assert path.read_text() == "evil = 1\n"


def test_nobody_else_can_write_or_read_what_is_run(tmp_path: pathlib.Path, run_directory: pathlib.Path) -> None:
    directory = packed_directory(run_directory, tmp_path / "home", MODULE)
    for path in (directory, tmp_path / "home" / "stackops.runbook"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_home_that_cannot_be_written_to_does_no_harm(tmp_path: pathlib.Path, run_directory: pathlib.Path) -> None:
    home = tmp_path / "home"
    home.write_text("a file, in which no directory can be made")
    assert (packed_directory(run_directory, home, MODULE) / f"{PREFIX}{MODULE}.py").stat().st_size > 1000


class Action:
    """What ``run_packed`` uses of an action."""

    def __init__(self, results: list[dict[str, t.Any]], async_seconds: int = 0) -> None:
        self._task = types.SimpleNamespace(async_val=async_seconds)
        self._connection = types.SimpleNamespace(has_native_async=False)
        self.directories: list[str] = []
        self._shared_loader_obj = types.SimpleNamespace(module_loader=types.SimpleNamespace(add_directory=self.directories.append))
        self.calls: list[tuple[str, dict[str, t.Any], bool]] = []
        self._results = iter(results)

    def _execute_module(self, module_name: str, module_args: dict[str, t.Any], task_vars: t.Any, wrap_async: bool = False) -> dict[str, t.Any]:
        self.calls.append((module_name, dict(module_args), wrap_async))
        module_args["_ansible_something"] = True
        return next(self._results)


@pytest.fixture
def ansible_directories(tmp_path: pathlib.Path, run_directory: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what Ansible's configuration names somewhere else."""
    monkeypatch.setattr(_packed_module.C, "DEFAULT_LOCAL_TMP", str(run_directory), raising=False)
    monkeypatch.setattr(_packed_module.C, "ANSIBLE_HOME", str(tmp_path / "home"), raising=False)


@pytest.mark.usefixtures("ansible_directories")
def test_it_is_run_packed() -> None:
    action = Action([{"open": True}])
    assert run_packed(action, MODULE, {"port": 1}, {}) == {"open": True}
    assert action.calls == [(f"ansible.legacy.{PREFIX}{MODULE}", {"port": 1}, False)]
    assert os.listdir(action.directories[0])


@pytest.mark.usefixtures("ansible_directories")
def test_where_it_cannot_be_unpacked_the_module_is_run_as_it_is() -> None:
    action = Action([{"failed": True, UNUSABLE: True}, {"open": True}])
    assert run_packed(action, MODULE, {"port": 1}, {}) == {"open": True}
    assert action.calls[1] == (f"stackops.runbook.{MODULE}", {"port": 1}, False)


def test_in_the_background_the_module_is_run_as_it_is() -> None:
    action = Action([{"ansible_job_id": "j1"}], async_seconds=60)
    assert run_packed(action, MODULE, {"port": 1}, {}) == {"ansible_job_id": "j1"}
    assert action.calls == [(f"stackops.runbook.{MODULE}", {"port": 1}, True)]
