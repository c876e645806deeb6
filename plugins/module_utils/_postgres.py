# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Finds the PostgreSQL servers of a stack, the credentials for them and a way to reach them."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ._database_url import DEFAULT_PORT, database_urls, parse_database_url
from ._envelope import CheckError
from ._postgres_session import DatabaseError, DriverSession, Limits, PsqlSession, Session, Target, connection_error
from ._postgres_wire import Credentials
from ._process import Completed, run_command

if t.TYPE_CHECKING:
    from ._discovery import ContainerRef, Stack
    from ._engine import Engine

_SECRET_FILE_BYTES = 4096

# As the images "postgres", Bitnami's and Red Hat's name them.
_USER_VARIABLES = ("POSTGRES_USER", "POSTGRESQL_USERNAME", "POSTGRESQL_USER")
_PASSWORD_VARIABLES = ("POSTGRES_PASSWORD", "POSTGRESQL_PASSWORD")
_DATABASE_VARIABLES = ("POSTGRES_DB", "POSTGRESQL_DATABASE")

# The server answered, so that another way to it would bring the same answer to the same login.
_SERVER_SPOKE = frozenset(("auth-failed", "database-missing", "permission-denied", "too-many-connections", "starting-up", "no-credentials"))


def connection_arguments() -> dict[str, dict[str, t.Any]]:
    """Return the options of the doc fragment ``postgres_connection``; :class:`Login` and :func:`limits_from_params` take them."""
    return {
        "login_host": {"type": "str"},
        "login_port": {"type": "int"},
        "login_user": {"type": "str"},
        "login_password": {"type": "str", "no_log": True},
        "login_db": {"type": "str"},
        "dsn": {"type": "str", "no_log": True},
        "ssl_mode": {"type": "str", "choices": ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"], "default": "prefer"},
        "ssl_root_cert": {"type": "path", "aliases": ["ca_cert"]},
        "connect_timeout": {"type": "int", "default": 3},
        "statement_timeout": {"type": "int", "default": 5},
    }


def server_arguments() -> dict[str, dict[str, t.Any]]:
    """Return the options of the doc fragment ``postgres_connection.servers``: logins to servers outside Compose."""
    login = {name: option for name, option in connection_arguments().items() if name not in ("connect_timeout", "statement_timeout")}
    options = {**login, "ssl_root_cert": {"type": "path"}}
    return {"postgres": {"type": "list", "elements": "dict", "default": [], "options": options}}


def limits_from_params(params: t.Mapping[str, t.Any]) -> Limits:
    """Return the time limits that the options ask for."""
    limits = Limits()
    return dataclasses.replace(
        limits,
        connect_seconds=float(params.get("connect_timeout") or limits.connect_seconds),
        statement_ms=1000 * int(params["statement_timeout"]) if params.get("statement_timeout") else limits.statement_ms,
    )


@dataclasses.dataclass(frozen=True)
class Login:
    """The login options of a module. Without *host* and *dsn* they only correct the credentials that are found."""

    host: t.Optional[str] = None
    port: t.Optional[int] = None
    user: t.Optional[str] = None
    password: t.Optional[str] = dataclasses.field(default=None, repr=False)
    database: t.Optional[str] = None
    dsn: t.Optional[str] = dataclasses.field(default=None, repr=False)
    ssl_mode: str = "prefer"
    ssl_root_cert: t.Optional[str] = None

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Login:
        """Return the login from the options of the doc fragment ``postgres_connection``."""
        return cls(
            host=params.get("login_host") or None,
            port=params.get("login_port") or None,
            user=params.get("login_user") or None,
            password=params.get("login_password") or None,
            database=params.get("login_db") or None,
            dsn=params.get("dsn") or None,
            ssl_mode=params.get("ssl_mode") or "prefer",
            ssl_root_cert=params.get("ssl_root_cert") or None,
        )

    @property
    def names_a_server(self) -> bool:
        """Whether it says by itself where to log in."""
        return bool(self.host or self.dsn)

    def target(self) -> Target:
        """Return where to log in. What is given besides a DSN takes precedence over it.

        :raises DatabaseError: the DSN is none.
        """
        base = Target(((self.host or "", self.port or DEFAULT_PORT),), Credentials(self.user or "postgres", self.password, self.database))
        if self.dsn:
            url = parse_database_url(self.dsn)
            if url is None:
                hint = "Give a URL (postgresql://user:password@host:5432/database) or a libpq string (host=... dbname=... user=...)."
                raise DatabaseError("dsn", "this is neither a PostgreSQL URL nor a connection string", hint, "protocol-error")
            base = Target.of_url(url)
        hosts = base.hosts
        if self.host or self.port:
            hosts = ((self.host or base.hosts[0][0], self.port or base.hosts[0][1]),)
        found = base.credentials
        credentials = Credentials(self.user or found.user, self.password or found.password, self.database or found.database or self.user or found.user)
        ssl_mode = self.ssl_mode if self.ssl_mode != "prefer" else base.ssl_mode or "prefer"
        return dataclasses.replace(base, hosts=hosts, credentials=credentials, ssl_mode=ssl_mode, ssl_root_cert=self.ssl_root_cert or base.ssl_root_cert)


@dataclasses.dataclass(frozen=True)
class StatementOptions:
    """Which statements to show. *sample_seconds* 0 shows what was counted since the last reset."""

    rank_by: str = "mean"
    limit: int = 20
    # Once or twice is a migration or someone's own query, and those are often the slowest of all.
    min_calls: int = 3
    min_mean_ms: float = 0.0
    exclude: tuple[str, ...] = ()
    sample_seconds: float = 0.0
    query_characters: int = 1000
    warning_ms: t.Optional[float] = None
    critical_ms: t.Optional[float] = None

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> StatementOptions:
        """Return the options of the module ``pg_slow_queries``."""
        names = ("rank_by", "limit", "min_calls", "min_mean_ms", "sample_seconds", "query_characters", "warning_ms", "critical_ms")
        given = {name: params[name] for name in names if params.get(name) is not None}
        return cls(**given, exclude=tuple(params.get("exclude") or ()))


@dataclasses.dataclass(frozen=True)
class HealthOptions:
    """From when on something is listed, and what makes an instance warning or critical."""

    long_running_seconds: float = 60.0
    long_running_critical_seconds: float = 600.0
    idle_in_transaction_seconds: float = 30.0
    idle_in_transaction_critical_seconds: float = 600.0
    blocked_seconds: float = 3.0
    blocked_critical_seconds: float = 60.0
    connections_warning_percent: float = 80.0
    connections_critical_percent: float = 95.0
    wraparound_warning_percent: float = 50.0
    wraparound_critical_percent: float = 80.0
    sequence_warning_percent: float = 80.0
    sequence_critical_percent: float = 95.0
    missing_index_rows: int = 10_000
    missing_index_scans: int = 20
    unused_index_days: float = 7.0
    list_limit: int = 20


@dataclasses.dataclass(frozen=True)
class PostgresOptions:
    """What :func:`collect_postgres` and ``pg_slow_queries`` go by."""

    login: Login = Login()
    servers: tuple[Login, ...] = ()
    limits: Limits = Limits()
    timeout_seconds: float = 40.0
    statements: StatementOptions = StatementOptions()
    health: HealthOptions = HealthOptions()

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> PostgresOptions:
        """Return the options of a module: a login that names a server is that server, else it corrects what is found."""
        login = Login.from_params(params)
        statements = StatementOptions.from_params(params)
        limits = limits_from_params(params)
        limits = dataclasses.replace(limits, session_seconds=limits.session_seconds + statements.sample_seconds)
        servers = (login,) if login.names_a_server else ()
        return cls(login=Login() if servers else login, servers=servers, limits=limits, statements=statements)


@dataclasses.dataclass(frozen=True)
class Instance:
    """One PostgreSQL server: a container of a stack, or a *login* outside Compose."""

    name: str
    project: t.Optional[str] = None
    service: t.Optional[str] = None
    container: t.Optional[ContainerRef] = None
    stack: t.Optional[Stack] = dataclasses.field(default=None, repr=False)
    login: Login = Login()

    @property
    def compose(self) -> str:
        """The Compose command for this project, for fixes."""
        program = {"compose-v1": "docker-compose", "podman-compose": "podman-compose"}.get(self.stack.flavour if self.stack else "", "docker compose")
        return f"{program} -p {self.project}"


@dataclasses.dataclass(frozen=True)
class Connection:
    """An open session, the way that led to it, and what failed on other ways before."""

    session: Session
    via: str
    target: Target
    problems: tuple[DatabaseError, ...] = ()


def find_instances(stacks: t.Iterable[Stack], options: PostgresOptions = PostgresOptions()) -> list[Instance]:
    """Return the PostgreSQL servers of *stacks* and those that *options* names, in order."""
    instances = [_instance_of(stack, container, options.login) for stack in stacks for container in stack.of_role("postgres")]
    return instances + [Instance(_name_of(login), login=login) for login in options.servers]


def _instance_of(stack: Stack, container: ContainerRef, login: Login) -> Instance:
    name = f"{container.project}/{container.service}"
    if len(stack.of_service(container.service)) > 1:
        name += f"/{container.replica}"
    return Instance(name, container.project, container.service, container, stack, login)


def _name_of(login: Login) -> str:
    try:
        return login.target().shown
    except DatabaseError:
        return "dsn"


def connect(instance: Instance, engine: t.Optional[Engine], options: PostgresOptions = PostgresOptions(), database: t.Optional[str] = None) -> Connection:
    """Open a session with *instance*: over its network, else its published port, else by ``psql`` inside it.

    *database* overrides the one that is found.

    :raises DatabaseError: none of the ways works; the code is a ``failure`` of the facts schema.
    """
    if instance.container is None:
        return _connect_outside(instance.login, options.limits, database)
    if engine is None:
        raise DatabaseError(instance.name, "the container engine is not reachable", "", "permission-denied")
    _check_running(instance.container)
    ladder = _Ladder(instance, engine, options.limits)
    candidates = login_candidates(instance, engine)
    if database:
        candidates = _distinct([dataclasses.replace(one, database=database) for one in candidates])
    return ladder.climb(candidates)


def open_session(instance: Instance, engine: t.Optional[Engine], options: PostgresOptions = PostgresOptions(), database: t.Optional[str] = None) -> Session:
    """Return an open session with *instance*, to be closed by the caller; see :func:`connect`."""
    return connect(instance, engine, options, database).session


def open_target(target: Target, limits: Limits) -> Session:
    """Open a session from this host: by psycopg2, or by the host's own ``psql`` where that is missing.

    :raises DatabaseError: with the failure of the facts schema as its code.
    """
    try:
        return DriverSession.open(target, limits)
    except DatabaseError as error:
        if error.code != "driver-missing":
            raise
        try:
            return PsqlSession.open(_run_here, target, limits)
        except DatabaseError as without_driver:
            raise (error if without_driver.code == "driver-missing" else without_driver) from None


def _run_here(argv: t.Sequence[str], environment: t.Mapping[str, str], stdin: bytes, timeout_seconds: float) -> Completed:
    return run_command(argv, timeout_seconds, stdin, environment)


def _connect_outside(login: Login, limits: Limits, database: t.Optional[str]) -> Connection:
    target = login.target()
    if database:
        target = dataclasses.replace(target, credentials=dataclasses.replace(target.credentials, database=database))
    return Connection(open_target(target, limits), "login_host", target)


def _check_running(container: ContainerRef) -> None:
    if container.running:
        return
    hint = f"See its log: docker logs --tail 50 {container.name}; start it: docker start {container.name}"
    if container.state == "paused":
        hint = f"docker unpause {container.name}"
    raise DatabaseError(f"container {container.name}", f"the container is not running: {container.state}", hint, "not-running")


class _Ladder:
    """The ways to one server, tried in turn until a session is open."""

    def __init__(self, instance: Instance, engine: Engine, limits: Limits) -> None:
        self._instance = instance
        self._engine = engine
        self._limits = limits
        self._errors: list[DatabaseError] = []

    def climb(self, candidates: t.Sequence[Credentials]) -> Connection:
        for way in (self._over_the_network, self._inside_the_container):
            connection = way(candidates)
            if connection is not None:
                return connection
        raise self._verdict(candidates)

    def _over_the_network(self, candidates: t.Sequence[Credentials]) -> t.Optional[Connection]:
        for via, host, port in addresses(t.cast("ContainerRef", self._instance.container), self._engine):
            for credentials in candidates:
                target = Target(((host, port),), credentials, self._instance.login.ssl_mode, self._instance.login.ssl_root_cert or "")
                try:
                    return Connection(DriverSession.open(target, self._limits), via, target, tuple(self._errors))
                except DatabaseError as error:
                    self._errors.append(error)
                    if error.code == "driver-missing":
                        return None
                    if error.code not in _SERVER_SPOKE:
                        break
            else:
                return None
        return None

    def _inside_the_container(self, candidates: t.Sequence[Credentials]) -> t.Optional[Connection]:
        # Images allow the local socket without a password, some only to the system user that owns the data.
        connection = self._by_psql(candidates, "")
        if connection is None and self._errors[-1].code in _SERVER_SPOKE - {"starting-up", "too-many-connections"}:
            connection = self._by_psql(candidates, "", "postgres")
        elif connection is None and self._errors[-1].code == "refused" and not any(error.code == "refused" for error in self._errors[:-1]):
            connection = self._by_psql(candidates, "127.0.0.1")
        return connection

    def _by_psql(self, candidates: t.Sequence[Credentials], host: str, system_user: str = "") -> t.Optional[Connection]:
        port = server_port(t.cast("ContainerRef", self._instance.container))
        for credentials in candidates:
            target = Target(((host, port),), credentials)
            try:
                session = PsqlSession.open(self._runner(system_user), target, self._limits)
            except DatabaseError as error:
                self._errors.append(error)
                if error.code not in _SERVER_SPOKE:
                    break
            else:
                problems = tuple(error for error in self._errors if error.code != "driver-missing")
                return Connection(session, "exec", target, problems)
        return None

    def _runner(self, system_user: str) -> t.Callable[[t.Sequence[str], t.Mapping[str, str], bytes, float], Completed]:
        container = t.cast("ContainerRef", self._instance.container)

        def run(argv: t.Sequence[str], environment: t.Mapping[str, str], stdin: bytes, timeout_seconds: float) -> Completed:
            return self._engine.exec(container.id, argv, timeout_seconds, user=system_user, env=environment, stdin=stdin)

        return run

    def _verdict(self, candidates: t.Sequence[Credentials]) -> DatabaseError:
        """Return the error that says most: what the server said first, then what the network said, then the rest."""
        spoke = [error for error in self._errors if error.code in _SERVER_SPOKE]
        other = [error for error in self._errors if error.code != "driver-missing"]
        error = (spoke or other or self._errors)[0]
        if error.code == "auth-failed" and not any(one.password for one in candidates):
            hint = "Give login_user and login_password, or set POSTGRES_PASSWORD in the environment of the service."
            return DatabaseError(error.source, f"no password is known for it; {error.reason}", hint, "no-credentials", error.sqlstate)
        if error.code == "driver-missing":
            return connection_error(Target(((self._instance.name, DEFAULT_PORT),), candidates[0]), "driver-missing", error.reason)
        return error


def server_port(container: ContainerRef) -> int:
    """Return the TCP port that the server inside *container* listens on."""
    command = " ".join(container.command)
    found = re.search(r"(?:\s-p\s*|\s-c\s*port\s*=\s*|\s--port[= ])(\d+)\b", command)
    number = found[1] if found else container.env.get("PGPORT") or container.env.get("POSTGRESQL_PORT_NUMBER") or ""
    return int(number) if number.isdecimal() and number.isascii() else DEFAULT_PORT


def addresses(container: ContainerRef, engine: Engine) -> list[tuple[str, str, int]]:
    """Return the ways to the server from this host: way, host and port; none where the engine is elsewhere."""
    if engine.remote:
        return []
    port = server_port(container)
    found: list[tuple[str, str, int]] = []
    if container.network_mode == "host":
        found.append(("container-network", "127.0.0.1", port))
    elif not engine.rootless:
        found += [("container-network", network["ip_address"], port) for network in container.networks.values() if network["ip_address"]]
    for published in container.published_ports:
        if published["container_port"] == port and published["protocol"] == "tcp" and published["host_port"]:
            host_ip = str(published["host_ip"])
            found.append(("published-port", {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host_ip, host_ip), published["host_port"]))
    return found


def names_of(container: ContainerRef) -> frozenset[str]:
    """Return the names and addresses that other containers may use for *container*."""
    names = {container.service, container.name, container.id[:12]}
    for network in container.networks.values():
        names.update(network["aliases"])
        if network["ip_address"]:
            names.add(network["ip_address"])
    return frozenset(name for name in names if name)


def login_candidates(instance: Instance, engine: Engine) -> list[Credentials]:
    """Return the logins to try, the most telling first: options, the server's own environment, its applications'."""
    container = t.cast("ContainerRef", instance.container)
    given = instance.login
    applications = application_credentials(instance)
    user = given.user or _setting(container, engine, _USER_VARIABLES) or "postgres"
    password = given.password or _setting(container, engine, _PASSWORD_VARIABLES)
    database = given.database or _setting(container, engine, _DATABASE_VARIABLES) or (applications[0].database if applications else None) or user
    own = [Credentials(user, password, database)]
    administrator = container.env.get("POSTGRESQL_POSTGRES_PASSWORD")
    if administrator and not given.user:
        own.insert(0, Credentials("postgres", administrator, database))
    if given.user:
        applications = []
    return _distinct([*own, *applications, Credentials(user, password, "postgres")])


def _distinct(candidates: t.Iterable[Credentials]) -> list[Credentials]:
    return list(dict.fromkeys(candidates))


def _setting(container: ContainerRef, engine: Engine, variables: t.Sequence[str]) -> t.Optional[str]:
    """Return what the environment says, or the file that it names: a secret of Compose."""
    for variable in variables:
        value = container.env.get(variable)
        if value:
            return value
        path = container.env.get(f"{variable}_FILE")
        if path:
            value = _secret(container, engine, path)
            if value:
                return value
    return None


def _secret(container: ContainerRef, engine: Engine, path: str) -> t.Optional[str]:
    try:
        files = engine.read_archive(container.id, path, _SECRET_FILE_BYTES)
    except CheckError:
        # Without it the other ways are tried; what they end with is what gets reported.
        return None
    return next((content.decode("utf-8", "replace").rstrip("\r\n") for content in files.values()), None)


def application_credentials(instance: Instance) -> list[Credentials]:
    """Return the logins that the stack's applications are configured with for this server."""
    container = t.cast("ContainerRef", instance.container)
    names = names_of(container)
    found = []
    for sibling in instance.stack.siblings if instance.stack else ():
        if sibling.role == "postgres":
            continue
        for dummy, url in database_urls(sibling.env):
            if url.host in names:
                found.append(Credentials(url.user or "postgres", url.password, url.login_database))
    return _distinct(found)
