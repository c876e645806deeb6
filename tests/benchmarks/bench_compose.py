#!/usr/bin/env python3
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long `compose_health` takes for 5, 50 and 200 containers, beside `docker compose ps`, `docker inspect` and `docker stats`.

    PYTHONPATH=.venv/collections .venv/bin/python tests/benchmarks/bench_compose.py [--containers 5 50 200] [--rounds 5] [--json build/bench_compose.json]

On a host of the test bed with Compose v2. Both sides are one process started on the host, as a person and as Ansible start it, and both give the
containers' state, health, configuration and use of memory and processor; ours also says what is wrong with each and why.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import pathlib
import sys
import typing as t

import benchlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "testbed"))

from testbedlib import hosts  # noqa: E402
from testbedlib.console import run  # noqa: E402

HOST = "bench-compose"
CODE = "/usr/local/lib/bench"
DIRECTORY = "/srv/bench"
#: At least as fast as the three commands that tell less.
AT_LEAST = 1.0

_OURS = """import json, sys
from module_utils._compose_health import check_compose
print(json.dumps(check_compose(json.loads(sys.argv[1])))[:200])
"""
_THEIRS = "docker compose ps --all --format json && docker inspect $(docker compose ps --all --quiet) && docker stats --no-stream --format json"
_PARAMETERS = {
    "project_src": DIRECTORY, "log_tail": 20, "stats": True, "wait": False, "wait_timeout": 10, "memory_percent_warning": 80.0,
    "memory_percent_critical": 95.0, "restart_count": 3, "restart_window": 600, "config_timeout": 60, "timeout": 60,
}  # fmt: skip


def compose_file(containers: int) -> str:
    """Return a project of so many containers: ten services with as many replicas as it takes."""
    services = min(10, containers)
    service = {
        "image": "stackops-test/app", "entrypoint": ["sleep", "100000"], "init": True, "deploy": {"replicas": containers // services},
        "healthcheck": {"test": ["CMD", "true"], "interval": "60s"},
    }  # fmt: skip
    return json.dumps({"services": {f"service{number}": service for number in range(services)}})


def bring_up(containers: int) -> None:
    """Have so many containers run on the host."""
    write = ["docker", "exec", "--interactive", HOST, "sh", "-c", f"mkdir -p {DIRECTORY} && cat > {DIRECTORY}/docker-compose.yml"]
    run(write, stdin=compose_file(containers).encode())
    run(["docker", "exec", "--workdir", DIRECTORY, "--env", "COMPOSE_PARALLEL_LIMIT=8", HOST, "docker", "compose", "up", "--detach", "--remove-orphans"], 900)


def measure(containers: int, rounds: int) -> benchlib.Row:
    """Return the row for so many containers."""
    bring_up(containers)
    prefix = ["docker", "exec", "--workdir", DIRECTORY, HOST]
    commands: dict[str, t.Callable[[], benchlib.Taken]] = {
        "ours": functools.partial(benchlib.run, [*prefix, "python3", f"{CODE}/ours.py", json.dumps(_PARAMETERS)]),
        "theirs": functools.partial(benchlib.run, [*prefix, "sh", "-c", _THEIRS]),
    }
    taken = benchlib.in_turns(commands, rounds)
    ours, theirs = benchlib.median(taken["ours"]), benchlib.median(taken["theirs"])
    return benchlib.Row(
        "compose_health", f"{containers} containers", theirs / ours, "times as fast", ">=", AT_LEAST, f"{ours:.2f} s",
        f"docker compose ps, inspect and stats: {theirs:.2f} s", benchlib.spread(taken["ours"]),
    )  # fmt: skip


def main() -> int:
    """Measure, print the table, and return 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--containers", type=int, nargs="+", default=[5, 50, 200])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path, default=pathlib.Path("build/bench_compose.json"))
    options = parser.parse_args()
    hosts.up([HOST])
    try:
        run(["docker", "exec", HOST, "mkdir", "-p", CODE])
        run(["docker", "cp", str(ROOT / "plugins/module_utils"), f"{HOST}:{CODE}"])
        run(["docker", "exec", "--interactive", HOST, "tee", f"{CODE}/ours.py"], stdin=_OURS.encode())
        rows = [measure(containers, options.rounds) for containers in options.containers]
    finally:
        hosts.down([HOST])
    sys.stdout.write(benchlib.table(rows))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"rows": [dataclasses.asdict(row) for row in rows]}, indent=1), "utf-8")
    return 0 if all(row.met() for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
