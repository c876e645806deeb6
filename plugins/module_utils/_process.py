# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Commands with a time limit, and work side by side with a shared deadline."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import threading
import time
import typing as t

from ._envelope import CheckError


@dataclasses.dataclass(frozen=True)
class Completed:
    """What a command gave back."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text; bytes that are not UTF-8 are replaced."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def error_text(self) -> str:
        """Standard error as text."""
        return self.stderr.decode("utf-8", "replace")


def run_command(
    argv: t.Sequence[str],
    timeout_seconds: float,
    stdin: t.Optional[bytes] = None,
    env: t.Optional[t.Mapping[str, str]] = None,
    cwd: t.Optional[str] = None,
    grace_seconds: float = 0.0,
) -> Completed:
    """Run *argv* (never a shell) and return what it gave back, whatever its exit code.

    *env* is added to the present environment, so that secrets need no argument list. When *timeout_seconds* are
    over, the command's whole process group is killed; where it has *grace_seconds*, it is asked to end before that, so
    that it can remove its locks.

    :raises CheckError: the command is not there (``not-installed``), may not be run (``permission-denied``) or did
        not end in time (``timeout``).
    """
    process = _start(argv, subprocess.PIPE if stdin is not None else subprocess.DEVNULL, subprocess.PIPE, subprocess.PIPE, env, cwd)
    try:
        stdout, stderr = process.communicate(stdin, timeout=timeout_seconds)
    except BaseException as error:
        _end_group(process, grace_seconds)
        try:
            process.communicate(timeout=1)
        except subprocess.TimeoutExpired:
            # A grandchild in a session of its own still holds the pipe; nothing of it is ours to wait for.
            pass
        if isinstance(error, subprocess.TimeoutExpired):
            raise _timed_out(argv, timeout_seconds) from None
        raise
    return Completed(tuple(argv), process.returncode, stdout, stderr)


def run_streaming(
    argv: t.Sequence[str],
    timeout_seconds: float,
    *,
    stdin: t.Union[t.IO[bytes], t.Callable[[t.IO[bytes]], object], None] = None,
    stdout: t.Union[t.IO[bytes], t.Callable[[t.IO[bytes]], object], None] = None,
    env: t.Optional[t.Mapping[str, str]] = None,
    cwd: t.Optional[str] = None,
    grace_seconds: float = 0.0,
) -> Completed:
    """Run *argv* with data that does not fit into memory; else as :func:`run_command`.

    *stdin* and *stdout* are open files, or functions that write to or read from the stream they are called with. What
    such a function raises ends the command and is raised here, unless the command had failed by itself: then its exit
    code and words, which are the cause, are returned. Either way the caller must look at the exit code.
    """
    import tempfile  # here, because most commands need none of this  # pylint: disable=import-outside-toplevel

    with tempfile.TemporaryFile() as errors:
        pipe_in, pipe_out = (subprocess.PIPE if callable(stream) else stream or subprocess.DEVNULL for stream in (stdin, stdout))
        process = _start(argv, pipe_in, pipe_out, errors, env, cwd)
        ended_by: list[str] = []

        def end(reason: str) -> None:
            ended_by.append(reason)
            _end_group(process, grace_seconds)

        watchdog = threading.Timer(timeout_seconds, end, ["timeout"])
        watchdog.daemon = True
        watchdog.start()
        failure: t.Optional[Exception] = None
        try:
            if callable(stdin) and process.stdin is not None:
                stdin(process.stdin)
                process.stdin.close()
            if callable(stdout) and process.stdout is not None:
                stdout(process.stdout)
                process.stdout.close()
            process.wait()
        except Exception as error:  # pylint: disable=broad-except  # raised again below
            failure = error
            try:
                process.wait(1)
            except subprocess.TimeoutExpired:
                end("failure")
        except BaseException:
            end("interrupt")
            raise
        finally:
            watchdog.cancel()
            for pipe in (process.stdin, process.stdout):
                try:
                    if pipe is not None:
                        pipe.close()
                except OSError:
                    pass  # what it still held is not wanted any more
            process.wait()
        if "timeout" in ended_by:
            raise _timed_out(argv, timeout_seconds) from None
        if failure is not None and (ended_by or process.returncode == 0):
            raise failure
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - 65536))
        return Completed(tuple(argv), process.returncode, b"", errors.read())


def _start(
    argv: t.Sequence[str], stdin: t.Any, stdout: t.Any, stderr: t.Any, env: t.Optional[t.Mapping[str, str]], cwd: t.Optional[str]
) -> subprocess.Popen[bytes]:
    shown = " ".join(argv)
    try:
        return subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise CheckError(shown, f"{argv[0]}: command not found", f"Install {argv[0]} on this host.", "not-installed") from None
    except OSError as error:
        raise CheckError(shown, f"{argv[0]}: {error.strerror}", "", "permission-denied") from error


def _timed_out(argv: t.Sequence[str], timeout_seconds: float) -> CheckError:
    shown = " ".join(argv)
    return CheckError(shown, f"no answer within {timeout_seconds:g} s", f"Run it by hand and see where it hangs: {shown}", "timeout")


def _end_group(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    try:
        if grace_seconds > 0:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                pass
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


T = t.TypeVar("T")


@dataclasses.dataclass
class Outcome(t.Generic[T]):
    """How one piece of work ended: with a *value* or an *error*, after *duration_ms*."""

    value: t.Optional[T] = None
    error: t.Optional[BaseException] = None
    duration_ms: float = 0.0
    done: bool = False


def run_side_by_side(work: t.Mapping[str, t.Callable[[], T]], timeout_seconds: float) -> dict[str, Outcome[T]]:
    """Run every function of *work* in a thread of its own and return how each ended.

    All share one deadline: what has not ended after *timeout_seconds* comes back with ``done`` false and a
    :class:`CheckError` of code ``timeout``. Its thread is a daemon and does not keep the program alive.
    """
    outcomes: dict[str, Outcome[T]] = {name: Outcome() for name in work}

    def call(name: str, function: t.Callable[[], T]) -> None:
        # Written to a fresh object and handed over at the end: a thread that comes late must not change the answer.
        outcome: Outcome[T] = Outcome()
        begin = time.monotonic()
        try:
            outcome.value = function()
        except Exception as error:  # pylint: disable=broad-except  # one that fails never stops the others
            outcome.error = error
        outcome.duration_ms = (time.monotonic() - begin) * 1000
        outcome.done = True
        outcomes[name] = outcome

    threads = {name: threading.Thread(target=call, args=(name, function), name=name, daemon=True) for name, function in work.items()}
    deadline = time.monotonic() + timeout_seconds
    for thread in threads.values():
        thread.start()
    for thread in threads.values():
        thread.join(max(0.0, deadline - time.monotonic()))
    finished = dict(outcomes)
    for name, outcome in finished.items():
        if not outcome.done:
            outcome.duration_ms = timeout_seconds * 1000
            outcome.error = CheckError(name, f"not finished within {timeout_seconds:g} s", "", "timeout")
    return finished
