# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The report of a whole run: every host a row, what only shows across hosts, what changed since the run before."""

from __future__ import annotations

import json
import os
import pathlib
import tempfile
import typing as t

from ..module_utils._files import write_whole
from ._conditions import parse_time
from ._judge import Options, fleet_context, judge_fleet
from ._markdown import render_markdown
from ._rules import RuleSet
from ._text import harmless

Report = dict[str, t.Any]
Renderer = t.Callable[[Report, t.Any], str]

SCHEMA = 1
STATUSES: tuple[str, ...] = ("ok", "warning", "critical", "unknown", "unreachable")


def unreachable_row(reason: str) -> dict[str, t.Any]:
    """Return the row of a host that did not answer."""
    return {"status": "unreachable", "reason": harmless(reason, 500), "findings": [], "facts": {}}


def failed_row(reason: str) -> dict[str, t.Any]:
    """Return the row of a host that answered, but on which collecting failed as a whole."""
    return {"status": "unknown", "reason": harmless(reason, 500), "findings": [], "facts": {}}


def build_report(
    host_results: t.Mapping[str, dict[str, t.Any]],
    options: t.Union[Options, t.Mapping[str, t.Any], None] = None,
    previous: t.Optional[Report] = None,
    ruleset: t.Optional[RuleSet] = None,
    recorded_facts: str = "",
) -> Report:
    """Return the report over *host_results*, one row for each host as :func:`judge_host` gives it.

    *previous* is the report of the run before: with it, findings keep the time they were first seen, and ``changes`` says what is
    new, ongoing and resolved. With *ruleset* the rules of scope fleet are judged too. *recorded_facts* is where the facts were
    read from, when they were not collected for this report.
    """
    settings = Options.of(options)
    compared = previous if isinstance(previous, dict) and previous.get("schema") == SCHEMA else None
    hosts = dict(sorted(host_results.items()))
    fleet_findings = judge_fleet(ruleset, fleet_context(hosts), settings) if ruleset is not None else []
    statuses = [row["status"] for row in hosts.values()]
    report: Report = {
        "schema": SCHEMA,
        "generated_at": settings.now,
        "collection_version": settings.collection_version,
        "language": settings.language,
        "recorded_facts": recorded_facts,
        "compared_with": compared["generated_at"] if compared else None,
        "summary": {"hosts": len(hosts), **{status: statuses.count(status) for status in STATUSES}},
        "hosts": hosts,
        "fleet_findings": fleet_findings,
        "changes": {"new": [], "ongoing": [], "resolved": []},
        "silences": _silences(settings, hosts),
    }
    report["changes"] = _changes(report, compared)
    return report


def _silences(settings: Options, hosts: t.Mapping[str, t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Return every silence with whether it has expired and how many findings it is about."""
    listed = []
    for silence in settings.silences:
        covered = sum(silence.covers(name, finding) for name, row in hosts.items() for finding in row.get("findings") or ())
        listed.append({**silence.as_dict(), "expired": silence.expired(settings.now), "findings": covered})
    return listed


def fired(report: Report) -> t.Iterator[tuple[str, dict[str, t.Any]]]:
    """Yield ``(host, finding)`` for everything that fired; the host of what is the fleet's is empty."""
    for finding in report.get("fleet_findings") or ():
        if finding.get("result") == "fire":
            yield "", finding
    for name, row in (report.get("hosts") or {}).items():
        for finding in row.get("findings") or ():
            if finding.get("result") == "fire":
                yield name, finding


def _change(host: str, finding: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {"host": host, **{key: finding.get(key) for key in ("id", "rule", "severity", "object", "title", "since")}}


def _changes(report: Report, previous: t.Optional[Report]) -> dict[str, list[dict[str, t.Any]]]:
    changes: dict[str, list[dict[str, t.Any]]] = {"new": [], "ongoing": [], "resolved": []}
    before = {finding["id"]: (host, finding) for host, finding in fired(previous)} if previous else {}
    now: set[str] = set()
    for host, finding in fired(report):
        now.add(finding["id"])
        if finding["id"] in before:
            finding["since"] = min(_since(before[finding["id"]][1]), _since(finding))
        changes["ongoing" if finding["id"] in before else "new"].append(_change(host, finding))
    for identity, (host, finding) in before.items():
        if identity not in now and _was_looked_at(report, host, finding):
            changes["resolved"].append(_change(host, finding))
    return changes


def _since(finding: t.Mapping[str, t.Any]) -> str:
    value = finding.get("since")
    return value if isinstance(value, str) and parse_time(value) else "9999"


def _was_looked_at(report: Report, host: str, finding: t.Mapping[str, t.Any]) -> bool:
    """Return whether this run could have seen *finding* again: nothing is resolved by not looking."""
    if not host:
        return True
    row = report["hosts"].get(host)
    if row is None or row["status"] == "unreachable" or not row.get("facts"):
        return False
    silenced = any(other["id"] == finding["id"] for other in row["findings"])
    return not silenced and finding.get("rule") not in (row.get("unknown_rules") or ())


# -- files ------------------------------------------------------------------------------------------------------------


def to_json(report: Report) -> bytes:
    """Return the report as JSON, one line for each host: a fleet's report stays readable by line tools, and fast to write."""

    def dumps(value: t.Any) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    lines = []
    for key, value in report.items():
        if key == "hosts" and value:
            rows = ",\n".join(f"{json.dumps(name)}:{dumps(row)}" for name, row in value.items())
            lines.append(f'"hosts":{{\n{rows}\n}}')
        else:
            lines.append(f"{json.dumps(key)}:{dumps(value)}")
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode("utf-8", "backslashreplace")


def read_previous(directory: t.Union[str, pathlib.Path]) -> t.Optional[Report]:
    """Return the latest report in *directory*; ``None`` where there is none that can be read."""
    try:
        report = json.loads((pathlib.Path(directory) / "latest" / "report.json").read_bytes())
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) and report.get("schema") == SCHEMA else None


_RENDERERS: dict[str, tuple[str, Renderer]] = {
    "json": ("report.json", lambda report, dummy: to_json(report).decode("utf-8")),
    "markdown": ("report.md", render_markdown),
}


def write_report(
    report: Report,
    directory: t.Union[str, pathlib.Path],
    formats: t.Sequence[str] = ("json", "markdown"),
    options: t.Union[Options, t.Mapping[str, t.Any], None] = None,
    renderers: t.Optional[t.Mapping[str, tuple[str, Renderer]]] = None,
) -> dict[str, pathlib.Path]:
    """Write the report under ``<directory>/<UTC time>/`` and point ``latest`` there; return the path of each format.

    *renderers* adds formats: name → (file name, function of report and options). Every file is written whole or not at
    all, and ``latest`` moves only when all are there.
    """
    known = {**_RENDERERS, **(renderers or {})}
    parent = pathlib.Path(directory)
    parent.mkdir(parents=True, exist_ok=True)
    target = new_directory(parent, report["generated_at"])
    paths = {}
    for name in formats:
        file_name, render = known[name]
        paths[name] = target / file_name
        write_whole(paths[name], render(report, options).encode("utf-8", "backslashreplace"))
    point_latest(parent, target.name)
    return paths


def new_directory(parent: pathlib.Path, generated_at: str) -> pathlib.Path:
    """Make the directory of a report under *parent*, called by its time, and return it."""
    stem = generated_at.replace(":", "").replace("/", "") or "report"
    for number in range(1, 1000):
        target = parent / (stem if number == 1 else f"{stem}-{number}")
        try:
            target.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return target
    raise FileExistsError(f"{parent}/{stem}: there are too many reports of this second")


def point_latest(parent: pathlib.Path, name: str) -> None:
    """Let ``latest`` in *parent* mean the report *name*, in one step."""
    with tempfile.TemporaryDirectory(prefix=".latest-", dir=parent) as scratch:
        link = pathlib.Path(scratch) / "latest"
        os.symlink(name, link)
        os.replace(link, parent / "latest")
