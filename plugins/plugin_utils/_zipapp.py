# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Packs ``module_utils`` into one program for the hosts, byte for byte the same from the same sources."""

from __future__ import annotations

import hashlib
import io
import pathlib
import typing as t
import zipfile

MODULE_UTILS = pathlib.Path(__file__).resolve().parents[1] / "module_utils"
PACKAGE = "stackops_runbook"
DEFAULT_INTERPRETER = "/usr/bin/python3"

#: Where the program unpacks itself, when root runs it and this directory is there: compiling it every minute would cost half of a check.
CODE_DIRECTORY = "/var/lib/stackops/code"

_MAIN = """\
import os
import sys

place = os.path.join({directory!r}, {build!r} + "-" + sys.implementation.cache_tag)
try:
    status = os.lstat({directory!r})
    trusted = os.geteuid() == status.st_uid == 0 and not status.st_mode & 0o022
except OSError:
    trusted = False
if trusted and os.path.isdir(place):
    sys.path.insert(0, place)
elif trusted:
    from stackops_runbook._unpacked import unpack

    unpack(sys.path[0], place)

from stackops_runbook._host_program import main

sys.exit(main(sys.argv, {version!r}))
"""
# The oldest time that a zip archive knows.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def read_sources(directory: pathlib.Path = MODULE_UTILS) -> dict[str, bytes]:
    """Return the Python files of *directory* by name."""
    return {path.name: path.read_bytes() for path in directory.glob("*.py")}


def build(sources: t.Mapping[str, bytes], version: str, interpreter: str = DEFAULT_INTERPRETER, code_directory: str = CODE_DIRECTORY) -> bytes:
    """Return the program made of *sources*; *code_directory* is where it unpacks itself.

    Nothing is compressed: what a compressor makes depends on the library's version, and two controllers would take turns
    in replacing each other's program. ``-I`` keeps the environment and the present directory of root out of it.
    """
    members = {f"{PACKAGE}/__init__.py": b"", **{f"{PACKAGE}/{name}": content for name, content in sources.items()}}
    digest = hashlib.sha256()
    for name in sorted(members):
        digest.update(f"{name}\0{len(members[name])}\0".encode() + members[name])
    main = _MAIN.format(version=version, directory=code_directory, build=digest.hexdigest()[:16])
    members["__main__.py"] = main.encode()
    program = io.BytesIO()
    program.write(f"#!{interpreter} -I\n".encode())
    with zipfile.ZipFile(program, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, members[name])
    return program.getvalue()
