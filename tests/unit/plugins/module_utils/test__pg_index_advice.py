# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which columns a statement looks for, and what follows from it."""

from __future__ import annotations

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._pg_index_advice import Table, columns_of, is_served, suggestions

ORDERS = Table("public", "orders", ("id", "customer_id", "status", "created_at", "total"), (("id",),))


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        ("SELECT * FROM orders WHERE customer_id = $1", ("customer_id",)),
        ("select o.* from public.orders as o where o.customer_id = $1 and o.status in ($2, $3)", ("customer_id", "status")),
        ("SELECT * FROM orders WHERE customer_id = $1 AND created_at > $2 ORDER BY created_at DESC LIMIT $3", ("customer_id", "created_at")),
        ("SELECT * FROM orders WHERE customer_id = $1 ORDER BY created_at LIMIT $2", ("customer_id", "created_at")),
        ("SELECT * FROM orders WHERE created_at BETWEEN $1 AND $2", ("created_at",)),
        ("SELECT i.* FROM order_items i JOIN orders o ON o.id = i.order_id WHERE o.status = $1", ("id", "status")),
        ('UPDATE orders SET total = $1 WHERE "customer_id" = $2', ("customer_id",)),
        # Of which table it is, only the catalogue of the other one could tell.
        ("SELECT * FROM orders, customers WHERE status = $1", ()),
        ("SELECT * FROM orders WHERE customer_id = $1 OR status = $2", ()),
        ("SELECT * FROM orders WHERE lower(missing) = $1", ()),
        ("SELECT * FROM orders WHERE total <> $1", ()),
        ("SELECT * FROM other.orders WHERE customer_id = $1", ()),
        ("SELECT * FROM orders ORDER BY created_at", ()),
    ],
)
def test_columns(query, columns):
    assert columns_of(query, ORDERS) == columns


@pytest.mark.parametrize(
    ("columns", "indexes", "served"),
    [
        (("a",), [("a", "b")], True),
        (("b",), [("a", "b")], False),
        (("b", "a"), [("a", "b")], True),
        (("a", "c"), [("a",), ("c",)], False),
        (("a",), [], False),
    ],
)
def test_served_by_an_index_that_begins_with_them(columns, indexes, served):
    assert is_served(columns, indexes) is served


QUERY = {"query": "SELECT * FROM orders WHERE customer_id = $1", "calls": 90, "mean_exec_time_ms": 30.0, "total_exec_time_ms": 2700.0}


def facts(**changes):
    plain = {
        "tables": [{"name": "public.orders", "missing_index_likely": True, "sequential_scans": 90, "rows_read_sequentially": 9000000, "rows": 100000}],
        "indexes": {"invalid": [], "unused": [], "duplicate": []},
        "statements": {"queries": [QUERY]},
    }  # fmt: skip
    return {**plain, **changes}


def test_a_suggestion_is_text_with_its_reason():
    (found,) = suggestions(facts(), [ORDERS])
    assert found["kind"] == "create"
    assert found["sql"] == 'CREATE INDEX CONCURRENTLY ON "public"."orders" ("customer_id");'
    assert "90 sequential scans" in found["reason"]
    assert "EXPLAIN" in found["caution"]


def test_no_statement_tells_the_column():
    (found,) = suggestions(facts(statements={"queries": []}), [ORDERS])
    assert found["kind"] == "look"
    assert "create_extension" in found["caution"]


def test_nothing_stands_out():
    assert suggestions(facts(tables=[]), []) == []


def test_indexes_that_are_broken_double_or_unused():
    found = suggestions(facts(tables=[], indexes={"invalid": ["public.a"], "unused": ["public.c"], "duplicate": ["public.b (same as public.a)"]}), [])
    assert [one["sql"] for one in found] == [
        "REINDEX INDEX CONCURRENTLY public.a;",
        "DROP INDEX CONCURRENTLY public.b;",
        "DROP INDEX CONCURRENTLY public.c;",
    ]
