# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the module of this name, packed."""

from __future__ import annotations

from ..plugin_utils._packed_module import PackedModule


class ActionModule(PackedModule):
    """All of it is done on the host."""
