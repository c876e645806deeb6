# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import sys
import time

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._process import run_command, run_streaming


def python(code):
    return [sys.executable, "-c", code]


def gone(pid):
    """Whether a process is gone, or dead and waiting for its parent."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_files_and_functions_as_streams(tmp_path):
    (tmp_path / "in").write_bytes(b"from a file")
    with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "wb") as target:
        assert run_streaming(["cat"], 10, stdin=source, stdout=target).exit_code == 0
    assert (tmp_path / "out").read_bytes() == b"from a file"
    read = []
    done = run_streaming(["tr", "a-z", "A-Z"], 10, stdin=lambda stream: stream.write(b"from a function"), stdout=lambda stream: read.append(stream.read()))
    assert (done.exit_code, read) == (0, [b"FROM A FUNCTION"])


def test_the_command_s_failure_is_the_cause_of_what_its_reader_raises():
    def refuse(stream):
        stream.read()
        raise ValueError("nothing came")

    done = run_streaming(python("import sys; sys.exit('no such key')"), 10, stdout=refuse)
    assert (done.exit_code, done.error_text.strip()) == (1, "no such key")
    with pytest.raises(ValueError, match="nothing came"):
        run_streaming(python("pass"), 10, stdout=refuse)


def test_a_command_that_stops_reading_gives_its_own_reason():
    def feed(stream):
        for dummy in range(100):
            stream.write(bytes(1024 * 1024))

    done = run_streaming(python("import sys; sys.stdin.buffer.read(10); sys.exit('disk full')"), 10, stdin=feed)
    assert (done.exit_code, done.error_text.strip()) == (1, "disk full")
    done = run_streaming(python("import os; os.kill(os.getpid(), 9)"), 10, stdin=feed)
    assert done.exit_code == -9
    with pytest.raises(BrokenPipeError):
        run_streaming(python("import sys; sys.stdin.buffer.read(10)"), 10, stdin=feed)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_reader_that_raises_ends_the_command(error, tmp_path):
    def refuse(stream):
        stream.read(1)
        raise error

    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); print(1, flush=True); time.sleep(60)"
    begin = time.monotonic()
    with pytest.raises(error):
        run_streaming(python(code), 50, stdout=refuse)
    assert time.monotonic() - begin < 10
    assert gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("direction", ["stdin", "stdout"])
def test_a_command_that_hangs_is_ended_while_its_stream_waits(direction):
    def feed(stream):
        while True:
            stream.write(bytes(65536))

    streams = {"stdin": feed} if direction == "stdin" else {"stdout": lambda stream: stream.read()}
    begin = time.monotonic()
    with pytest.raises(CheckError) as caught:
        run_streaming(["sleep", "60"], 0.5, **streams)
    assert caught.value.code == "timeout"
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("run", [run_command, run_streaming])
def test_who_has_grace_may_clean_up_and_who_ignores_it_is_killed(run, tmp_path):
    lock = tmp_path / "lock"
    lock.touch()
    tidy = f"import os, signal, sys, time; signal.signal(15, lambda *_: (os.unlink({str(lock)!r}), sys.exit(1))); time.sleep(60)"
    with pytest.raises(CheckError, match="no answer within 1 s"):
        run(python(tidy), 1, grace_seconds=10)
    assert not lock.exists()
    stubborn = f"import os, signal, time; signal.signal(15, signal.SIG_IGN); open({str(lock)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    with pytest.raises(CheckError, match="no answer within 1 s"):
        run(python(stubborn), 1, grace_seconds=0.3)
    until(lambda: gone(int(lock.read_text())))


def test_the_whole_group_is_killed(tmp_path):
    code = f"import subprocess, time; p = subprocess.Popen(['sleep', '60']); open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid)); time.sleep(60)"
    with pytest.raises(CheckError):
        run_streaming(python(code), 1)
    until(lambda: gone(int((tmp_path / "pid").read_text())))


def test_an_interrupt_ends_the_command(tmp_path, monkeypatch):
    import subprocess

    original = subprocess.Popen.communicate

    def interrupted(process, *arguments, **options):
        monkeypatch.setattr(subprocess.Popen, "communicate", original)
        (tmp_path / "pid").write_text(str(process.pid))
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_command(["sleep", "60"], 50)
    assert gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("run", [run_command, run_streaming])
def test_a_command_that_is_not_there_or_may_not_run(run, tmp_path):
    with pytest.raises(CheckError) as caught:
        run(["no-such-command-here"], 5)
    assert caught.value.code == "not-installed"
    with pytest.raises(CheckError) as caught:
        run([str(tmp_path)], 5)
    assert caught.value.code == "permission-denied"


def test_secrets_travel_in_the_environment():
    done = run_command(python("import os; print(os.environ['SECRET'], os.environ['LC_ALL'])"), 10, env={"SECRET": "canary"})
    assert done.text.split() == ["canary", "C.UTF-8"]
    assert "SECRET" not in os.environ
