# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What AWX, Automation Controller and ansible-navigator are built of takes the tarball: ansible-builder and ansible-runner."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import subprocess
import sys
import tarfile
import typing as t

import ansible_runner
import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSION = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"]
TARBALL = ROOT / f"build/stackops-runbook-{VERSION}.tar.gz"
DEFINITION = ROOT / "docs/execution-environment.yml"
RECORDED = ROOT / "demo/recorded_facts"


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return a path of collections with nothing but what is in the tarball."""
    path = tmp_path_factory.mktemp("collections")
    target = path / "ansible_collections/stackops/runbook"
    with tarfile.open(TARBALL) as archive:
        archive.extractall(target, filter="data")
    return path


def builder(*arguments: str) -> str:
    """Return what ansible-builder said, which succeeded."""
    command = [str(pathlib.Path(sys.executable).with_name("ansible-builder")), *arguments]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_an_execution_environment_gets_what_the_controller_needs(collections: pathlib.Path, tmp_path: pathlib.Path) -> None:
    builder("introspect", str(collections), f"--write-pip={tmp_path / 'pip'}", f"--write-bindep={tmp_path / 'bindep'}")
    assert (tmp_path / "pip").read_text(encoding="utf-8").split() == ["jmespath", "#", "from", "collection", "stackops.runbook"]
    # nothing of the system; an empty list writes no file
    assert not (tmp_path / "bindep").exists()


def test_the_definition_in_the_documentation_gives_a_build_context(tmp_path: pathlib.Path) -> None:
    builder("create", f"--file={DEFINITION}", f"--context={tmp_path}", "--output-filename=Containerfile")
    lines = (tmp_path / "Containerfile").read_text(encoding="utf-8").splitlines()
    assert f'ARG EE_BASE_IMAGE="{yaml.safe_load(DEFINITION.read_text(encoding="utf-8"))["images"]["base_image"]["name"]}"' in lines
    assert any(line.startswith("ARG ANSIBLE_INSTALL_REFS=") and "ansible-core>=2.18" in line and "ansible-runner" in line for line in lines)
    assert any("ansible-galaxy collection install" in line and "-r requirements.yml" in line for line in lines)
    assert "LABEL ansible-execution-environment=true" in lines
    wanted = yaml.safe_load((tmp_path / "_build/requirements.yml").read_text(encoding="utf-8"))
    assert wanted == {"collections": [{"name": "stackops.runbook", "version": f">={VERSION.partition('.')[0]}.0.0"}]}
    assert "openssh-clients [platform:rpm]" in (tmp_path / "_build/bindep.txt").read_text(encoding="utf-8")


@dataclasses.dataclass
class Job:
    """What a job of ansible-runner came to."""

    status: str
    code: int
    events: list[dict[str, t.Any]]
    report: dict[str, t.Any]


@pytest.fixture(scope="module")
def job(collections: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> t.Callable[[str], Job]:
    """Return how a controller diagnoses recorded hosts, failing from a severity on."""

    def run(fail_on: str) -> Job:
        directory = tmp_path_factory.mktemp("job")
        variables = {"diagnose_recorded_facts": str(RECORDED), "diagnose_report_dir": str(directory / "reports"), "diagnose_fail_on": fail_on}
        # not that of the checkout, which names another place for collections
        (directory / "ansible.cfg").touch()
        done = ansible_runner.run(
            private_data_dir=str(directory),
            playbook="stackops.runbook.diagnose",
            inventory={"all": {"hosts": {"localhost": {"ansible_connection": "local"}}}},
            extravars=variables,
            envvars={"ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_CONFIG": str(directory / "ansible.cfg")},
            timeout=180,
            quiet=True,
        )
        written = directory / "reports/latest/report.json"
        assert written.exists(), done.stdout.read()
        return Job(done.status, done.rc, list(done.events), json.loads(written.read_text(encoding="utf-8")))

    return run


def result_of_the_report(job: Job, event: str) -> dict[str, t.Any]:
    """Return the result of the task that wrote the report, as the *event* has it."""
    results: list[dict[str, t.Any]] = [item["event_data"]["res"] for item in job.events if item["event"] == event and "report" in item["event_data"]["res"]]
    assert len(results) == 1
    return results[0]


def test_a_job_succeeds_and_its_events_carry_the_summary(job: t.Callable[[str], Job]) -> None:
    done = job("never")
    assert (done.status, done.code) == ("successful", 0)
    result = result_of_the_report(done, "runner_on_ok")
    assert result["summary"] == done.report["summary"]
    assert result["summary"]["hosts"] == len(list(RECORDED.glob("*.json"))) == len(done.report["hosts"])
    assert all(pathlib.Path(path).is_file() for path in result["report"].values())
    # what people read in the job's output
    critical = next(name for name, row in done.report["hosts"].items() if row["status"] == "critical")
    assert any(critical in item["stdout"] for item in done.events if item["event"] == "verbose")


def test_a_job_fails_where_it_is_asked_to(job: t.Callable[[str], Job]) -> None:
    done = job("critical")
    assert (done.status, done.code) == ("failed", 2)
    assert "severity critical or worse" in result_of_the_report(done, "runner_on_failed")["msg"]
