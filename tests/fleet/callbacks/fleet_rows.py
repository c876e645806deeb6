# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write what came of a play for each host to the file named in FLEET_ROWS: its counts, and why it failed or was not reached."""

from __future__ import annotations

import json
import os
import typing as t

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: fleet_rows
    type: aggregate
    short_description: What came of a play for each host, as JSON
    description: For tests of this collection only.
"""


class CallbackModule(CallbackBase):
    """Keeps the last reason of each host."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "fleet_rows"

    def __init__(self) -> None:
        super().__init__()
        self._reasons: dict[str, str] = {}

    def _remember(self, result: t.Any) -> None:
        self._reasons[result._host.get_name()] = f"{result._task.get_name()}: {result._result.get('msg') or 'no reason given'}"

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            self._remember(result)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        self._remember(result)

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        rows = {host: {**stats.summarize(host), "reason": self._reasons.get(host)} for host in stats.processed}
        with open(os.environ["FLEET_ROWS"], "w", encoding="utf-8") as file:
            json.dump(rows, file)
