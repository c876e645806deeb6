#!/usr/bin/env python3
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How big the report page is, how long it takes to write, and how long Chromium takes to show it.

    PYTHONPATH=.venv/collections .venv/bin/python tests/benchmarks/bench_report.py [--hosts 1 100 1000] [--judge] [--json result.json]

The fleet is made up (tests/support/fleet.py); the best of the rounds counts. The bars: a page under 5 MB, rendered and
written with under 3 s of processor time, which other work on the machine does not lengthen; with judging and all formats, 10 s.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile
import time
import typing as t

from ansible_collections.stackops.runbook.plugins.module_utils._files import write_whole
from ansible_collections.stackops.runbook.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.stackops.runbook.plugins.plugin_utils._html import PAGE_LIMIT_BYTES, render_html
from ansible_collections.stackops.runbook.tests.support.chromium import chromium, chromium_missing
from ansible_collections.stackops.runbook.tests.support.fleet import NOW, make_facts, make_report

MOST_SECONDS = 3.0
MOST_SECONDS_WITH_JUDGING = 10.0
RULES = pathlib.Path(__file__).resolve().parents[2] / "roles" / "diagnose" / "rules"

_MEASURE = """() => ({
    ready_ms: performance.getEntriesByName('ready')[0].startTime,
    loaded_ms: performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd,
    elements: document.querySelectorAll('*').length,
})"""
_MARK = "new MutationObserver(() => document.documentElement && document.documentElement.dataset.ready && performance.mark('ready'))"


def write_page(hosts: int, path: pathlib.Path, rounds: int) -> dict[str, t.Any]:
    """Write the page of *hosts* hosts to *path*; return its size and the best times of *rounds*."""
    report = make_report(hosts)
    seconds, cpu_seconds = float("inf"), float("inf")
    for dummy in range(rounds):
        begin, cpu_begin = time.perf_counter(), time.process_time()
        write_whole(path, render_html(report, "en", NOW).encode("utf-8"))
        seconds = min(seconds, time.perf_counter() - begin)
        cpu_seconds = min(cpu_seconds, time.process_time() - cpu_begin)
    facts_bytes = len(json.dumps(report, separators=(",", ":")).encode())
    return {
        "hosts": hosts,
        "report_bytes": facts_bytes,
        "page_bytes": path.stat().st_size,
        "write_seconds": round(seconds, 3),
        "write_cpu_seconds": round(cpu_seconds, 3),
    }


def judge_and_write(hosts: int, directory: pathlib.Path) -> dict[str, t.Any]:
    """Return how long it takes from the facts of *hosts* hosts to report.json, .md and .html, once."""
    facts = {f"host-{number}": {"reachable": True, "result": make_facts(number)} for number in range(hosts)}
    arguments = {
        "rule_dirs": [str(RULES)],
        "disabled_rules": [],
        "language": "en",
        "thresholds": {},
        "silences": [],
        "report_dir": str(directory),
        "formats": ["json", "markdown", "html"],
        "fail_on": "never",
    }
    begin, cpu_begin = time.perf_counter(), time.process_time()
    diagnosis = Diagnosis(arguments, "1.0.0", NOW)
    written = diagnosis.write(diagnosis.judge(facts))
    return {
        "all_seconds": round(time.perf_counter() - begin, 3),
        "all_cpu_seconds": round(time.process_time() - cpu_begin, 3),
        "judged_page_bytes": written.paths["html"].stat().st_size,
    }


def load_page(path: pathlib.Path, rounds: int) -> dict[str, t.Any]:
    """Return how long Chromium takes to show the page at *path*, best of *rounds*, and how many elements it builds."""
    measured = []
    with chromium() as browser:
        for dummy in range(rounds):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.add_init_script(f"{_MARK}.observe(document, {{subtree: true, attributes: true, attributeFilter: ['data-ready'], childList: true}})")
            page.goto(path.as_uri())
            page.wait_for_selector("html[data-ready]")
            measured.append(page.evaluate(_MEASURE))
            page.close()
    return {key: round(min(one[key] for one in measured)) for key in ("ready_ms", "loaded_ms", "elements")}


def line(row: dict[str, t.Any]) -> str:
    """Return one line of the table."""
    parts = [f"{row['hosts']:>6} {row['report_bytes'] / 1e6:>9.2f} MB {row['page_bytes'] / 1e6:>6.2f} MB"]
    parts.append(f"{row['write_seconds']:>6.2f} s {row['write_cpu_seconds']:>6.2f} s")
    parts.append(f"{row['ready_ms']:>5} ms {row['loaded_ms']:>5} ms {row['elements']:>9}" if "ready_ms" in row else "")
    parts.append(f"{row['all_seconds']:>6.2f} s {row['all_cpu_seconds']:>6.2f} s" if "all_seconds" in row else "")
    return " ".join(parts)


def main() -> int:
    """Run the benchmark; the exit code is 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--judge", action="store_true", help="also judge the fleet's facts by the shipped rules, and write all formats")
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    missing = chromium_missing()
    if missing:
        print(f"Not measured in a browser: {missing}", file=sys.stderr)
    rows = []
    print(f"{'hosts':>6} {'report.json':>12} {'page':>9} {'write':>8} {'CPU':>8} {'usable':>8} {'loaded':>8} {'elements':>9} {'judged':>8} {'CPU':>8}")
    with tempfile.TemporaryDirectory() as scratch:
        for hosts in arguments.hosts:
            path = pathlib.Path(scratch) / f"{hosts}.html"
            row = write_page(hosts, path, arguments.rounds)
            row.update(load_page(path, arguments.rounds) if not missing else {})
            row.update(judge_and_write(hosts, pathlib.Path(scratch)) if arguments.judge else {})
            rows.append(row)
            print(line(row))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    missed = [
        row
        for row in rows
        if max(row["page_bytes"], row.get("judged_page_bytes", 0)) > PAGE_LIMIT_BYTES
        or row["write_cpu_seconds"] > MOST_SECONDS
        or row.get("all_cpu_seconds", 0) > MOST_SECONDS_WITH_JUDGING
    ]
    for row in missed:
        print(f"Bar missed: {row}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
