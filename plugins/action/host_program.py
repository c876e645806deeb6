# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Build the host program and have it on the host, or have it gone."""

from __future__ import annotations

import os
import tempfile
import typing as t

from ansible import constants as C
from ansible.plugins.action import ActionBase

from ..plugin_utils._collection import collection_version
from ..plugin_utils._zipapp import CODE_DIRECTORY, DEFAULT_INTERPRETER, build, read_sources

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "path": {"type": "str", "default": "/usr/local/sbin/stackops"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "interpreter": {"type": "str"},
}


class ActionModule(ActionBase):
    """What is on the host already is compared by its checksum; copying is Ansible's own."""

    TRANSFERS_FILES = True
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[dict[str, t.Any]] = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        dummy, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        if arguments["state"] == "absent":
            return self._files([{"path": path, "state": "absent"} for path in (arguments["path"], CODE_DIRECTORY)], variables)
        version = collection_version()
        program = build(read_sources(), version, arguments["interpreter"] or self._interpreter(variables))
        owned = {"state": "directory", "owner": "root", "group": "root", "mode": "0755"}
        place = self._files([{"path": path, **owned} for path in (os.path.dirname(CODE_DIRECTORY), CODE_DIRECTORY)], variables)
        if place.get("failed"):
            return place
        result = self._install(program, arguments["path"], variables)
        return {**result, "changed": bool(result.get("changed") or place["changed"]), "path": arguments["path"], "version": version}

    def _files(self, wanted: list[dict[str, t.Any]], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        """Have paths in the state that is *wanted*; the first that cannot be is the result."""
        changed = False
        for file_arguments in wanted:
            result: dict[str, t.Any] = self._execute_module(module_name="ansible.legacy.file", module_args=file_arguments, task_vars=variables)
            if result.get("failed") or result.get("unreachable"):
                return result
            changed = changed or bool(result.get("changed"))
        return {"changed": changed}

    def _interpreter(self, variables: dict[str, t.Any]) -> str:
        """Return the Python that was chosen for this host: it is the one with the libraries."""
        chosen = str(self._templar.template(variables.get("ansible_python_interpreter") or ""))
        return chosen if chosen.startswith("/") else DEFAULT_INTERPRETER

    def _install(self, program: bytes, path: str, variables: dict[str, t.Any]) -> dict[str, t.Any]:
        descriptor, source = tempfile.mkstemp(dir=C.DEFAULT_LOCAL_TMP)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(program)
            task = self._task.copy()
            task.args = {"src": source, "dest": path, "mode": "0755", "owner": "root", "group": "root"}
            # A program is no text to show the differences of.
            task.diff = False
            copying = self._shared_loader_obj.action_loader.get(
                "ansible.legacy.copy",
                task=task,
                connection=self._connection,
                play_context=self._play_context,
                loader=self._loader,
                templar=self._templar,
                shared_loader_obj=self._shared_loader_obj,
            )
            result: dict[str, t.Any] = copying.run(task_vars=variables)
        finally:
            os.unlink(source)
        return {key: value for key, value in result.items() if key in ("changed", "failed", "msg", "checksum", "exception", "unreachable", "skipped")}
