# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gzip
import io
import os
import random
import resource
import shutil
import stat
import tarfile

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _extraction as extraction
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def header(name, kind=tarfile.REGTYPE, **properties):
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in properties.items():
        setattr(info, key, value)
    return info


def archive(tmp_path, *members, tail=None):
    """Write an archive of headers, or (name, content), as nobody careful would."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            if isinstance(member, tuple):
                tar.addfile(header(member[0], size=len(member[1])), io.BytesIO(member[1]))
            else:
                tar.addfile(member, io.BytesIO(b"x" * member.size) if member.isreg() else None)
    content = plain.getvalue() if tail is None else plain.getvalue()[: tail[0]] + tail[1]
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(content, 1))
    return str(path)


def link(name, target, kind=tarfile.SYMTYPE):
    return header(name, kind, linkname=target)


def outside(tmp_path):
    """Everything that is not the archive: what an extraction must not have touched."""
    return sorted(str(path) for path in tmp_path.rglob("*") if path.name != "a.tar.gz")


HARMFUL = {
    "absolute path": [("/etc/cron.d/evil", b"x")],
    "parent directory": [("../evil", b"x")],
    "parent directory in the middle": [("a/../../evil", b"x")],
    "link out": [link("out", "/etc")],
    "relative link out": [link("a/out", "../../etc")],
    "file through a link": [link("a", "b"), ("a/evil", b"x")],
    "file through a link that comes later": [("a/evil", b"x"), link("a", "b")],
    "directory through a link": [link("a", "b"), header("a/evil", tarfile.DIRTYPE)],
    "link over a directory": [header("a", tarfile.DIRTYPE), link("a", "b")],
    "directory over a link": [link("a", "b"), header("a", tarfile.DIRTYPE)],
    "hard link outside": [link("a", "/etc/passwd", tarfile.LNKTYPE)],
    "hard link above": [link("a", "../../etc/passwd", tarfile.LNKTYPE)],
    "hard link to a link": [link("a", "b"), link("c", "a", tarfile.LNKTYPE)],
    "hard link to nothing before it": [link("a", "b", tarfile.LNKTYPE), ("b", b"x")],
    "link to nothing": [link("a", "")],
    "character device": [header("a", tarfile.CHRTYPE, devmajor=1, devminor=3)],
    "block device": [header("a", tarfile.BLKTYPE, devmajor=8, devminor=0)],
    "pipe": [header("a", tarfile.FIFOTYPE)],
    "unknown type": [header("a", b"Q")],
    "two files of one name": [("a", b"x"), ("a", b"y")],
    "the same name, spelt otherwise": [("a/b", b"x"), ("./a//b", b"y")],
    "file over a directory": [("a/b", b"x"), ("a", b"y")],
    "directory over a file": [("a", b"x"), header("a", tarfile.DIRTYPE)],
    "file below a file": [("a", b"x"), ("a/b/c", b"y")],
    "name too long": [("n" * 256, b"x")],
    "path too long": [("/".join(["n" * 200] * 30), b"x")],
    "time that is none": [header("a", mtime=1e300)],
    "owner that is none": [header("a", uid=2**40)],
    "sparse": [header("a", pax_headers={"GNU.sparse.major": "0", "GNU.sparse.map": "0,0", "GNU.sparse.size": "1099511627776"})],
}


@pytest.mark.parametrize("members", HARMFUL.values(), ids=HARMFUL)
def test_a_harmful_member_is_refused_and_nothing_is_left(tmp_path, members):
    path = archive(tmp_path, ("good", b"good"), *members)
    before = outside(tmp_path)
    with pytest.raises(CheckError) as caught:
        extraction.extract(path, str(tmp_path / "out"))
    assert caught.value.code == "archive-refused", caught.value.reason
    assert caught.value.source == path
    assert caught.value.hint
    assert outside(tmp_path) == before


def test_what_is_refused_leaves_an_empty_directory_as_it_was(tmp_path):
    (tmp_path / "out").mkdir(mode=0o750)
    with pytest.raises(CheckError):
        extraction.extract(archive(tmp_path, ("a/b", b"x"), ("/evil", b"x")), str(tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o750


def test_set_user_id_bits_are_dropped(tmp_path):
    members = [header("program", mode=0o6755), header("directory", tarfile.DIRTYPE, mode=0o7777)]
    extraction.extract(archive(tmp_path, *members), str(tmp_path / "out"))
    assert stat.S_IMODE((tmp_path / "out/program").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "out/directory").stat().st_mode) == 0o3777


def test_a_volume_may_keep_the_links_that_are_right_for_its_container(tmp_path):
    path = archive(tmp_path, link("current", "/data/releases/1"), link("up", "../x"))
    extraction.extract(path, str(tmp_path / "out"), keep_outside_links=True)
    assert [os.readlink(tmp_path / "out" / name) for name in ("current", "up")] == ["/data/releases/1", "../x"]
    with pytest.raises(CheckError, match="below the link"):
        extraction.extract(archive(tmp_path, link("a", "/tmp"), ("a/evil", b"x")), str(tmp_path / "other"), keep_outside_links=True)


def test_a_directory_that_is_not_empty_or_a_link_is_left_alone(tmp_path):
    path = archive(tmp_path, ("a", b"x"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/theirs").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    for name in ("full", "link", "full/theirs"):
        with pytest.raises(CheckError, match="not an empty directory"):
            extraction.extract(path, str(tmp_path / name))
    assert (tmp_path / "full/theirs").exists()


def test_only_some_members(tmp_path):
    path = archive(tmp_path, ("a/one", b"1"), ("a/two", b"2"), ("b/three", b"3"), ("ab", b"4"))
    assert extraction.extract(path, str(tmp_path / "out"), names=["./a", "b/three"]) == [str(tmp_path / "out" / name) for name in ("a/one", "a/two", "b/three")]
    with pytest.raises(CheckError, match="no member nothing, other; nothing was extracted"):
        extraction.extract(path, str(tmp_path / "none"), names=["other", "ab", "nothing"])
    assert not (tmp_path / "none").exists()


def test_the_list_says_what_there_is(tmp_path):
    path = archive(tmp_path, header("d", tarfile.DIRTYPE, mode=0o750), header("d/f", size=3, mtime=12.5, mode=0o4755), link("l", "d/f"))
    assert [(m.name, m.kind, m.bytes, m.mode, m.mtime, m.target) for m in extraction.list_archive(path)] == [
        ("d", "directory", 0, 0o750, 0, ""),
        ("d/f", "file", 3, 0o4755, 12.5, ""),
        ("l", "symlink", 0, 0o644, 0, "d/f"),
    ]


def test_an_archive_of_nothing(tmp_path):
    path = archive(tmp_path)
    assert extraction.check_archive(path) == 0
    assert extraction.extract(path, str(tmp_path / "out")) == []


DAMAGED_READERS = [extraction.check_archive, extraction.list_archive, lambda path: extraction.extract(path, path + ".out")]


@pytest.mark.parametrize("read", DAMAGED_READERS)
def test_a_truncated_or_changed_file_is_damaged_wherever_it_is_cut(tmp_path, read):
    path = archive(tmp_path, ("a", random.Random(7).randbytes(3000)), ("b", b"y" * 5000))
    whole = (tmp_path / "a.tar.gz").read_bytes()
    cuts = [whole[:size] for size in [*range(0, len(whole), 97), *range(len(whole) - 10, len(whole))]]
    flips = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(10, len(whole), 61)]
    for content in [*cuts, *flips, whole + b"garbage"]:
        (tmp_path / "a.tar.gz").write_bytes(content)
        with pytest.raises(CheckError) as caught:
            read(path)
        assert caught.value.code in ("archive-damaged", "archive-refused")
        assert not (tmp_path / "a.tar.gz.out").exists()


CUT = [(size, b"") for size in (0, 512, 1024, 1400)]
CHANGED = [(1024, b"\0" * 512 + b"x" * 512), (1024, b"garbage" * 200), (1024, b"\0" * 2048 + b"x"), (0, b"x" * 512)]


@pytest.mark.parametrize("tail", CUT + CHANGED)
@pytest.mark.parametrize("read", DAMAGED_READERS)
def test_a_tar_cut_off_or_damaged_within_a_sound_gzip(tmp_path, read, tail):
    """Python's tarfile takes most of these for complete archives."""
    with pytest.raises(CheckError) as caught:
        read(archive(tmp_path, ("a", b"x" * 500), ("b", b"y" * 500), tail=tail))
    assert caught.value.code == "archive-damaged"


def test_a_header_that_announces_gigabytes_takes_no_memory(tmp_path):
    path = tmp_path / "a.tar.gz"
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE):
        with gzip.open(path, "wb", 1) as file:
            file.write(header("x", kind, size=4 * 1024**3).tobuf(tarfile.GNU_FORMAT))
            for dummy in range(64):
                file.write(bytes(1024 * 1024))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(CheckError, match="bytes of names"):
            extraction.check_archive(str(path))
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024


def test_headers_without_end_are_damaged(tmp_path):
    with gzip.open(tmp_path / "a.tar.gz", "wb", 1) as file:
        for dummy in range(5000):
            file.write(header("x", tarfile.XHDTYPE, size=0).tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(CheckError) as caught:
        extraction.check_archive(str(tmp_path / "a.tar.gz"))
    assert caught.value.code == "archive-damaged"


def test_a_negative_size_is_damaged(tmp_path):
    with gzip.open(tmp_path / "a.tar.gz", "wb", 1) as file:
        file.write(header("x", size=-1024).tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(CheckError) as caught:
        extraction.check_archive(str(tmp_path / "a.tar.gz"))
    assert caught.value.code in ("archive-damaged", "archive-refused")


def test_random_bytes_never_end_otherwise_than_in_words(tmp_path):
    numbers = random.Random(20261123)
    path = archive(tmp_path, ("a", b"x" * 900), link("l", "a"), ("名" * 80, b"y"))
    plain = bytearray(gzip.decompress((tmp_path / "a.tar.gz").read_bytes()))
    for attempt in range(600):
        changed = bytearray(plain)
        for dummy in range(numbers.choice((1, 3, 30))):
            changed[numbers.randrange(len(changed))] = numbers.randrange(256)
        (tmp_path / "a.tar.gz").write_bytes(gzip.compress(bytes(changed), 1))
        try:
            extraction.extract(path, str(tmp_path / f"out{attempt}"))
        except CheckError as error:
            assert error.code in ("archive-damaged", "archive-refused", "write-failed"), error.reason


def test_an_archive_that_is_not_there(tmp_path):
    with pytest.raises(CheckError) as caught:
        extraction.check_archive(str(tmp_path / "none.tar.gz"))
    assert caught.value.code == "not-found"


NAMES = st.lists(st.sampled_from(["a", "b", ".", "..", "", "c", "\0", "\udc80", "n" * 300]), min_size=1, max_size=4).map("/".join)
KINDS = st.sampled_from([tarfile.REGTYPE] * 3 + [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, b"Q"])
MEMBERS = st.lists(st.tuples(NAMES, KINDS, NAMES | st.just("/etc/passwd"), st.integers(0, 0o7777), st.integers(0, 700)), max_size=7)


def plain_tar(members):
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, kind, target, mode, size in members:
            info = header(name, kind, linkname=target, mode=mode, size=size if kind == tarfile.REGTYPE else 0)
            tar.addfile(info, io.BytesIO(bytes(size)) if info.isreg() else None)
    return plain.getvalue()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(members=MEMBERS, keep=st.booleans(), bend=st.none() | st.tuples(st.integers(0, 9000), st.integers(1, 255)), cut=st.none() | st.integers(0, 9000))
def test_whatever_is_in_an_archive_stays_below_or_is_refused_whole(tmp_path, members, keep, bend, cut):
    content = bytearray(plain_tar(members))
    if bend is not None:
        content[bend[0] % len(content)] ^= bend[1]
    out = tmp_path / "top" / "out"
    shutil.rmtree(tmp_path / "top", ignore_errors=True)
    out.parent.mkdir()
    try:
        written = extraction.extract_tar(io.BytesIO(bytes(content[:cut])), "x.tar", str(out), keep_outside_links=keep)
    except CheckError as error:
        assert error.code in ("archive-refused", "archive-damaged")
        assert list(out.parent.iterdir()) == []
        return
    assert list(out.parent.iterdir()) == [out]
    found = [path for path in out.rglob("*") if path.is_symlink() or not path.is_dir()]
    assert sorted(map(str, found)) == sorted(written)
    for path in found:
        assert path.is_symlink() or (path.is_file() and not path.stat().st_mode & 0o7000)
        if path.is_symlink() and not keep:
            assert os.path.normpath(path.parent / os.readlink(path)).startswith(str(out))
