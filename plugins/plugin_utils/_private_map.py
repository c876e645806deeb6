# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What stands in a support bundle in place of secrets, addresses and names, and the map that leads back from there.

A secret becomes a token that only its value decides, so that the same one is the same everywhere; nothing leads back.
Addresses and names get others of the same kind. The map, with the key of the tokens, stays with the operator.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import pathlib
import secrets
import typing as t

from ..module_utils._files import write_whole

SCHEMA = 1

# Of public name servers everybody knows what they are; the metadata service has the same address in every cloud.
_WELL_KNOWN = frozenset(("8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "169.254.169.254"))
_PRIVATE = tuple(ipaddress.ip_network(network) for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"))
_PRIVATE_NETWORKS = 64 * 256


class MapError(Exception):
    """The map cannot be read; it says why."""


class PrivateMap:
    """Tokens and pseudonyms of one run, or of several that were given the same map."""

    def __init__(self, salt: t.Optional[bytes] = None, names: t.Optional[t.Mapping[str, t.Mapping[str, str]]] = None) -> None:
        self._salt = salt or secrets.token_bytes(32)
        self._names: dict[str, dict[str, str]] = {kind: dict((names or {}).get(kind) or {}) for kind in ("address", "network", "mac", "host", "domain", "user")}
        self._tokens: dict[str, str] = {}
        self._kept: dict[str, str] = {}
        self._last: dict[str, int] = {}
        for real in self._names["address"]:
            network = self._network_of(ipaddress.ip_address(real))
            self._last[network] = self._last.get(network, 0) + 1

    @classmethod
    def load(cls, path: pathlib.Path) -> PrivateMap:
        """Return the map at *path*.

        :raises MapError: it is none.
        """
        try:
            content = json.loads(path.read_bytes())
            return cls(bytes.fromhex(content["salt"]), content["names"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise MapError(f"{path}: this is no map of a support bundle ({type(error).__name__}: {error})") from error

    def save(self, path: pathlib.Path, bundle: str) -> None:
        """Write the map of *bundle* to *path*, for its owner alone."""
        content = {
            "schema": SCHEMA,
            "note": "PRIVATE: this says who is who in the bundle. Do not send it along.",
            "bundle": bundle,
            "salt": self._salt.hex(),
            "names": self._names,
        }
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")

    def token(self, value: str, kind: str = "secret") -> str:
        """Return what stands for a secret (or another *kind* of value)."""
        digest = self._tokens.get(value)
        if digest is None:
            digest = hmac.new(self._salt, value.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:8]
            self._tokens[value] = digest
        return f"[{kind}:{digest}]"

    def address(self, text: str) -> str:
        """Return the pseudonym of an IPv4 or IPv6 address; what is special everywhere stays. Neighbours stay neighbours."""
        known = self._names["address"].get(text) or self._kept.get(text)
        if known is None:
            known = self._kept[text] = self._pseudonym_of(text, ipaddress.ip_address(text))
        return known

    def _pseudonym_of(self, text: str, address: t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]) -> str:
        if str(address) in _WELL_KNOWN or address.is_loopback or address.is_unspecified or address.is_multicast:
            return text
        if isinstance(address, ipaddress.IPv6Address):
            if address.ipv4_mapped is not None:
                return f"::ffff:{self.address(str(address.ipv4_mapped))}"
        elif int(address) >> 24 in (0, 255):
            return text
        pseudonym = self._new_address(address)
        self._names["address"][text] = pseudonym
        return pseudonym

    def _new_address(self, address: t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]) -> str:
        network = self._network_of(address)
        prefix = self._names["network"].get(network)
        if prefix is None:
            prefix = self._names["network"][network] = self._new_network(network)
        last = int(address) & 255
        if address.version == 4 and last in (0, 1, 255):
            return f"{prefix}.{last}"
        number = self._last[network] = self._last.get(network, 0) + 1
        return f"{prefix}.{1 + number}" if address.version == 4 else f"{prefix}::{number:x}"

    @staticmethod
    def _network_of(address: t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]) -> str:
        if isinstance(address, ipaddress.IPv6Address):
            return f"v6 {int(address) >> 64:016x}"
        where = "private" if any(address in network for network in _PRIVATE) else "public"
        return f"{where} {str(address).rpartition('.')[0]}"

    def _new_network(self, network: str) -> str:
        kind = network.partition(" ")[0]
        number = sum(1 for other in self._names["network"] if other.startswith(kind))
        if kind == "v6":
            return f"fd53:4f53:{number >> 16:x}:{number & 0xFFFF:x}"
        if kind == "private" and number < _PRIVATE_NETWORKS:
            return f"100.{64 + (number >> 8)}.{number & 255}"
        number += (1 << 19) * (kind == "private")
        return f"{240 + (number >> 16)}.{(number >> 8) & 255}.{number & 255}"

    def mac(self, text: str) -> str:
        """Return the pseudonym of a hardware address."""
        if not text.strip("0:-") or not text.lower().strip("f:-"):
            return text
        number = len(self._names["mac"]) + 1
        return self._names["mac"].setdefault(text.lower(), f"53:4f:53:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}")

    def host(self, name: str) -> str:
        """Return the pseudonym of a host; with its domain, if it has one."""
        short, dummy, domain = name.lower().partition(".")
        pseudonym = self._names["host"].setdefault(short, f"host{len(self._names['host']) + 1}")
        return f"{pseudonym}.{self.domain(domain)}" if domain else pseudonym

    def domain(self, name: str) -> str:
        """Return the pseudonym of a domain."""
        return self._names["domain"].setdefault(name.lower(), f"domain{len(self._names['domain']) + 1}.example")

    def user(self, name: str) -> str:
        """Return the pseudonym of a user."""
        return self._names["user"].setdefault(name.lower(), f"user{len(self._names['user']) + 1}")

    def email(self, address: str) -> str:
        """Return the pseudonym of an e-mail address."""
        local, dummy, domain = address.rpartition("@")
        return f"{self.user(local)}@{self.domain(domain)}"
