# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real hosts of the test bed with the example stack on them, and the playbook run over them, for end-to-end tests."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = ROOT / ".venv" / "bin"
CACHE = ROOT / ".cache" / "e2e"
STACK_ON_HOST = "/srv/shop"

T = t.TypeVar("T")


@dataclasses.dataclass(frozen=True)
class StackHost:
    """A host, and the names in the stack it runs."""

    name: str
    project: str = "shop"
    backend: str = "backend"
    database: str = "postgres"
    port: int = 8000


# Two checkouts on one machine can test side by side with different names.
_PREFIX = os.environ.get("E2E_HOSTS", "e2e")
PLAIN = StackHost(f"{_PREFIX}-plain")
# Nothing may depend on what an operator calls things.
RENAMED = StackHost(f"{_PREFIX}-renamed", project="kiosk", backend="webapp", database="datastore", port=8088)


class CommandError(AssertionError):
    """A command of the test bed failed; the text has its output."""


def run(*argv: t.Union[str, pathlib.Path], timeout_seconds: float = 300, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run *argv* in the checkout and return what it gave back."""
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", **environment}
    words = [str(word) for word in argv]
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout_seconds, check=False, stdin=subprocess.DEVNULL)
    if check and done.returncode != 0:
        raise CommandError(f"{' '.join(words)} ended with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done


def side_by_side(function: t.Callable[[StackHost], T], hosts: t.Sequence[StackHost]) -> list[T]:
    """Call *function* for every host at the same time."""
    with concurrent.futures.ThreadPoolExecutor(len(hosts)) as pool:
        return list(pool.map(function, hosts))


def testbed(*argv: str, timeout_seconds: float = 600) -> str:
    """Run the test bed's command."""
    return run(sys.executable, ROOT / "tests/testbed/testbed", *argv, timeout_seconds=timeout_seconds).stdout


def fault(host: StackHost, *argv: str) -> str:
    """Run the faults' command on the stack of *host*."""
    where = ["--stack", STACK_ON_HOST, "--host", host.name, "--backend", host.backend, "--database", host.database]
    return run(BIN / "python", ROOT / "tests/faults/fault", *argv, *where).stdout


def bring_up(host: StackHost) -> None:
    """Start *host* with its stack, unless it runs already."""
    directory = CACHE / host.name
    names = ["--project", host.project, "--backend", host.backend, "--database", host.database, "--port", str(host.port)]
    run(sys.executable, ROOT / "tests/stack/render", "--target", directory, *names)
    testbed("host", "up", host.name)
    testbed("host", "deploy", host.name, str(directory), "--to", STACK_ON_HOST)


def on_host(host: StackHost, command: str) -> str:
    """Run a shell command on *host* as root and return what it prints."""
    return run("docker", "exec", host.name, "sh", "-c", command).stdout


def inventory(hosts: t.Sequence[StackHost]) -> pathlib.Path:
    """Write the inventory of *hosts* and return its path."""
    path = CACHE / ("-".join(host.name for host in hosts) + ".yml")
    path.write_text(testbed("inventory", *(host.name for host in hosts)))
    return path


def playbook(name: str, hosts: t.Sequence[StackHost], *argv: str, **variables: t.Any) -> str:
    """Run a playbook over *hosts* and return what it prints."""
    done = run(BIN / "ansible-playbook", "-i", inventory(hosts), f"playbooks/{name}.yml", "-e", json.dumps(variables), *argv, timeout_seconds=900)
    return done.stdout + done.stderr


@dataclasses.dataclass(frozen=True)
class Diagnosed:
    """What one run of the playbook gave: the report, where it is, and what it printed."""

    report: dict[str, t.Any]
    directory: pathlib.Path
    output: str
    exit_code: int

    def row(self, host: str) -> dict[str, t.Any]:
        """Return the row of *host*."""
        row: dict[str, t.Any] = self.report["hosts"][host]
        return row

    def causes(self, host: str) -> list[dict[str, t.Any]]:
        """Return what fired on *host* above info and is not an effect of something else, worst first."""
        fired = [finding for finding in self.row(host)["findings"] if finding["result"] == "fire" and not finding.get("effect_of")]
        return [finding for finding in fired if finding["severity"] != "info"]

    def facts(self, host: str) -> dict[str, t.Any]:
        """Return the facts of *host* by collector."""
        facts: dict[str, t.Any] = self.row(host)["facts"]
        return facts


def diagnose(inventory_path: t.Union[str, pathlib.Path], report_dir: pathlib.Path, *argv: str, **variables: t.Any) -> Diagnosed:
    """Run ``diagnose.yml`` and return its report."""
    # All hosts of the test bed share the processors of one machine. Silenced, an overload would take along what follows from it.
    extra = json.dumps({"diagnose_report_dir": str(report_dir), "diagnose_disabled_rules": ["cpu-overloaded"], **variables})
    done = run(BIN / "ansible-playbook", "-i", str(inventory_path), "playbooks/diagnose.yml", "-e", extra, *argv, check=False)
    latest = report_dir / "latest"
    if not (latest / "report.json").exists():
        raise CommandError(f"no report was written\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return Diagnosed(json.loads((latest / "report.json").read_bytes()), latest.resolve(), done.stdout + done.stderr, done.returncode)
