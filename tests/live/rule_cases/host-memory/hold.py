# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hold so many MiB of memory: ``python3 hold.py MIB``."""

from __future__ import annotations

import sys
import time

held = b"x" * (int(sys.argv[1]) << 20)
time.sleep(3600)
