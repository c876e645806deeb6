# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""From what the hosts handed over to the written report: the controller's half of a diagnosis, without Ansible."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import pathlib
import re
import shlex
import typing as t

from ._explain import UnknownRule, explain_rule, find_rule
from ._handover import take_over
from ._html import render_html
from ._judge import Options, SilenceError, judge_host, run_tests
from ._port_table import render_ports
from ._report import build_report, failed_row, fired, read_previous, unreachable_row, write_report
from ._rules import RuleError, RuleSet, lint, load_rules, threshold_problems
from ._terminal import render_terminal
from ._trends import trends
from ._what_changed import what_changed

Report = dict[str, t.Any]
#: What came of collecting from one host: ``reachable``, and ``result`` (schema, host, facts) or a ``reason``.
Row = dict[str, t.Any]

_REMEDY = {
    "en": "Or have it done. This shows the plan; `-e remediate_confirm=true` behind it carries it out: ",
    "zh_TW": "也可以交由 Ansible 執行。以下指令只顯示計畫，加上 `-e remediate_confirm=true` 才會實際執行：",
}
_SEVERITY_RANK = {"info": 0, "warning": 1, "critical": 2}


class DiagnosisError(Exception):
    """The rules or the options cannot be used. The message has one line for each problem."""


@dataclasses.dataclass(frozen=True)
class Written:
    """A report, and where it is: *paths* by format, all in *directory*."""

    report: Report
    paths: t.Mapping[str, pathlib.Path]

    @property
    def directory(self) -> pathlib.Path:
        """The report's own directory."""
        return next(iter(self.paths.values())).parent


def rows_of_run(directory: pathlib.Path, hosts: t.Sequence[str]) -> dict[str, Row]:
    """Return a row for each of *hosts*, from what they handed over in *directory*."""
    silent: Row = {"reachable": True, "reason": "nothing was collected: an earlier task failed on this host, or it comes in a later batch of the play"}
    return {host: take_over(directory, host) or dict(silent) for host in hosts}


def recorded_rows(directory: pathlib.Path) -> dict[str, Row]:
    """Return a row for each ``<host>.json`` in *directory*, each as ``stack_facts`` returned it.

    :raises DiagnosisError: there is no such file, or one cannot be read.
    """
    paths = sorted(directory.glob("*.json"))
    if not paths:
        raise DiagnosisError(f"{directory}: no recorded facts; expected one <host>.json for each host, as stack_facts returned it")
    rows: dict[str, Row] = {}
    for path in paths:
        try:
            rows[path.stem] = {"reachable": True, "result": json.loads(path.read_bytes())}
        except (OSError, ValueError) as error:
            raise DiagnosisError(f"{path}: {error}") from error
    return rows


class Diagnosis:
    """One judgement over a fleet.

    *arguments* are those of the action ``diagnose_report``, validated; *now* is the report's time. With ``remedies``, findings say in their steps
    how to have them put right from this report.

    :raises DiagnosisError: rules or silences cannot be used.
    """

    def __init__(self, arguments: t.Mapping[str, t.Any], collection_version: str, now: datetime.datetime) -> None:
        self._arguments = arguments
        self._now = now
        try:
            self._rules: RuleSet = load_rules(arguments["rule_dirs"], arguments.get("fixtures_dir"), arguments["disabled_rules"])
            self._options = Options.of(
                {
                    "language": arguments["language"],
                    "thresholds": arguments["thresholds"],
                    "silences": arguments["silences"],
                    "now": now.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "collection_version": collection_version,
                }
            )
        except RuleError as error:
            raise DiagnosisError(f"The rules cannot be used:\n{error}") from error
        except SilenceError as error:
            raise DiagnosisError(str(error)) from error
        wrong = threshold_problems(self._rules, arguments["thresholds"])
        if wrong:
            raise DiagnosisError("\n".join(wrong))

    @property
    def rule_count(self) -> int:
        """Number of rules in force."""
        return len(self._rules.rules)

    def lint(self) -> list[str]:
        """Return what is wrong with the rules: warnings of the linter, and tests inside the rules that fail."""
        return [str(problem) for problem in lint(self._arguments["rule_dirs"])] + run_tests(self._rules)

    def explain(self, rule: str) -> str:
        """Return what *rule* means, in the language of the report.

        :raises DiagnosisError: there is no such rule.
        """
        language = self._options.language
        try:
            return explain_rule(find_rule(self._rules, rule, language), language)
        except UnknownRule as error:
            raise DiagnosisError(str(error)) from error

    def judge(self, rows: t.Mapping[str, Row], recorded_facts: str = "", before: t.Optional[t.Mapping[str, Row]] = None) -> Report:
        """Return the report over *rows*, compared with what they were *before*, else with the latest one in the report's directory.

        *recorded_facts* is where they were read from, when they were not collected in this run.
        """
        if before is None:
            previous = read_previous(self._arguments["report_dir"])
        else:
            judged_before = {host: self._judge_row(host, row, {}) for host, row in before.items()}
            previous = build_report(judged_before, self._options, None, self._rules, recorded_facts)
        known = (previous or {}).get("hosts") or {}
        hosts = {host: self._judge_row(host, row, (known.get(host) or {}).get("facts") or {}) for host, row in rows.items()}
        for host, judged in hosts.items():
            for finding in judged["findings"]:
                if finding.get("remediation") and finding["result"] == "fire" and self._arguments.get("remedies"):
                    finding["fix"].append(self._remedy(host, finding["rule"]))
        return build_report(hosts, self._options, previous, self._rules, recorded_facts)

    def _judge_row(self, host: str, row: Row, before: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        if not row.get("reachable"):
            return unreachable_row(str(row.get("reason") or ""))
        if "result" not in row:
            return failed_row(str(row.get("reason") or ""))
        result = row["result"]
        facts = result.get("facts") or {}
        # Where nothing was collected nothing is known of it: that must not look like something.
        known = {**facts, "trends": trends(facts, (result.get("host") or {}).get("collected_at"), before.get("trends"))} if facts else facts
        return {**judge_host(self._rules, host, {**result, "facts": known}, self._options), "what_changed": what_changed(before, facts)}

    def _remedy(self, host: str, rule: str) -> str:
        """Return the step that has a finding put right in one command; from the newest report, which this one is about to be."""
        report = os.path.join(self._arguments["report_dir"], "latest", "report.json")
        # A name that is a pattern of hosts would mean others as well.
        limit = shlex.quote(host) if re.fullmatch(r"[\w.-]+", host) else shlex.quote(f"~{re.escape(host)}$")
        command = f"ansible-playbook stackops.runbook.remediate -b -l {limit} -e {shlex.quote(f'remediate_from={report}')} -e remediate_rules={rule}"
        return f"{_REMEDY[self._arguments['language']]}`{command}`"

    def write(self, report: Report) -> Written:
        """Write *report* in the formats asked for."""
        renderers = {"html": ("report.html", lambda content, dummy: render_html(content, self._arguments["language"], self._now))}
        return Written(report, write_report(report, self._arguments["report_dir"], self._arguments["formats"], self._options, renderers))

    def summary(self, written: Written, color: bool) -> str:
        """Return what the operator sees on the terminal."""
        page = written.paths.get("html") or next(iter(written.paths.values()))
        if self._arguments.get("view") != "ports":
            return render_terminal(written.report, {"color": color, "path": str(page)})
        return render_terminal(written.report, {"color": color, "path": str(page), "body": render_ports(written.report, color)})

    def fails(self, report: Report) -> bool:
        """Say whether a finding is severe enough for the run to end as failed; an unreachable host is not a finding."""
        fail_on = self._arguments["fail_on"]
        if fail_on == "never":
            return False
        return any(_SEVERITY_RANK[finding["severity"]] >= _SEVERITY_RANK[fail_on] for dummy, finding in fired(report))
