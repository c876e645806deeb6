# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The argument specs say what the doc fragments of the same name say."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible_collections.stackops.runbook.plugins.doc_fragments import (
    backup_sets,
    docker_connection,
    http_endpoints,
    log_sources,
    postgres_connection,
    project_selection,
    remediation,
    security_ignore,
)
from ansible_collections.stackops.runbook.plugins.module_utils._arguments import (
    docker_connection_arguments,
    log_source_arguments,
    project_selection_arguments,
    remediation_arguments,
    stacks_arguments,
)
from ansible_collections.stackops.runbook.plugins.module_utils._backup_arguments import backup_arguments, restore_arguments
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import Selection
from ansible_collections.stackops.runbook.plugins.module_utils._engine import EngineOptions
from ansible_collections.stackops.runbook.plugins.module_utils._http_probe import endpoint_arguments
from ansible_collections.stackops.runbook.plugins.module_utils._ignores import ignore_arguments
from ansible_collections.stackops.runbook.plugins.module_utils._postgres import server_arguments


def below(documentation: str, option: str) -> str:
    """Return what is documented of the entries of a list, as a fragment of its own."""
    return yaml.safe_dump({"options": yaml.safe_load(documentation)["options"][option]["suboptions"]})


PAIRS = {
    "docker_connection": (docker_connection.ModuleDocFragment.DOCUMENTATION, docker_connection_arguments()),
    "project_selection": (project_selection.ModuleDocFragment.DOCUMENTATION, project_selection_arguments()),
    "stacks": (project_selection.ModuleDocFragment.STACKS, stacks_arguments()),
    "log_sources": (log_sources.ModuleDocFragment.DOCUMENTATION, log_source_arguments()),
    "servers": (postgres_connection.ModuleDocFragment.SERVERS, server_arguments()),
    "remediation": (remediation.ModuleDocFragment.DOCUMENTATION, remediation_arguments()),
    "endpoints": (below(http_endpoints.ModuleDocFragment.DOCUMENTATION, "endpoints"), endpoint_arguments()),
    "ignore": (below(security_ignore.ModuleDocFragment.DOCUMENTATION, "ignore"), ignore_arguments()),
}


def fallback_of(name: str) -> t.Any:
    function, arguments = docker_connection_arguments()[name]["fallback"]
    return function(*arguments)


@pytest.mark.parametrize(("documentation", "spec"), PAIRS.values(), ids=PAIRS)
def test_fragment_and_spec_agree(documentation: str, spec: dict[str, dict[str, t.Any]]) -> None:
    documented = yaml.safe_load(documentation)["options"]
    assert set(documented) == set(spec)
    for name, option in spec.items():
        for key in ("type", "default", "elements"):
            assert documented[name].get(key) == option.get(key), f"{name}: {key}"


@pytest.mark.parametrize("spec", [backup_arguments(), restore_arguments()], ids=["backup", "restore"])
def test_what_is_said_once_of_sets_is_true_of_both_modules(spec: dict[str, dict[str, t.Any]]) -> None:
    documented = yaml.safe_load(backup_sets.ModuleDocFragment.DOCUMENTATION)["options"]
    assert documented
    for name, about in documented.items():
        for key in ("type", "default", "elements"):
            assert about.get(key) == spec[name].get(key), f"{name}: {key}"


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
