# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PostgreSQL addresses as applications are given them."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._database_url import database_urls, parse_database_url
from hypothesis import given
from hypothesis import strategies as st

CANARY = "Canary-9d2f"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2", "postgresql+psycopg", "postgresql+asyncpg", "POSTGRESQL"])
def test_every_flavour(scheme):
    url = parse_database_url(f"{scheme}://app:s3cret@db:5433/shop")
    assert (url.scheme, url.host, url.port, url.database, url.user, url.password) == (scheme.lower(), "db", 5433, "shop", "app", "s3cret")


@pytest.mark.parametrize(
    "text, hosts, database, user, password",
    [
        ("postgres://db/shop", (("db", 5432),), "shop", None, None),
        ("postgres://db", (("db", 5432),), None, None, None),
        ("postgresql://u@db:6000", (("db", 6000),), None, "u", None),
        ("postgresql://u:@db/x", (("db", 5432),), "x", "u", ""),
        ("postgresql://a%40b:p%40s%2Fs%3A%25@db/my%20db", (("db", 5432),), "my db", "a@b", "p@s/s:%"),
        ("postgresql://u:p@ss@db/x", (("db", 5432),), "x", "u", "p@ss"),
        ("postgresql://u:p/a?s#s@db/x", (("db", 5432),), "x", "u", "p/a?s#s"),
        ("postgresql://u:p@db/x?options=a@b", (("db", 5432),), "x", "u", "p"),
        ("postgresql://u:p@[2001:db8::1]:5433/x", (("2001:db8::1", 5433),), "x", "u", "p"),
        ("postgresql://u:p@one:1,two,three:3/x", (("one", 1), ("two", 5432), ("three", 3)), "x", "u", "p"),
        ("postgresql://u:p@/x?host=one:1&host=two:2", (("one", 1), ("two", 2)), "x", "u", "p"),
        ("postgresql://u:p@%2Fvar%2Frun%2Fpostgresql/x", (("/var/run/postgresql", 5432),), "x", "u", "p"),
        ("postgresql+asyncpg://u:p@/x?host=/run/pg&port=6543", (("/run/pg", 6543),), "x", "u", "p"),
        ("postgresql:///x", (("", 5432),), "x", None, None),
        ("jdbc:postgresql://db:5432/x?user=u&password=p", (("db", 5432),), "x", "u", "p"),
        ("  'postgresql://u:p@db/x'\n", (("db", 5432),), "x", "u", "p"),
        ("host=db port=6000 dbname=x user=u password='it\\'s a pass'", (("db", 6000),), "x", "u", "it's a pass"),
        ("host=one,two port=1,2 dbname=x", (("one", 1), ("two", 2)), "x", None, None),
        ("dbname=x user=u password=", (("", 5432),), "x", "u", ""),
    ],
)
def test_addresses(text, hosts, database, user, password):
    url = parse_database_url(text)
    assert (url.hosts, url.database, url.user, url.password) == (hosts, database, user, password)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mysql://u:p@db/x",
        "sqlite:///x.db",
        "redis://cache:6379/0",
        "http://postgres/",
        "postgresql://db:port/x",
        "postgresql://db:99999/x",
        "user=bob",
        "-c shared_buffers=1GB -c work_mem=4MB",
        "user=bob mode=fast",
        "postgresql",
        "postgresql://db/x" + "y" * 9000,
    ],
)
def test_what_is_no_address(text):
    assert parse_database_url(text) is None


def test_sockets_are_told_from_hosts():
    assert parse_database_url("postgresql:///x").is_socket
    assert parse_database_url("postgresql://%2Frun/x").is_socket
    assert not parse_database_url("postgresql://db/x").is_socket


def test_parameters_and_default_database():
    url = parse_database_url("postgresql://bob:p@db?sslmode=require&target_session_attrs=read-write")
    assert url.parameter("sslmode") == "require"
    assert url.parameter("host") is None
    assert url.login_database == "bob"


PARTS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=20)


@given(user=PARTS, password=PARTS, database=PARTS)
def test_quoted_parts_come_back_whole(user, password, database):
    url = parse_database_url(f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@db/{quote(database, safe='')}")
    assert (url.user, url.password, url.database, url.host) == (user, password, database, "db")


@given(st.text(max_size=30), st.text(max_size=30))
def test_the_password_is_never_shown(before, after):
    for url in (parse_database_url(f"postgresql://u:{before}{CANARY}{after}@db:5432/x"), parse_database_url(f"host=db dbname=x password={CANARY}")):
        if url is not None and CANARY in (url.password or ""):
            assert CANARY not in repr(url)
            assert CANARY not in url.shown()


@given(st.text(max_size=200))
def test_any_text_is_read_without_failing(text):
    parse_database_url(text)
    parse_database_url("postgresql://" + text)
    database_urls({"DATABASE_URL": text, "PGHOST": text, "PGUSER": text, "PGPORT": text})


@pytest.mark.parametrize(
    "env, variable",
    [
        ({"PGHOST": "db", "PGPORT": "5433", "PGUSER": "app", "PGPASSWORD": "s3cret", "PGDATABASE": "shop"}, "PGHOST"),
        ({"POSTGRES_HOST": "db", "POSTGRES_PORT": "5433", "POSTGRES_USER": "app", "POSTGRES_PASSWORD": "s3cret", "POSTGRES_DB": "shop"}, "POSTGRES_HOST"),
        ({"POSTGRES_SERVER": "db:5433", "POSTGRES_USER": "app", "POSTGRES_PASSWORD": "s3cret", "POSTGRES_DB": "shop"}, "POSTGRES_SERVER"),
        ({"DB_HOST": "db", "DB_PORT": "5433", "DB_USERNAME": "app", "DB_PASSWORD": "s3cret", "DB_DATABASE": "shop", "DB_CONNECTION": "pgsql"}, "DB_HOST"),
        ({"APP_DB_HOST": "db", "APP_DB_PORT": "5433", "APP_DB_USER": "app", "APP_DB_PASS": "s3cret", "APP_DB_NAME": "shop"}, "APP_DB_HOST"),
        ({"SQL_ENGINE": "django.db.backends.postgresql", "SQL_HOST": "db", "SQL_PORT": "5433", "SQL_USER": "app", "SQL_PASSWORD": "s3cret",
          "SQL_DATABASE": "shop"}, "SQL_HOST"),
    ],
)  # fmt: skip
def test_separate_variables(env, variable):
    ((name, url),) = database_urls(env)
    assert name == variable
    assert (url.host, url.port, url.user, url.password, url.database) == ("db", 5433, "app", "s3cret", "shop")


@pytest.mark.parametrize(
    "env",
    [
        {"POSTGRES_USER": "postgres", "POSTGRES_PASSWORD": "x", "POSTGRES_DB": "shop"},
        {"DB_HOST": "db", "DB_PORT": "3306", "DB_USER": "app"},
        {"DB_HOST": "db", "DB_CONNECTION": "mysql", "DB_USER": "app"},
        {"DB_HOST": "db"},
        {"SMTP_HOST": "mail", "SMTP_USER": "app"},
        {"HOSTNAME": "3f2a", "PATH": "/bin", "USER": "app"},
        {"REDIS_HOST": "cache", "REDIS_DB": "0", "REDIS_USER": "x"},
    ],
)
def test_environments_without_an_address(env):
    assert database_urls(env) == []


def test_whole_addresses_come_first():
    env = {"PGHOST": "db", "PGUSER": "app", "READ_REPLICA": "postgres://b/x", "DATABASE_URL": "postgres://a/x", "OTHER": "redis://c"}
    assert [(variable, url.host) for variable, url in database_urls(env)] == [("DATABASE_URL", "a"), ("READ_REPLICA", "b"), ("PGHOST", "db")]
