# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Packs ``module_utils`` into one program for the hosts, byte for byte the same from the same sources."""

from __future__ import annotations

import io
import pathlib
import typing as t
import zipfile

MODULE_UTILS = pathlib.Path(__file__).resolve().parents[1] / "module_utils"
PACKAGE = "stackops_runbook"
DEFAULT_INTERPRETER = "/usr/bin/python3"

_MAIN = """\
import sys

from stackops_runbook._host_program import main

sys.exit(main(sys.argv, {version!r}))
"""
# The oldest time that a zip archive knows.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def read_sources(directory: pathlib.Path = MODULE_UTILS) -> dict[str, bytes]:
    """Return the Python files of *directory* by name."""
    return {path.name: path.read_bytes() for path in directory.glob("*.py")}


def build(sources: t.Mapping[str, bytes], version: str, interpreter: str = DEFAULT_INTERPRETER) -> bytes:
    """Return the program made of *sources*.

    Nothing is compressed: what a compressor makes depends on the library's version, and two controllers would take turns
    in replacing each other's program. ``-I`` keeps the environment and the present directory of root out of it.
    """
    members = {f"{PACKAGE}/__init__.py": b"", **{f"{PACKAGE}/{name}": content for name, content in sources.items()}}
    members["__main__.py"] = _MAIN.format(version=version).encode()
    program = io.BytesIO()
    program.write(f"#!{interpreter} -I\n".encode())
    with zipfile.ZipFile(program, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, members[name])
    return program.getvalue()
