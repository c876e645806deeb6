# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Alerts from the spool to their receivers: each at least once, those of a channel in order, no channel waiting for another.

What was accepted is removed; what was not waits, longer each time; what was refused for good is kept where it holds nobody
up. Texts of errors are made here, of words that hold no secret, and never taken from an exception as they are.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import socket
import threading
import time
import typing as t
import urllib.parse

from ._alert_channels import Channel
from ._alert_messages import MACHINE_EVENTS, SHOWN_EVENTS, Request, build, test_event
from ._alert_spool import MAX_FILES, Entry, Spool, log_alert
from ._check_state import dedupe_key
from ._envelope import CheckError
from ._guarded_files import lock_file, unlock_file
from ._monitoring_types import Event
from ._process import run_command, run_side_by_side

Json = dict[str, t.Any]

BACK_OFF_MINUTES = (1, 2, 4, 8, 15, 30)
LONGEST_RETRY_AFTER_SECONDS = 3600.0
#: So often a channel has to fail until the others are told of it.
FAILURES_WORTH_TELLING = 10
_ANSWER_BYTES = 65536
_SHORT_WAIT_SECONDS = 3.0
_REFUSED_IN_A_ROW = 3
_RETRIED_STATUSES = frozenset({408, 425, 429})
_LAST_WORDS = 1000
_USER_AGENT = "stackops"


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much one delivery may take."""

    attempts_per_entry: int = 2
    connect_seconds: float = 5.0
    send_seconds: float = 10.0
    budget_seconds: float = 20.0
    lock_seconds: float = 1.0
    messages_per_hour: int = 30
    storm_seconds: float = 300.0
    jitter: float = 0.2
    pause_seconds: float = 0.5


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one attempt: ``accepted``, ``retry`` or ``refused``."""

    verdict: str
    reason: str = ""
    retry_after: t.Optional[float] = None
    #: The receiver is another than the one that was meant; others are told at once.
    misconfigured: bool = False


@dataclasses.dataclass
class ChannelReport:
    """What a delivery did for one channel."""

    sent: int = 0
    events: int = 0
    refused: int = 0
    waiting: int = 0
    reason: str = ""


@dataclasses.dataclass
class DeliveryReport:
    """What a delivery did; *busy* where another one was at it."""

    channels: dict[str, ChannelReport] = dataclasses.field(default_factory=dict)
    busy: bool = False

    @property
    def failing(self) -> dict[str, str]:
        """Return the channels that took nothing, with the reason."""
        return {name: report.reason for name, report in self.channels.items() if report.reason}


Send = t.Callable[[Channel, Request, Limits, float], Outcome]


def deliver(
    spool: Spool, channels: t.Sequence[Channel], now: float, limits: t.Optional[Limits] = None, *, force: bool = False, send: t.Optional[Send] = None
) -> DeliveryReport:
    """Send what waits for *channels* and return what came of it. With *force* nobody waits for the next try.

    *send* is what brings one request to its receiver; tests count it.
    """
    limits = limits or Limits()
    report = DeliveryReport()
    work = [channel for channel in channels if force or _has_work(spool, channel)]
    if not work:
        return report
    lock_path = os.path.join(spool.directory, "deliver.lock")
    try:
        os.makedirs(spool.directory, mode=0o700, exist_ok=True)
        lock = lock_file(lock_path, limits.lock_seconds, {"pid": os.getpid(), "purpose": "delivery of alerts", "since": now})
    except CheckError:
        report.busy = True
        return report
    except OSError:
        lock = -1  # a disk that cannot even hold a lock must not hold up alerts; at worst one arrives twice
    try:
        spool.sweep()
        drains = {channel.name: _Drain(spool, channel, channels, now, limits, force, send or send_request) for channel in work}
        outcomes = run_side_by_side({name: drain.run for name, drain in drains.items()}, limits.budget_seconds)
        for name, outcome in outcomes.items():
            drains[name].abandoned.set()
            result = drains[name].report
            if not outcome.done:
                result.reason = result.reason or f"not finished within {limits.budget_seconds:g} s"
            elif outcome.error is not None:
                result.reason = f"{type(outcome.error).__name__} in the delivery itself"
                log_alert(f"channel {name}: {result.reason}")
            report.channels[name] = result
    finally:
        if lock >= 0:
            unlock_file(lock)
    return report


def send_test(spool: Spool, channels: t.Sequence[Channel], host: str, group: str, now: float, limits: t.Optional[Limits] = None) -> dict[str, str]:
    """Send a test to each channel by the way of all alerts, and return for each why it did not arrive; an empty text where it did.

    A test that did not arrive is not kept: nobody wants it tomorrow.
    """
    limits = limits or Limits(lock_seconds=25.0)
    event = test_event(host, group, now)
    batch = event.incident_id[:12]
    lost = spool.put(batch, [event], channels, now)
    report = deliver(spool, channels, now, limits, force=True)
    results = {}
    for channel in channels:
        paths = [*spool.waiting(channel.name), *spool.dead(channel.name)]
        left = [entry for entry in map(spool.read, paths) if entry is not None and entry.batch.startswith(batch)]
        results[channel.name] = "it could not be written to the spool" if channel.name in lost else ""
        if left:
            spool.remove(left)
            reason = report.channels[channel.name].reason if channel.name in report.channels else ""
            results[channel.name] = reason or ("another delivery was running all the time" if report.busy else "it did not get its turn")
    return results


def heartbeat(url: str, exit_code: int, body: str, proxy: str = "", timeout_seconds: float = 5.0) -> str:
    """Tell a watcher of the healthchecks protocol that a run ended with *exit_code*; return why that failed, nothing where it did not."""
    parts = urllib.parse.urlsplit(url)
    target = urllib.parse.urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{max(0, min(255, exit_code))}"))
    channel = Channel("heartbeat", "webhook", url=url, proxy=proxy)
    request = Request(body.encode("utf-8", "replace")[:10_000], {"Content-Type": "text/plain; charset=utf-8"}, target)
    limits = Limits(connect_seconds=timeout_seconds, send_seconds=timeout_seconds)
    return send_request(channel, request, limits, timeout_seconds).reason


# -- one channel ----------------------------------------------------------------------------------------------------------


def _has_work(spool: Spool, channel: Channel) -> bool:
    try:
        return bool(spool.waiting(channel.name) or spool.dead(channel.name))
    except OSError:
        return True


class _Drain:
    """The delivery to one channel."""

    def __init__(self, spool: Spool, channel: Channel, channels: t.Sequence[Channel], now: float, limits: Limits, force: bool, send: Send) -> None:
        self._spool = spool
        self._channel = channel
        self._others = [other for other in channels if other.name != channel.name]
        self._start = now
        self._begin = time.monotonic()
        self._limits = limits
        self._force = force
        self._send = send
        self._memory = spool.memory(channel.name)
        self._alone = False
        self.report = ChannelReport()
        self.abandoned = threading.Event()

    def _now(self) -> float:
        return self._start + (time.monotonic() - self._begin)

    def _left(self) -> float:
        return self._limits.budget_seconds - (time.monotonic() - self._begin)

    def run(self) -> None:
        """Send until nothing waits, something does not arrive, or the time is over."""
        name = self._channel.name
        try:
            self._forget_what_is_done()
            self._after_another_configuration()
            self._spool.trim(name, self._start)
            refused_in_a_row = 0
            while not self.abandoned.is_set() and self._left() > 1.0 and refused_in_a_row < _REFUSED_IN_A_ROW:
                group, storm = self._next()
                if not group:
                    break
                outcome = self._attempt(group, storm)
                if self.abandoned.is_set():
                    return
                if outcome.verdict == "accepted":
                    self._accepted(group)
                    refused_in_a_row = 0
                elif outcome.verdict == "retry":
                    self._postpone(group[0], outcome)
                    break
                elif len(group) > 1:
                    self._alone = True  # one of them may be what is refused; the others must not go with it
                else:
                    self._refused(group[0], outcome)
                    refused_in_a_row += 1
            self.report.waiting = len(self._spool.waiting(name))
        except OSError as error:
            self.report.reason = f"the spool cannot be used: {error.strerror}"

    def _forget_what_is_done(self) -> None:
        """Remove what was sent while the disk was read-only."""
        done = self._memory.pop("done", None)
        if done:
            entries = [Entry("", 0.0, [], path=path) for path in self._spool.waiting(self._channel.name) if os.path.basename(path) in done]
            kept = self._spool.remove(entries)
            if kept:
                self._memory["done"] = kept
            self._save()

    def _after_another_configuration(self) -> None:
        fingerprint = self._channel.fingerprint()
        if self._memory.get("fingerprint") == fingerprint:
            return
        known = "fingerprint" in self._memory
        self._memory["fingerprint"] = fingerprint
        if known:
            self._spool.revive(self._channel.name, self._memory.get("last_words") or {})
            self._memory.pop("last_words", None)
            self._force = True
        self._save()

    def _next(self) -> tuple[list[Entry], bool]:
        """Return the entries that go as the next message, in order, and whether they are the digest of a storm; none where it is not time."""
        done = self._memory.get("done") or []
        paths = [path for path in self._spool.waiting(self._channel.name) if os.path.basename(path) not in done]
        group: list[Entry] = []
        storm = self._is_storm()
        if storm and not self._force and self._now() - max(self._sent()) < self._limits.storm_seconds:
            self.report.reason = f"{self._limits.messages_per_hour} messages within an hour: the next one gathers what comes"
            return [], False
        room = MACHINE_EVENTS if storm or self._channel.type in ("webhook", "command") else SHOWN_EVENTS
        for path in paths:
            entry = self._spool.read(path)
            if entry is None:
                continue
            if not group and not self._force and not self._is_due(entry):
                self.report.reason = f"{entry.last_error}; the next try is at {time.strftime('%H:%M:%S', time.gmtime(entry.next_try))} UTC"
                break
            room -= max(1, len(entry.events))
            if group and (room < 0 or self._alone or self._channel.one_event_per_message or "test" in (entry.kind, group[0].kind)):
                break
            group.append(entry)
        self._alone = False
        return group, storm and len(group) > 1

    def _is_due(self, entry: Entry) -> bool:
        # One that lies further ahead than any wait is from before the clock was set back.
        return not 0 < entry.next_try - self._now() <= LONGEST_RETRY_AFTER_SECONDS

    def _sent(self) -> list[float]:
        return [moment for moment in self._memory.get("sent") or [] if isinstance(moment, (int, float)) and 0 <= self._now() - moment < 3600]

    def _is_storm(self) -> bool:
        return not self._channel.one_event_per_message and len(self._sent()) >= self._limits.messages_per_hour

    def _attempt(self, group: t.Sequence[Entry], storm: bool) -> Outcome:
        if self._channel.problem:
            return Outcome("retry", f"its configuration is wrong: {self._channel.problem}", misconfigured=True)
        try:
            requests = build(self._channel, group, self._now(), storm)
        except Exception as error:  # pylint: disable=broad-except  # whatever is in it must not hold up what comes after it
            return Outcome("refused", f"no message could be made of it ({type(error).__name__})")
        outcome = Outcome("accepted")
        for number in range(self._limits.attempts_per_entry):
            if number:
                wait = self._limits.pause_seconds if outcome.retry_after is None else outcome.retry_after
                if wait > _SHORT_WAIT_SECONDS or self._left() < wait + 1.0 or self.abandoned.wait(wait):
                    break
            group[0].attempts += 1
            while requests:
                outcome = self._send(self._channel, requests[0], self._limits, max(0.5, min(self._limits.send_seconds, self._left() - 0.5)))
                if outcome.verdict != "accepted":
                    break
                requests.pop(0)
            if outcome.verdict != "retry":
                break
        return outcome

    def _accepted(self, group: t.Sequence[Entry]) -> None:
        now = self._now()
        # A disk that was mounted read-only keeps what is gone; it must not be sent every minute.
        done = [*(self._memory.pop("done", None) or []), *self._spool.remove(group)]
        if done:
            self._memory["done"] = done[-MAX_FILES:]
        self._memory["sent"] = [*self._sent(), now]
        self._memory["last_success"] = now
        if self._spool.dead(self._channel.name):
            # What was refused is now known to be over, or to have gone on.
            words = {**(self._memory.get("last_words") or {}), **{event.incident_id: event.kind for entry in group for event in entry.events}}
            self._memory["last_words"] = dict(list(words.items())[-_LAST_WORDS:])
        incident = self._memory.get("incident")
        if incident:
            told = [other for other in self._others if other.name in incident.get("told", ())]
            self._tell_others("recovery", told, group[0], incident, "It takes messages again.")
            del self._memory["incident"]
        self._save()
        self.report.sent += 1
        self.report.events += sum(len(entry.events) for entry in group)
        self.report.reason = ""

    def _postpone(self, head: Entry, outcome: Outcome) -> None:
        now = self._now()
        # The attempts of one run count as one.
        runs = (head.attempts + self._limits.attempts_per_entry - 1) // self._limits.attempts_per_entry
        wait = BACK_OFF_MINUTES[min(max(runs, 1), len(BACK_OFF_MINUTES)) - 1] * 60.0
        wait *= 1 + random.uniform(-self._limits.jitter, self._limits.jitter)
        if outcome.retry_after is not None:
            wait = min(max(wait, outcome.retry_after), LONGEST_RETRY_AFTER_SECONDS)
        head.next_try = now + wait
        head.last_error = outcome.reason
        self._spool.rewrite(head)
        self.report.reason = outcome.reason
        summary = f"It takes no messages: {outcome.reason}. {len(self._spool.waiting(self._channel.name))} wait, and none is lost."
        if outcome.misconfigured:
            self._tell(head, self._others, summary, now)
        elif head.attempts >= FAILURES_WORTH_TELLING:
            # Where all fail, it is the way out of this host that is broken. To be told so of each by each, afterwards, helps nobody.
            healthy = [other for other in self._others if not self._is_failing(other)]
            if healthy:
                self._tell(head, healthy, summary, now)

    def _refused(self, entry: Entry, outcome: Outcome) -> None:
        now = self._now()
        entry.last_error = outcome.reason
        log_alert(
            f"channel {self._channel.name} refused an alert: {outcome.reason}: "
            + "; ".join(f"{one.kind} {one.status} {one.check} {one.object}" for one in entry.events)
        )
        try:
            self._spool.bury(entry, self._channel.name)
        except OSError:
            self._postpone(entry, outcome)
        self.report.refused += 1
        self.report.reason = outcome.reason
        kept = len(self._spool.dead(self._channel.name))
        self._tell(entry, self._others, f"It refuses messages: {outcome.reason}. {kept} are kept, and sent when its configuration has changed.", now)

    def _is_failing(self, other: Channel) -> bool:
        waiting = self._spool.waiting(other.name)
        head = self._spool.read(waiting[0]) if waiting else None
        return head is not None and head.attempts > 0

    def _tell(self, entry: Entry, others: t.Sequence[Channel], summary: str, now: float) -> None:
        """Tell other channels, once until this one works again."""
        if not self._memory.get("incident"):
            incident = {"since": now, "id": entry.batch, "told": [other.name for other in others]}
            self._tell_others("open", others, entry, incident, summary)
            self._memory["incident"] = incident
            self._save()

    def _tell_others(self, kind: str, others: t.Sequence[Channel], entry: Entry, incident: Json, summary: str) -> None:
        event = _channel_event(kind, self._channel, entry, incident, self._now(), summary)
        batch = hashlib.sha256(f"{event.object}|{event.incident_id}|{kind}".encode()).hexdigest()[:12]
        if not others or self._spool.put(batch, [event], others, self._now()):
            log_alert(event.summary)

    def _save(self) -> None:
        self._spool.remember(self._channel.name, self._memory)


def _channel_event(kind: str, channel: Channel, entry: Entry, incident: Json, now: float, summary: str) -> Event:
    host = entry.events[0].host if entry.events else socket.gethostname()
    name = f"channel {channel.name}"
    over = kind == "recovery"
    return Event(
        kind=kind,
        check="alerts",
        object=name,
        stack="",
        host=host,
        status="ok" if over else "critical",
        previous_status="critical" if over else "ok",
        since=float(incident.get("since", now)),
        at=now,
        summary=f"Alerts of {host} by {name}: {summary}",
        cause="" if over else channel.problem or "The channel's configuration, its service, or the way there.",
        next_command="" if over else "stackops alerts status",
        details=(),
        incident_id=str(incident.get("id", "")),
        dedupe_key=dedupe_key("", host, "", "alerts", name),
        failures=0,
        worst_status="critical",
    )


# -- one request ----------------------------------------------------------------------------------------------------------


def send_request(channel: Channel, request: Request, limits: Limits, seconds: float) -> Outcome:
    """Bring one request to its receiver within *seconds*, whatever hangs, and return what came of it."""
    if channel.type in ("email", "command"):
        return _send_to_program(channel, request, seconds)
    # In a thread of its own, for a lookup of a name has no time limit, and neither has an answer that comes byte by byte.
    outcome = run_side_by_side({"send": lambda: _post(channel, request, min(limits.connect_seconds, seconds), seconds)}, seconds)["send"]
    if outcome.value is not None:
        return outcome.value
    if not outcome.done:
        return Outcome("retry", f"no answer within {seconds:.0f} s")
    return Outcome("retry", channel.harmless(_why(outcome.error)))


def _send_to_program(channel: Channel, request: Request, seconds: float) -> Outcome:
    argv = [channel.sendmail_path, "-t", "-i"] if channel.type == "email" else list(channel.argv)
    program = os.path.basename(argv[0])
    try:
        done = run_command(argv, seconds, request.body)
    except CheckError as error:
        # Its source is the whole command, in which there may be secrets.
        reasons = {"not-installed": f"{argv[0]} is not installed", "timeout": f"{program} did not end within {seconds:.0f} s"}
        return Outcome("retry", reasons.get(error.code, f"{argv[0]} may not be run"), misconfigured=error.code == "not-installed")
    if done.exit_code == 0:
        return Outcome("accepted")
    words = (done.error_text or done.text).strip()
    return Outcome(
        "retry", channel.harmless(f"{program} ended with exit code {done.exit_code}: {words}" if words else f"{program} ended with exit code {done.exit_code}")
    )


def _post(channel: Channel, request: Request, connect_seconds: float, seconds: float) -> Outcome:
    import http.client  # here, because a run that has nothing to send would pay for it  # pylint: disable=import-outside-toplevel

    deadline = time.monotonic() + seconds
    connection, target, headers = _connection(channel, request, connect_seconds)
    try:
        connection.connect()
        connection.sock.settimeout(max(0.1, deadline - time.monotonic()))
        # No redirect is followed: http.client knows none. A login page that one led to would look like a success.
        connection.request("POST", target, request.body, headers)
        answer = connection.getresponse()
        body = answer.read(_ANSWER_BYTES)
        return judge(channel, answer.status, answer.headers, body)
    except http.client.HTTPException as error:
        return Outcome("retry", f"the answer is no HTTP ({type(error).__name__})")
    finally:
        connection.close()


def _connection(channel: Channel, request: Request, connect_seconds: float) -> tuple[t.Any, str, dict[str, str]]:
    import base64  # pylint: disable=import-outside-toplevel
    import http.client  # pylint: disable=import-outside-toplevel

    def basic(parts: urllib.parse.SplitResult) -> str:
        pair = f"{urllib.parse.unquote(parts.username or '')}:{urllib.parse.unquote(parts.password or '')}"
        return "Basic " + base64.b64encode(pair.encode()).decode()

    parts = urllib.parse.urlsplit(request.url)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    headers = {"User-Agent": _USER_AGENT, **request.headers, **channel.headers}
    if parts.username is not None:
        headers.setdefault("Authorization", basic(parts))
    via = urllib.parse.urlsplit(channel.proxy)
    proxy_headers = {"Proxy-Authorization": basic(via)} if via.username is not None else {}
    to_host, to_port = (via.hostname or "", via.port or 3128) if channel.proxy else (host, port)
    if not secure:
        if channel.proxy:
            headers.update(proxy_headers)
            netloc = parts.netloc.rpartition("@")[2]
            headers["Host"], target = netloc, f"http://{netloc}{target}"
        return http.client.HTTPConnection(to_host, to_port, timeout=connect_seconds), target, headers
    import ssl  # pylint: disable=import-outside-toplevel

    context = ssl.create_default_context(cafile=channel.ca_path or None)
    if not channel.validate_certs:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(to_host, to_port, timeout=connect_seconds, context=context)
    if channel.proxy:
        connection.set_tunnel(host, port, proxy_headers)
    return connection, target, headers


def judge(channel: Channel, status: int, headers: t.Mapping[str, str], body: bytes) -> Outcome:
    """Return what an answer of a channel's service means."""
    text = body.decode("utf-8", "replace").strip()
    if 200 <= status < 300:
        if _is_success(channel.type, status, text):
            return Outcome("accepted")
        return Outcome("retry", channel.harmless(f"HTTP {status}, but this is no answer of {channel.type}: {text}"), misconfigured=True)
    if 300 <= status < 400:
        return Outcome("retry", f"HTTP {status}: it redirects to another place, which is not followed; correct the channel's url", misconfigured=True)
    reason = channel.harmless(f"HTTP {status}: {text}" if text else f"HTTP {status}")
    if status in _RETRIED_STATUSES or status >= 500:
        return Outcome("retry", reason, _retry_after(channel.type, headers, text))
    return Outcome("refused", reason)


def _is_success(kind: str, status: int, text: str) -> bool:
    if kind == "slack":
        return text == "ok" or _json(text).get("success") is True
    if kind == "discord":
        return status == 204 or "id" in _json(text)
    if kind == "pagerduty":
        return status == 202 and _json(text).get("status") == "success"
    return True


def _json(text: str) -> Json:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _retry_after(kind: str, headers: t.Mapping[str, str], text: str) -> t.Optional[float]:
    """Return how many seconds the receiver wants to be left alone."""
    found: t.Optional[float] = None
    stated = (headers.get("Retry-After") or "").strip()
    if stated:
        try:
            found = float(stated)
        except ValueError:
            found = _until(stated, headers.get("Date") or "")
    in_body = _json(text).get("retry_after") if kind == "discord" else None
    if isinstance(in_body, (int, float)) and not isinstance(in_body, bool):
        # Documented in seconds; milliseconds were seen.
        found = max(found or 0.0, in_body / 1000 if in_body > 600 else float(in_body))
    return min(found, LONGEST_RETRY_AFTER_SECONDS) if found is not None and found >= 0 else None


def _until(stated: str, date: str) -> t.Optional[float]:
    """Return the seconds until *stated*, from the receiver's own idea of the time where it says what that is."""
    from email.utils import parsedate_to_datetime  # pylint: disable=import-outside-toplevel

    try:
        until = parsedate_to_datetime(stated).timestamp()
        return max(0.0, until - (parsedate_to_datetime(date).timestamp() if date else time.time()))
    except (TypeError, ValueError, OverflowError):
        return None


def _why(error: t.Optional[BaseException]) -> str:
    """Return what an exception means, in words of the system and not of the exception, in which a URL may be."""
    import ssl  # pylint: disable=import-outside-toplevel

    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'no reason given'}"
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(error, socket.timeout):
        return "no answer in time"
    if isinstance(error, OSError):
        return error.strerror or ("the proxy refused" if "Tunnel" in str(error) else type(error).__name__)
    return type(error).__name__
