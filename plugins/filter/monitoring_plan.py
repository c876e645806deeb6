# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ..plugin_utils._monitoring_plan import monitoring_plan as plan

DOCUMENTATION = r"""
name: monitoring_plan
short_description: What the monitoring of a host looks at, and when
version_added: 1.0.0
author:
  - stackops.runbook contributors (@stackops)
description:
  - Checks the options of P(stackops.runbook.monitoring#role) before anything is changed on a host, and says which jobs they make.
positional: _input
options:
  _input:
    description: The options of the host's configuration file.
    type: dict
    required: true
  spread:
    description: Whether minutes that are the same on every host are spread by the name of the host.
    type: bool
    default: true
  cleanup_schedule:
    description: When old logs are removed, in the five fields of cron. Empty is never.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: See what would be started when
  ansible.builtin.debug:
    msg: "{{ {'host': inventory_hostname, 'checks': {'errors': {'window_seconds': 600}}} | stackops.runbook.monitoring_plan }}"
"""

RETURN = r"""
_value:
  description:
    - C(problem) says what is wrong with the options and what to do about it. Where it is not empty, there is nothing else.
    - C(configuration) is the content of the configuration file.
    - C(jobs) is a list with C(name), C(schedule), C(interval_seconds) and C(arguments) of each job.
  type: dict
"""


def monitoring_plan(options: t.Any, spread: bool = True, cleanup_schedule: str = "") -> dict[str, t.Any]:
    """Return what the monitoring of a host looks at, and when."""
    if not isinstance(options, t.Mapping):
        raise AnsibleFilterError(f"monitoring_plan takes a mapping of options, not {type(options).__name__}")
    return plan(options, spread, cleanup_schedule)


class FilterModule:
    """Names the filter for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"monitoring_plan": monitoring_plan}
