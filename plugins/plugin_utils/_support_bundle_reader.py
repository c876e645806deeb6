# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Reads a support bundle as a diagnosis needs it. Whoever sent it, what is in it is data: nothing is unpacked."""

from __future__ import annotations

import json
import pathlib
import typing as t

from ..module_utils._envelope import CheckError
from ..module_utils._extraction import open_archive
from ._diagnosis import Row

SCHEMA = 1
MANIFEST_NAME = "manifest.json"
MAX_ARCHIVE_BYTES = 256 << 20

Raw = dict[str, t.Any]


class BundleError(Exception):
    """The bundle cannot be written or read; it says why."""


def bundle_rows(path: pathlib.Path) -> dict[str, Row]:
    """Return what a diagnosis needs of each host in the bundle at *path*.

    :raises BundleError: it is no bundle.
    """
    try:
        return _rows(path)
    except BundleError as error:
        raise BundleError(f"{path}: {error}. Name a bundle that support_bundle wrote.") from error


def _rows(path: pathlib.Path) -> dict[str, Row]:
    manifest: t.Any = None
    facts: dict[str, bytes] = {}
    for name, content in members_of(path, lambda name: name.split("/")[1:] == [MANIFEST_NAME] or (name.count("/") == 2 and name.endswith("/facts.json"))):
        folder = name.split("/")[1]
        if folder == MANIFEST_NAME:
            manifest = parsed(content)
        else:
            facts[folder] = content
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise BundleError("this is no support bundle, or one of another version of the collection")
    try:
        return {host: _result(facts[host]) if host in facts else row_of(entry) for host, entry in manifest["hosts"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"this is no support bundle: its manifest is another one ({type(error).__name__}: {error})") from error


def members_of(path: pathlib.Path, wanted: t.Callable[[str], bool]) -> t.Iterator[tuple[str, bytes]]:
    """Yield the regular files of an archive whose names are *wanted*, with their content; the rest is passed over.

    :raises BundleError: it cannot be read, or what is wanted of it is more than a bundle can be.
    """
    left = MAX_ARCHIVE_BYTES
    try:
        with open_archive(str(path)) as archive:
            for member in archive.members():
                if not wanted(member.name):
                    continue
                if not member.isreg() or member.size < 0:
                    raise BundleError(f"{member.name!r} in it is no file")
                left -= member.size
                if left < 0:
                    raise BundleError("it is larger than a bundle can be")
                yield member.name, b"".join(archive.content(member))
    except CheckError as error:
        raise BundleError(error.reason) from error


def parsed(content: bytes) -> t.Any:
    """Return what JSON says, ``None`` where it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _result(facts: bytes) -> Row:
    result = parsed(facts)
    return {"reachable": True, "result": result} if isinstance(result, dict) else {"reachable": True, "reason": "its facts in the bundle are damaged"}


def row_of(host: Raw, facts: t.Optional[pathlib.Path] = None) -> Row:
    """Return what a diagnosis needs of *host* in the manifest, with its *facts* where they are in a file."""
    if not host["reachable"]:
        return {"reachable": False, "reason": host.get("reason")}
    if facts is not None and facts.is_file():
        return _result(facts.read_bytes())
    missing = next((entry["left_out"] for entry in host["left_out"] if entry["path"] == "facts.json"), "")
    return {"reachable": True, "reason": host.get("reason") or f"there are no facts of it in the bundle. {missing}".strip()}
