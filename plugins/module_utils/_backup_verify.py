# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Whether a backup is one: decoded to the last row, restored into a throw-away server, compared with what it was made of."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import posixpath
import re
import select
import tempfile
import threading
import time
import typing as t

from ._archive_data import DataFile, can_decode, large_objects, read_data, table_file
from ._database_facts import (
    Facts,
    check,
    compare_contents,
    compare_properties,
    compare_rows,
    compare_sequences,
    contents,
    identifier,
    pin,
    properties,
    sequences,
)
from ._dump_stream import DumpCounter, Name
from ._engine import Engine
from ._envelope import CheckError
from ._postgres_session import literal
from ._postgres_tools import Tools, apart
from ._postgres_wire import Credentials
from ._process import Outcome, run_side_by_side

#: Where a helper sees the set, and where the pipe is that it writes to.
SET_MOUNT = "/backup"
WORK_MOUNT = "/work"
_PIPE = "decoded"
_LIST = "sequences.list"
_PIPE_BYTES = 1 << 20
_BLOCK_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031
_READY_SECONDS = 120.0
# Entries of an archive's table of contents, and what the catalogue calls what they make.
_ENTRIES = {"TABLE": ("tables", "partitioned_tables"), "VIEW": ("views",), "MATERIALIZED VIEW": ("materialized_views",), "SEQUENCE": ("sequences",)}
# The longer before the shorter that they begin with.
_ENTRY_KINDS = ("MATERIALIZED VIEW DATA", "MATERIALIZED VIEW", "TABLE DATA", "TABLE ATTACH", "TABLE", "VIEW", "SEQUENCE SET", "SEQUENCE OWNED BY", "SEQUENCE")
_TABLE_DATA = re.compile(r"^(\d+); \d+ (\d+) TABLE DATA ", re.MULTILINE)
_SEQUENCE_SET = re.compile(r"^\d+; \d+ \d+ SEQUENCE SET .*$", re.MULTILINE)
_ENTRY = re.compile(rf"^\d+; \d+ \d+ ({'|'.join(_ENTRY_KINDS)}) ", re.MULTILINE)


@contextlib.contextmanager
def work_directory(parent: str) -> t.Iterator[str]:
    """Yield a private directory for the pipe of a decode; it is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="work-", dir=parent) as path:
        yield path


@dataclasses.dataclass(frozen=True)
class Decoded:
    """What an archive holds: the rows and sequences that came out of it, and the *entries* of its table of contents.

    Where ``pg_restore`` read the *large_objects*, nobody has counted them.
    """

    rows: t.Mapping[Name, int]
    sequences: t.Mapping[Name, tuple[int, bool]]
    bytes: int
    entries: t.Mapping[str, int]
    large_objects: t.Optional[int] = None


def decode(tools: Tools, archive: str, work: str, timeout_seconds: float) -> Decoded:
    """Decode every byte of the directory archive *archive* (as the helper sees it) and return what it holds.

    The data comes through a named pipe in *work*, which the helper sees as ``/work``: no copy of it touches the disk, and
    the engine's streams carry none of it.

    :raises CheckError: code ``tool-failed`` or ``corrupt``.
    """
    counter = DumpCounter()
    # The first two take no time but that of starting a program.
    work_to_do: dict[str, t.Callable[[], t.Any]] = {
        "schema": lambda: tools.check(["pg_restore", "--schema-only", "--file=/dev/null", archive], timeout_seconds),
        "entries": lambda: entries_in(listing_of(tools, archive, timeout_seconds)),
        "data": lambda: decode_into(tools, ["pg_restore", "--data-only"], archive, work, counter.feed, timeout_seconds),
    }
    outcomes = run_side_by_side(work_to_do, timeout_seconds)
    raise_first(outcomes)
    problem = counter.finish()
    if problem:
        raise CheckError(archive, problem, "The archive is not whole: do not rely on this set.", "corrupt")
    return Decoded(counter.rows, counter.sequences, counter.bytes, t.cast("dict[str, int]", outcomes["entries"].value))


def decoded_with(tools: Tools, set_path: str, facts: Facts, work: str, data: t.Mapping[str, DataFile], timeout_seconds: float) -> Decoded:
    """Return what the archive of *facts* holds, whose data files were read already: as :func:`decode`, which has ``pg_restore`` read them.

    :raises CheckError: code ``tool-failed`` or ``corrupt``.
    """
    archive = posixpath.join(SET_MOUNT, facts["path"])
    listing = listing_of(tools, archive, timeout_seconds)
    counter = DumpCounter()

    def read_sequences() -> None:
        wanted = "".join(f"{line}\n" for line in _SEQUENCE_SET.findall(listing))
        if not wanted:
            return
        path = os.path.join(work, _LIST)
        with open(path, "w", encoding="utf-8") as file:
            file.write(wanted)
        argv = ["pg_restore", "--data-only", f"--use-list={posixpath.join(WORK_MOUNT, _LIST)}", "--file=-", archive]
        counter.feed(tools.check(argv, timeout_seconds).stdout)
        counter.finish()
        os.unlink(path)

    work_to_do: dict[str, t.Callable[[], t.Any]] = {
        "schema": lambda: tools.check(["pg_restore", "--schema-only", "--file=/dev/null", archive], timeout_seconds),
        "sequences": read_sequences,
    }
    raise_first(run_side_by_side(work_to_do, timeout_seconds))
    rows = rows_by_table(archive, listing, facts["tables"], data)
    objects = large_objects(os.path.join(set_path, facts["path"]), data)
    return Decoded(rows, counter.sequences, sum(one.bytes for one in data.values()), entries_in(listing), objects)


def rows_by_table(archive: str, listing: str, tables: t.Sequence[Facts], data: t.Mapping[str, DataFile]) -> dict[Name, int]:
    """Return how many rows the data files have of each of *tables*: by its ``oid`` the table of contents says which is whose, whatever its name.

    :raises CheckError: code ``corrupt``.
    """
    names = {one["oid"]: (one["schema"], one["name"]) for one in tables}
    rows: dict[Name, int] = {}
    for dump_id, oid in _TABLE_DATA.findall(listing):
        file = table_file(int(dump_id), data)
        if file is None:
            raise CheckError(archive, f"the data of entry {dump_id} is not there", "The archive is not whole: do not rely on this set.", "corrupt")
        if int(oid) in names:
            rows[names[int(oid)]] = data[file].rows
    return rows


def has_numbers(facts: Facts) -> bool:
    """Tell whether a manifest says which number each table had, which older versions did not write down."""
    return all("oid" in one for one in facts["tables"])


def decode_stored(tools: Tools, set_path: str, facts: Facts, work: str, timeout_seconds: float) -> Decoded:
    """Decode the archive of the database *facts* in the set at *set_path*, which the helper sees as ``/backup``.

    :raises CheckError: code ``tool-failed`` or ``corrupt``.
    """
    if not (can_decode(str(facts["compression"])) and has_numbers(facts)):
        return decode(tools, posixpath.join(SET_MOUNT, facts["path"]), work, timeout_seconds)
    return decoded_with(tools, set_path, facts, work, read_data(os.path.join(set_path, facts["path"])), timeout_seconds)


def decode_into(tools: Tools, argv: t.Sequence[str], archive: str, work: str, take: t.Callable[[bytes], t.Any], timeout_seconds: float) -> None:
    """Give *take* what ``pg_restore`` writes, block by block."""
    pipe = os.path.join(work, _PIPE)
    os.mkfifo(pipe, 0o600)
    ended = threading.Event()

    def restore() -> None:
        try:
            tools.check([*argv, f"--file={posixpath.join(WORK_MOUNT, _PIPE)}", archive], timeout_seconds)
        finally:
            ended.set()

    try:
        raise_first(run_side_by_side({"decode": restore, "count": lambda: _read_pipe(pipe, take, ended)}, timeout_seconds))
    finally:
        os.unlink(pipe)


def _read_pipe(pipe: str, take: t.Callable[[bytes], t.Any], ended: threading.Event) -> None:
    """Read until the writer is done. It may fail before it opens the pipe: nobody must wait for it then."""
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, _F_SETPIPE_SZ, _PIPE_BYTES)
        buffer = bytearray(_BLOCK_BYTES)
        while True:
            over = ended.is_set()
            ready, dummy, dummy2 = select.select([descriptor], [], [], 0.2)
            size = 0
            if ready:
                with contextlib.suppress(BlockingIOError):
                    size = os.readv(descriptor, [buffer])
            if size:
                take(bytes(memoryview(buffer)[:size]))
            elif over:
                return
            elif ready:
                # No writer yet, which a pipe tells in the same way as its end.
                time.sleep(0.02)
    finally:
        os.close(descriptor)


def raise_first(outcomes: t.Mapping[str, Outcome[t.Any]]) -> None:
    """Raise what went wrong, if anything did: the first in time, for what fails after it may fail because of it."""
    failed = [outcome for outcome in outcomes.values() if outcome.error is not None]
    if failed:
        raise t.cast("BaseException", min(failed, key=lambda outcome: outcome.duration_ms).error)


def listing_of(tools: Tools, archive: str, timeout_seconds: float) -> str:
    """Return an archive's table of contents."""
    return tools.check(["pg_restore", "--list", archive], timeout_seconds).text


def entries_in(listing: str) -> dict[str, int]:
    """Return how many tables, views and sequences an archive's table of contents has."""
    found = dict.fromkeys(_ENTRIES, 0)
    for kind in _ENTRY.findall(listing):
        if kind in found:
            found[kind] += 1
    return found


def decoded_checks(facts: Facts, decoded: Decoded) -> list[Facts]:
    """Compare a decoded archive with what the database held at the moment of its dump."""
    checks = [compare_rows(facts["tables"], decoded.rows), entries_check(facts, decoded.entries)]
    if decoded.large_objects is not None:
        expected, found = facts["large_objects"]["number"], decoded.large_objects
        checks.append(check("large objects", [] if found == expected else [f"{expected} in the database, {found} in the archive"], f"{found} large objects"))
    return checks


def entries_check(facts: Facts, entries: t.Mapping[str, int]) -> Facts:
    """Compare an archive's table of contents with what the database held at the moment of its dump."""
    problems = []
    for kind, names in _ENTRIES.items():
        expected = sum(facts["objects"].get(name, 0) for name in names)
        if entries[kind] != expected:
            problems.append(f"{kind.lower()}: {expected} in the database, {entries[kind]} in the archive")
    return check("table of contents", problems, f"{sum(entries.values())} objects")


# -- a throw-away server ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Origin:
    """The server that a set came from, as far as a throw-away copy of it needs to know."""

    image: str
    superuser: str = "postgres"
    data_user: str = "postgres"
    preload_libraries: str = ""


@contextlib.contextmanager
def scratch_server(engine: Engine, origin: Origin, binds: t.Sequence[str]) -> t.Iterator[Tools]:
    """Yield a new, empty server of the same image with no network at all, as far from production as one can be."""
    with apart(engine, origin.image, "verify", binds) as tools:
        data = "/tmp/stackops-data"  # noqa: S108  # inside the container, and gone with it
        superuser = f"--username={origin.superuser}"
        tools.check(["initdb", f"--pgdata={data}", superuser, "--auth=trust", "--encoding=UTF8", "--no-sync"], _READY_SECONDS, user=origin.data_user)
        settings = ["fsync=off", "full_page_writes=off", "autovacuum=off", "listen_addresses=", "unix_socket_directories=/tmp", "max_wal_size=4GB"]
        if origin.preload_libraries:
            settings.append(f"shared_preload_libraries={origin.preload_libraries}")
        options = " ".join(f"-c {name}" for name in settings)
        start = ["pg_ctl", "--silent", "--wait", f"--pgdata={data}", f"--log={data}/log", f"--options={options}", "start"]
        tools.check(start, _READY_SECONDS, user=origin.data_user)
        yield dataclasses.replace(tools, host="/tmp", credentials=Credentials(origin.superuser, None, "postgres"))  # noqa: S108


def create_database(tools: Tools, name: str, like: Facts, owner: t.Optional[str]) -> None:
    """Create an empty database of the encoding and locale that *like* (of :func:`properties`) has."""
    locale = like["locale"]
    options = [f"TEMPLATE template0 ENCODING {literal(like['encoding'])}"]
    options.append(f"LC_COLLATE {literal(locale['datcollate'])} LC_CTYPE {literal(locale['datctype'])}")
    provider = {"i": "icu", "b": "builtin"}.get(str(locale.get("datlocprovider")))
    if provider:
        options.append(f"LOCALE_PROVIDER {provider}")
        own = locale.get("datlocale") or locale.get("daticulocale")
        options.append(f"{'ICU_LOCALE' if provider == 'icu' else 'BUILTIN_LOCALE'} {literal(own)}")
        if locale.get("daticurules"):
            options.append(f"ICU_RULES {literal(locale['daticurules'])}")
    if owner:
        options.append(f"OWNER {identifier(owner)}")
    if like.get("tablespace") not in (None, "pg_default"):
        options.append(f"TABLESPACE {identifier(like['tablespace'])}")
    with tools.session() as session:
        session.execute(f"CREATE DATABASE {identifier(name)} {' '.join(options)}", _READY_SECONDS)


def restore_archive(tools: Tools, archive: str, database: str, jobs: int, timeout_seconds: float, *which: str) -> None:
    """Restore a directory archive, or what the options *which* choose of it, into an empty database; the first error ends it.

    :raises CheckError: code ``tool-failed``.
    """
    argv = ["pg_restore", "--exit-on-error", "--no-password", f"--jobs={jobs}", f"--dbname={database}", *which, archive]
    tools.check(argv, timeout_seconds, database)


def compared(tools: Tools, database: str, expected: Facts) -> list[Facts]:
    """Compare a restored database with the facts of the one that was dumped."""
    with_hashes = any(one.get("hash") is not None for one in expected["tables"])
    with tools.session(database) as session:
        pin(session)
        checks = compare_contents(expected, contents(session, with_hashes))
        if expected.get("sequences") is not None:
            checks.append(compare_sequences(expected["sequences"], sequences(session)))
    return checks


def restored_properties(tools: Tools, database: str, expected: Facts, without: t.Sequence[str] = ()) -> Facts:
    """Compare the properties of a restored database with those of the one that was dumped, those in *without* aside."""
    with tools.session(database) as session:
        return compare_properties(expected, properties(session, database), without)


def amcheck(tools: Tools, database: str, timeout_seconds: float) -> Facts:
    """Check every table and index of a database block by block; the extension goes again."""
    if tools.run(["pg_amcheck", "--version"], _READY_SECONDS).exit_code != 0:
        return check("amcheck", [], "not in this image")
    with tools.session(database) as session:
        had = bool(session.value("SELECT count(*) FROM pg_catalog.pg_extension WHERE extname = 'amcheck'"))
        available = bool(session.value("SELECT count(*) FROM pg_catalog.pg_available_extensions WHERE name = 'amcheck'"))
    if not available:
        return check("amcheck", [], "not in this image")
    completed = tools.run(["pg_amcheck", "--heapallindexed", "--install-missing", f"--database={database}"], timeout_seconds)
    if not had:
        with tools.session(database) as session:
            session.execute("DROP EXTENSION IF EXISTS amcheck")
    said = (completed.text + completed.error_text).strip().splitlines()
    return check("amcheck", said[:10] if completed.exit_code else [], "tables and indexes are sound")


# -- the drill -------------------------------------------------------------------------------------------------------------


def drill(
    engine: Engine, set_path: str, servers: t.Sequence[Facts], databases: t.Sequence[Facts], equivalent: bool, jobs: int, timeout_seconds: float
) -> list[Facts]:
    """Restore all *databases* of a set into throw-away servers and compare; return one check for each comparison.

    :raises CheckError: a throw-away server could not be made.
    """
    checks: list[Facts] = []
    for server in servers:
        image = server["image_id"] if engine.image(server["image_id"]) else server["image"]
        origin = Origin(image, server.get("superuser") or "postgres", server.get("data_user") or "postgres", server.get("preload_libraries") or "")
        with scratch_server(engine, origin, [f"{set_path}:{SET_MOUNT}:ro"]) as tools:
            for one in databases:
                if one["service"] == server["service"]:
                    checks += _drilled(tools, one, equivalent, jobs, timeout_seconds)
    return checks


def _drilled(tools: Tools, facts: Facts, equivalent: bool, jobs: int, timeout_seconds: float) -> list[Facts]:
    label = f"{facts['service']}/{facts['name']}"
    database = "stackops_drill"
    began = time.monotonic()
    try:
        make_roles(tools, facts["roles"])
        create_database(tools, database, {**facts, "tablespace": None}, facts["owner"])
        restore_archive(tools, f"{SET_MOUNT}/{facts['path']}", database, jobs, timeout_seconds)
    except CheckError as error:
        return [check(f"{label}: restore", [error.reason], "")]
    checks = [check("restore", [], f"restored in {time.monotonic() - began:.1f} s")]
    if equivalent:
        checks += compared(tools, database, facts)
        checks.append(amcheck(tools, database, timeout_seconds))
    with tools.session() as session:
        session.execute(f"DROP DATABASE {identifier(database)}")
    return [{**one, "name": f"{label}: {one['name']}"} for one in checks]


def make_roles(tools: Tools, names: t.Iterable[str]) -> list[str]:
    """Create the roles that are missing, unable to log in, and return them."""
    with tools.session() as session:
        there = {row["name"] for row in session.rows("SELECT rolname AS name FROM pg_catalog.pg_roles")}
        missing = [name for name in names if name not in there]
        for name in missing:
            session.execute(f"CREATE ROLE {identifier(name)} NOLOGIN")
    return missing
