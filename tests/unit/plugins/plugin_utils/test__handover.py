# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import stat

from ansible_collections.stackops.runbook.plugins.plugin_utils._handover import hand_over, handover_directory, take_over
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=40), st.dictionaries(st.text(max_size=5), st.integers()))
def test_what_is_handed_over_is_taken_over(tmp_path: pathlib.Path, host: str, result: dict[str, int]) -> None:
    directory = handover_directory(str(tmp_path))
    hand_over(directory, host, {"host": host, "result": result})
    assert take_over(directory, host) == {"host": host, "result": result}
    assert all(path.parent == directory for path in directory.iterdir())


def test_nothing_was_handed_over(tmp_path: pathlib.Path) -> None:
    assert take_over(handover_directory(str(tmp_path)), "web1") is None


def test_others_may_not_read_it(tmp_path: pathlib.Path) -> None:
    directory = handover_directory(str(tmp_path))
    hand_over(directory, "web1", {})
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(next(directory.iterdir()).stat().st_mode) == 0o600


def test_a_name_longer_than_a_file_s_may_be(tmp_path: pathlib.Path) -> None:
    directory = handover_directory(str(tmp_path))
    for host in ("\U00010000" * 40, "\U00010000" * 39 + "\U00010001"):
        hand_over(directory, host, {"host": host})
        assert take_over(directory, host) == {"host": host}
