# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What somebody outside found at the ports of a host, against what the host's own rules say of them."""

from __future__ import annotations

import ipaddress
import socket
import typing as t

Facts = dict[str, t.Any]
Target = tuple[str, int]

_WILDCARDS = ("", "0.0.0.0", "::")  # noqa: S104
_REACHED = {"reachable": True, "filtered": False, "local": False, "closed": False}


def resolve(names: t.Sequence[str]) -> list[str]:
    """Return the addresses of *names* in both families, without those that only mean the host itself; a name without any adds none."""
    found: list[str] = []
    for name in names:
        try:
            answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except OSError:
            continue
        found.extend(str(answer[4][0]).partition("%")[0] for answer in answers)
    return [one for one in dict.fromkeys(found) if not ipaddress.ip_address(one).is_loopback]


def _tried_at(row: t.Mapping[str, t.Any], addresses: t.Sequence[str]) -> list[str]:
    """Return those of *addresses* at which a port of the table can be tried."""
    if row.get("protocol") != "tcp":
        return []
    mine = [one for one in addresses if f"ipv{ipaddress.ip_address(one).version}" == row.get("family")]
    bound = str(row.get("host_ip") or "")
    if bound in _WILDCARDS:
        return mine
    # What is bound to the host itself must not answer at any address; what is bound to one of them only there.
    return mine if ipaddress.ip_address(bound).is_loopback else [one for one in mine if one == bound]


def targets(firewall: t.Mapping[str, t.Any], addresses: t.Sequence[str]) -> list[Target]:
    """Return what to connect to."""
    rows = firewall.get("ports") or []
    return list(dict.fromkeys((address, int(row["host_port"])) for row in rows for address in _tried_at(row, addresses)))


def compare(firewall: Facts, addresses: t.Sequence[str], results: t.Sequence[t.Mapping[str, t.Any]], probe_from: str) -> Facts:
    """Return *firewall* with ``probe`` in each row that was tried, and a ``probe`` of the whole."""
    seen = {(str(one["address"]), int(one["port"])): str(one["result"]) for one in results}
    taken = {(str(row.get("host_ip")), row["family"], row["host_port"]) for row in firewall["ports"]}
    rows = []
    for row in firewall["ports"]:
        tried = [(address, seen[address, row["host_port"]]) for address in _tried_at(row, addresses) if (address, row["host_port"]) in seen]
        # Another one may hold the same port at that address.
        tried = [one for one in tried if not _somebody_elses(row, one[0], taken)]
        rows.append({**row, "probe": _verdict(row, tried, probe_from) if tried else None})
    wrong = sum((row["probe"] or {}).get("agrees") is False for row in rows)
    number = sum(row["probe"] is not None for row in rows)
    whole = {"from": probe_from, "addresses": list(addresses), "tried": number, "disagreements": wrong, "reason": None if number else _nothing(addresses)}
    return {**firewall, "ports": rows, "probe": whole}


def _somebody_elses(row: t.Mapping[str, t.Any], address: str, taken: t.AbstractSet[tuple[str, str, int]]) -> bool:
    if row["host_ip"] == address:
        return False
    there = {address, *(() if row["host_ip"] in _WILDCARDS else _WILDCARDS)}
    return any((bound, row["family"], row["host_port"]) in taken for bound in there)


def _nothing(addresses: t.Sequence[str]) -> str:
    if not addresses:
        return "no address of the host is known: set firewall_check_probe_addresses"
    return f"the host has no port at {', '.join(addresses)}"


def _verdict(row: t.Mapping[str, t.Any], tried: t.Sequence[tuple[str, str]], probe_from: str) -> Facts:
    # One that answers says more than others that do not.
    address, result = min(tried, key=lambda one: ("open", "refused", "silent", "unreachable").index(one[1]))
    said = _REACHED.get(str(row.get("verdict")))
    if said is None or result == "unreachable":
        agrees = None
    elif result == "refused":
        # The way may be open and nothing listen, or the firewall turns it away: both fit.
        agrees = True
    else:
        agrees = said == (result == "open")
    return {"from": probe_from, "address": address, "result": result, "agrees": agrees}
