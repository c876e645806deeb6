# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Odd hosts: doors into a host of the test bed behind which something is wrong.

A fleet has hosts that do not answer, hang, or lack what others have. Each of them as a host of its own would take minutes and memory; here one
host shows itself in all these ways, by the port it is asked on. What is behind a port is real: sshd, the shell and the programs are the host's own, in
a mount namespace in which something is missing or full (``tests/testbed/odd/door``).
"""

from __future__ import annotations

import dataclasses
import typing as t

from .console import run, wait_until
from .paths import ODD

DOOR = "/usr/local/lib/stackops-odd/door"
READY_SECONDS = 30
# It takes what comes, and says nothing to it.
SILENT = "import socket, time; s = socket.create_server(('', {port})); held = []\nwhile True: held.append(s.accept())"


@dataclasses.dataclass(frozen=True)
class Odd:
    """One way of being odd: the *port* to ask on, and what the inventory says besides.

    *status* is that of the row in the report of ``diagnose``; its reason has the words of *reason* in it, or its first finding is one of *rule*.
    """

    name: str
    port: int
    status: str
    reason: str = ""
    rule: str = ""
    user: str = "root"
    variables: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    has_door: bool = True


ODD_HOSTS: tuple[Odd, ...] = (
    Odd("refused", 2200, "unreachable", reason="nothing listens", has_door=False),
    Odd("silent", 2201, "unreachable", reason="sshd does not answer", has_door=False),
    Odd("stranger", 22, "unreachable", reason="refuses the login", user="nobody-knows", has_door=False),
    Odd("sudo-password", 22, "unknown", reason="sudo asks for a password", user="ops", variables={"ansible_become": True}, has_door=False),
    Odd("hangs", 2202, "unreachable", reason="it hangs", variables={"diagnose_timeout_seconds": 2}),
    Odd("no-processes", 2203, "unknown", reason="cannot start processes", user="ops"),
    Odd("no-python", 2206, "unknown", reason="no Python"),
    Odd("disk-full", 2204, "critical", rule="filesystem-nearly-full"),
    Odd("read-only", 2205, "ok"),
    Odd("no-libraries", 2207, "warning", rule="docker-library-missing"),
    Odd("no-docker", 2208, "critical", rule="docker-not-installed"),
)


def open_doors(host: str) -> None:
    """Make *host* answer on the ports of the odd hosts as these would."""
    doors = [odd for odd in ODD_HOSTS if odd.has_door]
    lines = ["Port 22", *(f"Port {odd.port}" for odd in doors)]
    for odd in doors:
        lines += [f"Match LocalPort {odd.port}", f"    ForceCommand {DOOR} {odd.name}"]
    put = 'mkdir -p "${1%/*}" && cat > "$1" && chmod "$2" "$1"'
    for path, mode, content in (
        (DOOR, "755", (ODD / "door").read_bytes()),
        ("/etc/ssh/sshd_config.d/odd.conf", "644", ("\n".join(lines) + "\n").encode()),
    ):
        run(["docker", "exec", "--interactive", host, "sh", "-c", put, "put", path, mode], stdin=content)
    run(["docker", "exec", host, "systemctl", "reload", "ssh"])
    silent = next(odd.port for odd in ODD_HOSTS if odd.name == "silent")
    run(["docker", "exec", host, "systemctl", "stop", "odd-silent"], check=False)
    run(["docker", "exec", host, "systemd-run", "--unit=odd-silent", "--collect", "python3", "-c", SILENT.format(port=silent)])
    expected = {silent, *(odd.port for odd in doors)}

    def all_listen() -> bool:
        listening = run(["docker", "exec", host, "ss", "--tcp", "--listening", "--numeric", "--no-header"]).stdout.decode()
        return all(f":{port} " in listening for port in expected)

    wait_until(all_listen, READY_SECONDS, f"the odd ports of {host}")


def rows(host: str, reached: t.Mapping[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    """Return what an inventory says of each odd host behind *host*, which is itself *reached* by these variables."""
    # The key is the host's own, on whichever port it answers.
    common = f"{reached['ansible_ssh_common_args']} -o HostKeyAlias={reached['ansible_host']}"
    return {
        f"{host}-{odd.name}": {**reached, "ansible_port": odd.port, "ansible_user": odd.user, "ansible_ssh_common_args": common, **odd.variables}
        for odd in ODD_HOSTS
    }
