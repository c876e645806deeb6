# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write into a Redis that refuses it, and log what the library says: ``python3 client.py HOST [CLIENTS]``."""

from __future__ import annotations

import logging
import sys
import time

import redis

logger = logging.getLogger("client")
VALUE = "x" * 100_000


def main(host: str, clients: int = 1) -> None:
    """Write thirty times from each client, then stay."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    connections = [redis.Redis(host=host) for dummy in range(clients)]
    for number in range(30):
        for connection in connections:
            try:
                connection.set(f"page:{number}", VALUE)
            except redis.RedisError:
                logger.exception("page not kept")
    time.sleep(3600)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
