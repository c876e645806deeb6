# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the module of this name and, where asked to, keep its facts on the controller for the report."""

from __future__ import annotations

import datetime
import time
import typing as t

from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ..plugin_utils._handover import hand_over, handover_directory
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
        result: dict[str, t.Any] = self._execute_module(module_name="stackops.runbook.stack_facts", module_args=arguments, task_vars=variables)
        return result

    def _collect_for_report(self, arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        """Collect and keep the facts; whatever goes wrong becomes this host's row of the report."""
        host = variables["inventory_hostname"]
        directory = handover_directory(C.DEFAULT_LOCAL_TMP)
        limit = float(arguments.get("timeout_seconds") or 60) + HOST_GRACE_SECONDS
        began = time.time()
        try:
            with time_limit(limit):
                result = self._collect(arguments, variables)
        except AnsibleConnectionFailure as error:
            hand_over(directory, host, {"host": host, "reachable": False, "reason": str(error)})
            raise
        except HostTimeout as error:
            hand_over(directory, host, {"host": host, "reachable": False, "reason": str(error)})
            return {"changed": False, "status": "unknown", "summary": str(error), "unreachable": True, "msg": str(error)}
        if result.get("failed"):
            reason = failure_reason(result)
            hand_over(directory, host, {"host": host, "reachable": True, "reason": reason})
            self._display.warning(f"{host}: collecting failed: {reason}")
            return {"changed": False, "status": "unknown", "summary": f"collecting failed: {reason}"}
        set_clock_offset(result, began, time.time())
        hand_over(directory, host, {"host": host, "reachable": True, "result": {key: result.get(key) for key in ("schema", "host", "facts")}})
        return {"changed": False, "status": result.get("status"), "summary": result.get("summary")}


def failure_reason(result: dict[str, t.Any]) -> str:
    """Return the one line of a failed module's *result* that says what happened."""
    # A module that never came to speak (no Python, a full disk) leaves its words in module_stderr.
    noise = (result.get("module_stderr") or result.get("module_stdout") or "").strip().splitlines()
    message = str(result.get("msg") or "the module gave no reason").strip().splitlines()[0]
    return f"{message} ({noise[-1].strip()})" if noise else message


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
