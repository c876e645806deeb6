# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Facts that were recorded on real hosts, redacted as for a bundle: the same is wrong with them as before."""

from __future__ import annotations

import json
import pathlib
import re
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils._bundle_redaction import BundleRedactor
from ansible_collections.stackops.runbook.plugins.plugin_utils._identities import Identities
from ansible_collections.stackops.runbook.plugins.plugin_utils._judge import judge_host
from ansible_collections.stackops.runbook.plugins.plugin_utils._private_map import PrivateMap
from ansible_collections.stackops.runbook.plugins.plugin_utils._rules import RuleSet, facts_schema, load_rules

ROOT = pathlib.Path(__file__).resolve().parents[4]
RECORDED = sorted((ROOT / "tests" / "unit" / "fixtures" / "facts").glob("*.json"))
# What must come through as it is: identifiers, digests, times, versions.
KEPT = re.compile(r"(?<![0-9a-f])(?:[0-9a-f]{12}|[0-9a-f]{40}|[0-9a-f]{64})(?![0-9a-f])|\d{4}-\d\d-\d\dT[\d:.]+Z|(?<![\d.])\d+\.\d+(?:\.\d+)?(?![\d.])")


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return load_rules([ROOT / "roles" / "diagnose" / "rules"])


def redacted(facts: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return *facts* as they are in a bundle."""
    people = Identities([facts["host"]["hostname"], "web1.corp.example.net"], ["lin"], ["shop", "backend", "postgres"])
    whole = BundleRedactor(PrivateMap(b"s" * 32), ("canary-Zx81-Qq",), people, ["shop", "backend", "postgres"])
    content: dict[str, t.Any] = json.loads(whole.file("json", json.dumps(facts).encode()))
    return content


def shape(value: t.Any) -> t.Any:
    """Return *value* with its texts taken out."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return "text" if isinstance(value, str) else value


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_the_same_is_found_in_redacted_facts(rules: RuleSet, path: pathlib.Path) -> None:
    before = json.loads(path.read_text(encoding="utf-8"))
    after = redacted(before)
    assert facts_schema().unknown_paths(after) == []
    findings = [
        [(finding["rule"], finding["severity"], finding["result"], finding["object"]) for finding in judge_host(rules, "web1", facts)["findings"]]
        for facts in (before, after)
    ]
    assert findings[0] == findings[1]
    assert shape(before) == shape(after)
    # A name like "host1" adds no such thing, and an address has no two parts that stand alone.
    assert KEPT.findall(json.dumps(before)) == KEPT.findall(json.dumps(after))
