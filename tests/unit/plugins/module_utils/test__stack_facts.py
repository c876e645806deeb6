# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import json
import pathlib
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import Selection, UnknownProject
from ansible_collections.stackops.runbook.plugins.module_utils._engine import EngineOptions
from ansible_collections.stackops.runbook.plugins.module_utils._http_probe import endpoint_arguments
from ansible_collections.stackops.runbook.plugins.module_utils._stack_facts import FactsOptions, collect_facts, not_found, selected

COLLECTORS = frozenset({"engine", "compose", "http", "postgres", "links", "pools", "migrations"})


def test_what_is_not_seen_for_want_of_the_engine_is_unknown_and_not_well(tmp_path: pathlib.Path) -> None:
    facts = collect_facts(FactsOptions(engine=EngineOptions(docker_host=f"unix://{tmp_path}/none.sock"), collectors=COLLECTORS))["facts"]
    assert {name: one["status"] for name, one in facts.items()} == dict.fromkeys(COLLECTORS, "unknown")
    assert all(one["errors"] for one in facts.values())
    assert facts["engine"]["reachable"] is False


def test_what_the_inventory_declares_is_looked_at_without_the_engine(tmp_path: pathlib.Path) -> None:
    options = FactsOptions(
        engine=EngineOptions(docker_host=f"unix://{tmp_path}/none.sock"),
        endpoints=({**{name: option.get("default") for name, option in endpoint_arguments().items()}, "url": "http://127.0.0.1:9/health"},),
        collectors=frozenset({"http", "postgres"}),
    )
    facts = collect_facts(options)["facts"]
    assert [endpoint["url"] for endpoint in facts["http"]["endpoints"]] == ["http://127.0.0.1:9/health"]
    assert facts["http"]["status"] == "critical"
    assert facts["postgres"]["status"] == "unknown"


COMPOSE = pathlib.Path(__file__).parents[2] / "fixtures/compose/compose_v2.json"
# The directory of each project.
PROJECTS = {"proxy": "/srv/proxy", "shop": "/opt/stacks/shop", "webapp": "/home/me/blog", "old": None}


def unknown(selection: Selection, projects: t.Mapping[str, t.Optional[str]]) -> UnknownProject:
    error = UnknownProject("x", "no such directory", "Correct it.", "project-unknown")
    error.selection, error.projects = selection, projects
    return error


@pytest.mark.parametrize(
    ("selection", "by", "directory_exists", "likeliest"),
    [
        (Selection(project_src="/srv/shop"), "project_src", False, "shop"),
        (Selection(project_src="/srv/shop/"), "project_src", False, "shop"),
        # A project may be called otherwise than its directory.
        (Selection(project_src="/srv/blog"), "project_src", False, "webapp"),
        (Selection(project_name="shpo"), "project_name", None, "shop"),
        # What is asked for by both has to be in the directory.
        (Selection(project_src="/", project_name="shop"), "project_src", True, "old"),
    ],
)
def test_what_is_not_there_is_told_with_the_likeliest_of_those_that_are(
    selection: Selection, by: str, directory_exists: t.Optional[bool], likeliest: str
) -> None:
    facts = not_found(unknown(selection, PROJECTS))
    assert (facts["by"], facts["asked"]) == (by, selection.project_src or selection.project_name)
    assert facts["directory_exists"] is directory_exists
    assert facts["projects"][0] == {"name": likeliest, "working_dir": PROJECTS[likeliest]}
    assert sorted(one["name"] for one in facts["projects"]) == sorted(PROJECTS)


def test_there_may_be_no_project_at_all() -> None:
    assert not_found(unknown(Selection(project_name="shop"), {}))["projects"] == []


class Recorded:
    """An engine with one recorded container, of the project shop in the directory *place*."""

    def __init__(self, place: pathlib.Path, remote: bool = False) -> None:
        self.remote = remote
        self.raw = copy.deepcopy(next(iter(json.loads(COMPOSE.read_text(encoding="utf-8")).values()))["inspect"])
        label = "com.docker.compose.project"
        self.raw["Config"]["Labels"].update({f"{label}.working_dir": str(place), f"{label}.config_files": f"{place}/compose.yaml"})

    def containers(self) -> list[dict[str, t.Any]]:
        return [{"Id": self.raw["Id"], "Labels": self.raw["Config"]["Labels"]}]

    def inspect_many(self, ids: t.Sequence[str], dummy_listed: t.Sequence[t.Any] = ()) -> list[dict[str, t.Any]]:
        return [self.raw] if ids else []


def test_a_directory_in_which_there_is_no_stack_is_not_one(tmp_path: pathlib.Path) -> None:
    stack, empty = tmp_path / "stacks/shop", tmp_path / "empty"
    stack.mkdir(parents=True)
    empty.mkdir()
    with pytest.raises(UnknownProject) as caught:
        selected(Recorded(stack), Selection(project_src=str(empty)))  # type: ignore[arg-type]
    facts = not_found(caught.value)
    assert (facts["asked"], facts["directory_exists"]) == (str(empty), True)
    assert facts["projects"] == [{"name": "shop", "working_dir": str(stack)}]
    # It runs: where its file is does not matter.
    assert [one.name for one in selected(Recorded(stack), Selection(project_src=str(stack)))] == ["shop"]  # type: ignore[arg-type]


@pytest.mark.parametrize(("file", "remote"), [("compose.yaml", False), ("docker-compose.yml", False), ("", True)])
def test_a_stack_that_was_never_started_is_one(tmp_path: pathlib.Path, file: str, remote: bool) -> None:
    new = tmp_path / "new"
    new.mkdir()
    if file:
        (new / file).write_text("services: {}\n")
    stacks = selected(Recorded(tmp_path / "shop", remote), Selection(project_src=str(new)))  # type: ignore[arg-type]
    assert [(stack.name, stack.siblings) for stack in stacks] == [("new", ())]
