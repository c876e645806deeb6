# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restore, and tell how far it is while it runs."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ..plugin_utils._progress_display import run_with_progress

#: A restore has limits for each of its steps; this one is for what nobody has thought of.
TIME_LIMIT_SECONDS = 24 * 3600


class ActionModule(ActionBase):
    """The module of this name, in the background of its host."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[dict[str, t.Any]] = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        limit_seconds = TIME_LIMIT_SECONDS
        return run_with_progress(self, "stackops.runbook.pg_restore", task_vars or {}, limit_seconds)
