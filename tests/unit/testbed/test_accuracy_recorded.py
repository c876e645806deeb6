# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules of now over what was collected from real hosts in every case of the catalogue: the cause is on top, and nothing beside it.

``make accuracy`` records. What it measured with the rules of its day is in ``docs/accuracy.md``.
"""

from __future__ import annotations

import pytest
from faultlib import recordings, score
from faultlib.profiles import PROFILES

CASES = {f"{profile.name}-{case.name}": (profile, case) for profile in PROFILES.values() for case in profile.cases()}
RECORDINGS = {name: recordings.load(name) for name in PROFILES}


@pytest.mark.parametrize("name", CASES)
def test_the_cause_is_on_top_and_nothing_stands_beside_it(name):
    profile, case = CASES[name]
    recording = RECORDINGS[profile.name].get(case.name)
    if recording is None:
        pytest.skip("not recorded yet")
    verdict = score.judged(case, recording.row(case))
    assert verdict.right, verdict


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_recordings_are_of_cases_that_there_are(profile):
    assert set(RECORDINGS[profile.name]) <= {case.name for case in profile.cases()}


def test_what_is_written_is_read_again_and_equal_recordings_make_an_equal_file(tmp_path):
    some = [recordings.Recording("two", "2026-01-01T00:00:00Z", {"name": "web1"}, {"logs": {"status": "ok"}})]
    some.insert(0, recordings.Recording("one", "2026-01-01T00:00:00Z", {"name": "資料庫"}, {}))
    recordings.write("shop", some, tmp_path)
    first = (tmp_path / "shop.jsonl.xz").read_bytes()
    recordings.write("shop", reversed(some), tmp_path)
    assert (tmp_path / "shop.jsonl.xz").read_bytes() == first
    assert recordings.load("shop", tmp_path) == {one.case: one for one in some}
    assert recordings.load("second", tmp_path) == {}
