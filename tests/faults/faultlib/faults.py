# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The faults themselves. Each is what an operator meets: a wrong variable, wrong data, a full disk; nothing is staged in the application."""

from __future__ import annotations

import abc
import typing as t

from stacklib import tokens, traffic
from testbedlib.console import CommandFailed

from .stack import RunningStack


class Fault(abc.ABC):
    """One fault; *value* is what is injected and what the evidence must show."""

    def __init__(self, value: str) -> None:
        self.value = value

    def variables(self, stack: RunningStack) -> dict[str, str]:
        """Return what the fault changes in ``.env``."""
        return {}

    def inject(self, stack: RunningStack) -> None:
        """Switch the fault on; its variables are set already."""
        stack.up(stack.backend)

    @abc.abstractmethod
    def shows(self, stack: RunningStack) -> bool:
        """Return whether the fault has its effect."""

    def repair(self, stack: RunningStack) -> None:  # noqa: B027  # most faults have nothing more to take back
        """Take back what is neither a variable nor a stopped container: those are seen to by whoever calls this."""


class BackendImportError(Fault):
    """An extension is configured that the image does not have."""

    def variables(self, stack: RunningStack) -> dict[str, str]:
        return {"APP_EXTENSIONS": self.value}

    def shows(self, stack: RunningStack) -> bool:
        return f"No module named '{self.value}'" in stack.container_log(stack.backend)


class BackendOutOfMemory(Fault):
    """The memory limit is lowered below what the prices in memory need."""

    def variables(self, stack: RunningStack) -> dict[str, str]:
        return {"BACKEND_MEMORY": self.value, "PRICE_HISTORY_DAYS": "20000"}

    def shows(self, stack: RunningStack) -> bool:
        return bool(stack.state(stack.backend).get("OOMKilled")) or int((stack.inspect(stack.backend) or {}).get("RestartCount", 0)) > 1


class WrongDatabasePassword(Fault):
    """The application's password is not the one the database was created with."""

    def variables(self, stack: RunningStack) -> dict[str, str]:
        return {"DATABASE_PASSWORD": "rotated-but-not-in-the-database"}

    def shows(self, stack: RunningStack) -> bool:
        return f'password authentication failed for user "{self.value}"' in stack.container_log(stack.backend)


class DatabaseStopped(Fault):
    """Somebody stopped the database."""

    def inject(self, stack: RunningStack) -> None:
        stack.compose("stop", stack.database)

    def shows(self, stack: RunningStack) -> bool:
        return stack.state(stack.database).get("Status") == self.value and stack.shop().send(traffic.Call("GET", "/health")) == 503


class PendingMigration(Fault):
    """The code is newer than the database: its last revision was not applied."""

    def inject(self, stack: RunningStack) -> None:
        stack.compose("exec", "-T", stack.backend, "alembic", "downgrade", "-1")

    def shows(self, stack: RunningStack) -> bool:
        return stack.sql("SELECT version_num FROM alembic_version") != self.value

    def repair(self, stack: RunningStack) -> None:
        stack.compose("exec", "-T", stack.backend, "alembic", "upgrade", "head")


class SlowQuery(Fault):
    """The index under a correlated count is gone; value is the table."""

    CALL = traffic.Call("GET", "/api/v1/orders/recent?limit=100")

    def inject(self, stack: RunningStack) -> None:
        stack.sql(f"DROP INDEX IF EXISTS ix_{self.value}_order_id; SELECT pg_stat_statements_reset()")
        traffic.repeat(stack.shop(), self.CALL, times=6, workers=2)

    def shows(self, stack: RunningStack) -> bool:
        slow = f"SELECT count(*) FROM pg_stat_statements WHERE query LIKE '%{self.value}%' AND calls >= 5 AND mean_exec_time > 300"
        return stack.sql(slow) != "0"

    def repair(self, stack: RunningStack) -> None:
        stack.sql(f"CREATE INDEX IF NOT EXISTS ix_{self.value}_order_id ON {self.value} (order_id)")


class ErrorBurst(Fault):
    """A supplier's feed brought a discount in words; every request for that item's price fails."""

    ITEM = 7
    TIMES = 60

    def inject(self, stack: RunningStack) -> None:
        stack.sql(f"UPDATE items SET attributes = attributes || jsonb_build_object('discount', '{self.value}') WHERE id = {self.ITEM}")
        traffic.repeat(stack.shop(), self._call(), self.TIMES)

    def shows(self, stack: RunningStack) -> bool:
        return stack.shop().send(self._call()) == 500

    def repair(self, stack: RunningStack) -> None:
        stack.sql(f"UPDATE items SET attributes = attributes || jsonb_build_object('discount', '0.1') WHERE id = {self.ITEM}")

    def _call(self) -> traffic.Call:
        return traffic.Call("GET", f"/api/v1/items/{self.ITEM}/price")


class SlowEndpoint(Fault):
    """A setting makes the report wait, and no query is to blame; value is its path."""

    DELAY_MS = 1800

    def inject(self, stack: RunningStack) -> None:
        stack.sql(_setting("report_pacing_ms", str(self.DELAY_MS)))
        traffic.repeat(stack.shop(), traffic.Call("GET", self.value), times=10, workers=5)

    def shows(self, stack: RunningStack) -> bool:
        return stack.sql("SELECT value FROM app_settings WHERE key = 'report_pacing_ms'") == str(self.DELAY_MS)

    def repair(self, stack: RunningStack) -> None:
        stack.sql("DELETE FROM app_settings WHERE key = 'report_pacing_ms'")


class JwtSecretMismatch(Fault):
    """The backend got a new secret, its clients still sign with the old one; value is their key's name."""

    TIMES = 30

    def variables(self, stack: RunningStack) -> dict[str, str]:
        return {"JWT_SECRET": "a-secret-that-only-the-backend-knows"}

    def inject(self, stack: RunningStack) -> None:
        stack.up(stack.backend)
        stack.wait_until_well()
        old = stack.remembered()["jwt-secret-mismatch"]["JWT_SECRET"]
        call = traffic.Call("POST", "/api/v1/items", {"name": "Item"}, tokens.bearer_token(old, key_id=self.value))
        traffic.repeat(stack.shop(), call, self.TIMES)

    def shows(self, stack: RunningStack) -> bool:
        return f"(kid={self.value})" in stack.command("tail", "-n", "200", "logs/app.log")


class PortTaken(Fault):
    """Another container holds the port; value is the port."""

    def inject(self, stack: RunningStack) -> None:
        stack.compose("rm", "--stop", "--force", stack.backend)
        variables = stack.variables()
        publish = f"--publish={variables['HTTP_BIND']}:{self.value}:8000"
        server = ["--entrypoint", "python3", variables["BACKEND_IMAGE"], "-m", "http.server", "8000"]
        stack.command("docker", "run", "--detach", "--name", self._holder(stack), publish, *server)
        stack.up(stack.backend, check=False)

    def shows(self, stack: RunningStack) -> bool:
        return self.value in str(stack.state(stack.backend).get("Error", ""))

    def repair(self, stack: RunningStack) -> None:
        stack.command("docker", "rm", "--force", self._holder(stack))

    @staticmethod
    def _holder(stack: RunningStack) -> str:
        return f"{stack.project}-legacy"


class DatabaseNameNotResolved(Fault):
    """The application is told a database host that no DNS knows."""

    def variables(self, stack: RunningStack) -> dict[str, str]:
        return {"DATABASE_HOST": self.value}

    def shows(self, stack: RunningStack) -> bool:
        return f'could not translate host name "{self.value}"' in stack.container_log(stack.backend)


class DiskNearlyFull(Fault):
    """The logs are on a small file system, and something big is there too; value is the directory."""

    SIZE = "24m"
    FILL_PERCENT = 97

    def inject(self, stack: RunningStack) -> None:
        stack.compose("stop", stack.backend)
        script = f"""
            mount -t tmpfs -o size={self.SIZE},mode=0777 stackops-small "$1"
            head -c $(( $(df --output=size --block-size=1 "$1" | tail -1) * {self.FILL_PERCENT} / 100 )) /dev/zero > "$1/heap.dump"
        """
        stack.command("sh", "-ec", script, "fill", self._directory(stack))
        stack.up(stack.backend)
        stack.wait_until_well()

    def shows(self, stack: RunningStack) -> bool:
        used = stack.command("df", "--output=pcent", self._directory(stack)).splitlines()[-1]
        return int(used.strip().rstrip("%")) >= self.FILL_PERCENT - 1

    def repair(self, stack: RunningStack) -> None:
        stack.compose("stop", stack.backend)
        stack.command("umount", self._directory(stack))

    @staticmethod
    def _directory(stack: RunningStack) -> str:
        return f"{stack.directory}/logs"


class StatementsMissing(Fault):
    """The database was restored without the extension."""

    def inject(self, stack: RunningStack) -> None:
        stack.sql("DROP EXTENSION IF EXISTS pg_stat_statements")

    def shows(self, stack: RunningStack) -> bool:
        return stack.sql("SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'") == "0"

    def repair(self, stack: RunningStack) -> None:
        stack.sql("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")


class HealthEndpointFails(Fault):
    """A setting that the health check reads is no number; value is what it is."""

    def inject(self, stack: RunningStack) -> None:
        stack.sql(_setting("health_pool_limit_percent", self.value))

    def shows(self, stack: RunningStack) -> bool:
        return stack.shop().send(traffic.Call("GET", "/health")) == 500 and stack.health(stack.backend) == "unhealthy"

    def repair(self, stack: RunningStack) -> None:
        stack.sql("DELETE FROM app_settings WHERE key = 'health_pool_limit_percent'")


class HealthCheckWrongPath(Fault):
    """The container's health check asks for a path that the application does not have."""

    def variables(self, stack: RunningStack) -> dict[str, str]:
        return {"HEALTHCHECK_PATH": self.value}

    def shows(self, stack: RunningStack) -> bool:
        return stack.health(stack.backend) == "unhealthy"


def _setting(key: str, value: str) -> str:
    return f"INSERT INTO app_settings VALUES ('{key}', '{value}') ON CONFLICT (key) DO UPDATE SET value = excluded.value"


FAULTS: dict[str, type[Fault]] = {
    "backend-import-error": BackendImportError,
    "backend-out-of-memory": BackendOutOfMemory,
    "wrong-database-password": WrongDatabasePassword,
    "database-stopped": DatabaseStopped,
    "pending-migration": PendingMigration,
    "slow-query": SlowQuery,
    "error-burst": ErrorBurst,
    "slow-endpoint": SlowEndpoint,
    "jwt-secret-mismatch": JwtSecretMismatch,
    "port-taken": PortTaken,
    "database-name-not-resolved": DatabaseNameNotResolved,
    "disk-nearly-full": DiskNearlyFull,
    "statements-missing": StatementsMissing,
    "health-endpoint-fails": HealthEndpointFails,
    "healthcheck-wrong-path": HealthCheckWrongPath,
}


def inject(name: str, fault: Fault, stack: RunningStack) -> None:
    """Switch *fault* on and wait until it shows.

    :raises CommandFailed: it is on already, or does not show in time.
    """
    states = stack.remembered()
    if name in states:
        raise CommandFailed(f"{name} is on already; take it back first")
    _switch_on(name, fault, stack, states)


def still_on(name: str, fault: Fault, stack: RunningStack) -> bool:
    """Return whether *fault* is on and shows: a restart of the backend repairs some."""
    return name in stack.remembered() and fault.shows(stack)


def inject_again(name: str, fault: Fault, stack: RunningStack) -> None:
    """Switch on a fault that was on, but no longer shows."""
    fault.inject(stack)
    stack.wait_until(lambda: fault.shows(stack), f"{name} shows")


def _switch_on(name: str, fault: Fault, stack: RunningStack, states: t.Mapping[str, t.Mapping[str, str]]) -> None:
    present = stack.variables()
    changes = fault.variables(stack)
    stack.remember({**states, name: {key: present[key] for key in changes}})
    if changes:
        if not any(states.values()):
            stack.command("cp", "-p", ".env", ".faults/env.before")
        stack.set_variables(changes)
    fault.inject(stack)
    stack.wait_until(lambda: fault.shows(stack), f"{name} shows")


def undo(name: str, fault: Fault, stack: RunningStack) -> None:
    """Take *fault* back and wait until the stack is well, unless other faults are still on."""
    _repair(name, fault, stack)
    stack.compose("up", "-d", check=not stack.remembered())
    if not stack.remembered():
        stack.wait_until_well()


def _repair(name: str, fault: Fault, stack: RunningStack) -> None:
    states = stack.remembered()
    if name not in states:
        return
    before = states.pop(name)
    if before:
        stack.set_variables(before)
        if not any(states.values()):
            # With its old time, too: what was not recreated must not look older than the file.
            stack.command("mv", ".faults/env.before", ".env")
    fault.repair(stack)
    stack.remember(states)


def reset(active: t.Mapping[str, Fault], stack: RunningStack) -> None:
    """Take the *active* faults back, and remove what they left in logs, statistics and containers, so that the next one stands alone."""
    for name, fault in active.items():
        _repair(name, fault, stack)
    stack.up(stack.database)
    stack.wait_until(lambda: stack.health(stack.database) == "healthy", f"{stack.database} is healthy")
    stack.compose("rm", "--stop", "--force", stack.backend)
    stack.command("sh", "-c", 'rm -f logs/*; : > "$1"', "forget", (stack.inspect(stack.database) or {})["LogPath"])
    stack.sql("SELECT pg_stat_statements_reset(); SELECT pg_stat_reset()")
    stack.up(stack.backend)
    stack.wait_until_well()


def switched_on(stack: RunningStack) -> list[str]:
    """Return the names of the faults that are on."""
    return list(stack.remembered())
