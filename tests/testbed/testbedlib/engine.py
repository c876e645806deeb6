# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A running Docker Engine: the machine's own, or one that is installed and started here."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import time
import typing as t

from .console import CommandFailed, Unavailable, output, run, say, step, succeeds, wait_until
from .paths import CACHE

PACKAGES = ("docker.io", "iptables", "docker-compose", "mmdebstrap")
PID_FILES = ("/var/run/docker.pid", "/var/run/docker/containerd/containerd.pid")
START_SECONDS = 60
APT_SECONDS = 600
# Bits of CapEff (linux/capability.h): without them no engine can make namespaces, mounts and bridges.
NEEDED_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}


def server_version() -> t.Optional[str]:
    """Return the version of the engine that answers, or ``None``."""
    try:
        return output(["docker", "version", "--format", "{{.Server.Version}}"], 15) or None
    except CommandFailed:
        return None


def compose_command() -> list[str]:
    """Return how Compose is called on this machine, v2 before v1.

    :raises Unavailable: there is none.
    """
    if succeeds(["docker", "compose", "version"], 30):
        return ["docker", "compose"]
    if succeeds(["docker-compose", "version"], 30):
        return ["docker-compose"]
    raise Unavailable("Compose is missing. Install it with: apt-get install -y --no-install-recommends docker-compose")


def apt_install(packages: t.Sequence[str], why: str) -> None:
    """Install Debian *packages* after saying so.

    :raises Unavailable: not root, or not a Debian.
    """
    command = "apt-get install -y --no-install-recommends " + " ".join(packages)
    if os.geteuid() != 0:
        raise Unavailable(f"{why}, and installing needs root. As root, type: {command}")
    if shutil.which("apt-get") is None:
        raise Unavailable(f"{why}, and this is not a Debian. Install what corresponds to: {' '.join(packages)}")
    say(f"{why}. Installing from Debian's archive: {' '.join(packages)}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with step(f"apt-get install {' '.join(packages)}"):
        if run(command.split(), APT_SECONDS, env=quiet, check=False).returncode != 0:
            run(["apt-get", "update"], APT_SECONDS, env=quiet)
            run(command.split(), APT_SECONDS, env=quiet)


def ensure() -> None:
    """See to it that an engine answers and that Compose is there.

    :raises Unavailable: it cannot be had on this machine; says what is missing.
    """
    version = server_version()
    if version is None:
        _refuse_where_hopeless()
        if shutil.which("dockerd") is None:
            apt_install(PACKAGES, "There is no Docker Engine on this machine")
        if server_version() is None:
            _start()
        version = server_version()
    say(f"Docker Engine {version} is running.")
    try:
        compose_command()
    except Unavailable as missing:
        apt_install(["docker-compose"], str(missing).split(".", 1)[0])


def _refuse_where_hopeless() -> None:
    socket = pathlib.Path("/var/run/docker.sock")
    if os.geteuid() != 0:
        if socket.exists() and not os.access(socket, os.W_OK):
            raise Unavailable(f"{socket} is there, but this user may not use it. Run as root, or: sudo usermod -aG docker $USER")
        raise Unavailable("No Docker Engine answers, and without root none can be installed or started. Run this as root.")
    missing = _missing_capabilities()
    if missing:
        raise Unavailable(f"No Docker Engine answers, and this machine lacks {', '.join(missing)}, without which none can run.")
    if not pathlib.Path("/sys/fs/cgroup").is_dir():
        raise Unavailable("No Docker Engine answers, and this kernel has no control groups (/sys/fs/cgroup), without which none can run.")


def _missing_capabilities() -> list[str]:
    status = pathlib.Path("/proc/self/status").read_text("utf-8")
    effective = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)
    return [name for name, bit in NEEDED_CAPABILITIES.items() if not effective >> bit & 1]


def _start() -> None:
    if pathlib.Path("/run/systemd/system").is_dir():
        with step("Starting Docker Engine with systemd"):
            run(["systemctl", "start", "docker"], START_SECONDS)
            wait_until(_answers, START_SECONDS, "Docker Engine's answer")
        return
    engine_in_use, dummy = (_is_in_use(pathlib.Path(path)) for path in PID_FILES)
    if engine_in_use:
        with step("Waiting for the Docker Engine that is starting already"):
            wait_until(_answers, START_SECONDS, "Docker Engine's answer")
        return
    _prefer_working_iptables()
    CACHE.mkdir(parents=True, exist_ok=True)
    log_path = CACHE / "dockerd.log"
    with step(f"Starting Docker Engine (log: {log_path})"), open(log_path, "ab") as log:
        process = subprocess.Popen(["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + START_SECONDS
        while not _answers():
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log_path.read_text("utf-8", "replace").splitlines()[-5:]
                raise Unavailable("Docker Engine does not start on this machine:\n  " + "\n  ".join(tail))
            time.sleep(0.3)


def _answers() -> bool:
    return server_version() is not None


def _is_in_use(pid_file: pathlib.Path) -> bool:
    """Return whether *pid_file* names a live engine; if not, remove it: after a crash the number may belong to anything."""
    try:
        pid = pid_file.read_text("utf-8").strip()
    except OSError:
        return False
    try:
        # "<pid> (<name>) <state> ...": one that was killed and not waited for is state Z.
        status = re.fullmatch(r"\d+ \((.*)\) (\w) .*", pathlib.Path("/proc", pid, "stat").read_text("utf-8"), re.DOTALL)
    except OSError:
        status = None
    if status is not None and status[1] in ("dockerd", "containerd") and status[2] != "Z":
        return True
    say(f"Removing {pid_file}, left by an engine that is gone.")
    pid_file.unlink()
    return False


def _prefer_working_iptables() -> None:
    """Some kernels have no nf_tables; Debian's iptables can use the older interface instead."""
    if succeeds(["iptables", "-t", "nat", "-L", "-n"], 15) or not succeeds(["iptables-legacy", "-t", "nat", "-L", "-n"], 15):
        return
    say("This kernel has no nf_tables: switching iptables to its older interface (update-alternatives --set iptables).")
    for name in ("iptables", "ip6tables"):
        run(["update-alternatives", "--set", name, f"/usr/sbin/{name}-legacy"], 15)
