# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the module of this name and, where asked to, compare its answers with the verdicts that were handed over."""

from __future__ import annotations

import typing as t

from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ..plugin_utils._firewall_probe import compare, resolve, targets
from ..plugin_utils._handover import hand_over, handover_directory, take_over

MODULE = "stackops.runbook.port_probe"


class ActionModule(ActionBase):
    """Connects from the host that the task is delegated to."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[dict[str, t.Any]] = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        if boolean(arguments.get("compare", False), strict=False):
            return self._compare(arguments, variables)
        result: dict[str, t.Any] = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=variables)
        return result

    def _compare(self, arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        """Try the ports of the play's host; whatever goes wrong is a line of the report, not an end of it."""
        host = variables["inventory_hostname"]
        directory = handover_directory(C.DEFAULT_LOCAL_TMP)
        row = take_over(directory, host) or {}
        facts = (row.get("result") or {}).get("facts") or {}
        firewall = facts.get("firewall")
        if not isinstance(firewall, dict) or not firewall.get("ports"):
            return {"changed": False, "status": "unknown", "summary": "no ports of this host are known", "errors": []}
        probe_from = str(arguments.get("probe_from") or "controller")
        addresses = resolve([str(name) for name in arguments.get("addresses") or []])
        wanted = [{"address": address, "port": port} for address, port in targets(firewall, addresses)]
        reason, results = "", []
        if wanted:
            reason, results = self._probe({"targets": wanted, "timeout_seconds": arguments.get("timeout_seconds", 3)}, variables)
        facts["firewall"] = compare(firewall, addresses, results, probe_from)
        if reason:
            facts["firewall"]["probe"]["reason"] = reason
        hand_over(directory, host, row)
        probe = facts["firewall"]["probe"]
        summary = str(probe["reason"] or f"{probe['tried']} ports tried from {probe_from}, {probe['disagreements']} otherwise than the rules say")
        return {"changed": False, "status": "unknown" if probe["reason"] else "ok", "summary": summary, "errors": []}

    def _probe(self, arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> tuple[str, list[dict[str, t.Any]]]:
        try:
            result = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=variables)
        except AnsibleConnectionFailure as error:
            return str(error), []
        if result.get("failed") or result.get("unreachable"):
            return str(result.get("msg") or "the one outside could not be used"), []
        return "", list(result["results"])
