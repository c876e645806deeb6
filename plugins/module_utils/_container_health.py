# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What a container's health check says, and why its last probe failed. Pure: reads an inspect answer."""

from __future__ import annotations

import re
import typing as t

from ._discovery import ContainerRef, engine_time
from ._envelope import rfc3339

_STATUSES = ("starting", "healthy", "unhealthy")
# What the engine uses where the check does not say; it keeps 0 for "not said".
_DEFAULT_SECONDS = {"Interval": 30.0, "Timeout": 30.0, "StartPeriod": 0.0}
_DEFAULT_RETRIES = 3
_OUTPUT_CHARACTERS = 2000

_HTTP_STATUS = re.compile(
    r"returned error: (\d{3})"  # curl
    r"|HTTP/[\d.]+\"? (\d{3})"  # curl -v, wget, BusyBox wget
    r"|HTTP Error (\d{3})"  # urllib
    r"|ERROR (\d{3}):"  # wget
    r"|(?:Server|Client) [Ee]rror '?(\d{3})|(\d{3}) (?:Server|Client) Error"  # httpx, requests
    r"|status(?:[ _]?code)?[\"']?\s?[:=]?\s?(\d{3})\b",
    re.IGNORECASE,
)
_PROBE_MISSING = re.compile(
    r"executable file not found|OCI runtime exec failed.*(?:no such file or directory|permission denied)"
    r"|\b(?:curl|wget|nc|ncat|python3?|pg_isready|redis-cli|bash|sh|node)\b: (?:command )?not found"
    r"|: not found\s*$|: No such file or directory\s*$",
    re.MULTILINE,
)
_NAME = re.compile(
    r"Could not resolve host|curl: \(6\)|bad address|unable to resolve host|could not translate host name"
    r"|Name or service not known|Temporary failure in name resolution|getaddrinfo|No address associated",
    re.IGNORECASE,
)
_REFUSED = re.compile(r"Connection refused|curl: \(7\)|Couldn't connect to server|ConnectionRefused|ECONNREFUSED|no response$", re.IGNORECASE | re.MULTILINE)
_TIMEOUT = re.compile(r"exceeded timeout|curl: \(28\)|timed out|TimeoutError|ReadTimeout|ConnectTimeout|Operation timeout", re.IGNORECASE)
_URL = re.compile(r"https?://[^\s\"'<>|;)]+")
_USERINFO = re.compile(r"(?<=://)[^/@\s]*@")

# Exit codes of a probe that is one program, as `CMD` runs it; in a shell they are often lost behind `|| exit 1`.
_CURL_EXITS = {6: "name-not-resolved", 7: "connection-refused", 22: "http-status", 28: "timeout"}
_WGET_EXITS = {8: "http-status"}


def health_of(container: ContainerRef) -> dict[str, t.Any]:
    """Return the ``health`` facts of *container*, as the facts schema has them."""
    state = container.inspect.get("State") or {}
    # Podman before version 4 had another name for it.
    health = state.get("Health") or state.get("Healthcheck") or {}
    declared = (container.inspect.get("Config") or {}).get("Healthcheck") or {}
    test = [str(word) for word in declared.get("Test") or []]
    disabled = test[:1] == ["NONE"] or not (test or health.get("Status"))
    probes = [probe for probe in health.get("Log") or [] if isinstance(probe, dict)]
    last = probes[-1] if probes else {}
    status = str(health.get("Status") or "").lower()
    output = str(last.get("Output") or "").strip()
    exit_code = last.get("ExitCode")
    failed = bool(probes) and exit_code != 0
    return {
        "status": "none" if disabled else (status if status in _STATUSES else "starting"),
        "stale": _is_stale(container, last),
        "failing_streak": int(health.get("FailingStreak") or 0),
        "test": [_USERINFO.sub("", word) for word in test],
        "interval_seconds": None if disabled else _seconds(declared, "Interval"),
        "timeout_seconds": None if disabled else _seconds(declared, "Timeout"),
        "retries": None if disabled else declared.get("Retries") or _DEFAULT_RETRIES,
        "start_period_seconds": None if disabled else _seconds(declared, "StartPeriod"),
        "last_exit_code": exit_code,
        "last_output": output[-_OUTPUT_CHARACTERS:] if probes else None,
        "last_probe_at": rfc3339(engine_time(last.get("End"))),
        "failure": probe_failure(test, exit_code, output) if failed else None,
        "http_status": http_status(output) if failed else None,
        "url": _url(test),
    }


def probe_failure(test: t.Sequence[str], exit_code: t.Optional[int], output: str) -> str:
    """Return why a probe failed: what it printed decides, then the exit code of a program that says it that way."""
    if exit_code == -1 and not _PROBE_MISSING.search(output):
        return "timeout"
    for failure, pattern in (
        ("probe-missing", _PROBE_MISSING),
        ("name-not-resolved", _NAME),
        ("connection-refused", _REFUSED),
        ("timeout", _TIMEOUT),
        ("http-status", _HTTP_STATUS),
    ):
        if pattern.search(output):
            return failure
    if exit_code in (126, 127):
        return "probe-missing"
    command = " ".join(test)
    exits = _CURL_EXITS if "curl" in command else _WGET_EXITS if "wget" in command else {}
    return exits.get(exit_code or 0, "command-failed")


def http_status(output: str) -> t.Optional[int]:
    """Return the HTTP status that a probe's output tells, or ``None``."""
    match = _HTTP_STATUS.search(output)
    code = next((int(group) for group in match.groups() if group), 0) if match else 0
    return code if 100 <= code <= 599 else None


def _url(test: t.Sequence[str]) -> t.Optional[str]:
    match = _URL.search(" ".join(test))
    return _USERINFO.sub("", match.group()) if match else None


def _is_stale(container: ContainerRef, last: t.Mapping[str, t.Any]) -> bool:
    """Whether the last probe belongs to an earlier life: the engine keeps its log when it starts a container again."""
    began = engine_time(last.get("Start"))
    return bool(began and container.started_at and began < container.started_at)


def _seconds(declared: t.Mapping[str, t.Any], name: str) -> float:
    nanoseconds = declared.get(name) or 0
    return nanoseconds / 1e9 if nanoseconds else _DEFAULT_SECONDS[name]
