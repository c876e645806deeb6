# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table tells bad ports first, each with what to type, and holds no control characters of what was collected."""

from __future__ import annotations

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils._port_table import render_ports

BIND = {
    "action": "bind_loopback",
    "text": "Publish it on this host only.",
    "commands": ['"127.0.0.1:8000:8000"', "cd '/srv/my shop' && docker compose -p shop up -d api"],
}
RULE = {"action": "docker_user", "text": "Or keep it out.", "commands": ["iptables -I DOCKER-USER -j DROP"]}


def row(number=8000, family="ipv4", kind="filtered", status="ok", **more):
    host_ip = "0.0.0.0" if family == "ipv4" else "::"
    return {
        "label": "shop/api", "host_port": number, "host_ip": host_ip, "protocol": "tcp", "family": family, "class": kind, "status": status,
        "policy": {"engine": "ufw"}, "fix": [], "reason": "because", **more,
    }  # fmt: skip


def bad(number=8000, family="ipv4", **more):
    return row(number, family, **{"kind": "exposed_bypass", "status": "critical", "fix": [BIND, RULE], **more})


def table(*rows, language="en", color=False, **firewall):
    facts = {"firewall": {"status": "critical", "host_firewall": {"engine": "ufw"}, "ports": list(rows), **firewall}}
    return render_ports({"language": language, "hosts": {"web1": {"facts": facts}, "web2": {"facts": {}}}}, color)


def test_both_families_of_a_port_are_on_one_line_with_the_fix_below():
    lines = table(bad(), row(family="ipv6")).splitlines()
    position = next(number for number, line in enumerate(lines) if "8000/tcp" in line)
    assert lines[position].split("  ")[1:] == ["8000/tcp", "shop/api", "OPEN, ufw says no", "filtered"]
    assert lines[position + 1].strip() == 'Fix: publish as "127.0.0.1:8000:8000" in the Compose file, then:'
    assert lines[position + 2].strip() == "$ cd '/srv/my shop' && docker compose -p shop up -d api"


def test_one_fix_does_where_it_closes_both_families():
    assert table(bad(), bad(family="ipv6", fix=[{**BIND, "commands": ['"[::1]:8000:8000"', "docker compose up -d api"]}])).count("Fix:") == 1


def test_bad_ports_come_first_and_the_others_are_summed_up():
    text = table(row(22, kind="exposed_intended"), row(80), row(81), bad(9000))
    assert text.index("9000/tcp") < text.index("In order: open, as meant – 22/tcp") < text.index("In order: filtered – 80/tcp shop/api, 81/tcp shop/api")


def test_a_port_in_order_says_which_family_is_open() -> None:
    text = table(row(22, kind="exposed_no_firewall"), row(22, family="ipv6"), row(80), row(80, family="ipv6"))
    assert "In order: IPv4 open, no firewall; IPv6 filtered – 22/tcp shop/api" in text
    assert "In order: filtered – 80/tcp shop/api" in text


def test_a_command_is_whole_whatever_the_width():
    command = "iptables " + "-m comment " * 20 + "-j DROP"
    assert f"$ {command}\n" in table(bad(fix=[{"action": "raw_drop", "text": "Or do this.", "commands": [command]}]))
    assert "Fix: Do this." in table(bad(fix=[{"action": "raw_drop", "text": "Or do this.", "commands": [command]}]))


def test_nobody_is_told_to_lock_himself_out():
    text = table(bad(22, process="sshd", kind="exposed_unexpected", fix=[{"action": "ufw_deny", "text": "Or keep it out.", "commands": ["ufw deny 22/tcp"]}]))
    assert "ufw deny" not in text
    assert "firewall_check_expected" in text


def test_an_unknown_port_says_why():
    assert "Why: it depends on a rule" in table(row(kind="unknown", status="unknown", reason="it depends on a rule"))


def test_an_answer_where_the_rules_let_nobody_in_is_the_worst():
    probe = {"from": "bastion", "address": "192.0.2.1", "result": "open", "agrees": False}
    text = table(row(probe=probe), bad(9000), probe={"from": "bastion", "tried": 2, "disagreements": 1, "reason": None})
    assert "filtered, ANSWERED to bastion" in text
    assert text.index("8000/tcp") < text.index("9000/tcp")
    assert "Tried from bastion: 2 ports: 1 otherwise than the rules say" in text


def test_a_probe_that_tried_nothing_says_why():
    assert "Not tried from bastion: no way there" in table(row(), probe={"from": "bastion", "tried": 0, "disagreements": 0, "reason": "no way there"})


def test_expected_ports_that_nobody_reaches_are_there():
    assert "Expected, and reachable by nobody: 443/tcp – nothing listens" in table(
        row(), missing=[{"port": 443, "protocol": "tcp", "reason": "nothing listens"}]
    )


def test_hosts_without_ports_of_theirs_are_left_out():
    assert "web2" not in table(row())
    assert render_ports({"hosts": {"web2": {"facts": {}}}}) == ""


@pytest.mark.parametrize("language", ["en", "zh_TW"])
def test_no_control_character_of_what_was_collected_gets_through(language):
    hostile = "a\x1b[31mb\nc\u202e"
    text = table(bad(label=hostile, reason=hostile, fix=[{**RULE, "text": hostile, "commands": [hostile]}]), row(80, label=hostile), language=language)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\nc" not in text


def test_colours_are_only_there_when_asked_for():
    assert "\x1b[1;31m" in table(bad(), color=True)
    assert "\x1b" not in table(bad())


def test_many_bad_ports_are_cut_and_counted():
    assert "and 10 more: see the report" in table(*(bad(number) for number in range(9000, 9050)))
