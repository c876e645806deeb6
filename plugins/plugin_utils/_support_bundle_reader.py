# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Reads a support bundle as a diagnosis needs it. Whoever sent it, what is in it is data: nothing is unpacked."""

from __future__ import annotations

import json
import pathlib
import tarfile
import typing as t

from ._diagnosis import Row

SCHEMA = 1
MANIFEST_NAME = "manifest.json"
MAX_ARCHIVE_BYTES = 256 << 20

Raw = dict[str, t.Any]


class BundleError(Exception):
    """The bundle cannot be written or read; it says why and what to do."""


def bundle_rows(path: pathlib.Path) -> dict[str, Row]:
    """Return what a diagnosis needs of each host in the bundle at *path*.

    :raises BundleError: it is no bundle.
    """
    manifest: t.Optional[Raw] = None
    facts: dict[str, bytes] = {}
    left = MAX_ARCHIVE_BYTES
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                parts = member.name.split("/")
                wanted = member.isfile() and (parts[1:] == [MANIFEST_NAME] or (len(parts) == 3 and parts[2] == "facts.json"))
                if not wanted:
                    continue
                left -= member.size
                content = archive.extractfile(member)
                if left < 0 or content is None:
                    raise BundleError(f"{path}: it is larger than a bundle can be.")
                if parts[1:] == [MANIFEST_NAME]:
                    manifest = json.loads(content.read())
                else:
                    facts[parts[1]] = content.read()
        if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
            raise BundleError(f"{path}: this is no support bundle, or one of another version of the collection.")
        rows: dict[str, Row] = {}
        for host, entry in manifest["hosts"].items():
            rows[host] = {"reachable": True, "result": json.loads(facts[host])} if host in facts else row_of(entry)
        return rows
    except OSError as error:
        # Damaged compression is such an error as well, without a number.
        raise BundleError(f"{path}: {error.strerror or error}. Name a bundle that support_bundle wrote.") from error
    except (tarfile.TarError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path}: this is no support bundle ({type(error).__name__}: {error})") from error


def row_of(host: Raw, facts: t.Optional[pathlib.Path] = None) -> Row:
    if not host["reachable"]:
        return {"reachable": False, "reason": host.get("reason")}
    try:
        if facts is not None:
            return {"reachable": True, "result": json.loads(facts.read_bytes())}
    except (OSError, ValueError):
        pass
    missing = next((entry["left_out"] for entry in host["left_out"] if entry["path"] == "facts.json"), "")
    return {"reachable": True, "reason": host.get("reason") or f"there are no facts of it in the bundle. {missing}".strip()}
