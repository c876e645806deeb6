# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Which Compose projects to look at; the matching argument spec is in ``module_utils/_arguments.py``."""

    DOCUMENTATION = r"""
options:
  project_src:
    description:
      - The directory of a Compose project on the target. Only that project is looked at.
      - Without O(project_src) and O(project_name) all Compose projects are, as the labels of their containers tell
        (Compose v1, Compose v2 and podman-compose).
    type: path
    version_added: 1.0.0
  project_name:
    description:
      - The name of a Compose project. Only that project is looked at.
    type: str
    version_added: 1.0.0
  services:
    description:
      - Names of services. Only their containers are looked at.
    type: list
    elements: str
    default: []
    version_added: 1.0.0
"""

    # For modules that change one project, and never the wrong one.
    ONE = r"""
options:
  project_src:
    description:
      - The directory of the Compose project on the target.
      - It or O(project_name) is needed where the target has several projects.
    type: path
    version_added: 1.0.0
  project_name:
    description:
      - The name of the Compose project.
    type: str
    version_added: 1.0.0
"""

    # For modules that look at several projects of one host; together with the fragment above.
    STACKS = r"""
options:
  stacks:
    description:
      - Several projects of one host. It takes the place of O(project_src), O(project_name) and O(services).
    type: list
    elements: dict
    default: []
    version_added: 1.0.0
    suboptions:
      project_src:
        description: Directory of the Compose project on the target.
        type: path
      project_name:
        description: Name of the Compose project.
        type: str
      services:
        description: Names of services.
        type: list
        elements: str
        default: []
"""
