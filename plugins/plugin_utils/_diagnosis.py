# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""From what the hosts handed over to the written report: the controller's half of a diagnosis, without Ansible."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import os
import pathlib
import re
import shlex
import typing as t

from ._baseline import Baseline
from ._command_line import with_options
from ._conditions import ConditionError, check_library
from ._explain import UnknownRule, explain_rule, find_rule
from ._handover import take_over
from ._judge import Options, SilenceError, judge_host, run_tests
from ._merge import MergeError, findings_of_problems, read_inputs, row_of, told_of
from ._port_table import render_ports
from ._publish import Retention, Written, publish
from ._report import ReportBuilder, continues, failed_row, fired, read_previous, read_report, unreachable_row
from ._rules import RuleError, RuleSet, lint, load_rules, threshold_problems
from ._stored import FactsStore, facts_of, loads
from ._terminal import render_terminal
from ._trends import trends
from ._what_changed import what_changed

Report = dict[str, t.Any]
#: What came of collecting from one host: ``reachable``, and ``result`` (schema, host, facts) or a ``reason``.
Row = dict[str, t.Any]
Rows = t.Union[t.Mapping[str, Row], t.Iterable[tuple[str, Row]]]

# Both commands whole: each is copied as it stands.
_REMEDY = {
    "en": ("Or have it done. This shows the plan: ", ", and this carries it out: "),
    "zh_TW": ("也可以交由 Ansible 執行。先查看計畫：", "，再實際執行："),
}
_SEVERITY_RANK = {"info": 0, "warning": 1, "critical": 2}


class DiagnosisError(Exception):
    """The rules or the options cannot be used. The message has one line for each problem."""


def rows_of_run(directory: pathlib.Path, hosts: t.Sequence[str]) -> t.Iterator[tuple[str, Row]]:
    """Yield a row for each of *hosts* in the order of their names, read from what they handed over in *directory* when its turn has come."""
    reason = "nothing was collected: an earlier task failed on this host (see its message further up), or it comes in a later batch of the play"
    silent: Row = {"reachable": True, "reason": reason}
    for host in sorted(hosts):
        yield host, take_over(directory, host) or dict(silent)


def recorded_rows(directory: pathlib.Path) -> t.Iterator[tuple[str, Row]]:
    """Return a row for each ``<host>.json`` in *directory*, each as ``stack_facts`` returned it; each file is read when its turn has come.

    :raises DiagnosisError: there is no such file, or, when its turn has come, one cannot be read.
    """
    paths = {path.stem: path for path in directory.glob("*.json")}
    if not paths:
        raise DiagnosisError(f"{directory}: no recorded facts; expected one <host>.json for each host, as stack_facts returned it")
    return ((host, _recorded_row(paths[host])) for host in sorted(paths))


def _recorded_row(path: pathlib.Path) -> Row:
    try:
        result = loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DiagnosisError(f"{path}: {error}") from error
    if not isinstance(result, dict):
        raise DiagnosisError(f"{path}: expected a mapping, as stack_facts returned it")
    return {"reachable": True, "result": result}


def _pairs(rows: Rows) -> t.Iterable[tuple[str, Row]]:
    return sorted(rows.items()) if isinstance(rows, t.Mapping) else rows


def check_settings(arguments: t.Mapping[str, t.Any], collection_version: str, now: datetime.datetime) -> None:
    """See that a report can be made, as far as that can be known before anything is collected.

    The rules of the collection are tested, and compiling them takes as long as asking a host: they are left alone where nothing was set about them.

    :raises DiagnosisError: it cannot.
    """
    try:
        check_library()
    except ConditionError as error:
        raise DiagnosisError(f"No report can be made: {error}") from error
    if len(arguments["rule_dirs"]) > 1 or any(arguments[name] for name in ("disabled_rules", "thresholds", "silences")):
        Diagnosis(arguments, collection_version, now)


class Diagnosis:
    """One judgement over a fleet.

    *arguments* are those of the action ``diagnose_report``, validated; *now* is the report's time. With ``remedies``, findings say in their steps
    how to have them put right from this report. ``command_options`` stand in every command of Ansible that a finding names.

    :raises DiagnosisError: rules or silences cannot be used.
    """

    def __init__(self, arguments: t.Mapping[str, t.Any], collection_version: str, now: datetime.datetime) -> None:
        self._arguments = arguments
        self._now = now
        self._retention = Retention(arguments.get("keep_reports") or 0, arguments.get("keep_days") or 0, not arguments.get("check_mode"))
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

    @functools.cached_property
    def _latest(self) -> t.Optional[Report]:
        """The latest report in the directory, as it was before this one."""
        return read_previous(self._arguments["report_dir"])

    def _baseline(self, recorded_facts: str) -> t.Optional[Baseline]:
        """Return what a report is compared with; nothing where the reports in the directory are not of its kind.

        :raises DiagnosisError: it is to be compared with one that cannot be read.
        """
        asked = self._arguments.get("compare_with")
        if asked:
            report = read_report(pathlib.Path(asked))
            if report is None:
                raise DiagnosisError(f"{asked}: no report of a diagnosis to compare with; expected its report.json")
            return Baseline.of_findings(report)
        return Baseline.read(pathlib.Path(self._arguments["report_dir"]), self._latest) if continues(recorded_facts, self._latest) else None

    @property
    def rule_count(self) -> int:
        """Number of rules in force."""
        return len(self._rules.rules)

    @property
    def fail_on(self) -> str:
        """From which severity on the run ends as failed."""
        return str(self._arguments["fail_on"])

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

    def judge(self, rows: Rows, recorded_facts: str = "", before: t.Optional[Rows] = None) -> Report:
        """Return the report over *rows*, compared with what they were *before*, else with the latest one in the report's directory.

        Rows are a mapping, or an iterator of ``(host, row)`` in the order of the hosts' names: each is judged when it comes, its facts go
        to a file, and what stays in memory are its findings. *recorded_facts* is where they were read from, when they were not
        collected in this run.
        """
        directory = pathlib.Path(self._arguments["report_dir"])
        directory.mkdir(parents=True, exist_ok=True)
        store = FactsStore(directory)
        previous: t.Union[Report, Baseline, None]
        if before is None:
            previous = self._baseline(recorded_facts)
        else:
            judged_before = ReportBuilder(self._options, None, self._rules, recorded_facts, store)
            for host, row in _pairs(before):
                judged_before.add(host, self._judge_row(host, row, {}))
            previous = judged_before.finish()
        builder = ReportBuilder(self._options, previous, self._rules, recorded_facts, store)
        for host, row in _pairs(rows):
            judged = self._judge_row(host, row, facts_of(builder.previous_row(host)))
            self._add_remedies(host, judged["findings"])
            builder.add(host, judged)
        return self._with_fleet_options(builder.finish())

    def merge(self, paths: t.Sequence[str]) -> t.Optional[Report]:
        """Return the reports at *paths* as one of their whole fleet; ``None`` where the latest report in the directory is just that.

        Rows are taken as they are, of a host in several inputs the newest. Rules of scope fleet are judged again over all hosts, and what is
        new, ongoing and resolved is against the merged report before.

        :raises DiagnosisError: not one of the inputs can be used.
        """
        try:
            inputs = read_inputs(paths)
        except MergeError as error:
            raise DiagnosisError(str(error)) from error
        directory = pathlib.Path(self._arguments["report_dir"])
        settings = [repr(self._arguments[name]) for name in ("language", "formats", "rule_dirs", "disabled_rules", "thresholds", "silences")]
        fingerprint = inputs.fingerprint(self._options.collection_version, *settings)
        told_before = (self._latest or {}).get("merged")
        if isinstance(told_before, dict) and told_before.get("fingerprint") == fingerprint:
            return None
        if self._arguments.get("check_mode"):
            return {"summary": {"hosts": len(inputs.places())}}
        directory.mkdir(parents=True, exist_ok=True)
        options = dataclasses.replace(self._options, now=inputs.generated_at, silences=tuple(dict.fromkeys([*self._options.silences, *inputs.silences()])))
        recorded_facts = inputs.recorded_facts()
        builder = ReportBuilder(options, self._baseline(recorded_facts), self._rules, recorded_facts, FactsStore(directory))
        for host, entries in inputs.places().items():
            row = row_of(host, entries[0])
            for finding in row["findings"]:
                # It names the report of the slice.
                finding["fix"] = [step for step in finding["fix"] if not step.startswith(tuple(before for before, dummy in _REMEDY.values()))]
            self._add_remedies(host, row["findings"])
            builder.add(host, row)
        report = self._with_fleet_options(builder.finish(findings_of_problems(inputs, options.language, options.now)))
        return {**report, "merged": told_of(inputs, fingerprint)}

    def _add_remedies(self, host: str, findings: t.Sequence[dict[str, t.Any]]) -> None:
        for finding in findings:
            if finding.get("remediation") and finding["result"] == "fire" and self._arguments.get("remedies"):
                finding["fix"].append(self._remedy(host, finding["rule"]))
        self._add_options(findings)

    def _add_options(self, findings: t.Iterable[dict[str, t.Any]]) -> None:
        options = self._arguments.get("command_options") or ""
        for finding in findings:
            finding["fix"] = [with_options(step, options) for step in finding["fix"]]
            finding["verify"] = with_options(finding["verify"], options)

    def _with_fleet_options(self, report: Report) -> Report:
        self._add_options(report["fleet_findings"])
        return report

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
        plan, real = _REMEDY[self._arguments["language"]]
        return f"{plan}`{command}`{real}`{command} -e remediate_confirm=true`"

    def write(self, report: Report) -> Written:
        """Write *report* in the formats asked for, and see to older ones."""
        return publish(report, self._arguments["report_dir"], self._arguments["formats"], self._options, self._now, self._retention, self._latest)

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
