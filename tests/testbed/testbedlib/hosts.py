# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Target hosts: containers that run systemd, sshd and an engine of their own."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import re
import shutil
import socket
import typing as t

from . import engine, images, seed
from .console import CommandFailed, output, run, say, side_by_side, step, succeeds, wait_until
from .paths import CACHE

LABEL = "stackops.testbed.host"
READY_SECONDS = 90
USERS = ("root", "ops")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")

_AUTHORIZE = """
set -eu
key=$(cat)
for user in root ops; do
    home=$(getent passwd $user | cut -d: -f6)
    install -d -m 0700 -o $user -g $user "$home/.ssh"
    printf '%s\\n' "$key" > "$home/.ssh/authorized_keys"
    chown $user:$user "$home/.ssh/authorized_keys"
done
"""


def private_key() -> pathlib.Path:
    """Return the key that opens every host of this checkout; made at first use."""
    path = CACHE / "id_ed25519"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        if shutil.which("ssh-keygen") is None:
            engine.apt_install(["openssh-client"], "ssh is missing on this machine")
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "stackops-testbed", "-f", str(path)])
    return path


def known_hosts(name: str) -> pathlib.Path:
    """Return the file that holds the host key of *name*."""
    return CACHE / "hosts" / name / "known_hosts"


def address(name: str) -> str:
    """Return the address of *name* on the outer engine's bridge.

    :raises CommandFailed: it is not up.
    """
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
    addresses = output(["docker", "inspect", "--type=container", "--format", form, name]).split()
    if not addresses:
        raise CommandFailed(f"host {name} is not running")
    return addresses[0]


def ssh_arguments(name: str) -> list[str]:
    """Return the options with which ssh, or Ansible, reaches *name* and no other."""
    return [
        "-o", f"UserKnownHostsFile={known_hosts(name)}", "-o", "StrictHostKeyChecking=yes",
        "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=10",
    ]  # fmt: skip


def up(names: t.Sequence[str], image: str = seed.HOST_IMAGE) -> None:
    """Bring hosts of *image* up, side by side; one that runs already stays as it is."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a host name: {name!r}")
    with images.exclusive():
        images.ensure(tuple(dict.fromkeys(("base:trixie", *images.DEFAULT, image))))
        seed.ensure_seed()
        private_key()
    side_by_side({name: functools.partial(_up, name, image) for name in names})


def _up(name: str, image: str) -> None:
    if _is_running(name):
        say(f"Host {name} is up already.")
    else:
        with step(f"Host {name}"):
            own_engine = images.CATALOGUE[image].engine
            run(["docker", "rm", "--force", name], check=False)
            argv = ["docker", "run", "--detach", "--name", name, "--hostname", name, "--label", f"{LABEL}={name}", *seed.RUN_OPTIONS]
            if own_engine == "docker":
                seed.make_volume(f"{name}-docker", {LABEL: name})
                argv.append(f"--volume={name}-docker:/var/lib/docker")
            run([*argv, images.CATALOGUE[image].reference])
            run(["docker", "exec", "--interactive", name, "sh", "-c", _AUTHORIZE], stdin=_public_key())
            _wait_until_ready(name, own_engine)
            if own_engine != "docker":
                # Seeds are Docker's; another engine gets the images the long way.
                seed.load(name, own_engine)
    _write_known_hosts(name)


def _public_key() -> bytes:
    return private_key().with_suffix(".pub").read_bytes()


def _is_running(name: str) -> bool:
    form = f'{{{{.State.Running}}}} {{{{index .Config.Labels "{LABEL}"}}}}'
    try:
        return output(["docker", "inspect", "--type=container", "--format", form, name]) == f"true {name}"
    except CommandFailed:
        return False


def _wait_until_ready(name: str, own_engine: str) -> None:
    wait_until(lambda: _system_state(name) in ("running", "degraded"), READY_SECONDS, f"systemd on {name}")
    wait_until(lambda: _ssh_answers(address(name)), READY_SECONDS, f"sshd on {name}")
    wait_until(lambda: succeeds(["docker", "exec", name, own_engine, "version"], 20), READY_SECONDS, f"the engine on {name}")


def _system_state(name: str) -> str:
    completed = run(["docker", "exec", name, "systemctl", "is-system-running"], 20, check=False)
    return completed.stdout.decode("utf-8", "replace").strip()


def _ssh_answers(host: str) -> bool:
    try:
        with socket.create_connection((host, 22), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _write_known_hosts(name: str) -> None:
    key = output(["docker", "exec", name, "cut", "-d", " ", "-f1,2", "/etc/ssh/ssh_host_ed25519_key.pub"])
    path = known_hosts(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{address(name)} {key}\n", "utf-8")


def down(names: t.Sequence[str]) -> None:
    """Remove the hosts and what they stored. One that is not there is no error."""
    for name in names:
        run(["docker", "rm", "--force", "--volumes", name], check=False)
        run(["docker", "volume", "rm", "--force", f"{name}-docker"], check=False)
        shutil.rmtree(known_hosts(name).parent, ignore_errors=True)


def listed() -> list[str]:
    """Return the names of the hosts that are up."""
    return sorted(output(["docker", "ps", "--filter", f"label={LABEL}", "--format", "{{.Names}}"]).split())


def ssh(name: str, command: t.Sequence[str], user: str) -> t.NoReturn:
    """Become ssh to *name*."""
    os.execvp("ssh", ["ssh", "-i", str(private_key()), *ssh_arguments(name), f"{user}@{address(name)}", *command])


def execute(name: str, command: t.Sequence[str]) -> t.NoReturn:
    """Become ``docker exec`` in *name*."""
    terminal = ["--tty"] if os.isatty(0) and os.isatty(1) else []
    os.execvp("docker", ["docker", "exec", "--interactive", *terminal, name, *command])


def _has(name: str, *command: str) -> bool:
    return succeeds(["docker", "exec", name, *command], 30)


def deploy(name: str, directory: pathlib.Path, target: str) -> None:
    """Copy a rendered stack to *target* on the host, start it and wait until every service is well."""
    own_engine = "docker" if _has(name, "docker", "--version") else "podman"
    tool = ("podman-compose",) if own_engine == "podman" else ("docker", "compose") if _has(name, "docker", "compose", "version") else ("docker-compose",)
    compose = ["docker", "exec", "--workdir", target, "--env=COMPOSE_HTTP_TIMEOUT=180", name, *tool]
    health = '{{index .Config.Labels "com.docker.compose.service"}} {{.State.Health.Status}}'

    def every_service_is_well() -> bool:
        services = output([*compose, "config", "--services"]).split()
        containers = output([*compose, "ps", "-q"]).split()
        healthy = output(["docker", "exec", name, own_engine, "inspect", "--format", health, *containers]).splitlines() if containers else []
        return all(f"{service} healthy" in healthy for service in services)

    with step(f"Starting {directory.name} on {name}"):
        run(["docker", "exec", name, "mkdir", "-p", target])
        run(["docker", "cp", f"{directory}/.", f"{name}:{target}"])
        if tool == ("docker-compose",):
            # Before 1.27 it takes a file that does not say its version for the first one.
            run(["docker", "exec", name, "sed", "-i", '1i version: "2.4"', f"{target}/docker-compose.yml"])
        run([*compose, "up", "--detach"], 180)
        # Not `up --wait`: it gives up at the first unhealthy moment, which a busy machine may well have.
        wait_until(every_service_is_well, READY_SECONDS, f"{directory.name} on {name}", pause_seconds=0.5)


def inventory_variables(name: str, user: str) -> dict[str, t.Any]:
    """Return what an inventory says of a host to reach it by ssh."""
    return {
        "ansible_host": address(name),
        "ansible_user": user,
        "ansible_ssh_private_key_file": str(private_key()),
        "ansible_ssh_common_args": " ".join(ssh_arguments(name)),
    }


def inventory(names: t.Sequence[str], user: str, more: t.Optional[t.Mapping[str, t.Mapping[str, t.Any]]] = None) -> str:
    """Return an inventory in YAML that reaches the hosts by ssh; *more* are others by name, with their variables."""
    lines = ["all:", "  hosts:"]
    for name, variables in {**{name: inventory_variables(name, user) for name in names}, **(more or {})}.items():
        lines.append(f"    {json.dumps(name)}:")
        lines.extend(f"      {key}: {json.dumps(value)}" for key, value in variables.items())
    return "\n".join(lines) + "\n"
