# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container engine's API on a Unix socket, with containers, logs and disk usage that a test gives it: for tests without an engine."""

from __future__ import annotations

import hashlib
import json
import pathlib
import typing as t
import urllib.parse

from ansible_collections.stackops.runbook.tests.support.engine_socket import Handler, SocketServer, frame, path_of, running

Raw = dict[str, t.Any]

_VERSION = {"ApiVersion": "1.45", "MinAPIVersion": "1.24", "Version": "26.1.5"}


def container(
    service: str, project: str = "shop", state: str = "running", oneoff: bool = False, labels: t.Optional[dict[str, str]] = None, **more: t.Any
) -> Raw:
    """Return what the engine says of a container of a Compose project; *more* are further keys of its answer."""
    name = f"{project}-{service}-{'run-1' if oneoff else '1'}"
    compose = {
        "com.docker.compose.project": project,
        "com.docker.compose.service": service,
        "com.docker.compose.container-number": "1",
        "com.docker.compose.oneoff": str(oneoff),
        "com.docker.compose.version": "2.26.1",
        **(labels or {}),
    }
    running = state == "running"
    return {
        "Id": hashlib.sha256(name.encode()).hexdigest(),
        "Name": f"/{name}",
        "Image": "sha256:" + "0" * 64,
        "Created": "2026-11-20T08:00:00Z",
        "RestartCount": 0,
        "LogPath": "",
        "Config": {"Labels": compose, "Image": "shop:1", "Env": []},
        "HostConfig": {"LogConfig": {"Type": "json-file"}, "RestartPolicy": {"Name": "always"}, "NetworkMode": "shop_default"},
        "NetworkSettings": {"Networks": {}, "Ports": {}},
        "Mounts": [],
        "State": {
            "Status": state,
            "Running": running,
            "ExitCode": 0,
            "Pid": 0,
            "StartedAt": "2026-11-20T08:00:01Z",
            "FinishedAt": "0001-01-01T00:00:00Z" if running else "2026-11-20T09:00:00Z",
        },
        **more,
    }


class SocketEngine(SocketServer):
    """The engine: change its attributes to change what it says. *seen* are the requests that would change something."""

    def __init__(self, path: str, containers: t.Sequence[Raw] = ()) -> None:
        super().__init__(path)
        self.docker_host = f"unix://{path}"
        self.containers = {raw["Id"]: raw for raw in containers}
        self.logs: dict[str, bytes] = {}
        self.stats: dict[str, Raw] = {}
        self.info: Raw = {}
        self.usage: Raw = {}
        #: What it answers to a request before all else, by method and path.
        self.answers: dict[str, tuple[int, t.Any]] = {}
        #: What is done when it is asked to prune ``images`` or ``build``.
        self.on_prune: dict[str, t.Callable[[], None]] = {}
        self.seen: list[str] = []

    def add(self, *containers: Raw) -> None:
        """Have more containers."""
        self.containers.update({raw["Id"]: raw for raw in containers})

    def respond(self, handler: Handler, body: bytes) -> None:
        """Answer as an engine with these containers does."""
        handler.send(*self.answer(handler.command, handler.path))

    def answer(self, method: str, url: str) -> tuple[int, bytes]:
        """Return status and body of the answer to one request."""
        path = path_of(url)
        query = {name: values[0] for name, values in urllib.parse.parse_qs(urllib.parse.urlsplit(url).query).items()}
        if method != "GET":
            self.seen.append(f"{method} {path}" + (f" {query['filters']}" if "filters" in query else ""))
        status, body = self.answers.get(f"{method} {path}") or self._found(method, path, query)
        return status, body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()

    def _found(self, method: str, path: str, query: t.Mapping[str, str]) -> tuple[int, t.Any]:
        plain = {"/version": _VERSION, "/info": self.info, "/system/df": self.usage, "/networks": [], "/events": b""}
        if path in plain:
            return 200, plain[path]
        if path == "/containers/json":
            return 200, self._listed(query)
        kind, dummy, rest = path.lstrip("/").partition("/")
        name, dummy, what = rest.partition("/")
        if method == "POST" and rest == "prune":
            self.on_prune.get(kind, lambda: None)()
            return 200, {"SpaceReclaimed": 0}
        if kind != "containers" or name not in self.containers:
            return 404, {"message": f"no such thing: {path}"}
        if method == "DELETE":
            if self.containers[name]["State"]["Status"] == "running":
                return 409, {"message": f"cannot remove container {name}: container is running"}
            del self.containers[name]
            return 204, None
        if what == "logs":
            return 200, frame(1, self.logs.get(name, b""))
        if what == "stats":
            return 200, self.stats.get(name, {})
        return (200, self.containers[name]) if what == "json" else (404, {"message": "no such thing"})

    def _listed(self, query: t.Mapping[str, str]) -> list[Raw]:
        wanted = json.loads(query.get("filters") or "{}").get("label") or []
        entries = [
            {"Id": raw["Id"], "Names": [raw["Name"]], "Image": raw["Config"]["Image"], "State": raw["State"]["Status"], "Labels": raw["Config"]["Labels"]}
            for raw in self.containers.values()
        ]
        return [entry for entry in entries if set(wanted) <= {f"{key}={value}" for key, value in entry["Labels"].items()}]


def running_engine(directory: pathlib.Path, *containers: Raw) -> t.ContextManager[SocketEngine]:
    """Run an engine with a socket in *directory* for the block."""
    socket_path = directory / "engine.sock"
    socket_path.unlink(missing_ok=True)
    return running(SocketEngine(str(socket_path), containers))
