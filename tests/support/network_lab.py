# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host, a container and somebody outside as three network namespaces, with real packet filters between them.

The host has ``eth0`` outside and a bridge as Docker names it, behind which is the container. All of it is gone with the three processes
that hold the namespaces; the machine's own rules, and its /etc, are never touched.
"""

from __future__ import annotations

import concurrent.futures
import ctypes
import errno
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import typing as t

BRIDGE = "br-0123456789ab"
HOST4, HOST6 = "198.51.100.1", "2001:db8:1::1"
CONTAINER4, CONTAINER6 = "172.30.0.2", "fd00:30::2"
PUBLIC = {4: "203.0.113.9", 6: "2001:db8:9::9"}
PRIVATE = {4: "10.9.9.9", 6: "fd09::9"}
_CLONE_NEWNET = 0x40000000
_ANSWER_SECONDS = 0.4

ROOT = pathlib.Path(__file__).parents[2]


def missing() -> str:
    """Return why there can be no lab here, nothing where there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    absent = [name for name in ("ip", "iptables-restore", "ip6tables-restore", "nft", "ufw", "nsenter", "unshare") if not shutil.which(name, path=_path())]
    if absent:
        return f"not installed: {', '.join(absent)} (apt-get install iproute2 iptables nftables ufw util-linux)"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "nft", "list", "ruleset"], capture_output=True, text=True, timeout=20, check=False, env=_environment()
    )
    return "" if tried.returncode == 0 else f"no network namespaces: {tried.stderr.strip()}"


def _path() -> str:
    return "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


def _environment() -> dict[str, str]:
    return {"PATH": _path(), "LC_ALL": "C", "LANGUAGE": "C", "PYTHONPATH": os.pathsep.join(sys.path)}


class Namespace:
    """A network and a mount namespace, held by a process that sleeps."""

    def __init__(self) -> None:
        self.holder = subprocess.Popen(["unshare", "--net", "--mount", "--propagation", "private", "sleep", "600"], start_new_session=True)
        own = os.stat("/proc/self/ns/net").st_ino
        deadline = time.monotonic() + 5
        while os.stat(f"/proc/{self.holder.pid}/ns/net").st_ino == own or b"unshare" in pathlib.Path(f"/proc/{self.holder.pid}/cmdline").read_bytes():
            assert time.monotonic() < deadline, "no namespace after five seconds"
            time.sleep(0.002)

    def run(self, *argv: str, stdin: str = "", check: bool = True) -> str:
        """Run a command inside and return what it wrote."""
        command = ["nsenter", "-t", str(self.holder.pid), "-n", "-m", *argv]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False, env=_environment(), cwd="/")
        assert not check or done.returncode == 0, f"{' '.join(argv)}: {done.stdout}{done.stderr}"
        return done.stdout

    def inside(self, function: t.Callable[[], t.Any]) -> t.Any:
        """Call *function* in a thread that is inside; its sockets stay there."""
        results: list[t.Any] = []

        def call() -> None:
            with open(f"/proc/{self.holder.pid}/ns/net", "rb") as handle:
                if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            results.append(function())

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        return results[0]

    def close(self) -> None:
        """End the process, and with it everything inside."""
        os.killpg(self.holder.pid, signal.SIGKILL)
        self.holder.wait()


class Lab:
    """The three of them, connected."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.sockets: list[socket.socket] = []
        self.spaces: list[Namespace] = []
        try:
            self.host, self.container, self.outside = (self._space() for dummy in range(3))
            self._connect()
        except BaseException:
            self.close()
            raise

    def _space(self) -> Namespace:
        space = Namespace()
        self.spaces.append(space)
        return space

    def _connect(self) -> None:
        self.outside.run("sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad; echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet")
        self.host.run(
            "sh",
            "-c",
            "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding; echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter",
        )
        self.host.run(
            "ip", "-batch", "-", stdin=f"""
            link set lo up
            link add eth0 type veth peer name eth0 netns {self.outside.holder.pid}
            addr add {HOST4}/24 dev eth0
            addr add {HOST6}/64 dev eth0 nodad
            link set eth0 up
            link add {BRIDGE} type bridge
            link add veth0 type veth peer name eth0 netns {self.container.holder.pid}
            link set veth0 master {BRIDGE}
            link set veth0 up
            addr add 172.30.0.1/16 dev {BRIDGE}
            addr add fd00:30::1/64 dev {BRIDGE} nodad
            link set {BRIDGE} up
            route add default via 198.51.100.2
            route add ::/0 via 2001:db8:1::2
            """,
        )  # fmt: skip
        self.container.run(
            "ip", "-batch", "-", stdin=f"""
            link set lo up
            addr add {CONTAINER4}/16 dev eth0
            addr add {CONTAINER6}/64 dev eth0 nodad
            link set eth0 up
            route add default via 172.30.0.1
            route add ::/0 via fd00:30::1
            """,
        )  # fmt: skip
        # The one outside is everybody: it has addresses of all kinds, and it may send to 127.0.0.1 of the host.
        self.outside.run(
            "ip", "-batch", "-", stdin=f"""
            link set lo up
            addr del 127.0.0.1/8 dev lo
            addr add 198.51.100.2/24 dev eth0
            addr add 2001:db8:1::2/64 dev eth0 nodad
            addr add {PUBLIC[4]}/32 dev lo
            addr add {PRIVATE[4]}/32 dev lo
            addr add {PUBLIC[6]}/128 dev lo nodad
            addr add {PRIVATE[6]}/128 dev lo nodad
            link set eth0 up
            route add 127.0.0.1/32 via {HOST4} dev eth0
            route add 172.30.0.0/16 via {HOST4}
            route add fd00:30::/64 via {HOST6}
            """,
        )  # fmt: skip

        # Neighbours must know each other before the first packet that counts: it is not sent again in time.
        for space, address in ((self.host, CONTAINER4), (self.host, CONTAINER6), (self.outside, HOST4), (self.outside, HOST6)):
            space.inside(lambda address=address: _meet(address))

    # -- rules ------------------------------------------------------------------------------------------------------

    def iptables(self, text: str, version: int = 4, backend: str = "nft") -> None:
        """Load rules as iptables-save writes them."""
        self.host.run(f"{'iptables' if version == 4 else 'ip6tables'}-{backend}-restore", "--noflush", stdin=text)

    def nft(self, text: str) -> None:
        """Load rules as nft writes them."""
        self.host.run("nft", "-f", "-", stdin=text)

    def ufw(self, *commands: str, after_rules: str = "", before: str = "") -> None:
        """Run real ufw commands, on a copy of its configuration that only this namespace sees."""
        here = self.directory / "ufw"
        if not here.exists():
            shutil.copytree("/usr/share/ufw", here / "share")
            shutil.copytree("/etc/ufw", here / "etc")
            for name in ("user.rules", "user6.rules", "before.rules", "before6.rules", "after.rules", "after6.rules"):
                shutil.copy(here / "share" / name, here / "etc" / name)
            (here / "default").write_text(pathlib.Path("/etc/default/ufw").read_text())
            (here / "run").mkdir()
            self.host.run("mount", "--bind", str(here / "etc"), "/etc/ufw")
            self.host.run("mount", "--bind", str(here / "default"), "/etc/default/ufw")
            self.host.run("mount", "-t", "tmpfs", "tmpfs", "/run")
        for name, text in (("after.rules", after_rules), ("before.rules", before)):
            if text:
                (here / "etc" / name).write_text((here / "etc" / name).read_text() + text)
        for command in commands:
            self.host.run("ufw", *(["--force"] if command == "enable" else []), *command.split())

    # -- programs ---------------------------------------------------------------------------------------------------

    def listen(self, space: Namespace, port: int, address: str = "::", protocol: str = "tcp") -> None:
        """Let something listen; on ``::`` also for IPv4."""

        def make() -> socket.socket:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            made = socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            made.bind((address, port))
            if protocol == "tcp":
                made.listen(16)
            return made

        made = space.inside(make)
        self.sockets.append(made)
        if protocol == "udp":
            threading.Thread(target=_echo, args=(made,), daemon=True).start()

    def reaches(self, attempts: t.Sequence[tuple[str, int, str, str, bool]]) -> list[bool]:
        """Return which of *attempts* from outside get a connection: target, port, source, protocol, and whether to be patient."""
        with concurrent.futures.ThreadPoolExecutor(max(1, len(attempts))) as pool:
            return list(pool.map(lambda attempt: self._reaches(*attempt), attempts))

    def _reaches(self, target: str, port: int, source: str, protocol: str, patient: bool) -> bool:
        def connect() -> bool:
            family = socket.AF_INET6 if ":" in target else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM) as made:
                # A machine with much else to do must not make an open port look closed; a closed one costs the whole time.
                made.settimeout(5.0 if patient else _ANSWER_SECONDS)
                made.bind((source, 0))
                try:
                    made.connect((target, port))
                    if protocol == "udp":
                        made.send(b"?")
                        return made.recv(8) == b"?"
                except OSError:
                    return False
                return True

        return bool(self.outside.inside(connect))

    # -- what we say ------------------------------------------------------------------------------------------------

    def judge(self, entrances: t.Sequence[dict[str, t.Any]], expected: t.Optional[list[dict[str, t.Any]]] = None) -> list[dict[str, t.Any]]:
        """Return the rows that the collection has for *entrances*, judged on this host."""
        request = json.dumps({"entrances": list(entrances), "expected": expected})
        answer = self.host.run(sys.executable, str(pathlib.Path(__file__).with_name("judge_ports.py")), stdin=request)
        return t.cast("list[dict[str, t.Any]]", json.loads(answer))

    def close(self) -> None:
        """Take everything away."""
        for made in self.sockets:
            made.close()
        for space in self.spaces:
            space.close()


def _meet(address: str) -> None:
    """Knock at a closed port until it says so."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as made:
            made.settimeout(0.2)
            if made.connect_ex((address, 1)) == errno.ECONNREFUSED:
                return
    raise AssertionError(f"{address} does not answer")


def _echo(made: socket.socket) -> None:
    while True:
        try:
            data, sender = made.recvfrom(64)
            made.sendto(data, sender)
        except OSError:
            return
