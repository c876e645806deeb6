# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the checks of a host look at and how they judge, from the configuration that the role ``monitoring`` writes."""

from __future__ import annotations

import dataclasses
import re
import socket
import typing as t

from ._envelope import CheckError
from ._host_configuration import Spec, complete, read_options
from ._monitoring_types import Policy
from ._nagios import Limits

if t.TYPE_CHECKING:
    from ._discovery import Stack
    from ._engine import Engine

Json = dict[str, t.Any]

CONFIGURATION = "/etc/stackops/monitoring.json"
SCHEMA_VERSION = 1
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,40}")
_EVERY = re.compile(r"(?:\*|\d{1,2}-\d{1,2})/([1-9]\d?)")

_POLICY: Spec = {
    "interval_seconds": {"type": "float"},
    "fail_after": {"type": "int"},
    "recover_after": {"type": "int"},
    "unknown_after": {"type": "int"},
    "flap_failures": {"type": "int"},
    "flap_window": {"type": "int"},
    "repeat_seconds": {"type": "float"},
}
_COMMON: Spec = {
    "type": {"type": "str"},
    "enabled": {"type": "bool", "default": True},
    "schedule": {"type": "str"},
    "timeout_seconds": {"type": "float"},
    "thresholds": {"type": "dict", "default": {}},
    "channels": {"type": "list", "elements": "str"},
    "heartbeat_url": {"type": "str", "no_log": True},
    **_POLICY,
}
_SELECTION: Spec = {
    "stacks": {"type": "list", "elements": "dict", "default": []},
    "project_src": {"type": "path"},
    "project_name": {"type": "str"},
    "services": {"type": "list", "elements": "str", "default": []},
}
_ENGINE: Spec = {
    "docker_host": {"type": "str"},
    "tls": {"type": "bool", "default": False},
    "validate_certs": {"type": "bool", "default": False},
    "tls_hostname": {"type": "str"},
    "ca_path": {"type": "path"},
    "client_cert": {"type": "path"},
    "client_key": {"type": "path", "no_log": False},
    "api_version": {"type": "str"},
    "timeout": {"type": "int", "default": 10},
}
_TOP: Spec = {
    "host": {"type": "str"},
    "group": {"type": "str", "default": ""},
    **_SELECTION,
    **_ENGINE,
    "endpoints": {"type": "list", "elements": "dict", "default": [], "no_log": True},
    "log_paths": {"type": "list", "elements": "str", "default": []},
    "postgres": {"type": "list", "elements": "dict", "default": [], "no_log": True},
    "checks": {"type": "dict", "default": {}},
    "channels": {"type": "list", "elements": "dict", "default": [], "no_log": True},
    "cleanup": {"type": "dict", "default": {}},
    "heartbeat_url": {"type": "str", "no_log": True},
    "textfile_directory": {"type": "path"},
    "delay_seconds": {"type": "float", "default": 0},
}

#: What each type of check takes beside the common options.
_TYPES: dict[str, Spec] = {
    "health": {"endpoints": {"type": "bool", "default": True}, "request_timeout_seconds": {"type": "float", "default": 5}},
    "http": {"endpoints": {"type": "list", "elements": "dict", "required": True}, "request_timeout_seconds": {"type": "float", "default": 5}},
    "errors": {
        "window_seconds": {"type": "float", "default": 300},
        "level": {"type": "str", "choices": ["warning", "error", "critical"], "default": "error"},
        "paths": {"type": "list", "elements": "str", "default": []},
        "minimum_requests": {"type": "int", "default": 20},
    },
    "auth": {
        "window_seconds": {"type": "float", "default": 300},
        "paths": {"type": "list", "elements": "str", "default": []},
        "watch": {"type": "dict", "default": {}},
    },
    "resources": {"containers": {"type": "bool", "default": True}},
    "database": {},
    "backup": {"root": {"type": "path", "default": "/var/backups/stackops"}, "projects": {"type": "list", "elements": "str", "default": []}},
    "command": {"argv": {"type": "list", "elements": "str", "required": True}},
}
#: What a type of check does where nothing else is said. The guide's schedule and thresholds, where it has some.
_DEFAULTS: dict[str, Json] = {
    "health": {"schedule": "* * * * *"},
    "http": {"schedule": "* * * * *"},
    "errors": {"schedule": "*/5 * * * *", "fail_after": 1, "recover_after": 1, "unknown_after": 3},
    "auth": {"schedule": "*/5 * * * *", "fail_after": 1, "recover_after": 1, "unknown_after": 3},
    "resources": {"schedule": "*/5 * * * *", "fail_after": 2, "unknown_after": 3},
    "database": {"schedule": "*/5 * * * *", "fail_after": 2, "unknown_after": 3},
    "backup": {"schedule": "0 6 * * *", "fail_after": 1, "recover_after": 1, "unknown_after": 1, "repeat_seconds": 86400.0},
    "command": {"schedule": "*/5 * * * *", "fail_after": 2, "unknown_after": 3},
}
_THRESHOLDS: dict[str, Json] = {
    "health": {"response_time_seconds": {"warning": "1", "critical": "3"}, "first_byte_seconds": {"warning": "1", "critical": "3"}},
    "http": {"response_time_seconds": {"warning": "1", "critical": "3"}, "first_byte_seconds": {"warning": "1", "critical": "3"}},
    "errors": {"errors": {"warning": "10"}, "server_errors_percent": {"warning": "5", "critical": "10"}},
    "auth": {"failed_logins": {"warning": "50", "critical": "500"}},
    "resources": {
        "memory_used_percent": {"warning": "90", "critical": "97"},
        "swap_used_percent": {"warning": "80"},
        "load_per_cpu": {"warning": "8"},
        "disk_used_percent": {"warning": "85", "critical": "95"},
        "inodes_used_percent": {"warning": "85", "critical": "95"},
        "container_memory_percent": {"warning": "80", "critical": "95"},
    },
    "database": {"connections_used_percent": {"warning": "80", "critical": "95"}},
    "backup": {"age_seconds": {"warning": "93600", "critical": "180000"}, "verified_age_seconds": {"warning": "777600"}},
    "command": {},
}
#: Of a check with several numbers, the one that ``--warning`` and ``--critical`` mean without a name.
PRINCIPAL = {
    "health": "response_time_seconds",
    "http": "response_time_seconds",
    "errors": "errors",
    "auth": "failed_logins",
    "resources": "disk_used_percent",
    "database": "connections_used_percent",
    "backup": "age_seconds",
}
#: The checks that are there without any configuration.
STANDARD_CHECKS = ("health", "errors", "auth", "resources", "database", "backup")
_TIMEOUT_SECONDS = 40.0


@dataclasses.dataclass(frozen=True)
class CheckSetting:
    """One check: what it looks at (*options*, those of its type), and how it judges and alerts."""

    name: str
    type: str
    policy: Policy
    schedule: str
    timeout_seconds: float
    thresholds: t.Mapping[str, Limits]
    options: t.Mapping[str, t.Any]
    channels: t.Optional[tuple[str, ...]] = None
    heartbeat_url: t.Optional[str] = dataclasses.field(default=None, repr=False)

    def verdict(self, metrics: t.Mapping[str, t.Optional[float]]) -> dict[str, str]:
        """Return the status of each of *metrics* that has limits and is known."""
        return {name: self.thresholds[name].verdict(value) for name, value in metrics.items() if name in self.thresholds and value is not None}


@dataclasses.dataclass(frozen=True)
class Monitoring:
    """The configuration of a host. Without a file: everything that is found, and nobody to tell."""

    host: str
    group: str
    checks: t.Mapping[str, CheckSetting]
    params: t.Mapping[str, t.Any] = dataclasses.field(repr=False)
    disabled: frozenset[str] = frozenset()

    def discover(self) -> tuple[Engine, list[Stack]]:
        """Return the engine and the stacks that are watched.

        :raises CheckError: the engine does not answer, or a project that is named is not there.
        """
        from ._discovery import Selection, discover  # pylint: disable=import-outside-toplevel  # not every check asks the engine
        from ._engine import Engine as DockerEngine  # pylint: disable=import-outside-toplevel
        from ._engine import EngineOptions  # pylint: disable=import-outside-toplevel

        engine = DockerEngine.connect(EngineOptions.from_params(self.params))
        selections = [Selection.from_params(stack) for stack in self.params["stacks"]] or [Selection.from_params(self.params)]
        return engine, list({stack.name: stack for selection in selections for stack in discover(engine, selection)}.values())

    def setting(self, name: str) -> CheckSetting:
        """Return the check called *name*.

        :raises CheckError: there is none.
        """
        if name in self.disabled:
            raise CheckError(name, "it is disabled in monitoring_checks", f"There are: {', '.join(self.checks)}.", "invalid-option")
        if name not in self.checks:
            raise CheckError(name, "there is no such check", f"There are: {', '.join(self.checks)}.", "invalid-option")
        return self.checks[name]


def read_monitoring(path: t.Optional[str] = None) -> Monitoring:
    """Return the configuration at *path*; that of a host without one where *path* is not given and nothing is there.

    :raises CheckError: it cannot be read, others may read it, or it says what there is not.
    """
    source = path or CONFIGURATION
    try:
        options = read_options(source, SCHEMA_VERSION, "monitoring")
    except CheckError as error:
        if path is None and error.code == "not-found":
            return parse_monitoring({}, source)
        raise
    return parse_monitoring(options, source)


def parse_monitoring(options: t.Mapping[str, t.Any], source: str) -> Monitoring:
    """Return the configuration that *options* say.

    :raises CheckError: they say what there is not; the text names the option.
    """
    params = complete(options, _TOP, source)
    given: Json = {**{name: {} for name in STANDARD_CHECKS}, **params["checks"]}
    settings = {name: check_setting(name, one, f"{source}: checks.{name}") for name, one in given.items()}
    disabled = frozenset(name for name, one in given.items() if not (one or {}).get("enabled", True))
    checks = {name: setting for name, setting in settings.items() if name not in disabled}
    return Monitoring(params["host"] or socket.gethostname(), params["group"], checks, params, disabled)


def check_setting(name: str, given: t.Optional[t.Mapping[str, t.Any]], source: str) -> CheckSetting:
    """Return one check. Its type is its name where that is one.

    :raises CheckError: as :func:`parse_monitoring`.
    """
    if not _NAME.fullmatch(name) or name == "all":
        raise CheckError(source, f"{name!r} is no name of a check", "Use small letters, digits, '_' and '-'; all means all of them.", "invalid-option")
    kind = (given or {}).get("type") or name
    if kind not in _TYPES:
        raise CheckError(source, f"its type is {kind!r}", f"Set type to one of: {', '.join(sorted(_TYPES))}.", "invalid-option")
    options = complete({**_DEFAULTS[kind], **(given or {})}, {**_COMMON, **_TYPES[kind]}, source)
    if options["interval_seconds"] is None:
        options["interval_seconds"] = interval_of(options["schedule"])
    policy = Policy(**{field: options[field] for field in _POLICY if options[field] is not None})
    if min(policy.fail_after, policy.recover_after, policy.unknown_after, policy.flap_failures) < 1 or policy.flap_window < policy.flap_failures:
        raise CheckError(source, "numbers of runs are 1 at least, and flap_window no smaller than flap_failures", "", "invalid-option")
    unknown = sorted(set(options["thresholds"]) - set(_THRESHOLDS[kind]))
    if unknown and kind != "command":
        raise CheckError(source, f"it has no number {unknown[0]!r}", f"There are: {', '.join(sorted(_THRESHOLDS[kind]))}.", "invalid-option")
    limits = {**_THRESHOLDS[kind], **options["thresholds"]}
    thresholds = {metric: Limits.parse(_mapping(limit, f"{source}: {metric}"), f"{source}: thresholds.{metric}") for metric, limit in limits.items()}
    own = {option: options[option] for option in _TYPES[kind]}
    channels = None if options["channels"] is None else tuple(options["channels"])
    limit = float(options["timeout_seconds"] or _TIMEOUT_SECONDS)
    return CheckSetting(name, kind, policy, options["schedule"], limit, thresholds, own, channels, options["heartbeat_url"])


def interval_of(schedule: str) -> float:
    """Return how many seconds lie between two runs of a cron schedule, at most a day: what is rarer is taken for daily."""
    minute, hour, *rest = ([*schedule.split(), "*", "*", "*", "*", "*"])[:5]
    if schedule == "@hourly":
        return 3600.0
    if rest != ["*", "*", "*"] or schedule.startswith("@"):
        return 86400.0
    every_minutes, every_hours = _EVERY.fullmatch(minute), _EVERY.fullmatch(hour)
    if hour == "*":
        return 60.0 if minute == "*" else 60.0 * int(every_minutes[1]) if every_minutes else 3600.0 / len(minute.split(","))
    return 3600.0 * int(every_hours[1]) if every_hours else 86400.0 / len(hour.split(","))


def with_thresholds(setting: CheckSetting, warning: t.Sequence[str], critical: t.Sequence[str]) -> CheckSetting:
    """Return *setting* with the ranges of a command line, each ``RANGE`` or ``METRIC=RANGE``.

    :raises CheckError: one is no range, or there is no such number.
    """
    thresholds: dict[str, Json] = {}
    for severity, texts in (("warning", warning), ("critical", critical)):
        for text in texts:
            name, separator, value = text.rpartition("=")
            metric = name if separator else PRINCIPAL.get(setting.type, "")
            if metric not in setting.thresholds:
                known = ", ".join(sorted(setting.thresholds)) or "none"
                raise CheckError(f"--{severity}", f"{setting.name} has no number {metric!r} with thresholds", f"There are: {known}.", "invalid-option")
            thresholds.setdefault(metric, {})[severity] = value
    changed = {metric: dataclasses.replace(setting.thresholds[metric], **_ranges(limits, metric)) for metric, limits in thresholds.items()}
    return dataclasses.replace(setting, thresholds={**setting.thresholds, **changed})


def _ranges(limits: Json, metric: str) -> dict[str, t.Any]:
    parsed = Limits.parse(limits, metric)
    return {severity: getattr(parsed, severity) for severity in limits}


def _mapping(value: t.Any, source: str) -> t.Mapping[str, t.Any]:
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        return {"warning": value}
    if not isinstance(value, dict):
        raise CheckError(source, f"{value!r} are no thresholds", "Write {warning: 10, critical: 20}.", "invalid-option")
    return value
