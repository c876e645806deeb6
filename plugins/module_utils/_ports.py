# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Published ports against what listens: on the host, inside the container, and who holds a port that another wants."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import re
import socket
import sys
import time
import typing as t

from ._envelope import CheckError, envelope, metric, utc_now, worst
from ._host_resources import container_of_cgroup, own_container_ids

if t.TYPE_CHECKING:
    from ._discovery import ContainerRef, Stack
    from ._engine import Engine

_PROTOCOLS = ("tcp", "tcp6", "udp", "udp6")
_TCP_LISTEN, _UDP_UNCONNECTED = "0A", "07"
_TABLE_LIMIT = 32 * 1024 * 1024
_LISTENER_LIMIT = 1000
_SCAN_SECONDS = 5.0
# A process that has just been started and does not listen yet is no misconfiguration.
_TIME_TO_LISTEN_SECONDS = 30.0
# Programs that hold a container's port for the engine.
PORT_PROXIES = frozenset({"docker-proxy", "rootlessport", "rootlesskit", "conmon", "slirp4netns", "pasta", "pasta.avx2"})
_PORT_TAKEN = re.compile(r"port is already allocated|address already in use|ports are not available", re.IGNORECASE)
_TAKEN_PORT = re.compile(
    r"(?:Bind for|listen (?P<listen>tcp|udp)[46]?|bind(?:ing)? host port(?: for)?|exposing port (?P<exposing>tcp|udp))"
    r" \[?[0-9a-f.:*]*?\]?:(?P<port>[0-9]{1,5})\b(?:(?!/tcp|/udp).)*(?P<behind>/tcp|/udp)?",
    re.IGNORECASE | re.DOTALL,
)


@dataclasses.dataclass(frozen=True)
class Socket:
    """A socket that listens: *protocol* is ``tcp``, ``tcp6``, ``udp`` or ``udp6``."""

    protocol: str
    address: str
    port: int
    inode: int = 0

    @property
    def transport(self) -> str:
        """``tcp`` or ``udp``."""
        return self.protocol[:3]

    @property
    def loopback(self) -> bool:
        """Whether only its own namespace can reach it."""
        address = ipaddress.ip_address(self.address)
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address).is_loopback


def parse_sockets(text: str, protocol: str) -> list[Socket]:
    """Return the sockets that listen in a table as of /proc/net/tcp; bad lines are skipped."""
    wanted = _TCP_LISTEN if protocol.startswith("tcp") else _UDP_UNCONNECTED
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 10 or fields[3] != wanted:
            continue
        host, dummy, port = fields[1].partition(":")
        try:
            found.append(Socket(protocol, _address(host), int(port, 16), int(fields[9])))
        except ValueError:
            continue
    return found


def _address(digits: str) -> str:
    """Return the address that the kernel prints as 32-bit words in its own byte order."""
    raw = bytes.fromhex(digits)
    if len(raw) not in (4, 16):
        raise ValueError("no address")
    if sys.byteorder == "little":
        raw = b"".join(raw[index : index + 4][::-1] for index in range(0, len(raw), 4))
    return str(ipaddress.ip_address(raw))


def sockets_of(process: t.Union[int, str]) -> t.Optional[list[Socket]]:
    """Return what listens in the network namespace of *process* (a pid or ``self``); ``None`` where it may not be read."""
    found: list[Socket] = []
    readable = False
    for protocol in _PROTOCOLS:
        try:
            with open(f"/proc/{process}/net/{protocol}", "rb") as handle:
                found.extend(parse_sockets(handle.read(_TABLE_LIMIT).decode("ascii", "replace"), protocol))
            readable = True
        except OSError:
            # Without IPv6 the kernel has no tables for it.
            continue
    return found if readable else None


def owners_of(inodes: t.AbstractSet[int], deadline_seconds: float = _SCAN_SECONDS) -> dict[int, int]:
    """Return the process that holds each of *inodes*, as far as we may see; of several the oldest."""
    deadline = time.monotonic() + deadline_seconds
    wanted = {f"socket:[{inode}]": inode for inode in inodes if inode}
    found: dict[int, int] = {}
    for pid in sorted(int(entry) for entry in os.listdir("/proc") if entry.isdecimal()):
        if not wanted or time.monotonic() > deadline:
            break
        try:
            names = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for name in names:
            try:
                inode = wanted.pop(os.readlink(f"/proc/{pid}/fd/{name}"), None)
            except OSError:
                continue
            if inode is not None:
                found[inode] = pid
    return found


def _process_name(pid: t.Optional[int]) -> t.Optional[str]:
    try:
        with open(f"/proc/{pid}/comm", "rb") as handle:
            return handle.read(64).decode("utf-8", "replace").strip()
    except OSError:
        return None


# -- who is there ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Claim:
    """A host port that a container publishes, or wants to."""

    host_ip: str
    host_port: int
    transport: str
    container: str
    label: str
    running: bool


def port_claims(stacks: t.Iterable[Stack], engine: t.Optional[Engine]) -> list[Claim]:
    """Return what the containers of *stacks* claim, and what other running containers of the engine hold."""
    claims: list[Claim] = []
    known: set[str] = set()
    for stack in stacks:
        for container in stack.siblings:
            known.add(container.id)
            for port in container.published_ports:
                if port["host_port"]:
                    label = f"{container.project}/{container.service}"
                    alive = container.state in ("running", "paused")
                    claims.append(Claim(str(port["host_ip"]), int(port["host_port"]), str(port["protocol"]), container.name, label, alive))
    if engine is not None:
        try:
            listed = engine.containers()
        except CheckError:
            listed = []
        for entry in listed:
            if entry.get("Id") in known or entry.get("State") not in ("running", "paused"):
                continue
            name = str((entry.get("Names") or [entry.get("Id") or ""])[0]).lstrip("/")
            for port in entry.get("Ports") or []:
                if port.get("PublicPort"):
                    claims.append(Claim(str(port.get("IP") or "0.0.0.0"), int(port["PublicPort"]), str(port.get("Type") or "tcp"), name, name, True))  # noqa: S104
    return claims


def _wildcard(address: str) -> bool:
    return address in ("", "0.0.0.0", "::")  # noqa: S104


def overlap(one: str, other: str) -> bool:
    """Whether two addresses cannot both be bound on the same port."""
    return one == other or _wildcard(one) or _wildcard(other)


def listener_rows(sockets: t.Sequence[Socket], claims: t.Sequence[Claim], names: t.Mapping[str, str]) -> list[dict[str, t.Any]]:
    """Return one row for each listening socket of the host; *names* maps container ids to names."""
    owners = owners_of({one.inode for one in sockets})
    own = own_container_ids()
    rows = []
    for one in sorted(sockets, key=lambda one: (one.port, one.protocol, one.address))[:_LISTENER_LIMIT]:
        pid = owners.get(one.inode)
        process = _process_name(pid)
        container = None
        if process is None or process in PORT_PROXIES:
            container = next((claim.container for claim in claims if claim.running and _holds(claim, one)), None)
        elif pid is not None:
            container = _container_name(pid, names, own)
        rows.append({"protocol": one.protocol, "address": one.address, "port": one.port, "pid": pid, "process": process, "container": container})
    return rows


def _holds(claim: Claim, one: Socket) -> bool:
    return claim.host_port == one.port and claim.transport == one.transport and overlap(claim.host_ip, one.address)


def _container_name(pid: int, names: t.Mapping[str, str], own: t.Container[str]) -> t.Optional[str]:
    try:
        with open(f"/proc/{pid}/cgroup", "rb") as handle:
            identifier = container_of_cgroup(handle.read(65536).decode("utf-8", "replace"), names, own)
    except OSError:
        return None
    return names.get(identifier, identifier[:12]) if identifier else None


# -- published ports ---------------------------------------------------------------------------------------------------


def _accepts(address: str, port: int) -> t.Optional[bool]:
    """Whether this host accepts a connection to its own port, for engines that forward without a proxy process."""
    target = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104
    try:
        with socket.create_connection((target, port), 0.5):
            return True
    except ConnectionRefusedError:
        return False
    except OSError:
        return None


def _just_started(container: ContainerRef) -> bool:
    """Whether the container may still be on its way to listen: so young, or its health check still in its start period."""
    age = (utc_now() - container.started_at).total_seconds() if container.started_at else 0.0
    starting = ((container.inspect.get("State") or {}).get("Health") or {}).get("Status") == "starting"
    return age < _TIME_TO_LISTEN_SECONDS or starting


def _published_rows(container: ContainerRef, host: t.Optional[t.Sequence[Socket]]) -> list[dict[str, t.Any]]:
    ports = [port for port in container.published_ports if port["host_port"]]
    inside = sockets_of(container.pid) if ports and host is not None and container.running and container.pid else None
    rows = []
    for port in ports:
        transport, number = str(port["protocol"]), int(port["container_port"])
        there = None if inside is None else [one for one in inside if one.transport == transport and one.port == number]
        rows.append({
            "project": container.project,
            "service": container.service,
            "container": container.name,
            "container_port": number,
            "protocol": transport,
            "host_ip": str(port["host_ip"]),
            "host_port": int(port["host_port"]),
            "listening_on_host": _listening_on_host(port, host) if container.running else None,
            "listening_in_container": True if there else None if there is None or _just_started(container) else False,
            "bound_to_loopback_inside": None if not there else all(one.loopback for one in there),
            "world_reachable_bind": _wildcard(str(port["host_ip"])),
        })  # fmt: skip
    return rows


def _listening_on_host(port: t.Mapping[str, t.Any], host: t.Optional[t.Sequence[Socket]]) -> t.Optional[bool]:
    if host is None:
        return None
    claim = Claim(str(port["host_ip"]), int(port["host_port"]), str(port["protocol"]), "", "", True)
    if any(_holds(claim, one) for one in host):
        return True
    return _accepts(claim.host_ip, claim.host_port) if claim.transport == "tcp" else None


# -- conflicts ---------------------------------------------------------------------------------------------------------


def taken_port(error: str) -> t.Optional[tuple[int, str]]:
    """Return port and transport that the engine's *error* says are taken; ``(0, "tcp")`` where it does not say which.

    ``None`` for every other error.
    """
    if not _PORT_TAKEN.search(error):
        return None
    found = _TAKEN_PORT.search(error)
    if not found or not 0 < int(found.group("port")) < 65536:
        return 0, "tcp"
    transport = found.group("listen") or found.group("exposing") or (found.group("behind") or "/tcp").lstrip("/")
    return int(found.group("port")), transport.lower()


def _wanted(container: ContainerRef) -> list[tuple[str, int, str]]:
    """Return host address, port and transport that *container* wants and may not have got."""
    if container.oneoff or container.state in ("running", "paused", "removing"):
        return []
    ports = [(str(port["host_ip"]), int(port["host_port"]), str(port["protocol"])) for port in container.published_ports if port["host_port"]]
    taken = taken_port(str((container.inspect.get("State") or {}).get("Error") or ""))
    if taken is not None and taken[0]:
        return [port for port in ports if port[1:] == taken] or [("0.0.0.0", *taken)]  # noqa: S104
    # One that ended by itself or was stopped is not waiting for its ports.
    return ports if taken is not None or container.state == "created" else []


def _conflict_rows(stacks: t.Iterable[Stack], claims: t.Sequence[Claim], listeners: t.Sequence[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    rows: dict[tuple[int, str, str], dict[str, t.Any]] = {}
    for stack in stacks:
        for container in stack.containers:
            named = taken_port(str((container.inspect.get("State") or {}).get("Error") or ""))
            for address, port, transport in _wanted(container):
                label = f"{container.project}/{container.service}"
                held_by, pid = _holder(container, address, port, transport, claims, listeners)
                if held_by is None and (named is None or not named[0]):
                    continue
                rows[(port, transport, label)] = {
                    "host_port": port,
                    "protocol": transport,
                    "wanted_by": label,
                    "held_by": held_by or "nobody any more",
                    "held_by_pid": pid,
                }
    return [rows[key] for key in sorted(rows)]


def _holder(
    container: ContainerRef, address: str, port: int, transport: str, claims: t.Sequence[Claim], listeners: t.Sequence[t.Mapping[str, t.Any]]
) -> tuple[t.Optional[str], t.Optional[int]]:
    """Return who holds a port, as words, and the process id where it is known."""
    here = [one for one in listeners if one["port"] == port and one["protocol"][:3] == transport and overlap(address, one["address"])]
    pid = next((one["pid"] for one in here if one["pid"]), None)
    for claim in claims:
        if claim.running and (claim.host_port, claim.transport) == (port, transport) and overlap(address, claim.host_ip) and claim.container != container.name:
            return claim.label, pid
    for one in here:
        if one["container"] or one["process"]:
            return str(one["container"] or one["process"]), one["pid"]
    return ("a process that only root can name", None) if here else (None, None)


@dataclasses.dataclass(frozen=True)
class Listening:
    """What listens on this host, read once: *sockets* is ``None`` where they may not be read."""

    sockets: t.Optional[list[Socket]]
    claims: list[Claim]
    rows: list[dict[str, t.Any]]


def read_listening(stacks: t.Sequence[Stack], engine: t.Optional[Engine] = None) -> Listening:
    """Return the sockets of the host, whom they belong to, and what containers claim."""
    sockets = None if engine is not None and engine.remote else sockets_of("self")
    claims = port_claims(stacks, engine)
    names = {container.id: container.name for stack in stacks for container in stack.siblings}
    return Listening(sockets, claims, listener_rows(sockets or [], claims, names))


# -- all together ------------------------------------------------------------------------------------------------------


def collect_ports(stacks: t.Sequence[Stack], engine: t.Optional[Engine] = None, listening: t.Callable[..., Listening] = read_listening) -> dict[str, t.Any]:
    """Return the envelope ``ports``: what *stacks* publish, what listens on the host, and conflicts.

    *listening* reads what listens, or has read it already. Without root the processes of others stay unnamed. Where the engine is remote, only
    what it says itself is known.
    """
    errors: list[CheckError] = []
    remote = engine is not None and engine.remote
    seen = listening(stacks, engine)
    sockets, claims, listeners = seen.sockets, seen.claims, seen.rows
    if remote:
        errors.append(CheckError("ports", "the engine runs on another machine, whose sockets cannot be read from here", "Run this on the engine's own host."))
    elif sockets is None:
        errors.append(CheckError("/proc/net/tcp", "cannot be read", "Check that /proc is mounted.", "unreadable"))
    elif os.geteuid() != 0:
        hint = "Run as root (become: true) to see which process holds which port."
        errors.append(CheckError("/proc/<pid>/fd", "the processes of other users cannot be named without root", hint, "permission-denied"))
    published = [row for stack in stacks for container in stack.containers if not container.oneoff for row in _published_rows(container, sockets)]
    conflicts = _conflict_rows(stacks, claims, listeners)
    unreachable = [row for row in published if row["bound_to_loopback_inside"]]
    statuses = [*("critical" for dummy in conflicts), *("warning" for dummy in unreachable), *("unknown" for dummy in errors)]
    metrics = {"published_ports": metric(len(published)), "listeners": metric(len(listeners)), "conflicts": metric(len(conflicts))}
    return envelope(
        worst(statuses), _summary(published, conflicts, unreachable), metrics, errors, published=published, listeners=listeners, conflicts=conflicts
    )


def _summary(published: t.Sequence[t.Mapping[str, t.Any]], conflicts: t.Sequence[t.Mapping[str, t.Any]], unreachable: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    if conflicts:
        first = conflicts[0]
        return f"port {first['host_port']}/{first['protocol']} wanted by {first['wanted_by']} is held by {first['held_by']}"
    if unreachable:
        first = unreachable[0]
        return f"{first['project']}/{first['service']} listens on 127.0.0.1 inside its container, so its published port {first['host_port']} reaches nothing"
    return f"{len(published)} published ports, no conflict"
