# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Where a stack's logs are: what the engine keeps of its containers, and log files on their mounts."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import typing as t

from ._envelope import CheckError, rfc3339
from ._log_files import base_of, stat_file, walk

if t.TYPE_CHECKING:
    from ._discovery import ContainerRef, Stack
    from ._engine import Engine

API_LINES = 20000
#: In pieces of this size engines keep long lines.
PIECE_BYTES = 16384
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) ")
TIMEOUT_SECONDS = 20.0

# Mounted for other reasons than to keep this stack's logs there.
_FOREIGN = frozenset(
    ("/", "/boot", "/dev", "/etc", "/home", "/proc", "/root", "/run", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/lib", "/var/log", "/var/run")
)
_DATA = ("/var/lib/postgresql", "/var/lib/mysql", "/var/lib/redis", "/data/db", "/var/lib/docker")


@dataclasses.dataclass(frozen=True)
class LogSource:
    """One log. *type* is ``file`` (at *path*), ``container`` or ``journald`` (*unit*); *zone* is that of times without one."""

    name: str
    type: str = "file"
    path: t.Optional[str] = None
    project: t.Optional[str] = None
    service: t.Optional[str] = None
    container_id: t.Optional[str] = None
    driver: str = ""
    unit: t.Optional[str] = None
    zone: t.Optional[str] = None


def discover_sources(stack: Stack, engine: t.Optional[Engine]) -> list[LogSource]:
    """Return the logs of *stack*: one per container, and the ``*.log`` files on its bind mounts and volumes.

    An application may write the same to both; they stay apart, and nobody should add them up.
    """
    local = engine is None or not engine.remote
    found = [_of_container(container, local) for container in stack.containers if not container.oneoff]
    if not local:
        return found
    seen: set[str] = set()
    # Who may write to a mount comes before who may only read it; an application before its helpers.
    for container in sorted(stack.containers, key=lambda item: (item.oneoff, item.role != "application", item.name)):
        for mount in sorted(container.mounts, key=lambda item: bool(item["read_only"])):
            for path in _files_on(mount):
                real = os.path.realpath(path)
                if real not in seen:
                    seen.add(real)
                    found.append(LogSource(path, "file", path, container.project, container.service, zone=container.env.get("TZ") or None))
    return found


def _of_container(container: ContainerRef, local: bool) -> LogSource:
    return LogSource(
        f"container:{container.name}",
        "container",
        container.log_path if local and container.log_driver in ("json-file", "") else None,
        container.project,
        container.service,
        container.id,
        container.log_driver,
        zone=container.env.get("TZ") or None,
    )


def _files_on(mount: t.Mapping[str, t.Any]) -> list[str]:
    source = str(mount["source"])
    if mount["type"] not in ("bind", "volume") or not source or os.path.normpath(source) in _FOREIGN:
        return []
    if str(mount["destination"]).startswith(_DATA):
        return []
    if os.path.isdir(source):
        return walk(source)
    return [source] if base_of(source).endswith(".log") and stat_file(source) else []


def lines_of_engine(source: LogSource, engine: t.Optional[Engine], since: t.Optional[float], lines: int = API_LINES) -> bytes:
    """Return the newest *lines* of a container's log from the engine, each in the wrapper that json-file has.

    :raises CheckError: code ``driver-unreadable`` or that of the engine.
    """
    if source.driver == "journald":
        return lines_of_journal(source, since, lines)
    if source.driver == "none" or engine is None or source.container_id is None:
        raise CheckError(
            source.name,
            f"the logging driver {source.driver or 'unknown'} keeps nothing that can be read",
            "Use the logging driver json-file or local for this service.",
            "driver-unreadable",
        )
    return b"".join(
        _wrapped(text.decode("utf-8", "replace"), when)
        for line in engine.logs_tail(source.container_id, lines, since, timestamps=True).split(b"\n")
        for when, text in _of_line(line)
    )


def _of_line(line: bytes) -> t.Iterator[tuple[str, bytes]]:
    """Yield the time and the text of what the engine gave as one line.

    Of a line that the driver keeps in pieces every piece has its time in front, and the newline behind the last is missing.
    """
    parts = _STAMP.split(line) if len(line) > PIECE_BYTES else _STAMP.split(line, maxsplit=1)
    when, text = "", b""
    # The first part stands before any time: it is the rest of a line whose begin was cut off.
    for stamp, piece in zip(parts[1::2], parts[2::2]):
        text += piece
        when = when or stamp.decode("latin-1")
        if len(piece) < PIECE_BYTES:
            yield when, text
            when, text = "", b""
    if text:
        yield when, text


def lines_of_journal(source: LogSource, since: t.Optional[float], lines: int = API_LINES) -> bytes:
    """Return what the journal has of a container or a unit since a moment, in the same wrapper.

    :raises CheckError: ``not-installed``, ``permission-denied``, ``timeout`` or ``driver-unreadable``.
    """
    from ._process import run_command

    match = f"CONTAINER_ID_FULL={source.container_id}" if source.container_id else f"_SYSTEMD_UNIT={source.unit}"
    argv = ["journalctl", "--output=json", "--no-pager", "--quiet", f"--lines={lines}", f"--since=@{max(0, int(since or 0))}", match]
    done = run_command(argv, TIMEOUT_SECONDS)
    if done.exit_code != 0 and not done.stdout:
        raise CheckError(source.name, done.error_text.strip()[:300] or f"journalctl ended with {done.exit_code}", f"Run: {' '.join(argv)}", "driver-unreadable")
    wrapped = []
    for line in done.stdout.split(b"\n"):
        try:
            entry = json.loads(line)
            moment = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
        except (ValueError, KeyError, TypeError):
            continue
        message = entry.get("MESSAGE")
        text = bytes(message).decode("utf-8", "replace") if isinstance(message, list) else str(message)
        # Docker gives everything on stderr the priority of an error, so a container's says nothing.
        priority = str(entry.get("PRIORITY", "")) if not source.container_id else ""
        prefix = {"0": "CRITICAL: ", "1": "CRITICAL: ", "2": "CRITICAL: ", "3": "ERROR: ", "4": "WARNING: "}.get(priority, "INFO: " if priority else "")
        wrapped.append(_wrapped(prefix + text, rfc3339(moment) or ""))
    return b"".join(wrapped)


def _wrapped(text: str, when: str) -> bytes:
    return b'{"log":%s,"stream":"stdout","time":"%s"}\n' % (json.dumps(text + "\n").encode(), when.encode())
