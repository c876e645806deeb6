# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections that fail, and the engine's streams, over real sockets. With a real engine: tests/live."""

from __future__ import annotations

import http.server
import io
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tarfile
import threading
import time
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _engine
from ansible_collections.stackops.runbook.plugins.module_utils._engine import Engine, EngineOptions, socket_candidates
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.tests.support.engine_socket import Answers, Handler, Server, frame, serving, upgraded

pytest.importorskip("docker", reason="the Docker SDK for Python is not installed")


def archive(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def server(tmp_path: pathlib.Path) -> t.Iterator[Server]:
    with serving(tmp_path) as running:
        yield running


@pytest.fixture
def engine(server: Server) -> Engine:
    return Engine.connect(EngineOptions(docker_host=f"unix://{server.server_address}", timeout_seconds=2))


def failure(options: EngineOptions) -> CheckError:
    with pytest.raises(CheckError) as caught:
        Engine.connect(options)
    return caught.value


# -- connecting -----------------------------------------------------------------------------------------------------


def test_socket_absent() -> None:
    error = failure(EngineOptions(docker_host="unix:///nosuch/engine.sock"))
    assert (error.code, error.reason) == ("not-running", "no such socket")
    assert "systemctl start docker" in error.hint


def test_nobody_listens(tmp_path: pathlib.Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(tmp_path / "podman.sock"))
    error = failure(EngineOptions(docker_host=f"unix://{tmp_path}/podman.sock"))
    assert error.code == "not-running" and "podman.socket" in error.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
def test_socket_forbidden(server: Server) -> None:
    os.chmod(str(server.server_address), 0o600)
    os.chmod(os.path.dirname(str(server.server_address)), 0o755)
    os.seteuid(65534)
    try:
        error = failure(EngineOptions(docker_host=f"unix://{server.server_address}"))
    finally:
        os.seteuid(0)
    assert error.code == "permission-denied"
    assert "become" in error.hint and "means root" in error.hint


def test_an_engine_that_never_answers(server: Server) -> None:
    server.answers["/version"] = lambda handler: time.sleep(6)
    began = time.monotonic()
    error = failure(EngineOptions(docker_host=f"unix://{server.server_address}", timeout_seconds=0.3))
    assert error.code == "timeout"
    assert time.monotonic() - began < 5


def test_something_else_listens(server: Server) -> None:
    server.answers["/version"] = (200, b"<html>hello</html>")
    assert failure(EngineOptions(docker_host=f"unix://{server.server_address}")).code == "protocol-error"


def test_remote_engine_refuses() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert failure(EngineOptions(docker_host=f"tcp://127.0.0.1:{port}", timeout_seconds=2)).code == "not-running"


def test_no_engine_on_the_host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_engine, "socket_candidates", lambda: [str(tmp_path / "nosuch.sock")])
    monkeypatch.setenv("PATH", str(tmp_path))
    error = failure(EngineOptions())
    assert error.code == "not-installed" and "prepare_host" in error.hint
    (tmp_path / "docker").write_text("#!/bin/sh\n", encoding="utf-8")
    (tmp_path / "docker").chmod(0o755)
    error = failure(EngineOptions())
    assert error.code == "not-running" and "systemctl start docker" in error.hint


def test_the_sdk_is_missing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    error = failure(EngineOptions(docker_host=f"unix://{server.server_address}"))
    assert error.code == "sdk-missing"
    assert "python3-docker" in error.hint and sys.executable in error.hint


def test_a_directory_called_docker_is_not_the_sdk(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "docker", type(sys)("docker"))
    assert failure(EngineOptions(docker_host=f"unix://{server.server_address}")).code == "sdk-missing"


def test_where_the_socket_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert socket_candidates(1000) == ["/var/run/docker.sock", "/run/user/1000/docker.sock", "/run/podman/podman.sock", "/run/user/1000/podman/podman.sock"]


def test_ones_own_engine_serves_where_root_s_is_for_root_alone(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots, own = tmp_path / "docker.sock", tmp_path / "own.sock"
    monkeypatch.setattr(_engine, "socket_candidates", lambda: [str(roots), str(own)])
    roots.touch()
    own.touch()
    # Tests run as root too, who may do everything.
    monkeypatch.setattr(os, "access", lambda path, mode: path == str(own))
    assert _engine._find_socket() == f"unix://{own}"
    own.unlink()
    assert _engine._find_socket() == f"unix://{roots}"


def test_options_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"DOCKER_HOST": "tcp://192.0.2.1:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs"}.items():
        monkeypatch.setenv(name, value)
    options = EngineOptions.from_environment()
    assert (options.docker_host, options.validate_certs, options.ca_path) == ("tcp://192.0.2.1:2376", True, "/certs/ca.pem")


def test_options_from_parameters() -> None:
    options = EngineOptions.from_params({"docker_host": None, "timeout": 7, "tls": True, "log_tail": 3})
    assert options == EngineOptions(timeout_seconds=7.0, tls=True)


# -- by TLS --------------------------------------------------------------------------------------------------------


class TcpServer(Answers, http.server.ThreadingHTTPServer):
    """The same answers over TCP, by TLS."""

    daemon_threads = True

    def __init__(self, certificate: pathlib.Path, key: pathlib.Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.answers = {"/version": (200, b'{"ApiVersion": "1.45", "Version": "26.1.5"}')}


def self_signed(directory: pathlib.Path, name: str) -> tuple[pathlib.Path, pathlib.Path]:
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(key), "-out", str(certificate), *names]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return certificate, key


@pytest.fixture
def tls_server(tmp_path: pathlib.Path) -> t.Iterator[TcpServer]:
    with TcpServer(*self_signed(tmp_path, "server")) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield running
        running.shutdown()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl")
def test_tls_with_and_without_verification(tls_server: TcpServer, tmp_path: pathlib.Path) -> None:
    docker_host = f"tcp://127.0.0.1:{tls_server.server_address[1]}"
    ca_path = str(tmp_path / "server.pem")
    verified = Engine.connect(EngineOptions(docker_host=docker_host, validate_certs=True, ca_path=ca_path, timeout_seconds=5))
    assert verified.version == "26.1.5" and verified.remote
    assert Engine.connect(EngineOptions(docker_host=docker_host, tls=True, timeout_seconds=5)).version == "26.1.5"
    with_name = EngineOptions(docker_host=docker_host, validate_certs=True, ca_path=ca_path, tls_hostname="localhost", timeout_seconds=5)
    assert Engine.connect(with_name).version == "26.1.5"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl")
def test_a_certificate_of_another_authority(tls_server: TcpServer, tmp_path: pathlib.Path) -> None:
    other, dummy = self_signed(tmp_path, "other")
    docker_host = f"tcp://127.0.0.1:{tls_server.server_address[1]}"
    error = failure(EngineOptions(docker_host=docker_host, validate_certs=True, ca_path=str(other), timeout_seconds=5))
    assert error.code == "protocol-error" and "ca_path" in error.hint


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl")
def test_exec_with_input_by_tls(tls_server: TcpServer) -> None:
    answers = tls_server.answers
    answers["/containers/a/exec"] = (201, b'{"Id": "e1"}')
    answers["/exec/e1/start"] = upgraded(frame(1, b"answer"))
    answers["/exec/e1/json"] = (200, b'{"ExitCode": 0}')
    engine = Engine.connect(EngineOptions(docker_host=f"tcp://127.0.0.1:{tls_server.server_address[1]}", tls=True, timeout_seconds=5))
    assert engine.exec("a", ["cat"], 5, stdin=b"question").stdout == b"answer"


# -- what it says of itself ----------------------------------------------------------------------------------------


def test_flavour_and_rootless(server: Server, engine: Engine) -> None:
    server.answers["/info"] = (200, b'{"SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]}')
    assert (engine.version, engine.api_version, engine.flavour, engine.rootless, engine.remote) == ("26.1.5", "1.45", "docker", True, False)


def test_podman_is_known_by_its_component(server: Server) -> None:
    server.answers["/version"] = (200, b'{"ApiVersion": "1.41", "Version": "5.4.2", "Components": [{"Name": "Podman Engine"}]}')
    assert Engine.connect(EngineOptions(docker_host=f"unix://{server.server_address}")).flavour == "podman"


# -- containers -----------------------------------------------------------------------------------------------------


def test_inspect_many_keeps_the_order_and_leaves_out_what_vanished(server: Server, engine: Engine) -> None:
    ids = [f"{number:02}" for number in range(20)]
    for container_id in ids[::2]:
        server.answers[f"/containers/{container_id}/json"] = (200, json.dumps({"Id": container_id}).encode())
    assert [raw["Id"] for raw in engine.inspect_many(ids)] == ids[::2]
    assert engine.inspect_many([]) == []


def test_a_container_that_the_engine_says_nothing_of_is_still_there(server: Server) -> None:
    over = threading.Event()

    def silent(dummy: t.Any) -> None:
        over.wait(60)

    listed = [
        {"Id": name, "Names": [f"/shop-{name}-1"], "State": "restarting", "Image": "shop/api:1", "Labels": {"com.docker.compose.service": name}}
        for name in ("api", "db", "old")
    ]
    server.answers["/containers/api/json"] = silent
    server.answers["/containers/db/json"] = (200, json.dumps({"Id": "db"}).encode())
    engine = Engine.connect(EngineOptions(docker_host=f"unix://{server.server_address}", timeout_seconds=1))
    try:
        found = engine.inspect_many(["api", "db", "old"], listed)
    finally:
        over.set()
    assert [raw["Id"] for raw in found] == ["api", "db"]
    assert found[0]["State"] == {"Status": "restarting"}
    assert found[0]["Config"] == {"Image": "shop/api:1", "Labels": {"com.docker.compose.service": "api"}}


def test_an_engine_that_fails_for_all_says_so(server: Server, engine: Engine) -> None:
    server.answers["/containers/a/json"] = (500, b'{"message": "disk is broken"}')
    with pytest.raises(CheckError) as caught:
        engine.inspect_many(["a", "a"])
    assert caught.value.code == "protocol-error" and "disk is broken" in caught.value.reason


def test_an_image_that_is_not_there(engine: Engine) -> None:
    assert engine.image("nosuch:1") is None


def test_stats_are_asked_for_once_without_waiting(server: Server, engine: Engine) -> None:
    server.answers["/containers/a/stats"] = (200, b'{"read": "x"}')
    assert engine.stats_once(["a"]) == {"a": {"read": "x"}}
    assert "one-shot=true" in server.seen[-1][0] and "stream=false" in server.seen[-1][0]


def test_both_streams_of_a_log_in_order(server: Server, engine: Engine) -> None:
    server.answers["/containers/a/logs"] = (200, frame(1, b"one\n") + frame(2, b"two\n") + frame(1, b""))
    assert engine.logs_tail("a", 10, since=12.5) == b"one\ntwo\n"
    assert "tail=10" in server.seen[-1][0] and "since=12.5" in server.seen[-1][0]


def test_a_log_of_a_terminal_has_no_frames(server: Server, engine: Engine) -> None:
    server.answers["/containers/a/logs"] = (200, b"plain text of a terminal\r\n")
    assert engine.logs_tail("a", 10) == b"plain text of a terminal\r\n"


@pytest.mark.parametrize("content", [b"", b"\1\0\0", frame(1, b"whole") + b"\1\0\0\0\0\0\0\x09cut"])
def test_a_log_that_is_cut_short(server: Server, engine: Engine, content: bytes) -> None:
    server.answers["/containers/a/logs"] = (200, content)
    assert b"cut" in engine.logs_tail("a", 10) or len(content) < 8


def test_a_log_with_very_long_lines_keeps_its_end(server: Server, engine: Engine) -> None:
    body = b"".join(frame(1, b"x" * 16384) for dummy in range(80)) + frame(1, b"\nthe end\n")
    server.answers["/containers/a/logs"] = (200, body)
    tail = engine.logs_tail("a", 10)
    assert tail.endswith(b"\nthe end\n") and len(tail) <= 256 * 1024


def test_a_log_driver_that_cannot_be_read(server: Server, engine: Engine) -> None:
    server.answers["/containers/a/logs"] = (501, b'{"message": "configured logging driver does not support reading"}')
    with pytest.raises(CheckError, match="does not support reading"):
        engine.logs_tail("a", 10)


def test_files_of_an_archive(server: Server, engine: Engine) -> None:
    server.answers["/containers/a/archive"] = (200, archive(alembic__env=b"", alembic__versions__1=b"revision"))
    assert engine.read_archive("a", "/app/alembic/", 1000) == {"/app/alembic/env": b"", "/app/alembic/versions/1": b"revision"}


def test_an_archive_is_read_up_to_its_limit(server: Server, engine: Engine) -> None:
    server.answers["/containers/a/archive"] = (200, archive(d__1=b"x" * 600, d__2=b"y" * 600))
    assert engine.read_archive("a", "/d", 1000) == {"/d/1": b"x" * 600}


def test_a_path_that_is_not_there(engine: Engine) -> None:
    with pytest.raises(CheckError) as caught:
        engine.read_archive("a", "/nosuch", 1000)
    assert caught.value.code == "not-found"


def prepare_exec(server: Server, start: t.Any, exit_code: int = 0) -> None:
    server.answers["/containers/a/exec"] = (201, b'{"Id": "e1"}')
    server.answers["/exec/e1/start"] = start
    server.answers["/exec/e1/json"] = (200, json.dumps({"ExitCode": exit_code}).encode())


def test_exec_gives_both_streams_and_the_exit_code(server: Server, engine: Engine) -> None:
    # The first piece comes together with the headers, where a reader of the bare socket would lose it.
    prepare_exec(server, upgraded(frame(1, b"out"), frame(2, b"err"), 0.1, frame(1, b"more")), exit_code=3)
    done = engine.exec("a", ["sh", "-c", "true"], 5, user="app", env={"PGPASSWORD": "canary-5ecret"})
    assert (done.exit_code, done.stdout, done.stderr) == (3, b"outmore", b"err")
    created = json.loads(next(body for path, body in server.seen if path.endswith("/containers/a/exec")))
    assert created["User"] == "app" and created["Env"] == ["PGPASSWORD=canary-5ecret"] and "canary-5ecret" not in str(created["Cmd"])


def test_exec_sends_its_input(server: Server, engine: Engine) -> None:
    prepare_exec(server, upgraded(echo=True))
    assert engine.exec("a", ["cat"], 5, stdin=b"x" * 100_000).stdout == b"x" * 100_000


def test_exec_that_hangs(server: Server, engine: Engine) -> None:
    prepare_exec(server, upgraded(frame(1, b"begun"), 3.0))
    began = time.monotonic()
    with pytest.raises(CheckError) as caught:
        engine.exec("a", ["sleep", "60"], 0.4)
    assert caught.value.code == "timeout"
    assert time.monotonic() - began < 2


def test_exec_in_a_container_that_does_not_run(server: Server, engine: Engine) -> None:
    server.answers["/containers/a/exec"] = (409, b'{"message": "Container a is not running"}')
    with pytest.raises(CheckError) as caught:
        engine.exec("a", ["true"], 1)
    assert caught.value.code == "not-running"


def test_events(server: Server, engine: Engine) -> None:
    server.answers["/events"] = (200, b'{"Action": "kill"}\n{"Action": "die"}\n{"Action": "cut')
    assert [event["Action"] for event in engine.events(1.0, 2.0, ["a"])] == ["kill", "die"]
