# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import pathlib
import typing as t

from ansible.errors import AnsibleFilterError
from ansible.utils.unsafe_proxy import wrap_var

from ..plugin_utils._remediation_plan import remediation_plan as plan

DOCUMENTATION = r"""
name: remediation_plan
short_description: Which remediations to carry out on a host, and with which parameters
version_added: 1.0.0
author:
  - stackops.runbook contributors (@stackops)
description:
  - Checks the actions of P(stackops.runbook.remediate#role) before anything is changed on a host, or takes them from the findings of a report.
positional: _input
options:
  _input:
    description: Names of actions (as a list, or with commas between them), or mappings with C(action), optionally C(project), and its parameters.
    type: raw
    required: true
  host:
    description: The host, as the report calls it.
    type: str
    required: true
  report:
    description: Path of a C(report.json) on the controller. Empty is none.
    type: path
    default: ""
  rules:
    description: Only findings of these rules, as a list or with commas between them. Without any, those that no other finding explains.
    type: raw
    default: []
  stack:
    description: Only findings of this Compose project.
    type: str
    default: ""
  service:
    description: The service of actions that name none.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: See what would be done about the findings of the last report
  ansible.builtin.debug:
    msg: "{{ [] | stackops.runbook.remediation_plan(host='web1', report='reports/latest/report.json') }}"

- name: See whether an action has all it needs
  ansible.builtin.debug:
    msg: "{{ 'restart_service' | stackops.runbook.remediation_plan(host='web1', service='web') }}"
"""

RETURN = r"""
_value:
  description:
    - C(problem) says what is wrong and what there is. Where it is not empty, there is nothing else.
    - C(steps) is a list with C(action), C(project), C(parameters) and C(findings) (C(id) and C(name) of each) of each action.
    - C(notes) says for which findings there is none.
  type: dict
"""


def remediation_plan(actions: t.Any, host: str, report: str = "", rules: t.Any = (), stack: str = "", service: str = "") -> t.Any:
    """Return the steps, as text that is never evaluated: a report has what was read on hosts."""
    content = None
    if report:
        try:
            content = json.loads(pathlib.Path(report).expanduser().read_bytes())
        except (OSError, ValueError) as error:
            raise AnsibleFilterError(f"{report}: {error}. Set remediate_from to the report.json of a diagnosis.") from error
    return wrap_var(plan(_plain(actions), host, content, _plain(rules), stack, service))


def _plain(value: t.Any) -> t.Any:
    """Return *value* as plain lists and mappings: Ansible's own evaluate what is in them when they are looked at, and cannot be wrapped."""
    if isinstance(value, t.Mapping):
        return {str(key): _plain(below) for key, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(below) for below in value]
    return value


class FilterModule:
    """Names the filter for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"remediation_plan": remediation_plan}
