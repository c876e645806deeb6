# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The image scanners of a machine: which there are, whether one may be run at all, and what running it gave.

A scanner reads everything on a machine with root's rights, so one that was tampered with must not be started, not even
to ask for its version. What can be known without starting it is looked at first.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import tempfile
import typing as t

from ._compose_config import PLUGIN_DIRECTORIES
from ._envelope import CheckError
from ._process import Completed, run_command
from ._scanner_output import ScannerReport, parse_grype, parse_scout, parse_trivy

#: In the order in which they are taken.
NAMES: tuple[str, ...] = ("trivy", "grype", "docker-scout")

#: Releases that were published by somebody else than their authors, with where that is told.
MALICIOUS: dict[str, dict[str, str]] = {
    "trivy": dict.fromkeys(("0.69.4", "0.69.5", "0.69.6"), "GHSA-69fq-xp46-6x23 (CVE-2026-33634), 19 March 2026"),
}

GET_ONE = (
    "Install trivy (https://trivy.dev) or grype (https://github.com/anchore/grype) on the target or on the controller, as a pinned version whose "
    "checksum or signature you have checked; never 'latest', never curl into a shell."
)

_MORE_PATHS = ("/usr/local/bin", "/opt/bin", "/snap/bin")
_VERSION = re.compile(r"(\d+\.\d+\.\d+(?:[-+.][0-9A-Za-z.]+)?)")
# Where the build of a Go program says the version that was linked into it.
_LINKED_VERSION = re.compile(rb"pkg/version(?:/app)?\.ver(?:sion)?=v?(\d+\.\d+\.\d+)")
_PIECE_BYTES = 4 * 1024 * 1024
_VERSION_SECONDS = 30.0

# (part of what it says, machine's word, what to do)
_FAILURES: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (
        re.compile(r"(?i)too ?many ?requests|rate limit"),
        "rate-limit",
        "The registry of the database refuses more requests for now: try later, or use a mirror.",
    ),
    (
        re.compile(r"(?i)db error|vulnerability (?:db|database)|db could not be loaded|database does not exist|download.{0,20}\bdb\b|skip-db-update"),
        "no-database",
        "Without its database a scanner finds nothing. Let this machine reach the database, or copy a fresh one to its cache directory.",
    ),
    (re.compile(r"(?i)log in with your docker id|not entitled|unauthorized|authentication required"), "no-login", "Log in: docker login."),
    (re.compile(r"(?i)no space left"), "disk-full", "Give it room: scanners unpack images into the temporary directory."),
    (re.compile(r"(?i)unable to find the specified image|no such image|could not (?:find|parse) image|manifest unknown"), "not-found", "See: docker images"),
)


@dataclasses.dataclass(frozen=True)
class ScannerOptions:
    """Which scanner, and which one may be run. *sha256* are the only binaries that may, where any is given."""

    name: str = "auto"
    path: t.Optional[str] = None
    sha256: tuple[str, ...] = ()
    refused_versions: tuple[str, ...] = ()
    timeout_seconds: float = 300.0

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> ScannerOptions:
        """Return the options from a module's parameters."""
        return cls(
            str(params.get("scanner") or "auto"),
            params.get("scanner_path") or None,
            tuple(str(digest).lower().removeprefix("sha256:") for digest in params.get("scanner_sha256") or ()),
            tuple(str(version) for version in params.get("refused_versions") or ()),
            float(params.get("timeout_seconds") or cls.timeout_seconds),
        )


@dataclasses.dataclass(frozen=True)
class Scanner:
    """A scanner that may be run."""

    name: str
    path: str
    version: str
    database_built_at: str = ""


def find_scanner(options: ScannerOptions) -> Scanner:
    """Return the scanner of this machine.

    :raises CheckError: there is none (``not-installed``), or it must not be run (``refused``).
    """
    wanted = NAMES if options.name == "auto" else (options.name,)
    refused: t.Optional[CheckError] = None
    for name in wanted:
        path = options.path or _locate(name)
        if path is None or not os.path.isfile(path):
            continue
        try:
            return _checked(name, path, options)
        except CheckError as error:
            # Another one that is there may be in order; that this one is not has to be told all the same.
            refused = refused or error
    if refused is not None:
        raise refused
    named = "none" if options.name == "auto" else f"no {options.name}"
    raise CheckError("image scanner", f"{named} is installed here", GET_ONE, "not-installed")


def _locate(name: str) -> t.Optional[str]:
    if name == "docker-scout":
        places = (os.path.expanduser(f"{directory}/docker-scout") for directory in PLUGIN_DIRECTORIES)
        return next((place for place in places if os.access(place, os.X_OK)), None)
    search = os.pathsep.join(dict.fromkeys([*os.environ.get("PATH", os.defpath).split(os.pathsep), *_MORE_PATHS]))
    return shutil.which(name, path=search)


def _checked(name: str, path: str, options: ScannerOptions) -> Scanner:
    """Return the scanner at *path*, from what can be known without starting it to what it says itself."""
    if options.sha256:
        digest = sha256_of(path)
        if digest not in options.sha256:
            raise _refused(path, f"its SHA-256 is {digest}, which is not among scanner_sha256")
    for version in (linked_version(path), _packaged_version(path)):
        if version:
            _refuse_malicious(name, version, path, options)
    version, built_at = _own_version(name, path)
    _refuse_malicious(name, version, path, options)
    return Scanner(name, path, version, built_at)


def _refuse_malicious(name: str, version: str, path: str, options: ScannerOptions) -> None:
    plain = version.partition("-")[0].partition("+")[0]
    source = MALICIOUS.get(name, {}).get(plain)
    if source:
        raise _refused(path, f"{name} {plain} is a malicious release: {source}")
    if plain in options.refused_versions:
        raise _refused(path, f"{name} {plain} is among refused_versions")


def _refused(path: str, reason: str) -> CheckError:
    hint = f"It was not used. If it ever ran, treat every secret it could read as known to others. {GET_ONE}"
    return CheckError(path, reason, hint, "refused")


def sha256_of(path: str) -> str:
    """Return the digest of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(_PIECE_BYTES), b""):
            digest.update(piece)
    return digest.hexdigest()


def linked_version(path: str) -> str:
    """Return the version that was linked into the program, or nothing: not every build tells."""
    overlap = b""
    try:
        with open(path, "rb") as file:
            for piece in iter(lambda: file.read(_PIECE_BYTES), b""):
                found = _LINKED_VERSION.search(overlap + piece)
                if found:
                    return found[1].decode("ascii")
                overlap = piece[-128:]
    except OSError:
        pass
    return ""


def _packaged_version(path: str) -> str:
    """Return the version of the package that brought the program, or nothing."""
    try:
        if shutil.which("dpkg-query"):
            owner = run_command(["dpkg-query", "--search", path], _VERSION_SECONDS)
            package = owner.text.partition(":")[0].strip() if owner.exit_code == 0 else ""
            shown = run_command(["dpkg-query", "--show", "--showformat=${Version}", package], _VERSION_SECONDS) if package else None
        elif shutil.which("rpm"):
            shown = run_command(["rpm", "--query", "--file", "--queryformat", "%{VERSION}", path], _VERSION_SECONDS)
        else:
            return ""
    except CheckError:
        return ""
    found = _VERSION.search(shown.text) if shown is not None and shown.exit_code == 0 else None
    return found[1] if found else ""


def _own_version(name: str, path: str) -> tuple[str, str]:
    """Return what the program says of its version, and when the database that it has was built."""
    if name == "trivy":
        completed = run_command([path, "version", "--format", "json"], _VERSION_SECONDS, env=_QUIET_ENVIRONMENT)
        version, built_at = parse_trivy_version(completed.text)
    elif name == "grype":
        completed = run_command([path, "version", "-o", "json"], _VERSION_SECONDS, env=_QUIET_ENVIRONMENT)
        version, built_at = _grype_version(completed.text), ""
    else:
        completed = run_command(["docker", "scout", "version"], _VERSION_SECONDS)
        found = re.search(r"version:\s*v?" + _VERSION.pattern, completed.text)
        version, built_at = found[1] if found else "", ""
    if not version:
        said = last_words(completed) or "nothing"
        raise CheckError(path, f"it does not tell its version: {said}", "One whose version nobody knows is not used.", "refused")
    return version, built_at


def parse_trivy_version(text: str) -> tuple[str, str]:
    """Return version and time of the database from ``trivy version --format json``."""
    try:
        document = json.loads(text)
        version = str(document["Version"])
        database = document.get("VulnerabilityDB") or {}
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", ""
    return version.removeprefix("v"), str(database.get("UpdatedAt") or "")


def _grype_version(text: str) -> str:
    try:
        return str(json.loads(text)["version"]).removeprefix("v")
    except (ValueError, KeyError, TypeError):
        return ""


# Older versions do not know all of these, and mind an option but no variable.
_QUIET_ENVIRONMENT = {
    "TRIVY_SKIP_VERSION_CHECK": "true",
    "TRIVY_DISABLE_TELEMETRY": "true",
    "TRIVY_NO_PROGRESS": "true",
    "TRIVY_SCANNERS": "vuln",
    "GRYPE_CHECK_FOR_APP_UPDATE": "false",
}

_PARSERS: dict[str, t.Callable[[str, str], ScannerReport]] = {"trivy": parse_trivy, "grype": parse_grype, "docker-scout": parse_scout}


def run_scanner(scanner: Scanner, image: str, options: ScannerOptions, docker_host: str = "", archive: t.Optional[str] = None) -> ScannerReport:
    """Return what *scanner* finds in *image* of the engine at *docker_host*, or in the *archive* of an image.

    :raises CheckError: it did not end in time, could not load its database, or gave something else than a report. That
        is never the same as finding nothing.
    """
    environment = {**_QUIET_ENVIRONMENT, **({"DOCKER_HOST": docker_host} if docker_host and archive is None else {})}
    with tempfile.TemporaryDirectory(prefix="stackops-scan-") as scratch:
        report = os.path.join(scratch, "report.json")
        argv = _command(scanner, image, report, archive, options.timeout_seconds)
        completed = run_command(argv, options.timeout_seconds, env=environment, grace_seconds=2.0)
        source = f"{scanner.name} {image}"
        if completed.exit_code != 0:
            raise _failure(source, completed)
        try:
            with open(report, encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            raise CheckError(source, f"it wrote no report: {last_words(completed) or 'nothing said'}", "Run it by hand.", "unparsable") from None
    return _PARSERS[scanner.name](text, source)


def _command(scanner: Scanner, image: str, report: str, archive: t.Optional[str], timeout_seconds: float) -> list[str]:
    """Return the command; none of them ends with an error because of what it finds: that is decided here."""
    if scanner.name == "trivy":
        what = ["--input", archive] if archive else [image]
        limit = f"{max(1, int(timeout_seconds))}s"
        return [scanner.path, "image", "--format", "json", "--exit-code", "0", "--quiet", "--timeout", limit, "--output", report, *what]
    if scanner.name == "grype":
        return [scanner.path, "--quiet", "-o", "json", "--file", report, f"docker-archive:{archive}" if archive else f"docker:{image}"]
    what = [f"archive://{archive}"] if archive else [f"local://{image}"]
    return ["docker", "scout", "cves", "--format", "sarif", "--output", report, *what]


def _failure(source: str, completed: Completed) -> CheckError:
    said = completed.error_text + completed.text
    for pattern, code, hint in _FAILURES:
        if pattern.search(said):
            return CheckError(source, f"{last_words(completed)} (exit code {completed.exit_code})", hint, code)
    return CheckError(source, f"{last_words(completed) or 'no words'} (exit code {completed.exit_code})", "Run it by hand and see.", "failed")


def last_words(completed: Completed) -> str:
    """Return what a scanner said last that tells something, on one line."""
    lines = [" ".join(line.split()) for line in (completed.error_text or completed.text).splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"(?i)fatal|error|fail|could not|log in", line)]
    return (telling or lines or [""])[-1][:400]
