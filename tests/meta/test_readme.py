# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the READMEs say is there, in both languages alike."""

from __future__ import annotations

import pathlib
import re

import pytest
from collection import FILTERS, MODULES, PLAYBOOKS, ROLES, ROOT, load

ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-TW.md"
READMES = (ENGLISH, CHINESE)
GUIDES = (*READMES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(role / "README.md" for role in ROLES))
REPOSITORY = re.compile(r"https://(?:github\.com/stackops/runbook/blob/main|raw\.githubusercontent\.com/stackops/runbook/main)/([^)#\s]+)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text(path: pathlib.Path) -> str:
    """Return the text of *path*."""
    return path.read_text(encoding="utf-8")


def ids(path: pathlib.Path) -> str:
    """Return how a parametrised test names *path*."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", GUIDES, ids=ids)
def test_links_are_whole_addresses(path: pathlib.Path) -> None:
    assert [target for target in re.findall(r"\]\(([^)]+)\)", text(path)) if not target.startswith("https://")] == []


@pytest.mark.parametrize("path", GUIDES, ids=ids)
def test_links_into_the_repository_lead_somewhere(path: pathlib.Path) -> None:
    assert [target for target in REPOSITORY.findall(text(path)) if not (ROOT / target).exists()] == []


@pytest.mark.parametrize("path", GUIDES, ids=ids)
def test_make_targets_are_there(path: pathlib.Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", text(ROOT / "Makefile"), re.MULTILINE))
    said = set(re.findall(r"(?:^|`)make ([a-z][a-z0-9-]*)", text(path), re.MULTILINE))
    assert said <= targets


@pytest.mark.parametrize("path", GUIDES, ids=ids)
def test_names_of_the_collection_are_there(path: pathlib.Path) -> None:
    there = {item.stem for item in (*MODULES, *FILTERS, *PLAYBOOKS)} | {role.name for role in ROLES}
    assert set(re.findall(r"stackops\.runbook\.([a-z_]+)", text(path))) <= there


@pytest.mark.parametrize("path", READMES, ids=ids)
def test_every_playbook_is_listed(path: pathlib.Path) -> None:
    assert [playbook.stem for playbook in PLAYBOOKS if f"| `stackops.runbook.{playbook.stem}` |" not in text(path)] == []


@pytest.mark.parametrize("path", READMES, ids=ids)
def test_modules_named_in_the_table_of_chapters_are_there(path: pathlib.Path) -> None:
    rows = [line for line in text(path).splitlines() if line.startswith("|") and "`diagnose`" in line]
    named = {name for row in rows for name in re.findall(r"`([a-z]+_[a-z_]+)`", row.split("|")[3])}
    assert named
    assert named <= {module.stem for module in MODULES}


@pytest.mark.parametrize("path", READMES, ids=ids)
def test_versions_are_those_of_the_metadata(path: pathlib.Path) -> None:
    floor = load(ROOT / "meta/runtime.yml")["requires_ansible"].lstrip(">=").rpartition(".")[0]
    assert re.search(rf"`ansible-core` \|[^|]*\b{re.escape(floor)}\b", text(path))
    assert set(re.findall(r"stackops-runbook-([0-9.]+)\.tar", text(path))) == {load(ROOT / "galaxy.yml")["version"]}


def test_both_languages_have_the_same_sections() -> None:
    shapes = [[line.partition(" ")[0] for line in FENCE.sub("", text(path)).splitlines() if line.startswith("#")] for path in READMES]
    assert shapes[0] == shapes[1]


def test_both_languages_show_the_same_commands() -> None:
    assert FENCE.findall(text(ENGLISH)) == FENCE.findall(text(CHINESE))


def test_both_languages_have_the_same_tables() -> None:
    assert len([line for line in text(ENGLISH).splitlines() if line.startswith("|")]) == len(
        [line for line in text(CHINESE).splitlines() if line.startswith("|")]
    )
    assert set(REPOSITORY.findall(text(ENGLISH))) == set(REPOSITORY.findall(text(CHINESE)))
