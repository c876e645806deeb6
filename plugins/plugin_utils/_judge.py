# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Judging one host: its facts in, findings out.

What is missing is never fine: a rule over facts that are not there answers ``unknown``, and what could not be read is
told once for each reason, not once for each rule. A rule that fails on the facts answers ``error`` and stops nothing.
"""

from __future__ import annotations

import dataclasses
import datetime
import fnmatch
import hashlib
import json
import os
import re
import shlex
import typing as t

from ..module_utils._envelope import rfc3339, utc_now
from ._conditions import ConditionError, Expression, is_true, parse_time
from ._correlate import Candidate, Finding, Service, correlate
from ._rules import CONFIDENCES, EXPECTATIONS, SEVERITIES, Rule, RuleSet, RuleTest
from ._text import LANGUAGES, MissingValue, Template, harmless

RESULTS: tuple[str, ...] = ("fire", "pass", "unknown", "error", "silenced")

_MAXIMUM_HITS = 200
#: A list in a list in a list of a host's facts; what goes beyond has gone over the same list again and again.
_MAXIMUM_ITEMS = 50_000
_MAXIMUM_TEXT = 500
_MAXIMUM_ELEMENTS = 10
_MAXIMUM_DEPTH = 4

_CATEGORY_OF_COLLECTOR: t.Mapping[str, str] = {
    "engine": "host", "host": "host", "http": "health", "requests": "logs", "logs": "logs", "postgres": "postgres", "database_logins": "postgres",
    "pools": "postgres",
    "migrations": "migrations", "links": "network", "ports": "network",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Options:
    """How to judge and tell. Built from the role's variables by :meth:`of`."""

    language: str = "en"
    thresholds: t.Mapping[str, t.Mapping[str, float]] = dataclasses.field(default_factory=dict)
    silences: tuple[Silence, ...] = ()
    now: str = ""
    collection_version: str = ""

    @classmethod
    def of(cls, options: t.Union[Options, t.Mapping[str, t.Any], None]) -> Options:
        """Return *options*; as a mapping they are ``language, thresholds, silences, now`` (RFC 3339), ``collection_version``.

        :raises SilenceError: a silence is not well formed.
        """
        if isinstance(options, Options):
            return options
        values = dict(options or {})
        return cls(
            language=str(values["language"]) if values.get("language") in LANGUAGES else "en",
            thresholds=values.get("thresholds") or {},
            silences=tuple(Silence.of(entry) for entry in values.get("silences") or ()),
            now=values.get("now") or rfc3339(utc_now().replace(microsecond=0)) or "",
            collection_version=values.get("collection_version") or "",
        )


class SilenceError(ValueError):
    """An entry of ``diagnose_silences`` that cannot be used; the message says which and what it lacks."""


@dataclasses.dataclass(frozen=True)
class Silence:
    """What is known and accepted: globs of *rule*, *object* and *host*, the *reason*, and until when (``None``: for ever)."""

    rule: str
    object: str
    host: str
    reason: str
    expires: t.Optional[datetime.datetime]

    @classmethod
    def of(cls, entry: t.Any) -> Silence:
        """Return the silence of one entry of ``diagnose_silences``.

        :raises SilenceError: it has unknown keys, or lacks a rule, a reason or a readable ``expires``.
        """
        if isinstance(entry, Silence):
            return entry
        shown = json.dumps(entry, default=str)[:200]
        if not isinstance(entry, dict):
            raise SilenceError(f"silence {shown}: expected a mapping with rule, object, host, reason and expires")
        unknown = sorted(set(entry) - {"rule", "object", "host", "reason", "expires"})
        if unknown:
            raise SilenceError(f"silence {shown}: unknown key {unknown[0]}")
        for key in ("rule", "reason", "expires"):
            if not entry.get(key):
                raise SilenceError(f"silence {shown}: {key} is missing" + (" (a date, a time, or 'never')" if key == "expires" else ""))
        expires = None if entry["expires"] == "never" else parse_time(str(entry["expires"]))
        if expires is None and entry["expires"] != "never":
            raise SilenceError(f"silence {shown}: expires must be a date (2026-12-31), an RFC 3339 time, or 'never'")
        return cls(str(entry["rule"]), str(entry.get("object") or "*"), str(entry.get("host") or "*"), str(entry["reason"]), expires)

    def covers(self, host: str, finding: Finding) -> bool:
        """Return whether this is about *finding* of *host*, expired or not."""
        return fnmatch.fnmatchcase(finding["rule"], self.rule) and fnmatch.fnmatchcase(finding["object"], self.object) and fnmatch.fnmatchcase(host, self.host)

    def expired(self, now: str) -> bool:
        """Return whether it no longer holds at *now*."""
        moment = parse_time(now)
        return self.expires is not None and moment is not None and moment >= self.expires

    def as_dict(self) -> dict[str, t.Any]:
        """Return the silence as the report shows it."""
        return {"rule": self.rule, "object": self.object, "host": self.host, "reason": self.reason, "expires": rfc3339(self.expires) or "never"}


@dataclasses.dataclass
class Outcome:
    """What one rule says about one host: its *result*, the contexts in which it fired, and what it lacked."""

    result: str
    hits: list[dict[str, t.Any]] = dataclasses.field(default_factory=list)
    lacking: tuple[str, ...] = ()
    error: str = ""


def evaluate(rule: Rule, context: dict[str, t.Any], memo: t.Optional[dict[str, t.Any]] = None) -> Outcome:
    """Return what *rule* says in *context* (``facts``, ``host``, ``thresholds``, or ``fleet``). Never raises.

    *memo* keeps what expressions over all facts gave: many rules go over the same containers.
    """
    try:
        items = _items(rule, context, {} if memo is None else memo)
    except ConditionError as error:
        return Outcome("error", error=str(error))
    if not items:
        unread = items is None or _is_unread(context.get("facts") or {}, rule)
        return Outcome("unknown", lacking=rule.collectors) if unread else Outcome("pass")
    hits: list[dict[str, t.Any]] = []
    unknown = False
    error_text = ""
    for item in items:
        try:
            if _lacks(rule, item):
                unknown = True
            elif is_true(rule.when(item)) and len(hits) < _MAXIMUM_HITS:
                hits.append(item)
        except ConditionError as error:
            error_text = error_text or str(error)
    if hits:
        return Outcome("fire", hits, error=error_text)
    if error_text:
        return Outcome("error", error=error_text)
    return Outcome("unknown", lacking=rule.collectors) if unknown else Outcome("pass")


def _is_unread(collectors: t.Mapping[str, t.Any], rule: Rule) -> bool:
    """Return whether that a rule finds nothing means nothing: its collector is missing, or has errors and not one element."""
    if not rule.collectors:
        return False
    envelope = collectors.get(rule.collectors[0])
    if envelope is None:
        return True
    base: t.Any = collectors
    for name in rule.base:
        base = base.get(name) if isinstance(base, dict) else None
    return envelope.get("status") == "unknown" and bool(envelope.get("errors")) and not base


def _lacks(rule: Rule, context: dict[str, t.Any]) -> bool:
    return any(required(context) is None for required in rule.requires)


def _items(rule: Rule, context: dict[str, t.Any], memo: dict[str, t.Any]) -> t.Optional[list[dict[str, t.Any]]]:
    """Return one context for each item of the rule; ``None`` where the facts have no such list at all."""
    contexts = [context]
    for expression in rule.for_each:
        inner: list[dict[str, t.Any]] = []
        absent = True
        for outer in contexts:
            if outer is context and expression.shared:
                if expression.text not in memo:
                    memo[expression.text] = expression(outer)
                items = memo[expression.text]
            else:
                items = expression(outer)
            if isinstance(items, list):
                absent = False
                parent = outer.get("item")
                inner.extend([{**outer, "item": item, "parent": parent} for item in items if item is not None])
                if len(inner) > _MAXIMUM_ITEMS:
                    raise ConditionError(f"the rule goes over more than {_MAXIMUM_ITEMS} items")
        if absent:
            return None
        contexts = inner
        if not contexts:
            return []
    return contexts


# -- findings -------------------------------------------------------------------------------------------------------


class Commands:
    """Command prefixes that work on one host as they are: the Compose command of a project, psql of an instance."""

    _DEFAULT_FILES = frozenset(f"{stem}{part}.{suffix}" for stem in ("compose", "docker-compose") for part in ("", ".override") for suffix in ("yml", "yaml"))

    def __init__(self, facts: t.Mapping[str, t.Any]) -> None:
        self._facts = facts

    def _project(self, name: str) -> dict[str, t.Any]:
        projects = (self._facts.get("compose") or {}).get("projects") or ()
        return next((project for project in projects if project.get("name") == name), {})

    def compose(self, project: t.Optional[str], with_files: bool) -> t.Optional[str]:
        """Return the Compose command for *project*; *with_files* in its directory, as ``up`` and ``run`` need it."""
        if not project:
            return None
        details = self._project(project)
        argv = list((self._facts.get("engine") or {}).get("compose_command") or ()) or _usual_compose(details.get("flavour"))
        prefix = shlex.join([*argv, "-p", project])
        # Version 2 finds the containers of a project by its name; version 1 and podman-compose read the file every time.
        if not with_files and argv[-1] == "compose":
            return prefix
        directory = details.get("working_dir")
        files = [path for path in details.get("config_files") or () if os.path.basename(path) not in self._DEFAULT_FILES or os.path.dirname(path) != directory]
        if files:
            prefix = shlex.join([*argv, "-p", project, *(part for path in details["config_files"] for part in ("-f", path))])
        return f"cd {shlex.quote(directory)} && {prefix}" if directory else prefix

    def psql(self, *candidates: t.Any) -> t.Optional[str]:
        """Return the psql command of the first of *candidates* that is, or points to, a PostgreSQL instance."""
        for candidate in candidates:
            if isinstance(candidate, dict):
                instance = candidate if "statements" in candidate or "reachable" in candidate else self._target(candidate)
                if instance is not None:
                    return self._psql(instance)
        return None

    def _target(self, candidate: t.Mapping[str, t.Any]) -> t.Optional[dict[str, t.Any]]:
        wanted = candidate.get("target_service") or candidate.get("service")
        instances = [one for one in (self._facts.get("postgres") or {}).get("instances") or () if one.get("project") == candidate.get("project")]
        named = [instance for instance in instances if instance.get("service") == wanted]
        # A service that is no database itself means the one of its project, where there is just one.
        return named[0] if named else instances[0] if len(instances) == 1 else None

    def _psql(self, instance: t.Mapping[str, t.Any]) -> t.Optional[str]:
        login = ["psql", "-U", instance.get("user") or "postgres", "-d", instance.get("database") or "postgres"]
        if instance.get("project") and instance.get("service"):
            compose = self.compose(instance["project"], with_files=False)
            return f"{compose} exec {shlex.join([instance['service'], *login])}"
        host, dummy, port = str(instance.get("name") or "").rpartition(":")
        return shlex.join([*login, "-h", host, "-p", port]) if host else shlex.join(login)


def _usual_compose(flavour: t.Optional[str]) -> list[str]:
    return {"compose-v1": ["docker-compose"], "podman-compose": ["podman-compose"]}.get(flavour or "", ["docker", "compose"])


def finding_id(host: str, rule: str, item: str) -> str:
    """Return the id that a finding keeps from run to run."""
    return hashlib.sha256("\0".join((host, rule, item)).encode("utf-8", "replace")).hexdigest()[:16]


def bounded(value: t.Any, depth: int = 0) -> t.Any:
    """Return evidence without control characters, with long texts and lists cut."""
    if isinstance(value, str):
        return harmless(value, _MAXIMUM_TEXT)
    if isinstance(value, list):
        return [bounded(element, depth + 1) for element in value[:_MAXIMUM_ELEMENTS]] if depth < _MAXIMUM_DEPTH else []
    if isinstance(value, dict):
        known = [(harmless(str(key), 100), below) for key, below in value.items() if below is not None][:_MAXIMUM_ELEMENTS]
        return {key: bounded(below, depth + 1) for key, below in known} if depth < _MAXIMUM_DEPTH else {}
    return value


def _services(rule: Rule, context: dict[str, t.Any], item_name: str) -> frozenset[Service]:
    """Return the services that a finding is about: what the rule's subject says, or the item's own project and service."""
    subject = rule.subject(context) if rule.subject is not None else None
    found: set[Service] = set()
    for entry in subject if isinstance(subject, list) else [subject]:
        if isinstance(entry, dict) and entry.get("project") and isinstance(entry.get("service"), str):
            found.add((entry["project"], entry["service"]))
        elif isinstance(entry, str) and entry.count("/") == 1:
            project, service = entry.split("/")
            found.add((project, service))
    for level in ("item", "parent"):
        owner = context.get(level)
        if not found and isinstance(owner, dict) and owner.get("project") and (owner.get("service") or owner.get("from_service")):
            found.add((owner["project"], owner.get("service") or owner["from_service"]))
    return frozenset(found)


def _severity(rule: Rule, context: dict[str, t.Any]) -> str:
    found = rule.severity_from(context) if rule.severity_from is not None else None
    return found if found in SEVERITIES else rule.severity


def _confidence(rule: Rule, context: dict[str, t.Any]) -> str:
    found = rule.confidence(context) if isinstance(rule.confidence, Expression) else rule.confidence
    return found if found in CONFIDENCES else "medium"


def _steps(templates: t.Sequence[Template], values: dict[str, t.Any], language: str) -> list[str]:
    """Return the steps for which every value is known: half a command is worse than none."""
    steps = []
    for template in templates:
        try:
            steps.append(template.render(values, language, strict=True))
        except MissingValue:
            continue
    return [step for step in steps if step]


def _evidence(rule: Rule, context: dict[str, t.Any]) -> dict[str, t.Any]:
    evidence: dict[str, t.Any] = {}
    for name, expression in rule.evidence.items():
        try:
            value = bounded(expression(context))
        except ConditionError:
            value = None
        if value not in (None, [], {}, ""):
            evidence[name] = value
    return evidence


def _remediation(rule: Rule, context: dict[str, t.Any], project: t.Optional[str]) -> t.Optional[dict[str, t.Any]]:
    """Return the first remedy that fits and whose parameters are all known; a finding may have none."""
    for remedy in rule.remediation:
        try:
            if remedy.when is not None and not is_true(remedy.when(context)):
                continue
            values = {name: expression(context) for name, expression in remedy.parameters.items()}
        except ConditionError:
            continue
        if None not in values.values():
            return {"action": remedy.action, **({"project": project} if project else {}), **values}
    return None


def _candidate(host: str, rule: Rule, context: dict[str, t.Any], commands: Commands, options: Options) -> Candidate:
    evidence = _evidence(rule, context)
    values: dict[str, t.Any] = {**context, "evidence": evidence}
    # The first way to name it for which every value is known.
    item = next(iter(_steps(rule.object, values, options.language)), rule.object[-1].render(values, options.language))
    services = _services(rule, context, item)
    project = next(iter(sorted(services)), (None, None))[0]
    values.update(
        object=item,
        compose=commands.compose(project, with_files=False),
        compose_up=commands.compose(project, with_files=True),
        psql=commands.psql(context.get("item"), context.get("parent")),
    )
    language = options.language
    since = rule.since(context) if rule.since is not None else None
    finding: Finding = {
        "id": finding_id(host, rule.id, item),
        "rule": rule.id,
        "severity": _severity(rule, {**context, "evidence": evidence}),
        "result": "fire",
        "category": rule.category,
        "object": item,
        "title": rule.title[language].render(values, language),
        "cause": rule.cause[language].render(values, language),
        "evidence": evidence,
        "fix": _steps(rule.fix[language], values, language),
        "verify": next(iter(_steps([rule.verify[language]], values, language)), ""),
        "effects": [],
        "since": since if parse_time(since) else options.now,
        "confidence": _confidence(rule, context),
        "references": list(rule.references),
    }
    remediation = _remediation(rule, {**context, "evidence": evidence}, project)
    if remediation is not None:
        finding["remediation"] = remediation
    return Candidate(finding, rule, services, context)


def _merged(candidates: t.Sequence[Candidate]) -> list[Candidate]:
    """Return one candidate for each id: replicas of a service, or several logs of it, are one finding with a count."""
    by_id: dict[str, Candidate] = {}
    for candidate in candidates:
        first = by_id.setdefault(candidate.finding["id"], candidate)
        if first is candidate:
            continue
        worse = SEVERITIES.index(candidate.finding["severity"]) > SEVERITIES.index(first.finding["severity"])
        kept, other = (candidate, first) if worse else (first, candidate)
        kept.finding["count"] = first.finding.get("count", 1) + 1
        kept.finding["since"] = min(kept.finding["since"], other.finding["since"])
        kept.services |= other.services
        by_id[kept.finding["id"]] = kept
    return list(by_id.values())


_NOT_CHECKED = {
    "en": ("Could not be read completely: {what}", "Evaluate again once it can be read; until then its checks are unknown, not fine."),
    "zh_TW": ("無法完整讀取：{what}", "可讀取之後請再執行一次診斷；在那之前，相關檢查的結果是「不明」，不代表正常。"),
}
_ABSENT = {"en": "it was not collected", "zh_TW": "沒有收集到這項資料"}
_RULE_FAILED = {
    "en": ("The rule {rule} could not be evaluated", "The rule failed on this host's facts. The other rules were judged as usual."),
    "zh_TW": ("無法評估規則 {rule}", "這條規則在處理本主機的資料時失敗，其他規則不受影響。"),
}


def _side_finding(host: str, rule: str, item: str, result: str, category: str, texts: tuple[str, str], options: Options, **more: t.Any) -> Finding:
    """Return a finding that no rule made: what could not be read, and rules that failed."""
    return {
        "id": finding_id(host, rule, item), "rule": rule, "severity": "info", "result": result, "category": category, "object": item, "title": texts[0],
        "cause": texts[1], "evidence": {}, "fix": [], "verify": "", "effects": [], "since": options.now, "confidence": "high", "references": [], **more,
    }  # fmt: skip


def _not_checked(host: str, facts: t.Mapping[str, t.Any], lacking: t.Mapping[str, int], options: Options) -> list[Finding]:
    """Return one finding for each set of reasons for which collectors could not read everything.

    *lacking* has the number of rules that answered unknown, by collector. A collector that merely left out something
    small (errors, but a verdict) is told as well: nobody should take the rest for complete.
    """
    by_reason: dict[str, list[str]] = {}
    reasons: dict[str, list[dict[str, str]]] = {}
    for name, collector in facts.items():
        listed = collector.get("errors")
        errors = [error for error in listed if isinstance(error, dict)] if isinstance(listed, list) else []
        if errors:
            key = json.dumps(errors, sort_keys=True)
            by_reason.setdefault(key, []).append(name)
            reasons[key] = errors
    for name in lacking:
        if name not in facts:
            by_reason.setdefault("", []).append(name)
            reasons[""] = [{"source": "stack_facts", "reason": _ABSENT[options.language], "hint": ""}]
    findings = []
    title, cause = _NOT_CHECKED[options.language]
    for key, collectors in by_reason.items():
        errors = [{name: harmless(str(error.get(name) or "")) for name in ("source", "reason", "hint")} for error in reasons[key][:_MAXIMUM_ELEMENTS]]
        what = ", ".join(collectors)
        reason = "; ".join(dict.fromkeys(f"{error['source']}: {error['reason']}" for error in errors))
        findings.append(
            _side_finding(
                host, "not-checked", what, "unknown", _CATEGORY_OF_COLLECTOR.get(collectors[0], "compose"), (title.format(what=what), cause), options,
                reason=reason, fix=list(dict.fromkeys(error["hint"] for error in errors if error["hint"])),
                evidence={"errors": errors, "rules_unknown": sum(lacking.get(name, 0) for name in collectors)},
            )
        )  # fmt: skip
    return findings


def _explain_unread(unchecked: t.Sequence[Finding], fired: t.Sequence[Candidate], facts: t.Mapping[str, t.Any]) -> None:
    """Put what could not be read under the cause that says why: a database that does not run cannot be asked for its version."""
    owners: dict[str, Finding] = {}
    for candidate in fired:
        if candidate.finding["severity"] != "info":
            owners.update({f"{project}/{service}": candidate.finding for project, service in candidate.services})
    containers = (facts.get("compose") or {}).get("containers")
    for container in containers if isinstance(containers, list) else ():
        owner = owners.get(f"{container.get('project')}/{container.get('service')}") if isinstance(container, dict) else None
        if owner is not None and container.get("name"):
            owners.setdefault(str(container["name"]), owner)
    engine = next((candidate.finding for candidate in fired if candidate.rule.collectors[:1] == ("engine",)), None)
    if engine is not None:
        for finding in unchecked:
            if "engine" in finding["object"].split(", "):
                finding["effect_of"] = [engine["id"]]
    if not owners:
        return
    named = re.compile(r"(?<![\w/-])(?:" + "|".join(map(re.escape, sorted(owners, key=len, reverse=True))) + r")(?![\w-])")
    for finding in unchecked:
        matches = [named.search(error["source"]) for error in finding["evidence"]["errors"]]
        if matches and None not in matches:
            causes = [owners[match.group()] for match in matches if match]
            roots = [identity for cause in causes for identity in cause.get("effect_of") or [cause["id"]]]
            finding["effect_of"] = list(dict.fromkeys(roots))


def _silence(host: str, findings: t.Sequence[Finding], options: Options) -> None:
    """Mark what is silenced, and what only follows from what is silenced."""
    active = [silence for silence in options.silences if not silence.expired(options.now)]
    if not active:
        return
    by_id = {finding["id"]: finding for finding in findings}
    for finding in findings:
        silence = next((silence for silence in active if silence.covers(host, finding)), None)
        if silence is not None:
            finding.update(result="silenced", silence=silence.as_dict())
    for finding in findings:
        causes = [by_id[identity] for identity in finding.get("effect_of") or () if identity in by_id]
        if finding["result"] == "fire" and causes and all(cause["result"] == "silenced" for cause in causes):
            finding.update(result="silenced", silence=causes[0]["silence"])


def status_of(findings: t.Iterable[Finding], unread: bool = False) -> str:
    """Return a host's status: its worst finding that fired; unknown where nothing did but something could not be read (*unread*).

    What only follows from something that is mere information (a start that goes on, a reload) does not count.
    """
    fired = {finding["id"]: finding for finding in findings if finding["result"] == "fire"}
    severities = set()
    for finding in fired.values():
        causes = [fired[identity] for identity in finding.get("effect_of") or () if identity in fired]
        if not causes or any(cause["severity"] != "info" for cause in causes):
            severities.add(finding["severity"])
    return next((severity for severity in ("critical", "warning") if severity in severities), "unknown" if unread else "ok")


def effective_thresholds(rule: Rule, options: Options) -> t.Mapping[str, float]:
    """Return the rule's thresholds with what the inventory overrides."""
    overrides = options.thresholds.get(rule.id)
    if not overrides:
        return rule.thresholds
    return {name: overrides.get(name, value) for name, value in rule.thresholds.items()}


def _plain(facts: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return *facts* as JMESPath knows values. Ansible's own carry tags, in types of their own; what was read from JSON does not."""
    if facts.__class__ is dict and all(value.__class__ in (dict, int) for value in facts.values()):
        return facts
    return _mapping(json.loads(json.dumps(facts, default=str)))


def _mapping(value: t.Any) -> dict[str, t.Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: t.Any, key: str) -> list[dict[str, t.Any]]:
    listed = _mapping(value).get(key)
    return [element for element in listed if isinstance(element, dict)] if isinstance(listed, list) else []


def judge_host(
    ruleset: RuleSet, host_name: str, facts: t.Mapping[str, t.Any], options: t.Union[Options, t.Mapping[str, t.Any], None] = None
) -> dict[str, t.Any]:
    """Return one host's row of the report.

    *facts* are what ``stack_facts`` returned: ``{schema, host, facts}``. The row has ``status``, ``host``, ``findings`` (causes
    first, then effects, what is silenced, what could not be read, what failed), ``counts`` of rules by result,
    ``unknown_rules`` and ``facts``. Never raises on any facts.
    """
    settings = Options.of(options)
    plain = _plain(facts)
    collected = {name: envelope for name, envelope in _mapping(plain.get("facts")).items() if isinstance(envelope, dict)}
    host = {**_mapping(plain.get("host")), "name": host_name}
    commands = Commands(collected)
    candidates: list[Candidate] = []
    failed: list[Finding] = []
    counts = dict.fromkeys(RESULTS, 0)
    lacking: dict[str, int] = {}
    memo: dict[str, t.Any] = {}
    unknown_rules = []
    for rule in ruleset.host_rules:
        context: dict[str, t.Any] = {"facts": collected, "host": host, "thresholds": effective_thresholds(rule, settings)}
        outcome = evaluate(rule, context, memo)
        counts[outcome.result] += 1
        if outcome.result == "unknown":
            unknown_rules.append(rule.id)
            for name in outcome.lacking:
                lacking[name] = lacking.get(name, 0) + 1
        try:
            candidates.extend([_candidate(host_name, rule, hit, commands, settings) for hit in outcome.hits])
        except Exception as error:  # whatever the facts hold, the other rules and hosts are still told
            outcome.error = outcome.error or f"{type(error).__name__}: {error}"
        if outcome.error:
            title, cause = _RULE_FAILED[settings.language]
            failed.append(
                _side_finding(
                    host_name, rule.id, "rule", "error", rule.category, (title.format(rule=rule.id), cause), settings,
                    evidence={"error": harmless(outcome.error, _MAXIMUM_TEXT), "file": f"{rule.path}:{rule.line}"}, reason=harmless(outcome.error),
                )
            )  # fmt: skip
    kept = _merged(candidates)
    findings = correlate(kept, collected)
    _silence(host_name, findings, settings)
    counts["silenced"] = len({finding["rule"] for finding in findings if finding["result"] == "silenced"})
    findings.sort(key=lambda finding: finding["result"] == "silenced")
    unread = not collected or any(envelope.get("status") == "unknown" and envelope.get("errors") for envelope in collected.values())
    unchecked = _not_checked(host_name, collected, lacking, settings)
    _explain_unread(unchecked, [candidate for candidate in kept if candidate.finding["result"] == "fire"], collected)
    return {
        "status": status_of(findings, unread),
        "host": host,
        "findings": [*findings, *unchecked, *failed],
        "counts": counts,
        "unknown_rules": unknown_rules,
        "facts": collected,
    }


class FleetContext:
    """What rules of scope fleet go over, gathered host by host: causes, images, engine versions and clocks, each with its hosts."""

    def __init__(self) -> None:
        self._hosts = 0
        self._causes: dict[str, dict[str, t.Any]] = {}
        self._images: dict[tuple[str, str], dict[str, list[str]]] = {}
        self._engines: dict[str, list[str]] = {}
        self._clocks: list[dict[str, t.Any]] = []

    def add(self, name: str, row: t.Mapping[str, t.Any], facts: t.Mapping[str, t.Any]) -> None:
        """Add the host *name* with its *row* of the report and its *facts* by collector."""
        self._hosts += 1
        for finding in row.get("findings") or ():
            if finding["result"] == "fire" and not finding.get("effect_of"):
                new = {"rule": finding["rule"], "severity": finding["severity"], "title": finding["title"], "hosts": []}
                _once(self._causes.setdefault(finding["rule"], new)["hosts"], name)
        for container in _mappings(facts.get("compose"), "containers"):
            image = _mapping(container.get("image"))
            reference, identity, service = image.get("reference"), image.get("id"), container.get("service") or ""
            if reference and identity and all(isinstance(value, str) for value in (reference, identity, service)):
                _once(self._images.setdefault((reference, service), {}).setdefault(identity, []), name)
        version = _mapping(facts.get("engine")).get("version")
        if version and isinstance(version, str):
            self._engines.setdefault(version, []).append(name)
        offset = _mapping(_mapping(facts.get("host")).get("clock")).get("offset_ms")
        if isinstance(offset, (int, float)) and not isinstance(offset, bool):
            self._clocks.append({"name": name, "offset_ms": offset})

    def view(self) -> dict[str, t.Any]:
        """Return what the rules see."""
        offsets = [clock["offset_ms"] for clock in self._clocks]
        return {
            "host_count": self._hosts,
            "causes": [{**cause, "host_count": len(cause["hosts"])} for cause in self._causes.values()],
            "images": [
                {"reference": reference, "service": service, "versions": [{"id": image, "hosts": hosts} for image, hosts in versions.items()]}
                for (reference, service), versions in self._images.items()
            ],
            "engines": [{"version": version, "hosts": hosts} for version, hosts in self._engines.items()],
            "clocks": self._clocks,
            "clock_spread_ms": max(offsets) - min(offsets) if offsets else None,
        }


def _once(hosts: list[str], name: str) -> None:
    # Hosts come one after the other.
    if hosts[-1:] != [name]:
        hosts.append(name)


def fleet_context(rows: t.Mapping[str, t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
    """Return what rules of scope fleet go over where all *rows* are there at once."""
    context = FleetContext()
    for name, row in rows.items():
        context.add(name, row, row.get("facts") or {})
    return context.view()


def judge_fleet(ruleset: RuleSet, fleet: dict[str, t.Any], options: t.Union[Options, t.Mapping[str, t.Any], None] = None) -> list[Finding]:
    """Return the findings of the rules of scope fleet over *fleet*, as :func:`fleet_context` builds it."""
    settings = Options.of(options)
    commands = Commands({})
    found: list[Candidate] = []
    for rule in ruleset.fleet_rules:
        outcome = evaluate(rule, {"fleet": fleet, "thresholds": effective_thresholds(rule, settings)})
        try:
            found.extend(_candidate("", rule, hit, commands, settings) for hit in outcome.hits)
        except ConditionError:
            continue
    findings = correlate(_merged(found), {})
    _silence("", findings, settings)
    return findings


# -- tests inside rules -----------------------------------------------------------------------------------------------


def run_tests(ruleset: RuleSet) -> list[str]:
    """Run the tests inside all rules; return one line for each that fails, with file and line.

    A test with ``given_file`` is left out where the rule set has no directory of fixtures.
    """
    failures = []
    for rule in ruleset.rules.values():
        for test in rule.tests:
            failure = _run_test(rule, test, ruleset)
            if failure:
                failures.append(f"{rule.path}:{test.line}: {rule.id}: test {test.name!r}: {failure}")
    return failures


def _run_test(rule: Rule, test: RuleTest, ruleset: RuleSet) -> str:
    given = test.given or {}
    if test.given_files:
        if ruleset.fixtures_dir is None:
            return ""
        recorded = {}
        for name in test.given_files:
            path = ruleset.fixtures_dir / name
            try:
                recorded[path.stem] = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                return f"{name} cannot be read: {error}"
        if rule.scope == "fleet":
            given = {"fleet": fleet_context({name: judge_host(ruleset, name, facts) for name, facts in recorded.items()})}
        else:
            given = next(iter(recorded.values()))
    host = {"name": "test", **(given.get("host") or {})}
    context = {"facts": given.get("facts") or {}, "host": host, "fleet": given.get("fleet") or {}, "thresholds": dict(rule.thresholds)}
    outcome = evaluate(rule, context)
    if outcome.error:
        return f"error: {outcome.error}"
    if outcome.result != test.expect:
        return f"expected {test.expect}, got {outcome.result}" + (f" ({_objects(rule, outcome, context)})" if outcome.hits else "")
    return _wrong_finding(rule, test, outcome, context) if test.expect == EXPECTATIONS[0] else ""


def _findings_of(rule: Rule, outcome: Outcome, context: dict[str, t.Any], language: str) -> list[Finding]:
    commands = Commands(context["facts"])
    options = Options.of({"language": language, "now": "2026-01-01T00:00:00Z"})
    return [candidate.finding for candidate in _merged([_candidate("test", rule, hit, commands, options) for hit in outcome.hits])]


def _objects(rule: Rule, outcome: Outcome, context: dict[str, t.Any]) -> str:
    return ", ".join(finding["object"] for finding in _findings_of(rule, outcome, context, "en"))


def _wrong_finding(rule: Rule, test: RuleTest, outcome: Outcome, context: dict[str, t.Any]) -> str:
    """Return how the findings differ from what a test that expects `fire` says of them, and what is wrong with their texts."""
    for language in LANGUAGES:
        findings = _findings_of(rule, outcome, context, language)
        wanted = [finding for finding in findings if test.object in (None, finding["object"])]
        if not wanted:
            return f"no finding on {test.object}, only on {', '.join(finding['object'] for finding in findings)}"
        finding = wanted[0]
        if test.severity not in (None, finding["severity"]):
            return f"severity is {finding['severity']}, expected {test.severity}"
        for name, expected in test.evidence.items():
            if finding["evidence"].get(name) != expected:
                return f"evidence {name} is {finding['evidence'].get(name)!r}, expected {expected!r}"
        if not finding["fix"]:
            return f"no step of the fix ({language}) could be written out"
    return ""
