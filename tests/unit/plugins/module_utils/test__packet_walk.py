# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The walk against a slow and obvious one, and what it says where nobody can tell. Against real connections it is in tests/live."""

from __future__ import annotations

import ipaddress

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._address_ranges import Ranges
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
