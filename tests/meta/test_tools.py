# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``make test`` counts what its stages say, goes on after a failure, and never calls a failure a pass."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest
from collection import ROOT

MAKEFILE = """
good:
\t@echo "===== 3 passed, 1 skipped in 0.1s ====="
bad:
\t@echo "2 passed, 1 failed"; exit 1
broken:
\t@echo "no tally at all"; exit 7
lying:
\t@echo "5 passed"; exit 1
errors:
\t@echo "== 1 passed, 2 errors in 3.00s =="; exit 1
meets met:
\t@echo "$@ says one"; touch $@.here; timeout 20 sh -c 'until [ -e meets.here ] && [ -e met.here ]; do sleep 0.05; done'
\t@echo "$@ says two"; echo "1 passed"
"""


def stages(directory: pathlib.Path, *names: str, jobs: int = 1) -> subprocess.CompletedProcess[str]:
    """Run stages of the Makefile above."""
    (directory / "Makefile").write_text(MAKEFILE, encoding="utf-8")
    command = [sys.executable, str(ROOT / "tests/tools/stages.py"), f"--jobs={jobs}", *names]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("names", "last", "code"),
    [
        (["good"], "3 passed, 0 failed, 1 skipped", 0),
        (["bad", "good"], "5 passed, 1 failed, 1 skipped", 1),
        (["broken"], "0 passed, 1 failed, 0 skipped", 1),
        (["lying"], "5 passed, 1 failed, 0 skipped", 1),
        (["errors"], "1 passed, 2 failed, 0 skipped", 1),
        (["absent", "good"], "3 passed, 1 failed, 1 skipped", 1),
    ],
)
def test_the_last_line_counts_everything(tmp_path: pathlib.Path, names: list[str], last: str, code: int, jobs: int) -> None:
    result = stages(tmp_path, *names, jobs=jobs)
    assert result.stdout.splitlines()[-1] == last
    assert result.returncode == code
    assert [line.split()[0] for line in result.stdout.splitlines()[-2 - len(names) : -1]] == [*names, "all"]


def test_stages_run_side_by_side_and_do_not_mix_what_they_say(tmp_path: pathlib.Path) -> None:
    result = stages(tmp_path, "meets", "met", jobs=2)
    assert result.returncode == 0, result.stdout
    assert "==> meets\nmeets says one\nmeets says two\n1 passed\n" in result.stdout
    assert "==> met\nmet says one\nmet says two\n1 passed\n" in result.stdout


def test_a_step_that_fails_is_counted_and_shown() -> None:
    command = [sys.executable, str(ROOT / "tests/tools/steps.py"), "--limit-seconds", "2"]
    steps = "fine: true\nwrong: echo reason; false\nendless: sleep 60 | cat\n"
    result = subprocess.run(command, input=steps, capture_output=True, text=True, timeout=30, check=False)
    assert result.stdout.splitlines()[-1] == "1 passed, 2 failed"
    assert "    reason\n" in result.stdout
    assert "no end after 2 s" in result.stdout
    assert result.returncode == 1
