# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""How many errors a stack's logs have in a window of time, which, and which are new; and how its requests fare."""

from __future__ import annotations

import dataclasses
import os
import re
import time
import typing as t

from ._app_errors import classify_text
from ._envelope import CheckError, Thresholds, envelope, metric, rfc3339, worst
from ._log_files import SAMPLE_BYTES, LogFile, Source, expand, feed, files_of, is_ordered, line_start, seek
from ._log_formats import CRITICAL, ERROR, WARNING, Clock, zone_of
from ._log_requests import RequestTally
from ._log_scan import Assembler, Group, Period, Scanner, Tally, level_name
from ._log_sources import LogSource, discover_sources, lines_of_engine, lines_of_journal
from ._redaction import Redactor

if t.TYPE_CHECKING:
    from ._discovery import Stack
    from ._engine import Engine
    from ._log_cursor import Cursors

Facts = dict[str, t.Any]

MAX_SHOWN_GROUPS = 50
MAX_SAMPLE_CHARACTERS = 500
SKEW_SECONDS = 5.0
#: From here on a log's clock is another one than the host's.
CLOCK_SECONDS = 600.0
_ZONE_LEEWAY_SECONDS = 120.0
#: Formats without a learned beginning are read this much slower, and so this much less of them.
SLOWNESS = 4

_MOST = 0.75

_TEXT_BYTES = bytes([9, 10, 12, 13, 27, *range(32, 256)])
_HINTS = {
    "unparsable": "Look at the log's format: no line of it names a level. Let the application log JSON with a time and a level.",
    "binary": "This is no text log: leave it out, or name the logs to read with paths.",
    "empty": "Nothing was ever written to it: look whether the application logs somewhere else.",
}


@dataclasses.dataclass(frozen=True)
class LogOptions:
    """What to count. *since* and *until* (seconds since the epoch) win over *window_seconds*, which ends now.

    *errors* counts errors at or above a level in the window, *percent* is their share of the records (where there are at
    least *minimum_records*), *per_minute* their number per minute. *zone* is that of times without one. Where reading goes on from
    where it ended before, what is new counts whatever its time, or from *oldest* on.
    """

    window_seconds: float = 3600.0
    slow_request_ms: float = 1000.0
    paths: tuple[str, ...] = ()
    since: t.Optional[float] = None
    until: t.Optional[float] = None
    whole: bool = False
    baseline: bool = True
    requests: bool = True
    minimum_level: int = ERROR
    minimum_records: int = 50
    errors: Thresholds = Thresholds(11, None)
    percent: Thresholds = Thresholds(None, None)
    per_minute: Thresholds = Thresholds(None, None)
    zone: str = ""
    max_bytes: int = 256 << 20
    units: tuple[str, ...] = ()
    state_file: t.Optional[str] = None
    check_mode: bool = False
    oldest: t.Optional[float] = None


@dataclasses.dataclass
class _Result:
    """What was read of one source."""

    source: LogSource
    tally: Tally
    format: t.Optional[str] = None
    paths: list[str] = dataclasses.field(default_factory=list)
    read_bytes: int = 0
    truncated: bool = False
    reason: t.Optional[str] = None
    reached_back: bool = False
    clock_offset_seconds: t.Optional[float] = None
    assumptions: list[str] = dataclasses.field(default_factory=list)
    errors: list[CheckError] = dataclasses.field(default_factory=list)


def collect_logs(
    stacks: t.Sequence[Stack], engine: t.Optional[Engine], options: LogOptions, cursors: t.Optional[Cursors] = None, now: t.Optional[float] = None
) -> tuple[Facts, Facts]:
    """Return the envelopes ``logs`` and ``requests`` over all logs of *stacks* and those at *options.paths*.

    Where paths are given, of the stacks only the containers' own logs are read beside them. With *cursors* only what is new
    is read, and they remember how far; keeping them is the caller's.
    """
    sources: list[LogSource] = []
    for stack in stacks:
        found = discover_sources(stack, engine)
        sources.extend(source for source in found if not options.paths or source.type == "container")
    listed, errors = path_sources(options.paths, stacks)
    sources.extend(listed)
    sources.extend(LogSource(f"journald:{unit}", "journald", unit=unit) for unit in options.units)
    return analyse(sources, engine, options, now, errors, cursors)


def check_logs(params: t.Mapping[str, t.Any], check_mode: bool = False) -> Facts:
    """Return what the module ``log_error_rate`` returns for its *params*.

    :raises ValueError: an option is no time, window or zone.
    """
    options = _options(params, check_mode)
    stacks: list[Stack] = []
    engine: t.Optional[Engine] = None
    problems: list[CheckError] = []
    if not (options.paths or options.units) or params["project_src"] or params["project_name"] or params["services"]:
        # Here, because a log at a path needs nothing of Docker.
        from ._discovery import Selection, discover
        from ._engine import Engine as DockerEngine
        from ._engine import EngineOptions

        try:
            engine = DockerEngine.connect(EngineOptions.from_params(params))
            stacks = discover(engine, Selection.from_params(params))
        except CheckError as error:
            problems.append(error)
    logs, requests = collect_logs(stacks, engine, options)
    if problems:
        logs["errors"] = [*(error.as_dict() for error in problems), *(error for error in logs["errors"] if error["source"] != "logs")]
        logs["status"] = worst([logs["status"], "unknown"])
    return {**logs, "requests": requests if options.requests else None}


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _options(params: t.Mapping[str, t.Any], check_mode: bool) -> LogOptions:
    whole = str(params["window"]).strip() == "all"
    window = 0.0 if whole else window_seconds(params["window"], "'all' or a time span")
    zone = params["timezone"] or ""
    if zone and zone_of(zone) is None:
        raise ValueError(f"timezone must be UTC, an offset as +08:00 or a name that the target knows, not {zone!r}")
    since, until = (moment_of(params, name, zone) for name in ("since", "until"))
    if since is not None and until is not None and since >= until:
        raise ValueError("since must be before until")
    return LogOptions(
        window_seconds=window,
        slow_request_ms=params["slow_request_ms"],
        paths=tuple(params["paths"]),
        since=since,
        until=until,
        whole=whole and since is None,
        baseline=params["baseline"],
        requests=params["requests"],
        minimum_level={"warning": WARNING, "error": ERROR, "critical": CRITICAL}[params["level"]],
        minimum_records=params["min_records"],
        errors=Thresholds(params["errors_warning"], params["errors_critical"]),
        percent=Thresholds(params["error_percent_warning"], params["error_percent_critical"]),
        per_minute=Thresholds(params["errors_per_minute_warning"], params["errors_per_minute_critical"]),
        zone=zone,
        max_bytes=max(1 << 20, params["max_bytes"]),
        units=tuple(params["units"]),
        state_file=params["state_file"],
        check_mode=check_mode,
    )


def window_seconds(window: t.Any, allowed: str = "a time span") -> float:
    """Return the seconds of a time span as ``15m``.

    :raises ValueError: it is none; the text says what is *allowed*.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([smhd]?)", str(window).strip())
    if not match or not float(match[1]):
        raise ValueError(f"window must be {allowed} as 90s, 15m, 1h or 3d, not {str(window).strip()!r}")
    return float(match[1]) * _UNITS[match[2] or "s"]


def moment_of(params: t.Mapping[str, t.Any], name: str, zone: str) -> t.Optional[float]:
    """Return the option *name* of *params*, a time or a date, as seconds since the epoch; what has no zone is in *zone*, or UTC.

    :raises ValueError: it is none.
    """
    text = params[name]
    if text is None:
        return None
    date = re.fullmatch(r"\d{4}-\d\d-\d\d", text)
    moment = Clock(zone_of(zone or "UTC")).read(text + "T00:00:00" if date else text)
    if moment is None:
        raise ValueError(f"{name} must be a time as 2026-11-23T10:00:00Z, not {text!r}")
    return moment


def path_sources(paths: t.Sequence[str], stacks: t.Sequence[Stack] = ()) -> tuple[list[LogSource], list[CheckError]]:
    """Return the logs at paths, globs and directories, with their service where it is a mount of one."""
    bases, errors = expand(paths)
    mounted = [
        (str(mount["source"]).rstrip("/") + "/", container)
        for stack in stacks
        for container in stack.containers
        for mount in container.mounts
        if mount["source"] and mount["type"] in ("bind", "volume")
    ]
    sources = []
    for base in bases:
        owner = next((container for prefix, container in mounted if base.startswith(prefix) or base + "/" == prefix), None)
        sources.append(
            LogSource(base, "file", base, owner.project, owner.service, zone=owner.env.get("TZ") or None) if owner else LogSource(base, "file", base)
        )
    return sources, errors


def analyse(
    sources: t.Sequence[LogSource],
    engine: t.Optional[Engine],
    options: LogOptions,
    now: t.Optional[float] = None,
    errors: t.Sequence[CheckError] = (),
    cursors: t.Optional[Cursors] = None,
) -> tuple[Facts, Facts]:
    """Read *sources* once and return the envelopes ``logs`` and ``requests`` as the facts schema has them."""
    now = time.time() if now is None else now
    problems = list(errors)
    state_file = options.state_file if cursors is None else None
    if state_file:
        # Here, because few runs need it, and this one should be over before it is noticed.
        from ._log_cursor import Cursors as StateFile

        cursors = StateFile.load(state_file, problems)
    end = options.until if options.until is not None else now
    start = 0.0 if options.whole else options.since if options.since is not None else end - options.window_seconds
    if cursors is not None and cursors.saved_at is not None and options.since is None and not options.whole:
        start = min(cursors.saved_at, end)
    results = [_read(source, engine, options, start, end, cursors) for source in sources]
    if cursors is not None and state_file and not options.check_mode:
        cursors.save(now, problems)
    for result in results:
        problems.extend(result.errors)
    return _logs_envelope(results, options, start, end, now, problems), _requests_envelope(results, options, start, end, problems)


def _read(source: LogSource, engine: t.Optional[Engine], options: LogOptions, start: float, end: float, cursors: t.Optional[Cursors]) -> _Result:
    finite = options.baseline and not options.whole and cursors is None
    tally = Tally(start, end, start - (end - start) if finite else None, RequestTally(options.slow_request_ms) if options.requests else None)
    if cursors is not None and cursors.knows(source.name):
        # What was not read before counts now.
        tally.window.start, tally.baseline.start = options.oldest or 0.0, 0.0
        tally.baseline.end = 0.0
        tally.window.end = float("inf") if options.until is None else end
    result = _Result(source, tally)
    zone_name = options.zone or source.zone or "UTC"
    zone = zone_of(zone_name)
    if zone is None:
        result.assumptions.append(f"this host does not know the zone {zone_name}: times without a zone are taken as UTC")
        zone, zone_name = zone_of("UTC"), "UTC"
    clock = Clock(zone)
    assembler = Assembler(clock, tally)
    scanner = Scanner(assembler)
    try:
        if source.path is None or not _try_files(source, engine, result, scanner, options, cursors):
            _read_lines(source, engine, result, scanner)
        scanner.finish()
    except CheckError as error:
        result.reason = error.code if error.code in ("missing", "permission-denied", "driver-unreadable", "timeout", "binary", "empty") else "driver-unreadable"
        # A program that has said nothing yet is no trouble with reading its log.
        if (error.code, source.type) != ("empty", "container"):
            result.errors.append(error)
    if tally.first_time is not None and tally.first_time <= tally.baseline.start:
        result.reached_back = True
    if clock.assumed:
        result.assumptions.append(f"its times have no zone: taken as {zone_name}")
    if tally.untimed:
        result.assumptions.append(f"{tally.untimed} lines without a time have that of the line before, or of the file's last change")
    if scanner.formats:
        result.format = scanner.formats.most_common(1)[0][0]
    return result


def _try_files(source: LogSource, engine: t.Optional[Engine], result: _Result, scanner: Scanner, options: LogOptions, cursors: t.Optional[Cursors]) -> bool:
    """Read the files of a log; ``False`` where they are not for us to read, but the engine may give them."""
    try:
        _read_files(source, source.path or "", result, scanner, options, cursors)
    except CheckError as error:
        if source.type == "container" and engine is not None and error.code in ("permission-denied", "missing"):
            return False
        raise
    return True


def _read_lines(source: LogSource, engine: t.Optional[Engine], result: _Result, scanner: Scanner) -> None:
    since = result.tally.baseline.start
    data = lines_of_journal(source, since) if source.type == "journald" else lines_of_engine(source, engine, since)
    result.read_bytes, result.reached_back = len(data), True
    scanner.learn(data[:SAMPLE_BYTES].split(b"\n"))
    feed([data], scanner)


@dataclasses.dataclass
class _Region:
    """A part of one file that is to be read."""

    source: Source
    start: int
    end: t.Optional[int]


def _read_files(source: LogSource, path: str, result: _Result, scanner: Scanner, options: LogOptions, cursors: t.Optional[Cursors]) -> None:
    files = files_of(path)
    if not any(file.size for file in files):
        raise CheckError(source.name, "the log is empty", _HINTS["empty"], "empty")
    tally = result.tally
    start_at = cursors.resume(source.name, files) if cursors is not None else None
    if start_at is None:
        earliest = min(tally.window.start, tally.baseline.start) - SKEW_SECONDS
        wanted = [file for file in files if file.modified >= earliest and file.size]
        result.reached_back = len(wanted) < len([file for file in files if file.size])
    else:
        wanted = files[start_at[0] :]
    opened: list[Source] = []
    try:
        regions = _regions(wanted, files, result, scanner, opened, options, start_at[1] if start_at else None)
        reached: t.Optional[tuple[Source, int]] = None
        for number, region in enumerate(regions):
            if scanner.assembler.time is None or number and tally.untimed:
                scanner.assembler.time = region.source.file.modified
            last = number == len(regions) - 1
            held = 0
            try:
                held = feed(region.source.pieces(region.start, region.end), scanner, last_line=not (last and cursors is not None))
            except CheckError as error:
                result.errors.append(error)
            result.read_bytes += region.source.read_bytes
            if last and cursors is not None:
                held += scanner.assembler.drop_pieces()
            offset = region.start + region.source.read_bytes - held
            # An empty file has nothing to be known by: then the one before it says how far reading got.
            if offset or reached is None:
                reached = (region.source, offset)
        if cursors is not None and reached is not None:
            cursors.remember(source.name, *reached)
    finally:
        for entry in opened:
            entry.__exit__()


def _regions(
    wanted: list[LogFile],
    files: list[LogFile],
    result: _Result,
    scanner: Scanner,
    opened: list[Source],
    options: LogOptions,
    first_offset: t.Optional[int],
) -> list[_Region]:
    """Return what to read of which file, oldest first; where the bound is hit, the oldest is left out."""
    regions: list[_Region] = []
    budget = options.max_bytes
    for number, file in reversed(list(enumerate(wanted))):
        if budget <= 0:
            result.truncated = True
            break
        try:
            source = Source(file)
        except CheckError as error:
            if file is files[-1]:
                raise
            result.errors.append(error)
            continue
        opened.append(source)
        result.paths.insert(0, file.path)
        begin = first_offset if first_offset is not None and number == 0 else 0
        if file.compressed:
            regions.insert(0, _Region(source, begin, begin + budget))
            continue
        if not scanner.formats:
            _learn(source, file, begin, result, scanner)
            if not scanner.fast:
                budget //= SLOWNESS
        region = _Region(source, begin, file.size) if first_offset is not None else _seek(source, file, result, scanner)
        size = (region.end or 0) - region.start
        if size > budget:
            result.truncated = True
            region.start = line_start(source, (region.end or 0) - budget, file.size)
        budget -= size
        regions.insert(0, region)
    return regions


def _learn(source: Source, file: LogFile, begin: int, result: _Result, scanner: Scanner) -> None:
    half = SAMPLE_BYTES // 2
    sample = source.at(begin, half)
    if not sample.strip(b"\0") and file.size > half:
        sample = b""
    late = source.at(max(begin, file.size - half), half)
    binary = (sample or late).lstrip(b"\0")
    if binary and len(binary.translate(None, _TEXT_BYTES)) > len(binary) // 20:
        raise CheckError(result.source.name, "the file is binary", _HINTS["binary"], "binary")
    # The first line of a sample that does not begin the file may be half a line.
    scanner.learn(sample.split(b"\n")[1 if begin else 0 : -1] + late.split(b"\n")[1:-1])
    if scanner.timed is not None:
        scanner.assembler.time = scanner.timed
        newest = next((when for when in map(scanner.time_of, reversed(late.split(b"\n"))) if when is not None), None)
        result.clock_offset_seconds = clock_offset(newest, file.modified) if newest is not None else None


def clock_offset(newest: float, written: float) -> t.Optional[float]:
    """Return by how many seconds the clock of a log is wrong that was *written* to last when its *newest* line says; ``None`` where it is not.

    A line cannot be written before its time. Its file may well be changed later (by a copy, a touch): behind is a clock only
    where it is so by whole half hours, as zones are.
    """
    offset = newest - written
    ahead = offset > CLOCK_SECONDS
    behind = offset < -CLOCK_SECONDS and abs(offset) < 15 * 3600 and abs((offset + 900) % 1800 - 900) < _ZONE_LEEWAY_SECONDS
    return round(offset, 1) if ahead or behind else None


def _seek(source: Source, file: LogFile, result: _Result, scanner: Scanner) -> _Region:
    tally = result.tally
    earliest = min(tally.window.start, tally.baseline.start)
    if file.size <= 4 * SAMPLE_BYTES or scanner.timed is None:
        return _Region(source, 0, file.size)
    if not is_ordered(source, file.size, scanner.time_of):
        result.assumptions.append("its lines are not in order of time: all of the file was read")
        return _Region(source, 0, file.size)
    start = seek(source, earliest - SKEW_SECONDS, file.size, scanner.time_of) if earliest > 0 else 0
    result.reached_back = result.reached_back or start > 0
    end = file.size
    if file.modified > tally.window.end + SKEW_SECONDS:
        end = seek(source, tally.window.end + SKEW_SECONDS, file.size, scanner.time_of)
        end = max(start, line_start(source, min(file.size, end + SAMPLE_BYTES), file.size))
    return _Region(source, start, end)


# ---- facts


def _logs_envelope(results: list[_Result], options: LogOptions, start: float, end: float, now: float, problems: list[CheckError]) -> Facts:
    redactor = Redactor(())
    entries, kinds = [], _Kinds(redactor)
    for result in results:
        entry = _source_facts(result, options, start, end, now, redactor, kinds)
        entries.append(entry)
        if entry["status"] == "unknown" and not result.errors:
            problems.append(CheckError(result.source.name, f"not judged: {entry['reason']}", _HINTS.get(str(entry["reason"]), "")))
    errors = sum(entry["errors"] for entry in entries)
    judged = [entry["status"] for entry in entries if entry["reason"] != "empty"]
    status = worst(judged) if judged else "unknown"
    if not entries:
        problems.append(CheckError("logs", "no log was found", "Name the logs with paths."))
    if problems and status == "ok" and any(error.code == "missing" for error in problems):
        status = "unknown"
    worst_entry = max(entries, key=lambda entry: entry["errors"], default=None)
    summary = f"{errors} errors in {len(entries)} logs" + (f", most in {worst_entry['name']}" if worst_entry and errors else "")
    records = sum(entry["lines"] for entry in entries)
    return envelope(
        status,
        summary,
        {
            "errors": metric(errors, "", options.errors),
            "records": metric(records),
            "error_percent": metric(_percent(errors, records), "%", options.percent),
            "errors_per_minute": metric(_per_minute(errors, start, end, entries), "1/min", options.per_minute),
        },
        problems,
        window_seconds=round(end - start, 3),
        window_start=rfc3339(start),
        window_end=rfc3339(end),
        sources=entries,
        kinds=kinds.facts(),
    )


def _percent(part: int, whole: int) -> t.Optional[float]:
    return round(100 * part / whole, 3) if whole else None


def _per_minute(errors: int, start: float, end: float, entries: t.Sequence[Facts]) -> float:
    minutes = (end - start) / 60 if start > 0 else sum(len(entry["histogram"]) for entry in entries)
    return round(errors / max(minutes, 1 / 60), 3) if minutes > 0 else float(errors)


def _written_before(result: _Result, start: float) -> t.Optional[float]:
    """Return when a log file without a record since *start* was written to last: that is why there is none."""
    if result.source.type != "file" or result.source.path is None or result.reason is not None:
        return None
    try:
        written = os.stat(result.source.path).st_mtime
    except OSError:
        return None
    return written if written < start else None


def _last_error(window: Period) -> t.Optional[float]:
    return max((group.last for group in window.groups.values() if group.level >= ERROR), default=None)


def _source_facts(result: _Result, options: LogOptions, start: float, end: float, now: float, redactor: Redactor, kinds: _Kinds) -> Facts:
    window, tally = result.tally.window, result.tally
    errors = window.errors + (window.warnings if options.minimum_level <= WARNING else 0)
    if options.minimum_level >= CRITICAL:
        errors = sum(group.count for group in window.groups.values() if group.level >= CRITICAL)
    histogram: list[Facts] = [{"minute": rfc3339(minute * 60), "records": counts[0], "errors": counts[1]} for minute, counts in sorted(window.minutes.items())]
    peak = max(histogram, key=lambda entry: entry["errors"], default=None)
    peak = peak if peak and peak["errors"] else None
    percent = _percent(errors, window.lines)
    per_minute = _per_minute(errors, start, end, [{"histogram": histogram}])
    reason = result.reason or _unparsable(window)
    if reason is not None:
        status = "unknown"
    else:
        status = worst(
            [
                options.errors.verdict(errors),
                options.percent.verdict(percent) if percent is not None and window.lines >= options.minimum_records else "ok",
                options.per_minute.verdict(per_minute),
            ]
        )
    known = result.reached_back and not result.truncated and tally.baseline.end > tally.baseline.start
    last = tally.last_time if tally.last_time is not None else _written_before(result, start)
    if last is not None and last > now + CLOCK_SECONDS:
        result.assumptions.append(f"its last record is {int(last - now) // 60} minutes in the future: its zone may be another")
    groups = sorted(window.groups.values(), key=lambda group: (-(min(group.level, ERROR)), -group.count, group.shape))
    return {
        "name": result.source.name,
        "project": result.source.project,
        "service": result.source.service,
        "type": result.source.type,
        "status": status,
        "reason": reason,
        "format": result.format,
        "paths": result.paths,
        "read_bytes": result.read_bytes,
        "truncated": result.truncated,
        "lines": window.lines,
        "unparsed_lines": window.unparsed,
        "errors": errors,
        "warnings": window.warnings,
        "error_percent": percent,
        "errors_per_minute": per_minute,
        "last_error_at": rfc3339(_last_error(window)),
        "peak_minute": peak["minute"] if peak else None,
        "peak_minute_errors": peak["errors"] if peak else 0,
        "baseline_errors": tally.baseline.errors if known else None,
        "last_record_at": rfc3339(last),
        "last_record_age_seconds": round(max(0.0, now - last), 3) if last is not None else None,
        "clock_offset_seconds": result.clock_offset_seconds if result.source.type == "file" else None,
        "time_assumption": "; ".join(result.assumptions) or None,
        "histogram": histogram,
        "groups": [_group_facts(group, result, tally.baseline if known else None, redactor, kinds, number) for number, group in enumerate(groups)][
            :MAX_SHOWN_GROUPS
        ],
    }


def _unparsable(window: Period) -> t.Optional[str]:
    """A log of which most lines say nothing about their level is not free of errors: it is unknown.

    Most, and not more than half: a server greets at its start with lines of no format, more than it then logs in an hour.
    """
    if window.errors:
        return None
    silent = window.unparsed + window.unlevelled
    return "unparsable" if silent > (window.lines + window.unparsed) * _MOST else None


def _group_facts(group: Group, result: _Result, baseline: t.Optional[Period], redactor: Redactor, kinds: _Kinds, number: int) -> Facts:
    text = f"{group.sample}\n{group.detail}" if group.detail else group.sample
    error = classify_text(text) if number < MAX_SHOWN_GROUPS * 4 else None
    if error is not None:
        kinds.add(result.source, group, error.as_dict())
    return {
        "shape": redactor.text(group.shape),
        "count": group.count,
        "level": level_name(group.level),
        "first_seen": rfc3339(group.first),
        "last_seen": rfc3339(group.last),
        "sample": redactor.text(group.sample)[:MAX_SAMPLE_CHARACTERS],
        "logger": group.logger,
        "is_new": (group.level, group.shape) not in baseline.groups if baseline is not None else None,
        "error": redactor.tree(error.as_dict()) if error is not None else {"kind": None, "exception": None, "message": None, "parameters": {}},
    }


class _Kinds:
    """Kinds of errors per service. An application's file and its container's log may tell the same: the fuller counts."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._found: dict[tuple[t.Optional[str], t.Optional[str], str], dict[str, list[tuple[Group, Facts]]]] = {}

    def add(self, source: LogSource, group: Group, error: Facts) -> None:
        """Add one group of *source*."""
        key = (source.project, source.service, error["kind"])
        self._found.setdefault(key, {}).setdefault(source.name, []).append((group, error))

    def facts(self) -> list[Facts]:
        """Return ``kinds``, most often first."""
        entries = []
        for (project, service, kind), by_source in self._found.items():
            groups = max(by_source.values(), key=lambda found: sum(group.count for group, dummy in found))
            group, error = max(groups, key=lambda found: (bool(found[1]["parameters"]), found[0].count))
            entries.append(
                {
                    "kind": kind,
                    "project": project,
                    "service": service,
                    "count": sum(each.count for each, dummy in groups),
                    "exception": error["exception"],
                    "sample": self._redactor.text(error["message"] or group.sample)[:MAX_SAMPLE_CHARACTERS],
                    "parameters": self._redactor.tree(error["parameters"]),
                    "first_seen": rfc3339(min(each.first for each, dummy in groups)),
                    "last_seen": rfc3339(max(each.last for each, dummy in groups)),
                }
            )
        return sorted(entries, key=lambda entry: (-entry["count"], entry["kind"], entry["service"] or ""))


def _requests_envelope(results: list[_Result], options: LogOptions, start: float, end: float, problems: list[CheckError]) -> Facts:
    entries = []
    for result in results:
        facts = result.tally.requests.facts() if result.tally.requests is not None else None
        if not facts or not facts["requests"]:
            continue
        source = result.source
        entries.append({"name": source.name, "project": source.project, "service": source.service, "status": _request_status(facts), **facts})
    total, slow = sum(entry["requests"] for entry in entries), sum(entry["slow"] for entry in entries)
    status = worst(entry["status"] for entry in entries) if entries else "unknown" if any(result.reason for result in results) or not results else "ok"
    return envelope(
        status,
        f"{total} requests in {len(entries)} logs, {slow} slower than {options.slow_request_ms:g} ms",
        {"requests": metric(total), "slow": metric(slow)},
        problems if status == "unknown" else (),
        window_seconds=round(end - start, 3),
        slow_request_ms=options.slow_request_ms,
        sources=entries,
    )


def _request_status(facts: Facts) -> str:
    """One slow or failed request among few is no rate: three of a kind have to be there."""
    found = ["ok"]
    if facts["slow"] >= 3:
        found.append(Thresholds(1, 25).verdict(facts["slow_percent"]))
    if facts["errors_5xx"] >= 3:
        found.append(Thresholds(1, 10).verdict(facts["errors_5xx_percent"]))
    return worst(found)
