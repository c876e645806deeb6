# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Which logs to read; the matching argument spec is in ``module_utils/_arguments.py``."""

    DOCUMENTATION = r"""
options:
  paths:
    description:
      - Log files, globs, and directories, in which files called C(*.log) are looked for, three levels down at most.
      - Name a log without its rotated files; they are found.
      - Without O(paths) and O(units), the logs of all Compose projects of the host are read, those of their containers and the
        C(*.log) files on their mounts. With O(project_src), O(project_name) or O(services) that is done in addition.
    type: list
    elements: str
    default: []
    version_added: 1.0.0
  units:
    description:
      - Units of systemd whose entries in the journal are read.
    type: list
    elements: str
    default: []
    version_added: 1.0.0
"""
