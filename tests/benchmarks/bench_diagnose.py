#!/usr/bin/env python3
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long `diagnose` takes over real hosts by SSH, beside a ping of the same hosts and the guide's commands by hand.

    tests/benchmarks/bench_diagnose.py [--hosts 3] [--rounds 3] [--json result.json]

It brings up as many hosts of the test bed, each with its own engine and the example stack, and removes them at the end.

The three are run in turns, so that a noisy machine is noisy for all of them; the medians are compared. The bars: at
most 4 times the ping, less than a third of the commands as tasks.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.support.fleet_hosts import BIN, CACHE, STACK_ON_HOST, StackHost, bring_up, inventory, side_by_side, testbed  # noqa: E402

#: Bars of the ratios.
MOST_OF_PING = 4.0
MOST_OF_COMMANDS = 1 / 3

#: The guide's read-only commands, as an operator types them in the stack's directory. What its image lacks (ping, nc,
#: psql) fails as it would by hand.
GUIDE_COMMANDS = (
    "docker compose ps",
    "curl -s http://localhost:{port}/health",
    "curl -s http://localhost:{port}/docs",
    "docker compose logs",
    "docker compose logs {backend}",
    "docker compose logs {database}",
    "docker compose ps {database}",
    "docker compose exec -T {backend} env | grep DATABASE",
    "docker compose exec -T {database} psql -U $(docker compose exec -T {database} printenv POSTGRES_USER) -d postgres -c 'SELECT 1;'",
    "docker compose exec -T {backend} alembic current",
    "docker compose exec -T {backend} alembic heads",
    "docker compose exec -T {backend} tail -n 100 logs/app.log",
    "curl -s -v http://localhost:{port}/health",
    "curl -s -H 'Authorization: Bearer invalid_token' http://localhost:{port}/api/v1/items",
    "grep JWTParser logs/app.log | tail -10",
    "grep duration_ms logs/app.log | awk '$NF > 1000' | tail -10",
    "docker stats --no-stream",
    "top -b -n 1 | head -20",
    "docker compose exec -T {database} psql -U $(docker compose exec -T {database} printenv POSTGRES_USER) -d postgres -c 'SELECT 1 FROM pg_stat_activity'",
    "docker network ls",
    "docker network inspect $(docker network ls -q | head -1)",
    "docker compose exec -T {backend} python3 -c \"import socket; print(socket.gethostbyname('{database}'))\"",
    "ss -tlnp | grep :{port}",
    "ufw status",
    "grep -E '(ERROR|CRITICAL)' logs/app.log | tail -20",
)


def commands_playbook(host: StackHost) -> list[dict[str, object]]:
    """Return the play that runs the guide's commands, one task each, on hosts with the names of *host*."""
    names = {"backend": host.backend, "database": host.database, "port": host.port}
    tasks = [
        {
            "name": f"Guide {number}",
            "ansible.builtin.shell": {"cmd": command.format(**names), "chdir": STACK_ON_HOST},
            "changed_when": False,
            "failed_when": False,
        }
        for number, command in enumerate(GUIDE_COMMANDS, 1)
    ]
    return [{"hosts": "all", "gather_facts": False, "tasks": tasks}]


def seconds_of(argv: list[str]) -> float:
    """Run *argv* and return its wall time; a failure ends the benchmark with its output."""
    begin = time.monotonic()
    done = subprocess.run(argv, cwd=ROOT, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}, capture_output=True, text=True, check=False)
    elapsed = time.monotonic() - begin
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv)} ended with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return elapsed


def measure(hosts: list[StackHost], rounds: int, workspace: pathlib.Path) -> dict[str, list[float]]:
    """Return the wall times in seconds of each round by what was run."""
    guide = workspace / "guide.json"
    guide.write_text(json.dumps(commands_playbook(hosts[0])))
    where = ["-i", str(inventory(hosts))]
    runs = {
        "ping": [str(BIN / "ansible"), *where, "all", "-m", "ansible.builtin.ping"],
        "diagnose": [str(BIN / "ansible-playbook"), *where, "playbooks/diagnose.yml", "-e", f"diagnose_report_dir={workspace / 'reports'}"],
        "guide": [str(BIN / "ansible-playbook"), *where, str(guide)],
    }
    # The first connection to each host is not what is compared.
    seconds_of(runs["ping"])
    times: dict[str, list[float]] = {name: [] for name in runs}
    for dummy in range(rounds):
        for name, argv in runs.items():
            times[name].append(seconds_of(argv))
    return times


def main() -> int:
    """Measure, print the table, and return 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path, help="write the result there as well")
    parser.add_argument("--keep", action="store_true", help="leave the hosts running")
    arguments = parser.parse_args()
    hosts = [StackHost(f"bench-{number}") for number in range(1, arguments.hosts + 1)]
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        side_by_side(bring_up, hosts)
        with tempfile.TemporaryDirectory() as workspace:
            times = measure(hosts, arguments.rounds, pathlib.Path(workspace))
    finally:
        if not arguments.keep:
            side_by_side(lambda host: testbed("host", "down", host.name), hosts)
    median = {name: statistics.median(values) for name, values in times.items()}
    rows: list[dict[str, object]] = []
    for what, other, bar in (("ping", "ping", MOST_OF_PING), ("guide's commands", "guide", MOST_OF_COMMANDS)):
        value = median["diagnose"] / median[other]
        rows.append({"ratio": f"diagnose / {what}", "value": round(value, 3), "bar": round(bar, 3), "met": value <= bar})
    for name, values in times.items():
        print(f"{name:10} median {median[name]:6.2f} s   {' '.join(f'{value:.2f}' for value in values)}")
    for row in rows:
        print(f"{row['ratio']:28} {row['value']:5.2f}   bar {row['bar']:.2f}   {'met' if row['met'] else 'MISSED'}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"hosts": arguments.hosts, "seconds": times, "median_seconds": median, "ratios": rows}, indent=2) + "\n")
    return 0 if all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
