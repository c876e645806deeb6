# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import typing as t


def write_whole(path: t.Union[str, os.PathLike[str]], content: t.Union[bytes, t.Iterable[bytes]], mode: int = 0o600) -> None:
    """Write *content*, in one piece or in parts, to *path* whole or not at all: temporary name in the same directory, fsync, rename."""
    import tempfile  # here, because those who only read would pay for it  # pylint: disable=import-outside-toplevel

    directory = os.path.dirname(os.path.abspath(path))
    # Not made of the file's own name, which may be as long as a name can be.
    descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines((content,) if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
        sync_directory(directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def sync_directory(path: t.Union[str, os.PathLike[str]]) -> None:
    """Have the names in a directory on the disk, so that a rename outlives a crash of the host."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
