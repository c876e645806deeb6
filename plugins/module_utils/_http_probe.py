# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""HTTP endpoints: do they answer, as expected, and how long does each step take.

Times are those of ``curl -w``: all count from the start of the attempt, redirects included. Sockets are opened here and
not by :mod:`http.client`, so that each step can be timed, bounded, and made inside a container's network namespace.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import errno
import http.client
import io
import ipaddress
import json
import re
import socket
import ssl
import threading
import time
import typing as t
import urllib.parse
import warnings

from ._discovery import ContainerRef, Selection, Stack, discover
from ._engine import Engine, EngineOptions
from ._envelope import CheckError, Thresholds, envelope, metric, rfc3339, utc_now, worst
from ._netns import Resolver, in_network_namespace
from ._process import run_side_by_side

BODY_LIMIT_BYTES = 1024 * 1024
EXCERPT_CHARACTERS = 500
_CONCURRENT_PROBES = 16
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TLS_PORTS = frozenset({443, 8443, 9443})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SENSITIVE = re.compile(r"(?i)auth|cookie|token|secret|passw|api[-_]?key|access[-_]?key|signature|\bsig\b|session|credential")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_URL_IN_COMMAND = re.compile(r"https?://[^\s'\"\\)|;<>`]+")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?-([^}]*))?\}|(\w+))")


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """One URL and what is expected of it."""

    name: str
    url: str
    method: str = "GET"
    headers: t.Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    body: t.Optional[bytes] = dataclasses.field(default=None, repr=False)
    #: Without any, every status from 200 to 399 is as expected.
    expected_status: tuple[int, ...] = ()
    #: The highest status that is as expected where ``expected_status`` is empty.
    highest_status: int = 399
    expected_json: tuple[str, ...] = ()
    expected_text: t.Optional[str] = None
    follow_redirects: bool = True
    max_redirects: int = 5
    same_origin_only: bool = False
    timeout_seconds: float = 10.0
    validate_certs: bool = True
    ca_path: t.Optional[str] = None
    retries: int = 0
    retry_delay_seconds: float = 1.0
    warning_ms: t.Optional[float] = 1000.0
    critical_ms: t.Optional[float] = 3000.0
    certificate_warning_days: float = 21.0
    certificate_critical_days: float = 7.0
    via: str = "host"
    #: Where to connect for the URL's own host, instead of resolving it.
    address: t.Optional[str] = None
    netns_pid: t.Optional[int] = None
    project: t.Optional[str] = None
    service: t.Optional[str] = None
    origin: str = "declared"
    #: A guess: an answer that there is no such page is not a finding, and leaves no row.
    optional: bool = False
    #: Only its image says that it listens there, and an image serves for more than one thing (a worker of the same code):
    #: where nothing listens, nothing was meant to.
    exposed_only: bool = False
    #: Probed instead where an optional endpoint is not there.
    fallback: t.Optional[Endpoint] = None
    #: Why it cannot be probed at all: its container does not run.
    not_running: t.Optional[str] = None
    #: What kind of token it is asked with, ``valid``, ``invalid``, ``expired`` or ``missing``; ``None`` where tokens are not the point.
    token_kind: t.Optional[str] = None
    #: The header that carries the token, whose value is never shown.
    token_header: str = "Authorization"
    #: Whether to try what versions of TLS nobody should speak any more.
    try_old_tls: bool = False

    @classmethod
    def from_options(cls, options: t.Mapping[str, t.Any], **defaults: t.Any) -> Endpoint:
        """Return the endpoint that *options* (as a user declares them) describe; *defaults* fill what they leave out.

        :raises ValueError: an unknown or wrong option; the text names it.
        """
        given = {key: value for key, value in options.items() if value is not None}
        known = {
            "name", "url", "method", "headers", "body", "json", "expected_status", "expected_json", "expected_text", "follow_redirects", "max_redirects",
            "timeout_seconds", "validate_certs", "ca_path", "retries", "retry_delay_seconds", "warning_ms", "critical_ms", "certificate_warning_days",
            "certificate_critical_days", "project", "service", "token_kind", "token_header",
        }  # fmt: skip
        unknown = sorted(set(given) - known)
        if unknown:
            raise ValueError(f"unknown option {unknown[0]!r} of endpoint {given.get('name') or display_url(str(given.get('url', '')))}")
        values: dict[str, t.Any] = {**defaults, **given}
        url = check_url(str(values.get("url", "")))
        values["url"] = url
        values["name"] = str(values.get("name") or display_url(url))
        values["method"] = str(values.get("method", "GET")).upper()
        if values["method"] not in _METHODS:
            raise ValueError(f"method of {values['name']} must be one of {', '.join(sorted(_METHODS))}, not {values['method']!r}")
        headers = {str(key): str(value) for key, value in dict(values.pop("headers", {}) or {}).items()}
        values["body"] = _request_body(values.pop("body", None), values.pop("json", None), headers)
        values["headers"] = headers
        statuses = values.get("expected_status", ())
        values["expected_status"] = tuple(int(status) for status in (statuses if isinstance(statuses, (list, tuple)) else [statuses]))
        expected_json = values.get("expected_json", ())
        values["expected_json"] = tuple([expected_json] if isinstance(expected_json, str) else expected_json)
        for condition in values["expected_json"]:
            JsonCondition.parse(condition)
        for key in ("timeout_seconds", "retry_delay_seconds", "warning_ms", "critical_ms", "certificate_warning_days", "certificate_critical_days"):
            if key in values:
                values[key] = None if values[key] is None and key in ("warning_ms", "critical_ms") else float(values[key])
        if values.get("timeout_seconds", 1.0) <= 0:
            raise ValueError(f"timeout_seconds of {values['name']} must be more than 0")
        return cls(**values)


def _request_body(text: t.Any, document: t.Any, headers: dict[str, str]) -> t.Optional[bytes]:
    if text is not None and document is not None:
        raise ValueError("body and json exclude each other")
    if document is not None:
        if not any(key.lower() == "content-type" for key in headers):
            headers["Content-Type"] = "application/json"
        return json.dumps(document).encode()
    return None if text is None else str(text).encode()


def check_url(url: str) -> str:
    """Return *url*, or raise :class:`ValueError` where it is not an HTTP URL with a host and a legal port."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{display_url(url)} is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or re.search(r"[\x00-\x20\x7f]", url):
        raise ValueError(f"url must be like http://host:port/path, not {display_url(url)!r}")
    return url


def display_url(url: str) -> str:
    """Return *url* without user, password and fragment; values of a query that look secret are masked."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return re.sub(r"//[^/@]*@", "//", url)
    query = "&".join(_mask_pair(pair) for pair in parts.query.split("&")) if parts.query else ""
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def _mask_pair(pair: str) -> str:
    key, equals, value = pair.partition("=")
    return f"{key}=***" if equals and value and _SENSITIVE.search(key) else pair


# -- tokens ------------------------------------------------------------------------------------------------------------

_REJECTED = (401, 403)
_TOKEN_WORDS = {"valid": "the valid token", "invalid": "an invalid token", "expired": "an expired token", "missing": "no token"}


def with_tokens(options: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """Return what a declared endpoint is asked with: itself, and with ``token_tests`` once with each kind of token.

    Of the others than the valid one it is expected that they are refused, and nothing else.

    :raises ValueError: there is no token to test with.
    """
    given = {key: value for key, value in options.items() if value is not None}
    token, tests = given.pop("token", None), given.pop("token_tests", None)
    prefix = str(given.pop("token_prefix", "Bearer "))
    header = str(given.get("token_header") or "Authorization")
    if token is None and tests is None:
        given.pop("token_header", None)
        return [given]
    name = str(given.get("name") or display_url(str(given.get("url", ""))))
    if not token:
        raise ValueError(f"token_tests of {name} need a token that is valid")
    if re.search(r"[\r\n]", f"{token}{header}{prefix}"):
        raise ValueError(f"the token of {name} must be one line")
    others = {key: value for key, value in dict(given.get("headers") or {}).items() if str(key).lower() != header.lower()}
    valid = {**given, "headers": {**others, header: f"{prefix}{token}"}, "token_header": header, "token_kind": "valid"}
    if tests is None:
        return [valid]
    refused = {key: value for key, value in given.items() if key not in ("expected_json", "expected_text")}
    refused.update(expected_status=list(tests.get("rejected_status") or _REJECTED), follow_redirects=False, token_header=header)
    sent = {"invalid": tests.get("invalid") or spoilt_token(str(token)), "expired": tests.get("expired"), "missing": ""}
    variants = [valid]
    for kind, value in sent.items():
        if value is not None:
            headers = {**others, header: f"{prefix}{value}"} if value else others
            variants.append({**refused, "headers": headers, "token_kind": kind})
    return [{**variant, "name": f"{name} ({_TOKEN_WORDS[variant['token_kind']]})"} for variant in variants]


def spoilt_token(token: str) -> str:
    """Return *token* with another signature: what a service takes that does not verify. What is no JWT is replaced by a word."""
    head, dot, signature = token.rpartition(".")
    if not dot or head.count(".") != 1 or len(signature) < 4:
        return "invalid_token"
    # In the middle, as the last character of base64 may hold bits that do not count.
    middle = len(signature) // 2
    return f"{head}.{signature[:middle]}{'A' if signature[middle] != 'A' else 'B'}{signature[middle + 1 :]}"


def token_expiry(token: str) -> t.Optional[datetime.datetime]:
    """Return when a JWT says that it expires; ``None`` for what is none, or does not say."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return datetime.datetime.fromtimestamp(float(claims["exp"]), datetime.timezone.utc)
    except (ValueError, KeyError, TypeError, OverflowError, OSError):
        return None


def _about_token(endpoint: Endpoint, message: str) -> str:
    """Return what was wrong with an answer, with the token that it was the answer to.

    The kind of token stands behind the status: what follows the word and a colon would be taken for a token, and redacted.
    """
    answer, comma, expected = message.partition(", ")
    words = f"{answer} with {_TOKEN_WORDS[endpoint.token_kind or 'valid']}{comma}{expected}"
    if endpoint.token_kind == "valid":
        expired = token_expiry(endpoint.headers.get(endpoint.token_header, "").rpartition(" ")[2])
        if expired is not None and expired < utc_now():
            words += f"; the token itself expired at {rfc3339(expired.replace(microsecond=0))}"
    return words


# -- expectations ------------------------------------------------------------------------------------------------------

_MISSING = object()


@dataclasses.dataclass(frozen=True)
class JsonCondition:
    """One ``path == value`` or ``path != value`` over a JSON document: ``checks.database == ok``, ``items[0].id != 3``."""

    path: tuple[t.Union[str, int], ...]
    equal: bool
    value: t.Any
    text: str

    @classmethod
    def parse(cls, text: str) -> JsonCondition:
        """Return the condition that *text* says; the value is JSON, or else a plain word.

        :raises ValueError: no operator, no path.
        """
        found = re.match(r"\s*([^=!\s]+)\s*(==|!=)\s*(.*?)\s*$", str(text), re.DOTALL)
        if not found:
            raise ValueError(f"expected_json must be like 'status == ok', not {text!r}")
        path, operator, raw = found.groups()
        try:
            value = json.loads(raw)
        except ValueError:
            value = raw[1:-1] if len(raw) > 1 and raw[0] == raw[-1] == "'" else raw
        steps: list[t.Union[str, int]] = []
        for key, index in re.findall(r"([^.\[\]]+)|\[(\d{1,9})\]", path):
            steps.append(key or int(index))
        if not steps:
            raise ValueError(f"expected_json must begin with a path, not {text!r}")
        return cls(tuple(steps), operator == "==", value, str(text).strip())

    def mismatch(self, document: t.Any) -> t.Optional[str]:
        """Return why *document* does not meet the condition, ``None`` where it does; a path that is not there does not."""
        actual = document
        for step in self.path:
            if isinstance(actual, dict) and isinstance(step, str):
                actual = actual.get(step, _MISSING)
            elif isinstance(actual, list) and isinstance(step, int) and step < len(actual):
                actual = actual[step]
            else:
                actual = _MISSING
        if actual is _MISSING:
            return f"{self.text}: the answer has no such value"
        # In Python 1 == True; in JSON they differ.
        same = actual == self.value and isinstance(actual, bool) == isinstance(self.value, bool)
        return None if same == self.equal else f"{self.text}: it is {json.dumps(actual)[:100]}"


# -- one exchange ------------------------------------------------------------------------------------------------------


class ProbeFailure(Exception):
    """An exchange that did not give an answer; *failure* is the word of the facts schema."""

    def __init__(self, failure: str, message: str) -> None:
        super().__init__(message)
        self.failure = failure
        self.message = message


@dataclasses.dataclass
class Attempt:
    """What one attempt measured; times in milliseconds from its start."""

    deadline: float
    begin: float = dataclasses.field(default_factory=time.monotonic)
    name_lookup_ms: t.Optional[float] = None
    connect_ms: t.Optional[float] = None
    tls_ms: t.Optional[float] = None
    first_byte_ms: t.Optional[float] = None
    total_ms: t.Optional[float] = None
    expires: t.Optional[datetime.datetime] = None
    tls_version: t.Optional[str] = None
    old_tls: t.Optional[list[str]] = None
    http_status: t.Optional[int] = None
    body: bytes = b""
    charset: str = "utf-8"
    redirects: int = 0

    def now_ms(self) -> float:
        """Return the milliseconds since the start."""
        return (time.monotonic() - self.begin) * 1000

    def remaining(self) -> float:
        """Return the seconds that are left, never nothing: a socket without any would not block at all."""
        return max(0.001, self.deadline - time.monotonic())


class _Channel(io.RawIOBase):
    """A connected socket as :mod:`http.client` wants it: every read is under the attempt's deadline, and timed."""

    def __init__(self, connection: socket.socket, attempt: Attempt) -> None:
        super().__init__()
        self._connection = connection
        self._attempt = attempt

    def sendall(self, data: bytes) -> None:
        """Send *data* whole."""
        self._connection.settimeout(self._attempt.remaining())
        self._connection.sendall(data)

    def makefile(self, *dummy: t.Any, **dummy_options: t.Any) -> io.BufferedReader:
        """Return the reading side."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: t.Any) -> int:
        """Read what has come, at least one byte unless the other side has ended."""
        if time.monotonic() >= self._attempt.deadline:
            raise socket.timeout("timed out")
        self._connection.settimeout(self._attempt.remaining())
        count = self._connection.recv_into(buffer)
        if self._attempt.first_byte_ms is None and count:
            self._attempt.first_byte_ms = self._attempt.now_ms()
        return count

    def close(self) -> None:
        """Keep the socket: http.client closes it as soon as it has read the headers, the prober when all is read."""


def _look_up(host: str, port: int, attempt: Attempt, endpoint: Endpoint) -> list[tuple[int, t.Any]]:
    """Return family and socket address of each address of *host*."""
    try:
        ipaddress.ip_address(host)
        literal = True
    except ValueError:
        literal = False
    if not literal and endpoint.netns_pid is not None:
        addresses = Resolver.of_container(endpoint.netns_pid).resolve(host, attempt.remaining())
        return [(socket.AF_INET6 if ":" in address else socket.AF_INET, (address, port)) for address in addresses]
    # getaddrinfo() has no time limit of its own.
    outcome = run_side_by_side({host: lambda: socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)}, attempt.remaining())[host]
    if isinstance(outcome.error, CheckError):
        raise ProbeFailure("name-not-resolved", f"no answer from the name server for {host}")
    if isinstance(outcome.error, (OSError, UnicodeError)):
        raise ProbeFailure("name-not-resolved", f"{host}: {getattr(outcome.error, 'strerror', None) or outcome.error}")
    if outcome.error is not None:
        raise outcome.error
    return [(int(entry[0]), entry[4]) for entry in outcome.value or []]


def _connect(host: str, port: int, attempt: Attempt, endpoint: Endpoint) -> socket.socket:
    """Look *host* up and connect to the first of its addresses that lets us."""
    try:
        found = _look_up(host, port, attempt, endpoint)
    except CheckError as error:
        if error.code in ("name-not-resolved", "dns-timeout"):
            raise ProbeFailure("name-not-resolved", error.reason) from None
        raise
    attempt.name_lookup_ms = attempt.now_ms()
    last: t.Optional[OSError] = None
    for number, (family, address) in enumerate(found):
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            # An address that does not answer must leave time for the next one.
            connection.settimeout(attempt.remaining() / (len(found) - number))
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connection.close()
            last = error
            continue
        attempt.connect_ms = attempt.now_ms()
        return connection
    where = f"{host}:{port}"
    if isinstance(last, ConnectionRefusedError):
        raise ProbeFailure("connection-refused", f"{where}: connection refused")
    if isinstance(last, socket.timeout) or (last is not None and last.errno == errno.ETIMEDOUT):
        raise ProbeFailure("connect-timeout", f"{where}: no connection within {endpoint.timeout_seconds:g} s")
    raise ProbeFailure("unreachable", f"{where}: {(last.strerror or str(last)) if last else 'no address'}")


def _open(host: str, port: int, attempt: Attempt, endpoint: Endpoint) -> socket.socket:
    """Connect from where the endpoint says: this host, or the network namespace of a container."""
    if endpoint.netns_pid is None:
        return _connect(host, port, attempt, endpoint)
    try:
        return in_network_namespace(endpoint.netns_pid, lambda: _connect(host, port, attempt, endpoint), attempt.remaining() + 1)
    except CheckError as error:
        if error.code != "not-permitted" or endpoint.address is None:
            raise
        # Where a bridge network is the host's own, a container's address can be reached without entering anything.
        return _connect(host, port, attempt, dataclasses.replace(endpoint, netns_pid=None))


def _tls_context(endpoint: Endpoint, verify: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=endpoint.ca_path) if verify else ssl.create_default_context()
    except (OSError, ssl.SSLError) as error:
        raise CheckError(str(endpoint.ca_path), f"not readable as CA certificates: {error}", "Check ca_path.", "tls-error") from None
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _wrap_tls(connection: socket.socket, host: str, port: int, attempt: Attempt, endpoint: Endpoint) -> socket.socket:
    """Return *connection* with TLS on it; the certificate's end is noted even where it does not verify."""
    connection.settimeout(attempt.remaining())
    try:
        wrapped = _tls_context(endpoint, endpoint.validate_certs).wrap_socket(connection, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        connection.close()
        attempt.expires = _unverified_expiry(host, port, attempt, endpoint)
        raise ProbeFailure("tls-error", f"certificate not valid: {error.verify_message}") from None
    except socket.timeout:
        connection.close()
        raise ProbeFailure("read-timeout", f"{host}:{port}: no end of the TLS handshake within {endpoint.timeout_seconds:g} s") from None
    except (ssl.SSLError, OSError, ValueError) as error:
        connection.close()
        if isinstance(error, ConnectionError):
            raise ProbeFailure("tls-error", f"{host}:{port}: connection closed in the TLS handshake") from None
        raise ProbeFailure("tls-error", f"{host}:{port}: {getattr(error, 'reason', None) or error}") from None
    attempt.tls_ms = attempt.now_ms()
    attempt.expires = certificate_expiry(wrapped.getpeercert(binary_form=True) or b"")
    attempt.tls_version = wrapped.version()
    return wrapped


def _old_tls(endpoint: Endpoint, attempt: Attempt) -> t.Optional[list[str]]:
    """Return which of TLS 1.0 and 1.1 the server of *endpoint* agrees to; ``None`` where this host cannot speak them itself."""
    if not (ssl.HAS_TLSv1 and ssl.HAS_TLSv1_1):
        return None
    dummy, host, port = _origin(urllib.parse.urlsplit(endpoint.url))
    spoken = []
    for version in ("TLSv1", "TLSv1_1"):
        context = _tls_context(endpoint, False)
        with warnings.catch_warnings():
            # That they are old is why they are tried.
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
        context.set_ciphers("ALL:@SECLEVEL=0")
        try:
            connection = _open(endpoint.address or host or "", port, Attempt(deadline=attempt.deadline), endpoint)
            connection.settimeout(attempt.remaining())
            with connection, context.wrap_socket(connection, server_hostname=host) as wrapped:
                spoken.append(str(wrapped.version()))
        except (OSError, ValueError, ProbeFailure, CheckError):
            continue
    return spoken


def _unverified_expiry(host: str, port: int, attempt: Attempt, endpoint: Endpoint) -> t.Optional[datetime.datetime]:
    scratch = Attempt(deadline=attempt.deadline)
    try:
        connection = _open(host, port, scratch, endpoint)
        connection.settimeout(scratch.remaining())
        with connection, _tls_context(endpoint, False).wrap_socket(connection, server_hostname=host) as wrapped:
            return certificate_expiry(wrapped.getpeercert(binary_form=True) or b"")
    except (OSError, ValueError, ProbeFailure, CheckError):
        return None


def certificate_expiry(der: bytes) -> t.Optional[datetime.datetime]:
    """Return ``notAfter`` of a DER certificate, ``None`` where it is none.

    Python's own decoder gives nothing for a certificate that was not verified, which is where one wants to know.
    """
    try:
        certificate = _der(der, 0)[1]
        fields, offset = _der(certificate, 0)[1], 0
        tag, dummy, after = _der(fields, offset)
        # version [0] is optional; serial number, signature, issuer come before validity.
        for dummy_field in range(4 if tag == 0xA0 else 3):
            offset = _der(fields, offset)[2]
        validity = _der(fields, offset)[1]
        tag, text, after = _der(validity, _der(validity, 0)[2])
        pattern = "%y%m%d%H%M%SZ" if tag == 0x17 else "%Y%m%d%H%M%SZ"
        return datetime.datetime.strptime(text.decode("ascii"), pattern).replace(tzinfo=datetime.timezone.utc)
    except (IndexError, ValueError):
        return None


def _der(data: bytes, offset: int) -> tuple[int, bytes, int]:
    """Return tag and content of the DER element at *offset*, and the offset behind it."""
    tag, length, start = data[offset], data[offset + 1], offset + 2
    if length & 0x80:
        width = length & 0x7F
        length, start = int.from_bytes(data[start : start + width], "big"), start + width
    if start + length > len(data):
        raise ValueError("an element runs over the end")
    return tag, data[start : start + length], start + length


def _request_headers(endpoint: Endpoint, parts: urllib.parse.SplitResult, foreign: bool) -> dict[str, str]:
    headers = {"User-Agent": "stackops-runbook", "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
    private = {"host", *([endpoint.token_header.lower()] if endpoint.token_kind else [])}
    own = {key: value for key, value in endpoint.headers.items() if not (foreign and (_SENSITIVE.search(key) or key.lower() in private))}
    lower = {key.lower() for key in own}
    headers = {key: value for key, value in headers.items() if key.lower() not in lower}
    headers.update(own)
    if parts.username is not None and "authorization" not in lower and not foreign:
        pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    return headers


def _origin(parts: urllib.parse.SplitResult) -> tuple[str, t.Optional[str], int]:
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _path_of(parts: urllib.parse.SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _exchange(url: str, attempt: Attempt, endpoint: Endpoint) -> t.Optional[str]:
    """Send one request, note what comes in *attempt* and return where it redirects to."""
    parts = urllib.parse.urlsplit(url)
    scheme, host, port = _origin(parts)
    first = urllib.parse.urlsplit(endpoint.url)
    foreign = _origin(parts) != _origin(first)
    target = endpoint.address if endpoint.address and not foreign else (host or "")
    connection = _open(target, port, attempt, endpoint)
    if scheme == "https":
        connection = _wrap_tls(connection, host or "", port, attempt, endpoint)
    client = http.client.HTTPConnection(host or "", port)
    path = urllib.parse.quote(_path_of(parts), safe="/%:@!$&'()*+,;=~-._?[]")
    attempt.first_byte_ms = None
    with connection:
        client.sock = t.cast(socket.socket, _Channel(connection, attempt))
        # Without this http.client says which port even where it is the scheme's own, and some virtual hosts mind.
        headers = _request_headers(endpoint, parts, foreign)
        if not any(key.lower() == "host" for key in headers):
            headers["Host"] = parts.netloc.rpartition("@")[2]
        try:
            client.request(endpoint.method, path, body=endpoint.body, headers=headers)
            response = client.getresponse()
            attempt.http_status = response.status
            attempt.charset = response.headers.get_content_charset() or "utf-8"
            attempt.body = response.read(BODY_LIMIT_BYTES)
            # Reading a bounded piece, http.client does not mind an early end.
            if response.length and len(attempt.body) < BODY_LIMIT_BYTES:
                raise http.client.IncompleteRead(attempt.body, response.length)
        except http.client.IncompleteRead as error:
            attempt.body = error.partial[:BODY_LIMIT_BYTES]
            raise ProbeFailure("connection-reset", "the answer ended before it was whole") from None
        except http.client.RemoteDisconnected:
            raise ProbeFailure("connection-reset", "the connection was closed without an answer") from None
        except socket.timeout:
            what = "the whole answer" if attempt.http_status is not None else "an answer"
            raise ProbeFailure("read-timeout", f"connected, but not {what} within {endpoint.timeout_seconds:g} s") from None
        except (http.client.HTTPException, ValueError) as error:
            raise ProbeFailure("protocol-error", f"no HTTP answer: {_protocol_words(error)}") from None
        except OSError as error:
            raise ProbeFailure("connection-reset", f"the connection broke: {error.strerror or error}") from None
        location = response.headers.get("Location")
    return urllib.parse.urljoin(url, location) if response.status in _REDIRECTS and location else None


def _protocol_words(error: Exception) -> str:
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", words)[:200]


def _follow(attempt: Attempt, endpoint: Endpoint) -> t.Optional[str]:
    """Run the exchange and its redirects; return why the last one was not followed, where that is of interest."""
    url = endpoint.url
    while True:
        location = _exchange(url, attempt, endpoint)
        # Sending a POST again somewhere else would do more than look.
        if location is None or not endpoint.follow_redirects or endpoint.method not in ("GET", "HEAD") or attempt.http_status in endpoint.expected_status:
            return None
        try:
            check_url(location)
        except ValueError:
            return f"redirects to {display_url(location)}, which is no HTTP URL"
        if endpoint.same_origin_only and _origin(urllib.parse.urlsplit(location)) != _origin(urllib.parse.urlsplit(endpoint.url)):
            return None
        if attempt.redirects >= endpoint.max_redirects:
            raise ProbeFailure("unexpected-status", f"more than {endpoint.max_redirects} redirects, the last to {display_url(location)}")
        attempt.redirects += 1
        url = location


# -- one endpoint ------------------------------------------------------------------------------------------------------


def probe(endpoint: Endpoint) -> dict[str, t.Any]:
    """Probe *endpoint* and return one entry of ``endpoints`` as the facts schema has it; times in milliseconds.

    It ends within ``timeout_seconds`` for each attempt. What cannot be tried at all (no permission to enter the network
    namespace, CA file not readable) is ``unknown`` with the reason as ``message``.
    """
    if endpoint.not_running is not None:
        return _row(endpoint, Attempt(deadline=0.0), 0, "critical", "not-running", endpoint.not_running)
    row: dict[str, t.Any] = {}
    for number in range(1, endpoint.retries + 2):
        row = _probe_once(endpoint, number)
        if row["failure"] in (None, "slow") or number > endpoint.retries:
            break
        time.sleep(endpoint.retry_delay_seconds)
    return row


def _probe_once(endpoint: Endpoint, number: int) -> dict[str, t.Any]:
    attempt = Attempt(deadline=time.monotonic() + endpoint.timeout_seconds)
    failure: t.Optional[str] = None
    try:
        message = _follow(attempt, endpoint)
        if message is not None:
            failure = "unexpected-status"
    except ProbeFailure as error:
        failure, message = error.failure, error.message
    except CheckError as error:
        return _row(endpoint, attempt, number, "unknown", None, f"not probed: {error.reason}. {error.hint}".strip())
    attempt.total_ms = attempt.now_ms()
    if failure is None:
        failure, message = _judge_answer(endpoint, attempt)
    if endpoint.try_old_tls and attempt.tls_version is not None:
        attempt.old_tls = _old_tls(endpoint, attempt)
    if failure is not None:
        if endpoint.token_kind is not None and attempt.http_status is not None:
            message = _about_token(endpoint, str(message))
        return _row(endpoint, attempt, number, "critical", failure, message)
    return _row(endpoint, attempt, number, *_judge_quality(endpoint, attempt))


def _text(attempt: Attempt) -> str:
    try:
        return attempt.body.decode(attempt.charset, "replace")
    except LookupError:
        return attempt.body.decode("utf-8", "replace")


def _judge_answer(endpoint: Endpoint, attempt: Attempt) -> tuple[t.Optional[str], t.Optional[str]]:
    """Return failure and message where status or body are not as expected."""
    status = attempt.http_status or 0
    if endpoint.expected_status and status not in endpoint.expected_status:
        return "unexpected-status", f"HTTP {status}, expected {' or '.join(map(str, endpoint.expected_status))}"
    if not endpoint.expected_status and not 200 <= status <= endpoint.highest_status:
        return "unexpected-status", f"HTTP {status}"
    if endpoint.expected_text is not None and endpoint.expected_text not in _text(attempt):
        return "unexpected-body", f"the answer does not contain {endpoint.expected_text!r}"
    if endpoint.expected_json:
        try:
            document = json.loads(attempt.body)
        except (ValueError, RecursionError):
            return "unexpected-body", "the answer is not JSON"
        for condition in endpoint.expected_json:
            mismatch = JsonCondition.parse(condition).mismatch(document)
            if mismatch is not None:
                return "unexpected-body", mismatch
    return None, None


def _judge_quality(endpoint: Endpoint, attempt: Attempt) -> tuple[str, t.Optional[str], t.Optional[str]]:
    """Return status, failure and message of an answer that is as expected: is it slow, does its certificate end soon."""
    slow = Thresholds(endpoint.warning_ms, endpoint.critical_ms).verdict(attempt.total_ms)
    if slow != "ok":
        limit = endpoint.critical_ms if slow == "critical" else endpoint.warning_ms
        first_byte = attempt.first_byte_ms or 0.0
        message = f"{attempt.total_ms or 0:.0f} ms in total, {first_byte:.0f} ms to the first byte, limit {limit or 0:g} ms"
        return worst([slow, _certificate_status(endpoint, attempt)]), "slow", message
    certificate = _certificate_status(endpoint, attempt)
    if certificate != "ok":
        return certificate, None, f"the certificate ends in {_days_left(attempt) or 0:.1f} days"
    return "ok", None, None


def _days_left(attempt: Attempt) -> t.Optional[float]:
    return None if attempt.expires is None else (attempt.expires - utc_now()).total_seconds() / 86400


def _certificate_status(endpoint: Endpoint, attempt: Attempt) -> str:
    days = _days_left(attempt)
    if days is None:
        return "ok"
    return "critical" if days <= endpoint.certificate_critical_days else "warning" if days <= endpoint.certificate_warning_days else "ok"


def _excerpt(endpoint: Endpoint, attempt: Attempt) -> str:
    text = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", _text(attempt))
    # Some services echo what they were sent.
    for key, value in endpoint.headers.items():
        if (_SENSITIVE.search(key) or (endpoint.token_kind and key == endpoint.token_header)) and len(value) > 3:
            text = text.replace(value, "***").replace(value.rpartition(" ")[2], "***")
    password = urllib.parse.urlsplit(endpoint.url).password
    if password:
        text = text.replace(password, "***").replace(urllib.parse.unquote(password), "***")
    return text[:EXCERPT_CHARACTERS]


def _row(endpoint: Endpoint, attempt: Attempt, number: int, status: str, failure: t.Optional[str], message: t.Optional[str]) -> dict[str, t.Any]:
    def milliseconds(value: t.Optional[float]) -> t.Optional[float]:
        return None if value is None else round(value, 2)

    days = _days_left(attempt)
    wrong = status != "ok" and failure != "slow" and attempt.http_status is not None
    return {
        "name": endpoint.name,
        "project": endpoint.project,
        "service": endpoint.service,
        "origin": endpoint.origin,
        "method": endpoint.method,
        "url": display_url(endpoint.url),
        "via": endpoint.via,
        "status": status,
        "reachable": attempt.http_status is not None,
        "http_status": attempt.http_status,
        "expected_status": list(endpoint.expected_status),
        "failure": failure,
        "message": message,
        "body_excerpt": _excerpt(endpoint, attempt) if wrong and failure is not None else None,
        "time_name_lookup_ms": milliseconds(attempt.name_lookup_ms),
        "time_connect_ms": milliseconds(attempt.connect_ms),
        "time_tls_ms": milliseconds(attempt.tls_ms),
        "time_first_byte_ms": milliseconds(attempt.first_byte_ms),
        "time_total_ms": milliseconds(attempt.total_ms),
        "tls_expires_at": rfc3339(attempt.expires),
        "tls_days_left": None if days is None else round(days, 1),
        "tls_version": attempt.tls_version,
        "token": endpoint.token_kind,
        "redirects": attempt.redirects,
        "attempts": number,
        **({"tls_old_versions": attempt.old_tls} if endpoint.try_old_tls else {}),
    }


# -- discovery ---------------------------------------------------------------------------------------------------------


def healthcheck_url(test: t.Sequence[str], env: t.Mapping[str, str]) -> t.Optional[str]:
    """Return the URL that a health check's command asks for, ``None`` where it asks for none.

    Variables are filled in from the container's *env*, as its shell would.
    """
    if not test or test[0] == "NONE":
        return None
    command = " ".join(test[1:] if test[0] in ("CMD", "CMD-SHELL") else test)

    def value(found: re.Match[str]) -> str:
        return env.get(found.group(1) or found.group(3)) or found.group(2) or ""

    found = _URL_IN_COMMAND.search(_VARIABLE.sub(value, command))
    if not found:
        return None
    try:
        return check_url(found.group(0))
    except ValueError:
        return None


def discover_endpoints(stacks: t.Iterable[Stack], **defaults: t.Any) -> list[Endpoint]:
    """Return the endpoints that *stacks* offer by the look of them.

    Every published TCP port of an application or a proxy: the URL of its health check, else ``/health``, else ``/``;
    and ``/docs`` of an application. An application that publishes nothing is asked through its network. *defaults* are
    fields of :class:`Endpoint`.
    """
    found: dict[tuple[t.Optional[str], str], Endpoint] = {}
    for stack in stacks:
        for container in stack.containers:
            for endpoint in _container_endpoints(container, defaults):
                key = (endpoint.project, f"{endpoint.service} {endpoint.url}")
                # Of several replicas the one that runs stands for an address they share.
                if key not in found or found[key].not_running is not None:
                    found[key] = endpoint
    return list(found.values())


def _container_endpoints(container: ContainerRef, defaults: t.Mapping[str, t.Any]) -> list[Endpoint]:
    test = ((container.inspect.get("Config") or {}).get("Healthcheck") or {}).get("Test") or []
    health = healthcheck_url(test, container.env)
    if container.oneoff or container.role in ("postgres", "cache") or (health is None and container.role not in ("application", "proxy")):
        return []
    common = {
        **defaults, "project": container.project, "service": container.service, "origin": "discovered", "same_origin_only": True, "validate_certs": False,
        "not_running": None if container.running else f"the container {container.name} is not running ({container.state})",
    }  # fmt: skip
    published = sorted(_published(container))
    if published:
        return [endpoint for entry in published for endpoint in _guesses(container, *entry, health, {**common, "via": "host"})]
    address = _own_address(container)
    if not container.running or address is None:
        return []
    common.update({"via": "container-network", "netns_pid": container.pid, "exposed_only": health is None})
    ports = [_origin(urllib.parse.urlsplit(health))[2]] if health else container.exposed_ports[:3]
    return [endpoint for port in ports for endpoint in _guesses(container, port, address, port, health, common)]


def _published(container: ContainerRef) -> set[tuple[int, str, int]]:
    """Return container port, host address and host port of what *container* publishes by TCP, or would when it ran."""
    found: dict[tuple[int, int], str] = {}
    for port in container.published_ports:
        if port["protocol"] != "tcp" or not port["host_port"]:
            continue
        # 0.0.0.0 and [::] are one published port to the operator, who types localhost.
        address = "localhost" if port["host_ip"] in ("0.0.0.0", "::") else port["host_ip"]
        if found.get((port["container_port"], port["host_port"])) != "localhost":
            found[(port["container_port"], port["host_port"])] = address
    return {(inner, address, outer) for (inner, outer), address in found.items()}


def _own_address(container: ContainerRef) -> t.Optional[str]:
    """Return an address of *container* that others reach it by; ``None`` without a network."""
    if container.network_mode == "host":
        return "127.0.0.1"
    return next((str(network["ip_address"]) for network in container.networks.values() if network["ip_address"]), None)


def _guesses(container: ContainerRef, inner: int, host: str, outer: int, health: t.Optional[str], common: t.Mapping[str, t.Any]) -> t.Iterator[Endpoint]:
    """Yield what to ask of one port; *health* counts where it names this very port."""
    parts = urllib.parse.urlsplit(health) if health and _origin(urllib.parse.urlsplit(health))[2] == inner else None
    scheme = parts.scheme if parts else "https" if inner in _TLS_PORTS else "http"
    default_port = 443 if scheme == "https" else 80
    shown = f"[{host}]" if ":" in host else host
    base = f"{scheme}://{shown}" + ("" if outer == default_port else f":{outer}")
    fields: dict[str, t.Any] = {**common, "address": "127.0.0.1" if host == "localhost" else host}

    def endpoint(path: str, **more: t.Any) -> Endpoint:
        return Endpoint(name=f"{container.service}:{inner}{path.partition('?')[0]}", url=base + path, **{**fields, **more})

    root = endpoint("/", highest_status=499)
    named = _path_of(parts) if parts else None
    if named is not None:
        yield endpoint(named)
    if named != "/health" and fields["not_running"] is None:
        yield endpoint("/health", optional=True, fallback=root if named is None else None)
    elif named is None:
        yield root
    if container.role == "application" and named != "/docs" and fields["not_running"] is None:
        yield endpoint("/docs", optional=True)


# -- all together ------------------------------------------------------------------------------------------------------


def _probe_discovered(endpoint: Endpoint) -> t.Optional[dict[str, t.Any]]:
    """Probe *endpoint*; a guess that proves wrong gives its fallback's answer, or nothing."""
    row = probe(endpoint)
    if endpoint.exposed_only and row["failure"] == "connection-refused":
        return None
    if endpoint.fallback is not None and row["failure"] == "connection-reset" and endpoint.url.startswith("http:"):
        # A server that speaks TLS on a port of its own choice says nothing to whoever does not.
        by_tls = _by_tls(endpoint)
        return _probe_discovered(by_tls) if probe(by_tls)["reachable"] else row
    if not endpoint.optional:
        # Not every published port of an application speaks HTTP; only its health check says that it should.
        return None if endpoint.origin == "discovered" and endpoint.highest_status > 399 and row["failure"] == "protocol-error" else row
    absent = row["http_status"] is not None and 400 <= row["http_status"] < 500
    if endpoint.fallback is not None:
        return _probe_discovered(endpoint.fallback) if absent or row["failure"] == "protocol-error" else row
    return None if absent or not row["reachable"] else row


def _by_tls(endpoint: Endpoint) -> Endpoint:
    """Return *endpoint* and its fallback as they would be asked for by TLS."""
    fallback = endpoint.fallback and _by_tls(endpoint.fallback)
    return dataclasses.replace(endpoint, url="https:" + endpoint.url.partition(":")[2], fallback=fallback)


def probe_all(endpoints: t.Sequence[Endpoint], deadline_seconds: float) -> tuple[list[dict[str, t.Any]], list[CheckError]]:
    """Probe *endpoints* side by side; return their rows in order and what could not be tried.

    All share *deadline_seconds*: what has not ended by then is an ``unknown`` row.
    """
    free = threading.BoundedSemaphore(_CONCURRENT_PROBES)

    def work(endpoint: Endpoint) -> t.Callable[[], t.Optional[dict[str, t.Any]]]:
        def call() -> t.Optional[dict[str, t.Any]]:
            with free:
                return _probe_discovered(endpoint)

        return call

    outcomes = run_side_by_side({str(number): work(endpoint) for number, endpoint in enumerate(endpoints)}, deadline_seconds)
    rows: list[dict[str, t.Any]] = []
    errors: list[CheckError] = []
    for number, endpoint in enumerate(endpoints):
        outcome = outcomes[str(number)]
        row = outcome.value
        if outcome.error is not None:
            reason = outcome.error.reason if isinstance(outcome.error, CheckError) else f"{type(outcome.error).__name__}: {outcome.error}"
            row = _row(endpoint, Attempt(deadline=0.0), 1, "unknown", None, f"not probed: {reason}")
        if row is None:
            continue
        rows.append(row)
        if row["status"] == "unknown":
            errors.append(CheckError(row["url"], str(row["message"]), "Run as root, or probe it by hand with curl -v."))
    return rows, errors


def http_envelope(rows: list[dict[str, t.Any]], errors: t.Sequence[t.Union[CheckError, dict[str, str]]], thresholds: Thresholds) -> dict[str, t.Any]:
    """Return the envelope with the ``http`` facts for *rows*."""
    bad = [row for row in rows if row["status"] != "ok"]
    if not rows:
        summary = "no HTTP endpoint to probe"
    elif bad:
        first = max(bad, key=lambda row: ("unknown", "warning", "critical").index(row["status"]))
        summary = f"{len(bad)} of {len(rows)} endpoints not as expected: {first['name']}: {first['message'] or first['failure']}"
    else:
        slowest = max(rows, key=lambda row: row["time_total_ms"] or 0)
        summary = f"{len(rows)} endpoints answer as expected, the slowest ({slowest['name']}) in {slowest['time_total_ms']:.0f} ms"
    metrics = {}
    for row in rows:
        # Two projects often have a service of the same name.
        name = f"{row['project']}/{row['name']}" if row["project"] else row["name"]
        metrics[f"{name}.time_total_ms"] = metric(row["time_total_ms"], "ms", thresholds)
    status = worst([*(row["status"] for row in rows), *("unknown" for dummy in errors)])
    return envelope(status, summary, metrics, errors, endpoints=rows)


def _in_container(endpoint: Endpoint, container: ContainerRef) -> Endpoint:
    """Return *endpoint* as seen from inside *container*'s network namespace."""
    dead = None if container.running else f"the container {container.name} is not running ({container.state})"
    return dataclasses.replace(endpoint, via="container-network", netns_pid=container.pid, not_running=dead)


def _find_container(name: str, stacks: t.Iterable[Stack], engine: t.Optional[Engine]) -> ContainerRef:
    """Return the container that *name* (its own or its id, a service, or project/service) means; of several one that runs.

    :raises CheckError: there is none.
    """
    found = [
        container
        for stack in stacks
        for container in stack.siblings
        if name in (container.name, container.service, f"{container.project}/{container.service}") and not container.oneoff
    ]
    if found:
        return min(found, key=lambda one: (not one.running, one.project, one.replica))
    if engine is None:
        raise CheckError(f"container {name}", "no such container among the Compose projects", "Correct its name: docker ps -a", "not-found")
    return ContainerRef(engine.inspect(name))


def _declared_endpoints(
    declared: t.Iterable[t.Mapping[str, t.Any]], stacks: t.Sequence[Stack], engine: t.Optional[Engine], remote: bool, defaults: t.Mapping[str, t.Any]
) -> t.Iterator[t.Union[Endpoint, CheckError, dict[str, t.Any]]]:
    """Yield for each declaration its endpoint, or the error that it cannot be read for, or the row that says why it cannot be tried."""
    for options in declared:
        given = dict(options)
        name = given.pop("container", None)
        try:
            endpoints = [Endpoint.from_options(one, **defaults) for one in with_tokens(given)]
        except (ValueError, TypeError, AttributeError) as error:
            yield CheckError("endpoints", str(error), "Correct this endpoint.", "invalid")
            continue
        for endpoint in endpoints:
            try:
                if name and remote:
                    raise CheckError(f"container {name}", "it runs on another machine", "Run this on the engine's own host.", "not-permitted")
                yield _in_container(endpoint, _find_container(str(name), stacks, engine)) if name else endpoint
            except CheckError as error:
                via = dataclasses.replace(endpoint, via="container-network")
                yield _row(via, Attempt(deadline=0.0), 0, "unknown", None, f"not probed: {error.source}: {error.reason}")


def collect_http(
    stacks: t.Sequence[Stack],
    declared: t.Iterable[t.Mapping[str, t.Any]] = (),
    discover: bool = True,
    remote: bool = False,
    engine: t.Optional[Engine] = None,
    timeout_seconds: float = 10.0,
    deadline_seconds: float = 30.0,
    warning_ms: t.Optional[float] = 1000.0,
    critical_ms: t.Optional[float] = 3000.0,
    try_old_tls: bool = False,
) -> dict[str, t.Any]:
    """Return the envelope ``http``: what users *declared* and, with *discover*, what *stacks* offer.

    With *remote* the containers run on another machine, so their ports are not looked for on this one. A declared
    endpoint may name a ``container`` to be seen from; one outside Compose is asked of *engine*. One that cannot be read is
    an entry in ``errors``; the others are probed.
    """
    defaults = {"timeout_seconds": timeout_seconds, "warning_ms": warning_ms, "critical_ms": critical_ms, "try_old_tls": try_old_tls}
    stated = list(_declared_endpoints(declared, stacks, engine, remote, defaults))
    errors = [one for one in stated if isinstance(one, CheckError)]
    untried = [one for one in stated if isinstance(one, dict)]
    endpoints = [one for one in stated if isinstance(one, Endpoint)]
    if discover and not remote:
        urls = {display_url(endpoint.url).rstrip("/") for endpoint in endpoints if endpoint.netns_pid is None}
        endpoints.extend(endpoint for endpoint in discover_endpoints(stacks, **defaults) if display_url(endpoint.url).rstrip("/") not in urls)
    rows, failed = probe_all(endpoints, deadline_seconds)
    failed.extend(CheckError(row["url"], row["message"], "Correct the container's name, or start it.") for row in untried)
    return http_envelope([*untried, *rows], [*errors, *failed], Thresholds(warning_ms, critical_ms))


# -- the module --------------------------------------------------------------------------------------------------------


def endpoint_arguments() -> dict[str, dict[str, t.Any]]:
    """Return the argument spec of one endpoint as users declare it."""
    return {
        "url": {"type": "str", "required": True},
        "name": {"type": "str"},
        "project": {"type": "str"},
        "service": {"type": "str"},
        "container": {"type": "str"},
        "method": {"type": "str", "default": "GET", "choices": sorted(_METHODS)},
        "headers": {"type": "dict", "no_log": True},
        "body": {"type": "str", "no_log": True},
        "json": {"type": "raw", "no_log": True},
        "token": {"type": "str", "no_log": True},
        # The name of a header and a word before the token, which are no secrets.
        "token_header": {"type": "str", "default": "Authorization", "no_log": False},
        "token_prefix": {"type": "str", "default": "Bearer ", "no_log": False},
        "token_tests": {
            "type": "dict",
            "no_log": False,
            "options": {
                "invalid": {"type": "str", "no_log": True},
                "expired": {"type": "str", "no_log": True},
                "rejected_status": {"type": "list", "elements": "int", "default": [401, 403]},
            },
        },
        "expected_status": {"type": "list", "elements": "int"},
        "expected_json": {"type": "list", "elements": "str"},
        "expected_text": {"type": "str"},
        "follow_redirects": {"type": "bool", "default": True},
        "max_redirects": {"type": "int", "default": 5},
        "timeout_seconds": {"type": "float"},
        "validate_certs": {"type": "bool", "default": True},
        "ca_path": {"type": "path"},
        "retries": {"type": "int", "default": 0},
        "retry_delay_seconds": {"type": "float", "default": 1},
        "warning_ms": {"type": "float"},
        "critical_ms": {"type": "float"},
        "certificate_warning_days": {"type": "float", "default": 21},
        "certificate_critical_days": {"type": "float", "default": 7},
    }


def hide_secrets(params: dict[str, t.Any]) -> set[str]:
    """Mask what may be secret in the endpoints of a module's *params*, in place, and return those secrets.

    Short values are left out: masking every ``1`` in a result because a header said so would spoil its numbers.
    """
    secrets: set[str] = set()
    for endpoint in params.get("endpoints") or []:
        url = str(endpoint.get("url") or "")
        try:
            password = urllib.parse.urlsplit(url).password
        except ValueError:
            password = None
        secrets.update(one for one in (password, urllib.parse.unquote(password or "")) if one)
        secrets.update(str(value) for key, value in (endpoint.get("headers") or {}).items() if _SENSITIVE.search(str(key)))
        endpoint["url"] = display_url(url)
        _hide_tokens(endpoint, secrets)
        endpoint["headers"] = dict.fromkeys(endpoint["headers"], "***") if endpoint.get("headers") else endpoint.get("headers")
        for option in ("body", "json"):
            if endpoint.get(option) is not None:
                endpoint[option] = "***"
    return {secret for secret in secrets if len(secret) > 5}


def _hide_tokens(endpoint: dict[str, t.Any], secrets: set[str]) -> None:
    """Mask the tokens of one endpoint in place, and add them to *secrets*; so that is the one which is made of the valid one."""
    if endpoint.get("token"):
        secrets.update((str(endpoint["token"]), spoilt_token(str(endpoint["token"]))) if "." in str(endpoint["token"]) else (str(endpoint["token"]),))
        endpoint["token"] = "***"
    if endpoint.get("token_tests"):
        tests = dict(endpoint["token_tests"])
        secrets.update(str(tests[kind]) for kind in ("invalid", "expired") if tests.get(kind))
        endpoint["token_tests"] = {**tests, **{kind: "***" for kind in ("invalid", "expired") if tests.get(kind)}}


def check_endpoints(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the envelope of the module ``http_probe`` for its parameters.

    The engine is asked only where it is needed: to discover endpoints, and to find containers.

    :raises ValueError: an endpoint's options are wrong; the text says which.
    """
    declared = [{key: value for key, value in one.items() if value is not None} for one in params.get("endpoints") or []]
    for options in declared:
        for one in with_tokens({key: value for key, value in options.items() if key != "container"}):
            Endpoint.from_options(one)
    discover_them = not declared if params.get("discover") is None else bool(params["discover"])
    stacks: t.Sequence[Stack] = ()
    engine: t.Optional[Engine] = None
    trouble: list[CheckError] = []
    if discover_them or any("container" in options for options in declared):
        try:
            engine = Engine.connect(EngineOptions.from_params(params))
            stacks = discover(engine, Selection.from_params(params))
        except CheckError as error:
            trouble.append(error)
    facts = collect_http(
        stacks,
        declared,
        discover_them,
        engine is not None and engine.remote,
        engine,
        float(params["request_timeout"]),
        float(params["deadline"]),
        params["warning_ms"],
        params["critical_ms"],
        bool(params.get("old_tls_versions")),
    )
    if trouble:
        facts["errors"] = [*(error.as_dict() for error in trouble), *facts["errors"]]
        facts["status"] = worst([facts["status"], "unknown"])
        facts["summary"] = facts["summary"] if facts["endpoints"] else f"endpoints could not be looked for: {trouble[0].reason}"
    return facts
