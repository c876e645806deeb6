# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""From what a check sees run by run to what somebody has to be told.

:func:`advance` is pure: the state after a run and its events follow from the state before it, what was seen, and the time.
The events are part of that state (``outbox``) until the spool has them. One write of one file decides whether a run has
happened: killed before it, the next run begins where this one did; killed after it, the next run hands over what is left.
So nobody is told of a failure that the state forgets, and would never be told of its end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import re
import typing as t

from ._envelope import STATUSES, CheckError
from ._files import write_whole
from ._guarded_files import read_json_object, set_aside
from ._maintenance import Window
from ._monitoring_text import inert
from ._monitoring_types import Event, Observation, Policy

Json = dict[str, t.Any]

SCHEMA_VERSION = 1
FALLBACK_DIRECTORY = "/run/stackops"
#: The object under which a damaged state is told.
STATE_OBJECT = "monitoring state"
MAX_OBJECTS = 1000
MAX_OUTBOX = 100
_GAP_INTERVALS = 3
_NAME_CHARACTERS = 200
_LINE_CHARACTERS = 500
_DETAILS = 10
_CHECK_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LETTERS = {"ok": "o", "warning": "w", "critical": "c", "unknown": "u"}
# A parent explains what is no worse than itself: a warning must not hide an outage, and neither must a parent that could
# not be read hide what was seen by other means.
_RANK = {"ok": 0, "unknown": 1, "warning": 2, "critical": 3}


@dataclasses.dataclass(frozen=True)
class RunContext:
    """What a run of a check knows beside its observations.

    *outside* returns the status of an object of another check (``health:engine``), ``ok`` or nothing where it is not
    known; see :func:`outside_reader`. A run that is not *complete* saw only some of its objects, so that none is gone.
    """

    check: str
    host: str
    now: float
    group: str = ""
    maintenance: tuple[Window, ...] = ()
    outside: t.Callable[[str], str] = lambda parent: ""
    complete: bool = True


@dataclasses.dataclass
class _Incident:
    id: str
    opened_at: float
    since: float
    last_told: float
    worst: str


@dataclasses.dataclass
class _Record:
    """What is remembered of one object."""

    object: str
    stack: str = ""
    status: str = "ok"
    summary: str = ""
    seen_at: float = 0.0
    hard: str = "ok"
    soft_count: int = 0
    ok_count: int = 0
    unknown_count: int = 0
    window: str = ""
    counted_at: t.Optional[float] = None
    bad_since: t.Optional[float] = None
    failures: int = 0
    gap_seconds: float = 0.0
    missing: int = 0
    suppressed_by: str = ""
    maintenance: bool = False
    parents: list[str] = dataclasses.field(default_factory=list)
    incident: t.Optional[_Incident] = None


def new_state(check: str, now: float) -> Json:
    """Return the state of a check that never ran. ``memory`` is the check's own, and comes out of every function here as it went in."""
    return {"schema_version": SCHEMA_VERSION, "check": check, "created": now, "generation": 0, "last_run": None, "objects": {}, "outbox": [], "memory": {}}


def dedupe_key(group: str, host: str, stack: str, check: str, name: str) -> str:
    """Return what makes an object's events belong together, on every host and for ever: no time and no state is in it."""
    return hashlib.sha256(json.dumps(["v1", group, host, stack, check, name]).encode()).hexdigest()[:32]


# -- one run --------------------------------------------------------------------------------------------------------------


def advance(state: Json, observations: t.Sequence[Observation], policy: Policy, context: RunContext) -> tuple[Json, list[Event]]:
    """Return the state after a run in which *observations* were made, and what has to be told of it.

    The events are in the outbox of the new state as well, whence :func:`settle` hands them over.
    """
    records = {name: _record_of(entry) for name, entry in state["objects"].items()}
    for record in records.values():
        _clamp(record, context.now)
    seen: dict[str, Observation] = {}
    for one in observations:
        # Of two with one name the worse counts.
        name = _name(one.object)
        if name not in seen or _RANK[_status(one)] > _RANK[_status(seen[name])]:
            seen[name] = one
    damage = state.get("damage")
    if damage:
        seen[STATE_OBJECT] = _damage(damage)
    elif STATE_OBJECT in records:
        seen[STATE_OBJECT] = Observation(STATE_OBJECT, "ok", "The state of this check is kept again.")

    family = _Family(seen, records, context.outside)
    explained = {name: family.explained_by(name) for name in {*seen, *records}}
    run = _Run(policy, context, f"{state['check']}|{state['created']}|{state['generation'] + 1}")
    events: list[Event] = []
    for name in _order(seen, records):
        if name not in records and len(records) >= MAX_OBJECTS and not (_status(seen[name]) != "ok" and _make_room(records)):
            continue
        events.extend(run.observe(records.setdefault(name, _Record(name)), seen[name], explained[name]))
    for name in sorted(set(records) - set(seen)):
        record = records[name]
        if seen and context.complete and not explained[name] and not run.covers(record):
            record.missing += 1
            if record.missing >= policy.recover_after:
                events.extend(run.gone(records.pop(name)))
    if STATE_OBJECT in records and records[STATE_OBJECT].incident is None:
        del records[STATE_OBJECT]

    return _after(state, records, events, context.now), events


def retire(state: Json, context: RunContext) -> tuple[Json, list[Event]]:
    """Return the state of a check that will not run any more, and the end of each of its incidents: nobody else would tell of it."""
    run = _Run(Policy(), context, "")
    events = [event for entry in state["objects"].values() for event in run.gone(_record_of(entry))]
    return _after(state, {}, events, context.now), events


def _after(state: Json, records: t.Mapping[str, _Record], events: t.Sequence[Event], now: float) -> Json:
    generation = state["generation"] + 1
    outbox = list(state["outbox"])
    if events:
        entries = [dataclasses.asdict(event) for event in events]
        # Of what is told, too: after a damage a run of the same number may have other news.
        batch = hashlib.sha256(json.dumps([state["check"], state["created"], generation, entries]).encode()).hexdigest()[:12]
        outbox = [*outbox, {"batch": batch, "events": entries}][-MAX_OUTBOX:]
    return {
        "schema_version": SCHEMA_VERSION,
        "check": state["check"],
        "created": state["created"],
        "generation": generation,
        "last_run": now,
        "objects": {name: dataclasses.asdict(record) for name, record in records.items()},
        "outbox": outbox,
        "memory": state["memory"],
    }


class _Run:
    """One run over one object after the other."""

    def __init__(self, policy: Policy, context: RunContext, seed: str) -> None:
        self._policy = policy
        self._gap_seconds = _GAP_INTERVALS * policy.interval_seconds
        self._context = context
        self._seed = seed

    def covers(self, record: _Record) -> bool:
        """Tell whether the object is in maintenance."""
        return any(window.covers(self._context.check, record.stack) for window in self._context.maintenance)

    def observe(self, record: _Record, seen: Observation, suppressed_by: str) -> list[Event]:
        """Take one observation into *record* and return what has to be told."""
        now, status = self._context.now, _status(seen)
        if record.seen_at and now - record.seen_at > self._gap_seconds:
            record.gap_seconds = now - record.seen_at
        policy = self._policy
        if record.object == STATE_OBJECT:  # it happens once, and at any time
            policy, suppressed_by = dataclasses.replace(policy, unknown_after=1, recover_after=1), ""
        record.stack, record.status, record.summary = seen.stack, status, inert(seen.summary, _LINE_CHARACTERS)
        record.seen_at, record.missing = now, 0
        record.parents = [_name(parent) for parent in seen.parents]
        record.suppressed_by = suppressed_by if status != "ok" else ""
        record.maintenance = self.covers(record) and record.object != STATE_OBJECT
        if status == "ok":
            return self._ok(record, seen, policy)
        record.ok_count = 0
        if record.bad_since is None:
            record.bad_since = now
        if record.suppressed_by or record.maintenance:
            return []
        return self._bad(record, seen, policy)

    def gone(self, record: _Record) -> list[Event]:
        """Return what has to be told of an object that is no longer there."""
        if record.incident is None:
            return []
        seen = Observation(record.object, "ok", f"It is no longer there. It was {record.hard}: {record.summary}", record.stack)
        return [self._event("recovery", record, seen, record.hard)]

    def _count(self, record: _Record, letter: str, policy: Policy) -> None:
        now = self._context.now
        if record.counted_at is not None and now - record.counted_at > self._gap_seconds:
            record.soft_count = record.ok_count = record.unknown_count = 0
            record.window = ""
        record.counted_at = now
        record.window = (record.window + letter)[-max(1, policy.flap_window) :]

    def _ok(self, record: _Record, seen: Observation, policy: Policy) -> list[Event]:
        self._count(record, "o", policy)
        record.soft_count = record.unknown_count = 0
        record.ok_count += 1
        events = []
        if record.hard != "ok" and record.ok_count >= policy.recover_after:
            previous, record.hard = record.hard, "ok"
            # What led to this incident must not, with one more failure, make the next.
            record.window = ""
            if record.incident is not None:
                events.append(self._event("recovery", record, seen, previous))
            record.incident = None
        if record.hard == "ok":
            record.bad_since, record.failures, record.gap_seconds = None, 0, 0.0
        return events

    def _bad(self, record: _Record, seen: Observation, policy: Policy) -> list[Event]:
        status, hard, why = record.status, record.hard, ""
        self._count(record, _LETTERS[status], policy)
        record.failures += 1
        if status == "unknown":
            record.unknown_count += 1
            if hard == "ok" and record.unknown_count >= policy.unknown_after:
                hard = status
        elif status == hard:
            record.soft_count = 0
        else:
            record.soft_count += 1
            failing = record.window.count("w") + record.window.count("c")
            if record.soft_count >= policy.fail_after or (hard, status) == ("warning", "critical"):
                hard = status
            elif hard in ("ok", "unknown") and 0 < policy.flap_failures <= failing:
                hard, why = status, f"{failing} of the last {len(record.window)} runs failed"
        if hard != record.hard:
            previous, record.hard = record.hard, hard
            record.soft_count = 0
            return [self._told(record, dataclasses.replace(seen, details=(why, *seen.details)) if why else seen, previous)]
        if record.incident is not None and policy.repeat_seconds > 0 and self._context.now - record.incident.last_told >= policy.repeat_seconds:
            record.incident.last_told = self._context.now
            return [self._event("reminder", record, seen, record.hard)]
        return []

    def _told(self, record: _Record, seen: Observation, previous: str) -> Event:
        now = self._context.now
        kind = "change"
        if record.incident is None:
            kind = "open"
            since = now if record.bad_since is None else record.bad_since
            record.incident = _Incident("", now, since, now, record.hard)
            # From what the state holds and not by chance: a run that is killed and done again tells of the same incident.
            record.incident.id = hashlib.sha256(f"{self._seed}|{record.object}".encode()).hexdigest()[:32]
        record.incident.last_told = now
        record.incident.worst = max(record.incident.worst, record.hard, key=_RANK.__getitem__)
        return self._event(kind, record, seen, previous)

    def _event(self, kind: str, record: _Record, seen: Observation, previous: str) -> Event:
        context, incident = self._context, record.incident
        if incident is None:
            raise ValueError(f"{record.object} has no incident to tell of")
        details = [inert(line, _LINE_CHARACTERS) for line in seen.details[:_DETAILS]]
        if len(seen.details) > _DETAILS:
            details.append(f"and {len(seen.details) - _DETAILS} more")
        if record.gap_seconds:
            details.append(f"no data for {record.gap_seconds / 60:.0f} min before")
            record.gap_seconds = 0.0
        return Event(
            kind=kind,
            check=context.check,
            object=record.object,
            stack=record.stack,
            host=context.host,
            status="ok" if kind == "recovery" else record.hard,
            previous_status=previous,
            since=incident.since,
            at=context.now,
            summary=inert(seen.summary, _LINE_CHARACTERS),
            cause=inert(seen.cause, _LINE_CHARACTERS),
            next_command=inert(seen.next_command, _LINE_CHARACTERS),
            details=tuple(details),
            incident_id=incident.id,
            dedupe_key=dedupe_key(context.group, context.host, record.stack, context.check, record.object),
            failures=record.failures,
            worst_status=incident.worst,
        )


class _Family:
    """Which object explains which."""

    def __init__(self, seen: t.Mapping[str, Observation], records: t.Mapping[str, _Record], outside: t.Callable[[str], str]) -> None:
        self._seen = seen
        self._records = records
        self._outside = outside

    def explained_by(self, name: str) -> str:
        """Return the parent that explains why an object is not ok, nothing where none does.

        An object that is missing is explained by any parent that is not ok.
        """
        rank = _RANK[_status(self._seen[name])] if name in self._seen else _RANK["unknown"]
        for parent in self._parents(name):
            # Where each is the other's parent, neither explains the other, or nobody would be told of either.
            if name not in self._ancestors(parent) and self._rank(parent, set()) >= rank > 0:
                return parent
        return ""

    def _parents(self, name: str) -> list[str]:
        if name in self._seen:
            return [_name(parent) for parent in self._seen[name].parents]
        return self._records[name].parents if name in self._records else []

    def _ancestors(self, name: str) -> set[str]:
        found: set[str] = set()
        todo = [name]
        while todo:
            one = todo.pop()
            if one not in found:
                found.add(one)
                todo.extend(self._parents(one))
        return found

    def _rank(self, name: str, visited: set[str]) -> int:
        """Return how bad a parent is, or what explains that the parent is bad or could not be seen."""
        visited.add(name)
        own = self._own_rank(name)
        if name in self._seen and own == 0:
            return 0
        return max([own, *(self._rank(parent, visited) for parent in self._parents(name) if parent not in visited)])

    def _own_rank(self, name: str) -> int:
        record = self._records.get(name)
        # One that is up again since a moment ago may still be what its children suffer from.
        hard = _RANK[record.hard] if record is not None and record.missing == 0 else 0
        if name in self._seen:
            return max(_RANK[_status(self._seen[name])], hard)
        return hard if record is not None else _RANK.get(self._outside(name), 0)


def _order(seen: t.Mapping[str, Observation], records: t.Mapping[str, _Record]) -> list[str]:
    """Return the objects of a run in the order in which they are told; those that are known and those that are bad come first if there are too many."""
    if len(seen) <= MAX_OBJECTS:
        return list(seen)
    return sorted(seen, key=lambda name: (name != STATE_OBJECT, name not in records, -_RANK[_status(seen[name])]))


def _make_room(records: dict[str, _Record]) -> bool:
    """Forget one object of which there is nothing to remember; tell whether there was one."""
    for name, record in records.items():
        if record.incident is None and record.bad_since is None:
            del records[name]
            return True
    return False


def _name(name: str) -> str:
    """Return an object's name as it is kept; two that differ only where it is cut stay different."""
    short = inert(name, _NAME_CHARACTERS)
    return short if short == name else f"{short[: _NAME_CHARACTERS - 9]} {hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"


def _status(seen: Observation) -> str:
    return seen.status if seen.status in STATUSES else "unknown"


def _clamp(record: _Record, now: float) -> None:
    """Have nothing in the future, where the clock was set back."""
    record.seen_at = min(record.seen_at, now)
    record.counted_at = None if record.counted_at is None else min(record.counted_at, now)
    record.bad_since = None if record.bad_since is None else min(record.bad_since, now)
    if record.incident is not None:
        incident = record.incident
        incident.opened_at, incident.since, incident.last_told = (min(now, moment) for moment in (incident.opened_at, incident.since, incident.last_told))


# -- the file -------------------------------------------------------------------------------------------------------------


def load_state(path: str, check: str, now: float, fallback_directory: str = FALLBACK_DIRECTORY) -> Json:
    """Return the state that the last run left; a damaged file is set aside, and told of by the next events, once.

    The newest of three is used: the file, the one before it (which remains where the file is damaged or was not written to its end), and what
    was written to *fallback_directory* while the disk was full.

    :raises CheckError: it is there and cannot be read, for a reason that is not in the file.
    """
    damage: Json = {}
    found: list[Json] = []
    for candidate in (path, _previous(path), _fallback(path, fallback_directory)):
        try:
            found.append(_understood(read_json_object(candidate), check))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise CheckError(candidate, f"the state cannot be read: {error.strerror}", f"Look with: ls -l {candidate}", "state") from error
        except ValueError as error:
            aside = ""
            with contextlib.suppress(OSError):
                aside = set_aside(candidate)
            if candidate == path:
                damage = {"path": path, "aside": aside, "reason": inert(str(error), 200)}
    state = max(found, key=lambda one: t.cast(int, one["generation"]), default=new_state(check, now))
    if damage:
        state["damage"] = {**damage, "kept": bool(found)}
    return state


def read_state_quietly(path: str, check: str, now: float) -> Json:
    """Return the state for somebody who only wants to know; that of a check that never ran where it cannot be read."""
    try:
        return _understood(read_json_object(path), check)
    except (OSError, ValueError):
        return new_state(check, now)


def save_state(path: str, state: Json, fallback_directory: str = FALLBACK_DIRECTORY) -> None:
    """Write the state whole or not at all; where the disk takes nothing, to *fallback_directory*, which is in memory.

    :raises CheckError: neither takes it.
    """
    content = json.dumps(state, separators=(",", ":")).encode()
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        # Renamed and not copied: whoever is killed in between leaves the file before, as if this run had not been.
        with contextlib.suppress(FileNotFoundError):
            os.replace(path, _previous(path))
        write_whole(path, content)
    except OSError as error:
        _save_elsewhere(path, content, fallback_directory, error)
    else:
        with contextlib.suppress(OSError):
            os.unlink(_fallback(path, fallback_directory))


def _save_elsewhere(path: str, content: bytes, directory: str, error: OSError) -> None:
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        write_whole(_fallback(path, directory), content)
    except OSError:
        raise CheckError(path, f"the state cannot be written: {error.strerror}", f"Look with: df -h {os.path.dirname(path)}", "state") from error


def settle(path: str, state: Json, put: t.Callable[[str, list[Event]], object], fallback_directory: str = FALLBACK_DIRECTORY) -> list[CheckError]:
    """Save the state, hand the events in its outbox over to *put* (which is :meth:`Spool.put`), and save that this was done.

    *put* gets a batch's id with its events and must not take a batch twice that is still queued. What it raises leaves the rest in the outbox
    for the next run. Returns what went wrong.
    """
    problems: list[CheckError] = []

    def save() -> None:
        try:
            save_state(path, state, fallback_directory)
        except CheckError as error:
            problems.append(error)

    save()
    if not state["outbox"]:
        return problems
    try:
        while state["outbox"]:
            entry = state["outbox"][0]
            put(entry["batch"], [event_of(one) for one in entry["events"]])
            state["outbox"] = state["outbox"][1:]
    except (CheckError, OSError) as error:
        problems.append(error if isinstance(error, CheckError) else CheckError(path, f"an alert could not be queued: {error.strerror}", "", "store"))
    save()
    return problems


def event_of(entry: t.Mapping[str, t.Any]) -> Event:
    """Return the event that was kept as JSON; ``ValueError``, ``KeyError`` or ``TypeError`` where it is none."""
    return Event(**{**entry, "details": tuple(map(str, entry["details"])), "since": _finite(entry["since"]), "at": _finite(entry["at"])})


def open_incidents(state: Json) -> list[Json]:
    """Return the records of all objects about which somebody has been told and that have not recovered, worst first."""
    found = [record for record in state["objects"].values() if record["incident"]]
    return sorted(found, key=lambda record: (-_RANK[record["hard"]], record["incident"]["since"]))


def outside_reader(directory: str, now: float, fresh_seconds: float = 900.0) -> t.Callable[[str], str]:
    """Return a function for ``RunContext.outside``, over the states of all checks in *directory* (``state-CHECK.json``).

    What a check has last seen longer than *fresh_seconds* ago explains nothing.
    """
    states: dict[str, Json] = {}

    def look(parent: str) -> str:
        check, colon, name = parent.partition(":")
        if not colon or not _CHECK_NAME.fullmatch(check):
            return ""
        if check not in states:
            states[check] = read_state_quietly(state_path(directory, check), check, now)
        record = states[check]["objects"].get(_name(name))
        if record is None or not 0 <= now - record["seen_at"] <= fresh_seconds:
            return ""
        return max(str(record["hard"]), str(record["status"]), key=_RANK.__getitem__)

    return look


def state_path(directory: str, check: str) -> str:
    """Return the file with the state of a check."""
    return os.path.join(directory, f"state-{check}.json")


def _previous(path: str) -> str:
    return f"{path}.previous"


def _fallback(path: str, directory: str) -> str:
    return os.path.join(directory, os.path.basename(path))


def _damage(damage: t.Mapping[str, t.Any]) -> Observation:
    kept = "The run before it is remembered." if damage["kept"] else "What was known before is forgotten: what is still wrong will be told again."
    command = f"ls -l {damage['aside'] or damage['path']}; df -h {os.path.dirname(damage['path'])}; dmesg | tail"
    return Observation(STATE_OBJECT, "unknown", f"{damage['path']} was damaged ({damage['reason']}). {kept}", next_command=command)


def _understood(content: Json, check: str) -> Json:
    """Return the state in *content*, with defaults where an older version did not write something; ``ValueError`` where it is none."""
    try:
        version = content["schema_version"]
        if not isinstance(version, int) or not 0 < version <= SCHEMA_VERSION:
            raise ValueError(f"its schema_version is {version!r}, and this program knows {SCHEMA_VERSION}")
        objects = {str(name): dataclasses.asdict(_record_of(entry)) for name, entry in content["objects"].items()}
        outbox = [
            {"batch": str(entry["batch"]), "events": [dataclasses.asdict(event_of(one)) for one in entry["events"]]} for entry in content.get("outbox", [])
        ]
        last_run = content.get("last_run")
        return {
            "schema_version": SCHEMA_VERSION,
            "check": check,
            "created": _finite(content.get("created", 0.0)),
            "generation": int(content["generation"]),
            "last_run": None if last_run is None else _finite(last_run),
            "objects": objects,
            "outbox": outbox,
            "memory": dict(content.get("memory", {})),
        }
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"it is not what this program writes: {type(error).__name__} {error}") from None


_FIELDS = frozenset(field.name for field in dataclasses.fields(_Record))
_COUNTS = ("soft_count", "ok_count", "unknown_count", "failures", "missing")
_TIMES = ("seen_at", "gap_seconds", "counted_at", "bad_since")


def _record_of(entry: t.Mapping[str, t.Any]) -> _Record:
    record = _Record(**{key: value for key, value in entry.items() if key in _FIELDS})
    record.parents = [str(parent) for parent in record.parents]
    for name in _COUNTS:
        setattr(record, name, int(_finite(getattr(record, name))))
    for name in _TIMES:
        value = getattr(record, name)
        setattr(record, name, None if value is None and name in ("counted_at", "bad_since") else _finite(value))
    if record.hard not in STATUSES or record.status not in STATUSES or not isinstance(record.window, str):
        raise ValueError(f"{record.object}: {record.hard!r} is no status")
    given = entry.get("incident")
    if given is not None:
        record.incident = _Incident(str(given["id"]), _finite(given["opened_at"]), _finite(given["since"]), _finite(given["last_told"]), str(given["worst"]))
        if record.incident.worst not in STATUSES:
            raise ValueError(f"{record.object}: {record.incident.worst!r} is no status")
    return record


def _finite(value: t.Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is no number to reckon with")
    return number
