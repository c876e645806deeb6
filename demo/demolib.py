# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The demo: a real stack with real faults on this machine's own engine, and what ``diagnose`` says about it."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import typing as t

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
DEMO = CHECKOUT / "demo"
VENV = CHECKOUT / ".venv" / "bin"
for _part in ("stack", "testbed", "faults"):
    sys.path.append(str(CHECKOUT / "tests" / _part))

from stacklib import traffic  # noqa: E402
from stacklib.render import StackOptions, render  # noqa: E402
from testbedlib import engine, hosts, images  # noqa: E402
from testbedlib.console import CommandFailed, Unavailable, say, step  # noqa: E402
from testbedlib.console import run as run_command  # noqa: E402

PROJECT = "stackops-demo"
STATE = DEMO / ".state"
STACK = STATE / "stack"
REPORTS = DEMO / "reports"
PORTS = range(8000, 8100)
IMAGES = ("app:latest", "postgres:17")
#: In this order: the first recreates the backend, which would repair what comes after it.
FAULTS = ("healthcheck-wrong-path", "pending-migration", "slow-query", "error-burst")
RECORDED_HOSTS = ("web1", "web2")
ORDINARY_SECONDS = 8
REPEATED_SECONDS = 3
EXIT_FAILED = 1


def run() -> int:
    """Run the demo and return the exit code."""
    if not (VENV / "ansible-playbook").exists():
        say("There is no .venv yet. Type: make demo")
        return EXIT_FAILED
    begin = time.monotonic()
    try:
        _see_to_stack()
    except Unavailable as missing:
        say(f"{missing}\n\nNo engine can be had here, so nothing real is started: what follows is judged from FACTS RECORDED on a real run.")
        return _diagnose("-e", f"diagnose_recorded_facts={DEMO / 'recorded_facts'}", title="Judging recorded facts")
    except CommandFailed as error:
        say(f"demo: {error}")
        return EXIT_FAILED
    exit_code = _diagnose(title="Diagnosing the stack on this machine")
    say(f"The demo took {time.monotonic() - begin:.0f} s. The stack keeps running; `make demo-down` removes it.")
    return exit_code


def _see_to_stack() -> None:
    engine.ensure()
    images.ensure(IMAGES)
    # The parts that read YAML come with the virtual environment, which a machine without an engine may not have.
    from faultlib import catalogue, faults
    from faultlib.stack import stack_of

    first_time = not (STACK / ".env").exists()
    if first_time:
        render(STACK, StackOptions(project=PROJECT, port=_port(), health_interval="3s", health_retries=2, health_start_period="5s"))
    stack = stack_of(STACK)
    with step(f"Starting the example stack in {STACK.relative_to(CHECKOUT)}"):
        stack.compose("up", "-d")
        stack.wait_until(lambda: stack.shop().send(traffic.Call("GET", "/health")) > 0, "the shop answers")
    say(f"    The shop answers at {stack.shop().url}/docs")
    with step("An ordinary day's requests"):
        traffic.drive(stack.shop(), ORDINARY_SECONDS if first_time else REPEATED_SECONDS, per_second=25, seed=int(time.time()))
    port = int(stack.variables()["HTTP_PORT"])
    present = faults.switched_on(stack)
    for name in FAULTS:
        entry = catalogue.load()[name].of(stack, port)
        fault = entry.fault()
        if not faults.still_on(name, fault, stack):
            with step(f"Fault: {entry.cause}"):
                (faults.inject_again if name in present else faults.inject)(name, fault, stack)


def _port() -> int:
    """Return the first port of :data:`PORTS` that is free."""
    for port in PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port
    raise CommandFailed(f"no port between {PORTS.start} and {PORTS.stop - 1} is free")


def _diagnose(*arguments: str, title: str) -> int:
    command = [str(VENV / "ansible-playbook"), "-i", str(DEMO / "inventory.yml"), str(CHECKOUT / "playbooks" / "diagnose.yml")]
    command += ["-e", f"diagnose_report_dir={REPORTS}", *arguments]
    say(f"==> {title}: ansible-playbook -i demo/inventory.yml playbooks/diagnose.yml")
    environment = {**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "PATH": f"{VENV}:{os.environ['PATH']}"}
    exit_code = subprocess.run(command, cwd=CHECKOUT, env=environment, check=False).returncode
    page = REPORTS / "latest" / "report.html"
    if page.exists():
        say(f"\nThe report: {page.resolve()}")
    return exit_code


def record() -> int:
    """Record the facts that are judged where no engine can be had: two real hosts, one well, one with the demo's faults."""
    from faultlib import catalogue, faults
    from faultlib.stack import stack_of

    rendered = render(STATE / "recording", StackOptions())
    try:
        hosts.up(RECORDED_HOSTS)
        for host in RECORDED_HOSTS:
            hosts.deploy(host, rendered, "/srv/shop")
            traffic.drive(stack_of("/srv/shop", host).shop(), ORDINARY_SECONDS, per_second=25)
        broken = stack_of("/srv/shop", RECORDED_HOSTS[0])
        for name in FAULTS:
            faults.inject(name, catalogue.load()[name].of(broken, StackOptions().port).fault(), broken)
        inventory = STATE / "recording.yml"
        inventory.write_text(hosts.inventory(RECORDED_HOSTS, "root"), "utf-8")
        command = [str(VENV / "ansible"), "all", "-i", str(inventory), "-m", "stackops.runbook.stack_facts", "--tree", str(STATE / "facts")]
        run_command(command, 300, env={"ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "PATH": f"{VENV}:{os.environ['PATH']}"})
        for host in RECORDED_HOSTS:
            result = json.loads((STATE / "facts" / host).read_text("utf-8"))
            kept = {key: result[key] for key in ("schema", "host", "facts")}
            (DEMO / "recorded_facts" / f"{host}.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", "utf-8")
    except (CommandFailed, Unavailable) as error:
        say(f"demo: {error}")
        return EXIT_FAILED
    finally:
        hosts.down(RECORDED_HOSTS)
    return 0


def down() -> int:
    """Remove everything that the demo made and return the exit code."""
    try:
        if (STACK / ".env").exists() and engine.server_version() is not None:
            with step("Removing the stack and its data"):
                compose: t.Sequence[str] = engine.compose_command()
                run_command(["env", "-C", str(STACK), *compose, "down", "--volumes", "--remove-orphans"], 120)
        _remove_images()
    except (CommandFailed, Unavailable) as error:
        say(f"demo: {error}")
        return EXIT_FAILED
    for path in (STATE, REPORTS):
        shutil.rmtree(path, ignore_errors=True)
    say("The demo is gone. The engine and .venv stay.")
    return 0


def _remove_images() -> None:
    """Remove the demo's images, but for those that something else still uses."""
    for name in (*IMAGES, "base:trixie"):
        run_command(["docker", "image", "rm", images.CATALOGUE[name].reference], 60, check=False)
