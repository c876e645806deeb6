# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The report of a whole run: every host a row, what only shows across hosts, what changed since the run before."""

from __future__ import annotations

import collections
import json
import os
import pathlib
import re
import tempfile
import typing as t

from ..module_utils._files import write_whole
from ._baseline import FLEET, Baseline, kept
from ._conditions import parse_time
from ._history import FleetMetrics
from ._judge import FleetContext, Options, judge_fleet
from ._markdown import render_markdown
from ._rules import RuleSet
from ._stored import FactsStore, StoredFacts, dumps, facts_of, open_report
from ._text import harmless

Report = dict[str, t.Any]
Row = t.Mapping[str, t.Any]
Changes = dict[str, list[dict[str, t.Any]]]
#: Returns the content of a file: all of it as text, or one part after the other.
Renderer = t.Callable[[Report, t.Any], t.Union[str, t.Iterable[bytes]]]

SCHEMA = 1
STATUSES: tuple[str, ...] = ("ok", "warning", "critical", "unknown", "unreachable")


def unreachable_row(reason: str) -> dict[str, t.Any]:
    """Return the row of a host that did not answer."""
    return {"status": "unreachable", "reason": harmless(reason, 500), "findings": [], "facts": {}}


def failed_row(reason: str) -> dict[str, t.Any]:
    """Return the row of a host that answered, but on which collecting failed as a whole."""
    return {"status": "unknown", "reason": harmless(reason, 500), "findings": [], "facts": {}}


class ReportBuilder:
    """Puts a report together from one row after the other, as :func:`judge_host` gives them.

    *previous* is the report of the run before, or what is known from all of them: with it, findings keep the time they were first seen, and
    ``changes`` says what is new, ongoing and resolved; what was open and was not looked at is ``not_seen_again``. With *ruleset* the rules of
    scope fleet are judged too. *recorded_facts* is where the facts were read from, when they were not collected for this report. With *store*
    the facts go there, and rows hold what reads them back.
    """

    def __init__(
        self,
        options: t.Union[Options, t.Mapping[str, t.Any], None] = None,
        previous: t.Union[Report, Baseline, None] = None,
        ruleset: t.Optional[RuleSet] = None,
        recorded_facts: str = "",
        store: t.Optional[FactsStore] = None,
    ) -> None:
        self._options = Options.of(options)
        usable = isinstance(previous, Baseline) or (isinstance(previous, dict) and previous.get("schema") == SCHEMA)
        self._baseline = previous if isinstance(previous, Baseline) else Baseline.of_report(previous if usable else None)
        self._ruleset = ruleset
        self._recorded_facts = recorded_facts
        self._store = store
        self._rows: dict[str, dict[str, t.Any]] = {}
        self._changes: dict[str, Changes] = {}
        self._fleet = FleetContext()
        self._metrics = FleetMetrics()

    def previous_row(self, host: str) -> Row:
        """Return the last row of *host* that has facts; empty where there is none that can be read."""
        return self._baseline.row(host)

    def add(self, host: str, row: dict[str, t.Any]) -> None:
        """Add the *row* of *host*."""
        facts = facts_of(row)
        self._changes[host] = _changes(host, row["findings"], self._baseline.open(host), lambda finding: _was_looked_at(row, facts, finding))
        self._fleet.add(host, row, facts)
        self._metrics.add(facts)
        self._rows[host] = {**row, "facts": self._store.add(facts)} if self._store is not None else row

    def finish(self, fleet_findings: t.Sequence[dict[str, t.Any]] = ()) -> Report:
        """Return the report; *fleet_findings* are there besides those of the rules of scope fleet."""
        settings = self._options
        hosts = {host: self._rows[host] for host in sorted(self._rows)}
        of_fleet = [*(judge_fleet(self._ruleset, self._fleet.view(), settings) if self._ruleset is not None else []), *fleet_findings]
        # Some hosts do not show what only shows across all of them.
        all_are_here = self._baseline.hosts <= set(hosts)
        parts = [_changes(FLEET, of_fleet, self._baseline.open(FLEET), lambda dummy: all_are_here), *(self._changes[host] for host in hosts)]
        statuses = collections.Counter(row["status"] for row in hosts.values())
        return {
            "schema": SCHEMA,
            "generated_at": settings.now,
            "collection_version": settings.collection_version,
            "language": settings.language,
            "recorded_facts": self._recorded_facts,
            "compared_with": self._baseline.compared_with,
            "summary": {"hosts": len(hosts), **{status: statuses[status] for status in STATUSES}},
            "metrics": self._metrics.view(),
            "hosts": hosts,
            "fleet_findings": of_fleet,
            "changes": {kind: [entry for part in parts for entry in part[kind]] for kind in ("new", "ongoing", "resolved")},
            "not_seen_again": [entry for part in parts for entry in part["not_seen_again"]],
            "silences": _silences(settings, hosts),
        }


def build_report(
    host_results: t.Mapping[str, dict[str, t.Any]],
    options: t.Union[Options, t.Mapping[str, t.Any], None] = None,
    previous: t.Optional[Report] = None,
    ruleset: t.Optional[RuleSet] = None,
    recorded_facts: str = "",
) -> Report:
    """Return the report over *host_results*, one row for each host; the rest is as :class:`ReportBuilder` has it."""
    builder = ReportBuilder(options, previous, ruleset, recorded_facts)
    for host, row in sorted(host_results.items()):
        builder.add(host, row)
    return builder.finish()


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


def _changes(
    host: str, findings: t.Iterable[dict[str, t.Any]], before: t.Iterable[dict[str, t.Any]], was_looked_at: t.Callable[[dict[str, t.Any]], bool]
) -> Changes:
    """Return what of *findings* is new or ongoing, and what of those *before* is resolved or was not looked at; what goes on keeps when it was first seen."""
    changes: Changes = {"new": [], "ongoing": [], "resolved": [], "not_seen_again": []}
    known = {finding.get("id"): finding for finding in before}
    now: set[str] = set()
    for finding in findings:
        if finding["result"] == "fire":
            now.add(finding["id"])
            if finding["id"] in known:
                finding["since"] = min(_since(known[finding["id"]]), _since(finding))
            changes["ongoing" if finding["id"] in known else "new"].append(_change(host, finding))
    for identity, finding in known.items():
        if identity not in now and was_looked_at(finding):
            changes["resolved"].append(_change(host, finding))
        elif identity not in now:
            changes["not_seen_again"].append({"host": host, **kept(finding)})
    return changes


def _since(finding: t.Mapping[str, t.Any]) -> str:
    value = finding.get("since")
    return value if isinstance(value, str) and parse_time(value) else "9999"


def _was_looked_at(row: Row, facts: t.Mapping[str, t.Any], finding: t.Mapping[str, t.Any]) -> bool:
    """Return whether what gave *row* could have seen *finding* again: nothing is resolved by not looking."""
    if row["status"] == "unreachable" or not facts:
        return False
    engine, compose = facts.get("engine") or {}, facts.get("compose") or {}
    if finding.get("category") != "host" and any(one.get("status") == "unknown" and one.get("errors") for one in (engine, compose)):
        # Without its containers a stack has no endpoints, logs and databases either, and nothing is wrong with any.
        return False
    silenced = any(other["id"] == finding.get("id") for other in row["findings"])
    return not silenced and finding.get("rule") not in (row.get("unknown_rules") or ())


# -- files ------------------------------------------------------------------------------------------------------------


def json_parts(report: Report) -> t.Iterator[bytes]:
    """Yield the report as JSON, one line for each host: a fleet's report stays readable by line tools, and host by host."""
    yield b"{"
    for number, (key, value) in enumerate(report.items()):
        yield b",\n" if number else b"\n"
        if key == "hosts" and value:
            yield b'"hosts":{'
            for position, (name, row) in enumerate(value.items()):
                yield (b",\n" if position else b"\n") + json.dumps(name).encode() + b":" + _row_json(row)
            yield b"\n}"
        else:
            yield dumps(key) + b":" + dumps(value)
    yield b"\n}\n"


def _row_json(row: Row) -> bytes:
    facts = row.get("facts")
    if not isinstance(facts, StoredFacts):
        return dumps(row)
    return dumps({key: value for key, value in row.items() if key != "facts"})[:-1] + b',"facts":' + facts.raw() + b"}"


def to_json(report: Report) -> bytes:
    """Return the report as JSON in one piece."""
    return b"".join(json_parts(report))


def read_previous(directory: t.Union[str, pathlib.Path]) -> t.Optional[Report]:
    """Return the latest report in *directory*, as :func:`read_report` does."""
    return read_report(pathlib.Path(directory) / "latest" / "report.json")


def read_report(path: pathlib.Path) -> t.Optional[Report]:
    """Return the report at *path*, its rows still on the disk; ``None`` where there is none that can be read."""
    try:
        report = open_report(path)
    except (OSError, ValueError):
        return None
    usable = report.get("schema") == SCHEMA and isinstance(report.get("generated_at"), str) and isinstance(report.get("hosts"), t.Mapping)
    return report if usable else None


def continues(recorded_facts: str, latest: t.Optional[Report]) -> bool:
    """Return whether a report over *recorded_facts*, or over hosts as they are, is one of the series that *latest* is the end of."""
    return latest is None or bool(latest.get("recorded_facts")) == bool(recorded_facts)


_RENDERERS: dict[str, tuple[str, Renderer]] = {
    "json": ("report.json", lambda report, dummy: json_parts(report)),
    "markdown": ("report.md", render_markdown),
}


def write_report(
    report: Report,
    directory: t.Union[str, pathlib.Path],
    formats: t.Sequence[str] = ("json", "markdown"),
    options: t.Union[Options, t.Mapping[str, t.Any], None] = None,
    renderers: t.Optional[t.Mapping[str, tuple[str, Renderer]]] = None,
    is_latest: bool = True,
) -> dict[str, pathlib.Path]:
    """Write the report under ``<directory>/<UTC time>/`` and, where it *is_latest*, point ``latest`` there; return the path of each format.

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
        content = render(report, options)
        write_whole(paths[name], content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)
    if is_latest:
        point_latest(parent, target.name)
    return paths


def new_directory(parent: pathlib.Path, generated_at: str) -> pathlib.Path:
    """Make the directory of a report under *parent*, called by its time, and return it."""
    # A merged report has the time of its input, which is a text that somebody wrote.
    stem = re.sub(r"[^0-9A-Za-z._-]", "", generated_at)[:60].strip(".") or "report"
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
