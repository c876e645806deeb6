# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lines for a person: which are taken of a log, what belongs together, in which order, without secrets, and what is new."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import time
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _log_lines
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import ContainerRef, Stack
from ansible_collections.stackops.runbook.plugins.module_utils._log_formats import ERROR, WARNING, without_time
from ansible_collections.stackops.runbook.plugins.module_utils._log_lines import LinesOptions, Places, check_lines, collect_lines
from hypothesis import given, settings
from hypothesis import strategies as st

BASE = 1795428000.0  # 2026-11-23T10:00:00Z
SECRET = "Canary-lines-77aa"
TRACE = ["Traceback (most recent call last):", '  File "/app/main.py", line 3, in f', "    1 / 0", "ZeroDivisionError: division by zero"]

DEFAULTS: dict[str, t.Any] = {
    "project_src": None, "project_name": None, "services": [], "stacks": [], "paths": [], "units": [], "discover": None, "lines": None, "window": None,
    "since": None, "until": None, "level": None, "text": None, "timezone": None, "max_bytes": 16 << 20, "deadline": 30, "position": None,
}  # fmt: skip


def stamp(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(BASE + seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def write(path: pathlib.Path, *lines: str, end: str = "\n") -> str:
    with path.open("a", encoding="utf-8") as handle:
        handle.write("\n".join(lines) + end)
    return str(path)


def read(*paths: str, stacks: t.Sequence[Stack] = (), places: t.Optional[Places] = None, **options: t.Any) -> dict[str, t.Any]:
    return collect_lines(stacks, None, LinesOptions(paths=paths, **options), places)


def texts(facts: dict[str, t.Any]) -> list[str]:
    return [line["text"] for line in facts["lines"]]


def container(service: str, *env: str, **inspect: t.Any) -> ContainerRef:
    labels = {"com.docker.compose.project": "shop", "com.docker.compose.service": service}
    config = {"Labels": labels, "Env": list(env)}
    return ContainerRef({"Id": service, "Name": f"/shop-{service}-1", "State": {"Status": "running"}, "Config": config, **inspect})


# -- which, and in which order -----------------------------------------------------------------------------------------


def test_the_last_of_each_log_in_the_order_of_their_times(tmp_path: pathlib.Path) -> None:
    one = write(tmp_path / "one.log", *(f"{stamp(number)} INFO app: one {number}" for number in range(0, 10, 2)))
    two = write(tmp_path / "two.log", *(json.dumps({"timestamp": stamp(number), "level": "error", "message": f"two {number}"}) for number in range(1, 10, 2)))
    facts = read(one, two, lines=2)
    assert texts(facts) == ["INFO app: one 6", "two 7", "INFO app: one 8", "two 9"]
    assert [line["level"] for line in facts["lines"]] == ["info", "error", "info", "error"]
    assert facts["lines"][0]["time"] == "2026-11-23T10:00:06.000000Z"
    assert [(log["lines"], log["truncated"]) for log in facts["logs"]] == [(2, True), (2, True)]
    assert (facts["status"], facts["summary"]) == ("ok", "4 lines of 2 logs")
    assert [log["truncated"] for log in read(one, two, lines=5)["logs"]] == [False, False]


def test_a_window_a_level_and_a_text(tmp_path: pathlib.Path) -> None:
    levels = ["DEBUG", "INFO", "WARNING", "ERROR"]
    path = write(tmp_path / "a.log", *(f"{stamp(number)} {levels[number % 4]} Order {number}" for number in range(40)), "no level, no time")
    assert texts(read(path, since=BASE + 37, until=BASE + 39)) == ["INFO Order 37", "WARNING Order 38"]
    assert texts(read(path, level=ERROR, lines=2)) == ["ERROR Order 35", "ERROR Order 39\nno level, no time"]
    assert texts(read(path, text="order 3", level=WARNING, lines=3)) == ["ERROR Order 35", "WARNING Order 38", "ERROR Order 39\nno level, no time"]


def test_times_in_a_zone_of_their_own(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path / "a.log", "2026-11-23 18:00:00,500 ERROR app: late")
    assert read(path, zone="+08:00")["lines"][0]["time"] == "2026-11-23T10:00:00.500000Z"
    assert read(path)["lines"][0]["time"] == "2026-11-23T18:00:00.500000Z"


def test_enough_is_found_far_back_and_in_rotated_files(tmp_path: pathlib.Path) -> None:
    filler = [f"{stamp(1000 + number)} INFO app: {'x' * 100} {number}" for number in range(20000)]
    write(tmp_path / "a.log.1", f"{stamp(1)} ERROR app: oldest", f"{stamp(2)} ERROR app: old")
    path = write(tmp_path / "a.log", f"{stamp(3)} ERROR app: newer", *filler)
    assert texts(read(path, level=ERROR, lines=2)) == ["ERROR app: old", "ERROR app: newer"]
    assert texts(read(path, level=ERROR, lines=50)) == ["ERROR app: oldest", "ERROR app: old", "ERROR app: newer"]
    bounded = read(path, level=ERROR, lines=2, max_bytes=1 << 20)
    assert (texts(bounded), bounded["logs"][0]["truncated"]) == ([], True)
    # A window in the past is sought in a long file.
    assert len(texts(read(path, since=BASE + 1005, until=BASE + 1010, max_bytes=1 << 20))) == 5


@given(st.lists(st.integers(0, 59), min_size=1, max_size=60), st.integers(1, 30), st.integers(1, 5))
def test_any_part_of_a_file_gives_the_same_last_lines(tmp_path_factory: pytest.TempPathFactory, seconds: list[int], wanted: int, step: int) -> None:
    lines = [f"{stamp(number)} INFO app: {position}" for position, number in enumerate(sorted(seconds))]
    path = write(tmp_path_factory.mktemp("logs") / "a.log", *lines)
    whole, small = _log_lines.FIRST_BYTES, 64 * step
    _log_lines.FIRST_BYTES = small
    try:
        assert texts(read(path, lines=wanted)) == [f"INFO app: {position}" for position in range(len(lines))][-wanted:]
    finally:
        _log_lines.FIRST_BYTES = whole


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ten thousand records, one a second, every tenth an error with a traceback."""
    lines = []
    for number in range(10000):
        lines.append(f"{stamp(number)} {'INFO' if number % 10 else 'ERROR'} app: {number} {'x' * 60}")
        lines += TRACE if number % 10 == 0 else []
    return write(tmp_path_factory.mktemp("long") / "a.log", *lines)


@settings(max_examples=40, deadline=None)
@given(st.integers(-50, 10050), st.none() | st.integers(1, 3000), st.sampled_from([None, ERROR]), st.sampled_from([1, 100, 20000]))
def test_any_window_of_a_long_log(long_log: str, begin: int, length: t.Optional[int], level: t.Optional[int], wanted: int) -> None:
    end = None if length is None else begin + length
    numbers = [number for number in range(10000) if number >= begin and (end is None or number < end) and (level is None or number % 10 == 0)]
    facts = read(long_log, since=BASE + begin, until=None if end is None else BASE + end, level=level, lines=wanted)
    assert [int(text.split()[2]) for text in texts(facts)] == numbers[-wanted:]
    assert facts["logs"][0]["truncated"] == (len(numbers) > wanted)


# -- what belongs together ---------------------------------------------------------------------------------------------


def wrapped(seconds: float, text: str, stream: str = "stdout", end: str = "\n") -> str:
    return json.dumps({"log": text + end, "stream": stream, "time": stamp(seconds)}, separators=(",", ":"))


def test_a_traceback_stays_with_its_record(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path / "a.log", f"{stamp(1)} ERROR app: failed", *TRACE, f"{stamp(2)} INFO app: next")
    assert texts(read(path)) == ["\n".join(["ERROR app: failed", *TRACE]), "INFO app: next"]
    assert texts(read(path, text="zerodivision")) == ["\n".join(["ERROR app: failed", *TRACE])]


def test_lines_of_a_container_belong_together_where_they_were_written_together(tmp_path: pathlib.Path) -> None:
    lines = [wrapped(1, "INFO:     Started server"), wrapped(1.5, "listening on 8000"), wrapped(9, "a print of the application")]
    trace = [wrapped(20 + number / 10000, line, "stderr") for number, line in enumerate(TRACE)]
    path = write(tmp_path / "c-json.log", *lines, *trace, wrapped(30, "half a ", end=""), wrapped(30, "line"))
    facts = read(path)
    assert [(line["text"].split("\n")[0], line["level"]) for line in facts["lines"]] == [
        ("INFO:     Started server", "info"),
        ("listening on 8000", None),
        ("a print of the application", None),
        (TRACE[0], "error"),
        ("half a line", None),
    ]
    assert facts["lines"][3]["text"] == "\n".join(TRACE)
    assert facts["lines"][2]["time"] == "2026-11-23T10:00:09.000000Z"


def test_structured_records_are_read_as_a_person_reads_them(tmp_path: pathlib.Path) -> None:
    record = {
        "timestamp": stamp(1), "level": "ERROR", "logger": "app.orders", "message": "payment failed", "order": 4711, "path": "/orders", "note": "two words",
        "client": {"ip": "192.0.2.7", "agent": None}, "exception": "\n".join(TRACE),
    }  # fmt: skip
    (line,) = read(write(tmp_path / "a.log", json.dumps(record)))["lines"]
    head = 'app.orders: payment failed order=4711 path=/orders note="two words" client.ip=192.0.2.7'
    assert (line["text"], line["level"]) == ("\n".join([head, *TRACE]), "error")


def test_what_has_no_time_has_that_of_its_neighbour_or_of_the_file(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path / "a.log", "before any time", f"{stamp(5)} INFO app: first")
    assert [(line["text"], line["time"][17:19]) for line in read(path)["lines"]] == [("before any time", "05"), ("INFO app: first", "05")]
    assert texts(read(path, since=BASE + 6)) == []
    plain = write(tmp_path / "b.log", *(f"line {number}" for number in range(50)))
    os.utime(plain, (BASE, BASE))
    facts = read(plain, lines=3)
    assert texts(facts) == ["line 47", "line 48", "line 49"]
    assert facts["lines"][0]["time"] == "2026-11-23T10:00:00.000000Z"


def test_endless_tracebacks_are_cut(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path / "a.log", f"{stamp(1)} ERROR app: deep", *("  frame" for dummy in range(900)))
    (text,) = texts(read(path))
    assert text.count("\n") == _log_lines.MAX_CONTINUED
    assert text.endswith("… 701 more lines")


@pytest.mark.parametrize(
    ("line", "rest"),
    [
        ("2026-11-23T10:00:00.123Z INFO x", "INFO x"),
        ("[2026-11-23 10:00:00 +0000] [7] [INFO] Booting", "[7] [INFO] Booting"),
        ("INFO:     Started", "INFO:     Started"),
        ("12 monkeys", "12 monkeys"),
        ("", ""),
    ],
)
def test_the_time_in_front_is_not_said_twice(line: str, rest: str) -> None:
    assert without_time(line) == rest


# -- secrets -----------------------------------------------------------------------------------------------------------


def test_secrets_of_the_stack_and_what_looks_like_some_are_taken_out(tmp_path: pathlib.Path) -> None:
    stack = Stack("shop", containers=[container("web", f"APP_PASSWORD={SECRET}"), container("db")])
    records = [
        {"timestamp": stamp(1), "level": "info", "message": f"login with {SECRET}"},
        {"timestamp": stamp(2), "level": "info", "password": 'with "quotes" in it', "nested": {"api_key": "a1b2"}, "more": [{"token": "t0k"}]},
        {"timestamp": stamp(3), "level": "info", "message": "x", "url": "postgresql://app:hunter2hunter2@db/shop", "password_file": "/run/secret"},
    ]
    path = write(tmp_path / "a.log", *map(json.dumps, records), f"{stamp(4)} INFO app: token=abcdefgh Authorization: Bearer abcdefghijklmnop")
    shown = json.dumps(read(path, stacks=[stack]))
    for secret in (SECRET, "quotes", "a1b2", "t0k", "hunter2", "abcdefgh"):
        assert secret not in shown
    assert "password_file=/run/secret" in shown
    assert "postgresql://app:[redacted]@db/shop" in shown


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=100).map(lambda rest: rest + SECRET), st.integers(0, 3000))
def test_a_known_secret_is_never_shown_however_long_the_record(tmp_path_factory: pytest.TempPathFactory, before: str, repeated: int) -> None:
    stack = Stack("shop", containers=[container("web", f"APP_PASSWORD={SECRET}")])
    line = json.dumps({"timestamp": stamp(1), "level": "info", "message": before * (1 + repeated)})
    shown = json.dumps(read(write(tmp_path_factory.mktemp("logs") / "a.log", line), stacks=[stack]), ensure_ascii=False)
    assert SECRET[:10] not in shown


# -- what is new -------------------------------------------------------------------------------------------------------


def later(path: str, places: Places, **options: t.Any) -> tuple[list[str], Places]:
    """Read what is new with places that went over the wire."""
    again = Places.from_position(json.loads(json.dumps(places.as_position(time.time()))))
    return texts(read(path, places=again, **options)), again


def test_only_what_is_new_is_read_through_rotation(tmp_path: pathlib.Path) -> None:
    path, places = write(tmp_path / "a.log", f"{stamp(1)} INFO app: a"), Places.from_position(None)
    assert texts(read(path, places=places)) == ["INFO app: a"]
    found, places = later(path, places)
    assert found == []
    write(tmp_path / "a.log", f"{stamp(2)} INFO app: b")
    os.rename(path, path + ".1")
    write(tmp_path / "a.log", f"{stamp(3)} INFO app: c")
    found, places = later(path, places)
    assert found == ["INFO app: b", "INFO app: c"]
    write(tmp_path / "a.log", f"{stamp(4)} INFO app: ", end="")
    found, places = later(path, places)
    assert found == []
    write(tmp_path / "a.log", "d")
    found, places = later(path, places)
    assert found == ["INFO app: d"]


def test_a_traceback_in_two_parts_keeps_its_level(tmp_path: pathlib.Path) -> None:
    path, places = write(tmp_path / "a.log", f"{stamp(1)} ERROR app: failed", *TRACE[:2]), Places.from_position(None)
    assert len(texts(read(path, places=places, level=ERROR))) == 1
    write(tmp_path / "a.log", *TRACE[2:])
    found, places = later(path, places, level=ERROR)
    assert "\n".join(found) == "\n".join(TRACE[2:])


def test_a_log_that_came_meanwhile_is_new_as_a_whole(tmp_path: pathlib.Path) -> None:
    path, places = write(tmp_path / "a.log", f"{stamp(1)} INFO app: a"), Places.from_position(None)
    read(path, places=places)
    other = write(tmp_path / "b.log", f"{stamp(2)} INFO app: b")
    assert later(other, places)[0] == ["INFO app: b"]


def test_lines_of_the_engine_go_on_after_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    given_lines: list[str] = [wrapped(1, "a"), wrapped(2, "b")]
    monkeypatch.setattr(_log_lines, "lines_of_engine", lambda source, engine, since: ("\n".join(given_lines) + "\n").encode())
    stack = Stack("shop", containers=[container("web", HostConfig={"LogConfig": {"Type": "local"}})])
    places = Places.from_position(None)
    assert texts(read(stacks=[stack], places=places)) == ["a", "b"]
    given_lines.append(wrapped(2.5, "c"))
    again = Places.from_position(json.loads(json.dumps(places.as_position(0))))
    assert texts(read(stacks=[stack], places=again)) == ["c"]
    assert texts(read(stacks=[stack], places=again)) == []


# -- trouble -----------------------------------------------------------------------------------------------------------


def test_one_log_that_cannot_be_read_does_not_stop_the_others(tmp_path: pathlib.Path) -> None:
    good = write(tmp_path / "a.log", f"{stamp(1)} INFO app: a")
    facts = read(good, str(tmp_path / "absent.log"))
    assert (facts["status"], texts(facts), [error["source"] for error in facts["errors"]]) == ("unknown", ["INFO app: a"], [str(tmp_path / "absent.log")])


def test_an_empty_log_is_no_trouble(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.log").touch()
    facts = read(str(tmp_path / "a.log"))
    assert (facts["status"], facts["lines"]) == ("ok", [])


ODD = [b'{"log":"', b'{"log":"a","stream":"stdout","time":"x"}', b"Traceback (most recent call last):", b"{}"]


@given(st.lists(st.binary(max_size=60) | st.sampled_from(ODD)))
def test_any_bytes_are_lines(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("logs") / "a.log"
    path.write_bytes(b"\n".join(parts) + b"\n")
    facts = read(str(path))
    assert facts["errors"] == []
    json.dumps(facts, allow_nan=False).encode()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": "soon"}, "window must be a time span"),
        ({"since": "yesterday"}, "since must be a time"),
        ({"since": "2026-01-02", "until": "2026-01-01"}, "since must be before until"),
        ({"lines": 0}, "lines must be between 1"),
        ({"timezone": "Moon"}, "timezone must be"),
        ({"position": {"files": 7}}, "position is not what"),
    ],
)
def test_wrong_options_are_named(options: dict[str, t.Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_lines({**DEFAULTS, "paths": ["/nonexistent"], **options})


def test_a_window_has_more_lines_than_a_glance(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path / "a.log", *(f"{stamp(number / 10)} INFO app: {number}" for number in range(300)))
    assert len(check_lines({**DEFAULTS, "paths": [path]})["lines"]) == 100
    assert len(check_lines({**DEFAULTS, "paths": [path], "since": "2026-11-23"})["lines"]) == 300
