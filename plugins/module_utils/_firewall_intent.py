# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What ufw and firewalld are told to let in: the operator's will, beside which the kernel's rules are what happens.

ufw is read from its files: its own output is translated, and its program takes a while. firewalld is asked, because what it
enforces is not always what its files say.
"""

from __future__ import annotations

import dataclasses
import os
import re
import typing as t
import xml.etree.ElementTree

from ._address_ranges import Ranges
from ._envelope import CheckError
from ._process import Completed, run_command

_FILE_LIMIT = 4 * 1024 * 1024
_COMMAND_SECONDS = 10.0
_ALL_PORTS = Ranges([(0, 65535)])


@dataclasses.dataclass(frozen=True)
class Question:
    """A port of the host that somebody outside wants to reach through *interface*, and where it leads to in a container."""

    version: int
    protocol: str
    port: int
    interface: str = ""
    address: t.Optional[int] = None
    container_address: t.Optional[int] = None
    container_port: int = 0


@dataclasses.dataclass(frozen=True)
class Intended:
    """Who is meant to get in, and the words of the firewall's configuration that say so."""

    allowed: Ranges
    rules: tuple[str, ...]


class Policy(t.Protocol):
    """A firewall's configuration."""

    @property
    def engine(self) -> str:
        """Its name."""

    def judge(self, question: Question) -> Intended:
        """Return who is meant to get in."""


def read_text(path: str) -> t.Optional[str]:
    """Return a file's text; ``None`` where it is not there.

    :raises CheckError: it is there and cannot be read.
    """
    try:
        with open(path, "rb") as handle:
            return handle.read(_FILE_LIMIT).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckError(path, error.strerror or "cannot be read", "Run as root (become: true).", "permission-denied") from error


# -- ufw ---------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class UfwRule:
    """One rule of ``user.rules``, as its ``### tuple ###`` line says."""

    text: str
    action: str
    route: bool
    protocol: str
    ports: Ranges
    destination: t.Optional[Ranges]
    source: t.Optional[Ranges]
    interface: str
    outgoing: bool
    version: int

    def concerns(self, question: Question, route: bool) -> bool:
        """Whether the rule is about the question's port, as one of the host, or of the container (*route*)."""
        port = question.container_port if route else question.port
        address = question.container_address if route else question.address
        return (
            self.route == route
            and not self.outgoing
            and self.version == question.version
            and self.protocol in ("any", question.protocol)
            and port in self.ports
            and self.interface in ("", question.interface)
            and (self.destination is None or address is None or address in self.destination)
        )


def parse_ufw_rules(text: str, version: int) -> list[UfwRule]:
    """Return the rules of ``user.rules`` (*version* 4) or ``user6.rules`` (6); lines of other kinds are skipped."""
    found = []
    for line in text.splitlines():
        if not line.startswith("### tuple ### "):
            continue
        words = line[len("### tuple ### ") :].split()
        words = [word for word in words if not word.startswith("comment=")]
        if len(words) not in (7, 9):
            continue
        action, protocol, dport, destination, dummy_sport, source, direction = (*words[:6], words[-1])
        route = action.startswith("route:")
        action = action.partition(":")[2] if route else action
        try:
            rule = UfwRule(
                text=line,
                action=action.partition("_")[0],
                route=route,
                protocol=protocol,
                ports=_ufw_ports(dport),
                destination=_ufw_address(destination),
                source=_ufw_address(source),
                interface=_ufw_interface(direction),
                outgoing=direction.partition("_")[0].partition("!")[0] == "out" and not route,
                version=version,
            )
        except ValueError:
            continue
        found.append(rule)
    return found


def _ufw_ports(text: str) -> Ranges:
    if text == "any":
        return _ALL_PORTS
    pairs = []
    for one in text.split(","):
        low, dummy, high = one.partition(":")
        pairs.append((int(low), int(high or low)))
    return Ranges(pairs)


def _ufw_address(text: str) -> t.Optional[Ranges]:
    return None if text in ("any", "0.0.0.0/0", "::/0") else Ranges.network(text)


def _ufw_interface(direction: str) -> str:
    incoming = [part for part in direction.split("!") if part.startswith("in_")]
    return incoming[0][3:] if incoming else ""


@dataclasses.dataclass(frozen=True)
class UfwPolicy:
    """ufw as it is configured."""

    rules: tuple[UfwRule, ...]
    default_input: str = "DROP"
    default_forward: str = "DROP"
    ipv6: bool = True
    enabled: bool = True
    engine: str = "ufw"

    def judge(self, question: Question) -> Intended:
        """Return who is meant to get in: to the host's port by a rule, or to the container's port by a route rule."""
        here = self._judge(question, route=False)
        if not question.container_port:
            return here
        there = self._judge(question, route=True)
        if there.allowed and not here.allowed:
            return there
        return Intended(here.allowed | there.allowed, here.rules + there.rules if there.allowed else here.rules)

    def _judge(self, question: Question, route: bool) -> Intended:
        left, allowed = Ranges.everything(question.version), Ranges()
        words: list[str] = []
        for rule in self.rules:
            if not left:
                break
            if not rule.concerns(question, route):
                continue
            taken = left if rule.source is None else left & rule.source
            if taken:
                words.append(rule.text)
            if rule.action in ("allow", "limit"):
                allowed = allowed | taken
            left = left - taken
        if left:
            default = self.default_forward if route else self.default_input
            words.append(f"DEFAULT_{'FORWARD' if route else 'INPUT'}_POLICY={default}")
            # What ufw forwards by default is not meant for one port more than for another.
            if default == "ACCEPT" and not route:
                allowed = allowed | left
        return Intended(allowed, tuple(words[:8]))


def read_ufw(root: str = "/") -> t.Optional[UfwPolicy]:
    """Return ufw's configuration, enabled or not; ``None`` where ufw is not installed.

    :raises CheckError: its files may not be read.
    """
    main = read_text(os.path.join(root, "etc/ufw/ufw.conf"))
    if main is None:
        return None
    settings = _settings(main)
    defaults = _settings(read_text(os.path.join(root, "etc/default/ufw")) or "")
    rules: list[UfwRule] = []
    for name, version in (("user.rules", 4), ("user6.rules", 6)):
        # Before 0.36 they were below /lib.
        text = read_text(os.path.join(root, "etc/ufw", name))
        if text is None:
            text = read_text(os.path.join(root, "lib/ufw", name)) or ""
        rules.extend(parse_ufw_rules(text, version))
    return UfwPolicy(
        tuple(rules),
        defaults.get("DEFAULT_INPUT_POLICY", "DROP").upper(),
        defaults.get("DEFAULT_FORWARD_POLICY", "DROP").upper(),
        defaults.get("IPV6", "yes").lower() == "yes",
        settings.get("ENABLED", "no").lower() == "yes",
    )


def _settings(text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            found[name.strip()] = value.strip().strip("\"'")
    return found


# -- firewalld ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class RichRule:
    """A rich rule, as far as it lets in or keeps out."""

    text: str
    accept: bool
    version: int
    source: t.Optional[Ranges]
    inverted: bool
    destination: t.Optional[Ranges]
    ports: t.Optional[tuple[Ranges, str]]
    service: str


@dataclasses.dataclass(frozen=True)
class Zone:
    """A zone as ``firewall-cmd --list-all-zones`` shows it."""

    name: str
    active: bool = False
    default: bool = False
    target: str = "default"
    interfaces: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    forward_ports: tuple[str, ...] = ()
    rich_rules: tuple[str, ...] = ()


_ZONE_HEAD = re.compile(r"^(?P<name>\S+)(?: \((?P<flags>[^)]*)\))?$")


def parse_zones(text: str) -> list[Zone]:
    """Return the zones of ``firewall-cmd --list-all-zones``."""
    zones: list[Zone] = []
    values: dict[str, list[str]] = {}
    name, flags, key = "", "", ""

    def finish() -> None:
        if name:
            zones.append(_zone(name, flags, values))

    for line in text.splitlines():
        if not line.strip():
            continue
        if not line[0].isspace():
            found = _ZONE_HEAD.match(line.rstrip())
            finish()
            name, flags = (found.group("name"), found.group("flags") or "") if found else ("", "")
            values, key = {}, ""
        elif line.startswith("  ") and not line.startswith("   ") and ":" in line:
            key, dummy, rest = line.strip().partition(":")
            values[key] = [rest.strip()] if rest.strip() else []
        elif key:
            # Forward ports and rich rules stand on lines of their own.
            values[key].append(line.strip())
    finish()
    return zones


def _zone(name: str, flags: str, values: t.Mapping[str, list[str]]) -> Zone:
    def words(key: str) -> tuple[str, ...]:
        return tuple(word for line in values.get(key, []) for word in line.split())

    return Zone(
        name=name,
        active="active" in flags,
        default="default" in flags,
        target="".join(values.get("target", [])) or "default",
        interfaces=words("interfaces"),
        sources=words("sources"),
        services=words("services"),
        ports=words("ports"),
        protocols=words("protocols"),
        forward_ports=words("forward-ports"),
        rich_rules=tuple(values.get("rich rules", [])),
    )


_ATTRIBUTE = re.compile(r'([a-z-]+)="([^"]*)"')


def parse_rich_rule(text: str) -> t.Optional[RichRule]:
    """Return a rich rule that accepts, rejects or drops; ``None`` for others and for what is beyond us."""
    attributes: dict[str, dict[str, str]] = {}
    element = ""
    inverted = False
    for word in re.findall(r'[a-z-]+="[^"]*"|\S+', text):
        pair = _ATTRIBUTE.fullmatch(word)
        if pair:
            attributes.setdefault(element, {})[pair.group(1)] = pair.group(2)
        elif word.lower() == "not":
            inverted = inverted or element == "source"
        else:
            element = word
            attributes.setdefault(element, {})
    verdicts = {"accept", "reject", "drop"} & set(attributes)
    if not verdicts or "rule" not in attributes or "ipset" in attributes.get("source", {}):
        return None
    version = {"ipv4": 4, "ipv6": 6}.get(attributes["rule"].get("family", ""), 0)
    try:
        port = attributes.get("port")
        return RichRule(
            text=text,
            accept="accept" in verdicts,
            version=version,
            source=_optional(attributes.get("source", {}).get("address")),
            inverted=inverted,
            destination=_optional(attributes.get("destination", {}).get("address")),
            ports=(_firewalld_ports(port["port"]), port.get("protocol", "tcp")) if port else None,
            service=attributes.get("service", {}).get("name", ""),
        )
    except (KeyError, ValueError):
        return None


def _optional(address: t.Optional[str]) -> t.Optional[Ranges]:
    return Ranges.network(address) if address else None


def _firewalld_ports(text: str) -> Ranges:
    low, dummy, high = text.partition("-")
    return Ranges([(int(low), int(high or low))])


def parse_service(text: str) -> list[tuple[Ranges, str]]:
    """Return ports and protocol of a firewalld service; of one that includes others only its own.

    :raises ValueError: it is no service.
    """
    if "<!ENTITY" in text or "<!DOCTYPE" in text:
        raise ValueError("a service has no document type")
    try:
        tree = xml.etree.ElementTree.fromstring(text)  # noqa: S314  # no document type: nothing to expand
    except xml.etree.ElementTree.ParseError as error:
        raise ValueError(str(error)) from None
    found = []
    for port in tree.findall("port"):
        number, protocol = port.get("port") or "", port.get("protocol") or "tcp"
        found.append((_firewalld_ports(number) if number else _ALL_PORTS, protocol))
    return found


@dataclasses.dataclass(frozen=True)
class FirewalldPolicy:
    """firewalld as it runs; *services* maps names to ports and protocols."""

    zones: tuple[Zone, ...]
    services: t.Mapping[str, t.Sequence[tuple[Ranges, str]]]
    strict_forward_ports: t.Optional[bool] = None
    engine: str = "firewalld"

    def judge(self, question: Question) -> Intended:
        """Return who is meant to get in: zones of their own for senders go before the interface's zone."""
        left, allowed = Ranges.everything(question.version), Ranges()
        words: list[str] = []
        for zone in self.zones:
            for source in zone.sources:
                try:
                    mine = left & Ranges.network(source) if (":" in source) == (question.version == 6) else Ranges()
                except ValueError:
                    continue  # a set or a hardware address
                if mine:
                    said = self._zone(zone, question)
                    allowed = allowed | (mine & said.allowed)
                    words.extend(said.rules)
                    left = left - mine
        usual = self._of_interface(question.interface)
        if usual is not None:
            said = self._zone(usual, question)
            allowed = allowed | (left & said.allowed)
            words.extend(said.rules)
        return Intended(allowed, tuple(words[:8]))

    def _of_interface(self, interface: str) -> t.Optional[Zone]:
        bound = [zone for zone in self.zones if interface in zone.interfaces]
        return next(iter([*bound, *(zone for zone in self.zones if zone.default)]), None)

    def _zone(self, zone: Zone, question: Question) -> Intended:
        everybody = Ranges.everything(question.version)
        refused, allowed = Ranges(), Ranges()
        words: list[str] = []
        for text in zone.rich_rules:
            rule = parse_rich_rule(text)
            if rule is None or not self._concerns(rule, question):
                continue
            there = everybody if rule.source is None else (everybody - rule.source if rule.inverted else rule.source)
            words.append(f"zone {zone.name}: {text}")
            allowed, refused = (allowed | there, refused) if rule.accept else (allowed, refused | there)
        allowed = allowed - refused
        opened = self._opened(zone, question)
        if opened:
            words.append(f"zone {zone.name}: {opened}")
            allowed = allowed | (everybody - refused)
        elif zone.target == "ACCEPT":
            words.append(f"zone {zone.name}: target: ACCEPT")
            allowed = allowed | (everybody - refused)
        else:
            words.append(f"zone {zone.name}: target: {zone.target}")
        return Intended(allowed, tuple(words))

    def _opened(self, zone: Zone, question: Question) -> str:
        """Return the setting of *zone* that opens the port, nothing where none does."""
        for text in zone.ports:
            number, dummy, protocol = text.partition("/")
            if protocol == question.protocol and question.port in _firewalld_ports(number):
                return f"ports: {text}"
        for name in zone.services:
            if self._service(name, question):
                return f"services: {name}"
        if question.protocol in zone.protocols:
            return f"protocols: {question.protocol}"
        for text in zone.forward_ports:
            fields = dict(pair.split("=", 1) for pair in text.split(":") if "=" in pair)
            if fields.get("proto") == question.protocol and question.port in _firewalld_ports(fields.get("port") or "0"):
                return f"forward-ports: {text}"
        return ""

    def _service(self, name: str, question: Question) -> bool:
        return any(protocol == question.protocol and question.port in ports for ports, protocol in self.services.get(name, ()))

    def _concerns(self, rule: RichRule, question: Question) -> bool:
        if rule.version not in (0, question.version):
            return False
        if rule.destination is not None and question.address is not None and question.address not in rule.destination:
            return False
        if rule.ports is not None:
            return rule.ports[1] == question.protocol and question.port in rule.ports[0]
        return self._service(rule.service, question) if rule.service else True


def read_firewalld(root: str = "/", run: t.Callable[..., Completed] = run_command) -> t.Optional[FirewalldPolicy]:
    """Return what firewalld enforces; ``None`` where it does not run.

    :raises CheckError: it runs and does not answer.
    """
    environment = {"LC_ALL": "C", "LANGUAGE": "C"}
    listed = run(["firewall-cmd", "--list-all-zones"], _COMMAND_SECONDS, env=environment)
    if listed.exit_code == 252:
        return None
    if listed.exit_code != 0:
        reason = (listed.error_text.strip() or f"exit code {listed.exit_code}").splitlines()[-1]
        code = "permission-denied" if listed.exit_code == 253 else "command-failed"
        raise CheckError("firewall-cmd --list-all-zones", reason, "Run as root (become: true).", code)
    zones = parse_zones(listed.text)
    if not any(zone.default for zone in zones):
        # Before 2.0 the list does not say which one it is.
        name = run(["firewall-cmd", "--get-default-zone"], _COMMAND_SECONDS, env=environment).text.strip()
        zones = [dataclasses.replace(zone, default=zone.name == name) for zone in zones]
    wanted = {name for zone in zones for name in (*zone.services, *(rule.service for rule in map(parse_rich_rule, zone.rich_rules) if rule))}
    settings = _settings(read_text(os.path.join(root, "etc/firewalld/firewalld.conf")) or "")
    strict = settings.get("StrictForwardPorts")
    return FirewalldPolicy(
        tuple(zones),
        {name: _read_service(root, name) for name in sorted(wanted) if name},
        None if strict is None else strict.lower() in ("yes", "true"),
    )


def _read_service(root: str, name: str) -> list[tuple[Ranges, str]]:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        return []
    for directory in ("etc/firewalld/services", "usr/lib/firewalld/services"):
        text = read_text(os.path.join(root, directory, f"{name}.xml"))
        if text is not None:
            try:
                return parse_service(text)
            except ValueError:
                return []
    return []
