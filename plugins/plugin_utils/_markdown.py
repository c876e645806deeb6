# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The report as Markdown, for a ticket or a chat. Whatever was collected is escaped: it cannot become markup."""

from __future__ import annotations

import re
import typing as t

from ._text import LANGUAGES, human_value, split_commands, without_controls
from ._what_changed import changes_of, news

Report = dict[str, t.Any]

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&]|^[#+-]|^\d+(?=[.)]))")

_WORDS: dict[str, dict[str, str]] = {
    "en": {
        "recorded": "Recorded facts, nothing was collected now",
        "title": "Diagnosis", "hosts": "Hosts", "host": "Host", "status": "Status", "first": "First finding", "why": "Why", "seen": "Evidence",
        "explains": "Explains", "do": "What to do", "verify": "Then check", "unread": "Not checked", "failed": "Rules that failed", "silenced": "Silenced",
        "fleet": "Across hosts", "new": "new", "ongoing": "ongoing", "resolved": "Resolved since the last report",
        "not_seen_again": "Open before, and not looked at again", "nothing": "Nothing found.",
        "value": "Value", "name": "Name", "expired": "Expired silences", "until": "until",
        "news": "Changed since the last report", "merged": "Merged from", "kept": "In several reports, the newest counts",
    },
    "zh_TW": {
        "recorded": "先前錄下的資料，這次沒有收集",
        "title": "診斷報告", "hosts": "主機", "host": "主機", "status": "狀態", "first": "首要問題", "why": "原因", "seen": "證據",
        "explains": "連帶影響", "do": "處理方式", "verify": "修復後確認", "unread": "未能檢查", "failed": "評估失敗的規則", "silenced": "已靜音",
        "fleet": "跨主機", "new": "新出現", "ongoing": "持續中", "resolved": "上次報告之後已解決",
        "not_seen_again": "先前的問題，這次沒有再檢查", "nothing": "沒有發現問題。",
        "value": "值", "name": "名稱", "expired": "已過期的靜音", "until": "到期",
        "news": "上次報告之後的變更", "merged": "合併自", "kept": "出現在多份報告中，以最新的一份為準",
    },
}  # fmt: skip

_MAXIMUM_CHANGES = 5


def escape(text: t.Any) -> str:
    """Return *text* so that Markdown shows it as it is."""
    return _SPECIAL.sub(r"\\\1", _one_line(text))


def _one_line(text: t.Any) -> str:
    """Return *text* without what would begin a new line, and with it a new block, and without other control characters."""
    return " ".join(without_controls(str(text)).splitlines()).replace("\t", " ")


def code(text: t.Any) -> str:
    """Return *text* as inline code, whatever backticks it holds."""
    shown = _one_line(text)
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def with_commands(text: str) -> str:
    """Return a step of a fix: its commands as code, the rest escaped."""
    return "".join(code(part.strip()) if kind == "command" else escape(part) for kind, part in split_commands(text))


def render_markdown(report: Report, options: t.Any = None) -> str:
    """Return *report* as Markdown; its language is the report's own."""
    dummy = options
    language = report.get("language") if report.get("language") in LANGUAGES else "en"
    words = _WORDS[str(language)]
    summary = report["summary"]
    counts = " · ".join(f"{summary[status]} {status}" for status in ("critical", "warning", "unknown", "unreachable", "ok") if summary.get(status))
    lines = [f"# {words['title']} {escape(report['generated_at'])}", "", f"{summary['hosts']} {words['hosts'].lower()}: {counts}", ""]
    if report.get("recorded_facts"):
        lines += [f"**{words['recorded']}:** {code(str(report['recorded_facts']))}", ""]
    lines += _host_table(report, words)
    titles = {finding["id"]: finding for row in report["hosts"].values() for finding in row["findings"]}
    if report.get("fleet_findings"):
        lines += [f"## {words['fleet']}", ""]
        lines += _findings({"findings": report["fleet_findings"]}, titles, words, str(language))
    for name, row in _worst_first(report):
        if row["findings"] or row.get("reason"):
            lines += _host(name, row, titles, words, str(language))
    lines += _closing(report, words)
    return "\n".join(lines).rstrip() + "\n"


def _worst_first(report: Report) -> list[tuple[str, dict[str, t.Any]]]:
    order = ("critical", "unreachable", "warning", "unknown", "ok")
    return sorted(report["hosts"].items(), key=lambda pair: (order.index(pair[1]["status"]), pair[0]))


def _roots(row: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    return [finding for finding in row["findings"] if finding["result"] == "fire" and not finding.get("effect_of")]


def _host_table(report: Report, words: t.Mapping[str, str]) -> list[str]:
    lines = [f"| {words['host']} | {words['status']} | {words['first']} |", "|---|---|---|"]
    for name, row in _worst_first(report):
        roots = _roots(row)
        first = row.get("reason") or (roots[0]["title"] if roots else "")
        lines.append(f"| {escape(name)} | {row['status']} | {escape(first)} |")
    return [*lines, ""]


def _host(name: str, row: t.Mapping[str, t.Any], titles: t.Mapping[str, t.Any], words: t.Mapping[str, str], language: str) -> list[str]:
    lines = [f"## {escape(name)} – {row['status']}", ""]
    if row.get("reason"):
        lines += [escape(row["reason"]), ""]
    return lines + _findings(row, titles, words, language)


def _findings(row: t.Mapping[str, t.Any], titles: t.Mapping[str, t.Any], words: t.Mapping[str, str], language: str) -> list[str]:
    lines: list[str] = []
    changed = changes_of(row)
    for number, finding in enumerate(_roots(row)):
        # Of the whole stack beside the first cause, and only one's own beside the others.
        lines += _finding(finding, titles, words, language, news(changed, finding["object"], number == 0, language, _MAXIMUM_CHANGES))
    for result, word in (("silenced", "silenced"), ("unknown", "unread"), ("error", "failed")):
        listed = [finding for finding in row["findings"] if finding["result"] == result and not finding.get("effect_of")]
        if listed:
            lines += [f"**{words[word]}**", "", *(f"- {_aside(finding, words)}" for finding in listed), ""]
    return lines


def _aside(finding: t.Mapping[str, t.Any], words: t.Mapping[str, str]) -> str:
    text = escape(finding["title"])
    silence = finding.get("silence")
    if silence:
        return f"{text} – {escape(silence['reason'])} ({words['until']} {escape(silence['expires'])})"
    hints = " ".join(with_commands(step) for step in finding["fix"])
    return " – ".join(part for part in (text, escape(finding.get("reason") or ""), hints) if part)


def _finding(
    finding: t.Mapping[str, t.Any], titles: t.Mapping[str, t.Any], words: t.Mapping[str, str], language: str, changed: t.Sequence[str] = ()
) -> list[str]:
    lines = [f"### {finding['severity'].upper()}: {escape(finding['title'])}", "", f"{code(finding['rule'])} · {escape(finding['object'])}", ""]
    if finding["cause"]:
        lines += [f"**{words['why']}:** {escape(finding['cause'])}", ""]
    if finding["evidence"]:
        lines += [f"| {words['seen']} | {words['value']} |", "|---|---|"]
        lines += [f"| {escape(name)} | {escape(human_value(name, value, language))} |" for name, value in finding["evidence"].items()]
        lines.append("")
    if changed:
        lines += [f"**{words['news']}:**", "", *(f"- {escape(line)}" for line in changed), ""]
    effects = [titles[effect] for effect in finding["effects"] if effect in titles]
    if effects:
        lines += [f"**{words['explains']}:**", "", *(f"- {escape(effect['title'])} ({code(effect['rule'])})" for effect in effects), ""]
    if finding["fix"]:
        lines += [f"**{words['do']}:**", "", *(f"{number}. {with_commands(step)}" for number, step in enumerate(finding["fix"], 1)), ""]
    if finding["verify"]:
        lines += [f"**{words['verify']}:** {with_commands(finding['verify'])}", ""]
    return lines


def _closing(report: Report, words: t.Mapping[str, str]) -> list[str]:
    lines = []
    for name, entries in (("resolved", report["changes"]["resolved"]), ("not_seen_again", report.get("not_seen_again"))):
        if entries:
            lines += [f"## {words[name]}", "", *(f"- {escape(entry['host'])}: {escape(entry['title'])}" for entry in entries), ""]
    expired = [silence for silence in report.get("silences") or () if silence["expired"]]
    if expired:
        lines += [f"## {words['expired']}", ""]
        lines += [f"- {code(silence['rule'])} {escape(silence['object'])}: {escape(silence['reason'])} ({escape(silence['expires'])})" for silence in expired]
        lines.append("")
    return [*lines, *_merged(report, words)]


def _merged(report: Report, words: t.Mapping[str, str]) -> list[str]:
    merged = report.get("merged")
    if not merged:
        return []
    lines = [f"## {words['merged']}", "", *(f"- {code(entry['path'])} ({escape(entry['generated_at'])}, {entry['hosts']})" for entry in merged["inputs"]), ""]
    if merged["overlaps"]:
        lines += [f"**{words['kept']}:**", "", *(f"- {escape(overlap['host'])}: {code(overlap['kept'])}" for overlap in merged["overlaps"]), ""]
    return lines
