# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import time

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._redaction import REDACTED, Redactor, is_secret_name, secrets_of_environment
from hypothesis import given
from hypothesis import strategies as st

CANARY = "c4nary-Zx81-Qq"


@pytest.mark.parametrize(
    "line",
    [
        f"POSTGRES_PASSWORD={CANARY}",
        f"Db_Password: {CANARY}",
        f"SECRET_KEY={CANARY}",
        f'{{"password": "{CANARY}"}}',
        f'{{\\"password\\": \\"{CANARY}\\"}}',
        f"{{'access_token': '{CANARY}'}}",
        f"wordpressPassword: '{CANARY}'",
        f"postgresql+asyncpg://app:{CANARY}@db:5432/shop",
        f"redis://:{CANARY}@cache:6379/0",
        f"host=db user=app password={CANARY} dbname=shop",
        f"Authorization: Bearer {CANARY}",
        f"Authorization: Basic {CANARY}",
        f"Cookie: session={CANARY}",
        f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{CANARY}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\n-----END RSA PRIVATE KEY-----",
        f"ALTER ROLE app PASSWORD '{CANARY}'",
        f"GET /callback?token={CANARY}&page=2",
        f"--api-key={CANARY}",
        f"--api-key {CANARY}",
        f"postgresql://shop:p@{CANARY}@db/shop",
        f"password=a,{CANARY}",
        f'password="a\\"{CANARY}"',
        f"secret: |\n  {CANARY}\nport: 1",
        f"\x1b[36mpassword\x1b[0m=\x1b[35m{CANARY}\x1b[0m",
        f"[(b'authorization', b'Bearer {CANARY}')]",
        f"ALERT_WEBHOOK_URL=https://alerts.example.net/in/{CANARY}",
        f"user 7 $2b$12${CANARY}KIXQe8Wn0mYkF5v6y1xO2u3",
        # Another name and its value stand in front.
        f"app: token={CANARY}",
        f"12:00 WARN JWTParser: refused: api_key: {CANARY}",
        f"callback=https://shop.example/?token={CANARY}",
        # In lower case this has more letters.
        f"\u0130\u0130\u0130\u0130 X-Api-Key: {CANARY}",
        # Quotes in the value, and quotes that have no end.
        json.dumps({"password": f'a "quoted" {CANARY}'}),
        json.dumps(json.dumps({"password": f"two words {CANARY}"})),
        f'password="it\'s {CANARY}"',
        f'{{"user": "a", "password": "cut off {CANARY}',
    ],
)
def test_shapes_of_secrets(line: str) -> None:
    assert CANARY not in Redactor([]).text(line)


@pytest.mark.parametrize(
    "line",
    [
        "author=lin primary_key=17 tokens_used: 12 keyboard=de",
        "GET /health 200 in 3 ms, request 1f0c9a52-7a4e-4c1b-9a53-0d9b8a7a1a11",
        "image sha256:41d209420d0f15b68dc672d9f16ddb161d4899b97f65c401f24f5eaa167cff07",
        "TOKEN_TTL_SECONDS=3600 POSTGRES_PASSWORD_FILE=/run/secrets/password",
        'password authentication failed for user "shop"',
        "http://web:8000/docs at 10.0.0.1:5432",
        "password: ${DB_PASSWORD} token=$TOKEN secret=null passwd=***",
        "auth: ok; session: active; Basic authentication failed; POSTGRES_HOST_AUTH_METHOD=trust",
        "password=[redacted] and redis://:[redacted]@cache",
        'app: user="lin" password_file="/run/secrets/password" item: 7',
    ],
)
def test_what_is_no_secret_stays(line: str) -> None:
    assert Redactor([]).text(line) == line


def test_known_values_are_replaced_everywhere_but_names_are_not() -> None:
    secrets = secrets_of_environment({"JWT_SECRET": CANARY, "DATABASE_URL": "postgresql://shop:p%40ssw0rd!@db/shop", "POSTGRES_PASSWORD": "shopkeeper"})
    redactor = Redactor(secrets, names=["shopkeeper"])
    assert redactor.text(f"odd place <{CANARY}> and p@ssw0rd! and p%40ssw0rd!") == f"odd place <{REDACTED}> and {REDACTED} and {REDACTED}"
    assert redactor.text("role shopkeeper does not exist") == "role shopkeeper does not exist"


def test_secret_names() -> None:
    assert all(map(is_secret_name, ["PGPASSWORD", "jwtSecret", "X-Api-Key", "AWS_SECRET_ACCESS_KEY", "smtp_pass_phrase_token", "CLIENT_SECRET"]))
    assert not any(map(is_secret_name, ["PRIMARY_KEY", "AUTHOR", "PASSED", "SECRET_FILE", "TOKEN_TYPE", "PUBLIC_KEY", ""]))


@pytest.mark.parametrize(
    "text",
    [
        "JWTParser: DecodeError: Invalid header padding",
        "TokenValidator: ExpiredSignatureError: Signature has expired",
        "AuthMiddleware: KeyError: 'sub'",
        "PasswordService: rejected: too short",
    ],
)
def test_what_a_logger_says_is_no_secret_because_of_its_name(text: str) -> None:
    assert Redactor([]).text(text) == text


@given(
    st.recursive(
        st.text(max_size=40) | st.integers() | st.none(),
        lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    )
)
def test_a_tree_keeps_its_shape_and_redacting_twice_changes_nothing(tree: object) -> None:
    redactor = Redactor([CANARY])
    once = redactor.tree(tree)
    assert redactor.tree(once) == once
    assert len(json.dumps(once)) > 0
    assert type(once) is type(tree)


@pytest.mark.parametrize("part", ["password=", "a:", "a:b=", "token: '", 'password="\\'])
def test_a_long_line_costs_little(part: str) -> None:
    began = time.process_time()
    assert Redactor([CANARY]).text("password " + part * 100_000)
    assert time.process_time() - began < 5
