# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests in lines that servers really write (recorded in fixtures/logs/formats.json and access.json), and in lines that pretend."""

from __future__ import annotations

import collections
import json
import pathlib
import time
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._access_lines import (
    AccessReader,
    FailedLogin,
    PlainRequests,
    Request,
    host_of,
    is_piece,
)
from ansible_collections.stackops.runbook.plugins.module_utils._log_formats import Clock
from hypothesis import given, settings
from hypothesis import strategies as st

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures" / "logs"
FORMATS: dict[str, str] = json.loads((FIXTURES / "formats.json").read_text(encoding="utf-8"))
ACCESS: dict[str, list[str]] = json.loads((FIXTURES / "access.json").read_text(encoding="utf-8"))


def read(line: t.Union[str, bytes]) -> t.Union[Request, FailedLogin, None]:
    return AccessReader(Clock()).read(line.encode() if isinstance(line, str) else line)


def requests_of(lines: t.Iterable[str]) -> list[Request]:
    found = [read(line) for line in lines]
    return [each for each in found if isinstance(each, Request)]


def wrapped(line: str, when: str = "2026-11-23T12:00:00.123456789Z") -> bytes:
    return json.dumps({"log": line + "\n", "stream": "stdout", "time": when}, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("uvicorn", 3), ("uvicorn-color", 3), ("gunicorn", 3), ("hypercorn", 3), ("nginx-access", 3), ("nginx-access_rt", 3), ("ecs", 1),
        ("structlog-json", 1), ("structlog-logfmt", 1), ("pythonjsonlogger-fmt", 1), ("pythonjsonlogger-default", 1), ("stdlib-text", 0), ("loguru-text", 0),
        ("nginx-error", 0), ("postgres", 0), ("redis", 0),
    ],
)  # fmt: skip
def test_recordings_of_servers_and_loggers(name: str, count: int) -> None:
    reader = AccessReader(Clock())
    found = [reader.read(line) for line in FORMATS[name].encode().split(b"\n")]
    requests = [each for each in found if isinstance(each, Request)]
    assert len(requests) == reader.requests == count and reader.unread == 0
    if count == 3:
        assert [(each.method, each.path, each.status) for each in requests][1:] == {
            "nginx-access": [("GET", "/api/v1/items/7", 502), ("GET", "/n.conf", 200)],
            "nginx-access_rt": [("GET", "/api/v1/items/7", 502), ("GET", "/n.conf", 200)],
        }.get(name, [("GET", "/nope", 404), ("GET", "/boom", 500)])
        assert all(each.client == "127.0.0.1" for each in requests)


@pytest.mark.parametrize("name", sorted(ACCESS))
def test_recordings_of_proxies_and_the_example_application(name: str) -> None:
    requests = requests_of(ACCESS[name])
    assert [each.status for each in requests] == [200, 401, 404], name
    assert [each.path for each in requests] == ["/api/v1/items", "/api/v1/orders", "/.env"]
    assert [each.method for each in requests] == ["GET", "POST", "GET"]
    assert all(each.client or each.forwarded for each in requests)
    timed = [each.time for each in requests]
    assert (None not in timed and timed == sorted(t.cast("list[float]", timed))) or name == "uvicorn"


def test_the_example_application_tells_of_tokens_it_refused() -> None:
    lines = [line for line in ACCESS["example-application"] if "JWTParser" in line]
    found = [read(line) for line in lines]
    assert len(lines) == 2 and all(isinstance(each, FailedLogin) and each.time for each in found)
    for line in (
        '{"timestamp":"2026-11-23T12:00:00Z","level":"INFO","logger":"JWTParser","message":"key 7 loaded"}',
        '{"timestamp":"2026-11-23T12:00:00Z","level":"WARNING","logger":"orders","message":"stock low"}',
    ):
        assert read(line) is None


@pytest.mark.parametrize(
    "line",
    [
        '2026-11-23 22:31:49.788 UTC [12807] FATAL:  password authentication failed for user "postgres"',
        "2026-11-23 12:00:00,000 - auth - WARNING - Invalid credentials for ada",
        "2026-11-23 12:00:00,000 ERROR login failed: wrong second factor",
        '{"level":"warning","message":"failed login for ada","ts":1795435200}',
        "WARNING: jwt.exceptions.InvalidSignatureError: Signature verification failed",
    ],
)
def test_lines_that_tell_of_a_failed_login(line: str) -> None:
    assert isinstance(read(line), FailedLogin)


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-23 12:00:00 INFO login page rendered",
        "INFO: token refreshed",
        "2026-11-23 INFO password policy loaded; nothing failed to parse before line 70",
        "",
    ],
)
def test_lines_that_tell_of_nothing_of_the_kind(line: str) -> None:
    assert read(line) is None


def test_an_agent_and_an_address_that_a_proxy_named() -> None:
    line = '10.0.0.5 - ada [23/Nov/2026:12:00:00 +0000] "GET /a?token=secret#x HTTP/1.1" 200 5 "https://x/" "Mozilla \\"5\\"" "1.2.3.4, 203.0.113.7"'
    found = read(line)
    assert found == Request(1795435200.0, "10.0.0.5", "GET", "/a", 200, 'Mozilla \\"5\\"', "1.2.3.4, 203.0.113.7")


@pytest.mark.parametrize(
    ("client", "host"),
    [("1.2.3.4:5", "1.2.3.4"), ("1.2.3.4", "1.2.3.4"), ("[2001:db8::1]:80", "2001:db8::1"), ("2001:db8::1", "2001:db8::1"), ("-", ""), ("unix:", "")],
)
def test_addresses_without_ports(client: str, host: str) -> None:
    assert host_of(client) == host


# What clients send cannot pretend to be a request, nor hide one


@pytest.mark.parametrize(
    "user", ["ada", "a b", "x [01/Jan/2000:00:00:00 +0000] y", "] [", "1.2.3.4 - - [01/Jan/2000:00:00:00 +0000]", "\\x22GET /forged HTTP/1.1\\x22 200"]
)
def test_a_users_name_hides_no_request(user: str) -> None:
    found = read(f'203.0.113.9 - {user} [23/Nov/2026:12:00:00 +0000] "POST /login HTTP/1.1" 401 5 "-" "curl"')
    assert isinstance(found, Request) and (found.client, found.path, found.status, found.time) == ("203.0.113.9", "/login", 401, 1795435200.0)


@pytest.mark.parametrize(
    "line",
    [
        '2026-11-23 12:00:00 WARNING auth: no such user: 1.2.3.4:5 - "GET / HTTP/1.1" 200',
        'bob said: 1.2.3.4 - - [23/Nov/2026:12:00:00 +0000] "GET / HTTP/1.1" 401 5',
        '{"timestamp":"2026-11-23T12:00:00Z","level":"INFO","message":"agent \\"status\\": 401, \\"method\\": \\"POST\\", \\"path\\": \\"/login\\""}',
        '203.0.113.9 - - [23/Nov/2026:12:00:00 +0000] "\\x16\\x03\\x01" 400 150 "-" "-"',
    ],
)
def test_lines_that_only_speak_of_requests(line: str) -> None:
    found = read(line)
    assert not isinstance(found, Request) or found.client != "1.2.3.4"
    if "bob" not in line:
        assert not isinstance(found, Request)


def test_a_request_written_into_an_agent_is_part_of_the_agent() -> None:
    agent = '\\" 401 5\\n1.2.3.4 - - [23/Nov/2026:12:00:00 +0000] \\"POST /login HTTP/1.1\\" 200'
    found = read(f'203.0.113.9 - - [23/Nov/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "{agent}"')
    assert isinstance(found, Request) and found.client == "203.0.113.9" and found.status == 200


@pytest.mark.parametrize(
    "line", ['203.0.113.9 - - [23/Nov/2026:12:00:00 +0000] "GET /a HTTP/1.1" 404 5', 'INFO:     203.0.113.9:47 - "GET /a HTTP/1.1" 404 Not Found']
)
@pytest.mark.parametrize("level", ["INFO: ", "ERROR: ", ""])
def test_a_level_of_the_journal_in_front_is_no_client(level: str, line: str) -> None:
    found = read(level + line)
    assert isinstance(found, Request) and (found.client, found.path, found.status) == ("203.0.113.9", "/a", 404)


def test_requests_of_an_unknown_format_are_counted() -> None:
    reader = AccessReader(Clock())
    for dummy in range(3):
        assert reader.read(b'<client=1.2.3.4> asks "GET / HTTP/9" 200 in no time') is None
    assert (reader.unread, reader.lines) == (3, 3)


def test_the_engines_time_counts_for_what_it_wrapped() -> None:
    found = read(wrapped('INFO:     203.0.113.9:4711 - "POST /login HTTP/1.1" 401 Unauthorized'))
    assert isinstance(found, Request) and found.time == pytest.approx(1795435200.123456) and found.client == "203.0.113.9"


def test_a_long_line_that_the_engine_keeps_in_pieces_hides_no_request() -> None:
    reader = AccessReader(Clock())
    line = f'INFO:     203.0.113.9:4711 - "POST /login?x={"A" * 40_000} HTTP/1.1" 401 Unauthorized\n'
    pieces = [line[start : start + 16384] for start in range(0, len(line), 16384)]
    found = []
    for number, piece in enumerate(pieces):
        for stream, text in (("stdout", piece), ("stderr", "WARNING: something else\n")):
            kept = json.dumps({"log": text, "stream": stream, "time": f"2026-11-23T12:00:0{number}Z"}, separators=(",", ":")).encode()
            assert is_piece(kept) == (stream == "stdout" and number < len(pieces) - 1)
            found.append(reader.read(kept))
            assert bool(reader.pending_bytes) == (number < len(pieces) - 1)
    requests = [each for each in found if each is not None]
    assert requests == [Request(1795435200.0, "203.0.113.9", "POST", "/login", 401)]


_HOSTILE = {
    "path": b'203.0.113.9 - - [23/Nov/2026:12:00:00 +0000] "POST /login?%s HTTP/1.1" 401 5 "-" "curl"',
    "agent": b'203.0.113.9 - - [23/Nov/2026:12:00:00 +0000] "POST /login HTTP/1.1" 401 5 "-" "%s"',
    "uvicorn": b'INFO:     203.0.113.9:47 - "POST /login?%s HTTP/1.1" 401 Unauthorized',
    "json": b'{"ts":1795435200,"request":{"remote_ip":"203.0.113.9","method":"POST","uri":"/login","headers":{"X":["%s"]}},"status":401}',
}


@pytest.mark.parametrize("form", sorted(_HOSTILE))
@pytest.mark.parametrize("filler", [b"a", b"0", b"1.", b"%20", b"/", b"A-", b"x=y&"])
def test_a_line_of_a_megabyte_hides_no_request_and_takes_no_time(form: str, filler: bytes) -> None:
    line = _HOSTILE[form].replace(b"%s", filler * ((1 << 20) // len(filler)))
    begin = time.process_time()
    found = read(line)
    assert isinstance(found, Request) and (found.client, found.path, found.status) == ("203.0.113.9", "/login", 401)
    plain = PlainRequests()
    plain.learn(_FORMS["combined"]("203.0.113.9", "GET", "/", 200, "-"))
    data = b"\n" + line
    assert plain.sort(data, 0, len(data)) == ({}, {line: 1})
    assert time.process_time() - begin < 1


@pytest.mark.parametrize("start", [b"", b"[", b"INFO:     ", b"2026-11-23 ", b'{"', b"1.2.3.4 - - ", b'1.2.3.4 - - [23/Nov/2026:12:00:00 +0000] "GET '])
@pytest.mark.parametrize("filler", [b"a", b"0", b". ", b"[] ", b"INFO: ", b'"', b"\\", b"GET / ", b"login failed "])
def test_nonsense_of_a_megabyte_takes_no_time(start: bytes, filler: bytes) -> None:
    begin = time.process_time()
    read(start + filler * ((1 << 20) // len(filler)))
    assert time.process_time() - begin < 1


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_no_line_breaks_the_reader(line: bytes) -> None:
    for each in (line, b'1.2.3.4 - - [23/Nov/2026:12:00:00 +0000] "' + line, b'{"log":"' + line, b'{"status":200,"method":"GET","path":' + line):
        AccessReader(Clock()).read(each)


@settings(max_examples=60)
@given(st.text(max_size=60), st.text(max_size=60), st.integers(100, 599))
def test_quoted_text_is_read_whole(path: str, agent: str, status: int) -> None:
    path, agent = (
        "/" + "".join(each for each in path if each.isalnum()),
        agent.replace("\\", "").replace('"', "").replace("\n", "").replace("\r", "").replace("\0", ""),
    )
    line = f'203.0.113.9 - - [23/Nov/2026:12:00:00 +0000] "GET {path} HTTP/1.1" {status} 5 "-" "{agent}"'
    found = read(line)
    assert isinstance(found, Request) and (found.path, found.status) == (path, status) and found.agent in (agent, "", agent.strip())


# Plain requests, many at once


_CLIENTS = st.sampled_from(("203.0.113.9", "198.51.100.7", "2001:db8::1", "10.0.0.1"))
_ASKED = st.tuples(
    _CLIENTS,
    st.sampled_from(("GET", "POST", "HEAD", "OPTIONS", "TRACE", "DELETE")),
    st.sampled_from(("/", "/login", "/a?b=1", "/.env", "/caf%C3%A9", "/a\\x22b", "/x#y")),
    st.sampled_from((200, 204, 301, 304, 401, 404, 500)),
    st.sampled_from(("curl/8", "-", "Mozilla (X; y)", 'a\\"b')),
)
_FORMS: dict[str, t.Callable[[str, str, str, int, str], bytes]] = {
    "combined": lambda client, method, path, status, agent: (
        f'{client} - - [23/Nov/2026:12:00:00 +0000] "{method} {path} HTTP/1.1" {status} 5 "-" "{agent}"'.encode()
    ),
    "forwarded": lambda client, method, path, status, agent: (
        f'10.0.0.5 - - [23/Nov/2026:12:00:00 +0000] "{method} {path} HTTP/1.1" {status} 5 "-" "{agent}" "{client}"'.encode()
    ),
    "uvicorn": lambda client, method, path, status, dummy: f'INFO:     {client}:47 - "{method} {path} HTTP/1.1" {status} OK'.encode(),
    "uvicorn-docker": lambda client, method, path, status, dummy: wrapped(f'INFO:     {client}:47 - "{method} {path} HTTP/1.1" {status} OK'),
    "combined-docker": lambda client, method, path, status, agent: wrapped(
        f'{client} - - [23/Nov/2026:12:00:00 +0000] "{method} {path} HTTP/1.1" {status} 5 "-" "{agent}"'
    ),
    "json": lambda client, method, path, status, agent: json.dumps(
        {
            "timestamp": "2026-11-23T12:00:00Z",
            "message": f"{method} {path}",
            "status": status,
            "method": method,
            "path": path,
            "client_ip": client,
            "user_agent": agent,
        }
    ).encode(),
    "json-other-order": lambda client, method, path, status, dummy: json.dumps(
        {"remote_addr": client, "time": 1795435200.5, "request_method": method, "uri": path, "status": status}, separators=(",", ":")
    ).encode(),
    "text": lambda client, method, path, status, dummy: f"2026-11-23 12:00:00 INFO {client} {method} {path} {status}".encode(),
}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(_FORMS)), _ASKED), min_size=1, max_size=30))
def test_plain_requests_are_what_the_reader_finds(written: list[tuple[str, t.Any]]) -> None:
    lines = [_FORMS[form](*asked) for form, asked in written]
    plain = PlainRequests()
    for line in lines:
        plain.learn(line)
    data = b"\n" + b"\n".join(lines)
    sorted_out = plain.sort(data, 0, len(data))
    if sorted_out is None:
        return
    found: collections.Counter[tuple[str, str, int]] = collections.Counter()
    for (client, path, status), count in sorted_out[0].items():
        found[host_of(client.decode()), path.decode(), int(status)] += count
    for line, count in sorted_out[1].items():
        request = read(line)
        if isinstance(request, Request):
            found[request.client, request.path, request.status] += count
    expected = collections.Counter((each.client, each.path, each.status) for each in (read(line) for line in lines) if isinstance(each, Request))
    assert found == expected
    assert sum(sorted_out[0].values()) + sum(sorted_out[1].values()) == len(lines)


@pytest.mark.parametrize("form", ["combined", "uvicorn-docker", "combined-docker", "json", "json-other-order", "uvicorn"])
def test_common_shapes_are_known(form: str) -> None:
    plain = PlainRequests()
    line = _FORMS[form]("203.0.113.9", "GET", "/items/1?page=2", 200, "curl/8")
    plain.learn(line)
    data = b"\n" + line + b"\n" + _FORMS[form]("203.0.113.9", "POST", "/items", 401, "curl/8")
    sorted_out = plain.sort(data, 0, len(data))
    assert sorted_out is not None and len(sorted_out[1]) == 1
    assert [(host_of(client.decode()), path, status) for client, path, status in sorted_out[0]] == [("203.0.113.9", b"/items/1", b"200")]
