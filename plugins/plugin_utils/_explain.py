# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What a rule means, as text for the terminal and as Markdown for the documentation. Pure."""

from __future__ import annotations

import difflib
import re
import typing as t

from ._rules import CATEGORIES, Rule, RuleSet
from ._text import harmless

_WORDS: dict[str, dict[str, str]] = {
    "en": {
        "severity": "Severity", "category": "Category", "means": "Means", "over": "Looks at", "when": "Fires when", "requires": "Needs to know",
        "thresholds": "Thresholds", "evidence": "Shows", "do": "Do", "check": "Check", "explains": "Explains", "tests": "Its tests",
        "references": "See", "file": "File", "colon": ": ", "unknown": "There is no rule {rule}.", "near": "Did you mean {near}?",
        "list": "All rules: https://github.com/stackops/runbook/blob/main/docs/rules.md",
        "same-object": "the same object", "same-service": "the same service", "same-stack": "the same stack", "dependants": "services that need it",
        "same-host": "the same host", "from_facts": "as severe as {text}", "info": "info", "warning": "warning", "critical": "critical", "none": "none",
        "rules": "Rules", "rule": "rule", "title": "finding",
    },
    "zh_TW": {
        "severity": "嚴重程度", "category": "類別", "means": "意義", "over": "檢查對象", "when": "成立條件", "requires": "需要的資料",
        "thresholds": "門檻", "evidence": "證據", "do": "處理", "check": "確認", "explains": "可解釋", "tests": "規則的測試",
        "references": "參考", "file": "檔案", "colon": "：", "unknown": "沒有規則 {rule}。", "near": "是不是要找 {near}？",
        "list": "所有規則：https://github.com/stackops/runbook/blob/main/docs/rules.zh-TW.md",
        "same-object": "同一對象", "same-service": "同一服務", "same-stack": "同一套 stack", "dependants": "需要它的服務",
        "same-host": "同一主機", "from_facts": "取自 {text}", "info": "資訊", "warning": "警告", "critical": "嚴重", "none": "無",
        "rules": "規則", "rule": "規則", "title": "發現",
    },
}  # fmt: skip


class UnknownRule(ValueError):
    """There is no rule of that name; the message has the nearest ones."""


def find_rule(ruleset: RuleSet, rule_id: str, language: str) -> Rule:
    """Return the rule of the id.

    :raises UnknownRule: there is none.
    """
    rule = ruleset.rules.get(rule_id)
    if rule is None:
        words = _WORDS[language]
        asked = re.sub(r"[\s_]+", "-", rule_id.strip().lower())
        near = _near(asked, list(ruleset.rules))
        told = [words["unknown"].format(rule=harmless(rule_id, 100)), *([words["near"].format(near=", ".join(near))] if near else []), words["list"]]
        raise UnknownRule(" ".join(told))
    return rule


def _near(asked: str, names: t.Sequence[str]) -> list[str]:
    """Return up to three names: those that hold what was *asked* for, those that are written nearly so, those with most of its words."""
    words = [word for word in asked.split("-") if len(word) > 2]
    shared = {name: sum(word in name for word in words) for name in names}
    holding = [name for name in names if asked and asked in name]
    alike = sorted((name for name in names if shared[name]), key=lambda name: -shared[name])
    return list(dict.fromkeys([*holding, *difflib.get_close_matches(asked, names, 3), *alike]))[:3]


def explain_rule(rule: Rule, language: str) -> str:
    """Return what *rule* means, what it looks at, its thresholds and its tests, for the terminal."""
    words = _WORDS[language]
    lines = [f"{rule.id}{words['colon']}{rule.title[language].source}", ""]

    def add(word: str, values: t.Sequence[str]) -> None:
        if len(values) == 1:
            lines.append(f"  {words[word]}{words['colon']}{values[0]}")
        elif values:
            lines.extend([f"  {words[word]}{words['colon']}", *(f"    {value}" for value in values)])

    add("severity", [_severity(rule, language)])
    add("category", [rule.category])
    add("means", [rule.cause[language].source])
    add("over", [_flat(expression.text) for expression in rule.for_each])
    add("when", [_flat(rule.when.text)])
    add("requires", [", ".join(_flat(expression.text) for expression in rule.requires)] if rule.requires else [])
    add("thresholds", _thresholds(rule))
    add("evidence", [", ".join(rule.evidence)] if rule.evidence else [])
    add("do", [f"{number}. {step.source}" for number, step in enumerate(rule.fix[language], 1)])
    add("check", [rule.verify[language].source] if language in rule.verify else [])
    add("explains", [f"{words[place]}{words['colon']}{', '.join(names)}" for place, names in _explained(rule).items()])
    add("tests", [f"{test.name} → {test.expect}" for test in rule.tests])
    add("references", rule.references)
    add("file", [f"{rule.path}:{rule.line}"])
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _flat(text: str) -> str:
    return " ".join(text.split())


def _severity(rule: Rule, language: str) -> str:
    words = _WORDS[language]
    if rule.severity_from is None:
        return words[rule.severity]
    return f"{words[rule.severity]} ({words['from_facts'].format(text=_flat(rule.severity_from.text))})"


def _thresholds(rule: Rule) -> list[str]:
    return [f'{name} = {value:g}    -e \'{{"diagnose_thresholds": {{"{rule.id}": {{"{name}": {value:g}}}}}}}\'' for name, value in rule.thresholds.items()]


def _explained(rule: Rule) -> dict[str, list[str]]:
    """Return the rules whose findings are listed beneath this one's, by where."""
    where: dict[str, list[str]] = {}
    for suppression in rule.suppresses:
        for place in suppression.where:
            names = where.setdefault(place, [])
            if suppression.rule not in names:
                names.append(suppression.rule)
    return where


# -- documentation ------------------------------------------------------------------------------------------------------


def rules_page(ruleset: RuleSet, language: str, head: str) -> str:
    """Return the page that lists every rule of *ruleset*, by category, below *head*."""
    parts = [head.rstrip() + "\n"]
    for category in CATEGORIES:
        rules = [rule for rule in ruleset.rules.values() if rule.category == category]
        if rules:
            parts.append(f"## {category}\n")
            parts += [_section(rule, language) for rule in rules]
    return "\n".join(parts)


def _code(text: str) -> str:
    """Return *text* as code: JMESPath has backticks of its own."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _section(rule: Rule, language: str) -> str:
    words = _WORDS[language]
    colon = words["colon"]
    lines = [f"### {rule.id}", "", f"**{_escaped(rule.title[language].source)}**", "", _escaped(rule.cause[language].source), ""]
    lines.append(f"- {words['severity']}{colon}{_escaped(_severity(rule, language))}")
    if rule.thresholds:
        lines.append(f"- {words['thresholds']}{colon}" + ", ".join(f"`{name}` = {value:g}" for name, value in rule.thresholds.items()))
    lines.append(f"- {words['when']}{colon}{_code(_flat(rule.when.text))}")
    lines.append(f"- {words['do']}{colon}")
    lines += [f"  {number}. {_escaped(step.source)}" for number, step in enumerate(rule.fix[language], 1)]
    lines += [f"- {words['explains']} ({words[place]}){colon}{', '.join(map(_code, names))}" for place, names in _explained(rule).items()]
    lines += [f"- {words['references']}{colon}<{reference}>" for reference in rule.references]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _escaped(text: str) -> str:
    """Return prose with what Markdown would take for markup escaped, outside of code."""
    parts = _flat(text).split("`")
    return "`".join(part if number % 2 else part.replace("<", "\\<").replace("*", "\\*").replace("_", "\\_") for number, part in enumerate(parts))
