# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The check of backups, on sets that the store itself made."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._backup_store import BackupStore, StoredSet
from ansible_collections.stackops.runbook.plugins.module_utils._check_backup import check
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_checks import CheckResult, CheckRun
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_options import parse_monitoring
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_types import Observation

NOW = 1795435200.0  # 2026-11-23T12:00:00Z
HOUR = 3600.0
DAY = 24 * HOUR


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    directory = tmp_path / "backups"
    directory.mkdir(mode=0o700)
    return directory


def make_set(root: pathlib.Path, made_at: float, level: str = "decodable", project: str = "shop") -> StoredSet:
    store = BackupStore(str(root), project)
    store.prepare()
    with store.lock("test"):
        made = store.new_set(made_at)
        pathlib.Path(made.path_of("config.tar.gz")).write_bytes(b"config")
        return store.publish(made, {"verification": {"level": level}})


def run(root: pathlib.Path, memory: t.Optional[dict[str, t.Any]] = None, **options: t.Any) -> CheckResult:
    monitoring = parse_monitoring({"checks": {"backup": {"root": str(root), **options}}}, "test")
    return check(CheckRun(monitoring.checks["backup"], monitoring, memory or {}, NOW))


def only(result: CheckResult) -> Observation:
    (seen,) = result.observations
    return seen


def test_a_young_backup_that_was_verified_is_ok(root: pathlib.Path) -> None:
    make_set(root, NOW - 30 * HOUR)
    make_set(root, NOW - 6 * HOUR)
    result = run(root)
    seen = only(result)
    assert (seen.object, seen.stack, seen.status, seen.summary, seen.next_command) == ("shop", "shop", "ok", "the newest backup is 6 h old", "")
    assert seen.metrics == {"age_seconds": {"value": 6 * HOUR, "unit": "s"}, "verified_age_seconds": {"value": 6 * HOUR, "unit": "s"}}
    assert result.memory == {"projects": ["shop"]}


@pytest.mark.parametrize(
    ("age", "status", "words"),
    [
        (26 * HOUR, "ok", "26 h old"),
        (26 * HOUR + 1, "warning", "26 h old"),
        (50 * HOUR + 1, "critical", "50 h old"),
        (4 * DAY, "critical", "4 days old"),
        (-HOUR, "ok", "0 h old"),
    ],
)
def test_the_age_of_the_newest_is_judged(root: pathlib.Path, age: float, status: str, words: str) -> None:
    make_set(root, NOW - age)
    seen = only(run(root))
    assert seen.status == status and words in seen.summary
    assert (f"ls -l {root}/shop/sets" in seen.next_command) == (status != "ok")


def test_a_backup_that_nobody_verified_warns(root: pathlib.Path) -> None:
    make_set(root, NOW - HOUR, "written")
    seen = only(run(root))
    assert (seen.status, seen.summary) == ("warning", "the newest backup is 1 h old, and none has been verified") and "verified_age_seconds" not in seen.metrics


def test_a_verification_long_ago_warns(root: pathlib.Path) -> None:
    make_set(root, NOW - 10 * DAY)
    make_set(root, NOW - HOUR, "written")
    seen = only(run(root))
    assert (seen.status, seen.summary) == ("warning", "the newest backup is 1 h old, and the last one that was verified 10 days")
    assert only(run(root, thresholds={"verified_age_seconds": {"warning": "1000000"}})).status == "ok"


def test_a_set_that_somebody_took_away_is_critical(root: pathlib.Path) -> None:
    gone = make_set(root, NOW - 30 * HOUR)
    make_set(root, NOW - HOUR)
    shutil.rmtree(gone.path)
    seen = only(run(root))
    assert seen.status == "critical" and seen.summary.endswith("; 1 sets are gone without having been removed by retention")


def test_the_last_set_being_gone_is_critical_and_its_age_still_told(root: pathlib.Path) -> None:
    made = make_set(root, NOW - HOUR)
    shutil.rmtree(made.path)
    seen = only(run(root))
    assert (seen.status, seen.summary) == ("critical", "has no backup set any more") and seen.metrics["age_seconds"]["value"] == HOUR


def test_sets_without_a_time_are_unknown(root: pathlib.Path) -> None:
    make_set(root, NOW - HOUR)
    index_path = root / "shop" / "index.json"
    index = json.loads(index_path.read_text(encoding="utf-8"))
    index_path.write_text(json.dumps({**index, "last_success": None, "last_verified": None}), encoding="utf-8")
    seen = only(run(root))
    assert (seen.status, seen.summary) == ("unknown", "no set says when it was made") and seen.next_command


def test_every_project_that_ever_had_sets_is_expected(root: pathlib.Path) -> None:
    make_set(root, NOW - HOUR)
    make_set(root, NOW - HOUR, project="blog")
    (root / "lost+found").mkdir()
    first = run(root)
    assert first.memory == {"projects": ["blog", "shop"]}
    shutil.rmtree(root / "blog")
    later = run(root, first.memory)
    assert {one.object: one.status for one in later.observations} == {"blog": "critical", "shop": "ok"} and later.memory == first.memory
    named = run(root, first.memory, projects=["shop"])
    assert only(named).object == "shop" and named.memory == {"projects": ["shop"]}


def test_a_name_that_leads_elsewhere_is_refused(root: pathlib.Path) -> None:
    make_set(root, NOW - HOUR)
    seen = only(run(root / "shop", projects=["../shop"]))
    assert (seen.status, seen.summary) == ("unknown", "cannot be the name of a project with backups")


def test_an_index_that_cannot_be_understood_makes_that_project_alone_unknown(root: pathlib.Path) -> None:
    make_set(root, NOW - HOUR)
    make_set(root, NOW - HOUR, project="blog")
    index_path = root / "blog" / "index.json"
    index_path.write_text(json.dumps({**json.loads(index_path.read_text(encoding="utf-8")), "schema_version": 99}), encoding="utf-8")
    seen = {one.object: one for one in run(root).observations}
    assert (seen["shop"].status, seen["blog"].status) == ("ok", "unknown")
    assert str(index_path) in seen["blog"].summary


def test_a_root_that_is_no_directory_cannot_be_looked_at(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckError, match="Not a directory") as caught:
        run(tmp_path / "file")
    assert caught.value.hint == f"Look with: ls -ld {os.path.join(tmp_path, 'file')}"
