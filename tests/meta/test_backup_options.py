# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The roles hand every option over, to the modules and to the program on the host alike."""

from __future__ import annotations

from ansible_collections.stackops.runbook.plugins.module_utils._arguments import docker_connection_arguments
from ansible_collections.stackops.runbook.plugins.module_utils._backup_arguments import backup_arguments, restore_arguments
from collection import NAME, ROOT, load

# TLS to a remote engine is not for roles, which work on the host itself; the action plugin sets the progress file.
NOT_OF_ROLES = set(docker_connection_arguments()) - {"docker_host"} | {"progress_file"}


def handed_over(tasks: str, module: str) -> set[str]:
    """Return the options that a task file gives to *module*."""
    (task,) = [task for task in load(ROOT / tasks) if f"{NAME}.{module}" in task]
    return set(task[f"{NAME}.{module}"])


def test_a_backup_has_all_options() -> None:
    assert handed_over("roles/backup/tasks/run.yml", "pg_backup") == set(backup_arguments()) - NOT_OF_ROLES - {"action", "set"}


def test_the_program_on_the_host_has_the_same_ones() -> None:
    configured = set(load(ROOT / "roles/backup/vars/main.yml")["__backup_options"])
    # how old a set may be belongs to playbooks that are run again and again
    assert configured == set(backup_arguments()) - NOT_OF_ROLES - {"action", "set", "max_age_seconds"}


def test_a_restore_has_all_options() -> None:
    assert handed_over("roles/restore/tasks/run.yml", "pg_restore") == set(restore_arguments()) - NOT_OF_ROLES - {"stacks", "services"}
