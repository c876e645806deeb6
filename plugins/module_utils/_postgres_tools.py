# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A PostgreSQL server's own programs, run in a container of ours beside it.

The container is made from the image that the server runs from, so that ``pg_dump`` and ``pg_restore`` are of its version;
it shares the server's network, writes straight to a directory of the host, and ends with this process. Nothing passes
through the engine's streams but what programs say, and nothing is installed in, or weighs on, the server's container.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import typing as t

from ._engine import Engine, HelperSpec
from ._envelope import CheckError
from ._postgres import Instance, login_candidates, server_port
from ._postgres_session import DatabaseError, Target, failure_from_text
from ._postgres_wire import Credentials
from ._process import Completed
from ._psql_stream import PsqlStream, psql_argv

APPLICATION_NAME = "stackops-backup"
#: On every container that this collection starts for itself.
HELPER_LABEL = "io.github.stackops.runbook.helper"
_LOGIN_SECONDS = 30.0
_ZSTD_SINCE = 16


@dataclasses.dataclass(frozen=True)
class Tools:
    """Programs beside one server. Make it with :func:`beside` or :func:`apart`."""

    engine: Engine
    container_id: str
    source: str
    credentials: Credentials
    host: str = "127.0.0.1"
    port: int = 5432
    prefix: tuple[str, ...] = ()
    #: Of the server, for sessions of these programs only: name and value.
    settings: tuple[tuple[str, str], ...] = ()

    def run(self, argv: t.Sequence[str], timeout_seconds: float, database: t.Optional[str] = None, user: str = "") -> Completed:
        """Run a program, at low priority, as root or the system's *user*, and return what it gave back."""
        return self.engine.exec(self.container_id, [*self.prefix, *argv], timeout_seconds, user, self.environment(database))

    def check(self, argv: t.Sequence[str], timeout_seconds: float, database: t.Optional[str] = None, user: str = "") -> Completed:
        """Run a program and return what it gave back.

        :raises CheckError: code ``tool-failed`` where it did not end with 0, with its last words.
        """
        completed = self.run(argv, timeout_seconds, database, user)
        if completed.exit_code != 0:
            raise tool_error(self.source, completed)
        return completed

    @contextlib.contextmanager
    def session(self, database: t.Optional[str] = None, timeout_seconds: float = 60.0) -> t.Iterator[PsqlStream]:
        """Yield a session with *database*, else the one of the credentials.

        :raises DatabaseError: the server refused the login.
        """
        with self.engine.attached_exec(self.container_id, psql_argv(), 24 * 3600, env=self.environment(database)) as process:
            stream = PsqlStream(process, timeout_seconds)
            try:
                stream.execute("SELECT 1", _LOGIN_SECONDS)
            except DatabaseError as error:
                raise self._login_error(error, database) from None
            yield stream

    def environment(self, database: t.Optional[str] = None) -> dict[str, str]:
        """Return what libpq goes by; it travels in the request's body and shows in no argument list."""
        return {
            "LC_ALL": "C",
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.credentials.user,
            "PGPASSWORD": self.credentials.password or "",
            "PGDATABASE": database or self.credentials.database or self.credentials.user,
            "PGAPPNAME": APPLICATION_NAME,
            "PGCONNECT_TIMEOUT": "10",
            "PGCLIENTENCODING": "UTF8",
            # The way is the loopback device of one network name space.
            "PGSSLMODE": "disable",
            "PGOPTIONS": " ".join(f"-c {name}={value}" for name, value in self.settings),
        }

    def _login_error(self, error: DatabaseError, database: t.Optional[str]) -> DatabaseError:
        target = Target(((self.host, self.port),), dataclasses.replace(self.credentials, database=database or self.credentials.database))
        return failure_from_text(target, error.reason)


def tool_error(source: str, completed: Completed) -> CheckError:
    """Return the error for a program that did not end well."""
    lines = [line for line in completed.error_text.strip().splitlines() if line.strip()]
    said = " / ".join(lines[-3:]) or completed.text.strip()[-300:] or "it said nothing"
    program = next((word for word in completed.argv if os.path.basename(word).startswith(("pg_", "psql"))), completed.argv[0])
    how = f"exit code {completed.exit_code}" if completed.exit_code >= 0 else "the container was stopped under it"
    return CheckError(source, f"{program}: {how}: {said}", "", "tool-failed")


@contextlib.contextmanager
def beside(engine: Engine, instance: Instance, purpose: str, binds: t.Sequence[str] = ()) -> t.Iterator[Tools]:
    """Yield the programs of *instance*'s own image, logged in to it with the first credentials that it takes.

    :raises CheckError: the container does not run, or takes none of the logins.
    """
    container = instance.container
    if container is None:
        raise CheckError(instance.name, "this server is in no container", "Back it up with its own tools (pg_dump, pgBackRest).", "no-container")
    if not container.running:
        hint = f"Start it: docker start {container.name}; see its log: docker logs --tail 50 {container.name}"
        raise CheckError(f"container {container.name}", f"the container is not running: {container.state}", hint, "not-running")
    network = "host" if container.network_mode == "host" else f"container:{container.id}"
    with _helper(engine, container.image_id, purpose, network, binds) as container_id:
        tools = Tools(engine, container_id, instance.name, Credentials("postgres", None, "postgres"), port=server_port(container))
        candidates = login_candidates(instance, engine)
        yield dataclasses.replace(_logged_in(tools, candidates), prefix=_low_priority(tools))


@contextlib.contextmanager
def apart(engine: Engine, image: str, purpose: str, binds: t.Sequence[str] = ()) -> t.Iterator[Tools]:
    """Yield the programs of *image* with no server and no network: to read archives."""
    with _helper(engine, image, purpose, "none", binds) as container_id:
        tools = Tools(engine, container_id, image, Credentials("postgres", None, "postgres"))
        yield dataclasses.replace(tools, prefix=_low_priority(tools))


@contextlib.contextmanager
def _helper(engine: Engine, image: str, purpose: str, network: str, binds: t.Sequence[str]) -> t.Iterator[str]:
    name = f"stackops-{purpose}-{secrets.token_hex(4)}"
    with engine.helper(HelperSpec(name, image, network, tuple(binds), {HELPER_LABEL: purpose})) as container_id:
        yield container_id


def _low_priority(tools: Tools) -> tuple[str, ...]:
    """Return what to put before a command line so that the disk serves others first, where the image can do that."""
    idle = ("ionice", "-c", "3")
    completed = tools.run([*idle, "true"], _LOGIN_SECONDS)
    return idle if completed.exit_code == 0 else ()


def _logged_in(tools: Tools, candidates: t.Sequence[Credentials]) -> Tools:
    errors: list[DatabaseError] = []
    for credentials in candidates:
        one = dataclasses.replace(tools, credentials=credentials)
        try:
            with one.session():
                return one
        except DatabaseError as error:
            errors.append(error)
            if error.code in ("auth-failed", "database-missing", "permission-denied"):
                continue
            # A restore that was killed in its swap has closed the database, and has to be let in to open it. Whatever language the server says it in.
            with contextlib.suppress(DatabaseError), one.session("postgres"):
                return one
            break
    raise errors[0]


def compression_of(source: str, wanted: str, major_version: int) -> str:
    """Return the value for ``pg_dump --compress``: zstd where the tools of that version have it, else gzip, at the levels that cost least."""
    if wanted != "gzip" and major_version >= _ZSTD_SINCE:
        return "zstd:1"
    if wanted == "zstd":
        raise CheckError(source, "its pg_dump has no zstd, which came with PostgreSQL 16", "Set compression to auto or gzip.", "unsupported")
    return "1"
