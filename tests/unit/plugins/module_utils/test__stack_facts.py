# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

from ansible_collections.stackops.runbook.plugins.module_utils._engine import EngineOptions
from ansible_collections.stackops.runbook.plugins.module_utils._http_probe import endpoint_arguments
from ansible_collections.stackops.runbook.plugins.module_utils._stack_facts import FactsOptions, collect_facts

COLLECTORS = frozenset({"engine", "compose", "http", "postgres", "links", "pools", "migrations"})


def test_what_is_not_seen_for_want_of_the_engine_is_unknown_and_not_well(tmp_path: pathlib.Path) -> None:
    facts = collect_facts(FactsOptions(engine=EngineOptions(docker_host=f"unix://{tmp_path}/none.sock"), collectors=COLLECTORS))["facts"]
    assert {name: one["status"] for name, one in facts.items()} == dict.fromkeys(COLLECTORS, "unknown")
    assert all(one["errors"] for one in facts.values())
    assert facts["engine"]["reachable"] is False


def test_what_the_inventory_declares_is_looked_at_without_the_engine(tmp_path: pathlib.Path) -> None:
    options = FactsOptions(
        engine=EngineOptions(docker_host=f"unix://{tmp_path}/none.sock"),
        endpoints=({**{name: option.get("default") for name, option in endpoint_arguments().items()}, "url": "http://127.0.0.1:9/health"},),
        collectors=frozenset({"http", "postgres"}),
    )
    facts = collect_facts(options)["facts"]
    assert [endpoint["url"] for endpoint in facts["http"]["endpoints"]] == ["http://127.0.0.1:9/health"]
    assert facts["http"]["status"] == "critical"
    assert facts["postgres"]["status"] == "unknown"
