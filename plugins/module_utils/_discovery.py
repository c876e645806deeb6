# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Finds the Compose projects of a host by their containers' labels and hands them out as typed stacks.

Compose v1, Compose v2 and podman-compose label differently; that is known here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import os
import re
import shlex
import typing as t

from ._envelope import CheckError

if t.TYPE_CHECKING:
    from ._compose_config import ComposeConfig, PendingConfig
    from ._engine import Engine

Raw = dict[str, t.Any]

#: By the name of a project's own file: the one that Compose itself lays over it.
OVERRIDE_OF = {
    "compose.yaml": "compose.override.yaml",
    "compose.yml": "compose.override.yml",
    "docker-compose.yml": "docker-compose.override.yml",
    "docker-compose.yaml": "docker-compose.override.yaml",
}
_PREFIX = "com.docker.compose."
_PODMAN_PREFIX = "io.podman.compose."

_TIME = re.compile(r"(?P<date>\d{4}-\d\d-\d\d)[T ](?P<time>\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d+))? ?(?P<offset>Z|[+-]\d\d:\d\d|)")

# Podman has more words for the states of a container than Docker.
_STATES = {"stopped": "exited", "configured": "created", "initialized": "created", "stopping": "running", "unknown": "dead"}


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which stacks: all of them, or the project at *project_src* or called *project_name*, or only its *services*."""

    project_src: t.Optional[str] = None
    project_name: t.Optional[str] = None
    services: tuple[str, ...] = ()

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Selection:
        """Return the selection from a module's parameters."""
        return cls(params.get("project_src"), params.get("project_name"), tuple(params.get("services") or ()))


class UnknownProject(CheckError):
    """The project of a *selection* is not there; *projects* are the directories of those that are, by name."""

    selection: Selection
    projects: t.Mapping[str, t.Optional[str]]


@dataclasses.dataclass(frozen=True)
class ContainerRef:
    """One container of a stack; *inspect* is what the engine says of it, the properties are read from that."""

    inspect: Raw = dataclasses.field(repr=False)

    @property
    def id(self) -> str:
        """The full identifier."""
        return str(self.inspect.get("Id", ""))

    @property
    def name(self) -> str:
        """The name, without Docker's leading slash."""
        return str(self.inspect.get("Name", "")).lstrip("/")

    @property
    def labels(self) -> dict[str, str]:
        """All labels."""
        return self._config.get("Labels") or {}

    @property
    def project(self) -> str:
        """The Compose project."""
        return compose_label(self.labels, "project") or ""

    @property
    def service(self) -> str:
        """The Compose service; the container's name where no label says."""
        return compose_label(self.labels, "service") or self.name

    @property
    def replica(self) -> int:
        """The number within the service, from 1."""
        return _whole(compose_label(self.labels, "container-number")) or 1

    @property
    def oneoff(self) -> bool:
        """Whether `compose run` or a hook made it, so that it is not one of the service's replicas."""
        return (self.labels.get(_PREFIX + "oneoff") or "").lower() == "true" or _PREFIX + "hook" in self.labels

    @property
    def state(self) -> str:
        """``created``, ``running``, ``restarting``, ``paused``, ``exited``, ``dead`` or ``removing``."""
        status = str(self._state.get("Status", "")).lower()
        return _STATES.get(status, status)

    @property
    def running(self) -> bool:
        """Whether its main process is there and not paused."""
        return self.state == "running"

    @property
    def exit_code(self) -> t.Optional[int]:
        """How its main process ended last; engines say 0 where it has not ended."""
        code = self._state.get("ExitCode")
        return None if code is None else int(code)

    @property
    def state_error(self) -> str:
        """The engine's own words for why it could not be started, or nothing."""
        text = str(self._state.get("Error") or "").strip()
        # Podman writes this about every container that was started.
        return "" if text.endswith("container is running") else text

    @property
    def restart_count(self) -> int:
        """How often its restart policy started it again."""
        return int(self.inspect.get("RestartCount") or 0)

    @property
    def restart_policy(self) -> str:
        """``no``, ``always``, ``on-failure`` or ``unless-stopped``."""
        return str((self._host_config.get("RestartPolicy") or {}).get("Name") or "no")

    @property
    def memory_limit_bytes(self) -> t.Optional[int]:
        """Its own limit; ``None`` where it may use the host's memory."""
        return self._host_config.get("Memory") or None

    @property
    def created_at(self) -> t.Optional[datetime.datetime]:
        """When it was made."""
        return engine_time(self.inspect.get("Created"))

    @property
    def started_at(self) -> t.Optional[datetime.datetime]:
        """When its main process was started last; ``None`` where it never was."""
        return engine_time(self._state.get("StartedAt"))

    @property
    def finished_at(self) -> t.Optional[datetime.datetime]:
        """When its main process ended last; ``None`` where it never did."""
        return engine_time(self._state.get("FinishedAt"))

    @property
    def pid(self) -> t.Optional[int]:
        """The main process as the engine's host numbers it."""
        return self._state.get("Pid") or None

    @functools.cached_property
    def env(self) -> dict[str, str]:
        """The environment it was created with, secrets included: never into a result."""
        pairs = (entry.partition("=") for entry in self._config.get("Env") or [])
        return {name: value for name, separator, value in pairs if separator}

    @property
    def networks(self) -> dict[str, Raw]:
        """By network name: ``ip_address`` (or null) and ``aliases``."""
        attached = (self.inspect.get("NetworkSettings") or {}).get("Networks") or {}
        return {name: _network(attached[name] or {}) for name in sorted(attached)}

    @property
    def network_mode(self) -> str:
        """As created: a network's name, ``host``, ``none`` or ``container:<id>``."""
        return str(self._host_config.get("NetworkMode") or "")

    @functools.cached_property
    def published_ports(self) -> list[Raw]:
        """Of the container: ``container_port``, ``protocol``, ``host_ip``, ``host_port`` (null: exposed only).

        A container that does not run has none at the engine; then they are those it was created with.
        """
        bound = (self.inspect.get("NetworkSettings") or {}).get("Ports") or {}
        if not any(bound.values()):
            bound = self._host_config.get("PortBindings") or {}
        exposed = dict.fromkeys(self._config.get("ExposedPorts") or {})
        return sorted(_ports({**exposed, **bound}), key=lambda port: (port["container_port"], port["protocol"], port["host_port"] or 0, port["host_ip"] or ""))

    @property
    def exposed_ports(self) -> list[int]:
        """TCP ports that the image or the Compose file declares."""
        ports = {port["container_port"] for port in self.published_ports if port["protocol"] == "tcp"}
        return sorted(ports)

    @property
    def image_reference(self) -> str:
        """The image as it was asked for, e.g. ``postgres:17``."""
        return str(self._config.get("Image") or "")

    @property
    def image_id(self) -> str:
        """The identifier of the image it was made from."""
        return str(self.inspect.get("Image") or "")

    @property
    def log_driver(self) -> str:
        """The logging driver, e.g. ``json-file``."""
        return str((self._host_config.get("LogConfig") or {}).get("Type") or "")

    @property
    def log_path(self) -> t.Optional[str]:
        """The file of its log on the engine's host, where the driver keeps one."""
        podman = ((self._host_config.get("LogConfig") or {}).get("Path")) or None
        return self.inspect.get("LogPath") or podman

    @property
    def working_dir(self) -> str:
        """The directory its main process starts in."""
        return str(self._config.get("WorkingDir") or "/")

    @functools.cached_property
    def mounts(self) -> list[Raw]:
        """``type``, ``source`` (path on the host), ``destination``, ``read_only``, ``name`` (of a volume)."""
        entries = [
            {
                "type": str(mount.get("Type", "")),
                "source": str(mount.get("Source") or ""),
                "destination": str(mount.get("Destination") or ""),
                "read_only": not mount.get("RW", True),
                "name": mount.get("Name"),
            }
            for mount in self.inspect.get("Mounts") or []
        ]
        return sorted(entries, key=lambda mount: str(mount["destination"]))

    @property
    def command(self) -> list[str]:
        """What runs: entry point and arguments together."""
        path = self.inspect.get("Path")
        if path:
            return [str(path), *(str(word) for word in self.inspect.get("Args") or [])]
        return [str(word) for word in [*(self._config.get("Entrypoint") or []), *(self._config.get("Cmd") or [])]]

    @functools.cached_property
    def role(self) -> str:
        """``postgres``, ``application``, ``proxy``, ``cache`` or ``other``."""
        return service_role(self.image_reference, self.command, self.env, self.exposed_ports)

    @property
    def _config(self) -> Raw:
        return self.inspect.get("Config") or {}

    @property
    def _host_config(self) -> Raw:
        return self.inspect.get("HostConfig") or {}

    @property
    def _state(self) -> Raw:
        return self.inspect.get("State") or {}


class Stack:
    """One Compose project.

    *containers* are those that were asked for, *siblings* all of the project. The resolved Compose file comes from a
    command that takes a moment: :attr:`config` waits for it where it was started, and is ``None`` where it was not or
    could not be read (:attr:`config_error` then says why).
    """

    def __init__(
        self,
        name: str,
        flavour: str = "compose-v2",
        working_dir: t.Optional[str] = None,
        config_files: t.Sequence[str] = (),
        containers: t.Sequence[ContainerRef] = (),
        config: t.Optional[ComposeConfig] = None,
        config_error: t.Optional[CheckError] = None,
        environment_files: t.Sequence[str] = (),
        selected_services: t.Sequence[str] = (),
        siblings: t.Optional[t.Sequence[ContainerRef]] = None,
    ) -> None:
        self.name = name
        self.flavour = flavour
        self.working_dir = working_dir
        self.config_files = tuple(config_files)
        self.environment_files = tuple(environment_files)
        self.containers = tuple(containers)
        self.siblings = self.containers if siblings is None else tuple(siblings)
        self.selected_services = tuple(selected_services)
        self.pending_config: t.Optional[PendingConfig] = None
        self._config = config
        self._config_error = config_error

    def __repr__(self) -> str:
        return f"Stack({self.name!r}, {self.flavour!r}, {len(self.containers)} containers)"

    @property
    def config(self) -> t.Optional[ComposeConfig]:
        """The resolved Compose file, or ``None``."""
        return self.pending_config.config if self.pending_config else self._config

    @property
    def config_error(self) -> t.Optional[CheckError]:
        """Why there is no resolved Compose file."""
        return self.pending_config.error if self.pending_config else self._config_error

    def declare(self, config: ComposeConfig) -> None:
        """Take *config* for the resolved Compose file, which was read before."""
        self.pending_config, self._config, self._config_error = None, config, None

    @property
    def services(self) -> list[str]:
        """The services that have containers, in order of their names."""
        return sorted({container.service for container in self.containers})

    def of_service(self, name: str) -> list[ContainerRef]:
        """Return the replicas of a service, without one-off containers."""
        return [container for container in self.containers if container.service == name and not container.oneoff]

    def of_role(self, role: str) -> list[ContainerRef]:
        """Return the replicas of the services that have a role, without one-off containers."""
        return [container for container in self.containers if container.role == role and not container.oneoff]


def discover(engine: Engine, selection: Selection) -> list[Stack]:
    """Return the stacks of *selection*, in order of their names: one list and one inspect pass.

    A *project_src* whose project has no container yet gives a stack without containers.

    :raises UnknownProject: code ``project-unknown`` where the project that was asked for is not there.
    """
    listed = engine.containers()
    wanted = [entry for entry in listed if _may_be_wanted(entry.get("Labels") or {}, selection)]
    inspected = [ContainerRef(raw) for raw in engine.inspect_many([str(entry["Id"]) for entry in wanted], wanted)]
    stacks = stacks_of(inspected, selection)
    if not stacks and selection.project_src and (engine.remote or os.path.isdir(selection.project_src)):
        return [_stack_without_containers(selection)]
    if not stacks and (selection.project_src or selection.project_name):
        raise _unknown_project(selection, listed)
    return stacks


def stacks_of(containers: t.Iterable[ContainerRef], selection: Selection) -> list[Stack]:
    """Return the stacks that *containers* make, narrowed to *selection*."""
    projects: dict[str, list[ContainerRef]] = {}
    for container in containers:
        if container.project and _may_be_wanted(container.labels, selection):
            projects.setdefault(container.project, []).append(container)
    return [_stack(name, projects[name], selection) for name in sorted(projects)]


def engine_time(text: t.Optional[str]) -> t.Optional[datetime.datetime]:
    """Return a time as engines write it (nanoseconds, ``Z`` or an offset); their year 1 means never."""
    match = _TIME.fullmatch(text or "")
    if match is None or match["date"].startswith("0001-"):
        return None
    offset = "+00:00" if match["offset"] in ("Z", "") else match["offset"]
    try:
        return datetime.datetime.fromisoformat(f"{match['date']}T{match['time']}.{(match['fraction'] or '')[:6]:0<6}{offset}")
    except ValueError:
        return None


def compose_label(labels: t.Mapping[str, str], name: str) -> t.Optional[str]:
    """Return the value of a Compose label, whichever tool wrote it; old podman-compose has names of its own."""
    return labels.get(_PREFIX + name) or labels.get(_PODMAN_PREFIX + name) or None


def flavour_of(labels: t.Mapping[str, str]) -> str:
    """Return the tool that made a container: ``compose-v1``, ``compose-v2`` or ``podman-compose``."""
    if any(label.startswith(_PODMAN_PREFIX) for label in labels):
        return "podman-compose"
    version = labels.get(_PREFIX + "version", "").lstrip("v")
    return "compose-v1" if version.startswith("1.") else "compose-v2"


_TYPED = {"compose-v1": "docker-compose", "compose-v2": "docker compose", "podman-compose": "podman-compose"}
_USUAL_FILES = frozenset(f"{stem}{part}.{suffix}" for stem in ("compose", "docker-compose") for part in ("", ".override") for suffix in ("yml", "yaml"))


def typed_compose(labels: t.Mapping[str, str], *commands: str) -> str:
    """Return *commands* of Compose, such as ``up -d web``, for a container's project, as a person types them from wherever he is on the host."""
    project, directory = compose_label(labels, "project"), compose_label(labels, "project.working_dir")
    program = _TYPED[flavour_of(labels)] + (f" -p {shlex.quote(project)}" if project else "")
    files = _config_files(labels)
    if any(os.path.basename(path) not in _USUAL_FILES or os.path.dirname(path) != directory for path in files):
        program += "".join(f" -f {shlex.quote(path)}" for path in files)
    there = [f"cd {shlex.quote(directory)}"] if directory and _can_be_a_path(directory) else []
    return " && ".join([*there, *(f"{program} {command}" for command in commands)])


def _may_be_wanted(labels: t.Mapping[str, str], selection: Selection) -> bool:
    project = compose_label(labels, "project")
    if not project:
        return False
    if selection.project_name and project != selection.project_name:
        return False
    return not selection.project_src or _same_directory(labels, selection.project_src)


def _same_directory(labels: t.Mapping[str, str], project_src: str) -> bool:
    wanted = os.path.realpath(project_src)
    directories = [compose_label(labels, "project.working_dir"), *(os.path.dirname(path) for path in _config_files(labels))]
    return any(os.path.realpath(directory) == wanted for directory in directories if directory and _can_be_a_path(directory))


def _can_be_a_path(text: str) -> bool:
    """Say whether *text*, from a label, can be asked of the operating system at all."""
    return not re.search(r"[\0\ud800-\udfff]", text)


def _config_files(labels: t.Mapping[str, str]) -> list[str]:
    working_dir = compose_label(labels, "project.working_dir") or ""
    return _paths(compose_label(labels, "project.config_files") or "", working_dir)


def _paths(joined: str, working_dir: str) -> list[str]:
    """Split a label's comma-joined paths, unless the commas belong to one file's name; v1 writes relative ones."""
    whole = os.path.join(working_dir, joined)
    parts = [joined] if joined and os.path.exists(whole) else joined.split(",")
    paths = [os.path.normpath(os.path.join(working_dir, part.strip())) for part in parts if part.strip()]
    return [path for path in paths if _can_be_a_path(path)]


def _stack(name: str, containers: list[ContainerRef], selection: Selection) -> Stack:
    ordered = sorted(containers, key=lambda one: (one.service, one.oneoff, one.replica, one.name))
    # The newest container knows the project's files best: they may have moved since the oldest was made.
    newest = max(ordered, key=lambda one: str(one.inspect.get("Created", "")))
    chosen = [one for one in ordered if not selection.services or one.service in selection.services]
    working_dir = compose_label(newest.labels, "project.working_dir")
    if working_dir and not _can_be_a_path(working_dir):
        working_dir = None
    config_files = _config_files(newest.labels)
    return Stack(
        name,
        flavour_of(newest.labels),
        working_dir,
        [*config_files, *_new_override(config_files, newest.created_at)],
        chosen,
        environment_files=_paths(newest.labels.get(_PREFIX + "project.environment_file", ""), working_dir or ""),
        selected_services=selection.services,
        siblings=ordered,
    )


def _new_override(config_files: t.Sequence[str], made_at: t.Optional[datetime.datetime]) -> list[str]:
    """Return the override file that Compose takes by itself beside the only one of *config_files*, where no container can know of it yet.

    One that was there when the newest container was made, and is not among its files, was left out on purpose.
    """
    usual = OVERRIDE_OF.get(os.path.basename(config_files[0])) if len(config_files) == 1 else None
    if usual is None or made_at is None:
        return []
    path = os.path.join(os.path.dirname(config_files[0]), usual)
    try:
        return [path] if os.stat(path).st_mtime > made_at.timestamp() else []
    except OSError:
        return []


def _stack_without_containers(selection: Selection) -> Stack:
    directory = os.path.realpath(selection.project_src or "")
    name = selection.project_name or re.sub(r"[^a-z0-9_-]", "", os.path.basename(directory).lower()).lstrip("_-")
    # The other way round this file is imported by that one.
    from ._compose_config import find_compose_command  # pylint: disable=import-outside-toplevel,cyclic-import

    command = find_compose_command()
    return Stack(name, command.flavour if command else "compose-v2", directory, selected_services=selection.services)


def _unknown_project(selection: Selection, listed: t.Iterable[Raw]) -> UnknownProject:
    labels = [entry.get("Labels") or {} for entry in listed]
    projects = {compose_label(one, "project") or "": compose_label(one, "project.working_dir") for one in labels}
    projects.pop("", None)
    found = f"projects on this host: {', '.join(sorted(projects))}" if projects else "no Compose project has a container on this host"
    wanted, reason = selection.project_name or selection.project_src or "", "no container of this project"
    hint = "Correct project_name, or start it: docker compose up -d"
    if selection.project_src and not os.path.isdir(selection.project_src):
        wanted, reason, hint = selection.project_src, "no such directory", "Correct project_src."
    error = UnknownProject(wanted, f"{reason}; {found}", hint, "project-unknown")
    error.selection, error.projects = selection, projects
    return error


def _network(attached: Raw) -> Raw:
    names = [*(attached.get("Aliases") or []), *(attached.get("DNSNames") or [])]
    return {
        "ip_address": attached.get("IPAddress") or attached.get("GlobalIPv6Address") or None,
        "aliases": sorted({str(alias) for alias in names}),
    }


def _ports(bindings: t.Mapping[str, t.Any]) -> t.Iterator[Raw]:
    for declared, bound in bindings.items():
        number, dummy, protocol = declared.partition("/")
        container_port = _whole(number)
        if container_port is None:
            continue
        port = {"container_port": container_port, "protocol": protocol or "tcp"}
        if not bound:
            yield {**port, "host_ip": None, "host_port": None}
        for entry in bound or []:
            yield {**port, "host_ip": entry.get("HostIp") or "0.0.0.0", "host_port": _whole(str(entry.get("HostPort") or ""))}


def _whole(text: t.Optional[str]) -> t.Optional[int]:
    """Return a number as engines and Compose write it; a label may hold anything, digits that ``int`` does not take included."""
    return int(text) if text and len(text) < 10 and text.isascii() and text.isdigit() else None


# -- what a service is for ------------------------------------------------------------------------------------------

_POSTGRES_PROGRAMS = frozenset(("postgres", "postmaster", "patroni"))
_POSTGRES_IMAGES = frozenset(("postgres", "postgresql", "postgis", "timescaledb", "timescaledb-ha", "pgvector", "spilo", "citus", "paradedb"))
_POSTGRES_PORT = 5432
_APPLICATION_PROGRAMS = frozenset(
    (
        "uvicorn",
        "gunicorn",
        "hypercorn",
        "daphne",
        "granian",
        "uwsgi",
        "fastapi",
        "flask",
        "celery",
        "alembic",
        "python",
        "node",
        "npm",
        "yarn",
        "pnpm",
        "deno",
        "bun",
        "java",
        "ruby",
        "puma",
        "rails",
        "php",
        "php-fpm",
        "dotnet",
    )
)
_PROXY_PROGRAMS = frozenset(
    (
        "nginx",
        "traefik",
        "haproxy",
        "caddy",
        "envoy",
        "httpd",
        "apache2",
        "apachectl",
        "apache2ctl",
        "httpd-foreground",
        "openresty",
    )
)
_CACHE_PROGRAMS = frozenset(
    (
        "redis-server",
        "valkey-server",
        "memcached",
        "keydb-server",
        "dragonfly",
    )
)
_PROXY_IMAGES = frozenset(
    (
        "nginx",
        "nginx-unprivileged",
        "traefik",
        "haproxy",
        "caddy",
        "envoy",
        "httpd",
        "openresty",
        "nginx-proxy",
    )
)
_CACHE_IMAGES = frozenset(
    (
        "redis",
        "valkey",
        "memcached",
        "keydb",
        "dragonfly",
        "redis-stack",
        "redis-stack-server",
    )
)
_DATABASE_URL = re.compile(r"(postgres(ql)?|mysql|mariadb|sqlite|mongodb)(\+\w+)?://")


def service_role(image: str, command: t.Sequence[str], env: t.Mapping[str, str], exposed_ports: t.Iterable[int] = ()) -> str:
    """Return what a container is for: ``postgres``, ``application``, ``proxy``, ``cache`` or ``other``.

    Decided by what runs first, then by image, environment and ports; a service's name says nothing reliable.
    """
    programs = _programs(command)
    repository = _repository(image)
    if _is_postgres(repository, programs, env, set(exposed_ports)):
        return "postgres"
    for role, known_programs, known_images in (
        ("proxy", _PROXY_PROGRAMS, _PROXY_IMAGES),
        ("cache", _CACHE_PROGRAMS, _CACHE_IMAGES),
        ("application", _APPLICATION_PROGRAMS, frozenset[str]()),
    ):
        if programs & known_programs or repository in known_images:
            return role
    return "application" if any(_DATABASE_URL.match(value) for value in env.values()) else "other"


# Commands that are meant to end, and subcommands that make such a command of a server's.
_JOB_WORDS = frozenset(("alembic", "migrate", "migration", "migrations", "pg_dump", "pg_restore", "psql", "flyway", "liquibase", "createdb", "initdb", "seed"))
_SERVER_WORDS = _POSTGRES_PROGRAMS | _PROXY_PROGRAMS | _CACHE_PROGRAMS | frozenset(("uvicorn", "gunicorn", "hypercorn", "daphne", "granian", "uwsgi", "celery"))


def runs_a_job(command: t.Sequence[str]) -> t.Optional[bool]:
    """Say whether a command is meant to end (a migration) or to go on (a server); ``None`` where it does not tell.

    ``sh -c "alembic upgrade head && uvicorn ..."`` goes on.
    """
    programs = _programs(command)
    if programs & _SERVER_WORDS:
        return False
    return True if programs & _JOB_WORDS else None


def _is_postgres(repository: str, programs: t.AbstractSet[str], env: t.Mapping[str, str], ports: t.AbstractSet[int]) -> bool:
    if programs & _POSTGRES_PROGRAMS:
        return True
    # Applications carry POSTGRES_* for their connection, exporters and backup jobs are built on the server's image:
    # neither alone makes a server.
    if programs & (_APPLICATION_PROGRAMS | _PROXY_PROGRAMS | _CACHE_PROGRAMS) or any(word in repository for word in ("backup", "exporter", "bouncer", "admin")):
        return False
    evidence = [
        repository in _POSTGRES_IMAGES,
        "PGDATA" in env or "POSTGRESQL_VOLUME_DIR" in env,
        _POSTGRES_PORT in ports,
        "/postgresql/" in env.get("PATH", "") or "/pgsql" in env.get("PATH", ""),
        any(name in env for name in ("POSTGRES_PASSWORD", "POSTGRES_PASSWORD_FILE", "POSTGRES_HOST_AUTH_METHOD", "POSTGRESQL_PASSWORD")),
    ]
    return sum(evidence) >= 2


def _programs(command: t.Sequence[str]) -> frozenset[str]:
    """Return the names of programs in a command line, those inside ``sh -c "..."`` included."""
    words: list[str] = []
    for argument in command:
        words += _shell_words(argument) if re.search(r"[\s;&|]", argument) else [argument]
    names = (os.path.basename(word) for word in words if not word.startswith("-") and "://" not in word)
    return frozenset(re.sub(r"^(python|ruby|php|php-fpm)[0-9.]+$", r"\1", name) for name in names)


def _shell_words(script: str) -> list[str]:
    try:
        return shlex.split(re.sub(r"[;&|()]", " ", script), comments=True)
    except ValueError:
        return script.split()


def _repository(image: str) -> str:
    """Return the last part of an image's name, without registry, tag and digest."""
    return re.split(r"[:@]", image.rsplit("/", 1)[-1], maxsplit=1)[0].lower()
