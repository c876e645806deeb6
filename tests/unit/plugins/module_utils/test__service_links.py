# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a service needs, read from environments and labels, and trying it from this process's own namespace."""

from __future__ import annotations

import json
import os
import socket

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _service_links as links
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import ContainerRef, Stack
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from hypothesis import given
from hypothesis import strategies as st

NAMES = {"db": "db", "cache": "cache", "api": "api", "shop-db-1": "db", "queue": "queue"}
PORTS = {"db": 5432, "cache": 6379, "api": 8000, "queue": None}

ROW_KEYS = {
    "project", "from_service", "to_host", "to_port", "to_service", "origin", "status", "resolved", "addresses", "connected", "connect_ms", "failure",
    "shared_networks",
}  # fmt: skip


def container(service, env=(), running=True, pid=None, depends_on="", networks=("shop_default",), exposed=(), command="uvicorn", mode="", test=None):
    return ContainerRef(
        {
            "Id": f"{service}id",
            "Name": f"/shop-{service}-1",
            "Path": command,
            "Args": [],
            "State": {"Status": "running" if running else "exited", "Pid": pid},
            "Config": {
                "Labels": {
                    "com.docker.compose.project": "shop",
                    "com.docker.compose.service": service,
                    "com.docker.compose.depends_on": depends_on,
                },
                "Env": list(env),
                "ExposedPorts": {f"{port}/tcp": {} for port in exposed},
                "Healthcheck": {"Test": test} if test else None,
            },
            "HostConfig": {"NetworkMode": mode},
            "NetworkSettings": {"Networks": {name: {"Aliases": [service, f"{service}-alias"], "IPAddress": ""} for name in networks}},
        }
    )


def found(*containers):
    stack = Stack("shop", containers=containers)
    return [(one.source.service, one.to_host, one.to_port, one.to_service, one.origin, one.shared_networks) for one in links.find_links(stack)]


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("DATABASE_URL", "postgresql+psycopg2://u:p%40ss@db/app", [("db", 5432)]),
        ("DATABASE_URL", "postgresql://u:p@elsewhere.example:6432/app", [("elsewhere.example", 6432)]),
        ("DATABASE_URL", "postgresql://u:p@localhost/app", [("localhost", 5432)]),
        ("DATABASE_URL", "sqlite:////data/app.db", []),
        ("REDIS_URL", "redis://:secret@cache/0", [("cache", 6379)]),
        ("REDIS_URL", "rediss://redis.example", [("redis.example", 6379)]),
        ("CELERY_BROKER_URL", "amqp://u:p@queue:5673//", [("queue", 5673)]),
        ("MONGO", "mongodb://a:1,b:2/db", [("a", 1), ("b", 2)]),
        ("BACKEND", "http://api:8000/v1", [("api", 8000)]),
        ("BACKEND", "http://api/v1", [("api", 80)]),
        ("ORIGINS", "http://localhost:3000,https://shop.example", []),
        ("KAFKA_BROKERS", "queue:9092,api:9093", [("queue", 9092), ("api", 9093)]),
        ("BIND", "0.0.0.0:8000", []),
        ("CACHE_HOST", "cache", [("cache", 6379)]),
        ("QUEUE_HOST", "queue", []),
        ("CACHE_HOST", "unknown", []),
        ("HOSTNAME", "cache", [("cache", 6379)]),
        ("IMAGE", "db:17", []),
        ("URL", "redis://cache:99999/0", []),
        ("URL", "redis://[::1", []),
    ],
)
def test_environment_links(variable, value, expected):
    assert links.environment_links({variable: value}, NAMES, PORTS) == expected


def test_host_and_port_variables_belong_together():
    assert links.environment_links({"CACHE_HOST": "cache", "CACHE_PORT": "6380", "OTHER_PORT": "1"}, NAMES, PORTS) == [("cache", 6380)]
    assert links.environment_links({"PGHOST": "db", "PGPORT": "6432", "PGUSER": "app"}, NAMES, PORTS) == [("db", 6432)]


def test_a_product_in_the_variables_name_says_the_port_before_the_image_does():
    assert links.environment_links({"MYSQL_HOST": "db", "REDIS_HOSTNAME": "cache", "API_HOST": "api"}, NAMES, {**PORTS, "db": 8000, "cache": None}) == [
        ("api", 8000), ("db", 3306), ("cache", 6379),
    ]  # fmt: skip


def test_a_host_alone_takes_the_exposed_port_for_an_assumption():
    web = container("web", ["API_HOST=api", "QUEUE_URL=amqp://queue"])
    (to_api, to_queue) = links.find_links(Stack("shop", containers=[web, container("api", exposed=[8000], pid=7), container("queue", exposed=[9], pid=8)]))
    assert (to_api.to_port, to_api.assumed_of_pid) == (8000, 7)
    assert (to_queue.to_port, to_queue.assumed_of_pid) == (5672, None)


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=80), max_size=5))
def test_any_environment_gives_legal_links(env):
    for host, port in links.environment_links(env, NAMES, PORTS):
        assert host
        assert 0 < port < 65536


@given(st.text("abc:/@%,.[]0123456789", max_size=30))
def test_passwords_never_become_hosts(tail):
    for host, dummy in links.environment_links({"U": f"redis://user:PL4NTED@cache{tail}"}, NAMES, PORTS):
        assert "PL4NTED" not in host


def test_links_of_a_stack():
    api = container("api", ["DATABASE_URL=postgresql://u:p@db/app", "CACHE_HOST=cache"], depends_on="db:service_healthy:false,queue:service_started:true")
    db = container("db", ["POSTGRES_HOST=db"], command="postgres", exposed=[5432])
    cache = container("cache", command="redis-server", networks=["shop_back"])
    queue = container("queue", command="rabbitmq-server", exposed=[5672], networks=["shop_default", "shop_back"])
    assert found(api, db, cache, queue) == [
        ("api", "db", 5432, "db", "environment", ("shop_default",)),
        ("api", "cache", 6379, "cache", "environment", ()),
        ("api", "queue", 5672, "queue", "depends_on", ("shop_default",)),
    ]


def test_jobs_and_services_without_a_port_are_no_links():
    api = container("api", depends_on="migrate:service_completed_successfully:false,worker:service_started:false")
    assert found(api, container("migrate", running=False), container("worker")) == []


def test_a_shared_namespace_has_the_networks_of_the_other():
    api = container("api", ["CACHE_HOST=cache"], networks=[], mode="container:proxyid")
    assert found(api, container("proxy", networks=["front", "back"]), container("cache", networks=["back"], exposed=[6379])) == [
        ("api", "cache", 6379, "cache", "environment", ("back",))
    ]


def test_a_missing_service_is_still_a_link():
    assert found(container("api", ["DATABASE_URL=postgresql://u:p@database/app"])) == [("api", "database", 5432, None, "environment", ())]


def test_not_running_sources_are_listed_untried():
    facts = links.collect_links([Stack("shop", containers=[container("api", ["DATABASE_URL=postgresql://u:p4ss@db/app"], running=False)])])
    (row,) = facts["links"]
    assert set(row) == ROW_KEYS
    assert (row["status"], row["failure"], row["resolved"], row["connected"]) == ("unknown", "not-running", None, None)
    assert "p4ss" not in json.dumps(facts)


def test_without_permission_it_is_unknown_with_one_hint(monkeypatch):
    def refuse(*dummy):
        raise CheckError("network namespace", "Operation not permitted", "Run as root.", "not-permitted")

    monkeypatch.setattr(links, "in_network_namespace", refuse)
    api = container("api", ["A=redis://cache", "B=redis://queue"], pid=os.getpid())
    facts = links.collect_links([Stack("shop", containers=[api])])
    assert facts["status"] == "unknown"
    assert {row["failure"] for row in facts["links"]} == {"not-permitted"}
    assert [error["hint"] for error in facts["errors"]] == ["Run as root."]


@pytest.mark.parametrize(
    ("test", "expected"),
    [(None, []), (["CMD", "curl", "http://localhost:{port}/"], ["warning"])],
    ids=["only its image exposes it", "its health check asks there"],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="entering a network namespace needs root")
def test_an_exposed_port_on_which_nothing_listens_was_not_meant(monkeypatch, test, expected):
    monkeypatch.setattr(links.Resolver, "resolve", lambda *dummy: ["127.0.0.1"])
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    worker = container("worker", exposed=[port], pid=os.getpid(), test=[part.format(port=port) for part in test] if test else None)
    api = container("api", depends_on="worker:service_started:false", pid=os.getpid())
    facts = links.collect_links([Stack("shop", containers=[api, worker])])
    assert [row["status"] for row in facts["links"]] == expected


def test_what_listens_on_its_own_loopback_meant_to_serve():
    with socket.create_server(("127.0.0.1", 0)) as inward:
        port = inward.getsockname()[1]
        (link,) = links.find_links(
            Stack("shop", containers=[container("api", depends_on="web:service_started:false"), container("web", exposed=[port], pid=os.getpid())])
        )
        refused = links._Result(resolved=True, connected=False, failure="refused")
        assert not links._was_not_meant(link, refused)
    assert links._was_not_meant(link, refused)
    assert not links._was_not_meant(link, links._Result(resolved=True, connected=False, failure="timeout"))


@pytest.mark.skipif(os.geteuid() != 0, reason="entering a network namespace needs root")
def test_links_are_really_tried():
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as gone:
        port, refused = listener.getsockname()[1], gone.getsockname()[1]
        gone.close()
        env = [f"A=redis://127.0.0.1:{port}", f"B=redis://127.0.0.1:{refused}", "C=redis://a..b:1"]
        facts = links.collect_links([Stack("shop", containers=[container("api", env, pid=os.getpid())])])
    assert [(row["status"], row["resolved"], row["connected"], row["failure"]) for row in facts["links"]] == [
        ("ok", True, True, None),
        ("critical", True, False, "refused"),
        ("critical", False, None, "name-not-resolved"),
    ]
    assert facts["links"][0]["connect_ms"] >= 0
    assert facts["summary"].startswith("2 of 3 links broken: api to 127.0.0.1:")
