# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import tarfile
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._restore_files import put_files, put_logs, remove_stages, take_files_back

FILES = {"docker-compose.yml": "services: {}\n", ".env": "A=old\n", "conf/app.ini": "[app]\n"}


@pytest.fixture
def archive(tmp_path: pathlib.Path) -> str:
    source = tmp_path / "source"
    for name, text in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
        (source / name).chmod(0o600)
    path = tmp_path / "config.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        for name in FILES:
            file.add(source / name, name)
    return str(path)


def content(directory: pathlib.Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


def test_files_get_their_places_and_what_differs_is_kept(archive: str, tmp_path: pathlib.Path) -> None:
    into = tmp_path / "stack"
    into.mkdir()
    before = {".env": "A=new\n", "docker-compose.yml": FILES["docker-compose.yml"], "other": "stays"}
    for name, text in before.items():
        (into / name).write_text(text)
    recorded: list[t.Any] = []

    def record(renames: list[dict[str, t.Any]]) -> None:
        # Before the first rename, or else nobody could take it back.
        assert content(into)[".env"] == "A=new\n"
        recorded.extend(renames)

    written = put_files(archive, str(into), "0123abcd", record)
    assert sorted(written) == sorted(str(into / name) for name in (".env", "conf/app.ini"))
    assert content(into) == {**FILES, "other": "stays", ".env.before-0123abcd": "A=new\n"}
    take_files_back(recorded)
    assert content(into) == before
    take_files_back(recorded)
    assert content(into) == before


def test_an_interrupted_put_is_taken_back(archive: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of the renames were done."""
    import os

    real, recorded, left = os.replace, [], [0]

    def replace(source: str, target: str) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        real(source, target)

    for done in range(6):
        into = tmp_path / f"stack{done}"
        into.mkdir()
        (into / ".env").write_text("A=new\n")
        recorded.clear()
        left[0] = done
        monkeypatch.setattr(os, "replace", replace)
        try:
            put_files(archive, str(into), "0123abcd", recorded.extend)
        except KeyboardInterrupt:
            pass
        monkeypatch.setattr(os, "replace", real)
        take_files_back(recorded)
        assert content(into) == {".env": "A=new\n"}, done


def test_what_a_killed_run_has_extracted_is_removed(tmp_path: pathlib.Path) -> None:
    for name in (".restore-0123abcd-x7_2", ".restore-fedcba98-x7_2", ".restore-mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".env").write_text("A=secret\n")
    (tmp_path / ".restore-0123abcd-link").symlink_to(tmp_path / ".restore-mine")
    remove_stages(str(tmp_path), "0123abcd")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".restore-0123abcd-link", ".restore-fedcba98-x7_2", ".restore-mine"]
    assert (tmp_path / ".restore-mine" / ".env").exists()
    remove_stages(str(tmp_path / "none"), "0123abcd")


def test_no_link_is_written_through(archive: str, tmp_path: pathlib.Path) -> None:
    into, elsewhere = tmp_path / "stack", tmp_path / "elsewhere"
    into.mkdir()
    elsewhere.mkdir()
    (into / "conf").symlink_to(elsewhere)
    with pytest.raises(CheckError, match="is a link"):
        put_files(archive, str(into), "0123abcd", lambda dummy: None)
    assert not list(elsewhere.iterdir())


def test_logs_go_to_a_directory_of_their_own(archive: str, tmp_path: pathlib.Path) -> None:
    into = tmp_path / "stack" / "restored-logs-0123abcd"
    assert put_logs(archive, str(into), "0123abcd") == str(into)
    assert content(into) == FILES
    assert [path.name for path in into.parent.iterdir()] == [into.name]
