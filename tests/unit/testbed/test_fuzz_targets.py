# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What `make fuzz` looks for by the million, for a moment and without its tool: texts near to those that are read every day."""

from __future__ import annotations

import pathlib
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "fuzz"))

from targets import TARGETS  # noqa: E402

#: What the fuzzer found once.
FOUND = {
    "log-line": [b'{"level": "error", "timestamp": "2026-11-26T10:00:00Z", "message": "x", "deep": ' + b"[" * 5000 + b"]" * 5000 + b"}"],
    "compose": [
        b'{"services": {"a": {"image": "x", "depends_on": {"_ontest": ["CMD", "x"]}}}}',
        b'{"services": {"a": 1}}',
        b'{"services": {"a": {"ports": ["' + b"9" * 5000 + b'"]}}}',
    ],
    "firewall": [b"[]", b"{}", b'{"nftables": [1]}'],
    "scanner": [b'{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "docker scout", "rules": [0]}}, "results": []}]}'],
    "rules": [b"ul:\n ? pul:\n ? ", b"? [a]\n: 1\n"],
}


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_what_was_found_once_are_read(name: str) -> None:
    for text in (*TARGETS[name].seeds, *FOUND.get(name, ()), b"", b"\xff\x00", b"[" * 5000):
        TARGETS[name].read(text)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=40)
@given(data=st.data())
def test_texts_near_to_the_usual_are_read(name: str, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(TARGETS[name].seeds))
    for dummy in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(begin, min(len(text), begin + 6)))
        text = text[:begin] + data.draw(st.binary(max_size=4) | st.sampled_from([b"[]", b"{}", b"null", b"1", b'"', b"\\"])) + text[end:]
    TARGETS[name].read(text)
