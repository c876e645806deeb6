# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command line of the test bed."""

from __future__ import annotations

import argparse
import pathlib
import sys
import typing as t

from . import engine, hosts, images, odd, seed
from .console import CommandFailed, Unavailable, say

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="testbed", description="Engine, images and target hosts for tests and the demo, without a registry.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("engine", help="use the machine's engine, or install and start one")
    images_parser = commands.add_parser("images", help="build the images that are missing or outdated")
    images_parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: {' '.join(images.DEFAULT)}; there are: {', '.join(images.CATALOGUE)}")
    seed_parser = commands.add_parser("seed", help="make volumes for /var/lib/docker of hosts that already hold the stack's images")
    seed_parser.add_argument("names", nargs="+", metavar="VOLUME")
    inventory = commands.add_parser("inventory", help="print an inventory of hosts that are up")
    inventory.add_argument("names", nargs="*", metavar="NAME", help="default: all that are up")
    inventory.add_argument("--odd", action="store_true", help="and the odd hosts behind the first")
    inventory.add_argument("--user", default="root", choices=hosts.USERS)
    _add_host_commands(commands.add_parser("host", help="target hosts").add_subparsers(dest="action", required=True, metavar="ACTION"))
    return parser


def _add_host_commands(actions: t.Any) -> None:
    for action, text in (("up", "bring hosts up and wait until they answer"), ("down", "remove hosts and what they stored")):
        parser = actions.add_parser(action, help=text)
        parser.add_argument("names", nargs="+", metavar="NAME")
        if action == "up":
            parser.add_argument("--image", default=seed.HOST_IMAGE, metavar="NAME", help=f"default: {seed.HOST_IMAGE}")
    actions.add_parser("list", help="names of the hosts that are up")
    actions.add_parser("odd", help="let a host answer on other ports as hosts do that lack something").add_argument("name", metavar="NAME")
    actions.add_parser("address", help="print a host's address").add_argument("name", metavar="NAME")
    deploy = actions.add_parser("deploy", help="copy a rendered stack to a host and start it")
    deploy.add_argument("name", metavar="NAME")
    deploy.add_argument("directory", type=pathlib.Path, metavar="DIR")
    deploy.add_argument("--to", default="/srv/stack", metavar="PATH", help="default: /srv/stack")
    for action, text in (("ssh", "log in, or run a command, by ssh"), ("exec", "run a command as root without ssh")):
        parser = actions.add_parser(action, help=text)
        parser.add_argument("name", metavar="NAME")
        if action == "ssh":
            parser.add_argument("--user", default="root", choices=hosts.USERS)
        parser.usage = f"testbed host {action} NAME [-- COMMAND...]"


def _host(options: argparse.Namespace, command: list[str]) -> None:
    if options.action == "up":
        engine.ensure()
        hosts.up(options.names, images.canonical(options.image))
    elif options.action == "down":
        hosts.down(options.names)
    elif options.action == "list":
        sys.stdout.writelines(f"{name}\n" for name in hosts.listed())
    elif options.action == "address":
        sys.stdout.write(hosts.address(options.name) + "\n")
    elif options.action == "odd":
        odd.open_doors(options.name)
    elif options.action == "deploy":
        hosts.deploy(options.name, options.directory, options.to)
    elif options.action == "ssh":
        hosts.ssh(options.name, command, options.user)
    else:
        hosts.execute(options.name, command or ["bash"])


def _dispatch(options: argparse.Namespace, command: list[str]) -> None:
    if options.command == "engine":
        engine.ensure()
    elif options.command == "images":
        engine.ensure()
        images.ensure([images.canonical(name) for name in options.names] or images.DEFAULT)
    elif options.command == "seed":
        engine.ensure()
        with images.exclusive():
            images.ensure(("base:trixie", *images.DEFAULT))
            for volume in options.names:
                seed.make_volume(volume, {hosts.LABEL: volume})
    elif options.command == "inventory":
        names = options.names or hosts.listed()
        strange = odd.rows(names[0], hosts.inventory_variables(names[0], options.user)) if options.odd else {}
        sys.stdout.write(hosts.inventory(names, options.user, strange))
    else:
        _host(options, command)


def main(argv: t.Optional[t.Sequence[str]] = None) -> int:
    """Run the command line. Returns 0, 1 for a failure, 2 for a wrong use, 3 where the machine lacks something."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # What follows "--" is somebody else's command line.
    split = arguments.index("--") if "--" in arguments else len(arguments)
    try:
        _dispatch(_parser().parse_args(arguments[:split]), arguments[split + 1 :])
    except Unavailable as missing:
        say(f"testbed: {missing}")
        return EXIT_UNAVAILABLE
    except (KeyError, ValueError) as error:
        say(f"testbed: {error.args[0]}")
        return EXIT_USAGE
    except CommandFailed as error:
        say(f"testbed: {error}")
        return EXIT_FAILED
    return 0
