# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bring the services of docker-compose.yml into the states that they are named after, and record them.

``python tests/live/compose_cases/cases.py OUTPUT.json`` records what the engine says of each: its inspect answer and
the end of its log. The recordings in tests/unit/fixtures/compose were made so.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import typing as t

HERE = pathlib.Path(__file__).parent
PROJECT = os.environ.get("CASES_PROJECT", "composecases")
NOT_STARTED = ("waiting", "with-profile", "waits-for-health", "port-taken")
# How long the slowest of them takes: a probe, and the second life of a restart loop.
SETTLE_SECONDS = 8.0


def compose_argv() -> list[str]:
    """Return the Compose command of this machine."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False, timeout=30)
    return ["docker", "compose"] if plugin.returncode == 0 else ["docker-compose"]


class Cases:
    """The project, in a directory of its own; a context manager that removes it at the end."""

    def __init__(self, project: str = PROJECT) -> None:
        self.project = project
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"{project}-"))
        shutil.copy(HERE / "docker-compose.yml", self.directory)
        (self.directory / "nosuch-directory").mkdir()
        self._compose = [*compose_argv(), "--project-name", project]

    def __enter__(self) -> Cases:
        return self

    def __exit__(self, *dummy: object) -> None:
        self.compose("down", "--timeout", "0", "--remove-orphans", "--volumes")
        shutil.rmtree(self.directory, ignore_errors=True)

    def compose(self, *words: str, timeout: float = 180) -> subprocess.CompletedProcess[str]:
        """Run Compose in the project's directory; services that fail to start are what this is for."""
        return subprocess.run([*self._compose, *words], cwd=self.directory, capture_output=True, text=True, check=False, timeout=timeout)

    def docker(self, *words: str) -> str:
        """Run ``docker`` and return what it prints."""
        return subprocess.run(["docker", *words], capture_output=True, text=True, check=False, timeout=120).stdout

    def container(self, service: str, oneoff: bool = False) -> str:
        """Return the identifier of a service's first container."""
        labels = {"project": self.project, "service": service, "oneoff": str(oneoff)}
        filters = [word for name, value in labels.items() for word in ("--filter", f"label=com.docker.compose.{name}={value}")]
        return self.docker("ps", "-aq", "--no-trunc", *filters).split()[0]

    def start(self) -> None:
        """Bring every service into its state; takes about half a minute."""
        services = self.compose("config", "--services").stdout.split()
        # One at a time where it fails to start: Compose gives up on the rest.
        failing = [name for name in ("command-missing", "not-executable", "bad-mount", "port-taken") if name in services]
        self.compose("up", "-d", *[name for name in services if name not in (*NOT_STARTED, *failing)])
        for name in failing:
            self.compose("up", "-d", name)
        self.compose("up", "--no-start", "waiting")
        # Compose v2 leaves it created; Compose v1 does not even create it.
        self.compose("up", "-d", "waits-for-health")
        self.compose("run", "-d", "well", "true")
        time.sleep(SETTLE_SECONDS)
        self.docker("kill", self.container("killed"))
        for service in ("stopped", "stop-timeout", "stopped-by-hand"):
            self.docker("stop", "--time", "1", self.container(service))
        self.docker("pause", self.container("paused"))
        self.docker("restart", "--time", "0", self.container("stale"))

    def record(self) -> dict[str, t.Any]:
        """Return, by service, the inspect answer and the last log lines of every container of the project."""
        ids = self.docker("ps", "-aq", "--no-trunc", "--filter", f"label=com.docker.compose.project={self.project}").split()
        recorded: dict[str, t.Any] = {}
        for raw in json.loads(self.docker("inspect", *ids)):
            labels = raw["Config"]["Labels"]
            name = labels["com.docker.compose.service"]
            if labels.get("com.docker.compose.oneoff") == "True":
                name += " (one-off)"
            elif labels["com.docker.compose.container-number"] != "1":
                name += f" {labels['com.docker.compose.container-number']}"
            log = subprocess.run(["docker", "logs", "--tail", "30", raw["Id"]], capture_output=True, text=True, check=False, timeout=30)
            recorded[name] = {"inspect": _without_machine(raw), "log": (log.stdout + log.stderr).splitlines()}
        return dict(sorted(recorded.items()))

    def shown(self, text: str) -> str:
        """Return *text* with the project's passing names replaced by an example's."""
        return re.sub(rf"(?<![0-9a-z]){self.project}(?![0-9a-z])", "shop", text.replace(str(self.directory), "/srv/shop"))


def _without_machine(raw: dict[str, t.Any]) -> dict[str, t.Any]:
    """Leave out what no check reads and what is about the machine of the recording alone."""
    for name in ("GraphDriver", "ResolvConfPath", "HostnamePath", "HostsPath", "MountLabel", "ProcessLabel", "AppArmorProfile", "ExecIDs"):
        raw.pop(name, None)
    host_config = {name: value for name, value in raw["HostConfig"].items() if value not in (None, 0, "", False, [], {})}
    return {**raw, "HostConfig": host_config}


if __name__ == "__main__":
    with Cases() as cases:
        cases.start()
        text = json.dumps(cases.record(), sort_keys=True)
        lines = [f"{json.dumps(name)}: {json.dumps(entry, sort_keys=True)}" for name, entry in json.loads(cases.shown(text)).items()]
        pathlib.Path(sys.argv[1]).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
