# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Debug mode for some time: variables in the project's ``.env``, and the services that take them made anew.

How it was before is written down before anything is changed, and cron of the host looks every minute whether the time is over: it ends
without the controller that began it, and after a restart of the host.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import glob
import hashlib
import json
import os
import stat
import time
import typing as t

from ._compose_config import ComposeConfig, project_env_file, read_config
from ._compose_project import CONFIG_SECONDS, ComposeProject
from ._discovery import Stack
from ._dotenv_edit import assignments, lines_of, value_of, with_lines, with_values
from ._envelope import CheckError, rfc3339
from ._files import write_whole
from ._guarded_files import lock_file, read_json_object, told, unlock_file
from ._maintenance import STATE_DIRECTORY, window_while
from ._redaction import Redactor, is_secret_name
from ._remediation import Change, Diff, Facts, NothingChanged, Verified, Work, run_remediation

PROGRAM = "/usr/local/sbin/stackops"
CRON_FILE = "/etc/cron.d/stackops-debug"
DIRECTORY_NAME = "debug"
SCHEMA_VERSION = 1
LONGEST_MINUTES = 7 * 24 * 60
_LOCK_SECONDS = 30.0
_UP_SECONDS = 300.0
_ENV_LIMIT = 1024 * 1024
_CRON_PROGRAMS = frozenset(("cron", "crond", "busybox"))
_CRON_LINES = (
    "# Written by stackops.runbook.remediate: ends debug modes whose time is over, and then removes this file.",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    f"* * * * * root {PROGRAM} debug end --due >/dev/null 2>&1",
    f"@reboot root {PROGRAM} debug end --due >/dev/null 2>&1",
    "",
)


@dataclasses.dataclass(frozen=True)
class Record:
    """A debug mode that is on: what the file was before, what was written, and until when."""

    project: str
    env_file: str
    original: bytes = dataclasses.field(repr=False)
    written_sha256: str
    lines: t.Mapping[str, t.Optional[str]] = dataclasses.field(repr=False)
    variables: t.Mapping[str, str]
    services: tuple[str, ...]
    until: float
    docker_host: t.Optional[str] = None
    audit_log: t.Optional[str] = None

    def as_bytes(self) -> bytes:
        """Return the content of its file."""
        content = {**dataclasses.asdict(self), "original": base64.b64encode(self.original).decode("ascii"), "schema_version": SCHEMA_VERSION}
        return json.dumps(content, indent=2).encode() + b"\n"


class Records:
    """The records on this host; make them only as root, for they hold what ``.env`` files hold."""

    def __init__(self, state_directory: str = STATE_DIRECTORY, cron_file: str = CRON_FILE) -> None:
        self.directory = os.path.join(state_directory, DIRECTORY_NAME)
        self.cron_file = cron_file

    @contextlib.contextmanager
    def lock(self) -> t.Iterator[None]:
        """Have no other run switch a debug mode at the same time."""
        with told(self.directory):
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            descriptor = lock_file(
                os.path.join(self.directory, ".lock"), _LOCK_SECONDS, {"pid": os.getpid(), "purpose": "debug", "since": rfc3339(time.time())}
            )
        try:
            yield
        finally:
            unlock_file(descriptor)

    def find(self, project: str) -> t.Optional[Record]:
        """Return the record of *project*, if its debug mode is on.

        :raises CheckError: it is damaged.
        """
        path = self._path(project)
        try:
            content = read_json_object(path)
            if content.pop("schema_version") != SCHEMA_VERSION:
                raise ValueError("another schema_version")
            original = base64.b64decode(content.pop("original"), validate=True)
            return Record(**{**content, "original": original, "services": tuple(content["services"])})
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise CheckError(path, f"the record of a debug mode is damaged: {error}", f"Correct .env by hand, then remove {path}.", "store") from error

    def projects(self) -> list[str]:
        """Return the projects whose debug mode is on."""
        return sorted(os.path.basename(path)[: -len(".json")] for path in glob.glob(os.path.join(self.directory, "*.json")))

    def keep(self, record: Record) -> None:
        """Write *record* down and have cron look after it. Both are there before anything is changed."""
        with told(self.directory):
            write_whole(self._path(record.project), record.as_bytes(), 0o600)
        with told(self.cron_file):
            write_whole(self.cron_file, "\n".join(_CRON_LINES).encode(), 0o644)

    def forget(self, project: str) -> None:
        """Remove the record, and the file of cron with the last one."""
        with told(self.directory):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path(project))
            if not self.projects():
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.cron_file)

    def _path(self, project: str) -> str:
        return os.path.join(self.directory, f"{project}.json")


# -- the file ----------------------------------------------------------------------------------------------------------


def read_text(path: str) -> str:
    """Return the text of a ``.env`` file. :raises CheckError: it is too large, or no text."""
    with told(path), open(path, "rb") as file:
        content = file.read(_ENV_LIMIT + 1)
    if len(content) > _ENV_LIMIT:
        raise CheckError(path, "it is larger than 1 MiB", "Change it by hand.", "unsupported")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckError(path, f"it is no UTF-8 text: {error}", "Change it by hand.", "unsupported") from error


def replace_text(path: str, text: str) -> None:
    """Write *text* in the place of the file, whole or not at all, with its mode and owner."""
    real = os.path.realpath(path)
    with told(real):
        before = os.stat(real)
        write_whole(real, text.encode("utf-8"), stat.S_IMODE(before.st_mode))
        if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(real, before.st_uid, before.st_gid)


def diff_of(path: str, before: str, after: str, names: t.Collection[str]) -> Diff:
    """Return the lines that change; other values of the file, which may be secret, are in neither text."""

    def shown(text: str) -> str:
        return "".join(f"{one.name}={'...' if is_secret_name(one.name) else one.value}\n" for one in assignments(text) if one.name in names)

    return Diff(path, shown(before), shown(after))


# -- on ----------------------------------------------------------------------------------------------------------------


def plan_on(project: ComposeProject, params: t.Mapping[str, t.Any], records: Records) -> Work:
    """Return the plan to switch the debug mode on. :raises CheckError: it cannot be, or would not end."""
    minutes = int(params["minutes"])
    values = {str(name): str(value) for name, value in params["variables"].items()}
    if not 1 <= minutes <= LONGEST_MINUTES:
        raise CheckError("minutes", f"a debug mode of {minutes} minutes is not begun", f"Give it between 1 and {LONGEST_MINUTES}.", "invalid-option")
    path = params.get("env_file") or project_env_file(project.stack)
    if path is None:
        where = project.stack.working_dir or "the project's directory"
        raise CheckError(f"{project.name}: .env", f"there is none in {where}", "Make one (it may be empty), or name it in env_file.", "not-found")
    present = records.find(project.name)
    if present is not None:
        left = max(0, round((present.until - time.time()) / 60))
        words = f"debug mode is on already, and ends in {left} min, at {rfc3339(int(present.until))}"
        return _nothing(project, "debug_on", words, ("debug_off ends it now.",))
    text = read_text(path)
    try:
        after = with_values(text, values)
    except ValueError as error:
        raise CheckError(path, str(error), "Give plain values, without spaces and quotes.", "invalid-option") from error
    services, waiting = _affected(project, path, after, values, params["services"])
    up = _up(project, services)
    assigned = " ".join(f"{name}={value}" for name, value in values.items())
    unchanged = " It is in .env already; what changes is that it ends." if after == text else ""
    also = f" Recreating also brings what has changed in the Compose file or .env since: {', '.join(waiting)}." if waiting else ""
    change = Change(
        "debug_on",
        f"{project.name}/{','.join(services)}",
        f"set {assigned} in {path} for {minutes} minutes, and recreate {', '.join(services)}.{unchanged}{also}",
        (("sed", "-i", f"$a {assigned}", path), up),
        {name: value_of(text, name) for name in values},
        {**values, "ends_after_minutes": minutes},
        (f"It ends by itself after {minutes} minutes: {CRON_FILE} on the host.", "Before that: the action debug_off."),
        diff_of(path, text, after, values),
    )

    def carry_out() -> Facts:
        _have_cron()
        until = time.time() + minutes * 60
        with records.lock():
            record = Record(
                project.name, path, text.encode("utf-8"), _sha256(after), lines_of(text, values), values, tuple(services), until,
                params.get("docker_host") or None, params.get("audit_log") or None,
            )  # fmt: skip
            if read_text(path) != text:
                raise NothingChanged(path, "somebody has changed it in this moment", "Run it again.", "changed-meanwhile")
            records.keep(record)
            try:
                replace_text(path, after)
            except CheckError:
                records.forget(project.name)
                raise
            with window_while(f"debug mode of {project.name}", (project.name,), (), _UP_SECONDS):
                project.carry_out(up, _UP_SECONDS)
        return {**values, "ends_at": rfc3339(int(until)), "original": f"{records.directory}/{project.name}.json"}

    return Work(change, carry_out, lambda: _verified(project, services, values, float(params["health_timeout_seconds"])), project.redactor)


def _affected(project: ComposeProject, path: str, after: str, values: t.Mapping[str, str], wanted: t.Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the services that take one of *values*, and what else would change in their containers.

    :raises CheckError: no service does, so that the file would be changed for nothing.
    """
    project.require(wanted)
    now = project.config
    then = _config_with(project.stack, path, after)
    if not now.complete or not then.complete:
        services = list(wanted) or sorted({one.service for one in project.stack.of_role("application")})
        return services, []
    takers = [name for name, service in then.services.items() if service.environment != now.services[name].environment and project.containers(name)]
    # A service that reads the whole file (env_file) is not seen this way: its own directive does not look at the other file.
    readers = [one.service for one in project.stack.of_role("application")] if _whole_files_are_read(project.stack) else []
    services = sorted(set(wanted) & set(takers + readers)) if wanted else sorted(set(takers or readers))
    if not services:
        name = next(iter(values))
        who = ", ".join(wanted) or "no service"
        hint = f"Hand it on in the Compose file, under environment: {name}: ${{{name}:-false}}; or name other variables in variables."
        raise CheckError(f"{project.name}: {path}", f"{who} takes {', '.join(values)} from it", hint, "not-used")
    waiting = []
    for service in services:
        for container in project.containers(service)[:1]:
            declared = now.services[service].environment
            waiting += [f"{service}: {name}" for name, value in declared.items() if name not in values and container.env.get(name) != value]
    return services, waiting


def _whole_files_are_read(stack: Stack) -> bool:
    """Say whether a Compose file has ``env_file``; the resolved one does not tell any more."""
    for path in stack.config_files:
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            if "env_file" in file.read(_ENV_LIMIT):
                return True
    return False


def _config_with(stack: Stack, path: str, text: str) -> ComposeConfig:
    """Return the Compose file as it is resolved with *text* as its ``.env``, which is not written there yet."""
    temporary = f"{os.path.realpath(path)}.stackops-{os.getpid()}"
    copy = Stack(
        stack.name, stack.flavour, stack.working_dir, stack.config_files, stack.containers,
        environment_files=[temporary if os.path.realpath(one) == os.path.realpath(path) else one for one in stack.environment_files or (path,)],
    )  # fmt: skip
    try:
        with told(temporary):
            write_whole(temporary, text.encode("utf-8"), 0o600)
        return read_config(copy, CONFIG_SECONDS)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _up(project: ComposeProject, services: t.Sequence[str]) -> tuple[str, ...]:
    """Return the command that makes *services* anew where they differ, as many of each as there are now."""
    scales: list[str] = []
    for service in services:
        number = len(project.containers(service))
        if number > 1:
            scales += ["--scale", f"{service}={number}"]
    return project.up_argv(services, *scales)


def _verified(project: ComposeProject, services: t.Sequence[str], values: t.Mapping[str, t.Optional[str]], seconds: float) -> Verified:
    """Say whether every container of *services* has *values* in its environment, and is well."""
    for service in services:
        for container in project.containers(service):
            wrong = [name for name, value in values.items() if value is not None and container.env.get(name) != value]
            if wrong:
                return Verified(False, f"{container.name} does not have {', '.join(f'{name}={values[name]}' for name in wrong)}")
    return project.well(services, seconds)


def _have_cron() -> None:
    """Refuse what could not end by itself. :raises NothingChanged: there is no cron, or the program that it is to start is not there."""
    if not os.access(PROGRAM, os.X_OK):
        hint = "The role remediate installs it: use its action debug_on, or the module host_program before this one."
        raise NothingChanged(PROGRAM, "it is not there, and it is what ends the debug mode", hint, "not-installed")
    if not os.path.isdir(os.path.dirname(CRON_FILE)) or not _runs(_CRON_PROGRAMS):
        raise CheckError(
            "cron", "it does not run here, so that the debug mode would not end by itself", "ansible-playbook stackops.runbook.prepare_host", "no-cron"
        )


def _runs(names: t.Collection[str]) -> bool:
    for path in glob.glob("/proc/[0-9]*/comm"):
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            if file.read().strip() in names:
                return True
    return False


# -- off ---------------------------------------------------------------------------------------------------------------


def plan_off(project: ComposeProject, params: t.Mapping[str, t.Any], records: Records) -> Work:
    """Return the plan to have everything as it was before. :raises CheckError: the record is damaged."""
    record = records.find(project.name)
    if record is None:
        return _nothing(project, "debug_off", "no debug mode is on that was switched on this way", ())
    text, after = _text_before(record)
    up = _up(project, record.services)
    before = {name: value_of(text, name) for name in record.variables}
    goal = {name: value_of(after, name) for name in record.variables}
    undo = "the action debug_on"
    change = Change(
        "debug_off",
        f"{project.name}/{','.join(record.services)}",
        f"have {', '.join(record.variables)} in {record.env_file} as before, and recreate {', '.join(record.services)}",
        (up,),
        before,
        goal,
        (undo,),
        diff_of(record.env_file, text, after, record.variables),
    )

    def carry_out() -> Facts:
        with records.lock():
            replace_text(record.env_file, after)
            with window_while(f"debug mode of {project.name}", (project.name,), (), _UP_SECONDS):
                project.carry_out(up, _UP_SECONDS)
            records.forget(project.name)
        return goal

    return Work(change, carry_out, lambda: _verified(project, record.services, goal, float(params["health_timeout_seconds"])), project.redactor)


def _text_before(record: Record) -> tuple[str, str]:
    """Return the text of the file, and what it is to be."""
    text = read_text(record.env_file)
    if _sha256(text) == record.written_sha256:
        return text, record.original.decode("utf-8")
    # Somebody has worked on it since: only what was set for the debug mode goes.
    return text, with_lines(text, record.lines)


def _plan_file_only(record: Record, records: Records) -> Work:
    """Return the plan for a project that has no container any more: its file is put right, for when it is started again."""
    text, after = _text_before(record)
    goal = {name: value_of(after, name) for name in record.variables}
    what = f"have {', '.join(record.variables)} in {record.env_file} as before; the project has no container to recreate"
    change = Change("debug_off", record.project, what, before={name: value_of(text, name) for name in record.variables}, after=goal)

    def carry_out() -> Facts:
        with records.lock():
            replace_text(record.env_file, after)
            records.forget(record.project)
        return goal

    return Work(change, carry_out, lambda: Verified(read_text(record.env_file) == after, record.env_file), Redactor(()))


def end_due(records: Records, now: float, projects: t.Sequence[str] = (), due: bool = True) -> list[Facts]:
    """End the debug modes whose time is over (all of *projects*, or of the host, without *due*), and return what came of each."""
    results = []
    for name in projects or records.projects():
        try:
            record = records.find(name)
        except CheckError as error:
            results.append({"changed": False, "failed": True, "summary": error.sentence})
            continue
        if record is None or (due and now < record.until):
            continue
        params = {
            "project_name": name, "docker_host": record.docker_host, "audit_log": record.audit_log, "audit_actor": "stackops debug end",
            "audit_reason": "its time is over" if due else "", "health_timeout_seconds": 60,
        }  # fmt: skip
        results.append(run_remediation(functools.partial(_plan_end, record, params, records), params, False))
    return results


def _plan_end(record: Record, params: t.Mapping[str, t.Any], records: Records) -> Work:
    try:
        project = ComposeProject.of(params)
    except CheckError as error:
        if error.code != "project-unknown":
            raise
        return _plan_file_only(record, records)
    return plan_off(project, params, records)


def _nothing(project: ComposeProject, action: str, words: str, undo: tuple[str, ...]) -> Work:
    change = Change(action, project.name, words, undo=undo, needed=False)
    return Work(change, dict, lambda: Verified(True, words), project.redactor)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def switch_debug(params: t.Mapping[str, t.Any], check_mode: bool) -> Facts:
    """Do what the module ``debug_mode`` is asked for."""
    records = Records()
    plan = plan_on if params["state"] == "on" else plan_off
    return run_remediation(lambda: plan(ComposeProject.of(params), params, records), params, check_mode)
