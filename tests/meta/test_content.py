# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Roles, playbooks and examples: argument specs agree with defaults, and every action is named in full."""

from __future__ import annotations

import pathlib
import re
import typing as t

import pytest
import yaml
from ansible.parsing.mod_args import BUILTIN_TASKS
from ansible.playbook.block import Block
from ansible.playbook.handler import Handler
from ansible.playbook.play import Play
from ansible.playbook.task import Task
from collection import FILTERS, MODULES, NAME, PLAYBOOKS, ROLES, ROOT, load, module_documents

KEYWORDS = {name for kind in (Block, Handler, Play, Task) for name in kind.fattributes} | {"include_role", "local_action", "action"}
TASK_LISTS = ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always")
IN_FULL = re.compile(r"[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*$")

TASK_FILES = sorted(
    path for directory in ("roles/*/tasks", "roles/*/handlers", "playbooks", "molecule/*", "demo", "tests/*") for path in ROOT.glob(f"{directory}/*.yml")
)


def tasks_in(node: t.Any) -> t.Iterator[dict[str, t.Any]]:
    """Yield every task below *node*, a list of plays, blocks or tasks."""
    for entry in node if isinstance(node, list) else []:
        if not isinstance(entry, dict):
            continue
        lists = [entry[name] for name in TASK_LISTS if isinstance(entry.get(name), list)]
        for nested in lists:
            yield from tasks_in(nested)
        if not lists and "hosts" not in entry:
            yield entry


def actions(task: dict[str, t.Any]) -> list[str]:
    """Return the keys of *task* that are no keywords: its action."""
    return [key for key in task if key not in KEYWORDS and not key.startswith("with_")]


def is_task(task: dict[str, t.Any]) -> bool:
    """Return whether *task* looks like one; files of other kinds lie beside playbooks."""
    return "name" in task and len(actions(task)) == 1


@pytest.mark.parametrize("path", TASK_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_actions_are_named_in_full(path: pathlib.Path) -> None:
    short = [key for task in tasks_in(load(path)) if is_task(task) for key in actions(task) if not IN_FULL.match(key)]
    assert short == []
    assert not set(BUILTIN_TASKS) & set(short)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_examples_are_tasks_with_actions_in_full(module: pathlib.Path) -> None:
    found = list(tasks_in(module_documents(module)["EXAMPLES"]))
    assert found
    for task in found:
        assert task.get("name"), task
        assert all(IN_FULL.match(key) for key in actions(task)), task
    assert any(f"{NAME}.{module.stem}" in task for task in found)


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
class TestRole:
    """What holds for every role."""

    def test_specs_and_defaults_name_the_same_variables(self, role: pathlib.Path) -> None:
        specs = load(role / "meta/argument_specs.yml")["argument_specs"]
        specified = {name for entry in specs.values() for name in entry.get("options", {})}
        assert specified == set(load(role / "defaults/main.yml") or {})

    def test_specs_and_defaults_agree(self, role: pathlib.Path) -> None:
        defaults = load(role / "defaults/main.yml") or {}
        for entry in load(role / "meta/argument_specs.yml")["argument_specs"].values():
            for name, option in entry.get("options", {}).items():
                if "default" in option:
                    assert option["default"] == defaults[name], name

    def test_variables_carry_the_name_of_the_role(self, role: pathlib.Path) -> None:
        assert [name for name in load(role / "defaults/main.yml") or {} if not name.startswith(f"{role.name}_")] == []

    def test_every_entry_point_has_a_task_file(self, role: pathlib.Path) -> None:
        for name in load(role / "meta/argument_specs.yml")["argument_specs"]:
            assert (role / "tasks" / f"{name}.yml").is_file()

    def test_it_is_described(self, role: pathlib.Path) -> None:
        described = (role / "README.md").read_text(encoding="utf-8")
        assert [name for name in load(role / "defaults/main.yml") or {} if f"`{name}`" not in described] == []
        assert load(role / "meta/main.yml")["galaxy_info"]["license"] == "GPL-3.0-or-later"


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_playbooks_are_thin(playbook: pathlib.Path) -> None:
    plays = load(playbook)
    assert re.fullmatch(r"[a-z_]+", playbook.stem), "a playbook is called by its name in the collection, which is an identifier"
    for play in plays:
        assert len(play.get("roles", [])) + len(play.get("tasks", [])) == 1
        for role in play.get("roles", []):
            assert role["role"].startswith(f"{NAME}.")
        assert "vars_prompt" not in play


@pytest.mark.parametrize("plugin", FILTERS, ids=lambda path: path.stem)
def test_examples_of_a_filter_use_it_by_its_full_name(plugin: pathlib.Path) -> None:
    documents = module_documents(plugin)
    assert documents["DOCUMENTATION"]["name"] == plugin.stem
    found = list(tasks_in(documents["EXAMPLES"]))
    assert all(IN_FULL.match(key) for task in found for key in actions(task))
    assert found
    assert all(f"{NAME}.{plugin.stem}" in str(task) for task in found)


def test_example_blocks_are_valid_yaml() -> None:
    for module in [*MODULES, *FILTERS]:
        assert set(module_documents(module)) == {"DOCUMENTATION", "EXAMPLES", "RETURN"}
        yaml.safe_dump(module_documents(module))
