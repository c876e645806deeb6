# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checks on a fleet: installed beside stacks of other names, used by hand as Nagios would, and removed without a trace."""

from __future__ import annotations

import json
import re
import typing as t

import pytest

from tests.support.fleet_hosts import PLAIN, RENAMED, STACK_ON_HOST, StackHost, fault, on_host, playbook

BOTH = (PLAIN, RENAMED)
CANARY = "canary-7c2d91"
CHANNELS = [{"name": "chat", "type": "slack", "url": f"http://127.0.0.1:9/services/{CANARY}"}]


@pytest.fixture(scope="module")
def watched(hosts: tuple[StackHost, StackHost]) -> t.Iterator[dict[str, str]]:
    """Have the checks on both hosts, and nothing afterwards; what was printed is by its name."""
    before = {host: on_host(host, "find /etc /usr/local /var/lib /run/stackops -xdev -iname '*stackops*' | sort") for host in BOTH}
    said = {"check": playbook("monitoring", BOTH, "--check", "--diff", "-vvv", monitoring_channels=CHANNELS)}
    assert {host: on_host(host, "find /etc /usr/local /var/lib /run/stackops -xdev -iname '*stackops*' | sort") for host in BOTH} == before
    # Cron would run the checks in the middle of the tests.
    schedule = {name: {"schedule": "0 0 1 1 *"} for name in ("health", "errors", "auth", "resources", "database", "backup")}
    options = {"monitoring_channels": CHANNELS, "monitoring_checks": schedule, "monitoring_spread": False}
    said["first"] = playbook("monitoring", BOTH, "--diff", "-vvv", **options)
    said["second"] = playbook("monitoring", BOTH, **options)
    yield said
    said["gone"] = playbook("monitoring", BOTH, monitoring_state="absent")
    assert {host: on_host(host, "find /etc /usr/local /var/lib /run/stackops -xdev -iname '*stackops*' | sort") for host in BOTH} == before


def checked(host: StackHost, *words: str) -> dict[str, t.Any]:
    """Return what the checks on *host* say by hand."""
    said: dict[str, t.Any] = json.loads(on_host(host, f"stackops-check {' '.join(words)} --json || true"))
    return said


def ill(said: dict[str, t.Any], check: str) -> list[str]:
    """Return the objects of a check that are not ok and not explained by another."""
    return [row["object"] for row in said["checks"][check]["observations"] if row["status"] != "ok" and not row["explained_by"]]


def test_a_second_run_changes_nothing_and_no_secret_is_printed(watched: dict[str, str]) -> None:
    assert re.findall(r"changed=(\d+)", watched["second"]) == ["0", "0"]
    assert not any(CANARY in text for text in watched.values())
    for host in BOTH:
        assert on_host(host, f"grep -rl {CANARY} /etc /var/lib/stackops /usr/local 2>/dev/null").split() == ["/etc/stackops/monitoring.json"]


@pytest.mark.parametrize("host", BOTH, ids=lambda host: host.project)
def test_a_healthy_stack_is_ok_by_whatever_names(watched: dict[str, str], host: StackHost) -> None:
    fault(host, "reset")
    said = checked(host, "health", "database", "auth")
    assert {name: check["status"] for name, check in said["checks"].items()} == {"health": "ok", "database": "ok", "auth": "ok"}, said
    seen = {row["object"] for row in said["checks"]["health"]["observations"]}
    assert {"engine", f"{host.project}/{host.backend}", f"{host.project}/{host.database}", f"http://localhost:{host.port}/health"} <= seen


@pytest.mark.parametrize("host", BOTH, ids=lambda host: host.project)
def test_a_stopped_database_is_the_one_cause_with_the_command_that_starts_it(watched: dict[str, str], host: StackHost) -> None:
    fault(host, "inject", "database-stopped")
    try:
        text = on_host(host, "stackops-check health; echo exit=$?")
        said = checked(host, "health")
    finally:
        fault(host, "reset")
    assert ill(said, "health") == [f"{host.project}/{host.database}"]
    assert text.startswith(f"HEALTH CRITICAL - {host.project}/{host.database}: exited") and text.rstrip().endswith("exit=2")
    assert re.search(rf"next: docker start \S*{host.database}\S*", text)


def test_more_than_fifty_failed_logins_are_told_with_who_it_was(watched: dict[str, str]) -> None:
    line = {
        "level": "WARNING",
        "logger": "app.request",
        "message": "POST /login 401",
        "status": 401,
        "method": "POST",
        "path": "/login",
        "client_ip": "203.0.113.7",
    }
    fault(PLAIN, "reset")
    log = f"{STACK_ON_HOST}/logs/app.log"
    try:
        now = on_host(PLAIN, "date -u +%Y-%m-%dT%H:%M:%S.000Z").strip()
        on_host(PLAIN, f"for n in $(seq 51); do echo '{json.dumps({'timestamp': now, **line})}'; done >>{log}")
        text = on_host(PLAIN, "stackops-check auth || true")
        before = checked(PLAIN, "auth")
    finally:
        fault(PLAIN, "reset")
    assert before["checks"]["auth"]["status"] != "ok"
    assert "203.0.113.7" in text
    assert "51" in text
