# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Single variables of a .env file are changed, and every other byte stays."""

from __future__ import annotations

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._dotenv_edit import assignments, lines_of, value_of, with_lines, with_values
from hypothesis import example, given
from hypothesis import strategies as st

FILE = """# settings of the shop
POSTGRES_PASSWORD='two
DEBUG=inside a value
lines'
export DEBUG=false  # for now
KEY="a \\" quote" # why
DEBUG=no
"""


def test_the_last_assignment_counts_and_what_is_inside_a_value_is_none():
    assert [(one.name, one.value) for one in assignments(FILE)] == [
        ("POSTGRES_PASSWORD", "two\nDEBUG=inside a value\nlines"),
        ("DEBUG", "false"),
        ("KEY", 'a \\" quote'),
        ("DEBUG", "no"),
    ]
    assert value_of(FILE, "DEBUG") == "no"
    assert value_of(FILE, "ABSENT") is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (FILE, FILE[: -len("DEBUG=no\n")] + "DEBUG=true\n"),
        ("", "DEBUG=true\n"),
        ("A=1", "A=1\nDEBUG=true\n"),
        ("A=1\r\nDEBUG = off\r\nB=2\r\n", "A=1\r\nDEBUG=true\r\nB=2\r\n"),
        ("A=1\nDEBUG=off", "A=1\nDEBUG=true"),
        ("#DEBUG=1\n", "#DEBUG=1\nDEBUG=true\n"),
    ],
)
def test_a_value_is_set_where_it_stands_or_at_the_end(before, after):
    assert with_values(before, {"DEBUG": "true"}) == after


@pytest.mark.parametrize("values", [{"DEBUG": "a b"}, {"DEBUG": "$(x)"}, {"1X": "a"}, {"A B": "a"}, {"DEBUG": "a\nB=1"}])
def test_what_would_need_quotes_is_refused(values):
    with pytest.raises(ValueError, match="cannot be written"):
        with_values("", values)


LINES = st.lists(st.sampled_from(["DEBUG=1", "export DEBUG=2", "A='x", "y'", "# DEBUG=3", "", "B=2", "DEBUG='q # r'", "LOG_LEVEL=INFO", 'C="d"']), max_size=8)


def quote_is_open(lines):
    """Return whether the last quote that a value begins with is never closed; any quote closes it."""
    is_open = False
    for line in lines:
        if is_open:
            is_open = "'" not in line
        else:
            is_open = line == "A='x"
    return is_open


@example(["A='x", "y'", "A='x"], "\n", False)
@given(LINES, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_what_was_set_can_be_taken_back_to_the_byte(lines, newline, ends):
    text = newline.join(lines) + (newline if lines and ends else "")
    names = ("DEBUG", "LOG_LEVEL")
    kept = lines_of(text, names)
    on = with_values(text, {"DEBUG": "true", "LOG_LEVEL": "DEBUG"})
    if quote_is_open(lines):
        return  # a quote that is never closed takes the rest of the file with it
    assert (value_of(on, "DEBUG"), value_of(on, "LOG_LEVEL")) == ("true", "DEBUG")
    off = with_lines(on, kept)
    assert off in (text, text + "\n", text + newline)
    assert [(one.name, one.value) for one in assignments(off)] == [(one.name, one.value) for one in assignments(text)]
