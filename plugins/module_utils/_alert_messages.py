# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What is sent to each kind of channel: within its limits, and with what came from logs as nothing but text.

A message that a service finds too long is refused for good, so each builder is tried with less and less text until it fits.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import re
import time
import typing as t
import urllib.parse

from ._alert_channels import Channel
from ._alert_spool import Entry
from ._check_state import dedupe_key
from ._envelope import rfc3339
from ._monitoring_text import inert
from ._monitoring_types import Event

Json = dict[str, t.Any]

SHOWN_EVENTS = 20
MACHINE_EVENTS = 200
MAX_DETAILS = 11
DELAY_WORTH_TELLING_SECONDS = 150.0

DISCORD_EMBEDS, DISCORD_TITLE, DISCORD_DESCRIPTION, DISCORD_TOTAL = 10, 256, 4096, 6000
SLACK_TEXT, SLACK_BYTES = 4000, 100_000
TEAMS_BYTES = 28_000
PAGERDUTY_SUMMARY = 1024
#: What proxies and servers take where nobody told them otherwise is 1 MiB.
WEBHOOK_BYTES = 900_000
#: How much text of an event is shown, and how many of its further lines; the first that fits is taken.
_LEVELS = ((500, 10), (300, 3), (160, 1), (80, 0), (40, 0))

_RANK = {"ok": 0, "unknown": 1, "warning": 2, "critical": 3}
_DISCORD_COLOURS = {"critical": 0xE74C3C, "warning": 0xF1C40F, "unknown": 0x95A5A6, "ok": 0x2ECC71}
_SLACK_COLOURS = {"critical": "danger", "warning": "warning", "unknown": "#95a5a6", "ok": "good"}
_TEAMS_COLOURS = {"critical": "Attention", "warning": "Warning", "unknown": "Accent", "ok": "Good"}
_PAGERDUTY_SEVERITIES = {"critical": "critical", "warning": "warning", "unknown": "error"}
_MENTION = re.compile(r"@(?=\w)")
_DISCORD_MARKUP = re.compile(r"([\\*_~`|<>\[\]()#])")
_NO_END = "0001-01-01T00:00:00Z"


@dataclasses.dataclass(frozen=True)
class Request:
    """One message as it goes out: over HTTP, or to the standard input of a program."""

    body: bytes = dataclasses.field(repr=False)
    headers: t.Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    url: str = dataclasses.field(default="", repr=False)


@dataclasses.dataclass(frozen=True)
class Bulletin:
    """What one message tells: the events it shows, those it only counts, and notes."""

    events: tuple[Event, ...]
    more: tuple[Event, ...]
    notes: tuple[str, ...]
    key: str
    now: float

    def all_events(self) -> tuple[Event, ...]:
        """Return the events that are shown and those that are not."""
        return (*self.events, *self.more)


def build(channel: Channel, entries: t.Sequence[Entry], now: float, storm: bool = False) -> list[Request]:
    """Return the requests that bring *entries*, in order, to *channel*; all have to be accepted.

    In a *storm* people are shown only the last of each object, the worst first.
    """
    machine = channel.type in ("webhook", "command", "pagerduty")
    bulletin = bulletin_of(entries, now, MACHINE_EVENTS if machine else SHOWN_EVENTS, storm and not machine)
    if channel.type == "pagerduty":
        return [Request(_bytes(body), {"Content-Type": "application/json"}, channel.url) for body in pagerduty(bulletin, channel.routing_key)]
    if channel.type == "email":
        return [Request(email(bulletin, channel))]
    if channel.type == "command":
        return [Request(_bytes(webhook(bulletin, channel.name)))]
    if channel.type == "webhook":
        body = _bytes(webhook(bulletin, channel.name))
        headers = {"Content-Type": "application/json", "Idempotency-Key": bulletin.key}
        if channel.hmac_secret:
            headers["X-Signature"] = "sha256=" + hmac.new(channel.hmac_secret.encode(), body, hashlib.sha256).hexdigest()
        return [Request(body, headers, channel.url)]
    payload = {"slack": slack, "discord": discord, "teams": teams}[channel.type](bulletin)
    url = _with_query(channel.url, "wait", "true") if channel.type == "discord" else channel.url
    return [Request(_bytes(payload), {"Content-Type": "application/json"}, url)]


def bulletin_of(entries: t.Sequence[Entry], now: float, limit: int, storm: bool = False) -> Bulletin:
    """Return what one message about *entries* tells."""
    events = [_harmless(event) for entry in entries for event in entry.events]
    notes = [note for entry in entries for note in entry.notes]
    if storm:
        count = len(events)
        last = {event.dedupe_key: event for event in events}
        events = sorted(last.values(), key=lambda event: -_RANK.get(event.status, 1))
        notes.insert(0, f"Too many alerts within an hour: {count} of them in this one message, of each object the last.")
    shown = events
    if len(events) > limit:
        worst = sorted(
            range(len(events)), key=lambda index: -_RANK.get(max(events[index].status, events[index].worst_status or "ok", key=_RANK.__getitem__), 1)
        )
        chosen = set(worst[:limit])
        shown = [event for index, event in enumerate(events) if index in chosen]
        more = [event for index, event in enumerate(events) if index not in chosen]
    else:
        more = []
    key = hashlib.sha256("|".join(entry.batch for entry in entries).encode()).hexdigest()[:32]
    return Bulletin(tuple(shown), tuple(more), tuple(inert(note, 1000) for note in notes), key, now)


def test_event(host: str, group: str, now: float) -> Event:
    """Return the event that tries whether alerts arrive."""
    return Event(
        kind="test",
        check="test",
        object="alert path",
        stack="",
        host=host,
        status="ok",
        previous_status="ok",
        since=now,
        at=now,
        summary=f"This is a test from {host}. Nothing is wrong: alerts of this host arrive here.",
        cause="",
        next_command="stackops alerts status",
        details=(),
        incident_id=hashlib.sha256(f"test|{host}|{now}".encode()).hexdigest()[:32],
        dedupe_key=dedupe_key(group, host, "", "test", "alert path"),
        failures=0,
    )


def _harmless(event: Event) -> Event:
    """Return an event in which all text is harmless, wherever it comes from."""
    limits = {"object": 200, "stack": 100, "host": 255, "check": 64, "summary": 500, "cause": 500, "next_command": 500}
    values: dict[str, t.Any] = {name: inert(getattr(event, name), limit) for name, limit in limits.items()}
    return dataclasses.replace(event, details=tuple(inert(line, 500) for line in event.details[:MAX_DETAILS]), **values)


# -- words ----------------------------------------------------------------------------------------------------------------


def word(event: Event) -> str:
    """Return the one word that an event is."""
    if event.kind == "test":
        return "TEST"
    if event.kind == "recovery":
        return "RESOLVED"
    return f"STILL {event.status.upper()}" if event.kind == "reminder" else event.status.upper()


def title(event: Event, limit: int) -> str:
    """Return the heading of one event."""
    place = f"{event.host} {event.stack}" if event.stack else event.host
    return inert(f"{word(event)} {place}: {event.check} {event.object}", limit)


def headline(bulletin: Bulletin, limit: int) -> str:
    """Return the heading of a message."""
    events = bulletin.all_events()
    if not events:
        return inert(" ".join(bulletin.notes) or "alerts", limit)
    if len(events) == 1:
        first = events[0]
        return inert(f"{title(first, limit)}: {first.summary}", limit)
    counts: dict[str, int] = {}
    for event in sorted(events, key=lambda one: -_RANK.get(one.status, 1)):
        counts[word(event)] = counts.get(word(event), 0) + 1
    hosts = ", ".join(dict.fromkeys(event.host for event in events))
    return inert(f"{', '.join(f'{count} {name}' for name, count in counts.items())} on {hosts}", limit)


def lines(event: Event, now: float, level: tuple[int, int]) -> list[tuple[str, str]]:
    """Return what there is to say of an event, as labels with texts."""
    limit, details = level
    told = [("What", event.summary), ("Host", event.host), ("Stack", event.stack or "(the host itself)")]
    if event.kind == "recovery":
        failed = f", {event.failures} failed runs" if event.failures else ""
        told.append(("Was", f"{event.previous_status} since {moment(event.since)}, for {duration(event.at - event.since)}{failed}"))
    elif event.kind != "test":
        before = f", {event.previous_status} before" if event.kind == "change" else ""
        told.append(("Since", f"{moment(event.since)}, for {duration(event.at - event.since)}{before}"))
    told.append(("Likely cause", event.cause))
    told.append(("Next", event.next_command))
    told += [("Detail", line) for line in event.details[:details]]
    if now - event.at > DELAY_WORTH_TELLING_SECONDS:
        told.append(("Late", f"seen at {moment(event.at)}, delivery delayed by {duration(now - event.at)}"))
    return [(label, inert(text, limit)) for label, text in told if text]


def tail(bulletin: Bulletin, limit: int) -> list[str]:
    """Return what comes after the events: how many are not shown, and notes."""
    told = []
    if bulletin.more:
        named = ", ".join(f"{event.check} {event.object}" for event in bulletin.more)
        told.append(inert(f"+{len(bulletin.more)} more: {named}", limit))
    return [*told, *(inert(note, limit) for note in bulletin.notes)]


def moment(seconds: float) -> str:
    """Return a time as people read it."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(max(0.0, seconds)))


def duration(seconds: float) -> str:
    """Return a length of time as people read it."""
    seconds = max(0.0, seconds)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 2 * 86400 else f"{seconds / 86400:.1f} days"


def plain_text(bulletin: Bulletin, level: tuple[int, int] = _LEVELS[0]) -> str:
    """Return a message as plain text."""
    parts = []
    for event in bulletin.events:
        parts.append("\n".join([title(event, 300), *(f"  {label}: {text}" for label, text in lines(event, bulletin.now, level))]))
    return "\n\n".join([*parts, *tail(bulletin, 2000)]) + "\n"


# -- one builder per kind of channel --------------------------------------------------------------------------------------


def slack(bulletin: Bulletin) -> Json:
    """Return an incoming webhook's message, which Mattermost and Rocket.Chat take as well; no markup is evaluated in it."""

    def payload(level: tuple[int, int]) -> Json:
        attachments: list[Json] = []
        for event in bulletin.events:
            heading = _slack_text(title(event, 300))
            text = "\n".join(f"{label}: {_slack_text(text)}" for label, text in lines(event, bulletin.now, level))
            colour = _SLACK_COLOURS.get(_colour(event), "#95a5a6")
            attachments.append({"color": colour, "fallback": heading, "title": heading, "text": text, "mrkdwn_in": []})
        notes = [_slack_text(note) for note in tail(bulletin, 1000)]
        if notes:
            attachments.append({"fallback": notes[0], "text": "\n".join(notes), "mrkdwn_in": []})
        return {"text": _slack_text(headline(bulletin, 300)), "mrkdwn": False, "link_names": 0, "parse": "none", "attachments": attachments}

    return _fitting(payload, lambda one: len(_bytes(one)) <= SLACK_BYTES and all(len(part["text"]) <= SLACK_TEXT for part in one["attachments"]))


def discord(bulletin: Bulletin) -> Json:
    """Return a webhook's message; nobody is mentioned, whatever is in the text."""

    def payload(level: tuple[int, int]) -> Json:
        embeds: list[Json] = []
        notes = [_discord_text(note) for note in tail(bulletin, 500)]
        if len(bulletin.events) + bool(notes) <= DISCORD_EMBEDS:
            for event in bulletin.events:
                text = "\n".join(f"{label}: {_discord_text(text)}" for label, text in lines(event, bulletin.now, level))
                colour = _DISCORD_COLOURS.get(_colour(event), 0x95A5A6)
                embeds.append({"title": _discord_text(title(event, 120)), "description": text, "color": colour, "timestamp": rfc3339(event.at)})
            if notes:
                embeds.append({"description": "\n".join(notes)})
        else:
            short = [_discord_text(inert(f"{title(event, 90)}: {event.summary}", 90 + level[0] // 8)) for event in bulletin.events]
            embeds.append({"title": _discord_text(headline(bulletin, 120)), "description": "\n".join([*short, *notes])})
        return {"content": _discord_text(headline(bulletin, 500)), "embeds": embeds, "allowed_mentions": {"parse": []}}

    def fits(one: Json) -> bool:
        sizes = [(_units(embed.get("title", "")), _units(embed["description"])) for embed in one["embeds"]]
        small = all(heading <= DISCORD_TITLE and text <= DISCORD_DESCRIPTION for heading, text in sizes)
        return small and sum(map(sum, sizes)) <= DISCORD_TOTAL and _units(one["content"]) <= 2000

    return _fitting(payload, fits, _cut_discord)


def _cut_discord(payload: Json) -> Json:
    """Cut what no level makes small enough; with room for the rest that is only ever the list of a great many events."""
    room = DISCORD_TOTAL - 500
    for embed in payload["embeds"]:
        embed["description"] = embed["description"][: min(room, DISCORD_DESCRIPTION) // 2]
        room -= _units(embed["description"]) + _units(embed.get("title", ""))
    return payload


def teams(bulletin: Bulletin) -> Json:
    """Return the message of a workflow: an Adaptive Card of text runs, in which Markdown means nothing."""

    def block(*runs: Json, **more: t.Any) -> Json:
        return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", **run} for run in runs], **more}

    def payload(level: tuple[int, int]) -> Json:
        body: list[Json] = []
        for number, event in enumerate(bulletin.events):
            heading = {"text": _no_mention(title(event, 300)), "weight": "Bolder", "color": _TEAMS_COLOURS.get(_colour(event), "Default")}
            body.append(block(heading, **({"separator": True} if number else {})))
            body += [
                block({"text": f"{label}: ", "weight": "Bolder"}, {"text": _no_mention(text)}, spacing="None")
                for label, text in lines(event, bulletin.now, level)
            ]
        body += [block({"text": _no_mention(note)}, separator=True) for note in tail(bulletin, 1000)]
        card = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "fallbackText": _no_mention(headline(bulletin, 300)),
            "body": body,
            "msteams": {"width": "Full"},
        }
        return {"type": "message", "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}]}

    return _fitting(payload, lambda one: len(_bytes(one)) <= TEAMS_BYTES)


def pagerduty(bulletin: Bulletin, routing_key: str) -> list[Json]:
    """Return one event of the Events API v2 for each event; a test is ended at once. What was dropped is not told there."""
    bodies = []
    for event in bulletin.all_events():
        actions = {"recovery": ["resolve"], "test": ["trigger", "resolve"]}.get(event.kind, ["trigger"])
        bodies += [_pagerduty(event, action, routing_key, bulletin.now) for action in actions]
    return bodies


def _pagerduty(event: Event, action: str, routing_key: str, now: float) -> Json:
    details: Json = {label: text for label, text in lines(event, now, (500, 0)) if label != "What"}
    details["Details"] = list(event.details)
    details["Incident"] = event.incident_id
    return {
        "routing_key": routing_key,
        "event_action": action,
        "dedup_key": event.dedupe_key,
        "payload": {
            "summary": inert(f"{title(event, 300)}: {event.summary}", PAGERDUTY_SUMMARY),
            "source": event.host,
            "severity": _PAGERDUTY_SEVERITIES.get(event.status, "info"),
            "timestamp": rfc3339(event.at),
            "component": event.object,
            "group": event.stack or event.host,
            "class": event.check,
            "custom_details": details,
        },
        "client": "stackops",
    }


def webhook(bulletin: Bulletin, receiver: str) -> Json:
    """Return a superset of version 4 of Alertmanager's webhook, so that what reads that reads this."""

    def payload(level: tuple[int, int]) -> Json:
        alerts = [_alert(event, bulletin.now, level) for event in bulletin.events]
        common: Json = {}
        for name in ("host", "stack", "check"):
            values = {alert["labels"][name] for alert in alerts}
            if len(values) == 1:
                common[name] = values.pop()
        return {
            "version": "4",
            "schema": "stackops.alert/1",
            "receiver": receiver,
            "status": "firing" if any(alert["status"] == "firing" for alert in alerts) else "resolved",
            "groupKey": bulletin.key,
            "truncatedAlerts": len(bulletin.more),
            "groupLabels": {},
            "commonLabels": common,
            "commonAnnotations": {},
            "externalURL": "",
            "alerts": alerts,
            "x": {"title": headline(bulletin, 300), "notes": tail(bulletin, 2000), "sent_at": rfc3339(bulletin.now)},
        }

    return _fitting(payload, lambda one: len(_bytes(one)) <= WEBHOOK_BYTES)


def _alert(event: Event, now: float, level: tuple[int, int]) -> Json:
    over = event.kind in ("recovery", "test")
    limit, details = level
    return {
        "status": "resolved" if over else "firing",
        "labels": {
            "alertname": event.check,
            "severity": event.previous_status if event.kind == "recovery" else "info" if event.kind == "test" else event.status,
            "host": event.host,
            "instance": event.host,
            "stack": event.stack,
            "check": event.check,
            "object": event.object,
        },
        "annotations": {
            "summary": inert(event.summary, limit),
            "description": "\n".join(f"{label}: {text}" for label, text in lines(event, now, level)),
            "cause": inert(event.cause, limit),
            "next_command": inert(event.next_command, limit),
        },
        "startsAt": rfc3339(event.since),
        "endsAt": rfc3339(event.at) if over else _NO_END,
        "generatorURL": "",
        "fingerprint": event.dedupe_key,
        "x": {
            "incident_id": event.incident_id,
            "kind": event.kind,
            "status": event.status,
            "previous_status": event.previous_status,
            "at": rfc3339(event.at),
            "failures": event.failures,
            "details": [inert(line, limit) for line in event.details[:details]],
            "delivery_delay_seconds": round(max(0.0, now - event.at), 1),
        },
    }


def email(bulletin: Bulletin, channel: Channel) -> bytes:
    """Return a message for ``sendmail -t``."""
    from email.message import EmailMessage  # here, because few use it  # pylint: disable=import-outside-toplevel
    from email.utils import formatdate  # pylint: disable=import-outside-toplevel

    events = bulletin.all_events()
    host = re.sub(r"[^A-Za-z0-9.-]", "-", events[0].host if events else "localhost").strip("-.") or "localhost"
    message = EmailMessage()
    message["Subject"] = f"[stackops] {headline(bulletin, 180)}"
    message["From"] = channel.sender or "root"
    message["To"] = ", ".join(channel.to)
    message["Date"] = formatdate(bulletin.now)
    message["Message-ID"] = f"<{bulletin.key}@{host}>"
    # No out-of-office answer is wanted, and no alert about an alert.
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message.set_content(plain_text(bulletin))
    return message.as_bytes()


# -- text of each kind ----------------------------------------------------------------------------------------------------


def _colour(event: Event) -> str:
    return "ok" if event.kind in ("recovery", "test") else event.status


def _no_mention(text: str) -> str:
    # With a character of no width after it, it calls nobody.
    return _MENTION.sub("@\u200b", text)


def _slack_text(text: str) -> str:
    # The last is for Mattermost, which knows Markdown's links with a text of their own.
    return _no_mention(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("](", "]\u200b("))


def _discord_text(text: str) -> str:
    return _no_mention(_DISCORD_MARKUP.sub(r"\\\1", text))


def _units(text: str) -> int:
    """Return the length as services count it that count the halves of pairs."""
    return len(text.encode("utf-16-le", "replace")) // 2


def _bytes(payload: Json) -> bytes:
    return json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace")


def _fitting(payload: t.Callable[[tuple[int, int]], Json], fits: t.Callable[[Json], bool], cut: t.Callable[[Json], Json] = lambda one: one) -> Json:
    for level in _LEVELS:
        made = payload(level)
        if fits(made):
            return made
    return cut(made)


def _with_query(url: str, name: str, value: str) -> str:
    parts = urllib.parse.urlsplit(url)
    if any(key == name for key, dummy in urllib.parse.parse_qsl(parts.query)):
        return url
    return urllib.parse.urlunsplit(parts._replace(query="&".join(filter(None, [parts.query, f"{name}={value}"]))))
