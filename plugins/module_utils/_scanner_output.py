# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What image scanners say, in one form: trivy's and grype's JSON, and the SARIF of docker scout."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import typing as t
import urllib.parse

from ._envelope import CheckError

#: From the worst on; what no scanner could rate is last.
SEVERITIES: tuple[str, ...] = ("critical", "high", "medium", "low", "unknown")
_SEVERITY_WORDS = {"moderate": "medium", "important": "high", "negligible": "low", "unspecified": "unknown", "": "unknown", "none": "low"}
_TITLE_CHARACTERS = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


@dataclasses.dataclass(frozen=True)
class Vulnerability:
    """One vulnerability in one package of an image; *fixed* is empty where there is no fixed version yet."""

    id: str
    severity: str
    package: str
    installed: str
    fixed: str = ""
    layer: str = ""
    path: str = ""
    title: str = ""
    url: str = ""

    def as_dict(self) -> dict[str, t.Any]:
        """Return it as a module returns it."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class ScannerReport:
    """What a scanner found in one image."""

    vulnerabilities: tuple[Vulnerability, ...]
    os: str = ""
    #: The operating system gets no fixes any more, so that few vulnerabilities of it are known to anybody.
    end_of_life: bool = False
    scanner_version: str = ""
    database_built_at: str = ""


_Parser = t.Callable[[str, str], ScannerReport]


def _of_known_shape(parser: _Parser) -> _Parser:
    """Make what has the right head and another shape below it an error like any other."""

    @functools.wraps(parser)
    def parse(text: str, source: str) -> ScannerReport:
        try:
            return parser(text, source)
        except (AttributeError, TypeError, LookupError, ValueError) as error:
            raise _not_read(source, f"a part of its report is of another kind than this scanner writes ({error})") from error

    return parse


@_of_known_shape
def parse_trivy(text: str, source: str) -> ScannerReport:
    """Return what ``trivy image --format json`` wrote (its schema 2).

    :raises CheckError: it is something else, or trivy did not recognise what is in the image; code ``unparsable``.
    """
    document = _object(text, source)
    if document.get("SchemaVersion") != 2 or "ArtifactName" not in document:
        raise _not_read(source, "it is no report of trivy's schema 2")
    system = (document.get("Metadata") or {}).get("OS") or {}
    # Without a finding trivy leaves Results out, and it does so as well where it saw nothing that it knows.
    results = document.get("Results") or []
    if not results and not system.get("Family"):
        raise _not_read(source, "trivy recognised neither an operating system nor packages in the image")
    found = [_of_trivy(entry, result) for result in results for entry in result.get("Vulnerabilities") or []]
    name = " ".join(str(system[key]) for key in ("Family", "Name") if system.get(key))
    return ScannerReport(_sorted(found), name, bool(system.get("EOSL")), str((document.get("Trivy") or {}).get("Version") or ""))


def _of_trivy(entry: t.Mapping[str, t.Any], result: t.Mapping[str, t.Any]) -> Vulnerability:
    layer = entry.get("Layer") or {}
    return Vulnerability(
        id=_text(entry.get("VulnerabilityID")),
        severity=severity_of(entry.get("Severity")),
        package=_text(entry.get("PkgName")),
        installed=_text(entry.get("InstalledVersion")),
        fixed=_text(entry.get("FixedVersion")),
        layer=_text(layer.get("DiffID") or layer.get("Digest")),
        path=_text(entry.get("PkgPath") or (result.get("Target") if result.get("Class") != "os-pkgs" else "")),
        title=_text(entry.get("Title")),
        url=_text(entry.get("PrimaryURL")),
    )


@_of_known_shape
def parse_grype(text: str, source: str) -> ScannerReport:
    """Return what ``grype -o json`` wrote.

    :raises CheckError: it is something else; code ``unparsable``.
    """
    document = _object(text, source)
    descriptor = document.get("descriptor") or {}
    if not isinstance(document.get("matches"), list) or descriptor.get("name") != "grype":
        raise _not_read(source, "it is no JSON report of grype")
    found = [_of_grype(match) for match in document["matches"]]
    distro = document.get("distro") or {}
    name = " ".join(str(distro[key]) for key in ("name", "version") if distro.get(key))
    return ScannerReport(_sorted(found), name, False, _text(descriptor.get("version")), _grype_database(descriptor.get("db")))


def _of_grype(match: t.Mapping[str, t.Any]) -> Vulnerability:
    vulnerability, artifact = match.get("vulnerability") or {}, match.get("artifact") or {}
    place = next(iter(artifact.get("locations") or []), None) or {}
    fix = vulnerability.get("fix") or {}
    title = str(vulnerability.get("description") or "").strip()
    return Vulnerability(
        id=_text(vulnerability.get("id")),
        severity=severity_of(vulnerability.get("severity")),
        package=_text(artifact.get("name")),
        installed=_text(artifact.get("version")),
        fixed=", ".join(_text(version) for version in fix.get("versions") or []) if fix.get("state") == "fixed" else "",
        layer=_text(place.get("layerID")),
        path=_text(place.get("path")),
        title=_text(title.partition(". ")[0]),
        url=_text(vulnerability.get("dataSource")),
    )


def _grype_database(database: t.Any) -> str:
    """Return when grype's database was built; where that stands changed between its versions."""
    if not isinstance(database, dict):
        return ""
    status = database.get("status")
    return _text(database.get("built") or (status.get("built") if isinstance(status, dict) else ""))


@_of_known_shape
def parse_scout(text: str, source: str) -> ScannerReport:
    """Return what ``docker scout cves --format sarif`` wrote.

    :raises CheckError: it is something else; code ``unparsable``.
    """
    document = _object(text, source)
    runs = document.get("runs")
    if document.get("version") != "2.1.0" or not isinstance(runs, list) or not runs:
        raise _not_read(source, "it is no SARIF report")
    found: list[Vulnerability] = []
    version = ""
    for run in runs:
        driver = (run.get("tool") or {}).get("driver") or {}
        if "scout" not in str(driver.get("name", "")).lower():
            raise _not_read(source, f"it is a report of {driver.get('name')!r}, not of docker scout")
        version = _text(driver.get("version"))
        layers = _layers_of(run.get("results") or [])
        for rule in driver.get("rules") or []:
            found.extend(_of_scout(rule, layers))
    return ScannerReport(_sorted(found), scanner_version=version)


def _layers_of(results: t.Iterable[t.Mapping[str, t.Any]]) -> dict[str, str]:
    """Return the layer of each rule, where scout was asked for locations and tells it."""
    layers: dict[str, str] = {}
    for result in results:
        for location in result.get("locations") or []:
            for place in location.get("logicalLocations") or []:
                if str(place.get("fullyQualifiedName", "")).startswith("sha256:"):
                    layers.setdefault(str(result.get("ruleId")), _text(place["fullyQualifiedName"]))
    return layers


def _of_scout(rule: t.Mapping[str, t.Any], layers: t.Mapping[str, str]) -> t.Iterator[Vulnerability]:
    properties = rule.get("properties") or {}
    urls = properties.get("purls") or ([properties["purl"]] if properties.get("purl") else [])
    fixed = _text(properties.get("fixed_version"))
    title = str((rule.get("shortDescription") or {}).get("text") or "")
    identity = _text(rule.get("id"))
    for purl in urls or [""]:
        package, installed = package_of(str(purl))
        yield Vulnerability(
            id=identity,
            severity=severity_of(properties.get("cvssV3_severity")),
            package=package,
            installed=installed,
            fixed="" if fixed == "not fixed" else fixed,
            layer=layers.get(identity, ""),
            title=_text(title.removeprefix(f"{identity}: ")),
            url=_text(rule.get("helpUri")),
        )


def package_of(purl: str) -> tuple[str, str]:
    """Return name and version of a package URL: ``pkg:deb/debian/tar@1.35%2Bdfsg-3?os_name=debian``."""
    path = purl.partition("?")[0].partition("#")[0]
    name, dummy, version = path.rpartition("@") if "@" in path.rpartition("/")[2] else (path, "", "")
    return _text(urllib.parse.unquote(name.rpartition("/")[2])), _text(urllib.parse.unquote(version))


def severity_of(word: t.Any) -> str:
    """Return one of :data:`SEVERITIES` for a scanner's own word."""
    lower = str(word or "").lower()
    known = _SEVERITY_WORDS.get(lower, lower)
    return known if known in SEVERITIES else "unknown"


def _sorted(found: t.Iterable[Vulnerability]) -> tuple[Vulnerability, ...]:
    unique = dict.fromkeys(found)
    return tuple(sorted(unique, key=lambda one: (SEVERITIES.index(one.severity), one.package, one.id, one.installed)))


def _text(value: t.Any) -> str:
    return _CONTROL.sub(" ", str(value or "")).strip()[:_TITLE_CHARACTERS]


def _object(text: str, source: str) -> dict[str, t.Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise _not_read(source, "its output is no JSON" if text.strip() else "it wrote nothing") from None
    if not isinstance(document, dict):
        raise _not_read(source, "its output is no JSON object")
    return document


def _not_read(source: str, reason: str) -> CheckError:
    return CheckError(source, reason, "Run it by hand and see what it says.", "unparsable")
