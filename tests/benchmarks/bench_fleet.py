#!/usr/bin/env python3
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How `diagnose` scales over many hosts by SSH, beside a ping of the same hosts and the guide's commands as shell tasks.

    tests/benchmarks/bench_fleet.py [--hosts 50] [--forks 5 25 50] [--rounds 3] [--json FILE] [--write docs/fleet.md docs/fleet.zh-TW.md]

The hosts are light: as many sshd of their own, each on its own port, on one host of the test bed, and share its engine and the example stack. What
they do is real, and all of it is done on this machine, which a fleet's hosts do not share: so the processor time of the controller (ansible, its
workers and their ssh) is told apart from that of the hosts (the container they are in, from the kernel's count).

The runs are made in turns, so that a noisy machine is noisy for all of them; medians are compared. The bars are on the best number of forks.
The guide's commands take minutes, and are run once for each number of forks.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/benchmarks")]

from bench_diagnose import MOST_OF_COMMANDS, MOST_OF_PING, commands_playbook  # noqa: E402

from tests.support.container_cpu import cpu_seconds  # noqa: E402
from tests.support.fleet_hosts import BIN, CACHE, StackHost, bring_up, inventory, on_host, testbed  # noqa: E402
from tests.support.fleet_hosts import run as command_of_test_bed  # noqa: E402

#: Most processor seconds of the controller for each host of a diagnosis.
MOST_CONTROLLER_SECONDS = 0.4
FIRST_PORT = 2300
LIMIT_SECONDS = 3600
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
COLUMNS = {
    "en": (
        "forks", "ping, s", "`diagnose`, s", "guide's commands as tasks, s", "`diagnose` / ping", "`diagnose` / guide",
        "controller CPU, s per host", "hosts' CPU, s per host",
    ),
    "zh": (
        "forks", "ping（秒）", "`diagnose`（秒）", "指南指令寫成 task（秒）", "`diagnose`／ping", "`diagnose`／指南",
        "控制端每台主機 CPU（秒）", "主機端每台 CPU（秒）",
    ),
}  # fmt: skip


class Sample(t.NamedTuple):
    """One run: wall time, and processor time of the controller and of the hosts."""

    wall: float
    controller: float
    hosts: float


def run(argv: t.Sequence[str], container: str) -> Sample:
    """Run *argv* and return what it took; a failure ends the benchmark with its output."""
    usage, hosts, began = resource.getrusage(resource.RUSAGE_CHILDREN), cpu_seconds(container), time.monotonic()
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False, stdin=subprocess.DEVNULL)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv)} ended with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    # sshd is nobody's child here: what is counted are Ansible, its workers and the ssh that they wait for.
    return Sample(wall, after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime, cpu_seconds(container) - hosts)


def light_hosts(host: StackHost, count: int) -> pathlib.Path:
    """Start *count* sshd on *host* and return the path of an inventory in which each is a host."""
    ports = range(FIRST_PORT, FIRST_PORT + count)
    on_host(host, f"for port in $(seq {ports[0]} {ports[-1]}); do ss -Htln sport = :$port | grep -q . || /usr/sbin/sshd -p $port -o PidFile=none; done")
    reached: dict[str, t.Any] = yaml.safe_load(inventory([host]).read_text())["all"]["hosts"][host.name]
    common = f"{reached['ansible_ssh_common_args']} -o HostKeyAlias={reached['ansible_host']}"
    rows = {f"light{port - FIRST_PORT + 1}": {**reached, "ansible_ssh_common_args": common, "ansible_port": port} for port in ports}
    path = CACHE / f"{host.name}-light.json"
    path.write_text(json.dumps({"all": {"hosts": rows}}))
    return path


def measure(host: StackHost, options: argparse.Namespace, workspace: pathlib.Path) -> dict[int, dict[str, list[Sample]]]:
    """Return the samples by number of forks and what was run."""
    container = command_of_test_bed("docker", "inspect", "--format", "{{.Id}}", host.name).stdout.strip()
    guide = workspace / "guide.json"
    guide.write_text(json.dumps(commands_playbook(host)))
    where = ["-i", str(light_hosts(host, options.hosts))]
    runs = {
        "ping": [str(BIN / "ansible"), *where, "all", "-m", "ansible.builtin.ping"],
        "diagnose": [str(BIN / "ansible-playbook"), *where, "playbooks/diagnose.yml", "-e", f"diagnose_report_dir={workspace / 'reports'}"],
        "guide": [str(BIN / "ansible-playbook"), *where, str(guide)],
    }
    samples: dict[int, dict[str, list[Sample]]] = {}
    for forks in options.forks:
        samples[forks] = {name: [] for name in runs}
        # The first connection to each host is not what is compared.
        run([*runs["ping"], "--forks", str(forks)], container)
        for number in range(options.rounds):
            for name, argv in runs.items():
                if name == "guide" and number:
                    continue
                samples[forks][name].append(run([*argv, "--forks", str(forks)], container))
                print(f"forks {forks:3}  {name:9} {samples[forks][name][-1].wall:7.1f} s", file=sys.stderr, flush=True)
    return samples


def rows_of(samples: t.Mapping[int, t.Mapping[str, t.Sequence[Sample]]], hosts: int) -> list[dict[str, float]]:
    """Return the medians, one row for each number of forks."""
    rows = []
    for forks, by_name in samples.items():
        wall = {name: statistics.median(sample.wall for sample in taken) for name, taken in by_name.items()}
        rows.append(
            {
                "forks": forks,
                **{f"{name}_seconds": round(value, 2) for name, value in wall.items()},
                "of_ping": round(wall["diagnose"] / wall["ping"], 2),
                "of_guide": round(wall["diagnose"] / wall["guide"], 3),
                "controller_seconds": round(statistics.median(sample.controller for sample in by_name["diagnose"]) / hosts, 3),
                "hosts_seconds": round(statistics.median(sample.hosts for sample in by_name["diagnose"]) / hosts, 3),
            }
        )
    return rows


def table(rows: t.Sequence[t.Mapping[str, float]], language: str) -> str:
    """Return the rows as a table in Markdown."""
    lines = [f"| {' | '.join(COLUMNS[language])} |", "|" + "---:|" * len(COLUMNS[language])]
    for row in rows:
        lines.append(
            f"| {row['forks']} | {row['ping_seconds']:.1f} | {row['diagnose_seconds']:.1f} | {row['guide_seconds']:.1f} | {row['of_ping']:.2f}"
            f" | {row['of_guide']:.2f} | {row['controller_seconds']:.2f} | {row['hosts_seconds']:.2f} |"
        )
    return "\n".join(lines)


def with_table(page: str, text: str) -> str:
    """Return *page* with *text* between the marks."""
    head, begin, rest = page.partition(BEGIN)
    dummy, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} and {END}")
    return f"{head}{BEGIN}\n{text}\n{END}{tail}"


def main() -> int:
    """Measure, print the table, and return 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", type=int, default=50)
    parser.add_argument("--forks", type=int, nargs="+", default=[5, 25, 50])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path, help="write the result there as well")
    parser.add_argument("--write", type=pathlib.Path, nargs="+", default=[], help="pages to put the table into")
    parser.add_argument("--name", default="bench-light", help="name of the host that the light ones are on")
    parser.add_argument("--keep", action="store_true", help="leave the host running")
    options = parser.parse_args()
    host = StackHost(options.name)
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        bring_up(host)
        with tempfile.TemporaryDirectory() as workspace:
            samples = measure(host, options, pathlib.Path(workspace))
    finally:
        if not options.keep:
            testbed("host", "down", host.name)
    rows = rows_of(samples, options.hosts)
    print(f"{options.hosts} light hosts, {options.rounds} rounds, {os.cpu_count()} processors for controller and hosts together\n\n{table(rows, 'en')}\n")
    best = min(rows, key=lambda row: row["diagnose_seconds"])
    bars = (("of_ping", MOST_OF_PING), ("of_guide", MOST_OF_COMMANDS), ("controller_seconds", MOST_CONTROLLER_SECONDS))
    for name, bar in bars:
        print(f"{name:20} {best[name]:6.2f}   bar {bar:.2f}   {'met' if best[name] <= bar else 'MISSED'}   (forks {best['forks']})")
    if options.json:
        options.json.write_text(json.dumps({"hosts": options.hosts, "rounds": options.rounds, "rows": rows, "samples": samples}, indent=2) + "\n")
    for page in options.write:
        language = "zh" if ".zh-" in page.name else "en"
        page.write_text(with_table(page.read_text("utf-8"), table(rows, language)), "utf-8")
    return 0 if all(best[name] <= bar for name, bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
