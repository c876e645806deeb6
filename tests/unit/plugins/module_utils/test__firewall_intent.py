# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What real ufw and firewalld wrote, and what it means."""

from __future__ import annotations

import dataclasses
import ipaddress
import pathlib

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _firewall_intent as intent
from ansible_collections.stackops.runbook.plugins.module_utils._address_ranges import Ranges
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._process import Completed

# Recorded from ufw 0.36.2 and firewalld 2.3.1 on a host of the test bed.
RECORDED = pathlib.Path(__file__).parents[2] / "fixtures/firewall"
EVERYBODY = {version: Ranges.everything(version) for version in (4, 6)}


def ask(port, protocol="tcp", version=4, **more):
    return intent.Question(version, protocol, port, **more)


@pytest.fixture(name="ufw")
def fixture_ufw():
    rules = []
    for name, version in (("ufw-user-rules.txt", 4), ("ufw-user6-rules.txt", 6)):
        rules += intent.parse_ufw_rules((RECORDED / name).read_text(), version)
    return intent.UfwPolicy(tuple(rules))


def test_every_recorded_rule_is_read(ufw):
    lines = [line for name in ("ufw-user-rules.txt", "ufw-user6-rules.txt") for line in (RECORDED / name).read_text().splitlines()]
    assert [rule.text for rule in ufw.rules] == lines


@pytest.mark.parametrize(
    ("question", "allowed"),
    [
        (ask(22), EVERYBODY[4]),
        (ask(22, version=6), EVERYBODY[6]),
        (ask(443), Ranges.network("10.0.0.0/8")),
        (ask(443, version=6), Ranges.network("2001:db8::/32")),
        (ask(5432), Ranges()),
        (ask(5432, "udp"), Ranges()),
        (ask(8022), EVERYBODY[4]),
        (ask(9100, interface="eth0"), EVERYBODY[4]),
        (ask(9100, interface="eth1"), Ranges()),
        (ask(6003, "udp"), EVERYBODY[4]),
        (ask(6003), Ranges()),
        (ask(25), Ranges()),
        (ask(8080), Ranges()),
        # A route rule is about the container's port, whatever the host's is.
        (ask(8080, container_address=int(ipaddress.ip_address("172.17.0.2")), container_port=80), EVERYBODY[4]),
        (ask(8080, container_address=int(ipaddress.ip_address("172.17.0.3")), container_port=80), Ranges()),
    ],
)
def test_who_ufw_lets_in(ufw, question, allowed):
    said = ufw.judge(question)
    assert said.allowed == allowed
    assert said.rules


def test_ufw_says_which_rule(ufw):
    assert ufw.judge(ask(5432)).rules == ("### tuple ### deny any 5432 0.0.0.0/0 any 0.0.0.0/0 in",)
    assert ufw.judge(ask(8080)).rules == ("DEFAULT_INPUT_POLICY=DROP",)
    assert dataclasses.replace(ufw, default_input="ACCEPT").judge(ask(8080)).allowed == EVERYBODY[4]
    assert dataclasses.replace(ufw, default_input="ACCEPT").judge(ask(5432)).allowed == Ranges()


@pytest.mark.parametrize("line", ["### tuple ### allow tcp", "### tuple ### allow tcp x 0.0.0.0/0 any 0.0.0.0/0 in", "-A ufw-user-input -j ACCEPT", ""])
def test_lines_that_are_no_ufw_rules(line):
    assert intent.parse_ufw_rules(line, 4) == []


def test_ufw_is_read_from_its_files(tmp_path):
    assert intent.read_ufw(str(tmp_path)) is None
    (tmp_path / "etc/ufw").mkdir(parents=True)
    (tmp_path / "etc/default").mkdir()
    (tmp_path / "etc/ufw/ufw.conf").write_text("# ENABLED=no\nENABLED=yes\nLOGLEVEL=low\n")
    (tmp_path / "etc/default/ufw").write_text('IPV6=no\nDEFAULT_INPUT_POLICY="REJECT"\nDEFAULT_FORWARD_POLICY="ACCEPT"\n')
    (tmp_path / "etc/ufw/user.rules").write_text((RECORDED / "ufw-user-rules.txt").read_text())
    read = intent.read_ufw(str(tmp_path))
    assert (read.enabled, read.ipv6, read.default_input, read.default_forward) == (True, False, "REJECT", "ACCEPT")
    assert len(read.rules) == 9


# -- firewalld ---------------------------------------------------------------------------------------------------------

SERVICES = {"https": intent.parse_service((RECORDED / "firewalld-https.xml").read_text()), "ssh": [(Ranges([(22, 22)]), "tcp")]}


@pytest.fixture(name="firewalld")
def fixture_firewalld():
    return intent.FirewalldPolicy(tuple(intent.parse_zones((RECORDED / "firewalld-zones.txt").read_text())), SERVICES)


def test_recorded_zones(firewalld):
    zones = {zone.name: zone for zone in firewalld.zones}
    assert {"block", "docker", "drop", "internal", "public", "trusted"} <= set(zones)
    public = zones["public"]
    assert (public.default, public.active, public.target) == (True, True, "default")
    assert public.services == ("dhcpv6-client", "https", "ssh")
    assert public.ports == ("9000-9010/tcp",)
    assert public.forward_ports == ("port=8443:proto=tcp:toport=443:toaddr=172.17.0.2",)
    assert len(public.rich_rules) == 2
    assert zones["docker"].target == "ACCEPT"
    assert zones["internal"].sources == ("192.168.7.0/24",)


@pytest.mark.parametrize(
    ("question", "allowed"),
    [
        (ask(9003), EVERYBODY[4] - Ranges.network("192.168.7.0/24")),
        (ask(9003, "udp"), Ranges()),
        (ask(443, version=6), EVERYBODY[6]),
        (ask(8443), EVERYBODY[4] - Ranges.network("192.168.7.0/24")),
        (ask(8080), Ranges()),
        (ask(5432), Ranges.network("10.0.0.0/8")),
        # Rejected is everybody but 192.168.0.0/16; of that, the internal zone has a part, and SSH as well.
        (ask(22), Ranges.network("192.168.0.0/16")),
        (ask(22, version=6), EVERYBODY[6]),
    ],
)
def test_who_firewalld_lets_in(firewalld, question, allowed):
    assert firewalld.judge(question).allowed == allowed


def test_a_zone_of_the_interface_goes_before_the_default(firewalld):
    zones = tuple(dataclasses.replace(zone, interfaces=("eth1",)) if zone.name == "trusted" else zone for zone in firewalld.zones)
    trusting = dataclasses.replace(firewalld, zones=zones)
    assert trusting.judge(ask(1, "udp", 6, interface="eth1")).allowed == EVERYBODY[6]
    assert trusting.judge(ask(1, interface="eth0")).allowed == Ranges()


@pytest.mark.parametrize(
    "text",
    ['rule family="ipv4" source ipset="bad" drop', 'rule service name="ssh" log prefix="x"', 'rule family="ipv4" source address="nonsense" accept', "", "rule"],
)
def test_rich_rules_beyond_us(text):
    assert intent.parse_rich_rule(text) is None


@pytest.mark.parametrize("text", ["<service", '<!DOCTYPE x [<!ENTITY a "b">]><service/>', '<service><port port="x"/></service>'])
def test_what_is_no_service(text):
    with pytest.raises(ValueError):
        intent.parse_service(text)


class Answers:
    """firewall-cmd as it was recorded."""

    def __init__(self, code=0, words="", default=""):
        self.code, self.words, self.default, self.asked = code, words, default, []

    def __call__(self, argv, timeout_seconds, **dummy):
        self.asked.append(argv[1])
        text = self.default if argv[1] == "--get-default-zone" else self.words
        return Completed(tuple(argv), self.code, text.encode(), b"FirewallD is not running")


def test_firewalld_is_asked(tmp_path):
    (tmp_path / "etc/firewalld").mkdir(parents=True)
    (tmp_path / "etc/firewalld/firewalld.conf").write_text("StrictForwardPorts=yes\n")
    (tmp_path / "usr/lib/firewalld/services").mkdir(parents=True)
    (tmp_path / "usr/lib/firewalld/services/https.xml").write_text((RECORDED / "firewalld-https.xml").read_text())
    answers = Answers(words=(RECORDED / "firewalld-zones.txt").read_text())
    read = intent.read_firewalld(str(tmp_path), answers)
    assert (answers.asked, read.strict_forward_ports) == (["--list-all-zones"], True)
    assert read.services["https"] == [(Ranges([(443, 443)]), "tcp")]


def test_an_older_firewalld_is_asked_for_its_default_zone(tmp_path):
    words = (RECORDED / "firewalld-zones.txt").read_text().replace("(default, active)", "(active)")
    read = intent.read_firewalld(str(tmp_path), Answers(words=words, default="public\n"))
    assert [zone.name for zone in read.zones if zone.default] == ["public"]


def test_firewalld_that_does_not_run_or_answer(tmp_path):
    assert intent.read_firewalld(str(tmp_path), Answers(code=252)) is None
    with pytest.raises(CheckError) as caught:
        intent.read_firewalld(str(tmp_path), Answers(code=253))
    assert caught.value.code == "permission-denied"
