# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Takes a backup set in parts, compares it with its manifest, and publishes it with one rename.

What a host says of its set is data: a path that leads out of the set's directory is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import typing as t

from ..module_utils._backup_transfer import PROJECT, SET_ID
from ..module_utils._files import sync_directory
from ._host_names import path_name

_BLOCK_BYTES = 1024 * 1024
_WITHOUT_ENTRY = {"manifest.json", "SHA256SUMS"}

Raw = dict[str, t.Any]


class TransferError(Exception):
    """The set cannot be taken over; it says why and what to do."""


def directory_of(dest: str, host: str, project: str) -> pathlib.Path:
    """Return where the sets of a host's project are on the controller."""
    if not PROJECT.match(project):
        raise TransferError(f"The host says that {project!r} is a project, which is no name of one.")
    return pathlib.Path(dest).expanduser().absolute() / path_name(host) / project


class SetReceiver:
    """One set on its way. Use it as a context; what was not published is gone after it."""

    def __init__(self, directory: pathlib.Path, set_id: str, files: t.Sequence[t.Mapping[str, t.Any]]) -> None:
        if not SET_ID.match(set_id):
            raise TransferError(f"The host says that {set_id!r} is a set, which is no name of one.")
        self._set_id = set_id
        self._files = [(_safe(str(entry["path"])), int(entry["bytes"])) for entry in files]
        if len({path for path, dummy in self._files}) != len(self._files):
            raise TransferError(f"The host lists a file of {set_id} twice.")
        self.path = directory / set_id
        self.total_bytes = sum(size for dummy, size in self._files)
        self._partial = directory / f".{set_id}.{os.getpid()}.partial"
        self._hashes: dict[str, str] = {}
        self._index = -1
        self._left = 0
        self._target: t.Optional[t.BinaryIO] = None
        self._hash = hashlib.sha256()

    @property
    def there(self) -> bool:
        """Whether the set was published here before."""
        return (self.path / "manifest.json").is_file()

    def __enter__(self) -> SetReceiver:
        directory = self._partial.parent
        _make_private(directory)
        for leftover in directory.glob(".*.partial"):
            if not _alive(leftover.name.split(".")[-2]):
                shutil.rmtree(leftover, ignore_errors=True)
        free = shutil.disk_usage(directory).free
        if free < self.total_bytes * 1.02:
            raise TransferError(f"{directory}: {free} bytes are free, and the set {self._set_id} has {self.total_bytes}. Make room, or set another directory.")
        self._partial.mkdir(mode=0o700)
        self._next()
        return self

    def __exit__(self, *dummy_exception: object) -> None:
        if self._target is not None:
            self._target.close()
        shutil.rmtree(self._partial, ignore_errors=True)

    def take(self, part: pathlib.Path, expected_bytes: int) -> None:
        """Take the next part of the set from the file *part*."""
        size = part.stat().st_size
        if size != expected_bytes:
            raise TransferError(f"A part of {self._set_id} has {size} bytes instead of {expected_bytes}: the set has changed, or the copy was cut.")
        with open(part, "rb") as source:
            while block := source.read(min(_BLOCK_BYTES, self._left) if self._left else _BLOCK_BYTES):
                if self._target is None:
                    raise TransferError(f"There is more of {self._set_id} than its list of files says.")
                self._target.write(block)
                self._hash.update(block)
                self._left -= len(block)
                if self._left == 0:
                    self._next()

    def _next(self) -> None:
        """Close the present file and go on with the next one that is not empty."""
        while True:
            if self._target is not None:
                self._target.flush()
                os.fsync(self._target.fileno())
                self._target.close()
                self._hashes[self._files[self._index][0]] = self._hash.hexdigest()
                self._target = None
            self._index += 1
            if self._index == len(self._files):
                return
            name, self._left = self._files[self._index]
            self._hash = hashlib.sha256()
            target = self._partial / name
            _make_private(target.parent)
            self._target = os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
            if self._left:
                return

    def publish(self) -> None:
        """Compare all files with the manifest and give the set its name."""
        if self._index != len(self._files):
            raise TransferError(f"The set {self._set_id} has not arrived as a whole.")
        problems = manifest_problems(self._partial / "manifest.json", dict(self._files), self._hashes)
        if problems:
            raise TransferError(f"The copy of {self._set_id} is not what its manifest says, and was removed: {'; '.join(problems[:5])}")
        for directory, dummy_directories, dummy_files in os.walk(self._partial):
            sync_directory(directory)
        os.rename(self._partial, self.path)
        sync_directory(self.path.parent)
        latest = self.path.parent / f".latest.{os.getpid()}.partial"
        with contextlib.suppress(FileNotFoundError):
            latest.unlink()
        latest.symlink_to(self._set_id)
        os.replace(latest, self.path.parent / "latest")


def manifest_problems(manifest_path: pathlib.Path, sizes: t.Mapping[str, int], hashes: t.Mapping[str, str]) -> list[str]:
    """Return what of the files is not as the manifest says; the manifest itself is compared with its own hash."""
    try:
        manifest = json.loads(manifest_path.read_bytes())
        listed = {str(entry["path"]): (int(entry["bytes"]), str(entry["sha256"])) for entry in manifest["files"]}
        own = manifest.pop("self_sha256")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"manifest.json cannot be read ({type(error).__name__}: {error})"]
    problems = []
    if hashlib.sha256(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()).hexdigest() != own:
        problems.append("manifest.json was changed")
    problems += [f"{path} is missing" for path in sorted(set(listed) - set(sizes))]
    problems += [f"{path} is not in the manifest" for path in sorted(set(sizes) - set(listed) - _WITHOUT_ENTRY)]
    for path in sorted(set(listed) & set(sizes)):
        if (sizes[path], hashes.get(path)) != listed[path]:
            problems.append(f"{path} differs")
    return problems


def _make_private(directory: pathlib.Path) -> None:
    """Make *directory* and what is missing above it for the owner alone; ``mkdir`` would do so for the last one only."""
    for missing in reversed([path for path in (directory, *directory.parents) if not path.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


def _alive(process_id: str) -> bool:
    """Return whether the process that a leftover is named after may still be at work."""
    try:
        os.kill(int(process_id), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def _safe(path: str) -> str:
    parts = path.split("/")
    if not path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise TransferError(f"The host names a file {path!r}, which leads out of the set.")
    return path
