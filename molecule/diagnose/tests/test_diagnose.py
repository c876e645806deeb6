# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the report says against what the host shows, and that the host is as it was."""

from __future__ import annotations

import json
import pathlib

import pytest

LATEST = pathlib.Path(__file__).resolve().parents[3] / "build/molecule/diagnose/reports/latest"


@pytest.fixture(scope="module")
def row(host):
    """Return the host's row of the report."""
    report = json.loads((LATEST / "report.json").read_text(encoding="utf-8"))
    assert report["schema"] == 1
    (row,) = report["hosts"].values()
    return row


@pytest.fixture(scope="module")
def inspected(host):
    """Return what ``docker inspect`` says, by container name."""
    return {entry["Name"].lstrip("/"): entry for entry in json.loads(host.check_output("docker ps --all --quiet | xargs docker inspect"))}


def test_the_stopped_database_is_the_cause_and_the_rest_its_effects(row, inspected):
    assert inspected["shop-postgres-1"]["State"]["Status"] == "exited"
    assert row["status"] == "critical"
    first = row["findings"][0]
    assert (first["rule"], first["object"], first["result"]) == ("database-down", "shop/postgres", "fire")
    effects = [finding for finding in row["findings"] if finding["id"] in first["effects"]]
    assert "shop/backend" in {finding["object"] for finding in effects}


def test_it_says_what_to_type(row):
    first = row["findings"][0]
    assert first["fix"]
    assert first["verify"]


def test_containers_are_those_of_the_engine(row, inspected):
    said = {entry["name"]: entry["state"] for entry in row["facts"]["compose"]["containers"]}
    assert said == {name: entry["State"]["Status"] for name, entry in inspected.items()}


def test_the_report_is_there_in_every_format():
    assert LATEST.is_symlink()
    assert "database-down" in (LATEST / "report.md").read_text(encoding="utf-8")
    page = (LATEST / "report.html").read_text(encoding="utf-8")
    assert "database-down" in page
    assert 'src="http' not in page


def test_no_secret_is_in_it(host):
    environment = host.check_output("cat /srv/stack/.env")
    secrets = [value for name, _, value in (line.partition("=") for line in environment.splitlines()) if name.endswith(("_PASSWORD", "_SECRET"))]
    assert len(secrets) >= 2
    for path in LATEST.iterdir():
        assert [secret for secret in secrets if secret.strip('"') in path.read_text(encoding="utf-8")] == []


def test_nothing_was_changed_on_the_host(host):
    newer = host.check_output("find /etc /srv /usr /opt /root /home /var/lib -xdev -newer /run/before-diagnose -not -path '/var/lib/systemd/*'")
    assert [path for path in newer.splitlines() if not path.startswith("/srv/stack/logs")] == []
