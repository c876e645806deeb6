# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What is accepted of a security scan; the matching argument spec is ``ignore_arguments`` of ``module_utils/_ignores.py``."""

    DOCUMENTATION = r"""
options:
  ignore:
    description:
      - What is known and accepted. From the day after O(ignore[].expires) on it counts again, and the entry is told of.
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description: Identifier of a vulnerability, or a rule. It may hold wildcards, as V(CVE-2019-*).
        type: str
        required: true
      object:
        description:
          - What it is about - a service as V(shop/backend) or V(backend), an image, a port as V(shop/backend:8000). It may hold wildcards.
          - Without it, it is about everything.
        type: str
      package:
        description: The package of a vulnerability or of a pending update. It may hold wildcards. Without it, it is about all.
        type: str
      reason:
        description: Why it is accepted. It is shown in the report.
        type: str
        required: true
      expires:
        description: The last day on which it is accepted, as V(2027-01-31).
        type: str
        required: true
"""
