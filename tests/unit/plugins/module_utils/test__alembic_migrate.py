# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What may be applied, what is refused, and what is said about it."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._alembic_migrate import Application, explain_heads, wanted_revisions
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import ContainerRef, Stack
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._migrations import Code, Graph, Revision

LINE = Graph([Revision("0001", message="items"), Revision("0002", ("0001",), message="orders"), Revision("0003", ("0002",), message="notes")])
FORK = Graph([Revision("0001"), Revision("00a2", ("0001",), message="labels"), Revision("00b2", ("0001",), message="notes")])


def application(graph, running=True, config="/app/alembic.ini", working_dir="/app"):
    state = {"Status": "running" if running else "exited"}
    labels = {"com.docker.compose.project": "shop", "com.docker.compose.service": "api"}
    container = ContainerRef({"Id": "c1", "Name": "/shop-api-1", "State": state, "Config": {"Labels": labels, "WorkingDir": working_dir}})
    code = Code("/app/migrations", graph.heads, graph, config_path=config)
    return Application(t.cast(t.Any, None), Stack("shop", containers=[container]), container, code)


@pytest.mark.parametrize(("revision", "expected"), [("head", ("0003",)), ("heads", ("0003",)), ("0002", ("0002",))])
def test_what_is_wanted(revision, expected):
    assert wanted_revisions(application(LINE), revision) == expected


def test_several_heads_are_refused_with_the_command_that_joins_them():
    with pytest.raises(CheckError) as raised:
        wanted_revisions(application(FORK), "head")
    assert raised.value.code == "multiple-heads"
    assert "00a2 (labels), 00b2 (notes)" in raised.value.reason
    assert "alembic merge -m merge 00a2 00b2" in raised.value.hint
    assert "heads" in explain_heads(application(FORK)).hint


def test_several_heads_may_be_applied_together_where_that_is_said():
    assert wanted_revisions(application(FORK), "heads") == ("00a2", "00b2")


def test_a_revision_that_there_is_not():
    with pytest.raises(CheckError) as raised:
        wanted_revisions(application(LINE), "0009")
    assert "0003" in raised.value.hint


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "exec -T api alembic upgrade head"),
        ({"running": False}, "run --rm --no-deps -T --entrypoint alembic api upgrade head"),
        ({"config": "/app/backend/alembic.ini"}, "exec -T --workdir /app/backend api alembic upgrade head"),
        ({"config": "/app/prod.ini"}, "exec -T api alembic -c /app/prod.ini upgrade head"),
    ],
)
def test_the_command_to_type(changes, expected):
    shown = " ".join(application(LINE, **changes).shown("upgrade", "head"))
    assert shown.endswith(f"-p shop {expected}")
