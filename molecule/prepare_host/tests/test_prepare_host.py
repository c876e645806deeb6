# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""After the role the host has what the other playbooks use, and it works."""

from __future__ import annotations

import json

import pytest


@pytest.mark.parametrize("package", ["python3-docker", "python3-psycopg2", "cron", "docker.io", "docker-compose", "jq"])
def test_installed(host, package):
    assert host.package(package).is_installed


@pytest.mark.parametrize("service", ["cron", "docker"])
def test_runs_now_and_after_a_reboot(host, service):
    assert host.service(service).is_running
    assert host.service(service).is_enabled


def test_the_libraries_reach_the_engine(host):
    script = "import json, docker, psycopg2; print(json.dumps(docker.from_env().version()['Version']))"
    result = host.run("/usr/bin/python3 -c %s", script)
    assert result.rc == 0, result.stderr
    assert json.loads(result.stdout) == host.check_output("docker version --format '{{.Server.Version}}'")


def test_compose_answers(host):
    assert host.run("docker compose version").rc == 0


def test_cron_runs_jobs(host):
    assert host.run("test -x /usr/bin/crontab").rc == 0
