# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A security report of one host as text for the terminal and as Markdown. What was collected cannot become markup, nor steer a terminal."""

from __future__ import annotations

import typing as t

from ._markdown import code, escape, with_commands
from ._security_findings import SECTIONS
from ._text import clip, display_width, harmless, split_commands, wrap

Report = t.Mapping[str, t.Any]

_COLOURS = {"critical": "1;31", "warning": "1;33", "info": "36", "unknown": "35", "unreachable": "1;35", "ok": "32", "dim": "2", "bold": "1"}
_TITLES = {"images": "Images", "containers": "Containers", "logs": "Logs", "exposure": "Exposure", "endpoints": "Endpoints"}
_SHOWN_FINDINGS = 12
_SHOWN_CLIENTS = 10
_SHOWN_UNKNOWN = 8
_STATUSES = ("401", "403", "404", "5xx")
_COLUMNS = ("Client", "Requests", *_STATUSES, "Failed writes", "Endpoints")


def render_text(reports: t.Sequence[Report], color: bool = False, width: int = 100, path: str = "") -> str:
    """Return what an operator sees of the hosts of a run, the worst first."""
    order = ("critical", "warning", "unknown", "unreachable", "ok")
    shown = sorted(reports, key=lambda report: (order.index(report["status"]), report["host"]))
    lines = [line for report in shown for line in [*_Host(report, color, width).lines(), ""]]
    if path:
        lines.append(f"Report: {harmless(path, 500)}")
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"


class _Host:
    """One host on the terminal."""

    def __init__(self, report: Report, color: bool, width: int) -> None:
        self.report = report
        self.color = color
        self.width = width

    def paint(self, text: str, name: str) -> str:
        return f"\x1b[{_COLOURS[name]}m{text}\x1b[0m" if self.color else text

    def lines(self) -> list[str]:
        report = self.report
        status = self.paint(report["status"].upper(), report["status"])
        head = f"{self.paint(harmless(report['host'], 60), 'bold')}: {status} – {counts_of(report)}"
        if report.get("reason"):
            return [head, *self._wrapped(harmless(str(report["reason"]), 500), 2)]
        lines = [head]
        for section in SECTIONS:
            found = [one for one in report["findings"] if one["section"] == section and one["severity"] != "info"]
            body = self._findings(found)
            if section == "logs":
                body += self._clients()
            if body:
                lines += [f"  {self.paint(_TITLES[section], 'bold')}", *body]
        return [*lines, *self._asides()]

    def _findings(self, found: t.Sequence[Report]) -> list[str]:
        lines: list[str] = []
        told: set[str] = set()
        for one in found[:_SHOWN_FINDINGS]:
            label = one["severity"].upper()
            first, *more = wrap(f"{harmless(one['title'], 400)}  [{one['rule']}]", self.width - 14)
            lines += [f"    {self.paint(label, one['severity'])}{' ' * (10 - len(label))}{first}", *(" " * 14 + line for line in more)]
            # What is the same for several services is said once.
            if one["reason"] not in told:
                lines += self._labelled("Why", one["reason"])
            if one["section"] in ("images", "logs") and one["evidence"]:
                lines += self._labelled("Seen", one["evidence"])
            lines += [line for step in one["fix"] if step not in told for line in self._step(step)]
            # Of the next service they differ in its name alone; the report has them.
            if one["compose"] and (one["rule"] not in told or one["severity"] == "critical"):
                # Without its first line, which is the same for all of them.
                lines += [" " * 14 + self.paint("Compose:", "dim"), *(" " * 16 + harmless_code(line) for line in one["compose"].splitlines()[1:])]
            told.update((one["rule"], one["reason"], *one["fix"]))
        if len(found) > _SHOWN_FINDINGS:
            lines.append(f"    and {len(found) - _SHOWN_FINDINGS} more: see the report")
        return lines

    def _labelled(self, label: str, text: str) -> list[str]:
        lines = wrap(harmless(str(text), 1000), self.width - 20)
        if len(lines) > 3:
            lines = [*lines[:2], clip(lines[2] + "…", self.width - 20)]
        return [" " * 14 + self.paint(label.ljust(6), "dim") + lines[0], *(" " * 20 + line for line in lines[1:])]

    def _step(self, step: str) -> list[str]:
        lines: list[str] = []
        for kind, part in split_commands(step):
            if kind == "command":
                # It stays whole, so that it can be copied.
                lines.append(" " * 20 + self.paint(f"$ {harmless(part, 1000)}", "bold"))
            elif part.strip(" .,;"):
                lines += self._labelled("Fix" if not lines else "", part.strip().lstrip(".,; "))
        return lines

    def _clients(self) -> list[str]:
        rows = [client_cells(client) for client in self.report["clients"][:_SHOWN_CLIENTS]]
        if not rows:
            return []
        widths = [max(display_width(row[column]) for row in [_COLUMNS, *rows]) for column in range(len(_COLUMNS) - 1)]
        table = []
        for row in [_COLUMNS, *rows]:
            cells = [_pad(row[0], widths[0]), *(" " * (width - display_width(cell)) + cell for cell, width in zip(row[1:-1], widths[1:]))]
            table.append(clip("    " + "  ".join([*cells, row[-1]]), self.width))
        more = len(self.report["clients"]) - len(rows)
        return [self.paint(table[0], "dim"), *table[1:], *([f"    and {more} more clients: see the report"] if more > 0 else [])]

    def _asides(self) -> list[str]:
        lines: list[str] = []
        infos = [one for one in self.report["findings"] if one["severity"] == "info"]
        if infos:
            rules: dict[str, int] = {}
            for one in infos:
                rules[one["rule"]] = rules.get(one["rule"], 0) + 1
            lines += self._wrapped("For information: " + ", ".join(f"{rule} ({count})" for rule, count in rules.items()), 2)
        for one in self.report["unknown"][:_SHOWN_UNKNOWN]:
            text = f"Not checked: {harmless(one['object'])} – {harmless(one['reason'], 400)}. {harmless(one['hint'], 400)}"
            lines += [self.paint(line, "unknown") for line in self._wrapped(text, 2)]
        if len(self.report["unknown"]) > _SHOWN_UNKNOWN:
            lines.append(f"  and {len(self.report['unknown']) - _SHOWN_UNKNOWN} more that could not be checked: see the report")
        if self.report["ignored"]:
            lines.append(f"  Ignored with a reason: {len(self.report['ignored'])}")
        for entry in self.report["ignore_expired"]:
            text = f"Ignored until {entry['expires']}, counts again: {harmless(entry['id'])} {harmless(entry['object'])}"
            lines += [self.paint(line, "warning") for line in self._wrapped(text, 2)]
        return lines

    def _wrapped(self, text: str, indent: int) -> list[str]:
        first, *more = wrap(text.rstrip(" ."), self.width - indent - 2)
        return [" " * indent + first, *(" " * (indent + 2) + line for line in more)]


def harmless_code(line: str) -> str:
    """Return a line of a file as it may be shown; its indentation stays."""
    return " " * (len(line) - len(line.lstrip())) + harmless(line, 300)


def _pad(text: str, width: int) -> str:
    return text + " " * (width - display_width(text))


def counts_of(report: Report) -> str:
    """Return how many findings of each kind there are."""
    summary = report.get("summary") or {}
    words = {"critical": "critical", "warning": "warnings", "info": "for information", "unknown": "not checked", "ignored": "ignored"}
    return ", ".join(f"{summary[name]} {word}" for name, word in words.items() if summary.get(name)) or "nothing found"


def client_cells(client: Report) -> tuple[str, ...]:
    """Return the row of one client in the table: how often it was refused, and by which endpoints."""
    statuses = client["statuses"]
    counts = [str(sum(count for status, count in statuses.items() if status == name or (name == "5xx" and status.startswith("5")))) for name in _STATUSES]
    endpoints = ", ".join(f"{one['endpoint']} {_statuses(one['statuses'])}" for one in client["endpoints"][:3])
    return (harmless(client["address"], 45), str(client["requests"]), *counts, str(client["failed_writes"]), harmless(endpoints, 300))


def _statuses(statuses: t.Mapping[str, int]) -> str:
    return " ".join(f"{count}×{status}" for status, count in statuses.items())


# -- Markdown ----------------------------------------------------------------------------------------------------------


def render_security_markdown(report: Report) -> str:
    """Return the report of one host as Markdown."""
    lines = [f"# Security: {escape(report['host'])} – {report['status']}", "", f"{escape(report['generated_at'])} · {counts_of(report)}", ""]
    if report.get("reason"):
        return "\n".join([*lines, escape(harmless(str(report["reason"]), 500)), ""])
    for section in SECTIONS:
        body = [line for one in report["findings"] if one["section"] == section for line in _markdown_finding(one)]
        body += {"images": _markdown_images, "logs": _markdown_clients}.get(section, lambda dummy: [])(report)
        if body:
            lines += [f"## {_TITLES[section]}", "", *body]
    if report["unknown"]:
        lines += ["## Not checked", ""]
        lines += [
            f"- {escape(harmless(one['object']))}: {escape(harmless(one['reason'], 500))}. {with_commands(harmless(one['hint'], 500))}"
            for one in report["unknown"]
        ]
        lines.append("")
    if report["ignored"] or report["ignore_expired"]:
        lines += ["## Ignored", ""]
        lines += [f"- {code(one['id'])} {escape(one.get('object', ''))}: {escape(one['reason'])} (until {one['expires']})" for one in report["ignored"]]
        lines += [
            f"- {code(one['id'])} {escape(one['object'])} counts again since {one['expires']}: {escape(one['reason'])}" for one in report["ignore_expired"]
        ]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _markdown_finding(one: Report) -> list[str]:
    lines = [f"### {one['severity'].upper()}: {escape(harmless(one['title'], 500))}", "", f"{code(one['rule'])} · {escape(one['object'])}", ""]
    lines += [f"**Why:** {escape(harmless(one['reason'], 500))}", ""]
    if one["evidence"]:
        lines += [f"**Seen:** {escape(harmless(one['evidence'], 1000))}", ""]
    if one["fix"]:
        lines += [*(f"{number}. {with_commands(step)}" for number, step in enumerate(one["fix"], 1)), ""]
    if one["compose"]:
        lines += ["```yaml", *(harmless_code(line).replace("```", "'''") for line in one["compose"].splitlines()), "```", ""]
    return lines


def _markdown_images(report: Report) -> list[str]:
    if not report["images"]:
        return []
    lines = ["| Image | Status | Critical | High | Medium | Low | Pending security updates | Age in days |", "|---|---|---|---|---|---|---|---|"]
    for image in report["images"]:
        counts, updates = image["counts"], image["updates"]["security"]
        cells = [str(counts[severity]) if counts else "unknown" for severity in ("critical", "high", "medium", "low")]
        age = "unknown" if image["age_days"] is None else f"{image['age_days']:.0f}"
        lines.append(f"| {' | '.join([escape(harmless(image['image'])), image['status'], *cells, 'unknown' if updates is None else str(updates), age])} |")
    lines.append("")
    for image in report["images"]:
        if image["vulnerabilities"]:
            lines += [
                "",
                f"**{escape(harmless(image['image']))}**",
                "",
                "| Severity | Vulnerability | Package | Installed | Fixed | Layer |",
                "|---|---|---|---|---|---|",
            ]
            for one in image["vulnerabilities"]:
                cells = [one["severity"], one["id"], one["package"], one["installed"], one["fixed"] or "–", one["layer"][:19] or "–"]
                lines.append(f"| {' | '.join(escape(harmless(str(cell))) for cell in cells)} |")
            lines.append("")
    return lines


def _markdown_clients(report: Report) -> list[str]:
    if not report["clients"]:
        return []
    lines = [f"| {' | '.join(_COLUMNS)} |", "|" + "---|" * len(_COLUMNS)]
    lines += [f"| {' | '.join(escape(cell) for cell in client_cells(client))} |" for client in report["clients"]]
    lines += ["", "| Endpoint | Stack | Requests | Clients | Answers |", "|---|---|---|---|---|"]
    for row in report["endpoint_map"]:
        cells = [row["endpoint"], row["stack"], str(row["requests"]), str(row["clients"]), _statuses(row["statuses"])]
        lines.append(f"| {' | '.join(escape(harmless(cell)) for cell in cells)} |")
    return [*lines, ""]
