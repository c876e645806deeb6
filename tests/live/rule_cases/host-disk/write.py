# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the same places of a disk again and again, past all caches: work for the disk, and next to none for the processors."""

from __future__ import annotations

import mmap
import os
import threading

SIZE = 8 << 20
block = mmap.mmap(-1, SIZE)  # where a page begins, as O_DIRECT wants it


def write(number: int) -> None:
    """Write one file for ever."""
    descriptor = os.open(f"/data/{number}", os.O_RDWR | os.O_CREAT | os.O_DIRECT | os.O_DSYNC)
    while True:
        os.pwrite(descriptor, block, 0)


for number in range(4):
    threading.Thread(target=write, args=(number,)).start()
