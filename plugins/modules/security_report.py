#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: security_report
short_description: Put the results of a security scan of all hosts together and write the reports
version_added: 1.0.0
author:
  - stackops.runbook contributors (@stackops)
description:
  - Reads what M(stackops.runbook.image_scan), M(stackops.runbook.container_hardening), M(stackops.runbook.log_requests),
    M(stackops.runbook.published_ports) and M(stackops.runbook.http_probe) returned on the hosts of the play, and makes one list of findings
    of them. What shows only where two of them meet is judged here, such as debug mode on a port that everybody reaches.
  - It writes C(security.json), C(security.md) and C(security.sarif) for each host, and prints a summary to the terminal.
  - It runs on the controller, for all hosts of the play at once. Use it with C(run_once).
extends_documentation_fragment:
  - stackops.runbook.attributes
  - stackops.runbook.security_ignore
attributes:
  check_mode:
    support: full
    details:
      - The reports are written in check mode as well. They are about the hosts and change nothing on them.
  diff_mode:
    support: none
  idempotent:
    support: N/A
    details:
      - Each run writes reports of its own.
options:
  report_dir:
    description:
      - Directory on the controller. Each run writes a directory named after its time in UTC with one directory for each host in it, and
        C(latest) points at the newest.
    type: path
    default: ./reports/security
  formats:
    description:
      - What to write.
    type: list
    elements: str
    choices: [json, markdown, sarif]
    default: [json, markdown, sarif]
  fail_on:
    description:
      - Fail the task when a finding is at least this severe. What could not be checked is none.
    type: str
    choices: [never, warning, critical]
    default: never
  results:
    description:
      - The names of the variables in which the hosts have the results, with the keys C(images), C(containers), C(logs), C(exposure) and
        C(endpoints). A part without a name, and one that was skipped, is left out.
    type: dict
    required: true
seealso:
  - ref: stackops.runbook.security_scan role <ansible_collections.stackops.runbook.security_scan_role>
    description: The role that does all of it.
"""

EXAMPLES = r"""
- name: Look at the containers
  stackops.runbook.container_hardening:
  become: true
  register: hardening

- name: Look at the images
  stackops.runbook.image_scan:
  become: true
  register: images

- name: Write the reports of all hosts
  stackops.runbook.security_report:
    results:
      containers: hardening
      images: images
    fail_on: critical
  run_once: true
  delegate_to: localhost
"""

RETURN = r"""
report_dir:
  description: The directory of this run's reports.
  returned: success
  type: str
  sample: ./reports/security/2026-11-26T053000Z
hosts:
  description: The status of each host, V(ok), V(warning), V(critical), V(unknown) or V(unreachable).
  returned: success
  type: dict
  sample: {web1: critical}
"""
