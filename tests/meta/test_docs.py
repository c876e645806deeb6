# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```\w*\n.*?^```$", re.MULTILINE | re.DOTALL)
PAIRS = sorted(ROOT.glob("docs/*.zh-TW.md"))


def test_the_page_of_the_facts_is_what_the_schema_says() -> None:
    made = subprocess.run([sys.executable, ROOT / "tests/tools/facts_doc"], capture_output=True, text=True, check=True, timeout=60).stdout
    assert (ROOT / "docs/facts.md").read_text() == made, "run tests/tools/facts_doc > docs/facts.md"


@pytest.mark.parametrize(("language", "name"), [("en", "rules.md"), ("zh_TW", "rules.zh-TW.md")])
def test_the_pages_of_the_rules_are_what_the_rules_say(language: str, name: str) -> None:
    made = subprocess.run([sys.executable, ROOT / "tests/tools/rules_doc", language], capture_output=True, text=True, check=True, timeout=60).stdout
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == made, "run tests/tools/rules_doc"


@pytest.mark.parametrize("chinese", PAIRS, ids=lambda path: path.name)
def test_both_languages_of_a_page_say_the_same(chinese: pathlib.Path) -> None:
    pages = [path.read_text(encoding="utf-8") for path in (chinese.with_name(chinese.name.replace(".zh-TW", "")), chinese)]
    assert FENCE.findall(pages[0]) == FENCE.findall(pages[1])
    shapes = [[line.partition(" ")[0] for line in FENCE.sub("", page).splitlines() if line.startswith("#")] for page in pages]
    assert shapes[0] == shapes[1]
    tables = [[line.count("|") for line in page.splitlines() if line.startswith("|")] for page in pages]
    assert tables[0] == tables[1]
    variables = [set(re.findall(r"\b(?:backup|restore|monitoring)_[a-z_]+", page)) for page in pages]
    assert variables[0] == variables[1]


def test_variables_in_the_pages_are_those_of_the_roles() -> None:
    readmes = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("roles/*/README.md"))
    for page in ROOT.glob("docs/*.md"):
        named = set(re.findall(r"(?<![-./\w])(?:backup|restore|monitoring)_[a-z_]+\b(?![<(])", page.read_text(encoding="utf-8")))
        assert [name for name in sorted(named) if f"`{name}`" not in readmes and name != "backup_verify"] == []
