# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Which requests are suspicious. Pure: no clock, no files; what has to be remembered between runs goes in and out as JSON.

Requests are counted into slots of ten seconds, so that a run from cron sees a burst whole that began before the last run. Only
windows that end in a slot to which this run added something are judged: what was told once is not told again.
"""

from __future__ import annotations

import collections
import dataclasses
import re
import typing as t
import zlib

from ._access_lines import PLAIN_METHODS, FailedLogin, Request
from ._envelope import Thresholds
from ._log_requests import mask_path

Json = dict[str, t.Any]
Line = t.Union[Request, FailedLogin]

RULES = (
    "auth_failures",
    "auth_burst_ip",
    "auth_spray",
    "auth_success_after_burst",
    "path_scan",
    "unusual_method",
    "unexpected_write",
    "write_rate",
    "source_quality",
)
#: These say something of one client, so they need to know who it was.
PER_CLIENT_RULES = frozenset(("auth_burst_ip", "auth_spray", "auth_success_after_burst", "path_scan"))
SLOT_SECONDS = 10
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
LOGIN_PATHS = r"(?:^|[/_.-])(?:login|signin|sign-in|logon|token|auth|oauth2?|session|sessions|authenticate)(?:[/_.-]|$)"
#: Paths nobody has a link to; asked for by whoever looks for what was left lying about.
SENSITIVE_PATHS = (
    r"/\.(?:env|git|svn|hg|aws|ssh|docker|vscode|DS_Store|htpasswd|htaccess|npmrc|bash_history)\b"
    r"|/(?:wp-login\.php|wp-admin|wp-content|wp-includes|xmlrpc\.php)"
    r"|/(?:phpmyadmin|pma|adminer|mysql-?admin|phpinfo\.php|info\.php|cgi-bin|vendor/phpunit|boaform|HNAP1|server-status|manager/html)\b"
    r"|/(?:solr/admin|jenkins|hudson|actuator)(?:/|$)|/(?:etc/passwd|proc/self|win\.ini)|(?:\.\.|%2e%2e)(?:/|%2f|\\|%5c)"
    r"|\.(?:sql|bak|old|swp|pem|key|tar\.gz|zip)$|/(?:id_rsa|credentials|config\.json)$"
)

_STATIC = re.compile(r"\.(?:css|js|mjs|map|png|jpe?g|gif|svg|ico|webp|avif|woff2?|ttf|eot|txt|xml|webmanifest|mp4)$|apple-touch-icon", re.IGNORECASE)
_PROBE = re.compile(r"^(?:/[\w.-]+){0,3}/(?:health|healthz|healthcheck|livez?|readyz?|ping|metrics|status|up)/?$")
_WRITES = frozenset(("POST", "PUT", "PATCH", "DELETE"))
_REFUSED = frozenset((400, 403, 404, 405))
_PRIVATE = re.compile(
    r"^(?:10\.|127\.|192\.168\.|169\.254\.|172\.(?:1[6-9]|2\d|3[01])\.|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])\."
    r"|f[cd][0-9a-f]{2}:|fe[89ab][0-9a-f]:|::1(?:/|$))",
    re.IGNORECASE,
)
_PATHS_OF_CLIENT = 64
_CLIENTS_IN_RUN = 20_000
_LEARNED_ROUTES = 500
_NEW_ROUTE_SECONDS = 3600.0
_EWMA = 0.1
_TALLIED = 2000
_TALLIED_CLIENTS = 50
#: From so many requests on, most of them from one private address mean that a proxy stands between.
QUALITY_LEAST = 20
QUALITY_SHARE = 0.9


@dataclasses.dataclass(frozen=True)
class WatchOptions:
    """When requests are suspicious. *disabled* are the rules that are off; every number is one rule's threshold."""

    window_seconds: float = 300.0
    auth_failures: Thresholds = Thresholds(51, 501)
    burst_capacity: int = 10
    login_capacity: int = 5
    leak_seconds: float = 10.0
    spray_addresses: int = 10
    success_window_seconds: float = 900.0
    scan_paths: int = 10
    sensitive_paths: int = 3
    unusual_methods: int = 5
    learn_seconds: float = 7 * 86400.0
    write_floor: int = 20
    write_factor: float = 5.0
    methods: tuple[str, ...] = METHODS
    login_paths: str = LOGIN_PATHS
    #: ``METHOD /path/{parameter}`` of writes that are fine, whether or not a document lists them.
    known_writes: tuple[str, ...] = ()
    ignore_clients: tuple[str, ...] = ()
    disabled: frozenset[str] = frozenset()
    mask_addresses: bool = False
    openapi: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    max_clients: int = 500
    max_bytes: int = 64 << 20
    max_lines: int = 30_000
    #: How far a first run looks back; by default for one window.
    look_back_seconds: t.Optional[float] = None

    @property
    def slots(self) -> int:
        """How many slots a window has."""
        return max(1, int(self.window_seconds // SLOT_SECONDS))

    @classmethod
    def from_options(cls, options: t.Mapping[str, t.Any]) -> WatchOptions:
        """Return the options of a configuration or a module.

        :raises ValueError: one has a name or a value that makes no sense.
        """
        given = {name: value for name, value in options.items() if value is not None}
        rules = given.pop("rules", {})
        if not isinstance(rules, dict) or not set(rules) <= set(RULES):
            raise ValueError(f"rules must be among {', '.join(RULES)}")
        fields: Json = {"disabled": frozenset(name for name, wanted in rules.items() if not wanted)}
        default = cls.auth_failures
        fields["auth_failures"] = Thresholds(
            _number(given.pop("auth_failures_warning", default.warning), "auth_failures_warning"),
            _number(given.pop("auth_failures_critical", default.critical), "auth_failures_critical"),
        )
        if "learn_days" in given:
            fields["learn_seconds"] = 86400 * (_number(given.pop("learn_days"), "learn_days") or 0.0)
        for field in dataclasses.fields(cls):
            if field.name not in given:
                continue
            value = given.pop(field.name)
            if field.name in ("methods", "ignore_clients", "known_writes"):
                value = tuple(str(item) for item in value)
            elif field.name == "openapi":
                value = {str(service): str(place) for service, place in value.items()}
            elif field.name == "mask_addresses":
                value = bool(value)
            elif field.name != "login_paths":
                number = _number(value, field.name) or 0.0
                value = int(number) if str(field.type) == "int" else number
            fields[field.name] = value
        if given:
            raise ValueError(f"unknown option {sorted(given)[0]!r}")
        try:
            re.compile(fields.get("login_paths", ""))
        except re.error as error:
            raise ValueError(f"login_paths is no regular expression: {error}") from None
        found = cls(**fields)
        if not SLOT_SECONDS <= found.window_seconds <= 86400:
            raise ValueError(f"window_seconds must be from {SLOT_SECONDS} to 86400")
        if found.leak_seconds <= 0 or found.max_clients < 1:
            raise ValueError("leak_seconds and max_clients must be above 0")
        networks(found.ignore_clients)
        for route in found.known_writes:
            if not re.fullmatch(r"[A-Z]+ /\S*", route):
                raise ValueError(f"known_writes must be like 'POST /orders/{{id}}', not {route!r}")
        return found


def _number(value: t.Any, name: str) -> t.Optional[float]:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number, not {value!r}") from None
    if isinstance(value, bool) or not 0 <= number < 1e12:
        raise ValueError(f"{name} must be a number from 0 on, not {value!r}")
    return number


def networks(texts: t.Iterable[str]) -> list[t.Any]:
    """Return networks as ``ipaddress`` has them.

    :raises ValueError: one is none.
    """
    import ipaddress  # here, because most runs have none  # pylint: disable=import-outside-toplevel

    return [ipaddress.ip_network(text, strict=False) for text in texts]


def is_private(client: str) -> bool:
    """Tell whether *client* is an address of no one in particular: private, local, or not there."""
    return not client or _PRIVATE.match(client) is not None


class Clients:
    """Addresses as logs have them to what counts as one client: IPv4 as it is, of IPv6 the network of one customer."""

    def __init__(self, ignored: t.Iterable[str] = ()) -> None:
        ignored = tuple(ignored)
        self._ignored = networks(ignored) if ignored else []
        self._known: dict[tuple[str, str], t.Optional[str]] = {}

    def of(self, address: str, forwarded: str = "") -> t.Optional[str]:
        """Return the client, empty where none is known; ``None`` where it is one to ignore."""
        key = (address, forwarded)
        if key not in self._known:
            if len(self._known) > 4 * _CLIENTS_IN_RUN:
                self._known.clear()
            self._known[key] = self._find(address, forwarded)
        return self._known[key]

    def _find(self, address: str, forwarded: str) -> t.Optional[str]:
        client = self._normal(address)
        if forwarded and is_private(client or ""):
            # The last that is not private was seen by our own proxy; those before it are what somebody claimed.
            for part in reversed(forwarded.split(",")[-10:]):
                found = self._normal(part.strip())
                if found and not is_private(found):
                    client = found
                    break
        if client and self._ignored and self._is_ignored(client):
            return None
        return client

    def _is_ignored(self, client: str) -> bool:
        import ipaddress  # pylint: disable=import-outside-toplevel

        try:
            address = ipaddress.ip_address(client.partition("/")[0])
        except ValueError:
            return False  # a name
        return any(address.version == network.version and address in network for network in self._ignored)

    @staticmethod
    def _normal(text: str) -> str:
        if re.fullmatch(r"\d{1,3}(?:\.\d{1,3}){3}", text):
            return text if all(int(part) < 256 for part in text.split(".")) else ""
        if ":" not in text:
            # A name, where a server looks names up.
            return text[:100] if re.fullmatch(r"[\w.-]{1,100}", text) else ""
        import ipaddress  # pylint: disable=import-outside-toplevel

        try:
            address = ipaddress.IPv6Address(text.partition("%")[0])
        except ValueError:
            return ""
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(address) if address.is_loopback else str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))


class Routes:
    """The routes of an application, from its OpenAPI document."""

    def __init__(self, routes: t.Iterable[str]) -> None:
        self._patterns: dict[str, list[t.Pattern[str]]] = collections.defaultdict(list)
        for route in routes:
            method, dummy, template = route.partition(" ")
            pieces = re.split(r"\{([^{}/]{1,100})\}", template.rstrip("/"))
            # Of a parameter that takes slashes as well the document tells no more than its name.
            parts = [re.escape(piece) if number % 2 == 0 else ".+" if "path" in piece.lower() else "[^/]+" for number, piece in enumerate(pieces)]
            self._patterns[method].append(re.compile("".join(parts) + "/?"))

    def __contains__(self, method_and_path: tuple[str, str]) -> bool:
        method, path = method_and_path
        return any(pattern.fullmatch(path) for pattern in self._patterns.get(method, ()))


def routes_of_openapi(document: t.Any) -> tuple[str, ...]:
    """Return ``METHOD /path/{template}`` for what an OpenAPI document lists.

    :raises ValueError: it is no such document.
    """
    if not isinstance(document, dict) or not isinstance(document.get("paths"), dict):
        raise ValueError("it is no OpenAPI document: it has no paths")
    servers = [server.get("url", "") for server in document.get("servers") or () if isinstance(server, dict)]
    prefixes = {"", *(re.sub(r"^[a-z]+://[^/]*", "", str(url)).rstrip("/") for url in servers)}
    return tuple(
        sorted(
            f"{method.upper()} {prefix}{path}"
            for path, operations in document["paths"].items()
            if isinstance(operations, dict)
            for method in operations
            if method.upper() in _WRITES
            for prefix in prefixes
        )
    )


@dataclasses.dataclass
class _Client:
    """What is known of one client."""

    level: float = 0.0
    login_level: float = 0.0
    failed_at: float = 0.0
    overflowed_at: float = 0.0
    seen_at: float = 0.0
    failures: dict[int, int] = dataclasses.field(default_factory=dict)
    paths: dict[int, int] = dataclasses.field(default_factory=dict)
    sensitive: dict[int, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class _Route:
    """What is known of one route that is written to."""

    first_at: float
    is_new: bool = False
    slots: dict[int, int] = dataclasses.field(default_factory=dict)
    usual: dict[int, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Hit:
    """One rule that fired on one log; *lines* are those that made it fire, as far as this run read them."""

    rule: str
    status: str
    count: int
    summary: str
    lines: list[Line] = dataclasses.field(default_factory=list)
    clients: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Quality:
    """Whether the log says who asked: the share of one private address among the requests."""

    requests: int = 0
    address: str = ""
    share: float = 0.0

    @property
    def blind(self) -> bool:
        """Whether clients cannot be told apart."""
        return self.requests >= QUALITY_LEAST and self.share >= QUALITY_SHARE

    @property
    def sighted(self) -> bool:
        """Whether they can, for sure."""
        return self.requests >= QUALITY_LEAST and not self.blind


class StreamWatch:
    """Judges the requests of one log, or of the logs of all containers of one service."""

    def __init__(self, options: WatchOptions, now: float, routes: t.Optional[Routes] = None) -> None:
        self.options = options
        self.now = now
        self.routes = routes
        self.since = now
        self.last_run: t.Optional[float] = None
        self.lines = 0
        self.requests = 0
        self.failures: dict[int, int] = {}
        self.logins: dict[int, int] = {}
        self.unusual: dict[int, int] = {}
        self.clients: dict[str, _Client] = {}
        self.written: dict[str, _Route] = {}
        self.tally: collections.Counter[str] = collections.Counter()
        self._known = Routes(options.known_writes)
        self._login = re.compile(options.login_paths, re.IGNORECASE)
        self._sensitive = re.compile(SENSITIVE_PATHS, re.IGNORECASE)
        self._probes: dict[str, bool] = {}
        self._hits: dict[str, Hit] = {}
        self._touched: dict[str, set[int]] = collections.defaultdict(set)

    # ---- state

    @classmethod
    def from_state(cls, state: t.Any, options: WatchOptions, now: float, routes: t.Optional[Routes] = None) -> StreamWatch:
        """Return the watch that :meth:`as_state` described.

        :raises ValueError: it is something else.
        """
        watch = cls(options, now, routes)
        try:
            # Of a clock that was set back the future is not to be believed.
            watch.since = min(float(state["since"]), now)
            watch.last_run = min(float(state["last_run"]), now)
            watch.lines, watch.requests = int(state["lines"]), int(state["requests"])
            watch.failures, watch.logins, watch.unusual = (_slots(state[name], now) for name in ("failures", "logins", "unusual"))
            watch.tally.update({str(client): int(count) for client, count in state["tally"].items()})
            for name, entry in state["clients"].items():
                failed, overflowed, seen = (min(float(value), now) for value in entry[2:5])
                paths, sensitive = (_slots(each, now, by_value=True) for each in entry[6:8])
                watch.clients[str(name)] = _Client(float(entry[0]), float(entry[1]), failed, overflowed, seen, _slots(entry[5], now), paths, sensitive)
            for name, entry in state["routes"].items():
                usual = {int(hour): float(value) for hour, value in entry[3].items()}
                watch.written[str(name)] = _Route(min(float(entry[0]), now), bool(entry[1]), _slots(entry[2], now), usual)
        except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None
        return watch

    def as_state(self) -> Json:
        """Return what the next run has to know, bounded whatever was asked for."""
        oldest = _slot(self.now) - 2 * self.options.slots
        idle = self.now - max(self.options.success_window_seconds, 2 * self.options.window_seconds)
        kept = sorted((item for item in self.clients.items() if item[1].seen_at > idle), key=lambda item: (-item[1].overflowed_at, -item[1].seen_at, item[0]))
        return {
            "since": self.since,
            "last_run": self.now,
            "lines": self.lines,
            "requests": self.requests,
            "failures": _pruned(self.failures, oldest),
            "logins": _pruned(self.logins, oldest),
            "unusual": _pruned(self.unusual, oldest),
            "tally": dict(self.tally.most_common(_TALLIED_CLIENTS)),
            "clients": {
                name: [
                    round(client.level, 3), round(client.login_level, 3), client.failed_at, client.overflowed_at, client.seen_at,
                    _pruned(client.failures, oldest), _pruned(client.paths, oldest, by_value=True), _pruned(client.sensitive, oldest, by_value=True),
                ]
                for name, client in kept[: self.options.max_clients]
            },
            "routes": {
                name: [route.first_at, route.is_new, _pruned(route.slots, oldest), {str(hour): round(value, 3) for hour, value in route.usual.items()}]
                for name, route in self.written.items()
            },
        }  # fmt: skip

    # ---- one run

    def is_plain(self, request: Request) -> bool:
        """Tell whether a request can be suspicious by its client's number of requests only."""
        return request.status < 400 and request.method in PLAIN_METHODS and request.method in self.options.methods

    def count_plain(self, client: str, path: str, count: int = 1) -> None:
        """Count requests that are nothing special."""
        self.requests += count
        probe = self._probes.get(path)
        if probe is None:
            if len(self._probes) > 10_000:
                self._probes.clear()
            probe = self._probes[path] = _PROBE.match(path) is not None
        # A health check comes from the container itself, and says nothing of where clients come from.
        if not probe:
            self.tally[client] += count

    def judge(self, lines: t.Sequence[Line]) -> list[Hit]:
        """Take what is new, and return the rules that fire. All lines have a time and a client as :class:`Clients` has it."""
        ordered = sorted(lines, key=lambda line: line.time or 0.0)
        for line in ordered:
            if isinstance(line, FailedLogin):
                self._add(self.logins, "logins", _slot(line.time or 0.0))
            else:
                self._take(line)
        self._judge_failures(ordered)
        self._judge_unusual(ordered)
        self._judge_writes(ordered)
        quality = self.quality()
        hits = [hit for hit in self._hits.values() if hit.rule not in self.options.disabled]
        if quality.blind:
            hits = self._blinded(hits, quality)
        self._shrink_tally()
        return hits

    def quality(self) -> Quality:
        """Return whether clients can be told apart."""
        requests = sum(self.tally.values())
        private = [(count, client) for client, count in self.tally.items() if is_private(client)]
        if not private or not requests:
            return Quality(requests)
        count, client = max(private)
        return Quality(requests, client, count / requests)

    @property
    def learning(self) -> bool:
        """Whether it is too early to say which writes are usual."""
        return self.now - self.since < self.options.learn_seconds

    def _take(self, request: Request) -> None:
        moment, slot = request.time or 0.0, _slot(request.time or 0.0)
        self.requests += 1
        self.tally[request.client] += 1
        login = self._login.search(request.path) is not None
        if request.status == 401:
            self._add(self.failures, "failures", slot)
        if request.status in (401, 403) or (request.status == 400 and login and request.method == "POST"):
            self._failed(request, moment, slot, login)
        if request.status in _REFUSED:
            self._refused(request, moment, slot)
        if request.method not in self.options.methods:
            self._add(self.unusual, "unusual", slot)
        if request.method in _WRITES:
            if login and 200 <= request.status < 300:
                self._succeeded(request, moment)
            self._wrote(request, moment, slot)

    def _client(self, request: Request, moment: float) -> _Client:
        client = self.clients.get(request.client)
        if client is None:
            client = _Client()
            if len(self.clients) < _CLIENTS_IN_RUN:
                self.clients[request.client] = client
        client.seen_at = max(client.seen_at, moment)
        return client

    def _failed(self, request: Request, moment: float, slot: int, login: bool) -> None:
        client = self._client(request, moment)
        leaked = max(0.0, moment - client.failed_at) / self.options.leak_seconds
        client.level = max(0.0, client.level - leaked) + 1
        client.login_level = max(0.0, client.login_level - leaked) + (1 if login else 0)
        client.failed_at = max(client.failed_at, moment)
        client.failures[slot] = client.failures.get(slot, 0) + 1
        if client.level > self.options.burst_capacity or client.login_level > self.options.login_capacity:
            client.level = min(client.level, float(self.options.burst_capacity))
            client.login_level = min(client.login_level, float(self.options.login_capacity))
            client.overflowed_at = moment
            hit = self._hit("auth_burst_ip", "warning", request)
            hit.summary = f"{_several(hit.clients)} failed to authenticate more often than people do"

    def _succeeded(self, request: Request, moment: float) -> None:
        client = self.clients.get(request.client)
        if client is not None and client.overflowed_at and 0 <= moment - client.overflowed_at <= self.options.success_window_seconds:
            hit = self._hit("auth_success_after_burst", "critical", request)
            hit.summary = f"{_several(hit.clients)} logged in after a burst of failures: a password may have been guessed"

    def _refused(self, request: Request, moment: float, slot: int) -> None:
        sensitive = self._sensitive.search(request.path) is not None
        if not sensitive and _STATIC.search(request.path):
            return
        client = self._client(request, moment)
        oldest = slot - self.options.slots
        key = zlib.crc32(mask_path(request.path).encode("utf-8", "replace"))
        client.paths = _seen(client.paths, key, slot, oldest)
        if sensitive:
            client.sensitive = _seen(client.sensitive, zlib.crc32(request.path.encode("utf-8", "replace")), slot, oldest)
        if len(client.paths) > self.options.scan_paths or len(client.sensitive) >= self.options.sensitive_paths:
            hit = self._hit("path_scan", "warning", request)
            hit.summary = f"{_several(hit.clients)} asked for paths that do not exist, one after the other"

    def _wrote(self, request: Request, moment: float, slot: int) -> None:
        path = mask_path(request.path)
        name = f"{request.method} {path}"[:200]
        accepted = request.status < 400
        fine = (request.method, request.path) in self._known
        if self.routes is not None:
            if not fine and request.status not in (404, 405) and (request.method, request.path) not in self.routes:
                self._unexpected(request)
        elif accepted and not fine and name not in self.written and not self.learning:
            # The oldest make room; else whoever fills the table would be unseen from then on.
            while len(self.written) >= _LEARNED_ROUTES:
                del self.written[next(iter(self.written))]
            self.written[name] = _Route(moment, is_new=True)
        route = self.written.get(name)
        if route is None:
            if not accepted or len(self.written) >= _LEARNED_ROUTES:
                return
            route = self.written[name] = _Route(moment)
        if self.routes is None and route.is_new and accepted and moment - route.first_at <= _NEW_ROUTE_SECONDS:
            self._unexpected(request)
        route.slots[slot] = route.slots.get(slot, 0) + 1
        self._touched[name].add(slot)

    def _unexpected(self, request: Request) -> None:
        hit = self._hit("unexpected_write", "warning", request)
        known = "the application's OpenAPI document lists" if self.routes is not None else "were ever seen before"
        hit.summary = f"{hit.count} writes to routes other than {known}"

    def _hit(self, rule: str, status: str, request: Request) -> Hit:
        hit = self._hits.get(rule)
        if hit is None:
            hit = self._hits[rule] = Hit(rule, status, 0, "")
        hit.count += 1
        hit.lines.append(request)
        hit.clients[request.client] = hit.clients.get(request.client, 0) + 1
        return hit

    def _add(self, slots: dict[int, int], name: str, slot: int) -> None:
        slots[slot] = slots.get(slot, 0) + 1
        self._touched[name].add(slot)

    def _peak(self, slots: t.Mapping[int, int], name: str) -> tuple[int, int]:
        """Return the largest count in a window that ends where this run added something, and the slot at its end."""
        width = self.options.slots
        return max(((sum(slots.get(each, 0) for each in range(slot - width + 1, slot + 1)), slot) for slot in self._touched[name]), default=(0, 0))

    def _judge_failures(self, lines: t.Sequence[Line]) -> None:
        by_request, by_line = self._peak(self.failures, "failures"), self._peak(self.logins, "logins")
        # A refused login may be told by a line of its own and by that of its request: the fuller of the two counts.
        (count, slot), kind = (by_request, Request) if by_request[0] >= by_line[0] else (by_line, FailedLogin)
        status = self.options.auth_failures.verdict(count)
        window = range(slot - self.options.slots + 1, slot + 1)
        inside = [
            line
            for line in lines
            if isinstance(line, kind) and (kind is FailedLogin or getattr(line, "status", 0) == 401) and _slot(line.time or 0.0) in window
        ]
        what = "requests answered with 401" if kind is Request else "lines that tell of a failed login"
        if status != "ok":
            self._hits["auth_failures"] = Hit("auth_failures", status, count, f"{count} {what} in {self.options.window_seconds:g} s", inside)
        count, slot = by_request
        window = range(slot - self.options.slots + 1, slot + 1)
        failing = {name: client for name, client in self.clients.items() if any(each in window for each in client.failures)}
        begin = window.start * SLOT_SECONDS
        limit = self.options.auth_failures.warning
        if limit is None or count < limit or len(failing) < self.options.spray_addresses or any(client.overflowed_at >= begin for client in failing.values()):
            return
        summary = f"{count} failures from {len(failing)} clients, each below its own limit: passwords are tried from many addresses"
        self._hits["auth_spray"] = Hit("auth_spray", "warning", count, summary, inside if kind is Request else [])

    def _judge_unusual(self, lines: t.Sequence[Line]) -> None:
        count, dummy = self._peak(self.unusual, "unusual")
        if count > self.options.unusual_methods:
            found = [line for line in lines if isinstance(line, Request) and line.method not in self.options.methods]
            self._hits["unusual_method"] = Hit(
                "unusual_method", "warning", count, f"{count} requests with methods that this application does not have", list(found)
            )

    def _judge_writes(self, lines: t.Sequence[Line]) -> None:
        elapsed = self.now - self.last_run if self.last_run is not None else 0.0
        hour = int(self.now // 3600) % 24
        fast: dict[str, tuple[int, float]] = {}
        for name, route in self.written.items():
            usual = route.usual.get(hour, 0.0)
            count, dummy = self._peak(route.slots, name)
            if not self.learning and not route.is_new and count > max(float(self.options.write_floor), self.options.write_factor * usual):
                fast[name] = (count, usual)
            if elapsed > 0:
                added = sum(route.slots[slot] for slot in self._touched[name])
                route.usual[hour] = usual + _EWMA * (added * self.options.window_seconds / max(elapsed, self.options.window_seconds) - usual)
        for name, (count, usual) in fast.items():
            hit = self._hits.setdefault("write_rate", Hit("write_rate", "warning", 0, ""))
            hit.count = max(hit.count, count)
            hit.summary = f"{name}: {count} writes in {self.options.window_seconds:g} s, usual at this hour are {usual:.0f}"
        if fast:
            hit.lines = [line for line in lines if isinstance(line, Request) and f"{line.method} {mask_path(line.path)}"[:200] in fast]

    def _blinded(self, hits: list[Hit], quality: Quality) -> list[Hit]:
        """Take away what would have to know who asked; say so where there was something to know."""
        kept = [hit for hit in hits if hit.rule not in PER_CLIENT_RULES]
        hidden = [hit for hit in hits if hit.rule in PER_CLIENT_RULES and (hit.rule != "path_scan" or self._sensitive_seen(quality.address))]
        if hidden and "source_quality" not in self.options.disabled:
            who = f"{quality.share:.0%} of the requests come from {quality.address}" if quality.address else "the log names no clients"
            summary = f"cannot know who failed to authenticate or looked for paths: {who}"
            lines = [line for hit in hidden for line in hit.lines]
            kept.append(Hit("source_quality", "unknown", sum(hit.count for hit in hidden), summary, lines))
        return kept

    def _sensitive_seen(self, address: str) -> bool:
        client = self.clients.get(address)
        return client is not None and len(client.sensitive) >= self.options.sensitive_paths

    def _shrink_tally(self) -> None:
        if sum(self.tally.values()) > _TALLIED:
            factor = _TALLIED / 2 / sum(self.tally.values())
            self.tally = collections.Counter({client: int(count * factor) for client, count in self.tally.items() if count * factor >= 1})


def _several(clients: t.Sized) -> str:
    return "1 client" if len(clients) == 1 else f"{len(clients)} clients"


def _slot(moment: float) -> int:
    return int(moment // SLOT_SECONDS)


def _slots(found: t.Mapping[t.Any, t.Any], now: float, by_value: bool = False) -> dict[int, int]:
    latest = _slot(now)
    pairs = ((int(key), int(value)) for key, value in found.items())
    return {key: value for key, value in pairs if (value if by_value else key) <= latest}


def _pruned(slots: t.Mapping[int, int], oldest: int, by_value: bool = False) -> dict[str, int]:
    return {str(key): value for key, value in slots.items() if (value if by_value else key) >= oldest}


def _seen(paths: dict[int, int], key: int, slot: int, oldest: int) -> dict[int, int]:
    """Return *paths* with one more, without those that were last asked for before the window."""
    if len(paths) >= _PATHS_OF_CLIENT or any(value <= oldest for value in paths.values()):
        paths = {each: value for each, value in paths.items() if value > oldest}
    if key in paths or len(paths) < _PATHS_OF_CLIENT:
        paths[key] = slot
    return paths
