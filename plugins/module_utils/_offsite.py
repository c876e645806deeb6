# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Copies of backup sets off the host, with rclone or restic as the distribution has them.

With rclone a set is the directory ``<remote>/<project>/<set id>``, whose manifest is copied last: without it there is no set.
With restic it is one snapshot, of the host ``stackops`` and tagged with project and set id. Each copy is compared with the
local files after the transfer: by hashes that the far side computes, or else by reading it back.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import tempfile
import time
import typing as t

from ._envelope import CheckError, rfc3339
from ._offsite_tools import KEEP, MANIFEST, Offsite, Tool, sha256_of, tool_of

__all__ = ["Offsite", "fetch", "list_sets", "push", "verify"]

CHECKSUMS = "SHA256SUMS"
_ESCAPED = {"\\": "\\", "n": "\n", "r": "\r"}


def push(offsite: Offsite, project: str, set_path: str, set_id: str) -> dict[str, t.Any]:
    """Copy a set off the host, compare the copy, and return the evidence. The local set is only read."""
    begin = time.monotonic()
    tool = tool_of(offsite, project, set_id)
    local = _local_files(set_path)
    verified_by = tool.push(set_path, local)
    return _evidence(tool, local, verified_by, begin)


def verify(offsite: Offsite, project: str, set_path: str, set_id: str, *, read_back: bool = False) -> dict[str, t.Any]:
    """Compare the copy of a set with the local one again; *read_back* does it byte by byte even where hashes would do."""
    begin = time.monotonic()
    tool = tool_of(offsite, project, set_id)
    local = _local_files(set_path)
    return _evidence(tool, local, tool.verify(set_path, local, read_back), begin)


def list_sets(offsite: Offsite, project: str) -> list[str]:
    """Return the ids of the complete sets that are there, newest first."""
    return sorted(tool_of(offsite, project).sets(), reverse=True)


def fetch(offsite: Offsite, project: str, set_id: str, into: str) -> str:
    """Copy a set back to ``<into>/<set_id>``, whole or not at all, with its checksums verified; return its path."""
    tool = tool_of(offsite, project, set_id)
    target = os.path.join(into, set_id)
    if os.path.lexists(target):
        raise CheckError(target, "is there already; nothing was fetched", "Fetch into another directory, or use the set that is there.", "not-empty")
    there = tool.sets()
    if set_id not in there:
        found = ", ".join(sorted(there, reverse=True)[:5]) or "none"
        raise CheckError(tool.shown, f"has no complete set {set_id} of {project}", f"Choose one that is there (newest first): {found}", "not-found")
    os.makedirs(into, 0o700, exist_ok=True)
    temporary = tempfile.mkdtemp(prefix=".new-", dir=into)
    try:
        tool.fetch(temporary)
        _check_sums(temporary, tool.shown)
        os.rename(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return target


def _evidence(tool: Tool, local: t.Mapping[str, int], verified_by: str, begin: float) -> dict[str, t.Any]:
    return {
        "kind": tool.offsite.kind,
        "remote": tool.shown,
        "at": rfc3339(time.time()),
        "bytes": sum(local.values()),
        "files": len(local),
        "verified_by": verified_by,
        "duration_seconds": round(time.monotonic() - begin, 3),
    }


def _local_files(top: str) -> dict[str, int]:
    """Return the size of every file of a set, by its name; anything but files and directories is an error."""
    sizes: dict[str, int] = {}

    def give_up(error: OSError) -> None:
        raise CheckError(str(error.filename), f"cannot be read: {error.strerror}", "Look at the set: sudo ls -lR", "read-failed") from error

    for directory, names, files in os.walk(top, onerror=give_up):
        for name in names + files:
            path = os.path.join(directory, name)
            found = os.lstat(path)
            if stat.S_ISREG(found.st_mode):
                sizes[os.path.relpath(path, top)] = found.st_size
            elif not stat.S_ISDIR(found.st_mode):
                raise CheckError(path, "is neither a file nor a directory: a set has nothing else", f"Look at it: ls -l {shlex.quote(path)}", "not-a-set")
    sizes.pop(KEEP, None)
    if MANIFEST not in sizes:
        raise CheckError(top, f"has no {MANIFEST}: it is no complete set", f"Look at it: ls -l {shlex.quote(top)}", "not-a-set")
    return sizes


def _check_sums(top: str, shown: str) -> None:
    """Compare a fetched set with its own checksums. Whether these are ours is the manifest's business."""
    files = _local_files(top)
    try:
        with open(os.path.join(top, CHECKSUMS), encoding="utf-8") as file:
            sums = dict(_name_and_sum(line) for line in file)
    except (OSError, ValueError) as error:  # no UTF-8 is a ValueError
        raise CheckError(shown, f"the set has no readable {CHECKSUMS}: {error}", "Fetch another set.", "offsite-differs") from error
    wrong = [name for name, checksum in sums.items() if name not in files or sha256_of(os.path.join(top, name)) != checksum]
    wrong += [name for name in files if name not in sums and name not in (MANIFEST, CHECKSUMS)]
    if wrong:
        raise CheckError(shown, f"the fetched set is damaged: {', '.join(sorted(wrong)[:5])}; nothing was kept of it", "Fetch another set.", "offsite-differs")


def _name_and_sum(line: str) -> tuple[str, str]:
    """Return what a line of ``sha256sum`` says; a backslash in front means that the name has some."""
    escaped, line = line.startswith("\\"), line.rstrip("\n").lstrip("\\")
    checksum, name = line[:64], line[66:]
    return re.sub(r"\\([\\nr])", lambda match: _ESCAPED[match[1]], name) if escaped else name, checksum
