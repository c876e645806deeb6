# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How right a diagnosis is: its report beside what was expected. Pure."""

from __future__ import annotations

import dataclasses
import json
import statistics
import typing as t

from .cases import Case, Expected

Finding = t.Mapping[str, t.Any]
FIRST = 3
#: So many runnable processes for each processor, and what is slow is slow because of what else the machine does.
BUSY_LOAD_PER_CPU = 3.0
_SLOW = ("endpoint-slow", "slow-endpoint", "healthcheck-timeout")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What one diagnosis of one case was worth."""

    first_right: bool
    within_three: bool
    folded: bool
    wrong_causes: tuple[str, ...]
    not_folded: tuple[str, ...]
    crash: str
    causes: tuple[str, ...]

    @property
    def right(self) -> bool:
        """Whether there is nothing to complain about."""
        return self.first_right and self.folded and not self.wrong_causes and not self.crash


def judged(case: Case, row: t.Mapping[str, t.Any], crash: str = "") -> Verdict:
    """Return the verdict over *row*, the host's row of the report."""
    findings = [finding for finding in row.get("findings") or () if not _is_of_the_neighbours(finding, case, row)]
    crash = crash or _crash(row)
    causes = [finding for finding in findings if _is_cause(finding, case)]
    if case.healthy:
        return Verdict(not causes, not causes, True, tuple(map(_shown, causes)), (), crash, tuple(map(_shown, causes)))
    met = [next((finding for finding in causes if _meets(finding, one)), None) for one in case.expect]
    top = causes[: len(case.expect)]
    first_right = all(finding is not None and any(finding is other for other in top) for finding in met)
    reach = causes[: FIRST + len(case.expect) - 1]
    within = all(finding is not None and any(finding is other for other in reach) for finding in met)
    wrong = [finding for finding in causes if not any(finding is other for other in met) and finding["rule"] not in case.also]
    not_folded = [rule for one, finding in zip(case.expect, met) for rule in one.effects if finding is None or not _beneath(findings, finding, rule)]
    folded = within and not not_folded and not wrong
    return Verdict(first_right, within, folded, tuple(map(_shown, wrong)), tuple(not_folded), crash, tuple(map(_shown, causes)))


def _is_of_the_neighbours(finding: Finding, case: Case, row: t.Mapping[str, t.Any]) -> bool:
    """Whether *finding* says that something is slow, on a machine that is far too busy, and nothing slow was injected."""
    host = (row.get("facts") or {}).get("host") or {}
    expected = {rule for one in case.expect for rule in (one.rule, *one.effects)}
    return finding["rule"] in _SLOW and finding["rule"] not in expected and (host.get("load_per_cpu") or 0) >= BUSY_LOAD_PER_CPU


def _is_cause(finding: Finding, case: Case) -> bool:
    if finding["result"] != "fire" or finding.get("effect_of"):
        return False
    if finding["severity"] != "info":
        return True
    return case.info and any(finding["rule"] == one.rule for one in case.expect)


def _meets(finding: Finding, expected: Expected) -> bool:
    if finding["rule"] != expected.rule or expected.object not in ("", finding["object"]):
        return False
    evidence = json.dumps(finding["evidence"], ensure_ascii=False)
    return bool(finding["fix"]) and all(text in evidence for text in expected.evidence)


def _beneath(findings: t.Sequence[Finding], cause: Finding, rule: str) -> bool:
    return any(finding["rule"] == rule and cause["id"] in (finding.get("effect_of") or ()) for finding in findings)


def _shown(finding: Finding) -> str:
    return f"{finding['rule']} {finding['object']}"


def _crash(row: t.Mapping[str, t.Any]) -> str:
    """Return what went wrong in the collection's own code; empty where nothing did."""
    if "facts" not in row or row.get("status") == "unreachable":
        return str(row.get("reason") or "no facts")
    broken = [finding["rule"] for finding in row["findings"] if finding["result"] == "error"]
    defects = [
        f"{name}: {error.get('reason')}"
        for name, envelope in row["facts"].items()
        if isinstance(envelope, dict)
        for error in envelope.get("errors") or ()
        if error.get("code") == "defect" or "defect of the collection" in str(error.get("hint"))
    ]
    return "; ".join(broken + defects)


# -- over many ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Total:
    """Counts over some records, as the table shows them."""

    cases: int
    first_right: int
    within_three: int
    wrong_causes: int
    crashes: int
    median_seconds: float
    slowest_seconds: float


Record = t.Mapping[str, t.Any]


def total(records: t.Sequence[Record]) -> Total:
    """Return the counts over *records*."""
    seconds = [record["seconds"]["diagnose"] for record in records] or [0.0]
    return Total(
        len(records),
        sum(bool(record["first_right"]) for record in records),
        sum(bool(record["within_three"]) for record in records),
        sum(len(record["wrong_causes"]) for record in records),
        sum(bool(record["crash"]) for record in records),
        statistics.median(seconds),
        max(seconds),
    )


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 100.0


def missed_bars(records: t.Sequence[Record], timed: bool = True) -> list[str]:
    """Return a line for each bar that *records* of one stack do not reach; that of time only where they are *timed*."""
    faults = [record for record in records if record["kind"] != "healthy"]
    healthy = [record for record in records if record["kind"] == "healthy"]
    chains = [record for record in records if record["kind"] == "chain"]
    over = total(faults)
    alarms = sum(len(record["wrong_causes"]) for record in healthy)
    folded = sum(bool(record["folded"]) for record in chains)
    missed = []
    if _percent(over.first_right, over.cases) < 95:
        missed.append(f"first finding right in {over.first_right} of {over.cases}, wanted 95 %")
    if _percent(over.within_three, over.cases) < 99:
        missed.append(f"within the first three in {over.within_three} of {over.cases}, wanted 99 %")
    if alarms:
        missed.append(f"{alarms} false alarms on healthy stacks, wanted none")
    if _percent(folded, len(chains)) < 95:
        missed.append(f"{folded} of {len(chains)} chains are one finding, wanted 95 %")
    if total(records).crashes:
        missed.append(f"{total(records).crashes} crashes, wanted none")
    if timed and total(records).median_seconds >= 5:
        missed.append(f"the median diagnosis takes {total(records).median_seconds:.1f} s, wanted less than 5 s")
    return missed
