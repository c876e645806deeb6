# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What a backup goes by, from a module's parameters or the host program's configuration."""

from __future__ import annotations

import dataclasses
import typing as t

from ._backup_arguments import DEFAULT_ROOT
from ._backup_dump import DumpOptions
from ._database_facts import Facts
from ._discovery import Selection
from ._encryption import Encryption
from ._engine import EngineOptions
from ._offsite import Offsite
from ._postgres import Login
from ._retention import Policy


@dataclasses.dataclass(frozen=True)
class BackupOptions:
    """The options of ``pg_backup``; they are described there."""

    engine: EngineOptions
    selections: tuple[Selection, ...]
    login: Login
    dump: DumpOptions
    policy: Policy
    root: str = DEFAULT_ROOT
    level: str = "auto"
    equivalent_days: float = 7.0
    logs: bool = True
    log_paths: tuple[str, ...] = ()
    config: bool = True
    config_paths: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    pause: bool = False
    plain_sql: bool = False
    prune: bool = True
    allow_shrink: bool = False
    shrink_ratio: float = 0.5
    force_retention: bool = False
    encryption: t.Optional[Encryption] = None
    identity_file: t.Optional[str] = None
    offsite: t.Optional[Offsite] = None
    max_age_seconds: float = 0.0
    lock_wait_seconds: float = 0.0
    pgbackrest_stanza: t.Optional[str] = None
    progress_file: t.Optional[str] = None
    wanted_set: t.Optional[str] = None

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> BackupOptions:
        """Return the options from a module's parameters."""
        names = {field.name for field in dataclasses.fields(cls)} - {"engine", "encryption", "offsite"}
        given: Facts = {name: tuple(value) if isinstance(value, list) else value for name, value in params.items() if name in names and value is not None}
        return cls(
            **given,
            engine=EngineOptions.from_params(params),
            selections=selections_of(params),
            login=Login.from_params(params),
            dump=DumpOptions(
                databases=tuple(params.get("databases") or ()),
                jobs=int(params.get("jobs") or 0),
                compression=params.get("compression") or "auto",
                lock_timeout_seconds=float(params.get("lock_timeout_seconds") or 60),
                time_limit_seconds=float(params.get("time_limit_seconds") or 14400),
                role_passwords=bool(params.get("role_passwords", True)),
            ),
            policy=Policy(
                keep_days=params.get("keep_days", 7),
                keep_daily=params.get("keep_daily") or 0,
                keep_weekly=params.get("keep_weekly") or 0,
                keep_monthly=params.get("keep_monthly") or 0,
                min_verified=params.get("min_verified", 3),
            ),
            encryption=encryption_of(params),
            offsite=offsite_of(params),
            wanted_set=params.get("set") or None,
        )


def selections_of(params: t.Mapping[str, t.Any]) -> tuple[Selection, ...]:
    """Return which stacks the options choose; all of the host's where they say nothing."""
    chosen = tuple(Selection.from_params(entry) for entry in params.get("stacks") or ())
    return chosen or (Selection.from_params(params),)


def encryption_of(params: t.Mapping[str, t.Any]) -> t.Optional[Encryption]:
    """Return how sets are encrypted, if they are."""
    given = params.get("encryption")
    return Encryption(given["method"], tuple(given["recipients"])) if given else None


def offsite_of(params: t.Mapping[str, t.Any]) -> t.Optional[Offsite]:
    """Return where copies of sets go, if they go anywhere."""
    given = params.get("offsite")
    if not given:
        return None
    return Offsite(
        kind=given["kind"], remote=given["remote"], config_file=given.get("config_file"), password_file=given.get("password_file"),
        options=tuple(given.get("options") or ()), timeout_seconds=float(params.get("time_limit_seconds") or 14400),
        retention=bool(given.get("retention", True)),
    )  # fmt: skip
