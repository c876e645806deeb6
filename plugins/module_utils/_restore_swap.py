# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Puts a restored database in the place of the live one, and back, by renames in one transaction.

A database that a restore made or put aside carries a comment that says so. Only what has both the name and that comment
is ever dropped.
"""

from __future__ import annotations

import dataclasses
import json
import time
import typing as t

from ._backup_dump import OWN_DATABASE
from ._database_facts import Facts, identifier
from ._envelope import CheckError, rfc3339
from ._postgres_session import DatabaseError, literal
from ._postgres_tools import Tools
from ._psql_stream import PsqlStream

_NAME_BYTES = 63
_TAG = "stackops.runbook"
_LOCK_TIMEOUT_MS = 2000
_POLL_SECONDS = 0.1
_SESSIONS = "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datname = {name} AND backend_type = 'client backend'"
_TERMINATE = (
    "SELECT count(pg_catalog.pg_terminate_backend(pid)) AS ended FROM pg_catalog.pg_stat_activity WHERE datname = {name} AND pid <> pg_catalog.pg_backend_pid()"
)


@dataclasses.dataclass(frozen=True)
class Names:
    """The three names in a swap: the database that the application uses, the restored one, and the one put aside."""

    live: str
    restored: str
    old: str

    @classmethod
    def of(cls, live: str, restore_id: str) -> Names:
        """Return the names for one restore of *live*; *restore_id* is eight hexadecimal digits."""
        return cls(live, _suffixed(live, f"__restore_{restore_id}"), _suffixed(live, f"__old_{restore_id}"))


def _suffixed(name: str, suffix: str) -> str:
    # The server cuts longer names, and two would become one.
    room = _NAME_BYTES - len(suffix)
    return name.encode()[:room].decode("utf-8", "ignore") + suffix


def maintenance_database(live: t.Iterable[str]) -> str:
    """Return a database to be connected to while *live* are renamed."""
    return "template1" if "postgres" in set(live) else "postgres"


def tag(restore_id: str, purpose: str, comment: t.Optional[str] = None) -> str:
    """Return the comment that marks a database as one of ours; *comment* is the one that it had."""
    return json.dumps({_TAG: restore_id, "purpose": purpose, "at": rfc3339(time.time()), "comment": comment})


def read_tag(comment: t.Optional[str]) -> Facts:
    """Return what :func:`tag` wrote; empty where the comment is none of ours."""
    try:
        found = json.loads(comment or "")
    except ValueError:
        return {}
    return found if isinstance(found, dict) and _TAG in found else {}


def our_databases(session: PsqlStream) -> list[Facts]:
    """Return the databases that restores made or put aside: ``name``, ``restore_id``, ``purpose``, ``at``, ``comment`` and ``bytes``."""
    sql = """SELECT datname AS name, pg_catalog.shobj_description(oid, 'pg_database') AS comment, pg_catalog.pg_database_size(oid) AS bytes
FROM pg_catalog.pg_database WHERE datname ~ '__(restore|old)_[0-9a-f]{8}$'"""
    found = []
    for row in session.rows(sql):
        mark = read_tag(row["comment"])
        if mark and OWN_DATABASE.search(row["name"]):
            found.append({"name": row["name"], "bytes": row["bytes"], "restore_id": mark[_TAG], **{key: mark.get(key) for key in ("purpose", "at", "comment")}})
    return found


def exists(session: PsqlStream, database: str) -> bool:
    """Tell whether there is a database of that name."""
    return bool(session.value(f"SELECT count(*) FROM pg_catalog.pg_database WHERE datname = {literal(database)}"))


def oid_of(session: PsqlStream, database: str) -> t.Optional[int]:
    """Return the number of a database, which stays when its name changes; ``None`` where there is none of that name."""
    found = session.value(f"SELECT oid::bigint FROM pg_catalog.pg_database WHERE datname = {literal(database)}")
    return None if found is None else int(found)


def set_comment(session: PsqlStream, database: str, comment: t.Optional[str]) -> None:
    """Set the comment of a database, or remove it."""
    session.execute(f"COMMENT ON DATABASE {identifier(database)} IS {literal(comment) if comment is not None else 'NULL'}")


def drop_ours(session: PsqlStream, database: str, just_made: bool = False) -> bool:
    """Drop *database* if it is one of ours; return whether it is gone.

    One that was *just_made* may not have its mark yet: then it has no comment at all.
    """
    if not exists(session, database):
        return True
    if not OWN_DATABASE.search(database):
        return False
    comment = session.value(f"SELECT pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database WHERE datname = {literal(database)}")
    if not read_tag(comment) and not (just_made and comment is None):
        return False
    session.execute(f"ALTER DATABASE {identifier(database)} ALLOW_CONNECTIONS false")
    _terminate(session, database)
    session.execute(f"DROP DATABASE {identifier(database)}", 600)
    return True


def allow_connections(session: PsqlStream, database: str, allowed: bool) -> None:
    """Let nobody in, superusers included, or everybody again."""
    session.execute(f"ALTER DATABASE {identifier(database)} ALLOW_CONNECTIONS {'true' if allowed else 'false'}")


def empty_database(session: PsqlStream, database: str, timeout_seconds: float) -> None:
    """Close *database* and end its sessions.

    :raises CheckError: code ``still-used`` when some are left after *timeout_seconds*; it is closed then.
    """
    allow_connections(session, database, False)
    deadline = time.monotonic() + timeout_seconds
    while True:
        _terminate(session, database)
        left = session.value(_SESSIONS.format(name=literal(database)))
        if not left:
            return
        if time.monotonic() > deadline:
            hint = "See who it is: SELECT pid, usename, application_name, state FROM pg_stat_activity; or raise swap_timeout_seconds."
            raise CheckError(database, f"{left} sessions did not end within {timeout_seconds:g} s", hint, "still-used")
        time.sleep(_POLL_SECONDS)


def _terminate(session: PsqlStream, database: str) -> None:
    session.rows(_TERMINATE.format(name=literal(database)))


def swap(session: PsqlStream, pairs: t.Sequence[tuple[Names, str, t.Optional[str]]], timeout_seconds: float) -> None:
    """Put every restored database in the place of its live one, all or none.

    *pairs* are names, the comment for the one put aside and the comment of the restored one. A live database that does not exist is no obstacle.

    :raises DatabaseError: nothing was renamed.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            _swap_once(session, pairs)
            return
        except DatabaseError as error:
            _quietly(session, "ROLLBACK")
            # A worker of the server (autovacuum) may be in it for a moment: 55006, and 55P03 for a lock.
            if error.sqlstate not in ("55006", "55P03") or time.monotonic() > deadline:
                raise
            for names, dummy, dummy2 in pairs:
                _terminate(session, names.live)
                _terminate(session, names.restored)


def _swap_once(session: PsqlStream, pairs: t.Sequence[tuple[Names, str, t.Optional[str]]]) -> None:
    session.execute("BEGIN")
    session.execute(f"SET LOCAL lock_timeout = {_LOCK_TIMEOUT_MS}")
    for names, mark, comment in pairs:
        if exists(session, names.live):
            session.execute(f"ALTER DATABASE {identifier(names.live)} RENAME TO {identifier(names.old)}")
            set_comment(session, names.old, mark)
        session.execute(f"ALTER DATABASE {identifier(names.restored)} RENAME TO {identifier(names.live)}")
        set_comment(session, names.live, comment)
    session.execute("COMMIT")


def swap_back(session: PsqlStream, pairs: t.Sequence[tuple[Names, str]], timeout_seconds: float) -> None:
    """Undo :func:`swap`: the databases put aside come back, all or none; the restored ones get their names (and the comment in *pairs*) again.

    :raises DatabaseError: nothing was renamed.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            session.execute("BEGIN")
            session.execute(f"SET LOCAL lock_timeout = {_LOCK_TIMEOUT_MS}")
            for names, mark in pairs:
                old = next((row for row in our_databases(session) if row["name"] == names.old), None)
                session.execute(f"ALTER DATABASE {identifier(names.live)} RENAME TO {identifier(names.restored)}")
                set_comment(session, names.restored, mark)
                if old is not None:
                    session.execute(f"ALTER DATABASE {identifier(names.old)} RENAME TO {identifier(names.live)}")
                    set_comment(session, names.live, old["comment"])
            session.execute("COMMIT")
            return
        except DatabaseError as error:
            _quietly(session, "ROLLBACK")
            if error.sqlstate not in ("55006", "55P03") or time.monotonic() > deadline:
                raise
            for names, dummy in pairs:
                _terminate(session, names.live)


def _quietly(session: PsqlStream, sql: str) -> None:
    try:
        session.execute(sql)
    except DatabaseError:
        # The session may be gone, and with it its transaction.
        pass


def apply_properties(tools: Tools, session: PsqlStream, database: str, facts: Facts) -> None:
    """Give a restored database what belongs to the database itself and is in no archive of its contents: rights, settings, limit."""
    name = identifier(database)
    if facts.get("connection_limit") not in (None, -1):
        session.execute(f"ALTER DATABASE {name} CONNECTION LIMIT {int(facts['connection_limit'])}")
    for one in facts["settings"]:
        target = f"ROLE {identifier(one['role'])} IN DATABASE {name}" if one["role"] else f"DATABASE {name}"
        session.execute(f"ALTER {target} SET {identifier(one['name'])} = {_setting(one['name'], one['value'])}")
    if facts["acl"] is not None:
        session.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
        session.execute(f"REVOKE ALL ON DATABASE {name} FROM {identifier(facts['owner'])}")
        for one in facts["acl"]:
            grantee = identifier(one["grantee"]) if one["grantee"] else "PUBLIC"
            option = " WITH GRANT OPTION" if one["grantable"] else ""
            session.execute(f"GRANT {one['privilege']} ON DATABASE {name} TO {grantee}{option}")


# Values of these are lists already: quoted as a whole they would be one element.
_LIST_SETTINGS = frozenset(("search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries", "datestyle", "unix_socket_directories"))


def _setting(name: str, value: str) -> str:
    return value if name.lower() in _LIST_SETTINGS else literal(value)
