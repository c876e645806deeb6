# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ask each URL again and again, five at a time: ``python3 use.py URL...``."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import urllib.request


def use(url: str) -> None:
    """Ask for ever."""
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=30) as answer:
            answer.read()
        time.sleep(0.01)


for number in range(5 * len(sys.argv[1:])):
    threading.Thread(target=use, args=(sys.argv[1 + number // 5],)).start()
