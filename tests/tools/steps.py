#!/usr/bin/env python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a file of named commands, each to its end, and close with one tally line.

A step is ``name: command`` on one line of standard input. Its output is shown when it fails.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import signal
import subprocess
import sys
import time


def run(name: str, command: str, limit_seconds: float) -> bool:
    """Run one step and say how it went; return whether it passed."""
    started = time.monotonic()
    sys.stdout.write(f"  {name} ...\n")
    sys.stdout.flush()
    command_line = ["bash", "-c", command]
    with subprocess.Popen(command_line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as process:
        try:
            output = process.communicate(timeout=limit_seconds)[0]
        except subprocess.TimeoutExpired:
            # what bash has started holds the pipe as well
            os.killpg(process.pid, signal.SIGKILL)
            output = process.communicate()[0] + f"\nno end after {limit_seconds:.0f} s\n".encode()
    failed = process.returncode != 0
    verdict = "FAILED" if failed else "passed"
    text = f"  {verdict} {name} ({time.monotonic() - started:.1f} s)\n"
    if failed:
        text += f"    $ {command}\n" + "".join(f"    {line}\n" for line in output.decode(errors="replace").splitlines())
    sys.stdout.write(text)
    sys.stdout.flush()
    return not failed


def main() -> int:
    """Run the steps on standard input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit-seconds", type=float, default=600)
    arguments = parser.parse_args()
    steps = [line.partition(":") for line in sys.stdin.read().splitlines() if line.strip()]
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        passed = list(pool.map(lambda step: run(step[0].strip(), step[2].strip(), arguments.limit_seconds), steps))
    sys.stdout.write(f"{sum(passed)} passed, {len(passed) - sum(passed)} failed\n")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
