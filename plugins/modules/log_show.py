#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: log_show
short_description: Print the lines of a fleet's logs merged by time, or write them to a file
version_added: 1.0.0
author:
  - stackops.runbook contributors (@stackops)
description:
  - Takes what M(stackops.runbook.log_lines) handed over with O(stackops.runbook.log_lines#module:return_lines=false) in the same run of
    C(ansible-playbook), merges the lines of all hosts by time, and prints them with host, service and level, or writes them to a file.
  - It runs on the controller, for all hosts of the play at once. Use it with C(run_once).
  - No control character of what was logged is left, and lines that go on from a record are marked, so that no message can pass for
    another line. Nothing is ever evaluated as a template.
  - What could not be read is said below the lines.
extends_documentation_fragment:
  - stackops.runbook.attributes
attributes:
  check_mode:
    support: full
    details:
      - The file is written in check mode as well. It is about the hosts and changes nothing on them.
  diff_mode:
    support: none
  idempotent:
    support: N/A
    details:
      - Each run writes what is in the logs then.
options:
  file:
    description:
      - File on the controller to write to, whole or not at all and readable by its owner only. Without it the lines are printed.
      - A relative path starts where C(ansible-playbook) was called.
    type: path
seealso:
  - module: stackops.runbook.log_lines
"""

EXAMPLES = r"""
- name: Show the last errors of all backends in the order of their times
  hosts: all
  gather_facts: false
  tasks:
    - name: Read
      stackops.runbook.log_lines:
        services:
          - backend
        level: error
        return_lines: false
      become: true
      ignore_unreachable: true

    - name: Show
      stackops.runbook.log_show:
      run_once: true
      delegate_to: localhost
"""

RETURN = r"""
summary:
  description: How many lines there are, and where.
  returned: success
  type: str
  sample: 300 lines of 3 hosts
count:
  description: The number of records.
  returned: success
  type: int
  sample: 300
truncated_logs:
  description: The number of logs that have more such lines than were read.
  returned: success
  type: int
  sample: 2
file:
  description: The file that was written.
  returned: with O(file)
  type: str
  sample: /home/ops/errors.log
"""
