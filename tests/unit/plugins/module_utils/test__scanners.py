# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What scanners say in one form, and which of them is run: fake programs replay the real ones' formats and words."""

from __future__ import annotations

import json
import os
import pathlib
import stat
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _scanners as scanners
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._scanner_output import package_of, parse_grype, parse_scout, parse_trivy, severity_of
from ansible_collections.stackops.runbook.plugins.module_utils._scanners import Scanner, ScannerOptions, find_scanner, run_scanner

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "fixtures/scanners"
LAYER = "sha256:" + "b" * 64


def fixture(name: str) -> str:
    return (FIXTURES / name).read_text(encoding="utf-8")


# -- one form ----------------------------------------------------------------------------------------------------------


def test_trivy() -> None:
    report = parse_trivy(fixture("trivy.json"), "trivy")
    assert [(one.severity, one.id, one.package, one.installed, one.fixed) for one in report.vulnerabilities] == [
        ("critical", "CVE-2023-45853", "zlib1g", "1:1.2.13.dfsg-1", ""),
        ("high", "CVE-2024-24762", "fastapi", "0.103.0", "0.109.1"),
        ("medium", "CVE-2024-0727", "libssl3", "3.0.11-1~deb12u2", "3.0.13-1~deb12u1"),
    ]
    assert [one.layer for one in report.vulnerabilities] == [LAYER, "sha256:" + "c" * 64, LAYER]
    assert [one.path for one in report.vulnerabilities] == ["", "usr/lib/python3/dist-packages/fastapi-0.103.0.dist-info/METADATA", ""]
    assert (report.os, report.end_of_life) == ("debian 12.4", False)


def test_grype() -> None:
    report = parse_grype(fixture("grype.json"), "grype")
    assert [(one.severity, one.id, one.package, one.installed, one.fixed, one.layer) for one in report.vulnerabilities] == [
        ("medium", "CVE-2024-0727", "libssl3", "3.0.11-1~deb12u2", "3.0.13-1~deb12u1", LAYER),
        ("low", "CVE-2011-3374", "apt", "2.6.1", "", LAYER),
    ]
    assert (report.os, report.scanner_version, report.database_built_at) == ("debian 12", "0.88.0", "2026-11-20T01:31:05Z")


def test_docker_scout() -> None:
    report = parse_scout(fixture("docker-scout.sarif"), "docker-scout")
    assert [(one.severity, one.id, one.package, one.installed, one.fixed, one.layer, one.title) for one in report.vulnerabilities] == [
        ("medium", "CVE-2024-0727", "openssl", "3.0.11-1~deb12u2", "3.0.13-1~deb12u1", LAYER, "CVE-2024-0727"),
        ("unknown", "CVE-2023-50782", "cryptography", "41.0.7", "", "", "Observable Discrepancy"),
    ]
    assert report.scanner_version == "1.20.2"


def test_an_image_without_vulnerabilities_is_not_one_that_nobody_could_read() -> None:
    clean = {"SchemaVersion": 2, "ArtifactName": "x", "Metadata": {"OS": {"Family": "alpine", "Name": "3.22.1"}}}
    assert parse_trivy(json.dumps(clean), "trivy").vulnerabilities == ()
    with pytest.raises(CheckError, match="neither an operating system nor packages"):
        parse_trivy(json.dumps({"SchemaVersion": 2, "ArtifactName": "x", "Metadata": {}}), "trivy")


def test_a_distribution_without_fixes_is_told() -> None:
    old = {"SchemaVersion": 2, "ArtifactName": "x", "Metadata": {"OS": {"Family": "debian", "Name": "9", "EOSL": True}}}
    assert parse_trivy(json.dumps(old), "trivy").end_of_life


@pytest.mark.parametrize("parse", [parse_trivy, parse_grype, parse_scout])
@pytest.mark.parametrize("text", ["", "    i New version 1.24.0 available\n", "[]", "{}", '{"matches": []}', '{"version": "2.1.0", "runs": []}', "[" * 100_000])
def test_what_is_no_report_is_an_error_and_never_zero(parse: t.Callable[[str, str], t.Any], text: str) -> None:
    with pytest.raises(CheckError):
        parse(text, "scanner")


@pytest.mark.parametrize(
    ("purl", "expected"),
    [
        ("pkg:deb/debian/tar@1.35%2Bdfsg-3.1?os_name=debian", ("tar", "1.35+dfsg-3.1")),
        ("pkg:npm/%40babel/core@7.1.0", ("core", "7.1.0")),
        ("pkg:deb/debian/tar", ("tar", "")),
        ("nothing", ("nothing", "")),
    ],
)
def test_package_urls(purl: str, expected: tuple[str, str]) -> None:
    assert package_of(purl) == expected


@pytest.mark.parametrize(("word", "expected"), [("CRITICAL", "critical"), ("Negligible", "low"), ("moderate", "medium"), (None, "unknown"), ("odd", "unknown")])
def test_severities(word: t.Optional[str], expected: str) -> None:
    assert severity_of(word) == expected


# -- which one is run --------------------------------------------------------------------------------------------------


@pytest.fixture
def programs(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., pathlib.Path]:
    """Make fake programs the only ones there are, beside the shell's own."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setattr(scanners, "_MORE_PATHS", ())
    monkeypatch.setattr(scanners, "PLUGIN_DIRECTORIES", (str(tmp_path),))

    def make(name: str, script: str) -> pathlib.Path:
        path = tmp_path / name
        path.write_text(f'#!/bin/sh\necho "$0 $*" >> {tmp_path}/calls\n{script}\n', encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make


def trivy(version: str = "0.69.3", scan: str = "", database: str = "2026-11-20T00:33:07Z") -> str:
    told = json.dumps({"Version": version, "VulnerabilityDB": {"Version": 2, "UpdatedAt": database}})
    # The argument after --output is where the report goes.
    copy = f'while [ "$1" != --output ]; do shift; done; cp {FIXTURES}/trivy.json "$2"'
    return f"if [ \"$1\" = version ]; then echo '{told}'; exit; fi\n{scan or copy}"


def calls(program: pathlib.Path) -> list[str]:
    file = program.parent / "calls"
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def test_a_scan_with_trivy(programs: t.Callable[..., pathlib.Path]) -> None:
    program = programs("trivy", trivy())
    scanner = find_scanner(ScannerOptions())
    assert (scanner.name, scanner.version, scanner.path, scanner.database_built_at) == ("trivy", "0.69.3", str(program), "2026-11-20T00:33:07Z")
    report = run_scanner(scanner, "shop-backend:1.4", ScannerOptions(timeout_seconds=20))
    assert len(report.vulnerabilities) == 3
    assert "--exit-code 0" in calls(program)[-1]
    assert calls(program)[-1].endswith(" shop-backend:1.4")


def test_a_scan_of_an_archive(programs: t.Callable[..., pathlib.Path]) -> None:
    program = programs("trivy", trivy())
    run_scanner(find_scanner(ScannerOptions()), "shop-backend:1.4", ScannerOptions(timeout_seconds=20), archive="/x/image.tar")
    assert calls(program)[-1].endswith(" --input /x/image.tar")


def test_grype_and_scout_are_taken_where_there_is_no_trivy(programs: t.Callable[..., pathlib.Path]) -> None:
    programs("docker-scout", "exit 1")
    programs(
        "docker",
        f"if [ \"$2\" = version ]; then echo 'version: v1.20.2 (go1.24.0 - linux/amd64)'; exit; fi\n"
        f'while [ "$1" != --output ]; do shift; done; cp {FIXTURES}/docker-scout.sarif "$2"; echo \'    ✓ SBOM of image already cached, 360 packages indexed\'',
    )
    scout = find_scanner(ScannerOptions())
    assert (scout.name, scout.version) == ("docker-scout", "1.20.2")
    assert len(run_scanner(scout, "x:1", ScannerOptions(timeout_seconds=20)).vulnerabilities) == 2
    programs(
        "grype",
        f'if [ "$1" = version ]; then echo \'{{"version": "0.88.0"}}\'; exit; fi\nwhile [ "$1" != --file ]; do shift; done; cp {FIXTURES}/grype.json "$2"',
    )
    grype = find_scanner(ScannerOptions())
    assert (grype.name, grype.version) == ("grype", "0.88.0")
    assert len(run_scanner(grype, "x:1", ScannerOptions(timeout_seconds=20)).vulnerabilities) == 2


def test_without_any_it_says_how_to_get_one(programs: t.Callable[..., pathlib.Path]) -> None:
    with pytest.raises(CheckError) as caught:
        find_scanner(ScannerOptions())
    assert caught.value.code == "not-installed"
    assert "trivy.dev" in caught.value.hint
    assert "never curl into a shell" in caught.value.hint


@pytest.mark.parametrize("version", ["0.69.4", "0.69.5", "0.69.6"])
def test_malicious_releases_are_refused(programs: t.Callable[..., pathlib.Path], version: str) -> None:
    programs("trivy", trivy(version))
    with pytest.raises(CheckError, match=f"trivy {version} is a malicious release: GHSA-69fq-xp46-6x23") as caught:
        find_scanner(ScannerOptions())
    assert caught.value.code == "refused"
    assert "treat every secret it could read as known" in caught.value.hint


def test_a_malicious_one_that_says_so_in_its_build_is_not_even_started(programs: t.Callable[..., pathlib.Path]) -> None:
    program = programs("trivy", trivy("0.69.3") + "\n# -X=github.com/aquasecurity/trivy/pkg/version/app.ver=0.69.4\n")
    with pytest.raises(CheckError, match="malicious"):
        find_scanner(ScannerOptions())
    assert calls(program) == []


def test_a_malicious_one_that_its_package_tells_of_is_not_started_either(programs: t.Callable[..., pathlib.Path]) -> None:
    program = programs("trivy", trivy("0.69.3"))
    programs("dpkg-query", f"if [ \"$1\" = --search ]; then echo 'trivy: {program}'; else printf 0.69.4; fi")
    with pytest.raises(CheckError, match="trivy 0.69.4 is a malicious release"):
        find_scanner(ScannerOptions())
    assert not [call for call in calls(program) if call.startswith(f"{program} ")]


def test_the_linked_version_is_found_across_the_pieces_that_a_file_is_read_in(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanners, "_PIECE_BYTES", 64)
    for offset in range(0, 64, 7):
        path = tmp_path / "program"
        path.write_bytes(b"x" * offset + b" -X=github.com/aquasecurity/trivy/pkg/version/app.ver=0.69.4 " + b"y" * 200)
        assert scanners.linked_version(str(path)) == "0.69.4"


def test_with_checksums_no_other_program_is_started(programs: t.Callable[..., pathlib.Path]) -> None:
    program = programs("trivy", trivy())
    with pytest.raises(CheckError, match="not among scanner_sha256") as caught:
        find_scanner(ScannerOptions(sha256=("0" * 64,)))
    assert (caught.value.code, calls(program)) == ("refused", [])
    assert find_scanner(ScannerOptions(sha256=(scanners.sha256_of(str(program)),))).name == "trivy"


def test_versions_of_one_s_own_are_refused(programs: t.Callable[..., pathlib.Path]) -> None:
    programs("trivy", trivy("0.70.1"))
    with pytest.raises(CheckError, match="trivy 0.70.1 is among refused_versions"):
        find_scanner(ScannerOptions(refused_versions=("0.70.1",)))


def test_one_that_does_not_tell_its_version_is_refused(programs: t.Callable[..., pathlib.Path]) -> None:
    programs("trivy", "echo hello")
    with pytest.raises(CheckError, match="does not tell its version") as caught:
        find_scanner(ScannerOptions(name="trivy"))
    assert caught.value.code == "refused"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (
            '2026-11-20T14:14:30Z\tERROR\t[vulndb] Failed to download artifact\trepo="ghcr.io/aquasecurity/trivy-db:2" err="TOOMANYREQUESTS: retry-after"\n'
            "2026-11-20T14:14:30Z\tFATAL\tFatal error\tinit error: DB error: failed to download vulnerability DB: OCI artifact error",
            "rate-limit",
        ),
        ("2026-11-20T14:14:30Z\tFATAL\tFatal error\tinit error: DB error: failed to download vulnerability DB: OCI artifact error: i/o timeout", "no-database"),
        ("db could not be loaded: the vulnerability database was built 6 days ago (max allowed age is 5 days)", "no-database"),
        ("ERROR failed to load vulnerability db: database does not exist", "no-database"),
        ("        Log in with your Docker ID or email address to use docker scout.", "no-login"),
        ("FATAL\tError\twrite /tmp/x: no space left on device", "disk-full"),
        ("panic: interface conversion: interface {} is nil, not float64", "failed"),
    ],
)
def test_a_scanner_that_fails_is_told_with_its_reason(programs: t.Callable[..., pathlib.Path], tmp_path: pathlib.Path, said: str, code: str) -> None:
    (tmp_path / "said").write_text(said, encoding="utf-8")
    programs("trivy", trivy(scan=f"cat {tmp_path}/said >&2; exit 1"))
    with pytest.raises(CheckError) as caught:
        run_scanner(find_scanner(ScannerOptions()), "x:1", ScannerOptions(timeout_seconds=20))
    assert caught.value.code == code
    assert "exit code 1" in caught.value.reason
    assert caught.value.hint


def test_one_that_ends_well_without_a_report_is_no_image_without_vulnerabilities(programs: t.Callable[..., pathlib.Path]) -> None:
    programs("trivy", trivy(scan="exit 0"))
    with pytest.raises(CheckError, match="wrote no report"):
        run_scanner(find_scanner(ScannerOptions()), "x:1", ScannerOptions(timeout_seconds=20))


def test_one_that_hangs_is_ended(programs: t.Callable[..., pathlib.Path]) -> None:
    programs("trivy", trivy(scan="exec sleep 600"))
    with pytest.raises(CheckError) as caught:
        run_scanner(Scanner("trivy", "trivy", "0.69.3"), "x:1", ScannerOptions(timeout_seconds=0.5))
    assert caught.value.code == "timeout"
