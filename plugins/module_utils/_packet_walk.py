# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the kernel would do with the first packet of a new connection from outside, for every sender at once.

The sender's address is not one value but the set of all that could be: a rule about senders parts the set. A condition that
nobody can tell sends the whole set both ways. So what comes out is exact where the rules are understood, and where they are
not, the senders that could be accepted and could be dropped are those of which the answer is "unknown".

Every hook is walked at once with all that arrives there, and what is alike comes together again after it, so that rules which nobody
can tell cost no more than others.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools
import typing as t

from ._address_ranges import Ranges
from ._packet_filter import Action, AllOf, Branches, Chain, Condition, Constant, Not, Property, Rule, Ruleset

_DEPTH_LIMIT = 64
_EVIDENCE_LIMIT = 12
# As many ways through one hook are kept apart for the sake of their evidence.
_APART_LIMIT = 32
#: The ports that a client takes for itself.
EPHEMERAL = (1024, 65535)
_SYN, _SYN_ACK = 2, 18


@dataclasses.dataclass(frozen=True)
class Interface:
    """One interface of the host, with its *addresses*; *route_localnet* lets 127.0.0.0/8 in from outside."""

    name: str
    addresses: tuple[str, ...] = ()
    route_localnet: bool = False


@dataclasses.dataclass(frozen=True)
class Route:
    """Where packets for *destination* leave."""

    destination: Ranges
    interface: str
    prefix_length: int
    version: int
    metric: int = 0


@dataclasses.dataclass(frozen=True)
class HostNet:
    """What the kernel decides by besides the rules."""

    interfaces: tuple[Interface, ...] = ()
    routes: tuple[Route, ...] = ()
    forwarding: t.Mapping[int, bool] = dataclasses.field(default_factory=dict)

    def is_local(self, address: int, version: int) -> bool:
        """Whether *address* is one of the host's own."""
        if (version == 4 and address >> 24 == 127) or (version == 6 and address == 1):
            return True
        return any((address, version) == _number(one) for interface in self.interfaces for one in interface.addresses)

    def way_out(self, address: int, version: int) -> str:
        """Return the interface that leads to *address*; empty where there is no way."""
        there = [route for route in self.routes if route.version == version and address in route.destination]
        return min(there, key=lambda route: (-route.prefix_length, route.metric)).interface if there else ""

    def behind(self, interface: str, version: int) -> Ranges:
        """Return who can send through *interface* and get an answer."""
        mine = Ranges()
        for route in self.routes:
            if route.version == version and route.interface == interface:
                others = [
                    other.destination
                    for other in self.routes
                    if other.version == version and other.interface != interface and other.prefix_length > route.prefix_length
                ]
                there = route.destination
                for other in others:
                    there = there - other
                mine = mine | there
        return mine


def _number(address: str) -> tuple[int, int]:
    parsed = ipaddress.ip_address(address)
    return int(parsed), parsed.version


@dataclasses.dataclass(frozen=True)
class Packet:
    """A packet of which everything is known but the peer outside: in a request the sender, in an answer the receiver."""

    version: int
    protocol: str
    iif: str
    oif: str = ""
    src: t.Optional[int] = None
    dst: t.Optional[int] = None
    sport: tuple[int, int] = EPHEMERAL
    dport: tuple[int, int] = (0, 0)
    state: str = "new"
    statuses: frozenset[str] = frozenset()
    original_dst: t.Optional[int] = None
    original_dport: int = 0
    answer: bool = False
    untracked: bool = False
    mark: t.Optional[int] = 0


@dataclasses.dataclass(frozen=True)
class Evidence:
    """A rule, verbatim, and where it stands."""

    source: str
    table: str
    chain: str
    rule: str

    def as_dict(self) -> dict[str, str]:
        """Return it for the facts."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Flow:
    """Senders that are at one point with one packet, the rules that brought them there, and those that nobody can tell."""

    packet: Packet
    peers: Ranges
    evidence: tuple[Evidence, ...] = ()
    doubts: tuple[Evidence, ...] = ()

    def of(self, peers: Ranges) -> Flow:
        """Return it for some of its senders."""
        return Flow(self.packet, peers, self.evidence, self.doubts)

    def seen(self, evidence: Evidence) -> Flow:
        """Return it with one more rule of evidence."""
        if evidence in self.evidence or len(self.evidence) >= _EVIDENCE_LIMIT:
            return self
        return dataclasses.replace(self, evidence=(*self.evidence, evidence))

    def doubted(self, evidence: Evidence) -> Flow:
        """Return it with one more rule that nobody can tell."""
        if evidence in self.doubts or len(self.doubts) >= _EVIDENCE_LIMIT:
            return self
        return dataclasses.replace(self, doubts=(*self.doubts, evidence))


@dataclasses.dataclass(frozen=True)
class Ending:
    """How it ends for some senders: *outcome* is ``local``, ``forwarded`` or ``dropped``."""

    outcome: str
    flow: Flow
    reason: str = ""


# -- conditions --------------------------------------------------------------------------------------------------------


def split(condition: Condition, packet: Packet, peers: Ranges, host: HostNet) -> tuple[Ranges, Ranges]:
    """Return those of *peers* for whom *condition* may hold, and those for whom it may not."""
    if isinstance(condition, Property):
        return _split_property(condition, packet, peers, host)
    if isinstance(condition, Constant):
        return _told(condition.value, peers)
    if isinstance(condition, Not):
        yes, no = split(condition.part, packet, peers, host)
        return no, yes
    if isinstance(condition, AllOf):
        yes, no = peers, Ranges()
        for part in condition.parts:
            yes, failed = split(part, packet, yes, host)
            no = no | failed
            if not yes:
                break
        return yes, no
    yes, no = Ranges(), peers
    for part in condition.parts:
        held, no = split(part, packet, no, host)
        yes = yes | held
        if not no:
            break
    return yes, no


def _told(answer: t.Optional[bool], peers: Ranges) -> tuple[Ranges, Ranges]:
    nobody = Ranges()
    return (peers, peers) if answer is None else (peers, nobody) if answer else (nobody, peers)


def _split_property(condition: Property, packet: Packet, peers: Ranges, host: HostNet) -> tuple[Ranges, Ranges]:
    values = condition.values
    if isinstance(values, frozenset):
        return _told(_named(condition.field, values, packet, host), peers)
    if condition.version and condition.version != packet.version:
        return Ranges(), peers
    if condition.field in ("src", "dst", "ctorigsrc", "ctorigdst"):
        address = _address(condition.field, packet)
        if address is not None:
            return _told(address in values, peers)
        return peers & values, peers - values
    return _told(_counted(condition, values, packet), peers)


def _address(field: str, packet: Packet) -> t.Optional[int]:
    """Return a known address; ``None`` stands for the peer."""
    if field == "ctorigdst":
        return packet.original_dst if packet.original_dst is not None else (packet.src if packet.answer else packet.dst)
    if field == "ctorigsrc":
        return None if not packet.answer or packet.dst is None else packet.dst
    return packet.src if field == "src" else packet.dst


def _counted(condition: Property, values: Ranges, packet: Packet) -> t.Optional[bool]:
    field = condition.field
    if field in ("sport", "dport"):
        low, high = packet.sport if field == "sport" else packet.dport
        mine = Ranges([(low, high)])
        met = values & mine
        if packet.answer and field == "dport" and met.size * 2 < mine.size:
            return False  # a client takes another port the next time
        return None if met and mine - values else bool(met)
    if field == "ctorigdport":
        port = packet.original_dport or (packet.sport[0] if packet.answer else packet.dport[0])
        return port in values
    if field == "mark":
        return None if packet.mark is None else (packet.mark & condition.mask) in values
    if field == "tcpflags":
        return packet.protocol == "tcp" and ((_SYN_ACK if packet.answer else _SYN) & condition.mask) in values
    return None


def _named(field: str, values: frozenset[str], packet: Packet, host: HostNet) -> t.Optional[bool]:
    if field in ("iif", "oif"):
        name = packet.iif if field == "iif" else packet.oif
        return any(name.startswith(one[:-1]) if one.endswith("*") else name == one for one in values)
    if field in ("proto", "ctproto"):
        return packet.protocol in values
    if field == "version":
        return str(packet.version) in values
    if field == "ctstate":
        state = "untracked" if packet.untracked else packet.state
        return state in values or ("dnat" in values and "dnat" in packet.statuses)
    if field == "ctstatus":
        # A connection that was answered is in the table for good; before that it is not.
        known = packet.statuses | ({"seen-reply", "seen_reply", "confirmed", "assured"} if packet.answer else frozenset())
        return bool(known & values) or (None if packet.answer and values & {"assured"} else False)
    if field == "ctdir":
        return ("reply" if packet.answer else "original") in values
    address = packet.src if field == "srctype" else packet.dst
    if address is None:
        # Somebody outside: not one of ours, and no broadcast.
        return "unicast" in values
    return ("local" if host.is_local(address, packet.version) else "unicast") in values


# -- chains ------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Through:
    """What came of a chain: who goes on behind it, was accepted, dropped, or left a ``goto`` for the caller's caller."""

    onward: list[Flow] = dataclasses.field(default_factory=list)
    accepted: list[Flow] = dataclasses.field(default_factory=list)
    dropped: list[Flow] = dataclasses.field(default_factory=list)
    returned: list[Flow] = dataclasses.field(default_factory=list)


def _evidence(chain: Chain, text: str) -> Evidence:
    return Evidence(chain.source, f"{chain.family} {chain.table}" if chain.source.startswith("nft") else chain.table, chain.name, text)


def merge(flows: t.Iterable[Flow]) -> list[Flow]:
    """Bring together what is alike; beyond a number of ways also what came by different rules."""
    alike: dict[t.Any, Flow] = {}
    for flow in flows:
        if flow.peers:
            key = (flow.packet, flow.evidence, flow.doubts)
            there = alike.get(key)
            alike[key] = flow if there is None else dataclasses.replace(there, peers=there.peers | flow.peers)
    if len(alike) <= _APART_LIMIT:
        return list(alike.values())
    by_packet: dict[Packet, Flow] = {}
    for flow in alike.values():
        there = by_packet.get(flow.packet)
        if there is not None:
            for one in flow.evidence:
                there = there.seen(one)
            for one in flow.doubts:
                there = there.doubted(one)
            flow = dataclasses.replace(there, peers=there.peers | flow.peers)
        by_packet[flow.packet] = flow
    return list(by_packet.values())


class Walker:
    """Walks packets over one ruleset on one host."""

    def __init__(self, ruleset: Ruleset, host: HostNet) -> None:
        self.ruleset = ruleset
        self.host = host

    # -- one chain --------------------------------------------------------------------------------------------------

    def _rules(self, chain: Chain, flows: list[Flow], depth: int) -> _Through:
        result = _Through()
        here = flows
        for rule in chain.rules:
            if not here:
                break
            remaining: list[Flow] = []
            for flow in here:
                remaining.extend(self._rule(chain, rule, flow, depth, result))
            here = merge(remaining) if len(remaining) > 1 else remaining
        result.onward.extend(here)
        return result

    def _rule(self, chain: Chain, rule: Rule, flow: Flow, depth: int, result: _Through) -> list[Flow]:
        """Take *flow* through one rule; return who goes on to the next."""
        passed_by: list[Flow] = []
        inside = [flow]
        for step in rule.steps:
            if not inside:
                break
            following: list[Flow] = []
            for one in inside:
                if isinstance(step, Action):
                    following.extend(self._act(chain, rule, step, one, depth, result, passed_by))
                elif isinstance(step, Branches):
                    following.extend(self._branch(chain, rule, step, one, depth, result, passed_by))
                else:
                    yes, no = split(step, one.packet, one.peers, self.host)
                    if yes & no:
                        one = one.doubted(_evidence(chain, rule.text))
                    if no:
                        passed_by.append(one.of(no) if yes else one)
                    if yes:
                        following.append(one.of(yes) if no else one)
            inside = following
        return [*passed_by, *inside]

    def _branch(self, chain: Chain, rule: Rule, step: Branches, flow: Flow, depth: int, result: _Through, passed_by: list[Flow]) -> list[Flow]:
        following: list[Flow] = []
        left = flow
        for condition, action in step.cases:
            yes, no = split(condition, left.packet, left.peers, self.host)
            if yes:
                following.extend(self._act(chain, rule, action, dataclasses.replace(left, peers=yes), depth, result, passed_by))
            left = dataclasses.replace(left, peers=no)
            if not no:
                break
        # A key that the map does not have ends the rule.
        if left.peers:
            passed_by.append(left)
        return following

    def _act(self, chain: Chain, rule: Rule, action: Action, flow: Flow, depth: int, result: _Through, passed_by: list[Flow]) -> list[Flow]:
        """Do one action; return who goes on to the next step of the same rule."""
        kind = action.kind
        if kind == "accept":
            result.accepted.append(flow.seen(_evidence(chain, rule.text)))
            return []
        if kind == "drop":
            result.dropped.append(flow.seen(_evidence(chain, rule.text)))
            return []
        if kind == "return":
            result.returned.append(flow)
            return []
        if kind in ("jump", "goto"):
            return self._call(chain, rule, action, flow, depth, result)
        if kind == "mark":
            mark = flow.packet.mark
            new = None if action.mask == 0 or (mark is None and action.mask != 0xFFFFFFFF) else ((mark or 0) & ~action.mask & 0xFFFFFFFF) | action.value
            return [dataclasses.replace(flow, packet=dataclasses.replace(flow.packet, mark=new))]
        if kind == "notrack":
            return [dataclasses.replace(flow, packet=dataclasses.replace(flow.packet, untracked=True))]
        if kind in ("dnat", "redirect"):
            result.accepted.extend(self._translated(chain, rule, action, flow))
            return []
        if kind == "source-nat":
            result.accepted.append(flow)
            return []
        if kind == "continue":
            return [flow]
        doubtful = flow.doubted(_evidence(chain, rule.text))
        result.accepted.append(doubtful)
        result.dropped.append(doubtful)
        return [doubtful]

    def _call(self, chain: Chain, rule: Rule, action: Action, flow: Flow, depth: int, result: _Through) -> list[Flow]:
        target = chain.jumps.get(action.target)
        if target is None or depth >= _DEPTH_LIMIT:
            doubtful = flow.doubted(_evidence(chain, rule.text))
            result.accepted.append(doubtful)
            result.dropped.append(doubtful)
            return [doubtful]
        inner = self._rules(target, [flow], depth + 1)
        result.accepted.extend(inner.accepted)
        result.dropped.extend(inner.dropped)
        back = [*inner.onward, *inner.returned]
        if action.kind == "goto":
            # It ends as if the chain that went there had returned.
            result.returned.extend(back)
            return []
        return back

    def _translated(self, chain: Chain, rule: Rule, action: Action, flow: Flow) -> list[Flow]:
        """Return the flows with their new destination: one for each that it may be, as long as they are few."""
        packet = flow.packet
        here = flow.seen(_evidence(chain, rule.text))
        destinations: list[t.Optional[int]] = [packet.dst]
        if action.kind == "redirect":
            own = next(
                (one for interface in self.host.interfaces if interface.name == packet.iif for one in interface.addresses if _number(one)[1] == packet.version),
                "",
            )
            destinations = [_number(own)[0] if own else packet.dst]
        elif action.addresses is not None:
            listed = (number for low, high in action.addresses.pairs[:16] for number in range(low, min(high, low + 15) + 1))
            destinations = list(itertools.islice(listed, 16))
        ports = action.ports.pairs[0] if action.ports is not None and action.ports.pairs else packet.dport
        return [
            dataclasses.replace(
                here,
                packet=dataclasses.replace(
                    packet,
                    dst=destination,
                    dport=ports,
                    original_dst=packet.dst,
                    original_dport=packet.dport[0],
                    statuses=packet.statuses | {"dnat"},
                ),
            )
            for destination in destinations
        ]

    # -- one hook ---------------------------------------------------------------------------------------------------

    def hook(self, name: str, flows: list[Flow], device: str = "") -> tuple[list[Flow], list[Flow]]:
        """Take *flows* through all chains of a hook; return who passed and who was dropped."""
        passed, dropped = flows, []
        version = flows[0].packet.version if flows else 4
        for chain in self.ruleset.at(name, version, device):
            if not passed:
                break
            spared: list[Flow] = []
            if chain.kind == "nat":
                # Only the first packet of a connection sees these, and only until one of them has translated it.
                spared = [flow for flow in passed if "dnat" in flow.packet.statuses or flow.packet.untracked or flow.packet.state != "new"]
                if name != "prerouting":
                    spared = [flow for flow in passed if flow.packet.untracked or flow.packet.state != "new"]
                passed = [flow for flow in passed if flow not in spared]
            through = self._rules(chain, passed, 0)
            ended = merge([*through.onward, *through.returned])
            if chain.policy == "accept":
                accepted = [*through.accepted, *ended]
            else:
                accepted = through.accepted
                through.dropped.extend(flow.seen(_evidence(chain, chain.policy_text)) for flow in ended)
            passed = merge([*spared, *accepted])
            dropped.extend(through.dropped)
        return passed, merge(dropped)

    # -- the whole way ----------------------------------------------------------------------------------------------

    def arrive(self, packet: Packet, peers: Ranges, translate: bool = True) -> list[Ending]:
        """Return how a packet that comes in from outside ends, for each of *peers*.

        Without *translate* the ways of network address translation are not taken: what would be if the port were that
        of an ordinary program of the host.
        """
        endings: list[Ending] = []
        flows = [Flow(packet, peers)]
        for name in ("ingress", "prerouting"):
            flows, dropped = self._prerouting(name, flows, packet.iif, translate)
            endings.extend(Ending("dropped", flow) for flow in dropped)
        for flow in flows:
            endings.extend(self._routed(flow))
        return endings

    def _prerouting(self, name: str, flows: list[Flow], device: str, translate: bool) -> tuple[list[Flow], list[Flow]]:
        if translate:
            return self.hook(name, flows, device)
        without = Walker(Ruleset([chain for chain in self.ruleset.bases if chain.kind != "nat"]), self.host)
        return without.hook(name, flows, device)

    def _routed(self, flow: Flow) -> list[Ending]:
        packet, host = flow.packet, self.host
        if packet.dst is None:
            return [Ending("dropped", flow, "no destination")]
        if host.is_local(packet.dst, packet.version):
            interface = next((one for one in host.interfaces if one.name == packet.iif), None)
            if packet.version == 4 and packet.dst >> 24 == 127 and packet.iif != "lo" and not (interface and interface.route_localnet):
                return [Ending("dropped", flow, f"the kernel lets nobody in to 127.0.0.0/8 from {packet.iif} (route_localnet is 0)")]
            return self._delivered(flow)
        oif = host.way_out(packet.dst, packet.version)
        if not oif:
            return [Ending("dropped", flow, "the host knows no way to the container's address")]
        if not host.forwarding.get(packet.version, True):
            return [Ending("dropped", flow, "the host does not forward packets (ip_forward is 0)")]
        flow = dataclasses.replace(flow, packet=dataclasses.replace(packet, oif=oif))
        return self._hooks(flow, ("forward", "postrouting"), "forwarded")

    def _delivered(self, flow: Flow) -> list[Ending]:
        return self._hooks(flow, ("input",), "local")

    def _hooks(self, flow: Flow, names: t.Sequence[str], outcome: str) -> list[Ending]:
        endings: list[Ending] = []
        flows = [flow]
        for name in names:
            flows, dropped = self.hook(name, flows)
            endings.extend(Ending("dropped", one) for one in dropped)
        for one in flows:
            endings.extend(self._answered(one, outcome))
        return endings

    def _answered(self, flow: Flow, outcome: str) -> list[Ending]:
        """Return how it ends with the answer, which has to find its way back through the same rules."""
        request = flow.packet
        answer = dataclasses.replace(
            request,
            iif=request.oif,
            oif=request.iif,
            src=request.dst,
            dst=None,
            sport=request.dport,
            dport=request.sport,
            state="established",
            answer=True,
            mark=0,
            original_dst=request.original_dst if request.original_dst is not None else request.dst,
            original_dport=request.original_dport or request.dport[0],
        )
        flows = [Flow(answer, flow.peers, (), flow.doubts)]
        endings: list[Ending] = []
        for name in ("output", "postrouting") if outcome == "local" else ("prerouting", "forward", "postrouting"):
            flows, dropped = self.hook(name, flows)
            for one in dropped:
                refused = dataclasses.replace(flow, peers=one.peers, evidence=(*flow.evidence, *one.evidence), doubts=one.doubts)
                endings.append(Ending("dropped", refused, "the answer does not get out"))
        endings.extend(Ending(outcome, dataclasses.replace(flow, peers=one.peers, doubts=one.doubts)) for one in flows)
        return endings


# -- summing up --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Who gets in: for certain, perhaps, and not; with what shows it."""

    let_in: Ranges
    unsure: Ranges
    kept_out: Ranges
    endings: tuple[Ending, ...]

    def evidence(self, *outcomes: str) -> list[Evidence]:
        """Return the rules that led to one of *outcomes*, in their order."""
        found: dict[Evidence, None] = {}
        for ending in self.endings:
            if ending.outcome in outcomes:
                found.update(dict.fromkeys(ending.flow.evidence))
        return list(found)[:_EVIDENCE_LIMIT]

    @property
    def doubts(self) -> list[Evidence]:
        """The rules that nobody can tell and that decide."""
        found: dict[Evidence, None] = {}
        for ending in self.endings:
            if ending.flow.peers & self.unsure:
                found.update(dict.fromkeys(ending.flow.doubts))
        return list(found)[:_EVIDENCE_LIMIT]


def sum_up(endings: t.Sequence[Ending]) -> Verdict:
    """Return who is let in by all of *endings*."""
    accepted, dropped = Ranges(), Ranges()
    for ending in endings:
        if ending.outcome == "dropped":
            dropped = dropped | ending.flow.peers
        else:
            accepted = accepted | ending.flow.peers
    return Verdict(accepted - dropped, accepted & dropped, dropped - accepted, tuple(endings))
