# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judge what the hosts handed over, write the report, and tell the operator."""

from __future__ import annotations

import pathlib
import typing as t

from ansible import constants as C
from ansible.plugins.action import ActionBase

from ..plugin_utils._diagnosis import Diagnosis, DiagnosisOptions, RuleProblems, recorded_rows, rows_of_run
from ..plugin_utils._handover import handover_directory

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "report_dir": {"type": "path", "default": "./reports"},
    "formats": {"type": "list", "elements": "str", "choices": ["json", "markdown", "html"], "default": ["json", "markdown", "html"]},
    "language": {"type": "str", "choices": ["en", "zh_TW"], "default": "en"},
    "fail_on": {"type": "str", "choices": ["never", "warning", "critical"], "default": "never"},
    "rule_dirs": {"type": "list", "elements": "path", "required": True},
    "disabled_rules": {"type": "list", "elements": "str", "default": []},
    "thresholds": {"type": "dict", "default": {}},
    "silences": {"type": "list", "elements": "dict", "default": []},
    "recorded_facts": {"type": "path"},
    "lint_only": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):
    """The controller's half of a diagnosis. It connects to no host."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[dict[str, t.Any]] = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        dummy, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        try:
            diagnosis = Diagnosis(DiagnosisOptions.from_arguments(arguments))
        except RuleProblems as problems:
            return {"failed": True, "changed": False, "msg": str(problems), "problems": problems.as_list()}
        if arguments["lint_only"]:
            return {"changed": False, "msg": diagnosis.describe_rules(), "rules": diagnosis.rule_count}
        if arguments["recorded_facts"]:
            rows = recorded_rows(pathlib.Path(arguments["recorded_facts"]))
        else:
            rows = rows_of_run(handover_directory(C.DEFAULT_LOCAL_TMP), variables["ansible_play_hosts_all"])
        written = diagnosis.write(rows)
        self._display.display(diagnosis.terminal_summary(written, color=C.ANSIBLE_COLOR_OK is not None and not C.ANSIBLE_NOCOLOR))
        result = {"changed": False, "summary": written.report["summary"], "report": {name: str(path) for name, path in written.paths.items()}}
        if diagnosis.fails(written.report):
            result.update(failed=True, msg=f"A finding is at least {arguments['fail_on']}: see {written.directory}")
        return result
