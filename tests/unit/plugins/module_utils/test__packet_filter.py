# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules as iptables-save writes them, and what nobody can tell of them."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _packet_filter as pf
from ansible_collections.stackops.runbook.plugins.module_utils._address_ranges import Ranges

RECORDED = pathlib.Path(__file__).parents[2] / "fixtures/firewall"


def steps(rule, version=4, table="filter", sets=None):
    text = f"*{table}\n:FORWARD ACCEPT [0:0]\n:PREROUTING ACCEPT [0:0]\n:mine - [0:0]\n-A FORWARD {rule}\nCOMMIT\n"
    result = pf.parse_iptables_save(text, "iptables-save", version, sets)
    assert result.problems == []
    return result.bases[0].rules[0].steps


def names(*words):
    return frozenset(words)


def port(number):
    return Ranges([(number, number)])


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("-s 10.0.0.0/8 -j DROP", (pf.Property("src", Ranges.network("10.0.0.0/8"), 4), pf.Action("drop"))),
        ("! -i br0 -o eth+ -j ACCEPT", (pf.Not(pf.Property("iif", names("br0"))), pf.Property("oif", names("eth*")), pf.Action("accept"))),
        ("-p tcp -m tcp --dport 80:90 -j RETURN", (pf.Property("proto", names("tcp")), pf.Property("dport", Ranges([(80, 90)])), pf.Action("return"))),
        ("-p 17 -m udp --sport :1023 -j mine", (pf.Property("proto", names("udp")), pf.Property("sport", Ranges([(0, 1023)])), pf.Action("jump", "mine"))),
        ("-p tcp -m multiport --dports 80,443,8000:8010 -g mine",
         (pf.Property("proto", names("tcp")), pf.Property("dport", Ranges([(80, 80), (443, 443), (8000, 8010)])), pf.Action("goto", "mine"))),
        ("-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", (pf.Property("ctstate", names("related", "established")), pf.Action("accept"))),
        ("-m conntrack --ctorigdstport 8080 --ctdir ORIGINAL -j DROP",
         (pf.Property("ctorigdport", port(8080)), pf.Property("ctdir", names("original")), pf.Action("drop"))),
        ("-m addrtype ! --dst-type LOCAL -j DROP", (pf.Not(pf.Property("dsttype", names("local"))), pf.Action("drop"))),
        ('-m comment --comment "a -j DROP in \\"words\\"" -j ACCEPT', (pf.Action("accept"),)),
        ("-m mark --mark 0x10/0xff -j DROP", (pf.Property("mark", port(16), mask=0xFF), pf.Action("drop"))),
        ("-m iprange ! --src-range 10.0.0.1-10.0.0.9 -j DROP", (pf.Not(pf.Property("src", Ranges.network("10.0.0.1-10.0.0.9"), 4)), pf.Action("drop"))),
        ("-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP",
         (pf.Property("proto", names("tcp")), pf.Property("tcpflags", port(2), mask=23), pf.Action("drop"))),
        ("-j LOG --log-prefix \"[UFW BLOCK] \"", ()),
        ("-p icmp -m icmp --icmp-type 8 -j ACCEPT", (pf.Property("proto", names("icmp")), pf.Action("accept"))),
        ("-j MARK --set-xmark 0x4000/0x4000", (pf.Action("mark", value=0x4000, mask=0x4000),)),
        ("-j MARK --or-mark 0x1", (pf.Action("mark", value=1, mask=1),)),
        ("-j CT --notrack", (pf.Action("notrack"),)),
        ("-j REJECT --reject-with icmp-port-unreachable", (pf.Action("drop"),)),
        ("-j NFQUEUE --queue-num 0", (pf.Action("unsure", "NFQUEUE"),)),
        ("-m string --string GET --algo bm -j DROP", (pf.UNSURE, pf.UNSURE, pf.Action("drop"))),
        ("-m set --match-set unknown src -j DROP", (pf.UNSURE, pf.Action("drop"))),
        ("-s 10.0.0.0/255.0.255.0 -j DROP", None),
    ],
)  # fmt: skip
def test_matches_and_targets(rule, wanted):
    if wanted is None:
        text = f"*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD {rule}\nCOMMIT\n"
        result = pf.parse_iptables_save(text, "iptables-save", 4)
        assert len(result.problems) == 1
        assert result.bases[0].rules[0].steps == (pf.UNSURE, pf.Action("unsure"))
        return
    assert steps(rule) == wanted


@pytest.mark.parametrize(
    ("target", "version", "address", "ports"),
    [
        ("172.18.0.2:80", 4, Ranges.network("172.18.0.2"), port(80)),
        ("172.18.0.2", 4, Ranges.network("172.18.0.2"), None),
        (":8443", 4, None, port(8443)),
        ("10.0.0.1-10.0.0.3:80-90", 4, Ranges.network("10.0.0.1-10.0.0.3"), Ranges([(80, 90)])),
        ("[fd00::2]:80", 6, Ranges.network("fd00::2"), port(80)),
        ("fd00::2", 6, Ranges.network("fd00::2"), None),
    ],
)
def test_destinations(target, version, address, ports):
    assert steps(f"-p tcp -j DNAT --to-destination {target}", version)[-1] == pf.Action("dnat", addresses=address, ports=ports)


def test_sets_that_are_known():
    assert steps("-m set ! --match-set office src -j DROP", sets={"office": port(7)}) == (pf.Not(pf.Property("src", port(7), 4)), pf.Action("drop"))


def test_a_recorded_host():
    result = pf.parse_iptables_save((RECORDED / "firewalld-iptables-save.txt").read_text(), "iptables-nft-save", 4)
    assert result.problems == []
    assert {(chain.table, chain.hook) for chain in result.bases} >= {("filter", "forward"), ("nat", "prerouting")}
    assert result.tables == {("iptables-nft-save", "ip", "filter"): 11, ("iptables-nft-save", "ip", "nat"): 4}
    assert [chain.priority for chain in result.at("prerouting", 4)] == [-100]
    assert result.at("prerouting", 6) == []


def test_a_table_that_iptables_cannot_show():
    result = pf.parse_iptables_save("# Table `filter' is incompatible, use 'nft' tool.\n", "iptables-nft-save", 4)
    assert result.incompatible == {("ip", "filter")}


def test_a_rule_that_cannot_be_read_is_told_and_decides_nothing():
    result = pf.parse_iptables_save(
        '*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp --dport "\n-A INPUT -p tcp -m tcp --dport nosuchport -j ACCEPT\nCOMMIT\n', "x", 4
    )
    assert len(result.problems) == 2
    assert all(rule.steps == (pf.UNSURE, pf.Action("unsure")) for rule in result.bases[0].rules)


def test_address_sets():
    text = """create office hash:net family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x1
add office 10.0.0.0/8
add office 192.0.2.1
create pairs hash:ip,port family inet
add pairs 192.0.2.1,tcp:80
create but hash:net family inet
add but 10.0.0.0/8
add but 10.1.0.0/16 nomatch
"""
    assert pf.parse_ipset_save(text) == {"office": Ranges.network("10.0.0.0/8") | Ranges.network("192.0.2.1")}
