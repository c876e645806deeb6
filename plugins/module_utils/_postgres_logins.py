# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Can each application log in to its database: with its own address, name resolution, user and password.

The login is made from inside the application's network namespace and ended at once. Of an application that does not
run there is no namespace; its names are then looked up as the engine's DNS would, in the networks it is attached to.
Where the database's port is published, the same login is made through that port of this host, too.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import typing as t

from ._database_url import DatabaseUrl, database_urls
from ._envelope import CheckError, envelope, metric, worst
from ._netns import DOCKER_DNS, in_network_namespace, resolve_in_container
from ._postgres import PostgresOptions, names_of
from ._postgres_session import DatabaseError, Limits, PsqlSession, Target
from ._postgres_statements import as_check_error
from ._postgres_wire import Credentials, LoginAttempt, open_socket, try_login
from ._process import Outcome, run_side_by_side

if t.TYPE_CHECKING:
    import socket

    from ._discovery import ContainerRef, Stack
    from ._engine import Engine
    from ._process import Completed

_RESOLVE_SECONDS = 3.0
_STATUS = {None: "ok", "not-tried": "unknown", "starting-up": "warning"}


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """One login that an application would make."""

    stack: Stack
    container: ContainerRef
    variable: str
    url: DatabaseUrl
    user: t.Optional[str]
    password: t.Optional[str] = dataclasses.field(repr=False)

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.user or "", self.password, self.url.login_database or self.user)

    @property
    def key(self) -> tuple[t.Hashable, ...]:
        """The same for logins that cannot but end the same: same address, same login, same networks."""
        networks = (self.container.network_mode, *sorted(self.container.networks))
        return (self.stack.name, self.url.hosts, self.credentials, self.url.parameter("sslmode"), networks)


def collect_logins(
    stacks: t.Sequence[Stack],
    engine: t.Optional[Engine],
    options: t.Optional[PostgresOptions] = None,
    environments: t.Optional[t.Mapping[str, t.Mapping[str, str]]] = None,
) -> dict[str, t.Any]:
    """Return the envelope ``database_logins``: one entry for every variable of an application that names a database.

    The same login from the same networks is made once. *environments* are those that services will have, by name; without it,
    those that their containers have count.
    """
    options = options or PostgresOptions()
    groups: dict[tuple[t.Hashable, ...], list[_Wanted]] = {}
    for wanted in _wanted_logins(stacks, environments):
        groups.setdefault(wanted.key, []).append(wanted)
    addresses = [_published(group[0], stacks, engine) for group in groups.values()]
    work: dict[str, t.Callable[[], LoginAttempt]] = {}
    for index, group in enumerate(groups.values()):
        work[str(index)] = functools.partial(_attempt, _best_placed(group), stacks, engine, options.limits)
        for address in addresses[index]:
            work[f"{index} {address}"] = functools.partial(_through_host, group[0], address, options.limits)
    outcomes = run_side_by_side(work, options.timeout_seconds)
    logins, errors = [], []
    for index, group in enumerate(groups.values()):
        attempt = _attempt_of(outcomes[str(index)], group[0])
        published = [_published_entry(address, _attempt_of(outcomes[f"{index} {address}"], group[0])) for address in addresses[index]]
        logins += [{**_entry(wanted, attempt, stacks), "published": published} for wanted in group]
        if attempt.failure == "not-tried":
            errors.append(CheckError(f"{group[0].stack.name}/{group[0].container.service} {group[0].variable}", attempt.message, "Run as root (become: true)."))
    logins.sort(key=lambda login: (login["project"], login["service"], login["variable"]))
    return _envelope(logins, errors)


def _wanted_logins(stacks: t.Iterable[Stack], environments: t.Optional[t.Mapping[str, t.Mapping[str, str]]]) -> t.Iterator[_Wanted]:
    for stack in stacks:
        seen = set()
        # Of several replicas one that runs, because it knows its names.
        for container in sorted(stack.containers, key=lambda one: (one.service, not one.running, one.replica)):
            if container.oneoff or container.role == "postgres":
                continue
            env = container.env if environments is None else environments.get(container.service, {})
            for variable, url in database_urls(env):
                if url.is_socket or (container.service, variable) in seen:
                    continue
                seen.add((container.service, variable))
                # What the address leaves out, libpq takes from these.
                user, password = url.user or env.get("PGUSER"), url.password if url.password is not None else env.get("PGPASSWORD")
                yield _Wanted(stack, container, variable, url, user, password)


def _best_placed(group: t.Sequence[_Wanted]) -> _Wanted:
    return next((wanted for wanted in group if wanted.container.running), group[0])


def _attempt_of(outcome: Outcome[LoginAttempt], wanted: _Wanted) -> LoginAttempt:
    if outcome.value is not None:
        return outcome.value
    error = as_check_error(outcome.error, wanted.stack.name)
    return LoginAttempt(False, "timeout" if error.code == "timeout" else "not-tried", error.reason)


def _attempt(wanted: _Wanted, stacks: t.Sequence[Stack], engine: t.Optional[Engine], limits: Limits) -> LoginAttempt:
    """Try the hosts of the address in turn, as libpq does, until one accepts; else the first one's answer counts."""
    if not wanted.user:
        return LoginAttempt(False, "not-tried", "no user is named in the application's environment")
    attempts: list[LoginAttempt] = []
    for host, port in wanted.url.hosts:
        attempts.append(_Try(wanted, host, port, stacks, engine, limits).run())
        if attempts[-1].accepted:
            return attempts[-1]
    if attempts[0].failure == "auth-failed" and not wanted.password and attempts[0].sqlstate is None:
        # It may come from a file or a secret store; that it is not in the environment is no failure.
        return LoginAttempt(False, "not-tried", "the server asks for a password and none is in the application's environment")
    return attempts[0]


def _published(wanted: _Wanted, stacks: t.Sequence[Stack], engine: t.Optional[Engine]) -> list[tuple[str, int]]:
    """Return the addresses of this host that the port of the database which *wanted* names is published at."""
    if engine is None or engine.remote or not wanted.user:
        return []
    found = []
    for name, port in wanted.url.hosts:
        peer = neighbour(wanted.container, name, stacks)
        for one in peer[0].published_ports if peer and peer[0].running else ():
            if one["container_port"] == port and one["protocol"] == "tcp" and one["host_port"]:
                host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(one["host_ip"], one["host_ip"]) or "127.0.0.1"  # noqa: S104
                found.append((host, int(one["host_port"])))
    # What is published for both families is one port to whoever types its number.
    return list({port: (host, port) for host, port in sorted(found, reverse=True)}.values())


def _through_host(wanted: _Wanted, address: tuple[str, int], limits: Limits) -> LoginAttempt:
    return try_login(functools.partial(open_socket, *address, limits.connect_seconds), wanted.credentials, limits.connect_seconds, _ssl_mode(wanted))


def _published_entry(address: tuple[str, int], attempt: LoginAttempt) -> dict[str, t.Any]:
    accepted = None if attempt.failure == "not-tried" else attempt.accepted
    return {"host_ip": address[0], "host_port": address[1], "accepted": accepted, "failure": attempt.failure, "message": attempt.message or None}


def _ssl_mode(wanted: _Wanted) -> str:
    mode = wanted.url.parameter("sslmode") or wanted.url.parameter("ssl") or "prefer"
    return {"true": "require", "false": "disable"}.get(mode.lower(), mode)


def _failure_of(error: CheckError) -> str:
    """Return what a name that could not be resolved means for the login.

    Docker's own server says at once what it knows: where it is silent the host is too busy, and nothing is known of the name.
    """
    if error.code == "dns-timeout":
        return "not-tried" if DOCKER_DNS in error.reason else "name-not-resolved"
    return error.code


class _Try:
    """One login to one host of the address."""

    def __init__(self, wanted: _Wanted, host: str, port: int, stacks: t.Sequence[Stack], engine: t.Optional[Engine], limits: Limits) -> None:
        self._wanted = wanted
        self._container = wanted.container
        self._host = host
        self._port = port
        self._stacks = stacks
        self._engine = engine
        self._limits = limits

    def run(self) -> LoginAttempt:
        try:
            connect = self._inside() or self._outside()
        except CheckError as error:
            return LoginAttempt(False, _failure_of(error), error.reason)
        if isinstance(connect, LoginAttempt):
            return connect
        return try_login(connect, self._wanted.credentials, self._limits.connect_seconds, _ssl_mode(self._wanted))

    def _inside(self) -> t.Optional[t.Callable[[], socket.socket]]:
        """Return how to connect from the application's own network namespace; ``None`` where that is not to be had."""
        pid = self._container.pid
        if not self._container.running or not pid or self._engine is None or self._engine.remote:
            return None
        try:
            addresses = resolve_in_container(pid, self._host, _RESOLVE_SECONDS)
        except CheckError as error:
            if error.code in ("not-permitted", "not-running"):
                return None
            raise
        return lambda: self._first_that_connects(pid, addresses)

    def _first_that_connects(self, pid: int, addresses: t.Sequence[str]) -> socket.socket:
        seconds = self._limits.connect_seconds
        for address in addresses[:-1]:
            try:
                return in_network_namespace(pid, functools.partial(open_socket, address, self._port, seconds), seconds + 1)
            except (OSError, CheckError):
                continue
        return in_network_namespace(pid, functools.partial(open_socket, addresses[-1], self._port, seconds), seconds + 1)

    def _outside(self) -> t.Union[LoginAttempt, t.Callable[[], socket.socket]]:
        """Return how to connect from this host to what the application's name stands for, as far as that can be known."""
        if self._host == "localhost" or self._host.startswith("127."):
            if self._container.network_mode != "host":
                return LoginAttempt(False, "not-tried", f"{self._host} is the application's own container, which is not to be entered from here")
            return functools.partial(open_socket, self._host, self._port, self._limits.connect_seconds)
        address = _extra_host(self._container, self._host) or _literal_address(self._host)
        peer = None if address else neighbour(self._container, self._host, self._stacks)
        if peer is not None:
            if not peer[1]:
                raise CheckError(self._host, f'the name "{self._host}" is not known: its container {peer[0].name} is {peer[0].state}', "", "name-not-resolved")
            if self._engine is not None and (self._engine.remote or self._engine.rootless):
                return self._by_psql(peer[0], peer[1])
            address = peer[1]
        if not address and "." not in self._host and self._container.network_mode != "host":
            hint = f"Attach both to one network, or correct the name in {self._wanted.variable}."
            raise CheckError(
                self._host, f'no running container on the networks of {self._container.name} has the name "{self._host}"', hint, "name-not-resolved"
            )
        return functools.partial(open_socket, address or self._host, self._port, self._limits.connect_seconds)

    def _by_psql(self, database: ContainerRef, address: str) -> LoginAttempt:
        """Log in by the database container's ``psql`` to its own address on the network, where its rules for strangers hold."""
        engine = t.cast("Engine", self._engine)

        def run(argv: t.Sequence[str], environment: t.Mapping[str, str], stdin: bytes, timeout_seconds: float) -> Completed:
            return engine.exec(database.id, argv, timeout_seconds, env=environment, stdin=stdin)

        target = Target(((address, self._port),), self._wanted.credentials, self._wanted.url.parameter("sslmode") or "")
        try:
            PsqlSession.open(run, target, self._limits)
        except DatabaseError as error:
            failure = "not-tried" if error.code == "driver-missing" else error.code
            return LoginAttempt(False, failure, error.reason, error.sqlstate)
        return LoginAttempt(True)


def _extra_host(container: ContainerRef, name: str) -> t.Optional[str]:
    for entry in (container.inspect.get("HostConfig") or {}).get("ExtraHosts") or []:
        host, dummy, address = str(entry).replace("=", ":", 1).partition(":")
        if host == name:
            return _literal_address(address)
    return None


def _literal_address(text: str) -> t.Optional[str]:
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        return None


def neighbour(container: ContainerRef, name: str, stacks: t.Iterable[Stack]) -> t.Optional[tuple[ContainerRef, t.Optional[str]]]:
    """Return the container that *name* stands for on the networks of *container*, and its address there.

    This is what the engine's DNS answers: aliases, service and container names on a shared network. The address is
    null where that container does not run; one that runs is preferred.
    """
    mine = set(container.networks)
    found: t.Optional[tuple[ContainerRef, t.Optional[str]]] = None
    for other in (other for stack in stacks for other in stack.siblings):
        for network in mine & set(other.networks):
            attached = other.networks[network]
            if name not in {other.name, other.service, other.id[:12], *attached["aliases"]}:
                continue
            if other.running and attached["ip_address"]:
                return other, attached["ip_address"]
            found = found or (other, None)
    return found


def _target_service(wanted: _Wanted, stacks: t.Iterable[Stack]) -> t.Optional[str]:
    own = [container for container in wanted.stack.siblings if container.role == "postgres" and wanted.url.host in names_of(container)]
    if own:
        return own[0].service
    peer = neighbour(wanted.container, wanted.url.host or "", stacks)
    return peer[0].service if peer and peer[0].role == "postgres" else None


def _entry(wanted: _Wanted, attempt: LoginAttempt, stacks: t.Sequence[Stack]) -> dict[str, t.Any]:
    return {
        "project": wanted.stack.name,
        "service": wanted.container.service,
        "variable": wanted.variable,
        "host": wanted.url.host,
        "port": wanted.url.port,
        "database": wanted.credentials.database,
        "user": wanted.user,
        "target_service": _target_service(wanted, stacks),
        "status": _STATUS.get(attempt.failure, "critical"),
        "accepted": None if attempt.failure == "not-tried" else attempt.accepted,
        "failure": attempt.failure,
        "message": attempt.message or None,
        "sqlstate": attempt.sqlstate,
    }


def _envelope(logins: list[dict[str, t.Any]], errors: list[CheckError]) -> dict[str, t.Any]:
    refused = [login for login in logins if login["accepted"] is False]
    metrics = {"logins": metric(len(logins)), "logins_failed": metric(len(refused))}
    if not logins:
        summary = "no application names a PostgreSQL database in its environment"
    elif refused:
        summary = "; ".join(f"{login['project']}/{login['service']} {login['variable']}: {login['failure']}" for login in refused)
    else:
        accepted = sum(1 for login in logins if login["accepted"])
        summary = f"{accepted} of {len(logins)} logins of applications accepted"
    return envelope(worst(login["status"] for login in logins), summary, metrics, errors, logins=logins)
