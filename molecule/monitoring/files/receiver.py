# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A receiver of webhooks that keeps what it gets, one JSON object a line."""

from __future__ import annotations

import http.server
import json
import sys
import time


class Receiver(http.server.BaseHTTPRequestHandler):
    """Answers as Slack does."""

    def do_POST(self) -> None:  # noqa: N802
        """Keep one request."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with open(sys.argv[2], "a", encoding="utf-8") as file:
            file.write(json.dumps({"at": time.time(), "path": self.path, "body": body.decode()}) + "\n")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *dummy: object) -> None:
        """Say nothing."""


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
