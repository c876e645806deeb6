# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logins against whatever may answer on a port. Logins to real servers are in tests/live."""

from __future__ import annotations

import contextlib
import socket
import struct
import time

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._postgres_wire import Credentials, open_socket, prepared, try_login
from hypothesis import given, settings
from hypothesis import strategies as st

ME = Credentials("app", "Canary-9d2f", "shop")


def tcp_pair():
    """Return two connected sockets; over TCP, because TLS is never asked for over a Unix socket."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        ours = socket.create_connection(listener.getsockname())
        return ours, listener.accept()[0]


def answered(data, ssl_mode="disable", timeout_seconds=2.0, close=True):
    """Log in to a peer that says *data* and, with *close*, hangs up."""
    ours, peer = tcp_pair()
    with peer:
        peer.sendall(data)
        if close:
            peer.shutdown(socket.SHUT_WR)
        return try_login(lambda: ours, ME, timeout_seconds, ssl_mode)


def message(kind, payload):
    return kind + struct.pack("!I", len(payload) + 4) + payload


def error(sqlstate, text):
    return message(b"E", f"SFATAL\0VFATAL\0C{sqlstate}\0M{text}\0\0".encode())


ACCEPTED = message(b"R", struct.pack("!I", 0)) + message(b"S", b"server_version\x0017.2\0") + message(b"K", b"12345678") + message(b"Z", b"I")


def test_trusted():
    attempt = answered(ACCEPTED)
    assert attempt.accepted
    assert attempt.server_version == "17.2"
    assert attempt.failure is None


@pytest.mark.parametrize(
    "sqlstate, failure",
    [
        ("28P01", "auth-failed"),
        ("28000", "auth-failed"),
        ("3D000", "database-missing"),
        ("53300", "too-many-connections"),
        ("57P03", "starting-up"),
        ("42501", "permission-denied"),
        ("XX000", "protocol-error"),
    ],
)
def test_the_servers_word_decides_whatever_its_language(sqlstate, failure):
    attempt = answered(error(sqlstate, "Passwort-Authentifizierung für Benutzer »app« fehlgeschlagen"))
    assert (attempt.accepted, attempt.failure, attempt.sqlstate) == (False, failure, sqlstate)
    assert "Benutzer" in attempt.message


def test_no_password_at_hand():
    ours, peer = socket.socketpair()
    with peer:
        peer.sendall(message(b"R", struct.pack("!I", 10) + b"SCRAM-SHA-256\0\0"))
        attempt = try_login(lambda: ours, Credentials("app"), 2.0, "disable")
    assert (attempt.failure, attempt.sqlstate) == ("auth-failed", None)


def test_methods_that_are_not_tried():
    assert answered(message(b"R", struct.pack("!I", 7))).failure == "not-tried"
    assert answered(message(b"R", struct.pack("!I", 10) + b"OAUTHBEARER\0\0")).failure == "not-tried"


def test_tls_that_is_required_and_not_offered():
    assert answered(b"N", "require").failure == "tls-error"


def test_tls_that_is_preferred_and_not_offered():
    assert answered(b"N" + ACCEPTED, "prefer").accepted


def test_a_server_that_says_nothing():
    begin = time.monotonic()
    attempt = answered(b"", timeout_seconds=0.2, close=False)
    assert attempt.failure == "timeout"
    assert time.monotonic() - begin < 10


def test_a_server_that_drips():
    """A byte now and then does not prolong the deadline."""
    attempt = answered(message(b"N", b"x" * 10)[:7], timeout_seconds=0.2, close=False)
    assert attempt.failure == "timeout"


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"", b"\0" * 50, message(b"R", b"")])
def test_something_else_answers(said):
    assert answered(said).failure == "protocol-error"


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["disable", "require"]))
def test_no_bytes_make_it_fail(said, ssl_mode):
    attempt = answered(said, ssl_mode)
    assert attempt.accepted == (attempt.failure is None)
    assert ME.password not in repr(attempt)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([b"R", b"E", b"S", b"Z", b"N", b"v"]), st.binary(max_size=40)), max_size=6))
def test_no_messages_make_it_fail(messages):
    attempt = answered(b"".join(message(kind, payload) for kind, payload in messages))
    assert attempt.accepted == (attempt.failure is None)


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
def test_no_scram_answer_makes_it_fail(said):
    offered = message(b"R", struct.pack("!I", 10) + b"SCRAM-SHA-256\0\0")
    assert not answered(offered + message(b"R", struct.pack("!I", 11) + said.encode())).accepted


@pytest.mark.parametrize(
    "raised, failure",
    [
        (ConnectionRefusedError(111, "Connection refused"), "refused"),
        (FileNotFoundError(2, "No such file or directory"), "refused"),
        (socket.timeout("timed out"), "timeout"),
        (OSError(113, "No route to host"), "timeout"),
        (socket.gaierror(-2, "Name or service not known"), "name-not-resolved"),
        (CheckError("x", "unknown", "", "name-not-resolved"), "name-not-resolved"),
        (PermissionError(13, "Permission denied"), "permission-denied"),
    ],
)
def test_connections_that_fail(raised, failure):
    def connect():
        raise raised

    attempt = try_login(connect, ME, 1.0)
    assert attempt.failure == failure
    assert "[Errno" not in attempt.message


def test_a_port_where_nothing_listens():
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert try_login(lambda: open_socket("127.0.0.1", port, 1), ME, 1.0).failure == "refused"


def test_a_socket_that_is_not_there(tmp_path):
    assert try_login(lambda: open_socket(str(tmp_path), 5432, 1), ME, 1.0).failure == "refused"


@pytest.mark.parametrize(
    "password, bytes_sent",
    [
        ("plain", b"plain"),
        ("I\u00adX", b"IX"),
        ("\u00aa", b"a"),
        ("\u2168", b"IX"),
        ("a\u00a0b", b"a b"),
        ("\u0007x\u00fc", "\u0007x\u00fc".encode()),
    ],
)
def test_passwords_are_prepared_as_libpq_does(password, bytes_sent):
    """The first five are RFC 4013's own examples or close to them; a forbidden character leaves the password as it is."""
    assert prepared(password) == bytes_sent
