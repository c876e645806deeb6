# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Before the first request: apply the migrations, and fill an empty shop so that there is something to look at."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from app.core.config import settings
from app.core.database import engine

# Numbers are given, not drawn: a first start that was cut short has rolled back its rows, but not its sequences.
SEED = (
    """INSERT INTO items (id, name, price, attributes)
       SELECT n, 'Item ' || n, 5 + n % 200, jsonb_build_object('discount', '0.' || (n % 4), 'supplier', 'S' || n % 17)
       FROM generate_series(1, :items) AS n""",
    """INSERT INTO orders (id, item_id, customer, quantity, created_at)
       SELECT n, 1 + n % :items, 'customer-' || n % 400, 1 + n % 5, now() - (:orders - n) * interval '20 seconds'
       FROM generate_series(1, :orders) AS n""",
    """INSERT INTO order_events (order_id, kind, payload, created_at)
       SELECT 1 + (n * 7919) % :orders, (ARRAY['created', 'paid', 'packed', 'shipped', 'delivered'])[1 + n % 5],
              'carrier=' || n % 9 || ' parcel=' || md5(n::text), now() - (:events - n) * interval '2 seconds'
       FROM generate_series(1, :events) AS n""",
    "SELECT setval('items_id_seq', :items), setval('orders_id_seq', :orders)",
)


def migrate() -> None:
    """Bring the database to the newest revision."""
    command.upgrade(Config("alembic.ini"), "head")


def seed() -> None:
    """Fill the tables, unless somebody has done so already."""
    numbers = {"items": settings.SEED_ITEMS, "orders": settings.SEED_ORDERS, "events": settings.SEED_EVENTS}
    with engine.begin() as connection:
        if settings.SEED_ITEMS == 0 or connection.execute(sa.text("SELECT EXISTS (SELECT FROM items)")).scalar():
            return
        for statement in SEED:
            connection.execute(sa.text(statement), numbers)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))


if __name__ == "__main__":
    migrate()
    seed()
