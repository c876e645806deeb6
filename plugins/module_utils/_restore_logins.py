# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Whether the applications can log in after a restore: now, as their containers are started again, and later, as Compose makes them anew.

A container keeps the environment that it was made with through every stop and start. What ``.env`` says counts from the next ``up`` on.
"""

from __future__ import annotations

import os
import re
import shlex
import typing as t

from ._compose_config import read_config
from ._database_facts import Facts, identifier
from ._envelope import CheckError
from ._postgres_logins import collect_logins

if t.TYPE_CHECKING:
    from ._discovery import Stack
    from ._engine import Engine

_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")

#: How an administrator gets into a server: the container's name and the user, by service.
Doors = t.Mapping[str, tuple[str, str]]


def problems_now(engine: Engine, stack: Stack, live: t.Mapping[str, t.Collection[str]], doors: Doors) -> list[str]:
    """Return which applications the server would not let in when their containers start again; *live* are the databases that matter, by service."""
    return [
        f"the server does not accept the login of {one['service']} as {one['user']} ({one['variable']} in its container): {one['message']}; "
        f"give the role the password that the container has: `{_command(doors, one)}`"
        for one in _refused(engine, stack, live, None)
    ]


def warnings_later(engine: Engine, stack: Stack, live: t.Mapping[str, t.Collection[str]], doors: Doors, files: t.Sequence[Facts]) -> list[str]:
    """Return which applications the server will not let in once Compose makes them anew from the configuration that was restored.

    *files* are the renames that put it there: the way back.
    """
    try:
        config = read_config(stack)
    except CheckError as error:
        return [f"whether the applications can log in with the restored configuration is not known: {error.sentence}"]
    if not config.complete:
        return ["whether the applications can log in with the restored configuration is not known: this Compose tells only names of services"]
    environments = {name: service.environment for name, service in config.services.items()}
    warnings = []
    for one in _refused(engine, stack, live, environments):
        back = [f"`mv -f {shlex.quote(file['kept'])} {shlex.quote(file['path'])}`" for file in files if file["kept"] and _is_environment(file["path"], stack)]
        ways = [f"give the role the password of the restored configuration: `{_command(doors, one)}`"]
        ways += [f"or keep today's: {', '.join(back)}"] if back else []
        warnings.append(
            f"{one['service']}: the password for {one['user']} in the restored configuration ({one['variable']}) is not the one that the server accepts: "
            f"it runs with what its container has, and would fail once Compose makes it anew. Before that, {'; '.join(ways)}"
        )
    return warnings


def _refused(
    engine: Engine, stack: Stack, live: t.Mapping[str, t.Collection[str]], environments: t.Optional[t.Mapping[str, t.Mapping[str, str]]]
) -> list[dict[str, t.Any]]:
    found = collect_logins([stack], engine, environments=environments)["logins"]
    return [one for one in found if one["failure"] == "auth-failed" and one["database"] in live.get(one["target_service"] or "", ())]


def _command(doors: Doors, login: t.Mapping[str, t.Any]) -> str:
    """Return what sets a role's password: ``psql`` asks for it, and sends only its hash."""
    container, administrator = doors[login["target_service"]]
    user = str(login["user"])
    role = user if _PLAIN_NAME.fullmatch(user) else identifier(user)
    argv = ["docker", "exec", "-it", container, "psql", "-U", administrator, "-d", "postgres", "-c", f"\\password {role}"]
    return shlex.join(argv)


def _is_environment(path: str, stack: Stack) -> bool:
    return os.path.basename(path).startswith(".env") or path in stack.environment_files
