# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bring hosts of the test bed into the states that rules are about, diagnose them, and keep their facts for the tests of rules.

``python tests/live/rule_cases/record.py CASE...`` records anew; see README.md beside this file.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import sys
import tempfile
import time
import typing as t

import yaml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "testbed")]

from testbedlib import hosts, images  # noqa: E402
from testbedlib.console import run, say, step  # noqa: E402

from tests.support.fleet_hosts import diagnose  # noqa: E402

FACTS = ROOT / "tests" / "unit" / "fixtures" / "facts"
PREFIX = os.environ.get("RULE_CASES_HOSTS", "rules")
PREPARE_SECONDS = 600


@dataclasses.dataclass(frozen=True)
class Case:
    """One directory beside this file: what ``prepare`` does to a host, and what is kept of its facts.

    *collectors* are those whose facts rules need here; *hosts* are the words with which ``prepare`` is called, once for a host
    of each; *image* says that the directory has a Dockerfile of an image that the host needs. *runs* are made one after the other,
    each *pause_seconds* after the one before, where it takes several to know.
    """

    name: str
    collectors: tuple[str, ...]
    hosts: tuple[str, ...] = ("",)
    image: str = ""
    variables: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    runs: int = 1
    pause_seconds: float = 0

    @classmethod
    def load(cls, name: str) -> Case:
        """Read ``case.yml`` of the case *name*."""
        given = yaml.safe_load((HERE / name / "case.yml").read_text(encoding="utf-8"))
        return cls(name, **{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()})

    def record(self) -> None:
        """Record every host of the case, one after the other: only one is up at a time."""
        for word in self.hosts:
            name = "-".join(filter(None, (self.name, word)))
            host = f"{PREFIX}-{name}"
            try:
                self._write(name, self._facts(host, word))
            finally:
                if self._has("undo"):
                    run(["docker", "exec", "--workdir", self._place, host, "./undo"], PREPARE_SECONDS, check=False)
                hosts.down([host])

    @property
    def _place(self) -> str:
        return f"/srv/{self.name}"

    def _has(self, file: str) -> bool:
        return (HERE / self.name / file).exists()

    def _facts(self, host: str, word: str) -> dict[str, t.Any]:
        hosts.up([host])
        if self.image:
            self._bring_image(host)
        with step(f"Preparing {host}"):
            run(["docker", "exec", host, "mkdir", "-p", self._place])
            run(["docker", "cp", f"{HERE / self.name}/.", f"{host}:{self._place}"])
            run(["docker", "exec", "--workdir", self._place, host, "./prepare", *filter(None, [word])], PREPARE_SECONDS)
        with step(f"Diagnosing {host}"), tempfile.TemporaryDirectory() as directory:
            inventory = pathlib.Path(directory) / "inventory.yml"
            inventory.write_text(hosts.inventory([host], "root"), encoding="utf-8")
            for dummy_number in range(self.runs - 1):
                diagnose(inventory, pathlib.Path(directory) / "reports", **self.variables)
                time.sleep(self.pause_seconds)
            return diagnose(inventory, pathlib.Path(directory) / "reports", **self.variables).row(host)

    def _bring_image(self, host: str) -> None:
        with step(f"Building {self.image}"):
            images.ensure()
            context = str(HERE / self.name)
            run(["docker", "build", "--network", "host", "--tag", self.image, context], images.BUILD_SECONDS, env={"DOCKER_BUILDKIT": "0"})
            run(["sh", "-c", 'docker save "$1" | docker exec --interactive "$2" docker load', "load", self.image, host], PREPARE_SECONDS)

    def _write(self, name: str, row: dict[str, t.Any]) -> None:
        """Keep what ``stack_facts`` returned, of the collectors that the case is about."""
        facts = {
            "schema": 1,
            "host": {key: value for key, value in row["host"].items() if key != "name"},
            "facts": {key: value for key, value in row["facts"].items() if key in self.collectors},
        }
        path = FACTS / f"{name}.json"
        path.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        fired = [f"{finding['rule']} on {finding['object']}" for finding in row["findings"] if finding["result"] == "fire"]
        say("\n    ".join([f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes; fired:", *sorted(fired)]))


def main() -> None:
    """Record the cases that are named."""
    parser = argparse.ArgumentParser(description="Record the facts of hosts in the states that rules are about.")
    parser.add_argument("cases", nargs="+", metavar="CASE", choices=sorted(path.parent.name for path in HERE.glob("*/case.yml")))
    for name in parser.parse_args().cases:
        Case.load(name).record()


if __name__ == "__main__":
    main()
