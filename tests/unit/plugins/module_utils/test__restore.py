# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a restore says to type next."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._restore import Request, rollback_command


@pytest.mark.parametrize(
    ("params", "more"),
    [
        ({}, ""),
        ({"project_name": "shop"}, " -e restore_project_name=shop"),
        ({"project_src": "/srv/shop"}, " -e restore_project_name=shop"),
        ({"root": "/mnt/my backups"}, " -e 'restore_root=/mnt/my backups'"),
    ],
)
def test_the_way_back_is_a_whole_command(params: dict[str, t.Any], more: str) -> None:
    expected = f"ansible-playbook stackops.runbook.restore --become -e restore_rollback=true -e restore_confirm=shop{more}"
    assert rollback_command(Request.from_params(params), "shop") == expected
