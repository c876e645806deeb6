# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The remediations of databases, of the application's configuration and of the host, on the real example stack."""

from __future__ import annotations

import json
import os
import pathlib
import threading
import time

import psycopg2
import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _debug_mode as debug
from ansible_collections.stackops.runbook.plugins.module_utils._alembic_migrate import migrate
from ansible_collections.stackops.runbook.plugins.module_utils._compose_project import ComposeProject
from ansible_collections.stackops.runbook.plugins.module_utils._connection_pools import collect_pools
from ansible_collections.stackops.runbook.plugins.module_utils._database_reset import reset_database
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import Selection, discover
from ansible_collections.stackops.runbook.plugins.module_utils._engine import Engine, EngineOptions
from ansible_collections.stackops.runbook.plugins.module_utils._pg_extension import create_extension
from ansible_collections.stackops.runbook.plugins.module_utils._pg_index_advice import advise
from ansible_collections.stackops.runbook.plugins.module_utils._pg_session import end_sessions, list_backends
from ansible_collections.stackops.runbook.plugins.module_utils._postgres import find_instances
from ansible_collections.stackops.runbook.plugins.module_utils._postgres_health import collect_postgres
from ansible_collections.stackops.runbook.plugins.module_utils._postgres_tools import beside
from ansible_collections.stackops.runbook.plugins.module_utils._remediation import run_remediation

from tests.support.backup_stack import BackupStack
from tests.testbed.testbedlib.console import wait_until

pytestmark = pytest.mark.live

PROJECT = f"rmlive{os.getpid()}"
NEWEST, BEFORE = "0003_order_notes", "0002_orders"


@pytest.fixture(scope="module")
def stack():
    running = BackupStack(PROJECT, port=8300)
    try:
        running.up()
        yield running
    finally:
        running.down()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sets")
    directory.chmod(0o700)
    return directory


@pytest.fixture
def params(tmp_path, root):
    return {
        "project_name": PROJECT, "audit_log": str(tmp_path / "log" / "audit.jsonl"), "backup_options": {"root": str(root), "level": "decodable"},
        "time_limit_seconds": 120, "health_timeout_seconds": 90, "start_timeout_seconds": 90, "grace_seconds": 3.0, "sessions": [],
        "blocking_seconds": None, "idle_in_transaction_seconds": None, "service": None, "backup": True, "revision": None,
    }  # fmt: skip


def audit(params):
    return [json.loads(line) for line in pathlib.Path(params["audit_log"]).read_text().splitlines()]


# -- migrations --------------------------------------------------------------------------------------------------------


def revision(stack):
    return stack.sql("SELECT version_num FROM alembic_version")


def test_a_migration_that_is_missing_is_applied_after_a_backup(stack, params, root):
    stack.inside(f"alembic downgrade {BEFORE}", "backend")
    planned = migrate({**params, "action": "upgrade"}, True)
    assert (planned["status"], planned["after"]["current"]) == ("planned", [NEWEST])
    assert revision(stack) == BEFORE
    assert not (root / PROJECT / "sets").exists()
    done = migrate({**params, "action": "upgrade"}, False)
    assert done["verified"]["ok"] is True, done
    assert revision(stack) == NEWEST
    manifest = json.loads((pathlib.Path(done["after"]["backup"]["path"]) / "manifest.json").read_text())
    assert manifest["databases"][0]["alembic_revisions"] == [BEFORE]
    assert [one["event"] for one in audit(params)] == ["intent", "result"]
    again = migrate({**params, "action": "upgrade"}, False)
    assert (again["changed"], again["status"]) == (False, "nothing-to-do")


def test_without_a_backup_nothing_is_migrated(stack, params, tmp_path):
    stack.inside(f"alembic downgrade {BEFORE}", "backend")
    (tmp_path / "file").touch()
    refused = migrate({**params, "action": "upgrade", "backup_options": {"root": str(tmp_path / "file")}}, False)
    assert refused["failed"]
    assert refused["changed"] is False
    assert "no backup could be made" in refused["summary"]
    assert revision(stack) == BEFORE
    stamped = migrate({**params, "action": "stamp", "revision": "head"}, False)
    assert stamped["verified"]["ok"] is True, stamped
    assert revision(stack) == NEWEST
    # Only noted, not made: it was taken away above.
    assert stack.sql("SELECT to_regclass('order_notes') IS NULL") == "t"
    stack.inside(f"alembic stamp {BEFORE} && alembic upgrade head", "backend")


def test_several_heads_are_explained_and_refused(stack, params):
    script = "revision = '0003_labels'\ndown_revision = '0002_orders'\ndef upgrade(): pass\n"
    stack.inside(f'printf "{script}" > migrations/versions/0003_labels.py', "backend")
    try:
        said = migrate({**params, "action": "status"}, False)
        refused = migrate({**params, "action": "upgrade"}, False)
    finally:
        stack.inside("rm migrations/versions/0003_labels.py", "backend")
    assert said["status"] == "ok" or "2 heads" in said["summary"]
    assert "alembic merge -m merge 0003_labels 0003_order_notes" in said["plan"][0]
    assert refused["failed"]
    assert "2 heads: 0003_labels" in refused["summary"]


# -- sessions ----------------------------------------------------------------------------------------------------------


def login(stack, **options):
    (network,) = stack.running().inspect("postgres")["NetworkSettings"]["Networks"].values()
    environment = dict(entry.split("=", 1) for entry in stack.running().inspect("postgres")["Config"]["Env"])
    return psycopg2.connect(
        host=network["IPAddress"], user=environment["POSTGRES_USER"], password=environment["POSTGRES_PASSWORD"], dbname=environment["POSTGRES_DB"], **options
    )


def activity(stack):
    engine = Engine.connect(EngineOptions())
    (instance,) = collect_postgres(discover(engine, Selection(project_name=PROJECT)), engine)["instances"]
    return instance["activity"]


def test_who_blocks_is_ended_by_what_the_facts_say_of_it(stack, params):
    holder, waiter = login(stack), login(stack)
    holder.cursor().execute("LOCK TABLE items")
    waiting = threading.Thread(target=lambda: waiter.cursor().execute("SELECT count(*) FROM items"), daemon=True)
    waiting.start()
    try:
        wait_until(lambda: bool(activity(stack)["blocked"]), 60, "a session waits for another")
        (blocked,) = activity(stack)["blocked"]
        session = {"pid": blocked["root_blocker"], "backend_start": blocked["root_backend_start"], "query_start": blocked["root_query_start"]}
        other = end_sessions({**params, "sessions": [{**session, "backend_start": "2020-01-01T00:00:00Z"}]}, False)
        assert other["changed"] is False
        assert "another session now" in other["verified"]["detail"]
        planned = end_sessions({**params, "sessions": [session]}, True)
        assert planned["status"] == "planned"
        assert holder.closed == 0
        done = end_sessions({**params, "sessions": [session]}, False)
        assert done["verified"]["ok"] is True, done
        waiting.join(30)
        assert not waiting.is_alive()
        assert "its session was ended" in done["after"]["sessions"][0]["outcome"]
        assert end_sessions({**params, "sessions": [session]}, False)["status"] == "nothing-to-do"
    finally:
        holder.close()
        waiter.close()


def test_a_statement_that_blocks_is_cancelled_and_its_session_stays(stack, params):
    holder, waiter = login(stack), login(stack)
    holder.autocommit = waiter.autocommit = True
    raised = []

    def hold():
        try:
            holder.cursor().execute("DO $$BEGIN LOCK TABLE items; PERFORM pg_sleep(300); END$$")
        except psycopg2.Error as error:
            raised.append(error.pgcode)

    threads = [threading.Thread(target=hold, daemon=True)]
    threads[0].start()
    try:
        engine = Engine.connect(EngineOptions())
        (instance,) = find_instances(discover(engine, Selection(project_name=PROJECT)))
        with beside(engine, instance, "test") as tools, tools.session() as session:
            wait_until(lambda: any("pg_sleep" in one.query and one.state == "active" for one in list_backends(session)), 60, "it holds the lock")
            threads.append(threading.Thread(target=lambda: waiter.cursor().execute("SELECT count(*) FROM items"), daemon=True))
            threads[1].start()
            wait_until(lambda: any(one.blocks_seconds >= 1 for one in list_backends(session)), 60, "a session waits for it")
        done = end_sessions({**params, "blocking_seconds": 1}, False)
        assert done["verified"]["ok"] is True, done
        for thread in threads:
            thread.join(30)
        assert raised == ["57014"]
        assert "cancelled" in done["after"]["sessions"][0]["outcome"]
        holder.cursor().execute("SELECT 1")
    finally:
        holder.close()
        waiter.close()


# -- extension, indexes, pools -----------------------------------------------------------------------------------------


def test_an_extension_whose_library_is_not_loaded(stack, params):
    stack.sql("DROP EXTENSION pg_stat_statements")
    stack.inside("sed -i '/^shared_preload_libraries/d' \"$PGDATA/postgresql.conf\"")
    project = ComposeProject.of(params)
    project.carry_out(project.argv("restart", "postgres"), 120)
    stack.wait_until_well()
    planned = create_extension({**params, "extension": "pg_stat_statements"}, True)
    assert "restart the container" in planned["summary"]
    assert stack.sql("SHOW shared_preload_libraries") == ""
    done = create_extension({**params, "extension": "pg_stat_statements"}, False)
    assert done["verified"]["ok"] is True, done
    assert stack.sql("SHOW shared_preload_libraries") == "pg_stat_statements"
    assert create_extension({**params, "extension": "pg_stat_statements"}, False)["changed"] is False
    stack.wait_until_well()


def test_a_missing_index_is_suggested_and_not_made(stack, params):
    stack.sql("CREATE TABLE advice AS SELECT i AS id, i % 500 AS customer_id FROM generate_series(1, 20000) i; ANALYZE advice")
    stack.sql("\n".join(f"SELECT count(*) FROM advice WHERE customer_id = {number};" for number in range(40)))
    # Statistics of a session come to the others when it has ended.
    wait_until(lambda: stack.sql("SELECT seq_scan >= 40 FROM pg_stat_user_tables WHERE relname = 'advice'") == "t", 60, "the scans are counted")
    advice = advise(params)
    assert [one["sql"] for one in advice["suggestions"] if one["kind"] == "create"] == ['CREATE INDEX CONCURRENTLY ON "public"."advice" ("customer_id");']
    assert stack.sql("SELECT count(*) FROM pg_indexes WHERE tablename = 'advice'") == "0"
    stack.sql("DROP TABLE advice")


def test_pools_of_the_example_stack_fit_and_its_loop_goes_on(stack):
    stack.wait_until_well()
    engine = Engine.connect(EngineOptions())
    pools = collect_pools(discover(engine, Selection(project_name=PROJECT)), engine)
    (application,), (server,) = pools["applications"], pools["servers"]
    assert (application["server"], application["processes"], application["processes_counted"]) == ("uvicorn", 1, True)
    assert (application["driver_blocks"], application["loop"]["samples"] > 0) == (True, True)
    assert application["loop"]["blocked_percent"] < 30
    assert (server["status"], server["wanted"], server["available"]) == ("ok", application["connections_at_most"], 97)


# -- debug mode --------------------------------------------------------------------------------------------------------


def test_a_debug_mode_ends_and_everything_is_as_before(stack, params, tmp_path, monkeypatch):
    # This machine has no cron; that cron ends it is seen on a host of its own, in the scenario of the role.
    monkeypatch.setattr(debug, "_have_cron", lambda: None)
    records = debug.Records(str(tmp_path / "state"), str(tmp_path / "cron"))
    wanted = {**params, "variables": {"DEBUG": "true"}, "minutes": 5, "services": [], "env_file": None}
    before = (stack.directory / ".env").read_bytes()

    def switch(plan, check_mode=False):
        return run_remediation(lambda: plan(ComposeProject.of(wanted), wanted, records), wanted, check_mode)

    planned = switch(debug.plan_on, True)
    assert (planned["status"], planned["before"]) == ("planned", {"DEBUG": "false"})
    assert (stack.directory / ".env").read_bytes() == before
    assert records.projects() == []
    on = switch(debug.plan_on)
    assert on["verified"]["ok"] is True, on
    assert stack.inside("printenv DEBUG", "backend") == "true"
    assert switch(debug.plan_on)["changed"] is False
    with open(stack.directory / ".env", "ab") as file:
        file.write(b"ADDED=later\n")
    (ended,) = debug.end_due(records, time.time() + 301)
    assert ended["verified"]["ok"] is True, ended
    assert (stack.directory / ".env").read_bytes() == before + b"ADDED=later\n"
    assert stack.inside("printenv DEBUG", "backend") == "false"
    assert not (tmp_path / "cron").exists()
    assert switch(debug.plan_off)["status"] == "nothing-to-do"


def test_a_variable_that_nobody_takes_is_refused(params, tmp_path):
    records = debug.Records(str(tmp_path / "state"), str(tmp_path / "cron"))
    wanted = {**params, "variables": {"VERBOSE": "1"}, "minutes": 5, "services": [], "env_file": None}
    refused = run_remediation(lambda: debug.plan_on(ComposeProject.of(wanted), wanted, records), wanted, False)
    assert refused["failed"]
    assert "VERBOSE: ${VERBOSE:-false}" in refused["errors"][0]["hint"]


# -- a new beginning ---------------------------------------------------------------------------------------------------


def test_a_reset_needs_its_own_confirmation_and_keeps_the_old_database(stack, params):
    stack.sql("INSERT INTO items (name, price) VALUES ('kept', 1)")
    wanted = {**params, "backup_options": {"root": params["backup_options"]["root"]}, "database": None, "database_service": None}
    for confirm in (None, "another"):
        refused = reset_database({**wanted, "confirm": confirm}, False)
        assert (refused["failed"], refused["changed"]) == (True, False)
        assert f"remediate_reset_confirm: {PROJECT}" in refused["summary"]
    assert stack.sql("SELECT count(*) FROM items WHERE name = 'kept'") == "1"
    done = reset_database({**wanted, "confirm": PROJECT}, False)
    assert done["verified"]["ok"] is True, done
    assert done["after"]["backup"]["level"] in ("restorable", "equivalent")
    (old,) = done["after"]["kept_databases"]
    assert stack.sql("SELECT count(*) FROM items WHERE name = 'kept'") == "0"
    assert old in stack.databases()
    assert revision(stack) == NEWEST
    back = stack.restore(pathlib.Path(wanted["backup_options"]["root"]), action="rollback")
    assert back.exit_code == 0, back.output
    assert stack.sql("SELECT count(*) FROM items WHERE name = 'kept'") == "1"
