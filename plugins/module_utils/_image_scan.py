# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Vulnerabilities and pending updates of the images that stacks run, and how old they are: one result whichever scanner there is."""

from __future__ import annotations

import dataclasses
import datetime
import os
import shlex
import time
import typing as t

from ._arguments import docker_connection_arguments, project_selection_arguments
from ._discovery import Selection, Stack, compose_label, discover, engine_time, typed_compose
from ._engine import Engine, EngineOptions
from ._envelope import CheckError, envelope, human_bytes, metric, rfc3339, utc_now, worst
from ._ignores import IgnoreList, ignore_arguments
from ._image_updates import ImageUpdates, read_updates
from ._scanner_output import SEVERITIES, ScannerReport
from ._scanners import GET_ONE, Scanner, ScannerOptions, find_scanner, run_scanner

Facts = dict[str, t.Any]

_RATED = SEVERITIES[:-1]
_EXPORT_NAME = "stackops-image.tar"
#: An image from before has its times set by a tool that wants the same image from the same input.
_FIRST_BELIEVABLE_YEAR = 2010


@dataclasses.dataclass(frozen=True)
class ImageScanOptions:
    """What to scan, with what, and from when on it is a problem."""

    scanner: ScannerOptions = ScannerOptions()
    ignore: IgnoreList = IgnoreList(())
    images: tuple[str, ...] = ()
    minimum_severity: str = "low"
    warning_severity: str = "high"
    critical_severity: str = "critical"
    only_fixed: bool = True
    updates: bool = True
    updates_network: str = "bridge"
    updates_timeout_seconds: float = 120.0
    updates_warning: int = 1
    age_warning_days: float = 180.0
    deadline_seconds: float = 1800.0

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> ImageScanOptions:
        """Return the options from the parameters of ``image_scan``.

        :raises CheckError: an entry of the ignore list is wrong.
        """
        return cls(
            scanner=ScannerOptions.from_params(params),
            ignore=IgnoreList.parse(params.get("ignore") or ()),
            images=tuple(params.get("images") or ()),
            minimum_severity=params["minimum_severity"],
            warning_severity=params["warning_severity"],
            critical_severity=params["critical_severity"],
            only_fixed=bool(params["only_fixed"]),
            updates=bool(params["updates"]),
            updates_network=params["updates_network"],
            updates_timeout_seconds=float(params["updates_timeout_seconds"]),
            updates_warning=int(params["updates_warning"]),
            age_warning_days=float(params["age_warning_days"]),
            deadline_seconds=float(params["deadline_seconds"]),
        )


@dataclasses.dataclass
class ImageRow:
    """One image and what is known of it so far."""

    image: str
    id: str
    services: list[str]
    created_at: t.Optional[datetime.datetime] = None
    base_created_at: t.Optional[datetime.datetime] = None
    size_bytes: t.Optional[int] = None
    source: t.Optional[str] = None
    renew: t.Optional[str] = None
    report: t.Optional[ScannerReport] = None
    scanner: t.Optional[Scanner] = None
    scanned_on: str = "target"
    error: t.Optional[CheckError] = None
    updates: t.Optional[ImageUpdates] = None


def collect_images(engine: Engine, stacks: t.Sequence[Stack], more: t.Sequence[str] = ()) -> list[ImageRow]:
    """Return a row for each image that containers of *stacks* were made from, and for those named in *more*."""
    rows: dict[str, ImageRow] = {}
    labels: dict[str, t.Mapping[str, str]] = {}
    for stack in stacks:
        for container in stack.containers:
            row = rows.setdefault(container.image_id, ImageRow(container.image_reference, container.image_id, []))
            labels.setdefault(container.image_id, container.labels)
            service = f"{container.project}/{container.service}"
            if service not in row.services:
                row.services.append(service)
    for reference in more:
        found = engine.image(reference)
        if found is None:
            error = CheckError(f"image {reference}", "this host has no such image", "See: docker images", "not-found")
            rows[reference] = ImageRow(reference, "", [], error=error)
        else:
            rows.setdefault(str(found["Id"]), ImageRow(reference, str(found["Id"]), []))
    for row in rows.values():
        _add_inspected(engine, row, labels.get(row.id))
    return list(rows.values())


def source_of(image: t.Mapping[str, t.Any]) -> str:
    """Return whether an *image*, as the engine describes it, was ``built`` here or comes from a ``registry``.

    One that was pulled has its digest there. With the image store of containerd one that was built has a digest as well, and is known by
    the labels that Compose puts on what it builds.
    """
    labels = (image.get("Config") or {}).get("Labels") or {}
    return "registry" if image.get("RepoDigests") and not compose_label(labels, "project") else "built"


def _renew(source: str, labels: t.Mapping[str, str], services: t.Sequence[str]) -> str:
    """Return what builds an image anew or pulls it, and puts it in the place of the old one, for its services in the project of *labels*."""
    project = compose_label(labels, "project")
    names = shlex.join(name for owner, dummy, name in (service.partition("/") for service in services) if owner == project)
    return typed_compose(labels, f"pull {names}" if source == "registry" else f"build --pull --no-cache {names}", f"up --detach {names}")


def _add_inspected(engine: Engine, row: ImageRow, labels: t.Optional[t.Mapping[str, str]]) -> None:
    """Add what the engine says of the image; *labels* are those of a container that was made from it."""
    if not row.id:
        return
    try:
        found = engine.image(row.id) or {}
        row.source = source_of(found) if found else None
        if labels is not None:
            row.renew = _renew(row.source or "built", labels, row.services)
        row.created_at = _believable(engine_time(found.get("Created")))
        row.size_bytes = found.get("Size")
        # A name may mean another image by now; then only the identifier says which one runs.
        if row.image and (engine.image(row.image) or {}).get("Id") != row.id:
            row.image = row.id
        row.base_created_at = base_time(engine.image_history(row.id))
    except CheckError as error:
        row.error = row.error or error


def base_time(history: t.Sequence[t.Mapping[str, t.Any]]) -> t.Optional[datetime.datetime]:
    """Return when the lowest layer of an image was made: the base's file system, which is what gets old."""
    for step in reversed(history):
        if step.get("Size"):
            moment = step.get("Created")
            return _believable(datetime.datetime.fromtimestamp(float(moment), datetime.timezone.utc)) if moment else None
    return None


def _believable(moment: t.Optional[datetime.datetime]) -> t.Optional[datetime.datetime]:
    return moment if moment is not None and moment.year >= _FIRST_BELIEVABLE_YEAR else None


def scan_rows(rows: t.Sequence[ImageRow], scanner: Scanner, options: ImageScanOptions, docker_host: str, deadline: float) -> None:
    """Run *scanner* over *rows*, one image after another: each fills the memory of a small host."""
    for row in rows:
        if row.error is not None:
            continue
        left = deadline - time.monotonic()
        if left <= 0:
            row.error = CheckError(f"image {row.image}", "not scanned: the time for all images is over", "Raise deadline_seconds.", "timeout")
            continue
        limited = dataclasses.replace(options.scanner, timeout_seconds=min(left, options.scanner.timeout_seconds))
        try:
            row.report = run_scanner(scanner, row.image, limited, docker_host)
            row.scanner = scanner
        except CheckError as error:
            row.error = error


def image_facts(row: ImageRow, options: ImageScanOptions, now: datetime.datetime) -> Facts:
    """Return one entry of ``images``, judged."""
    vulnerabilities, ignored = _kept(row, options)
    updates = _updates_facts(row.updates)
    pending, updates_ignored = _kept_updates(row, options)
    statuses = {"vulnerabilities": _scan_status(row, vulnerabilities, options), "updates": "ok", "age": "ok"}
    if row.updates is not None:
        statuses["updates"] = _updates_status(row.updates, len(pending), options)
        updates["packages"] = [*pending, *(package.as_dict() for package in row.updates.packages if not package.security)]
        updates["security"] = None if row.updates.reason else len(pending)
    days = _days(row.base_created_at or row.created_at, now)
    if days is not None and days >= options.age_warning_days and not _is_ignored(options, "image-old", row):
        statuses["age"] = "warning"
    report = row.report
    return {
        "image": row.image,
        "id": row.id,
        "services": sorted(row.services),
        "source": row.source,
        "renew": row.renew,
        "status": _overall(statuses),
        "statuses": statuses,
        "os": (report.os if report else "") or (row.updates.os if row.updates else ""),
        "end_of_life": report.end_of_life if report else None,
        "size_bytes": row.size_bytes,
        "created_at": rfc3339(row.created_at),
        "base_created_at": rfc3339(row.base_created_at),
        "age_days": days,
        "scanned": report is not None,
        "scanner": _scanner_facts(row),
        "error": row.error.as_dict() if row.error else None,
        "counts": _counts(vulnerabilities) if report else None,
        "fixable": sum(bool(one["fixed"]) for one in vulnerabilities) if report else None,
        "ignored": ignored + updates_ignored,
        "vulnerabilities": vulnerabilities,
        "updates": updates,
    }


def rescanned(image: Facts, report: ScannerReport, scanner: Scanner, options: ImageScanOptions) -> Facts:
    """Return *image*, an entry of ``images``, with what a scanner on the controller found in it."""
    row = ImageRow(image["image"], image["id"], list(image["services"]), report=report, scanner=scanner, scanned_on="controller")
    vulnerabilities, ignored = _kept(row, options)
    statuses = {**image["statuses"], "vulnerabilities": _scan_status(row, vulnerabilities, options)}
    return {
        **image,
        "status": _overall(statuses),
        "statuses": statuses,
        "os": report.os or image["os"],
        "end_of_life": report.end_of_life,
        "scanned": True,
        "scanner": _scanner_facts(row),
        "error": None,
        "counts": _counts(vulnerabilities),
        "fixable": sum(bool(one["fixed"]) for one in vulnerabilities),
        "ignored": [*ignored, *image["ignored"]],
        "vulnerabilities": vulnerabilities,
    }


def _overall(statuses: t.Mapping[str, str]) -> str:
    """Return the status of an image. Where a scanner answered, what its package manager could not tell was only a second opinion."""
    counted = dict(statuses)
    if counted["vulnerabilities"] != "unknown" and counted["updates"] == "unknown":
        counted["updates"] = "ok"
    return worst(counted.values())


def _counts(vulnerabilities: t.Sequence[Facts]) -> dict[str, int]:
    return {severity: sum(one["severity"] == severity for one in vulnerabilities) for severity in SEVERITIES}


def _scanner_facts(row: ImageRow) -> t.Optional[Facts]:
    if row.scanner is None:
        return None
    built_at = (row.report.database_built_at if row.report else "") or row.scanner.database_built_at
    return {"name": row.scanner.name, "version": row.scanner.version, "on": row.scanned_on, "database_built_at": built_at or None}


def _names(row: ImageRow) -> list[str]:
    return [row.image, row.id, *row.services, *(service.partition("/")[2] for service in row.services)]


def _is_ignored(options: ImageScanOptions, identity: str, row: ImageRow) -> bool:
    return options.ignore.find(identity, _names(row)) is not None


def _kept(row: ImageRow, options: ImageScanOptions) -> tuple[list[Facts], list[Facts]]:
    """Return the vulnerabilities that count, and those that somebody accepted, with who said what."""
    kept: list[Facts] = []
    ignored: list[Facts] = []
    least = SEVERITIES.index(options.minimum_severity)
    for one in row.report.vulnerabilities if row.report else ():
        # What nobody rated may be anything, and is never left out for being small.
        if one.severity != "unknown" and SEVERITIES.index(one.severity) > least:
            continue
        entry = options.ignore.find(one.id, _names(row), one.package)
        if entry is None:
            kept.append({"image": row.image, **one.as_dict()})
        else:
            ignored.append({"id": one.id, "package": one.package, "severity": one.severity, "reason": entry.reason, "expires": entry.expires.isoformat()})
    return kept, ignored


def _kept_updates(row: ImageRow, options: ImageScanOptions) -> tuple[list[Facts], list[Facts]]:
    kept: list[Facts] = []
    ignored: list[Facts] = []
    for package in row.updates.security if row.updates else ():
        entry = options.ignore.find("pending-update", _names(row), package.package)
        if entry is None:
            kept.append(package.as_dict())
        else:
            ignored.append(
                {"id": "pending-update", "package": package.package, "severity": "unknown", "reason": entry.reason, "expires": entry.expires.isoformat()}
            )
    return kept, ignored


def _scan_status(row: ImageRow, vulnerabilities: t.Sequence[Facts], options: ImageScanOptions) -> str:
    """Return the verdict over what a scanner found; without a scanner's report there is none, and that is not fine."""
    report = row.report
    if report is None:
        return "unknown"
    status = "warning" if report.end_of_life and not _is_ignored(options, "image-end-of-life", row) else "ok"
    for one in vulnerabilities:
        if one["severity"] == "unknown" or (options.only_fixed and not one["fixed"]):
            continue
        rank = _RATED.index(one["severity"])
        if rank <= _RATED.index(options.critical_severity):
            return "critical"
        if rank <= _RATED.index(options.warning_severity):
            status = "warning"
    return status


def _updates_status(updates: ImageUpdates, pending: int, options: ImageScanOptions) -> str:
    if updates.reason:
        return "unknown"
    return "warning" if pending >= options.updates_warning else "ok"


def _updates_facts(updates: t.Optional[ImageUpdates]) -> Facts:
    if updates is None:
        return {"asked": False, "status": "unknown", "reason": "not asked for", "hint": "", "security": None, "packages": []}
    if updates.reason:
        return {"asked": True, "status": "unknown", "reason": updates.reason, "hint": updates.hint, "security": None, "packages": []}
    return {"asked": True, "status": "warning" if updates.security else "ok", "reason": None, "hint": "", "security": 0, "packages": []}


def _days(moment: t.Optional[datetime.datetime], now: datetime.datetime) -> t.Optional[float]:
    return None if moment is None else round((now - moment).total_seconds() / 86400, 1)


def scan_envelope(images: t.Sequence[Facts], scanner: t.Optional[Facts], errors: t.Sequence[t.Union[CheckError, Facts]], ignore: IgnoreList) -> Facts:
    """Return the envelope of ``image_scan`` over judged *images*."""
    totals = {severity: sum((image["counts"] or {}).get(severity, 0) for image in images) for severity in SEVERITIES}
    unscanned = [image["image"] for image in images if not image["scanned"]]
    pending = sum(image["updates"]["security"] or 0 for image in images)
    metrics = {f"vulnerabilities_{severity}": metric(totals[severity] if len(unscanned) < len(images) else None) for severity in SEVERITIES}
    asked = [image for image in images if image["updates"]["security"] is not None]
    metrics["pending_security_updates"] = metric(pending if asked else None)
    metrics["images"] = metric(len(images))
    metrics["images_not_scanned"] = metric(len(unscanned))
    status = worst([*(image["status"] for image in images), *("unknown" for dummy in errors)])
    return envelope(
        status,
        _summary(images, totals, unscanned, asked, pending),
        metrics,
        errors,
        scanner=scanner,
        images=list(images),
        ignore_expired=[entry.as_dict() for entry in ignore.expired],
    )


def _summary(images: t.Sequence[Facts], totals: t.Mapping[str, int], unscanned: t.Sequence[str], asked: t.Sequence[Facts], pending: int) -> str:
    if not images:
        return "no image of a stack to scan"
    parts = []
    if len(unscanned) < len(images):
        found = ", ".join(f"{totals[severity]} {severity}" for severity in SEVERITIES if totals[severity]) or "none"
        parts.append(f"vulnerabilities in {len(images) - len(unscanned)} images: {found}")
    if unscanned:
        parts.append(f"{len(unscanned)} of {len(images)} images could not be scanned")
    if asked:
        parts.append(f"{pending} pending security updates in {len(asked)} images")
    return "; ".join(parts)


# -- the module --------------------------------------------------------------------------------------------------------


def image_scan_arguments() -> dict[str, dict[str, t.Any]]:
    """Return the argument spec of ``image_scan``, which the controller's half needs as well."""
    severities = list(_RATED)
    return {
        **docker_connection_arguments(),
        **project_selection_arguments(),
        "ignore": {"type": "list", "elements": "dict", "default": [], "options": ignore_arguments()},
        "images": {"type": "list", "elements": "str", "default": []},
        "scanner": {"type": "str", "default": "auto", "choices": ["auto", "trivy", "grype", "docker-scout", "none"]},
        "scanner_path": {"type": "path"},
        "scanner_sha256": {"type": "list", "elements": "str", "default": []},
        "refused_versions": {"type": "list", "elements": "str", "default": []},
        "controller": {"type": "bool", "default": True},
        "controller_max_bytes": {"type": "int", "default": 4294967296},
        "timeout_seconds": {"type": "float", "default": 300},
        "deadline_seconds": {"type": "float", "default": 1800},
        "minimum_severity": {"type": "str", "default": "low", "choices": severities},
        "warning_severity": {"type": "str", "default": "high", "choices": severities},
        "critical_severity": {"type": "str", "default": "critical", "choices": severities},
        "only_fixed": {"type": "bool", "default": True},
        "updates": {"type": "bool", "default": True},
        "updates_network": {"type": "str", "default": "bridge"},
        "updates_timeout_seconds": {"type": "float", "default": 120},
        "updates_warning": {"type": "int", "default": 1},
        "age_warning_days": {"type": "float", "default": 180},
        "export": {
            "type": "dict",
            "options": {
                "image": {"type": "str", "required": True},
                "directory": {"type": "path", "required": True},
                "max_bytes": {"type": "int", "required": True},
                "timeout_seconds": {"type": "float", "required": True},
            },
        },
    }


def scan_images(params: t.Mapping[str, t.Any]) -> Facts:
    """Return what the module ``image_scan`` returns for its parameters.

    :raises CheckError: an option makes no sense; code ``bad-option``.
    """
    options = ImageScanOptions.from_params(params)
    deadline = time.monotonic() + options.deadline_seconds
    errors: list[CheckError] = []
    try:
        engine = Engine.connect(EngineOptions.from_params(params))
        stacks = [] if options.images else discover(engine, Selection.from_params(params))
        rows = collect_images(engine, stacks, options.images)
    except CheckError as error:
        return {**scan_envelope([], None, [error], options.ignore), "scanner_missing": None}
    scanner: t.Optional[Scanner] = None
    missing: t.Optional[CheckError] = None
    if options.scanner.name != "none":
        try:
            scanner = find_scanner(options.scanner)
            scan_rows(rows, scanner, options, engine.docker_host, deadline)
        except CheckError as error:
            missing = error
    if missing is not None or options.scanner.name == "none":
        reason = missing or CheckError("image scanner", "scanner is none", GET_ONE, "not-installed")
        for row in rows:
            row.error = row.error or reason
    if missing is not None and missing.code != "not-installed":
        errors.append(missing)
    if options.updates:
        _ask_for_updates(engine, rows, options, deadline)
    now = utc_now()
    found = None if scanner is None else {"name": scanner.name, "version": scanner.version, "path": scanner.path, "on": "target"}
    facts = scan_envelope([image_facts(row, options, now) for row in rows], found, errors, options.ignore)
    facts["scanner_missing"] = None if missing is None else {**missing.as_dict(), "code": missing.code}
    return facts


def _ask_for_updates(engine: Engine, rows: t.Sequence[ImageRow], options: ImageScanOptions, deadline: float) -> None:
    for row in rows:
        left = deadline - time.monotonic()
        if not row.id:
            continue
        if left <= 0:
            row.updates = ImageUpdates(reason="the time for all images is over", hint="Raise deadline_seconds.")
        else:
            row.updates = read_updates(engine, row.id, options.updates_network, min(left, options.updates_timeout_seconds))


def export_image(params: t.Mapping[str, t.Any], export: t.Mapping[str, t.Any]) -> Facts:
    """Write an image to a file in *export*'s directory, for a scanner on the controller, and return where it is.

    :raises CheckError: it cannot be saved, or is too large.
    """
    engine = Engine.connect(EngineOptions.from_params(params))
    directory = str(export["directory"])
    path = os.path.join(directory, _EXPORT_NAME)
    try:
        owner = os.stat(directory)
        # The one before it was fetched by now.
        if os.path.lexists(path):
            os.unlink(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            size = engine.save_image(str(export["image"]), file, int(export["max_bytes"]), float(export["timeout_seconds"]))
        # The user who logs in fetches it, whoever this runs as.
        if os.geteuid() == 0:
            os.chown(path, owner.st_uid, owner.st_gid)
    except BaseException as error:
        if os.path.exists(path):
            os.unlink(path)
        if isinstance(error, OSError):
            raise CheckError(path, f"{error.strerror}", f"It takes room for one image ({human_bytes(float(export['max_bytes']))} at most).", "io") from error
        raise
    return {"path": path, "bytes": size}
