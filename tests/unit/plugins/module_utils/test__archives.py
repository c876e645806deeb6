# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import resource
import socket
import stat
import subprocess
import sys
import tarfile

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _archives as archives
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


def write(target, *entries, **options):
    return archives.write_archive(str(target), [(str(path), name) for path, name in entries], **options)


def content(path):
    """Everything below a directory that an archive keeps."""
    found = {}
    for item in sorted(path.rglob("*")):
        status = item.lstat()
        kind = os.readlink(item) if item.is_symlink() else item.read_bytes() if item.is_file() else None
        found[item.relative_to(path).as_posix()] = (stat.S_IFMT(status.st_mode), kind, round(status.st_mtime, 3) if item.is_file() else 0, status.st_uid)
    return found


@pytest.fixture
def tree(tmp_path):
    top = tmp_path / "tree"
    (top / "deep/empty").mkdir(parents=True)
    (top / "plain.txt").write_bytes(b"content\n")
    (top / "zero").touch()
    (top / "deep" / ("long-" * 40)).write_bytes(os.urandom(700_000))
    (top / "名前 with\nnewline").write_text("x")
    pathlib.Path(os.fsdecode(os.fsencode(top) + b"/latin-\xe9")).write_text("no UTF-8")
    (top / "link").symlink_to("deep/empty")
    (top / "deep/up").symlink_to("../plain.txt")
    os.link(top / "plain.txt", top / "deep/other-name")
    os.utime(top / "zero", (1, 12345.678))
    os.chmod(top / "plain.txt", 0o640)
    os.chmod(top / "deep", 0o2750)
    return top


def test_what_goes_in_comes_out_equal(tree, tmp_path):
    result = write(tmp_path / "a.tar.gz", (tree, "data"))
    assert result.warnings == ()
    assert stat.S_IMODE((tmp_path / "a.tar.gz").stat().st_mode) == 0o600
    assert archives.check_archive(str(tmp_path / "a.tar.gz")) == result.files == len(list(tree.rglob("*"))) + 1
    written = archives.extract(str(tmp_path / "a.tar.gz"), str(tmp_path / "out"))
    assert content(tmp_path / "out/data") == content(tree)
    assert {pathlib.Path(path) for path in written} == {path for path in (tmp_path / "out").rglob("*") if path.is_symlink() or not path.is_dir()}
    assert (tmp_path / "out/data/plain.txt").stat().st_nlink == 2
    assert [stat.S_IMODE((tmp_path / "out/data" / name).stat().st_mode) for name in ("plain.txt", "deep")] == [0o640, 0o2750]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".new-")]


@needs_root
def test_owners_are_kept_for_root(tree, tmp_path):
    os.chown(tree / "zero", 70, 71)
    os.chown(tree / "link", 72, 73, follow_symlinks=False)
    write(tmp_path / "a.tar.gz", (tree, "data"))
    archives.extract(str(tmp_path / "a.tar.gz"), str(tmp_path / "out"))
    found = [os.lstat(tmp_path / "out/data" / name) for name in ("zero", "link")]
    assert [(status.st_uid, status.st_gid) for status in found] == [(70, 71), (72, 73)]


def test_the_distribution_s_tar_reads_it(tree, tmp_path):
    write(tmp_path / "a.tar.gz", (tree, "data"))
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xzf", tmp_path / "a.tar.gz", "-C", tmp_path / "out"], check=True, timeout=60)
    assert content(tmp_path / "out/data") == content(tree)


def test_the_distribution_s_tar_is_read(tree, tmp_path):
    subprocess.run(["tar", "--format=posix", "-czf", tmp_path / "a.tar.gz", "-C", tree, "."], check=True, timeout=60)
    archives.extract(str(tmp_path / "a.tar.gz"), str(tmp_path / "out"))
    assert content(tmp_path / "out") == content(tree)


def test_the_same_files_give_the_same_bytes(tree, tmp_path):
    for name in ("a.tar.gz", "b.tar.gz"):
        write(tmp_path / name, (tree, "data"))
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()


def test_files_that_grow_shrink_or_vanish_while_they_are_read(tmp_path):
    for name in ("grows", "shrinks", "vanishes"):
        (tmp_path / name).write_bytes(b"x" * 600_000)
    seen = []

    def meddle(count):
        seen.append(count)
        if len(seen) == 1:
            with open(tmp_path / "grows", "ab") as file:
                file.write(b"new" * 1000)
            (tmp_path / "vanishes").unlink()
        os.truncate(tmp_path / "shrinks", 300_000 if sum(seen) > 600_000 else 600_000)

    names = ("grows", "shrinks", "vanishes", "never-there")
    result = write(tmp_path / "a.tar.gz", *((tmp_path / name, name) for name in names), pace=meddle, level=1)
    assert sum(seen) == result.bytes == 1_200_000
    shrunk, gone, never = result.warnings
    assert "shrank while it was read, its last 300000 bytes are zero" in shrunk
    assert gone == f"{tmp_path}/vanishes: not there when its turn came"
    assert never == f"{tmp_path}/never-there: not there when its turn came"
    archives.extract(str(tmp_path / "a.tar.gz"), str(tmp_path / "out"))
    assert (tmp_path / "out/grows").read_bytes() == b"x" * 600_000
    assert (tmp_path / "out/shrinks").read_bytes() == b"x" * 300_000 + b"\0" * 300_000


def test_what_is_no_file_is_left_out_with_a_warning(tmp_path):
    top = tmp_path / "top"
    top.mkdir()
    os.mkfifo(top / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(top / "socket"))
    result = write(tmp_path / "a.tar.gz", (top, "top"), ("/dev/null", "null"))
    assert sorted(result.warnings) == ["/dev/null: device, left out", f"{top}/pipe: pipe, left out", f"{top}/socket: socket, left out"]
    assert [member.name for member in archives.list_archive(str(tmp_path / "a.tar.gz"))] == ["top"]


def test_a_file_swapped_for_a_link_is_not_followed(tmp_path, monkeypatch):
    """A container may write to its volume at any moment; the host's files must not come into the archive that way."""
    (tmp_path / "secret").write_text("the host's")
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/upload").write_text("the container's")
    original = os.open

    def swap(path, *arguments, **options):
        if path == "upload":
            os.unlink(tmp_path / "volume/upload")
            os.symlink(tmp_path / "secret", tmp_path / "volume/upload")
        return original(path, *arguments, **options)

    monkeypatch.setattr(os, "open", swap)
    result = write(tmp_path / "a.tar.gz", (tmp_path / "volume", "volume"))
    assert result.warnings == (f"{tmp_path}/volume/upload: replaced while it was read, left out",)


def test_many_warnings_are_counted_not_listed(tmp_path):
    result = write(tmp_path / "a.tar.gz", *((tmp_path / f"none{number}", f"none{number}") for number in range(130)))
    assert len(result.warnings) == 101
    assert result.warnings[-1] == "and 30 more"


def test_what_cannot_be_read_is_an_error_and_leaves_nothing(tree, tmp_path, monkeypatch):
    def fail(descriptor, size):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "read", fail)
    with pytest.raises(CheckError) as caught:
        write(tmp_path / "a.tar.gz", (tree / "plain.txt", "plain.txt"))
    assert (caught.value.source, caught.value.code) == (str(tree / "plain.txt"), "read-failed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tree"]


def test_a_pace_that_raises_stops_it_and_leaves_nothing(tree, tmp_path):
    def stop(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a.tar.gz", (tree, "data"), pace=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tree"]


def test_a_full_disk_says_so_and_leaves_the_old_archive(tree, tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"old")
    code = (
        "import resource, signal, sys\n"
        "from ansible_collections.stackops.runbook.plugins.module_utils._archives import write_archive\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: write_archive(sys.argv[1], [(sys.argv[2], 'data')])\n"
        "except Exception as error: print(type(error).__name__, error.code, error.source)\n"
    )
    path = [directory for directory in sys.path if (pathlib.Path(directory) / "ansible_collections").is_dir()][0]
    found = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.tar.gz", tree], env={"PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=True
    )
    assert found.stdout.split() == ["CheckError", "write-failed", str(tmp_path / "a.tar.gz")], found.stderr
    assert (tmp_path / "a.tar.gz").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "tree"]


def test_two_files_of_one_name_are_a_mistake_and_one_named_twice_is_none(tree, tmp_path):
    with pytest.raises(CheckError, match="same name"):
        write(tmp_path / "a.tar.gz", (tree / "zero", "name"), (tree / "plain.txt", "./name"))
    with pytest.raises(CheckError, match="archived inside"):
        write(tmp_path / "a.tar.gz", (tree, "data"), (tree / "plain.txt", "data/zero"))
    write(tmp_path / "a.tar.gz", (tree, "data"), (tree / "zero", "data/zero"), (tree, "data"))
    archives.extract(str(tmp_path / "a.tar.gz"), str(tmp_path / "out"))
    assert content(tmp_path / "out/data") == content(tree)


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../b", "", ".", "nul\0byte"])
def test_no_name_leads_elsewhere(tree, tmp_path, name):
    with pytest.raises(CheckError):
        write(tmp_path / "a.tar.gz", (tree, name))


def test_memory_stays_small(tmp_path):
    """Neither a large file nor many files: 300 MB and 20 000 members within 48 MiB on top of Python itself."""
    top = tmp_path / "top"
    (top / "many").mkdir(parents=True)
    with open(top / "large", "wb") as file:
        file.truncate(300 * 1024 * 1024)
    for number in range(20_000):
        (top / f"many/{number}").touch()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    write(tmp_path / "a.tar.gz", (top, "top"), level=1)
    assert archives.check_archive(str(tmp_path / "a.tar.gz")) == 20_003
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 48 * 1024


def test_the_configuration_of_a_project(tmp_path):
    project, other = tmp_path / "shop", tmp_path / "shared"
    for directory in (project / "conf/.git", project / "conf/sub", project / ".envs", other):
        directory.mkdir(parents=True)
    for path in ("docker-compose.yml", ".env", ".env.local", "app.env", "conf/nginx.conf", "conf/sub/x", "conf/.git/config", "data.txt"):
        (project / path).write_text(path)
    for path in ("base.yml", ".env", "secret.env"):
        (other / path).write_text(path)
    (project / ".env.prod").symlink_to(other / "secret.env")
    (project / "conf/root").symlink_to("/")
    found = archives.config_entries(
        str(project), ["docker-compose.yml", str(other / "base.yml")], ["app.env", "missing.env", str(other / "secret.env")], ["conf", "not-there"]
    )
    outside = f"{archives.OUTSIDE}{other}"
    assert {name: path for path, name in found} == {
        "docker-compose.yml": str(project / "docker-compose.yml"),
        ".env": str(project / ".env"),
        ".env.local": str(project / ".env.local"),
        ".env.prod": str(other / "secret.env"),
        "app.env": str(project / "app.env"),
        "conf/nginx.conf": str(project / "conf/nginx.conf"),
        "conf/root": str(project / "conf/root"),
        "conf/sub/x": str(project / "conf/sub/x"),
        "not-there": str(project / "not-there"),
        f"{outside}/base.yml": str(other / "base.yml"),
        f"{outside}/.env": str(other / ".env"),
        f"{outside}/secret.env": str(other / "secret.env"),
    }
    result = archives.write_archive(str(tmp_path / "config.tar.gz"), found)
    assert result.warnings == (f"{project}/not-there: not there when its turn came",)
    assert (result.files, result.bytes) == (11, sum(os.stat(path).st_size for path, name in found if name not in ("not-there", "conf/root")))


def test_the_python_that_reads_it_may_be_another(tree, tmp_path):
    write(tmp_path / "a.tar.gz", (tree, "data"))
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        assert len(tar.getmembers()) == archives.check_archive(str(tmp_path / "a.tar.gz"))
