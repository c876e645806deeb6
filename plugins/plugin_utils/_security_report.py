# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The reports of a security scan: one directory for a run, one in it for each host."""

from __future__ import annotations

import datetime
import json
import pathlib
import typing as t
import urllib.parse

from ..module_utils._files import write_whole
from ..module_utils._ignores import IgnoreList
from ._odd_hosts import Target, connection_trouble
from ._report import new_directory, point_latest
from ._sarif import render_sarif
from ._security_findings import FINDING_SEVERITIES, judge_host
from ._security_text import render_security_markdown, render_text
from ._text import harmless

Report = dict[str, t.Any]

SCHEMA = 1
_NOTHING: Report = {
    "summary": {},
    "findings": [],
    "unknown": [],
    "ignored": [],
    "ignore_expired": [],
    "images": [],
    "clients": [],
    "endpoint_map": [],
    "ports": [],
}


def host_report(host: str, parts: t.Mapping[str, t.Optional[Report]], ignore: IgnoreList, now: datetime.datetime, collection_version: str) -> Report:
    """Return the report of one host; one that did not answer is a row with its reason."""
    head: Report = {
        "schema": SCHEMA,
        "generated_at": now.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "collection_version": collection_version,
        "host": host,
    }
    # A part that was left out by a condition is there, and says that it was skipped.
    asked = {section: part for section, part in parts.items() if part is not None and not part.get("skipped")}
    silent = [part for part in asked.values() if part.get("unreachable")]
    if silent:
        reason = harmless(str(connection_trouble(str(silent[0].get("msg") or ""), Target(host))), 500)
        return {**head, **_NOTHING, "status": "unreachable", "reason": reason}
    if not asked:
        return {**head, **_NOTHING, "status": "unknown", "reason": "nothing was collected: an earlier task failed on this host, or all parts are off"}
    return {**head, "reason": None, **judge_host(asked, ignore)}


class SecurityReports:
    """The reports of all hosts of a run."""

    def __init__(self, rows: t.Sequence[Report], report_dir: t.Union[str, pathlib.Path], formats: t.Sequence[str]) -> None:
        self._rows = rows
        self._parent = pathlib.Path(report_dir)
        self._formats = formats
        self._directory: t.Optional[pathlib.Path] = None

    def write(self) -> pathlib.Path:
        """Write ``<time>/<host>/security.{json,md,sarif}``, let ``latest`` mean it, and return the directory."""
        self._parent.mkdir(parents=True, exist_ok=True)
        directory = new_directory(self._parent, self._rows[0]["generated_at"] if self._rows else "")
        for row in self._rows:
            place = directory / (urllib.parse.quote(row["host"], safe="")[:200] or "host")
            place.mkdir(mode=0o700)
            for name in self._formats:
                file_name, content = _rendered(name, row)
                write_whole(place / file_name, content.encode("utf-8", "backslashreplace"))
        point_latest(self._parent, directory.name)
        self._directory = directory
        return directory

    def text(self, color: bool) -> str:
        """Return what the operator sees."""
        return render_text(self._rows, color, path=str(self._directory or ""))

    def reaches(self, fail_on: str) -> bool:
        """Say whether a finding is so severe that the run is to fail; what could not be checked is none."""
        if fail_on == "never":
            return False
        bad = FINDING_SEVERITIES[: FINDING_SEVERITIES.index(fail_on) + 1]
        return any(one["severity"] in bad for row in self._rows for one in row["findings"])


def _rendered(name: str, row: Report) -> tuple[str, str]:
    if name == "markdown":
        return "security.md", render_security_markdown(row)
    if name == "sarif":
        return "security.sarif", json.dumps(render_sarif(row), indent=1, ensure_ascii=False) + "\n"
    return "security.json", json.dumps(row, indent=1, ensure_ascii=False) + "\n"
