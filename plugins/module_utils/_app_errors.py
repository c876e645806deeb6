# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What an application's error message means: its kind, and the host, user, table… it names.

The table is written from the messages that psycopg2, psycopg, asyncpg, SQLAlchemy, alembic, PyJWT, python-jose, pydantic,
httpx, requests, aiohttp, redis, uvicorn and gunicorn really print; the tests keep them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import typing as t

#: How much of a text is looked at: its end, where the last exception is.
MAX_LINES = 400
MAX_LINE_CHARACTERS = 4096
MAX_MESSAGE_CHARACTERS = 500
MAX_MESSAGE_LINES = 30

UNHANDLED = "unhandled"


@dataclasses.dataclass(frozen=True)
class AppError:
    """One classified error.

    *kind* is a word of :data:`KINDS`, *exception* the class as printed (``None`` for a plain log message), *message* its
    first line without values of settings, *parameters* the names that the message gives, all as strings.
    """

    kind: str
    exception: t.Optional[str]
    message: str
    parameters: t.Mapping[str, str]

    def as_dict(self) -> dict[str, t.Any]:
        """Return the ``error`` mapping of the facts schema."""
        return {"kind": self.kind, "exception": self.exception, "message": self.message, "parameters": dict(self.parameters)}


# libpq names the server in the same words before every reason.
_SERVER = r'server at "(?P<host>[^"\s]{1,255})"(?: \((?P<address>[^)\s]{1,64})\))?, port (?P<port>\d{1,5}) failed: '
_AT = r"(?:" + _SERVER + r")?"
# libpq before version 14 and its question after the reason.
_OLD_AT = r'(?:[^"]{0,60}host "(?P<host>[^"\s]{1,255})"[^?]{0,120}?port (?P<port>\d{1,5}))?'
_PAIR = r"\('(?P<host>[^']{1,255})', (?P<port>\d{1,5})"
_POOL = r"Pool\(host='(?P<host>[^']{1,255})', port='?(?P<port>\d{1,5})"
_AIOHTTP = r"Cannot connect to host (?P<host>[^\s:]{1,255}):(?P<port>\d{1,5}) "
_REDIS = r"connecting to (?P<host>[^\s:]{1,255}):(?P<port>\d{1,5})\. "
_NAME_REASONS = r"(?:Name or service not known|Temporary failure in name resolution|No address associated with hostname|nodename nor servname)"
_SILENT = r"(?:timeout expired|[Cc]onnection timed out|[Tt]imed out)"

# kind, a lower-case literal that the message must have (so that most patterns are never compiled), pattern. The first
# that matches decides: what is specific stands before what is general.
_RULES: tuple[tuple[str, str, str], ...] = (
    ("migration-unknown-revision", "locate revision", r"Can't locate revision identified by '(?P<revision>[^'\s]{1,100})'"),
    ("migration-multiple-heads", "multiple head", r"Multiple head(?:s| revisions) (?:are|is) present|Multiple heads? "),
    ("migration-behind", "database is not up to date", r"[Dd]atabase is not up to date"),
    (
        "database-auth-failed",
        "password authentication failed",
        _AT + r"(?:[A-Z]+: {1,4})?password authentication failed for (?:user"
        r'|role) "(?P<user>[^"]{1,128})"',
    ),
    ("database-auth-failed", "authentication failed for user", _AT + r'(?:[A-Z]+: {1,4})?\w+ authentication failed for user "(?P<user>[^"]{1,128})"'),
    (
        "database-auth-failed",
        "pg_hba.conf",
        _AT + r'[^\n]{0,40}pg_hba\.conf[^\n]{0,80}?user "(?P<user>[^"]{1,128})"(?:, database "'
        r'(?P<database>[^"]{1,128})")?',
    ),
    ("database-auth-failed", "no password supplied", _AT + r"fe_sendauth: no password supplied"),
    ("database-auth-failed", "is not permitted to log in", r'role "(?P<user>[^"]{1,128})" is not permitted to log in'),
    ("database-auth-failed", '" does not exist', _AT + r'(?:FATAL: {1,4})?role "(?P<user>[^"]{1,128})" does not exist'),
    ("database-name-not-resolved", "could not translate host name", r'could not translate host name "(?P<host>[^"]{1,255})"'),
    ("database-name-not-resolved", "failed to resolve host", r"failed to resolve host '(?P<host>[^']{1,255})'"),
    ("database-missing", '" does not exist', _AT + r'(?:[A-Z]+: {1,4})?database "(?P<database>[^"]{1,128})" does not exist'),
    ("too-many-connections", "too many clients already", _AT + r"(?:[A-Z]+: {1,4})?sorry, too many clients already"),
    ("too-many-connections", "remaining connection slots", _AT + r"(?:[A-Z]+: {1,4})?remaining connection slots are reserved"),
    ("too-many-connections", "too many connections for", r'too many connections for (?:role|database) "(?P<name>[^"]{1,128})"'),
    ("database-starting-up", "database system is", r"the database system is (?:starting up|not yet accepting connections|in recovery mode)"),
    ("database-connection-lost", "database system is", r"the database system is shutting down"),
    ("database-connection-lost", "terminating connection", r"terminating connection due to (?P<reason>[a-z -]{1,80})"),
    ("database-connection-lost", "closed the connection unexpectedly", r"server closed the connection unexpectedly"),
    ("database-connection-lost", "closed in the middle of operation", r"connection was closed in the middle of operation"),
    ("database-refused", "failed: connection refused", _SERVER + r"Connection refused"),
    ("database-refused", "could not connect to server: connection refused", r"could not connect to server: Connection refused" + _OLD_AT),
    ("database-refused", 'socket "', r'socket "(?P<path>/[^"\s]{1,108})" failed: |domain socket "(?P<path2>/[^"\s]{1,108})"'),
    ("database-timeout", "connection to server at", _SERVER + _SILENT),
    ("database-timeout", "could not connect to server: connection timed out", r"could not connect to server: Connection timed out" + _OLD_AT),
    ("database-timeout", "connection timeout expired", r"connection timeout expired"),
    ("database-unreachable", "failed: n", _SERVER + r"(?:No route to host|Network is unreachable)"),
    ("database-unreachable", "could not connect to server: no route", r"could not connect to server: No route to host" + _OLD_AT),
    ("database-protocol-error", "invalid response to ssl negotiation", _SERVER + r"received invalid response to SSL negotiation"),
    ("database-read-only", "read-only transaction", r"cannot execute (?P<command>[A-Z ]{1,40}) in a read-only transaction"),
    (
        "database-permission-denied",
        "permission denied for",
        r"permission denied for (?:table|relation|schema|sequence|database|view"
        r"|function) (?P<relation>[^\s,]{1,128})",
    ),
    ("database-permission-denied", "must be owner of", r"must be owner of (?:table |relation |view )?(?P<relation>[^\s,]{1,128})"),
    ("relation-missing", "does not exist", r'(?:relation|table) "(?P<relation>[^"]{1,255})" does not exist'),
    ("column-missing", "column", r'column "?(?P<column>[^"\s]{1,255})"?(?: of relation "(?P<relation>[^"]{1,128})")? does not exist'),
    ("extension-missing", "extension", r'extension "(?P<extension>[^"]{1,128})" (?:does not exist|is not available)'),
    ("function-missing", "does not exist", r"function (?P<function>[\w.]{1,128})\([^)\n]{0,200}\) does not exist"),
    (
        "not-null-violation",
        "not-null constraint",
        r'null value in column "(?P<column>[^"]{1,128})"(?: of relation "(?P<relation>[^"]{1,128})")? violates not-null constraint',
    ),
    (
        "foreign-key-violation",
        "foreign key constraint",
        r'(?:on table "(?P<relation>[^"]{1,128})" )?violates foreign key constraint "(?P<constraint>[^"]{1,128})"',
    ),
    (
        "check-violation",
        "check constraint",
        r'(?:relation "(?P<relation>[^"]{1,128})" )?violates check constraint "(?P<constraint>[^"]{1,128})"',
    ),
    ("invalid-value", "invalid input", r"invalid input (?:syntax|value) for (?:type |enum )?(?P<type>[a-z][\w ]{0,60}\w)"),
    ("invalid-value", "too long for type", r"value too long for type (?P<type>[a-z][\w ()]{0,60}[\w)])"),
    ("invalid-value", "out of range", r"(?:\b(?P<type>smallint|integer|bigint)|\bvalue) (?:\w{1,20} )?out of range"),
    ("invalid-value", "numeric field overflow", r"numeric field overflow"),
    ("invalid-value", "invalid input for query argument", r"invalid input for query argument \$(?P<argument>\d{1,5})"),
    ("serialization-failure", "could not serialize access", r"could not serialize access due to (?P<reason>[a-z /]{1,80})"),
    ("transaction-aborted", "current transaction is aborted", r"current transaction is aborted"),
    ("session-shared", "another operation is in progress", r"cannot perform operation: another operation is in progress"),
    ("database-session-closed", "connection", r"\b[Cc]onnection (?:is|already) closed\b"),
    ("unique-violation", "unique constraint", r'duplicate key value violates unique constraint "(?P<constraint>[^"]{1,128})"'),
    ("deadlock", "deadlock detected", r"deadlock detected"),
    ("lock-timeout", "lock timeout", r"canceling statement due to lock timeout"),
    ("lock-timeout", "could not obtain lock", r'could not obtain lock on (?:row in )?relation "(?P<relation>[^"]{1,128})"'),
    ("statement-timeout", "statement timeout", r"canceling statement due to statement timeout"),
    ("statement-timeout", "to user request", r"canceling statement due to user request"),
    (
        "pool-timeout",
        "limit of size",
        r"limit of size (?P<size>\d{1,6}) overflow (?P<overflow>-?\d{1,6}) reached, connection timed out, timeout "
        r"(?P<timeout>[\d.]{1,10}\d)",
    ),
    ("pool-timeout", "couldn't get a connection", r"couldn't get a connection after (?P<timeout>[\d.]{1,10}\d) sec"),
    ("jwt-expired", "expired", r"Signature has expired|ExpiredSignatureError|(?i:\b(?:token|jwt) (?:has |is )?expired)"),
    ("jwt-bad-signature", "signature", r"(?i:signature verification failed)|InvalidSignatureError|\bBadSignatureError|JsonWebTokenError: invalid signature"),
    ("jwt-not-yet-valid", "jwt not active", r"\bjwt not active\b"),
    ("jwt-not-yet-valid", "yet valid", r"(?i:token is not yet valid)(?: \((?P<claim>nbf|iat)\))?"),
    ("jwt-not-yet-valid", "immaturesignature", r"ImmatureSignatureError"),
    (
        "jwt-wrong-algorithm",
        "alg",
        r"specified alg value is not allowed|InvalidAlgorithmError|Algorithm not supported|JsonWebTokenError: invalid algorithm"
        r"|Unable to find an algorithm for key|UnsupportedAlgorithmError",
    ),
    ("jwt-malformed", "segments", r"Not enough segments|Invalid input segments length"),
    ("jwt-malformed", "jwt malformed", r"\bjwt malformed\b"),
    ("jwt-malformed", "jsonwebtokenerror", r"JsonWebTokenError: (?:invalid token|jwt signature is required)"),
    ("jwt-malformed", "authorization header", r"\bBad Authorization header\b"),
    ("jwt-malformed", "invalid ", r"Invalid (?:header|payload|crypto|signature) (?:padding|string|segment)|(?i:invalid token (?:type|format))"),
    ("jwt-malformed", "decoding", r"(?i:error decoding (?:token|signature|jwt))"),
    ("jwt-unknown-key", "signing key that matches", r'find a signing key that matches: "?(?P<key>[^"\s]{1,128})'),
    ("jwt-unknown-key", "jwk set", r"JWK Set did not contain any (?:usable )?keys"),
    ("jwt-wrong-claims", "invalid ", r"Invalid (?P<claim>audience|issuer)\b"),
    ("jwt-wrong-claims", " invalid", r"\bjwt (?P<claim>audience|issuer|subject) invalid\b"),
    ("jwt-wrong-claims", "audience doesn't match", r"(?P<claim>Audience) doesn't match"),
    ("jwt-wrong-claims", "must be a string", r"\b(?P<claim>Subject|JWT ID) must be a string"),
    ("jwt-wrong-claims", "token is missing the", r'Token is missing the "(?P<claim>\w{1,32})" claim'),
    (
        "jwt-missing",
        "token",
        r"(?i:\b(?:missing (?:bearer |access |jwt )?token|no (?:bearer |access |jwt |authorization )?token (?:was )?(?:provided|given|found"
        r"|supplied)|token (?:was )?not provided|(?:bearer |access )?token (?:is )?missing))",
    ),
    (
        "jwt-missing",
        "authorization header",
        r"(?i:missing (?:the )?authorization header|authorization header (?:is )?(?:missing|required|not found)"
        r"|no authorization header)",
    ),
    ("jwt-missing", "jwt must be provided", r"\bjwt must be provided\b"),
    ("jwt-missing", "credentials", r"Authentication credentials were not provided|Invalid token header\. No credentials provided"),
    ("jwt-malformed", "invalid token header", r"Invalid token header\b"),
    ("jwt-missing", "not authenticated", r"\bNot authenticated\b"),
    ("jwt-invalid", "token", r"Token is invalid or expired|Given token not valid for any token type"),
    ("jwt-invalid", "could not validate credentials", r"Could not validate credentials"),
    ("jwt-invalid", "invalid", r"\b(?:JWTError|InvalidTokenError)\b|(?i:\binvalid (?:jwt|bearer|access) ?token\b)"),
    ("import-error", "no module named", r"No module named '?(?P<module>[\w.]{1,200}\w)'?"),
    ("import-error", "could not import module", r'Could not import module "(?P<module>[^"]{1,200})"'),
    ("import-error", "cannot import name", r"cannot import name '(?P<name>[^']{1,200})' from (?:partially initialized module )?'(?P<module>[^']{1,200})'"),
    ("import-error", "not found in module", r'Attribute "(?P<name>[^"]{1,200})" not found in module "(?P<module>[^"]{1,200})"'),
    ("import-error", "failed to find attribute", r"Failed to find attribute '(?P<name>[^']{1,200})' in '(?P<module>[^']{1,200})'"),
    ("import-error", "cannot open shared object", r"(?P<module>lib[\w.+-]{1,100}): cannot open shared object file"),
    ("settings-invalid", "error parsing value for field", r'error parsing value for field "(?P<field>[^"]{1,128})"'),
    (
        "settings-invalid",
        "environment variable",
        r"""(?i:environment variable) ["']?(?P<field>[A-Z][A-Z0-9_]{1,100})["']? (?:is )?(?:not set|missing|required|undefined"""
        r"""|must be set)""",
    ),
    ("settings-invalid", "environment variable", r"[Ss]et the (?P<field>[A-Z][A-Z0-9_]{1,100}) environment variable"),
    ("settings-invalid", "as envvar", r"(?P<field>[A-Z][A-Z0-9_]{1,100}) not found\. Declare it as envvar"),
    ("settings-invalid", "parse sqlalchemy url", r"Could not parse SQLAlchemy URL"),
    ("redis-name-not-resolved", "error -", r"Error -\d " + _REDIS),
    ("redis-refused", "error 111", r"Error 111 " + _REDIS),
    ("redis-timeout", "timeout connecting to", r"Timeout connecting to (?:server|(?P<host>[^\s:]{1,255}):(?P<port>\d{1,5}))"),
    ("redis-auth-failed", "wrongpass", r"WRONGPASS|invalid username-password pair"),
    ("redis-auth-failed", "noauth", r"NOAUTH Authentication required"),
    ("redis-auth-failed", "authentication required", r"redis\S{0,60}AuthenticationError: Authentication required"),
    ("redis-out-of-memory", "used memory", r"command not allowed when used memory"),
    ("redis-persistence-failing", "misconf", r"\bMISCONF\b"),
    ("redis-persistence-failing", "rdb snapshots", r"configured to save RDB snapshots"),
    ("redis-read-only", "read only replica", r"can't write against a read only (?:replica|slave)"),
    ("redis-loading", "loading the dataset", r"Redis is loading the dataset in memory"),
    ("redis-too-many-clients", "max number of clients", r"max number of clients reached"),
    ("address-in-use", "address already in use", r"(?:" + _PAIR + r"\)[^\n]{0,40}?)?[Aa]ddress already in use"),
    ("address-in-use", "connection in use", r"Connection in use: " + _PAIR),
    ("address-in-use", "port is already allocated", r":(?P<port>\d{1,5}) failed: port is already allocated"),
    (
        "tls-error",
        "certificate",
        r"(?:" + _POOL + r"[^\n]{0,300}?)?\b(?:CERTIFICATE_VERIFY_FAILED\] )?certificate verify failed(?:: (?P<reason>[a-z][\w-]{0,40}"
        r"(?: [\w-]{1,40}){0,8}))?",
    ),
    ("tls-error", "server does not support ssl", _AT + r"server does not support SSL"),
    ("tls-error", "ssl", r"(?:" + _POOL + r"[^\n]{0,300}?)?\[SSL: (?P<reason>[A-Z0-9_]{1,60})\]|invalid response to SSL negotiation"),
    ("http-name-not-resolved", "failed to resolve", r"Failed to resolve '(?P<host>[^']{1,255})'"),
    ("http-name-not-resolved", "cannot connect to host", _AIOHTTP + r"[^\n]{0,60}\[[^\n]{0,20}" + _NAME_REASONS),
    ("http-name-not-resolved", "connectionpool(host", _POOL + r"[^\n]{0,400}" + _NAME_REASONS),
    ("http-refused", "cannot connect to host", _AIOHTTP + r"[^\n]{0,60}(?:Connect call failed|Connection refused)"),
    ("http-refused", "connectionpool(host", _POOL + r"[^\n]{0,400}Connection refused"),
    ("http-timeout", "connectionpool(host", _POOL + r"[^\n]{0,400}(?:timed out|Timeout)"),
    ("http-timeout", "connection timeout to host", r"Connection timeout to host (?:https?://)?(?P<host>[^\s/:]{1,255})(?::(?P<port>\d{1,5}))?"),
    ("http-timeout", "timeout", r"\b(?:httpx\.|httpcore\.)(?:Connect|Read|Write|Pool)Timeout\b|ServerTimeoutError"),
    ("http-status", "error '", r"(?:Server|Client) error '(?P<status>\d{3})[^']{0,60}' for url 'https?://(?:[^@/\s']{1,200}@)?(?P<host>[^/\s:']{1,255})"),
    ("http-status", "for url", r"(?P<status>[45]\d\d) (?:Server|Client) Error: [^\n]{0,80}? for url: https?://(?:[^@/\s]{1,200}@)?(?P<host>[^/\s:]{1,255})"),
    (
        "upstream-refused",
        "connecting to upstream",
        r'Connection refused\) while connecting to upstream[^\n]{0,600}?upstream: "\w{2,10}://(?P<host>[^:/"\s]{1,255}):(?P<port>\d{1,5})',
    ),
    ("connection-reset", "reset by peer", r"Connection reset by peer"),
    ("connection-reset", "broken pipe", r"[Bb]roken pipe"),
    ("connection-reset", "disconnected", r"RemoteDisconnected|Server disconnected|RemoteProtocolError"),
    ("name-not-resolved", "host not found in upstream", r'host not found in upstream "(?P<host>[^":]{1,255})(?::(?P<port>\d{1,5}))?"'),
    ("name-not-resolved", "nam", _NAME_REASONS),
    ("connection-refused", "connect call failed", r"Connect call failed " + _PAIR),
    ("connection-refused", "refused", r"Connection refused"),
    ("out-of-memory", "memory", r"\bMemoryError\b|[Cc]annot allocate memory|Perhaps out of memory|(?i:\bout of (?:shared )?memory\b)"),
    ("disk-full", "no space left on device", r"""(?:file "(?P<path>[^"]{1,255})": )?No space left on device(?:: ?['"](?P<path2>[^'"]{1,255}))?"""),
    ("file-system-read-only", "read-only file system", r"""Read-only file system(?:: ?['"](?P<path>[^'"]{1,255}))?"""),
    (
        "permission-denied",
        "permission denied",
        r"""(?:\[Errno 13\] )?Permission denied: ['"](?P<path>[^'"]{1,255})|(?P<path2>/[^\s:'"]{1,255}): [Pp]ermission denied"""
        r"""|\[Errno 13\]""",
    ),
    (
        "file-missing",
        "no such file or directory",
        r"""No such file or directory: ['"](?P<path>[^'"]{1,255})|open file '(?P<path2>[^']{1,255})'"""
        r"""|(?P<path3>/[^\s:'"]{1,255}): No such file""",
    ),
    ("command-not-found", "executable file not found", r'exec: "(?P<command>[^"]{1,255})": executable file not found'),
    ("command-not-found", "not found", r"(?:: line )?\d{1,4}: (?P<command>[\w./+-]{1,128}): (?:command )?not found"),
    ("exec-format-error", "exec format error", r"exec format error"),
    ("worker-timeout", "worker timeout", r"WORKER TIMEOUT"),
    # What nginx, PostgreSQL and Redis say of their own files.
    ("configuration-invalid", "[emerg]", r"\[emerg\] (?:\d+#\d+: )?(?P<reason>[^\n]{1,200}?) in (?P<path>/[^\s:]{1,255}):(?P<line>\d{1,6})"),
    ("configuration-invalid", "contains errors", r'configuration file "(?P<path>[^"]{1,255})" contains errors'),
    ("configuration-invalid", "unrecognized configuration", r'unrecognized configuration parameter "(?P<field>[^"]{1,128})"'),
    ("configuration-invalid", "could not access file", r'could not access file "(?P<path>[^"]{0,255})"'),
    ("configuration-invalid", "config file error", r"FATAL CONFIG FILE ERROR"),
    ("migration-configuration", "script_location", r"No 'script_location' key found in configuration"),
    ("settings-invalid", "not a valid port", r"'(?P<field>[^']{1,100})' is not a valid port number"),
    ("too-many-open-files", "too many open files", r"Too many open files"),
)

# Exceptions whose class alone says what they are.
_CLASSES: t.Mapping[str, str] = {
    "NameError": "name-error",
    "UnboundLocalError": "name-error",
    "SyntaxError": "syntax-error",
    "IndentationError": "syntax-error",
    "TabError": "syntax-error",
    "ImportError": "import-error",
    "ModuleNotFoundError": "import-error",
    "MemoryError": "out-of-memory",
    "PermissionError": "permission-denied",
    "FileNotFoundError": "file-missing",
    "ConnectionResetError": "connection-reset",
    "BrokenPipeError": "connection-reset",
    "ConnectionRefusedError": "connection-refused",
    "gaierror": "name-not-resolved",
    "TimeoutError": "timeout",
    "ExpiredSignatureError": "jwt-expired",
    "InvalidSignatureError": "jwt-bad-signature",
    "ImmatureSignatureError": "jwt-not-yet-valid",
    "InvalidAlgorithmError": "jwt-wrong-algorithm",
    "JWTError": "jwt-invalid",
    "InvalidTokenError": "jwt-invalid",
}

# A bare socket error says nothing of what was wanted; the library in the traceback's frames does.
_LIBRARIES: tuple[tuple[str, str], ...] = (
    ("/asyncpg/", "database"),
    ("/psycopg", "database"),
    ("/redis/", "redis"),
    ("/httpx/", "http"),
    ("/httpcore/", "http"),
    ("/aiohttp/", "http"),
    ("/urllib3/", "http"),
)
_PORTS: t.Mapping[str, str] = {"5432": "database", "6379": "redis"}
_GENERAL = ("name-not-resolved", "connection-refused", "timeout")

KINDS: frozenset[str] = frozenset({rule[0] for rule in _RULES} | set(_CLASSES.values()) | {"validation-error", "timeout", UNHANDLED})

_TRACEBACK = "Traceback (most recent call last):"
_CHAINED = ("The above exception was the direct cause", "During handling of the above exception")
_GROUP_PREFIX = re.compile(r"^ {0,40}[|+] ?(?:[-+| ]{0,60}\d{0,4} ?-{10,40})?")
_EXCEPTION_LINE = re.compile(r"([A-Za-z_][\w.]{0,200})(?:: ?(.*))?$")
_NAMED_EXCEPTION = re.compile(r"(?:^|[\s:\]])((?:[A-Za-z_]\w{0,60}\.){0,8}[A-Z]\w{0,80}(?:Error|Exception|Timeout|Violation|Interrupt))(?:: (.*)|\(|$)")
_LOG_HEADER = re.compile(r"[\[{(]?(?:\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d|\d\d/\w{3}/\d{4}|(?:DEBUG|INFO|WARN|WARNING|ERROR|CRITICAL)\b)")
_VALIDATION = re.compile(r"^\d{1,4} validation errors? for (?P<model>[\w.\[\]]{1,100})")
_VALIDATION_FIELD = re.compile(r"^(?P<field>[^\s\[\]][^\[\]\n]{0,127})$")
_URL_PASSWORD = re.compile(r"(://[^\s:/@'\"]{0,100}:)[^\s@/'\"]{1,200}@")


def classify_text(text: t.Union[str, t.Sequence[str]]) -> t.Optional[AppError]:
    """Return what the last exception or error message in *text* means, or ``None`` where there is none.

    *text* is one log message (with or without its traceback) or the tail of a log, as text or as lines; JSON records in it
    are opened. Of a chain of exceptions the last that is understood counts. Pure, and bounded in time for any input.
    """
    lines = _lines(text)
    blocks = _exceptions(lines)
    after = blocks[-1].end if blocks else 0
    plain = _last_plain(lines, after)
    if plain is not None and plain.kind != UNHANDLED:
        return plain
    unhandled: t.Optional[AppError] = plain
    for block in reversed(blocks):
        error = _of_exception(block)
        if error.kind != UNHANDLED:
            return error
        unhandled = unhandled or error
        if not block.chained:
            break
    return unhandled


@dataclasses.dataclass
class _Block:
    """One exception of a traceback; *chained*: it names the one before it as its cause."""

    chained: bool
    frames: list[str] = dataclasses.field(default_factory=list)
    exception: str = ""
    message: list[str] = dataclasses.field(default_factory=list)
    end: int = 0


def _lines(text: t.Union[str, t.Sequence[str]]) -> list[str]:
    if isinstance(text, str):
        text = text[-MAX_LINES * MAX_LINE_CHARACTERS :].split("\n")
    lines: list[str] = []
    for line in text[-MAX_LINES:]:
        if line.startswith("{") and line.rstrip().endswith("}"):
            lines.extend(_json_lines(line))
        elif line[:1] == "\t" and lines and len(lines[-1]) < MAX_LINE_CHARACTERS:
            # How libpq goes on: the host and the port may stand there.
            lines[-1] += line[:MAX_LINE_CHARACTERS].rstrip("\r\n")
        else:
            lines.append(line[:MAX_LINE_CHARACTERS].rstrip("\r\n"))
    return lines


def _json_lines(line: str) -> list[str]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return [line[:MAX_LINE_CHARACTERS]]
    found = [record.get(key) for key in ("message", "event", "msg", "error", "detail", "exc_info", "exception", "stack_info", "traceback")]
    text = "\n".join(value for value in found if isinstance(value, str))
    return [part[:MAX_LINE_CHARACTERS] for part in text.split("\n")[-MAX_LINES:]]


def _exceptions(lines: t.Sequence[str]) -> list[_Block]:
    blocks: list[_Block] = []
    block: t.Optional[_Block] = None
    chained = False
    for number, raw in enumerate(lines, 1):
        line = _GROUP_PREFIX.sub("", raw, count=1) if raw[:42].lstrip(" ")[:1] in ("|", "+") else raw
        if _TRACEBACK in line:
            block, chained = _Block(chained), False
            blocks.append(block)
        elif line.startswith(_CHAINED):
            block, chained = None, True
        elif block is None:
            continue
        elif not block.exception:
            if not line or line[0] in " \t":
                if "File " in line and len(block.frames) < MAX_LINES:
                    block.frames.append(line)
                continue
            match = _EXCEPTION_LINE.match(line)
            if match is None:
                # The traceback was cut off and another message follows.
                blocks.remove(block)
                block = None
                continue
            block.exception, block.end = match.group(1), number
            block.message.append(match.group(2) or "")
        elif len(block.message) >= MAX_MESSAGE_LINES or _LOG_HEADER.match(line):
            block = None
        else:
            block.message.append(line)
            block.end = number
    return [found for found in blocks if found.exception]


def _last_plain(lines: t.Sequence[str], first: int) -> t.Optional[AppError]:
    unhandled: t.Optional[AppError] = None
    for line in reversed(lines[first:]):
        line = line.strip()
        if not line:
            continue
        named = _NAMED_EXCEPTION.search(line)
        exception = named.group(1) if named else None
        validation = _validation([line])
        match = _match(line)
        if match is not None:
            return AppError(match[0], exception, _shown(line), match[1])
        if validation is not None and exception is not None:
            return AppError(validation[0], exception, _shown(line), validation[2])
        if named is not None and unhandled is None:
            kind = _CLASSES.get(named.group(1).rsplit(".", 1)[-1], UNHANDLED)
            error = AppError(kind, exception, _shown(named.group(2) or line), {})
            if kind != UNHANDLED:
                return error
            unhandled = error
    return unhandled


def _of_exception(block: _Block) -> AppError:
    name = block.exception.rsplit(".", 1)[-1]
    message = "\n".join(block.message).partition("\n[SQL: ")[0].partition("(Background on this error")[0].strip()
    shown = _shown(message.split("\n", 1)[0])
    validation = _validation(block.message)
    if validation is not None:
        return AppError(validation[0], block.exception, validation[1], validation[2])
    if name == "KeyError" and block.frames and re.search(r'"(?:<frozen os>|[^"]{0,200}/os\.py)"', block.frames[-1]):
        return AppError("settings-invalid", block.exception, shown, {"field": shown.strip("'\"")})
    match = _match(f"{block.exception}: {message}")
    kind, parameters = match if match is not None else (_CLASSES.get(name, UNHANDLED), {})
    if name == "NameError":
        quoted = re.search(r"'(\w{1,100})'", shown)
        parameters = {"name": quoted.group(1)} if quoted else {}
    if kind == UNHANDLED and name == "TimeoutError":
        kind = "timeout"
    if kind in _GENERAL:
        kind = _specific(kind, parameters, block.frames)
    return AppError(kind, block.exception, shown, parameters)


def _specific(kind: str, parameters: t.Mapping[str, str], frames: t.Iterable[str]) -> str:
    """Name what was wanted (database, redis, HTTP server) in the kind of a bare socket error."""
    text = "\n".join(frames)
    what = next((what for library, what in _LIBRARIES if library in text), _PORTS.get(parameters.get("port", ""), ""))
    specific = f"{what}-{kind.replace('connection-', '')}"
    return specific if what and specific in KINDS else kind if kind != "timeout" else UNHANDLED


def _match(text: str) -> t.Optional[tuple[str, dict[str, str]]]:
    text = text[: 2 * MAX_LINE_CHARACTERS]
    lowered = text.lower()
    for kind, literal, pattern in _RULES:
        if literal not in lowered:
            continue
        match = _compiled(pattern).search(text)
        if match is not None:
            parameters = {name.rstrip("23"): value for name, value in match.groupdict().items() if value}
            if kind in _GENERAL:
                kind = _specific(kind, parameters, ())
            return kind, parameters
    return None


@functools.cache
def _compiled(pattern: str) -> t.Pattern[str]:
    return re.compile(pattern)


def _validation(message: t.Sequence[str]) -> t.Optional[tuple[str, str, dict[str, str]]]:
    """Read pydantic's list of fields; the values it prints beside them may be secrets and are left out."""
    head = next((_VALIDATION.search(line.split("ValidationError: ", 1)[-1]) for line in message[:1]), None)
    if head is None:
        return None
    model = head.group("model")
    fields = [match.group("field") for match in map(_VALIDATION_FIELD.match, message[1:]) if match]
    kind = "settings-invalid" if re.search(r"(?i)settings|config|environ", model) else "validation-error"
    parameters = {"model": model}
    if fields:
        parameters.update(field=fields[0], fields=", ".join(fields[:20]))
    return kind, head.group(0) + (": " + parameters["fields"] if fields else ""), parameters


def _shown(message: str) -> str:
    return _URL_PASSWORD.sub(r"\1***@", message.strip())[:MAX_MESSAGE_CHARACTERS]
