# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Locks with a holder's name, and files in directories that nobody else can write to; no link is ever followed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import stat
import time
import typing as t

from ._envelope import CheckError

TEMPORARY_PREFIX = ".new-"  # as write_whole names its files
_JSON_BYTES = 64 * 1024 * 1024
_DAMAGE = (errno.EIO, errno.EBADMSG, errno.EUCLEAN, errno.EINVAL, errno.ELOOP, errno.ENXIO)


@contextlib.contextmanager
def told(source: str) -> t.Iterator[None]:
    """Turn an error of the system into one that says what to do."""
    try:
        yield
    except OSError as error:
        name = error.filename or source
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CheckError(source, f"no space left for {name}", f"Look with: df -h {source}; df -i {source}", "no-space") from error
        code = "permission-denied" if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else "store"
        raise CheckError(source, f"{name}: {error.strerror or error}", f"Look with: ls -ld {source}", code) from error


def open_regular(path: str, dummy_flags: int = 0) -> int:
    """Open a regular file for reading; an ``opener`` for :func:`open`. A device or a pipe would hang or do something."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return descriptor


def read_json_object(path: str) -> dict[str, t.Any]:
    """Return the JSON object in a file; ``ValueError`` where it holds none, or is none, or the disk has lost it."""
    try:
        with open(path, "rb", opener=open_regular) as file:
            text = file.read(_JSON_BYTES + 1)
    except OSError as error:
        if error.errno in _DAMAGE:  # and not where there are too many open files, or the file is another user's
            raise ValueError(error.strerror) from None
        raise
    if len(text) > _JSON_BYTES:
        raise ValueError("it is far too large")
    try:
        data = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(data, dict):
        raise ValueError("it is not an object")
    return data


def names(directory: str, pattern: str = ".*") -> list[str]:
    """Return the names in *directory* that *pattern* matches as a whole, in order; none where it is missing."""
    try:
        return sorted(name for name in os.listdir(directory) if re.fullmatch(pattern, name, re.DOTALL))
    except FileNotFoundError:
        return []


def refuse_unsafe(path: str) -> None:
    """Refuse a directory that somebody else may write to, or whose place is taken by something else."""
    info = os.lstat(path)
    if stat.S_ISLNK(info.st_mode):
        raise CheckError(path, "is a link", f"Use what it leads to: {os.path.realpath(path)}", "unsafe-root")
    if not stat.S_ISDIR(info.st_mode):
        raise CheckError(path, "is not a directory", f"Move it away: {path}", "unsafe-root")
    if info.st_uid not in (0, os.geteuid()) or info.st_mode & 0o022:
        raise CheckError(path, "others may write to it", f"Run: chown {os.geteuid()} {path} && chmod go-w {path}", "unsafe-root")


def refuse_unsafe_above(path: str) -> None:
    """Refuse a place where anybody may put another directory in place of *path*; in a sticky one they may not."""
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        mode = os.stat(path).st_mode
        if mode & 0o002 and not mode & stat.S_ISVTX:
            raise CheckError(path, "everybody may write to it", f"Run: chmod o-w {path}", "unsafe-root")


def set_aside(path: str) -> str:
    """Move a damaged file out of the way, for somebody to look at, and return its new place."""
    aside = f"{path}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(2)}"
    os.rename(path, aside)
    return aside


def lock_file(path: str, wait_seconds: float, holder: t.Mapping[str, t.Any]) -> int:
    """Lock *path*, write *holder* (``pid``, ``purpose``, ``since``) into it and return the descriptor to give to :func:`unlock_file`.

    A process that dies lets go of it. While another holds it, the error names that one.
    """
    deadline = time.monotonic() + wait_seconds
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if not lock_descriptor(descriptor, deadline - time.monotonic()):
                raise _locked(path, os.pread(descriptor, 4096, 0))
            # A file that somebody removed while we waited holds nobody off.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                    with contextlib.suppress(OSError):  # a full disk must not keep anybody from making room
                        os.ftruncate(descriptor, 0)
                        os.pwrite(descriptor, json.dumps(dict(holder)).encode(), 0)
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def unlock_file(descriptor: int) -> None:
    """Let go of a lock; the file stays, for to remove it would let two others in."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
    os.close(descriptor)


def lock_descriptor(descriptor: int, wait_seconds: float) -> bool:
    """Lock an open file or directory; tell whether that came about in time."""
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(0.1, left))


def _locked(path: str, text: bytes) -> CheckError:
    try:
        holder = json.loads(text)
        who, hint = f"process {holder['pid']} ({holder['purpose']}, since {holder['since']})", f"ps -fp {holder['pid']}"
    except (ValueError, KeyError, TypeError):
        who, hint = "another run", f"fuser -v {path}"
    return CheckError(path, f"locked by {who}", f"Wait for it, or look with: {hint}", "locked")
