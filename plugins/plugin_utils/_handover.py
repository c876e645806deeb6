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
import pathlib
import typing as t

from ..module_utils._files import write_whole
from ._host_names import path_name


def handover_directory(run_directory: str, what: str = "facts") -> pathlib.Path:
    """Return the directory in which one run keeps its facts, or *what* else; *run_directory* is Ansible's ``DEFAULT_LOCAL_TMP``."""
    return pathlib.Path(run_directory) / f"stackops.runbook-{what}"


def _file_name(host: str) -> str:
    return path_name(host) + ".json"


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


def archive_path(directory: pathlib.Path, host: str) -> pathlib.Path:
    """Return where the archive of *host* is kept besides its row; the directory is made if it is not there."""
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory / (path_name(host) + ".tar.gz")
