# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What waits: in order, once, whatever the disk does; and what may go when there is too much of it."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import time
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _alert_spool as spool_module
from ansible_collections.stackops.runbook.plugins.module_utils._alert_channels import Channel
from ansible_collections.stackops.runbook.plugins.module_utils._alert_spool import Entry, Spool, wants
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_types import Event
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = 1795435200.0
OPS = Channel("ops", "slack")
PAGER = Channel("pager", "pagerduty")


def event(kind: str = "open", name: str = "api", status: str = "critical", incident: str = "", **more: t.Any) -> Event:
    values: dict[str, t.Any] = {
        "kind": kind, "check": "health", "object": name, "stack": "shop", "host": "web-01", "status": "ok" if kind == "recovery" else status,
        "previous_status": status if kind == "recovery" else "ok", "since": NOW - 60, "at": NOW, "summary": "down", "cause": "", "next_command": "",
        "details": ("one",), "incident_id": incident or f"incident of {name}", "dedupe_key": f"key of {name}", "failures": 3, "worst_status": status,
    }  # fmt: skip
    return Event(**{**values, **more})


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the syncs to the disk, which take minutes where others use it as well."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def spool(tmp_path: pathlib.Path) -> Spool:
    return Spool(str(tmp_path / "monitoring"), str(tmp_path / "run"))


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(spool_module, "log_alert", lines.append)
    return lines


def entries(spool: Spool, channel: str = "ops") -> list[Entry]:
    return [entry for entry in map(spool.read, spool.waiting(channel)) if entry is not None]


def kinds(spool: Spool, channel: str = "ops") -> list[str]:
    return [f"{one.kind} {one.object}" for entry in entries(spool, channel) for one in entry.events]


def test_a_batch_waits_once_for_each_channel(spool: Spool) -> None:
    spool.put("aaaa0001", [event(), event(name="db")], [OPS, PAGER], NOW)
    spool.put("aaaa0001", [event(), event(name="db")], [OPS, PAGER], NOW + 5)
    assert [len(entry.events) for entry in entries(spool)] == [2]
    assert [len(entry.events) for entry in entries(spool, "pager")] == [1, 1]  # it keeps incidents of its own
    assert entries(spool)[0].events[0] == event()
    for path in spool.waiting("ops"):
        assert os.stat(path).st_mode & 0o777 == 0o600 and os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700


def test_order_is_that_of_writing_even_when_the_clock_is_set_back(spool: Spool) -> None:
    for number, moment in enumerate([NOW, NOW + 60, NOW - 3600, NOW - 3599, NOW - 3600]):
        spool.put(f"{number:08x}", [event(name=str(number))], [OPS], moment)
    assert kinds(spool) == [f"open {number}" for number in range(5)]


def test_names_are_as_documented(spool: Spool) -> None:
    spool.put("abcdef012345", [event()], [OPS], NOW)
    assert [os.path.basename(path) for path in spool.waiting("ops")] == ["01795435200000000000-abcdef0123450000-open.json"]


def test_a_channel_hears_only_of_what_is_bad_enough_and_then_to_the_end() -> None:
    strict = Channel("strict", "slack", minimum_status="critical")
    assert (
        not wants(strict, event(status="warning"))
        and wants(strict, event())
        and wants(OPS, event(status="unknown"))
        and not wants(strict, event(status="unknown"))
    )
    assert wants(strict, event("change", status="warning", previous_status="critical", worst_status="critical"))
    assert wants(strict, event("recovery", status="warning", worst_status="critical"))
    assert not wants(strict, event("recovery", status="warning"))
    assert wants(strict, event("test", status="ok", worst_status=""))


def test_what_is_removed_dead_and_alive_again(spool: Spool) -> None:
    for number, kind in enumerate(("open", "change", "recovery")):
        spool.put(f"{number:08x}", [event(kind)], [OPS], NOW + number)
    first, second, third = entries(spool)
    spool.remove([first])
    spool.bury(second, "ops")
    assert kinds(spool) == ["recovery api"] and len(spool.dead("ops")) == 1
    spool.remove([third])
    assert spool.revive("ops", ()) == 1 and kinds(spool) == ["change api"] and spool.dead("ops") == []


def test_what_was_overtaken_does_not_come_alive_again(spool: Spool) -> None:
    spool.put("aaaa0001", [event(), event(name="db")], [OPS], NOW)
    spool.bury(entries(spool)[0], "ops")
    assert spool.revive("ops", {"incident of api"}) == 1 and kinds(spool) == ["open db"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"events": [{}]}'])
def test_a_damaged_entry_is_set_aside_and_said(spool: Spool, logged: list[str], content: bytes) -> None:
    spool.put("aaaa0001", [event()], [OPS], NOW)
    path = spool.waiting("ops")[0]
    pathlib.Path(path).write_bytes(content)
    assert spool.read(path) is None and spool.waiting("ops") == [] and "damaged" in logged[0]


def test_a_full_disk_falls_back_to_memory_and_then_to_the_log(spool: Spool, logged: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    full = {spool.directory}
    real = spool_module.write_whole

    def write(path: str, content: bytes) -> None:
        if any(path.startswith(one) for one in full):
            raise OSError(28, "No space left on device")
        real(path, content)

    monkeypatch.setattr(spool_module, "write_whole", write)
    assert spool.put("aaaa0001", [event(name="first")], [OPS], NOW) == []
    full.clear()
    assert spool.put("aaaa0002", [event(name="second")], [OPS], NOW + 1) == []
    assert kinds(spool) == ["open first", "open second"] and logged == []
    full.add(os.path.dirname(spool.directory))
    assert spool.put("aaaa0003", [event(name="third")], [OPS], NOW + 2) == ["ops"]
    assert logged == ["could not be kept for channel ops: open critical web-01 health third: down"]
    spool.bury(entries(spool)[0], "ops")
    assert kinds(spool) == ["open second"] and len(spool.dead("ops")) == 1
    # A read-only disk that still holds an entry: what is remembered goes to memory as well.
    spool.remember("ops", {"sent": [1]})
    full.clear()
    assert spool.memory("ops") == {}
    full.add(spool.directory)
    spool.remember("ops", {"sent": [1]})
    assert spool.memory("ops")["sent"] == [1]
    full.clear()
    spool.remember("ops", {**spool.memory("ops"), "sent": [2]})
    assert spool.memory("ops")["sent"] == [2]


def test_status(spool: Spool) -> None:
    spool.put("aaaa0001", [event()], [OPS], NOW)
    spool.put("aaaa0002", [event("recovery")], [OPS], NOW + 60)
    spool.bury(dataclasses.replace(entries(spool)[1], last_error="HTTP 404"), "ops")
    spool.put("aaaa0003", [event()], [Channel("gone", "slack")], NOW)
    status = spool.status(["ops", "idle"], NOW + 600)
    assert (status["waiting"], status["dead"], status["oldest_seconds"]) == (2, 1, 600.0)
    assert status["channels"]["ops"]["dead_reason"] == "HTTP 404" and status["channels"]["ops"]["waiting"] == 1
    assert not status["channels"]["gone"]["configured"] and status["channels"]["idle"]["oldest_seconds"] is None


def test_what_killed_processes_left_is_swept_up(spool: Spool) -> None:
    spool.put("aaaa0001", [event()], [OPS], NOW)
    directories = [pathlib.Path(spool.directory), pathlib.Path(spool.waiting("ops")[0]).parent]
    for directory in directories:
        for name, age in ((".new-old", 7200), (".new-young", 60), ("state-health.json", 7200)):
            (directory / name).touch()
            os.utime(directory / name, (time.time() - age,) * 2)
    spool.sweep()
    for directory in directories:
        assert {".new-old", ".new-young", "state-health.json"} & set(os.listdir(directory)) == {".new-young", "state-health.json"}
    assert kinds(spool) == ["open api"] and spool.channels() == ["ops"]


# -- bounds ---------------------------------------------------------------------------------------------------------------


def test_of_the_reminders_of_an_incident_one_waits(spool: Spool, logged: list[str]) -> None:
    spool.put("00000000", [event()], [OPS], NOW)
    for number in range(1, 5):
        spool.put(f"{number:08x}", [event("reminder", at=NOW + number)], [OPS], NOW + number)
    assert spool.trim("ops", NOW + 10) == 3 and kinds(spool) == ["open api", "reminder api"] and logged == []
    assert entries(spool)[1].events[0].at == NOW + 4


def test_when_too_many_wait_they_go_in_order(spool: Spool, logged: list[str]) -> None:
    number = 0

    def put(*events: Event) -> None:
        nonlocal number
        number += 1
        spool.put(f"{number:08x}", events, [OPS], NOW + number)

    put(event(name="still down"))
    put(event("reminder", name="still down"))
    put(event(name="flapped", incident="f1"), event(name="worse", status="warning"))
    put(event("recovery", name="flapped", incident="f1"))
    put(event("change", name="worse"))
    put(event(name="other"))
    assert spool.trim("ops", NOW + 10, max_files=5) == 3
    assert kinds(spool) == ["open still down", "open worse", "change worse", "open other"]
    assert entries(spool)[1].notes[0].startswith("2 messages of the last 0 h were dropped") and "flapped (critical)" in entries(spool)[1].notes[0]
    assert len(logged) == 1
    put(event(name="newest"))
    spool.trim("ops", NOW + 10, max_files=5)
    assert kinds(spool) == ["open still down", "change worse", "open other", "open newest"]


def test_an_outage_of_weeks_forgets_no_incident_that_is_open(spool: Spool, logged: list[str]) -> None:
    day = 86400.0
    spool.put("00000001", [event(name="long", incident="l")], [OPS], NOW)
    spool.put("00000002", [event(name="short", incident="s")], [OPS], NOW + day)
    spool.put("00000003", [event("recovery", name="short", incident="s")], [OPS], NOW + 2 * day)
    for number in range(4, 60):
        spool.put(f"{number:08x}", [event("reminder", name="long", incident="l")], [OPS], NOW + number * day / 6)
        spool.trim("ops", NOW + number * day / 6)
    spool.trim("ops", NOW + 10 * day)
    assert kinds(spool) == ["reminder long"]
    assert [entry.notes for entry in entries(spool) if entry.notes][0][0].startswith("2 messages of the last")


KINDS = st.lists(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("oocr")), min_size=1, max_size=3), max_size=25)


@settings(max_examples=60, deadline=None)
@given(KINDS, st.integers(2, 8))
def test_the_last_word_on_every_incident_is_kept_as_long_as_there_is_room(
    tmp_path_factory: pytest.TempPathFactory, runs: list[list[tuple[str, str]]], bound: int
) -> None:
    root = tmp_path_factory.mktemp("spool")
    spool = Spool(str(root / "m"), str(root / "r"))
    open_now: dict[str, int] = {}
    last: dict[str, tuple[int, str]] = {}
    serial = 0
    for number, run in enumerate(runs):
        events = []
        for name, letter in dict(run).items():
            if name not in open_now:
                serial += 1
                open_now[name] = serial
                kind = "open"
            else:
                kind = {"o": "change", "c": "recovery", "r": "reminder"}[letter]
            incident = f"{name}{open_now[name]}"
            events.append(event(kind, name=name, incident=incident, at=NOW + number))
            if kind != "reminder":
                last[incident] = (number, kind)
            if kind == "recovery":
                del open_now[name]
        spool.put(f"{number:08x}", events, [OPS], NOW + number)
    before = [one for entry in entries(spool) for one in entry.events]
    spool.trim("ops", NOW + 100, max_files=bound)
    left = [one for entry in entries(spool) for one in entry.events]
    assert len(spool.waiting("ops")) <= bound
    # In order, and nothing that was not there.
    positions = [before.index(one) for one in left]
    assert positions == sorted(positions)
    if len(open_now) < bound * 9 // 10:
        kept = {one.incident_id for one in left}
        assert all(f"{name}{number}" in kept for name, number in open_now.items())
    # What is left of an incident ends as the incident does; only a reminder may be missing after that.
    ends = {one.incident_id: one.at for one in left}
    assert all(moment >= NOW + last[incident][0] for incident, moment in ends.items())


def test_a_second_trim_after_a_kill_in_the_first_ends_the_same(spool: Spool, logged: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        spool.put(f"{number:08x}", [event("open" if number % 2 == 0 else "recovery", incident=f"i{number // 2}")], [OPS], NOW + number)

    def interrupted(*dummy: t.Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "remove", interrupted)
        with pytest.raises(KeyboardInterrupt):
            spool.trim("ops", NOW + 20, max_files=5)
    spool.trim("ops", NOW + 20, max_files=5)
    assert [entry.notes for entry in entries(spool)] == [[entries(spool)[0].notes[0]]] and "10 messages" in entries(spool)[0].notes[0]
