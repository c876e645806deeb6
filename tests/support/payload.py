# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Ansible sends to a host to run a module, as Ansible itself puts it together, and the collection's share of it.

PYTHONPATH=.venv/collections .venv/bin/python tests/support/payload.py [module …]
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import io
import json
import pathlib
import re
import tempfile
import zipfile

from ansible import constants as C
from ansible.executor.module_common import modify_module
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, module_loader
from ansible.template import Templar

# It says where collections are from: what is imported of them before that is not seen.
init_plugin_loader()

from ansible_collections.stackops.runbook.plugins.plugin_utils._packed import PLUGINS  # noqa: E402
from ansible_collections.stackops.runbook.plugins.plugin_utils._packed_module import PREFIX, packed_directory  # noqa: E402

#: What Ansible sends with every module.
_OF_ANSIBLE = ("ansible/module_utils/", "ansible/__init__.py")


@dataclasses.dataclass(frozen=True)
class Payload:
    """Sizes in bytes: of all that is sent, and of the collection's files in the archive in it, compressed."""

    module: str
    packed: bool
    sent_bytes: int
    own_bytes: int


def is_packed(module: str) -> bool:
    """Say whether the action of *module* sends it packed."""
    action = PLUGINS / "action" / f"{module}.py"
    return action.exists() and "_packed_module import" in action.read_text(encoding="utf-8")


def payload_of(module: str, packed: bool) -> Payload:
    """Return what it takes to run *module*, *packed* or as it is."""
    with tempfile.TemporaryDirectory() as directory:
        # By the name of its collection, which Ansible finds in the path.
        path = module_loader.find_plugin_with_context(f"stackops.runbook.{module}").plugin_resolved_path
        if packed:
            path = packed_directory(pathlib.Path(directory), pathlib.Path(directory, "home"), module) / f"{PREFIX}{module}.py"
        built = modify_module(
            module_name=module,
            module_path=str(path),
            module_args={},
            templar=Templar(loader=DataLoader()),
            task_vars={"ansible_python_interpreter": "/usr/bin/python3"},
            module_compression=C.DEFAULT_MODULE_COMPRESSION,
        )
    data = built.b_module_data
    archives = re.findall(rb"[A-Za-z0-9+/=]{1000,}", data)
    own = 0
    if archives:
        with zipfile.ZipFile(io.BytesIO(base64.b64decode(max(archives, key=len)))) as archive:
            own = sum(entry.compress_size for entry in archive.infolist() if not entry.filename.startswith(_OF_ANSIBLE))
    return Payload(module, packed, len(data), own)


def modules() -> list[str]:
    """Return the names of all modules."""
    return sorted(path.stem for path in (PLUGINS / "modules").glob("*.py") if path.stem != "__init__")


def main() -> None:
    """Print a table, or JSON, of all modules or of those that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("modules", nargs="*")
    parser.add_argument("--json", action="store_true", help="print what is sent as JSON, and nothing of what would be without packing")
    arguments = parser.parse_args()
    sent = {module: payload_of(module, is_packed(module)) for module in arguments.modules or modules()}
    if arguments.json:
        print(json.dumps({module: dataclasses.asdict(payload) for module, payload in sent.items()}))
        return
    print(f"{'':22} {'sent':>11} {'own share':>13}    not packed: {'sent':>11} {'own share':>13}")
    for module, payload in sent.items():
        plain = payload_of(module, False) if payload.packed else None
        print(f"{module:22} {_sizes(payload)}                {_sizes(plain) if plain else ''}")


def _sizes(payload: Payload) -> str:
    return f"{payload.sent_bytes / 1024:7.1f} KiB {payload.own_bytes / 1024:9.1f} KiB"


if __name__ == "__main__":
    main()
