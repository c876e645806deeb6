# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import types
import typing as t

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible_collections.stackops.runbook.plugins.plugin_utils._odd_hosts import (
    Target,
    connection_trouble,
    error_trouble,
    hang_trouble,
    module_trouble,
    target_of,
    work_in_memory,
)

WEB = Target("web1", "10.0.0.7", "deploy", 2222)

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
        (SSH + "Host key verification failed.", "host-key-unknown", "Host key verification failed"),
        ("Timeout (12s) waiting for privilege escalation prompt: ", "sudo-silent", "Timeout (12s) waiting for privilege escalation prompt:"),
        ("Failed to create temporary directory. In some cases, you may have been able to authenticate", "no-room", None),
        ("", "unreachable", ""),
        ("something new", "unreachable", ""),
    ],
)
def test_a_host_that_is_not_reached_is_told_with_the_next_step(message: str, code: str, words: t.Optional[str]) -> None:
    trouble = connection_trouble(message, WEB)
    assert trouble.code == code
    assert trouble.hint
    assert "<" not in trouble.hint
    if words is not None:
        assert trouble.words == words
        assert words in str(trouble)


# As ssh says it, with the name that it looked for.
BANNER = """@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Offending ED25519 key in /home/me/.ssh/known_hosts:1
Host key for {name} has changed and you have requested strict checking.
Host key verification failed."""


@pytest.mark.parametrize(
    ("message", "target", "reason", "command"),
    [
        (SSH + "Host key verification failed.", Target("web1"), "its host key is not known yet", "ssh web1."),
        (SSH + "Host key verification failed.", WEB, "its host key is not known yet", "ssh -p 2222 deploy@10.0.0.7."),
        (SSH + "Host key verification failed.", WEB, "its host key is not known yet", "ssh-keyscan -p 2222 10.0.0.7 >> ~/.ssh/known_hosts"),
        (
            SSH + "No ED25519 host key is known for 10.0.0.7 and you have requested strict checking.\r\nHost key verification failed.",
            Target("web1", "10.0.0.7", "deploy", 22),
            "its host key is not known yet",
            "ssh deploy@10.0.0.7.",
        ),
        (
            "Using a SSH password instead of a key is not possible because Host Key checking is enabled. "
            "Please add this host's fingerprint to your known_hosts file to manage this host.",
            WEB,
            "its host key is not known yet",
            "ssh -p 2222 deploy@10.0.0.7.",
        ),
        (SSH + BANNER.format(name="10.0.0.7"), Target("web1", "10.0.0.7"), "is not the known one (WARNING: REMOTE HOST", "ssh-keygen -R 10.0.0.7."),
        (SSH + BANNER.format(name="[10.0.0.7]:2222"), WEB, "is not the known one", "ssh-keygen -R '[10.0.0.7]:2222'."),
        # Behind a jump host it may be that one's key.
        (SSH + BANNER.format(name="bastion"), WEB, "is not the known one", "ssh-keygen -R bastion."),
        (SSH + "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!", WEB, "is not the known one", "ssh-keygen -R '[10.0.0.7]:2222'."),
        (SSH + "deploy@10.0.0.7: Permission denied (publickey).", WEB, "sshd refuses the login", "ssh-copy-id -p 2222 deploy@10.0.0.7"),
        ("", Target("web 1", "", "me"), "it could not be reached", "ssh -v 'me@web 1'"),
    ],
)
def test_the_next_step_is_a_command_for_this_host(message: str, target: Target, reason: str, command: str) -> None:
    told = str(connection_trouble(message, target))
    assert reason in told
    assert command in f"{told}."
    assert ("installed anew" in told) == ("is not the known one" in told)


# What Ansible raises before a module has run, on hosts where a person has to type a password for sudo; by ssh, and with the connection local.
@pytest.mark.parametrize(
    ("message", "code", "told"),
    [
        (
            "Missing sudo password",
            "sudo-password",
            "sudo asks for a password (Missing sudo password). Add --ask-become-pass (-K), or set ansible_become_password",
        ),
        (
            "Premature end of stream waiting for become success.\n>>> Standard Error\nsudo: a password is required",
            "sudo-password",
            "sudo asks for a password (sudo: a password is required). Add --ask-become-pass (-K)",
        ),
        ("Incorrect sudo password", "sudo-password-wrong", "is not the right one (Incorrect sudo password). Type it again with --ask-become-pass (-K)"),
        (
            "Premature end of stream waiting for become success.\n>>> Standard Error\nsu: Authentication failure",
            "sudo-password-wrong",
            "is not the right one (su: Authentication failure)",
        ),
        ("Timed out waiting for become success or become password prompt.", "sudo-silent", "it does not become root in time"),
        ("failed to transfer file to /tmp/x:\n\nscp: write: No quota", "failed", "scp: write: No quota"),
    ],
)
def test_what_keeps_a_module_from_being_run_is_told_of_a_host_that_was_reached(message: str, code: str, told: str) -> None:
    trouble = error_trouble(AnsibleError(message), WEB)
    assert (trouble.code, trouble.reached) == (code, True)
    assert told in str(trouble)


def test_a_connection_that_failed_is_told_of_a_host_that_was_not_reached() -> None:
    trouble = error_trouble(AnsibleConnectionFailure(SSH + "ssh: connect to host 10.0.0.7 port 2222: Connection refused"), WEB)
    assert (trouble.code, trouble.reached) == ("refused", False)


@pytest.mark.parametrize(
    ("options", "target"),
    [
        ({"host": "10.0.0.7", "remote_user": "deploy", "port": 2222}, WEB),
        ({"host": "10.0.0.7", "remote_user": None, "port": None}, Target("web1", "10.0.0.7")),
        # The connection local has none of them.
        ({}, Target("web1")),
    ],
)
def test_the_connection_says_whom_it_connects_to(options: dict[str, t.Any], target: Target) -> None:
    action = types.SimpleNamespace(_connection=types.SimpleNamespace(get_option=options.__getitem__))
    assert target_of(action, {"inventory_hostname": "web1"}) == target


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
    trouble = module_trouble(result, WEB)
    assert trouble.code == code
    assert trouble.hint
    assert "<" not in trouble.hint
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
    trouble = module_trouble(result, WEB)
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
