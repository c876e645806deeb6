# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The workflows run what there is: every stage, every scenario, every supported ansible-core. (`make lint` looks at how they are written.)"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import typing as t

import pytest
from collection import ROOT, load

WORKFLOWS = {path.stem: load(path) for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}
JOBS = {f"{name}/{job}": body for name, workflow in WORKFLOWS.items() for job, body in workflow["jobs"].items()}
SCENARIOS = {path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")}


def listed(what: str) -> list[t.Any]:
    """Return a matrix, as the workflow gets it."""
    command = [sys.executable, str(ROOT / "tests/tools/matrix"), "list", what]
    return json.loads(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)


def stages() -> list[str]:
    """Return the stages of ``make test``."""
    named = re.search(r"^STAGES := (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert named is not None
    return named[1].split()


def commands() -> dict[str, str]:
    """Return what each job runs."""
    return {name: "\n".join(step["run"] for step in job.get("steps", []) if "run" in step) for name, job in JOBS.items()}


def matrices() -> dict[str, set[str]]:
    """Return which of the lists each job is spread over."""
    return {name: set(re.findall(r"needs\.plan\.outputs\.([a-z]+)", json.dumps(job.get("strategy", {})))) for name, job in JOBS.items()}


def test_every_stage_is_run_by_a_workflow() -> None:
    run = commands()
    by_list = {"stages": '.ci/run "$STAGE"', "molecule": '.ci/run molecule SCENARIOS="$SCENARIO"', "runs": 'tests/tools/matrix run "$KIND"'}
    for what, command in by_list.items():
        assert [name for name, lists in matrices().items() if what in lists and command in run[name]], what
    ran = {*listed("stages"), "molecule", *(entry["kind"] for entry in listed("runs"))}
    assert set(stages()) <= ran


def test_every_scenario_is_in_the_matrix() -> None:
    assert SCENARIOS
    assert listed("molecule") == sorted(SCENARIOS)


def test_the_matrix_begins_at_the_oldest_core_that_is_supported() -> None:
    floor = load(ROOT / "meta/runtime.yml")["requires_ansible"].removeprefix(">=").rpartition(".")[0]
    assert {(entry["kind"], entry["core"]) for entry in listed("runs")} >= {(kind, floor) for kind in ("sanity", "units")}
    assert listed("runs")[0]["core"] == floor


def test_what_is_developed_with_is_in_the_matrix() -> None:
    pinned = re.search(r"^ansible-core==(\d+\.\d+)", (ROOT / "tests/requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned is not None
    assert pinned[1] in {entry["core"] for entry in listed("runs")}


def test_what_gates_a_merge_waits_for_all_jobs() -> None:
    jobs = WORKFLOWS["ci"]["jobs"]
    assert set(jobs["all-green"]["needs"]) == set(jobs) - {"all-green"}


def test_nothing_is_published_that_was_not_tested() -> None:
    jobs = WORKFLOWS["release"]["jobs"]
    assert jobs["ci"]["uses"] == "./.github/workflows/ci.yml"
    assert "ci" in jobs["galaxy"]["needs"]
    assert jobs["github"]["needs"] == "galaxy"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_only_the_job_that_writes_a_release_may_write(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}
    writing = {job for job, body in WORKFLOWS[name]["jobs"].items() if "write" in (body.get("permissions") or {}).values()}
    assert writing == ({"github"} if name == "release" else set())


@pytest.mark.parametrize("name", JOBS)
def test_targets_and_tools_that_jobs_name_are_there(name: str) -> None:
    run = commands()[name]
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", run)) <= targets
    assert [tool for tool in re.findall(r"(?:^|[\s(])(tests/tools/[a-z_-]+|\.ci/[a-z]+)", run) if not (ROOT / tool).is_file()] == []


@pytest.mark.parametrize("name", [name for name, job in JOBS.items() if "steps" in job])
def test_jobs_end_by_themselves(name: str) -> None:
    assert JOBS[name]["timeout-minutes"] <= 90
