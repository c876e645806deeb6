# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Who may use the engine: membership of its group, and owner, group and mode of its socket."""

from __future__ import annotations

import dataclasses
import grp
import os
import pwd
import re
import shutil
import stat
import typing as t

from ._envelope import CheckError
from ._guarded_files import told
from ._process import run_command
from ._redaction import Redactor
from ._remediation import Change, Facts, Verified, Work, run_remediation

SOCKET_MODE = 0o660
_COMMAND_SECONDS = 30.0
_NAME = re.compile(r"[a-z_][a-z0-9_.-]{0,31}\$?")
MEANS_ROOT = "Members of it are root on this host: docker run can mount its disk, and needs no password"


@dataclasses.dataclass(frozen=True)
class Socket:
    """Owner, group and mode of a socket."""

    owner: str
    group: str
    mode: int

    def as_facts(self) -> Facts:
        """Return what is shown of it."""
        return {"owner": self.owner, "group": self.group, "mode": f"{self.mode:04o}"}


def groups_of(user: str) -> list[str]:
    """Return the names of the groups that *user* is in. :raises CheckError: there is no such user."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise CheckError(f"user {user}", "there is no such user on this host", "Correct its name, or make it first.", "not-found") from None
    return sorted(_group_name(number) for number in os.getgrouplist(user, entry.pw_gid))


def add_command(user: str, group: str, which: t.Callable[[str], t.Optional[str]] = shutil.which) -> tuple[str, ...]:
    """Return the command that adds *user* to *group*: those of Debian and Red Hat, or of Alpine.

    :raises CheckError: there is none.
    """
    for program, argv in (("usermod", ("usermod", "-aG", group, user)), ("gpasswd", ("gpasswd", "-a", user, group)), ("addgroup", ("addgroup", user, group))):
        if which(program):
            return argv
    raise CheckError("usermod", "there is no usermod, gpasswd or addgroup on this host", "Install the package passwd (shadow).", "not-installed")


def remove_command(user: str, group: str, which: t.Callable[[str], t.Optional[str]] = shutil.which) -> tuple[str, ...]:
    """Return the command that takes *user* out of *group*."""
    return ("gpasswd", "-d", user, group) if which("gpasswd") else ("delgroup", user, group)


def _require_group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        hint = "The packages of Docker make it. Where it is really missing: groupadd --system docker && systemctl restart docker.socket docker"
        raise CheckError(f"group {name}", "there is no such group on this host", hint, "not-found") from None


def _plan_member(user: str, group: str) -> Work:
    if not _NAME.fullmatch(user) or not _NAME.fullmatch(group):
        raise CheckError(f"user {user}", "user and group must be plain names", "Correct user and group.", "invalid-option")
    _require_group(group)
    before = groups_of(user)
    privileged = pwd.getpwnam(user).pw_uid == 0
    argv = add_command(user, group)
    change = Change(
        "docker_group",
        f"user {user}",
        f"{user} is root already" if privileged else f"add it to the group {group}. {MEANS_ROOT}",
        (argv,),
        {"groups": before},
        {"groups": sorted({*before, group})},
        (" ".join(remove_command(user, group)),),
        needed=group not in before and not privileged,
    )

    def carry_out() -> Facts:
        completed = run_command(argv, _COMMAND_SECONDS)
        if completed.exit_code != 0:
            raise CheckError(" ".join(argv), f"exit code {completed.exit_code}: {completed.error_text.strip()[-300:]}", "Run it by hand.", "tool-failed")
        return {"groups": groups_of(user)}

    def verify() -> Verified:
        now = groups_of(user)
        words = f"{user} is a member of {', '.join(now)}; sessions that are open see it after the next login (or: newgrp {group})"
        return Verified(group in now, words)

    return Work(change, carry_out, verify, Redactor(()))


def read_socket(path: str) -> Socket:
    """Return what *path* has. :raises CheckError: it is not there, or is no socket."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        hint = "Start the engine, which makes it: systemctl start docker.socket docker"
        raise CheckError(path, "there is no such socket", hint, "not-running") from None
    if not stat.S_ISSOCK(status.st_mode):
        hint = "A directory is there where a container was started with this path as a volume before the engine ran: remove it, restart docker."
        raise CheckError(path, "it is no socket", hint, "protocol-error")
    return Socket(_user_name(status.st_uid), _group_name(status.st_gid), stat.S_IMODE(status.st_mode))


def _plan_socket(path: str, group: str) -> Work:
    number = _require_group(group)
    before = read_socket(path)
    wanted = Socket("root", group, SOCKET_MODE)
    real = os.path.realpath(path)
    open_to_all = " Everybody on this host can write to it now, and is root by that." if before.mode & 0o002 else ""
    change = Change(
        "socket_permissions",
        path,
        f"have it belong to root and {group}, with mode {SOCKET_MODE:04o}.{open_to_all}",
        (("chown", f"root:{group}", real), ("chmod", f"{SOCKET_MODE:04o}", real)),
        before.as_facts(),
        wanted.as_facts(),
        (f"chown {before.owner}:{before.group} {real}; chmod {before.mode:04o} {real}",),
        needed=before != wanted,
    )

    def carry_out() -> Facts:
        with told(real):
            os.chown(real, 0, number)
            os.chmod(real, SOCKET_MODE)
        return read_socket(path).as_facts()

    def verify() -> Verified:
        now = read_socket(path)
        facts = now.as_facts()
        lasting = "; where it comes back after a restart, see SocketGroup and SocketMode of docker.socket, and group in /etc/docker/daemon.json"
        return Verified(now == wanted, f"{facts['owner']}:{facts['group']} {facts['mode']}{lasting}")

    return Work(change, carry_out, verify, Redactor(()))


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def give_access(params: t.Mapping[str, t.Any], check_mode: bool) -> Facts:
    """Do what the module ``docker_access`` is asked for."""
    group = str(params["group"])

    def plan() -> Work:
        return _plan_member(str(params["user"]), group) if params.get("user") else _plan_socket(str(params["socket"]), group)

    return run_remediation(plan, params, check_mode)
