# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""How the containers of a stack are set up, where that gives away more than they need, each with the Compose lines that change it.

It judges what the engine runs, not what a file says. Values of variables are looked at and never returned.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ._discovery import ContainerRef, Selection, Stack, discover, runs_a_job
from ._engine import Engine, EngineOptions
from ._envelope import CheckError, envelope, metric, worst
from ._ignores import IgnoreList
from ._published_ports import SENSITIVE_PORTS
from ._redaction import is_secret_name
from ._secret_shapes import find_secrets

Facts = dict[str, t.Any]

# With one of these a process gets out of its container, or reads what is not its own.
_CRITICAL_CAPABILITIES = frozenset({"ALL", "SYS_ADMIN", "SYS_MODULE", "SYS_RAWIO", "SYS_PTRACE", "DAC_READ_SEARCH", "BPF", "MAC_ADMIN", "MAC_OVERRIDE"})
_DANGEROUS_CAPABILITIES = frozenset({"NET_ADMIN", "SYS_BOOT", "SYS_TIME", "SYSLOG", "PERFMON", "CHECKPOINT_RESTORE", "LINUX_IMMUTABLE", "SYS_CHROOT"})
_ENGINE_SOCKETS = ("docker.sock", "podman.sock", "containerd.sock", "crio.sock")
# Directories with which one owns the host, or its secrets.
_HOST_PATHS = ("/", "/etc", "/root", "/home", "/boot", "/dev", "/proc", "/sys", "/run", "/var/run", "/usr", "/var", "/var/lib/docker", "/lib")
_WILDCARDS = ("", "0.0.0.0", "::")  # noqa: S104
_TRUE = frozenset({"1", "true", "yes", "on", "t", "y", "debug"})
_DEBUG_NAME = re.compile(r"^(?:[A-Z0-9]+_)*DEBUG(?:_MODE)?$")
_DEBUG_FLAGS = ("--reload", "--debug", "runserver")
_ROTATION_OPTIONS = {"json-file": "max-size"}
_ROTATING_DRIVERS = frozenset(
    {"local", "none", "journald", "syslog", "awslogs", "gcplogs", "fluentd", "gelf", "splunk", "loki", "etwlogs", "k8s-file", "passthrough"}
)

#: Every rule with its severity, and what follows from it.
RULES: dict[str, tuple[str, str]] = {
    "privileged": ("critical", "A privileged container has every device and capability of the host. Whoever gets into the service is root on it."),
    "engine-socket": ("critical", "Whoever reaches the engine's socket starts a container with the host's disk in it, which is root. Read-only does not help."),
    "host-pid": ("critical", "The container sees and signals all processes of the host, and reads their memory and environment."),
    "host-network": ("warning", "Every port that it opens is open on the host, and what listens on 127.0.0.1 of the host is in its reach."),
    "host-ipc": ("warning", "The container shares memory with the processes of the host."),
    "host-path": ("critical", "A writable directory of the host lets a process change the host itself, for example its users or its cron jobs."),
    "capability-critical": ("critical", "With this capability a process gets out of its container, or reads files that are not its own."),
    "capability": ("warning", "This capability changes things that all containers share, for example the host's network or clock."),
    "unconfined": ("warning", "Without its profile every system call of the kernel can be tried from within the container."),
    "database-published": (
        "critical",
        "A database, cache or queue at every address of the host is found within hours, and its passwords are guessed. A published port passes by ufw.",
    ),
    "root-user": ("warning", "The service runs as root. A hole in it, or in the kernel, then costs more than it has to."),
    "debug-mode": ("warning", "Debug mode shows source code, settings and stack traces to whoever causes an error, and some servers run what they are sent."),
    "secret-in-environment": (
        "warning",
        "Everybody who may ask the engine reads it (docker inspect), child processes inherit it, and crash reports copy it.",
    ),
    "no-memory-limit": ("warning", "One leak takes the memory of the whole host, and the kernel then ends whatever it likes, the database for example."),
    "no-log-rotation": ("warning", "The log grows until the disk is full, which stops everything on the host."),
    "no-restart-policy": ("warning", "After a crash or a restart of the host the service stays down until somebody notices."),
    "latest-tag": ("warning", "What runs depends on when it was pulled: no two hosts need to have the same, and there is no way back to what ran before."),
    "new-privileges": ("info", "A program with the set-user-ID bit in the image makes any process of the service root."),
    "writable-root": ("info", "Whoever gets in can leave programs in the container's file system."),
    "no-pids-limit": ("info", "A fork bomb in the service takes all process numbers of the host."),
    "no-cpu-limit": ("info", "One busy service slows all others down."),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Hardening:
    """One thing that a service should not have, or lacks. *lines* belong under the service in the Compose file."""

    rule: str
    title: str
    lines: tuple[str, ...]
    evidence: str = ""
    note: str = ""
    severity: str = ""

    @property
    def rank(self) -> str:
        """How bad it is."""
        return self.severity or RULES[self.rule][0]


def inspect_container(container: ContainerRef, process_uid: t.Optional[int] = None) -> list[Hardening]:
    """Return what is to be said of one container; *process_uid* is the user of its main process, where that is known."""
    host = container.inspect.get("HostConfig") or {}
    config = container.inspect.get("Config") or {}
    found = [
        *_isolation(host),
        *_mounts(container),
        *_capabilities(host),
        *_ports(container),
        *_user(container, config, process_uid),
        *_environment(container),
        *_debug(container),
        *_limits(host),
        *_logging(host),
        *_lifecycle(container),
    ]
    return sorted(found, key=lambda one: (("critical", "warning", "info").index(one.rank), list(RULES).index(one.rule)))


def _isolation(host: t.Mapping[str, t.Any]) -> t.Iterator[Hardening]:
    if host.get("Privileged"):
        yield Hardening("privileged", "runs privileged", ("privileged: false", "cap_add: []  # the one capability that it needs"))
    for mode, rule, option in (("PidMode", "host-pid", "pid"), ("NetworkMode", "host-network", "network_mode"), ("IpcMode", "host-ipc", "ipc")):
        if host.get(mode) == "host":
            fix = ("# remove network_mode: host", 'ports: ["127.0.0.1:PORT:PORT"]') if rule == "host-network" else (f"# remove {option}: host",)
            yield Hardening(rule, f"shares the host's {option.partition('_')[0]} name space", fix, f"{option}: host")
    options = [str(option).replace(":", "=") for option in host.get("SecurityOpt") or []]
    for option in options:
        if option.endswith("=unconfined") and not host.get("Privileged"):
            yield Hardening("unconfined", f"runs without its {option.partition('=')[0]} profile", (f"# remove security_opt: [{option}]",), option)
    if not any(option.startswith("no-new-privileges") and not option.endswith("false") for option in options):
        yield Hardening("new-privileges", "may gain privileges by set-user-ID programs", ("security_opt: [no-new-privileges:true]",))
    if not host.get("ReadonlyRootfs"):
        yield Hardening("writable-root", "has a writable root file system", ("read_only: true", "tmpfs: [/tmp]"))


def _mounts(container: ContainerRef) -> t.Iterator[Hardening]:
    for mount in container.mounts:
        source = str(mount["source"]).rstrip("/") or "/"
        if mount["type"] != "bind":
            continue
        shown = f"{source}:{mount['destination']}{':ro' if mount['read_only'] else ''}"
        if source.endswith(_ENGINE_SOCKETS):
            lines = (f"# remove the volume {shown}", "# or put a proxy between that lets single calls through")
            yield Hardening("engine-socket", "has the engine's socket", lines, shown)
        elif source in _HOST_PATHS:
            severity = "warning" if mount["read_only"] else "critical"
            yield Hardening("host-path", f"has {source} of the host", (f"# mount less than {shown}, and read-only",), shown, severity=severity)


def _capabilities(host: t.Mapping[str, t.Any]) -> t.Iterator[Hardening]:
    if host.get("Privileged"):
        return
    added = {str(name).upper().removeprefix("CAP_") for name in host.get("CapAdd") or []}
    for rule, names in (("capability-critical", added & _CRITICAL_CAPABILITIES), ("capability", added & _DANGEROUS_CAPABILITIES)):
        if names:
            shown = ", ".join(sorted(names))
            yield Hardening(rule, f"has the capability {shown}", (f"# remove {shown} from cap_add", "cap_drop: [ALL]"), shown)


def _ports(container: ContainerRef) -> t.Iterator[Hardening]:
    open_ports = {}
    for port in container.published_ports:
        behind = container.role in ("postgres", "cache") or port["container_port"] in SENSITIVE_PORTS
        if port["host_port"] and str(port["host_ip"] or "") in _WILDCARDS and behind and port["protocol"] == "tcp":
            open_ports[port["host_port"]] = port["container_port"]
    for outer, inner in sorted(open_ports.items()):
        yield Hardening(
            "database-published",
            f"publishes port {outer} at every address of the host",
            (f'ports: ["127.0.0.1:{outer}:{inner}"]  # or none: services reach it by its name',),
            f"{outer}:{inner}",
        )


def _user(container: ContainerRef, config: t.Mapping[str, t.Any], process_uid: t.Optional[int]) -> t.Iterator[Hardening]:
    declared = str(config.get("User") or "").partition(":")[0]
    # Many images start as root and give it up; what their main process is now says more than what was declared.
    as_root = declared in ("", "0", "root") if process_uid is None else process_uid == 0
    if as_root:
        evidence = "no user is declared" if not declared else f"user: {declared}"
        yield Hardening("root-user", "runs as root", ('user: "1000:1000"  # one that owns what it writes',), evidence if process_uid is None else "uid 0")


def _environment(container: ContainerRef) -> t.Iterator[Hardening]:
    names = []
    for name, value in container.env.items():
        named = is_secret_name(name) and not name.upper().endswith(("_FILE", "_PATH"))
        if value and (named or any(span.kind in ("url", "secret") for span in find_secrets(value))):
            names.append(name)
    if names:
        shown = ", ".join(sorted(names)[:6]) + (f" (+{len(names) - 6})" if len(names) > 6 else "")
        first = sorted(names)[0].lower()
        lines = (f"secrets: [{first}]", f"environment: {{{sorted(names)[0]}_FILE: /run/secrets/{first}}}  # where the image reads such files")
        note = f"and at the top level of the file:\nsecrets: {{{first}: {{file: ./secrets/{first}}}}}"
        yield Hardening("secret-in-environment", f"has secrets in its environment: {shown}", lines, shown, note)


def _debug(container: ContainerRef) -> t.Iterator[Hardening]:
    if container.role in ("postgres", "cache"):
        return
    names = sorted(name for name, value in container.env.items() if _DEBUG_NAME.match(name) and value.strip().lower() in _TRUE)
    words = [word for argument in container.command for word in argument.split()]
    flags = [flag for flag in _DEBUG_FLAGS if flag in words]
    if names or flags:
        shown = ", ".join([*names, *flags])
        lines = (*(f'environment: {{{name}: "false"}}' for name in names), *(f"# remove {flag} from command" for flag in flags))
        yield Hardening("debug-mode", f"runs in debug mode ({shown})", lines, shown)


def _limits(host: t.Mapping[str, t.Any]) -> t.Iterator[Hardening]:
    if not host.get("Memory"):
        yield Hardening("no-memory-limit", "has no memory limit", ("deploy: {resources: {limits: {memory: 512M}}}  # Compose v1: mem_limit: 512m",))
    if (host.get("PidsLimit") or 0) <= 0:
        yield Hardening("no-pids-limit", "has no limit of processes", ("pids_limit: 200",))
    if not host.get("NanoCpus") and not host.get("CpuQuota"):
        yield Hardening("no-cpu-limit", "has no processor limit", ('deploy: {resources: {limits: {cpus: "1.0"}}}  # Compose v1: cpus: 1.0',))


def _logging(host: t.Mapping[str, t.Any]) -> t.Iterator[Hardening]:
    log = host.get("LogConfig") or {}
    driver = str(log.get("Type") or "")
    needed = _ROTATION_OPTIONS.get(driver)
    if driver in _ROTATING_DRIVERS or not driver:
        return
    if needed is None or not (log.get("Config") or {}).get(needed):
        lines = ("logging:", "  driver: json-file", '  options: {max-size: "10m", max-file: "3"}')
        yield Hardening("no-log-rotation", f"logs by {driver} without rotation", lines, driver)


def _lifecycle(container: ContainerRef) -> t.Iterator[Hardening]:
    if not container.oneoff and container.restart_policy == "no" and runs_a_job(container.command) is not True:
        yield Hardening("no-restart-policy", "has no restart policy", ("restart: unless-stopped",))
    tag = floating_tag(container.image_reference, container.project, container.service)
    if tag:
        repository = container.image_reference.removesuffix(":latest")
        yield Hardening("latest-tag", f"runs {tag}", (f"image: {repository}:1.2.3  # a version, or a digest",), container.image_reference)


def floating_tag(reference: str, project: str, service: str) -> str:
    """Return what is to be said of an image's name that does not say which version it is; nothing where it does."""
    if "@" in reference or re.fullmatch(r"(?:sha256:)?[0-9a-f]{12,64}", reference):
        return ""
    name, colon, tag = reference.rpartition(":")
    if not colon or "/" in tag:
        # Compose calls what it builds by project and service; there is nothing to pull, and nothing to pin.
        return "" if reference in (f"{project}-{service}", f"{project}_{service}") else f"{reference} without a tag"
    built_here = name in (f"{project}-{service}", f"{project}_{service}")
    return reference if tag == "latest" and not built_here else ""


# -- all together ------------------------------------------------------------------------------------------------------


def uid_of_process(pid: int) -> t.Optional[int]:
    """Return the effective user of a process of this host as the host sees it; ``None`` where it cannot be seen."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            line = next((line for line in file if line.startswith("Uid:")), "")
        return int(line.split()[2])
    except (OSError, ValueError, IndexError):
        return None


def check_stacks(stacks: t.Sequence[Stack], ignore: IgnoreList, uid_of: t.Callable[[int], t.Optional[int]] = uid_of_process) -> Facts:
    """Return the envelope of ``container_hardening``: each finding once for a service, whichever of its replicas has it."""
    findings: dict[tuple[str, str, str, str], Facts] = {}
    ignored: list[Facts] = []
    services: set[tuple[str, str]] = set()
    for stack in stacks:
        for container in stack.containers:
            if container.oneoff:
                continue
            services.add((container.project, container.service))
            for found in inspect_container(container, uid_of(container.pid) if container.running and container.pid else None):
                key = (container.project, container.service, found.rule, found.evidence)
                if key in findings:
                    findings[key]["containers"].append(container.name)
                    continue
                row = _facts(container, found)
                entry = ignore.find(found.rule, [row["object"], container.service])
                if entry is None:
                    findings[key] = row
                else:
                    ignored.append({"id": found.rule, "object": row["object"], "reason": entry.reason, "expires": entry.expires.isoformat()})
    rows = list(findings.values())
    unique = [dict(pairs) for pairs in dict.fromkeys(tuple(one.items()) for one in ignored)]
    counts = {severity: sum(row["severity"] == severity for row in rows) for severity in ("critical", "warning", "info")}
    status = worst([row["severity"] for row in rows if row["severity"] != "info"])
    summary = f"{len(services)} services: " + (", ".join(f"{count} {severity}" for severity, count in counts.items() if count) or "nothing to harden")
    metrics = {f"findings_{severity}": metric(count) for severity, count in counts.items()}
    return envelope(status if services else "ok", summary if services else "no service of a stack", metrics, findings=rows, ignored=unique)


def _facts(container: ContainerRef, found: Hardening) -> Facts:
    lines = [f"{container.service}:", *(f"  {line}" for line in found.lines)]
    return {
        "rule": found.rule,
        "severity": found.rank,
        "object": f"{container.project}/{container.service}",
        "project": container.project,
        "service": container.service,
        "containers": [container.name],
        "title": f"{container.project}/{container.service} {found.title}",
        "reason": RULES[found.rule][1],
        "evidence": found.evidence,
        "compose": "\n".join(["services:", *(f"  {line}" for line in lines), *found.note.splitlines()]),
    }


def check_hardening(params: t.Mapping[str, t.Any]) -> Facts:
    """Return what the module ``container_hardening`` returns for its parameters.

    :raises CheckError: the ignore list is wrong; code ``bad-option``.
    """
    ignore = IgnoreList.parse(params.get("ignore") or ())
    try:
        engine = Engine.connect(EngineOptions.from_params(params))
        stacks = discover(engine, Selection.from_params(params))
    except CheckError as error:
        return {**envelope("unknown", f"not checked: {error.reason}", errors=[error], findings=[], ignored=[]), "ignore_expired": _expired(ignore)}
    # The processes of an engine elsewhere are not those of this host.
    facts = check_stacks(stacks, ignore, (lambda dummy: None) if engine.remote else uid_of_process)
    return {**facts, "ignore_expired": _expired(ignore)}


def _expired(ignore: IgnoreList) -> list[dict[str, str]]:
    return [entry.as_dict() for entry in ignore.expired]
