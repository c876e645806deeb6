# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Create an extension of PostgreSQL; where the server has to load it when it starts, that is set and the server started again."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import time
import typing as t

from ._database_facts import identifier
from ._discovery import ContainerRef, Stack
from ._engine import Engine, EngineOptions
from ._envelope import CheckError
from ._maintenance import window_while
from ._postgres import Instance
from ._postgres_session import literal
from ._postgres_target import container_of, only_server, psql_words
from ._postgres_tools import Tools, beside
from ._redaction import redactor_of
from ._remediation import Change, Facts, NothingChanged, Verified, Work, only_stack, run_remediation

#: Extensions whose library has to be loaded when the server starts, by its name.
PRELOADED = {"pg_stat_statements": "pg_stat_statements", "pg_cron": "pg_cron", "pgaudit": "pgaudit", "auto_explain": "auto_explain"}
_SETTING = "shared_preload_libraries"
_POLL_SECONDS = 0.5
_STOP_SECONDS = 120

_LOOK = """
SELECT current_setting('server_version_num')::int AS version_number, pg_catalog.pg_is_in_recovery() AS in_recovery,
       (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) AS superuser,
       (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = {name}) AS installed,
       (SELECT default_version FROM pg_catalog.pg_available_extensions WHERE name = {name}) AS available,
       current_setting('shared_preload_libraries') AS loaded,
       (SELECT setting FROM pg_catalog.pg_file_settings WHERE name = 'shared_preload_libraries' ORDER BY seqno DESC LIMIT 1) AS configured,
       (SELECT source FROM pg_catalog.pg_settings WHERE name = 'shared_preload_libraries') AS source,
       current_setting('data_directory') AS data_directory"""


@dataclasses.dataclass(frozen=True)
class Server:
    """What a server says of one extension."""

    installed: t.Optional[str]
    available: t.Optional[str]
    loaded: tuple[str, ...]
    configured: tuple[str, ...]
    source: str
    superuser: bool
    in_recovery: bool
    data_directory: str


@dataclasses.dataclass(frozen=True)
class Steps:
    """What has to be done: *libraries* to be set (with a restart where they are not loaded), and whether it is to be created."""

    libraries: tuple[str, ...] = ()
    restart: bool = False
    create: bool = False


def split_libraries(value: t.Optional[str]) -> tuple[str, ...]:
    """Return the names in a value of ``shared_preload_libraries``, in their order."""
    names = [name.strip().strip("\"'").strip() for name in (value or "").split(",")]
    return tuple(dict.fromkeys(name for name in names if name))


def decide(server: Server, extension: str, source: str) -> Steps:
    """Return what it takes for *server* (called *source* in messages) to have *extension*.

    :raises CheckError: it cannot be had this way; the hint says how.
    """
    library = PRELOADED.get(extension)
    missing = library is not None and library not in server.loaded
    if server.installed and not missing:
        return Steps()
    if server.in_recovery:
        raise CheckError(source, "it is a standby, which takes everything from its primary", "Do it on the primary.", "read-only")
    if not server.superuser:
        hint = "Give login_user: a superuser."
        raise CheckError(source, "only a superuser may create the extension and change the server's settings", hint, "permission-denied")
    if server.available is None:
        hint = "Use an image that has it: the official images do; Debian has it in postgresql-contrib."
        raise CheckError(source, f"its image has no extension {extension}", hint, "package-missing")
    if not missing:
        return Steps(create=True)
    if server.source == "command line":
        libraries = ",".join((*server.loaded, str(library)))
        hint = f"Set it there: command: postgres -c {_SETTING}={libraries}"
        raise CheckError(source, f"{_SETTING} is set in the command of its container, which settings of the server do not override", hint, "command-line")
    # What is written down and not loaded yet is kept as well: somebody has a reason for it.
    wanted = tuple(dict.fromkeys((*server.configured, *server.loaded, str(library))))
    return Steps(wanted if set(wanted) != set(server.configured) else (), True, not server.installed)


def look(tools: Tools, extension: str, database: t.Optional[str]) -> Server:
    """Return what the server says. :raises CheckError: it does not answer."""
    with tools.session(database) as session:
        row = session.rows(_LOOK.format(name=literal(extension)))[0]
    return Server(
        installed=row["installed"],
        available=row["available"],
        loaded=split_libraries(row["loaded"]),
        configured=split_libraries(row["configured"] if row["configured"] is not None else row["loaded"]),
        source=str(row["source"]),
        superuser=bool(row["superuser"]),
        in_recovery=bool(row["in_recovery"]),
        data_directory=str(row["data_directory"]),
    )


class _Creation:
    """The way to the extension on one server."""

    def __init__(self, engine: Engine, stack: Stack, instance: Instance, params: t.Mapping[str, t.Any]) -> None:
        self.engine, self.stack, self.instance = engine, stack, instance
        self.extension = str(params["extension"])
        self.database = params.get("database") or None
        self._limit_seconds = float(params["start_timeout_seconds"])

    def work(self) -> Work:
        """Return the plan. :raises CheckError: it cannot be done this way."""
        with self._tools() as tools:
            server = look(tools, self.extension, self.database)
            steps = decide(server, self.extension, self.instance.name)
            database = self.database or tools.credentials.database or tools.credentials.user
            commands = self._commands(tools, steps)
        words = []
        if steps.libraries:
            words.append(f"add {PRELOADED[self.extension]} to {_SETTING}")
        if steps.restart:
            words.append(f"restart the container {container_of(self.instance).name}, which ends every session with the database for some seconds")
        if steps.create:
            words.append(f"create the extension in database {database}")
        there = f"{self.extension} {server.installed} is in database {database}" + (" and loaded" if self.extension in PRELOADED else "")
        change = Change(
            "create_extension",
            self.instance.name,
            ", ".join(words) or there,
            commands,
            {"installed": server.installed, _SETTING: ",".join(server.loaded)},
            {"installed": server.installed or server.available, _SETTING: ",".join(steps.libraries or server.loaded)},
            self._undo(commands, steps, server, database),
            needed=steps != Steps(),
        )
        return Work(change, lambda: self._carry_out(steps, server), self._verify, redactor_of([self.stack]))

    def _carry_out(self, steps: Steps, before: Server) -> Facts:
        with window_while(f"restart of {self.instance.name}", (self.stack.name,), (), self._limit_seconds), contextlib.ExitStack() as undo:
            if steps.libraries:
                value = ",".join(steps.libraries)
                with self._tools() as tools, tools.session(self.database) as session:
                    session.execute(self._set(steps.libraries))
                undo.callback(self._take_back, before)
                self._check_written(value)
            if steps.restart:
                self._restart()
            if steps.create:
                with self._tools() as tools, tools.session(self.database) as session:
                    session.execute(self._create)
            undo.pop_all()
        with self._tools() as tools:
            after = look(tools, self.extension, self.database)
        return {"installed": after.installed, _SETTING: ",".join(after.loaded)}

    def _check_written(self, value: str) -> None:
        """Look before the restart whether the server would take what is written: one that does not start is worse than one that is slow."""
        with self._tools() as tools:
            written = look(tools, self.extension, self.database).configured
        if written != split_libraries(value):
            raise NothingChanged(self.instance.name, f"{_SETTING} would be {','.join(written)} after a restart", "See pg_file_settings.", "not-verified")

    def _take_back(self, before: Server) -> None:
        """Have the setting as it was, where the server still answers."""
        with contextlib.suppress(CheckError), self._tools() as tools, tools.session(self.database) as session:
            session.execute(self._set(before.configured) if before.configured else f"ALTER SYSTEM RESET {_SETTING}")

    def _restart(self) -> None:
        container = container_of(self.instance)
        self.engine.stop(container.id, _STOP_SECONDS)
        self.engine.start(container.id)
        deadline = time.monotonic() + self._limit_seconds
        while True:
            try:
                with self._tools() as tools, tools.session(self.database):
                    return
            except CheckError as error:
                if time.monotonic() > deadline:
                    hint = f"See its log: docker logs --tail 50 {container.name}. {self._by_hand()}"
                    raise CheckError(self.instance.name, f"it does not answer {self._limit_seconds:g} s after its restart: {error.reason}", hint) from error
            time.sleep(_POLL_SECONDS)

    def _by_hand(self) -> str:
        container = container_of(self.instance)
        name = f"{container.env.get('PGDATA', '/var/lib/postgresql/data')}/postgresql.auto.conf"
        change = f"docker run --rm --volumes-from {container.name} {container.image_reference} sed -i /{_SETTING}/d {name}"
        return f"To take the setting back while it does not start: {change} && docker start {container.name}"

    def _verify(self) -> Verified:
        with self._tools() as tools, tools.session(self.database) as session:
            found = session.rows(f"SELECT extversion AS version FROM pg_catalog.pg_extension WHERE extname = {literal(self.extension)}")
            if self.extension == "pg_stat_statements" and found:
                # The view fails where the library is not loaded.
                session.rows("SELECT count(*) AS statements FROM pg_stat_statements")
        return Verified(bool(found), f"{self.extension} {found[0]['version']} answers" if found else f"{self.extension} is not there")

    # -- words ---------------------------------------------------------------------------------------------------------

    def _set(self, libraries: t.Sequence[str]) -> str:
        # A list setting: each name is its own literal.
        return f"ALTER SYSTEM SET {_SETTING} = {', '.join(literal(name) for name in libraries)}"

    @property
    def _create(self) -> str:
        return f"CREATE EXTENSION IF NOT EXISTS {identifier(self.extension)}"

    def _commands(self, tools: Tools, steps: Steps) -> tuple[tuple[str, ...], ...]:
        commands = []
        if steps.libraries:
            commands.append(psql_words(self.instance, tools, self._set(steps.libraries), self.database))
        if steps.restart:
            commands.append((*self.instance.compose.split(" "), "restart", str(self.instance.service)))
        if steps.create:
            commands.append(psql_words(self.instance, tools, self._create, self.database))
        return tuple(commands)

    def _undo(self, commands: t.Sequence[tuple[str, ...]], steps: Steps, server: Server, database: str) -> tuple[str, ...]:
        undo = []
        if steps.create:
            undo.append(f"in database {database}: DROP EXTENSION {self.extension}")
        if steps.libraries:
            back = self._set(server.configured) if server.configured else f"ALTER SYSTEM RESET {_SETTING}"
            undo.append(f"{back}; then {' '.join((*self.instance.compose.split(' '), 'restart', str(self.instance.service)))}")
        return tuple(undo)

    @contextlib.contextmanager
    def _tools(self) -> t.Iterator[Tools]:
        # A server that was started again has other processes and addresses: the container is looked at anew.
        container = ContainerRef(self.engine.inspect(container_of(self.instance).id))
        with beside(self.engine, dataclasses.replace(self.instance, container=container), "extension") as tools:
            yield tools


def create_extension(params: t.Mapping[str, t.Any], check_mode: bool) -> Facts:
    """Do what the module ``pg_extension`` is asked for."""

    def plan() -> Work:
        if not re.fullmatch(r"[a-z_][a-z0-9_-]*", str(params["extension"])):
            raise CheckError(str(params["extension"]), "this is no name of an extension", "For example pg_stat_statements.", "invalid-option")
        engine = Engine.connect(EngineOptions.from_params(params))
        stack = only_stack(engine, params)
        return _Creation(engine, stack, only_server(stack, params), params).work()

    return run_remediation(plan, params, check_mode)
