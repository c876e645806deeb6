# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The written record of one restore: what it is about to do, before it does it, so that a later run can finish or undo it."""

from __future__ import annotations

import json
import os
import re
import secrets
import time
import typing as t

from ._database_facts import Facts
from ._envelope import CheckError, rfc3339
from ._files import write_whole

SCHEMA_VERSION = 1
#: In the order they are gone through. Before ``swapping`` the live database is as it was; after it the restored one may be live.
STATES = ("preparing", "stopping", "swapping", "starting", "rolling-back", "done", "rolled-back")
_FINISHED = ("done", "rolled-back")
_NAME = re.compile(r"[0-9a-f]{8}\.json")


class Journal:
    """One restore's record, on the disk before each step."""

    def __init__(self, directory: str, data: Facts) -> None:
        self._directory = directory
        self.data = data

    @classmethod
    def begin(cls, directory: str, **data: t.Any) -> Journal:
        """Return a new record, with an id that no other has."""
        restore_id = secrets.token_hex(4)
        while os.path.exists(os.path.join(directory, f"{restore_id}.json")):
            restore_id = secrets.token_hex(4)
        return cls(directory, {"schema_version": SCHEMA_VERSION, "restore_id": restore_id, "created_at": rfc3339(time.time()), "state": "preparing", **data})

    @property
    def id(self) -> str:
        """Eight hexadecimal digits."""
        return str(self.data["restore_id"])

    @property
    def state(self) -> str:
        """One of :data:`STATES`."""
        return str(self.data["state"])

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in _FINISHED

    def save(self, state: str, **changes: t.Any) -> None:
        """Have *state* and *changes* on the disk before going on."""
        self.data.update(changes, state=state, updated_at=rfc3339(time.time()))
        write_whole(os.path.join(self._directory, f"{self.id}.json"), json.dumps(self.data, indent=1, ensure_ascii=False).encode())


def journals(directory: str) -> list[Journal]:
    """Return all records, newest first.

    :raises CheckError: one cannot be read, or is of a newer version.
    """
    found = []
    for name in os.listdir(directory) if os.path.isdir(directory) else ():
        if _NAME.fullmatch(name):
            path = os.path.join(directory, name)
            try:
                with open(path, encoding="utf-8") as file:
                    data = json.load(file)
                version = data["schema_version"]
                found.append(Journal(directory, {**data, "restore_id": str(data["restore_id"]), "state": STATES[STATES.index(data["state"])]}))
            except (OSError, ValueError, KeyError, TypeError) as error:
                hint = "See which databases there are (psql -l), put right by hand what it left, then move the file away."
                raise CheckError(path, f"the record of a restore cannot be read: {error}", hint, "corrupt") from None
            if version > SCHEMA_VERSION:
                raise CheckError(
                    path, f"its format is version {version}, newer than {SCHEMA_VERSION}", "Use the collection that wrote it, or a newer one.", "schema-too-new"
                )
    return sorted(found, key=lambda one: str(one.data.get("created_at")), reverse=True)


def unfinished(directory: str) -> list[Journal]:
    """Return the records of restores that were interrupted."""
    return [one for one in journals(directory) if not one.finished]
