# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_page_of_the_facts_is_what_the_schema_says() -> None:
    made = subprocess.run([sys.executable, ROOT / "tests/tools/facts_doc"], capture_output=True, text=True, check=True, timeout=60).stdout
    assert (ROOT / "docs/facts.md").read_text() == made, "run tests/tools/facts_doc > docs/facts.md"
