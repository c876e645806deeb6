#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: diagnose_report
short_description: Judge the collected facts of a fleet and write the report
version_added: 1.0.0
author:
  - stackops.runbook contributors (@stackops)
description:
  - Reads what M(stackops.runbook.stack_facts) handed over with O(stackops.runbook.stack_facts#module:return_facts=false)
    in the same run of C(ansible-playbook), evaluates the rules, folds effects under their causes, and writes one report for all hosts.
  - It runs on the controller, for all hosts of the play at once, and prints the summary to the terminal. Use it with C(run_once).
  - Hosts of the play that handed nothing over are rows of the report as well, with the reason.
extends_documentation_fragment:
  - stackops.runbook.attributes
attributes:
  check_mode:
    support: full
    details:
      - The report is written in check mode as well. It is about the hosts and changes nothing on them. A merged one (O(merge)) is not.
  diff_mode:
    support: none
  idempotent:
    support: N/A
    details:
      - Each run writes a report of its own. With O(merge), the same inputs give none the second time.
options:
  report_dir:
    description:
      - Directory on the controller. Each run writes a directory named after its time in UTC, and C(latest) points at the newest.
      - A relative path starts where C(ansible-playbook) was called.
    type: path
    default: ./reports
  formats:
    description:
      - What to write. V(json) is always complete and is what later runs compare with.
    type: list
    elements: str
    choices: [json, markdown, html]
    default: [json, markdown, html]
  language:
    description:
      - Language of titles, causes and fixes.
    type: str
    choices: [en, zh_TW]
    default: en
  fail_on:
    description:
      - Fail the task when a finding is at least this severe, so that C(ansible-playbook) ends with an exit code of its own.
    type: str
    choices: [never, warning, critical]
    default: never
  rule_dirs:
    description:
      - Directories with rule files on the controller. A later directory may replace rules of an earlier one with C(override=true).
    type: list
    elements: path
    required: true
  disabled_rules:
    description:
      - Ids of rules that are not evaluated.
    type: list
    elements: str
    default: []
  thresholds:
    description:
      - Thresholds of rules to change, as a mapping of rule id to a mapping of threshold name to value.
    type: dict
    default: {}
  silences:
    description:
      - What is known and accepted. Silenced findings stay listed, as silenced.
    type: list
    elements: dict
    default: []
    suboptions:
      rule:
        description: Id of the rule, with C(*) as wildcard.
        type: str
        required: true
      host:
        description: Name of the host, with C(*) as wildcard.
        type: str
        default: "*"
      object:
        description: Object of the finding, for example V(shop/backend), with C(*) as wildcard.
        type: str
        default: "*"
      reason:
        description: Why. It is printed beside the finding.
        type: str
        required: true
      expires:
        description: Date or time (RFC 3339) after which the silence no longer holds, or V(never).
        type: str
        required: true
  recorded_facts:
    description:
      - Directory on the controller with one C(<host>.json) for each host, as M(stackops.runbook.stack_facts) returned it.
        These are judged instead of what this run collected, and the report says so.
    type: path
  bundle:
    description:
      - A bundle that M(stackops.runbook.support_bundle_write) wrote, on the controller. The facts in it are judged instead of what this run
        collected, and the report says so.
    type: path
  compare_bundle:
    description:
      - An earlier bundle. What is new, ongoing and resolved in the report is then against this one, and not against the latest report.
      - Both bundles have to call the hosts the same, see O(stackops.runbook.support_bundle_write#module:map).
    type: path
  compare_with:
    description:
      - The C(report.json) of an earlier run. What is new, ongoing and resolved is then against this one, and not against the latest report in O(report_dir).
      - Only what it found is compared. Rules that look at how something changed since the last run start anew.
    type: path
  keep_reports:
    description:
      - Keep only so many of the newest reports in O(report_dir); V(0) keeps them all. The one that C(latest) means always stays, and so does
        everything that is not a report of this module. What a report said in short stays in C(history.jsonl).
      - In check mode no report is removed.
    type: int
    default: 0
  keep_days:
    description:
      - Remove reports in O(report_dir) that are older than so many days, as with O(keep_reports); V(0) keeps them all.
    type: float
    default: 0
  merge:
    description:
      - Reports on the controller, of slices of a fleet. They become one report of all their hosts, and nothing else is judged but what only shows
        across hosts. Each is a C(report.json), packed with gzip or not, the directory of a report, a directory of reports of which the latest
        counts, or a directory of any of these.
      - Of a host in several of them the row of the newest report counts. A report that is damaged or of another schema is told with its reason.
      - Where the latest report in O(report_dir) is of the same inputs, judged the same way, none is written.
    type: list
    elements: path
  view:
    description:
      - What the terminal shows. V(findings) is what is wrong and why, V(ports) a table of every host's ports with the fix of each bad one.
        The report is the same.
    type: str
    choices: [findings, ports]
    default: findings
  hosts:
    description:
      - The hosts that the report is about, by their names in the inventory. Without it all of the play.
      - For a run in which only some hosts were asked for facts. The others would be rows that say that nothing was collected from them.
    type: list
    elements: str
  check_only:
    description:
      - Only see that a report can be made, before facts are collected for it. The controller needs the Python library C(jmespath), and rules,
        thresholds and silences that are not those of the collection have to be right.
    type: bool
    default: false
  lint_only:
    description:
      - Only load the rules and run their own tests.
    type: bool
    default: false
  explain:
    description:
      - Id of a rule. Only print what it means, what it looks at, its thresholds and its tests. No facts are judged.
    type: str
seealso:
  - module: stackops.runbook.stack_facts
  - module: stackops.runbook.support_bundle_write
"""

EXAMPLES = r"""
- name: Diagnose every host of the play
  hosts: all
  gather_facts: false
  tasks:
    - name: Collect
      stackops.runbook.stack_facts:
        return_facts: false
      ignore_unreachable: true

    - name: Judge and tell
      stackops.runbook.diagnose_report:
        report_dir: ./reports
        language: zh_TW
        fail_on: critical
        rule_dirs:
          - "{{ playbook_dir }}/rules"
        silences:
          - rule: filesystem-nearly-full
            host: archive*
            reason: Grows by design, a new disk is ordered.
            expires: "2027-01-31"
      run_once: true
      delegate_to: localhost

- name: Merge the reports of the slices of a fleet
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Merge
      stackops.runbook.diagnose_report:
        merge:
          - ./slices
        report_dir: ./merged-reports
        rule_dirs:
          - "{{ playbook_dir }}/rules"
"""

RETURN = r"""
summary:
  description: Number of hosts by status.
  returned: always, unless O(check_only=true), O(lint_only=true) or O(explain) is set
  type: dict
  sample: {hosts: 3, ok: 1, warning: 1, critical: 1, unknown: 0, unreachable: 0}
report:
  description: Path of the report on the controller by format.
  returned: always, unless O(check_only=true), O(lint_only=true) or O(explain) is set
  type: dict
  sample:
    json: /home/ops/reports/20261123T100000Z/report.json
    markdown: /home/ops/reports/20261123T100000Z/report.md
    html: /home/ops/reports/20261123T100000Z/report.html
msg:
  description: What was, or in check mode would be, done.
  returned: with O(merge), when no report is written; with O(check_only=true), and with O(lint_only=true)
  type: str
  sample: The latest report in ./merged-reports is of these inputs already
removed:
  description: Names of the older reports that were removed.
  returned: always, unless O(check_only=true), O(lint_only=true) or O(explain) is set
  type: list
  elements: str
  sample: [2026-10-23T100000Z]
rules:
  description: Number of rules that were loaded.
  returned: when O(lint_only=true)
  type: int
  sample: 57
explanation:
  description: What the rule of O(explain) means.
  returned: when O(explain) is set
  type: str
  sample: "database-down: The database {{ object }} does not run or does not answer"
"""
