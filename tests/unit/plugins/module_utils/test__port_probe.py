# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections to real sockets, and to addresses that lead nowhere."""

from __future__ import annotations

import errno
import socket

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _port_probe
from ansible_collections.stackops.runbook.plugins.module_utils._port_probe import probe, probe_all, target_of


@pytest.fixture
def listening():
    """Return the port of a socket that listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed():
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_open_and_refused(listening, closed):
    result = probe_all([("127.0.0.1", listening), ("127.0.0.1", closed), ("127.0.0.1", listening)], 2)
    assert [row["result"] for row in result["results"]] == ["open", "refused"]
    assert result["summary"] == "1 of 2 ports answered"
    assert result["metrics"]["refused"]["value"] == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError("timed out"), "silent"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "unreachable"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "unreachable"),
        (OSError(errno.EIO, "odd"), "silent"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "refused"),
    ],
)
def test_what_the_system_says_is_told_apart(monkeypatch, error, expected):
    def fail(*dummy_arguments):
        raise error

    monkeypatch.setattr(_port_probe.socket, "create_connection", fail)
    row = probe("192.0.2.1", 80, 1)
    assert row["result"] == expected
    assert row["reason"]


def test_nothing_to_do():
    assert probe_all([], 1)["results"] == []


def test_targets_are_addresses_and_ports():
    assert target_of({"address": "2001:DB8::1", "port": 443}) == ("2001:db8::1", 443)
    for entry in ({"address": "example.com", "port": 1}, {"address": "192.0.2.1", "port": 0}, {"address": "192.0.2.1", "port": 65536}):
        with pytest.raises(ValueError, match="."):
            target_of(entry)
