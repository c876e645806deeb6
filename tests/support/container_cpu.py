# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processor time of a container, from the kernel: a single sample of some engines is empty."""

from __future__ import annotations

import contextlib
import pathlib


def cpu_seconds(container_id: str) -> float:
    """Return what a running container has used; not a number where the kernel does not tell."""
    for path in (f"/sys/fs/cgroup/cpuacct/docker/{container_id}/cpuacct.usage", f"/sys/fs/cgroup/system.slice/docker-{container_id}.scope/cpu.stat"):
        with contextlib.suppress(OSError):
            words = pathlib.Path(path).read_text("ascii").split()
            return int(words[0]) / 1e9 if len(words) == 1 else int(words[1]) / 1e6
    return float("nan")
