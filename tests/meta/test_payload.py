# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much of what Ansible sends to a host for a module is the collection's: docs/controller-cost.md has the table."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import zlib

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils._packed import pack, sources_of
from collection import MODULES, ROOT

MOST_KIB = 60
#: What is bigger, and how big it may be at most. They only ever get smaller.
BIGGER_KIB = {
    "alembic_migrate": 97,
    "compose_build": 62,
    "compose_service": 62,
    "container_hardening": 64,
    "database_reset": 129,
    "debug_mode": 61,
    "log_requests": 71,
    "pg_backup": 178,
    "pg_restore": 254,
    "stack_facts": 145,
    "support_bundle": 151,
}


@functools.cache
def own_kib(module: str) -> float:
    """Return the share of the collection, compressed as Ansible does it."""
    sources = sources_of(module)
    action = ROOT / "plugins/action" / f"{module}.py"
    if action.exists() and "_packed_module import" in action.read_text(encoding="utf-8"):
        return len(_deflated(pack(module, sources))) / 1024
    return sum(len(_deflated(source)) for source in sources.values()) / 1024


def _deflated(source: str) -> bytes:
    compressor = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -15)
    return compressor.compress(source.encode()) + compressor.flush()


@pytest.mark.parametrize("module", [path.stem for path in MODULES])
def test_a_module_is_small_on_its_way_to_a_host(module: str) -> None:
    assert own_kib(module) < BIGGER_KIB.get(module, MOST_KIB)


def test_what_may_be_bigger_is_so() -> None:
    # Not to the last byte: another zlib compresses a little differently.
    assert [module for module in BIGGER_KIB if own_kib(module) < max(0.98 * MOST_KIB, 0.93 * BIGGER_KIB[module])] == []


def test_ansible_sends_what_is_counted_here() -> None:
    modules = ["stack_facts", "port_probe"]
    done = subprocess.run([sys.executable, ROOT / "tests/support/payload.py", "--json", *modules], capture_output=True, text=True, timeout=300, check=True)
    sent = json.loads(done.stdout)
    assert {module: sent[module]["packed"] for module in modules} == {"stack_facts": True, "port_probe": False}
    assert {module: sent[module]["own_bytes"] / 1024 for module in modules} == {module: pytest.approx(own_kib(module), rel=0.02) for module in modules}
