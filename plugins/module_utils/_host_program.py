# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""``stackops``, which cron runs on the host: one command line over the code of the modules."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import typing as t

STATE_DIRECTORY = "/var/lib/stackops"

#: Where each command is: a module with ``add_commands(commands, state_directory)`` and ``run(arguments)``.
_COMMANDS = {
    "backup": "_host_backup",
    "verify": "_host_backup",
    "check": "_host_check",
    "alerts": "_host_alerts",
    "cleanup": "_host_cleanup",
    "maintenance": "_host_maintenance",
    "debug": "_host_debug",
}


def main(argv: t.Sequence[str], version: str) -> int:
    """Run the program with *argv*, whose first word is its own name, and return its exit code.

    By a link such as ``stackops-check`` it is the command of that name.
    """
    dummy_program, dummy_separator, command = os.path.basename(argv[0]).partition("-")
    words = [command, *argv[1:]] if command else list(argv[1:])
    # Only what the command needs is imported: cron starts this every minute.
    wanted = [_COMMANDS[words[0]]] if words and words[0] in _COMMANDS else sorted(set(_COMMANDS.values()))
    modules = {name: importlib.import_module(f".{name}", __package__) for name in wanted}
    parser = argparse.ArgumentParser(prog="stackops", description="Watch the Compose stacks of this host, and back them up.")
    parser.add_argument("--version", action="version", version=f"stackops {version}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for module in modules.values():
        module.add_commands(commands, STATE_DIRECTORY)
    arguments = parser.parse_args(words)
    os.umask(0o077)
    for stream in (sys.stdout, sys.stderr):
        # Under cron there is no locale: what cannot be written is written as its code.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    return int(modules[_COMMANDS[arguments.command]].run(arguments))
