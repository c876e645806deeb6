# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the controller's scanner found in an image, kept for the other hosts of the same run that have it too."""

from __future__ import annotations

import dataclasses
import pathlib
import typing as t

from ..module_utils._scanner_output import ScannerReport, Vulnerability
from ._handover import hand_over, take_over


def store_report(directory: pathlib.Path, image_id: str, report: ScannerReport) -> None:
    """Keep *report* until the run ends."""
    hand_over(directory, image_id, dataclasses.asdict(report))


def load_report(directory: pathlib.Path, image_id: str) -> t.Optional[ScannerReport]:
    """Return what was kept of an image, or ``None``."""
    kept = take_over(directory, image_id)
    if kept is None:
        return None
    return ScannerReport(**{**kept, "vulnerabilities": tuple(Vulnerability(**one) for one in kept["vulnerabilities"])})
