# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""How collected facts get from the action that collects to the action that judges.

They go through files in the run's own temporary directory, which Ansible creates for each run with mode 0700,
shares between its workers and removes at the end. Registered variables would send them through Ansible's result
queue, its variable manager and its templating for every later task of every host, which is what a fleet's run
would mostly be spending its time on; and what was collected would be one ``{{ }}`` away from being evaluated.
"""

from __future__ import annotations

import json
import os
import pathlib
import tempfile
import typing as t
import urllib.parse


def handover_directory(run_directory: str) -> pathlib.Path:
    """Return the directory in which one run keeps its facts; *run_directory* is Ansible's ``DEFAULT_LOCAL_TMP``."""
    return pathlib.Path(run_directory) / "stackops.runbook-facts"


def _file_name(host: str) -> str:
    return urllib.parse.quote(host, safe="") + ".json"


def write_whole(path: pathlib.Path, content: bytes, mode: int = 0o600) -> None:
    """Write *content* to *path* whole or not at all: temporary name in the same directory, fsync, rename."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        pathlib.Path(temporary).unlink(missing_ok=True)
        raise


def hand_over(directory: pathlib.Path, host: str, row: dict[str, t.Any]) -> None:
    """Keep *row*, what came of collecting from *host*, until the run's report is written."""
    directory.mkdir(mode=0o700, exist_ok=True)
    write_whole(directory / _file_name(host), json.dumps(row, separators=(",", ":")).encode())


def take_over(directory: pathlib.Path, host: str) -> t.Optional[dict[str, t.Any]]:
    """Return what was kept for *host*, or ``None`` where nothing was."""
    try:
        content = (directory / _file_name(host)).read_bytes()
    except FileNotFoundError:
        return None
    row = json.loads(content)
    if not isinstance(row, dict):
        raise ValueError(f"{directory / _file_name(host)}: expected a mapping")
    return row
