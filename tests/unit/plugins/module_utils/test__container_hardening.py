# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What containers have and do not need: each rule with a container that has it and one that has not."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _container_hardening as hardening
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import ContainerRef, Selection, stacks_of
from ansible_collections.stackops.runbook.plugins.module_utils._ignores import IgnoreList

SECRET = "Canary-hardening-8f2b"
LABELS = {"com.docker.compose.project": "shop", "com.docker.compose.service": "backend", "com.docker.compose.container-number": "1"}
# As well as a service can be.
GOOD_HOST: dict[str, t.Any] = {
    "Privileged": False, "ReadonlyRootfs": True, "Memory": 268435456, "PidsLimit": 200, "NanoCpus": 1000000000, "NetworkMode": "shop_default",
    "SecurityOpt": ["no-new-privileges:true"], "RestartPolicy": {"Name": "unless-stopped"}, "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m"}},
    "CapAdd": None, "PortBindings": {},
}  # fmt: skip


def container(host: t.Optional[dict[str, t.Any]] = None, config: t.Optional[dict[str, t.Any]] = None, number: str = "1", **more: t.Any) -> ContainerRef:
    labels = {**LABELS, "com.docker.compose.container-number": number}
    return ContainerRef(
        {
            "Id": number * 64,
            "Name": f"/shop-backend-{number}",
            "Image": "sha256:1",
            "Path": "uvicorn",
            "Args": ["app.main:app"],
            "State": {"Status": "running", "Pid": 4711},
            "HostConfig": {**GOOD_HOST, **(host or {})},
            "Config": {"User": "1000", "Image": "shop-backend:1.4", "Labels": labels, "Env": ["LOG_LEVEL=INFO", "DEBUG=false"], **(config or {})},
            "Mounts": [],
            "NetworkSettings": {"Ports": {}},
            **more,
        }
    )


def rules_of(one: ContainerRef, uid: t.Optional[int] = 1000) -> dict[str, str]:
    return {found.rule: found.rank for found in hardening.inspect_container(one, uid)}


def test_a_service_as_it_should_be_has_no_finding() -> None:
    assert rules_of(container()) == {}


def bind(source: str, writable: bool = True) -> dict[str, t.Any]:
    return {"Mounts": [{"Type": "bind", "Source": source, "Destination": "/mnt", "RW": writable}]}


def published(inner: int, address: str = "0.0.0.0") -> dict[str, t.Any]:
    return {"NetworkSettings": {"Ports": {f"{inner}/tcp": [{"HostIp": address, "HostPort": "15432"}]}}}


CASES: list[tuple[ContainerRef, dict[str, str]]] = [
    (container({"Privileged": True}), {"privileged": "critical"}),
    (container(**bind("/var/run/docker.sock", writable=False)), {"engine-socket": "critical"}),
    (container(**bind("/run/podman/podman.sock")), {"engine-socket": "critical"}),
    (container({"PidMode": "host"}), {"host-pid": "critical"}),
    (container({"NetworkMode": "host"}), {"host-network": "warning"}),
    (container({"IpcMode": "host"}), {"host-ipc": "warning"}),
    (container(**bind("/etc")), {"host-path": "critical"}),
    (container(**bind("/etc", writable=False)), {"host-path": "warning"}),
    (container(**bind("/srv/shop/logs")), {}),
    (container({"CapAdd": ["SYS_ADMIN"]}), {"capability-critical": "critical"}),
    (container({"CapAdd": ["CAP_NET_ADMIN", "CHOWN"]}), {"capability": "warning"}),
    (container({"CapAdd": ["NET_BIND_SERVICE"]}), {}),
    (container({"SecurityOpt": ["no-new-privileges", "seccomp=unconfined"]}), {"unconfined": "warning"}),
    (container({"SecurityOpt": None}), {"new-privileges": "info"}),
    (container({"ReadonlyRootfs": False}), {"writable-root": "info"}),
    (container({"Memory": 0}), {"no-memory-limit": "warning"}),
    (container({"PidsLimit": None}), {"no-pids-limit": "info"}),
    (container({"NanoCpus": 0, "CpuQuota": 50000}), {}),
    (container({"NanoCpus": 0}), {"no-cpu-limit": "info"}),
    (container({"LogConfig": {"Type": "json-file", "Config": {}}}), {"no-log-rotation": "warning"}),
    (container({"LogConfig": {"Type": "local", "Config": {}}}), {}),
    (container({"LogConfig": {"Type": "journald", "Config": {}}}), {}),
    (container({"RestartPolicy": {"Name": "no"}}), {"no-restart-policy": "warning"}),
    (container({"RestartPolicy": {"Name": ""}}, Path="alembic", Args=["upgrade", "head"]), {}),
    (container(**published(5432)), {"database-published": "critical"}),
    (container(**published(5432, "127.0.0.1")), {}),
    (container(**published(8000)), {}),
    (container(config={"Image": "nginx"}), {"latest-tag": "warning"}),
    (container(config={"Image": "registry.example:5000/nginx:latest"}), {"latest-tag": "warning"}),
    (container(config={"Image": "nginx@sha256:" + "a" * 64}), {}),
    (container(config={"Image": "shop-backend"}), {}),
    (container(config={"Env": [f"JWT_SECRET={SECRET}"]}), {"secret-in-environment": "warning"}),
    (container(config={"Env": [f"DATABASE_URL=postgresql://shop:{SECRET}@postgres/shop"]}), {"secret-in-environment": "warning"}),
    (container(config={"Env": ["JWT_SECRET_FILE=/run/secrets/jwt", "API_TOKEN="]}), {}),
    (container(config={"Env": ["DEBUG=true"]}), {"debug-mode": "warning"}),
    (container(config={"Env": ["FLASK_DEBUG=1"]}), {"debug-mode": "warning"}),
    (container(config={"Env": ["DEBUG=*", "PYTHONDEBUG="]}), {}),
    (container(Path="sh", Args=["-c", "uvicorn app.main:app --reload"]), {"debug-mode": "warning"}),
]


@pytest.mark.parametrize(("one", "expected"), CASES, ids=[f"{number}-{'-'.join(expected) or 'fine'}" for number, (dummy, expected) in enumerate(CASES)])
def test_rules(one: ContainerRef, expected: dict[str, str]) -> None:
    assert rules_of(one) == expected


def test_every_rule_has_a_case() -> None:
    assert {rule for dummy, expected in CASES for rule in expected} | {"root-user"} == set(hardening.RULES)


@pytest.mark.parametrize(
    ("declared", "uid", "fires"),
    [("", None, True), ("0", None, True), ("root:root", None, True), ("1000", None, False), ("", 999, False), ("1000", 0, True), ("", 0, True)],
    ids=["nothing", "zero", "root", "somebody", "gave it up", "root all the same", "is root"],
)
def test_who_it_runs_as_counts_and_not_what_it_began_as(declared: str, uid: t.Optional[int], fires: bool) -> None:
    assert ("root-user" in rules_of(container(config={"User": declared}), uid)) == fires


def check(containers: list[ContainerRef], ignore: t.Sequence[dict[str, str]] = ()) -> dict[str, t.Any]:
    return hardening.check_stacks(stacks_of(containers, Selection()), IgnoreList.parse(ignore), lambda dummy: 1000)


def test_a_service_is_told_of_once_with_the_lines_that_change_it() -> None:
    facts = check([container({"Memory": 0}), container({"Memory": 0}, number="2")])
    (finding,) = facts["findings"]
    assert finding["containers"] == ["shop-backend-1", "shop-backend-2"]
    assert finding["title"] == "shop/backend has no memory limit"
    assert finding["compose"].splitlines()[:3] == [
        "services:",
        "  backend:",
        "    deploy: {resources: {limits: {memory: 512M}}}  # Compose v1: mem_limit: 512m",
    ]
    assert (facts["status"], facts["summary"]) == ("warning", "1 services: 1 warning")


def test_information_alone_is_fine() -> None:
    assert check([container({"ReadonlyRootfs": False})])["status"] == "ok"


def test_no_value_of_a_variable_is_returned() -> None:
    environment = [f"JWT_SECRET={SECRET}", f"DATABASE_URL=postgresql://shop:{SECRET}@db/shop", f"SMTP_PASSWORD={SECRET}", "DEBUG=true"]
    text = json.dumps(check([container({"Privileged": True}, {"Env": environment})]))
    assert SECRET not in text
    assert "DATABASE_URL, JWT_SECRET, SMTP_PASSWORD" in text


@pytest.mark.parametrize(("target", "left"), [("shop/backend", 0), ("backend", 0), ("shop/*", 0), ("shop/worker", 1), (None, 0)])
def test_a_rule_can_be_ignored_for_a_service(target: t.Optional[str], left: int) -> None:
    entry = {"id": "privileged", "reason": "it formats disks", "expires": "2999-01-01", **({"object": target} if target else {})}
    facts = check([container({"Privileged": True}), container({"Privileged": True}, number="2")], [entry])
    assert len(facts["findings"]) == left
    assert [one["reason"] for one in facts["ignored"]] == ([] if left else ["it formats disks"])


@pytest.mark.parametrize("finding", [found for one, dummy in CASES for found in hardening.inspect_container(one, 0)], ids=lambda found: found.rule)
def test_the_lines_are_yaml(finding: hardening.Hardening) -> None:
    import yaml

    document = yaml.safe_load(hardening._facts(container(), finding)["compose"])
    assert "backend" in document["services"]
