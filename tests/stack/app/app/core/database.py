# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engine, its pool, and the settings that operators keep in the database."""

from __future__ import annotations

import typing as t

import sqlalchemy as sa
from fastapi import Depends
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from app.core.config import settings

engine = sa.create_engine(
    settings.DATABASE_URL,
    pool_size=settings.DATABASE_POOL_SIZE,
    max_overflow=settings.DATABASE_MAX_OVERFLOW,
    pool_timeout=settings.DATABASE_POOL_TIMEOUT,
    pool_pre_ping=True,
    connect_args={"connect_timeout": settings.DATABASE_CONNECT_TIMEOUT, "application_name": "backend"},
)
SessionLocal = sessionmaker(bind=engine, autoflush=False)


class Base(DeclarativeBase):
    """Parent of the models."""


def get_session() -> t.Iterator[Session]:
    """Yield a session for one request."""
    with SessionLocal() as session:
        yield session


DatabaseSession = t.Annotated[Session, Depends(get_session)]


def app_setting(session: Session, key: str, default: str) -> str:
    """Return what operators set for *key* in the table ``app_settings``."""
    value = session.execute(sa.text("SELECT value FROM app_settings WHERE key = :key"), {"key": key}).scalar()
    return default if value is None else str(value)
