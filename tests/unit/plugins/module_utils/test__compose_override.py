# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible_collections.stackops.runbook.plugins.module_utils._compose_override import (
    differences,
    duration_seconds,
    laid_over,
    override_path,
    parse,
    render,
    settings_of,
    size_bytes,
)
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import ContainerRef
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError

LIMITS = {"memory": "512m", "cpus": 1.5, "memory_reservation": "256m", "cpus_reservation": 0.5}
HEALTH = {"test": ["CMD-SHELL", "test -n \"$HOME\" # 'x': {y}"], "interval": "30s", "timeout_health": "10s", "retries": 3, "start_period": "1m30s"}


@pytest.mark.parametrize(("text", "size"), [("512m", 512 * 1024**2), ("1.5g", 1536 * 1024**2), ("1024", 1024), ("2KB", 2048), ("1 GB", 1024**3)])
def test_sizes_are_those_of_compose(text: str, size: int) -> None:
    assert size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "m", "512 q", "-1m", "1m; rm"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(CheckError, match="is no size"):
        size_bytes(text)


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("1m30s", 90), ("1h", 3600), ("500ms", 0.5), ("1.5s", 1.5)])
def test_durations_are_those_of_compose(text: str, seconds: float) -> None:
    assert duration_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "30", "s", "1d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(CheckError, match="is no duration"):
        duration_seconds(text)


def test_limits_are_where_the_compose_command_looks_for_them() -> None:
    resources = {"limits": {"cpus": "1.5", "memory": "512m"}, "reservations": {"cpus": "0.5", "memory": "256m"}}
    assert settings_of(LIMITS, True) == {"deploy": {"resources": resources}}
    flat = {"mem_limit": "512m", "mem_reservation": "256m", "cpus": 1.5}
    assert settings_of({**LIMITS, "cpus_reservation": None}, False) == flat
    with pytest.raises(CheckError, match="knows no such thing"):
        settings_of(LIMITS, False)


@pytest.mark.parametrize("settings", [settings_of(LIMITS, True), settings_of(HEALTH, True), settings_of({"restart": "no"}, True), {"a": {}}])
def test_the_file_is_yaml_and_is_read_again(settings: dict[str, t.Any]) -> None:
    document = laid_over({"version": "3.8"}, "api", settings)
    text = render(document)
    escaped = yaml.safe_load(text.replace("$$", "$"))
    assert escaped == document == parse(text)
    # In what Compose reads a dollar sign would begin a variable.
    assert "$" not in text.split("\n", 2)[2].replace("$$", "")


def test_what_a_person_has_changed_is_noticed() -> None:
    text = render(laid_over({}, "api", {"restart": "always"}))
    assert parse(text) is not None
    for changed in (
        text + "  web:\n",
        text.replace('restart: "always"', 'restart: "no"'),
        text.replace("# stackops.runbook: {", "# stackops.runbook: "),
        "services: {}\n",
        "",
    ):
        assert parse(changed) is None, changed


def test_settings_come_together_and_a_health_check_is_replaced_whole() -> None:
    one = laid_over({}, "api", {"deploy": {"resources": {"limits": {"memory": "1g"}}}, "healthcheck": {"test": ["NONE"], "retries": 1}})
    two = laid_over(one, "api", {"deploy": {"resources": {"limits": {"cpus": "1"}}}, "healthcheck": {"test": ["CMD", "true"]}})
    assert two["services"]["api"] == {"deploy": {"resources": {"limits": {"memory": "1g", "cpus": "1"}}}, "healthcheck": {"test": ["CMD", "true"]}}
    assert one["services"]["api"]["deploy"]["resources"]["limits"] == {"memory": "1g"}
    assert set(laid_over(two, "web", {"restart": "always"})["services"]) == {"api", "web"}


@pytest.mark.parametrize(
    ("files", "ours", "there", "expected"),
    [
        (["/s/docker-compose.yml"], [], [], ("/s/docker-compose.override.yml", True)),
        (["/s/compose.yaml"], [], [], ("/s/compose.override.yaml", True)),
        (["/s/docker-compose.yml"], [], ["/s/docker-compose.override.yml"], ("/s/compose.stackops.yml", False)),
        (["/s/docker-compose.yml", "/s/docker-compose.override.yml"], [], ["/s/docker-compose.override.yml"], ("/s/compose.stackops.yml", False)),
        (["/s/docker-compose.yml", "/s/docker-compose.override.yml"], ["/s/docker-compose.override.yml"], [], ("/s/docker-compose.override.yml", True)),
        (["/s/production.yml"], [], [], ("/s/compose.stackops.yml", False)),
        (["/s/production.yml", "/s/compose.stackops.yml"], ["/s/compose.stackops.yml"], [], ("/s/compose.stackops.yml", False)),
        (["/s/docker-compose.yml", "/s/production.yml"], [], [], ("/s/compose.stackops.yml", False)),
    ],
)
def test_the_file_is_one_that_compose_takes_by_itself_where_that_is_free(
    files: list[str], ours: list[str], there: list[str], expected: tuple[str, bool]
) -> None:
    assert override_path(files, lambda path: path in ours, lambda path: path in there or path in ours) == expected


def test_a_container_is_compared_with_what_was_asked_for() -> None:
    health = {"Test": HEALTH["test"], "Interval": 30_000_000_000, "Timeout": 10_000_000_000, "StartPeriod": 90_000_000_000, "Retries": 3}
    host = {"Memory": 512 * 1024**2, "NanoCpus": 1_500_000_000, "MemoryReservation": 256 * 1024**2, "RestartPolicy": {"Name": "always"}}
    container = ContainerRef({"HostConfig": host, "Config": {"Healthcheck": health}})
    assert differences(container, {**LIMITS, **HEALTH, "restart": "always"}) == []
    assert differences(container, {"memory": "1g", "restart": "no"}) == [
        "memory limit (bytes) is 536870912, not 1073741824",
        "restart policy is always, not no",
    ]
    assert differences(ContainerRef({}), {"memory": "1k", **HEALTH})[0] == "memory limit (bytes) is not set, not 1024"
