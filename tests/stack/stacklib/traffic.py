# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Realistic requests: mostly reading, some writing, a few that are refused or not found."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import http.client
import json
import pathlib
import random
import sys
import threading
import time
import typing as t
import urllib.parse

from . import dotenv, tokens

REQUEST_SECONDS = 30
CLIENTS = tuple(f"10.20.{network}.{host}" for network in range(4) for host in range(10, 30))


@dataclasses.dataclass(frozen=True)
class Call:
    """One request to send."""

    method: str
    path: str
    body: t.Optional[dict[str, t.Any]] = None
    token: t.Optional[str] = None


@dataclasses.dataclass(frozen=True)
class Shop:
    """Where the shop is, and the secret its clients sign with."""

    url: str
    secret: str
    key_id: str = "shop-1"

    @classmethod
    def of_stack(cls, directory: pathlib.Path, host: str = "127.0.0.1") -> Shop:
        """Return the shop of a rendered stack that runs on *host*."""
        variables = dotenv.parse((directory / ".env").read_text("utf-8"))
        return cls(f"http://{host}:{variables['HTTP_PORT']}", variables["JWT_SECRET"])

    def send(self, call: Call, client: str = CLIENTS[0]) -> int:
        """Send *call* and return the status of the answer; 0 where none came."""
        parts = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=REQUEST_SECONDS)
        headers = {"X-Forwarded-For": client, "Content-Type": "application/json"}
        if call.token is not None:
            headers["Authorization"] = f"Bearer {call.token}"
        try:
            connection.request(call.method, call.path, json.dumps(call.body) if call.body is not None else None, headers)
            response = connection.getresponse()
            response.read()
            return response.status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()


def _new_item(number: random.Random) -> dict[str, t.Any]:
    return {"name": f"Item {number.randrange(10_000)}", "price": f"{number.uniform(1, 200):.2f}"}


def mixed_calls(shop: Shop, number: random.Random) -> t.Iterator[Call]:
    """Yield the calls of an ordinary day, without end. None of them is an error of the application."""
    fresh, over = tokens.bearer_token(shop.secret, shop.key_id), tokens.bearer_token(shop.secret, shop.key_id, lifetime_seconds=-60)
    makers: dict[t.Callable[[], Call], int] = {
        lambda: Call("GET", f"/api/v1/items?limit=20&offset={number.randrange(80)}"): 30,
        lambda: Call("GET", f"/api/v1/items/{number.randrange(1, 101)}"): 20,
        lambda: Call("GET", f"/api/v1/items/{number.randrange(20, 101)}/price"): 15,
        lambda: Call("GET", "/api/v1/orders/recent?limit=20"): 8,
        lambda: Call("GET", f"/api/v1/orders/{number.randrange(1, 2000)}/notes"): 4,
        lambda: Call("GET", "/api/v1/reports/daily"): 2,
        lambda: Call("GET", "/health"): 5,
        lambda: Call("GET", "/docs"): 1,
        lambda: Call("POST", "/api/v1/items", _new_item(number), fresh): 8,
        lambda: Call("POST", "/api/v1/orders", {"item_id": number.randrange(1, 101), "customer": "web"}, fresh): 6,
        lambda: Call("POST", "/api/v1/items", _new_item(number)): 1,
        lambda: Call("POST", "/api/v1/items", _new_item(number), over): 1,
        lambda: Call("GET", f"/api/v1/items/{number.randrange(900_000, 999_999)}"): 3,
        lambda: Call("GET", "/favicon.ico"): 1,
    }
    choices, weights = list(makers), list(makers.values())
    while True:
        yield number.choices(choices, weights)[0]()


def drive(
    shop: Shop,
    seconds: float,
    per_second: float,
    seed: int = 1,
    workers: int = 4,
    calls: t.Callable[[Shop, random.Random], t.Iterator[Call]] = mixed_calls,
) -> collections.Counter[int]:
    """Send the *calls* of an ordinary day for *seconds* and return how often each status came back."""
    number = random.Random(seed)
    ordinary = calls(shop, number)
    lock = threading.Lock()
    statuses: collections.Counter[int] = collections.Counter()
    deadline = time.monotonic() + seconds

    def work() -> None:
        while time.monotonic() < deadline:
            begin = time.monotonic()
            with lock:
                call, client = next(ordinary), number.choice(CLIENTS)
            status = shop.send(call, client)
            with lock:
                statuses[status] += 1
            time.sleep(max(0.0, workers / per_second - (time.monotonic() - begin)))

    _together([work] * workers)
    return statuses


def repeat(shop: Shop, call: Call, times: int, workers: int = 4) -> collections.Counter[int]:
    """Send one *call* again and again and return how often each status came back."""
    lock = threading.Lock()
    statuses: collections.Counter[int] = collections.Counter()
    left = iter(range(times))

    def work() -> None:
        while True:
            with lock:
                if next(left, None) is None:
                    return
            status = shop.send(call)
            with lock:
                statuses[status] += 1

    _together([work] * workers)
    return statuses


def _together(work: t.Sequence[t.Callable[[], None]]) -> None:
    threads = [threading.Thread(target=function, daemon=True) for function in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="traffic", description="Send realistic requests to the example stack.")
    parser.add_argument("--stack", type=pathlib.Path, required=True, metavar="DIR", help="directory of the rendered stack: port and secret come from its .env")
    parser.add_argument("--host", default="127.0.0.1", help="machine on which it runs; default: this one")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--per-second", type=float, default=20, help="requests per second; default: 20")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same requests")
    parser.add_argument("--path", help="send GET requests to this path alone, instead of an ordinary day")
    parser.add_argument("--times", type=int, default=50, help="how many, with --path; default: 50")
    return parser


def main(argv: t.Optional[t.Sequence[str]] = None) -> int:
    """Run the command line and return its exit code: 1 where nothing answered."""
    options = _parser().parse_args(argv)
    shop = Shop.of_stack(options.stack, options.host)
    if options.path:
        statuses = repeat(shop, Call("GET", options.path), options.times)
    else:
        statuses = drive(shop, options.seconds, options.per_second, options.seed)
    answers = ", ".join(f"{count} x {status or 'no answer'}" for status, count in sorted(statuses.items()))
    sys.stdout.write(f"{sum(statuses.values())} requests: {answers}\n")
    return 0 if set(statuses) - {0} else 1
