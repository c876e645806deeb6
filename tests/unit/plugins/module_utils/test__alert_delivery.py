# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What answers mean, and delivery to receivers that take, refuse and fail at random. With real ones: tests/faults/test_alert_delivery.py."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time
import typing as t
from email.utils import formatdate

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _alert_delivery as delivery
from ansible_collections.stackops.runbook.plugins.module_utils._alert_channels import Channel
from ansible_collections.stackops.runbook.plugins.module_utils._alert_delivery import Limits, Outcome, deliver, judge
from ansible_collections.stackops.runbook.plugins.module_utils._alert_messages import Request
from ansible_collections.stackops.runbook.plugins.module_utils._alert_spool import Spool
from ansible_collections.stackops.runbook.plugins.module_utils._guarded_files import lock_file, unlock_file
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_types import Event
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = 1795435200.0
HOOK = Channel("hook", "webhook", url="http://127.0.0.1:1/hook")
LIMITS = Limits(jitter=0.0, pause_seconds=0.0)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the syncs to the disk, which take minutes where others use it as well."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(delivery, "log_alert", lines.append)
    return lines


def event(kind: str, name: str = "api", incident: str = "i", at: float = NOW) -> Event:
    over = kind == "recovery"
    return Event(
        kind=kind, check="health", object=name, stack="shop", host="web-01", status="ok" if over else "critical",
        previous_status="critical" if over else "ok", since=at, at=at, summary="down", cause="", next_command="", details=(),
        incident_id=incident, dedupe_key=f"k {name}", failures=1, worst_status="critical",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "status", "body", "verdict"),
    [
        ("slack", 200, b"ok", "accepted"),
        ("slack", 200, b'{"success": true}', "accepted"),
        ("slack", 200, b"invalid_token", "retry"),
        ("slack", 404, b"no_service", "refused"),
        ("slack", 410, b"channel_is_archived", "refused"),
        ("discord", 204, b"", "accepted"),
        ("discord", 200, b'{"id": "1"}', "accepted"),
        ("discord", 200, b"<html>", "retry"),
        ("discord", 400, b'{"code": 50006}', "refused"),
        ("teams", 202, b"", "accepted"),
        ("teams", 200, b"1", "accepted"),
        ("pagerduty", 202, b'{"status": "success", "message": "Event processed", "dedup_key": "x"}', "accepted"),
        ("pagerduty", 200, b'{"status": "success"}', "retry"),
        ("pagerduty", 202, b"<html>", "retry"),
        ("pagerduty", 400, b'{"status": "invalid event"}', "refused"),
        *(("webhook", status, b"", "accepted") for status in (200, 201, 202, 204, 299)),
        *(("webhook", status, b"", "retry") for status in (301, 302, 303, 307, 308, 408, 425, 429, 500, 501, 502, 503, 504, 599)),
        *(("webhook", status, b"", "refused") for status in (400, 401, 403, 404, 405, 410, 413, 422)),
    ],
)
def test_what_an_answer_means(kind: str, status: int, body: bytes, verdict: str) -> None:
    assert judge(Channel("x", kind), status, {}, body).verdict == verdict


@pytest.mark.parametrize(
    ("kind", "headers", "body", "seconds"),
    [
        ("webhook", {"Retry-After": "120"}, b"", 120.0),
        ("webhook", {"Retry-After": " 1.5 "}, b"", 1.5),
        ("webhook", {"Retry-After": "999999999"}, b"", 3600.0),
        ("webhook", {"Retry-After": "-5"}, b"", None),
        ("webhook", {"Retry-After": "nan"}, b"", None),
        ("webhook", {"Retry-After": "soon"}, b"", None),
        ("webhook", {"Retry-After": "Mon, 23 Nov 2026 12:05:00 GMT", "Date": "Mon, 23 Nov 2026 12:00:00 GMT"}, b"", 300.0),
        ("webhook", {"Retry-After": "Mon, 23 Nov 2026 11:00:00 GMT", "Date": "Mon, 23 Nov 2026 12:00:00 GMT"}, b"", 0.0),
        ("webhook", {}, b'{"retry_after": 5}', None),
        ("discord", {"Retry-After": "1"}, b'{"retry_after": 64.57}', 64.57),
        ("discord", {}, b'{"retry_after": 64570}', 64.57),
        ("discord", {}, b'{"retry_after": true}', None),
        ("discord", {}, b"[" * 100_000, None),
    ],
)
def test_how_long_a_receiver_wants_to_be_left_alone(kind: str, headers: dict[str, str], body: bytes, seconds: t.Optional[float]) -> None:
    assert judge(Channel("x", kind), 429, headers, body).retry_after == seconds


def test_a_date_without_the_receivers_own_time_is_taken_by_ours() -> None:
    found = judge(HOOK, 503, {"Retry-After": formatdate(time.time() + 100, usegmt=True)}, b"").retry_after
    assert found is not None and 90 < found <= 100


def test_while_another_delivers_nothing_is_sent(tmp_path: pathlib.Path) -> None:
    spool = Spool(str(tmp_path / "m"), str(tmp_path / "r"))
    spool.put("aa", [event("open")], [HOOK], NOW)
    lock = lock_file(str(tmp_path / "m" / "deliver.lock"), 0, {"pid": 1})
    report = deliver(spool, [HOOK], NOW, Limits(lock_seconds=0.1), send=lambda *dummy: Outcome("accepted"))
    assert report.busy and len(spool.waiting("hook")) == 1
    unlock_file(lock)
    assert not deliver(spool, [HOOK], NOW, send=lambda *dummy: Outcome("accepted")).busy and spool.waiting("hook") == []


def test_with_nothing_to_do_nothing_is_imported_or_locked(tmp_path: pathlib.Path) -> None:
    assert deliver(Spool(str(tmp_path / "m"), str(tmp_path / "r")), [HOOK], NOW).channels == {} and not (tmp_path / "m").exists()


def test_what_no_message_can_be_made_of_holds_nobody_up(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> None:
    spool = Spool(str(tmp_path / "m"), str(tmp_path / "r"))
    spool.put("aa", [event("open")], [HOOK], NOW)
    spool.put("ab", [event("open", "db")], [HOOK], NOW + 1)
    real = delivery.build

    def build(channel: Channel, entries: t.Any, *more: t.Any) -> t.Any:
        if any(one.object == "api" for entry in entries for one in entry.events):
            raise KeyError("a fault of ours")
        return real(channel, entries, *more)

    monkeypatch.setattr(delivery, "build", build)
    report = deliver(spool, [HOOK], NOW, LIMITS, send=lambda *dummy: Outcome("accepted"))
    assert report.channels["hook"].events == 1 and len(spool.dead("hook")) == 1 and "no message could be made of it (KeyError)" in logged[0]


def test_a_delivery_that_fails_by_itself_says_so(tmp_path: pathlib.Path, logged: list[str]) -> None:
    spool = Spool(str(tmp_path / "m"), str(tmp_path / "r"))
    spool.put("aa", [event("open")], [HOOK], NOW)

    def send(*dummy: t.Any) -> Outcome:
        raise KeyError("secret")

    assert deliver(spool, [HOOK], NOW, LIMITS, send=send).failing == {"hook": "KeyError in the delivery itself"} and len(spool.waiting("hook")) == 1
    assert "secret" not in "".join(logged)


def test_sending_is_what_costs_imports() -> None:
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; from ansible_collections.stackops.runbook.plugins.module_utils import _alert_delivery; "
        "print([name for name in ('ssl', 'http', 'email', 'urllib.request', 'syslog', 'docker', 'tempfile') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=30, check=True).stdout == "[]\n"


# -- at random ------------------------------------------------------------------------------------------------------------

VERDICTS = st.sampled_from(["accepted", "accepted", "retry", "refused", "killed"])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.lists(VERDICTS, max_size=4), st.sampled_from([60.0, 60.0, 600.0, 4000.0, -7200.0])), min_size=1, max_size=12))
def test_each_change_is_accepted_or_kept_and_in_order(tmp_path_factory: pytest.TempPathFactory, minutes: list[tuple[bool, list[str], float]]) -> None:
    root = tmp_path_factory.mktemp("spool")
    spool = Spool(str(root / "m"), str(root / "r"))
    channel = Channel("pager", "pagerduty", url="http://127.0.0.1:1/", routing_key="R" * 32)
    arrived: list[tuple[str, str]] = []
    put: list[tuple[str, str]] = []
    now = NOW
    verdicts: list[str] = []

    class Killed(BaseException):
        """The process is gone, after the receiver has taken the message."""

    def send(dummy_channel: Channel, request: Request, dummy_limits: Limits, dummy_seconds: float) -> Outcome:
        verdict = verdicts.pop(0) if verdicts else "accepted"
        payload = json.loads(request.body)
        if verdict in ("accepted", "killed"):
            arrived.append((payload["event_action"], payload["payload"]["custom_details"]["Incident"]))
        if verdict == "killed":
            raise Killed
        return Outcome(verdict, "it says so")

    for number, (news, script, step) in enumerate(minutes):
        now += step
        if news:
            kind = "open" if len(put) % 2 == 0 else "recovery"
            incident = f"i{len(put) // 2}"
            put.append(("trigger" if kind == "open" else "resolve", incident))
            spool.put(f"{number:08x}", [event(kind, incident=incident, at=now)], [channel], now)
        verdicts = list(script)
        drain = delivery._Drain(spool, channel, [channel], now, LIMITS, False, send)
        try:
            drain.run()
        except Killed:
            pass
    dead = {(one.kind, one.incident_id) for path in spool.dead("pager") for entry in [spool.read(path)] if entry for one in entry.events}
    waiting = {(one.kind, one.incident_id) for path in spool.waiting("pager") for entry in [spool.read(path)] if entry for one in entry.events}
    words = {"trigger": "open", "resolve": "recovery"}
    for action, incident in put:
        assert (action, incident) in arrived or (words[action], incident) in dead | waiting
    first = [one for index, one in enumerate(arrived) if one not in arrived[:index]]
    assert first == [one for one in put if one in first]
