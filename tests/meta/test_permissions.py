# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/permissions.md has a row for every playbook and says of versions what is tested, in both languages alike."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from collection import PLAYBOOKS, ROLES, ROOT, load

PAGES = [ROOT / "docs/permissions.md", ROOT / "docs/permissions.zh-TW.md"]
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in PAGES}


def rows(text: str) -> dict[str, list[str]]:
    """Return the cells of the first table of *text* after their playbook."""
    table = text.partition("|---|---|---|---|---|\n")[2].partition("\n\n")[0]
    return {cells[1].strip(" `"): [cell.strip() for cell in cells[2:-1]] for cells in (line.split("|") for line in table.splitlines())}


@pytest.mark.parametrize("name", TEXTS)
def test_every_playbook_has_a_row_that_says_everything(name: str) -> None:
    table = rows(TEXTS[name])
    assert {path.stem for path in PLAYBOOKS} <= set(table)
    assert [playbook for playbook, cells in table.items() if len(cells) != 4 or not all(cells)] == []


def test_both_languages_name_the_same_things() -> None:
    english, chinese = (rows(text) for text in TEXTS.values())
    assert list(english) == list(chinese)
    for playbook, cells in english.items():
        assert set(re.findall(r"`([^`]+)`", " ".join(cells))) == set(re.findall(r"`([^`]+)`", " ".join(chinese[playbook]))), playbook


@pytest.mark.parametrize("name", TEXTS)
def test_variables_that_it_names_are_there(name: str) -> None:
    there = set()
    for role in ROLES:
        for entry in load(role / "meta/argument_specs.yml")["argument_specs"].values():
            there |= set(entry.get("options", {}))
    # what a playbook reads and hands to its role
    there |= {variable for role in ROLES for path in role.rglob("*.yml") for variable in re.findall(r"\blogs_[a-z_]+\b", path.read_text(encoding="utf-8"))}
    prefixes = tuple(f"{playbook.stem}_" for playbook in PLAYBOOKS)
    named = {word.partition(":")[0] for word in re.findall(r"`([a-z_]+)(?::[^`]*)?`", TEXTS[name]) if word.startswith(prefixes)}
    assert named - {playbook.stem for playbook in PLAYBOOKS} <= there


@pytest.mark.parametrize("name", TEXTS)
def test_versions_are_those_of_the_matrix(name: str) -> None:
    listed = subprocess.run([sys.executable, str(ROOT / "tests/tools/matrix"), "list", "runs"], capture_output=True, text=True, timeout=60, check=True)
    cores = sorted({entry["core"] for entry in json.loads(listed.stdout)})
    row = next(line for line in TEXTS[name].splitlines() if line.startswith("|") and "`ansible-core`" in line)
    assert re.findall(r"\d\.\d+", row.split("|")[2]) == cores


@pytest.mark.parametrize("name", TEXTS)
def test_what_it_promises_of_sudo_it_shows(name: str) -> None:
    assert "deploy ALL=(root) NOPASSWD: ALL" in TEXTS[name]
    assert "restrict,from=" in TEXTS[name]
