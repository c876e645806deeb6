# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Puts files of a set in their place, keeping what was there, and takes that back."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import typing as t

from . import _extraction as extraction
from ._archives import OUTSIDE
from ._database_facts import Facts
from ._envelope import CheckError

_STAGE = ".restore-"


def put_files(archive: str, into: str, suffix: str, record: t.Callable[[list[Facts]], None]) -> list[str]:
    """Extract *archive* beside *into* and rename each file to its place; return their paths.

    What was there and differs is kept as ``<name>.before-<suffix>``. *record* gets the whole list of renames before the first.
    """
    os.makedirs(into, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{_STAGE}{suffix}-", dir=into) as stage:
        files: list[dict[str, t.Any]] = []
        for written in extraction.extract(archive, stage):
            relative = os.path.relpath(written, stage)
            # Files that the project only refers to: their place is not ours to overwrite.
            if relative.startswith(OUTSIDE + os.sep):
                continue
            if not os.path.isdir(written) or os.path.islink(written):
                target = os.path.join(into, relative)
                if not _same(written, target):
                    kept = f"{target}.before-{suffix}" if os.path.lexists(target) else None
                    files.append({"staged": written, "path": target, "kept": kept})
        record([{"path": one["path"], "kept": one["kept"]} for one in files])
        for one in files:
            _refuse_links(into, one["path"])
            os.makedirs(os.path.dirname(one["path"]), exist_ok=True)
            if one["kept"] is not None:
                _keep(one["path"], one["kept"])
            os.replace(one["staged"], one["path"])
    return [str(one["path"]) for one in files]


def remove_stages(into: str, suffix: str) -> None:
    """Remove what a :func:`put_files` that was killed has extracted and not renamed."""
    for name in os.listdir(into) if os.path.isdir(into) else ():
        if name.startswith(f"{_STAGE}{suffix}-") and not os.path.islink(os.path.join(into, name)):
            shutil.rmtree(os.path.join(into, name), ignore_errors=True)


def take_files_back(renames: t.Sequence[Facts]) -> None:
    """Undo :func:`put_files`, whichever of its renames were done."""
    for one in reversed(renames):
        if one["kept"] is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(one["path"])
        elif os.path.lexists(one["kept"]):
            os.replace(one["kept"], one["path"])
            # Two names of one file: then the rename has done nothing.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(one["kept"])


def put_logs(archive: str, into: str, suffix: str) -> str:
    """Extract archived logs into a directory of their own and return it: logs that are written now are left alone."""
    os.makedirs(os.path.dirname(into), exist_ok=True)
    stage = tempfile.mkdtemp(prefix=f"{_STAGE}{suffix}-", dir=os.path.dirname(into))
    try:
        extraction.extract(archive, stage)
        os.replace(stage, into)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise
    return into


def _keep(path: str, kept: str) -> None:
    """Give what is there a second name, so that whoever is killed now leaves it in its place; where there are no links it is renamed."""
    try:
        os.link(path, kept, follow_symlinks=False)
    except OSError:
        os.replace(path, kept)


def _same(one: str, other: str) -> bool:
    if os.path.islink(one) or os.path.islink(other) or not os.path.isfile(other):
        return False
    with open(one, "rb") as left, open(other, "rb") as right:
        return left.read() == right.read()


def _refuse_links(top: str, path: str) -> None:
    """Refuse to write through a link that stands where a directory of ours should be."""
    directory = os.path.dirname(path)
    while len(directory) > len(top):
        if os.path.islink(directory):
            raise CheckError(directory, "is a link, and the set has a directory there", "Move it away, then restore again.", "unsafe")
        directory = os.path.dirname(directory)
