# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Sets of whole numbers as sorted ranges: addresses as integers, ports, marks."""

from __future__ import annotations

import bisect
import ipaddress
import typing as t

Pair = tuple[int, int]
Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

#: The number of bits of an address, by version.
BITS = {4: 32, 6: 128}


def _touched(pairs: tuple[Pair, ...], low: int, high: int) -> tuple[int, int]:
    """Return from where to where *pairs* have numbers between *low* and *high*."""
    start = bisect.bisect_left(pairs, (low,))
    if start and pairs[start - 1][1] >= low:
        start -= 1
    return start, max(start, bisect.bisect_left(pairs, (high + 1,)))


class Ranges:
    """An immutable set of numbers."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: t.Iterable[Pair] = ()) -> None:
        merged: list[Pair] = []
        for low, high in sorted(pairs):
            if low > high:
                continue
            if merged and low <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
            else:
                merged.append((low, high))
        self.pairs: tuple[Pair, ...] = tuple(merged)

    @classmethod
    def everything(cls, version: int) -> Ranges:
        """Return all addresses of IP *version*."""
        return cls([(0, (1 << BITS[version]) - 1)])

    @classmethod
    def network(cls, text: str) -> Ranges:
        """Return the addresses of ``10.0.0.0/8``, ``10.0.0.1`` or ``10.0.0.1-10.0.0.9``.

        :raises ValueError: it is none of them.
        """
        first, dash, last = text.partition("-")
        if dash:
            return cls([(int(ipaddress.ip_address(first.strip())), int(ipaddress.ip_address(last.strip())))])
        network = ipaddress.ip_network(text, strict=False)
        return cls([(int(network.network_address), int(network.broadcast_address))])

    def __bool__(self) -> bool:
        return bool(self.pairs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and self.pairs == other.pairs

    def __hash__(self) -> int:
        return hash(self.pairs)

    def __repr__(self) -> str:
        return f"Ranges({list(self.pairs)!r})"

    def __contains__(self, number: int) -> bool:
        return any(low <= number <= high for low, high in self.pairs)

    def __or__(self, other: Ranges) -> Ranges:
        if not other.pairs or self.pairs == other.pairs:
            return self
        return Ranges([*self.pairs, *other.pairs]) if self.pairs else other

    def __and__(self, other: Ranges) -> Ranges:
        if len(other.pairs) == 1:
            low, high = other.pairs[0]
            start, end = _touched(self.pairs, low, high)
            return self._ordered(tuple((max(low, one), min(high, two)) for one, two in self.pairs[start:end]))
        found = []
        mine, theirs = iter(self.pairs), iter(other.pairs)
        one, two = next(mine, None), next(theirs, None)
        while one is not None and two is not None:
            low, high = max(one[0], two[0]), min(one[1], two[1])
            if low <= high:
                found.append((low, high))
            if one[1] < two[1]:
                one = next(mine, None)
            else:
                two = next(theirs, None)
        return self._ordered(tuple(found))

    def __sub__(self, other: Ranges) -> Ranges:
        pairs = self.pairs
        # From the back, so that the positions of what is still to come stay as they are.
        for low, high in reversed(other.pairs):
            start, end = _touched(pairs, low, high)
            if start == end:
                continue
            before = ((pairs[start][0], low - 1),) if pairs[start][0] < low else ()
            after = ((high + 1, pairs[end - 1][1]),) if pairs[end - 1][1] > high else ()
            pairs = pairs[:start] + before + after + pairs[end:]
        return self if pairs is self.pairs else self._ordered(pairs)

    @classmethod
    def _ordered(cls, pairs: tuple[Pair, ...]) -> Ranges:
        """Return the set of *pairs* that are in order already: rulesets with thousands of addresses make thousands of these."""
        made = cls.__new__(cls)
        made.pairs = pairs
        return made

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return sum(high - low + 1 for low, high in self.pairs)

    def networks(self, version: int, limit: int = 20) -> list[str]:
        """Return them as networks of IP *version*, at most *limit*."""
        kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
        found: list[str] = []
        for low, high in self.pairs:
            for network in ipaddress.summarize_address_range(kind(low), kind(high)):
                if len(found) >= limit:
                    return found
                found.append(str(network))
        return found


#: What is not routed on the Internet, by version: where all who are let in are from here, nobody outside is.
PRIVATE: dict[int, Ranges] = {
    4: Ranges(
        pair
        for text in ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3")
        for pair in Ranges.network(text).pairs
    ),
    # Global unicast is 2000::/3; the rest is local, reserved or multicast.
    6: Ranges.everything(6) - Ranges.network("2000::/3"),
}
PUBLIC: dict[int, Ranges] = {version: Ranges.everything(version) - private for version, private in PRIVATE.items()}


def is_private(address: str) -> bool:
    """Whether *address* is one that the Internet does not route."""
    parsed = ipaddress.ip_address(address)
    return int(parsed) in PRIVATE[parsed.version]
