# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._check_output import as_json, exposition, summarise, text_of, write_metrics
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_options import check_setting
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_types import Observation

SETTING = check_setting("health", {}, "test")
POSTGRES = Observation("shop/postgres", "critical", "exited: killed", "shop", "", "docker logs --tail 50 shop-postgres-1", ("engine",))
BACKEND = Observation("shop/backend", "critical", "unhealthy", "shop", "could not connect", "docker logs x", ("engine", "shop/postgres"), ("last line",))
ENDPOINT = Observation(
    "http://localhost:8000/health", "warning", "slow", "shop", parents=("shop/backend",), metrics={"response_time_seconds": {"value": 1.5, "unit": "s"}}
)
FINE = Observation("engine", "ok", "answers")


def test_what_explains_the_rest_comes_first() -> None:
    assert summarise([ENDPOINT, BACKEND, POSTGRES, FINE]) == ("critical", "shop/postgres: exited: killed (and 2 more)")
    assert summarise([FINE]) == ("ok", "engine: answers")
    assert summarise([FINE, Observation("b", "ok", "")]) == ("ok", "2 objects ok")
    assert summarise([]) == ("ok", "nothing to look at")
    assert summarise([FINE, Observation("check", "unknown", "no")])[0] == "unknown"


def test_output_is_that_of_a_plugin_with_cause_and_next_command() -> None:
    assert text_of(SETTING, [ENDPOINT, BACKEND, POSTGRES, FINE]).splitlines() == [
        "HEALTH CRITICAL - shop/postgres: exited: killed (and 2 more) | 'http://localhost:8000/health response_time_seconds'=1.5s;1;3;0",
        "[critical] shop/postgres: exited: killed",
        "  next: docker logs --tail 50 shop-postgres-1",
        "[critical] shop/backend: unhealthy (explained by shop/postgres)",
        "[warning] http://localhost:8000/health: slow (explained by shop/backend)",
    ]
    assert "[ok] engine: answers" in text_of(SETTING, [FINE], verbose=True)


def test_json_has_everything() -> None:
    document = as_json(SETTING, [POSTGRES, BACKEND])
    assert (document["check"], document["status"]) == ("health", "critical")
    assert [row["explained_by"] for row in document["observations"]] == [None, "shop/postgres"]
    assert document["observations"][1]["details"] == ["last line"]


@pytest.mark.parametrize("name", ['a"b', "back\\slash", "new\nline", "plain"])
def test_metrics_are_in_the_text_format(name: str, tmp_path) -> None:
    seen = Observation(name, "critical", "x", "shop", metrics={"m": {"value": 2, "unit": ""}})
    text = exposition(SETTING, [seen], 1_795_600_000.25, 0.5, {"queued": 3, "dead": 0})
    sample = re.compile(r'[a-z_]+\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+\} [0-9.e+]+')
    for line in text.splitlines():
        assert line.startswith(("# HELP ", "# TYPE ")) or sample.fullmatch(line), line
    assert 'stackops_check_status{check="health"} 2' in text and 'state="queued"} 3' in text
    write_metrics(str(tmp_path), "health", text)
    assert (tmp_path / "stackops_health.prom").read_text() == text
    assert (tmp_path / "stackops_health.prom").stat().st_mode & 0o777 == 0o644
