# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every step of the guide has a command of the collection and a test of ``make test`` that is there."""

from __future__ import annotations

import ast
import functools
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest
from collection import PLAYBOOKS, ROOT, load

ROWS = [row for chapter in load(ROOT / "tests/meta/guide_map.yml")["chapters"] for row in chapter["rows"]]
FAULTS = {fault["name"] for fault in load(ROOT / "tests/faults/catalogue.yml")["faults"]}


@functools.cache
def functions(path: pathlib.Path) -> frozenset[str]:
    """Return the names of the tests in *path*."""
    return frozenset(node.name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef))


def test_no_step_is_left_out() -> None:
    assert len(ROWS) >= 60


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["step"])
def test_a_row_is_whole_and_its_test_is_there(row: dict[str, t.Any]) -> None:
    assert set(row) == {"step", "run", "en", "zh", "test"}
    assert all(isinstance(value, str) and value.strip() for value in row.values())
    path, dummy, name = row["test"].partition("::")
    function, dummy, parameter = name.rstrip("]").partition("[")
    assert function in functions(ROOT / path)
    assert not parameter or parameter in FAULTS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["step"])
def test_what_is_run_is_there(row: dict[str, t.Any]) -> None:
    first = row["run"].split()[0]
    assert first in {path.stem for path in PLAYBOOKS} | {"stackops-check", "filter"}
    for action in re.findall(r"remediate_actions=(\w+)|\"action\":\"(\w+)\"", row["run"]):
        assert (ROOT / f"roles/remediate/tasks/actions/{''.join(action)}.yml").is_file()


def test_the_pages_are_what_the_rows_say() -> None:
    done = subprocess.run([sys.executable, ROOT / "tests/tools/guide_map_doc", "--check"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
