# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A service on many ports: ``listen.py [ADDRESS@]FIRST[-LAST]...``. Each port answers a connection with its own number."""

from __future__ import annotations

import selectors
import socket
import sys


def main() -> None:
    """Listen for ever. Without an address it is both families."""
    selector = selectors.DefaultSelector()
    for argument in sys.argv[1:]:
        address, dummy, ports = argument.rpartition("@")
        first, dummy, last = ports.partition("-")
        for port in range(int(first), int(last or first) + 1):
            family = socket.AF_INET if "." in address else socket.AF_INET6
            server = socket.create_server((address or "::", port), family=family, dualstack_ipv6=not address)
            selector.register(server, selectors.EVENT_READ, f"{port}\n".encode())
    while True:
        for key, dummy in selector.select():
            connection, dummy = key.fileobj.accept()
            with connection:
                connection.sendall(key.data)


if __name__ == "__main__":
    main()
