# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Lines into numbers: records and errors per minute, errors grouped by shape.

Most lines of a log say that all is well. One regular expression per log, learned from a sample of it, proves that of a
line from its beginning and gives its minute; what it cannot prove harmless is parsed. So every level, spelling and order of
lines counts as it would if all were parsed, at a fraction of the cost.
"""

from __future__ import annotations

import bisect
import collections
import io
import itertools
import re
import typing as t

from ._log_formats import (
    ANY_CLF_MINUTE,
    ANY_MINUTE,
    CRITICAL,
    EPOCH_SECOND,
    ERROR,
    INFO,
    KEPT_LINE_BYTES,
    LEVEL_NAMES,
    MAX_LINE_BYTES,
    MINUTE,
    SECONDS,
    TRACEBACK,
    WARNING,
    Clock,
    Layout,
    LazyPattern,
    Record,
    learn,
    learn_whole,
    parse,
    unwrap,
)
from ._log_requests import RequestTally

MAX_GROUPS = 1000
MAX_DETAIL_LINES = 200
MAX_LAYOUTS = 4
OTHER_SHAPE = "(other messages)"

_BYTE_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_HIDDEN = LazyPattern(rb'HTTP/|status(?:_code)?\\?"')
_WIDTHS = {ANY_MINUTE: 16, ANY_CLF_MINUTE: 17, EPOCH_SECOND: 10}
MAX_LEARNED = 32
#: So many lines of layouts that are known are followed by more of them.
MAX_SAME = 5
MAX_REMEMBERED = 50_000
MAX_UNLEARNED = 50
#: A block of no more minutes is sorted, to count its lines by runs of the same minute.
MAX_RUNS = 60
#: So many blocks are not sorted after one for which that was no use.
BLOCKS_WITHOUT_RUNS = 8
# An access line as the message of a JSON record.
_QUOTED = LazyPattern(rb' HTTP/[\d.]{1,5}\\{1,3}" \d{3}')
_SERVER_ERROR = LazyPattern(rb"(?<!\d)5\d\d(?!\d)")
_DIGITS = {ord(digit): "0" for digit in "123456789"}
_MASK = LazyPattern(
    r"""'[^'\n]{1,200}'|"[^"\n]{1,200}"|[\w.+-]{1,64}@[\w-]{1,64}\.[\w.]{1,64}"""
    r"""|\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F-]{22,27}\b|\b0x[0-9a-fA-F]+|\b(?=[a-fA-F]{0,40}\d)[0-9a-fA-F]{12,}\b|\d+(?:\.\d+)*"""
)
_FRAME = LazyPattern(r'^\s{0,8}File "([^"]{1,300})", line \d+, in (\S{1,100})', re.MULTILINE)
_LIBRARY = ("site-packages/", "dist-packages/", "/lib/python3", "<frozen ")


def shape_of(message: str) -> str:
    """Return *message* with its numbers, identifiers and quoted values masked."""
    return str(_MASK.sub(_masked, message[:1000].translate(_DIGITS)))[:300]


def _masked(match: t.Match[str]) -> str:
    quote = match[0][0]
    return quote + "#" + quote if quote in "'\"" else "#"


class Group:
    """Messages of one shape."""

    __slots__ = ("count", "detail", "first", "last", "level", "logger", "sample", "shape")

    def __init__(self, shape: str, level: int, record: Record, moment: float) -> None:
        self.shape, self.level, self.logger = shape, level, record.logger
        self.count, self.first, self.last = 0, moment, moment
        self.sample, self.detail = record.message, record.detail

    def seen(self, moment: float) -> None:
        """Count one, written at *moment*."""
        self.count += 1
        if moment < self.first:
            self.first = moment
        elif moment > self.last:
            self.last = moment


class Period:
    """What was counted between two moments."""

    def __init__(self, start: float, end: float) -> None:
        self.start, self.end = start, end
        self.lines = self.errors = self.warnings = self.unparsed = self.unlevelled = self.dropped_groups = 0
        self.minutes: dict[int, list[int]] = {}
        self.groups: dict[tuple[int, str], Group] = {}

    def covers(self, minute: int) -> t.Optional[bool]:
        """Tell whether all of a minute lies inside; ``None`` where one end of the period cuts it."""
        begin = minute * 60
        if self.start <= begin and begin + 60 <= self.end:
            return True
        return False if begin >= self.end or begin + 60 <= self.start else None


class Tally:
    """Counts records into the window ``[start, end)`` and the baseline before it, which may be empty."""

    def __init__(self, start: float, end: float, baseline_start: t.Optional[float] = None, requests: t.Optional[RequestTally] = None) -> None:
        self.window = Period(start, end)
        self.baseline = Period(start if baseline_start is None else baseline_start, start)
        self.requests = requests
        self.first_time: t.Optional[float] = None
        self.last_time: t.Optional[float] = None
        self.untimed = 0
        self._shapes: dict[str, str] = {}

    def period(self, moment: float) -> t.Optional[Period]:
        """Return the period that *moment* is in."""
        if self.window.start <= moment < self.window.end:
            return self.window
        return self.baseline if self.baseline.start <= moment < self.baseline.end else None

    def add(self, record: Record, moment: float) -> None:
        """Count one record."""
        self.saw(moment)
        period = self.period(moment)
        if period is None:
            return
        level = record.severity
        period.lines += 1
        counts = period.minutes.setdefault(int(moment // 60), [0, 0])
        counts[0] += 1
        if level >= ERROR:
            period.errors += 1
            counts[1] += 1
        elif level == WARNING:
            period.warnings += 1
        if level >= WARNING:
            self._group(period, record, level, moment)
        elif record.level is None and record.status is None:
            period.unlevelled += 1
        if record.status is not None and self.requests is not None and period is self.window:
            self.requests.add(record.method, record.path, record.status, record.duration_ms)
            if record.status >= 500:
                self.requests.failed_at(moment)

    def add_harmless(self, minute: int, count: int) -> None:
        """Count records below warning of one whole minute (since the epoch)."""
        self.saw(minute * 60.0)
        period = self.period(minute * 60)
        if period is not None:
            period.lines += count
            period.minutes.setdefault(minute, [0, 0])[0] += count

    def cuts(self, minute: int) -> bool:
        """Tell whether an end of a period cuts this minute, so that its records have to be looked at one by one."""
        return self.window.covers(minute) is None or (self.baseline.end > self.baseline.start and self.baseline.covers(minute) is None)

    def add_known(self, level: int, shape: str, minute: int, count: int, first: float, last: float) -> None:
        """Count more records of a group that is there, in one minute that no period cuts."""
        period = self.period(first)
        if period is not None:
            counts = period.minutes.setdefault(minute, [0, 0])
            counts[0] += count
            period.lines += count
            if level >= ERROR:
                period.errors += count
                counts[1] += count
            else:
                period.warnings += count
            group = period.groups[(level, shape)]
            group.count += count
            group.first, group.last = min(group.first, first), max(group.last, last)
        self.saw(first)
        self.saw(last)

    def saw(self, moment: float) -> None:
        """Know that a record was written at *moment*."""
        if self.last_time is None or self.first_time is None:
            self.first_time = self.last_time = moment
        elif moment > self.last_time:
            self.last_time = moment
        elif moment < self.first_time:
            self.first_time = moment

    def shape(self, text: str) -> str:
        """Return the shape of *text*; those seen before are remembered."""
        plain = text[:1000].translate(_DIGITS)
        shape = self._shapes.get(plain)
        if shape is None:
            shape = shape_of(text)
            if len(self._shapes) < 20 * MAX_GROUPS:
                self._shapes[plain] = shape
        return shape

    def _group(self, period: Period, record: Record, level: int, moment: float) -> None:
        key = (level, self.shape(_fingerprint(record) if record.detail else record.message))
        group = period.groups.get(key)
        if group is None:
            if len(period.groups) >= MAX_GROUPS:
                period.dropped_groups += 1
                key = (level, OTHER_SHAPE)
            group = period.groups.setdefault(key, Group(key[1], level, record, moment))
        group.seen(moment)


def _fingerprint(record: Record) -> str:
    """Return what tells one exception from another: its last line and the last frame of the application's own code."""
    detail = record.detail[-MAX_LINE_BYTES // 16 :]
    last = next((line.strip() for line in reversed(detail.split("\n")) if line.strip() and not line.startswith((" ", "\t", "[SQL", "(Background"))), "")
    frames = [frame for frame in _FRAME.findall(detail) if not any(part in frame[0] for part in _LIBRARY)]
    where = f" in {frames[-1][0].rsplit('/', 1)[-1]}:{frames[-1][1]}" if frames else ""
    return f"{record.message.split(chr(10), 1)[0][:300]} [{last[:300]}{where}]"


class Assembler:
    """Puts lines together to records: pieces of split lines, tracebacks and other lines that go on.

    *clock* reads the times of plain lines. What Docker wrapped has a time of the wrapper, which stands in for a time
    without zone as well.
    """

    def __init__(self, clock: Clock, tally: Tally, fallback_time: t.Optional[float] = None) -> None:
        self.clock = clock
        self.inner_clock = Clock(None)
        self.tally = tally
        self.time = fallback_time
        self.open = False
        self.current: t.Optional[Record] = None
        self._moment = 0.0
        self._level = INFO
        self._detail: list[str] = []
        self._pieces: dict[str, tuple[str, list[bytes], int]] = {}

    @property
    def pending(self) -> bool:
        """Whether pieces of a split line wait for their end."""
        return bool(self._pieces)

    def feed(self, line: bytes) -> None:
        """Take the next line."""
        wrapped = unwrap(line) if line[:8] == b'{"log":"' else None
        if wrapped is None:
            line = line.strip(b"\0\r")
            self.take(line, parse(line, self.clock), None)
            return
        payload, when, stream = wrapped
        if stream in self._pieces:
            when, pieces, size = self._pieces[stream]
            if size < MAX_LINE_BYTES:
                pieces.append(payload)
            self._pieces[stream] = (when, pieces, size + len(line) + 1)
        elif not payload.endswith(b"\n"):
            self._pieces[stream] = (when, [payload], len(line) + 1)
        if not payload.endswith(b"\n"):
            return
        if stream in self._pieces:
            payload = b"".join(self._pieces.pop(stream)[1])
        self.take(payload, parse(payload, self.inner_clock), self.clock.read(when))

    def read(self, line: bytes) -> tuple[bytes, t.Optional[Record], t.Optional[float], bool]:
        """Return the payload of *line*, its record, its wrapper's time and whether it stands alone, without taking it."""
        wrapped = unwrap(line) if line[:8] == b'{"log":"' else None
        if wrapped is None:
            line = line.strip(b"\0\r")
            return line, parse(line, self.clock), None, True
        payload = wrapped[0]
        return payload, parse(payload, self.inner_clock), self.clock.read(wrapped[1]), payload.endswith(b"\n") and wrapped[2] not in self._pieces

    def take(self, payload: bytes, record: t.Optional[Record], when: t.Optional[float]) -> None:
        """Take one whole line with the record that it begins, if it begins one."""
        if record is None:
            self._continue(payload, when)
            return
        self.flush()
        moment = record.time if record.time is not None else when
        if moment is None:
            self.tally.untimed += 1
            moment = self.time
        self._begin(record, moment)

    def _begin(self, record: Record, moment: t.Optional[float]) -> None:
        self.open, self._level = not record.closed, record.severity
        if moment is None:
            moment = 0.0
        self.time = moment
        if self.open and self._level >= WARNING:
            self.current, self._moment, self._detail = record, moment, []
        else:
            self.tally.add(record, moment)

    def _continue(self, payload: bytes, when: t.Optional[float]) -> None:
        text = payload.strip()
        starts = text.startswith(TRACEBACK)
        if starts and (not self.open or self._level < ERROR):
            self.flush()
            moment = when if when is not None else self.time
            self._begin(Record(None, ERROR, TRACEBACK.decode(), None), moment)
            self._detail = [TRACEBACK.decode()]
        elif self.open:
            if self.current is not None and len(self._detail) < MAX_DETAIL_LINES:
                self._detail.append(payload[:KEPT_LINE_BYTES].decode("utf-8", "replace").rstrip("\r\n"))
        elif text:
            period = self.tally.period(when if when is not None else self.time or 0.0)
            if period is not None:
                period.unparsed += 1

    def after_harmless(self, is_open: bool) -> None:
        """Know that the line before was a record below warning, which others may continue."""
        self.flush()
        self.open, self._level = is_open, INFO

    def flush(self) -> None:
        """Count the record that was still open."""
        if self.current is None:
            return
        record, self.current = self.current, None
        detail = "\n".join(self._detail)
        if record.message == TRACEBACK.decode():
            record = record._replace(message=next((line for line in reversed(self._detail) if line[:1].strip()), record.message))
        self.tally.add(record._replace(detail=detail) if TRACEBACK.decode() in detail else record, self._moment)

    def drop_pieces(self) -> int:
        """Forget pieces that wait for their end; return how many bytes of the log they were."""
        size = sum(size for dummy, dummy2, size in self._pieces.values())
        self._pieces.clear()
        return size

    def finish(self) -> None:
        """Count what is left; pieces without an end are a line cut off by a crash."""
        for when, pieces, dummy in list(self._pieces.values()):
            payload = b"".join(pieces)
            self.take(payload, parse(payload, self.inner_clock), self.clock.read(when))
        self._pieces.clear()
        self.flush()


_Known = tuple[tuple[int, str], dict[int, list[t.Any]]]
_Hit = tuple[list[t.Any], bytes]
_Read = tuple[bytes, t.Optional[Record], t.Optional[float], bool]


class Scanner:
    """Takes blocks of whole lines, fast where :meth:`learn` found how this log's lines begin."""

    def __init__(self, assembler: Assembler) -> None:
        self.assembler = assembler
        self.tally = assembler.tally
        self.formats: collections.Counter[str] = collections.Counter()
        self.wrapped = False
        self.slow_blocks = 0
        self._pattern: t.Optional[t.Pattern[bytes]] = None
        self._layouts: list[Layout] = []
        self._places: t.Optional[_Places] = None
        self._without_runs = 0
        self._zone = ""
        self._minutes: dict[bytes, t.Optional[int]] = {}
        self._widths: dict[int, int] = {}
        self._guards: frozenset[bytes] = frozenset()
        self._request: t.Optional[t.Pattern[bytes]] = None
        self._whole: list[tuple[t.Pattern[bytes], tuple[int, int, int]]] = []
        self._unlearned = 0
        self.timed: t.Optional[float] = None
        # Level and message as written (but for digits) to the group they belong to, and what was counted of it by the minute:
        # number, first and last time as text, which in one zone sorts as what it means.
        self._shapes: dict[bytes, _Known] = {}
        self._known: dict[tuple[int, str], dict[int, list[t.Any]]] = {}
        # What stands for harmless lines, with the minute, where no period cuts it; and how often it was there.
        self._good: dict[bytes, int] = {}
        self._harmless: collections.Counter[bytes] = collections.Counter()
        # The last block with failed requests among those that were counted together.
        self._failed: t.Optional[tuple[bytes, int, int]] = None

    def learn(self, lines: t.Sequence[bytes]) -> None:
        """Learn from sample *lines* how harmless lines begin; some of them, evenly spread, are enough."""
        found: collections.Counter[Layout] = collections.Counter()
        same = 0
        for line in lines[:: 1 + len(lines) // MAX_LEARNED]:
            payload, record, dummy, alone = self.assembler.read(line)
            self.wrapped = self.wrapped or payload is not line and line[:8] == b'{"log":"'
            if self.timed is None:
                self.timed = self.time_of(line)
            if record is None:
                continue
            self.formats[_format_name(record, payload)] += 1
            if not alone or same > MAX_SAME:
                continue
            layout = learn(line, self.assembler.inner_clock if line[:8] == b'{"log":"' else self.assembler.clock)
            if layout is not None:
                same = same + 1 if layout in found else 0
                found[layout] += 1
        if not found:
            return
        best = found.most_common(1)[0][0]
        # One zone and one way lines go on: the minute's text then means one minute.
        alike = [layout for layout, dummy in found.most_common() if (layout.zone, layout.closed) == (best.zone, best.closed)]
        self._layouts, self._zone = alike[: 4 * MAX_LAYOUTS], best.zone
        self._pattern, self._widths, self._guards = _pattern(self._layouts)
        self._places = _places(self._layouts)
        asked = {layout.request: layout for layout in self._layouts if layout.request}
        if len(asked) == 1 and all(layout.request for layout in self._layouts[:1]):
            self._request = re.compile(next(iter(asked)))

    @property
    def fast(self) -> bool:
        """Whether harmless lines can be told without parsing them."""
        return self._pattern is not None

    def time_of(self, line: bytes) -> t.Optional[float]:
        """Return the time that *line* itself has."""
        if not line:
            return None
        dummy, record, when, dummy2 = self.assembler.read(line)
        return record.time if record is not None and record.time is not None else when

    def line(self, line: bytes) -> None:
        """Take one line."""
        self.assembler.feed(line)

    def block(self, data: bytes, start: int, end: int) -> None:
        """Take the lines in ``data[start:end]``; it begins with the newline before the first and ends before that of the last."""
        if self._pattern is None or self.assembler.pending or not self._fast(data, start, end):
            self.slow_blocks += 1
            for line in data[start + 1 : end].split(b"\n"):
                self.assembler.feed(line)

    def _fast(self, data: bytes, start: int, end: int) -> bool:
        if self._pattern is None:
            return False
        if self._without_runs:
            self._without_runs -= 1
        elif self._places is not None:
            runs, others = self._runs(self._places, data, start, end)
            if runs and self._take(data, start, end, self._pattern.findall(others), runs):
                return True
            self._without_runs = BLOCKS_WITHOUT_RUNS
        return self._take(data, start, end, self._pattern.findall(data, start, end), {})

    def _runs(self, places: _Places, data: bytes, start: int, end: int) -> tuple[dict[bytes, int], bytes]:
        """Return how many harmless lines a block has of each minute, and its other lines; nothing where this is not the way.

        Sorted, lines of one minute stand together and are counted by where they begin and end. That is right in any order, and
        fast where lines are nearly in order of time. The last line is always among the others, for what follows it.
        """
        head, place, proofs = places
        width = len(head) + _WIDTHS[ANY_MINUTE]
        last = data.rfind(b"\n", start, end) + 1
        begin, until = (self._minute_of(data[at + len(head) : at + width]) for at in (start + 1, last))
        if begin is None or until is None or abs(until - begin) > MAX_RUNS or last == start + 1:
            return {}, b""
        stream = io.BytesIO(data)
        stream.seek(start + 1)
        lines = stream.readlines(last - start - 1)
        others = [line for line in lines if not line.startswith(proofs, place)]
        rest = b"\n" + b"".join(others) + data[last:end]
        lines.sort()
        others.sort()
        runs: dict[bytes, int] = {}
        at = bisect.bisect_left(lines, head)
        while at < len(lines) and lines[at].startswith(head) and len(runs) <= MAX_RUNS:
            key = lines[at][:width]
            # The digits that SECONDS begins with.
            low, high = key + b":0", key + b":6"
            count = _number_between(lines, low, high) - _number_between(others, low, high)
            if count:
                if key not in self._good and not self._settle(key):
                    break
                runs[key] = count
            at = max(at + 1, bisect.bisect_left(lines, high))
        return (runs, rest) if sum(runs.values()) == len(lines) - len(others) else ({}, b"")

    def _take(self, data: bytes, start: int, end: int, items: list[bytes], runs: dict[bytes, int]) -> bool:
        """Take the lines of a block: *runs*, and what the pattern found of the others."""
        good, counted = self._good, self._harmless
        before = len(counted)
        counted.update(items)
        # What was not there before stands at the end: new minutes, and the suspects.
        fresh = list(itertools.islice(reversed(counted), len(counted) - before))[::-1]
        done = False
        try:
            done = self._judge(data, start, end, items, fresh, runs)
        finally:
            if done:
                for line in fresh:
                    if line not in good:
                        counted.pop(line)
            else:
                counted.subtract(items)
                for line in fresh:
                    counted.pop(line)
        if done:
            counted.update(runs)
        if len(counted) > MAX_REMEMBERED // 2:
            self._flush()
        return done

    def _judge(self, data: bytes, start: int, end: int, items: list[bytes], fresh: list[bytes], runs: dict[bytes, int]) -> bool:
        """Take the lines of a block that are not harmless, in order where that matters; ``False``, and none taken, where in doubt."""
        good = self._good
        for line in fresh:
            if line not in good and (len(line) in self._widths or line in self._guards) and not self._settle(line):
                return False
        suspects = [line for line in fresh if line not in good for dummy in range(self._harmless[line])]
        rest, hits = self._sift(suspects)
        read = [self.assembler.read(line) for line in rest]
        if not all(alone and (found is None or found.time is not None or when is not None) for dummy, found, when, alone in read):
            return False
        dummy, record, when, alone = self.assembler.read(data[data.rfind(b"\n", start, end) + 1 : end])
        if not alone:
            return False
        ordered = any(found is None for dummy, found, dummy2, dummy3 in read)
        if ordered and runs:
            return False
        if ordered:
            # Each in its place, and not those that are the same together.
            rest, hits = [line for line in items if line not in good], []
            read = [self.assembler.read(line) for line in rest]
            if not self._continues_well(data, start, end, items, read):
                return False
        requests = self._requests(data, start, end, {*items, *runs}, hits, read) if self.tally.requests is not None else []
        if requests is None:
            return False
        self._count(items, read, ordered)
        for cell, text in hits:
            cell[0] += 1
            if text < cell[1]:
                cell[1] = text
            elif text > cell[2]:
                cell[2] = text
        if record is not None and (record.closed or items[-1] in good):
            self.assembler.after_harmless(not record.closed)
            self.assembler.time = record.time if record.time is not None else when
            if self.assembler.time is not None:
                self.tally.saw(self.assembler.time)
        if self.tally.requests is not None and requests:
            groups = self._layouts[0].request_groups
            scale = next((float(name.partition("*")[2]) for name in groups if "*" in name), 1.0)
            if self.tally.requests.add_many(requests, {name.partition("*")[0]: number for number, name in enumerate(groups)}, scale):
                self._failed = (data, start, end)
        return True

    def finish(self) -> None:
        """Count what is still held back."""
        self.assembler.finish()
        self._flush()
        if self._failed is not None:
            self._date_last_failed(*self._failed)

    def _date_last_failed(self, data: bytes, start: int, end: int) -> None:
        """Learn when the last request failed of a block whose requests were counted together, without their times."""
        for match in reversed(list(_SERVER_ERROR.finditer(data, start, end))):
            until = data.find(b"\n", match.end(), end)
            dummy, record, when, dummy2 = self.assembler.read(data[data.rfind(b"\n", start, match.start()) + 1 : until if until >= 0 else end])
            moment = when if record is None or record.time is None else record.time
            if self.tally.requests is not None and record is not None and (record.status or 0) >= 500 and moment is not None:
                self.tally.requests.failed_at(moment)
                return

    def _flush(self) -> None:
        for key, count in self._harmless.items():
            self.tally.add_harmless(self._good[key], count)
        self._harmless.clear()
        for (level, shape), minutes in self._known.items():
            for minute, (count, *ends) in minutes.items():
                if count:
                    first, last = (minute * 60 + float(text[17:].replace(b",", b".")) for text in ends)
                    self.tally.add_known(level, shape, minute, count, first, last)
            minutes.clear()
        if len(self._good) > MAX_REMEMBERED:
            self._good.clear()

    def _settle(self, key: bytes) -> bool:
        """Tell whether it is clear what *key* stands for, and whether its minute may be counted as a whole."""
        if len(key) not in self._widths:
            return False
        width = self._widths[len(key)]
        minute = self._minute_of(key[len(key) - width :])
        if minute is None:
            # Either a line that is just as long, or no minute where one was learned to be.
            return len(key) == width and not key[:1].isdigit()
        if self.tally.cuts(minute):
            return False
        self._good[key] = minute
        return True

    def _sift(self, suspects: list[bytes]) -> tuple[list[bytes], list[_Hit]]:
        """Part *suspects* into those to be parsed and whole JSON records of groups that are there already."""
        hits: list[_Hit] = []
        if not self._layouts[0].closed or self.wrapped or self._layouts[0].minute != ANY_MINUTE:
            return suspects, hits
        minutes, shapes, digits = self._minutes, self._shapes, _BYTE_DIGITS
        for pattern, (time_at, level_at, message_at) in self._whole:
            others = []
            for line, groups in zip(suspects, pattern.findall(b"\n" + b"\n".join(suspects))):
                when, level, message = groups[time_at], groups[level_at], groups[message_at]
                minute = minutes.get(when[:16])
                known = shapes.get(level + message.translate(digits))
                cell = known[1].get(minute) if known is not None and minute is not None else None
                if cell is None and when:
                    cell = self._cell(line, when, level, message)
                if cell is None:
                    others.append(line)
                else:
                    hits.append((cell, when))
            suspects = others
            if not suspects:
                break
        for line in suspects:
            if self._unlearned < MAX_UNLEARNED and line[:1] == b"{":
                self._learn_whole(line)
        return suspects, hits

    def _cell(self, line: bytes, when: bytes, level: bytes, message: bytes) -> t.Optional[list[t.Any]]:
        """Return where to count *line*, if its group is there and no period cuts its minute."""
        minute = self._minute_of(when[:16])
        known = self._shapes.get(level + message.translate(_BYTE_DIGITS)) or self._shape_of(line, level, message)
        if minute is None or known is None or self.tally.cuts(minute):
            return None
        period = self.tally.period(minute * 60)
        if period is not None and known[0] not in period.groups:
            return None
        return known[1].setdefault(minute, [0, when, when])

    def _shape_of(self, line: bytes, level: bytes, message: bytes) -> t.Optional[_Known]:
        record = parse(line, self.assembler.clock)
        if record is None or record.severity < WARNING or record.detail:
            return None
        key = (record.severity, self.tally.shape(record.message))
        known = (key, self._known.setdefault(key, {}))
        if len(self._shapes) < 20 * MAX_GROUPS:
            self._shapes[level + message.translate(_BYTE_DIGITS)] = known
        return known

    def _learn_whole(self, line: bytes) -> None:
        self._unlearned += 1
        learned = learn_whole(line, self.assembler.clock)
        if learned is not None and learned[1] == self._zone and len(self._whole) < MAX_LAYOUTS:
            pattern = re.compile(rb"\n(?:%s(?=\n|\Z)|[^\n]*)" % learned[0])
            places = pattern.groupindex
            self._whole.append((pattern, (places["time"] - 1, places["level"] - 1, places["message"] - 1)))

    def _count(self, items: list[bytes], read: list[_Read], ordered: bool) -> None:
        requests, self.tally.requests = self.tally.requests, None if self._request else self.tally.requests
        assembler = self.assembler
        if ordered:
            parsed, is_open = iter(read), not self._layouts[0].closed
            for line in items:
                if line in self._good:
                    assembler.after_harmless(is_open)
                else:
                    payload, record, when, dummy = next(parsed)
                    assembler.take(payload, record, when)
        else:
            for payload, record, when, dummy in read:
                assembler.take(payload, record, when)
        self.tally.requests = requests

    def _continues_well(self, data: bytes, start: int, end: int, items: list[bytes], read: list[_Read]) -> bool:
        """Tell whether lines that go on can be given to records without knowing more of the harmless ones."""
        closed = self._layouts[0].closed
        suspects, before = iter(read), not self.assembler.open or self.assembler.current is None
        for line in items:
            if line in self._good:
                before = True
                continue
            payload, record, dummy, dummy2 = next(suspects)
            if record is not None:
                before = record.closed or record.severity < WARNING
            elif before and (closed or payload.lstrip().startswith(TRACEBACK)):
                return False
        if items[-1] not in self._good and before:
            return False
        # A piece of a split line looks like a line that goes on: only whole ones may be around.
        return not self.wrapped or re.compile(rb'(?<!\\n)","stream":"').search(data, start, end) is None

    def _minute_of(self, text: bytes) -> t.Optional[int]:
        minute = self._minutes.get(text, -1)
        if minute != -1:
            return minute
        shown = text.decode("latin-1")
        moment = self.assembler.clock.read(shown if shown.isdigit() else shown + ":00" + self._zone) if MINUTE.fullmatch(text) else None
        minute = None if moment is None or moment % 60 and not shown.isdigit() else int(moment // 60)
        if len(self._minutes) > MAX_REMEMBERED:
            self._minutes.clear()
        self._minutes[text] = minute
        return minute

    def _requests(self, data: bytes, start: int, end: int, items: set[bytes], hits: list[_Hit], read: list[_Read]) -> t.Optional[list[tuple[bytes, ...]]]:
        """Return the requests of the block's lines; ``None`` where some may be hidden from the pattern."""
        window, layout = self.tally.window, self._layouts[0]
        inside = {bool(window.covers(minute)) for minute in {self._good[key] for key in items if key in self._good}}
        inside |= {self.tally.period(60.0 * (self._minute_of(text[:16]) or 0)) is window for dummy, text in hits}
        inside |= {moment is not None and self.tally.period(moment) is window for moment in _moments(read)}
        if True not in inside or self._request is None:
            return None if True in inside and _HIDDEN.search(data, start, end) else []
        expected = "json" if layout.request_mark else "access"
        foreign = any(found is not None and found.status is not None and found.kind != expected for dummy, found, dummy2, dummy3 in read)
        if False in inside or foreign or (layout.request_mark and b"HTTP/" in data and _QUOTED.search(data, start, end)):
            return None
        found = self._request.findall(data, start, end)
        if len(found) != data.count(layout.request_mark or b"\n", start, end):
            return None
        if len(layout.request_groups) == 1:
            found = [(value,) for value in found]
        status = next(number for number, name in enumerate(layout.request_groups) if name == "status")
        return found if all(len(code) == 3 and code.isdigit() for code in {values[status] for values in found}) else None


def _moments(read: t.Iterable[_Read]) -> t.Iterator[t.Optional[float]]:
    for dummy, record, when, dummy2 in read:
        if record is not None:
            yield record.time if record.time is not None else when


class _Places(t.NamedTuple):
    """Where harmless lines have constant text: *head* in front of the minute, and one of *proofs* at *place* behind it."""

    head: bytes
    place: int
    proofs: tuple[bytes, ...]


def _places(layouts: t.Sequence[Layout]) -> t.Optional[_Places]:
    """Return the places of those *layouts* that begin as the first does; ``None`` where it depends on the line."""
    head = _constant(layouts[0].before)
    behind = re.compile(re.escape(SECONDS).replace(b"%d", rb"(\d+)") + rb"(.+)")
    found: dict[int, list[bytes]] = {}
    for layout in layouts:
        match = behind.fullmatch(layout.after)
        proof = _constant(match[2]) if match else None
        if match and proof and (layout.before, layout.minute) == (layouts[0].before, ANY_MINUTE):
            found.setdefault(int(match[1]), []).append(proof)
    if not head or not found:
        return None
    length, proofs = next(iter(found.items()))
    return _Places(head, len(head) + _WIDTHS[ANY_MINUTE] + len(b":0") + length, tuple(proofs))


def _number_between(lines: list[bytes], low: bytes, high: bytes) -> int:
    """Return how many of sorted *lines* are not before *low*, and before *high*."""
    return bisect.bisect_left(lines, high) - bisect.bisect_left(lines, low)


def _constant(pattern: bytes) -> t.Optional[bytes]:
    """Return the only text that *pattern* matches, if there is only one."""
    text = re.sub(rb"\\(.)", rb"\1", pattern)
    return text if re.escape(text) == pattern else None


def _pattern(layouts: t.Iterable[Layout]) -> tuple[t.Pattern[bytes], dict[int, int], frozenset[bytes]]:
    """Return what finds every line: where it is proven harmless as its minute (with what stands before it, if that is always
    the same), else whole.

    With it come the lengths of what stands for harmless lines, each with that of its minute, and what stands for lines that
    are just as long and so cannot be told from it.
    """
    shapes: dict[tuple[bytes, bytes], list[bytes]] = {}
    for layout in layouts:
        shapes.setdefault((layout.before, layout.minute), []).append(layout.after)
    kept = list(shapes.items())[:MAX_LAYOUTS]
    inside, headed, minutes, widths, guards = [], [], set(), {}, set()
    for (before, minute), after in kept:
        plain = _constant(before)
        width = _WIDTHS[minute]
        if plain is not None:
            inside.append(rb"%s%s(?=%s)" % (before, minute, b"|".join(after)))
            widths[len(plain) + width] = width
            guards.add((plain[:1], len(plain) + width - 1))
        else:
            headed.append(rb"%s(?=%s(?:%s))" % (before, minute, b"|".join(after)))
            minutes.add(minute)
            widths[width] = width
            guards.add((b"", width - 1))
    choices = [*inside, *([rb"(?<!\n)(?:%s)" % b"|".join(sorted(minutes))] if minutes else [])]
    choices.extend(rb"%s(?=[^\n]{%d}\r?(?:\n|\Z))" % (re.escape(first) or rb"\d", length) for first, length in sorted(guards))
    firsts = frozenset(first for first, dummy in guards if first) | frozenset(b"%d" % digit for digit in range(10))
    pattern = rb"\n" + (rb"(?:%s|)" % b"|".join(headed) if headed else b"") + b"(" + b"|".join([*choices, rb"[^\n]*"]) + b")"
    # With DOTALL a dot costs nothing; one that takes a newline makes no minute.
    return re.compile(pattern, re.DOTALL), widths, firsts


def _format_name(record: Record, payload: bytes) -> str:
    if record.kind == "access":
        return "access-clf"
    if record.kind != "text":
        return record.kind
    if record.method is not None and record.time is None:
        return "uvicorn"
    return "nginx-error" if re.match(rb"\d{4}/\d\d/\d\d [\d:]{8} \[\w+\] \d+#\d+: ", payload) else "text"


def level_name(level: int) -> str:
    """Return the name of a level as the facts schema has it."""
    return LEVEL_NAMES[min(level, CRITICAL)]
