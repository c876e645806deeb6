# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Galaxy's own importer takes the tarball, has nothing to say against it, and sees in it what is there."""

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
GALAXY = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
TARBALL = ROOT / f"build/stackops-runbook-{GALAXY['version']}.tar.gz"
# What Galaxy does not ask for, and certification does, is asked for here. ansible-lint and ansible-test have stages of their own, which are stricter.
SETTINGS = """\
[galaxy-importer]
check_required_tags = True
require_v1_or_greater = True
run_ansible_doc = True
run_ansible_lint = False
run_ansible_test = False
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, t.Any]]:
    """Return what the importer said, and what it would have stored."""
    directory = tmp_path_factory.mktemp("importer")
    settings = directory / "galaxy-importer.cfg"
    settings.write_text(SETTINGS, encoding="utf-8")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHONPATH"))}
    variables |= {"GALAXY_IMPORTER_CONFIG": str(settings), "GALAXY_IMPORTER_ANSIBLE_LOCAL_TMP": str(directory / "tmp"), "LC_ALL": "C.UTF-8"}
    command = [sys.executable, "-m", "galaxy_importer.main", str(TARBALL)]
    result = subprocess.run(command, cwd=directory, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Importer processing completed successfully" in result.stdout
    return result.stdout + result.stderr, json.loads((directory / "importer_result.json").read_text(encoding="utf-8"))


def test_the_importer_has_nothing_to_say_against_it(imported: tuple[str, dict[str, t.Any]]) -> None:
    assert re.findall(r"^(?:WARNING|ERROR|CRITICAL).*|^.* not (?:present|found).*$", imported[0], re.MULTILINE) == []


def test_the_importer_reads_its_metadata(imported: tuple[str, dict[str, t.Any]]) -> None:
    stored = imported[1]
    metadata = {key: stored["metadata"][key] for key in ("namespace", "name", "version", "license", "tags", "dependencies")}
    assert metadata == {key: GALAXY[key] for key in metadata}
    assert stored["requires_ansible"] == yaml.safe_load((ROOT / "meta/runtime.yml").read_text(encoding="utf-8"))["requires_ansible"]


@pytest.mark.parametrize(
    ("kind", "pattern"),
    [
        ("module", "plugins/modules/*.py"),
        ("action", "plugins/action/*.py"),
        ("filter", "plugins/filter/*.py"),
        ("role", "roles/*"),
        ("playbook", "playbooks/*.yml"),
    ],
)
def test_the_importer_sees_all_that_is_there(imported: tuple[str, dict[str, t.Any]], kind: str, pattern: str) -> None:
    listed = {pathlib.PurePath(content["name"]).stem for content in imported[1]["contents"] if content["content_type"] == kind}
    assert listed == {path.stem for path in ROOT.glob(pattern) if not path.name.startswith("_")}


def test_modules_filters_and_roles_are_documented_there(imported: tuple[str, dict[str, t.Any]]) -> None:
    contents = imported[1]["docs_blob"]["contents"]
    documented = {content["content_name"] for content in contents if (content["doc_strings"] or {}).get("doc") or content["readme_html"]}
    assert documented >= {path.stem for pattern in ("plugins/modules/*.py", "plugins/filter/*.py", "roles/*") for path in ROOT.glob(pattern)}
