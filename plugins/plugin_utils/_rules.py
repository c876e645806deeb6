# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Rules as data: reading them from YAML, checking them, compiling them.

A file is a mapping with ``schema: 1`` and ``rules``. Every problem of every file is found in one go and carries the
file and the line. What makes a rule useless is an error and stops the run; what makes it poorer (a language, a test
that is missing) is a warning, which the shipped rules must not have either.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import pathlib
import re
import typing as t

import yaml

from ._conditions import ConditionError, Expression, function_names, pattern_problem
from ._facts_schema import ANY, FactsSchema, Inference, Node, UnknownPath, list_of, mapping_of, paths_that_must_exist
from ._remediation_plan import step_problem
from ._text import COMMAND_NAMES, LANGUAGES, Placeholder, Template, TextError

SCHEMA = 1
CATEGORIES: tuple[str, ...] = ("host", "compose", "network", "postgres", "migrations", "health", "logs", "fleet")
SEVERITIES: tuple[str, ...] = ("info", "warning", "critical")
CONFIDENCES: tuple[str, ...] = ("low", "medium", "high")
WHERE: tuple[str, ...] = ("same-object", "same-service", "same-stack", "dependants", "same-host")
EXPECTATIONS: tuple[str, ...] = ("fire", "pass", "unknown")

_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_GLOB = re.compile(r"[a-z0-9*?-]+")
_FILE_KEYS = frozenset(("schema", "rules"))
_REQUIRED_KEYS = ("id", "category", "severity", "object", "when", "title", "cause", "fix")
_RULE_KEYS = frozenset(_REQUIRED_KEYS) | {
    "severity_from", "scope", "for_each", "subject", "requires", "confidence", "thresholds", "evidence", "verify", "remediation", "suppresses",
    "since", "references", "tests", "override",
}  # fmt: skip
_SUPPRESSION_KEYS = frozenset(("rule", "where", "when"))
_TEST_KEYS = frozenset(("name", "given", "given_file", "expect", "object", "evidence", "severity"))
_MAXIMUM_FILE_BYTES = 1 << 20
_MAXIMUM_NODES = 200_000


@dataclasses.dataclass(frozen=True, order=True)
class Problem:
    """What is wrong with a rule, and where."""

    path: str
    line: int
    message: str
    level: str = "error"

    def __str__(self) -> str:
        # What is wrong with the controller is in no file.
        return f"{self.path}:{self.line}: {self.message}" if self.path else self.message


class RuleError(Exception):
    """Rules that cannot be used; *problems* has all of them."""

    def __init__(self, problems: t.Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


@dataclasses.dataclass(frozen=True)
class Suppression:
    """Other rules' findings that a rule explains: a *rule* glob, *where* they must be, and optionally *when*."""

    rule: str
    where: tuple[str, ...]
    when: t.Optional[Expression]


@dataclasses.dataclass(frozen=True)
class Remedy:
    """What the role ``remediate`` can do about a finding: an *action* with *parameters*, optionally only *when*."""

    action: str
    parameters: t.Mapping[str, Expression]
    when: t.Optional[Expression]


@dataclasses.dataclass(frozen=True)
class RuleTest:
    """One test of a rule: what is *given* (facts, or the files that hold recorded ones: one, or for a fleet one for each host)
    and what is expected of the rule."""

    name: str
    expect: str
    line: int
    given: t.Optional[dict[str, t.Any]] = None
    given_files: tuple[str, ...] = ()
    object: t.Optional[str] = None
    severity: t.Optional[str] = None
    evidence: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Rule:
    """One rule, compiled. Texts are by language; *collectors* are those whose facts it goes over, the one it cannot do
    without first; *base* leads to the list it goes over, before any filter."""

    id: str
    category: str
    severity: str
    severity_from: t.Optional[Expression]
    scope: str
    for_each: tuple[Expression, ...]
    object: tuple[Template, ...]
    subject: t.Optional[Expression]
    requires: tuple[Expression, ...]
    when: Expression
    confidence: t.Union[str, Expression]
    thresholds: t.Mapping[str, float]
    evidence: t.Mapping[str, Expression]
    title: t.Mapping[str, Template]
    cause: t.Mapping[str, Template]
    fix: t.Mapping[str, tuple[Template, ...]]
    verify: t.Mapping[str, Template]
    remediation: tuple[Remedy, ...]
    suppresses: tuple[Suppression, ...]
    since: t.Optional[Expression]
    references: tuple[str, ...]
    tests: tuple[RuleTest, ...]
    collectors: tuple[str, ...]
    base: tuple[str, ...]
    path: str
    line: int


@dataclasses.dataclass(frozen=True)
class RuleSet:
    """All rules that are in force, by id in the order they were read, and where tests find recorded facts."""

    rules: t.Mapping[str, Rule]
    disabled: frozenset[str] = frozenset()
    fixtures_dir: t.Optional[pathlib.Path] = None

    @functools.cached_property
    def host_rules(self) -> tuple[Rule, ...]:
        """The rules that look at one host."""
        return tuple(rule for rule in self.rules.values() if rule.scope == "host")

    @functools.cached_property
    def fleet_rules(self) -> tuple[Rule, ...]:
        """The rules that look at all hosts together."""
        return tuple(rule for rule in self.rules.values() if rule.scope == "fleet")


# -- YAML with lines ------------------------------------------------------------------------------------------------


class LinedDict(dict[str, t.Any]):
    """A mapping from YAML that knows on which line it and its keys are."""

    line: int = 0

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}
        self.duplicates: list[tuple[str, int]] = []

    def line_of(self, key: str) -> int:
        """Return the line of *key*, or of the mapping where it has none."""
        return self.lines.get(key, self.line)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader, with lines, and with times left as the text that facts have."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _construct_mapping(loader: t.Any, node: yaml.MappingNode) -> LinedDict:
    mapping = LinedDict()
    mapping.line = node.start_mark.line + 1
    seen: set[str] = set()
    for key_node, dummy in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError("while constructing a mapping", node.start_mark, "a key is no text", key_node.start_mark)
        if key_node.tag != "tag:yaml.org,2002:merge" and key_node.value in seen:
            mapping.duplicates.append((str(key_node.value), key_node.start_mark.line + 1))
        seen.add(key_node.value)
    loader.flatten_mapping(node)
    for key_node, value_node in node.value:
        key = str(loader.construct_object(key_node, deep=True))
        mapping[key] = loader.construct_object(value_node, deep=True)
        mapping.lines[key] = key_node.start_mark.line + 1
    return mapping


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def _load(text: str) -> t.Any:
    """Return the content of a YAML document.

    :raises ValueError: its aliases stand for more than a rule file can hold, which is no file of rules but an attack or an accident.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _nodes(node, {}) > _MAXIMUM_NODES:
            raise ValueError(f"with its aliases written out it has more than {_MAXIMUM_NODES} values")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _nodes(node: t.Any, known: dict[int, int]) -> int:
    """Return the number of values in *node* with aliases written out; a node that is inside itself counts as too many."""
    if id(node) not in known:
        known[id(node)] = _MAXIMUM_NODES + 1
        below = node.value if isinstance(node.value, list) else ()
        parts = [part for entry in below for part in (entry if isinstance(entry, tuple) else (entry,))]
        known[id(node)] = min(1 + sum(_nodes(part, known) for part in parts), _MAXIMUM_NODES + 1)
    return known[id(node)]


def _plain(value: t.Any) -> t.Any:
    """Return *value* as JMESPath knows it: plain dicts and lists."""
    return json.loads(json.dumps(value))


# -- compiling ------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def facts_schema() -> FactsSchema:
    """Return the schema of the facts, read once."""
    return FactsSchema.load()


_STRING = Node("leaf", type="string")
_NUMBER = Node("leaf", type="number")

#: What rules of scope fleet see besides every host's facts; `_judge.fleet_context` builds it.
_FLEET = {
    "host_count": _NUMBER,
    "causes": list_of(mapping_of({"rule": _STRING, "severity": _STRING, "title": _STRING, "hosts": list_of(_STRING), "host_count": _NUMBER}), "fleet.causes"),
    "images": list_of(
        mapping_of({"reference": _STRING, "service": _STRING, "versions": list_of(mapping_of({"id": _STRING, "hosts": list_of(_STRING)}))}), "fleet.images"
    ),
    "engines": list_of(mapping_of({"version": _STRING, "hosts": list_of(_STRING)}), "fleet.engines"),
    "clocks": list_of(mapping_of({"name": _STRING, "offset_ms": _NUMBER}), "fleet.clocks"),
    "clock_spread_ms": _NUMBER,
}


class _Compiler:
    """Reads one rule and notes every problem instead of stopping at the first."""

    def __init__(self, path: str, source: LinedDict, problems: list[Problem]) -> None:
        self.path = path
        self.source = source
        self.problems = problems
        self.rule_id = str(source.get("id", ""))

    def problem(self, message: str, line: int, level: str = "error") -> None:
        self.problems.append(Problem(self.path, line, f"{self.rule_id}: {message}" if self.rule_id else message, level))

    def compile(self) -> t.Optional[Rule]:
        """Return the rule, or ``None`` where its problems leave nothing to run."""
        source, before = self.source, len(self.problems)
        self._unknown_keys(source, _RULE_KEYS)
        for key in _REQUIRED_KEYS:
            if key not in source:
                self.problem(f"{key} is missing", source.line)
        if not _ID.fullmatch(self.rule_id):
            self.problem("id must be two or more lower-case words joined by hyphens", source.line_of("id"))
        scope = self._choice("scope", ("host", "fleet"), "host")
        thresholds = self._thresholds()
        context = self._context(scope, thresholds)
        for_each, context = self._for_each(context)
        requires = tuple(filter(None, (self._expression(text, "requires", context) for text in self._texts("requires"))))
        when = self._optional("when", context)
        evidence = self._evidence(context)
        roots = self._template_roots(context, evidence)
        with_evidence = mapping_of({**context.children, "evidence": mapping_of(dict.fromkeys(evidence, ANY), "evidence")})
        confidence = source.get("confidence", "high")
        rule = Rule(
            id=self.rule_id,
            category=self._choice("category", CATEGORIES, "host"),
            severity=self._choice("severity", SEVERITIES, "info"),
            severity_from=self._optional("severity_from", with_evidence),
            scope=scope,
            for_each=for_each,
            object=self._object(roots),
            subject=self._optional("subject", context),
            requires=requires,
            when=when or Expression("`false`"),
            confidence=confidence if confidence in CONFIDENCES else self._optional("confidence", context) or "medium",
            thresholds=thresholds,
            evidence=evidence,
            title={language: templates[0] for language, templates in self._by_language("title", roots).items()},
            cause={language: templates[0] for language, templates in self._by_language("cause", roots).items()},
            fix=self._by_language("fix", roots, many=True),
            verify={language: templates[0] for language, templates in self._by_language("verify", roots, optional=True).items()},
            remediation=self._remediation(with_evidence),
            suppresses=self._suppressions(context),
            since=self._optional("since", context),
            references=tuple(self._texts("references")),
            tests=self._tests(evidence, scope),
            collectors=_collectors(for_each, (*requires, *filter(None, (when,)))),
            base=_base(for_each),
            path=self.path,
            line=source.line,
        )
        self._negations(rule, context)
        errors = [problem for problem in self.problems[before:] if problem.level == "error"]
        return None if errors else rule

    # Parts of a rule

    def _unknown_keys(self, mapping: LinedDict, known: t.Collection[str]) -> None:
        for key in mapping:
            if key not in known:
                close = difflib.get_close_matches(key, known, 1)
                self.problem(f"unknown key {key}" + (f"; did you mean {close[0]}?" if close else ""), mapping.line_of(key))
        for key, line in mapping.duplicates:
            self.problem(f"the key {key} is there twice", line)

    def _choice(self, key: str, choices: t.Sequence[str], default: str) -> str:
        value = self.source.get(key, default)
        if value not in choices:
            self.problem(f"{key} must be one of {', '.join(choices)}, not {value!r}", self.source.line_of(key))
            return default
        return str(value)

    def _texts(self, key: str) -> list[str]:
        value = self.source.get(key, [])
        if not isinstance(value, list) or not all(isinstance(element, str) for element in value):
            self.problem(f"{key} must be a list of texts", self.source.line_of(key))
            return []
        return value

    def _thresholds(self) -> dict[str, float]:
        value = self.source.get("thresholds", {})
        if not isinstance(value, LinedDict):
            if value:
                self.problem("thresholds must be a mapping of names to numbers", self.source.line_of("thresholds"))
            return {}
        for name, number in value.items():
            if not _NAME.fullmatch(name) or isinstance(number, bool) or not isinstance(number, (int, float)):
                self.problem(f"threshold {name} must be a number under a lower-case name", value.line_of(name))
        return {name: number for name, number in value.items() if isinstance(number, (int, float))}

    def _context(self, scope: str, thresholds: t.Mapping[str, float]) -> Node:
        schema = facts_schema()
        names = {"thresholds": mapping_of(dict.fromkeys(thresholds, _NUMBER), "thresholds")}
        if scope == "fleet":
            names["fleet"] = mapping_of(_FLEET, "fleet")
        else:
            names.update(facts=schema.facts, host=schema.host)
        return mapping_of(names)

    def _for_each(self, context: Node) -> tuple[tuple[Expression, ...], Node]:
        """Return the expressions over which the rule goes, and the context in which the rest is evaluated."""
        value = self.source.get("for_each", [])
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            self.problem("for_each must be an expression, or a list of expressions from the outer to the inner", self.source.line_of("for_each"))
            return (), context
        expressions: list[Expression] = []
        for text in texts:
            expression = self._compiled(text, "for_each", self.source.line_of("for_each"))
            if expression is None:
                return tuple(expressions), mapping_of({**context.children, "item": ANY, "parent": ANY})
            found = self._infer(expression, context, "for_each", self.source.line_of("for_each"))
            if found.kind not in ("list", "any"):
                self.problem(f"for_each must give a list, which {text} does not", self.source.line_of("for_each"))
            names = dict(context.children)
            if "item" in names:
                names["parent"] = names["item"]
            context = mapping_of({**names, "item": found.item()})
            expressions.append(expression)
        return tuple(expressions), context

    def _evidence(self, context: Node) -> dict[str, Expression]:
        value = self.source.get("evidence")
        if value is None:
            return {}
        if not isinstance(value, LinedDict):
            self.problem("evidence must be a mapping of names to expressions", self.source.line_of("evidence"))
            return {}
        evidence = {}
        for name, text in value.items():
            if not _NAME.fullmatch(name):
                self.problem(f"evidence {name}: use a lower-case name that ends with its unit", value.line_of(name))
            expression = self._expression(text, f"evidence {name}", context, value.line_of(name))
            if expression is not None:
                evidence[name] = expression
        return evidence

    def _remediation(self, context: Node) -> tuple[Remedy, ...]:
        """Return the remedies in their order: the first that fits and has all of its parameters is the finding's."""
        value = self.source.get("remediation", [])
        found = []
        for entry in value if isinstance(value, list) else [value]:
            if not isinstance(entry, LinedDict):
                self.problem("remediation is a mapping with action and its parameters, or a list of them", self.source.line_of("remediation"))
                continue
            names = [name for name in entry if name not in ("action", "when")]
            problem = step_problem(entry.get("action"), [name for name in names if name != "project"])
            if problem:
                self.problem(f"remediation: {problem}", entry.line)
                continue
            compiled = {name: self._expression(entry[name], f"remediation {name}", context, entry.line_of(name)) for name in names}
            when = self._expression(entry["when"], "remediation when", context, entry.line_of("when")) if "when" in entry else None
            parameters = {name: expression for name, expression in compiled.items() if expression is not None}
            found.append(Remedy(str(entry["action"]), parameters, when))
        return tuple(found)

    def _suppressions(self, context: Node) -> tuple[Suppression, ...]:
        value = self.source.get("suppresses", [])
        found = []
        for entry in value if isinstance(value, list) else [value]:
            if not isinstance(entry, LinedDict) or "rule" not in entry or "where" not in entry:
                self.problem("each entry of suppresses is a mapping with rule and where", self.source.line_of("suppresses"))
                continue
            self._unknown_keys(entry, _SUPPRESSION_KEYS)
            where = entry["where"] if isinstance(entry["where"], list) else [entry["where"]]
            for word in where:
                if word not in WHERE:
                    self.problem(f"where must be one of {', '.join(WHERE)}, not {word!r}", entry.line_of("where"))
            names = {**context.children, "effect": ANY, "cause": ANY}
            when = self._expression(entry["when"], "suppresses", mapping_of(names), entry.line_of("when")) if "when" in entry else None
            found.append(Suppression(str(entry["rule"]), tuple(str(word) for word in where), when))
        return tuple(found)

    def _tests(self, evidence: t.Mapping[str, Expression], scope: str) -> tuple[RuleTest, ...]:
        value = self.source.get("tests", [])
        tests = []
        for entry in value if isinstance(value, list) else [value]:
            if not isinstance(entry, LinedDict):
                self.problem("each test is a mapping with name, given (or given_file) and expect", self.source.line_of("tests"))
                continue
            self._unknown_keys(entry, _TEST_KEYS)
            tests.append(self._test(entry, evidence, scope))
        for expectation in EXPECTATIONS:
            if not any(test.expect == expectation for test in tests):
                self.problem(f"no test expects {expectation}", self.source.line_of("tests"), "warning")
        return tuple(tests)

    def _test(self, entry: LinedDict, evidence: t.Mapping[str, Expression], scope: str) -> RuleTest:
        if ("given" in entry) == ("given_file" in entry):
            self.problem("a test has either given or given_file", entry.line)
        files = entry.get("given_file", [])
        if isinstance(files, str):
            files = [files]
        if not isinstance(files, list) or not all(isinstance(name, str) for name in files) or (scope == "host" and len(files) > 1):
            self.problem("given_file must be the name of a file; a rule of scope fleet may have a list of them", entry.line_of("given_file"))
            files = []
        if entry.get("expect") not in EXPECTATIONS:
            self.problem(f"expect must be one of {', '.join(EXPECTATIONS)}", entry.line_of("expect"))
        given = _plain(entry["given"]) if isinstance(entry.get("given"), dict) else None
        if given is not None and "fleet" not in given:
            for message in facts_schema().unknown_paths(given):
                self.problem(f"test {entry.get('name')!r}: {message}", entry.line_of("given"))
        expected = entry.get("evidence", {})
        for name in expected:
            if name not in evidence:
                self.problem(f"test {entry.get('name')!r}: the rule has no evidence {name}", entry.line_of("evidence"))
        return RuleTest(
            name=str(entry.get("name", "")),
            expect=str(entry.get("expect", "")),
            line=entry.line,
            given=given,
            given_files=tuple(files),
            object=entry.get("object"),
            severity=entry.get("severity"),
            evidence=_plain(expected),
        )

    def _object(self, roots: Node) -> tuple[Template, ...]:
        value = self.source.get("object", "")
        texts = value if isinstance(value, list) else [value]
        return tuple(self._template(text, "object", self.source.line_of("object"), roots) for text in texts)

    # Expressions and texts

    def _compiled(self, text: t.Any, key: str, line: int) -> t.Optional[Expression]:
        if not isinstance(text, str):
            self.problem(f"{key} must be an expression, written as text", line)
            return None
        try:
            expression = Expression(text)
        except ConditionError as error:
            self.problem(f"{key}: {error}", line)
            return None
        for message in _call_problems(expression.parsed):
            self.problem(f"{key}: {message}", line)
        return expression

    def _infer(self, expression: Expression, context: Node, key: str, line: int) -> Node:
        try:
            return Inference().visit(expression.parsed, context)
        except UnknownPath as error:
            self.problem(f"{key}: {error}", line)
            return ANY

    def _expression(self, text: t.Any, key: str, context: Node, line: t.Optional[int] = None) -> t.Optional[Expression]:
        line = self.source.line_of(key) if line is None else line
        expression = self._compiled(text, key, line)
        if expression is not None:
            self._infer(expression, context, key, line)
        return expression

    def _optional(self, key: str, context: Node) -> t.Optional[Expression]:
        return self._expression(self.source[key], key, context) if key in self.source else None

    def _template_roots(self, context: Node, evidence: t.Mapping[str, Expression]) -> Node:
        commands = dict.fromkeys(COMMAND_NAMES, _STRING)
        values = mapping_of(dict.fromkeys(evidence, ANY), "evidence")
        return mapping_of({**context.children, **commands, "object": _STRING, "evidence": values})

    def _template(self, text: t.Any, key: str, line: int, roots: Node) -> Template:
        if not isinstance(text, str):
            self.problem(f"{key} must be text", line)
            return Template("", ())
        try:
            template = Template.parse(text)
        except TextError as error:
            self.problem(f"{key}: {error}", line)
            return Template("", ())
        for placeholder in template.placeholders:
            self._check_placeholder(placeholder, key, line, roots)
        return template

    def _check_placeholder(self, placeholder: Placeholder, key: str, line: int, roots: Node) -> None:
        node = roots
        try:
            for name in placeholder.keys:
                node = node.item() if isinstance(name, int) else node.child(name)
        except UnknownPath as error:
            self.problem(f"{key}: {error}", line)

    def _by_language(self, key: str, roots: Node, many: bool = False, optional: bool = False) -> dict[str, tuple[Template, ...]]:
        """Return the templates of *key* in all languages; one that is missing falls back to English."""
        value = self.source.get(key)
        if value is None:
            if not optional:
                return {language: (Template("", ()),) for language in LANGUAGES}
            self.problem(f"{key} is missing", self.source.line, "warning")
            return {language: (Template("", ()),) for language in LANGUAGES}
        if not isinstance(value, LinedDict):
            wrapped = LinedDict()
            wrapped.line = self.source.line_of(key)
            wrapped["en"] = value
            value = wrapped
        self._unknown_keys(value, LANGUAGES)
        templates: dict[str, tuple[Template, ...]] = {}
        for language in LANGUAGES:
            line = value.line_of(language)
            if language not in value:
                self.problem(f"{key} has no {language}", line, "warning")
                continue
            texts = value[language] if many and isinstance(value[language], list) else [value[language]]
            templates[language] = tuple(self._template(text, f"{key} ({language})", line, roots) for text in texts)
        first = next(iter(templates.values()), (Template("", ()),))
        if many and len({len(steps) for steps in templates.values()}) > 1:
            self.problem(f"{key} has not as many steps in every language", self.source.line_of(key), "warning")
        return {language: templates.get(language, first) for language in LANGUAGES}

    def _negations(self, rule: Rule, context: Node) -> None:
        """Note paths whose absence would turn the condition around and that `requires` does not cover."""
        required = [expression.text for expression in rule.requires]
        for path in sorted(paths_that_must_exist(rule.when.parsed)):
            if path.split(".")[0] in ("thresholds", "fleet") or any(text == path or text.startswith(f"{path}.") for text in required):
                continue
            if not _always_there(path, context):
                message = f"when: {path} may be missing, and a negation or an ordering of what is missing means nothing: add it to requires"
                self.problem(message, self.source.line_of("when"))


def _always_there(path: str, context: Node) -> bool:
    """Return whether the schema promises *path*, which is one plain fact of the item."""
    keys = path.split(".")
    node = context
    for key in keys:
        try:
            node = node.child(key)
        except UnknownPath:
            return False
    return len(keys) == 2 and keys[0] == "item" and node.kind == "leaf" and not node.nullable


def _call_problems(node: dict[str, t.Any]) -> list[str]:
    """Return the calls of functions that do not exist and the regular expressions that are not acceptable."""
    messages = []
    if node["type"] == "function_expression":
        if node["value"] not in function_names():
            close = difflib.get_close_matches(node["value"], function_names(), 1)
            messages.append(f"there is no function {node['value']}()" + (f"; did you mean {close[0]}()?" if close else ""))
        if node["value"] == "matches" and len(node["children"]) == 2:
            pattern = node["children"][1].get("value") if node["children"][1]["type"] == "literal" else None
            problem = pattern_problem(pattern) if isinstance(pattern, str) else "the pattern of matches() must be a literal"
            if problem:
                messages.append(problem)
    for child in node["children"]:
        if isinstance(child, dict):
            messages.extend(_call_problems(child))
    return messages


def _collectors(for_each: t.Sequence[Expression], conditions: t.Sequence[Expression]) -> tuple[str, ...]:
    """Return the collectors that the first of *for_each* names, in its order; where there is none, those of the conditions."""
    texts = " ".join(expression.text for expression in for_each[:1] or conditions)
    return tuple(dict.fromkeys(re.findall(r"\bfacts\.(\w+)", texts)))


def _base(for_each: t.Sequence[Expression]) -> tuple[str, ...]:
    """Return the names that lead from the facts to the list that the first of *for_each* filters."""
    found = re.search(r"\bfacts\.(\w+(?:\.\w+)*)", for_each[0].text) if for_each else None
    return tuple(found.group(1).split(".")) if found else ()


# -- files ----------------------------------------------------------------------------------------------------------


def _read_file(path: pathlib.Path, problems: list[Problem]) -> list[LinedDict]:
    """Return the rules of one file as mappings; what is wrong with the file itself is added to *problems*."""
    name = str(path)
    try:
        if path.stat().st_size > _MAXIMUM_FILE_BYTES:
            raise ValueError(f"larger than {_MAXIMUM_FILE_BYTES} bytes")
        content = _load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problems.append(Problem(name, mark.line + 1 if mark else 1, f"not YAML: {getattr(error, 'problem', None) or error}"))
        return []
    except (OSError, ValueError, RecursionError) as error:
        problems.append(Problem(name, 1, f"cannot be read: {error}"))
        return []
    if not isinstance(content, LinedDict) or content.get("schema") != SCHEMA or not isinstance(content.get("rules"), list):
        problems.append(Problem(name, 1, f"a rule file is a mapping with 'schema: {SCHEMA}' and a list 'rules'"))
        return []
    for key in content:
        if key not in _FILE_KEYS:
            problems.append(Problem(name, content.line_of(key), f"unknown key {key}"))
    rules = []
    for entry in content["rules"]:
        if isinstance(entry, LinedDict):
            rules.append(entry)
        else:
            problems.append(Problem(name, content.line_of("rules"), "each rule is a mapping"))
    return rules


def _files(directory: pathlib.Path, problems: list[Problem]) -> list[pathlib.Path]:
    if directory.is_file():
        return [directory]
    if not directory.is_dir():
        problems.append(Problem(str(directory), 1, "there is no such directory of rules"))
        return []
    return sorted(path for path in directory.rglob("*") if path.suffix in (".yml", ".yaml") and path.is_file())


def _compile_all(dirs: t.Sequence[t.Union[str, pathlib.Path]], problems: list[Problem]) -> dict[str, Rule]:
    rules: dict[str, Rule] = {}
    first_seen: dict[str, tuple[str, int]] = {}
    for directory in dirs:
        for path in _files(pathlib.Path(directory), problems):
            for source in _read_file(path, problems):
                _add(rules, first_seen, path, source, problems)
    known = set(first_seen)
    for rule in rules.values():
        for suppression in rule.suppresses:
            if not _GLOB.fullmatch(suppression.rule) or ("*" not in suppression.rule and suppression.rule not in known):
                problems.append(Problem(rule.path, rule.line, f"{rule.id}: suppresses {suppression.rule}, which is no rule", "warning"))
    return rules


def _add(rules: dict[str, Rule], first_seen: dict[str, tuple[str, int]], path: pathlib.Path, source: LinedDict, problems: list[Problem]) -> None:
    rule_id = str(source.get("id", ""))
    override = source.get("override", False)
    line = source.line_of("id")
    if rule_id in first_seen and override is not True:
        earlier, at = first_seen[rule_id]
        problems.append(Problem(str(path), line, f"{rule_id}: already defined at {earlier}:{at}; a rule that replaces it says 'override: true'"))
        return
    if override is True and rule_id not in first_seen:
        problems.append(Problem(str(path), source.line_of("override"), f"{rule_id}: overrides a rule that does not exist"))
    first_seen.setdefault(rule_id, (str(path), line))
    rule = _Compiler(str(path), source, problems).compile()
    if rule is not None:
        rules[rule_id] = rule


def lint(dirs: t.Sequence[t.Union[str, pathlib.Path]]) -> list[Problem]:
    """Return everything that is wrong with the rules in *dirs*, errors and warnings, in the order of files and lines."""
    problems: list[Problem] = []
    try:
        _compile_all(dirs, problems)
    except ConditionError as error:
        problems.append(Problem("", 0, str(error)))
    return sorted(problems)


def load_rules(
    dirs: t.Sequence[t.Union[str, pathlib.Path]], fixtures_dir: t.Union[str, pathlib.Path, None] = None, disabled: t.Collection[str] = ()
) -> RuleSet:
    """Return the rules in *dirs* without those *disabled*; rules of a later directory may override those of an earlier.

    *fixtures_dir* is where tests find the files they name as ``given_file``.

    :raises RuleError: with every problem that makes a rule unusable.
    """
    problems: list[Problem] = []
    try:
        rules = _compile_all(dirs, problems)
    except ConditionError as error:
        raise RuleError([Problem("", 0, str(error))]) from error
    for rule_id in disabled:
        if rule_id not in rules:
            problems.append(Problem("diagnose_disabled_rules", 1, f"there is no rule {rule_id}{_close(rule_id, rules)}"))
    errors = sorted(problem for problem in problems if problem.level == "error")
    if errors:
        raise RuleError(errors)
    in_force = {rule_id: rule for rule_id, rule in rules.items() if rule_id not in disabled}
    return RuleSet(in_force, frozenset(disabled), pathlib.Path(fixtures_dir) if fixtures_dir else None)


def _close(word: str, words: t.Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(words), 1)
    return f"; did you mean {close[0]}?" if close else ""


def threshold_problems(ruleset: RuleSet, thresholds: t.Any) -> list[str]:
    """Return what is wrong with thresholds from an inventory: ``{rule: {name: number}}``."""
    if not isinstance(thresholds, dict):
        return ["diagnose_thresholds must be a mapping of rules to mappings of names to numbers"]
    messages: list[str] = []
    for rule_id, values in thresholds.items():
        rule = ruleset.rules.get(rule_id)
        if rule is not None:
            messages.extend(_override_problems(rule, values))
        elif rule_id not in ruleset.disabled:
            messages.append(f"diagnose_thresholds.{rule_id}: there is no rule {rule_id}{_close(str(rule_id), ruleset.rules)}")
    return messages


def _override_problems(rule: Rule, values: t.Any) -> t.Iterator[str]:
    where = f"diagnose_thresholds.{rule.id}"
    if not isinstance(values, dict):
        yield f"{where} must be a mapping of names to numbers"
        return
    for name, number in values.items():
        if name not in rule.thresholds:
            yield f"{where}.{name}: the rule has no such threshold (it has: {', '.join(rule.thresholds) or 'none'})"
        elif isinstance(number, bool) or not isinstance(number, (int, float)):
            yield f"{where}.{name} must be a number, not {number!r}"
