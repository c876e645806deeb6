# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command line of the faults."""

from __future__ import annotations

import argparse
import sys
import typing as t

from testbedlib.console import CommandFailed, say, step

from . import catalogue, faults
from .stack import RunningStack, stack_of


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fault", description="Switch real faults of the example stack on and off.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("list", help="every fault, and the rule that must find it")
    for name, text in (
        ("inject", "switch faults on and wait until they show"),
        ("undo", "take faults back and wait until the stack is well"),
        ("active", "faults that are on"),
        ("reset", "take all faults back and remove what they left in logs and statistics"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--stack", required=True, metavar="DIR", help="directory of the rendered stack, on the host where --host is given")
        command.add_argument("--host", metavar="NAME", help="host of the test bed; default: this machine")
        command.add_argument("--backend", default="backend", metavar="SERVICE")
        command.add_argument("--database", default="postgres", metavar="SERVICE")
        if name in ("inject", "undo"):
            command.add_argument("names", nargs="+", choices=sorted(faults.FAULTS), metavar="NAME")
    return parser


def _entry(name: str, stack: RunningStack) -> catalogue.Entry:
    return catalogue.load()[name].of(stack, int(stack.variables()["HTTP_PORT"]))


def _undo(name: str, stack: RunningStack) -> None:
    with step(f"Taking back {name}"):
        faults.undo(name, _entry(name, stack).fault(), stack)


def _dispatch(options: argparse.Namespace) -> None:
    if options.command == "list":
        sys.stdout.writelines(f"{entry.name:28} {entry.rule:28} {entry.cause}\n" for entry in catalogue.load().values())
        return
    stack = stack_of(options.stack, options.host, options.backend, options.database)
    if options.command == "active":
        sys.stdout.writelines(f"{name}\n" for name in faults.switched_on(stack))
    elif options.command == "inject":
        for name in options.names:
            entry = _entry(name, stack)
            with step(f"{name}: {entry.cause}"):
                faults.inject(name, entry.fault(), stack)
    elif options.command == "undo":
        for name in options.names:
            _undo(name, stack)
    else:
        active = {name: _entry(name, stack).fault() for name in reversed(faults.switched_on(stack))}
        with step(f"Taking back {', '.join(active) or 'nothing'}, and removing traces"):
            faults.reset(active, stack)


def main(argv: t.Optional[t.Sequence[str]] = None) -> int:
    """Run the command line and return its exit code."""
    try:
        _dispatch(_parser().parse_args(argv))
    except CommandFailed as error:
        say(f"fault: {error}")
        return 1
    return 0
