# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import pathlib
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils import _conditions, _diagnosis
from ansible_collections.stackops.runbook.plugins.plugin_utils._diagnosis import DiagnosisError, check_settings, rows_of_run
from ansible_collections.stackops.runbook.plugins.plugin_utils._handover import hand_over

RULES = pathlib.Path(__file__).resolve().parents[4] / "roles/diagnose/rules"
NOW = datetime.datetime(2026, 11, 26, 12, 0, tzinfo=datetime.timezone.utc)


def arguments(**changed: t.Any) -> dict[str, t.Any]:
    return {"rule_dirs": [str(RULES)], "disabled_rules": [], "thresholds": {}, "silences": [], "language": "en", **changed}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"thresholds": {"database-donw": {"x": 1}}}, "did you mean database-down?"),
        ({"disabled_rules": ["database-donw"]}, "did you mean database-down?"),
        ({"rule_dirs": [str(RULES), "no/such/directory"]}, "there is no such directory of rules"),
        ({"silences": [{"rule": "database-down", "reason": "known", "expires": "soon"}]}, "soon"),
    ],
    ids=["thresholds", "disabled", "directory", "silences"],
)
def test_what_was_set_about_rules_is_checked(wrong: dict[str, t.Any], told: str) -> None:
    with pytest.raises(DiagnosisError) as caught:
        check_settings(arguments(**wrong), "1.0.0", NOW)
    assert told in str(caught.value)


def test_what_was_set_about_rules_may_be_right() -> None:
    check_settings(arguments(disabled_rules=["database-down"]), "1.0.0", NOW)


def test_the_rules_of_the_collection_alone_are_not_compiled_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[t.Any] = []
    monkeypatch.setattr(_diagnosis, "load_rules", lambda *given: compiled.append(given))
    check_settings(arguments(), "1.0.0", NOW)
    assert compiled == []


def test_the_library_is_looked_for_where_nothing_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_conditions, "HAS_JMESPATH", False)
    with pytest.raises(DiagnosisError, match=r"^No report can be made: the controller lacks the Python library jmespath\. Install it .*: .* -m pip install"):
        check_settings(arguments(), "1.0.0", NOW)


def test_only_the_hosts_that_are_named_are_rows(tmp_path: pathlib.Path) -> None:
    directory = tmp_path / "facts"
    for host in ("web1", "web2"):
        hand_over(directory, host, {"host": host, "reachable": False, "reason": host})
    assert [(host, row["reason"]) for host, row in rows_of_run(directory, ["web2"])] == [("web2", "web2")]
    ((host, row),) = rows_of_run(directory, ["web3"])
    assert (host, row["reachable"]) == ("web3", True)
    assert "see its message further up" in row["reason"]
