# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every fault of the catalogue, switched on alone on real hosts: the first finding is the right one.

Each runs on two stacks at once, the second with other names for everything an operator can name.
"""

from __future__ import annotations

import functools
import json
import os
import pathlib
import typing as t

import pytest
import yaml

from tests.support.fleet_hosts import PLAIN, RENAMED, ROOT, STACK_ON_HOST, Diagnosed, StackHost, diagnose, fault, side_by_side

CATALOGUE = {entry["name"]: entry for entry in yaml.safe_load((ROOT / "tests/faults/catalogue.yml").read_text())["faults"]}
HOSTS = (PLAIN, RENAMED)

pytestmark = pytest.mark.live


def expected(name: str, host: StackHost) -> dict[str, t.Any]:
    """Return the catalogue's entry with the names of the stack on *host*."""
    names = {"project": host.project, "backend": host.backend, "database": host.database, "port": host.port, "directory": STACK_ON_HOST}

    def named(value: t.Any) -> t.Any:
        if isinstance(value, list):
            return [named(element) for element in value]
        for key, text in names.items():
            value = value.replace("{" + key + "}", str(text))
        return value

    return {key: named(value) for key, value in CATALOGUE[name].items()}


@pytest.fixture(scope="module")
def diagnosed(both_hosts: pathlib.Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[tuple[str, Diagnosed]]:
    """Switch one fault on, on both hosts, diagnose them in one run, and take the fault back with all its traces."""
    name = request.param
    try:
        side_by_side(functools.partial(_inject, name), HOSTS)
        result = diagnose(both_hosts, tmp_path_factory.mktemp("reports"))
        _record(name, result)
        yield name, result
    finally:
        side_by_side(lambda host: fault(host, "reset"), HOSTS)


def _inject(name: str, host: StackHost) -> None:
    fault(host, "inject", name)


def _record(name: str, result: Diagnosed) -> None:
    """Keep the facts for the rules' own tests, where asked to."""
    directory = os.environ.get("RECORD_FACTS")
    if directory:
        row = result.row(PLAIN.name)
        (pathlib.Path(directory) / f"{name}.json").write_text(json.dumps({"schema": 1, "host": row["host"], "facts": row["facts"]}, indent=1) + "\n")


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.project)
@pytest.mark.parametrize("diagnosed", CATALOGUE, indirect=True)
def test_the_first_finding_is_the_cause(diagnosed: tuple[str, Diagnosed], host: StackHost) -> None:
    name, result = diagnosed
    entry = expected(name, host)
    causes = result.causes(host.name)
    shown = "\n".join(f"{cause['severity']} {cause['rule']} {cause['object']} {cause['title']}" for cause in causes) + "\n" + result.output[-6000:]
    assert causes, f"nothing was found\n{shown}"
    first = causes[0]
    assert (first["rule"], first["object"]) == (entry["rule"], entry["object"]), shown
    evidence = json.dumps(first["evidence"], ensure_ascii=False)
    for text in (entry["value"], *entry["evidence"]):
        assert text in evidence, f"{text!r} is not in the evidence {evidence}"
    assert first["fix"], "a finding without the next step"
    assert first["cause"]
