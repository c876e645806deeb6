# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""PostgreSQL addresses as applications are given them: URLs of every flavour, libpq strings, separate variables."""

from __future__ import annotations

import dataclasses
import re
import typing as t
from urllib.parse import parse_qsl, quote, unquote

DEFAULT_PORT = 5432

# Names that SQLAlchemy, libpq, Django's dj-database-url and JDBC give to PostgreSQL, before a `+driver`.
_SCHEMES = frozenset(("postgres", "postgresql", "pgsql", "postgis"))

_MAXIMUM_LENGTH = 8192

# Neither host nor database may hold an `@`: a password with an unescaped `@` must never end up in the host name,
# which is shown.
_AFTER_SCHEME = re.compile(
    r"""
    (?: (?P<user>[^:/@]*) (?: : (?P<password>.*?) )? @ )?
    (?P<hosts>[^/?@]*)
    (?: / (?P<database>[^?@]*) )?
    (?: \? (?P<query>.*) )?
    """,
    re.VERBOSE | re.DOTALL,
)

_KEYWORD = re.compile(r"\s*([A-Za-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))(?=\s|$)", re.DOTALL)
_KEYWORDS = frozenset(("host", "hostaddr", "dbname", "user", "password", "port"))

_DATABASE_WORD = re.compile(r"(?:^|_)(?:PG|DB|DATABASE|POSTGRES|POSTGRESQL|SQL|PSQL|PSYCOPG2?)(?:_|$)")
_HOST_VARIABLE = re.compile(r"^(?P<prefix>.*?)(?P<word>HOST|HOSTNAME|SERVER|ADDRESS)$")
_OTHER_PRODUCT = re.compile(r"mysql|maria|mssql|sqlserver|oracle|sqlite|mongo|redis|clickhouse", re.IGNORECASE)
_OTHER_PORTS = frozenset((1433, 1521, 3306, 6379, 27017))


@dataclasses.dataclass(frozen=True)
class DatabaseUrl:
    """One PostgreSQL address. ``repr`` and :meth:`shown` never hold the password."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    database: t.Optional[str] = None
    user: t.Optional[str] = None
    password: t.Optional[str] = dataclasses.field(default=None, repr=False)
    parameters: tuple[tuple[str, str], ...] = dataclasses.field(default=(), repr=False)

    @property
    def host(self) -> t.Optional[str]:
        """The first host name, IP address or socket directory; ``None`` is the library's default."""
        return self.hosts[0][0] if self.hosts and self.hosts[0][0] else None

    @property
    def port(self) -> int:
        """The first port."""
        return self.hosts[0][1] if self.hosts else DEFAULT_PORT

    @property
    def is_socket(self) -> bool:
        """Whether the server is reached through a Unix socket, which no other container can do."""
        return self.host is None or self.host.startswith(("/", "@"))

    @property
    def login_database(self) -> t.Optional[str]:
        """The database that a login goes to: the one named, else the one named like the user, as libpq does."""
        return self.database or self.user

    def parameter(self, name: str) -> t.Optional[str]:
        """Return a parameter of the query part or of the keyword string, for example ``sslmode``."""
        return dict(self.parameters).get(name)

    def shown(self) -> str:
        """Return the address for people: no password, no parameters."""
        places = ",".join(f"{_shown_host(host)}:{port}" for host, port in self.hosts)
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        return f"{self.scheme}://{user}{places}/{quote(self.database or '', safe='')}"


def _shown_host(host: str) -> str:
    if ":" in host:
        return f"[{host}]"
    return quote(host, safe="") if host.startswith("/") else host


def parse_database_url(text: str) -> t.Optional[DatabaseUrl]:
    """Return the PostgreSQL address in *text*, a URL or a libpq keyword string, or ``None`` where it is neither."""
    text = text.strip() if len(text) <= _MAXIMUM_LENGTH else ""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    if "://" in text:
        return _parse_url(text)
    return _parse_keywords(text) if "=" in text else None


def _parse_url(text: str) -> t.Optional[DatabaseUrl]:
    before, rest = text.split("://", 1)
    scheme = before.lower().removeprefix("jdbc:")
    found = _AFTER_SCHEME.fullmatch(rest)
    if scheme.partition("+")[0] not in _SCHEMES or found is None:
        return None
    parameters = parse_qsl(found["query"] or "", keep_blank_values=True)
    named: dict[str, str] = {}
    for name, value in parameters:
        # SQLAlchemy repeats `host` for several servers.
        named[name] = f"{named[name]},{value}" if name == "host" and name in named else value
    hosts = _hosts(found["hosts"], str(DEFAULT_PORT)) if found["hosts"] else _hosts(named.get("host", ""), named.get("port", ""))
    if hosts is None:
        return None
    return DatabaseUrl(
        scheme=scheme,
        hosts=hosts,
        database=unquote(found["database"] or "") or named.get("dbname") or named.get("database") or None,
        user=unquote(found["user"] or "") or named.get("user") or None,
        password=unquote(found["password"]) if found["password"] is not None else named.get("password"),
        parameters=_other_parameters(named),
    )


def _other_parameters(named: t.Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    own = ("host", "hostaddr", "port", "dbname", "database", "user", "password")
    return tuple(sorted((name, value) for name, value in named.items() if name not in own))


def _hosts(places: str, ports: str) -> t.Optional[tuple[tuple[str, int], ...]]:
    """Return the hosts of ``a:1,b,[::1]:2`` or of the pair ``a,b`` and ``1,2``; ``None`` where a port is no port."""
    named_ports = (ports or str(DEFAULT_PORT)).split(",")
    result: list[tuple[str, int]] = []
    for index, place in enumerate(places.split(",")):
        host, port = _split_place(unquote(place.strip()), named_ports[index] if index < len(named_ports) else named_ports[-1])
        if not re.fullmatch("[0-9]{1,5}", port, re.ASCII) or not 0 < int(port) <= 65535:
            return None
        result.append((host, int(port)))
    return tuple(result)


def _split_place(place: str, port: str) -> tuple[str, str]:
    port = port.strip() or str(DEFAULT_PORT)
    if place.startswith("/"):
        return place, port
    if place.startswith("["):
        address = place[1:].partition("]")
        return address[0], address[2].lstrip(":") or port
    if place.count(":") == 1:
        name = place.partition(":")
        return name[0], name[2] or port
    return place, port


def _parse_keywords(text: str) -> t.Optional[DatabaseUrl]:
    named: dict[str, str] = {}
    position = 0
    text = text.rstrip()
    while position < len(text):
        found = _KEYWORD.match(text, position)
        if found is None:
            return None
        value = found[2] if found[2] is not None else found[3]
        named[found[1].lower()] = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
        position = found.end()
    # One keyword alone, such as `user=bob`, is any program's setting.
    if len(_KEYWORDS & set(named)) < 2 or not {"host", "hostaddr", "dbname"} & set(named):
        return None
    hosts = _hosts(named.get("host") or named.get("hostaddr") or "", named.get("port", ""))
    if hosts is None:
        return None
    return DatabaseUrl(
        scheme="postgresql",
        hosts=hosts,
        database=named.get("dbname") or None,
        user=named.get("user") or None,
        password=named.get("password"),
        parameters=_other_parameters(named),
    )


def database_urls(env: t.Mapping[str, str]) -> list[tuple[str, DatabaseUrl]]:
    """Return every PostgreSQL address in the environment *env* with the variable that gives it.

    For separate variables (``PGHOST``, ``PGUSER``…) it is the one with the host name. Whole addresses come first.
    """
    found = [(variable, url) for variable, value in sorted(env.items()) for url in [parse_database_url(value)] if url is not None]
    for variable in sorted(env):
        url = _from_separate_variables(variable, env)
        if url is not None:
            found.append((variable, url))
    return found


def _from_separate_variables(variable: str, env: t.Mapping[str, str]) -> t.Optional[DatabaseUrl]:
    matched = _HOST_VARIABLE.match(variable.upper())
    host = env[variable].strip()
    if matched is None or not host or "://" in host or re.search(r"[\s=@]", host):
        return None
    prefix = matched["prefix"]
    if not _DATABASE_WORD.search(prefix):
        return None
    siblings = {name.upper().removeprefix(prefix): value for name, value in env.items() if name.upper().startswith(prefix)}
    if _is_other_product(siblings):
        return None
    user = _first(siblings, "USER", "USERNAME", "LOGIN")
    database = _first(siblings, "DATABASE", "DB", "NAME", "DBNAME", "DB_NAME", "DATABASE_NAME")
    hosts = _hosts(host, siblings.get("PORT", "").strip())
    # A host name alone does not say that a database is behind it.
    if hosts is None or (user is None and database is None):
        return None
    return DatabaseUrl(scheme="postgresql", hosts=hosts, database=database, user=user, password=_first(siblings, "PASSWORD", "PASS", "PASSWD", "PWD"))


def _is_other_product(siblings: t.Mapping[str, str]) -> bool:
    kind = _first(siblings, "ENGINE", "TYPE", "DRIVER", "DIALECT", "CONNECTION", "CLIENT", "ADAPTER", "VENDOR") or ""
    port = siblings.get("PORT", "").strip()
    return bool(_OTHER_PRODUCT.search(kind)) or (port.isdecimal() and port.isascii() and int(port) in _OTHER_PORTS)


def _first(siblings: t.Mapping[str, str], *names: str) -> t.Optional[str]:
    return next((siblings[name] for name in names if siblings.get(name)), None)
