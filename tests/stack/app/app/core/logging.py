# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One JSON object per line in the log file, for requests and for everything else."""

from __future__ import annotations

import datetime
import json
import logging
import logging.handlers
import os
import typing as t

from app.core.config import settings

REQUEST_FIELDS = ("duration_ms", "status", "method", "path", "client_ip", "request_id")


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object; fields of the request are there when the record belongs to one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as a line."""
        moment = datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc)
        entry: dict[str, t.Any] = {
            "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry.update({name: record.__dict__[name] for name in REQUEST_FIELDS if name in record.__dict__})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def configure_logging() -> None:
    """Send every record of the application to the log file; uvicorn keeps writing its own lines to the container's log."""
    directory = os.path.dirname(settings.LOG_FILE)
    if directory:
        os.makedirs(directory, exist_ok=True)
    handler = logging.handlers.WatchedFileHandler(settings.LOG_FILE, encoding="utf-8")
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.setLevel(settings.LOG_LEVEL)
    root.addHandler(handler)
