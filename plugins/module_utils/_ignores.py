# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What is known and accepted of the findings of a security scan: each with a reason and a day on which it counts again."""

from __future__ import annotations

import dataclasses
import datetime
import fnmatch
import typing as t

from ._envelope import CheckError, utc_now

_KEYS = frozenset({"id", "object", "package", "reason", "expires"})


@dataclasses.dataclass(frozen=True)
class Ignored:
    """One entry of the list; *identity*, *target* and *package* may hold wildcards."""

    identity: str
    target: str
    package: str
    reason: str
    expires: datetime.date

    def covers(self, identity: str, targets: t.Iterable[str], package: str = "") -> bool:
        """Whether it is about this finding; *targets* are all the names of what it is about."""
        return (
            fnmatch.fnmatchcase(identity, self.identity)
            and any(fnmatch.fnmatchcase(target, self.target) for target in targets)
            and fnmatch.fnmatchcase(package, self.package)
        )

    def as_dict(self) -> dict[str, str]:
        """Return it as it is written down, with the day as text."""
        return {"id": self.identity, "object": self.target, "package": self.package, "reason": self.reason, "expires": self.expires.isoformat()}


class IgnoreList:
    """The entries that still count, and those whose day has come."""

    def __init__(self, entries: t.Sequence[Ignored], today: t.Optional[datetime.date] = None) -> None:
        day = today or utc_now().date()
        self.active = [entry for entry in entries if entry.expires >= day]
        self.expired = [entry for entry in entries if entry.expires < day]

    @classmethod
    def parse(cls, entries: t.Iterable[t.Mapping[str, t.Any]], today: t.Optional[datetime.date] = None) -> IgnoreList:
        """Return the list that users wrote.

        :raises CheckError: an entry lacks something, or has a key that nobody knows; code ``bad-option``.
        """
        return cls([_entry(dict(entry)) for entry in entries], today)

    def find(self, identity: str, targets: t.Iterable[str], package: str = "") -> t.Optional[Ignored]:
        """Return the first entry that covers a finding."""
        names = [target for target in targets if target] or [""]
        return next((entry for entry in self.active if entry.covers(identity, names, package)), None)


def _entry(given: dict[str, t.Any]) -> Ignored:
    shown = f"ignore entry {given.get('id') or given}"
    unknown = sorted(set(given) - _KEYS)
    if unknown:
        raise CheckError(shown, f"unknown key {unknown[0]}", f"Known are {', '.join(sorted(_KEYS))}.", "bad-option")
    for name in ("id", "reason", "expires"):
        if not str(given.get(name) or "").strip():
            raise CheckError(shown, f"it has no {name}", "Every entry needs id, reason and expires: what is accepted is accepted for a time.", "bad-option")
    try:
        expires = datetime.date.fromisoformat(str(given["expires"]).strip())
    except ValueError:
        raise CheckError(shown, f"expires is no day: {given['expires']}", "Write it as 2027-01-31.", "bad-option") from None
    return Ignored(str(given["id"]), str(given.get("object") or "*"), str(given.get("package") or "*"), str(given["reason"]).strip(), expires)


def ignore_arguments() -> dict[str, dict[str, t.Any]]:
    """Return the argument spec of one entry, which pairs with the doc fragment ``security_ignore``."""
    return {
        "id": {"type": "str", "required": True},
        "object": {"type": "str"},
        "package": {"type": "str"},
        "reason": {"type": "str", "required": True},
        "expires": {"type": "str", "required": True},
    }
