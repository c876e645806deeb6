# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tarball installs and works where there is nothing but ansible-core and jmespath."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSION = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"]
TARBALL = ROOT / f"build/stackops-runbook-{VERSION}.tar.gz"
PINS = (ROOT / "tests/requirements.txt").read_text(encoding="utf-8")

Run = t.Callable[..., "subprocess.CompletedProcess[str]"]


def pinned(name: str) -> str:
    """Return the version of a package that the checkout is developed with, as pip takes it."""
    found = re.search(rf"^{name}==.*$", PINS, re.MULTILINE)
    assert found is not None
    return found[0]


# The oldest that is supported, and the one in use.
@pytest.fixture(scope="module", params=["ansible-core==2.18.*", pinned("ansible-core")])
def ansible_core(request: pytest.FixtureRequest) -> str:
    """Return which ansible-core to install."""
    return str(request.param)


@pytest.fixture(scope="module")
def home(ansible_core: str, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return the home directory of a user who has never seen this checkout."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def run(ansible_core: str, home: pathlib.Path) -> Run:
    """Return how that user runs a command of an environment with the two packages and the installed tarball."""
    environment = home / "environment"
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHON", "VIRTUAL_ENV", "MOLECULE_"))}
    variables |= {
        "HOME": str(home),
        "PATH": f"{environment}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
    }

    def run(*command: str, seconds: float = 180) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=home, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False)

    def succeed(*command: str) -> None:
        result = run(*command)
        assert result.returncode == 0, result.stdout + result.stderr

    succeed(sys.executable, "-m", "venv", str(environment))
    succeed("pip", "install", "--quiet", ansible_core, pinned("jmespath"))
    succeed("ansible-galaxy", "collection", "install", str(TARBALL))
    return run


def test_it_is_installed_with_its_version(run: Run) -> None:
    result = run("ansible-galaxy", "collection", "list", "stackops.runbook", "--format", "json")
    assert VERSION in result.stdout


@pytest.mark.parametrize("kind", ["module", "role"])
def test_its_documentation_renders(run: Run, kind: str) -> None:
    listed = run("ansible-doc", "--type", kind, "--list", "--json", "stackops.runbook")
    names = sorted(json.loads(listed.stdout))
    directory = {"module": "plugins/modules/*.py", "role": "roles/*"}[kind]
    assert names == sorted(f"stackops.runbook.{path.stem}" for path in ROOT.glob(directory))
    result = run("ansible-doc", "--type", kind, *names)
    assert result.returncode == 0, result.stderr


def test_diagnose_writes_its_report(run: Run, home: pathlib.Path) -> None:
    result = run("ansible-playbook", "stackops.runbook.diagnose", "-i", "localhost,", "-c", "local")
    assert result.returncode == 0, result.stdout + result.stderr
    latest = home / "reports/latest"
    report = json.loads((latest / "report.json").read_text(encoding="utf-8"))
    assert report["schema"] == 1
    assert report["collection_version"] == VERSION
    assert list(report["hosts"]) == ["localhost"]
    assert report["hosts"]["localhost"]["facts"]
    assert (latest / "report.html").stat().st_size > 1000
    assert (latest / "report.md").stat().st_size > 100


def test_prepare_host_says_what_it_would_do(run: Run) -> None:
    result = run("ansible-playbook", "stackops.runbook.prepare_host", "-i", "localhost,", "-c", "local", "--check")
    if os.geteuid() == 0:
        assert result.returncode == 0, result.stdout + result.stderr
    else:
        assert "Run the playbook with --become" in result.stdout + result.stderr
