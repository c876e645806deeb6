# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules run in this process, on a host without an engine: each says so in the words and the shape that its documentation promises."""

from __future__ import annotations

import ast
import importlib
import io
import json
import pathlib
import shutil
import sys
import typing as t

import pytest
import yaml
from ansible.module_utils import basic

ROOT = pathlib.Path(__file__).resolve().parents[4]
#: What must be said for a module to run at all; an engine that is not there for those that talk to one.
REQUIRED: dict[str, dict[str, t.Any]] = {
    "compose_build": {"services": ["web"]},
    "compose_override": {"service": "web", "memory": "64m"},
    "compose_run": {"service": "web", "command": ["true"]},
    "compose_service": {"state": "restarted", "services": ["web"]},
    "debug_mode": {"state": "on"},
    "docker_access": {"user": "nobody"},
    "pg_extension": {"name": "pg_stat_statements"},
    "pg_session": {"blocking_seconds": 60},
    "port_probe": {"addresses": ["127.0.0.1"], "ports": []},
    "stack_facts": {"collectors": ["engine"]},
}
#: What they return is for their actions, and is not documented: see below.
ELSEWHERE = {"backup_pull", "support_bundle"}
#: They see something of a host without its engine as well.
SEES_THE_HOST = {"published_ports"}
OLD_SET = ROOT / "tests/faults/sets" / "20261125T222203Z-abfe"
Run = t.Callable[[str, dict[str, t.Any]], dict[str, t.Any]]
TYPES = {"str": str, "list": list, "dict": dict, "int": int, "bool": bool, "float": (int, float)}


def documents(name: str) -> dict[str, t.Any]:
    """Return ``DOCUMENTATION`` and ``RETURN`` of a module."""
    tree = ast.parse((ROOT / f"plugins/modules/{name}.py").read_text(encoding="utf-8"))
    return {
        node.targets[0].id: yaml.safe_load(ast.literal_eval(node.value))
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in ("DOCUMENTATION", "RETURN")
    }


def has_main(path: pathlib.Path) -> bool:
    """Return whether a module is one, and not the documentation of an action alone."""
    return "def main(" in path.read_text(encoding="utf-8")


MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py") if has_main(path) and path.stem not in ELSEWHERE)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> Run:
    """Return how to run a module with arguments, as Ansible does in check mode: this machine must stay as it is."""

    def run(name: str, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        module = importlib.import_module(f"ansible_collections.stackops.runbook.plugins.modules.{name}")
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/there-is-none.sock")
        given = {**arguments, "_ansible_check_mode": True, "_ansible_remote_tmp": str(tmp_path)}
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode())
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        monkeypatch.setattr(sys, "argv", [name])
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        with pytest.raises(SystemExit):
            module.main()
        result: dict[str, t.Any] = json.loads(capsys.readouterr().out)
        return result

    return run


def engineless(name: str, tmp_path: pathlib.Path) -> dict[str, t.Any]:
    """Return arguments with which *name* finds no engine."""
    options = documents(name)["DOCUMENTATION"].get("options", {})
    fragments = documents(name)["DOCUMENTATION"].get("extends_documentation_fragment", [])
    talks = "docker_host" in options or any("docker_connection" in fragment for fragment in fragments)
    return {**REQUIRED.get(name, {}), **({"docker_host": f"unix://{tmp_path}/there-is-none.sock"} if talks else {})}


@pytest.mark.parametrize("name", MODULES)
def test_without_an_engine_the_answer_has_the_documented_shape(run: Run, tmp_path: pathlib.Path, name: str) -> None:
    result = run(name, engineless(name, tmp_path))
    assert "Traceback" not in json.dumps(result)
    # what would be changed is said where the host itself can tell; without an engine nothing else can
    assert not result.get("changed") or name == "docker_access"
    if result.get("failed"):
        assert len(result["msg"]) > 10
        return
    documented = documents(name)["RETURN"]
    for key, about in documented.items():
        if about.get("returned") == "always":
            assert key in result
        if result.get(key) is not None:
            assert isinstance(result[key], TYPES.get(about["type"], object)), key
    assert set(result) - {"changed", "invocation", "warnings", "deprecations"} <= set(documented)


@pytest.mark.parametrize("name", MODULES)
def test_what_could_not_be_read_is_never_in_order(run: Run, tmp_path: pathlib.Path, name: str) -> None:
    arguments = engineless(name, tmp_path)
    if "docker_host" not in arguments or name in SEES_THE_HOST:
        pytest.skip("it talks to no engine, or not only to it")
    result = run(name, arguments)
    assert result.get("failed") or result["status"] == "unknown"
    for error in result.get("errors", []):
        assert error["reason"]
        assert error["hint"]


@pytest.mark.parametrize("name", MODULES)
def test_an_argument_that_there_is_not_is_refused_in_words(run: Run, name: str) -> None:
    result = run(name, {**REQUIRED.get(name, {}), "no_such_option": 1})
    assert result["failed"]
    assert "no_such_option" in result["msg"]


@pytest.mark.parametrize("value", [{"a": 1}, ["x", {"y": []}], "\x00\u202e${jndi}{{ 7*7 }}", -1, 10**30, True], ids=repr)
@pytest.mark.parametrize("name", MODULES)
def test_values_of_a_wrong_type_end_in_words(run: Run, tmp_path: pathlib.Path, name: str, value: t.Any) -> None:
    arguments = engineless(name, tmp_path)
    options = documents(name)["DOCUMENTATION"].get("options", {})
    # ansible-core itself stumbles over a number in the place of a dict that has options; the specs of roles refuse it before that
    numbers = isinstance(value, int)
    typed = {key: value for key, about in options.items() if about.get("type") in ("int", "float") or (about.get("type") == "dict" and not numbers)}
    if not typed:
        pytest.skip("it has no such options of its own")
    result = run(name, {**arguments, **typed})
    assert "Traceback" not in json.dumps(result)
    # a template in a value is text
    assert "49" not in str(result.get("msg", ""))


def test_a_set_is_handed_over_in_parts(run: Run, tmp_path: pathlib.Path) -> None:
    root, directory = tmp_path / "backups", tmp_path / "login"
    shutil.copytree(OLD_SET, root / "shop/sets" / OLD_SET.name)
    (root / "shop/latest").symlink_to(f"sets/{OLD_SET.name}")
    directory.mkdir()
    (found,) = run("backup_pull", {"dest": "unused", "root": str(root)})["sets"]
    assert (found["project"], found["set_id"]) == ("shop", OLD_SET.name)
    assert found["bytes"] == sum(path.stat().st_size for path in OLD_SET.rglob("*") if path.is_file())
    asked = {"project": "shop", "set": OLD_SET.name, "directory": str(directory)}
    parts = b""
    while len(parts) < found["bytes"]:
        part = run("backup_pull", {"dest": "unused", "root": str(root), "part": {**asked, "offset": len(parts), "bytes": 1000}})
        parts += pathlib.Path(part["path"]).read_bytes()
        assert [path.name for path in directory.iterdir()] == [pathlib.Path(part["path"]).name]
    whole = [(OLD_SET / entry["path"]).read_bytes() for entry in found["files"]]
    assert parts == b"".join(whole)


@pytest.mark.parametrize(
    ("part", "told"),
    [({"project": "..", "set": OLD_SET.name}, "is no set"), ({"project": "shop", "set": "../../etc"}, "is no set")],
    ids=["project", "set"],
)
def test_a_part_of_what_is_no_set_is_refused(run: Run, tmp_path: pathlib.Path, part: dict[str, t.Any], told: str) -> None:
    asked = {**part, "directory": str(tmp_path), "offset": 0, "bytes": 1000}
    result = run("backup_pull", {"dest": "unused", "root": str(tmp_path), "part": asked})
    assert result["failed"]
    assert told in result["msg"]


def test_no_bundle_is_collected_in_check_mode(run: Run, tmp_path: pathlib.Path) -> None:
    result = run("support_bundle", {"directory": str(tmp_path / "bundle")})
    assert (result["changed"], "check mode" in result["msg"]) == (False, True)
    assert not (tmp_path / "bundle").exists()
