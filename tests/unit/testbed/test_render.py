# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The example stack is rendered with any names, and rendered again without harm."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from stacklib import dotenv
from stacklib.render import GENERATED_SECRETS, StackOptions, compose_file, render, variables

RENAMED = StackOptions(project="kiosk", backend="webapp", database="datastore", port=8123, database_port=5544)
NAMES = st.text("ABCDEFGHIJ_", min_size=1, max_size=6)
VALUES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp", "Cs"]), max_size=12)


@pytest.mark.parametrize("options", [StackOptions(), RENAMED])
def test_names_are_replaced_and_nothing_is_left_over(options):
    services = yaml.safe_load(compose_file(options))["services"]
    assert set(services) == {options.backend, options.database}
    assert list(services[options.backend]["depends_on"]) == [options.database]
    assert not re.search(r"@\w+@", compose_file(options))


def test_database_is_published_only_on_request():
    assert "ports" not in yaml.safe_load(compose_file(StackOptions()))["services"]["postgres"]
    assert yaml.safe_load(compose_file(RENAMED))["services"]["datastore"]["ports"] == ["127.0.0.1:5544:5432"]


def test_every_variable_of_the_compose_file_is_defined_and_used():
    used = set(re.findall(r"(?<!\$)\$\{(\w+)\}", compose_file(StackOptions())))
    assert used == set(variables(StackOptions(), {})) - {"COMPOSE_PROJECT_NAME"}


def test_rendering_again_keeps_secrets_and_leaves_files_alone(tmp_path):
    render(tmp_path, RENAMED)
    env, compose = tmp_path / ".env", tmp_path / "docker-compose.yml"
    before = (env.read_text(), env.stat().st_mtime_ns, compose.stat().st_mtime_ns)
    render(tmp_path, RENAMED)
    assert (env.read_text(), env.stat().st_mtime_ns, compose.stat().st_mtime_ns) == before


def test_two_stacks_have_different_secrets_that_others_cannot_read(tmp_path):
    first, second = (dotenv.parse((render(tmp_path / name, StackOptions()) / ".env").read_text()) for name in "ab")
    assert all(first[name] != second[name] for name in GENERATED_SECRETS)
    assert (tmp_path / "a" / ".env").stat().st_mode & 0o077 == 0


@given(st.dictionaries(NAMES, VALUES), st.dictionaries(NAMES, VALUES))
def test_updated_env_reads_as_both_together(present, changes):
    text = dotenv.update(dotenv.update("# comment\n", present), changes)
    assert dotenv.parse(text) == {**present, **changes}
    assert text.startswith("# comment\n")
