# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The argument specs say what the doc fragments of the same name say."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible_collections.stackops.runbook.plugins.doc_fragments import docker_connection, log_sources, postgres_connection, project_selection
from ansible_collections.stackops.runbook.plugins.module_utils._arguments import (
    docker_connection_arguments,
    log_source_arguments,
    project_selection_arguments,
    stacks_arguments,
)
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import Selection
from ansible_collections.stackops.runbook.plugins.module_utils._engine import EngineOptions
from ansible_collections.stackops.runbook.plugins.module_utils._postgres import server_arguments

PAIRS = [
    (docker_connection.ModuleDocFragment.DOCUMENTATION, docker_connection_arguments()),
    (project_selection.ModuleDocFragment.DOCUMENTATION, project_selection_arguments()),
    (project_selection.ModuleDocFragment.STACKS, stacks_arguments()),
    (log_sources.ModuleDocFragment.DOCUMENTATION, log_source_arguments()),
    (postgres_connection.ModuleDocFragment.SERVERS, server_arguments()),
]


def fallback_of(name: str) -> t.Any:
    function, arguments = docker_connection_arguments()[name]["fallback"]
    return function(*arguments)


@pytest.mark.parametrize(("documentation", "spec"), PAIRS, ids=["docker_connection", "project_selection", "stacks", "log_sources", "servers"])
def test_fragment_and_spec_agree(documentation: str, spec: dict[str, dict[str, t.Any]]) -> None:
    documented = yaml.safe_load(documentation)["options"]
    assert set(documented) == set(spec)
    for name, option in spec.items():
        for key in ("type", "default", "elements"):
            assert documented[name].get(key) == option.get(key), f"{name}: {key}"


def test_every_option_reaches_the_engine_and_the_selection() -> None:
    fields = set(EngineOptions.__dataclass_fields__) - {"timeout_seconds"} | {"timeout"}
    assert fields == set(docker_connection_arguments())
    assert set(Selection.__dataclass_fields__) == set(project_selection_arguments())


def test_values_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2376")
    monkeypatch.setenv("DOCKER_CERT_PATH", "/certs")
    assert fallback_of("docker_host") == "tcp://192.0.2.1:2376"
    assert fallback_of("client_key") == "/certs/key.pem"


@pytest.mark.parametrize("name", ["docker_host", "ca_path"])
def test_a_variable_without_a_value_counts_as_not_set(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = pytest.importorskip("ansible.module_utils.errors", reason="needs ansible-core")
    monkeypatch.setenv("DOCKER_HOST", "")
    monkeypatch.delenv("DOCKER_CERT_PATH", raising=False)
    with pytest.raises(errors.AnsibleFallbackNotFound):
        fallback_of(name)
