#!/usr/bin/env python3
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long `pg_slow_queries` takes, beside `community.postgresql.postgresql_query` and `psql` with the guide's statement.

    PYTHONPATH=.venv/collections .venv/bin/python tests/benchmarks/bench_postgres.py [--rounds 5] [--json build/bench_postgres.json]

Against the example stack on this machine's engine, with five thousand kinds of statements counted. The two modules run as tasks of one
`ansible` command each; `community.postgresql` is taken out of the package `ansible` from PyPI. Neither of the others finds the database, its
address or its password by itself: they are given them. There is no bar beside psql: what takes longer there is Ansible's own start, as the
other task shows.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import pathlib
import subprocess
import sys
import typing as t
import zipfile

import benchlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.support.backup_stack import BackupStack  # noqa: E402

PROJECT, PORT = "benchpostgres", 8207
CACHE = ROOT / ".cache" / "bench"
PACKAGE = "ansible==12.2.0"
#: At most so many times as long as the bare query as a task.
OF_THE_TASK = 1.5
QUERY = "SELECT query, calls, total_exec_time, mean_exec_time FROM pg_stat_statements WHERE calls >= 3 ORDER BY mean_exec_time DESC LIMIT 20"


def community_collection() -> pathlib.Path:
    """Return a directory of collections with nothing but ``community.postgresql``."""
    place = CACHE / "collections"
    if not (place / "ansible_collections/community/postgresql").is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(CACHE), PACKAGE], check=True, timeout=600)
        (wheel,) = CACHE.glob("ansible-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(place, [name for name in archive.namelist() if name.startswith("ansible_collections/community/postgresql/")])
    return place


def fill(stack: BackupStack) -> None:
    """Have the server count five thousand kinds of statements, each three times."""
    statements = "".join(f"SELECT {number} AS column{number};\n" for number in range(5000))
    stack.sql("SELECT pg_stat_statements_reset()")
    for dummy in range(3):
        stack.sql(statements)


def measure(stack: BackupStack, rounds: int) -> list[benchlib.Row]:
    """Return the rows."""
    container = stack.running().inspect("postgres") or {}
    address = next(iter(container["NetworkSettings"]["Networks"].values()))["IPAddress"]
    variables = stack.running().variables()
    login = {"login_host": address, "login_user": "postgres", "login_password": variables["POSTGRES_PASSWORD"], "login_db": "mydb", "query": QUERY}
    prefix = [str(ROOT / ".venv/bin/ansible"), "localhost", "-i", "localhost,", "-c", "local", "-e", "ansible_python_interpreter=/usr/bin/python3"]
    environment = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_COLLECTIONS_PATH": f"{ROOT / '.venv/collections'}:{community_collection()}"}

    def task(module: str, arguments: t.Mapping[str, t.Any]) -> t.Callable[[], benchlib.Taken]:
        return functools.partial(benchlib.run, [*prefix, "-m", module, "-a", json.dumps(arguments)], env=environment)

    psql = ["docker", "exec", container["Id"], "sh", "-c", f'exec psql -XqAt -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "{QUERY}"']
    taken = benchlib.in_turns(
        {
            "ours": task("stackops.runbook.pg_slow_queries", {"project_name": PROJECT}),
            "community": task("community.postgresql.postgresql_query", login),
            "psql": functools.partial(benchlib.run, psql),
        },
        rounds,
    )
    ours = benchlib.median(taken["ours"])
    rows = []
    for name, words, bar in (("community", "community.postgresql.postgresql_query", OF_THE_TASK), ("psql", "psql in the container", None)):
        other = benchlib.median(taken[name])
        rows.append(
            benchlib.Row(
                "pg_slow_queries",
                f"beside {words}",
                ours / other,
                "times its time",
                "<=",
                bar,
                f"{ours:.2f} s",
                f"{other:.2f} s",
                benchlib.spread(taken["ours"]),
            )  # fmt: skip
        )
    return rows


def main() -> int:
    """Measure, print the table, and return 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path, default=pathlib.Path("build/bench_postgres.json"))
    options = parser.parse_args()
    stack = BackupStack(PROJECT, port=PORT)
    try:
        stack.up()
        fill(stack)
        rows = measure(stack, options.rounds)
    finally:
        stack.down()
    sys.stdout.write(benchlib.table(rows))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"rows": [dataclasses.asdict(row) for row in rows]}, indent=1), "utf-8")
    return 0 if all(row.met() for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
