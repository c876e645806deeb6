# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Why a host gave no facts, in words that say what to do next.

ssh, sudo, the shell and Python each have their own words for what keeps them from working, and Ansible wraps them in its own. A
fleet always has some such hosts: here each becomes one reason and one next step.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError

#: A directory in memory that every Linux has, for a host on which no other can be written to.
MEMORY_DIRECTORY = "/dev/shm"

_MAXIMUM_WORDS = 160


@dataclasses.dataclass(frozen=True)
class Trouble:
    """One reason: its *code*, what is wrong, what to do about it, and the words it was told in."""

    code: str
    reason: str
    hint: str
    words: str = ""

    @property
    def reached(self) -> bool:
        """Whether the host answered, and it is what was asked of it that did not work."""
        return self.code in _REACHED

    def __str__(self) -> str:
        quoted = f" ({self.words})" if self.words else ""
        return f"{self.reason}{quoted}. {self.hint}" if self.hint else f"{self.reason}{quoted}"


@dataclasses.dataclass(frozen=True)
class Target:
    """Whom Ansible connects to: the *name* in the inventory and, as far as its connection knows them, *address*, *user* and *port*."""

    name: str
    address: str = ""
    user: str = ""
    port: t.Optional[int] = None

    def fill(self, hint: str, known_as: str = "") -> str:
        """Return *hint* with what stands in it for this host; *known_as* is what ssh calls it in its file of known hosts."""
        address = self.address or self.name
        login = shlex.quote(f"{self.user}@{address}" if self.user else address)
        other_port = self.port and self.port != 22
        port = f"-p {self.port} " if other_port else ""
        values = {
            "<name>": shlex.quote(self.name),
            "<address>": port + shlex.quote(address),
            "<login>": port + login,
            "<known host>": shlex.quote(known_as or (f"[{address}]:{self.port}" if other_port else address)),
        }
        for placeholder, value in values.items():
            hint = hint.replace(placeholder, value)
        return hint


#: Codes of what only a host can say that has answered.
_REACHED = frozenset({"sudo-password", "sudo-password-wrong", "sudo-refused", "sudo-missing", "sudo-silent", "failed"})

# How ssh names the host whose key it does not take; behind a jump host it may be that one.
_KNOWN_AS = re.compile(r"[Hh]ost key (?:is known )?for (\S+) (?:and|has changed)")

# The first that is found in what was said counts; what keeps the connection from being made is before what keeps a module from running.
_KNOWN: tuple[tuple[str, str, str, str], ...] = (
    (
        "refused",
        r"[Cc]onnection refused",
        "nothing listens there",
        "Is sshd running, and is the port right (ansible_port)? On the host's console: systemctl status ssh",
    ),
    (
        "silent",
        r"during banner exchange|kex_exchange_identification|Connection (?:reset|closed) by [^\n]*port",
        "its port takes connections, but sshd does not answer",
        "Memory, disk or process table of the host may be exhausted, or sshd refuses by MaxStartups: look at it on its console",
    ),
    (
        "no-route",
        r"(?:Connection|Operation) timed out|No route to host|Network is unreachable|Host is down",
        "nothing answers at its address",
        "Is it switched on, is ansible_host right, and does a firewall let the controller through?",
    ),
    (
        "unresolved",
        r"Could not resolve hostname|Name or service not known|nodename nor servname",
        "its name does not resolve",
        "Correct its name in the inventory, or set ansible_host to its address",
    ),
    (
        "host-key",
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is not the known one",
        "Was it installed anew? Then compare the key and forget the old one: ssh-keygen -R <known host>. Else somebody else may be answering",
    ),
    (
        "host-key-unknown",
        # The second is Ansible's where ssh gets a password, the third that of Ansible's other connection.
        r"Host key verification failed|[^\n]*add this host's fingerprint to your known_hosts|authenticity of host",
        "its host key is not known yet",
        "Connect once, compare the fingerprint and accept it: ssh <login>. Or take it as it is, in a network that you trust: "
        "ssh-keyscan <address> >> ~/.ssh/known_hosts",
    ),
    (
        "login-refused",
        r"Permission denied \([a-z,-]*\)|Too many authentication failures|Invalid/incorrect password",
        "sshd refuses the login",
        "Correct ansible_user or ansible_ssh_private_key_file, or put the key there: ssh-copy-id <login>",
    ),
    (
        "sudo-password-wrong",
        r"Incorrect (?:sudo|su|doas) password|Duplicate become password|incorrect password attempt|su: Authentication failure",
        "the password to become root is not the right one",
        "Type it again with --ask-become-pass (-K), or correct ansible_become_password: sudo wants that of the user who logs in, and su that of root",
    ),
    (
        "sudo-password",
        r"[Mm]issing (?:sudo|su|doas) password|a (?:terminal|password) is required",
        "sudo asks for a password",
        "Add --ask-become-pass (-K), or set ansible_become_password in a file encrypted with ansible-vault, or allow the user to become root without one",
    ),
    (
        "sudo-silent",
        r"Time(?:out|d out)[^\n]*(?:privilege escalation|become)",
        "it does not become root in time",
        "sudo may wait for a directory service, and su for a password (--ask-become-pass). Log in and see: sudo -v",
    ),
    (
        "sudo-refused",
        r"not in the sudoers file|may not run sudo|is not allowed to (?:execute|run)",
        "the user may not become root",
        "Run without --become for what can be seen without root, or allow it in /etc/sudoers.d",
    ),
    ("sudo-missing", r"sudo: (?:command )?not found", "it has no sudo", "Log in as root (ansible_user) and run without --become, or install sudo"),
    (
        "no-processes",
        r"[Cc]annot fork|can't start new thread|fork: |Resource temporarily unavailable|BlockingIOError",
        "it cannot start processes",
        "The user's or the host's limit of processes is reached: ps -eLf --sort=-nlwp | head; systemctl status; ulimit -u",
    ),
    (
        "no-room",
        r"No usable temporary directory|No space left on device|Read-only file system|Disk quota exceeded|Failed to create temporary directory",
        "there is no directory it can write to",
        "Its disk is full or read-only: df -h /tmp ~; df -i /tmp ~; dmesg | tail",
    ),
    (
        "no-python",
        r"interpreter '?[^'\n]*'? was not found|python[0-9.]*: (?:command )?not found|python[0-9.]*: No such file or directory",
        "it has no Python where one is looked for",
        "Install it: ansible <name> --become -m ansible.builtin.raw -a 'apt-get install -y python3'; or name another in ansible_python_interpreter",
    ),
    (
        "old-python",
        # The first is what Ansible itself says; the second is Python 3.8, which Ansible takes and this collection does not.
        r"requires a minimum of Python version|'(?:type|ABCMeta)' object is not subscriptable|SyntaxError: (?:future feature|invalid syntax)",
        "its Python is too old",
        "Python 3.9 or newer is needed: install one beside it and name it in ansible_python_interpreter",
    ),
    (
        "no-memory",
        r"MemoryError|Cannot allocate memory|^Killed$|Out of memory",
        "it has no memory left",
        "Look at what takes it: free -m; ps aux --sort=-rss | head; dmesg | grep -i oom",
    ),
)


def target_of(action: t.Any, variables: t.Mapping[str, t.Any]) -> Target:
    """Return whom *action* connects to; connections other than ssh know less of it."""

    def option(name: str) -> t.Any:
        try:
            return action._connection.get_option(name)
        except KeyError:
            return None

    port = option("port")
    return Target(str(variables["inventory_hostname"]), str(option("host") or ""), str(option("remote_user") or ""), int(port) if port else None)


def error_trouble(error: AnsibleError, target: Target) -> Trouble:
    """Return why *error* was raised while a module was to be run on *target*."""
    message = str(error)
    if isinstance(error, AnsibleConnectionFailure):
        return connection_trouble(message, target)
    # Before the module ran, and not of the connection: that there is no password for sudo, above all.
    return _known(message, target) or Trouble("failed", _last_line(message), "")


def connection_trouble(message: str, target: Target) -> Trouble:
    """Return why *target* could not be reached, from what Ansible or ssh says of it."""
    known = _known(message, target)
    return known or Trouble("unreachable", _last_line(message) or "it could not be reached", target.fill("Try it by hand: ssh -v <login>"))


def module_trouble(result: t.Mapping[str, t.Any], target: Target) -> Trouble:
    """Return why a module failed as a whole on *target*, from its *result*."""
    # A module that never came to speak (no Python, a full disk) leaves its words in module_stderr.
    noise = "\n".join(str(result.get(key) or "") for key in ("module_stderr", "module_stdout"))
    message = str(result.get("msg") or "")
    # What a module says in its own words is about the host's stack; only what was said in place of a module is about the host.
    silent = noise.strip() or "interpreter" in message or "Python version" in message
    known = _known(f"{noise}\n{message}", target) if silent else None
    if known:
        return known
    first = message.strip().splitlines()[0] if message.strip() else "the module gave no reason"
    last = _last_line(noise)
    return Trouble("failed", first, "", last)


def hang_trouble(seconds: float, option: str) -> Trouble:
    """Return what a host is that let the connection be made, and then did not end what it was asked within *seconds*."""
    hint = f"What hangs there: ps -eo state,pid,wchan:20,args | grep '^D'; uptime. A host that is only slow needs a larger {option}"
    return Trouble("hangs", f"it hangs: connected, but no end within {seconds:g} s", hint)


def work_in_memory(action: t.Any) -> None:
    """Have the next modules of *action* keep their files in memory: a full disk is what a diagnosis is run for."""
    shell = action._connection._shell
    shell.set_option("remote_tmp", f"{MEMORY_DIRECTORY}/.ansible")
    given = action._task.environment or []
    action._task.environment = [*(given if isinstance(given, list) else [given]), {"TMPDIR": MEMORY_DIRECTORY}]


def _known(text: str, target: Target) -> t.Optional[Trouble]:
    for code, pattern, reason, hint in _KNOWN:
        match = re.search(pattern, text, re.MULTILINE)
        if match:
            known_as = _KNOWN_AS.search(text)
            return Trouble(code, reason, target.fill(hint, known_as.group(1) if known_as else ""), _line_of(text, match.start()))
    return None


def _line_of(text: str, position: int) -> str:
    """Return the line at *position*, without what Ansible says of every one."""
    start = max(text.rfind(end, 0, position) for end in "\r\n") + 1
    line = re.split(r"[\r\n]", text[start:], maxsplit=1)[0].strip()
    line = re.sub(r"^(Task failed: )?(Failed to connect to the host via ssh: )?(ssh: )?", "", line)
    # The banner of ssh is framed.
    return line[:_MAXIMUM_WORDS].strip(" .@")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip()[:_MAXIMUM_WORDS] if lines else ""
