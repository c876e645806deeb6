# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Which TCP ports answer, seen from where this runs."""

from __future__ import annotations

import concurrent.futures
import errno
import ipaddress
import socket
import time
import typing as t

from ._envelope import envelope, metric

Facts = dict[str, t.Any]

MAXIMUM_TARGETS = 2000
_WORKERS = 64
_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETDOWN, errno.EACCES, errno.EPERM})


def probe(address: str, port: int, timeout_seconds: float) -> Facts:
    """Return what a connection to *port* of *address* finds: ``open``, ``refused``, ``silent`` or ``unreachable``."""
    began = time.monotonic()
    result, reason = "open", ""
    try:
        # Closed at once: the service sees a connection that says nothing.
        socket.create_connection((address, port), timeout_seconds).close()
    except (ConnectionRefusedError, ConnectionResetError) as error:
        result, reason = "refused", error.strerror or "refused"
    except TimeoutError as error:
        result, reason = "silent", str(error) or "timed out"
    except OSError as error:
        result, reason = "unreachable" if error.errno in _UNREACHABLE else "silent", error.strerror or str(error)
    return {"address": address, "port": port, "result": result, "reason": reason, "duration_ms": round((time.monotonic() - began) * 1000)}


def probe_all(targets: t.Sequence[tuple[str, int]], timeout_seconds: float) -> Facts:
    """Return the envelope with one row for each of *targets*, in their order.

    All of a host's ports share its way, so a family in which everything is unreachable has no way there: those rows say so.
    """
    wanted = list(dict.fromkeys(targets))[:MAXIMUM_TARGETS]
    if not wanted:
        return envelope("ok", "no ports to try", results=[])
    with concurrent.futures.ThreadPoolExecutor(min(_WORKERS, len(wanted))) as pool:
        rows = list(pool.map(lambda target: probe(target[0], target[1], timeout_seconds), wanted))
    counts = {name: sum(row["result"] == name for row in rows) for name in ("open", "refused", "silent", "unreachable")}
    summary = f"{counts['open']} of {len(rows)} ports answered"
    return envelope("ok", summary, {"ports": metric(len(rows)), **{name: metric(count) for name, count in counts.items()}}, results=rows)


def target_of(entry: t.Mapping[str, t.Any]) -> tuple[str, int]:
    """Return address and port of one entry of the option ``targets``.

    :raises ValueError: the address is none, or the port out of range.
    """
    address, port = str(ipaddress.ip_address(str(entry["address"]))), int(entry["port"])
    if not 0 < port < 65536:
        raise ValueError(f"{port} is no port")
    return address, port
