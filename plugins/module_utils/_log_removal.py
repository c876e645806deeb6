# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Remove old log files at once, as the monitoring does from time to time."""

from __future__ import annotations

import time
import typing as t

from ._discovery import Selection, discover
from ._engine import Engine, EngineOptions
from ._envelope import CheckError, human_bytes
from ._log_cleanup import SHOWN_FILES, CleanupOptions, Plan, carry_out, directories_of, plan
from ._redaction import Redactor
from ._remediation import Change, Facts, Verified, Work, run_remediation


def run_log_removal(params: t.Mapping[str, t.Any], check_mode: bool) -> Facts:
    """Return the result of the module ``log_cleanup``."""
    return run_remediation(lambda: _plan(params), params, check_mode)


def _options(params: t.Mapping[str, t.Any]) -> CleanupOptions:
    found, data_root = [], ""
    if not params["directories"]:
        engine = Engine.connect(EngineOptions.from_params(params))
        found, data_root = directories_of(discover(engine, Selection.from_params(params)), engine), str(engine.info().get("DockerRootDir") or "")
    options = {
        **({"directories": params["directories"]} if params["directories"] else {}),
        "patterns": params["patterns"],
        "max_age_days": params["older_than_days"],
        "max_files": params["max_files"],
    }
    try:
        return CleanupOptions.from_options(options, found, data_root)
    except ValueError as error:
        raise CheckError("log_cleanup", str(error), "Correct the parameter.", "invalid-option") from error


def _plan(params: t.Mapping[str, t.Any]) -> Work:
    options = _options(params)
    the_plan: Plan = plan(options, time.time())
    if the_plan.errors and not the_plan.candidates:
        raise the_plan.errors[0]
    # A dry run leaves away what a process has open.
    would = carry_out(the_plan, dry_run=True)
    total = would.removed_bytes
    shown = [candidate.path.encode("utf-8", "backslashreplace").decode() for candidate in would.removed[:SHOWN_FILES]]
    days = f"{params['older_than_days']:g} days"

    def remove() -> Facts:
        report = carry_out(the_plan)
        facts = report.envelope()
        return {
            "removed_files": len(report.removed),
            "removed_bytes": report.removed_bytes,
            "removed": [row["path"] for row in facts["removed"]],
            "kept": facts["kept"],
            "changed": bool(report.removed),
        }

    def verify() -> Verified:
        left = carry_out(plan(options, time.time()), dry_run=True)
        gone = {(candidate.device, candidate.inode) for candidate in would.removed}
        still = [candidate for candidate in left.removed if (candidate.device, candidate.inode) in gone]
        return Verified(not still, f"{len(still)} of the files are still there" if still else f"{human_bytes(total)} are free again")

    return Work(
        Change(
            "log_cleanup",
            ", ".join(the_plan.directories) or "logs",
            f"remove {len(would.removed)} log files that were last written more than {days} ago: {human_bytes(total)}"
            if would.removed
            else f"no log file is older than {days}",
            tuple(("rm", path) for path in shown),
            {"files": len(would.removed), "bytes": total, "directories": list(the_plan.directories)},
            {"files": 0},
            ("There is no way back, other than from a backup of the logs (role backup).",),
            needed=bool(would.removed),
            makes_room=True,
        ),
        remove,
        verify,
        Redactor([]),
    )
