# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lines that the loggers and servers really write (recorded in fixtures/logs/formats.json), and what they are read as."""

from __future__ import annotations

import json
import pathlib
import re

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _log_formats as formats
from ansible_collections.stackops.runbook.plugins.module_utils._log_formats import CRITICAL, DEBUG, ERROR, INFO, WARNING, Clock, learn, learn_whole, parse
from hypothesis import given
from hypothesis import strategies as st

RECORDED: dict[str, str] = json.loads((pathlib.Path(__file__).parents[2] / "fixtures" / "logs" / "formats.json").read_text(encoding="utf-8"))

#: The severities of the records in each recording, in order.
SEVERITIES = {
    "structlog-json": [INFO, ERROR, WARNING],
    "structlog-json-epoch-dict-tracebacks": [INFO, ERROR, WARNING],
    "structlog-logfmt": [INFO, ERROR, WARNING],
    "structlog-console": [INFO, ERROR, WARNING],
    "pythonjsonlogger-default": [INFO, INFO, ERROR, INFO],
    "pythonjsonlogger-fmt": [INFO, WARNING, ERROR, CRITICAL],
    "pythonjsonlogger-timestamp": [INFO, WARNING, ERROR, CRITICAL],
    "stdlib-text": [INFO, WARNING, ERROR, CRITICAL],
    "stdlib-basic": [INFO, WARNING, ERROR, CRITICAL],
    "stdlib-levelfirst": [INFO, WARNING, ERROR, CRITICAL],
    "stdlib-brackets": [INFO, WARNING, ERROR, CRITICAL],
    "ecs": [INFO, WARNING, ERROR, CRITICAL],
    "loguru-serialize": [INFO, INFO, WARNING, ERROR, DEBUG],
    "loguru-text": [INFO, INFO, WARNING, ERROR, DEBUG],
    "uvicorn": [INFO] * 6 + [ERROR] + [INFO] * 5,
    "uvicorn-color": [INFO] * 6 + [ERROR] + [INFO] * 5,
    "gunicorn": [INFO] * 7 + [ERROR, ERROR] + [INFO] * 3,
    "hypercorn": [INFO] * 4 + [ERROR, INFO],
    "nginx-access": [INFO, ERROR, INFO],
    "nginx-access_rt": [INFO, ERROR, INFO],
    "nginx-error": [INFO] * 6 + [ERROR, ERROR] + [INFO] * 6,
    "postgres": [INFO, INFO, CRITICAL, CRITICAL, ERROR, ERROR, ERROR, ERROR],
    "redis": [INFO, WARNING, INFO],
}
UNTIMED = {"pythonjsonlogger-default", "stdlib-basic", "uvicorn", "uvicorn-color"}


def lines_of(name: str) -> list[bytes]:
    return [line for line in RECORDED[name].encode().split(b"\n") if line.strip()]


def test_every_recording_is_checked() -> None:
    assert set(RECORDED) == set(SEVERITIES)


@pytest.mark.parametrize("name", sorted(SEVERITIES))
def test_severities_and_times(name: str) -> None:
    found = [parse(line, Clock()) for line in lines_of(name)]
    records = [record for record in found if record is not None]
    assert [record.severity for record in records] == SEVERITIES[name]
    assert all((record.time is None) == (name in UNTIMED) for record in records)


@pytest.mark.parametrize("name", ["structlog-json", "pythonjsonlogger-fmt", "pythonjsonlogger-default", "ecs", "structlog-logfmt"])
def test_requests_of_structured_lines(name: str) -> None:
    record = parse(lines_of(name)[0], Clock())
    assert record is not None
    assert (record.method, record.path, record.status, record.duration_ms) == ("GET", "/api/v1/items/7", 200, 12.5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("uvicorn", [("GET", "/api/v1/items/7?y=1", 200), ("GET", "/nope", 404), ("GET", "/boom", 500)]),
        ("gunicorn", [("GET", "/api/v1/items/7?y=1", 200), ("GET", "/nope", 404), ("GET", "/boom", 500)]),
        ("nginx-access", [("GET", "/x.html", 404), ("GET", "/api/v1/items/7", 502), ("GET", "/n.conf", 200)]),
    ],
)
def test_requests_of_access_lines(name: str, expected: list[tuple[str, str, int]]) -> None:
    records = [parse(line, Clock()) for line in lines_of(name)]
    assert [(record.method, record.path, record.status) for record in records if record is not None and record.status] == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("GET /v2/labels -> 200 in 1603 ms", ("GET", "/v2/labels", 200, 1603)),
        ("POST /orders HTTP/1.1 => 503 (12.5 ms)", ("POST", "/orders", 503, 12.5)),
        ("DELETE /orders/7: 204 in 3ms", ("DELETE", "/orders/7", 204, 3)),
        ("GET /orders - 404", ("GET", "/orders", 404, None)),
        ("GET /v2/popular failed: 3 retries", None),
    ],
)
def test_requests_in_words_of_an_application(words: str, expected: tuple[str, str, int, float | None] | None) -> None:
    record = parse(f"2026-11-23 11:59:58.120 | WARNING  | api:tell:81 - {words}".encode(), Clock())
    assert record is not None
    assert (record.method, record.path, record.status, record.duration_ms) == (expected or (None, None, None, None))


def test_nginx_request_time_is_in_seconds() -> None:
    line = lines_of("nginx-access_rt")[0].replace(b"rt=0.000", b"rt=1.250")
    record = parse(line, Clock())
    assert record is not None and record.duration_ms == 1250


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("structlog-json", "ZeroDivisionError: division by zero"),
        ("structlog-json-epoch-dict-tracebacks", "ZeroDivisionError: division by zero"),
        ("ecs", "KeyError: 'x'"),
        ("pythonjsonlogger-fmt", "KeyError: 'x'"),
        ("loguru-serialize", "KeyError: 'x'"),
    ],
)
def test_exceptions_come_with_their_record(name: str, text: str) -> None:
    details = [record.detail for record in (parse(line, Clock()) for line in lines_of(name)) if record is not None and record.severity >= ERROR]
    assert text in details[0]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-23T12:00:00Z", 1795435200.0),
        ("2026-11-23T12:00:00.5Z", 1795435200.5),
        ("2026-11-23T12:00:00.123456789Z", 1795435200.123456789),
        ("2026-11-23T20:00:00+08:00", 1795435200.0),
        ("2026-11-23 12:00:00,250", 1795435200.25),
        ("2026/11/23 12:00:00", 1795435200.0),
        ("23/Nov/2026:12:00:00 +0000", 1795435200.0),
        ("23/Nov/2026:07:00:00 -0500", 1795435200.0),
        ("2026-11-23 12:00:00.100 UTC", 1795435200.1),
        (1795435200, 1795435200.0),
        (1795435200.5, 1795435200.5),
        (1795435200500, 1795435200.5),
        (1795435200500000, 1795435200.5),
        (1795435200500000000, 1795435200.5),
        ("1795435200.5", 1795435200.5),
        ("2026-13-45T12:00:00Z", None),
        ("yesterday", None),
        (True, None),
        (5, None),
    ],
)
def test_times(text: object, seconds: float | None) -> None:
    found = Clock().read(text)
    assert found == pytest.approx(seconds) if seconds is not None else found is None


def test_times_without_zone_are_those_of_the_clock_and_said_to_be() -> None:
    zone = formats.zone_of("+08:00")
    clock = Clock(zone)
    assert clock.read("2026-11-23T12:00:00Z") == 1795435200.0 and not clock.assumed
    assert clock.read("2026-11-23 20:00:00") == 1795435200.0 and clock.assumed
    assert Clock(None).read("2026-11-23 20:00:00") is None
    assert formats.zone_of("No/Where") is None


@pytest.mark.parametrize(
    ("value", "key", "level"),
    [
        ("error", "level", ERROR),
        ("ERROR", "level", ERROR),
        ("Err", "level", ERROR),
        ("warn", "level", WARNING),
        ("FATAL", "level", CRITICAL),
        ("SUCCESS", "level", INFO),
        (40, "levelno", ERROR),
        (50, "levelno", CRITICAL),
        (30, "level", INFO),
        (50, "level", ERROR),
        (60, "level", CRITICAL),
        (3, "severity", ERROR),
        (6, "severity", INFO),
        ("strange", "level", None),
        (None, "level", None),
        (True, "level", None),
    ],
)
def test_levels(value: object, key: str, level: int | None) -> None:
    assert formats.level_of(value, key) == level


def test_docker_wrapper() -> None:
    assert formats.unwrap(b'{"log":"hello\\n","stream":"stderr","time":"2026-11-23T12:00:00.1Z"}') == (b"hello\n", "2026-11-23T12:00:00.1Z", "stderr")
    assert formats.unwrap(b'{"log":"cut') is None
    assert formats.unwrap(b'{"logger":"x"}') is None


@pytest.mark.parametrize("name", sorted(SEVERITIES))
@pytest.mark.parametrize("wrapped", [False, True])
def test_what_a_learned_layout_takes_is_harmless(name: str, wrapped: bool) -> None:
    lines = lines_of(name)
    if wrapped:
        lines = [b'{"log":%s,"stream":"stdout","time":"2026-11-23T12:00:00.1Z"}' % json.dumps(line.decode() + "\n").encode() for line in lines]
    clock = Clock(None if wrapped else formats.zone_of("UTC"))
    layouts = [layout for layout in (learn(line, clock) for line in lines) if layout is not None]
    for layout in layouts:
        pattern = re.compile(layout.before + rb"(?=" + layout.minute + layout.after + rb")")
        for line in lines:
            if pattern.match(line):
                unwrapped = formats.unwrap(line) if wrapped else None
                record = parse(unwrapped[0] if unwrapped else line, clock)
                assert record is not None and record.severity < WARNING


@pytest.mark.parametrize("name", ["structlog-json", "pythonjsonlogger-fmt", "pythonjsonlogger-timestamp", "ecs"])
def test_a_learned_line_matches_itself_and_gives_level_time_and_message(name: str) -> None:
    line = lines_of(name)[1] if name.startswith("python") or name == "ecs" else lines_of(name)[2]
    learned = learn_whole(line, Clock())
    assert learned is not None
    pattern, zone = learned
    match = re.fullmatch(pattern, line)
    record = parse(line, Clock())
    assert match is not None and record is not None
    assert json.loads(b'"' + match["message"] + b'"') == record.message
    assert formats.level_of(match["level"].decode()) == record.severity
    assert Clock().read(match["time"].decode() + zone) == record.time


@given(st.binary(max_size=300))
def test_no_line_is_too_strange(line: bytes) -> None:
    for text in (line, b'{"log":"' + line, b'{"level":"error","timestamp":"' + line, b"2026-11-23 12:00:00 " + line, b"level=error " + line):
        parse(text, Clock())
        learn(text, Clock())
        formats.unwrap(text)


def test_a_cut_off_line_still_counts() -> None:
    record = parse(b'{"timestamp": "2026-11-23T12:00:00Z", "level": "error", "message": "cut o', Clock())
    assert record is not None and record.level == ERROR and record.time == 1795435200.0


def test_a_level_word_inside_a_message_is_no_level() -> None:
    record = parse(b"2026-11-23 12:00:00,000 - shop - INFO - retrying after ERROR from peer", Clock())
    assert record is not None and record.level == INFO
    record = parse(b'{"timestamp": "2026-11-23T12:00:00Z", "level": "info", "message": "\\"level\\": \\"error\\""}', Clock())
    assert record is not None and record.level == INFO
