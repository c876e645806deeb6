# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ranges against Python's own sets."""

from __future__ import annotations

import ipaddress

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._address_ranges import PRIVATE, PUBLIC, Ranges, is_private
from hypothesis import given
from hypothesis import strategies as st

PAIRS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=6)


def members(pairs):
    return {number for low, high in pairs for number in range(low, high + 1)}


@given(PAIRS, PAIRS)
def test_operations_are_those_of_sets(one, other):
    left, right = Ranges(one), Ranges(other)
    assert members((left | right).pairs) == members(one) | members(other)
    assert members((left & right).pairs) == members(one) & members(other)
    assert members((left - right).pairs) == members(one) - members(other)
    assert left.size == len(members(one))
    assert bool(left) == bool(members(one))
    assert {number for number in range(41) if number in left} == members(one)


@given(PAIRS)
def test_one_set_has_one_form(pairs):
    ranges = Ranges(pairs)
    assert all(low <= high for low, high in ranges.pairs)
    assert all(one[1] + 1 < other[0] for one, other in zip(ranges.pairs, ranges.pairs[1:]))
    assert ranges == Ranges(reversed(ranges.pairs))
    assert hash(ranges) == hash(Ranges(pairs))


@pytest.mark.parametrize("text", ["10.0.0.0/8", "192.0.2.1", "10.0.0.1-10.0.0.9", "2001:db8::/32", "fd00::1"])
def test_addresses_of_a_network(text):
    ranges = Ranges.network(text)
    first = text.partition("/")[0].partition("-")[0]
    assert int(ipaddress.ip_address(first)) in ranges


@pytest.mark.parametrize("text", ["example.com", "10.0.0.0/33", "10.0.0.1-", ""])
def test_what_is_no_network(text):
    with pytest.raises(ValueError):
        Ranges.network(text)


def test_networks_are_told_up_to_a_limit():
    assert Ranges.network("10.0.0.0-10.0.0.4").networks(4) == ["10.0.0.0/30", "10.0.0.4/32"]
    assert len((Ranges.everything(6) - Ranges.network("::1")).networks(6, limit=5)) == 5


@pytest.mark.parametrize(
    ("address", "private"),
    [("10.1.2.3", True), ("100.100.1.1", True), ("203.0.113.9", False), ("8.8.8.8", False), ("fd00::1", True), ("fe80::1", True), ("2001:db8::1", False)],
)
def test_what_the_internet_does_not_route(address, private):
    assert is_private(address) == private


def test_nothing_is_both_private_and_public():
    for version in (4, 6):
        assert not PRIVATE[version] & PUBLIC[version]
        assert PRIVATE[version] | PUBLIC[version] == Ranges.everything(version)
