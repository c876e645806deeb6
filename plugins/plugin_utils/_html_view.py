# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the report page gets of a report: an index that it shows at once, and the details of each host.

The index holds a row for every host, every finding that is worth a look, and the fleet's charts. Texts that come again
and again over a fleet are in it once.
"""

from __future__ import annotations

import datetime
import functools
import itertools
import json
import math
import re
import typing as t

from ._history import METRICS, number_in
from ._html_tables import FACTS, TABLES, cell, items, lookup, number, table_rows
from ._stored import facts_of
from ._what_changed import changes_of, news, told

Json = t.Any
Report = t.Mapping[str, Json]

SEVERITIES: tuple[str, ...] = ("critical", "warning", "info")
_CONFIDENCES: tuple[str, ...] = ("high", "medium", "low")

#: Of the page's 5 MB; a finding beyond it keeps what it is and where, and loses evidence and advice.
FINDINGS_BUDGET_BYTES = 1_800_000
#: Beyond this one too, findings are only counted.
SHORT_FINDINGS_BUDGET_BYTES = 1_200_000

_MINUTE = 60
_LONGEST_TIMELINE = 360
_TOP = 10
_LONGEST_VALUE = 1200
_LONGEST_LINE = 400
_LONGEST_SHORT_TITLE = 200
_MAXIMUM_RESOLVED = 1000
_MAXIMUM_NEWS = 4

# Control characters other than tab and line feed, marks that reorder or hide text, and halves of surrogate pairs: they
# would show a command as another one than what is copied, or could not be written as UTF-8 at all.
_HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]")


def clean(value: Json) -> Json:
    """Return *value* with every harmful character in its texts shown as U+FFFD instead of taking effect."""
    if isinstance(value, str):
        return _HARMFUL.sub("\ufffd", value)
    if isinstance(value, dict):
        return {clean(str(key)): clean(element) for key, element in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(element) for element in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


# As JSON writes characters that may be harmful. Most of a report has none: looking for them once is all that it costs.
_SUSPECT = re.compile(rf"{_HARMFUL.pattern}|\\[bfru]")


def to_json(value: Json) -> str:
    """Return *value*, cleaned, as JSON that cannot end the element it stands in, nor begin a comment there."""
    try:
        text = _dumps(value)
    except ValueError:
        text = _dumps(clean(value))
    if _SUSPECT.search(text):
        text = _dumps(clean(value))
    return text.replace("<", "\\u003c")


def _dumps(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


class Strings:
    """A table of texts; each is kept once and named by its position."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._positions: dict[str, int] = {}

    def add(self, text: Json) -> t.Optional[int]:
        """Return the position of *text*, ``None`` for no text."""
        if text is None or text == "":
            return None
        text = str(text)
        position = self._positions.get(text)
        if position is None:
            position = self._positions[text] = len(self.all)
            self.all.append(text)
        return position


def epoch(moment: Json) -> t.Optional[int]:
    """Return RFC 3339 *moment* as seconds since the epoch, ``None`` where it is none."""
    return _parsed(moment) if isinstance(moment, str) else None


# The minutes of a fleet's histograms are the same on every host.
@functools.lru_cache(maxsize=8192)
def _parsed(moment: str) -> t.Optional[int]:
    try:
        parsed = datetime.datetime.fromisoformat(moment.replace("Z", "+00:00"))
    except ValueError:
        return None
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=datetime.timezone.utc)
    return int(parsed.timestamp())


def collectors_of(host: Report) -> dict[str, Json]:
    """Return the facts of *host* by collector; what collecting says of the host itself is ``meta``."""
    facts = facts_of(host)
    return {**facts, "meta": host.get("host")} if facts else {}


# Findings


def _all_findings(report: Report, host_names: t.Sequence[str]) -> t.Iterator[tuple[int, Json]]:
    for finding in items(report, "fleet_findings"):
        yield -1, finding
    for position, name in enumerate(host_names):
        for finding in items(report["hosts"][name], "findings"):
            yield position, finding


def _severity_rank(finding: Report) -> int:
    severity = finding.get("severity")
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


def _confidence_rank(finding: Report) -> int:
    confidence = finding.get("confidence")
    return _CONFIDENCES.index(confidence) if confidence in _CONFIDENCES else 0


def _bounded(value: Json, depth: int = 0) -> Json:
    """Return evidence with long texts and lists cut, so that one finding cannot fill the page."""
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_VALUE else value[: _LONGEST_VALUE - 1] + "…"
    if isinstance(value, dict):
        return {key: _bounded(element, depth + 1) for key, element in list(value.items())[:30]} if depth < 4 else "…"
    if isinstance(value, list):
        return [_bounded(element, depth + 1) for element in value[:20]] if depth < 4 else "…"
    return value


def _size(value: Json) -> int:
    """Return roughly how many bytes *value* takes in the page."""
    if isinstance(value, str):
        return len(value.encode(errors="replace")) + 3
    if isinstance(value, dict):
        return sum(_size(key) + _size(element) for key, element in value.items()) + 2
    if isinstance(value, list):
        return sum(_size(element) for element in value) + 2
    return 6


class FindingRows:
    """The findings as the page gets them: root causes worst first, each with what it explains."""

    def __init__(self, report: Report, host_names: t.Sequence[str], language: str = "en", budget_bytes: int = FINDINGS_BUDGET_BYTES) -> None:
        self.strings = Strings()
        self.shortened = 0
        self.left_out = 0
        self._changes = _change_of_id(report)
        self._left = budget_bytes
        self._left_for_short = SHORT_FINDINGS_BUDGET_BYTES
        found = [(host, finding) for host, finding in _all_findings(report, host_names) if finding.get("result") != "pass"]
        families = _families([finding for dummy, finding in found])

        def order(root: int) -> tuple[int, int, int, int]:
            effects = families[root]
            worst = min(_severity_rank(found[number][1]) for number in (root, *effects))
            finding = found[root][1]
            return (worst, -len(effects), _severity_rank(finding), _confidence_rank(finding))

        roots = sorted(families, key=order)
        # What something else explains may be explained twice; its row is in the page once.
        sequence = list(dict.fromkeys([*roots, *(effect for root in roots for effect in families[root])]))
        self.rows = list(itertools.takewhile(bool, (self._row(*found[number]) for number in sequence)))
        positions = {number: position for position, number in enumerate(sequence[: len(self.rows)])}
        self.left_out = len(sequence) - len(self.rows)
        self.roots = [positions[root] for root in roots if root in positions]
        for root in roots[: len(self.roots)]:
            effects = [positions[effect] for effect in families[root] if effect in positions]
            if effects:
                self.rows[positions[root]]["effects"] = effects
        told_of: set[int] = set()
        for root in roots[: len(self.roots)]:
            host, finding = found[root]
            if host >= 0 and finding.get("result") == "fire" and not self.rows[positions[root]].get("short"):
                # Of the whole stack beside the first cause, and only one's own beside the others.
                lines = news(changes_of(report["hosts"][host_names[host]]), str(finding.get("object")), host not in told_of, language, _MAXIMUM_NEWS)
                told_of.add(host)
                if lines:
                    self.rows[positions[root]]["news"] = [self.strings.add(line) for line in lines]

    def _row(self, host: int, finding: Report) -> dict[str, Json]:
        """Return the row of *finding*: whole, without evidence and advice, or empty, as the budgets are used up."""
        row: dict[str, Json] = {
            "host": host,
            "rule": self.strings.add(finding.get("rule")),
            "severity": finding.get("severity"),
            "result": finding.get("result"),
            "object": self.strings.add(finding.get("object")),
            "change": self._changes.get(str(finding.get("id"))),
        }
        if self._left > 0:
            whole = {
                "id": finding.get("id"),
                **row,
                "category": self.strings.add(finding.get("category")),
                "title": self.strings.add(finding.get("title")),
                "since": epoch(finding.get("since")),
                "reason": self.strings.add(_reason(finding)),
                "confidence": finding.get("confidence"),
                "count": finding.get("count"),
                "cause": self.strings.add(finding.get("cause")),
                "fix": [self.strings.add(step) for step in finding.get("fix") or ()],
                "verify": self.strings.add(finding.get("verify")),
                "references": [self.strings.add(link) for link in finding.get("references") or ()],
                "evidence": _bounded(finding.get("evidence") or {}),
            }
            self._left -= _size(whole)
            if self._left > 0:
                return _without_blanks(whole)
        row.update(category=self.strings.add(finding.get("category")), title=self.strings.add(_clipped(finding.get("title"))), short=True)
        self._left_for_short -= _size(row)
        if self._left_for_short <= 0:
            return {}
        self.shortened += 1
        return _without_blanks(row)


def _clipped(text: Json) -> Json:
    return f"{text[: _LONGEST_SHORT_TITLE - 1]}…" if isinstance(text, str) and len(text) > _LONGEST_SHORT_TITLE else text


def _without_blanks(row: dict[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in row.items() if value not in (None, [], {})}


def _families(findings: t.Sequence[Report]) -> dict[int, list[int]]:
    """Return the positions of the findings that nothing explains, each with those of all that it explains.

    What fired explains only what fired, and what is silenced only what is silenced. Findings that explain one another in a
    circle are nobody's effects: the first of them stands for it.
    """
    positions = {finding.get("id"): position for position, finding in enumerate(findings)}

    def explained_by(position: int) -> list[int]:
        result = findings[position].get("result")
        effects = (positions.get(effect) for effect in findings[position].get("effects") or ())
        return [effect for effect in effects if effect is not None and effect != position and findings[effect].get("result") == result]

    def reach(root: int) -> list[int]:
        seen: dict[int, None] = {}
        waiting = explained_by(root)
        while waiting:
            effect = waiting.pop(0)
            if effect not in seen and effect != root:
                seen[effect] = None
                waiting.extend(explained_by(effect))
        return list(seen)

    effects = {effect for position in range(len(findings)) for effect in explained_by(position)}
    families = {position: reach(position) for position in range(len(findings)) if position not in effects}
    shown = {member for root, members in families.items() for member in (root, *members)}
    for position in range(len(findings)):
        if position not in shown:
            families[position] = reach(position)
            shown.update((position, *families[position]))
    return families


def _reason(finding: Report) -> Json:
    """Return why a finding is unknown, in error or silenced, wherever the report says it."""
    if finding.get("reason"):
        return finding["reason"]
    silence = finding.get("silence")
    if isinstance(silence, dict):
        return " · ".join(str(silence[key]) for key in ("reason", "expires") if silence.get(key) not in (None, "never"))
    return silence


def _change_entries(report: Report, kind: str) -> list[Json]:
    changes = report.get("changes")
    entries = changes.get(kind) if isinstance(changes, dict) else None
    return entries if isinstance(entries, list) else []


def _change_of_id(report: Report) -> dict[str, str]:
    return {str(entry.get("id") if isinstance(entry, dict) else entry): kind for kind in ("ongoing", "new") for entry in _change_entries(report, kind)}


def _resolved(report: Report) -> list[dict[str, Json]]:
    keys = ("id", "host", "rule", "severity", "object", "title")
    entries = _change_entries(report, "resolved")[:_MAXIMUM_RESOLVED]
    return [{key: entry.get(key) for key in keys} if isinstance(entry, dict) else {"id": entry} for entry in entries]


# Charts


class Timeline:
    """Counts per minute of several sources, on one axis; of a long window several minutes share a step."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, ...], dict[int, tuple[int, int]]] = {}

    def add(self, name: tuple[str, ...], histogram: t.Iterable[Report]) -> None:
        """Add the *histogram* of the source *name*."""
        counts = self._counts.setdefault(name, {})
        for bucket in histogram:
            moment = epoch(bucket.get("minute"))
            if moment is not None:
                minute = moment // _MINUTE
                records, errors = counts.get(minute, (0, 0))
                counts[minute] = (records + _count(bucket.get("records")), errors + _count(bucket.get("errors")))

    def view(self, limit: int) -> t.Optional[dict[str, Json]]:
        """Return the axis, all records and errors on it, and the *limit* sources with the most errors."""
        minutes = [minute for counts in self._counts.values() for minute in counts]
        if not minutes:
            return None
        first, last = max(min(minutes), max(minutes) - 7 * 24 * 60), max(minutes)
        step = max(1, math.ceil((last - first + 1) / _LONGEST_TIMELINE))
        length = (last - first) // step + 1
        records, errors = [0] * length, [0] * length
        sources = []
        for name, counts in self._counts.items():
            own = [0] * length
            for minute, (all_records, all_errors) in counts.items():
                if minute >= first:
                    records[(minute - first) // step] += all_records
                    errors[(minute - first) // step] += all_errors
                    own[(minute - first) // step] += all_errors
            if any(own):
                sources.append({"name": list(name), "errors": own, "total": sum(own)})
        sources.sort(key=lambda source: -number(source["total"]))
        return {
            "start": first * _MINUTE,
            "step": step * _MINUTE,
            "records": records,
            "errors": errors,
            "sources": sources[:limit],
            "more": max(0, len(sources) - limit),
        }


def _count(value: Json) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _ranked(rows: list[dict[str, Json]], key: str) -> list[dict[str, Json]]:
    return sorted((row for row in rows if number(row[key]) >= 0), key=lambda row: -number(row[key]))[:_TOP]


def _worst_queries(host: int, facts: Report) -> list[dict[str, Json]]:
    return [
        {
            "host": host,
            "instance": instance.get("name"),
            "query": cell(query.get("query")),
            "calls": query.get("calls"),
            "mean": cell(query.get("mean_exec_time_ms")),
            "total": cell(query.get("total_exec_time_ms")),
            "share": cell(query.get("percent_of_total")),
        }
        for instance in items(facts, "postgres.instances")
        for query in items(instance, "statements.queries")
    ]


def _slowest_endpoints(host: int, facts: Report) -> list[dict[str, Json]]:
    return [
        {
            "host": host,
            "url": cell(endpoint.get("url")),
            "status": endpoint.get("status"),
            "connect": endpoint.get("time_connect_ms"),
            "tls": endpoint.get("time_tls_ms"),
            "first_byte": endpoint.get("time_first_byte_ms"),
            "total": endpoint.get("time_total_ms"),
        }
        for endpoint in items(facts, "http.endpoints")
    ]


def _slowest_requests(host: int, facts: Report) -> list[dict[str, Json]]:
    return [
        {
            "host": host,
            "source": cell(source.get("name")),
            "requests": source.get("requests"),
            "slow": source.get("slow"),
            "p50": cell(source.get("p50_ms")),
            "p95": cell(source.get("p95_ms")),
            "p99": cell(source.get("p99_ms")),
        }
        for source in items(facts, "requests.sources")
    ]


class Trends:
    """The charts of the whole fleet, gathered host by host."""

    def __init__(self) -> None:
        self._timeline = Timeline()
        self._queries: list[dict[str, Json]] = []
        self._endpoints: list[dict[str, Json]] = []
        self._requests: list[dict[str, Json]] = []

    def add(self, host: int, name: str, facts: Report) -> None:
        """Add what the host at position *host* has for the charts."""
        for source in items(facts, "logs.sources"):
            self._timeline.add((name, str(source.get("name"))), items(source, "histogram"))
        # Only the worst are shown: keeping those of each host bounds what a fleet needs.
        self._queries += _ranked(_worst_queries(host, facts), "mean")
        self._endpoints += _ranked(_slowest_endpoints(host, facts), "total")
        self._requests += _ranked(_slowest_requests(host, facts), "p95")

    def view(self) -> dict[str, Json]:
        """Return the charts' data."""
        return {
            "timeline": self._timeline.view(8),
            "queries": _ranked(self._queries, "mean"),
            "endpoints": _ranked(self._endpoints, "total"),
            "requests": _ranked(self._requests, "p95"),
        }


# Hosts


def host_details(facts: Report) -> dict[str, Json]:
    """Return what the page shows of one host when it is opened: facts, tables, charts, last log lines."""
    timeline = Timeline()
    for source in items(facts, "logs.sources"):
        timeline.add((str(source.get("name")),), items(source, "histogram"))
    tables = {table.name: table_rows(table, facts) for table in TABLES}
    lines = [
        [container.get("name"), [str(line)[:_LONGEST_LINE] for line in container["last_log_lines"][-20:]]]
        for container in items(facts, "compose.containers")
        if isinstance(container.get("last_log_lines"), list) and container["last_log_lines"]
    ]
    return {
        "facts": [cell(lookup(facts, fact.path)) for fact in FACTS],
        "tables": {name: rows for name, rows in tables.items() if rows},
        "timeline": timeline.view(6),
        "lines": lines,
    }


#: Of one run: what leads to the number in its line of history, by the name of the number.
_HISTORY: t.Mapping[str, tuple[str, str]] = {
    "hosts": ("summary", "hosts"),
    "critical": ("findings", "critical"),
    "warning": ("findings", "warning"),
    "unreachable": ("summary", "unreachable"),
    **{name: ("metrics", name) for name in METRICS},
}


def history_names() -> tuple[str, ...]:
    """Return the names of the numbers whose course over the last runs the page shows."""
    return tuple(_HISTORY)


def history_view(report: Report) -> t.Optional[dict[str, Json]]:
    """Return the runs before and this one as series of numbers for the sparklines; ``None`` where there is nothing to compare.

    A number that a run does not have is a gap. Series without two numbers are left out.
    """
    runs = [(moment, entry) for entry in items(report, "history") if (moment := epoch(entry.get("generated_at"))) is not None]
    series = {name: [cell(number_in(entry, *keys)) for dummy, entry in runs] for name, keys in _HISTORY.items()}
    known = {name: values for name, values in series.items() if sum(value is not None for value in values) > 1}
    return {"times": [moment for moment, dummy in runs], "series": known} if known else None


def _merged(report: Report) -> t.Optional[dict[str, Json]]:
    """Return where a merged report comes from: how many inputs, and some of the hosts that were in several."""
    inputs, overlaps = items(report, "merged.inputs"), items(report, "merged.overlaps")
    return {"inputs": len(inputs), "overlaps": len(overlaps), "hosts": [overlap.get("host") for overlap in overlaps[:20]]} if inputs else None


class Details(t.Sequence[t.Optional[dict[str, Json]]]):
    """The details of each host in the index's order (``None`` for a host without facts), each made when it is asked for."""

    def __init__(self, rows: t.Sequence[Report], language: str) -> None:
        self._rows = rows
        self._language = language

    def __len__(self) -> int:
        return len(self._rows)

    def has(self, position: int) -> bool:
        """Return whether there are any for the host at *position*, without making them."""
        return bool(self._rows[position].get("facts"))

    def __getitem__(self, position: t.Any) -> t.Any:
        facts = collectors_of(self._rows[position])
        if not facts:
            return None
        changes = [told(change, self._language) for change in changes_of(self._rows[position])]
        return {**host_details(facts), **({"changes": changes} if changes else {})}


def index_view(report: Report, now: datetime.datetime, language: str) -> tuple[dict[str, Json], Details]:
    """Return the page's index, and the details of the hosts in the same order."""
    names = list(report.get("hosts") or {})
    findings = FindingRows(report, names, language)
    trends = Trends()
    hosts: list[dict[str, Json]] = []
    for position, name in enumerate(names):
        host = report["hosts"][name]
        facts = collectors_of(host)
        trends.add(position, name, facts)
        passed, unchecked = (_count(lookup(host, f"counts.{result}")) for result in ("pass", "unknown"))
        more = {"reason": host.get("reason"), "passed": passed, "unchecked": unchecked}
        hosts.append({"name": name, "status": host.get("status"), **{key: value for key, value in more.items() if value}})
    index = {
        "language": language,
        "generated_at": epoch(report.get("generated_at")),
        "recorded": bool(report.get("recorded_facts")),
        "now": int(now.timestamp()),
        "version": report.get("collection_version"),
        "hosts": hosts,
        "findings": findings.rows,
        "roots": findings.roots,
        "strings": findings.strings.all,
        "resolved": _resolved(report),
        "resolved_count": len(_change_entries(report, "resolved")),
        "not_seen_count": len(items(report, "not_seen_again")),
        "compared": bool(report.get("compared_with")) or any(_change_entries(report, kind) for kind in ("ongoing", "resolved")),
        "expired": [
            {key: silence.get(key) for key in ("rule", "object", "host", "reason", "expires")}
            for silence in items(report, "silences")
            if silence.get("expired")
        ],
        "trends": trends.view(),
        "history": history_view(report),
        "merged": _merged(report),
        "tables": {table.name: [[column.label, column.kind] for column in table.columns] for table in TABLES},
        "facts": [[fact.label, fact.kind] for fact in FACTS],
        "shortened": findings.shortened,
        "left_out": findings.left_out,
    }
    return index, Details([report["hosts"][name] for name in names], language)
