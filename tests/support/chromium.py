# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The distribution's Chromium, driven by playwright: for tests of the report page, its benchmark, and its pictures."""

from __future__ import annotations

import contextlib
import os
import shutil
import typing as t

if t.TYPE_CHECKING:
    from playwright.sync_api import Browser

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium_path() -> t.Optional[str]:
    """Return where Chromium is, ``None`` where it is not."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


def chromium_missing() -> str:
    """Return why no page can be opened, nothing where one can."""
    if chromium_path() is None:
        return "no Chromium: apt-get install -y --no-install-recommends chromium"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "no playwright: make env"
    return ""


@contextlib.contextmanager
def chromium() -> t.Iterator[Browser]:
    """Start Chromium without a window; it ends with the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium_path(), args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()
