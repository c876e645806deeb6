# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Verifies a set that is on the disk, up to the level that is asked for."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
import typing as t

from . import _encryption as encryption
from . import _extraction as extraction
from ._backup_store import StoredSet, check_intact
from ._backup_verify import SET_MOUNT, WORK_MOUNT, decode_stored, decoded_checks, drill, work_directory
from ._database_facts import Facts, check
from ._engine import Engine
from ._envelope import CheckError, rfc3339
from ._postgres_tools import apart

#: In place of a level: what is on the disk is not what was written, or does not decode to it.
CORRUPT = "corrupt"


def verify_stored(engine: Engine, stored: StoredSet, level: str, identity_file: t.Optional[str], scratch: str, jobs: int, timeout_seconds: float) -> Facts:
    """Verify *stored* and return the evidence; a check that is not ``ok`` is the last one.

    *scratch* is a directory for what is decrypted, *identity_file* the key for that.
    """
    began = time.monotonic()
    checks: list[Facts] = []
    reached = _verify(engine, stored, level, identity_file, scratch, jobs, timeout_seconds, checks)
    return {"set_id": stored.id, "level": reached, "at": rfc3339(time.time()), "duration_seconds": round(time.monotonic() - began, 3), "checks": checks}


def _verify(
    engine: Engine, stored: StoredSet, level: str, identity_file: t.Optional[str], scratch: str, jobs: int, timeout_seconds: float, checks: list[Facts]
) -> str:
    if stored.manifest is None:
        checks.append(check("manifest", [stored.problem], ""))
        return CORRUPT
    problems = check_intact(stored.path, stored.manifest)
    checks.append(check("intact", problems, f"{len(stored.manifest['files'])} files as they were written"))
    if problems or level == "intact":
        return CORRUPT if problems else "intact"
    if stored.manifest.get("encryption") and not identity_file:
        return "intact"
    with decrypted(stored, identity_file, scratch) as (path, databases), work_directory(scratch) as work:
        try:
            checks += _decoded(engine, path, stored.manifest, databases, work, timeout_seconds)
        except CheckError as error:
            checks.append(check("decodable", [f"{error.source}: {error.reason}"], ""))
        if not all(one["ok"] for one in checks) or level == "decodable":
            return "decodable" if all(one["ok"] for one in checks) else CORRUPT
        checks += drill(engine, path, stored.manifest["instances"], databases, level == "equivalent", jobs, timeout_seconds)
        return level if all(one["ok"] for one in checks) else "decodable"


def _decoded(engine: Engine, path: str, manifest: Facts, databases: t.Sequence[Facts], work: str, timeout_seconds: float) -> list[Facts]:
    checks: list[Facts] = []
    for server in manifest["instances"]:
        image = server["image_id"] if engine.image(server["image_id"]) else server["image"]
        with apart(engine, image, "verify", [f"{path}:{SET_MOUNT}:ro", f"{work}:{WORK_MOUNT}"]) as tools:
            for one in databases:
                if one["service"] == server["service"]:
                    found = decoded_checks(one, decode_stored(tools, path, one, work, timeout_seconds))
                    checks += [{**entry, "name": f"{one['service']}/{one['name']}: {entry['name']}"} for entry in found]
    for name in ("config.tar.gz", "logs.tar.gz"):
        if os.path.exists(os.path.join(path, name)):
            checks.append(check(name, [], f"{extraction.check_archive(os.path.join(path, name))} members read back"))
    return checks


@contextlib.contextmanager
def decrypted(stored: StoredSet, identity_file: t.Optional[str], scratch: str, volumes: bool = False) -> t.Iterator[tuple[str, list[Facts]]]:
    """Yield the path of the set and its databases as they can be read: decrypted for the block where they have to be.

    The *volumes*, which may be large, are so only if asked for.

    :raises CheckError: code ``no-identity``, or that of the tool.
    """
    manifest = t.cast("Facts", stored.manifest)
    how = manifest.get("encryption")
    if not how:
        yield stored.path, manifest["databases"]
        return
    if not identity_file:
        raise CheckError(f"set {stored.id}", f"it is encrypted with {how['method']}", "Name the file with the private key in identity_file.", "no-identity")
    with tempfile.TemporaryDirectory(prefix="plain-", dir=scratch) as plain:
        databases = []
        for one in manifest["databases"]:
            into = os.path.join(plain, os.path.dirname(one["path"]))
            os.makedirs(into, mode=0o700, exist_ok=True)
            path = encryption.decrypt_path(how["method"], identity_file, os.path.join(stored.path, one["path"]), into)
            databases.append({**one, "path": os.path.relpath(path, plain)})
        for entry in manifest["files"]:
            if entry["kind"] in ("globals", "config", "logs", *(["volume"] if volumes else [])):
                into = os.path.join(plain, os.path.dirname(entry["path"]))
                os.makedirs(into, mode=0o700, exist_ok=True)
                encryption.decrypt_path(how["method"], identity_file, os.path.join(stored.path, entry["path"]), into)
        yield plain, databases
