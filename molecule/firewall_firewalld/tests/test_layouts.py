# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every verdict against a connect from another container, layout by layout."""

from __future__ import annotations

import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HERE.parent / "shared/firewall"))

from laboratory import Laboratory, cases, check  # noqa: E402

LAYOUTS = HERE / "files/layouts.yml"
testinfra_hosts = ["ansible://firewall"]


@pytest.fixture(scope="module")
def laboratory(host):
    """Return the two hosts."""
    return Laboratory(host, LAYOUTS)


def test_the_fixes_close_the_ports(laboratory):
    result, tried = laboratory.enter("firewalld as installed, with rules of all kinds")
    assert tried[18001, "ipv4"]
    assert tried[18031, "ipv6"]
    laboratory.fix(result, 18001, "ipv4", "nft_forward")
    assert not laboratory.reached(18001, "ipv4")
    assert laboratory.reached(18031, "ipv6"), "the others are as they were"
    laboratory.fix(result, 18031, "ipv6", "firewalld_strict")
    assert not laboratory.reached(18031, "ipv6")
    laboratory.run("nft delete table ip stackops_ports")


@pytest.mark.parametrize("case", cases(LAYOUTS), ids=str)
def test_the_verdict_is_what_a_connect_sees(laboratory, case):
    check(laboratory, case)
