# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Put together what the modules of a security scan returned on all hosts of the play, write it, and tell the operator."""

from __future__ import annotations

import datetime
import json
import typing as t

from ansible.plugins.action import ActionBase
from ansible.utils.color import ANSIBLE_COLOR

from ..module_utils._envelope import CheckError
from ..module_utils._ignores import IgnoreList, ignore_arguments
from ..plugin_utils._collection import collection_version
from ..plugin_utils._security_findings import SECTIONS
from ..plugin_utils._security_report import SecurityReports, host_report

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "report_dir": {"type": "path", "default": "./reports/security"},
    "formats": {"type": "list", "elements": "str", "choices": ["json", "markdown", "sarif"], "default": ["json", "markdown", "sarif"]},
    "fail_on": {"type": "str", "choices": ["never", "warning", "critical"], "default": "never"},
    "ignore": {"type": "list", "elements": "dict", "default": [], "options": ignore_arguments()},
    "results": {"type": "dict", "required": True},
}


class ActionModule(ActionBase):
    """Runs once, on the controller, and connects to no host."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[dict[str, t.Any]] = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        dummy, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        names = {section: str(arguments["results"][section]) for section in SECTIONS if arguments["results"].get(section)}
        now = datetime.datetime.now(datetime.timezone.utc)
        try:
            ignore = IgnoreList.parse(arguments["ignore"])
            rows = [
                host_report(host, self._parts(variables["hostvars"].raw_get(host), names), ignore, now, collection_version())
                for host in variables["ansible_play_hosts_all"]
            ]
            reports = SecurityReports(rows, arguments["report_dir"], arguments["formats"])
            directory = reports.write()
        except CheckError as error:
            return {"failed": True, "changed": False, "msg": error.sentence}
        self._display.display(reports.text(bool(ANSIBLE_COLOR)))
        result: dict[str, t.Any] = {"changed": False, "report_dir": str(directory), "hosts": {row["host"]: row["status"] for row in rows}}
        if reports.reaches(arguments["fail_on"]):
            result.update(failed=True, msg=f"There is a finding of severity {arguments['fail_on']} or worse, see {directory}")
        return result

    @staticmethod
    def _parts(host_variables: t.Mapping[str, t.Any], names: t.Mapping[str, str]) -> dict[str, t.Optional[dict[str, t.Any]]]:
        """Return the results as plain data: what was collected is never looked at as a template."""
        found = {section: host_variables.get(name) for section, name in names.items()}
        plain: dict[str, t.Optional[dict[str, t.Any]]] = json.loads(json.dumps(found, default=str))
        return plain
