# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Counting lines fast gives what counting them one by one gives, and both give the truth."""

from __future__ import annotations

import collections
import datetime
import itertools
import json
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._log_files import feed
from ansible_collections.stackops.runbook.plugins.module_utils._log_formats import Clock
from ansible_collections.stackops.runbook.plugins.module_utils._log_requests import Histogram, RequestTally, mask_path
from ansible_collections.stackops.runbook.plugins.module_utils._log_scan import Assembler, Scanner, Tally, shape_of
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

BEGIN = 1795435200
LEVELS = ("debug", "info", "warning", "error", "critical")
WINDOW = (BEGIN + 130.5, BEGIN + 400.25)
BASELINE = BEGIN - 60.0


class Event(t.NamedTuple):
    """One thing that happened, as the application would know it."""

    at: float
    level: str
    message: str
    status: int | None
    duration: float | None
    trace: bool


MESSAGES = ("request completed", "order 42 failed", 'he said "no"', "back\\slash", "naïve ☃", "level: error", '"level": "error"', "tab\there", "x" * 300, "")

events = st.lists(
    st.builds(
        Event,
        st.integers(0, 600_000_000).map(lambda micros: BEGIN - 60 + micros / 1e6),
        st.sampled_from(LEVELS + ("info",) * 12),
        st.sampled_from(MESSAGES + ("request completed",) * 6),
        st.sampled_from((None, 200, 404, 401, 500)),
        st.one_of(st.none(), st.floats(0.01, 5000).map(lambda value: round(value, 2))),
        st.booleans(),
    ),
    min_size=1,
    max_size=60,
)


def iso(at: float, zone: str = "Z", separator: str = "T", comma: str = ".") -> str:
    moment = datetime.datetime.fromtimestamp(at, datetime.timezone.utc)
    return moment.strftime(f"%Y-%m-%d{separator}%H:%M:%S{comma}%f") + zone


def fields(event: Event, **first: t.Any) -> dict[str, t.Any]:
    record = {**first, "message": event.message, "logger": "shop"}
    if event.status is not None:
        record.update(status=event.status, method="GET", path=f"/api/v1/items/{int(event.at)}")
        if event.duration is not None:
            record["duration_ms"] = event.duration
    if event.trace and event.level in ("error", "critical"):
        record["exception"] = "Traceback (most recent call last):\n  File \"/srv/app/a.py\", line 3, in f\nKeyError: 'x'"
    return record


def as_json(event: Event) -> str:
    return json.dumps(fields(event, timestamp=iso(event.at), level=event.level))


def as_compact_json(event: Event) -> str:
    return json.dumps({**fields(event), "severity": event.level.upper(), "ts": event.at}, separators=(",", ":"), ensure_ascii=False)


def as_pino(event: Event) -> str:
    number = {"debug": 20, "info": 30, "warning": 40, "error": 50, "critical": 60}[event.level]
    return json.dumps(fields(event, level=number, time=round(event.at * 1000)), separators=(",", ":"))


def as_nested(event: Event) -> str:
    return json.dumps({"@timestamp": iso(event.at, "+00:00"), "log": {"level": event.level, "logger": "x"}, **fields(event)})


def as_text(event: Event) -> str:
    message = " ".join(event.message.split())
    line = f"{iso(event.at, '', ' ', ',')[:-3]} - shop.x - {event.level.upper()} - {message}"
    if event.trace and event.level in ("error", "critical"):
        line += "\nTraceback (most recent call last):\n  File \"/srv/app/a.py\", line 3, in f\nKeyError: 'x'"
    return line


def as_docker(inner: t.Callable[[Event], str]) -> t.Callable[[Event], str]:
    def render(event: Event) -> str:
        lines = []
        for line in inner(event).split("\n"):
            text = line + "\n"
            for start in range(0, len(text), 200):
                piece = {"log": text[start : start + 200], "stream": "stdout", "time": iso(event.at, "000Z")}
                lines.append(json.dumps(piece, separators=(",", ":")))
        return "\n".join(lines)

    return render


WRITERS: dict[str, t.Callable[[Event], str]] = {
    "json": as_json,
    "compact": as_compact_json,
    "pino": as_pino,
    "nested": as_nested,
    "text": as_text,
    "docker-json": as_docker(as_json),
    "docker-text": as_docker(as_text),
}
#: Writers whose times are cut to milliseconds.
COARSE = {"pino", "text"}


def scan(data: bytes, learn: bool, piece: int = 997, requests: bool = True, sample: bytes = b"", window: tuple[float, float] = WINDOW) -> tuple[Tally, Scanner]:
    tally = Tally(window[0], window[1], BASELINE, RequestTally(1000) if requests else None)
    assembler = Assembler(Clock(), tally, fallback_time=BEGIN + 200.0)
    scanner = Scanner(assembler)
    if learn:
        scanner.learn((sample or data).split(b"\n")[:-1])
    feed((data[start : start + piece] for start in range(0, len(data), piece)), scanner)
    scanner.finish()
    return tally, scanner


def outcome(tally: Tally) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {}
    for name, period in (("window", tally.window), ("baseline", tally.baseline)):
        found[name] = (period.lines, period.errors, period.warnings, period.unparsed, dict(period.minutes))
        found[name + " groups"] = {key: (group.count, round(group.first, 3), round(group.last, 3)) for key, group in period.groups.items()}
    if tally.requests is not None:
        facts = tally.requests.facts()
        # The last failed request of a block is the one that stands last, which in a log without order may be another.
        found["requests"] = {**facts, "paths": sorted(map(str, facts["paths"])), "last_5xx_at": None}
    return found


def truth(happened: list[Event], coarse: bool) -> tuple[int, int, int, dict[int, list[int]], int]:
    lines = errors = warnings = requests = 0
    minutes: dict[int, list[int]] = {}
    for event in happened:
        at = int(event.at * 1000) / 1000 if coarse else event.at
        if not WINDOW[0] <= at < WINDOW[1]:
            continue
        lines += 1
        counts = minutes.setdefault(int(at // 60), [0, 0])
        counts[0] += 1
        if event.level in ("error", "critical"):
            errors += 1
            counts[1] += 1
        warnings += event.level == "warning"
        requests += event.status is not None
    return lines, errors, warnings, minutes, requests


@pytest.mark.parametrize("writer", sorted(WRITERS))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(happened=events, ordered=st.booleans(), ending=st.sampled_from(("\n", "\r\n")), piece=st.sampled_from((61, 997, 1 << 17)))
def test_counts_are_the_truth(writer: str, happened: list[Event], ordered: bool, ending: str, piece: int) -> None:
    if ordered:
        happened = sorted(happened, key=lambda event: event.at)
    coarse = writer in COARSE
    if writer == "pino":
        # What rounding puts on the other side of an end is another record.
        assume(all(abs(event.at - end) > 0.001 for event in happened for end in WINDOW))
    data = "".join(line + ending for event in happened for line in WRITERS[writer](event).split("\n")).encode()
    tally, dummy = scan(data, True, piece)
    lines, errors, warnings, minutes, requests = truth(happened, coarse)
    assert (tally.window.lines, tally.window.errors, tally.window.warnings) == (lines, errors, warnings)
    assert tally.window.unparsed == 0
    if writer != "pino":
        assert dict(tally.window.minutes) == minutes
    assert tally.requests is not None
    if writer not in ("text", "docker-text"):
        assert tally.requests.facts()["requests"] == requests


noise = st.sampled_from((
    b"", b"garbage", b"{", b'{"level": "error"', b'{"level": "error"}', b"[1, 2]", b'"text"', b"\0" * 40, b"\xff\xfe\x80",
    b"  File \"x\", line 1, in f", b"KeyError: 'x'", b"Traceback (most recent call last):", b"ERROR:    plain",
    b"INFO:     127.0.0.1:5 - \"GET /x HTTP/1.1\" 500 Internal Server Error", b"2026-11-23 12:03:00", b"2026-11-23T12:03",
    b'{"timestamp": "2026-11-23T12:03:00.000000Z", "level": "info", "mess',
    b'{"timestamp": "2026-11-23T12:03:00Z", "level": "info", "n": {"level": "error"}}',
    b'{"timestamp": "2026-11-23T12:03:00+08:00", "level": "error", "message": "other zone"}',
    b'{"level": "error", "timestamp": "2026-11-23T12:03:01.5Z", "message": "other order"}',
    b'{"timestamp": "2026-11-23T12:03:00.000000Z", "level": "ERROR", "message": "upper"}', b"2026-11-23 12:03:00,000 [error] lower", b"DETAIL:  Key (id)=(1)",
    b'172.18.0.1 - - [23/Nov/2026:12:03:00 +0000] "GET /x HTTP/1.1" 502 1 "-" "-"',
    b'{"timestamp": "2026-11-23T12:03:00Z", "level": "info", "message": "127.0.0.1:5 - \\"GET /x HTTP/1.1\\" 503"}',
    b'level=error ts=2026-11-23T12:03:00Z msg="boom 7"', b"1795435380", b"x" * 5000,
    b'{"log":"plain\\n","stream":"stdout","time":"2026-11-23T12:03:00.1Z"}', b'{"log":"half ","stream":"stderr","time":"2026-11-23T12:03:00.1Z"}',
))  # fmt: skip


@pytest.mark.parametrize("writer", sorted(WRITERS))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    happened=events,
    strange=st.lists(st.tuples(st.integers(0, 200), noise), max_size=12),
    piece=st.sampled_from((173, 4096, 1 << 17)),
    requests=st.booleans(),
)
def test_fast_counts_are_those_of_the_naive_parser(writer: str, happened: list[Event], strange: list[tuple[int, bytes]], piece: int, requests: bool) -> None:
    lines = [line.encode() for event in happened for line in WRITERS[writer](event).split("\n")]
    sample = b"\n".join(lines) + b"\n"
    for place, line in strange:
        lines.insert(place % (len(lines) + 1), line)
    data = b"\n".join(lines) + b"\n"
    naive, dummy = scan(data, False, piece, requests)
    tally, dummy = scan(data, True, piece, requests, sample)
    assert outcome(tally) == outcome(naive)


MIXED = b' level=error ts=2026-11-23T12:03:00Z msg="boom 7"'


@pytest.mark.parametrize(("line", "strange"), [
    # Cut off, and what stands in the next line completes it.
    ('{"timestamp": "2026-11-23T12:03:%02d.000000Z", "level": "info"}', [b'{"timestamp": "2026-11-23T12:03:0', b'0.00000Z", "level": "info"']),
    ('{"timestamp": "2026-11-23T12:03:%02dZ", "name": "shop", "level": "info"}', [b'{"timestamp": "2026-11-23T12:03:00Z", "name": "s', b'p", "level": "info"']),
    ('172.18.0.1 - - [23/Nov/2026:12:03:%02d +0000] "GET /x HTTP/1.1" 200 1', [b'172.18.0.1 - - [23/Nov/2026:12:03:00 +0000] "GET /x', b'" 200 1']),
    # Seconds of another minute.
    ('{"timestamp": "2026-11-23T12:03:%02dZ", "level": "info"}', [b'{"timestamp": "2026-11-23T12:03:60Z", "level": "info"}']),
    ('{"timestamp": "2026-11-23T12:03:%02dZ", "level": "error", "message": "x"}', [b'{"timestamp": "2026-11-23T12:03:60Z", "level": "error", "message": "x"}']),
    ("2026-11-23 12:03:%02d,123 - shop - INFO - x", [b"2026-11-23 12:03:60,123 - shop - INFO - x"]),
    ('172.18.0.1 - - [23/Nov/2026:12:03:%02d +0000] "GET /x HTTP/1.1" 200 1', [b'172.18.0.1 - - [23/Nov/2026:12:03:60 +0000] "GET /x HTTP/1.1" 200 1']),
    # As long as a minute, and a time, but not that minute.
    ('{"timestamp": "2026-11-23T12:03:%02dZ", "level": "info"}', [b'{"timestamp": "1795435500123456:00Z", "level": "info"}']),
    ('172.18.0.1 - - [23/Nov/2026:12:03:%02d +0000] "GET /x HTTP/1.1" 200 1', [b'172.18.0.1 - - [02026-11-23T12:03:00 +0000] "GET /x HTTP/1.1" 200 1']),
])  # fmt: skip
def test_what_only_looks_harmless_is_parsed(line: str, strange: list[bytes]) -> None:
    regular = [(line % second).encode() for second in range(50)]
    if "error" in line:
        regular = [text.replace(b"error", b"info") if number % 5 else text for number, text in enumerate(regular)]
    lines = [*regular[:25], *strange[:-1], strange[-1] + (MIXED if strange[1:] else b""), *regular[25:]]
    # More than once, for groups are counted fast only when they are known.
    data = b"".join(text + b"\n" for text in lines)
    naive, dummy = scan(data * 3, False, len(data), requests=False)
    tally, scanner = scan(data * 3, True, len(data), requests=False, sample=b"\n".join(regular) + b"\n")
    assert scanner.fast
    assert outcome(tally) == outcome(naive)


HARMLESS = '{"timestamp": "2026-11-23T12:%02d:%02d.%06dZ", "level": "%s", "message": "request completed", "status": 200}'
NEAR_MISSES = (
    # Nearly where the others are when sorted, or proven in the right place of something else.
    b'{"timestamp": "2026-11-23T12:03', b'{"timestamp": "2026-11-23T12:04:', b'{"timestamp": "2026-11-23T12:04:0', b'{"timestamp": "',
    b'{"timestamp": "2026-11-23T12:04Z", "level": "info"}', b'{"timestamp": "2026-11-23T12:04Z", "level": "error"}',
    *(b'{"timestamp": "2026-11-23T12:04%c01.000000Z", "level": "info"}' % mark for mark in b"/;9Z"),
    *(b'{"timestamp": "2026-11-23T12:04:%b.000000Z", "level": "%b"}' % pair for pair in ((b"60", b"info"), (b"61", b"info"), (b"60", b"error"))),
    b'{"timestomp": "2026-11-23T12:04:01.000000Z", "level": "info"}', b'{"timestamp": "2026-11-23T12:75:01.000000Z", "level": "info"}',
    b'{"timestamp": "2026-11-23T12:04:01.000000Z", "level": "error", "x": {"t": "000000Z", "level": "info"}}',
    b'{"timestamp": "2026-11-23T12:04:01.000000Z", "level": "information", "message": "x"}',
    b'{"timestamp": "2026-11-23T12:04:01.000000Z", "level": "information"}', b'{"timestamp": "2026-11-23T12:04:01.000Z", "level": "info"}',
    b'{"timestamp": "2026-11-23T12:04:01.000000Z", "level": "warning", "message": "alone in its minute"}',
    b'{"timestamp": "2026-11-23T12:07:01.000000Z", "level": "error", "message": "alone in a minute that is cut"}',
    b'{"timestamp": "2026-11-23T12:05:01.000000Z", "level": "info"}\r', b'{"timestamp": "2026-11-23T12:05:01.000+00:01", "level": "info"}',
    b"", b"a line of no format", b"\0" * 31, b"\xff" * 40, b"ERROR:    plain", b"KeyError: 'x'",
    # What goes on does not belong to the record that was open before the harmless one.
    b"2026-11-23 12:04:01,000 - shop - ERROR - x\n" + (HARMLESS % (4, 1, 0, "info")).encode() + b"\nKeyError: 'x'",
)  # fmt: skip
ALIGNED = (BEGIN + 240.0, BEGIN + 300.0)


@pytest.mark.parametrize("strange", NEAR_MISSES)
def test_what_is_nearly_in_a_run_counts_as_itself(strange: bytes) -> None:
    regular = [(HARMLESS % (3 + number // 6, number % 6, 0, "info")).encode() for number in range(12)]
    for place in range(len(regular) + 1):
        data = b"".join(line + b"\n" for line in [*regular[:place], strange, *regular[place:]])
        for window, requests in itertools.product((WINDOW, ALIGNED), (False, True)):
            naive, dummy = scan(data, False, len(data), requests, window=window)
            tally, dummy = scan(data, True, len(data), requests, b"\n".join(regular) + b"\n", window)
            assert outcome(tally) == outcome(naive)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    happened=st.lists(
        st.tuples(st.sampled_from((3, 4, 5)), st.integers(0, 59), st.sampled_from(("info",) * 9 + ("debug", "warning", "error"))), min_size=5, max_size=40
    ),
    strange=st.lists(st.tuples(st.integers(0, 40), st.sampled_from(NEAR_MISSES)), max_size=4),
    order=st.sampled_from((1, -1, 0)),
    piece=st.sampled_from((1500, 1 << 17)),
    requests=st.booleans(),
    window=st.sampled_from((WINDOW, ALIGNED)),
)
def test_runs_of_one_minute_count_as_their_lines(
    happened: list[tuple[int, int, str]], strange: list[tuple[int, bytes]], order: int, piece: int, requests: bool, window: tuple[float, float]
) -> None:
    if order:
        happened = sorted(happened)[::order]
    lines = [(HARMLESS % (minute, second, number, level)).encode() for number, (minute, second, level) in enumerate(happened)]
    sample = b"\n".join([(HARMLESS % (3, 0, 0, "info")).encode(), *lines]) + b"\n"
    for place, line in strange:
        lines.insert(place % (len(lines) + 1), line)
    data = b"\n".join(lines) + b"\n"
    naive, dummy = scan(data, False, piece, requests, window=window)
    tally, dummy = scan(data, True, piece, requests, sample, window)
    assert outcome(tally) == outcome(naive)


@pytest.mark.parametrize("step", [1, -1])
def test_lines_in_order_of_time_are_counted_by_runs(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[dict[bytes, int]] = []
    take = Scanner._take

    def spy(self: Scanner, data: bytes, start: int, end: int, items: list[bytes], runs: dict[bytes, int]) -> bool:
        taken.append(runs)
        return take(self, data, start, end, items, runs)

    monkeypatch.setattr(Scanner, "_take", spy)
    lines = [HARMLESS % (3 + number // 60, number % 60, 0, "error" if number == 70 else "info") for number in range(180)][::step]
    tally, dummy = scan("".join(line + "\n" for line in lines).encode(), True, 1 << 17)
    assert (tally.window.lines, tally.window.errors, len(tally.window.minutes)) == (180, 1, 3)
    # Without the first line, which a piece may have only the end of, and the last.
    assert [sum(runs.values()) for runs in taken] == [177]


@pytest.mark.parametrize("writer", sorted(set(WRITERS) - {"text", "docker-text"}))
@pytest.mark.parametrize("piece", [997, 1 << 17])
def test_the_last_failed_request_has_its_time_whichever_way_it_is_read(writer: str, piece: int) -> None:
    happened = [Event(BEGIN + 200 + number, "info", f"order {number} 500", 503 if 1000 < number <= 1234 else 200, 5.0, False) for number in range(3000)]
    data = "".join(WRITERS[writer](event) + "\n" for event in happened).encode()
    for learn in (True, False):
        tally, dummy = scan(data, learn, piece, window=(BEGIN, BEGIN + 4000))
        assert tally.requests is not None and tally.requests.last_failed == pytest.approx(BEGIN + 200 + 1234, abs=0.002)
    tally, dummy = scan(data.replace(b"503", b"404"), True, piece, window=(BEGIN, BEGIN + 4000))
    assert tally.requests is not None and tally.requests.last_failed is None and tally.requests.facts()["last_5xx_at"] is None


def test_the_fast_way_is_taken() -> None:
    levels = ["error", *["info"] * 49]
    happened = [Event(BEGIN + 200 + number / 100, levels[number % 50], f"order {number} failed", 200, 5.0, False) for number in range(5000)]
    for writer in ("json", "compact", "pino", "nested", "text"):
        data = "".join(WRITERS[writer](event) + "\n" for event in happened).encode()
        tally, scanner = scan(data, True, 1 << 17, requests=writer != "text")
        assert scanner.slow_blocks == 0, writer
        assert (tally.window.lines, tally.window.errors) == (5000, 100)


def test_split_lines_are_put_together_per_stream() -> None:
    pieces = [
        {"log": '{"timestamp": "2026-11-23T12:03:00Z", "level": "error", ', "stream": "stdout", "time": "2026-11-23T12:03:00.1Z"},
        {"log": "INFO:     all well\n", "stream": "stderr", "time": "2026-11-23T12:03:00.2Z"},
        {"log": '"message": "one"}\n', "stream": "stdout", "time": "2026-11-23T12:03:00.3Z"},
    ]
    tally, dummy = scan("".join(json.dumps(piece, separators=(",", ":")) + "\n" for piece in pieces).encode(), True)
    assert (tally.window.lines, tally.window.errors, tally.window.unparsed) == (2, 1, 0)
    assert [group.sample for group in tally.window.groups.values()] == ["one"]


def test_a_long_line_costs_little_and_still_counts() -> None:
    line = b'{"timestamp": "2026-11-23T12:03:00Z", "level": "error", "message": "' + b"x" * 20_000_000 + b'"}\n'
    after = b'{"timestamp": "2026-11-23T12:03:01Z", "level": "error", "message": "next"}\n'
    tally, dummy = scan(line + after, False, 1 << 17)
    assert (tally.window.lines, tally.window.errors) == (2, 2)
    assert max(len(group.sample) for group in tally.window.groups.values()) < 2000


def test_groups_have_shapes_samples_and_bounds() -> None:
    assert shape_of("order 42 of 0xdeadbeef") == shape_of("order 7 of 0x1")
    assert shape_of("id 123e4567-e89b-12d3-a456-426614174000") == "id #"
    assert shape_of('relation "orders" does not exist') == 'relation "#" does not exist'
    assert shape_of("facade deadline") == "facade deadline"
    words = ["".join(chr(97 + int(digit)) for digit in str(number)) for number in range(3000)]
    lines = [f'{{"timestamp": "2026-11-23T12:03:00Z", "level": "error", "message": "{word}"}}' for word in words]
    tally, dummy = scan("\n".join(lines).encode() + b"\n", True)
    assert len(tally.window.groups) == 1001 and sum(group.count for group in tally.window.groups.values()) == 3000


def test_exceptions_are_told_apart_by_their_own_frames() -> None:
    def trace(function: str) -> str:
        own, other = f'  File "/srv/app/a.py", line 3, in {function}', '  File "/usr/lib/python3/x.py", line 9, in y'
        exception = f"Traceback (most recent call last):\n{own}\n{other}\nKeyError: 1"
        return json.dumps({"timestamp": "2026-11-23T12:03:00Z", "level": "error", "message": "failed", "exception": exception})

    tally, dummy = scan("".join(trace(name) + "\n" for name in ("f", "f", "g")).encode(), True)
    assert sorted(group.count for group in tally.window.groups.values()) == [1, 2]


durations = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=300)


@given(durations, durations)
def test_merged_histograms_are_those_of_all_and_near_the_truth(first: list[float], second: list[float]) -> None:
    one, other, both = Histogram(), Histogram(), Histogram()
    for value in first:
        one.add(value)
        both.add(value)
    for value in second:
        other.add(value)
        both.add(value)
    one.merge(other)
    assert (one.buckets, one.count, one.largest) == (both.buckets, both.count, both.largest)
    values = sorted(first + second)
    for share in (0.5, 0.95, 0.99):
        exact = values[max(0, -(-int(share * 100) * len(values) // 100) - 1)]
        found = both.percentile(share)
        assert found is not None and found == pytest.approx(exact, rel=0.025, abs=0.006)


@pytest.mark.parametrize(("path", "masked"), [
    ("/api/v1/items/42?q=1", "/api/v1/items/{id}"),
    ("/api/v2/users/123e4567-e89b-12d3-a456-426614174000/basket", "/api/v2/users/{id}/basket"),
    ("http://shop/api/x", "/api/x"), ("/", "/"), ("", "/"), ("/health", "/health"), ("/files/report-2026.pdf", "/files/{id}"),
])  # fmt: skip
def test_paths_are_masked(path: str, masked: str) -> None:
    assert mask_path(path) == masked


def test_one_by_one_and_many_at_once_count_the_same() -> None:
    values = [(b"12.5", b"200", b"GET", b"/a/1"), (b"2000", b"500", b"GET", b"/a/2"), (b"3", b"401", b"POST", b"/v1/a"), (b"3", b"404", b"POST", b"/v2/a")]
    one, many = RequestTally(1000), RequestTally(1000)
    for duration, status, method, path in values:
        one.add(method.decode(), path.decode(), int(status), float(duration))
    many.add_many(values, {"duration": 0, "status": 1, "method": 2, "path": 3}, 1.0)
    assert one.facts() == many.facts()
    facts = one.facts()
    assert (facts["requests"], facts["slow"], facts["errors_5xx"], facts["client_errors_4xx"], facts["unauthorized_401"]) == (4, 1, 1, 2, 1)
    assert collections.Counter(entry["path"] for entry in facts["paths"]) == {"/a/{id}": 1, "/v1/a": 1, "/v2/a": 1}
