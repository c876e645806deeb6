# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images: pending updates by recorded words of package managers, thresholds, what is ignored, and how old they are."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import stat
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _image_updates as updates
from ansible_collections.stackops.runbook.plugins.module_utils import _scanners as scanners
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import Selection, discover
from ansible_collections.stackops.runbook.plugins.module_utils._engine import Engine, EngineOptions
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._ignores import IgnoreList
from ansible_collections.stackops.runbook.plugins.module_utils._image_scan import (
    ImageRow,
    ImageScanOptions,
    _renew,
    base_time,
    collect_images,
    export_image,
    image_facts,
    image_scan_arguments,
    rescanned,
    scan_envelope,
    scan_images,
    source_of,
)
from ansible_collections.stackops.runbook.plugins.module_utils._image_updates import ImageUpdates, PendingUpdate
from ansible_collections.stackops.runbook.plugins.module_utils._process import Completed
from ansible_collections.stackops.runbook.plugins.module_utils._scanner_output import ScannerReport, parse_trivy
from ansible_collections.stackops.runbook.plugins.module_utils._scanners import Scanner
from ansible_collections.stackops.runbook.tests.support.engine_socket import Handler, Server, frame, serving, upgraded

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


# -- against an engine -------------------------------------------------------------------------------------------------
# A server on a Unix socket stands for the engine, a shell program for the scanner.

OTHER = "sha256:" + "2" * 64
LABELS = {"com.docker.compose.project": "shop", "com.docker.compose.project.working_dir": "/srv/shop"}
BASE = datetime.datetime(2026, 3, 1, tzinfo=datetime.timezone.utc)


@pytest.fixture
def server(tmp_path: pathlib.Path) -> t.Iterator[Server]:
    pytest.importorskip("docker", reason="the Docker SDK for Python is not installed")
    with serving(tmp_path) as running:
        yield running


def host_of(server: Server) -> str:
    return f"unix://{server.server_address!s}"


def engine_of(server: Server) -> Engine:
    return Engine.connect(EngineOptions(docker_host=host_of(server), timeout_seconds=5))


def has_containers(server: Server, *containers: tuple[str, str, str]) -> None:
    """Let the engine have containers of the project shop: of a service, made from an image of that name and identifier."""
    listed = []
    for number, (service, reference, identifier) in enumerate(containers):
        labels = {**LABELS, "com.docker.compose.service": service, "com.docker.compose.container-number": str(number + 1)}
        listed.append({"Id": f"c{number}", "Labels": labels})
        inspected = {"Id": f"c{number}", "Name": f"/shop-{service}-{number}", "Image": identifier, "Config": {"Image": reference, "Labels": labels}}
        server.answers[f"/containers/c{number}/json"] = (200, json.dumps(inspected).encode())
    server.answers["/containers/json"] = (200, json.dumps(listed).encode())


def has_image(server: Server, reference: str, identifier: str, **more: t.Any) -> None:
    """Let the engine have an image by its name and its identifier, with a base that is from March."""
    found = {"Id": identifier, "Created": "2026-11-20T08:00:00.123456789Z", "Size": 120_000_000, "RepoDigests": [], "Config": {"Labels": {}}, **more}
    history = [{"Created": 1795000000, "Size": 10}, {"Created": int(BASE.timestamp()), "Size": 80_000_000}]
    for name in (reference, identifier):
        server.answers[f"/images/{name}/json"] = (200, json.dumps(found).encode())
        server.answers[f"/images/{name}/history"] = (200, json.dumps(history).encode())


def has_the_shop(server: Server) -> None:
    """Let the engine have a project with an image that was built, twice, and one from a registry."""
    has_containers(server, ("backend", "shop-backend:1.4", IMAGE), ("worker", "shop-backend:1.4", IMAGE), ("db", "postgres:17", OTHER))
    has_image(server, "shop-backend:1.4", IMAGE, Config={"Labels": LABELS})
    has_image(server, "postgres:17", OTHER, RepoDigests=["postgres@sha256:aa"])


def parameters(server: Server, **more: t.Any) -> dict[str, t.Any]:
    """Return the parameters of the module with their defaults, as Ansible gives them; however late it is, no image is old."""
    defaults = {name: spec.get("default") for name, spec in image_scan_arguments().items()}
    return {**defaults, "docker_host": host_of(server), "timeout": 5, "timeout_seconds": 20.0, "updates": False, "age_warning_days": 1e6, **more}


@pytest.fixture
def trivy(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., pathlib.Path]:
    """Make a shell program the only scanner of this machine; it notes of what and where it was asked."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setattr(scanners, "_MORE_PATHS", ())
    monkeypatch.setattr(scanners, "PLUGIN_DIRECTORIES", (str(tmp_path),))

    def make(version: str = "0.69.3", fails_for: str = "none") -> pathlib.Path:
        told = json.dumps({"Version": version, "VulnerabilityDB": {"UpdatedAt": "2026-11-25T00:33:07Z"}})
        program = tmp_path / "trivy"
        program.write_text(
            f"#!/bin/sh\n[ \"$1\" = version ] && {{ echo '{told}'; exit; }}\nfor image; do :; done\n"
            f'echo "$image at $DOCKER_HOST" >> {tmp_path}/scans\n'
            f'[ "$image" = {fails_for} ] && {{ echo "FATAL no space left on device" >&2; exit 1; }}\n'
            f'while [ "$1" != --output ]; do shift; done; cp {FIXTURES}/trivy.json "$2"\n',
            encoding="utf-8",
        )
        program.chmod(0o755)
        return program

    return make


def scans(program: pathlib.Path) -> list[str]:
    file = program.parent / "scans"
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def by_image(facts: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    return {image["image"]: image for image in facts["images"]}


def test_containers_of_one_image_are_one_row(server: Server) -> None:
    has_the_shop(server)
    engine = engine_of(server)
    backend, database = collect_images(engine, discover(engine, Selection()))
    assert (backend.image, backend.id, backend.services, backend.source) == ("shop-backend:1.4", IMAGE, ["shop/backend", "shop/worker"], "built")
    assert (database.image, database.id, database.services, database.source) == ("postgres:17", OTHER, ["shop/db"], "registry")
    assert backend.renew is not None and "build --pull --no-cache backend worker" in backend.renew
    assert database.renew == "cd /srv/shop && docker compose -p shop pull db && docker compose -p shop up --detach db"
    assert (backend.size_bytes, backend.base_created_at) == (120_000_000, BASE)
    assert backend.created_at == datetime.datetime(2026, 11, 20, 8, 0, 0, 123456, tzinfo=datetime.timezone.utc)


def test_a_name_that_means_another_image_by_now_is_not_what_is_scanned(server: Server) -> None:
    has_containers(server, ("backend", "shop-backend:1.4", IMAGE))
    has_image(server, "shop-backend:1.4", OTHER)
    has_image(server, "before", IMAGE)
    engine = engine_of(server)
    assert [row.image for row in collect_images(engine, discover(engine, Selection()))] == [IMAGE]


def test_images_that_are_named_need_no_container(server: Server) -> None:
    has_image(server, "tools:1", IMAGE)
    found, absent = collect_images(engine_of(server), [], ["tools:1", "gone:2"])
    assert (found.image, found.id, found.services, found.renew, found.error) == ("tools:1", IMAGE, [], None, None)
    assert (absent.image, absent.id, absent.size_bytes) == ("gone:2", "", None)
    assert absent.error is not None and (absent.error.code, absent.error.hint) == ("not-found", "See: docker images")


def test_times_that_no_clock_showed_are_not_known(server: Server) -> None:
    has_image(server, "tools:1", IMAGE, Created="1970-01-01T00:00:01Z")
    server.answers[f"/images/{IMAGE}/history"] = (200, b'[{"Created": 1, "Size": 80}]')
    row = collect_images(engine_of(server), [], ["tools:1"])[0]
    assert (row.created_at, row.base_created_at, row.error) == (None, None, None)


def test_an_image_that_the_engine_fails_at_is_unknown_and_the_others_are_not(server: Server, trivy: t.Callable[..., pathlib.Path]) -> None:
    program = trivy()
    has_the_shop(server)
    server.answers[f"/images/{OTHER}/history"] = (500, b'{"message": "layer does not exist"}')
    facts = by_image(scan_images(parameters(server)))
    assert (facts["postgres:17"]["status"], facts["postgres:17"]["scanned"]) == ("unknown", False)
    assert "layer does not exist" in facts["postgres:17"]["error"]["reason"]
    assert facts["shop-backend:1.4"]["scanned"]
    assert [scan.partition(" ")[0] for scan in scans(program)] == ["shop-backend:1.4"]


def test_the_whole_scan(server: Server, trivy: t.Callable[..., pathlib.Path]) -> None:
    program = trivy()
    has_the_shop(server)
    facts = scan_images(parameters(server))
    assert (facts["status"], facts["scanner_missing"], facts["errors"]) == ("warning", None, [])
    assert facts["scanner"] == {"name": "trivy", "version": "0.69.3", "path": str(program), "on": "target"}
    assert scans(program) == [f"shop-backend:1.4 at {host_of(server)}", f"postgres:17 at {host_of(server)}"]
    assert facts["summary"] == "vulnerabilities in 2 images: 2 critical, 2 high, 2 medium"
    assert facts["metrics"]["vulnerabilities_high"]["value"] == 2
    assert facts["metrics"]["images_not_scanned"]["value"] == 0
    assert facts["images"][0]["updates"]["asked"] is False


def test_one_scan_that_fails_leaves_the_others(server: Server, trivy: t.Callable[..., pathlib.Path]) -> None:
    trivy(fails_for="shop-backend:1.4")
    has_the_shop(server)
    facts = scan_images(parameters(server))
    failed, scanned = by_image(facts)["shop-backend:1.4"], by_image(facts)["postgres:17"]
    assert (failed["status"], failed["counts"], failed["scanner"]) == ("unknown", None, None)
    assert "no space left on device" in failed["error"]["reason"]
    assert (scanned["scanned"], scanned["counts"]["high"]) == (True, 1)
    assert facts["metrics"]["images_not_scanned"]["value"] == 1


def test_without_time_nothing_is_started_and_nothing_is_fine(server: Server, trivy: t.Callable[..., pathlib.Path]) -> None:
    program = trivy()
    has_the_shop(server)
    facts = scan_images(parameters(server, deadline_seconds=0.0, updates=True, images=["postgres:17", "gone:2"]))
    late, absent = facts["images"]
    assert (late["status"], late["error"]["reason"]) == ("unknown", "not scanned: the time for all images is over")
    assert (late["updates"]["status"], late["updates"]["reason"]) == ("unknown", "the time for all images is over")
    assert (absent["error"]["reason"], absent["updates"]["asked"]) == ("this host has no such image", False)
    assert scans(program) == []
    assert not [path for path, dummy in server.seen if path.endswith("/containers/create")]


def test_without_a_scanner_every_image_says_so(server: Server, trivy: t.Callable[..., pathlib.Path]) -> None:
    has_the_shop(server)
    facts = scan_images(parameters(server))
    assert (facts["status"], facts["scanner"], facts["scanner_missing"]["code"]) == ("unknown", None, "not-installed")
    # The controller may have one: that is no error of the host.
    assert facts["errors"] == []
    assert {image["error"]["source"] for image in facts["images"]} == {facts["scanner_missing"]["source"]}


def test_a_scanner_that_must_not_run_is_an_error_of_the_host(server: Server, trivy: t.Callable[..., pathlib.Path]) -> None:
    program = trivy(version="0.69.4")
    has_the_shop(server)
    facts = scan_images(parameters(server))
    assert (facts["scanner_missing"]["code"], [error["source"] for error in facts["errors"]]) == ("refused", [facts["scanner_missing"]["source"]])
    assert scans(program) == []


def test_scanner_none_looks_for_none(server: Server, trivy: t.Callable[..., pathlib.Path]) -> None:
    program = trivy()
    has_the_shop(server)
    facts = scan_images(parameters(server, scanner="none"))
    assert (facts["scanner"], facts["scanner_missing"], scans(program)) == (None, None, [])
    assert {image["error"]["reason"] for image in facts["images"]} == {"scanner is none"}


def test_without_an_engine_nothing_is_known(tmp_path: pathlib.Path, server: Server) -> None:
    facts = scan_images(parameters(server, docker_host=f"unix://{tmp_path}/none.sock"))
    assert (facts["status"], facts["images"], facts["scanner_missing"]) == ("unknown", [], None)
    assert [error["reason"] for error in facts["errors"]] == ["no such socket"]


def answers_commands(server: Server, **commands: bytes) -> None:
    """Let a disposable container be made, in which each of *commands* says its words."""

    def begin(handler: Handler) -> None:
        program = json.loads(server.seen[-1][1])["Cmd"][0]
        content = json.dumps({"Id": program}).encode()
        handler.send_response(201)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    server.answers["/containers/create"] = (201, b'{"Id": "helper"}')
    server.answers["/containers/helper/attach"] = upgraded()
    server.answers["/containers/helper/start"] = (204, b"")
    server.answers["/containers/helper"] = (204, b"")
    server.answers["/containers/helper/exec"] = begin
    for program, said in commands.items():
        server.answers[f"/exec/{program}/start"] = upgraded(frame(1, said))
        server.answers[f"/exec/{program}/json"] = (200, b'{"ExitCode": 0}')


def test_a_container_of_the_image_tells_its_pending_updates(server: Server) -> None:
    has_image(server, "tools:1", IMAGE)
    answers_commands(server, cat=b'ID=alpine\nPRETTY_NAME="Alpine Linux v3.18"\n', apk=APK.encode())
    facts = scan_images(parameters(server, images=["tools:1"], scanner="none", updates=True, updates_network="host"))
    image = facts["images"][0]
    assert (image["os"], image["statuses"]["updates"], image["updates"]["security"]) == ("Alpine Linux v3.18", "warning", 2)
    assert [package["package"] for package in image["updates"]["packages"]] == ["musl", "libcrypto3"]
    assert facts["metrics"]["pending_security_updates"]["value"] == 2
    made = next(json.loads(body) for path, body in server.seen if "/containers/create" in path)
    assert (made["Image"], made["HostConfig"]["NetworkMode"], made["HostConfig"]["CapDrop"]) == (IMAGE, "host", ["ALL"])


def test_an_image_that_no_container_can_be_made_of_has_unknown_updates(server: Server) -> None:
    has_image(server, "tools:1", IMAGE)
    server.answers["/containers/create"] = (500, b'{"message": "no space left on device"}')
    image = scan_images(parameters(server, images=["tools:1"], scanner="none", updates=True))["images"][0]
    assert (image["statuses"]["updates"], image["updates"]["security"]) == ("unknown", None)
    assert "no space left on device" in image["updates"]["reason"]
    assert image["updates"]["hint"]


# -- an image for the controller ---------------------------------------------------------------------------------------


def export(server: Server, directory: pathlib.Path, **more: t.Any) -> dict[str, t.Any]:
    return export_image(parameters(server), {"image": "tools:1", "directory": str(directory), "max_bytes": 1000, "timeout_seconds": 10.0, **more})


@pytest.fixture
def directory(tmp_path: pathlib.Path) -> pathlib.Path:
    made = tmp_path / "export"
    made.mkdir()
    return made


def test_an_image_is_saved_for_its_reader_alone(server: Server, directory: pathlib.Path) -> None:
    server.answers["/images/tools:1/get"] = (200, b"an archive")
    assert export(server, directory) == {"path": f"{directory}/stackops-image.tar", "bytes": 10}
    file = directory / "stackops-image.tar"
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"an archive", 0o600)


def test_the_image_before_gives_way_and_a_link_in_its_place_leads_nowhere(server: Server, directory: pathlib.Path, tmp_path: pathlib.Path) -> None:
    server.answers["/images/tools:1/get"] = (200, b"an archive")
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (directory / "stackops-image.tar").symlink_to(victim)
    assert export(server, directory)["bytes"] == 10
    assert (victim.read_bytes(), (directory / "stackops-image.tar").is_symlink()) == (b"precious", False)
    server.answers["/images/tools:1/get"] = (200, b"the next")
    export(server, directory)
    assert (directory / "stackops-image.tar").read_bytes() == b"the next"


@pytest.mark.parametrize(
    ("answer", "code"),
    [((200, b"x" * 2000), "too-large"), ((404, b'{"message": "No such image: tools:1"}'), "not-found")],
    ids=["larger than allowed", "gone"],
)
def test_an_image_that_cannot_be_saved_leaves_no_file(server: Server, directory: pathlib.Path, answer: tuple[int, bytes], code: str) -> None:
    server.answers["/images/tools:1/get"] = answer
    with pytest.raises(CheckError) as caught:
        export(server, directory)
    assert (caught.value.code, list(directory.iterdir())) == (code, [])


def test_no_directory_for_it_is_told_with_the_room_it_takes(server: Server, directory: pathlib.Path) -> None:
    with pytest.raises(CheckError, match="No such file or directory") as caught:
        export(server, directory / "gone", max_bytes=4 * 1024**3)
    assert caught.value.code == "io"
    assert "4 GiB at most" in caught.value.hint
