#!/usr/bin/env python3
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long `diagnose` takes over real hosts by SSH, beside a ping of the same hosts and the guide's commands by hand.

    tests/benchmarks/bench_diagnose.py --inventory hosts.yml [--rounds 3] [--json result.json]

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
BIN = ROOT / ".venv" / "bin"

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


def commands_playbook(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Return the play that runs the guide's commands, one task each."""
    names = {"backend": arguments.backend, "database": arguments.database, "port": arguments.port}
    tasks = [
        {
            "name": f"Guide {number}",
            "ansible.builtin.shell": {"cmd": command.format(**names), "chdir": arguments.stack},
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


def measure(arguments: argparse.Namespace, workspace: pathlib.Path) -> dict[str, list[float]]:
    """Return the wall times in seconds of each round by what was run."""
    guide = workspace / "guide.json"
    guide.write_text(json.dumps(commands_playbook(arguments)))
    inventory = ["-i", arguments.inventory]
    runs = {
        "ping": [str(BIN / "ansible"), *inventory, "all", "-m", "ansible.builtin.ping"],
        "diagnose": [str(BIN / "ansible-playbook"), *inventory, "playbooks/diagnose.yml", "-e", f"diagnose_report_dir={workspace / 'reports'}"],
        "guide": [str(BIN / "ansible-playbook"), *inventory, str(guide)],
    }
    # The first connection to each host is not what is compared.
    seconds_of(runs["ping"])
    times: dict[str, list[float]] = {name: [] for name in runs}
    for dummy in range(arguments.rounds):
        for name, argv in runs.items():
            times[name].append(seconds_of(argv))
    return times


def main() -> int:
    """Measure, print the table, and return 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inventory", required=True)
    parser.add_argument("--stack", default="/srv/shop", help="directory of the stack on the hosts")
    parser.add_argument("--backend", default="backend")
    parser.add_argument("--database", default="postgres")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path, help="write the result there as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as workspace:
        times = measure(arguments, pathlib.Path(workspace))
    median = {name: statistics.median(values) for name, values in times.items()}
    rows = [
        {"ratio": "diagnose / ping", "value": median["diagnose"] / median["ping"], "bar": MOST_OF_PING},
        {"ratio": "diagnose / guide's commands", "value": median["diagnose"] / median["guide"], "bar": MOST_OF_COMMANDS},
    ]
    for name, values in times.items():
        print(f"{name:10} median {median[name]:6.2f} s   {' '.join(f'{value:.2f}' for value in values)}")
    for row in rows:
        row["met"] = row["value"] <= row["bar"]
        print(f"{row['ratio']:28} {row['value']:5.2f}   bar {row['bar']:.2f}   {'met' if row['met'] else 'MISSED'}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"seconds": times, "median_seconds": median, "ratios": rows}, indent=2) + "\n")
    return 0 if all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
