# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.stackops.runbook.plugins.module_utils._compose_project import hint_of, said
from ansible_collections.stackops.runbook.plugins.module_utils._process import Completed


def test_what_a_command_said_last_is_one_line_without_colours_and_warnings() -> None:
    done = Completed(("docker",), 14, b"", b'time="x" level=warning msg="no"\n\x1b[31mservice "a" has neither\x1b[0m\n an image nor a build\n')
    assert said(done) == 'exit code 14: service "a" has neither an image nor a build'


def test_an_old_docker_compose_with_a_new_engine_is_told() -> None:
    assert "install Compose v2" in hint_of(Completed(("docker-compose",), 1, b"", b"Traceback\nKeyError: 'ContainerConfig'\n"))
    assert hint_of(Completed(("docker-compose",), 1, b"", b"no such service")).startswith("Run it by hand")
