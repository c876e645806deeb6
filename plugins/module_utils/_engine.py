# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The container engine: the only file that talks to Docker (or to Podman's Docker-compatible API).

It stands on the low-level client of the Docker SDK for Python, from 4.1 (Debian 11) on, which is imported when a
connection is made and not before. Every call has a time limit and every answer a bound.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import glob
import importlib
import io
import json
import os
import shutil
import socket
import struct
import sys
import tarfile
import threading
import time
import typing as t

from ._envelope import CheckError
from ._process import Completed, run_side_by_side

DEFAULT_TIMEOUT_SECONDS = 20
_DEFAULT_SOCKET = "/var/run/docker.sock"
_WORKERS = 4
_LOG_KEPT_BYTES = 256 * 1024
_LOG_READ_BYTES = 16 * 1024 * 1024
_EVENTS_BYTES = 2 * 1024 * 1024
_EXEC_OUTPUT_BYTES = 8 * 1024 * 1024
# A stream of the engine is made of frames: one byte for the stream, three zero bytes, a length of four bytes.
_FRAME_HEADER = struct.Struct(">BxxxL")
STDERR_STREAM = 2
_NOT_MODIFIED = 304

Raw = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class EngineOptions:
    """How to reach the engine; the names are those of the usual Docker connection options.

    Without *docker_host* the socket is looked for: Docker's own, then the one of a rootless Docker, then Podman's.
    """

    docker_host: t.Optional[str] = None
    tls: bool = False
    validate_certs: bool = False
    tls_hostname: t.Optional[str] = None
    ca_path: t.Optional[str] = None
    client_cert: t.Optional[str] = None
    client_key: t.Optional[str] = None
    api_version: t.Optional[str] = None
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> EngineOptions:
        """Return the options from a module's parameters, where the time limit is called ``timeout``."""
        names = {field.name for field in dataclasses.fields(cls)}
        given = {name: value for name, value in params.items() if name in names and value is not None}
        if params.get("timeout"):
            given["timeout_seconds"] = float(params["timeout"])
        return cls(**given)

    @classmethod
    def from_environment(cls) -> EngineOptions:
        """Return the options that the Docker client's own environment variables give."""
        certificates = os.environ.get("DOCKER_CERT_PATH")
        verify = os.environ.get("DOCKER_TLS_VERIFY", "") not in ("", "0", "false", "no")

        def certificate(name: str) -> t.Optional[str]:
            return os.path.join(certificates, name) if certificates else None

        return cls(
            docker_host=os.environ.get("DOCKER_HOST") or None,
            tls=os.environ.get("DOCKER_TLS", "") not in ("", "0", "false", "no"),
            validate_certs=verify,
            ca_path=certificate("ca.pem"),
            client_cert=certificate("cert.pem"),
            client_key=certificate("key.pem"),
            api_version=os.environ.get("DOCKER_API_VERSION") or None,
        )


def socket_candidates(uid: t.Optional[int] = None) -> list[str]:
    """Return the paths where an engine's socket may be, most likely first; root also sees those of rootless engines."""
    uid = os.geteuid() if uid is None else uid
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}"
    paths = [_DEFAULT_SOCKET, f"{runtime}/docker.sock", f"/run/user/{uid}/docker.sock"]
    if uid == 0:
        paths += sorted(glob.glob("/run/user/*/docker.sock"))
    paths += ["/run/podman/podman.sock", f"{runtime}/podman/podman.sock"]
    if uid == 0:
        paths += sorted(glob.glob("/run/user/*/podman/podman.sock"))
    return list(dict.fromkeys(paths))


@dataclasses.dataclass(frozen=True)
class HelperSpec:
    """A container of our own beside a stack's, for its image's programs; *binds* are ``path:path[:ro]``.

    It has no capabilities and little weight where processors are scarce.
    """

    name: str
    image: str
    network_mode: str = "none"
    binds: tuple[str, ...] = ()
    labels: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    user: str = "0:0"
    cpu_shares: int = 256
    shm_bytes: int = 256 * 1024 * 1024


class AttachedProcess:
    """A process inside a container, with its streams in our hands."""

    def __init__(self, reader: t.Any, connection: t.Any, source: str, exit_code: t.Callable[[], int]) -> None:
        self._reader = reader
        self._connection = connection
        self.source = source
        self.exit_code = exit_code

    def send(self, data: bytes) -> None:
        """Write to its standard input. Where it ended without reading all, its exit code tells."""
        try:
            self._connection.sendall(data)
        except OSError as error:
            _unless_gone(error, self.source)

    def end_of_input(self) -> None:
        """Close its standard input."""
        try:
            # Of the plain socket: that of a TLS socket takes the encryption away, and the answer is still to come.
            socket.socket.shutdown(self._connection, socket.SHUT_WR)
        except OSError as error:
            _unless_gone(error, self.source)

    def frames(self, deadline: float) -> t.Iterator[tuple[int, bytes]]:
        """Yield (stream, content) until the process ends.

        :raises CheckError: code ``timeout`` when the *deadline* (monotonic) is over.
        """
        return _frames(self._reader, self._connection, deadline, self.source)


class Engine:
    """A connection to one engine. Make it with :meth:`connect`; its methods may be called from several threads."""

    def __init__(self, client: t.Any, docker_host: str, timeout_seconds: float) -> None:
        self._client = client
        self.docker_host = docker_host
        self.timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._version: t.Optional[Raw] = None
        self._info: t.Optional[Raw] = None

    @classmethod
    def connect(cls, options: EngineOptions) -> Engine:
        """Return a connection that has been answered once.

        :raises CheckError: with code ``not-installed``, ``not-running``, ``permission-denied``, ``timeout``,
            ``protocol-error`` or ``sdk-missing`` and, in the hint, what to do about it.
        """
        docker_host = options.docker_host or _find_socket()
        if docker_host.startswith("unix://"):
            _try_socket(docker_host, min(options.timeout_seconds, 5.0))
        docker = _import_sdk()
        with _errors_as_check_error(docker_host):
            client = _client_class(docker)(
                base_url=docker_host,
                version=options.api_version or "auto",
                timeout=options.timeout_seconds,
                tls=_tls_config(docker, options),
            )
        return cls(client, docker_host, options.timeout_seconds)

    # -- the engine itself ------------------------------------------------------------------------------------------

    @property
    def remote(self) -> bool:
        """Whether the engine is on another host, so that its paths and processes are not to be seen here."""
        return not self.docker_host.startswith("unix://")

    @property
    def api_version(self) -> str:
        """The API version that was agreed on."""
        return str(self._client.api_version)

    @property
    def version(self) -> str:
        """The engine's version, e.g. ``26.1.5``."""
        return str(self.version_info().get("Version", ""))

    @property
    def flavour(self) -> str:
        """``docker`` or ``podman``."""
        names = [str(component.get("Name", "")) for component in self.version_info().get("Components") or []]
        return "podman" if any("podman" in name.lower() for name in names) else "docker"

    @property
    def rootless(self) -> bool:
        """Whether the engine runs without root, so that its networks are in a name space of their own."""
        info = self.info()
        return bool(info.get("Rootless")) or any("rootless" in str(option) for option in info.get("SecurityOptions") or [])

    def version_info(self) -> Raw:
        """Return the answer to ``GET /version``; asked once."""
        with self._lock:
            if self._version is None:
                self._version = self._ask("version", self._client.version)
            return self._version

    def info(self) -> Raw:
        """Return the answer to ``GET /info``; asked once."""
        with self._lock:
            if self._info is None:
                self._info = self._ask("info", self._client.info)
            return self._info

    def disk_usage(self) -> Raw:
        """Return the answer to ``GET /system/df``. An engine with much to count takes long over it."""
        return t.cast(Raw, self._ask("disk usage", self._client.df))

    def networks(self) -> list[Raw]:
        """Return the engine's networks with their options and subnets."""
        return t.cast(list[Raw], self._ask("networks", self._client.networks))

    # -- containers and images --------------------------------------------------------------------------------------

    def containers(self, include_stopped: bool = True, labels: t.Sequence[str] = ()) -> list[Raw]:
        """Return the engine's list of containers; *labels* (``key`` or ``key=value``) must all be there."""
        filters = {"label": list(labels)} if labels else None
        return t.cast(list[Raw], self._ask("containers", lambda: self._client.containers(all=include_stopped, filters=filters)))

    def inspect(self, container_id: str) -> Raw:
        """Return everything about one container.

        :raises CheckError: code ``not-found`` where it is gone.
        """
        return t.cast(Raw, self._ask(f"container {container_id}", lambda: self._client.inspect_container(container_id)))

    def inspect_many(self, ids: t.Sequence[str], listed: t.Sequence[Raw] = ()) -> list[Raw]:
        """Inspect all *ids* side by side, in their order; what has vanished since is left out.

        The engine says nothing of a container while it starts it, which takes long on a busy host. Where it does not answer
        in time, what :meth:`containers` gave (*listed*) stands in: a container that is there must not look as if it was not.
        """
        gone: set[str] = set()
        answers = self._each(ids, self.inspect, gone)
        answers.update({str(entry["Id"]): _as_inspected(entry) for entry in listed if entry["Id"] not in answers and entry["Id"] not in gone})
        return [answers[container_id] for container_id in ids if container_id in answers]

    def image(self, reference: str) -> t.Optional[Raw]:
        """Return what the engine knows of an image, or ``None`` where it has none of that name."""
        try:
            return t.cast(Raw, self._ask(f"image {reference}", lambda: self._client.inspect_image(reference)))
        except CheckError as error:
            if error.code == "not-found":
                return None
            raise

    def image_history(self, reference: str) -> list[Raw]:
        """Return the steps that an image was made by, the newest first."""
        return t.cast(list[Raw], self._ask(f"image {reference}", lambda: self._client.history(reference)))

    def save_image(self, reference: str, file: t.IO[bytes], limit_bytes: int, timeout_seconds: float) -> int:
        """Write an image to *file* as the archive that ``docker save`` makes, and return its size.

        :raises CheckError: it is larger than *limit_bytes* (``too-large``), or takes too long (``timeout``).
        """
        source = f"image {reference}"
        deadline = time.monotonic() + timeout_seconds
        written = 0
        with self._stream("GET", f"/images/{reference}/get", headers={"Accept-Encoding": "identity"}) as response:
            for piece in response.iter_content(1024 * 1024):
                written += file.write(piece)
                if written > limit_bytes:
                    raise CheckError(source, f"its archive has more than {limit_bytes} bytes", "Allow more, or install a scanner on its host.", "too-large")
                if time.monotonic() > deadline:
                    raise CheckError(source, f"not saved within {timeout_seconds:g} s", "Allow more time.", "timeout")
        return written

    def stats_once(self, ids: t.Sequence[str]) -> dict[str, Raw]:
        """Return one sample of the counters of each container; those without an answer are left out.

        A single sample has no CPU percentage in it: that is the difference of two. The engine would wait a second
        to make one by itself, for every container.
        """

        def sample(container_id: str) -> Raw:
            return t.cast(Raw, self._get_json(f"/containers/{container_id}/stats", {"stream": "false", "one-shot": "true"}))

        return self._each(ids, sample)

    def events(self, since: float, until: float, container_ids: t.Sequence[str]) -> list[Raw]:
        """Return what the engine remembers to have happened to containers, oldest first.

        It remembers its last 256 events only, and every health probe makes three: what is not there may have been.
        """
        filters = json.dumps({"type": ["container"], "container": list(container_ids), "event": ["kill", "oom", "stop", "die"]})
        params = {"since": f"{since:.9f}", "until": f"{until:.9f}", "filters": filters}
        with self._stream("GET", "/events", params=params) as response:
            body = response.raw.read(_EVENTS_BYTES, decode_content=True)
        return [json.loads(line) for line in body.splitlines() if line.startswith(b"{") and line.endswith(b"}")]

    def logs_tail(self, container_id: str, lines: int, since: t.Optional[float] = None, timestamps: bool = False) -> bytes:
        """Return the last *lines* of both streams of a container's log, at most 256 KiB of them (the newest).

        With *timestamps*, every line begins with the time at which the engine took it, and a space.
        """
        params: dict[str, t.Any] = {"stdout": 1, "stderr": 1, "tail": lines}
        if timestamps:
            params["timestamps"] = 1
        if since is not None:
            params["since"] = f"{since:.9f}"
        kept = bytearray()
        with self._stream("GET", f"/containers/{container_id}/logs", params=params) as response:
            for piece in _demultiplexed(_Counted(response, _LOG_READ_BYTES)):
                kept += piece
                if len(kept) > 2 * _LOG_KEPT_BYTES:
                    del kept[:-_LOG_KEPT_BYTES]
        return bytes(kept[-_LOG_KEPT_BYTES:])

    def read_archive(self, container_id: str, path: str, limit_bytes: int) -> dict[str, bytes]:
        """Return the regular files at or under *path* inside a container, by path; a stopped container has them too.

        Reading ends after *limit_bytes* of content: what comes later is left out.

        :raises CheckError: code ``not-found`` where the path is not there.
        """
        # Asked for nothing else, the engine compresses the archive.
        headers = {"Accept-Encoding": "identity"}
        with self._stream("GET", f"/containers/{container_id}/archive", params={"path": path}, headers=headers) as response:
            parent = os.path.dirname(path.rstrip("/")) or "/"
            return _files_of_archive(response, parent, limit_bytes)

    def exec(
        self,
        container_id: str,
        argv: t.Sequence[str],
        timeout_seconds: float,
        user: str = "",
        env: t.Optional[t.Mapping[str, str]] = None,
        stdin: t.Optional[bytes] = None,
        workdir: str = "",
    ) -> Completed:
        """Run *argv* inside a running container (in *workdir*, else its own) and return what it gave back, whatever its exit code.

        *env* and *stdin* travel in the body of the request and show in no argument list of the host. The engine's
        API cannot kill such a process: after *timeout_seconds* it is left to itself.

        :raises CheckError: code ``timeout``, or ``not-found`` and ``not-running`` where the container is not.
        """
        deadline = time.monotonic() + timeout_seconds
        stdout, stderr = bytearray(), bytearray()
        with self.attached_exec(container_id, argv, timeout_seconds, user, env, stdin is not None, workdir) as process:
            if stdin is not None:
                process.send(stdin)
                process.end_of_input()
            for stream, piece in process.frames(deadline):
                (stderr if stream == STDERR_STREAM else stdout).extend(piece)
                if len(stdout) + len(stderr) > _EXEC_OUTPUT_BYTES:
                    raise CheckError(process.source, f"gave more than {_EXEC_OUTPUT_BYTES} bytes", "", "protocol-error")
        return Completed(tuple(argv), process.exit_code(), bytes(stdout), bytes(stderr))

    @contextlib.contextmanager
    def attached_exec(
        self,
        container_id: str,
        argv: t.Sequence[str],
        timeout_seconds: float,
        user: str = "",
        env: t.Optional[t.Mapping[str, str]] = None,
        stdin: bool = True,
        workdir: str = "",
    ) -> t.Iterator[AttachedProcess]:
        """Run *argv* inside a running container with its streams in the block's hands; see :meth:`exec`.

        At the end of the block its standard input ends, however the block and this process end.
        """
        source = f"container {container_id}: {argv[0]}"
        options = {"stdin": stdin, "user": user, "environment": dict(env) if env else None, "workdir": workdir or None}
        command = self._ask(source, lambda: self._client.exec_create(container_id, list(argv), **options))
        body = {"Detach": False, "Tty": False}
        with self._upgraded(f"/exec/{command['Id']}/start", timeout_seconds, json=body) as (reader, connection):
            yield AttachedProcess(reader, connection, source, lambda: self._exec_exit_code(source, command["Id"]))

    def _exec_exit_code(self, source: str, exec_id: str) -> int:
        exit_code = self._ask(source, lambda: self._client.exec_inspect(exec_id)).get("ExitCode")
        return -1 if exit_code is None else int(exit_code)

    # -- changing what runs -----------------------------------------------------------------------------------------

    def start(self, container_id: str) -> None:
        """Start a container; one that runs already stays as it is."""
        self._ask(f"container {container_id}", lambda: self._client.start(container_id))

    def stop(self, container_id: str, grace_seconds: t.Optional[int] = None) -> None:
        """Stop a container with its own stop signal and grace period, or *grace_seconds*; one that is stopped stays as it is."""
        limit = (grace_seconds or 300) + self.timeout_seconds
        params = {} if grace_seconds is None else {"t": grace_seconds}
        with _errors_as_check_error(f"container {container_id}"):
            response = self._client.post(self._url(f"/containers/{container_id}/stop"), params=params, timeout=limit)
            if response.status_code != _NOT_MODIFIED:
                _raise_for_status(response, f"container {container_id}")

    def pause(self, container_id: str) -> None:
        """Freeze the processes of a container."""
        self._ask(f"container {container_id}", lambda: self._client.pause(container_id))

    def unpause(self, container_id: str) -> None:
        """Let the processes of a container go on."""
        self._ask(f"container {container_id}", lambda: self._client.unpause(container_id))

    def remove(self, container_id: str) -> None:
        """Kill and remove a container with its anonymous volumes; one that is gone is fine."""
        try:
            self._ask(f"container {container_id}", lambda: self._client.remove_container(container_id, v=True, force=True))
        except CheckError as error:
            # 409: its removal is under way already.
            if error.code not in ("not-found", "not-running"):
                raise

    def remove_stopped(self, container_id: str) -> None:
        """Remove a container that does not run, and leave its volumes; one that is gone is fine.

        :raises CheckError: code ``not-running`` where it runs, or its removal is under way.
        """
        try:
            self._ask(f"container {container_id}", lambda: self._client.remove_container(container_id, v=False, force=False))
        except CheckError as error:
            if error.code != "not-found":
                raise

    def tag(self, image: str, repository: str, tag: str = "latest") -> None:
        """Give an image one more name."""
        self._ask(f"image {image}", lambda: self._client.tag(image, repository, tag))

    def remove_image(self, reference: str) -> None:
        """Take a name from an image, and the image away with its last one; one that is gone is fine."""
        try:
            self._ask(f"image {reference}", lambda: self._client.remove_image(reference))
        except CheckError as error:
            if error.code != "not-found":
                raise

    def prune(self, what: str, filters: t.Mapping[str, t.Sequence[str]], timeout_seconds: float) -> Raw:
        """Remove what is not used of *what* (``images`` or ``build``) and matches *filters*; never asked for volumes.

        :raises CheckError: code ``not-found`` where the engine has no such thing.
        """
        with _errors_as_check_error(f"prune {what}"):
            response = self._client.post(self._url(f"/{what}/prune"), params={"filters": json.dumps(dict(filters))}, timeout=timeout_seconds)
            _raise_for_status(response, f"prune {what}")
            return t.cast(Raw, response.json())

    @contextlib.contextmanager
    def helper(self, spec: HelperSpec) -> t.Iterator[str]:
        """Run a container of our own for the block and yield its id.

        Its main process reads the input that this process holds, so that the engine ends it, and all that was started in
        it, together with the block or with this process, even by SIGKILL.
        """
        source = f"container {spec.name}"
        host_config = self._ask(
            source,
            lambda: self._client.create_host_config(
                network_mode=spec.network_mode,
                binds=list(spec.binds),
                auto_remove=True,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges", "label=disable"],
                cpu_shares=spec.cpu_shares,
                oom_score_adj=500,
                shm_size=spec.shm_bytes,
            ),
        )
        created = self._ask(
            source,
            lambda: self._client.create_container(
                spec.image,
                name=spec.name,
                labels=dict(spec.labels),
                entrypoint=["cat"],
                command=[],
                stdin_open=True,
                user=spec.user,
                healthcheck={"test": ["NONE"]},
                host_config=host_config,
            ),
        )
        try:
            parameters = {"stdin": 1, "stream": 1}
            with self._upgraded(f"/containers/{created['Id']}/attach", self.timeout_seconds, params=parameters):
                self.start(created["Id"])
                yield str(created["Id"])
        finally:
            self.remove(created["Id"])

    # -- how it asks ------------------------------------------------------------------------------------------------

    def _ask(self, source: str, call: t.Callable[[], t.Any]) -> t.Any:
        with _errors_as_check_error(source):
            return call()

    def _url(self, path: str) -> str:
        return f"{self._client.base_url}/v{self._client.api_version}{path}"

    def _get_json(self, path: str, params: t.Mapping[str, t.Any]) -> t.Any:
        with _errors_as_check_error(path):
            response = self._client.get(self._url(path), params=params, timeout=self.timeout_seconds)
            _raise_for_status(response, path)
            return response.json()

    @contextlib.contextmanager
    def _stream(self, method: str, path: str, timeout: t.Optional[float] = None, **arguments: t.Any) -> t.Iterator[t.Any]:
        with _errors_as_check_error(path):
            response = self._client.request(method, self._url(path), stream=True, timeout=timeout or self.timeout_seconds, **arguments)
            try:
                _raise_for_status(response, path)
                yield response
            finally:
                response.close()

    @contextlib.contextmanager
    def _upgraded(self, path: str, timeout: float, **arguments: t.Any) -> t.Iterator[tuple[t.Any, t.Any]]:
        """Make a request whose connection becomes a stream in both directions; yield its reader and its socket."""
        headers = {"Connection": "Upgrade", "Upgrade": "tcp"}
        with self._stream("POST", path, headers=headers, timeout=timeout, **arguments) as response:
            # The body of an upgraded connection is not HTTP's any more: read on where the headers ended.
            reader = response.raw._fp.fp
            yield reader, reader.raw._sock

    def _each(self, ids: t.Sequence[str], function: t.Callable[[str], Raw], gone: t.Optional[set[str]] = None) -> dict[str, Raw]:
        """Call *function* for every id from a few threads; an id that fails is left out, unless all do.

        *gone* gets those that the engine says are not there.
        """
        waiting = iter(list(ids))
        lock = threading.Lock()
        answers: dict[str, Raw] = {}
        failures: list[CheckError] = []

        def work() -> None:
            while True:
                with lock:
                    container_id = next(waiting, None)
                if container_id is None:
                    return
                try:
                    answers[container_id] = function(container_id)
                except CheckError as error:
                    if error.code != "not-found":
                        failures.append(error)
                    elif gone is not None:
                        gone.add(container_id)

        if len(ids) == 1:
            work()
        else:
            run_side_by_side({f"engine-{number}": work for number in range(min(_WORKERS, len(ids)))}, self.timeout_seconds)
        if failures and not answers:
            raise failures[0]
        return dict(answers)


def _as_inspected(entry: Raw) -> Raw:
    """Return what the engine's list says of a container in the form of its inspect answer, as far as it goes."""
    return {
        "Id": entry["Id"],
        "Name": (entry.get("Names") or [""])[0],
        "Image": entry.get("ImageID"),
        "State": {"Status": entry.get("State")},
        "Config": {"Image": entry.get("Image"), "Labels": entry.get("Labels") or {}},
        "HostConfig": {},
        "NetworkSettings": {"Networks": (entry.get("NetworkSettings") or {}).get("Networks") or {}},
        "Mounts": entry.get("Mounts") or [],
    }


# -- finding and trying the socket ----------------------------------------------------------------------------------


def _find_socket() -> str:
    candidates = socket_candidates()
    there = [path for path in candidates if os.path.exists(path)]
    # One's own engine serves where root's is for root alone.
    usable = [path for path in there if os.access(path, os.R_OK | os.W_OK)] or there
    if usable:
        return f"unix://{usable[0]}"
    tried = ", ".join(candidates)
    if any(shutil.which(name) for name in ("dockerd", "docker", "podman")):
        raise CheckError(
            _DEFAULT_SOCKET,
            f"the engine is not running: no socket at {tried}",
            "Start it: sudo systemctl start docker (Podman: sudo systemctl start podman.socket), or name it in docker_host.",
            "not-running",
        )
    raise CheckError(
        _DEFAULT_SOCKET,
        f"no container engine: no socket at {tried}, no docker or podman in PATH",
        "Install Docker Engine and Compose (playbook stackops.runbook.prepare_host), or name the engine in docker_host.",
        "not-installed",
    )


def _try_socket(docker_host: str, timeout_seconds: float) -> None:
    """Open the socket once: its errors are clear, those that come out of the SDK are wrapped several times."""
    path = docker_host[len("unix://") :]
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.settimeout(timeout_seconds)
        try:
            probe.connect(path if path.startswith("/") else f"/{path}")
        except OSError as error:
            raise _connection_error(docker_host, error) from error


def _connection_error(source: str, error: BaseException) -> CheckError:
    if isinstance(error, PermissionError):
        group = "" if "podman" in source else " (Members of the docker group may use it as well, but that group means root.)"
        return CheckError(source, "permission denied", f"Run with become: true.{group}", "permission-denied")
    if isinstance(error, socket.timeout):
        return CheckError(source, "no answer in time", "Look at the engine: sudo systemctl status docker", "timeout")
    start = f"start the engine: sudo systemctl start {'podman.socket' if 'podman' in source else 'docker'}"
    if isinstance(error, FileNotFoundError):
        return CheckError(source, "no such socket", f"Correct docker_host, or {start}", "not-running")
    reason = getattr(error, "strerror", None) or str(error)
    return CheckError(source, str(reason), f"S{start[1:]}", "not-running")


def _import_sdk() -> t.Any:
    try:
        with _plain_distutils():
            docker = importlib.import_module("docker")
    except ImportError as error:
        raise CheckError(
            "Docker SDK for Python",
            f"{error} in {sys.executable}",
            f"Install the package python3-docker, or pip install docker into {sys.executable}; another interpreter is chosen by ansible_python_interpreter.",
            "sdk-missing",
        ) from error
    if not hasattr(docker, "APIClient"):
        raise CheckError(
            "Docker SDK for Python",
            f"what {sys.executable} imports as docker is not the SDK: {getattr(docker, '__file__', None) or 'a directory without code'}",
            "Install the package python3-docker, and remove or rename what hides it.",
            "sdk-missing",
        )
    return docker


def _client_class(docker: t.Any) -> t.Any:
    """Return the SDK's client, deaf to the environment of its HTTP library.

    REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE would take the place of *ca_path*, and switch verification on where it is off;
    a proxy cannot pass on what `exec` needs; and looking for all that takes time on every request.
    """
    return type("Client", (docker.APIClient,), {"trust_env": property(lambda client: False, lambda client, value: None)})


@contextlib.contextmanager
def _plain_distutils() -> t.Iterator[None]:
    """Keep setuptools out of ``import distutils`` (which SDKs before 6 do): it takes longer than all the rest."""
    hack = sys.modules.get("_distutils_hack")
    if hack is None or sys.version_info >= (3, 12) or not hasattr(hack, "remove_shim"):
        yield
        return
    hack.remove_shim()
    try:
        yield
    finally:
        hack.add_shim()


def _tls_config(docker: t.Any, options: EngineOptions) -> t.Any:
    if not (options.tls or options.validate_certs):
        return False
    arguments: dict[str, t.Any] = {"verify": options.validate_certs}
    if options.client_cert and options.client_key:
        arguments["client_cert"] = (options.client_cert, options.client_key)
    if options.ca_path:
        arguments["ca_cert"] = options.ca_path
    if options.tls_hostname is not None:
        arguments["assert_hostname"] = options.tls_hostname
    try:
        return docker.tls.TLSConfig(**arguments)
    except TypeError:
        # From version 7 on the SDK leaves the check of the name to the certificate.
        arguments.pop("assert_hostname", None)
        return docker.tls.TLSConfig(**arguments)


# -- errors ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _errors_as_check_error(source: str) -> t.Iterator[None]:
    """Turn what the SDK and its HTTP library raise into one :class:`CheckError` with a code."""
    try:
        yield
    except CheckError:
        raise
    except Exception as error:  # pylint: disable=broad-except  # four libraries' exceptions, none imported here
        raise _classified(source, error) from error


def _classified(source: str, error: BaseException) -> CheckError:
    status = getattr(error, "status_code", None)
    if status is not None:
        return _http_error(source, int(status), str(getattr(error, "explanation", None) or error))
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, (PermissionError, socket.timeout, ConnectionRefusedError, FileNotFoundError)):
            return _connection_error(source, link)
    if any("timed out" in str(link).lower() for link in chain):
        return _connection_error(source, socket.timeout())
    text = str(error)
    if "Name or service not known" in text or "getaddrinfo" in text or "NameResolutionError" in text:
        return CheckError(source, text, "Correct docker_host: its name does not resolve.", "not-running")
    if "SSL" in text or "certificate" in text:
        return CheckError(source, text, "Correct ca_path, client_cert, client_key and tls_hostname, or the scheme of docker_host.", "protocol-error")
    code = "not-running" if any(isinstance(link, OSError) and "onnection" in type(link).__name__ for link in chain) else "protocol-error"
    return CheckError(source, text or type(error).__name__, "Ask the engine by hand: docker version", code)


def _chain(error: t.Optional[BaseException]) -> t.Iterator[BaseException]:
    """Yield an exception, what caused it and the exceptions in its arguments, where libraries hide the real one."""
    seen: set[int] = set()
    waiting: list[t.Optional[BaseException]] = [error]
    while waiting:
        link = waiting.pop(0)
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        waiting += [link.__cause__, link.__context__, getattr(link, "reason", None)]
        waiting += [argument for argument in link.args if isinstance(argument, BaseException)]
        waiting = [entry for entry in waiting if isinstance(entry, BaseException)]


def _http_error(source: str, status: int, text: str) -> CheckError:
    if status == 404:
        return CheckError(source, text, "", "not-found")
    if status == 409:
        return CheckError(source, text, "", "not-running")
    if status in (401, 403):
        return CheckError(source, text, "The engine's authorisation refuses this call: use another user or certificate.", "permission-denied")
    return CheckError(source, f"{text} (HTTP {status})", "Look at the engine's log: sudo journalctl -u docker -n 50", "protocol-error")


def _raise_for_status(response: t.Any, source: str) -> None:
    if response.status_code >= 400:
        try:
            text = str(response.json().get("message", response.reason))
        except ValueError:
            text = str(response.reason)
        raise _http_error(source, int(response.status_code), text)


# -- streams --------------------------------------------------------------------------------------------------------


class _Counted:
    """The body of a response as a file that ends after a number of bytes."""

    def __init__(self, response: t.Any, limit_bytes: int) -> None:
        self._body = response.raw
        self._left = limit_bytes

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data: bytes = self._body.read(wanted) if wanted else b""
        self._left -= len(data)
        return data


def _demultiplexed(body: _Counted) -> t.Iterator[bytes]:
    """Yield the content of both streams in order; the log of a container with a terminal has no frames."""
    header = body.read(_FRAME_HEADER.size)
    if header and not _is_frame_header(header):
        while header:
            yield header
            header = body.read(65536)
        return
    while len(header) == _FRAME_HEADER.size:
        left = _FRAME_HEADER.unpack(header)[1]
        while left:
            piece = body.read(min(left, 65536))
            if not piece:
                return
            yield piece
            left -= len(piece)
        header = body.read(_FRAME_HEADER.size)


def _is_frame_header(header: bytes) -> bool:
    return len(header) == _FRAME_HEADER.size and header[0] <= STDERR_STREAM and header[1:4] == b"\0\0\0"


def _frames(reader: t.Any, connection: t.Any, deadline: float, source: str) -> t.Iterator[tuple[int, bytes]]:
    """Yield (stream, content) until the other side closes or the *deadline* (monotonic) is over."""

    def read(size: int) -> bytes:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise CheckError(source, "not finished in time", "Run it by hand and see where it hangs.", "timeout")
        connection.settimeout(remaining)
        data: bytes = reader.read(size)
        return data

    while True:
        header = read(_FRAME_HEADER.size)
        if len(header) < _FRAME_HEADER.size:
            return
        stream, size = _FRAME_HEADER.unpack(header)
        if size > _EXEC_OUTPUT_BYTES:
            raise CheckError(source, "the engine's stream is not made of frames", "", "protocol-error")
        yield stream, read(size)


def _unless_gone(error: OSError, source: str) -> None:
    if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN):
        raise CheckError(source, f"could not send its input: {error}", "", "protocol-error") from error


class _Unseekable(io.RawIOBase):
    """A response as a file for :mod:`tarfile`, which wants full reads."""

    def __init__(self, response: t.Any) -> None:
        super().__init__()
        self._body = response.raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any) -> int:
        data = self._body.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _files_of_archive(response: t.Any, parent: str, limit_bytes: int) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    left = limit_bytes
    with tarfile.open(fileobj=io.BufferedReader(_Unseekable(response), 65536), mode="r|") as archive:
        for member in archive:
            if member.isfile() and member.size > left:
                break
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                files[os.path.normpath(os.path.join(parent, member.name))] = content.read()
                left -= member.size
    return files
