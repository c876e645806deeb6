# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real HTTP receiver on a local port, which answers as it is told: well, badly, slowly, or not at all."""

from __future__ import annotations

import dataclasses
import http.server
import json
import pathlib
import socket
import ssl
import struct
import subprocess
import threading
import time
import typing as t


@dataclasses.dataclass(frozen=True)
class Answer:
    """One answer; *how* is ``answer``, ``hang``, ``reset``, ``garbage`` or ``trickle``."""

    status: int = 200
    body: bytes = b"ok"
    headers: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    how: str = "answer"


@dataclasses.dataclass(frozen=True)
class Received:
    """One request that came in; *accepted* where it was answered with success."""

    path: str
    headers: t.Mapping[str, str]
    body: bytes
    accepted: bool

    @property
    def json(self) -> t.Any:
        return json.loads(self.body)


class Receiver:
    """Answers each path by its script, one answer after the other, and then always by the last."""

    def __init__(self, port: int = 0, certificate: str = "", default: t.Optional[Answer] = None) -> None:
        self.received: list[Received] = []
        self.scripts: dict[str, list[Answer]] = {}
        self.default = default or Answer()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # pylint: disable=invalid-name
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                if len(body) == length:  # and not from one that was killed in the middle of it
                    receiver._answer(self, body)

            do_GET = do_POST

            def log_message(self, *dummy: t.Any) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *dummy: t.Any) -> None:
                pass

        self._server = Server(("127.0.0.1", port), Handler)
        self.scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.scheme = "https"
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *dummy: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, so that a connection is refused."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str = "/hook") -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    def script(self, path: str, *answers: Answer) -> None:
        """Say how the next requests of *path* are answered; the last goes on for ever."""
        with self._lock:
            self.scripts[path] = list(answers)

    def accepted(self, path: str = "/hook") -> list[Received]:
        """Return what came to *path* and was answered with success."""
        with self._lock:
            return [one for one in self.received if one.accepted and one.path.partition("?")[0] == path]

    def alerts(self, path: str = "/hook") -> list[dict[str, t.Any]]:
        """Return all alerts that a webhook was told of with success, in order."""
        return [alert for one in self.accepted(path) for alert in one.json["alerts"]]

    def _answer(self, handler: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
        path = handler.path.partition("?")[0]
        with self._lock:
            script = self.scripts.get(path) or [self.default]
            answer = script.pop(0) if len(script) > 1 else script[0]
            accepted = answer.how == "answer" and answer.status < 300
            self.received.append(Received(handler.path, dict(handler.headers), body, accepted))
        if answer.how == "hang":
            self._closing.wait(30)
            return
        if answer.how == "reset":
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
            handler.close_connection = True
            return
        if answer.how == "garbage":
            handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
            handler.close_connection = True
            return
        if answer.how == "trickle":
            for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok":
                if self._closing.wait(0.3):
                    return
                handler.wfile.write(bytes([byte]))
            return
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        handler.wfile.write(answer.body)


class Tunnel:
    """A proxy that leads through to where it is asked to, for those who show the right authorization."""

    def __init__(self, authorization: str) -> None:
        self.requests: list[str] = []
        self._authorization = authorization
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(self, *dummy: object) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                client, dummy = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._lead, args=(client,), daemon=True).start()

    def _lead(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        first = head.split(b"\r\n")[0].decode()
        self.requests.append(first)
        if f"Proxy-Authorization: {self._authorization}" not in head.decode():
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            client.close()
            return
        host, dummy, port = first.split()[1].rpartition(":")
        server = socket.create_connection((host, int(port)), 5)
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=self._copy, args=(server, client), daemon=True)
        back.start()
        self._copy(client, server)

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def make_certificate(directory: pathlib.Path) -> str:
    """Make a certificate for 127.0.0.1 that nobody knows, with its key in the same file."""
    key, certificate, both = (directory / name for name in ("key.pem", "certificate.pem", "both.pem"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=receiver",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return str(both)


def free_port() -> int:
    """Return a port on which nobody listens at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: t.Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)
