# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Log local time without its zone, as applications do: ``python3 clock.py HOURS_FROM_UTC``."""

from __future__ import annotations

import logging
import sys
import time


def main(hours: float) -> None:
    """Write a line every tenth of a second."""
    logging.basicConfig(filename="/app/logs/app.log", format="%(asctime)s %(levelname)s clock: %(message)s", level=logging.INFO)
    logging.Formatter.converter = lambda dummy, seconds: time.gmtime((seconds or time.time()) + hours * 3600)
    while True:
        logging.info("tick")
        time.sleep(0.1)


if __name__ == "__main__":
    main(float(sys.argv[1]))
