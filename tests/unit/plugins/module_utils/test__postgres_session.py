# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Literals, messages of psql, and sessions that end in the middle. Sessions with real servers are in tests/live."""

from __future__ import annotations

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._database_url import parse_database_url
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._postgres_session import (
    DatabaseError,
    Limits,
    PsqlSession,
    Target,
    failure_from_text,
    literal,
    render,
)
from ansible_collections.stackops.runbook.plugins.module_utils._postgres_wire import Credentials
from ansible_collections.stackops.runbook.plugins.module_utils._process import Completed
from hypothesis import given
from hypothesis import strategies as st

TARGET = Target((("db", 5432),), Credentials("app", "Canary-9d2f", "shop"))


@pytest.mark.parametrize(
    "value, sql",
    [
        (None, "NULL"),
        (True, "true"),
        (5, "(5)"),
        (-1.5, "(-1.5)"),
        ("it's", "'it''s'"),
        ("a\\b'", " E'a\\\\b'''"),
        (("a", "b'"), "ARRAY['a', 'b''']::text[]"),
        ((), "ARRAY[]::text[]"),
    ],
)
def test_literals(value, sql):
    assert literal(value) == sql


@given(st.text(st.characters(blacklist_characters="\0")))
def test_no_text_ends_its_literal(text):
    sql = literal(text).strip()
    inner = sql[2:-1] if sql.startswith("E'") else sql[1:-1]
    if sql.startswith("E'"):
        inner = inner.replace("\\\\", "")
        assert "\\" not in inner
    assert "'" not in inner.replace("''", "")


def test_nul_is_refused():
    with pytest.raises(ValueError, match="NUL"):
        literal("a\0b")


def test_rendering():
    assert render("SELECT %(a)s LIKE 'x%%'", {"a": "%s"}) == "SELECT '%s' LIKE 'x%'"


@pytest.mark.parametrize(
    "text, failure",
    [
        ('psql: error: connection to server at "db" (10.0.0.2), port 5432 failed: FATAL:  password authentication failed for user "app"', "auth-failed"),
        ('psql: error: FATAL:  Peer authentication failed for user "app"', "auth-failed"),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "app", database "shop", SSL off', "auth-failed"),
        ('connection to server on socket "/run/x" failed: FATAL:  database "shop" does not exist', "database-missing"),
        ("FATAL:  sorry, too many clients already", "too-many-connections"),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", "too-many-connections"),
        ("FATAL:  the database system is starting up", "starting-up"),
        ('could not translate host name "db" to address: Name or service not known', "name-not-resolved"),
        ('connection to server at "10.0.0.2", port 5432 failed: timeout expired', "timeout"),
        ('connection to server at "10.0.0.2", port 5432 failed: Connection refused', "refused"),
        ('connection to server on socket "/var/run/postgresql/.s.PGSQL.5432" failed: No such file or directory', "refused"),
        ("SSL error: certificate verify failed", "tls-error"),
        ("something new", "protocol-error"),
        ("", "protocol-error"),
    ],
)
def test_what_libpq_prints(text, failure):
    error = failure_from_text(TARGET, text)
    assert error.code == failure
    assert not error.reason.startswith("psql:")


def ended(stdout=b"", stderr=b"", exit_code=0):
    return lambda argv, environment, stdin, timeout: Completed(tuple(argv), exit_code, stdout, stderr)


def test_psql_gets_no_secret_in_its_arguments():
    seen = {}

    def runner(argv, environment, stdin, timeout):
        seen.update(argv=argv, environment=environment, stdin=stdin)
        return Completed(tuple(argv), 2, b"", b"FATAL:  the database system is starting up")

    with pytest.raises(DatabaseError) as caught:
        PsqlSession.open(runner, TARGET, Limits())
    assert caught.value.code == "starting-up"
    assert "Canary-9d2f" not in " ".join(seen["argv"]) + seen["stdin"].decode()
    assert seen["environment"]["PGPASSWORD"] == "Canary-9d2f"
    assert "READ ONLY" in seen["stdin"].decode()


@pytest.mark.parametrize(
    "runner",
    [ended(exit_code=127), ended(b'OCI runtime exec failed: exec: "psql": executable file not found in $PATH: unknown', exit_code=126)],
)
def test_psql_is_missing(runner):
    with pytest.raises(DatabaseError) as caught:
        PsqlSession.open(runner, TARGET, Limits())
    assert caught.value.code == "driver-missing"


@pytest.mark.parametrize("code, failure", [("timeout", "timeout"), ("not-installed", "driver-missing"), ("not-running", "not-running")])
def test_the_way_to_psql_fails(code, failure):
    def runner(argv, environment, stdin, timeout):
        raise CheckError("psql", "it did not work", "", code)

    assert PsqlSession(runner, TARGET, Limits()).answers({"a": "SELECT 1"})["a"].code == failure


def test_the_connection_is_lost_in_the_middle():
    session = PsqlSession(ended(), TARGET, Limits())
    word = session._word
    output = f'{word}\n[{{"x":1}}]\n{word} 00000 \n{word}\n'.encode()
    session._runner = ended(output, b"server closed the connection unexpectedly", 2)
    answers = session.answers({"a": "SELECT 1 AS x", "b": "SELECT 2", "c": "SELECT 3"})
    assert answers["a"] == [{"x": 1}]
    assert isinstance(answers["b"], DatabaseError)
    assert isinstance(answers["c"], DatabaseError)


@given(st.binary(max_size=300))
def test_whatever_psql_prints_is_an_answer(output):
    session = PsqlSession(ended(output), TARGET, Limits())
    assert set(session.answers({"a": "SELECT 1", "b": "SELECT 2"})) == {"a", "b"}


def test_a_url_becomes_a_target():
    target = Target.of_url(parse_database_url("postgresql://bob:Canary-9d2f@one:1,two:2/shop?sslmode=verify-ca&sslrootcert=/ca.pem&foo=bar&sslkey=/key"))
    assert target.hosts == (("one", 1), ("two", 2))
    assert (target.ssl_mode, target.ssl_root_cert, dict(target.parameters)) == ("verify-ca", "/ca.pem", {"sslkey": "/key"})
    assert "Canary-9d2f" not in repr(target) + target.shown
