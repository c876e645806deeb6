# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the playbook ``monitoring`` says of hosts of which nobody will be told what the checks find."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[3]
HOSTS: dict[str, dict[str, t.Any]] = {
    "nobody": {},
    "channel": {"monitoring_channels": [{"name": "mail", "type": "email", "to": ["ops@example.net"]}]},
    "metrics": {"monitoring_textfile_directory": "/var/lib/prometheus/node-exporter"},
}


def test_of_a_host_without_a_channel_is_said_that_nobody_is_told(tmp_path: pathlib.Path) -> None:
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(json.dumps({"all": {"hosts": {host: {**local, **variables} for host, variables in HOSTS.items()}}}))
    # All are this machine, which check mode does not change.
    argv = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), "playbooks/monitoring.yml", "--check"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    assert re.findall(r"Nobody is told what the checks find on (\w+): monitoring_channels is empty\.", said) == ["nobody"]
    assert "-e monitoring_test_alert=true" in said
