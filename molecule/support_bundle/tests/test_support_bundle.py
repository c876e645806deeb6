# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is in the bundles, against the host they are of; and above all what is not."""

from __future__ import annotations

import base64
import json
import pathlib
import stat
import tarfile

import pytest

OUTPUT = pathlib.Path(__file__).resolve().parents[3] / "build/molecule/support_bundle"


def contents(path):
    """Return the files of a bundle by name, without the directory that all of them are in."""
    with tarfile.open(path) as opened:
        return {member.name.partition("/")[2]: opened.extractfile(member).read() for member in opened}


def bundles(directory):
    """Return the bundles in a directory, oldest first."""
    return sorted((OUTPUT / directory).glob("*.tar.gz"))


@pytest.fixture(scope="module")
def files():
    """Return the files of the first bundle."""
    return contents(bundles("bundles")[0])


@pytest.fixture(scope="module")
def manifest(files):
    """Return what the manifest says of the host."""
    (row,) = json.loads(files["manifest.json"])["hosts"].values()
    return row


@pytest.fixture(scope="module")
def secrets(host):
    """Return every secret and name that is on the host."""
    pairs = [line.partition("=") for line in host.check_output("cat /srv/stack/.env").splitlines()]
    known = [value.strip('"') for name, _, value in pairs if name.endswith(("_PASSWORD", "_SECRET"))]
    assert len(known) >= 2
    addresses = host.check_output("hostname -I").split()
    encoded = [base64.b64encode(secret.encode()).decode().rstrip("=")[:-1] for secret in known]
    return [*known, *encoded, *addresses, "Canary", "canary.person", "customers.example", "203.0.113.77", host.check_output("hostname")]


@pytest.mark.parametrize("directory", ["bundles", "dead"])
def test_no_secret_and_no_name_is_in_it(secrets, directory):
    for path in bundles(directory):
        for name, content in contents(path).items():
            assert [secret for secret in secrets if secret.encode() in content or secret in name] == [], name


def test_check_mode_wrote_nothing_and_each_run_a_bundle_of_its_own():
    assert len(bundles("bundles")) == 2
    assert len(list((OUTPUT / "maps").iterdir())) == 3
    for path in [*bundles("bundles"), *(OUTPUT / "maps").iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_has_what_the_guide_asks_for(files):
    stack = "host1/stacks/shop"
    assert b"Docker version" in files["host1/versions.txt"]
    assert b"Linux" in files["host1/system/uname.txt"]
    assert b"shop-backend-1" in files[f"{stack}/ps.txt"]
    assert b"uvicorn" in files[f"{stack}/logs/shop-backend-1.log"].lower()
    assert b"database system" in files[f"{stack}/logs/shop-postgres-1.log"]
    assert b"POSTGRES_PASSWORD=[secret:" in files[f"{stack}/files/.env"]
    errors = files[f"{stack}/last-errors.txt"].decode()
    assert "odd <[secret:" in errors
    assert " - ERROR - " in errors


def test_and_what_an_engineer_asks_for_then(files):
    for name in ("engine/info.json", "network/addresses.txt", "system/disk.txt", "system/memory.txt", "cron/timers.txt", "facts.json", "error-groups.json"):
        assert files[f"host1/{name}"], name
    assert json.loads(files["host1/stacks/shop/compose.json"])["services"].keys() == {"backend", "postgres"}
    assert b"[secret:" in files["host1/cron/etc-cron.d-canary"]
    assert b'password: "[secret:' in files["host1/files/srv-extra-settings.yml"]
    assert b"port: 5432" in files["host1/files/srv-extra-settings.yml"]


def test_the_same_secret_has_the_same_token_everywhere(files):
    variables = dict(line.split("=", 1) for line in files["host1/stacks/shop/files/.env"].decode().splitlines() if "=" in line)
    token = variables["POSTGRES_PASSWORD"]
    assert variables["DATABASE_PASSWORD"] == token != variables["JWT_SECRET"]
    assert f":{token}@postgres" in files["host1/stacks/shop/compose.json"].decode()
    assert f"odd <{token}> place" in files["host1/stacks/shop/last-errors.txt"].decode()


def test_what_must_survive_did(files, host):
    containers = {entry["Id"]: entry for entry in json.loads(files["host1/stacks/shop/containers.json"])}
    assert set(containers) == set(host.check_output("ls /var/lib/docker/containers").split())
    image = host.check_output("ls /var/lib/docker/image/*/imagedb/content/sha256").split()
    assert {entry["Image"].removeprefix("sha256:") for entry in containers.values()} <= set(image)
    log = next(content for name, content in files.items() if name.endswith("logs-app.log")).decode()
    assert "version 1.2.3.4 request 1f0c9a52-7a4e-4c1b-9a53-0d9b8a7a1a11 sha256:41d209420d0f15b68dc672d9f16ddb161d4899b97f65c401f24f5eaa167cff07" in log
    assert "2026-11-23 10:00:00,000" in log


def test_what_is_not_in_it_is_named(manifest):
    left_out = {entry["path"]: entry["left_out"] for entry in manifest["left_out"]}
    assert left_out["files/srv-extra-broken.json"] == "not redacted: it is no valid JSON"
    assert "exited" in left_out["postgres/shop-postgres.json"] or "not running" in left_out["postgres/shop-postgres.json"]


def test_the_manifest_has_every_file(files, manifest):
    listed = {f"host1/{entry['path']}" for entry in manifest["files"]}
    assert listed == {name for name in files if name.startswith("host1/")}
    assert all(len(entry["sha256"]) == 64 and entry["source"] and entry["duration_ms"] >= 0 for entry in manifest["files"])


def test_the_bundle_diagnoses_as_the_host_does(files):
    inside = json.loads(files["report/report.json"])["hosts"]["host1"]
    again = json.loads((OUTPUT / "reports/latest/report.json").read_text(encoding="utf-8"))["hosts"]["host1"]
    rules = [finding["rule"] for finding in inside["findings"]]
    assert rules[0] == "database-down"
    assert [finding["rule"] for finding in again["findings"]] == rules


def test_without_an_engine_logs_and_configuration_are_still_there():
    (path,) = bundles("dead")
    files = contents(path)
    (row,) = json.loads(files["manifest.json"])["hosts"].values()
    assert row["engine"] is False
    assert row["projects"] == ["shop"]
    assert b"uvicorn" in files["host1/stacks/shop/logs/shop-backend-1.log"].lower()
    assert b"[secret:" in files["host1/stacks/shop/compose.json"]
    assert json.loads(files["report/report.json"])["hosts"]["host1"]["findings"][0]["rule"] == "docker-not-running"


def test_nothing_was_left_or_changed_on_the_host(host):
    assert host.check_output("cat /run/changed") == ""
    assert host.check_output("find / -xdev -name 'stackops-evidence*'") == ""
