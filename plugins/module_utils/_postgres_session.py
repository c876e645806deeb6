# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Read-only sessions with PostgreSQL, by psycopg2 or by ``psql``, that give the same rows either way.

The server makes JSON of every result, so that both ways have the same types. Every run is its own short ``READ ONLY``
transaction with its limits set inside it: nothing outlives the transaction, so a pooler in between is left as it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import secrets
import socket
import threading
import types
import typing as t

from ._database_url import DatabaseUrl
from ._envelope import CheckError
from ._postgres_wire import APPLICATION_NAME, Credentials, LoginAttempt, failure_of, open_socket, try_login
from ._process import Completed

#: In every statement of ours, so that they are told from the application's in pg_stat_statements.
MARKER = "/* stackops.runbook */"

_BEGIN = f"BEGIN {MARKER} TRANSACTION READ ONLY"
_ROLLBACK = f"ROLLBACK {MARKER}"

Row = dict[str, t.Any]
Value = t.Union[None, bool, int, float, str, t.Sequence[str]]

_LANGUAGE_OF_PSQL = {"LC_ALL": "C", "PGCLIENTENCODING": "UTF8", "PGGSSENCMODE": "disable"}


class DatabaseError(CheckError):
    """What the server or the driver said no to. *code* is a word of the facts schema, *sqlstate* the server's."""

    def __init__(self, source: str, reason: str, hint: str = "", code: str = "", sqlstate: t.Optional[str] = None) -> None:
        super().__init__(source, reason, hint, code)
        self.sqlstate = sqlstate


@dataclasses.dataclass(frozen=True)
class Limits:
    """How long a session may take: to be opened, for one statement, for one lock, and in all."""

    connect_seconds: float = 3.0
    statement_ms: int = 5000
    lock_ms: int = 500
    session_seconds: float = 30.0


@dataclasses.dataclass(frozen=True)
class Target:
    """Where to log in and as whom. The password is not in ``repr``."""

    hosts: tuple[tuple[str, int], ...]
    credentials: Credentials
    ssl_mode: str = ""
    ssl_root_cert: str = ""
    parameters: tuple[tuple[str, str], ...] = dataclasses.field(default=(), repr=False)

    @property
    def shown(self) -> str:
        """Host and port, for messages."""
        return ",".join(f"{host or 'local socket'}:{port}" for host, port in self.hosts) or "local socket"

    @classmethod
    def of_url(cls, url: DatabaseUrl) -> Target:
        """Return the target that *url* names."""
        certificates = {name: value for name, value in url.parameters if name in ("sslcert", "sslkey", "sslcrl", "target_session_attrs", "options")}
        return cls(
            url.hosts,
            Credentials(url.user or "postgres", url.password, url.login_database),
            url.parameter("sslmode") or "",
            url.parameter("sslrootcert") or "",
            tuple(sorted(certificates.items())),
        )


def literal(value: Value) -> str:
    """Return *value* as an SQL literal that means the same whatever ``standard_conforming_strings`` is."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"({value!r})"
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("PostgreSQL takes no text with a NUL character")
        text = value.replace("'", "''")
        return " E'" + text.replace("\\", "\\\\") + "'" if "\\" in text else f"'{text}'"
    return "ARRAY[" + ", ".join(literal(item) for item in value) + "]::text[]"


def render(sql: str, parameters: t.Mapping[str, Value]) -> str:
    """Return *sql* with every ``%(name)s`` replaced by its literal; ``%%`` is a percent sign."""
    return sql % {name: literal(value) for name, value in parameters.items()}


Answer = t.Union[list[Row], DatabaseError]


class Session:
    """An open session. Queries are one ``SELECT`` each, without a semicolon, with ``%%`` where SQL has ``%``."""

    via = ""
    source = "PostgreSQL"

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def rows(self, sql: str, **parameters: Value) -> list[Row]:
        """Return the rows of one query. :raises DatabaseError: the server refused it."""
        answer = self.answers({"rows": render(sql, parameters)})["rows"]
        if isinstance(answer, DatabaseError):
            raise answer
        return answer

    def answers(self, queries: t.Mapping[str, str]) -> dict[str, Answer]:
        """Return for every rendered query its rows, or the error that it alone ended with."""
        raise NotImplementedError

    def close(self) -> None:
        """End the session."""

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: t.Optional[type[BaseException]], error: t.Optional[BaseException], trace: t.Optional[types.TracebackType]) -> None:
        self.close()

    def _settings(self) -> str:
        settings = {
            "statement_timeout": str(self.limits.statement_ms),
            "lock_timeout": str(self.limits.lock_ms),
            "jit": "off",
            "search_path": "pg_catalog",
            "timezone": "UTC",
        }
        calls = ", ".join(f"pg_catalog.set_config('{name}', '{value}', true)" for name, value in settings.items())
        return f"SELECT {MARKER} {calls}"


def _as_json(sql: str) -> str:
    return f"(SELECT coalesce(pg_catalog.json_agg(pg_catalog.row_to_json(answer)), '[]'::json) FROM ({sql}) AS answer)"


def connection_error(target: Target, failure: str, message: str, sqlstate: t.Optional[str] = None) -> DatabaseError:
    """Return the error for a login that failed, with the next step for it."""
    user, database = target.credentials.user, target.credentials.database
    hints = {
        "refused": f"Nothing accepts connections at {target.shown}: check that the server runs and listens there (listen_addresses, port).",
        "timeout": f"Nothing answers at {target.shown}: check the network, the firewall, and whether the server hangs.",
        "auth-failed": f'Check user "{user}", its password and pg_hba.conf. POSTGRES_PASSWORD is used only when the data directory is first created; '
        f'afterwards it is changed by ALTER ROLE "{user}" PASSWORD.',
        "database-missing": f'Create it (CREATE DATABASE "{database}") or correct the name.',
        "too-many-connections": "End idle sessions, lower the applications' pool sizes, or raise max_connections (needs a restart).",
        "starting-up": "Wait for the server to finish its start-up or recovery; its log says how far it is.",
        "name-not-resolved": f"Check the host name in {target.shown} and the name servers of this host.",
        "permission-denied": f'Allow it: GRANT CONNECT ON DATABASE "{database}" TO "{user}".',
        "tls-error": "Check ssl_mode and ssl_root_cert against the server's certificate and its setting ssl.",
        "driver-missing": "Install python3-psycopg2 (or psql) on this host.",
        "protocol-error": f"Check that {target.shown} is a PostgreSQL server.",
    }
    return DatabaseError(target.shown, message, hints.get(failure, ""), failure, sqlstate)


def login_attempt(target: Target, limits: Limits) -> LoginAttempt:
    """Return how a plain login to the first host of *target* goes."""
    host, port = target.hosts[0]
    return try_login(
        lambda: open_socket(host or "/var/run/postgresql", port, limits.connect_seconds),
        target.credentials,
        limits.connect_seconds,
        target.ssl_mode or "prefer",
        target.ssl_root_cert,
    )


# -- psycopg2 ----------------------------------------------------------------------------------------------------------


def load_driver() -> t.Any:
    """Return psycopg2. :raises DatabaseError: ``driver-missing``."""
    try:
        import psycopg2
        import psycopg2.extensions
    except ImportError as error:
        raise DatabaseError("psycopg2", str(error), "Install python3-psycopg2 on this host.", "driver-missing") from None
    return psycopg2


class DriverSession(Session):
    """A session by psycopg2."""

    def __init__(self, driver: t.Any, connection: t.Any, target: Target, limits: Limits) -> None:
        super().__init__(limits)
        self.source = target.shown
        self._driver = driver
        self._connection = connection
        self._late = threading.Event()
        self._watchdog = threading.Timer(limits.session_seconds, self._cut)
        self._watchdog.daemon = True
        self._watchdog.start()

    @classmethod
    def open(cls, target: Target, limits: Limits) -> DriverSession:
        """Log in. :raises DatabaseError: with the facts schema's failure as its code."""
        driver = load_driver()
        try:
            connection = driver.connect(**_driver_arguments(target, limits))
        except (driver.Error, UnicodeError) as error:
            raise _login_failure(target, limits, error) from None
        # Transactions are begun by hand, so that even BEGIN is marked as ours in pg_stat_statements.
        connection.set_session(autocommit=True)
        return cls(driver, connection, target, limits)

    def _cut(self) -> None:
        # A server that is stopped in the middle (SIGSTOP, a dead disk) never answers, and libpq waits for ever:
        # closing the socket under it is what ends the wait.
        self._late.set()
        with contextlib.suppress(Exception):
            duplicate = socket.fromfd(self._connection.fileno(), socket.AF_INET, socket.SOCK_STREAM)
            with contextlib.closing(duplicate):
                duplicate.shutdown(socket.SHUT_RDWR)

    def answers(self, queries: t.Mapping[str, str]) -> dict[str, Answer]:
        """Return the answers: all in one round trip, and one by one only where one of them fails."""
        pairs = ", ".join(f"{literal(name)}, {_as_json(sql)}" for name, sql in queries.items())
        together = self._one(f"SELECT {MARKER} pg_catalog.json_build_object({pairs})::text")
        if isinstance(together, dict):
            return together
        if len(queries) == 1 or self._connection.closed:
            return dict.fromkeys(queries, together)
        return {name: answer for name, sql in queries.items() for answer in self.answers({name: sql}).values()}

    def _one(self, sql: str) -> t.Union[dict[str, Answer], DatabaseError]:
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(_BEGIN)
                try:
                    cursor.execute(self._settings())
                    cursor.execute(sql)
                    return t.cast("dict[str, Answer]", json.loads(cursor.fetchone()[0]))
                finally:
                    with contextlib.suppress(self._driver.Error):
                        cursor.execute(_ROLLBACK)
        except self._driver.Error as error:
            return self._failure(error)
        except UnicodeError as error:
            return DatabaseError(self.source, f"text that is not UTF-8: {error.reason if isinstance(error, UnicodeDecodeError) else error}", "", "encoding")

    def _failure(self, error: t.Any) -> DatabaseError:
        if self._late.is_set():
            return DatabaseError(self.source, f"no answer within {self.limits.session_seconds:g} s", "See whether the server hangs.", "timeout")
        said = getattr(error.diag, "message_primary", None) or str(error).strip() or "the connection was closed"
        return statement_error(self.source, error.pgcode, said)

    def close(self) -> None:
        """End the session."""
        self._watchdog.cancel()
        with contextlib.suppress(self._driver.Error):
            self._connection.close()


def statement_error(source: str, sqlstate: t.Optional[str], message: str) -> DatabaseError:
    """Return the error for one statement that failed, with the next step where there is one."""
    codes = {"57014": "timeout", "55P03": "timeout", "42501": "permission-denied"}
    hints = {
        "57014": "The server was too slow for the statement time limit; try again when it is less busy.",
        "55P03": "Another session holds a lock on what was to be read.",
        "42501": "Grant the role pg_monitor: GRANT pg_monitor TO <user>.",
    }
    return DatabaseError(source, message, hints.get(sqlstate or "", ""), codes.get(sqlstate or "", "query-failed"), sqlstate)


def _driver_arguments(target: Target, limits: Limits) -> dict[str, t.Any]:
    credentials = target.credentials
    arguments: dict[str, t.Any] = {
        **dict(target.parameters),
        "user": credentials.user,
        "dbname": credentials.database or credentials.user,
        "connect_timeout": max(2, round(limits.connect_seconds)),
        "application_name": APPLICATION_NAME,
        "client_encoding": "UTF8",
        "gssencmode": "disable",
    }
    if any(host for host, dummy in target.hosts):
        arguments["host"] = ",".join(host for host, dummy in target.hosts)
        arguments["port"] = ",".join(str(port) for dummy, port in target.hosts)
    for name, value in (("password", credentials.password), ("sslmode", target.ssl_mode), ("sslrootcert", target.ssl_root_cert)):
        if value:
            arguments[name] = value
    return arguments


def _login_failure(target: Target, limits: Limits, error: Exception) -> DatabaseError:
    """Classify a login that psycopg2 could not do.

    psycopg2 has a text only, in the language of the server, the host or both: a login by hand tells the SQLSTATE.
    """
    if "timeout expired" in str(error):
        # Seen already, and waiting for it again would tell nothing new.
        return failure_from_text(target, str(error))
    attempt = login_attempt(target, limits)
    if attempt.accepted or attempt.failure in ("not-tried", "protocol-error"):
        return failure_from_text(target, str(error))
    return connection_error(target, str(attempt.failure), attempt.message, attempt.sqlstate)


_TEXTS = (
    ("auth-failed", r"password authentication failed|authentication failed for|no pg_hba\.conf entry|no password supplied|role .* does not exist"),
    ("database-missing", r"database .* does not exist"),
    ("too-many-connections", r"too many clients|remaining connection slots|too many connections"),
    ("starting-up", r"the database system is (?:starting|shutting|not yet|in recovery)"),
    ("name-not-resolved", r"could not translate host name|Name or service not known"),
    ("timeout", r"timeout expired|timed out|No route to host"),
    ("refused", r"Connection refused|No such file or directory"),
    ("tls-error", r"SSL|certificate"),
    ("permission-denied", r"permission denied"),
)


def failure_from_text(target: Target, text: str) -> DatabaseError:
    """Return the error for what libpq printed about a login that failed."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    message = re.sub(r"^psql: (?:error: )?", "", lines[0]) if lines else "the login failed"
    if ":" in message and "FATAL" in message:
        message = message.partition("FATAL:")[2].strip()
    failure = next((failure for failure, pattern in _TEXTS if re.search(pattern, text)), "protocol-error")
    return connection_error(target, failure, message)


# -- psql --------------------------------------------------------------------------------------------------------------

#: Runs psql: argument list, environment, standard input and time limit in seconds.
PsqlRunner = t.Callable[[t.Sequence[str], t.Mapping[str, str], bytes, float], Completed]


class PsqlSession(Session):
    """A session by ``psql``, wherever *runner* runs it. Every call of :meth:`answers` is one process and one login."""

    def __init__(self, runner: PsqlRunner, target: Target, limits: Limits) -> None:
        super().__init__(limits)
        self.source = target.shown
        self._runner = runner
        self._target = target
        # Nothing in a result can end it early: the word between results is not known before this run.
        self._word = f"stackops-{secrets.token_hex(8)}"

    @classmethod
    def open(cls, runner: PsqlRunner, target: Target, limits: Limits) -> PsqlSession:
        """Log in once to see whether it works. :raises DatabaseError: it does not."""
        session = cls(runner, target, limits)
        session.rows("SELECT 1 AS one")
        return session

    def answers(self, queries: t.Mapping[str, str]) -> dict[str, Answer]:
        """Return the answers of one psql process; each query is its own transaction."""
        script = ["\\set ON_ERROR_STOP off", "\\set VERBOSITY terse"]
        for sql in queries.values():
            script += [f"{_BEGIN};", self._settings() + " \\g /dev/null", f"\\echo {self._word}"]
            script += [f"SELECT {MARKER} {_as_json(sql)};", f"\\echo {self._word} :SQLSTATE :LAST_ERROR_MESSAGE", f"{_ROLLBACK};"]
        argv = ["psql", "--no-psqlrc", "--no-align", "--tuples-only", "--quiet", "--no-password"]
        environment = _psql_environment(self._target, self.limits)
        try:
            completed = self._runner(argv, environment, "\n".join([*script, ""]).encode(), self.limits.session_seconds)
        except CheckError as error:
            code = "driver-missing" if error.code == "not-installed" else error.code
            return dict.fromkeys(queries, connection_error(self._target, code, error.reason))
        # Before, between and after the words: nothing, then result and state of each query in turn.
        parts = completed.text.split(self._word)[1:]
        answers: dict[str, Answer] = {}
        for index, name in enumerate(queries):
            text, state = (*parts[2 * index : 2 * index + 2], "", "")[:2]
            answers[name] = self._answer(text, state) if state else self._ended(completed)
        return answers

    def _answer(self, text: str, state: str) -> Answer:
        sqlstate, message = (*state.strip().split(" ", 1), "")[:2]
        if sqlstate != "00000":
            return statement_error(self.source, sqlstate, message)
        try:
            return t.cast("list[Row]", json.loads(text))
        except ValueError:
            return DatabaseError(self.source, f"psql gave no JSON: {text.strip()[:200]!r}", "", "query-failed")

    def _ended(self, completed: Completed) -> DatabaseError:
        error = completed.error_text.strip()
        if completed.exit_code == 127 or "executable file not found" in error + completed.text:
            return connection_error(self._target, "driver-missing", "psql is not there")
        return failure_from_text(self._target, error or completed.text)


def _psql_environment(target: Target, limits: Limits) -> dict[str, str]:
    credentials = target.credentials
    names = {"sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY", "sslcrl": "PGSSLCRL", "target_session_attrs": "PGTARGETSESSIONATTRS", "options": "PGOPTIONS"}
    environment = {
        **_LANGUAGE_OF_PSQL,
        **{names[name]: value for name, value in target.parameters},
        "PGUSER": credentials.user,
        "PGDATABASE": credentials.database or credentials.user,
        "PGAPPNAME": APPLICATION_NAME,
        "PGCONNECT_TIMEOUT": str(max(2, round(limits.connect_seconds))),
        # Set even where empty: what the container's own environment says must not redirect the login.
        "PGHOST": ",".join(host for host, dummy in target.hosts),
        "PGPORT": ",".join(str(port) for dummy, port in target.hosts),
        "PGPASSWORD": credentials.password or "",
    }
    if target.ssl_mode:
        environment["PGSSLMODE"] = target.ssl_mode
    if target.ssl_root_cert:
        environment["PGSSLROOTCERT"] = target.ssl_root_cert
    return environment


__all__ = ["Answer", "DatabaseError", "DriverSession", "Limits", "PsqlSession", "Row", "Session", "Target", "connection_error", "failure_of", "literal"]
