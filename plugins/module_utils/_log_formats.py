# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""One log line, whatever wrote it, as a record; and patterns that prove a line harmless without parsing it.

A line is JSON (structlog, python-json-logger, loguru, ECS, PostgreSQL's jsonlog…), logfmt, text with a time or a level in
front (the standard library, uvicorn, gunicorn, nginx, PostgreSQL, redis), an access line in combined format, or none of
these: then it continues the record before it. Any of them may sit in the wrapper of Docker's json-file driver.
"""

from __future__ import annotations

import datetime
import functools
import json
import re
import typing as t

DEBUG, INFO, WARNING, ERROR, CRITICAL = range(5)
LEVEL_NAMES = ("debug", "info", "warning", "error", "critical")
#: More of one line is not looked at; it is far above Docker's 16 KiB pieces.
MAX_LINE_BYTES = 1 << 20
KEPT_LINE_BYTES = 1 << 16

_WORDS = {
    DEBUG: "trace debug debug1 debug2 debug3 debug4 debug5 verbose fine dbg d",
    INFO: "info information notice log success ok default i statement detail hint context query",
    WARNING: "warn warning w",
    ERROR: "error err e severe exception",
    CRITICAL: "critical crit fatal alert emerg emergency panic c f",
}
_LEVELS = {word: level for level, words in _WORDS.items() for word in words.split()}
#: Headers with which PostgreSQL adds to the record before.
_ADDITIONS = frozenset((b"STATEMENT", b"DETAIL", b"HINT", b"CONTEXT", b"QUERY"))

_TIME_KEYS = ("timestamp", "@timestamp", "time", "ts", "asctime", "datetime", "created", "t", "record.time.timestamp", "date")
_LEVEL_KEYS = ("level", "levelname", "log.level", "severity", "lvl", "log_level", "record.level.name", "error_severity", "levelno", "level_number")
_MESSAGE_KEYS = ("message", "event", "msg", "record.message", "log", "text", "error")
_LOGGER_KEYS = ("logger", "name", "log.logger", "logger_name", "record.name", "channel")
_DETAIL_KEYS = ("exception", "exc_info", "error.stack_trace", "traceback", "stack_trace", "stack", "err.stack")
_STATUS_KEYS = ("status", "status_code", "http.response.status_code", "http_status", "response.status", "http.status_code")
_METHOD_KEYS = ("method", "http.request.method", "request.method", "http_method", "request_method")
_PATH_KEYS = ("path", "url.path", "route", "endpoint", "request.path", "uri", "request_uri", "url")
_DURATION_KEYS: t.Mapping[str, float] = {
    "duration_ms": 1, "elapsed_ms": 1, "response_time_ms": 1, "latency_ms": 1, "process_time_ms": 1, "took_ms": 1, "responseTime": 1,
    "duration_us": 1e-3, "duration_ns": 1e-6, "event.duration": 1e-6,
    "duration": 1e3, "duration_s": 1e3, "elapsed": 1e3, "process_time": 1e3, "request_time": 1e3, "duration_seconds": 1e3,
}  # fmt: skip

_UPPER = rb"(?:TRACE|DEBUG\d?|INFO|NOTICE|LOG|SUCCESS|WARN(?:ING)?|ERR(?:OR)?|CRIT(?:ICAL)?|FATAL|ALERT|EMERG|PANIC|SEVERE|STATEMENT|DETAIL|HINT|CONTEXT|QUERY)"
_LOWER = rb"(?:debug|info|notice|warn|warning|error|crit|alert|emerg)"
_AFTER = rb"(?=[\s\]:|)>/,-]|$)"
_ZONE = rb"(?: ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d)\b)?"
_SECONDS = rb":\d\d(?:[.,]\d{1,9})?"
_ISO_MINUTE = rb"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d"
_CLF_MINUTE = rb"\d\d/[A-Z][a-z]{2}/\d{4}[: ]\d\d:\d\d"
#: In a place that was learned anything as long as a minute is taken for one, and read afterwards.
ANY_MINUTE = rb".{16}"
ANY_CLF_MINUTE = rb".{17}"
EPOCH_SECOND = rb"\d{10}"
#: Seconds in so many more characters. A leap second is one of the next minute, and a line cut off there has no level.
SECONDS = rb":[0-5][^\n]{%d}"
_GAP = rb"[\]):,]{0,2}(?:[ \t|]{1,9}(?!" + _UPPER + _AFTER + rb')[^\s|"\\]{1,80}){0,6}?[ \t|]{0,9}[\[(<]?'
_CLF_HEAD = rb"[\w.:%-]{1,64} \S{1,64} \S{1,64} \["
_REQUEST = rb'"([A-Z]{3,10}) ([^" ]{1,4000})[^"]{0,20}" (\d{3})(?![\w])'


class LazyPattern:
    """A pattern that is compiled when it is first asked: of all formats, one log has one or two."""

    def __init__(self, pattern: t.AnyStr, flags: int = 0) -> None:
        self._compile: t.Callable[[], t.Any] = functools.partial(re.compile, pattern, flags)

    def __getattr__(self, name: str) -> t.Any:
        method = getattr(self._compile(), name)
        setattr(self, name, method)
        return method


MINUTE = LazyPattern(_ISO_MINUTE + rb"|" + _CLF_MINUTE + rb"|" + EPOCH_SECOND)
_TIME_FIRST = LazyPattern(rb"[\[(]?((?:" + _ISO_MINUTE + rb"|" + _CLF_MINUTE + rb")" + _SECONDS + _ZONE + rb")")
_LEVEL_LATER = LazyPattern(rb"(" + _GAP + rb")(?:(" + _UPPER + rb")" + _AFTER + rb"|(?<=\[)(" + _LOWER + rb")[ \t]{0,9}\])")
_LEVEL_FIRST = LazyPattern(rb"(" + _UPPER + rb")(?::[ \t]{0,9}|[ \t]{1,9}(?=[\[\d]))(?:((?:" + _ISO_MINUTE + rb")" + _SECONDS + _ZONE + rb")[ \t]+)?")
_CLF = LazyPattern(_CLF_HEAD + rb"(" + _CLF_MINUTE + _SECONDS + _ZONE + rb")\] " + _REQUEST)
_REDIS = LazyPattern(rb"\d{1,7}:[XCSM] (\d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d(?:\.\d{1,6})?) ([.*#-]) ")
_LOGFMT = LazyPattern(r'([A-Za-z_][\w.@-]{0,80})=("(?:[^"\\]|\\.)*"|[^\s"]*)(?=\s|$)')
_ACCESS = LazyPattern(
    r'"([A-Z]{3,10}) ([^" ]{1,4000})[^"]{0,20}" (\d{3})\b'
    r"|\b(GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS) (/\S{0,2000}?):?(?: HTTP/[\d.]{1,4})?(?: (?:[-=]?>|-|:))? (\d{3})\b"
)
_TOOK = LazyPattern(r"(?:\b(?:rt|urt|request_time)[=:]\"?(\d+\.\d+)|\b(\d+(?:\.\d+)?) ?ms\b)")
_ANSI = LazyPattern(rb"\x1b\[[\d;]{0,20}m")
_ISO = re.compile(r"(\d{4}[-/]\d\d[-/]\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s?(Z|UTC|GMT|[+-]\d\d:?\d\d)?")
_DMY = LazyPattern(r"(\d\d)[/ ]([A-Z][a-z]{2})[/ ](\d{4})[: ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?\s?([+-]\d{4})?")
_MONTHS = {name: number for number, name in enumerate(("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1)}
_SALVAGE_LEVEL = LazyPattern(rb'"(?:level|levelname|log\.level|severity)":\s?"(\w{1,12})"')
_SALVAGE_TIME = LazyPattern(rb'"(?:timestamp|@timestamp|time|ts|asctime)":\s?"([^"]{10,40})"')
_DECODER = json.JSONDecoder()
_DOCKER = re.compile(rb'\{"log":"')
TRACEBACK = b"Traceback (most recent call last):"


class Record(t.NamedTuple):
    """One record: *time* in seconds since the epoch (``None`` where the line has none), *level* one of the constants.

    *detail* is the traceback that came with it; the last four are there for requests. *closed* records take no further lines.
    """

    time: t.Optional[float]
    level: t.Optional[int]
    message: str
    logger: t.Optional[str] = None
    detail: str = ""
    status: t.Optional[int] = None
    duration_ms: t.Optional[float] = None
    method: t.Optional[str] = None
    path: t.Optional[str] = None
    closed: bool = False
    kind: str = "text"

    @property
    def severity(self) -> int:
        """The level; where the line names none, that of its HTTP status, else info."""
        if self.level is not None:
            return self.level
        return ERROR if self.status is not None and self.status >= 500 else INFO


def zone_of(name: str) -> t.Optional[datetime.tzinfo]:
    """Return the zone called *name* (``UTC``, ``+08:00`` or an IANA name); ``None`` where this host does not know it."""
    match = re.fullmatch(r"([+-])(\d\d):?(\d\d)", name)
    if match:
        offset = datetime.timedelta(hours=int(match.group(2)), minutes=int(match.group(3)))
        return datetime.timezone(-offset if match.group(1) == "-" else offset)
    if name in ("UTC", "Z", "GMT", "Etc/UTC"):
        return datetime.timezone.utc
    try:
        import zoneinfo

        return zoneinfo.ZoneInfo(name)
    except (ImportError, ValueError, OSError, KeyError):
        return None


@functools.lru_cache(maxsize=512)
def _midnight(year: int, month: int, day: int) -> t.Optional[int]:
    try:
        return (datetime.date(year, month, day).toordinal() - 719163) * 86400
    except ValueError:
        return None


class Clock:
    """Reads times. What has no zone is in *zone* (``None``: is not read); :attr:`assumed` tells whether that was needed."""

    def __init__(self, zone: t.Optional[datetime.tzinfo] = datetime.timezone.utc) -> None:
        self.zone = zone
        self.assumed = False
        self._utc = zone is datetime.timezone.utc

    def read(self, value: t.Any) -> t.Optional[float]:
        """Return seconds since the epoch for a time as text or number (s, ms, µs or ns by magnitude), or ``None``."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1e8 < value < 1e19:
            return None
        while value > 1e11:
            value /= 1000
        return float(value)

    def _text(self, text: str) -> t.Optional[float]:
        match = _ISO.search(text, 0, 64)
        if match:
            date, hour, minute, second, fraction, zone = match.groups()
            midnight = _midnight(int(date[:4]), int(date[5:7]), int(date[8:]))
        else:
            match = _DMY.search(text, 0, 64)
            if not match:
                return self.read(float(text)) if re.fullmatch(r"\d{10,19}(?:\.\d{1,9})?", text) else None
            day, month, year, hour, minute, second, fraction, zone = match.groups()
            midnight = _midnight(int(year), _MONTHS.get(month, 0), int(day))
        if midnight is None or int(hour) > 24 or int(minute) > 59:
            return None
        moment = midnight + int(hour) * 3600 + int(minute) * 60 + int(second or 0) + (float("0." + fraction) if fraction else 0.0)
        if zone is None:
            return self._assume(moment)
        if zone[0] in "+-":
            offset = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
            return moment - offset if zone[0] == "+" else moment + offset
        return moment

    def _assume(self, moment: float) -> t.Optional[float]:
        if self.zone is None:
            return None
        self.assumed = True
        if self._utc:
            return moment
        local = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=moment)
        return local.replace(tzinfo=self.zone).timestamp()


def level_of(value: t.Any, key: str = "") -> t.Optional[int]:
    """Return the level that *value* under *key* names; numbers are Python's, syslog's or those of bunyan and pino."""
    if isinstance(value, str):
        return _LEVELS.get(value.strip().lower())
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if value < 8:
        return (CRITICAL, CRITICAL, CRITICAL, ERROR, WARNING, INFO, INFO, DEBUG)[max(0, int(value))]
    rank = int(value // 10) - (1 if key in ("levelno", "level_number") else 2)
    return min(max(rank, DEBUG), CRITICAL)


def unwrap(line: bytes) -> t.Optional[tuple[bytes, str, str]]:
    """Return what a line of Docker's json-file driver carries, its time and its stream; ``None`` where it is no such line.

    What does not end in a newline is a piece (of 16 KiB) of a longer line.
    """
    if not _DOCKER.match(line):
        return None
    record = _loads(line)
    try:
        return record["log"].encode("utf-8", "replace"), record["time"], record.get("stream", "")
    except (KeyError, TypeError, AttributeError):
        return None


def parse(line: bytes, clock: Clock) -> t.Optional[Record]:
    """Return the record that *line* (without wrapper) is or begins, or ``None`` where it begins none."""
    line = line.strip(b"\r\n\0")
    if b"\x1b[" in line:
        line = _ANSI.sub(b"", line)
    first = line[:1]
    if first == b"{":
        return _parse_json(line, clock)
    if first in b"0123456789[(":
        match = _TIME_FIRST.match(line)
        if match:
            return _time_first(line, match, clock)
    match = _CLF.match(line)
    if match:
        when, method, path, status = (part.decode("utf-8", "replace") for part in match.groups())
        took = _TOOK.search(line[match.end() :].decode("utf-8", "replace"))
        message = f"{method} {path} {status}"
        duration = _took_ms(took)
        return Record(clock.read(when), None, message, None, "", int(status), duration, method, path, True, "access")
    match = _LEVEL_FIRST.match(line)
    if match and match.group(1) not in _ADDITIONS:
        when = clock.read(match.group(2).decode()) if match.group(2) else None
        return _text_record(when, match.group(1), line[match.end() :], None)
    match = _REDIS.match(line)
    if match:
        level = {b".": DEBUG, b"#": WARNING}.get(match.group(2), INFO)
        return Record(clock.read(match.group(1).decode()), level, line[match.end() :].decode("utf-8", "replace"))
    if b"=" in line and (b"level=" in line or b"lvl=" in line or b"severity=" in line):
        return _parse_logfmt(line, clock)
    return None


def without_time(line: str) -> str:
    """Return *line* without the time that it begins with."""
    match = _TIME_FIRST.match(line.encode("utf-8", "replace")) if line[:1] in tuple("0123456789[(") else None
    # A time has one byte for each character.
    return line[match.end() :].lstrip(" \t|:,-])") if match else line


def _time_first(line: bytes, match: t.Match[bytes], clock: Clock) -> t.Optional[Record]:
    when = clock.read(match.group(1).decode())
    later = _LEVEL_LATER.match(line, match.end())
    if later is None:
        return _text_record(when, b"", line[match.end() :].lstrip(b" \t|:-])"), None)
    word = later.group(2) or later.group(3)
    if word in _ADDITIONS:
        return None
    words = [part for part in later.group(1).split() if part.strip(b"-[](<:|,.") and not part.strip(b"[](),#:").isdigit()]
    logger = words[-1].strip(b"[]():,").decode("utf-8", "replace") if words else None
    return _text_record(when, word, line[later.end() :].lstrip(b" \t|:-])>/"), logger)


def _text_record(when: t.Optional[float], word: bytes, rest: bytes, logger: t.Optional[str]) -> Record:
    message = rest[:KEPT_LINE_BYTES].decode("utf-8", "replace").strip()
    if logger is None:
        name = re.match(r"\[?([A-Za-z_][\w.]{1,80})\]?(?: - |: |:(?=\S)|\] )", message)
        if name and word:
            logger, message = name.group(1), message[name.end() :].strip() or message
    return _with_request(Record(when, _LEVELS.get(word.decode().lower()) if word else None, message, logger))


def _with_request(record: Record) -> Record:
    """Read method, path, status and time taken from a message that is an access line."""
    text = record.message
    if '"' not in text and " /" not in text:
        return record
    match = _ACCESS.search(text, 0, 4096)
    if not match:
        return record
    method, path, status = match.group(1, 2, 3) if match.group(1) else match.group(4, 5, 6)
    return record._replace(status=int(status), method=method, path=path, duration_ms=_took_ms(_TOOK.search(text, match.end(), match.end() + 400)))


def _took_ms(match: t.Optional[t.Match[str]]) -> t.Optional[float]:
    if not match:
        return None
    return float(match.group(1)) * 1000 if match.group(1) else float(match.group(2))


def _parse_logfmt(line: bytes, clock: Clock) -> t.Optional[Record]:
    pairs = _LOGFMT.findall(line[:KEPT_LINE_BYTES].decode("utf-8", "replace"))
    fields: dict[str, t.Any] = {}
    for key, value in pairs:
        if value[:1] == '"':
            value = value[1:-1].replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")
        fields[key] = value
    record = _of_fields(fields, clock)
    return record._replace(kind="logfmt") if record.level is not None and len(fields) > 1 else None


def _loads(line: bytes) -> t.Any:
    """Return what JSON *line* holds, ``None`` where it is none. Less ado than :func:`json.loads`, for it is called often."""
    text = line.decode("utf-8", "replace")
    try:
        value, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return value if end == len(text) or not text[end:].strip() else None


def _parse_json(line: bytes, clock: Clock) -> t.Optional[Record]:
    if len(line) <= MAX_LINE_BYTES:
        fields = _loads(line)
        if isinstance(fields, dict):
            return _of_fields(fields, clock)
    # Cut off in the middle of writing, or too long to be opened: what stands in front is still good.
    line = line[:KEPT_LINE_BYTES]
    level, when = _SALVAGE_LEVEL.search(line), _SALVAGE_TIME.search(line)
    if not level or not when:
        return None
    text = line[:300].decode("utf-8", "replace")
    return Record(clock.read(when.group(1).decode("utf-8", "replace")), level_of(level.group(1).decode()), text, closed=True, kind="json")


def _get(fields: t.Mapping[str, t.Any], key: str) -> t.Any:
    value = fields.get(key)
    if value is None and "." in key:
        value = fields
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    return value


def _first(fields: t.Mapping[str, t.Any], keys: t.Iterable[str], read: t.Callable[[t.Any, str], t.Any]) -> t.Any:
    for key in keys:
        value = fields.get(key)
        if value is None and "." in key:
            value = _get(fields, key)
        if value is not None:
            value = read(value, key)
            if value is not None:
                return value
    return None


def _as_text(value: t.Any, dummy: str) -> t.Optional[str]:
    return value if isinstance(value, str) else None


def _as_status(value: t.Any, dummy: str) -> t.Optional[int]:
    try:
        number = int(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else 0
    except ValueError:
        return None
    return number if 100 <= number <= 599 else None


def _as_ms(value: t.Any, key: str) -> t.Optional[float]:
    try:
        number = float(value) * _DURATION_KEYS[key] if isinstance(value, (int, float, str)) and not isinstance(value, bool) else -1.0
    except ValueError:
        return None
    return number if 0 <= number < 1e9 else None


def _as_detail(value: t.Any, dummy: str) -> t.Optional[str]:
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        # structlog's dict_tracebacks: frames with their locals (secrets), of which only the exception is wanted.
        parts = [part for part in value[-3:] if isinstance(part, dict)]
        return "\n".join(f"Traceback (most recent call last):\n{part.get('exc_type')}: {part.get('exc_value')}" for part in parts)
    return value if isinstance(value, str) and value else None


_ROLES: tuple[tuple[str, ...], ...] = (
    _TIME_KEYS, _LEVEL_KEYS, _MESSAGE_KEYS, _LOGGER_KEYS, _DETAIL_KEYS, _STATUS_KEYS, tuple(_DURATION_KEYS), _METHOD_KEYS, _PATH_KEYS
)  # fmt: skip


@functools.lru_cache(maxsize=256)
def _plan(names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Return for every role the keys that an object with these *names* can have, best first."""
    known = frozenset(names)
    return tuple(tuple(key for key in keys if key in known or ("." in key and key.partition(".")[0] in known)) for keys in _ROLES)


def _of_fields(fields: dict[str, t.Any], clock: Clock) -> Record:
    times, levels, messages, loggers, details, statuses, durations, methods, paths = _plan(tuple(fields))
    message = _first(fields, messages, _as_text)
    detail = (_first(fields, details, _as_detail) or "") if details else ""
    if detail and isinstance(fields.get("error"), dict) and "type" in fields["error"]:
        # ECS keeps the last line of a traceback apart from it.
        detail = f"{TRACEBACK.decode()}\n{detail}{fields['error']['type']}: {fields['error'].get('message')}"
    if not detail and isinstance(fields.get("record"), dict) and fields["record"].get("exception"):
        detail = _as_text(fields.get("text"), "") or ""
    if message is None:
        message = json.dumps(fields, default=str)[:2000]
    level = _first(fields, levels, level_of)
    if level is None and detail:
        level = ERROR
    when = None
    for key in times:
        when = clock.read(_get(fields, key))
        if when is not None:
            break
    logger = _first(fields, loggers, _as_text) if loggers else None
    status = _first(fields, statuses, _as_status) if statuses else None
    if status is None:
        record = Record(when, level, message, logger, detail, None, None, None, None, True, "json")
        return _with_request(record) if " HTTP/" in message else record
    duration = _first(fields, durations, _as_ms)
    return Record(when, level, message, logger, detail, status, duration, _first(fields, methods, _as_text), _first(fields, paths, _as_text), True, "json")


# ---- patterns that prove lines harmless

_TOKEN = LazyPattern(r'\s*("(?:[^"\\]|\\.)*"|[-\d.eE+]+|true|false|null|[{}\[\]:,])')


class Layout(t.NamedTuple):
    """How lines of one writer begin, up to their time and level: *before* and *after* the minute, as regular expressions.

    *minute* stands for the minute (for epoch times, the second); *zone* is the text that ends the time, the same in all lines.
    *request* finds duration (may be missing), status, method and path, in the order of *request_groups*; *request_mark* stands
    once in every line that has a status.
    """

    before: bytes
    minute: bytes
    after: bytes
    zone: str = ""
    closed: bool = False
    request: bytes = b""
    request_groups: tuple[str, ...] = ()
    request_mark: bytes = b""


def learn(line: bytes, clock: Clock) -> t.Optional[Layout]:
    """Return the layout of *line*, if it is a record below warning, and its time and level stand where they can be found."""
    wrapped = unwrap(line)
    payload = wrapped[0] if wrapped else line
    record = parse(payload, clock)
    if record is None or record.severity >= WARNING or b"\x1b[" in payload:
        return None
    if record.kind == "json":
        layout = _learn_json(payload, clock, bool(wrapped))
    elif wrapped and record.time is None or record.kind not in ("text", "access"):
        layout = None
    else:
        layout = _learn_text(payload, record)
    if layout is None or not wrapped:
        return layout
    return layout._replace(before=rb'\{"log":"' + layout.before)


def _learn_text(line: bytes, record: Record) -> t.Optional[Layout]:
    if record.kind == "access":
        match = re.compile(_CLF_HEAD + rb"(" + _CLF_MINUTE + rb")" + _SECONDS + rb"( [+-]\d{4})\] ").match(line)
        if not match:
            return None
        quoted = rb'\] \\?"([A-Z]{3,10}) ([^"\\\s]{1,4000})[^"\\\n]{0,20}\\?" '
        after = rb":[0-5]\d" + re.escape(match.group(2)) + quoted.replace(b"(", b"(?:") + rb"[1-4]\d\d(?!\w)"
        request = quoted + rb"(\d{3})(?!\w)(?![^\n]{0,400}(?:\b(?:rt|urt|request_time)[=:]|\d ?ms\b))"
        return Layout(_CLF_HEAD, ANY_CLF_MINUTE, after, match.group(2).decode(), True, request, ("method", "path", "status"))
    match = re.compile(rb"([\[(]?)(" + _ISO_MINUTE + rb")" + _SECONDS + rb"(" + _ZONE + rb")").match(line)
    later = _LEVEL_LATER.match(line, match.end()) if match else None
    if not match or not later:
        return None
    level = later.group(2) or later.group(3)
    word = level + (_AFTER if later.group(2) else rb"[ \t]{0,9}\]")
    # Behind the time no zone may follow other than this one: the same digits would mean another moment.
    after = rb":[0-5]\d[\d.,]{0,11}" + re.escape(match.group(3)) + rb"(?! ?(?:Z|UTC|GMT|[+-]\d\d))" + _gap_like(later.group(1)) + word
    return Layout(re.escape(match.group(1)), ANY_MINUTE, after, match.group(3).decode())


def _gap_like(gap: bytes) -> bytes:
    """Return a pattern for what stands between time and level in lines like the one with *gap*: as many words, any but levels."""
    tokens = re.findall(rb"[ \t|]+|[^ \t|]+", gap)
    word = rb"(?!(?=[A-Z])" + _UPPER + _AFTER + rb')[^\s|"\\]{1,80}'
    return b"".join(word if 0 < number < len(tokens) - 1 and token.strip(b" \t|") else re.escape(token) for number, token in enumerate(tokens))


def _spans(text: str) -> t.Iterator[tuple[str, int, int]]:
    """Yield the dotted path and the extent of every scalar of a JSON object, until the first list."""
    keys: list[str] = []
    key: t.Optional[str] = None
    position = 0
    while True:
        match = _TOKEN.match(text, position)
        if not match:
            return
        position, token = match.end(), match.group(1)
        if token == "{":
            if key is not None:
                keys.append(key)
            key = None
        elif token == "}":
            if not keys:
                return
            keys.pop()
            key = None
        elif token == "[":
            return
        elif token in ":,":
            key = key if token == ":" else None
        elif key is None:
            key = token[1:-1]
        else:
            yield ".".join([*keys, key]), match.start(1), match.end(1)


def _learn_json(payload: bytes, clock: Clock, wrapped: bool) -> t.Optional[Layout]:
    try:
        text = payload.decode("utf-8")
        fields = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    time_key = next((key for key in _TIME_KEYS if clock.read(_get(fields, key)) is not None), None)
    level_key = next((key for key in _LEVEL_KEYS if level_of(_get(fields, key), key) is not None), None)
    if time_key is None or level_key is None:
        return None
    quote = rb'\\"' if wrapped else rb'"'
    request = {
        key: name
        for name, keys in (("status", _STATUS_KEYS), ("duration", tuple(_DURATION_KEYS)), ("method", _METHOD_KEYS), ("path", _PATH_KEYS))
        for key in keys[::-1]
        if _get(fields, key) is not None
    }
    wanted = {next(key for key in reversed(request) if request[key] == name): name for name in set(request.values())}
    head: list[bytes] = []
    parts: t.Optional[tuple[bytes, bytes, bytes, str]] = None
    before = after = b""
    asked: list[bytes] = []
    groups: list[str] = []
    done, level_seen = 0, False
    for path, start, end in _spans(text):
        literal, value, done = _literal(text[done:start], wrapped), text[start:end], end
        general = _general(value, quote)
        if path == time_key:
            parts = _time_parts(value, quote)
            if parts is None:
                return None
            before, head = b"".join([*head, literal, parts[0]]), [parts[2]]
        else:
            level_seen = level_seen or path == level_key
            head.append(literal + (_literal(value, wrapped) if path == level_key else general))
        if parts and level_seen and not after:
            after = b"".join(head) + (b"" if head[-1].endswith(b'"') else rb"[,} ]")
        if path in wanted:
            asked.append(literal.lstrip(rb",\ ") if not asked else literal)
            asked.append(general.replace(b"[", b"([", 1).replace(b"}", b"})", 1) if b"[" in general else b"(" + general + b")")
            groups.append(wanted[path])
        elif asked:
            asked.append(literal + general)
    if parts is None or not after:
        return None
    layout = Layout(before, parts[1], after, parts[3], True)
    if "status" not in groups or len(groups) < len(wanted):
        return layout
    scale = next((str(_DURATION_KEYS[key]) for key, name in wanted.items() if name == "duration"), "1")
    while asked and b"(" not in asked[-1]:
        asked.pop()
    mark = next(key for key, name in wanted.items() if name == "status").rsplit(".", 1)[-1]
    return layout._replace(
        request=b"".join(asked) + rb"(?=[,} \\])",
        request_groups=tuple(f"duration*{scale}" if name == "duration" else name for name in groups),
        request_mark=json.dumps(mark).encode() if not wrapped else json.dumps(json.dumps(mark))[1:-1].encode(),
    )


def learn_whole(line: bytes, clock: Clock) -> t.Optional[tuple[bytes, str]]:
    """Return a pattern for all of a JSON *line*, with the groups ``time``, ``level`` and ``message``, and its zone.

    What it matches is JSON with just these keys, in which nothing but those three decides what the line counts for, and a
    time in the zone of this one (which is not part of the group).
    """
    try:
        text = line.decode("utf-8")
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    times, levels, messages, dummy, details, *dummies = _plan(tuple(fields))
    time_key = next((key for key in times if clock.read(_get(fields, key)) is not None), None)
    level_key = next((key for key in levels if level_of(_get(fields, key), key) is not None), None)
    message_key = next((key for key in messages if isinstance(_get(fields, key), str)), None)
    if None in (time_key, level_key, message_key) or any(_get(fields, key) for key in details):
        return None
    names = {time_key: b"time", level_key: b"level", message_key: b"message"}
    pieces, done, zone = [], 0, ""
    for path, start, end in _spans(text):
        value = text[start:end]
        pieces.append(_literal(text[done:start], False))
        done = end
        parts = _time_parts(value, b'"') if path == time_key and value[0] == '"' else None
        if parts is not None:
            zone = parts[3]
            pieces.append(rb'"(?P<time>.{16}:[0-5]\d(?:[.,]\d{1,9})?)' + re.escape(parts[3]).encode() + b'"')
        elif value[0] == '"':
            plain = rb"[\]-\xff#-\[ !]*"
            inside = plain + (rb'(?:\\["\\/bfnrt]%s)*' % plain if path == message_key else b"")
            pieces.append(b'"(?P<%s>%s)"' % (names[path], inside) if path in names else b'"' + inside + b'"')
        elif path in names:
            pieces.append(b"(?P<%s>%s)" % (names[path], rb"\d+(?:\.\d+)?" if value[0].isdigit() else value.encode()))
        else:
            # A number that JSON would not take makes no difference to what the line counts for.
            pieces.append(rb"-?\d[\d.eE+-]*" if value[0] in "-0123456789" else value.encode())
    if not re.fullmatch(r"[}\s]*", text[done:]) or len(pieces) > 200:
        return None
    return b"".join(pieces) + _literal(text[done:].rstrip(), False) + rb"\r?", zone


def _general(value: str, quote: bytes) -> bytes:
    if value[0] == '"':
        return quote + rb'[^"\\\n]{0,4000}' + quote
    return rb"[-\d.eE+]{1,30}" if value[0] in "-0123456789" else value.encode()


def _literal(text: str, wrapped: bool) -> bytes:
    return re.escape(json.dumps(text)[1:-1] if wrapped else text).encode("utf-8")


def _time_parts(value: str, quote: bytes) -> t.Optional[tuple[bytes, bytes, bytes, str]]:
    """Return the patterns before, of and after the minute of a JSON time, and its zone."""
    match = re.fullmatch(r'"(\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d):\d\d(?:[.,]\d{1,9})?((?: ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d))?)"', value)
    if match:
        # As many characters as here: where their number varies, each number is a layout of its own.
        seconds = len(value) - 2 - 16 - 1 - len(match.group(2))
        return quote, ANY_MINUTE, SECONDS % (seconds - 1) + re.escape(match.group(2)).encode() + quote, match.group(2)
    match = re.fullmatch(r"(\d{10})(\d{3}|\d{6}|\d{9})?((?:\.\d+)?)", value)
    if match:
        return b"", EPOCH_SECOND, (rb"\d{%d}" % len(match.group(2) or "")) + rb"(?:\.\d{1,9})?(?=[,}])", ""
    return None
