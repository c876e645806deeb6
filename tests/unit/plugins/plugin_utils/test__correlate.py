# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Causes on top, effects folded under them, and two independent causes side by side."""

from __future__ import annotations

import json
import pathlib

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils._correlate import ServiceGraph, _reach
from ansible_collections.stackops.runbook.plugins.plugin_utils._judge import judge_host
from ansible_collections.stackops.runbook.plugins.plugin_utils._rules import RuleSet, facts_schema, load_rules
from hypothesis import given
from hypothesis import strategies as st

ROOT = pathlib.Path(__file__).resolve().parents[4]
NOW = "2026-11-23T10:00:00Z"

NAMES = [("api", "db", "web"), ("orders-service", "pg", "edge")]


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return load_rules([ROOT / "roles" / "diagnose" / "rules"])


class StackFacts:
    """The facts of a stack of an application, its database and a proxy in front; methods break it as faults do."""

    def __init__(self, names):
        self.app, self.db, self.web = names
        depends = {self.web: [{"service": self.app, "condition": "service_started"}], self.app: [{"service": self.db, "condition": "service_healthy"}]}
        roles = {self.app: "application", self.db: "postgres", self.web: "proxy"}
        self.containers = {
            name: {
                "project": "shop", "service": name, "name": f"shop-{name}-1", "role": roles[name], "status": "ok", "state": "running", "oneoff": False,
                "restart_count": 0, "oom_killed": False, "depends_on": depends.get(name, []), "cause": None,
                "health": {"status": "healthy", "stale": False, "failing_streak": 0, "test": ["CMD", "true"]},
            }
            for name in names
        }  # fmt: skip
        self.endpoint = {"project": "shop", "service": self.app, "name": "health", "url": "http://127.0.0.1:8000/health", "method": "GET", "reachable": True,
                         "status": "ok", "http_status": 200, "failure": None}  # fmt: skip
        self.instance = {"name": f"shop/{self.db}", "project": "shop", "service": self.db, "status": "ok", "reachable": True, "concerns": [],
                         "statements": {"available": True, "queries": []}}  # fmt: skip
        self.login = {"project": "shop", "service": self.app, "variable": "DATABASE_URL", "host": self.db, "port": 5432, "database": "shop", "user": "app",
                      "target_service": self.db, "status": "ok", "accepted": True, "failure": None}  # fmt: skip
        self.link = {"project": "shop", "from_service": self.app, "to_host": self.db, "to_port": 5432, "to_service": self.db, "origin": "environment",
                     "status": "ok", "resolved": True, "connected": True, "failure": None}  # fmt: skip
        self.log = {"name": "/logs/app.log", "project": "shop", "service": self.app, "type": "file", "status": "ok", "errors": 0, "errors_per_minute": 0,
                    "baseline_errors": 0, "paths": ["/logs/app.log"], "groups": []}  # fmt: skip
        self.kinds = []
        self.filesystems = []

    def unhealthy(self, failure="http-status", http_status=503):
        health = {
            "status": "unhealthy", "stale": False, "failing_streak": 7, "failure": failure, "http_status": http_status, "last_output": "unhealthy",
            "test": ["CMD"],
        }  # fmt: skip
        self.containers[self.app].update(status="critical", health=health, cause={"code": "unhealthy", "confidence": "high", "summary": "unhealthy"})

    def endpoint_answers(self, status):
        self.endpoint.update(status="critical", http_status=status, failure="unexpected-status", body_excerpt="no")

    def endpoint_gone(self, failure="connection-refused"):
        self.endpoint.update(status="critical", reachable=False, http_status=None, failure=failure)

    def errors(self, kind, count=200, exception="OperationalError"):
        error = {"kind": kind, "exception": exception, "message": kind, "parameters": {}}
        group = {"shape": kind, "count": count, "level": "error", "sample": f"{exception}: {kind}", "is_new": True, "first_seen": NOW, "error": error}
        self.log.update(status="critical", errors=count, errors_per_minute=4.0, groups=[group])
        self.kinds.append({"kind": kind, "project": "shop", "service": self.app, "count": count, "sample": kind, "exception": exception, "parameters": {}})

    def app_exits(self, kind, exception="OperationalError", **parameters):
        error = {"kind": kind, "exception": exception, "message": kind, "parameters": parameters}
        cause = {"code": "application-error", "confidence": "high", "summary": kind, "error": error}
        self.containers[self.app].update(status="critical", state="restarting", exit_code=1, restart_count=6, cause=cause, last_log_lines=[kind])

    def database_stopped(self):
        self.containers[self.db].update(
            status="critical",
            state="exited",
            exit_code=0,
            finished_at=NOW,
            restart_policy="no",
            cause={"code": "terminated", "confidence": "high", "summary": "stopped"},
        )
        self.instance.update(status="critical", reachable=False, failure="not-running", message="not running")
        self.login.update(status="critical", accepted=False, failure="name-not-resolved")
        self.link.update(status="critical", resolved=False, connected=None, failure="name-not-resolved")

    def facts(self):
        collectors = {
            "engine": {"status": "ok", "reachable": True, "failure": None, "version": "27"},
            "compose": {"status": "ok", "projects": [], "containers": list(self.containers.values())},
            "http": {"status": "ok", "endpoints": [self.endpoint]},
            "logs": {"status": "ok", "window_seconds": 3600, "sources": [self.log], "kinds": self.kinds},
            "requests": {"status": "ok", "slow_request_ms": 1000, "sources": []},
            "postgres": {"status": "ok", "instances": [self.instance]},
            "database_logins": {"status": "ok", "logins": [self.login]},
            "migrations": {"status": "ok", "applications": []},
            "links": {"status": "ok", "links": [self.link]},
            "ports": {"status": "ok", "published": [], "conflicts": []},
            "host": {"status": "ok", "filesystems": self.filesystems, "kernel_oom_kills": []},
        }
        whole = {"schema": 1, "host": {"hostname": "h", "collected_at": NOW}, "facts": collectors}
        assert facts_schema().unknown_paths(whole) == []
        return whole


def roots(rules, stack):
    row = judge_host(rules, "web1", stack.facts(), {"now": NOW})
    fired = [finding for finding in row["findings"] if finding["result"] == "fire"]
    causes = [(finding["rule"], finding["object"]) for finding in fired if not finding.get("effect_of") and finding["severity"] != "info"]
    effects = {finding["rule"] for finding in fired if finding.get("effect_of")}
    assert fired[: len(causes)] == [finding for finding in fired if not finding.get("effect_of")][: len(causes)]
    return causes, effects


@pytest.mark.parametrize("names", NAMES, ids=["usual", "renamed"])
class TestChains:
    """One cause, many effects: one finding on top."""

    def test_a_healthy_stack_is_silent(self, rules, names):
        assert roots(rules, StackFacts(names)) == ([], set())

    def test_a_stopped_database_explains_everything_above_it(self, rules, names):
        stack = StackFacts(names)
        stack.database_stopped()
        stack.unhealthy()
        stack.endpoint_answers(503)
        stack.errors("database-refused")
        causes, effects = roots(rules, stack)
        assert causes == [("database-down", f"shop/{stack.db}")]
        assert {
            "container-stopped", "container-unhealthy", "health-endpoint-failing", "error-burst", "database-name-not-resolved", "service-name-not-resolved",
        } <= effects  # fmt: skip

    def test_a_database_killed_for_memory_is_the_cause_of_its_being_down(self, rules, names):
        stack = StackFacts(names)
        stack.database_stopped()
        stack.containers[stack.db].update(exit_code=137, cause={"code": "oom-container", "confidence": "high", "summary": "killed"})
        stack.app_exits("database-refused")
        causes, effects = roots(rules, stack)
        assert causes == [("container-oom-killed", f"shop/{stack.db}")]
        assert {"database-down", "container-application-error"} <= effects

    def test_a_rejected_password(self, rules, names):
        stack = StackFacts(names)
        stack.login.update(status="critical", accepted=False, failure="auth-failed", message="password authentication failed", sqlstate="28P01")
        stack.app_exits("database-auth-failed", user="app")
        stack.endpoint_gone()
        stack.errors("database-auth-failed")
        causes, effects = roots(rules, stack)
        assert causes == [("database-login-rejected", f"shop/{stack.app}")]
        assert {"container-application-error", "endpoint-unreachable", "error-burst"} <= effects

    def test_a_wrong_database_host(self, rules, names):
        stack = StackFacts(names)
        stack.login.update(host="elsewhere", target_service=None, status="critical", accepted=False, failure="name-not-resolved")
        stack.link.update(to_host="elsewhere", to_service=None, status="critical", resolved=False, connected=None, failure="name-not-resolved")
        stack.unhealthy()
        stack.endpoint_answers(503)
        stack.errors("database-name-not-resolved")
        causes, effects = roots(rules, stack)
        assert causes == [("database-name-not-resolved", f"shop/{stack.app}")]
        assert {"service-name-not-resolved", "container-unhealthy", "health-endpoint-failing", "error-burst"} <= effects

    def test_an_import_error_explains_what_is_behind_the_proxy(self, rules, names):
        stack = StackFacts(names)
        stack.app_exits("import-error", "ModuleNotFoundError", module="reportlab")
        stack.endpoint_gone("not-running")
        causes, effects = roots(rules, stack)
        assert causes == [("container-application-error", f"shop/{stack.app}")]
        assert effects == {"container-restart-loop", "endpoint-unreachable"}

    def test_a_wrong_path_of_the_health_check(self, rules, names):
        stack = StackFacts(names)
        stack.unhealthy("http-status", 404)
        stack.endpoint.update(url="http://127.0.0.1:8000/healthz")
        stack.endpoint_answers(404)
        causes, effects = roots(rules, stack)
        assert causes == [("healthcheck-wrong-path", f"shop/{stack.app}")]
        assert effects == {"container-unhealthy", "health-endpoint-failing"}

    def test_a_failing_health_endpoint(self, rules, names):
        stack = StackFacts(names)
        stack.unhealthy("http-status", 500)
        stack.endpoint_answers(500)
        causes, effects = roots(rules, stack)
        assert causes == [("health-endpoint-failing", f"shop/{stack.app}")]
        assert effects == {"container-unhealthy"}

    def test_a_taken_port(self, rules, names):
        stack = StackFacts(names)
        error = {"kind": "address-in-use", "exception": None, "message": "taken", "parameters": {"port": "8000"}}
        cause = {"code": "port-already-allocated", "confidence": "high", "summary": "taken", "error": error}
        stack.containers[stack.app].update(status="critical", state="created", state_error="port is already allocated", exit_code=128, cause=cause)
        stack.endpoint_answers(404)
        causes, dummy = roots(rules, stack)
        assert causes == [("port-already-allocated", f"shop/{stack.app}")]

    def test_a_full_disk_explains_errors_of_writing(self, rules, names):
        stack = StackFacts(names)
        stack.filesystems = [{
            "mount": "/srv", "device": "/dev/b", "size_bytes": 10, "available_bytes": 0, "used_percent": 100, "status": "critical",
            "used_for": ["root"], "read_only": False,
        }]  # fmt: skip
        stack.errors("disk-full", exception="OSError")
        causes, effects = roots(rules, stack)
        assert causes == [("filesystem-nearly-full", "/srv")]
        assert effects >= {"application-no-space", "error-burst"}

    def test_a_wrong_jwt_secret(self, rules, names):
        stack = StackFacts(names)
        stack.errors("jwt-bad-signature", exception="InvalidSignatureError")
        causes, effects = roots(rules, stack)
        assert causes == [("jwt-signature-mismatch", f"shop/{stack.app}")]
        assert "error-burst" in effects


@pytest.mark.parametrize("names", NAMES, ids=["usual", "renamed"])
class TestIndependentCauses:
    """Two causes that nothing connects are both on top."""

    def test_a_stopped_database_and_a_missing_module(self, rules, names):
        stack = StackFacts(names)
        stack.database_stopped()
        stack.app_exits("import-error", "ModuleNotFoundError", module="reportlab")
        causes, dummy = roots(rules, stack)
        assert set(causes) == {("database-down", f"shop/{stack.db}"), ("container-application-error", f"shop/{stack.app}")}

    def test_a_wrong_host_and_a_stopped_database(self, rules, names):
        stack = StackFacts(names)
        stack.database_stopped()
        stack.login.update(host="elsewhere", target_service=None)
        stack.link.update(to_host="elsewhere", to_service=None)
        causes, dummy = roots(rules, stack)
        assert set(causes) == {("database-down", f"shop/{stack.db}"), ("database-name-not-resolved", f"shop/{stack.app}")}

    def test_an_error_burst_of_its_own_beside_a_rejected_password(self, rules, names):
        stack = StackFacts(names)
        stack.login.update(status="critical", accepted=False, failure="auth-failed")
        stack.errors("unhandled", exception="ValueError")
        causes, dummy = roots(rules, stack)
        assert {rule for rule, dummy in causes} == {"database-login-rejected", "error-burst"}

    def test_two_stacks_on_one_host(self, rules, names):
        stack, other = StackFacts(names), StackFacts(names)
        stack.database_stopped()
        other.unhealthy()
        given_facts = stack.facts()
        for container in other.containers.values():
            given_facts["facts"]["compose"]["containers"].append({**container, "project": "blog"})
        row = judge_host(rules, "web1", given_facts)
        causes = {(finding["rule"], finding["object"]) for finding in row["findings"] if finding["result"] == "fire" and not finding.get("effect_of")}
        assert causes == {("database-down", f"shop/{stack.db}"), ("container-unhealthy", f"blog/{stack.app}")}


# The graph


def test_dependants_are_found_through_names_and_aliases():
    graph = ServiceGraph(
        {
            "compose": {
                "projects": [{"name": "shop", "services": [{"name": "web", "depends_on": [{"service": "api"}]}]}],
                "containers": [
                    {"project": "shop", "service": "db", "name": "shop-db-1", "networks": [{"name": "n", "aliases": ["primary"]}]},
                    {"project": "shop", "service": "api", "database_urls": [{"host": "primary"}]},
                    {"project": "blog", "service": "api", "database_urls": [{"host": "primary"}]},
                ],
            },
            "links": {"links": [{"project": "shop", "from_service": "job", "to_service": "db"}]},
        }
    )
    assert graph.dependants([("shop", "db")]) == {("shop", "api"), ("shop", "web"), ("shop", "job")}
    assert graph.dependants([("shop", "web")]) == frozenset()


def test_a_circle_of_dependencies_ends():
    services = [{"name": "a", "depends_on": [{"service": "b"}]}, {"name": "b", "depends_on": [{"service": "a"}]}]
    graph = ServiceGraph({"compose": {"projects": [{"name": "p", "services": services}]}})
    assert graph.dependants([("p", "a")]) == {("p", "b")}


class _Stub:
    def __init__(self, severity):
        self.finding = {"severity": severity, "confidence": "high", "category": "host"}


@given(st.lists(st.sampled_from(["info", "warning", "critical"]), min_size=1, max_size=8), st.data())
def test_whatever_explains_whatever_there_is_always_a_cause(severities, data):
    number = st.integers(0, len(severities) - 1)
    edges = data.draw(st.lists(st.tuples(number, number).filter(lambda edge: edge[0] != edge[1]), max_size=20, unique=True))
    reach = _reach([_Stub(severity) for severity in severities], edges)
    explained = set().union(*reach)
    assert any(position not in explained for position in range(len(severities)))
    assert all(position not in reached for position, reached in enumerate(reach))
    covered = {position for position in range(len(severities)) if position not in explained}
    for root in list(covered):
        covered |= reach[root]
    assert covered == set(range(len(severities)))


@pytest.mark.parametrize("recorded", sorted((ROOT / "tests/unit/fixtures/facts").glob("*.json")), ids=lambda path: path.stem)
def test_a_cause_is_as_severe_as_the_worst_that_it_explains(rules: RuleSet, recorded: pathlib.Path) -> None:
    row = judge_host(rules, "web1", json.loads(recorded.read_text()), {"now": NOW})
    ranks = {finding["id"]: ("info", "warning", "critical").index(finding["severity"]) for finding in row["findings"]}
    for finding in row["findings"]:
        if finding["result"] == "fire" and finding["severity"] != "info" and not finding.get("effect_of"):
            assert ranks[finding["id"]] == max(ranks[effect] for effect in [finding["id"], *finding["effects"]])


def test_faults_that_have_nothing_to_do_with_each_other_stay_apart(rules: RuleSet) -> None:
    """Recorded with four faults on: a wrong path of the health check, a migration, an error burst and a missing index."""
    row = judge_host(rules, "web1", json.loads((ROOT / "demo/recorded_facts/web1.json").read_text()), {"now": NOW})
    causes = [finding["rule"] for finding in row["findings"] if finding["result"] == "fire" and not finding.get("effect_of") and finding["severity"] != "info"]
    assert sorted(causes) == ["error-burst", "healthcheck-wrong-path", "migration-pending", "slow-query"]
