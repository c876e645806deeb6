# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The DNS client against small real servers on this machine, and its parsers against anything."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import pathlib
import socket
import struct
import threading
import time

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _netns as netns
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from hypothesis import given
from hypothesis import strategies as st

A, CNAME, AAAA = 1, 5, 28

# As Docker 20.10 writes them.
DOCKER_HOSTS = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
172.18.0.3\t66c59715ad54
"""
DOCKER_RESOLV = "search corp.example\nnameserver 127.0.0.11\noptions edns0 trust-ad ndots:0\n"


def record(name, kind, data, klass=1):
    return name + struct.pack("!HHIH", kind, klass, 60, len(data)) + data


def respond(query, rcode=0, answers=(), flags=0x8180, identifier=None):
    """A response to *query*; answers are (kind, data) owned by the name that was asked for."""
    asked = struct.unpack_from("!H", query)[0] if identifier is None else identifier
    body = b"".join(record(b"\xc0\x0c", kind, data) for kind, data in answers)
    return struct.pack("!HHHHHH", asked, flags | rcode, 1, len(answers), 0, 0) + query[12:] + body


def question(query):
    """Name and type of a query."""
    labels, offset = [], 12
    while query[offset]:
        labels.append(query[offset + 1 : offset + 1 + query[offset]].decode())
        offset += 1 + query[offset]
    return ".".join(labels), struct.unpack_from("!H", query, offset + 1)[0]


@contextlib.contextmanager
def dns_server(answer, answer_tcp=None, address="127.0.0.1"):
    """A UDP server at *address*; *answer* gets a query and returns the datagrams to send back."""
    channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    channel.bind((address, 0))
    port = channel.getsockname()[1]
    asked = []

    def serve():
        while True:
            try:
                query, peer = channel.recvfrom(512)
            except OSError:
                return
            asked.append(question(query))
            for datagram in answer(query):
                channel.sendto(datagram, peer)

    def serve_tcp(listener):
        with contextlib.suppress(OSError):
            while True:
                with listener.accept()[0] as connection:
                    (length,) = struct.unpack("!H", connection.recv(2))
                    message = answer_tcp(connection.recv(length))
                    connection.sendall(struct.pack("!H", len(message)) + message)

    threading.Thread(target=serve, daemon=True).start()
    listener = None
    if answer_tcp:
        listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=serve_tcp, args=(listener,), daemon=True).start()
    try:
        yield port, asked
    finally:
        channel.close()
        if listener:
            listener.close()


def zone(**names):
    def answer(query):
        name, kind = question(query)
        found = names.get(name.replace(".", "_"))
        if found is None:
            return [respond(query, rcode=3)]
        packed = [ipaddress.ip_address(address).packed for address in found]
        return [respond(query, answers=[(kind, data) for data in packed if len(data) == (4 if kind == A else 16)])]

    return answer


def resolver(port, hosts=None, **conf):
    return netns.Resolver(hosts or {}, netns.ResolvConf(**{"nameservers": ("127.0.0.1",), "ndots": 0, **conf}), port=port)


def code_of(function):
    with pytest.raises(CheckError) as caught:
        function()
    return caught.value.code


def test_addresses_of_both_families():
    with dns_server(zone(db=["172.18.0.2", "fd00::2"])) as (port, asked):
        assert resolver(port).resolve("db", 2) == ["172.18.0.2", "fd00::2"]
        assert sorted(asked) == [("db", A), ("db", AAAA)]


def test_no_such_name_names_the_server_and_the_next_step():
    with dns_server(zone()) as (port, dummy), pytest.raises(CheckError) as caught:
        resolver(port).resolve("db", 2)
    assert caught.value.code == "name-not-resolved"
    assert "NXDOMAIN" in caught.value.reason
    assert "alias is named db" in caught.value.hint


def test_a_name_without_addresses_is_not_resolved():
    with dns_server(zone(db=[])) as (port, dummy):
        assert code_of(lambda: resolver(port).resolve("db", 2)) == "name-not-resolved"


def test_search_domains_are_tried_in_order():
    with dns_server(zone(db_two_example=["10.0.0.1"])) as (port, asked):
        assert resolver(port, search=("one.example", "two.example"), ndots=1).resolve("db", 2) == ["10.0.0.1"]
        assert [name for name, kind in asked if kind == A] == ["db.one.example", "db.two.example"]
        asked.clear()
        assert code_of(lambda: resolver(port, search=("one.example",), ndots=1).resolve("db.", 2)) == "name-not-resolved"
        assert {name for name, dummy in asked} == {"db"}


def test_servfail_moves_to_the_next_candidate_and_is_told():
    with dns_server(lambda query: [respond(query, rcode=2)]) as (port, dummy), pytest.raises(CheckError) as caught:
        resolver(port).resolve("db", 2)
    assert caught.value.code == "name-not-resolved"
    assert "SERVFAIL" in caught.value.reason


def test_a_silent_server_is_a_timeout_in_time():
    with dns_server(lambda query: []) as (port, dummy):
        begin = time.monotonic()
        assert code_of(lambda: resolver(port).resolve("db", 0.4)) == "dns-timeout"
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize(("known", "code"), [(True, None), (False, "name-not-resolved")])
def test_dockers_server_that_was_only_late_is_asked_again(known, code):
    alive = []

    def answer(query):
        name, dummy = question(query)
        if name.endswith("in-addr.arpa"):
            alive.append(name)
            return [respond(query, answers=[(12, b"\x03own\x00")])]
        return zone(db=["10.0.0.1"])(query) if alive and known else []

    with dns_server(answer, address="127.0.0.11") as (port, dummy):
        late = netns.Resolver({"own": ["10.0.0.9"]}, netns.ResolvConf(nameservers=("127.0.0.11",), ndots=0), "own", port)
        if known:
            assert late.resolve("db", 0.4) == ["10.0.0.1"]
        else:
            assert code_of(lambda: late.resolve("db", 0.4)) == code


def test_an_answer_for_one_family_only_says_nothing_of_the_other():
    with dns_server(lambda query: [respond(query)] if question(query)[1] == AAAA else []) as (port, dummy):
        assert code_of(lambda: resolver(port).resolve("db", 0.4)) == "dns-timeout"


def test_no_server_listens_at_all():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.bind(("127.0.0.1", 0))
        port = channel.getsockname()[1]
    assert code_of(lambda: resolver(port).resolve("db", 0.5)) == "dns-timeout"


def test_a_dead_server_leaves_time_for_the_living():
    with dns_server(zone(db=["10.0.0.1"])) as (port, dummy):
        # 127.0.0.2 has nobody at that port: refused; 192.0.2.1 (TEST-NET) drops.
        assert resolver(port, nameservers=("127.0.0.2", "127.0.0.1")).resolve("db", 2) == ["10.0.0.1"]


def test_one_family_unanswered_costs_half_a_second_at_most():
    with dns_server(lambda query: [respond(query, answers=[(A, bytes([10, 0, 0, 1]))])] if question(query)[1] == A else []) as (port, dummy):
        begin = time.monotonic()
        assert resolver(port).resolve("db", 5) == ["10.0.0.1"]
    assert time.monotonic() - begin < 4


def test_forged_answers_are_not_taken():
    def answer(query):
        asked = struct.unpack_from("!H", query)[0]
        evil = [(A, bytes([6, 6, 6, 6]))]
        other = netns.build_query(asked, "other", question(query)[1])
        return [
            b"garbage",
            respond(query, answers=evil, identifier=asked ^ 1),
            respond(query, answers=evil, flags=0x0100),
            respond(other, answers=evil),
            *zone(db=["10.0.0.1"])(query),
        ]

    with dns_server(answer) as (port, dummy):
        assert resolver(port).resolve("db", 2) == ["10.0.0.1"]


def test_truncated_answers_are_asked_for_again_over_tcp():
    def cut(query):
        return [respond(query, flags=0x8380)]

    with dns_server(cut, lambda query: zone(db=["10.0.0.1", "10.0.0.2"])(query)[0]) as (port, dummy):
        assert resolver(port).resolve("db", 2) == ["10.0.0.1", "10.0.0.2"]


def test_truncated_without_tcp_keeps_what_came():
    def cut(query):
        kind = question(query)[1]
        return [respond(query, flags=0x8380, answers=[(A, bytes([10, 0, 0, 9]))] if kind == A else [])]

    with dns_server(cut) as (port, dummy):
        assert resolver(port).resolve("db", 1) == ["10.0.0.9"]


def test_chains_of_canonical_names():
    def answer(query):
        name, kind = question(query)
        chain = [record(b"\xc0\x0c", CNAME, b"\x04real\x00"), record(b"\x04real\x00", kind, bytes([10, 0, 0, 7]))] if kind == A else []
        stranger = [record(b"\x05other\x00", kind, bytes([6, 6, 6, 6]))] if kind == A else []
        header = struct.pack("!HHHHHH", struct.unpack_from("!H", query)[0], 0x8180, 1, len(chain + stranger), 0, 0)
        return [header + query[12:] + b"".join(chain + stranger)]

    with dns_server(answer) as (port, dummy):
        assert resolver(port).resolve("db", 2) == ["10.0.0.7"]


def test_hosts_and_literals_need_no_server():
    one = netns.Resolver(netns.parse_hosts(DOCKER_HOSTS), netns.ResolvConf())
    assert one.resolve("LOCALHOST", 1) == ["127.0.0.1", "::1"]
    assert one.resolve("192.0.2.1", 1) == ["192.0.2.1"]
    assert one.resolve("[fd00::1]", 1) == ["fd00::1"]
    assert code_of(lambda: one.resolve("db", 1)) == "name-not-resolved"
    for wrong in ("a..b", "x" * 64, ".".join(["y" * 60] * 5), ""):
        assert code_of(lambda name=wrong: one.resolve(name, 1)) == "name-not-resolved"


def test_resolv_conf_as_docker_and_glibc_have_it():
    assert netns.parse_resolv_conf(DOCKER_RESOLV) == netns.ResolvConf(("127.0.0.11",), ("corp.example",), 0)
    many = "nameserver 1.1.1.1\n" * 5 + "search a\nsearch b c\noptions timeout:99 attempts:0 ndots:77 ndots:x\n# nameserver 9.9.9.9\nnameserver\n"
    assert netns.parse_resolv_conf(many) == netns.ResolvConf(("1.1.1.1",) * 3, ("b", "c"), 15, 30.0, 1)
    assert netns.parse_resolv_conf("") == netns.ResolvConf()


@given(st.text(max_size=300))
def test_files_never_raise(text):
    netns.parse_hosts(text)
    conf = netns.parse_resolv_conf(text)
    assert len(conf.nameservers) <= 3
    assert 0 <= conf.ndots <= 15


labels = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=63)
names = st.lists(labels, min_size=1, max_size=3).map(".".join)


@given(st.integers(0, 0xFFFF), names, st.lists(st.ip_addresses(v=4), max_size=5))
def test_what_is_asked_is_what_is_answered(identifier, name, addresses):
    query = netns.build_query(identifier, name, A)
    assert question(query) == (name, A)
    answer = netns.parse_response(respond(query, answers=[(A, address.packed) for address in addresses]), identifier, name.upper(), A)
    assert answer is not None
    assert list(answer.addresses) == list(dict.fromkeys(map(str, addresses)))
    assert netns.parse_response(respond(query), identifier ^ 1, name, A) is None
    assert netns.parse_response(respond(query), identifier, name, AAAA) is None
    assert netns.parse_response(respond(query), identifier, name + "x"[: 63 - len(name.split(".")[-1])] + ".y", A) is None


@given(st.binary(max_size=200), st.integers(0, 200), st.integers(0, 200))
def test_mangled_responses_never_raise(noise, at, cut):
    good = respond(netns.build_query(7, "db.example", A), answers=[(A, b"\x0a\0\0\1"), (CNAME, b"\xc0\x0c"), (A, b"\x0a\0\0\2")])
    netns.parse_response(good[:at] + noise + good[at + len(noise) :], 7, "db.example", A)
    netns.parse_response(good[:cut], 7, "db.example", A)
    netns.parse_response(noise, 7, "db.example", A)


def test_pointers_that_loop_end():
    query = netns.build_query(7, "db", A)
    message = struct.pack("!HHHHHH", 7, 0x8180, 1, 1, 0, 0) + query[12:] + struct.pack("!BB", 0xC0, len(query)) + b"\0" * 10
    assert netns.parse_response(message, 7, "db", A) is None


@given(names, st.integers(0, 3), st.lists(names, max_size=3))
def test_candidates_hold_the_name_itself_once(name, ndots, search):
    found = netns.candidates(name, netns.ResolvConf(search=tuple(search), ndots=ndots))
    assert found.count(name) >= 1
    assert len(found) == len(search) + 1


# -- namespaces: this process is a container of its own --------------------------------------------------------------


def test_files_below_a_process_root():
    hosts = pathlib.Path("/etc/hosts").read_bytes()
    assert netns.read_in_root(os.getpid(), "/etc/hosts") == hosts
    assert netns.read_in_root(os.getpid(), "/etc/../../etc/./hosts", 3) == hosts[:3]
    assert netns.read_in_root(os.getpid(), "/etc") is None
    assert netns.read_in_root(os.getpid(), "/nonexistent/file") is None
    assert netns.read_in_root(os.getpid(), "/dev/null") is None


def test_links_stay_below_the_root(tmp_path):
    (tmp_path / "real").write_text("here")
    (tmp_path / "absolute").symlink_to(tmp_path / "real")
    (tmp_path / "relative").symlink_to("real")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "through").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    read = {name: netns.read_in_root(os.getpid(), str(tmp_path / name)) for name in ("absolute", "relative", "loop", "through/real", "fifo", "real/x")}
    assert read == {"absolute": b"here", "relative": b"here", "loop": None, "through/real": b"here", "fifo": None, "real/x": None}


def test_a_process_that_has_ended():
    assert code_of(lambda: netns.in_network_namespace(2**22 + 5, lambda: 1, 1)) == "not-running"
    assert code_of(lambda: netns.resolve_in_container(2**22 + 5, "db", 1)) == "not-running"
