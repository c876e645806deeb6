# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults in a restore. Whatever fails: the database is entirely the old one or entirely the restored one, and the application is healthy."""

from __future__ import annotations

import contextlib
import gzip
import os
import pathlib
import re
import signal
import stat
import subprocess
import time
import typing as t

import pytest

from tests.support.backup_proof import (
    DAY,
    SLEEPER,
    database,
    good,
    largest_data_file,
    leftovers,
    manifest_of,
    newest,
    own_databases,
    properties_of,
    refused,
    rows_of,
    sign_again,
    temporary,
    tree,
    uploads,
)
from tests.support.backup_stack import BackupStack, ended, sets_of

THINGS = "CREATE TABLE things AS SELECT i AS id, 'thing ' || i AS name FROM generate_series(1, 2000) i"
DUPLICATE_KEYS = (
    "CREATE TABLE things (id int, name text)",
    "INSERT INTO things SELECT i, 'thing ' || i FROM generate_series(1, 100) i",
    "CREATE UNIQUE INDEX things_pkey ON things (id)",
    "UPDATE pg_index SET indisunique = false WHERE indexrelid = 'things_pkey'::regclass",
    "INSERT INTO things VALUES (7, 'the other seven')",
    "UPDATE pg_index SET indisunique = true WHERE indexrelid = 'things_pkey'::regclass",
)


@contextlib.contextmanager
def untouched(stack: BackupStack, name: t.Optional[str] = None) -> t.Iterator[None]:
    """Hold that the block changes no row, no property and no name of a database, restarts nothing and leaves nothing behind."""
    live = name or stack.running().variables()["POSTGRES_DB"]

    def state() -> tuple[t.Any, ...]:
        return stack.databases(), rows_of(stack, live), properties_of(stack, live), stack.started()

    before = state()
    yield
    assert state() == before
    assert stack.is_well()


@pytest.fixture
def things(server17: BackupStack, root: pathlib.Path) -> t.Iterator[tuple[str, str]]:
    """A database that was backed up into *root* and has changed since; its name and its rows at the time of the backup."""
    with database(server17, "things", THINGS) as name:
        before = rows_of(server17, name)
        good(server17.backup(root, databases=[name]))
        server17.sql("DELETE FROM things WHERE id > 1500; UPDATE things SET name = 'changed'", name)
        yield name, before


# -- what is refused before anything is touched ------------------------------------------------------------------------


def test_confirmation_is_the_projects_name(server17: BackupStack, things: tuple[str, str], root: pathlib.Path) -> None:
    for action in ("restore", "rollback"):
        for confirm in (None, "yes", "vault"):
            with untouched(server17, things[0]):
                refused(server17.restore(root, action=action, confirm=confirm), "confirm", server17.project)


def test_a_set_of_17_is_refused_by_a_server_of_15(server17: BackupStack, server15: BackupStack, things: tuple[str, str], root: pathlib.Path) -> None:
    path = newest(root, server17)
    with untouched(server15):
        refused(server15.restore(root, **{"from": str(path)}, service="postgres"), f"of the project {server17.project}")
        refused(server15.restore(root, **{"from": str(path)}, allow_other_project=True), "PostgreSQL 17.", "the server is 15.", "nothing was changed")


def test_missing_roles_and_extensions_are_named_at_once(server17: BackupStack, root: pathlib.Path) -> None:
    roles = ("vault_owner", "vault_reader")
    fill = [f"CREATE ROLE {role}" for role in roles]
    fill += [THINGS, "CREATE EXTENSION citext", "ALTER TABLE things OWNER TO vault_owner", "GRANT SELECT ON things TO vault_reader"]
    control = "/usr/share/postgresql/17/extension/citext.control"
    with database(server17, "roles", *fill) as name:
        before = rows_of(server17, name)
        good(server17.backup(root, databases=[name]))
        for role in roles:
            server17.sql(f"REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}", name)
        server17.inside(f"mv {control} {control}.away")
        try:
            with untouched(server17, name):
                refused(server17.restore(root), "vault_owner, vault_reader", "citext", "nothing was changed")
        finally:
            server17.inside(f"mv {control}.away {control}")
        with untouched(server17, name):
            refused(server17.restore(root), "vault_owner, vault_reader", "create_missing_roles")
        server17.sql("DELETE FROM things", name)
        row = good(server17.restore(root, create_missing_roles=True))
        assert rows_of(server17, name) == before
        assert server17.sql("SELECT tableowner FROM pg_tables WHERE tablename = 'things'", name) == "vault_owner"
        assert server17.sql("SELECT has_table_privilege('vault_reader', 'things', 'SELECT')", name) == "t"
        assert server17.sql("SELECT bool_or(rolcanlogin) FROM pg_roles WHERE rolname LIKE 'vault%'") == "f"
        assert any("vault_owner" in warning for warning in row["warnings"])
    server17.sql("DROP ROLE vault_owner; DROP ROLE vault_reader", "postgres")


def test_too_little_room_is_refused(server17: BackupStack, things: tuple[str, str], root: pathlib.Path) -> None:
    path = newest(root, server17)
    manifest = manifest_of(path)
    manifest["databases"][0]["size_bytes"] = 1 << 50
    sign_again(path, databases=manifest["databases"])
    with untouched(server17, things[0]):
        refused(server17.restore(root), "MiB are free where the server keeps its data", "nothing was changed")


def test_prepared_transactions_and_logical_slots_are_refused(server17: BackupStack, things: tuple[str, str], root: pathlib.Path) -> None:
    name, before = things
    # The slot first: its making would wait for the transaction.
    server17.sql("SELECT pg_create_logical_replication_slot('vault_slot', 'pgoutput')", name)
    server17.sql("BEGIN; UPDATE things SET name = 'prepared' WHERE id = 1; PREPARE TRANSACTION 'vault-prepared'", name)
    try:
        with untouched(server17, name):
            refused(server17.restore(root), "vault-prepared", "vault_slot", "allow_slots", "nothing was changed")
        server17.sql("ROLLBACK PREPARED 'vault-prepared'", name)
        with untouched(server17, name):
            refused(server17.restore(root), "vault_slot")
        good(server17.restore(root, allow_slots=True))
        assert rows_of(server17, name) == before
    finally:
        server17.sql("SELECT pg_drop_replication_slot('vault_slot')", "postgres")


def test_a_suspect_set_is_restored_only_by_its_own_name(server17: BackupStack, root: pathlib.Path) -> None:
    with database(server17, "shrunk", THINGS) as name:
        good(server17.backup(root, databases=[name], clock_shift_seconds=-DAY))
        server17.sql("DELETE FROM things WHERE id > 10", name)
        few = rows_of(server17, name)
        refused(server17.backup(root, databases=[name]), "10 rows, 2000 before")
        first, second = sets_of(root, server17.project)
        server17.sql("DELETE FROM things", name)
        day = f"{second[:4]}-{second[4:6]}-{second[6:8]}"
        with untouched(server17, name):
            refused(server17.restore(root, **{"from": day}), "10 rows, 2000 before", "Name its id")
        row = good(server17.restore(root, **{"from": second}))
        assert rows_of(server17, name) == few
        assert good(server17.restore(root))["set_id"] == first
        kept = own_databases(server17, name)
        assert len(kept) == 3 and row["kept_database"] in kept


# -- a restore that fails ----------------------------------------------------------------------------------------------


def test_duplicate_keys_leave_the_old_data(server17: BackupStack, root: pathlib.Path) -> None:
    with database(server17, "doubled", *DUPLICATE_KEYS) as name:
        good(server17.backup(root, databases=[name]))
        with untouched(server17, name):
            refused(server17.restore(root), "things_pkey", "the live database was not touched")
        assert not leftovers(server17, root) and not temporary(root, server17)


def test_an_archive_with_other_rows_is_noticed_before_the_swap(server17: BackupStack, root: pathlib.Path) -> None:
    """Whoever changed rows and every sum has not changed what the rows hashed to when they were dumped."""
    with database(server17, "forged", THINGS) as name:
        good(server17.backup(root, databases=[name], level="equivalent", compression="gzip"))
        path = newest(root, server17)
        file = largest_data_file(path)
        file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()).replace(b"thing 77\n", b"thing 78\n")))
        sign_again(path)
        with untouched(server17, name):
            refused(server17.restore(root), "contents differ", "the live database was not touched")
        assert not leftovers(server17, root)


def test_a_row_that_is_refused_ends_all_sessions(server17: BackupStack, root: pathlib.Path) -> None:
    fill = "CREATE TABLE things AS SELECT i AS id, repeat('thing ', 100) || i AS name FROM generate_series(1, 20000) i"
    with database(server17, "refused", fill) as name:
        good(server17.backup(root, databases=[name], compression="gzip"))
        file = largest_data_file(newest(root, server17))
        file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()).replace(b"\n17777\t", b"\nno number\t")))
        sign_again(newest(root, server17))
        with untouched(server17, name):
            refused(server17.restore(root, split_bytes=0), "invalid input syntax", "no number", "the live database was not touched")
        assert not leftovers(server17, root) and not temporary(root, server17)


def test_an_application_that_does_not_get_well_brings_the_old_data_back(shop: BackupStack, root: pathlib.Path) -> None:
    """The set is of a schema that the application does not know."""
    revision = shop.sql("SELECT version_num FROM alembic_version")
    shop.sql("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    try:
        good(shop.backup(root))
    finally:
        shop.sql(f"UPDATE alembic_version SET version_num = '{revision}'")
    before, properties, databases, environment = rows_of(shop), properties_of(shop, "mydb"), shop.databases(), (shop.directory / ".env").read_text()
    (shop.directory / ".env").write_text(environment + "# changed since\n")
    failed = shop.restore(root, health_timeout_seconds=20, config=True)
    refused(failed, "not well within", "backend", "the old database is live again")
    assert (rows_of(shop), properties_of(shop, "mydb"), shop.databases()) == (before, properties, databases)
    assert (shop.directory / ".env").read_text() == environment + "# changed since\n"
    (shop.directory / ".env").write_text(environment)
    assert shop.is_well() and not leftovers(shop, root)


def test_an_endpoint_that_does_not_answer_brings_the_old_data_back(shop: BackupStack, root: pathlib.Path) -> None:
    good(shop.backup(root))
    shop.sql("CREATE TABLE vault_marker AS SELECT 1 AS id")
    try:
        before, databases = rows_of(shop), shop.databases()
        failed = shop.restore(root, health_timeout_seconds=12, endpoints=[f"http://127.0.0.1:{shop.port}/no-such-page"])
        refused(failed, "no-such-page", "not well within")
        assert (rows_of(shop), shop.databases()) == (before, databases)
        shop.wait_until_well()
    finally:
        shop.sql("DROP TABLE vault_marker")


@contextlib.contextmanager
def trusted_loopback(stack: BackupStack) -> t.Iterator[None]:
    """Have the server take any password over its loopback device, as in the image "postgres" of Docker Hub."""
    path = stack.sql("SHOW hba_file")
    stack.inside(f"cp -p {path} {path}.before && sed -i -E '/(127\\.0\\.0\\.1|::1)/s/scram-sha-256/trust/' {path}")
    stack.sql("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        stack.inside(f"mv {path}.before {path}")
        stack.sql("SELECT pg_reload_conf()")


@contextlib.contextmanager
def other_password(stack: BackupStack, password: str) -> t.Iterator[None]:
    """Have the role of the application another password for the block."""
    before = stack.running().variables()["DATABASE_PASSWORD"]
    stack.sql(f"ALTER ROLE postgres PASSWORD '{password}'")
    try:
        yield
    finally:
        stack.sql(f"ALTER ROLE postgres PASSWORD '{before}'")


def test_a_password_that_is_not_accepted_stops_nothing(shop: BackupStack, root: pathlib.Path) -> None:
    """The role has another password than the one that the application would log in with after its restart."""
    good(shop.backup(root))
    with other_password(shop, "another"), trusted_loopback(shop), untouched(shop):
        failed = refused(shop.restore(root), "does not accept the login of backend as postgres", "nothing was changed")
        assert f"docker exec -it {shop.project}-postgres-1 psql -U postgres -d postgres -c '\\password postgres'" in failed.replace("_", "-")


def test_a_restored_env_with_another_password_is_told_with_what_to_type(shop: BackupStack, root: pathlib.Path) -> None:
    """The containers keep the environment that they have; with the next ``up`` the restored one counts."""
    running = shop.running()
    good(shop.backup(root))
    archived = (shop.directory / ".env").read_text()
    names = ("POSTGRES_PASSWORD", "DATABASE_PASSWORD")
    before = running.variables()["DATABASE_PASSWORD"]
    shop.sql("ALTER ROLE postgres PASSWORD 'Canary-of-today'")
    try:
        running.set_variables(dict.fromkeys(names, "Canary-of-today"))
        running.up("backend")
        shop.wait_until_well()
        ended = shop.restore(root, config=True)
        row = good(ended)
        assert shop.is_well() and (shop.directory / ".env").read_text() == archived
        (warning,) = [one for one in row["warnings"] if "password" in one]
        commands = re.findall(r"`(.+?)`", warning)
        assert "Canary" not in ended.output and before not in ended.output
        assert [command.split()[0] for command in commands] == ["docker", "mv"]
        assert any("up -d" in step for step in row["next_steps"])
        # What it says is what helps: as it is, the application would not come back.
        command = commands[0].replace("exec -it", "exec -i")
        subprocess.run(["sh", "-c", command], check=True, input=f"{before}\n{before}\n", text=True, timeout=30)
        running.up("backend")
        shop.wait_until_well()
        # The other way back, after a second restore.
        shop.sql("ALTER ROLE postgres PASSWORD 'Canary-of-today'")
        running.set_variables(dict.fromkeys(names, "Canary-of-today"))
        today = (shop.directory / ".env").read_text()
        running.up("backend")
        shop.wait_until_well()
        (warning,) = [one for one in good(shop.restore(root, config=True))["warnings"] if "password" in one]
        subprocess.run(["sh", "-c", re.findall(r"`(mv .+?)`", warning)[0]], check=True, timeout=30)
        assert (shop.directory / ".env").read_text() == today
    finally:
        (shop.directory / ".env").write_text(archived)
        shop.sql(f"ALTER ROLE postgres PASSWORD '{before}'")
        running.up("backend")
        shop.wait_until_well()


# -- sessions that are in the way --------------------------------------------------------------------------------------


@contextlib.contextmanager
def reconnecting(stack: BackupStack, name: str) -> t.Iterator[str]:
    """Have superusers log in every 20 ms for the block, and one that stays as long as it is let."""
    # It ends by itself and waits for its children: an orphan would become one of the server's process, which takes its end for a crash.
    script = f"""rm -f /tmp/vault-stop /tmp/vault-answers
psql -XqU postgres -d {name} -c 'SELECT pg_sleep(600)' >/dev/null 2>&1 &
while [ ! -e /tmp/vault-stop ]; do psql -XqAtU postgres -d {name} -c 'SELECT 1' >>/tmp/vault-answers 2>&1; sleep 0.02; done
kill %1 2>/dev/null; wait; rm /tmp/vault-stop"""
    container = stack.container()
    subprocess.run(["docker", "exec", "--detach", container, "bash", "-c", script], check=True)
    try:
        while not stack.sql(f"SELECT 1 FROM pg_stat_activity WHERE datname = '{name}' AND query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()"):
            time.sleep(0.05)
        yield "/tmp/vault-answers"
    finally:
        stack.inside("touch /tmp/vault-stop; while [ -e /tmp/vault-stop ]; do sleep 0.05; done")


def test_a_superuser_who_reconnects_all_the_time_does_not_stop_the_swap(server17: BackupStack, things: tuple[str, str], root: pathlib.Path) -> None:
    name, before = things
    with reconnecting(server17, name) as answers:
        row = good(server17.restore(root))
        assert row["downtime_seconds"] < 10
        assert rows_of(server17, name) == before
        good(server17.restore(root, action="rollback"))
        assert rows_of(server17, name) != before
    assert server17.inside(f"grep -c '^1$' {answers}") != "0"


# -- what belongs to the database itself -------------------------------------------------------------------------------


def test_properties_of_the_database_survive(server17: BackupStack, root: pathlib.Path) -> None:
    name = 'Über "uns", 50%'
    quoted = '"' + name.replace('"', '""') + '"'
    prepare = f"""CREATE ROLE vault_app; CREATE ROLE "vault Leser";
ALTER DATABASE {quoted} OWNER TO vault_app; ALTER DATABASE {quoted} CONNECTION LIMIT 17;
ALTER DATABASE {quoted} SET search_path = 'app', public; ALTER DATABASE {quoted} SET work_mem = '7MB';
ALTER DATABASE {quoted} SET "vault.note" = 'it''s = a, b'; ALTER DATABASE {quoted} SET timezone = 'Europe/Berlin';
ALTER ROLE vault_app IN DATABASE {quoted} SET statement_timeout = '12s'; ALTER ROLE "vault Leser" IN DATABASE {quoted} SET search_path = '"$user"', 'Größe';
REVOKE ALL ON DATABASE {quoted} FROM PUBLIC; GRANT CONNECT, TEMPORARY ON DATABASE {quoted} TO "vault Leser" WITH GRANT OPTION;
COMMENT ON DATABASE {quoted} IS 'kept for the "accountant"'"""
    try:
        with database(server17, name, THINGS) as dummy:
            server17.sql(prepare, "postgres")
            before, rows = properties_of(server17, name), rows_of(server17, name)
            assert good(server17.backup(root, databases=[name], level="equivalent"))["level"] == "equivalent"
            server17.sql("DELETE FROM things", name)
            row = good(server17.restore(root))
            assert (properties_of(server17, name), rows_of(server17, name)) == (before, rows)
            good(server17.restore(root, action="rollback"))
            assert properties_of(server17, name) == before
            assert server17.sql("SELECT count(*) FROM things", name) == "0"
            assert row["kept_database"] not in server17.databases()
            good(server17.restore(root, action="finalize", keep_old_hours=0))
            assert own_databases(server17, name) == [name]
    finally:
        server17.sql('DROP ROLE IF EXISTS vault_app; DROP ROLE IF EXISTS "vault Leser"', "postgres")


# -- the guide's plain files -------------------------------------------------------------------------------------------


@pytest.fixture
def plain(server17: BackupStack, things: tuple[str, str], root: pathlib.Path) -> pathlib.Path:
    """A file as the guide's ``pg_dump | gzip`` makes it."""
    argv = ["docker", "exec", server17.container(), "pg_dump", "-U", "postgres", things[0]]
    path = root.parent / "backup_20261101.sql.gz"
    path.write_bytes(gzip.compress(subprocess.run(argv, check=True, capture_output=True).stdout))
    return path


def test_a_plain_file_is_restored(server17: BackupStack, things: tuple[str, str], plain: pathlib.Path, root: pathlib.Path) -> None:
    name, _before = things
    server17.sql(f"ALTER DATABASE {name} SET work_mem = '9MB'", "postgres")
    wanted, properties = rows_of(server17, name), properties_of(server17, name)
    server17.sql("DELETE FROM things", name)
    good(server17.restore(root, **{"from": str(plain)}, database=name))
    assert (rows_of(server17, name), properties_of(server17, name)) == (wanted, properties)
    made = good(server17.backup(root, databases=[name], plain_sql=True))
    (own,) = pathlib.Path(made["path"]).glob("backup_*.sql.gz")
    server17.sql("DELETE FROM things", name)
    good(server17.restore(root, **{"from": str(own)}, database=name))
    assert rows_of(server17, name) == wanted


def _cut(content: bytes) -> bytes:
    return gzip.compress(gzip.decompress(content)[:-2000])


def _cut_compressed(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _damage(content: bytes) -> bytes:
    return content[:500] + bytes(byte ^ 0x55 for byte in content[500:520]) + content[520:]


def _spoil(content: bytes) -> bytes:
    return gzip.compress(gzip.decompress(content).replace(b"CREATE TABLE", b"INSERT INTO no_such_table VALUES (1); CREATE TABLE"))


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (_cut, "does not end as a dump ends"),
        (_cut_compressed, "cannot be read to its end"),
        (_damage, "cannot be read to its end"),
        (_spoil, "no_such_table"),
    ],
)
def test_a_bad_plain_file_changes_nothing(
    server17: BackupStack, things: tuple[str, str], plain: pathlib.Path, root: pathlib.Path, fault: t.Callable[[bytes], bytes], told: str
) -> None:
    plain.write_bytes(fault(plain.read_bytes()))
    with untouched(server17, things[0]):
        refused(server17.restore(root, **{"from": str(plain)}, database=things[0]), told)
    assert not leftovers(server17, root) and not temporary(root, server17)


# -- other names, ways back, tidying -----------------------------------------------------------------------------------


def test_another_name_leaves_the_original_alone(server17: BackupStack, things: tuple[str, str], root: pathlib.Path) -> None:
    name, before = things
    live = rows_of(server17, name)
    good(server17.restore(root, target_database="things_monday"))
    try:
        assert (rows_of(server17, name), rows_of(server17, "things_monday")) == (live, before)
        server17.sql("DELETE FROM things", "things_monday")
        row = good(server17.restore(root, target_database="things_monday"))
        assert (rows_of(server17, name), rows_of(server17, "things_monday")) == (live, before)
        assert row["kept_database"].startswith("things_monday__old_")
        good(server17.restore(root, action="finalize", keep_old_hours=0))
    finally:
        server17.sql("DROP DATABASE things_monday", "postgres")
    assert own_databases(server17, name) == [name]


def test_rollback_there_and_back_and_finalize(server17: BackupStack, things: tuple[str, str], root: pathlib.Path) -> None:
    name, restored = things
    changed = rows_of(server17, name)
    refused(server17.restore(root, action="rollback"), "no restore is there")
    kept = good(server17.restore(root))["kept_database"]
    assert rows_of(server17, name) == restored and own_databases(server17, name) == [name, kept]
    good(server17.restore(root, action="rollback"))
    assert rows_of(server17, name) == changed and len(own_databases(server17, name)) == 2
    # The second one takes the first one back.
    good(server17.restore(root, action="rollback"))
    assert rows_of(server17, name) == restored and len(own_databases(server17, name)) == 2
    # A person's own databases may be called as ours are.
    for foreign, comment in (("things__old_12345678", "NULL"), ("things__restore_12345678", "'of the accountant'")):
        server17.sql(f"CREATE DATABASE {foreign}", "postgres")
        server17.sql(f"COMMENT ON DATABASE {foreign} IS {comment}", "postgres")
    good(server17.restore(root, action="finalize"))
    assert len(own_databases(server17, name)) == 4
    planned = good(server17.restore(root, action="finalize", keep_old_hours=0, check_mode=True))
    assert planned["changed"] and len(own_databases(server17, name)) == 4
    gone = good(server17.restore(root, action="finalize", keep_old_hours=0))
    assert gone["changed"] and len(gone["dropped"]) == 1
    assert own_databases(server17, name) == [name, "things__old_12345678", "things__restore_12345678"]
    assert not good(server17.restore(root, action="finalize", keep_old_hours=0))["changed"]
    refused(server17.restore(root, action="rollback"), "not there any more")
    assert rows_of(server17, name) == restored


def test_the_drill_touches_nothing(server17: BackupStack, things: tuple[str, str], root: pathlib.Path) -> None:
    with untouched(server17, things[0]):
        row = good(server17.restore(root, action="drill", confirm=None))
    assert row["duration_seconds"] > 0 and row["level"] == "equivalent" and not leftovers(server17, root)
    listed = server17.backup(root, action="list").row()
    assert listed["sets"][0]["level"] == "equivalent"


def test_check_mode_changes_nothing(server17: BackupStack, things: tuple[str, str], root: pathlib.Path) -> None:
    fresh = root.parent / "fresh"
    with untouched(server17, things[0]):
        refused(server17.restore(fresh, check_mode=True), "no such set")
        assert not fresh.exists()
        before = tree(root)
        planned = good(server17.restore(root, check_mode=True, confirm=None))
        assert planned["state"] == "planned" and any("swap" in line for line in planned["plan"])
        for action in ("finalize", "list", "drill"):
            good(server17.restore(root, action=action, check_mode=True))
        refused(server17.restore(root, action="rollback", check_mode=True), "no restore is there")
        assert tree(root) == before
    assert not leftovers(server17, root)


def test_no_secret_is_told_and_nobody_else_can_read(shop: BackupStack, root: pathlib.Path) -> None:
    environment = shop.directory / ".env"
    original = environment.read_text()
    environment.write_text(f"{original}PAYMENT_TOKEN=canary-env-7d1f\n")
    try:
        good(shop.backup(root))
        environment.write_text(f"{original}PAYMENT_TOKEN=canary-new-2b2b\n")
        progress = root.parent / "progress.json"
        runs = [shop.restore(root, config=True, logs=True, progress_file=str(progress)), shop.restore(root, action="list")]
        row = good(runs[0])
        assert environment.read_text() == f"{original}PAYMENT_TOKEN=canary-env-7d1f\n"
        kept = environment.with_name(f".env.before-{row['restore_id']}")
        assert kept.read_text() == f"{original}PAYMENT_TOKEN=canary-new-2b2b\n"
        assert [stat.S_IMODE(path.stat().st_mode) for path in (environment, kept)] == [0o600, 0o600]
        kept.unlink()
        runs.append(shop.restore(root, action="finalize", keep_old_hours=0))
        told = "".join(one.output for one in runs) + progress.read_text() + "".join(path.read_text() for path in root.rglob("*.json"))
        for canary in ("canary-env-7d1f", "canary-new-2b2b", shop.running().variables()["POSTGRES_PASSWORD"], shop.running().variables()["JWT_SECRET"]):
            assert canary not in told
        for path in [root, *root.rglob("*")]:
            if not path.is_symlink():
                assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    finally:
        environment.write_text(original)
    assert shop.is_well()


# -- other databases ---------------------------------------------------------------------------------------------------


def test_of_two_databases_both_are_replaced_or_none(server17: BackupStack, root: pathlib.Path) -> None:
    with database(server17, "first", THINGS) as first, database(server17, "second", THINGS) as second:
        before = rows_of(server17, first)
        good(server17.backup(root, databases=[first, second]))
        for name in (first, second):
            server17.sql("DELETE FROM things WHERE id > 1500", name)
        row = good(server17.restore(root))
        assert rows_of(server17, first) == rows_of(server17, second) == before and len(row["kept_databases"]) == 2
        for statement in DUPLICATE_KEYS[2:]:
            server17.sql(statement, second)
        good(server17.backup(root, databases=[first, second]))
        server17.sql("DELETE FROM things WHERE id > 1000", first)
        with untouched(server17, first), untouched(server17, second):
            refused(server17.restore(root), "things_pkey", "the live database was not touched")


def test_a_dropped_database_comes_back(server17: BackupStack, things: tuple[str, str], root: pathlib.Path) -> None:
    name, before = things
    server17.sql(f"DROP DATABASE {name}", "postgres")
    good(server17.restore(root))
    assert rows_of(server17, name) == before and own_databases(server17, name) == [name]


def test_the_database_postgres_is_no_exception(server17: BackupStack, root: pathlib.Path) -> None:
    """Many stacks have their data in it, and sessions for maintenance are usually there."""
    server17.sql(THINGS, "postgres")
    try:
        before = rows_of(server17, "postgres")
        row = good(server17.backup(root, databases=["postgres"]))
        assert row["databases"] == ["postgres/postgres"]
        server17.sql("DELETE FROM things", "postgres")
        good(server17.restore(root, login_user="postgres", login_db="postgres"))
        assert rows_of(server17, "postgres") == before
        good(server17.restore(root, action="rollback"))
        assert server17.sql("SELECT count(*) FROM things", "postgres") == "0"
    finally:
        server17.sql("DROP TABLE things", "postgres")
        server17.restore(root, action="finalize", keep_old_hours=0)
    assert not [one for one in server17.databases() if one.startswith("postgres__")]


# -- an end in between -------------------------------------------------------------------------------------------------


# -- volumes -----------------------------------------------------------------------------------------------------------


LISTED = "find . | LC_ALL=C sort; find . -type f | LC_ALL=C sort | xargs -r stat -c '%n %a %u:%g' ; find . -type f | LC_ALL=C sort | xargs -r cat"


def test_volumes_come_back_with_the_database_and_go_back_with_it(shop: BackupStack, root: pathlib.Path) -> None:
    with uploads(shop) as inside:
        inside("mkdir -p a/b; echo one >a/b/one; chmod 640 a/b/one; chown 1000:1001 a/b/one; ln -s /data/a/b/one link; chmod 2770 .")
        archived, rows = inside(LISTED), rows_of(shop)
        good(shop.backup(root, volumes=["uploads"]))
        inside("echo changed >a/b/one; echo two >two; rm link")
        changed = inside(LISTED)
        row = good(shop.restore(root, volumes=["uploads"]))
        assert inside(LISTED) == archived and rows_of(shop) == rows
        (kept,) = row["kept_volumes"]
        assert pathlib.Path(kept, "two").is_file()
        good(shop.restore(root, action="rollback"))
        assert inside(LISTED) == changed
        good(shop.restore(root, action="rollback"))
        assert inside(LISTED) == archived
        dropped = good(shop.restore(root, action="finalize", keep_old_hours=0))["dropped"]
        assert "the old content of uploads" in dropped
        assert [path.name for path in pathlib.Path(kept).parent.iterdir()] == ["_data"]


def test_an_application_that_does_not_get_well_brings_the_old_volumes_back(shop: BackupStack, root: pathlib.Path) -> None:
    with uploads(shop) as inside:
        inside("echo one >one")
        good(shop.backup(root, volumes=["uploads"]))
        inside("echo two >two")
        changed = inside(LISTED)
        refused(shop.restore(root, volumes=["uploads"], endpoints=["http://127.0.0.1:9/"], health_timeout_seconds=3), "the old database is live again")
        assert inside(LISTED) == changed
        shop.wait_until_well()
        mounted = subprocess.check_output(["docker", "volume", "inspect", "-f", "{{.Mountpoint}}", f"{shop.project}_uploads"], text=True)
        assert [path.name for path in pathlib.Path(mounted.strip()).parent.iterdir()] == ["_data"]


def test_a_volume_that_others_use_or_that_is_not_there_stops_nothing(shop: BackupStack, root: pathlib.Path) -> None:
    with uploads(shop) as inside:
        inside("echo one >one")
        good(shop.backup(root, volumes=["uploads"]))
        with untouched(shop):
            refused(shop.restore(root, volumes=["downloads"]), "the set has no such volume", "uploads.tar.gz")
            stranger = [*SLEEPER[:2], "--volume", f"{shop.project}_uploads:/data", *SLEEPER[2:]]
            other = subprocess.check_output(stranger, text=True, timeout=60).strip()
            try:
                refused(shop.restore(root, volumes=["uploads"]), f"which is not of {shop.project}, uses it", "docker stop")
            finally:
                subprocess.run(["docker", "rm", "--force", other], check=True, capture_output=True, timeout=60)
            refused(shop.restore(root, volumes=["uploads"], target_database="elsewhere"), "restored from a set, with the databases")



@pytest.mark.parametrize("state", ["preparing", "stopping", "starting"])
@pytest.mark.parametrize("when", ["at its beginning", "in the midst of it"])
def test_sigterm_takes_the_restore_back(shop: BackupStack, root: pathlib.Path, state: str, when: str) -> None:
    good(shop.backup(root))
    shop.sql("CREATE TABLE vault_marker AS SELECT 1 AS id")
    try:
        before, databases = rows_of(shop), shop.databases()
        params = {"confirm": shop.project, "health_timeout_seconds": 60}
        if when == "at its beginning":
            process = shop.start("restore", root, {**params, "terminate_in": state})
        else:
            process = shop.start("restore", root, params)
            record = root / shop.project / "restore"
            deadline = time.monotonic() + 60
            while not any(f'"state": "{state}"' in path.read_text() for path in record.glob("*.json")):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.02)
            time.sleep(0.1)
            os.kill(process.pid, signal.SIGTERM)
        told = refused(ended(process), "SIGTERM")
        # On a busy machine the run may be further than what was read of its record.
        expected = ["the live database was not touched"] if state == "preparing" else []
        expected += ["the old database is live again"] if state != "preparing" or when != "at its beginning" else []
        assert any(words in told for words in expected), told
        assert (rows_of(shop), shop.databases()) == (before, databases)
        shop.wait_until_well()
        assert not leftovers(shop, root)
    finally:
        shop.sql("DROP TABLE vault_marker")
