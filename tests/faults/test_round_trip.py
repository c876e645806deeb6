# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever PostgreSQL can hold comes back equal: rows, large objects, sequences, schema to the letter, and what belongs to the database."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from tests.support.backup_proof import database, good, leftovers, manifest_of, newest, own_databases, properties_of, rows_of, schema_of
from tests.support.backup_stack import BackupStack

NAME = "Größe & 'Maß' \"1.0\""
_EXTENSIONS = ("pg_trgm", "citext", "hstore", "pgcrypto", "btree_gist", "ltree", "unaccent")

EVERYTHING = pathlib.Path(__file__).with_name("everything.sql").read_text("utf-8")

_SEQUENCES = """SELECT string_agg(format('%s %s %s', c.oid::regclass, (xpath('/row/v/text()', query_to_xml(
format('SELECT last_value AS v FROM %s', c.oid::regclass), false, true, '')))[1], (xpath('/row/v/text()', query_to_xml(
format('SELECT is_called AS v FROM %s', c.oid::regclass), false, true, '')))[1]), E'\\n' ORDER BY c.oid::regclass::text) FROM pg_class c WHERE relkind = 'S'"""
_LARGE_OBJECTS = """SELECT oid, pg_get_userbyid(lomowner), md5(lo_get(oid)), obj_description(oid, 'pg_largeobject')
FROM pg_largeobject_metadata ORDER BY 1"""


def state_of(stack: BackupStack, name: str) -> dict[str, str]:
    """Return everything that must be equal."""
    return {
        "schema": schema_of(stack, name),
        "rows": rows_of(stack, name),
        "sequences": stack.sql(_SEQUENCES, name),
        "large objects": stack.sql(_LARGE_OBJECTS, name),
        "materialized": stack.sql("SELECT * FROM materialized ORDER BY 1", name),
        "properties": properties_of(stack, name),
    }


@pytest.fixture(params=["15", "17"])
def stack(request: pytest.FixtureRequest) -> BackupStack:
    """A server of each version."""
    return t.cast("BackupStack", request.getfixturevalue(f"server{request.param}"))


def test_everything_comes_back_equal(stack: BackupStack, root: pathlib.Path) -> None:
    version = int(stack.postgres)
    extensions = [f"CREATE EXTENSION {one}" for one in _EXTENSIONS]
    locale = "LOCALE_PROVIDER icu ICU_LOCALE 'de-AT' LOCALE 'C.UTF-8'"
    stack.sql("DROP ROLE IF EXISTS vault_tenant; CREATE ROLE vault_tenant", "postgres")
    with database(stack, NAME) as name:
        quoted = '"' + name.replace('"', '""') + '"'
        stack.sql(f"DROP DATABASE {quoted}", "postgres")
        stack.sql(f"CREATE DATABASE {quoted} TEMPLATE template0 ENCODING 'UTF8' {locale}", "postgres")
        for statement in [*extensions, EVERYTHING]:
            stack.sql(statement, name)
        before = state_of(stack, name)
        row = good(stack.backup(root, databases=[name], level="equivalent", jobs=2))
        assert row["level"] == "equivalent", row
        manifest = manifest_of(newest(root, stack))
        (kept,) = manifest["databases"]
        assert kept["compression"] == ("zstd:1" if version >= 16 else "1") and len(kept["tables"]) > 220
        # By pg_restore alone, and with the tables' rows given to several sessions.
        for options in ({}, {"split_bytes": 0}):
            stack.sql("DELETE FROM referring; TRUNCATE plain; DROP EVENT TRIGGER watch_ddl; SELECT lo_unlink(4711), nextval('uncalled')", name)
            good(stack.restore(root, **options))
            after = state_of(stack, name)
            for what, value in before.items():
                assert after[what] == value, what
        assert stack.sql("SET ROLE vault_tenant; SELECT count(*) FROM secrets", name) == "25"
        # Once more, out of what was restored.
        good(stack.backup(root, databases=[name], level="decodable"))
        good(stack.restore(root, action="finalize", keep_old_hours=0))
        assert own_databases(stack, name) == [name] and not leftovers(stack, root)
    stack.sql("DROP ROLE vault_tenant", "postgres")


def test_a_set_of_15_comes_back_on_17(server15: BackupStack, server17: BackupStack, root: pathlib.Path) -> None:
    fill = "CREATE TABLE moved AS SELECT i AS id, md5(i::text) AS word FROM generate_series(1, 1000) i"
    with database(server15, "moving", fill) as name, database(server17, "moving") as dummy:
        good(server15.backup(root, databases=[name]))
        path = str(newest(root, server15))
        good(server17.restore(root, **{"from": path}, allow_other_project=True))
        assert rows_of(server17, name) == rows_of(server15, name)
