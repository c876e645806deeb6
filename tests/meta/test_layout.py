# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What galaxy.yml and the layout promise."""

from __future__ import annotations

import pathlib

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_collection_needs_no_other_collection() -> None:
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
    assert galaxy["dependencies"] == {}
    assert (galaxy["namespace"], galaxy["name"]) == ("stackops", "runbook")


def test_only_recognised_plugin_directories() -> None:
    found = {path.name for path in (ROOT / "plugins").iterdir() if path.is_dir() and not path.name.startswith("__")}
    assert found <= {"action", "doc_fragments", "filter", "module_utils", "modules", "plugin_utils"}
