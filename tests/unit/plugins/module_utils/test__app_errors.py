# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors as the libraries really print them (recorded in fixtures/logs/app_errors.json) and what they are taken for."""

from __future__ import annotations

import json
import pathlib
import time

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _app_errors
from ansible_collections.stackops.runbook.plugins.module_utils._app_errors import KINDS, classify_text
from hypothesis import given, settings
from hypothesis import strategies as st

RECORDED = json.loads((pathlib.Path(__file__).parents[2] / "fixtures" / "logs" / "app_errors.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_recorded_error(name: str) -> None:
    case = RECORDED[name]
    error = classify_text(case["text"])
    assert error is not None
    assert (error.kind, error.exception, dict(error.parameters)) == (case["kind"], case["exception"], case["parameters"])
    assert classify_text(case["text"].split("\n")) == error


def test_every_kind_of_a_recorded_error_is_declared() -> None:
    assert {case["kind"] for case in RECORDED.values()} <= KINDS


MESSAGES = [
    (
        'could not connect to server: Connection refused\n\tIs the server running on host "db" (172.18.0.2) and accepting\n\tTCP/IP connections on port 5432?',
        "database-refused",
        {"host": "db", "port": "5432"},
    ),
    (
        '*2 connect() failed (111: Connection refused) while connecting to upstream, client: 127.0.0.1, upstream: "http://172.18.0.3:8000/api", host: "x"',
        "upstream-refused",
        {"host": "172.18.0.3", "port": "8000"},
    ),
    ('connection to server at "10.0.0.9", port 5432 failed: timeout expired', "database-timeout", {"host": "10.0.0.9", "port": "5432"}),
    (
        'connection to server at "db" (10.0.0.9), port 5432 failed: Connection timed out',
        "database-timeout",
        {"host": "db", "address": "10.0.0.9", "port": "5432"},
    ),
    (
        'connection to server at "db" (10.0.0.9), port 5432 failed: No route to host',
        "database-unreachable",
        {"host": "db", "address": "10.0.0.9", "port": "5432"},
    ),
    (
        'connection to server on socket "/var/run/postgresql/.s.PGSQL.5432" failed: No such file or directory',
        "database-refused",
        {"path": "/var/run/postgresql/.s.PGSQL.5432"},
    ),
    ("FATAL:  the database system is starting up", "database-starting-up", {}),
    ("FATAL:  the database system is not yet accepting connections", "database-starting-up", {}),
    ("FATAL:  the database system is shutting down", "database-connection-lost", {}),
    ("FATAL:  terminating connection due to administrator command", "database-connection-lost", {"reason": "administrator command"}),
    ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", "too-many-connections", {}),
    ('FATAL:  too many connections for role "app"', "too-many-connections", {"name": "app"}),
    (
        'FATAL:  no pg_hba.conf entry for host "172.18.0.3", user "app", database "shop", no encryption',
        "database-auth-failed",
        {"user": "app", "database": "shop"},
    ),
    ('FATAL:  role "app" does not exist', "database-auth-failed", {"user": "app"}),
    ('ERROR:  could not extend file "base/5/16400": No space left on device', "disk-full", {"path": "base/5/16400"}),
    ("Signature verification failed", "jwt-bad-signature", {}),
    ("Token verification failed: Signature has expired.", "jwt-expired", {}),
    ("Token expired", "jwt-expired", {}),
    ("Not enough segments", "jwt-malformed", {}),
    ("Invalid token format", "jwt-malformed", {}),
    ("Missing authorization header", "jwt-missing", {}),
    ("Not authenticated", "jwt-missing", {}),
    ("Could not validate credentials", "jwt-invalid", {}),
    # jsonwebtoken of Node, Authlib, Django REST framework with simplejwt, Flask-JWT-Extended.
    ("JsonWebTokenError: invalid signature", "jwt-bad-signature", {}),
    ("JsonWebTokenError: jwt malformed", "jwt-malformed", {}),
    ("JsonWebTokenError: invalid token", "jwt-malformed", {}),
    ("JsonWebTokenError: invalid algorithm", "jwt-wrong-algorithm", {}),
    ("JsonWebTokenError: jwt must be provided", "jwt-missing", {}),
    ("JsonWebTokenError: jwt audience invalid. expected: shop", "jwt-wrong-claims", {"claim": "audience"}),
    ("NotBeforeError: jwt not active", "jwt-not-yet-valid", {}),
    ("TokenExpiredError: jwt expired", "jwt-expired", {}),
    ("UnauthorizedError: No authorization token was found", "jwt-missing", {}),
    ("authlib.jose.errors.BadSignatureError: bad_signature: ", "jwt-bad-signature", {}),
    ("authlib.jose.errors.ExpiredTokenError: expired_token: The token is expired", "jwt-expired", {}),
    ("authlib.jose.errors.DecodeError: decode_error: Invalid input segments length: ", "jwt-malformed", {}),
    ("Authentication credentials were not provided.", "jwt-missing", {}),
    ("Invalid token header. No credentials provided.", "jwt-missing", {}),
    ("Invalid token header. Token string should not contain spaces.", "jwt-malformed", {}),
    ("Token is invalid or expired", "jwt-invalid", {}),
    ("Given token not valid for any token type", "jwt-invalid", {}),
    ("Missing JWT in headers, cookies, json or query_string (Missing Authorization Header (Header))", "jwt-missing", {}),
    ("Bad Authorization header. Expected 'Authorization: Bearer <JWT>'", "jwt-malformed", {}),
    # PyJWT since 2.10, to applications that always had numbers there.
    ("InvalidSubjectError: Subject must be a string", "jwt-wrong-claims", {"claim": "Subject"}),
    ("Audience doesn't match", "jwt-wrong-claims", {"claim": "Audience"}),
    ("JWTError", "jwt-invalid", {}),
    ('Unable to find a signing key that matches: "key-1"', "jwt-unknown-key", {"key": "key-1"}),
    ("[CRITICAL] WORKER TIMEOUT (pid:13)", "worker-timeout", {}),
    ("[ERROR] Worker (pid:13) was sent SIGKILL! Perhaps out of memory?", "out-of-memory", {}),
    ("/usr/bin/python3: No module named uvicorn", "import-error", {"module": "uvicorn"}),
    ("python3: can't open file '/app/mian.py': [Errno 2] No such file or directory", "file-missing", {"path": "/app/mian.py"}),
    ("/entrypoint.sh: line 3: alembic: command not found", "command-not-found", {"command": "alembic"}),
    ("sh: 1: uvicorn: not found", "command-not-found", {"command": "uvicorn"}),
    ('exec: "uvicron": executable file not found in $PATH: unknown', "command-not-found", {"command": "uvicron"}),
    ("/entrypoint.sh: Permission denied", "permission-denied", {"path": "/entrypoint.sh"}),
    ("exec /entrypoint.sh: exec format error", "exec-format-error", {}),
    ("Bind for 0.0.0.0:8000 failed: port is already allocated", "address-in-use", {"port": "8000"}),
    ("OSError: [Errno 28] No space left on device: '/logs/app.log'", "disk-full", {"path": "/logs/app.log"}),
    ("OSError: [Errno 30] Read-only file system: '/logs/app.log'", "file-system-read-only", {"path": "/logs/app.log"}),
    ("ConnectionRefusedError: [Errno 111] Connect call failed ('172.18.0.2', 5432)", "database-refused", {"host": "172.18.0.2", "port": "5432"}),
    ("ConnectionRefusedError: [Errno 111] Connect call failed ('172.18.0.2', 9999)", "connection-refused", {"host": "172.18.0.2", "port": "9999"}),
    ("httpx.ConnectTimeout: timed out", "http-timeout", {}),
    ("WRONGPASS invalid username-password pair or user is disabled.", "redis-auth-failed", {}),
    (
        '2026/11/26 08:20:44 [emerg] 1#1: unknown directive "proxy_pas" in /etc/nginx/nginx.conf:2',
        "configuration-invalid",
        {"reason": 'unknown directive "proxy_pas"', "path": "/etc/nginx/nginx.conf", "line": "2"},
    ),
    ('nginx: [emerg] host not found in upstream "api:8080" in /etc/nginx/nginx.conf:9', "name-not-resolved", {"host": "api", "port": "8080"}),
    ("nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)", "address-in-use", {}),
    ('FATAL:  configuration file "/etc/postgresql/postgresql.conf" contains errors', "configuration-invalid", {"path": "/etc/postgresql/postgresql.conf"}),
    ('FATAL:  could not access file "": No such file or directory', "configuration-invalid", {}),
    ("*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***", "configuration-invalid", {}),
    (
        'connection to server at "10.1.2.3", port 5432 failed: received invalid response to SSL negotiation: H',
        "database-protocol-error",
        {"host": "10.1.2.3", "port": "5432"},
    ),
    ("redis.exceptions.AuthenticationError: Authentication required.", "redis-auth-failed", {}),
    ("redis.exceptions.OutOfMemoryError: command not allowed when used memory > 'maxmemory'.", "redis-out-of-memory", {}),
    ("OOM command not allowed when used memory > 'maxmemory'.", "redis-out-of-memory", {}),
    (
        "redis.exceptions.ResponseError: MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
        "redis-persistence-failing",
        {},
    ),
    ("redis.exceptions.ReadOnlyError: You can't write against a read only replica.", "redis-read-only", {}),
    ("redis.exceptions.BusyLoadingError: Redis is loading the dataset in memory", "redis-loading", {}),
    ("redis.exceptions.ConnectionError: max number of clients reached", "redis-too-many-clients", {}),
    (
        'asyncpg.exceptions.NotNullViolationError: null value in column "isbn" of relation "books" violates not-null constraint',
        "not-null-violation",
        {"column": "isbn", "relation": "books"},
    ),
    (
        'insert or update on table "loans" violates foreign key constraint "loans_book_id_fkey"',
        "foreign-key-violation",
        {"relation": "loans", "constraint": "loans_book_id_fkey"},
    ),
    ('new row for relation "items" violates check constraint "price_positive"', "check-violation", {"relation": "items", "constraint": "price_positive"}),
    ('invalid input syntax for type integer: "none"', "invalid-value", {"type": "integer"}),
    ('invalid input value for enum state: "done"', "invalid-value", {"type": "state"}),
    ("value too long for type character varying(20)", "invalid-value", {"type": "character varying(20)"}),
    ("psycopg2.errors.NumericValueOutOfRange: integer out of range", "invalid-value", {"type": "integer"}),
    ("asyncpg.exceptions.DataError: invalid input for query argument $1: 'x' (an integer is required)", "invalid-value", {"argument": "1"}),
    ("could not serialize access due to concurrent update", "serialization-failure", {"reason": "concurrent update"}),
    ("psycopg2.errors.InFailedSqlTransaction: current transaction is aborted, commands ignored", "transaction-aborted", {}),
    ("asyncpg.exceptions._base.InterfaceError: cannot perform operation: another operation is in progress", "session-shared", {}),
    ("asyncpg.exceptions._base.InterfaceError: connection is closed", "database-session-closed", {}),
    ("psycopg2.InterfaceError: connection already closed", "database-session-closed", {}),
    ('extension "vector" is not available', "extension-missing", {"extension": "vector"}),
    ("function gen_random_uuid() does not exist", "function-missing", {"function": "gen_random_uuid"}),
    ("FAILED: No 'script_location' key found in configuration.", "migration-configuration", {}),
    ("Error: 'http' is not a valid port number.", "settings-invalid", {"field": "http"}),
    ("alembic.util.exc.CommandError: Can't locate revision identified by '1a2b'", "migration-unknown-revision", {"revision": "1a2b"}),
    ("ValueError: no", "unhandled", {}),
    ("Unhandled shop.errors.BasketError: empty", "unhandled", {}),
]


@pytest.mark.parametrize(("message", "kind", "parameters"), MESSAGES, ids=[message[:50] for message, dummy, dummy2 in MESSAGES])
def test_single_message(message: str, kind: str, parameters: dict[str, str]) -> None:
    error = classify_text(message)
    assert error is not None
    assert error.kind == kind
    assert parameters.items() <= dict(error.parameters).items()
    assert kind in KINDS


@pytest.mark.parametrize("message", ["", "all is well", "GET /items/404 200", "user logged in", "database ready", "not found: /favicon.ico", "12: x"])
def test_what_is_no_error_is_none(message: str) -> None:
    assert classify_text(message) is None


def test_exception_group_gives_its_last_member() -> None:
    text = """  + Exception Group Traceback (most recent call last):
  |   File "x.py", line 1, in <module>
  |     raise ExceptionGroup("eg", [ValueError(1), e])
  | ExceptionGroup: eg (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "x.py", line 1, in f
    | ValueError: 1
    +---------------- 2 ----------------
    | Traceback (most recent call last):
    |   File "x.py", line 1, in g
    | ModuleNotFoundError: No module named 'shop'
    +------------------------------------"""
    error = classify_text(text)
    assert error is not None and (error.kind, error.parameters["module"]) == ("import-error", "shop")


def test_cause_that_is_understood_stands_for_a_wrapper_that_is_not() -> None:
    text = (
        'Traceback (most recent call last):\n  File "a.py", line 1, in f\n'
        "redis.exceptions.ConnectionError: Error 111 connecting to cache:6379. Connection refused.\n\n"
        "The above exception was the direct cause of the following exception:\n\n"
        'Traceback (most recent call last):\n  File "a.py", line 2, in g\nshop.NotReady: no cache\n'
    )
    error = classify_text(text)
    assert error is not None and (error.kind, error.parameters) == ("redis-refused", {"host": "cache", "port": "6379"})
    unrelated = text.replace("The above exception was the direct cause of the following exception:", "")
    error = classify_text(unrelated)
    assert error is not None and (error.kind, error.exception) == ("unhandled", "shop.NotReady")


def test_json_records_in_a_tail_are_opened() -> None:
    traceback = "Traceback (most recent call last):\n  File \"a\", line 1\nModuleNotFoundError: No module named 'shop'"
    record = {"level": "error", "event": "boom", "exception": traceback}
    error = classify_text(["started", json.dumps(record)])
    assert error is not None and error.parameters == {"module": "shop"}


def test_values_of_settings_and_passwords_are_not_kept() -> None:
    error = classify_text(RECORDED["settings-pydantic2"]["text"].replace("many", "s3cret"))
    assert error is not None and "s3cret" not in json.dumps(error.as_dict())
    error = classify_text("ValueError: bad url postgresql://app:s3cret@db/shop")
    assert error is not None and "s3cret" not in json.dumps(error.as_dict())


@given(st.text(max_size=2000))
def test_never_raises(text: str) -> None:
    classify_text(text)
    classify_text("Traceback (most recent call last):\n" + text)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted({literal for dummy, literal, dummy2 in _app_errors._RULES})),
    st.sampled_from(["a", "'", '"', " ", "(", "x.", "1:", '("a', "/a", "host "]),
)
def test_hostile_input_costs_no_more_than_its_length(literal: str, filler: str) -> None:
    begin = time.process_time()
    classify_text((filler * 3000 + literal + filler * 3000 + "\n") * 20)
    assert time.process_time() - begin < 2.0
