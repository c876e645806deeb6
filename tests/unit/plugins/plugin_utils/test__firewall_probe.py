# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which ports somebody outside tries, and when what he finds contradicts the rules."""

from __future__ import annotations

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils._firewall_probe import compare, resolve, targets

ADDRESSES = ["192.0.2.10", "2001:db8::10"]


def port(number=8000, host_ip="0.0.0.0", verdict="filtered", protocol="tcp"):
    family = "ipv6" if ":" in host_ip else "ipv4"
    return {"host_port": number, "host_ip": host_ip, "family": family, "protocol": protocol, "verdict": verdict, "label": "shop/api"}


def probed(verdict, result, host_ip="0.0.0.0"):
    """Return what is noted of a port with *verdict* that gave *result*."""
    (address,) = [one for one in ADDRESSES if (":" in one) == (":" in host_ip)]
    (row,) = compare({"ports": [port(host_ip=host_ip, verdict=verdict)]}, ADDRESSES, [{"address": address, "port": 8000, "result": result}], "bastion")["ports"]
    return row["probe"]


def test_each_family_is_tried_at_its_own_addresses():
    assert targets({"ports": [port(), port(host_ip="::")]}, ADDRESSES) == [("192.0.2.10", 8000), ("2001:db8::10", 8000)]


def test_what_is_bound_to_one_address_is_tried_there_only():
    assert targets({"ports": [port(host_ip="192.0.2.10"), port(host_ip="192.0.2.99")]}, ADDRESSES) == [("192.0.2.10", 8000)]


def test_what_is_bound_to_loopback_must_not_answer_elsewhere():
    assert targets({"ports": [port(host_ip="127.0.0.1")]}, ADDRESSES) == [("192.0.2.10", 8000)]


def test_udp_is_not_tried():
    assert targets({"ports": [port(protocol="udp")]}, ADDRESSES) == []


@pytest.mark.parametrize(
    ("verdict", "result", "agrees"),
    [
        ("reachable", "open", True),
        ("reachable", "silent", False),
        ("reachable", "refused", True),
        ("filtered", "open", False),
        ("filtered", "silent", True),
        ("filtered", "refused", True),
        ("local", "open", False),
        ("restricted", "open", None),
        ("restricted", "silent", None),
        ("unknown", "open", None),
        ("reachable", "unreachable", None),
    ],
)
def test_an_answer_agrees_with_the_verdict_or_does_not(verdict, result, agrees):
    assert probed(verdict, result) == {"from": "bastion", "address": "192.0.2.10", "result": result, "agrees": agrees}


def test_an_answer_at_one_address_says_more_than_silence_at_another():
    results = [{"address": "192.0.2.10", "port": 8000, "result": "silent"}, {"address": "192.0.2.11", "port": 8000, "result": "open"}]
    (row,) = compare({"ports": [port()]}, ["192.0.2.10", "192.0.2.11"], results, "bastion")["ports"]
    assert (row["probe"]["address"], row["probe"]["agrees"]) == ("192.0.2.11", False)


def test_the_answer_of_another_service_on_the_same_port_is_not_held_against_one():
    rows = [port(host_ip="127.0.0.1", verdict="local"), port(host_ip="192.0.2.10", verdict="reachable")]
    loopback, own = compare({"ports": rows}, ADDRESSES, [{"address": "192.0.2.10", "port": 8000, "result": "open"}], "bastion")["ports"]
    assert loopback["probe"] is None
    assert own["probe"]["agrees"] is True


def test_the_whole_counts_what_was_tried_and_what_differs():
    rows = [port(), port(9000, verdict="reachable"), port(9001, protocol="udp")]
    results = [{"address": "192.0.2.10", "port": 8000, "result": "open"}, {"address": "192.0.2.10", "port": 9000, "result": "open"}]
    assert compare({"ports": rows}, ADDRESSES, results, "bastion")["probe"] == {
        "from": "bastion", "addresses": ADDRESSES, "tried": 2, "disagreements": 1, "reason": None,
    }  # fmt: skip


@pytest.mark.parametrize(("addresses", "words"), [([], "firewall_check_probe_addresses"), (["198.51.100.1"], "no port at 198.51.100.1")])
def test_it_says_why_nothing_was_tried(addresses, words):
    assert words in compare({"ports": [port(host_ip="192.0.2.10")]}, addresses, [], "bastion")["probe"]["reason"]


def test_addresses_that_mean_the_host_itself_are_not_used():
    assert resolve(["127.0.0.1", "::1", "192.0.2.10", "192.0.2.10", "no such name"]) == ["192.0.2.10"]
