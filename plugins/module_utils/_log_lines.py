# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The lines of a stack's logs for a person to read: the last ones or those of a window, without secrets, in order of time.

Logs are read from their end, in steps that grow, until there are enough lines. Lines that go on (tracebacks) stay with the
record that they belong to. What is new since the last run is found again by the places that the last run returned.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import functools
import itertools
import json
import time
import typing as t

from ._envelope import CheckError, envelope, metric
from ._log_cursor import Cursors
from ._log_error_rate import moment_of, path_sources, window_seconds
from ._log_files import SAMPLE_BYTES, LogFile, Source, feed, files_of, is_ordered, line_start, seek
from ._log_formats import ERROR, INFO, LEVEL_NAMES, TRACEBACK, Clock, Record, parse, unwrap, without_time, zone_of
from ._log_scan import level_name
from ._log_sources import LogSource, discover_sources, lines_of_engine
from ._process import run_side_by_side
from ._redaction import REDACTED, Redactor, is_secret_name, redactor_of

if t.TYPE_CHECKING:
    from ._discovery import Stack
    from ._engine import Engine

Facts = dict[str, t.Any]

DEFAULT_LINES = 100
#: With a window it is the window that bounds, and this only what nobody reads any more.
DEFAULT_LINES_OF_WINDOW = 10000
MAX_LINES = 100000
FIRST_BYTES = 1 << 18
GROWTH = 4
MAX_FIELDS = 30
MAX_CONTINUED = 200
MAX_TEXT_CHARACTERS = 16384
RAW_TEXT_CHARACTERS = 65536
LONGEST_SECRET = 4096
SKEW_SECONDS = 5.0
REST_SECONDS = 2.0
#: A line that the engine got so soon after the one before was written together with it.
TOGETHER_SECONDS = 0.005
TRACEBACK_SECONDS = 1.0

# What the columns of the output say already.
_SHOWN_FIELDS = frozenset(
    [
        "timestamp", "@timestamp", "time", "ts", "asctime", "datetime", "created", "date", "level", "levelname", "levelno", "log.level", "severity", "lvl",
        "message", "event", "msg", "logger", "name", "logger_name", "exception", "exc_info", "traceback", "stack_trace",
        "error.stack_trace", "record", "log.logger",
    ]
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class LinesOptions:
    """Which lines: at most *lines* of each log, written from *since* (inclusive) until *until*, at or above *level*, with *text* in them."""

    lines: int = DEFAULT_LINES
    since: t.Optional[float] = None
    until: t.Optional[float] = None
    level: t.Optional[int] = None
    text: str = ""
    paths: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    zone: str = ""
    max_bytes: int = 16 << 20

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any], now: float) -> LinesOptions:
        """Return the options from the parameters of ``log_lines``.

        :raises ValueError: an option is no time, window, zone or number of lines.
        """
        zone = params["timezone"] or ""
        if zone and zone_of(zone) is None:
            raise ValueError(f"timezone must be UTC, an offset as +08:00 or a name that the target knows, not {zone!r}")
        since, until = (moment_of(params, name, zone) for name in ("since", "until"))
        if params["window"] is not None and since is None:
            since = (now if until is None else until) - window_seconds(params["window"])
        if since is not None and until is not None and since >= until:
            raise ValueError("since must be before until")
        lines = params["lines"] if params["lines"] is not None else DEFAULT_LINES if since is None and until is None else DEFAULT_LINES_OF_WINDOW
        if not 0 < lines <= MAX_LINES:
            raise ValueError(f"lines must be between 1 and {MAX_LINES}, not {lines}")
        return cls(
            lines=lines,
            since=since,
            until=until,
            level=LEVEL_NAMES.index(params["level"]) if params["level"] else None,
            text=(params["text"] or "").lower(),
            paths=tuple(params["paths"]),
            units=tuple(params["units"]),
            zone=zone,
            max_bytes=max(1 << 20, params["max_bytes"]),
        )


@dataclasses.dataclass
class Entry:
    """One record with the lines that go on from it. Its *time* is ``None`` as long as no line has told one."""

    time: t.Optional[float]
    level: t.Optional[int]
    lines: list[str]
    record: t.Optional[Record] = None
    left_out: int = 0
    text: str = ""


# -- lines to entries --------------------------------------------------------------------------------------------------


class Collector:
    """Takes the lines of one log in order and keeps the last that are asked for.

    *carried* is the time and level of the record that was last in an earlier part, to which the first lines may belong.
    """

    def __init__(self, options: LinesOptions, clock: Clock, redactor: Redactor, carried: t.Optional[tuple[float, t.Optional[int]]] = None) -> None:
        self.options = options
        self.clock = clock
        self.redactor = redactor
        self.kept: collections.deque[Entry] = collections.deque(maxlen=options.lines)
        self.first_time: t.Optional[float] = None
        self.time = carried[0] if carried else None
        self.level = carried[1] if carried else None
        self.dropped = False
        self._carried = carried is not None
        self._inner_clock = Clock(None)
        self._current: t.Optional[Entry] = None
        self._untimed: collections.deque[Entry] = collections.deque(maxlen=options.lines)
        self._open = False
        self._in_traceback = False
        self._last_when: t.Optional[float] = None
        self._pieces: dict[str, tuple[str, list[bytes], int]] = {}

    def block(self, data: bytes, start: int, end: int) -> None:
        """Take whole lines; the first begins after the newline at *start*."""
        for line in data[start + 1 : end].split(b"\n"):
            self.line(line)

    def line(self, line: bytes) -> None:
        """Take one line."""
        wrapped = unwrap(line) if line[:8] == b'{"log":"' else None
        if wrapped is None:
            self._take(line.strip(b"\0\r"), None)
            return
        payload, when, stream = wrapped
        if stream in self._pieces or not payload.endswith(b"\n"):
            begun, pieces, size = self._pieces.setdefault(stream, (when, [], 0))
            pieces.append(payload)
            self._pieces[stream] = (begun, pieces, size + len(line) + 1)
            if not payload.endswith(b"\n"):
                return
            when, pieces, dummy = self._pieces.pop(stream)
            payload = b"".join(pieces)
        self._take(payload, self.clock.read(when))

    def held_bytes(self) -> int:
        """Return the size of the lines that wait for the rest of theirs."""
        return sum(size for dummy, dummy2, size in self._pieces.values())

    def finish(self, fallback_time: float) -> None:
        """Keep what is still held back; *fallback_time* is that of a log without times."""
        self._close()
        for entry in self._untimed:
            self._settle(entry, fallback_time)
        self._untimed.clear()

    def entries(self) -> list[Entry]:
        """Return what was kept, without secrets."""
        for entry in self.kept:
            text = self.redactor.text(entry.text)
            # The last word of a text that was cut off may be the half of a secret.
            limit = MAX_TEXT_CHARACTERS if len(entry.text) < RAW_TEXT_CHARACTERS else min(MAX_TEXT_CHARACTERS, len(text) - LONGEST_SECRET)
            entry.text = text if len(text) <= limit else text[: max(0, limit)] + "…"
            if entry.left_out:
                entry.text += f"\n… {entry.left_out} more lines"
        return list(self.kept)

    def _take(self, payload: bytes, when: t.Optional[float]) -> None:
        record = parse(payload, self.clock if when is None else self._inner_clock)
        text = payload.decode("utf-8", "replace").rstrip("\r\n")
        if record is not None:
            moment = record.time if record.time is not None else when
            self._carried = False
            self.level = record.severity if record.level is not None or record.status is not None else None
            self._begin(Entry(moment, self.level, [text], record))
            self._open = not record.closed
        elif text.strip():
            self._go_on(text, when)
        self._last_when = when

    def _go_on(self, text: str, when: t.Optional[float]) -> None:
        starts = text.startswith(TRACEBACK.decode())
        if starts and not (self._open and (self.level or 0) >= ERROR):
            self.level = ERROR
            self._begin(Entry(when, ERROR, [text]))
            self._open = self._in_traceback = True
        elif self._belongs(text, when):
            self._in_traceback = self._in_traceback or starts
            self._append(text)
        else:
            # A part that begins in the middle of a record goes on from that.
            goes_on = self._carried and self._current is None
            self._begin(Entry(when, self.level if goes_on else None, [text]))
            self._open = goes_on

    def _belongs(self, text: str, when: t.Optional[float]) -> bool:
        """Tell whether a line that begins no record goes on from the one before. With no time of its own it has no other place."""
        if self._current is None or not self._open:
            return False
        if when is None or self._last_when is None or text[0] in " \t":
            return True
        return when - self._last_when < (TRACEBACK_SECONDS if self._in_traceback else TOGETHER_SECONDS)

    def _append(self, text: str) -> None:
        entry = self._current
        if entry is not None and len(entry.lines) < MAX_CONTINUED:
            entry.lines.append(text)
        elif entry is not None:
            entry.left_out += 1

    def _begin(self, entry: Entry) -> None:
        self._close()
        if entry.time is None:
            entry.time = self.time
        elif self.time is None or self._untimed:
            # What stands before the first time was written before it.
            for earlier in self._untimed:
                self._settle(earlier, entry.time)
            self._untimed.clear()
        if entry.time is not None:
            self.time = entry.time
            self.first_time = entry.time if self.first_time is None else self.first_time
        self._current = entry
        self._open = self._in_traceback = False

    def _close(self) -> None:
        entry, self._current = self._current, None
        if entry is not None and entry.time is None:
            self._untimed.append(entry)
        elif entry is not None and entry.time is not None:
            self._settle(entry, entry.time)

    def _settle(self, entry: Entry, moment: float) -> None:
        """Keep an entry, if it is asked for."""
        options = self.options
        if (options.since is not None and moment < options.since) or (options.until is not None and moment >= options.until):
            return
        if options.level is not None and (INFO if entry.level is None else entry.level) < options.level:
            return
        shown = "\n".join(_readable(entry))
        if options.text and options.text not in shown.lower() and options.text not in "\n".join(entry.lines).lower():
            return
        entry.text = shown[:RAW_TEXT_CHARACTERS]
        entry.time = moment
        # Only the text is wanted from here on, and secrets are taken out of what is kept in the end.
        entry.lines, entry.record = [], None
        self.dropped = self.dropped or len(self.kept) == self.kept.maxlen
        self.kept.append(entry)


def _readable(entry: Entry) -> list[str]:
    """Return an entry's lines without the time in front. Of a JSON record: its message, the other fields as ``name=value``, its traceback."""
    record, lines = entry.record, entry.lines
    if record is None:
        return lines
    fields: t.Any = None
    if record.kind == "json":
        try:
            fields = json.loads(lines[0])
        except (ValueError, RecursionError):
            pass
    if not isinstance(fields, dict):
        return [without_time(lines[0]), *lines[1:]]
    pairs = [f"{name}={value}" for name, value in itertools.islice(_pairs(fields), MAX_FIELDS)]
    # Without a message the parser gives all of the object.
    message = [] if record.message == json.dumps(fields, default=str)[: len(record.message)] else [record.message]
    head = " ".join([*([f"{record.logger}:"] if record.logger else []), *message, *pairs])
    return [head, *(record.detail.rstrip().split("\n") if record.detail else []), *lines[1:]]


def _pairs(fields: t.Mapping[str, t.Any], prefix: str = "") -> t.Iterator[tuple[str, str]]:
    """Yield name and value of every field that says something more; what is called as a secret is none of anybody's business."""
    for key, value in fields.items():
        name = f"{prefix}{key}"
        if name in _SHOWN_FIELDS or value is None or value in ("", {}, []):
            continue
        if is_secret_name(str(key)):
            yield name, REDACTED
        elif isinstance(value, dict) and prefix.count(".") < 4:
            yield from _pairs(value, f"{name}.")
        elif isinstance(value, str):
            yield name, value if not set(value) & set(" \t\r\n\"'=") else json.dumps(value, ensure_ascii=False)
        else:
            yield name, json.dumps(_without_secrets(value), ensure_ascii=False, default=str)


def _without_secrets(value: t.Any) -> t.Any:
    if isinstance(value, dict):
        return {key: REDACTED if is_secret_name(str(key)) else _without_secrets(item) for key, item in value.items()}
    return [_without_secrets(item) for item in value] if isinstance(value, list) else value


# -- one log -----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Found:
    """What one log gave. *truncated*: there are more such lines further back than were looked at or kept."""

    source: LogSource
    entries: list[Entry] = dataclasses.field(default_factory=list)
    truncated: bool = False
    read_bytes: int = 0
    errors: list[CheckError] = dataclasses.field(default_factory=list)
    #: Of what the engine keeps: the time of the newest line as the engine writes it.
    reached: str = ""
    carried: t.Optional[tuple[float, t.Optional[int]]] = None


@dataclasses.dataclass
class Places:
    """How far the logs were read by the run before: those with files, and those of which the engine gave lines."""

    cursors: Cursors
    times: dict[str, str] = dataclasses.field(default_factory=dict)
    carried: dict[str, tuple[float, t.Optional[int]]] = dataclasses.field(default_factory=dict)
    #: Whether there was a run before. Then all of a log that it did not know is new.
    known: bool = False

    @classmethod
    def from_position(cls, position: t.Optional[t.Mapping[str, t.Any]]) -> Places:
        """Return the places in what the run before returned as ``position``.

        :raises ValueError: it is no such thing.
        """
        if not position:
            return cls(Cursors(""))
        try:
            carried = {str(name): (float(moment), None if level is None else int(level)) for name, (moment, level) in position["records"].items()}
            times = {str(name): str(when) for name, when in position["times"].items()}
            return cls(Cursors.from_state(position["files"]), times, carried, True)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"position is not what an earlier run returned: {error}") from None

    def as_position(self, now: float) -> Facts:
        """Return what a later run goes on from."""
        return {"files": self.cursors.as_state(now), "times": self.times, "records": {name: list(record) for name, record in self.carried.items()}}


class _Reader:
    """Reads one log."""

    def __init__(self, source: LogSource, engine: t.Optional[Engine], options: LinesOptions, redactor: Redactor, places: Places) -> None:
        self.source = source
        self.engine = engine
        self.options = options
        self.redactor = redactor
        self.places = places
        self.found = Found(source)
        zone = zone_of(options.zone or source.zone or "UTC") or datetime.timezone.utc
        self.clock = Clock(zone)
        self.carried = places.carried.get(source.name)

    def read(self) -> Found:
        """Return what is asked for of this log; what cannot be read is an error in it."""
        try:
            if self.source.path is None or not self._try_files(self.source.path):
                self._read_engine()
        except CheckError as error:
            self.found.errors.append(error)
        return self.found

    def _try_files(self, path: str) -> bool:
        if self.source.name in self.places.times:
            return False
        try:
            files = files_of(path)
            with Source(files[-1]):
                pass
        except CheckError as error:
            if self.source.type == "container" and self.engine is not None and error.code in ("permission-denied", "missing"):
                return False
            raise
        resumed = self.places.cursors.resume(self.source.name, files)
        if resumed is None and self.places.known:
            resumed = (0, 0)
        if resumed is not None:
            self._go_on(files[resumed[0] :], resumed[1])
        else:
            self._from_the_end(files)
        return True

    def _collector(self) -> Collector:
        return Collector(self.options, self.clock, self.redactor, self.carried)

    def _keep(self, collector: Collector, fallback_time: float) -> None:
        collector.finish(fallback_time)
        if collector.time is not None:
            self.found.carried = (collector.time, collector.level)

    def _go_on(self, files: t.Sequence[LogFile], offset: int) -> None:
        """Read what is new: the rest of the file that was reached, and those after it."""
        collector = self._collector()
        for number, file in enumerate(files):
            last = number == len(files) - 1
            with Source(file) as source:
                begin = offset if number == 0 else 0
                whole = not last or _at_rest(file)
                held = feed(source.pieces(begin, begin + self.options.max_bytes), collector, whole)
                self.found.read_bytes += source.read_bytes
                if last:
                    self._remember(source, begin + source.read_bytes - (0 if whole else held) - collector.held_bytes())
        self._keep(collector, files[-1].modified)
        self.found.entries, self.found.truncated = collector.entries(), collector.dropped

    def _remember(self, source: Source, offset: int) -> None:
        self.places.cursors.remember(self.source.name, source, max(0, offset))

    def _from_the_end(self, files: t.Sequence[LogFile]) -> None:
        """Read the newest file from its end, and those before it where that is not enough."""
        parts: list[list[Entry]] = []
        wanted, budget = self.options.lines, self.options.max_bytes
        for number, file in enumerate(reversed(files)):
            if number and self.options.since is not None and file.modified < self.options.since - SKEW_SECONDS:
                break
            if wanted <= 0 or budget <= 0:
                self.found.truncated = True
                break
            with Source(file) as source:
                entries, whole = self._tail(source, budget, newest=number == 0)
            parts.insert(0, entries[-wanted:])
            self.found.truncated = self.found.truncated or len(entries) > wanted
            wanted -= len(entries)
            budget = self.options.max_bytes - self.found.read_bytes
            if not whole:
                break
        self.found.entries = [entry for part in parts for entry in part]

    def _tail(self, source: Source, budget: int, newest: bool) -> tuple[list[Entry], bool]:
        """Return what is asked for of one file, and whether its beginning was reached without finding enough."""
        file = source.file
        first, end = (0, None) if file.compressed else self._bounds(source)
        size = budget if end is None else min(FIRST_BYTES, budget)
        last_line = not newest or _at_rest(file)
        while True:
            start = first if end is None else max(first, line_start(source, end - size, end))
            collector = self._collector()
            before = source.read_bytes
            held = feed(source.pieces(start, budget if end is None else end), collector, last_line)
            read = source.read_bytes - before
            self._keep(collector, file.modified)
            since = self.options.since
            reached = start == first > 0 or (since is not None and collector.first_time is not None and collector.first_time < since - SKEW_SECONDS)
            whole = start == 0 and (end is not None or read < budget)
            if whole or collector.dropped or reached or size >= budget:
                break
            size = min(size * GROWTH, budget)
        self.found.read_bytes += read
        if newest and end is not None:
            # Where the window ends before the file does, what follows is none of it and will not be either.
            self._remember(source, file.size if end < file.size else start + read - (0 if last_line else held) - collector.held_bytes())
        self.found.truncated = self.found.truncated or collector.dropped or not (whole or reached)
        return collector.entries(), whole and not reached

    def _bounds(self, source: Source) -> tuple[int, int]:
        """Return from where and up to where to read a plain file: in one that is in order not much more than the window."""
        size, since, until = source.file.size, self.options.since, self.options.until
        if size <= FIRST_BYTES or (since is None and until is None) or not is_ordered(source, size, self._time_of):
            return 0, size
        first = seek(source, since - SKEW_SECONDS, size, self._time_of) if since is not None else 0
        if until is None or source.file.modified < until:
            return first, size
        end = seek(source, until + SKEW_SECONDS, size, self._time_of)
        return first, max(first, line_start(source, min(size, end + SAMPLE_BYTES), size))

    def _time_of(self, line: bytes) -> t.Optional[float]:
        wrapped = unwrap(line) if line[:8] == b'{"log":"' else None
        if wrapped is not None:
            return self.clock.read(wrapped[1])
        record = parse(line, self.clock)
        return record.time if record is not None else None

    def _read_engine(self) -> None:
        """Read what the engine or the journal gives, and of that what came after the newest line of the run before."""
        reached = self.places.times.get(self.source.name, "")
        since = self.clock.read(reached) if reached else self.options.since
        data = lines_of_engine(self.source, self.engine, since or 0.0)
        self.found.read_bytes = len(data)
        collector = self._collector()
        self.found.reached = reached
        for line in data.split(b"\n"):
            wrapped = unwrap(line)
            if wrapped is None or (reached and _order(wrapped[1]) <= _order(reached)):
                continue
            collector.line(line)
            self.found.reached = max(self.found.reached, wrapped[1], key=_order)
        self._keep(collector, time.time())
        self.found.entries, self.found.truncated = collector.entries(), collector.dropped


def _order(when: str) -> str:
    """Return a time such that texts are in the order of times, whatever fractions they have."""
    return when.rstrip("Z")


def _at_rest(file: LogFile) -> bool:
    """Tell whether nobody is writing to *file* now, so that a last line without newline is all there will be of it."""
    return time.time() - file.modified > REST_SECONDS


# -- all logs ----------------------------------------------------------------------------------------------------------


def collect_lines(
    stacks: t.Sequence[Stack], engine: t.Optional[Engine], options: LinesOptions, places: t.Optional[Places] = None, deadline_seconds: float = 30.0
) -> Facts:
    """Return the envelope with the lines of all logs of *stacks* and those at *options.paths* and of *options.units*, merged by time.

    *places* say where to go on, and are brought up to date.
    """
    places = Places.from_position(None) if places is None else places
    redactor = redactor_of(stacks)
    sources = [source for stack in stacks for source in discover_sources(stack, engine)]
    listed, problems = path_sources(options.paths, stacks)
    known = {source.path for source in sources if source.path}
    sources += [source for source in listed if source.path not in known]
    sources += [LogSource(f"journald:{unit}", "journald", unit=unit, driver="journald") for unit in options.units]
    work = {source.name: functools.partial(_Reader(source, engine, options, redactor, places).read) for source in sources}
    logs: list[Facts] = []
    merged: list[tuple[float, Facts]] = []
    for source, outcome in zip(sources, run_side_by_side(work, deadline_seconds).values()):
        found = outcome.value
        if found is None:
            problems.append(_as_problem(source, outcome.error))
            continue
        problems.extend(found.errors)
        if found.reached:
            places.times[source.name] = found.reached
        if found.carried is not None:
            places.carried[source.name] = found.carried
        logs.append({"name": source.name, "project": source.project, "service": source.service, "lines": len(found.entries), "truncated": found.truncated})
        merged.extend((entry.time or 0.0, _line_facts(source, entry)) for entry in found.entries)
    merged.sort(key=lambda pair: pair[0])
    if not sources:
        problems.append(CheckError("logs", "no log was found", "Name the logs with paths."))
    lines = [facts for dummy, facts in merged]
    status = "unknown" if problems else "ok"
    return envelope(
        status,
        f"{len(lines)} lines of {len(logs)} logs" + (f", {len(problems)} could not be read" if problems else ""),
        {"lines": metric(len(lines))},
        [{key: redactor.text(value) for key, value in problem.as_dict().items()} for problem in problems],
        lines=lines,
        logs=logs,
    )


def _as_problem(source: LogSource, error: t.Optional[BaseException]) -> CheckError:
    if isinstance(error, CheckError):
        return CheckError(source.name, error.reason, error.hint or "Ask for fewer lines, or for single services.", error.code)
    return CheckError(source.name, f"{type(error).__name__}: {error}", "This is a defect of the collection: please report it.", "defect")


def _line_facts(source: LogSource, entry: Entry) -> Facts:
    return {
        "time": _stamp(entry.time or 0.0),
        "project": source.project,
        "service": source.service,
        "log": source.name,
        "level": level_name(entry.level) if entry.level is not None else None,
        "text": entry.text,
    }


def _stamp(moment: float) -> str:
    """Return a time with always the same number of digits, so that such texts are in the order of their times."""
    return datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


def check_lines(params: t.Mapping[str, t.Any]) -> Facts:
    """Return what the module ``log_lines`` returns for its parameters.

    :raises ValueError: an option is wrong; the text says which.
    """
    now = time.time()
    options = LinesOptions.from_params(params, now)
    places = Places.from_position(params["position"])
    stacks: list[Stack] = []
    engine: t.Optional[Engine] = None
    problems: list[CheckError] = []
    named = params["project_src"] or params["project_name"] or params["services"] or params["stacks"]
    if params["discover"] if params["discover"] is not None else named or not (options.paths or options.units):
        # Here, because a log at a path needs nothing of Docker.
        from ._discovery import Selection, discover
        from ._engine import Engine as DockerEngine
        from ._engine import EngineOptions

        try:
            engine = DockerEngine.connect(EngineOptions.from_params(params))
            for one in params["stacks"] or [params]:
                stacks.extend(discover(engine, Selection.from_params(one)))
        except CheckError as error:
            problems.append(error)
    facts = collect_lines(stacks, engine, options, places, float(params["deadline"]))
    if problems:
        facts["errors"] = [*(error.as_dict() for error in problems), *(error for error in facts["errors"] if error["source"] != "logs")]
        facts["status"] = "unknown"
        facts["summary"] = facts["summary"] if facts["logs"] else f"the logs could not be looked for: {problems[0].reason}"
    return {**facts, "position": places.as_position(now)}
