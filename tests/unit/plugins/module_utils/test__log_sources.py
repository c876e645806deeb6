# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where logs are found, and what an engine and a journal give of them."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import ContainerRef, Stack
from ansible_collections.stackops.runbook.plugins.module_utils._engine import Engine, EngineOptions
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._log_sources import PIECE_BYTES, LogSource, discover_sources, lines_of_engine, lines_of_journal
from ansible_collections.stackops.runbook.tests.support.compose_engine import Raw, container, running_engine

STAMP = "2026-11-23T11:59:00.000000001Z"
LATER = "2026-11-23T11:59:01.000000002Z"


def mount(source: t.Any, destination: str = "/app/logs", kind: str = "bind", writable: bool = True) -> Raw:
    return {"Type": kind, "Source": str(source), "Destination": destination, "RW": writable}


def stack_of(*containers: Raw) -> Stack:
    return Stack("shop", containers=[ContainerRef(raw) for raw in containers])


def files(stack: Stack) -> list[tuple[str, t.Optional[str]]]:
    return [(os.path.basename(source.name), source.service) for source in discover_sources(stack, None) if source.type == "file"]


def records(data: bytes) -> list[tuple[str, str]]:
    """Return time and text of lines in the wrapper."""
    return [(record["time"], record["log"]) for record in map(json.loads, data.splitlines())]


# -- where they are ----------------------------------------------------------------------------------------------------


def test_every_container_but_one_offs_has_a_log() -> None:
    api = container("api", LogPath="/var/lib/docker/containers/1/1-json.log")
    api["Config"]["Env"] = ["TZ=Europe/Berlin"]
    local = container("local", LogPath="/var/lib/docker/containers/2/local-logs/container.log")
    local["HostConfig"]["LogConfig"] = {"Type": "local"}
    found = discover_sources(stack_of(api, local, container("migrate", oneoff=True)), None)
    assert found == [
        LogSource("container:shop-api-1", "container", api["LogPath"], "shop", "api", api["Id"], "json-file", zone="Europe/Berlin"),
        # Its file is no text: the engine has to be asked.
        LogSource("container:shop-local-1", "container", None, "shop", "local", local["Id"], "local"),
    ]


def test_log_files_are_found_below_mounted_directories_and_as_mounted_files(tmp_path: pathlib.Path) -> None:
    for name in ("logs/app.log", "logs/deep/worker.log", "logs/orders.sqlite", "single/nginx.log", "single/nginx.conf"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a line\n")
    web = container("web")
    web["Mounts"] = [
        mount(tmp_path / "logs", kind="volume"),
        mount(tmp_path / "single" / "nginx.log", "/var/log/nginx.log"),
        mount(tmp_path / "single" / "nginx.conf", "/etc/nginx.conf"),
        mount(tmp_path / "single" / "gone.log", "/var/log/gone.log"),
    ]
    web["Config"]["Env"] = ["TZ=Asia/Tokyo"]
    assert files(stack_of(web)) == [("app.log", "web"), ("worker.log", "web"), ("nginx.log", "web")]
    assert {source.zone for source in discover_sources(stack_of(web), None)} == {"Asia/Tokyo"}


def test_what_is_mounted_for_other_reasons_is_no_place_of_logs(tmp_path: pathlib.Path) -> None:
    (tmp_path / "app.log").write_text("a line\n")
    mounts = [mount("/tmp"), mount("/var/log/../log/"), mount(""), mount(tmp_path, kind="tmpfs"), mount(tmp_path, "/var/lib/postgresql/data")]
    assert files(stack_of(container("db", Mounts=mounts))) == []


def test_a_log_that_several_containers_see_belongs_to_who_writes_it(tmp_path: pathlib.Path) -> None:
    (tmp_path / "app.log").write_text("a line\n")
    (tmp_path / "alias").symlink_to(tmp_path)
    application = container("web", Mounts=[mount(tmp_path)])
    application["Config"]["Cmd"] = ["uvicorn", "app:app"]
    helper = container("agent", Mounts=[mount(tmp_path / "alias", writable=False)])
    one_off = container("a-job", oneoff=True, Mounts=[mount(tmp_path)])
    assert files(stack_of(one_off, helper, application)) == [("app.log", "web")]
    assert files(stack_of(one_off, helper)) == [("app.log", "agent")]


def test_of_a_mount_to_write_to_and_one_to_read_the_first_counts(tmp_path: pathlib.Path) -> None:
    (tmp_path / "app.log").write_text("a line\n")
    (tmp_path / "alias").symlink_to(tmp_path)
    web = container("web", Mounts=[mount(tmp_path / "alias", "/a", writable=False), mount(tmp_path, "/b")])
    (found,) = [source for source in discover_sources(stack_of(web), None) if source.type == "file"]
    assert found.path == str(tmp_path / "app.log")


def test_of_an_engine_elsewhere_only_what_it_gives_is_read(tmp_path: pathlib.Path) -> None:
    (tmp_path / "app.log").write_text("a line\n")
    web = container("web", Mounts=[mount(tmp_path)], LogPath=str(tmp_path / "app.log"))
    elsewhere = Engine(None, "tcp://192.0.2.1:2376", 1.0)
    (found,) = discover_sources(stack_of(web), elsewhere)
    assert (found.name, found.type, found.path) == ("container:shop-web-1", "container", None)


# -- what the engine gives ---------------------------------------------------------------------------------------------


def given(directory: pathlib.Path, log: bytes) -> list[tuple[str, str]]:
    pytest.importorskip("docker", reason="the Docker SDK for Python is not installed")
    web = container("web")
    with running_engine(directory, web) as running:
        running.logs[web["Id"]] = log
        engine = Engine.connect(EngineOptions(docker_host=running.docker_host, timeout_seconds=5))
        (source,) = discover_sources(stack_of(web), engine)
        return records(lines_of_engine(source, engine, 1795435000.0))


def test_the_engines_lines_have_their_times(tmp_path: pathlib.Path) -> None:
    log = f'{STAMP} one "quoted"\n{LATER} \xfcber\n'.encode()
    assert given(tmp_path, log + b"2026-11-23T11:59:02.000000003Z \xff\n") == [
        (STAMP, 'one "quoted"\n'),
        (LATER, "über\n"),
        ("2026-11-23T11:59:02.000000003Z", "\ufffd\n"),
    ]


def test_a_short_line_that_quotes_a_time_stays_whole(tmp_path: pathlib.Path) -> None:
    assert given(tmp_path, f"{STAMP} took it at {LATER} or so\n".encode()) == [(STAMP, f"took it at {LATER} or so\n")]


def test_the_rest_of_a_line_whose_begin_was_cut_off_is_left_out(tmp_path: pathlib.Path) -> None:
    assert given(tmp_path, f"of a line\n{STAMP} whole\n".encode()) == [(STAMP, "whole\n")]


def test_the_pieces_of_a_long_line_are_put_together(tmp_path: pathlib.Path) -> None:
    piece = "x" * PIECE_BYTES
    assert given(tmp_path, f"{STAMP} {piece}{LATER} {piece}{LATER} end\n{LATER} next\n".encode()) == [(STAMP, f"{piece}{piece}end\n"), (LATER, "next\n")]
    # The newline is missing behind the last piece: the next line follows at once.
    assert given(tmp_path, f"{STAMP} {piece}{STAMP} end{LATER} next\n".encode()) == [(STAMP, f"{piece}end\n"), (LATER, "next\n")]
    # A line that ends with a whole piece.
    assert given(tmp_path, f"{STAMP} {piece}\n".encode()) == [(STAMP, f"{piece}\n")]


@pytest.mark.parametrize(
    ("source", "driver"), [(LogSource("container:x", "container", container_id="1", driver="none"), "none"), (LogSource("container:x", "container"), "unknown")]
)
def test_what_no_engine_keeps_cannot_be_read(source: LogSource, driver: str) -> None:
    with pytest.raises(CheckError, match=f"the logging driver {driver} keeps nothing") as caught:
        lines_of_engine(source, None, None)
    assert (caught.value.source, caught.value.code) == ("container:x", "driver-unreadable") and "json-file" in caught.value.hint


# -- what the journal gives --------------------------------------------------------------------------------------------


class Journal:
    """A ``journalctl`` that prints what a test says, and notes what it was asked."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._answer, self._asked = directory / "answer", directory / "asked"
        self._program = directory / "journalctl"

    def says(self, *entries: t.Any, exit_code: int = 0, error: str = "") -> None:
        self._answer.write_text("".join(f"{entry if isinstance(entry, str) else json.dumps(entry)}\n" for entry in entries), encoding="utf-8")
        words = f"echo '{error}' >&2\n" if error else ""
        self._program.write_text(f"#!/bin/sh\necho \"$*\" > '{self._asked}'\n{words}/bin/cat '{self._answer}'\nexit {exit_code}\n", encoding="utf-8")
        self._program.chmod(0o755)

    @property
    def asked(self) -> list[str]:
        return self._asked.read_text(encoding="utf-8").split()


@pytest.fixture
def journal(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    monkeypatch.setenv("PATH", str(tmp_path))
    return Journal(tmp_path)


def entry(message: t.Any, **more: t.Any) -> Raw:
    return {"__REALTIME_TIMESTAMP": "1795435140000000", "MESSAGE": message, **more}


CONTAINER = LogSource("container:shop-web-1", "container", container_id="ab12", driver="journald")
UNIT = LogSource("journald:nginx.service", "journald", unit="nginx.service")


def test_the_journal_of_a_container_is_asked_for_by_its_id(journal: Journal) -> None:
    journal.says(entry("GET / 200", PRIORITY="3"), entry([255, 104, 105]))
    assert records(lines_of_engine(CONTAINER, None, 1795435000.7, 50)) == [("2026-11-23T11:59:00Z", "GET / 200\n"), ("2026-11-23T11:59:00Z", "\ufffdhi\n")]
    assert journal.asked == ["--output=json", "--no-pager", "--quiet", "--lines=50", "--since=@1795435000", "CONTAINER_ID_FULL=ab12"]


def test_what_a_unit_says_has_the_level_of_its_priority(journal: Journal) -> None:
    journal.says(*(entry("text", PRIORITY=str(priority)) for priority in (0, 2, 3, 4, 6)), entry("text"))
    texts = [text for dummy, text in records(lines_of_journal(UNIT, None))]
    assert texts == ["CRITICAL: text\n", "CRITICAL: text\n", "ERROR: text\n", "WARNING: text\n", "INFO: text\n", "text\n"]
    assert journal.asked[-2:] == ["--since=@0", "_SYSTEMD_UNIT=nginx.service"]


def test_entries_that_cannot_be_understood_are_passed_over(journal: Journal) -> None:
    journal.says("{torn", "[]", {"MESSAGE": "no time"}, entry("whole"), {"__REALTIME_TIMESTAMP": None})
    assert records(lines_of_journal(UNIT, None)) == [("2026-11-23T11:59:00Z", "whole\n")]


def test_a_journal_that_refuses_is_told_in_its_own_words(journal: Journal) -> None:
    journal.says(exit_code=1, error="No journal files were opened due to insufficient permissions.")
    with pytest.raises(CheckError, match="insufficient permissions") as caught:
        lines_of_journal(UNIT, None)
    assert caught.value.code == "driver-unreadable" and caught.value.hint.startswith("Run: journalctl --output=json")
    journal.says(exit_code=7)
    with pytest.raises(CheckError, match="journalctl ended with 7"):
        lines_of_journal(UNIT, None)
    # What there is of a journal that is partly damaged is worth reading.
    journal.says(entry("whole"), exit_code=1, error="Bad message")
    assert records(lines_of_journal(UNIT, None)) == [("2026-11-23T11:59:00Z", "whole\n")]


def test_a_host_without_a_journal_is_told(journal: Journal) -> None:
    with pytest.raises(CheckError) as caught:
        lines_of_journal(UNIT, None)
    assert caught.value.code == "not-installed"
