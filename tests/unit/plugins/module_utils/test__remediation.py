# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import concurrent.futures
import json
import os
import pathlib
import stat
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._redaction import Redactor
from ansible_collections.stackops.runbook.plugins.module_utils._remediation import (
    Change,
    Diff,
    NothingChanged,
    Verified,
    Work,
    append_line,
    run_remediation,
)

SECRET = "c4n4ry-value-91"


@pytest.fixture
def log(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "stackops" / "remediation.jsonl"


def params(log: pathlib.Path) -> dict[str, t.Any]:
    return {"audit_log": str(log), "audit_actor": "ops@control", "audit_reason": "ticket 7"}


def work(done: list[str], verified: Verified = Verified(True, "running"), error: t.Optional[CheckError] = None, **changes: t.Any) -> Work:  # noqa: B008
    def carry_out() -> dict[str, t.Any]:
        if error is not None:
            raise error
        done.append("changed")
        return {"state": "running", "output": f"password is {SECRET}"}

    given = {"commands": (("docker", "compose", "up", "-d", "a b"),), "before": {"state": "exited"}, "undo": ("docker stop web",), **changes}
    change = Change("restart_service", "shop/web", "start web", **given)
    return Work(change, carry_out, lambda: verified, Redactor([SECRET]))


def entries(log: pathlib.Path) -> list[dict[str, t.Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_a_plan_is_shown_and_nothing_is_touched_in_check_mode(log: pathlib.Path) -> None:
    done: list[str] = []
    result = run_remediation(lambda: work(done, diff=Diff(".env", "A=1\n", f"A={SECRET}\n"), after={"state": "running"}), params(log), True)
    assert done == [] and not log.parent.exists()
    assert result["changed"] and result["status"] == "planned"
    assert result["plan"] == ["docker compose up -d 'a b'"]
    assert (result["before"], result["after"], result["undo"]) == ({"state": "exited"}, {"state": "running"}, ["docker stop web"])
    assert result["verified"]["ok"] is None
    assert result["diff"] == {"before_header": ".env", "after_header": ".env", "before": "A=1\n", "after": "A=[redacted]\n"}


def test_what_was_done_is_in_the_audit_log_before_and_after(log: pathlib.Path) -> None:
    done: list[str] = []
    result = run_remediation(lambda: work(done), params(log), False)
    assert done == ["changed"] and result["status"] == "done" and result["changed"] and "failed" not in result
    intent, after = entries(log)
    assert intent["id"] == after["id"] and (intent["event"], after["event"]) == ("intent", "result")
    for entry in (intent, after):
        assert entry["actor"] == "ops@control" and entry["reason"] == "ticket 7" and entry["user"] and entry["host"] and entry["at"].endswith("Z")
        assert entry["commands"] == [["docker", "compose", "up", "-d", "a b"]] and entry["before"] == {"state": "exited"}
        assert entry["undo"] == ["docker stop web"] and entry["target"] == "shop/web" and entry["action"] == "restart_service"
    assert after["after"]["state"] == "running" and after["verified"] == {"ok": True, "detail": "running"}
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert SECRET not in log.read_text() and SECRET not in json.dumps(result)


def test_the_intent_is_on_the_disk_before_anything_is_changed(log: pathlib.Path) -> None:
    seen: list[list[dict[str, t.Any]]] = []

    def plan() -> Work:
        original = work([])
        return Work(original.change, lambda: seen.append(entries(log)) or {}, original.verify, original.redactor)  # type: ignore[func-returns-value]

    run_remediation(plan, params(log), False)
    assert [entry["event"] for entry in seen[0]] == ["intent"]


def test_nothing_is_done_or_written_where_things_are_so_already(log: pathlib.Path) -> None:
    done: list[str] = []
    result = run_remediation(lambda: work(done, needed=False), params(log), False)
    assert not result["changed"] and result["status"] == "nothing-to-do" and result["verified"]["ok"] and done == [] and not log.exists()


@pytest.mark.parametrize(("kind", "changed"), [(CheckError, True), (NothingChanged, False)])
def test_a_failure_says_whether_something_was_changed(log: pathlib.Path, kind: type[CheckError], changed: bool) -> None:
    result = run_remediation(lambda: work([], error=kind("web", f"exit code 1: {SECRET}", "Look at the log.")), params(log), False)
    assert result["failed"] and result["status"] == "failed" and result["changed"] is changed
    assert ("nothing was changed" in result["summary"]) is not changed
    assert result["errors"] == [{"source": "web", "reason": "exit code 1: [redacted]", "hint": "Look at the log."}]
    assert entries(log)[-1]["status"] == "failed" and SECRET not in log.read_text()


def test_what_has_no_effect_is_a_failure_with_the_way_back(log: pathlib.Path) -> None:
    result = run_remediation(lambda: work([], verified=Verified(False, "web is unhealthy")), params(log), False)
    assert result["failed"] and result["changed"] and result["verified"] == {"ok": False, "detail": "web is unhealthy"}
    assert "web is unhealthy" in result["summary"] and result["errors"][0]["hint"] == "docker stop web"


def test_without_a_plan_nothing_is_written(log: pathlib.Path) -> None:
    def plan() -> Work:
        raise CheckError("project", "there are several", "Name one.")

    result = run_remediation(plan, params(log), False)
    assert result["failed"] and not result["changed"] and result["summary"] == "project: there are several. Name one." and not log.exists()


def test_nothing_is_changed_where_the_audit_log_cannot_be_written(tmp_path: pathlib.Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("")
    (tmp_path / "audit.jsonl").symlink_to(elsewhere)
    done: list[str] = []
    result = run_remediation(lambda: work(done), params(tmp_path / "audit.jsonl"), False)
    assert result["failed"] and not result["changed"] and done == [] and elsewhere.read_text() == ""


def test_a_directory_that_others_may_write_to_is_refused(log: pathlib.Path) -> None:
    log.parent.mkdir()
    log.parent.chmod(0o777)
    with pytest.raises(CheckError, match="others may write"):
        append_line(str(log), {"a": 1})


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full device")
@pytest.mark.parametrize(("makes_room", "changed"), [(True, ["changed"]), (False, [])])
def test_on_a_full_disk_only_what_makes_room_is_done(log: pathlib.Path, monkeypatch: pytest.MonkeyPatch, makes_room: bool, changed: list[str]) -> None:
    done: list[str] = []
    real_write, full = os.write, os.open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr("os.write", lambda descriptor, data: real_write(descriptor if done else full, data))
    result = run_remediation(lambda: work(done, makes_room=makes_room), params(log), False)
    monkeypatch.undo()
    os.close(full)
    assert done == changed and bool(result.get("failed")) is not makes_room
    assert [entry["event"] for entry in entries(log)] == (["intent", "result"] if makes_room else [])


def test_a_torn_line_stays_alone_and_lines_of_many_are_whole(log: pathlib.Path) -> None:
    append_line(str(log), {"number": -1})
    with log.open("ab") as file:
        file.write(b'{"torn": ')
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: append_line(str(log), {"number": number, "text": "x" * 5000}), range(40)))
    lines = log.read_text().splitlines()
    assert lines[1] == '{"torn": '
    assert sorted(json.loads(line)["number"] for line in (lines[0], *lines[2:])) == [-1, *range(40)]
