# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From observations to events: rule by rule, and against a model that is slow and obvious."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _check_state as machine
from ansible_collections.stackops.runbook.plugins.module_utils._check_state import RunContext, advance, load_state, new_state, save_state, settle
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._maintenance import Window
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_types import Event, Observation, Policy
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = 1795435200.0
MINUTE = 60.0
LETTERS = {"o": "ok", "w": "warning", "c": "critical", "u": "unknown"}
WINDOW = Window("w1", "backup", ("shop",), (), NOW - 3600, NOW + 360000)


class Check:
    """A check that runs every minute."""

    def __init__(self, policy: t.Optional[Policy] = None, **context: t.Any) -> None:
        self.policy = policy or Policy()
        self.context = RunContext("health", "web-01", NOW, **context)
        self.state = new_state("health", NOW)
        self.events: list[Event] = []

    def run(self, *seen: Observation, after: float = MINUTE, **context: t.Any) -> list[str]:
        """Run once and return what was told, as ``kind object status``."""
        self.context = dataclasses.replace(self.context, now=self.context.now + after, **context)
        before = copy.deepcopy(self.state)
        state, events = advance(self.state, seen, self.policy, self.context)
        assert self.state == before  # pure
        again = advance(json.loads(json.dumps(before)), seen, self.policy, self.context)
        assert json.dumps([state, [dataclasses.asdict(one) for one in events]]) == json.dumps([again[0], [dataclasses.asdict(one) for one in again[1]]])
        state["outbox"] = []
        self.state = json.loads(json.dumps(state))
        self.events += events
        return [f"{event.kind} {event.object} {event.status}" for event in events]

    def all(self, letters: str, name: str = "api", **more: t.Any) -> list[str]:
        """Run once for each letter and return for each run the kind of what was told, or a dot."""
        told = []
        for letter in letters:
            events = self.run(Observation(name, LETTERS[letter], f"it is {LETTERS[letter]}", "shop", **more))
            told.append(events[0].split()[0] + ":" + events[0].split()[2] if events else ".")
        return told


# -- rules, one by one ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("letters", "told"),
    [
        ("ooo", ". . ."),
        ("cco", ". . ."),
        ("ccc", ". . open:critical"),
        ("cccoo", ". . open:critical . recovery:ok"),
        ("cccoco", ". . open:critical . . ."),
        ("cwc", ". . open:critical"),
        ("ccw", ". . open:warning"),
        ("wwwc", ". . open:warning change:critical"),
        ("cccwww", ". . open:critical . . change:warning"),
        ("cccwwcwww", ". . open:critical . . . . . change:warning"),
        ("cococ", ". . . . open:critical"),
        ("cococoo", ". . . . open:critical . recovery:ok"),
        ("cccoocoo", ". . open:critical . recovery:ok . . ."),
        ("uuuu", ". . . ."),
        ("uuuuu", ". . . . open:unknown"),
        ("uuuuoou", ". . . . . . ."),
        ("uuuuuoo", ". . . . open:unknown . recovery:ok"),
        ("uuuuuccc", ". . . . open:unknown . . change:critical"),
        ("cccuuuuuuu", ". . open:critical . . . . . . ."),
        ("cccuuoo", ". . open:critical . . . recovery:ok"),
        ("cccouo", ". . open:critical . . ."),
        ("ccuc", ". . . open:critical"),
    ],
)
def test_sequences(letters: str, told: str) -> None:
    assert Check().all(letters) == told.split()


def test_a_check_over_a_window_needs_no_second_failure() -> None:
    assert Check(Policy(fail_after=1, recover_after=1)).all("wco") == ["open:warning", "change:critical", "recovery:ok"]


def test_an_event_says_what_since_when_and_how_often() -> None:
    check = Check(group="prod")
    check.all("occc", cause="the database is down", next_command="docker compose -p shop ps", details=("one", "two"))
    (event,) = check.events
    assert (event.check, event.object, event.stack, event.host, event.status, event.previous_status) == ("health", "api", "shop", "web-01", "critical", "ok")
    assert (event.since, event.at, event.failures) == (NOW + 2 * MINUTE, NOW + 4 * MINUTE, 3)
    assert (event.summary, event.cause, event.next_command, event.details) == (
        "it is critical",
        "the database is down",
        "docker compose -p shop ps",
        ("one", "two"),
    )
    check.all("oo")
    recovery = check.events[-1]
    assert (recovery.kind, recovery.previous_status, recovery.since) == ("recovery", "critical", NOW + 2 * MINUTE)
    assert (recovery.incident_id, recovery.dedupe_key) == (event.incident_id, event.dedupe_key)
    check.all("ccc")
    assert check.events[-1].incident_id != event.incident_id and check.events[-1].dedupe_key == event.dedupe_key


def test_dedupe_key_is_made_of_names_alone() -> None:
    key = machine.dedupe_key("prod", "web-01", "shop", "health", "api")
    assert key == machine.dedupe_key("prod", "web-01", "shop", "health", "api") == "343b4b8d0938a277b39a013f36286728" and len(key) == 32
    assert len({machine.dedupe_key(*parts) for parts in (("a", "b", "c", "d", "e"), ("a|b", "", "c", "d", "e"), ("a", "b", "c", "d", "E"))}) == 3


def test_reminders() -> None:
    check = Check(Policy(repeat_seconds=300))
    assert check.all("ccc" + "c" * 12) == [".", ".", "open:critical", *[".", ".", ".", ".", "reminder:critical"] * 2, ".", "."]
    # What looks better, or cannot be explained anew, is no time for one.
    assert check.all("o") == ["."]
    assert Check(Policy(repeat_seconds=0)).all("ccc" + "c" * 300).count("reminder:critical") == 0


def test_nothing_counts_across_a_gap() -> None:
    check = Check()
    check.all("cc")
    check.context = dataclasses.replace(check.context, now=check.context.now + 4 * MINUTE)
    assert check.all("ccc") == [".", ".", "open:critical"]
    assert check.events[0].details == ("no data for 5 min before",)
    check.all("o")
    check.context = dataclasses.replace(check.context, now=check.context.now + 4 * MINUTE)
    assert check.all("oo") == [".", "recovery:ok"]


def test_three_intervals_are_no_gap() -> None:
    check = Check()
    check.all("cc")
    check.context = dataclasses.replace(check.context, now=check.context.now + 2 * MINUTE)
    assert check.all("c") == ["open:critical"]


def test_clock_set_back() -> None:
    check = Check(Policy(repeat_seconds=300))
    check.all("ccc")
    check.context = dataclasses.replace(check.context, now=NOW - 7 * 86400)
    assert check.all("cccccc") == [".", ".", ".", ".", ".", "reminder:critical"]
    assert check.events[-1].since <= check.events[-1].at == NOW - 7 * 86400 + 6 * MINUTE
    assert check.all("oo") == [".", "recovery:ok"]


# -- parents --------------------------------------------------------------------------------------------------------------


def engine(letter: str) -> Observation:
    return Observation("engine", LETTERS[letter], "engine")


def child(letter: str, *parents: str) -> Observation:
    return Observation("shop/api", LETTERS[letter], "api", "shop", parents=parents or ("engine",))


def test_a_child_of_a_dead_parent_is_silent_and_goes_on_counting_afterwards() -> None:
    check = Check()
    assert [check.run(engine("c"), child("c")) for dummy in range(4)] == [[], [], ["open engine critical"], []]
    assert check.state["objects"]["shop/api"]["suppressed_by"] == "engine"
    told = [check.run(engine("o"), child("c")) for dummy in range(6)]
    assert told == [[], ["recovery engine ok"], [], [], ["open shop/api critical"], []]


def test_a_child_that_comes_back_with_its_parent_is_never_told() -> None:
    check = Check()
    for dummy in range(5):
        check.run(engine("c"), child("c"))
    assert [check.run(engine("o"), child("o")) for dummy in range(3)] == [[], ["recovery engine ok"], []]


def test_an_open_incident_of_a_child_is_ended_while_its_parent_is_down() -> None:
    check = Check(Policy(repeat_seconds=60))
    for dummy in range(3):
        check.run(engine("o"), child("c"))
    assert check.run(engine("c"), child("c")) == []  # no reminder
    assert [check.run(engine("c"), child("o")) for dummy in range(2)] == [[], ["recovery shop/api ok", "open engine critical"][::-1]]


def test_a_warning_does_not_hide_an_outage() -> None:
    check = Check()
    told = [check.run(engine("w"), child("c")) for dummy in range(3)]
    assert told[-1] == ["open engine warning", "open shop/api critical"]


def test_what_could_not_be_read_does_not_hide_what_was_seen() -> None:
    check = Check()
    assert [check.run(engine("u"), child("c")) for dummy in range(3)][-1] == ["open shop/api critical"]


def test_grandparents_explain_too() -> None:
    check = Check()
    container = Observation("shop/db", "unknown", "db", "shop", parents=("engine",))
    for dummy in range(6):
        told = check.run(engine("c"), container, child("c", "shop/db"))
    assert [event.object for event in check.events] == ["engine"] and told == []


def test_objects_that_blame_each_other_are_both_told() -> None:
    check = Check()
    for dummy in range(3):
        told = check.run(Observation("a", "critical", "a", parents=("b",)), Observation("b", "critical", "b", parents=("a",)), child("c", "a"))
    assert told == ["open a critical", "open b critical"]


def test_its_own_parent_explains_nothing() -> None:
    assert Check().all("ccc", parents=("api",)) == [".", ".", "open:critical"]


def test_parents_of_another_check() -> None:
    status = {"health:engine": "critical"}
    check = Check(outside=lambda parent: status.get(parent, ""))
    assert [check.run(child("c", "health:engine")) for dummy in range(4)] == [[], [], [], []]
    status.clear()
    assert [check.run(child("c", "health:engine")) for dummy in range(3)] == [[], [], ["open shop/api critical"]]


def test_outside_reader_trusts_only_fresh_states(tmp_path: pathlib.Path) -> None:
    check = Check()
    for dummy in range(3):
        check.run(engine("c"))
    save_state(machine.state_path(str(tmp_path), "health"), check.state, str(tmp_path / "run"))
    assert machine.outside_reader(str(tmp_path), check.context.now)("health:engine") == "critical"
    assert machine.outside_reader(str(tmp_path), check.context.now + 3600)("health:engine") == ""
    look = machine.outside_reader(str(tmp_path), check.context.now)
    assert [look(parent) for parent in ("health:shop", "none:engine", "http://x/", "../health:engine", "engine")] == [""] * 5


# -- maintenance ----------------------------------------------------------------------------------------------------------


def test_maintenance_is_recorded_and_not_counted() -> None:
    check = Check(maintenance=(WINDOW,))
    assert check.all("c" * 10) == ["."] * 10
    assert check.state["objects"]["api"]["maintenance"] and check.state["objects"]["api"]["status"] == "critical"
    check.context = dataclasses.replace(check.context, maintenance=())
    assert check.all("ccc") == [".", ".", "open:critical"]
    assert check.events[0].since == NOW + MINUTE  # since when it is so, and not since when it counts


def test_a_recovery_is_told_in_maintenance() -> None:
    check = Check()
    check.all("ccc")
    check.context = dataclasses.replace(check.context, maintenance=(WINDOW,))
    assert check.all("coo") == [".", ".", "recovery:ok"]


def test_maintenance_of_another_stack_or_check_silences_nothing() -> None:
    check = Check(maintenance=(dataclasses.replace(WINDOW, stacks=("blog",)), dataclasses.replace(WINDOW, checks=("backup",))))
    assert check.all("ccc")[-1] == "open:critical"


# -- objects that are gone ------------------------------------------------------------------------------------------------


def test_an_object_that_is_gone_ends_its_incident() -> None:
    check = Check()
    for dummy in range(3):
        check.run(engine("o"), child("c"))
    assert [check.run(engine("o")) for dummy in range(3)] == [[], ["recovery shop/api ok"], []]
    assert check.events[-1].summary == "It is no longer there. It was critical: api" and list(check.state["objects"]) == ["engine"]


def test_an_object_that_could_not_be_looked_for_is_not_gone() -> None:
    check = Check()
    for dummy in range(3):
        check.run(engine("o"), child("c"))
    for dummy in range(5):
        assert "recovery shop/api ok" not in check.run(engine("c"))
    assert [check.run(engine("o"), child("c")) for dummy in range(2)] == [[], ["recovery engine ok"]]
    assert check.run(engine("o"), complete=False) == check.run(engine("o")) == [] and "shop/api" in check.state["objects"]
    assert check.run() == []


def test_an_object_that_is_removed_in_maintenance_is_not_gone() -> None:
    check = Check()
    check.run(engine("o"), child("o"))
    for dummy in range(3):
        check.run(engine("o"), child("c"))
    assert [check.run(engine("o"), maintenance=(WINDOW,)) for dummy in range(5)] == [[]] * 5


def test_a_check_that_is_switched_off_ends_its_incidents() -> None:
    check = Check()
    for dummy in range(3):
        check.run(engine("o"), child("c"))
    for dummy in range(3):
        check.run(engine("c"), child("c"))
    state, events = machine.retire(check.state, dataclasses.replace(check.context, maintenance=(WINDOW,)))
    assert [(event.kind, event.object) for event in events] == [("recovery", "engine"), ("recovery", "shop/api")]
    assert state["objects"] == {} and len(state["outbox"][0]["events"]) == 2
    assert machine.retire({**state, "outbox": []}, check.context)[1] == []


# -- hostile and large ----------------------------------------------------------------------------------------------------


def test_hostile_text_is_one_harmless_line_without_secrets() -> None:
    check = Check()
    evil = "\x1b]0;owned\x07\x1b[31mfail\r\n\u202eevil password=hunter2secret postgres://app:s3cr3tpw@db/x \ud800"
    for dummy in range(3):
        check.run(Observation("api\n\x1b[2J", "critical", evil, details=(evil,) * 50, cause=evil, next_command="docker logs x\nrm -rf /"))
    (event,) = check.events
    text = json.dumps(dataclasses.asdict(event)) + json.dumps(check.state)
    assert not any(bad in text for bad in ("\\u001b", "\\n", "\\r", "\\u202e", "\\ud800", "hunter2secret", "s3cr3tpw", "owned"))
    assert event.next_command == "docker logs x rm -rf /" and len(event.details) == 11 and event.details[-1] == "and 40 more"


def test_the_state_is_bounded_and_keeps_what_is_bad() -> None:
    check = Check()
    many = [Observation(f"o{number}", "ok", "x" * 10_000) for number in range(1100)]
    for dummy in range(3):
        check.run(*many, Observation("bad", "critical", "bad"))
    assert check.events[-1].object == "bad" and len(check.state["objects"]) == machine.MAX_OBJECTS
    assert len(json.dumps(check.state)) < 1_500_000


def test_long_names_stay_different() -> None:
    check = Check(Policy(fail_after=1))
    assert len(check.run(Observation("x" * 300 + "a", "critical", ""), Observation("x" * 300 + "b", "critical", ""))) == 2


def test_of_one_name_the_worse_counts_and_nonsense_is_unknown() -> None:
    check = Check(Policy(fail_after=1, unknown_after=1))
    assert check.run(Observation("a", "ok", ""), Observation("a", "critical", ""), Observation("b", "great", "")) == ["open a critical", "open b unknown"]


# -- the model ------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Seen:
    """One run as the model sees it."""

    letter: str
    after: float
    suppressed: bool
    maintenance: bool


def model(history: t.Sequence[Seen], policy: Policy) -> list[str]:
    """Return what is told run by run, each time by going through all that was seen before."""
    told: list[str] = []
    hard, last_told, recovered_at, hard_from = "o", 0.0, -1, -1
    now = 0.0
    counted: list[tuple[int, float, str, str]] = []  # run, time, letter, what was hard before it
    for run, seen in enumerate(history):
        now += seen.after
        if seen.letter != "o" and (seen.suppressed or seen.maintenance):
            counted.append((run, -1.0, "x", hard))
            told.append("")
            continue
        counted.append((run, now, seen.letter, hard))
        # The part without a gap, newest first.
        recent: list[tuple[int, str, str]] = []
        previous: t.Optional[float] = None
        for index, moment, letter, was in reversed(counted):
            if letter != "x":
                if previous is not None and previous - moment > 3 * policy.interval_seconds:
                    break
                previous = moment
            recent.append((index, letter, was))
        letters = [letter for dummy, letter, dummy_was in recent]
        event = ""
        if seen.letter == "o":
            oks = next((index for index, letter in enumerate(letters) if letter != "o"), len(letters))
            if hard != "o" and oks >= policy.recover_after:
                event, hard, recovered_at, hard_from = "recovery:ok", "o", run, run
        else:
            since_ok = recent[: next((index for index, letter in enumerate(letters) if letter == "o"), len(letters))]
            new = hard
            if seen.letter == "u":
                if hard == "o" and sum(letter == "u" for dummy, letter, dummy_was in since_ok) >= policy.unknown_after:
                    new = "u"
            elif seen.letter != hard:
                soft = 0
                for index, letter, was in since_ok:
                    if index <= hard_from or letter == was:
                        break
                    soft += letter in "wc"
                window = [letter for index, letter, dummy_was in recent if letter != "x" and index > recovered_at][: policy.flap_window]
                flapping = hard in "ou" and 0 < policy.flap_failures <= sum(letter in "wc" for letter in window)
                if soft >= policy.fail_after or flapping or (hard, seen.letter) == ("w", "c"):
                    new = seen.letter
            if new != hard:
                event = f"{'open' if hard == 'o' else 'change'}:{LETTERS[new]}"
                hard, hard_from = new, run
                last_told = now
            elif hard != "o" and policy.repeat_seconds > 0 and now - last_told >= policy.repeat_seconds:
                event, last_told = f"reminder:{LETTERS[hard]}", now
        told.append(event)
    return told


HISTORIES = st.lists(
    st.builds(
        Seen,
        st.sampled_from("oooccccwwuu"),
        st.sampled_from([60.0, 60.0, 60.0, 60.0, 55.0, 180.0, 181.0, 600.0]),
        st.sampled_from([False, False, False, False, True]),
        st.sampled_from([False, False, False, False, True]),
    ),
    max_size=40,
)
POLICIES = st.builds(
    Policy,
    fail_after=st.integers(1, 4),
    recover_after=st.integers(1, 3),
    unknown_after=st.integers(1, 6),
    flap_failures=st.integers(0, 4),
    flap_window=st.integers(1, 6),
    repeat_seconds=st.sampled_from([0.0, 120.0, 600.0]),
)


@settings(max_examples=400, deadline=None)
@given(HISTORIES, POLICIES)
def test_it_tells_what_the_model_tells(history: list[Seen], policy: Policy) -> None:
    check = Check(policy)
    told = []
    for seen in history:
        status = {"dead": ""}
        if seen.suppressed:
            status["dead"] = "critical"
        one = Observation("api", LETTERS[seen.letter], "", "shop", parents=("health:dead",))
        events = check.run(one, after=seen.after, maintenance=(WINDOW,) if seen.maintenance else (), outside=lambda parent, status=status: status["dead"])
        assert len(events) <= 1
        told.append(f"{events[0].split()[0]}:{events[0].split()[2]}" if events else "")
    assert told == model(history, policy)


RUNS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(["engine", "a", "b", "c"]), st.sampled_from("oocwu"), max_size=4),
        st.sampled_from([60.0, 60.0, 60.0, 500.0, -5000.0]),
        st.booleans(),
    ),
    max_size=30,
)


@settings(max_examples=300, deadline=None)
@given(RUNS, POLICIES)
def test_every_incident_has_a_beginning_and_one_end(runs: list[tuple[dict[str, str], float, bool]], policy: Policy) -> None:
    check = Check(policy)
    parents = {"engine": (), "a": ("engine",), "b": ("a",), "c": ("b", "engine")}
    for seen, after, maintenance in runs:
        check.run(
            *(Observation(name, LETTERS[letter], name, parents=parents[name]) for name, letter in seen.items()),
            after=after,
            maintenance=(dataclasses.replace(WINDOW, stacks=()),) if maintenance else (),
        )
    open_now: dict[str, Event] = {}
    incidents = set()
    for event in check.events:
        before = open_now.get(event.object)
        if event.kind == "open":
            assert before is None and event.previous_status == "ok" and event.status != "ok"
            assert event.incident_id not in incidents
            incidents.add(event.incident_id)
        else:
            assert before is not None and before.incident_id == event.incident_id and before.dedupe_key == event.dedupe_key
            assert event.previous_status == before.status and event.since <= event.at
            assert {"reminder": event.status == before.status, "change": event.status not in ("ok", before.status), "recovery": event.status == "ok"}[
                event.kind
            ]
        open_now[event.object] = event
        if event.kind == "recovery":
            del open_now[event.object]
    assert sorted(open_now) == sorted(record["object"] for record in machine.open_incidents(check.state))


# -- the file -------------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the syncs to the disk, which take minutes where others use it as well."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    return machine.state_path(str(tmp_path / "monitoring"), "health")


class OnDisk:
    """A check whose state is loaded and settled at each run, as the host program does."""

    def __init__(self, path: str, run_directory: str) -> None:
        self.path, self.run_directory, self.now = path, run_directory, NOW
        self.told: list[Event] = []
        self.batches: list[str] = []

    def put(self, batch: str, events: list[Event]) -> None:
        self.batches.append(batch)
        self.told += events

    def run(self, letter: str) -> list[str]:
        self.now += MINUTE
        count = len(self.told)
        state = load_state(self.path, "health", self.now, self.run_directory)
        state, dummy = advance(state, [Observation("api", LETTERS[letter], "api")], Policy(), RunContext("health", "web-01", self.now))
        self.problems = settle(self.path, state, self.put, self.run_directory)
        return [f"{event.kind} {event.object} {event.status}" for event in self.told[count:]]


@pytest.fixture
def disk(path: str, tmp_path: pathlib.Path) -> OnDisk:
    return OnDisk(path, str(tmp_path / "run"))


def test_it_survives_runs(disk: OnDisk) -> None:
    assert [disk.run(letter) for letter in "cccoo"] == [[], [], ["open api critical"], [], ["recovery api ok"]]
    assert os.stat(disk.path).st_mode & 0o777 == 0o600 and os.stat(os.path.dirname(disk.path)).st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\x00" * 100, b'{"schema_version": 99}', b'{"schema_version": 1, "generation": 1, "objects": {"a": {"object": "a", "hard": "fine"}}}',
     b'{"schema_version": 1, "generation": 1, "objects": {"a": 3}}', b'{"schema_version": 1, "generation": 1e999, "objects": {}}',
     b'{"schema_version": 1, "generation": 1, "objects": {"a": {"object": "a", "bad_since": NaN}}}',
     b'{"schema_version": 1, "generation": 1, "objects": {}, "outbox": [{"batch": "x", "events": [{}]}]}'],
)  # fmt: skip
def test_a_damaged_state_costs_one_unknown_and_nothing_else(disk: OnDisk, content: bytes) -> None:
    for letter in "cccc":
        disk.run(letter)
    pathlib.Path(disk.path).write_bytes(content)
    assert disk.run("o") == ["open monitoring state unknown"]
    assert "The run before it is remembered" in disk.told[-1].summary
    assert disk.run("o") == ["recovery api ok", "recovery monitoring state ok"]  # the incident was not forgotten
    assert [disk.run("o") for dummy in range(3)] == [[], [], []]
    assert len(list(pathlib.Path(disk.path).parent.glob("*.damaged-*"))) == 1


def test_with_both_copies_damaged_it_begins_anew(disk: OnDisk) -> None:
    for letter in "cccc":
        disk.run(letter)
    for name in (disk.path, f"{disk.path}.previous"):
        pathlib.Path(name).write_bytes(b"{")
    assert [disk.run("c") for dummy in range(3)] == [["open monitoring state unknown"], ["recovery monitoring state ok"], ["open api critical"]]


def test_damage_is_told_in_maintenance_too() -> None:
    check = Check(maintenance=(dataclasses.replace(WINDOW, stacks=()),))
    check.state["damage"] = {"path": "/x/state-health.json", "aside": "", "reason": "it is empty", "kept": False}
    assert check.run(engine("o")) == [f"open {machine.STATE_OBJECT} unknown"]


def test_an_older_state_with_less_in_it_is_read(disk: OnDisk) -> None:
    os.makedirs(os.path.dirname(disk.path))
    old = {"schema_version": 1, "generation": 3, "objects": {"api": {"object": "api", "hard": "ok", "soft_count": 2, "of_another_version": 1}}}
    pathlib.Path(disk.path).write_text(json.dumps(old))
    assert disk.run("c") == ["open api critical"]


def test_a_file_that_was_not_written_to_its_end_is_the_run_before(disk: OnDisk) -> None:
    for letter in "ccc":
        disk.run(letter)
    os.unlink(disk.path)  # killed between the rename and the new file
    assert disk.run("o") == ["open api critical"]  # at least once: what the lost file had handed over
    assert disk.told[0].incident_id == disk.told[1].incident_id and disk.batches[0] == disk.batches[1]


def test_events_wait_in_the_state_until_the_spool_has_them(disk: OnDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(batch: str, events: list[Event]) -> None:
        raise CheckError("spool", "it is broken")

    with monkeypatch.context() as patch:
        patch.setattr(disk, "put", fail)
        for letter in "cccoo":
            assert disk.run(letter) == []
        assert [problem.reason for problem in disk.problems] == ["it is broken"]
    assert disk.run("o") == ["open api critical", "recovery api ok"]
    assert disk.run("o") == []


def test_a_full_disk_falls_back_to_memory(disk: OnDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.run("c")
    real = machine.write_whole

    def full(path: str, content: bytes, mode: int = 0o600) -> None:
        if path == disk.path:
            raise OSError(28, "No space left on device")
        real(path, content, mode)

    with monkeypatch.context() as patch:
        patch.setattr(machine, "write_whole", full)
        assert [disk.run(letter) for letter in "ccc"] == [[], ["open api critical"], []]
        assert disk.problems == []
    assert [disk.run(letter) for letter in "coo"] == [[], [], ["recovery api ok"]]
    assert os.listdir(disk.run_directory) == []


def test_no_disk_at_all_is_said_and_the_alerts_still_go(disk: OnDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    for letter in "cc":
        disk.run(letter)

    def full(path: str, content: bytes, mode: int = 0o600) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(machine, "write_whole", full)
    assert disk.run("c") == ["open api critical"]
    assert "cannot be written" in disk.problems[0].reason
