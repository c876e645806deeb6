# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tokens of all kinds and texts that are none: what is said of them, and that the signature never is."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import subprocess
import sys
import time
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils._jwt import MAX_TOKEN_CHARACTERS, inspect_token
from hypothesis import given
from hypothesis import strategies as st

ROOT = pathlib.Path(__file__).parents[4]

NOW = 1795485600.0
GOOD = {"sub": "42", "exp": int(NOW) + 3600}


def encoded(part: t.Any) -> str:
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(claims: t.Any = None, signature: bytes = b"s" * 32, **header: t.Any) -> str:
    return ".".join((encoded({"alg": "HS256", "typ": "JWT", **header}), encoded(GOOD if claims is None else claims), encoded(signature)))


def kinds(text: str, **options: t.Any) -> list[str]:
    return [problem["kind"] for problem in inspect_token(text, NOW, **options)["problems"]]


def test_what_the_example_application_takes_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests/stack"))
    tokens = pytest.importorskip("stacklib.tokens", reason="the example application is in a checkout")
    made = tokens.bearer_token("secret-for-nobody", key_id="shop-1")
    facts = inspect_token(f"Bearer {made}", time.time(), ["HS256"])
    assert facts["header"] == {"alg": "HS256", "typ": "JWT", "kid": "shop-1"}
    assert (facts["claims"]["sub"], facts["algorithm"], facts["key_id"], facts["signature_bytes"]) == ("traffic", "HS256", "shop-1", 32)
    assert (facts["verified"], facts["malformed"], facts["expired"], facts["problems"]) == (False, False, False, [])
    assert 3590 <= facts["expires_in_seconds"] <= 3600


def test_expiry_is_told_against_the_clock() -> None:
    facts = inspect_token(token({"exp": int(NOW) - 60, "iat": int(NOW) - 3660}), NOW)
    assert (facts["expired"], facts["expires_in_seconds"], facts["expires_at"]) == (True, -60, "2026-11-24T01:59:00Z")
    assert facts["problems"] == [{"kind": "expired", "message": "It expired at 2026-11-24T01:59:00Z, 60 s ago."}]
    assert kinds(token({"exp": int(NOW) - 60}), leeway_seconds=90) == []


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, ["missing-expiry"]),
        ({"exp": None}, ["missing-expiry"]),
        ({"exp": "tomorrow"}, ["time-not-a-number"]),
        ({"exp": True}, ["time-not-a-number"]),
        ({"exp": (NOW + 60) * 1000}, ["time-unit"]),
        ({"exp": -1}, ["time-unit"]),
        ({"exp": 10**30}, ["time-unit"]),
        ({**GOOD, "nbf": NOW + 60}, ["not-yet-valid"]),
        ({**GOOD, "iat": NOW + 60}, ["not-yet-valid"]),
        ({"exp": NOW + 60, "iat": NOW + 90}, ["not-yet-valid", "expires-before-issue"]),
    ],
)
def test_times(claims: dict[str, t.Any], expected: list[str]) -> None:
    assert kinds(token(claims)) == expected


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        ({"alg": "none"}, 0, ["unsigned"]),
        ({"alg": "NoNe"}, 32, ["unsigned"]),
        ({"alg": "HS256"}, 0, ["unsigned"]),
        ({"alg": None}, 32, ["missing-algorithm"]),
        ({"alg": ["HS256"]}, 32, ["missing-algorithm"]),
        ({"alg": "hs256"}, 32, ["unknown-algorithm"]),
        ({"alg": "HS512"}, 64, []),
        ({"alg": "HS256"}, 31, ["signature-length"]),
        ({"alg": "RS256"}, 256, []),
        ({"alg": "PS512"}, 512, []),
        ({"alg": "EdDSA"}, 64, []),
        ({"alg": "ES512"}, 132, []),
        ({"alg": "RS256"}, 100, ["signature-length"]),
        # The public key of RS256 taken for the secret of HS256, from either side.
        ({"alg": "RS256"}, 32, ["algorithm-confusion"]),
        ({"alg": "HS256"}, 256, ["algorithm-confusion"]),
        ({"alg": "HS256", "x5c": ["MIIB"]}, 32, ["algorithm-confusion"]),
        ({"alg": "RS256", "x5t": "AQ"}, 256, []),
        ({"alg": "RS256", "jku": "https://evil.example/keys"}, 256, ["key-from-token"]),
    ],
)
def test_algorithms(header: dict[str, t.Any], size: int, expected: list[str]) -> None:
    assert kinds(token(signature=b"s" * size, **header)) == expected


def test_an_algorithm_that_the_server_does_not_take() -> None:
    facts = inspect_token(token(alg="HS512", signature=b"s" * 64), NOW, ["RS256", "ES256"])
    assert facts["problems"] == [{"kind": "unexpected-algorithm", "message": "Its algorithm is HS512; the server accepts RS256, ES256."}]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("Bearer ", "has 1 of the three parts"),
        ("invalid_token", "has 1 of the three parts"),
        ("a.b", "has 2 of the three parts header, claims and signature: it may have been cut off"),
        (token() + ".x", "no more dots"),
        ("a.b.c.d.e", "JWE"),
        ('"' + token() + '"', "in quotes"),
        (token()[:30] + "\n" + token()[30:], "a blank or a line end"),
        (token().replace(".", "=.", 1), "plain base64"),
        (token().replace(".", "é.", 1), "other characters"),
        (encoded({"alg": "HS256"}) + "." + encoded(GOOD)[:-1] + ".c2ln", "may have been changed or cut off"),
        ("." + encoded(GOOD) + ".c2ln", "header is empty"),
        (encoded([1]) + "." + encoded(GOOD) + ".c2ln", "header is no JSON object"),
        (encoded({"alg": "HS256"}) + "." + encoded(b"\xff\xfe") + ".c2ln", "claims is no JSON"),
        (encoded({"alg": "HS256"}) + "." + encoded(b'{"exp": NaN}') + ".c2ln", "claims is no JSON"),
        (encoded({"alg": "HS256"}) + "." + encoded(b'{"exp": 1e999}') + ".c2ln", "claims is no JSON"),
        (encoded({"alg": "HS256"}) + "." + encoded(b'{"exp": ' + b"9" * 5000 + b"}") + ".c2ln", "claims is no JSON"),
        (encoded({"alg": "HS256"}) + "." + encoded(b'{"a":' * 200 + b"1" + b"}" * 200) + ".c2ln", "claims is no JSON"),
        ("x" * (MAX_TOKEN_CHARACTERS + 1), "no server takes"),
    ],
)
def test_what_is_no_token_is_told_why(text: str, reason: str) -> None:
    facts = inspect_token(text, NOW)
    (problem,) = facts["problems"]
    assert (facts["malformed"], problem["kind"], facts["claims"], facts["expired"]) == (True, "malformed", {}, None)
    assert reason in problem["message"]


@given(st.text(max_size=200) | st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}", fullmatch=True))
def test_any_text_is_told_something_that_can_be_written(text: str) -> None:
    facts = inspect_token(text, NOW)
    assert facts["malformed"] == any(problem["kind"] == "malformed" for problem in facts["problems"])
    json.dumps(facts, allow_nan=False, ensure_ascii=False).encode()


NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(st.none() | st.booleans() | NUMBERS | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6)
CLAIMS = st.dictionaries(st.text() | st.sampled_from(["exp", "nbf", "iat"]), VALUES, max_size=6)


@given(st.dictionaries(st.sampled_from(["alg", "kid", "jku", "typ"]), VALUES), CLAIMS, st.binary(min_size=16, max_size=300))
def test_header_and_claims_are_as_written_and_the_signature_is_nowhere(header: dict[str, t.Any], claims: dict[str, t.Any], signature: bytes) -> None:
    facts = inspect_token(f"{encoded(header)}.{encoded(claims)}.{encoded(signature)}", NOW, ["HS256"])
    assert (facts["malformed"], facts["header"], facts["claims"], facts["signature_bytes"]) == (False, header, claims, len(signature))
    assert encoded(signature) not in json.dumps(facts)


@given(st.binary(min_size=16, max_size=64), st.integers(1, 3))
def test_a_token_that_lost_its_end_shows_none_of_its_signature(signature: bytes, cut: int) -> None:
    shown = json.dumps(inspect_token(token(signature=signature)[:-cut], NOW))
    assert encoded(signature)[: -cut - 3] not in shown


def test_halves_of_characters_can_be_written() -> None:
    claims = b'{"sub": "\\ud800", "exp": 1}'
    facts = inspect_token(f"{encoded({'alg': 'HS256'})}.{encoded(claims)}.{encoded(b's' * 32)}", NOW)
    assert facts["claims"]["sub"] == "\ufffd"


PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Inspect a token whose claims look like templates
      ansible.builtin.set_fact:
        token: "{{ given | stackops.runbook.jwt_inspect(algorithms=['HS256'], leeway_seconds='5') }}"
    - name: Show it
      ansible.builtin.debug:
        msg: "{{ token.claims.sub }} {{ token.problems | map(attribute='kind') | join(',') }}"
    - name: Refuse what is no text
      ansible.builtin.debug:
        msg: "{{ {'a': 1} | stackops.runbook.jwt_inspect }}"
      ignore_errors: true
    - name: Refuse a name in place of a list
      ansible.builtin.debug:
        msg: "{{ given | stackops.runbook.jwt_inspect(algorithms='HS256') }}"
      ignore_errors: true
"""


def test_in_a_playbook_claims_are_data_and_wrong_options_are_named(tmp_path: pathlib.Path) -> None:
    playbook = tmp_path / "play.yml"
    playbook.write_text(PLAY, encoding="utf-8")
    made = token({"sub": "{{ lookup('env', 'HOME') }}", "exp": 1})
    command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", str(playbook), "-e", json.dumps({"given": made}), "-v"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "ANSIBLE_NOCOLOR": "1"})
    assert "{{ lookup('env', 'HOME') }} expired" in done.stdout, done.stdout + done.stderr
    assert made.rpartition(".")[2] not in done.stdout + done.stderr
    assert "needs a token as text" in done.stdout + done.stderr
    assert "algorithms must be a list of names" in done.stdout + done.stderr
