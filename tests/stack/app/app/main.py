# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shop's backend."""

from __future__ import annotations

import importlib
import logging
import time
import typing as t
import uuid

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from app.api import health, items, orders, reports
from app.core.config import settings
from app.core.logging import configure_logging
from app.core.security import TokenRejected

logger = logging.getLogger("app.request")


def _price_history() -> dict[tuple[int, int], str]:
    """Return the price list of every item and day, kept in memory for quick answers."""
    return {
        (item, day): f"item {item} day {day} price {item * 100 + day % 7}" for day in range(settings.PRICE_HISTORY_DAYS) for item in range(settings.SEED_ITEMS)
    }


def create_app() -> FastAPI:
    """Build the application: log, extensions, prices, routes."""
    configure_logging()
    application = FastAPI(title="Shop", version="1.4.0", debug=settings.DEBUG)
    for extension in settings.APP_EXTENSIONS:
        importlib.import_module(extension)
    application.state.price_history = _price_history()
    application.include_router(health.router)
    for module in (items, orders, reports):
        application.include_router(module.router, prefix="/api/v1")
    application.middleware("http")(log_request)
    application.exception_handler(TokenRejected)(reject_token)
    logging.getLogger("app").info("application started with %d prices in memory", len(application.state.price_history))
    return application


async def reject_token(request: Request, error: Exception) -> JSONResponse:
    """Answer a request whose token does not count."""
    return JSONResponse({"error": "JWTError", "message": str(error)}, status_code=401)


async def log_request(request: Request, call_next: t.Callable[[Request], t.Awaitable[Response]]) -> Response:
    """Write one line for the request, with the traceback where it failed."""
    begin = time.perf_counter()
    forwarded = request.headers.get("x-forwarded-for", "").split(",")[0].strip()
    fields: dict[str, t.Any] = {
        "status": 500,
        "method": request.method,
        "path": request.url.path,
        "client_ip": forwarded or (request.client.host if request.client else "-"),
        "request_id": request.headers.get("x-request-id") or uuid.uuid4().hex[:16],
    }
    try:
        response = await call_next(request)
    except Exception:
        fields["duration_ms"] = round((time.perf_counter() - begin) * 1000, 1)
        logger.exception("%s %s failed", request.method, request.url.path, extra=fields)
        raise
    fields["duration_ms"] = round((time.perf_counter() - begin) * 1000, 1)
    fields["status"] = response.status_code
    level = logging.ERROR if response.status_code >= 500 else logging.WARNING if response.status_code in (401, 403, 429) else logging.INFO
    logger.log(level, "%s %s %d", request.method, request.url.path, response.status_code, extra=fields)
    response.headers["x-request-id"] = fields["request_id"]
    return response


app = create_app()
