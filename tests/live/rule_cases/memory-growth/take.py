# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Take memory in one of three ways: ``python3 take.py KIND``."""

from __future__ import annotations

import random
import sys
import time

MEBIBYTE = 1 << 20


def main(kind: str) -> None:
    """Take 2 MiB every ten seconds for ever, or up to 40 MiB for two minutes, or anything up to 60 MiB and give it back."""
    kept: list[bytes] = []
    while True:
        if kind == "breathing":
            kept = [b"x" * random.randrange(60 * MEBIBYTE)]
        elif kind == "leaking" or len(kept) < 20:
            kept.append(b"x" * 2 * MEBIBYTE)
        time.sleep(10 if kind != "warming" else 6)


if __name__ == "__main__":
    main(sys.argv[1])
