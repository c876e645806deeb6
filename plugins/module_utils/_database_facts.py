# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What one database holds, in numbers that a copy of it must have as well: rows, contents, sequences, objects, properties.

All of it is asked in one transaction, so that it is of one moment, which a dump can share by its snapshot.
"""

from __future__ import annotations

import typing as t

from ._postgres_session import literal
from ._psql_stream import PsqlStream

Facts = dict[str, t.Any]

_TABLES_AT_A_TIME = 50
_COUNT_SECONDS = 4 * 3600.0

# Output of rows as text depends on these; both sides of a comparison must have the same.
_PINNED = {
    "bytea_output": "hex",
    "datestyle": "ISO, YMD",
    "extra_float_digits": "1",
    "intervalstyle": "postgres",
    "jit": "off",
    "lc_monetary": "C",
    "row_security": "off",
    "search_path": "pg_catalog",
    "statement_timeout": "0",
    "timezone": "UTC",
    "xmloption": "content",
    "idle_in_transaction_session_timeout": "0",
}
_OURS = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"


def _not_of_an_extension(catalogue: str, oid: str) -> str:
    return f"NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.{catalogue}'::regclass AND d.objid = {oid} AND d.deptype = 'e')"


_TABLES = f"""SELECT n.nspname AS schema, c.relname AS name, c.oid::bigint AS oid
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND {_OURS} AND {_not_of_an_extension("pg_class", "c.oid")} ORDER BY 1, 2"""

_SEQUENCES = f"""SELECT n.nspname AS schema, c.relname AS name FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND {_OURS} AND {_not_of_an_extension("pg_class", "c.oid")} ORDER BY 1, 2"""

_RELATION_KINDS = {"r": "tables", "p": "partitioned_tables", "v": "views", "m": "materialized_views", "S": "sequences", "f": "foreign_tables", "i": "indexes"}
_OBJECTS = f"""SELECT c.relkind::text AS kind, count(*) AS number FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'i') AND c.relpersistence <> 't' AND {_OURS} AND {_not_of_an_extension("pg_class", "c.oid")} GROUP BY 1
UNION ALL SELECT 'functions', count(*) FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE {_OURS} AND {_not_of_an_extension("pg_proc", "p.oid")}
UNION ALL SELECT 'types', count(*) FROM pg_catalog.pg_type y JOIN pg_catalog.pg_namespace n ON n.oid = y.typnamespace
WHERE y.typtype IN ('d', 'e', 'r', 'm') AND {_OURS} AND {_not_of_an_extension("pg_type", "y.oid")}
UNION ALL SELECT 'constraint_' || o.contype::text, count(*) FROM pg_catalog.pg_constraint o JOIN pg_catalog.pg_namespace n ON n.oid = o.connamespace
WHERE o.contype IN ('p', 'u', 'f', 'c', 'x') AND {_OURS} AND {_not_of_an_extension("pg_constraint", "o.oid")} GROUP BY o.contype
UNION ALL SELECT 'triggers', count(*) FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE NOT g.tgisinternal AND {_OURS}
UNION ALL SELECT 'policies', count(*) FROM pg_catalog.pg_policy
UNION ALL SELECT 'invalid_indexes', count(*) FROM pg_catalog.pg_index x WHERE NOT x.indisvalid
UNION ALL SELECT 'unvalidated_constraints', count(*) FROM pg_catalog.pg_constraint o WHERE NOT o.convalidated AND o.contype IN ('f', 'c')"""

_DATABASE = """SELECT to_jsonb(d) - 'datacl' AS columns, pg_catalog.pg_get_userbyid(d.datdba) AS owner, pg_catalog.pg_encoding_to_char(d.encoding) AS encoding,
s.spcname AS tablespace, pg_catalog.pg_database_size(d.oid) AS size_bytes,
pg_catalog.shobj_description(d.oid, 'pg_database') AS comment, d.datacl IS NULL AS acl_is_default
FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace s ON s.oid = d.dattablespace WHERE d.datname = """

_GRANTS = """SELECT CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END AS grantee,
a.privilege_type AS privilege, a.is_grantable AS grantable
FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a WHERE d.datname = {name} ORDER BY 1 NULLS FIRST, 2"""

_SETTINGS = """SELECT CASE s.setrole WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(s.setrole) END AS role, pg_catalog.split_part(entry, '=', 1) AS name,
pg_catalog.substr(entry, pg_catalog.strpos(entry, '=') + 1) AS value
FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase, pg_catalog.unnest(s.setconfig) entry
WHERE d.datname = {name} ORDER BY 1 NULLS FIRST, 2"""

_ROLES = (
    """SELECT DISTINCT r.rolname AS name FROM pg_catalog.pg_shdepend s JOIN pg_catalog.pg_roles r ON r.oid = s.refobjid
WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass AND s.dbid IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = {name}))
AND (s.dbid <> 0 OR s.objid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = {name}) AND s.classid = 'pg_catalog.pg_database'::regclass)
UNION SELECT pg_catalog.pg_get_userbyid(d.datdba) FROM pg_catalog.pg_database d WHERE d.datname = {name}
UNION SELECT pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE """
    + _OURS
)

_LARGE_OBJECTS = "SELECT count(*) AS number FROM pg_catalog.pg_largeobject_metadata"
_LARGE_OBJECTS_HASH = """SELECT coalesce(sum(
pg_catalog.hashtextextended(loid::text || ':' || pageno::text || ':' || pg_catalog.encode(data, 'hex'), 0)::numeric), 0)::text AS hash
FROM pg_catalog.pg_largeobject"""


def identifier(name: str) -> str:
    """Return *name* as SQL takes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def begin_snapshot(session: PsqlStream) -> str:
    """Begin a read-only transaction that sees one moment, and return the snapshot that ``pg_dump`` can share."""
    session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    pin(session)
    return str(session.value("SELECT pg_catalog.pg_export_snapshot() AS id"))


def pin(session: PsqlStream) -> None:
    """Set what the text of a row depends on, for the rest of the session."""
    known = {row["name"] for row in session.rows("SELECT name FROM pg_catalog.pg_settings")}
    for name, value in _PINNED.items():
        if name in known or name == "datestyle":
            session.execute(f"SET {name} = {literal(value)}")


def properties(session: PsqlStream, database: str) -> Facts:
    """Return what belongs to the database itself and is in no table: owner, locale, rights, settings, comment."""
    name = literal(database)
    row = session.rows(_DATABASE + name)[0]
    columns = row["columns"]
    return {
        "owner": row["owner"],
        "encoding": row["encoding"],
        "locale": {key: columns.get(key) for key in ("datcollate", "datctype", "datlocprovider", "daticulocale", "datlocale", "daticurules")},
        # Of the library outside the server: another image has another one.
        "collation_version": columns.get("datcollversion"),
        "connection_limit": columns.get("datconnlimit"),
        "is_template": columns.get("datistemplate", False),
        "tablespace": row["tablespace"],
        "comment": row["comment"],
        "acl": None if row["acl_is_default"] else session.rows(_GRANTS.format(name=name)),
        "settings": session.rows(_SETTINGS.format(name=name)),
        "size_bytes": row["size_bytes"],
    }


def contents(session: PsqlStream, with_hashes: bool) -> Facts:
    """Return what the session's database holds; with *with_hashes* also a number for each table that any change of a row changes."""
    relations = session.rows(_TABLES)
    facts: Facts = {
        "tables": counted(session, relations, with_hashes),
        "objects": {_RELATION_KINDS.get(row["kind"], row["kind"]): row["number"] for row in session.rows(_OBJECTS)},
        "extensions": session.rows("SELECT extname AS name, extversion AS version FROM pg_catalog.pg_extension ORDER BY 1"),
        "large_objects": {"number": session.value(_LARGE_OBJECTS)},
        "alembic_revisions": alembic_revisions(session, relations),
    }
    if with_hashes:
        facts["large_objects"]["hash"] = session.value(_LARGE_OBJECTS_HASH, _COUNT_SECONDS)
    return facts


def counted(session: PsqlStream, relations: t.Sequence[t.Mapping[str, t.Any]], with_hashes: bool) -> list[Facts]:
    """Return *relations* (``schema``, ``name``, ``oid``) with their ``rows`` and, if asked for, their ``hash``, whatever the order of rows."""
    found: list[Facts] = []
    digest = ", coalesce(sum(pg_catalog.hashtextextended(stackops_row::text, 0)::numeric), 0)::text AS hash" if with_hashes else ""
    for start in range(0, len(relations), _TABLES_AT_A_TIME):
        some = relations[start : start + _TABLES_AT_A_TIME]
        # An alias that no column is called: a column of the table's own name would be taken instead of the row.
        selects = [
            f"SELECT {number} AS number, count(*) AS rows{digest} FROM ONLY {identifier(one['schema'])}.{identifier(one['name'])} AS stackops_row"
            for number, one in enumerate(some)
        ]
        for row in session.rows(" UNION ALL ".join(selects), _COUNT_SECONDS):
            found.append({**some[row.pop("number")], **row})
    return sorted(found, key=lambda one: (one["schema"], one["name"]))


def sequences(session: PsqlStream) -> list[Facts]:
    """Return where each sequence stands. This is of now, whatever the transaction's snapshot: sequences know no transactions."""
    relations = session.rows(_SEQUENCES)
    found: list[Facts] = []
    for start in range(0, len(relations), _TABLES_AT_A_TIME):
        some = relations[start : start + _TABLES_AT_A_TIME]
        selects = [
            f"SELECT {number} AS number, last_value::text, is_called FROM {identifier(one['schema'])}.{identifier(one['name'])}"
            for number, one in enumerate(some)
        ]
        for row in session.rows(" UNION ALL ".join(selects)):
            one = some[row.pop("number")]
            found.append({"schema": one["schema"], "name": one["name"], **row})
    return sorted(found, key=lambda one: (one["schema"], one["name"]))


def roles(session: PsqlStream, database: str) -> list[str]:
    """Return the roles that own something in *database*, have rights in it or settings for it."""
    found = {row["name"] for row in session.rows(_ROLES.format(name=literal(database)))}
    found |= {row["role"] for row in session.rows(_SETTINGS.format(name=literal(database))) if row["role"]}
    return sorted(name for name in found if not name.startswith("pg_"))


def alembic_revisions(session: PsqlStream, relations: t.Optional[t.Sequence[t.Mapping[str, t.Any]]] = None) -> list[str]:
    """Return the revisions that alembic has noted in the session's database; *relations* are its tables, where they are known."""
    revisions: set[str] = set()
    for one in session.rows(_TABLES) if relations is None else relations:
        if one["name"] == "alembic_version":
            table = f"{identifier(one['schema'])}.{identifier(one['name'])}"
            revisions |= {str(value) for row in session.rows(f"SELECT * FROM {table}") for value in row.values()}
    return sorted(revisions)


# -- comparing ---------------------------------------------------------------------------------------------------------


def check(name: str, problems: t.Sequence[str], fine: str) -> Facts:
    """Return one check of a verification: what was compared, and what was not equal."""
    return {
        "name": name,
        "ok": not problems,
        "detail": "; ".join(problems[:10]) + (f" … (+{len(problems) - 10})" if len(problems) > 10 else "") if problems else fine,
    }


def compare_rows(expected: t.Sequence[Facts], found: t.Mapping[tuple[str, str], int]) -> Facts:
    """Compare the number of rows of each table with what an archive or another database has."""
    problems = []
    for one in expected:
        key = (one["schema"], one["name"])
        if found.get(key, 0) != one["rows"]:
            problems.append(f"{key[0]}.{key[1]}: {one['rows']} rows expected, {found.get(key, 0)} found")
    total = sum(one["rows"] for one in expected)
    return check("rows", problems, f"{total} rows in {len(expected)} tables")


def compare_contents(expected: Facts, found: Facts) -> list[Facts]:
    """Compare what :func:`contents` says of two databases; hashes where both have them."""
    rows = {(one["schema"], one["name"]): one for one in found["tables"]}
    checks = [compare_rows(expected["tables"], {key: one["rows"] for key, one in rows.items()})]
    hashed = [one for one in expected["tables"] if one.get("hash") is not None and rows.get((one["schema"], one["name"]), {}).get("hash") is not None]
    if hashed or expected["large_objects"].get("hash") is not None:
        problems = [f"{one['schema']}.{one['name']}: contents differ" for one in hashed if one["hash"] != rows[(one["schema"], one["name"])]["hash"]]
        if expected["large_objects"].get("hash") not in (None, found["large_objects"].get("hash")):
            problems.append("large objects: contents differ")
        checks.append(check("contents", problems, f"{len(hashed)} tables have equal contents"))
    checks.append(_compare_values("large objects", {"number": expected["large_objects"]["number"]}, {"number": found["large_objects"]["number"]}))
    checks.append(_compare_values("objects", expected["objects"], found["objects"]))
    checks.append(_compare_values("extensions", _versions(expected), _versions(found)))
    checks.append(_compare_values("migrations", {"alembic": expected["alembic_revisions"]}, {"alembic": found["alembic_revisions"]}))
    return checks


def compare_sequences(expected: t.Sequence[Facts], found: t.Sequence[Facts]) -> Facts:
    """Compare where the sequences stand."""
    return _compare_values("sequences", _places(expected), _places(found))


def compare_properties(expected: Facts, found: Facts, without: t.Sequence[str] = ()) -> Facts:
    """Compare what :func:`properties` says of two databases; names, sizes and what is in *without* aside."""
    every = ("owner", "encoding", "locale", "connection_limit", "tablespace", "comment", "acl", "settings")
    names = [name for name in every if name not in without]
    return _compare_values("properties", {name: expected.get(name) for name in names}, {name: found.get(name) for name in names})


def _versions(facts: Facts) -> Facts:
    return {one["name"]: one["version"] for one in facts["extensions"]}


def _places(entries: t.Sequence[Facts]) -> Facts:
    return {f"{one['schema']}.{one['name']}": (str(one["last_value"]), bool(one["is_called"])) for one in entries}


def _compare_values(name: str, expected: t.Mapping[str, t.Any], found: t.Mapping[str, t.Any]) -> Facts:
    problems = [
        f"{key}: {expected.get(key)!r} expected, {found.get(key)!r} found" for key in sorted({*expected, *found}) if expected.get(key) != found.get(key)
    ]
    return check(name, problems, f"{len(expected)} equal")
