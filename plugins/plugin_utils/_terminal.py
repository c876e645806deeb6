# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The summary on the terminal: what is wrong, why, and what to type next, on one screen, the worst first."""

from __future__ import annotations

import dataclasses
import typing as t

from ._rules import CATEGORIES, SEVERITIES
from ._text import LANGUAGES, clip, display_width, harmless, human_value, split_commands, without_controls, wrap
from ._what_changed import Change, changes_of, news

Report = dict[str, t.Any]

_COLOURS = {"critical": "1;31", "warning": "1;33", "info": "36", "unknown": "35", "unreachable": "1;35", "ok": "32", "dim": "2", "bold": "1"}

_WORDS: dict[str, dict[str, str]] = {
    "en": {
        "hosts": "hosts", "host": "host", "why": "Why", "seen": "Seen", "so": "So", "news": "News", "because": "because", "therefore": "therefore",
        "do": "Do", "check": "Check", "nothing": "No problem found.",
        "recorded": "Recorded facts, nothing was collected now",
        "more": "and {count} more finding(s): see the report", "new": "new", "resolved": "resolved", "not_seen_again": "not looked at again",
        "unread": "Not checked", "silenced": "Silenced",
        "failed": "Rule failed", "unreachable": "Unreachable", "expired": "Silence expired", "report": "Report", "others": "+{count} more",
        "critical": "CRITICAL", "warning": "WARNING", "info": "INFO", "also_info": "For information", "status_unknown": "Unknown", "colon": ": ",
        "merged": "Merged from {count} reports.", "overlaps": "{count} hosts were in several of them, the newest counts: {names}",
    },
    "zh_TW": {
        "hosts": "台主機", "host": "台主機", "why": "原因", "seen": "證據", "so": "影響", "news": "變更", "because": "因為", "therefore": "所以",
        "do": "處理", "check": "確認", "nothing": "沒有發現問題。",
        "recorded": "先前錄下的資料，這次沒有收集",
        "more": "另有 {count} 項，請見報告", "new": "項新出現", "resolved": "項已解決", "not_seen_again": "項這次沒有再檢查",
        "unread": "未能檢查", "silenced": "已靜音",
        "failed": "規則失敗", "unreachable": "無法連線", "expired": "靜音已過期", "report": "報告", "others": "另 {count} 項",
        "critical": "嚴重", "warning": "警告", "info": "資訊", "also_info": "供參考", "status_unknown": "不明", "colon": "：",
        "merged": "由 {count} 份報告合併而成。", "overlaps": "{count} 台主機出現在多份報告中，以最新的一份為準：{names}",
    },
}  # fmt: skip
_STATUS_WORDS = {
    "en": {"critical": "critical", "warning": "warning", "unknown": "unknown", "unreachable": "unreachable", "ok": "ok"},
    "zh_TW": {"critical": "嚴重", "warning": "警告", "unknown": "不明", "unreachable": "無法連線", "ok": "正常"},
}

_WORST_FIRST = ("critical", "warning", "unknown", "unreachable", "ok")

DEFAULT_WIDTH = 100
DEFAULT_HEIGHT = 40
_MINIMUM_WIDTH = 40
_MAXIMUM_EVIDENCE = 5
_MAXIMUM_ASIDES = 4
_MAXIMUM_CHAIN = 4
_MAXIMUM_REASON = 4
_MAXIMUM_CHANGES = 3


@dataclasses.dataclass(frozen=True)
class _Style:
    width: int
    height: int
    color: bool
    language: str

    @property
    def words(self) -> dict[str, str]:
        return _WORDS[self.language]

    def paint(self, text: str, name: str) -> str:
        return f"\x1b[{_COLOURS[name]}m{text}\x1b[0m" if self.color and name in _COLOURS else text


@dataclasses.dataclass
class _Group:
    """One finding on one or more hosts."""

    finding: dict[str, t.Any]
    hosts: list[str]
    effects: list[dict[str, t.Any]]
    changed: list[Change]


def render_terminal(report: Report, options: t.Optional[t.Mapping[str, t.Any]] = None) -> str:
    """Return the summary of *report* as text.

    *options*: ``width`` (100), ``height`` (40), ``color`` (ANSI colours; off), ``path`` (of the report, for the last line), ``body`` (shown
    in place of the findings). The text holds no control characters but line ends and, with *color*, colours; it is never to be evaluated as a template.
    """
    values = dict(options or {})
    language = report.get("language") if report.get("language") in LANGUAGES else "en"
    width = max(int(values.get("width") or DEFAULT_WIDTH), _MINIMUM_WIDTH)
    style = _Style(width, int(values.get("height") or DEFAULT_HEIGHT), bool(values.get("color")), str(language))
    head = [_headline(report, style), ""]
    if report.get("recorded_facts"):
        head.insert(1, f"{style.words['recorded']}{style.words['colon']}{harmless(str(report['recorded_facts']), 500)}")
    tail = [*_asides(report, style), *_merged(report, style)]
    if values.get("path"):
        tail += ["", f"{style.words['report']}{style.words['colon']}{harmless(str(values['path']), 500)}"]
    if values.get("body"):
        return "\n".join(line.rstrip() for line in [*head, str(values["body"]).rstrip(), *tail]).rstrip() + "\n"
    groups = _groups(report)
    important = [group for group in groups if group.finding["severity"] != "info"]
    body = _body(important, style, style.height - len(head) - len(tail) - 1)
    body += _information([group for group in groups if group.finding["severity"] == "info"], style)
    if not important and not _unwell(report):
        body = [style.paint(style.words["nothing"], "ok"), *body]
    return "\n".join(line.rstrip() for line in [*head, *body, *tail]).rstrip() + "\n"


def _unwell(report: Report) -> bool:
    return any(report["summary"].get(status) for status in ("critical", "warning", "unknown", "unreachable"))


def _headline(report: Report, style: _Style) -> str:
    summary, words = report["summary"], style.words
    changes = report.get("changes") or {}
    moment = harmless(str(report["generated_at"])).replace("T", " ").replace("Z", " UTC")
    hosts = f"{summary['hosts']} {words['host' if summary['hosts'] == 1 else 'hosts']}"
    counts = [(status, f"{summary[status]} {_STATUS_WORDS[style.language][status]}") for status in _WORST_FIRST if summary.get(status)]
    # Without a report before, everything would be new.
    told = {**changes, "not_seen_again": report.get("not_seen_again")} if report.get("compared_with") else {}
    news = [f"{len(told[kind])} {words[kind]}" for kind in ("new", "resolved", "not_seen_again") if told.get(kind)]

    def line(paint: t.Callable[[str, str], str]) -> str:
        shown = ", ".join(paint(text, status) for status, text in counts)
        return f"{paint(moment, 'bold')} · {hosts}{words['colon']}{shown}" + (f" · {', '.join(news)}" if news else "")

    plain = line(lambda text, dummy: text)
    return line(style.paint) if display_width(plain) <= style.width else clip(plain, style.width)


def _groups(report: Report) -> list[_Group]:
    """Return causes by rule and object over all hosts, the worst and most widespread first; the order within a host is kept."""
    groups: dict[tuple[str, str], _Group] = {}
    rank: dict[tuple[str, str], int] = {}
    rows = [("", {"findings": report.get("fleet_findings") or []}), *report["hosts"].items()]
    for name, row in rows:
        findings = [_clean(finding) for finding in row["findings"]]
        by_id = {finding["id"]: finding for finding in findings}
        roots = [finding for finding in findings if finding["result"] == "fire" and not finding.get("effect_of")]
        for position, finding in enumerate(roots):
            key = (finding["rule"], finding["object"])
            group = groups.setdefault(
                key,
                _Group(
                    finding,
                    [],
                    [by_id[effect] for effect in finding["effects"] if effect in by_id],
                    changes_of(row),
                ),
            )
            group.hosts.append(name)
            rank[key] = min(rank.get(key, position), position)

    def order(key: tuple[str, str]) -> tuple[int, int, int]:
        group = groups[key]
        worst = max(SEVERITIES.index(finding["severity"]) for finding in (group.finding, *group.effects))
        return (-worst, rank[key], -len(group.hosts))

    return [groups[key] for key in sorted(groups, key=order)]


def _clean(finding: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return *finding* with texts that cannot do anything to a terminal, wherever it was read from."""
    texts = {key: without_controls(str(finding[key])) for key in ("rule", "object", "title", "cause", "verify")}
    evidence = {harmless(str(name), 60): value for name, value in finding["evidence"].items()}
    return {**finding, **texts, "evidence": evidence, "fix": [without_controls(str(step)) for step in finding["fix"]]}


def _body(groups: t.Sequence[_Group], style: _Style, room: int) -> list[str]:
    """Return the findings in at most about *room* lines: whole while they fit, then one line each, then their number."""
    lines: list[str] = []
    for position, group in enumerate(groups):
        left = len(groups) - position - 1
        block = _block(group, style, first=position == 0)
        if position and len(lines) + len(block) + min(left, 3) > room:
            block = [_title(group, style)]
            if len(lines) + 1 > room - (1 if left else 0):
                lines.append(style.paint(style.words["more"].format(count=left + 1), "dim"))
                break
        lines.extend(block)
    if lines and lines[-1]:
        lines.append("")
    return lines


def _where(group: _Group, style: _Style) -> str:
    hosts = [host for host in group.hosts if host]
    shown = ", ".join(harmless(host, 60) for host in hosts[:3])
    return shown + (f" (+{len(hosts) - 3})" if len(hosts) > 3 else "")


def _title(group: _Group, style: _Style) -> str:
    finding = group.finding
    label = style.words[finding["severity"]]
    where = _where(group, style)
    text = f"{where}  {finding['title']}" if where else finding["title"]
    rule = f"[{finding['rule']}]"
    space = style.width - display_width(label) - 2
    if display_width(text) + len(rule) + 2 <= space:
        text = f"{text}  {rule}"
    return f"{style.paint(label, finding['severity'])}  {clip(text, space)}"


def _whole_title(group: _Group, style: _Style) -> list[str]:
    """Return the title on as many lines as it takes: what it ends with is often what it is about."""
    finding = group.finding
    label = style.words[finding["severity"]]
    where = _where(group, style)
    text = f"{where}  {finding['title']}  [{finding['rule']}]" if where else f"{finding['title']}  [{finding['rule']}]"
    indent = " " * (display_width(label) + 2)
    first, *more = wrap(text, style.width - len(indent))
    return [f"{style.paint(label, finding['severity'])}  {first}", *(indent + line for line in more)]


def _block(group: _Group, style: _Style, first: bool = False) -> list[str]:
    finding, words = group.finding, style.words
    lines = _whole_title(group, style)
    if finding["cause"]:
        lines += _labelled(words["why"], finding["cause"], style)
    evidence = _evidence(finding, style)
    if evidence:
        lines += _labelled(words["seen"], " · ".join(evidence), style, 3)
    # Of the whole stack beside the first cause, and only one's own beside the others.
    changed = news(group.changed, finding["object"], first, style.language, _MAXIMUM_CHANGES)
    if changed:
        lines += _labelled(words["news"], "; ".join(changed), style, 3)
    if group.effects and first:
        lines += _chain(group, style)
    elif group.effects:
        shown = [effect["title"] for effect in group.effects[:3]]
        if len(group.effects) > 3:
            shown.append(words["others"].format(count=len(group.effects) - 3))
        lines += _labelled(words["so"], "; ".join(shown), style, 3)
    for number, step in enumerate(finding["fix"]):
        lines += _step(words["do"] if number == 0 else "", step, style)
    if finding["verify"]:
        lines += _step(words["check"], finding["verify"], style)
    return [*lines, ""]


def _chain(group: _Group, style: _Style) -> list[str]:
    """Return the way from the cause to what an operator saw: what broke first comes first, each with a line of its evidence."""
    words = style.words
    lines = _labelled(words["so"], f"{words['because']} {_with_evidence(group.finding, style)}", style, 2)
    effects = sorted(group.effects, key=lambda effect: (str(effect.get("since") or ""), CATEGORIES.index(effect["category"])))
    for effect in effects[:_MAXIMUM_CHAIN]:
        lines += _labelled("", f"→ {words['therefore']} {_with_evidence(effect, style)}", style, 2)
    if len(effects) > _MAXIMUM_CHAIN:
        lines += _labelled("", f"→ {words['others'].format(count=len(effects) - _MAXIMUM_CHAIN)}", style)
    return lines


def _with_evidence(finding: t.Mapping[str, t.Any], style: _Style) -> str:
    evidence = _evidence(finding, style)
    return f"{finding['title']} ({evidence[0]})" if evidence else str(finding["title"])


def _evidence(finding: t.Mapping[str, t.Any], style: _Style) -> list[str]:
    """Return the first values of the evidence that are not already in the title, each once."""
    shown: dict[str, str] = {}
    for name, value in finding["evidence"].items():
        text = human_value(name, value, style.language)
        if text not in shown and (len(text) < 4 or text not in finding["title"]):
            shown[text] = clip(f"{name} {text}", style.width)
    return list(shown.values())[:_MAXIMUM_EVIDENCE]


def _label(text: str, style: _Style) -> str:
    return "  " + style.paint(text, "dim") + " " * max(1, 7 - display_width(text))


def _labelled(label: str, text: str, style: _Style, maximum: int = 4) -> list[str]:
    lines = wrap(text, style.width - 9)
    if len(lines) > maximum:
        lines = [*lines[: maximum - 1], clip(lines[maximum - 1] + "…", style.width - 9)]
    return [_label(label if number == 0 else "", style) + line for number, line in enumerate(lines)]


def _step(label: str, text: str, style: _Style) -> list[str]:
    """Return one step: prose wrapped, commands each on a line of their own and never broken, so that they can be copied."""
    lines: list[str] = []
    for kind, part in split_commands(text):
        if kind == "command":
            lines.append(_label("" if lines else label, style) + style.paint(f"$ {part.strip()}", "bold"))
        elif part.strip(" .。;；,，"):
            lines += _labelled("" if lines else label, part.strip().lstrip(".。;；,，").strip(), style)
    return lines


def _information(groups: t.Sequence[_Group], style: _Style) -> list[str]:
    if not groups:
        return []
    titles = [f"{_where(group, style)}: {group.finding['title']}" for group in groups[:2]]
    if len(groups) > 2:
        titles.append(style.words["others"].format(count=len(groups) - 2))
    return [clip(f"{style.words['also_info']}{style.words['colon']}{'; '.join(titles)}", style.width)]


def _asides(report: Report, style: _Style) -> list[str]:
    """Return what is no finding but must not be overlooked: hosts that did not answer, what could not be read, silences."""
    words = style.words
    lines: list[str] = []
    colon = words["colon"]
    for status, label in (("unreachable", "unreachable"), ("unknown", "status_unknown")):
        named = [(name, row["reason"]) for name, row in report["hosts"].items() if row["status"] == status and row.get("reason")]
        lines += _told([f"{words[label]}{colon}{harmless(name, 60)} – {harmless(str(reason))}" for name, reason in named], style, status)
    unread = _by_title(report, "unknown", words["unread"] + colon, lambda finding: f"{_few(finding['object'])} – {finding.get('reason') or ''}")
    failed = _by_title(report, "error", words["failed"] + colon, lambda finding: f"{finding['rule']} – {finding.get('reason') or ''}")
    lines += _told(unread, style, "unknown") + _listed(failed, style, "unknown")
    silenced = _by_title(report, "silenced", words["silenced"] + colon, lambda finding: f"{finding['title']} – {finding['silence']['reason']}")
    lines += _listed(silenced, style, "dim")
    expired = [silence for silence in report.get("silences") or () if silence["expired"]]
    lines += _listed([f"{words['expired']}{words['colon']}{harmless(s['rule'])} {harmless(s['object'])} ({s['expires']})" for s in expired], style, "warning")
    return lines


def _by_title(report: Report, result: str, label: str, text: t.Callable[[dict[str, t.Any]], str]) -> list[str]:
    hosts: dict[str, list[str]] = {}
    rows = [("", {"findings": report.get("fleet_findings") or []}), *report["hosts"].items()]
    for name, row in rows:
        for finding in row["findings"]:
            if finding["result"] == result and not finding.get("effect_of"):
                hosts.setdefault(harmless(text(finding)), []).append(harmless(name, 60))
    return [f"{label}{_names(names)}{shown}" for shown, names in hosts.items()]


def _few(collectors: str) -> str:
    """Return a list of collectors short enough for what comes after it to be read."""
    first, *more = collectors.split(", ")
    return collectors if len(more) < 3 else f"{first}, {more[0]} (+{len(more) - 1})"


def _names(names: t.Sequence[str]) -> str:
    if names == [""]:
        return ""
    return f"{', '.join(names[:3])}{f' (+{len(names) - 3})' if len(names) > 3 else ''}: "


def _merged(report: Report, style: _Style) -> list[str]:
    """Return where a merged report comes from, and which hosts were in several of its inputs."""
    merged = report.get("merged")
    if not merged:
        return []
    words = style.words
    lines = [words["merged"].format(count=len(merged["inputs"]))]
    if merged["overlaps"]:
        names = [harmless(overlap["host"], 60) for overlap in merged["overlaps"]]
        lines.append(words["overlaps"].format(count=len(names), names=_names(names)[:-2]))
    return [style.paint(clip(line, style.width), "dim") for line in lines]


def _told(texts: t.Sequence[str], style: _Style, colour: str) -> list[str]:
    """Return each of *texts* on as many lines as it takes: why a host gave nothing ends with what to do about it."""
    lines = []
    for text in texts[:_MAXIMUM_ASIDES]:
        first, *more = wrap(text, style.width - 2)
        if len(more) >= _MAXIMUM_REASON:
            more = [*more[: _MAXIMUM_REASON - 1], clip(more[_MAXIMUM_REASON - 1] + "…", style.width - 2)]
        lines += [style.paint(first, colour), *(f"  {line}" for line in more)]
    if len(texts) > _MAXIMUM_ASIDES:
        lines.append(style.paint(style.words["others"].format(count=len(texts) - _MAXIMUM_ASIDES), "dim"))
    return lines


def _listed(lines: t.Sequence[str], style: _Style, colour: str) -> list[str]:
    shown = [style.paint(clip(line, style.width), colour) for line in lines[:_MAXIMUM_ASIDES]]
    if len(lines) > _MAXIMUM_ASIDES:
        shown.append(style.paint(style.words["others"].format(count=len(lines) - _MAXIMUM_ASIDES), "dim"))
    return shown
