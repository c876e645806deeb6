# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the collection knows of itself."""

from __future__ import annotations

import json
import pathlib

import yaml


def collection_version() -> str:
    """Return the version of this collection, from the installed manifest or, in a checkout, from galaxy.yml."""
    root = pathlib.Path(__file__).resolve().parents[2]
    try:
        return str(json.loads((root / "MANIFEST.json").read_bytes())["collection_info"]["version"])
    except (OSError, ValueError, KeyError):
        galaxy = root / "galaxy.yml"
        return str(yaml.safe_load(galaxy.read_bytes())["version"]) if galaxy.exists() else ""
