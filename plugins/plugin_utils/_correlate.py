# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Which of a host's findings are causes, and which are only what follows from them.

A rule says what it explains (``suppresses``), and where: on the same object, service, stack or host, or on services
that depend on its own. Who depends on whom is read from the facts: what the Compose file declares, the links that
were tried, and the databases that applications are configured for. Two findings that nothing connects stay two.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import typing as t

from ._conditions import ConditionError, is_true
from ._rules import CATEGORIES, CONFIDENCES, SEVERITIES, Rule, Suppression

Service = tuple[str, str]
Finding = dict[str, t.Any]


@dataclasses.dataclass
class Candidate:
    """A finding that fired, with what correlation needs of it: its rule, its services and the values of its rule."""

    finding: Finding
    rule: Rule
    services: frozenset[Service]
    context: dict[str, t.Any]


class ServiceGraph:
    """Services by what they need, for one host."""

    def __init__(self, facts: t.Mapping[str, t.Any]) -> None:
        self._needed_by: dict[Service, set[Service]] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._read(facts)

    def _read(self, facts: t.Mapping[str, t.Any]) -> None:
        containers = _mappings(facts, "compose", "containers")
        for container in containers:
            self._name(container)
        for declared in _mappings(facts, "compose", "projects"):
            for service in _mappings(declared, "services"):
                self._declared(declared.get("name"), service.get("name"), service)
        for container in containers:
            project, name = container.get("project"), container.get("service")
            self._declared(project, name, container)
            for url in _mappings(container, "database_urls"):
                self._edge(project, name, self._names.get((_text(project), _text(url.get("host")))))
        for link in _mappings(facts, "links", "links"):
            self._edge(link.get("project"), link.get("from_service"), link.get("to_service"))
        for login in _mappings(facts, "database_logins", "logins"):
            self._edge(login.get("project"), login.get("service"), login.get("target_service"))

    def _name(self, container: t.Mapping[str, t.Any]) -> None:
        """Remember every name under which other containers of the project reach this one."""
        project, service = _text(container.get("project")), _text(container.get("service"))
        names = [service, container.get("name")]
        for network in _mappings(container, "networks"):
            aliases = network.get("aliases")
            names.extend(aliases if isinstance(aliases, list) else [])
        for name in names:
            if _text(name):
                self._names.setdefault((project, _text(name)), service)

    def _declared(self, project: t.Any, service: t.Any, owner: t.Mapping[str, t.Any]) -> None:
        for dependency in _mappings(owner, "depends_on"):
            self._edge(project, service, dependency.get("service"))

    def _edge(self, project: t.Any, service: t.Any, needed: t.Any) -> None:
        if all(_text(value) for value in (project, service, needed)) and service != needed:
            self._needed_by.setdefault((project, needed), set()).add((project, service))

    def dependants(self, services: t.Iterable[Service]) -> frozenset[Service]:
        """Return every service that needs one of *services*, directly or through others; without *services* themselves."""
        start = set(services)
        found: set[Service] = set()
        waiting = list(start)
        while waiting:
            for service in self._needed_by.get(waiting.pop(), ()):
                if service not in found:
                    found.add(service)
                    waiting.append(service)
        return frozenset(found - start)


def _text(value: t.Any) -> str:
    return value if isinstance(value, str) else ""


def _mappings(value: t.Any, *keys: str) -> list[dict[str, t.Any]]:
    """Return the mappings in the list at *keys* of *value*: what has another shape than the schema says is left out."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return [element for element in value if isinstance(element, dict)] if isinstance(value, list) else []


def _explains(cause: Candidate, effect: Candidate, suppression: Suppression, dependants: frozenset[Service]) -> bool:
    if not fnmatch.fnmatchcase(effect.rule.id, suppression.rule):
        return False
    if not any(_is_where(where, cause, effect, dependants) for where in suppression.where):
        return False
    if suppression.when is None:
        return True
    try:
        return is_true(suppression.when({**cause.context, "cause": cause.finding, "effect": effect.finding}))
    except ConditionError:
        return False


def _is_where(where: str, cause: Candidate, effect: Candidate, dependants: frozenset[Service]) -> bool:
    if where == "same-host":
        return True
    if where == "same-object":
        return bool(cause.finding["object"] == effect.finding["object"])
    if where == "same-service":
        return bool(cause.services & effect.services)
    if where == "dependants":
        return bool(dependants & effect.services)
    return bool({project for project, dummy in cause.services} & {project for project, dummy in effect.services})


def _weight(finding: Finding) -> tuple[int, int, int]:
    """Return the sort key of one finding by itself: severity, confidence, category; the first is the worst."""
    return (-SEVERITIES.index(finding["severity"]), -CONFIDENCES.index(finding["confidence"]), CATEGORIES.index(finding["category"]))


def correlate(candidates: t.Sequence[Candidate], facts: t.Mapping[str, t.Any]) -> list[Finding]:
    """Return the findings in the order an operator should read them, with ``effects`` and ``effect_of`` filled in.

    A cause is as severe as the worst of what it explains, unless it is only for information (something is starting).
    Causes come first: the most severe, then those that explain most, then the surest. Effects follow.
    """
    reach = _reach(candidates, _edges(candidates, facts))
    explained: dict[int, list[int]] = {}
    roots = [number for number in range(len(candidates)) if not any(number in reached for reached in reach)]
    for root in roots:
        for effect in reach[root]:
            explained.setdefault(effect, []).append(root)
    for root in roots:
        effects = sorted(reach[root], key=lambda number: _weight(candidates[number].finding))
        candidates[root].finding["effects"] = [candidates[number].finding["id"] for number in effects]
    for effect, causes in explained.items():
        candidates[effect].finding["effect_of"] = [candidates[number].finding["id"] for number in sorted(causes)]

    own = [_weight(candidate.finding)[0] for candidate in candidates]
    for root in roots:
        worst = min(own[number] for number in (root, *reach[root]))
        if own[root]:
            candidates[root].finding["severity"] = SEVERITIES[-worst]

    def order(number: int) -> tuple[t.Any, ...]:
        finding = candidates[number].finding
        severity, confidence, category = _weight(finding)
        return (number in explained, severity, -len(reach[number]), own[number], confidence, category, finding["since"], finding["rule"], finding["object"])

    return [candidates[number].finding for number in sorted(range(len(candidates)), key=order)]


def _edges(candidates: t.Sequence[Candidate], facts: t.Mapping[str, t.Any]) -> list[tuple[int, int]]:
    if len(candidates) < 2:
        return []
    graph = ServiceGraph(facts)
    edges = []
    for number, cause in enumerate(candidates):
        if not cause.rule.suppresses:
            continue
        dependants = graph.dependants(cause.services)
        for other, effect in enumerate(candidates):
            if other != number and any(_explains(cause, effect, suppression, dependants) for suppression in cause.rule.suppresses):
                edges.append((number, other))
    return edges


def _reach(candidates: t.Sequence[Candidate], edges: t.Sequence[tuple[int, int]]) -> list[set[int]]:
    """Return for each finding all that follows from it.

    Where findings explain each other in a circle, the worst and surest of them keeps its say: edges are taken in that
    order, and one that would close a circle is left out.
    """
    reach: list[set[int]] = [set() for dummy in candidates]
    for cause, effect in sorted(edges, key=lambda edge: (_weight(candidates[edge[0]].finding), edge)):
        if cause in reach[effect]:
            continue
        gained = {effect} | reach[effect]
        for number, reached in enumerate(reach):
            if number == cause or cause in reached:
                reached |= gained
    return reach
