# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was measured, as Markdown. Pure, but for :func:`write`."""

from __future__ import annotations

import json
import pathlib
import statistics
import typing as t

from .cases import Case
from .score import Record, missed_bars, total

_HEAD = ("group", "cases", "first right", "in the first three", "effects listed as causes", "folded", "crashes", "median s", "slowest s")

INTRODUCTION = """# How right the diagnosis is

Faults are injected into real stacks on real hosts, and the playbook `diagnose` is run on each: on containers, PostgreSQL, logs and
networks as they are, without any help. This page is written by the command below; nothing in it is typed by hand.

    make accuracy

- **first right**: the first finding is what a person would call the cause, with the value that was injected in its evidence. Of two
  independent faults, both must be on top.
- **in the first three**: the expected finding is among the first three causes.
- **effects listed as causes**: findings of severity warning or critical that stand beside the cause instead of beneath it.
- **folded**: all effects that the catalogue names are beneath the cause, and nothing stands beside it.
- On **healthy** stacks nothing of severity warning or critical may be found at all; what is for information only does not count.
- **median s**: how long `ansible-playbook` took for one host, from the command to the written report.

The hosts share the processors of one machine, which others use as well. `cpu-overloaded`, `cpu-stolen` and `disk-io-wait` are therefore
switched off: they would be true, and say nothing about what was injected. Where more than three processes wait for each processor, that an
endpoint or a probe is slow does not count either, unless a slow one was injected. Some limits that real time would have to reach (minutes in an open
transaction, for example) are lowered for the case with `diagnose_thresholds`; the catalogue says so at each.

The cases are in `tests/faults/catalogue.yml` and `tests/faults/accuracy/`. The second stack has other names, another server,
another log format, another PostgreSQL and other services; no rule knows a name, a path or a message of either.
"""


def _cells(label: str, records: t.Sequence[Record]) -> list[str]:
    counts = total(records)
    folded = [record for record in records if record["kind"] != "healthy"]
    return [
        label,
        str(counts.cases),
        str(counts.first_right),
        str(counts.within_three),
        str(counts.wrong_causes),
        f"{sum(bool(record['folded']) for record in folded)} of {len(folded)}" if folded else "-",
        str(counts.crashes),
        f"{counts.median_seconds:.1f}",
        f"{counts.slowest_seconds:.1f}",
    ]


def _lines(rows: t.Sequence[t.Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in rows]


def table(records: t.Sequence[Record]) -> str:
    """Return the table by group; healthy stacks and the total at the end."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record["group"], []).append(record)
    last = ("chain", "combined", "healthy")
    order = sorted(groups, key=lambda group: (last.index(group) + 1 if group in last else 0, group))
    faults = [record for record in records if record["kind"] != "healthy"]
    rows = [_cells(group, groups[group]) for group in order]
    rows.append(_cells("**all faults**", faults))
    return "\n".join([*_lines([_HEAD, ["---"] * len(_HEAD)]), *_lines(rows)]) + "\n"


def _finding(case: Case) -> str:
    return ", ".join(f"`{one.rule}`" for one in case.expect) or "nothing"


def _case_rows(pairs: t.Sequence[tuple[Case, Record]]) -> list[list[str]]:
    rows = []
    for case, record in pairs:
        good = record["first_right"] and record["folded"] and not record["wrong_causes"] and not record["crash"]
        rows.append([case.group, case.name, case.cause, _finding(case), "yes" if good else "**no**: " + ", ".join(record["causes"]) + str(record["crash"])])
    return rows


def _circumstances(records: t.Sequence[Record]) -> str:
    """Return how it was measured, and how busy the machine was with other things."""
    loads = [record["load_per_cpu"] for record in records if record["load_per_cpu"] is not None]
    load = f"While it was measured, {statistics.median(loads):.1f} processes (median) waited for each processor of the machine. " if loads else ""
    again = sum(bool(record["again"]) for record in records)
    if again:
        load += (
            f"{again} of {len(records)} verdicts are those of the present rules over facts that were collected before (`--again`): rules were changed "
            "because of some of these cases, so the figures show that the cases are met, and not how often the first look at an unknown fault is right. "
        )
    missed = sum(bool(record.get("missed_before")) for record in records)
    if missed:
        load += f"{missed} of {len(records)} cases were missed at first, and measured again after a rule, or the case itself, was put right. "
    direct = sum(bool(record["direct"]) for record in records)
    if not direct:
        return f"{load}Every diagnosis was a run of `ansible-playbook`."
    return f"{load}{direct} of {len(records)} diagnoses ran the collectors and the rules without `ansible-playbook` between them (`--direct`)."


Pairs = t.Sequence[tuple[Case, t.Optional[Record]]]


def text(stacks: t.Sequence[tuple[str, Pairs]]) -> str:
    """Return the whole page: for each stack its title and its cases with their records; a case without one was not measured."""
    parts = [INTRODUCTION]
    for title, pairs in stacks:
        records = [record for dummy, record in pairs if record is not None]
        missed = missed_bars(records)
        verdict = "All bars are reached." if not missed else "Missed: " + "; ".join(missed) + "."
        left_out = [case.name for case, record in pairs if record is None]
        if left_out:
            verdict += f" {len(records)} of {len(pairs)} cases were measured; not: {', '.join(left_out)}."
        parts.append(f"## {title}\n\n{verdict}\n\n{_circumstances(records)}\n\n{table(records)}")
    for title, pairs in stacks:
        head = ["group", "case", "what was done", "expected first", "all as expected"]
        known = [(case, record) for case, record in pairs if record is not None]
        parts.append(f"## Cases: {title}\n\n" + "\n".join(_lines([head, ["---"] * len(head), *_case_rows(known)])) + "\n")
    return "\n".join(parts)


def write(path: pathlib.Path, stacks: t.Sequence[tuple[str, Pairs]]) -> None:
    """Write the page to *path*, and the records it was made from beside it."""
    path.write_text(text(stacks), "utf-8")
    records = {title: [record for dummy, record in pairs if record is not None] for title, pairs in stacks}
    path.with_suffix(".json").write_text(json.dumps(records, indent=1, sort_keys=True) + "\n", "utf-8")
