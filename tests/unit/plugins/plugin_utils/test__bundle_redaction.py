# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Canaries: secrets in every form in which they were seen to leak, and what must come through unharmed."""

from __future__ import annotations

import base64
import gzip
import json
import re
import time
import urllib.parse

import pytest
import yaml
from ansible_collections.stackops.runbook.plugins.plugin_utils._bundle_redaction import BundleRedactor, NotRedactable
from ansible_collections.stackops.runbook.plugins.plugin_utils._identities import Identities
from ansible_collections.stackops.runbook.plugins.plugin_utils._private_map import PrivateMap
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CANARY = "c4naryZx81Qq77pL"
HEX = "c4a7e2b19f60d358" * 2
# Put together here, so that this file has no secret of these shapes in it.
AWS = "AKIA" + "C4NARYZX81QQ77PL"
GITHUB = "ghp" + "_" + CANARY * 2 + "abcd"
SLACK = "https://hooks.slack.com/services/T00000000/B00000000/" + CANARY
JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSJ9." + CANARY
BEGIN, END = "-----BEGIN RSA PRIVATE " + "KEY-----", "-----END RSA PRIVATE " + "KEY-----"
KEY_BODY = (CANARY * 4 + "\n") * 4
BASIC = base64.b64encode(f"admin:{CANARY}".encode()).decode()
BCRYPT = "$2b$12$" + CANARY + "KIXQe8Wn0mYkF5v6y1xO2u3"
MAIL = "alice.canary@customers.example.org"
ADDRESS = "203.0.113.77"

#: The list of the reference, line by line: kind of file, content, what must not be in the result.
CANARIES: list[tuple[str, str, str, str]] = [
    ("inspect-env-json", "json", json.dumps({"Config": {"Env": [f"POSTGRES_PASSWORD={CANARY}"]}}), CANARY),
    ("env-token", "json", json.dumps({"Env": [f"API_TOKEN={CANARY}"]}), CANARY),
    ("env-mixed-case", "text", f"Db_Password={CANARY}", CANARY),
    ("dotenv-secret-key", "variables", f"SECRET_KEY={CANARY}\n", CANARY),
    ("url-postgres", "text", f"DATABASE_URL=postgresql://shop:{CANARY}@db:5432/shop", CANARY),
    ("url-asyncpg", "text", f"connecting to postgresql+asyncpg://shop:{CANARY}@db:5432/shop", CANARY),
    ("url-without-path", "text", f"dsn: postgresql://shop:{CANARY}@db", CANARY),
    ("url-query", "text", f"postgresql://db/shop?user=shop&password={CANARY}&sslmode=require", CANARY),
    ("url-redis", "text", f"redis://:{CANARY}@cache:6379/0", CANARY),
    ("url-https", "text", f"git clone https://ci:{CANARY}@git.example.com/shop.git", CANARY),
    ("url-amqp", "text", f"amqp://app:{CANARY}@rabbit:5672//", CANARY),
    ("libpq", "text", f"host=db user=shop password={CANARY} dbname=shop", CANARY),
    ("yaml", "yaml", f"environment:\n  POSTGRES_PASSWORD: {CANARY}\n", CANARY),
    ("yaml-quoted-camel", "yaml", f'config:\n  wordpressPassword: "{CANARY}"\n', CANARY),
    ("json-password", "json", json.dumps({"password": CANARY + '"b'}), CANARY),
    ("json-access-token", "text", f'{{"event": "login", "access_token": "{CANARY}"}}', CANARY),
    ("name-value", "json", json.dumps({"name": "DB_PASSWORD", "value": CANARY}), CANARY),
    ("authorization", "text", f"Authorization: Bearer {CANARY}", CANARY),
    ("json-authorization", "json", json.dumps({"headers": {"authorization": f"Bearer {CANARY}"}}), CANARY),
    ("bare-jwt", "text", f"decoding {JWT} failed", CANARY),
    ("jwt-in-query", "text", f"GET /ws?token={JWT} HTTP/1.1", CANARY),
    ("cookie", "text", f"Cookie: theme=dark; session={CANARY}; lang=de", CANARY),
    ("pem", "text", f"loaded {BEGIN}\n{KEY_BODY}{END}\nnext", CANARY),
    ("option", "text", f"running tool --password={CANARY} --verbose", CANARY),
    ("pgpassword", "text", f"PGPASSWORD={CANARY} pg_dump shop", CANARY),
    ("aws-secret", "text", f"AWS_SECRET_ACCESS_KEY={CANARY}/abc+def", CANARY),
    ("github", "text", f"remote: {GITHUB}", CANARY),
    ("slack", "text", f"posting to {SLACK}", CANARY),
    ("bcrypt", "text", f"user 7 {BCRYPT}", CANARY),
    ("email", "text", f"sent to {MAIL}", "alice.canary"),
    ("pg-detail", "text", f"DETAIL:  Key (email)=({MAIL}) already exists.", "alice"),
    ("ipv4", "text", f'{ADDRESS}:51234 - "GET / HTTP/1.1" 200', ADDRESS),
    ("structlog-locals", "text", f"locals: {{'self': 1, 'password': '{CANARY}', 'n': 2}}", CANARY),
    ("loguru-kwargs", "text", f"login | {{'user': 'bob', 'passwd': '{CANARY}'}}", CANARY),
    ("sql-literal", "text", f"STATEMENT:  UPDATE users SET note = '{CANARY}' WHERE id = 1", CANARY),
    # and more
    ("long-password-in-a-url", "text", f"https://bot:{'x' * 1500}{CANARY}@git.example.com/a.git", CANARY),
    ("long-bearer", "text", f"sending bearer {'x1' * 3000}{CANARY}", CANARY),
    ("longer-than-any-pattern", "text", f"password={'x' * 9000}{CANARY}", CANARY),
    ("longer-than-any-pattern-in-quotes", "text", f"password='{'x' * 9000}{CANARY}' next", CANARY),
    ("angle-brackets", "text", f"password=<{CANARY}>", CANARY),
    ("looks-like-a-reference", "text", f"password=$c{CANARY}", CANARY),
    ("looks-like-a-token", "text", f"password=[secret:{CANARY}] x", CANARY),
    ("behind-a-token", "text", f"password=[secret:0123abcd]{CANARY}", CANARY),
    ("json-in-json", "text", json.dumps({"msg": json.dumps({"password": CANARY, "n": 1})}), CANARY),
    ("json-in-json-in-json", "json", json.dumps({"a": json.dumps({"b": json.dumps({"client_secret": CANARY})})}), CANARY),
    ("escaped-quote", "text", '{"password": "x\\"' + CANARY + '"}', CANARY),
    ("block-scalar", "yaml", f"tls:\n  private_key: |\n    {CANARY}\n    {CANARY}\n  port: 1\n", CANARY),
    ("block-scalar-in-a-log", "text", f"config:\n  secret: |\n    {CANARY}\n    more{CANARY}\n  port: 1\n", CANARY),
    ("basic-auth", "text", f"sending Basic {BASIC}", BASIC),
    ("authorization-basic", "text", f"authorization: Basic {BASIC}", BASIC),
    ("curl", "text", f"curl -H 'Authorization: Bearer {CANARY}' http://web/", CANARY),
    ("url-encoded-form", "text", f"body=user%3Dbob%26password%3D{CANARY}%26x%3D1", CANARY),
    ("html-escaped", "text", f"{{&quot;password&quot;: &quot;{CANARY}&quot;}}", CANARY),
    ("colours", "text", f"\x1b[36mpassword\x1b[0m=\x1b[35m{CANARY}\x1b[0m", CANARY),
    ("at-in-password", "text", f"postgresql://shop:p@{CANARY}@db/shop", CANARY),
    ("slash-in-password", "text", f"postgresql://shop:p/{CANARY}@db/shop", CANARY),
    ("percent-in-password", "text", f"postgresql://shop:p%40{CANARY}@db/shop", CANARY),
    ("several-hosts", "text", f"postgresql://shop:{CANARY}@db1:5432,db2:5432/shop", CANARY),
    ("comma-in-password", "text", f"password=a,{CANARY}", CANARY),
    ("brackets-in-password", "text", f"(password=a){CANARY}, user=x)", CANARY),
    ("quote-in-password", "text", f'password=a"{CANARY}', CANARY),
    ("ampersand-in-password", "text", f"password=a&{CANARY} user=x", CANARY),
    ("spaces-in-variable", "json", json.dumps({"Env": [f"DB_PASSWORD=correct {CANARY} horse"]}), CANARY),
    ("spaces-at-line-start", "text", f"DB_PASSWORD=correct {CANARY} horse\n", CANARY),
    ("argv-option", "json", json.dumps({"Args": ["redis-server", "--requirepass", CANARY]}), CANARY),
    ("spaced-option", "text", f"mysql --password {CANARY} -h db", CANARY),
    ("number", "json", json.dumps({"password": 8461937250}), "8461937250"),
    ("list", "json", json.dumps({"tokens": {"token": [CANARY, CANARY + "x"]}}), CANARY),
    ("nested-value", "json", json.dumps({"secret": {"value": CANARY}}), CANARY),
    ("header-pair", "json", json.dumps({"headers": [["authorization", f"Bearer {CANARY}"]]}), CANARY),
    ("asgi-scope", "text", f"scope={{'headers': [(b'authorization', b'Bearer {CANARY}'), (b'host', b'web')]}}", CANARY),
    ("name-value-in-a-log", "text", json.dumps({"env": [{"name": "X_TOKEN", "value": CANARY}]}), CANARY),
    ("prefixed-json-line", "text", f'2026-11-23T10:00:00.000000000Z {{"password": {{"value": "{CANARY}"}}}}', CANARY),
    ("xml", "text", f"<Password>{CANARY}</Password>", CANARY),
    ("php", "text", f"$config['db_password'] = '{CANARY}';", CANARY),
    ("ruby", "text", f":password => '{CANARY}'", CANARY),
    ("pydantic", "text", f"Settings(db_password=SecretStr('{CANARY}'), debug=True)", CANARY),
    ("alter-role", "text", f"ALTER ROLE shop WITH PASSWORD '{CANARY}'", CANARY),
    ("failing-row", "text", f"DETAIL:  Failing row contains (7, {CANARY}, null).", CANARY),
    ("parameters", "text", f"DETAIL:  parameters: $1 = '{CANARY}', $2 = '7'", CANARY),
    ("activity", "json", json.dumps([{"pid": 7, "query": f"SELECT * FROM users WHERE phone = '{CANARY}'"}]), CANARY),
    ("scram", "text", "rolpassword SCRAM-SHA-256$4096:" + CANARY + "==$abc:def", CANARY),
    ("md5", "text", "rolpassword md5" + HEX, HEX),
    ("pem-escaped", "json", json.dumps({"note": f"{BEGIN}\n{KEY_BODY}{END}"}), CANARY),
    ("pem-behind-timestamps", "text", "".join(f"2026-11-23T10:00:00Z {line}\n" for line in f"{BEGIN}\n{KEY_BODY}{END}".split("\n")), CANARY),
    ("pem-without-begin", "text", f"{KEY_BODY}{END}\nnext", CANARY),
    ("pem-without-end", "text", f"x\n{BEGIN}\n{KEY_BODY}", CANARY),
    ("aws-key-id", "text", f"using {AWS} now", AWS),
    ("webhook-variable", "text", f"ALERT_WEBHOOK_URL=https://alerts.example.net/in/{CANARY}", CANARY),
    ("sentry", "text", f"SENTRY_DSN=https://{HEX}@o1.ingest.sentry.io/42", HEX),
    ("commented-variable", "variables", f"# OLD_PASSWORD={CANARY}\nA=1\n", CANARY),
    ("exported-variable", "variables", f'export DB_PASSWORD="{CANARY} x"\n', CANARY),
    ("variable-over-lines", "variables", f'DEPLOY_KEY="{BEGIN}\n{KEY_BODY}{END}"\nA=true\n', CANARY),
    ("any-variable", "variables", f"CUSTOMER={CANARY}\n", CANARY),
    ("yaml-list", "yaml", f"environment:\n  - API_KEY={CANARY}\n", CANARY),
    ("yaml-comment", "yaml", f"a: 1 # password: {CANARY}\n", CANARY),
    ("yaml-second-document", "yaml", f"a: 1\n---\npassword: {CANARY}\n", CANARY),
    ("yaml-flow", "yaml", f"auth: {{user: bob, password: {CANARY}}}\n", CANARY),
    ("yaml-anchor", "yaml", f"x: &p\n  password: {CANARY}\ny:\n  <<: *p\n", CANARY),
    ("yaml-tag", "yaml", f"password: !override {CANARY}\n", CANARY),
    ("yaml-number", "yaml", "password: 8461937250\n", "8461937250"),
    ("default-of-a-reference", "yaml", f"environment:\n  DB_PASSWORD: ${{DB_PASSWORD:-{CANARY}}}\n", CANARY),
    ("netrc", "text", f"machine git.example.com login ci password {CANARY}", CANARY),
    ("ipv6", "text", "client [2001:db8:85a3::8a2e:370:7334]:443", "8a2e"),
    ("ipv4-in-ipv6", "text", f"::ffff:{ADDRESS}", ADDRESS),
    ("mac", "text", "link/ether 0a:1b:2c:3d:4e:5f brd ff:ff:ff:ff:ff:ff", "2c:3d"),
    ("ec2-name", "text", "ip-203-0-113-77.eu-west-1.compute.internal", "203-0-113-77"),
]


def redactor(secrets: tuple[str, ...] = (), **more: object) -> BundleRedactor:
    return BundleRedactor(PrivateMap(b"s" * 32), secrets, more.pop("identities", Identities()), **more)


@pytest.mark.parametrize(("kind", "content", "canary"), [row[1:] for row in CANARIES], ids=[row[0] for row in CANARIES])
def test_canaries(kind: str, content: str, canary: str) -> None:
    result = redactor().file(kind, content.encode()).decode()
    assert canary not in result
    if kind == "json" or (kind == "text" and content.startswith("{") and content.endswith("}") and '"' in content):
        json.loads(result)
    if kind == "yaml":
        list(yaml.compose_all(result, Loader=yaml.SafeLoader))


SURVIVORS = [
    'author=lin primary_key=17 tokens_used: 12 max_tokens=4096 keyboard=de session_count=3 {"token_type": "bearer"}',
    "GET /api/v1/sessions/42 200 in 3 ms, request 1f0c9a52-7a4e-4c1b-9a53-0d9b8a7a1a11",
    "image sha256:41d209420d0f15b68dc672d9f16ddb161d4899b97f65c401f24f5eaa167cff07 of postgres:17.2-alpine",
    "container 3f2a9c0d1b7e3f2a9c0d1b7e3f2a9c0d1b7e3f2a9c0d1b7e3f2a9c0d1b7e3f2a exited (137)",
    "commit 9f60d3589f60d3589f60d3589f60d3589f60d358",
    "2026-11-23T10:00:00.123456789Z started, 10:00:00,123 ended, 00:00:05 later, at 23/Nov/2026:10:00:00 +0000",
    "version 1.2.3.4 and Chrome/126.0.6478.127 and 1.2.3.4-1ubuntu1 and oid 1.3.6.1.4.1.311, kernel 6.8.0-45-generic, pkg==1.2.3.4",
    "TOKEN_TTL_SECONDS=3600 POSTGRES_PASSWORD_FILE=/run/secrets/db_password JWT_ALGORITHM=HS256 POSTGRES_HOST_AUTH_METHOD=trust",
    'FATAL:  password authentication failed for user "shop"',
    "password: ${DB_PASSWORD} token=$TOKEN secret=null passwd=*** password=",
    "http://web:8000/docs 127.0.0.1:5432 0.0.0.0:80 [::]:443 ::1 localhost 255.255.255.0 8.8.8.8",
    "git@github and user@1000.service and getty@tty1.service and image@sha256:abc and SELECT '1'::int",
    "std::vector<int> a::b at 0x7f3a:10 MD5:aa:bb:cc",
    "Key primary broken; auth: ok; session: active; pin: none",
    "LOG:  duration: 12.345 ms  statement: SELECT count(*) FROM orders WHERE id = $1",
    "disk-usage 91%, task-runner sk-1, risk-free",
    "Basic authentication failed; Bearer authentication required; bearer tokens are not supported",
]


@pytest.mark.parametrize("line", SURVIVORS)
def test_what_must_survive(line: str) -> None:
    assert redactor((CANARY,)).file("text", line.encode()).decode() == line


def test_known_values_go_wherever_they_stand_in_every_encoding() -> None:
    secret = 'k&n0wn "s/ecret+1'
    whole = redactor((secret,))
    text = "\n".join(
        [
            f"odd <{secret}> place",
            urllib.parse.quote(secret, safe=""),
            urllib.parse.quote_plus(secret),
            json.dumps({"odd": secret}),
            json.dumps(json.dumps({"odd": secret})),
            *(base64.b64encode(b"x" * offset + secret.encode() + b"tail").decode() for offset in range(3)),
            base64.urlsafe_b64encode(secret.encode()).decode(),
        ]
    )
    result = whole.file("text", text.encode()).decode()
    assert result.count("[secret:") == 9
    assert whole.search(result.encode()) is None
    assert whole.search(text.encode()) == 1
    for form in ("k&n0wn", "k%26n0wn", "ecret+1", base64.b64encode(secret.encode())[:12].decode()):
        assert form not in result


def test_the_secrets_of_a_large_fleet_are_found_like_those_of_a_small_one() -> None:
    secrets = tuple(f"{number:03d}-{CANARY[number % 9 :]}-{'xyzQ~+'[number % 6]}é" for number in range(200))
    text = "\n".join(f"{secret}{secret} and {base64.b64encode(secret.encode()).decode()}" for secret in secrets[::7])
    result = redactor(secrets).file("text", text.encode()).decode()
    assert result == redactor(secrets[::7]).file("text", text.encode()).decode()
    assert re.fullmatch(r"(?:\[secret:[0-9a-f]{8}\]\[secret:[0-9a-f]{8}\] and \[secret:[0-9a-f]{8}\]\n?)+", result)


def test_the_same_secret_has_the_same_token_in_every_file_and_form() -> None:
    secret = "p@ss/w0rd-9"
    whole = redactor((secret,))
    files = [
        whole.file("variables", f"DB_PASSWORD='{secret}'\n".encode()),
        whole.file("yaml", f"password: {secret}\n".encode()),
        whole.file("json", json.dumps({"password": secret}).encode()),
        whole.file("text", f"postgresql://shop:{urllib.parse.quote(secret, safe='')}@db/shop".encode()),
        whole.file("text", f"odd {secret} place".encode()),
    ]
    tokens = {content.decode().partition("[secret:")[2][:8] for content in files}
    assert len(tokens) == 1
    assert tokens != {redactor(("other-secret",)).file("json", b'{"password": "other-secret"}').decode().partition("[secret:")[2][:8]}
    other_run = BundleRedactor(PrivateMap(), (secret,))
    assert other_run.file("json", json.dumps({"password": secret}).encode()) != files[2]


def test_secrets_that_are_words_go_only_where_they_are_announced() -> None:
    result = redactor(("postgres", "shopkeeper"), names=("shopkeeper",)).file("text", b"role postgres of shopkeeper, password=postgres")
    assert result.startswith(b"role postgres of shopkeeper, password=[secret:")


def test_short_known_numbers_stay_inside_of_longer_ones() -> None:
    result = redactor(("123456",)).file("text", b"id 9912345677, pin 123456.").decode()
    assert "9912345677" in result
    assert " 123456." not in result


def test_addresses_and_names_are_the_same_everywhere_and_neighbours_stay_neighbours() -> None:
    people = Identities(hosts=["db1.corp.example.net", "web-7", "10.1.2.3"], users=["alice", "deploy"], kept=["backend"])
    whole = BundleRedactor(PrivateMap(b"s" * 32), (), people)
    first = whole.file("text", b"db1 and DB1.corp.example.net and web-7 talk, 10.1.2.3 10.1.2.4 10.1.9.1 /home/alice deploy: x db10 web-70").decode()
    assert not any(word in first for word in ("db1 ", "corp", "web-7 ", "10.1.", "alice"))
    assert "db10 web-70" in first
    assert "deploy: x" in first
    host = first.split(" and ")[0]
    assert f"{host}.domain1.example" in first
    three = [word for word in first.split() if word.startswith("100.")]
    assert three[0].rpartition(".")[0] == three[1].rpartition(".")[0] != three[2].rpartition(".")[0]
    assert whole.file("json", b'{"ip": "10.1.2.3"}').decode() == json.dumps({"ip": three[0]})
    assert whole.name("hosts/db1.corp.example.net/alice.log") == f"hosts/{host}.domain1.example/user1.log"
    assert whole.file("text", b"other.corp.example.net").endswith(b".domain1.example")


def test_a_map_can_be_used_again(tmp_path) -> None:
    first = PrivateMap()
    pair = (first.address("10.9.8.7"), first.token(CANARY), first.host("db1.example.net"), first.address("2001:db8::99"))
    first.save(tmp_path / "private" / "map.json", "bundle.tar.gz")
    assert (tmp_path / "private" / "map.json").stat().st_mode & 0o777 == 0o600
    again = PrivateMap.load(tmp_path / "private" / "map.json")
    assert (again.address("10.9.8.7"), again.token(CANARY), again.host("db1.example.net"), again.address("2001:db8::99")) == pair
    assert again.address("10.9.8.6") not in pair


@pytest.mark.parametrize(
    ("kind", "content", "reason"),
    [
        ("json", b'{"password": ', "JSON"),
        ("yaml", b"a: [1\nb: }", "YAML"),
        ("text", b"\x7fELF\0\0\1\2\3", "binary"),
        ("json", b"[" * 100_000, "deep"),
        ("text", b"\x1f\x8b\x08damaged", "gzip"),
        ("text", b"\xff\xfea\xd8b", "UTF-16"),
    ],
)
def test_what_cannot_be_redacted_is_refused_without_a_word_of_it(kind: str, content: bytes, reason: str) -> None:
    with pytest.raises(NotRedactable, match=reason) as refusal:
        redactor().file(kind, content)
    assert "password" not in str(refusal.value)


LINE = f"password={CANARY}"


@pytest.mark.parametrize("data", [gzip.compress(LINE.encode()), LINE.encode("utf-16"), LINE.encode("utf-16-le"), LINE.encode("utf-16-be")])
def test_packed_and_wide_texts_are_read(data: bytes) -> None:
    result = redactor().file("text", data)
    assert result.startswith(b"password=[secret:")


def test_a_hole_in_a_log_is_closed() -> None:
    assert redactor().file("text", b"one\n" + b"\0" * 1000 + b"two\n") == b"one\ntwo\n"


def test_yaml_keeps_comments_order_and_form() -> None:
    text = "# the stack\nservices:\n  db: # keep\n    image: postgres:17\n    environment:\n      POSTGRES_PASSWORD: x9-Canary # why\n    ports: ['5432:5']\n"
    result = redactor().file("yaml", text.encode()).decode()
    assert result == text.replace("x9-Canary", json.dumps(PrivateMap(b"s" * 32).token("x9-Canary")))


@pytest.mark.parametrize("piece", ["password=", "://a:", "a" * 50, '{"password":"', BEGIN, "1.2.3.", ":::", "@a.b", "key (", "'", "\\", "--password "])
def test_a_line_of_megabytes_costs_no_more_than_others(piece: str) -> None:
    data = (piece * (2_000_000 // len(piece))).encode()
    began = time.process_time()
    redactor((CANARY,)).file("text", data)
    assert time.process_time() - began < 8


KEYS = st.text(max_size=8) | st.sampled_from(["password", "user", "API_KEY", "name", "value", "env"])
TREES = st.recursive(
    st.text(max_size=30) | st.integers() | st.floats(allow_nan=False) | st.none() | st.booleans(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(KEYS, children, max_size=4),
    max_leaves=20,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(TREES)
def test_json_stays_json_and_redacting_twice_changes_nothing(tree: object) -> None:
    whole = redactor((CANARY,))
    once = whole.file("json", json.dumps(tree).encode())
    json.loads(once)
    assert whole.file("json", once) == once


@settings(deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_a_known_secret_never_comes_through(before: str, after: str) -> None:
    whole = redactor((CANARY,))
    whole_text = before + CANARY + after
    for kind, content in (("text", whole_text), ("json", json.dumps({"x": [whole_text]})), ("variables", f"X={whole_text}")):
        try:
            result = whole.file(kind, content.encode("utf-8", "replace"))
        except NotRedactable:
            continue
        assert CANARY.encode() not in result
        assert whole.search(result) is None


@settings(deadline=None)
@given(st.sampled_from(CANARIES), st.text(alphabet=st.characters(blacklist_categories=("Cs", "Cc")), max_size=20))
def test_canaries_between_other_lines(canary: tuple[str, str, str, str], other: str) -> None:
    if canary[1] != "text":
        return
    result = redactor().file("text", f"{other}\n{canary[2]}\n{other}\n".encode()).decode()
    assert canary[3] not in result


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_text_do_no_harm(data: bytes) -> None:
    for kind in ("text", "json", "yaml", "variables"):
        try:
            redactor((CANARY,)).file(kind, data)
        except NotRedactable:
            pass
