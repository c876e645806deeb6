# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Build the image of a service: only to see whether it builds, under a name that is thrown away, or anew for good."""

from __future__ import annotations

import json
import os
import re
import secrets
import tempfile
import time
import typing as t

from ._build_errors import classify_build
from ._compose_config import project_arguments, resolved_text
from ._compose_project import CONFIG_SECONDS, ComposeProject
from ._envelope import CheckError, human_bytes
from ._files import write_whole
from ._process import Completed
from ._remediation import Change, Facts, NothingChanged, Verified, Work, run_remediation

_CHECK_REPOSITORY = "stackops-build-check"
_VERSION_LINE = re.compile(r"^version\s*:\s*[\"']?([\d.]+)", re.MULTILINE)
_NOTHING_BUILT = re.compile(r"uses an image, skipping|No services to build", re.IGNORECASE)


def run_compose_build(params: t.Mapping[str, t.Any], check_mode: bool) -> Facts:
    """Return the result of the module ``compose_build``."""
    plan = _check if params["keep"] == "nothing" else _rebuild
    return run_remediation(lambda: plan(ComposeProject.of(params), params), params, check_mode)


def throw_away_document(document: t.Mapping[str, t.Any], suffix: str) -> tuple[Facts, dict[str, str]]:
    """Return a resolved Compose file in which every image that can be built has a name of its own, and these names by service."""
    services: dict[str, t.Any] = {}
    names: dict[str, str] = {}
    for name, declared in (document.get("services") or {}).items():
        services[name] = dict(declared)
        build = declared.get("build")
        if build:
            names[name] = services[name]["image"] = f"{_CHECK_REPOSITORY}/{name.lower()}:{suffix}"
            # Further names would be moved to what is only a try.
            services[name]["build"] = {key: value for key, value in build.items() if key not in ("tags", "cache_to")}
    return {**document, "services": services}, names


def _service(project: ComposeProject, params: t.Mapping[str, t.Any]) -> str:
    services = list(dict.fromkeys(params["services"]))
    if len(services) != 1:
        raise CheckError(project.name, f"one service is built at a time, not {len(services)}", "Name one in services.", "service-unknown")
    project.require(services)
    return str(services[0])


def _refuse_unbuilt(project: ComposeProject, service: str, document: t.Optional[t.Mapping[str, t.Any]]) -> None:
    if document is not None and not ((document.get("services") or {}).get(service) or {}).get("build"):
        raise CheckError(f"{project.name}/{service}", "the Compose file has no build for it", "Use the action pull_image.", "not-built")


def _document(project: ComposeProject) -> t.Optional[t.Mapping[str, t.Any]]:
    """Return the resolved Compose file where this host's Compose gives it in JSON."""
    if not project.command.speaks_json:
        return None
    dummy, content = resolved_text(project.stack, CONFIG_SECONDS)
    return t.cast(t.Mapping[str, t.Any], json.loads(content))


def _build_failed(project: ComposeProject, service: str, done: Completed) -> NothingChanged:
    failure = classify_build(done.text + "\n" + done.error_text)
    return NothingChanged(f"{project.name}/{service}", failure.summary, failure.hint, failure.kind, {"build": failure.as_dict()})


def _snapshot(project: ComposeProject) -> list[Facts]:
    services = sorted({container.service for container in project.stack.siblings})
    return [row for service in services for row in project.state_of(service)]


def _names_of_images(project: ComposeProject, rows: t.Iterable[Facts]) -> dict[str, t.Optional[str]]:
    images = {str(row["image"]): project.engine.image(str(row["image"])) for row in rows}
    return {name: str(image["Id"]) if image else None for name, image in images.items()}


def _check(project: ComposeProject, params: t.Mapping[str, t.Any]) -> Work:
    service = _service(project, params)
    document = _document(project)
    _refuse_unbuilt(project, service, document)
    suffix = secrets.token_hex(4)
    name = f"{_CHECK_REPOSITORY}/{service.lower()}:{suffix}"
    words = ["build", *(["--no-cache"] if params["no_cache"] else []), *(["--force-rm"] if document is None else []), service]
    before = _snapshot(project)
    images = _names_of_images(project, before)

    def carry_out() -> Facts:
        names = [name]
        began = time.monotonic()
        # Its directory is this user's alone: the resolved file has the values of .env in it.
        with tempfile.TemporaryDirectory(prefix="stackops-build-") as directory:
            path = os.path.join(directory, "compose.json")
            if document is not None:
                content, tags = throw_away_document(document, suffix)
                names = list(tags.values())
                argv = (*project.command.argv, "--project-name", project.name, "--file", path, *words)
            else:
                content = _overlay(project, service, name)
                argv = project.argv(*words, files=[path])
            write_whole(path, json.dumps(content).encode())
            try:
                done = project.run(argv, params["command_timeout_seconds"])
                if done.exit_code != 0:
                    raise _build_failed(project, service, done)
                image = project.engine.image(name)
                if image is None:
                    detail = "the Compose file has no build for it" if _NOTHING_BUILT.search(done.text + done.error_text) else "no image came of it"
                    raise NothingChanged(f"{project.name}/{service}", detail, "Use the action pull_image.", "not-built")
                size = int(image.get("Size") or 0)
            except CheckError as error:
                raise error if isinstance(error, NothingChanged) else NothingChanged(error.source, error.reason, error.hint, error.code) from error
            finally:
                for each in names:
                    project.engine.remove_image(each)
        return {"build_seconds": round(time.monotonic() - began, 1), "image_bytes": size, "changed": False}

    def verify() -> Verified:
        after = _snapshot(project)
        if project.engine.image(name) is not None:
            return Verified(False, f"{name} is still there")
        if after != before or _names_of_images(project, after) != images:
            return Verified(False, "containers or images of the project are not those from before; somebody else may have changed them meanwhile")
        return Verified(True, "it builds; what runs is as it was, and the image of the try is gone")

    argv_shown = (*project.command.argv, *project_arguments(project.stack, project.command, all_profiles=False), *words)
    return Work(
        Change(
            "build_check",
            f"{project.name}/{service}",
            f"build {service} as {name}{', without the cache' if params['no_cache'] else ''}, and remove that image again",
            (argv_shown, ("docker", "rmi", name)),
            {"containers": before},
            {"containers": "the same", "image": "removed"},
            ("Nothing is to be undone: nothing that runs changes.",),
        ),
        carry_out,
        verify,
        project.redactor,
    )


def _overlay(project: ComposeProject, service: str, name: str) -> Facts:
    """Return a Compose file that gives *service* another image's name; Compose v1 wants the version of the first file in all."""
    overlay: Facts = {"services": {service: {"image": name}}}
    for path in project.stack.config_files[:1]:
        with open(path, encoding="utf-8", errors="replace") as file:
            found = _VERSION_LINE.search(file.read(1 << 20))
        if found:
            overlay["version"] = found[1]
    return overlay


def _rebuild(project: ComposeProject, params: t.Mapping[str, t.Any]) -> Work:
    service = _service(project, params)
    _refuse_unbuilt(project, service, _document(project))
    before = project.state_of(service)
    options = [*(["--no-cache"] if params["no_cache"] else []), *(["--pull"] if params["pull"] else [])]
    build = project.argv("build", *options, service)
    made: list[tuple[str, ...]] = []
    up = project.up_argv([service])

    def carry_out() -> Facts:
        done = project.run(build, params["command_timeout_seconds"])
        if done.exit_code != 0:
            raise _build_failed(project, service, done)
        if _NOTHING_BUILT.search(done.text + done.error_text):
            raise NothingChanged(f"{project.name}/{service}", "the Compose file has no build for it", "Use the action pull_image.", "not-built")
        # Not before: where the build fails, the way back from the last one stays.
        project.keep_images([service])
        # What it depends on may have the same image, which is another one by now.
        made.append(project.up_argv([service]))
        project.carry_out(made[0], params["command_timeout_seconds"])
        after = project.state_of(service)
        image = project.engine.image(str(after[0]["image"])) if after else None
        return {"containers": after, "image_size": human_bytes(int((image or {}).get("Size") or 0))}

    def verify() -> Verified:
        drift = project.drift_of(service, "--no-deps" not in made[0])
        return Verified(False, "; ".join(drift)) if drift else project.well([service], params["health_timeout_seconds"])

    return Work(
        Change(
            "rebuild_service",
            f"{project.name}/{service}",
            f"build {service} anew{', without the cache' if params['no_cache'] else ''}, and recreate its containers; where the build fails nothing changes",
            (build, up),
            {"containers": before},
            {"image_id": "of the new build"},
            project.image_undo([service]),
        ),
        carry_out,
        verify,
        project.redactor,
    )
