# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""How far a long run is: a small file that is replaced about once a second, for whoever watches."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import typing as t

from ._envelope import rfc3339

_INTERVAL_SECONDS = 1.0


class Progress:
    """Writes to *path*, or nothing where it is ``None``. What cannot be written is no reason to stop the run."""

    def __init__(self, path: t.Optional[str], run_id: str = "") -> None:
        self.path = path
        self._state: dict[str, t.Any] = {"run_id": run_id, "pid": os.getpid(), "started_at": rfc3339(time.time())}

    def step(self, project: str, step: str, number: int, steps: int) -> None:
        """Say which step begins, as *number* of *steps*."""
        counters = {"done_bytes": None, "total_bytes": None, "bytes_per_second": None, "percent": None}
        self._state.update(project=project, step=step, step_number=number, steps=steps, **counters)
        self._write()

    @contextlib.contextmanager
    def watching(self, done_bytes: t.Callable[[], int], total_bytes: t.Optional[int]) -> t.Iterator[None]:
        """Follow a number of bytes, and what they come to in the end if that is known, during the block."""
        if self.path is None:
            yield
            return
        over = threading.Event()
        began = time.monotonic()

        def follow() -> None:
            while not over.wait(_INTERVAL_SECONDS):
                done = done_bytes()
                percent = min(99, round(100 * done / total_bytes)) if total_bytes else None
                rate = round(done / (time.monotonic() - began))
                self._state.update(done_bytes=done, total_bytes=total_bytes, bytes_per_second=rate, percent=percent)
                self._write()

        thread = threading.Thread(target=follow, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(5)

    def _write(self) -> None:
        if self.path is None:
            return
        self._state["updated_at"] = rfc3339(time.time())
        # Without fsync: it is worth nothing after a crash, and a busy disk must not wait for it.
        temporary = f"{self.path}.new"
        with contextlib.suppress(OSError):
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(self._state, file)
            os.replace(temporary, self.path)


def bytes_under(path: str) -> int:
    """Return the size of all files at or under *path*, as far as they can be seen."""
    total = 0
    waiting = [path]
    while waiting:
        directory = waiting.pop()
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
    return total
