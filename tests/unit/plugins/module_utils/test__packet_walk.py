# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The walk against a slow and obvious one, and what it says where nobody can tell. Against real connections it is in tests/live."""

from __future__ import annotations

import ipaddress
import json

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._address_ranges import Ranges
from ansible_collections.stackops.runbook.plugins.module_utils._nft_ruleset import parse_nft_json
from ansible_collections.stackops.runbook.plugins.module_utils._packet_filter import parse_iptables_save
from ansible_collections.stackops.runbook.plugins.module_utils._packet_walk import HostNet, Interface, Packet, Route, Walker, sum_up
from hypothesis import given, settings
from hypothesis import strategies as st

EVERYBODY = Ranges.everything(4)
HOST = HostNet(
    (Interface("lo", ("127.0.0.1",)), Interface("eth0", ("198.51.100.1",)), Interface("br0", ("172.30.0.1",))),
    (
        Route(Ranges.network("0.0.0.0/0"), "eth0", 0, 4),
        Route(Ranges.network("198.51.100.0/24"), "eth0", 24, 4),
        Route(Ranges.network("172.30.0.0/16"), "br0", 16, 4),
    ),
    {4: True},
)
NAT = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -i eth0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.30.0.2:80\nCOMMIT\n"


def number(address):
    return int(ipaddress.ip_address(address))


def walk(text, port=8080, host=HOST, dst="198.51.100.1", peers=EVERYBODY, protocol="tcp"):
    walker = Walker(parse_iptables_save(text, "iptables-save", 4), host)
    return sum_up(walker.arrive(Packet(4, protocol, "eth0", dst=number(dst), dport=(port, port)), peers))


def filtered(*rules, policy="DROP", chains=("mine", "other")):
    declared = "".join(f":{name} - [0:0]\n" for name in chains)
    return f"*filter\n:INPUT {policy} [0:0]\n{declared}" + "".join(f"-A {rule}\n" for rule in rules) + "COMMIT\n"


# -- against a slow and obvious walk ----------------------------------------------------------------------------------------

NETWORKS = ["10.0.0.0/8", "10.1.0.0/16", "203.0.113.0/24", "0.0.0.0/1", "192.0.2.1/32"]
SENDERS = ["10.0.0.1", "10.1.2.3", "203.0.113.9", "192.0.2.1", "192.0.2.2", "8.8.8.8", "240.0.0.1"]
RULE = st.fixed_dictionaries({
    "source": st.sampled_from([None, *NETWORKS]),
    "negated": st.booleans(),
    "port": st.sampled_from([None, 80, 8080]),
    "interface": st.sampled_from([None, "eth0", "eth1", "e*"]),
    "target": st.sampled_from(["ACCEPT", "DROP", "RETURN", "LOG", "jump one", "goto one", "jump two", "goto two"]),
})  # fmt: skip


def in_words(chain, rule):
    words = [f"-A {chain}"]
    if rule["source"]:
        words.append(f"{'! ' if rule['negated'] else ''}-s {rule['source']}")
    if rule["interface"]:
        words.append(f"-i {rule['interface'].replace('*', '+')}")
    if rule["port"]:
        words.append(f"-p tcp -m tcp --dport {rule['port']}")
    kind, dummy, target = rule["target"].partition(" ")
    words.append(f"-{'g' if kind == 'goto' else 'j'} {target or kind}")
    return " ".join(words)


def obviously(chains, chain, sender, port):
    """One sender, rule by rule: ``ACCEPT``, ``DROP``, or nothing where the chain ends or returns."""
    for rule in chains[chain]:
        inside = rule["source"] is None or (ipaddress.ip_address(sender) in ipaddress.ip_network(rule["source"])) != rule["negated"]
        if not inside or rule["port"] not in (None, port) or rule["interface"] == "eth1":
            continue
        kind, dummy, target = rule["target"].partition(" ")
        if kind in ("ACCEPT", "DROP"):
            return kind
        if kind == "RETURN":
            return None
        if target:
            verdict = obviously(chains, target, sender, port)
            if verdict or kind == "goto":
                return verdict
    return None


@settings(max_examples=300)
@given(
    st.lists(RULE, max_size=5),
    st.lists(RULE.filter(lambda rule: " one" not in rule["target"]), max_size=4),
    st.lists(RULE.filter(lambda rule: " " not in rule["target"]), max_size=4),
    st.sampled_from(["ACCEPT", "DROP"]),
)
def test_every_sender_ends_as_if_walked_alone(base, one, two, policy):
    chains = {"INPUT": base, "one": one, "two": two}
    text = f"*filter\n:INPUT {policy} [0:0]\n:one - [0:0]\n:two - [0:0]\n" + "".join(
        f"{in_words(name, rule)}\n" for name, rules in chains.items() for rule in rules
    )
    verdict = walk(text + "COMMIT\n")
    assert not verdict.unsure
    for sender in SENDERS:
        expected = obviously(chains, "INPUT", sender, 8080) or policy
        assert (number(sender) in verdict.let_in) == (expected == "ACCEPT")
        assert (number(sender) in verdict.kept_out) == (expected == "DROP")


@given(st.lists(st.sampled_from(["ACCEPT", "DROP", "RETURN", "jump mine"]), max_size=40))
@settings(max_examples=50, deadline=2000)
def test_doubts_cost_no_more_than_rules_and_hide_nothing(targets):
    """Whatever becomes of each rule that nobody can tell is among what the walk allows for."""
    rules = [f"INPUT -m string --string x --algo bm -{'j'} {target.replace('jump ', '')}" for target in targets]
    verdict = walk(filtered(*rules, "mine -j ACCEPT"))
    possible = {"ACCEPT" for target in targets if target in ("ACCEPT", "jump mine")} | {"DROP"}
    assert bool(verdict.unsure) == (len(possible) > 1)
    assert verdict.kept_out == (EVERYBODY if possible == {"DROP"} else Ranges())


# -- one thing at a time ----------------------------------------------------------------------------------------------------


def test_a_published_port_does_not_pass_the_rules_for_the_hosts_own():
    verdict = walk(NAT + filtered("INPUT -p tcp -m tcp --dport 8080 -j DROP"))
    assert verdict.let_in == EVERYBODY
    assert [one.rule.split()[1] for one in verdict.evidence("forwarded")] == ["PREROUTING"]


def test_the_forward_chain_sees_the_containers_port():
    forward = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p tcp -m tcp --dport {} -j DROP\nCOMMIT\n"
    assert walk(NAT + forward.format(8080)).let_in == EVERYBODY
    assert walk(NAT + forward.format(80)).kept_out == EVERYBODY
    original = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m conntrack --ctorigdstport 8080 --ctorigdst 198.51.100.1 -j DROP\nCOMMIT\n"
    assert walk(NAT + original).kept_out == EVERYBODY


def test_every_chain_of_a_hook_must_let_it_pass():
    text = NAT + "*mangle\n:FORWARD ACCEPT [0:0]\n-A FORWARD -s 10.0.0.0/8 -j DROP\nCOMMIT\n" + "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n"
    assert walk(text).let_in == EVERYBODY - Ranges.network("10.0.0.0/8")


def test_the_answer_must_get_back():
    assert walk(NAT + "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -i br0 -d 10.0.0.0/8 -j DROP\nCOMMIT\n").kept_out == Ranges.network("10.0.0.0/8")
    verdict = walk(filtered("INPUT -j ACCEPT") + "*filter\n:OUTPUT DROP [0:0]\nCOMMIT\n")
    assert verdict.kept_out == EVERYBODY
    assert {ending.reason for ending in verdict.endings} == {"the answer does not get out"}


def test_without_tracking_nothing_is_translated():
    text = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 8080 -j CT --notrack\nCOMMIT\n"
    verdict = walk(text + NAT + filtered("INPUT -m conntrack --ctstate UNTRACKED -j ACCEPT"))
    assert [ending.outcome for ending in verdict.endings] == ["local"]


def test_127_0_0_1_is_not_let_in_from_outside_unless_it_is_translated_or_switched_on():
    verdict = walk(filtered("INPUT -j ACCEPT"), dst="127.0.0.1")
    assert verdict.kept_out == EVERYBODY
    assert "route_localnet" in verdict.endings[0].reason
    assert walk(NAT, dst="127.0.0.1").let_in == EVERYBODY
    open_host = HostNet((Interface("eth0", ("198.51.100.1",), route_localnet=True),), HOST.routes, HOST.forwarding)
    assert walk(filtered("INPUT -j ACCEPT"), dst="127.0.0.1", host=open_host).let_in == EVERYBODY


def test_what_the_kernel_does_without_rules():
    assert walk(NAT, host=HostNet(HOST.interfaces, HOST.routes, {4: False})).kept_out == EVERYBODY
    assert walk(NAT, host=HostNet(HOST.interfaces, (), {4: True})).kept_out == EVERYBODY


def test_a_redirection_goes_to_the_host():
    text = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 8080 -j REDIRECT --to-ports 9000\nCOMMIT\n"
    verdict = walk(text + filtered("INPUT -p tcp -m tcp --dport 9000 -j ACCEPT"))
    assert verdict.let_in == EVERYBODY
    assert verdict.endings[0].flow.packet.dport == (9000, 9000)


def test_a_client_that_was_not_here_before_is_within_every_rate():
    rules = ["INPUT -m recent --set --name x", "INPUT -m recent --update --seconds 30 --hitcount 6 --name x -j DROP", "INPUT -m limit --limit 3/min -j ACCEPT"]
    assert walk(filtered(*rules)).let_in == EVERYBODY


def test_an_unknown_target_may_be_anything():
    verdict = walk(filtered("INPUT -s 10.0.0.0/8 -j NFQUEUE --queue-num 1", "INPUT -j DROP"))
    assert verdict.unsure == Ranges.network("10.0.0.0/8")
    assert [one.rule for one in verdict.doubts] == ["-A INPUT -s 10.0.0.0/8 -j NFQUEUE --queue-num 1"]


@pytest.mark.parametrize("target", ["-j mine", "-g mine"])
def test_chains_that_call_each_other_end(target):
    verdict = walk(filtered(f"INPUT {target}", "mine -j other", "other -j mine"))
    assert verdict.unsure == EVERYBODY


def test_who_is_behind_an_interface():
    routes = (
        Route(Ranges.network("0.0.0.0/0"), "eth0", 0, 4),
        Route(Ranges.network("10.0.0.0/8"), "wg0", 8, 4),
        Route(Ranges.network("10.1.0.0/16"), "eth0", 16, 4),
    )
    host = HostNet((), routes)
    assert host.behind("wg0", 4) == Ranges.network("10.0.0.0/8") - Ranges.network("10.1.0.0/16")
    assert host.behind("eth0", 4) == EVERYBODY - host.behind("wg0", 4)
    assert host.behind("eth0", 6) == Ranges()
    assert (host.way_out(number("10.2.0.1"), 4), host.way_out(number("10.1.0.1"), 4), host.way_out(number("10.1.0.1"), 6)) == ("wg0", "eth0", "")


# -- rules of nft -----------------------------------------------------------------------------------------------------------

OFFICE = Ranges.network("10.0.0.0/8")
DUAL = HostNet(
    (Interface("lo", ("127.0.0.1", "::1")), Interface("eth0", ("198.51.100.1", "2001:db8::1")), Interface("br0", ("172.30.0.1",))),
    (*HOST.routes, Route(Ranges.network("::/0"), "eth0", 0, 6)),
    {4: True, 6: True},
)


def rule(chain, *statements):
    return {"rule": {"family": "inet", "table": "t", "chain": chain, "expr": list(statements)}}


def chain(name, hook="", priority=0, policy="accept", kind="filter"):
    base = {"type": kind, "hook": hook, "prio": priority, "policy": policy} if hook else {}
    return {"chain": {"family": "inet", "table": "t", "name": name, **base}}


def match(left, right, operator="=="):
    return {"match": {"op": operator, "left": left, "right": right}}


def field(protocol, name):
    return {"payload": {"protocol": protocol, "field": name}}


def meta(key):
    return {"meta": {"key": key}}


def ct(key):
    return {"ct": {"key": key}}


FROM_OFFICE = match(field("ip", "saddr"), {"prefix": {"addr": "10.0.0.0", "len": 8}})
TO_WEB = rule("nat", match(field("tcp", "dport"), 8080), {"dnat": {"family": "ip", "addr": "172.30.0.2", "port": 80}})
ACCEPT, DROP = {"accept": None}, {"drop": None}


def walk_nft(*entries, version=4, protocol="tcp", port=8080):
    parsed = parse_nft_json(json.dumps({"nftables": [{"table": {"family": "inet", "name": "t"}}, *entries]}))
    packet = Packet(version, protocol, "eth0", dst=number("198.51.100.1" if version == 4 else "2001:db8::1"), dport=(port, port))
    return sum_up(Walker(parsed, DUAL).arrive(packet, Ranges.everything(version)))


def let_in(*statements, **packet):
    """Return who gets in by one rule of a chain that drops everything else, answers aside."""
    return walk_nft(chain("in", "input", policy="drop"), rule("in", *statements, ACCEPT), **packet).let_in


NOBODY, SIX = Ranges(), Ranges.everything(6)


@pytest.mark.parametrize(
    ("statement", "packet", "wanted"),
    [
        (match(field("tcp", "dport"), 8080), {}, EVERYBODY),
        (match(field("tcp", "dport"), 8080), {"protocol": "udp"}, NOBODY),
        (FROM_OFFICE, {}, OFFICE),
        (FROM_OFFICE, {"version": 6}, NOBODY),
        (match(meta("nfproto"), "ipv6"), {}, NOBODY),
        (match(meta("nfproto"), "ipv6"), {"version": 6}, SIX),
        (match(meta("iifname"), "eth*"), {}, EVERYBODY),
        (match(meta("iifname"), "lo"), {}, NOBODY),
        (match(ct("state"), {"set": ["new", "established"]}), {}, EVERYBODY),
        (match(ct("state"), {"set": ["established", "related"]}), {}, NOBODY),
        (match(ct("status"), "dnat", "in"), {}, NOBODY),
        (match(ct("direction"), "original"), {}, EVERYBODY),
        (match(ct("direction"), "reply"), {}, NOBODY),
        (match({"ct": {"key": "ip saddr", "dir": "original"}}, {"prefix": {"addr": "10.0.0.0", "len": 8}}), {}, OFFICE),
        (match({"ct": {"key": "ip daddr", "dir": "original"}}, "198.51.100.1"), {}, EVERYBODY),
        (match({"ct": {"key": "ip daddr", "dir": "original"}}, "198.51.100.2"), {}, NOBODY),
        (match({"fib": {"result": "type", "flags": ["daddr"]}}, "local"), {}, EVERYBODY),
        (match({"fib": {"result": "type", "flags": ["saddr"]}}, "local"), {}, NOBODY),
        (match({"fib": {"result": "type", "flags": ["saddr"]}}, "unicast"), {}, EVERYBODY),
        (match({"&": [field("tcp", "flags"), ["fin", "syn", "rst", "ack"]]}, "syn"), {}, EVERYBODY),
        (match({"&": [field("tcp", "flags"), ["fin", "syn", "rst", "ack"]]}, ["syn", "ack"]), {}, NOBODY),
        (match({"concat": [field("ip", "saddr"), field("tcp", "dport")]}, {"set": [{"concat": ["10.0.0.1", {"range": [8000, 8999]}]}]}), {},
         Ranges.network("10.0.0.1")),
        (match({"concat": [field("ip", "saddr"), field("tcp", "dport")]}, {"set": [{"concat": ["10.0.0.1", 22]}]}), {}, NOBODY),
    ],
)  # fmt: skip
def test_whom_a_condition_lets_in(statement, packet, wanted):
    assert let_in(statement, **packet) == wanted


@pytest.mark.parametrize("low", [1024, 1025])
def test_the_ports_of_clients_are_all_those_that_they_may_take(low):
    verdict = walk_nft(chain("in", "input", policy="drop"), rule("in", match(field("tcp", "sport"), {"range": [low, 65535]}), ACCEPT))
    assert (verdict.let_in, verdict.unsure) == ((EVERYBODY, NOBODY) if low == 1024 else (NOBODY, EVERYBODY))


def test_one_port_of_a_client_does_not_decide_about_its_answers():
    few = rule("out", match(field("tcp", "dport"), {"range": [1024, 9999]}), DROP)
    assert walk_nft(chain("out", "output"), few).let_in == EVERYBODY
    most = rule("out", match(field("tcp", "dport"), {"range": [1024, 60000]}), DROP)
    assert walk_nft(chain("out", "output"), most).unsure == EVERYBODY


ANSWERS = {
    "state": match(ct("state"), "established", "in"),
    "direction": match(ct("direction"), "reply"),
    "status": match(ct("status"), "seen-reply", "in"),
    "flags": match({"&": [field("tcp", "flags"), ["syn", "ack"]]}, ["syn", "ack"]),
    "where it went": match({"ct": {"key": "ip daddr", "dir": "original"}}, "198.51.100.1"),
    "the port that it went to": match({"ct": {"key": "proto-dst", "dir": "original"}}, 8080),
    "its sender": match({"fib": {"result": "type", "flags": ["saddr"]}}, "local"),
    "its receiver": match({"fib": {"result": "type", "flags": ["daddr"]}}, "unicast"),
    "the way out": match(meta("oifname"), "eth0"),
}


@pytest.mark.parametrize("sign", ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_is_known_by(sign):
    verdict = walk_nft(chain("out", "output", policy="drop"), rule("out", sign, ACCEPT))
    assert verdict.let_in == EVERYBODY
    refused = walk_nft(chain("out", "output"), rule("out", sign, DROP))
    assert (refused.kept_out, {ending.reason for ending in refused.endings}) == (EVERYBODY, {"the answer does not get out"})


def test_a_status_that_an_ordinary_connection_does_not_have_decides_nothing():
    expected = match(ct("status"), "expected", "in")
    assert walk_nft(chain("in", "input"), rule("in", expected, DROP), chain("out", "output"), rule("out", expected, DROP)).let_in == EVERYBODY


def test_the_port_that_a_connection_came_from_nobody_can_tell_afterwards():
    verdict = walk_nft(chain("in", "input"), rule("in", FROM_OFFICE, match({"ct": {"key": "proto-src", "dir": "original"}}, 4711), DROP))
    assert (verdict.unsure, verdict.let_in) == (OFFICE, EVERYBODY - OFFICE)


def test_a_translated_connection_is_known_by_its_state_and_by_where_it_went():
    nat = [chain("nat", "prerouting", -100, kind="nat"), TO_WEB, chain("fwd", "forward", policy="drop")]
    back = rule("fwd", match(ct("state"), "established", "in"), ACCEPT)
    for sign in (match(ct("status"), "dnat", "in"), match(ct("state"), "dnat", "in"), match({"ct": {"key": "proto-dst", "dir": "original"}}, 8080)):
        verdict = walk_nft(*nat, back, rule("fwd", sign, ACCEPT))
        assert verdict.let_in == EVERYBODY
        assert {ending.outcome for ending in verdict.endings} == {"forwarded"}
    assert walk_nft(*nat, back).kept_out == EVERYBODY


def test_source_translation_lets_it_pass_and_no_rule_behind_it_is_asked():
    nat = [chain("nat", "prerouting", -100, kind="nat"), TO_WEB]
    post = [chain("post", "postrouting", 100, kind="nat"), rule("post", match(meta("oifname"), "br0"), {"masquerade": None}), rule("post", DROP)]
    assert walk_nft(*nat, *post).let_in == EVERYBODY


def test_a_mark_is_carried_from_hook_to_hook():
    def marked(*values, wanted, mask=0xFF):
        rules = [rule("pre", {"mangle": {"key": meta("mark"), "value": value}}) for value in values]
        guard = rule("in", match({"&": [meta("mark"), mask]}, wanted), ACCEPT)
        return walk_nft(chain("pre", "prerouting", -150), *rules, chain("in", "input", policy="drop"), guard)

    assert marked(0x107, wanted=7).let_in == EVERYBODY
    assert marked(0x108, wanted=7).kept_out == EVERYBODY
    assert marked(wanted=0).let_in == EVERYBODY
    assert marked({"|": [meta("mark"), 7]}, wanted=7).unsure == EVERYBODY
    assert marked({"|": [meta("mark"), 7]}, 7, wanted=7).let_in == EVERYBODY


def test_bits_that_are_set_in_a_mark_that_nobody_knows_leave_it_unknown():
    text = (
        "*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j MARK {}--set-xmark 0x1/0x1\nCOMMIT\n"
        + filtered("INPUT -m mark --mark 0x1/0x1 -j ACCEPT")
    )  # fmt: skip
    assert walk(text.format("")).let_in == EVERYBODY
    unknown = text.replace("-A PREROUTING", "-A PREROUTING -j MARK --xor-mark 0x5\n-A PREROUTING", 1)
    assert walk(unknown.format("")).unsure == EVERYBODY


def test_a_verdict_map_parts_the_senders():
    by_sender = {"vmap": {"key": field("ip", "saddr"), "data": {"set": [
        [{"prefix": {"addr": "10.0.0.0", "len": 8}}, ACCEPT], ["192.0.2.1", {"jump": {"target": "mine"}}], ["192.0.2.2", DROP],
    ]}}}  # fmt: skip
    entries = [chain("in", "input", policy="drop"), chain("mine"), rule("mine", ACCEPT), rule("in", by_sender)]
    verdict = walk_nft(*entries)
    assert verdict.let_in == OFFICE | Ranges.network("192.0.2.1")
    # Whom the map does not have goes on with the next rule, who was dropped in it does not.
    assert walk_nft(*entries, rule("in", ACCEPT)).kept_out == Ranges.network("192.0.2.2")


def test_a_verdict_map_whose_key_does_not_part_senders_ends_with_what_holds():
    states = {"vmap": {"key": ct("state"), "data": {"set": [["new", {"continue": None}], ["invalid", DROP], ["*", DROP]]}}}
    assert walk_nft(chain("in", "input", policy="drop"), rule("in", states, ACCEPT)).let_in == EVERYBODY
    ports = {"vmap": {"key": field("tcp", "dport"), "data": {"set": [[{"range": [8000, 8100]}, DROP], ["*", ACCEPT]]}}}
    assert walk_nft(chain("in", "input", policy="drop"), rule("in", ports)).kept_out == EVERYBODY
    assert walk_nft(chain("in", "input", policy="drop"), rule("in", ports), port=9000).let_in == EVERYBODY


def test_a_chain_that_is_not_there_may_be_anything():
    assert walk_nft(chain("in", "input"), rule("in", FROM_OFFICE, {"jump": {"target": "gone"}})).unsure == OFFICE


def test_untracked_packets_have_a_state_of_their_own():
    raw = [chain("pre", "prerouting", -300), rule("pre", FROM_OFFICE, {"notrack": None})]
    guard = [chain("in", "input", policy="drop"), rule("in", match(ct("state"), "new", "in"), ACCEPT)]
    assert walk_nft(*raw, *guard).kept_out == OFFICE


def test_more_rules_than_are_told_change_no_verdict():
    """Each of many rules that nobody can tell makes a way of its own; they come together again and keep some evidence."""
    marks = [rule("pre", match({"osf": {"key": "name"}}, str(one)), ACCEPT) for one in range(40)]
    verdict = walk_nft(chain("pre", "prerouting", -150), *marks, chain("in", "input"), rule("in", FROM_OFFICE, DROP))
    assert (verdict.kept_out, verdict.unsure) == (OFFICE, Ranges())
    told = verdict.evidence("local", "dropped")
    assert 0 < len(told) <= 12
    assert any("osf" in one.rule for one in told)


def test_without_translation_a_port_is_as_one_of_an_ordinary_program():
    parsed = parse_iptables_save(NAT + filtered("INPUT -s 10.0.0.0/8 -j ACCEPT"), "iptables-save", 4)
    packet = Packet(4, "tcp", "eth0", dst=number("198.51.100.1"), dport=(8080, 8080))
    assert sum_up(Walker(parsed, HOST).arrive(packet, EVERYBODY)).let_in == EVERYBODY
    assert sum_up(Walker(parsed, HOST).arrive(packet, EVERYBODY, translate=False)).let_in == OFFICE


def test_a_packet_to_nowhere_ends():
    (ending,) = Walker(parse_iptables_save("", "iptables-save", 4), HOST).arrive(Packet(4, "tcp", "eth0"), EVERYBODY)
    assert (ending.outcome, ending.reason) == ("dropped", "no destination")


# nft puts the protocol or the family that a field implies before the comparison, outside of its negation.
# What the kernel of Linux did with each was tried with nft 1.0.6.
@pytest.mark.parametrize(
    ("statement", "packet"),
    [
        (match(field("ip", "saddr"), {"prefix": {"addr": "10.0.0.0", "len": 8}}, "!="), {"version": 6}),
        (match(field("ip6", "saddr"), {"prefix": {"addr": "fd00::", "len": 8}}, "!="), {}),
        (match(field("tcp", "dport"), 22, "!="), {"protocol": "udp"}),
        (match(field("udp", "dport"), 53, "!="), {}),
        (match(field("ip", "protocol"), "tcp", "!="), {"version": 6}),
        (match(field("ip", "ttl"), 64, "!="), {"version": 6}),
        (match(field("icmp", "type"), "echo-request", "!="), {}),
        (match({"concat": [field("ip", "saddr"), field("tcp", "dport")]}, {"set": [{"concat": ["10.0.0.1", 80]}]}, "!="), {"version": 6}),
        (match({"concat": [field("ip", "saddr"), field("tcp", "dport")]}, {"set": [{"concat": ["10.0.0.1", 80]}]}, "!="), {"protocol": "udp"}),
    ],
)  # fmt: skip
def test_what_a_field_is_of_is_no_part_of_its_negation(statement, packet):
    assert walk_nft(chain("in", "input"), rule("in", statement, DROP), **packet).let_in == Ranges.everything(packet.get("version", 4))


@pytest.mark.parametrize("limit", [{"limit": {"rate": 10, "burst": 5, "per": "minute", "inv": True}}, {"ct count": {"val": 20, "inv": True}}])
def test_a_limit_for_each_sender_of_a_set_keeps_no_new_client_out(limit):
    update = {"set": {"op": "update", "elem": field("ip", "saddr"), "set": "@m", "stmt": [limit]}}
    assert walk_nft(chain("in", "input"), rule("in", update, DROP)).kept_out == NOBODY


def test_flags_that_are_compared_as_a_whole():
    assert walk_nft(chain("in", "input"), rule("in", match(field("tcp", "flags"), 18), DROP)).let_in == EVERYBODY
    assert walk_nft(chain("in", "input"), rule("in", match(field("tcp", "flags"), 18, "!="), DROP)).kept_out == EVERYBODY
