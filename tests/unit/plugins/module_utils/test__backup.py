# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a backup or a restore says when it fails."""

from __future__ import annotations

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._backup import failure
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError


@pytest.mark.parametrize(
    ("reason", "hint", "said"),
    [
        ("not running: exited", "Start it: docker start shop-db-1", "shop/db: not running: exited. Start it: docker start shop-db-1"),
        ("nothing was changed.", "Run it again.", "shop/db: nothing was changed. Run it again."),
        ("permission denied", "", "shop/db: permission denied."),
    ],
)
def test_why_and_what_to_do_are_two_sentences(reason: str, hint: str, said: str) -> None:
    assert failure([], [CheckError("shop/db", reason, hint)])["msg"] == said


def test_several_failures_are_told_one_after_the_other() -> None:
    errors = [CheckError("latest", "there is no such set", "There are: none"), CheckError("docker", "permission denied", "Run with become: true.")]
    assert failure([], errors)["msg"] == "latest: there is no such set. There are: none. docker: permission denied. Run with become: true."
