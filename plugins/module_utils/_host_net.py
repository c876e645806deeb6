# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the host's kernel filters and routes by, read as it is now: rules of all back ends, addresses, routes, switches.

Commands are run only where they can have something to say: most hosts have no legacy tables and no tables of nft alone, and then
neither of those tools is started.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import os
import re
import shutil
import socket
import struct
import typing as t

from ._address_ranges import Ranges
from ._envelope import CheckError
from ._nft_ruleset import parse_nft_json
from ._packet_filter import Ruleset, parse_ipset_save, parse_iptables_save
from ._packet_walk import HostNet, Interface, Route
from ._process import Completed, run_command

_COMMAND_SECONDS = 10.0
_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")
_BRIDGE = re.compile(r"^(?:br-[0-9a-f]{12}|docker0|docker_gwbridge|podman\d*|cni-podman\d+|veth.*)$")
_NO_RIGHTS = "Run as root (become: true): only root sees the firewall's rules."
_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_HARMLESS = frozenset({"arp", "bridge"})

Run = t.Callable[..., Completed]


@dataclasses.dataclass
class Sight:
    """What could be read. *errors* say what could not; where one of them is about the rules, *complete* is false."""

    ruleset: Ruleset = dataclasses.field(default_factory=Ruleset)
    host: HostNet = dataclasses.field(default_factory=HostNet)
    errors: list[CheckError] = dataclasses.field(default_factory=list)
    backends: list[str] = dataclasses.field(default_factory=list)
    complete: bool = True
    bridges: frozenset[str] = frozenset()
    enslaved: frozenset[str] = frozenset()

    def failed(self, error: CheckError) -> None:
        """Note that rules are there which could not be read."""
        self.errors.append(error)
        self.complete = False


def find_command(name: str) -> str:
    """Return the path of a command that is below /usr/sbin on most systems, and not on cron's path; empty where it is not there."""
    return shutil.which(name, path=os.pathsep.join(_PATH)) or ""


def look(run: Run = run_command) -> Sight:
    """Return everything that decides about a packet."""
    sight = Sight()
    _read_rules(sight, run)
    try:
        sight.host, sight.enslaved = read_host(run)
    except CheckError as error:
        sight.failed(error)
    return sight


# -- rules -------------------------------------------------------------------------------------------------------------


def _read_rules(sight: Sight, run: Run) -> None:
    covered: set[tuple[str, str]] = set()
    texts: list[tuple[str, str, int]] = []
    for version, prefix in ((4, "iptables"), (6, "ip6tables")):
        for command, backend in _save_commands(sight, prefix, version):
            text = _answer(sight, run, [find_command(command)])
            if text is None:
                return
            name = backend or ("iptables-nft" if "(nf_tables)" in text else "iptables-legacy" if "*" in text else "")
            if not name or "*" not in text and "incompatible" not in text:
                continue
            texts.append((text, f"{command}", version))
            if name not in sight.backends:
                sight.backends.append(name)
            if name == "iptables-nft":
                family = "ip" if version == 4 else "ip6"
                covered.update((family, table) for table in re.findall(r"^\*(\S+)", text, re.MULTILINE))
    sets: dict[str, Ranges] = {}
    if any("--match-set" in text for text, dummy, dummy_version in texts) and find_command("ipset"):
        sets = parse_ipset_save(_answer(sight, run, [find_command("ipset"), "save"]) or "")
    for text, source, version in texts:
        sight.ruleset.add(parse_iptables_save(text, source, version, sets))
    covered -= sight.ruleset.incompatible
    _read_nft(sight, run, covered)


def _save_commands(sight: Sight, prefix: str, version: int) -> list[tuple[str, str]]:
    """Return the commands that print rules of this version, and the back end that each shows."""
    found = []
    if find_command(f"{prefix}-nft-save"):
        found.append((f"{prefix}-nft-save", "iptables-nft"))
    elif find_command(f"{prefix}-save"):
        found.append((f"{prefix}-save", ""))
    if _legacy_tables(version):
        if find_command(f"{prefix}-legacy-save"):
            found.append((f"{prefix}-legacy-save", "iptables-legacy"))
        elif not found or found[0][1]:
            hint = "Install iptables with its legacy commands, or remove the legacy tables."
            sight.failed(CheckError(f"{prefix}-legacy-save", "there are rules of the legacy back end, and no command to read them", hint, "not-installed"))
    return found


def _legacy_tables(version: int) -> bool:
    try:
        with open(f"/proc/net/{'ip' if version == 4 else 'ip6'}_tables_names", "rb") as handle:
            return bool(handle.read(4096).strip())
    except OSError:
        return False


def _answer(sight: Sight, run: Run, argv: list[str]) -> t.Optional[str]:
    shown = " ".join([os.path.basename(argv[0]), *argv[1:]])
    try:
        completed = run(argv, _COMMAND_SECONDS, env={"LC_ALL": "C"})
    except CheckError as error:
        sight.failed(error)
        return None
    if completed.exit_code != 0:
        words = (completed.error_text.strip() or f"exit code {completed.exit_code}").splitlines()[0]
        denied = os.geteuid() != 0 or re.search(r"permission denied|not permitted|must be root", words, re.IGNORECASE)
        sight.failed(CheckError(shown, words, _NO_RIGHTS if denied else "", "permission-denied" if denied else "command-failed"))
        return None
    return completed.text


def _read_nft(sight: Sight, run: Run, covered: set[tuple[str, str]]) -> None:
    """Add the tables that iptables does not show."""
    try:
        tables = nft_tables()
    except OSError as error:
        if not sight.errors:
            sight.failed(CheckError("nf_tables", error.strerror or str(error), _NO_RIGHTS if os.geteuid() != 0 else "", "permission-denied"))
        return
    native = [table for table in tables if table not in covered and table[0] not in _HARMLESS]
    bridge = [table for table in tables if table[0] == "bridge"]
    if not native and not bridge:
        return
    command = find_command("nft")
    if not command:
        names = ", ".join(" ".join(table) for table in native or bridge)
        reason = f"there are tables that only nft can show ({names}), and nft is not installed"
        sight.failed(CheckError("nft", reason, "Install nftables.", "not-installed"))
        return
    text = _answer(sight, run, [command, "-j", "list", "ruleset"])
    words = _answer(sight, run, [command, "-a", "list", "ruleset"]) if text is not None else None
    if text is None:
        return
    try:
        found = parse_nft_json(text, words or "", covered)
    except ValueError as error:
        sight.failed(CheckError("nft -j list ruleset", f"cannot be understood: {error}", "Please report it with the output of this command.", "protocol-error"))
        return
    if found.rule_count or found.bases:
        sight.backends.append("nftables")
    sight.ruleset.add(found)


def nft_tables() -> list[tuple[str, str]]:
    """Return families and names of all tables of nf_tables, asked of the kernel itself, so that no program is needed.

    :raises OSError: the kernel does not say: no rights.
    """
    kind_of_request = 10 << 8 | 1  # the nf_tables subsystem, NFT_MSG_GETTABLE
    request = struct.pack("=IHHIIBBH", 20, kind_of_request, 0x0301, 1, 0, 0, 0, 0)
    found: list[tuple[str, str]] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as channel:
        channel.settimeout(2.0)
        channel.bind((0, 0))
        channel.send(request)
        while True:
            data = channel.recv(262144)
            offset = 0
            while offset + 16 <= len(data):
                length, kind = struct.unpack_from("=IH", data, offset)
                if kind == 3 or length < 16:
                    return found
                if kind == 2:
                    code = -struct.unpack_from("=i", data, offset + 16)[0]
                    # Without the module there are no tables.
                    if code in (0, 93, 95):
                        return found
                    raise OSError(code, os.strerror(code))
                table = _nft_table(data[offset + 16 : offset + length])
                if table is not None:
                    found.append(table)
                offset += (length + 3) & ~3


def _nft_table(body: bytes) -> t.Optional[tuple[str, str]]:
    family = _FAMILIES.get(body[0], str(body[0]))
    offset = 4
    while offset + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, offset)
        if length < 4:
            return None
        if kind & 0x3FFF == 1:
            return family, body[offset + 4 : offset + length].rstrip(b"\0").decode("utf-8", "replace")
        offset += (length + 3) & ~3
    return None


# -- addresses and routes ----------------------------------------------------------------------------------------------


def read_host(run: Run = run_command) -> tuple[HostNet, frozenset[str]]:
    """Return addresses, routes and switches of the host, and the interfaces that belong to another one.

    :raises CheckError: ``ip`` is not there, or cannot write JSON.
    """
    command = find_command("ip") or "ip"
    links = _json(run, [command, "-j", "addr", "show"])
    routes = [_json(run, [command, f"-{version}", "-j", "route", "show", "table", "all"]) for version in (4, 6)]
    forwarding = {version: _switch(path) != "0" for version, path in ((4, "ipv4/ip_forward"), (6, "ipv6/conf/all/forwarding"))}
    enslaved = frozenset(str(link["ifname"]) for link in links if link.get("master"))
    return HostNet(tuple(_interfaces(links)), (*parse_routes(routes[0], 4), *parse_routes(routes[1], 6)), forwarding), enslaved


def _json(run: Run, argv: list[str]) -> list[t.Any]:
    shown = " ".join(["ip", *argv[1:]])
    completed = run(argv, _COMMAND_SECONDS)
    try:
        parsed = json.loads(completed.text or "[]")
    except ValueError:
        parsed = None
    if completed.exit_code != 0 or not isinstance(parsed, list):
        reason = (completed.error_text.strip() or "no JSON").splitlines()[0]
        raise CheckError(shown, reason, "Install iproute2 (the ip of busybox cannot write JSON).", "command-failed")
    return parsed


def _interfaces(links: t.Sequence[t.Any]) -> t.Iterator[Interface]:
    everywhere = _switch("ipv4/conf/all/route_localnet") == "1"
    for link in links:
        name = str(link.get("ifname"))
        if "UP" not in (link.get("flags") or []):
            continue
        addresses = tuple(str(one["local"]) for one in link.get("addr_info") or [] if one.get("local"))
        yield Interface(name, addresses, everywhere or _switch(f"ipv4/conf/{name}/route_localnet") == "1")


def _switch(path: str) -> str:
    try:
        with open(f"/proc/sys/net/{path}", "rb") as handle:
            return handle.read(16).decode("ascii", "replace").strip()
    except OSError:
        return "0"


def parse_routes(entries: t.Iterable[t.Any], version: int) -> t.Iterator[Route]:
    """Return the unicast routes of ``ip -j route show table all``."""
    for entry in entries:
        if entry.get("type", "unicast") != "unicast" or entry.get("table") == "local":
            continue
        text = str(entry.get("dst"))
        try:
            network = ipaddress.ip_network({"default": "0.0.0.0/0" if version == 4 else "::/0"}.get(text, text), strict=False)
        except ValueError:
            continue
        devices = [str(entry["dev"])] if entry.get("dev") else [str(hop["dev"]) for hop in entry.get("nexthops") or [] if hop.get("dev")]
        for device in devices:
            pair = (int(network.network_address), int(network.broadcast_address))
            yield Route(Ranges([pair]), device, network.prefixlen, version, int(entry.get("metric") or 0))


def outside(sight: Sight) -> list[Interface]:
    """Return the interfaces that somebody outside can come in by."""
    return [
        interface
        for interface in sight.host.interfaces
        if interface.name != "lo" and interface.name not in sight.bridges and interface.name not in sight.enslaved and not _is_engines(interface)
    ]


def _is_engines(interface: Interface) -> bool:
    """Whether it looks like a bridge of an engine whose networks are not known. An uplink may be a veth pair: it has an address."""
    if interface.name.startswith("veth"):
        return not [address for address in interface.addresses if not address.startswith("fe80:")]
    return bool(_BRIDGE.match(interface.name))
