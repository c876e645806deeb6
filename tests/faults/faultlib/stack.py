# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A rendered stack that runs on this machine or on a host of the test bed, and what faults do with it."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import typing as t

from stacklib import dotenv, traffic
from testbedlib import hosts
from testbedlib.console import CommandFailed, run, succeeds, wait_until

COMMAND_SECONDS = 120
#: How long a fault may take to show: health checks need several rounds, and the machine may be busy.
EFFECT_SECONDS = 90
STATE_DIRECTORY = ".faults"
#: What a Compose file must say for Compose before 1.27.
OLD_FORMAT = "2.4"


@dataclasses.dataclass(frozen=True)
class RunningStack:
    """The stack in *directory*, on the test-bed host *host* or, where that is ``None``, on this machine."""

    directory: str
    project: str = "shop"
    backend: str = "backend"
    database: str = "postgres"
    host: t.Optional[str] = None

    # -- commands -------------------------------------------------------------------------------------------------

    def command(self, *argv: str, stdin: t.Optional[bytes] = None, check: bool = True) -> str:
        """Run *argv* in the stack's directory and return what it prints."""
        if self.host is None:
            prefix = ["env", "-C", self.directory]
        else:
            prefix = ["docker", "exec", "--interactive", "--workdir", self.directory, self.host]
        return run([*prefix, *argv], COMMAND_SECONDS, stdin=stdin, check=check).stdout.decode("utf-8", "replace").strip()

    @functools.cached_property
    def _compose(self) -> tuple[str, ...]:
        prefix = [] if self.host is None else ["docker", "exec", self.host]
        return ("docker", "compose") if succeeds([*prefix, "docker", "compose", "version"], 30) else ("docker-compose",)

    def compose(self, *argv: str, check: bool = True) -> str:
        """Run Compose, v2 before v1, on the stack."""
        return self.command(*self._compose, *argv, check=check)

    @property
    def has_compose_v1(self) -> bool:
        """Whether there is no newer Compose than v1."""
        return self._compose == ("docker-compose",)

    def up(self, service: str, check: bool = True) -> None:
        """Bring one service to what the Compose file and ``.env`` say now."""
        self.compose("up", "-d", "--no-deps", service, check=check)

    # -- containers -----------------------------------------------------------------------------------------------

    def inspect(self, service: str) -> t.Optional[dict[str, t.Any]]:
        """Return what the engine says about the container of *service*; ``None`` where there is none."""
        labels = {"com.docker.compose.project": self.project, "com.docker.compose.service": service}
        filters = [part for key, value in labels.items() for part in ("--filter", f"label={key}={value}")]
        # Fails where there is none, and where Compose replaced it in between.
        script = 'id=$(docker ps --all --quiet "$@" | head -n 1) && [ -n "$id" ] && exec docker inspect "$id"'
        try:
            found: dict[str, t.Any] = json.loads(self.command("sh", "-c", script, "inspect", *filters))[0]
        except CommandFailed:
            return None
        return found

    def state(self, service: str) -> dict[str, t.Any]:
        """Return the ``State`` of the container of *service*; empty where there is none."""
        found: dict[str, t.Any] = (self.inspect(service) or {}).get("State", {})
        return found

    def health(self, service: str) -> str:
        """Return ``healthy``, ``unhealthy``, ``starting`` or ``none``."""
        health = self.state(service).get("Health") or {}
        return str(health.get("Status", "none"))

    def container_log(self, service: str) -> str:
        """Return the last lines that the container of *service* wrote, from both of its streams."""
        container = self.inspect(service)
        return self.command("sh", "-c", 'docker logs --tail 200 "$1" 2>&1', "log", container["Id"]) if container else ""

    # -- data and traffic -----------------------------------------------------------------------------------------

    def sql(self, statement: str) -> str:
        """Run *statement* in the stack's database and return its rows, columns separated by ``|``."""
        container = self.inspect(self.database)
        if container is None:
            raise CommandFailed(f"{self.project}: no container of {self.database}")
        script = 'exec psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB"'
        return self.command("docker", "exec", "--interactive", container["Id"], "sh", "-c", script, stdin=statement.encode())

    def shop(self) -> traffic.Shop:
        """Return the shop as its clients see it now."""
        variables = self.variables()
        address = "127.0.0.1" if self.host is None else hosts.address(self.host)
        return traffic.Shop(f"http://{address}:{variables['HTTP_PORT']}", variables.get("JWT_SECRET", ""))

    # -- .env -----------------------------------------------------------------------------------------------------

    def variables(self) -> dict[str, str]:
        """Return the variables of ``.env``."""
        return dotenv.parse(self.command("cat", ".env"))

    def set_variables(self, changes: t.Mapping[str, str]) -> None:
        """Change ``.env``, as an operator does with an editor."""
        self.write(".env", dotenv.update(self.command("cat", ".env"), changes), "600")

    def write(self, path: str, text: str, mode: str = "644") -> None:
        """Write a file in the stack's directory, whole or not at all."""
        script = 'cat > "$1.new" && chmod "$2" "$1.new" && mv "$1.new" "$1"'
        self.command("sh", "-c", script, "write", path, mode, stdin=text.encode())

    # -- waiting --------------------------------------------------------------------------------------------------

    def wait_until(self, condition: t.Callable[[], bool], what: str) -> None:
        """Wait until *condition* holds, at most :data:`EFFECT_SECONDS`."""
        wait_until(condition, EFFECT_SECONDS, f"{self.project}: {what}", pause_seconds=1.5)

    def wait_until_well(self) -> None:
        """Wait until both services are healthy."""
        for service in (self.database, self.backend):
            self.wait_until(functools.partial(lambda name: self.health(name) == "healthy", service), f"{service} is healthy")

    # -- what is switched on --------------------------------------------------------------------------------------

    def remembered(self) -> dict[str, dict[str, str]]:
        """Return, for every fault that is on, the variables that it changed, with their values from before."""
        text = self.command("sh", "-c", f"cat {STATE_DIRECTORY}/state.json 2>/dev/null || echo '{{}}'")
        found: dict[str, dict[str, str]] = json.loads(text)
        return found

    def remember(self, states: t.Mapping[str, t.Mapping[str, str]]) -> None:
        """Write what :meth:`remembered` returns."""
        self.command("mkdir", "-p", "-m", "700", STATE_DIRECTORY)
        self.write(f"{STATE_DIRECTORY}/state.json", json.dumps(states), "600")


def stack_of(directory: t.Union[str, pathlib.Path], host: t.Optional[str] = None, backend: str = "backend", database: str = "postgres") -> RunningStack:
    """Return the stack in *directory*; the project's name comes from its ``.env``."""
    path = str(pathlib.Path(directory).resolve()) if host is None else str(directory)
    stack = RunningStack(path, "", backend, database, host)
    return dataclasses.replace(stack, project=stack.variables()["COMPOSE_PROJECT_NAME"])
