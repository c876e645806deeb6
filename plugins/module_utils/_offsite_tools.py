# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""rclone and restic, each with the same few verbs; see :mod:`_offsite`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import re
import shlex
import time
import typing as t

from ._envelope import CheckError
from ._extraction import CHUNK_BYTES, TarReader
from ._process import Completed, run_command, run_streaming
from ._redaction import Redactor, is_secret_name

MANIFEST, KEEP = "manifest.json", "KEEP"
# What the manifest of a set is called that is being removed.
_REMOVED = "removed.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_HOST = "stackops"
# A tool that is told to end removes its lock from the repository.
_GRACE_SECONDS = 15.0
_NOT_HASHED = re.compile(r"hashes could not be checked|not using a hash|No common hash")

_RCLONE_HINTS = {
    3: "The directory or bucket is not there. Create it (rclone mkdir REMOTE), or correct the remote's path.",
    5: "That may pass. Run it again.",
    8: "A transfer limit of the remote or of your options was reached.",
}
_RESTIC_HINTS = {
    3: "Some of the set's files could not be read: look at their owner and mode, and run it again.",
    10: "There is no repository at this place. Create it once: restic init",
    11: "Another restic works there. If none does, remove its lock: restic unlock",
    12: "The repository has another password than the one in the password file.",
}
# restic before 0.17 ends with 1 in all these cases.
_RESTIC_WORDS = (
    ("Is there a repository at the following location", 10),
    ("unable to open config file", 10),
    ("already locked", 11),
    ("wrong password or no key found", 12),
)


@dataclasses.dataclass(frozen=True)
class Offsite:
    """Where copies go. *remote* is rclone's ``name:path`` or restic's repository.

    *config_file* is rclone's configuration, or for restic a file of ``NAME=value`` lines (``AWS_ACCESS_KEY_ID``…) for its
    environment; *password_file* unlocks the repository, or rclone's configuration.
    """

    kind: str
    remote: str
    config_file: t.Optional[str] = None
    password_file: t.Optional[str] = None
    options: tuple[str, ...] = ()
    timeout_seconds: float = 14400.0
    retention: bool = True


class Tool:
    """What both tools have in common: environment, time limit, errors."""

    command = ""
    hints: t.Mapping[int, str] = {}
    reclaims = False

    def __init__(self, offsite: Offsite, project: str, set_id: str) -> None:
        self.offsite, self.project, self.set_id = offsite, project, set_id
        self.deadline = time.monotonic() + offsite.timeout_seconds
        self.env: dict[str, str] = {}
        self.secrets: set[str] = set()
        self.configure()
        self.redactor = Redactor(self.secrets)
        self.shown = self.redactor.text(offsite.remote)

    def configure(self) -> None:
        raise NotImplementedError

    def push(self, set_path: str, local: t.Mapping[str, int]) -> str:
        raise NotImplementedError

    def verify(self, set_path: str, local: t.Mapping[str, int], read_back: bool) -> str:
        raise NotImplementedError

    def sets(self) -> set[str]:
        raise NotImplementedError

    def fetch(self, into: str) -> None:
        raise NotImplementedError

    def kept(self) -> set[str]:
        """Return the sets that somebody has marked over there."""
        raise NotImplementedError

    def manifest(self, set_id: str) -> bytes:
        """Return the manifest of a set as it is over there."""
        raise NotImplementedError

    def remove(self, set_ids: t.Sequence[str]) -> None:
        """Remove sets. What is interrupted leaves no set but whole ones, and the rest goes with :meth:`finish_removals`."""
        raise NotImplementedError

    def finish_removals(self) -> None:
        """Remove what interrupted removals left."""

    def reclaim(self) -> None:
        """Give back the space of what was removed, where that is a step of its own (:attr:`reclaims`)."""

    def run(
        self, *arguments: str, accepted: t.Collection[int] = (0,), cwd: t.Optional[str] = None, stdout: t.Optional[t.Callable[[t.IO[bytes]], object]] = None
    ) -> Completed:
        argv = [self.command, *arguments, *self.offsite.options]
        left = max(1.0, self.deadline - time.monotonic())
        try:
            if stdout is None:
                done = run_command(argv, left, env=self.env, cwd=cwd, grace_seconds=_GRACE_SECONDS)
            else:
                done = run_streaming(argv, left, stdout=stdout, env=self.env, cwd=cwd, grace_seconds=_GRACE_SECONDS)
        except CheckError as error:
            if error.code == "not-installed":
                error.hint = f"Install it: sudo apt-get install {self.command}"
            raise
        if done.exit_code not in accepted:
            raise self.failed(done)
        return done

    def code_of(self, done: Completed) -> int:
        return done.exit_code

    def failed(self, done: Completed) -> CheckError:
        words = [line.strip() for line in self.redactor.text(done.error_text or done.text).splitlines() if line.strip()]
        code = self.code_of(done)
        how = f"was killed by signal {-code}" if code < 0 else f"failed with exit code {code}"
        by_hand = " ".join([*(f"{name}={shlex.quote(value)}" for name, value in self.env.items() if name in _SHOWN), shlex.join(done.argv)])
        hint = self.hints.get(code) or f"Try it by hand: {self.redactor.text(by_hand)}"
        return CheckError(self.shown, f"{self.command} {done.argv[1]} {how}: {'; '.join(words[-3:])[-1000:] or 'it said nothing'}", hint, "offsite-failed")

    def differs(self, names: t.Iterable[str]) -> CheckError:
        listed = sorted(names)
        reason = f"the copy of {self.set_id} is not what is here: {', '.join(listed[:5])}{' …' if len(listed) > 5 else ''}"
        return CheckError(self.shown, reason, "Run the backup's off-site step again; if it stays so, look at the disks of both sides.", "offsite-differs")


_SHOWN = ("RCLONE_CONFIG", "RESTIC_PASSWORD_FILE")


class _Rclone(Tool):
    command = "rclone"
    hints = _RCLONE_HINTS

    def configure(self) -> None:
        _refuse_secrets(self.offsite.remote.split(","), "remote")
        self.env = {"RCLONE_ASK_PASSWORD": "false", "RCLONE_CONTIMEOUT": "30s", "RCLONE_TIMEOUT": "2m", "RCLONE_STATS": "0"}
        if self.offsite.config_file:
            _secret_text(self.offsite.config_file)
            self.env["RCLONE_CONFIG"] = os.path.abspath(self.offsite.config_file)
        if self.offsite.password_file:
            self.env["RCLONE_CONFIG_PASS"] = _secret_text(self.offsite.password_file).rstrip("\r\n")
            self.secrets.add(self.env["RCLONE_CONFIG_PASS"])

    def place(self, *names: str) -> str:
        remote = self.offsite.remote
        return "/".join([remote + ("" if remote.endswith((":", "/")) else "/") + self.project, *names])

    def push(self, set_path: str, local: t.Mapping[str, int]) -> str:
        there = self.place(self.set_id)
        self.run("copy", set_path, there, "--exclude", f"/{MANIFEST}", "--exclude", f"/{KEEP}")
        verified_by = self.compare(set_path, there, "--exclude", f"/{MANIFEST}", "--exclude", f"/{KEEP}")
        # From here on it is a set, for those who look for one.
        self.run("copyto", os.path.join(set_path, MANIFEST), f"{there}/{MANIFEST}")
        self.compare(set_path, there, "--include", f"/{MANIFEST}", read_back=verified_by == "read back")
        return verified_by

    def verify(self, set_path: str, local: t.Mapping[str, int], read_back: bool) -> str:
        return self.compare(set_path, self.place(self.set_id), "--exclude", f"/{KEEP}", read_back=read_back)

    def compare(self, set_path: str, there: str, *filters: str, read_back: bool = False) -> str:
        arguments = ["check", set_path, there, *filters, "--combined", "-", *(["--download"] if read_back else [])]
        done = self.run(*arguments, accepted=(0, 1))
        if not read_back and _NOT_HASHED.search(done.error_text):
            return self.compare(set_path, there, *filters, read_back=True)
        # One line for each file: "=" where both sides are equal.
        lines = done.text.splitlines()
        different = [line[2:] for line in lines if not line.startswith("= ")]
        if different:
            raise self.differs(different)
        if done.exit_code or not lines:
            raise self.failed(done)
        return "read back" if read_back else "hashes"

    def sets(self) -> set[str]:
        return self.having(MANIFEST)

    @functools.cached_property
    def marks(self) -> list[str]:
        """What tells sets from what is none, when it was first asked for."""
        wanted = [word for name in (MANIFEST, KEEP, _REMOVED) for word in ("--include", f"/*/{name}")]
        return self.run("lsf", "--recursive", "--files-only", "--max-depth", "2", *wanted, self.place(), accepted=(0, 3)).text.splitlines()

    def having(self, file: str) -> set[str]:
        """Return the directories of the project that have *file*."""
        return {directory for directory, dummy, name in (line.partition("/") for line in self.marks) if name == file}

    def fetch(self, into: str) -> None:
        self.run("copy", self.place(self.set_id), into)

    def kept(self) -> set[str]:
        return self.having(KEEP)

    def manifest(self, set_id: str) -> bytes:
        return self.run("cat", self.place(set_id, MANIFEST)).stdout

    def remove(self, set_ids: t.Sequence[str]) -> None:
        for set_id in set_ids:
            # From here on it is none, and says until the last moment that it was removed on purpose.
            self.run("moveto", self.place(set_id, MANIFEST), self.place(set_id, _REMOVED))
            self.finish_removal(set_id)

    def finish_removal(self, set_id: str) -> None:
        self.run("delete", self.place(set_id), "--exclude", f"/{_REMOVED}")
        self.run("purge", self.place(set_id))

    def finish_removals(self) -> None:
        for set_id in sorted(self.having(_REMOVED) - self.sets()):
            self.finish_removal(set_id)


class _Restic(Tool):
    command = "restic"
    hints = _RESTIC_HINTS
    reclaims = True

    def configure(self) -> None:
        if self.offsite.config_file:
            self.env = _environment(self.offsite.config_file)
            self.secrets = set(self.env.values())  # whatever they are called
        # The repository may be a URL with a password.
        self.env["RESTIC_REPOSITORY"] = self.offsite.remote
        if self.offsite.password_file:
            self.secrets.add(_secret_text(self.offsite.password_file).rstrip("\r\n"))
            self.env["RESTIC_PASSWORD_FILE"] = os.path.abspath(self.offsite.password_file)

    def code_of(self, done: Completed) -> int:
        if done.exit_code == 1:
            return next((code for words, code in _RESTIC_WORDS if words in done.error_text), 1)
        return done.exit_code

    def push(self, set_path: str, local: t.Mapping[str, int]) -> str:
        found = self.snapshots(self.tags())
        if found:
            return self.compare(str(found[-1]["id"]), set_path, local)
        tags = [argument for tag in self.tags() for argument in ("--tag", tag)]
        done = self.run("backup", "--json", "--host", _HOST, *tags, ".", cwd=set_path, accepted=(0, 3))
        snapshot = self.made(done)
        if done.exit_code == 3:  # it is a snapshot of what restic could read; nobody may take it for the set
            self.run("forget", snapshot)
            raise self.failed(done)
        return self.compare(snapshot, set_path, local)

    def made(self, done: Completed) -> str:
        """Return the id of the snapshot that ``restic backup --json`` made."""
        for line in reversed(done.text.splitlines()):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                return str(json.loads(line)["snapshot_id"])
        raise self.failed(done)

    def verify(self, set_path: str, local: t.Mapping[str, int], read_back: bool) -> str:
        return self.compare(self.snapshot(), set_path, local)

    def compare(self, snapshot: str, set_path: str, local: t.Mapping[str, int]) -> str:
        there: dict[str, str] = {}
        self.run("dump", "--archive", "tar", snapshot, "/", stdout=lambda stream: there.update(_hashes_in_tar(stream, self.shown)))
        here = {name: sha256_of(os.path.join(set_path, name)) for name in local}
        there.pop(KEEP, None)
        different = {name for name in {*here, *there} if here.get(name) != there.get(name)}
        if different:
            raise self.differs(different)
        return "read back"

    def tags(self) -> list[str]:
        return ["stackops", f"project={self.project}", f"set={self.set_id}"]

    def snapshots(self, tags: t.Sequence[str]) -> list[dict[str, t.Any]]:
        """Return the snapshots with all of *tags*, the newest last."""
        done = self.run("snapshots", "--json", "--host", _HOST, "--tag", ",".join(tags))
        try:
            found = t.cast("list[dict[str, t.Any]]", json.loads(done.text) or [])
            return sorted(found, key=lambda snapshot: str(snapshot["time"]))
        except (ValueError, KeyError) as error:
            raise CheckError(self.shown, f"restic snapshots gave no JSON: {self.redactor.text(done.text[:200])}", "restic version", "offsite-failed") from error

    def snapshot(self) -> str:
        found = self.snapshots(self.tags())
        if not found:
            raise CheckError(self.shown, f"has no snapshot of {self.set_id}", f"See what there is: restic snapshots --tag project={self.project}", "not-found")
        return str(found[-1]["id"])

    def sets(self) -> set[str]:
        tags = [tag for snapshot in self.known for tag in snapshot.get("tags") or ()]
        return {tag[4:] for tag in tags if tag.startswith("set=")}

    def fetch(self, into: str) -> None:
        self.run("restore", self.snapshot(), "--target", into, "--verify")

    @functools.cached_property
    def known(self) -> list[dict[str, t.Any]]:
        """The snapshots of the project when they were first asked for: each command of restic takes a second of work."""
        return self.snapshots(self.tags()[:2])

    def kept(self) -> set[str]:
        marked = [snapshot.get("tags") or () for snapshot in self.known]
        return {tag[4:] for tags in marked if KEEP in tags for tag in tags if tag.startswith("set=")}

    def known_of(self, set_id: str) -> list[str]:
        return [str(snapshot["id"]) for snapshot in self.known if f"set={set_id}" in (snapshot.get("tags") or ())]

    def manifest(self, set_id: str) -> bytes:
        return self.run("dump", self.known_of(set_id)[-1], f"/{MANIFEST}").stdout

    def remove(self, set_ids: t.Sequence[str]) -> None:
        if set_ids:
            self.run("forget", *(snapshot for set_id in set_ids for snapshot in self.known_of(set_id)))

    def reclaim(self) -> None:
        self.run("prune")


_TOOLS: dict[str, type[Tool]] = {"rclone": _Rclone, "restic": _Restic}


def tool_of(offsite: Offsite, project: str, set_id: str = "") -> Tool:
    if offsite.kind not in _TOOLS:
        raise CheckError("offsite", f"unknown kind {offsite.kind}", f"Choose one of {', '.join(_TOOLS)}.", "unknown-kind")
    for name in (project, *([set_id] if set_id else [])):
        if not _NAME.fullmatch(name):
            raise CheckError("offsite", f"{name!r} is no name of a project or a set", "Use letters, digits, and . _ -", "bad-name")
    if not offsite.remote or offsite.remote.startswith("-") or (offsite.kind == "rclone" and ":" not in offsite.remote):
        raise CheckError("offsite", "the remote is none", "rclone: name:path (see rclone listremotes); restic: s3:…, sftp:…, rest:…, /directory", "bad-remote")
    _refuse_secrets(offsite.options, "options")
    return _TOOLS[offsite.kind](offsite, project, set_id)


def _refuse_secrets(words: t.Iterable[str], where: str) -> None:
    """Everybody on the host can read an argument list."""
    for word in words:
        name = word.split("=")[0].lstrip("-:")
        of_something_else = name.endswith(("file", "command", "id"))
        secret = is_secret_name(name.replace("-", "_")) or re.search(r"(^|[_-])(pass2?|pem)$", name)
        if (secret and not of_something_else) or re.search(r"://[^/@\s]*:[^/@\s]+@", word):
            raise CheckError("offsite", f"{where}: {name} would put a secret into an argument list", "Put it into the configuration file.", "secret-argument")


def sha256_of(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _hashes_in_tar(stream: t.IO[bytes], source: str) -> dict[str, str]:
    found, reader = {}, TarReader(stream, source)
    for info in reader.members():
        if info.isreg():
            digest = hashlib.sha256()
            for chunk in reader.content(info):
                digest.update(chunk)
            found["/".join(part for part in info.name.split("/") if part not in ("", "."))] = digest.hexdigest()
    return found


def _secret_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & 0o007:
                raise CheckError(path, "everybody on this host may read it", f"sudo chmod 600 {shlex.quote(path)}", "permission-denied")
            return file.read()
    except (OSError, ValueError) as error:
        raise CheckError(path, f"cannot be read: {error}", f"Look at it: sudo ls -l {shlex.quote(path)}", "not-found") from error


def _environment(path: str) -> dict[str, str]:
    """Return the variables of a file of ``NAME=value`` lines. It is parsed, never run."""
    found = {}
    for number, line in enumerate(_secret_text(path).splitlines(), 1):
        name, equals, value = line.strip().partition("=")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name = name.removeprefix("export ").strip()
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise CheckError(path, f"line {number} is not NAME=value", "For restic it holds environment variables, such as AWS_ACCESS_KEY_ID.", "bad-config")
        value = value.strip()
        found[name] = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value
    return found
