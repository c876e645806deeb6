# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The recordings are what docker-compose 1.29 with the classic builder, and Compose 2.26 with BuildKit, printed of builds that failed."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._build_errors import KINDS, classify_build

RECORDED = pathlib.Path(__file__).parents[2] / "fixtures" / "builds"
# By case, whichever builder: the kind, and what must be named.
EXPECTED: dict[str, tuple[str, dict[str, object]]] = {
    "apt-dns": ("network", {"exit_code": 100}),
    "apt-missing": ("package-install", {"manager": "apt", "package": "libnosuch-dev"}),
    "apt-nolists": ("package-install", {"manager": "apt", "package": "libpq-dev"}),
    "base-format": ("dockerfile-syntax", {}),
    "base-missing": ("network", {"image": "localhost:5999/nosuch/python:3.99"}),
    "base-name": ("network", {"image": "registry.invalid/python:3.12"}),
    "base-registry": ("network", {}),
    "copy-missing": ("build-context", {}),
    "no-space": ("disk", {}),
    "pip-bad-req": ("package-install", {"manager": "pip", "package": "fastapi"}),
    "pip-compile": ("package-install", {"manager": "pip", "package": "psycopg2"}),
    "pip-conflict": ("package-install", {"manager": "pip", "package": "urllib3"}),
    "pip-conflict2": ("package-install", {"manager": "pip", "package": "idna"}),
    "pip-dns": ("network", {}),
    "pip-file": ("build-context", {"file": "requirements.txt"}),
    "pip-missing": ("package-install", {"manager": "pip", "package": "fastapi-nosuch-package"}),
    "pip-version": ("package-install", {"manager": "pip", "package": "certifi"}),
    "pull-dns": ("network", {}),
    "pull-tag": ("base-image-missing", {}),
    "run-fails": ("command-failed", {"exit_code": 1, "command": 'python3 -c "import nosuchmodule"'}),
    "run-notfound": ("command-failed", {"exit_code": 127, "command": "uv sync --frozen"}),
    "stage-missing": ("network", {}),
    "syntax": ("dockerfile-syntax", {"line": 2}),
    "syntax-empty": ("dockerfile-syntax", {}),
    "syntax-flag": ("dockerfile-syntax", {"line": 2}),
    "syntax-from": ("dockerfile-syntax", {}),
    "npm-dns": ("network", {}),
    "npm-missing": ("package-install", {"manager": "npm", "package": "fastify-nosuch-pkg-91"}),
    "npm-version": ("package-install", {"manager": "npm", "package": "left-pad"}),
    "uv-conflict": ("package-install", {"manager": "uv", "package": "requests"}),
    "uv-dns": ("network", {}),
    "uv-missing": ("package-install", {"manager": "uv", "package": "fastapi-nosuch-package"}),
}
# With a registry on plain HTTP the two builders got different answers.
OF_ONE_BUILDER = {
    "classic-base-tag": ("base-image-missing", {"image": "localhost:5998/team/python:3.99"}),
    "classic-base-private": ("base-image-missing", {"image": "localhost:5998/private/python:3.99"}),
    "buildkit-base-tag": ("network", {"image": "localhost:5998/team/python:3.99"}),
    "buildkit-base-private": ("network", {"image": "localhost:5998/private/python:3.99"}),
}


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDED.glob("*.txt")))
def test_every_recorded_failure_is_told_with_what_to_correct(name: str) -> None:
    kind, named = OF_ONE_BUILDER.get(name) or EXPECTED[name.partition("-")[2]]
    failure = classify_build((RECORDED / f"{name}.txt").read_text())
    facts = failure.as_dict()
    assert (failure.kind, {key: facts[key] for key in named}) == (kind, named), failure
    assert failure.kind in KINDS and failure.summary and failure.hint and failure.last_lines
    assert "\x1b" not in failure.summary + "".join(failure.last_lines)


def test_every_case_was_recorded_with_both_builders() -> None:
    names = {path.stem for path in RECORDED.glob("*.txt")}
    only_once = {"pull-dns", "pull-tag", "npm-dns", "npm-missing", "npm-version", "uv-conflict", "uv-dns", "uv-missing"}
    assert names >= {f"{builder}-{case}" for builder in ("classic", "buildkit") for case in EXPECTED if case not in only_once}


@pytest.mark.parametrize(
    ("text", "kind", "named"),
    [
        # As the documentation of each program has it.
        ("pull access denied for team/python, repository does not exist or may require 'docker login'", "base-image-missing", {"image": "team/python"}),
        ("manifest for python:3.99 not found: manifest unknown: manifest unknown", "base-image-missing", {"image": "python:3.99"}),
        (
            "failed to solve: python:3.99: failed to resolve source metadata for docker.io/library/python:3.99: docker.io/library/python:3.99: not found",
            "base-image-missing",
            {"image": "docker.io/library/python:3.99"},
        ),
        ("ERROR: unable to select packages:\n  nosuch (no such package):\n    required by: world[nosuch]", "package-install", {"package": "nosuch"}),
        ("No match for argument: nosuch\nError: Unable to find a match: nosuch", "package-install", {"package": "nosuch", "manager": "dnf"}),
        ("E: Package 'python-dev' has no installation candidate", "package-install", {"package": "python-dev", "manager": "apt"}),
        ("write /var/lib/docker/tmp/x: no space left on device", "disk", {}),
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?", "engine", {}),
        ("failed to read dockerfile: open Dockerfile.prod: no such file or directory", "build-context", {"file": "Dockerfile.prod"}),
        ("something new", "unknown", {}),
        ("", "unknown", {}),
    ],
)
def test_other_words_for_the_same(text: str, kind: str, named: dict[str, str]) -> None:
    failure = classify_build(text)
    assert failure.kind == kind and failure.summary and {key: failure.as_dict()[key] for key in named} == named


def test_a_retry_that_helped_is_not_taken_for_the_cause() -> None:
    text = (
        "WARNING: Retrying (Retry(total=4)) after connection broken by 'ReadTimeoutError(...)': /simple/idna/\n"
        "ERROR: Could not find a version that satisfies the requirement certifi==1 (from versions: 0.0.1, 2026.1)\n"
        "ERROR: No matching distribution found for certifi==1\n"
        "The command '/bin/sh -c pip install certifi==1' returned a non-zero code: 1\n"
    )
    failure = classify_build(text)
    assert (failure.kind, failure.package) == ("package-install", "certifi")
