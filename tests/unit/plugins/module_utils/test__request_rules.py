# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._access_lines import FailedLogin, Request
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import Thresholds
from ansible_collections.stackops.runbook.plugins.module_utils._request_rules import (
    RULES,
    Clients,
    Hit,
    Routes,
    StreamWatch,
    WatchOptions,
    is_private,
    routes_of_openapi,
)
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = 1795435200.0
ATTACKER = "203.0.113.9"


def ask(at: float, status: int = 401, path: str = "/api/items", client: str = ATTACKER, method: str = "GET") -> Request:
    return Request(NOW + at, client, method, path, status, "curl/8")


def login(at: float, status: int = 401, client: str = ATTACKER) -> Request:
    return ask(at, status, "/api/v1/login", client, "POST")


def crowd(watch: StreamWatch, requests: int = 200) -> StreamWatch:
    """Have ordinary clients ask as well, so that it is known where clients come from."""
    for number in range(requests):
        watch.count_plain(f"198.51.100.{number % 50}", "/")
    return watch


def judged(lines: t.Sequence[t.Union[Request, FailedLogin]], watch: t.Optional[StreamWatch] = None, **options: t.Any) -> dict[str, Hit]:
    watch = watch or crowd(StreamWatch(WatchOptions(**options), NOW))
    return {hit.rule: hit for hit in watch.judge(lines)}


def again(watch: StreamWatch, now: float, options: t.Optional[WatchOptions] = None, routes: t.Optional[Routes] = None) -> StreamWatch:
    """Return the watch of the next run, through what is kept on the disk."""
    return StreamWatch.from_state(json.loads(json.dumps(watch.as_state())), options or watch.options, now, routes)


# More than fifty


def test_more_than_fifty_401_in_the_window() -> None:
    many = [ask(-200 + number, client=f"203.0.113.{number}") for number in range(51)]
    assert "auth_failures" not in judged(many[:50])
    hit = judged(many)["auth_failures"]
    assert (hit.status, hit.count, len(hit.lines)) == ("warning", 51, 51) and hit.summary == "51 requests answered with 401 in 300 s"


def test_fifty_one_over_a_longer_time_than_the_window_are_no_burst() -> None:
    assert "auth_failures" not in judged([ask(-400 + 8 * number, client=f"203.0.113.{number}") for number in range(51)])


def test_a_burst_in_the_middle_of_a_long_gap_is_seen_whole() -> None:
    watch = crowd(StreamWatch(WatchOptions(), NOW))
    watch.last_run = NOW - 7200
    assert judged([ask(-3600 + number) for number in range(60)], watch)["auth_failures"].count == 60


def test_a_burst_across_two_runs_is_seen_whole_and_told_once() -> None:
    watch = crowd(StreamWatch(WatchOptions(), NOW))
    assert "auth_failures" not in judged([ask(-30 + number, client=f"203.0.113.{number}") for number in range(30)], watch)
    second = again(watch, NOW + 300)
    assert judged([ask(number, client=f"203.0.113.{number}") for number in range(30)], second)["auth_failures"].count == 60
    assert judged([], again(second, NOW + 600)) == {}


def test_critical_where_it_is_asked_for() -> None:
    assert judged([ask(-1)] * 600)["auth_failures"].status == "critical"
    assert judged([ask(-1)] * 600, auth_failures=Thresholds(601, None)).get("auth_failures") is None


def test_lines_of_failed_logins_count_beside_requests_and_never_on_top() -> None:
    lines = [FailedLogin(NOW - 10, f"JWTError {number}") for number in range(60)]
    hit = judged(lines)["auth_failures"]
    assert hit.count == 60 and "lines that tell of a failed login" in hit.summary
    both = judged([*lines[:40], *(ask(-10, client=f"203.0.113.{number}") for number in range(40))])
    assert "auth_failures" not in both


# One client


def test_a_client_that_fails_more_often_than_its_bucket_leaks() -> None:
    assert "auth_burst_ip" not in judged([ask(-100 + number) for number in range(10)])
    assert judged([ask(-100 + number) for number in range(12)])["auth_burst_ip"].clients.keys() == {ATTACKER}
    assert judged([ask(-100 + number, 403) for number in range(12)])["auth_burst_ip"]
    assert "auth_burst_ip" not in judged([ask(-290 + 10 * number) for number in range(29)])


def test_on_login_paths_fewer_are_enough_and_400_is_a_failure_too() -> None:
    assert "auth_burst_ip" not in judged([login(-100 + number) for number in range(5)])
    assert judged([login(-100 + number) for number in range(7)])["auth_burst_ip"]
    assert judged([login(-100 + number, 400) for number in range(7)])["auth_burst_ip"]
    assert "auth_burst_ip" not in judged([ask(-100 + number, 400, "/orders", method="POST") for number in range(30)])


def test_a_bucket_goes_on_in_the_next_run() -> None:
    watch = crowd(StreamWatch(WatchOptions(), NOW))
    assert not judged([login(-2 + 0.1 * number) for number in range(5)], watch)
    assert judged([login(1 + 0.1 * number) for number in range(3)], again(watch, NOW + 60))["auth_burst_ip"]
    assert not judged([login(60 + 0.1 * number) for number in range(3)], again(watch, NOW + 120))


def test_a_login_that_succeeds_after_a_burst_is_critical() -> None:
    burst = [login(-100 + number) for number in range(12)]
    hit = judged([*burst, login(-50, 200)])["auth_success_after_burst"]
    assert (hit.status, hit.count) == ("critical", 1) and hit.lines == [login(-50, 200)]
    assert "auth_success_after_burst" not in judged([login(-150, 200), *burst])
    assert "auth_success_after_burst" not in judged([*burst, login(-50, 200, "198.51.100.1")])
    assert "auth_success_after_burst" not in judged([*burst, ask(-50, 200, "/api/v1/login")]), "the form itself is no success"
    assert "auth_success_after_burst" not in judged([*burst, login(-50, 302)])


def test_a_success_counts_for_a_quarter_of_an_hour_in_later_runs() -> None:
    watch = crowd(StreamWatch(WatchOptions(), NOW))
    judged([login(-12 + number) for number in range(12)], watch)
    assert "auth_success_after_burst" in judged([login(600, 200)], again(watch, NOW + 610))
    later = again(again(watch, NOW + 610), NOW + 920)
    assert "auth_success_after_burst" not in judged([login(910, 200)], later)


def test_many_addresses_each_below_its_own_limit_are_a_spray() -> None:
    spray = [login(-200 + number, client=f"203.0.113.{number % 20}") for number in range(60)]
    found = judged(spray)
    assert found["auth_spray"].count == 60 and "20 clients" in found["auth_spray"].summary and "auth_burst_ip" not in found
    assert "auth_spray" not in judged([*spray, *(login(-100 + number) for number in range(12))]), "one that overflowed is a burst"
    assert "auth_spray" not in judged([ask(-200 + number, client=f"203.0.113.{number % 9}") for number in range(60)])


# Scans


def test_distinct_paths_that_do_not_exist_are_a_scan() -> None:
    assert "path_scan" not in judged([ask(-100 + number, 404, f"/{chr(97 + number)}/x") for number in range(10)])
    assert judged([ask(-100 + number, 404, f"/{chr(97 + number)}/x") for number in range(11)])["path_scan"].clients == {ATTACKER: 1}
    for harmless in (
        [ask(-100 + number, 404, f"/items/{number}") for number in range(50)],
        [ask(-100, 404, "/same")] * 50,
        [ask(-100 + number, 404, f"/static/{chr(97 + number)}.css") for number in range(20)],
        [ask(-100 + number, 404, f"/{chr(97 + number)}/x", f"203.0.113.{number}") for number in range(20)],
    ):
        assert "path_scan" not in judged(harmless)


def test_a_slow_scan_over_several_windows_is_none_but_goes_on_across_runs() -> None:
    assert "path_scan" not in judged([ask(-1000 + 100 * number, 404, f"/{chr(97 + number)}/x") for number in range(12)])
    watch = crowd(StreamWatch(WatchOptions(), NOW))
    assert not judged([ask(-60 + number, 404, f"/{chr(97 + number)}/x") for number in range(6)], watch)
    assert judged([ask(number, 404, f"/{chr(97 + number)}/y") for number in range(6)], again(watch, NOW + 60))["path_scan"]


@pytest.mark.parametrize(
    "path",
    [
        "/.env",
        "/app/.git/config",
        "/wp-login.php",
        "/phpmyadmin/",
        "/actuator/health",
        "/a/..%2f..%2fetc/passwd",
        "/backup.sql",
        "/cgi-bin/luci",
        "/.aws/credentials",
    ],
)
def test_of_sensitive_paths_three_are_enough(path: str) -> None:
    others = [ask(-50, 404, "/.svn/entries"), ask(-49, 403, "/xmlrpc.php")]
    assert "path_scan" not in judged(others) and judged([*others, ask(-48, 404, path)])["path_scan"]


def test_methods_that_the_application_does_not_have() -> None:
    odd = [ask(-50 + number, 405, "/", method="PROPFIND") for number in range(6)]
    assert "unusual_method" not in judged(odd[:5]) and judged(odd)["unusual_method"].count == 6
    assert "unusual_method" not in judged(odd, methods=("GET", "PROPFIND"))


# Writes


def test_writes_beside_the_openapi_document() -> None:
    routes = Routes(["POST /orders", "PUT /items/{item_id}", "DELETE /files/{path}"])
    watch = crowd(StreamWatch(WatchOptions(), NOW, routes))
    fine = [
        ask(-9, 201, "/orders", method="POST"),
        ask(-8, 200, "/items/7", method="PUT"),
        ask(-7, 204, "/files/a/b", method="DELETE"),
        ask(-6, 404, "/shell", method="POST"),
        ask(-5, 405, "/items", method="PUT"),
    ]
    assert "unexpected_write" not in judged(fine, watch)
    for bad in (ask(-5, 200, "/shell", method="POST"), ask(-5, 500, "/items/7/x", method="PUT"), ask(-5, 200, "/items/7", method="DELETE")):
        assert judged([*fine, bad], crowd(StreamWatch(WatchOptions(), NOW, routes)))["unexpected_write"].lines == [bad]


def test_writes_that_are_named_as_fine() -> None:
    hook = ask(-5, 200, "/hooks/github", method="POST")
    for options in (WatchOptions(known_writes=("POST /hooks/{name}",)), WatchOptions(known_writes=("POST /hooks/{name}",), learn_seconds=0.0)):
        for routes in (Routes(["POST /orders"]), None):
            assert judged([hook], crowd(StreamWatch(options, NOW, routes))) == {}
    assert judged([hook], crowd(StreamWatch(WatchOptions(learn_seconds=0.0), NOW)))["unexpected_write"].lines == [hook]


def test_routes_of_an_openapi_document() -> None:
    document = {
        "servers": [{"url": "https://x.example/shop/"}, {"url": "/"}],
        "paths": {"/orders": {"get": {}, "post": {}, "parameters": []}, "/items/{id}": {"put": {}}},
    }
    assert routes_of_openapi(document) == ("POST /orders", "POST /shop/orders", "PUT /items/{id}", "PUT /shop/items/{id}")
    for other in ({}, [], {"paths": []}, None):
        with pytest.raises(ValueError, match="no OpenAPI document"):
            routes_of_openapi(other)


def test_without_a_document_the_usual_writes_are_learned_for_a_week() -> None:
    day = 86400.0
    watch = crowd(StreamWatch(WatchOptions(), NOW))
    assert not judged([ask(-5, 201, "/orders", method="POST")], watch)
    watch = crowd(again(watch, NOW + 6 * day))
    assert not judged([ask(6 * day - 5, 201, "/items/7", method="PUT"), ask(6 * day - 4, 403, "/hidden", method="PUT")], watch)
    watch = crowd(again(watch, NOW + 8 * day))
    known = [ask(8 * day - 5, 201, "/orders", method="POST"), ask(8 * day - 5, 200, "/items/9", method="PUT"), ask(8 * day - 5, 422, "/new", method="POST")]
    new = ask(8 * day - 4, 200, "/shell", method="POST")
    assert judged([*known, new], watch)["unexpected_write"].lines == [new]
    soon = again(watch, NOW + 8 * day + 300)
    assert judged([ask(8 * day + 100, 200, "/shell", method="POST")], soon)["unexpected_write"]
    assert not judged([ask(8 * day + 7200, 200, "/shell", method="POST")], again(soon, NOW + 8 * day + 7205))


def test_writes_far_above_what_is_usual_at_this_hour() -> None:
    watch = crowd(StreamWatch(WatchOptions(learn_seconds=3600.0), NOW))
    judged([ask(-100 + number, 201, "/orders", method="POST") for number in range(40)], watch)
    for run in range(1, 40):
        watch = again(watch, NOW + 300 * run)
        found = judged([ask(300 * run - 200 + number, 201, "/orders", method="POST") for number in range(10)], watch)
        assert "write_rate" not in found
    watch = again(watch, NOW + 300 * 40)
    found = judged([ask(300 * 40 - 200 + number, 201, "/orders", method="POST") for number in range(100)], watch)
    assert found["write_rate"].count == 100 and "POST /orders" in found["write_rate"].summary


# Who it was


def test_behind_a_proxy_the_rules_of_one_client_cannot_know() -> None:
    watch = StreamWatch(WatchOptions(), NOW)
    for dummy in range(100):
        watch.count_plain("172.18.0.5", "/items")
    found = judged([login(-60 + number, client="172.18.0.5") for number in range(60)] + [login(-1, 200, "172.18.0.5")], watch)
    assert set(found) == {"auth_failures", "source_quality"}
    assert found["source_quality"].status == "unknown" and "100% of the requests come from 172.18.0.5" in found["source_quality"].summary
    assert watch.quality().blind


def test_where_nothing_happened_there_is_nothing_to_know() -> None:
    watch = StreamWatch(WatchOptions(), NOW)
    for dummy in range(100):
        watch.count_plain("172.18.0.5", "/items")
    scan = [ask(-60 + number, 404, f"/{chr(97 + number)}/x", "172.18.0.5") for number in range(20)]
    assert watch.quality().blind and judged(scan, watch) == {}


def test_a_log_without_clients_cannot_know_either() -> None:
    found = judged([login(-60 + number, client="") for number in range(60)], StreamWatch(WatchOptions(), NOW))
    assert set(found) == {"auth_failures", "source_quality"} and "names no clients" in found["source_quality"].summary


def test_health_checks_do_not_hide_where_clients_come_from() -> None:
    watch = StreamWatch(WatchOptions(), NOW)
    for path in ("/health", "/api/v1/health", "/metrics", "/healthz"):
        for dummy in range(500):
            watch.count_plain("127.0.0.1", path)
    found = judged([login(-60 + number) for number in range(30)], watch)
    assert "auth_burst_ip" in found and not watch.quality().blind


def test_a_proxys_share_is_forgotten_when_it_writes_addresses_again() -> None:
    watch = StreamWatch(WatchOptions(), NOW)
    for dummy in range(5000):
        watch.count_plain("172.18.0.5", "/")
    watch.judge([])
    for run in range(3):
        watch = crowd(again(watch, NOW + 300 * run), 1000)
        watch.judge([])
    assert not watch.quality().blind


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("10.1.2.3", True), ("172.15.0.1", False), ("172.16.0.1", True), ("172.31.9.9", True), ("172.32.0.1", False), ("192.168.0.1", True),
        ("127.0.0.1", True),
        ("100.64.0.1", True), ("100.128.0.1", False), ("169.254.1.1", True), ("203.0.113.9", False), ("8.8.8.8", False), ("", True), ("::1", True),
        ("fd00:1::/64", True), ("fe80::/64", True), ("2001:db8::/64", False),
    ],
)  # fmt: skip
def test_private_addresses(address: str, private: bool) -> None:
    assert is_private(address) is private


@pytest.mark.parametrize(
    ("address", "forwarded", "client"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", "", "203.0.113.9"),
        ("::1", "", "::1"),
        ("fe80::1%eth0", "", "fe80::/64"),
        ("not an address", "", ""),
        ("256.1.1.1", "", ""),
        ("crawler.example.com", "", "crawler.example.com"),
        ("10.0.0.5", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.5", "1.1.1.1, 203.0.113.7, 10.0.0.9", "203.0.113.7"),
        ("10.0.0.5", "10.0.0.6", "10.0.0.5"),
        ("8.8.8.8", "203.0.113.7", "8.8.8.8"),
        ("10.0.0.5", "\x1b[2J, <script>", "10.0.0.5"),
    ],
)
def test_what_counts_as_one_client(address: str, forwarded: str, client: str) -> None:
    assert Clients().of(address, forwarded) == client


def test_clients_to_ignore() -> None:
    clients = Clients(("192.0.2.0/24", "2001:db8::/32"))
    assert [clients.of(each) for each in ("192.0.2.7", "2001:db8::7", "203.0.113.9", "a.example")] == [None, None, "203.0.113.9", "a.example"]


# Options


def test_every_rule_can_be_switched_off() -> None:
    lines = [
        *(login(-100 + number) for number in range(60)),
        login(-30, 200),
        *(ask(-20, 404, f"/{chr(97 + number)}/x") for number in range(20)),
        *[ask(-10, 405, method="TRACE")] * 9,
        ask(-5, 200, "/shell", method="POST"),
    ]
    expected = {"auth_failures", "auth_burst_ip", "auth_success_after_burst", "path_scan", "unusual_method", "unexpected_write"}
    routes = Routes(["POST /api/v1/login"])
    assert set(judged(lines, crowd(StreamWatch(WatchOptions(), NOW, routes)))) == expected
    for rule in RULES:
        options = WatchOptions.from_options({"rules": {rule: False}})
        assert set(judged(lines, crowd(StreamWatch(options, NOW, routes)))) == expected - {rule}
    nothing = WatchOptions.from_options({"rules": dict.fromkeys(RULES, False)})
    assert judged(lines, crowd(StreamWatch(nothing, NOW, routes))) == {}


def test_options_of_a_configuration() -> None:
    options = WatchOptions.from_options(
        {
            "window_seconds": 600,
            "auth_failures_warning": 5,
            "auth_failures_critical": None,
            "learn_days": 1,
            "methods": ["GET"],
            "ignore_clients": ["192.0.2.0/24"],
        }
    )
    assert (options.window_seconds, options.auth_failures, options.learn_seconds, options.methods) == (600, Thresholds(5, 501), 86400, ("GET",))
    assert WatchOptions.from_options({}) == WatchOptions()


@pytest.mark.parametrize(
    "options",
    [
        {"window_seconds": 1}, {"window_seconds": "long"}, {"window_seconds": float("nan")}, {"leak_seconds": 0}, {"unknown": 1}, {"rules": {"unknown": False}},
        {"rules": []}, {"login_paths": "("}, {"ignore_clients": ["300.0.0.0/8"]}, {"scan_paths": -1}, {"spray_addresses": True}, {"max_clients": 0},
        {"known_writes": ["/orders"]},
    ],
)  # fmt: skip
def test_options_that_make_no_sense(options: dict[str, t.Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # each has words of its own
        WatchOptions.from_options(options)


# State


def test_a_clock_that_went_back_is_not_believed() -> None:
    watch = crowd(StreamWatch(WatchOptions(), NOW + 86400))
    judged([Request(NOW + 86300 + number, ATTACKER, "POST", "/login", 401) for number in range(60)], watch)
    back = again(watch, NOW)
    assert back.since == NOW and not back.failures and "auth_failures" not in judged([ask(-1)], back)


@pytest.mark.parametrize("damage", [None, [], {}, {"since": "x"}, {"since": 1, "last_run": 1, "lines": 1, "requests": 1, "failures": 3}])
def test_a_damaged_state_is_an_error_and_no_crash(damage: t.Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        StreamWatch.from_state(damage, WatchOptions(), NOW)


def test_the_state_is_bounded_whoever_asks() -> None:
    watch = StreamWatch(WatchOptions(), NOW)
    lines: list[Request] = []
    for number in range(30_000):
        client = f"203.{number // 65536}.{number // 256 % 256}.{number % 256}"
        lines.append(ask(-250 + number / 200, 404, f"/{number:x}x/{number % 7}", client))
        lines.append(ask(-250 + number / 200, 200, f"/w{'abcdefgh'[number % 8]}{'abcdefgh'[number // 8 % 8]}{'abcdefgh'[number // 64 % 8]}", client, "POST"))
    watch.judge(lines)
    state = watch.as_state()
    assert len(state["clients"]) <= 500 and len(state["routes"]) <= 500 and len(state["tally"]) <= 50
    assert len(json.dumps(state)) < 300_000


def test_who_overflowed_is_remembered_before_those_who_did_not() -> None:
    watch = crowd(StreamWatch(WatchOptions(max_clients=1), NOW))
    judged([*(login(-100 + number) for number in range(12)), *(ask(-1, 404, "/x", f"198.51.100.{number}") for number in range(99))], watch)
    assert list(watch.as_state()["clients"]) == [ATTACKER]


_LINES = st.lists(
    st.builds(
        ask,
        st.integers(-280, -1),
        st.sampled_from((200, 401, 401, 403, 404, 500)),
        st.sampled_from(("/login", "/a/x", "/b/x", "/c/x", "/.env", "/.git/config", "/orders")),
        st.sampled_from((ATTACKER, "198.51.100.1", "10.0.0.1")),
        st.sampled_from(("GET", "POST", "TRACE")),
    ),
    max_size=120,
)


@settings(max_examples=80, deadline=None)
@given(_LINES, st.lists(st.integers(-280, -1), max_size=3))
def test_however_runs_cut_the_time_the_same_is_remembered(lines: list[Request], cuts: list[int]) -> None:
    """What is judged in several runs ends in the state of one run, and every rule that fires in one fires in one of them."""
    lines = [line for line in lines if not (line.status < 400 and line.method == "GET")]
    whole = StreamWatch(WatchOptions(), NOW)
    found = {hit.rule for hit in whole.judge(lines)} - {"source_quality"}
    moments = sorted({NOW + cut for cut in cuts} | {NOW})
    watch = StreamWatch(WatchOptions(), moments[0])
    watch.since = whole.since
    in_parts: set[str] = set()
    before = 0.0
    for number, moment in enumerate(moments):
        if number:
            watch = again(watch, moment)
        in_parts |= {hit.rule for hit in watch.judge([line for line in lines if before <= (line.time or 0) < moment])} - {"source_quality"}
        before = moment
    one, many = whole.as_state(), watch.as_state()
    for name in ("failures", "unusual", "requests", "tally"):
        assert one[name] == many[name]
    assert {client: entry[5:] for client, entry in one["clients"].items()} == {client: entry[5:] for client, entry in many["clients"].items()}
    if not whole.quality().blind:
        assert found <= in_parts | {"auth_spray"}
