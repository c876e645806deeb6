# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of a security scan: one list out of five results, what shows only where two of them meet, and three formats."""

from __future__ import annotations

import copy
import datetime
import json
import pathlib
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._ignores import IgnoreList
from ansible_collections.stackops.runbook.plugins.module_utils._image_scan import ImageRow, ImageScanOptions, image_facts, scan_envelope
from ansible_collections.stackops.runbook.plugins.module_utils._scanner_output import parse_trivy
from ansible_collections.stackops.runbook.plugins.module_utils._scanners import Scanner
from ansible_collections.stackops.runbook.plugins.plugin_utils._sarif import render_sarif
from ansible_collections.stackops.runbook.plugins.plugin_utils._scan_cache import load_report, store_report
from ansible_collections.stackops.runbook.plugins.plugin_utils._security_findings import judge_host
from ansible_collections.stackops.runbook.plugins.plugin_utils._security_report import SecurityReports, host_report
from ansible_collections.stackops.runbook.plugins.plugin_utils._security_text import render_security_markdown, render_text

NOW = datetime.datetime(2026, 11, 26, 12, tzinfo=datetime.timezone.utc)
FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "fixtures/scanners"
NONE = IgnoreList(())
Json = dict[str, t.Any]


def images() -> Json:
    report = parse_trivy((FIXTURES / "trivy.json").read_text(encoding="utf-8"), "trivy")
    row = ImageRow("shop-backend:1.4", "sha256:" + "1" * 64, ["shop/backend"], report=report, scanner=Scanner("trivy", "/usr/bin/trivy", "0.69.3"))
    row.renew = "cd /srv/shop && docker compose -p shop build --pull --no-cache backend && docker compose -p shop up --detach backend"
    facts: Json = scan_envelope([image_facts(row, ImageScanOptions(only_fixed=False), NOW)], {"name": "trivy"}, [], NONE)
    return {**facts, "scanner_missing": None}


def hardening(rule: str = "debug-mode", severity: str = "warning", service: str = "backend") -> Json:
    finding = {
        "rule": rule, "severity": severity, "object": f"shop/{service}", "project": "shop", "service": service, "containers": [f"shop-{service}-1"],
        "title": f"shop/{service} {rule}", "reason": "Because.", "evidence": "DEBUG", "compose": f"services:\n  {service}:\n    restart: unless-stopped",
    }  # fmt: skip
    return {"status": severity, "summary": "", "errors": [], "findings": [finding], "ignored": []}


def port(service: str = "backend", number: int = 8000, **more: t.Any) -> Json:
    return {
        "label": f"shop/{service}", "project": "shop", "service": service, "host_port": number, "protocol": "tcp", "family": "ipv4", "host_ip": "0.0.0.0",
        "status": "warning", "class": "exposed_no_firewall", "verdict": "reachable", "reachable_from": ["0.0.0.0/0"], "evidence": [], "reason": None,
        "policy": {"engine": "ufw"}, "fix": [{"action": "unpublish", "text": "Remove it.", "commands": ["docker compose up -d backend"]}], **more,
    }  # fmt: skip


def exposure(*ports: Json) -> Json:
    return {"status": "warning", "summary": "", "errors": [], "ports": list(ports)}


def endpoint(**more: t.Any) -> Json:
    return {
        "name": "backend:8000/docs", "project": "shop", "service": "backend", "origin": "discovered", "method": "GET", "url": "http://localhost:8000/docs",
        "status": "ok", "http_status": 200, "failure": None, "message": None, "tls_days_left": None, "tls_expires_at": None, "token": None, **more,
    }  # fmt: skip


def endpoints(*rows: Json) -> Json:
    return {"status": "ok", "summary": "", "errors": [], "endpoints": list(rows)}


def logs() -> Json:
    finding = {
        "rule": "auth_burst_ip", "stack": "shop", "log": "container:shop/backend", "status": "critical", "count": 60, "summary": "1 client failed",
        "clients": [{"address": "203.0.113.9", "count": 60}], "paths": [{"path": "POST /login", "count": 60}], "user_agents": [], "samples": ["x"],
        "first_at": "2026-11-26T11:00:00Z", "last_at": "2026-11-26T11:10:00Z", "hint": "iptables -I DOCKER-USER -s 203.0.113.9 -j DROP", "also_in": [],
    }  # fmt: skip
    client = {
        "address": "203.0.113.9", "stack": "shop", "log": "container:shop/backend", "requests": 62, "statuses": {"200": 1, "401": 60, "503": 1},
        "failed_writes": 61, "paths": 2, "endpoints": [{"endpoint": "POST /login", "count": 61, "statuses": {"200": 1, "401": 60}}],
        "first_at": None, "last_at": None,
    }  # fmt: skip
    return {"status": "critical", "summary": "", "errors": [], "metrics": {}, "window_seconds": 300, "findings": [finding], "clients": [client], "logs": []}


def found(parts: Json, ignore: IgnoreList = NONE) -> dict[str, Json]:
    return {one["rule"]: one for one in judge_host(parts, ignore)["findings"]}


def everything() -> Json:
    told = {"failure": "unexpected-status", "status": "critical", "message": "HTTP 200 with an expired token, expected 401 or 403"}
    expired = endpoint(name="items", origin="declared", url="http://x/items", token="expired", **told)
    return {
        "images": images(),
        "containers": hardening(),
        "logs": logs(),
        "exposure": exposure(port()),
        "endpoints": endpoints(endpoint(), expired),
    }  # fmt: skip


def report(parts: t.Optional[Json] = None, **more: t.Any) -> Json:
    return {**host_report("web1", everything() if parts is None else parts, NONE, NOW, "1.0.0"), **more}


def test_all_parts_are_one_list() -> None:
    judged = judge_host(everything(), NONE)
    assert [(one["section"], one["rule"], one["severity"]) for one in judged["findings"]] == [
        ("images", "image-vulnerable", "critical"),
        ("containers", "debug-mode", "critical"),
        ("logs", "auth_burst_ip", "critical"),
        ("exposure", "port-exposed-no-firewall", "warning"),
        ("exposure", "api-docs-public", "warning"),
        ("endpoints", "token-expired-accepted", "critical"),
    ]
    assert judged["status"] == "critical"
    assert judged["summary"] == {"critical": 4, "warning": 2, "info": 0, "unknown": 0, "ignored": 0}


# -- where two of them meet --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verdict", "severity"), [("reachable", "critical"), ("restricted", "critical"), ("filtered", "warning"), ("local", "warning")])
def test_debug_mode_is_worse_where_somebody_outside_reaches_it(verdict: str, severity: str) -> None:
    assert found({"containers": hardening(), "exposure": exposure(port(verdict=verdict, status="ok"))})["debug-mode"]["severity"] == severity


@pytest.mark.parametrize(("verdict", "severity"), [("reachable", "critical"), ("unknown", "critical"), ("filtered", "warning")])
def test_a_published_database_is_less_bad_where_the_host_keeps_everybody_out(verdict: str, severity: str) -> None:
    parts = {"containers": hardening("database-published", "critical", "postgres"), "exposure": exposure(port("postgres", 5432, verdict=verdict, status="ok"))}
    assert found(parts)["database-published"]["severity"] == severity
    assert found({"containers": hardening("database-published", "critical", "postgres")})["database-published"]["severity"] == "critical"


@pytest.mark.parametrize(("verdict", "told"), [("reachable", "can be reached"), ("unknown", "may be reachable"), ("filtered", ""), ("local", "")])
def test_documentation_counts_where_somebody_outside_reads_it(verdict: str, told: str) -> None:
    parts = {"exposure": exposure(port(verdict=verdict, status="ok")), "endpoints": endpoints(endpoint())}
    one = found(parts).get("api-docs-public")
    assert bool(one) == bool(told)
    assert one is None or told in one["title"]
    assert "api-docs-public" not in found({**parts, "endpoints": endpoints(endpoint(http_status=404))})


# -- endpoints ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "rule", "severity"),
    [
        ({"token": "invalid", "http_status": 200}, "token-invalid-accepted", "critical"),
        ({"token": "expired", "http_status": 201}, "token-expired-accepted", "critical"),
        ({"token": "missing", "http_status": 200}, "token-missing-accepted", "critical"),
        ({"token": "valid", "http_status": 401}, "token-valid-refused", "critical"),
        ({"token": "missing", "http_status": 500}, "token-missing-unexpected", "warning"),
        ({"token": "valid", "http_status": None, "failure": "connection-refused"}, "token-valid-unexpected", "warning"),
        ({"http_status": 500}, "endpoint-unexpected", "warning"),
        ({"http_status": None, "failure": "tls-error"}, "tls-invalid", "critical"),
    ],
)
def test_which_token_went_wrong(row: Json, rule: str, severity: str) -> None:
    declared = endpoint(
        **{"name": "items", "origin": "declared", "url": "http://x/items", "failure": "unexpected-status", "status": "critical", "message": "m", **row}
    )
    rules = found({"endpoints": endpoints(declared)})
    assert {name: one["severity"] for name, one in rules.items()} == {rule: severity}


@pytest.mark.parametrize(
    ("row", "rules"),
    [
        ({"url": "https://x/", "tls_days_left": 5.0, "status": "critical"}, {"tls-expires": "critical"}),
        ({"url": "https://x/", "tls_days_left": 15.0, "status": "warning"}, {"tls-expires": "warning"}),
        ({"url": "https://x/", "tls_days_left": -1.0, "status": "ok"}, {"tls-expires": "critical"}),
        ({"url": "https://x/", "tls_days_left": 80.0, "status": "warning", "failure": "slow"}, {}),
        ({"url": "https://x/", "tls_days_left": 80.0, "tls_old_versions": ["TLSv1.1"]}, {"tls-old-version": "warning"}),
        ({"url": "https://x/", "tls_days_left": 80.0, "tls_old_versions": None}, {}),
    ],
)
def test_tls(row: Json, rules: dict[str, str]) -> None:
    assert {name: one["severity"] for name, one in found({"endpoints": endpoints(endpoint(**row))}).items()} == rules


# -- what nobody knows, and what is accepted ---------------------------------------------------------------------------


def test_without_a_scanner_that_is_said_once_and_is_not_fine() -> None:
    row = ImageRow("a:1", "sha256:1", ["shop/a"])
    facts = [image_facts(row, ImageScanOptions(), NOW), image_facts(copy.copy(row), ImageScanOptions(), NOW)]
    missing = {"source": "image scanner", "reason": "none is installed here", "hint": "Install trivy", "code": "not-installed"}
    judged = judge_host({"images": {**scan_envelope(facts, None, [], NONE), "scanner_missing": missing}}, NONE)
    assert (judged["status"], judged["findings"], len(judged["unknown"])) == ("unknown", [], 1)
    assert judged["unknown"][0]["hint"] == "Install trivy"


def test_a_module_that_failed_is_unknown_and_the_others_are_told() -> None:
    judged = judge_host({"images": {"failed": True, "msg": "boom"}, "exposure": exposure(port())}, NONE)
    assert [one["reason"] for one in judged["unknown"]] == ["boom"]
    assert [one["rule"] for one in judged["findings"]] == ["port-exposed-no-firewall"]


@pytest.mark.parametrize(
    ("entry", "left"),
    [
        ({"id": "port-*", "object": "shop/backend:8000"}, {"debug-mode", "auth_burst_ip", "image-vulnerable", "api-docs-public", "token-expired-accepted"}),
        (
            {"id": "auth_burst_ip", "object": "203.0.113.9"},
            {"debug-mode", "port-exposed-no-firewall", "image-vulnerable", "api-docs-public", "token-expired-accepted"},
        ),
        ({"id": "*", "object": "backend"}, {"auth_burst_ip", "image-vulnerable", "token-expired-accepted", "port-exposed-no-firewall"}),
    ],
)
def test_what_is_accepted_is_left_out_with_its_reason(entry: dict[str, str], left: set[str]) -> None:
    ignore = IgnoreList.parse([{**entry, "reason": "known", "expires": "2026-12-31"}], NOW.date())
    judged = judge_host(everything(), ignore)
    assert {one["rule"] for one in judged["findings"]} == left
    assert {one["reason"] for one in judged["ignored"]} == {"known"}


def test_what_belongs_into_a_file_stands_in_its_sentence_and_what_is_typed_behind_it() -> None:
    text = "Publish it on this host only, under ports of shop/backend in the Compose file, and apply that."
    fix = {"action": "bind_loopback", "text": text, "commands": ['"127.0.0.1:8000:8000"', "cd /srv/shop && docker compose -p shop up -d backend"]}
    steps = found({"exposure": exposure(port(fix=[fix]))})["port-exposed-no-firewall"]["fix"]
    assert steps == [
        'Publish it on this host only, under ports of shop/backend in the Compose file: "127.0.0.1:8000:8000". Then apply that: '
        "`cd /srv/shop && docker compose -p shop up -d backend`"
    ]


def test_hosts_that_did_not_answer_are_there() -> None:
    silent = host_report("web2", {"images": {"unreachable": True, "msg": "ssh: connect to host web2 port 22: Connection refused"}}, NONE, NOW, "1.0.0")
    assert silent["status"] == "unreachable"
    assert silent["reason"].startswith("nothing listens there (connect to host web2 port 22: Connection refused). Is sshd running")
    assert host_report("web3", {"images": None, "logs": {"skipped": True}}, NONE, NOW, "1.0.0")["status"] == "unknown"


# -- the formats -------------------------------------------------------------------------------------------------------


def test_the_terminal_shows_the_worst_and_what_to_do() -> None:
    text = render_text([report()], path="/reports/x")
    assert text.splitlines()[0] == "web1: CRITICAL – 4 critical, 2 warnings"
    for shown in (
        "shop-backend:1.4 (shop/backend) has 1 critical, 1 high, 1 medium vulnerabilities, 2 of them fixed",
        "$ cd /srv/shop && docker compose -p shop build --pull --no-cache backend && docker compose -p shop up --detach backend",
        "restart: unless-stopped",
        "203.0.113.9        62   60    0    0    1",
        "POST /login 1×200 60×401",
        "HTTP 200 with an expired token, expected 401 or 403",
        "Report: /reports/x",
    ):
        assert shown in text.replace("\n              ", " "), shown
    assert all(len(line) <= 160 for line in text.splitlines())


def test_what_several_services_share_is_said_once_on_the_terminal() -> None:
    both = hardening("no-log-rotation")
    both["findings"] += hardening("no-log-rotation", service="postgres")["findings"]
    text = render_text([report({"containers": both})])
    assert (text.count("[no-log-rotation]"), text.count("Because."), text.count("restart: unless-stopped")) == (2, 1, 1)
    assert render_security_markdown(report({"containers": both})).count("restart: unless-stopped") == 2


def test_what_clients_sent_steers_neither_a_terminal_nor_markdown() -> None:
    evil = "/x\x1b[2J\u202e<script>|`rm -rf /`\n# Heading"
    parts = everything()
    parts["logs"]["clients"][0]["endpoints"][0]["endpoint"] = evil
    parts["logs"]["clients"][0]["address"] = evil
    parts["logs"]["findings"][0].update(summary=evil, samples=[evil], stack=evil)
    made = report(parts)
    for text in (render_text([made]), render_security_markdown(made), json.dumps(render_sarif(made))):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "\\u202e" not in text
        assert "\n# Heading" not in text
    assert "<script>" not in render_security_markdown(made)


def test_markdown_has_every_vulnerability_and_client() -> None:
    text = render_security_markdown(report())
    assert text.count("| CVE-") == 3
    assert "| critical | CVE-2023-45853 | zlib1g | 1:1.2.13.dfsg-1 | – |" in text
    assert ".0.113.9 | 62 | 60 | 0 | 0 | 1 | 61 |" in text


def test_clients_are_mapped_to_the_endpoints_that_they_asked_for() -> None:
    first, second = logs()["clients"][0], {**logs()["clients"][0], "address": "198.51.100.7"}
    second["endpoints"] = [{"endpoint": "POST /login", "count": 2, "statuses": {"401": 2}}, {"endpoint": "GET /.env", "count": 1, "statuses": {"404": 1}}]
    judged = judge_host({"logs": {**logs(), "clients": [first, second]}}, NONE)
    assert judged["endpoint_map"] == [
        {"stack": "shop", "endpoint": "POST /login", "requests": 63, "clients": 2, "statuses": {"200": 1, "401": 62}},
        {"stack": "shop", "endpoint": "GET /.env", "requests": 1, "clients": 1, "statuses": {"404": 1}},
    ]
    assert "| POST /login | shop | 61 | 1 | 1×200 60×401 |" in render_security_markdown(report())


def test_sarif_has_every_vulnerability_and_finding_once() -> None:
    log = render_sarif(report())
    (run,) = log["runs"]
    assert log["version"] == "2.1.0"
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(rules) == len(set(rules))
    results = run["results"]
    assert [result["ruleId"] for result in results if result["ruleId"].startswith("CVE-")] == ["CVE-2023-45853", "CVE-2024-24762", "CVE-2024-0727"]
    assert [result["level"] for result in results if result["ruleId"].startswith("CVE-")] == ["error", "error", "warning"]
    assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in results)
    assert len({result["partialFingerprints"]["stackopsFinding/v1"] for result in results}) == len(results) == 8
    assert all(not result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].startswith("/") for result in results)


def test_files_of_each_host(tmp_path: pathlib.Path) -> None:
    reports = SecurityReports([report(), report(host="../web2")], tmp_path / "reports", ["json", "markdown", "sarif"])
    directory = reports.write()
    assert sorted(path.relative_to(directory).as_posix() for path in directory.rglob("security.*")) == [
        f"{host}/security.{kind}" for host in ("..%2Fweb2", "web1") for kind in ("json", "md", "sarif")
    ]
    assert (tmp_path / "reports/latest").resolve() == directory
    assert all(path.stat().st_mode & 0o077 == 0 for path in directory.rglob("security.*"))
    assert json.loads((directory / "web1/security.json").read_text(encoding="utf-8"))["status"] == "critical"


@pytest.mark.parametrize(("fail_on", "fails"), [("never", False), ("critical", True), ("warning", True)])
def test_when_the_play_fails(fail_on: str, fails: bool) -> None:
    assert SecurityReports([report()], "x", []).reaches(fail_on) == fails
    only_warning = report({"exposure": exposure(port())})
    assert SecurityReports([only_warning], "x", []).reaches(fail_on) == (fail_on == "warning")


def test_what_the_controller_scanned_is_kept_for_the_next_host(tmp_path: pathlib.Path) -> None:
    scanned = parse_trivy((FIXTURES / "trivy.json").read_text(encoding="utf-8"), "trivy")
    assert load_report(tmp_path, "sha256:1") is None
    store_report(tmp_path, "sha256:1", scanned)
    assert load_report(tmp_path, "sha256:1") == scanned
