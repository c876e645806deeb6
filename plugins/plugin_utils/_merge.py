# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Reports of slices of a fleet as one: which files, which row of a host counts, and what could not be used.

A report is a file that came from somewhere: what is not as a report's must be is told with its reason and stops nothing, and its
texts are made harmless before they are shown.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import typing as t

from ._conditions import parse_time
from ._correlate import Finding
from ._judge import RESULTS, Silence, SilenceError, finding_id
from ._report import SCHEMA, STATUSES, failed_row
from ._rules import CATEGORIES, CONFIDENCES, SEVERITIES
from ._stored import DamagedRow, open_report
from ._text import harmless, without_controls

Report = dict[str, t.Any]
Row = dict[str, t.Any]

#: Id of the finding that says that a report could not be used.
NOT_MERGED = "report-not-merged"

_FILES = ("report.json", "report.json.gz")
_LATEST = os.path.join("latest", "report.json")

_TEXTS: dict[str, tuple[str, str, str]] = {
    "en": (
        "This report could not be merged: {path}",
        "What it says of its hosts is missing here: that is unknown, not fine.",
        "Have it written again, or leave it out, and merge again.",
    ),
    "zh_TW": (
        "無法合併這份報告：{path}",
        "其中各主機的結果不在此處：狀態是「不明」，不代表正常。",
        "請重新產生這份報告，或將它排除，再合併一次。",
    ),
}


class MergeError(Exception):
    """There is nothing to merge. The message has one line for each input with its reason."""


@dataclasses.dataclass(frozen=True)
class Input:
    """A report that can be used: where it is, the digest of its file, and its content with rows that are read when they are asked for."""

    path: str
    digest: str
    report: Report

    @property
    def generated_at(self) -> str:
        """When it was written."""
        return str(self.report["generated_at"])

    def as_dict(self) -> dict[str, t.Any]:
        """Return it as the merged report names it."""
        version = self.report.get("collection_version")
        head = {"path": self.path, "generated_at": self.generated_at, "collection_version": version if isinstance(version, str) else None}
        return {**head, "hosts": len(self.report["hosts"]), "sha256": self.digest}


@dataclasses.dataclass(frozen=True)
class Inputs:
    """All reports that can be used, the newest first, and why others cannot, by their paths."""

    usable: tuple[Input, ...]
    problems: t.Mapping[str, str]

    @property
    def generated_at(self) -> str:
        """When the newest was written."""
        return self.usable[0].generated_at

    def fingerprint(self, *settings: t.Any) -> str:
        """Return what is the same as long as the inputs and *settings* are."""
        digests = sorted(entry.digest for entry in self.usable)
        return hashlib.sha256(repr((digests, sorted(self.problems.items()), settings)).encode()).hexdigest()

    def places(self) -> dict[str, list[Input]]:
        """Return the inputs that have a row of each host, the newest first; hosts in the order of their names."""
        found: dict[str, list[Input]] = {}
        for entry in self.usable:
            for host in entry.report["hosts"]:
                found.setdefault(host, []).append(entry)
        return dict(sorted(found.items()))

    def silences(self) -> tuple[Silence, ...]:
        """Return the silences of all inputs, each once."""
        found: dict[Silence, None] = {}
        for entry in self.usable:
            listed = entry.report.get("silences")
            for silence in listed if isinstance(listed, list) else ():
                if isinstance(silence, dict):
                    try:
                        found[Silence.of({key: silence[key] for key in ("rule", "object", "host", "reason", "expires") if key in silence})] = None
                    except SilenceError:
                        continue
        return tuple(found)

    def recorded_facts(self) -> str:
        """Return where the facts of inputs were read from that were not collected in their runs."""
        told = {entry.report.get("recorded_facts") for entry in self.usable}
        return ", ".join(sorted(harmless(text, 500) for text in told if isinstance(text, str) and text))


def read_inputs(paths: t.Sequence[t.Union[str, pathlib.Path]]) -> Inputs:
    """Return the reports at *paths*: files, directories of one report, of reports (the latest counts), or of any of these.

    :raises MergeError: not one can be used.
    """
    problems: dict[str, str] = {}
    usable: dict[str, Input] = {}
    for path in paths:
        for file in _find(pathlib.Path(path), problems):
            real = os.path.realpath(file)
            if real not in usable and str(file) not in problems:
                try:
                    usable[real] = _read(file)
                except (OSError, ValueError) as error:
                    problems[str(file)] = harmless(str(getattr(error, "strerror", None) or error), 300)
    if not usable:
        lines = [f"{path}: {reason}" for path, reason in problems.items()] or [
            "no report was named: give their paths, for example -e merge_reports_from=slices/ (tasks_from: merge of the role: diagnose_merge_from)"
        ]
        raise MergeError("There is no report to merge:\n" + "\n".join(lines))
    newest_first = sorted(sorted(usable.values(), key=lambda entry: entry.path), key=lambda entry: _moment(entry.generated_at), reverse=True)
    return Inputs(tuple(newest_first), problems)


def _find(path: pathlib.Path, problems: dict[str, str]) -> list[pathlib.Path]:
    try:
        if not path.is_dir():
            return [path]
        own = _report_in(path)
        found = [own] if own else []
        for entry in sorted(path.iterdir()) if not found else ():
            inner = _report_in(entry) if entry.is_dir() else entry if entry.name.endswith((".json", ".json.gz")) else None
            found += [inner] if inner else []
    except OSError as error:
        problems[str(path)] = error.strerror or str(error)
        return []
    if not found:
        problems[str(path)] = "there is no report in this directory"
    return found


def _report_in(directory: pathlib.Path) -> t.Optional[pathlib.Path]:
    return next((directory / name for name in (*_FILES, _LATEST) if (directory / name).is_file()), None)


def _moment(generated_at: str) -> float:
    moment = parse_time(generated_at)
    return moment.timestamp() if moment else 0.0


def _read(path: pathlib.Path) -> Input:
    """Return the report at *path*.

    :raises OSError: it cannot be read.
    :raises ValueError: it is damaged, no report, or one of another schema.
    """
    try:
        report = open_report(path)
    except ValueError as error:
        raise ValueError(f"it is damaged: {error}") from error
    if report.get("schema") != SCHEMA:
        raise ValueError(f"its schema is {str(report.get('schema'))[:40]}, and this version of the collection knows {SCHEMA}")
    if not isinstance(report.get("hosts"), t.Mapping) or parse_time(report.get("generated_at")) is None:
        raise ValueError("it is no report: generated_at or hosts are not as a report's")
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return Input(str(path), digest.hexdigest(), report)


def row_of(host: str, entry: Input) -> Row:
    """Return the row of *host* in *entry*, its texts made harmless; one that is not as a row must be says so as its reason."""
    try:
        row = entry.report["hosts"][host]
        problem = row_problem(row)
    except DamagedRow as error:
        row, problem = {}, str(error)
    if problem:
        return failed_row(f"{entry.path}: the row of this host is damaged: {problem}")
    return {**{key: _harmless(value) for key, value in row.items() if key != "facts"}, "facts": row["facts"]}


def _harmless(value: t.Any) -> t.Any:
    if isinstance(value, str):
        return without_controls(value)
    if isinstance(value, list):
        return [_harmless(element) for element in value]
    if isinstance(value, dict):
        return {key: _harmless(element) for key, element in value.items()}
    return value


def row_problem(row: t.Any) -> str:
    """Return what is wrong with a host's *row* of a report; nothing where it can be shown."""
    if not isinstance(row, dict):
        return "it is no mapping"
    if row.get("status") not in STATUSES:
        return "its status is none"
    if not isinstance(row.get("facts"), dict) or not isinstance(row.get("reason", ""), (str, type(None))):
        return "its facts or its reason are not as a report's"
    if not isinstance(row.get("unknown_rules", []), list) or not isinstance(row.get("counts", {}), dict):
        return "its counts are not as a report's"
    findings = row.get("findings")
    if not isinstance(findings, list):
        return "it has no list of findings"
    return next((problem for problem in map(_finding_problem, findings) if problem), "")


_CHOICES: dict[str, t.Collection[str]] = {"severity": SEVERITIES, "result": RESULTS, "category": CATEGORIES, "confidence": CONFIDENCES}
_TEXT_KEYS = ("id", "rule", "object", "title", "cause", "verify", "since")
_LIST_KEYS = ("fix", "effects", "references")


def _finding_problem(finding: t.Any) -> str:
    if not isinstance(finding, dict):
        return "a finding is no mapping"
    for key, choices in _CHOICES.items():
        value = finding.get(key)
        if not isinstance(value, str) or value not in choices:
            return f"a finding's {key} is none"
    for key in _TEXT_KEYS:
        if not isinstance(finding.get(key), str):
            return f"a finding's {key} is no text"
    for key in (*_LIST_KEYS, "effect_of"):
        value = finding.get(key, [] if key == "effect_of" else None)
        if not isinstance(value, list) or not all(isinstance(element, str) for element in value):
            return f"a finding's {key} is no list of texts"
    if not isinstance(finding.get("evidence"), dict):
        return "a finding's evidence is no mapping"
    silence = finding.get("silence")
    if finding["result"] == "silenced" and not (isinstance(silence, dict) and all(isinstance(silence.get(key), str) for key in ("reason", "expires"))):
        return "a silenced finding does not say why"
    return ""


def findings_of_problems(inputs: Inputs, language: str, now: str) -> list[Finding]:
    """Return a finding of the fleet for each input that could not be used."""
    title, cause, fix = _TEXTS[language]
    return [
        {
            "id": finding_id("", NOT_MERGED, path), "rule": NOT_MERGED, "severity": "info", "result": "unknown", "category": "fleet", "object": harmless(path),
            "title": title.format(path=harmless(path)), "cause": cause, "evidence": {"reason": reason}, "fix": [fix], "verify": "", "effects": [],
            "since": now, "confidence": "high", "references": [], "reason": reason,
        }
        for path, reason in inputs.problems.items()
    ]  # fmt: skip


def told_of(inputs: Inputs, fingerprint: str) -> dict[str, t.Any]:
    """Return what the merged report says of where it comes from. Of a host in several inputs the row of the newest counts."""
    overlaps = [
        {"host": host, "kept": entries[0].path, "left": [entry.path for entry in entries[1:]]} for host, entries in inputs.places().items() if len(entries) > 1
    ]
    problems = [{"path": path, "reason": reason} for path, reason in inputs.problems.items()]
    return {"fingerprint": fingerprint, "inputs": [entry.as_dict() for entry in inputs.usable], "problems": problems, "overlaps": overlaps}
