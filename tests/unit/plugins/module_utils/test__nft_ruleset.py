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
         (pf.Not(pf.AllOf((is_("version", "4"), pf.Property("src", Ranges.network("10.0.0.0/8"), 4)))), pf.Action("drop"))),
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
