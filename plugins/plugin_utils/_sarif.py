# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A security report as SARIF 2.1.0, which code hosts and editors read: every vulnerability and every finding is one result."""

from __future__ import annotations

import typing as t

from ._text import harmless

Report = t.Mapping[str, t.Any]

SCHEMA_ADDRESS = "https://json.schemastore.org/sarif-2.1.0.json"
_HOME = "https://github.com/stackops/runbook"
_LEVELS = {"critical": "error", "high": "error", "medium": "warning", "warning": "warning", "low": "note", "info": "note", "unknown": "warning"}
# What such a severity is as a number, as readers of SARIF sort by it.
_SCORES = {"critical": "9.5", "high": "8.0", "medium": "5.5", "warning": "5.5", "low": "2.0", "info": "1.0", "unknown": "0.0"}


def render_sarif(report: Report) -> dict[str, t.Any]:
    """Return the report of one host as a SARIF log."""
    rules: dict[str, dict[str, t.Any]] = {}
    results = [*_of_findings(report, rules), *_of_vulnerabilities(report, rules)]
    position = {name: number for number, name in enumerate(rules)}
    for result in results:
        result["ruleIndex"] = position[result["ruleId"]]
    notes = [
        {"level": "warning", "message": {"text": harmless(f"Not checked: {one['object']}: {one['reason']}. {one['hint']}", 1000)}}
        for one in report.get("unknown") or []
    ]
    run = {
        "tool": {
            "driver": {
                "name": "stackops.runbook security_scan",
                "semanticVersion": report["collection_version"],
                "informationUri": _HOME,
                "rules": list(rules.values()),
            }
        },
        "automationDetails": {"id": f"stackops.runbook/security_scan/{report['host']}/"},
        "invocations": [{"executionSuccessful": not report.get("reason"), "endTimeUtc": report["generated_at"], "toolExecutionNotifications": notes}],
        "results": results,
    }
    return {"$schema": SCHEMA_ADDRESS, "version": "2.1.0", "runs": [run]}


def _of_findings(report: Report, rules: dict[str, dict[str, t.Any]]) -> t.Iterator[dict[str, t.Any]]:
    for one in report.get("findings") or []:
        # Its vulnerabilities are results of their own.
        if one["rule"] == "image-vulnerable":
            continue
        rules.setdefault(one["rule"], _rule(one["rule"], one["rule"].replace("-", " "), one["reason"], "", one["severity"]))
        text = ". ".join(part for part in (one["title"], one["reason"].rstrip("."), *one["fix"]) if part)
        yield _result(report, one["rule"], one["severity"], text, one["object"], one["id"])


def _of_vulnerabilities(report: Report, rules: dict[str, dict[str, t.Any]]) -> t.Iterator[dict[str, t.Any]]:
    for image in report.get("images") or []:
        for one in image["vulnerabilities"]:
            rules.setdefault(one["id"], _rule(one["id"], one["title"] or one["id"], one["title"] or one["id"], one["url"], one["severity"]))
            fixed = f"fixed in {one['fixed']}" if one["fixed"] else "no fix yet"
            text = f"{one['package']} {one['installed']} in {image['image']}: {one['id']} ({one['severity']}), {fixed}"
            result = _result(report, one["id"], one["severity"], text, image["image"], f"{image['id']}/{one['id']}/{one['package']}")
            result["properties"] = {name: one[name] for name in ("package", "installed", "fixed", "layer", "image")}
            yield result


def _rule(name: str, short: str, full: str, address: str, severity: str) -> dict[str, t.Any]:
    rule: dict[str, t.Any] = {
        "id": name,
        "shortDescription": {"text": harmless(short, 300)},
        "fullDescription": {"text": harmless(full, 1000)},
        "properties": {"security-severity": _SCORES[severity], "tags": ["security"]},
    }
    if address.startswith("https://"):
        rule["helpUri"] = address
    return rule


def _result(report: Report, rule: str, severity: str, text: str, place: str, fingerprint: str) -> dict[str, t.Any]:
    # There is no file; a reader that wants one gets a relative address that says where it is.
    address = f"{_part(report['host'])}/{_part(place)}"
    return {
        "ruleId": rule,
        "level": _LEVELS[severity],
        "message": {"text": harmless(text.replace("`", "'"), 2000)},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": address}, "region": {"startLine": 1}},
                "logicalLocations": [{"name": harmless(place, 300), "fullyQualifiedName": harmless(f"{report['host']}/{place}", 300), "kind": "resource"}],
            }
        ],
        "partialFingerprints": {"stackopsFinding/v1": fingerprint},
    }


def _part(text: str) -> str:
    """Return *text* as one or more parts of a relative URI."""
    kept = "".join(character if character.isalnum() or character in "/._-" else "-" for character in harmless(text, 200))
    return kept.strip("/").replace("..", "-") or "-"
