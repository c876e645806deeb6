# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Volumes for ``/var/lib/docker`` of a host that already hold the stack's images.

Loading the images into every host takes seconds each and fills the disk with copies. So they are loaded once, into a
seed; each host's volume then shares the seed's layer files by hard links, which is safe because overlay2 never writes
to the layers of an image.
"""

from __future__ import annotations

import hashlib
import subprocess
import typing as t

from . import images
from .console import CommandFailed, output, run, step, succeeds, wait_until

SEED_PREFIX = "stackops-test-seed-"
SEED_LABEL = "stackops.testbed.seed"
CONTENT: tuple[str, ...] = ("app:latest", "postgres:17")
HOST_IMAGE = "host:trixie"
LOAD_SECONDS = 300

#: How a host is run; see tests/testbed/README.md for why it is this and not --privileged.
RUN_OPTIONS: tuple[str, ...] = (
    "--cap-add=ALL", "--cap-drop=SYS_RESOURCE",
    "--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined", "--security-opt=systempaths=unconfined",
    "--cgroupns=host", "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw", "--tmpfs=/run", "--tmpfs=/run/lock", "--tmpfs=/tmp",
)  # fmt: skip

_CLONE = """
set -eu
seed=/volumes/$1/_data; target=/volumes/$2/_data
tar -C "$seed" --exclude='./overlay2/*/diff/*' -cf - . | tar -C "$target" -xpf -
for diff in "$seed"/overlay2/*/diff; do
    layer=${diff#"$seed"/}
    rm -rf "${target:?}/$layer"
    cp -al "$diff" "$target/$layer"
done
"""


def seed_name() -> str:
    """Return the name of the seed for the present images."""
    ids = [output(["docker", "image", "inspect", "--format", "{{.Id}}", images.CATALOGUE[name].reference]) for name in (*CONTENT, HOST_IMAGE)]
    return SEED_PREFIX + hashlib.sha256(" ".join(ids).encode()).hexdigest()[:12]


def ensure_seed() -> str:
    """Make the seed unless it is there, remove those of earlier images, and return its name."""
    name = seed_name()
    present = output(["docker", "volume", "ls", "--quiet", "--filter", f"label={SEED_LABEL}=complete"]).split()
    if name not in present:
        with step("Loading the stack's images into a seed for the hosts' engines"):
            _make(name)
    for old in present:
        if old != name:
            run(["docker", "volume", "rm", old], check=False)
    return name


def _make(name: str) -> None:
    # Labels of a volume cannot be changed: the work is done in a draft, and only a whole one gets the seed's name.
    draft = f"{name}-draft"
    run(["docker", "rm", "--force", "--volumes", draft], check=False)
    run(["docker", "volume", "rm", "--force", draft, name], check=False)
    run(["docker", "volume", "create", draft])
    host_image = images.CATALOGUE[HOST_IMAGE].reference
    try:
        run(["docker", "run", "--detach", "--name", draft, *RUN_OPTIONS, f"--volume={draft}:/var/lib/docker", host_image])
        wait_until(lambda: succeeds(["docker", "exec", draft, "docker", "version"], 10), 60, "the seed's engine")
        load(draft)
        run(["docker", "exec", draft, "systemctl", "stop", "docker.socket", "docker.service"])
        run(["docker", "rm", "--force", draft])
        run(["docker", "volume", "create", "--label", f"{SEED_LABEL}=complete", name])
        clone(draft, name)
    finally:
        run(["docker", "rm", "--force", draft], check=False)
        run(["docker", "volume", "rm", "--force", draft], check=False)


def load(host: str, engine: str = "docker") -> None:
    """Give the *engine* of *host* the stack's images."""
    argv = ["docker", "save", *(images.CATALOGUE[name].reference for name in CONTENT)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as save:
        run(["docker", "exec", "--interactive", host, engine, "load"], LOAD_SECONDS, stdin=save.stdout)
    if save.returncode != 0:
        raise CommandFailed(f"{' '.join(argv)}: exit code {save.returncode}")


def clone(seed: str, volume: str) -> None:
    """Fill the empty *volume* with what *seed* holds."""
    # Hard links do not cross mounts: both volumes must be seen below one.
    volumes = output(["docker", "volume", "inspect", "--format", "{{.Mountpoint}}", seed]).rsplit("/", 2)[0]
    helper = images.CATALOGUE["base:trixie"].reference
    run(["docker", "run", "--rm", "--network=none", f"--volume={volumes}:/volumes", helper, "sh", "-c", _CLONE, "clone", seed, volume], LOAD_SECONDS)


def make_volume(volume: str, labels: t.Mapping[str, str]) -> None:
    """Make *volume*, filled from the seed. One that is there already stays as it is."""
    if succeeds(["docker", "volume", "inspect", volume]):
        return
    seed = ensure_seed()
    run(["docker", "volume", "create", *(f"--label={key}={value}" for key, value in labels.items()), volume])
    try:
        clone(seed, volume)
    except CommandFailed:
        run(["docker", "volume", "rm", "--force", volume], check=False)
        raise
