# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands that a report prints reach the hosts that its run reached."""

from __future__ import annotations

import shlex
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils._command_line import options_of_run, with_options

USUAL: dict[str, t.Any] = {"remote_user": "ops", "private_key_file": None, "ask_pass": False, "become_ask_pass": False, "ask_vault_pass": False}


def options(*sources: str, usual: t.Sequence[str] = ("/etc/ansible/hosts",), **arguments: t.Any) -> str:
    return options_of_run(sources, usual, arguments, USUAL, "/home/ops/fleet")


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["/home/ops/fleet/inventory.yml"], "-i inventory.yml"),
        (["/home/ops/fleet/hosts/prod", "/srv/inventories/extra.ini"], "-i hosts/prod -i /srv/inventories/extra.ini"),
        (["/home/ops/fleet"], "-i ."),
        (["/home/ops/my hosts.yml"], "-i '/home/ops/my hosts.yml'"),
        (["/home/ops/fleet/-odd.yml"], "-i /home/ops/fleet/-odd.yml"),
        (["web1,"], "-i web1,"),
        (["web[1:9],$(reboot),"], "-i 'web[1:9],$(reboot),'"),
        (["/etc/ansible/hosts"], ""),
        ([], ""),
        # Nobody types that, and it would be there once for each finding.
        ([",".join(f"web{number}" for number in range(1000))], ""),
        # It would end the command where it stands in a text.
        (["/home/ops/fleet/`reboot`.yml"], ""),
        (["/home/ops/fleet/a\nb.yml"], ""),
    ],
)
def test_the_inventory_of_the_run_is_named_as_it_was_typed(sources: list[str], expected: str) -> None:
    assert options(*sources) == expected


def test_what_the_configuration_says_anyway_is_left_out() -> None:
    assert options("/home/ops/fleet/hosts", usual=["/home/ops/fleet/hosts"], remote_user="ops", private_key_file=None) == ""


def test_how_the_run_logged_in_is_said_and_no_password_is() -> None:
    found = options(
        "/home/ops/fleet/hosts", remote_user="deploy", private_key_file="/home/ops/.ssh/id fleet", become_ask_pass=True, vault_ids=["prod@prompt"],
        vault_password_files=["/home/ops/fleet/.vault"], extra_vars=["ansible_become_password=hunter2"],
    )  # fmt: skip
    assert shlex.split(found) == [
        "-i", "hosts", "-u", "deploy", "--private-key", "/home/ops/.ssh/id fleet", "--vault-id", "prod@prompt", "--vault-password-file", ".vault", "-K",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Do `ansible-playbook a.b.c`, then `ansible all -m ping`.", "Do `ansible-playbook -i x a.b.c`, then `ansible -i x all -m ping`."),
        ("An ansible all is no command, `docker ps`ansible all none of Ansible, `ansible` none that does anything", None),
        ("`ansible-galaxy collection install x` needs no hosts", None),
        ("It names its own: `ansible-playbook -i mine play.yml`, `ansible-playbook play.yml --inventory=mine`", None),
    ],
)
def test_each_command_of_ansible_gets_the_options(text: str, expected: t.Optional[str]) -> None:
    assert with_options(text, "-i x") == (expected or text)
    assert with_options(text, "") == text
