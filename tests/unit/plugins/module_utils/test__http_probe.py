# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The HTTP prober against real servers on this machine: well-behaved, slow, broken, hanging, with TLS."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import json
import socket
import ssl
import struct
import threading
import time

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _http_probe as probing
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import ContainerRef, Stack
from hypothesis import given
from hypothesis import strategies as st

cryptography = pytest.importorskip("cryptography")

ROW_KEYS = {
    "name", "project", "service", "origin", "method", "url", "via", "status", "reachable", "http_status", "expected_status", "failure", "message",
    "body_excerpt", "time_name_lookup_ms", "time_connect_ms", "time_tls_ms", "time_first_byte_ms", "time_total_ms", "tls_expires_at", "tls_days_left",
    "redirects", "attempts", "tls_version", "token",
}  # fmt: skip


class Handler(http.server.BaseHTTPRequestHandler):
    """Paths say what to do."""

    seen: list = []
    flaky = 0

    def do_GET(self):
        type(self).seen.append((self.command, self.path, dict(self.headers)))
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.path == "/slow":
            time.sleep(0.3)
        if self.path == "/slow-body":
            self.answer(200, b"x" * 10, length=20, finish=False)
            time.sleep(0.2)
            self.wfile.write(b"y" * 10)
            return
        if self.path.startswith("/status/"):
            self.answer(int(self.path.rsplit("/", 1)[1]), b'{"detail": "planted"}')
        elif self.path == "/loop":
            self.redirect("/loop")
        elif self.path == "/moved":
            self.redirect("/json")
        elif self.path.startswith("/to/"):
            self.redirect(self.path[4:])
        elif self.path == "/json":
            self.answer(200, json.dumps({"status": "ok", "checks": {"database": True, "pool": [1, {"n": 3}]}}).encode())
        elif self.path == "/echo":
            self.answer(500, json.dumps(dict(self.headers)).encode() + body)
        elif self.path == "/big":
            self.answer(200, b"z" * (3 * 1024 * 1024))
        elif self.path == "/short":
            self.answer(200, b"only this", length=100)
        elif self.path == "/flaky":
            type(self).flaky += 1
            self.answer(503 if type(self).flaky < 3 else 200, b"")
        else:
            self.answer(200, b"hello")

    do_POST = do_HEAD = do_GET

    def redirect(self, where):
        self.send_response(302)
        self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, status, body, length=None, finish=True):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):
                self.wfile.write(body)

    def log_message(self, *dummy):
        pass


@contextlib.contextmanager
def http_server(context=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def raw_server(behave):
    """A server whose *behave* gets every accepted connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=behave, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


@pytest.fixture(scope="module")
def port():
    with http_server() as number:
        yield number


def run(port, path="/", **options):
    endpoint = probing.Endpoint.from_options({"url": f"http://127.0.0.1:{port}{path}", "timeout_seconds": 2, **options})
    row = probing.probe(endpoint)
    assert set(row) == ROW_KEYS
    return row


def test_a_good_answer_has_all_times_in_order(port):
    row = run(port, "/json")
    assert (row["status"], row["reachable"], row["http_status"], row["failure"], row["attempts"]) == ("ok", True, 200, None, 1)
    times = [row[f"time_{step}_ms"] for step in ("name_lookup", "connect", "first_byte", "total")]
    assert times == sorted(times)
    assert times[0] >= 0
    assert row["time_tls_ms"] is None
    assert row["body_excerpt"] is None


def test_first_byte_and_total_are_measured_apart(port):
    slow = run(port, "/slow")
    assert slow["time_first_byte_ms"] >= 300
    body = run(port, "/slow-body")
    assert body["time_first_byte_ms"] < 150
    assert body["time_total_ms"] >= 200


@pytest.mark.parametrize(("limits", "status"), [((100, 3000), "warning"), ((50, 100), "critical"), ((None, None), "ok")])
def test_slow(port, limits, status):
    row = probing.probe(probing.Endpoint("slow", f"http://127.0.0.1:{port}/slow", warning_ms=limits[0], critical_ms=limits[1]))
    assert row["status"] == status
    assert row["failure"] == (None if status == "ok" else "slow")
    assert row["reachable"]


def test_unexpected_status_shows_what_came(port):
    row = run(port, "/status/500")
    assert (row["status"], row["failure"], row["http_status"], row["message"]) == ("critical", "unexpected-status", 500, "HTTP 500")
    assert "planted" in row["body_excerpt"]


def test_expected_status_may_be_an_error(port):
    assert run(port, "/status/401", expected_status=[401, 403])["status"] == "ok"
    row = run(port, "/json", expected_status=[401, 403])
    assert row["failure"] == "unexpected-status"
    assert row["message"] == "HTTP 200, expected 401 or 403"


@pytest.mark.parametrize(
    ("condition", "fine"),
    [
        ("status == ok", True),
        ("status == 'ok'", True),
        ('status == "ok"', True),
        ("status != broken", True),
        ("checks.database == true", True),
        ("checks.database == 1", False),
        ("checks.pool[1].n == 3", True),
        ("checks.pool[9].n == 3", False),
        ("checks.cache == ok", False),
        ("checks.cache != ok", False),
        ("status == broken", False),
    ],
)
def test_expected_json(port, condition, fine):
    row = run(port, "/json", expected_json=[condition])
    assert row["failure"] == (None if fine else "unexpected-body")
    assert fine or condition in row["message"]


def test_expected_json_of_something_else(port):
    assert run(port, "/", expected_json=["status == ok"])["message"] == "the answer is not JSON"


def test_expected_text(port):
    assert run(port, "/", expected_text="hello")["status"] == "ok"
    assert run(port, "/", expected_text="goodbye")["failure"] == "unexpected-body"


def test_redirects_are_followed_and_counted(port):
    row = run(port, "/moved", expected_json="status == ok")
    assert (row["status"], row["redirects"], row["http_status"]) == ("ok", 1, 200)
    assert run(port, "/moved", follow_redirects=False)["http_status"] == 302
    assert run(port, "/moved", expected_status=[302])["redirects"] == 0


def test_a_redirect_loop_ends(port):
    row = run(port, "/loop", max_redirects=3)
    assert (row["failure"], row["redirects"]) == ("unexpected-status", 3)
    assert "more than 3 redirects" in row["message"]


def test_a_post_is_never_sent_twice(port):
    Handler.seen.clear()
    row = run(port, "/moved", method="post", json={"name": "x"})
    assert row["http_status"] == 302
    assert [entry[:2] for entry in Handler.seen] == [("POST", "/moved")]
    assert Handler.seen[0][2]["Content-Type"] == "application/json"


def test_secrets_do_not_follow_to_another_origin(port):
    with http_server() as other:
        Handler.seen.clear()
        run(port, f"/to/http://127.0.0.1:{other}/there", headers={"Authorization": "Bearer planted", "X-Trace": "1"})
    first, second = (entry[2] for entry in Handler.seen)
    assert first["Authorization"] == "Bearer planted"
    assert "Authorization" not in second
    assert second["X-Trace"] == "1"


def test_redirect_to_another_scheme(port):
    row = run(port, "/to/ftp://example.org/")
    assert row["failure"] == "unexpected-status"
    assert "no HTTP URL" in row["message"]


def test_userinfo_becomes_a_header_and_nothing_else(port):
    Handler.seen.clear()
    endpoint = probing.Endpoint.from_options({"url": f"http://user:pl4nted@127.0.0.1:{port}/echo?token=pl4nted-too&page=2", "timeout_seconds": 2})
    row = probing.probe(endpoint)
    assert Handler.seen[0][2]["Authorization"].startswith("Basic ")
    assert "pl4nted" not in json.dumps(row)
    assert "pl4nted" not in repr(endpoint).replace(endpoint.url, "")
    assert row["url"].endswith("/echo?token=***&page=2")


def test_an_echoed_header_is_masked(port):
    row = run(port, "/echo", headers={"Authorization": "Bearer pl4nted-token", "X-Api-Key": "pl4nted-key"}, body="posted", method="POST")
    assert row["failure"] == "unexpected-status"
    assert "pl4nted" not in json.dumps(row)


def test_large_bodies_are_cut(port):
    row = run(port, "/big")
    assert row["status"] == "ok"


def test_a_short_body_is_a_reset(port):
    row = run(port, "/short")
    assert (row["failure"], row["reachable"]) == ("connection-reset", True)


def test_head_and_query_and_unicode_paths(port):
    Handler.seen.clear()
    assert run(port, "/json", method="HEAD")["status"] == "ok"
    assert run(port, "//a/ü?q=a%20b&x=[1]")["status"] == "ok"
    assert Handler.seen[-1][1] in ("//a/%C3%BC?q=a%20b&x=[1]", "/a/%C3%BC?q=a%20b&x=[1]")


def test_retries_until_it_is_fine(port):
    Handler.flaky = 0
    row = run(port, "/flaky", retries=4, retry_delay_seconds=0.01)
    assert (row["status"], row["attempts"]) == ("ok", 3)
    Handler.flaky = -10
    assert run(port, "/flaky", retries=1, retry_delay_seconds=0.01)["attempts"] == 2


def test_nothing_listens():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    row = run(free)
    assert (row["status"], row["failure"], row["reachable"]) == ("critical", "connection-refused", False)
    assert row["time_connect_ms"] is None


def test_name_that_is_not_there():
    row = probing.probe(probing.Endpoint("x", "http://no-such-host.invalid:8000/", timeout_seconds=5))
    assert row["failure"] == "name-not-resolved"
    assert row["time_name_lookup_ms"] is None


def test_a_hanging_server_is_left_in_time():
    with raw_server(lambda connection: time.sleep(3)) as number:
        begin = time.monotonic()
        row = run(number, timeout_seconds=0.3)
    assert row["failure"] == "read-timeout"
    assert time.monotonic() - begin < 1


def test_a_dripping_server_is_left_in_time():
    def drip(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        with contextlib.suppress(OSError):
            for dummy in range(100):
                connection.sendall(b"X-A: 1\r\n")
                time.sleep(0.05)

    with raw_server(drip) as number:
        begin = time.monotonic()
        assert run(number, timeout_seconds=0.4)["failure"] == "read-timeout"
    assert time.monotonic() - begin < 1


def test_connect_timeout():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        number = listener.getsockname()[1]
        # A full accept queue drops the next connection, as a firewall does.
        fill = [socket.socket() for dummy in range(4)]
        for one in fill:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", number))
        assert run(number, timeout_seconds=0.3)["failure"] == "connect-timeout"
        for one in fill:
            one.close()


def close(connection):
    connection.recv(100)
    connection.close()


def reset(connection):
    connection.recv(100)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def says(data):
    def behave(connection):
        with contextlib.suppress(OSError):
            connection.recv(1000)
            connection.sendall(data)
            connection.close()

    return behave


@pytest.mark.parametrize(
    ("behave", "failure"),
    [
        (close, "connection-reset"),
        (reset, "connection-reset"),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "protocol-error"),
        (says(b"\x00\x01\x02\xff" * 10), "protocol-error"),
        (says(b"HTTP/1.1 two OK\r\n\r\n"), "protocol-error"),
        (says(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"), "protocol-error"),
        (says(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70000 + b"\r\n\r\n"), "protocol-error"),
        (says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello"), "connection-reset"),
        (says(b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=nonsense\r\n\r\nhello"), None),
        (says(b"HTTP/1.0 200 OK\r\n\r\nhello"), None),
    ],
)
def test_broken_servers(behave, failure):
    with raw_server(behave) as number:
        row = run(number, expected_text="hello")
    assert row["failure"] == failure
    assert "\x00" not in json.dumps(row)


# -- TLS ---------------------------------------------------------------------------------------------------------------


def self_signed(directory, days, name="localhost"):
    """A certificate that ends in *days*, its key with it; returns the path of both in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=400))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / f"{name}-{days}.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return str(path)


@contextlib.contextmanager
def tls_server(path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    with http_server(context) as number:
        yield number


def run_tls(number, path="/json", **options):
    return probing.probe(probing.Endpoint.from_options({"url": f"https://localhost:{number}{path}", "timeout_seconds": 3, **options}))


@pytest.mark.parametrize(("days", "status"), [(90, "ok"), (15, "warning"), (3, "critical")])
def test_tls_expiry(tmp_path, days, status):
    path = self_signed(tmp_path, days)
    with tls_server(path) as number:
        row = run_tls(number, ca_path=path)
    assert (row["status"], row["failure"], row["reachable"]) == (status, None, True)
    assert row["tls_days_left"] == pytest.approx(days, abs=0.1)
    assert row["time_connect_ms"] <= row["time_tls_ms"] <= row["time_first_byte_ms"]


def test_what_a_server_agrees_to_of_old_tls(tmp_path):
    path = self_signed(tmp_path, 90)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.load_cert_chain(path)
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    old.set_ciphers("ALL:@SECLEVEL=0")
    for context, spoken in ((old, ["TLSv1", "TLSv1.1"]), (None, [])):
        with http_server(context) if context else tls_server(path) as number:
            options = {"url": f"https://localhost:{number}/json", "ca_path": path}
            envelope = probing.collect_http((), [options], discover=False, try_old_tls=True)
        (row,) = envelope["endpoints"]
        assert (row["status"], row["tls_version"], row["tls_old_versions"]) == ("ok", "TLSv1.3", spoken)


def test_untrusted_certificates_still_tell_when_they_end(tmp_path):
    with tls_server(self_signed(tmp_path, 15)) as number:
        row = run_tls(number)
        assert (row["status"], row["failure"], row["reachable"]) == ("critical", "tls-error", False)
        assert "self" in row["message"]
        assert row["tls_days_left"] == pytest.approx(15, abs=0.1)
        row = run_tls(number, validate_certs=False)
        assert (row["status"], row["reachable"]) == ("warning", True)


def test_expired_and_misnamed_certificates(tmp_path):
    expired = self_signed(tmp_path, -2)
    with tls_server(expired) as number:
        row = run_tls(number, ca_path=expired)
    assert row["failure"] == "tls-error"
    assert "expired" in row["message"]
    assert row["tls_days_left"] == pytest.approx(-2, abs=0.1)
    other = self_signed(tmp_path, 90, "other.example")
    with tls_server(other) as number:
        assert "localhost" in run_tls(number, ca_path=other)["message"]


def test_tls_to_a_server_without(port):
    assert run_tls(port)["failure"] == "tls-error"


def test_http_to_a_server_with_tls(tmp_path):
    with tls_server(self_signed(tmp_path, 90)) as number:
        assert run(number)["failure"] in ("connection-reset", "protocol-error")


def test_a_missing_ca_file_is_unknown(port):
    row = run_tls(port, ca_path="/nonexistent/ca.pem")
    assert (row["status"], row["failure"]) == ("unknown", None)
    assert "ca.pem" in row["message"] or "CA" in row["message"]


def test_a_hanging_handshake():
    with raw_server(lambda connection: time.sleep(3)) as number:
        row = run_tls(number, timeout_seconds=0.3)
    assert row["failure"] == "read-timeout"
    assert "TLS" in row["message"]


@given(st.binary(max_size=300))
def test_certificate_expiry_never_raises(data):
    probing.certificate_expiry(data)


@given(st.integers(0, 60), st.integers(0, 600))
def test_cut_certificates_give_none_or_the_date(cut_front, cut):
    der = ssl.PEM_cert_to_DER_cert(CERTIFICATE)
    assert probing.certificate_expiry(der) is not None
    assert probing.certificate_expiry(der[: min(cut, len(der) - 1)]) is None
    probing.certificate_expiry(der[cut_front:])


# Ends after 2049, so that its time is a GeneralizedTime.
CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBgzCCASmgAwIBAgIUW+eSIIs/HMS8j1UhI7tmGczBZsswCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLZXhhbXBsZS5vcmcwIBcNMjYxMTIzMjI0MjA4WhgPMjEzNjA1
MzAyMjQyMDhaMBYxFDASBgNVBAMMC2V4YW1wbGUub3JnMFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAEoFD5Fj/LeZ8EtqBaFMBNNN7GMTKOseYNaVO2bfdE+JPnOJtT
c3Fd1QCKROV7O6HFLU6H9XCDUx0oi9T6KqFOkaNTMFEwHQYDVR0OBBYEFAphEAJa
03JyZwD4dmy3xLVsZSrvMB8GA1UdIwQYMBaAFAphEAJa03JyZwD4dmy3xLVsZSrv
MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgFyCZDKLv6tF3mHz6
ucoknezZNpL1tZ3hONwzkzuqPPwCIQDpQx8oKOUXpQcQNoptX2FoBEPMDqM87oTe
+FxS9ioWBA==
-----END CERTIFICATE-----
"""


# -- options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says_what"),
    [
        ({}, "url must be"),
        ({"url": "ftp://x/"}, "url must be"),
        ({"url": "http://x:99999/"}, "is not a URL"),
        ({"url": "http://x/a b"}, "url must be"),
        ({"url": "http://x/\r\nX: y"}, "url must be"),
        ({"url": "http://u:pl4nted@[x/"}, "is not a URL"),
        ({"url": "http://x/", "method": "BREW"}, "method"),
        ({"url": "http://x/", "expected_json": ["status"]}, "expected_json"),
        ({"url": "http://x/", "expected_status": ["two"]}, "invalid literal"),
        ({"url": "http://x/", "statuscode": 200}, "statuscode"),
        ({"url": "http://x/", "body": "a", "json": {}}, "exclude"),
        ({"url": "http://x/", "timeout_seconds": 0}, "timeout_seconds"),
    ],
)
def test_wrong_options(options, says_what):
    with pytest.raises(ValueError, match=says_what) as caught:
        probing.Endpoint.from_options(options)
    assert "pl4nted" not in str(caught.value)


@given(st.text(max_size=80))
def test_any_text_is_a_url_or_a_value_error(text):
    try:
        probing.check_url(text)
    except ValueError:
        return
    probing.display_url(text)


@given(st.text(alphabet="abc@:/%2F", min_size=1, max_size=12))
def test_display_never_shows_a_password(password):
    quoted = probing.urllib.parse.quote("PL4NTED" + password, safe="")
    assert "PL4NTED" not in probing.display_url(f"http://user:{quoted}@host/path#f")


@pytest.mark.parametrize(
    ("test", "env", "url"),
    [
        (["CMD", "curl", "-f", "http://localhost:8000/health"], {}, "http://localhost:8000/health"),
        (["CMD-SHELL", "curl -fs http://localhost:8000/health || exit 1"], {}, "http://localhost:8000/health"),
        (["CMD-SHELL", "wget -qO- 'http://127.0.0.1:${PORT:-8080}/ready?full=1'"], {}, "http://127.0.0.1:8080/ready?full=1"),
        (["CMD-SHELL", "curl -f http://localhost:$PORT/health"], {"PORT": "9000"}, "http://localhost:9000/health"),
        (["CMD", "python3", "-c", "import urllib.request as u; u.urlopen('http://localhost:8000/health', timeout=2)"], {}, "http://localhost:8000/health"),
        (["CMD-SHELL", "pg_isready -U app"], {}, None),
        (["CMD-SHELL", "curl http://localhost:${UNSET}/"], {}, "http://localhost:/"),
        (["NONE"], {}, None),
        ([], {}, None),
    ],
)
def test_healthcheck_url(test, env, url):
    assert probing.healthcheck_url(test, env) == url


# -- discovery and collecting ------------------------------------------------------------------------------------------


def container(service="api", running=True, test=None, published=None, exposed=(), command="uvicorn", networks=None, pid=None, number="1"):
    bindings = {f"{inner}/tcp": [{"HostIp": host, "HostPort": str(outer)}] for inner, host, outer in published or []}
    return ContainerRef(
        {
            "Id": service + number,
            "Name": f"/shop-{service}-{number}",
            "Path": command,
            "Args": [],
            "State": {"Status": "running" if running else "exited", "Pid": pid},
            "Config": {
                "Labels": {"com.docker.compose.project": "shop", "com.docker.compose.service": service, "com.docker.compose.container-number": number},
                "Healthcheck": {"Test": test} if test else None,
                "ExposedPorts": {f"{inner}/tcp": {} for inner in exposed},
                "Image": "shop/api",
            },
            "HostConfig": {"PortBindings": bindings},
            "NetworkSettings": {"Ports": bindings if running else {}, "Networks": networks or {}},
        }
    )


def urls(*containers):
    return [endpoint.url for endpoint in probing.discover_endpoints([Stack("shop", containers=containers)])]


def test_published_ports_are_asked_for_what_the_health_check_names():
    one = container(test=["CMD", "curl", "http://localhost:8000/healthz?x=1"], published=[(8000, "0.0.0.0", 18000)])
    assert urls(one) == ["http://localhost:18000/healthz?x=1", "http://localhost:18000/health", "http://localhost:18000/docs"]


def test_without_a_health_check_health_is_a_guess():
    found = probing.discover_endpoints([Stack("shop", containers=[container(published=[(8000, "127.0.0.1", 8000), (443, "::", 8443)])])])
    assert [(one.url, one.optional) for one in found] == [
        ("https://localhost:8443/health", True),
        ("https://localhost:8443/docs", True),
        ("http://127.0.0.1:8000/health", True),
        ("http://127.0.0.1:8000/docs", True),
    ]
    assert found[0].fallback.url == "https://localhost:8443/"


def test_databases_and_jobs_are_not_asked():
    assert urls(container(command="postgres", published=[(5432, "0.0.0.0", 5432)])) == []
    assert urls(container(command="sleep", published=[(9000, "0.0.0.0", 9000)])) == []


def test_what_is_not_published_is_asked_through_its_network():
    one = container(exposed=[8000], networks={"shop_default": {"IPAddress": "172.20.0.5"}}, pid=42)
    found = probing.discover_endpoints([Stack("shop", containers=[one])])
    assert [(one.url, one.via, one.netns_pid) for one in found] == [
        ("http://172.20.0.5:8000/health", "container-network", 42),
        ("http://172.20.0.5:8000/docs", "container-network", 42),
    ]


def test_a_port_that_only_the_image_knows_is_no_finding_where_nothing_listens(port):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed_port = unused.getsockname()[1]

    def rows(number, **more):
        one = container(exposed=[number], networks={"shop_default": {"IPAddress": "127.0.0.1"}}, **more)
        return probing.collect_http([Stack("shop", containers=[one])])["endpoints"]

    assert rows(closed_port) == []
    assert [row["reachable"] for row in rows(port)][:1] == [True]
    checked = rows(closed_port, test=["CMD", "curl", f"http://localhost:{closed_port}/health"])
    assert [row["failure"] for row in checked] == ["connection-refused"]


def test_a_container_that_does_not_run_is_a_row_and_nobody_else_is_asked(port):
    one = container(running=False, test=["CMD", "curl", "http://localhost:8000/health"], published=[(8000, "0.0.0.0", port)])
    rows = probing.collect_http([Stack("shop", containers=[one])])["endpoints"]
    assert [(row["status"], row["failure"], row["reachable"], row["service"]) for row in rows] == [("critical", "not-running", False, "api")]
    two = container(test=["CMD", "curl", "http://localhost:8000/json"], published=[(8000, "0.0.0.0", port)], number="2")
    rows = probing.collect_http([Stack("shop", containers=[one, two])])["endpoints"]
    assert {row["failure"] for row in rows if row["url"].endswith("/json")} == {None}


def test_a_guess_that_is_not_there_is_no_finding(port):
    class Bare(Handler):
        def do_GET(self):
            self.answer(404, b"")

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bare)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    number = server.server_address[1]
    facts = probing.collect_http([Stack("shop", containers=[container(published=[(8000, "127.0.0.1", number)])])])
    assert [(row["url"], row["status"], row["http_status"]) for row in facts["endpoints"]] == [(f"http://127.0.0.1:{number}/", "ok", 404)]
    named = container(test=["CMD", "curl", "http://localhost:8000/helth"], published=[(8000, "127.0.0.1", number)])
    facts = probing.collect_http([Stack("shop", containers=[named])])
    assert [(row["name"], row["failure"], row["http_status"]) for row in facts["endpoints"]] == [("api:8000/helth", "unexpected-status", 404)]
    declared = probing.collect_http([], [{"url": f"http://127.0.0.1:{number}/health"}])
    assert declared["endpoints"][0]["failure"] == "unexpected-status"
    server.shutdown()
    server.server_close()


def test_a_published_port_that_does_not_speak_http_is_left_out():
    with raw_server(says(b"RFB 003.008\n")) as number:
        facts = probing.collect_http([Stack("shop", containers=[container(published=[(5900, "127.0.0.1", number)])])])
    assert facts["endpoints"] == []


def test_a_published_port_of_any_number_may_speak_tls(tmp_path):
    with tls_server(self_signed(tmp_path, 3)) as number:
        facts = probing.collect_http([Stack("shop", containers=[container(published=[(8440, "127.0.0.1", number)])])])
    rows = {row["name"]: row for row in facts["endpoints"]}
    assert {row["url"].partition(":")[0] for row in rows.values()} == {"https"}
    assert {(row["reachable"], row["failure"], row["status"]) for row in rows.values()} == {(True, None, "critical")}
    assert next(iter(rows.values()))["tls_days_left"] == pytest.approx(3, abs=0.1)


def test_a_published_port_that_hangs_up_is_told_as_it_was_asked():
    with raw_server(close) as number:
        facts = probing.collect_http([Stack("shop", containers=[container(published=[(8000, "127.0.0.1", number)])])])
    assert [(row["url"], row["failure"]) for row in facts["endpoints"]] == [(f"http://127.0.0.1:{number}/health", "connection-reset")]


def test_one_bad_declaration_does_not_stop_the_others(port):
    facts = probing.collect_http([], [{"url": "nonsense"}, {"url": f"http://127.0.0.1:{port}/json", "name": "good"}])
    assert facts["status"] == "unknown"
    assert [row["status"] for row in facts["endpoints"]] == ["ok"]
    assert "nonsense" in facts["errors"][0]["reason"]
    assert set(facts["metrics"]) == {"good.time_total_ms"}


def test_the_deadline_is_shared():
    with raw_server(lambda connection: time.sleep(3)) as number:
        declared = [{"url": f"http://127.0.0.1:{number}/{index}", "timeout_seconds": 2} for index in range(40)]
        begin = time.monotonic()
        facts = probing.collect_http([], declared, deadline_seconds=0.5)
    assert time.monotonic() - begin < 1.5
    assert {row["status"] for row in facts["endpoints"]} == {"unknown"}
    assert len(facts["endpoints"]) == 40


def test_the_summary_names_the_worst(port):
    facts = probing.collect_http([], [{"url": f"http://127.0.0.1:{port}/json"}, {"url": f"http://127.0.0.1:{port}/status/503", "name": "broken"}])
    assert facts["status"] == "critical"
    assert facts["summary"] == "1 of 2 endpoints not as expected: broken: HTTP 503"


# -- the module --------------------------------------------------------------------------------------------------------


def test_secrets_leave_the_parameters():
    params = {
        "endpoints": [
            {"url": "http://u:pl4nted%21@x/?api_key=pl4nted", "headers": {"Authorization": "Bearer pl4nted", "X": "1"}, "json": {"a": "pl4nted"}, "body": None},
            {"url": "http://x/", "headers": None},
        ]
    }
    secrets = probing.hide_secrets(params)
    assert "pl4nted" not in json.dumps(params)
    assert secrets == {"pl4nted%21", "pl4nted!", "Bearer pl4nted"}


MODULE = {"request_timeout": 2, "deadline": 5, "warning_ms": 1000.0, "critical_ms": 3000.0}


def test_declared_endpoints_need_no_engine(port):
    options = dict.fromkeys(probing.endpoint_arguments())
    facts = probing.check_endpoints({**MODULE, "docker_host": "unix:///nonexistent", "endpoints": [{**options, "url": f"http://127.0.0.1:{port}/json"}]})
    assert (facts["status"], facts["errors"]) == ("ok", [])


@pytest.mark.parametrize("endpoints", [[], [{"url": "http://x/", "container": "web"}]])
def test_without_an_engine_it_is_unknown_with_a_hint(endpoints):
    facts = probing.check_endpoints({**MODULE, "docker_host": "unix:///nonexistent", "endpoints": endpoints})
    assert facts["status"] == "unknown"
    assert facts["errors"][0]["hint"]
    assert all(row["status"] == "unknown" for row in facts["endpoints"])


def test_wrong_options_of_the_module_are_raised():
    with pytest.raises(ValueError, match="url must be"):
        probing.check_endpoints({**MODULE, "endpoints": [{"url": "nope"}]})


def test_an_endpoint_seen_from_a_container_that_does_not_run():
    facts = probing.collect_http([Stack("shop", containers=[container("web", running=False)])], [{"url": "http://api/", "container": "web"}], discover=False)
    assert [(row["via"], row["failure"], row["status"]) for row in facts["endpoints"]] == [("container-network", "not-running", "critical")]
