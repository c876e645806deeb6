# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What a JSON Web Token says of itself, and why a server may refuse it.

Nothing is verified here: that takes the key, which belongs to the server. The signature is measured and never shown,
since header and claims alone are no token that anybody would accept.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import typing as t

from ..module_utils._envelope import rfc3339

Facts = dict[str, t.Any]

#: Servers take no longer header line; a longer text is something else.
MAX_TOKEN_CHARACTERS = 65536
MAX_DEPTH = 50
#: The last moment that a date can say.
_LAST_MOMENT = 253402300799
_MILLISECONDS = 1e11

_SCHEME = re.compile(r"(?i:bearer)\s+")
_QUOTES = "\"'"
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_SURROGATE = re.compile("[\ud800-\udfff]")

#: Length of a signature in bytes by algorithm; RSA's is that of the key, which is this long at least.
_SIGNATURE_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64, "ES256": 64, "ES256K": 64, "ES384": 96, "ES512": 132}
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_SHORTEST_RSA_BYTES = 128
_ALGORITHMS = frozenset((*_SIGNATURE_BYTES, *_RSA, "EdDSA", "Ed25519", "Ed448"))
#: Names in a header that bring or point at a public key.
_KEYS_IN_HEADER = ("jwk", "jku", "x5c", "x5u", "x5t", "x5t#S256")


class _Malformed(Exception):
    """The text is no token; the message says why."""


def inspect_token(token: str, now: float, algorithms: t.Sequence[str] = (), leeway_seconds: float = 0.0) -> Facts:
    """Return what *token* says and what is wrong with it at the moment *now*, without verifying it.

    *algorithms* are those that the server accepts, where that is known.
    """
    facts: Facts = {
        "verified": False,
        "malformed": True,
        "header": {},
        "claims": {},
        "algorithm": None,
        "key_id": None,
        "signature_bytes": None,
        "issued_at": None,
        "not_before": None,
        "expires_at": None,
        "expired": None,
        "expires_in_seconds": None,
        "problems": [],
    }
    try:
        header, claims, signature = _parts(token)
    except _Malformed as error:
        facts["problems"].append({"kind": "malformed", "message": str(error)})
        return facts
    algorithm = header.get("alg")
    facts.update(malformed=False, header=header, claims=claims, signature_bytes=len(signature))
    facts["algorithm"] = algorithm if isinstance(algorithm, str) else None
    facts["key_id"] = header["kid"] if isinstance(header.get("kid"), str) else None
    problems = [*_algorithm_problems(header, signature, algorithms), *_time_problems(facts, claims, now, leeway_seconds)]
    facts["problems"] = [{"kind": kind, "message": message} for kind, message in problems]
    return facts


# -- the three parts ---------------------------------------------------------------------------------------------------


def _parts(token: str) -> tuple[Facts, Facts, bytes]:
    text = token.strip()
    if len(text) > MAX_TOKEN_CHARACTERS:
        raise _Malformed(f"It has {len(text)} characters: no server takes a token of that length.")
    if len(text) > 1 and text[0] in _QUOTES and text[-1] == text[0]:
        raise _Malformed("It is in quotes: they became part of it, for example in an .env file.")
    text = _SCHEME.sub("", text, count=1) if _SCHEME.match(text) else text
    if not text:
        raise _Malformed("It is empty.")
    if re.search(r"\s", text):
        raise _Malformed("There is a blank or a line end in it: it may have been broken when it was copied.")
    parts = text.split(".")
    if len(parts) == 5:
        raise _Malformed("It has five parts: it is encrypted (JWE), and only who has the key can read it.")
    if len(parts) != 3:
        hint = "it may have been cut off" if len(parts) < 3 else "a token has no more dots"
        raise _Malformed(f"It has {len(parts)} of the three parts header, claims and signature: {hint}.")
    if text.startswith("."):
        raise _Malformed("Its header is empty.")
    header, claims = (_object(name, part) for name, part in (("header", parts[0]), ("claims", parts[1])))
    return header, claims, _decoded("signature", parts[2])


def _decoded(name: str, part: str) -> bytes:
    if not _BASE64URL.fullmatch(part):
        plain = "it is plain base64 (+, /, =) where base64url (-, _) is needed" if re.fullmatch(r"[A-Za-z0-9+/_=-]*", part) else "it has other characters"
        raise _Malformed(f"Its {name} is no base64url: {plain}.")
    if len(part) % 4 == 1:
        raise _Malformed(f"Its {name} is no base64url: a character is missing or too many.")
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        raise _Malformed(f"Its {name} is no base64url.") from None


def _object(name: str, part: str) -> Facts:
    data = _decoded(name, part)
    try:
        value = _printable(json.loads(data.decode("utf-8"), parse_constant=_refuse, parse_float=_finite))
    except (ValueError, RecursionError):
        raise _Malformed(f"Its {name} is no JSON: it may have been changed or cut off.") from None
    if not isinstance(value, dict):
        raise _Malformed(f"Its {name} is no JSON object.")
    return value


def _refuse(name: str) -> t.NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("out of range")
    return number


def _printable(value: t.Any, depth: int = 0) -> t.Any:
    """Return *value* without halves of characters, which cannot be written anywhere.

    :raises ValueError: it is nested deeper than anybody needs.
    """
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_printable(key): _printable(item, depth + 1) for key, item in value.items()}
    return [_printable(item, depth + 1) for item in value] if isinstance(value, list) else value


# -- what is wrong -----------------------------------------------------------------------------------------------------

_Problem = tuple[str, str]


def _algorithm_problems(header: Facts, signature: bytes, algorithms: t.Sequence[str]) -> t.Iterator[_Problem]:
    name = header.get("alg")
    if not isinstance(name, str) or not name:
        yield "missing-algorithm", "Its header names no algorithm (alg)."
        return
    if name.lower() == "none":
        yield "unsigned", "Its algorithm is none: anybody can have written it, and a server must refuse it."
    elif name not in _ALGORITHMS:
        yield "unknown-algorithm", f"Its algorithm {name} is none that libraries know; names are case-sensitive."
    elif not signature:
        yield "unsigned", f"It has no signature, though its algorithm is {name}: it may have been cut off."
    else:
        yield from _signature_problems(name, len(signature))
    if algorithms and name not in algorithms:
        yield "unexpected-algorithm", f"Its algorithm is {name}; the server accepts {', '.join(algorithms)}."
    keys = [key for key in _KEYS_IN_HEADER if key in header]
    if keys and name.startswith("HS"):
        yield (
            "algorithm-confusion",
            f"It is signed with a secret ({name}) and yet names a public key ({', '.join(keys)}): a server that takes the algorithm from the token would take"
            " its public key, which everybody has, for the secret. The server must accept only the algorithm of its own key.",
        )
    elif any(key in header for key in ("jwk", "jku", "x5u")):
        yield "key-from-token", f"It brings its own key ({', '.join(keys)}): a server must verify with the issuer's, never with what a token names."


def _signature_problems(name: str, size: int) -> t.Iterator[_Problem]:
    expected = _SIGNATURE_BYTES.get(name)
    if name in _RSA and size in (32, 48, 64):
        yield (
            "algorithm-confusion",
            f"Its algorithm is {name} and its signature has the {size} bytes of a secret's (HS{size * 8}): whoever issued it has a secret and not the key"
            " pair that the header promises.",
        )
    elif name in _RSA and size < _SHORTEST_RSA_BYTES:
        yield "signature-length", f"Its signature has {size} bytes, too few for {name}: it may have been cut off."
    elif name.startswith("HS") and size >= _SHORTEST_RSA_BYTES:
        yield (
            "algorithm-confusion",
            f"Its algorithm is {name}, a secret's, and its signature has the {size} bytes of an RSA key's: its header may have been changed.",
        )
    elif expected is not None and size != expected:
        yield "signature-length", f"Its signature has {size} bytes and not the {expected} of {name}: it may have been cut off or changed."


def _time_problems(facts: Facts, claims: Facts, now: float, leeway: float) -> t.Iterator[_Problem]:
    moments: dict[str, float] = {}
    for claim, name in (("iat", "issued_at"), ("nbf", "not_before"), ("exp", "expires_at")):
        value = claims.get(claim)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            yield "time-not-a-number", f"Its claim {claim} is no number: it must be seconds since 1970."
        elif not 0 <= value <= _LAST_MOMENT:
            unit = "milliseconds" if value >= _MILLISECONDS else "no seconds since 1970"
            yield "time-unit", f"Its claim {claim} is {unit}: libraries take it for seconds."
        else:
            if value >= _MILLISECONDS:
                yield "time-unit", f"Its claim {claim} seems to be milliseconds: libraries take it for seconds, that is for {rfc3339(float(value))}."
            moments[claim] = float(value)
            facts[name] = rfc3339(float(value))
    expiry = moments.get("exp")
    if expiry is not None:
        facts["expires_in_seconds"] = round(expiry - now)
        facts["expired"] = now - leeway >= expiry
        if facts["expired"]:
            yield "expired", f"It expired at {facts['expires_at']}, {round(now - expiry)} s ago."
    elif "exp" not in claims or claims["exp"] is None:
        yield "missing-expiry", "It has no expiry (exp): who gets hold of it can use it until the key is changed."
    for claim, words in (("nbf", "is valid only from"), ("iat", "was issued in the future, at")):
        moment = moments.get(claim)
        if moment is not None and moment - leeway > now:
            yield "not-yet-valid", f"It {words} {rfc3339(moment)}, in {round(moment - now)} s: the clocks of issuer and server may differ."
    if expiry is not None and "iat" in moments and expiry <= moments["iat"]:
        yield "expires-before-issue", "It expires before it was issued: no server accepts it at any time."
