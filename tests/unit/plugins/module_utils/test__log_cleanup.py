# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import threading
import time
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _log_cleanup
from ansible_collections.stackops.runbook.plugins.module_utils._log_cleanup import (
    CleanupOptions,
    LogDirectory,
    Report,
    carry_out,
    files_held_open,
    plan,
    refusal,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NOW = 1795435200.0
DAY = 86400.0


@pytest.fixture
def logs(tmp_path: pathlib.Path) -> pathlib.Path:
    directory = tmp_path / "shop" / "logs"
    directory.mkdir(parents=True)
    return directory


def put(path: pathlib.Path, days: float = 8.0, text: str = "a line\n") -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (NOW - days * DAY, NOW - days * DAY))
    return path


def options_for(directory: pathlib.Path, **more: t.Any) -> CleanupOptions:
    return CleanupOptions((LogDirectory(str(directory)),), **more)


def clean(directory: pathlib.Path, **more: t.Any) -> Report:
    return carry_out(plan(options_for(directory, **more), NOW))


def names(report: Report) -> list[str]:
    return sorted(os.path.basename(candidate.path) for candidate in report.removed)


# What goes


def test_seven_days_mean_seven_days_to_the_second(logs: pathlib.Path) -> None:
    old, exact, young = put(logs / "old.log", 7 + 1 / DAY), put(logs / "exact.log", 7), put(logs / "young.log", 7 - 1 / DAY)
    report = clean(logs)
    assert names(report) == ["old.log"] and not old.exists() and exact.exists() and young.exists()


def test_rotated_files_go_and_what_is_no_log_stays(logs: pathlib.Path) -> None:
    gone = ("app.log", "app.log.1", "app.log.2.gz", "app.log-20261101", "app.log.2026-11-01", "app-2026-11-01.log.gz", "app.log.zst")
    stay = ("app.txt", "data.sqlite", "log", "app.logger", "catalog", "app.log.keep", "a" * 64 + "-json.log", "b-json.log.1")
    for name in (*gone, *stay):
        put(logs / name, 100)
    assert names(clean(logs)) == sorted(gone)
    assert sorted(os.listdir(logs)) == sorted(stay)


def test_directories_below_are_cleaned_and_stay(logs: pathlib.Path) -> None:
    put(logs / "a" / "b" / "old.log")
    assert names(clean(logs)) == ["old.log"] and (logs / "a" / "b").is_dir()
    put(logs / "a" / "b" / "old.log")
    only_here = CleanupOptions((LogDirectory(str(logs), recursive=False),))
    assert carry_out(plan(only_here, NOW)).removed == []


def test_the_oldest_go_first_and_the_rest_is_counted(logs: pathlib.Path) -> None:
    for days in (8, 30, 9, 20):
        put(logs / f"{days}.log", days)
    report = clean(logs, max_files=2)
    assert names(report) == ["20.log", "30.log"] and report.left == 2 and "2 more than one run removes" in report.envelope()["summary"]


def test_a_dry_run_tells_what_a_run_would_remove_and_removes_nothing(logs: pathlib.Path) -> None:
    put(logs / "old.log", text="x" * 100)
    the_plan = plan(options_for(logs), NOW)
    report = carry_out(the_plan, dry_run=True)
    assert names(report) == ["old.log"] and (logs / "old.log").exists()
    facts = report.envelope()
    assert facts["status"] == "ok" and facts["dry_run"] and facts["summary"] == "1 log files would be removed (100 bytes)"
    assert facts["removed"] == [{"path": str(logs / "old.log"), "bytes": 100, "age_seconds": 691200, "modified_at": "2026-11-15T12:00:00Z"}]
    real = carry_out(the_plan)
    assert [candidate.path for candidate in real.removed] == [candidate.path for candidate in report.removed] and not (logs / "old.log").exists()


def test_a_file_in_two_declared_directories_is_one(logs: pathlib.Path) -> None:
    put(logs / "in" / "old.log")
    options = CleanupOptions((LogDirectory(str(logs)), LogDirectory(str(logs / "in"))))
    assert len(plan(options, NOW).candidates) == 1


def test_names_in_the_report_cannot_steer_a_terminal(logs: pathlib.Path) -> None:
    put(logs / "a\x1b[2J\n.log")
    put(pathlib.Path(os.fsdecode(os.fsencode(logs) + b"/\xff.log")))
    shown = [entry["path"] for entry in clean(logs).envelope()["removed"]]
    assert all(path.isprintable() for path in shown) and len(shown) == 2


# What never goes


def test_links_pipes_and_directories_called_like_logs_stay(logs: pathlib.Path, tmp_path: pathlib.Path) -> None:
    victim = put(tmp_path / "victim.log")
    (logs / "link.log").symlink_to(victim)
    os.mkfifo(logs / "pipe.log")
    (logs / "directory.log").mkdir()
    for name in ("pipe.log", "directory.log"):
        os.utime(logs / name, (NOW - 99 * DAY, NOW - 99 * DAY))
    os.utime(logs / "link.log", (NOW - 99 * DAY, NOW - 99 * DAY), follow_symlinks=False)
    assert clean(logs).removed == [] and sorted(os.listdir(logs)) == ["directory.log", "link.log", "pipe.log"] and victim.exists()


def test_a_directory_behind_a_link_is_not_entered(logs: pathlib.Path, tmp_path: pathlib.Path) -> None:
    victim = put(tmp_path / "elsewhere" / "victim.log")
    (logs / "inner").symlink_to(victim.parent)
    assert clean(logs).removed == [] and victim.exists()


def test_a_file_that_a_process_has_open_stays(logs: pathlib.Path) -> None:
    path = put(logs / "open.log")
    put(logs / "closed.log")
    holder = subprocess.Popen(["sleep", "60"], stdout=path.open("a"))
    try:
        report = clean(logs)
        assert names(report) == ["closed.log"] and [(os.path.basename(each.path), reason) for each, reason in report.kept] == [
            ("open.log", "open in a process")
        ]
        assert report.envelope()["status"] == "ok"
        # The kernel says so as well where /proc shows nothing of other users' processes.
        blind = carry_out(plan(options_for(logs), NOW), open_files=set)
        assert blind.removed == [] and blind.kept[0][1] == "open in a process"
    finally:
        holder.kill()
        holder.wait()
    assert names(clean(logs)) == ["open.log"]


def test_files_held_open_finds_them_by_identity(logs: pathlib.Path) -> None:
    path = put(logs / "a.log")
    status = path.stat()
    with path.open():
        path.rename(logs / "b.log")
        assert (status.st_dev, status.st_ino) in files_held_open()
    assert (status.st_dev, status.st_ino) not in files_held_open()


def test_whoever_opens_a_file_during_the_last_look_does_not_end_the_run(logs: pathlib.Path) -> None:
    path = put(logs / "a.log")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert not _log_cleanup._is_open_elsewhere(descriptor)
        opener = threading.Thread(target=lambda: os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK)) if path.exists() else None)
        opener_error: list[BaseException] = []
        threading.excepthook, before = (lambda arguments: opener_error.append(arguments.exc_value or RuntimeError())), threading.excepthook
        try:
            opener.start()
            opener.join(5)
        finally:
            threading.excepthook = before
        assert all(isinstance(error, BlockingIOError) for error in opener_error)
        assert signal.getsignal(signal.SIGIO) == signal.SIG_DFL
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/", "root"),
        ("/var", "root"),
        ("/var/log", "root"),
        ("/home/ada", "root"),
        ("/etc/shop/logs", "system"),
        ("/proc/self/cwd", "system"),
        ("/usr/lib/shop/logs", "system"),
        ("/srv/people/ada", "home"),
        ("/var/lib/docker", "engine"),
        ("/var/lib/docker/containers/abc", "engine"),
        ("/var/lib/docker/volumes/shop_logs", "engine"),
        ("/srv/fast/containers/" + "0123456789abcdef" * 4, "engine"),
        ("/mnt/disk/engine", "engine"),
        ("/mnt/disk/engine/containers", "engine"),
        ("/var/lib/containers/storage/overlay-containers", "engine"),
    ],
)
def test_refused(path: str, word: str) -> None:
    assert word in refusal(path, frozenset({"/srv/people/ada"}), ("/var/lib/docker", "/var/lib/containers", "/mnt/disk/engine"))


@pytest.mark.parametrize(
    "path",
    [
        "/srv/shop/logs",
        "/var/log/shop",
        "/home/ada/shop/logs",
        "/usr/local/shop/logs",
        "/var/lib/docker/volumes/shop_logs/_data",
        "/var/lib/containers/storage/volumes/shop/_data/logs",
    ],
)
def test_accepted(path: str) -> None:
    assert refusal(path, frozenset({"/home/ada", "/root"}), ("/var/lib/docker", "/var/lib/containers")) == ""


def test_a_refused_or_missing_directory_is_unknown_and_the_others_are_cleaned(logs: pathlib.Path) -> None:
    put(logs / "old.log")
    options = CleanupOptions(tuple(LogDirectory(path) for path in ("/etc", "logs", str(logs / "missing"), str(logs) + "/../logs", str(logs))))
    report = carry_out(plan(options, NOW))
    assert names(report) == ["old.log"] and report.directories == (str(logs),)
    assert [error.code for error in report.errors] == ["refused", "refused", "missing", "refused"]
    facts = report.envelope()
    assert facts["status"] == "unknown" and all(error["hint"] for error in facts["errors"])


def test_links_on_the_way_are_followed_only_where_nobody_else_could_put_them(logs: pathlib.Path, tmp_path: pathlib.Path) -> None:
    put(logs / "old.log")
    (tmp_path / "absolute").symlink_to(tmp_path / "shop")
    (tmp_path / "relative").symlink_to("shop")
    (tmp_path / "upwards").symlink_to("../" + tmp_path.name + "/shop")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("absolute", "relative"):
        assert [each.path for each in plan(options_for(tmp_path / name / "logs"), NOW).candidates] == [str(logs / "old.log")]
    for name in ("upwards", "loop"):
        assert [error.code for error in plan(options_for(tmp_path / name / "logs"), NOW).errors] == ["refused"]
    tmp_path.chmod(0o777)
    refused = plan(options_for(tmp_path / "absolute" / "logs"), NOW)
    assert [error.code for error in refused.errors] == ["refused"] and str(logs) in refused.errors[0].hint and not refused.candidates


def test_a_link_does_not_lead_around_a_refusal(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").symlink_to("/etc")
    assert [error.code for error in plan(options_for(tmp_path / "a" / "ssl" / ".."), NOW).errors] == ["refused"]
    assert [error.code for error in plan(options_for(tmp_path / "a"), NOW).errors] == ["refused"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_other_mounts_are_not_entered_not_even_of_the_same_file_system(logs: pathlib.Path, tmp_path: pathlib.Path) -> None:
    victim = put(tmp_path / "other" / "victim.log")
    (logs / "bound").mkdir()
    (logs / "memory").mkdir()
    if subprocess.run(["mount", "--bind", str(victim.parent), str(logs / "bound")], check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine does not let us mount")
    try:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(logs / "memory")], check=True)
        try:
            put(logs / "memory" / "volatile.log")
            put(logs / "own.log")
            assert names(clean(logs)) == ["own.log"] and victim.exists()
        finally:
            subprocess.run(["umount", str(logs / "memory")], check=True)
    finally:
        subprocess.run(["umount", str(logs / "bound")], check=True)


# Directories that were found


def test_a_found_directory_with_other_things_in_it_is_left_alone(logs: pathlib.Path) -> None:
    put(logs / "old.log")
    put(logs / ".gitkeep")
    put(logs / "below" / "old.log")
    found = CleanupOptions((LogDirectory(str(logs), recursive=False, only_logs=True),))
    assert len(plan(found, NOW).candidates) == 1
    for name in ("shop.db", "link.log"):
        (logs / name).symlink_to("/nowhere") if name == "link.log" else put(logs / name)
        nothing = plan(found, NOW)
        assert not nothing.candidates and not nothing.errors and not nothing.directories
        (logs / name).unlink()


def test_directories_of_a_stack_are_those_its_logs_are_in(logs: pathlib.Path) -> None:
    from ansible_collections.stackops.runbook.plugins.module_utils._discovery import ContainerRef, Stack

    put(logs / "app.log")
    put(logs / "worker" / "worker.log")
    mount = {"Type": "bind", "Source": str(logs), "Destination": "/app/logs", "RW": True}
    inspect = {"Id": "a" * 64, "Name": "/shop-backend-1", "Config": {"Labels": {"com.docker.compose.project": "shop"}}, "Mounts": [mount], "State": {}}
    stack = Stack("shop", containers=[ContainerRef(inspect)])
    found = _log_cleanup.directories_of([stack], None)
    assert [(each.path, each.recursive, each.only_logs) for each in found] == [(str(logs), False, True), (str(logs / "worker"), False, True)]
    options = CleanupOptions.from_options({}, found)
    assert [os.path.basename(each.path) for each in plan(options, NOW + 30 * DAY).candidates] == ["app.log", "worker.log"]


# Options


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"patterns": ["*"]}, "patterns"),
        ({"patterns": ["../*.log"]}, "patterns"),
        ({"patterns": ["*.*"]}, "patterns"),
        ({"max_age_days": 0}, "max_age_days"),
        ({"max_age_days": float("nan")}, "max_age_days"),
        ({"max_files": 0}, "max_files"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, t.Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        CleanupOptions.from_options(options)


def test_options_of_a_configuration() -> None:
    options = CleanupOptions.from_options({"directories": ["/srv/shop/logs"], "max_age_days": 2}, [LogDirectory("/x/y/z")], "/data/docker")
    assert options.directories == (LogDirectory("/srv/shop/logs"),) and options.max_age_seconds == 2 * DAY and "/data/docker" in options.data_roots
    assert CleanupOptions.from_options({"directories": []}, [LogDirectory("/x/y/z")]).directories == ()
    assert CleanupOptions.from_options({}).max_age_seconds == 7 * DAY


# Races, on real files


def test_a_file_that_became_a_link_after_it_was_listed(logs: pathlib.Path, tmp_path: pathlib.Path) -> None:
    victim, path = put(tmp_path / "victim.log"), put(logs / "a.log")
    the_plan = plan(options_for(logs), NOW)
    path.unlink()
    path.symlink_to(victim)
    report = carry_out(the_plan)
    assert report.removed == [] and report.kept[0][1] == "changed since it was listed" and victim.exists() and path.is_symlink()


def test_a_directory_that_became_a_link_after_it_was_listed(logs: pathlib.Path, tmp_path: pathlib.Path) -> None:
    put(logs / "in" / "a.log")
    the_plan = plan(options_for(logs), NOW)
    (logs / "in").rename(tmp_path / "moved")
    (logs / "in").symlink_to(tmp_path / "moved")
    assert carry_out(the_plan).removed == [] and (tmp_path / "moved" / "a.log").exists()


@pytest.mark.parametrize("how", ["written", "replaced", "touched", "removed", "hole"])
def test_a_file_that_changed_after_it_was_listed(logs: pathlib.Path, how: str) -> None:
    path = put(logs / "a.log")
    the_plan = plan(options_for(logs), NOW)
    if how == "written":
        with path.open("a") as file:
            file.write("more\n")
    elif how == "replaced":
        path.rename(logs / "a.txt")
        put(path)
    elif how == "touched":
        os.utime(path)
    elif how == "hole":
        path.unlink()
        path.mkdir()
    else:
        path.unlink()
    report = carry_out(the_plan)
    assert report.removed == [] and report.kept[0][1] == "changed since it was listed" and path.exists() == (how != "removed")


def test_a_file_opened_after_all_processes_were_looked_at(logs: pathlib.Path) -> None:
    path = put(logs / "a.log")
    holders: list[t.Any] = []

    def look() -> set[tuple[int, int]]:
        holders.append(path.open())
        return set()

    report = carry_out(plan(options_for(logs), NOW), open_files=look)
    assert report.removed == [] and report.kept[0][1] == "open in a process" and path.exists()
    holders[0].close()


def test_names_that_are_swapped_all_the_time_never_cost_what_links_lead_to(logs: pathlib.Path, tmp_path: pathlib.Path) -> None:
    victims = [put(tmp_path / "victims" / f"{number}.log") for number in range(8)]
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for number, victim in enumerate(victims):
                link = logs / f"new-{number}"
                link.symlink_to(victim)
                link.rename(logs / f"{number}.log")
                put(logs / f"file-{number}")
                (logs / f"file-{number}").rename(logs / f"{number}.log")
            (logs / "in").mkdir(exist_ok=True)
            put(logs / "in" / "0.log")
            (logs / "in" / "0.log").unlink(missing_ok=True)
            (logs / "in").rmdir()
            (logs / "in").symlink_to(tmp_path / "victims")
            (logs / "in").unlink()

    swapper = threading.Thread(target=swap)
    swapper.start()
    removed, deadline = 0, time.monotonic() + 2
    try:
        while time.monotonic() < deadline:
            removed += len(carry_out(plan(options_for(logs), NOW), open_files=set).removed)
    finally:
        stop.set()
        swapper.join()
    assert removed and all(victim.exists() for victim in victims)


# Whatever is there, only old logs of the directory go


_NAMES = st.sampled_from(("app.log", "app.log.1", "app.log.gz", "notes.txt", "app.db", "c" * 64 + "-json.log"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.tuples(st.sampled_from(("", "a", "a/b")), _NAMES), st.floats(0, 20), max_size=8), st.integers(1, 4))
def test_only_old_logs_go_and_all_of_them_if_runs_are_repeated(
    tmp_path_factory: pytest.TempPathFactory, files: dict[tuple[str, str], float], most: int
) -> None:
    directory = tmp_path_factory.mktemp("tree") / "logs"
    directory.mkdir()
    for (where, name), days in files.items():
        put(directory / where / name, days)
    expected = {directory / where / name for (where, name), days in files.items() if name.startswith("app.log") and days > 7}
    gone: set[str] = set()
    for dummy in range(len(files) + 1):
        report = carry_out(plan(options_for(directory, max_files=most), NOW), open_files=set)
        assert len(report.removed) <= most and not report.kept
        gone |= {candidate.path for candidate in report.removed}
    assert gone == {str(path) for path in expected}
    assert {path for path in directory.rglob("*") if path.is_file()} == {directory / where / name for where, name in files} - expected
