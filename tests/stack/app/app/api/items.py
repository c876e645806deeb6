# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Items: everybody may read them, writing needs a token."""

from __future__ import annotations

import decimal
import typing as t

import sqlalchemy as sa
from fastapi import APIRouter, HTTPException, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from app.core.database import DatabaseSession
from app.core.security import Claims
from app.models import Item

router = APIRouter(prefix="/items")


class NewItem(BaseModel):
    """What a client sends to create an item."""

    name: str = Field(min_length=1, max_length=200)
    price: decimal.Decimal = Field(default=decimal.Decimal("1.00"), gt=0)
    attributes: dict[str, t.Any] = Field(default_factory=dict)


def _shown(item: Item) -> dict[str, t.Any]:
    return {"id": item.id, "name": item.name, "price": str(item.price), "attributes": item.attributes}


def _find(session: Session, item_id: int) -> Item:
    item = session.get(Item, item_id)
    if item is None:
        raise HTTPException(404, f"No item {item_id}")
    return item


@router.get("")
def list_items(session: DatabaseSession, limit: int = Query(20, le=200), offset: int = 0) -> list[dict[str, t.Any]]:
    """Return a page of items."""
    return [_shown(item) for item in session.scalars(sa.select(Item).order_by(Item.id).limit(limit).offset(offset))]


@router.get("/{item_id}")
def read_item(item_id: int, session: DatabaseSession) -> dict[str, t.Any]:
    """Return one item."""
    return _shown(_find(session, item_id))


@router.get("/{item_id}/price")
def read_price(item_id: int, session: DatabaseSession) -> dict[str, t.Any]:
    """Return the price after the supplier's discount."""
    item = _find(session, item_id)
    discount = float(item.attributes.get("discount", "0"))
    return {"id": item.id, "price": round(float(item.price) * (1 - discount), 2)}


@router.post("", status_code=201)
def create_item(new_item: NewItem, claims: Claims, session: DatabaseSession) -> dict[str, t.Any]:
    """Create an item."""
    item = Item(**new_item.model_dump())
    session.add(item)
    session.commit()
    return _shown(item)


@router.delete("/{item_id}", status_code=204, response_class=Response)
def delete_item(item_id: int, claims: Claims, session: DatabaseSession) -> Response:
    """Remove an item that was never ordered."""
    session.delete(_find(session, item_id))
    session.commit()
    return Response(status_code=204)
