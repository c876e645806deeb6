# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A Compose project that is about to be changed, with the Compose command that made it."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import time
import typing as t

from ._compose_config import ComposeCommand, ComposeConfig, find_changing_command, project_arguments, read_config
from ._compose_health import ComposeOptions, collect_compose, redacted, wait_until_well
from ._discovery import ContainerRef, Selection, Stack, compose_label, discover
from ._engine import Engine, EngineOptions
from ._envelope import CheckError, rfc3339
from ._process import Completed, run_command
from ._redaction import Redactor, redactor_of
from ._remediation import Facts, Verified, only_stack

CONFIG_SECONDS = 60.0
#: A container without a health check counts as well when it has stayed up for so long.
_STAYS_UP_SECONDS = 3.0
_HASH_LINE = re.compile(r"^(\S+) ([0-9a-f]{64})$", re.MULTILINE)
_SAID_LINES = 12
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


class ComposeProject:
    """One project, as it is now; what was read of its containers is read again by :meth:`containers`."""

    def __init__(self, engine: Engine, stack: Stack) -> None:
        command = find_changing_command(stack.flavour)
        if command is None:
            raise CheckError(stack.name, "there is no Compose on this host", "ansible-playbook stackops.runbook.prepare_host", "not-installed")
        self.engine = engine
        self.stack = stack
        self.command: ComposeCommand = command
        self._config: t.Optional[ComposeConfig] = None
        self._hashes: t.Optional[dict[str, str]] = None

    @classmethod
    def of(cls, params: t.Mapping[str, t.Any]) -> ComposeProject:
        """Return the project that a module's parameters select.

        :raises CheckError: there is none, there are several, or there is no engine or Compose.
        """
        engine = Engine.connect(EngineOptions.from_params(params))
        return cls(engine, only_stack(engine, params))

    @property
    def name(self) -> str:
        """The project's name."""
        return self.stack.name

    @property
    def redactor(self) -> Redactor:
        """Knows the secrets of the project's containers."""
        return redactor_of([self.stack])

    @property
    def config(self) -> ComposeConfig:
        """The resolved Compose file; read once.

        :raises CheckError: it cannot be read.
        """
        if self._config is None:
            self._config = read_config(self.stack, CONFIG_SECONDS)
        return self._config

    def argv(self, *words: str, files: t.Sequence[str] = ()) -> tuple[str, ...]:
        """Return the command line for *words*; *files* are Compose files besides the project's own."""
        return (*self.command.argv, *project_arguments(self.stack, self.command, all_profiles=False), *(w for path in files for w in ("--file", path)), *words)

    def run(self, argv: t.Sequence[str], timeout_seconds: float) -> Completed:
        """Run a command line in the project's directory and return what it gave back, whatever its exit code."""
        self._hashes = None
        directory = self.stack.working_dir
        # Without a terminal, and with a plain protocol of what is built: both are read by people and programs.
        env = {"BUILDKIT_PROGRESS": "plain", "COMPOSE_ANSI": "never", "NO_COLOR": "1"}
        return run_command(argv, timeout_seconds, env=env, cwd=directory if directory and os.path.isdir(directory) else None, grace_seconds=5)

    def carry_out(self, argv: t.Sequence[str], timeout_seconds: float) -> Completed:
        """Run a command line that must succeed.

        :raises CheckError: code ``compose-failed``, with what the command said last.
        """
        done = self.run(argv, timeout_seconds)
        if done.exit_code != 0:
            raise CheckError(" ".join(argv), said(done), hint_of(done), "compose-failed")
        return done

    def require(self, services: t.Sequence[str]) -> None:
        """Refuse names that are no services of the project, before anything is done.

        :raises CheckError: code ``service-unknown``, with the names that there are.
        """
        known = {container.service for container in self.stack.siblings if not container.oneoff}
        if set(services) <= known:
            return
        with contextlib.suppress(CheckError):
            known |= set(self.config.services)
        unknown = sorted(set(services) - known)
        if unknown:
            raise CheckError(f"{self.name}/{unknown[0]}", "the project has no such service", f"It has: {', '.join(sorted(known))}.", "service-unknown")

    def containers(self, service: str) -> list[ContainerRef]:
        """Return the containers of *service* as they are now, without one-offs."""
        try:
            stacks = discover(self.engine, Selection(project_name=self.name))
        except CheckError as error:
            if error.code == "project-unknown":
                return []
            raise
        return [container for stack in stacks for container in stack.of_service(service)]

    def state_of(self, service: str) -> list[Facts]:
        """Return what is worth to be written down of the containers of *service*."""
        return [
            {
                "container": container.name,
                "id": container.id[:12],
                "state": container.state,
                "image": container.image_reference,
                "image_id": container.image_id,
                "started_at": rfc3339(container.started_at),
            }
            for container in self.containers(service)
        ]

    def declared_hash(self, service: str) -> t.Optional[str]:
        """Return what Compose would label the containers of *service* with now, ``None`` where it does not tell; read once until something is run."""
        if self.command.flavour == "podman-compose":
            return None
        if self._hashes is None:
            self._hashes = self._read_hashes("*")
        if service not in self._hashes:  # one of a profile
            self._hashes = {**self._hashes, **self._read_hashes(service)}
        return self._hashes.get(service)

    def _read_hashes(self, services: str) -> dict[str, str]:
        known = self._hashes
        done = self.run(self.argv("config", f"--hash={services}"), CONFIG_SECONDS)
        self._hashes = known
        return {match[1]: match[2] for match in _HASH_LINE.finditer(done.text)} if done.exit_code == 0 else {}

    def keep_images(self, services: t.Sequence[str]) -> None:
        """Give the images of containers of *services* whose name leads to another image by now one of their own, so that there is a way back."""
        for service in services:
            for container in self.containers(service)[:1]:
                named = self.engine.image(container.image_reference)
                if self.engine.image(container.image_id) is not None and (named or {}).get("Id") != container.image_id:
                    self.engine.tag(container.image_id, self.previous_image(service))

    def previous_image(self, service: str) -> str:
        """Return the name under which the image of *service* from before the last change is kept."""
        return f"stackops-previous/{self.name}-{service}".lower()

    def image_undo(self, services: t.Sequence[str]) -> tuple[str, ...]:
        """Return how to go back to the images that :meth:`keep_images` keeps."""
        tags = [
            shlex.join(["docker", "tag", self.previous_image(service), container.image_reference])
            for service in services
            for container in self.containers(service)[:1]
        ]
        return (*tags, shlex.join(self.up_argv(services)))

    def up_argv(self, services: t.Sequence[str], *options: str, files: t.Sequence[str] = ()) -> tuple[str, ...]:
        """Return the command line that makes *services* as declared, and nothing else.

        With ``--no-deps`` Compose v2 labels a container as if nothing were declared that it depends on, and makes it anew the next time. So that
        is only used where something would happen to what they depend on. Of a service that was scaled by hand as many containers stay.
        """
        dependencies = self.dependencies(services)
        scaled = {service: len(self.containers(service)) for service in (*services, *dependencies)}
        scaled = {service: number for service, number in scaled.items() if number > self._declared_replicas(service)}
        touched = any(service in scaled or self.drift_of(service) for service in dependencies)
        scales = [word for service in services if service in scaled for word in ("--scale", f"{service}={scaled[service]}")]
        return self.argv("up", "-d", *(["--no-deps"] if touched else []), "--no-build", *scales, *options, *services, files=files)

    def _declared_replicas(self, service: str) -> int:
        with contextlib.suppress(CheckError):
            declared = self.config.services.get(service)
            return (declared.replicas if declared else None) or 1
        return 1

    def dependencies(self, services: t.Sequence[str]) -> list[str]:
        """Return what *services* depend on, through others as well, without themselves."""
        try:
            declared = {name: [entry.service for entry in service.depends_on] for name, service in self.config.services.items()}
        except CheckError:
            declared = {}
        found: list[str] = []
        waiting = list(services)
        while waiting:
            for name in declared.get(waiting.pop(), ()):
                if name not in found and name not in services:
                    found.append(name)
                    waiting.append(name)
        return sorted(found)

    def drift_of(self, service: str, with_config: bool = True) -> list[str]:
        """Return in which ways the containers of *service* are not what the image's name and, *with_config*, the Compose file and ``.env`` say now."""
        containers = self.containers(service)
        if not containers:
            return ["it has no container"]
        found = []
        declared = self.declared_hash(service) if with_config else None
        if declared and any(compose_label(container.labels, "config-hash") != declared for container in containers):
            found.append("the Compose file or .env has changed since it was made")
        for reference in sorted({container.image_reference for container in containers}):
            image = self.engine.image(reference)
            ids = {container.image_id for container in containers if container.image_reference == reference}
            if image is not None and ids != {image.get("Id")}:
                found.append(f"{reference} is another image now")
        return found

    def well(self, services: t.Sequence[str], timeout_seconds: float) -> Verified:
        """Wait until all containers of *services* are well, and stay up; where one is not, say why."""
        selection = Selection(project_name=self.name, services=tuple(services))
        # Which services there are is known, and to read the Compose file takes as long as all the rest.
        options = ComposeOptions(stats=False, read_configs=False)
        deadline = time.monotonic() + timeout_seconds
        while True:
            stacks = wait_until_well(self.engine, selection, options, max(0.0, deadline - time.monotonic()))
            containers = [container for stack in stacks for container in stack.containers if not container.oneoff]
            ages = [time.time() - container.started_at.timestamp() for container in containers if container.running and container.started_at]
            young = _STAYS_UP_SECONDS - min(ages, default=_STAYS_UP_SECONDS)
            if young <= 0 or time.monotonic() + young >= deadline:
                break
            time.sleep(young)
        facts = redacted(collect_compose(stacks, self.engine, options), stacks)
        missing = sorted(set(services) - {container.service for container in containers})
        if missing:
            return Verified(False, f"{', '.join(missing)}: no container")
        lines = [line for row in facts["containers"] if row["cause"] for line in row["last_log_lines"][-3:]]
        return Verified(facts["status"] in ("ok", "warning") and not lines, facts["summary"] + (f"; its log ends with: {' | '.join(lines)}" if lines else ""))


def hint_of(done: Completed) -> str:
    """Return what to do about a Compose command that failed."""
    if "KeyError: 'ContainerConfig'" in done.error_text:
        return (
            "This docker-compose is too old to recreate containers with this engine: install Compose v2, or remove the container first "
            "(docker rm -f NAME; one whose name begins with twelve digits is the old one that it has renamed)."
        )
    return "Run it by hand, and correct what it complains about."


def said(done: Completed) -> str:
    """Return what a command said last, in one line."""
    text = _ESCAPES.sub("", done.error_text + "\n" + done.text)
    lines = [line.strip() for line in text.splitlines() if line.strip() and "level=warning" not in line]
    return f"exit code {done.exit_code}: {' '.join(lines[-_SAID_LINES:])[-1000:]}"
