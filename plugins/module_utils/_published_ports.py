# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Who outside can reach which port of this host, by the rules that are in the kernel, and whether that is what the firewall is told.

A published port of a container is translated before the rules for the host's own ports are asked, so ``ufw deny`` is no answer to the
question. The answer is the way of a packet: :mod:`_packet_walk`. What nobody can tell is ``unknown`` with its reason.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import shlex
import typing as t

from ._address_ranges import PRIVATE, PUBLIC, Ranges, is_private
from ._discovery import ContainerRef, Selection, Stack, discover, typed_compose
from ._engine import Engine, EngineOptions
from ._envelope import CheckError, envelope, metric, worst
from ._firewall_intent import FirewalldPolicy, Intended, Policy, Question, UfwPolicy, read_firewalld, read_ufw
from ._host_net import Sight, find_command, look, outside
from ._packet_walk import Ending, Evidence, Interface, Packet, Verdict, Walker, sum_up
from ._ports import PORT_PROXIES, Listening, Socket, overlap, read_listening
from ._process import run_command

Facts = dict[str, t.Any]

#: What a class means for the status of its row, where the port does not matter.
CLASSES: dict[str, str] = {
    "loopback_only": "ok",
    "loopback_leaky": "warning",
    "private_bind": "ok",
    "filtered": "ok",
    "allowlisted": "ok",
    "exposed_intended": "ok",
    "exposed_unexpected": "critical",
    "exposed_bypass": "critical",
    "exposed_no_firewall": "warning",
    "closed": "ok",
    "unknown": "unknown",
}
# Databases, caches, queues and engines that believe whoever reaches them, or that are searched for by everybody.
SENSITIVE_PORTS = frozenset({
    1433, 1521, 2375, 2376, 2379, 2380, 3306, 5432, 5433, 5672, 5984, 6379, 6380, 8123, 9042, 9092, 9200, 9300, 10250, 11211, 15672, 26257,
    27017, 27018, 27019, 28015, 33060,
})  # fmt: skip
# Ports that hosts have in order to be reached.
_MEANT_TO_BE_OPEN = frozenset({(22, "tcp"), (80, "tcp"), (443, "tcp"), (443, "udp")})
_SOURCES_LIMIT = 20
_PROBE_PORT = 64999  # one that no rule names: what the host does with any other port


@dataclasses.dataclass(frozen=True)
class Expected:
    """A port that is meant to be reachable, by everybody or only from *sources*."""

    port: int
    protocol: str = "tcp"
    family: str = "any"
    sources: tuple[str, ...] = ()

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Expected:
        """Return one entry of the option ``expected``.

        :raises CheckError: an address in ``from`` is none.
        """
        sources = tuple(str(one) for one in params.get("from") or ())
        for source in sources:
            try:
                ipaddress.ip_network(source, strict=False)
            except ValueError:
                raise CheckError("expected", f"{source} is no address and no network", "Write it as 192.0.2.0/24 or 2001:db8::/32.", "bad-option") from None
        return cls(int(params["port"]), str(params.get("protocol") or "tcp"), str(params.get("family") or "any"), sources)

    def concerns(self, port: int, protocol: str, version: int) -> bool:
        """Whether it is about this port."""
        return (self.port, self.protocol) == (port, protocol) and self.family in ("any", f"ipv{version}")

    def allowed(self, version: int) -> Ranges:
        """Return the senders it is about."""
        if not self.sources:
            return Ranges.everything(version)
        networks = [ipaddress.ip_network(source, strict=False) for source in self.sources]
        return Ranges((int(one.network_address), int(one.broadcast_address)) for one in networks if one.version == version)


@dataclasses.dataclass(frozen=True)
class Entrance:
    """A port of the host by one IP version: published by a container, or of a program that listens."""

    origin: str
    version: int
    protocol: str
    host_ip: str
    host_port: int
    project: t.Optional[str] = None
    service: t.Optional[str] = None
    container: t.Optional[str] = None
    container_port: t.Optional[int] = None
    container_address: str = ""
    process: t.Optional[str] = None
    #: What applies its service's part of the Compose file, as it is typed.
    apply: str = ""

    @property
    def family(self) -> str:
        """``ipv4`` or ``ipv6``."""
        return f"ipv{self.version}"

    @property
    def wildcard(self) -> bool:
        """Whether it is open on all addresses of the host."""
        return self.host_ip in ("", "0.0.0.0", "::")  # noqa: S104

    @property
    def label(self) -> str:
        """What an operator calls it."""
        return f"{self.project}/{self.service}" if self.project else self.container or self.process or "a process"

    @property
    def sensitive(self) -> bool:
        """Whether what is behind it should be reached by nobody outside."""
        return bool({self.host_port, self.container_port} & SENSITIVE_PORTS) and self.protocol == "tcp"


# -- what is open ------------------------------------------------------------------------------------------------------


def entrances(containers: t.Sequence[ContainerRef], listeners: t.Sequence[t.Mapping[str, t.Any]], dual: t.Optional[t.Container[int]] = None) -> list[Entrance]:
    """Return everything that is published or listens, each IP version for itself.

    *dual* are the ports whose IPv6 sockets take IPv4 as well; ``None``: all of them.
    """
    found: list[Entrance] = []
    for container in containers:
        if container.running or container.state == "paused":
            found.extend(_published(container))
    by_name = {name: container for container in containers for name in (container.name, container.id[:12])}
    for row in listeners:
        protocol, port, address = str(row["protocol"])[:3], int(row["port"]), str(row["address"])
        holder = by_name.get(str(row["container"]))
        proxied = row["process"] in PORT_PROXIES or row["process"] in (None, "dockerd")
        if proxied and any((one.host_port, one.protocol) == (port, protocol) and overlap(one.host_ip, address) for one in found if one.origin == "published"):
            continue
        origin = "host_network" if row["container"] else "process"
        versions = [4] if "." in address else [6]
        if address == "::" and (dual is None or port in dual):
            versions = [4, 6]
        for version in versions:
            found.append(
                Entrance(
                    origin=origin,
                    version=version,
                    protocol=protocol,
                    host_ip="0.0.0.0" if version == 4 and address == "::" else _plain(address),  # noqa: S104
                    host_port=port,
                    project=holder.project or None if holder else None,
                    service=holder.service if holder else None,
                    container=holder.name if holder else row["container"],
                    container_port=port if row["container"] else None,
                    process=row["process"],
                )
            )
    return list(dict.fromkeys(found))


def _plain(address: str) -> str:
    mapped = getattr(ipaddress.ip_address(address), "ipv4_mapped", None)
    return str(mapped or address)


def _published(container: ContainerRef) -> t.Iterator[Entrance]:
    for port in container.published_ports:
        if not port["host_port"]:
            continue
        host_ip = str(port["host_ip"])
        version = 6 if ":" in host_ip else 4
        yield Entrance(
            origin="published",
            version=version,
            protocol=str(port["protocol"]),
            host_ip=host_ip,
            host_port=int(port["host_port"]),
            project=container.project or None,
            service=container.service if container.project else None,
            container=container.name,
            container_port=int(port["container_port"]),
            container_address=container_address(container, version),
            apply=typed_compose(container.labels, f"up -d {shlex.quote(container.service)}") if container.project and container.service else "",
        )


def container_address(container: ContainerRef, version: int) -> str:
    """Return the container's address on the network that its ports are published by, as far as can be told."""
    attached = (container.inspect.get("NetworkSettings") or {}).get("Networks") or {}
    key = "IPAddress" if version == 4 else "GlobalIPv6Address"
    addresses = [str(network[key]) for dummy, network in sorted(attached.items()) if (network or {}).get(key)]
    return addresses[0] if addresses else ""


def dual_ports(text: str) -> set[int]:
    """Return the ports whose IPv6 sockets take IPv4 as well, from ``ss -H -ltun``: there they are bound to ``*``."""
    found = set()
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 5 and words[4].startswith("*:") and words[4][2:].isdigit():
            found.add(int(words[4][2:]))
    return found


# -- judging -----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Way:
    """What happens to a packet for an entrance that comes in by one interface to one address."""

    interface: str
    address: str
    verdict: Verdict
    closed: bool


class Judge:
    """Judges entrances by what was read of the host."""

    def __init__(
        self,
        sight: Sight,
        sockets: t.Sequence[Socket],
        policy: t.Optional[Policy] = None,
        expected: t.Optional[t.Sequence[Expected]] = None,
    ) -> None:
        self.sight = sight
        self.sockets = sockets
        self.policy = policy
        self.expected = expected
        self.walker = Walker(sight.ruleset, sight.host)
        self._walks: dict[t.Any, list[Ending]] = {}

    def row(self, entrance: Entrance) -> Facts:
        """Return the row of the table of ports for one entrance."""
        if not self.sight.complete and not self._known_without_rules(entrance):
            error = next(iter(self.sight.errors), None)
            reason = f"{error.source}: {error.reason}" if error else "the firewall's rules could not be read"
            return self._row(entrance, "unknown", "unknown", reason, fix=[_fix("read_rules", (error.hint if error else "") or "Run as root (become: true).")])
        if self._is_loopback(entrance):
            return self._loopback(entrance)
        ways = self._ways(entrance)
        if not ways:
            reason = f"the host has no {entrance.family} address that somebody outside could use"
            if not entrance.wildcard:
                reason = f"{entrance.host_ip} is on no interface that leads outside"
            return self._row(entrance, "filtered" if entrance.wildcard else "private_bind", "filtered", reason)
        return self._judged(entrance, ways)

    @staticmethod
    def _is_loopback(entrance: Entrance) -> bool:
        return not entrance.wildcard and ipaddress.ip_address(entrance.host_ip).is_loopback

    def _known_without_rules(self, entrance: Entrance) -> bool:
        """Whether the kernel itself keeps everybody out, whatever the rules are."""
        if not self._is_loopback(entrance):
            return False
        return entrance.version == 6 or (entrance.origin != "published" and not any(one.route_localnet for one in self.sight.host.interfaces))

    def _loopback(self, entrance: Entrance) -> Facts:
        if entrance.version == 6:
            return self._row(entrance, "loopback_only", "local", "the kernel takes packets to ::1 from this host only")
        ways = [self._walk(entrance, interface, entrance.host_ip) for interface in outside(self.sight)]
        leaks = [way for way in ways if way.verdict.let_in or way.verdict.unsure]
        if not leaks:
            evidence = [one for way in ways for one in way.verdict.evidence("dropped")]
            return self._row(entrance, "loopback_only", "local", "bound to this host, and nobody outside gets in", evidence=evidence)
        sure = any(way.verdict.let_in for way in leaks)
        if not sure:
            doubts = [one for way in leaks for one in way.verdict.doubts]
            return self._row(entrance, "unknown", "unknown", f"a rule that cannot be told decides: {doubts[0].rule if doubts else '?'}", evidence=doubts)
        names = ", ".join(dict.fromkeys(way.interface for way in leaks))
        return self._row(
            entrance,
            "loopback_leaky",
            "restricted",
            f"bound to {entrance.host_ip}, but a neighbour on {names} that sends packets to this address gets to the container",
            reachable=["neighbours on " + names],
            interfaces=[way.interface for way in leaks],
            path="forwarded",
            evidence=[one for way in leaks for one in way.verdict.evidence("forwarded", "local")],
            fix=_leak_fixes(entrance),
        )

    # -- walks ------------------------------------------------------------------------------------------------------

    def _ways(self, entrance: Entrance) -> list[Way]:
        found = []
        for interface in outside(self.sight):
            usable = [one for one in interface.addresses if (":" in one) == (entrance.version == 6)]
            routed = [one for one in usable if not ipaddress.ip_address(one).is_link_local] or usable
            for address in routed if entrance.wildcard else [one for one in usable if one == entrance.host_ip]:
                found.append(self._walk(entrance, interface, address))
        return found

    def _walk(self, entrance: Entrance, interface: Interface, address: str) -> Way:
        endings = self._endings(entrance.version, entrance.protocol, interface, address, entrance.host_port, True)
        listening = [ending for ending in endings if ending.outcome != "local" or self._listens(ending.flow.packet)]
        verdict = sum_up(listening)
        return Way(interface.name, address, verdict, closed=len(listening) < len(endings) and not verdict.let_in and not verdict.unsure)

    def direct(self, entrance: Entrance) -> t.Optional[bool]:
        """Whether a neighbour that sends packets straight to the container's address, past the published port, reaches it."""
        if entrance.origin != "published" or not entrance.container_address or not entrance.container_port or not self.sight.complete:
            return None
        destination = int(ipaddress.ip_address(entrance.container_address))
        if not self.sight.host.way_out(destination, entrance.version):
            return None
        verdicts = [
            sum_up(self._endings(entrance.version, entrance.protocol, interface, entrance.container_address, entrance.container_port, True))
            for interface in outside(self.sight)
        ]
        if any(verdict.let_in for verdict in verdicts):
            return True
        return None if any(verdict.unsure for verdict in verdicts) else False

    def _endings(self, version: int, protocol: str, interface: Interface, address: str, port: int, translate: bool) -> list[Ending]:
        key = (version, protocol, interface.name, address, port, translate)
        if key not in self._walks:
            destination = int(ipaddress.ip_address(address))
            packet = Packet(version, protocol, interface.name, dst=destination, dport=(port, port))
            peers = self.sight.host.behind(interface.name, version)
            if ipaddress.ip_address(address).is_link_local:
                peers = peers & PRIVATE[version]
            self._walks[key] = self.walker.arrive(packet, peers, translate)
        return self._walks[key]

    def _listens(self, packet: Packet) -> bool:
        """Whether something of the host takes a packet that was let in."""
        for one in self.sockets:
            if one.port != packet.dport[0] or one.transport != packet.protocol:
                continue
            address = ipaddress.ip_address(_plain(one.address))
            if int(address) == packet.dst and address.version == packet.version:
                return True
            if int(address) == 0 and (address.version == packet.version or packet.version == 4):
                return True
        return False

    # -- classes ----------------------------------------------------------------------------------------------------

    def _judged(self, entrance: Entrance, ways: t.Sequence[Way]) -> Facts:
        let_in, unsure = Ranges(), Ranges()
        for way in ways:
            let_in = let_in | way.verdict.let_in
            unsure = unsure | way.verdict.unsure
        unsure = unsure - let_in
        if unsure and not is_open(let_in, entrance.version):
            doubts = list(dict.fromkeys(one for way in ways for one in way.verdict.doubts))
            words = f"{doubts[0].source} -t {doubts[0].table}: {doubts[0].rule}" if doubts else "?"
            return self._row(entrance, "unknown", "unknown", f"it depends on a rule that cannot be told: {words}", evidence=doubts)
        open_ways = [way for way in ways if way.verdict.let_in]
        if not open_ways:
            if any(way.closed for way in ways) and not any(way.verdict.kept_out for way in ways):
                return self._row(entrance, "closed", "closed", "nothing takes packets for it: no rule leads to a container, and nothing listens on the host")
            evidence = list(dict.fromkeys(one for way in ways for one in way.verdict.evidence("dropped")))
            reasons = list(dict.fromkeys(ending.reason for way in ways for ending in way.verdict.endings if ending.reason))
            return self._row(entrance, "filtered", "filtered", reasons[0] if reasons else "the rules let nobody in", evidence=evidence)
        return self._reached(entrance, open_ways, let_in)

    def _reached(self, entrance: Entrance, ways: t.Sequence[Way], let_in: Ranges) -> Facts:
        version = entrance.version
        everybody = is_open(let_in, version)
        intents = [self._intended(entrance, way) for way in ways]
        allowed = Ranges()
        words: list[str] = []
        for intent in intents:
            allowed = allowed | intent.allowed
            words.extend(intent.rules)
        denied = let_in - allowed
        path = "forwarded" if any(ending.outcome == "forwarded" for way in ways for ending in way.verdict.endings) else "local"
        common: Facts = {
            "reachable": ["0.0.0.0/0" if version == 4 else "::/0"] if everybody else let_in.networks(version, _SOURCES_LIMIT),
            "interfaces": list(dict.fromkeys(way.interface for way in ways)),
            "path": path,
            "evidence": list(dict.fromkeys(one for way in ways for one in way.verdict.evidence("forwarded", "local"))),
            "policy": self._policy_facts(words, denied, allowed, version),
        }
        verdict = "reachable" if everybody else "restricted"
        fix = self._fixes(entrance, common["interfaces"], path)
        wanted = [one for one in self.expected or () if one.concerns(entrance.host_port, entrance.protocol, version)]
        welcome = Ranges(pair for one in wanted for pair in one.allowed(version).pairs)
        if self.expected is not None and not let_in - welcome:
            return self._row(entrance, "exposed_intended" if everybody else "allowlisted", verdict, "reachable, as expected", expected=True, **common)
        who = "everybody" if everybody else ", ".join(common["reachable"][:3])
        engine = self.engine_name()
        bypassed = bool(engine) and is_open(denied, version)
        unexpected = self.expected is not None
        if not entrance.wildcard and is_private(entrance.host_ip) and not unexpected:
            return self._row(entrance, "private_bind", verdict, f"bound to the private address {entrance.host_ip}, which {who} can route to", **common)
        if not everybody:
            reason = f"let in are only: {who}"
            if unexpected:
                reason = f"let in are {who}, which is more than is expected"
            return self._row(entrance, "allowlisted", verdict, reason, fix=fix if unexpected else [], expected=False if unexpected else None, **common)
        expectation = False if unexpected else None
        if bypassed:
            reason = f"open to everybody although {engine} says no: {words[-1] if words else 'its default is to deny'}"
            return self._row(entrance, "exposed_bypass", verdict, reason, fix=fix, expected=expectation, **common)
        if unexpected:
            return self._row(entrance, "exposed_unexpected", verdict, "open to everybody, and not among the expected ports", fix=fix, expected=False, **common)
        if engine:
            return self._row(entrance, "exposed_intended", verdict, f"open to everybody, as {engine} allows", **common)
        return self._row(entrance, "exposed_no_firewall", verdict, "open to everybody: no firewall of this host is on the way", fix=fix, **common)

    def _policy_facts(self, words: t.Sequence[str], denied: Ranges, allowed: Ranges, version: int) -> Facts:
        engine = self.engine_name()
        if not engine:
            return {"engine": "none", "verdict": "none", "rules": []}
        verdict = "allow" if is_open(allowed, version) else "partial" if allowed else "deny"
        return {"engine": engine, "verdict": verdict, "rules": list(dict.fromkeys(words))[:8]}

    def engine_name(self) -> str:
        """Return what the host's firewall is: ``ufw``, ``firewalld``, ``rules`` of somebody's own, or nothing."""
        if self.policy is not None:
            return self.policy.engine
        return "rules" if self._has_input_filter() else ""

    def _has_input_filter(self) -> bool:
        """Whether the host keeps most senders from any port of its own: then it has a firewall, whoever made it."""
        for interface in outside(self.sight):
            for address in interface.addresses:
                version = 6 if ":" in address else 4
                if version == 6 and ipaddress.ip_address(address).is_link_local:
                    continue
                verdict = sum_up(self._endings(version, "tcp", interface, address, _PROBE_PORT, False))
                if verdict.kept_out.size > (verdict.let_in | verdict.unsure).size:
                    return True
        return False

    def _intended(self, entrance: Entrance, way: Way) -> Intended:
        """Return who the firewall's configuration lets in; without one that we can read, who its rules for the host's own ports let in."""
        if self.policy is not None:
            container = entrance.container_address
            return self.policy.judge(
                Question(
                    entrance.version,
                    entrance.protocol,
                    entrance.host_port,
                    way.interface,
                    int(ipaddress.ip_address(way.address)),
                    int(ipaddress.ip_address(container)) if container else None,
                    entrance.container_port or 0 if entrance.origin == "published" else 0,
                )
            )
        interface = next(one for one in self.sight.host.interfaces if one.name == way.interface)
        verdict = sum_up(self._endings(entrance.version, entrance.protocol, interface, way.address, entrance.host_port, False))
        return Intended(verdict.let_in | verdict.unsure, tuple(one.rule for one in verdict.evidence("dropped" if verdict.kept_out else "local")))

    # -- rows -------------------------------------------------------------------------------------------------------

    def _row(
        self,
        entrance: Entrance,
        kind: str,
        verdict: str,
        reason: str,
        *,
        reachable: t.Sequence[str] = (),
        interfaces: t.Sequence[str] = (),
        path: t.Optional[str] = None,
        evidence: t.Sequence[Evidence] = (),
        policy: t.Optional[Facts] = None,
        fix: t.Sequence[Facts] = (),
        expected: t.Optional[bool] = None,
    ) -> Facts:
        if self.expected is not None and verdict in ("filtered", "local", "closed") and expected is None:
            expected = not any(one.concerns(entrance.host_port, entrance.protocol, entrance.version) for one in self.expected)
        return {
            "label": entrance.label,
            "origin": entrance.origin,
            "project": entrance.project,
            "service": entrance.service,
            "container": entrance.container,
            "process": entrance.process,
            "container_port": entrance.container_port,
            "host_ip": entrance.host_ip,
            "host_port": entrance.host_port,
            "protocol": entrance.protocol,
            "family": entrance.family,
            "class": kind,
            "verdict": verdict,
            "status": _status(entrance, kind, verdict, expected),
            "reason": reason,
            "expected": expected,
            "reachable_from": list(reachable),
            "interfaces": list(interfaces),
            "path": path,
            "policy": policy or {"engine": self.engine_name() or "none", "verdict": None, "rules": []},
            "evidence": [one.as_dict() for one in dict.fromkeys(evidence)],
            "fix": list(fix),
            "survives_recreate": survives(entrance, evidence),
            "direct": self.direct(entrance),
        }

    def _fixes(self, entrance: Entrance, interfaces: t.Sequence[str], path: str) -> list[Facts]:
        if entrance.origin != "published":
            return _listener_fixes(entrance, self.engine_name())
        fixes = [
            _bind_loopback(entrance),
            _fix("unpublish", "Remove it from ports where only services of the same stack need it: they reach it by its service name."),
        ]
        engine = self.engine_name()
        if path == "local":
            return [*fixes, *_listener_fixes(entrance, engine)]
        fixes.append(self._rule_fix(entrance, interfaces[0] if interfaces else "eth0", engine))
        if engine == "firewalld":
            text = "Or let firewalld decide about forwarded ports (firewalld 2.3 and later); then each needs an accepting rule."
            fixes.append(
                _fix(
                    "firewalld_strict",
                    text,
                    "sed -i 's/^#*StrictForwardPorts=.*/StrictForwardPorts=yes/' /etc/firewalld/firewalld.conf",
                    "firewall-cmd --reload",
                )
            )
        return fixes

    def _rule_fix(self, entrance: Entrance, interface: str, engine: str) -> Facts:
        prefix = "iptables" if entrance.version == 4 else "ip6tables"
        port, protocol = entrance.host_port, entrance.protocol
        match = f"-i {interface} -p {protocol} -m conntrack --ctorigdstport {port} --ctdir ORIGINAL"
        family = "ip" if entrance.version == 4 else "ip6"
        chained = any("DOCKER-USER" in chain.jumps for chain in self.sight.ruleset.bases if chain.family == family)
        if engine == "firewalld" or not chained:
            text = "Keep it out before it is forwarded; this host has no chain DOCKER-USER."
            if chained:
                # A direct rule makes firewalld throw away what Docker has in iptables, and Docker asks DOCKER-USER too late when it makes its rules anew.
                text = (
                    "Or keep it out in a table of its own, which neither firewalld nor Docker touches. To keep it over a reboot, have nftables.service load it."
                )
            return _fix(
                "nft_forward",
                text,
                f"nft add table {family} stackops_ports",
                f"nft add chain {family} stackops_ports forward '{{ type filter hook forward priority -10; policy accept; }}'",
                f"nft add rule {family} stackops_ports forward iifname {interface} meta l4proto {protocol} ct original proto-dst {port} ct status dnat drop",
            )
        text = "Or keep it out in Docker's own chain, by the port of the host as it was asked for (the rule's --dport would be that of the container)."
        if engine == "ufw":
            text += f" To keep it over a reboot, put the rule into /etc/ufw/after{'6' if entrance.version == 6 else ''}.rules."
        return _fix("docker_user", text, f"{prefix} -I DOCKER-USER {match} -j DROP")


def is_open(peers: Ranges, version: int) -> bool:
    """Whether *peers* are the Internet at large rather than a list: more than half of it."""
    return (peers & PUBLIC[version]).size * 2 > PUBLIC[version].size


def _status(entrance: Entrance, kind: str, verdict: str, expected: t.Optional[bool]) -> str:
    if expected is False:
        return "critical" if verdict == "reachable" else "warning"
    if kind == "exposed_no_firewall":
        if entrance.sensitive:
            return "critical"
        return "ok" if (entrance.host_port, entrance.protocol) in _MEANT_TO_BE_OPEN else "warning"
    return CLASSES[kind]


def survives(entrance: Entrance, evidence: t.Sequence[Evidence]) -> t.Optional[bool]:
    """Whether the answer stays when the container gets another address: not where a rule that Docker did not make names the present one."""
    if entrance.origin != "published" or not evidence:
        return None if not evidence else True
    address = entrance.container_address
    for one in evidence:
        dockers = one.chain.startswith("DOCKER") and one.chain != "DOCKER-USER" or one.table in ("raw", "nat") or "docker-bridges" in one.table
        if address and not dockers and (f"{address}/" in f"{one.rule.replace(' ', '/')}/"):
            return False
    return True


def _fix(action: str, text: str, *commands: str) -> Facts:
    return {"action": action, "text": text, "commands": list(commands)}


def _bind_loopback(entrance: Entrance) -> Facts:
    address = "127.0.0.1" if entrance.version == 4 else "[::1]"
    bound = f"{address}:{entrance.host_port}:{entrance.container_port}{'/udp' if entrance.protocol == 'udp' else ''}"
    if not entrance.apply:
        return _fix("bind_loopback", f"Publish it on this host only: make {entrance.label} anew with --publish {bound}.")
    return _fix(
        "bind_loopback", f"Publish it on this host only, under ports of {entrance.label} in the Compose file, and apply that.", f'"{bound}"', entrance.apply
    )


def _listener_fixes(entrance: Entrance, engine: str) -> list[Facts]:
    port, protocol = entrance.host_port, entrance.protocol
    fixes = [_fix("listen_loopback", f"Let {entrance.label} listen on 127.0.0.1 only, where nobody outside needs it.")]
    if engine == "ufw":
        fixes.append(_fix("ufw_deny", "Or keep it out: it is a port of the host, so ufw decides about it.", f"ufw deny {port}/{protocol}"))
    elif engine == "firewalld":
        fixes.append(
            _fix("firewalld_remove", "Or close it in firewalld.", f"firewall-cmd --permanent --remove-port={port}/{protocol}", "firewall-cmd --reload")
        )
    else:
        command = "iptables" if entrance.version == 4 else "ip6tables"
        fixes.append(
            _fix("input_drop", "Or keep it out by a rule for the host's own ports.", f"{command} -I INPUT ! -i lo -p {protocol} --dport {port} -j DROP")
        )
    return fixes


def _leak_fixes(entrance: Entrance) -> list[Facts]:
    rule = f"iptables -t raw -I PREROUTING -d {entrance.host_ip} ! -i lo -p {entrance.protocol} --dport {entrance.host_port} -j DROP"
    return [
        _fix("upgrade_engine", "Docker Engine 28.0.0 and later makes the rule by itself (28.3.3 also keeps it when firewalld reloads)."),
        _fix("raw_drop", "Or make the rule that is missing, and keep it over a reboot.", rule),
    ]


# -- all together ------------------------------------------------------------------------------------------------------


def collect_firewall(
    stacks: t.Sequence[Stack],
    engine: t.Optional[Engine] = None,
    expected: t.Optional[t.Sequence[Expected]] = None,
    everything: bool = True,
    listening: t.Callable[..., Listening] = read_listening,
) -> Facts:
    """Return the envelope ``firewall``: a row for each port and IP version, and what was read of the host's firewall.

    With *everything* also ports of containers outside *stacks* and of programs of the host. *listening* reads what listens, or has
    read it already.
    """
    if engine is not None and engine.remote:
        reason = "the engine runs on another machine, whose rules cannot be read from here"
        raise CheckError("firewall", reason, "Run this on the engine's own host.", "remote-engine")
    errors: list[CheckError] = []
    containers = [container for stack in stacks for container in (stack.siblings if everything else stack.containers)]
    if everything and engine is not None:
        containers.extend(_others(engine, stacks, errors))
    seen = listening(stacks, engine)
    rows = entrances(containers, seen.rows, _dual_ports())
    if not everything:
        named = {container.name for container in containers}
        rows = [row for row in rows if row.container in named]
    sight = look()
    sight.bridges = _bridges(engine, errors)
    policies = read_policies(sight, errors)
    judge = Judge(sight, seen.sockets or [], policies.policy, expected)
    table = [judge.row(one) for one in rows]
    facts = _host_facts(sight, policies, engine, judge)
    return _result(table, [*errors, *sight.errors], facts, sight, expected)


def _others(engine: Engine, stacks: t.Sequence[Stack], errors: list[CheckError]) -> list[ContainerRef]:
    """Return the running containers of the engine that belong to none of *stacks*."""
    known = {container.id for stack in stacks for container in stack.siblings}
    try:
        listed = [str(one.get("Id")) for one in engine.containers(include_stopped=False) if one.get("Id") not in known]
        return [ContainerRef(one) for one in engine.inspect_many(listed)] if listed else []
    except CheckError as error:
        errors.append(error)
        return []


def _dual_ports() -> t.Optional[set[int]]:
    command = find_command("ss")
    if not command:
        return None
    try:
        completed = run_command([command, "-H", "-ltun"], 10.0)
    except CheckError:
        return None
    return dual_ports(completed.text) if completed.exit_code == 0 else None


def _bridges(engine: t.Optional[Engine], errors: list[CheckError]) -> frozenset[str]:
    if engine is None:
        return frozenset()
    try:
        networks = engine.networks()
    except CheckError as error:
        errors.append(error)
        return frozenset()
    names = set()
    for network in networks:
        options = network.get("Options") or {}
        if network.get("Driver") == "bridge":
            names.add(str(options.get("com.docker.network.bridge.name") or f"br-{str(network.get('Id'))[:12]}"))
        if network.get("network_interface"):
            names.add(str(network["network_interface"]))
    return frozenset(names)


@dataclasses.dataclass(frozen=True)
class Policies:
    """The *policy* that is in force, which engines are installed, and which are switched on and are not in force."""

    policy: t.Optional[Policy]
    installed: tuple[str, ...]
    not_in_force: tuple[str, ...] = ()


def read_policies(sight: Sight, errors: list[CheckError]) -> Policies:
    """Return what ufw and firewalld are told, of whichever is in force."""
    installed = []
    ufw: t.Optional[UfwPolicy] = None
    try:
        ufw = read_ufw()
    except CheckError as error:
        errors.append(error)
    if ufw is not None:
        installed.append("ufw")
    firewalld: t.Optional[FirewalldPolicy] = None
    if find_command("firewall-cmd"):
        installed.append("firewalld")
        if os.path.exists("/run/firewalld.pid") or any(table == "firewalld" for dummy, dummy_family, table in sight.ruleset.tables):
            try:
                firewalld = read_firewalld()
            except CheckError as error:
                errors.append(error)
    # Enabled is what its file says; in force is what the kernel has.
    loaded = any("ufw-user-input" in chain.jumps for chain in sight.ruleset.bases)
    if ufw is not None and ufw.enabled and (loaded or not sight.complete):
        return Policies(ufw, tuple(installed))
    return Policies(firewalld, tuple(installed), ("ufw",) if ufw is not None and ufw.enabled else ())


def _host_facts(sight: Sight, policies: Policies, engine: t.Optional[Engine], judge: Judge) -> Facts:
    mixed = "iptables-nft" in sight.backends and "iptables-legacy" in sight.backends
    return {
        "engine": (judge.engine_name() or "none") if policies.policy or sight.complete else None,
        "installed": list(policies.installed),
        "not_in_force": list(policies.not_in_force),
        "rules_in": sight.backends,
        "mixed_iptables": mixed,
        "rules": sight.ruleset.rule_count,
        "readable": sight.complete,
        "forwarding": {f"ipv{version}": on for version, on in sight.host.forwarding.items()},
        "strict_forward_ports": getattr(policies.policy, "strict_forward_ports", None),
        "outside_interfaces": [interface.name for interface in outside(sight)],
        "docker_version": engine.version if engine else None,
    }


def _result(rows: list[Facts], errors: t.Sequence[CheckError], host: Facts, sight: Sight, expected: t.Optional[t.Sequence[Expected]]) -> Facts:
    problems = sight.ruleset.problems
    found = [*errors, *(CheckError("firewall", problem, "Please report it with this line.", "protocol-error") for problem in problems)]
    rows.sort(key=lambda row: (row["host_port"], row["protocol"], row["family"], row["host_ip"], str(row["container"])))
    missing = missing_ports(rows, expected or ())
    statuses = [*(row["status"] for row in rows), *("unknown" for dummy in found), *("warning" for dummy in missing)]
    counts = {name: sum(row["class"] == name for row in rows) for name in CLASSES}
    metrics = {"ports": metric(len(rows)), **{name: metric(count) for name, count in counts.items()}}
    return envelope(worst(statuses), _summary(rows, missing, found), metrics, found, host_firewall=host, ports=rows, missing=missing)


def missing_ports(rows: t.Sequence[Facts], expected: t.Sequence[Expected]) -> list[Facts]:
    """Return the expected ports that nobody reaches."""
    found = []
    for one in expected:
        versions = [4, 6] if one.family == "any" else [int(one.family[-1])]
        here = [row for row in rows for version in versions if row["family"] == f"ipv{version}" and one.concerns(row["host_port"], row["protocol"], version)]
        if not any(row["verdict"] in ("reachable", "restricted", "unknown") for row in here):
            reason = here[0]["reason"] if here else "nothing is published or listens there"
            found.append({"port": one.port, "protocol": one.protocol, "family": one.family, "reason": reason})
    return found


def _summary(rows: t.Sequence[Facts], missing: t.Sequence[Facts], errors: t.Sequence[CheckError]) -> str:
    worst_rows = [row for row in rows if row["status"] == "critical"] or [row for row in rows if row["status"] == "warning"]
    if worst_rows:
        first = worst_rows[0]
        more = f", and {len(worst_rows) - 1} more" if len(worst_rows) > 1 else ""
        return f"port {first['host_port']}/{first['protocol']} ({first['family']}, {first['label']}): {first['reason']}{more}"
    if missing:
        return f"port {missing[0]['port']}/{missing[0]['protocol']} is expected to be reachable, and is not: {missing[0]['reason']}"
    unknown = sum(row["class"] == "unknown" for row in rows)
    if unknown or errors:
        return f"{len(rows)} ports, {unknown} of them unknown" + (f": {errors[0].source}: {errors[0].reason}" if errors else "")
    reachable = sum(row["verdict"] == "reachable" for row in rows)
    return f"{len(rows)} ports, {reachable} of them open to everybody"


def check_ports(params: t.Mapping[str, t.Any]) -> Facts:
    """Return the result of the module ``published_ports`` for its parameters."""
    selection = Selection.from_params(params)
    chosen = bool(selection.project_src or selection.project_name or selection.services)
    try:
        expected = None if params.get("expected") is None else [Expected.from_params(one) for one in params["expected"]]
        engine: t.Optional[Engine] = None
        stacks: list[Stack] = []
        failure: t.Optional[CheckError] = None
        try:
            engine = Engine.connect(EngineOptions.from_params(params))
            stacks = discover(engine, selection)
        except CheckError as error:
            # A host without Docker has ports as well; where it has one that does not answer, its ports are not known.
            if chosen or error.code not in ("not-installed", "not-running"):
                failure = error
            if chosen:
                raise
        facts = collect_firewall(stacks, engine, expected, everything=not chosen)
        if failure is not None:
            facts["errors"].insert(0, failure.as_dict())
            facts["status"] = worst([facts["status"], "unknown"])
        return facts
    except CheckError as error:
        return envelope("unknown", f"{error.source}: {error.reason}", errors=[error], host_firewall=None, ports=[], missing=[])
