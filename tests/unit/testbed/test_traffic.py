# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tokens as a real verifier wants them, and requests of an ordinary day."""

from __future__ import annotations

import base64
import collections
import hashlib
import hmac
import itertools
import json
import random
import time

from stacklib import tokens, traffic

SHOP = traffic.Shop("http://127.0.0.1:8000", "secret")


def _decoded(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_token_is_signed_with_the_secret():
    token = tokens.bearer_token("secret", key_id="shop-9")
    signed, signature = token.rsplit(".", 1)
    assert _decoded(signature) == hmac.new(b"secret", signed.encode(), hashlib.sha256).digest()
    assert json.loads(_decoded(signed.split(".")[0])) == {"alg": "HS256", "typ": "JWT", "kid": "shop-9"}


def test_negative_lifetime_is_over():
    claims = json.loads(_decoded(tokens.bearer_token("secret", lifetime_seconds=-1).split(".")[1]))
    assert claims["exp"] <= time.time()


def _calls(seed, count=2000):
    return [(call.method, call.path) for call in itertools.islice(traffic.mixed_calls(SHOP, random.Random(seed)), count)]


def test_same_seed_gives_the_same_requests():
    assert _calls(3) == _calls(3) != _calls(4)


def test_an_ordinary_day_is_mostly_reading_and_never_touches_the_item_of_the_error_burst():
    calls = _calls(1)
    methods = collections.Counter(method for method, dummy in calls)
    assert 0.75 < methods["GET"] / len(calls) < 0.95
    assert methods["POST"] > 0
    assert ("GET", "/api/v1/items/7/price") not in calls


def test_nobody_answers_on_a_closed_port():
    assert traffic.Shop("http://127.0.0.1:1", "secret").send(traffic.Call("GET", "/health")) == 0
