# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The one PostgreSQL server that something is to be changed on, and how that is typed by hand."""

from __future__ import annotations

import typing as t

from ._discovery import ContainerRef, Stack
from ._envelope import CheckError
from ._postgres import Instance, Login, PostgresOptions, find_instances
from ._postgres_tools import Tools


def only_server(stack: Stack, params: t.Mapping[str, t.Any]) -> Instance:
    """Return the PostgreSQL server of *stack*, or that of the option ``service``.

    :raises CheckError: there is none, or there are several.
    """
    found = find_instances([stack], PostgresOptions(login=Login.from_params(params)))
    names = ", ".join(str(one.service) for one in found) or "none"
    service = params.get("service")
    chosen = [one for one in found if service in (None, "", one.service)]
    if not chosen:
        raise CheckError(stack.name, f"it has no PostgreSQL service {service or ''}".rstrip(), f"There are: {names}.", "not-found")
    if len(chosen) > 1:
        raise CheckError(stack.name, f"it has several PostgreSQL services: {names}", "Name one in service.", "ambiguous")
    return chosen[0]


def container_of(instance: Instance) -> ContainerRef:
    """Return the container of *instance*, which :func:`only_server` found in a stack."""
    return t.cast(ContainerRef, instance.container)


def psql_words(instance: Instance, tools: Tools, sql: str, database: t.Optional[str] = None) -> tuple[str, ...]:
    """Return the command line to type for *sql*."""
    credentials = tools.credentials
    name = database or credentials.database or credentials.user
    words = ("exec", "-T", str(instance.service), "psql", "-U", credentials.user, "-d", name, "-c", sql)
    return (*instance.compose.split(" "), *words)
