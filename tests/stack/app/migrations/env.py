# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How alembic reaches the database: as the application does."""

from __future__ import annotations

import logging.config

import sqlalchemy as sa
from alembic import context
from app import models
from app.core.config import settings

if context.config.config_file_name is not None:
    logging.config.fileConfig(context.config.config_file_name, disable_existing_loggers=False)


def run() -> None:
    """Apply the revisions that were asked for, in one transaction."""
    engine = sa.create_engine(
        settings.DATABASE_URL,
        poolclass=sa.NullPool,
        connect_args={"connect_timeout": settings.DATABASE_CONNECT_TIMEOUT, "application_name": "alembic"},
    )
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=models.Base.metadata)
        with context.begin_transaction():
            context.run_migrations()


run()
