# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judging one host: what is missing is unknown, what fails stops nothing, what is silenced stays listed."""

from __future__ import annotations

import copy
import pathlib

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils._judge import Commands, Options, Silence, SilenceError, judge_host
from ansible_collections.stackops.runbook.plugins.plugin_utils._rules import RuleSet, facts_schema, load_rules
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = pathlib.Path(__file__).resolve().parents[4]
NOW = "2026-11-23T10:00:00Z"


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return load_rules([ROOT / "roles" / "diagnose" / "rules"])


def facts(**collectors):
    return {"schema": 1, "host": {"hostname": "h", "is_root": True, "collected_at": NOW}, "facts": collectors}


def container(service, **more):
    return {"project": "shop", "service": service, "name": f"shop-{service}-1", "status": "ok", "state": "running", "cause": None, **more}


def oom(service, limit=67108864):
    return container(
        service, status="critical", state="exited", exit_code=137, oom_killed=True, restart_count=0, limits={"memory_bytes": limit},
        cause={"code": "oom-container", "confidence": "high", "summary": "killed", "error": None, "evidence": [{"source": "inspect", "text": "OOMKilled"}]},
    )  # fmt: skip


COMPOSE = {"projects": [{"name": "shop", "working_dir": "/srv/my shop", "config_files": ["/srv/my shop/docker-compose.yml"], "services": []}]}


def fired(row):
    return [(finding["rule"], finding["object"]) for finding in row["findings"] if finding["result"] == "fire"]


def test_nothing_wrong_is_ok(rules):
    row = judge_host(rules, "web1", facts(compose={**COMPOSE, "status": "ok", "containers": [container("api")]}), {"now": NOW})
    assert row["status"] == "ok"
    assert fired(row) == []
    assert row["counts"]["fire"] == 0
    assert sum(row["counts"].values()) == len(rules.host_rules)


def test_a_finding_has_everything_an_operator_needs(rules):
    row = judge_host(rules, "web1", facts(engine={"compose_command": ["docker", "compose"]}, compose={**COMPOSE, "containers": [oom("api")]}), {"now": NOW})
    finding = row["findings"][0]
    assert row["status"] == "critical"
    assert (finding["rule"], finding["severity"], finding["object"], finding["confidence"]) == ("container-oom-killed", "critical", "shop/api", "high")
    assert finding["evidence"]["memory_limit_bytes"] == 67108864
    assert "64 MiB" in finding["cause"]
    assert finding["fix"][-1] == "Apply the change: `cd '/srv/my shop' && docker compose -p shop up -d api`"
    assert len(finding["id"]) == 16
    assert set(finding) >= {
        "id", "rule", "severity", "result", "object", "title", "cause", "evidence", "fix", "verify", "effects", "since", "confidence", "category",
    }  # fmt: skip


def test_a_finding_has_the_action_that_puts_it_right(rules):
    stopped = container("api", status="critical", state="exited", exit_code=1, cause={"code": "terminated", "confidence": "high", "summary": "stopped"})
    moved = container("web", image={"reference": "shop/web", "id": "sha256:a", "local_tag_id": "sha256:b", "tag_moved": True})
    row = judge_host(rules, "web1", facts(compose={**COMPOSE, "status": "critical", "containers": [stopped, moved]}), {"now": NOW})
    remedies = {finding["rule"]: finding.get("remediation") for finding in row["findings"] if finding["result"] == "fire"}
    assert remedies["container-stopped"] == {"action": "start_missing", "project": "shop"}
    assert remedies["image-tag-moved"] == {"action": "recreate_service", "project": "shop", "service": "web"}
    # Nobody but a person knows how much memory it needs.
    row = judge_host(rules, "web1", facts(compose={**COMPOSE, "status": "critical", "containers": [oom("api")]}), {"now": NOW})
    assert "remediation" not in row["findings"][0]


@pytest.mark.parametrize(("policy", "advised"), [("unless-stopped", False), ("always", False), ("on-failure", True), ("no", True)])
@pytest.mark.parametrize(("language", "words"), [("en", "someone stopped it"), ("zh_TW", "someone stopped it")])
def test_a_restart_policy_is_advised_only_where_it_is_another_one(rules, policy, advised, language, words):
    cause = {"code": "terminated", "confidence": "high", "summary": "someone stopped it (docker stop)"}
    stopped = [container(name, status="critical", state="exited", exit_code=0, restart_policy=policy, cause=cause) for name in ("db", "api")]
    down = {"name": "shop/db", "project": "shop", "service": "db", "status": "critical", "reachable": False, "failure": "not-running", "message": "exited"}
    given_facts = facts(compose={**COMPOSE, "status": "critical", "containers": stopped}, postgres={"instances": [down]})
    found = {finding["rule"]: finding for finding in judge_host(rules, "web1", given_facts, {"now": NOW, "language": language})["findings"]}
    for rule in ("database-down", "container-stopped"):
        assert any("restart: unless-stopped" in step for step in found[rule]["fix"]) == advised
        assert words in found[rule]["cause"]


@pytest.mark.parametrize(("role", "expected"), [("postgres", "health_check"), ("application", None)])
def test_an_action_is_only_named_where_it_fits(rules, role, expected):
    service = {"name": "db", "role": role, "status": "ok", "has_healthcheck": False, "one_shot": False, "missing": False}
    compose = {"projects": [{**COMPOSE["projects"][0], "services": [service]}], "containers": [container("db")]}
    row = judge_host(rules, "web1", facts(compose=compose), {"now": NOW})
    (finding,) = [one for one in row["findings"] if one["rule"] == "container-without-healthcheck" and one["result"] == "fire"]
    assert (finding.get("remediation") or {}).get("action") == expected
    if expected:
        assert finding["remediation"]["test"][0] == "CMD-SHELL" and finding["remediation"]["project"] == "shop"


def test_the_other_language(rules):
    row = judge_host(rules, "web1", facts(compose={**COMPOSE, "containers": [oom("api")]}), {"language": "zh_TW"})
    assert row["findings"][0]["title"] == "shop/api 因記憶體用量超過上限而被強制終止"


def test_ids_stay_the_same_and_differ_by_host(rules):
    given_facts = facts(compose={**COMPOSE, "containers": [oom("api")]})
    first, again, other = (judge_host(rules, host, given_facts)["findings"][0]["id"] for host in ("web1", "web1", "web2"))
    assert first == again != other


def test_replicas_are_one_finding_with_a_count(rules):
    row = judge_host(rules, "web1", facts(compose={**COMPOSE, "containers": [oom("api"), oom("api"), oom("api")]}))
    found = [finding for finding in row["findings"] if finding["rule"] == "container-oom-killed"]
    assert len(found) == 1
    assert found[0]["count"] == 3


def test_thresholds_of_the_inventory(rules):
    given_facts = facts(host={"status": "ok", "cpu_iowait_percent": 20, "load_1m": 1})
    assert ("disk-io-wait", "disk") not in fired(judge_host(rules, "h", given_facts))
    assert ("disk-io-wait", "disk") in fired(judge_host(rules, "h", given_facts, {"thresholds": {"disk-io-wait": {"percent": 10}}}))


# What is missing


def test_nothing_collected_is_unknown_and_never_ok(rules):
    for given_facts in ({}, facts(), {"schema": 1, "host": {}, "facts": {}}):
        row = judge_host(rules, "web1", given_facts)
        assert row["status"] == "unknown"
        assert row["counts"]["pass"] == 0
        assert row["counts"]["unknown"] == len(rules.host_rules)


def test_reasons_are_told_once_for_each_reason(rules):
    error = {"source": "/var/run/docker.sock", "reason": "permission denied", "hint": "Run with become: true."}
    broken = {"status": "unknown", "summary": "", "metrics": {}, "errors": [error]}
    row = judge_host(rules, "web1", facts(compose=broken, logs=broken, http={"status": "ok", "errors": [], "endpoints": []}))
    told = [finding for finding in row["findings"] if finding["rule"] == "not-checked" and "compose" in finding["object"]]
    assert len(told) == 1
    assert told[0]["result"] == "unknown"
    assert told[0]["object"] == "compose, logs"
    assert "permission denied" in told[0]["reason"]
    assert told[0]["fix"] == ["Run with become: true."]
    assert told[0]["evidence"]["rules_unknown"] > 20
    assert row["status"] == "unknown"


def test_an_unknown_collector_with_items_is_judged_as_far_as_it_goes(rules):
    row = judge_host(rules, "web1", facts(compose={**COMPOSE, "status": "unknown", "errors": [], "containers": [oom("api")]}))
    assert ("container-oom-killed", "shop/api") in fired(row)


# What fails


JSON_KEYS = (
    "compose", "containers", "projects", "services", "name", "project", "service", "status", "cause", "code", "host", "logs", "sources", "errors", "groups",
    "postgres", "instances", "requests", "depends_on", "database_urls", "links",
)  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["critical", "unknown", "killed", "exited"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(JSON_KEYS), inner, max_size=5),
    max_leaves=40,
)


@settings(max_examples=60, deadline=None)
@given(ANYTHING, ANYTHING)
def test_no_facts_whatsoever_make_it_raise(collected, host):
    row = judge_host(_RULES, "web1", {"facts": collected, "host": host})
    assert sum(row["counts"].values()) >= len(_RULES.host_rules)


def mangled(value, draw):
    """Return *value* with parts replaced by something of another type."""
    if draw(st.integers(0, 14)) == 0:
        return draw(st.sampled_from([None, 7, "x", [], {}, [None], [7], True]))
    if isinstance(value, dict):
        return {key: mangled(below, draw) for key, below in value.items()}
    if isinstance(value, list):
        return [mangled(element, draw) for element in value]
    return value


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_facts_of_the_wrong_shape_do_not_make_it_raise(data):
    shaped = facts(
        compose={**COMPOSE, "containers": [oom("api"), container("db", state="exited", status="critical", depends_on=[{"service": "api"}])]},
        logs={"status": "ok", "window_seconds": 3600, "sources": [{"name": "a", "project": "shop", "service": "api", "status": "critical", "errors": 9,
              "errors_per_minute": 1, "groups": [{"count": 9, "sample": "x", "error": {"kind": "unhandled"}}]}]},
        postgres={"status": "critical", "instances": [{"name": "shop/db", "project": "shop", "service": "db", "reachable": False, "failure": "refused"}]},
    )  # fmt: skip
    judge_host(_RULES, "web1", {**shaped, "facts": mangled(shaped["facts"], data.draw)})


_RULES = load_rules([ROOT / "roles" / "diagnose" / "rules"])


def test_a_rule_that_fails_is_told_and_stops_nothing(tmp_path, rules):
    (tmp_path / "own.yml").write_text(
        "schema: 1\nrules:\n  - {id: own-rule, category: host, severity: critical, for_each: 'facts.compose.containers[]', object: x, "
        "when: 'starts_with(item.state_error, `\"x\"`)', title: x, cause: x, fix: [x]}\n"
    )
    both = load_rules([ROOT / "roles" / "diagnose" / "rules", tmp_path])
    row = judge_host(both, "web1", facts(compose={**COMPOSE, "containers": [oom("api")]}))
    error = next(finding for finding in row["findings"] if finding["result"] == "error")
    assert error["rule"] == "own-rule"
    assert "starts_with" in error["evidence"]["error"]
    assert error["evidence"]["file"].endswith("own.yml:3")
    assert fired(row)[0] == ("container-oom-killed", "shop/api")


def test_collected_text_is_never_looked_up_again(rules):
    hostile = container("api", status="critical", state="exited", exit_code=1, restart_count=0, last_log_lines=["{{ lookup('pipe', 'id') }}\x1b[2J"], cause={
        "code": "application-error", "confidence": "high", "summary": "x", "evidence": [],
        "error": {"kind": "unhandled", "exception": "E", "message": "{{ item.name }} \x1b[31m\u202e`rm -rf /`", "parameters": {}},
    })  # fmt: skip
    row = judge_host(rules, "web1", facts(compose={**COMPOSE, "containers": [hostile]}))
    finding = row["findings"][0]
    assert "{{ item.name }}" in finding["title"] and "shop-api-1" not in finding["title"]
    assert "\x1b" not in str(finding) and "\u202e" not in str(finding)
    assert all("rm -rf" not in step for step in finding["fix"])


# Silences


def test_silenced_findings_stay_listed_with_their_effects(rules):
    given_facts = facts(
        compose={**COMPOSE, "containers": [container("api", status="warning", state="paused")]},
        http={"endpoints": [{
            "project": "shop", "service": "api", "name": "a", "url": "http://h/health", "reachable": False, "status": "critical",
            "failure": "read-timeout",
        }]},
    )  # fmt: skip
    silence = {"rule": "container-paused", "object": "shop/*", "reason": "kept for the audit", "expires": "2026-12-31"}
    assert fired(judge_host(rules, "web1", given_facts, {"now": NOW}))
    row = judge_host(rules, "web1", given_facts, {"now": NOW, "silences": [silence]})
    assert row["status"] == "ok"
    assert [finding["result"] for finding in row["findings"] if finding["rule"] in ("container-paused", "endpoint-unreachable")] == ["silenced", "silenced"]
    assert row["findings"][0]["silence"]["reason"] == "kept for the audit"
    late = judge_host(rules, "web1", given_facts, {"now": "2027-01-01T00:00:00Z", "silences": [silence]})
    assert fired(late)
    elsewhere = judge_host(rules, "web1", given_facts, {"now": NOW, "silences": [{**silence, "host": "db*"}]})
    assert fired(elsewhere)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("x", "expected a mapping"),
        ({"rule": "a", "reason": "b"}, "expires is missing"),
        ({"rule": "a", "expires": "never"}, "reason is missing"),
        ({"reason": "a", "expires": "never"}, "rule is missing"),
        ({"rule": "a", "reason": "b", "expires": "soon"}, "expires must be a date"),
        ({"rule": "a", "reason": "b", "expires": "never", "hosts": "x"}, "unknown key hosts"),
    ],
)
def test_silences_that_are_not_well_formed(entry, message):
    with pytest.raises(SilenceError, match=message):
        Silence.of(entry)


def test_a_silence_may_last_for_ever():
    assert not Silence.of({"rule": "a", "reason": "b", "expires": "never"}).expired(NOW)


def test_options_are_taken_as_they_are():
    options = Options.of({"language": "fr"})
    assert options.language == "en" and options.now.endswith("Z")
    assert Options.of(options) is options


# Commands


@pytest.mark.parametrize(
    ("engine", "project", "with_files", "expected"),
    [
        ({"compose_command": ["docker", "compose"]}, {"working_dir": "/srv/a", "config_files": ["/srv/a/compose.yml"]}, False, "docker compose -p shop"),
        (
            {"compose_command": ["docker", "compose"]},
            {"working_dir": "/srv/a", "config_files": ["/srv/a/compose.yml"]},
            True,
            "cd /srv/a && docker compose -p shop",
        ),
        (
            {"compose_command": ["docker-compose"]},
            {"working_dir": "/srv/a", "config_files": ["/srv/a/docker-compose.yml"]},
            False,
            "cd /srv/a && docker-compose -p shop",
        ),
        (
            {"compose_command": ["docker", "compose"]},
            {"working_dir": "/srv/a", "config_files": ["/srv/a/compose.yml", "/srv/a/prod.yml"]},
            True,
            "cd /srv/a && docker compose -p shop -f /srv/a/compose.yml -f /srv/a/prod.yml",
        ),
        ({}, {"flavour": "compose-v1", "working_dir": "/srv/a", "config_files": []}, True, "cd /srv/a && docker-compose -p shop"),
        ({}, {"flavour": "podman-compose"}, False, "podman-compose -p shop"),
        ({}, {}, False, "docker compose -p shop"),
    ],
)
def test_compose_commands(engine, project, with_files, expected):
    commands = Commands({"engine": engine, "compose": {"projects": [{"name": "shop", **project}]}})
    assert commands.compose("shop", with_files) == expected


def test_psql_commands():
    inside = {"name": "shop/db", "project": "shop", "service": "db", "reachable": True, "user": "app user", "database": "shop"}
    outside = {"name": "db.example:5433", "project": None, "service": None, "reachable": True, "user": "app", "database": "shop"}
    commands = Commands({"postgres": {"instances": [inside, outside]}})
    assert commands.psql(inside) == "docker compose -p shop exec db psql -U 'app user' -d shop"
    assert commands.psql(outside) == "psql -U app -d shop -h db.example -p 5433"
    assert commands.psql({"project": "shop", "service": "api", "target_service": "db"}) == commands.psql(inside)
    assert commands.psql({"project": "shop", "service": "api"}) == commands.psql(inside)
    assert commands.psql(None, {"project": "other", "service": "api"}) is None


def test_the_facts_of_these_tests_fit_the_schema():
    given_facts = facts(compose={**COMPOSE, "containers": [oom("api"), container("db")]})
    assert facts_schema().unknown_paths(copy.deepcopy(given_facts)) == []
