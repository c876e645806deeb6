# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Conditions of rules: JMESPath, compiled once, with a few pure functions that JMESPath lacks.

The functions take ``null`` for what is missing and give ``null`` back, so that a missing fact stays missing; whether a
rule may be judged without it is for its ``requires`` to say. Their work is bounded by the size of their arguments.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import math
import re
import shlex
import sys
import threading
import typing as t
import urllib.parse
import warnings

try:
    from re import _parser  # type: ignore[attr-defined]
except ImportError:  # Python 3.10 and older have it under this name.
    import sre_parse as _parser  # pylint: disable=deprecated-module

from ._closures import Closure, ClosureCompiler, is_true
from ._time_limit import alarm

try:
    import jmespath
    import jmespath.exceptions
    import jmespath.functions
    import jmespath.visitor

    HAS_JMESPATH = True
except ImportError:
    HAS_JMESPATH = False

__all__ = ["ConditionError", "Expression", "check_library", "function_names", "is_true", "metric_verdict", "parse_time", "pattern_problem", "version_key"]

MAXIMUM_EXPRESSION = 2048
MAXIMUM_PATTERN = 200
_MAXIMUM_SUBJECT = 4096
_SMALL_REPETITION = 8

_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
#: Beyond it a pattern is given up for good: what it does on one text of a log it would do on the next.
MAXIMUM_MATCH_SECONDS = 1.0
#: How many times over an expression may show what it is given: lists of lists of itself double with every step.
MAXIMUM_GROWTH = 4096

_ANY: list[str] = []
_TEXT = ["string", "null"]
_NUMBER = ["number", "null"]
_ARRAY = ["array", "null"]


class ConditionError(ValueError):
    """An expression that cannot be compiled, or that failed on the facts it was given."""


@dataclasses.dataclass
class _Pattern:
    """A regular expression; *slow* is one whose time grows with a power of the text's length, *given_up* one that took too long."""

    compiled: re.Pattern[str]
    slow: bool
    given_up: bool = False

    def found_in(self, subject: str) -> bool:
        if self.given_up:
            raise ConditionError(self._too_slow())
        if not self.slow or threading.current_thread() is not threading.main_thread():
            return self.compiled.search(subject) is not None
        try:
            with alarm(MAXIMUM_MATCH_SECONDS, _TooLong()):
                return self.compiled.search(subject) is not None
        except _TooLong:
            self.given_up = True
            raise ConditionError(self._too_slow()) from None

    def _too_slow(self) -> str:
        return f"the pattern {self.compiled.pattern!r} takes longer than {MAXIMUM_MATCH_SECONDS:g} s on one text: let it repeat less"


class _TooLong(Exception):
    """The time for one match is over."""


@functools.lru_cache(maxsize=512)
def _pattern(text: str) -> _Pattern:
    problem = pattern_problem(text)
    if problem:
        raise ConditionError(problem)
    return _Pattern(re.compile(text), _repeats(_parsed(text)) > 1)


def _parsed(text: str) -> t.Any:
    return _parser.parse(text)


def _below(argument: t.Any) -> t.Iterator[t.Any]:
    """Yield the parts of a parsed pattern inside the *argument* of one of its operations."""
    if isinstance(argument, _parser.SubPattern):
        yield argument
    elif isinstance(argument, (list, tuple)):
        for element in argument:
            yield from _below(element)


def _is_open(operation: t.Any, argument: t.Any) -> bool:
    """Return whether an operation repeats without a bound that matters."""
    return str(operation) in ("MAX_REPEAT", "MIN_REPEAT") and argument[1] - argument[0] > _SMALL_REPETITION


def _repeats(part: t.Any) -> int:
    """Return how many repetitions of *part* can share out the same text among them."""
    return sum(_is_open(operation, argument) + sum(_repeats(below) for below in _below(argument)) for operation, argument in part)


def _explodes(part: t.Any, repeated: bool = False) -> bool:
    """Return whether something of variable length, or a choice, is repeated: on text that does not match, every way to divide it is tried."""
    for operation, argument in part:
        name = str(operation)
        varies = name in ("MAX_REPEAT", "MIN_REPEAT") and argument[0] != argument[1]
        if name == "GROUPREF" or (repeated and (varies or (name == "BRANCH" and not _tells_apart(argument[1])))):
            return True
        if any(_explodes(below, repeated or _is_open(operation, argument)) for below in _below(argument)):
            return True
    return False


def _tells_apart(alternatives: t.Sequence[t.Any]) -> bool:
    """Return whether the first character says which of *alternatives* it is: then there is but one way to divide the text."""
    firsts = [(str(alternative[0][0]), alternative[0][1]) if len(alternative) else ("", None) for alternative in alternatives]
    return all(name == "LITERAL" for name, dummy in firsts) and len({character for dummy, character in firsts}) == len(firsts)


def pattern_problem(text: str) -> t.Optional[str]:
    """Return why *text* is no acceptable regular expression, or ``None``."""
    if len(text) > MAXIMUM_PATTERN:
        return f"the pattern is longer than {MAXIMUM_PATTERN} characters"
    try:
        re.compile(text)
        explodes = _explodes(_parsed(text))
    except (re.error, OverflowError) as error:
        return f"the pattern {text!r} is not a regular expression: {error}"
    except RecursionError:
        return f"the pattern {text!r} is nested too deeply"
    if explodes:
        return f"the pattern {text!r} repeats what repeats or has alternatives, or refers back: its time has no bound"
    return None


def parse_time(text: t.Optional[str]) -> t.Optional[datetime.datetime]:
    """Return an RFC 3339 time (or a date, which begins at midnight UTC), ``None`` for anything else."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text.strip()))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)


def version_key(text: str) -> tuple[int, ...]:
    """Return the numbers of a version for comparison; what follows the numbers does not count."""
    leading = re.match(r"\D*(\d+(?:\.\d+)*)", text)
    return tuple(int(part) for part in leading.group(1).split(".")) if leading else ()


def metric_verdict(metric: t.Any) -> t.Optional[str]:
    """Return the status of one entry of an envelope's ``metrics`` by its own thresholds."""
    if not isinstance(metric, dict) or metric.get("value") is None:
        return None
    for status in ("critical", "warning"):
        limit = metric.get(status)
        if limit is not None and metric["value"] >= limit:
            return status
    return "ok"


def _lookup(value: t.Any, path: str) -> t.Any:
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _ratio(left: t.Optional[float], right: t.Optional[float]) -> t.Optional[float]:
    return None if left is None or not right else left / right


def _unique(array: t.Iterable[t.Any]) -> list[t.Any]:
    kept: list[t.Any] = []
    seen: set[str] = set()
    for element in array:
        key = f"{type(element).__name__}:{element!r}"
        if key not in seen:
            seen.add(key)
            kept.append(element)
    return kept


def check_library() -> None:
    """See that conditions can be evaluated here.

    :raises ConditionError: the library is missing.
    """
    if not HAS_JMESPATH:
        python = shlex.quote(sys.executable or "python3")
        how = f"{python} -m pip install jmespath, or the package python3-jmespath where Ansible is one of the distribution's"
        raise ConditionError(f"the controller lacks the Python library jmespath. Install it for the Python that runs Ansible: {how}")


@functools.lru_cache(maxsize=1)
def _interpreter() -> t.Any:
    """Return the one interpreter, with the functions below. Built on first use: jmespath may be absent at import."""
    check_library()
    signature = jmespath.functions.signature

    class RuleFunctions(jmespath.functions.Functions):
        """What rules can call besides JMESPath's own functions."""

        @signature({"types": _NUMBER}, {"types": _NUMBER})
        def _func_div(self, left: t.Optional[float], right: t.Optional[float]) -> t.Optional[float]:
            return _ratio(left, right)

        @signature({"types": _NUMBER}, {"types": _NUMBER})
        def _func_pct(self, part: t.Optional[float], whole: t.Optional[float]) -> t.Optional[float]:
            ratio = _ratio(part, whole)
            return None if ratio is None else round(100 * ratio, 1)

        @signature({"types": _TEXT}, {"types": ["string"]})
        def _func_matches(self, subject: t.Optional[str], pattern: str) -> t.Optional[bool]:
            return None if subject is None else _pattern(pattern).found_in(subject[:_MAXIMUM_SUBJECT])

        @signature({"types": ["string", "array", "null"]}, {"types": ["array"]})
        def _func_contains_any(self, subject: t.Any, candidates: list[t.Any]) -> t.Optional[bool]:
            return None if subject is None else any(candidate in subject for candidate in candidates)

        @signature({"types": _TEXT}, {"types": _TEXT})
        def _func_age_s(self, moment: t.Optional[str], now: t.Optional[str]) -> t.Optional[float]:
            earlier, later = parse_time(moment), parse_time(now)
            return None if earlier is None or later is None else (later - earlier).total_seconds()

        @signature({"types": _TEXT}, {"types": ["string"]})
        def _func_version_lt(self, version: t.Optional[str], limit: str) -> t.Optional[bool]:
            return version_key(version) < version_key(limit) if version and version_key(version) else None

        @signature({"types": _ARRAY}, {"types": ["string"]}, {"types": ["number"]})
        def _func_top(self, array: t.Optional[list[t.Any]], field: str, count: float) -> t.Optional[list[t.Any]]:
            if array is None:
                return None
            numbered = [element for element in array if isinstance(_lookup(element, field), (int, float))]
            return sorted(numbered, key=lambda element: -_lookup(element, field))[: int(count)]

        @signature({"types": _ANY, "variadic": True})
        def _func_coalesce(self, *values: t.Any) -> t.Any:
            return next((value for value in values if value is not None), None)

        @signature({"types": _ARRAY})
        def _func_flat(self, array: t.Optional[list[t.Any]]) -> list[t.Any]:
            flat: list[t.Any] = []
            for element in array or ():
                flat.extend(element if isinstance(element, list) else [element])
            return [element for element in flat if element is not None]

        @signature({"types": _ARRAY})
        def _func_distinct(self, array: t.Optional[list[t.Any]]) -> t.Optional[list[t.Any]]:
            return None if array is None else _unique(array)

        @signature({"types": _ARRAY}, {"types": ["string"]}, {"types": _ANY, "variadic": True})
        def _func_where(self, array: t.Optional[list[t.Any]], *conditions: t.Any) -> t.Optional[list[t.Any]]:
            if array is None:
                return None
            pairs = list(zip(conditions[::2], conditions[1::2]))
            return [element for element in array if all(_lookup(element, key) == value for key, value in pairs)]

        @signature({"types": _ARRAY}, {"types": ["object", "null"]})
        def _func_of_service(self, array: t.Optional[list[t.Any]], item: t.Optional[dict[str, t.Any]]) -> t.Optional[list[t.Any]]:
            if array is None or item is None:
                return None
            wanted = (item.get("project"), item.get("service"))
            return [element for element in array if isinstance(element, dict) and (element.get("project"), element.get("service")) == wanted]

        @signature({"types": ["object", "null"]})
        def _func_verdict(self, metric: t.Any) -> t.Optional[str]:
            return metric_verdict(metric)

        @signature({"types": _TEXT})
        def _func_url_path(self, url: t.Optional[str]) -> t.Optional[str]:
            return None if url is None else urllib.parse.urlsplit(url[:_MAXIMUM_SUBJECT]).path or "/"

        @signature({"types": _TEXT})
        def _func_url_port(self, url: t.Optional[str]) -> t.Optional[int]:
            try:
                return None if url is None else urllib.parse.urlsplit(url[:_MAXIMUM_SUBJECT]).port
            except ValueError:
                return None

    return jmespath.visitor.TreeInterpreter(jmespath.Options(custom_functions=RuleFunctions()))


def function_names() -> frozenset[str]:
    """Return the names of all functions that a condition may call."""
    return frozenset(_interpreter()._functions.FUNCTION_TABLE)


def _growth(node: t.Any) -> int:
    """Return how many times over the result of *node* may hold what it is given; beyond the maximum, any number beyond it."""
    children = [_growth(child) for child in node["children"] if isinstance(child, dict)]
    kind = node["type"]
    if kind in ("multi_select_list", "multi_select_dict", "function_expression"):
        return min(sum(children), MAXIMUM_GROWTH + 1) or 1
    if kind in ("pipe", "subexpression", "index_expression", "projection", "value_projection", "filter_projection", "flatten"):
        return min(math.prod(children[:2]), MAXIMUM_GROWTH + 1)
    return max(children, default=1)


class Expression:
    """One JMESPath expression, compiled. Plain paths, which most are, are followed as they are."""

    __slots__ = ("_closure", "_keys", "parsed", "shared", "text")

    def __init__(self, text: str) -> None:
        """Compile *text*.

        :raises ConditionError: it is too long, too deep or not JMESPath; the message has the position.
        """
        _interpreter()
        if len(text) > MAXIMUM_EXPRESSION:
            raise ConditionError(f"the expression is longer than {MAXIMUM_EXPRESSION} characters")
        try:
            with warnings.catch_warnings():
                # `word` in backticks without quotes is an old spelling of text, and mostly a forgotten pair of quotes.
                warnings.simplefilter("error", PendingDeprecationWarning)
                self.parsed = t.cast(dict[str, t.Any], jmespath.compile(text).parsed)
        except RecursionError as error:
            raise ConditionError("the expression is nested too deeply") from error
        except (jmespath.exceptions.JMESPathError, PendingDeprecationWarning) as error:
            raise ConditionError(f"not JMESPath: {' '.join(str(error).split())}") from error
        if _growth(self.parsed) > MAXIMUM_GROWTH:
            raise ConditionError(f"the expression repeats what it is given more than {MAXIMUM_GROWTH} times")
        self.text = text
        #: Whether it gives the same for every rule, whatever the rule's own thresholds and items.
        self.shared = not re.search(r"\b(?:thresholds|item|parent)\b", text)
        self._closure: t.Optional[Closure] = None
        self._keys = tuple(text.split(".")) if _PATH.fullmatch(text) else None

    def __call__(self, context: t.Any) -> t.Any:
        """Return what the expression gives for *context*; whatever goes wrong inside is a :class:`ConditionError`."""
        if self._keys is not None:
            for key in self._keys:
                if not isinstance(context, dict):
                    return None
                context = context.get(key)
            return context
        try:
            if self._closure is None:
                self._closure = ClosureCompiler(_interpreter()).compile(self.parsed)
            return self._closure(context)
        except Exception as error:  # JMESPath raises TypeError and others from inside Python's operators
            raise ConditionError(f"{type(error).__name__}: {' '.join(str(error).split())} in {self.text}") from error

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"
