# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The application's migrations are sent to the new database, and to no other."""

from __future__ import annotations

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._database_reset import with_database

HOSTS = frozenset(("db", "10.0.0.2"))


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"DATABASE_URL": "postgresql://u:s%2Fshop@db:5432/shop"}, {"DATABASE_URL": "postgresql://u:s%2Fshop@db:5432/new"}),
        ({"URL": "postgresql+asyncpg://u:p@DB/shop?ssl=require"}, {"URL": "postgresql+asyncpg://u:p@DB/new?ssl=require"}),
        ({"DSN": "host=db dbname=shop user=shop password=x"}, {"DSN": "host=db dbname=new user=shop password=x"}),
        ({"DB_HOST": "db", "DB_USER": "shop", "DB_NAME": "shop", "PATH": "shop"}, {"DB_NAME": "new"}),
        ({"A_URL": "postgresql://u:p@db/shop", "B_URL": "postgresql://u:p@db/other"}, {"A_URL": "postgresql://u:p@db/new"}),
        # Of the same name on another server, or none at all.
        ({"DATABASE_URL": "postgresql://u:p@elsewhere/shop"}, {}),
        ({"DEBUG": "true"}, {}),
    ],
)
def test_variables_that_lead_to_it(environment, expected):
    assert with_database(environment, HOSTS, "shop", "new") == expected
