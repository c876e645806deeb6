# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Work inside a container's network namespace, and names as that container resolves them, with no tool in its image.

The C library's resolver reads the files of the process's own root, not those of the container, and keeps its answers to
itself. A small DNS client reads the container's files and asks the container's name servers instead.
"""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import ipaddress
import os
import random
import select
import socket
import stat
import struct
import threading
import time
import typing as t

from ._envelope import CheckError

_CLONE_NEWNET = 0x40000000
_ROOT_HINT = "Run as root (become: true): entering a container's network namespace needs CAP_SYS_ADMIN."
_FILE_LIMIT = 256 * 1024
_MAX_SYMLINKS = 40
_TYPE_A, _TYPE_CNAME, _TYPE_PTR, _TYPE_AAAA = 1, 5, 12, 28
_RCODE_NAMES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
#: The address of the DNS server that Docker puts into every container of a user-defined network.
DOCKER_DNS = "127.0.0.11"

T = t.TypeVar("T")


def _not_running(pid: int) -> CheckError:
    return CheckError(f"process {pid}", "the process has ended", "Start the container, then check again.", "not-running")


def _not_permitted(pid: int, error: OSError) -> CheckError:
    return CheckError(f"network namespace of process {pid}", error.strerror or str(error), _ROOT_HINT, "not-permitted")


def _setns(descriptor: int) -> None:
    if hasattr(os, "setns"):
        os.setns(descriptor, _CLONE_NEWNET)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _enter(pid: int) -> None:
    try:
        descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(descriptor)
        finally:
            os.close(descriptor)
    except (FileNotFoundError, ProcessLookupError):
        raise _not_running(pid) from None
    except OSError as error:
        raise _not_permitted(pid, error) from error


def in_network_namespace(pid: int, function: t.Callable[[], T], timeout_seconds: float) -> T:
    """Call *function* in a thread that is in the network namespace of process *pid*, and return what it returns.

    A namespace belongs to a thread: the caller's never changes, and the thread ends after the call. Sockets that
    *function* opens stay in that namespace wherever they are used later. Whatever *function* raises is raised here.

    :raises CheckError: ``not-permitted`` without CAP_SYS_ADMIN, ``not-running`` when the process has ended,
        ``timeout`` when *function* has not returned in time (its thread does not keep the program alive).
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            _enter(pid)
            results.append(function())
        except BaseException as error:  # pylint: disable=broad-exception-caught  # raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=call, name=f"netns-{pid}", daemon=True)
    thread.start()
    thread.join(timeout_seconds)
    if thread.is_alive():
        raise CheckError(f"network namespace of process {pid}", f"no answer within {timeout_seconds:g} s", "", "timeout")
    if errors:
        raise errors[0]
    return results[0]


# -- the container's files ---------------------------------------------------------------------------------------------


def read_in_root(pid: int, path: str, limit_bytes: int = _FILE_LIMIT) -> t.Optional[bytes]:
    """Return the first *limit_bytes* of the regular file *path* as process *pid* sees it; ``None`` where there is none.

    Symbolic links are followed inside the process's root: plain ``open()`` under ``/proc/<pid>/root`` would follow an
    absolute link to a file of the host.

    :raises CheckError: ``not-running`` or ``not-permitted``.
    """
    try:
        root = os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        raise _not_running(pid) from None
    except OSError as error:
        raise _not_permitted(pid, error) from error
    opened = [root]
    try:
        return _read_below(opened, path, limit_bytes)
    except OSError:
        return None
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _read_below(opened: list[int], path: str, limit_bytes: int) -> t.Optional[bytes]:
    """Walk *path* from ``opened[0]``; every descriptor that is opened on the way is added to *opened*."""
    parents = [opened[0]]
    rest = path.split("/")[::-1]
    links = 0
    while rest:
        part = rest.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if len(parents) > 1:
                parents.pop()
            continue
        here = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parents[-1])
        opened.append(here)
        mode = os.fstat(here).st_mode
        if stat.S_ISLNK(mode):
            links += 1
            if links > _MAX_SYMLINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = os.readlink("", dir_fd=here)
            if target.startswith("/"):
                parents = parents[:1]
            rest.extend(target.split("/")[::-1])
        elif stat.S_ISDIR(mode):
            parents.append(here)
        elif stat.S_ISREG(mode) and not any(rest):
            with open(f"/proc/self/fd/{here}", "rb") as handle:
                return handle.read(limit_bytes)
        else:
            return None
    return None


def parse_hosts(text: str) -> dict[str, list[str]]:
    """Return the addresses of every name (lower case) of a hosts file, in the file's order; bad lines are skipped."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        fields = line.split("#", 1)[0].split()
        if len(fields) < 2:
            continue
        address = _address(fields[0])
        if address is None:
            continue
        for name in fields[1:]:
            addresses = found.setdefault(name.lower().rstrip("."), [])
            if address not in addresses:
                addresses.append(address)
    return found


def _address(text: str) -> t.Optional[str]:
    try:
        return str(ipaddress.ip_address(text.split("%", 1)[0]))
    except ValueError:
        return None


@dataclasses.dataclass(frozen=True)
class ResolvConf:
    """What a resolv.conf says; the defaults are glibc's."""

    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout_seconds: float = 5.0
    attempts: int = 2


def parse_resolv_conf(text: str) -> ResolvConf:
    """Return what a resolv.conf says, as glibc reads it: three servers at most, the last search line counts."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: dict[str, int] = {}
    for line in text.splitlines():
        fields = line.split("#", 1)[0].split(";", 1)[0].split()
        if len(fields) < 2:
            continue
        keyword, values = fields[0], fields[1:]
        if keyword == "nameserver" and _address(values[0]) is not None:
            servers.append(values[0])
        elif keyword in ("search", "domain"):
            search = tuple(value.strip(".") for value in values if value.strip("."))
        elif keyword == "options":
            options.update(_options(values))
    return ResolvConf(
        nameservers=tuple(servers[:3]),
        search=search,
        ndots=min(15, options.get("ndots", 1)),
        timeout_seconds=float(min(30, max(1, options.get("timeout", 5)))),
        attempts=min(5, max(1, options.get("attempts", 2))),
    )


def _options(values: t.Iterable[str]) -> dict[str, int]:
    found = {}
    for value in values:
        key, colon, number = value.partition(":")
        # int() takes other scripts' digits and any length; a resolver takes neither.
        if colon and number.isascii() and number.isdigit() and len(number) < 6:
            found[key] = int(number)
    return found


def candidates(name: str, conf: ResolvConf) -> list[str]:
    """Return the absolute names to ask for, in order: search domains first unless *name* has ``ndots`` dots."""
    if name.endswith("."):
        return [name.rstrip(".")]
    searched = [f"{name}.{domain}" for domain in conf.search]
    return [name, *searched] if name.count(".") >= conf.ndots else [*searched, name]


# -- DNS messages ------------------------------------------------------------------------------------------------------


class _Malformed(Exception):
    """Not a DNS message that can be read."""


@dataclasses.dataclass(frozen=True)
class DnsAnswer:
    """What a response says about one question."""

    rcode: int
    addresses: tuple[str, ...] = ()
    truncated: bool = False


def encode_name(name: str) -> bytes:
    """Return *name* in wire format.

    :raises ValueError: no DNS name: an empty or too long label, too long as a whole.
    """
    encoded = b""
    for label in name.rstrip(".").split("."):
        try:
            raw = label.encode("ascii") if label.isascii() else label.encode("idna")
        except UnicodeError:
            raise ValueError(f"{name!r} is no DNS name") from None
        if not 0 < len(raw) < 64:
            raise ValueError(f"{name!r} is no DNS name")
        encoded += bytes([len(raw)]) + raw
    if len(encoded) > 254:
        raise ValueError(f"{name!r} is no DNS name")
    return encoded + b"\0"


def build_query(identifier: int, name: str, record_type: int) -> bytes:
    """Return a DNS query with recursion asked for."""
    return struct.pack("!HHHHHH", identifier, 0x0100, 1, 0, 0, 0) + encode_name(name) + struct.pack("!HH", record_type, 1)


def _read_name(message: bytes, offset: int) -> tuple[bytes, int]:
    """Return the wire-format name at *offset* (compression undone, lower case) and the offset behind it."""
    labels = b""
    end: t.Optional[int] = None
    lowest = offset
    while True:
        if offset >= len(message):
            raise _Malformed("a name runs over the end")
        length = message[offset]
        if length & 0xC0 == 0xC0:
            if offset + 2 > len(message):
                raise _Malformed("a pointer runs over the end")
            if end is None:
                end = offset + 2
            offset = struct.unpack_from("!H", message, offset)[0] & 0x3FFF
            # A pointer goes back, always: this bounds the loop.
            if offset >= lowest:
                raise _Malformed("a pointer goes forward")
            lowest = offset
        elif length & 0xC0:
            raise _Malformed("an unknown label type")
        elif length == 0:
            return labels + b"\0", end if end is not None else offset + 1
        else:
            labels += message[offset : offset + 1 + length].lower()
            offset += 1 + length
            if len(labels) > 254:
                raise _Malformed("a name is too long")


def parse_response(message: bytes, identifier: int, name: str, record_type: int) -> t.Optional[DnsAnswer]:
    """Return what *message* answers, or ``None`` where it is not a readable answer to exactly that question."""
    try:
        return _parse_response(message, identifier, encode_name(name).lower(), record_type)
    except (_Malformed, struct.error, IndexError):
        return None


def _parse_response(message: bytes, identifier: int, name: bytes, record_type: int) -> t.Optional[DnsAnswer]:
    found, flags, questions, answers = struct.unpack_from("!HHHH", message)
    if found != identifier or not flags & 0x8000 or questions != 1:
        return None
    asked, offset = _read_name(message, 12)
    if asked != name or struct.unpack_from("!HH", message, offset) != (record_type, 1):
        return None
    rcode, truncated = flags & 0x000F, bool(flags & 0x0200)
    addresses: list[str] = []
    offset += 4
    try:
        for dummy in range(answers):
            owner, offset = _read_name(message, offset)
            kind, klass = struct.unpack_from("!HH", message, offset)
            (length,) = struct.unpack_from("!H", message, offset + 8)
            data = message[offset + 10 : offset + 10 + length]
            if len(data) != length:
                raise _Malformed("a record runs over the end")
            offset += 10 + length
            if klass != 1 or owner != name:
                continue
            if kind == _TYPE_CNAME:
                # Servers send the chain in order; the records that follow belong to the canonical name.
                name = _read_name(message, offset - length)[0]
            elif kind == record_type and length == (4 if kind == _TYPE_A else 16):
                addresses.append(str(ipaddress.ip_address(data)))
    except (_Malformed, struct.error):
        if not truncated:
            raise
    return DnsAnswer(rcode, tuple(dict.fromkeys(addresses)), truncated)


# -- asking ------------------------------------------------------------------------------------------------------------


# How long Docker's server, which has just shown that it lives, is given for a name it was silent about.
_AGAIN_SECONDS = 1.0
# IPv4 and IPv6.
_FAMILIES = 2


class Resolver:
    """Names as one container resolves them: its hosts file first, then its name servers.

    :meth:`resolve` must run in the container's network namespace (:func:`in_network_namespace`): there, and only there,
    Docker's embedded server answers.
    """

    def __init__(self, hosts: dict[str, list[str]], conf: ResolvConf, hostname: str = "", port: int = 53) -> None:
        self.hosts = hosts
        self.conf = conf
        self.hostname = hostname
        self.port = port

    @classmethod
    def of_container(cls, pid: int) -> Resolver:
        """Return the resolver of the container whose main process is *pid*.

        :raises CheckError: ``not-running`` or ``not-permitted``.
        """
        texts = [(read_in_root(pid, path) or b"").decode("utf-8", "replace") for path in ("/etc/hosts", "/etc/resolv.conf", "/etc/hostname")]
        return cls(parse_hosts(texts[0]), parse_resolv_conf(texts[1]), texts[2].strip())

    def resolve(self, name: str, timeout_seconds: float) -> list[str]:
        """Return the addresses of *name*, IPv4 first.

        :raises CheckError: ``name-not-resolved`` when the answer is that there is no such name, ``dns-timeout`` when no
            server answered within *timeout_seconds*.
        """
        literal = _address(name.strip("[]"))
        if literal is not None:
            return [literal]
        listed = self.hosts.get(name.lower().rstrip("."))
        if listed:
            return list(listed)
        try:
            encode_name(name)
        except ValueError as error:
            raise CheckError(name, str(error), "Correct the name in the application's configuration.", "name-not-resolved") from None
        if not self.conf.nameservers:
            raise CheckError(name, "not in /etc/hosts, and the container has no name server", "", "name-not-resolved")
        return self._ask_for_all(name, time.monotonic() + timeout_seconds)

    def _ask_for_all(self, name: str, deadline: float) -> list[str]:
        answers: list[DnsAnswer] = []
        silent = False
        for candidate in candidates(name, self.conf):
            try:
                encode_name(candidate)
            except ValueError:
                continue
            found = self._ask_servers(candidate, deadline)
            if found is None:
                silent = True
                break
            addresses = [address for answer in found for address in answer.addresses]
            if addresses:
                return addresses
            answers.extend(found)
        servers = ", ".join(self.conf.nameservers)
        if silent and not self._only_upstream_is_silent(deadline):
            raise CheckError(name, f"no answer from the name server {servers}", "Check the container's /etc/resolv.conf and `dns:` settings.", "dns-timeout")
        if silent:
            # On a busy host it may just have been late; what it knows itself it gives at once.
            addresses = self._known_after_all(name)
            if addresses:
                return addresses
        words = "no answer from the servers behind it" if silent else ", ".join(sorted({_RCODE_NAMES.get(a.rcode, str(a.rcode)) for a in answers}))
        raise CheckError(name, f"the name server {servers} does not know it ({words})", _unknown_name_hint(name), "name-not-resolved")

    def _known_after_all(self, name: str) -> list[str]:
        try:
            answers = self._ask(DOCKER_DNS, name, time.monotonic() + _AGAIN_SECONDS)
        except OSError:
            return []
        return [address for answer in answers for address in answer.addresses]

    def _only_upstream_is_silent(self, deadline: float) -> bool:
        """Whether Docker's own server is alive: then it does not know the name, and what it forwarded to is silent.

        On a host without working DNS this is what an unknown service name looks like.
        """
        own = [address for address in self.hosts.get(self.hostname.lower(), []) if ":" not in address]
        if self.conf.nameservers != (DOCKER_DNS,) or not own:
            return False
        try:
            # It answers for the addresses of its own containers itself.
            return bool(self._ask(DOCKER_DNS, ipaddress.ip_address(own[0]).reverse_pointer, max(deadline, time.monotonic() + 0.3), (_TYPE_PTR,)))
        except OSError:
            return False

    def _ask_servers(self, name: str, deadline: float) -> t.Optional[list[DnsAnswer]]:
        """Return the first server's answers that settle the question, ``None`` where no server answered in time."""
        unsettled: t.Optional[list[DnsAnswer]] = None
        tries = self.conf.attempts * len(self.conf.nameservers)
        for number in range(tries):
            server = self.conf.nameservers[number % len(self.conf.nameservers)]
            now = time.monotonic()
            if now >= deadline:
                break
            # Two servers of which one is dead must both get their turn.
            limit = min(self.conf.timeout_seconds, max(0.1, (deadline - now) / (tries - number)))
            try:
                found = self._ask(server, name, min(deadline, now + limit))
            except OSError:
                continue
            # That there is no such name is true of both families; that there is no address, only where both were answered.
            if any(answer.addresses or answer.rcode == 3 for answer in found):
                return found
            if len(found) == _FAMILIES:
                if any(answer.rcode == 0 for answer in found):
                    return found
                unsettled = found
        return unsettled

    def _ask(self, server: str, name: str, deadline: float, record_types: t.Sequence[int] = (_TYPE_A, _TYPE_AAAA)) -> list[DnsAnswer]:
        """Ask *server* for all *record_types* at once; return the answers that came, in that order."""
        pending = dict(zip(random.sample(range(0x10000), len(record_types)), record_types))
        found: dict[int, DnsAnswer] = {}
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as channel:
            channel.connect((server, self.port))
            for identifier, record_type in pending.items():
                channel.send(build_query(identifier, name, record_type))
            while pending:
                remaining = deadline - time.monotonic()
                # Once one family is there, a server that drops the other's question must not cost the whole time.
                if any(answer.addresses for answer in found.values()):
                    remaining = min(remaining, 0.5)
                if remaining <= 0 or not select.select([channel], [], [], remaining)[0]:
                    break
                message = channel.recv(4096)
                for identifier, record_type in list(pending.items()):
                    answer = parse_response(message, identifier, name, record_type)
                    if answer is not None:
                        del pending[identifier]
                        found[record_type] = self._whole(server, name, record_type, answer, deadline)
        return [found[record_type] for record_type in record_types if record_type in found]

    def _whole(self, server: str, name: str, record_type: int, answer: DnsAnswer, deadline: float) -> DnsAnswer:
        """Ask again over TCP where *answer* was cut off; what came by UDP serves when that fails."""
        if not answer.truncated:
            return answer
        identifier = random.randrange(0x10000)
        query = build_query(identifier, name, record_type)
        try:
            with socket.create_connection((server, self.port), max(0.05, deadline - time.monotonic())) as channel:
                channel.sendall(struct.pack("!H", len(query)) + query)
                (length,) = struct.unpack("!H", _receive(channel, 2, deadline))
                return parse_response(_receive(channel, length, deadline), identifier, name, record_type) or answer
        except OSError:
            return answer


def _receive(channel: socket.socket, length: int, deadline: float) -> bytes:
    data = b""
    while len(data) < length:
        channel.settimeout(max(0.01, deadline - time.monotonic()))
        piece = channel.recv(length - len(data))
        if not piece:
            raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        data += piece
    return data


def _unknown_name_hint(name: str) -> str:
    if "." in name.rstrip("."):
        return "Check the name for a typing error, and the DNS zone it belongs to."
    return f"Check that a service or network alias is named {name} and that both containers are on one network of the Compose file."


def resolve_in_container(pid: int, name: str, timeout_seconds: float) -> list[str]:
    """Return the addresses that *name* has for the container whose main process is *pid*.

    :raises CheckError: ``name-not-resolved``, ``dns-timeout``, ``not-permitted`` or ``not-running``.
    """
    resolver = Resolver.of_container(pid)
    # The resolver keeps the time itself; the thread's limit is for a kernel call that hangs.
    return in_network_namespace(pid, lambda: resolver.resolve(name, timeout_seconds), timeout_seconds + 1)
