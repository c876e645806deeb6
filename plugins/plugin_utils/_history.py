# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What is left of each report when the report itself is gone, and which reports may go.

``history.jsonl`` in the directory of reports has one line of some hundred bytes for each run: hosts by status, causes by severity and
by rule, and the main metrics of the fleet. Reports are packed and removed only where the directory and everything in it are as a
report's are; what is not known is not touched.
"""

from __future__ import annotations

import collections
import contextlib
import datetime
import fcntl
import math
import os
import pathlib
import re
import time
import typing as t

from ..module_utils._files import write_whole
from ._conditions import parse_time
from ._stored import dumps, loads, pack

Entry = dict[str, t.Any]

SCHEMA = 1
FILE_NAME = "history.jsonl"
#: A run each hour for three months.
MAXIMUM_ENTRIES = 2200
#: So many runs are in the report and on its page.
SHOWN_ENTRIES = 30
#: The newest reports stay as they are: the next run compares with one, and somebody may be reading the other.
WHOLE_REPORTS = 2

_MAXIMUM_RULES = 50
_MAXIMUM_BYTES = 64 << 20
_LOCK_SECONDS = 5.0
_OWN_NAME = re.compile(r"(\d{4}-\d{2}-\d{2}T)(\d{2})(\d{2})(\d{2})Z(?:-\d{1,3})?")
_OWN_FILES = frozenset(("report.json", "report.json.gz", "report.md", "report.html"))
_REMOVING = ".removing-"


# -- metrics --------------------------------------------------------------------------------------------------------


def _elements(facts: t.Any, *keys: str) -> list[dict[str, t.Any]]:
    for key in keys:
        facts = facts.get(key) if isinstance(facts, dict) else None
    return [element for element in facts if isinstance(element, dict)] if isinstance(facts, list) else []


def number_in(value: t.Any, *keys: str) -> t.Optional[float]:
    """Return the finite number at *keys* of *value*, ``None`` where there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return value if usable else None


#: How the values of all hosts become one: those of a fleet add up, or the worst of them counts.
METRICS: dict[str, t.Callable[[t.Iterable[float]], float]] = {
    "errors_per_minute": sum,
    "requests": sum,
    "requests_5xx": sum,
    "request_p95_ms": max,
    "connections_used": sum,
    "connections_used_percent": max,
    "memory_used_percent": max,
    "filesystem_used_percent": max,
    "container_restarts": sum,
}


def host_metrics(facts: t.Mapping[str, t.Any]) -> dict[str, float]:
    """Return the main metrics of one host's *facts* by collector; one that was not collected is not in it."""
    lists = {
        "logs": _elements(facts, "logs", "sources"),
        "requests": _elements(facts, "requests", "sources"),
        "postgres": _elements(facts, "postgres", "instances"),
        "filesystems": _elements(facts, "host", "filesystems"),
        "containers": _elements(facts, "compose", "containers"),
    }
    sources: dict[str, tuple[str, tuple[str, ...]]] = {
        "errors_per_minute": ("logs", ("errors_per_minute",)),
        "requests": ("requests", ("requests",)),
        "requests_5xx": ("requests", ("errors_5xx",)),
        "request_p95_ms": ("requests", ("p95_ms",)),
        "connections_used": ("postgres", ("connections", "used")),
        "connections_used_percent": ("postgres", ("connections", "used_percent")),
        "filesystem_used_percent": ("filesystems", ("used_percent",)),
        "container_restarts": ("containers", ("restart_count",)),
    }
    values = {name: [number_in(element, *keys) for element in lists[where]] for name, (where, keys) in sources.items()}
    values["memory_used_percent"] = [number_in(facts, "host", "memory_used_percent")]
    known = {name: [value for value in listed if value is not None] for name, listed in values.items()}
    return {name: METRICS[name](listed) for name, listed in known.items() if listed}


class FleetMetrics:
    """The main metrics of all hosts together, gathered host by host."""

    def __init__(self) -> None:
        self._values: dict[str, float] = {}

    def add(self, facts: t.Mapping[str, t.Any]) -> None:
        """Add one host's *facts* by collector."""
        for name, value in host_metrics(facts).items():
            self._values[name] = METRICS[name]((self._values[name], value)) if name in self._values else value

    def view(self) -> dict[str, t.Optional[float]]:
        """Return all metrics; ``None`` is one that no host has."""
        return {name: None if name not in self._values else round(self._values[name], 2) for name in METRICS}


# -- history --------------------------------------------------------------------------------------------------------


def entry_of(report: t.Mapping[str, t.Any]) -> Entry:
    """Return the line of history of *report*. Causes count, not what only follows from them; of a rule, its hosts."""
    severities: collections.Counter[str] = collections.Counter()
    rules: collections.Counter[str] = collections.Counter()
    rows = [report.get("fleet_findings") or [], *(row["findings"] for row in report["hosts"].values())]
    for findings in rows:
        causes = [finding for finding in findings if finding["result"] == "fire" and not finding.get("effect_of")]
        severities.update(finding["severity"] for finding in causes)
        rules.update({finding["rule"] for finding in causes})
    return {
        "schema": SCHEMA,
        "generated_at": report["generated_at"],
        "summary": dict(report["summary"]),
        "findings": {severity: severities[severity] for severity in ("critical", "warning", "info")},
        "changes": {kind: len(report["changes"][kind]) for kind in ("new", "ongoing", "resolved")},
        "rules": dict(sorted(rules.most_common(_MAXIMUM_RULES))),
        "metrics": dict(report.get("metrics") or {}),
    }


def read_history(directory: pathlib.Path) -> list[Entry]:
    """Return what is known of the runs before, oldest first; lines that are none are left out."""
    path = directory / FILE_NAME
    try:
        content = path.read_bytes() if path.stat().st_size <= _MAXIMUM_BYTES else b""
    except OSError:
        return []
    entries = []
    for line in content.splitlines():
        try:
            entry = loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("schema") == SCHEMA and parse_time(entry.get("generated_at")):
            entries.append({**entry, **{key: entry[key] if isinstance(entry.get(key), dict) else {} for key in ("summary", "findings", "metrics")}})
    return sorted(entries, key=lambda entry: str(entry["generated_at"]))


def remember(directory: pathlib.Path, entry: Entry) -> None:
    """Add *entry* to the history in *directory*, which is written whole or stays as it is.

    :raises OSError: it cannot be written.
    """
    with alone(directory):
        entries = [*read_history(directory), entry][-MAXIMUM_ENTRIES:]
        write_whole(directory / FILE_NAME, b"".join(dumps(one) + b"\n" for one in entries))


@contextlib.contextmanager
def alone(directory: pathlib.Path) -> t.Iterator[None]:
    """Keep other runs that end at the same time waiting; where files cannot be locked, or somebody holds on, go on without."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = time.monotonic() + _LOCK_SECONDS
        while time.monotonic() < deadline:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.05)
            except OSError:
                break
        yield
    finally:
        os.close(descriptor)


# -- retention ------------------------------------------------------------------------------------------------------


def own_reports(directory: pathlib.Path) -> dict[str, datetime.datetime]:
    """Return the reports in *directory* by the name of theirs, with their times, newest first.

    A directory with a report's name that is a link, or has anything in it that a report does not have, is somebody else's.
    """
    found: dict[str, datetime.datetime] = {}
    with os.scandir(directory) as entries:
        for entry in entries:
            moment = _time_of(entry.name)
            if moment is not None and entry.is_dir(follow_symlinks=False) and _is_own(pathlib.Path(entry.path)):
                found[entry.name] = moment
    return dict(sorted(found.items(), key=lambda pair: (pair[1], len(pair[0]), pair[0]), reverse=True))


def _time_of(name: str) -> t.Optional[datetime.datetime]:
    matched = _OWN_NAME.fullmatch(name)
    return parse_time("{}{}:{}:{}Z".format(*matched.groups())) if matched else None


def _is_own(directory: pathlib.Path) -> bool:
    with os.scandir(directory) as entries:
        listed = list(entries)
    return bool(listed) and all(entry.name in _OWN_FILES and entry.is_file(follow_symlinks=False) for entry in listed)


def removable(reports: t.Mapping[str, datetime.datetime], latest: str, keep: int, keep_days: float, now: datetime.datetime) -> list[str]:
    """Return which of *reports*, newest first, may go: those beyond the newest *keep* and those older than *keep_days*; 0 keeps them all.

    The one that *latest* means never goes.
    """
    going = []
    for position, (name, moment) in enumerate(reports.items()):
        too_many = keep > 0 and position >= keep
        too_old = keep_days > 0 and (now - moment).total_seconds() > keep_days * 86400
        if (too_many or too_old) and name != latest:
            going.append(name)
    return going


def tidy(directory: pathlib.Path, keep: int, keep_days: float, now: datetime.datetime) -> dict[str, list[str]]:
    """Remove the reports in *directory* that may go, and pack ``report.json`` of all but the newest; return the names of both.

    :raises OSError: one cannot be removed or packed; those before it are.
    """
    for left in directory.glob(f"{_REMOVING}*"):
        _remove(left)
    latest = os.path.basename(os.path.realpath(directory / "latest"))
    reports = own_reports(directory)
    going = removable(reports, latest, keep, keep_days, now)
    for name in going:
        # Under its own name it is whole, or gone.
        doomed = directory / f"{_REMOVING}{name}"
        os.rename(directory / name, doomed)
        _remove(doomed)
    packed = []
    for name in [name for name in reports if name not in going][WHOLE_REPORTS:]:
        path = directory / name / "report.json"
        if name != latest and path.exists():
            pack(path)
            packed.append(name)
    return {"removed": going, "packed": packed}


def _remove(directory: pathlib.Path) -> None:
    if directory.is_symlink() or not directory.is_dir():
        return
    for name in _OWN_FILES:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(directory / name)
    os.rmdir(directory)
