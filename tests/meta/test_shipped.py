# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is shipped works by itself: on a target without libraries, and with nothing of the checkout but the shipped directories."""

from __future__ import annotations

import ast
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from collection import FILTERS, MODULE_UTILS, MODULES, NAME, PLAYBOOKS, ROLES, ROOT

# What a target may lack: everything that is not the standard library.
IMPORT = """
import importlib, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"ansible", "docker", "psycopg2", "requests", "yaml", "jinja2", "jmespath", "urllib3"}:
            raise ImportError(f"a target may lack {name}")
sys.meta_path.insert(0, Refuse())
for name in sys.argv[1:]:
    importlib.import_module(f"ansible_collections.stackops.runbook.plugins.module_utils.{name}")
"""


def test_what_runs_on_a_target_imports_with_the_standard_library_alone() -> None:
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT / '.venv/collections')!r})\n{IMPORT}"]
    result = subprocess.run([*command, *(path.stem for path in MODULE_UTILS)], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("path", [*MODULE_UTILS, *MODULES], ids=lambda path: path.stem)
def test_what_runs_on_a_target_is_python_3_9(path: pathlib.Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    late = [
        keyword.arg
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "dataclass"
        for keyword in node.keywords
        if keyword.arg in ("slots", "kw_only")
    ]
    assert late == []
    strict_zips = [
        node.lineno for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "zip" and any(keyword.arg == "strict" for keyword in node.keywords)
    ]  # fmt: skip
    assert strict_zips == []


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment in which only the shipped directories of the collection are there."""
    top = tmp_path_factory.mktemp("shipped")
    for name in ("meta", "plugins", "roles", "playbooks"):
        shutil.copytree(ROOT / name, top / "ansible_collections/stackops/runbook" / name, ignore=shutil.ignore_patterns("__pycache__"))
    (top / "ansible.cfg").write_text("[defaults]\n", encoding="utf-8")
    return {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(top), "ANSIBLE_CONFIG": str(top / "ansible.cfg"), "PYTHONPATH": str(top), "ANSIBLE_NOCOLOR": "1"}


def run(command: list[str], environment: dict[str, str]) -> str:
    """Run *command* and return what it wrote; fail with it where it fails."""
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_documentation_of_the_modules_renders(shipped: dict[str, str]) -> None:
    names = [f"{NAME}.{module.stem}" for module in MODULES]
    text = run(["ansible-doc", "--type", "module", *names], shipped)
    assert [name for name in names if name not in text] == []


def test_documentation_of_the_filters_renders(shipped: dict[str, str]) -> None:
    names = [f"{NAME}.{path.stem}" for path in FILTERS]
    text = run(["ansible-doc", "--type", "filter", *names], shipped)
    assert [name for name in names if name not in text] == []


def test_documentation_of_the_roles_renders(shipped: dict[str, str]) -> None:
    names = [f"{NAME}.{role.name}" for role in ROLES]
    text = run(["ansible-doc", "--type", "role", *names], shipped)
    assert [name for name in names if name not in text] == []


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_playbooks_are_found_by_their_names(playbook: pathlib.Path, shipped: dict[str, str]) -> None:
    run(["ansible-playbook", "--syntax-check", "--inventory", "localhost,", f"{NAME}.{playbook.stem}"], shipped)
