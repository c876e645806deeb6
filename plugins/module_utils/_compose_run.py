# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Run a command in a container of its own beside a service: ``run --rm``."""

from __future__ import annotations

import os
import secrets
import time
import typing as t

from ._compose_project import ComposeProject
from ._discovery import Selection, discover
from ._envelope import CheckError
from ._process import run_streaming
from ._remediation import Change, Facts, Verified, Work, run_remediation

#: So much of the end of either stream is kept.
KEPT_BYTES = 1024 * 1024


class Tail:
    """Reads a stream to its end and keeps the last bytes of it."""

    def __init__(self, limit_bytes: int = KEPT_BYTES) -> None:
        self._limit = limit_bytes
        self._kept = bytearray()
        self.total_bytes = 0

    def read(self, stream: t.IO[bytes]) -> None:
        """Read *stream* to its end."""
        while True:
            piece = stream.read(65536)
            if not piece:
                return
            self.total_bytes += len(piece)
            self._kept += piece
            if len(self._kept) > 2 * self._limit:
                del self._kept[: -self._limit]

    @property
    def text(self) -> str:
        """What is kept, from the beginning of a line on."""
        kept = bytes(self._kept[-self._limit :])
        if self.total_bytes > len(kept):
            kept = kept.partition(b"\n")[2]
        return kept.decode("utf-8", "replace")


def run_compose_run(params: t.Mapping[str, t.Any], check_mode: bool) -> Facts:
    """Return the result of the module ``compose_run``."""
    return run_remediation(lambda: _plan(ComposeProject.of(params), params), params, check_mode)


def _plan(project: ComposeProject, params: t.Mapping[str, t.Any]) -> Work:
    service, command = params["service"], list(params["command"])
    project.require([service])
    name = f"{project.name}-{service}-run-{secrets.token_hex(4)}"
    options = [
        *(["--user", params["user"]] if params["user"] else []),
        *(["--entrypoint", params["entrypoint"]] if params["entrypoint"] else []),
        *([] if params["with_dependencies"] else ["--no-deps"]),
    ]
    argv = project.argv("run", "--rm", "-T", "--name", name, *options, service, *command)
    ended: dict[str, t.Any] = {}

    def carry_out() -> Facts:
        out = Tail()
        directory = project.stack.working_dir
        try:
            done = run_streaming(
                argv,
                params["command_timeout_seconds"],
                stdout=out.read,
                env={"COMPOSE_ANSI": "never", "NO_COLOR": "1"},
                cwd=directory if directory and os.path.isdir(directory) else None,
                grace_seconds=5,
            )
        except CheckError as error:
            if error.code != "timeout":
                raise
            hint = "Give it more time in timeout_seconds, or see where it hangs."
            raise CheckError(f"{project.name}/{service}", f"it did not end within {params['command_timeout_seconds']:g} s", hint, "timeout") from error
        finally:
            # What ended the command from outside may have left its container.
            for container_id in _left(project, name):
                project.engine.remove(container_id)
        ended["exit_code"] = done.exit_code
        ended_at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        output = {"exit_code": done.exit_code, "ended_at": ended_at, "stdout": out.text, "stderr": done.error_text, "stdout_bytes": out.total_bytes}
        return {"exit_code": done.exit_code, "result": {"output": output}}

    def verify() -> Verified:
        if _left(project, name):
            return Verified(False, f"its container {name} is still there")
        return Verified(True, f"it ended with exit code {ended['exit_code']}, and its container is gone")

    return Work(
        Change(
            "run_command",
            f"{project.name}/{service}",
            f"run a command in a new container of {service}, which is removed afterwards",
            (argv,),
            {},
            {"exit_code": "told afterwards"},
            ("What the command itself changes, for example in the database, is not undone by this.",),
        ),
        carry_out,
        verify,
        project.redactor,
    )


def _left(project: ComposeProject, name: str) -> list[str]:
    try:
        stacks = discover(project.engine, Selection(project_name=project.name))
    except CheckError as error:
        if error.code == "project-unknown":
            return []
        raise
    return [container.id for stack in stacks for container in stack.siblings if container.name == name]
