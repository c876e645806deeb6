# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ast
import os
import pathlib
import subprocess
import sys
import zipfile

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils._zipapp import build, read_sources


@pytest.fixture
def program(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return the program as it is on a host."""
    path = tmp_path / "stackops"
    path.write_bytes(build(read_sources(), "1.2.3", sys.executable))
    path.chmod(0o755)
    return path


def test_equal_sources_make_equal_bytes() -> None:
    sources = read_sources()
    assert build(sources, "1.2.3") == build(dict(reversed(sources.items())), "1.2.3")
    assert build(sources, "1.2.3") != build(sources, "1.2.4")
    assert build(sources, "1.2.3") != build({**sources, "_files.py": b""}, "1.2.3")


def test_nothing_in_it_depends_on_when_or_where_it_was_made(program: pathlib.Path) -> None:
    with zipfile.ZipFile(program) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {(entry.date_time, entry.compress_type, entry.create_system, entry.external_attr) for entry in entries} == {
        ((1980, 1, 1, 0, 0, 0), zipfile.ZIP_STORED, 3, 0o100644 << 16)
    }


def test_all_of_it_is_python_3_9(program: pathlib.Path) -> None:
    with zipfile.ZipFile(program) as archive:
        for name in archive.namelist():
            ast.parse(archive.read(name), name, feature_version=(3, 9))


@pytest.mark.parametrize("flags", [[], ["-S", "-E"], ["-I", "-S"]], ids=" ".join)
def test_it_runs_with_nothing_but_the_standard_library(program: pathlib.Path, flags: list[str], tmp_path: pathlib.Path) -> None:
    command = [sys.executable, *flags, str(program), "--version"]
    result = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, timeout=30, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "stackops 1.2.3\n", "")


def test_it_runs_by_its_name_and_takes_nothing_from_where_it_is_called(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "argparse.py").write_text("raise SystemExit('wrong argparse')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run([str(program), "backup", "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 0, result.stderr
    assert "/etc/stackops/backup.json" in result.stdout


def installed(tmp_path: pathlib.Path, version: str = "1.2.3", mode: int = 0o755) -> tuple[pathlib.Path, pathlib.Path]:
    """Return the program, and the directory where it may unpack itself."""
    code = tmp_path / "code"
    code.mkdir(exist_ok=True)
    code.chmod(mode)
    path = tmp_path / "stackops"
    path.write_bytes(build(read_sources(), version, sys.executable, str(code)))
    path.chmod(0o755)
    return path, code


def version_of(program: pathlib.Path) -> str:
    return subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's program unpacks itself")
def test_it_unpacks_itself_once_and_keeps_bytecode(tmp_path: pathlib.Path) -> None:
    program, code = installed(tmp_path)
    assert {version_of(program) for dummy in range(3)} == {"stackops 1.2.3\n"}
    (place,) = code.iterdir()
    assert place.name.endswith(f"-{sys.implementation.cache_tag}")
    assert list((place / "stackops_runbook" / "__pycache__").glob("_host_program.*.pyc"))
    marker = place / "stackops_runbook" / "_host_program.py"
    marker.write_text("def main(argv, version):\n    print('unpacked')\n")
    assert version_of(program) == "unpacked\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's program unpacks itself")
def test_another_build_takes_the_place_of_the_one_before(tmp_path: pathlib.Path) -> None:
    program, code = installed(tmp_path)
    version_of(program)
    (before,) = code.iterdir()
    program.write_bytes(build({**read_sources(), "_extra.py": b"X = 1\n"}, "1.2.4", sys.executable, str(code)))
    assert version_of(program) == "stackops 1.2.4\n"
    (after,) = code.iterdir()
    assert after != before and (after / "stackops_runbook" / "_extra.py").exists()


@pytest.mark.parametrize("case", ["missing", "writable by others", "a link", "full of files"])
def test_where_it_may_not_unpack_itself_it_runs_from_its_archive(tmp_path: pathlib.Path, case: str) -> None:
    program, code = installed(tmp_path, mode=0o777 if case == "writable by others" else 0o755)
    if case != "writable by others":
        code.rmdir()
    if case == "a link":
        (tmp_path / "elsewhere").mkdir()
        code.symlink_to(tmp_path / "elsewhere")
    if case == "full of files":
        code.write_text("")
    assert version_of(program) == "stackops 1.2.3\n"
    assert not code.is_dir() or list(code.iterdir()) == []
