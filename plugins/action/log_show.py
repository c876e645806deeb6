# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Merge the lines that the hosts handed over, and print them or write them to a file."""

from __future__ import annotations

import pathlib
import typing as t

from ansible import constants as C
from ansible.plugins.action import ActionBase
from ansible.utils.color import ANSIBLE_COLOR

from ..module_utils._files import write_whole
from ..plugin_utils._handover import handover_directory, take_over
from ..plugin_utils._log_view import Printer, counted, cut_off, merged, notes

ARGUMENTS: dict[str, dict[str, t.Any]] = {"file": {"type": "path"}}


class ActionModule(ActionBase):
    """The controller's half of reading logs. It connects to no host."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[dict[str, t.Any]] = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        dummy, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        directory = handover_directory(C.DEFAULT_LOCAL_TMP, "lines")
        silent = {"reason": "its logs were not read: an earlier task failed on this host, or it comes in a later batch of the play"}
        rows = {host: take_over(directory, host) or silent for host in (task_vars or {})["ansible_play_hosts_all"]}
        lines = merged(rows)
        words = f"{counted(len(lines), 'line')} of {counted(len(rows), 'host')}"
        result: dict[str, t.Any] = {"changed": False, "count": len(lines), "truncated_logs": cut_off(rows)}
        if arguments["file"]:
            path = pathlib.Path(arguments["file"]).expanduser().absolute()
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, Printer().text(lines).encode("utf-8"))
            except OSError as error:
                return {"failed": True, "changed": False, "msg": f"{path}: {error.strerror}"}
            words += f" written to {path}"
            result["file"] = str(path)
        elif lines:
            self._display.display(Printer(bool(ANSIBLE_COLOR)).text(lines).rstrip("\n"))
        tail = notes(rows)
        if result["truncated_logs"]:
            tail.append(f"{counted(result['truncated_logs'], 'log')} with more such lines further back. Ask for more lines, a window, a level or a text.")
        self._display.display("\n".join([*tail, words]))
        return {**result, "summary": words}
