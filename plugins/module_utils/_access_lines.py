# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Who asked for what, as logs tell it: client, method, path, status and user agent; and lines that tell of a failed login.

Paths, user names and agents are what a client sent. Patterns begin at the line's begin and read quoted text strictly, so that
nobody writes a request into the log that was never made, or hides one.
"""

from __future__ import annotations

import collections
import functools
import json
import re
import typing as t

from ._log_formats import Clock, LazyPattern, parse, unwrap

#: Servers take headers of up to 1 MiB, and write them into one line: what is cut off there would be a way to hide.
MAX_LINE_BYTES = 2 << 20

_QUOTED = rb'"([^"\\]*(?:\\.[^"\\]*)*)"'
_ASKED = rb'"([A-Za-z][A-Za-z_-]{1,19}) ((?:[^"\\ ]|\\.)[^"\\ ]*(?:\\.[^"\\ ]*)*)(?: [^"]{0,20})?" (\d{3})(?!\w)'
_ADDRESS = rb"[0-9A-Fa-f.:]{0,45}[.:][0-9A-Fa-f.:%\w]{0,60}"
_WHEN = rb"\[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d(?:\.\d+)? ?(?:[+-]\d{4})?)\]"
# A user's name may have spaces and brackets in it, but no quotes; a virtual host, a level of the journal or what hypercorn puts
# there may stand in front.
_COMMON = LazyPattern(
    rb"(?:(?:DEBUG|INFO|WARNING|ERROR|CRITICAL): )?"
    + rb"(?:(?:\[[^\]\"]{0,40}\] ){1,3}|[\w.-]{1,255}(?::\d{1,5})? (?=" + _ADDRESS + rb" ))?(\S+) (?:\S+ \S+|[^\"]{1,300}?) " + _WHEN + rb" " + _ASKED
    + rb"(?: \S+(?: " + _QUOTED + rb" " + _QUOTED + rb"(?: " + _QUOTED + rb"(?=\s|$))?)?)?"
)  # fmt: skip
# Before the client nothing but a time, a level, and few words of a logger: no message that somebody else had a say in.
_LEVEL = rb"(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL)"
_PLAIN = LazyPattern(
    rb"(?:([\dT:.,/+Z\[\]()| -]{0,60})(?:[\w.-]{1,60}[\]:\s|-]{1,6}){0,2}?" + _LEVEL + rb"[\])>:|\s-]{1,12}(?:[A-Za-z_][\w.]{1,60}[\]:\s|-]{1,6})?"
    + rb"|(\[?\d{4}-\d\d-\d\d[T ][\d:.,+Z]{5,25}\]?)\s{1,3}(?:- )?|)"
    + rb"(" + _ADDRESS + rb"|\[[0-9A-Fa-f:%\w]+\](?::\d+)?|) ?- " + _ASKED
)  # fmt: skip
_LOOKS_LIKE_REQUEST = LazyPattern(rb"\b(?:GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS) (?:/|https?:)|\bmethod=")
_FAILED_LOGIN = LazyPattern(
    r"\b(?:invalid|failed|failure|incorrect|bad|wrong|rejected|unsuccessful)\b[^;]{0,40}"
    r"\b(?:log-?in|log in|sign-?in|password|credentials?|token|authentication)\b"
    r"|\b(?:log-?in|sign-?in|password|credentials?|authentication)\b[^;]{0,40}\b(?:invalid|failed|failure|incorrect|rejected|denied|mismatch|unsuccessful)\b"
    r"|\b(?:InvalidSignature|ExpiredSignature|InvalidToken|Decode|JWT|InvalidAudience|InvalidIssuer)Error\b",
    re.IGNORECASE,
)
_ANSI = LazyPattern(rb"\x1b\[[\d;]{0,20}m")

_TIME_KEYS = ("timestamp", "@timestamp", "time", "ts", "time_iso8601", "time_local", "StartUTC", "asctime", "created", "datetime", "msec")
_CLIENT_KEYS = (
    "client_ip", "client.ip", "client.address", "source.ip", "source.address", "remote_addr", "remote_ip", "client_addr", "request.client_ip",
    "request.remote_ip", "ClientHost", "ClientAddr", "remote_address", "remoteAddress", "ip", "client", "req.remoteAddress", "peer",
)  # fmt: skip
_FORWARDED_KEYS = ("x_forwarded_for", "http_x_forwarded_for", "forwarded_for", "x-forwarded-for", "request_X-Forwarded-For", "request.headers.X-Forwarded-For")
_STATUS_KEYS = (
    "status",
    "status_code",
    "http.response.status_code",
    "http_status",
    "response.status",
    "http.status_code",
    "DownstreamStatus",
    "res.statusCode",
)
_METHOD_KEYS = ("method", "http.request.method", "request.method", "http_method", "request_method", "RequestMethod", "req.method")
_PATH_KEYS = (
    "path",
    "url.path",
    "request.uri",
    "request_uri",
    "uri",
    "RequestPath",
    "request.path",
    "http.target",
    "url.original",
    "req.url",
    "url",
    "endpoint",
    "route",
)
_AGENT_KEYS = (
    "user_agent",
    "http_user_agent",
    "user_agent.original",
    "request.headers.User-Agent",
    "request_User-Agent",
    "agent",
    "userAgent",
    "req.headers.user-agent",
)
_MESSAGE_KEYS = ("message", "event", "msg", "log")
_ROLES: tuple[tuple[str, ...], ...] = (
    _TIME_KEYS, _STATUS_KEYS, _METHOD_KEYS, _PATH_KEYS, _CLIENT_KEYS, _FORWARDED_KEYS, _AGENT_KEYS, _MESSAGE_KEYS, ("logger", "name"),
    ("level", "levelname", "severity", "log.level"),
)  # fmt: skip
#: Loggers of which every warning is a login that was refused.
_LOGIN_LOGGERS = frozenset(("JWTParser",))


class Request(t.NamedTuple):
    """One request. *client* is an address without port, or empty; *forwarded* the addresses a proxy named; *path* has no query."""

    time: t.Optional[float]
    client: str
    method: str
    path: str
    status: int
    agent: str = ""
    forwarded: str = ""


class FailedLogin(t.NamedTuple):
    """A line that tells of a login that was refused, and is no request."""

    time: t.Optional[float]
    message: str


class AccessReader:
    """Reads lines of one log. *unread* counts those that look like requests and could not be understood."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lines = 0
        self.requests = 0
        self.unread = 0
        #: How many bytes of the log belong to a line whose end is not there yet.
        self.pending_bytes = 0
        self._pieces: dict[str, tuple[str, list[bytes]]] = {}

    def read(self, line: bytes) -> t.Union[Request, FailedLogin, None]:
        """Return what *line* tells, ``None`` where that is neither a request nor a failed login."""
        if not line:
            return None
        self.lines += 1
        when: t.Optional[float] = None
        if line.startswith(b'{"log":"'):
            wrapped = unwrap(line)
            if wrapped is not None:
                joined = self._join(*wrapped, len(line) + 1)
                if joined is None:
                    return None
                line, when = joined[0], self.clock.read(joined[1])
        found = self._payload(line[:MAX_LINE_BYTES].strip(b"\0\r\n"))
        if found is None:
            return None
        if isinstance(found, Request):
            self.requests += 1
        # The engine's time has a zone, and is there for lines that have none.
        return found if when is None else found._replace(time=when)

    def _join(self, payload: bytes, when: str, stream: str, size: int) -> t.Optional[tuple[bytes, str]]:
        """Return a whole line with the time of its begin; ``None`` for a piece of 16 KiB, as engines keep long lines, until its end."""
        if payload.endswith(b"\n") and stream not in self._pieces:
            return payload, when
        begun, pieces = self._pieces.setdefault(stream, (when, []))
        if len(pieces) < MAX_LINE_BYTES >> 14:
            pieces.append(payload)
        if not payload.endswith(b"\n"):
            self.pending_bytes += size
            return None
        del self._pieces[stream]
        if not self._pieces:
            self.pending_bytes = 0
        return b"".join(pieces), begun

    def _payload(self, line: bytes) -> t.Union[Request, FailedLogin, None]:
        if line[:1] == b"{":
            fields = _fields(line)
            return None if fields is None else self._of_fields(fields)
        if b"\x1b[" in line:
            line = _ANSI.sub(b"", line)
        if b'"' in line:
            found = self._of_text(line, None)
            if found is not None:
                return found
        if _LOOKS_LIKE_REQUEST.search(line):
            record = parse(line, self.clock)
            if record is not None and record.kind == "logfmt" and record.status is not None and record.method and record.path:
                return _request(record.time, "", record.method, record.path, record.status)
            # What tells of a request in other words (an error of nginx, a traceback) is no access line.
            if b'" ' in line and re.search(rb'" \d{3} ', line):
                self.unread += 1
            return None
        text = line[:1000].decode("utf-8", "replace")
        if _FAILED_LOGIN.search(text):
            record = parse(line, self.clock)
            return FailedLogin(record.time if record is not None else None, text)
        return None

    def _of_text(self, line: bytes, when: t.Optional[float]) -> t.Optional[Request]:
        match = _COMMON.match(line)
        if match:
            client, clock, method, target, status, dummy, agent, forwarded = match.groups()
            moment = self.clock.read(clock.decode("latin-1"))
            return _request(moment, _text(client), _text(method), _text(target), int(status), _text(agent or b""), _text(forwarded or b""))
        match = _PLAIN.match(line)
        if match:
            behind, alone, client, method, target, status = match.groups()
            moment = self.clock.read((behind or alone or b"").decode("latin-1"))
            return _request(moment if moment is not None else when, _text(client), _text(method), _text(target), int(status))
        return None

    def _of_fields(self, fields: t.Mapping[str, t.Any]) -> t.Union[Request, FailedLogin, None]:
        times, statuses, methods, paths, clients, forwards, agents, messages, loggers, levels = _plan(tuple(fields))
        status = _status(_first(fields, statuses))
        method, path = _first(fields, methods), _first(fields, paths)
        if method is None and isinstance(fields.get("request"), str):
            method, dummy, path = fields["request"].partition(" ")
            path = path.rpartition(" ")[0] or path
        if status and isinstance(method, str) and isinstance(path, str):
            client, forwarded, agent = _one(_first(fields, clients)), _one(_first(fields, forwards)), _one(_first(fields, agents))
            return _request(self._time(fields, times), client, method, path, status, agent, forwarded)
        message = _first(fields, messages)
        if not isinstance(message, str):
            return None
        if " HTTP/" in message:
            found = self._of_text(message.encode("utf-8", "replace"), None)
            if found is not None:
                return found._replace(time=self._time(fields, times) or found.time)
        logger = _first(fields, loggers)
        level = str(_first(fields, levels) or "").lower()
        if (logger in _LOGIN_LOGGERS and level in ("warning", "warn", "error", "critical")) or _FAILED_LOGIN.search(message[:1000]):
            return FailedLogin(self._time(fields, times), message[:1000])
        return None

    def _time(self, fields: t.Mapping[str, t.Any], keys: t.Iterable[str]) -> t.Optional[float]:
        for key in keys:
            moment = self.clock.read(fields[key])
            if moment is not None:
                return moment
        return None


def _fields(line: bytes) -> t.Optional[dict[str, t.Any]]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


@functools.lru_cache(maxsize=256)
def _plan(names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Return for every role the keys that an object with these *names* can have, best first."""
    known = frozenset(names)
    return tuple(tuple(key for key in keys if key in known or ("." in key and key.partition(".")[0] in known)) for keys in _ROLES)


def _first(fields: t.Mapping[str, t.Any], keys: t.Iterable[str]) -> t.Any:
    for key in keys:
        value = fields.get(key)
        if value is None and "." in key:
            value = fields
            for part in key.split("."):
                value = value.get(part) if isinstance(value, dict) else None
        if value is not None and value != "":
            return value
    return None


def _status(value: t.Any) -> int:
    try:
        number = int(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else 0
    except ValueError:
        return 0
    return number if 100 <= number <= 599 else 0


def _one(value: t.Any) -> str:
    """Return a text, or the first of a list of them, as Caddy writes headers."""
    if isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, str) else ""


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _request(when: t.Optional[float], client: str, method: str, target: str, status: int, agent: str = "", forwarded: str = "") -> Request:
    path = target.partition("?")[0].partition("#")[0]
    if path[:1] != "/" and "://" in path:
        path = "/" + path.partition("://")[2].partition("/")[2]
    return Request(when, host_of(client), method[:20].upper(), path[:2000], status, "" if agent == "-" else agent[:300], "" if forwarded == "-" else forwarded)


def host_of(client: str) -> str:
    """Return an address without its port."""
    if client[:1] == "[":
        return client[1:].partition("]")[0]
    if client in ("-", "unix:"):
        return ""
    return client.partition(":")[0] if client.count(":") == 1 else client


# ---- requests that are nothing special, many at once

#: Methods that only read.
PLAIN_METHODS = ("GET", "HEAD", "OPTIONS")
_MAX_SHAPES = 2
_MAX_TRIES = 20
_PLAIN_CLIENT = rb"([0-9A-Fa-f.:]*[.:][0-9A-Fa-f.:]*)"
_PLAIN_ASKED = rb"Q(?:GET|HEAD|OPTIONS) (/[^\"\\ ?#\n]*)(?:[?#][^\"\\ \n]*)? HTTP/[\d.]{1,3}Q ([123]\d\d)"
_PLAIN_TEXTS = (
    _PLAIN_CLIENT
    + rb" [^\s\"\\]+ [^\s\"\\]+ \[[^\]\[\"\\\n]{17,28}\] "
    + _PLAIN_ASKED
    + rb" (?:\d{1,12}|-)(?: Q[^\"\\\n]*Q Q[^\"\\\n]*Q(?: Q-Q)?)?(?: [^\"\\\n]*)?",
    rb"INFO: {1,9}" + _PLAIN_CLIENT + rb" - " + _PLAIN_ASKED + rb"(?: [A-Za-z -]{1,40})?",
)
_WRAPPER_END = rb"\\n\",\"stream\":\"std(?:out|err)\",\"time\":\"[-\dT:.Z]{20,35}\"\}"


def is_piece(line: bytes) -> bool:
    """Tell whether *line* is a piece of a longer one in the engine's wrapper."""
    return line.startswith(b'{"log":"') and b'\\n","' not in line[-200:]


class PlainRequests:
    """Finds successful requests that only read, of known shapes, without taking lines apart one by one.

    What is found is what :class:`AccessReader` finds in the same lines; lines that are not found have to be given to that.
    """

    def __init__(self) -> None:
        self._shapes: list[bytes] = []
        self._orders: list[tuple[int, ...]] = []
        self._tries = 0
        self._pattern: t.Optional[t.Pattern[bytes]] = None

    def learn(self, line: bytes) -> None:
        """Learn the shape of *line*, if it is such a request."""
        if self._tries >= _MAX_TRIES or len(self._shapes) >= _MAX_SHAPES:
            return
        self._tries += 1
        for shape, order in _shapes(line):
            if shape not in self._shapes and re.fullmatch(shape, line):
                self._shapes.append(shape)
                self._orders.append(order)
                self._pattern = re.compile(rb"\n(?:(?:%s)(?=\n|\Z)|([^\n]*))" % rb"(?=\n|\Z)|".join(self._shapes))
                return

    def sort(self, data: bytes, start: int, end: int) -> t.Optional[tuple[dict[tuple[bytes, bytes, bytes], int], dict[bytes, int]]]:
        """Return client, path and status of such requests, and the other lines, with how often each is there.

        ``None`` where no shape is known.
        """
        if self._pattern is None:
            return None
        plain: dict[tuple[bytes, bytes, bytes], int] = {}
        others: dict[bytes, int] = {}
        for groups, count in collections.Counter(self._pattern.findall(data, start, end)).items():
            for number, (client, path, status) in enumerate(self._orders):
                if groups[3 * number]:
                    key = (groups[3 * number + client], groups[3 * number + path], groups[3 * number + status])
                    plain[key] = plain.get(key, 0) + count
                    break
            else:
                others[groups[-1]] = count
        return plain, others


def _shapes(line: bytes) -> t.Iterator[tuple[bytes, tuple[int, ...]]]:
    """Yield patterns that may fit *line*, with the places of client, path and status among their groups."""
    wrapped = line.startswith(b'{"log":"')
    for text in _PLAIN_TEXTS:
        yield rb'\{"log":"' + text.replace(b"Q", rb"\\\"") + _WRAPPER_END if wrapped else text.replace(b"Q", b'"') + rb"\r?", (0, 1, 2)
    if line[:1] == b"{" and not wrapped:
        yield from _json_shape(line)


def _json_shape(line: bytes) -> t.Iterator[tuple[bytes, tuple[int, ...]]]:
    """Yield a pattern for JSON lines with the keys of this one, none of which holds more than a text or a number."""
    fields = _fields(line)
    if not fields or any(isinstance(value, (dict, list)) for value in fields.values()):
        return
    dummy, statuses, methods, paths, clients, forwards, *dummies = _plan(tuple(fields))
    if not (statuses and methods and paths and clients) or forwards:
        return
    asked = {
        clients[0]: rb'"' + _PLAIN_CLIENT + rb'"',
        paths[0]: rb'"(/[^"\\?#\n]*)(?:[?#][^"\\\n]*)?"',
        statuses[0]: rb"([123]\d\d)",
        methods[0]: rb'"(?:GET|HEAD|OPTIONS)"',
    }
    places = [key for key in fields if key in (clients[0], paths[0], statuses[0])]
    pieces = []
    for key, value in fields.items():
        general = rb'"[^"\\\n]*"' if isinstance(value, str) else rb"(?:-?[\d.]+(?:[eE][-+]?\d+)?|true|false|null)"
        pieces.append(re.escape(json.dumps(key, ensure_ascii=False).encode()) + rb": ?" + asked.get(key, general))
    yield rb"\{" + rb", ?".join(pieces) + rb"\}\r?", tuple(places.index(key) for key in (clients[0], paths[0], statuses[0]))
