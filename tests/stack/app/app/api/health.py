# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Is the application able to work?"""

from __future__ import annotations

import time
import typing as t

import sqlalchemy as sa
from fastapi import APIRouter, Response
from sqlalchemy.exc import SQLAlchemyError

from app.core.database import SessionLocal, app_setting, engine

router = APIRouter()


def _database() -> dict[str, t.Any]:
    begin = time.perf_counter()
    try:
        with SessionLocal() as session:
            session.execute(sa.text("SELECT 1"))
            limit_percent = int(app_setting(session, "health_pool_limit_percent", "100"))
    except SQLAlchemyError as error:
        return {"status": "error", "error": str(getattr(error, "orig", error)).strip()}
    pool = t.cast(sa.QueuePool, engine.pool)
    used_percent = 100 * pool.checkedout() / pool.size()
    return {
        "status": "ok" if used_percent <= limit_percent else "degraded",
        "latency_ms": round((time.perf_counter() - begin) * 1000, 1),
        "pool_used_percent": round(used_percent),
    }


@router.get("/health")
def health(response: Response) -> dict[str, t.Any]:
    """Check what the application needs; 503 when something of it is missing."""
    checks = {"database": _database()}
    healthy = all(check["status"] != "error" for check in checks.values())
    response.status_code = 200 if healthy else 503
    return {"status": "ok" if healthy else "error", "checks": checks}
