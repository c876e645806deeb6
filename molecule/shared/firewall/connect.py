# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a stranger sees: connects to every ``[address, port]`` of the JSON given and prints whether a service answered, in their order.

Only a byte of the service counts. Docker's proxy accepts connections that end nowhere.
"""

from __future__ import annotations

import concurrent.futures
import json
import socket
import sys

SECONDS = 2.5


def answers(target: tuple[str, int]) -> bool:
    """Return whether a byte came."""
    try:
        with socket.create_connection(target, SECONDS) as connection:
            return bool(connection.recv(1))
    except OSError:
        return False


if __name__ == "__main__":
    targets = [(address, port) for address, port in json.loads(sys.argv[1])]
    with concurrent.futures.ThreadPoolExecutor(len(targets)) as pool:
        json.dump(list(pool.map(answers, targets)), sys.stdout)
