# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Brings up an empty host from a backup set: configuration, database server and roles, so that the data can be restored."""

from __future__ import annotations

import os
import time
import typing as t

from . import _extraction as extraction
from ._backup_dump import globals_path
from ._backup_verify import SET_MOUNT
from ._compose_config import find_compose_command
from ._database_facts import Facts
from ._discovery import Selection, Stack, discover
from ._engine import Engine
from ._envelope import CheckError
from ._postgres import Login, PostgresOptions, find_instances
from ._postgres_tools import beside
from ._process import run_command
from ._restore_files import put_files

_UP_SECONDS = 900.0
_POLL_SECONDS = 0.5


def lay_out(set_path: str, directory: str, again: bool) -> list[str]:
    """Put the configuration of the set into *directory*, where none is, and return what was done; *again*, after an attempt that was interrupted.

    :raises CheckError: code ``not-found``: neither the directory nor the set has a Compose file.
    """
    archive = os.path.join(set_path, "config.tar.gz")
    if os.path.isdir(directory) and os.listdir(directory) and not again:
        return [f"{directory} was there and was used as it is"]
    if not os.path.exists(archive):
        raise CheckError(directory, "it is empty, and the set has no configuration", "Put the Compose file there, then restore again.", "not-found")
    extraction.check_archive(archive)
    written = put_files(archive, directory, "restore", lambda dummy: None)
    return [f"{len(written)} files were laid out in {directory}"]


def bring_up(engine: Engine, project: str, directory: str, manifest: Facts, set_path: str, login: Login, timeout_seconds: float, steps: list[str]) -> Stack:
    """Start the database services of the set, create their roles and the other containers, and return the stack; *steps* gets what was done."""
    command = find_compose_command(manifest["project"]["flavour"])
    if command is None:
        raise CheckError(
            directory, "there is no Compose on this host", "ansible-playbook stackops.runbook.prepare_host -e prepare_host_docker=true", "not-installed"
        )
    compose = [*command.argv, "--project-name", project]
    services = [one["service"] for one in manifest["instances"]]
    _run([*compose, "up", "-d", *services], directory)
    selection = Selection(project_name=project)
    stack = _wait_for_servers(engine, selection, services, timeout_seconds)
    for instance in find_instances([stack], PostgresOptions(login=login)):
        path = globals_path(str(instance.service))
        if os.path.exists(os.path.join(set_path, *path)):
            with beside(engine, instance, "restore", [f"{set_path}:{SET_MOUNT}:ro"]) as tools:
                # Roles that are there (the superuser) say so and stay; what is missing after this, the checks of the restore tell.
                tools.run(["psql", "--no-psqlrc", "--quiet", "--no-password", f"--file={'/'.join((SET_MOUNT, *path))}"], _UP_SECONDS)
    # Made but not started: they must not serve, nor migrate, an empty database.
    _run([*compose, "up", "--no-start"], directory)
    steps.append(f"{', '.join(services)} was started and its roles were created")
    return discover(engine, selection)[0]


def _run(argv: t.Sequence[str], directory: str) -> None:
    completed = run_command(argv, _UP_SECONDS, cwd=directory)
    if completed.exit_code != 0:
        said = " / ".join((completed.error_text or completed.text).strip().splitlines()[-3:])
        raise CheckError(" ".join(argv), said or f"exit code {completed.exit_code}", f"Run it by hand in {directory}.", "tool-failed")


def _wait_for_servers(engine: Engine, selection: Selection, services: t.Sequence[str], timeout_seconds: float) -> Stack:
    deadline = time.monotonic() + timeout_seconds
    while True:
        stack = discover(engine, selection)[0]
        waiting = [name for name in services if not any(_takes_logins(engine, one) for one in find_instances([stack]) if one.service == name)]
        if not waiting:
            return stack
        if time.monotonic() > deadline:
            raise CheckError(", ".join(waiting), f"not ready within {timeout_seconds:g} s", "See its log: docker compose logs", "unhealthy")
        time.sleep(_POLL_SECONDS)


def _takes_logins(engine: Engine, instance: t.Any) -> bool:
    try:
        with beside(engine, instance, "restore"):
            return True
    except CheckError:
        return False
