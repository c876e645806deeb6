# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Orders and what happened to them."""

from __future__ import annotations

import typing as t

import sqlalchemy as sa
from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, Field

from app.core.database import DatabaseSession
from app.core.security import Claims
from app.models import Item, Order

router = APIRouter(prefix="/orders")

RECENT = sa.text(
    """SELECT o.id, o.customer, o.quantity,
              (SELECT count(*) FROM order_events e WHERE e.order_id = o.id) AS events
       FROM orders o ORDER BY o.id DESC LIMIT :limit"""
)
NOTES = sa.text("SELECT author, note FROM order_notes WHERE order_id = :order_id ORDER BY id")


class NewOrder(BaseModel):
    """What a client sends to order something."""

    item_id: int
    customer: str = Field(min_length=1, max_length=100)
    quantity: int = Field(default=1, gt=0)


@router.get("/recent")
def recent_orders(session: DatabaseSession, limit: int = Query(50, le=200)) -> list[dict[str, t.Any]]:
    """Return the newest orders, each with the number of its events."""
    return [dict(row) for row in session.execute(RECENT, {"limit": limit}).mappings()]


@router.get("/{order_id}/notes")
def order_notes(order_id: int, session: DatabaseSession) -> list[dict[str, t.Any]]:
    """Return what people noted about an order."""
    return [dict(row) for row in session.execute(NOTES, {"order_id": order_id}).mappings()]


@router.post("", status_code=201)
def create_order(new_order: NewOrder, claims: Claims, session: DatabaseSession) -> dict[str, t.Any]:
    """Order an item."""
    if session.get(Item, new_order.item_id) is None:
        raise HTTPException(404, f"No item {new_order.item_id}")
    order = Order(**new_order.model_dump())
    session.add(order)
    session.commit()
    return {"id": order.id}
