# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Runs a module packed: half of the bytes for each host, see docs/controller-cost.md.

The packed module is a file in the run's own temporary directory that Ansible runs like any other module. It is made once, by the
first worker that needs it, and kept below Ansible's home directory for the next run.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pathlib
import stat
import typing as t

from ansible import constants as C
from ansible.plugins.action import ActionBase

from ..module_utils._files import write_whole
from ._handover import handover_directory
from ._packed import PLUGINS, UNUSABLE, pack, sources_of

Result = dict[str, t.Any]

#: Ansible goes by the name of the file: no other module may have it.
PREFIX = "stackops_runbook_"
#: Of each module so many are kept: checkouts and releases beside each other each have theirs.
KEPT = 4


class PackedModule(ActionBase):  # type: ignore[misc]
    """The action of a module that is done on the host as a whole; its name is the module's."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[Result] = None) -> Result:
        super().run(tmp, task_vars)
        return run_packed(self, self._task.action.rpartition(".")[2], self._task.args, task_vars or {})


def run_packed(action: t.Any, module: str, arguments: t.Mapping[str, t.Any], task_vars: Result) -> Result:
    """Have *action* run *module*, a name of this collection, with *arguments*, and return its result."""
    wrap_async = bool(action._task.async_val) and not action._connection.has_native_async
    result: Result
    # Of a job in the background nobody would see here that the host cannot unpack it.
    if not wrap_async:
        directory = packed_directory(pathlib.Path(C.DEFAULT_LOCAL_TMP), pathlib.Path(C.ANSIBLE_HOME), module)
        action._shared_loader_obj.module_loader.add_directory(str(directory))
        result = action._execute_module(module_name=f"ansible.legacy.{PREFIX}{module}", module_args=dict(arguments), task_vars=task_vars)
        if not result.get(UNUSABLE):
            return result
    result = action._execute_module(module_name=f"stackops.runbook.{module}", module_args=dict(arguments), task_vars=task_vars, wrap_async=wrap_async)
    return result


def packed_directory(run_directory: pathlib.Path, home: pathlib.Path, module: str) -> pathlib.Path:
    """Return the directory of this run with the packed *module* in it; what an earlier run left below *home* is used."""
    directory = handover_directory(str(run_directory), "packed")
    directory.mkdir(mode=0o700, exist_ok=True)
    name = f"{PREFIX}{module}.py"
    if not (directory / name).exists():
        with (directory / f"{module}.lock").open("w", encoding="ascii") as lock:
            # Whoever holds it ends by itself, in about a second.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (directory / name).exists():
                write_whole(directory / name, _packed(home, module))
    return directory


def _packed(home: pathlib.Path, module: str) -> bytes:
    path = home / "stackops.runbook" / f"{PREFIX}{module}-{_digest(module)}.py"
    with contextlib.suppress(OSError):
        if _is_ours(path.parent):
            return path.read_bytes()
    content = pack(module, sources_of(module)).encode()
    # A home that cannot be written to costs each run the second that packing takes.
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_ours(path.parent):
            write_whole(path, content)
            for other in sorted(path.parent.glob(f"{PREFIX}{module}-*.py"), key=os.path.getmtime)[:-KEPT]:
                other.unlink()
    return content


def _is_ours(directory: pathlib.Path) -> bool:
    """Say whether nobody else can have written what is in *directory*: it is run on hosts as root."""
    status = directory.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _digest(module: str) -> str:
    """Return what stands for everything that the packed *module* is made from."""
    digest = hashlib.sha256()
    for path in (PLUGINS / "plugin_utils" / "_packed.py", PLUGINS / "modules" / f"{module}.py", *sorted((PLUGINS / "module_utils").glob("*.py"))):
        content = path.read_bytes()
        digest.update(f"{path.name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:32]
