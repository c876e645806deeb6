# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Where in a text secrets stand that nobody declared: found by the names before them and by their own shape.

Names of secrets are looked for with one expression over a lower-case copy, and only what stands behind a hit is looked at
more closely; shapes begin with a literal each, which is found much faster than an expression is matched.
"""

from __future__ import annotations

import base64
import binascii
import re
import typing as t


class Span(t.NamedTuple):
    """A part of a text. *kind* is ``secret``, ``url`` (a secret that may be percent-encoded) or ``personal``."""

    start: int
    end: int
    kind: str = "secret"


_SECRET_WORDS = frozenset(
    {
        "password",
        "passwd",
        "passphrase",
        "passcode",
        "pass",
        "pwd",
        "pgpassword",
        "pgpass",
        "pw",
        "htpasswd",
        "requirepass",
        "masterauth",
        "secret",
        "secrets",
        "token",
        "authtoken",
        "apikey",
        "apitoken",
        "credential",
        "credentials",
        "creds",
        "cred",
        "authorization",
        "cookie",
        "dsn",
        "salt",
        "pepper",
        "jwt",
        "bearer",
        "fernet",
        "otp",
        "totp",
        "mfa",
        "csrf",
        "csrftoken",
        "xsrf",
        "webhook",
        "signature",
        "signingkey",
        "privatekey",
        "secretkey",
        "accesskey",
        "phpsessid",
        "jsessionid",
        "sessionid",
        "sessid",
    }
)
#: Words that often stand before something harmless: what follows has to look like a secret as well.
_WEAK_WORDS = frozenset(("auth", "session", "sid", "sig", "pin"))
_SECRET_ENDINGS = ("password", "passwd", "passphrase", "secret", "token", "apikey")
_SECRET_PAIRS = frozenset(
    [
        *(
            (word, "key")
            for word in (
                "api",
                "private",
                "secret",
                "access",
                "signing",
                "encryption",
                "master",
                "license",
                "account",
                "storage",
                "auth",
                "session",
                "jwt",
                "hmac",
                "app",
            )
        ),
        ("session", "id"),
        ("secret", "id"),
        ("sess", "id"),
    ]
)
#: Of names in capitals, which are those of variables, every KEY is taken for a secret but these.
_HARMLESS_KEYS = frozenset(
    (
        "primary",
        "foreign",
        "public",
        "cache",
        "sort",
        "partition",
        "routing",
        "unique",
        "index",
        "idempotency",
        "host",
        "group",
        "object",
        "bucket",
        "translation",
    )
)
# What a name with such a word at its end says about the secret, rather than being it.
_NOT_THE_SECRET = frozenset(
    {
        "file",
        "path",
        "dir",
        "type",
        "ttl",
        "expire",
        "expires",
        "expiry",
        "expired",
        "seconds",
        "minutes",
        "hours",
        "days",
        "count",
        "max",
        "min",
        "length",
        "len",
        "size",
        "name",
        "names",
        "algorithm",
        "alg",
        "url",
        "uri",
        "issuer",
        "audience",
        "method",
        "mode",
        "enabled",
        "disabled",
        "required",
        "status",
        "state",
        "error",
        "errors",
        "failed",
        "failure",
        "failures",
        "provider",
        "scheme",
        "host",
        "port",
        "user",
        "username",
        "version",
        "policy",
        "rotation",
        "class",
        "field",
        "header",
        "prefix",
        "time",
        "date",
        "at",
        "valid",
        "validity",
        "used",
        "limit",
        "id",
        "encryption",
        "format",
        "backend",
        "attempts",
        "domain",
        "samesite",
        "secure",
        "httponly",
        # Names of loggers and classes: what they say is to be read.
        "parser",
        "decoder",
        "encoder",
        "validator",
        "verifier",
        "middleware",
        "handler",
        "manager",
        "service",
        "exception",
        "warning",
    }
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", re.ASCII)
_HEADERS = ("authorization", "cookie", "x-api-key")

_ANSI = r"(?:\x1b\[[\d;]*m)*"
_QUOTE = r"(?:\\{0,7}[\"']|%22|&quot;|&#3[49];|&#x2[27];|\\u002[27])"
# Words with the same beginning are together: each letter of a text is then compared once.
_ANCHORS = (
    r"(?:s(?:ecret|alt|ess|i[dg])|p(?:ass|wd|epper|(?:w|in)(?=[\"'\\]{0,3}\s?[:=]))|to(?:ken|tp)|key|c(?:red|ookie|srf)|auth|dsn|jwt|bearer|fernet|xsrf|webhook"
    r"|otp|mfa)"
)
_ASSIGNMENT = re.compile(rf"{_ANCHORS}[\w.-]{{0,40}}{_ANSI}{_QUOTE}?\]?[ \t]{{0,3}}{_ANSI}(?:=>|:=|[:=]|%3[ad]|,|>(?=[^<>\n]{{1,400}}</))", re.ASCII)
_NAME_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789_.-"
_NAME_AFTER = re.compile(r"[\w.-]*", re.ASCII)
_BEFORE_VALUE = re.compile(rf"[ \t]{{0,3}}{_ANSI}[bru]?(?P<quote>{_QUOTE})?", re.ASCII)
_BARE = re.compile(
    r"[^\s<>\x1b]{1,4000}?(?=$|[\s<>\x1b]|[,;](?:\s|$|[\"']|[\w.-]{1,40}[\"']?\s?[=:])"
    r"|&(?:amp;)?(?=[\w.%\[\]-]{1,60}=)|%26|[\"')\]}]+(?:[\s,;.:|]|$)|\\+[nrt\"'])",
    re.MULTILINE | re.ASCII,
)
_UNBROKEN = re.compile(r"[^\s<>\x1b]*")
_BLOCK_SCALAR = re.compile(r"[|>][+-]?\d?[+-]?[ \t]*(?:#[^\n]*)?\n")
_LINE_REST = re.compile(r"[^\n]*?(?=[\"'](?:[\s,)\]}]|$)|\r?$|\\+[nr\"])", re.MULTILINE)
_SCHEME = re.compile(r"(?i)(?:basic|bearer|digest|token|negotiate|apikey|aws4-hmac-sha256)[ \t]+")
_REFERENCE = re.compile(r"\$\{[A-Za-z_]\w{0,80}\}?\Z|\$[A-Z][A-Z0-9_]{1,80}\Z|\$\{\w+:?\?[^}]*\}\Z|\{\{.*\}\}\Z", re.ASCII)
_PLAIN_WORDS = frozenset(
    (
        "true",
        "false",
        "null",
        "none",
        "yes",
        "no",
        "on",
        "off",
        "nil",
        "undefined",
        "empty",
        "required",
        "optional",
        "set",
        "unset",
        "hidden",
        "redacted",
        "masked",
    )
)
# What stands in place of a secret already (its last bracket may have been taken for the end of the value), and where Compose mounts secrets.
_ALREADY = re.compile(r"(?:\[(?:secret|value):[0-9a-f]{8}\]?|\[redacted\]?)\Z|/run/secrets/")
_TOKEN_REST = re.compile(r"[0-9a-f]{8}\]")

_OPTION = re.compile(r"--[\w-]{0,40}(?:password|passwd|secret|token|api-?key|requirepass|passphrase)[ \t]+(?P<quote>[\"'])?", re.ASCII | re.IGNORECASE)
_SQL_PASSWORD = re.compile(r"(?:password|identified by)\s{1,4}e?'(?P<value>(?:[^'\\]|''|\\.){1,1000})'", re.IGNORECASE | re.DOTALL)
_NETRC = re.compile(r"login\s+\S+\s+password\s+(?P<value>\S+)", re.IGNORECASE)
_LONGEST_USERINFO = 2300
_AFTER_HOST = r"(?=(?:\[[\da-fA-F:.]+\]|[\w.-]+)(?::\d{1,5})?(?:[/?#,\s\"'\\)>\]};&|]|\.?$)|/[\w.-]*\?host=|/?[\s\"']|\Z)"
_USERINFO = re.compile(
    rf"://[^\s:/@\"'<>\\]{{0,200}}:(?P<value>(?!\d{{1,5}}(?:[/?#\s\"'\\,;)\]}}]|\Z))[^\s\"'<>\\]{{1,2000}}?)@{_AFTER_HOST}", re.MULTILINE | re.ASCII
)
_USER_TOKEN = re.compile(r"://(?P<value>(?=[\w-]*\d)[\w-]{20,2000})@", re.ASCII)
_HOOK = re.compile(
    r"://(?:hooks\.slack\.com/(?:services|workflows|triggers)/"
    r"|(?:\w+\.)?discord(?:app)?\.com/api/webhooks/|api\.telegram\.org/bot|[\w.-]*webhook\.office\.com/)"
    r"(?P<value>[\w/:@.-]{8,})",
    re.ASCII,
)
_JWT = re.compile(r"eyJ[\w-]{6,4000}\.[\w-]{2,8000}(?:\.[\w-]{0,2000}){0,3}", re.ASCII)
_HASH = re.compile(r"\$(?:2[abxy]?|argon2\w{1,2}|[156y7]|gy|scrypt|pbkdf2[\w-]*|apr1)\$[\w./$=,+-]{8,}", re.ASCII)
_BEARER = re.compile(r"bearer[ \t]+(?P<value>[\w.~+/-]{12,}=*)", re.ASCII | re.IGNORECASE)
_BASIC = re.compile(r"basic[ \t]+(?P<value>[A-Za-z0-9+/]{6,}={0,2})", re.IGNORECASE)

#: Prefixes that vendors give their tokens, and how much at least follows: what is searched for first, and the whole.
_VENDOR_TOKENS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (anchor, re.compile(rf"(?<![A-Za-z0-9]){pattern}", re.ASCII))
    for anchor, pattern in (
        ("SCRAM-SHA-256$", r"SCRAM-SHA-256\$[\w+/=:$]{20,}"),
        ("md5", r"md5[0-9a-f]{32}\b"),
        ("AccountKey=", r"AccountKey=[\w+/]{20,}=*"),
    )
)
# Most prefixes end with a character that is rarer than their letters: what follows it, and what has to be before it.
_PREFIX_ENDINGS: tuple[tuple[str, re.Pattern[str], re.Pattern[str]], ...] = (
    (
        "_",
        re.compile(r"_(?=\w{10})(?:(?<=gh[opusr]_)|(?<=npm_)|(?<=sec_)|(?<=pat_)|(?<=ive_)|(?<=est_))\w{10,}", re.ASCII),
        re.compile(r"(?<![A-Za-z0-9])(?:gh[opusr]|github_pat|dckr_pat|npm|whsec|[srp]k_live|[srp]k_test)\Z", re.ASCII),
    ),
    (
        "-",
        re.compile(r"-(?=[\w-]{10})(?:(?<=pat-)|(?<=ypi-)|(?<=xox[abeprs]-)|(?<=KEY-)|(?<=sk-)(?=[\w-]*[A-Z\d])[\w-]{10})[\w-]{10,}", re.ASCII),
        re.compile(r"(?<![A-Za-z0-9])(?:glpat|pypi|xox[abeprs]|AGE-SECRET-KEY|sk)\Z", re.ASCII),
    ),
    (
        ".",
        re.compile(r"\.(?=[\w-]{16})(?:(?<=hvs\.)|(?<=ya29\.)|(?<=SG\.))[\w.-]{16,}", re.ASCII),
        re.compile(r"(?<![A-Za-z0-9])(?:hvs|ya29|SG)\Z", re.ASCII),
    ),
    ("A", re.compile(r"A(?:[KS]IA[A-Z0-9]{16}\b|Iza[\w-]{30,})", re.ASCII), re.compile(r"(?<![A-Za-z0-9])\Z", re.ASCII)),
)

_KEY_HEAD = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_FOOT = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_LINE = re.compile(r"[A-Za-z0-9+/=]{16,}\s*$")
_LONGEST_KEY = 60_000

_KEY_DETAIL = re.compile(r"key \((?P<columns>[^)\n]{1,300})\)=\((?P<value>[^\n]*?)\)(?=[ .]|\"|\\|$)", re.IGNORECASE | re.MULTILINE)
_FAILING_ROW = re.compile(r"failing row contains \((?P<value>[^\n]*?)\)(?=\.?[\s\"'\\]|\.?$)", re.IGNORECASE | re.MULTILINE)
_STATEMENT_WORDS = ("statement", "parameters", "execute ", "query", "context")
_STATEMENT = re.compile(r"(?:statement|parameters|query|context|execute [^:\n]{1,80})[\"']?:[^\n]*", re.IGNORECASE)
_SQL_LITERAL = re.compile(r"\\?'(?P<value>(?:[^'\\\n]|''|\\[^'\n]){1,4000})\\?'")


def lowered_of(text: str) -> str:
    """Return *text* in lower case with every character in its place, which ``lower`` does not promise beyond ASCII."""
    return text.lower() if text.isascii() else text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


def is_secret_name(name: str) -> bool:
    """Say whether a variable, key or header of this *name* is likely to hold a secret."""
    return name_strength(name) > 1


_strengths: dict[str, int] = {}


def name_strength(name: str) -> int:
    """Return 2 for the *name* of a secret, 1 for one that may be (its value has to look like it), else 0."""
    strength = _strengths.get(name)
    if strength is None:
        strength = _name_strength(name)
        if len(_strengths) < 20_000:
            _strengths[name] = strength
    return strength


def _name_strength(name: str) -> int:
    words = [word.lower() for word in _WORD.findall(name)]
    while words and words[-1].isdigit():
        words.pop()
    if not words:
        return 0
    last_pair = tuple(words[-2:])
    if last_pair in _SECRET_PAIRS:
        return 2
    if words[-1] in _NOT_THE_SECRET:
        return 2 if "webhook" in words and words[-1] in ("url", "uri") else 0
    if _SECRET_WORDS.intersection(words) or any(pair in _SECRET_PAIRS for pair in zip(words, words[1:])) or words[-1].endswith(_SECRET_ENDINGS):
        return 2
    if words[-1] == "key" and len(words) > 1 and name.isupper() and words[-2] not in _HARMLESS_KEYS:
        return 2
    return 1 if words[-1] in _WEAK_WORDS else 0


def looks_like_a_secret(value: str, strength: int) -> bool:
    """Say whether *value* may be the secret that a name of this *strength* announces."""
    if not value or _ALREADY.match(value) or value.lower() in _PLAIN_WORDS or not value.strip("*.xX-_ "):
        return False
    if value[0] in "${" and _REFERENCE.match(value):
        return False
    if strength > 1:
        return True
    return len(value) >= 20 and " " not in value or (len(value) >= 4 and any(character.isdigit() for character in value) and " " not in value)


def find_secrets(text: str, lowered: t.Optional[str] = None, announced: t.Optional[list[int]] = None) -> list[Span]:
    """Return where in *text* something stands that is a secret by its name or its shape. Parts may overlap.

    Where a name announces a secret is added to *announced*, whether one was found behind it or not.
    """
    lowered = lowered_of(text) if lowered is None else lowered
    spans = _assigned(text, lowered, announced)
    spans += shaped_secrets(text, lowered)
    if "--" in text:
        spans += _options(text)
    for word in ("password ", "identified by"):
        spans += _at_each(word, _SQL_PASSWORD, text, lowered)
    if "password " in lowered:
        spans += _at_each("login ", _NETRC, text, lowered)
    return spans


def shaped_secrets(text: str, lowered: str) -> list[Span]:
    """Return the secrets that show by their own shape, whatever stands before them."""
    spans: list[Span] = []
    position = text.find("://")
    while position >= 0:
        spans += _in_url(text, position)
        position = text.find("://", position + 3)
    if "eyJ" in text:
        spans += _of(_JWT, text)
    if "$" in text:
        spans += _of(_HASH, text)
    if "bearer" in lowered:
        spans += [span for span in _at_each("bearer", _BEARER, text, lowered) if any(not character.isalpha() for character in text[span.start : span.end])]
    if "basic " in lowered:
        spans += [span for span in _at_each("basic ", _BASIC, text, lowered) if _is_user_and_password(text[span.start : span.end])]
    for anchor, pattern in _VENDOR_TOKENS:
        if anchor in text:
            spans += _of(pattern, text)
    for ending, pattern, before in _PREFIX_ENDINGS:
        if ending in text:
            for match in pattern.finditer(text):
                begin = before.search(text, max(0, match.start() - 16), match.start())
                if begin is not None:
                    spans.append(Span(begin.start(), match.end()))
    if "PRIVATE KEY" in text:
        spans += _private_keys(text)
    return spans


def _in_url(text: str, position: int) -> list[Span]:
    patterns = (_USERINFO, _USER_TOKEN, _HOOK) if text.find("@", position, position + _LONGEST_USERINFO) >= 0 else (_HOOK,)
    for pattern in patterns:
        match = pattern.match(text, position)
        if match is not None and not _ALREADY.match(match["value"]):
            return [Span(*match.span("value"), "url")]
    return []


def find_personal(text: str, lowered: str) -> list[Span]:
    """Return where values of the database's rows stand in messages of PostgreSQL: keys, failing rows, literals of statements."""
    spans = _at_each("key (", _KEY_DETAIL, text, lowered, "personal")
    spans += _at_each("failing row", _FAILING_ROW, text, lowered, "personal")
    for word in _STATEMENT_WORDS:
        position = lowered.find(word)
        while position >= 0:
            statement = _STATEMENT.match(text, position)
            if statement is not None:
                spans += sql_literals(text, statement.start(), statement.end())
            position = lowered.find(word, statement.end() if statement else position + 1)
    return spans


def sql_literals(text: str, start: int, end: int) -> list[Span]:
    """Return the text literals of the SQL between *start* and *end*."""
    return [Span(*match.span("value"), "personal") for match in _SQL_LITERAL.finditer(text, start, end)]


def _of(pattern: re.Pattern[str], text: str, kind: str = "secret") -> list[Span]:
    group: t.Union[int, str] = "value" if "value" in pattern.groupindex else 0
    return [Span(*match.span(group), kind) for match in pattern.finditer(text) if not _ALREADY.match(match[group])]


def _at_each(word: str, pattern: re.Pattern[str], text: str, lowered: str, kind: str = "secret") -> list[Span]:
    """Return what *pattern* finds at each place of *word*, which is found much faster than a pattern that ignores case."""
    spans = []
    position = lowered.find(word)
    while position >= 0:
        match = pattern.match(text, position)
        if match is not None and not _ALREADY.match(match["value"]):
            spans.append(Span(*match.span("value"), kind))
        position = lowered.find(word, match.end() if match else position + 1)
    return spans


def _assigned(text: str, lowered: str, announced: t.Optional[list[int]]) -> list[Span]:
    spans: list[Span] = []
    position = 0
    while True:
        match = _ASSIGNMENT.search(lowered, position)
        if match is None:
            return spans
        # What is no secret by this name may have another one in it, so the search goes on right behind the separator.
        position = match.end()
        span = _value_behind(text, lowered, match, announced)
        if span is not None:
            spans.append(span)
            position = max(position, span.end)


def _value_behind(text: str, lowered: str, match: re.Match[str], announced: t.Optional[list[int]]) -> t.Optional[Span]:
    before = lowered[max(0, match.start() - 60) : match.start()]
    begin = match.start() - len(before) + len(before.rstrip(_NAME_CHARACTERS))
    name = _NAME_AFTER.match(text, begin)[0]  # type: ignore[index]
    strength = name_strength(name)
    if not strength or (text[begin - 1 : begin] == "[" and _TOKEN_REST.match(text, match.end())):
        return None
    if announced is not None:
        announced.append(begin)
    header = any(name.lower().endswith(word) for word in _HEADERS)
    if lowered[match.end() - 1] == "," and not (header and lowered[match.end() - 2] in "\"'"):
        return None
    opened = _BEFORE_VALUE.match(text, match.end())
    start = opened.end() if opened else match.end()
    quote = opened["quote"] if opened else None
    if not quote and text[start : start + 1] == "<":
        start += 1
    end = _quoted_end(text, start, quote) if quote else _bare_end(text, match, start, header, begin)
    if header:
        scheme = _SCHEME.match(text, start, end)
        start = scheme.end() if scheme else start
    value = text[start:end]
    if not looks_like_a_secret(value, strength):
        return None
    if "://" in value and not value.startswith("-----"):
        # What is secret in a URL is found by its shape; of a webhook it is all behind the host.
        behind_host = re.search(r"://[^/\s]+/", value) if "webhook" in name.lower() else None
        return Span(start + behind_host.end(), end) if behind_host and behind_host.end() < len(value) else None
    if name.lower().endswith("dsn") and "=" in value:
        return None
    return Span(start, end)


def _quoted_end(text: str, start: int, quote: str) -> int:
    """Return where a value ends that began with *quote* at *start*: the same again, else the end of the line."""
    position = start
    while True:
        position = text.find(quote, position)
        # A text in quotes may go over lines, but only in files that are read by their structure.
        line_end = text.find("\n", start, position if position >= 0 else len(text))
        if position < 0 or line_end >= 0:
            return line_end if line_end >= 0 else len(text)
        if quote in ('"', "'"):
            before = position
            while before > start and text[before - 1] == "\\":
                before -= 1
            if (position - before) % 2:
                position += 1
                continue
        elif quote[0] == "\\" and position > start and text[position - 1] == "\\":
            position += 1
            continue
        return position


def _bare_end(text: str, match: re.Match[str], start: int, header: bool, begin: int) -> int:
    block = _BLOCK_SCALAR.match(text, start)
    if block is not None:
        return _end_of_block(text, block.end(), begin)
    if header:
        return _LINE_REST.match(text, start).end()  # type: ignore[union-attr]
    if match[0].endswith("=") and (begin == 0 or text[begin - 1] == "\n" or text[max(0, begin - 7) : begin] == "export ") and start == match.end():
        # NAME=value at the begin of a line is what variables are written as: all of the line is the value.
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        if not re.search(r"\s[\w.-]+=", text[start:end]):
            return end
    bare = _BARE.match(text, start)
    # Something so long without an end is taken as a whole.
    return bare.end() if bare else _UNBROKEN.match(text, start).end()  # type: ignore[union-attr]


def _end_of_block(text: str, start: int, begin: int) -> int:
    """Return the end of the lines from *start* on that are further in than the line in which *begin* is."""
    line = text.rfind("\n", 0, begin) + 1
    indent = begin - line - len(text[line:begin].lstrip(" "))
    position = start
    while position < len(text):
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        content = text[position:end]
        if content.strip() and len(content) - len(content.lstrip(" ")) <= indent:
            return max(start, position - 1)
        position = end + 1
    return len(text)


def _options(text: str) -> list[Span]:
    spans = []
    for match in _OPTION.finditer(text):
        end = _quoted_end(text, match.end(), match["quote"]) if match["quote"] else _WHOLE_WORD.match(text, match.end()).end()  # type: ignore[union-attr]
        value = text[match.end() : end]
        if looks_like_a_secret(value, 2) and not value.startswith("-"):
            spans.append(Span(match.end(), end))
    return spans


_WHOLE_WORD = re.compile(r"[^\s\"',;]*")


def _is_user_and_password(value: str) -> bool:
    try:
        return b":" in base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False


def _private_keys(text: str) -> list[Span]:
    """Return the insides of private keys, of those too that a cut has left without begin or end."""
    spans = []
    covered = 0
    for head in _KEY_HEAD.finditer(text):
        if head.start() < covered:
            continue
        foot = _KEY_FOOT.search(text, head.end(), head.end() + _LONGEST_KEY)
        covered = foot.start() if foot else _end_of_key(text, head.end())
        if covered > head.end():
            spans.append(Span(head.end(), covered))
    for foot in _KEY_FOOT.finditer(text):
        if not any(span.end == foot.start() for span in spans):
            begin = _begin_of_key(text, foot.start())
            if begin < foot.start():
                spans.append(Span(begin, foot.start()))
    return spans


def _end_of_key(text: str, start: int) -> int:
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    while end < len(text):
        following = text.find("\n", end + 1)
        following = len(text) if following < 0 else following
        if not _KEY_LINE.search(text, end + 1, following) or following - start > _LONGEST_KEY:
            return end
        end = following
    return end


def _begin_of_key(text: str, end: int) -> int:
    begin = text.rfind("\n", 0, end) + 1
    while begin > 0:
        previous = text.rfind("\n", 0, begin - 1) + 1
        if not _KEY_LINE.search(text, previous, begin - 1) or end - previous > _LONGEST_KEY:
            return begin
        begin = previous
    return begin
