# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Conditions: the functions that rules may call, and that compiled expressions give what jmespath gives."""

from __future__ import annotations

import contextlib
import signal
import time

import jmespath
import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils._conditions import (
    ConditionError,
    Expression,
    metric_verdict,
    parse_time,
    pattern_problem,
    version_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "context", "expected"),
    [
        ("div(a, b)", {"a": 1, "b": 4}, 0.25),
        ("div(a, b)", {"a": 1, "b": 0}, None),
        ("pct(a, b)", {"a": 1, "b": 3}, 33.3),
        ("pct(a, b)", {"a": None, "b": 3}, None),
        ("matches(a, '^x+$')", {"a": "xx"}, True),
        ("matches(a, '^x+$')", {"a": None}, None),
        ("contains_any(a, ['x', 'y'])", {"a": "-y-"}, True),
        ("contains_any(a, ['x'])", {"a": ["z"]}, False),
        ("age_s(a, b)", {"a": "2026-01-01T00:00:00Z", "b": "2026-01-01T00:01:00+00:00"}, 60.0),
        ("age_s(a, b)", {"a": "yesterday", "b": "2026-01-01T00:01:00Z"}, None),
        ("version_lt(a, '1.10')", {"a": "1.9"}, True),
        ("version_lt(a, '1.10')", {"a": None}, None),
        ("top(a, 'x.y', `1`)", {"a": [{"x": {"y": 1}}, {"x": {"y": 2}}, {}]}, [{"x": {"y": 2}}]),
        ("top(a, 'x', `1`)", {"a": None}, None),
        ("coalesce(a, b, c)", {"b": 0, "c": 1}, 0),
        ("flat([a, b, c])", {"a": [1], "b": None, "c": [2, None]}, [1, 2]),
        ("distinct(a)", {"a": [1, 2, 1, True]}, [1, 2, True]),
        ("where(a, 'p', 's', 'q.r', `1`)", {"a": [{"p": "s", "q": {"r": 1}}, {"p": "s"}]}, [{"p": "s", "q": {"r": 1}}]),
        (
            "of_service(a, b)",
            {"a": [{"project": "p", "service": "s"}, {"project": "p"}], "b": {"project": "p", "service": "s"}},
            [{"project": "p", "service": "s"}],
        ),
        ("verdict(a)", {"a": {"value": 96, "warning": 90, "critical": 97}}, "warning"),
        ("verdict(a)", {"a": None}, None),
        ("url_path(a)", {"a": "http://h:1/x/y?z"}, "/x/y"),
        ("url_port(a)", {"a": "http://h:81/"}, 81),
    ],
)
def test_functions(text, context, expected):
    assert Expression(text)(context) == expected


def test_a_verdict_is_by_the_metric_s_own_thresholds():
    assert metric_verdict({"value": 97, "warning": 90, "critical": 97}) == "critical"
    assert metric_verdict({"value": 1, "warning": None, "critical": None}) == "ok"
    assert metric_verdict({"value": None, "warning": 1}) is None


def test_errors_are_one_kind_and_name_the_expression():
    with pytest.raises(ConditionError, match=r"length\(a\)"):
        Expression("length(a)")({"a": 1})
    with pytest.raises(ConditionError):
        Expression("sum(a) > `1`")({"a": ["x"]})
    for text in ("a[?", "a.b.", "`{`"):
        with pytest.raises(ConditionError, match="not JMESPath"):
            Expression(text)


def test_expressions_are_bounded():
    with pytest.raises(ConditionError, match="longer than"):
        Expression("a || " * 600 + "a")
    with pytest.raises(ConditionError):
        Expression("(" * 900 + "a" + ")" * 900)


def test_patterns_without_a_time_bound_are_refused():
    assert pattern_problem("(a+)+$") is not None
    assert pattern_problem(r"(a)\1") is not None
    assert pattern_problem("a" * 300) is not None
    assert pattern_problem("[") is not None
    assert pattern_problem("^(jwt-|tls-)") is None
    started = time.process_time()
    Expression("matches(a, '(x|y)*z$')")({"a": "xy" * 100_000})
    assert time.process_time() - started < 2


@pytest.mark.parametrize("pattern", ["(a|a)*b", "(a|aa)+$", "((a+))+b", "(?=(a+)+b)", "((a|b)|(a|b))+c", "(?:a?)+b", "(a{0,9})*c", "a{1,1000}{1,1000}"])
def test_patterns_that_divide_a_text_in_every_way_are_refused(pattern):
    assert pattern_problem(pattern) is not None
    with pytest.raises(ConditionError):
        Expression(f"matches(a, '{pattern}')")({"a": "a" * 4000})


@pytest.mark.parametrize("pattern", ["(ab|cd)+e", "(x|y)*z$", "^(jwt-|tls-)", "(?:foo|bar) (baz)?", "[a-z]+-[0-9]{1,3}", "a.*b.*c"])
def test_patterns_with_a_bound_are_not(pattern):
    assert pattern_problem(pattern) is None


def test_a_pattern_that_takes_too_long_is_given_up_and_another_alarm_still_rings():
    rung = []
    handler = signal.signal(signal.SIGALRM, lambda *dummy: rung.append(True))
    try:
        signal.setitimer(signal.ITIMER_REAL, 3600)
        slow = Expression("matches(a, '[a-z]+[a-z]+[a-z]+[a-z]+[a-z]+[a-z]+[a-z]+!')")
        for dummy in range(2):
            with pytest.raises(ConditionError, match="takes longer than"):
                slow({"a": "a" * 4096})
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] < 3600 and rung == []
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


@pytest.mark.parametrize("text", ["[@,@][]" + "|[@,@][]" * 200, "to_string(" + "[@,@]|" * 20 + "@)", "a" + "|{a: @, b: @}" * 40])
def test_expressions_that_double_with_every_step_are_refused(text):
    with pytest.raises(ConditionError, match="repeats what it is given"):
        Expression(text)


@settings(deadline=None, max_examples=60)
@given(st.text(st.sampled_from("ab|*+?.()[]{},^$\\1"), max_size=14))
def test_any_pattern_is_refused_or_ends(pattern):
    if pattern_problem(pattern) is None:
        with contextlib.suppress(ConditionError):
            Expression(f"matches(a, '{pattern}')")({"a": "ab" * 500})


def test_times_and_versions():
    assert parse_time("2026-01-01") == parse_time("2026-01-01T00:00:00Z")
    assert parse_time(7) is None and parse_time("soon") is None
    assert version_key("v20.10.24+dfsg1") == (20, 10, 24)
    assert version_key("latest") == ()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "a", "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
EXPRESSIONS = [
    "a.b.c", "a[]", "a[].b", "a[].b[]", "a[?b]", "a[?b==`1`].c", "a[?b!='a' && c]", "a[?b || !c] | [0]", "a[*].b", "a[0].b", "[a, b.c]", "{x: a, y: b}",
    "a == b", "a != `true`", "a && b || c", "!a", "a[?@=='a']", "a.*", "a[1:]", "not_null(a, b)", "a[?b>`0`]", "a[?b==`0`]", "@.a", "a | b", "type(a)",
]  # fmt: skip


@pytest.mark.parametrize("text", EXPRESSIONS)
@settings(max_examples=40, deadline=None)
@given(context=st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3))
def test_compiled_expressions_give_what_jmespath_gives(text, context):
    try:
        expected = jmespath.search(text, context)
    except Exception:
        with pytest.raises(ConditionError):
            Expression(text)(context)
        return
    found = Expression(text)(context)
    assert found == expected
    assert type(found) is type(expected)
