# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the test bed decides without an engine."""

from __future__ import annotations

import os
import re

import pytest
from testbedlib import cli, console, engine, hosts, images


def test_every_parent_is_an_image_or_a_suite():
    for image in images.CATALOGUE.values():
        assert image.parent in images.CATALOGUE or re.fullmatch(r"debian:[a-z]+-slim", image.parent)
        assert (image.context / image.dockerfile).is_file()


def test_default_images_are_in_the_catalogue():
    assert set(images.DEFAULT) <= set(images.CATALOGUE)


@pytest.mark.parametrize("name", ["app", "app:latest", "stackops-test/app", "stackops-test/app:latest"])
def test_images_are_found_by_any_of_their_names(name):
    assert images.canonical(name) == "app:latest"


def test_unknown_image_says_which_there_are():
    with pytest.raises(KeyError, match=r"postgres:17"):
        images.canonical("postgres:14")


def _image(tmp_path, parent="debian:trixie-slim"):
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    return images.Image("sample:1", tmp_path, parent)


@pytest.fixture
def sample(tmp_path, monkeypatch):
    monkeypatch.setitem(images.CATALOGUE, "sample:1", _image(tmp_path))
    images.content_hash.cache_clear()
    yield tmp_path
    images.content_hash.cache_clear()


def _fresh_hash():
    images.content_hash.cache_clear()
    return images.content_hash("sample:1")


def test_content_decides_whether_an_image_is_current(sample, monkeypatch):
    seen = {_fresh_hash()}
    (sample / "file").write_text("one")
    seen.add(_fresh_hash())
    (sample / "file").chmod(0o755)
    seen.add(_fresh_hash())
    monkeypatch.setitem(images.CATALOGUE, "sample:1", _image(sample, "base:trixie"))
    seen.add(_fresh_hash())
    assert len(seen) == 4


def test_compiled_python_changes_no_image(sample):
    before = _fresh_hash()
    (sample / "__pycache__").mkdir()
    (sample / "__pycache__" / "a.pyc").write_text("compiled")
    assert _fresh_hash() == before


@pytest.mark.parametrize("content", ["999999999", str(os.getpid()), "", "no number"])
def test_pid_file_that_names_no_engine_is_removed(tmp_path, content):
    path = tmp_path / "docker.pid"
    path.write_text(content)
    assert not engine._is_in_use(path)
    assert not path.exists()


def test_missing_pid_file_is_no_error(tmp_path):
    assert not engine._is_in_use(tmp_path / "docker.pid")


@pytest.mark.parametrize("name", ["", "Web1", "-x", "a b", "../x", "x" * 60])
def test_host_names_that_could_be_something_else_are_refused(name):
    with pytest.raises(ValueError, match="not a host name"):
        hosts.up([name])


def test_missing_capability_and_no_engine_end_with_3(monkeypatch, capsys):
    monkeypatch.setattr(engine, "server_version", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(engine, "_missing_capabilities", lambda: ["CAP_SYS_ADMIN"])
    assert cli.main(["engine"]) == cli.EXIT_UNAVAILABLE
    assert "CAP_SYS_ADMIN" in capsys.readouterr().err


def test_without_root_it_says_what_to_do(monkeypatch, capsys):
    monkeypatch.setattr(engine, "server_version", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert cli.main(["engine"]) == cli.EXIT_UNAVAILABLE
    assert "root" in capsys.readouterr().err


def test_failed_command_shows_its_last_lines():
    with pytest.raises(console.CommandFailed, match="exit code 3\nwhy"):
        console.run(["sh", "-c", "echo why; exit 3"])


def test_command_without_an_end_is_given_up():
    with pytest.raises(console.CommandFailed, match="no end after"):
        console.run(["sleep", "5"], timeout_seconds=0.1)


def test_first_failure_of_several_is_raised(capsys):
    def fail():
        raise console.CommandFailed("this one")

    with pytest.raises(console.CommandFailed, match="this one"):
        console.side_by_side({"well": lambda: None, "bad": fail})
