# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes of a running stack, written down as data: what an operator, a release or fate does to it.

A change has *env* (variables of ``.env``), *override* (services of ``docker-compose.override.yml``), *steps* in their
order, *shows* (conditions that say it has its effect) and *undo* (steps for what removing the stack does not undo). With
*env* or *override* and no steps, the backend is brought up with them. Text between ``{}`` is a name of the stack.

Steps, each a mapping of one verb:

``up``           bring a service to what the files say
``compose``      words for Compose; ``docker`` words for the engine, where ``@service`` is its container
``sh``           a script on the host, in the stack's directory
``exec``         ``{service, sh}``: a script in a container; with ``detach`` it goes on
``sql``          statements in the database
``session``      statements in a session that stays open
``call``         ``{method, path, times, workers, body, token}``: requests; *token* is fresh, over, early, other-key, other-algorithm or words
``drive``        ``{seconds, per_second}``: an ordinary day's requests; ``{background: true}``: until the change is taken back
``background``   a call that is repeated until the change is taken back
``wait``         a condition
``well``         wait until every service that has a health check is healthy

Conditions: ``state`` ``{service, status, health, error, oom, restarts}``, ``log`` ``{service, text}``, ``sql`` ``{query, is}``,
``http`` ``{path, status}``, ``sh`` (a script that ends with 0).
"""

from __future__ import annotations

import json
import random
import threading
import typing as t

from stacklib import tokens, traffic
from testbedlib.console import CommandFailed

from .stack import OLD_FORMAT, RunningStack

Step = t.Mapping[str, t.Any]
#: The requests of an ordinary day, without end.
Calls = t.Callable[[traffic.Shop, random.Random], t.Iterator[traffic.Call]]

OVERRIDE = "docker-compose.override.yml"
_PSQL = 'exec psql --no-psqlrc --quiet -U "$POSTGRES_USER" -d "$POSTGRES_DB"'


def named(value: t.Any, names: t.Mapping[str, t.Any]) -> t.Any:
    """Return *value* with the stack's *names* in place of ``{name}``; braces around anything else stay."""
    if isinstance(value, str):
        for name, text in names.items():
            value = value.replace("{" + name + "}", str(text))
        return value
    if isinstance(value, list):
        return [named(element, names) for element in value]
    if isinstance(value, dict):
        return {named(key, names): named(element, names) for key, element in value.items()}
    return value


class Change:
    """One change of *stack*; the values in *data* have its names already."""

    def __init__(self, data: t.Mapping[str, t.Any], stack: RunningStack, calls: Calls = traffic.mixed_calls) -> None:
        self._data = data
        self._calls = calls
        self._stack = stack
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def make(self) -> None:
        """Make the change and wait until it shows.

        :raises CommandFailed: a step fails, or it does not show in time.
        """
        env, override = self._data.get("env") or {}, self._data.get("override") or {}
        if env:
            self._stack.set_variables(env)
        if override:
            version = {"version": OLD_FORMAT} if self._stack.has_compose_v1 else {}
            self._stack.write(OVERRIDE, json.dumps({**version, "services": override}))
        steps = self._data.get("steps")
        if steps is None and (env or override):
            steps = [{"up": self._stack.backend}]
        for step in steps or ():
            self.step(step)
        for condition in self._data.get("shows") or ():
            self._stack.wait_until(lambda condition=condition: self.holds(condition), f"{condition}")  # type: ignore[misc]

    def stop(self) -> None:
        """End what goes on in the background."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(traffic.REQUEST_SECONDS + 5)

    def undo(self) -> None:
        """Take back what outlives the stack; files are the caller's."""
        self.stop()
        for step in self._data.get("undo") or ():
            self.step(step)

    def step(self, step: Step) -> None:
        """Do one step."""
        ((verb, value),) = step.items()
        method = getattr(self, f"_do_{verb}", None)
        if method is None:
            raise CommandFailed(f"no such step: {verb}")
        method(value)

    def holds(self, condition: Step) -> bool:
        """Return whether a condition holds now."""
        ((kind, value),) = condition.items()
        method = getattr(self, f"_is_{kind}", None)
        if method is None:
            raise CommandFailed(f"no such condition: {kind}")
        return bool(method(value))

    # -- steps ----------------------------------------------------------------------------------------------------

    def _do_up(self, service: str) -> None:
        self._stack.up(service, check=False)

    def _do_compose(self, words: t.Sequence[str]) -> None:
        self._stack.compose(*words)

    def _do_docker(self, words: t.Sequence[str]) -> None:
        self._stack.command("docker", *(self._container(word[1:]) if word.startswith("@") else word for word in words))

    def _do_sh(self, script: str) -> None:
        self._stack.command("sh", "-ec", script)

    def _do_exec(self, value: t.Mapping[str, t.Any]) -> None:
        options = ["--detach"] if value.get("detach") else []
        user = ["--user", value["user"]] if value.get("user") else []
        self._stack.command("docker", "exec", *options, *user, self._container(value["service"]), "sh", "-c", value["sh"])

    def _do_sql(self, statement: str) -> None:
        self._stack.sql(statement)

    def _do_session(self, statement: str) -> None:
        script = f"(cat <<'SQL'\n{statement}\nSQL\nsleep 3600) | {_PSQL.replace('exec ', '')}"
        self._stack.command("docker", "exec", "--detach", self._container(self._stack.database), "sh", "-c", script)

    def _do_call(self, value: t.Mapping[str, t.Any]) -> None:
        traffic.repeat(self._stack.shop(), self._call(value), int(value.get("times", 1)), int(value.get("workers", 4)))

    def _do_drive(self, value: t.Mapping[str, t.Any]) -> None:
        if value.get("background"):
            self._go_on(lambda number: next(self._calls(self._stack.shop(), number)), float(value.get("per_second", 10)))
        else:
            traffic.drive(self._stack.shop(), float(value.get("seconds", 5)), float(value.get("per_second", 20)), calls=self._calls)

    def _do_background(self, value: t.Mapping[str, t.Any]) -> None:
        call = self._call(value)
        for dummy in range(int(value.get("workers", 1))):
            self._go_on(lambda dummy_number: call, float(value.get("per_second", 5)))

    def _do_wait(self, condition: Step) -> None:
        self._stack.wait_until(lambda: self.holds(condition), f"{condition}")

    def _do_well(self, dummy_value: t.Any) -> None:
        self._stack.wait_until_well()

    # -- conditions -----------------------------------------------------------------------------------------------

    def _is_state(self, value: t.Mapping[str, t.Any]) -> bool:
        container = self._stack.inspect(value["service"]) or {}
        state = container.get("State", {})
        return bool(
            value.get("status", state.get("Status")) == state.get("Status")
            and value.get("health", "") in ("", (state.get("Health") or {}).get("Status"))
            and value.get("error", "") in str(state.get("Error", ""))
            and (not value.get("oom") or bool(state.get("OOMKilled")) or int(container.get("RestartCount", 0)) > 0)
            and int(container.get("RestartCount", 0)) >= int(value.get("restarts", 0))
        )

    def _is_log(self, value: t.Mapping[str, t.Any]) -> bool:
        return str(value["text"]) in self._stack.container_log(value["service"])

    def _is_sql(self, value: t.Mapping[str, t.Any]) -> bool:
        return self._stack.sql(value["query"]) == str(value["is"])

    def _is_http(self, value: t.Mapping[str, t.Any]) -> bool:
        return bool(self._stack.shop().send(traffic.Call("GET", value["path"])) == int(value["status"]))

    def _is_sh(self, script: str) -> bool:
        try:
            self._stack.command("sh", "-ec", script)
        except CommandFailed:
            return False
        return True

    # -- parts ----------------------------------------------------------------------------------------------------

    def _container(self, service: str) -> str:
        container = self._stack.inspect(service)
        if container is None:
            raise CommandFailed(f"{self._stack.project}: no container of {service}")
        return str(container["Id"])

    def _call(self, value: t.Mapping[str, t.Any]) -> traffic.Call:
        return traffic.Call(value.get("method", "GET"), value["path"], value.get("body"), self._token(value.get("token")))

    def _token(self, kind: t.Optional[str]) -> t.Optional[str]:
        secret = self._stack.variables().get("JWT_SECRET", "")
        made: dict[str, str] = {
            "fresh": tokens.bearer_token(secret),
            "over": tokens.bearer_token(secret, lifetime_seconds=-60),
            "early": tokens.bearer_token(secret, not_before_seconds=600),
            "other-key": tokens.bearer_token("a-secret-of-somebody-else", key_id="other"),
            "other-algorithm": tokens.bearer_token(secret, algorithm="HS512"),
        }
        return made.get(kind or "", kind)

    def _go_on(self, make: t.Callable[[random.Random], traffic.Call], per_second: float) -> None:
        number = random.Random(1)
        shop = self._stack.shop()

        def work() -> None:
            while not self._stopping.is_set():
                shop.send(make(number))
                self._stopping.wait(1 / per_second)

        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()
