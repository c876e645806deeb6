# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real faults for the example stack: how to switch each on, when it shows, and how to take it back."""

from __future__ import annotations

import pathlib
import sys

# The test tree is no package; its parts are found beside each other.
for _sibling in ("stack", "testbed"):
    _path = str(pathlib.Path(__file__).resolve().parents[2] / _sibling)
    if _path not in sys.path:
        sys.path.append(_path)
