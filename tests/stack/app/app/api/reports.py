# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reports: slower by nature than the rest."""

from __future__ import annotations

import time
import typing as t

import sqlalchemy as sa
from fastapi import APIRouter, Query

from app.core.database import DatabaseSession, app_setting

router = APIRouter(prefix="/reports")

DAILY = sa.text(
    """SELECT o.created_at::date AS day, count(*) AS orders, sum(o.quantity * i.price) AS revenue
       FROM orders o JOIN items i ON i.id = o.item_id GROUP BY 1 ORDER BY 1 DESC LIMIT 7"""
)
EXPORT = sa.text("SELECT order_id, kind, payload, created_at FROM order_events ORDER BY id LIMIT :rows")


@router.get("/daily")
def daily(session: DatabaseSession) -> list[dict[str, t.Any]]:
    """Return the last days' revenue; ``report_pacing_ms`` keeps reports from crowding out other work."""
    rows = session.execute(DAILY).mappings().all()
    time.sleep(int(app_setting(session, "report_pacing_ms", "0")) / 1000)
    return [dict(row) for row in rows]


@router.get("/export")
def export(session: DatabaseSession, rows: int = Query(1000, le=5_000_000), copies: int = Query(1, le=1000)) -> dict[str, int]:
    """Build an export of the events, all of it in memory, and return its size."""
    parts = [[dict(row) for row in session.execute(EXPORT, {"rows": rows}).mappings()] for dummy in range(copies)]
    return {"rows": sum(map(len, parts))}
