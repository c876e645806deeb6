# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""``nft -j list ruleset`` in the model of :mod:`_packet_filter`.

iptables-nft keeps its rules in the same place, but nft's JSON has nothing but the names of their matches and targets. Such
tables come from ``iptables-save``; where that has not shown them, their rules are in the model as what nobody can tell.
"""

from __future__ import annotations

import dataclasses
import json
import re
import typing as t

from ._address_ranges import Ranges
from ._packet_filter import (
    ALWAYS,
    NEVER,
    TCP_FLAGS,
    UNSURE,
    Action,
    AllOf,
    AnyOf,
    Branches,
    Chain,
    Condition,
    Constant,
    Not,
    Property,
    Rule,
    Ruleset,
    Step,
    port_number,
    protocol_name,
)

Json = t.Any

_HANDLE = re.compile(r"^(?P<rule>.*?)\s+# handle (?P<handle>\d+)$")
_TABLE = re.compile(r"^table (?P<family>\S+) (?P<name>\S+) \{")
_FAMILIES = ("ip", "ip6", "inet", "netdev")
_SILENT = frozenset({
    "counter", "log", "mangle", "comment", "ct helper", "ct timeout", "ct expectation", "flow", "dup", "fwd", "map", "tproxy-none", "quota-set",
})  # fmt: skip


def parse_nft_json(text: str, verbatim: str = "", skip: t.Container[tuple[str, str]] = ()) -> Ruleset:
    """Return the tables of ``nft -j list ruleset`` except *skip*, which are families and names.

    *verbatim* is the output of ``nft -a list ruleset``: from there come the rules' texts.

    :raises ValueError: *text* is not what nft prints.
    """
    try:
        return _ruleset(json.loads(text)["nftables"], rule_texts(verbatim), skip)
    except (AttributeError, TypeError, LookupError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _ruleset(entries: t.Iterable[Json], texts: t.Mapping[tuple[str, str, int], str], skip: t.Container[tuple[str, str]]) -> Ruleset:
    result = Ruleset()
    chains: dict[tuple[str, str], dict[str, Chain]] = {}
    sets: dict[tuple[str, str], dict[str, Json]] = {}
    rules: list[Json] = []
    dormant: set[tuple[str, str]] = set()
    for entry in entries:
        for kind, body in entry.items():
            key = (str(body.get("family")), str(body.get("name" if kind == "table" else "table")))
            if key in skip or key[0] not in _FAMILIES:
                if kind == "chain" and key[0] == "bridge":
                    result.problems.extend(_bridge_chain(body))
                continue
            if kind == "table":
                result.tables[("nft", *key)] = 0
                # A table that is put to sleep filters nothing.
                if "dormant" in _listed(body.get("flags")):
                    dormant.add(key)
            elif kind == "chain" and key not in dormant:
                chains.setdefault(key, {})[str(body["name"])] = _chain(body, key)
            elif kind in ("set", "map"):
                sets.setdefault(key, {})[str(body["name"])] = body
            elif kind == "rule":
                rules.append((key, body))
    for key, body in rules:
        chain = chains.get(key, {}).get(str(body.get("chain")))
        if chain is not None:
            words = texts.get((*key, int(body.get("handle") or 0))) or json.dumps(body.get("expr"))
            chain.rules.append(_Reader(key, sets.get(key, {})).rule(body, words))
            result.tables[("nft", *key)] += 1
    for table in chains.values():
        for chain in table.values():
            chain.jumps = table
            if chain.hook:
                result.bases.append(chain)
    return result


def rule_texts(verbatim: str) -> dict[tuple[str, str, int], str]:
    """Return the rules of ``nft -a list ruleset`` by family, table and handle."""
    found: dict[tuple[str, str, int], str] = {}
    table = ("", "")
    for line in verbatim.splitlines():
        opened = _TABLE.match(line)
        if opened:
            table = (opened.group("family"), opened.group("name"))
            continue
        numbered = _HANDLE.match(line)
        if numbered and not numbered.group("rule").endswith("{"):
            found[(*table, int(numbered.group("handle")))] = numbered.group("rule").strip()
    return found


def _bridge_chain(body: Json) -> list[str]:
    """Return the problem with a chain that sees what leaves through a bridge, where it may drop: such chains are not walked."""
    if body.get("hook") in ("output", "postrouting") and body.get("policy") == "drop":
        return [f"nft: table bridge {body.get('table')}: chain {body.get('name')} drops by default, and bridge tables are not modelled"]
    return []


def _chain(body: Json, key: tuple[str, str]) -> Chain:
    chain = Chain("nft", key[1], str(body["name"]), family=key[0])
    if body.get("hook"):
        chain.hook, chain.kind = str(body["hook"]), str(body.get("type") or "filter")
        chain.priority, chain.policy = _number(body.get("prio"), 0), str(body.get("policy") or "accept")
        chain.devices = tuple(str(name) for name in _listed(body.get("dev")))
    return chain


def _number(value: Json, default: int) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return default


def _listed(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [] if value is None else [value]


class _Unmodelled(Exception):
    """An expression that the model does not have."""


@dataclasses.dataclass(frozen=True)
class _Test:
    """What a comparison is about: nft puts the family and the protocol that a field is of (*needs*) before the comparison that may be negated."""

    holds: Condition
    needs: tuple[Condition, ...] = ()

    def condition(self, negated: bool = False) -> Condition:
        """Return the condition of a rule, in which what the field is of holds either way."""
        holds = Not(self.holds) if negated else self.holds
        return AllOf((*self.needs, holds)) if self.needs else holds


def _statements(body: Json) -> t.Iterator[Json]:
    """Yield the statements of a rule, and those that an element of a set gets, such as a limit for each sender."""
    for statement in body.get("expr") or []:
        if isinstance(statement, dict):
            yield statement
            yield from _of_elements(statement.get("set"))


def _of_elements(value: Json) -> list[Json]:
    return [one for one in _listed(value.get("stmt")) if isinstance(one, dict)] if isinstance(value, dict) else []


class _Reader:
    """Reads the rules of one table."""

    def __init__(self, key: tuple[str, str], sets: t.Mapping[str, Json]) -> None:
        self.family = key[0]
        self.sets = sets

    def rule(self, body: Json, text: str) -> Rule:
        steps: list[Step] = []
        for statement in body.get("expr") or []:
            for kind, value in statement.items() if isinstance(statement, dict) else [(statement, None)]:
                steps.extend(self._statement(str(kind), value))
        if any(isinstance(step, Action) and step.kind in ("drop", "jump", "goto", "unsure") for step in steps) and self._has_rate(body):
            # A rate that is dropped lets the next packet through, which is the same connection tried again.
            steps.insert(0, UNSURE)
        return Rule(tuple(self._of_family(body) + steps), text)

    @staticmethod
    def _has_rate(body: Json) -> bool:
        limits = [statement["limit"] for statement in _statements(body) if "limit" in statement]
        return any(not (isinstance(limit, dict) and limit.get("inv")) for limit in limits)

    def _of_family(self, body: Json) -> list[Step]:
        """Return the family that a rejection is of. nft leaves ``meta nfproto`` out where the way to reject implies it to nft."""
        rejections = [statement["reject"] for statement in body.get("expr") or [] if isinstance(statement, dict) and "reject" in statement]
        if self.family not in ("inet", "bridge") or not rejections:
            return []
        how = (rejections[0] or {}).get("type") if isinstance(rejections[0], dict) else None
        if how in ("icmp", "icmpv6"):
            return [_version(4 if how == "icmp" else 6)]
        named = any(f'"{word}"' in json.dumps(body.get("expr")) for word in ("nfproto", "ip", "ip6"))
        return [UNSURE] if how == "tcp reset" and not named else []

    def _statement(self, kind: str, value: Json) -> list[Step]:
        if kind == "match":
            return [self._match(value)]
        if kind in ("accept", "drop", "return"):
            return [Action(kind)]
        if kind == "reject":
            return [Action("drop")]
        if kind in ("jump", "goto"):
            return [Action(kind, str(value["target"]))]
        if kind == "vmap":
            return [self._verdict_map(value)]
        if kind == "dnat":
            return [self._dnat(value or {})]
        if kind == "redirect":
            port = (value or {}).get("port") if isinstance(value, dict) else None
            try:
                return [Action("redirect", ports=self._numbers(port) if port is not None else None)]
            except _Unmodelled:
                return [Action("unsure", "redirect")]
        if kind in ("snat", "masquerade"):
            return [Action("source-nat")]
        if kind == "notrack":
            return [Action("notrack")]
        if kind == "limit":
            # A client that was not here before has used nothing of its rate.
            return [Constant(not (isinstance(value, dict) and value.get("inv")))]
        if kind == "ct count":
            return [Constant(not (isinstance(value, dict) and value.get("inv")))]
        if kind == "mangle":
            return self._mangle(value)
        if kind == "set":
            return [step for one in _of_elements(value) for name, inner in one.items() for step in self._statement(str(name), inner)]
        if kind in _SILENT or kind == "continue":
            return []
        if kind == "xt":
            return [UNSURE if (value or {}).get("type") == "match" else Action("unsure", str((value or {}).get("name")))]
        # A queue, a transparent proxy, a statement of a version to come: it may end the packet or let it pass.
        return [UNSURE] if kind in ("quota", "meter", "socket", "osf") else [Action("unsure", kind)]

    @staticmethod
    def _mangle(value: Json) -> list[Step]:
        if ((value or {}).get("key") or {}).get("meta", {}).get("key") != "mark":
            return []
        mark = value.get("value")
        return [Action("mark", value=mark)] if isinstance(mark, int) else [Action("mark", mask=0)]

    def _dnat(self, value: Json) -> Action:
        try:
            addresses = self._addresses(value["addr"])[1] if "addr" in value else None
            ports = self._numbers(value["port"]) if "port" in value else None
        except _Unmodelled:
            return Action("unsure", "dnat")
        return Action("dnat", addresses=addresses, ports=ports)

    # -- conditions -----------------------------------------------------------------------------------------------

    def _match(self, value: Json) -> Condition:
        try:
            condition = self._compare(value["left"], value["right"], str(value.get("op") or "=="))
        except (_Unmodelled, KeyError, ValueError, TypeError):
            return UNSURE
        return condition

    def _compare(self, left: Json, right: Json, operator: str) -> Condition:
        if operator in ("<", ">", "<=", ">="):
            low = {">": right + 1, ">=": right}.get(operator, 0)
            high = {"<": right - 1, "<=": right}.get(operator, 0xFFFFFFFF)
            return self._field(left, {"range": [low, high]}).condition()
        return self._field(left, right, exactly=operator != "in").condition(negated=operator == "!=")

    def _elements(self, right: Json) -> list[Json]:
        """Return the single values of a right side: of a set, a named set, a list, or itself."""
        if isinstance(right, str) and right.startswith("@"):
            named = self.sets.get(right[1:])
            if named is None:
                raise _Unmodelled
            return [_bare(element) for element in named.get("elem") or []]
        if isinstance(right, dict) and "set" in right:
            return [_bare(element) for element in _listed(right["set"])]
        if isinstance(right, list):
            return [_bare(element) for element in right]
        return [right]

    def _field(self, left: Json, right: Json, exactly: bool = True) -> _Test:
        """Return the test of a field; one of flags is of them all, or *exactly* of those that are named."""
        if "concat" in left:
            return self._concat(left["concat"], right)
        if "&" in left:
            return self._masked(left["&"], right)
        kind, body = next(iter(left.items()))
        if kind == "payload":
            return self._payload(body, right, exactly)
        if kind == "meta":
            return _Test(self._meta(str(body["key"]), right))
        if kind == "ct":
            return self._ct(body, right)
        if kind == "fib":
            return _Test(self._fib(body, right))
        raise _Unmodelled

    def _concat(self, parts: t.Sequence[Json], right: Json) -> _Test:
        cases: list[Condition] = []
        needs: list[Condition] = []
        for element in self._elements(right):
            values = element["concat"] if isinstance(element, dict) and "concat" in element else _listed(element)
            if len(values) != len(parts):
                raise _Unmodelled
            tests = [self._field(part, value) for part, value in zip(parts, values)]
            cases.append(AllOf(tuple(test.holds for test in tests)))
            # Each element needs the same, which is that of the fields.
            needs.extend(need for test in tests for need in test.needs if need not in needs)
        return _Test(AnyOf(tuple(cases)), tuple(needs))

    def _masked(self, operands: t.Sequence[Json], right: Json) -> _Test:
        inner, mask = operands[0], operands[1]
        if inner.get("meta", {}).get("key") == "mark" and isinstance(mask, int) and isinstance(right, int):
            return _Test(Property("mark", Ranges([(right, right)]), mask=mask))
        payload = inner.get("payload", {})
        if payload.get("protocol") == "tcp" and payload.get("field") == "flags":
            value = _flags(right)
            return _Test(Property("tcpflags", Ranges([(value, value)]), mask=_flags(mask)), (_is("proto", "tcp"),))
        raise _Unmodelled

    def _payload(self, body: Json, right: Json, exactly: bool) -> _Test:
        protocol, field = str(body.get("protocol") or ""), str(body.get("field") or "")
        if protocol in ("ip", "ip6") and field in ("saddr", "daddr"):
            return self._address_test("src" if field == "saddr" else "dst", right, 4 if protocol == "ip" else 6)
        if (protocol, field) in (("ip", "protocol"), ("ip6", "nexthdr")):
            return _Test(self._protocols("proto", right), (_version(4 if protocol == "ip" else 6),))
        if protocol in ("ip", "ip6"):
            return _Test(UNSURE, (_version(4 if protocol == "ip" else 6),))
        if field in ("sport", "dport") and protocol in ("tcp", "udp", "th", "sctp", "dccp", "udplite"):
            ports = Property(field, self._numbers(right))
            return _Test(ports, () if protocol == "th" else (_is("proto", protocol),))
        if protocol == "tcp" and field == "flags":
            return _Test(self._tcp_flags(right, exactly), (_is("proto", "tcp"),))
        if protocol in ("tcp", "udp", "icmp", "icmpv6", "sctp", "dccp", "igmp", "esp", "ah", "comp", "gre"):
            return _Test(UNSURE, (_is("proto", protocol),))
        if protocol == "arp":
            return _Test(UNSURE, (NEVER,))
        raise _Unmodelled

    def _tcp_flags(self, right: Json, exactly: bool) -> Condition:
        if not exactly:
            return Not(Property("tcpflags", Ranges([(0, 0)]), mask=_flags(right)))
        values = [_flags(one) for one in _listed(right["set"])] if isinstance(right, dict) and "set" in right else [_flags(right)]
        return Property("tcpflags", Ranges([(value, value) for value in values]), mask=0xFF)

    def _meta(self, key: str, right: Json) -> Condition:
        if key in ("iifname", "iif", "oifname", "oif"):
            return Property(key[:3], frozenset(str(one) for one in self._elements(right)))
        if key == "l4proto":
            return self._protocols("proto", right)
        if key in ("nfproto", "protocol"):
            names = {str(one) for one in self._elements(right)}
            versions = [version for version, words in ((4, {"ipv4", "ip", "2", "8"}), (6, {"ipv6", "ip6", "10"})) if names & words]
            return AnyOf(tuple(_version(version) for version in versions))
        if key == "mark":
            return Property("mark", self._numbers(right))
        if key == "pkttype":
            return Constant(bool({"host", "unicast"} & {str(one) for one in self._elements(right)}))
        raise _Unmodelled

    def _ct(self, body: Json, right: Json) -> _Test:
        key, original = str(body["key"]), body.get("dir") == "original"
        if key in ("state", "status"):
            return _Test(Property(f"ct{key}", frozenset(str(one).lower() for one in self._elements(right))))
        if key == "direction":
            return _Test(Property("ctdir", frozenset(str(one) for one in self._elements(right))))
        if key in ("protocol", "l4proto"):
            return _Test(self._protocols("ctproto", right))
        family, dummy, field = key.rpartition(" ")
        family = family or str(body.get("family") or "")
        if original and field in ("saddr", "daddr"):
            name = "ctorigsrc" if field == "saddr" else "ctorigdst"
            return self._address_test(name, right, {"ip": 4, "ip6": 6}.get(family or self.family, 0))
        if original and key in ("proto-src", "proto-dst"):
            return _Test(Property("ctorigsport" if key == "proto-src" else "ctorigdport", self._numbers(right)))
        raise _Unmodelled

    def _fib(self, body: Json, right: Json) -> Condition:
        flags = set(_listed(body.get("flags")))
        if body.get("result") == "type" and ("daddr" in flags or "saddr" in flags):
            return Property("dsttype" if "daddr" in flags else "srctype", frozenset(str(one).lower() for one in self._elements(right)))
        if body.get("result") in ("oif", "oifname") and flags >= {"saddr", "iif"} and isinstance(right, (bool, int)):
            # The senders of the walk come from where the answers go to.
            return Constant(bool(right))
        raise _Unmodelled

    def _protocols(self, field: str, right: Json) -> Condition:
        return Property(field, frozenset(protocol_name(str(one)) for one in self._elements(right)))

    def _address_test(self, field: str, right: Json, version: int) -> _Test:
        found, ranges = self._addresses(right)
        if version == 0:
            version = found
        return _Test(Property(field, ranges, version), (_version(version),))

    def _addresses(self, right: Json) -> tuple[int, Ranges]:
        pairs: list[tuple[int, int]] = []
        version = 0
        for one in self._elements(right):
            if isinstance(one, dict) and "prefix" in one:
                text = f"{one['prefix']['addr']}/{one['prefix']['len']}"
            elif isinstance(one, dict) and "range" in one:
                text = "-".join(str(end) for end in one["range"])
            elif isinstance(one, str) and not one.startswith("@"):
                text = one
            else:
                raise _Unmodelled
            version = 6 if ":" in text else 4
            try:
                pairs.extend(Ranges.network(text).pairs)
            except ValueError:
                raise _Unmodelled from None
        return version, Ranges(pairs)

    def _numbers(self, right: Json) -> Ranges:
        pairs: list[tuple[int, int]] = []
        for one in self._elements(right):
            ends = one["range"] if isinstance(one, dict) and "range" in one else [one, one]
            if isinstance(one, dict) and "range" not in one:
                raise _Unmodelled
            try:
                low, high = (end if isinstance(end, int) else port_number(str(end)) for end in ends)
            except ValueError:
                raise _Unmodelled from None
            pairs.append((low, high))
        return Ranges(pairs)

    def _verdict_map(self, value: Json) -> Step:
        try:
            data = value["data"]
            if isinstance(data, str) and data.startswith("@"):
                pairs = (self.sets.get(data[1:]) or {}).get("elem") or []
            else:
                pairs = data["set"]
            cases = []
            for key, verdict in pairs:
                condition = ALWAYS if key == "*" else self._field(value["key"], _concat_list(_bare(key))).condition()
                action = self._statement(*next(iter(verdict.items())))
                if len(action) != 1 or not isinstance(action[0], Action):
                    action = [Action("continue")] if not action else [Action("unsure", "vmap")]
                cases.append((condition, t.cast(Action, action[0])))
            return Branches(tuple(cases))
        except (_Unmodelled, KeyError, ValueError, TypeError, StopIteration):
            return Action("unsure", "vmap")


def _concat_list(value: Json) -> Json:
    """Return a key as the right side of a comparison: a key of several parts is one element of a set."""
    return {"set": [value]} if isinstance(value, dict) and "concat" in value else value


def _bare(element: Json) -> Json:
    """Return the value of a set's element without its timeout, counter and comment."""
    return element["elem"]["val"] if isinstance(element, dict) and "elem" in element and isinstance(element["elem"], dict) else element


def _flags(value: Json) -> int:
    if isinstance(value, int):
        return value
    if isinstance(value, dict) and "|" in value:
        return _flags(value["|"])
    if isinstance(value, list):
        total = 0
        for one in value:
            total |= _flags(one)
        return total
    if isinstance(value, str) and value.upper() in TCP_FLAGS:
        return TCP_FLAGS[value.upper()]
    raise _Unmodelled


def _is(field: str, name: str) -> Condition:
    return Property(field, frozenset([name]))


def _version(version: int) -> Condition:
    return Property("version", frozenset([str(version)]))
