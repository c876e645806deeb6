# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stand in for a program: serve HTTP on the ports that are named, or only be there: ``python3 stand_in.py NAME [PORT...]``."""

from __future__ import annotations

import http.server
import logging
import sys
import threading
import time

logger = logging.getLogger(sys.argv[1])


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers everything well."""

    def do_GET(self) -> None:
        """Answer that all is well."""
        body = b'{"status": "ok"}\n'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *args: object) -> None:
        """Log as the rest does."""
        logger.info(*args)


def main(ports: list[int]) -> None:
    """Serve on all *ports* until the end."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    for port in ports:
        server = http.server.ThreadingHTTPServer(("", port), Answer)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    logger.info("ready")
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main([int(port) for port in sys.argv[2:]])
