# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import typing as t

import pytest

from tests.support.fleet_hosts import CACHE, PLAIN, RENAMED, StackHost, bring_up, fault, inventory, side_by_side, testbed


def no_engine() -> str:
    """Return why there is no Docker Engine to test with; empty where there is one."""
    if shutil.which("docker") is None:
        return "docker is not installed"
    done = subprocess.run(["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, timeout=60, check=False)
    return "" if done.returncode == 0 else f"no Docker Engine answers: {done.stderr.strip()}"


@pytest.fixture(scope="session")
def hosts() -> t.Iterator[tuple[StackHost, StackHost]]:
    """Two real hosts, each with the example stack, under its own names on the second; healthy and without a past."""
    reason = no_engine()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    CACHE.mkdir(parents=True, exist_ok=True)
    both = (PLAIN, RENAMED)
    side_by_side(bring_up, both)
    side_by_side(lambda host: fault(host, "reset"), both)
    yield both
    if not os.environ.get("KEEP_HOSTS"):
        for host in both:
            testbed("host", "down", host.name)


@pytest.fixture(scope="session")
def both_hosts(hosts: tuple[StackHost, StackHost]) -> pathlib.Path:
    """Path of the inventory of both hosts."""
    return inventory(hosts)
