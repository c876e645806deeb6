# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Where alerts are sent to, as users configure it. What is secret in it is neither shown nor logged."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import typing as t
import urllib.parse

from ._envelope import CheckError
from ._monitoring_text import inert
from ._redaction import REDACTED

TYPES = ("slack", "discord", "teams", "pagerduty", "webhook", "email", "command")
PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"
SENDMAIL = "/usr/sbin/sendmail"
#: Office 365 connectors; they were retired, and a message to one vanishes.
_RETIRED_TEAMS = re.compile(r"(?:^|\.)(?:webhook\.office\.com|outlook\.office(?:365)?\.com)$", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN_HEADERS = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection", "expect"})
_ADDRESS = re.compile(r"[^\s@<>,;:\"\\()\[\]]+(?:@[A-Za-z0-9.-]+|@\[[0-9A-Fa-f:.]+\])?")
_OPTIONS = {
    "slack": {"url"},
    "discord": {"url"},
    "teams": {"url"},
    "pagerduty": {"routing_key", "url"},
    "webhook": {"url", "hmac_secret"},
    "email": {"to", "from", "sendmail_path"},
    "command": {"argv"},
}
_HTTP_OPTIONS = {"headers", "proxy", "validate_certs", "ca_path"}
_COMMON_OPTIONS = {"name", "type", "minimum_status"}
_SHORTEST_SECRET, _SHORTEST_PATH = 4, 8


@dataclasses.dataclass(frozen=True)
class Channel:
    """One place where alerts go. *problem* says why it cannot be used; what is queued for it waits until it can."""

    name: str
    type: str
    url: str = dataclasses.field(default="", repr=False)
    routing_key: str = dataclasses.field(default="", repr=False)
    headers: t.Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    hmac_secret: str = dataclasses.field(default="", repr=False)
    proxy: str = dataclasses.field(default="", repr=False)
    validate_certs: bool = True
    ca_path: str = ""
    to: tuple[str, ...] = ()
    sender: str = ""
    sendmail_path: str = SENDMAIL
    argv: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    minimum_status: str = "warning"
    problem: str = ""

    @classmethod
    def from_options(cls, options: t.Mapping[str, t.Any]) -> Channel:
        """Return the channel that *options* describe.

        :raises CheckError: an option is missing, wrong or unknown; the text names it and shows no secret.
        """
        given = {key: value for key, value in options.items() if value is not None}
        name, kind = str(given.get("name", "")), given.get("type")
        source = f"channel {inert(name, 40) or '(without a name)'}"
        if not _NAME.fullmatch(name):
            raise _wrong(source, "its name must be of letters, digits, _ and -, at most 40", "Give each channel a name, such as: ops-chat")
        if kind not in TYPES:
            raise _wrong(source, f"its type must be one of {', '.join(TYPES)}, not {inert(str(kind), 40)!r}", "Correct its type.")
        allowed = _COMMON_OPTIONS | _OPTIONS[kind] | (_HTTP_OPTIONS if kind not in ("email", "command") else set())
        unknown = sorted(set(map(str, given)) - allowed)
        if unknown:
            raise _wrong(source, f"{kind} knows no option {inert(unknown[0], 40)!r}", f"It knows: {', '.join(sorted(allowed))}.")
        minimum = given.get("minimum_status", "warning")
        if minimum not in ("warning", "critical"):
            raise _wrong(source, "minimum_status must be warning or critical", "Leave it out to be told of everything.")
        values: dict[str, t.Any] = {"name": name, "type": kind, "minimum_status": minimum}
        if kind == "email":
            values.update(_email(source, given))
        elif kind == "command":
            values["argv"] = _argv(source, given.get("argv"))
        else:
            values.update(_http(source, kind, given))
        return cls(**values)

    @property
    def one_event_per_message(self) -> bool:
        """Tell whether the receiver keeps incidents of its own and wants each event by itself."""
        return self.type == "pagerduty"

    def fingerprint(self) -> str:
        """Return what changes when the channel is configured otherwise, and does not show how."""
        values = {**dataclasses.asdict(self), "minimum_status": ""}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]

    def harmless(self, text: str, limit: int = 200) -> str:
        """Return *text*, which may be an error or an answer, as one line without this channel's secrets."""
        for secret in self._secrets():
            text = text.replace(secret, REDACTED)
        return inert(text, limit)

    def _secrets(self) -> list[str]:
        found = {self.url, self.routing_key, self.hmac_secret, self.proxy, *self.headers.values(), *self.argv[1:]}
        found |= {value.rpartition(" ")[2] for value in self.headers.values()}
        for url in (self.url, self.proxy):
            parts = urllib.parse.urlsplit(url)
            found |= {parts.query, parts.password or "", parts.netloc.rpartition("@")[0], *(value for dummy, value in urllib.parse.parse_qsl(parts.query))}
            # A path is often all there is of a secret; its short parts are words.
            found |= {one for one in (parts.path, *parts.path.split("/")) if len(one) >= _SHORTEST_PATH}
        found |= {urllib.parse.unquote(one) for one in found}
        return sorted((one for one in found if len(one) >= _SHORTEST_SECRET), key=len, reverse=True)


def channels_from_options(declared: t.Sequence[t.Mapping[str, t.Any]]) -> tuple[list[Channel], list[CheckError]]:
    """Return all channels with what is wrong with them; one that cannot be used keeps what is for it until it is corrected."""
    channels: list[Channel] = []
    errors: list[CheckError] = []
    for options in declared:
        try:
            channel = Channel.from_options(options)
        except CheckError as error:
            errors.append(error)
            name = str(options.get("name", ""))
            if not _NAME.fullmatch(name):
                continue
            kind = options["type"] if options.get("type") in TYPES else "command"
            channel = Channel(name, kind, problem=error.reason)
        if any(channel.name == other.name for other in channels):
            errors.append(_wrong(f"channel {channel.name}", "another one has this name", "Give each channel a name of its own."))
            continue
        channels.append(channel)
    return channels, errors


def check_url(source: str, option: str, url: t.Any, example: str) -> str:
    """Return *url* where it is one that can be sent to, in ASCII.

    :raises CheckError: it is not; nothing of it is shown.
    """
    text = str(url or "")
    try:
        parts = urllib.parse.urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and text.isascii() and not re.search(r"[\x00-\x20\x7f]", text)
    except ValueError:
        good = False
    if not good:
        raise _wrong(source, f"{option} is missing, or no URL", f"Give it one like {example}.")
    return text


def _http(source: str, kind: str, given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    values: dict[str, t.Any] = {}
    example = {"slack": "https://hooks.slack.com/services/…", "discord": "https://discord.com/api/webhooks/…"}.get(kind, "https://example.com/hook")
    if kind == "pagerduty":
        key = str(given.get("routing_key", ""))
        if not re.fullmatch(r"[A-Za-z0-9]{32}", key):
            raise _wrong(source, "routing_key must be the 32 characters of an Events API v2 integration", "Copy it from the PagerDuty service: Integrations.")
        values["routing_key"] = key
    values["url"] = check_url(source, "url", given.get("url", PAGERDUTY_URL if kind == "pagerduty" else ""), example)
    if kind == "teams" and _RETIRED_TEAMS.search(urllib.parse.urlsplit(values["url"]).hostname or ""):
        raise _wrong(
            source,
            "this is the URL of an Office 365 connector, which Microsoft has retired: what is sent to it vanishes",
            "In Teams make a workflow 'Post to a channel when a webhook request is received', and use its URL.",
        )
    headers = given.get("headers", {})
    if not isinstance(headers, t.Mapping):
        raise _wrong(source, "headers must be a mapping of names to values", "Write: headers: {X-Key: value}")
    for header, value in headers.items():
        if not _HEADER_NAME.fullmatch(str(header)) or str(header).lower() in _OWN_HEADERS:
            raise _wrong(source, f"headers has {inert(str(header), 40)!r}, which cannot be set", "Leave it out.")
        if not re.fullmatch(r"[\x20-\x7e\t]*", str(value)):
            raise _wrong(source, f"the value of the header {header} has characters that a header cannot have", "Correct it; a line break is the usual cause.")
    values["headers"] = {str(header): str(value) for header, value in headers.items()}
    if "hmac_secret" in given:
        values["hmac_secret"] = str(given["hmac_secret"])
    if given.get("proxy"):
        values["proxy"] = check_url(source, "proxy", given["proxy"], "http://proxy.example.com:3128")
        if urllib.parse.urlsplit(values["proxy"]).scheme != "http":
            raise _wrong(source, "proxy must be one that is spoken to by HTTP", "Write it like http://proxy.example.com:3128.")
    values["validate_certs"] = bool(given.get("validate_certs", True))
    values["ca_path"] = str(given.get("ca_path", ""))
    return values


def _email(source: str, given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    to = given.get("to", ())
    addresses = [to] if isinstance(to, str) else list(to)
    if not addresses:
        raise _wrong(source, "to is missing", "Give it a list of addresses.")
    sender = str(given.get("from", ""))
    for address in [*addresses, *([sender] if sender else [])]:
        if not _ADDRESS.fullmatch(str(address)) or not str(address).isascii() or str(address).startswith("-"):
            raise _wrong(source, f"{inert(str(address), 80)!r} is no plain address", "Write each like ops@example.com, without a name.")
    path = str(given.get("sendmail_path", SENDMAIL))
    if not path.startswith("/"):
        raise _wrong(source, "sendmail_path must begin with /", f"Leave it out for {SENDMAIL}.")
    return {"to": tuple(map(str, addresses)), "sender": sender, "sendmail_path": path}


def _argv(source: str, argv: t.Any) -> tuple[str, ...]:
    words = argv if isinstance(argv, (list, tuple)) else []
    if not words or not str(words[0]).startswith("/") or any("\x00" in str(word) for word in words):
        raise _wrong(source, "argv must be a list whose first word is the path of a program", "Write: argv: [/usr/local/bin/notify, --urgent]")
    return tuple(map(str, words))


def _wrong(source: str, reason: str, hint: str) -> CheckError:
    return CheckError(source, reason, hint, "invalid-option")
