# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What every remediation has in common: a plan that is shown first, a line in the host's audit log before and after, and a look at its effect."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import pwd
import secrets
import shlex
import socket
import stat
import time
import typing as t

from ._discovery import Selection, Stack, discover
from ._engine import Engine
from ._envelope import CheckError, rfc3339
from ._files import sync_directory
from ._guarded_files import lock_descriptor, refuse_unsafe, told
from ._redaction import Redactor

SCHEMA_VERSION = 1
DEFAULT_AUDIT_LOG = "/var/log/stackops/remediation.jsonl"
_LOCK_SECONDS = 10.0

Facts = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class AuditOptions:
    """Where it is written down, and who wants it for what reason."""

    path: str = DEFAULT_AUDIT_LOG
    actor: str = ""
    reason: str = ""

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> AuditOptions:
        """Return the options from a module's parameters."""
        return cls(params.get("audit_log") or DEFAULT_AUDIT_LOG, params.get("audit_actor") or "", params.get("audit_reason") or "")


@dataclasses.dataclass(frozen=True)
class Diff:
    """A file (*path*) before and after."""

    path: str
    before: str
    after: str

    def as_dict(self) -> dict[str, str]:
        """Return it as Ansible shows it with ``--diff``."""
        return {"before_header": self.path, "after_header": self.path, "before": self.before, "after": self.after}


@dataclasses.dataclass(frozen=True)
class Change:
    """What a remediation does: *action* on *target*; *what* is one sentence. *undo* is what to type to go back, or why there is no way.

    *after* is what is expected. Where it is not *needed*, things are so already. What *makes_room* is done on a full disk as well, where its
    line of the audit log can only be written afterwards.
    """

    action: str
    target: str
    what: str
    commands: tuple[tuple[str, ...], ...] = ()
    before: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    after: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    undo: tuple[str, ...] = ()
    diff: t.Optional[Diff] = None
    needed: bool = True
    makes_room: bool = False


@dataclasses.dataclass(frozen=True)
class Verified:
    """Whether the effect is there; ``None`` where nobody has looked."""

    ok: t.Optional[bool]
    detail: str


@dataclasses.dataclass(frozen=True)
class Work:
    """A change and how it is made: *carry_out* returns what there is after it, *verify* looks whether its effect is there.

    Where only doing it tells whether something changes, what *carry_out* returns has ``changed`` as well; ``result`` are further keys of the
    module's result, which are not written down.
    """

    change: Change
    carry_out: t.Callable[[], t.Mapping[str, t.Any]]
    verify: t.Callable[[], Verified]
    redactor: Redactor


class NothingChanged(CheckError):
    """It failed before it changed anything that stays; *facts* are what was found out about why."""

    def __init__(self, source: str, reason: str, hint: str = "", code: str = "", facts: t.Optional[t.Mapping[str, t.Any]] = None) -> None:
        super().__init__(source, reason, hint, code)
        self.facts = dict(facts or {})


def run_remediation(plan: t.Callable[[], Work], params: t.Mapping[str, t.Any], check_mode: bool) -> Facts:
    """Make a plan and, unless in *check_mode*, carry it out; return a module's result, with ``failed`` where it failed.

    The intent is in the audit log before anything is changed: where that cannot be written, nothing is.
    """
    try:
        work = plan()
    except CheckError as error:
        return _result(Change("", "", ""), "failed", error.sentence, Verified(None, "there is no plan"), errors=[error], failed=True)
    change = work.change
    if not change.needed:
        return _redacted(work, _result(change, "nothing-to-do", f"{change.target}: nothing to do", Verified(True, f"already so: {change.what}")))
    if check_mode:
        return _redacted(work, _result(change, "planned", f"{change.target}: {change.what}", Verified(None, "not carried out"), changed=True))
    log = _AuditLog(AuditOptions.from_params(params), work)
    try:
        log.intent()
    except CheckError as error:
        return _redacted(work, _result(change, "failed", error.sentence, Verified(None, "nothing was changed"), errors=[error], failed=True))
    result = _redacted(work, _carried_out(work))
    try:
        log.result(result)
    except CheckError as error:
        result["errors"].append(error.as_dict())
    return result


def only_stack(engine: Engine, params: t.Mapping[str, t.Any]) -> Stack:
    """Return the project that *params* select, with all of its containers.

    :raises CheckError: there is none, or there are several: a change is never made to the wrong one.
    """
    stacks = discover(engine, Selection(params.get("project_src"), params.get("project_name")))
    if len(stacks) != 1:
        names = ", ".join(stack.name for stack in stacks)
        reason = f"there are several Compose projects on this host: {names}" if stacks else "there is no Compose project on this host"
        raise CheckError("project", reason, "Name one in project_name or project_src.", "project-unknown")
    return stacks[0]


def _carried_out(work: Work) -> Facts:
    change = work.change
    try:
        after = dict(work.carry_out())
        changed, more = bool(after.pop("changed", True)), dict(after.pop("result", {}))
        verified = work.verify()
    except CheckError as error:
        unchanged = isinstance(error, NothingChanged)
        summary = f"{change.target}: {change.action} failed{', nothing was changed' if unchanged else ''}: {error.sentence}"
        facts = error.facts if isinstance(error, NothingChanged) else {}
        return _result(change, "failed", summary, Verified(False, error.reason), changed=not unchanged, after=facts, errors=[error], failed=True)
    if verified.ok is False:
        missing = CheckError(change.target, f"it was done, and its effect is not there: {verified.detail}", " ".join(change.undo), "not-verified")
        return {**_result(change, "failed", f"{change.target}: {missing.reason}", verified, True, after, [missing], failed=True), **more}
    return {**_result(change, "done", f"{change.target}: {change.what}", verified, changed, after), **more}


def _result(
    change: Change,
    status: str,
    summary: str,
    verified: Verified,
    changed: bool = False,
    after: t.Optional[t.Mapping[str, t.Any]] = None,
    errors: t.Sequence[CheckError] = (),
    failed: bool = False,
) -> Facts:
    result: Facts = {
        "changed": changed,
        "status": status,
        "summary": summary,
        "plan": [shlex.join(argv) for argv in change.commands],
        "before": dict(change.before),
        "after": dict(change.after if after is None else after),
        "undo": list(change.undo),
        "verified": dataclasses.asdict(verified),
        "errors": [error.as_dict() for error in errors],
    }
    if change.diff is not None:
        result["diff"] = change.diff.as_dict()
    return {**result, "failed": True} if failed else result


def _redacted(work: Work, result: Facts) -> Facts:
    return t.cast(Facts, work.redactor.tree(result))


class _AuditLog:
    """Two lines of the host's audit log: what is about to be done, and what came of it. A line of the first kind alone is a run that was killed."""

    def __init__(self, options: AuditOptions, work: Work) -> None:
        change = work.change
        self._path = options.path
        self._makes_room = change.makes_room
        self._unwritten: list[Facts] = []
        self._entry: Facts = work.redactor.tree(
            {
                "schema_version": SCHEMA_VERSION,
                "id": secrets.token_hex(4),
                "host": socket.gethostname(),
                "user": _user(),
                "actor": options.actor,
                "reason": options.reason,
                "action": change.action,
                "target": change.target,
                "what": change.what,
                "commands": change.commands,
                "before": dict(change.before),
                "undo": change.undo,
            }
        )

    def intent(self) -> None:
        entry = {**self._entry, "event": "intent", "at": rfc3339(time.time())}
        try:
            append_line(self._path, entry)
        except CheckError as error:
            if error.code != "no-space" or not self._makes_room:
                raise
            self._unwritten.append(entry)

    def result(self, result: t.Mapping[str, t.Any]) -> None:
        told_keys = ("status", "changed", "after", "verified", "errors")
        entry = {**self._entry, "event": "result", "at": rfc3339(time.time()), **{key: result[key] for key in told_keys}}
        for each in (*self._unwritten, entry):
            append_line(self._path, each)


def append_line(path: str, entry: t.Mapping[str, t.Any]) -> None:
    """Append *entry* as one whole line of JSON and have it on the disk; a line that a crash has torn stays alone.

    :raises CheckError: it cannot be written; then nothing of it is.
    """
    line = json.dumps(dict(entry), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    directory = os.path.dirname(path)
    with told(path):
        os.makedirs(directory, mode=0o750, exist_ok=True)
        refuse_unsafe(directory)
        created = not os.path.lexists(path)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            if not lock_descriptor(descriptor, _LOCK_SECONDS):
                raise CheckError(path, f"locked by another run for {_LOCK_SECONDS:g} s", f"Look with: fuser -v {path}", "locked")
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line
            try:
                written = os.write(descriptor, line)
                if written < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
                os.fsync(descriptor)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
        if created:
            sync_directory(directory)


def _user() -> str:
    """Return who this process runs as and, where sudo says so, for whom."""
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = str(os.geteuid())
    behind = os.environ.get("SUDO_USER")
    return f"{name} (sudo by {behind})" if behind and behind != name else name
