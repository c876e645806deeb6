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


@pytest.mark.parametrize("case", cases(LAYOUTS), ids=str)
def test_the_verdict_is_what_a_connect_sees(laboratory, case):
    check(laboratory, case)


def test_the_fixes_close_the_ports(laboratory):
    result, dummy = laboratory.enter("ufw on, as its user left it")
    ports = {(18001, "ipv4"): "docker_user", (18031, "ipv6"): "docker_user", (18027, "ipv4"): "raw_drop"}
    for (port, family), action in ports.items():
        seen_by = "neighbour" if action == "raw_drop" else family
        assert laboratory.reached(port, seen_by)
        laboratory.fix(result, port, family, action)
        assert not laboratory.reached(port, seen_by)
    assert laboratory.reached(18002, "ipv4"), "the others are as they were"
