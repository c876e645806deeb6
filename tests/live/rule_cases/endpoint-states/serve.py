# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers with good and bad certificates, and one that answers slowly or wrongly, as its path says."""

from __future__ import annotations

import http.server
import ssl
import threading
import time

CERTIFICATES = {8440: "good", 8441: "nearly-expired", 8442: "expired", 8443: "other-name", 8444: "self-signed"}


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers every GET."""

    def do_GET(self) -> None:
        """Answer as the path says."""
        if self.path == "/slow":
            time.sleep(1.2)
        status = {"/error": 500, "/loop": 302}.get(self.path, 200)
        body = b'{"state": "degraded"}' if self.path == "/json" else b"something went wrong\n" if status == 500 else b"well\n"
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/loop")
        self.send_header("Content-Type", "application/json" if self.path == "/json" else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for number in range(len(body)):
            self.wfile.write(body[number : number + 1])
            if self.path == "/trickle":
                time.sleep(0.3)


def serve(port: int, certificate: str = "") -> None:
    """Answer on *port*, by TLS where a *certificate* is named."""
    server = http.server.ThreadingHTTPServer(("", port), Answer)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"/srv/certificates/{certificate}.pem", f"/srv/certificates/{certificate}.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


for port, certificate in CERTIFICATES.items():
    threading.Thread(target=serve, args=(port, certificate), daemon=True).start()
serve(8080)
