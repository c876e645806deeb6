# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Collect the evidence of one host and keep it, unredacted and private, for the action that redacts."""

from __future__ import annotations

import os
import pathlib
import typing as t

from ansible import constants as C
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ..plugin_utils._handover import archive_path, hand_over, handover_directory
from ..plugin_utils._odd_hosts import Trouble, error_trouble, hang_trouble, module_trouble, target_of
from ..plugin_utils._packed_module import run_packed
from ..plugin_utils._time_limit import HostTimeout, time_limit

#: The collectors end by themselves at their deadline; this much later it is the connection or the host that hangs.
HOST_GRACE_SECONDS = 60


class ActionModule(ActionBase):
    """Whatever goes wrong with a host is an entry of the bundle's manifest, and never the end of the run."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[dict[str, t.Any]] = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        if self._task.check_mode:
            return {"changed": False, "msg": "Would collect versions, logs, configuration, errors, facts and system information, and change nothing."}
        host = str(variables["inventory_hostname"])
        directory = handover_directory(C.DEFAULT_LOCAL_TMP, "evidence")
        facts = {"address": self._play_context.remote_addr, "user": self._play_context.remote_user}
        limit = float(self._task.args.get("timeout_seconds") or 120) + HOST_GRACE_SECONDS
        try:
            with time_limit(limit):
                return self._collect(host, directory, facts, variables)
        except AnsibleError as error:
            trouble = error_trouble(error, target_of(self, variables))
            return self._failed(host, directory, facts, trouble) if trouble.reached else self._unreachable(host, directory, facts, str(trouble))
        except HostTimeout:
            return self._unreachable(host, directory, facts, str(hang_trouble(limit, "support_bundle_timeout_seconds")))

    def _failed(self, host: str, directory: pathlib.Path, facts: dict[str, t.Any], trouble: Trouble) -> dict[str, t.Any]:
        hand_over(directory, host, {**facts, "reachable": True, "reason": str(trouble)})
        self._display.warning(f"{host}: collecting failed: {trouble}")
        return {"changed": False, "msg": f"collecting failed: {trouble}"}

    @staticmethod
    def _unreachable(host: str, directory: pathlib.Path, facts: dict[str, t.Any], reason: str) -> dict[str, t.Any]:
        hand_over(directory, host, {**facts, "reachable": False, "reason": reason})
        return {"changed": False, "unreachable": True, "msg": reason}

    def _collect(self, host: str, directory: pathlib.Path, facts: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        if self._connection._shell.tmpdir is None:
            self._make_tmp_path()
        arguments = {**self._task.args, "directory": self._connection._shell.tmpdir}
        result = run_packed(self, "support_bundle", arguments, variables)
        if result.get("failed") or "path" not in result:
            return self._failed(host, directory, facts, module_trouble(result, target_of(self, variables)))
        local = archive_path(directory, host)
        # Made first, because what fetches makes files that others may read.
        os.close(os.open(local, os.O_WRONLY | os.O_CREAT, 0o600))
        self._connection.fetch_file(result["path"], os.fspath(local))
        hand_over(directory, host, {**facts, "reachable": True, "archive": str(local)})
        return {key: result[key] for key in ("changed", "files", "bytes", "projects", "engine")}
