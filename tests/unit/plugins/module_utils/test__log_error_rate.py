# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Envelopes from logs of every kind on a real file system: verdicts, reasons for not knowing, and what is new."""

from __future__ import annotations

import datetime
import gzip
import json
import os
import pathlib
import random
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _log_error_rate as rate
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import Thresholds, rfc3339
from ansible_collections.stackops.runbook.plugins.module_utils._log_error_rate import LogOptions, analyse, check_logs
from ansible_collections.stackops.runbook.plugins.module_utils._log_sources import LogSource

NOW = 1795435200.0
PARAMETERS: dict[str, t.Any] = {
    "project_src": None, "project_name": None, "services": [], "paths": [], "units": [], "window": "1h", "since": None, "until": None, "level": "error",
    "errors_warning": 11, "errors_critical": None, "error_percent_warning": None, "error_percent_critical": None, "errors_per_minute_warning": None,
    "errors_per_minute_critical": None, "min_records": 50, "baseline": True, "timezone": None, "requests": False, "slow_request_ms": 1000.0,
    "max_bytes": 1 << 28, "state_file": None,
}  # fmt: skip


def iso(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.timezone.utc).isoformat().replace("+00:00", "Z")


def line(at: float, level: str = "info", message: str = "request completed", **more: t.Any) -> str:
    return json.dumps({"timestamp": iso(at), "level": level, "message": message, **more}) + "\n"


def write(path: pathlib.Path, lines: t.Iterable[str], age: float = 0) -> str:
    path.write_text("".join(lines), encoding="utf-8")
    os.utime(path, (NOW - age, NOW - age))
    return str(path)


def run(path: str | pathlib.Path, **options: t.Any) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    logs, dummy = analyse([LogSource(str(path), "file", str(path), "shop", "backend")], None, LogOptions(**options), now=NOW)
    return logs, logs["sources"][0]


def day(errors: t.Container[int] = ()) -> list[str]:
    """A record every ten seconds of the last day; those whose number (back from now) is in *errors* are errors."""
    return [line(NOW - 10 * number, "error" if number in errors else "info", "order 1 failed" if number in errors else "ok") for number in range(8640, 0, -1)]


def test_window_and_baseline(tmp_path: pathlib.Path) -> None:
    logs, source = run(write(tmp_path / "app.log", day({5, 6, 7, 100, 370, 371, 5000})))
    assert (source["lines"], source["errors"], source["baseline_errors"], source["unparsed_lines"]) == (360, 4, 2, 0)
    assert (source["status"], logs["status"], source["reason"]) == ("ok", "ok", None)
    assert source["error_percent"] == pytest.approx(100 * 4 / 360, abs=0.001)
    assert source["errors_per_minute"] == pytest.approx(4 / 60, abs=0.001)
    assert sum(entry["records"] for entry in source["histogram"]) == 360 and sum(entry["errors"] for entry in source["histogram"]) == 4
    assert (source["peak_minute"], source["peak_minute_errors"]) == ("2026-11-23T11:59:00Z", 2)
    assert source["last_record_at"] == "2026-11-23T11:59:50Z" and source["last_record_age_seconds"] == 10
    assert source["groups"][0]["is_new"] is False
    assert source["read_bytes"] < 500_000


def test_what_was_not_in_the_window_before_is_new(tmp_path: pathlib.Path) -> None:
    dummy, source = run(write(tmp_path / "app.log", day({5, 6})))
    assert source["groups"][0]["is_new"] is True and source["baseline_errors"] == 0


def test_nothing_is_new_where_the_log_does_not_reach_back(tmp_path: pathlib.Path) -> None:
    dummy, source = run(write(tmp_path / "app.log", day({5, 6})[-300:]))
    assert source["groups"][0]["is_new"] is None and source["baseline_errors"] is None


@pytest.mark.parametrize(
    ("newest", "expected"),
    [
        (28800, 28800.0),
        (700, 700.0),
        (300, None),
        (0, None),
        (-300, None),
        (-700, None),
        (-19802, -19802.0),
        (-29000, None),
        (-72000, None),
    ],  # fmt: skip
)
def test_a_log_of_another_zone_is_told_from_one_that_was_touched(tmp_path: pathlib.Path, newest: float, expected: float | None) -> None:
    dummy, source = run(write(tmp_path / "app.log", [line(NOW + newest - 10 * number, "info", "ok") for number in range(50, -1, -1)]))
    assert source["clock_offset_seconds"] == expected


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({}, "ok"),
        ({"errors": Thresholds(5, None)}, "warning"),
        ({"errors": Thresholds(6, None)}, "ok"),
        ({"errors": Thresholds(1, 5)}, "critical"),
        ({"percent": Thresholds(1.0, 2.0)}, "warning"),
        ({"percent": Thresholds(1.0, 1.3)}, "critical"),
        ({"percent": Thresholds(1.0, 1.3), "minimum_records": 500}, "ok"),
        ({"per_minute": Thresholds(0.05, None)}, "warning"),
    ],
)
def test_thresholds(tmp_path: pathlib.Path, options: dict[str, t.Any], status: str) -> None:
    logs, source = run(write(tmp_path / "app.log", day(range(10, 15))), **options)
    assert (source["status"], logs["status"]) == (status, status)


def test_more_than_ten_errors_are_a_warning_as_in_the_guide(tmp_path: pathlib.Path) -> None:
    assert run(write(tmp_path / "a.log", day(range(10, 20))))[1]["status"] == "ok"
    assert run(write(tmp_path / "b.log", day(range(10, 21))))[1]["status"] == "warning"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"just\nsome\nlines\nof\ntext\n", "unparsable"),
        (bytes(range(1, 256)) * 100, "binary"),
        (b"2026-11-23 11:59:00 a time but no level\n" * 10, "unparsable"),
        (b'{"message": "no level", "timestamp": "2026-11-23T11:59:00Z"}\n' * 10, "unparsable"),
    ],
)
def test_what_is_not_known_is_never_free_of_errors(tmp_path: pathlib.Path, content: bytes, reason: str) -> None:
    path = tmp_path / "app.log"
    path.write_bytes(content)
    os.utime(path, (NOW - 5, NOW - 5))
    logs, source = run(path)
    assert (source["status"], source["reason"], logs["status"]) == ("unknown", reason, "unknown")
    assert logs["errors"] and logs["errors"][0]["hint"]


def test_a_log_without_a_record_in_the_window_is_as_old_as_its_last_write(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "app.log"
    path.write_text('{"timestamp": "2026-11-20T10:00:00Z", "level": "INFO", "message": "started"}\n')
    os.utime(path, (NOW - 90000, NOW - 90000))
    dummy, source = run(path)
    assert (source["lines"], source["reason"], source["last_record_age_seconds"]) == (0, None, 90000)


def test_a_missing_log(tmp_path: pathlib.Path) -> None:
    logs, source = run(tmp_path / "nothing.log")
    assert (source["status"], source["reason"]) == ("unknown", "missing")
    assert logs["errors"][0]["source"].endswith("nothing.log")


def test_no_log_at_all() -> None:
    logs, requests = analyse([], None, LogOptions(), now=NOW)
    assert (logs["status"], requests["status"]) == ("unknown", "unknown")


def test_an_empty_log_beside_a_good_one_does_not_spoil_it(tmp_path: pathlib.Path) -> None:
    sources = [LogSource("a", "file", write(tmp_path / "a.log", day())), LogSource("b", "file", write(tmp_path / "b.log", []))]
    logs, dummy = analyse(sources, None, LogOptions(), now=NOW)
    assert [source["status"] for source in logs["sources"]] == ["ok", "unknown"] and logs["status"] == "ok"


def test_rotated_files_are_read_as_far_as_the_window_goes(tmp_path: pathlib.Path) -> None:
    lines = day({50, 200, 400, 8000})
    (tmp_path / "app.log.3.gz").write_bytes(gzip.compress("".join(lines[:8000]).encode()))
    os.utime(tmp_path / "app.log.3.gz", (NOW - 6400, NOW - 6400))
    (tmp_path / "app.log.2.gz").write_bytes(gzip.compress("".join(lines[8000:8400]).encode()))
    os.utime(tmp_path / "app.log.2.gz", (NOW - 2400, NOW - 2400))
    write(tmp_path / "app.log.1", lines[8400:8600], 400)
    dummy, source = run(write(tmp_path / "app.log", lines[8600:]))
    assert (source["lines"], source["errors"], source["baseline_errors"]) == (360, 2, 1)
    assert [os.path.basename(path) for path in source["paths"]] == ["app.log.3.gz", "app.log.2.gz", "app.log.1", "app.log"]
    dummy, source = run(tmp_path / "app.log", window_seconds=600)
    assert [os.path.basename(path) for path in source["paths"]] == ["app.log.1", "app.log"]


def test_the_newest_is_kept_where_there_is_too_much(tmp_path: pathlib.Path) -> None:
    dummy, source = run(write(tmp_path / "app.log", day({1, 8639})), whole=True, max_bytes=100_000)
    assert source["truncated"] and source["errors"] == 1 and 0 < source["read_bytes"] <= 100_000


def test_lines_in_disorder_count_all_the_same(tmp_path: pathlib.Path) -> None:
    lines = day({5, 6, 7, 100, 370, 371, 5000})
    ordered = run(write(tmp_path / "a.log", lines))[1]
    random.Random(7).shuffle(lines)
    mixed = run(write(tmp_path / "b.log", lines))[1]
    keys = ("lines", "errors", "histogram", "error_percent")
    assert {key: ordered[key] for key in keys} == {key: mixed[key] for key in keys}
    assert "order of time" in mixed["time_assumption"]


def test_writers_a_little_behind_one_another_lose_nothing(tmp_path: pathlib.Path) -> None:
    dice = random.Random(3)
    moments = sorted((NOW - 7300 + number * 0.1 for number in range(73_000)), key=lambda at: at + dice.uniform(0, 4))
    lines = [line(at, "error" if round(at * 10) % 100 == 0 else "info") for at in moments]
    dummy, source = run(write(tmp_path / "app.log", lines))
    assert source["lines"] == sum(NOW - 3600 <= at < NOW for at in moments)
    assert source["errors"] == sum(NOW - 3600 <= at < NOW and round(at * 10) % 100 == 0 for at in moments)


def test_zones(tmp_path: pathlib.Path) -> None:
    lines = [f"2026-11-23 19:{minute:02}:00,000 - shop - ERROR - order {minute} failed\n" for minute in range(60)]
    path = write(tmp_path / "app.log", lines)
    dummy, source = run(path, zone="+08:00")
    assert source["errors"] == 60 and "+08:00" in source["time_assumption"]
    dummy, source = run(path)
    assert source["errors"] == 0 and "UTC" in source["time_assumption"] and "in the future" in source["time_assumption"]
    logs, dummy2 = analyse([LogSource("x", "file", path, zone="No/Where")], None, LogOptions(), now=NOW)
    assert "does not know the zone" in logs["sources"][0]["time_assumption"]


def test_lines_without_time_take_that_of_the_file_and_say_so(tmp_path: pathlib.Path) -> None:
    dummy, source = run(write(tmp_path / "app.log", ["INFO:     started\n"] * 60 + ["ERROR:    Exception in ASGI application\n"], age=60))
    assert (source["lines"], source["errors"]) == (61, 1) and "without a time" in source["time_assumption"]


def test_docker_log_of_an_application_without_times(tmp_path: pathlib.Path) -> None:
    def wrapped(at: float, text: str) -> str:
        return json.dumps({"log": text + "\n", "stream": "stderr", "time": iso(at)}).replace(", ", ",").replace('": ', '":') + "\n"

    texts = ["ERROR:    Exception in ASGI application", "Traceback (most recent call last):", '  File "/srv/app/main.py", line 3, in f', "KeyError: 'x'"]
    lines = [wrapped(NOW - 7200, "ERROR:    long ago")] + [wrapped(NOW - 60, text) for text in texts] + [wrapped(NOW - 50, "INFO:     well")]
    path = write(tmp_path / "x-json.log", lines)
    dummy, source = run(path)
    assert (source["lines"], source["errors"], source["time_assumption"]) == (2, 1, None)
    assert source["groups"][0]["error"]["exception"] == "KeyError"


def test_kinds_are_per_service_and_not_added_up_over_its_logs(tmp_path: pathlib.Path) -> None:
    message = 'connection to server at "db" (172.18.0.2), port 5432 failed: Connection refused'
    path = write(tmp_path / "app.log", [line(NOW - number, "error", message) for number in range(20, 0, -1)])
    sources = [LogSource("file", "file", path, "shop", "backend"), LogSource("container:x", "container", path, "shop", "backend")]
    logs, dummy = analyse(sources, None, LogOptions(), now=NOW)
    assert len(logs["kinds"]) == 1
    kind = logs["kinds"][0]
    assert (kind["kind"], kind["service"], kind["count"]) == ("database-refused", "backend", 20)
    assert kind["parameters"] == {"host": "db", "address": "172.18.0.2", "port": "5432"}


def test_secrets_do_not_leave_the_host(tmp_path: pathlib.Path) -> None:
    messages = ["bad url postgresql://app:Canary123@db/shop", "Authorization: Bearer CanaryCanaryCanary1234", "login with password=Canary123 failed"]
    logs, dummy = run(write(tmp_path / "app.log", [line(NOW - 5, "error", message) for message in messages]))
    assert "Canary" not in json.dumps(logs)
    assert logs["sources"][0]["errors"] == 3
    assert logs["sources"][0]["last_error_at"] == rfc3339(NOW - 5)


def test_requests_come_from_the_same_reading(tmp_path: pathlib.Path) -> None:
    lines = []
    for number in range(2000, 0, -1):
        status = 500 if number % 10 == 0 else 200
        lines.append(line(NOW - number, status=status, duration_ms=float(number), method="GET", path=f"/api/items/{number}"))
    dummy, requests = analyse([LogSource("a", "file", write(tmp_path / "app.log", lines), "shop", "api")], None, LogOptions(), now=NOW)
    source = requests["sources"][0]
    assert (source["requests"], source["slow"], source["errors_5xx"], source["service"]) == (2000, 1001, 200, "api")
    assert source["last_5xx_at"] == rfc3339(NOW - 10)
    assert source["p50_ms"] == pytest.approx(1000, rel=0.03) and source["p99_ms"] == pytest.approx(1980, rel=0.03) and source["max_ms"] == 2000
    assert [(entry["path"], entry["count"]) for entry in source["paths"]] == [("/api/items/{id}", 2000)]
    assert source["status"] == "critical"


def test_facts_have_the_names_of_the_schema(tmp_path: pathlib.Path) -> None:
    logs, dummy = run(write(tmp_path / "app.log", day({5})))
    path = write(tmp_path / "b.log", [line(NOW - 5, status=200, duration_ms=1)])
    dummy2, requests = analyse([LogSource("a", "file", path)], None, LogOptions(), now=NOW)
    yaml = pytest.importorskip("yaml")
    schema = yaml.safe_load((pathlib.Path(__file__).parents[4] / "roles/diagnose/files/facts_schema.yml").read_text(encoding="utf-8"))["collectors"]

    def names(tree: t.Any) -> set[str]:
        return {name.rstrip("[]{}") for name in tree}

    assert set(logs["sources"][0]) == names(schema["logs"]["sources[]"])
    assert set(logs["sources"][0]["groups"][0]) == names(schema["logs"]["sources[]"]["groups[]"])
    assert set(requests["sources"][0]) == names(schema["requests"]["sources[]"])
    assert set(requests["sources"][0]["paths"][0]) == names(schema["requests"]["sources[]"]["paths[]"])


def test_module_options(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate.time, "time", lambda: NOW)
    path = write(tmp_path / "app.log", day({5, 6, 7, 100, 370}))
    found = check_logs({**PARAMETERS, "paths": [path], "window": "15m"})
    assert found["sources"][0]["errors"] == 3 and found["requests"] is None
    found = check_logs({**PARAMETERS, "paths": [str(tmp_path)], "since": "2026-11-23T10:00:00Z", "until": "2026-11-23T11:00:00Z", "requests": True})
    assert found["sources"][0]["errors"] == 1 and found["requests"]["sources"] == []
    found = check_logs({**PARAMETERS, "paths": [path], "window": "all"})
    assert found["sources"][0]["lines"] == 8640


@pytest.mark.parametrize(("option", "value"), [
    ("window", "soon"), ("window", "0h"), ("since", "yesterday"), ("until", "later"), ("timezone", "Mars/Base"),
])  # fmt: skip
def test_wrong_options_are_said(option: str, value: str) -> None:
    with pytest.raises(ValueError, match=option):
        check_logs({**PARAMETERS, "paths": ["/nothing"], option: value})


def test_an_engine_that_is_not_there_is_unknown_with_the_reason() -> None:
    docker = {"docker_host": "unix:///nothing/docker.sock", "tls": False, "validate_certs": False, "tls_hostname": None, "ca_path": None}
    found = check_logs({**PARAMETERS, **docker, "client_cert": None, "client_key": None, "api_version": None, "timeout": 5})
    assert found["status"] == "unknown" and found["errors"][0]["hint"]
