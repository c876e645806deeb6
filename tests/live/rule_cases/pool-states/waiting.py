# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An application that waits for something else than its database: in the event loop, or in a thread, as WAIT_IN says."""

from __future__ import annotations

import os
import time

import sqlalchemy as sa
from fastapi import FastAPI

app = FastAPI()
engine = sa.create_engine(os.environ["DATABASE_URL"])


def items() -> list[int]:
    """Ask the database, and then wait for somebody else."""
    with engine.connect() as connection:
        found = list(connection.execute(sa.text("SELECT generate_series(1, 3)")).scalars())
    time.sleep(0.6)
    return found


async def items_in_the_loop() -> list[int]:
    """Do the same where every other request waits for it."""
    return items()


async def health() -> dict[str, str]:
    """Answer at once, when it is the turn of this request."""
    return {"status": "ok"}


app.get("/items")(items_in_the_loop if os.environ["WAIT_IN"] == "loop" else items)
app.get("/health")(health)
