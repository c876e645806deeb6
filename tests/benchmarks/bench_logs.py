# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How fast logs are read, against what the guide and others use on the same files.

    PYTHONPATH=.venv/collections .venv/bin/python tests/benchmarks/bench_logs.py [--megabytes 1000] [--tenfold] [--json build/bench_logs.json]

Every run is a process of its own; the median of five counts, or of as many as fit into twenty seconds, wall clock and processor time
from its start to its end. Files are in the page cache. Corpora are kept in the work directory and made again only where the arguments
changed.

The guide's pipeline is the strongest of what it is compared with: grep passes on two lines of a hundred, and jq, sort and uniq see no
others. It answers less than we do, which is how many errors of each text there are; of lines, warnings, minutes and shapes it knows
nothing. And it reads the file from its beginning, whatever time was asked for.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import time
import typing as t

import log_corpus

RUNS = 5
#: After so long there is no further run.
LONG_SECONDS = 20.0
END = log_corpus.END.timestamp()
RUNNER = r"""
import json, re, sys
from ansible_collections.stackops.runbook.plugins.module_utils._log_error_rate import LogOptions, LogSource, analyse
options = json.loads(sys.argv[2])
logs, requests = analyse([LogSource(sys.argv[1], "file", sys.argv[1])], None, LogOptions(until=options["end"], **options["more"]), now=options["end"])
source = logs["sources"][0]
found = {key: source[key] for key in ("lines", "errors", "warnings", "read_bytes", "truncated")}
found["groups"] = {group["level"] + " " + group["shape"]: group["count"] for group in source["groups"]}
found["minutes"] = len(source["histogram"])
found["requests"] = requests["sources"][0]["requests"] if requests["sources"] else 0
# Not ru_maxrss: that begins with what the parent had.
found["peak_mib"] = int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1024
print(json.dumps(found))
"""
Row = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Runs:
    """What the runs of one command took, and what the last one printed."""

    walls: tuple[float, ...]
    cpus: tuple[float, ...]
    output: bytes = b""


def run(argv: t.Sequence[str]) -> Runs:
    """Run *argv* as often as it is worth.

    Python keeps what it compiled, as it does for what is installed; the first run pays for it.
    """
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": os.path.abspath("build/bench-logs/pycache")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    walls: list[float] = []
    cpus: list[float] = []
    output = b""
    while len(walls) < RUNS and sum(walls) < LONG_SECONDS:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begin = time.perf_counter()
        output = subprocess.run(argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=environment).stdout
        walls.append(time.perf_counter() - begin)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return Runs(tuple(walls), tuple(cpus), output)


def ours(name: str, path: pathlib.Path, bar: str = "", **options: t.Any) -> Row:
    """Measure one run of the collection's own reading of *path*."""
    warm(path, options)
    more = {"requests": False, "max_bytes": 1 << 40, **options}
    done = run([sys.executable, "-c", RUNNER, str(path), json.dumps({"end": END + 1, "more": more})])
    found = json.loads(done.output)
    return row(name, path, done, found["read_bytes"], found["peak_mib"], bar, found)


def row(name: str, path: pathlib.Path, taken: Runs, read: int, peak: float | None = None, bar: str = "", found: t.Any = None, tool: str = "") -> Row:
    """Return one line of the table; without a *tool* it is ours."""
    wall, cpu = statistics.median(taken.walls), statistics.median(taken.cpus)
    return {
        "name": name, "tool": tool, "file": path.name, "file_mb": round(path.stat().st_size / 1e6), "wall_s": round(wall, 3), "cpu_s": round(cpu, 3),
        "wall_s_from": round(min(taken.walls), 3), "wall_s_to": round(max(taken.walls), 3), "runs": len(taken.walls),
        "mb_per_s": round(read / wall / 1e6), "mb_per_cpu_s": round(read / cpu / 1e6), "peak_mib": round(peak, 1) if peak else None, "bar": bar, "found": found,
    }  # fmt: skip


def warm(path: pathlib.Path, options: t.Mapping[str, t.Any]) -> None:
    """Bring what will be read into the page cache: all of the file, or the end of a large one."""
    with open(path, "rb") as handle:
        if not options.get("whole"):
            handle.seek(max(0, path.stat().st_size - 200_000_000))
        while handle.read(1 << 20):
            pass


def naive(path: pathlib.Path) -> Row:
    """Parse every line, as a script would, for the truth and for comparison."""
    begin, cpu = time.perf_counter(), time.process_time()
    lines = errors = warnings = 0
    minutes: collections.Counter[str] = collections.Counter()
    with open(path, "rb") as handle:
        for line in handle:
            record = json.loads(line)
            lines += 1
            minutes[record["timestamp"][:16]] += 1
            errors += record["level"] in ("error", "critical")
            warnings += record["level"] == "warning"
    found = {"lines": lines, "errors": errors, "warnings": warnings, "minutes": len(minutes)}
    taken = Runs((time.perf_counter() - begin,), (time.process_time() - cpu,))
    return row("whole file, in order", path, taken, path.stat().st_size, found=found, tool="json.loads per line")


def shell(name: str, tool: str, path: pathlib.Path, command: str, needs: str, *arguments: str) -> Row | None:
    """Measure a pipeline of other tools; ``None`` where one is not installed."""
    missing = [tool for tool in needs.split() if shutil.which(tool) is None]
    if missing:
        print(f"  {tool}: left out, {', '.join(missing)} not installed", file=sys.stderr)
        return None
    return row(name, path, run(["bash", "-c", command, "bash", str(path), *arguments]), path.stat().st_size, tool=tool)


def corpus(directory: pathlib.Path, name: str, form: str, megabytes: int, hours: float, **options: t.Any) -> pathlib.Path:
    """Return the path of a corpus, made if it is not there."""
    path = directory / f"{name}-{megabytes}.log"
    if not path.exists():
        print(f"  writing {path.name}", file=sys.stderr)
        temporary = path.with_suffix(".tmp")
        log_corpus.write(str(temporary), form, megabytes * 1_000_000, hours, **options)
        temporary.rename(path)
    return path


def tenfold(source: pathlib.Path) -> pathlib.Path:
    """Return a file ten times as long and as old, with *source*, a log of three days, at its end."""
    path = source.with_name(source.stem + "-tenfold.log")
    if not path.exists():
        print(f"  writing {path.name}", file=sys.stderr)
        days = [log_corpus.END.date() - datetime.timedelta(days=number) for number in range(4)]
        with open(path.with_suffix(".tmp"), "wb", buffering=1 << 22) as out:
            for back in range(27, -1, -3):
                with open(source, "rb") as handle:
                    # Whole lines, so that no date is cut in two.
                    while lines := handle.readlines(1 << 22):
                        data = b"".join(lines)
                        for day in reversed(days):
                            data = data.replace(f'"{day}T'.encode(), f'"{day - datetime.timedelta(days=back)}T'.encode())
                        out.write(data)
        path.with_suffix(".tmp").rename(path)
    return path


GUIDE_NAME = "grep, jq, sort, uniq (the guide)"
GUIDE = r"""grep -E '"level": "(error|critical)"' "$1" | jq -r --arg since "$2" 'select(.timestamp > $since) | .message' | sort | uniq -c | sort -nr"""
JQ = r"""jq -r 'select(.level == "error" or .level == "critical") | .timestamp[:16] + .message' "$1" | wc -l"""
GOACCESS = """goaccess "$1" --log-format=COMBINED --no-global-config -o /dev/null.json 2>/dev/null || true"""
LNAV = """lnav -n -c ';SELECT sc_status, count(*) FROM access_log GROUP BY sc_status' "$1" 2>/dev/null || true"""
LONG_AGO, AN_HOUR_AGO = ((log_corpus.END - datetime.timedelta(hours=hours)).isoformat() for hours in (24 * 365, 1))


def of_the_last_hour(path: pathlib.Path, tools: bool) -> list[Row | None]:
    """Measure what went wrong in the last hour, beside the guide's pipeline with its time."""
    rows: list[Row | None] = [ours("last hour", path, "0.2 s, 50 MiB")]
    if tools:
        rows.append(shell("last hour", GUIDE_NAME, path, GUIDE, "grep jq", AN_HOUR_AGO))
    return rows


def beside_others(log: pathlib.Path, access: pathlib.Path) -> list[Row | None]:
    """Measure other tools on whole files, where ours are measured as well."""
    return [
        shell("whole file, in order", GUIDE_NAME, log, GUIDE, "grep jq", LONG_AGO),
        shell("whole file, in order", "jq alone", log, JQ, "jq"),
        ours("access log", access, whole=True),
        shell("access log", "goaccess", access, GOACCESS, "goaccess"),
        shell("access log", "lnav", access, LNAV, "lnav"),
    ]


def main() -> None:
    """Make the corpora, run everything, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--tools-megabytes", type=int, default=100)
    parser.add_argument("--directory", type=pathlib.Path, default=pathlib.Path("build/bench-logs"))
    parser.add_argument("--json", type=pathlib.Path, default=pathlib.Path("build/bench_logs.json"))
    parser.add_argument("--tenfold", action="store_true", help="also a file ten times as long (10 GB), removed afterwards")
    parser.add_argument("--no-tools", action="store_true")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    tools = not options.no_tools
    small, log = (corpus(options.directory, "json", "json", size, 72) for size in (options.tools_megabytes, options.megabytes))
    mine, truth = ours("whole file, in order", small, whole=True), naive(small)
    assert {key: mine["found"][key] for key in truth["found"]} == truth["found"], "results differ from the naive parser's"
    rows: list[Row | None] = [
        *of_the_last_hour(small, tools),
        *of_the_last_hour(log, tools),
        ours("last hour, with requests", log, "", requests=True),
        ours("last hour, without the hour before", log, "", baseline=False),
        mine,
        truth,
        ours("whole file, in order", log, "500 MB/s", whole=True),
        ours("whole file, shuffled", corpus(options.directory, "shuffled", "json", options.megabytes, 72, shuffled=True), "250 MB/s", whole=True),
        *(ours(f"whole file, {form}", corpus(options.directory, form, form, options.tools_megabytes, 72), whole=True) for form in ("docker", "text")),
    ]
    if tools:
        for size, file in ((options.tools_megabytes, small), (options.megabytes, log)):
            rows.extend(beside_others(file, corpus(options.directory, "combined", "combined", size, 72)))
        pathlib.Path("/dev/null.json").unlink(missing_ok=True)
    if options.tenfold:
        long = tenfold(log)
        rows.extend(of_the_last_hour(long, tools))
        rows.append(ours("whole file, in order", long, whole=True))
        if tools:
            rows.append(shell("whole file, in order", GUIDE_NAME, long, GUIDE, "grep jq", LONG_AGO))
        long.unlink()
    table = [entry for entry in rows if entry is not None]
    options.json.parent.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()
    options.json.write_text(json.dumps({"cpus": os.cpu_count(), "load": load, "python": sys.version.split()[0], "rows": table}, indent=1), encoding="utf-8")
    print(f"| {'what':56} | {'file':>8} | {'wall':>8} | {'CPU':>8} | {'MB/s':>6} | {'MB/CPU s':>8} | {'peak':>8} | bar")
    print("|" + "|".join("-" * width for width in (58, 10, 10, 10, 8, 10, 10)) + "|" + "-" * 16)
    for entry in table:
        peak = f"{entry['peak_mib']} MiB" if entry["peak_mib"] else ""
        cells = f"{entry['file_mb']:>5} MB | {entry['wall_s']:>6.3f} s | {entry['cpu_s']:>6.3f} s | {entry['mb_per_s']:>6} | {entry['mb_per_cpu_s']:>8}"
        what = entry["name"] + (f", {entry['tool']}" if entry["tool"] else "")
        print(f"| {what:56} | {cells} | {peak:>8} | {entry['bar']}")
    print(f"load {load[0]:.1f} on {os.cpu_count()} CPUs, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
