# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the runs before found, host by host: what a report is compared with.

The report before is not enough for that. It may be one of some hosts only (``--limit``), a host may not have answered, or what was found there
may not have been looked at, for want of rights. So what is open on a host stays known in a file beside the reports, until a run has looked at it
again, whichever that is.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import typing as t

from ..module_utils._files import write_whole
from ._conditions import parse_time
from ._history import alone
from ._stored import dumps, loads, open_report

Json = dict[str, t.Any]
Row = t.Mapping[str, t.Any]

SCHEMA = 1
FILE_NAME = "known.json"
#: A host that was not seen for so long is no longer part of the fleet.
FORGET_DAYS = 90
#: The host of what only shows across hosts.
FLEET = ""
_KEPT = ("id", "rule", "severity", "category", "object", "title", "since")
_MAXIMUM_BYTES = 64 << 20


class Baseline:
    """What is known from before: all *hosts*, what is *open* on one of them (or on :data:`FLEET`), and its last *row* that has facts."""

    def __init__(self, hosts: t.Iterable[str], open_on: t.Callable[[str], t.Any], row: t.Callable[[str], t.Any], compared_with: t.Optional[str] = None) -> None:
        self.hosts = frozenset(hosts) - {FLEET}
        self._open_on = open_on
        self._row = row
        self.compared_with = compared_with

    @classmethod
    def of_report(cls, report: t.Optional[t.Mapping[str, t.Any]]) -> Baseline:
        """Return what *report* alone says; where there is none, nothing is known."""
        if not report:
            return cls((), lambda dummy: None, lambda dummy: None)
        rows, of_fleet = report["hosts"], _fired(report.get("fleet_findings"))

        def open_on(host: str) -> list[Json]:
            row = rows.get(host)
            return of_fleet if host == FLEET else _fired(row.get("findings")) if isinstance(row, dict) else []

        return cls(rows, open_on, rows.get, report.get("generated_at"))

    @classmethod
    def of_findings(cls, report: t.Mapping[str, t.Any]) -> Baseline:
        """Return what is open by *report*; what was measured then is of no account now."""
        whole = cls.of_report(report)
        return cls(whole.hosts, whole.open, lambda dummy: None, whole.compared_with)

    @classmethod
    def read(cls, directory: pathlib.Path, latest: t.Optional[t.Mapping[str, t.Any]]) -> Baseline:
        """Return what is known in *directory*; where no run has kept it, what the *latest* report says."""
        known = _known(directory)
        if known is None or latest is None:
            return cls.of_report(latest)
        rows = _Rows(directory, known, latest["hosts"])
        return cls(known, lambda host: known.get(host, {}).get("findings"), rows.get, latest["generated_at"])

    def row(self, host: str) -> Row:
        """Return the last row of *host* that has facts; empty where there is none that can be read."""
        row = self._row(host)
        return row if isinstance(row, dict) else {}

    def open(self, host: str) -> list[Json]:
        """Return what was found on *host* and not seen resolved since: ``id``, ``rule``, ``severity``, ``category``, ``object``, ``title``, ``since``."""
        return [finding for finding in _mappings(self._open_on(host)) if isinstance(finding.get("id"), str)]


class _Rows:
    """Finds the last row of a host in the report that has it; a report is opened once, and *latest* are the rows of the one that is open already."""

    def __init__(self, directory: pathlib.Path, known: t.Mapping[str, Json], latest: t.Mapping[str, t.Any]) -> None:
        self._directory, self._known = directory, known
        self._opened: dict[str, t.Mapping[str, t.Any]] = {}
        with contextlib.suppress(OSError):
            self._opened[os.readlink(directory / "latest")] = latest

    def get(self, host: str) -> t.Any:
        name = (self._known.get(host) or {}).get("report")
        if not isinstance(name, str) or "/" in name or name in ("", ".", ".."):
            return None
        if name not in self._opened:
            self._opened[name] = self._open(name)
        return self._opened[name].get(host)

    def _open(self, name: str) -> t.Mapping[str, t.Any]:
        for file in ("report.json", "report.json.gz"):
            with contextlib.suppress(OSError, ValueError):
                rows = open_report(self._directory / name / file).get("hosts")
                if isinstance(rows, t.Mapping):
                    return rows
        # It was removed, as reports are after a while.
        return {}


def kept(finding: t.Mapping[str, t.Any]) -> Json:
    """Return what is kept of a *finding* that is open."""
    return {key: finding.get(key) for key in _KEPT}


def remember(directory: pathlib.Path, report: t.Mapping[str, t.Any], name: str) -> None:
    """Keep what is open after *report*, which is *name* in *directory*: what it found, and what it did not look at again.

    :raises OSError: it cannot be written.
    """
    now = report["generated_at"]
    carried: dict[str, list[Json]] = {}
    for finding in report["not_seen_again"]:
        carried.setdefault(finding["host"], []).append(kept(finding))
    with alone(directory):
        before = _known(directory) or {}
        entries: dict[str, Json] = {host: entry for host, entry in before.items() if host == FLEET or not _is_forgotten(entry, now)}
        for host, row in report["hosts"].items():
            if row.get("facts"):
                entries[host] = {"report": name, "at": now, "findings": [*_fired(row.get("findings")), *carried.get(host, ())]}
        entries[FLEET] = {"findings": [*_fired(report.get("fleet_findings")), *carried.get(FLEET, ())]}
        write_whole(directory / FILE_NAME, dumps({"schema": SCHEMA, "hosts": entries}) + b"\n")


def _known(directory: pathlib.Path) -> t.Optional[dict[str, Json]]:
    """Return the entries of the file in *directory*, ``None`` where there is none that can be used."""
    path = directory / FILE_NAME
    try:
        content = loads(path.read_bytes()) if path.stat().st_size <= _MAXIMUM_BYTES else None
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or not isinstance(content.get("hosts"), dict):
        return None
    return {host: entry for host, entry in content["hosts"].items() if isinstance(entry, dict)}


def _is_forgotten(entry: Json, now: str) -> bool:
    seen, moment = parse_time(entry.get("at")), parse_time(now)
    return seen is None or (moment is not None and (moment - seen).days > FORGET_DAYS)


def _mappings(value: t.Any) -> list[Json]:
    return [element for element in value if isinstance(element, dict)] if isinstance(value, list) else []


def _fired(findings: t.Any) -> list[Json]:
    return [kept(finding) for finding in _mappings(findings) if finding.get("result") == "fire"]
