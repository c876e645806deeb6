# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the module of this name; where asked to, keep its lines on the controller, or print what comes for a while."""

from __future__ import annotations

import time
import typing as t

from ansible import constants as C
from ansible import context
from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.color import ANSIBLE_COLOR

from ..plugin_utils._handover import hand_over, handover_directory, take_over
from ..plugin_utils._log_view import Printer, merged
from ..plugin_utils._odd_hosts import Trouble, error_trouble, hang_trouble, module_trouble, target_of
from ..plugin_utils._packed_module import run_packed
from ..plugin_utils._time_limit import HostTimeout, time_limit

Result = dict[str, t.Any]

#: The module ends by itself at its deadline; this much later it is the connection or the host that hangs.
HOST_GRACE_SECONDS = 30
#: Looking again costs the host a moment of Python; a person does not read faster.
POLL_SECONDS = 1.0
#: One look at what is new may bring more than a first look at the last lines.
LINES_OF_A_LOOK = 10000
#: Of what is printed so much is kept for the file as well.
KEPT_LINES = 100000


class ActionModule(ActionBase):
    """Read, and hand over to ``log_show`` without loading variables with the lines."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[dict[str, t.Any]] = None) -> Result:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        try:
            follow_seconds = float(arguments.pop("follow_seconds", None) or 0)
        except ValueError:
            return {"failed": True, "changed": False, "msg": "follow_seconds must be a number of seconds"}
        if boolean(arguments.pop("return_lines", True), strict=False):
            if follow_seconds:
                return {"failed": True, "changed": False, "msg": "follow_seconds needs return_lines=false"}
            return self._read(arguments, variables)
        if follow_seconds:
            return self._follow(arguments, variables, follow_seconds)
        return self._read_for_show(arguments, variables)

    def _read(self, arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> Result:
        return run_packed(self, "log_lines", arguments, variables)

    def _read_in_time(self, arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> Result:
        with time_limit(_limit_seconds(arguments)):
            return self._read(arguments, variables)

    def _read_for_show(self, arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> Result:
        """Read and keep the lines; that a host does not answer is told with them."""
        host = variables["inventory_hostname"]
        directory = handover_directory(C.DEFAULT_LOCAL_TMP, "lines")
        try:
            result = self._read_in_time(arguments, variables)
        except (AnsibleError, HostTimeout) as error:
            trouble = self._trouble(error, arguments, variables)
            hand_over(directory, host, {"host": host, "reachable": trouble.reached, "reason": str(trouble)})
            if trouble.code == "failed":
                raise
            return {"changed": False, **({"status": "unknown", "summary": str(trouble)} if trouble.reached else {"unreachable": True, "msg": str(trouble)})}
        if result.get("failed"):
            trouble = module_trouble(result, target_of(self, variables))
            hand_over(directory, host, {"host": host, "reachable": True, "reason": str(trouble)})
            # What the module itself says is about what it was asked for, which is the same for every host.
            return result if trouble.code == "failed" else {"changed": False, "status": "unknown", "summary": str(trouble)}
        kept = {key: result.get(key) for key in ("lines", "logs", "errors", "position")}
        hand_over(directory, host, {"host": host, "reachable": True, "result": kept})
        return {"changed": False, "status": result.get("status"), "summary": result.get("summary")}

    def _trouble(self, error: t.Union[AnsibleError, HostTimeout], arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> Trouble:
        if isinstance(error, AnsibleError):
            return error_trouble(error, target_of(self, variables))
        return hang_trouble(_limit_seconds(arguments), "deadline")

    def _follow(self, arguments: dict[str, t.Any], variables: dict[str, t.Any], seconds: float) -> Result:
        """Print what is written from where the lines were read before, until *seconds* are over."""
        host = variables["inventory_hostname"]
        directory = handover_directory(C.DEFAULT_LOCAL_TMP, "lines")
        row = take_over(directory, host)
        if row is None or not row.get("result"):
            return {"changed": False, "skipped": True, "msg": "its logs were not read, so that there is nothing to follow"}
        self._warn_of_forks(host, variables)
        result, printer = row["result"], Printer(bool(ANSIBLE_COLOR))
        end = time.monotonic() + seconds
        count = 0
        problem = ""
        while True:
            last = time.monotonic() >= end
            try:
                new = self._read_in_time({**arguments, "position": result["position"], "lines": LINES_OF_A_LOOK, "window": None, "since": None}, variables)
                problem = str(new.get("msg")) if new.get("failed") else ""
            except (AnsibleError, HostTimeout) as error:
                # It may come back; what is written meanwhile is there then.
                new, problem = {"failed": True}, str(error)
            if not new.get("failed"):
                if new["lines"]:
                    self._display.display(printer.text(merged({host: {"result": new}})).rstrip("\n"))
                count += len(new["lines"])
                result["position"] = new["position"]
                result["lines"] = [*result["lines"], *new["lines"]][-KEPT_LINES:]
            if last:
                break
            time.sleep(max(0.0, min(POLL_SECONDS, end - time.monotonic())))
        hand_over(directory, host, row)
        if problem:
            self._display.warning(f"{host}: following ended without its last lines: {problem}")
        return {"changed": False, "summary": f"{count} more lines in {seconds:g} s"}

    def _warn_of_forks(self, host: str, variables: dict[str, t.Any]) -> None:
        hosts, forks = variables.get("ansible_play_hosts_all") or [host], int(context.CLIARGS.get("forks") or 5)
        if len(hosts) > forks and host == hosts[0]:
            self._display.warning(f"Only {forks} of {len(hosts)} hosts are followed at a time. Run it with --forks {len(hosts)} to follow all of them.")


def _limit_seconds(arguments: dict[str, t.Any]) -> float:
    return float(arguments.get("deadline") or 30) + HOST_GRACE_SECONDS
