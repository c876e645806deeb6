# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What checks, the state machine and the channels of the monitoring hand to each other."""

from __future__ import annotations

import dataclasses
import typing as t


@dataclasses.dataclass(frozen=True)
class Observation:
    """What one run of a check saw of one object.

    *object* is unique within the check: ``engine``, ``shop/backend``, ``http://127.0.0.1:8000/health``. *status* is one
    of :data:`_envelope.STATUSES`. Texts may come from logs and are never trusted. *stack* is the Compose project, empty
    for the host. *parents* are objects of the same check (``engine``) or of another (``health:engine``) that explain
    this one while they are not ok. *metrics* are as :func:`_envelope.metric` makes them.
    """

    object: str
    status: str
    summary: str
    stack: str = ""
    cause: str = ""
    next_command: str = ""
    parents: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    metrics: t.Mapping[str, t.Mapping[str, t.Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Policy:
    """When a check's verdicts become news; *flap_failures* of the last *flap_window* that are not ok do as well."""

    fail_after: int = 3
    recover_after: int = 2
    unknown_after: int = 5
    flap_failures: int = 3
    flap_window: int = 5
    repeat_seconds: float = 14400.0  # 0: never
    interval_seconds: float = 60.0


@dataclasses.dataclass(frozen=True)
class Event:
    """What somebody has to be told. *kind* is ``open``, ``change``, ``reminder``, ``recovery`` or ``test``; times are seconds since the epoch."""

    kind: str
    check: str
    object: str
    stack: str
    host: str
    status: str
    previous_status: str
    since: float
    at: float
    summary: str
    cause: str
    next_command: str
    details: tuple[str, ...]
    incident_id: str
    dedupe_key: str
    failures: int
    worst_status: str = ""  # of the incident so far: a channel that was told of it is told of its end as well
