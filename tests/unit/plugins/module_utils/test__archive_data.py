# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Data files of archives, whole, cut, altered, and read while they are written."""

from __future__ import annotations

import ctypes
import gzip
import hashlib
import pathlib
import time
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._archive_data import (
    TABLE_END,
    Follower,
    can_decode,
    check_sums,
    following,
    large_objects,
    read_data,
    table_file,
)
from ansible_collections.stackops.runbook.plugins.module_utils._backup_manifest import hash_files
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError

ROWS = b"".join(b"%d\tname %d\n" % (number, number * 7919) for number in range(250_000))


def _zstd(data: bytes) -> bytes:
    library = ctypes.CDLL("libzstd.so.1")
    library.ZSTD_compressBound.restype = library.ZSTD_compress.restype = ctypes.c_size_t
    made = ctypes.create_string_buffer(library.ZSTD_compressBound(ctypes.c_size_t(len(data))))
    size = library.ZSTD_compress(made, ctypes.c_size_t(len(made)), data, ctypes.c_size_t(len(data)), 1)
    return made.raw[:size]


PACKED: dict[str, t.Callable[[bytes], bytes]] = {".zst": _zstd, ".gz": lambda data: gzip.compress(data, 1), "": bytes}
needs_zstd = pytest.mark.skipif(not can_decode("zstd:1"), reason="no libzstd here")
each = pytest.mark.parametrize("suffix", [pytest.param(".zst", marks=needs_zstd), ".gz", ""])


@each
@pytest.mark.parametrize(
    "rows", [b"", b"1\n", b"\n\n\n", ROWS, b"x" * (1 << 20) + b"\n", b"y" * ((1 << 20) - 5) + b"\n"], ids=["none", "one", "empty", "many", "long", "border"]
)
def test_rows_bytes_and_hash(tmp_path: pathlib.Path, suffix: str, rows: bytes) -> None:
    packed = PACKED[suffix](rows + TABLE_END)
    (tmp_path / f"17.dat{suffix}").write_bytes(packed)
    (tmp_path / f"blob_16400.dat{suffix}").write_bytes(PACKED[suffix](b"a\nb"))
    (tmp_path / "toc.dat").write_bytes(b"no data")
    found = read_data(str(tmp_path))
    assert set(found) == {f"17.dat{suffix}", f"blob_16400.dat{suffix}"}
    table = found[f"17.dat{suffix}"]
    assert (table.rows, table.bytes) == (rows.count(b"\n"), len(rows) + len(TABLE_END))
    assert table.sha256 == hashlib.sha256(packed).hexdigest()
    assert (found[f"blob_16400.dat{suffix}"].rows, found[f"blob_16400.dat{suffix}"].bytes) == (0, 3)
    assert table_file(17, found) == f"17.dat{suffix}" and table_file(18, found) is None


def test_a_large_object_may_be_empty(tmp_path: pathlib.Path) -> None:
    (tmp_path / "blob_16400.dat.zst").write_bytes(b"")
    (one,) = read_data(str(tmp_path)).values()
    assert (one.rows, one.bytes, one.sha256) == (0, 0, hashlib.sha256(b"").hexdigest())


@each
def test_what_is_not_whole_is_told(tmp_path: pathlib.Path, suffix: str) -> None:
    packed = PACKED[suffix](ROWS + TABLE_END)
    path = tmp_path / f"17.dat{suffix}"
    for size in (0, 3, len(packed) // 2, len(packed) - 1):
        path.write_bytes(packed[:size])
        with pytest.raises(CheckError, match="has no end") as caught:
            read_data(str(tmp_path))
        assert caught.value.code == "corrupt"
    # A stream that was ended well, but not by pg_dump.
    path.write_bytes(PACKED[suffix](ROWS))
    with pytest.raises(CheckError, match="has no end"):
        read_data(str(tmp_path))


@pytest.mark.parametrize("suffix", [pytest.param(".zst", marks=needs_zstd), ".gz"])
def test_what_does_not_decode_is_told(tmp_path: pathlib.Path, suffix: str) -> None:
    packed = PACKED[suffix](ROWS + TABLE_END)
    # Zstandard has no sum here, and takes nearly everything for data: that is what the SHA-256 is for.
    for damaged in (b"\0" * 100, packed[:1000] + b"\xff" * 50_000 + packed[51_000:], packed + b"more"):
        (tmp_path / f"17.dat{suffix}").write_bytes(damaged)
        with pytest.raises(CheckError, match="cannot be decoded|has no end"):
            read_data(str(tmp_path))


@each
def test_it_is_read_while_it_is_written(tmp_path: pathlib.Path, suffix: str) -> None:
    directory = tmp_path / "not-there-yet"
    packed = {f"{number}.dat{suffix}": PACKED[suffix](ROWS * number + TABLE_END) for number in (1, 2)}
    with following(str(directory), "1") as follower:
        assert follower is not None
        time.sleep(0.1)
        directory.mkdir()
        files = {name: (directory / name).open("wb") for name in packed}
        for start in range(10):
            for name, file in files.items():
                share = len(packed[name]) // 10 + 1
                file.write(packed[name][start * share : (start + 1) * share])
                file.flush()
            time.sleep(0.02)
        for file in files.values():
            file.close()
        found = follower.result()
    assert found == read_data(str(directory))
    assert {name: one.rows for name, one in found.items()} == {f"{number}.dat{suffix}": 250_000 * number for number in (1, 2)}


def test_a_file_that_does_not_end_is_told_at_the_end(tmp_path: pathlib.Path) -> None:
    with following(str(tmp_path), "1") as follower:
        assert follower is not None
        (tmp_path / "17.dat.gz").write_bytes(gzip.compress(ROWS + TABLE_END)[:-4])
        with pytest.raises(CheckError, match="has no end"):
            follower.result()


def test_it_ends_with_the_block_whatever_happens(tmp_path: pathlib.Path) -> None:
    follower = Follower(str(tmp_path))
    (tmp_path / "17.dat.gz").write_bytes(gzip.compress(ROWS)[:-4])
    follower.start()
    began = time.monotonic()
    follower.stop()
    assert time.monotonic() - began < 5


def test_a_disk_that_gives_back_something_else_is_told(tmp_path: pathlib.Path) -> None:
    names = ["17.dat.gz", "18.dat.gz"]
    for name in names:
        (tmp_path / name).write_bytes(gzip.compress(ROWS + TABLE_END, 1))
    data = read_data(str(tmp_path))

    def compare() -> None:
        sums = {name: one.sha256 for name, one in hash_files(str(tmp_path), names).items()}
        check_sums(str(tmp_path), data, sums, "something else", "")

    compare()
    with (tmp_path / "18.dat.gz").open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(CheckError, match="something else") as caught:
        compare()
    assert caught.value.code == "corrupt" and caught.value.source.endswith("/18.dat.gz")
    # Of a set that is encrypted, nobody knows the sums of what is in it.
    check_sums(str(tmp_path), data, {}, "something else", "")


def test_each_large_object_that_is_listed_has_its_data(tmp_path: pathlib.Path) -> None:
    # Of PostgreSQL 15 and 16, and of 17, which has a list for each thousand of them.
    (tmp_path / "blobs.toc").write_text("16400 blob_16400.dat\n16401 blob_16401.dat\n")
    (tmp_path / "blobs_3430.toc").write_text("16402 blob_16402.dat\n")
    there = {"blob_16400.dat.zst", "blob_16401.dat", "blob_16402.dat.gz"}
    assert large_objects(str(tmp_path), there) == 3
    with pytest.raises(CheckError, match="data of 1 large objects is not there: blob_16401.dat") as caught:
        large_objects(str(tmp_path), there - {"blob_16401.dat"})
    assert caught.value.code == "corrupt"


def test_without_the_library_there_is_nothing_to_follow(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.stackops.runbook.plugins.module_utils._archive_data._zstd", lambda: None)
    with following(str(tmp_path), "zstd:1") as follower:
        assert follower is None
