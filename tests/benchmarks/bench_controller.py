#!/usr/bin/env python3
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What `diagnose` costs the controller for each host, beside a ping of the same hosts over the same connections.

    tests/benchmarks/bench_controller.py [--names 50] [--rounds 3] [--forks 25] [--docker-host ADDRESS] [--json build/bench_controller.json]

The hosts are names of this machine, each with a connection of its own to one sshd that is started for it. What runs on them is not
counted; what Ansible starts is, its ssh processes included. The facts are those of this machine without an engine, unless the address
of one is given. It also prints what is sent to a host (docs/controller-cost.md).

The bar: 0.4 s of processor time for each host. The two are run in turns and the medians are compared. The ratio of the wall times has
its bar in bench_diagnose.py: here the hosts and the controller are one machine.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import getpass
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(sys.executable).parent

#: Bar of the processor time for each host, in seconds.
MOST_SECONDS = 0.4
_PR_SET_CHILD_SUBREAPER = 36
_NO_ENGINE = "unix:///var/run/no-engine.sock"


def measured(argv: t.Sequence[str]) -> dict[str, float]:
    """Run *argv* and return the wall and processor seconds of it and of everything that it has left running, which is ended.

    It is for a process of its own: what is left running comes to the next ancestor that asks for it.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    begin = time.monotonic()
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    wall = time.monotonic() - begin
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv)} ended with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    for pid in map(int, pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()):
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall_seconds": wall, "cpu_seconds": usage.ru_utime + usage.ru_stime}


@contextlib.contextmanager
def server(directory: pathlib.Path) -> t.Iterator[int]:
    """Run an sshd with its keys in *directory* and give its port."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None:
        sys.exit("There is no sshd. Install it: sudo apt-get install openssh-server")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)], check=True)
    shutil.copy(directory / "user.pub", directory / "authorized")
    (directory / "known").write_text("bench " + (directory / "host.pub").read_text(encoding="ascii"), encoding="ascii")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    options = {
        "Port": port, "ListenAddress": "127.0.0.1", "HostKey": directory / "host", "AuthorizedKeysFile": directory / "authorized", "StrictModes": "no",
        "UsePAM": "no", "PidFile": "none", "MaxStartups": 1000, "PasswordAuthentication": "no", "Subsystem": "sftp internal-sftp",
    }  # fmt: skip
    (directory / "config").write_text("".join(f"{name} {value}\n" for name, value in options.items()), encoding="utf-8")
    if os.geteuid() == 0:
        pathlib.Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    process = subprocess.Popen([program, "-D", "-f", str(directory / "config")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


def inventory(directory: pathlib.Path, names: int, port: int) -> pathlib.Path:
    """Write an inventory of so many *names* and return its path."""
    options = f"-o UserKnownHostsFile={directory / 'known'} -o HostName=127.0.0.1 -o HostKeyAlias=bench -o IdentitiesOnly=yes"
    variables = {
        "ansible_port": port, "ansible_user": getpass.getuser(), "ansible_ssh_private_key_file": str(directory / "user"),
        "ansible_ssh_common_args": options, "ansible_python_interpreter": "/usr/bin/python3",
    }  # fmt: skip
    hosts = {f"n{number:04}": {} for number in range(1, names + 1)}
    path = directory / "inventory.json"
    path.write_text(json.dumps({"all": {"vars": variables, "hosts": hosts}}), encoding="utf-8")
    return path


def measure(arguments: argparse.Namespace, directory: pathlib.Path, port: int) -> dict[str, list[dict[str, float]]]:
    """Return what each round took, by what was run."""
    where = ["-i", str(inventory(directory, arguments.names, port)), "--forks", str(arguments.forks)]
    diagnose = ["playbooks/diagnose.yml", "-e", f"diagnose_report_dir={directory / 'reports'}", "-e", f"diagnose_docker_host={arguments.docker_host}"]
    runs = {
        "ping": [str(BIN / "ansible"), *where, "all", "-m", "ansible.builtin.ping"],
        "diagnose": [str(BIN / "ansible-playbook"), *where, *diagnose],
    }
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    for dummy in range(arguments.rounds):
        for name, argv in runs.items():
            helper = [sys.executable, __file__, "--measured", json.dumps(argv)]
            done = subprocess.run(helper, env=environment, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode != 0:
                sys.exit(done.returncode)
            results[name].append(json.loads(done.stdout))
    return results


def payload() -> dict[str, t.Any]:
    """Return what is sent for ``stack_facts``, as tests/support/payload.py measures it."""
    argv = [sys.executable, str(ROOT / "tests/support/payload.py"), "--json", "stack_facts"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".venv/collections"), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    result: dict[str, t.Any] = json.loads(subprocess.run(argv, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout)["stack_facts"]
    return result


def main() -> int:
    """Measure, print the table, and return 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--names", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--forks", type=int, default=25)
    parser.add_argument("--docker-host", default=_NO_ENGINE, help="address of the engine whose stacks are diagnosed")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "build" / "bench_controller.json")
    parser.add_argument("--measured", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measured:
        print(json.dumps(measured(json.loads(arguments.measured))))
        return 0
    with tempfile.TemporaryDirectory() as name, server(pathlib.Path(name)) as port:
        results = measure(arguments, pathlib.Path(name), port)
    median = {name: {what: statistics.median(one[what] for one in rounds) for what in rounds[0]} for name, rounds in results.items()}
    for name, values in median.items():
        cpu = " ".join(f"{one['cpu_seconds'] / arguments.names:.3f}" for one in results[name])
        middle = values["cpu_seconds"] / arguments.names
        print(f"{name:10} processor time for each host: median {middle:.3f} s   ({cpu})   wall {values['wall_seconds']:.1f} s")
    each = median["diagnose"]["cpu_seconds"] / arguments.names
    sent = payload()
    met = each <= MOST_SECONDS
    print(f"diagnose, processor time for each host: {each:.3f} s   bar {MOST_SECONDS:.2f} s   {'met' if met else 'MISSED'}")
    print(f"diagnose / ping, wall: {median['diagnose']['wall_seconds'] / median['ping']['wall_seconds']:.2f}")
    print(f"sent to each host: {sent['sent_bytes'] / 1024:.1f} KiB, of which the collection's share, compressed: {sent['own_bytes'] / 1024:.1f} KiB")
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    whole = {"names": arguments.names, "forks": arguments.forks, "rounds": results, "median": median, "cpu_seconds_per_host": each, "met": met, "payload": sent}
    arguments.json.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
