# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The summary fits a screen, tells the worst first and holds no control characters; Markdown is escaped."""

from __future__ import annotations

import re

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils._markdown import code, escape, render_markdown, with_commands
from ansible_collections.stackops.runbook.plugins.plugin_utils._report import build_report, unreachable_row
from ansible_collections.stackops.runbook.plugins.plugin_utils._terminal import render_terminal
from ansible_collections.stackops.runbook.plugins.plugin_utils._text import display_width

NOW = "2026-11-23T10:00:00Z"


def finding(rule, severity="critical", item="shop/api", **more):
    return {
        "id": f"{rule}-{item}", "rule": rule, "severity": severity, "result": "fire", "category": "compose", "object": item,
        "title": f"{item}: {rule} happened",
        "cause": f"Because of {rule}.", "evidence": {"memory_limit_bytes": 536870912, "exit_code": 137}, "effects": [], "since": NOW, "confidence": "high",
        "fix": ["Look: `docker compose -p shop logs --tail 50 api`", "Change it."], "verify": "`docker compose -p shop ps api`", "references": [], **more,
    }  # fmt: skip


def row(*findings, status="critical", **more):
    return {"status": status, "host": {}, "findings": list(findings), "counts": {}, "unknown_rules": [], "facts": {}, **more}


def report(language="en", **hosts):
    return build_report(hosts, {"now": NOW, "language": language})


def test_cause_evidence_effects_and_commands_are_there():
    root = finding("container-oom-killed", effects=["e1"])
    effect = finding("health-endpoint-failing", id="e1", title="GET /health answers 503", effect_of=[root["id"]])
    text = render_terminal(report(web1=row(root, effect)), {"path": "reports/latest/report.html"})
    assert text.splitlines()[0] == "2026-11-23 10:00:00 UTC · 1 host: 1 critical"
    for part in (
        "CRITICAL  web1  shop/api: container-oom-killed happened  [container-oom-killed]",
        "Because of container-oom-killed.",
        "memory_limit_bytes 512 MiB · exit_code 137",
        "So     because shop/api: container-oom-killed happened (memory_limit_bytes 512 MiB)",
        "→ therefore GET /health answers 503",
        "\n         $ docker compose -p shop logs --tail 50 api\n",
        "  Check  $ docker compose -p shop ps api\n",
        "Report: reports/latest/report.html",
    ):
        assert part in text
    assert text.count("health-endpoint-failing") == 0


def test_commands_are_not_broken_and_can_be_copied():
    command = "docker compose -p shop exec db psql -U postgres -d shop -c 'SELECT calls, mean_exec_time, query FROM pg_stat_statements ORDER BY 2 DESC LIMIT 5'"
    text = render_terminal(report(web1=row(finding("slow-query", fix=[f"See: `{command}`"]))))
    assert f"$ {command}\n" in text


def test_the_same_problem_on_many_hosts_is_told_once():
    hosts = {f"web{number}": row(finding("database-down")) for number in range(20)}
    text = render_terminal(report(**hosts))
    assert text.count("[database-down]") == 1
    assert "web0, web1, web10 (+17)" in text


def test_the_worst_comes_first():
    text = render_terminal(report(a=row(finding("dead-rows", "warning"), status="warning"), b=row(finding("database-down"))))
    assert text.index("database-down") < text.index("dead-rows")


def test_a_warning_with_critical_effects_comes_before_other_warnings():
    root = finding("migration-pending", "warning", effects=["e"])
    text = render_terminal(report(a=row(finding("dead-rows", "warning")), b=row(root, finding("error-burst", id="e", effect_of=[root["id"]]))))
    assert text.index("migration-pending") < text.index("dead-rows")


@pytest.mark.parametrize("language", ["en", "zh_TW"])
@pytest.mark.parametrize("width", [60, 100, 140])
def test_it_fits_the_screen(language, width):
    hosts = {f"web{number}": row(*(finding(f"rule-{number}-{position}", item=f"shop/服務{position}") for position in range(8))) for number in range(6)}
    hosts["gone"] = unreachable_row("Failed to connect to the host via ssh: " + "x" * 300)
    text = render_terminal(report(language, **hosts), {"width": width, "path": "r"})
    lines = text.splitlines()
    assert len(lines) <= 40
    assert all(display_width(line) <= width for line in lines if "$ " not in line)


def test_what_does_not_fit_is_counted():
    hosts = {f"web{number}": row(finding(f"rule-{number}-x")) for number in range(60)}
    text = render_terminal(report(**hosts))
    shown = sum(line.startswith("CRITICAL") for line in text.splitlines())
    assert f"and {60 - shown} more finding(s): see the report" in text


def test_why_much_was_not_read_is_told_to_its_end():
    collectors = "compose, database_logins, engine, http, links, migrations, pools, postgres"
    reason = f"/srv/nowhere: no such directory; projects on this host: {', '.join(f'project-{number}' for number in range(8))}"
    text = render_terminal(report(web1=row(finding("not-checked", "info", collectors, result="unknown", reason=reason), status="unknown")), {"width": 80})
    assert "Not checked: web1: compose, database_logins (+6) – /srv/nowhere: no such" in text
    assert "project-7" in text


def test_hosts_that_did_not_answer_and_what_was_not_read_are_told():
    unread = finding("not-checked", "info", "logs", result="unknown", reason="/x: permission denied")
    silenced = finding("container-paused", "warning", result="silenced", silence={"reason": "kept for the audit", "expires": "never"})
    text = render_terminal(report(web1=row(unread, silenced, status="unknown"), db1=unreachable_row("ssh: timed out")))
    assert "Unreachable: db1 – ssh: timed out" in text
    assert "Not checked: web1: logs – /x: permission denied" in text
    assert "Silenced: web1: shop/api: container-paused happened – kept for the audit" in text
    assert "No problem found" not in text


def test_nothing_wrong_is_said_in_two_lines():
    text = render_terminal(report(web1=row(status="ok")))
    assert text == "2026-11-23 10:00:00 UTC · 1 host: 1 ok\n\nNo problem found.\n"
    assert "沒有發現問題。" in render_terminal(report("zh_TW", web1=row(status="ok")))


def test_information_does_not_take_the_stage():
    text = render_terminal(report(web1=row(finding("image-tag-moved", "info"), status="ok")))
    assert "No problem found." in text and "For information: web1: shop/api: image-tag-moved happened" in text


def test_control_characters_never_reach_the_terminal():
    hosts = {"web\x1b[2J1": row(finding("a-b", evidence={"sample": "\x1b]0;owned\x07\u202etext\r\n"})), "gone": unreachable_row("\x1b[31mred\x9b2J")}
    text = render_terminal(report(**hosts), {"path": "\x1b[2Jr"})
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)


def test_colours_are_only_there_when_asked_for():
    given = report(web1=row(finding("a-b")))
    assert "\x1b" not in render_terminal(given)
    assert "\x1b[1;31mCRITICAL\x1b[0m" in render_terminal(given, {"color": True})
    assert re.sub(r"\x1b\[[0-9;]*m", "", render_terminal(given, {"color": True})) == render_terminal(given)


# Markdown


def test_markdown_has_the_same_and_escapes_what_was_collected():
    hostile = finding("a-b", title="<script>alert(1)</script> | `x` *b* [l](javascript:x)", evidence={"sample": "|a|\n# b <img src=x>"}, reason="")
    text = render_markdown(report(web1=row(hostile), gone=unreachable_row("a | b <b>")))
    assert "<script>" not in text.replace("\\<script\\>", "") and "\\<script\\>" in text
    assert "\\[l\\](javascript:x)" in text
    assert "| gone | unreachable | a \\| b \\<b\\> |" in text
    assert "1. Look: `docker compose -p shop logs --tail 50 api`" in text
    assert "**Then check:** `docker compose -p shop ps api`" in text


def test_markdown_lists_effects_silences_and_resolved():
    root = finding("database-down", effects=["e"])
    effect = finding("error-burst", id="e", effect_of=[root["id"]])
    silenced = finding("container-paused", result="silenced", silence={"reason": "meant so", "expires": "2026-12-31"})
    first = report(web1=row(root, effect))
    second = build_report({"web1": row(silenced, status="ok", facts={"x": {}})}, {"now": NOW}, first)
    assert "- shop/api: error-burst happened (`error-burst`)" in render_markdown(first)
    text = render_markdown(second)
    assert "meant so (until 2026-12-31)" in text
    assert "## Resolved since the last report" in text


def test_code_holds_backticks():
    assert code("a`b") == "``a`b``"
    assert code("`a") == "`` `a ``"
    assert with_commands("See *this*: `ls | wc`") == "See \\*this\\*: `ls | wc`"
    assert escape("- a_b") == "\\- a\\_b"


def test_the_chain_of_the_first_finding_goes_from_the_cause_to_what_was_seen():
    root = finding("container-oom-killed", effects=["e1", "e2"])
    late = finding("server-errors", id="e1", title="5 of 10 requests fail", since="2026-11-23T09:59:00Z", effect_of=[root["id"]])
    early = finding("container-unhealthy", id="e2", title="shop/api is unhealthy", since="2026-11-23T09:58:00Z", effect_of=[root["id"]])
    lines = [line.strip() for line in render_terminal(report(web1=row(root, late, early))).splitlines() if "→" in line]
    assert [line.split(" (")[0] for line in lines] == ["→ therefore shop/api is unhealthy", "→ therefore 5 of 10 requests fail"]


def test_only_the_first_finding_has_a_chain():
    first, second = finding("container-oom-killed", effects=["e1"]), finding("slow-query", id="b", effects=["e2"], severity="warning", object="shop/db")
    effects = [finding("container-unhealthy", id="e1", effect_of=[first["id"]]), finding("slow-endpoint", id="e2", effect_of=["b"])]
    text = render_terminal(report(web1=row(first, second, *effects)))
    assert text.count("→ therefore") == 1


def test_what_changed_in_the_stack_is_beside_the_first_cause():
    change = {"object": "shop/api", "what": "image", "before": "shop/api:1 (1111)", "after": "shop/api:2 (2222)", "at": "2026-11-23T09:58:00Z"}
    elsewhere = {**change, "object": "kiosk/api"}
    text = render_terminal(report(web1=row(finding("container-oom-killed"), what_changed=[elsewhere, change])))
    assert "  News   shop/api runs another image: shop/api:1 (1111) → shop/api:2 (2222) (at 2026-11-23 09:58)" in text
    assert "kiosk" not in text


def test_beside_other_causes_only_what_changed_in_themselves():
    change = {"object": "shop/db", "what": "recreated", "before": None, "after": None, "at": None}
    first, second = finding("host-overloaded", item="cpu"), finding("slow-query", item="shop/db", severity="warning")
    text = render_terminal(report(web1=row(first, second, finding("slow-endpoint", severity="warning"), what_changed=[change])))
    assert text.count("News   shop/db was recreated") == 1
