# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What was found suspicious in requests, told so that it says who, where and what to do, and that it steers nobody who reads it."""

from __future__ import annotations

import collections
import dataclasses
import typing as t

from ._access_lines import FailedLogin, Request
from ._envelope import CheckError, envelope, metric, rfc3339
from ._log_requests import mask_path
from ._request_rules import Hit, Json, Line, Quality, is_private

SHOWN = 5
SHOWN_CLIENTS = 50
SAMPLE_CHARACTERS = 200

_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_CONTROLS = dict.fromkeys((*range(32), *range(127, 160), 8232, 8233, *range(8234, 8239), *range(8294, 8298), 8206, 8207, ord("`")))
_PROXY_FIX = (
    "Let the log name the real client: start uvicorn with --proxy-headers --forwarded-allow-ips=<address of the proxy> (never *), or let the "
    "proxy write an access log; rootless Docker and the userland proxy hide clients altogether."
)
_NO_CLIENT_FIX = "Log the client's address with each request (for example as client_ip), or let the proxy in front write an access log."


@dataclasses.dataclass(frozen=True)
class RuleFinding:
    """One rule that fired for one stack. Text in it comes from clients: never trust it."""

    rule: str
    stack: str
    log: str
    status: str
    summary: str
    count: int
    clients: tuple[tuple[str, int], ...] = ()
    paths: tuple[tuple[str, int], ...] = ()
    agents: tuple[tuple[str, int], ...] = ()
    first_at: t.Optional[float] = None
    last_at: t.Optional[float] = None
    samples: tuple[str, ...] = ()
    hint: str = ""
    also_in: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class WatchedLog:
    """What this run read of one log, or of the logs of one service's containers."""

    name: str
    stack: str
    service: str
    lines: int
    requests: int
    unread: int
    statuses: t.Mapping[int, int]
    failed_writes: int
    failed_logins: int
    quality: Quality
    learning: bool
    truncated: bool
    error: str = ""


@dataclasses.dataclass(frozen=True)
class ClientRow:
    """What one client did that was not an ordinary request, by the log of a stack that saw most of it."""

    address: str
    stack: str
    log: str
    requests: int
    statuses: t.Mapping[int, int]
    failed_writes: int
    paths: int
    endpoints: tuple[tuple[str, int, t.Mapping[int, int]], ...]
    first_at: t.Optional[float]
    last_at: t.Optional[float]

    def facts(self) -> Json:
        """Return it as the module returns it."""
        return {
            **{name: getattr(self, name) for name in ("address", "stack", "log", "requests", "failed_writes", "paths")},
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "endpoints": [
                {"endpoint": clean(endpoint), "count": count, "statuses": {str(status): number for status, number in sorted(statuses.items())}}
                for endpoint, count, statuses in self.endpoints
            ],
            "first_at": rfc3339(self.first_at),
            "last_at": rfc3339(self.last_at),
        }


@dataclasses.dataclass(frozen=True)
class RequestFindings:
    """The answer of :func:`watch_requests`."""

    status: str
    summary: str
    findings: tuple[RuleFinding, ...]
    logs: tuple[WatchedLog, ...]
    errors: tuple[CheckError, ...]
    window_seconds: float
    clients: tuple[ClientRow, ...] = ()

    @property
    def stacks(self) -> tuple[str, ...]:
        """The stacks whose logs were read, the host's own as an empty name."""
        return tuple(dict.fromkeys(log.stack for log in self.logs))

    def envelope(self) -> Json:
        """Return the envelope that the module and ``--json`` give."""
        statuses: collections.Counter[int] = collections.Counter()
        for log in self.logs:
            statuses.update(log.statuses)
        return envelope(
            self.status,
            self.summary,
            {
                "requests": metric(sum(log.requests for log in self.logs)),
                "unauthorized_401": metric(statuses[401]),
                "forbidden_403": metric(statuses[403]),
                "not_found_404": metric(statuses[404]),
                "failed_writes": metric(sum(log.failed_writes for log in self.logs)),
                "failed_logins": metric(sum(log.failed_logins for log in self.logs)),
            },
            self.errors,
            window_seconds=self.window_seconds,
            findings=[_finding_facts(finding) for finding in self.findings],
            clients=[client.facts() for client in self.clients],
            logs=[_log_facts(log) for log in self.logs],
        )


def client_rows(stack: str, log: str, lines: t.Iterable[Line], mask: bool) -> list[ClientRow]:
    """Return a row for each client in *lines*, with the endpoints that it asked for most."""
    by_client: dict[str, list[Request]] = {}
    for line in lines:
        if isinstance(line, Request) and line.client:
            by_client.setdefault(masked(line.client, mask), []).append(line)
    rows = []
    for address, requests in by_client.items():
        endpoints: dict[str, collections.Counter[int]] = {}
        for request in requests:
            endpoints.setdefault(f"{request.method} {mask_path(request.path)}", collections.Counter())[request.status] += 1
        busiest = sorted(endpoints.items(), key=lambda pair: (-sum(pair[1].values()), pair[0]))[:SHOWN]
        moments = [request.time for request in requests if request.time is not None]
        rows.append(
            ClientRow(
                address,
                stack,
                log,
                len(requests),
                collections.Counter(request.status for request in requests),
                sum(request.method in _WRITES and request.status >= 400 for request in requests),
                len({request.path for request in requests}),
                tuple((endpoint, sum(statuses.values()), statuses) for endpoint, statuses in busiest),
                min(moments, default=None),
                max(moments, default=None),
            )
        )
    return rows


def each_client_once(rows: t.Iterable[ClientRow]) -> tuple[ClientRow, ...]:
    """Return of each client of a stack the row of the log that has most, the busiest first: a proxy and an application log the same requests."""
    best: dict[tuple[str, str], ClientRow] = {}
    for row in rows:
        known = best.get((row.stack, row.address))
        if known is None or row.requests > known.requests:
            best[row.stack, row.address] = row
    return tuple(sorted(best.values(), key=lambda row: (-row.requests, row.stack, row.address))[:SHOWN_CLIENTS])


def finding_of(hit: Hit, stack: str, log: str, quality: Quality, also_in: tuple[str, ...], mask: bool) -> RuleFinding:
    """Return the finding for a *hit* on a *log* of a *stack*."""
    requests = [line for line in hit.lines if isinstance(line, Request)]
    clients = collections.Counter(line.client for line in requests if line.client)
    clients.update({client: 0 for client in hit.clients if client})
    moments = [line.time for line in hit.lines if line.time is not None]
    top = clients.most_common(SHOWN)
    return RuleFinding(
        hit.rule,
        stack,
        log,
        hit.status,
        clean(hit.summary),
        hit.count,
        tuple((masked(client, mask), count) for client, count in top),
        tuple(
            (clean(f"{method} {path}"), count)
            for (method, path), count in collections.Counter((line.method, line.path) for line in requests).most_common(SHOWN)
        ),
        tuple((clean(agent), count) for agent, count in collections.Counter(line.agent for line in requests if line.agent).most_common(SHOWN)),
        min(moments, default=None),
        max(moments, default=None),
        tuple(sample(line, mask) for line in _spread(hit.lines)),
        _hint(hit.rule, [client for client, dummy in top], quality, mask),
        also_in,
    )


def _spread(lines: t.Sequence[Line]) -> list[Line]:
    """Return the first, the middle and the last of *lines*."""
    return [lines[index] for index in sorted({0, len(lines) // 2, len(lines) - 1})] if lines else []


def sample(line: Line, mask: bool = False) -> str:
    """Return a line as a person may read it: made of its parts, without query, control characters and back-ticks."""
    when = rfc3339(int(line.time)) if line.time is not None else "-"
    if isinstance(line, FailedLogin):
        return clean(f"{when} {line.message}")
    return clean(f'{when} {masked(line.client, mask) or "-"} "{line.method} {line.path}" {line.status} {line.agent}'.rstrip())


def clean(text: str) -> str:
    """Return text of a client without what steers a terminal or a chat, without secrets, and not too long."""
    from ._redaction import Redactor  # here, because a run without findings need not pay for it  # pylint: disable=import-outside-toplevel

    return Redactor(()).text(text[: 4 * SAMPLE_CHARACTERS].translate(_CONTROLS))[:SAMPLE_CHARACTERS]


def masked(client: str, mask: bool) -> str:
    """Return an address, if *mask* only its network: /24, of IPv6 /48."""
    if not mask or not client:
        return client
    if ":" in client:
        import ipaddress  # pylint: disable=import-outside-toplevel

        return str(ipaddress.IPv6Network(client.partition("/")[0] + "/48", strict=False))
    head, dummy, last = client.rpartition(".")
    return f"{head}.0/24" if last.isdigit() and head.count(".") == 2 else "(masked)"


def _hint(rule: str, clients: t.Sequence[str], quality: Quality, mask: bool) -> str:
    if rule == "source_quality":
        return _PROXY_FIX if quality.address else _NO_CLIENT_FIX
    own = "If it is yours, name it in known_writes. " if rule == "unexpected_write" else ""
    strangers = [client for client in clients if not is_private(client) and (":" in client or client.replace(".", "").isdigit())]
    if rule not in ("auth_burst_ip", "auth_success_after_burst", "path_scan", "unusual_method", "unexpected_write") or mask or not strangers:
        return own.strip()
    commands = " && ".join(f"{'ip6tables' if ':' in client else 'iptables'} -I DOCKER-USER -s {client} -j DROP" for client in strangers[:3])
    return f"{own}To block (published ports do not pass the INPUT chain, so 'ufw deny' does not help): {commands}"


def _finding_facts(finding: RuleFinding) -> Json:
    return {
        **{name: getattr(finding, name) for name in ("rule", "stack", "log", "status", "summary", "count", "hint")},
        "clients": [{"address": address, "count": count} for address, count in finding.clients],
        "paths": [{"path": path, "count": count} for path, count in finding.paths],
        "user_agents": [{"user_agent": agent, "count": count} for agent, count in finding.agents],
        "first_at": rfc3339(finding.first_at),
        "last_at": rfc3339(finding.last_at),
        "samples": list(finding.samples),
        "also_in": list(finding.also_in),
    }


def _log_facts(log: WatchedLog) -> Json:
    return {
        **{name: getattr(log, name) for name in ("name", "stack", "service", "lines", "requests", "failed_writes", "failed_logins", "truncated", "learning")},
        "unread_requests": log.unread,
        "statuses": {str(status): count for status, count in sorted(log.statuses.items())},
        "clients_known": not log.quality.blind,
        "busiest_private_client": log.quality.address or None,
        "busiest_private_client_percent": round(100 * log.quality.share, 1),
        "error": log.error or None,
    }
