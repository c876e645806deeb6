#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_program
short_description: Install the program that cron runs on a host
version_added: 1.0.0
author:
  - stackops.runbook contributors (@stackops)
description:
  - Packs the code of the collection's modules into one file, C(stackops), and installs it on the target. What cron runs there is the same code as what
    the modules run.
  - The same release of the collection always makes the same file, so that nothing is copied a second time.
  - It unpacks itself below C(/var/lib/stackops/code) when root runs it, so that Python need not compile it every time.
  - C(stackops check), C(stackops alerts), C(stackops cleanup) and C(stackops maintenance) read C(/etc/stackops/monitoring.json), which
    P(stackops.runbook.monitoring#role) writes.
  - C(stackops backup) and C(stackops verify) read C(/etc/stackops/backup.json), which P(stackops.runbook.backup#role) writes, and leave their
    state in C(/var/lib/stackops). They end with 0 when all is well, with 1 when there is a warning and with 2 when they have failed.
extends_documentation_fragment:
  - stackops.runbook.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  path:
    description:
      - Where it is installed on the target. It belongs to root and everybody may run it.
    type: str
    default: /usr/local/sbin/stackops
  state:
    description:
      - Whether it is there.
    type: str
    choices: [present, absent]
    default: present
  interpreter:
    description:
      - The Python that runs it on the target, 3.9 or later, with the libraries that the modules need.
      - Without it, C(ansible_python_interpreter) where that is an absolute path, else C(/usr/bin/python3).
    type: str
seealso:
  - module: stackops.runbook.pg_backup
"""

EXAMPLES = r"""
- name: Install the program
  stackops.runbook.host_program:
  become: true

- name: Remove it
  stackops.runbook.host_program:
    state: absent
  become: true
"""

RETURN = r"""
path:
  description: Where it is.
  returned: with O(state=present)
  type: str
  sample: /usr/local/sbin/stackops
version:
  description: Version of the collection that it is made from.
  returned: with O(state=present)
  type: str
  sample: 1.0.0
checksum:
  description: SHA-1 of the file.
  returned: with O(state=present)
  type: str
"""
