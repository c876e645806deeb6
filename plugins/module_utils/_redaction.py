# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Take secrets out of what was collected, before it leaves the host.

Two layers. The secret values that the stack itself knows (its containers' environment) are replaced wherever they
stand, which needs no idea of the format around them. Values nobody declared are found by their shape: a password in
a URL, a credential header, a token, a private key, ``password=...`` in whatever notation.
"""

from __future__ import annotations

import re
import typing as t
import urllib.parse

REDACTED = "[redacted]"

_SECRET_WORDS = frozenset(
    [
        "password",
        "passwd",
        "passphrase",
        "pwd",
        "pgpassword",
        "secret",
        "secrets",
        "token",
        "apikey",
        "credential",
        "credentials",
        "authorization",
        "cookie",
        "dsn",
        "salt",
        "pepper",
        "jwt",
        "bearer",
        "fernet",
        "otp",
    ]
)
_SECRET_PAIRS = frozenset(
    [("api", "key"), ("private", "key"), ("secret", "key"), ("access", "key"), ("signing", "key"), ("encryption", "key"), ("master", "key"), ("license", "key")]
)
# What a name with such a word in it says about the secret, rather than being it.
_NOT_THE_SECRET = frozenset(
    [
        "file",
        "path",
        "type",
        "ttl",
        "expire",
        "expires",
        "expiry",
        "seconds",
        "minutes",
        "hours",
        "days",
        "count",
        "max",
        "min",
        "length",
        "size",
        "name",
        "algorithm",
        "alg",
        "url",
        "uri",
        "issuer",
        "audience",
    ]
)

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

#: Shorter values are too likely to stand for something else.
_SHORTEST_SECRET = 6

# Passwords that are words as well: replacing them everywhere would take the text apart and hide nothing.
_COMMON_WORDS = frozenset(
    [
        "postgres",
        "password",
        "secret",
        "admin",
        "default",
        "public",
        "changeme",
        "docker",
        "production",
        "development",
        "example",
        "localhost",
        "backend",
        "database",
    ]
)

_URL_PASSWORD = re.compile(r"(?P<head>[a-zA-Z][a-zA-Z0-9+.-]{0,40}://[^\s:/@\"'<>]{0,200}:)(?P<value>[^\s/@\"'<>]{1,400})(?=@)")
_HEADER = re.compile(
    r"(?i)(?P<head>\b(?:authorization|cookie|set-cookie|x-api-key)[\"']?\s{0,3}[:=]\s{0,3}[\"']?)"
    r"(?P<value>(?:(?:basic|bearer|digest|token)\s+)?[^\s\"',;]{4,4000})"
)
_BEARER = re.compile(r"(?i)(?P<head>\bbearer\s+)(?P<value>[A-Za-z0-9._~+/=-]{16,4000})")
_JWT = re.compile(r"(?P<head>)(?P<value>\beyJ[A-Za-z0-9_-]{6,2000}\.[A-Za-z0-9_-]{2,4000}\.[A-Za-z0-9_-]{0,1000})")
_PRIVATE_KEY = re.compile(r"(?P<head>-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----)(?P<value>.{1,20000}?)(?=-----END|\Z)", re.DOTALL)
_ASSIGNMENT = re.compile(
    r"(?P<head>(?P<name>[A-Za-z][\w.-]{0,60})(?:\\?[\"'])?\s{0,2}(?:=>|[:=])\s{0,2})"
    r"(?:(?P<open>\\?[\"'])(?P<quoted>(?:[^\"'\\]|\\[^\"']){1,4000})(?=\\?[\"'])|(?P<value>[^\s\"',;&(){}\[\]]{1,4000}))"
)
_SQL_PASSWORD = re.compile(r"(?i)(?P<head>\bpassword\s+(?:e)?')(?P<value>[^']{1,1000})(?=')")

# A pattern is tried only on text that has one of its anchors: searching for a word is far cheaper than matching.
_PATTERNS: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...] = (
    (("://",), _URL_PASSWORD),
    (("authorization", "cookie", "x-api-key"), _HEADER),
    (("bearer",), _BEARER),
    (("eyj",), _JWT),
    (("private key-----",), _PRIVATE_KEY),
    (("password ",), _SQL_PASSWORD),
)
_ASSIGNMENT_ANCHORS = tuple(sorted(_SECRET_WORDS | {"_key", "-key", "apikey", "privatekey", "secretkey", "accesskey"}))


def is_secret_name(name: str) -> bool:
    """Say whether a variable, key or header of this *name* is likely to hold a secret."""
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in _NOT_THE_SECRET:
        return False
    return bool(_SECRET_WORDS.intersection(words)) or any(pair in _SECRET_PAIRS for pair in zip(words, words[1:]))


def secrets_of_environment(environment: t.Mapping[str, str]) -> set[str]:
    """Return the secret values of one container's *environment*, as written and percent-decoded."""
    found: set[str] = set()
    for name, value in environment.items():
        if is_secret_name(name) and "://" not in value:
            found.add(value)
        for match in _URL_PASSWORD.finditer(value):
            found.update((match["value"], urllib.parse.unquote(match["value"])))
    return found


class Redactor:
    """Replaces secrets in text and in trees of text.

    *secrets* are values known to be secret; those that are short, common words, or among *names* (the names of
    users, databases, services, which the report cannot do without) are left to the patterns.
    """

    def __init__(self, secrets: t.Iterable[str], names: t.Iterable[str] = ()) -> None:
        kept = {*(name.lower() for name in names), *_COMMON_WORDS}
        values = sorted({value for value in secrets if len(value) >= _SHORTEST_SECRET and value.lower() not in kept}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, values))) if values else None

    def text(self, text: str) -> str:
        """Return *text* without secrets."""
        if self._known is not None:
            text = self._known.sub(REDACTED, text)
        lowered = text.lower()
        for anchors, pattern in _PATTERNS:
            if any(anchor in lowered for anchor in anchors):
                text = pattern.sub(_replace_value, text)
        if any(anchor in lowered for anchor in _ASSIGNMENT_ANCHORS):
            text = _ASSIGNMENT.sub(_replace_assignment, text)
        return text

    def tree(self, value: t.Any) -> t.Any:
        """Return a copy of *value* (mappings, lists, text, numbers) in which every text is without secrets."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.tree(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.tree(item) for item in value]
        return value


def _replace_value(match: re.Match[str]) -> str:
    return match["head"] + REDACTED


def _replace_assignment(match: re.Match[str]) -> str:
    value = match["quoted"] or match["value"]
    if not is_secret_name(match["name"]) or "://" in value or value.startswith(REDACTED) or value in ("true", "false", "null", "None"):
        return match[0]
    return match["head"] + (match["open"] or "") + REDACTED
