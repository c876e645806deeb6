# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""From a finished report to its files: the formats, the history that it continues, and older reports that may go."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
import typing as t

from ._baseline import remember as keep_open
from ._history import SHOWN_ENTRIES, entry_of, read_history, remember, tidy
from ._html import render_html
from ._judge import Options
from ._report import continues, write_report

Report = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Retention:
    """Which reports stay: the newest *count*, and those younger than *days* (0: all); with *tidy* off nothing is removed or packed."""

    count: int = 0
    days: float = 0
    tidy: bool = True


@dataclasses.dataclass(frozen=True)
class Written:
    """A report, and where it is: *paths* by format, all in *directory*; *removed* are older ones, *problem* what did not work besides."""

    report: Report
    paths: t.Mapping[str, pathlib.Path]
    removed: t.Sequence[str] = ()
    problem: str = ""

    @property
    def directory(self) -> pathlib.Path:
        """The report's own directory."""
        return next(iter(self.paths.values())).parent


def publish(
    report: Report,
    directory: t.Union[str, pathlib.Path],
    formats: t.Sequence[str],
    options: Options,
    now: datetime.datetime,
    retention: Retention,
    latest: t.Optional[Report],
) -> Written:
    """Write *report* in *formats* under *directory*, where *latest* is the one before, with the history of the runs before; see to older reports.

    The report is there whatever becomes of the history and of older reports: what goes wrong with these is told as *problem*.
    """
    parent = pathlib.Path(directory)
    entry = entry_of(report)
    # What was judged from a bundle says nothing of the hosts as they are: among reports that do, it is none of the series.
    goes_on = continues(report["recorded_facts"], latest)
    report["history"] = [*(read_history(parent)[1 - SHOWN_ENTRIES :] if goes_on else ()), entry]
    renderers = {"html": ("report.html", lambda content, dummy: render_html(content, options.language, now))}
    paths = write_report(report, parent, formats, options, renderers, is_latest=goes_on)
    removed: t.Sequence[str] = ()
    problem = ""
    try:
        if goes_on:
            remember(parent, entry)
            keep_open(parent, report, next(iter(paths.values())).parent.name)
        if retention.tidy:
            removed = tidy(parent, retention.count, retention.days, now)["removed"]
    except OSError as error:
        where = error.filename2 or error.filename or parent
        problem = f"{where}: {error.strerror or error}. The report is written; its history or older reports are not as they should be."
    return Written(report, paths, removed, problem)
