# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Is there a young enough backup of each stack, and has one been verified lately."""

from __future__ import annotations

import os
import typing as t

from ._backup_manifest import parse_time
from ._backup_store import BackupStore, names_unsafe
from ._envelope import CheckError, metric, worst
from ._monitoring_checks import CheckResult, CheckRun
from ._monitoring_types import Observation


def check(run: CheckRun) -> CheckResult:
    """Read what the sets on the disk say of themselves; a project that once had sets is expected to have them from then on."""
    root = run.setting.options["root"]
    wanted = run.setting.options["projects"]
    expected = sorted({*(wanted or _projects(root)), *(() if wanted else run.memory.get("projects") or ())})
    if not expected:
        words = f"there is no backup below {root}"
        hint = "Make one with the playbook stackops.runbook.backup, or disable this check."
        return CheckResult((Observation("backups", "warning", words, next_command=hint),))
    return CheckResult(tuple(_project(root, name, run) for name in expected), {"projects": expected})


def _projects(root: str) -> list[str]:
    try:
        return [name for name in os.listdir(root) if os.path.isdir(os.path.join(root, name, "sets"))]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckError(root, str(error.strerror), f"Look with: ls -ld {root}", "permission-denied") from None


def _project(root: str, name: str, run: CheckRun) -> Observation:
    again = f"stackops backup --verbose; ls -l {os.path.join(root, name, 'sets')}"
    if names_unsafe(name):
        return Observation(name, "unknown", "cannot be the name of a project with backups", name)
    try:
        store = BackupStore(root, name)
        index = store.index()
        present = {one.id for one in store.sets()}
        lost = store.missing()
    except CheckError as error:
        return Observation(name, "unknown", f"{error.source}: {error.reason}", name, next_command=error.hint)
    ages: dict[str, t.Optional[float]] = {}
    for metric_name, entry in (("age_seconds", index["last_success"]), ("verified_age_seconds", index["last_verified"])):
        at = parse_time((entry or {}).get("created_at") or (entry or {}).get("at"))
        ages[metric_name] = None if at is None else max(0.0, run.now - at)
    metrics = {metric_name: metric(value, "s") for metric_name, value in ages.items() if value is not None}
    if not present:
        return Observation(name, "critical", "has no backup set any more", name, next_command=again, metrics=metrics)
    if ages["age_seconds"] is None:
        return Observation(name, "unknown", "no set says when it was made", name, next_command=again)
    verdicts = run.setting.verdict(ages)
    summary = f"the newest backup is {_age(ages['age_seconds'])} old"
    if ages["verified_age_seconds"] is None:
        verdicts["verified_age_seconds"] = "warning"
        summary += ", and none has been verified"
    elif verdicts.get("verified_age_seconds", "ok") != "ok":
        summary += f", and the last one that was verified {_age(ages['verified_age_seconds'])}"
    if lost:
        verdicts["lost"] = "critical"
        summary += f"; {len(lost)} sets are gone without having been removed by retention"
    status = worst(verdicts.values())
    return Observation(name, status, summary, name, next_command=again if status != "ok" else "", metrics=metrics)


def _age(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:.0f} h" if hours < 72 else f"{hours / 24:.0f} days"
