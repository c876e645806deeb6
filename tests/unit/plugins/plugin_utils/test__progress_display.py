# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import threading
import typing as t

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.stackops.runbook.plugins.plugin_utils import _progress_display as progress_display
from ansible_collections.stackops.runbook.plugins.plugin_utils._progress_display import (
    ProgressLines,
    WatchedRun,
    closing_lines,
    look_command,
    module_result,
    progress_line,
    read_look,
)

DUMP = {
    "project": "shop", "step": "dump", "step_number": 3, "steps": 8, "done_bytes": 230 * 2**20, "total_bytes": 510 * 2**20,
    "bytes_per_second": 52 * 2**20, "percent": 45.1, "pid": os.getpid(),
}  # fmt: skip


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (DUMP, "web1: shop: dump 45 % · 230 MiB of about 510 MiB · 52 MiB/s"),
        ({"project": "shop", "step": "verify", "step_number": 5, "steps": 8}, "web1: shop: verify (step 5 of 8)"),
        ({"step": "dump", "done_bytes": 1024}, "web1: dump · 1 KiB"),
        ({}, "web1: working"),
        ({"project": "a\x1b[31mb", "step": "x\ny", "percent": "much", "done_bytes": -1, "total_bytes": None}, "web1: ab: x y"),
        ({"step": "dump", "percent": 250}, "web1: dump 100 %"),
    ],
    ids=["whole", "no bytes", "no total", "nothing", "hostile", "too much"],
)
def test_a_line_says_what_is_known(progress: dict[str, t.Any], line: str) -> None:
    assert progress_line("web1", progress) == line


def test_there_is_one_line_in_five_seconds_and_only_when_something_has_changed() -> None:
    now, said = [0.0], []
    lines = ProgressLines("web1", lambda line: said.append((now[0], line)), lambda: now[0])
    for second in range(60):
        now[0] = float(second)
        lines.see({**DUMP, "percent": min(second, 30)})
    moments = [moment for moment, dummy in said]
    assert moments[0] == 0
    assert all(later - earlier >= 5 for earlier, later in zip(moments, moments[1:]))
    assert moments[-1] <= 35
    assert len({line for dummy, line in said}) == len(said)


class TestLook:
    """The one command that asks the host, run by a real shell."""

    def look(self, results: str, progress: str, pid: t.Optional[int] = None) -> t.Any:
        return read_look(subprocess.run(["sh", "-c", look_command(results, progress, pid)], capture_output=True, text=True, check=False).stdout)

    def test_it_runs(self, tmp_path) -> None:
        (tmp_path / "job").write_text('{"started": true, "finished": false, "ansible_job_id": "j1.2"}')
        (tmp_path / "a b").write_text(json.dumps(DUMP))
        look = self.look(str(tmp_path / "job"), str(tmp_path / "a b"), os.getpid())
        assert (look.running, look.progress, look.alive) == (True, DUMP, True)
        assert look.boot_id

    def test_it_has_ended(self, tmp_path) -> None:
        (tmp_path / "job").write_text('{"changed": true}')
        look = self.look(str(tmp_path / "job"), str(tmp_path / "none"))
        assert (look.running, look.progress) == (False, {})

    def test_its_process_is_gone(self, tmp_path) -> None:
        process = subprocess.Popen(["true"])
        process.wait()
        assert not self.look(str(tmp_path / "none"), str(tmp_path / "none"), process.pid).alive
        assert self.look(str(tmp_path / "none"), str(tmp_path / "none"), process.pid).running is None

    def test_half_an_answer_is_none(self) -> None:
        assert read_look("sudo: a password is required") is None


class Host:
    """What the action plugin asks of its host: a script of answers, or errors, one for each look."""

    def __init__(self, directory: t.Any, script: list[t.Any]) -> None:
        self.directory = directory
        self.script = script
        self.commands: list[str] = []
        self.resets = 0

    def answer(self, command: str) -> dict[str, t.Any]:
        self.commands.append(command)
        if not command.startswith("head"):
            return {"stdout": subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False).stdout}
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, BaseException):
            raise step
        if callable(step):
            step()
            return {"stdout": ""}
        return {"stdout": "\n--stackops--\n".join([*step, ""])}


RUNNING = '{"started": true, "finished": false}'
ENDED = '{"changed": true}'
HERE = ["boot", "alive"]


class Display:
    """What the operator sees."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def display(self, line: str) -> None:
        self.lines.append(line)


class Action:
    """As much of an action plugin as a watched run needs."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._display = Display()
        self._connection = self
        self._shell = self
        self._task = type("Task", (), {"async_val": 0, "args": {}, "check_mode": False, "no_log": False, "environment": []})()
        self.modules: list[dict[str, t.Any]] = []

    def reset(self) -> None:
        self.host.resets += 1

    def join_path(self, *parts: str) -> str:
        return "/".join(parts)

    def get_shell_option(self, dummy_name: str, default: str) -> str:
        return default

    def _remote_expand_user(self, dummy_path: str) -> str:
        return str(self.host.directory)

    def _low_level_execute_command(self, command: str) -> dict[str, t.Any]:
        return self.host.answer(command)

    def _execute_module(self, **arguments: t.Any) -> dict[str, t.Any]:
        self.modules.append({**arguments, "async_val": self._task.async_val})
        return {"ansible_job_id": "j1.2", "results_file": f"{self.host.directory}/j1.2", "started": True, "finished": False}


@pytest.fixture
def watch(tmp_path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., tuple[t.Any, Action]]:
    """Return how to run against a script of looks; time passes as fast as it is slept away."""
    now = [1000.0]
    monkeypatch.setattr(progress_display.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress_display.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))

    def run(*script: t.Any) -> tuple[t.Any, Action]:
        action = Action(Host(tmp_path, list(script)))
        watched = WatchedRun(action, "stackops.runbook.pg_backup", {"inventory_hostname": "web1"})
        monkeypatch.setattr(watched, "_status", lambda dummy_job, mode: {"changed": True, "summary": "done", "finished": True} if mode == "status" else {})
        return watched.run({"keep_days": 7}, 100), action

    return run


Watch = t.Callable[..., tuple[t.Any, Action]]


def test_a_run_is_watched_to_its_end(watch: Watch) -> None:
    result, action = watch([RUNNING, json.dumps(DUMP), *HERE], [RUNNING, json.dumps({**DUMP, "percent": 46}), *HERE], [ENDED, "", *HERE])
    assert result == {"changed": True, "summary": "done"}
    assert action._display.lines == ["web1: shop: dump 45 % · 230 MiB of about 510 MiB · 52 MiB/s"]
    (module,) = action.modules
    assert module["wrap_async"] is True
    assert module["async_val"] > 100
    assert module["module_args"]["progress_file"].startswith(str(action.host.directory))
    assert action._task.async_val == 0, "or the executor would wait for it once more"
    assert action.host.commands[-1] == f"rm -f {shlex.quote(module['module_args']['progress_file'])}"


def test_a_connection_that_comes_back_costs_nothing(watch: Watch) -> None:
    result, action = watch(AnsibleConnectionFailure("gone"), {}.clear, AnsibleConnectionFailure("gone"), [ENDED, "", *HERE])
    assert result["changed"] is True
    assert action.host.resets == 3


def test_a_connection_that_stays_away_says_where_the_result_will_be(watch: Watch, tmp_path) -> None:
    with pytest.raises(AnsibleConnectionFailure, match=f"goes on on the host, its result will be in {tmp_path}"):
        watch(AnsibleConnectionFailure("gone"))


def test_a_restart_of_the_host_is_told(watch: Watch) -> None:
    result, dummy = watch([RUNNING, json.dumps(DUMP), *HERE], [RUNNING, json.dumps(DUMP), "another boot", ""])
    assert result["failed"] is True
    assert "The host was restarted" in result["msg"]


def test_a_run_that_was_killed_with_its_wrapper_is_told(watch: Watch) -> None:
    result, dummy = watch([RUNNING, json.dumps(DUMP), *HERE], [RUNNING, json.dumps(DUMP), "boot", ""])
    assert "has ended on the host without a result" in result["msg"]


def test_a_run_without_an_end_is_left_at_its_limit(watch: Watch) -> None:
    result, dummy = watch([RUNNING, json.dumps(DUMP), *HERE])
    assert "its time is over" in result["msg"]


def test_a_module_that_cannot_be_started_is_as_always(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Action, "_execute_module", lambda dummy_self, **dummy: {"failed": True, "msg": "no Python"})
    result, action = watch([ENDED, "", *HERE])
    assert result == {"failed": True, "msg": "no Python"}
    assert action.host.commands == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_ends_the_play_ends_the_run_on_the_host(watch: Watch, number: signal.Signals) -> None:
    assert threading.current_thread() is threading.main_thread()
    reached: list[int] = []
    process = subprocess.Popen(["sleep", "60"])
    previous = signal.signal(number, lambda caught, dummy_frame: reached.append(caught))
    try:
        with contextlib.suppress(progress_display.Interrupted):
            watch([RUNNING, json.dumps({**DUMP, "pid": process.pid}), *HERE], lambda: signal.raise_signal(number))
        assert reached == [number], "what was there before is told as well"
        assert process.wait(timeout=10) == -signal.SIGTERM
    finally:
        signal.signal(number, previous)
        process.kill()


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"changed": True, "finished": True, "started": True, "ansible_job_id": "j", "results_file": "f", "stdout": "", "stdout_lines": []}, {"changed": True}),
        ({"failed": True, "msg": "one\ntwo\nthree", "stacks": []}, {"failed": True, "msg": "one\ntwo\nthree", "stacks": []}),
    ],
)
def test_a_result_is_as_the_module_gave_it(result: dict[str, t.Any], expected: dict[str, t.Any]) -> None:
    assert module_result(result, 100) == expected


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"failed": True, "msg": "Timeout exceeded", "child_pid": 7}, "No end within 100 s"),
        ({"failed": True, "msg": "Traceback", "cmd": "x", "data": "", "stderr": ""}, "memory ran out"),
        ({"failed": True, "msg": "Traceback", "cmd": "x", "data": "", "stderr": "a\nNo space left on device\n"}, "No space left on device"),
    ],
)
def test_the_wrapper_s_words_are_put_into_ours(result: dict[str, t.Any], words: str) -> None:
    assert words in module_result(result, 100)["msg"]


def test_what_is_told_at_the_end() -> None:
    found = {"id": "20261123T160139Z-7f3a", "level": "decodable", "bytes": 2048, "suspect": True}
    result = {
        "summary": "2 sets",
        "stacks": [{"warnings": ["a log was cut"], "sets": [found], "plan": ["check"]}],
        "plan": ["check", "restore\x1b[2J beside"],
        "next_steps": ["look at the application", "To go back within 24 h: `ansible-playbook stackops.runbook.restore -e restore_rollback=true`"],
        "warnings": ["Ansible's own"],
    }
    assert closing_lines("web1", result, "-i 'my hosts.yml'") == [
        "web1: 2 sets",
        "web1:   check",
        "web1:   restore beside",
        "web1:   20261123T160139Z-7f3a decodable 2 KiB suspect",
        "web1: warning: a log was cut",
        "web1:   next: look at the application",
        "web1:   next: To go back within 24 h:",
        "web1:   $ ansible-playbook -i 'my hosts.yml' --limit web1 stackops.runbook.restore -e restore_rollback=true",
    ]
    assert closing_lines("web1", {"failed": True, "summary": "no"}) == []


def test_a_plan_is_told_in_words() -> None:
    databases = [{"service": "postgres", "name": "mydb", "size_bytes": 36 * 2**20}, {"service": "postgres", "name": "postgres"}]
    plan = {"databases": databases, "estimated_bytes": 17 * 2**20, "files": ["docker-compose.yml", ".env"], "volumes": [], "encryption": None}
    assert closing_lines("web1", {"stacks": [{"plan": plan}]}) == [
        "web1:   databases: postgres/mydb (36 MiB), postgres/postgres",
        "web1:   estimated: 17 MiB",
        "web1:   files: docker-compose.yml, .env",
    ]
