#!/usr/bin/env python3
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long judging takes: made-up facts of many hosts in, findings and all files but HTML out.

    tests/benchmarks/bench_judge.py [--hosts 1000] [--json result.json]

The bar: 1,000 hosts in less than 6 seconds of processor time, JSON included.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / ".venv" / "collections"), str(ROOT)]

from ansible_collections.stackops.runbook.plugins.plugin_utils._judge import judge_host  # noqa: E402
from ansible_collections.stackops.runbook.plugins.plugin_utils._report import build_report, write_report  # noqa: E402
from ansible_collections.stackops.runbook.plugins.plugin_utils._rules import load_rules  # noqa: E402
from ansible_collections.stackops.runbook.plugins.plugin_utils._terminal import render_terminal  # noqa: E402

from tests.support.fleet import make_report  # noqa: E402

BAR_SECONDS = 6.0


def main() -> int:
    """Measure each step once and say whether the bar holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    facts = {name: {"schema": 1, "host": {"hostname": name}, "facts": row["facts"]} for name,
        row in make_report(arguments.hosts)["hosts"].items() if row["facts"]}
    steps: dict[str, float] = {}

    def measured(name: str, work: t.Callable[[], t.Any]) -> t.Any:
        started = time.process_time()
        result = work()
        steps[name] = round(time.process_time() - started, 3)
        return result

    rules = measured("load rules", lambda: load_rules([ROOT / "roles" / "diagnose" / "rules"]))
    rows = measured("judge", lambda: {name: judge_host(rules, name, given) for name, given in facts.items()})
    report = measured("build report", lambda: build_report(rows, None, None, rules))
    with tempfile.TemporaryDirectory() as directory:
        paths = measured("write JSON", lambda: write_report(report, directory, ["json"]))
        size = paths["json"].stat().st_size
        measured("write Markdown", lambda: write_report(report, directory, ["markdown"]))
    measured("terminal", lambda: render_terminal(report))
    total = sum(seconds for name, seconds in steps.items() if name != "write Markdown")
    bar = BAR_SECONDS * max(arguments.hosts, 1000) / 1000
    result = {
        "hosts": len(facts), "rules": len(rules.rules), "findings": sum(len(row["findings"]) for row in rows.values()), "report_bytes": size,
        "steps_seconds": steps, "total_seconds": round(total, 3), "bar_seconds": bar, "ok": total < bar,
    }  # fmt: skip
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
