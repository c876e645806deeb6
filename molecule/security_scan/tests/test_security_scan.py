# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the reports say of an insecure stack, against what was made insecure; and what they do not say: no secret."""

from __future__ import annotations

import json
import pathlib

import pytest

OUTPUT = pathlib.Path(__file__).resolve().parents[3] / "build/molecule/security_scan"


def runs(directory="reports"):
    """Return the directories of the one host in each run, oldest first."""
    return [path for run in sorted((OUTPUT / directory).glob("2*")) for path in run.iterdir()]


def read(path):
    """Return the report in a directory."""
    return json.loads((path / "security.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def report():
    """Return the report of the first run that was no check."""
    return read(runs()[0])


@pytest.fixture(scope="module")
def found(report):
    """Return the findings by rule and object."""
    return {(finding["rule"], finding["object"]): finding for finding in report["findings"]}


def image(report, service):
    """Return the image that a service runs."""
    return next(image for image in report["images"] if service in image["services"])


def test_each_run_wrote_three_formats_for_the_host():
    assert [sorted(path.name for path in run.iterdir()) for run in runs()] == [["security.json", "security.md", "security.sarif"]] * 3
    assert len(runs("check")) == 1


def test_check_mode_says_the_same():
    assert {finding["id"] for finding in read(runs("check")[0])["findings"]} == {finding["id"] for finding in read(runs()[1])["findings"]}


def test_the_scanner_of_the_host_found_what_it_finds(report, found):
    scanned = image(report, "shop/backend")
    assert scanned["scanner"] == {"name": "trivy", "version": "0.69.3", "on": "target", "database_built_at": "2026-11-25T00:33:07Z"}
    assert [(one["id"], one["severity"], one["package"], one["fixed"]) for one in scanned["vulnerabilities"]] == [
        ("CVE-2024-24762", "critical", "fastapi", "0.109.1")
    ]
    assert found["image-vulnerable", "stackops-test/app"]["severity"] == "critical"


def test_a_scanner_without_its_database_is_unknown_and_not_zero(report):
    unscanned = image(report, "shop/postgres")
    assert (unscanned["scanned"], unscanned["counts"]) == (False, None)
    assert [one for one in report["unknown"] if one["object"].startswith("stackops-test/postgres") and "failed to download vulnerability DB" in one["reason"]]


def test_the_images_were_asked_for_pending_updates(report):
    for service in ("shop/backend", "shop/postgres"):
        updates = image(report, service)["updates"]
        # Where containers reach no package archive it is unknown, with the reason; it never looks as if nothing were pending.
        assert updates["asked"]
        assert (updates["security"] is None) == (updates["status"] == "unknown") == bool(updates["reason"])
    assert image(report, "shop/backend")["base_created_at"]


def test_no_disposable_container_is_left(host):
    assert host.check_output("docker ps --all --quiet --filter label=stackops.runbook=image-updates") == ""


@pytest.mark.parametrize(
    ("rule", "severity"),
    [
        ("engine-socket", "critical"),
        ("capability-critical", "critical"),
        ("database-published", "critical"),
        ("root-user", "warning"),
        ("debug-mode", "critical"),
        ("secret-in-environment", "warning"),
        ("no-memory-limit", "warning"),
        ("no-log-rotation", "warning"),
        ("no-restart-policy", "warning"),
        ("writable-root", "info"),
    ],
)
def test_the_service_that_has_what_it_should_not_have(report, rule, severity):
    (finding,) = [one for one in report["findings"] if one["rule"] == rule and one["object"].startswith("shop/tool")]
    assert finding["severity"] == severity
    assert finding["compose"].startswith("services:\n  tool:\n")


def test_who_runs_as_somebody_else_is_no_root(found):
    assert ("root-user", "shop/postgres") not in found


def test_what_is_accepted_is_left_out_until_its_day(report, found):
    assert not [key for key in found if key[0] == "no-cpu-limit"]
    assert {one["object"] for one in report["ignored"]} >= {"shop/backend", "shop/tool"}
    assert ("latest-tag", "shop/backend") in found
    assert [entry["id"] for entry in report["ignore_expired"]] == ["latest-tag"]


def test_who_guesses_passwords_is_in_the_table_with_the_endpoint(report, found):
    assert [key for key in found if key[0] == "auth_burst_ip"] == [("auth_burst_ip", "shop")]
    client = next(client for client in report["clients"] if client["address"] == "203.0.113.9")
    assert (client["requests"], client["statuses"], client["endpoints"][0]["endpoint"]) == (60, {"401": 60}, "POST /login")
    assert {"stack": "shop", "endpoint": "POST /login", "requests": 60, "clients": 1, "statuses": {"401": 60}} in report["endpoint_map"]


def test_doors_that_are_open(found):
    assert found["port-exposed-no-firewall", "shop/backend:8000"]["severity"] == "warning"
    assert found["port-exposed-no-firewall", "shop/tool:6379"]["severity"] == "critical"
    assert ("api-docs-public", "shop/backend:8000/docs") in found


def test_tokens_are_refused_where_they_are_verified_and_told_of_where_not(found):
    assert {key for key in found if key[0].startswith(("token-", "endpoint-"))} == {
        ("token-invalid-accepted", "read items (an invalid token)"),
        ("token-missing-accepted", "read items (no token)"),
    }


def test_the_item_was_made_with_the_valid_token_alone(host):
    made = host.check_output("docker exec shop-postgres-1 psql -U postgres -d mydb -Atc \"SELECT count(*) FROM items WHERE name = 'probe'\"")
    assert int(made) == 4


def test_the_controller_scans_where_the_host_has_no_scanner():
    last = read(runs()[-1])
    scanned = image(last, "shop/backend")
    assert (scanned["scanner"]["on"], [one["id"] for one in scanned["vulnerabilities"]]) == ("controller", ["CVE-2024-24762"])


def test_sarif_is_complete(report):
    (run,) = json.loads((runs()[0] / "security.sarif").read_text(encoding="utf-8"))["runs"]
    rules = {result["ruleId"] for result in run["results"]}
    assert rules == {finding["rule"] for finding in report["findings"] if finding["rule"] != "image-vulnerable"} | {"CVE-2024-24762"}


def test_no_secret_is_in_any_output(host):
    secrets = [host.check_output(f"cat /srv/tokens/{name}") for name in ("valid", "expired")]
    secrets += [secret.rpartition(".")[2] for secret in secrets]
    pairs = [line.partition("=") for line in host.check_output("cat /srv/stack/.env").splitlines()]
    secrets += [value.strip('"') for name, _, value in pairs if name.endswith(("_PASSWORD", "_SECRET"))]
    secrets += ["Canary-environment", "Canary-query"]
    files = [OUTPUT / "verbose.txt", *(file for run in [*runs(), *runs("check")] for file in run.iterdir())]
    assert len(files) == 13
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert text
        assert [secret[:6] + "…" for secret in secrets if secret in text] == [], file.name
    assert "security_scan : Report" in (OUTPUT / "verbose.txt").read_text(encoding="utf-8")


def test_nothing_was_left_or_changed_on_the_host(host):
    assert host.check_output("cat /run/changed") == ""
    assert host.check_output("find / -xdev -name 'stackops-image*' -o -xdev -name 'stackops-scan-*'") == ""
