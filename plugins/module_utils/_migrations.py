# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Alembic: does the database have the migrations that the application's code has.

The code is read out of the container's file system and parsed, never run: it works on a container that does not start,
and a migration's code cannot do anything. What the database has comes from its version table.
"""

from __future__ import annotations

import ast
import configparser
import dataclasses
import functools
import posixpath
import re
import time
import typing as t

from ._database_url import DatabaseUrl, database_urls, parse_database_url
from ._envelope import CheckError, envelope, metric, worst
from ._netns import Resolver, in_network_namespace
from ._postgres import Instance, PostgresOptions, connect, find_instances, names_of, open_target
from ._postgres_session import Limits, Session, Target
from ._process import run_side_by_side
from ._redaction import redactor_of

if t.TYPE_CHECKING:
    from ._discovery import ContainerRef, Stack
    from ._engine import Engine

_INI_LIMIT = 256 * 1024
_SCRIPTS_LIMIT = 16 * 1024 * 1024
_EXEC_SECONDS = 15.0
_DATABASE_SECONDS = 10.0
_USUAL_DIRECTORIES = ("/app", "/code", "/srv", "/srv/app", "/usr/src/app", "/backend", "/app/backend", "/app/src", "/opt/app", "/workspace", "/home/app")
_USUAL_SUBDIRECTORIES = ("backend", "src", "app", "api", "server", "migrations")
_NAMES = ("revision", "down_revision", "branch_labels", "depends_on")
_ASSIGNMENT = re.compile(r"^(revision|down_revision|branch_labels|depends_on)[ \t]*(?::[^=\n]+)?=[ \t]*(.+)$", re.MULTILINE)
# The same files as alembic takes: neither Emacs' locks nor package markers.
_SCRIPT_NAME = re.compile(r"(?!\.#|__init__).*\.py$")
_HEAD_LINE = re.compile(r"^([0-9A-Za-z_.-]+) .*\bhead\)", re.MULTILINE)

STATUS_OF_STATE = {
    "up-to-date": "ok",
    "pending": "warning",
    "multiple-heads": "warning",
    "ahead": "critical",
    "not-initialised": "critical",
    "unknown": "unknown",
}


@dataclasses.dataclass(frozen=True)
class Revision:
    """One migration script."""

    revision: str
    down: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    message: str = ""


@dataclasses.dataclass(frozen=True)
class VersionTable:
    """Where alembic keeps the current revision; without *schema* it is looked for."""

    name: str = "alembic_version"
    schema: t.Optional[str] = None


@dataclasses.dataclass(frozen=True)
class Code:
    """What an application's image has: *revisions* is ``None`` where only the *heads* are known."""

    script_location: t.Optional[str]
    heads: tuple[str, ...]
    revisions: t.Optional[Graph]
    table: VersionTable = VersionTable()
    url: t.Optional[DatabaseUrl] = None
    config_path: t.Optional[str] = None


FetchCurrent = t.Callable[["Stack", "ContainerRef", Code], t.Optional[list[str]]]
_Targets = t.Mapping[str, tuple["Stack", "ContainerRef"]]

NO_ALEMBIC = "its image has no alembic.ini, so that the heads of its code and what is pending cannot be known"
_NO_ALEMBIC_HINT = "Run alembic where the migrations are, or name its alembic.ini in the container's environment as ALEMBIC_CONFIG."


# -- scripts -----------------------------------------------------------------------------------------------------------


def parse_script(source: bytes, name: str = "") -> t.Optional[Revision]:
    """Return the migration in a script's *source*; ``None`` where it is none. *name* is the file's, for a message.

    :raises CheckError: it is a migration whose revisions are computed, so that only running it would tell.
    """
    text = source.decode("utf-8", "replace")
    try:
        found, document = _assignments(ast.parse(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # Written for a newer Python than ours, perhaps; the assignments alone are plain in any version.
        found, document = {}, ""
        for key, value in _ASSIGNMENT.findall(text):
            try:
                found[key] = ast.parse(value.strip(), mode="eval").body
            except (SyntaxError, ValueError):
                continue
    if "revision" not in found:
        return None
    values = {key: _literal(node, name) for key, node in found.items()}
    revision = _as_tuple(values["revision"])
    if len(revision) != 1:
        raise CheckError(name, "its revision is no text", "Run by hand: alembic history", "unparsable")
    stem = re.sub(r"\.py$", "", posixpath.basename(name))
    lines = [line.strip() for line in document.strip().splitlines()]
    return Revision(
        revision[0],
        _as_tuple(values.get("down_revision")),
        _as_tuple(values.get("depends_on")),
        _as_tuple(values.get("branch_labels")),
        (lines[0] if lines and not lines[0].startswith("Revision ID") else stem)[:200],
    )


def _assignments(tree: ast.Module) -> tuple[dict[str, ast.expr], str]:
    found: dict[str, ast.expr] = {}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        for target in targets:
            value = getattr(node, "value", None)
            if isinstance(target, ast.Name) and target.id in _NAMES and value is not None:
                found[target.id] = value
    return found, ast.get_docstring(tree) or ""


def _literal(node: ast.expr, name: str) -> t.Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise CheckError(name, "its revisions are computed, not written down", "Run by hand: alembic history", "unparsable") from None


def _as_tuple(value: t.Any) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        return (value,)
    return tuple(str(one) for one in value) if isinstance(value, (tuple, list, set, frozenset)) else (str(value),)


class Graph:
    """The migrations of one application and how they follow each other."""

    def __init__(self, revisions: t.Iterable[Revision]) -> None:
        self.by_id: dict[str, Revision] = {}
        for one in revisions:
            if one.revision in self.by_id:
                raise CheckError(one.revision, "two migration scripts have this revision", "Delete or renumber one of them.", "unparsable")
            self.by_id[one.revision] = one
        self._labels = {label: one.revision for one in self.by_id.values() for label in one.labels}
        for one in self.by_id.values():
            for parent in (*one.down, *one.depends_on):
                if self.find(parent) is None:
                    hint = "The image may lack a migration script; rebuild it, or run by hand: alembic history"
                    raise CheckError(one.revision, f"follows revision {parent}, which is not among the scripts", hint, "unparsable")

    def find(self, name: str) -> t.Optional[str]:
        """Return the revision that *name* (a revision, a label, or the beginning of a revision) stands for."""
        if name in self.by_id:
            return name
        if name in self._labels:
            return self._labels[name]
        matches = [one for one in self.by_id if one.startswith(name)] if len(name) >= 4 else []
        return matches[0] if len(matches) == 1 else None

    @property
    def heads(self) -> tuple[str, ...]:
        """The revisions that none follows, in order of their names."""
        followed = {self.find(parent) for one in self.by_id.values() for parent in one.down}
        return tuple(sorted(one for one in self.by_id if one not in followed))

    def parents(self, revision: str) -> list[str]:
        """Return what must be applied before *revision*."""
        one = self.by_id[revision]
        return [found for found in map(self.find, (*one.down, *one.depends_on)) if found is not None]

    def with_ancestors(self, revisions: t.Iterable[str]) -> set[str]:
        """Return *revisions* and all that comes before them."""
        seen: set[str] = set()
        rest = [one for one in revisions if one in self.by_id]
        while rest:
            revision = rest.pop()
            if revision not in seen:
                seen.add(revision)
                rest.extend(self.parents(revision))
        return seen

    def pending(self, applied: t.AbstractSet[str]) -> list[Revision]:
        """Return what is not in *applied*, in the order in which it would be applied."""
        order: list[Revision] = []
        placed = set(applied)
        left = sorted(revision for revision in self.by_id if revision not in applied)
        while left:
            ready = [revision for revision in left if all(parent in placed for parent in self.parents(revision))]
            # A circle has no order: the rest as it is.
            for revision in ready or left:
                order.append(self.by_id[revision])
                placed.add(revision)
            left = [revision for revision in left if revision not in placed]
        return order


# -- alembic.ini and what it leads to ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Settings:
    """What an alembic.ini says, with ``%(here)s`` filled in."""

    script_location: str
    version_locations: tuple[str, ...] = ()
    recursive: bool = False
    url: t.Optional[str] = dataclasses.field(default=None, repr=False)
    import_paths: tuple[str, ...] = (".",)
    path: str = ""


def parse_ini(text: str, directory: str) -> t.Optional[Settings]:
    """Return the settings of an alembic.ini that lies in *directory*; ``None`` where it has none for alembic."""
    parser = configparser.ConfigParser({"here": directory.replace("%", "%%")}, strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return None

    def get(option: str) -> str:
        try:
            return parser.get("alembic", option, fallback="").strip()
        except configparser.Error:
            return parser.get("alembic", option, raw=True, fallback="").strip().replace("%(here)s", directory)

    if not parser.has_section("alembic") or not get("script_location"):
        return None
    separator = get("path_separator") or get("version_path_separator")
    return Settings(
        get("script_location"),
        _split_paths(get("version_locations"), separator),
        get("recursive_version_locations").lower() in ("true", "1", "yes", "on"),
        get("sqlalchemy.url") or None,
        _split_paths(get("prepend_sys_path"), separator) or (".",),
    )


def parse_pyproject(text: str, directory: str) -> t.Optional[Settings]:
    """Return the settings in ``[tool.alembic]`` of a pyproject.toml (alembic 1.16 and later), ``None`` without it.

    Targets have no TOML parser before Python 3.11; of two kinds of values a pattern is enough.
    """
    section = re.search(r"^\[tool\.alembic\][ \t]*$(.*?)(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL)
    location = re.search(r"^script_location\s*=\s*(['\"])(.*?)\1", section.group(1), re.MULTILINE) if section else None
    if section is None or location is None:
        return None
    listed = re.search(r"^version_locations\s*=\s*\[(.*?)\]", section.group(1), re.MULTILINE | re.DOTALL)
    versions = [found[1] for found in re.findall(r"(['\"])(.*?)\1", listed.group(1))] if listed else []
    filled = [path.replace("%(here)s", directory) for path in (location.group(2), *versions)]
    return Settings(filled[0], tuple(filled[1:]), bool(re.search(r"^recursive_version_locations\s*=\s*true", section.group(1), re.MULTILINE)))


def _split_paths(text: str, separator: str) -> tuple[str, ...]:
    pattern = {"os": ":", ":": ":", ";": ";", "space": r"\s+", "newline": r"\n", ",": ","}.get(separator, r",\s*|\s+")
    return tuple(part.strip() for part in re.split(pattern, text) if part.strip())


def parse_environment(source: bytes) -> VersionTable:
    """Return the version table that an env.py asks for in ``context.configure(...)``, where it is written down there."""
    given: dict[str, str] = {}
    try:
        tree = ast.parse(source.decode("utf-8", "replace"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return VersionTable()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "configure":
            for keyword in node.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                if keyword.arg in ("version_table", "version_table_schema") and isinstance(value, str):
                    given[keyword.arg] = value
    return VersionTable(given.get("version_table", "alembic_version"), given.get("version_table_schema"))


def config_paths(container: ContainerRef) -> list[str]:
    """Return where *container* may have its alembic.ini, most likely first."""
    base = container.working_dir or "/"
    command = " ".join(container.command)
    named = re.findall(r"(?:^|\s)(?:-c|--config)[ =](\S+\.ini)", command) if "alembic" in command else []
    named += [container.env["ALEMBIC_CONFIG"]] if container.env.get("ALEMBIC_CONFIG") else []
    directories = [base, *(posixpath.join(base, one) for one in _USUAL_SUBDIRECTORIES if base != "/"), *_USUAL_DIRECTORIES]
    paths = [posixpath.join(base, path) for path in named] + [posixpath.join(one, "alembic.ini") for one in directories]
    return list(dict.fromkeys(posixpath.normpath(path) for path in [*paths, posixpath.join(base, "pyproject.toml")]))


class _Image:
    """The file system of one container, read through the engine."""

    def __init__(self, engine: Engine, container: ContainerRef) -> None:
        self.engine = engine
        self.container = container

    def files(self, path: str, limit: int) -> dict[str, bytes]:
        """Return the files at or below *path*; empty where there is no such path."""
        try:
            return self.engine.read_archive(self.container.id, path, limit)
        except CheckError as error:
            if error.code == "not-found":
                return {}
            raise

    def settings(self) -> t.Optional[Settings]:
        """Return the settings of alembic in this container, ``None`` where it has none."""
        for path in config_paths(self.container):
            for dummy, content in self.files(path, _INI_LIMIT).items():
                parse = parse_pyproject if path.endswith(".toml") else parse_ini
                settings = parse(content.decode("utf-8", "replace"), posixpath.dirname(path))
                if settings is not None:
                    return dataclasses.replace(settings, import_paths=(*settings.import_paths, posixpath.dirname(path)), path=path)
        return None

    def directory(self, location: str, settings: Settings) -> tuple[str, dict[str, bytes]]:
        """Return the path that *location* (relative, absolute, or ``package:directory``) means, and its files."""
        package, colon, rest = location.partition(":")
        relative = posixpath.join(package.replace(".", "/"), rest) if colon else location
        base = self.container.working_dir or "/"
        places = [posixpath.normpath(posixpath.join(base, place, relative)) for place in (".", *settings.import_paths)]
        for place in dict.fromkeys(places):
            files = self.files(place, _SCRIPTS_LIMIT)
            if files:
                return place, files
        return places[0], {}


def read_code(engine: Engine, container: ContainerRef) -> t.Optional[Code]:
    """Return the migrations that *container*'s image has, without running any of it; ``None`` without alembic.

    :raises CheckError: code ``unparsable``, or the engine's.
    """
    image = _Image(engine, container)
    settings = image.settings()
    if settings is None:
        return None
    location, files = image.directory(settings.script_location, settings)
    table = parse_environment(files.get(posixpath.join(location, "env.py"), b""))
    scripts: dict[str, bytes] = {}
    for versions in settings.version_locations or (posixpath.join(location, "versions"),):
        below = {path: content for path, content in files.items() if path.startswith(versions + "/")}
        place, found = (versions, below) if below else image.directory(versions, settings)
        scripts.update({path: content for path, content in found.items() if settings.recursive or posixpath.dirname(path) == place})
    named = {path: content for path, content in scripts.items() if _SCRIPT_NAME.match(posixpath.basename(path))}
    if not named and not files:
        raise CheckError(location, "not found in the container", "Check script_location in alembic.ini.", "unparsable")
    if not named and any(path.endswith(".pyc") for path in scripts):
        raise CheckError(location, "has compiled migrations only", "Run by hand: alembic heads", "unparsable")
    graph = Graph(one for one in (parse_script(content, path) for path, content in sorted(named.items())) if one is not None)
    url = parse_database_url(settings.url) if settings.url else None
    return Code(location, graph.heads, graph, table, url, settings.path)


def heads_by_running(engine: Engine, container: ContainerRef) -> Code:
    """Return the heads as ``alembic heads`` in a running *container* prints them.

    :raises CheckError: it is not there, did not end in time, or said no.
    """
    completed = engine.exec(container.id, ["alembic", "heads"], _EXEC_SECONDS)
    heads = tuple(sorted(set(_HEAD_LINE.findall(completed.text))))
    if completed.exit_code or not heads:
        lines = (completed.error_text.strip() or completed.text.strip()).splitlines() or ["no output"]
        raise CheckError("alembic heads", f"exit code {completed.exit_code}: {lines[-1][:200]}", "Run it by hand in the container.", "unparsable")
    return Code(None, heads, None)


# -- what the database has ---------------------------------------------------------------------------------------------


def current_from_stack(engine: Engine) -> FetchCurrent:
    """Return the function that reads an application's version table: a list, or ``None`` where there is no such table.

    A database in a container of the stack is asked with its own credentials, so that a wrong password of the
    application does not hide its migrations; any other with the application's, from its network namespace.
    """

    def fetch(stack: Stack, container: ContainerRef, code: Code) -> t.Optional[list[str]]:
        limits = Limits(session_seconds=_DATABASE_SECONDS)
        url = _own_url(container) or code.url
        instances = find_instances([stack])
        instance = _instance_of(url, instances)
        if instance is not None:
            connection = connect(instance, engine, PostgresOptions(limits=limits), url.login_database if url else None)
            with connection.session as session:
                return read_version_table(session, code.table)
        if url is None or url.host is None:
            raise CheckError("database", "no PostgreSQL address in its environment", "Set the address of its database as DATABASE_URL.", "no-address")
        if not container.running or container.pid is None:
            raise CheckError("database", f"{url.host} is outside the stack and the container does not run", "Start the container.", "not-running")
        return in_network_namespace(container.pid, lambda: _current_from_inside(container, url, code, limits), _DATABASE_SECONDS + 2)

    return fetch


def _instance_of(url: t.Optional[DatabaseUrl], instances: t.Sequence[Instance]) -> t.Optional[Instance]:
    if url is None:
        return instances[0] if len(instances) == 1 else None
    hosts = {host.lower() for host, dummy in url.hosts}
    return next((one for one in instances if one.container and hosts & {name.lower() for name in names_of(one.container)}), None)


def _current_from_inside(container: ContainerRef, url: DatabaseUrl, code: Code, limits: Limits) -> t.Optional[list[str]]:
    addresses = Resolver.of_container(container.pid or 0).resolve(url.host or "", limits.connect_seconds)
    target = dataclasses.replace(Target.of_url(url), hosts=tuple((address, url.port) for address in addresses))
    with open_target(target, limits) as session:
        return read_version_table(session, code.table)


def read_version_table(session: Session, table: VersionTable) -> t.Optional[list[str]]:
    """Return the revisions in alembic's version table, ``None`` where the database has no such table.

    :raises CheckError: it may not be read.
    """
    places = session.rows(
        "SELECT n.nspname AS name FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relname = %(table)s AND c.relkind IN ('r', 'p') AND (%(schema)s::text IS NULL OR n.nspname = %(schema)s)"
        " ORDER BY n.nspname <> 'public', n.nspname LIMIT 1",
        table=table.name,
        schema=table.schema,
    )
    if not places:
        return None
    quoted = ".".join('"' + str(part).replace('"', '""').replace("%", "%%") + '"' for part in (places[0]["name"], table.name))
    return sorted(str(row["version_num"]) for row in session.rows(f"SELECT version_num FROM {quoted} LIMIT 100"))


# -- verdicts ----------------------------------------------------------------------------------------------------------


def judge(code: Code, current: t.Optional[t.Sequence[str]]) -> dict[str, t.Any]:
    """Return ``state``, ``pending``, ``multiple_heads``, ``database_ahead`` and ``unknown_revision``; *current* ``None`` is no table."""
    at = list(current or ())
    graph = code.revisions
    known = graph.by_id.keys() if graph else set(code.heads)
    stranger = next((one for one in at if one not in known), None)
    if graph:
        pending = graph.pending(graph.with_ancestors(at))
        left = [{"revision": one.revision, "message": one.message} for one in pending]
    else:
        left = [{"revision": one, "message": ""} for one in code.heads if one not in at]
    several = len(code.heads) > 1
    if current is None:
        state = "not-initialised" if code.heads else "up-to-date"
    elif stranger is not None and graph is not None:
        state = "ahead"
    elif not left:
        state = "up-to-date"
    else:
        state = "multiple-heads" if several else "pending"
    ahead = state == "ahead"
    return {
        "state": state,
        "pending": [] if ahead else left,
        "multiple_heads": several,
        # Without the scripts a revision that is no head may be an old one just as well.
        "database_ahead": ahead if graph is not None or current is None else None,
        "unknown_revision": stranger if ahead else None,
    }


def _row(container: ContainerRef, **facts: t.Any) -> dict[str, t.Any]:
    row: dict[str, t.Any] = {
        "project": container.project,
        "service": container.service,
        "status": "unknown",
        "tool": "alembic",
        "script_location": None,
        "heads": [],
        "current": [],
        "pending": [],
        "multiple_heads": None,
        "database_ahead": None,
        "unknown_revision": None,
        "state": "unknown",
        "reason": None,
    }
    return {**row, **facts}


def check_application(engine: Engine, stack: Stack, container: ContainerRef, fetch_current: FetchCurrent) -> t.Optional[dict[str, t.Any]]:
    """Return one entry of ``applications``, or ``None`` where *container* has no alembic."""
    try:
        code = read_code(engine, container)
    except CheckError as error:
        if error.code != "unparsable" or not container.running:
            return _row(container, reason=f"{error.source}: {error.reason}")
        try:
            code = heads_by_running(engine, container)
        except CheckError as other:
            return _row(container, reason=f"{error.source}: {error.reason}; {other.source}: {other.reason}")
    if code is None:
        return None
    found: dict[str, t.Any] = {"script_location": code.script_location, "heads": list(code.heads), "multiple_heads": len(code.heads) > 1}
    try:
        current = fetch_current(stack, container, code)
    except CheckError as error:
        return _row(container, **found, reason=f"the database's revision is not known: {error.reason}")
    verdict = judge(code, current)
    return _row(container, **{**found, **verdict}, current=list(current or ()), status=STATUS_OF_STATE[verdict["state"]])


def applications(stack: Stack, services: t.Collection[str] = ()) -> list[ContainerRef]:
    """Return one container of each application service, one that runs where there is any; of one image and database only one service.

    Of *services*, where there are any, whatever they look like.
    """
    chosen: dict[str, ContainerRef] = {}
    candidates = [container for name in services for container in stack.of_service(name)] if services else stack.of_role("application")
    for container in sorted(candidates, key=lambda one: (one.service, not one.running, one.replica)):
        chosen.setdefault(container.service, container)
    # A worker is often the same image as the web application, which is the one that publishes a port.
    # The same image with another database is another application: each tenant's may be at a revision of its own.
    addresses = {name: _database_address(container) for name, container in chosen.items()}
    kept: dict[str, dict[t.Optional[tuple[t.Any, ...]], ContainerRef]] = {}
    for container in sorted(
        chosen.values(),
        key=lambda one: (addresses[one.service] is None, not any(port["host_port"] for port in one.published_ports), not one.running, one.service),
    ):
        of_image = kept.setdefault(container.image_id or container.id, {})
        address = addresses[container.service]
        if address is not None or not of_image:
            of_image.setdefault(address, container)
    return sorted((container for of_image in kept.values() for container in of_image.values()), key=lambda one: one.service)


def _database_address(container: ContainerRef) -> t.Optional[tuple[t.Any, ...]]:
    """Return what tells the database of *container* from others, ``None`` where its environment names none."""
    url = _own_url(container)
    return (url.host, url.port, url.login_database) if url is not None else None


def _own_url(container: ContainerRef) -> t.Optional[DatabaseUrl]:
    return next((url for dummy, url in database_urls(container.env) if not url.is_socket), None)


def collect_migrations(
    stacks: t.Sequence[Stack],
    engine: Engine,
    fetch_current: t.Optional[FetchCurrent] = None,
    deadline_seconds: float = 40.0,
    services: t.Collection[str] = (),
    tables: bool = False,
) -> dict[str, t.Any]:
    """Return the envelope ``migrations``: every application of *stacks* (only *services*, where there are any) that has an alembic.ini.

    *fetch_current* reads what the database has; by default :func:`current_from_stack`. With *tables* an application without
    alembic is a row as well where its database, which no other row is about, has a version table.
    """
    began = time.monotonic()
    fetch = fetch_current or current_from_stack(engine)
    targets = {f"{container.project}/{container.service}": (stack, container) for stack in stacks for container in applications(stack, services)}
    rows, errors = _rows(lambda stack, container: check_application(engine, stack, container, fetch), targets, deadline_seconds)
    if tables:
        left = max(1.0, deadline_seconds - (time.monotonic() - began))
        more, others = _rows(lambda stack, container: check_table(stack, container, fetch), _without(targets, rows), left)
        rows, errors = sorted([*rows, *more], key=lambda row: (row["project"], row["service"])), [*errors, *others]
    pending = sum(len(row["pending"]) for row in rows)
    return envelope(worst(row["status"] for row in rows), _summary(rows), {"pending_migrations": metric(pending)}, errors, applications=rows)


def _rows(
    check: t.Callable[[Stack, ContainerRef], t.Optional[dict[str, t.Any]]], targets: _Targets, deadline_seconds: float
) -> tuple[list[dict[str, t.Any]], list[CheckError]]:
    work = {name: functools.partial(check, stack, container) for name, (stack, container) in targets.items()}
    rows: list[dict[str, t.Any]] = []
    errors: list[CheckError] = []
    for name, outcome in run_side_by_side(work, deadline_seconds).items():
        row = outcome.value
        if outcome.error is not None:
            reason = outcome.error.reason if isinstance(outcome.error, CheckError) else f"{type(outcome.error).__name__}: {outcome.error}"
            row = _row(targets[name][1], reason=reason)
        if row is None:
            continue
        rows.append(row)
        if row["status"] == "unknown":
            hint = _NO_ALEMBIC_HINT if str(row["reason"]).startswith(NO_ALEMBIC) else "Run by hand in the container: alembic current && alembic heads"
            errors.append(CheckError(name, str(row["reason"]), hint))
    return rows, errors


def _without(targets: _Targets, rows: t.Sequence[t.Mapping[str, t.Any]]) -> _Targets:
    """Return those of *targets* that have no row and a database that no row is about; of one database only one."""
    done = {f"{row['project']}/{row['service']}" for row in rows}
    known = {(stack.name, _database_address(container)) for name, (stack, container) in targets.items() if name in done}
    stacks = {name for name, dummy in known}
    found = {}
    for name, (stack, container) in targets.items():
        address = _database_address(container)
        place = (stack.name, address)
        if name not in done and place not in known and (address is not None or stack.name not in stacks):
            known.add(place)
            found[name] = (stack, container)
    return found


def check_table(stack: Stack, container: ContainerRef, fetch_current: FetchCurrent) -> t.Optional[dict[str, t.Any]]:
    """Return one entry of ``applications`` for one without alembic, or ``None`` where its database has no version table, or it has no database."""
    try:
        current = fetch_current(stack, container, Code(None, (), None))
    except CheckError as error:
        if error.code == "no-address":
            return None
        return _row(container, reason=f"{NO_ALEMBIC}; nor is the database's revision known: {error.reason}")
    return _row(container, current=list(current), reason=NO_ALEMBIC) if current is not None else None


def check_migrations(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the envelope of the module ``alembic_status`` for its parameters."""
    from ._discovery import Selection, discover
    from ._engine import Engine as DockerEngine
    from ._engine import EngineOptions

    try:
        engine = DockerEngine.connect(EngineOptions.from_params(params))
        # All of a project, for its database may not be among the services that were asked for.
        stacks = discover(engine, Selection(params["project_src"], params["project_name"]))
    except CheckError as error:
        return envelope("unknown", f"{error.source}: {error.reason}", errors=[error], applications=[])
    facts = collect_migrations(stacks, engine, deadline_seconds=float(params["deadline"]), services=params["services"], tables=True)
    absent = [name for name in params["services"] if not any(stack.of_service(name) for stack in stacks)]
    if absent:
        hint = "Start it, or look with: docker compose ps --all"
        facts["errors"] += [CheckError(name, "no container of this service is there", hint).as_dict() for name in absent]
        facts["status"] = worst([facts["status"], "unknown"])
    return t.cast("dict[str, t.Any]", redactor_of(stacks).tree(facts))


def _summary(rows: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    bad = [row for row in rows if row["status"] != "ok"]
    if not rows:
        return "no application with alembic migrations"
    if not bad:
        return f"{len(rows)} applications with migrations, all up to date"
    first = bad[0]
    words = f"{len(first['pending'])} pending" if first["state"] == "pending" else first["state"]
    return f"{first['project']}/{first['service']}: {words}" + (f" ({first['reason']})" if first["reason"] else "")
