# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The host's half of a support bundle: everything somebody asks for who was not there, as one archive.

Nothing is redacted here. That takes the names and secrets of the whole fleet, and so is done where all of them are; the
archive goes there, and nowhere else. With it goes what is known to be a secret or a name on this host.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import os
import re
import shutil
import socket
import tarfile
import threading
import time
import typing as t

from ._compose_config import find_compose_command, project_env_file, resolved_text
from ._discovery import Stack, discover
from ._engine import Engine
from ._engine_on_disk import stacks_on_disk
from ._envelope import CheckError, rfc3339, utc_now
from ._log_sources import LogSource, discover_sources, lines_of_engine
from ._postgres import Instance, PostgresOptions, find_instances, open_session
from ._postgres_session import Limits
from ._process import run_command, run_side_by_side
from ._redaction import secrets_of_environment
from ._secret_shapes import find_secrets
from ._stack_facts import FactsOptions, collect_facts

SCHEMA = 1
ARCHIVE_NAME = "stackops-evidence"
#: What the controller needs to redact, and what never gets into a bundle.
PRIVATE_NAME = "private.json"
INDEX_NAME = "index.json"

_COMMAND_SECONDS = 20.0
_ENDING_SECONDS = 0.5
_MAX_COMMAND_BYTES = 1 << 20
_MAX_INSPECTED_FILES = 50
_SECRET_FILE_BYTES = 65536
_ERROR_LINE = re.compile(
    r"\b(?:ERROR|CRITICAL|FATAL|PANIC|Traceback)\b|\"(?:level|levelname|severity|log\.level)\"\s*:\s*\"(?:error|critical|fatal|panic|alert|emergency)\"",
    re.IGNORECASE,
)
_NAME_LIKE = re.compile(r"[a-z][a-z_-]{0,20}|.*\s.*|\$.*", re.DOTALL)
_STATE_DIRECTORIES = ("/etc/stackops", "/var/lib/stackops")

_SYSTEM = (
    ("system/uname.txt", ("uname", "-a")),
    ("system/uptime.txt", ("uptime",)),
    ("system/time.txt", ("timedatectl", "status")),
    ("system/memory.txt", ("free", "-m")),
    ("system/disk.txt", ("df", "-hPT")),
    ("system/inodes.txt", ("df", "-iP")),
    # Names of programs only: their arguments are where people put passwords.
    ("system/processes.txt", ("ps", "-eo", "pid,ppid,user,stat,etimes,rss,pcpu,comm", "--sort=-rss")),
    ("system/failed-units.txt", ("systemctl", "--failed", "--no-pager", "--plain")),
    ("system/kernel.txt", ("journalctl", "--dmesg", "--lines=200", "--no-pager", "--output=short-iso")),
)
_NETWORK = (
    ("network/addresses.txt", ("ip", "address")),
    ("network/routes.txt", ("ip", "route")),
    ("network/listeners.txt", ("ss", "-lntup")),
    ("network/iptables.txt", ("iptables-save",)),
    ("network/nftables.txt", ("nft", "list", "ruleset")),
)
_ENGINE = (
    ("engine/images.txt", ("docker", "image", "ls", "--digests", "--no-trunc")),
    ("engine/networks.txt", ("docker", "network", "ls")),
    ("engine/volumes.txt", ("docker", "volume", "ls")),
    ("engine/disk-usage.txt", ("docker", "system", "df")),
    ("engine/journal.txt", ("journalctl", "--unit=docker", "--lines=200", "--no-pager", "--output=short-iso")),
)
_CRON = (
    ("cron/crontab.txt", ("crontab", "-l")),
    ("cron/timers.txt", ("systemctl", "list-timers", "--all", "--no-pager")),
)
_FILES = (
    ("system/os-release.txt", "/etc/os-release"),
    ("network/resolv.conf.txt", "/etc/resolv.conf"),
    ("network/hosts.txt", "/etc/hosts"),
    ("engine/daemon.json", "/etc/docker/daemon.json"),
    ("cron/etc-crontab.txt", "/etc/crontab"),
)
_VERSIONS = (
    ("docker", "--version"),
    ("docker", "compose", "version"),
    ("docker-compose", "--version"),
    ("podman", "--version"),
    ("python3", "--version"),
    ("psql", "--version"),
)

_POSTGRES = {
    "server": "SELECT version() AS version, pg_postmaster_start_time() AS started_at, pg_is_in_recovery() AS in_recovery, now() AS now",
    "settings": "SELECT name, setting, unit, source, pending_restart FROM pg_settings ORDER BY name",
    "activity": """
      SELECT pid, usename::text AS usename, datname::text AS datname, application_name, client_addr, backend_type, state, wait_event_type, wait_event,
             backend_start, xact_start, query_start, state_change, left(query, 2000) AS query
      FROM pg_stat_activity ORDER BY backend_start LIMIT 500""",
    "locks": """
      SELECT pid, locktype, mode, granted, relation::regclass::text AS relation, pg_blocking_pids(pid) AS blocked_by
      FROM pg_locks WHERE NOT granted OR locktype = 'relation' AND mode ~ 'Exclusive' ORDER BY pid LIMIT 500""",
    "databases": "SELECT *, pg_database_size(datid) AS size_bytes FROM pg_stat_database WHERE datname IS NOT NULL",
    "extensions": "SELECT extname AS name, extversion AS version FROM pg_extension ORDER BY 1",
    "replication": "SELECT * FROM pg_stat_replication",
}


@dataclasses.dataclass(frozen=True)
class BundleOptions:
    """What to collect, and how much of it."""

    facts: FactsOptions = FactsOptions()
    log_lines: int = 500
    error_lines: int = 20
    files: tuple[str, ...] = ()
    max_file_bytes: int = 5 << 20
    max_bytes: int = 50 << 20
    timeout_seconds: float = 120.0

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> BundleOptions:
        """Return the options from the parameters of ``support_bundle``."""
        timeout = float(params["timeout_seconds"])
        defaults = {"slow_request_ms": 1000, "sample_seconds": 0}
        return cls(
            # The facts come to their end before everything does, so that what they could not get is told by them.
            facts=FactsOptions.from_params({**params, **defaults, "timeout_seconds": max(1.0, min(60.0, 0.8 * timeout))}),
            log_lines=int(params["log_lines"]),
            error_lines=int(params["error_lines"]),
            files=tuple(params.get("files") or ()),
            max_file_bytes=int(params["max_file_bytes"]),
            max_bytes=int(params["max_bytes"]),
            timeout_seconds=timeout,
        )


class Evidence:
    """The files that were collected so far, with where each is from; takes them from several threads."""

    def __init__(self, max_file_bytes: int, max_bytes: int, timeout_seconds: float) -> None:
        self._deadline = time.monotonic() + timeout_seconds
        self._lock = threading.Lock()
        self._max_file_bytes = max_file_bytes
        self._left = max_bytes
        self._closed = False
        self.files: dict[str, bytes] = {}
        self.entries: list[dict[str, t.Any]] = []

    def add(self, path: str, kind: str, source: str, content: t.Union[bytes, str], began: float, exit_code: t.Optional[int] = None) -> None:
        """Keep a file. What is longer than allowed loses its begin, where that leaves it readable, else it is left out."""
        data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        entry: dict[str, t.Any] = {
            "path": path,
            "kind": kind,
            "source": source,
            "duration_ms": round((time.monotonic() - began) * 1000),
            "truncated": False,
        }
        if exit_code is not None:
            entry["exit_code"] = exit_code
        with self._lock:
            if self._closed:
                return
            limit = min(self._max_file_bytes, self._left)
            if len(data) > limit:
                data = _tail(data, limit) if kind == "text" and limit > 4096 else b""
                entry["truncated"] = True
                if not data:
                    self._leave_out(entry, f"it is larger than what is left of the limits ({limit} bytes)")
                    return
            number = 1
            while entry["path"] in self.files:
                number += 1
                stem, dot, ending = path.rpartition(".")
                entry["path"] = f"{stem}-{number}.{ending}" if dot else f"{path}-{number}"
            self._left -= len(data)
            self.files[entry["path"]] = data
            self.entries.append(entry)

    def fail(self, path: str, source: str, reason: str, began: float) -> None:
        """Keep why a file is not there."""
        entry = {"path": path, "source": source, "duration_ms": round((time.monotonic() - began) * 1000)}
        with self._lock:
            if not self._closed:
                self._leave_out(entry, reason)

    def _leave_out(self, entry: dict[str, t.Any], reason: str) -> None:
        self.entries.append({**entry, "left_out": reason})

    def seconds(self) -> float:
        """Return how long one command may take: a program that outlives this one would be left on the host.

        :raises CheckError: there is no time left.
        """
        left = self._deadline - time.monotonic() - _ENDING_SECONDS
        if left <= 0:
            raise CheckError("support_bundle", "there was no time left for it", "Raise timeout_seconds.", "timeout")
        return min(_COMMAND_SECONDS, left)

    def close(self) -> None:
        """Take nothing more."""
        with self._lock:
            self._closed = True


def _tail(data: bytes, limit: int) -> bytes:
    data = data[-limit:]
    return data[data.find(b"\n") + 1 :]


def collect_bundle(options: BundleOptions, directory: str) -> dict[str, t.Any]:
    """Write the archive into *directory*, for its owner, and return its ``path``, ``bytes`` and how many files are in it."""
    began = time.monotonic()
    started_at = utc_now()
    evidence = Evidence(options.max_file_bytes, options.max_bytes, options.timeout_seconds)
    engine, stacks, problems = _stacks(options)
    for problem in problems:
        evidence.fail("engine/info.json", problem.source, _told(problem), began)
    private = _Private(options)
    work = _work(options, evidence, engine, stacks, private)
    left = max(5.0, options.timeout_seconds - (time.monotonic() - began))
    outcomes = run_side_by_side(work, left)
    evidence.close()
    for name, outcome in outcomes.items():
        if outcome.error is not None:
            error = outcome.error
            reason = _told(error) if isinstance(error, CheckError) else f"{type(error).__name__}: {error}"
            evidence.entries.append({"path": name, "source": name, "duration_ms": round(outcome.duration_ms), "left_out": reason})
    index = {
        "schema": SCHEMA,
        "hostname": socket.gethostname(),
        "collected_at": rfc3339(started_at),
        "duration_ms": round((time.monotonic() - began) * 1000),
        "engine": engine is not None,
        "projects": [stack.name for stack in stacks],
        "files": sorted(evidence.entries, key=lambda entry: str(entry["path"])),
    }
    path, size = _write(directory, {PRIVATE_NAME: json.dumps(private.as_dict()).encode(), INDEX_NAME: json.dumps(index).encode(), **evidence.files})
    return {"path": path, "bytes": size, "files": len(evidence.files), "engine": engine is not None, "projects": index["projects"]}


def _stacks(options: BundleOptions) -> tuple[t.Optional[Engine], list[Stack], list[CheckError]]:
    problems = []
    try:
        engine = Engine.connect(options.facts.engine)
        stacks: dict[str, Stack] = {}
        for selection in options.facts.selections:
            try:
                stacks.update({stack.name: stack for stack in discover(engine, selection)})
            except CheckError as error:
                problems.append(error)
        return engine, list(stacks.values()), problems
    except CheckError as error:
        return None, stacks_on_disk(options.facts.selections), [error]


def _work(
    options: BundleOptions, evidence: Evidence, engine: t.Optional[Engine], stacks: t.Sequence[Stack], private: _Private
) -> dict[str, t.Callable[[], None]]:
    work: dict[str, t.Callable[[], None]] = {
        "facts.json": functools.partial(_facts, options, evidence),
        "system": functools.partial(_commands, evidence, _SYSTEM),
        "network": functools.partial(_commands, evidence, _NETWORK),
        "engine": functools.partial(_engine, evidence, engine),
        "cron": functools.partial(_commands, evidence, _CRON),
        "versions.txt": functools.partial(_versions, evidence),
        "files": functools.partial(_all_files, options, evidence, private),
        "names": private.find_names,
    }
    for stack in stacks:
        folder = f"stacks/{stack.name}"
        work[f"{folder}/logs"] = functools.partial(_logs, options, evidence, engine, stack, folder)
        work[f"{folder}/configuration"] = functools.partial(_configuration, evidence, engine, stack, folder, private)
    postgres = PostgresOptions(servers=options.facts.postgres, limits=Limits(session_seconds=30.0))
    for instance in find_instances(stacks, postgres):
        work[f"postgres/{_safe(instance.name)}.json"] = functools.partial(_postgres, evidence, engine, instance, postgres)
    return work


# -- what is collected -------------------------------------------------------------------------------------------------


def _facts(options: BundleOptions, evidence: Evidence) -> None:
    began = time.monotonic()
    collected = collect_facts(options.facts)
    evidence.add("facts.json", "json", "stack_facts", json.dumps(collected), began)
    sources = (collected["facts"].get("logs") or {}).get("sources") or []
    groups = [{"source": source.get("name"), "groups": source.get("groups")} for source in sources if source.get("groups")]
    evidence.add("error-groups.json", "json", "stack_facts: logs", json.dumps(groups, indent=1), began)


def _commands(evidence: Evidence, commands: t.Iterable[tuple[str, tuple[str, ...]]]) -> None:
    for path, argv in commands:
        _command(evidence, path, argv)


def _command(evidence: Evidence, path: str, argv: t.Sequence[str], cwd: t.Optional[str] = None) -> None:
    began = time.monotonic()
    shown = " ".join(argv)
    try:
        done = run_command(argv, evidence.seconds(), env={"COLUMNS": "400"}, cwd=cwd)
    except CheckError as error:
        evidence.fail(path, shown, error.reason, began)
        return
    output = done.stdout[:_MAX_COMMAND_BYTES]
    if done.exit_code != 0:
        output += b"\n" + done.stderr[-4096:]
    evidence.add(path, "text", shown, output, began, done.exit_code)


def _versions(evidence: Evidence) -> None:
    began = time.monotonic()
    lines = []
    for argv in _VERSIONS:
        lines.append("$ " + " ".join(argv))
        try:
            done = run_command(argv, evidence.seconds())
            lines.append((done.text or done.error_text).strip()[:500])
        except CheckError as error:
            lines.append(error.reason)
    evidence.add("versions.txt", "text", "; ".join(" ".join(argv) for argv in _VERSIONS), "\n".join(lines) + "\n", began)


def _engine(evidence: Evidence, engine: t.Optional[Engine]) -> None:
    if engine is not None:
        began = time.monotonic()
        evidence.add("engine/info.json", "json", "engine: info", json.dumps({"version": engine.version_info(), "info": engine.info()}, indent=1), began)
    commands = _ENGINE if engine is not None and shutil.which("docker") else _ENGINE[-1:]
    _commands(evidence, commands)


def _all_files(options: BundleOptions, evidence: Evidence, private: _Private) -> None:
    for path, source in _FILES:
        if os.path.exists(source):
            _file(evidence, path, source, private)
    for directory, folder in (("/etc/cron.d", "cron"), *((directory, "monitoring") for directory in _STATE_DIRECTORIES)):
        for source in _walk(directory):
            _file(evidence, f"{folder}/{_safe(source)}", source, private)
    for pattern in options.files:
        import glob  # here, because most bundles have no files of their own  # pylint: disable=import-outside-toplevel

        found = sorted(glob.glob(pattern, recursive=True)) or [pattern]
        for source in found[:_MAX_INSPECTED_FILES]:
            if not os.path.isdir(source):
                _file(evidence, f"files/{_safe(source)}", source, private)


def _walk(directory: str) -> list[str]:
    found: list[str] = []
    for parent, dummy_directories, names in os.walk(directory):
        found += [os.path.join(parent, name) for name in names]
    return sorted(found)[:_MAX_INSPECTED_FILES]


def _kind_of(path: str) -> str:
    name = os.path.basename(path).lower()
    if name.startswith(".env") or name.endswith(".env") or name == "environment":
        return "variables"
    ending = name.rpartition(".")[2]
    return {"json": "json", "yml": "yaml", "yaml": "yaml"}.get(ending, "text")


def _file(evidence: Evidence, path: str, source: str, private: t.Optional[_Private] = None, tail_bytes: t.Optional[int] = None) -> t.Optional[bytes]:
    """Keep a file of the host, of a log only its end; return what was kept."""
    began = time.monotonic()
    try:
        # Not what only looks like a file: to open a pipe would wait for ever.
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            size = os.fstat(descriptor).st_size
            if tail_bytes is not None and size > tail_bytes:
                file.seek(size - tail_bytes)
                file.readline()
            data = file.read(tail_bytes if tail_bytes is not None else 64 << 20)
    except OSError as error:
        evidence.fail(path, source, error.strerror or str(error), began)
        return None
    kind = _kind_of(path)
    if private is not None and kind in ("json", "yaml", "variables"):
        private.learn(data)
    evidence.add(path if kind != "text" or "." in os.path.basename(path) else path + ".txt", kind, source, data, began)
    return data


def _configuration(evidence: Evidence, engine: t.Optional[Engine], stack: Stack, folder: str, private: _Private) -> None:
    private.learn_stack(stack)
    began = time.monotonic()
    evidence.add(f"{folder}/containers.json", "json", "engine: inspect", json.dumps([container.inspect for container in stack.siblings], indent=1), began)
    try:
        kind, content = resolved_text(stack, evidence.seconds())
        private.learn(content)
        evidence.add(f"{folder}/compose.{kind}", kind, "compose config", content, began)
    except CheckError as error:
        evidence.fail(f"{folder}/compose.json", "compose config", _told(error), began)
    for source in stack.config_files:
        _file(evidence, f"{folder}/files/{os.path.basename(source)}", source, private)
    variables = project_env_file(stack)
    if variables is not None:
        data = _file(evidence, f"{folder}/files/{os.path.basename(variables)}", variables, private)
        private.learn_variables(data or b"")
    command = find_compose_command(stack.flavour)
    if command is not None:
        directory = stack.working_dir if stack.working_dir and os.path.isdir(stack.working_dir) else None
        if engine is not None:
            _command(evidence, f"{folder}/ps.txt", [*command.argv, "--project-name", stack.name, "ps", "--all"], cwd=directory)
        else:
            evidence.fail(f"{folder}/ps.txt", "compose ps", "the engine does not answer", began)


def _logs(options: BundleOptions, evidence: Evidence, engine: t.Optional[Engine], stack: Stack, folder: str) -> None:
    errors: list[str] = []
    began = time.monotonic()
    for source in discover_sources(stack, engine):
        started = time.monotonic()
        name = f"{folder}/logs/{_safe(source.name.partition(':')[2] or source.name)}.log"
        name = name.replace(".log.log", ".log")
        if source.type == "file":
            data = _file(evidence, name, source.path or "", tail_bytes=256 * options.log_lines)
            lines = (data or b"").decode("utf-8", "surrogateescape").splitlines()
        else:
            try:
                lines = _container_lines(source, engine, options)
                evidence.add(name, "text", f"log of {source.name.partition(':')[2]}, last {options.log_lines} lines", "\n".join(lines) + "\n", started)
            except CheckError as error:
                evidence.fail(name, source.name, _told(error), started)
                continue
        last = [line for line in lines if _ERROR_LINE.search(line)][-options.error_lines :]
        if last:
            errors += [f"==> {source.name} <==", *last, ""]
    evidence.add(f"{folder}/last-errors.txt", "text", f"the last {options.error_lines} lines of each log with an error", "\n".join(errors) + "\n", began)


def _container_lines(source: LogSource, engine: t.Optional[Engine], options: BundleOptions) -> list[str]:
    """Return the last lines of a container's log, from its file where no engine gives it."""
    if engine is None and source.path:
        try:
            with open(source.path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(0, size - 1024 * options.log_lines))
                wrapped = file.read()
        except OSError as error:
            raise CheckError(source.path, error.strerror or str(error), "Run with become: true.", "permission-denied") from error
    else:
        wrapped = lines_of_engine(source, engine, None, options.log_lines)
    lines: list[str] = []
    unfinished = ""
    for line in wrapped.split(b"\n"):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        text = unfinished + str(entry.get("log", ""))
        unfinished = "" if text.endswith("\n") or len(text) > options.max_file_bytes else text
        if not unfinished:
            lines.append(f"{entry.get('time', '')} {text.rstrip()}")
    return lines[-options.log_lines :]


def _postgres(evidence: Evidence, engine: t.Optional[Engine], instance: Instance, options: PostgresOptions) -> None:
    began = time.monotonic()
    path = f"postgres/{_safe(instance.name)}.json"
    try:
        with open_session(instance, engine, options) as session:
            answers = session.answers(_POSTGRES)
    except CheckError as error:
        evidence.fail(path, instance.name, _told(error), began)
        return
    content = {name: answer if isinstance(answer, list) else {"error": answer.reason} for name, answer in answers.items()}
    evidence.add(path, "json", f"{instance.name}: {', '.join(_POSTGRES)}", json.dumps(content, indent=1), began)


# -- what is known to be secret, and who is who ------------------------------------------------------------------------


class _Private:
    """The secrets and names of this host, for those who redact."""

    def __init__(self, options: BundleOptions) -> None:
        self._lock = threading.Lock()
        self.secrets: set[str] = set()
        self.kept: set[str] = set()
        self.hosts: set[str] = {socket.gethostname()}
        self.domains: set[str] = set()
        self.users: set[str] = set()
        for login in options.facts.postgres:
            self.learn(json.dumps({"password": login.password, "dsn": login.dsn}).encode())
        self.learn(json.dumps([dict(endpoint) for endpoint in options.facts.endpoints], default=str).encode())

    def learn(self, data: bytes) -> None:
        """Remember the secrets that show in a file of configuration."""
        text = data.decode("utf-8", "replace")
        found = {text[span.start : span.end] for span in find_secrets(text)}
        with self._lock:
            # What a name of a secret stands before may be another name; what is a secret without looking like one is known otherwise.
            self.secrets |= {value for value in found if len(value) >= 8 and not _NAME_LIKE.fullmatch(value)}

    def learn_variables(self, data: bytes) -> None:
        """Remember the secrets in a file of variables."""
        pairs = (line.partition("=") for line in data.decode("utf-8", "replace").splitlines())
        found = secrets_of_environment({name.strip().removeprefix("export "): value.strip().strip("\"'") for name, equals, value in pairs if equals})
        with self._lock:
            self.secrets |= found

    def learn_stack(self, stack: Stack) -> None:
        """Remember the secrets that the containers of a stack were given, those in files included, and names that are none."""
        for container in stack.siblings:
            found = secrets_of_environment(container.env)
            for mount in container.mounts:
                # Compose mounts each of its secrets by itself.
                if str(mount["destination"]).startswith("/run/secrets/"):
                    found |= _secret_in(str(mount["source"]))
            for name, value in container.env.items():
                if name.endswith("_FILE"):
                    found |= {secret for mount in container.mounts if mount["destination"] == value for secret in _secret_in(str(mount["source"]))}
            databases = {value for name, value in container.env.items() if name in ("POSTGRES_USER", "POSTGRES_DB", "PGUSER", "PGDATABASE")}
            with self._lock:
                self.secrets |= found
                self.kept |= {stack.name, container.service, container.name, *container.networks, *databases}

    def find_names(self) -> None:
        """Remember the names of this host and of who logs in to it."""
        with contextlib.suppress(CheckError):
            self.hosts.add(run_command(["hostname", "--fqdn"], 5.0).text.strip())
        with contextlib.suppress(OSError), open("/etc/passwd", encoding="utf-8", errors="replace") as file:
            rows = [line.split(":") for line in file]
            self.users |= {row[0] for row in rows if len(row) > 6 and row[2].isdigit() and 1000 <= int(row[2]) < 60000}
        with contextlib.suppress(OSError), open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
            self.domains |= {word for line in file if line.startswith(("search", "domain")) for word in line.split()[1:] if "." in word.strip(".")}
        self.users |= {os.environ[name] for name in ("SUDO_USER", "LOGNAME") if os.environ.get(name)}

    def as_dict(self) -> dict[str, t.Any]:
        """Return it for the controller."""
        with self._lock:
            return {name: sorted(value for value in getattr(self, name) if value) for name in ("secrets", "kept", "hosts", "domains", "users")}


def _secret_in(path: str) -> set[str]:
    try:
        with open(path, "rb") as file:
            value = file.read(_SECRET_FILE_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        return set()
    return {value} if value and "\n" not in value else set()


# -- how it is handed over ---------------------------------------------------------------------------------------------


def _safe(name: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-")
    return safe if safe.strip(".") else "unnamed"


def _told(error: CheckError) -> str:
    return f"{error.reason}. {error.hint}".strip(". ")


def _write(directory: str, files: t.Mapping[str, bytes]) -> tuple[str, int]:
    """Write the archive for the owner of *directory*, who may not be who runs this.

    :raises CheckError: it cannot be written.
    """
    path = os.path.join(directory, ARCHIVE_NAME)
    try:
        holder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            # The directory belongs to the user who logs in: nothing in it is followed or reused.
            descriptor = os.open(ARCHIVE_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=holder)
            with os.fdopen(descriptor, "wb") as target:
                with tarfile.open(fileobj=target, mode="w:gz", compresslevel=3) as archive:
                    for name, data in files.items():
                        member = tarfile.TarInfo(name)
                        member.size = len(data)
                        archive.addfile(member, io.BytesIO(data))
                owner = os.fstat(holder)
                if owner.st_uid != os.geteuid():
                    os.fchown(target.fileno(), owner.st_uid, owner.st_gid)
                target.flush()
                return path, os.fstat(target.fileno()).st_size
        finally:
            os.close(holder)
    except OSError as error:
        raise CheckError(path, error.strerror or str(error), "Free some space there, or log in as a user who may write to it.", "failed") from error
