# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What nft writes as JSON, in the model; a whole ruleset of firewalld, recorded."""

from __future__ import annotations

import json
import pathlib

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _packet_filter as pf
from ansible_collections.stackops.runbook.plugins.module_utils._address_ranges import Ranges
from ansible_collections.stackops.runbook.plugins.module_utils._nft_ruleset import parse_nft_json, rule_texts

RECORDED = pathlib.Path(__file__).parents[2] / "fixtures/firewall"
JSON, TEXT = (RECORDED / "firewalld-nft.json").read_text(), (RECORDED / "firewalld-nft.txt").read_text()
IPTABLES = {("ip", "nat"), ("ip", "filter")}


def ruleset(*expressions, more=(), family="inet"):
    entries = [
        {"table": {"family": family, "name": "t", "handle": 1}},
        {"chain": {"family": family, "table": "t", "name": "c", "handle": 1, "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}},
        *more,
        *({"rule": {"family": family, "table": "t", "chain": "c", "handle": 10 + number, "expr": expr}} for number, expr in enumerate(expressions)),
    ]
    return parse_nft_json(json.dumps({"nftables": entries}))


def steps(*expr, **more):
    return ruleset(list(expr), **more).bases[0].rules[0].steps


def payload(protocol, field, right, operator="=="):
    return {"match": {"op": operator, "left": {"payload": {"protocol": protocol, "field": field}}, "right": right}}


def is_(field, *values):
    return pf.Property(field, frozenset(values))


def test_the_recorded_firewalld():
    result = parse_nft_json(JSON, TEXT, IPTABLES)
    assert result.problems == []
    assert ("nft", "inet", "firewalld") in result.tables
    assert not any(chain.table in ("nat", "filter") for chain in result.bases)
    rules = {rule.text for chain in result.bases for one in chain.jumps.values() for rule in one.rules}
    assert "ct status dnat accept" in rules
    assert not any(rule.startswith("[{") for rule in rules), "every rule has its own words"
    doubtful = [rule.text for chain in result.bases for one in chain.jumps.values() for rule in one.rules if pf.UNSURE in rule.steps]
    assert doubtful == []


def test_iptables_tables_without_iptables_are_what_nobody_can_tell():
    result = parse_nft_json(JSON, TEXT)
    nat = [chain for chain in result.bases if chain.family == "ip" and chain.table == "nat" and chain.hook == "prerouting"][0]
    told = [step for one in nat.jumps.values() for rule in one.rules for step in rule.steps]
    assert pf.UNSURE in told or any(isinstance(step, pf.Action) and step.kind == "unsure" for step in told)


@pytest.mark.parametrize(
    ("statements", "wanted"),
    [
        ([payload("tcp", "dport", 22), {"accept": None}],
         (pf.AllOf((is_("proto", "tcp"), pf.Property("dport", Ranges([(22, 22)])))), pf.Action("accept"))),
        ([payload("ip", "saddr", {"prefix": {"addr": "10.0.0.0", "len": 8}}, "!="), {"drop": None}],
         (pf.AllOf((is_("version", "4"), pf.Not(pf.Property("src", Ranges.network("10.0.0.0/8"), 4)))), pf.Action("drop"))),
        ([payload("th", "dport", {"set": [53, {"range": [80, 90]}, "https"]}), {"jump": {"target": "x"}}],
         (pf.Property("dport", Ranges([(53, 53), (80, 90), (443, 443)])), pf.Action("jump", "x"))),
        ([{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}, {"accept": None}],
         (is_("ctstate", "established", "related"), pf.Action("accept"))),
        ([{"match": {"op": "==", "left": {"ct": {"key": "proto-dst", "dir": "original"}}, "right": 8080}}, {"drop": None}],
         (pf.Property("ctorigdport", Ranges([(8080, 8080)])), pf.Action("drop"))),
        ([{"match": {"op": "==", "left": {"fib": {"result": "type", "flags": ["daddr"]}}, "right": "local"}}, {"drop": None}],
         (is_("dsttype", "local"), pf.Action("drop"))),
        ([{"match": {"op": "==", "left": {"fib": {"result": "oif", "flags": ["saddr", "iif"]}}, "right": False}}, {"drop": None}],
         (pf.NEVER, pf.Action("drop"))),
        ([{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": {"set": ["eth0", "eth1"]}}}, {"counter": {"packets": 0, "bytes": 0}}],
         (is_("iif", "eth0", "eth1"),)),
        ([{"match": {"op": "==", "left": {"&": [{"meta": {"key": "mark"}}, 255]}, "right": 7}}, {"return": None}],
         (pf.Property("mark", Ranges([(7, 7)]), mask=255), pf.Action("return"))),
        ([{"match": {"op": ">", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 1023}}, {"accept": None}],
         (pf.AllOf((is_("proto", "tcp"), pf.Property("dport", Ranges([(1024, 0xFFFFFFFF)])))), pf.Action("accept"))),
        ([{"dnat": {"family": "ip", "addr": "172.18.0.2", "port": 80}}],
         (pf.Action("dnat", addresses=Ranges.network("172.18.0.2"), ports=Ranges([(80, 80)])),)),
        ([{"dnat": {"addr": {"map": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": "@x"}}}}], (pf.Action("unsure", "dnat"),)),
        ([{"queue": {"num": 0}}], (pf.Action("unsure", "queue"),)),
        ([{"xt": {"type": "target", "name": "DNAT"}}], (pf.Action("unsure", "DNAT"),)),
        ([{"match": {"op": "==", "left": {"meta": {"key": "time"}}, "right": 1}}, {"drop": None}], (pf.UNSURE, pf.Action("drop"))),
        ([{"match": {"op": "==", "left": {"osf": {"key": "name"}}, "right": "Linux"}}, {"drop": None}], (pf.UNSURE, pf.Action("drop"))),
        ([{"some-statement-of-a-version-to-come": {}}], (pf.Action("unsure", "some-statement-of-a-version-to-come"),)),
    ],
)  # fmt: skip
def test_statements(statements, wanted):
    assert steps(*statements) == wanted


def test_named_sets_with_elements_of_all_kinds():
    elements = ["192.0.2.1", {"prefix": {"addr": "10.0.0.0", "len": 8}}, {"elem": {"val": "198.51.100.7", "timeout": 60}}, {"range": ["10.1.0.0", "10.2.0.0"]}]
    named = {"set": {"family": "inet", "table": "t", "name": "office", "type": "ipv4_addr", "elem": elements}}
    found = steps(payload("ip", "saddr", "@office"), {"drop": None}, more=[named])
    wanted = Ranges.network("192.0.2.1") | Ranges.network("10.0.0.0/8") | Ranges.network("198.51.100.7")
    assert found[0] == pf.AllOf((is_("version", "4"), pf.Property("src", wanted, 4)))


def test_a_set_that_is_not_there_is_what_nobody_can_tell():
    assert steps(payload("ip", "saddr", "@gone"), {"drop": None})[0] == pf.UNSURE


def test_verdict_maps():
    named = {"map": {"family": "inet", "table": "t", "name": "jumps", "type": "ifname", "map": "verdict", "elem": [["br0", {"jump": {"target": "x"}}]]}}
    by_name = {"vmap": {"key": {"meta": {"key": "oifname"}}, "data": "@jumps"}}
    assert steps(by_name, more=[named]) == (pf.Branches(((is_("oif", "br0"), pf.Action("jump", "x")),)),)
    states = {"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["established", {"accept": None}], ["invalid", {"drop": None}]]}}}
    assert steps(states) == (pf.Branches(((is_("ctstate", "established"), pf.Action("accept")), (is_("ctstate", "invalid"), pf.Action("drop")))),)
    assert steps({"vmap": {"key": {"meta": {"key": "cpu"}}, "data": {"set": [[0, {"drop": None}]]}}}) == (pf.Action("unsure", "vmap"),)


def test_a_table_that_sleeps_filters_nothing():
    entries = [
        {"table": {"family": "inet", "name": "t", "flags": ["dormant"]}},
        {"chain": {"family": "inet", "table": "t", "name": "c", "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}},
    ]
    assert parse_nft_json(json.dumps({"nftables": entries})).bases == []


def test_a_bridge_that_drops_is_told():
    chain = {"family": "bridge", "table": "t", "name": "c", "type": "filter", "hook": "output", "prio": 0, "policy": "drop"}
    assert len(parse_nft_json(json.dumps({"nftables": [{"table": {"family": "bridge", "name": "t"}}, {"chain": chain}]})).problems) == 1


def test_the_words_of_rules():
    texts = rule_texts('table inet t { # handle 3\n\tchain c { # handle 1\n\t\ttcp dport 22 accept comment "a # handle 9" # handle 5\n\t}\n}\n')
    assert texts == {("inet", "t", 5): 'tcp dport 22 accept comment "a # handle 9"'}


@pytest.mark.parametrize("text", ["", "{}", "[]", "nonsense"])
def test_what_nft_does_not_write(text):
    with pytest.raises((ValueError, KeyError, TypeError)):
        parse_nft_json(text)


def compare(left, right, operator="=="):
    return {"match": {"op": operator, "left": left, "right": right}}


def all_of(*conditions):
    return pf.AllOf(conditions)


SYN, SYN_ACK = Ranges([(2, 2)]), Ranges([(18, 18)])
FLAGS = {"payload": {"protocol": "tcp", "field": "flags"}}
V4, V6, TCP, UDP = is_("version", "4"), is_("version", "6"), is_("proto", "tcp"), is_("proto", "udp")
MARK = {"meta": {"key": "mark"}}


@pytest.mark.parametrize(
    ("statement", "wanted"),
    [
        ({"redirect": {"port": 9000}}, pf.Action("redirect", ports=Ranges([(9000, 9000)]))),
        ({"redirect": None}, pf.Action("redirect")),
        ({"redirect": {"port": {"map": {"key": FLAGS, "data": "@x"}}}}, pf.Action("unsure", "redirect")),
        ({"masquerade": None}, pf.Action("source-nat")),
        ({"snat": {"addr": "198.51.100.1"}}, pf.Action("source-nat")),
        ({"notrack": None}, pf.Action("notrack")),
        ({"reject": None}, pf.Action("drop")),
        ({"goto": {"target": "x"}}, pf.Action("goto", "x")),
        ({"limit": {"rate": 5, "per": "second"}}, pf.ALWAYS),
        ({"limit": {"rate": 5, "per": "second", "inv": True}}, pf.NEVER),
        ({"limit": "a-named-one"}, pf.ALWAYS),
        ({"ct count": {"val": 20}}, pf.ALWAYS),
        ({"ct count": {"val": 20, "inv": True}}, pf.NEVER),
        ({"mangle": {"key": MARK, "value": 7}}, pf.Action("mark", value=7)),
        ({"mangle": {"key": MARK, "value": {"|": [MARK, 7]}}}, pf.Action("mark", mask=0)),
        ({"xt": {"type": "match", "name": "string"}}, pf.UNSURE),
        ({"quota": {"val": 10, "val_unit": "mbytes"}}, pf.UNSURE),
        ({"tproxy": {"port": 3129}}, pf.Action("unsure", "tproxy")),
        ({"dnat": {"port": 80}}, pf.Action("dnat", ports=Ranges([(80, 80)]))),
        ({"dnat": {"addr": {"range": ["172.18.0.2", "172.18.0.5"]}}}, pf.Action("dnat", addresses=Ranges.network("172.18.0.2-172.18.0.5"))),
        ({"dnat": {"addr": "no address"}}, pf.Action("unsure", "dnat")),
        ({"dnat": {"addr": "172.18.0.2", "port": "no-such-service"}}, pf.Action("unsure", "dnat")),
    ],
)  # fmt: skip
def test_what_a_statement_does(statement, wanted):
    assert steps(statement) == (wanted,)


@pytest.mark.parametrize("statement", ["counter", {"log": {"prefix": "x"}}, {"continue": None}, {"mangle": {"key": {"meta": {"key": "priority"}}, "value": 1}}])
def test_statements_that_say_nothing_of_a_packet(statement):
    assert steps(statement, {"drop": None}) == (pf.Action("drop"),)


@pytest.mark.parametrize(
    ("match", "wanted"),
    [
        (payload("ip", "protocol", {"set": ["tcp", 17]}), all_of(V4, is_("proto", "tcp", "udp"))),
        (payload("ip6", "nexthdr", "tcp"), all_of(V6, TCP)),
        (payload("ip", "ttl", 1), all_of(V4, pf.UNSURE)),
        (payload("ip6", "hoplimit", 255), all_of(V6, pf.UNSURE)),
        (payload("ip6", "saddr", "2001:db8::/32"), all_of(V6, pf.Property("src", Ranges.network("2001:db8::/32"), 6))),
        (payload("ip", "daddr", ["192.0.2.1", "192.0.2.2"]), all_of(V4, pf.Property("dst", Ranges.network("192.0.2.1-192.0.2.2"), 4))),
        (payload("ip", "saddr", "example.com"), pf.UNSURE),
        (payload("udp", "sport", 53), all_of(UDP, pf.Property("sport", Ranges([(53, 53)])))),
        (payload("th", "dport", "no-such-service"), pf.UNSURE),
        (payload("th", "dport", {"jhash": {}}), pf.UNSURE),
        (payload("icmp", "type", "echo-request"), all_of(is_("proto", "icmp"), pf.UNSURE)),
        (payload("arp", "operation", "request"), all_of(pf.NEVER, pf.UNSURE)),
        (payload("vlan", "id", 7), pf.UNSURE),
        (payload("tcp", "flags", ["syn", "ack"], "in"), all_of(TCP, pf.Not(pf.Property("tcpflags", Ranges([(0, 0)]), mask=18)))),
        (payload("tcp", "flags", "a-flag-to-come", "in"), pf.UNSURE),
        (compare({"&": [FLAGS, {"|": [{"|": ["fin", "syn"]}, "rst", "ack"]}]}, "syn"), all_of(TCP, pf.Property("tcpflags", SYN, mask=23))),
        (compare({"&": [FLAGS, 18]}, ["syn", "ack"]), all_of(TCP, pf.Property("tcpflags", SYN_ACK, mask=18))),
        (compare({"&": [{"payload": {"protocol": "ip", "field": "dscp"}}, 1]}, 1), pf.UNSURE),
        (compare(MARK, {"range": [1, 9]}), pf.Property("mark", Ranges([(1, 9)]))),
        (compare(MARK, 9, "<="), pf.Property("mark", Ranges([(0, 9)]))),
        (compare(MARK, 9, "<"), pf.Property("mark", Ranges([(0, 8)]))),
        (compare({"payload": {"protocol": "th", "field": "dport"}}, "ssh", ">"), pf.UNSURE),
        (compare({"meta": {"key": "pkttype"}}, {"set": ["broadcast", "multicast"]}), pf.NEVER),
        (compare({"meta": {"key": "pkttype"}}, "unicast"), pf.ALWAYS),
        (compare({"meta": {"key": "l4proto"}}, 6), TCP),
        (compare({"meta": {"key": "nfproto"}}, "ipv6"), pf.AnyOf((V6,))),
        (compare({"meta": {"key": "protocol"}}, {"set": ["ip", "ip6"]}), pf.AnyOf((V4, V6))),
        (compare({"meta": {"key": "protocol"}}, "arp"), pf.AnyOf(())),
        (compare({"ct": {"key": "direction"}}, "original"), is_("ctdir", "original")),
        (compare({"ct": {"key": "protocol", "dir": "original"}}, "tcp"), is_("ctproto", "tcp")),
        (compare({"ct": {"key": "status"}}, "dnat", "in"), is_("ctstatus", "dnat")),
        (compare({"ct": {"key": "ip daddr", "dir": "original"}}, "192.0.2.1"), all_of(V4, pf.Property("ctorigdst", Ranges.network("192.0.2.1"), 4))),
        (compare({"ct": {"key": "saddr", "dir": "original"}}, "fd00::1"), all_of(V6, pf.Property("ctorigsrc", Ranges.network("fd00::1"), 6))),
        (compare({"ct": {"key": "proto-src", "dir": "original"}}, 53), pf.Property("ctorigsport", Ranges([(53, 53)]))),
        (compare({"ct": {"key": "proto-dst", "dir": "reply"}}, 53), pf.UNSURE),
        (compare({"fib": {"result": "type", "flags": ["saddr", "iif"]}}, "LOCAL"), is_("srctype", "local")),
        (compare({"fib": {"result": "oifname", "flags": ["daddr"]}}, "eth0"), pf.UNSURE),
    ],
)  # fmt: skip
def test_conditions(match, wanted):
    assert steps(match, {"accept": None}) == (wanted, pf.Action("accept"))


def test_values_of_several_parts():
    pair = {"concat": [{"payload": {"protocol": "ip", "field": "saddr"}}, {"payload": {"protocol": "th", "field": "dport"}}]}
    cases = {"set": [{"concat": ["192.0.2.1", 22]}, {"elem": {"val": {"concat": ["192.0.2.2", {"range": [80, 90]}]}, "comment": "web"}}]}

    def case(address, low, high):
        return all_of(pf.Property("src", Ranges.network(address), 4), pf.Property("dport", Ranges([(low, high)])))

    assert steps(compare(pair, cases))[0] == all_of(V4, pf.AnyOf((case("192.0.2.1", 22, 22), case("192.0.2.2", 80, 90))))
    assert steps(compare(pair, {"concat": ["192.0.2.1", 22, "eth0"]})) == (pf.UNSURE,)


def test_verdict_maps_of_several_parts_of_a_default_and_of_no_verdict():
    key = {"concat": [{"meta": {"key": "iifname"}}, {"payload": {"protocol": "th", "field": "dport"}}]}
    data = {"set": [[{"concat": ["eth0", 22]}, {"accept": None}], ["*", {"continue": None}]]}
    there = pf.AnyOf((all_of(is_("iif", "eth0"), pf.Property("dport", Ranges([(22, 22)]))),))
    assert steps({"vmap": {"key": key, "data": data}}) == (pf.Branches(((there, pf.Action("accept")), (pf.ALWAYS, pf.Action("continue")))),)


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ([{"limit": {"rate": 5, "per": "second"}}, {"drop": None}], (pf.UNSURE, pf.ALWAYS, pf.Action("drop"))),
        ([{"limit": {"rate": 5, "per": "second", "inv": True}}, {"drop": None}], (pf.NEVER, pf.Action("drop"))),
        ([{"limit": {"rate": 5, "per": "second"}}, {"accept": None}], (pf.ALWAYS, pf.Action("accept"))),
    ],
    ids=["the next packet passes", "a new client is within it", "a new client is accepted"],
)
def test_rates(rule, wanted):
    assert steps(*rule) == wanted


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ([{"reject": {"type": "icmp", "expr": "admin-prohibited"}}], (V4, pf.Action("drop"))),
        ([{"reject": {"type": "icmpv6", "expr": "no-route"}}], (V6, pf.Action("drop"))),
        ([{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}], (pf.Action("drop"),)),
        ([{"reject": {"type": "tcp reset"}}], (pf.UNSURE, pf.Action("drop"))),
        ([payload("ip", "saddr", "192.0.2.1"), {"reject": {"type": "tcp reset"}}],
         (all_of(V4, pf.Property("src", Ranges.network("192.0.2.1"), 4)), pf.Action("drop"))),
    ],
)  # fmt: skip
def test_a_rejection_is_of_the_family_that_its_answer_is_of(rule, wanted):
    assert steps(*rule) == wanted
    if len(rule) == 1:
        # Where the table is of one family that is said already.
        assert steps(*rule, family="ip") == (pf.Action("drop"),)


def test_chains_as_the_kernel_calls_them():
    chain = {"family": "inet", "table": "t", "type": "filter", "hook": "input"}
    entries = [
        {"metainfo": {"version": "1.0.6"}},
        {"table": {"family": "inet", "name": "t"}},
        {"table": {"family": "arp", "name": "t"}},
        {"chain": {**chain, "name": "named", "prio": "filter"}},
        {"chain": {**chain, "name": "late", "prio": 10, "policy": "drop"}},
        {"chain": {"family": "netdev", "table": "n", "name": "in", "type": "filter", "hook": "ingress", "dev": ["eth0", "eth1"], "prio": -500}},
        {"chain": {"family": "inet", "table": "t", "name": "called"}},
        {"chain": {"family": "bridge", "table": "b", "name": "c", "type": "filter", "hook": "output", "prio": 0, "policy": "accept"}},
        {"rule": {"family": "inet", "table": "t", "chain": "gone", "handle": 9, "expr": [{"drop": None}]}},
    ]
    result = parse_nft_json(json.dumps({"nftables": entries}))
    assert [(one.name, one.priority, one.policy, one.devices) for one in result.bases] == [
        ("named", 0, "accept", ()),
        ("late", 10, "drop", ()),
        ("in", -500, "accept", ("eth0", "eth1")),
    ]
    assert sorted(result.bases[0].jumps) == ["called", "late", "named"]
    assert (result.problems, result.tables) == ([], {("nft", "inet", "t"): 0})
