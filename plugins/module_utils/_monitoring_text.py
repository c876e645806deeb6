# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Text that may come from logs, made harmless before it is kept or sent anywhere."""

from __future__ import annotations

import re
import unicodedata

from ._redaction import Redactor

_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_REDACTOR = Redactor(())
# Longer than anything that is shown, so that what is cut off afterwards cannot leave half a secret behind.
_LONGEST_INPUT = 20_000


def inert(text: str, limit: int) -> str:
    """Return *text* as one line of at most *limit* characters: no control or direction characters, no secrets of known shapes."""
    text = _ESCAPE_SEQUENCE.sub("", str(text)[:_LONGEST_INPUT])
    if not text.isprintable():
        # Cc, Cf, Cs, Co, Cn: control, direction, zero-width, halves of pairs; Zl and Zp break lines.
        text = "".join(" " if one in "\t\n\r\v\f\x85" or unicodedata.category(one) in ("Zl", "Zp") else one for one in text)
        text = "".join(one for one in text if unicodedata.category(one)[0] != "C")
    text = _REDACTOR.text(" ".join(text.split()))
    return text if len(text) <= limit else text[: limit - 1] + "…"
