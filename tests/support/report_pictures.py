#!/usr/bin/env python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Take the README's pictures of a report page, light and dark.

    PYTHONPATH=.venv/collections .venv/bin/python tests/support/report_pictures.py reports/latest/report.html docs/images

Without a page, one of a made-up fleet is taken.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile
import typing as t

from ansible_collections.stackops.runbook.plugins.plugin_utils._html import render_html
from ansible_collections.stackops.runbook.tests.support.chromium import chromium, chromium_missing
from ansible_collections.stackops.runbook.tests.support.fleet import NOW, make_report

if t.TYPE_CHECKING:
    from playwright.sync_api import Browser

WIDTH, HEIGHT = 1280, 960


def take_pictures(browser: Browser, page_path: pathlib.Path, directory: pathlib.Path, width: int = WIDTH, height: int = HEIGHT) -> list[pathlib.Path]:
    """Write ``report-light.png`` and ``report-dark.png`` of the page at *page_path* to *directory*."""
    directory.mkdir(parents=True, exist_ok=True)
    pictures = []
    schemes: tuple[t.Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        page = context.new_page()
        page.goto(page_path.resolve().as_uri())
        page.wait_for_selector("html[data-ready] canvas")
        page.wait_for_timeout(200)
        pictures.append(directory / f"report-{scheme}.png")
        page.screenshot(path=pictures[-1])
        context.close()
    return pictures


def main() -> int:
    """Run the program; the exit code is 1 where there is no browser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", nargs="?", type=pathlib.Path, help="report.html; a made-up fleet's without it")
    parser.add_argument("directory", nargs="?", type=pathlib.Path, default=pathlib.Path("docs/images"))
    arguments = parser.parse_args()
    if reason := chromium_missing():
        print(reason, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as scratch:
        page = arguments.page
        if page is None:
            page = pathlib.Path(scratch) / "report.html"
            page.write_text(render_html(make_report(14), "en", NOW), encoding="utf-8")
        with chromium() as browser:
            pictures = take_pictures(browser, page, arguments.directory)
        for picture in pictures:
            print(f"{picture} {picture.stat().st_size // 1000} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
