# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Which databases a server has that are worth keeping, and dumping them with the facts that a copy can be held against."""

from __future__ import annotations

import dataclasses
import os
import re
import time
import typing as t

from ._archive_data import DataFile, following
from ._backup_manifest import quote_name
from ._backup_verify import SET_MOUNT, raise_first
from ._database_facts import Facts, begin_snapshot, contents, properties, roles
from ._engine import Engine
from ._envelope import CheckError
from ._postgres import Instance
from ._postgres_session import DatabaseError
from ._postgres_tools import Tools, tool_error
from ._process import run_side_by_side
from ._progress import Progress, bytes_under

if t.TYPE_CHECKING:
    from ._discovery import ContainerRef

#: Name and size of every database that can be connected to.
LIST_DATABASES = """SELECT d.datname AS name, pg_catalog.pg_database_size(d.oid) AS size_bytes
FROM pg_catalog.pg_database d WHERE d.datallowconn AND NOT d.datistemplate ORDER BY 1"""
#: Whether the database that one is connected to has anything of an application.
HAS_TABLES = r"""SELECT count(*) > 0 AS yes FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')"""
_SERVER = """SELECT pg_catalog.current_setting('server_version') AS server_version,
pg_catalog.current_setting('server_version_num')::int AS server_version_num,
pg_catalog.current_setting('data_checksums') = 'on' AS data_checksums,
(SELECT system_identifier::text FROM pg_catalog.pg_control_system()) AS system_identifier,
pg_catalog.current_setting('shared_preload_libraries') AS preload_libraries, pg_catalog.pg_is_in_recovery() AS in_recovery"""
_SERVER_UNPRIVILEGED = _SERVER.replace("(SELECT system_identifier::text FROM pg_catalog.pg_control_system())", "NULL::text").replace(
    "pg_catalog.current_setting('shared_preload_libraries')", "''"
)
#: What a restore leaves or makes for itself: never an application's.
OWN_DATABASE = re.compile(r"__(restore|old)_[0-9a-f]{8}$")
_LOCK_GRACE_SECONDS = 5.0
_GLOBALS_END = b"PostgreSQL database cluster dump complete"


@dataclasses.dataclass(frozen=True)
class DumpOptions:
    """How to dump. *jobs* 0 is as many as there are processors, four at the most; *compression* is ``auto`` until the server is known."""

    databases: tuple[str, ...] = ()
    jobs: int = 0
    compression: str = "auto"
    lock_timeout_seconds: float = 60.0
    time_limit_seconds: float = 14400.0
    role_passwords: bool = True

    @property
    def parallel(self) -> int:
        """The number of jobs."""
        return self.jobs or min(4, os.cpu_count() or 1)


def server_facts(tools: Tools) -> Facts:
    """Return version and identity of the server."""
    with tools.session() as session:
        try:
            return session.rows(_SERVER)[0]
        except DatabaseError:
            return session.rows(_SERVER_UNPRIVILEGED)[0]


def list_databases(tools: Tools, wanted: t.Sequence[str] = ()) -> list[Facts]:
    """Return the databases to keep (``name``, ``size_bytes``): *wanted*, or all but templates and an unused ``postgres``.

    :raises CheckError: code ``database-missing``.
    """
    with tools.session() as session:
        found = [row for row in session.rows(LIST_DATABASES) if is_applications(row, wanted)]
    missing = sorted(set(wanted) - {row["name"] for row in found})
    if missing:
        there = ", ".join(row["name"] for row in found) or "none of these"
        raise CheckError(tools.source, f"no database {', '.join(missing)}; there are {there}", "Correct the list of databases.", "database-missing")
    return found if wanted else [row for row in found if row["name"] != "postgres" or _is_used(tools)]


def is_applications(row: t.Mapping[str, t.Any], wanted: t.Sequence[str]) -> bool:
    """Tell whether a row of :data:`LIST_DATABASES` is one of *wanted* or, where that is empty, not one that a restore has made."""
    return row["name"] in wanted if wanted else not OWN_DATABASE.search(row["name"])


def _is_used(tools: Tools) -> bool:
    with tools.session("postgres") as session:
        return bool(session.value(HAS_TABLES))


def archive_path(service: str, database: str) -> tuple[str, str, str]:
    """Return where in a set the archive of a database is; its name may hold anything."""
    return ("databases", quote_name(service), quote_name(database))


def globals_path(service: str) -> tuple[str, str]:
    """Return where in a set the roles and tablespaces of a server are."""
    return ("globals", f"{quote_name(service)}.sql")


def dump_database(
    tools: Tools, set_path: str, service: str, database: str, options: DumpOptions, hashes: bool, progress: Progress, expected_bytes: int
) -> tuple[Facts, t.Optional[dict[str, DataFile]]]:
    """Dump one database into the set, which the helper sees at ``/backup``, and return its entry for the manifest.

    The dump and the numbers are of one snapshot: rows written meanwhile are in neither. What was written is read back at the same
    time, and returned as well: ``None`` where this process cannot do that.

    :raises CheckError: nothing of the dump can be used.
    """
    parts = archive_path(service, database)
    directory = os.path.join(set_path, *parts)
    os.makedirs(os.path.dirname(directory), mode=0o700, exist_ok=True)
    began = time.monotonic()
    with tools.session(database) as session:
        snapshot = begin_snapshot(session)
        # Longer than pg_dump waits, whose error says more; without it the counting would outwait any lock.
        session.execute(f"SET lock_timeout = {round((options.lock_timeout_seconds + _LOCK_GRACE_SECONDS) * 1000)}")
        if not hashes:
            # Counting is over long before the dump is: it need not take the processors from it.
            session.execute("SET max_parallel_workers_per_gather = 0")
        argv = [
            "pg_dump", "--format=directory", "--no-sync", "--no-password", f"--jobs={options.parallel}", f"--compress={options.compression}",
            f"--snapshot={snapshot}", f"--lock-wait-timeout={round(options.lock_timeout_seconds * 1000)}", f"--file={'/'.join((SET_MOUNT, *parts))}",
        ]  # fmt: skip
        with progress.watching(lambda: bytes_under(directory), expected_bytes), following(directory, options.compression) as follower:
            outcomes = run_side_by_side(
                {
                    "dump": lambda: _dump(tools, argv, options.time_limit_seconds, database),
                    "facts": lambda: {**properties(session, database), **contents(session, hashes), "roles": roles(session, database)},
                },
                options.time_limit_seconds,
            )
            raise_first(outcomes)
            data = follower.result() if follower is not None else None
    facts: Facts = t.cast("Facts", outcomes["facts"].value)
    entry = {
        "service": service,
        "name": database,
        **facts,
        "path": "/".join(parts),
        "format": "directory",
        "compression": options.compression,
        "jobs": options.parallel,
        "dump_seconds": round(time.monotonic() - began, 3),
    }
    return entry, data


def _dump(tools: Tools, argv: t.Sequence[str], timeout_seconds: float, database: str) -> None:
    completed = tools.run(argv, timeout_seconds, database)
    if completed.exit_code != 0:
        error = tool_error(f"{tools.source}: {database}", completed)
        if "No space left on device" in completed.error_text:
            raise CheckError(error.source, error.reason, "Free space on the file system of the backups.", "no-space")
        # pg_dump limits the statement, not the wait for its lock.
        if "canceling statement due to" in completed.error_text and "LOCK TABLE" in completed.error_text:
            hint = "Something holds an exclusive lock: see pg_stat_activity; or raise lock_timeout_seconds."
            raise CheckError(error.source, error.reason, hint, "locked")
        raise error


def dump_globals(tools: Tools, set_path: str, service: str, options: DumpOptions) -> list[str]:
    """Write roles and tablespaces of the server into the set; return warnings."""
    parts = globals_path(service)
    os.makedirs(os.path.join(set_path, parts[0]), mode=0o700, exist_ok=True)
    database = tools.credentials.database or tools.credentials.user
    argv = [
        "pg_dumpall",
        "--globals-only",
        "--no-sync",
        "--no-password",
        f"--database={_quoted_connection(database)}",
        f"--file={'/'.join((SET_MOUNT, *parts))}",
    ]
    warnings: list[str] = []
    without = [*argv, "--no-role-passwords"]
    completed = tools.run(argv if options.role_passwords else without, options.time_limit_seconds)
    if completed.exit_code != 0 and options.role_passwords and "permission denied" in completed.error_text:
        warnings.append(f"{service}: the passwords of roles are not in the set: {tools.credentials.user} may not read them")
        completed = tools.run(without, options.time_limit_seconds)
    if completed.exit_code != 0:
        raise tool_error(f"{tools.source}: roles", completed)
    with open(os.path.join(set_path, *parts), "rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 200))
        if _GLOBALS_END not in file.read():
            raise CheckError(f"{tools.source}: roles", "the dump of roles has no end", "", "corrupt")
    return warnings


def _quoted_connection(database: str) -> str:
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{escaped}'"


def instance_entry(engine: Engine, instance: Instance, tools: Tools, options: DumpOptions) -> Facts:
    """Return the entry of a server for the manifest: what it is, and what a throw-away copy of it needs to know."""
    container = t.cast("ContainerRef", instance.container)
    data_directory = container.env.get("PGDATA") or "/var/lib/postgresql/data"
    owner = engine.exec(container.id, ["stat", "-c", "%u", data_directory], 30)
    return {
        "service": instance.service,
        "image": container.image_reference,
        "image_id": container.image_id,
        "role_passwords": options.role_passwords,
        "superuser": tools.credentials.user,
        "data_user": owner.text.strip() if owner.exit_code == 0 and owner.text.strip() not in ("", "0") else "postgres",
        **server_facts(tools),
    }
