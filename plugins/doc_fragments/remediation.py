# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What every module that puts something right has in common; the matching argument spec is in ``module_utils/_arguments.py``."""

    DOCUMENTATION = r"""
options:
  audit_log:
    description:
      - File on the target that every change is written to, as two lines of JSON. One before it, with who, when, what, the state before and how to
        undo it, and one after it, with what came of it.
      - Where it cannot be written, nothing is changed.
    type: path
    default: /var/log/stackops/remediation.jsonl
    version_added: 1.0.0
  audit_actor:
    description:
      - Who wants the change, for the audit log. It also has the user that the module runs as.
    type: str
    version_added: 1.0.0
  audit_reason:
    description:
      - What it is done for, for the audit log. A finding or a ticket.
    type: str
    version_added: 1.0.0
attributes:
  check_mode:
    support: full
    details:
      - Returns the plan and changes nothing.
"""
