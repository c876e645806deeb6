# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Does each service reach those it needs: the name resolved and the port connected to, from inside its own network.

What a service needs is read from its environment and from ``depends_on``. Nothing is needed in its image.
"""

from __future__ import annotations

import dataclasses
import errno
import re
import socket
import threading
import time
import typing as t
import urllib.parse

from ._database_url import database_urls
from ._envelope import CheckError, envelope, metric, worst
from ._http_probe import healthcheck_url
from ._netns import Resolver, in_network_namespace
from ._ports import sockets_of
from ._process import run_side_by_side

if t.TYPE_CHECKING:
    from ._discovery import ContainerRef, Stack
    from ._engine import Engine

_CONCURRENT_LINKS = 16
_DEFAULT_PORTS = {
    "http": 80, "https": 443, "ws": 80, "wss": 443, "redis": 6379, "rediss": 6379, "valkey": 6379, "amqp": 5672, "amqps": 5671, "mysql": 3306, "mariadb": 3306,
    "mongodb": 27017, "nats": 4222, "kafka": 9092, "memcached": 11211, "memcache": 11211, "mqtt": 1883, "mqtts": 8883, "smtp": 25, "smtps": 465, "ldap": 389,
    "ldaps": 636, "clickhouse": 9000, "elasticsearch": 9200, "bolt": 7687, "neo4j": 7687, "grpc": None, "tcp": None, "pyamqp": 5672,
}  # fmt: skip
# Only a name of the stack makes one of these a link: most of them are public addresses or lists of allowed origins.
_PUBLIC_SCHEMES = frozenset({"http", "https", "ws", "wss", "grpc", "tcp"})
#: MYSQL_HOST says what listens there, and so where.
_PRODUCT_PORTS = {
    "MYSQL": 3306, "MARIADB": 3306, "MONGO": 27017, "REDIS": 6379, "VALKEY": 6379, "RABBITMQ": 5672, "AMQP": 5672, "MEMCACHE": 11211, "NATS": 4222,
    "KAFKA": 9092, "ELASTIC": 9200, "OPENSEARCH": 9200, "CLICKHOUSE": 8123, "POSTGRES": 5432, "PGHOST": 5432,
}  # fmt: skip
_ROLE_PORTS = {"postgres": 5432, "cache": 6379}
_URL = re.compile(r"([A-Za-z][A-Za-z0-9.-]*)(?:\+[A-Za-z0-9_]+)?://([^\s/?#'\"<>]+)")
_PLACE = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]*):([0-9]{1,5})")
_IMAGE_VARIABLE = re.compile(r"IMAGE|TAG|VERSION", re.IGNORECASE)
_HOST_VARIABLE = re.compile(r"(?:^|_)(HOST|HOSTNAME|SERVER|ADDR|ADDRESS)$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Link:
    """One service's need of another: a name and a port as it would use them."""

    source: ContainerRef
    to_host: str
    to_port: int
    to_service: t.Optional[str]
    origin: str
    shared_networks: tuple[str, ...] = ()
    #: The process of a target of which nothing but ``EXPOSE`` says that it serves *to_port*: an image serves for more than one
    #: thing (a worker of the same code), so where nothing listens, nothing may have been meant to.
    assumed_of_pid: t.Optional[int] = None


@dataclasses.dataclass
class _Result:
    """What trying a link gave, or why it was not tried."""

    resolved: t.Optional[bool] = None
    addresses: list[str] = dataclasses.field(default_factory=list)
    connected: t.Optional[bool] = None
    connect_ms: t.Optional[float] = None
    failure: t.Optional[str] = None


# -- what a service needs ----------------------------------------------------------------------------------------------


def names_of(stack: Stack) -> dict[str, str]:
    """Return the service behind every name (lower case) that the containers of *stack* can be reached by."""
    names: dict[str, str] = {}
    for container in stack.siblings:
        if container.oneoff:
            continue
        aliases = (alias for network in container.networks.values() for alias in network["aliases"])
        for name in (container.service, container.name, *aliases):
            names.setdefault(name.lower(), container.service)
    return names


def environment_links(env: t.Mapping[str, str], names: t.Mapping[str, str], ports: t.Mapping[str, t.Optional[int]]) -> list[tuple[str, int]]:
    """Return hosts and ports that an environment points to.

    Database addresses and other URLs always count, HTTP URLs and plain ``HOST`` variables where the host is one of
    *names* (lower case, to service). *ports* is what each service listens on, for variables that say no port.
    """
    found: dict[tuple[str, int], None] = {}
    for dummy, url in database_urls(env):
        for host, port in url.hosts:
            if host and not host.startswith(("/", "@")):
                found[(host, port)] = None
    for variable in sorted(env):
        for host, port in _places(variable, env, names, ports):
            # An address to listen at is nobody else's.
            if host not in ("0.0.0.0", "::", "*") and 0 < port < 65536:  # noqa: S104
                found[(host, port)] = None
    return list(found)


def _places(variable: str, env: t.Mapping[str, str], names: t.Mapping[str, str], ports: t.Mapping[str, t.Optional[int]]) -> t.Iterator[tuple[str, int]]:
    value = env[variable].strip().strip("\"'")
    if len(value) > 8192:
        return
    if "://" in value:
        yield from _places_in_urls(value, names)
        return
    places = [_PLACE.fullmatch(part.strip()) for part in value.split(",")]
    # `db:17` may be an image as well.
    known = [place for place in places if place and place[1].lower() in names and not _IMAGE_VARIABLE.search(variable)]
    yield from ((place[1], int(place[2])) for place in known)
    ending = _HOST_VARIABLE.search(variable)
    if known or not ending or value.lower() not in names:
        return
    # DB_HOST goes with DB_PORT.
    stem = variable[: ending.start(1)]
    port = next((env[name] for name in (stem + "PORT", stem + "port", variable + "_PORT") if env.get(name, "").strip().isdecimal()), None)
    if port is not None and len(port.strip()) < 6:
        yield value, int(port)
    else:
        usual = next((port for word, port in _PRODUCT_PORTS.items() if word in variable.upper()), None) or ports.get(names[value.lower()])
        if usual:
            yield value, usual


def _places_in_urls(value: str, names: t.Mapping[str, str]) -> t.Iterator[tuple[str, int]]:
    for scheme, authority in _URL.findall(value):
        scheme = scheme.lower()
        if scheme not in _DEFAULT_PORTS:
            continue
        for place in authority.rpartition("@")[2].split(","):
            try:
                parts = urllib.parse.urlsplit("//" + place)
                host, port = parts.hostname, parts.port or _DEFAULT_PORTS[scheme]
            except ValueError:
                continue
            if host and port and (scheme not in _PUBLIC_SCHEMES or host in names):
                yield host, port


def _known_port(container: ContainerRef) -> t.Optional[int]:
    """Return the TCP port that its health check or its role says *container* serves; ``None`` where neither does."""
    test = ((container.inspect.get("Config") or {}).get("Healthcheck") or {}).get("Test") or []
    url = healthcheck_url(test, container.env)
    exposed = container.exposed_ports
    if url is not None:
        parts = urllib.parse.urlsplit(url)
        return parts.port or (443 if parts.scheme == "https" else 80)
    usual = _ROLE_PORTS.get(container.role)
    return usual if usual and (not exposed or usual in exposed) else None


def _exposed_port(container: ContainerRef) -> t.Optional[int]:
    """Return the first TCP port that *container* or its image exposes, which is what it serves unless something says otherwise."""
    return container.exposed_ports[0] if container.exposed_ports else None


def _dependencies(stack: Stack, container: ContainerRef) -> list[str]:
    """Return the services that must run before *container*; jobs that must have ended are no network's matter."""
    label = container.labels.get("com.docker.compose.depends_on")
    if label is not None:
        entries = [entry.split(":") for entry in label.split(",") if entry.strip()]
        return [entry[0].strip() for entry in entries if len(entry) < 2 or entry[1] != "service_completed_successfully"]
    service = stack.config.services.get(container.service) if stack.config else None
    return [one.service for one in service.depends_on if one.condition != "service_completed_successfully"] if service else []


def _networks(container: ContainerRef, stack: Stack) -> set[str]:
    """Return the networks that *container* is attached to; one that shares another's namespace has that one's."""
    kind, dummy, other = container.network_mode.partition(":")
    if kind == "container":
        return next((set(one.networks) for one in stack.siblings if other in (one.id, one.name)), set())
    return {name for name in container.networks if name != "none"}


def _has_finished(container: ContainerRef) -> bool:
    """Whether *container* is a job that ended well: it needs nothing any more."""
    state, host = container.inspect.get("State") or {}, container.inspect.get("HostConfig") or {}
    policy = (host.get("RestartPolicy") or {}).get("Name") or "no"
    return container.state == "exited" and state.get("ExitCode") == 0 and policy in ("no", "on-failure")


def find_links(stack: Stack) -> list[Link]:
    """Return what each service of *stack* needs, seen from one of its containers, preferably one that runs."""
    names = names_of(stack)
    siblings = sorted((one for one in stack.siblings if not one.oneoff), key=lambda one: (one.service, not one.running, one.replica))
    first: dict[str, ContainerRef] = {}
    for container in siblings:
        first.setdefault(container.service, container)
    known = {service: _known_port(container) for service, container in first.items()}
    chosen = {container.service for container in stack.containers if not container.oneoff and not _has_finished(container)}
    return [link for service, source in first.items() if service in chosen for link in _links_of(source, stack, first, names, known)]


def _links_of(
    source: ContainerRef, stack: Stack, first: t.Mapping[str, ContainerRef], names: t.Mapping[str, str], known: t.Mapping[str, t.Optional[int]]
) -> list[Link]:
    here = _networks(source, stack)
    ports = {service: known[service] or _exposed_port(container) for service, container in first.items()}

    def link(host: str, port: int, service: t.Optional[str], origin: str, assumed: bool = False) -> Link:
        target = first.get(service or "")
        shared = sorted(here & _networks(target, stack)) if target else []
        return Link(source, host, port, service, origin, tuple(shared), target.pid if target and assumed else None)

    # A database server's own environment describes itself.
    env = source.env if source.role != "postgres" else {}
    named = environment_links(env, names, known)
    pairs = [(pair, pair not in named) for pair in environment_links(env, names, ports)]
    links = [
        link(host, port, names.get(host.lower()), "environment", assumed) for (host, port), assumed in pairs if names.get(host.lower()) != source.service
    ]
    covered = {one.to_service for one in links}
    for service in _dependencies(stack, source):
        port = ports.get(service)
        if port and service not in covered and service != source.service:
            links.append(link(service, port, service, "depends_on", known[service] is None))
    return links


# -- trying them -------------------------------------------------------------------------------------------------------


def _connect(addresses: t.Sequence[str], port: int, deadline: float) -> _Result:
    """Connect to the first address that lets us; must run in the source's network namespace."""
    result = _Result(resolved=True, addresses=list(addresses), connected=False)
    for number, address in enumerate(addresses):
        begin = time.monotonic()
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as channel:
            channel.settimeout(max(0.01, (deadline - begin) / (len(addresses) - number)))
            try:
                channel.connect((address, port))
            except OSError as error:
                # The first address is the one applications try first: its failure is the one they report.
                result.failure = result.failure or _connect_failure(error)
                continue
        result.connected, result.failure = True, None
        result.connect_ms = round((time.monotonic() - begin) * 1000, 2)
        return result
    return result


def _connect_failure(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    return "timeout" if isinstance(error, socket.timeout) or error.errno == errno.ETIMEDOUT else "unreachable"


def try_link(link: Link, timeout_seconds: float) -> _Result:
    """Resolve and connect to *link*'s target as its source does.

    :raises CheckError: ``not-permitted``, or ``timeout`` when a system call hangs.
    """
    pid = link.source.pid
    if not link.source.running or pid is None:
        return _Result(failure="not-running")

    def work() -> _Result:
        deadline = time.monotonic() + timeout_seconds
        try:
            addresses = resolver.resolve(link.to_host, timeout_seconds)
        except CheckError as error:
            return _Result(resolved=False, failure=error.code)
        return _connect(addresses, link.to_port, deadline)

    try:
        resolver = Resolver.of_container(pid)
        # Resolving may ask once more after its time, whether the name server is alive.
        return in_network_namespace(pid, work, timeout_seconds + 2)
    except CheckError as error:
        if error.code == "not-running":
            return _Result(failure="not-running")
        raise


def _was_not_meant(link: Link, result: _Result) -> bool:
    """Whether the refusal only says that the target is no server; one that listens on its loopback wanted to be one."""
    if link.assumed_of_pid is None or result.failure != "refused":
        return False
    return not any(one.port == link.to_port and one.loopback for one in sockets_of(link.assumed_of_pid) or ())


def _status(link: Link, result: _Result) -> str:
    if result.connected:
        return "ok"
    if result.connected is None and result.resolved is None:
        return "unknown"
    # For depends_on the port is our assumption; a name that does not resolve needs none.
    return "warning" if link.origin == "depends_on" and result.resolved else "critical"


def _row(link: Link, result: _Result) -> dict[str, t.Any]:
    return {
        "project": link.source.project,
        "from_service": link.source.service,
        "to_host": link.to_host,
        "to_port": link.to_port,
        "to_service": link.to_service,
        "origin": link.origin,
        "status": _status(link, result),
        "resolved": result.resolved,
        "addresses": result.addresses,
        "connected": result.connected,
        "connect_ms": result.connect_ms,
        "failure": result.failure,
        "shared_networks": list(link.shared_networks),
    }


def collect_links(
    stacks: t.Iterable[Stack], engine: t.Optional[Engine] = None, timeout_seconds: float = 3.0, deadline_seconds: float = 15.0
) -> dict[str, t.Any]:
    """Return the envelope ``links``: every link of *stacks*, tried from inside its source's network namespace.

    Without root, or where the engine is remote, links are listed as ``unknown`` with failure ``not-permitted``.
    """
    links = [link for stack in stacks for link in find_links(stack)]
    remote = engine is not None and engine.remote
    free = threading.BoundedSemaphore(_CONCURRENT_LINKS)

    def work(link: Link) -> t.Callable[[], _Result]:
        def call() -> _Result:
            if remote:
                raise CheckError("network namespaces", "the engine runs on another machine", "Run this on the engine's own host.", "not-permitted")
            with free:
                return try_link(link, timeout_seconds)

        return call

    outcomes = run_side_by_side({str(number): work(link) for number, link in enumerate(links)}, deadline_seconds)
    rows: list[dict[str, t.Any]] = []
    errors: dict[str, CheckError] = {}
    for number, link in enumerate(links):
        outcome = outcomes[str(number)]
        result = outcome.value or _Result()
        if isinstance(outcome.error, CheckError):
            not_permitted = outcome.error.code == "not-permitted"
            result = _Result(failure="not-permitted" if not_permitted else None)
            # One word about root is enough for all of them.
            errors["" if not_permitted else f"{link.source.service} to {link.to_host}:{link.to_port}"] = outcome.error
        elif outcome.error is not None:
            raise outcome.error
        if not _was_not_meant(link, result):
            rows.append(_row(link, result))
    named = [error if not key else CheckError(key, error.reason, error.hint, error.code) for key, error in errors.items()]
    return envelope(worst(row["status"] for row in rows), _summary(rows), {"broken_links": metric(_broken(rows))}, named, links=rows)


def _broken(rows: t.Iterable[t.Mapping[str, t.Any]]) -> int:
    return sum(row["status"] in ("warning", "critical") for row in rows)


def _summary(rows: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    bad = [row for row in rows if row["status"] in ("critical", "warning")]
    untried = sum(row["status"] == "unknown" for row in rows)
    if bad:
        first = bad[0]
        return f"{len(bad)} of {len(rows)} links broken: {first['from_service']} to {first['to_host']}:{first['to_port']}: {first['failure']}"
    if untried:
        return f"{untried} of {len(rows)} links could not be tried"
    return f"{len(rows)} links between services work" if rows else "no links between services"
