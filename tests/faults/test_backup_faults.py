# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults in a backup. Whatever fails: nothing is published, nothing expires, ``latest`` stands, and the next run needs nobody's help."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess
import time
import typing as t

import pytest

from tests.support.backup_proof import (
    DAY,
    database,
    good,
    largest_data_file,
    leftovers,
    manifest_of,
    newest,
    nothing_published,
    published,
    refused,
    sign_again,
    temporary,
    tree,
)
from tests.support.backup_stack import BackupStack, ended, sets_of
from tests.support.tools import need_tools

BIG_MIB = 96


@contextlib.contextmanager
def tmpfs(path: pathlib.Path, mib: int) -> t.Iterator[pathlib.Path]:
    """Have a file system of *mib* MiB at *path* for the block."""
    path.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0700", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture(scope="module")
def big(server17: BackupStack) -> t.Iterator[str]:
    """A database whose dump is large, since nothing compresses it, and takes some seconds."""
    # Far below the server's memory; hashes of random bytes do not compress.
    rows = BIG_MIB * 1024
    fill = f"""CREATE EXTENSION pgcrypto; CREATE TABLE blobs (id int, content bytea);
ALTER TABLE blobs ALTER content SET STORAGE EXTERNAL; INSERT INTO blobs SELECT i, gen_random_bytes(1024) FROM generate_series(1, {rows}) i"""
    with database(server17, "big", fill) as name:
        yield name


@pytest.fixture(scope="module")
def small(server17: BackupStack) -> t.Iterator[str]:
    """A small database beside it."""
    with database(server17, "small", "CREATE TABLE things AS SELECT i AS id, 'thing ' || i AS name FROM generate_series(1, 5000) i") as name:
        yield name


# -- a dump that fails -------------------------------------------------------------------------------------------------


def test_wrong_password_publishes_nothing(server17: BackupStack, small: str, root: pathlib.Path) -> None:
    good(server17.backup(root, databases=[small]))
    with nothing_published(root, server17):
        canary = "canary-wrong-password"
        failed = server17.backup(root, databases=[small], login_user="postgres", login_password=canary)
        refused(failed, "password authentication failed")
        assert canary not in failed.output
    good(server17.backup(root, databases=[small]))


def test_stopped_server_publishes_nothing(server17: BackupStack, small: str, root: pathlib.Path) -> None:
    good(server17.backup(root, databases=[small]))
    before = published(root, server17)
    server17.running().compose("stop", "postgres")
    try:
        refused(server17.backup(root, databases=[small]), "not running", "docker start")
    finally:
        server17.running().compose("start", "postgres")
        server17.wait_until_well()
    assert published(root, server17) == before
    good(server17.backup(root, databases=[small]))


def test_missing_database_publishes_nothing(server17: BackupStack, small: str, root: pathlib.Path) -> None:
    with nothing_published(root, server17):
        refused(server17.backup(root, databases=["smal"]), "smal", "there are")


def test_unreadable_relation_publishes_nothing(server17: BackupStack, small: str, root: pathlib.Path) -> None:
    """The file of a table is gone: the dump begins well and fails in its midst."""
    good(server17.backup(root, databases=[small]))
    with database(server17, "broken", "CREATE TABLE fine AS SELECT 1 AS id", "CREATE TABLE torn AS SELECT i FROM generate_series(1, 1000) i", "CHECKPOINT"):
        file = server17.sql("SELECT pg_relation_filepath('torn')", "broken")
        server17.inside(f"rm /var/lib/postgresql/data/{file}")
        with nothing_published(root, server17):
            refused(server17.backup(root, databases=[small, "broken"]), "could not open file")
            assert not temporary(root, server17)


def test_table_without_permission_publishes_nothing(server17: BackupStack, small: str, root: pathlib.Path) -> None:
    server17.sql("CREATE ROLE vault_limited LOGIN PASSWORD 'limited'; GRANT pg_monitor TO vault_limited", small)
    try:
        good(server17.backup(root, databases=[small]))
        with nothing_published(root, server17):
            failed = server17.backup(root, databases=[small], login_user="vault_limited", login_password="limited", login_db=small)
            refused(failed, "permission denied for table things")
    finally:
        server17.sql("DROP OWNED BY vault_limited; DROP ROLE vault_limited", small)


def test_locked_table_ends_in_time_and_says_so(server17: BackupStack, small: str, root: pathlib.Path) -> None:
    argv = ["docker", "exec", "-i", server17.container(), "psql", "-XqU", "postgres", "-d", small]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, text=True) as holder, nothing_published(root, server17):
        assert holder.stdin is not None
        holder.stdin.write("BEGIN; LOCK TABLE things;\n")
        holder.stdin.flush()
        while not server17.sql("SELECT 1 FROM pg_locks WHERE relation = 'things'::regclass AND mode = 'AccessExclusiveLock' AND granted", small):
            time.sleep(0.05)
        refused(server17.backup(root, databases=[small], lock_timeout_seconds=1), "canceling statement", "LOCK TABLE", "pg_stat_activity")
        holder.stdin.close()


def _start_dump_of(stack: BackupStack, root: pathlib.Path, name: str, at_bytes: int) -> subprocess.Popen[str]:
    """Start a backup of one database and return it when so much of its dump is on the disk."""
    process = stack.start("backup", root, {"level": "decodable", "databases": [name], "jobs": 1})
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        sizes = []
        for entry in (root / stack.project / "tmp").rglob("*.dat*"):
            with contextlib.suppress(FileNotFoundError):
                sizes.append(entry.stat().st_size)
        if sum(sizes) > at_bytes:
            return process
        time.sleep(0.01)
    process.kill()
    raise AssertionError(f"no dump was under way: {process.communicate()}")


def test_server_killed_at_half_of_a_dump(server17: BackupStack, big: str, root: pathlib.Path) -> None:
    good(server17.backup(root, databases=[big], jobs=1))
    half = largest_data_file(newest(root, server17)).stat().st_size // 2
    before = published(root, server17)
    process = _start_dump_of(server17, root, big, half)
    subprocess.run(["docker", "kill", server17.container()], check=True, capture_output=True)
    failed = ended(process)
    subprocess.run(["docker", "start", server17.container()], check=True, capture_output=True)
    server17.wait_until_well()
    refused(failed)
    assert published(root, server17) == before and not leftovers(server17, root) and not temporary(root, server17)
    good(server17.backup(root, databases=[big]))


def test_killing_the_run_kills_the_dump(server17: BackupStack, big: str, root: pathlib.Path) -> None:
    """``docker exec pg_dump`` would go on and hold its locks."""
    process = _start_dump_of(server17, root, big, 1 << 20)
    assert server17.sql("SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'stackops-backup'") == "t"
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 10
    while leftovers(server17, root) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not leftovers(server17, root)
    assert not sets_of(root, server17.project) and temporary(root, server17)
    good(server17.backup(root, databases=[big]))
    assert not temporary(root, server17)


# -- a full disk -------------------------------------------------------------------------------------------------------


def test_disk_full_before(server17: BackupStack, big: str, session_root: pathlib.Path) -> None:
    with tmpfs(session_root / "full-before", 40) as disk, nothing_published(disk / "backups", server17):
        refused(server17.backup(disk / "backups", databases=[big]), "free, about", "needed", "df -h")
        assert not temporary(disk / "backups", server17)


def test_disk_full_during(server17: BackupStack, big: str, small: str, session_root: pathlib.Path) -> None:
    """The estimate goes by the last set, of data that could be compressed; what is there now cannot be."""
    with tmpfs(session_root / "full-during", 90) as disk:
        root = disk / "backups"
        good(server17.backup(root, databases=[small]))
        with nothing_published(root, server17):
            refused(server17.backup(root, databases=[small, big]), "no space left", "free space")
            assert not temporary(root, server17)
        assert shutil.disk_usage(disk).used < 10 << 20
        good(server17.backup(root, databases=[small]))


# -- empty and shrunken databases --------------------------------------------------------------------------------------


def test_missing_rows_make_a_suspect_set(server17: BackupStack, root: pathlib.Path) -> None:
    """60 % of the rows are gone: the set is kept, the run fails, ``latest`` and every older set stay."""
    with database(server17, "shrinking", "CREATE TABLE things AS SELECT i FROM generate_series(1, 5000) i"):
        wanted = {"databases": ["shrinking"], "keep_days": 0, "min_verified": 1}
        good(server17.backup(root, **wanted, clock_shift_seconds=-20 * DAY))
        good(server17.backup(root, **wanted, clock_shift_seconds=-10 * DAY, prune=False))
        server17.sql("DELETE FROM things WHERE i > 2000", "shrinking")
        latest, before = newest(root, server17), sets_of(root, server17.project)
        said = refused(server17.backup(root, **wanted), "2000 rows, 5000 before", "allow_shrink", "is kept at")
        assert sets_of(root, server17.project)[:-1] == before and newest(root, server17) == latest
        suspect = root / server17.project / "sets" / sets_of(root, server17.project)[-1]
        assert str(suspect) in said and manifest_of(suspect)["compare"]["suspect"] is True
        # It is no model for the next one.
        refused(server17.backup(root, **wanted), "2000 rows, 5000 before")
        assert newest(root, server17) == latest
        row = good(server17.backup(root, **wanted, allow_shrink=True))
        assert newest(root, server17).name == row["set_id"]


def test_empty_database_is_suspect(server17: BackupStack, root: pathlib.Path) -> None:
    """The volume is new: the database is there, and nothing in it."""
    with database(server17, "emptied", "CREATE TABLE things AS SELECT i FROM generate_series(1, 100) i"):
        good(server17.backup(root, databases=["emptied"]))
        latest = newest(root, server17)
        server17.sql("DROP TABLE things", "emptied")
        refused(server17.backup(root, databases=["emptied"]), "table", "is kept at")
        assert newest(root, server17) == latest and len(sets_of(root, server17.project)) == 2


def test_wrong_database_is_suspect(server17: BackupStack, root: pathlib.Path) -> None:
    """Another database than before has the name that was asked for last time."""
    with database(server17, "right", "CREATE TABLE things AS SELECT i FROM generate_series(1, 100) i"), database(
        server17, "wrong", "CREATE TABLE others AS SELECT i FROM generate_series(1, 100) i"
    ):
        good(server17.backup(root, databases=["right"]))
        refused(server17.backup(root, databases=["wrong"]), "database right of postgres is not in this set")


# -- retention ---------------------------------------------------------------------------------------------------------


def test_failures_expire_nothing(server17: BackupStack, small: str, root: pathlib.Path) -> None:
    """Every second night fails, and the others do not run: the last good sets are older than the window by then, and stay."""
    wanted = {"databases": [small], "min_verified": 1}
    for day in (-12, -11, -10):
        good(server17.backup(root, **wanted, clock_shift_seconds=day * DAY, prune=False))
    with nothing_published(root, server17):
        for day in range(-8, 0, 2):
            failed = server17.backup(root, **wanted, clock_shift_seconds=day * DAY, login_user="postgres", login_password="wrong")
            refused(failed, "password authentication failed")
    row = good(server17.backup(root, **wanted))
    # Only the first one outside of the window is needed to go back a whole week.
    assert len(row["pruned"]) == 2 and len(sets_of(root, server17.project)) == 2


def test_clock_jumps_delete_nothing(server17: BackupStack, small: str, root: pathlib.Path) -> None:
    wanted = {"databases": [small], "min_verified": 1, "keep_days": 1}
    for day in (-60, -40, -20, -19):
        good(server17.backup(root, **wanted, clock_shift_seconds=day * DAY, prune=False))
    made = sets_of(root, server17.project)
    row = good(server17.backup(root, **wanted, clock_shift_seconds=400 * DAY))
    assert row["pruned"] == [] and "clock" in row["retention"]
    row = good(server17.backup(root, **wanted))
    assert row["pruned"] == [] and row["retention"]
    assert set(made) < set(sets_of(root, server17.project))


def test_regular_runs_move_the_clock_on(server17: BackupStack, small: str, root: pathlib.Path) -> None:
    """A month after the first run, retention still works."""
    wanted = {"databases": [small], "min_verified": 1}
    gone = []
    for day in (-50, -25, -10, 0):
        gone += good(server17.backup(root, **wanted, clock_shift_seconds=day * DAY))["pruned"]
    assert len(gone) == 2 and len(sets_of(root, server17.project)) == 2


def test_neighbours_and_foreign_files_stay(server17: BackupStack, small: str, root: pathlib.Path) -> None:
    wanted = {"databases": [small], "min_verified": 1, "keep_days": 1}
    for day in (-20, -15, -10):
        good(server17.backup(root, **wanted, clock_shift_seconds=day * DAY, prune=False))
    ours = root / server17.project
    sets = sorted((ours / "sets").iterdir())
    neighbour = root / f"{server17.project}-test"
    shutil.copytree(ours, neighbour, symlinks=True)
    foreign = ours / "sets" / "20200101T000000Z-beef"
    shutil.copytree(sets[0], foreign)
    (ours / "sets" / "notes.txt").write_text("keep me")
    (ours / "sets" / "20200101T000000Z-dead").mkdir()
    (ours / "sets" / "20200102T000000Z-dead").symlink_to(sets[2])
    (ours / "tmp" / "mine").mkdir()
    # A set of the same name, copied from another host's project.
    stranger = ours / "sets" / "20200103T000000Z-cafe"
    shutil.copytree(sets[0], stranger)
    sign_again(stranger, set_id=stranger.name, project={**manifest_of(sets[0])["project"], "id": "another"})
    # File times are nobody's ages.
    for path in (sets[2], foreign, stranger):
        os.utime(path, (1, 1))
    os.utime(sets[0])
    before_neighbour, before = tree(neighbour), tree(ours / "sets")
    row = good(server17.backup(root, **wanted))
    assert sorted(row["pruned"]) == [sets[0].name, sets[1].name]
    assert tree(neighbour) == before_neighbour
    after = tree(ours / "sets")
    stays = {path: what for path, what in before.items() if not path.startswith((sets[0].name, sets[1].name))}
    assert {path: what for path, what in after.items() if path in stays} == stays
    assert (ours / "tmp" / "mine").is_dir()


def test_copies_off_the_host_expire_with_the_sets(server17: BackupStack, small: str, root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    need_tools(rclone="rclone")
    offsite = {"kind": "rclone", "remote": f":local:{tmp_path}"}
    copies = tmp_path / server17.project

    def backup(days_ago: int, retention: bool) -> dict[str, t.Any]:
        options = {"keep_days": 7, "min_verified": 1, "offsite": {**offsite, "retention": retention}}
        return good(server17.backup(root, databases=[small], clock_shift_seconds=-days_ago * DAY, **options))

    first = [backup(days, True)["set_id"] for days in (12, 11, 10)]
    assert backup(0, False)["pruned"] == first[:2]
    last = sets_of(root, server17.project)[-1]
    assert sorted(path.name for path in copies.iterdir()) == [*first, last]
    prune = {"action": "prune", "keep_days": 7, "min_verified": 1, "offsite": offsite}
    assert good(server17.backup(root, check_mode=True, **prune))["offsite_pruned"] == first[:2]
    assert sorted(path.name for path in copies.iterdir()) == [*first, last]
    (copies / first[0]).rename(tmp_path / "away")
    (copies / first[0]).write_text("no directory")
    row = good(server17.backup(root, **prune))
    assert row["offsite_pruned"] == [first[1]] and row["pruned"] == []
    assert sorted(path.name for path in copies.iterdir() if path.is_dir()) == [first[2], last]


def test_a_marked_set_stays(server17: BackupStack, small: str, root: pathlib.Path) -> None:
    wanted = {"databases": [small], "min_verified": 1, "keep_days": 1}
    for day in (-20, -15, -10):
        good(server17.backup(root, **wanted, clock_shift_seconds=day * DAY, prune=False))
    first, second, third = sets_of(root, server17.project)
    (root / server17.project / "sets" / first / "KEEP").write_text("before the great migration\n")
    planned = good(server17.backup(root, **wanted, action="prune", check_mode=True))
    assert planned["pruned"] == [second] and sets_of(root, server17.project) == [first, second, third]
    assert good(server17.backup(root, **wanted, action="prune"))["pruned"] == [second]
    assert sets_of(root, server17.project) == [first, third]


# -- damage ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_sets(server17: BackupStack, small: str, module_root: pathlib.Path) -> pathlib.Path:
    """A root with two good sets, to be copied."""
    for dummy in range(2):
        good(server17.backup(module_root, databases=[small], compression="gzip"))
    return module_root


def _flip_bit(path: pathlib.Path, dummy: pathlib.Path) -> None:
    content = bytearray(largest_data_file(path).read_bytes())
    content[len(content) // 2] ^= 1
    largest_data_file(path).write_bytes(content)


def _truncate_byte(path: pathlib.Path, dummy: pathlib.Path) -> None:
    os.truncate(largest_data_file(path), largest_data_file(path).stat().st_size - 1)


def _delete_file(path: pathlib.Path, dummy: pathlib.Path) -> None:
    largest_data_file(path).unlink()


def _swap_files(path: pathlib.Path, other: pathlib.Path) -> None:
    first, second = (next((one / "databases").rglob("toc.dat")) for one in (path, other))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def _edit_manifest(path: pathlib.Path, dummy: pathlib.Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["databases"][0]["tables"][0]["rows"] -= 1
    (path / "manifest.json").write_text(json.dumps(manifest))


def _delete_set(path: pathlib.Path, dummy: pathlib.Path) -> None:
    shutil.rmtree(path)


_DAMAGE = {
    "one flipped bit": (_flip_bit, "SHA-256 differs"),
    "one byte cut off": (_truncate_byte, "bytes instead of"),
    "a deleted file": (_delete_file, "missing"),
    "files of two sets swapped": (_swap_files, "SHA-256 differs"),
    "an edited manifest": (_edit_manifest, "manifest is damaged"),
}


@pytest.mark.parametrize("fault", _DAMAGE)
def test_damage_is_found_by_verify_and_refused_by_restore(server17: BackupStack, small: str, two_sets: pathlib.Path, root: pathlib.Path, fault: str) -> None:
    shutil.copytree(two_sets, root, symlinks=True)
    first, second = ((root / server17.project / "sets" / name) for name in sets_of(root, server17.project))
    damage, told = _DAMAGE[fault]
    damage(second, first)
    databases, started = server17.databases(), server17.started()
    refused(server17.restore(root, **{"from": second.name}), told)
    assert (server17.databases(), server17.started()) == (databases, started)
    refused(server17.backup(root, action="verify", level="decodable"), second.name)
    listed = server17.backup(root, action="list").row()
    assert next(one for one in listed["sets"] if one["set_id"] == second.name)["problem"]
    if damage is not _swap_files:
        assert newest(root, server17) == first
    # What is damaged neither counts for retention nor goes: somebody may want to save something from it.
    pruned = good(server17.backup(root, action="prune", keep_days=0, min_verified=1))
    assert pruned["pruned"] == [] and len(sets_of(root, server17.project)) == 2


def test_a_deleted_set_is_missed(server17: BackupStack, small: str, two_sets: pathlib.Path, root: pathlib.Path) -> None:
    shutil.copytree(two_sets, root, symlinks=True)
    first, second = sets_of(root, server17.project)
    shutil.rmtree(root / server17.project / "sets" / second)
    databases = server17.databases()
    refused(server17.restore(root, **{"from": second}), "no such set", first)
    refused(server17.backup(root, action="verify", level="decodable", set=second), "no such set")
    assert server17.databases() == databases
    for action in ("list", "verify"):
        row = good(server17.backup(root, action=action, level="decodable"))
        assert row["status"] == "warning" and second in row["missing"] and second in row["summary"]
    assert newest(root, server17).name == first


def _cut_short(path: pathlib.Path, compression: str) -> None:
    """Take the last rows out of an archive, as if its stream had ended early, and have every sum say that all is well."""
    file = largest_data_file(path)
    if compression == "gzip":
        import gzip

        lines = gzip.decompress(file.read_bytes()).split(b"\n")
        file.write_bytes(gzip.compress(b"\n".join(lines[:4000] + lines[-4:])))
    else:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    sign_again(path)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_stream_cut_short_is_found_by_decoding(server17: BackupStack, small: str, root: pathlib.Path, compression: str) -> None:
    for dummy in range(2):
        good(server17.backup(root, databases=[small], compression=compression))
    first, second = sets_of(root, server17.project)
    _cut_short(root / server17.project / "sets" / second, compression)
    databases = server17.databases()
    refused(server17.restore(root, **{"from": second}))
    assert server17.databases() == databases
    refused(server17.backup(root, action="verify", level="decodable"), second)
    # From now on it counts for nothing.
    assert newest(root, server17).name == first
    listed = server17.backup(root, action="list").row()
    assert next(one for one in listed["sets"] if one["set_id"] == second)["problem"]


def test_equivalence_is_proven_before_publishing(server17: BackupStack, root: pathlib.Path) -> None:
    """Duplicate keys under a broken unique index: dumped and decoded without complaint, and not to be restored."""
    with database(server17, "doubled", *DUPLICATE_KEYS):
        good(server17.backup(root, databases=["doubled"], level="decodable"))
        with nothing_published(root, server17):
            refused(server17.backup(root, databases=["doubled"], level="restorable"), "things_pkey")


DUPLICATE_KEYS = (
    "CREATE TABLE things (id int, name text)",
    "INSERT INTO things SELECT i, 'thing ' || i FROM generate_series(1, 100) i",
    "CREATE UNIQUE INDEX things_pkey ON things (id)",
    "UPDATE pg_index SET indisunique = false WHERE indexrelid = 'things_pkey'::regclass",
    "INSERT INTO things VALUES (7, 'the other seven')",
    "UPDATE pg_index SET indisunique = true WHERE indexrelid = 'things_pkey'::regclass",
)


# -- what goes on meanwhile, and who asks ------------------------------------------------------------------------------


def test_rows_that_are_written_meanwhile_are_of_no_harm(server17: BackupStack, root: pathlib.Path) -> None:
    """Dump, counts and hashes are of one moment: what is restored equals them although the table grew all the time."""
    with database(server17, "busy", "CREATE TABLE things AS SELECT i AS id, md5(i::text) AS name FROM generate_series(1, 20000) i") as name:
        script = f"""rm -f /tmp/vault-stop
while [ ! -e /tmp/vault-stop ]; do
psql -XqU postgres -d {name} -c "INSERT INTO things SELECT i, 'late' FROM generate_series(1, 50) i; DELETE FROM things WHERE id % 97 = 0"; done
rm /tmp/vault-stop"""
        subprocess.run(["docker", "exec", "--detach", server17.container(), "bash", "-c", script], check=True)
        try:
            row = good(server17.backup(root, databases=[name], level="equivalent"))
        finally:
            server17.inside("touch /tmp/vault-stop; while [ -e /tmp/vault-stop ]; do sleep 0.05; done")
        assert row["level"] == "equivalent" and int(server17.sql("SELECT count(*) FROM things", name)) != row["rows"]


def test_an_owner_without_superuser_can_back_up(server17: BackupStack, root: pathlib.Path) -> None:
    server17.sql("CREATE ROLE vault_owner LOGIN PASSWORD 'of-the-owner'", "postgres")
    try:
        with database(server17, "owned") as name:
            server17.sql(f"ALTER DATABASE {name} OWNER TO vault_owner", "postgres")
            server17.sql("SET ROLE vault_owner; CREATE TABLE things AS SELECT i FROM generate_series(1, 10) i", name)
            row = good(server17.backup(root, databases=[name], login_user="vault_owner", login_password="of-the-owner", login_db=name))
            assert row["rows"] == 10 and any("may not read them" in warning for warning in row["warnings"])
            assert "of-the-owner" not in json.dumps(row)
    finally:
        server17.sql("DROP ROLE vault_owner", "postgres")


# -- runs at once, check mode, secrets ---------------------------------------------------------------------------------


def test_the_second_of_two_runs_names_the_first(server17: BackupStack, big: str, small: str, root: pathlib.Path) -> None:
    process = _start_dump_of(server17, root, big, 1 << 20)
    # It keeps its lock meanwhile, however long the others take.
    os.kill(process.pid, signal.SIGSTOP)
    refused(server17.backup(root, databases=[small]), str(process.pid), "backup")
    refused(server17.restore(root), str(process.pid), "backup")
    os.kill(process.pid, signal.SIGCONT)
    waited = server17.backup(root, databases=[small], lock_wait_seconds=120, allow_shrink=True)
    good(ended(process))
    good(waited)
    assert len(sets_of(root, server17.project)) == 2


def test_check_mode_changes_nothing(server17: BackupStack, small: str, root: pathlib.Path) -> None:
    databases = server17.databases()
    planned = good(server17.backup(root, databases=[small], check_mode=True))
    assert planned["changed"] and planned["plan"]["databases"][0]["name"] == small and planned["plan"]["files"]
    assert not root.exists()
    good(server17.backup(root, databases=[small]))
    before = tree(root)
    for wanted in ({}, {"action": "prune"}, {"action": "verify"}, {"action": "list"}):
        server17.backup(root, databases=[small], check_mode=True, **wanted)
    assert tree(root) == before and server17.databases() == databases and not leftovers(server17, root)


def test_a_recent_set_is_enough(server17: BackupStack, small: str, root: pathlib.Path) -> None:
    made = good(server17.backup(root, databases=[small], max_age_seconds=3600))
    again = good(server17.backup(root, databases=[small], max_age_seconds=3600))
    assert made["changed"] and not again["changed"] and again["set_id"] == made["set_id"]


def test_no_secret_is_told_and_nobody_else_can_read(server17: BackupStack, small: str, root: pathlib.Path) -> None:
    canaries = {"env": "canary-env-7d1f", "role": "canary-role-91bc"}
    environment = server17.directory / ".env"
    original = environment.read_text()
    server17.sql(f"CREATE ROLE vault_canary LOGIN PASSWORD '{canaries['role']}'", "postgres")
    environment.write_text(f"{original}PAYMENT_TOKEN={canaries['env']}\n")
    canaries["postgres"] = server17.running().variables()["POSTGRES_PASSWORD"]
    try:
        old = os.umask(0)
        try:
            runs = [server17.backup(root, databases=[small], level="decodable", plain_sql=True, progress_file=str(root.parent / "progress.json"))]
        finally:
            os.umask(old)
        good(runs[0])
        runs += [server17.backup(root, action=action) for action in ("list", "prune", "verify")]
    finally:
        environment.write_text(original)
        server17.sql("DROP ROLE vault_canary", "postgres")
    listings = "".join(path.read_text() for path in root.rglob("*.json")) + (root.parent / "progress.json").read_text()
    for name, canary in canaries.items():
        assert not any(canary in one.output for one in runs), name
        assert canary not in listings, name
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), f"{path}: {mode:o}"
            assert path.stat().st_uid == os.geteuid(), path
    archive = newest(root, server17) / "config.tar.gz"
    names = subprocess.run(["tar", "tzf", str(archive)], capture_output=True, text=True, check=True).stdout
    assert re.search(r"^(\./)?\.env$", names, re.MULTILINE)
