# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The firewall check on a fleet of example stacks: the same answer as a connect from the controller, whatever things are called."""

from __future__ import annotations

import json
import pathlib
import re

from tests.support.fleet_hosts import PLAIN, RENAMED, StackHost, playbook

BOTH = (PLAIN, RENAMED)


def test_the_fleet_is_told_what_is_open_and_a_connect_agrees(hosts: tuple[StackHost, StackHost], tmp_path: pathlib.Path) -> None:
    said = playbook("firewall_check", BOTH, firewall_check_probe_from="controller", firewall_check_report_dir=str(tmp_path))
    assert re.findall(r"changed=(\d+)", said) == ["0", "0"]
    report = json.loads((tmp_path / "latest" / "report.json").read_bytes())
    for host in BOTH:
        assert re.search(rf"{host.port}/tcp +{host.project}/{host.backend}", said), said
        facts = report["hosts"][host.name]["facts"]["firewall"]
        rows = {(row["host_port"], row["family"]): row for row in facts["ports"]}
        assert (rows[(host.port, "ipv4")]["class"], rows[(host.port, "ipv4")]["verdict"]) == ("exposed_no_firewall", "reachable")
        # The database is published nowhere.
        assert not any(row["service"] == host.database for row in facts["ports"])
        results = {finding["rule"]: finding["result"] for finding in report["hosts"][host.name]["findings"] if finding["result"] == "fire"}
        assert not set(results) & {"port-answers-against-rules", "port-silent-against-rules"}, results
        assert "port-open-without-firewall" in results


def test_a_list_of_expected_ports_makes_it_a_policy(hosts: tuple[StackHost, StackHost], tmp_path: pathlib.Path) -> None:
    expected = [{"port": 22}, {"port": PLAIN.port}, {"port": 443}]
    playbook("firewall_check", [PLAIN], firewall_check_expected=expected, firewall_check_report_dir=str(tmp_path))
    findings = json.loads((tmp_path / "latest" / "report.json").read_bytes())["hosts"][PLAIN.name]["findings"]
    fired = {finding["rule"]: finding["title"] for finding in findings if finding["result"] == "fire"}
    assert "443" in " ".join(fired.values()), fired
    assert not any(str(PLAIN.port) in title for title in fired.values()), fired
