# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judge what the hosts handed over, write the report, and tell the operator."""

from __future__ import annotations

import datetime
import pathlib
import typing as t

from ansible import constants as C
from ansible.plugins.action import ActionBase
from ansible.utils.color import ANSIBLE_COLOR

from ..plugin_utils._collection import collection_version
from ..plugin_utils._diagnosis import Diagnosis, DiagnosisError, Rows, check_settings, recorded_rows, rows_of_run
from ..plugin_utils._handover import handover_directory
from ..plugin_utils._run_options import run_options
from ..plugin_utils._support_bundle_reader import BundleError, bundle_rows

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
    "bundle": {"type": "path"},
    "compare_bundle": {"type": "path"},
    "compare_with": {"type": "path"},
    "merge": {"type": "list", "elements": "path"},
    "keep_reports": {"type": "int", "default": 0},
    "keep_days": {"type": "float", "default": 0},
    "view": {"type": "str", "choices": ["findings", "ports"], "default": "findings"},
    "hosts": {"type": "list", "elements": "str"},
    "check_only": {"type": "bool", "default": False},
    "lint_only": {"type": "bool", "default": False},
    "explain": {"type": "str"},
}


class ActionModule(ActionBase):
    """The controller's half of a diagnosis. It connects to no host."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[dict[str, t.Any]] = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        dummy, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        try:
            # Only where there will be a report to take them from, and hosts that it is about.
            remedies = "json" in arguments["formats"] and not arguments["bundle"] and not arguments["recorded_facts"]
            asked = {**arguments, "remedies": remedies, "check_mode": self._task.check_mode, "command_options": run_options(task_vars or {})}
            now = datetime.datetime.now(datetime.timezone.utc)
            if arguments["check_only"]:
                check_settings(asked, collection_version(), now)
                return {"changed": False, "msg": "A report can be made"}
            diagnosis = Diagnosis(asked, collection_version(), now)
            if arguments["lint_only"]:
                return self._lint(diagnosis)
            if arguments["explain"]:
                return self._explain(diagnosis, arguments["explain"])
            if arguments["merge"] is not None:
                return self._merge(diagnosis, arguments)
            if arguments["bundle"]:
                rows: Rows = bundle_rows(pathlib.Path(arguments["bundle"]))
            elif arguments["recorded_facts"]:
                rows = recorded_rows(pathlib.Path(arguments["recorded_facts"]))
            else:
                hosts = (task_vars or {})["ansible_play_hosts_all"] if arguments["hosts"] is None else arguments["hosts"]
                rows = rows_of_run(handover_directory(C.DEFAULT_LOCAL_TMP), hosts)
            before = bundle_rows(pathlib.Path(arguments["compare_bundle"])) if arguments["compare_bundle"] else None
            # Facts are read while they are judged, one host after the other.
            report = diagnosis.judge(rows, arguments["bundle"] or arguments["recorded_facts"] or "", before)
        except (BundleError, DiagnosisError) as error:
            return {"failed": True, "changed": False, "msg": str(error)}
        return self._write(diagnosis, report, changed=False)

    def _write(self, diagnosis: Diagnosis, report: dict[str, t.Any], changed: bool) -> dict[str, t.Any]:
        written = diagnosis.write(report)
        if written.problem:
            self._display.warning(written.problem)
        self._display.display(diagnosis.summary(written, color=ANSIBLE_COLOR))
        result: dict[str, t.Any] = {
            "changed": changed,
            "summary": written.report["summary"],
            "report": {name: str(path) for name, path in written.paths.items()},
            "removed": list(written.removed),
        }
        if diagnosis.fails(written.report):
            result.update(failed=True, msg=f"There is a finding of severity {diagnosis.fail_on} or worse, see {written.directory}")
        return result

    def _merge(self, diagnosis: Diagnosis, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        report = diagnosis.merge(arguments["merge"])
        if report is None:
            return {"changed": False, "msg": f"The latest report in {arguments['report_dir']} is of these inputs already"}
        if self._task.check_mode:
            return {"changed": True, "msg": f"A report of {report['summary']['hosts']} hosts would be written in {arguments['report_dir']}"}
        return self._write(diagnosis, report, changed=True)

    def _explain(self, diagnosis: Diagnosis, rule: str) -> dict[str, t.Any]:
        text = diagnosis.explain(rule)
        self._display.display(text)
        return {"changed": False, "explanation": text}

    def _lint(self, diagnosis: Diagnosis) -> dict[str, t.Any]:
        problems = diagnosis.lint()
        if problems:
            return {"failed": True, "changed": False, "msg": "\n".join(problems), "rules": diagnosis.rule_count}
        return {"changed": False, "msg": f"{diagnosis.rule_count} rules, nothing wrong with them", "rules": diagnosis.rule_count}
