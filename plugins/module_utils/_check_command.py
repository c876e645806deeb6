# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Any plugin with Nagios' exit codes, as a check."""

from __future__ import annotations

from ._envelope import STATUSES, CheckError, metric
from ._monitoring_checks import CheckResult, CheckRun
from ._monitoring_types import Observation
from ._nagios import one_line, parse_performance
from ._process import run_command
from ._redaction import Redactor

_GRACE_SECONDS = 2.0
_SHOWN_LINES = 5


def check(run: CheckRun) -> CheckResult:
    """Run the command without a shell; its group is killed when its time is over."""
    argv = [str(word) for word in run.setting.options["argv"]]
    try:
        done = run_command(argv, max(1.0, run.setting.timeout_seconds - _GRACE_SECONDS))
    except CheckError as error:
        return CheckResult((Observation("command", "unknown", f"{error.source}: {error.reason}", next_command=error.hint),))
    text, dummy, performance = done.text.partition("|")
    words = Redactor((), ()).text(text if text.strip() else done.error_text)
    lines = [one_line(line) for line in words.splitlines() if line.strip()] or ["no output"]
    status = STATUSES[done.exit_code] if 0 <= done.exit_code < len(STATUSES) else "unknown"
    metrics = {name: metric(one["value"], one["unit"]) for name, one in parse_performance(performance).items()}
    return CheckResult((Observation("command", status, lines[0], details=tuple(lines[1 : 1 + _SHOWN_LINES]), metrics=metrics),))
