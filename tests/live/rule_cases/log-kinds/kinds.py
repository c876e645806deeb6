# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Applications that go wrong, each in one way, and log what their libraries say: ``python3 kinds.py NAME``."""

from __future__ import annotations

import datetime
import http.server
import logging
import os
import pathlib
import sys
import time
import typing as t

import fastapi
import httpx
import jwt
import psycopg2
import redis
import sqlalchemy

logger = logging.getLogger("kinds")
KEY = "only-here-and-not-for-long-0123456789"

# Served by `uvicorn kinds:api`.
api = fastapi.FastAPI()


@api.get("/")
def root() -> str:
    """Answer nobody: who asks has to log in first."""
    raise fastapi.HTTPException(401, "Not authenticated")


def slow_application(dummy_environ: dict[str, t.Any], start_response: t.Callable[..., t.Any]) -> list[bytes]:
    """Be a WSGI application, served by `gunicorn kinds:slow_application`, that takes longer than its server allows."""
    time.sleep(30)
    start_response("200 OK", [])
    return [b"well\n"]


def _decode(algorithm: str = "HS256", **claims: t.Any) -> None:
    jwt.decode(jwt.encode(claims, KEY, algorithm=algorithm), KEY, algorithms=["HS256"])


def _in(**delta: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(**delta)


def _exhaust_pool() -> None:
    engine = sqlalchemy.create_engine(os.environ["DATABASE_URL"], pool_size=1, max_overflow=0, pool_timeout=0.2)
    with engine.connect(), engine.connect():
        pass


def _ask_for_a_missing_table() -> None:
    with psycopg2.connect(os.environ["DATABASE_URL"]) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM invoices")


class Partner(http.server.BaseHTTPRequestHandler):
    """Another company's server, which is not well."""

    def do_GET(self) -> None:
        """Answer that it cannot, or not at all."""
        if self.path == "/silent":
            time.sleep(5)
        self.send_error(503)


#: By name: what goes wrong, and how often.
FAULTS: dict[str, list[tuple[t.Callable[[], object], int]]] = {
    "tokens": [
        (lambda: _decode(exp=_in(hours=-1)), 25),
        (lambda: _decode(nbf=_in(minutes=5)), 5),
        (lambda: _decode("HS512"), 5),
    ],
    "pool": [(_exhaust_pool, 3)],
    "schema": [(_ask_for_a_missing_table, 3)],
    "uploads": [(lambda: pathlib.Path("/uploads/scan.pdf").write_bytes(bytes(2 << 20)), 2)],
    "exports": [(lambda: pathlib.Path("/exports/orders.csv").write_text("id\n", encoding="utf-8"), 2)],
    "cache-client": [(lambda: redis.Redis(host="cache", port=6379).ping(), 4)],
    "calls": [(lambda: httpx.get("http://partner:8080/pay").raise_for_status(), 6)],
    "waiting-calls": [(lambda: httpx.get("http://partner:8080/silent", timeout=0.3), 4)],
    "ledger": [(lambda: 1 // 0, 5)],
}


def main(name: str) -> None:
    """Go wrong, then stay."""
    if name == "partner":
        http.server.ThreadingHTTPServer(("", 8080), Partner).serve_forever()
    handlers = [logging.FileHandler("/app/logs/app.log")] if name == "ledger" else None
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO, handlers=handlers)
    logger.info("ready")
    for action, times in FAULTS[name]:
        for dummy_number in range(times):
            try:
                action()
            except Exception:
                logger.exception("request failed")
    time.sleep(3600)


if __name__ == "__main__":
    main(sys.argv[1])
