# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""How many sessions the applications may open together, against what the server allows; and whether their event loops stand still.

A pool belongs to a process: what an application may open is its processes times pool size and overflow. The processes are counted where
they run, the sizes come from the environment of the containers, the limits from the server as it runs.

An event loop that has nothing to do waits for events. One whose thread is found waiting for anything else is not looking after its requests.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import time
import typing as t

from ._database_url import DatabaseUrl, database_urls
from ._discovery import ContainerRef, Stack
from ._envelope import CheckError, envelope, metric, worst
from ._postgres import Instance, PostgresOptions, find_instances, names_of, open_session
from ._postgres_session import Row
from ._process import run_side_by_side

if t.TYPE_CHECKING:
    from ._engine import Engine

Facts = dict[str, t.Any]

#: What SQLAlchemy takes where nothing is said.
DEFAULTS: t.Mapping[str, int] = {"pool_size": 5, "max_overflow": 10, "pool_timeout_seconds": 30}
_VARIABLES = {
    "pool_size": re.compile(r"(?:^|_)POOL_(?:MAX_)?SIZE$", re.IGNORECASE),
    "max_overflow": re.compile(r"(?:^|_)MAX_OVERFLOW$", re.IGNORECASE),
    "pool_timeout_seconds": re.compile(r"(?:^|_)POOL_TIMEOUT(?:_SECONDS)?$", re.IGNORECASE),
}
_ASGI_SERVERS = frozenset(("uvicorn", "hypercorn", "daphne", "granian"))
_OTHER_SERVERS = frozenset(("gunicorn", "uwsgi", "celery", "waitress-serve"))
_PYTHON = re.compile(r"(?:python|pypy)[0-9.]*")
_TRACKER = re.compile(r"multiprocessing\.(?:resource_tracker|semaphore_tracker)")
#: Drivers of PostgreSQL by whether a call of theirs blocks the thread; psycopg (3) can do both.
_BLOCKING = {"psycopg2": True, "pg8000": True, "psycopg2cffi": True, "asyncpg": False, "aiopg": False, "psycopg": None, "psycopg_async": False}
# A tenth of what there is stays free: for people, backups, migrations, and the moment in which old and new processes overlap.
_SHARE = 0.9
_ADVISED_TIMEOUT_SECONDS = 10
_CHECK_SECONDS = 10.0

_SAMPLES = 12
_SAMPLE_PAUSE_SECONDS = 0.05
_MOST_LOOPS = 8
# Where the kernel says a thread waits: for events, which is right for a loop; for others of its own process, which says nothing; running.
_WAITS_FOR_EVENTS = re.compile(r"ep(?:oll)?_|do_epoll")
_SAYS_NOTHING = re.compile(r"futex|^0$|^$")

_SESSIONS = """
SELECT current_setting('max_connections')::int AS maximum,
       current_setting('superuser_reserved_connections')::int + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved,
       (SELECT json_agg(counted) FROM (
          SELECT host(client_addr) AS address, count(*) AS number FROM pg_stat_activity
          WHERE usesysid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend' AND pid <> pg_backend_pid() GROUP BY 1) AS counted)
         AS sessions"""


@dataclasses.dataclass(frozen=True)
class Process:
    """One process of a container, as its host sees it."""

    pid: int
    parent: int
    argv: tuple[str, ...]
    program: str


# -- processes ---------------------------------------------------------------------------------------------------------


def read_processes(root: str = "/proc") -> dict[int, Process]:
    """Return all processes of this host that can be seen."""
    found: dict[int, Process] = {}
    for name in os.listdir(root):
        if not name.isdigit():
            continue
        try:
            with open(f"{root}/{name}/stat", "rb") as file:
                fields = file.read(4096).rpartition(b")")[2].split()
            with open(f"{root}/{name}/cmdline", "rb") as file:
                argv = tuple(word.decode("utf-8", "replace") for word in file.read(8192).split(b"\0") if word)
            found[int(name)] = Process(int(name), int(fields[1]), argv, _program(f"{root}/{name}/exe", argv))
        except (OSError, IndexError, ValueError):
            continue
    return found


def _program(link: str, argv: t.Sequence[str]) -> str:
    try:
        return os.path.basename(os.readlink(link))
    except OSError:
        return os.path.basename(argv[0]) if argv else ""


def serving(processes: t.Mapping[int, Process], main: int) -> list[Process]:
    """Return the processes of Python below (and with) *main* that do the work: those that have started no other."""
    below = {main}
    grown = True
    while grown:
        more = {one.pid for one in processes.values() if one.parent in below and one.pid not in below}
        below |= more
        grown = bool(more)
    python = {pid: processes[pid] for pid in below if pid in processes and _PYTHON.fullmatch(processes[pid].program) and not _is_tracker(processes[pid])}
    parents = {one.parent for one in python.values()}
    return sorted((one for one in python.values() if one.pid not in parents), key=lambda one: one.pid)


def _is_tracker(process: Process) -> bool:
    return any(_TRACKER.search(word) for word in process.argv)


def declared_processes(container: ContainerRef) -> int:
    """Return how many processes the command or the environment asks for, where they cannot be counted."""
    words = " ".join(container.command)
    found = re.search(r"(?:--workers|\s-w)[= ]\s*(\d+)", words)
    number = found[1] if found else container.env.get("WEB_CONCURRENCY") or ""
    return max(1, int(number)) if number.isdecimal() and number.isascii() else 1


def server_of(container: ContainerRef, processes: t.Sequence[Process] = ()) -> tuple[t.Optional[str], t.Optional[bool]]:
    """Return what serves the application, and whether it runs an event loop (``None``: not known)."""
    words = [word for argv in (container.command, *(one.argv for one in processes)) for argument in argv for word in re.split(r"[\s;&|]+", argument)]
    names = {os.path.basename(word) for word in words}
    if "gunicorn" in names:
        return "gunicorn", any("uvicorn" in word.lower() and "worker" in word.lower() for word in words)
    for name in sorted(names & _ASGI_SERVERS):
        return name, True
    if "fastapi" in names:
        return "uvicorn", True
    for name in sorted(names & _OTHER_SERVERS):
        return name, False
    return None, None


# -- the event loop ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Watch:
    """What was seen of the threads that run event loops."""

    samples: int = 0
    elsewhere: dict[str, int] = dataclasses.field(default_factory=dict)

    def add(self, place: t.Optional[str]) -> None:
        """Count one look; *place* is where the kernel says that the thread waits."""
        if place is None:
            return
        self.samples += 1
        if not _WAITS_FOR_EVENTS.search(place) and not _SAYS_NOTHING.search(place):
            self.elsewhere[place] = self.elsewhere.get(place, 0) + 1

    def as_facts(self, threads: t.Optional[int]) -> Facts:
        """Return the facts ``loop``."""
        blocked = sum(self.elsewhere.values())
        return {
            "samples": self.samples,
            "blocked": blocked if self.samples else None,
            "blocked_percent": round(100 * blocked / self.samples) if self.samples else None,
            "waiting_in": max(self.elsewhere, key=lambda place: self.elsewhere[place]) if self.elsewhere else None,
            "threads": threads,
        }


def _waits_in(pid: int, root: str = "/proc") -> t.Optional[str]:
    try:
        with open(f"{root}/{pid}/wchan", encoding="ascii", errors="replace") as file:
            return file.read(100).strip()
    except OSError:
        return None


def _threads(pid: int, root: str = "/proc") -> t.Optional[int]:
    try:
        return len(os.listdir(f"{root}/{pid}/task"))
    except OSError:
        return None


def watch(pids: t.Mapping[str, t.Sequence[int]]) -> dict[str, Facts]:
    """Look at the main thread of each process again and again for a while, and return ``loop`` by name."""
    seen = {name: Watch() for name in pids}
    for number in range(_SAMPLES):
        if number:
            time.sleep(_SAMPLE_PAUSE_SECONDS)
        for name, some in pids.items():
            for pid in some[:_MOST_LOOPS]:
                seen[name].add(_waits_in(pid))
    return {name: one.as_facts(max((n for n in map(_threads, pids[name]) if n is not None), default=None)) for name, one in seen.items()}


# -- pools -------------------------------------------------------------------------------------------------------------


def pool_settings(environment: t.Mapping[str, str]) -> Facts:
    """Return ``pool_size``, ``max_overflow`` and ``pool_timeout_seconds``, each with ``<name>_from``: the variable, or null for SQLAlchemy's default."""
    found: Facts = {}
    for name, pattern in _VARIABLES.items():
        given = [(variable, environment[variable].strip()) for variable in sorted(environment) if pattern.search(variable)]
        variable, value = next(
            ((variable, int(float(value))) for variable, value in given if re.fullmatch(r"-?\d{1,6}(?:\.\d+)?", value)), (None, DEFAULTS[name])
        )
        found[name], found[f"{name}_from"] = value, variable
    return found


def connections_at_most(processes: int, pool_size: int, max_overflow: int) -> t.Optional[int]:
    """Return how many sessions *processes* may open together; ``None`` where there is no bound (size 0, overflow -1)."""
    return None if pool_size == 0 or max_overflow < 0 else processes * (pool_size + max_overflow)


def advise(available: int, others: int, applications: t.Sequence[Facts]) -> t.Optional[Facts]:
    """Return the sizes with which *applications* fit into what is *available* less what *others* hold; ``None`` where not even one per process does."""
    processes = sum(one["processes"] for one in applications)
    budget = int(available * _SHARE) - others
    each = budget // processes if processes else 0
    if each < 1:
        return None
    size = min(max(one["pool_size"] or each for one in applications), max(1, -(-each * 2 // 3)))
    overflow = min(max(max(one["max_overflow"], 0) if one["max_overflow"] >= 0 else each for one in applications), each - size)
    timeout = min(max(one["pool_timeout_seconds"] for one in applications), _ADVISED_TIMEOUT_SECONDS)
    return {"pool_size": size, "max_overflow": overflow, "pool_timeout_seconds": timeout, "connections_at_most": processes * (size + overflow)}


def driver_of(url: t.Optional[DatabaseUrl]) -> tuple[t.Optional[str], t.Optional[bool]]:
    """Return the driver that an address names, and whether its calls block: SQLAlchemy takes psycopg2 where none is named."""
    if url is None:
        return None, None
    name = url.scheme.partition("+")[2] or "psycopg2"
    return name, _BLOCKING.get(name)


class _Collection:
    def __init__(self, stacks: t.Sequence[Stack], engine: Engine) -> None:
        self._engine = engine
        self._processes = {} if engine.remote else read_processes()
        self.applications: list[Facts] = []
        self._addresses: dict[str, set[str]] = {}
        self._loops: dict[str, list[int]] = {}
        for stack in stacks:
            instances = find_instances([stack])
            for service in sorted({one.service for one in stack.of_role("application")}):
                self._add(stack, service, instances)

    def _add(self, stack: Stack, service: str, instances: t.Sequence[Instance]) -> None:
        running = [one for one in stack.of_service(service) if one.running]
        if not running:
            return
        first = running[0]
        workers = [serving(self._processes, one.pid) if one.pid else [] for one in running]
        counted = sum(map(len, workers))
        server, asynchronous = server_of(first, [process for some in workers for process in some])
        variable, url = next(((variable, url) for variable, url in database_urls(first.env) if not url.is_socket), (None, None))
        target = _instance_of(url, instances)
        # Variables such as DB_HOST and DB_PORT say nothing of a driver.
        names_driver = variable is not None and "://" in first.env[variable]
        driver, blocking = driver_of(url) if names_driver and (counted or server) else (None, None)
        name = f"{stack.name}/{service}"
        processes = counted or (sum(map(declared_processes, running)) if server else None)
        settings: Facts = {key: None for one in _VARIABLES for key in (one, f"{one}_from")}
        if processes and url is not None:
            settings = pool_settings(first.env)
        most = connections_at_most(processes, settings["pool_size"], settings["max_overflow"]) if processes and url is not None else None
        if asynchronous and counted:
            self._loops[name] = [process.pid for some in workers for process in some]
        if target is not None:
            self._addresses.setdefault(target.name, set()).update(str(net["ip_address"]) for one in running for net in one.networks.values())
        self.applications.append(
            {
                "project": stack.name,
                "service": service,
                "server": server,
                "asynchronous": asynchronous,
                "driver": driver,
                "driver_blocks": blocking,
                "variable": variable,
                "target": target.name if target else None,
                "replicas": len(running),
                "processes": processes,
                "processes_counted": bool(counted),
                **settings,
                "connections_at_most": most,
                "loop": Watch().as_facts(None),
            }
        )

    def watch(self) -> None:
        """See what the event loops do; it takes half a second."""
        seen = watch(self._loops) if self._loops else {}
        for row in self.applications:
            row["loop"] = seen.get(f"{row['project']}/{row['service']}", row["loop"])

    def server(self, instance: Instance, row: Row) -> Facts:
        """Return the entry of ``servers`` for one that said *row*."""
        own = self._addresses.get(instance.name, set())
        counted = {one["address"]: int(one["number"]) for one in row["sessions"] or ()}
        used = sum(counted.values())
        others = sum(number for address, number in counted.items() if address not in own)
        available = row["maximum"] - row["reserved"]
        ours = [one for one in self.applications if one["target"] == instance.name and one["processes"] and one["pool_size"] is not None]
        unbounded = [one for one in ours if one["connections_at_most"] is None]
        wanted = None if unbounded or not ours else sum(one["connections_at_most"] for one in ours)
        advice = advise(available, others, ours) if ours else None
        return {
            "name": instance.name,
            "project": instance.project,
            "service": instance.service,
            "status": "warning" if unbounded or (wanted is not None and wanted + others > available) else "ok",
            "maximum": row["maximum"],
            "reserved": row["reserved"],
            "available": available,
            "used": used,
            "used_by_others": others,
            "processes": sum(one["processes"] for one in ours),
            "wanted": wanted,
            "unbounded": bool(unbounded),
            "applications": [f"{one['project']}/{one['service']}" for one in ours],
            "advice": advice or dict.fromkeys(("pool_size", "max_overflow", "pool_timeout_seconds", "connections_at_most")),
            "fits": advice is not None if ours else None,
        }


def _instance_of(url: t.Optional[DatabaseUrl], instances: t.Sequence[Instance]) -> t.Optional[Instance]:
    hosts = {host.lower() for host, dummy in url.hosts} if url is not None else set()
    return next((one for one in instances if one.container and hosts & {name.lower() for name in names_of(one.container)}), None)


def collect_pools(stacks: t.Sequence[Stack], engine: Engine, options: t.Optional[PostgresOptions] = None) -> Facts:
    """Return the envelope ``pools``: the applications with their pools and loops, and the servers with what is wanted of them."""
    options = options or PostgresOptions()
    collection = _Collection(stacks, engine)
    instances = {instance.name: instance for instance in find_instances(stacks, options) if instance.container is not None}

    def ask(instance: Instance) -> Row:
        with open_session(instance, engine, options) as session:
            return session.rows(_SESSIONS)[0]

    work: dict[str, t.Callable[[], t.Any]] = {name: functools.partial(ask, instance) for name, instance in instances.items()}
    outcomes = run_side_by_side({**work, "": collection.watch}, _CHECK_SECONDS)
    servers: list[Facts] = []
    errors: list[CheckError] = []
    for name, instance in instances.items():
        outcome = outcomes[name]
        if outcome.error is None and outcome.value is not None:
            servers.append(collection.server(instance, outcome.value))
        else:
            error = outcome.error
            told = error if isinstance(error, CheckError) else CheckError(name, f"{type(error).__name__}: {error}")
            errors.append(CheckError(name, f"how many sessions it allows is not known: {told.reason}", told.hint, told.code))
    status = worst([*(one["status"] for one in servers), *(["unknown"] if errors else [])])
    tight = [one for one in servers if one["status"] != "ok"]
    summary = "; ".join(f"{one['name']}: {_words(one)}" for one in tight) or f"{len(collection.applications)} applications, {len(servers)} servers"
    metrics = {
        "connections_wanted": metric(sum(one["wanted"] or 0 for one in servers)),
        "connections_available": metric(sum(one["available"] for one in servers)),
    }
    return envelope(status, summary, metrics, errors, applications=collection.applications, servers=servers)


def _words(server: Facts) -> str:
    if server["unbounded"]:
        return "pools without a bound"
    return f"pools may open {server['wanted']} sessions, {server['available'] - server['used_by_others']} are left for them"
