# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._compose_build import throw_away_document
from ansible_collections.stackops.runbook.plugins.module_utils._compose_run import Tail
from ansible_collections.stackops.runbook.plugins.module_utils._compose_service import not_started_again, start_order

DEPENDS_ON = {"front": ["api"], "api": ["migrate", "cache"], "migrate": ["db"], "cache": [], "db": [], "other": []}


@pytest.mark.parametrize(
    ("missing", "order"),
    [
        (["front", "db", "api", "migrate"], ["db", "migrate", "api", "front"]),
        # Through a service that runs.
        (["front", "db"], ["db", "front"]),
        (["other", "cache"], ["cache", "other"]),
        ([], []),
    ],
)
def test_each_service_comes_after_what_it_depends_on(missing: list[str], order: list[str]) -> None:
    assert start_order(missing, DEPENDS_ON) == order


def test_a_restart_in_the_second_of_the_first_start_counts() -> None:
    before = [{"container": "api-1", "id": "a", "started_at": "2026-11-26T05:53:29.268Z"}]
    assert not_started_again(before, [{**before[0], "started_at": "2026-11-26T05:53:29.700Z"}]) == []
    assert not_started_again(before, before) == ["api-1"]
    assert not_started_again(before, [{**before[0], "started_at": None}]) == ["api-1"]


def test_a_cycle_does_not_hang() -> None:
    assert sorted(start_order(["a", "b"], {"a": ["b"], "b": ["a"]})) == ["a", "b"]


def test_a_try_has_names_of_its_own_for_all_that_is_built() -> None:
    document = {
        "services": {
            "api": {"image": "shop-api", "build": {"context": "/s", "tags": ["shop-api:latest"], "cache_to": ["x"], "args": {"A": "1"}}},
            "Base": {"build": {"context": "/b"}},
            "db": {"image": "postgres:17"},
        },
        "secrets": {"a": {}},
    }
    tried, names = throw_away_document(document, "1f2e")
    assert names == {"api": "stackops-build-check/api:1f2e", "Base": "stackops-build-check/base:1f2e"}
    assert tried["services"]["api"] == {"image": names["api"], "build": {"context": "/s", "args": {"A": "1"}}}
    assert tried["services"]["db"] == {"image": "postgres:17"} and tried["secrets"] == {"a": {}}
    assert document["services"]["api"]["image"] == "shop-api"


def test_of_a_long_output_the_last_lines_are_kept_whole() -> None:
    tail = Tail(100)
    tail.read(io.BytesIO(b"".join(b"line %04d\n" % number for number in range(5000))))
    assert tail.text.splitlines() == [f"line {number:04d}" for number in range(4991, 5000)] and tail.total_bytes == 50000
    short = Tail(100)
    short.read(io.BytesIO("一行\n".encode()))
    assert short.text == "一行\n"
