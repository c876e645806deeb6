# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role said, and that the host is as it was."""

from __future__ import annotations

import json
import pathlib

import pytest

# Each scenario of a firewall has a link to this file, by whose place its report is found.
LINK = pathlib.Path(__file__).absolute()
LATEST = LINK.parents[3] / "build/molecule" / LINK.parents[1].name / "reports/latest"
testinfra_hosts = ["ansible://firewall"]


@pytest.fixture(scope="module")
def row():
    """Return the host's row of the report."""
    (found,) = json.loads((LATEST / "report.json").read_text(encoding="utf-8"))["hosts"].values()
    return found


@pytest.fixture(scope="module")
def fired(row):
    """Return rule and object of what was found."""
    return {(finding["rule"], finding["object"]): finding for finding in row["findings"] if finding["result"] == "fire"}


def test_a_port_that_the_firewall_does_not_know_is_critical_and_has_a_fix(row, fired):
    assert row["status"] == "critical"
    finding = fired["port-bypasses-firewall", "layouts/web:18001"]
    assert finding["severity"] == "critical"
    assert finding["fix"]


def test_expected_ports_are_no_finding_and_missing_ones_are(fired):
    assert not [item for rule, item in fired if item.endswith((":18003", ":22"))]
    assert ("expected-port-not-reachable", "18060/tcp") in fired


def test_the_one_outside_saw_what_the_rules_say(row):
    probe = row["facts"]["firewall"]["probe"]
    assert probe["tried"] > 30
    assert (probe["disagreements"], probe["reason"]) == (0, None)
    assert {one["probe"]["agrees"] for one in row["facts"]["firewall"]["ports"] if one["probe"]} >= {True}


def test_the_report_is_there_in_every_format():
    for name in ("report.md", "report.html"):
        assert "18001" in (LATEST / name).read_text(encoding="utf-8")


def test_nothing_was_changed_on_the_host(host):
    newer = host.check_output("find /etc /srv /usr /opt /root /home /var/lib -xdev -newer /run/before-check -not -path '/var/lib/systemd/*'")
    assert newer.splitlines() == []
