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


def path_of(url: str) -> str:
    """Return the path that a request asks for, without the API's version and the query."""
    path = url.partition("?")[0]
    return path[path.index("/", 1) :] if path.startswith("/v1.") else path


class Handler(http.server.BaseHTTPRequestHandler):
    """Has its server answer each request."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        t.cast(SocketServer, self.server).respond(self, self.rfile.read(length))

    def send(self, status: int, content: bytes) -> None:
        """Send a whole answer."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = _answer

    def log_message(self, *dummy: t.Any) -> None:
        pass

    def address_string(self) -> str:
        return "socket"


class SocketServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """An HTTP server on a Unix socket."""

    daemon_threads = True

    def __init__(self, path: str) -> None:
        super().__init__(path, Handler)

    def respond(self, handler: Handler, body: bytes) -> None:
        """Answer the request of *handler*, which came with *body*."""
        raise NotImplementedError


class Answers:
    """What a server answers: path without version and query -> (status, body) or a function of the handler. *seen* are the requests."""

    def __init__(self, *arguments: t.Any) -> None:
        super().__init__(*arguments)
        self.answers: dict[str, t.Any] = {"/version": (200, b'{"ApiVersion": "1.45", "MinAPIVersion": "1.24", "Version": "26.1.5"}')}
        self.seen: list[tuple[str, bytes]] = []

    def respond(self, handler: Handler, body: bytes) -> None:
        """Answer as the table says."""
        self.seen.append((handler.path, body))
        answer = self.answers.get(path_of(handler.path), (404, b'{"message": "no such thing"}'))
        if callable(answer):
            answer(handler)
        else:
            handler.send(*answer)


class Server(Answers, SocketServer):
    """An HTTP server on a Unix socket that answers from a table."""


AServer = t.TypeVar("AServer", bound=SocketServer)


@contextlib.contextmanager
def running(server: AServer) -> t.Iterator[AServer]:
    """Run *server* for the block."""
    with server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def serving(directory: pathlib.Path) -> t.ContextManager[Server]:
    """Run a server in *directory* for the block."""
    return running(Server(str(directory / "engine.sock")))


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
