# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._cgroup import oom_kills, read_sample

CONTAINER = "3fb80bcee0dcc9a4be3bdf68a755e45a77271ca85e2fd5824370a58a70b7181d"


def host(root: pathlib.Path, groups: str, files: dict[str, str]) -> str:
    """Make the files of a host, as they were on a real one."""
    for name, content in {"proc/7/cgroup": groups, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="ascii")
    return str(root)


@pytest.fixture
def version_1(tmp_path: pathlib.Path) -> str:
    controllers = ("9:name=systemd", "8:pids", "4:memory", "2:cpu,cpuacct", "0:")
    groups = "".join(f"{controller}:/docker/{CONTAINER}\n" for controller in controllers)
    files = {
        f"memory/docker/{CONTAINER}/memory.usage_in_bytes": "73515008\n",
        f"memory/docker/{CONTAINER}/memory.stat": "inactive_file 245760\ntotal_inactive_file 245760\n",
        f"memory/docker/{CONTAINER}/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        f"cpuacct/docker/{CONTAINER}/cpuacct.usage": "12632044248\n",
        f"cpu/docker/{CONTAINER}/cpu.stat": "nr_periods 40\nnr_throttled 31\nthrottled_time 812345678\n",
        f"pids/docker/{CONTAINER}/pids.current": "6\n",
    }
    return host(tmp_path, groups, files)


@pytest.fixture
def version_2(tmp_path: pathlib.Path) -> str:
    # systemd inside the container has put itself into a group of its own.
    scope = f"system.slice/docker-{CONTAINER}.scope"
    files = {
        f"{scope}/memory.current": "73515008\n",
        f"{scope}/memory.stat": "anon 62083072\ninactive_file 245760\n",
        f"{scope}/memory.events": "low 0\nhigh 0\nmax 31\noom 1\noom_kill 1\n",
        f"{scope}/cpu.stat": "usage_usec 12632044\nuser_usec 9940000\nnr_periods 40\nnr_throttled 31\n",
        f"{scope}/pids.current": "6\n",
    }
    return host(tmp_path, f"0::/{scope}/init.scope\n", files)


@pytest.mark.parametrize("version", ["version_1", "version_2"])
def test_counters_in_the_shape_of_the_engines(version: str, request: pytest.FixtureRequest) -> None:
    sample = read_sample(7, CONTAINER, request.getfixturevalue(version))
    assert sample is not None
    assert sample["memory_stats"]["usage"] == 73515008 and sample["memory_stats"]["stats"]["inactive_file"] == 245760
    assert sample["cpu_stats"]["cpu_usage"]["total_usage"] // 1000 == 12632044
    assert sample["cpu_stats"]["throttling_data"] == {"periods": 40, "throttled_periods": 31}
    assert sample["pids_stats"] == {"current": 6}
    assert sample["read"].endswith("Z")


def test_killed_children_are_counted(version_1: str) -> None:
    assert oom_kills(7, CONTAINER, version_1) == 2


def test_killed_children_are_counted_in_version_2(version_2: str) -> None:
    assert oom_kills(7, CONTAINER, version_2) == 1


def test_a_group_that_is_not_the_containers_is_not_read(version_1: str) -> None:
    assert read_sample(7, "f" * 64, version_1) is None
    assert oom_kills(7, "f" * 64, version_1) is None


def test_a_process_that_is_gone(tmp_path: pathlib.Path) -> None:
    assert read_sample(7, CONTAINER, str(tmp_path)) is None
    assert oom_kills(None, CONTAINER) is None


def test_a_process_of_this_host_outside_containers() -> None:
    assert read_sample(os.getpid(), CONTAINER) is None
