# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Suspicious requests in a stack's logs: reads what is new since the last run, and has it judged.

Nothing is written here. What has to be known next time, how far each log was read included, is part of the state that goes
in and out: whoever calls saves it whole or, in a run by hand, not at all.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import typing as t

from ._access_lines import PLAIN_METHODS, AccessReader, FailedLogin, PlainRequests, host_of, is_piece
from ._envelope import CheckError, worst
from ._log_cursor import Cursors
from ._log_files import SAMPLE_BYTES, SKEW_SECONDS, LogFile, Source, feed, files_of, line_start, seek
from ._log_formats import Clock, unwrap, zone_of
from ._log_sources import LogSource, lines_of_engine, lines_of_journal
from ._request_findings import RequestFindings, RuleFinding, WatchedLog, client_rows, each_client_once, finding_of
from ._request_rules import RULES, Clients, Hit, Json, Line, Routes, StreamWatch, WatchOptions, routes_of_openapi

if t.TYPE_CHECKING:
    from ._engine import Engine

SCHEMA_VERSION = 1
MAX_STREAMS = 200
#: How long the routes of an application are taken as known, and how long after a failure they are not asked for again.
ROUTES_SECONDS = 86400.0
ROUTES_RETRY_SECONDS = 3600.0
ROUTES_BYTES = 4 << 20
ROUTES_TIMEOUT_SECONDS = 2.0
#: So many lines without any request in them say that this host's logs have none.
LINES_WITHOUT_REQUESTS = 100

#: Lines without times are of use where the last run was at most so many windows ago.
_UNTIMED_WINDOWS = 3
_WORST_FIRST = ("critical", "warning", "unknown")


@dataclasses.dataclass
class _Stream:
    """The logs that are judged as one, and what was read of them."""

    name: str
    stack: str
    service: str
    watch: StreamWatch
    sources: list[LogSource] = dataclasses.field(default_factory=list)
    lines: list[Line] = dataclasses.field(default_factory=list)
    read_lines: int = 0
    requests: int = 0
    unread: int = 0
    statuses: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)
    failed_writes: int = 0
    failed_logins: int = 0
    truncated: bool = False
    error: str = ""


def watch_requests(
    sources: t.Sequence[LogSource], engine: t.Optional[Engine], options: WatchOptions, state: t.Optional[Json], now: float
) -> tuple[Json, RequestFindings]:
    """Read what is new in *sources* since *state* was made, and return the next state and what is suspicious.

    An empty *state* has the last window read, as far as lines have times.
    """
    problems: list[CheckError] = []
    memory = _Memory(state or {}, options, now, problems)
    streams = _streams_of(sources, memory, options, now)
    budget = options.max_bytes
    for stream in streams:
        for source in stream.sources:
            reading = _Reading(source, stream, options, memory, now, budget)
            try:
                reading.run(engine)
            except CheckError as error:
                # A program that has said nothing yet is no trouble with reading its log.
                if error.code != "empty":
                    reading.errors.append(error)
            problems.extend(reading.errors)
            stream.error = stream.error or next((error.reason for error in reading.errors), "")
            budget = max(1 << 20, budget - reading.read_bytes)
    judged = [(stream, stream.watch.judge(stream.lines)) for stream in streams]
    new_state = memory.as_state(streams, {source.name for source in sources})
    findings = _findings(judged, options)
    logs = tuple(_watched(stream) for stream in streams)
    if not sources:
        problems.append(CheckError("logs", "no log was found", "Name the logs with paths."))
    _tell_unread(streams, problems)
    status = worst([finding.status for finding in findings] + ["unknown"] * bool(problems))
    clients = each_client_once(row for stream in streams for row in client_rows(stream.stack, stream.name, stream.lines, options.mask_addresses))
    return new_state, RequestFindings(status, _summary(findings, logs), findings, logs, tuple(problems), options.window_seconds, clients)


class _Memory:
    """The state between runs, taken apart. What is damaged costs its part only."""

    def __init__(self, state: Json, options: WatchOptions, now: float, problems: list[CheckError]) -> None:
        self.options, self.now = options, now
        self.cursors, self.streams, self.places, self.routes = Cursors(""), {}, {}, {}
        try:
            if state:
                if state["schema_version"] != SCHEMA_VERSION:
                    raise ValueError(f"its version is {state['schema_version']}")
                self.cursors = Cursors.from_state(state["cursors"])
                self.streams = dict(state["streams"])
                self.places = {str(name): (str(place[0]), str(place[1]), [str(each) for each in place[2]]) for name, place in state["engine"].items()}
                self.routes = dict(state["routes"])
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            problems.append(
                CheckError("state", f"what the last run left cannot be read: {error}", "The last window was read instead; the state is made anew.", "state")
            )
            self.cursors, self.streams, self.places, self.routes = Cursors(""), {}, {}, {}

    @property
    def earliest(self) -> float:
        """What is older was judged before, wherever it is found now."""
        saved = self.cursors.saved_at
        if saved is None:
            return self.now - (self.options.look_back_seconds or self.options.window_seconds)
        return min(saved, self.now) - self.options.window_seconds

    def watch(self, name: str, routes: t.Optional[Routes]) -> StreamWatch:
        """Return what is remembered of the stream called *name*."""
        known = self.streams.get(name)
        if known is not None:
            try:
                return StreamWatch.from_state(known, self.options, self.now, routes)
            except ValueError:
                pass  # it begins anew, as one that was never seen
        return StreamWatch(self.options, self.now, routes)

    def as_state(self, streams: t.Sequence[_Stream], names: t.Container[str]) -> Json:
        """Return the next state."""
        self.cursors.keep_only(names)
        return {
            "schema_version": SCHEMA_VERSION,
            "cursors": self.cursors.as_state(self.now),
            "streams": {stream.name: stream.watch.as_state() for stream in streams[:MAX_STREAMS]},
            "engine": {name: list(place) for name, place in self.places.items() if name in names},
            "routes": self.routes,
        }


def _streams_of(sources: t.Sequence[LogSource], memory: _Memory, options: WatchOptions, now: float) -> list[_Stream]:
    """Return what is judged as one: each file, and the logs of all containers of a service, who share the work."""
    streams: dict[str, _Stream] = {}
    for source in sources:
        stack, service = source.project or "", source.service or ""
        name = f"container:{stack}/{service}" if source.type == "container" and service else source.name
        if name not in streams:
            routes = _routes(stack, service, memory, options, now)
            streams[name] = _Stream(name, stack, service, memory.watch(name, routes))
        streams[name].sources.append(source)
    return list(streams.values())


# ---- reading


class _Reading:
    """Reads what is new of one log into its stream."""

    def __init__(self, source: LogSource, stream: _Stream, options: WatchOptions, memory: _Memory, now: float, budget: int) -> None:
        self.source, self.stream, self.options, self.memory, self.now = source, stream, options, memory, now
        self.budget = budget
        self.errors: list[CheckError] = []
        self.read_bytes = 0
        self.reader = AccessReader(Clock(zone_of(source.zone or "UTC") or zone_of("UTC")))
        self.known = memory.cursors.knows(source.name)
        self._clients = Clients(options.ignore_clients)
        self._plain = PlainRequests() if set(PLAIN_METHODS) <= set(options.methods) else None
        self._fallback: t.Optional[float] = None
        self._earliest = memory.earliest

    def run(self, engine: t.Optional[Engine]) -> None:
        """Read it, and note how far.

        :raises CheckError: it cannot be read.
        """
        try:
            if self.source.path is None or not self._files(engine):
                self._engine_lines(engine)
        finally:
            self.stream.read_lines += self.reader.lines
            self.stream.requests += self.reader.requests
            self.stream.unread += self.reader.unread
            self.stream.watch.lines += self.reader.lines

    def block(self, data: bytes, start: int, end: int) -> None:
        """Take whole lines."""
        usable = self._plain is not None and self.known and not self.reader.pending_bytes
        sorted_out = self._plain.sort(data, start, end) if self._plain is not None and usable else None
        # Pieces have to be put together in the order that they stand in.
        if sorted_out is None or any(is_piece(line) for line in sorted_out[1]):
            for line in data[start + 1 : end].split(b"\n"):
                self.line(line)
            return
        plain, others = sorted_out
        self._take_plain(plain)
        for line, count in others.items():
            for dummy in range(count):
                self.line(line)

    def _take_plain(self, plain: t.Mapping[tuple[bytes, bytes, bytes], int]) -> None:
        for (address, path, status), count in plain.items():
            self.reader.lines += count
            self.reader.requests += count
            client = self._clients.of(host_of(address.decode("latin-1")))
            if client is not None:
                self.stream.statuses[int(status)] += count
                self.stream.watch.count_plain(client, path.decode("utf-8", "replace"), count)

    def line(self, line: bytes) -> None:
        """Take one line."""
        found = self.reader.read(line)
        if found is not None:
            self._take(found, line)

    def _take(self, found: Line, line: bytes) -> None:
        moment = found.time
        if moment is None:
            # Lines without a time are as old as the last run at most. Where that is long ago, or never was, they are in no window.
            moment = self._fallback
            if moment is None:
                return
        else:
            self._fallback = moment = min(moment, self.now)
            if moment < self._earliest:
                return
        stream = self.stream
        if isinstance(found, FailedLogin):
            stream.failed_logins += 1
            self._keep(found._replace(time=moment))
            return
        client = self._clients.of(found.client, found.forwarded)
        if client is None:
            return
        stream.statuses[found.status] += 1
        if stream.watch.is_plain(found):
            stream.watch.count_plain(client, found.path)
            if self._plain is not None:
                self._plain.learn(line)
            return
        stream.failed_writes += found.method in ("POST", "PUT", "PATCH", "DELETE") and found.status >= 400
        self._keep(found._replace(time=moment, client=client))

    def _keep(self, line: Line) -> None:
        if len(self.stream.lines) < self.options.max_lines:
            self.stream.lines.append(line)
        else:
            self.stream.truncated = True

    def _files(self, engine: t.Optional[Engine]) -> bool:
        """Read the files of the log; ``False`` where they are not for us to read, but the engine may give them."""
        path = self.source.path or ""
        try:
            files = files_of(path)
            if not any(file.size for file in files):
                raise CheckError(self.source.name, "the log is empty", "", "empty")
            self._read_files(files)
        except CheckError as error:
            if self.source.type == "container" and engine is not None and error.code in ("permission-denied", "missing"):
                return False
            raise
        return True

    def _read_files(self, files: list[LogFile]) -> None:
        name, cursors = self.source.name, self.memory.cursors
        place = cursors.resume(name, files)
        if place is not None:
            saved = min(cursors.saved_at or self.now, self.now)
            self._fallback = saved if self.now - saved <= _UNTIMED_WINDOWS * self.options.window_seconds else None
            if place == (0, 0):
                # The file that was read is gone. What is here instead may be a copy of it; what a server wrote late is not.
                self._earliest = saved - SKEW_SECONDS
            wanted = [(file, place[1] if number == 0 else 0) for number, file in enumerate(files[place[0] :])]
        else:
            wanted = [(file, -1) for file in files if file.size and (file.modified >= self.memory.earliest or file is files[-1])]
        opened: list[tuple[Source, int, int]] = []
        try:
            budget = self.budget
            for file, offset in reversed(wanted):
                if budget <= 0:
                    self.stream.truncated = True
                    break
                try:
                    source = Source(file)
                except CheckError as error:
                    if file is files[-1]:
                        raise
                    self.errors.append(error)
                    continue
                begin = self._begin(source, file, offset)
                if not file.compressed and file.size - begin > budget:
                    self.stream.truncated = True
                    begin = line_start(source, file.size - budget, file.size)
                budget -= file.size - begin
                opened.insert(0, (source, begin, file.size))
            self._feed(opened)
        finally:
            for source, dummy, dummy2 in opened:
                source.__exit__()

    def _begin(self, source: Source, file: LogFile, offset: int) -> int:
        """Return where to begin; in a log that was never read, where the window begins."""
        if offset >= 0:
            return offset
        if file.compressed or file.size <= SAMPLE_BYTES:
            return 0
        return seek(source, self.memory.earliest, file.size, self._time_of)

    def _time_of(self, line: bytes) -> t.Optional[float]:
        wrapped = unwrap(line) if line.startswith(b'{"log":"') else None
        if wrapped is not None:
            return self.reader.clock.read(wrapped[1])
        found = AccessReader(self.reader.clock).read(line)
        return found.time if found is not None else None

    def _feed(self, opened: t.Sequence[tuple[Source, int, int]]) -> None:
        reached: t.Optional[tuple[Source, int]] = None
        for number, (source, begin, size) in enumerate(opened):
            last = number == len(opened) - 1
            end = begin + self.budget if source.file.compressed else size
            held = 0
            try:
                held = feed(source.pieces(begin, end), self, last_line=not last)
            except CheckError as error:
                self.errors.append(error)
            self.read_bytes += source.read_bytes
            offset = begin + source.read_bytes - (held + self.reader.pending_bytes if last else 0)
            # An empty file has nothing to be known by: then the one before it says how far reading got.
            if offset or reached is None:
                reached = (source, offset)
        if reached is not None:
            self.memory.cursors.remember(self.source.name, *reached)

    def _engine_lines(self, engine: t.Optional[Engine]) -> None:
        """Read a log that only the engine or the journal has: what came after the last line that was seen."""
        container, last, seen = self.memory.places.get(self.source.name, ("", "", []))
        same = bool(last) and container == (self.source.container_id or "")
        since = self.memory.earliest
        if same:
            moment = self.reader.clock.read(last)
            # The engine's own time is exact to the nanosecond, our number of it is not.
            since = moment - 0.001 if moment is not None else since
        data = lines_of_journal(self.source, since) if self.source.type == "journald" else lines_of_engine(self.source, engine, since)
        self.read_bytes = len(data)
        newest: list[str] = list(seen) if same else []
        for line in data.split(b"\n"):
            wrapped = unwrap(line)
            when = _to_the_nanosecond(wrapped[1]) if wrapped is not None else ""
            if wrapped is None or (same and when < last):
                continue
            digest = _digest(wrapped[0])
            if same and when == last and digest in seen:
                continue
            if when > last:
                last, newest = when, []
            newest.append(digest)
            self.line(line)
        self.memory.places[self.source.name] = (self.source.container_id or "", last, newest[-100:])


def _to_the_nanosecond(when: str) -> str:
    """Return a time in UTC with nine digits behind the second, so that it sorts as text."""
    whole, dummy, fraction = when.rstrip("Z").partition(".")
    return f"{whole}.{fraction[:9]:0<9}Z"


def _digest(text: bytes) -> str:
    import hashlib  # pylint: disable=import-outside-toplevel

    return hashlib.sha256(text).hexdigest()[:16]


# ---- the application's own routes


def _routes(stack: str, service: str, memory: _Memory, options: WatchOptions, now: float) -> t.Optional[Routes]:
    """Return the routes of a service where its OpenAPI document is known: from the last run, or else from where it is."""
    place = options.openapi.get(f"{stack}/{service}") or options.openapi.get(service) if service else None
    if not place or "unexpected_write" in options.disabled:
        return None
    known = memory.routes.get(place)
    fresh = isinstance(known, dict) and isinstance(known.get("at"), (int, float)) and isinstance(known.get("routes"), list) and known["at"] <= now
    routes = [str(route) for route in known["routes"]] if fresh and known is not None else []
    age = now - known["at"] if fresh and known is not None else float("inf")
    if age > (ROUTES_SECONDS if routes else ROUTES_RETRY_SECONDS):
        try:
            routes = list(load_routes(place))
        except (OSError, ValueError):
            pass  # the last known are better than none, and without any the writes of the log are learned
        memory.routes[place] = {"at": now, "routes": routes}
    return Routes(routes) if routes else None


def load_routes(place: str) -> tuple[str, ...]:
    """Return the routes of the OpenAPI document at a path or an ``http(s)`` URL.

    :raises OSError: it cannot be had.
    :raises ValueError: it is no such document.
    """
    if place.startswith(("http://", "https://")):
        data = _fetch(place)
    else:
        with open(place, "rb") as file:
            data = file.read(ROUTES_BYTES + 1)
    if len(data) > ROUTES_BYTES:
        raise ValueError("it is far too large")
    try:
        return routes_of_openapi(json.loads(data))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _fetch(url: str) -> bytes:
    import http.client  # here, because it is needed once a day  # pylint: disable=import-outside-toplevel
    import urllib.parse  # pylint: disable=import-outside-toplevel

    parts = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=ROUTES_TIMEOUT_SECONDS)
    try:
        connection.request("GET", parts.path or "/openapi.json", headers={"Accept": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise OSError(f"it answers {answer.status}")
        return answer.read(ROUTES_BYTES + 1)
    except http.client.HTTPException as error:
        raise OSError(f"it does not speak HTTP: {error!r}") from None
    finally:
        connection.close()


# ---- findings


def _findings(judged: t.Sequence[tuple[_Stream, list[Hit]]], options: WatchOptions) -> tuple[RuleFinding, ...]:
    """Return one finding per rule and stack: that of the log that shows it best, for several tell of the same requests."""
    sighted = {stream.stack for stream, dummy in judged if stream.requests and stream.watch.quality().sighted}
    by_rule: dict[tuple[str, str], list[tuple[_Stream, Hit]]] = {}
    for stream, hits in judged:
        for hit in hits:
            # Where the proxy's log says who it was, it does not matter that the application's does not.
            if hit.rule != "source_quality" or stream.stack not in sighted:
                by_rule.setdefault((stream.stack, hit.rule), []).append((stream, hit))
    found = []
    for (stack, dummy), several in by_rule.items():
        several.sort(key=lambda pair: (_WORST_FIRST.index(pair[1].status), -pair[1].count, pair[0].name))
        (stream, hit), others = several[0], several[1:]
        found.append(finding_of(hit, stack, stream.name, stream.watch.quality(), tuple(other.name for other, dummy in others), options.mask_addresses))
    return tuple(sorted(found, key=lambda finding: (finding.stack, RULES.index(finding.rule))))


def _watched(stream: _Stream) -> WatchedLog:
    return WatchedLog(
        stream.name,
        stream.stack,
        stream.service,
        stream.read_lines,
        stream.requests,
        stream.unread,
        dict(stream.statuses),
        stream.failed_writes,
        stream.failed_logins,
        stream.watch.quality(),
        stream.watch.learning and stream.watch.routes is None,
        stream.truncated,
        stream.error,
    )


def _tell_unread(streams: t.Sequence[_Stream], problems: list[CheckError]) -> None:
    for stream in streams:
        if stream.unread > LINES_WITHOUT_REQUESTS and stream.unread > stream.requests:
            reason = f"{stream.unread} of its lines look like requests of an unknown format"
            problems.append(CheckError(stream.name, reason, "Use the server's default or combined access log, or JSON.", "unparsable"))
    lines = sum(stream.watch.lines for stream in streams)
    if lines > LINES_WITHOUT_REQUESTS and not any(stream.watch.requests or stream.unread for stream in streams):
        hint = "Switch the access log of the server on, or leave this check off on this host."
        problems.append(CheckError("access logs", f"{lines} lines were read and none of them is a request", hint, "no-requests"))


def _summary(findings: t.Sequence[RuleFinding], logs: t.Sequence[WatchedLog]) -> str:
    if findings:
        first = max(findings, key=lambda finding: -_WORST_FIRST.index(finding.status))
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        return f"{first.stack + ': ' if first.stack else ''}{first.summary}{more}"
    return f"nothing suspicious in {sum(log.requests for log in logs)} new requests in {len(logs)} logs"
