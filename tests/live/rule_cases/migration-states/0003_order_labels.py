# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Labels of orders, from a branch that did not know of the other new revision."""

from __future__ import annotations

revision = "0003_order_labels"
down_revision = "0002_orders"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing: the two heads are what matters."""


def downgrade() -> None:
    """Nothing."""
