# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings of the application, all from its environment."""

from __future__ import annotations

import os


class Settings:
    """What the environment says, with the defaults of a small installation."""

    def __init__(self) -> None:
        environment = os.environ
        self.DATABASE_URL = environment.get("DATABASE_URL", "postgresql://postgres@localhost:5432/postgres")
        self.DATABASE_POOL_SIZE = int(environment.get("DATABASE_POOL_SIZE", "5"))
        self.DATABASE_MAX_OVERFLOW = int(environment.get("DATABASE_MAX_OVERFLOW", "5"))
        self.DATABASE_POOL_TIMEOUT = float(environment.get("DATABASE_POOL_TIMEOUT", "10"))
        self.DATABASE_CONNECT_TIMEOUT = int(environment.get("DATABASE_CONNECT_TIMEOUT", "3"))
        self.JWT_SECRET = environment.get("JWT_SECRET", "")
        self.DEBUG = environment.get("DEBUG", "false").lower() == "true"
        self.LOG_LEVEL = environment.get("LOG_LEVEL", "INFO").upper()
        self.LOG_FILE = environment.get("LOG_FILE", "logs/app.log")
        self.APP_EXTENSIONS = environment.get("APP_EXTENSIONS", "").replace(",", " ").split()
        self.PRICE_HISTORY_DAYS = int(environment.get("PRICE_HISTORY_DAYS", "30"))
        self.SEED_ITEMS = int(environment.get("SEED_ITEMS", "100"))
        self.SEED_ORDERS = int(environment.get("SEED_ORDERS", "2000"))
        self.SEED_EVENTS = int(environment.get("SEED_EVENTS", "200000"))


settings = Settings()
