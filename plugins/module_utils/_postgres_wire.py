# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""One PostgreSQL login over a given socket, to learn what the server says to it.

psycopg2 gives no SQLSTATE for a login that fails, translates its messages, waits at least two seconds, and cannot use
a socket that was opened elsewhere, such as in a container's network namespace. The login part of the protocol (version
3, unchanged since 2003) is small enough to speak: start-up, TLS, and the password methods clear text, MD5 and SCRAM.
"""

from __future__ import annotations

import base64
import dataclasses
import errno
import hashlib
import hmac
import secrets
import socket
import ssl
import stringprep
import struct
import time
import typing as t
import unicodedata

from ._database_url import DEFAULT_PORT

APPLICATION_NAME = "stackops.runbook"

_PROTOCOL_3 = 196608
_SSL_REQUEST = 80877103
_MESSAGE_LIMIT = 65536
_ITERATION_LIMIT = 2_000_000

# What the server's word means for an operator; the words are those of the facts schema.
_FAILURES = {
    "28P01": "auth-failed",
    "28000": "auth-failed",
    "3D000": "database-missing",
    "42501": "permission-denied",
    "53300": "too-many-connections",
    "57P01": "starting-up",
    "57P02": "starting-up",
    "57P03": "starting-up",
}


def failure_of(sqlstate: t.Optional[str]) -> str:
    """Return the facts schema's word for a login refused with *sqlstate*."""
    return _FAILURES.get(sqlstate or "", "protocol-error")


@dataclasses.dataclass(frozen=True)
class LoginAttempt:
    """How a login went: accepted, or a *failure* of the facts schema with what the server or the system said."""

    accepted: bool
    failure: t.Optional[str] = None
    message: str = ""
    sqlstate: t.Optional[str] = None
    server_version: t.Optional[str] = None


@dataclasses.dataclass(frozen=True)
class Credentials:
    """Who logs in to what. The password is not in ``repr``."""

    user: str
    password: t.Optional[str] = dataclasses.field(default=None, repr=False)
    database: t.Optional[str] = None


class _Refused(Exception):
    """The login is over: what to report about it."""

    def __init__(self, failure: str, message: str, sqlstate: t.Optional[str] = None) -> None:
        super().__init__(message)
        self.attempt = LoginAttempt(False, failure, message, sqlstate)


def open_socket(host: str, port: int, timeout_seconds: float) -> socket.socket:
    """Return a connected TCP socket, or one to ``<host>/.s.PGSQL.<port>`` where *host* is a directory."""
    if host.startswith("/"):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout_seconds)
        try:
            connection.connect(f"{host}/.s.PGSQL.{port}")
        except OSError:
            connection.close()
            raise
        return connection
    return socket.create_connection((host, port or DEFAULT_PORT), timeout_seconds)


def try_login(
    connect: t.Callable[[], socket.socket], credentials: Credentials, timeout_seconds: float, ssl_mode: str = "prefer", ssl_root_cert: str = ""
) -> LoginAttempt:
    """Log in through the socket that *connect* opens, log out at once, and return how it went. Raises nothing.

    *ssl_mode* is libpq's. ``verify-ca`` and ``verify-full`` verify only where *ssl_root_cert* names a readable file.
    """
    deadline = time.monotonic() + timeout_seconds
    try:
        connection = connect()
    except Exception as error:  # pylint: disable=broad-except  # the caller's function may raise its own kinds
        return _connect_failure(error)
    conversation = _Conversation(connection, deadline)
    try:
        conversation.start_tls(ssl_mode, ssl_root_cert)
        return conversation.log_in(credentials)
    except _Refused as refused:
        return refused.attempt
    except socket.timeout:
        return LoginAttempt(False, "timeout", f"the server accepted the connection but did not answer within {timeout_seconds:g} s")
    except ssl.SSLError as error:
        return LoginAttempt(False, "tls-error", f"TLS: {error.reason or error}")
    except (OSError, ValueError, LookupError, struct.error) as error:
        return LoginAttempt(False, "protocol-error", f"what answered does not speak PostgreSQL: {error}")
    finally:
        conversation.close()


def _connect_failure(error: Exception) -> LoginAttempt:
    code = getattr(error, "code", "")
    if code:
        # A CheckError of the caller's: its code is already one of the schema's words.
        return LoginAttempt(False, str(code), str(error))
    if isinstance(error, socket.gaierror):
        return LoginAttempt(False, "name-not-resolved", str(error.strerror or error))
    said = getattr(error, "strerror", None) or str(error)
    if isinstance(error, (socket.timeout, TimeoutError)):
        return LoginAttempt(False, "timeout", "the connection was not answered in time")
    if getattr(error, "errno", None) in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return LoginAttempt(False, "timeout", said)
    if isinstance(error, (ConnectionError, FileNotFoundError)):
        return LoginAttempt(False, "refused", said)
    return LoginAttempt(False, "permission-denied" if isinstance(error, PermissionError) else "protocol-error", said)


class _Conversation:
    """The server's side of one login, message by message, within one deadline."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._socket = connection
        self._deadline = deadline
        self._version: t.Optional[str] = None

    def close(self) -> None:
        try:
            self._socket.close()
        except OSError:
            # The peer was faster; there is nothing left to close.
            pass

    def start_tls(self, ssl_mode: str, ssl_root_cert: str) -> None:
        if ssl_mode in ("disable", "allow") or self._socket.family == socket.AF_UNIX:
            return
        self._send(struct.pack("!II", 8, _SSL_REQUEST))
        answer = self._receive(1)
        if answer == b"S":
            self._set_timeout()
            self._socket = _tls_context(ssl_mode, ssl_root_cert).wrap_socket(self._socket)
        elif answer == b"E":
            raise self._read_error(self._receive(struct.unpack("!I", self._receive(4))[0] - 4))
        elif answer != b"N":
            raise ValueError(f"it answered {answer!r}")
        elif ssl_mode != "prefer":
            raise _Refused("tls-error", "the server does not support TLS, but sslmode requires it")

    def log_in(self, credentials: Credentials) -> LoginAttempt:
        parameters = {
            "user": credentials.user,
            "database": credentials.database or credentials.user,
            "application_name": APPLICATION_NAME,
            "client_encoding": "UTF8",
        }
        body = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items()) + b"\0"
        self._send(struct.pack("!II", len(body) + 8, _PROTOCOL_3) + body)
        scram: t.Optional[_Scram] = None
        while True:
            kind, payload = self._message()
            if kind == b"E":
                raise self._read_error(payload)
            if kind == b"Z":
                self._send(b"X\0\0\0\4")
                return LoginAttempt(True, server_version=self._version)
            if kind == b"S":
                self._note_parameter(payload)
            elif kind == b"R":
                scram = self._authenticate(payload, credentials, scram)

    def _authenticate(self, payload: bytes, credentials: Credentials, scram: t.Optional[_Scram]) -> t.Optional[_Scram]:
        method, data = struct.unpack("!I", payload[:4])[0], payload[4:]
        if method == 0:
            return None
        if method == 11 and scram is not None:
            self._send_message(b"p", scram.final(data))
            return scram
        if method == 12 and scram is not None:
            scram.verify(data)
            return scram
        if method not in (3, 5, 10):
            raise _Refused("not-tried", "the server asks for a login method that is not tried here (GSSAPI, SSPI or another)")
        if not credentials.password:
            raise _Refused("auth-failed", f'the server asks for a password for user "{credentials.user}", and none is given')
        if method == 3:
            self._send_message(b"p", credentials.password.encode() + b"\0")
        elif method == 5:
            self._send_message(b"p", _md5_answer(credentials.user, credentials.password, data))
        elif b"SCRAM-SHA-256" in data.split(b"\0"):
            scram = _Scram(credentials.password)
            first = scram.first()
            self._send_message(b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(first)) + first)
            return scram
        else:
            raise _Refused("not-tried", "the server offers no password method that is known here")
        return None

    def _note_parameter(self, payload: bytes) -> None:
        name, value = payload.split(b"\0")[:2]
        if name == b"server_version":
            self._version = value.decode("utf-8", "replace")

    @staticmethod
    def _read_error(payload: bytes) -> _Refused:
        fields = {part[:1]: part[1:].decode("utf-8", "replace") for part in payload.split(b"\0") if part}
        sqlstate = fields.get(b"C")
        return _Refused(failure_of(sqlstate), fields.get(b"M", "the server gave no reason"), sqlstate)

    def _message(self) -> tuple[bytes, bytes]:
        header = self._receive(5)
        length = struct.unpack("!I", header[1:])[0] - 4
        if not 0 <= length <= _MESSAGE_LIMIT:
            raise ValueError("a message of impossible length")
        return header[:1], self._receive(length)

    def _send_message(self, kind: bytes, payload: bytes) -> None:
        self._send(kind + struct.pack("!I", len(payload) + 4) + payload)

    def _send(self, data: bytes) -> None:
        self._set_timeout()
        self._socket.sendall(data)

    def _receive(self, length: int) -> bytes:
        if length > _MESSAGE_LIMIT:
            raise ValueError("a message of impossible length")
        received = b""
        while len(received) < length:
            self._set_timeout()
            part = self._socket.recv(length - len(received))
            if not part:
                raise ConnectionError("the connection was closed")
            received += part
        return received

    def _set_timeout(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout()
        self._socket.settimeout(left)


def _tls_context(ssl_mode: str, ssl_root_cert: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if ssl_root_cert and ssl_mode in ("verify-ca", "verify-full"):
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(ssl_root_cert)
    return context


def _md5_answer(user: str, password: str, salt: bytes) -> bytes:
    # The protocol's own method: what it is worth is the server's choice, not ours.
    inner = hashlib.md5((password + user).encode(), usedforsecurity=False).hexdigest()
    return b"md5" + hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest().encode() + b"\0"


class _Scram:
    """SCRAM-SHA-256 (RFC 5802, RFC 7677) without channel binding, as one conversation."""

    def __init__(self, password: str) -> None:
        self._password = prepared(password)
        self._nonce = secrets.token_urlsafe(18)
        self._first_bare = f"n=,r={self._nonce}"
        self._server_signature = b""

    def first(self) -> bytes:
        return f"n,,{self._first_bare}".encode()

    def final(self, server_first: bytes) -> bytes:
        text = server_first.decode("ascii")
        fields = dict(part.split("=", 1) for part in text.split(","))
        iterations = int(fields["i"])
        if not fields["r"].startswith(self._nonce) or not 0 < iterations <= _ITERATION_LIMIT:
            raise ValueError("a SCRAM answer that does not fit")
        salted = hashlib.pbkdf2_hmac("sha256", self._password, base64.b64decode(fields["s"]), iterations)
        without_proof = f"c=biws,r={fields['r']}"
        signed = f"{self._first_bare},{text},{without_proof}".encode()
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
        self._server_signature = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
        proof = bytes(one ^ other for one, other in zip(client_key, signature))
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, server_final: bytes) -> None:
        if not hmac.compare_digest(server_final, b"v=" + base64.b64encode(self._server_signature)):
            raise _Refused("auth-failed", "the server could not prove that it knows the password")


def prepared(password: str) -> bytes:
    """Return *password* as SASLprep (RFC 4013) has it, or unchanged where that forbids a character, as libpq does."""
    if password.isascii():
        return password.encode()
    mapped = "".join(" " if stringprep.in_table_c12(char) else char for char in password if not stringprep.in_table_b1(char))
    text = unicodedata.normalize("NFKC", mapped)
    forbidden = (stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4, stringprep.in_table_c5,
                 stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8, stringprep.in_table_c9, stringprep.in_table_a1)  # fmt: skip
    if not text or any(table(char) for char in text for table in forbidden):
        return password.encode()
    return text.encode()
