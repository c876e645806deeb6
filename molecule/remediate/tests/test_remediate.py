# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the remediations did on the host, what they kept, and what is in the audit log."""

from __future__ import annotations

import json
import pathlib
import re

import pytest

KEPT = pathlib.Path(__file__).resolve().parents[3] / "build" / "molecule" / "remediate"
LOG = "/var/log/stackops/remediation.jsonl"
CANARY = "canary-of-the-tool"


@pytest.fixture(scope="module")
def entries(host):
    """Return the lines of the audit log."""
    return [json.loads(line) for line in host.check_output("cat %s", LOG).splitlines()]


@pytest.fixture(scope="module")
def said():
    """Return what was said of what failed on purpose."""
    return json.loads((KEPT / "said.json").read_text())


def inspect(host, container):
    return json.loads(host.check_output("docker inspect %s", container))[0]


def results(entries, action):
    return [entry for entry in entries if entry["event"] == "result" and entry["action"] == action]


def test_a_changed_env_file_is_applied_once(host, entries):
    assert "LOG_LEVEL=warning" in inspect(host, "shop-backend-1")["Config"]["Env"]
    assert [entry["target"] for entry in results(entries, "recreate_service")] == ["shop/backend"]


def test_the_limit_is_there_and_in_a_file_of_its_own(host, entries):
    assert inspect(host, "shop-backend-1")["HostConfig"]["Memory"] == 300 * 1024**2
    assert "300m" in host.file("/srv/stack/docker-compose.override.yml").content_string
    assert "300m" not in host.file("/srv/stack/docker-compose.yml").content_string
    assert len(results(entries, "resource_limits")) == 1


def test_what_was_missing_runs(host, entries):
    assert inspect(host, "tool-helper-1")["State"]["Running"]
    assert results(entries, "start_missing")[0]["after"] == {"helper": ["running"]}


def test_only_old_logs_are_gone(host):
    assert not host.file("/srv/stack/logs/app.log.7").exists and host.file("/srv/stack/logs/app.log.1").exists


def test_room_was_made_and_no_volume_is_missing(host, entries):
    (cleanup,) = results(entries, "docker_cleanup")
    assert "tool-left-over" in cleanup["before"]["one_offs"] and cleanup["after"]["volumes"] == cleanup["before"]["volumes"]
    assert cleanup["before"]["build_cache_entries"] > 0 and cleanup["after"]["build_cache_bytes"] == 0
    assert host.check_output("docker ps --all --format '{{.Names}}' --filter name=tool-left-over") == ""
    assert {"tool_kept", "shop_database-data"} <= set(host.check_output("docker volume ls --quiet").split())


def test_an_unconfirmed_run_is_in_no_log_and_an_unknown_action_is_refused(entries, said):
    assert {entry["target"] for entry in entries if entry["action"] == "pull_image"} == set()
    assert "did you mean restart_service?" in said["refusal"] and "start_missing" in said["refusal"]


def test_a_build_was_tried_and_nothing_of_it_is_left(host, entries):
    (tried,) = results(entries, "build_check")
    assert tried["verified"]["ok"] and not tried["changed"] and tried["after"]["image_bytes"] > 0
    assert "stackops-build-check" not in host.check_output("docker images --format '{{.Repository}}'")


def test_a_service_was_rebuilt_and_runs_with_the_new_image(host, entries):
    rebuilt = results(entries, "rebuild_service")[0]
    assert rebuilt["status"] == "done" and rebuilt["verified"]["ok"]
    previous = host.check_output("docker image inspect --format '{{.Id}}' stackops-previous/tool-tool")
    assert inspect(host, "tool-tool-1")["Image"] not in ("", previous)


def test_a_health_check_is_there_and_passes(host, entries):
    assert [(entry["target"], entry["verified"]["ok"]) for entry in results(entries, "health_check")] == [("tool/helper", True)]
    assert inspect(host, "tool-helper-1")["State"]["Health"]["Status"] == "healthy"
    assert "healthcheck" in host.file("/srv/tool/docker-compose.override.yml").content_string


def test_the_output_of_the_command_is_on_the_controller_without_the_secret(host, entries):
    (path,) = (KEPT / "commands").rglob("*-tool.json")
    output = json.loads(path.read_text())
    assert (output["exit_code"], output["stdout"]) == (3, "secret [redacted]\n") and path.stat().st_mode & 0o777 == 0o600
    assert [entry["after"] for entry in results(entries, "run_command")] == [{"exit_code": 3}]


def test_a_failed_build_changed_nothing_and_says_what_is_missing(host, entries, said):
    assert (said["failed_build"]["kind"], said["failed_build"]["file"].lstrip("/")) == ("build-context", "nosuch.txt")
    failed = results(entries, "rebuild_service")[-1]
    assert failed["status"] == "failed" and not failed["changed"] and inspect(host, "tool-tool-1")["State"]["Running"]


def test_the_finding_of_the_report_was_put_right(host, entries):
    before, after = (json.loads((KEPT / name / "latest/report.json").read_text()) for name in ("before", "reports"))
    (row,), (later,) = before["hosts"].values(), after["hosts"].values()
    finding = next(one for one in row["findings"] if one["object"] == "shop/postgres" and one.get("remediation"))
    assert finding["id"] not in {one["id"] for one in later["findings"] if one["result"] == "fire"}
    assert finding["remediation"] == {"action": "start_missing", "project": "shop"}
    assert inspect(host, "shop-postgres-1")["State"]["Running"]
    assert any(f"{finding['rule']} shop/postgres" in entry["reason"] for entry in results(entries, "start_missing"))


def test_the_report_names_the_command_that_does_it():
    text = (KEPT / "before/latest/report.md").read_text()
    assert re.search(r"`ansible-playbook -i \S+ stackops\.runbook\.remediate [^`]*remediate_rules=database-down`", text)


def test_the_audit_log_is_whole_private_and_without_secrets(host, entries):
    assert host.file(LOG).mode == 0o600 and host.file(LOG).user == "root"
    assert CANARY not in host.file(LOG).content_string
    by_id = {}
    for entry in entries:
        by_id.setdefault(entry["id"], []).append(entry["event"])
        assert entry["actor"] and entry["undo"] and entry["host"] and entry["at"]
    assert set(map(tuple, by_id.values())) == {("intent", "result")}
    assert {entry["actor"] for entry in results(entries, "recreate_service")} == {"molecule"}


def test_what_the_report_said_was_looked_at_again():
    before, after = (json.loads((KEPT / name / "latest" / "report.json").read_text()) for name in ("before", "reports"))
    assert after["compared_with"] == before["generated_at"]
    assert "database-down" in {finding["rule"] for finding in after["changes"]["resolved"]}
    assert "critical" not in {finding["severity"] for finding in after["changes"]["ongoing"]}
