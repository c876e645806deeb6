# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import stat

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._files import write_whole


def test_a_file_is_written_whole_or_not_at_all(tmp_path: pathlib.Path) -> None:
    target = tmp_path / "report.json"
    write_whole(target, b"old")
    with pytest.raises(TypeError):
        write_whole(target, "no bytes")  # type: ignore[arg-type]
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_mode_is_what_was_asked_for_and_its_owner_s_otherwise(tmp_path: pathlib.Path) -> None:
    write_whole(tmp_path / "secret", b"")
    write_whole(tmp_path / "public", b"", 0o644)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("secret", "public")] == [0o600, 0o644]


def test_a_name_as_long_as_a_name_can_be(tmp_path: pathlib.Path) -> None:
    write_whole(tmp_path / ("n" * 255), b"whole")
    assert (tmp_path / ("n" * 255)).read_bytes() == b"whole"
