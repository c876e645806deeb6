# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tools of the distribution that tests need: where one is missing they are skipped, with the reason; in CI they fail."""

from __future__ import annotations

import os
import shutil

import pytest


def need_tools(**packages: str) -> None:
    """Skip, or in CI fail, where one of the commands is not there; each names its package."""
    missing = [f"no {command}: apt-get install -y --no-install-recommends {package}" for command, package in packages.items() if not shutil.which(command)]
    if missing:
        reason = "; ".join(missing)
        pytest.fail(reason, pytrace=False) if os.environ.get("CI") == "true" else pytest.skip(reason)
