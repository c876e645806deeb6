# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import datetime
import json
import os
import pathlib
import random
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import (
    ContainerRef,
    Selection,
    UnknownProject,
    discover,
    engine_time,
    flavour_of,
    runs_a_job,
    service_role,
    stacks_of,
    typed_compose,
)
from hypothesis import given
from hypothesis import strategies as st

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures" / "compose"


def recorded(name: str) -> list[dict[str, t.Any]]:
    return [entry["inspect"] for entry in json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8")).values()]


class Replay:
    """An engine that has recorded containers."""

    remote = False

    def __init__(self, inspects: list[dict[str, t.Any]]) -> None:
        self.inspects = {raw["Id"]: raw for raw in inspects}
        self.calls: list[str] = []

    def containers(self, include_stopped: bool = True, labels: t.Sequence[str] = ()) -> list[dict[str, t.Any]]:
        self.calls.append("containers")
        return [{"Id": raw["Id"], "Labels": raw["Config"]["Labels"]} for raw in self.inspects.values()]

    def inspect_many(self, ids: t.Sequence[str], dummy_listed: t.Sequence[t.Any] = ()) -> list[dict[str, t.Any]]:
        self.calls.append("inspect_many")
        return [self.inspects[container_id] for container_id in ids]


def all_of(*names: str, **labels: str) -> Replay:
    return Replay([raw for name in names for raw in recorded(name)])


def renamed(raw: dict[str, t.Any], project: str, **labels: str) -> dict[str, t.Any]:
    raw = copy.deepcopy(raw)
    raw["Config"]["Labels"].update({"com.docker.compose.project": project, **labels})
    raw["Id"] = f"{project}{raw['Id']}"
    return raw


@pytest.mark.parametrize(("name", "flavour"), [("compose_v1", "compose-v1"), ("compose_v2", "compose-v2"), ("podman_compose", "podman-compose")])
def test_one_list_and_one_inspect_pass_find_the_stack(name: str, flavour: str) -> None:
    engine = all_of(name)
    stacks = discover(engine, Selection())  # type: ignore[arg-type]
    assert engine.calls == ["containers", "inspect_many"]
    assert len(stacks) == 1
    assert (stacks[0].flavour, stacks[0].working_dir) == (flavour, "/srv/shop")
    # Compose v1 and podman-compose write them relative to the directory.
    assert stacks[0].config_files == ("/srv/shop/docker-compose.yml",)


def test_order_does_not_depend_on_the_engines() -> None:
    raws = recorded("compose_v2")
    expected = [container.id for container in stacks_of(map(ContainerRef, raws), Selection())[0].containers]
    for seed in range(5):
        shuffled = random.Random(seed).sample(raws, len(raws))
        assert [container.id for container in stacks_of(map(ContainerRef, shuffled), Selection())[0].containers] == expected
    assert [container.service for container in stacks_of(map(ContainerRef, raws), Selection())[0].containers] == sorted(
        raw["Config"]["Labels"]["com.docker.compose.service"] for raw in raws
    )


def test_containers_without_a_project_are_left_alone() -> None:
    raw = recorded("compose_v2")[0]
    raw["Config"]["Labels"] = {"other": "label"}
    with_labels_null = copy.deepcopy(raw)
    with_labels_null["Config"]["Labels"] = None
    assert stacks_of([ContainerRef(raw), ContainerRef(with_labels_null)], Selection()) == []


def test_replicas_and_one_off_containers() -> None:
    stack = discover(all_of("compose_v1"), Selection())[0]  # type: ignore[arg-type]
    assert [container.replica for container in stack.of_service("scaled")] == [1, 2]
    assert len(stack.of_service("well")) == 1
    assert [container.oneoff for container in stack.containers if container.service == "well"] == [False, True]


def test_selection_by_name_directory_and_service(tmp_path: pathlib.Path) -> None:
    raws = recorded("compose_v2")
    directory = tmp_path / "other"
    directory.mkdir()
    engine = Replay([*raws, renamed(raws[0], "other", **{"com.docker.compose.project.working_dir": str(directory)})])
    names = [stack.name for stack in discover(engine, Selection())]  # type: ignore[arg-type]
    assert names == ["other", "shop"]
    assert [stack.name for stack in discover(engine, Selection(project_name="shop"))] == ["shop"]  # type: ignore[arg-type]
    link = tmp_path / "link"
    link.symlink_to(directory)
    assert [stack.name for stack in discover(engine, Selection(project_src=str(link)))] == ["other"]  # type: ignore[arg-type]
    stack = discover(engine, Selection(project_name="shop", services=("well",)))[0]  # type: ignore[arg-type]
    assert stack.services == ["well"]
    assert len(stack.siblings) == len(raws)


def test_a_directory_whose_project_has_no_container_yet(tmp_path: pathlib.Path) -> None:
    directory = tmp_path / "My.Shop"
    directory.mkdir()
    stack = discover(all_of("compose_v2"), Selection(project_src=str(directory)))[0]  # type: ignore[arg-type]
    assert (stack.name, stack.containers, stack.working_dir) == ("myshop", (), str(directory))


@pytest.mark.parametrize("selection", [Selection(project_name="nosuch"), Selection(project_src="/nosuch/directory")])
def test_an_unknown_project_is_told_with_those_that_there_are(selection: Selection) -> None:
    with pytest.raises(UnknownProject) as caught:
        discover(all_of("compose_v2"), selection)  # type: ignore[arg-type]
    assert caught.value.code == "project-unknown"
    assert "shop" in caught.value.reason and caught.value.hint
    assert (caught.value.selection, caught.value.projects) == (selection, {"shop": "/srv/shop"})


def test_no_project_at_all_is_no_error() -> None:
    assert discover(Replay([]), Selection()) == []  # type: ignore[arg-type]


def test_properties_of_a_running_container() -> None:
    stack = discover(all_of("compose_v2"), Selection())[0]  # type: ignore[arg-type]
    holder = stack.of_service("port-holder")[0]
    assert holder.running and holder.pid and holder.state == "running"
    assert holder.published_ports == [{"container_port": 80, "protocol": "tcp", "host_ip": "127.0.0.1", "host_port": 18999}]
    assert list(holder.networks) == ["shop_default"] and "port-holder" in holder.networks["shop_default"]["aliases"]
    assert (holder.project, holder.name, holder.log_driver) == ("shop", "shop-port-holder-1", "json-file")
    assert holder.log_path is not None and holder.log_path.endswith("-json.log")
    assert holder.command[-2:] == ["sleep", "600"]


def test_a_container_that_never_ran_shows_the_ports_it_wants() -> None:
    stack = discover(all_of("compose_v1"), Selection())[0]  # type: ignore[arg-type]
    taken = stack.of_service("port-taken")[0]
    assert taken.published_ports[0]["host_port"] == 18999
    assert (taken.pid, taken.started_at, taken.state) == (None, None, "created")


def test_podman_states_and_its_error_that_is_none() -> None:
    stack = discover(all_of("podman_compose"), Selection())[0]  # type: ignore[arg-type]
    assert {container.service: container.state for container in stack.containers} == {"db": "exited", "web": "running"}
    assert [container.state_error for container in stack.containers] == ["", ""]
    raw = recorded("podman_compose")[0]
    raw["State"]["Status"] = "stopped"
    assert ContainerRef(raw).state == "exited"


def test_podman_5_says_error_and_healthy_of_what_was_stopped() -> None:
    stack = discover(all_of("podman_stopped"), Selection())[0]  # type: ignore[arg-type]
    assert (stack.name, stack.flavour, stack.working_dir) == ("shop", "podman-compose", "/srv/stack")
    assert stack.config_files == ("/srv/stack/docker-compose.yml",)
    by_service = {container.service: container for container in stack.containers}
    assert {name: (one.state, one.state_error, one.role) for name, one in by_service.items()} == {
        "backend": ("running", "", "application"),
        "postgres": ("exited", "", "postgres"),
    }
    # What the engine says of health is from before it was stopped.
    assert by_service["postgres"].inspect["State"]["Health"]["Status"] == "healthy"


def test_podman_compose_before_1_0_has_its_own_labels_only() -> None:
    raw = recorded("podman_compose")[0]
    raw["Config"]["Labels"] = {"io.podman.compose.project": "old", "io.podman.compose.service": "web", "com.docker.compose.container-number": "1"}
    stack = stacks_of([ContainerRef(raw)], Selection())[0]
    assert (stack.name, stack.flavour, stack.services, stack.config_files) == ("old", "podman-compose", ["web"], ())


def test_config_files_with_a_comma_in_their_name(tmp_path: pathlib.Path) -> None:
    raw = recorded("compose_v2")[0]
    odd = tmp_path / "a,b.yml"
    odd.write_text("services: {}", encoding="utf-8")
    labels = raw["Config"]["Labels"]
    labels["com.docker.compose.project.config_files"] = str(odd)
    assert stacks_of([ContainerRef(raw)], Selection())[0].config_files == (str(odd),)
    labels["com.docker.compose.project.config_files"] = "/srv/a.yml,/srv/b.yml"
    assert stacks_of([ContainerRef(raw)], Selection())[0].config_files == ("/srv/a.yml", "/srv/b.yml")


@pytest.mark.parametrize(("file", "override"), [("docker-compose.yml", "docker-compose.override.yml"), ("compose.yaml", "compose.override.yaml")])
def test_an_override_file_counts_where_no_container_can_know_of_it_yet(tmp_path: pathlib.Path, file: str, override: str) -> None:
    raw = recorded("compose_v2")[0]
    made_at = ContainerRef(raw).created_at
    assert made_at is not None
    raw["Config"]["Labels"]["com.docker.compose.project.config_files"] = str(tmp_path / file)
    for path in (tmp_path / file, tmp_path / override):
        path.write_text("services: {}\n", encoding="utf-8")
    os.utime(tmp_path / override, (made_at.timestamp() + 60,) * 2)
    assert stacks_of([ContainerRef(raw)], Selection())[0].config_files == (str(tmp_path / file), str(tmp_path / override))
    # It was there, and somebody left it out: docker compose --file docker-compose.yml up
    os.utime(tmp_path / override, (made_at.timestamp() - 60,) * 2)
    assert stacks_of([ContainerRef(raw)], Selection())[0].config_files == (str(tmp_path / file),)
    raw["Config"]["Labels"]["com.docker.compose.project.config_files"] = str(tmp_path / "stack.yml")
    assert stacks_of([ContainerRef(raw)], Selection())[0].config_files == (str(tmp_path / "stack.yml"),)


def test_an_almost_empty_answer_breaks_nothing() -> None:
    container = ContainerRef({"Id": "x"})
    for name in dir(ContainerRef):
        if not name.startswith("_"):
            getattr(container, name)


_SHOP = {"com.docker.compose.project": "shop", "com.docker.compose.project.working_dir": "/srv/my shop", "com.docker.compose.version": "2.29.7"}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"com.docker.compose.project.config_files": "/srv/my shop/docker-compose.yml"}, "cd '/srv/my shop' && docker compose -p shop up -d web"),
        (
            {"com.docker.compose.project.config_files": "/srv/my shop/prod.yml,/etc/shop/more.yml"},
            "cd '/srv/my shop' && docker compose -p shop -f '/srv/my shop/prod.yml' -f /etc/shop/more.yml up -d web",
        ),
        ({"com.docker.compose.version": "1.29.2"}, "cd '/srv/my shop' && docker-compose -p shop up -d web"),
        ({"com.docker.compose.project.working_dir": ""}, "docker compose -p shop up -d web"),
        ({"io.podman.compose.version": "1.0.6"}, "cd '/srv/my shop' && podman-compose -p shop up -d web"),
    ],
)
def test_a_compose_command_is_typed_from_anywhere(more: dict[str, str], expected: str) -> None:
    assert typed_compose({**_SHOP, **more}, "up -d web") == expected


def test_several_compose_commands_are_one_line() -> None:
    assert typed_compose(_SHOP, "build web", "up -d web") == "cd '/srv/my shop' && docker compose -p shop build web && docker compose -p shop up -d web"


@pytest.mark.parametrize(
    ("version", "flavour"), [("1.29.2", "compose-v1"), ("2.26.1", "compose-v2"), ("v2.0.1", "compose-v2"), ("5.0.0", "compose-v2"), ("", "compose-v2")]
)
def test_flavour_by_version(version: str, flavour: str) -> None:
    assert flavour_of({"com.docker.compose.version": version}) == flavour


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23T22:44:06.088837349Z", datetime.datetime(2026, 11, 23, 22, 44, 6, 88837, datetime.timezone.utc)),
        ("2026-11-23T22:44:06Z", datetime.datetime(2026, 11, 23, 22, 44, 6, 0, datetime.timezone.utc)),
        ("2026-11-23T23:44:06.5+01:00", datetime.datetime(2026, 11, 23, 22, 44, 6, 500000, datetime.timezone.utc)),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
        (None, None),
        ("yesterday", None),
    ],
)
def test_times_of_engines(text: t.Optional[str], expected: t.Optional[datetime.datetime]) -> None:
    assert engine_time(text) == expected


POSTGRES_ENV = {"POSTGRES_PASSWORD": "x", "PGDATA": "/var/lib/postgresql/data", "PATH": "/usr/local/bin:/usr/lib/postgresql/17/bin:/bin"}


@pytest.mark.parametrize(
    ("image", "command", "env", "ports", "role"),
    [
        ("postgres:17", ["docker-entrypoint.sh", "postgres"], POSTGRES_ENV, [5432], "postgres"),
        ("postgres:17", ["docker-entrypoint.sh", "postgres", "-c", "shared_preload_libraries=pg_stat_statements"], POSTGRES_ENV, [5432], "postgres"),
        ("registry.example/team/data:1", ["/usr/lib/postgresql/17/bin/postgres", "-D", "/data"], {}, [], "postgres"),
        (
            "bitnami/postgresql:16",
            ["/opt/bitnami/scripts/postgresql/entrypoint.sh", "/opt/bitnami/scripts/postgresql/run.sh"],
            {"POSTGRESQL_PASSWORD": "x"},
            [5432],
            "postgres",
        ),
        ("sha256:41d2", ["/start"], POSTGRES_ENV, [5432], "postgres"),
        ("postgis/postgis:16-3.4", ["docker-entrypoint.sh", "postgres"], {}, [], "postgres"),
        # They carry the server's variables or stand on its image, and are none.
        ("shop/backend:1", ["uvicorn", "app.main:app"], {"POSTGRES_PASSWORD": "x", "POSTGRES_HOST": "db"}, [8000], "application"),
        ("prodrigestivill/postgres-backup-local", ["/backup.sh"], {**POSTGRES_ENV, "SCHEDULE": "@daily"}, [5432], "other"),
        ("prometheuscommunity/postgres-exporter", ["/bin/postgres_exporter"], {"DATA_SOURCE_NAME": "postgresql://x@db/x"}, [9187], "application"),
        ("edoburu/pgbouncer", ["/usr/bin/pgbouncer", "/etc/pgbouncer.ini"], {"DATABASE_URL": "postgres://db/x"}, [5432], "application"),
        ("dpage/pgadmin4", ["/entrypoint.sh"], {}, [80, 443], "other"),
        ("postgres:17", ["sh", "-c", "alembic upgrade head"], POSTGRES_ENV, [5432], "application"),
        ("shop/backend:1", ["sh", "-c", "alembic upgrade head && exec gunicorn app:app"], {}, [], "application"),
        ("python:3.12", ["python3.12", "-m", "http.server"], {}, [], "application"),
        ("shop/worker", ["/worker"], {"DATABASE_URL": "postgresql+asyncpg://app:x@db/shop"}, [], "application"),
        ("nginx:1.27", ["/docker-entrypoint.sh", "nginx", "-g", "daemon off;"], {}, [80], "proxy"),
        ("traefik:v3", ["/entrypoint.sh", "traefik"], {}, [80], "proxy"),
        ("redis:7", ["docker-entrypoint.sh", "redis-server"], {}, [6379], "cache"),
        ("debian:trixie-slim", ["sleep", "600"], {}, [], "other"),
        ("", [], {}, [], "other"),
    ],
)
def test_role(image: str, command: list[str], env: dict[str, str], ports: list[int], role: str) -> None:
    assert service_role(image, command, env, ports) == role


@pytest.mark.parametrize(
    ("command", "job"),
    [
        (["alembic", "upgrade", "head"], True),
        (["sh", "-c", "alembic upgrade head && uvicorn app:app"], False),
        (["python", "manage.py", "migrate"], True),
        (["docker-entrypoint.sh", "postgres"], False),
        (["sleep", "600"], None),
        ([], None),
        (["sh", "-c", "unbalanced ' quote"], None),
    ],
)
def test_jobs_are_known_by_what_they_run(command: list[str], job: t.Optional[bool]) -> None:
    assert runs_a_job(command) is job


# -- labels and answers that nobody vouches for ------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=()), max_size=12) | st.sampled_from(
    ["\0", "\ud800", "/srv/\0", "a,\0,b", "..", "/", ",", "\u00b2", "\u0661", "9" * 5000, "-1", "true", "1.29.2", "{{ x }}", "\x1b[2J", "n" * 5000]
)
LABELS = st.dictionaries(
    st.sampled_from(
        [
            f"{prefix}.{name}"
            for prefix in ("com.docker.compose", "io.podman.compose")
            for name in (
                "project",
                "service",
                "container-number",
                "oneoff",
                "version",
                "project.working_dir",
                "project.config_files",
                "project.environment_file",
            )
        ]
    ),
    TEXT,
    max_size=8,
)
TIMES = TEXT | st.sampled_from(["2026-13-45T99:99:99Z", "2026-11-26T10:00:00.123456789Z", "0001-01-01T00:00:00Z", "2026-11-26 10:00:00 +99:99"])


@st.composite
def inspects(draw: st.DrawFn) -> dict[str, t.Any]:
    """Return what an engine says of a container that somebody made by hand."""
    ports = draw(
        st.dictionaries(
            TEXT | st.sampled_from(["80/tcp", "\u00b2/tcp"]),
            st.none() | st.lists(st.fixed_dictionaries({"HostIp": TEXT, "HostPort": TEXT}), max_size=2),
            max_size=3,
        )
    )
    return {
        "Id": draw(st.text("0123456789abcdef", min_size=1, max_size=8)),
        "Name": draw(TEXT),
        "Created": draw(TIMES),
        "State": {"Status": draw(TEXT), "StartedAt": draw(TIMES), "FinishedAt": draw(TIMES), "ExitCode": 0, "Error": draw(TEXT)},
        "Config": {"Labels": draw(LABELS), "Image": draw(TEXT), "Env": draw(st.lists(TEXT, max_size=3)), "Cmd": draw(st.lists(TEXT, max_size=3))},
        "NetworkSettings": {"Ports": ports, "Networks": {draw(TEXT): {"Aliases": [draw(TEXT)], "IPAddress": draw(TEXT)}}},
    }


@given(containers=st.lists(inspects(), max_size=3), project_src=st.sampled_from([None, "/srv", "."]), project_name=st.none() | TEXT)
def test_any_labels_and_answers_make_stacks(containers: list[dict[str, t.Any]], project_src: str | None, project_name: str | None) -> None:
    stacks = stacks_of([ContainerRef(raw) for raw in containers], Selection(project_src, project_name))
    assert [stack.name for stack in stacks] == sorted({stack.name for stack in stacks})
    for stack in stacks:
        for path in (stack.working_dir or "/", *stack.config_files, *stack.environment_files):
            assert "\0" not in path and os.fsencode(path)
        assert sum(len(stack.of_service(service)) for service in stack.services) == sum(not container.oneoff for container in stack.containers)
        for container in stack.containers:
            assert container.replica >= 1 and container.role and isinstance(container.state, str)
            assert all(0 <= port["container_port"] < 10**9 for port in container.published_ports)
            assert not container.started_at or container.started_at.tzinfo
