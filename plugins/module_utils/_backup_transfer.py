# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Hands a published set over in parts: the host's half of copying it to the controller.

Root alone may read a set, and the user who logs in fetches files. So root writes one part after the other, each a range of
all files behind each other, where only that user may read it. A part is the space that is needed, not the whole set.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import typing as t

from ._envelope import CheckError

SET_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4}\Z")
PROJECT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
PART_NAME = "stackops-part"
# A marker for the retention on the host, which does not belong to what was backed up.
_NOT_COPIED = ("KEEP",)
_BLOCK_BYTES = 1024 * 1024

Raw = dict[str, t.Any]


def sets_to_copy(root: str, projects: t.Sequence[str], wanted: str = "latest") -> list[Raw]:
    """Return the set *wanted* of each of *projects*, or of all projects below *root* that have one, with its files.

    :raises CheckError: *root*, or the set of a project that was asked for, is not there.
    """
    try:
        there = sorted(name for name in os.listdir(root) if PROJECT.match(name) and os.path.isdir(os.path.join(root, name, "sets")))
    except OSError as error:
        raise CheckError(root, str(error.strerror), "Make a backup first, and use become to read it.", _code(error)) from None
    found = []
    for project in projects or there:
        set_id = _set_of(root, project, wanted)
        if set_id:
            files = _files(set_path(root, project, set_id))
            found.append({"project": project, "set_id": set_id, "files": files, "bytes": sum(entry["bytes"] for entry in files)})
        elif projects:
            raise CheckError(f"{root}/{project}", f"there is no set {wanted}", "See what there is with pg_restore and action list.", "not-found")
    return found


def set_path(root: str, project: str, set_id: str) -> str:
    """Return the directory of a set.

    :raises CheckError: a name that leads elsewhere.
    """
    if not PROJECT.match(project) or not SET_ID.match(set_id):
        raise CheckError(root, f"{project}/{set_id} is no set", "", "invalid-option")
    return os.path.join(root, project, "sets", set_id)


def _set_of(root: str, project: str, wanted: str) -> t.Optional[str]:
    if not PROJECT.match(project):
        raise CheckError(root, f"{project!r} is no name of a project", "", "invalid-option")
    set_id = wanted
    if wanted == "latest":
        try:
            set_id = os.path.basename(os.readlink(os.path.join(root, project, "latest")))
        except OSError:
            return None
    return set_id if SET_ID.match(set_id) and os.path.isfile(os.path.join(set_path(root, project, set_id), "manifest.json")) else None


def _files(path: str) -> list[Raw]:
    """Return the regular files of a set in a fixed order, the manifest first."""
    files = []
    for directory, dummy_directories, names in os.walk(path):
        for name in names:
            whole = os.path.join(directory, name)
            relative = os.path.relpath(whole, path)
            status = os.lstat(whole)
            if relative in _NOT_COPIED:
                continue
            if not stat.S_ISREG(status.st_mode):
                raise CheckError(whole, "it is no regular file, and does not belong into a set", "See who put it there.", "invalid-set")
            files.append({"path": relative, "bytes": status.st_size})
    return sorted(files, key=lambda entry: (entry["path"] != "manifest.json", entry["path"]))


def write_part(path: str, offset: int, length: int, directory: str) -> Raw:
    """Write *length* bytes from *offset* on, counted through all files of the set, to a file for the owner of *directory*.

    The part before it is removed. It returns the file's path and how many bytes are in it.

    :raises CheckError: *directory* cannot be written to or is full.
    """
    part = os.path.join(directory, PART_NAME)
    try:
        # The directory belongs to the user who logs in: nothing in it is followed or reused.
        holder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise CheckError(directory, str(error.strerror), "", _code(error)) from None
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(PART_NAME, dir_fd=holder)
        descriptor = os.open(PART_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=holder)
        with os.fdopen(descriptor, "wb") as target:
            written = sum(_copy(source, start, count, target) for source, start, count in _ranges(path, offset, length))
            owner = os.fstat(holder)
            if owner.st_uid != os.geteuid():
                os.fchown(target.fileno(), owner.st_uid, owner.st_gid)
    except OSError as error:
        hint = "Free some space there: a part takes up to 128 MiB." if error.errno == errno.ENOSPC else "Become root, or log in as who may read the sets."
        raise CheckError(part, str(error.strerror), hint, _code(error)) from None
    finally:
        os.close(holder)
    return {"path": part, "bytes": written}


def _ranges(path: str, offset: int, length: int) -> t.Iterator[tuple[str, int, int]]:
    """Yield which bytes of which files the range is made of: path, first byte, number of bytes."""
    position = 0
    for entry in _files(path):
        start, end = max(offset, position), min(offset + length, position + entry["bytes"])
        if start < end:
            yield os.path.join(path, entry["path"]), start - position, end - start
        position += entry["bytes"]


def _copy(path: str, start: int, count: int, target: t.BinaryIO) -> int:
    left = count
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as source:
        source.seek(start)
        while left:
            block = source.read(min(left, _BLOCK_BYTES))
            if not block:
                break
            target.write(block)
            left -= len(block)
    return count - left


_CODES = {errno.ENOENT: "not-found", errno.EACCES: "permission-denied", errno.EPERM: "permission-denied", errno.ENOSPC: "disk-full"}


def _code(error: OSError) -> str:
    return _CODES.get(error.errno or 0, "failed")
