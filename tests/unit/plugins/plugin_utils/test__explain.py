# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils._explain import UnknownRule, explain_rule, find_rule, rules_page
from ansible_collections.stackops.runbook.plugins.plugin_utils._rules import load_rules

ROOT = pathlib.Path(__file__).resolve().parents[4]
RULES = load_rules([ROOT / "roles/diagnose/rules"])


def test_a_rule_is_explained_with_thresholds_and_tests():
    text = explain_rule(find_rule(RULES, "slow-query", "en"), "en")
    assert text.startswith("slow-query: A query on {{ object }} takes")
    for part in (
        "Severity: warning",
        "mean_ms = 200",
        '{"diagnose_thresholds": {"slow-query": {"mean_ms": 200}}}',
        "services that need it: slow-endpoint",
        "a slow SELECT → fire",
        "1. See how it is executed",
        "postgres.yml:",
    ):
        assert part in text


def test_in_the_other_language():
    text = explain_rule(find_rule(RULES, "database-down", "zh_TW"), "zh_TW")
    assert "嚴重程度：嚴重" in text
    assert "Severity" not in text


@pytest.mark.parametrize("language", ["en", "zh_TW"])
@pytest.mark.parametrize("rule", RULES.rules)
def test_every_rule_can_be_explained(rule, language):
    assert explain_rule(RULES.rules[rule], language).count("\n") > 8


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("databse-down", "database-down"),
        ("oom", "container-oom-killed"),
        ("Database_Down", "database-down"),
        ("login", "login-rejected"),
        ("my postgres login", "database-login-rejected"),
    ],
)
def test_a_rule_that_is_not_there_is_told_with_those_that_are_near(asked, near):
    with pytest.raises(UnknownRule, match=near):
        find_rule(RULES, asked, "en")


@pytest.mark.parametrize(("language", "page"), [("en", "docs/rules.md"), ("zh_TW", "docs/rules.zh-TW.md")])
def test_whoever_asks_for_no_rule_at_all_is_told_where_they_are(language, page):
    with pytest.raises(UnknownRule) as caught:
        find_rule(RULES, "qqq", language)
    assert str(caught.value).endswith(page) and (ROOT / page).is_file()


@pytest.mark.parametrize("language", ["en", "zh_TW"])
def test_page_has_every_rule(language):
    page = rules_page(RULES, language, "# Head")
    assert [rule for rule in RULES.rules if f"\n### {rule}\n" not in page] == []
