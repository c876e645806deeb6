#!/usr/bin/env python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run make targets as the stages of ``make test``, all of them, and close with a tally of each and of all.

A stage closes with a line as pytest does (``3 passed, 1 skipped``); the last such line is its tally. A stage that fails
without having counted a failure counts as one failed.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
import subprocess
import sys
import time

LOGS = pathlib.Path("build/test")
_COUNT = re.compile(r"(\d+) (passed|failed|skipped|errors?)\b")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclasses.dataclass
class Stage:
    """What came of one stage."""

    name: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0

    def tally(self) -> str:
        """Return the counts in words."""
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def counts(line: str) -> dict[str, int]:
    """Return the numbers of a closing line, none where *line* is not one.

    >>> counts("===== 3 passed, 1 skipped, 2 errors in 0.1s =====")
    {'passed': 3, 'skipped': 1, 'failed': 2}
    >>> counts("about 3 passed by")
    {}
    """
    bare = _COLOUR.sub("", line).strip().strip("=").strip()
    if not re.match(r"\d+ (passed|failed|skipped|errors?|deselected|warnings?|xfailed|xpassed)\b(,| in |$)", bare):
        return {}
    found: dict[str, int] = {}
    for number, word in _COUNT.findall(bare):
        word = "failed" if word.startswith("error") else word
        found[word] = found.get(word, 0) + int(number)
    return found


def run(name: str) -> Stage:
    """Run one target, its output shown as it comes and kept in ``build/test``."""
    stage = Stage(name)
    started = time.monotonic()
    sys.stdout.write(f"\n==> {name}\n")
    sys.stdout.flush()
    last: dict[str, int] = {}
    with open(LOGS / f"{name}.log", "w", encoding="utf-8") as log:
        command = ["make", "--no-print-directory", name]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", bufsize=1
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                sys.stdout.write(line)
                sys.stdout.flush()
                log.write(line)
                last = counts(line) or last
    stage.seconds = time.monotonic() - started
    stage.passed, stage.failed, stage.skipped = (last.get(word, 0) for word in ("passed", "failed", "skipped"))
    if process.returncode != 0 and stage.failed == 0:
        stage.failed = 1
    return stage


def main() -> int:
    """Run the stages named on the command line."""
    LOGS.mkdir(parents=True, exist_ok=True)
    stages = [run(name) for name in sys.argv[1:]]
    total = Stage("all", *(sum(getattr(stage, word) for stage in stages) for word in ("passed", "failed", "skipped")))
    sys.stdout.write("\n")
    for stage in stages:
        sys.stdout.write(f"{stage.name:<13} {stage.tally()} ({stage.seconds:.0f} s)\n")
    sys.stdout.write(f"{total.tally()}\n")
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
