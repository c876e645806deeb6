# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Back up, and tell how far it is while it runs."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ..module_utils._backup_arguments import DEFAULT_TIME_LIMIT_SECONDS
from ..plugin_utils._progress_display import run_with_progress


class ActionModule(ActionBase):
    """The module of this name, in the background of its host."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[dict[str, t.Any]] = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        limit_seconds = int(self._task.args.get("time_limit_seconds") or DEFAULT_TIME_LIMIT_SECONDS)
        return run_with_progress(self, "stackops.runbook.pg_backup", task_vars or {}, limit_seconds)
