# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils._what_changed import changes_near, changes_of, news, told, what_changed

CONTAINER = {
    "id": "aaa", "project": "shop", "service": "api", "state": "running", "oneoff": False, "created_at": "2026-11-23T10:00:00Z",
    "started_at": "2026-11-23T10:00:01Z", "restart_count": 0, "config_hash": "one", "image": {"reference": "shop/api:1", "id": "sha256:1111111111111111"},
    "limits": {"memory_bytes": 100, "cpus": None, "pids": None}, "stats": {"memory_bytes": 200 << 20},
}  # fmt: skip
FACTS = {
    "compose": {"containers": [CONTAINER], "projects": [{"name": "shop", "env_file": "/srv/shop/.env", "env_newer_than_containers": []}]},
    "migrations": {"applications": [{"project": "shop", "service": "api", "current": ["0001"], "heads": ["0001"]}]},
}


def changed(**container):
    facts = copy.deepcopy(FACTS)
    facts["compose"]["containers"][0].update(container)
    return facts


def shown(before, now):
    return [(change["object"], change["what"], change["before"], change["after"]) for change in what_changed(before, now)]


def test_nothing_changed():
    assert what_changed(FACTS, copy.deepcopy(FACTS)) == []


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        (
            {"id": "bbb", "image": {"reference": "shop/api:2", "id": "sha256:2222222222222222"}, "started_at": "2026-11-23T11:00:01Z"},
            [("shop/api", "image", "shop/api:1 (111111111111)", "shop/api:2 (222222222222)")],
        ),
        ({"id": "bbb", "config_hash": "two"}, [("shop/api", "configuration", None, None)]),
        ({"id": "bbb"}, [("shop/api", "recreated", None, None)]),
        ({"limits": {"memory_bytes": 50, "cpus": None, "pids": None}}, [("shop/api", "limit-memory_bytes", 100, 50)]),
        ({"restart_count": 3, "started_at": "2026-11-23T11:00:01Z"}, [("shop/api", "restarts", 0, 3)]),
        ({"started_at": "2026-11-23T11:00:01Z"}, [("shop/api", "restarted", "2026-11-23T10:00:01Z", "2026-11-23T11:00:01Z")]),
        ({"stats": {"memory_bytes": 400 << 20}}, [("shop/api", "memory_bytes", 200 << 20, 400 << 20)]),
        ({"stats": {"memory_bytes": 240 << 20}}, []),
        ({"stats": {"memory_bytes": True}}, []),
        ({"stats": None}, []),
        ({"service": "web"}, [("shop/web", "service-added", None, "running"), ("shop/api", "service-removed", "running", None)]),
    ],
)
def test_containers(container, expected):
    assert shown(FACTS, changed(**container)) == expected


def test_the_time_is_that_of_the_deployment():
    (change,) = what_changed(FACTS, changed(id="bbb", config_hash="two", created_at="2026-11-23T11:00:00Z"))
    assert change["at"] == "2026-11-23T11:00:00Z"


def test_env_file_and_migrations():
    now = copy.deepcopy(FACTS)
    now["compose"]["projects"][0]["env_newer_than_containers"] = ["api"]
    now["migrations"]["applications"][0].update(current=["0002"], heads=["0002"])
    assert shown(FACTS, now) == [
        ("shop/api", "env-file", None, "/srv/shop/.env"),
        ("shop/api", "migration", "0001", "0002"),
        ("shop/api", "migration-heads", "0001", "0002"),
    ]


@pytest.mark.parametrize("facts", [{}, {"compose": {}}, {"compose": {"containers": None}}, {"compose": "x", "migrations": {"applications": [None]}}])
def test_what_was_not_read_has_not_changed(facts):
    assert what_changed(facts, FACTS) == []
    assert what_changed(FACTS, facts) == []


def test_those_of_the_same_stack_are_near_and_ones_own_come_first():
    changes = [
        {"object": name, "what": "recreated", "before": None, "after": None, "at": at} for name, at in (("shop/db", "2"), ("kiosk/api", "9"), ("shop/api", "1"))
    ]
    assert [change["object"] for change in changes_near(changes, "shop/api")] == ["shop/api", "shop/db"]


@pytest.mark.parametrize(("language", "text"), [("en", "shop/api has another limit (memory_bytes): 100 MiB → 50 MiB"), ("zh_TW", "已變更")])
def test_a_change_is_told(language, text):
    change = {"object": "shop/api", "what": "limit-memory_bytes", "before": 104857600, "after": 52428800, "at": None}
    assert text in told(change, language)


@pytest.mark.parametrize("language", ["en", "zh_TW"])
def test_every_change_has_a_text(language):
    now = changed(
        id="bbb",
        image={"reference": "shop/api:2\x1b[31m", "id": "sha256:2"},
        limits={"memory_bytes": 1, "cpus": 2, "pids": 3},
        created_at="2026-11-23T11:00:00Z",
    )
    for change in what_changed(FACTS, now):
        assert "\x1b" not in told(change, language)
        assert told(change, language).startswith("shop/api")


@pytest.mark.parametrize(("was", "is_now", "told_of"), [(20, 60, True), (60, 20, True), (20, 25, False), (2, 9, False), (None, 60, False), (20, None, False)])
def test_connections(was, is_now, told_of):
    def facts(used):
        return {"postgres": {"instances": [{"project": "shop", "service": "db", "name": "shop/db", "connections": {"used": used}}]}}

    assert shown(facts(was), facts(is_now)) == ([("shop/db", "connections", was, is_now)] if told_of else [])
    assert what_changed({}, facts(60)) == [] == what_changed(facts(60), {"postgres": {"instances": [{"project": "shop", "connections": None}]}})


def logs(*groups, status="warning", service="api"):
    shapes = [{"shape": shape, "count": count, "level": level, "first_seen": "2026-11-23T11:00:00Z"} for shape, count, level in groups]
    return {"logs": {"sources": [{"name": "/srv/app.log", "project": "shop", "service": service, "status": status, "groups": shapes}]}}


def test_errors_of_a_new_shape():
    before = logs(("connection refused", 4, "error"))
    now = logs(("connection refused", 9, "error"), ("key <n> is gone", 2, "error"), ("slow <n>", 50, "warning"), *((f"e{n}", 9, "critical") for n in range(5)))
    assert shown(before, now) == [("shop/api", "error-shape", None, shape) for shape in ("e0", "e1", "e2")]
    assert shown(before, logs(("key <n> is gone", 2, "error"))) == [("shop/api", "error-shape", None, "key <n> is gone")]
    # A log that was not read says nothing, and one that is new here is no news.
    assert shown(logs(status="unknown"), now) == [] == shown(logs(service="web"), now) == shown({}, now)
    assert what_changed(before, now)[0]["at"] == "2026-11-23T11:00:00Z"


def test_news_are_of_the_stack_or_of_the_object_and_the_rest_is_counted():
    changes = [{"object": name, "what": "recreated", "before": None, "after": None, "at": None} for name in ("shop/db", "shop/api", "shop/web", "other/api")]
    assert news(changes, "shop/api", True, "en", 2) == ["shop/api was recreated", "shop/db was recreated", "+1 more"]
    assert news(changes, "shop/api", False, "zh_TW", 2) == ["shop/api 已重新建立"]


def test_a_change_that_is_none_is_left_out():
    good = {"object": "shop/api", "what": "limit-cpus", "before": 1, "after": 2, "at": None}
    odd = [None, "x", {**good, "what": "others"}, {**good, "what": 3}, {**good, "object": None}, {**good, "at": 5}, {"object": "a"}]
    assert changes_of({"what_changed": [good, *odd]}) == [good]
    assert changes_of({"what_changed": "x"}) == [] == changes_of({})
