# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import unicodedata

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_text import inert
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("plain text, 100 %", "plain text, 100 %"),
        ("two\r\nlines\tand\x0bmore", "two lines and more"),
        ("\x1b[31;1mred\x1b[0m \x1b]8;;http://evil\x07link\x1b]8;;\x07", "red link"),
        ("a\u202eb\u200bc\ufeffd\u2028e\u2066f", "abcd ef"),
        ("資料庫 無法連線", "資料庫 無法連線"),
        ("half \ud83d of a pair", "half of a pair"),
        ("postgres://app:s3cr3tpw@db/shop", "postgres://app:[redacted]@db/shop"),
        ("PASSWORD=hunter2hunter2 x", "PASSWORD=[redacted]"),
        ("{{ lookup('pipe', 'id') }}", "{{ lookup('pipe', 'id') }}"),
    ],
)
def test_text_is_made_harmless(text: str, harmless: str) -> None:
    assert inert(text, 100) == harmless


@given(st.text(), st.integers(1, 40))
def test_whatever_comes_is_one_short_line(text: str, limit: int) -> None:
    one = inert(text, limit)
    assert len(one) <= limit and not any(unicodedata.category(letter)[0] == "C" or letter in "\u2028\u2029" for letter in one)
    one.encode("utf-8")


def test_a_secret_is_not_cut_in_half() -> None:
    assert "hunter" not in inert("password=" + "hunter2" * 20, 12)
