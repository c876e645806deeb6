# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write two hours of logs that end now: a rotated JSON log, a text log with tracebacks, and one that is no log."""

from __future__ import annotations

import datetime
import gzip
import json
import os
import pathlib
import sys

NOW = datetime.datetime.now(datetime.timezone.utc)
TRACEBACK = 'Traceback (most recent call last):\n  File "/app/main.py", line 7, in pay\n    raise ValueError(card)\nValueError: card expired\n'


def record(age_seconds: int) -> str:
    """Return one JSON line: every tenth is an error, and only the last hour has those of the warehouse."""
    number = age_seconds // 10
    failed = number % 10 == 0
    message = f"order {number} failed" if failed and number % 20 else f"warehouse {number} does not answer" if failed and age_seconds < 3600 else "order placed"
    level = "info" if message == "order placed" else "error"
    moment = NOW - datetime.timedelta(seconds=age_seconds)
    return json.dumps({"timestamp": moment.isoformat(), "level": level, "logger": "shop", "message": message}) + "\n"


def main() -> None:
    """Write the logs below the directory named on the command line."""
    directory = pathlib.Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    ages = range(7200, 30, -10)
    with gzip.open(directory / "app.log.1.gz", "wt", encoding="utf-8") as rotated:
        rotated.writelines(record(age) for age in ages if age > 1800)
    (directory / "app.log").write_text("".join(record(age) for age in ages if age <= 1800), encoding="utf-8")
    with open(directory / "worker.log", "w", encoding="utf-8") as text:
        for age in range(3000, 60, -60):
            moment = (NOW - datetime.timedelta(seconds=age)).strftime("%Y-%m-%d %H:%M:%S,%f")[:-3]
            text.write(f"{moment} INFO shop.worker job done\n")
            if age % 600 == 0:
                text.write(f"{moment} ERROR shop.worker payment failed\n{TRACEBACK}")
    (directory / "noise.log").write_bytes(os.urandom(200_000))


main()
