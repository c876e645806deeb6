#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: log_lines
short_description: Read the last lines of a stack's logs, or those of a window, merged by time and without secrets
version_added: 1.0.0
description:
  - Reads what the engine keeps of the containers of the host's Compose projects and the log files on their mounts, and returns the
    last records of each, or those of a window of time, in the order of their times.
  - A traceback stays with the record that it belongs to. Of a JSON record the message comes first, then its other fields.
  - Passwords and tokens that the stack's containers know, and what looks like some, are taken out before lines leave the host.
  - With O(return_lines=false) the lines stay in a private file on the controller for M(stackops.runbook.log_show), which merges
    those of all hosts. P(stackops.runbook.diagnose#role) does both, with C(tasks_from=logs).
author:
  - stackops.runbook contributors (@stackops)
extends_documentation_fragment:
  - stackops.runbook.attributes.read_only
  - stackops.runbook.attributes
  - stackops.runbook.attributes.action_group
  - stackops.runbook.docker_connection
  - stackops.runbook.project_selection
  - stackops.runbook.project_selection.stacks
attributes:
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on the controller.
    support: full
options:
  paths:
    description:
      - Log files, globs or directories on the target.
    type: list
    elements: str
    default: []
  units:
    description:
      - Systemd units whose journal is read.
    type: list
    elements: str
    default: []
  discover:
    description:
      - Whether to read the logs of the host's Compose projects. Without it, they are where O(paths) and O(units) are empty or where
        a project or services are named.
    type: bool
  lines:
    description:
      - At most so many records of each log, the newest. Without it, V(100), or V(10000) where a window is asked for.
    type: int
  window:
    description:
      - How far back to read, as V(90s), V(15m), V(1h) or V(3d), counted from O(until) or from now.
    type: str
  since:
    description:
      - Read records from this time on, as V(2026-11-23T10:00:00Z). It takes the place of O(window).
    type: str
  until:
    description:
      - Read records before this time.
    type: str
  level:
    description:
      - Only records at or above this level. What names no level counts as V(info).
    type: str
    choices: [debug, info, warning, error, critical]
  text:
    description:
      - Only records with this text in them, in lower or upper case, in their traceback as well.
    type: str
  timezone:
    description:
      - The zone of times in the logs that have none, as V(UTC), V(+08:00) or V(Asia/Taipei). Without it, the variable C(TZ) of the
        container, else UTC.
    type: str
  max_bytes:
    description:
      - How much of each log to read at most, from its end.
    type: int
    default: 16777216
  deadline:
    description:
      - How many seconds reading may take. A log that has not been read by then is an error.
    type: float
    default: 30
  position:
    description:
      - What an earlier run returned as RV(position). Only what was written since then is returned.
    type: dict
  return_lines:
    description:
      - Whether the lines are part of the result. With V(false) they stay in a private file on the controller until the end of the run.
    type: bool
    default: true
  follow_seconds:
    description:
      - For so many seconds print what is written after an earlier task with O(return_lines=false) has read the same logs.
      - It needs O(return_lines=false), and a fork of C(ansible-playbook) for each host.
    type: float
    default: 0
seealso:
  - module: stackops.runbook.log_show
  - module: stackops.runbook.log_error_rate
"""

EXAMPLES = r"""
- name: Read the last errors of the backend
  stackops.runbook.log_lines:
    project_src: /srv/shop
    services:
      - backend
    level: error
    lines: 20
  become: true
  register: backend

- name: Say when they were
  ansible.builtin.debug:
    msg: "{{ backend.lines | map(attribute='time') }}"

- name: Read what mentions an order, from all logs of an hour
  stackops.runbook.log_lines:
    window: 1h
    text: order 4711
  become: true
"""

RETURN = r"""
status:
  description: V(ok), or V(unknown) where a log could not be read.
  returned: always
  type: str
  sample: ok
summary:
  description: What there is, in one line.
  returned: always
  type: str
  sample: 120 lines of 3 logs
metrics:
  description: The number of lines.
  returned: always
  type: dict
  sample:
    lines: {value: 120, unit: ""}
errors:
  description: What could not be read, with the reason and what to do about it.
  returned: always
  type: list
  elements: dict
  contains:
    source:
      description: What was to be read.
      type: str
      returned: always
      sample: container:shop-backend-1
    reason:
      description: What came back.
      type: str
      returned: always
      sample: the logging driver none keeps nothing that can be read
    hint:
      description: What to do about it.
      type: str
      returned: always
      sample: Use the logging driver json-file or local for this service.
  sample: []
lines:
  description: The records, in the order of their times.
  returned: with O(return_lines=true)
  type: list
  elements: dict
  contains:
    time:
      description: When it was written, in UTC.
      type: str
      returned: always
      sample: "2026-11-23T10:00:00.123000Z"
    project:
      description: The Compose project, or null.
      type: str
      returned: always
      sample: shop
    service:
      description: The service, or null.
      type: str
      returned: always
      sample: backend
    log:
      description: The log it is from.
      type: str
      returned: always
      sample: container:shop-backend-1
    level:
      description: V(debug), V(info), V(warning), V(error) or V(critical), or null where it names none.
      type: str
      returned: always
      sample: error
    text:
      description: The record, with the lines that belong to it.
      type: str
      returned: always
      sample: "app.orders: payment failed order=4711"
logs:
  description: The logs that were read.
  returned: with O(return_lines=true)
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
      returned: always
      sample: container:shop-backend-1
    project:
      description: The Compose project, or null.
      type: str
      returned: always
      sample: shop
    service:
      description: The service, or null.
      type: str
      returned: always
      sample: backend
    lines:
      description: The number of its records in RV(lines).
      type: int
      returned: always
      sample: 100
    truncated:
      description: Whether it may have more of them than O(lines) or O(max_bytes) allow.
      type: bool
      returned: always
      sample: true
position:
  description: How far the logs were read, for O(position) of a later run.
  returned: with O(return_lines=true)
  type: dict
  sample: {files: {version: 1, saved_at: 1795485600.0, sources: {}}, times: {}, records: {}}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stackops.runbook.plugins.module_utils._arguments import (
    docker_connection_arguments,
    project_selection_arguments,
    stacks_arguments,
)
from ansible_collections.stackops.runbook.plugins.module_utils._log_lines import check_lines


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **docker_connection_arguments(),
            **project_selection_arguments(),
            **stacks_arguments(),
            "paths": {"type": "list", "elements": "str", "default": []},
            "units": {"type": "list", "elements": "str", "default": []},
            "discover": {"type": "bool"},
            "lines": {"type": "int"},
            "window": {"type": "str"},
            "since": {"type": "str"},
            "until": {"type": "str"},
            "level": {"type": "str", "choices": ["debug", "info", "warning", "error", "critical"]},
            "text": {"type": "str"},
            "timezone": {"type": "str"},
            "max_bytes": {"type": "int", "default": 16777216},
            "deadline": {"type": "float", "default": 30},
            "position": {"type": "dict"},
            "return_lines": {"type": "bool", "default": True},
            "follow_seconds": {"type": "float", "default": 0},
        },
        supports_check_mode=True,
    )
    try:
        facts = check_lines(module.params)
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **facts)


if __name__ == "__main__":
    main()
