# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copy backup sets to the controller, part by part."""

from __future__ import annotations

import os
import pathlib
import tempfile
import typing as t

from ansible import constants as C
from ansible.plugins.action import ActionBase

from ..plugin_utils._backup_receiver import SetReceiver, TransferError, directory_of
from ..plugin_utils._progress_display import ProgressLines

MODULE = "stackops.runbook.backup_pull"
PART_BYTES = 128 * 1024 * 1024


class ActionModule(ActionBase):
    """The module hands a part over where the user who logs in may read it; the connection fetches it from there.

    ``ansible.builtin.fetch`` cannot do that: with ``become`` it takes whole files into memory on both sides, and as text
    through a pipe.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[dict[str, t.Any]] = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        listed: dict[str, t.Any] = self._execute_module(module_name=MODULE, module_args=dict(self._task.args), task_vars=variables)
        if listed.get("failed") or "sets" not in listed:
            return listed
        host = str(variables["inventory_hostname"])
        pulled: list[dict[str, t.Any]] = []
        try:
            for entry in listed["sets"]:
                receiver = SetReceiver(directory_of(self._task.args["dest"], host, entry["project"]), entry["set_id"], entry["files"])
                copied = not receiver.there
                if copied and not self._task.check_mode:
                    self._pull(receiver, entry, ProgressLines(host, self._display.display), variables)
                pulled.append(
                    {"project": entry["project"], "set_id": entry["set_id"], "path": str(receiver.path), "bytes": receiver.total_bytes, "copied": copied}
                )
        except TransferError as error:
            return {"failed": True, "changed": any(done["copied"] for done in pulled), "msg": str(error), "sets": pulled}
        except OSError as error:
            return {"failed": True, "changed": any(done["copied"] for done in pulled), "msg": f"{error.filename}: {error.strerror}", "sets": pulled}
        return {"changed": any(entry["copied"] for entry in pulled), "sets": pulled}

    def _pull(self, receiver: SetReceiver, entry: dict[str, t.Any], lines: ProgressLines, variables: dict[str, t.Any]) -> None:
        if self._connection._shell.tmpdir is None:
            self._make_tmp_path()
        descriptor, local = tempfile.mkstemp(dir=C.DEFAULT_LOCAL_TMP)
        os.close(descriptor)
        try:
            with receiver:
                for offset in range(0, receiver.total_bytes, PART_BYTES):
                    self._part(pathlib.Path(local), receiver, entry, offset, variables)
                    done = min(offset + PART_BYTES, receiver.total_bytes)
                    lines.see(
                        {
                            "project": entry["project"],
                            "step": "copy to the controller",
                            "percent": 100 * done / receiver.total_bytes,
                            "done_bytes": done,
                            "total_bytes": receiver.total_bytes,
                        }
                    )
                receiver.publish()
        finally:
            os.unlink(local)

    def _part(self, local: pathlib.Path, receiver: SetReceiver, entry: dict[str, t.Any], offset: int, variables: dict[str, t.Any]) -> None:
        size = min(PART_BYTES, receiver.total_bytes - offset)
        part = {"project": entry["project"], "set": entry["set_id"], "offset": offset, "bytes": size, "directory": self._connection._shell.tmpdir}
        handed = self._execute_module(module_name=MODULE, module_args={**self._task.args, "part": part}, task_vars=variables)
        if handed.get("failed"):
            raise TransferError(str(handed.get("msg")))
        self._connection.fetch_file(handed["path"], str(local))
        receiver.take(local, size)
