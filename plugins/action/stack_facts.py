# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the module of this name and, where asked to, keep its facts on the controller for the report."""

from __future__ import annotations

import datetime
import pathlib
import time
import typing as t

from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ..plugin_utils._handover import hand_over, handover_directory
from ..plugin_utils._odd_hosts import Trouble, error_trouble, hang_trouble, module_trouble, target_of, work_in_memory
from ..plugin_utils._packed_module import run_packed
from ..plugin_utils._time_limit import HostTimeout, time_limit

#: The collectors end by themselves at their deadline; this much later it is the connection or the host that hangs.
HOST_GRACE_SECONDS = 30


class ActionModule(ActionBase):
    """Collect, and hand over to ``diagnose_report`` without loading variables with the facts."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[dict[str, t.Any]] = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        if boolean(arguments.get("return_facts", True), strict=False):
            return self._collect(arguments, variables)
        return self._collect_for_report(arguments, variables)

    def _collect(self, arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        return run_packed(self, "stack_facts", arguments, variables)

    def _collect_for_report(self, arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        """Collect and keep the facts; whatever goes wrong becomes this host's row of the report."""
        host = variables["inventory_hostname"]
        directory = handover_directory(C.DEFAULT_LOCAL_TMP)
        limit = host_limit(arguments)
        began = time.time()
        try:
            with time_limit(limit):
                result = self._collect_where_there_is_room(arguments, variables)
        except AnsibleError as error:
            trouble = error_trouble(error, target_of(self, variables))
            return self._failed(directory, host, trouble) if trouble.reached else self._unreachable(directory, host, trouble)
        except HostTimeout:
            return self._unreachable(directory, host, hang_trouble(limit, "diagnose_timeout_seconds"))
        if result.get("failed"):
            return self._failed(directory, host, module_trouble(result, target_of(self, variables)))
        set_clock_offset(result, began, time.time())
        hand_over(directory, host, {"host": host, "reachable": True, "result": {key: result.get(key) for key in ("schema", "host", "facts")}})
        return {"changed": False, "status": result.get("status"), "summary": result.get("summary")}

    def _collect_where_there_is_room(self, arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        """Collect; on a host whose file systems are full or read-only, with what Ansible needs there in memory."""
        try:
            result = self._collect(arguments, variables)
        except AnsibleConnectionFailure as error:
            if error_trouble(error, target_of(self, variables)).code != "no-room":
                raise
        else:
            if not result.get("failed") or module_trouble(result, target_of(self, variables)).code != "no-room":
                return result
        work_in_memory(self)
        return self._collect(arguments, variables)

    def _failed(self, directory: pathlib.Path, host: str, trouble: Trouble) -> dict[str, t.Any]:
        reason = str(trouble)
        hand_over(directory, host, {"host": host, "reachable": True, "reason": reason})
        self._display.warning(f"{host}: collecting failed: {reason}")
        return {"changed": False, "status": "unknown", "summary": f"collecting failed: {reason}"}

    @staticmethod
    def _unreachable(directory: pathlib.Path, host: str, trouble: Trouble) -> dict[str, t.Any]:
        reason = str(trouble)
        hand_over(directory, host, {"host": host, "reachable": False, "reason": reason})
        return {"changed": False, "status": "unknown", "unreachable": True, "msg": reason}


def host_limit(arguments: t.Mapping[str, t.Any]) -> float:
    """Return how many seconds a host has."""
    try:
        return float(arguments.get("timeout_seconds") or 60) + HOST_GRACE_SECONDS
    except (TypeError, ValueError):
        # What is wrong with it the module says.
        return 60.0 + HOST_GRACE_SECONDS


def set_clock_offset(result: dict[str, t.Any], began: float, ended: float) -> None:
    """Note in the facts of *result* how far the host's clock is from the controller's, in milliseconds.

    The host began to collect some time between *began* and *ended*; only what lies outside of that is its clock's
    fault, and that is what is noted.
    """
    clock = ((result.get("facts") or {}).get("host") or {}).get("clock")
    if not clock:
        return
    there = datetime.datetime.fromisoformat(result["host"]["collected_at"].replace("Z", "+00:00")).timestamp()
    offset = min(0.0, there - began) + max(0.0, there - ended)
    clock["offset_ms"] = round(offset * 1000)
