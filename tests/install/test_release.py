# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of a release, carried out in a copy: the changelog is written, and its section becomes the notes."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSION = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"]


def run(*command: str, directory: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """Return what came of *command*."""
    return subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)


def tool(name: str) -> str:
    """Return the path of a command of this environment."""
    return str(pathlib.Path(sys.executable).with_name(name))


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return a copy of what is under version control, released."""
    copy = tmp_path_factory.mktemp("release") / "runbook"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=60).stdout
    for name in listed.decode().split("\0"):
        # the changelog is about what ships
        if name and not name.startswith(("tests/", "molecule/", "demo/", ".")) and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    result = run(tool("antsibull-changelog"), "release", directory=copy)
    assert result.returncode == 0, result.stdout + result.stderr
    return copy


def test_every_fragment_is_in_the_changelog(released: pathlib.Path) -> None:
    assert not list((released / "changelogs/fragments").glob("*.yml"))
    release = yaml.safe_load((released / "changelogs/changelog.yaml").read_text(encoding="utf-8"))["releases"][VERSION]
    fragments = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (ROOT / "changelogs/fragments").glob("*.yml")]
    for kind in {kind for fragment in fragments for kind in fragment if kind != "release_summary"}:
        wanted = {entry for fragment in fragments for entry in fragment.get(kind, [])}
        assert wanted <= set(release["changes"][kind])


def test_the_notes_of_the_release_are_its_section(released: pathlib.Path) -> None:
    result = run(sys.executable, str(ROOT / "tests/tools/release_notes"), VERSION, str(released), directory=released)
    assert result.returncode == 0, result.stderr
    plain = result.stdout.replace("\\", "")
    assert plain.startswith("### Release summary")
    named = set(re.findall(r"^\* stackops\.runbook\.([a-z_]+) - ", plain, re.MULTILINE))
    # new ones are listed once, in the release that brings them
    new = yaml.safe_load((released / "changelogs/changelog.yaml").read_text(encoding="utf-8"))["releases"][VERSION]
    assert named == {item["name"] for group in ("modules", "plugins", "objects") for item in _flat(new.get(group))}
    assert "<a id=" not in result.stdout
    assert "\n## " not in result.stdout


def _flat(listed: object) -> list[dict[str, str]]:
    """Return the entries of a list, or of lists by kind."""
    if isinstance(listed, dict):
        return [entry for entries in listed.values() for entry in entries]
    return list(listed) if isinstance(listed, list) else []


def test_a_tag_that_is_not_the_version_is_refused(released: pathlib.Path) -> None:
    result = run(sys.executable, str(ROOT / "tests/tools/release_notes"), "9.9.9", str(released), directory=released)
    assert result.returncode == 1
    assert f"galaxy.yml has version {VERSION}, the tag is 9.9.9" in result.stderr


def test_a_version_without_its_section_is_refused(released: pathlib.Path, tmp_path: pathlib.Path) -> None:
    shutil.copyfile(released / "galaxy.yml", tmp_path / "galaxy.yml")
    (tmp_path / "CHANGELOG.md").write_text(f"# Release notes\n\n## v{VERSION}0\n\nAnother.\n", encoding="utf-8")
    result = run(sys.executable, str(ROOT / "tests/tools/release_notes"), VERSION, str(tmp_path), directory=released)
    assert result.returncode == 1
    assert "antsibull-changelog release" in result.stderr
