# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module said against what the host's own engine says."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(scope="module")
def health(host):
    """Return the module's result."""
    return json.loads(host.file("/var/tmp/compose_health.json").content_string)


@pytest.fixture(scope="module")
def inspected(host):
    """Return what ``docker inspect`` says, by container name."""
    found = json.loads(host.check_output("docker ps --all --quiet | xargs docker inspect"))
    return {entry["Name"].lstrip("/"): entry for entry in found}


@pytest.fixture(scope="module")
def containers(health):
    """Return the containers of the result, by name."""
    return {entry["name"]: entry for entry in health["containers"]}


def services(health, project):
    """Return the services of *project* in the result, by name."""
    found = next(entry for entry in health["projects"] if entry["name"] == project)
    return {entry["name"]: entry for entry in found["services"]}


def test_all_containers_are_there(containers, inspected):
    assert set(containers) == set(inspected)


def test_states_are_those_of_the_engine(containers, inspected):
    said = {name: (entry["state"], entry["exit_code"], entry["restart_count"]) for name, entry in containers.items()}
    for name, entry in inspected.items():
        state = entry["State"]
        assert said[name] == (state["Status"], state["ExitCode"] if state["Status"] == "exited" else None, entry["RestartCount"])


def test_the_example_stack_is_well(health):
    assert {name: entry["status"] for name, entry in services(health, "shop").items()} == {"backend": "ok", "postgres": "ok"}


def test_an_application_that_fails_is_told_with_its_exception(containers, inspected):
    crash = containers["broken-crash-1"]
    assert inspected["broken-crash-1"]["State"]["ExitCode"] == 1
    assert (crash["status"], crash["cause"]["code"]) == ("critical", "application-error")
    assert "no route to the warehouse" in json.dumps(crash["cause"])


def test_a_container_out_of_memory_is_told(containers):
    greedy = containers["broken-greedy-1"]
    assert (greedy["status"], greedy["cause"]["code"]) == ("critical", "oom-container")


def test_a_service_without_container_is_missing(health):
    broken = services(health, "broken")
    assert broken["absent"]["missing"]
    assert not broken["well"]["missing"]
    assert broken["well"]["status"] == "ok"


def test_the_verdict_is_the_worst(health):
    assert health["status"] == "critical"
    assert health["errors"] == []
    assert health["changed"] is False
