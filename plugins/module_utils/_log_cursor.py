# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""How far each log was read, so that a run from cron takes only what is new, through rotation and truncation.

A file is known again by its content: the hash of its beginning and of what stood right before the place that was reached.
Device and inode only say which of several to ask first, for inodes are used again and copies keep the content.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import typing as t

from ._envelope import CheckError
from ._files import write_whole
from ._log_files import LogFile, Source

HEAD_BYTES = 1024
TAIL_BYTES = 256
VERSION = 1


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where reading of one log ended."""

    device: int
    inode: int
    offset: int
    head_bytes: int
    head_sha256: str
    tail_bytes: int
    tail_sha256: str


class Cursors:
    """The places of all logs of one state file."""

    def __init__(self, path: str, saved_at: t.Optional[float] = None, places: t.Optional[dict[str, _Place]] = None) -> None:
        self.path = path
        self.saved_at = saved_at
        self._places = places or {}

    @classmethod
    def load(cls, path: str, problems: list[CheckError]) -> Cursors:
        """Return what *path* holds; where it is missing or damaged, nothing was read before (the latter is a problem)."""
        try:
            with open(path, encoding="utf-8") as handle:
                return cls.from_state(json.load(handle), path)
        except FileNotFoundError:
            return cls(path)
        except (OSError, ValueError) as error:
            problems.append(CheckError(path, f"the state is not readable: {error}", "The window was read instead; the state is written anew.", "state"))
            return cls(path)

    @classmethod
    def from_state(cls, state: t.Any, path: str = "") -> Cursors:
        """Return what :meth:`as_state` gave, for those who keep it within a state of their own.

        :raises ValueError: it is something else.
        """
        try:
            if state["version"] != VERSION:
                raise ValueError(f"its version is {state['version']}")
            places = {str(name): _Place(**{key: type_of(value) for key, value, type_of in _fields(entry)}) for name, entry in state["sources"].items()}
            return cls(path, float(state["saved_at"]), places)
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None

    def as_state(self, now: float) -> dict[str, t.Any]:
        """Return the places as JSON has them."""
        return {"version": VERSION, "saved_at": now, "sources": {name: _as_json(place) for name, place in sorted(self._places.items())}}

    def keep_only(self, names: t.Container[str]) -> None:
        """Forget the logs that are not among *names*."""
        self._places = {name: place for name, place in self._places.items() if name in names}

    def knows(self, name: str) -> bool:
        """Tell whether the log called *name* was read before."""
        return name in self._places

    def resume(self, name: str, files: t.Sequence[LogFile]) -> t.Optional[tuple[int, int]]:
        """Return the index in *files* (oldest first) and the offset to go on from; ``None`` where nothing was read before.

        Where the file that was read is no longer among them, everything there is new.
        """
        place = self._places.get(name)
        if place is None:
            return None
        order = sorted(range(len(files)), key=lambda index: ((files[index].device, files[index].inode) != (place.device, place.inode), -index))
        for index in order:
            if _is_at(files[index], place):
                return index, place.offset
        return 0, 0

    def remember(self, name: str, source: Source, offset: int) -> None:
        """Note that the log called *name* was read up to *offset* of *source*."""
        file = source.file
        head, tail = _hashes(file, offset, min(HEAD_BYTES, offset), min(TAIL_BYTES, offset))
        self._places[name] = _Place(file.device, file.inode, offset, min(HEAD_BYTES, offset), head, min(TAIL_BYTES, offset), tail)

    def save(self, now: float, problems: list[CheckError]) -> None:
        """Write the state whole or not at all, readable by its owner only."""
        directory = os.path.dirname(os.path.abspath(self.path))
        try:
            os.makedirs(directory, mode=0o750, exist_ok=True)
            write_whole(self.path, json.dumps(self.as_state(now)).encode())
        except OSError as error:
            problems.append(CheckError(self.path, f"the state could not be written: {error.strerror}", f"Look with: ls -ld {directory}", "state"))


def _fields(entry: t.Mapping[str, t.Any]) -> list[tuple[str, t.Any, t.Callable[[t.Any], t.Any]]]:
    return [(field.name, entry[field.name], str if field.name.endswith("sha256") else int) for field in dataclasses.fields(_Place)]


def _as_json(place: _Place) -> dict[str, t.Any]:
    # Device and inode may exceed what JSON readers take for an integer.
    return {**dataclasses.asdict(place), "device": str(place.device), "inode": str(place.inode)}


def _is_at(file: LogFile, place: _Place) -> bool:
    if not file.compressed and file.size < place.offset:
        return False
    try:
        return _hashes(file, place.offset, place.head_bytes, place.tail_bytes) == (place.head_sha256, place.tail_sha256)
    except CheckError:
        return False


def _hashes(file: LogFile, offset: int, head_bytes: int, tail_bytes: int) -> tuple[str, str]:
    """Return the hashes of the first bytes of a file and of those before *offset*, unpacked."""
    with Source(file) as source:
        if not file.compressed:
            head, tail = source.at(0, head_bytes), source.at(offset - tail_bytes, tail_bytes)
        else:
            head = tail = b""
            for piece in source.pieces(0, offset):
                head += piece[: max(0, head_bytes - len(head))]
                tail = (tail + piece)[-tail_bytes:] if tail_bytes else b""
            if source.read_bytes < offset:
                tail = b"shorter"
    return hashlib.sha256(head).hexdigest(), hashlib.sha256(tail).hexdigest()
