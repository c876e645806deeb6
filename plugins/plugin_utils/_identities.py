# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Where in a text addresses and names stand that say who somebody is or where something is.

Every search begins with a character that is found fast (a dot, a colon, an at sign) and looks around from there.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ..module_utils._secret_shapes import Span

_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_DIGITS = "0123456789"
_BEFORE_VERSION = frozenset(" \t:=\"'/")
_GOING_ON = _ALNUM | frozenset(".-+~")
_HEX = frozenset("0123456789abcdefABCDEF")
_LOCAL_PART = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+-"

_DOTTED = re.compile(r"\.(?<=[0-9]\.)[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9])")
_DASHED = re.compile(r"-(?<=ip-|cp-|st-|ic-|pn-|nt-|de-|c2-)(?P<address>[0-9]{1,3}-[0-9]{1,3}-[0-9]{1,3}-[0-9]{1,3})(?![0-9-])")
# Two in a row, or more of them than a time has.
_COLONS = re.compile(r":(?::|(?:[0-9A-Fa-f]{1,4}:){4})")
_MAC = re.compile(r"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}\Z")
_MAIL_DOMAIN = re.compile(r"[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,8}\.[A-Za-z]{2,24}(?![A-Za-z0-9-])")
_UNIT_ENDINGS = frozenset(("service", "socket", "timer", "target", "slice", "mount", "scope", "path", "device", "swap", "automount"))
_VERSION_BEFORE = re.compile(r"(?:version|release|ver|rev)[\"']?\s{0,2}[:= ]?\s{0,2}[\"'v]?\Z|[=~<>]=\s?\Z", re.IGNORECASE)
_RANGE = re.compile(r"-[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.")
_PRODUCT_BEFORE = re.compile(r"[A-Z][A-Za-z]{1,30}/\Z")
_HOST_WORD = re.compile(r"[a-z0-9_.-]+")
_HOST_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789.-"
_PREFIX = 4

#: Names that mean something else as well in everything a bundle has: to replace them would take the text apart.
COMMON_NAMES = frozenset(
    name
    for line in (
        "localhost localdomain root admin user users host hosts server client app application api web www www-data db database",
        "postgres postgresql redis cache nginx proxy docker podman compose backend frontend worker queue service services test",
        "tests testing dev development stage staging prod production main master node all any default public private internal",
        "local example demo shop mail daemon nobody ubuntu debian alpine centos fedora vagrant ansible deploy build image images",
        "network networks volume volumes healthcheck environment command container containers python stackops monitoring backup",
        "restore support bundle system data log logs ops none",
    )
    for name in line.split()
)


class Identities:
    """The names that are known to be those of hosts and users, and every address."""

    def __init__(self, hosts: t.Iterable[str] = (), users: t.Iterable[str] = (), kept: t.Iterable[str] = (), domains: t.Iterable[str] = ()) -> None:
        kept_names = {*COMMON_NAMES, *(name.lower() for name in kept)}
        self._kept_hosts = kept_names | {"docker.internal", "host.docker.internal"}
        self._names: dict[str, str] = {}
        self._domains = {domain.lower().strip(".") for domain in domains} - self._kept_hosts
        for user in users:
            self._add(user.lower(), "user", kept_names)
        for host in sorted({name.lower().rstrip(".") for name in hosts}):
            if is_address(host):
                continue
            short, dummy, domain = host.partition(".")
            self._add(short, "host", kept_names)
            if "." in domain and domain not in self._kept_hosts:
                # Everything in a known domain is found by that.
                self._domains.add(domain)
            elif domain:
                self._add(host, "host", kept_names)
        self._by_prefix: dict[str, bool] = {name[:_PREFIX]: True for name in self._names}

    def _add(self, name: str, kind: str, kept: t.AbstractSet[str]) -> None:
        if len(name) >= 3 and name not in kept and not name.isdigit():
            self._names.setdefault(name, kind)

    def spans(self, text: str, lowered: str) -> list[Span]:
        """Return where they stand; *kind* says what each is."""
        spans = _ipv4(text) + _colon_addresses(text)
        if "@" in text:
            spans += _emails(text)
        return spans + self._known_names(lowered)

    def _known_names(self, lowered: str) -> list[Span]:
        spans = []
        for prefix in self._by_prefix:
            position = lowered.find(prefix)
            while position >= 0:
                following = position + 1
                if position == 0 or lowered[position - 1] not in _ALNUM:
                    found = self._name_at(lowered, position)
                    if found is not None:
                        spans.append(found)
                        following = found.end
                position = lowered.find(prefix, following)
        for domain in self._domains:
            position = lowered.find(domain)
            while position >= 0:
                span = self._in_domain(lowered, position, domain)
                if span is not None:
                    spans.append(span)
                position = lowered.find(domain, position + len(domain))
        return spans

    def _name_at(self, lowered: str, position: int) -> t.Optional[Span]:
        """Return the longest name that begins here and ends where a word may end."""
        match = _HOST_WORD.match(lowered, position, position + 255)
        word = match[0] if match else ""
        for end in range(len(word), 2, -1):
            if (end == len(word) or word[end] in "._-") and word[:end] in self._names:
                return Span(position, position + end, self._names[word[:end]])
        return None

    @staticmethod
    def _in_domain(lowered: str, position: int, domain: str) -> t.Optional[Span]:
        end = position + len(domain)
        if end < len(lowered) and (lowered[end] in _ALNUM or lowered[end] == "-"):
            return None
        before = lowered[max(0, position - 200) : position]
        if before and before[-1] in _ALNUM | {"-", "_"}:
            return None
        if not before.endswith("."):
            return Span(position, end, "domain")
        start = position - len(before) + len(before.rstrip(_HOST_CHARACTERS))
        return Span(start, end, "host")


def is_address(text: str) -> bool:
    """Say whether *text* is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _ipv4(text: str) -> list[Span]:
    spans = []
    valid: dict[str, bool] = {}
    for match in _DOTTED.finditer(text):
        dot, end = match.span()
        start = dot - 1
        while start > 0 and dot - start < 4 and text[start - 1] in _DIGITS:
            start -= 1
        before = text[start - 1] if start else " "
        if before in _ALNUM or before == ".":
            continue
        address = text[start:end]
        good = valid.get(address)
        if good is None:
            good = valid[address] = all(int(octet) < 256 for octet in address.split("."))
        if good and not (text[end : end + 1] in _GOING_ON and _goes_on(text, end)) and not (before in _BEFORE_VERSION and _is_version(text, start, before)):
            spans.append(Span(start, end, "ipv4"))
    if "-" in text:
        for match in _DASHED.finditer(text):
            if all(int(octet) <= 255 for octet in match["address"].split("-")):
                spans.append(Span(*match.span("address"), "dashed"))
    return spans


def _goes_on(text: str, end: int) -> bool:
    """Say whether what looks like an address is the begin of something longer: ``1.2.3.4.5``, ``1.2.3.4-1ubuntu``, ``1.2.3.4rc1``."""
    after = text[end]
    if after in _ALNUM:
        return True
    if after == "-" and _RANGE.match(text, end):
        return False
    second = text[end + 1 : end + 2]
    return second in _ALNUM if after in "+~" and second else second.isdigit()


def _is_version(text: str, start: int, before: str) -> bool:
    if before == "/":
        return _PRODUCT_BEFORE.search(text, max(0, start - 34), start) is not None
    head = text[start - 14 if start > 14 else 0 : start].lower()
    return ("er" in head or "re" in head or "==" in head) and _VERSION_BEFORE.search(head) is not None


def _colon_addresses(text: str) -> list[Span]:
    spans = []
    covered = 0
    for match in _COLONS.finditer(text):
        if match.start() < covered:
            continue
        start, end = match.span()
        while start > 0 and (text[start - 1] in _HEX or text[start - 1] == ":") and match.start() - start < 48:
            start -= 1
        while end < len(text) and (text[end] in _HEX or text[end] == ":") and end - match.start() < 48:
            end += 1
        covered = end
        if (start > 0 and text[start - 1] in _ALNUM) or (end < len(text) and text[end] in _ALNUM):
            continue
        # A port or a full stop of the sentence may follow without brackets.
        candidate = text[start:end].rstrip(":") if not text[start:end].endswith("::") else text[start:end]
        while candidate[:1] == ":" and candidate[:2] != "::":
            candidate, start = candidate[1:], start + 1
        if end < len(text) and text[end] == "." and text[end + 1 : end + 2].isdigit() and candidate.count(":") < 7:
            continue  # the dotted end of an IPv6 address is found as IPv4
        if _MAC.match(candidate):
            spans.append(Span(start, start + len(candidate), "mac"))
        elif len(candidate) > 4 and any(len(group) > 2 for group in candidate.split(":")) and is_address(candidate):
            spans.append(Span(start, start + len(candidate), "ipv6"))
    return spans


def _emails(text: str) -> list[Span]:
    spans = []
    at = text.find("@")
    while at >= 0:
        before = text[max(0, at - 64) : at]
        local = before[len(before.rstrip(_LOCAL_PART)) :].lstrip(".-+%")
        domain = _MAIL_DOMAIN.match(text, at + 1) if local else None
        if domain is not None and domain[0].rpartition(".")[2].lower() not in _UNIT_ENDINGS and before[-len(local) - 1 : -len(local)] not in (":", "/"):
            spans.append(Span(at - len(local), domain.end(), "email"))
        at = text.find("@", at + 1)
    return spans
