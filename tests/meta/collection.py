# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where things are in the collection, for the checks beside this file."""

from __future__ import annotations

import ast
import pathlib
import subprocess
import typing as t

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAME = "stackops.runbook"

MODULES = sorted(path for path in (ROOT / "plugins/modules").glob("*.py") if path.stem != "__init__")
FILTERS = sorted(path for path in (ROOT / "plugins/filter").glob("*.py") if path.stem != "__init__")
MODULE_UTILS = sorted(path for path in (ROOT / "plugins/module_utils").glob("*.py") if path.stem != "__init__")
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))


def load(path: pathlib.Path) -> t.Any:
    """Return what the YAML file *path* holds."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def module_documents(module: pathlib.Path) -> dict[str, t.Any]:
    """Return ``DOCUMENTATION``, ``EXAMPLES`` and ``RETURN`` of *module* (or another plugin), parsed."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    return {
        node.targets[0].id: yaml.safe_load(ast.literal_eval(node.value))
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in ("DOCUMENTATION", "EXAMPLES", "RETURN")
    }


def tracked_files() -> list[pathlib.Path]:
    """Return the files under version control that are there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=30).stdout
    return [path for name in listed.decode().split("\0") if name and (path := ROOT / name).is_file()]
