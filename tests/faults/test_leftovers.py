# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run that was cut off leaves its stack; the next run, perhaps of another checkout, must not inherit its data."""

from __future__ import annotations

import pathlib

from tests.support.backup_stack import PORT, PREFIX, BackupStack


def test_data_that_another_checkout_left_is_replaced(root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    left = BackupStack(f"{PREFIX}-left", port=PORT + 9, services=("postgres",))
    left.directory = tmp_path / "another checkout"
    left.up()
    left.sql("CREATE TABLE old AS SELECT 1 AS one")
    mine = BackupStack(left.project, port=left.port, services=left.services)
    try:
        mine.up()
        mine.sql("CREATE TABLE new AS SELECT 1 AS one")
        ended = mine.backup(root)
        assert ended.exit_code == 0, ended.message
        assert mine.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == "new"
    finally:
        mine.down()
