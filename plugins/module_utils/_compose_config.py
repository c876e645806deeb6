# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What a Compose file declares, as the project's own Compose command resolves it.

Compose v2 answers in JSON. Compose v1 and podman-compose answer in YAML, which is read where the interpreter has
PyYAML; without it the names of the services are known and no more. Only ``config`` is ever called: it reads.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import shutil
import threading
import typing as t

from ._discovery import Stack, service_role
from ._envelope import CheckError
from ._process import Completed, run_command

DEFAULT_TIMEOUT_SECONDS = 20.0

#: Where the docker command looks for its plug-ins.
PLUGIN_DIRECTORIES = (
    "~/.docker/cli-plugins",
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)
_V1_REQUIREMENT = re.compile(rb"docker-compose==(\d[\w.]*)")
_UNSET = re.compile(r'\bThe (?:\\?")?([A-Za-z_][A-Za-z0-9_]*)(?:\\?")? variable is not set\b')
_CONDITIONS = ("service_started", "service_healthy", "service_completed_successfully")
_DEFAULT_FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")

# Compose v1 takes most of a second of CPU time: a host with many projects must not be busy with nothing else.
_at_a_time = threading.BoundedSemaphore(2)


@dataclasses.dataclass(frozen=True)
class Dependency:
    """One entry of ``depends_on``."""

    service: str
    condition: str = "service_started"


@dataclasses.dataclass(frozen=True)
class ServiceConfig:
    """What is declared for one service; *replicas* is ``None`` where only its name is known.

    *command* and *environment* stay inside the check: they may hold secrets.
    """

    name: str
    image: t.Optional[str] = None
    role: str = "other"
    replicas: t.Optional[int] = None
    depends_on: tuple[Dependency, ...] = ()
    has_healthcheck: t.Optional[bool] = None
    restart: t.Optional[str] = None
    enabled: bool = True
    publishes: bool = False
    command: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    environment: t.Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)


@dataclasses.dataclass(frozen=True)
class ComposeConfig:
    """The services of a resolved Compose file, by name. *complete* is false where only names are known.

    *unset_variables* are those that the file uses, without a default, and that neither ``.env`` nor the environment has.
    """

    services: t.Mapping[str, ServiceConfig]
    name: t.Optional[str] = None
    complete: bool = True
    unset_variables: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class ComposeCommand:
    """A Compose command of this host: its argument list as it is typed, what it is, and the program itself where that is another.

    ``docker compose`` asks each of its plug-ins what it is before it starts one, which takes as long as reading a Compose file does. What
    only reads, and asks no engine, starts the plug-in without it.
    """

    argv: tuple[str, ...]
    flavour: str
    program: t.Optional[str] = None

    @property
    def reading_argv(self) -> tuple[str, ...]:
        """What to call ``config`` and ``version`` of."""
        return (self.program,) if self.program else self.argv

    @property
    def speaks_json(self) -> bool:
        """Whether ``config --format json`` works."""
        return self.flavour == "compose-v2"


class PendingConfig:
    """A Compose file that is being resolved in a thread; its properties wait for the end, which is bounded."""

    def __init__(self, read: t.Callable[[], ComposeConfig], wait_seconds: float) -> None:
        self._read = read
        self._wait_seconds = wait_seconds
        self._config: t.Optional[ComposeConfig] = None
        self._error: t.Optional[CheckError] = None
        self._thread = threading.Thread(target=self._run, name="compose-config", daemon=True)
        self._thread.start()

    @property
    def config(self) -> t.Optional[ComposeConfig]:
        """The resolved file, or ``None``: see :attr:`error`."""
        self._thread.join(self._wait_seconds)
        return self._config

    @property
    def error(self) -> t.Optional[CheckError]:
        """Why there is none."""
        self._thread.join(self._wait_seconds)
        if self._thread.is_alive():
            return CheckError("compose config", f"no answer within {self._wait_seconds:g} s", "Run it by hand: docker compose config", "timeout")
        return self._error

    def _run(self) -> None:
        try:
            with _at_a_time:
                self._config = self._read()
        except CheckError as error:
            self._error = error
        except Exception as error:  # pylint: disable=broad-except  # a surprise in a file is that project's trouble alone
            self._error = CheckError("compose config", f"{type(error).__name__}: {error}", "Run it by hand: docker compose config", "protocol-error")


def start_configs(stacks: t.Iterable[Stack], timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> None:
    """Start to resolve the Compose files of *stacks* in the background; :attr:`Stack.config` waits for the answer."""
    for stack in stacks:
        if stack.pending_config is None and stack.config is None and stack.config_error is None:
            # Half the time for waiting in line behind other projects.
            stack.pending_config = PendingConfig(lambda stack=stack: read_config(stack, timeout_seconds), 2 * timeout_seconds)  # type: ignore[misc]


def read_config(stack: Stack, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> ComposeConfig:
    """Resolve the Compose file of *stack* with the Compose command of this host.

    :raises CheckError: its files are not there or not readable, no command is installed, or the command refused.
    """
    _check_files(stack)
    command = find_compose_command(stack.flavour)
    if command is None:
        raise CheckError("compose config", "no Compose command on this host", "Install docker compose (Debian: docker-compose).", "not-installed")
    arguments = [*command.reading_argv, *project_arguments(stack, command)]
    if command.speaks_json:
        completed = _run([*arguments, "config", "--format", "json"], stack, timeout_seconds)
        return _with_unset(_understood(stack, completed, json.loads), completed)
    yaml = _yaml()
    if yaml is not None:
        completed = _run([*arguments, "config"], stack, timeout_seconds)
        return _with_unset(_understood(stack, completed, functools.partial(_read_yaml, yaml)), completed)
    completed = _run([*arguments, "config", "--services"], stack, timeout_seconds)
    return _with_unset(ComposeConfig({name: ServiceConfig(name) for name in completed.text.split()}, complete=False), completed)


def _understood(stack: Stack, completed: Completed, read: t.Callable[[bytes], t.Any]) -> ComposeConfig:
    try:
        document = read(completed.stdout)
        return parse_config(document if isinstance(document, dict) else {}, _enabled_profiles(stack))
    except (ValueError, RecursionError) as error:
        raise _invalid(stack, f"what Compose makes of it cannot be understood: {error}") from error


def _invalid(stack: Stack, reason: str) -> CheckError:
    hint = f"Run it by hand and correct the file: cd {stack.working_dir or '.'} && docker compose config"
    return CheckError(" ".join(stack.config_files) or stack.working_dir or stack.name, reason, hint, "config-invalid")


def _read_yaml(yaml: t.Any, text: bytes) -> t.Any:
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _with_unset(config: ComposeConfig, completed: Completed) -> ComposeConfig:
    return dataclasses.replace(config, unset_variables=unset_variables(completed.error_text))


def unset_variables(text: str) -> tuple[str, ...]:
    """Return the variables of which Compose (v1 or v2) says on standard error that they are not set.

    >>> unset_variables('time="2026" level=warning msg="The \\"A\\" variable is not set. Defaulting to a blank string."')
    ('A',)
    """
    return tuple(sorted(set(_UNSET.findall(text))))


def resolved_text(stack: Stack, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> tuple[str, bytes]:
    """Return ``json`` or ``yaml``, and the Compose file of *stack* as the Compose command of this host resolves it.

    :raises CheckError: as :func:`read_config`.
    """
    _check_files(stack)
    command = find_compose_command(stack.flavour)
    if command is None:
        raise CheckError("compose config", "no Compose command on this host", "Install docker compose (Debian: docker-compose).", "not-installed")
    words = ["config", "--format", "json"] if command.speaks_json else ["config"]
    completed = _run([*command.reading_argv, *project_arguments(stack, command), *words], stack, timeout_seconds)
    return "json" if command.speaks_json else "yaml", completed.stdout


def find_compose_command(flavour: str = "compose-v2") -> t.Optional[ComposeCommand]:
    """Return the Compose command to read a project of *flavour* with, or ``None`` where there is none.

    Compose v2 comes first for every flavour: it reads the others' files, answers in JSON, and much faster.
    """
    docker = shutil.which("docker")
    plugins = (os.path.expanduser(f"{directory}/docker-compose") for directory in PLUGIN_DIRECTORIES)
    plugin = next((path for path in plugins if os.access(path, os.X_OK)), None)
    if docker and plugin:
        return ComposeCommand((docker, "compose"), "compose-v2", plugin)
    found: list[ComposeCommand] = []
    standalone = shutil.which("docker-compose")
    if standalone:
        found.append(ComposeCommand((standalone,), _flavour_of_program(standalone)))
    podman_compose = shutil.which("podman-compose")
    if podman_compose:
        found.append(ComposeCommand((podman_compose,), "podman-compose"))
    preferred = [command for command in found if command.flavour in ("compose-v2", flavour)]
    return next(iter(preferred + found), None)


def find_changing_command(flavour: str) -> t.Optional[ComposeCommand]:
    """Return the Compose command to change a project of *flavour* with: the one that made it where it is there, since another makes containers anew."""
    programs = {"compose-v1": "docker-compose", "podman-compose": "podman-compose"}
    program = shutil.which(programs.get(flavour, ""))
    if program and (flavour != "compose-v1" or _flavour_of_program(program) == "compose-v1"):
        return ComposeCommand((program,), flavour)
    return find_compose_command(flavour)


def compose_version(command: ComposeCommand, timeout_seconds: float = 10.0) -> t.Optional[str]:
    """Return the version that a Compose command gives for itself, or ``None`` where it gives none."""
    if command.flavour == "compose-v1":
        # The script that starts it names it, and starting it takes half a second of CPU time.
        named = _V1_REQUIREMENT.search(_beginning(command.argv[0]))
        if named:
            return named[1].decode("ascii")
    words = ["version"] if command.flavour == "podman-compose" else ["version", "--short"]
    try:
        text = run_command([*command.reading_argv, *words], timeout_seconds).text
    except CheckError:
        return None
    match = re.search(r"\d+\.\d+[\w.+~-]*", text)
    return match.group() if match else None


def parse_config(document: t.Mapping[str, t.Any], profiles: t.Collection[str] = ()) -> ComposeConfig:
    """Return the services of a resolved Compose file (of any Compose).

    A service with profiles is enabled where one of them is in *profiles*.

    :raises ValueError: a part of it is of another kind. Podman-compose hands on what it does not understand.
    """
    try:
        services = document.get("services") or {}
        return ComposeConfig({name: _service(name, services[name] or {}, profiles) for name in sorted(services)}, document.get("name"))
    except (AttributeError, TypeError, LookupError) as error:
        raise ValueError(str(error)) from error


def parse_depends_on_label(value: str) -> tuple[Dependency, ...]:
    """Return the dependencies in Compose v2's label, ``db:service_healthy:false,redis:service_started:true``."""
    dependencies = []
    for entry in value.split(","):
        service, dummy, rest = entry.strip().partition(":")
        condition = rest.partition(":")[0]
        if service:
            dependencies.append(Dependency(service, condition if condition in _CONDITIONS else "service_started"))
    return tuple(sorted(dependencies, key=lambda dependency: dependency.service))


def project_env_file(stack: Stack) -> t.Optional[str]:
    """Return the ``.env`` file that the project's variables come from, or ``None`` where there is none to be seen."""
    candidates = list(stack.environment_files)
    candidates += [os.path.join(directory, ".env") for directory in _directories(stack)]
    return next((path for path in candidates if os.path.isfile(path)), None)


def _directories(stack: Stack) -> list[str]:
    directories = [stack.working_dir or "", *(os.path.dirname(path) for path in stack.config_files)]
    return list(dict.fromkeys(directory for directory in directories if directory))


def _check_files(stack: Stack) -> None:
    """Look before a command is started: its own message for a missing file is vaguer, and it takes longer."""
    if not stack.config_files and not stack.working_dir:
        raise CheckError(stack.name, "its containers do not say where its Compose file is", "Name the directory in project_src.", "missing")
    if not stack.config_files and not any(os.path.exists(os.path.join(stack.working_dir or "", name)) for name in _DEFAULT_FILES):
        raise CheckError(
            stack.working_dir or stack.name,
            f"no Compose file in {stack.working_dir}",
            f"Correct project_src: it is the directory with {' or '.join(_DEFAULT_FILES[::2])}.",
            "missing",
        )
    for path in stack.config_files:
        try:
            with open(path, "rb"):
                pass
        except FileNotFoundError:
            raise CheckError(
                path,
                "the Compose file that the containers were made from is not there any more",
                "Name the directory where it is now in project_src; without it, services that have no container go unnoticed.",
                "missing",
            ) from None
        except OSError as error:
            raise CheckError(path, f"{error.strerror}", f"Run with become: true, or let the user read {path}.", "permission-denied") from error


def project_arguments(stack: Stack, command: ComposeCommand, all_profiles: bool = True) -> list[str]:
    """Return the options that name *stack* to a Compose command; with *all_profiles* the services of every profile are seen."""
    if command.flavour == "podman-compose":
        return [word for path in stack.config_files for word in ("-f", path)]
    arguments = ["--project-name", stack.name] if stack.containers or stack.siblings else []
    if stack.working_dir:
        arguments += ["--project-directory", stack.working_dir]
    for path in stack.config_files:
        arguments += ["--file", path]
    for path in stack.environment_files:
        if os.path.isfile(path):
            arguments += ["--env-file", path]
    # Without it the services of profiles would be missing, and their containers taken for orphans.
    return [*arguments, "--profile", "*"] if command.speaks_json and all_profiles else arguments


def _run(argv: list[str], stack: Stack, timeout_seconds: float) -> Completed:
    directory = stack.working_dir if stack.working_dir and os.path.isdir(stack.working_dir) else None
    completed = run_command(argv, timeout_seconds, cwd=directory)
    if completed.exit_code != 0:
        raise _invalid(stack, _last_error(completed.error_text) or f"exit code {completed.exit_code}")
    return completed


def _last_error(text: str) -> str:
    """Return what a Compose command said last on standard error, without its warnings, in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if "level=warning" not in line and not line.startswith("WARNING")]
    message = " ".join((telling or lines)[-3:])
    return message[:500]


def _yaml() -> t.Any:
    """Return PyYAML, or ``None`` where the interpreter has none."""
    try:
        import yaml  # type: ignore[import-untyped,unused-ignore]  # pylint: disable=import-outside-toplevel
    except ImportError:
        return None
    return yaml


def _flavour_of_program(path: str) -> str:
    """Tell Compose v1 from v2: v1 is a Python script, or says so itself."""
    if _beginning(path).startswith(b"#!"):
        return "compose-v1"
    version = compose_version(ComposeCommand((path,), "compose-v1")) or ""
    return "compose-v1" if version.startswith("1.") else "compose-v2"


def _beginning(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(1024)
    except OSError:
        return b""


def _enabled_profiles(stack: Stack) -> frozenset[str]:
    """Return the profiles that the project's ``.env`` switches on; those of a command line nobody knows any more."""
    path = project_env_file(stack)
    if path is None:
        return frozenset()
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            match = re.search(r"^\s*(?:export\s+)?COMPOSE_PROFILES\s*=\s*[\"']?([^\"'\n#]*)", file.read(1 << 20), re.MULTILINE)
    except OSError:
        return frozenset()
    return frozenset(name.strip() for name in match.group(1).split(",") if name.strip()) if match else frozenset()


def _service(name: str, declared: t.Mapping[str, t.Any], profiles: t.Collection[str]) -> ServiceConfig:
    own_profiles = declared.get("profiles") or []
    return ServiceConfig(
        name=name,
        image=declared.get("image") or None,
        role=_declared_role(declared),
        replicas=_replicas(declared),
        depends_on=_dependencies(declared.get("depends_on")),
        has_healthcheck=_has_healthcheck(declared.get("healthcheck")),
        restart=declared.get("restart") or _restart_policy(declared),
        enabled=not own_profiles or "*" in profiles or any(profile in profiles for profile in own_profiles),
        publishes=bool(declared.get("ports")),
        command=(*_words(declared.get("entrypoint")), *_words(declared.get("command"))),
        environment=_environment(declared.get("environment")),
    )


def _replicas(declared: t.Mapping[str, t.Any]) -> int:
    deploy = declared.get("deploy") or {}
    for count in (declared.get("scale"), deploy.get("replicas")):
        if isinstance(count, int):
            return count
    return 1


def _restart_policy(declared: t.Mapping[str, t.Any]) -> t.Optional[str]:
    condition = ((declared.get("deploy") or {}).get("restart_policy") or {}).get("condition")
    return {"none": "no", "any": "always"}.get(condition, condition) if condition else None


def _dependencies(declared: t.Any) -> tuple[Dependency, ...]:
    if isinstance(declared, dict):
        return tuple(Dependency(name, str((declared[name] or {}).get("condition") or "service_started")) for name in sorted(declared))
    return tuple(Dependency(str(name)) for name in sorted(declared or []))


def _has_healthcheck(declared: t.Any) -> t.Optional[bool]:
    """``None`` where the file says nothing: the image may bring one."""
    if not isinstance(declared, dict):
        return None
    test = declared.get("test")
    if declared.get("disable") or test in ("NONE", ["NONE"]):
        return False
    return True if test else None


def _declared_role(declared: t.Mapping[str, t.Any]) -> str:
    words = [*_words(declared.get("entrypoint")), *_words(declared.get("command"))]
    ports = [_port_number(port) for port in [*(declared.get("ports") or []), *(declared.get("expose") or [])]]
    return service_role(str(declared.get("image") or ""), words, _environment(declared.get("environment")), [port for port in ports if port])


def _words(declared: t.Any) -> list[str]:
    return [declared] if isinstance(declared, str) else [str(word) for word in declared or []]


def _port_number(declared: t.Any) -> int:
    text = str(declared.get("target", "")) if isinstance(declared, dict) else str(declared)
    digits = text.partition("/")[0].rsplit(":", 1)[-1]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 6 else 0


def _environment(declared: t.Any) -> dict[str, str]:
    if isinstance(declared, dict):
        return {str(name): str(value) for name, value in declared.items() if value is not None}
    pairs = (str(entry).partition("=") for entry in declared or [])
    return {name: value for name, separator, value in pairs if separator}
