# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role did to the database, to who may use Docker, and to the debug mode, which cron has ended."""

from __future__ import annotations

import json
import pathlib
import time

import pytest

BUILD = pathlib.Path(__file__).resolve().parents[3] / "build/molecule/remediate"


def sql(host, statement, database="mydb"):
    return host.check_output(f"docker exec shop-postgres-1 psql -XqAtU postgres -d {database} -c %s", statement)


def results(host):
    """Return the last line of each action that has changed something in the audit log, by its name."""
    lines = [json.loads(line) for line in host.file("/var/log/stackops/remediation.jsonl").content_string.splitlines()]
    return {line["action"]: line for line in lines if line["event"] == "result" and line["changed"]}


@pytest.fixture(scope="module")
def audit(host):
    return results(host)


def test_the_migration_was_applied_after_a_backup(host, audit):
    done = audit["migration_upgrade"]
    assert (done["before"]["current"], done["after"]["current"]) == (["0002_orders"], ["0003_order_notes"])
    manifest = json.loads(host.file(f"{done['after']['backup']['path']}/manifest.json").content_string)
    assert manifest["databases"][0]["alembic_revisions"] == ["0002_orders"]


def test_the_extension_answers(host, audit):
    assert audit["create_extension"]["before"]["installed"] is None
    # In the database that is kept as well as in the new one, which has what the old one had.
    assert sql(host, "SELECT count(*) > 0 FROM pg_stat_statements") == "t"


def test_the_user_may_use_docker_and_not_everybody(host, audit):
    assert "docker" in host.user("deploy").groups
    assert "are root on this host" in audit["docker_group"]["what"]
    assert host.file("/run/docker.sock").mode == 0o660
    assert audit["socket_permissions"]["before"]["mode"] == "0666"


def test_the_forgotten_transaction_is_gone(host, audit):
    assert sql(host, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'forgotten'") == "0"
    assert audit["terminate_session"]["before"]["sessions"][0]["application"] == "forgotten"


def test_the_revision_was_noted(audit):
    assert audit["migration_stamp"]["before"]["current"] == ["0002_orders"]
    assert audit["migration_stamp"]["after"]["current"] == ["0003_order_notes"]


def test_the_database_began_again_and_the_old_one_is_kept(host, audit):
    refusal = json.loads((BUILD / "reset.json").read_text(encoding="utf-8"))["refusal"]
    assert "remediate_reset_confirm: shop" in refusal
    after = audit["reset_database"]["after"]
    assert after["backup"]["level"] in ("restorable", "equivalent")
    (kept,) = after["kept_databases"]
    assert kept in sql(host, "SELECT string_agg(datname, ' ') FROM pg_database")
    assert sql(host, "SELECT version_num FROM alembic_version") == "0003_order_notes"


def test_cron_has_ended_the_debug_mode(host, audit):
    assert audit["debug_on"]["after"]["DEBUG"] == "true"
    deadline = time.monotonic() + 300
    # The line of the result comes last, when it was seen that the service is well.
    while "debug_off" not in (ended := results(host)) and time.monotonic() < deadline:
        time.sleep(1)
    assert ended["debug_off"]["verified"]["ok"] is True
    assert ended["debug_off"]["reason"] == "its time is over"
    assert not host.file("/etc/cron.d/stackops-debug").exists
    assert host.check_output("docker exec shop-backend-1 printenv DEBUG") == "false"
    assert host.file("/srv/stack/.env").contains("^DEBUG=false$")
    assert host.run("/usr/local/sbin/stackops debug list").stdout == ""
