# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The program unpacked beside its state, where Python can keep bytecode: compiling it anew every minute costs half of a check."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import zipfile


def unpack(program: str, place: str) -> None:
    """Unpack the zip archive *program* to the directory *place*, whole or not at all, and remove what other builds left beside it.

    Nothing is said of what does not work: the program runs from its archive as well.
    """
    parent, name = os.path.split(place)
    with contextlib.suppress(OSError, zipfile.BadZipFile):
        work = tempfile.mkdtemp(prefix=".new-", dir=parent)
        try:
            with zipfile.ZipFile(program) as archive:
                archive.extractall(work)
            os.rename(work, place)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        for other in os.listdir(parent):
            # Two Pythons of one host may use the same build; a directory that is being made belongs to somebody.
            if other.partition("-")[0] != name.partition("-")[0] and not other.startswith("."):
                shutil.rmtree(os.path.join(parent, other), ignore_errors=True)
