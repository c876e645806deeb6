# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests marked ``live``, and those in tests/live, tests/e2e and tests/faults, need a Docker Engine; without one they are skipped, with the
reason, and in CI they fail. Property tests have no limit of time for an example, and try the same examples each time in CI."""

from __future__ import annotations

import functools
import os
import pathlib
import subprocess
import typing as t

import hypothesis
import pytest

hypothesis.settings.register_profile("busy", deadline=None, derandomize=os.environ.get("CI") == "true", suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")

_HERE = pathlib.Path(__file__).resolve().parent
_LIVE = tuple(_HERE / name for name in ("live", "e2e", "faults"))


@functools.lru_cache(maxsize=1)
def engine_missing() -> str:
    """Return why there is no engine to test with, nothing where there is one."""
    try:
        result = subprocess.run(["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, timeout=20, check=False)
    except FileNotFoundError:
        return "no Docker Engine: there is no docker command"
    except subprocess.TimeoutExpired:
        return "no Docker Engine: docker version did not answer in 20 s"
    return "" if result.returncode == 0 else f"no Docker Engine: {(result.stderr.strip() or 'no answer').splitlines()[-1]}"


@pytest.fixture(autouse=True)
def umask() -> t.Iterator[None]:
    """Give the next test back the mask that the host program changes."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the live directories."""
    for item in items:
        if any(directory in item.path.parents for directory in _LIVE):
            item.add_marker(pytest.mark.live)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs an engine where there is none; in CI that is a failure."""
    if item.get_closest_marker("live") and (reason := engine_missing()):
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
