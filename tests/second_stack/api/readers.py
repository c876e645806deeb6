# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A library's books and loans: asyncpg, Redis, and logs in text by loguru. It shares nothing with the example shop."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import typing as t

import asyncpg
import redis.asyncio
from fastapi import FastAPI, HTTPException, Request, Response
from loguru import logger

FORMAT = "{time:YYYY-MM-DD HH:mm:ss.SSS} | {level: <8} | {name}:{function}:{line} - {message}"
SCHEMA = """
CREATE TABLE IF NOT EXISTS books (id serial PRIMARY KEY, title text NOT NULL, pages text NOT NULL, shelf text);
CREATE TABLE IF NOT EXISTS loans (id bigserial PRIMARY KEY, book_id int NOT NULL, reader text NOT NULL, since timestamptz NOT NULL DEFAULT now());
CREATE INDEX IF NOT EXISTS loans_by_book ON loans (book_id);
"""
SEED = """
INSERT INTO books (title, pages, shelf) SELECT 'Book ' || n, (80 + n % 400)::text, 'S' || n % 9 FROM generate_series(1, 500) AS n;
INSERT INTO loans (book_id, reader) SELECT 1 + n % 500, 'reader-' || n % 900 FROM generate_series(1, 120000) AS n;
ANALYZE;
"""

logger.remove()
logger.add(sys.stdout, format=FORMAT, backtrace=False, diagnose=False)
logger.add("var/api.log", format=FORMAT, backtrace=False, diagnose=False, watch=True)


def _setting(name: str, default: str = "") -> str:
    return os.environ.get(name, default)


async def _open_pool() -> asyncpg.Pool:
    pool = await asyncpg.create_pool(
        host=_setting("DB_HOST"), port=int(_setting("DB_PORT", "5432")), database=_setting("DB_NAME"), user=_setting("DB_USER"),
        password=_setting("DB_PASSWORD"), min_size=1, max_size=int(_setting("DB_POOL", "4")), timeout=4, command_timeout=20,
    )  # fmt: skip
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(7)")
        await connection.execute(SCHEMA)
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM books)"):
            await connection.execute(SEED)
    return pool


@contextlib.asynccontextmanager
async def lifespan(api: FastAPI) -> t.AsyncIterator[None]:
    """Open what the API needs, and close it."""
    try:
        api.state.pool = await _open_pool()
    except Exception as error:
        logger.opt(exception=error).critical("The store cannot be used: {}: {}", type(error).__name__, error)
        raise
    api.state.cache = redis.asyncio.from_url(_setting("CACHE_URL", "redis://cache:6379/0"), socket_connect_timeout=2, socket_timeout=2)
    logger.info("Serving books from {}", _setting("DB_HOST"))
    yield
    await api.state.pool.close()


api = FastAPI(title="Readers", lifespan=lifespan)


@api.middleware("http")
async def tell(request: Request, call_next: t.Callable[[Request], t.Awaitable[Response]]) -> Response:
    """Log what came in and how it went."""
    begin = time.perf_counter()
    try:
        response = await call_next(request)
    except Exception as error:
        logger.opt(exception=error).error("{} {} failed: {}: {}", request.method, request.url.path, type(error).__name__, error)
        return Response('{"detail": "internal error"}', 500, media_type="application/json")
    took_ms = (time.perf_counter() - begin) * 1000
    level = "WARNING" if response.status_code >= 500 or took_ms >= 1000 else "DEBUG"
    logger.log(level, "{} {} -> {} in {:.0f} ms", request.method, request.url.path, response.status_code, took_ms)
    return response


def _connection(request: Request) -> t.Any:
    return request.app.state.pool.acquire(timeout=float(_setting("DB_POOL_TIMEOUT", "5")))


@api.get("/ready")
async def ready(request: Request, response: Response) -> dict[str, str]:
    """Say whether the store and the cache can be used."""
    parts: dict[str, t.Callable[[], t.Awaitable[t.Any]]] = {"store": lambda: _ask_store(request), "cache": request.app.state.cache.ping}
    answer = {}
    for name, ask in parts.items():
        try:
            await ask()
            answer[name] = "up"
        except Exception as error:
            answer[name] = f"{type(error).__name__}: {error}"
            logger.error("{} is not ready: {}: {}", name, type(error).__name__, error)
            response.status_code = 503
    return answer


async def _ask_store(request: Request) -> None:
    async with _connection(request) as connection:
        await connection.fetchval("SELECT 1", timeout=3)


@api.get("/v2/books")
async def books(request: Request, shelf: str = "S1") -> list[dict[str, t.Any]]:
    """Return the books of a shelf."""
    async with _connection(request) as connection:
        return [dict(row) for row in await connection.fetch("SELECT id, title FROM books WHERE shelf = $1 ORDER BY id", shelf)]


@api.get("/v2/books/{book_id}")
async def book(request: Request, book_id: int) -> dict[str, t.Any]:
    """Return one book with how thick it is."""
    async with _connection(request) as connection:
        row = await connection.fetchrow("SELECT id, title, pages FROM books WHERE id = $1", book_id)
    if row is None:
        raise HTTPException(404)
    return {"id": row["id"], "title": row["title"], "millimetres": int(row["pages"]) / 10}


@api.get("/v2/loans/busiest")
async def busiest(request: Request, shelf: str = "S1") -> list[dict[str, t.Any]]:
    """Return the books of a shelf with the number of their loans."""
    query = "SELECT b.id, (SELECT count(*) FROM loans l WHERE l.book_id = b.id) AS loans FROM books b WHERE shelf = $1 ORDER BY 2 DESC"
    async with _connection(request) as connection:
        return [dict(row) for row in await connection.fetch(query, shelf)]


@api.post("/v2/loans", status_code=201)
async def lend(request: Request, book_id: int = 1) -> dict[str, t.Any]:
    """Lend a book."""
    async with _connection(request) as connection:
        return {"id": await connection.fetchval("INSERT INTO loans (book_id, reader) VALUES ($1, 'desk') RETURNING id", book_id)}


@api.get("/v2/popular")
async def popular(request: Request) -> dict[str, int]:
    """Count in the cache how often this was asked."""
    return {"asked": int(await request.app.state.cache.incr("asked"))}


@api.get("/v2/labels")
async def labels(seconds: float = 0.0) -> dict[str, str]:
    """Draw a label; the drawing does not give way to other requests."""
    time.sleep(float(_setting("LABEL_SECONDS", "0")) or seconds)
    return {"label": "drawn"}


@api.get("/v2/catalogue")
async def catalogue(request: Request, pause: float = 0.0) -> dict[str, int]:
    """Count all books, with a pause of the store's."""
    async with _connection(request) as connection:
        await connection.execute("SELECT pg_sleep($1)", pause)
        return {"books": await connection.fetchval("SELECT count(*) FROM books")}
