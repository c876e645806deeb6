# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""``stackops backup`` and ``stackops verify``: the code of the modules, with a configuration file instead of a task."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import sys
import time
import typing as t
import urllib.parse

from ._backup_arguments import backup_arguments
from ._backup_manifest import parse_time
from ._envelope import CheckError, rfc3339
from ._files import write_whole
from ._host_configuration import complete, read_options

CONFIGURATION = "/etc/stackops/backup.json"
SCHEMA_VERSION = 1
EXIT_OK, EXIT_WARNING, EXIT_FAILED = 0, 1, 2

_VERIFIED_LEVELS = ("decodable", "restorable", "equivalent")
_SET_TIME = re.compile(r"(\d{8}T\d{6}Z)-")

Result = dict[str, t.Any]


def run(arguments: argparse.Namespace) -> int:
    """Run one of the two commands and return its exit code."""
    loud = arguments.verbose or sys.stdout.isatty()
    try:
        parameters = read_configuration(arguments.config, arguments.command, vars(arguments))
        result = _run(parameters)
    except CheckError as error:
        result = {"failed": True, "status": "critical", "summary": error.sentence}
    except Exception as error:  # pylint: disable=broad-except
        # Whatever it is, whoever watches the state has to see that this run has failed.
        result = {"failed": True, "status": "critical", "summary": f"{type(error).__name__}: {error}"}
    status = "critical" if result.get("failed") else str(result.get("status") or "ok")
    try:
        record(arguments.state_directory, arguments.command, {**result, "status": status}, time.time())
    except OSError as error:
        status = "critical"
        sys.stderr.write(f"stackops: {arguments.state_directory}: {error.strerror}\n")
    _tell(result, status, loud)
    return {"ok": EXIT_OK, "warning": EXIT_WARNING}.get(status, EXIT_FAILED)


def _run(parameters: Result) -> Result:
    # Imported here, because --version and --help work where the rest does not.
    from ._backup import run_backup  # pylint: disable=import-outside-toplevel

    return run_backup(parameters, False)


def add_commands(commands: t.Any, state_directory: str) -> None:
    """Add both commands to the program's parser."""
    for name, words in (("backup", "make a verified set of each stack, and remove what has expired"), ("verify", "verify sets that are there again")):
        command = commands.add_parser(name, help=words, description=words)
        command.add_argument("--config", default=CONFIGURATION, help="configuration (%(default)s)")
        command.add_argument("--state-directory", default=state_directory, help="where the state is written (%(default)s)")
        command.add_argument("--verbose", action="store_true", help="say what was done when all is well, too")
        command.add_argument("--level", help="how far to verify, instead of what the configuration says")
        if name == "verify":
            command.add_argument("--set", help="latest, all, a name, a time or a path; otherwise those that are due")


def read_configuration(path: str, action: str, given: t.Mapping[str, t.Any]) -> Result:
    """Return the options of a run: the defaults, then those of the file *path*, then *level* and *set* of *given*.

    :raises CheckError: the file cannot be read, others may read it, or it says what there is not.
    """
    options = read_options(path, SCHEMA_VERSION, "backup")
    asked = {name: given[name] for name in ("level", "set") if given.get(name)}
    return complete({**options, **asked, "action": action}, backup_arguments(), path)


# -- what remains of a run --------------------------------------------------------------------------------------------------


def state_path(directory: str, project: str) -> str:
    """Return the file with the state of *project*."""
    return os.path.join(directory, f"backup-{urllib.parse.quote(project, safe='')}.json")


def read_state(path: str) -> Result:
    """Return what an earlier run wrote to *path*; nothing where there is none, or none that is known."""
    try:
        with open(path, "rb") as file:
            state = json.load(file)
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) and state.get("schema_version") == SCHEMA_VERSION else {}


def record(directory: str, action: str, result: t.Mapping[str, t.Any], now: float) -> None:
    """Write down what came of a run: of each stack, and of the run as a whole."""
    os.makedirs(directory, mode=0o755, exist_ok=True)
    for entry in result.get("stacks") or []:
        path = state_path(directory, str(entry["project"]))
        _write(path, state_after(read_state(path), action, entry, now))
    last_run = {"at": rfc3339(int(now)), "action": action, "status": result["status"], "summary": result.get("summary") or result.get("msg") or ""}
    _write(os.path.join(directory, "backup.json"), {"schema_version": SCHEMA_VERSION, "last_run": last_run})


def state_after(previous: t.Mapping[str, t.Any], action: str, entry: t.Mapping[str, t.Any], now: float) -> Result:
    """Return the state of a stack after a run; *entry* is what the run says of it.

    What the last good set was is kept through runs that fail.
    """
    status = "critical" if entry.get("failed") else str(entry.get("status") or "ok")
    state: Result = {
        "schema_version": SCHEMA_VERSION,
        "project": entry["project"],
        **{name: previous.get(name) for name in ("set_id", "last_success", "last_verified", "bytes", "duration_seconds", "level")},
    }
    if status in ("ok", "warning"):
        if action == "backup" and entry.get("set_id"):
            made_at = _time_of_set(str(entry["set_id"])) or now
            new = entry["set_id"] != previous.get("set_id")
            state.update(set_id=entry["set_id"], last_success=rfc3339(int(made_at)))
            # A run that found a young enough set has measured nothing.
            state.update({name: entry.get(name) for name in ("bytes", "duration_seconds", "level") if new or entry.get(name)})
            if entry.get("level") in _VERIFIED_LEVELS:
                state["last_verified"] = rfc3339(int(now)) if new else previous.get("last_verified") or rfc3339(int(made_at))
        elif action == "verify":
            state["last_verified"] = rfc3339(int(now))
            state["level"] = entry.get("level") or state["level"]
    success = parse_time(state["last_success"])
    state["age_seconds"] = None if success is None else max(0, int(now - success))
    state["last_run"] = {"at": rfc3339(int(now)), "action": action, "status": status, "summary": str(entry.get("summary") or "")}
    return state


def _write(path: str, state: Result) -> None:
    write_whole(path, json.dumps(state, indent=2, sort_keys=True).encode() + b"\n")


def _time_of_set(set_id: str) -> t.Optional[float]:
    match = _SET_TIME.match(set_id)
    try:
        return datetime.datetime.strptime(match[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc).timestamp() if match else None
    except ValueError:
        return None


def _tell(result: t.Mapping[str, t.Any], status: str, loud: bool) -> None:
    """Say what went wrong on standard error, which cron sends by mail; when all is well, only to who asks."""
    summary = str(result.get("summary") or result.get("msg") or status)
    if status == "ok":
        if loud:
            sys.stdout.write(f"{summary}\n")
        return
    lines = [f"stackops: {status}: {summary}"]
    for entry in result.get("stacks") or []:
        lines += [f"  {entry.get('project')}: {warning}" for warning in entry.get("warnings") or []]
    for error in result.get("errors") or []:
        lines.append("  " + " ".join(part for part in (f"{error.get('source')}: {error.get('reason')}.", error.get("hint") or "") if part))
    sys.stderr.write("\n".join(lines) + "\n")
