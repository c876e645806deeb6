# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import stat
import subprocess
import threading
import time
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._backup_store import (
    BackupStore,
    StoredSet,
    check_intact,
    parse_set_id,
    quote_name,
    read_manifest,
    set_id,
)
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError, rfc3339
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NOW = 1795435200.0  # 2026-11-23T12:00:00Z
DAY = 86400.0


def make_store(root: pathlib.Path, project: str = "shop") -> BackupStore:
    root.mkdir(mode=0o700, exist_ok=True)
    store = BackupStore(str(root), project)
    store.prepare()
    return store


def make_set(store: BackupStore, now: float = NOW, level: str = "decodable", content: bytes = b"data", **manifest: t.Any) -> StoredSet:
    """Make and publish a set; the lock must be held."""
    made = store.new_set(now)
    for name in ("toc.dat", "3001.dat.gz"):
        pathlib.Path(made.path_of("databases", "db", "app", name)).write_bytes(content + name.encode())
    pathlib.Path(made.path_of("config.tar.gz")).write_bytes(b"config")
    tables = [{"schema": "public", "name": "orders", "rows": 3}, {"schema": "public", "name": "users", "rows": 4}]
    return store.publish(made, {"verification": {"level": level}, "databases": [{"service": "db", "name": "app", "tables": tables}], **manifest})


@pytest.fixture(name="store")
def fixture_store(tmp_path: pathlib.Path) -> BackupStore:
    return make_store(tmp_path / "backups")


def test_a_set_is_published_whole_and_found_again(store: BackupStore) -> None:
    with store.lock("test"):
        made = make_set(store)
        store.point_latest(made)
    assert made.verified and not made.problem and made.created_at == NOW
    manifest = read_manifest(made.path)
    assert [(entry["path"], entry["bytes"], entry["kind"]) for entry in manifest["files"]] == [
        ("config.tar.gz", 6, "config"),
        ("databases/db/app/3001.dat.gz", 15, "database"),
        ("databases/db/app/toc.dat", 11, "database"),
    ]
    assert manifest["totals"] == {"bytes": 32, "rows": 7} and manifest["project"] == {"id": store.project_id, "name": "shop"}
    assert check_intact(made.path, manifest) == []
    assert [found.id for found in store.sets()] == [made.id] and store.missing() == []
    for wanted in ("latest", made.id, made.path, store.latest_path, rfc3339(NOW) or "", "2026-11-23"):
        assert store.find(wanted).id == made.id
    assert subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=made.path, check=False, capture_output=True).returncode == 0
    assert os.readlink(store.latest_path) == f"sets/{made.id}"
    for directory, dummy, files in os.walk(made.path):
        assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
        assert {stat.S_IMODE(os.stat(os.path.join(directory, name)).st_mode) for name in files} <= {0o600}


def test_deleting_leaves_a_valid_latest_and_nothing_missing(store: BackupStore) -> None:
    with store.lock("test"):
        old, new = make_set(store, NOW - DAY), make_set(store)
        store.point_latest(new)
        store.delete(new)
        assert store.find("latest").id == old.id and store.missing() == [] and os.listdir(store.trash_path) == []
        with pytest.raises(CheckError, match="no other verified set"):
            store.delete(old)


def test_names_and_ids() -> None:
    assert set_id(NOW, "7f3a") == "20261123T120000Z-7f3a" and parse_set_id("20261123T120000Z-7f3a") == NOW
    assert [parse_set_id(text) for text in ("20261323T120000Z-7f3a", "20261123T120000Z", "latest", "20261123T120000Z-7f3a\n")] == [None] * 4
    assert [quote_name(name) for name in ("app", "a/b", "..", ".x", "ü")] == ["app", "a%2Fb", "%2E.", "%2Ex", "%C3%BC"]


# Publishing


def refused(code: str) -> t.Any:
    """Expect a CheckError of this code."""

    class Refused(contextlib.AbstractContextManager[None]):
        def __exit__(self, dummy_kind: t.Any, error: t.Any, dummy_trace: t.Any) -> bool:
            assert isinstance(error, CheckError), error or "nothing was refused"
            assert error.code == code and error.reason, (error.code, error.reason)
            return True

    return Refused()


def test_everything_is_on_the_disk_before_the_set_is_published(store: BackupStore, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, str]] = []
    fsync, rename = os.fsync, os.rename

    def note_fsync(descriptor: int) -> None:
        fsync(descriptor)
        done.append(("fsync", os.readlink(f"/proc/self/fd/{descriptor}")))

    def note_rename(source: str, target: str) -> None:
        rename(source, target)
        done.append(("rename", target))

    with store.lock("test"):
        made = store.new_set(NOW)
        pathlib.Path(made.path_of("databases", "db", "app", "toc.dat")).write_bytes(b"toc")
        monkeypatch.setattr(os, "fsync", note_fsync)
        monkeypatch.setattr(os, "rename", note_rename)
        stored = store.publish(made, {})
    assert [path for what, path in done if what == "rename"] == [stored.path]
    published = done.index(("rename", stored.path))
    before = [path for what, path in done[:published]]
    for directory, dummy, files in os.walk(stored.path):
        there = os.path.join(made.path, os.path.relpath(directory, stored.path)).rstrip("/.")
        assert there in before
        for name in set(files) - {"manifest.json", "SHA256SUMS"}:  # those are written to a temporary name first
            assert os.path.join(there, name) in before
    assert sum(f"{made.path}/.new-" in path for path in before) == 2
    assert ("fsync", store.sets_path) in done[published:]


@pytest.mark.parametrize("kind", ["symlink", "fifo", "name", "empty"])
def test_what_is_not_a_plain_file_is_not_published(store: BackupStore, tmp_path: pathlib.Path, kind: str) -> None:
    (tmp_path / "passwd").write_bytes(b"secret")
    with store.lock("test"):
        made = store.new_set(NOW)
        if kind != "empty":
            pathlib.Path(made.path_of("config.tar.gz")).write_bytes(b"x")
        if kind == "symlink":
            os.symlink(tmp_path / "passwd", made.path_of("databases", "passwd"))
        elif kind == "fifo":
            os.mkfifo(made.path_of("logs.tar.gz"))
        elif kind == "name":
            pathlib.Path(os.fsdecode(os.fsencode(made.path) + b"/\xff")).write_bytes(b"")
        with refused("not-publishable"):
            store.publish(made, {})
        assert os.listdir(store.sets_path) == [] and (tmp_path / "passwd").read_bytes() == b"secret"
        made.discard()
    assert os.listdir(store.tmp_path) == []


def test_names_stay_within_the_set(store: BackupStore) -> None:
    with store.lock("test"):
        made = store.new_set(NOW)
        for parts in ((), ("..", "x"), ("a/b",), ("",), (".",), ("manifest.json",), ("KEEP", "x"), ("a\0",)):
            with pytest.raises(ValueError, match="not a name within a set"):
                made.path_of(*parts)
        os.symlink("/tmp", os.path.join(made.path, "databases"))
        with refused("store"):
            made.path_of("databases", "x")


def test_known_hashes_are_taken_over_and_the_rest_is_counted(store: BackupStore) -> None:
    with store.lock("test"):
        made = store.new_set(NOW)
        for name in ("a", "b"):
            pathlib.Path(made.path_of(name)).write_bytes(b"0123456789")
        pathlib.Path(made.path_of("line\nbreak \\")).write_bytes(b"")
        assert [(entry["path"], entry["bytes"]) for entry in made.files()] == [("a", 10), ("b", 10), ("line\nbreak \\", 0)]
        told: list[int] = []
        known = hashlib.sha256(b"0123456789").hexdigest()
        stored = store.publish(made, {}, {"a": known}, told.append)
    assert sum(told) == 10 and [entry["sha256"] for entry in (stored.manifest or {})["files"]][:2] == [known, known]
    assert subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=stored.path, check=False, capture_output=True).returncode == 0


def test_a_file_that_is_still_written_to_is_not_published(store: BackupStore) -> None:
    with store.lock("test"):
        made = store.new_set(NOW)
        path = made.path_of("logs.tar.gz")
        pathlib.Path(path).write_bytes(b"x" * 100)

        def write_on(dummy_count: int) -> None:
            with open(path, "ab") as file:
                file.write(b"y")

        with refused("not-publishable"):
            store.publish(made, {}, on_bytes=lambda count: write_on(count) if os.path.getsize(path) < 200 else None)
    assert os.listdir(store.sets_path) == []


def test_a_full_disk_publishes_nothing_and_says_so(store: BackupStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.lock("test"):
        first = make_set(store, NOW - DAY)
        store.point_latest(first)

        def full(dummy_descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with refused("no-space"):
                make_set(store)
        assert [stored.id for stored in store.sets()] == [first.id] == [store.find("latest").id]
        assert len(store.sweep()) == 1 and os.listdir(store.tmp_path) == []


def test_many_sets_of_one_second_have_ids_of_their_own(store: BackupStore, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = iter(["aaaa"] * 3 + ["bbbb", "aaaa", "bbbb", "cccc"])
    with store.lock("test"):
        monkeypatch.setattr(secrets, "token_hex", lambda size: next(tokens) if size == 2 else "0" * 2 * size)
        assert [store.new_set(NOW).id[-4:] for dummy in range(3)] == ["aaaa", "bbbb", "cccc"]


def test_a_set_that_is_missing_keeps_its_id(store: BackupStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.lock("test"):
        gone = make_set(store)
        shutil.rmtree(gone.path)
        tokens = iter([gone.id[-4:], "0b0b"])
        monkeypatch.setattr(secrets, "token_hex", lambda dummy_size: next(tokens))
        assert store.new_set(NOW).id[-4:] == "0b0b"
    assert store.missing() == [gone.id]
    store.forget(gone.id)
    assert store.missing() == []


# Reading


def flip(path: str, position: int = 3) -> None:
    content = bytearray(pathlib.Path(path).read_bytes())
    content[position] ^= 1
    pathlib.Path(path).write_bytes(content)


def test_what_is_damaged_is_found(store: BackupStore) -> None:
    with store.lock("test"):
        stored, other = make_set(store), make_set(store, NOW + 1, content=b"DATA")
    manifest = read_manifest(stored.path)
    toc, dump = (os.path.join(stored.path, "databases/db/app", name) for name in ("toc.dat", "3001.dat.gz"))
    whole = {path: pathlib.Path(path).read_bytes() for path in (toc, dump, os.path.join(stored.path, "SHA256SUMS"))}

    def problems() -> list[str]:
        found = check_intact(stored.path, manifest)
        for path, content in whole.items():
            if os.path.islink(path):
                os.unlink(path)
            pathlib.Path(path).write_bytes(content)
        assert check_intact(stored.path, manifest) == []
        return found

    flip(toc)
    assert problems() == ["databases/db/app/toc.dat: its SHA-256 differs"]
    os.truncate(toc, 10)
    assert problems() == ["databases/db/app/toc.dat: 10 bytes instead of 11"]
    shutil.copy(os.path.join(other.path, "databases/db/app/toc.dat"), toc)
    assert problems() == ["databases/db/app/toc.dat: its SHA-256 differs"]
    os.unlink(dump)
    assert problems() == ["databases/db/app/3001.dat.gz: missing"]
    os.unlink(dump)
    os.symlink(os.path.join(other.path, "databases/db/app/3001.dat.gz"), dump)
    assert problems() == ["databases/db/app/3001.dat.gz: a link or a device, not a file", "databases/db/app/3001.dat.gz: missing"]
    flip(os.path.join(stored.path, "SHA256SUMS"))
    assert problems() == ["SHA256SUMS: differs from the manifest"]
    extra = pathlib.Path(stored.path, "databases", "extra")
    extra.write_bytes(b"")
    assert check_intact(stored.path, manifest) == ["databases/extra: not in the manifest"]
    extra.unlink()
    shutil.move(os.path.join(stored.path, "databases"), os.path.join(stored.path, "real"))
    os.symlink("real", os.path.join(stored.path, "databases"))
    assert len(check_intact(stored.path, manifest)) == 5  # the link, two missing, two too many


def test_a_path_that_leads_out_of_the_set_is_missing_rather_than_read(store: BackupStore) -> None:
    with store.lock("test"):
        stored = make_set(store)
    manifest = read_manifest(stored.path)
    manifest["files"][0]["path"] = "../../project.json"
    assert "../../project.json: missing" in check_intact(stored.path, manifest)


def rewrite(stored: StoredSet, **changes: t.Any) -> None:
    """Write another manifest with a right hash."""
    manifest = {key: value for key, value in {**(stored.manifest or {}), **changes}.items() if key != "self_sha256" and value is not None}
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    pathlib.Path(stored.path, "manifest.json").write_text(json.dumps({**manifest, "self_sha256": digest}), encoding="utf-8")


def test_a_manifest_of_a_later_version_says_to_upgrade(store: BackupStore) -> None:
    with store.lock("test"):
        stored = make_set(store)
        rewrite(stored, schema_version=2, files="another shape")
        with refused("schema-too-new"):
            read_manifest(stored.path)
        assert "version 2" in store.sets()[0].problem and not store.sets()[0].belongs
        with refused("foreign"):
            store.delete(stored)


@pytest.mark.parametrize(
    "changes",
    [{"schema_version": 0}, {"schema_version": "1"}, {"schema_version": None}, {"files": [{}]}, {"project": None}, {"created_at": "soon"}, {"verification": []}]
    + [{"verification": [1]}, {"totals": {}}, {"set_id": "../x"}],
)
def test_a_manifest_without_what_we_rely_on_is_damaged(store: BackupStore, changes: dict[str, t.Any]) -> None:
    with store.lock("test"):
        stored = make_set(store)
    rewrite(stored, **changes)
    if changes == {"verification": []}:
        assert read_manifest(stored.path)["verification"] == [] and store.sets()[0].level == "written"
        return
    with refused("corrupt-manifest"):
        read_manifest(stored.path)
    assert store.sets()[0].manifest is None and store.sets()[0].problem


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_change_to_a_manifest_goes_unnoticed(store: BackupStore, data: st.DataObject) -> None:
    if not os.listdir(store.sets_path):
        with store.lock("test"):
            make_set(store)
    path = os.path.join(store.sets()[0].path, "manifest.json")
    whole = pathlib.Path(path).read_bytes()
    position = data.draw(st.integers(0, len(whole) - 1))
    changed = data.draw(st.sampled_from(["flip", "cut"]))
    content = (
        whole[:position] if changed == "cut" else whole[:position] + bytes([whole[position] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[position + 1 :]
    )
    pathlib.Path(path).write_bytes(content)
    try:
        read = read_manifest(path)
    except CheckError:
        read = {}
    finally:
        pathlib.Path(path).write_bytes(whole)
    assert not read or read == read_manifest(path)  # white space may change


def test_sets_are_sorted_by_their_manifests_and_the_unreadable_come_last(store: BackupStore, tmp_path: pathlib.Path) -> None:
    with store.lock("test"):
        old, new = make_set(store, NOW - DAY), make_set(store, NOW)
        broken, bare = make_set(store, NOW + 5), make_set(store, NOW + 6)
        pathlib.Path(broken.path, "manifest.json").write_bytes(b"{}")
        os.unlink(os.path.join(bare.path, "manifest.json"))
        os.utime(old.path, (NOW + 99, NOW + 99))
        copy = os.path.join(store.sets_path, "20261124T000000Z-0000")
        shutil.copytree(new.path, copy)
        link = os.path.join(store.sets_path, "20261125T000000Z-0000")
        os.symlink(new.path, link)
        pathlib.Path(store.sets_path, "notes.txt").write_text("mine", encoding="utf-8")
        found = store.sets()
        assert [stored.id for stored in found[:3]] == ["20261124T000000Z-0000", new.id, old.id] and len(found) == 6
        assert [bool(stored.problem) for stored in found] == [True, False, False, True, True, True]
        assert [stored.belongs for stored in found] == [False, True, True, False, False, False]
        for stored in found:
            if not stored.belongs:
                with refused("foreign"):
                    store.delete(stored)
                with refused("not-verified"):
                    store.point_latest(stored)
        store.sweep()
    assert len(os.listdir(store.sets_path)) == 7 and store.find("latest").id == new.id
    with refused("no-such-set"):
        store.find(broken.id)


def test_keep_markers(store: BackupStore) -> None:
    with store.lock("test"):
        make_set(store, NOW - DAY)
        stored = make_set(store)
        marker = pathlib.Path(stored.path, "KEEP")
        assert store.find(stored.id).keep is None
        for content, reason in ((b"", "KEEP"), (b"before the \x1b[31mmigration\nsecond line", "before the [31mmigration"), (b"\xff" * 400, "\ufffd" * 200)):
            marker.write_bytes(content)
            assert store.find(stored.id).keep == reason
            assert check_intact(stored.path, stored.manifest or {}) == []
        with refused("kept"):
            store.delete(stored)  # read before it was marked
        marker.unlink()
        os.symlink("/dev/zero", marker)
        assert store.find(stored.id).keep == "KEEP"


def test_find_by_time(store: BackupStore, tmp_path: pathlib.Path) -> None:
    with store.lock("test"):
        made = [make_set(store, NOW - age * DAY + 0.25) for age in (3, 2, 1)]
        broken = make_set(store, NOW)
        store.record_verification(broken, {"level": "corrupt", "at": rfc3339(NOW)})
    assert store.find(rfc3339(NOW - 2 * DAY) or "").id == made[1].id  # the second that the id shows
    assert store.find("2026-11-21").id == made[1].id and store.find("2026-11-21T11:59").id == made[0].id
    assert store.find("2026-11-21T13:00:00+01:00").id == made[1].id and store.find("2026-11-21 12:00").id == made[1].id
    assert store.find("2099-01-01").id == made[2].id  # not the corrupt one
    assert store.find(broken.id).problem
    for wanted in ("2026-11-01", "2026-13-01", "yesterday", "20261123T120000Z-zzzz", "20201123T120000Z-0000", str(tmp_path), "../x", ""):
        with refused("no-such-set"):
            store.find(wanted)
    with pytest.raises(CheckError) as caught:
        store.find("2026-11-01")
    assert made[0].id in caught.value.hint


def test_a_set_elsewhere_is_found_by_its_path_and_not_deleted(store: BackupStore, tmp_path: pathlib.Path) -> None:
    with store.lock("test"):
        make_set(store, NOW - DAY)
        stored = make_set(store)
        shutil.copytree(stored.path, tmp_path / "fetched")
        os.symlink(tmp_path / "fetched", tmp_path / "link")
        store.record_verification(stored, {"level": "corrupt"})
        found = store.find(str(tmp_path / "link"))
        assert found.id == stored.id and found.path == str(tmp_path / "fetched") and found.belongs and not found.problem
        with refused("foreign"):
            store.delete(found)
        with refused("foreign"):
            store.record_verification(found, {"level": "corrupt"})
    assert make_store(tmp_path / "others", "other").find(str(tmp_path / "fetched")).belongs is False


# Verification


def test_levels_rise_with_evidence_and_corruption_wins_until_it_is_disproved(store: BackupStore) -> None:
    with store.lock("test"):
        fine, stored = make_set(store, NOW - DAY), make_set(store, level="intact")
        store.point_latest(fine)
        with refused("not-verified"):
            store.point_latest(stored)

        def after(level: str, hours: float, *failed: str) -> tuple[str, bool]:
            checks = [{"name": name, "ok": False, "detail": ""} for name in failed]
            store.record_verification(stored, {"level": level, "at": rfc3339(NOW + hours * 3600), "duration_seconds": 5, "checks": checks, "tools": {}})
            found = store.find(stored.id)
            return found.level, bool(found.problem)

        assert after("equivalent", 1) == ("equivalent", False)
        store.point_latest(stored)
        assert after("decodable", 2) == ("equivalent", False)
        assert after("decodable", 3, "restorable") == ("equivalent", False)  # a role was missing in the scratch server
        assert store.index()["last_verified"]["set_id"] == stored.id
        assert after("corrupt", 4) == ("written", True)
        assert store.find("latest").id == fine.id and os.readlink(store.latest_path) == f"sets/{fine.id}"
        assert after("intact", 5) == ("written", True)
        assert after("decodable", 3.5) == ("written", True)  # an older one, written late
        assert after("restorable", 6) == ("equivalent", False)
        assert after("written", 7, "intact") == ("written", True)
        assert after("equivalent", 8) == ("equivalent", False)
        assert after("intact", 9, "decodable") == ("written", True)
    assert len(os.listdir(store.verify_path)) == 10
    pathlib.Path(store.verify_path, os.listdir(store.verify_path)[0]).write_bytes(b"\xff")
    store.sets()


def test_evidence_of_one_second_is_kept_apart_and_another_set_s_does_not_count(store: BackupStore) -> None:
    with store.lock("test"):
        stored = make_set(store)
        for dummy in range(3):
            store.record_verification(stored, {"level": "restorable", "at": rfc3339(NOW)})
        found = sorted(os.listdir(store.verify_path))
        for number in range(3, 13):
            store.record_verification(stored, {"level": "corrupt" if number % 2 else "decodable", "at": rfc3339(NOW)})
            assert bool(store.find(stored.id).problem) == bool(number % 2)  # the last word counts
        store.record_verification(stored, {"level": "corrupt", "at": "just now"})
        assert store.find(stored.id).problem
    assert found == [f"{stored.id}.20261123T120000Z{suffix}.json" for suffix in ("-1", "-2", "")]
    rewrite(stored, warnings=["another manifest"])
    assert store.find(stored.id).level == "decodable"


def test_what_cannot_be_read_now_is_not_taken_for_damaged(store: BackupStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.lock("test"):
        make_set(store)
    before, real = tree(store.path), os.open
    for number, code in ((errno.EMFILE, "store"), (errno.EACCES, "permission-denied")):

        def failing(path: str, *args: t.Any, number: int = number, **kwargs: t.Any) -> int:
            if str(path).endswith((".json",)):
                raise OSError(number, os.strerror(number), path)
            return real(path, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", failing)
            again = BackupStore(store.root, "shop")
            for call in (again.prepare, again.index, lambda: store.note_clock(NOW), lambda: again.project_id):  # noqa: B023
                with refused(code):
                    call()
    assert tree(store.path) == before


@pytest.mark.parametrize("kind", ["directory", "link", "fifo"])
def test_something_else_in_place_of_the_index_is_moved_aside(store: BackupStore, tmp_path: pathlib.Path, kind: str) -> None:
    with store.lock("test"):
        stored = make_set(store)
        os.rename(store.index_path, tmp_path / "elsewhere")
        if kind == "directory":
            os.mkdir(store.index_path)
        elif kind == "link":
            os.symlink(tmp_path / "elsewhere", store.index_path)
        else:
            os.mkfifo(store.index_path)
        before = (tmp_path / "elsewhere").read_bytes()
        store.sweep()
    assert list(store.index()["sets"]) == [stored.id] and os.path.isfile(store.index_path) and not os.path.islink(store.index_path)
    assert (tmp_path / "elsewhere").read_bytes() == before and len(store.warnings) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_a_container_wrote_as_somebody_else_becomes_ours(store: BackupStore) -> None:
    with store.lock("test"):
        made = store.new_set(NOW)
        path = made.path_of("databases", "db", "app", "toc.dat")
        pathlib.Path(path).write_bytes(b"toc")
        for name in (path, os.path.dirname(path)):
            os.chown(name, 999, 999)
            os.chmod(name, 0o770)
        stored = store.publish(made, {})
    for directory, dummy, files in os.walk(stored.path):
        for name in [directory, *(os.path.join(directory, file) for file in files)]:
            info = os.lstat(name)
            assert (info.st_uid, info.st_gid) == (0, 0) and not info.st_mode & 0o077


# Deleting, latest


def test_the_last_verified_set_is_never_deleted(store: BackupStore) -> None:
    with store.lock("test"):
        verified, plain = make_set(store, NOW - DAY), make_set(store, level="intact")
        with refused("last-verified"):
            store.delete(verified)
        store.record_verification(plain, {"level": "corrupt"})
        with refused("last-verified"):
            store.delete(verified)
        store.delete(plain)
    assert [stored.id for stored in store.sets()] == [verified.id] and os.listdir(store.verify_path) == []


def test_latest_prefers_a_set_that_is_not_suspect(store: BackupStore) -> None:
    with store.lock("test"):
        good, odd, new = make_set(store, NOW - 2), make_set(store, NOW - 1, compare={"suspect": True}), make_set(store)
        store.point_latest(new)
        store.delete(new)
        assert os.readlink(store.latest_path) == f"sets/{good.id}" and odd.suspect
        shutil.rmtree(good.path)
        assert store.find("latest").id == odd.id
        store.sweep()
        assert os.readlink(store.latest_path) == f"sets/{odd.id}"
        shutil.rmtree(odd.path)
        store.sweep()
        assert not os.path.lexists(store.latest_path)
        with refused("no-such-set"):
            store.find("latest")


@pytest.mark.parametrize("target", ["sets/../../other/sets/20261123T120000Z-7f3a", "/etc", "sets", "sets/20261123T120000Z-7f3a/x", "trash/OWN"])
def test_a_latest_that_leads_elsewhere_is_mended(store: BackupStore, target: str) -> None:
    with store.lock("test"):
        stored = make_set(store)
        os.symlink(target.replace("OWN", stored.id), store.latest_path)
        assert store.find("latest").id == stored.id
        store.sweep()
    assert os.readlink(store.latest_path) == f"sets/{stored.id}"


def test_a_latest_that_is_no_link_is_left_alone(store: BackupStore) -> None:
    with store.lock("test"):
        stored = make_set(store)
        os.mkdir(store.latest_path)
        with refused("foreign"):
            store.point_latest(stored)
        store.sweep()
    assert os.path.isdir(store.latest_path)


def test_latest_goes_rather_than_to_lead_to_a_deleted_set_when_there_is_no_room(store: BackupStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*dummy: t.Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with store.lock("test"):
        old, new = make_set(store, NOW - DAY), make_set(store)
        store.point_latest(new)
        with monkeypatch.context() as patch:
            patch.setattr(os, "symlink", full)
            store.delete(new)
    assert not os.path.lexists(store.latest_path) and store.find("latest").id == old.id and store.warnings


def test_a_full_disk_does_not_keep_space_from_being_freed(store: BackupStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.lock("test"):
        old, new = make_set(store, NOW - DAY), make_set(store)
        monkeypatch.setattr(store._index, "change", _written_when_there_is_room(store, store._index.change))
        store.delete(old)
    assert [stored.id for stored in store.sets()] == [new.id] and store.missing() == []


def _written_when_there_is_room(store: BackupStore, index: t.Any) -> t.Any:
    @contextlib.contextmanager
    def opened() -> t.Iterator[t.Any]:
        assert not any(files for dummy, dummy_too, files in os.walk(store.trash_path)), "the index is written before there is room for it"
        with index() as content:
            yield content

    return opened


# Neighbours, strangers, links


def tree(path: t.Union[str, pathlib.Path]) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {}
    for directory, directories, files in os.walk(path):
        for name in directories + files:
            full = os.path.join(directory, name)
            relative = os.path.relpath(full, path)
            found[relative] = os.readlink(full) if os.path.islink(full) else None if os.path.isdir(full) else pathlib.Path(full).read_bytes()
    return found


def test_a_neighbour_with_the_same_prefix_and_foreign_files_are_left_alone(tmp_path: pathlib.Path) -> None:
    shop, other = make_store(tmp_path / "b", "app"), make_store(tmp_path / "b", "app-test")
    with other.lock("test"), shop.lock("test"):
        theirs = make_set(other)
        other.new_set(NOW)
        before = tree(other.path)
        ours = [make_set(shop, NOW - age) for age in (2, 1)]
        for directory in (shop.path, shop.sets_path, shop.tmp_path, shop.trash_path, shop.verify_path):
            pathlib.Path(directory, "notes.txt").write_text("mine", encoding="utf-8")
            os.mkdir(os.path.join(directory, "mine"))
        pathlib.Path(shop.tmp_path, "20261123T120000Z-7f3a.99").write_text("not a directory", encoding="utf-8")
        for directory in (shop.tmp_path, shop.trash_path):
            os.symlink(theirs.path, os.path.join(directory, "20261123T120000Z-0000.1"))
        shutil.copytree(theirs.path, os.path.join(shop.sets_path, theirs.id))
        foreign = next(stored for stored in shop.sets() if stored.id == theirs.id)
        assert not foreign.belongs and foreign.manifest and not foreign.problem
        with refused("foreign"):
            shop.delete(foreign)
        with refused("not-verified"):
            shop.point_latest(foreign)
        assert shop.sweep() == []
        shop.delete(ours[0])
        assert [stored.id for stored in shop.sets()] == [theirs.id, ours[1].id] and theirs.id not in shop.index()["sets"]
        assert tree(other.path) == before
    assert sum(path.name in ("notes.txt", "mine") for path in pathlib.Path(shop.path).rglob("*")) == 10
    assert len(os.listdir(shop.tmp_path)) == 4 and len(os.listdir(shop.trash_path)) == 3


def test_a_link_inside_a_leftover_is_removed_and_not_followed(store: BackupStore, tmp_path: pathlib.Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_bytes(b"x")
    with store.lock("test"):
        made = store.new_set(NOW)
        os.symlink(tmp_path / "precious", os.path.join(made.path, "link"))
        trashed = os.path.join(store.trash_path, "20261123T120000Z-0000.1")
        os.mkdir(trashed)
        os.symlink(tmp_path / "precious", os.path.join(trashed, "link"))
        assert len(store.sweep()) == 2
    assert (tmp_path / "precious" / "file").read_bytes() == b"x"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".hidden", "-x", "a b", "ü", "a\n", "x" * 129])
def test_projects_that_are_no_directory_names(tmp_path: pathlib.Path, name: str) -> None:
    with refused("bad-project-name"):
        BackupStore(str(tmp_path), name)


def test_unsafe_places_are_refused(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "backups"
    root.mkdir(mode=0o700)
    for mode in (0o770, 0o702):
        root.chmod(mode)
        with refused("unsafe-root"):
            BackupStore(str(root), "shop").prepare()
    root.chmod(0o755)
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", root / "shop")
    with refused("unsafe-root"):
        BackupStore(str(root), "shop").prepare()
    os.symlink(root, tmp_path / "link")
    with refused("unsafe-root"):
        BackupStore(str(tmp_path / "link"), "shop").prepare()
    (root / "file").write_bytes(b"")
    with refused("unsafe-root"):
        BackupStore(str(root), "file").prepare()
    for name in ("sets", "tmp", "trash", "verify"):
        project = root / f"with-{name}"
        project.mkdir(mode=0o700)
        os.symlink(tmp_path / "elsewhere", project / name)
        with refused("unsafe-root"):
            BackupStore(str(root), project.name).prepare()
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with refused("unsafe-root"):
        BackupStore(str(tmp_path / "open" / "backups"), "shop").prepare()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_reading_makes_nothing(tmp_path: pathlib.Path) -> None:
    store = BackupStore(str(tmp_path / "none"), "shop")
    assert (store.sets(), store.missing(), store.project_id, store.high_water) == ([], [], "", None)
    with refused("no-such-set"):
        store.find("latest")
    with refused("store"), store.lock("test"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_preparing_again_changes_nothing(store: BackupStore) -> None:
    before, identity = tree(store.root), store.project_id
    again = make_store(pathlib.Path(store.root))
    assert tree(store.root) == before and again.project_id == identity and again.warnings == []
    assert stat.S_IMODE(os.stat(store.path).st_mode) == 0o700


# Identity and index


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"schema_version": 1, "id": "x", "name": "other"}', b"[]", b"\xff"])
def test_a_lost_identity_is_that_of_the_sets(store: BackupStore, content: t.Optional[bytes]) -> None:
    identity = store.project_id
    with store.lock("test"):
        stored = make_set(store)
    path = pathlib.Path(store.identity_path)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    reader = BackupStore(store.root, "shop")
    assert reader.project_id == identity and reader.find("latest").id == stored.id
    again = make_store(pathlib.Path(store.root))
    assert again.project_id == identity and json.loads(path.read_bytes())["id"] == identity
    assert bool(again.warnings) == (content is not None) == any("project.json.damaged" in name for name in os.listdir(store.path))


def test_identities_that_differ_are_not_guessed(store: BackupStore) -> None:
    with store.lock("test"):
        make_set(store)
        other = make_set(store)
        rewrite(other, project={"id": "another", "name": "shop"})
    os.unlink(store.identity_path)
    again = BackupStore(store.root, "shop")
    assert again.project_id == "" and not any(stored.belongs for stored in again.sets())
    with refused("project-identity"):
        again.prepare()


def test_an_identity_of_a_later_version_is_not_replaced(store: BackupStore) -> None:
    pathlib.Path(store.identity_path).write_text('{"schema_version": 2}', encoding="utf-8")
    with refused("schema-too-new"):
        BackupStore(store.root, "shop").prepare()


def test_sets_from_off_site_are_adopted_on_an_empty_host(store: BackupStore, tmp_path: pathlib.Path) -> None:
    with store.lock("test"):
        stored = make_set(store)
    fresh = make_store(tmp_path / "fresh")
    shutil.copytree(stored.path, os.path.join(fresh.sets_path, stored.id))
    assert not fresh.find(stored.id).belongs
    fresh.adopt(fresh.find(stored.id))
    assert fresh.find("latest").belongs and fresh.project_id == store.project_id and fresh.warnings
    strange = make_store(tmp_path / "strange", "other")
    with refused("foreign"):
        strange.adopt(strange.find(stored.path))
    own = make_store(tmp_path / "own")
    with own.lock("test"):
        make_set(own)
    with refused("foreign"):
        own.adopt(own.find(stored.path))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"schema_version": 1}', b'{"schema_version": 1, "sets": {"x": {}}}', b'{"schema_version": "x", "sets": {}}', b"[" * 99999],
)
def test_a_damaged_index_loses_no_set(store: BackupStore, content: bytes) -> None:
    with store.lock("test"):
        made = [make_set(store, NOW - age * DAY) for age in (2, 1, 0)]
        store.note_clock(NOW)
        before = store.index()
        pathlib.Path(store.index_path).write_bytes(content)
        assert store.index() == before and store.missing() == []
        assert pathlib.Path(store.index_path).read_bytes() == content  # to read changes nothing
        store.note_clock(NOW)
        assert store.index() == before == json.loads(pathlib.Path(store.index_path).read_bytes())
    aside = [name for name in os.listdir(store.path) if name.startswith("index.json.damaged-")]
    assert len(aside) == 1 and pathlib.Path(store.path, aside[0]).read_bytes() == content and "damaged" in store.warnings[0]
    assert [stored.id for stored in store.sets()] == [stored.id for stored in reversed(made)]


def test_an_index_of_a_later_version_is_left_alone(store: BackupStore) -> None:
    pathlib.Path(store.index_path).write_text('{"schema_version": 2}', encoding="utf-8")
    with store.lock("test"), refused("schema-too-new"):
        store.new_set(NOW)
    assert pathlib.Path(store.index_path).read_text(encoding="utf-8") == '{"schema_version": 2}'


def test_a_published_set_stays_published_if_the_index_cannot_be_written(store: BackupStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> t.Any:
        raise CheckError("index.json", "no space left", "", "no-space")

    with store.lock("test"):
        with monkeypatch.context() as patch:
            patch.setattr(store._index, "change", fails)
            stored = make_set(store)
        assert stored.verified and "no space left" in store.warnings[0]
        pathlib.Path(store.index_path).write_text('{"schema_version": 1, "sets": {}}', encoding="utf-8")
        store.sweep()
    assert list(store.index()["sets"]) == [stored.id] and store.index()["last_success"]["set_id"] == stored.id


def test_an_older_set_that_comes_back_is_not_the_last_success(store: BackupStore) -> None:
    with store.lock("test"):
        old, new = make_set(store, NOW - DAY), make_set(store)
        shutil.move(old.path, store.root)
        store.forget(old.id)
        shutil.move(os.path.join(store.root, old.id), old.path)
        store.sweep()
    index = store.index()
    assert sorted(index["sets"]) == [old.id, new.id] and index["last_success"]["set_id"] == index["last_verified"]["set_id"] == new.id


def test_the_clock_is_believed_up_to_thirty_days(store: BackupStore) -> None:
    for now, believed in ((NOW, NOW), (NOW - 5, NOW), (NOW + 30 * DAY, NOW + 30 * DAY), (NOW + 61 * DAY, NOW + 30 * DAY)):
        store.note_clock(now)
        assert store.high_water == believed
    store.note_clock(NOW + 61 * DAY, accept_jump=True)
    assert store.high_water == NOW + 61 * DAY


# Locking


def test_the_holder_is_named_and_a_dead_one_does_not_hold(store: BackupStore) -> None:
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException), store.lock("backup"):
            os.write(ready[1], b"x")
            os.read(go[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    begin = time.monotonic()
    with pytest.raises(CheckError) as caught, store.lock("restore", wait_seconds=0.3):
        pass
    assert 0.3 <= time.monotonic() - begin < 5
    assert caught.value.code == "locked" and re.search(rf"process {child} \(backup, since 2\d\d\d-.*Z\)", caught.value.reason)
    os.kill(child, signal.SIGKILL)
    with store.lock("restore", wait_seconds=5):
        os.waitpid(child, 0)
        holder = json.loads(pathlib.Path(store.lock_path).read_bytes())
        assert holder["pid"] == os.getpid() and holder["purpose"] == "restore" and holder["run_id"]
        with refused("locked"), BackupStore(store.root, "shop").lock("backup"):
            pass
    assert pathlib.Path(store.lock_path).read_bytes() == b""
    for descriptor in ready + go:
        os.close(descriptor)


def test_a_lock_file_that_somebody_removed_holds_nobody_off_twice(store: BackupStore) -> None:
    other = BackupStore(store.root, "shop")
    with store.lock("one"):
        os.unlink(store.lock_path)
        with other.lock("two"), refused("locked"), BackupStore(store.root, "shop").lock("three"):
            pass
    os.unlink(store.lock_path)
    os.symlink("/etc/passwd", store.lock_path)
    with refused("store"), store.lock("one"):
        pass


def test_whoever_waited_for_a_removed_lock_file_locks_the_present_one(store: BackupStore) -> None:
    there: list[bool] = []

    def wait() -> None:
        with BackupStore(store.root, "shop").lock("two", wait_seconds=20):
            there.append(os.path.exists(store.lock_path))

    with store.lock("one"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.3)
        os.unlink(store.lock_path)
    waiting.join()
    assert there == [True]


def test_what_needs_the_lock_says_so(store: BackupStore) -> None:
    with store.lock("test"):
        stored, made = make_set(store), store.new_set(NOW)
    for call in (store.sweep, lambda: store.new_set(NOW), lambda: store.publish(made, {}), lambda: store.delete(stored)):
        with pytest.raises(RuntimeError, match="lock"):
            call()
    assert os.path.isdir(made.path)


# kill -9 between any two steps

CHANGES = ("rename", "replace", "unlink", "rmdir", "mkdir", "symlink", "fsync", "chmod", "fchmod", "ftruncate", "close")


def killed_at(step: int, function: t.Callable[[], t.Any]) -> bool:
    """Run *function* in a process that dies right before its change number *step*; tell whether it came that far."""
    child = os.fork()
    if child == 0:
        left = step

        def dying(real: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
            def change(*args: t.Any, **kwargs: t.Any) -> t.Any:
                nonlocal left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **kwargs)

            return change

        status = 1
        try:
            for name in CHANGES:
                setattr(os, name, dying(getattr(os, name)))
            function()
            status = 0
        finally:
            os._exit(status)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code == -signal.SIGKILL


def assert_sound(store: BackupStore, expected: t.Iterable[set[str]]) -> None:
    """Check what holds at any moment, then what holds after the next run has swept."""
    possible = list(expected)
    for swept in (False, True):
        reader = BackupStore(store.root, "shop")
        found = reader.sets()
        assert {stored.id for stored in found} in possible
        for stored in found:
            assert stored.verified and check_intact(stored.path, stored.manifest or {}) == []
        if os.path.lexists(store.latest_path):
            assert reader.find("latest").id == os.path.basename(os.readlink(store.latest_path))
            assert os.path.isdir(store.latest_path)
        assert reader.missing() == []
        if swept:
            assert os.listdir(store.tmp_path) == os.listdir(store.trash_path) == []
            assert set(reader.index()["sets"]) == {stored.id for stored in found}
            assert not [name for directory in (store.path, store.verify_path) for name in os.listdir(directory) if name.startswith(".new-")]
            assert {name[:21] for name in os.listdir(store.verify_path)} <= {stored.id for stored in found}
        with reader.lock("next run"):
            gone = reader.sweep()
        assert not swept or gone == []


def test_killed_at_any_step_of_publishing(tmp_path: pathlib.Path) -> None:
    template = make_store(tmp_path / "template")
    with template.lock("test"):
        old = make_set(template, NOW - DAY)
        template.point_latest(old)

    def run(store: BackupStore) -> None:
        with store.lock("backup"):
            store.sweep()
            store.point_latest(make_set(store))
            store.note_clock(NOW)

    step, came_far, outcomes = 0, True, set()
    while came_far:
        shutil.copytree(template.root, tmp_path / str(step), symlinks=True)
        store = BackupStore(str(tmp_path / str(step)), "shop")
        came_far = killed_at(step, lambda store=store: run(store))  # type: ignore[misc]
        ids = {stored.id for stored in store.sets()}
        assert old.id in ids and len(ids) <= 2
        outcomes.add((len(ids), os.readlink(store.latest_path) == f"sets/{old.id}"))
        assert_sound(store, [ids])
        run(store)
        assert len(store.sets()) == len(ids) + 1 and len(store.index()["sets"]) == len(ids) + 1
        step += 1
    assert outcomes == {(1, True), (2, True), (2, False)} and step > 40


def test_killed_at_any_step_of_deleting(tmp_path: pathlib.Path) -> None:
    template = make_store(tmp_path / "template")
    with template.lock("test"):
        old, middle, new = (make_set(template, NOW - age * DAY) for age in (2, 1, 0))
        template.record_verification(new, {"level": "equivalent"})
        template.point_latest(new)
    everything = {old.id, middle.id, new.id}

    def run(store: BackupStore) -> None:
        with store.lock("prune"):
            store.delete(store.find(new.id))

    step, came_far, seen = 0, True, set()
    while came_far:
        shutil.copytree(template.root, tmp_path / str(step), symlinks=True)
        store = BackupStore(str(tmp_path / str(step)), "shop")
        came_far = killed_at(step, lambda store=store: run(store))  # type: ignore[misc]
        seen.add(len(store.sets()))
        assert_sound(store, [everything, everything - {new.id}])
        if new.id in {stored.id for stored in store.sets()}:
            run(store)
        assert store.find("latest").id == middle.id and os.path.isdir(store.latest_path)
        step += 1
    assert seen == {2, 3} and step > 20


def test_killed_at_any_step_of_preparing(tmp_path: pathlib.Path) -> None:
    step, came_far = 0, True
    while came_far:
        root = tmp_path / str(step)
        came_far = killed_at(step, BackupStore(str(root), "shop").prepare)
        store = make_store(root)
        with store.lock("test"):
            store.sweep()
            make_set(store)
        assert len(store.sets()) == 1 and store.sets()[0].belongs and store.warnings == []
        assert not [name for name in os.listdir(store.path) if name.startswith(".new-")]
        step += 1
    assert step > 10


# Any history

actions = st.lists(
    st.tuples(
        st.sampled_from(("publish", "publish", "publish unverified", "delete", "delete", "corrupt", "verify", "kill publish", "kill delete", "kill verify"))
        | st.sampled_from(("remove by hand", "damage index", "remove index", "dangling latest", "keep", "foreign", "new identity file")),
        st.integers(0, 60),
    ),
    min_size=3,
    max_size=14,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(actions)
def test_any_history_leaves_a_sound_store(tmp_path_factory: pytest.TempPathFactory, script: list[tuple[str, int]]) -> None:
    root = tmp_path_factory.mktemp("history")
    store = make_store(root)
    sets: set[str] = set()
    removed: set[str] = set()
    foreign = 0
    for number, (action, choice) in enumerate(script):
        now = NOW + number * 3600
        store = make_store(root)
        own = [stored for stored in store.sets() if stored.belongs]
        chosen = own[choice % len(own)] if own else None
        with store.lock("test"):
            store.sweep()
            if action == "publish":
                store.point_latest(make_set(store, now))
            elif action == "publish unverified":
                make_set(store, now, level="intact")
        if action == "kill publish":
            killed_at(choice, lambda store=store, now=now: _under_lock(store, lambda: store.point_latest(make_set(store, now))))  # type: ignore[misc]
        elif action in ("remove index", "damage index") and os.path.exists(store.index_path):
            os.unlink(store.index_path) if action == "remove index" else pathlib.Path(store.index_path).write_bytes(b"{")
            removed.clear()
        elif action == "dangling latest" and not os.path.lexists(store.latest_path):
            os.symlink("sets/20200101T000000Z-0000", store.latest_path)
        elif action == "foreign":
            pathlib.Path(store.sets_path, f"foreign-{number}").write_bytes(b"")
            foreign += 1
        elif action == "new identity file" and sets:
            os.unlink(store.identity_path)
        elif chosen is not None:
            if action == "kill verify":
                killed_at(choice % 12, lambda store=store, chosen=chosen: store.record_verification(chosen, {"level": "equivalent"}))  # type: ignore[misc]
            elif action in ("corrupt", "verify"):
                store.record_verification(chosen, {"level": "corrupt" if action == "corrupt" else "restorable", "at": rfc3339(now)})
            elif action == "keep":
                pathlib.Path(chosen.path, "KEEP").write_bytes(b"")
            elif action == "remove by hand":
                shutil.rmtree(chosen.path)
                removed.add(chosen.id)
                sets.discard(chosen.id)
            elif action in ("delete", "kill delete"):
                may_go = chosen.keep is None and any(other.verified and other.id != chosen.id for other in own)
                if action == "delete" and may_go:
                    with store.lock("test"):
                        store.delete(chosen)
                elif action == "delete":
                    with pytest.raises(CheckError), store.lock("test"):
                        store.delete(chosen)
                else:
                    killed_at(choice, lambda store=store, chosen=chosen: _under_lock(store, lambda: _quietly(store.delete, chosen)))  # type: ignore[misc]
                if may_go and not os.path.lexists(chosen.path):
                    sets.discard(chosen.id)
        there = {stored.id for stored in store.sets()}
        assert sets <= there, "a set was lost"
        sets = there
        if os.path.lexists(store.latest_path) and action not in ("remove by hand", "dangling latest"):
            assert BackupStore(str(root), "shop")._linked() is not None
    store = make_store(root)
    with store.lock("test"):
        store.sweep()
        assert store.sweep() == []
    assert set(store.missing()) == removed
    assert {stored.id for stored in store.sets() if stored.belongs} == sets == set(store.index()["sets"]) - removed
    assert sum(name.startswith("foreign-") for name in os.listdir(store.sets_path)) == foreign
    verified = [stored for stored in store.sets() if stored.verified]
    assert not os.path.lexists(store.latest_path) or store.find("latest").verified
    if verified:
        assert store.find("latest").verified


def _under_lock(store: BackupStore, function: t.Callable[[], t.Any]) -> None:
    with store.lock("test"):
        function()


def _quietly(function: t.Callable[[StoredSet], None], stored: StoredSet) -> None:
    with contextlib.suppress(CheckError):
        function(stored)


def test_a_set_of_the_first_format_stays_readable(tmp_path: pathlib.Path) -> None:
    old = pathlib.Path(__file__).parents[2] / "fixtures" / "backup" / "20261123T120000Z-7f3a"
    found = make_store(tmp_path / "backups").find(str(old))
    assert (found.id, found.created_at, found.level, found.bytes, found.belongs) == (old.name, NOW, "decodable", 51, False)
    assert check_intact(found.path, found.manifest or {}) == []
