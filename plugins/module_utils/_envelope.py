# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The envelope that every check returns, its verdicts, thresholds and times."""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

#: Nagios order, which is the order of the exit codes as well.
STATUSES: tuple[str, ...] = ("ok", "warning", "critical", "unknown")
EXIT_CODES: dict[str, int] = {status: code for code, status in enumerate(STATUSES)}

# How bad a verdict is when several are folded into one: what could not be read is worse than fine, and
# never hides a known problem.
_RANK: dict[str, int] = {"ok": 0, "unknown": 1, "warning": 2, "critical": 3}


class CheckError(Exception):
    """Something could not be read. It carries what an operator needs: what was tried, what came back, what to do.

    *source* names the thing that was read (a path, a container, a URL), *reason* says what came back and *hint* is
    the next step. *code* is the machine's word for it, from the facts schema.
    """

    def __init__(self, source: str, reason: str, hint: str = "", code: str = "") -> None:
        super().__init__(reason)
        self.source = source
        self.reason = reason
        self.hint = hint
        self.code = code

    @property
    def sentence(self) -> str:
        """What was tried, what came back, and what to do, as one line of text."""
        end = "" if self.reason.endswith((".", "!", "?", "…")) else "."
        return f"{self.source}: {self.reason}{end}{f' {self.hint}' if self.hint else ''}"

    def as_dict(self) -> dict[str, str]:
        """Return the entry for the ``errors`` list of an envelope."""
        return {"source": self.source, "reason": self.reason, "hint": self.hint}


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Upper limits of one number: at or above *warning* or *critical* it is no longer fine; ``None`` never fires."""

    warning: t.Optional[float] = None
    critical: t.Optional[float] = None

    def verdict(self, value: t.Optional[float]) -> str:
        """Return the status for *value*; a value that is not there is ``unknown``."""
        if value is None:
            return "unknown"
        if self.critical is not None and value >= self.critical:
            return "critical"
        if self.warning is not None and value >= self.warning:
            return "warning"
        return "ok"


def worst(statuses: t.Iterable[str]) -> str:
    """Return the worst of *statuses*; ``ok`` where there are none."""
    return max(statuses, key=_RANK.__getitem__, default="ok")


def metric(value: t.Optional[float], unit: str = "", thresholds: t.Optional[Thresholds] = None) -> dict[str, t.Any]:
    """Return one entry of ``metrics``: a value with its unit and, where it has any, its thresholds."""
    entry: dict[str, t.Any] = {"value": value, "unit": unit}
    if thresholds is not None:
        entry["warning"] = thresholds.warning
        entry["critical"] = thresholds.critical
    return entry


def envelope(
    status: str,
    summary: str,
    metrics: t.Optional[dict[str, dict[str, t.Any]]] = None,
    errors: t.Iterable[t.Union[CheckError, dict[str, str]]] = (),
    **domain: t.Any,
) -> dict[str, t.Any]:
    """Return the envelope that every check returns; *domain* are the check's own facts."""
    if status not in EXIT_CODES:
        raise ValueError(f"status must be one of {', '.join(STATUSES)}, not {status!r}")
    return {
        "status": status,
        "summary": summary,
        "metrics": metrics or {},
        "errors": [error.as_dict() if isinstance(error, CheckError) else error for error in errors],
        **domain,
    }


def utc_now() -> datetime.datetime:
    """Return the present time with its zone."""
    return datetime.datetime.now(datetime.timezone.utc)


def rfc3339(moment: t.Union[datetime.datetime, float, None]) -> t.Optional[str]:
    """Return *moment* (aware datetime or seconds since the epoch) as RFC 3339 in UTC, to the second or millisecond."""
    if moment is None:
        return None
    if not isinstance(moment, datetime.datetime):
        moment = datetime.datetime.fromtimestamp(moment, datetime.timezone.utc)
    moment = moment.astimezone(datetime.timezone.utc)
    precision = "milliseconds" if moment.microsecond else "seconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def human_bytes(value: float) -> str:
    """Return a number of bytes with a binary unit, e.g. ``512 MiB``."""
    number = float(value)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(number) < 1024 or unit == "TiB":
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 or number == int(number) else f"{number:.1f} {unit}"
        number /= 1024
    raise AssertionError("unreachable")
