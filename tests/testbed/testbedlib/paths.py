# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where things are in the checkout."""

from __future__ import annotations

import pathlib

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
CACHE = CHECKOUT / ".cache" / "testbed"
IMAGES = CHECKOUT / "tests" / "testbed" / "images"
ODD = CHECKOUT / "tests" / "testbed" / "odd"
STACK = CHECKOUT / "tests" / "stack"
SECOND_STACK = CHECKOUT / "tests" / "second_stack"
