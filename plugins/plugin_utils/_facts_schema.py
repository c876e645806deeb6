# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The schema of the facts, and what a JMESPath expression gives when it is applied to it.

A condition over a path that no collector fills would never fire and never say why, so expressions are followed through
the schema when rules are loaded: unknown names, and comparisons with words that a fact never has, are load errors.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import pathlib
import re
import typing as t

import yaml

from ..module_utils._app_errors import KINDS
from ..module_utils._envelope import STATUSES

SCHEMA_FILE = pathlib.Path(__file__).resolve().parents[2] / "roles" / "diagnose" / "files" / "facts_schema.yml"

# What the engine says of a container that it could not start is an error too, though no application's.
_ENGINE_KINDS = frozenset(("dependency-failed", "image-missing", "mount-failed"))

_WORD = re.compile(r"[a-z0-9][a-z0-9_.-]*")


class UnknownPath(ValueError):
    """An expression names a fact that the schema does not have."""


@dataclasses.dataclass(frozen=True)
class Node:
    """One place in the schema. *kind* is mapping, free (any key), list, leaf or any (nothing is known)."""

    kind: str
    path: str = ""
    nullable: bool = False
    children: t.Mapping[str, Node] = dataclasses.field(default_factory=dict)
    element: t.Optional[Node] = None
    type: str = ""
    words: t.Optional[frozenset[str]] = None

    def child(self, name: str) -> Node:
        """Return what is under *name*.

        :raises UnknownPath: there is no such fact.
        """
        if self.kind == "any":
            return ANY
        if self.kind == "free":
            return self.element or ANY
        if self.kind == "mapping" and name in self.children:
            return self.children[name]
        where = f"{self.path}.{name}" if self.path else name
        close = difflib.get_close_matches(name, self.children, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        if self.kind == "list":
            hint = "; it is a list, so [] or a filter belongs before the name"
        if self.kind == "leaf":
            hint = "; what is before it is a plain value (a negation binds closer than a dot: write !(a.b))"
        raise UnknownPath(f"{where} is not in the facts schema{hint}")

    def item(self) -> Node:
        """Return what the elements of a list are; of what is no list, nothing is known."""
        return self.element if self.kind == "list" and self.element is not None else ANY


ANY = Node("any", nullable=True)


def list_of(element: Node, path: str = "") -> Node:
    """Return the schema of a list of *element*."""
    return Node("list", path or element.path.removesuffix("[]"), element=element)


def mapping_of(children: t.Mapping[str, Node], path: str = "") -> Node:
    """Return the schema of a mapping with exactly these *children*."""
    return Node("mapping", path, children=children)


def _words(description: str) -> t.Optional[frozenset[str]]:
    """Return the words that a leaf can have, where its description lists them all."""
    if description.startswith("verdict"):
        return frozenset(STATUSES)
    words = [word.strip() for word in re.split(r"[,;(]|: ", description)[0].split("|")]
    return frozenset(words) if len(words) > 1 and all(_WORD.fullmatch(word) for word in words) else None


def _parse(value: t.Any, path: str) -> Node:
    if isinstance(value, str):
        kind, dummy, description = value.partition(":")
        kind = kind.strip()
        words = KINDS | _ENGINE_KINDS if path.endswith(".kind") else _words(description.strip())
        return Node("leaf", path, kind.endswith("?"), type=kind.rstrip("?"), words=words)
    children: dict[str, Node] = {}
    for key, below in value.items():
        name = re.sub(r"(\[\]|\{\})$", "", key)
        node = _parse(below, f"{path}.{key}" if path else key)
        if key.endswith("[]"):
            node = Node("list", node.path.removesuffix("[]"), element=node)
        elif key.endswith("{}"):
            node = Node("free", node.path, element=node)
        children[name] = node
    return mapping_of(children, path)


def _collector(value: t.Any, path: str) -> Node:
    """Return a collector's schema: its own facts and what every envelope has."""
    leaf = functools.partial(Node, "leaf", type="string")
    metric = mapping_of({name: Node("leaf", nullable=True, type="number") for name in ("value", "warning", "critical")} | {"unit": leaf()}, f"{path}.metrics")
    error = mapping_of({name: leaf() for name in ("source", "reason", "hint")}, f"{path}.errors[]")
    envelope = {
        "status": leaf(words=frozenset(STATUSES)),
        "summary": leaf(),
        "metrics": Node("free", f"{path}.metrics", element=metric),
        "errors": list_of(error, f"{path}.errors"),
    }
    return mapping_of({**_parse(value, path).children, **envelope}, path)


@dataclasses.dataclass(frozen=True)
class FactsSchema:
    """What ``stack_facts`` returns: *facts* by collector, and the *host* it ran on."""

    facts: Node
    host: Node

    @classmethod
    def load(cls, path: pathlib.Path = SCHEMA_FILE) -> FactsSchema:
        """Return the schema written down in *path*."""
        with path.open(encoding="utf-8") as file:
            content = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  both are safe loaders
        collectors = {name: _collector(value, f"facts.{name}") for name, value in content["collectors"].items()}
        host = dict(_parse(content["host"], "host").children)
        host["name"] = Node("leaf", "host.name", type="string")
        return cls(mapping_of(collectors, "facts"), mapping_of(host, "host"))

    def unknown_paths(self, facts: t.Mapping[str, t.Any]) -> list[str]:
        """Return what *facts* (``{schema, host, facts}``) hold that the schema does not name, or of another shape."""
        problems: list[str] = []
        _compare(facts.get("host", {}), self.host, "host", problems)
        _compare(facts.get("facts", {}), self.facts, "facts", problems)
        return problems


_TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "time": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,)}


def _compare(value: t.Any, node: Node, path: str, problems: list[str]) -> None:
    if value is None or node.kind == "any":
        if value is None and node.kind == "leaf" and not node.nullable:
            problems.append(f"{path}: null, but the schema says it is always there")
        return
    if node.kind == "leaf":
        expected = _TYPES.get(node.type, (object,))
        if not isinstance(value, expected) or (isinstance(value, bool) and node.type in ("integer", "number")):
            problems.append(f"{path}: {type(value).__name__}, expected {node.type}")
        elif node.words and value not in node.words:
            problems.append(f"{path}: {value!r} is none of {', '.join(sorted(node.words))}")
        return
    if node.kind == "list":
        if not isinstance(value, list):
            problems.append(f"{path}: {type(value).__name__}, expected a list")
            return
        for element in value:
            _compare(element, node.item(), f"{path}[]", problems)
        return
    if not isinstance(value, dict):
        problems.append(f"{path}: {type(value).__name__}, expected a mapping")
        return
    for key, below in value.items():
        try:
            child = node.child(str(key))
        except UnknownPath as error:
            problems.append(str(error))
            continue
        _compare(below, child, f"{path}.{key}", problems)


def union(nodes: t.Sequence[Node]) -> Node:
    """Return the schema of a value that has any of these schemas."""
    known = [node for node in nodes if node.type != "null"]
    nullable = len(known) < len(nodes) or any(node.nullable for node in known)
    if not known or any(node.kind == "any" for node in known) or len({node.kind for node in known}) > 1:
        return ANY
    first = known[0]
    if len(known) == 1:
        return dataclasses.replace(first, nullable=nullable)
    if first.kind == "mapping":
        names = {name: [node.children[name] for node in known if name in node.children] for node in known for name in node.children}
        children = {name: union(found + ([NULL] if len(found) < len(known) else [])) for name, found in names.items()}
        return Node("mapping", first.path, nullable, children=children)
    if first.kind in ("list", "free"):
        return Node(first.kind, first.path, nullable, element=union([node.element or ANY for node in known]))
    words = frozenset().union(*(node.words or () for node in known)) if all(node.words for node in known) else None
    return Node("leaf", first.path, nullable, type=first.type, words=words)


NULL = Node("leaf", nullable=True, type="null")
BOOLEAN = Node("leaf", type="boolean")

_SAME_ARRAY = frozenset(("where", "of_service", "top", "distinct", "sort", "sort_by", "reverse"))
_ONE_ELEMENT = frozenset(("max_by", "min_by", "max", "min"))


class Inference:
    """Follow a parsed expression through the schema. Collects nothing; raises :class:`UnknownPath` at the first problem."""

    def visit(self, node: dict[str, t.Any], current: Node) -> Node:
        """Return the schema of what the parsed expression *node* gives when applied to *current*."""
        method: t.Optional[t.Callable[[dict[str, t.Any], Node], Node]] = getattr(self, f"visit_{node['type']}", None)
        return method(node, current) if method else ANY

    def _in_order(self, node: dict[str, t.Any], current: Node) -> Node:
        for child in node["children"]:
            current = self.visit(child, current)
        return current

    visit_subexpression = visit_pipe = visit_index_expression = _in_order

    def visit_field(self, node: dict[str, t.Any], current: Node) -> Node:
        return current.child(node["value"])

    def visit_current(self, node: dict[str, t.Any], current: Node) -> Node:
        return current

    visit_identity = visit_current

    def visit_literal(self, node: dict[str, t.Any], current: Node) -> Node:
        value = node["value"]
        if value is None:
            return NULL
        if isinstance(value, list):
            return list_of(union([self.visit_literal({"value": element}, current) for element in value]) if value else ANY)
        if isinstance(value, dict):
            return mapping_of({name: self.visit_literal({"value": below}, current) for name, below in value.items()})
        words = frozenset((value,)) if isinstance(value, str) else None
        return Node("leaf", type={str: "string", bool: "boolean"}.get(type(value), "number"), words=words)

    def visit_index(self, node: dict[str, t.Any], current: Node) -> Node:
        return dataclasses.replace(current.item(), nullable=True)

    def visit_slice(self, node: dict[str, t.Any], current: Node) -> Node:
        return current

    def visit_flatten(self, node: dict[str, t.Any], current: Node) -> Node:
        base = self.visit(node["children"][0], current)
        inner = base.item()
        return inner if inner.kind == "list" else base if base.kind == "list" else ANY

    def visit_projection(self, node: dict[str, t.Any], current: Node) -> Node:
        base = self.visit(node["children"][0], current)
        return list_of(self.visit(node["children"][1], base.item()), base.path)

    def visit_value_projection(self, node: dict[str, t.Any], current: Node) -> Node:
        base = self.visit(node["children"][0], current)
        return list_of(self.visit(node["children"][1], base.element if base.kind == "free" and base.element else ANY))

    def visit_filter_projection(self, node: dict[str, t.Any], current: Node) -> Node:
        base = self.visit(node["children"][0], current)
        self.visit(node["children"][2], base.item())
        return list_of(self.visit(node["children"][1], base.item()), base.path)

    def visit_comparator(self, node: dict[str, t.Any], current: Node) -> Node:
        left, right = (self.visit(child, current) for child in node["children"])
        if node["value"] in ("eq", "ne"):
            for fact, literal in ((left, node["children"][1]), (right, node["children"][0])):
                value = literal.get("value") if literal["type"] == "literal" else None
                _check_words(fact, [value])
        return BOOLEAN

    def _both(self, node: dict[str, t.Any], current: Node) -> Node:
        return union([self.visit(child, current) for child in node["children"]])

    visit_or_expression = visit_and_expression = _both

    def visit_not_expression(self, node: dict[str, t.Any], current: Node) -> Node:
        self.visit(node["children"][0], current)
        return BOOLEAN

    def visit_multi_select_list(self, node: dict[str, t.Any], current: Node) -> Node:
        return list_of(union([self.visit(child, current) for child in node["children"]]))

    def visit_multi_select_dict(self, node: dict[str, t.Any], current: Node) -> Node:
        return mapping_of({child["value"]: self.visit(child["children"][0], current) for child in node["children"]})

    def visit_function_expression(self, node: dict[str, t.Any], current: Node) -> Node:
        name, arguments = node["value"], node["children"]
        plain = [self.visit(argument, current) for argument in arguments if argument["type"] != "expref"]
        array = next((argument for argument in plain if argument.kind == "list"), ANY)
        for argument in arguments:
            if argument["type"] == "expref":
                inner = self.visit(argument["children"][0], array.item())
                if name == "map":
                    return list_of(inner)
        if name == "where":
            _check_where(arguments, array.item())
        if name == "contains" and len(plain) == 2 and arguments[0]["type"] == "literal":
            _check_words(plain[1], arguments[0]["value"])
        if name in _SAME_ARRAY:
            return array
        if name in _ONE_ELEMENT:
            return dataclasses.replace(array.item(), nullable=True)
        if name == "flat":
            inner = array.item()
            return inner if inner.kind == "list" else array
        if name in ("coalesce", "not_null"):
            return union(plain)
        return ANY


def _check_words(fact: Node, values: t.Any) -> None:
    for value in values if isinstance(values, list) else ():
        if fact.words and isinstance(value, str) and value not in fact.words:
            raise UnknownPath(f"{fact.path or 'the value'} is never {value!r}, only {', '.join(sorted(fact.words))}")


def _check_where(arguments: t.Sequence[dict[str, t.Any]], element: Node) -> None:
    for argument in arguments[1::2]:
        if argument["type"] == "literal" and isinstance(argument["value"], str):
            node = element
            for key in argument["value"].split("."):
                node = node.child(key)


def _root_path(node: dict[str, t.Any]) -> t.Optional[str]:
    """Return the dotted path if *node* is nothing but names."""
    if node["type"] == "field":
        return str(node["value"])
    if node["type"] == "subexpression":
        parts = [_root_path(child) for child in node["children"]]
        return None if None in parts else ".".join(part for part in parts if part)
    return None


_NEGATIVE = frozenset(("ne", "lt", "lte", "gt", "gte"))


def paths_that_must_exist(node: dict[str, t.Any]) -> set[str]:
    """Return the paths of a condition whose absence would change its meaning: under a negation or an ordering.

    A missing value makes ``!x`` and ``x != 'a'`` true and ``x > `1``` neither, so a rule would fire, or pass, on nothing.
    """
    if node["type"] == "function_expression" and node["value"] in ("coalesce", "not_null"):
        return set()
    if node["type"] == "not_expression":
        return _unguarded(node["children"][0])
    if node["type"] == "comparator" and node["value"] in _NEGATIVE:
        with_null = any(child["type"] == "literal" and child["value"] is None for child in node["children"])
        return set() if with_null else set().union(*(_unguarded(child) for child in node["children"]))
    found: set[str] = set()
    if node["type"] in ("projection", "filter_projection", "value_projection", "expref"):
        return found
    for child in node["children"]:
        if isinstance(child, dict):
            found |= paths_that_must_exist(child)
    return found


def _unguarded(node: dict[str, t.Any]) -> set[str]:
    if node["type"] == "function_expression" and node["value"] in ("coalesce", "not_null"):
        return set()
    path = _root_path(node)
    if path is not None:
        return {path}
    if node["type"] in ("projection", "filter_projection", "value_projection", "flatten", "index_expression", "pipe", "subexpression"):
        return _unguarded(node["children"][0])
    found: set[str] = set()
    for child in node["children"]:
        if isinstance(child, dict) and node["type"] != "expref":
            found |= _unguarded(child)
    return found
