#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: log_cleanup
short_description: Remove old log files of Compose stacks
version_added: 1.0.0
description:
  - Removes log files that were last written long ago, with the same care as P(stackops.runbook.monitoring#role) does from time to time. Only regular
    files, only in directories of logs, and none that a process has open or that the container engine writes itself.
  - It works on a full disk as well. The lines of the audit log are then written afterwards.
author:
  - stackops.runbook contributors (@stackops)
extends_documentation_fragment:
  - stackops.runbook.attributes
  - stackops.runbook.attributes.action_group
  - stackops.runbook.docker_connection
  - stackops.runbook.project_selection
  - stackops.runbook.remediation
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
    details:
      - A second run finds nothing.
options:
  directories:
    description:
      - Directories to clean, with those below them. Without any, those on mounts of the stacks in which there is nothing but logs.
    type: list
    elements: str
    default: []
  older_than_days:
    description:
      - How long ago a file must have been written last.
    type: float
    default: 7
  patterns:
    description:
      - Names of log files. By default those of the usual ones and their rotated copies.
    type: list
    elements: str
    default: []
  max_files:
    description:
      - How many files one run removes at most, the oldest first.
    type: int
    default: 1000
seealso:
  - module: stackops.runbook.docker_cleanup
"""

EXAMPLES = r"""
- name: Say which logs would go
  stackops.runbook.log_cleanup:
    directories:
      - /srv/shop/logs
    older_than_days: 14
  become: true
  check_mode: true
"""

RETURN = r"""
status:
  description: V(planned), V(done), V(nothing-to-do) or V(failed).
  returned: always
  type: str
  sample: done
summary:
  description: What was done or would be, in one line.
  returned: always
  type: str
  sample: "/srv/shop/logs: remove 3 log files that were last written more than 14 days ago: 812 MiB"
plan:
  description: The commands.
  returned: always
  type: list
  elements: str
  sample: ["rm /srv/shop/logs/app.log.3"]
before:
  description: How many files, and how large they are.
  returned: always
  type: dict
  sample: {files: 3, bytes: 851443712, directories: [/srv/shop/logs]}
after:
  description: What was removed, and what was kept and why.
  returned: always
  type: dict
  sample: {removed_files: 3, removed_bytes: 851443712, kept: []}
undo:
  description: What to type to go back, or why there is no way.
  returned: always
  type: list
  elements: str
  sample: ["There is no way back, other than from a backup of the logs (role backup)."]
verified:
  description: Whether the effect is there, as C(ok) (null where nothing was done) and C(detail).
  returned: always
  type: dict
  sample: {ok: true, detail: "812 MiB are free again"}
errors:
  description: What went wrong, with the reason and what to do about it.
  returned: always
  type: list
  elements: dict
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stackops.runbook.plugins.module_utils._arguments import (
    docker_connection_arguments,
    project_selection_arguments,
    remediation_arguments,
)
from ansible_collections.stackops.runbook.plugins.module_utils._log_removal import run_log_removal


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **docker_connection_arguments(),
            **project_selection_arguments(),
            **remediation_arguments(),
            "directories": {"type": "list", "elements": "str", "default": []},
            "older_than_days": {"type": "float", "default": 7},
            "patterns": {"type": "list", "elements": "str", "default": []},
            "max_files": {"type": "int", "default": 1000},
        },
        supports_check_mode=True,
    )
    result = run_log_removal(module.params, module.check_mode)
    if result.get("failed"):
        module.fail_json(msg=result["summary"], **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
