# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Alerts on the disk: there and synced before anything is sent, gone only when the receiver said yes.

``spool/CHANNEL/TIME-BATCH-KIND.json`` holds the messages that wait, in the order of their names; ``dead/CHANNEL`` those
that a receiver refused for good; ``channels/CHANNEL.json`` what is remembered of a channel. Nothing here needs a lock but
:meth:`Spool.trim`, :meth:`Spool.revive` and :meth:`Spool.remember`, which only the one who delivers calls.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import time
import typing as t

from ._check_state import FALLBACK_DIRECTORY, event_of
from ._files import sync_directory, write_whole
from ._guarded_files import TEMPORARY_PREFIX, names, read_json_object, set_aside
from ._monitoring_types import Event

if t.TYPE_CHECKING:
    from ._alert_channels import Channel

Json = dict[str, t.Any]

SCHEMA_VERSION = 1
MAX_FILES = 1000
MAX_AGE_SECONDS = 7 * 86400.0
MAX_NOTES = 5
#: So many events of a run are in one entry, whatever a channel shows of them.
EVENTS_PER_ENTRY = 200
_NAME = re.compile(r"(\d{20})-([0-9a-f]{4,32})-([a-z]+)\.json")
_RANK = {"ok": 0, "unknown": 2, "warning": 2, "critical": 3}


@dataclasses.dataclass
class Entry:
    """One message that waits: the events of a run, for one channel.

    *notes* are lines about what is not among the events any more. *path* is where it is kept.
    """

    batch: str
    created: float
    events: list[Event]
    notes: list[str] = dataclasses.field(default_factory=list)
    attempts: int = 0
    next_try: float = 0.0
    last_error: str = ""
    path: str = ""

    @property
    def kind(self) -> str:
        """The kind of its first event, ``summary`` where it has none left."""
        return self.events[0].kind if self.events else "summary"

    @property
    def ns(self) -> int:
        """Its place in the order."""
        return _ns(os.path.basename(self.path))

    def content(self) -> bytes:
        """Return it as it is written."""
        entry = {**dataclasses.asdict(self), "schema_version": SCHEMA_VERSION}
        del entry["path"]
        return json.dumps(entry, separators=(",", ":")).encode()


class Spool:
    """The alerts under one directory, and under the one that is used while the disk takes nothing."""

    def __init__(self, directory: str, fallback_directory: str = FALLBACK_DIRECTORY) -> None:
        self.directory = directory
        self._roots = (directory, fallback_directory)

    # -- in ---------------------------------------------------------------------------------------------------------------

    def put(self, batch: str, events: t.Sequence[Event], channels: t.Sequence[Channel], now: float) -> list[str]:
        """Have *events* on the disk for each of *channels* that wants them; a batch that is still queued is not taken twice.

        Where no disk takes them, they go to the system log, which is the last who listens; the channels which that is about are returned.
        """
        lost = []
        for channel in channels:
            wanted = [event for event in events if wants(channel, event)]
            step = 1 if channel.one_event_per_message else EVENTS_PER_ENTRY
            try:
                queued = self.waiting(channel.name)
            except OSError:  # then it cannot be written there either
                queued = []
            newest = _ns(os.path.basename(queued[-1])) if queued else 0
            for number, begin in enumerate(range(0, len(wanted), step)):
                part = f"{batch}{number:04x}"
                if any(f"-{part}-" in os.path.basename(path) for path in queued):
                    continue
                newest = max(int(now * 1e9), newest + 1)
                entry = Entry(part, now, wanted[begin : begin + step])
                if not self._write_new(entry, channel.name, newest):
                    lost.append(channel.name)
        return lost

    def _write_new(self, entry: Entry, channel: str, number: int) -> bool:
        for root in self._roots:
            directory = os.path.join(root, "spool", channel)
            try:
                _make(root, directory)
                entry.path = os.path.join(directory, f"{number:020d}-{entry.batch}-{entry.kind}.json")
                write_whole(entry.path, entry.content())
                return True
            except OSError:
                continue
        for event in entry.events:
            log_alert(f"could not be kept for channel {channel}: {event.kind} {event.status} {event.host} {event.check} {event.object}: {event.summary}")
        return False

    # -- the queue of one channel -----------------------------------------------------------------------------------------

    def channels(self) -> list[str]:
        """Return the names of all channels for which there is something, configured or not."""
        return sorted({os.path.basename(directory) for root in self._roots for directory in self._queues(root)})

    def waiting(self, channel: str) -> list[str]:
        """Return the paths of what waits for *channel*, in order."""
        return self._paths("spool", channel)

    def dead(self, channel: str) -> list[str]:
        """Return the paths of what *channel* refused for good."""
        return self._paths("dead", channel)

    def _paths(self, kind: str, channel: str) -> list[str]:
        found = []
        for root in self._roots:
            directory = os.path.join(root, kind, channel)
            found += [os.path.join(directory, name) for name in names(directory, _NAME.pattern)]
        return sorted(found, key=os.path.basename)

    def read(self, path: str) -> t.Optional[Entry]:
        """Return an entry; ``None`` where it is gone, or damaged: then it is set aside, and what can be told of it is in the system log."""
        try:
            content = read_json_object(path)
            return Entry(
                batch=str(content["batch"]),
                created=float(content["created"]),
                events=[event_of(one) for one in content["events"]],
                notes=[str(note) for note in content["notes"]],
                attempts=int(content["attempts"]),
                next_try=float(content["next_try"]),
                last_error=str(content["last_error"]),
                path=path,
            )
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            with contextlib.suppress(OSError):
                log_alert(f"an alert that waited is damaged ({error}) and was set aside: {set_aside(path)}")
            return None

    def rewrite(self, entry: Entry) -> None:
        """Write down an entry's attempts; a full disk forgets them and keeps the entry."""
        with contextlib.suppress(OSError):
            write_whole(entry.path, entry.content())

    def remove(self, entries: t.Sequence[Entry]) -> list[str]:
        """Forget what the receiver has, in order; return the names of those that the disk does not let go."""
        kept = []
        for entry in entries:
            try:
                os.unlink(entry.path)
            except FileNotFoundError:
                pass
            except OSError:
                kept.append(os.path.basename(entry.path))
        for directory in sorted({os.path.dirname(entry.path) for entry in entries}):
            with contextlib.suppress(OSError):
                sync_directory(directory)
        return kept

    def bury(self, entry: Entry, channel: str) -> None:
        """Keep what the receiver refused for good where it holds nobody up."""
        self.rewrite(entry)
        root = os.path.dirname(os.path.dirname(os.path.dirname(entry.path)))
        directory = os.path.join(root, "dead", channel)
        _make(root, directory)
        target = os.path.join(directory, os.path.basename(entry.path))
        os.rename(entry.path, target)
        entry.path = target
        sync_directory(directory)
        for path in self.dead(channel)[:-MAX_FILES]:
            os.unlink(path)

    def revive(self, channel: str, last_words: t.Container[str]) -> int:
        """Queue what was refused once more, and return how many entries that is.

        *last_words* has the incidents (by id) of which the receiver has since been told something later: to tell of
        their beginning now would open them again.
        """
        count = 0
        for path in self.dead(channel):
            entry = self.read(path)
            if entry is None:
                continue
            entry.events = [event for event in entry.events if event.incident_id not in last_words]
            entry.attempts, entry.next_try = 0, 0.0
            if not entry.events:
                self.remove([entry])
                continue
            self.rewrite(entry)
            root = os.path.dirname(os.path.dirname(os.path.dirname(path)))
            directory = os.path.join(root, "spool", channel)
            _make(root, directory)
            os.rename(path, os.path.join(directory, os.path.basename(path)))
            count += 1
        return count

    # -- bounds -----------------------------------------------------------------------------------------------------------

    def trim(self, channel: str, now: float, max_files: int = MAX_FILES, max_age_seconds: float = MAX_AGE_SECONDS) -> int:
        """Keep the queue of a channel within its bounds and return how many events were dropped; a summary of them is queued.

        Of the reminders of an incident only the last waits. What goes when there is too much or it is too old, in this order: reminders,
        incidents that began and ended here, what something later of the same incident replaces, and at last the oldest.
        """
        paths = self.waiting(channel)
        too_old = {path for path in paths if now - _ns(os.path.basename(path)) / 1e9 > max_age_seconds}
        reminders = [path for path in paths if path.endswith("-reminder.json")]
        if len(paths) <= max_files and not too_old and len(reminders) < 2:
            return 0
        queue = _Queue([entry for entry in map(self.read, paths) if entry is not None])
        queue.drop_reminders(keep_newest=True)
        # To well below the bound, or every run would drop a little more.
        target = max_files if len(paths) <= max_files else max_files * 9 // 10
        for drop in (queue.drop_reminders, queue.drop_pairs, queue.drop_replaced):
            drop(None if len(queue.left()) > target else too_old)
        if len(paths) > max_files:
            queue.drop_oldest(max_files - 1)  # one is for the summary
        return self._carry_out(queue, channel, now)

    def _carry_out(self, queue: _Queue, channel: str, now: float) -> int:
        changed = queue.changed()
        # What something later replaces is not missed.
        still_told = {event.incident_id for entry in queue.left() for event in entry.events}
        noteworthy = [event for event in queue.dropped_events if event.incident_id not in still_told]
        if noteworthy:
            # Before anything goes, in the place of the first that goes: whoever is killed in between does the same once more.
            place = min(entry.ns for entry in changed)
            earlier = [entry for entry in queue.left() if not entry.events]
            notes = list(dict.fromkeys([*(note for entry in earlier for note in entry.notes), _note_on(noteworthy, now)]))[-MAX_NOTES:]
            summary = Entry(f"{place % 16**12:012x}5e5e", now, [], notes)
            self._write_new(summary, channel, place)
            log_alert(f"channel {channel}: {notes[-1]}")
            self.remove([entry for entry in earlier if entry.path != summary.path])
        for entry in changed:
            if entry.events:
                self.rewrite(entry)
            else:
                self.remove([entry])
        return len(queue.dropped_events)

    def sweep(self, older_than_seconds: float = 3600.0) -> None:
        """Remove what processes left half written that were killed; what is younger may be another's work."""
        for root in self._roots:
            for directory in (root, os.path.join(root, "channels"), *self._queues(root)):
                for name in names(directory, re.escape(TEMPORARY_PREFIX) + ".*"):
                    with contextlib.suppress(OSError):
                        path = os.path.join(directory, name)
                        if time.time() - os.lstat(path).st_mtime > older_than_seconds:
                            os.unlink(path)

    @staticmethod
    def _queues(root: str) -> list[str]:
        return [os.path.join(root, kind, name) for kind in ("spool", "dead") for name in names(os.path.join(root, kind))]

    # -- what is remembered of a channel ----------------------------------------------------------------------------------

    def memory(self, channel: str) -> Json:
        """Return what is remembered of a channel; nothing where that is lost, which costs no alert."""
        found: list[Json] = [{}]
        for path in self._memory_paths(channel):
            with contextlib.suppress(OSError, ValueError):
                found.append(read_json_object(path))
        return max(found, key=lambda one: one["serial"] if isinstance(one.get("serial"), int) else -1)

    def remember(self, channel: str, memory: Json) -> None:
        """Write down what is remembered of a channel."""
        memory["serial"] = memory["serial"] + 1 if isinstance(memory.get("serial"), int) else 1
        for root, path in zip(self._roots, self._memory_paths(channel)):
            with contextlib.suppress(OSError):
                _make(root, os.path.dirname(path))
                write_whole(path, json.dumps(memory, sort_keys=True).encode())
                return

    def _memory_paths(self, channel: str) -> list[str]:
        return [os.path.join(root, "channels", f"{channel}.json") for root in self._roots]

    # -- for people -------------------------------------------------------------------------------------------------------

    def status(self, configured: t.Sequence[str], now: float) -> Json:
        """Return of each channel how much waits, since when and why, and how much was refused."""
        rows = {}
        for name in sorted({*configured, *self.channels()}):
            waiting, dead, memory = self.waiting(name), self.dead(name), self.memory(name)
            head = self.read(waiting[0]) if waiting else None
            last_dead = self.read(dead[-1]) if dead else None
            rows[name] = {
                "configured": name in configured,
                "waiting": len(waiting),
                "oldest_seconds": max(0.0, now - head.created) if head else None,
                "attempts": head.attempts if head else 0,
                "next_try": head.next_try if head and head.next_try > now else None,
                "last_error": head.last_error if head else "",
                "dead": len(dead),
                "dead_reason": last_dead.last_error if last_dead else "",
                "last_success": memory.get("last_success"),
            }
        return {
            "channels": rows,
            "waiting": sum(row["waiting"] for row in rows.values()),
            "dead": sum(row["dead"] for row in rows.values()),
            "oldest_seconds": max((row["oldest_seconds"] for row in rows.values() if row["oldest_seconds"] is not None), default=None),
        }


def wants(channel: Channel, event: Event) -> bool:
    """Tell whether a channel is told of an event: an incident that was bad enough for it is followed to its end."""
    if event.kind == "test":
        return True
    statuses = (event.status, event.worst_status or event.previous_status)
    return max(_RANK.get(status, 2) for status in statuses) >= _RANK[channel.minimum_status]


def log_alert(text: str) -> None:
    """Say something in the system log that must not be overlooked."""
    import syslog  # here, because almost no run needs it  # pylint: disable=import-outside-toplevel

    syslog.openlog("stackops", syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_ALERT, text[:2000])


class _Queue:
    """The entries of one channel, while it is decided what can be done without."""

    def __init__(self, entries: list[Entry]) -> None:
        self._entries = entries
        self._kept = [list(entry.events) for entry in entries]
        self.dropped_events: list[Event] = []

    def left(self) -> list[Entry]:
        """Return the entries in which something is left."""
        return [entry for entry, kept in zip(self._entries, self._kept) if kept or entry.notes]

    def changed(self) -> list[Entry]:
        """Give the entries what is left of their events, and return those that have lost some."""
        found = []
        for entry, kept in zip(self._entries, self._kept):
            if len(kept) < len(entry.events):
                entry.events = kept
                found.append(entry)
        return found

    def _drop(self, among: t.Optional[set[str]], needless: t.Callable[[int, Event], bool]) -> None:
        for index, entry in enumerate(self._entries):
            if among is None or entry.path in among:
                keep = [event for event in self._kept[index] if not needless(index, event)]
                if len(keep) < len(self._kept[index]):
                    self.dropped_events += [event for event in self._kept[index] if event not in keep]
                    self._kept[index] = keep

    def _last_of(self) -> dict[str, int]:
        """Return of each incident the index of the entry with its last event."""
        return {event.incident_id: index for index, kept in enumerate(self._kept) for event in kept}

    def drop_reminders(self, among: t.Optional[set[str]] = None, keep_newest: bool = False) -> None:
        """Drop reminders of incidents of which something later waits, and of which something earlier does, which says the same."""
        last = self._last_of()
        first: dict[str, int] = {}
        for index, kept in enumerate(self._kept):
            for event in kept:
                first.setdefault(event.incident_id, index)

        def needless(index: int, event: Event) -> bool:
            if event.kind != "reminder":
                return False
            return index < last[event.incident_id] or (not keep_newest and first[event.incident_id] < index)

        self._drop(among, needless)

    def drop_pairs(self, among: t.Optional[set[str]] = None) -> None:
        """Drop incidents that began and ended while they waited."""
        kinds: dict[str, set[str]] = {}
        for kept in self._kept:
            for event in kept:
                kinds.setdefault(event.incident_id, set()).add(event.kind)
        whole = {incident for incident, known in kinds.items() if {"open", "recovery"} <= known}
        if among is not None:
            # Its beginning may be too old while its end is not; one without the other would be a riddle.
            touched = {event.incident_id for entry, kept in zip(self._entries, self._kept) if entry.path in among for event in kept}
            whole &= touched
        self._drop(None, lambda index, event: event.incident_id in whole)

    def drop_replaced(self, among: t.Optional[set[str]] = None) -> None:
        """Drop what something later of the same incident replaces."""
        last = self._last_of()
        self._drop(among, lambda index, event: index < last[event.incident_id])

    def drop_oldest(self, target: int) -> None:
        """Drop the oldest entries until there are so many left, summaries apart."""
        excess = sum(map(bool, self._kept)) - target
        for index, kept in enumerate(self._kept):
            if excess > 0 and kept:
                self.dropped_events += kept
                self._kept[index] = []
                excess -= 1


def _note_on(events: t.Sequence[Event], now: float) -> str:
    incidents = {event.incident_id: event for event in events}
    worst = sorted(incidents.values(), key=lambda event: -_RANK.get(event.worst_status, 0))
    named = ", ".join(f"{event.check} {event.object} ({event.worst_status or event.previous_status})" for event in worst[:10])
    more = f" and {len(worst) - 10} more" if len(worst) > 10 else ""
    hours = max(0.0, now - min(event.at for event in events)) / 3600
    return f"{len(events)} messages of the last {hours:.0f} h were dropped, for too many waited, or for too long. They were about: {named}{more}."


def _make(root: str, directory: str) -> None:
    os.makedirs(root, mode=0o700, exist_ok=True)
    if not os.path.isdir(directory):
        os.makedirs(directory, mode=0o700, exist_ok=True)
        # The names above it have to outlive a crash of the host as well.
        for parent in (os.path.dirname(directory), root):
            sync_directory(parent)


def _ns(name: str) -> int:
    return int(name[:20])
