# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The kernel's packet filter as one model, whatever tool made it: tables of chains of rules.

Here is the model and the parser of ``iptables-save`` and its kin; :mod:`_nft_ruleset` reads ``nft -j list ruleset``.
What the model cannot express is kept as a condition or an action that nobody can tell, never dropped: a walk over it
comes out as "unknown" where it matters.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
import socket
import typing as t

from ._address_ranges import Ranges

# -- the model ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Property:
    """One property of a packet against what it may be.

    *field* is ``src``, ``dst``, ``ctorigsrc``, ``ctorigdst`` (:class:`Ranges` of addresses of IP *version*), ``sport``,
    ``dport``, ``ctorigsport``, ``ctorigdport``, ``mark``, ``tcpflags`` (:class:`Ranges`, after *mask*), ``iif``, ``oif`` (names, a
    trailing ``*`` stands for any ending), ``proto``, ``ctproto``, ``ctstate``, ``ctstatus``, ``ctdir``, ``srctype``, ``dsttype``, or
    ``version`` (4 or 6).
    """

    field: str
    values: t.Union[Ranges, frozenset[str]]
    version: int = 0
    mask: int = -1


@dataclasses.dataclass(frozen=True)
class Constant:
    """A condition whose answer does not depend on the packet; ``None`` where nobody can tell."""

    value: t.Optional[bool]


@dataclasses.dataclass(frozen=True)
class Not:
    """The opposite."""

    part: Condition


@dataclasses.dataclass(frozen=True)
class AllOf:
    """All of *parts* hold."""

    parts: tuple[Condition, ...]


@dataclasses.dataclass(frozen=True)
class AnyOf:
    """One of *parts* holds."""

    parts: tuple[Condition, ...]


Condition = t.Union[Property, Constant, Not, AllOf, AnyOf]

UNSURE = Constant(None)
NEVER = Constant(False)
ALWAYS = Constant(True)


@dataclasses.dataclass(frozen=True)
class Action:
    """What a rule does: *kind* is ``accept``, ``drop``, ``return``, ``jump``, ``goto``, ``dnat``, ``redirect``, ``source-nat``, ``notrack``,
    ``mark`` or ``unsure``, which may be anything."""

    kind: str
    target: str = ""
    addresses: t.Optional[Ranges] = None
    ports: t.Optional[Ranges] = None
    value: int = 0
    mask: int = 0xFFFFFFFF
    exclusive: bool = False


@dataclasses.dataclass(frozen=True)
class Branches:
    """A verdict map: of the conditions, which exclude each other, the one that holds has its action."""

    cases: tuple[tuple[Condition, Action], ...]


Step = t.Union[Property, Constant, Not, AllOf, AnyOf, Action, Branches]


@dataclasses.dataclass(frozen=True)
class Rule:
    """*steps* are done in their order until a condition does not hold; *text* is the rule as its tool writes it."""

    steps: tuple[Step, ...]
    text: str


@dataclasses.dataclass
class Chain:
    """A chain; one that the kernel calls has a *hook*."""

    source: str
    table: str
    name: str
    rules: list[Rule] = dataclasses.field(default_factory=list)
    family: str = ""
    hook: str = ""
    kind: str = "filter"
    priority: int = 0
    policy: str = "accept"
    devices: tuple[str, ...] = ()
    jumps: dict[str, Chain] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def versions(self) -> tuple[int, ...]:
        """The IP versions it sees."""
        return {"ip": (4,), "ip6": (6,)}.get(self.family, (4, 6))

    @property
    def policy_text(self) -> str:
        """The policy as its tool writes it."""
        if self.source.startswith("nft"):
            return f"type {self.kind} hook {self.hook} priority {self.priority}; policy {self.policy};"
        return f":{self.name} {self.policy.upper()}"


@dataclasses.dataclass
class Ruleset:
    """Everything that filters: the chains that the kernel calls, and what could not be read."""

    bases: list[Chain] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)
    #: Tables by ``source``, with how many rules each has.
    tables: dict[tuple[str, str, str], int] = dataclasses.field(default_factory=dict)
    #: Tables that iptables says it cannot show (``("ip", "filter")``): nft shows them.
    incompatible: set[tuple[str, str]] = dataclasses.field(default_factory=set)

    def add(self, other: Ruleset) -> None:
        """Take over everything of *other*."""
        self.bases.extend(other.bases)
        self.problems.extend(other.problems)
        self.tables.update(other.tables)
        self.incompatible |= other.incompatible

    def at(self, hook: str, version: int, device: str = "") -> list[Chain]:
        """Return the chains of *hook* for IP *version*, in the order in which the kernel calls them."""
        found = [
            chain for chain in self.bases if chain.hook == hook and version in chain.versions and (hook not in ("ingress", "egress") or device in chain.devices)
        ]
        return sorted(found, key=lambda chain: chain.priority)

    @property
    def rule_count(self) -> int:
        """How many rules there are."""
        return sum(self.tables.values())


_HOOKS = {
    "raw": {"PREROUTING": -300, "OUTPUT": -300},
    "mangle": {"PREROUTING": -150, "INPUT": -150, "FORWARD": -150, "OUTPUT": -150, "POSTROUTING": -150},
    "nat": {"PREROUTING": -100, "INPUT": 100, "OUTPUT": -100, "POSTROUTING": 100},
    "filter": {"INPUT": 0, "FORWARD": 0, "OUTPUT": 0},
    "security": {"INPUT": 50, "FORWARD": 50, "OUTPUT": 50},
}

# -- iptables-save -----------------------------------------------------------------------------------------------------

_PROTOCOLS = {"6": "tcp", "17": "udp", "1": "icmp", "58": "icmpv6", "ipv6-icmp": "icmpv6", "132": "sctp", "33": "dccp", "136": "udplite"}
TCP_FLAGS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ECN": 64, "CWR": 128, "ALL": 63, "NONE": 0}
_COUNTERS = re.compile(r"^\[\d+:\d+\] ")
_POLICY = re.compile(r"^:(\S+) (\S+)")

# Modules for which a client that was not here before is on one side for certain: a list of recent ones does not have it, and it
# has used nothing of a rate.
_TARGETS_WITHOUT_VERDICT = frozenset({
    "LOG", "NFLOG", "ULOG", "TRACE", "CONNMARK", "CT", "TCPMSS", "TOS", "DSCP", "SET", "CLASSIFY", "TEE", "CHECKSUM", "AUDIT", "SECMARK",
    "CONNSECMARK", "TTL", "HL", "IDLETIMER", "LED", "RATEEST", "TCPOPTSTRIP", "ECN", "HMARK",
})  # fmt: skip
_SOURCE_NAT = frozenset({"MASQUERADE", "SNAT", "NETMAP"})


def protocol_name(word: str) -> str:
    """Return one name for what tools call by number or by several names."""
    return _PROTOCOLS.get(word.lower(), word.lower())


def port_number(word: str, protocol: str = "tcp") -> int:
    """Return a port that is written as number or as name of a service.

    :raises ValueError: it is neither.
    """
    if word.isdigit():
        return int(word)
    try:
        return socket.getservbyname(word, protocol if protocol in ("tcp", "udp") else "tcp")
    except OSError:
        raise ValueError(f"no port: {word}") from None


def parse_iptables_save(text: str, source: str, version: int, sets: t.Optional[t.Mapping[str, Ranges]] = None) -> Ruleset:
    """Return what ``iptables-save`` (*version* 4) or ``ip6tables-save`` (6) printed.

    *source* is the command, for the evidence. *sets* are the address sets of ipset by name.
    """
    result = Ruleset()
    family = "ip" if version == 4 else "ip6"
    table, chains, rules = "", {}, []  # type: ignore[var-annotated]
    for line in text.splitlines():
        line = _COUNTERS.sub("", line.strip())
        if line.startswith("#"):
            named = re.search(r"[Tt]able [`'](\S+)' is incompatible", line)
            if named:
                result.incompatible.add((family, named.group(1)))
        elif line.startswith("*"):
            table, chains, rules = line[1:], {}, []
        elif line.startswith(":"):
            chain = _declared(line, source, table, family)
            if chain is not None:
                chains[chain.name] = chain
        elif line == "COMMIT":
            _finish(result, table, source, family, chains, rules, sets or {})
        elif line.startswith("-A "):
            rules.append(line)
    return result


def _declared(line: str, source: str, table: str, family: str) -> t.Optional[Chain]:
    found = _POLICY.match(line)
    if not found:
        return None
    name, policy = found.groups()
    chain = Chain(source, table, name, family=family)
    hooks = _HOOKS.get(table, {})
    if policy != "-" and name in hooks:
        chain.hook, chain.priority, chain.policy = name.lower(), hooks[name], policy.lower()
        chain.kind = "nat" if table == "nat" else "filter"
    return chain


def _finish(result: Ruleset, table: str, source: str, family: str, chains: dict[str, Chain], rules: t.Sequence[str], sets: t.Mapping[str, Ranges]) -> None:
    reader = _IptablesRule(family, chains, sets)
    for line in rules:
        try:
            words = shlex.split(line)
            chain = chains.get(words[1])
            if chain is not None:
                chain.rules.append(Rule(reader.read(words[2:]), line))
        except (ValueError, IndexError):
            result.problems.append(f"{source} -t {table}: cannot read the rule: {line}")
            name = line.split()[1] if len(line.split()) > 1 else ""
            if name in chains:
                chains[name].rules.append(Rule((UNSURE, Action("unsure")), line))
    for chain in chains.values():
        chain.jumps = chains
        if chain.hook:
            result.bases.append(chain)
    result.tables[(source, family, table)] = len(rules)


#: Options that hold for as many packets as a rate lets be.
_RATES: dict[str, tuple[str, ...]] = {"limit": ("--limit",), "hashlimit": ("--hashlimit", "--hashlimit-upto")}
#: What a rule with a rate may do to those above or below it.
_HOLDS_BACK = frozenset({"drop", "jump", "goto", "unsure"})
#: What the packets of an ordinary connection that the host routes do not have: headers, a port of a bridge they came in by.
_NOT_THERE = frozenset({"physdev", "rt", "frag", "hbh", "dst", "mh", "ah", "esp", "ipv6header"})


class _IptablesRule:
    """Reads the words of one rule after another."""

    def __init__(self, family: str, chains: t.Mapping[str, Chain], sets: t.Mapping[str, Ranges]) -> None:
        self.version = 4 if family == "ip" else 6
        self.chains = chains
        self.sets = sets

    def read(self, words: t.Sequence[str]) -> tuple[Step, ...]:
        """Return the steps of a rule; what is not known to us becomes a condition that nobody can tell."""
        steps: list[Step] = []
        rest = list(words)
        negated = False
        modules: list[str] = []
        protocol = "tcp"
        rated = False
        while rest:
            word = rest.pop(0)
            if word == "!":
                negated = True
                continue
            if word in ("-j", "-g"):
                target = self._target(word, rest)
                if rated and any(isinstance(step, Action) and step.kind in _HOLDS_BACK for step in target):
                    # A rate that is dropped lets the next packet through, which is the same connection tried again.
                    steps.append(UNSURE)
                steps.extend(target)
                return tuple(steps)
            if word in ("-m", "--match"):
                modules.append(rest.pop(0))
                continue
            arguments = []
            while rest and rest[0] != "!" and not re.match(r"^-{1,2}[a-zA-Z]", rest[0]):
                arguments.append(rest.pop(0))
            if word == "-p":
                protocol = protocol_name(arguments[0])
            module = modules[-1] if modules else ""
            rated = rated or (module in _RATES and word in _RATES[module])
            condition = self._condition(word, arguments, module, protocol)
            if condition is not None:
                steps.append(Not(condition) if negated else condition)
            negated = False
        return tuple(steps)

    def _condition(self, option: str, arguments: list[str], module: str, protocol: str) -> t.Optional[Condition]:
        value = arguments[0] if arguments else ""
        plain = _PLAIN_OPTIONS.get(option)
        if plain is not None:
            return plain(self, value, protocol)
        handler = _MODULE_OPTIONS.get((module, option))
        if handler is not None:
            return handler(self, arguments, protocol)
        if module in ("comment", "icmp", "icmp6", "icmpv6"):
            return None  # says nothing, or belongs to a protocol that the rule names as well
        if module in _NOT_THERE:
            return NEVER
        if module == "recent":
            return NEVER if option in ("--rcheck", "--update", "--remove") else ALWAYS if option == "--set" else None
        if module in ("limit", "hashlimit", "connlimit"):
            return NEVER if option in ("--hashlimit-above", "--connlimit-above") else None
        return UNSURE

    def addresses(self, text: str, field: str) -> Condition:
        """Return the condition that an address is in *text*, a comma separated list."""
        ranges = Ranges()
        for one in text.split(","):
            address, slash, mask = one.partition("/")
            if slash and ":" in mask:
                return UNSURE  # a mask that is no prefix
            ranges = ranges | Ranges.network(f"{address}/{mask}" if slash else address)
        return Property(field, ranges, self.version)

    @staticmethod
    def ports(text: str, field: str, protocol: str) -> Condition:
        """Return the condition that a port is in *text*: ``80``, ``80:90``, ``80,90:95``."""
        pairs = []
        for one in text.split(","):
            low, colon, high = one.partition(":")
            first = port_number(low, protocol) if low else 0
            pairs.append((first, (port_number(high, protocol) if high else 65535) if colon else first))
        return Property(field, Ranges(pairs))

    @staticmethod
    def masked(text: str, field: str) -> Condition:
        """Return the condition of ``value/mask``."""
        value, slash, mask = text.partition("/")
        bits = int(mask, 0) if slash else 0xFFFFFFFF
        return Property(field, Ranges([(int(value, 0), int(value, 0))]), mask=bits)

    def address_set(self, arguments: t.Sequence[str]) -> Condition:
        """Return the condition of ``--match-set name src``; of sets of other things than addresses nobody can tell."""
        if len(arguments) >= 2 and arguments[1] in ("src", "dst") and arguments[0] in self.sets:
            return Property(arguments[1], self.sets[arguments[0]], self.version)
        return UNSURE

    def _target(self, word: str, rest: t.Sequence[str]) -> list[Step]:
        name = rest[0]
        options = _options(rest[1:])
        kind = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop", "TARPIT": "drop", "RETURN": "return"}.get(name)
        if kind:
            return [Action(kind)]
        if name in self.chains:
            return [Action("goto" if word == "-g" else "jump", name)]
        if name == "NOTRACK" or (name == "CT" and "--notrack" in options):
            return [Action("notrack")]
        if name == "MARK":
            return _set_mark(options)
        if name == "DNAT":
            return [_dnat(options.get("--to-destination", ""), self.version)]
        if name == "REDIRECT":
            text = options.get("--to-ports", "")
            return [Action("redirect", ports=_dash_ports(text) if text else None)]
        if name in _TARGETS_WITHOUT_VERDICT:
            return []
        if name in _SOURCE_NAT:
            return [Action("source-nat" if name != "NETMAP" else "unsure")]
        return [Action("unsure", name)]


def _options(words: t.Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    option = ""
    for word in words:
        if word.startswith("--"):
            option = word
            found[option] = ""
        elif option:
            found[option] = (found[option] + " " + word).strip()
    return found


def _set_mark(options: t.Mapping[str, str]) -> list[Step]:
    for option, text in options.items():
        value, slash, mask = text.partition("/")
        bits = int(mask, 0) if slash else 0xFFFFFFFF
        number = int(value, 0)
        if option in ("--set-xmark", "--set-mark") and (option == "--set-mark" or number & ~bits == 0):
            return [Action("mark", value=number, mask=bits | number)]
        if option == "--or-mark":
            return [Action("mark", value=number, mask=number)]
        if option == "--and-mark":
            return [Action("mark", value=0, mask=~number & 0xFFFFFFFF)]
    return [Action("mark", mask=0)]  # mask 0: from here on nobody knows the mark


def _dash_ports(text: str) -> Ranges:
    low, dash, high = text.partition("/")[0].partition("-")
    return Ranges([(int(low), int(high) if dash else int(low))])


def _dnat(text: str, version: int) -> Action:
    """Return the action of ``10.0.0.1:80``, ``10.0.0.1-10.0.0.9``, ``:80`` or ``[fd00::1]:80``."""
    text = text.split(" ")[0]
    if version == 6:
        found = re.match(r"^(?:\[(?P<one>[^\]]*)\](?::(?P<port>[\d-]+))?|(?P<two>[0-9a-fA-F:.-]*))$", text)
        address, port = ((found.group("one") or found.group("two") or ""), found.group("port") or "") if found else ("", "")
    else:
        address, dummy, port = text.partition(":")
    return Action("dnat", addresses=Ranges.network(address) if address else None, ports=_dash_ports(port) if port else None)


def _names(text: str) -> frozenset[str]:
    return frozenset(word.strip().lower() for word in text.split(","))


def _interface(text: str, field: str) -> Condition:
    return Property(field, frozenset([text[:-1] + "*" if text.endswith("+") else text]))


def _tcp_flags(mask: str, wanted: str) -> Condition:
    bits = sum(TCP_FLAGS[name] for name in set(mask.split(",")))
    value = sum(TCP_FLAGS[name] for name in set(wanted.split(",")))
    return Property("tcpflags", Ranges([(value, value)]), mask=bits)


_Plain = t.Callable[[_IptablesRule, str, str], t.Optional[Condition]]
_PLAIN_OPTIONS: dict[str, _Plain] = {
    "-s": lambda rule, value, protocol: rule.addresses(value, "src"),
    "-d": lambda rule, value, protocol: rule.addresses(value, "dst"),
    "-i": lambda rule, value, protocol: _interface(value, "iif"),
    "-o": lambda rule, value, protocol: _interface(value, "oif"),
    "-p": lambda rule, value, protocol: ALWAYS if protocol_name(value) == "all" else Property("proto", frozenset([protocol_name(value)])),
    "-f": lambda rule, value, protocol: NEVER,
}
_Module = t.Callable[[_IptablesRule, list[str], str], t.Optional[Condition]]
_MODULE_OPTIONS: dict[tuple[str, str], _Module] = {
    ("conntrack", "--ctstate"): lambda rule, words, protocol: _ct_state(words[0]),
    ("state", "--state"): lambda rule, words, protocol: _ct_state(words[0]),
    ("conntrack", "--ctstatus"): lambda rule, words, protocol: _ct_state(words[0], "ctstatus"),
    ("conntrack", "--ctproto"): lambda rule, words, protocol: Property("ctproto", frozenset([protocol_name(words[0])])),
    ("conntrack", "--ctdir"): lambda rule, words, protocol: Property("ctdir", _names(words[0])),
    ("conntrack", "--ctorigdst"): lambda rule, words, protocol: rule.addresses(words[0], "ctorigdst"),
    ("conntrack", "--ctorigsrc"): lambda rule, words, protocol: rule.addresses(words[0], "ctorigsrc"),
    ("conntrack", "--ctorigdstport"): lambda rule, words, protocol: rule.ports(words[0], "ctorigdport", protocol),
    ("conntrack", "--ctorigsrcport"): lambda rule, words, protocol: rule.ports(words[0], "ctorigsport", protocol),
    ("addrtype", "--dst-type"): lambda rule, words, protocol: Property("dsttype", _names(words[0])),
    ("addrtype", "--src-type"): lambda rule, words, protocol: Property("srctype", _names(words[0])),
    ("addrtype", "--limit-iface-in"): lambda rule, words, protocol: None,
    ("mark", "--mark"): lambda rule, words, protocol: rule.masked(words[0], "mark"),
    ("connmark", "--mark"): lambda rule, words, protocol: UNSURE,
    ("iprange", "--src-range"): lambda rule, words, protocol: Property("src", Ranges.network(words[0]), rule.version),
    ("iprange", "--dst-range"): lambda rule, words, protocol: Property("dst", Ranges.network(words[0]), rule.version),
    ("set", "--match-set"): lambda rule, words, protocol: rule.address_set(words),
    ("rpfilter", "--loose"): lambda rule, words, protocol: None,
    ("rpfilter", "--validmark"): lambda rule, words, protocol: None,
    ("rpfilter", "--accept-local"): lambda rule, words, protocol: None,
    # The senders of the walk come from where the answers go to.
    ("rpfilter", "--invert"): lambda rule, words, protocol: NEVER,
    ("pkttype", "--pkt-type"): lambda rule, words, protocol: Constant(words[0] in ("unicast", "host")),
    ("policy", "--dir"): lambda rule, words, protocol: None,
    ("policy", "--pol"): lambda rule, words, protocol: Constant(words[0] == "none"),
}
for _name in ("tcp", "udp", "sctp", "dccp", "udplite", "multiport"):
    for _option, _field in (("--dport", "dport"), ("--dports", "dport"), ("--sport", "sport"), ("--sports", "sport")):
        _MODULE_OPTIONS[(_name, _option)] = lambda rule, words, protocol, field=_field: rule.ports(words[0], field, protocol)  # type: ignore[misc]
_MODULE_OPTIONS[("multiport", "--ports")] = lambda rule, words, protocol: AnyOf(
    (rule.ports(words[0], "sport", protocol), rule.ports(words[0], "dport", protocol))
)
_MODULE_OPTIONS[("tcp", "--tcp-flags")] = lambda rule, words, protocol: _tcp_flags(words[0], words[1])
_MODULE_OPTIONS[("tcp", "--syn")] = lambda rule, words, protocol: _tcp_flags("FIN,SYN,RST,ACK", "SYN")


def _ct_state(text: str, field: str = "ctstate") -> Condition:
    return Property(field, _names(text))


# -- ipset -------------------------------------------------------------------------------------------------------------


def parse_ipset_save(text: str) -> dict[str, Ranges]:
    """Return the address sets that ``ipset save`` printed; sets of anything else, or with exceptions, are left out."""
    found: dict[str, list[tuple[int, int]]] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 3 and words[0] == "create":
            if words[2] in ("hash:ip", "hash:net", "bitmap:ip"):
                found[words[1]] = []
        elif len(words) >= 3 and words[0] == "add" and words[1] in found:
            if "nomatch" in words:
                del found[words[1]]
                continue
            try:
                found[words[1]].extend(Ranges.network(words[2]).pairs)
            except ValueError:
                del found[words[1]]
    return {name: Ranges(pairs) for name, pairs in found.items()}
