# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Parsed JMESPath as Python closures, for the few kinds of nodes that conditions of rules consist of.

jmespath walks its tree anew for every value. Over a fleet that walk is most of the judging: with closures it is a
fourth. What is not known here is left to jmespath's own interpreter, and the tests compare the two on everything else.
"""

from __future__ import annotations

import typing as t

Node = dict[str, t.Any]
Closure = t.Callable[[t.Any], t.Any]


def is_true(value: t.Any) -> bool:
    """Return whether *value* is true in JMESPath's sense: 0 is, empty text, arrays and mappings are not."""
    return bool(value) or (value == 0 and value is not False and not isinstance(value, (str, list, dict)))


def equal(left: t.Any, right: t.Any) -> bool:
    """Return whether two values are equal in JMESPath's sense: true is not 1."""
    return bool(left == right) and (left.__class__ is bool) == (right.__class__ is bool)


def _path(names: tuple[str, ...]) -> Closure:
    def run(value: t.Any) -> t.Any:
        for name in names:
            if not isinstance(value, dict):
                return None
            value = value.get(name)
        return value

    return run


class ClosureCompiler:
    """Turns parsed nodes into closures; *interpreter* is jmespath's, with the functions that expressions may call."""

    def __init__(self, interpreter: t.Any) -> None:
        self._visit: t.Callable[[Node, t.Any], t.Any] = interpreter.visit
        self._call: t.Callable[[str, list[t.Any]], t.Any] = interpreter._functions.call_function

    def compile(self, node: Node) -> Closure:
        """Return a function of one value that gives what the interpreter would."""
        build: t.Optional[t.Callable[[Node], Closure]] = getattr(self, f"_{node['type']}", None)
        if build is not None:
            return build(node)
        visit = self._visit
        return lambda value: visit(node, value)

    def _names(self, node: Node) -> t.Optional[tuple[str, ...]]:
        """Return the names of a path that is nothing but names."""
        if node["type"] == "field":
            return (node["value"],)
        if node["type"] != "subexpression":
            return None
        parts = [self._names(child) for child in node["children"]]
        return None if any(part is None for part in parts) else tuple(name for part in parts for name in part or ())

    def _children(self, node: Node) -> list[Closure]:
        return [self.compile(child) for child in node["children"]]

    def _field(self, node: Node) -> Closure:
        name = node["value"]
        return lambda value: value.get(name) if isinstance(value, dict) else None

    def _current(self, node: Node) -> Closure:
        return lambda value: value

    _identity = _current

    def _literal(self, node: Node) -> Closure:
        constant = node["value"]
        return lambda value: constant

    def _subexpression(self, node: Node) -> Closure:
        names = self._names(node)
        if names is not None:
            return _path(names)
        steps = self._children(node)

        def run(value: t.Any) -> t.Any:
            for step in steps:
                value = step(value)
            return value

        return run

    _pipe = _index_expression = _subexpression

    def _comparator(self, node: Node) -> Closure:
        if node["value"] not in ("eq", "ne"):
            visit = self._visit
            return lambda value: visit(node, value)
        left, right = self._children(node)
        if node["value"] == "ne":
            return lambda value: not equal(left(value), right(value))
        literal = node["children"][1]
        if literal["type"] == "literal" and isinstance(literal["value"], str):
            word = literal["value"]
            return lambda value: bool(left(value) == word)
        return lambda value: equal(left(value), right(value))

    def _and_expression(self, node: Node) -> Closure:
        left, right = self._children(node)

        def run(value: t.Any) -> t.Any:
            first = left(value)
            return right(value) if is_true(first) else first

        return run

    def _or_expression(self, node: Node) -> Closure:
        left, right = self._children(node)

        def run(value: t.Any) -> t.Any:
            first = left(value)
            return first if is_true(first) else right(value)

        return run

    def _filter_projection(self, node: Node) -> Closure:
        base, project, condition = self._children(node)

        def run(value: t.Any) -> t.Any:
            elements = base(value)
            if not isinstance(elements, list):
                return None
            kept = [project(element) for element in elements if is_true(condition(element))]
            return [element for element in kept if element is not None]

        return run

    def _projection(self, node: Node) -> Closure:
        base, project = self._children(node)

        def run(value: t.Any) -> t.Any:
            elements = base(value)
            if not isinstance(elements, list):
                return None
            return [element for element in map(project, elements) if element is not None]

        return run

    def _flatten(self, node: Node) -> Closure:
        base = self.compile(node["children"][0])

        def run(value: t.Any) -> t.Any:
            elements = base(value)
            if not isinstance(elements, list):
                return None
            flat: list[t.Any] = []
            for element in elements:
                if isinstance(element, list):
                    flat.extend(element)
                else:
                    flat.append(element)
            return flat

        return run

    def _multi_select_list(self, node: Node) -> Closure:
        parts = self._children(node)
        return lambda value: None if value is None else [part(value) for part in parts]

    def _function_expression(self, node: Node) -> Closure:
        name, arguments, call = node["value"], self._children(node), self._call
        return lambda value: call(name, [argument(value) for argument in arguments])
