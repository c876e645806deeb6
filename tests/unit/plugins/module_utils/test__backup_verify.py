# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gzip
import os
import pathlib
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._backup_verify import WORK_MOUNT, decode, decode_stored, decoded_checks
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._postgres_tools import Tools
from ansible_collections.stackops.runbook.plugins.module_utils._postgres_wire import Credentials
from ansible_collections.stackops.runbook.plugins.module_utils._process import Completed
from ansible_collections.stackops.runbook.plugins.module_utils._restore_run import loading_settings

LISTING = b""";
; Archive created at 2026-11-25
;
217; 1259 16385 TABLE public users postgres
216; 1259 16384 SEQUENCE public users_id_seq postgres
3434; 0 0 SEQUENCE OWNED BY public users_id_seq postgres
3427; 0 16385 TABLE DATA public users postgres
3440; 0 0 SEQUENCE SET public users_id_seq postgres
"""
DATA = b"""COPY public.users (id, name) FROM stdin;
1\tone
2\ta \\\\. in a row
\\.


SELECT pg_catalog.setval('public.users_id_seq', 2, true);
"""
SEQUENCE_SET = "3440; 0 0 SEQUENCE SET public users_id_seq postgres\n"
FACTS = {
    "objects": {"tables": 1, "sequences": 1},
    "tables": [{"schema": "public", "name": "users", "rows": 2}],
    "large_objects": {"number": 0},
}


class FakeTools:
    """A pg_restore that writes *data* into the pipe, or fails in one of its ways."""

    def __init__(self, work: pathlib.Path, data: bytes, fails: str = "") -> None:
        self.work, self.data, self.fails = work, data, fails
        self.asked: list[str] = []

    def check(self, argv: t.Sequence[str], timeout_seconds: float) -> Completed:
        mode = argv[1]
        self.asked.append(mode)
        if mode == self.fails:
            raise CheckError("postgres", f"pg_restore {mode}: exit code 1", "", "tool-failed")
        if any(word.startswith("--use-list=") for word in argv):
            (option,) = [word for word in argv if word.startswith("--use-list=")]
            assert pathlib.Path(option[len("--use-list=") :].replace(WORK_MOUNT, str(self.work))).read_text() == SEQUENCE_SET
            return Completed(tuple(argv), 0, self.data, b"")
        if mode == "--data-only":
            (option,) = [word for word in argv if word.startswith("--file=")]
            with open(option[len("--file=") :].replace(WORK_MOUNT, str(self.work)), "wb") as pipe:
                pipe.write(self.data)
        return Completed(tuple(argv), 0, LISTING if mode == "--list" else b"", b"")


def test_what_is_decoded_is_counted_and_compared(tmp_path: pathlib.Path) -> None:
    tools = FakeTools(tmp_path, DATA)
    decoded = decode(t.cast("Tools", tools), "/backup/databases/postgres/app", str(tmp_path), 30)
    assert sorted(tools.asked) == ["--data-only", "--list", "--schema-only"]
    assert decoded.rows == {("public", "users"): 2}
    assert decoded.sequences == {("public", "users_id_seq"): (2, True)}
    assert decoded.entries == {"TABLE": 1, "VIEW": 0, "MATERIALIZED VIEW": 0, "SEQUENCE": 1}
    assert all(one["ok"] for one in decoded_checks(FACTS, decoded))
    assert os.listdir(tmp_path) == []


def _stored(path: pathlib.Path, rows: bytes, **table: t.Any) -> dict[str, t.Any]:
    """Lay down an archive with one data file; return the facts of what was dumped."""
    (path / "shop").mkdir(exist_ok=True)
    (path / "shop" / "3427.dat.gz").write_bytes(gzip.compress(rows + b"\\.\n\n\n"))
    return {**FACTS, "path": "shop", "compression": "1", "tables": [{"schema": "public", "name": "users", "rows": 2, **table}]}


def test_the_table_of_contents_says_whose_data_a_file_has(tmp_path: pathlib.Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    tools = FakeTools(work, b"SELECT pg_catalog.setval('public.users_id_seq', 2, true);\n")
    facts = _stored(tmp_path, b"1\tone\n2\ttwo\n", oid=16385)
    decoded = decode_stored(t.cast("Tools", tools), str(tmp_path), facts, str(work), 30)
    assert (decoded.rows, decoded.sequences) == ({("public", "users"): 2}, {("public", "users_id_seq"): (2, True)})
    assert all(one["ok"] for one in decoded_checks(facts, decoded))
    assert os.listdir(work) == []
    facts = _stored(tmp_path, b"1\tone\n", oid=16385)
    decoded = decode_stored(t.cast("Tools", tools), str(tmp_path), facts, str(work), 30)
    assert [one["name"] for one in decoded_checks(facts, decoded) if not one["ok"]] == ["rows"]
    more = {**facts, "large_objects": {"number": 1}}
    assert [one["name"] for one in decoded_checks(more, decoded) if not one["ok"]] == ["rows", "large objects"]


def test_a_data_file_that_is_missing_is_told(tmp_path: pathlib.Path) -> None:
    facts = _stored(tmp_path, b"", oid=16385)
    (tmp_path / "shop" / "3427.dat.gz").unlink()
    with pytest.raises(CheckError, match="3427 is not there"):
        decode_stored(t.cast("Tools", FakeTools(tmp_path, b"")), str(tmp_path), facts, str(tmp_path), 30)


def test_what_an_older_version_wrote_is_decoded_by_pg_restore(tmp_path: pathlib.Path) -> None:
    tools = FakeTools(tmp_path, DATA)
    decoded = decode_stored(t.cast("Tools", tools), str(tmp_path), _stored(tmp_path, b"not looked at"), str(tmp_path), 30)
    assert decoded.rows == {("public", "users"): 2} and "--data-only" in tools.asked


@pytest.mark.parametrize("mode", ["--data-only", "--list", "--schema-only"])
def test_whatever_of_it_fails_the_archive_is_not_decodable(tmp_path: pathlib.Path, mode: str) -> None:
    with pytest.raises(CheckError, match=mode):
        decode(t.cast("Tools", FakeTools(tmp_path, DATA, fails=mode)), "/backup/databases/postgres/app", str(tmp_path), 30)
    assert os.listdir(tmp_path) == []


def test_a_table_that_is_cut_short_is_told(tmp_path: pathlib.Path) -> None:
    with pytest.raises(CheckError, match="has no end"):
        decode(t.cast("Tools", FakeTools(tmp_path, DATA[:60])), "/backup/databases/postgres/app", str(tmp_path), 30)


def test_rows_that_are_missing_are_told(tmp_path: pathlib.Path) -> None:
    decoded = decode(t.cast("Tools", FakeTools(tmp_path, DATA.replace(b"1\tone\n", b""))), "/backup/databases/postgres/app", str(tmp_path), 30)
    assert [one["name"] for one in decoded_checks(FACTS, decoded) if not one["ok"]] == ["rows"]


def test_settings_of_the_tools_are_for_their_sessions_only() -> None:
    tools = Tools(t.cast("t.Any", None), "id", "postgres", Credentials("postgres", None, "app"))
    assert tools.environment()["PGOPTIONS"] == ""
    tools = Tools(t.cast("t.Any", None), "id", "postgres", Credentials("postgres", None, "app"), settings=(("work_mem", "64MB"), ("jit", "off")))
    assert tools.environment()["PGOPTIONS"] == "-c work_mem=64MB -c jit=off"


@pytest.mark.parametrize(
    ("own", "memory", "jobs", "expected"),
    [
        (64, 4096, 2, 256),
        (64, 512, 2, 64),  # a small server keeps its own
        (512, 4096, 4, 512),  # and so does one that was given more
        (64, 262144, 4, 1024),
        (64, 0, 2, 64),  # nobody knows
    ],
)
def test_an_index_gets_an_eighth_of_the_memory_while_a_restore_loads(own: int, memory: int, jobs: int, expected: int) -> None:
    settings = dict(loading_settings(own << 20, memory << 20, jobs))
    assert settings["maintenance_work_mem"] == f"{expected << 10}kB"
