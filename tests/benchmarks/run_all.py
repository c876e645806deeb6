#!/usr/bin/env python3
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run every benchmark one after the other, and write one table with all bars.

    make bench            all of it, and docs/benchmarks.md
    make bench-short      what is fast and only about processor time; fails where a median of five is below 0.7 of a bar

Each benchmark also runs alone and explains itself there; this knows only how to call it and which of its figures have a bar.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import pathlib
import subprocess
import sys
import time
import typing as t

import benchlib
from benchlib import Row

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "build" / "benchmarks"
#: Longer than the longest takes: one that hangs must not keep the others from being told.
LIMIT_SECONDS = 2400
Data = t.Any


# -- which figures of each have a bar -----------------------------------------------------------------------------------


def rows_of(data: Data) -> list[Row]:
    """Return the rows that a benchmark wrote itself."""
    return [Row.of(row) for row in data["rows"]]


def logs(data: Data) -> list[Row]:
    """Return the rows of ``bench_logs``, all by wall clock."""
    found = {(row["name"], row["file_mb"]): row for row in data["rows"] if not row["tool"]}
    largest = max(size for name, size in found if name == "whole file, shuffled")
    rows = []
    for name, bar in (("whole file, in order", 500.0), ("whole file, shuffled", 250.0)):
        one = found[name, largest]
        rows.append(Row("log analysis", f"{name}, {largest} MB", one["mb_per_s"], "MB/s", ">=", bar, f"{one['wall_s']:.2f} s", "", _spread(one)))
    for (name, size), one in found.items():
        if name == "last hour":
            taken = f"{one['wall_s']:.3f} s, {one['peak_mib']} MiB"
            rows.append(Row("log analysis", f"{name}, {size} MB", one["wall_s"], "s", "<", 0.2, taken, "", _spread(one)))
    for other in data["rows"]:
        if other["tool"]:
            name, size = other["name"], other["file_mb"]
            # The guide's pipeline on a whole file answers less than is done here, see the program.
            bar_here = None if "guide" in other["tool"] and name != "last hour" else 1.0
            rows.append(_beside(f"{name}, {size} MB, beside {other['tool']}", found[name, size], other, bar_here))
    return rows


def _spread(one: Data) -> str:
    digits = 2 if one["wall_s"] >= 1 else 3
    return f"{one['wall_s_from']:.{digits}f} to {one['wall_s_to']:.{digits}f} s"


def _beside(what: str, ours: Data, other: Data, bar: t.Optional[float]) -> Row:
    mine = f"{ours['wall_s']:.{2 if ours['wall_s'] >= 1 else 3}f} s"
    return Row("log analysis", what, other["wall_s"] / ours["wall_s"], "times as fast", ">=", bar, mine, f"{other['wall_s']:.2f} s", _spread(ours))


def logs_short(data: Data) -> list[Row]:
    """Return what of ``bench_logs`` is told by processor time, which other work on the machine does not lengthen."""
    found = {row["name"]: row for row in data["rows"] if not row["tool"]}
    bars = (("whole file, in order", 500.0), ("whole file, shuffled", 250.0))
    return [Row("log analysis", f"{name}, by processor time", found[name]["mb_per_cpu_s"], "MB/s", ">=", bar) for name, bar in bars]


def checks(data: Data) -> list[Row]:
    """Return the rows of ``bench_checks``."""
    rows = []
    for row in data["rows"]:
        cpu, memory = row["bar"]
        rows.append(Row("a check by cron", f"{row['check']}: processor time", row["cpu_s"], "s", "<", cpu))
        rows.append(Row("a check by cron", f"{row['check']}: memory", row["peak_mib"], "MiB", "<", memory))
    return rows


def backup(data: Data) -> list[Row]:
    """Return the rows of ``bench_backup``."""
    rows = []
    for row in data["table"]:
        guide = f"the guide's commands: {row['guide']:.1f} {row['unit']}" if row["guide"] is not None else ""
        rows.append(Row("backup and restore", row["what"], row["value"], row["of"], row["sign"], row["bar"], f"{row['ours']:.1f} {row['unit']}", guide))
    return rows


def redaction(data: Data) -> list[Row]:
    """Return the rows of ``bench_redaction``."""
    bars = {"redact logs": 20.0}
    return [Row("redaction", name, row["mb_per_s"], "MB/s", ">=", bars.get(name), f"{row['seconds']:.2f} s") for name, row in data.items()]


def judge(data: Data) -> list[Row]:
    """Return the rows of ``bench_judge``."""
    what, mebibytes = f"{data['hosts']} hosts judged and told", data["bar_bytes"] / 1048576
    seconds = Row("judging and telling", f"{what}: processor time", data["total_seconds"], "s", "<", data["bar_seconds"])
    memory = Row("judging and telling", f"{what}: memory", data["peak_bytes"] / 1048576, "MiB", "<", mebibytes)
    return [seconds, memory, Row("judging and telling", f"{what}: page", data["bytes"]["html"] / 1e6, "MB", "<", 5.0 if data["bar_seconds"] else None)]


def controller(data: Data) -> list[Row]:
    """Return the rows of ``bench_controller``."""
    ping = data["median"]["ping"]["cpu_seconds"] / data["names"]
    what = f"processor time for each of {data['names']} hosts"
    cost = Row("the controller", what, data["cpu_seconds_per_host"], "s", "<=", 0.4, other=f"ansible -m ping: {ping:.2f} s")
    return [cost, Row("the controller", "the collection's share of what is sent to a host", data["payload"]["own_bytes"] / 1024, "KiB", "<=", 60.0)]


def fleet(data: Data) -> list[Row]:
    """Return the rows of ``bench_fleet``, by the number of forks that is fastest."""
    best = min(data["rows"], key=lambda row: row["diagnose_seconds"])
    what = f"{data['hosts']} hosts by SSH, {best['forks']} forks"
    bars = (("of_ping", "diagnose / ping", 4.0), ("of_guide", "diagnose / the guide's commands as tasks", 1 / 3))
    return [Row("a fleet", f"{words}, {what}", best[name], "times its time", "<=", bar, f"{best['diagnose_seconds']:.1f} s") for name, words, bar in bars]


def diagnose(data: Data) -> list[Row]:
    """Return the rows of ``bench_diagnose``."""
    ours = f"{data['median_seconds']['diagnose']:.2f} s"
    return [Row("diagnose", f"{row['ratio']}, {data['hosts']} hosts", row["value"], "times its time", "<=", row["bar"], ours) for row in data["ratios"]]


# -- what there is ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """One program beside this file: *arguments* of the whole, *short* ones for continuous integration (``None``: not there), and what to make of its JSON."""

    name: str
    rows: t.Callable[[Data], list[Row]]
    arguments: tuple[str, ...] = ()
    short: t.Optional[tuple[str, ...]] = None
    short_rows: t.Optional[t.Callable[[Data], list[Row]]] = None


BENCHMARKS = (
    Benchmark("logs", logs, ("--megabytes", "1000", "--tenfold"), ("--megabytes", "200", "--tools-megabytes", "50", "--no-tools"), logs_short),
    Benchmark("checks", checks, (), ("--large", "200", "--no-engine")),
    Benchmark("redaction", redaction, (), ("--megabytes", "5")),
    Benchmark("judge", judge, (), ("--hosts", "200")),
    Benchmark("controller", controller),
    Benchmark("postgres", rows_of),
    Benchmark("compose", rows_of),
    Benchmark("diagnose", diagnose),
    Benchmark("fleet", fleet, ("--write", "docs/fleet.md", "docs/fleet.zh-TW.md")),
    Benchmark("backup", backup, ("--rounds", "1")),
)


def measure(benchmark: Benchmark, short: bool) -> t.Optional[list[Row]]:
    """Run one benchmark and return its rows; a bar that it missed is told by them, ``None`` says that it measured nothing."""
    path = _result(benchmark)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    arguments = benchmark.short if short and benchmark.short is not None else benchmark.arguments
    began = time.monotonic()
    argv = [sys.executable, str(HERE / f"bench_{benchmark.name}.py"), *arguments, "--json", str(path)]
    try:
        done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL, timeout=LIMIT_SECONDS, check=False)
        ended, printed = f"exit code {done.returncode}", done.stdout
    except subprocess.TimeoutExpired as limit:
        ended, printed = f"no end after {limit.timeout} s", str(limit.stdout or "")
    rows = known(benchmark, short)
    if rows is None:
        # What the others measure is not lost with it.
        print(f"==> {benchmark.name}: measured nothing: {' '.join(argv)}: {ended}\n{printed[-2000:]}", flush=True)
        return None
    print(f"==> {benchmark.name}: {time.monotonic() - began:.0f} s\n{benchlib.table(rows, benchlib.SHORT_SHARE if short else 1.0)}", flush=True)
    return rows


def known(benchmark: Benchmark, short: bool = False) -> t.Optional[list[Row]]:
    """Return the rows of the last run of one benchmark, ``None`` where there was none."""
    path = _result(benchmark)
    if not path.exists():
        return None
    return (short and benchmark.short_rows or benchmark.rows)(json.loads(path.read_text("utf-8")))


def _result(benchmark: Benchmark) -> pathlib.Path:
    return RESULTS / f"{benchmark.name}.json"


INTRODUCTION = """# Benchmarks

<!-- Made by `make bench`. -->

Each line is measured beside what it is compared with, in turns and in one run; medians. What a benchmark does is told at the top of its
program in [tests/benchmarks](https://github.com/stackops/runbook/tree/main/tests/benchmarks), and each runs alone. `make bench` measures all
of them and writes this page. How right the diagnosis is, and how long one takes, is in [accuracy.md](accuracy.md).
"""


def _title(group: str) -> str:
    return f"`{group}`" if "_" in group else f"{group[:1].upper()}{group[1:]}"


def page(rows: t.Sequence[Row], machine: str, when: str) -> str:
    """Return the page of all *rows*."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    missed = [row for row in rows if not row.met()]
    verdict = f"{sum(row.bar is not None for row in rows) - len(missed)} of {sum(row.bar is not None for row in rows)} bars are reached."
    parts = [INTRODUCTION, f"Measured on {when}: {machine}. {verdict}\n"]
    parts += [f"## {_title(group)}\n\n{benchlib.table(some)}" for group, some in groups.items()]
    return "\n".join(parts)


def main() -> int:
    """Run what is wanted, write the page, and return 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="what continuous integration runs")
    parser.add_argument("--only", action="append", choices=[benchmark.name for benchmark in BENCHMARKS])
    parser.add_argument("--again", action="store_true", help="measure nothing: take what the last run of each measured")
    parser.add_argument("--write", type=pathlib.Path, metavar="FILE", help="write the page there")
    options = parser.parse_args()
    machine = benchlib.circumstances()
    chosen = [one for one in BENCHMARKS if (not options.short or one.short is not None) and (not options.only or one.name in options.only)]
    measured = {benchmark.name: known(benchmark) if options.again else measure(benchmark, options.short) for benchmark in chosen}
    rows = [row for some in measured.values() for row in some or ()]
    broken = [name for name, some in measured.items() if some is None]
    share = benchlib.SHORT_SHARE if options.short else 1.0
    missed = [row for row in rows if not row.met(share)]
    if options.write and not broken:
        options.write.write_text(page(rows, machine, datetime.date.today().isoformat()), "utf-8")
    for row in missed:
        print(f"missed: {row.group}: {row.what}: {row.value:.2f} {row.unit}, wanted {row.sign} {row.bar:g}{' or nearly' if options.short else ''}")
    for name in broken:
        print(f"measured nothing: {name}")
    barred = sum(row.bar is not None for row in rows)
    print(f"{barred - len(missed)} passed, {len(missed) + len(broken)} failed")
    return 1 if missed or broken else 0


if __name__ == "__main__":
    sys.exit(main())
