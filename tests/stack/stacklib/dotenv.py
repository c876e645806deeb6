# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ``.env`` file of a stack, read and written line by line."""

from __future__ import annotations

import typing as t


def parse(text: str) -> dict[str, str]:
    """Return the variables of *text*; comments and empty lines are left out."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value for name, value in pairs}


def update(text: str, changes: t.Mapping[str, str]) -> str:
    """Return *text* with *changes* made in place; what was not there comes at the end."""
    missing = dict(changes)
    lines = []
    for line in text.splitlines():
        name = line.split("=", 1)[0].strip()
        if "=" in line and name in missing:
            line = f"{name}={missing.pop(name)}"
        lines.append(line)
    lines.extend(f"{name}={value}" for name, value in missing.items())
    return "\n".join(lines) + "\n"
