# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Runs a module in the background of its host and tells the operator how far it is.

The module writes a small progress file, whole each time. Ansible's own wrapper for asynchronous tasks runs the module and
keeps its result, so that a connection that is lost costs nothing; what is asked every two seconds is one cheap command.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import secrets
import shlex
import signal
import time
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.playbook.task import Task

from ..module_utils._envelope import human_bytes
from ._command_line import with_options
from ._run_options import run_options
from ._text import harmless, split_commands
from ._time_limit import HostTimeout, time_limit

Result = dict[str, t.Any]

#: At most one line for each host in this time.
LINE_INTERVAL_SECONDS = 5.0
#: A short run need not wait for the regular distance of two looks, which is the last one.
POLL_SECONDS = (0.2, 0.3, 0.5, 1.0, 2.0)
POLL_LIMIT_SECONDS = 60.0
#: For so long a connection may be away. What runs on the host goes on meanwhile.
CONNECTION_PATIENCE_SECONDS = 300.0
#: The wrapper needs a moment to write down the result of a module that has ended.
DEAD_PATIENCE_SECONDS = 15.0
STOP_LIMIT_SECONDS = 10.0
#: The module ends by itself at its own limit; this much later the wrapper kills it.
WRAPPER_GRACE_SECONDS = 120

_MARK = "--stackops--"
# What the wrapper of asynchronous tasks adds to a result.
_WRAPPER_KEYS = ("started", "finished", "ansible_job_id", "results_file", "_ansible_suppress_tmpdir_delete", "_suppress_tmpdir_delete")


# -- what the operator sees ---------------------------------------------------------------------------------------------


def progress_line(host: str, progress: t.Mapping[str, t.Any]) -> str:
    """Return the line that says how far a run is; *progress* comes from the host and is only looked at."""

    def number(name: str) -> float:
        value = progress.get(name)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e18 else 0.0

    words = [harmless(str(progress.get("step") or "working"), 60)]
    if number("percent"):
        words.append(f"{min(number('percent'), 100):.0f} %")
    elif number("steps"):
        words.append(f"(step {number('step_number'):.0f} of {number('steps'):.0f})")
    parts = [" ".join(words)]
    if number("done_bytes"):
        total = f" of about {human_bytes(number('total_bytes'))}" if number("total_bytes") else ""
        parts.append(f"{human_bytes(number('done_bytes'))}{total}")
    if number("bytes_per_second"):
        parts.append(f"{human_bytes(number('bytes_per_second'))}/s")
    project = harmless(str(progress.get("project") or ""), 80)
    return ": ".join(part for part in (host, project, " · ".join(parts)) if part)


class ProgressLines:
    """Says how far a run is, when that has changed, and not too often."""

    def __init__(self, host: str, say: t.Callable[[str], None], clock: t.Callable[[], float] = time.monotonic) -> None:
        self._host = host
        self._say = say
        self._clock = clock
        self._last_line = ""
        self._last_at: t.Optional[float] = None

    def see(self, progress: t.Mapping[str, t.Any]) -> None:
        """Take notice of what the progress file says."""
        line = progress_line(self._host, progress)
        now = self._clock()
        if line == self._last_line or (self._last_at is not None and now - self._last_at < LINE_INTERVAL_SECONDS):
            return
        self._say(line)
        self._last_line, self._last_at = line, now


# -- one look at the host -----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Look:
    """What one look at the host shows. *running* is ``None`` where the file of the result is not there."""

    running: t.Optional[bool]
    progress: dict[str, t.Any]
    boot_id: str
    alive: bool


def look_command(results_file: str, progress_file: str, pid: t.Optional[int]) -> str:
    """Return the command of one look: the head of the result, the progress file, the boot's identifier, and whether *pid* lives."""
    results, progress = shlex.quote(results_file), shlex.quote(progress_file)
    alive = f"kill -0 {pid:d} 2>/dev/null && echo alive" if pid else "echo alive"
    parts = [f"head -c 80 {results} 2>/dev/null", f"cat {progress} 2>/dev/null", "cat /proc/sys/kernel/random/boot_id 2>/dev/null", alive]
    return f"; echo; echo {_MARK}; ".join(parts) + f"; echo {_MARK}"


def read_look(output: str) -> t.Optional[Look]:
    """Return what the output of :func:`look_command` says; ``None`` where it is not all there."""
    parts = [part.strip() for part in output.split(_MARK)]
    if len(parts) != 5:
        return None
    head, progress_text, boot_id, alive = parts[:4]
    try:
        progress = json.loads(progress_text)
    except ValueError:
        progress = {}
    running = head.startswith('{"started":') if head else None
    return Look(running, progress if isinstance(progress, dict) else {}, boot_id, alive == "alive")


# -- the run --------------------------------------------------------------------------------------------------------------


class Interrupted(BaseException):
    """The operator has ended the play."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


class WatchedRun:
    """One run of a module in the background of its host. *action* is the action plugin that it belongs to."""

    def __init__(self, action: t.Any, module_name: str, task_vars: Result) -> None:
        self._action = action
        self._module_name = module_name
        self._task_vars = task_vars
        self._lines = ProgressLines(str(task_vars.get("inventory_hostname", "")), action._display.display)
        self._results_file = ""
        self._progress_file = ""
        self._pid: t.Optional[int] = None
        self._boot_id = ""

    def run(self, arguments: t.Mapping[str, t.Any], limit_seconds: int) -> Result:
        """Run the module with *arguments* to its end and return its result."""
        shell = self._action._connection._shell
        directory = self._action._remote_expand_user(self._action.get_shell_option("async_dir", default="~/.ansible_async"))
        self._progress_file = shell.join_path(directory, f"stackops-progress-{secrets.token_hex(8)}.json")
        started = self._start({**arguments, "progress_file": self._progress_file}, limit_seconds + WRAPPER_GRACE_SECONDS)
        if started.get("failed") or not started.get("ansible_job_id"):
            return started
        self._results_file = str(started["results_file"])
        with self._stop_when_interrupted():
            problem = self._watch(time.monotonic() + limit_seconds + 2 * WRAPPER_GRACE_SECONDS)
            result = {"failed": True, "changed": False, "msg": problem} if problem else self._result(str(started["ansible_job_id"]), limit_seconds)
            self._forget()
        return result

    def _start(self, arguments: Result, limit_seconds: int) -> Result:
        task = self._action._task
        asynchronous = task.async_val
        task.async_val = limit_seconds
        try:
            result: Result = self._action._execute_module(module_name=self._module_name, module_args=arguments, task_vars=self._task_vars, wrap_async=True)
        finally:
            # or the executor would wait for it once more
            task.async_val = asynchronous
        return result

    def _watch(self, deadline: float) -> str:
        """Look until the result is there and return nothing, or what has become of the run instead."""
        delays = iter(POLL_SECONDS)
        missing_since: t.Optional[float] = None
        while True:
            time.sleep(next(delays, POLL_SECONDS[-1]))
            look = self._look()
            self._pid = self._pid or _process_id(look.progress)
            if look.progress:
                self._lines.see(look.progress)
            if look.running is False:
                return ""
            now = time.monotonic()
            self._boot_id = self._boot_id or look.boot_id
            if look.boot_id != self._boot_id:
                return "The host was restarted during the run. Run this again: it clears up what was left over."
            if look.running and look.alive:
                missing_since = None
            else:
                missing_since = missing_since or now
                if now - missing_since > DEAD_PATIENCE_SECONDS:
                    return f"The run has ended on the host without a result in {self._results_file}. Run this again: it clears up what was left over."
            if now > deadline:
                return f"There is no result in {self._results_file} although its time is over. See on the host whether it still runs."

    def _look(self) -> Look:
        """Look at the host; a connection that is away is waited for."""
        command = look_command(self._results_file, self._progress_file, self._pid)
        lost_since: t.Optional[float] = None
        while True:
            try:
                with time_limit(POLL_LIMIT_SECONDS):
                    answer = self._action._low_level_execute_command(command)
                look = read_look(answer.get("stdout") or "")
                if look is not None:
                    return look
                reason = (answer.get("stderr") or answer.get("stdout") or "no answer").strip()
            except (AnsibleConnectionFailure, HostTimeout) as error:
                reason = str(error)
            now = time.monotonic()
            lost_since = lost_since or now
            if now - lost_since > CONNECTION_PATIENCE_SECONDS:
                away = f"The connection is gone for {CONNECTION_PATIENCE_SECONDS:.0f} s: {reason}"
                raise AnsibleConnectionFailure(f"{away}. The run goes on on the host, its result will be in {self._results_file}")
            with contextlib.suppress(Exception):
                self._action._connection.reset()
            time.sleep(POLL_SECONDS[-1])

    def _result(self, job_id: str, limit_seconds: int) -> Result:
        result = self._status(job_id, "status")
        self._status(job_id, "cleanup")
        return module_result(result, limit_seconds)

    def _status(self, job_id: str, mode: str) -> Result:
        """Have Ansible's own action read, or remove, the result of the job."""
        action = self._action
        handler = action._shared_loader_obj.action_loader.get(
            "ansible.legacy.async_status",
            task=Task.load({"action": "async_status", "args": {"jid": job_id, "mode": mode}, "environment": action._task.environment}),
            connection=action._connection,
            play_context=action._play_context,
            loader=action._loader,
            templar=action._templar,
            shared_loader_obj=action._shared_loader_obj,
        )
        result: Result = handler.run(task_vars=self._task_vars)
        return result

    def _forget(self) -> None:
        with contextlib.suppress(AnsibleConnectionFailure, HostTimeout), time_limit(POLL_LIMIT_SECONDS):
            self._action._low_level_execute_command(f"rm -f {shlex.quote(self._progress_file)}")

    @contextlib.contextmanager
    def _stop_when_interrupted(self) -> t.Iterator[None]:
        """Who ends the play ends the run on the host as well, as with any other task."""

        def on_signal(number: int, dummy_frame: object) -> None:
            raise Interrupted(number)

        numbers = (signal.SIGINT, signal.SIGTERM)
        previous = {number: signal.signal(number, on_signal) for number in numbers}
        try:
            yield
        except Interrupted as interruption:
            for number in numbers:
                signal.signal(number, signal.SIG_IGN)
            self._stop()
            for number, handler in previous.items():
                signal.signal(number, handler)
            signal.raise_signal(interruption.signal_number)
            raise
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _stop(self) -> None:
        with contextlib.suppress(Exception), time_limit(STOP_LIMIT_SECONDS):
            if not self._pid:
                look = read_look(self._action._low_level_execute_command(look_command(self._results_file, self._progress_file, None)).get("stdout") or "")
                self._pid = _process_id(look.progress) if look else None
            kill = f"kill -TERM {self._pid:d}; " if self._pid else ""
            self._action._low_level_execute_command(f"{kill}rm -f {shlex.quote(self._progress_file)}")


def _process_id(progress: t.Mapping[str, t.Any]) -> t.Optional[int]:
    pid = progress.get("pid")
    return pid if isinstance(pid, int) and not isinstance(pid, bool) and pid > 1 else None


def module_result(result: Result, limit_seconds: int) -> Result:
    """Return a result as the module would have given it in the foreground; what the wrapper says of a failure is put into words."""
    cleaned = {key: value for key, value in result.items() if key not in _WRAPPER_KEYS}
    for stream in ("stdout", "stderr"):
        if not cleaned.get(stream):
            cleaned.pop(stream, None)
            cleaned.pop(f"{stream}_lines", None)
    if not cleaned.get("failed"):
        return cleaned
    if "child_pid" in cleaned:
        return {"failed": True, "changed": True, "msg": f"No end within {limit_seconds} s. The run was killed on the host."}
    if "cmd" in cleaned and ("data" in cleaned or "outdata" in cleaned):
        # The wrapper's own traceback says only that there is no JSON; the module's last words say more.
        words = [line.strip() for line in str(cleaned.get("stderr") or "").splitlines() if line.strip()]
        last = f" Its last words: {harmless(words[-1])}" if words else " It was killed, for example because memory ran out: see dmesg on the host."
        return {"failed": True, "changed": True, "msg": f"The run has ended on the host without a result.{last}", "module_stderr": cleaned.get("stderr", "")}
    return cleaned


# -- what is said at the end ----------------------------------------------------------------------------------------------


def closing_lines(host: str, result: t.Mapping[str, t.Any], options: str = "") -> list[str]:
    """Return what to tell the operator of *result*: the summary, the plan of check mode, and the sets that were asked for.

    Commands of Ansible among what to do next get *options*, with which this run reached *host*.
    """
    lines = [f"{host}: {harmless(str(result['summary']))}"] if result.get("summary") and not result.get("failed") else []
    for entry in [result, *_mappings(result.get("stacks"))]:
        lines += [f"{host}:   {harmless(step)}" for step in _plan(entry.get("plan"))]
        lines += [f"{host}:   {_set_line(found)}" for found in _mappings(entry.get("sets"))]
        lines += [f"{host}: warning: {harmless(str(warning))}" for warning in _list(entry.get("warnings")) if entry is not result]
    there = " ".join(part for part in (options, f"--limit {shlex.quote(host)}") if part)
    lines += [f"{host}:   {line}" for step in _list(result.get("next_steps")) for line in _next_lines(with_options(harmless(str(step), 2000), there))]
    # What is said of the only stack is said of the whole as well: once is enough.
    return list(dict.fromkeys(lines))


def _next_lines(step: str) -> list[str]:
    """Return a step as prose, and each command on a line of its own, so that it can be copied."""
    lines: list[str] = []
    for kind, part in split_commands(step):
        lines.append(f"$ {part.strip()}" if kind == "command" else part.strip() if lines else f"next: {part.strip()}")
    return lines


def _list(value: t.Any) -> list[t.Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _mappings(value: t.Any) -> list[t.Mapping[str, t.Any]]:
    return [entry for entry in _list(value) if isinstance(entry, dict)]


def _plan(plan: t.Any) -> list[str]:
    if isinstance(plan, dict):
        return [f"{name.removesuffix('_bytes').replace('_', ' ')}: {_plain(name, value)}" for name, value in plan.items() if value not in (None, "", [], {})]
    return [_plain("", step) for step in _list(plan)]


def _plain(name: str, value: t.Any) -> str:
    """Return a value of a plan as people read it; where there are several names, as a path."""
    if isinstance(value, dict):
        path = "/".join(str(part) for part in value.values() if isinstance(part, str))
        numbers = [_plain(key, part) for key, part in value.items() if isinstance(part, (int, float))]
        return f"{path} ({', '.join(numbers)})" if numbers else path
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(name, entry) for entry in value)
    if name.endswith("_bytes") and isinstance(value, (int, float)):
        return human_bytes(value)
    return str(value)


def _set_line(found: t.Mapping[str, t.Any]) -> str:
    words = [str(found.get("id") or found.get("set_id") or "?"), str(found.get("created_at") or ""), str(found.get("level") or "")]
    if isinstance(found.get("bytes"), int):
        words.append(human_bytes(found["bytes"]))
    words += [name for name in ("suspect", "keep") if found.get(name)]
    words += [str(found["problem"])] if found.get("problem") else []
    return harmless(" ".join(word for word in words if word))


def run_with_progress(action: t.Any, module_name: str, task_vars: Result, limit_seconds: int) -> Result:
    """Run *module_name* with the arguments of the task of *action*, in check mode in the foreground, and tell how it goes."""
    arguments = dict(action._task.args)
    if action._task.check_mode:
        result: Result = action._execute_module(module_name=module_name, module_args=arguments, task_vars=task_vars)
    else:
        result = WatchedRun(action, module_name, task_vars).run(arguments, limit_seconds)
    if not action._task.no_log:
        for line in closing_lines(str(task_vars.get("inventory_hostname", "")), result, run_options(task_vars)):
            action._display.display(line)
    return result
