# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Alerts against a real receiver that misbehaves, and with SIGKILL after each step: each change arrives, in order, with the same key.

No engine is needed. Time is moved by the ``now`` that every function takes.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _alert_delivery as delivery
from ansible_collections.stackops.runbook.plugins.module_utils import _alert_spool as spool_module
from ansible_collections.stackops.runbook.plugins.module_utils import _check_state as machine
from ansible_collections.stackops.runbook.plugins.module_utils._alert_channels import Channel
from ansible_collections.stackops.runbook.plugins.module_utils._alert_delivery import DeliveryReport, Limits, deliver, heartbeat, send_test
from ansible_collections.stackops.runbook.plugins.module_utils._alert_spool import Spool
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_types import Event, Observation, Policy

from tests.support.alert_receiver import Answer, Receiver, Tunnel, free_port, make_certificate

ALL_STEPS = os.environ.get("ALL_STEPS") == "1"
NOW = 1795435200.0
LIMITS = Limits(jitter=0.0, send_seconds=0.8, connect_seconds=0.6, budget_seconds=6.0, pause_seconds=0.05)
ACCEPTED = Answer(202, b'{"status": "success", "dedup_key": "x"}')


def event(kind: str = "open", name: str = "api", at: float = NOW, **more: t.Any) -> Event:
    over = kind == "recovery"
    values: dict[str, t.Any] = {
        "kind": kind, "check": "health", "object": name, "stack": "shop", "host": "web-01", "status": "ok" if over else "critical",
        "previous_status": "critical" if over else "ok", "since": NOW - 60, "at": at, "summary": "down", "cause": "", "next_command": "", "details": (),
        "incident_id": f"incident of {name}", "dedupe_key": f"key of {name}", "failures": 3, "worst_status": "critical",
    }  # fmt: skip
    return Event(**{**values, **more})


class Host:
    """The spool of one host with its channels, and what of it went into the system log."""

    def __init__(self, directory: pathlib.Path, *channels: Channel) -> None:
        self.spool = Spool(str(directory / "monitoring"), str(directory / "run"))
        self.channels = list(channels)
        self.logged: list[str] = []
        self.number = 0

    def put(self, *events: Event, now: float = NOW) -> None:
        self.number += 1
        assert self.spool.put(f"{self.number:08x}", events, self.channels, now) == []

    def deliver(self, now: float = NOW, limits: Limits = LIMITS, **more: t.Any) -> DeliveryReport:
        return deliver(self.spool, self.channels, now, limits, **more)

    def waiting(self, channel: str = "hook") -> int:
        return len(self.spool.waiting(channel))


@pytest.fixture
def receiver() -> t.Iterator[Receiver]:
    with Receiver() as one:
        yield one


@pytest.fixture
def host(tmp_path: pathlib.Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Host:
    one = Host(tmp_path, webhook(receiver.url()))
    for module in (delivery, spool_module):
        monkeypatch.setattr(module, "log_alert", one.logged.append)
    return one


def webhook(url: str, name: str = "hook", **options: t.Any) -> Channel:
    return Channel.from_options({"name": name, "type": "webhook", "url": url, **options})


def told(receiver: Receiver, path: str = "/hook") -> list[str]:
    return [f"{alert['x']['kind']} {alert['labels']['object']}" for alert in receiver.alerts(path)]


# -- answers --------------------------------------------------------------------------------------------------------------


def test_what_is_accepted_is_gone(host: Host, receiver: Receiver) -> None:
    host.put(event(), event(name="db"))
    report = host.deliver()
    assert told(receiver) == ["open api", "open db"] and host.waiting() == 0 and report.failing == {}
    assert (report.channels["hook"].sent, report.channels["hook"].events) == (1, 2)
    host.deliver(NOW + 60)
    assert len(receiver.received) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(500, b"oops"), "HTTP 500: oops"),
        (Answer(503, b""), "HTTP 503"),
        (Answer(408, b""), "HTTP 408"),
        (Answer(425, b""), "HTTP 425"),
        (Answer(429, b""), "HTTP 429"),
        (Answer(how="reset"), "Connection reset by peer"),
        (Answer(how="hang"), "no answer "),
        (Answer(how="garbage"), "the answer is no HTTP (BadStatusLine)"),
        (Answer(how="trickle"), "no answer "),
        (Answer(302, b"", {"Location": "/login"}), "HTTP 302: it redirects to another place"),
        (Answer(307, b"", {"Location": "/login"}), "HTTP 307: it redirects to another place"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_may_pass_is_tried_twice_and_then_waits(host: Host, receiver: Receiver, answer: Answer, reason: str) -> None:
    receiver.script("/hook", answer, answer, Answer())
    host.put(event())
    begin = time.monotonic()
    report = host.deliver()
    assert time.monotonic() - begin < 30
    assert report.failing["hook"].startswith(reason) and len(receiver.received) == 2 and host.waiting() == 1
    assert host.deliver(NOW + 30).failing["hook"].startswith(reason) and len(receiver.received) == 2  # not yet
    assert host.deliver(NOW + 70).failing == {} and told(receiver) == ["open api"] and host.waiting() == 0
    assert all(one.path == "/hook" for one in receiver.received)  # no redirect is followed


def test_a_second_attempt_in_the_same_run_is_enough(host: Host, receiver: Receiver) -> None:
    receiver.script("/hook", Answer(500), Answer())
    host.put(event())
    assert host.deliver().failing == {} and told(receiver) == ["open api"]


def test_retry_after_is_honoured(host: Host, receiver: Receiver) -> None:
    receiver.script("/hook", Answer(429, b"", {"Retry-After": "600"}), Answer())
    host.put(event())
    host.deliver()
    assert len(receiver.received) == 1  # and not tried a second time at once
    for minutes in range(1, 10):
        host.deliver(NOW + 60 * minutes)
    assert len(receiver.received) == 1
    host.deliver(NOW + 602)
    assert told(receiver) == ["open api"]


def test_a_short_retry_after_is_waited_for(host: Host, receiver: Receiver) -> None:
    receiver.script("/hook", Answer(429, b"", {"Retry-After": "1"}), Answer())
    host.put(event())
    begin = time.monotonic()
    assert host.deliver().failing == {} and time.monotonic() - begin >= 1.0


@pytest.mark.parametrize("attempts", [1, 2])
def test_back_off_grows_to_half_an_hour(host: Host, receiver: Receiver, attempts: int) -> None:
    receiver.script("/hook", Answer(500))
    host.put(event())
    now, waits = NOW, []
    for dummy in range(8):
        host.deliver(now, dataclasses.replace(LIMITS, attempts_per_entry=attempts))
        head = host.spool.read(host.spool.waiting("hook")[0])
        assert head is not None
        waits.append((head.next_try - now) // 60)
        before = len(receiver.received)
        host.deliver(head.next_try - 5)
        assert len(receiver.received) == before
        now = head.next_try + 1
    assert waits == [1, 2, 4, 8, 15, 30, 30, 30] and len(receiver.received) == 8 * attempts


def test_a_clock_set_back_does_not_make_it_wait_for_years(host: Host, receiver: Receiver) -> None:
    receiver.script("/hook", Answer(500), Answer(500), Answer())
    host.put(event(), now=NOW + 1e8)
    host.deliver(NOW + 1e8)
    assert host.deliver(NOW).failing == {} and told(receiver) == ["open api"]


def test_what_is_refused_for_good_is_kept_told_and_sent_after_a_change(host: Host, receiver: Receiver) -> None:
    host.channels.append(webhook(receiver.url("/other"), "other"))
    receiver.script("/hook", Answer(404, b"no such hook"))
    host.put(event())
    report = host.deliver()
    assert report.failing == {"hook": "HTTP 404: no such hook"} and host.waiting() == 0 and len(host.spool.dead("hook")) == 1
    host.put(event("change"), now=NOW + 60)
    host.deliver(NOW + 60)
    assert told(receiver, "/other") == ["open api", "open channel hook", "change api"]  # told once
    assert "refuses messages: HTTP 404" in receiver.alerts("/other")[1]["annotations"]["summary"]
    assert any("refused an alert" in line for line in host.logged)
    assert host.spool.status(["hook", "other"], NOW)["channels"]["hook"]["dead"] == 2
    tries = len(receiver.received)
    host.deliver(NOW + 3600)
    assert len(receiver.received) == tries
    host.channels[0] = webhook(receiver.url("/new"))
    host.deliver(NOW + 3660)
    assert told(receiver, "/new") == ["open api", "change api"] and host.spool.dead("hook") == []
    host.deliver(NOW + 3720)
    assert told(receiver, "/other")[-1] == "recovery channel hook"


def test_what_was_refused_and_is_over_does_not_open_again(host: Host, receiver: Receiver) -> None:
    receiver.script("/hook", Answer(400), Answer())
    host.put(event(), event(name="db"))
    host.deliver()
    host.put(event("recovery"), now=NOW + 60)
    host.deliver(NOW + 60)
    host.channels[0] = webhook(receiver.url("/new"))
    host.deliver(NOW + 120)
    assert told(receiver, "/new") == ["open db"]


def test_one_that_is_refused_takes_no_other_with_it(host: Host, receiver: Receiver) -> None:
    receiver.script("/hook", Answer(400), Answer(413), Answer())
    for name in ("too long", "b", "c"):
        host.put(event(name=name))
    host.deliver()
    assert told(receiver) == ["open b", "open c"] and len(host.spool.dead("hook")) == 1


def test_a_channel_that_hangs_keeps_no_other_waiting(host: Host, receiver: Receiver) -> None:
    receiver.script("/hook", Answer(how="hang"))
    host.channels.append(webhook(receiver.url("/other"), "other"))
    host.put(event())
    begin = time.monotonic()
    report = host.deliver(limits=dataclasses.replace(LIMITS, budget_seconds=3.0))
    assert time.monotonic() - begin < 30
    assert report.failing.keys() == {"hook"} and told(receiver, "/other") == ["open api"] and host.waiting() == 1


def test_a_channel_that_takes_nothing_for_long_is_told_on_the_others_and_so_is_its_end(host: Host, receiver: Receiver) -> None:
    host.channels.append(webhook(receiver.url("/other"), "other"))
    receiver.script("/hook", Answer(500))
    host.put(event())
    for minute in range(45):
        host.deliver(NOW + 60 * minute + 5, dataclasses.replace(LIMITS))
    assert told(receiver, "/other") == ["open api", "open channel hook"]
    receiver.script("/hook", Answer())
    for minute in range(45, 90):
        host.deliver(NOW + 60 * minute + 5)
    assert told(receiver, "/other") == ["open api", "open channel hook", "recovery channel hook"] and told(receiver) == ["open api"]


def test_a_receiver_that_is_down_for_an_hour_gets_everything_in_order(tmp_path: pathlib.Path) -> None:
    port = free_port()
    host = Host(tmp_path, webhook(f"http://127.0.0.1:{port}/hook"), Channel("pager", "pagerduty", url=f"http://127.0.0.1:{port}/pager", routing_key="R" * 32))
    put = []
    for minute in range(60):
        now = NOW + 60 * minute
        if minute % 4 == 0:
            kind = "open" if minute % 8 == 0 else "recovery"
            one = event(kind, at=now, incident_id=f"i{minute // 8}")
            put.append((kind, one.incident_id))
            host.put(one, now=now)
        report = host.deliver(now)
        assert report.failing["hook"].startswith("Connection refused")
    with Receiver(port) as receiver:
        receiver.script("/pager", ACCEPTED)
        for minute in range(60, 100):
            host.deliver(NOW + 60 * minute)
        alerts = receiver.alerts()  # and not one of them says of the one channel that the other takes nothing
        assert [(alert["x"]["kind"], alert["x"]["incident_id"]) for alert in alerts] == put
        assert {alert["fingerprint"] for alert in alerts} == {"key of api"} and len(receiver.accepted()) == 1
        assert "delivery delayed by " in alerts[0]["annotations"]["description"] and alerts[0]["x"]["delivery_delay_seconds"] > 3600
        sent = [one.json for one in receiver.accepted("/pager")]
        assert [one["event_action"] for one in sent] == ["trigger" if kind == "open" else "resolve" for kind, dummy in put]
        assert {one["dedup_key"] for one in sent} == {"key of api"} and sent[0]["payload"]["timestamp"] == "2026-11-23T12:00:00Z"
    assert host.waiting() == host.waiting("pager") == 0


def test_a_storm_becomes_a_digest(host: Host, receiver: Receiver) -> None:
    for number in range(40):
        host.put(event(name=f"o{number}"), now=NOW + number)
        host.deliver(NOW + number)
    assert len(receiver.accepted()) == 30 and host.waiting() == 10
    host.deliver(NOW + 40 + 300)
    assert len(receiver.accepted()) == 31 and told(receiver) == [f"open o{number}" for number in range(40)]


def test_success_is_what_each_service_calls_success(host: Host, receiver: Receiver) -> None:
    login = Answer(200, b"<html>Please log in</html>")
    host.channels = [
        Channel.from_options({"name": "slack", "type": "slack", "url": receiver.url("/slack")}),
        Channel.from_options({"name": "discord", "type": "discord", "url": receiver.url("/discord")}),
        Channel.from_options({"name": "pager", "type": "pagerduty", "url": receiver.url("/pager"), "routing_key": "R" * 32}),
        Channel.from_options({"name": "teams", "type": "teams", "url": receiver.url("/teams")}),
    ]
    for name in ("/slack", "/discord", "/pager"):
        receiver.script(name, login)
    receiver.script("/teams", Answer(202, b""))
    host.put(event())
    assert sorted(host.deliver().failing) == ["discord", "pager", "slack"]
    receiver.script("/discord", Answer(200, b'{"id": "1"}'))
    receiver.script("/slack", Answer(200, b"ok"))
    receiver.script("/pager", ACCEPTED)
    assert host.deliver(NOW + 100).failing == {}
    assert receiver.accepted("/discord")[-1].path == "/discord?wait=true"


def test_discord_says_in_the_body_how_long_to_wait(host: Host, receiver: Receiver) -> None:
    host.channels = [Channel.from_options({"name": "hook", "type": "discord", "url": receiver.url()})]
    receiver.script("/hook", Answer(429, b'{"message": "You are being rate limited.", "retry_after": 90.5, "global": false}'), Answer(204, b""))
    host.put(event())
    host.deliver()
    assert host.deliver(NOW + 85).failing and not host.deliver(NOW + 95).failing


# -- TLS, proxies, secrets ------------------------------------------------------------------------------------------------


def test_an_unknown_certificate_is_not_trusted(host: Host, tmp_path: pathlib.Path) -> None:
    certificate = make_certificate(tmp_path)
    with Receiver(certificate=certificate) as receiver:
        host.channels = [webhook(receiver.url()), webhook(receiver.url("/known"), "known", ca_path=str(tmp_path / "certificate.pem"))]
        host.channels.append(webhook(receiver.url("/any"), "any", validate_certs=False))
        host.put(event())
        failing = host.deliver().failing
        assert failing.keys() == {"hook"} and failing["hook"].startswith("its certificate is not trusted: self")
        assert [one.path for one in receiver.received] and {one.path for one in receiver.received} == {"/known", "/any"}
        assert host.waiting() == 1


def test_only_the_proxy_of_the_configuration_is_used(host: Host, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    host.put(event())
    assert host.deliver().failing == {}
    with Receiver() as proxy:
        proxy.script("http://alerts.invalid/hook", Answer())
        host.channels = [webhook("http://alerts.invalid/hook", proxy=f"http://user:pa%20ss@127.0.0.1:{proxy.port}")]
        host.put(event("recovery"))
        assert host.deliver(NOW + 60).failing == {}
        (seen,) = proxy.received
        assert (seen.path, seen.headers["Host"], seen.headers["Proxy-Authorization"]) == (
            "http://alerts.invalid/hook",
            "alerts.invalid",
            "Basic dXNlcjpwYSBzcw==",
        )
        host.channels = [webhook("https://alerts.invalid/hook", proxy=f"http://127.0.0.1:{proxy.port}")]
        host.put(event())
        assert host.deliver(NOW + 120).failing == {"hook": "the proxy refused"}


def test_through_a_tunnel_the_certificate_is_looked_at_all_the_same(host: Host, tmp_path: pathlib.Path) -> None:
    certificate = make_certificate(tmp_path)
    with Receiver(certificate=certificate) as receiver, Tunnel("Basic dXNlcjpwYXNz") as tunnel:
        proxy = f"http://user:pass@127.0.0.1:{tunnel.port}"
        host.channels = [
            webhook(receiver.url(), proxy=proxy, ca_path=str(tmp_path / "certificate.pem")),
            webhook(receiver.url(), "unknown", proxy=proxy),
            webhook(receiver.url(), "stranger", proxy=f"http://127.0.0.1:{tunnel.port}"),
        ]
        host.put(event())
        failing = host.deliver().failing
        assert failing.pop("unknown").startswith("its certificate is not trusted") and failing == {"stranger": "the proxy refused"}
        assert told(receiver) == ["open api"] and {one.rpartition(" ")[0] for one in tunnel.requests} == {f"CONNECT 127.0.0.1:{receiver.port}"}


CANARIES = (
    "CANARYpath",
    "CANARYquery",
    "CANARYheader",
    "CANARYuser",
    "CANARYpass",
    "CANARYhmac",
    "CANARYroutingkey0000000000000000",
    "CANARYproxy",
    "CANARYargv",
)


@pytest.mark.parametrize(
    "answer", [Answer(404), Answer(500), Answer(302), Answer(how="hang"), Answer(how="reset"), Answer(how="garbage")], ids=lambda one: f"{one.status}{one.how}"
)
def test_secrets_are_in_no_text_and_no_file(host: Host, receiver: Receiver, answer: Answer, tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]) -> None:
    url = f"http://CANARYuser:CANARYpass@127.0.0.1:{receiver.port}/services/CANARYpath?token=CANARYquery"
    echoes = {"/services/CANARYpath": f"{url} /services/CANARYpath token=CANARYquery Bearer CANARYheader CANARYhmac", "/pager": f"bad {CANARIES[6]}"}
    for path, echo in echoes.items():
        receiver.script(path, dataclasses.replace(answer, body=echo.encode(), headers={"Location": url} if answer.status == 302 else {}))
    argv = ["/bin/sh", "-c", "echo $0 >&2; exit 3", "CANARYargv"]
    host.channels = [
        webhook(url, headers={"Authorization": "Bearer CANARYheader"}, hmac_secret="CANARYhmac"),
        webhook("http://other.invalid/CANARYpath", "proxied", proxy=f"http://x:CANARYproxy@127.0.0.1:{free_port()}"),
        Channel.from_options({"name": "pager", "type": "pagerduty", "url": receiver.url("/pager"), "routing_key": CANARIES[6]}),
        Channel.from_options({"name": "program", "type": "command", "argv": argv}),
        Channel.from_options({"name": "none", "type": "command", "argv": ["/nowhere/notify", "CANARYargv"]}),
        webhook("http://CANARYhost.invalid/CANARYpath", "lost"),
    ]
    host.put(event())
    report = host.deliver(limits=dataclasses.replace(LIMITS, send_seconds=0.7))
    assert len(report.failing) == 6
    status = host.spool.status([channel.name for channel in host.channels], NOW)
    everything = [repr(report), repr(status), repr(host.channels), *host.logged, *capfd.readouterr()]
    everything += [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    found = [canary for canary in CANARIES for text in everything if canary in text]
    assert found == [], [text for text in everything if any(canary in text for canary in CANARIES)]


# -- programs, tests, heartbeats ------------------------------------------------------------------------------------------


def test_mail_goes_to_sendmail(host: Host, tmp_path: pathlib.Path) -> None:
    program = tmp_path / "sendmail"
    program.write_text(f'#!/bin/sh\nprintf "%s " "$@" > {tmp_path}/args\ncat > {tmp_path}/mail\n')
    program.chmod(0o755)
    host.channels = [Channel.from_options({"name": "mail", "type": "email", "to": "ops@example.com", "sendmail_path": str(program)})]
    host.put(event(summary="down\r\nBcc: evil@example.com"))
    assert host.deliver().failing == {} and (tmp_path / "args").read_text() == "-t -i "
    head = (tmp_path / "mail").read_text().partition("\n\n")[0]
    assert "To: ops@example.com" in head and "\nBcc" not in head and host.waiting("mail") == 0


def test_a_program_gets_the_event_and_is_ended_with_its_children(host: Host, tmp_path: pathlib.Path) -> None:
    host.channels = [
        Channel.from_options({"name": "good", "type": "command", "argv": ["/bin/sh", "-c", f"cat > {tmp_path}/event"]}),
        Channel.from_options({"name": "hangs", "type": "command", "argv": ["/bin/sh", "-c", f"sleep 60 & echo $! > {tmp_path}/child; wait"]}),
        Channel.from_options({"name": "fails", "type": "command", "argv": ["/bin/sh", "-c", "echo 'no network' >&2; exit 3"]}),
    ]
    host.put(event())
    report = host.deliver(limits=dataclasses.replace(LIMITS, send_seconds=1.0))
    assert report.failing == {"hangs": "sh did not end within 1 s", "fails": "sh ended with exit code 3: no network"}
    assert json.loads((tmp_path / "event").read_text())["alerts"][0]["labels"]["object"] == "api"
    child = int((tmp_path / "child").read_text())
    status = pathlib.Path(f"/proc/{child}/stat")
    assert not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_test_goes_the_way_of_all_alerts(host: Host, receiver: Receiver) -> None:
    host.channels.append(webhook(receiver.url("/broken"), "broken"))
    receiver.script("/broken", Answer(500, b"out of order"))
    host.put(event())
    assert send_test(host.spool, host.channels, "web-01", "", NOW, LIMITS) == {"hook": "", "broken": "HTTP 500: out of order"}
    assert told(receiver) == ["open api", "test alert path"]
    assert (host.waiting(), host.waiting("broken")) == (0, 1)  # what is no test still waits
    receiver.script("/broken", Answer())
    assert send_test(host.spool, host.channels, "web-01", "", NOW + 1, LIMITS) == {"hook": "", "broken": ""}
    assert told(receiver, "/broken")[-2:] == ["open api", "test alert path"] or told(receiver, "/broken")[0] == "open api"


def test_a_refused_test_is_not_kept(host: Host, receiver: Receiver) -> None:
    receiver.script("/hook", Answer(410, b"gone"))
    assert send_test(host.spool, host.channels, "web-01", "", NOW, LIMITS) == {"hook": "HTTP 410: gone"}
    assert host.waiting() == 0 and host.spool.dead("hook") == []


def test_heartbeat(receiver: Receiver) -> None:
    assert heartbeat(receiver.url("/ping/uuid?create=1"), 2, "spool: 3 wait") == ""
    assert (receiver.received[0].path, receiver.received[0].body) == ("/ping/uuid/2?create=1", b"spool: 3 wait")
    receiver.script("/ping/uuid/0", Answer(500, b"/ping/uuid is broken"))
    assert heartbeat(receiver.url("/ping/uuid"), 0, "x" * 20_000) == "HTTP 500: [redacted] is broken"
    assert len(receiver.received[1].body) == 10_000
    assert heartbeat(f"http://127.0.0.1:{free_port()}/secretuuid", 0, "") == "Connection refused"


def test_a_channel_with_a_wrong_configuration_loses_nothing(host: Host, receiver: Receiver) -> None:
    good = host.channels[0]
    host.channels = [dataclasses.replace(good, problem="url is missing"), webhook(receiver.url("/other"), "other")]
    host.put(event())
    assert host.deliver().failing == {"hook": "its configuration is wrong: url is missing"} and receiver.accepted() == []
    host.channels[0] = good
    host.deliver(NOW + 10)
    assert told(receiver) == ["open api"]


def test_a_read_only_disk_does_not_send_the_same_alert_every_minute(host: Host, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    host.put(event())
    real_unlink, real_write = os.unlink, spool_module.write_whole

    def unlink(path: str, **more: t.Any) -> None:
        if str(path).startswith(host.spool.directory):
            raise OSError(30, "Read-only file system")
        real_unlink(path, **more)

    def write(path: str, content: bytes) -> None:
        if path.startswith(host.spool.directory):
            raise OSError(30, "Read-only file system")
        real_write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(spool_module.os, "unlink", unlink)
        patch.setattr(spool_module, "write_whole", write)
        for minute in range(5):
            host.deliver(NOW + 60 * minute)
        host.put(event("recovery"), now=NOW + 300)
        host.deliver(NOW + 300)
        assert told(receiver) == ["open api", "recovery api"]
    host.deliver(NOW + 360)
    assert told(receiver) == ["open api", "recovery api"] and host.waiting() == 0


# -- SIGKILL, and several at once -----------------------------------------------------------------------------------------


class Runner:
    """Runs checks in processes that can be killed; see tests/support/alert_runner.py."""

    def __init__(self) -> None:
        root = pathlib.Path(__file__).parents[2]
        environment = {**os.environ, "PYTHONPATH": str(root / ".venv" / "collections")}
        self._process = subprocess.Popen(
            [sys.executable, str(root / "tests" / "support" / "alert_runner.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __call__(self, job: t.Any) -> t.Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the runner ended with {self._process.wait(5)}"
        return json.loads(line)

    def close(self) -> None:
        self._process.communicate(timeout=10)


@pytest.fixture(scope="module")
def runner() -> t.Iterator[Runner]:
    one = Runner()
    yield one
    one.close()


@pytest.fixture
def memory(tmp_path: pathlib.Path) -> t.Iterator[pathlib.Path]:
    """A directory in memory, where there is such: thousands of syncs to a disk that others use take minutes."""
    shared = pathlib.Path("/dev/shm")
    path = pathlib.Path(tempfile.mkdtemp(prefix="alerts-", dir=shared if os.access(shared, os.W_OK) else tmp_path))
    yield path
    shutil.rmtree(path, ignore_errors=True)


OBJECTS = {"a": "occcoo", "b": "oooccco"}
LAST = 7
SETTLED = 18


def expected(without: t.Optional[int]) -> list[tuple[str, str]]:
    """Return what has to be told of the whole timeline, or of it *without* the run that was killed before it counted."""
    state, events = machine.new_state("health", NOW), []
    for number in range(SETTLED + 1):
        if number == without:
            continue
        seen = [Observation(name, {"o": "ok", "c": "critical"}[letters[min(number, len(letters) - 1)]], "") for name, letters in OBJECTS.items()]
        state, told_now = machine.advance(
            state, seen, Policy(fail_after=2, recover_after=1, repeat_seconds=0), machine.RunContext("health", "web-01", NOW + 60 * number)
        )
        events += [(event.kind, event.object) for event in told_now]
    return events


def first_arrivals(receiver: Receiver) -> tuple[list[tuple[str, str]], dict[tuple[str, str], set[str]]]:
    """Return which events arrived in the order of their first arrival, and all keys with which each arrived."""
    order: list[tuple[str, str]] = []
    keys: dict[tuple[str, str], set[str]] = {}
    for alert in receiver.alerts():
        name = (alert["x"]["kind"], alert["labels"]["object"])
        if name not in order:
            order.append(name)
        keys.setdefault(name, set()).add(f"{alert['fingerprint']} {alert['x']['incident_id']}")
    return order, keys


def settled_problems(runner: Runner, directory: pathlib.Path, trouble: t.Sequence[Answer], kill_after: t.Optional[int]) -> tuple[list[str], t.Optional[int]]:
    """Go through the timeline with one kill in it, and return what is wrong in the end and how many steps there were."""
    with Receiver() as receiver:
        receiver.script("/hook", *trouble, Answer())
        receiver.script("/pager", *trouble, ACCEPTED)
        channels = [
            {"name": "hook", "type": "webhook", "url": receiver.url()},
            {"name": "pager", "type": "pagerduty", "url": receiver.url("/pager"), "routing_key": "R" * 32},
        ]
        job = {
            "directory": str(directory),
            "check": "health",
            "start": NOW,
            "objects": OBJECTS,
            "channels": channels,
            "first": 0,
            "last": LAST,
            "kill_after": kill_after,
        }
        first = runner(job)
        lost = None
        if kill_after is not None:
            assert first["code"] in (-9, 0), first
            lost = first["run"] if first["code"] == -9 else None
            second = runner({**job, "first": first["run"] + 1, "last": SETTLED, "kill_after": None})
        else:
            second = runner({**job, "first": LAST + 1, "last": SETTLED})
        assert second["code"] == 0, second
        order, keys = first_arrivals(receiver)
        wanted = [expected(None), *([expected(lost)] if lost is not None else [])]
        problems = []
        if order not in wanted:
            problems.append(f"{order} arrived, and not one of {wanted}")
        problems += [f"{name} arrived with {found}" for name, found in keys.items() if len(found) != 1]
        for name in OBJECTS:
            found = {key for (dummy, one), values in keys.items() if one == name for key in values}
            if len(found) > 1:
                problems.append(f"{name}: its events have different keys: {found}")
        actions: dict[str, list[str]] = {}
        for one in receiver.accepted("/pager"):
            taken = actions.setdefault(one.json["dedup_key"], [])
            if one.json["event_action"] not in taken:
                taken.append(one.json["event_action"])
        if len(order) == 4 and sorted(actions.values()) != [["trigger", "resolve"]] * 2:
            problems.append(f"the pager was told {actions}")
        spool = Spool(str(directory), f"{directory}/run")
        if spool.status([], NOW)["waiting"]:
            problems.append(f"something still waits: {spool.status([], NOW)}")
        return problems, first["steps"]


@pytest.mark.parametrize("trouble", [(), (Answer(500), Answer(503))], ids=["well", "in-trouble"])
def test_killed_after_each_step(runner: Runner, memory: pathlib.Path, trouble: tuple[Answer, ...]) -> None:
    problems, steps = settled_problems(runner, memory / "whole", trouble, None)
    assert problems == [] and steps is not None and steps > 60
    numbers = range(1, steps + 1) if ALL_STEPS or not trouble else range(1, steps + 1, 3)
    for number in numbers:
        found, dummy = settled_problems(runner, memory / str(number), trouble, number)
        problems += [f"after step {number} of {steps}: {problem}" for problem in found]
    assert not problems, "\n".join(problems)


def test_several_checks_at_once_lose_nothing(runner: Runner, memory: pathlib.Path) -> None:
    with Receiver() as receiver:
        receiver.script("/hook", Answer(500), Answer(), Answer(500), Answer())
        channels = [{"name": "hook", "type": "webhook", "url": receiver.url()}]
        jobs = [
            {"directory": str(memory), "check": f"check{number}", "start": NOW, "objects": {f"{number}a": "cc" + "oocc" * 5, f"{number}b": "oc" + "ccoo" * 5},
             "channels": channels, "first": 0, "last": 20}
            for number in range(4)
        ]  # fmt: skip
        assert [one["code"] for one in runner(jobs)] == [0] * 4
        # Whoever was last may have left something, and the storm brake gathers.
        runner([{**jobs[0], "objects": {"0a": "c", "0b": "o"}, "first": 200, "last": 210}])
        spool = Spool(str(memory), f"{memory}/run")
        assert spool.status([], NOW)["waiting"] == 0
        for number in range(1, 4):
            for name in ("a", "b"):
                kinds = [alert["x"]["kind"] for alert in receiver.alerts() if alert["labels"]["object"] == f"{number}{name}"]
                unique = [kind for index, kind in enumerate(kinds) if index == 0 or kinds[index - 1] != kind]
                assert len(kinds) == len(unique) >= 9 and kinds == ["open", "recovery"] * (len(kinds) // 2) + ["open"] * (len(kinds) % 2), (number, name, kinds)
