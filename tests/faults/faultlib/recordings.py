# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the collectors returned in each case, kept, so that a change of a rule is tried on all of them without a host."""

from __future__ import annotations

import dataclasses
import functools
import json
import lzma
import pathlib
import typing as t

from .cases import Case

ROOT = pathlib.Path(__file__).resolve().parents[3]
DIRECTORY = ROOT / "tests" / "unit" / "fixtures" / "accuracy"
#: All hosts of the test bed share one machine's processors: what these say is true, and nothing that was injected.
BUSY = ("cpu-overloaded", "cpu-stolen", "disk-io-wait")


@dataclasses.dataclass(frozen=True)
class Recording:
    """What one diagnosis of one case was made from: *host* and *facts* of the report's row, and its time in RFC 3339."""

    case: str
    now: str
    host: t.Mapping[str, t.Any]
    facts: t.Mapping[str, t.Any]

    @classmethod
    def of_report(cls, case: str, report: t.Mapping[str, t.Any]) -> Recording:
        """Return the recording in the report of a single host."""
        ((dummy, row),) = report["hosts"].items()
        return cls(case, report["generated_at"], row["host"], row["facts"])

    def row(self, case: Case) -> dict[str, t.Any]:
        """Return the host's row of the report as the rules of this checkout make it."""
        from ansible_collections.stackops.runbook.plugins.plugin_utils import _judge, _trends

        facts = {**self.facts, "trends": self.facts.get("trends") or _trends.trends(self.facts, self.host.get("collected_at"), None)}
        options = {"now": self.now, "silences": case.diagnose.get("diagnose_silences", ()), "thresholds": case.diagnose.get("diagnose_thresholds", {})}
        name = str(self.host.get("name", "host"))
        row: dict[str, t.Any] = _judge.judge_host(_rules(disabled_rules(case)), name, {"host": self.host, "facts": facts}, options)
        return row


def disabled_rules(case: Case) -> tuple[str, ...]:
    """Return the rules that are switched off for *case*: those of :data:`BUSY` that it is not about."""
    return tuple(rule for rule in BUSY if rule not in {one.rule for one in case.expect})


@functools.cache
def _rules(disabled: tuple[str, ...]) -> t.Any:
    from ansible_collections.stackops.runbook.plugins.plugin_utils import _rules as rules

    return rules.load_rules([str(ROOT / "roles/diagnose/rules")], None, disabled)


def load(stack: str, directory: pathlib.Path = DIRECTORY) -> dict[str, Recording]:
    """Return the recordings of *stack*, by case."""
    path = directory / f"{stack}.jsonl.xz"
    if not path.exists():
        return {}
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        return {recording.case: recording for recording in (Recording(**json.loads(line)) for line in lines)}


def write(stack: str, recordings: t.Iterable[Recording], directory: pathlib.Path = DIRECTORY) -> None:
    """Keep *recordings* in the place of those that there are of *stack*; equal ones make an equal file."""
    directory.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(dataclasses.asdict(one), ensure_ascii=False, sort_keys=True) + "\n" for one in sorted(recordings, key=lambda one: one.case))
    (directory / f"{stack}.jsonl.xz").write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
