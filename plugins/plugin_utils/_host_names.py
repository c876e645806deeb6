# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Names of hosts as names of files on the controller: an inventory may have any."""

from __future__ import annotations

import hashlib
import urllib.parse

_MAX_BYTES = 200


def path_name(host: str) -> str:
    """Return the name of a file or a directory for *host*: never hidden, never one that leads elsewhere, another one for each host."""
    name = urllib.parse.quote(host, safe="", errors="surrogatepass")
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    # A name may be longer than a file's may be, and quoting makes twelve characters of some.
    return name if 0 < len(name) <= _MAX_BYTES else hashlib.sha256(host.encode("utf-8", "surrogatepass")).hexdigest()
