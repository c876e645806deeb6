# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Endpoints that need a token: asked with a valid one, an invalid one, an expired one and none; and what TLS a server agrees to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import threading
import time
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _http_probe as probing
from ansible_collections.stackops.runbook.plugins.module_utils._redaction import Redactor

SECRET = b"Canary-signing-key-51c7"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def jwt(expires: float, secret: bytes = SECRET) -> str:
    signed = f"{encoded(json.dumps({'alg': 'HS256'}).encode())}.{encoded(json.dumps({'sub': 'probe', 'exp': expires}).encode())}"
    return f"{signed}.{encoded(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


VALID, EXPIRED = jwt(time.time() + 3600), jwt(time.time() - 3600)


class Service(http.server.BaseHTTPRequestHandler):
    """Verifies tokens as one should, but for what its *careless* says."""

    careless: t.ClassVar[set[str]] = set()
    header = "Authorization"
    seen: t.ClassVar[list[tuple[str, t.Optional[str], bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        given = self.headers.get(self.header)
        self.seen.append((self.path, given, body))
        token = (given or "").removeprefix("Bearer ")
        wrong = self._wrong_with(token)
        answer = {"made": True, "you_sent": given} if not wrong or wrong in self.careless else {"error": wrong, "you_sent": given}
        self.send_response(201 if "made" in answer else 401)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def _wrong_with(self, token: str) -> str:
        if not token:
            return "missing"
        signed, dot, signature = token.rpartition(".")
        if not dot or encoded(hmac.new(SECRET, signed.encode(), hashlib.sha256).digest()) != signature:
            return "invalid"
        claims = json.loads(base64.urlsafe_b64decode(signed.split(".")[1] + "=="))
        return "expired" if claims["exp"] < time.time() else ""

    def log_message(self, *dummy: t.Any) -> None:
        """Keep quiet."""


@pytest.fixture
def url() -> t.Iterator[str]:
    Service.careless, Service.header, Service.seen = set(), "Authorization", []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/items"
        server.shutdown()


def rows_of(url: str, **options: t.Any) -> dict[str, dict[str, t.Any]]:
    declared = {
        "url": url,
        "name": "items",
        "method": "POST",
        "json": {"name": "probe"},
        "expected_status": [201],
        "expected_json": ["made == true"],
        **options,
    }
    envelope = probing.collect_http((), [declared], discover=False)
    assert envelope["errors"] == []
    return {str(row["token"]): row for row in envelope["endpoints"]}


def test_a_service_that_verifies_passes_all_four(url: str) -> None:
    rows = rows_of(url, token=VALID, token_tests={"expired": EXPIRED})
    assert {kind: (row["status"], row["http_status"]) for kind, row in rows.items()} == {
        "valid": ("ok", 201),
        "invalid": ("ok", 401),
        "expired": ("ok", 401),
        "missing": ("ok", 401),
    }
    assert sorted(str(given) for dummy, given, dummy_body in Service.seen) == sorted(
        [f"Bearer {VALID}", f"Bearer {EXPIRED}", f"Bearer {probing.spoilt_token(VALID)}", "None"]
    )
    assert {json.loads(body)["name"] for dummy, dummy_given, body in Service.seen} == {"probe"}


@pytest.mark.parametrize("kind", ["invalid", "expired", "missing"])
def test_what_it_lets_in_is_named(url: str, kind: str) -> None:
    Service.careless = {kind}
    rows = rows_of(url, token=VALID, token_tests={"expired": EXPIRED})
    assert [one for one, row in rows.items() if row["status"] == "critical"] == [kind]
    words = {"invalid": "an invalid token", "expired": "an expired token", "missing": "no token"}[kind]
    assert rows[kind]["message"] == f"HTTP 201 with {words}, expected 401 or 403"
    # What announces a secret would be redacted on its way to a report.
    assert Redactor(()).text(rows[kind]["message"]) == rows[kind]["message"]
    assert rows[kind]["name"] == f"items ({words})"


def test_a_valid_token_that_is_refused_is_said_to_be_expired_where_it_is(url: str) -> None:
    row = rows_of(url, token=EXPIRED, token_tests={})["valid"]
    assert row["status"] == "critical"
    assert row["message"].startswith("HTTP 401 with the valid token, expected 201; the token itself expired at 20")


def test_without_tests_only_the_valid_one_is_sent(url: str) -> None:
    assert set(rows_of(url, token=VALID)) == {"valid"}
    assert len(Service.seen) == 1


def test_a_header_and_a_prefix_of_one_s_own(url: str) -> None:
    Service.header = "X-Api-Token"
    rows = rows_of(url, token=VALID, token_header="X-Api-Token", token_prefix="", headers={"x-api-token": "old", "X-Other": "1"}, token_tests={})
    assert {kind: row["status"] for kind, row in rows.items()} == {"valid": "ok", "invalid": "ok", "missing": "ok"}


def test_no_token_is_in_a_row_though_the_service_echoes_it(url: str) -> None:
    for header in ("Authorization", "X-Plain"):
        Service.header = header
        rows = rows_of(url, token=VALID, token_header=header, token_tests={"expired": EXPIRED, "rejected_status": [418]})
        text = json.dumps(rows)
        assert all(row["body_excerpt"] for kind, row in rows.items() if kind != "valid")
        for token in (VALID, EXPIRED, probing.spoilt_token(VALID)):
            assert token not in text
            assert token.rpartition(".")[2] not in text


def test_tokens_are_masked_in_parameters_and_results() -> None:
    params: dict[str, t.Any] = {
        "endpoints": [{"url": "http://x/", "token": VALID, "token_tests": {"expired": EXPIRED, "invalid": "made-up-token", "rejected_status": [401]}}]
    }
    secrets = probing.hide_secrets(params)
    assert {VALID, EXPIRED, "made-up-token", probing.spoilt_token(VALID)} <= secrets
    shown = json.dumps(params)
    assert not any(secret in shown for secret in secrets)
    assert params["endpoints"][0]["token_tests"]["rejected_status"] == [401]


def test_tests_without_a_token_are_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match="token_tests of items need a token that is valid"):
        probing.with_tokens({"url": "http://x/", "name": "items", "token_tests": {}})
    with pytest.raises(ValueError, match="one line"):
        probing.with_tokens({"url": "http://x/", "token": "a\r\nHost: evil"})


@pytest.mark.parametrize("token", [VALID, EXPIRED, "aaaa.bbbb.cccc", "aaaa.bbbb.AAAA"])
def test_a_spoilt_token_has_the_same_claims_and_another_signature(token: str) -> None:
    spoilt = probing.spoilt_token(token)
    assert spoilt.split(".")[:2] == token.split(".")[:2]
    assert spoilt != token
    assert len(spoilt) == len(token)


def test_what_is_no_jwt_is_replaced_by_a_word() -> None:
    assert probing.spoilt_token("opaque-token") == "invalid_token"
