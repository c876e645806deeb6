# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What a restore looks at before it touches anything: everything that is wrong is said at once."""

from __future__ import annotations

import gzip
import typing as t
import zlib

from ._database_facts import Facts
from ._envelope import CheckError
from ._postgres import Instance
from ._postgres_session import literal
from ._postgres_tools import Tools

if t.TYPE_CHECKING:
    from ._discovery import ContainerRef

_SPACE_FACTOR = 1.3
_PLAIN_END = b"PostgreSQL database dump complete"
_PLAIN_TAIL_BYTES = 4096


def problems_before(
    tools: Tools,
    instance: Instance,
    server: Facts,
    origin: t.Optional[Facts],
    databases: t.Sequence[Facts],
    live: t.Sequence[str],
    allow_slots: bool,
    make_roles: bool,
) -> list[str]:
    """Return why *databases* cannot be restored to the server of *tools*, in place of *live*; empty where nothing stands against it.

    *origin* is the manifest's entry of the server that they came from.
    """
    problems: list[str] = []
    if origin is not None and origin["server_version_num"] // 10000 > server["server_version_num"] // 10000:
        versions = f"the set is of PostgreSQL {origin['server_version']}, the server is {server['server_version']}"
        problems.append(f"{versions}: an older server cannot take it; upgrade the image first")
    if server["in_recovery"]:
        problems.append("the server is a standby: restore to its primary")
    with tools.session() as session:
        roles = {row["name"] for row in session.rows("SELECT rolname AS name FROM pg_catalog.pg_roles")}
        missing = sorted({name for one in databases for name in one.get("roles", [])} - roles)
        if missing and not make_roles:
            problems.append(f"roles are missing: {', '.join(missing)}; create them, or set create_missing_roles: true")
        available = {row["name"] for row in session.rows("SELECT name FROM pg_catalog.pg_available_extensions")}
        wanted = {extension["name"] for one in databases for extension in one.get("extensions", [])}
        if wanted - available:
            problems.append(f"extensions are not in the server's image: {', '.join(sorted(wanted - available))}")
        tablespaces = {row["name"] for row in session.rows("SELECT spcname AS name FROM pg_catalog.pg_tablespace")}
        gone = sorted({str(one["tablespace"]) for one in databases if one.get("tablespace")} - tablespaces)
        if gone:
            problems.append(f"tablespaces are missing: {', '.join(gone)}")
        collations = {row["name"] for row in session.rows("SELECT DISTINCT collcollate AS name FROM pg_catalog.pg_collation WHERE collcollate IS NOT NULL")}
        strange = sorted({str(one["locale"]["datcollate"]) for one in databases if one.get("locale")} - collations - {"C", "POSIX"})
        if strange and not _has_locales(session, strange):
            problems.append(f"locales are not in the server's image: {', '.join(strange)}")
        names = ", ".join(literal(name) for name in live)
        prepared = session.rows(f"SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database IN ({names})")
        if prepared:
            listed = ", ".join(row["gid"] for row in prepared)
            problems.append(f"prepared transactions hold the live database: {listed}; COMMIT PREPARED or ROLLBACK PREPARED them")
        slots = session.rows(f"SELECT slot_name AS name FROM pg_catalog.pg_replication_slots WHERE database IN ({names})")
        if slots and not allow_slots:
            listed = ", ".join(row["name"] for row in slots)
            problems.append(f"logical replication slots stay with the old database: {listed}; drop them, or set allow_slots: true")
    problems += _space(tools, instance, databases)
    return problems


def _has_locales(session: t.Any, names: t.Sequence[str]) -> bool:
    """Tell whether the server has databases of these locales already: then it can make more."""
    listed = ", ".join(literal(name) for name in names)
    return bool(session.value(f"SELECT count(DISTINCT datcollate) = {len(names)} FROM pg_catalog.pg_database WHERE datcollate IN ({listed})"))


def _space(tools: Tools, instance: Instance, databases: t.Sequence[Facts]) -> list[str]:
    """The old databases stay beside the new ones: there has to be room for both, and for the log of writing them."""
    container = t.cast("ContainerRef", instance.container)
    needed = round(sum(one.get("size_bytes") or 0 for one in databases) * _SPACE_FACTOR)
    path = container.env.get("PGDATA") or "/var/lib/postgresql/data"
    completed = tools.engine.exec(container.id, ["df", "-Pk", path], 30)
    columns = completed.text.strip().splitlines()[-1].split() if completed.exit_code == 0 and completed.text.strip() else []
    if len(columns) < 4 or not columns[3].isdigit():
        return []
    free = int(columns[3]) * 1024
    if free >= needed:
        return []
    return [f"{free >> 20} MiB are free where the server keeps its data ({path}), about {needed >> 20} MiB are needed"]


def check_plain(path: str) -> int:
    """Read a ``backup_*.sql.gz`` to its end and return how many bytes of SQL it has.

    :raises CheckError: code ``corrupt``: it is damaged, or was cut short when it was made.
    """
    size, tail = 0, b""
    try:
        with gzip.open(path, "rb") as file:
            while True:
                block = file.read(1 << 20)
                if not block:
                    break
                size += len(block)
                tail = (tail + block)[-_PLAIN_TAIL_BYTES:]
    except (OSError, EOFError, zlib.error) as error:
        raise CheckError(path, f"it cannot be read to its end: {error}", "Choose another file: this one is damaged.", "corrupt") from None
    if _PLAIN_END not in tail:
        hint = "pg_dump did not get to its end when this file was made. Choose another one."
        raise CheckError(path, "it does not end as a dump ends", hint, "corrupt")
    return size
