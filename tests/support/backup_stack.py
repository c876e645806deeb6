# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The example stack on this machine's own engine, backed up and restored as a host's program does it."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
for directory in ("tests/stack", "tests/testbed", "tests/faults"):
    sys.path.insert(0, str(ROOT / directory))

from faultlib.stack import RunningStack, stack_of  # noqa: E402
from stacklib.render import StackOptions, render  # noqa: E402
from testbedlib import engine, images  # noqa: E402
from testbedlib.console import run, wait_until  # noqa: E402

RUNNER = ROOT / "tests" / "support" / "backup_runner.py"
CACHE = ROOT / ".cache" / "backup"
#: Two runs on one engine need names and ports of their own.
PREFIX, PORT = os.environ.get("FAULTS_PREFIX", "vault"), int(os.environ.get("FAULTS_PORT", "8200"))
#: What :mod:`backup_runner` takes beside the options of the modules.
RUNNER_OPTIONS = ("kill_after", "terminate_in", "check_mode", "clock_shift_seconds", "usual_priority", "split_bytes")


@dataclasses.dataclass(frozen=True)
class Ended:
    """How one run ended; *result* is empty where it was killed."""

    result: dict[str, t.Any]
    exit_code: int
    output: str

    @property
    def message(self) -> str:
        """What a failed run says."""
        return str(self.result.get("msg", ""))

    def row(self) -> dict[str, t.Any]:
        """Return the row of the only stack."""
        (row,) = self.result["stacks"]
        return t.cast("dict[str, t.Any]", row)


class BackupStack:
    """One project on this machine's engine."""

    def __init__(self, project: str, postgres: str = "17", port: int = 8200, services: t.Sequence[str] = ("postgres", "backend")) -> None:
        self.project = project
        self.services = tuple(services)
        self.directory = CACHE / project
        self.postgres = postgres
        self.port = port

    def up(self, fresh: bool = True, **more: t.Any) -> None:
        """Start it with *fresh* data or what there is, on images that are built where they are missing; *more* are other options of the stack."""
        images.ensure(("app:latest", f"postgres:{self.postgres}"))
        options = StackOptions(
            project=self.project, port=self.port, database_image=images.CATALOGUE[f"postgres:{self.postgres}"].reference,
            health_interval="1s", health_retries=3, health_start_period="5s", seed_orders=200, seed_events=5000, **more,
        )  # fmt: skip
        render(self.directory, options)
        if fresh:
            # After rendering: what a run of another checkout left is known by the name of the project, not by this directory.
            self.down()
        self._compose("up", "-d", *self.services)
        self.wait_until_well()

    def down(self) -> None:
        """Remove it and its data."""
        if (self.directory / ".env").exists():
            self._compose("down", "--volumes", "--remove-orphans", check=False)

    def running(self) -> RunningStack:
        """Return the stack as the faults know it."""
        return stack_of(self.directory)

    def sql(self, statement: str, database: t.Optional[str] = None) -> str:
        """Run SQL in the stack's database, or another, and return its rows."""
        container = self.container()
        script = 'exec psql -XqAt -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "${1:-$POSTGRES_DB}"'
        argv = ["docker", "exec", "--interactive", container, "sh", "-c", script, "psql", database or ""]
        return run(argv, 300, stdin=statement.encode()).stdout.decode("utf-8", "replace").strip()

    def container(self, service: str = "postgres") -> str:
        """Return the id of the container of *service*."""
        return str((self.running().inspect(service) or {})["Id"])

    def inside(self, script: str, service: str = "postgres") -> str:
        """Run a shell script as root in a container and return what it prints."""
        argv = ["docker", "exec", "--user", "0", self.container(service), "sh", "-euc", script]
        return run(argv, 120).stdout.decode("utf-8", "replace").strip()

    def is_well(self) -> bool:
        """Tell whether all services are healthy now."""
        return all(self.running().health(service) == "healthy" for service in self.services)

    def wait_until_well(self) -> None:
        """Wait until all services are healthy."""
        wait_until(self.is_well, 120, f"{self.project} is well", pause_seconds=0.2)

    def started(self) -> dict[str, str]:
        """Return since when each service runs: what was stopped in between has another time."""
        return {service: str(self.running().state(service).get("StartedAt")) for service in self.services}

    def databases(self) -> list[str]:
        """Return the names of all databases but templates and ``postgres``."""
        # In postgres: the stack's own may be closed for a swap.
        return self.sql("SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres' ORDER BY 1", "postgres").splitlines()

    def backup(self, root: pathlib.Path, **params: t.Any) -> Ended:
        """Run ``pg_backup``; :data:`RUNNER_OPTIONS` are the runner's. Without a level it is ``decodable``, which is fast."""
        return self._run("backup", root, {"level": "decodable", **params})

    def restore(self, root: pathlib.Path, **params: t.Any) -> Ended:
        """Run ``pg_restore``, confirmed; :data:`RUNNER_OPTIONS` are the runner's."""
        return self._run("restore", root, {"confirm": self.project, "health_timeout_seconds": 60, **params})

    def start(self, what: str, root: pathlib.Path, params: dict[str, t.Any]) -> subprocess.Popen[str]:
        """Start a run and return it while it goes on."""
        runner = {name: params.pop(name) for name in RUNNER_OPTIONS if name in params}
        asked = {"what": what, **runner, "params": {"root": str(root), "project_name": self.project, **params}}
        environment = {**os.environ, "PYTHONPATH": str(ROOT / ".venv" / "collections")}
        argv = [sys.executable, str(RUNNER), json.dumps(asked)]
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)

    def _run(self, what: str, root: pathlib.Path, params: dict[str, t.Any]) -> Ended:
        limit = params.pop("timeout_seconds", 300)
        return ended(self.start(what, root, params), limit)

    def _compose(self, *argv: str, check: bool = True) -> None:
        command: t.Sequence[str] = engine.compose_command()
        run(["env", "-C", str(self.directory), *command, *argv], 300, check=check)


def ended(process: subprocess.Popen[str], timeout_seconds: float = 300) -> Ended:
    """Wait for a run that :meth:`BackupStack.start` started."""
    stdout, stderr = process.communicate(timeout=timeout_seconds)
    lines = stdout.strip().splitlines()
    result = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    return Ended(result, process.returncode, stdout + stderr)


def sets_of(root: pathlib.Path, project: str) -> list[str]:
    """Return the ids of the sets on the disk."""
    directory = root / project / "sets"
    return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
