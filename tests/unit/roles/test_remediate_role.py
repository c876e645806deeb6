# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the playbook ``remediate`` says afterwards of hosts for which there was something to do, and of others."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[3]
LONG_AGO = 1_700_000_000


def finding(directory: pathlib.Path) -> dict[str, t.Any]:
    """Return a finding as a report has it, whose action removes old logs of *directory*."""
    remediation = {"action": "log_cleanup", "directories": [str(directory)], "patterns": ["*.log"]}
    about = {"rule": "filesystem-nearly-full", "category": "host", "object": "/"}
    return {"id": "0123456789ab", **about, "result": "fire", "severity": "warning", "remediation": remediation}


def test_the_report_afterwards_has_only_hosts_for_which_there_was_something_to_do(tmp_path: pathlib.Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    old = logs / "old.log"
    old.write_text("x\n")
    os.utime(old, (LONG_AGO, LONG_AGO))
    report = tmp_path / "report.json"
    # What a database does cannot be seen again: there is no engine.
    unseen = {**finding(logs), "id": "123456789abc", "rule": "database-down", "category": "postgres", "object": "shop/db"}
    rows = {"web1": {"findings": []}, "web2": {"findings": [finding(logs), unseen]}, "web3": {"findings": []}}
    report.write_text(json.dumps({"schema": 1, "generated_at": "2026-11-26T12:00:00Z", "hosts": rows}))
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(json.dumps({"all": {"hosts": dict.fromkeys(("web1", "web2", "web3"), local)}}))
    variables = {
        "remediate_from": str(report),
        "remediate_confirm": True,
        "remediate_output_dir": str(tmp_path / "out"),
        "remediate_audit_log": str(tmp_path / "audit/remediation.jsonl"),
        # Nobody answers there: the hosts are this machine, which may have an engine.
        "stackops_docker_host": "tcp://127.0.0.1:1",
    }
    argv = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), "playbooks/remediate.yml", "-e", json.dumps(variables)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not old.exists()
    assert "There is nothing to do for web1" in done.stdout
    assert "filesystem-nearly-full /: gone" in done.stdout
    assert "database-down shop/db: could not be looked at again" in done.stdout
    afterwards = json.loads((tmp_path / "out/reports/latest/report.json").read_text())
    assert list(afterwards["hosts"]) == ["web2"]
    assert afterwards["hosts"]["web2"]["facts"]
    assert "nothing was collected" not in done.stdout
