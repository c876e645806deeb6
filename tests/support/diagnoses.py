# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judging and telling as the playbook does it, over facts that are there: recorded ones, many hosts made of them, and runs in a row."""

from __future__ import annotations

import copy
import datetime
import json
import pathlib
import random
import typing as t

from ansible_collections.stackops.runbook.plugins.plugin_utils._diagnosis import Diagnosis

ROOT = pathlib.Path(__file__).resolve().parents[2]
RULES = ROOT / "roles" / "diagnose" / "rules"
RECORDED = (*sorted((ROOT / "demo" / "recorded_facts").glob("*.json")), *sorted((ROOT / "tests" / "unit" / "fixtures" / "facts").glob("*.json")))
NOW = datetime.datetime(2026, 11, 23, 10, 0, tzinfo=datetime.timezone.utc)

Json = dict[str, t.Any]


def diagnosis(report_dir: pathlib.Path, minutes: int = 0, **arguments: t.Any) -> Diagnosis:
    """Return a diagnosis by the shipped rules that writes to *report_dir*, so many *minutes* after the first."""
    defaults = {
        "rule_dirs": [str(RULES)], "disabled_rules": [], "language": "en", "thresholds": {}, "silences": [], "report_dir": str(report_dir),
        "formats": ["json", "markdown", "html"], "fail_on": "never",
    }  # fmt: skip
    return Diagnosis({**defaults, **arguments}, "1.0.0", NOW + datetime.timedelta(minutes=minutes))


def recorded() -> list[Json]:
    """Return what ``stack_facts`` returned on each recorded host."""
    return [json.loads(path.read_bytes()) for path in RECORDED]


def fleet_of_recorded(hosts: int, seed: int = 7) -> t.Iterator[tuple[str, Json]]:
    """Yield ``(host, row)`` for so many *hosts*, each made when it is asked for: two thirds are as a healthy recorded one, the others have
    the trouble of any, did not answer, or gave only a part; names, identities and counters are each host's own."""
    given = [json.dumps(facts) for facts in recorded()]
    healthy, troubled = given[:2], given[2:]
    for number in range(hosts):
        rng = random.Random(seed * 1_000_003 + number)
        lot = rng.random()
        name = f"host-{number:05d}"
        if lot < 0.02:
            yield name, {"reachable": False, "reason": f"ssh: connect to host {name} port 22: Connection timed out"}
            continue
        result = json.loads(rng.choice(healthy if lot < 0.66 else troubled))
        result["host"]["hostname"] = name
        if lot > 0.95:
            result["facts"] = dict(list(result["facts"].items())[: rng.randint(0, 6)])
        vary(result["facts"], rng)
        yield name, {"reachable": True, "result": result}


def vary(value: t.Any, rng: random.Random) -> None:
    """Make counters, sizes and identities in *value* those of another host; what decides over a verdict stays."""
    if isinstance(value, dict):
        for key, below in value.items():
            if (
                key in ("calls", "records", "read_bytes", "requests", "memory_bytes", "restart_count")
                and isinstance(below, int)
                and not isinstance(below, bool)
            ):
                value[key] = max(0, below + rng.randint(0, 9))
            elif key == "id" and isinstance(below, str):
                value[key] = f"{below[:-8]}{rng.getrandbits(32):08x}"
            else:
                vary(below, rng)
    elif isinstance(value, list):
        for element in value:
            vary(element, rng)


def without_times(report: t.Any) -> Json:
    """Return a copy of *report*, as its file has it, without what tells one run, or one report, from another of the same."""
    kept = copy.deepcopy(report)
    for key in ("generated_at", "merged", "history", "recorded_facts", "compared_with"):
        kept.pop(key, None)
    return t.cast(Json, kept)
