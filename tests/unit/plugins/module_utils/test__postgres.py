# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers of a stack, the ways and the logins to them, and the names that applications use for them."""

from __future__ import annotations

import types

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _postgres as postgres
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import ContainerRef, Stack
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._postgres_logins import collect_logins, neighbour
from ansible_collections.stackops.runbook.plugins.module_utils._postgres_session import DatabaseError
from ansible_collections.stackops.runbook.plugins.module_utils._postgres_wire import Credentials

LOCAL = types.SimpleNamespace(remote=False, rootless=False)


def container(
    service, state="running", command=("postgres",), env=(), networks=None, ports=None, network_mode="shop_default", extra_hosts=(), image="postgres"
):
    """Return a container as the engine's inspect shows it."""
    return ContainerRef(
        {
            "Id": f"{service:0<64}",
            "Name": f"/shop-{service}-1",
            "Path": command[0],
            "Args": list(command[1:]),
            "State": {"Status": state, "Pid": 0},
            "Config": {
                "Image": image,
                "Env": list(env),
                "Labels": {"com.docker.compose.project": "shop", "com.docker.compose.service": service, "com.docker.compose.version": "2.26.1"},
            },
            "HostConfig": {"NetworkMode": network_mode, "ExtraHosts": list(extra_hosts)},
            "NetworkSettings": {
                "Ports": ports or {},
                "Networks": {name: {"IPAddress": address, "Aliases": list(aliases)} for name, (address, aliases) in (networks or {}).items()},
            },
        }
    )


def stack(*containers):
    return Stack("shop", containers=containers)


# -- options -----------------------------------------------------------------------------------------------------------


def test_options_take_precedence_over_the_dsn():
    params = {"dsn": "postgresql+asyncpg://bob:Canary-1@one:6000/shop?sslmode=require", "login_host": "two", "login_db": "other", "ssl_mode": "prefer"}
    login = postgres.Login.from_params(params)
    target = login.target()
    assert target.hosts == (("two", 6000),)
    assert target.credentials == Credentials("bob", "Canary-1", "other")
    assert target.ssl_mode == "require"
    assert "Canary-1" not in repr(login) + repr(target)


def test_defaults_of_a_login():
    target = postgres.Login.from_params({"login_host": "db"}).target()
    assert (target.hosts, target.credentials, target.ssl_mode) == ((("db", 5432),), Credentials("postgres", None, "postgres"), "prefer")


def test_a_dsn_that_is_none_is_not_shown():
    with pytest.raises(DatabaseError) as caught:
        postgres.Login(dsn="mysql://u:Canary-1@db/x").target()
    assert "Canary-1" not in str(caught.value.as_dict())
    assert caught.value.hint


def test_a_login_that_names_a_server_is_that_server():
    options = postgres.PostgresOptions.from_params({"login_host": "db", "sample_seconds": 5.0, "exclude": ["^COPY"], "connect_timeout": 7})
    assert [instance.name for instance in postgres.find_instances([], options)] == ["db:5432"]
    assert options.statements.exclude == ("^COPY",)
    assert options.limits.connect_seconds == 7
    assert options.limits.session_seconds > 30


def test_a_login_without_a_server_corrects_what_is_found():
    options = postgres.PostgresOptions.from_params({"login_user": "monitor", "login_password": "x"})
    (instance,) = postgres.find_instances([stack(container("store", env=["POSTGRES_PASSWORD=y", "PGDATA=/data"]))], options)
    assert instance.name == "shop/store"
    assert postgres.login_candidates(instance, LOCAL)[0] == Credentials("monitor", "x", "monitor")


# -- servers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command, env, port",
    [
        (("postgres",), (), 5432),
        (("postgres", "-p", "6000"), (), 6000),
        (("postgres", "-c", "port=6001"), (), 6001),
        (("postgres", "--port=6002"), (), 6002),
        (("postgres", "-c", "shared_buffers=1GB"), ("PGPORT=6003",), 6003),
        (("postgres",), ("PGPORT=nonsense",), 5432),
    ],
)
def test_port_inside(command, env, port):
    assert postgres.server_port(container("store", command=command, env=env)) == port


def test_ways_in_their_order():
    ports = {"5432/tcp": [{"HostIp": "0.0.0.0", "HostPort": "15432"}, {"HostIp": "::", "HostPort": "15432"}], "9187/tcp": [{"HostIp": "", "HostPort": "9187"}]}
    one = container("store", networks={"a": ("10.1.0.2", ()), "b": ("", ())}, ports=ports)
    published = [("published-port", "127.0.0.1", 15432), ("published-port", "::1", 15432)]
    assert postgres.addresses(one, LOCAL) == [("container-network", "10.1.0.2", 5432), *published]
    assert postgres.addresses(one, types.SimpleNamespace(remote=False, rootless=True)) == published
    assert postgres.addresses(one, types.SimpleNamespace(remote=True, rootless=False)) == []
    assert postgres.addresses(container("store", network_mode="host"), LOCAL) == [("container-network", "127.0.0.1", 5432)]


@pytest.mark.parametrize("state", ["exited", "paused", "created", "restarting"])
def test_a_container_that_does_not_run(state):
    (instance,) = postgres.find_instances([stack(container("store", state, env=["PGDATA=/data"]))])
    with pytest.raises(DatabaseError) as caught:
        postgres.connect(instance, LOCAL)
    assert caught.value.code == "not-running"
    assert state in caught.value.reason


def candidates(env, *applications, files=None):
    def read_archive(container_id, path, limit_bytes):
        if files is None or path not in files:
            raise CheckError(path, "no such file", "", "not-found")
        return {path: files[path]}

    store = container("store", env=env, networks={"net": ("10.1.0.2", ("db",))})
    (instance,) = postgres.find_instances([stack(store, *applications)])
    return postgres.login_candidates(instance, types.SimpleNamespace(read_archive=read_archive))


def test_credentials_of_the_image():
    assert candidates(["POSTGRES_USER=shop", "POSTGRES_PASSWORD=p", "POSTGRES_DB=d"])[0] == Credentials("shop", "p", "d")
    assert candidates(["POSTGRES_PASSWORD=p"])[0] == Credentials("postgres", "p", "postgres")
    assert candidates(["POSTGRES_USER=shop", "POSTGRES_PASSWORD=p"])[0].database == "shop"


def test_credentials_in_secret_files():
    found = candidates(["POSTGRES_PASSWORD_FILE=/run/secrets/pw", "POSTGRES_USER_FILE=/gone"], files={"/run/secrets/pw": b"s3cret\n"})
    assert found[0] == Credentials("postgres", "s3cret", "postgres")


def test_credentials_of_other_images():
    env = ["POSTGRESQL_USERNAME=shop", "POSTGRESQL_PASSWORD=p", "POSTGRESQL_DATABASE=d", "POSTGRESQL_POSTGRES_PASSWORD=root"]
    assert candidates(env)[:2] == [Credentials("postgres", "root", "d"), Credentials("shop", "p", "d")]


def test_credentials_of_applications_come_after():
    application = container("web", command=("uvicorn",), env=["DATABASE_URL=postgresql://app:q@db/orders", "OTHER=postgres://x:y@elsewhere/z"])
    assert candidates(["POSTGRES_PASSWORD=p"], application) == [
        Credentials("postgres", "p", "orders"),
        Credentials("app", "q", "orders"),
        Credentials("postgres", "p", "postgres"),
    ]


# -- names that applications use ---------------------------------------------------------------------------------------


def test_names_are_those_of_shared_networks():
    web = container("web", command=("uvicorn",), networks={"front": ("10.1.0.3", ())})
    shared = container("store", networks={"front": ("10.1.0.2", ("pg",)), "back": ("10.2.0.2", ("hidden",))})
    elsewhere = container("archive", networks={"back": ("10.2.0.3", ("other",))})
    stacks = [stack(web, shared, elsewhere)]
    assert neighbour(web, "pg", stacks) == (shared, "10.1.0.2")
    assert neighbour(web, "store", stacks) == (shared, "10.1.0.2")
    assert neighbour(web, "shop-store-1", stacks) == (shared, "10.1.0.2")
    assert neighbour(web, "hidden", stacks) is None
    assert neighbour(web, "archive", stacks) is None


def test_a_stopped_container_has_no_address():
    web = container("web", networks={"net": ("10.1.0.3", ())}, command=("uvicorn",))
    stopped = container("store", "exited", networks={"net": ("", ("pg",))})
    assert neighbour(web, "pg", [stack(web, stopped)]) == (stopped, None)


def logins(*env, networks=None, store_state="running", **more):
    web = container("web", "exited", command=("uvicorn",), env=env, networks=networks or {"net": ("", ())}, image="shop", **more)
    store = container("store", store_state, networks={"net": ("10.255.255.1" if store_state == "running" else "", ("pg",))})
    return collect_logins([stack(web, store)], None)


def test_an_unknown_name():
    (login,) = logins("DATABASE_URL=postgresql://app:Canary-1@nosuch/shop")["logins"]
    assert (login["failure"], login["status"], login["accepted"], login["target_service"]) == ("name-not-resolved", "critical", False, None)


def test_a_stopped_database():
    (login,) = logins("DATABASE_URL=postgresql://app:Canary-1@pg/shop", store_state="exited")["logins"]
    assert (login["failure"], login["target_service"]) == ("name-not-resolved", "store")
    assert "exited" in login["message"]


def test_what_is_not_tried():
    result = logins("A_URL=postgresql://app:Canary-1@localhost/shop", "B_URL=postgresql://pg/shop", "C_URL=postgresql:///shop")
    assert [(login["variable"], login["failure"], login["accepted"]) for login in result["logins"]] == [
        ("A_URL", "not-tried", None),
        ("B_URL", "not-tried", None),
    ]
    assert result["status"] == "unknown"
    assert "Canary-1" not in repr(result)


def test_no_application_has_a_database():
    result = logins("LOG_LEVEL=info")
    assert (result["status"], result["logins"]) == ("ok", [])
