# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The catalogue and the library of faults say the same."""

from __future__ import annotations

import re

import pytest
from faultlib import catalogue
from faultlib.faults import FAULTS
from faultlib.stack import RunningStack

STACK = RunningStack("/srv/kiosk", "kiosk", "webapp", "datastore")
ENTRIES = catalogue.load()
#: "Done when" of the first landing names these.
WANTED = 15


def test_catalogue_and_library_have_the_same_faults():
    assert list(ENTRIES) == list(FAULTS)
    assert len(ENTRIES) == WANTED


def test_every_fault_has_another_first_finding():
    assert len({entry.rule for entry in ENTRIES.values()}) == WANTED


@pytest.mark.parametrize("name", ENTRIES)
def test_entry_takes_the_names_of_the_stack(name):
    entry = ENTRIES[name].of(STACK, 8123)
    texts = [entry.object, entry.value, *entry.evidence]
    assert not any(re.search(r"[{}]|backend|shop/", text) for text in texts)
    assert entry.fault().value == entry.value
    assert re.fullmatch(r"[a-z][a-z-]+", entry.rule)
    assert entry.cause.endswith(".")


@pytest.mark.parametrize("name", ENTRIES)
def test_changed_variables_are_those_of_the_stack(name):
    from stacklib.render import StackOptions, variables

    assert set(ENTRIES[name].of(STACK, 8123).fault().variables(STACK)) <= set(variables(StackOptions(), {}))
