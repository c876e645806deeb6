# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the playbook ``diagnose`` makes of variables that are wrong, for all hosts or for one."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
# Nobody answers there: the hosts are this machine, which may have an engine.
NO_ENGINE = "diagnose_docker_host=tcp://127.0.0.1:1"


def diagnose(
    tmp_path: pathlib.Path, hosts: dict[str, dict[str, t.Any]], *arguments: str, playbook: str = "diagnose", environment: t.Optional[dict[str, str]] = None
) -> tuple[int, str]:
    """Run the playbook over *hosts* with their variables; return its exit code and what it prints."""
    inventory = tmp_path / "inventory.yml"
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory.write_text(json.dumps({"all": {"hosts": {host: {**local, **variables} for host, variables in hosts.items()}}}))
    argv = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), f"playbooks/{playbook}.yml"]
    argv += ["-e", NO_ENGINE, "-e", f"diagnose_report_dir={tmp_path}", "-e", '{"diagnose_report_formats": ["json"]}', *arguments]
    done = subprocess.run(argv, cwd=ROOT, env={**os.environ, **(environment or {})}, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def test_what_is_wrong_for_all_hosts_is_said_before_anything_is_collected(tmp_path: pathlib.Path) -> None:
    code, said = diagnose(tmp_path, {"web1": {}, "web2": {}}, "-e", "diagnose_fail_on=sometimes")
    assert code == 2
    assert "value of diagnose_fail_on must be one of: never, warning, critical, got: sometimes" in said
    assert "Everything that can be read" not in said


@pytest.mark.parametrize("playbook", ["diagnose", "firewall_check", "support_bundle"])
def test_a_controller_without_jmespath_is_told_before_anything_is_collected(tmp_path: pathlib.Path, playbook: str) -> None:
    (tmp_path / "jmespath.py").write_text("raise ImportError('it is not installed')\n")
    code, said = diagnose(tmp_path, {"web1": {}, "web2": {}}, playbook=playbook, environment={"PYTHONPATH": str(tmp_path)})
    assert code == 2
    assert "No report can be made: the controller lacks the Python library jmespath. Install it for the Python that runs Ansible: " in said
    assert "-m pip install jmespath" in said
    assert "jmespath:0" not in said
    assert "Collect | " not in said


def test_what_is_wrong_with_the_silences_is_said_before_anything_is_collected(tmp_path: pathlib.Path) -> None:
    silences = [{"rule": "database-down", "reason": "known", "expires": "soon"}]
    code, said = diagnose(tmp_path, {"web1": {}}, "-e", json.dumps({"diagnose_silences": silences}))
    assert code == 2
    assert "soon" in said
    assert "Collect | " not in said


RULE = """
schema: 1
rules:
  - id: always-there
    category: host
    severity: info
    object: host
    requires: [host.hostname]
    when: "host.hostname != `null`"
    title: {en: "There", zh_TW: "There"}
    cause: {en: "There", zh_TW: "There"}
    fix: {en: ["Look: `ansible-playbook stackops.runbook.diagnose --become`"], zh_TW: ["Look"]}
    verify: {en: "`ansible all -m ping`", zh_TW: "`ansible all -m ping`"}
    tests:
      - {name: there, given: {host: {hostname: a}, facts: {}}, expect: fire}
      - {name: not there, given: {facts: {}}, expect: unknown}
"""


def test_what_is_wrong_for_one_host_is_its_row_of_the_report(tmp_path: pathlib.Path) -> None:
    wrong = {"web2": {"diagnose_timeout_seconds": "soon"}, "web3": {"diagnose_window_seconds": "yesterday"}}
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/own.yml").write_text(RULE)
    code, said = diagnose(tmp_path, {"web1": {}, **wrong}, "-e", json.dumps({"diagnose_rule_dirs": [str(tmp_path / "rules")]}))
    assert code == 0, said
    assert said.count("TASK [stackops.runbook.diagnose : Check the variables]") == 1
    hosts = json.loads((tmp_path / "latest/report.json").read_text())["hosts"]
    assert hosts["web1"]["facts"]["host"]["status"] != "unknown"
    # Commands that are printed have the inventory of this run.
    own = next(finding for finding in hosts["web1"]["findings"] if finding["rule"] == "always-there")
    assert own["fix"] == [f"Look: `ansible-playbook -i {tmp_path}/inventory.yml stackops.runbook.diagnose --become`"]
    assert own["verify"] == f"`ansible -i {tmp_path}/inventory.yml all -m ping`"
    for host, variable in (("web2", "timeout_seconds"), ("web3", "window_seconds")):
        assert hosts[host]["facts"] == {}
        assert variable in json.dumps(hosts[host])


# Who runs this may not become that user without a password: real su, which is on every machine.
SU_REFUSES = {
    "ansible_become": True,
    "ansible_become_method": "su",
    "ansible_become_user": "daemon",
    "ansible_become_password": "a-guess",
    "ansible_become_exe": "setpriv --reuid=65534 --regid=65534 --clear-groups su" if os.geteuid() == 0 else "su",
}


def test_a_host_where_nobody_becomes_root_is_a_row_with_the_next_step(tmp_path: pathlib.Path) -> None:
    code, said = diagnose(tmp_path, {"web1": {}, "web2": SU_REFUSES})
    assert code == 0, said
    row = json.loads((tmp_path / "latest/report.json").read_text())["hosts"]["web2"]
    assert row["status"] == "unknown"
    assert row["reason"].startswith("the password to become root is not the right one (su: Authentication failure). Type it again with --ask-become-pass")
    assert SU_REFUSES["ansible_become_password"] not in said + json.dumps(row)


def test_there_is_a_report_where_nobody_becomes_root_on_any_host(tmp_path: pathlib.Path) -> None:
    code, said = diagnose(tmp_path, {"web1": SU_REFUSES})
    assert code == 0, said
    assert json.loads((tmp_path / "latest/report.json").read_text())["summary"]["unknown"] == 1
