# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import types
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils._odd_hosts import connection_trouble, hang_trouble, module_trouble, work_in_memory

# What ssh and Ansible said about real hosts.
SSH = "Task failed: Failed to connect to the host via ssh: "


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        (SSH + "ssh: connect to host 10.0.0.7 port 2200: Connection refused", "refused", "connect to host 10.0.0.7 port 2200: Connection refused"),
        (SSH + "Connection timed out during banner exchange\r\nConnection to web9 port 22 timed out", "silent", "Connection timed out during banner exchange"),
        (SSH + "kex_exchange_identification: Connection closed by remote host", "silent", "kex_exchange_identification: Connection closed by remote host"),
        (SSH + "ssh: connect to host 10.9.9.9 port 22: Connection timed out", "no-route", "connect to host 10.9.9.9 port 22: Connection timed out"),
        (SSH + "ssh: connect to host 10.9.9.9 port 22: No route to host", "no-route", "connect to host 10.9.9.9 port 22: No route to host"),
        (
            SSH + "ssh: Could not resolve hostname web9: Name or service not known",
            "unresolved",
            "Could not resolve hostname web9: Name or service not known",
        ),
        (SSH + "nobody@10.0.0.7: Permission denied (publickey).", "login-refused", "nobody@10.0.0.7: Permission denied (publickey)"),
        (SSH + "Host key verification failed.", "host-key", "Host key verification failed"),
        ("Missing sudo password", "sudo-password", "Missing sudo password"),
        ("Failed to create temporary directory. In some cases, you may have been able to authenticate", "no-room", None),
        ("", "unreachable", ""),
        ("something new", "unreachable", ""),
    ],
)
def test_a_host_that_is_not_reached_is_told_with_the_next_step(message: str, code: str, words: t.Optional[str]) -> None:
    trouble = connection_trouble(message)
    assert trouble.code == code
    assert trouble.hint
    if words is not None:
        assert trouble.words == words
        assert words in str(trouble)


NO_JSON = "Module result deserialization failed: No start of json char found"
NO_DIRECTORY = "FileNotFoundError: [Errno 2] No usable temporary directory found in ['/tmp', '/var/tmp', '/usr/tmp', '/root']"


@pytest.mark.parametrize(
    ("result", "code"),
    [
        ({"msg": NO_JSON, "module_stderr": "", "module_stdout": f"Traceback (most recent call last):\n{NO_DIRECTORY}\n"}, "no-room"),
        ({"msg": NO_JSON, "module_stderr": "/bin/sh: 1: Cannot fork\n"}, "no-processes"),
        ({"msg": NO_JSON, "module_stderr": "RuntimeError: can't start new thread\n"}, "no-processes"),
        (
            {"msg": "The module interpreter '/usr/bin/python3' was not found.", "module_stderr": "/bin/sh: 1: /usr/bin/python3: not found\n"},
            "no-python",
        ),
        (
            {"msg": NO_JSON, "module_stdout": "ansible-core requires a minimum of Python version 3.8. Current version: 2.7.18 (default)\n"},
            "old-python",
        ),
        # Python 3.8, which Ansible takes, says this of the first alias of a mapping.
        ({"msg": NO_JSON, "module_stderr": "Traceback (most recent call last):\nTypeError: 'type' object is not subscriptable\n"}, "old-python"),
        ({"msg": NO_JSON, "module_stderr": "sudo: a password is required\n"}, "sudo-password"),
        ({"msg": NO_JSON, "module_stderr": "ops is not in the sudoers file.\n"}, "sudo-refused"),
        ({"msg": NO_JSON, "module_stderr": "MemoryError\n"}, "no-memory"),
        ({"msg": NO_JSON, "module_stderr": "Killed\n"}, "no-memory"),
    ],
)
def test_a_host_that_cannot_run_a_module_is_told_with_the_next_step(result: dict[str, t.Any], code: str) -> None:
    trouble = module_trouble(result)
    assert trouble.code == code
    assert trouble.hint
    assert trouble.words


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({"msg": "Failed\nsee below", "module_stderr": "noise\nsh: 1: nothing known\n"}, "Failed (sh: 1: nothing known)"),
        # A module that ran said this about the stack, and not about the host.
        ({"msg": "postgres: No space left on device"}, "postgres: No space left on device"),
        ({}, "the module gave no reason"),
    ],
)
def test_what_is_not_known_is_told_in_one_line(result: dict[str, t.Any], told: str) -> None:
    trouble = module_trouble(result)
    assert (trouble.code, str(trouble)) == ("failed", told)


def test_a_hang_says_after_how_long_and_which_option_allows_more() -> None:
    told = str(hang_trouble(90, "diagnose_timeout_seconds"))
    assert "no end within 90 s" in told
    assert "diagnose_timeout_seconds" in told


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, [{"TMPDIR": "/dev/shm"}]),
        ([{"HTTP_PROXY": "x"}], [{"HTTP_PROXY": "x"}, {"TMPDIR": "/dev/shm"}]),
        ({"A": "b"}, [{"A": "b"}, {"TMPDIR": "/dev/shm"}]),
    ],
)
def test_the_environment_of_the_task_is_kept_when_it_works_in_memory(given: t.Any, expected: t.Any) -> None:
    options: dict[str, str] = {}
    shell = types.SimpleNamespace(set_option=options.__setitem__)
    action = types.SimpleNamespace(_connection=types.SimpleNamespace(_shell=shell), _task=types.SimpleNamespace(environment=given))
    work_in_memory(action)
    assert action._task.environment == expected
    assert options == {"remote_tmp": "/dev/shm/.ansible"}
