# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._database_facts import (
    check,
    compare_contents,
    compare_properties,
    compare_rows,
    compare_sequences,
    identifier,
)

CONTENTS: dict[str, t.Any] = {
    "tables": [{"schema": "public", "name": "a", "rows": 3, "hash": "17"}, {"schema": "public", "name": "b", "rows": 0, "hash": "0"}],
    "objects": {"tables": 2, "indexes": 1},
    "extensions": [{"name": "plpgsql", "version": "1.0"}],
    "large_objects": {"number": 1, "hash": "9"},
    "alembic_revisions": ["abc"],
}
PROPERTIES: dict[str, t.Any] = {
    "owner": "app", "encoding": "UTF8", "locale": {"datcollate": "C"}, "connection_limit": -1, "tablespace": "pg_default", "comment": None, "acl": None,
    "settings": [{"role": None, "name": "work_mem", "value": "4MB"}], "size_bytes": 7,
}  # fmt: skip


def failed(checks: list[dict[str, t.Any]]) -> dict[str, str]:
    return {one["name"]: one["detail"] for one in checks if not one["ok"]}


def test_equal_contents_pass() -> None:
    assert failed(compare_contents(CONTENTS, copy.deepcopy(CONTENTS))) == {}


@pytest.mark.parametrize(
    ("path", "value", "name", "told"),
    [
        (("tables", 0, "rows"), 2, "rows", "public.a: 3 rows expected, 2 found"),
        (("tables", 0, "hash"), "18", "contents", "public.a: contents differ"),
        (("large_objects", "hash"), "8", "contents", "large objects: contents differ"),
        (("large_objects", "number"), 2, "large objects", "1 expected, 2 found"),
        (("objects", "indexes"), 0, "objects", "indexes: 1 expected, 0 found"),
        (("objects", "triggers"), 1, "objects", "triggers: None expected, 1 found"),
        (("extensions", 0, "version"), "1.1", "extensions", "plpgsql"),
        (("alembic_revisions",), [], "migrations", "alembic"),
    ],
)
def test_every_difference_is_found(path: tuple[t.Any, ...], value: t.Any, name: str, told: str) -> None:
    changed = copy.deepcopy(CONTENTS)
    inner: t.Any = changed
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    assert told in failed(compare_contents(CONTENTS, changed))[name]


def test_without_hashes_rows_are_counted_only() -> None:
    expected = copy.deepcopy(CONTENTS)
    for table in expected["tables"]:
        del table["hash"]
    del expected["large_objects"]["hash"]
    assert [one["name"] for one in compare_contents(expected, CONTENTS)] == ["rows", "large objects", "objects", "extensions", "migrations"]


def test_a_missing_table_lacks_its_rows() -> None:
    assert not compare_rows(CONTENTS["tables"], {})["ok"]
    assert compare_rows(CONTENTS["tables"], {("public", "a"): 3})["ok"]


def test_sequences_are_compared_by_value_and_whether_called() -> None:
    one = [{"schema": "s", "name": "q", "last_value": "9223372036854775807", "is_called": True}]
    assert compare_sequences(one, [{**one[0], "last_value": 9223372036854775807}])["ok"]
    assert not compare_sequences(one, [{**one[0], "is_called": False}])["ok"]
    assert not compare_sequences(one, [])["ok"]


@pytest.mark.parametrize("name", ["owner", "encoding", "locale", "connection_limit", "tablespace", "comment", "acl", "settings"])
def test_properties_differ_by_name(name: str) -> None:
    changed = {**PROPERTIES, name: "another"}
    assert name in failed([compare_properties(PROPERTIES, changed)])["properties"]
    assert compare_properties(PROPERTIES, changed, without=(name,))["ok"]
    assert compare_properties(PROPERTIES, {**PROPERTIES, "size_bytes": 8})["ok"]


def test_a_long_list_of_problems_is_cut() -> None:
    detail = check("x", [f"p{number}" for number in range(30)], "")["detail"]
    assert detail.startswith("p0; p1") and detail.endswith("(+20)") and "p10" not in detail
    assert check("x", [], "fine") == {"name": "x", "ok": True, "detail": "fine"}


def test_identifiers_are_quoted() -> None:
    assert identifier('a"b; DROP') == '"a""b; DROP"'
