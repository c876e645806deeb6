# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role ``restore`` refuses before anything runs on a host."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import typing as t

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
CONFIRMED = "restore_confirm=shop"
# Nobody answers there: what gets past the preflight fails at the engine.
NO_ENGINE = "restore_docker_host=tcp://127.0.0.1:1"


def restore(tmp_path: pathlib.Path, hosts: t.Sequence[str], *arguments: str) -> str:
    """Run the playbook over *hosts*, which are all this machine, and return what it prints."""
    inventory = tmp_path / "inventory.yml"
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory.write_text(json.dumps({"all": {"hosts": dict.fromkeys(hosts, host)}}))
    argv = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), "playbooks/restore.yml", "-e", NO_ENGINE, *arguments]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    return " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize("arguments", [("-e", "restore_rollback=true", "-e", "restore_serial=1"), ("--limit", "web1,web2")])
def test_several_hosts_are_refused_until_each_is_named(tmp_path: pathlib.Path, arguments: tuple[str, ...]) -> None:
    said = restore(tmp_path, ("web1", "web2", "web3"), "-e", CONFIRMED, *arguments)
    assert "nothing was changed on any of them" in said
    assert "Check, restore beside" not in said
    count = 2 if "--limit" in arguments else 3
    assert f"on {count} hosts" in said
    assert f"-e restore_confirm_hosts={','.join(('web1', 'web2', 'web3')[:count])} " in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("-e", CONFIRMED, "--limit", "web2"),
        ("-e", CONFIRMED, "-e", "restore_confirm_hosts=web2,web1"),
        ("-e", json.dumps({"restore_confirm": "shop", "restore_confirm_hosts": ["web1", "web2"]})),
        ("-e", "restore_list=true"),
    ],
    ids=["limit", "named", "named as a list", "list"],
)
def test_what_is_confirmed_or_changes_nothing_goes_on(tmp_path: pathlib.Path, arguments: tuple[str, ...]) -> None:
    said = restore(tmp_path, ("web1", "web2"), *arguments)
    assert "Check, restore beside" in said
    assert "nothing was changed on any of them" not in said
