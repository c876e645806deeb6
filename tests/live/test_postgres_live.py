# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PostgreSQL 13, 15, 17 and 18 as they really answer: statements, state, ways to them, logins to them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import threading
import time

import psycopg2
import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _postgres as postgres
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import Selection, discover
from ansible_collections.stackops.runbook.plugins.module_utils._engine import Engine, EngineOptions
from ansible_collections.stackops.runbook.plugins.module_utils._postgres_health import collect_postgres, facts_of, sections
from ansible_collections.stackops.runbook.plugins.module_utils._postgres_logins import collect_logins
from ansible_collections.stackops.runbook.plugins.module_utils._postgres_session import DatabaseError, DriverSession, Limits, PsqlSession, Target
from ansible_collections.stackops.runbook.plugins.module_utils._postgres_statements import PROBE, collect_statements, view_query
from ansible_collections.stackops.runbook.plugins.module_utils._postgres_wire import Credentials

pytestmark = pytest.mark.live

ROOT = pathlib.Path(__file__).parents[2]
RECORDED = json.loads((ROOT / "tests/unit/fixtures/postgres/statement_columns.json").read_text())["columns"]
MAJORS = (13, 15, 17, 18)
PASSWORD = "Canary-pg-51c7"
PREFIX = f"pglive{os.getpid()}"


def docker(*arguments):
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120, check=True).stdout.strip()


def need_image(image):
    """Build the image where it is missing; without it there is nothing to test, which is a failure in CI."""
    if subprocess.run(["docker", "image", "inspect", image], capture_output=True, timeout=60, check=False).returncode == 0:
        return
    name = image.partition("/")[2].replace(":latest", "")
    built = subprocess.run([str(ROOT / "tests/testbed/testbed"), "images", name], capture_output=True, text=True, timeout=900, check=False)
    if built.returncode != 0:
        reason = f"no image {image}: {built.stderr.strip().splitlines()[-1:]}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


@dataclasses.dataclass
class Server:
    """A server in a container that belongs to a Compose project of its own, as its labels say."""

    major: int
    project: str
    name: str
    host: str
    password: str = PASSWORD

    def connect(self, database="shop", user="shop", password=None, **arguments):
        return psycopg2.connect(host=self.host, port=5432, user=user, password=password or self.password, dbname=database, connect_timeout=5, **arguments)

    def run(self, *statements, database="shop"):
        with contextlib.closing(self.connect(database)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return cursor.fetchall() if cursor.description else None

    def options(self, user="shop", database="shop", password=None, **statements):
        login = postgres.Login(host=self.host, user=user, password=password or self.password, database=database)
        return postgres.PostgresOptions(servers=(login,), statements=postgres.StatementOptions(**{"min_calls": 1, "limit": 50, **statements}))

    def statements(self, **options):
        (instance,) = collect_statements([], None, self.options(**options))["instances"]
        return instance["statements"]

    def facts(self, **changed):
        options = self.options()
        options = dataclasses.replace(options, health=dataclasses.replace(options.health, **changed))
        result = collect_postgres([], None, options)
        assert result["errors"] == []
        return result["instances"][0]

    def target(self):
        return Target(((self.host, 5432),), Credentials("shop", self.password, "shop"))


def start(name, image, *options, command=(), network=None, service="store", project=None):
    """Start a container with the labels that Compose gives."""
    labels = {"project": project or name, "service": service, "version": "2.26.1", "container-number": "1"}
    flags = [part for key, value in labels.items() for part in ("--label", f"com.docker.compose.{key}={value}")]
    network_flags = ["--network", network] if network else []
    docker("run", "-d", "--name", name, *flags, *network_flags, *options, image, *command)
    return docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", name).split()[0] if network != "none" else ""


def wait_for(server):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            server.connect().close()
            return server
        except psycopg2.OperationalError:
            time.sleep(0.2)
    raise AssertionError(docker("logs", "--tail", "20", server.name))


@contextlib.contextmanager
def running(major, suffix="", options=(), command=(), network=None, env=None):
    need_image(f"stackops-test/postgres:{major}")
    name = f"{PREFIX}-{major}{suffix}"
    values = {"POSTGRES_USER": "shop", "POSTGRES_PASSWORD": PASSWORD, "POSTGRES_DB": "shop", **(env or {})}
    flags = [part for variable, value in values.items() if value is not None for part in ("-e", f"{variable}={value}")]
    try:
        host = start(name, f"stackops-test/postgres:{major}", *flags, *options, command=command, network=network)
        yield wait_for(Server(major, name, name, host))
    finally:
        subprocess.run(["docker", "rm", "-f", "-v", name], capture_output=True, timeout=60, check=False)


@pytest.fixture(scope="module", params=MAJORS)
def server(request):
    """One server of each version for all tests that leave it as it was."""
    with running(request.param) as one:
        one.run(
            "CREATE TABLE items (id serial PRIMARY KEY, name text)",
            "INSERT INTO items (name) SELECT 'item ' || n FROM generate_series(1, 20000) n",
            "ANALYZE items",
        )
        yield one


@pytest.fixture(scope="module")
def newest():
    """A server for tests of things that do not differ between versions."""
    with running(17, "-b") as one:
        yield one


@pytest.fixture(scope="module")
def engine():
    return Engine.connect(EngineOptions.from_environment())


def stacks_of(engine, server):
    return discover(engine, Selection(project_name=server.project))


# -- statements --------------------------------------------------------------------------------------------------------


def test_the_columns_are_the_recorded_ones(server):
    with DriverSession.open(server.target(), Limits()) as session:
        (probe,) = session.answers({"probe": PROBE})["probe"]
    assert probe["columns"] == RECORDED[probe["extension_version"]]


def test_statements_are_ranked_and_ours_are_not_among_them(server):
    for dummy in range(5):
        server.run("SELECT count(*) FROM items WHERE name = 'item 77'")
    server.run("SELECT pg_sleep(0.05)", f"ALTER ROLE shop PASSWORD '{PASSWORD}'")
    for rank_by in ("mean", "total", "calls", "io", "temp"):
        facts = server.statements(rank_by=rank_by)
        assert facts["available"], facts
        assert facts["failure"] is None
    by_mean = server.statements()["queries"]
    means = [query["mean_exec_time_ms"] for query in by_mean]
    assert means == sorted(means, reverse=True)
    (counting,) = [query for query in by_mean if query["query"] == "SELECT count(*) FROM items WHERE name = $1"]
    assert counting["calls"] >= 5
    assert isinstance(counting["queryid"], str)
    assert int(counting["queryid"])
    assert counting["source"] == "since_reset"
    assert (counting["database"], counting["user"], counting["rows_per_call"]) == ("shop", "shop", 1.0)
    texts = " ".join(query["query"] for query in by_mean)
    assert "ALTER ROLE shop PASSWORD ?" in texts
    assert PASSWORD not in texts
    assert "pg_stat_statements(" not in texts
    assert "stackops.runbook" not in texts


def test_filters(server):
    server.run("SELECT pg_sleep(0.02)", "SELECT pg_sleep(0.02)")
    assert all(query["calls"] >= 3 for query in server.statements(min_calls=3)["queries"])
    assert all(query["mean_exec_time_ms"] >= 10 for query in server.statements(min_mean_ms=10)["queries"])
    assert any("pg_sleep" in query["query"] for query in server.statements()["queries"])
    assert not any("pg_sleep" in query["query"] for query in server.statements(exclude=("PG_SLEE+P",))["queries"])
    assert len(server.statements(limit=2)["queries"]) == 2
    assert server.statements(exclude=("(",))["failure"] == "invalid-pattern"


@contextlib.contextmanager
def load(server, statement):
    stop = threading.Event()

    def work():
        while not stop.is_set():
            server.run(*[statement] * 20)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_sample_shows_what_is_slow_now_and_resets_nothing(server):
    server.run("SELECT pg_sleep(0.2), now() AS before")
    reset_before = server.statements()["stats_reset_at"]
    with load(server, "SELECT max(id) FROM items WHERE name LIKE 'item 1%'"):
        facts = server.statements(sample_seconds=1.0)
    texts = [query["query"] for query in facts["queries"]]
    assert any("max(id)" in text for text in texts)
    assert not any("before" in text for text in texts)
    assert {query["source"] for query in facts["queries"]} == {"sample"}
    assert all(query["max_exec_time_ms"] is None for query in facts["queries"])
    after = server.statements()
    assert after["stats_reset_at"] == reset_before
    assert any("before" in query["query"] for query in after["queries"])


@contextlib.contextmanager
def database(server, name, *statements):
    server.run(f"CREATE DATABASE {name}")
    try:
        if statements:
            server.run(*statements, database=name)
        yield name
    finally:
        server.run(f"DROP DATABASE {name}")


def older_extensions(server):
    """Return the versions below the one that the server brings, which PostgreSQL 13 has none of."""
    available = server.run("SELECT default_version FROM pg_available_extensions WHERE name = 'pg_stat_statements'")[0][0]
    return [version for version in ("1.8", "1.9", "1.10", "1.11") if int(version[2:]) < int(available[2:])]


def test_older_versions_of_the_extension(server):
    for version in older_extensions(server):
        with database(server, "older", f"CREATE EXTENSION pg_stat_statements VERSION '{version}'"):
            facts = server.statements(database="older")
            assert facts["available"]
            assert facts["extension_version"] == version
            assert facts["queries"]
            (problem,) = [problem for problem in facts["problems"] if problem["code"] == "extension-outdated"]
            server.run(problem["fix"], database="older")
            facts = server.statements(database="older")
            assert "extension-outdated" not in [problem["code"] for problem in facts["problems"]]


def test_the_extension_in_another_schema(server):
    with database(server, "elsewhere", 'CREATE SCHEMA "Other Place"', 'CREATE EXTENSION pg_stat_statements SCHEMA "Other Place"'):
        facts = server.statements(database="elsewhere")
        assert facts["available"]
        assert facts["queries"]
        assert server.statements(database="elsewhere", sample_seconds=0.1)["available"]


def test_not_created_and_the_fix(server):
    with database(server, "bare"):
        facts = server.statements(database="bare")
        assert (facts["available"], facts["failure"]) == (False, "not-created")
        server.run(*facts["fix"], database="bare")
        assert server.statements(database="bare")["available"]


def test_no_privilege_and_the_fix(server):
    server.run(f"CREATE ROLE watcher LOGIN PASSWORD '{PASSWORD}'")
    try:
        facts = server.statements(user="watcher")
        assert (facts["available"], facts["failure"]) == (False, "no-privilege")
        server.run(*facts["fix"])
        facts = server.statements(user="watcher")
        assert facts["available"]
        assert any(query["user"] == "shop" for query in facts["queries"])
    finally:
        server.run("DROP ROLE watcher")


def test_no_privilege_on_the_schema_and_the_fix(server):
    with database(server, "closed", "CREATE SCHEMA inner_place", "CREATE EXTENSION pg_stat_statements SCHEMA inner_place"):
        server.run(f"CREATE ROLE watcher LOGIN PASSWORD '{PASSWORD}'")
        try:
            facts = server.statements(user="watcher", database="closed")
            assert facts["failure"] == "no-privilege"
            server.run(*facts["fix"], database="closed")
            assert server.statements(user="watcher", database="closed")["available"]
        finally:
            server.run("DROP OWNED BY watcher", "DROP ROLE watcher", database="closed")


def test_tracking_off_and_the_fix(server):
    server.run("ALTER SYSTEM SET pg_stat_statements.track = 'none'", "SELECT pg_reload_conf()")
    time.sleep(0.3)
    facts = server.statements()
    assert facts["failure"] == "tracking-off"
    server.run(*facts["fix"])
    time.sleep(0.3)
    assert server.statements()["available"]
    server.run("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")


def test_io_timing_off_and_the_fix(server):
    facts = server.statements()
    assert facts["io_timing"] is False
    assert all(query["io_time_ms"] is None for query in facts["queries"])
    (fix,) = [problem["fix"] for problem in facts["problems"] if problem["code"] == "io-timing-off"]
    server.run(*[statement for statement in fix.split(";") if statement.strip()])
    time.sleep(0.3)
    facts = server.statements(rank_by="io")
    assert facts["io_timing"] is True
    assert all(query["io_time_ms"] is not None for query in facts["queries"])
    server.run("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")


@pytest.mark.parametrize("major", [13, 17])
def test_not_preloaded_and_the_fix(major):
    with running(major, "-c") as one:
        one.run("ALTER SYSTEM SET shared_preload_libraries = 'auto_explain'")
        docker("restart", "-t", "5", one.name)
        one.host = docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", one.name)
        facts = wait_for(one).statements()
        assert (facts["available"], facts["failure"]) == (False, "not-preloaded")
        one.run(facts["fix"][0])
        docker("restart", "-t", "5", one.name)
        one.host = docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", one.name)
        assert wait_for(one).statements()["available"]
        assert one.run("SHOW shared_preload_libraries") == [("auto_explain, pg_stat_statements",)]


def test_a_command_line_without_the_library(engine):
    with running(17, "-d", command=("postgres", "-c", "shared_preload_libraries=")) as one:
        (instance,) = collect_statements(stacks_of(engine, one), engine, postgres.PostgresOptions())["instances"]
    assert instance["statements"]["failure"] == "not-preloaded"
    assert "-c shared_preload_libraries=pg_stat_statements" in instance["statements"]["fix"][0]
    assert instance["statements"]["fix"][1] == f"docker compose -p {one.project} up -d store"


def test_evicted_statements():
    with running(17, "-e", command=("postgres", "-c", "pg_stat_statements.max=100")) as one:
        one.run(*("SELECT " + ", ".join("1" * number) for number in range(1, 300)))
        facts = one.statements()
    assert facts["evicted"] > 0
    (problem,) = [problem for problem in facts["problems"] if problem["code"] == "evicted"]
    assert "200" in problem["fix"]


# -- state -------------------------------------------------------------------------------------------------------------


def test_a_server_in_good_order(server):
    facts = server.facts()
    assert (facts["status"], facts["concerns"]) == ("ok", [])
    assert facts["version_number"] // 10000 == server.major
    assert facts["in_recovery"] is False
    assert facts["read_only"] is False
    assert facts["connections"]["maximum"] == 100
    assert facts["connections"]["reserved"] == 3
    assert facts["wraparound"]["max_xid_age"] > 0
    assert facts["settings"]["shared_buffers"] == "128MB"
    assert facts["settings"]["statement_timeout"] == "0"
    assert facts["size_bytes"] > 1_000_000
    (items,) = [table for table in facts["tables"] if table["name"] == "public.items"]
    # An estimate: what was inserted and analysed at the same moment counts twice for a while.
    assert items["rows"] >= 20000
    assert items["size_bytes"] > 500_000


def test_both_ways_give_the_same(server, engine):
    """psql inside the container and psycopg2 over the network: the same rows with the same types."""
    (instance,) = postgres.find_instances(stacks_of(engine, server))
    runner = postgres._Ladder(instance, engine, Limits())._runner("")
    inside = PsqlSession.open(runner, Target((("", 5432),), Credentials("shop", None, "shop")), Limits())
    server.run("SELECT count(*), 'it''s \\ ü' FROM items")
    with DriverSession.open(server.target(), Limits()) as outside:
        (probe,) = outside.answers({"probe": PROBE})["probe"]
        queries = {name: sql for name, sql in sections(postgres.HealthOptions()).items() if name in ("server", "indexes", "sequences", "settings", "size")}
        # Only what stands still can be compared.
        only = postgres.StatementOptions(exclude=("^(?!SELECT count\\(\\*\\), )",), min_calls=1)
        queries["statements"] = view_query(probe, only).replace("all_ms\n", "0 AS all_ms\n")
        queries["failing"] = "SELECT 1/0 AS x"
        queries["odd"] = "SELECT 'a''b\\c:d\u00fc\n$x$' AS text, 9007199254740993 AS big, 0.1::float8 AS number, NULL AS nothing"
        first, second = outside.answers(queries), inside.answers(queries)
    for name in queries:
        if name == "failing":
            assert isinstance(first[name], DatabaseError)
            assert (first[name].reason, first[name].sqlstate) == (second[name].reason, second[name].sqlstate) == ("division by zero", "22012")
        else:
            assert first[name] == second[name], name
    assert first["statements"]
    with pytest.raises(DatabaseError):
        inside.rows("SELECT nothing_of_the_kind")


@contextlib.contextmanager
def session(server, *statements):
    connection = server.connect(application_name="shop-app")
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        yield connection
    finally:
        connection.close()


def background(server, statement):
    def work():
        with contextlib.suppress(psycopg2.Error), contextlib.closing(server.connect(application_name="shop-app")) as connection:
            connection.cursor().execute(statement)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_who_blocks_whom(server):
    """A transaction that does nothing holds a row; one session waits for it and a second one behind that."""
    with session(server, "UPDATE items SET name = 'Canary-row' WHERE id = 1") as holder:
        first = background(server, "UPDATE items SET name = 'x' WHERE id = 1")
        time.sleep(0.3)
        second = background(server, "UPDATE items SET name = 'y' WHERE id = 1")
        time.sleep(1)
        facts = server.facts(blocked_seconds=0.5, idle_in_transaction_seconds=0.5)
        holder_pid = holder.get_backend_pid()
        holder.rollback()
        first.join(5)
        second.join(5)
    blocked = facts["activity"]["blocked"]
    assert len(blocked) == 2
    assert {one["root_blocker"] for one in blocked} == {holder_pid}
    assert all(one["wait_seconds"] >= 0.5 for one in blocked)
    assert {one["blocker_state"] for one in blocked} == {"idle in transaction"}
    assert {one["query"] for one in blocked} == {"UPDATE items SET name = ? WHERE id = ?"}
    assert {one["relation"] for one in blocked} == {"public.items"}
    assert "Canary-row" not in json.dumps(facts)
    (idle,) = facts["activity"]["idle_in_transaction"]
    assert (idle["pid"], idle["application"], idle["state"]) == (holder_pid, "shop-app", "idle in transaction")
    assert idle["query"] == "UPDATE items SET name = ? WHERE id = ?"
    assert set(facts["concerns"]) >= {"blocked sessions", "idle transactions"}
    assert facts["status"] == "warning"


def test_an_aborted_transaction_is_idle_too(server):
    with session(server) as connection:
        with contextlib.suppress(psycopg2.Error), connection.cursor() as cursor:
            cursor.execute("SELECT 1/0")
        time.sleep(0.6)
        facts = server.facts(idle_in_transaction_seconds=0.5)
    assert [one["state"] for one in facts["activity"]["idle_in_transaction"]] == ["idle in transaction (aborted)"]


def test_a_long_running_statement(server):
    thread = background(server, "SELECT pg_sleep(2), 'Canary-literal'")
    time.sleep(1)
    facts = server.facts(long_running_seconds=0.5)
    (one,) = facts["activity"]["long_running"]
    assert one["query"] == "SELECT pg_sleep(?), ?"
    assert one["wait_event"] == "Timeout:PgSleep"
    assert one["duration_seconds"] >= 0.5
    thread.join(5)


def test_a_locked_table_stops_nothing(server):
    with session(server, "LOCK TABLE items IN ACCESS EXCLUSIVE MODE"):
        begin = time.monotonic()
        facts = server.facts()
        assert time.monotonic() - begin < 10
    assert any(table["name"] == "public.items" and table["size_bytes"] > 500_000 for table in facts["tables"])


def test_a_missing_index_shows_and_its_index_ends_it(server):
    server.run("CREATE TABLE orders AS SELECT n AS id, n % 500 AS customer FROM generate_series(1, 30000) n", "ANALYZE orders")
    try:
        server.run("SET max_parallel_workers_per_gather = 0", *["SELECT count(*) FROM orders WHERE customer = 7"] * 30)
        assert until(lambda: table_of(server, "public.orders")["missing_index_likely"])
        table = table_of(server, "public.orders")
        assert table["sequential_scans"] >= 30
        assert table["index_use_percent"] == 0.0
        server.run("CREATE INDEX orders_customer ON orders (customer)", *["SELECT count(*) FROM orders WHERE customer = 7"] * 600)
        assert until(lambda: not table_of(server, "public.orders")["missing_index_likely"])
    finally:
        server.run("DROP TABLE orders")


def table_of(server, name):
    return next(table for table in server.facts()["tables"] if table["name"] == name)


def until(condition, seconds=5.0):
    """Up to PostgreSQL 14 statistics arrive through a collector of their own, a moment later."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def test_indexes_sequences_and_dead_rows(server):
    server.run(
        "CREATE TABLE stock (id int PRIMARY KEY, code text, place text)",
        "ALTER TABLE stock SET (autovacuum_enabled = false)",
        "INSERT INTO stock SELECT n, md5(n::text), md5(n::text) || md5(n::text) || md5(n::text) FROM generate_series(1, 120000) n",
        "CREATE INDEX stock_code ON stock (code)",
        "CREATE INDEX stock_code_again ON stock (code)",
        "CREATE INDEX stock_place ON stock (place)",
        "CREATE INDEX stock_part ON stock (code) WHERE id > 5",
        "CREATE SEQUENCE worn AS integer START 2000000000",
        "SELECT nextval('worn')",
        "CREATE TABLE narrow (id integer)",
        "CREATE SEQUENCE wide AS bigint START 2100000000 OWNED BY narrow.id",
        "SELECT nextval('wide')",
        "DELETE FROM stock WHERE id <= 60000",
    )
    with contextlib.suppress(psycopg2.Error):
        server.run("CREATE UNIQUE INDEX CONCURRENTLY stock_broken ON stock ((id % 2))")
    try:
        facts = server.facts(unused_index_days=0)
        assert facts["indexes"]["invalid"] == ["public.stock_broken"]
        assert facts["indexes"]["duplicate"] == ["public.stock_code_again (same as public.stock_code)"]
        assert "public.stock_place" in facts["indexes"]["unused"]
        assert "public.stock_pkey" not in facts["indexes"]["unused"]
        assert server.facts()["indexes"]["unused"] == []
        used = {sequence["name"]: sequence["used_percent"] for sequence in facts["sequences"]}
        assert used["public.worn"] == pytest.approx(93.13, abs=0.01)
        assert used["public.wide"] == pytest.approx(97.79, abs=0.01)
        assert "sequences" in facts["concerns"]
        assert until(lambda: (table_of(server, "public.stock")["dead_percent"] or 0) > 40)
    finally:
        server.run("DROP TABLE stock, narrow", "DROP SEQUENCE worn")


def test_slots_are_seen(server):
    server.run("SELECT pg_create_physical_replication_slot('left_behind', true)")
    try:
        (slot,) = server.facts()["replication_slots"]
        assert (slot["name"], slot["active"]) == ("left_behind", False)
        assert slot["retained_bytes"] >= 0
    finally:
        server.run("SELECT pg_drop_replication_slot('left_behind')")


def test_a_user_without_privileges_sees_what_it_may(server):
    server.run(f"CREATE ROLE watcher LOGIN PASSWORD '{PASSWORD}'")
    try:
        with session(server, "SELECT 1"):
            options = server.options(user="watcher")
            (entry,) = collect_postgres([], None, options)["instances"]
        assert entry["reachable"]
        assert entry["connections"]["used"] >= 1
        assert entry["wraparound"]["max_xid_age"] > 0
        assert entry["statements"]["failure"] == "no-privilege"
    finally:
        server.run("DROP ROLE watcher")


def test_a_section_that_fails_is_alone(server):
    queries = {**sections(postgres.HealthOptions()), "broken": "SELECT * FROM nothing_of_the_kind"}
    with DriverSession.open(server.target(), Limits()) as one:
        answers = one.answers(queries)
    assert isinstance(answers.pop("broken"), DatabaseError)
    assert not [name for name, answer in answers.items() if isinstance(answer, DatabaseError)]
    assert facts_of(answers)["size_bytes"] > 0


def test_collecting_is_quick(server):
    times = []
    for dummy in range(10):
        begin = time.monotonic()
        server.facts()
        times.append((time.monotonic() - begin) * 1000)
    print(f"PostgreSQL {server.major}: {min(times):.0f} ms")
    # A tenth of it where nothing else runs.
    assert min(times) < 1000


def test_nothing_is_left_behind(server):
    """No session stays open, and a session of ours cannot write."""
    server.facts()
    assert until(lambda: server.run("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stackops.runbook'") == [(0,)])
    with DriverSession.open(server.target(), Limits()) as one, pytest.raises(DatabaseError) as caught:
        one.rows("SELECT nextval('public.items_id_seq')")
    assert caught.value.sqlstate == "25006"


def test_a_statement_that_takes_too_long(server):
    with DriverSession.open(server.target(), Limits(statement_ms=200)) as one:
        answers = one.answers({"slow": "SELECT 1 AS one FROM pg_sleep(5)", "quick": "SELECT 1 AS one"})
    assert answers["slow"].code == "timeout"
    assert answers["quick"] == [{"one": 1}]


# -- the ways to a server ----------------------------------------------------------------------------------------------


def test_a_container_is_found_and_reached(server, engine):
    result = collect_postgres(stacks_of(engine, server), engine)
    (entry,) = result["instances"]
    assert (entry["name"], entry["via"], entry["database"], entry["user"]) == (f"{server.project}/store", "container-network", "shop", "shop")
    assert PASSWORD not in json.dumps(result)


def test_without_the_driver_psql_inside_serves(server, engine, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "psycopg2", None)
    (entry,) = collect_postgres(stacks_of(engine, server), engine)["instances"]
    assert (entry["reachable"], entry["via"]) == (True, "exec")
    assert entry["statements"]["available"]
    assert entry["tables"]
    (instance,) = collect_statements(stacks_of(engine, server), engine, postgres.PostgresOptions())["instances"]
    assert (instance["via"], instance["statements"]["available"]) == ("exec", True)


def test_a_rootless_engine_is_reached_by_the_published_port(engine, monkeypatch):
    with running(17, "-f", options=("-p", "127.0.0.1::5432")) as one:
        stacks = stacks_of(engine, one)
        monkeypatch.setattr(type(engine), "rootless", True)
        (entry,) = collect_postgres(stacks, engine)["instances"]
    assert (entry["reachable"], entry["via"]) == (True, "published-port")


def test_a_remote_engine_is_reached_by_psql_inside(newest, engine, monkeypatch):
    stacks = stacks_of(engine, newest)
    monkeypatch.setattr(type(engine), "remote", True)
    (entry,) = collect_postgres(stacks, engine)["instances"]
    assert (entry["reachable"], entry["via"]) == (True, "exec")


def test_a_password_in_a_secret_file(engine, tmp_path):
    secret = tmp_path / "password"
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o644)
    tmp_path.chmod(0o755)
    env = {"POSTGRES_PASSWORD": None, "POSTGRES_PASSWORD_FILE": "/run/secrets/pw"}
    with running(17, "-g", options=("-v", f"{secret}:/run/secrets/pw:ro"), env=env) as one:
        (entry,) = collect_postgres(stacks_of(engine, one), engine)["instances"]
    assert (entry["reachable"], entry["via"]) == (True, "container-network")


def test_a_wrong_password_in_the_environment_is_told(engine):
    with running(17, "-h") as one:
        one.run("ALTER ROLE shop PASSWORD 'changed'")
        result = collect_postgres(stacks_of(engine, one), engine)
    (entry,) = result["instances"]
    assert (entry["reachable"], entry["via"]) == (True, "exec")
    (error,) = result["errors"]
    assert "password authentication failed" in error["reason"]
    assert "ALTER ROLE" in error["hint"]


@pytest.mark.parametrize(
    "change, failure",
    [
        ({"password": "wrong"}, "auth-failed"),
        ({"user": "nobody"}, "auth-failed"),
        ({"database": "nosuch"}, "database-missing"),
        ({"port": 1}, "refused"),
        ({"host": "no-such-host.invalid"}, "name-not-resolved"),
        ({"ssl_mode": "require"}, "tls-error"),
        ({"user": "full", "password": PASSWORD}, "too-many-connections"),
        ({"user": "shut", "password": PASSWORD, "database": "private"}, "permission-denied"),
    ],
)
@pytest.mark.parametrize("with_driver", [True, False], ids=["psycopg2", "psql"])
def test_failures_are_told_apart(newest, change, failure, with_driver, monkeypatch):
    if not with_driver:
        if subprocess.run(["sh", "-c", "command -v psql"], capture_output=True, check=False).returncode != 0:
            pytest.skip("no psql on this machine")
        monkeypatch.setitem(__import__("sys").modules, "psycopg2", None)
    for statement in (
        f"CREATE ROLE \"full\" LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT 0",
        f"CREATE ROLE shut LOGIN PASSWORD '{PASSWORD}'",
        "CREATE DATABASE private",
        "REVOKE CONNECT ON DATABASE private FROM public",
    ):
        subprocess.run(["docker", "exec", newest.name, "psql", "-U", "shop", "-qc", statement], capture_output=True, timeout=20, check=False)
    login = dataclasses.replace(postgres.Login(host=newest.host, user="shop", password=PASSWORD, database="shop"), **change)
    result = collect_postgres([], None, postgres.PostgresOptions(servers=(login,)))
    (entry,) = result["instances"]
    assert (entry["reachable"], entry["failure"]) == (False, failure), entry["message"]
    assert entry["message"]
    assert result["errors"][0]["hint"]
    assert PASSWORD not in json.dumps(result)


def test_no_way_and_no_driver(newest, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "psycopg2", None)
    monkeypatch.setenv("PATH", "/nonexistent")
    (entry,) = collect_postgres([], None, newest.options())["instances"]
    assert entry["failure"] == "driver-missing"


def test_a_stopped_and_a_paused_server(engine):
    with running(17, "-i") as one:
        docker("pause", one.name)
        (paused,) = collect_postgres(stacks_of(engine, one), engine)["instances"]
        docker("unpause", one.name)
        docker("stop", "-t", "5", one.name)
        result = collect_postgres(stacks_of(engine, one), engine)
    assert (paused["failure"], paused["status"]) == ("not-running", "critical")
    assert (result["instances"][0]["failure"], result["status"]) == ("not-running", "critical")
    assert f"docker start {one.name}" in result["errors"][0]["hint"]


def test_a_server_that_hangs(engine):
    """A stopped postmaster accepts connections in the kernel and answers none; nothing waits longer than it may."""
    with running(17, "-j") as one:
        stacks = stacks_of(engine, one)
        options = postgres.PostgresOptions(limits=Limits(connect_seconds=1, session_seconds=3), timeout_seconds=12)
        # SIGSTOP from inside is not delivered to the first process of a container.
        pid = docker("inspect", "-f", "{{.State.Pid}}", one.name)
        os.kill(int(pid), 19)
        try:
            begin = time.monotonic()
            (entry,) = collect_postgres(stacks, engine, options)["instances"]
            assert time.monotonic() - begin < 40
        finally:
            os.kill(int(pid), 18)
    assert (entry["reachable"], entry["failure"]) == (False, "timeout")


def test_a_session_that_hangs_is_cut(newest):
    connection = DriverSession.open(newest.target(), Limits(session_seconds=1))
    backend = connection.rows("SELECT pg_backend_pid() AS pid")[0]["pid"]
    newest_pid = docker("top", newest.name, "-eo", "pid,args")
    process = next(int(line.split()[0]) for line in newest_pid.splitlines() if "stackops" in line or f"shop shop {newest.host}" in line or " idle" in line)
    assert backend
    os.kill(process, 19)
    try:
        begin = time.monotonic()
        answer = connection.answers({"one": "SELECT 1 AS one"})["one"]
        assert time.monotonic() - begin < 20
    finally:
        os.kill(process, 18)
        connection.close()
    assert answer.code == "timeout"


# -- TLS ---------------------------------------------------------------------------------------------------------------


def certificate(directory, name):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1"]
        + ["-keyout", str(directory / f"{name}.key"), "-out", str(directory / f"{name}.crt")],
        capture_output=True,
        timeout=60,
        check=True,
    )
    return directory / f"{name}.crt"


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    """A server outside Compose, as far as anyone can see: only its published port, TLS only, a certificate for 127.0.0.1."""
    directory = tmp_path_factory.mktemp("tls")
    own, other = certificate(directory, "localhost"), certificate(directory, "elsewhere")
    script = directory / "tls.sh"
    script.write_text(
        'cp /tls/localhost.crt "$PGDATA/server.crt"; cp /tls/localhost.key "$PGDATA/server.key"; chmod 600 "$PGDATA/server.key"\n'
        'echo "ssl = on" >> "$PGDATA/postgresql.conf"; sed -i "s/^host all all all/hostssl all all all/" "$PGDATA/pg_hba.conf"\n'
    )
    directory.chmod(0o755)
    for file in directory.iterdir():
        file.chmod(0o644)
    options = ("-p", "127.0.0.1::5432", "-v", f"{directory}:/tls:ro", "-v", f"{script}:/docker-entrypoint-initdb.d/tls.sh:ro")
    with running(17, "-tls", options=options) as one:
        port = int(docker("port", one.name, "5432/tcp").splitlines()[0].rsplit(":", 1)[1])
        yield port, str(own), str(other)


@pytest.mark.parametrize(
    "ssl_mode, trusted, failure",
    [
        ("prefer", None, None),
        ("require", None, None),
        ("verify-ca", "own", None),
        ("verify-full", "own", None),
        ("verify-full", "other", "tls-error"),
        ("disable", None, "auth-failed"),
    ],
)
def test_a_server_outside_compose_with_tls(secure, ssl_mode, trusted, failure):
    port, own, other = secure
    certificate_file = {"own": own, "other": other, None: None}[trusted]
    params = {"login_host": "127.0.0.1", "login_port": port, "login_user": "shop", "login_password": PASSWORD, "login_db": "shop"}
    options = postgres.PostgresOptions.from_params({**params, "ssl_mode": ssl_mode, "ssl_root_cert": certificate_file, "min_calls": 1})
    result = collect_statements([], None, options)
    (instance,) = result["instances"]
    assert instance["failure"] == failure, instance["message"]
    assert instance["reachable"] == (failure is None)
    if failure is None:
        assert instance["via"] == "login_host"
        assert instance["statements"]["available"]


def test_a_dsn(secure):
    port, own, dummy = secure
    dsn = f"postgresql+asyncpg://shop:{PASSWORD}@127.0.0.1:{port}/shop?sslmode=verify-full&sslrootcert={own}"
    result = collect_statements([], None, postgres.PostgresOptions.from_params({"dsn": dsn}))
    assert result["instances"][0]["reachable"]
    assert PASSWORD not in json.dumps(result)


# -- logins of applications --------------------------------------------------------------------------------------------

WANTED = {
    "A_GOOD": (f"postgresql+asyncpg://shop:{PASSWORD}@pg:5432/shop", None, None),
    "B_PASSWORD": ("postgresql://shop:Canary-wrong@pg/shop", "auth-failed", "28P01"),
    "C_DATABASE": (f"postgresql://shop:{PASSWORD}@pg/nosuch", "database-missing", "3D000"),
    "D_NAME": (f"postgresql://shop:{PASSWORD}@nosuch/shop", "name-not-resolved", None),
    "E_PORT": (f"postgresql://shop:{PASSWORD}@pg:5433/shop", "refused", None),
    "F_SECRET": ("postgresql://shop@pg/shop", "not-tried", None),
    "G_TLS": (f"postgresql://shop:{PASSWORD}@pg/shop?sslmode=require", "tls-error", None),
}


@pytest.fixture(scope="module", params=[13, 17])
def stack(request):
    """A database and applications of one project: one that runs, one that ended, one that sits on another network."""
    network = f"{PREFIX}-{request.param}"
    need_image("stackops-test/app:latest")
    docker("network", "create", network)
    names = [f"{network}-web", f"{network}-job", f"{network}-lost"]
    try:
        with running(request.param, "-k", options=("--network-alias", "pg", "-p", "127.0.0.1::5432"), network=network) as one:
            env = [part for variable, (url, *dummy) in WANTED.items() for part in ("-e", f"{variable}={url}")]
            app = ("--entrypoint", "sleep", *env)
            start(names[0], "stackops-test/app:latest", *app, command=("600",), network=network, service="web", project=one.project)
            docker("run", "-d", "--name", names[1], *labels(one.project, "job"), "--network", network, *app, "stackops-test/app:latest", "0")
            docker("run", "-d", "--name", names[2], *labels(one.project, "lost"), *app, "stackops-test/app:latest", "600")
            yield one
    finally:
        subprocess.run(["docker", "rm", "-f", "-v", *names], capture_output=True, timeout=60, check=False)
        subprocess.run(["docker", "network", "rm", network], capture_output=True, timeout=60, check=False)


def labels(project, service):
    return [part for key, value in (("project", project), ("service", service)) for part in ("--label", f"com.docker.compose.{key}={value}")]


def logins_of(result, service):
    return {login["variable"]: login for login in result["logins"] if login["service"] == service}


@pytest.mark.parametrize("way", ["inside", "outside", "psql"])
def test_logins_of_applications(stack, engine, way, monkeypatch):
    """From the application's own network namespace; without root from this host; with a remote engine by psql."""
    stacks = stacks_of(engine, stack)
    if way == "outside":
        module = __import__("ansible_collections.stackops.runbook.plugins.module_utils._postgres_logins", fromlist=["x"])
        monkeypatch.setattr(module, "resolve_in_container", not_permitted)
    if way == "psql":
        monkeypatch.setattr(type(engine), "remote", True)
    result = collect_logins(stacks, engine)
    for service in ("web", "job"):
        logins = logins_of(result, service)
        assert set(logins) == set(WANTED)
        for variable, (dummy, failure, sqlstate) in WANTED.items():
            login = logins[variable]
            assert login["failure"] == failure, (service, variable, login["message"])
            assert login["accepted"] == (None if failure == "not-tried" else failure is None)
            if way != "psql":
                assert login["sqlstate"] == sqlstate
        assert logins["A_GOOD"]["target_service"] == "store"
        through_host = {variable: [(one["host_ip"], one["accepted"], one["failure"]) for one in logins[variable]["published"]] for variable in logins}
        if way == "psql":
            assert not any(through_host.values())
        else:
            assert through_host["A_GOOD"] == [("127.0.0.1", True, None)]
            assert through_host["B_PASSWORD"] == [("127.0.0.1", False, "auth-failed")]
            assert through_host["D_NAME"] == through_host["E_PORT"] == []
    assert logins_of(result, "lost")["A_GOOD"]["failure"] == "name-not-resolved"
    shown = json.dumps(result)
    assert PASSWORD not in shown
    assert "Canary-wrong" not in shown


def not_permitted(pid, name, timeout):
    from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError

    raise CheckError(name, "Operation not permitted", "", "not-permitted")


def test_the_same_login_is_made_once(stack, engine):
    stack.run("ALTER SYSTEM SET log_connections = on", "SELECT pg_reload_conf()")
    time.sleep(0.5)
    before = authorized(stack.name)
    result = collect_logins(stacks_of(engine, stack), engine)
    time.sleep(0.3)
    assert [login["service"] for login in result["logins"] if login["accepted"]] == ["job", "web"]
    # Once in the network, and once through the port that is published.
    assert authorized(stack.name) - before == 2


def authorized(name):
    logged = subprocess.run(["docker", "logs", name], capture_output=True, text=True, timeout=60, check=True)
    return logged.stderr.count("connection authorized: user=shop database=shop ")


def test_a_stopped_database_has_no_name(stack, engine):
    docker("stop", "-t", "5", stack.name)
    try:
        logins = logins_of(collect_logins(stacks_of(engine, stack), engine), "web")
    finally:
        docker("start", stack.name)
        wait_for(stack)
    assert (logins["A_GOOD"]["failure"], logins["A_GOOD"]["target_service"], logins["A_GOOD"]["status"]) == ("name-not-resolved", "store", "critical")
