# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images: pending updates by recorded words of package managers, thresholds, what is ignored, and how old they are."""

from __future__ import annotations

import datetime
import json
import pathlib
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _image_updates as updates
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._ignores import IgnoreList
from ansible_collections.stackops.runbook.plugins.module_utils._image_scan import (
    ImageRow,
    ImageScanOptions,
    _renew,
    base_time,
    image_facts,
    rescanned,
    scan_envelope,
    source_of,
)
from ansible_collections.stackops.runbook.plugins.module_utils._image_updates import ImageUpdates, PendingUpdate
from ansible_collections.stackops.runbook.plugins.module_utils._process import Completed
from ansible_collections.stackops.runbook.plugins.module_utils._scanner_output import ScannerReport, parse_trivy
from ansible_collections.stackops.runbook.plugins.module_utils._scanners import Scanner

NOW = datetime.datetime(2026, 11, 26, 12, tzinfo=datetime.timezone.utc)
FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "fixtures/scanners"
IMAGE = "sha256:" + "1" * 64

# apt of Debian 11 and of Ubuntu 22.04, apk of Alpine 3.18 and of 3.10.
APT_DEBIAN = """\
Listing...
ca-certificates/oldoldstable-security 20250419~deb12u1~deb11u1 all [upgradable from: 20210119]
libc6/oldoldstable-security 2.31-13+deb11u14 amd64 [upgradable from: 2.31-13+deb11u11]
tzdata/oldoldstable-updates,oldoldstable 2025b-0+deb11u2 all [upgradable from: 2024b-0+deb11u1]
"""
APT_UBUNTU = """\
Listing...
libssl3/jammy-updates,jammy-security 3.0.2-0ubuntu1.18 amd64 [upgradable from: 3.0.2-0ubuntu1.15]
base-files/jammy-updates 12ubuntu4.7 amd64 [upgradable from: 12ubuntu4.6]
"""
APK = """\
fetch https://dl-cdn.alpinelinux.org/alpine/v3.18/main/x86_64/APKINDEX.tar.gz
fetch https://dl-cdn.alpinelinux.org/alpine/v3.18/community/x86_64/APKINDEX.tar.gz
(1/3) Upgrading musl (1.2.4-r0 -> 1.2.4-r1)
(2/3) Upgrading libcrypto3 (3.1.1-r1 -> 3.1.1-r3)
(3/3) Installing libgcc (12.2.1_git20220924-r10)
OK: 7 MiB in 16 packages
"""


def test_apt_of_debian() -> None:
    found = updates.parse_apt_list(APT_DEBIAN)
    assert [(one.package, one.installed, one.candidate, one.security) for one in found] == [
        ("ca-certificates", "20210119", "20250419~deb12u1~deb11u1", True),
        ("libc6", "2.31-13+deb11u11", "2.31-13+deb11u14", True),
        ("tzdata", "2024b-0+deb11u1", "2025b-0+deb11u2", False),
    ]


def test_apt_of_ubuntu() -> None:
    assert [(one.package, one.security) for one in updates.parse_apt_list(APT_UBUNTU)] == [("libssl3", True), ("base-files", False)]


def test_apk() -> None:
    assert [(one.package, one.installed, one.candidate) for one in updates.parse_apk_simulation(APK)] == [
        ("musl", "1.2.4-r0", "1.2.4-r1"),
        ("libcrypto3", "3.1.1-r1", "3.1.1-r3"),
    ]
    assert updates.parse_apk_simulation("OK: 7 MiB in 15 packages\n") == ()


@pytest.mark.parametrize(
    ("pattern", "said", "found"),
    [
        (
            updates._APT_TROUBLE,
            "W: Failed to fetch http://deb.debian.org/debian/dists/bullseye/InRelease  Temporary failure resolving 'deb.debian.org'\n"
            "W: Some index files failed to download. They have been ignored, or old ones used instead.",
            "W: Failed to fetch http://deb.debian.org/debian/dists/bullseye/InRelease Temporary failure resolving 'deb.debian.org'",
        ),
        (updates._APT_TROUBLE, "E: The repository 'http://x bookworm-security Release' does not have a Release file.", "E: The repository"),
        (updates._APT_TROUBLE, "W: Download is performed unsandboxed as root", ""),
        (
            updates._APK_TROUBLE,
            "WARNING: Ignoring https://dl-cdn.alpinelinux.org/alpine/v3.10/main: temporary error (try again later)\nOK: 6 MiB in 14 packages",
            "WARNING: Ignoring https://dl-cdn.alpinelinux.org/alpine/v3.10/main",
        ),
        (updates._APK_TROUBLE, "WARNING: opening from cache https://dl-cdn.alpinelinux.org/alpine/v3.18/main: No such file or directory", "WARNING: opening"),
    ],
)
def test_sources_that_did_not_answer_are_seen_though_the_exit_code_is_0(pattern: t.Any, said: str, found: str) -> None:
    shown = updates.trouble(pattern, Completed(("x",), 0, b"", said.encode()))
    assert shown.startswith(found)
    assert bool(shown) == bool(found)


@pytest.mark.parametrize(
    ("release", "family"),
    [
        ({"ID": "debian"}, "debian"),
        ({"ID": "ubuntu", "ID_LIKE": "debian"}, "ubuntu"),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "ubuntu"),
        ({"ID": "alpine"}, "alpine"),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, ""),
        ({}, ""),
    ],
)
def test_families(release: dict[str, str], family: str) -> None:
    assert updates.family_of(release) == family


BOOKWORM = {"ID": "debian", "VERSION_CODENAME": "bookworm", "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)"}
DEB822 = (
    "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\n"
    "Types: deb\nURIs: http://deb.debian.org/debian-security\nSuites: bookworm-security\nComponents: main\n"
)


def test_only_what_tells_of_security_is_asked() -> None:
    found = updates.sources_to_ask(BOOKWORM, {"/etc/apt/sources.list.d/debian.sources": DEB822})
    assert list(found) == ["debian.sources"]
    assert "bookworm-security" in found["debian.sources"]
    assert "bookworm-updates" not in found["debian.sources"]
    mirror = "deb http://mirror.example/security bookworm-security main\n"
    lines = f"deb http://mirror.example/debian bookworm main\n# deb http://x/security bookworm-security main\n{mirror}"
    assert updates.sources_to_ask(BOOKWORM, {"/etc/apt/sources.list": lines}) == {"sources.list": mirror}


def test_an_image_without_such_a_source_gets_the_distribution_s_own() -> None:
    files = {"/etc/apt/sources.list": "deb http://deb.debian.org/debian bookworm main\n"}
    assert updates.sources_to_ask(BOOKWORM, files) == {"security.list": "deb http://deb.debian.org/debian-security bookworm-security main\n"}
    ubuntu = {"ID": "ubuntu", "VERSION_CODENAME": "noble"}
    assert "noble-security" in updates.sources_to_ask(ubuntu, {})["security.list"]


def test_unstable_has_none_and_a_derivative_s_is_not_known() -> None:
    files = {"/etc/apt/sources.list": "deb http://deb.debian.org/debian sid main\n"}
    sid = {"ID": "debian", "VERSION_CODENAME": "forky", "PRETTY_NAME": "Debian GNU/Linux forky/sid"}
    assert updates.sources_to_ask(sid, files) == {"sources.list": files["/etc/apt/sources.list"]}
    assert updates.sources_to_ask({"ID": "linuxmint", "ID_LIKE": "ubuntu", "VERSION_CODENAME": "wilma"}, {}) == {}


# -- judging -----------------------------------------------------------------------------------------------------------

SCANNER = Scanner("trivy", "/usr/bin/trivy", "0.69.3", "2026-11-25T00:33:07Z")


def report() -> ScannerReport:
    return parse_trivy((FIXTURES / "trivy.json").read_text(encoding="utf-8"), "trivy")


def row(**more: t.Any) -> ImageRow:
    return ImageRow(**{"image": "shop-backend:1.4", "id": IMAGE, "services": ["shop/backend"], "report": report(), "scanner": SCANNER, **more})


def options(ignore: t.Sequence[dict[str, str]] = (), **more: t.Any) -> ImageScanOptions:
    return ImageScanOptions(ignore=IgnoreList.parse(ignore, NOW.date()), **more)


def test_one_result() -> None:
    facts = image_facts(row(), options(), NOW)
    assert (facts["status"], facts["counts"], facts["fixable"]) == ("warning", {"critical": 1, "high": 1, "medium": 1, "low": 0, "unknown": 0}, 2)
    assert facts["scanner"] == {"name": "trivy", "version": "0.69.3", "on": "target", "database_built_at": "2026-11-25T00:33:07Z"}
    assert set(facts["vulnerabilities"][0]) == {"image", "id", "severity", "package", "installed", "fixed", "layer", "path", "title", "url"}


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"only_fixed": False}, "critical"),
        ({"critical_severity": "high"}, "critical"),
        ({"warning_severity": "critical"}, "ok"),
        ({"warning_severity": "medium"}, "warning"),
    ],
)
def test_thresholds(more: dict[str, t.Any], status: str) -> None:
    assert image_facts(row(), options(**more), NOW)["statuses"]["vulnerabilities"] == status


def test_below_the_least_severity_they_are_left_out() -> None:
    assert [one["severity"] for one in image_facts(row(), options(minimum_severity="high"), NOW)["vulnerabilities"]] == ["critical", "high"]


@pytest.mark.parametrize("error", ["no-database", "timeout", "not-installed"])
def test_a_scan_that_failed_is_unknown_and_has_no_numbers(error: str) -> None:
    facts = image_facts(row(report=None, scanner=None, error=CheckError("trivy x", "failed to download vulnerability DB", "copy it", error)), options(), NOW)
    assert (facts["status"], facts["scanned"], facts["counts"], facts["fixable"]) == ("unknown", False, None, None)
    envelope = scan_envelope([facts], None, [], IgnoreList(()))
    assert envelope["status"] == "unknown"
    assert envelope["metrics"]["vulnerabilities_critical"]["value"] is None
    assert envelope["summary"] == "1 of 1 images could not be scanned"


ENTRY = {"id": "CVE-2024-24762", "reason": "no forms are parsed", "expires": "2026-12-31"}


@pytest.mark.parametrize(
    ("entry", "left"),
    [
        (ENTRY, 2),
        ({**ENTRY, "object": "shop/backend"}, 2),
        ({**ENTRY, "object": "backend"}, 2),
        ({**ENTRY, "object": "shop-backend:*", "package": "fast*"}, 2),
        ({**ENTRY, "object": "shop/other"}, 3),
        ({**ENTRY, "package": "zlib1g"}, 3),
        ({**ENTRY, "id": "CVE-2024-*"}, 1),
        ({**ENTRY, "expires": "2026-11-26"}, 2),
        ({**ENTRY, "expires": "2026-11-25"}, 3),
    ],
    ids=["by id", "of a service", "by its short name", "by image and package", "of another", "of another package", "several", "on the last day", "expired"],
)
def test_the_ignore_list(entry: dict[str, str], left: int) -> None:
    chosen = options([entry])
    facts = image_facts(row(), chosen, NOW)
    assert len(facts["vulnerabilities"]) == left
    assert len(facts["ignored"]) == 3 - left
    assert all(one["reason"] == entry["reason"] for one in facts["ignored"])
    assert bool(scan_envelope([facts], None, [], chosen.ignore)["ignore_expired"]) == (entry["expires"] < "2026-11-26")


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"id": "CVE-1", "expires": "2026-12-31"}, "it has no reason"),
        ({"id": "CVE-1", "reason": "x"}, "it has no expires"),
        ({"reason": "x", "expires": "2026-12-31"}, "it has no id"),
        ({"id": "CVE-1", "reason": "x", "expires": "next year"}, "expires is no day"),
        ({"id": "CVE-1", "reason": "x", "expires": "2026-12-31", "until": "1"}, "unknown key until"),
    ],
)
def test_entries_without_a_reason_or_a_day_are_refused(entry: dict[str, str], reason: str) -> None:
    with pytest.raises(CheckError, match=reason):
        IgnoreList.parse([entry])


PENDING = ImageUpdates(
    "Debian GNU/Linux 12", (PendingUpdate("libc6", "1", "2", True, "bookworm-security"), PendingUpdate("tzdata", "1", "2", False, "bookworm"))
)


def test_pending_updates_count_without_a_scanner_too() -> None:
    facts = image_facts(row(report=None, scanner=None, error=CheckError("image scanner", "none", "", "not-installed"), updates=PENDING), options(), NOW)
    assert (facts["updates"]["security"], facts["statuses"]["updates"], facts["status"]) == (1, "warning", "warning")
    ignored = options([{"id": "pending-update", "package": "libc6", "reason": "rebuilt on Monday", "expires": "2026-12-01"}])
    facts = image_facts(row(updates=PENDING), ignored, NOW)
    assert (facts["updates"]["security"], facts["statuses"]["updates"], len(facts["ignored"])) == (0, "ok", 1)


def test_what_a_package_manager_cannot_tell_is_unknown_unless_a_scanner_answered() -> None:
    silent = ImageUpdates("Debian", reason="W: Failed to fetch", hint="let it")
    without = image_facts(row(report=None, scanner=None, error=CheckError("x", "none"), updates=silent), options(), NOW)
    assert (without["status"], without["updates"]["security"], without["updates"]["reason"]) == ("unknown", None, "W: Failed to fetch")
    assert image_facts(row(updates=silent), options(), NOW)["status"] == "warning"
    assert scan_envelope([without], None, [], IgnoreList(()))["metrics"]["pending_security_updates"]["value"] is None


def test_an_old_base_is_a_warning() -> None:
    old = NOW - datetime.timedelta(days=200)
    facts = image_facts(row(base_created_at=old, created_at=NOW), options(warning_severity="critical"), NOW)
    assert (facts["age_days"], facts["status"], facts["statuses"]["age"]) == (200.0, "warning", "warning")
    accepted = options([{"id": "image-old", "object": "shop/backend", "reason": "frozen", "expires": "2027-01-01"}], warning_severity="critical")
    assert image_facts(row(base_created_at=old), accepted, NOW)["status"] == "ok"


def test_the_base_is_the_lowest_layer_with_something_in_it() -> None:
    history = [
        {"Created": 1795600000, "Size": 10},
        {"Created": 1790000000, "Size": 0},
        {"Created": 1780000000, "Size": 80_000_000},
        {"Created": 1700000000, "Size": 0},
    ]
    assert base_time(history) == datetime.datetime.fromtimestamp(1780000000, datetime.timezone.utc)
    assert base_time([{"Created": 0, "Size": 80}]) is None
    assert base_time([]) is None


def test_what_the_controller_found_takes_the_place_of_no_scan() -> None:
    unscanned = image_facts(row(report=None, scanner=None, error=CheckError("x", "none", "", "not-installed"), updates=PENDING), options(), NOW)
    facts = rescanned(json.loads(json.dumps(unscanned)), report(), SCANNER, options(only_fixed=False))
    assert (facts["status"], facts["scanned"], facts["error"], facts["scanner"]["on"]) == ("critical", True, None, "controller")
    assert facts["updates"] == unscanned["updates"]


@pytest.mark.parametrize(("source", "command"), [("built", "build --pull --no-cache"), ("registry", "pull")])
def test_all_services_of_the_project_get_the_image_that_is_made_anew(source: str, command: str) -> None:
    labels = {"com.docker.compose.project": "shop", "com.docker.compose.project.working_dir": "/srv/shop"}
    assert _renew(source, labels, ["shop/backend", "other/backend", "shop/worker"]) == (
        f"cd /srv/shop && docker compose -p shop {command} backend worker && docker compose -p shop up --detach backend worker"
    )


@pytest.mark.parametrize(
    ("image", "source"),
    [
        ({"RepoDigests": ["postgres@sha256:aa"], "Config": {"Labels": None}}, "registry"),
        ({"RepoDigests": [], "Config": {"Labels": {"maintainer": "a"}}}, "built"),
        ({"RepoDigests": None}, "built"),
        ({"RepoDigests": ["shop-backend@sha256:aa"], "Config": {"Labels": {"com.docker.compose.project": "shop"}}}, "built"),
    ],
    ids=["pulled", "classic builder", "podman", "built into the store of containerd"],
)
def test_where_an_image_comes_from(image: dict[str, t.Any], source: str) -> None:
    assert source_of(image) == source
