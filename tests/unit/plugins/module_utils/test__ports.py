# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sockets of this very process, tables as the kernel prints them, and the engines' words for a port that is taken."""

from __future__ import annotations

import json
import os
import socket
import sys

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _ports as ports
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import ContainerRef, Stack
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import rfc3339, utc_now
from hypothesis import given
from hypothesis import strategies as st

# Recorded on a host of the test bed; sshd, docker-proxy, containerd.
TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 215434 1 000000005b518f49 100 0 0 10 0
   1: 00000000:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 219144 1 0000000099d40430 100 0 0 10 0
   2: 0100007F:8FDF 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 215450 1 00000000b921582a 100 0 0 10 0
   3: 0100007F:0050 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 999 1 00000000b921582a 100 0 0 10 0
"""
TABLE6 = """  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:1538 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000   999        0 5 1 0 100 0 0 10 0
   1: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000   999        0 6 1 0 100 0 0 10 0
"""

little_endian = pytest.mark.skipif(sys.byteorder != "little", reason="recorded on a little-endian machine")

# As Engine 20.10 and 26.1 said them on the test bed; the last three are of newer engines, Docker Desktop and podman.
TAKEN = [
    (
        "driver failed programming external connectivity on endpoint h5-p2 (df909e60): Bind for 0.0.0.0:18901 failed: port is already allocated",
        (18901, "tcp"),
    ),
    (
        "driver failed programming external connectivity on endpoint x (bc9e95): Error starting userland proxy: listen tcp4 0.0.0.0:18902: bind: "
        "address already in use",
        (18902, "tcp"),
    ),
    ("driver failed programming external connectivity on endpoint x (1): Bind for :::8080 failed: port is already allocated", (8080, "tcp")),
    ("Error starting userland proxy: listen udp 127.0.0.1:53: bind: address already in use", (53, "udp")),
    ("failed to set up container networking: failed to bind host port for 0.0.0.0:8000:172.18.0.2:80/tcp: address already in use", (8000, "tcp")),
    ("failed to bind host port [::]:5353/udp: address already in use", (5353, "udp")),
    ("Ports are not available: exposing port TCP 0.0.0.0:80 -> 0.0.0.0:0: listen tcp 0.0.0.0:80: bind: address already in use", (80, "tcp")),
    ("rootlessport listen tcp 0.0.0.0:8000: bind: address already in use", (8000, "tcp")),
    ("something: address already in use", (0, "tcp")),
    ("OCI runtime create failed: exec: no such file", None),
    ("", None),
]


@little_endian
def test_recorded_tables():
    assert [(one.address, one.port, one.inode, one.loopback) for one in ports.parse_sockets(TABLE, "tcp")] == [
        ("0.0.0.0", 22, 215434, False),
        ("0.0.0.0", 8000, 219144, False),
        ("127.0.0.1", 36831, 215450, True),
    ]
    # The second is 127.0.0.1 as an IPv6 socket has it.
    assert [(one.port, one.loopback) for one in ports.parse_sockets(TABLE6, "tcp6")] == [(5432, True), (8080, True)]


@given(st.text(max_size=300))
def test_any_table(text):
    for protocol in ("tcp", "udp6"):
        for one in ports.parse_sockets("header\n" + text, protocol):
            assert one.port >= 0


@little_endian
@given(st.ip_addresses(), st.integers(0, 65535), st.integers(0, 2**40))
def test_every_address_comes_back(address, port, inode):
    raw = address.packed
    words = b"".join(raw[index : index + 4][::-1] for index in range(0, len(raw), 4)).hex().upper()
    table = f"header\n 0: {words}:{port:04X} 0:0 0A 0:0 0:0 0 0 0 {inode} 1 0\n"
    (one,) = ports.parse_sockets(table, "tcp")
    assert (one.address, one.port, one.inode) == (str(address), port, inode)


def test_own_sockets_and_their_owner():
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("0.0.0.0", 0))
        mine = {(one.transport, one.port): one for one in ports.sockets_of("self")}
        first, second = mine[("tcp", tcp.getsockname()[1])], mine[("udp", udp.getsockname()[1])]
        assert (first.loopback, second.loopback) == (True, False)
        owners = ports.owners_of({first.inode, second.inode, 1})
    assert owners == {first.inode: os.getpid(), second.inode: os.getpid()}
    assert ports.sockets_of(2**22 + 5) is None


@pytest.mark.parametrize(("error", "expected"), TAKEN)
def test_words_for_a_taken_port(error, expected):
    assert ports.taken_port(error) == expected


@given(st.text(max_size=200))
def test_taken_port_never_raises(text):
    found = ports.taken_port(text + " address already in use")
    assert found is not None
    assert 0 <= found[0] < 65536


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [("0.0.0.0", "127.0.0.1", True), ("127.0.0.1", "10.0.0.1", False), ("10.0.0.1", "10.0.0.1", True), ("::", "10.0.0.1", True)],
)
def test_overlap(one, other, both):
    assert ports.overlap(one, other) is both
    assert ports.overlap(one=other, other=one) is both


# -- stacks ------------------------------------------------------------------------------------------------------------


def container(service, state="running", published=(), pid=None, error="", project="shop", started_at="2026-01-01T00:00:00Z", health=None):
    bindings = {f"{inner}/tcp": [{"HostIp": host, "HostPort": str(outer)}] for inner, host, outer in published}
    return ContainerRef(
        {
            "Id": service * 8,
            "Name": f"/{project}-{service}-1",
            "State": {"Status": state, "Pid": pid, "Error": error, "StartedAt": started_at, "Health": health and {"Status": health}},
            "Config": {"Labels": {"com.docker.compose.project": project, "com.docker.compose.service": service}},
            "HostConfig": {"PortBindings": bindings},
            "NetworkSettings": {"Ports": bindings if state == "running" else {}},
        }
    )


def collected(*containers):
    facts = ports.collect_ports([Stack("shop", containers=containers)])
    assert {"published", "listeners", "conflicts"} <= set(facts)
    json.dumps(facts)
    return facts


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.parametrize(("started_at", "health"), [(None, None), ("2026-01-01T00:00:00Z", "starting")], ids=["just started", "in its start period"])
def test_a_container_that_is_starting_may_not_listen_yet(started_at, health):
    young = container("api", pid=os.getpid(), published=[(1, "127.0.0.1", free_port())], started_at=started_at or rfc3339(utc_now()), health=health)
    assert collected(young)["published"][0]["listening_in_container"] is None


def test_published_and_listening():
    with socket.create_server(("0.0.0.0", 0)) as outer, socket.create_server(("127.0.0.1", 0)) as inner:
        number, inside = outer.getsockname()[1], inner.getsockname()[1]
        facts = collected(container("api", pid=os.getpid(), published=[(inside, "0.0.0.0", number), (1, "127.0.0.1", free_port())]))
    row = next(row for row in facts["published"] if row["host_port"] == number)
    assert (row["listening_on_host"], row["listening_in_container"], row["bound_to_loopback_inside"], row["world_reachable_bind"]) == (True, True, True, True)
    other = next(row for row in facts["published"] if row["container_port"] == 1)
    assert (other["listening_on_host"], other["listening_in_container"], other["bound_to_loopback_inside"]) == (False, False, None)
    assert not other["world_reachable_bind"]
    assert facts["status"] in ("warning", "unknown")
    assert "listens on 127.0.0.1 inside" in facts["summary"]
    listener = next(row for row in facts["listeners"] if row["port"] == number)
    assert (listener["protocol"], listener["address"], listener["pid"]) == ("tcp", "0.0.0.0", os.getpid())


def test_a_process_holds_the_port():
    with socket.create_server(("0.0.0.0", 0)) as listener:
        number = listener.getsockname()[1]
        error = f"Error starting userland proxy: listen tcp4 0.0.0.0:{number}: bind: address already in use"
        facts = collected(container("api", "created", [(8000, "0.0.0.0", number)], error=error))
    (row,) = facts["conflicts"]
    assert (row["host_port"], row["wanted_by"], row["held_by_pid"]) == (number, "shop/api", os.getpid())
    assert row["held_by"]
    assert facts["status"] == "critical"


def test_another_container_holds_the_port():
    number = free_port()
    wants = container("api", "created", [(8000, "0.0.0.0", number)])
    holds = container("legacy", "running", [(80, "127.0.0.1", number)], pid=os.getpid())
    assert [(row["wanted_by"], row["held_by"]) for row in collected(wants, holds)["conflicts"]] == [("shop/api", "shop/legacy")]


def test_no_conflict_where_nobody_waits():
    number = free_port()
    holds = container("legacy", "running", [(80, "0.0.0.0", number)])
    stopped = container("api", "exited", [(8000, "0.0.0.0", number)])
    other_address = container("web", "created", [(8000, "127.0.0.2", number)])
    assert collected(holds, stopped)["conflicts"] == []
    assert collected(container("legacy", "running", [(80, "127.0.0.1", number)]), other_address)["conflicts"] == []
    assert collected(container("api", "created", [(8000, "0.0.0.0", number)]))["conflicts"] == []


def test_the_holder_may_be_gone():
    number = free_port()
    error = f"Bind for 0.0.0.0:{number} failed: port is already allocated"
    (row,) = collected(container("api", "created", [(8000, "0.0.0.0", number)], error=error))["conflicts"]
    assert (row["held_by"], row["held_by_pid"]) == ("nobody any more", None)


def test_containers_that_do_not_run_have_no_listening_facts():
    (row,) = collected(container("api", "exited", [(8000, "0.0.0.0", 8000)]))["published"]
    assert (row["listening_on_host"], row["listening_in_container"]) == (None, None)
