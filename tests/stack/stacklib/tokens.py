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


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode("ascii")


def bearer_token(secret: str, key_id: str = "shop-1", subject: str = "traffic", lifetime_seconds: float = 3600) -> str:
    """Return a JWT signed with HS256; a negative lifetime gives one that is over."""
    header = {"alg": "HS256", "typ": "JWT", "kid": key_id}
    claims = {"sub": subject, "exp": int(time.time() + lifetime_seconds)}
    signed = ".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
    signature = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{_encoded(signature)}"
