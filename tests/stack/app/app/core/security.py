# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may write: bearer tokens signed with HS256."""

from __future__ import annotations

import logging
import typing as t

import jwt
from fastapi import Depends, Header

from app.core.config import settings

logger = logging.getLogger("JWTParser")


class TokenRejected(Exception):
    """The request carries no token that counts."""


def _key_id(token: str) -> str:
    try:
        return str(jwt.get_unverified_header(token).get("kid", "-"))
    except jwt.PyJWTError:
        return "-"


def require_token(authorization: t.Optional[str] = Header(default=None)) -> dict[str, t.Any]:
    """Return the claims of the request's token, or raise :class:`TokenRejected` with the reason."""
    if not authorization or not authorization.lower().startswith("bearer "):
        logger.warning("Missing bearer token")
        raise TokenRejected("Missing bearer token")
    token = authorization.split(" ", 1)[1]
    try:
        claims: dict[str, t.Any] = jwt.decode(token, settings.JWT_SECRET, algorithms=["HS256"])
    except jwt.InvalidSignatureError as error:
        # Not a client's slip: either somebody forges tokens, or issuer and verifier do not share the secret.
        logger.error("InvalidSignatureError: %s (kid=%s)", error, _key_id(token))
        raise TokenRejected(str(error)) from error
    except jwt.PyJWTError as error:
        logger.warning("%s: %s (kid=%s)", type(error).__name__, error, _key_id(token))
        raise TokenRejected(f"Invalid token: {error}") from error
    return claims


Claims = t.Annotated[dict[str, t.Any], Depends(require_token)]
