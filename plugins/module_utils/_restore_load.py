# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Loads a directory archive into an empty database, a large table by several sessions at once.

``pg_restore --jobs`` gives a table to one session, and where most rows are in one table the other processors wait for it. Here
``pg_restore`` says what is to be executed, and executes all but the tables' rows. Those are decoded in this process and given,
with the COPY statements that ``pg_restore`` wrote, to several ``psql``, each time to the one that has least to do.
"""

from __future__ import annotations

import fcntl
import functools
import os
import posixpath
import re
import shutil
import struct
import termios
import threading
import typing as t

from ._archive_data import TABLE_END, Buffers, DataFile, Reader, can_decode, check_sums, data_files, table_file
from ._backup_verify import SET_MOUNT, WORK_MOUNT, has_numbers, listing_of, raise_first, restore_archive, rows_by_table
from ._database_facts import Facts, compare_rows
from ._envelope import CheckError
from ._guarded_files import told
from ._postgres_tools import Tools
from ._process import run_side_by_side

#: With less than this on the disk it takes longer to begin than to load.
SPLIT_BYTES = 32 << 20
#: So much of a table goes to one session before it is looked who has least to do.
_TURN_BYTES = 1 << 20
_PIECE_BYTES = 256 << 10
_PIPE_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031
_PAUSE_SECONDS = 0.02
_TABLE_DATA = re.compile(r"^(\d+); \d+ \d+ TABLE DATA .*$", re.MULTILINE)
_ENTRY = re.compile(r"^\d+; .*$", re.MULTILINE)
# In place of the rows each statement has the number of its entry: which rows are whose does not depend on an order.
_COPY = re.compile(rb"^(COPY .*? FROM stdin;\n)(\d+)\n" + re.escape(TABLE_END), re.DOTALL | re.MULTILINE)
_STUB, _SCRIPT, _TABLES, _OTHERS = "stub", "tables.sql", "tables.list", "others.list"
_HINT = "The archive is not whole: do not rely on this set."


def loads_by_rows(tools: Tools, set_path: str, facts: Facts, jobs: int) -> bool:
    """Tell whether :func:`load_rows` can load the archive of *facts*, and is worth it; else ``restore_archive`` does."""
    directory = os.path.join(set_path, facts["path"])
    with told(directory), os.scandir(directory) as entries:
        size = sum(entry.stat().st_size for entry in entries)
    if jobs < 2 or size < SPLIT_BYTES or not can_decode(str(facts["compression"])) or not has_numbers(facts):
        return False
    # Rights come with the tables then, before their rows: nothing is to be denied by them.
    with tools.session() as session:
        return bool(session.value("SELECT rolsuper AS yes FROM pg_catalog.pg_roles WHERE rolname = current_user"))


def load_rows(tools: Tools, set_path: str, facts: Facts, sums: t.Mapping[str, str], database: str, work: str, jobs: int, timeout_seconds: float) -> Facts:
    """Restore the archive of *facts*, in the set at *set_path*, into an empty database; the first error ends it.

    Return the check of what was decoded on the way: the rows of each table in the archive. *sums* are the SHA-256 of its files,
    where they are known: what is loaded is what was checked.

    :raises CheckError: code ``tool-failed``, or ``corrupt`` where the archive cannot be read to its end.
    """
    archive = posixpath.join(SET_MOUNT, facts["path"])
    directory = os.path.join(set_path, facts["path"])

    def run(parallel: int, *which: str) -> None:
        restore_archive(tools, archive, database, parallel, timeout_seconds, *which)

    listing = listing_of(tools, archive, timeout_seconds)
    run(1, "--section=pre-data")
    script = _script(tools, listing, directory, work, timeout_seconds)
    _write_list(work, _OTHERS, [line for line in _ENTRY.findall(listing) if not _TABLE_DATA.match(line)])
    # Large objects and where sequences stand.
    run(1, "--section=data", f"--use-list={posixpath.join(WORK_MOUNT, _OTHERS)}")
    pipes = [f"rows-{number}" for number in range(jobs)]
    feeder = Feeder(directory, script, [os.path.join(work, pipe) for pipe in pipes])
    work_to_do: dict[str, t.Callable[[], t.Any]] = {"feed": feeder.feed}
    for pipe in pipes:
        os.mkfifo(os.path.join(work, pipe), 0o600)
        work_to_do[pipe] = functools.partial(_load, tools, pipe, database, timeout_seconds, feeder)
    outcomes = run_side_by_side(work_to_do, timeout_seconds)
    # Where the archive ends too early, the sessions may complain of half a row.
    raise_first({"feed": outcomes["feed"]})
    raise_first(outcomes)
    if feeder.failed.is_set():
        raise CheckError(tools.source, "psql did not read its rows to the end", "", "tool-failed")
    for name in (*pipes, _SCRIPT, _TABLES, _OTHERS):
        os.unlink(os.path.join(work, name))
    check_sums(directory, feeder.found, sums, "it was altered while it was restored", "Restore the set again.")
    found = compare_rows(facts["tables"], rows_by_table(archive, listing, facts["tables"], feeder.found))
    if found["ok"]:
        run(jobs, "--section=post-data")
    return found


def _load(tools: Tools, pipe: str, database: str, timeout_seconds: float, feeder: Feeder) -> None:
    argv = ["psql", "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1", "--output=/dev/null"]
    try:
        tools.check([*argv, f"--file={posixpath.join(WORK_MOUNT, pipe)}"], timeout_seconds, database)
    except BaseException:
        feeder.failed.set()
        raise


def _write_list(work: str, name: str, lines: t.Iterable[str]) -> None:
    with open(os.path.join(work, name), "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def _script(tools: Tools, listing: str, directory: str, work: str, timeout_seconds: float) -> Script:
    """Have ``pg_restore`` write what it executes for an archive of the same tables that have their entry's number in place of rows."""
    stub = os.path.join(work, _STUB)
    os.mkdir(stub, 0o700)
    names: dict[int, str] = {}
    with told(directory):
        files = set(data_files(directory))
    try:
        shutil.copyfile(os.path.join(directory, "toc.dat"), os.path.join(stub, "toc.dat"))
        entries = list(_TABLE_DATA.finditer(listing))
        for entry in entries:
            name = table_file(int(entry[1]), files)
            if name is None:
                raise CheckError(directory, f"the data of entry {entry[1]} is not there", _HINT, "corrupt")
            names[int(entry[1])] = name
            with open(os.path.join(stub, f"{entry[1]}.dat"), "wb") as file:
                file.write(entry[1].encode() + b"\n" + TABLE_END)
        _write_list(work, _TABLES, [entry[0] for entry in entries])
        argv = ["pg_restore", "--section=data", f"--use-list={posixpath.join(WORK_MOUNT, _TABLES)}", f"--file={posixpath.join(WORK_MOUNT, _SCRIPT)}"]
        tools.check([*argv, posixpath.join(WORK_MOUNT, _STUB)], timeout_seconds)
    finally:
        shutil.rmtree(stub)
    with open(os.path.join(work, _SCRIPT), "rb") as file:
        script = Script(file.read(), names)
    if sorted(script.numbers) != sorted(names):
        reason = f"{len(names)} tables have data, and pg_restore wrote {len(script.numbers)} statements for it"
        raise CheckError(directory, reason, "", "tool-failed")
    return script


class _Gone(Exception):
    """A session reads no more."""


class Script:
    """What is to be executed: *before* and *after* all by every session, and the *copies*, statements with the file of the rows that follow each."""

    def __init__(self, text: bytes, names: t.Mapping[int, str]) -> None:
        found = list(_COPY.finditer(text))
        #: The entries that have a statement, in its order.
        self.numbers = [int(one[2]) for one in found]
        self.copies = [(one[1], names[number]) for one, number in zip(found, self.numbers) if number in names]
        self.before = text[: found[0].start()] if found else b""
        self.after = text[found[-1].end() :] if found else b""


class Feeder:
    """Gives the rows of all tables to the sessions that read *pipes*."""

    def __init__(self, directory: str, script: Script, pipes: t.Sequence[str]) -> None:
        self._directory, self._script, self._pipes = directory, script, pipes
        #: Set by whoever fails: the others are to end.
        self.failed = threading.Event()
        #: What the data files that were read to their ends hold.
        self.found: dict[str, DataFile] = {}
        self._descriptors: list[int] = []
        # Of the table that is on its way: who takes part, whose turn it is and what it got in this turn, and what may be the table's end.
        self._taking: list[int] = []
        self._turn: t.Optional[int] = None
        self._given = 0
        self._held = b""

    def feed(self) -> None:
        """Give out everything.

        :raises CheckError: code ``corrupt``: a data file cannot be read to its end.
        """
        try:
            if not self._open():
                return
            for descriptor in self._descriptors:
                _write(descriptor, self._script.before)
            buffers = Buffers(_PIECE_BYTES)
            for statement, name in self._script.copies:
                self._table(statement, name, buffers)
            for descriptor in self._descriptors:
                _write(descriptor, self._script.after)
        except _Gone:
            self.failed.set()  # why it went away, it says itself
        except BaseException:
            self.failed.set()
            raise
        finally:
            # For who still reads, this is the end.
            for descriptor in self._descriptors:
                os.close(descriptor)

    def _open(self) -> bool:
        """Wait for all readers. One may fail before it opens its pipe: then return false, and those that come yet find the end."""
        waiting = list(self._pipes)
        while waiting:
            for path in list(waiting):
                descriptor = _opened(path)
                if descriptor is not None:
                    waiting.remove(path)
                    self._descriptors.append(descriptor)
            if self.failed.is_set() and waiting:
                # A psql that is late by more than this has failed as well.
                for dummy in range(round(10 / _PAUSE_SECONDS)):
                    late = [(path, _opened(path)) for path in waiting]
                    for path, descriptor in late:
                        if descriptor is not None:
                            os.close(descriptor)
                            waiting.remove(path)
                    if not waiting:
                        break
                    threading.Event().wait(_PAUSE_SECONDS)
                return False
            if waiting:
                self.failed.wait(_PAUSE_SECONDS)
        return True

    def _table(self, statement: bytes, name: str, buffers: Buffers) -> None:
        self._taking, self._turn, self._given, self._held = [], None, 0, b""
        reader = Reader(self._directory, name)
        try:
            with told(self._directory):
                while reader.advance(buffers, functools.partial(self._take, statement)):
                    if self.failed.is_set():
                        raise _Gone
            self.found[name] = reader.finish()
        finally:
            reader.close()
        for descriptor in self._taking:
            _write(descriptor, TABLE_END)

    def _take(self, statement: bytes, data: bytearray, size: int) -> None:
        # The end of the table is no row, and each session gets one.
        piece = self._held + bytes(memoryview(data)[:size])
        end = max(0, len(piece) - len(TABLE_END))
        self._held = piece[end:]
        # Only between rows may it go on with another session, however long a row is.
        border = piece.rfind(b"\n", 0, end) + 1
        rows = memoryview(piece)
        if border:
            self._give(statement, rows[:border])
            if self._given >= _TURN_BYTES:
                self._turn = None
        if border < end:
            self._give(statement, rows[border:end])

    def _give(self, statement: bytes, rows: memoryview) -> None:
        if self._turn is None:
            self._turn, self._given = min(self._descriptors, key=_queued), 0
            if self._turn not in self._taking:
                self._taking.append(self._turn)
                _write(self._turn, statement)
        self._given += len(rows)
        _write(self._turn, rows)


def _opened(path: str) -> t.Optional[int]:
    """Return a pipe that somebody reads, open for writing; ``None`` where nobody does yet."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    os.set_blocking(descriptor, True)
    try:
        fcntl.fcntl(descriptor, _F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        pass  # a smaller one does, too
    return descriptor


def _queued(descriptor: int) -> int:
    """Return how much of what was written nobody has read yet."""
    return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))[0])


def _write(descriptor: int, data: t.Union[bytes, memoryview]) -> None:
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except BrokenPipeError:
        raise _Gone from None
