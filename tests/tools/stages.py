#!/usr/bin/env python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run make targets as the stages of ``make test``, all of them, and close with a tally of each and of all.

    python stages.py [--jobs N] STAGE…

With one job the output is shown as it comes; with more a stage's output is shown as a whole when it ends, and the next in the
list begins: name the longest first. ``build/test`` has what a stage has said so far.

A stage closes with a line as pytest does (``3 passed, 1 skipped``); the last such line is its tally. A stage that fails
without having counted a failure counts as one failed.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import functools
import pathlib
import re
import subprocess
import sys
import threading
import time

LOGS = pathlib.Path("build/test")
_COUNT = re.compile(r"(\d+) (passed|failed|skipped|errors?)\b")
_SHOWING = threading.Lock()
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


def run(name: str, at_once: bool) -> Stage:
    """Run one target and keep its output in ``build/test``; show it as it comes (*at_once*), or when the target has ended."""
    stage = Stage(name)
    started = time.monotonic()
    show(f"\n==> {name}\n" if at_once else f"==> {name} has begun\n")
    last: dict[str, int] = {}
    path = LOGS / f"{name}.log"
    # A line at a time, for whoever looks at it while the stage runs.
    with open(path, "w", encoding="utf-8", buffering=1) as log:
        command = ["make", "--no-print-directory", name]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", bufsize=1
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if at_once:
                    show(line)
                log.write(line)
                last = counts(line) or last
    stage.seconds = time.monotonic() - started
    stage.passed, stage.failed, stage.skipped = (last.get(word, 0) for word in ("passed", "failed", "skipped"))
    if process.returncode != 0 and stage.failed == 0:
        stage.failed = 1
    if not at_once:
        show(f"\n==> {name}\n", path.read_text(encoding="utf-8"))
    return stage


def show(*texts: str) -> None:
    """Write *texts* with nothing of another stage between them."""
    with _SHOWING:
        sys.stdout.writelines(texts)
        sys.stdout.flush()


def main() -> int:
    """Run the stages named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("names", nargs="+", metavar="STAGE")
    options = parser.parse_args()
    LOGS.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        stages = list(pool.map(functools.partial(run, at_once=options.jobs == 1), options.names))
    total = Stage("all", *(sum(getattr(stage, word) for stage in stages) for word in ("passed", "failed", "skipped")))
    sys.stdout.write("\n")
    for stage in stages:
        sys.stdout.write(f"{stage.name:<13} {stage.tally()} ({stage.seconds:.0f} s)\n")
    sys.stdout.write(f"{'all':<13} {time.monotonic() - began:.0f} s\n{total.tally()}\n")
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
