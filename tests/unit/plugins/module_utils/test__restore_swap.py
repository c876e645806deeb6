# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._restore_swap import Names, _setting, maintenance_database, read_tag, tag

ID = "0123abcd"


def test_names_of_a_swap() -> None:
    assert Names.of("shop", ID) == Names("shop", "shop__restore_0123abcd", "shop__old_0123abcd")


@pytest.mark.parametrize("live", ["x" * 63, "ü" * 31, "🐘" * 15, "a" * 50])
def test_names_fit_into_what_the_server_takes(live: str) -> None:
    names = Names.of(live, ID)
    for name in (names.restored, names.old):
        assert len(name.encode()) <= 63 and name.endswith(f"_{ID}") and "\ufffd" not in name
    assert len({names.live, names.restored, names.old}) == 3


@pytest.mark.parametrize("comment", [None, "", "of the accountant", '{"stackops": 1}', 'it\'s "quoted"\nü'])
def test_the_tag_carries_the_comment_that_was_there(comment: str | None) -> None:
    found = read_tag(tag(ID, "old", comment))
    assert found["stackops.runbook"] == ID and found["purpose"] == "old" and found["comment"] == comment and found["at"]


@pytest.mark.parametrize("comment", [None, "", "old", "[1]", "3", "null", '{"other": 1}', '"stackops.runbook"', json.dumps(["stackops.runbook"])])
def test_other_peoples_comments_are_no_tags(comment: str | None) -> None:
    assert read_tag(comment) == {}


def test_settings_that_are_lists_keep_their_parts() -> None:
    assert _setting("search_path", '"$user", public') == '"$user", public'
    assert _setting("Search_Path", "a, b") == "a, b"
    assert _setting("work_mem", "4MB") == "'4MB'"
    assert _setting("app.note", "it's = a, b") == "'it''s = a, b'"


def test_the_maintenance_database_is_never_one_that_is_swapped() -> None:
    assert maintenance_database(["shop"]) == "postgres" and maintenance_database(["shop", "postgres"]) == "template1"
