# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An HTTP server on a Unix socket that stands for an engine: it answers what a test has laid down for it."""

from __future__ import annotations

import contextlib
import http.server
import pathlib
import socketserver
import struct
import threading
import time
import typing as t


def frame(stream: int, content: bytes) -> bytes:
    """Return a piece of one stream as the engine frames it."""
    return struct.pack(">BxxxL", stream, len(content)) + content


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers from the server's table: path without version and query -> (status, body) or a function of the handler."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        path = self.path.partition("?")[0]
        path = path[path.index("/", 1) :] if path.startswith("/v1.") else path
        server = t.cast(t.Any, self.server)
        server.seen.append((self.path, body))
        answer = server.answers.get(path, (404, b'{"message": "no such thing"}'))
        if callable(answer):
            answer(self)
            return
        status, content = answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = _answer

    def log_message(self, *dummy: t.Any) -> None:
        pass

    def address_string(self) -> str:
        return "socket"


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """An HTTP server on a Unix socket."""

    daemon_threads = True

    def __init__(self, path: str) -> None:
        super().__init__(path, Handler)
        self.answers: dict[str, t.Any] = {"/version": (200, b'{"ApiVersion": "1.45", "MinAPIVersion": "1.24", "Version": "26.1.5"}')}
        self.seen: list[tuple[str, bytes]] = []


@contextlib.contextmanager
def serving(directory: pathlib.Path) -> t.Iterator[Server]:
    """Run a server in *directory* for the block."""
    with Server(str(directory / "engine.sock")) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield running
        finally:
            running.shutdown()


def upgraded(*pieces: t.Union[bytes, float], echo: bool = False) -> t.Callable[[Handler], None]:
    """An exec's start: what is sent after the headers, with pauses; *echo* sends back what comes in."""

    def answer(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
        if echo:
            handler.wfile.write(frame(1, handler.rfile.read()))
        for piece in pieces:
            if isinstance(piece, float):
                time.sleep(piece)
            else:
                handler.wfile.write(piece)
        handler.close_connection = True

    return answer
