#!/usr/bin/env python3
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long judging and telling takes, and how much memory: hosts made of recorded facts in, all files out, as the playbook does it.

    tests/benchmarks/bench_judge.py [--hosts 1000] [--json result.json]

The bars: up to 1,000 hosts in less than 10 seconds of processor time, 512 MiB at the peak and a page under 5 MB; beyond, 2 GiB.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import resource
import sys
import tempfile
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / ".venv" / "collections"), str(ROOT)]

from ansible_collections.stackops.runbook.plugins.plugin_utils._diagnosis import rows_of_run  # noqa: E402
from ansible_collections.stackops.runbook.plugins.plugin_utils._handover import hand_over  # noqa: E402

from tests.support.diagnoses import diagnosis, fleet_of_recorded  # noqa: E402

BAR_SECONDS = 10.0
BAR_BYTES, BAR_BYTES_BEYOND = 512 << 20, 2 << 30
BAR_PAGE_BYTES = 5_000_000


def main() -> int:
    """Measure once and say whether the bars hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    steps: dict[str, float] = {}

    def measured(name: str, work: t.Callable[[], t.Any]) -> t.Any:
        started = time.process_time()
        result = work()
        steps[name] = round(time.process_time() - started, 3)
        return result

    with tempfile.TemporaryDirectory() as scratch:
        spool = pathlib.Path(scratch) / "facts"
        names = []
        for name, row in fleet_of_recorded(arguments.hosts):
            hand_over(spool, name, row)
            names.append(name)
        judging = measured("load rules", lambda: diagnosis(pathlib.Path(scratch) / "reports"))
        report = measured("judge", lambda: judging.judge(rows_of_run(spool, names)))
        written = measured("write all formats", lambda: judging.write(report))
        measured("terminal", lambda: judging.summary(written, False))
        sizes = {name: path.stat().st_size for name, path in written.paths.items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    total = sum(steps.values())
    small = arguments.hosts <= 1000
    memory_bar = BAR_BYTES if small else BAR_BYTES_BEYOND
    result = {
        "hosts": arguments.hosts, "findings": sum(len(row["findings"]) for row in report["hosts"].values()), "bytes": sizes, "steps_seconds": steps,
        "total_seconds": round(total, 3), "bar_seconds": BAR_SECONDS if small else None, "peak_bytes": peak, "bar_bytes": memory_bar,
        "ok": peak < memory_bar and sizes["html"] < BAR_PAGE_BYTES and (not small or total < BAR_SECONDS),
    }  # fmt: skip
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
