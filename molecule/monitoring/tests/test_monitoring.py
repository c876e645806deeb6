# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What real cron did with the checks, what arrived, and that nothing is left after the removal."""

from __future__ import annotations

import json

import pytest

EVIDENCE = "/var/tmp/evidence"
CANARIES = ("canary-of-the-chat", "canary-of-the-hook")


@pytest.fixture(scope="module")
def received(host):
    """Return what the receiver got, in order: path and parsed body."""
    return [(row["path"], json.loads(row["body"])) for row in map(json.loads, host.check_output("cat /var/tmp/received.jsonl").splitlines())]


@pytest.fixture(scope="module")
def alerts(received):
    """Return the alerts that came by the generic webhook about services, in order."""
    found = [alert for path, body in received if path.startswith("/hook") for alert in body["alerts"]]
    return [alert for alert in found if alert["labels"]["check"] == "health"]


def test_the_test_alert_arrived_by_every_channel(received):
    first = {path.partition("?")[0].rpartition("/")[0] for path, body in received if "test" in json.dumps(body)}
    assert first == {"/services/T0/B0", ""}


def test_the_failure_and_its_end_arrived_once_each_with_the_same_key(alerts):
    database = [alert for alert in alerts if alert["labels"]["object"] == "shop/postgres"]
    assert [alert["status"] for alert in database] == ["firing", "resolved"]
    assert len({alert["fingerprint"] for alert in database}) == 1
    assert len({alert["x"]["incident_id"] for alert in database}) == 1
    assert database[0]["labels"]["severity"] == "critical" and database[0]["labels"]["stack"] == "shop"


def test_the_message_says_what_since_when_and_what_to_type_next(received, alerts):
    database = next(alert for alert in alerts if alert["labels"]["object"] == "shop/postgres")
    assert database["annotations"]["next_command"] == "docker start shop-postgres-1"
    assert database["startsAt"].startswith("20")
    # What waits for a channel goes as one message, whatever check it is of.
    chat = [attachment["text"] for path, body in received if path.startswith("/services") for attachment in body["attachments"]]
    assert any("docker start shop-postgres-1" in text and "Stack: shop" in text for text in chat), chat


def test_what_the_database_explains_woke_nobody(alerts):
    assert {alert["labels"]["object"] for alert in alerts} == {"shop/postgres"}


def test_secrets_are_in_one_file_that_only_root_reads(host):
    assert host.check_output("grep -rl canary-of %s | sort", EVIDENCE) == f"{EVIDENCE}/etc/stackops/monitoring.json"
    assert host.file(f"{EVIDENCE}/etc/stackops/monitoring.json").mode == 0o600
    assert host.file(f"{EVIDENCE}/var/lib/stackops/monitoring").mode == 0o700
    for canary in CANARIES:
        assert canary not in host.check_output("journalctl --no-pager --output=cat --quiet --unit=cron --since=-1h")


def test_cron_has_one_short_line_for_each_check(host):
    cron = host.file(f"{EVIDENCE}/etc/cron.d/stackops-monitoring")
    assert (cron.mode, cron.user) == (0o644, "root") and cron.content_string.endswith("\n")
    lines = [line.split(" root ")[1] for line in cron.content_string.splitlines() if " root " in line]
    assert lines == [
        *(f"/usr/local/sbin/stackops check {name} --scheduled" for name in ("health", "errors", "auth", "resources", "backup")),
        "/usr/local/sbin/stackops cleanup --scheduled",
    ]
    assert 'MAILTO=""' in cron.content_string and "%" not in cron.content_string


def test_old_logs_went_and_nothing_else(host):
    assert sorted(host.check_output("ls /srv/archive/logs").split()) == ["letter.txt", "new.log", "seven-days-less-an-hour.log"]


def test_metrics_are_there_for_node_exporter(host):
    text = host.file(f"{EVIDENCE}/var/lib/node_exporter/stackops_health.prom").content_string
    assert 'stackops_object_status{check="health",object="shop/postgres",stack="shop"} ' in text
    assert "stackops_check_last_run_timestamp_seconds" in text


def test_systemd_took_over_from_cron(host):
    state = json.loads(host.check_output("cat %s/systemd.json", EVIDENCE))
    assert state["cron"] == 0
    units = " ".join(state["timers"])
    assert all(f"stackops-monitoring-{name}.timer" in units for name in ("health", "errors", "auth", "resources", "backup", "cleanup"))


def test_nothing_is_left_after_the_removal(host):
    # The test bed's own unit has the name as well.
    names = "find /etc /opt /root /run /srv /tmp /usr /var/lib /var/log -xdev -path /var/lib/docker -prune -o -iname *stackops* ! -name stackops-host-* -print"
    assert host.check_output("%s " * len(names.split()), *names.split()) == ""
    assert host.run("pgrep -f usr/local/sbin/stackops").rc == 1
    assert host.check_output("ls /var/lib/node_exporter") == ""
    assert host.check_output("systemctl list-units --all --no-legend --plain 'stackops-monitoring-*'") == ""
