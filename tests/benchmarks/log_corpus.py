# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logs of a made-up shop for benchmarks: the same arguments give the same bytes."""

from __future__ import annotations

import argparse
import datetime
import json
import random
import typing as t

#: The end of every corpus, so that "the last hour" is the same hour in every run.
END = datetime.datetime(2026, 11, 23, 12, 0, 0, tzinfo=datetime.timezone.utc)
PATHS = ("/api/v1/items", "/api/v1/items/{n}", "/api/v1/orders/{n}", "/api/v1/users/{n}/basket", "/health", "/docs", "/api/v1/search?q=word{n}")
FAILURES = (
    ("shop.db", "could not connect to server: Connection refused on attempt {n}"),
    ("shop.orders", "order {n} failed: duplicate key value violates unique constraint \"orders_pkey\""),
    ("JWTParser", "Signature verification failed"),
    ("shop.payments", "payment provider answered 503 for order {n} after {m} ms"),
    ("shop.db", "QueuePool limit of size 5 overflow 10 reached, connection timed out, timeout 30.00"),
)
WARNINGS = (("shop.orders", "stock of item {n} is low"), ("JWTParser", "Signature has expired"))


def records(count: int, hours: float, seed: int, error_share: float) -> t.Iterator[tuple[datetime.datetime, dict[str, t.Any]]]:
    """Yield *count* records, evenly spread over the *hours* before :data:`END`, in time order."""
    dice = random.Random(seed)
    begin = END - datetime.timedelta(hours=hours)
    step = datetime.timedelta(hours=hours) / count
    for number in range(count):
        moment = begin + number * step
        n = dice.randrange(1, 100_000)
        draw = dice.random()
        if draw < error_share:
            level = "critical" if draw < error_share / 20 else "error"
            logger, message = dice.choice(FAILURES)
        elif draw < 2 * error_share:
            level = "warning"
            logger, message = dice.choice(WARNINGS)
        else:
            level, logger, message = "info", "shop.access", "request completed"
        status = 500 if level in ("error", "critical") else 200 if dice.random() < 0.97 else 404
        duration = round(dice.lognormvariate(3.0, 1.0), 2)
        yield moment, {
            "timestamp": moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": level,
            "logger": logger,
            "message": message.replace("{n}", str(n)).replace("{m}", str(n % 5000)),
            "duration_ms": duration,
            "status": status,
            "method": "POST" if n % 5 == 0 else "GET",
            "path": dice.choice(PATHS).replace("{n}", str(n)),
            "client_ip": f"172.18.{n % 7}.{n % 251}",
            "request_id": f"{dice.getrandbits(128):032x}",
        }


def as_json(moment: datetime.datetime, record: dict[str, t.Any]) -> str:
    """Return the line as structlog's or python-json-logger's renderer writes it."""
    return json.dumps(record)


def as_docker(moment: datetime.datetime, record: dict[str, t.Any]) -> str:
    """Return the same line as Docker's json-file driver keeps it."""
    return json.dumps({"log": json.dumps(record) + "\n", "stream": "stdout", "time": moment.strftime("%Y-%m-%dT%H:%M:%S.%f123Z")}, separators=(",", ":"))


def as_text(moment: datetime.datetime, record: dict[str, t.Any]) -> str:
    """Return it in the standard library's usual text format."""
    head = moment.strftime("%Y-%m-%d %H:%M:%S,%f")[:-3] + f" - {record['logger']} - {record['level'].upper()} - {record['message']}"
    return head + f" {record['method']} {record['path']} {record['status']} {record['duration_ms']}ms request={record['request_id']}"


def as_combined(moment: datetime.datetime, record: dict[str, t.Any]) -> str:
    """Return the access line as nginx and gunicorn write it (combined log format)."""
    request = f'"{record["method"]} {record["path"]} HTTP/1.1" {record["status"]} {len(record["path"]) * 37}'
    return f'{record["client_ip"]} - - [{moment.strftime("%d/%b/%Y:%H:%M:%S +0000")}] {request} "-" "Mozilla/5.0 (X11; Linux x86_64)"'


FORMATS: dict[str, t.Callable[[datetime.datetime, dict[str, t.Any]], str]] = {
    "json": as_json,
    "docker": as_docker,
    "text": as_text,
    "combined": as_combined,
}


def write(path: str, form: str, size_bytes: int, hours: float = 72, seed: int = 1, error_share: float = 0.02, shuffled: bool = False) -> int:
    """Write a corpus of about *size_bytes* and return its number of lines. *shuffled* mixes lines within the whole file."""
    render = FORMATS[form]
    probe = [len(render(moment, record)) + 1 for moment, record in records(2000, hours, seed, error_share)]
    count = max(1, int(size_bytes / (sum(probe) / len(probe))))
    lines: t.Iterable[str] = (render(moment, record) for moment, record in records(count, hours, seed, error_share))
    if shuffled:
        kept = list(lines)
        random.Random(seed).shuffle(kept)
        lines = kept
    with open(path, "w", encoding="utf-8", newline="\n", buffering=1 << 20) as handle:
        handle.writelines(line + "\n" for line in lines)
    return count


def main() -> None:
    """Write one corpus as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path")
    parser.add_argument("--format", choices=sorted(FORMATS), default="json")
    parser.add_argument("--megabytes", type=float, default=1000)
    parser.add_argument("--hours", type=float, default=72)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--error-share", type=float, default=0.02)
    parser.add_argument("--shuffled", action="store_true")
    options = parser.parse_args()
    write(options.path, options.format, int(options.megabytes * 1e6), options.hours, options.seed, options.error_share, options.shuffled)


if __name__ == "__main__":
    main()
