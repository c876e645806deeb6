# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import stat
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._backup_transfer import PART_NAME, set_path, sets_to_copy, write_part
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.plugin_utils._backup_receiver import SetReceiver, TransferError, directory_of, manifest_problems

SET = "20261123T160139Z-7f3a"
CONTENT = {
    "databases/postgres/shop/toc.dat": b"toc" * 50,
    "databases/postgres/shop/1.dat": b"",
    "databases/postgres/shop/2.dat": bytes(range(256)) * 9,
    "z": b"z",
}
Spoil = t.Callable[[pathlib.Path, int], None]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def signed(manifest: dict[str, t.Any]) -> bytes:
    own = sha256(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode())
    return json.dumps({**manifest, "self_sha256": own}).encode()


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return a root with one set, as it is on a host."""
    root = tmp_path / "root"
    directory = root / "shop/sets" / SET
    for name, content in CONTENT.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    files = [{"path": name, "bytes": len(content), "sha256": sha256(content)} for name, content in CONTENT.items()]
    (directory / "manifest.json").write_bytes(signed({"schema_version": 1, "set_id": SET, "files": files}))
    (directory / "SHA256SUMS").write_text("sums\n")
    (directory / "KEEP").write_text("")
    (root / "shop/latest").symlink_to(f"sets/{SET}")
    return root


@pytest.fixture
def stage(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return the directory of the user who logs in."""
    directory = tmp_path / "stage"
    directory.mkdir(mode=0o700)
    return directory


def copy(root: pathlib.Path, stage: pathlib.Path, dest: pathlib.Path, part_bytes: int = 100, spoil: t.Optional[Spoil] = None) -> pathlib.Path:
    """Copy the set in parts, as the action plugin does; *spoil* may change a part on its way."""
    (entry,) = sets_to_copy(str(root), [])
    receiver = SetReceiver(directory_of(str(dest), "web1", entry["project"]), entry["set_id"], entry["files"])
    with receiver:
        for offset in range(0, receiver.total_bytes, part_bytes):
            part = write_part(set_path(str(root), "shop", SET), offset, part_bytes, str(stage))
            if spoil:
                spoil(pathlib.Path(part["path"]), offset)
            receiver.take(pathlib.Path(part["path"]), min(part_bytes, receiver.total_bytes - offset))
        receiver.publish()
    assert receiver.there
    return receiver.path


def tree(path: pathlib.Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("part_bytes", [1, 7, 100, 10**6])
def test_a_set_arrives_as_it_was(root: pathlib.Path, stage: pathlib.Path, tmp_path: pathlib.Path, part_bytes: int) -> None:
    path = copy(root, stage, tmp_path / "dest", part_bytes)
    there = tree(root / "shop/sets" / SET)
    del there["KEEP"]
    assert tree(path) == there
    assert path == tmp_path / "dest/web1/shop" / SET
    assert os.readlink(path.parent / "latest") == SET
    assert {stat.S_IMODE(file.lstat().st_mode) for file in (tmp_path / "dest").rglob("*") if not file.is_symlink()} == {0o600, 0o700}
    assert sorted(os.listdir(path.parent)) == [SET, "latest"]


def flip(offset_to_spoil: int) -> Spoil:
    def spoil(part: pathlib.Path, offset: int) -> None:
        if offset == offset_to_spoil:
            content = bytearray(part.read_bytes())
            content[len(content) // 2] ^= 1
            part.write_bytes(content)

    return spoil


def cut(part: pathlib.Path, offset: int) -> None:
    if offset == 200:
        part.write_bytes(part.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [*((flip(offset), "is not what its manifest says") for offset in (0, 300, 1500, 2900)), (cut, "99 bytes instead of 100")],
    ids=["manifest", "start", "middle", "end", "cut"],
)
def test_one_bit_or_byte_that_is_wrong_leaves_nothing(root, stage, tmp_path, spoil, words: str) -> None:
    with pytest.raises(TransferError, match=words):
        copy(root, stage, tmp_path / "dest", spoil=spoil)
    assert os.listdir(tmp_path / "dest/web1/shop") == []


def test_a_broken_copy_leaves_an_earlier_one_alone_and_clears_up_after_one_that_was_killed(root, stage, tmp_path) -> None:
    directory = tmp_path / "dest/web1/shop"
    (directory / "20261122T160139Z-7f3a").mkdir(parents=True)
    (directory / f".{SET}.999999999.partial").mkdir()
    (directory / f".{SET}.1.partial").mkdir()
    with pytest.raises(TransferError):
        copy(root, stage, tmp_path / "dest", spoil=cut)
    assert sorted(os.listdir(directory)) == [f".{SET}.1.partial", "20261122T160139Z-7f3a"]


def test_too_little_room_is_told_before_anything_is_copied(tmp_path) -> None:
    with pytest.raises(TransferError, match="bytes are free"), SetReceiver(tmp_path / "dest", SET, [{"path": "manifest.json", "bytes": 10**18}]):
        pass


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "", "a//b", "./a", "a\0b", "databases/.."])
def test_a_path_that_leads_out_is_refused(tmp_path: pathlib.Path, path: str) -> None:
    with pytest.raises(TransferError, match="leads out of the set"):
        SetReceiver(tmp_path, SET, [{"path": path, "bytes": 1}])


@pytest.mark.parametrize("name", ["../20261123T160139Z-7f3a", "latest", "", "20261123T160139Z-7f3a\n"])
def test_a_name_that_is_none_of_a_set_is_refused(tmp_path: pathlib.Path, name: str) -> None:
    with pytest.raises(TransferError):
        SetReceiver(tmp_path, name, [])
    with pytest.raises(CheckError):
        set_path(str(tmp_path), "shop", name)


@pytest.mark.parametrize("project", ["..", "a/b", "", ".x", "x\n"])
def test_a_project_that_leads_elsewhere_is_refused(tmp_path: pathlib.Path, project: str) -> None:
    with pytest.raises(TransferError):
        directory_of(str(tmp_path), "web1", project)
    with pytest.raises(CheckError):
        set_path(str(tmp_path), project, SET)


def test_a_host_s_name_stays_below_the_directory(tmp_path: pathlib.Path) -> None:
    assert directory_of(str(tmp_path), "../..", "shop").parent.parent == tmp_path
    assert directory_of(str(tmp_path), "..", "shop").parent.parent == tmp_path


def test_a_link_in_a_set_is_not_followed(root: pathlib.Path) -> None:
    (root / "shop/sets" / SET / "z").unlink()
    (root / "shop/sets" / SET / "z").symlink_to("/etc/shadow")
    with pytest.raises(CheckError, match="no regular file"):
        sets_to_copy(str(root), [])


def test_a_link_where_the_part_goes_is_not_followed(root: pathlib.Path, stage: pathlib.Path, tmp_path: pathlib.Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (stage / PART_NAME).symlink_to(victim)
    part = write_part(set_path(str(root), "shop", SET), 0, 10, str(stage))
    assert victim.read_text() == "untouched"
    assert not pathlib.Path(part["path"]).is_symlink()
    assert stat.S_IMODE(os.stat(part["path"]).st_mode) == 0o600
    (tmp_path / "link").symlink_to(stage)
    with pytest.raises(CheckError):
        write_part(set_path(str(root), "shop", SET), 0, 10, str(tmp_path / "link"))


def test_what_is_not_there_is_told(root: pathlib.Path) -> None:
    with pytest.raises(CheckError, match="No such file"):
        sets_to_copy(str(root / "none"), [])
    with pytest.raises(CheckError, match="there is no set"):
        sets_to_copy(str(root), ["blog"])
    with pytest.raises(CheckError, match="there is no set"):
        sets_to_copy(str(root), ["shop"], "20200101T000000Z-0000")
    (root / "shop/latest").unlink()
    assert sets_to_copy(str(root), []) == []


def test_what_a_manifest_does_not_say_is_found(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(signed({"files": [{"path": "a", "bytes": 1, "sha256": "x"}, {"path": "b", "bytes": 1, "sha256": "y"}]}))
    assert manifest_problems(path, {"a": 1, "c": 3, "manifest.json": 9}, {"a": "x"}) == ["b is missing", "c is not in the manifest"]
    path.write_text("{}")
    assert "cannot be read" in manifest_problems(path, {}, {})[0]
