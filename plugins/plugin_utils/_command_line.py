# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The options with which this run reached its hosts, for the commands of the controller that a report prints.

A command that is printed is typed as it stands. Without the inventory of this run it would find no hosts and say so with exit code 0, and
without ``-K`` it would end at the first host whose sudo asks for a password. Passwords are never among the options, only that they are asked for.
"""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import typing as t

#: Options that take a value, and those that take none, by their name among the arguments of Ansible's command line.
_WITH_VALUE = {"remote_user": "-u", "private_key_file": "--private-key", "become_password_file": "--become-password-file"}
_WITH_VALUES = {"vault_ids": "--vault-id", "vault_password_files": "--vault-password-file"}
_FLAGS = {"ask_pass": "-k", "become_ask_pass": "-K", "ask_vault_pass": "-J"}

#: A list of hosts in place of a file can be as long as a fleet: nobody types that, and a report holds the command for each finding.
_MAXIMUM_SOURCES = 500
_PROGRAMS = frozenset(("ansible", "ansible-playbook"))
_NAMES_INVENTORY = re.compile(r"(?:^|\s)(?:-i|--inventory)(?:[\s=]|$)")


def options_of_run(
    sources: t.Sequence[str], usual_sources: t.Sequence[str], arguments: t.Mapping[str, t.Any], usual: t.Mapping[str, t.Any], directory: str
) -> str:
    """Return what stands behind ``ansible-playbook`` for it to reach the hosts of this run: options, quoted for the shell, or nothing.

    *sources* are those of the run's inventory and *arguments* those of its command line; what the configuration says anyway
    (*usual_sources*, *usual*) is left out. Paths beneath *directory*, where the run was started, are relative to it.
    """
    words: list[str] = []
    inventory = [word for source in sources for word in ("-i", _typed(str(source), directory))] if list(sources) != list(usual_sources) else []
    if len("".join(inventory)) <= _MAXIMUM_SOURCES:
        words += inventory
    for name, option in _WITH_VALUE.items():
        value = arguments.get(name)
        if value and value != usual.get(name):
            words += [option, _typed(str(value), directory)]
    for name, option in _WITH_VALUES.items():
        words += [word for value in arguments.get(name) or () for word in (option, _typed(str(value), directory))]
    words += [option for name, option in _FLAGS.items() if arguments.get(name) and not usual.get(name)]
    text = shlex.join(words)
    # It would end the command where it stands in a text.
    return "" if re.search(r"[`\x00-\x1f\x7f]", text) else text


def _typed(value: str, directory: str) -> str:
    """Return a path as it was probably typed; anything else as it is."""
    path = pathlib.PurePath(value)
    if not path.is_absolute() or "," in value:
        return value
    beneath = os.path.relpath(value, directory)
    # A leading dash would be another option, and a name alone is a path to Ansible as well.
    return value if beneath.startswith(("..", "-")) else beneath


def with_options(text: str, options: str) -> str:
    """Return *text* with *options* in each of its commands of Ansible, which stand between backticks; one that names an inventory stays."""
    if not options:
        return text
    return "`".join(_command_with(part, options) if position % 2 else part for position, part in enumerate(text.split("`")))


def _command_with(command: str, options: str) -> str:
    program, blank, rest = command.partition(" ")
    if program not in _PROGRAMS or not rest or _NAMES_INVENTORY.search(rest):
        return command
    return f"{program}{blank}{options} {rest}"
