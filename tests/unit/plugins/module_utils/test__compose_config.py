# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Compose v1 and v2 really print about tests/live/compose_cases, and commands that are not there or hang."""

from __future__ import annotations

import json
import os
import pathlib
import stat
import time
import typing as t

import pytest
import yaml
from ansible_collections.stackops.runbook.plugins.module_utils import _compose_config
from ansible_collections.stackops.runbook.plugins.module_utils._compose_config import (
    Dependency,
    find_compose_command,
    parse_config,
    parse_depends_on_label,
    project_env_file,
    read_config,
    start_configs,
    unset_variables,
)
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import Stack
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from hypothesis import given
from hypothesis import strategies as st

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures" / "compose"


def v1() -> dict[str, t.Any]:
    return t.cast(dict[str, t.Any], yaml.safe_load((FIXTURES / "config_v1.yml").read_text(encoding="utf-8")))


def v2() -> dict[str, t.Any]:
    return t.cast(dict[str, t.Any], json.loads((FIXTURES / "config_v2.json").read_text(encoding="utf-8")))


def program(directory: pathlib.Path, name: str, script: str) -> pathlib.Path:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def project(tmp_path: pathlib.Path) -> Stack:
    (tmp_path / "docker-compose.yml").write_text("services: {}\n", encoding="utf-8")
    return Stack("shop", "compose-v1", str(tmp_path), [str(tmp_path / "docker-compose.yml")])


@pytest.fixture
def only_path(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A PATH with nothing but what a test puts there."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ("sh", "sleep", "cat"):
        (directory / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setattr(_compose_config, "PLUGIN_DIRECTORIES", (str(tmp_path / "plugins"),))
    return directory


def test_both_composes_declare_the_same() -> None:
    old, new = parse_config(v1()), parse_config(v2())
    assert set(old.services) == set(new.services)
    assert (new.name, old.name) == ("shop", None)
    for name, service in new.services.items():
        assert old.services[name] == service


def test_what_is_declared() -> None:
    services = parse_config(v2()).services
    assert services["scaled"].replicas == 2
    assert services["well"].replicas == 1
    assert services["well"].has_healthcheck is True
    assert services["job"].has_healthcheck is None
    assert services["loop-clean"].restart == "always"
    assert services["waits-for-health"].depends_on == (Dependency("probe-silent", "service_healthy"),)
    assert services["port-taken"].publishes and not services["well"].publishes
    assert services["loop-error"].role == "application"
    assert services["with-profile"].enabled is False
    assert parse_config(v2(), {"extra"}).services["with-profile"].enabled is True


@pytest.mark.parametrize(
    ("declared", "replicas"),
    [({}, 1), ({"scale": 3}, 3), ({"deploy": {"replicas": 0}}, 0), ({"deploy": {}}, 1), ({"scale": 2, "deploy": {"replicas": 5}}, 2), (None, 1)],
)
def test_replicas(declared: t.Optional[dict[str, t.Any]], replicas: int) -> None:
    assert parse_config({"services": {"web": declared}}).services["web"].replicas == replicas


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"disable": True}, False),
        ({"test": ["NONE"]}, False),
        ({"test": "NONE"}, False),
        ({"test": "curl x"}, True),
        ({"interval": "5s"}, None),
        (None, None),
    ],
)
def test_health_check(declared: t.Any, expected: t.Optional[bool]) -> None:
    assert parse_config({"services": {"web": {"healthcheck": declared}}}).services["web"].has_healthcheck is expected


def test_the_role_of_a_service_without_a_container() -> None:
    document = {
        "services": {
            "a": {"image": "postgres:17", "environment": {"POSTGRES_PASSWORD": "x"}},
            "b": {"image": "x/y", "command": "uvicorn app:app", "environment": ["A=b", "C"]},
            "c": {"image": "nginx:1", "ports": [{"target": 80}, "8080:80/tcp"]},
        }
    }
    assert [service.role for service in parse_config(document).services.values()] == ["postgres", "application", "proxy"]


def test_depends_on_label() -> None:
    assert parse_depends_on_label("redis:service_started:true,db:service_healthy:false") == (
        Dependency("db", "service_healthy"),
        Dependency("redis", "service_started"),
    )
    assert parse_depends_on_label("") == ()


@given(st.text(max_size=80))
def test_any_label_gives_dependencies(text: str) -> None:
    for dependency in parse_depends_on_label(text):
        assert dependency.service and dependency.condition.startswith("service_")


@pytest.mark.parametrize(
    "text",
    [
        "The NOPE variable is not set. Defaulting to a blank string.\nThe ALSO_NOT variable is not set. Defaulting to a blank string.\n",
        'time="2026-11-26T04:20:00Z" level=warning msg="The \\"NOPE\\" variable is not set. Defaulting to a blank string."\n'
        'time="2026-11-26T04:20:00Z" level=warning msg="The \\"ALSO_NOT\\" variable is not set. Defaulting to a blank string."\n',
    ],
    ids=["compose-v1", "compose-v2"],
)
def test_variables_that_are_not_set(text: str) -> None:
    assert unset_variables(text) == ("ALSO_NOT", "NOPE")
    assert unset_variables("WARNING: The Docker Engine you're using is running in swarm mode.") == ()


def test_secrets_of_the_file_are_not_kept() -> None:
    document = {"services": {"web": {"environment": {"PASSWORD": "canary-5ecret"}, "command": "run --password canary-5ecret"}}}
    assert "canary-5ecret" not in repr(parse_config(document))


# -- commands -------------------------------------------------------------------------------------------------------


def test_no_command(only_path: pathlib.Path, project: Stack) -> None:
    assert find_compose_command() is None
    with pytest.raises(CheckError) as caught:
        read_config(project)
    assert caught.value.code == "not-installed"


def test_the_plugin_comes_first(only_path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    program(only_path, "docker-compose", "exit 1")
    docker = program(only_path, "docker", "exit 1")
    found = find_compose_command("compose-v1")
    assert found is not None and (found.argv, found.flavour) == ((str(only_path / "docker-compose"),), "compose-v1")
    (tmp_path / "plugins").mkdir()
    program(tmp_path / "plugins", "docker-compose", "exit 1")
    found = find_compose_command("compose-v1")
    assert found is not None and (found.argv, found.flavour) == ((str(docker), "compose"), "compose-v2")
    assert found.reading_argv == (str(tmp_path / "plugins/docker-compose"),)


def test_podman_compose_reads_its_own_projects(only_path: pathlib.Path) -> None:
    program(only_path, "docker-compose", "exit 1")
    podman = program(only_path, "podman-compose", "exit 1")
    found = find_compose_command("podman-compose")
    assert found is not None and found.argv == (str(podman),)


def test_without_a_yaml_library_the_names_are_known(only_path: pathlib.Path, project: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    program(only_path, "docker-compose", 'for word; do last="$word"; done; [ "$last" = --services ] && echo "db\nweb"')
    config = read_config(project)
    assert (sorted(config.services), config.complete) == (["db", "web"], False)
    assert config.services["db"].replicas is None


def test_only_reading_verbs_are_called(only_path: pathlib.Path, project: Stack, tmp_path: pathlib.Path) -> None:
    calls = tmp_path / "calls"
    program(only_path, "docker-compose", f'echo "$@" >> {calls}; cat {FIXTURES / "config_v1.yml"}')
    assert "scaled" in read_config(project).services
    assert calls.read_text(encoding="utf-8").split() == f"--project-directory {tmp_path} --file {tmp_path}/docker-compose.yml config".split()


def test_a_file_that_compose_refuses(only_path: pathlib.Path, project: Stack) -> None:
    program(only_path, "docker-compose", 'echo "WARNING: The X variable is not set." >&2; echo "yaml: line 3: did not find expected key" >&2; exit 14')
    with pytest.raises(CheckError) as caught:
        read_config(project)
    assert (caught.value.code, caught.value.reason) == ("config-invalid", "yaml: line 3: did not find expected key")
    assert "docker compose config" in caught.value.hint


def test_a_command_that_hangs(only_path: pathlib.Path, project: Stack) -> None:
    program(only_path, "docker-compose", "sleep 30")
    began = time.monotonic()
    start_configs([project], timeout_seconds=0.3)
    assert project.config is None
    assert project.config_error is not None and project.config_error.code == "timeout"
    assert time.monotonic() - began < 5


def test_a_file_that_is_gone_costs_no_command(only_path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    marker = tmp_path / "called"
    program(only_path, "docker-compose", f"echo > {marker}")
    with pytest.raises(CheckError) as caught:
        read_config(Stack("shop", "compose-v2", "/srv/nosuch", ["/srv/nosuch/compose.yaml"]))
    assert caught.value.code == "missing" and "project_src" in caught.value.hint
    assert not marker.exists()


def test_a_directory_without_a_compose_file(tmp_path: pathlib.Path) -> None:
    with pytest.raises(CheckError) as caught:
        read_config(Stack("shop", "compose-v2", str(tmp_path)))
    assert caught.value.code == "missing" and "compose.yaml" in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
def test_a_file_that_may_not_be_read(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "docker-compose.yml"
    path.write_text("services: {}\n", encoding="utf-8")
    path.chmod(0)
    tmp_path.chmod(0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(CheckError) as caught:
            read_config(Stack("shop", "compose-v2", str(tmp_path), [str(path)]))
    finally:
        os.seteuid(0)
    assert caught.value.code == "permission-denied" and "become" in caught.value.hint


def test_profiles_that_the_env_file_switches_on(only_path: pathlib.Path, project: Stack, tmp_path: pathlib.Path) -> None:
    program(only_path, "docker-compose", f"cat {FIXTURES / 'config_v1.yml'}")
    (tmp_path / ".env").write_text('A=1\nCOMPOSE_PROFILES="debug,extra"\n', encoding="utf-8")
    assert read_config(project).services["with-profile"].enabled is True
    assert project_env_file(project) == str(tmp_path / ".env")


def test_a_labelled_env_file_comes_first(tmp_path: pathlib.Path) -> None:
    other = tmp_path / "production.env"
    other.write_text("", encoding="utf-8")
    (tmp_path / ".env").write_text("", encoding="utf-8")
    assert project_env_file(Stack("shop", "compose-v2", str(tmp_path), environment_files=[str(other)])) == str(other)
    assert project_env_file(Stack("shop")) is None
