# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logs that are written, rotated and read again; what was found is told once, and told so that nobody is steered by it."""

from __future__ import annotations

import contextlib
import copy
import datetime
import gzip
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._access_lines import FailedLogin, Request
from ansible_collections.stackops.runbook.plugins.module_utils._log_cursor import Cursors
from ansible_collections.stackops.runbook.plugins.module_utils._log_files import Source, files_of
from ansible_collections.stackops.runbook.plugins.module_utils._log_sources import LogSource
from ansible_collections.stackops.runbook.plugins.module_utils._request_findings import RequestFindings, masked, sample
from ansible_collections.stackops.runbook.plugins.module_utils._request_rules import WatchOptions
from ansible_collections.stackops.runbook.plugins.module_utils._request_watch import load_routes, watch_requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NOW = 1795435200.0
ATTACKER = "203.0.113.9"
Json = dict[str, t.Any]


def combined(at: float, client: str, method: str, path: str, status: int, agent: str = "curl/8", forwarded: str = "") -> str:
    when = datetime.datetime.fromtimestamp(at, datetime.timezone.utc).strftime("%d/%b/%Y:%H:%M:%S +0000")
    return f'{client} - - [{when}] "{method} {path} HTTP/1.1" {status} 12 "-" "{agent}"' + (f' "{forwarded}"' if forwarded else "") + "\n"


def of_application(at: float, client: str, method: str, path: str, status: int) -> str:
    when = datetime.datetime.fromtimestamp(at, datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return (
        json.dumps(
            {"timestamp": when, "level": "INFO", "logger": "app.request", "message": "x", "status": status, "method": method, "path": path, "client_ip": client}
        )
        + "\n"
    )


def of_container(at: float, client: str, method: str, path: str, status: int) -> str:
    when = datetime.datetime.fromtimestamp(at, datetime.timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "000Z")
    return (
        json.dumps({"log": f'INFO:     {client}:47 - "{method} {path} HTTP/1.1" {status} OK\n', "stream": "stdout", "time": when}, separators=(",", ":")) + "\n"
    )


def ordinary(line: t.Callable[..., str], begin: float, count: int = 100) -> str:
    return "".join(line(begin + number / 2, f"198.51.100.{number % 50}", "GET", f"/items/{number}", 200) for number in range(count))


def attack(line: t.Callable[..., str], begin: float, count: int = 60, client: str = ATTACKER) -> str:
    return "".join(line(begin + number, client, "POST", "/login?password=hunter2", 401) for number in range(count))


class Host:
    """A log, and the runs that read it."""

    def __init__(self, path: pathlib.Path, **source: t.Any) -> None:
        self.path = path
        self.source = LogSource(**{"name": str(path), "path": str(path), "project": "shop", "service": "web", **source})
        self.state: t.Optional[Json] = None

    def write(self, text: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text)

    def run(self, now: float = NOW, keep: bool = True, **options: t.Any) -> RequestFindings:
        state, found = watch_requests([self.source], None, WatchOptions(**options), copy.deepcopy(self.state), now)
        if keep:
            self.state = json.loads(json.dumps(state))
        return found


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Host:
    return Host(tmp_path / "access.log")


def rules(found: RequestFindings) -> list[str]:
    return [finding.rule for finding in found.findings]


# What is found


@pytest.mark.parametrize("line", [combined, of_application, of_container])
def test_a_first_run_judges_the_last_window(host: Host, line: t.Callable[..., str]) -> None:
    host.write(attack(line, NOW - 5000) + ordinary(line, NOW - 290) + attack(line, NOW - 100) + line(NOW - 5, ATTACKER, "POST", "/login", 200))
    found = host.run()
    assert found.status == "critical" and rules(found) == ["auth_failures", "auth_burst_ip", "auth_success_after_burst"]
    burst = found.findings[0]
    assert (burst.stack, burst.log, burst.count, burst.clients) == ("shop", str(host.path), 60, ((ATTACKER, 60),))
    assert burst.paths == (("POST /login", 60),) and burst.first_at == NOW - 100 and burst.last_at == NOW - 41
    assert found.stacks == ("shop",) and found.logs[0].statuses[401] == 60 and found.logs[0].failed_writes == 60


@pytest.mark.parametrize("line", [combined, of_application, of_container])
def test_the_next_run_reads_only_what_is_new(host: Host, line: t.Callable[..., str]) -> None:
    host.write(ordinary(line, NOW - 290) + attack(line, NOW - 100))
    assert host.run().status == "warning"
    host.write(ordinary(line, NOW + 100))
    found = host.run(NOW + 300)
    assert (found.status, found.logs[0].requests, found.logs[0].statuses) == ("ok", 100, {200: 100}) and found.summary.startswith("nothing suspicious in 100")


def test_a_run_by_hand_changes_nothing(host: Host) -> None:
    host.write(ordinary(combined, NOW - 290))
    host.run()
    host.write(attack(combined, NOW + 100))
    kept, files = copy.deepcopy(host.state), sorted(os.listdir(host.path.parent))
    by_hand = host.run(NOW + 300, keep=False)
    assert host.state == kept and sorted(os.listdir(host.path.parent)) == files
    scheduled = host.run(NOW + 300)
    assert scheduled == by_hand and scheduled.status == "warning" and host.state != kept


def test_the_same_requests_in_two_logs_are_not_added_up(tmp_path: pathlib.Path) -> None:
    logs = {"proxy": combined, "app": of_application}
    sources = [LogSource(str(tmp_path / name), "file", str(tmp_path / name), "shop", name) for name in logs]
    for name, line in logs.items():
        (tmp_path / name).write_text(ordinary(line, NOW - 290) + attack(line, NOW - 100, 40))
    found = watch_requests(sources, None, WatchOptions(), None, NOW)[1]
    assert "auth_failures" not in rules(found)
    assert [finding.also_in for finding in found.findings if finding.rule == "auth_burst_ip"] == [(str(tmp_path / "proxy"),)]


def test_containers_of_one_service_are_added_up(tmp_path: pathlib.Path) -> None:
    sources = []
    for number in range(3):
        path = tmp_path / f"{number}-json.log"
        path.write_text(ordinary(of_container, NOW - 290) + attack(of_container, NOW - 100, 20))
        sources.append(LogSource(f"container:shop-web-{number}", "container", str(path), "shop", "web", str(number)))
    found = watch_requests(sources, None, WatchOptions(), None, NOW)[1]
    assert [(finding.count, finding.log) for finding in found.findings if finding.rule == "auth_failures"] == [(60, "container:shop/web")]


def test_behind_a_proxy_its_own_log_says_who_it_was(tmp_path: pathlib.Path) -> None:
    proxy, application = tmp_path / "proxy.log", tmp_path / "app.log"
    application.write_text("".join(of_application(NOW - 200 + number, "172.18.0.5", "POST", "/login", 401) for number in range(60)))
    alone = watch_requests([LogSource(str(application), "file", str(application), "shop", "app")], None, WatchOptions(), None, NOW)[1]
    assert rules(alone) == ["auth_failures", "source_quality"] and alone.findings[1].status == "unknown" and "--proxy-headers" in alone.findings[1].hint
    proxy.write_text(ordinary(combined, NOW - 290) + attack(combined, NOW - 200))
    sources = [LogSource(str(path), "file", str(path), "shop", path.stem) for path in (application, proxy)]
    both = watch_requests(sources, None, WatchOptions(), None, NOW)[1]
    assert rules(both) == ["auth_failures", "auth_burst_ip"] and both.findings[1].clients[0][0] == ATTACKER


def test_an_address_that_the_proxy_passed_on_counts(host: Host) -> None:
    for number in range(100):
        host.write(combined(NOW - 280 + number, "10.0.0.5", "GET", "/", 200, forwarded=f"198.51.100.{number}"))
    for number in range(60):
        host.write(combined(NOW - 100 + number, "10.0.0.5", "POST", "/login", 401, forwarded=f"8.8.8.8, {ATTACKER}"))
    burst = next(finding for finding in host.run().findings if finding.rule == "auth_burst_ip")
    assert [client for client, dummy in burst.clients] == [ATTACKER]


def test_lines_of_the_example_application_about_refused_tokens(host: Host) -> None:
    recorded = json.loads((pathlib.Path(__file__).parents[2] / "fixtures" / "logs" / "access.json").read_text(encoding="utf-8"))["example-application"]
    refused = next(line for line in recorded if "InvalidSignatureError" in line)
    host.write((refused + "\n") * 60)
    found = host.run(1795654205.0)
    assert rules(found) == ["auth_failures"] and found.findings[0].count == 60 and found.logs[0].failed_logins == 60
    assert "InvalidSignatureError: Signature verification failed" in found.findings[0].samples[0]


# What is told


def test_a_finding_steers_nobody_and_gives_no_secret_away(host: Host) -> None:
    agent = "x`rm -rf /`\x1b[2J\u202e\x9b31m<!channel> " + "A" * 500
    host.write(ordinary(combined, NOW - 290))
    for number in range(60):
        host.write(combined(NOW - 100 + number, ATTACKER, "POST", "/login/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl?password=hunter2", 401, agent))
    facts = host.run().envelope()
    text = json.dumps(facts, ensure_ascii=False)
    assert not [word for word in ("hunter2", "password", "`", "\\u001b", "\x1b", "\u202e", "\x9b", "c2lnbmF0dXJl") if word in text]
    finding = facts["findings"][0]
    assert len(finding["samples"]) == 3 and all(len(line) <= 200 for line in finding["samples"])
    assert all(len(entry["user_agent"]) <= 200 for entry in finding["user_agents"])
    assert finding["samples"][0].startswith('2026-11-23T11:58:20Z 203.0.113.9 "POST /login/')


def test_each_client_is_shown_with_the_endpoints_that_it_asked_for(host: Host) -> None:
    host.write(ordinary(combined, NOW - 290) + attack(combined, NOW - 100))
    host.write("".join(combined(NOW - 50 + number, ATTACKER, "GET", f"/orders/{number}", 404) for number in range(3)))
    host.write(combined(NOW - 20, "198.51.100.7", "DELETE", "/items/7", 403))
    first, second = host.run().envelope()["clients"]
    assert (first["address"], first["requests"], first["statuses"], first["failed_writes"], first["paths"]) == (ATTACKER, 63, {"401": 60, "404": 3}, 60, 4)
    assert first["endpoints"] == [
        {"endpoint": "POST /login", "count": 60, "statuses": {"401": 60}},
        {"endpoint": "GET /orders/{id}", "count": 3, "statuses": {"404": 3}},
    ]
    assert (first["first_at"], first["last_at"]) == ("2026-11-23T11:58:20Z", "2026-11-23T11:59:19Z")
    assert (second["address"], second["endpoints"]) == ("198.51.100.7", [{"endpoint": "DELETE /items/{id}", "count": 1, "statuses": {"403": 1}}])


def test_a_client_that_proxy_and_application_both_log_is_counted_once(tmp_path: pathlib.Path) -> None:
    sources = []
    for name, line, count in (("proxy.log", combined, 60), ("app.log", of_application, 40)):
        (tmp_path / name).write_text(attack(line, NOW - 100, count), encoding="utf-8")
        sources.append(LogSource(name=name, path=str(tmp_path / name), project="shop", service=name))
    dummy, found = watch_requests(sources, None, WatchOptions(), None, NOW)
    assert [(client.log, client.requests) for client in found.clients] == [("proxy.log", 60)]


def test_a_hint_blocks_where_published_ports_pass(host: Host) -> None:
    host.write(
        ordinary(combined, NOW - 290)
        + attack(combined, NOW - 100)
        + attack(combined, NOW - 90, client="2001:db8:1:2::7")
        + attack(combined, NOW - 80, client="10.0.0.7")
    )
    burst = next(finding for finding in host.run().findings if finding.rule == "auth_burst_ip")
    assert "iptables -I DOCKER-USER -s 203.0.113.9 -j DROP" in burst.hint and "ip6tables -I DOCKER-USER -s 2001:db8:1:2::/64 -j DROP" in burst.hint
    assert "10.0.0.7" not in burst.hint and "ufw deny" in burst.hint


def test_addresses_can_be_masked_everywhere(host: Host) -> None:
    host.write(ordinary(combined, NOW - 290) + attack(combined, NOW - 100) + attack(combined, NOW - 90, client="2001:db8:1:2::7"))
    text = json.dumps(host.run(mask_addresses=True).envelope())
    assert "203.0.113.9" not in text and "203.0.113.0/24" in text and "2001:db8:1::/48" in text and "2001:db8:1:2" not in text
    assert [masked(each, True) for each in ("", "host.example.com", "1.2.3.4")] == ["", "(masked)", "1.2.3.0/24"]


def test_samples_without_time_or_client() -> None:
    assert sample(Request(None, "", "GET", "/x", 404)) == '- - "GET /x" 404'
    assert sample(FailedLogin(None, "login failed password=hunter2 for ada")) == "- login failed password=[redacted] for ada"


# Reading


def test_an_untimed_log_is_judged_from_the_second_run_on(host: Host) -> None:
    line = 'INFO:     203.0.113.9:47 - "POST /login HTTP/1.1" 401 Unauthorized\n'
    host.write(line * 100)
    first = host.run()
    assert first.status == "ok" and first.logs[0].requests == 100
    host.write(line * 60)
    assert next(finding.count for finding in host.run(NOW + 300).findings if finding.rule == "auth_failures") == 60
    host.write(line * 60)
    assert host.run(NOW + 86400).status == "ok", "over a day sixty are none of our business"


@pytest.mark.parametrize("how", ["rename", "copytruncate", "compress", "recreate"])
def test_rotation_loses_nothing_and_counts_nothing_twice(host: Host, how: str) -> None:
    host.write(ordinary(combined, NOW - 290) + attack(combined, NOW - 100, 20))
    assert host.run().logs[0].statuses[401] == 20
    host.write(attack(combined, NOW + 10, 20))
    old = host.path.with_name("access.log.1")
    if how == "copytruncate":
        shutil.copy(host.path, old)
        os.truncate(host.path, 0)
    elif how == "compress":
        with gzip.open(f"{old}.gz", "wb") as file:
            file.write(host.path.read_bytes())
        host.path.unlink()
    else:
        host.path.rename(old)
        if how == "recreate":
            host.path.touch()
            host.run(NOW + 31, keep=False)
    host.write(attack(combined, NOW + 40, 20))
    found = host.run(NOW + 300)
    assert found.logs[0].statuses == {401: 40}
    assert next(finding.count for finding in found.findings if finding.rule == "auth_failures") == 60
    assert host.run(NOW + 600).logs[0].requests == 0


def test_old_requests_that_turn_up_again_are_not_judged_again(host: Host) -> None:
    host.write(ordinary(combined, NOW - 290) + attack(combined, NOW - 100))
    host.run()
    restored = host.path.read_text()
    host.path.unlink()
    host.write("# begun anew\n" + restored)
    assert host.run(NOW + 3600).status == "ok"


def test_a_half_written_line_waits_for_its_end(host: Host) -> None:
    line = combined(NOW - 1, ATTACKER, "POST", "/login", 401)
    host.write(ordinary(combined, NOW - 290) + line[:40])
    assert host.run().logs[0].statuses == {200: 100}
    host.write(line[40:])
    assert host.run(NOW + 60).logs[0].statuses == {401: 1}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(("get", "fail", "scan", "half")), st.integers(1, 15)), max_size=12),
    st.sampled_from((combined, of_application, of_container)),
)
def test_however_often_it_runs_each_request_counts_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]], line: t.Callable[..., str]
) -> None:
    host = Host(tmp_path_factory.mktemp("log") / "access.log")
    host.write(line(NOW - 1, "198.51.100.1", "GET", "/", 200))
    counted, written, half, now = host.run().logs[0].requests, 1, "", NOW
    for kind, count in steps:
        for number in range(count):
            text = half + line(now + 0.1 * number, ATTACKER, *{"get": ("GET", "/", 200), "fail": ("POST", "/login", 401)}.get(kind, ("GET", f"/{number}", 404)))
            half = ""
            if kind == "half" and number == count - 1:
                text, half = text[: len(text) // 2], text[len(text) // 2 :]
            host.write(text)
        written += count
        now += 10
        found = host.run(now)
        counted += found.logs[0].requests
        assert found.logs[0].unread == 0 and counted == written - bool(half)


def test_what_is_more_than_a_run_reads_is_left_out_and_said(host: Host) -> None:
    host.write(ordinary(combined, NOW - 290))
    host.run()
    host.write("".join(ordinary(combined, NOW + 1 + number, 2000) for number in range(10)) + attack(combined, NOW + 200))
    found = host.run(NOW + 300, max_bytes=100_000)
    assert found.logs[0].truncated and found.logs[0].requests < 2000 and "auth_failures" in rules(found)


class FakeEngine:
    """The one call that reading a container's log makes."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def logs_tail(self, dummy_id: str, dummy_lines: int, since: t.Optional[float] = None, timestamps: bool = False) -> bytes:
        assert timestamps and since is not None
        begin = datetime.datetime.fromtimestamp(since, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
        return "".join(f"{when} {text}\n" for when, text in self.lines if when >= begin).encode()


def test_a_log_that_only_the_engine_has_is_read_on_from_where_it_was() -> None:
    engine = FakeEngine()
    source = LogSource("container:shop-web-1", "container", None, "shop", "web", "c1", "local")
    text = 'INFO:     203.0.113.9:47 - "POST /login HTTP/1.1" 401 Unauthorized'
    engine.lines = [(f"2026-11-23T11:59:59.{number // 2:09}Z", f"{text} {number}") for number in range(20)]
    state, found = watch_requests([source], t.cast(t.Any, engine), WatchOptions(), None, NOW)
    assert found.logs[0].requests == 20
    state, found = watch_requests([source], t.cast(t.Any, engine), WatchOptions(), json.loads(json.dumps(state)), NOW + 1)
    assert found.logs[0].requests == 0
    # Of the nanosecond that was reached another line comes later.
    engine.lines.append(("2026-11-23T11:59:59.000000009Z", text + " late"))
    engine.lines.append(("2026-11-23T12:00:02.000000000Z", text))
    state, found = watch_requests([source], t.cast(t.Any, engine), WatchOptions(), json.loads(json.dumps(state)), NOW + 60)
    assert found.logs[0].requests == 2
    again = LogSource("container:shop-web-1", "container", None, "shop", "web", "c2", "local")
    assert watch_requests([again], t.cast(t.Any, engine), WatchOptions(), json.loads(json.dumps(state)), NOW + 70)[1].logs[0].requests == 22


# What cannot be read


def test_a_missing_log_is_unknown_and_the_others_are_judged(host: Host, tmp_path: pathlib.Path) -> None:
    host.write(ordinary(combined, NOW - 290) + attack(combined, NOW - 100))
    missing = LogSource("gone", "file", str(tmp_path / "gone.log"), "shop", "worker")
    found = watch_requests([missing, host.source], None, WatchOptions(), None, NOW)[1]
    assert found.status == "warning" and [error.code for error in found.errors] == ["missing"] and found.logs[0].error
    assert watch_requests([missing], None, WatchOptions(), None, NOW)[1].status == "unknown"
    assert watch_requests([], None, WatchOptions(), None, NOW)[1].status == "unknown"


def test_a_rotated_file_that_is_damaged_costs_itself_only(host: Host) -> None:
    host.write(ordinary(combined, NOW - 290))
    host.run()
    host.write(attack(combined, NOW + 1, 20))
    packed = gzip.compress(host.path.read_bytes())
    host.path.with_name("access.log.1.gz").write_bytes(packed[: len(packed) - 30])
    host.path.unlink()
    host.write(attack(combined, NOW + 100))
    found = host.run(NOW + 300)
    assert "auth_failures" in rules(found) and [error.code for error in found.errors] == ["unparsable"] and found.logs[0].error
    assert host.run(NOW + 600).status == "ok"


def test_an_empty_log_is_no_trouble(host: Host) -> None:
    host.path.touch()
    assert host.run().status == "ok"
    host.write(ordinary(combined, NOW + 1))
    assert host.run(NOW + 300).logs[0].requests == 100


def test_logs_without_any_request_are_unknown_and_not_fine(host: Host, tmp_path: pathlib.Path) -> None:
    host.write("2026-11-23 11:59:00 INFO nothing to see\n" * 101)
    found = host.run()
    assert found.status == "unknown" and found.errors[0].code == "no-requests" and "access log" in found.errors[0].hint
    other = tmp_path / "proxy.log"
    other.write_text(ordinary(combined, NOW - 290))
    assert watch_requests([host.source, LogSource("proxy", "file", str(other))], None, WatchOptions(), None, NOW)[1].status == "ok"


def test_requests_of_an_unknown_format_are_unknown_and_not_fine(host: Host) -> None:
    host.write('2026-11-23 11:59:00 <203.0.113.9> "POST /login" 401 in 3 ms\n' * 101)
    found = host.run()
    assert found.status == "unknown" and found.errors[0].code == "unparsable"


@pytest.mark.parametrize(
    "state", [{}, {"schema_version": 9}, {"schema_version": 1}, {"schema_version": 1, "cursors": 3, "streams": {}, "engine": {}, "routes": {}}]
)
def test_a_damaged_state_costs_one_unknown(host: Host, state: Json) -> None:
    host.write(ordinary(combined, NOW - 290))
    host.state = state
    found = host.run()
    assert (found.status, [error.code for error in found.errors]) == (("unknown", ["state"]) if state else ("ok", []))
    assert host.run(NOW + 300).status == "ok"


def test_what_is_damaged_of_one_log_is_begun_anew(host: Host) -> None:
    host.write(ordinary(combined, NOW - 290))
    host.run()
    assert host.state is not None
    host.state["streams"] = dict.fromkeys(host.state["streams"], {"since": []})
    assert host.run(NOW + 300).status == "ok"


def test_logs_that_are_gone_are_forgotten(host: Host) -> None:
    host.write(ordinary(combined, NOW - 290))
    host.run()
    state = watch_requests([], None, WatchOptions(), host.state, NOW + 300)[0]
    assert not state["cursors"]["sources"] and not state["streams"]


# The application's own routes


@contextlib.contextmanager
def serving(document: t.Any, status: int = 200) -> t.Iterator[tuple[str, list[str]]]:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *dummy: t.Any) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/openapi.json", asked
    finally:
        server.shutdown()
        server.server_close()


def test_routes_come_from_the_application_and_are_asked_for_once_a_day(host: Host) -> None:
    host.write(ordinary(combined, NOW - 290) + combined(NOW - 9, ATTACKER, "POST", "/orders", 201) + combined(NOW - 8, ATTACKER, "POST", "/shell", 200))
    with serving({"paths": {"/orders": {"post": {}}}}) as (url, asked):
        first = host.run(openapi={"shop/web": url})
        assert "known_writes" in first.findings[0].hint and "DOCKER-USER" in first.findings[0].hint
        assert rules(first) == ["unexpected_write"] and first.findings[0].paths == (("POST /shell", 1),) and not first.logs[0].learning
        host.write(combined(NOW + 9, ATTACKER, "POST", "/shell", 200))
        assert rules(host.run(NOW + 300, openapi={"shop/web": url})) == ["unexpected_write"] and len(asked) == 1
        host.run(NOW + 90_000, openapi={"shop/web": url})
        assert len(asked) == 2
    host.write(combined(NOW + 190_000, ATTACKER, "POST", "/shell", 200))
    assert rules(host.run(NOW + 190_001, openapi={"shop/web": url})) == ["unexpected_write"], "the last known routes still count"


@pytest.mark.parametrize(("document", "status"), [({}, 200), ("x", 200), ({"paths": {}}, 404)])
def test_without_routes_of_the_application_writes_are_learned(host: Host, document: t.Any, status: int) -> None:
    host.write(ordinary(combined, NOW - 290) + combined(NOW - 8, ATTACKER, "POST", "/orders", 200))
    with serving(document, status) as (url, asked):
        found = host.run(openapi={"web": url})
        assert found.status == "ok" and found.logs[0].learning
        host.run(NOW + 300, openapi={"web": url})
        assert len(asked) == 1


def test_routes_in_a_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "openapi.json").write_text('{"paths": {"/orders": {"post": {}}}}')
    assert load_routes(str(tmp_path / "openapi.json")) == ("POST /orders",)
    with pytest.raises(OSError, match="No such file"):
        load_routes(str(tmp_path / "missing.json"))


# What a run costs


_RUN = r"""
import json, re, sys, time
from ansible_collections.stackops.runbook.plugins.module_utils._log_sources import LogSource
from ansible_collections.stackops.runbook.plugins.module_utils._request_rules import WatchOptions
from ansible_collections.stackops.runbook.plugins.module_utils._request_watch import watch_requests
state, found = watch_requests([LogSource(sys.argv[1], "file", sys.argv[1])], None, WatchOptions(), json.load(open(sys.argv[2])), float(sys.argv[3]))
json.dumps(state)
peak = int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1024
print(json.dumps([found.logs[0].requests, time.process_time(), peak]))
"""


@pytest.mark.parametrize("size", [10_000_000, 10_000_000_000])
def test_a_run_costs_the_same_for_a_log_of_ten_gigabytes(tmp_path: pathlib.Path, size: int) -> None:
    """Under 0.15 s of processor time and 40 MiB, start of Python included, with 3000 new requests (ten a second)."""
    path, state = tmp_path / "access.log", tmp_path / "state.json"
    path.write_text(ordinary(combined, NOW - 3600))
    # A hole stands for what was read before: nobody looks at it again.
    os.truncate(path, size)
    with path.open("a") as file:
        file.write("\n" + ordinary(combined, NOW - 290))
    cursors = Cursors("")
    with Source(files_of(str(path))[0]) as source:
        cursors.remember(str(path), source, path.stat().st_size)
    state.write_text(json.dumps({"schema_version": 1, "cursors": cursors.as_state(NOW), "streams": {}, "engine": {}, "routes": {}}))
    with path.open("a") as file:
        file.write(ordinary(combined, NOW + 1, 2900) + attack(combined, NOW + 100, 100))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONPYCACHEPREFIX": str(tmp_path / "cache")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    argv = [sys.executable, "-c", _RUN, str(path), str(state), str(NOW + 300)]
    runs = [json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE, env=environment, timeout=60).stdout) for dummy in range(4)]
    assert {requests for requests, dummy, dummy2 in runs} == {3000}
    assert min(cpu for dummy, cpu, dummy2 in runs) < 0.15 and max(peak for dummy, dummy2, peak in runs) < 40
