# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module said against what the server's own psql says."""

from __future__ import annotations

import json

import pytest

STATEMENT = "SELECT calls || ' ' || round(mean_exec_time::numeric, 3) FROM pg_stat_statements WHERE query LIKE '%deliberately_slow' AND query ~ 'pg_sleep'"


def psql(host, statement):
    """Return what psql in the database's container answers."""
    return host.check_output("docker exec shop-postgres-1 sh -c %s", f'psql -qAtX -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "{statement}"')


@pytest.fixture(scope="module")
def text(host):
    """Return the module's result as it was written."""
    return host.file("/var/tmp/pg_slow_queries.json").content_string


@pytest.fixture(scope="module")
def slow(text):
    """Return the module's result."""
    return json.loads(text)


@pytest.fixture(scope="module")
def statements(slow):
    """Return what it says of the one server's statements."""
    (instance,) = slow["instances"]
    return instance["statements"]


def test_the_server_was_found_and_read(slow, statements):
    (instance,) = slow["instances"]
    assert (instance["name"], instance["reachable"], instance["failure"]) == ("shop/postgres", True, None)
    assert (statements["available"], statements["failure"]) == (True, None)
    assert slow["errors"] == []


def test_the_slow_statement_leads_with_the_servers_numbers(host, statements):
    first = statements["queries"][0]
    assert "deliberately_slow" in first["query"]
    calls, mean = psql(host, STATEMENT).split()
    assert first["calls"] == int(calls) == 3
    assert first["mean_exec_time_ms"] == pytest.approx(float(mean), abs=0.01)


def test_means_descend_and_rare_statements_are_left_out(statements):
    means = [entry["mean_exec_time_ms"] for entry in statements["queries"]]
    assert means == sorted(means, reverse=True)
    assert all(entry["calls"] >= 3 for entry in statements["queries"])
    assert not any("only_once" in entry["query"] for entry in statements["queries"])


def test_identifiers_are_strings(host, statements):
    first = statements["queries"][0]
    assert isinstance(first["queryid"], str)
    assert psql(host, f"SELECT count(*) FROM pg_stat_statements WHERE queryid = {first['queryid']}") != "0"


def test_the_verdict_follows_the_thresholds(slow):
    assert slow["status"] == "warning"
    assert slow["metrics"]["slowest_mean_ms"]["value"] >= 200


def test_no_secret_and_no_literal_is_in_it(host, text):
    password = host.check_output("docker exec shop-postgres-1 printenv POSTGRES_PASSWORD")
    assert password
    assert password not in text
    assert "canary-literal" not in text


def test_nothing_was_reset(host, statements):
    assert psql(host, "SELECT count(*) FROM pg_stat_statements WHERE query LIKE '%deliberately_fast%'") != "0"
    assert any("deliberately_fast" in entry["query"] for entry in statements["queries"])
