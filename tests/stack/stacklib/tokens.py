# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bearer tokens as the shop's clients make them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import typing as t


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode("ascii")


_DIGESTS = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


def bearer_token(
    secret: str,
    key_id: str = "shop-1",
    subject: str = "traffic",
    lifetime_seconds: float = 3600,
    not_before_seconds: t.Optional[float] = None,
    algorithm: str = "HS256",
) -> str:
    """Return a signed JWT; a negative lifetime gives one that is over, *not_before_seconds* one from an issuer whose clock is ahead."""
    header = {"alg": algorithm, "typ": "JWT", "kid": key_id}
    claims: dict[str, t.Any] = {"sub": subject, "exp": int(time.time() + lifetime_seconds)}
    if not_before_seconds is not None:
        claims["nbf"] = int(time.time() + not_before_seconds)
    signed = ".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
    signature = hmac.new(secret.encode(), signed.encode(), _DIGESTS[algorithm]).digest()
    return f"{signed}.{_encoded(signature)}"
