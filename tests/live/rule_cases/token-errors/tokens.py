# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Give the example application's check of tokens bad ones, and let it log what it says: ``python3 tokens.py KIND``."""

from __future__ import annotations

import logging
import sys
import time

import jwt
from app.core.config import settings
from app.core.security import TokenRejected, logger, require_token


def _for_another_application() -> None:
    made = jwt.encode({"sub": "web", "aud": "warehouse"}, settings.JWT_SECRET, algorithm="HS256")
    try:
        jwt.decode(made, settings.JWT_SECRET, algorithms=["HS256"], audience="shop")
    except jwt.PyJWTError as error:
        logger.warning("%s: %s", type(error).__name__, error)


def main(kind: str) -> None:
    """Go wrong, then stay."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    logger.info("ready")
    headers = {"malformed": ["Bearer invalid_token", "Bearer a.b.c", 'Bearer "eyJ.eyJ.x"'], "missing": [None, "Basic d2ViOng="], "claims": []}[kind]
    for dummy_number in range(30):
        for header in headers:
            try:
                require_token(header)
            except TokenRejected:
                pass
        if kind == "claims":
            _for_another_application()
    time.sleep(3600)


if __name__ == "__main__":
    main(sys.argv[1])
