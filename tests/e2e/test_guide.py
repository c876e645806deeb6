# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a person with the guide reads off command by command, the playbooks tell in one run: compared with those very commands on a live stack.

``docs/guide-map.md`` has a row for each step of the guide, with the test that shows it; many of them are here.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import pathlib
import subprocess
import time
import typing as t

import pytest

from tests.stack.stacklib.tokens import bearer_token
from tests.support.fleet_hosts import BIN, PLAIN, ROOT, STACK_ON_HOST, Diagnosed, StackHost, bring_up, diagnose, fault, inventory, on_host, playbook, run

pytestmark = pytest.mark.live

ITEMS = f"http://127.0.0.1:{PLAIN.port}/api/v1/items"
#: The guide logs in from the host, too: that takes a published port. And a variable that nobody has set.
OVERRIDE = f"""\
services:
  {PLAIN.database}:
    ports: ["127.0.0.1:5432:5432"]
  {PLAIN.backend}:
    environment:
      MAIL_HOST: $MAIL_HOST
"""
SLOW_STATEMENT = "SELECT pg_sleep(0.25)"
ERRORS = 12
ITEM = f"guide-{time.time():.0f}"


@dataclasses.dataclass(frozen=True)
class Guided:
    """The diagnosis of a stack that was used, and the secrets that it must not show."""

    told: Diagnosed
    secrets: tuple[str, ...]

    @property
    def facts(self) -> dict[str, t.Any]:
        """By collector."""
        return self.told.facts(PLAIN.name)

    def container(self, service: str) -> dict[str, t.Any]:
        """Return what is told of the one container of *service*."""
        (found,) = [one for one in self.facts["compose"]["containers"] if one["service"] == service]
        return t.cast(dict[str, t.Any], found)

    def endpoint(self, name: str) -> dict[str, t.Any]:
        """Return what is told of an endpoint."""
        return next(one for one in self.facts["http"]["endpoints"] if one["name"] == name)


def compose(command: str) -> str:
    """Run a Compose command on the stack as the guide does."""
    return on_host(PLAIN, f"cd {STACK_ON_HOST} && docker compose {command}")


def sql(statement: str) -> str:
    """Run *statement* as the guide does."""
    return compose(f"""exec -T {PLAIN.database} sh -c 'psql -XqAt -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "$0"' "{statement}" """).strip()


def request(method: str, url: str, token: str = "", body: str = "") -> None:
    """Make a request as the guide does."""
    words = [f"-H 'Authorization: Bearer {token}'"] if token else []
    words += [f"-H 'Content-Type: application/json' -d '{body}'"] if body else []
    on_host(PLAIN, f"curl -s -o /dev/null -X {method} {' '.join(words)} {url}")


@pytest.fixture(scope="module")
def guided(hosts: tuple[StackHost, StackHost], tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Guided]:
    """Use the stack as people do, diagnose it once, and leave it as it was."""
    fault(PLAIN, "reset")
    environment = dict(line.split("=", 1) for line in on_host(PLAIN, f"cat {STACK_ON_HOST}/.env").splitlines() if "=" in line and not line.startswith("#"))
    secret = environment["JWT_SECRET"]
    override = f"{STACK_ON_HOST}/docker-compose.override.yml"
    on_host(PLAIN, f"cat >{override} <<'END'\n{OVERRIDE}END\n")
    try:
        bring_up(PLAIN)
        for dummy_number in range(6):
            sql(SLOW_STATEMENT)
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"timestamp": now, "level": "ERROR", "logger": "app.mail", "message": "an error of the guide"})
        on_host(PLAIN, f"for n in $(seq {ERRORS}); do echo '{line}'; done >>{STACK_ON_HOST}/logs/app.log")
        tokens = {
            "valid": bearer_token(secret),
            "invalid": bearer_token("another-secret-than-that-of-the-shop"),
            "expired": bearer_token(secret, lifetime_seconds=-60),
        }
        for token in (*tokens.values(), ""):
            request("POST", ITEMS, token, '{"name": "before"}')
        # However long it takes on a busy machine: what is slow has tests of its own.
        patient = {"warning_ms": 60000, "critical_ms": 60000}
        post = {**patient, "url": ITEMS, "method": "POST", "json": {"name": ITEM}}
        endpoints = [
            {**patient, "name": "list", "url": ITEMS, "expected_status": 200},
            {"name": "create", **post, "headers": {"Authorization": f"Bearer {tokens['valid']}"}, "expected_status": 201, "expected_json": f"name == {ITEM}"},
            *({"name": name, **post, "headers": {"Authorization": f"Bearer {tokens[name]}"}, "expected_status": 401} for name in ("invalid", "expired")),
        ]
        told = diagnose(inventory([PLAIN]), tmp_path_factory.mktemp("guide"), diagnose_endpoints=endpoints, diagnose_slow_request_ms=1)
        yield Guided(told, (secret, environment["POSTGRES_PASSWORD"], *tokens.values()))
    finally:
        on_host(PLAIN, f"rm -f {override}")
        bring_up(PLAIN)
        fault(PLAIN, "reset")


def test_services_are_told_as_ps_tells_them(guided: Guided) -> None:
    listed = {tuple(line.split()) for line in compose("ps --all --format '{{.Service}} {{.State}} {{.Health}}'").splitlines()}
    assert {(one["service"], one["state"], one["health"]["status"]) for one in guided.facts["compose"]["containers"]} == listed
    assert len(listed) == 2


def test_health_and_documentation_answer(guided: Guided) -> None:
    for page in ("health", "docs"):
        row = guided.endpoint(f"{PLAIN.backend}:{PLAIN.port}/{page}")
        code = on_host(PLAIN, f"curl -s -o /dev/null -w '%{{http_code}}' http://localhost:{PLAIN.port}/{page}")
        assert row["http_status"] == int(code) == 200
        assert row["failure"] in (None, "slow")


def test_an_endpoint_is_posted_to_with_a_body(guided: Guided) -> None:
    assert (guided.endpoint("create")["http_status"], guided.endpoint("create")["status"]) == (201, "ok")
    assert sql(f"SELECT count(*) FROM items WHERE name = '{ITEM}'") == "1"
    assert (guided.endpoint("list")["http_status"], guided.endpoint("list")["status"]) == (200, "ok")


def test_a_token_that_does_not_count_is_refused_and_one_that_does_is_not(guided: Guided) -> None:
    assert {name: guided.endpoint(name)["http_status"] for name in ("create", "invalid", "expired")} == {"create": 201, "invalid": 401, "expired": 401}
    kinds = {kind["kind"] for kind in guided.facts["logs"]["kinds"]}
    assert {"jwt-bad-signature", "jwt-expired"} <= kinds, kinds


def test_a_token_is_read_without_its_signature(guided: Guided) -> None:
    token = guided.secrets[2]
    shown = "msg={{ token | stackops.runbook.jwt_inspect }}"
    said = run(BIN / "ansible", "localhost", "-m", "ansible.builtin.debug", "-a", shown, "-e", json.dumps({"token": token})).stdout
    assert "HS256" in said
    assert "traffic" in said
    assert token.rpartition(".")[2] not in said


def test_where_the_time_of_an_answer_goes(guided: Guided) -> None:
    row = guided.endpoint("list")
    assert 0 < row["time_connect_ms"] <= row["time_first_byte_ms"] <= row["time_total_ms"]
    # Whoever is slow is told: the thresholds are the guide's.
    metric = guided.facts["http"]["metrics"][f"{PLAIN.project}/{PLAIN.backend}:{PLAIN.port}/health.time_total_ms"]
    assert (metric["warning"], metric["critical"]) == (1000.0, 3000.0)


def test_the_address_of_the_database_is_told_without_its_password(guided: Guided) -> None:
    configured = compose(f"exec -T {PLAIN.backend} env").splitlines()
    (url,) = [line for line in configured if line.startswith("DATABASE_URL=")]
    (row,) = guided.container(PLAIN.backend)["database_urls"]
    assert url.endswith(f"@{row['host']}:{row['port']}/{row['database']}")
    assert f"//{row['user']}:" in url
    written = "".join(path.read_text(errors="replace") for path in guided.told.directory.iterdir()) + guided.told.output
    assert not [secret for secret in guided.secrets if secret in written]


def test_the_applications_login_is_tried_from_its_network_and_from_the_host(guided: Guided) -> None:
    (login,) = guided.facts["database_logins"]["logins"]
    assert (login["service"], login["variable"], login["target_service"], login["accepted"]) == (PLAIN.backend, "DATABASE_URL", PLAIN.database, True)
    assert login["published"] == [{"host_ip": "127.0.0.1", "host_port": 5432, "accepted": True, "failure": None, "message": None}]


def test_variables_that_nobody_has_set_are_named(guided: Guided) -> None:
    assert guided.facts["compose"]["projects"][0]["unset_variables"] == ["MAIL_HOST"]
    (finding,) = [one for one in guided.told.row(PLAIN.name)["findings"] if one["rule"] == "compose-variable-not-set" and one["result"] == "fire"]
    assert "MAIL_HOST" in finding["title"]


def test_migrations_are_told_as_alembic_tells_them(guided: Guided) -> None:
    (application,) = guided.facts["migrations"]["applications"]
    for command, key in (("current", "current"), ("heads", "heads")):
        said = compose(f"exec -T {PLAIN.backend} alembic {command} 2>/dev/null").split()
        assert [word for word in said if not word.startswith("(")] == application[key]
    assert application["state"] == "up-to-date"


def test_requests_are_told_by_their_times(guided: Guided) -> None:
    (source,) = [one for one in guided.facts["requests"]["sources"] if one["name"].endswith("/app.log")]
    path = next(one for one in source["paths"] if (one["method"], one["path"]) == ("POST", "/api/v1/items"))
    assert path["count"] >= 3
    assert path["slow"] >= 1
    assert 1 <= source["p50_ms"] <= source["p95_ms"] <= source["max_ms"]


def test_pools_are_compared_with_what_the_server_allows(guided: Guided) -> None:
    (application,) = guided.facts["pools"]["applications"]
    settings = dict(line.split("=", 1) for line in compose(f"exec -T {PLAIN.backend} env").splitlines() if line.startswith("DATABASE_"))
    sizes = int(settings["DATABASE_POOL_SIZE"]), int(settings["DATABASE_MAX_OVERFLOW"]), int(settings["DATABASE_POOL_TIMEOUT"])
    assert (application["pool_size"], application["max_overflow"], application["pool_timeout_seconds"]) == sizes
    assert application["connections_at_most"] == application["processes"] * sum(sizes[:2])
    (server,) = guided.facts["pools"]["servers"]
    assert server["maximum"] == int(sql("SHOW max_connections"))
    assert server["wanted"] == application["connections_at_most"]


def test_an_event_loop_that_waits_is_told(guided: Guided) -> None:
    (application,) = guided.facts["pools"]["applications"]
    assert (application["server"], application["asynchronous"], application["driver_blocks"]) == ("uvicorn", True, True)
    # Looked at while it had nothing to do: it waits for events, and for nothing else.
    assert application["loop"]["samples"] > 0
    assert application["loop"]["blocked_percent"] < 30
    assert not [one for one in guided.told.row(PLAIN.name)["findings"] if (one["rule"], one["result"]) == ("event-loop-blocked", "fire")]


def test_what_containers_use_is_told_as_stats_tells_it(guided: Guided) -> None:
    listed = {
        line.split()[0]: float(line.split()[1].rstrip("%"))
        for line in on_host(PLAIN, "docker stats --no-stream --format '{{.Name}} {{.MemPerc}}'").splitlines()
    }
    for service in (PLAIN.backend, PLAIN.database):
        container = guided.container(service)
        assert container["stats"]["cpu_percent"] >= 0
        assert abs(container["stats"]["memory_percent"] - listed[container["name"]]) < 15
        assert container["limits"]["memory_bytes"] > 0
    grown = {row["container"]: row for row in guided.facts["trends"]["memory"]}
    assert grown[guided.container(PLAIN.backend)["name"]]["sample_count"] >= 1


def test_what_the_host_uses_is_told(guided: Guided) -> None:
    host = guided.facts["host"]
    total = int(on_host(PLAIN, "awk '/^MemTotal/ {print $2}' /proc/meminfo")) * 1024
    assert host["memory_total_bytes"] == total
    assert host["load_1m"] >= 0
    named = {process["name"] for process in host["processes"]}
    assert "dockerd" in named, named
    assert any(row["mount"] == "/" and 0 < row["used_percent"] <= 100 for row in host["filesystems"])


def test_slow_queries_are_told_with_the_servers_numbers(guided: Guided) -> None:
    (instance,) = guided.facts["postgres"]["instances"]
    slowest = instance["statements"]["queries"][0]
    calls = int(sql("SELECT sum(calls) FROM pg_stat_statements WHERE query LIKE 'SELECT pg_sleep(%'"))
    assert "pg_sleep" in slowest["query"]
    assert slowest["calls"] == calls == 6
    assert slowest["mean_exec_time_ms"] >= 250
    assert guided.told.causes(PLAIN.name)[0]["rule"] == "slow-query"


def test_networks_are_told_as_inspect_tells_them(guided: Guided) -> None:
    listed = json.loads(on_host(PLAIN, f"docker network inspect {PLAIN.project}_default"))[0]["Containers"]
    addresses = {one["Name"]: one["IPv4Address"].partition("/")[0] for one in listed.values()}
    told = {
        one["name"]: network["ip_address"]
        for one in guided.facts["compose"]["containers"]
        for network in one["networks"]
        if network["name"].endswith("_default")
    }
    assert told == addresses


def test_services_reach_each_other(guided: Guided) -> None:
    (link,) = guided.facts["links"]["links"]
    assert (link["from_service"], link["to_host"], link["to_port"], link["resolved"], link["connected"]) == (PLAIN.backend, PLAIN.database, 5432, True, True)


def test_ports_are_told_as_they_are_published_and_listened_on(guided: Guided) -> None:
    ports = {(row["service"], row["host_ip"], row["host_port"], row["listening_on_host"]) for row in guided.facts["ports"]["published"]}
    assert ports >= {(PLAIN.backend, "0.0.0.0", PLAIN.port, True), (PLAIN.database, "127.0.0.1", 5432, True)}  # noqa: S104
    listening = {int(line.split()[3].rpartition(":")[2]) for line in on_host(PLAIN, "ss -Hltn").splitlines()}
    assert {row["port"] for row in guided.facts["ports"]["listeners"] if row["protocol"] == "tcp"} == listening


def test_errors_of_the_last_hour_are_grouped_and_counted(guided: Guided) -> None:
    (source,) = [one for one in guided.facts["logs"]["sources"] if one["name"].endswith("/app.log")]
    group = next(one for one in source["groups"] if "an error of the guide" in json.dumps(one))
    assert group["count"] == ERRORS
    assert guided.facts["logs"]["metrics"]["errors"]["warning"] == 11  # more than ten, as in the guide


# -- the logs ----------------------------------------------------------------------------------------------------------


def logs(**variables: t.Any) -> str:
    """Return what ``logs`` prints."""
    return playbook("logs", [PLAIN], **variables)


def test_all_logs_or_those_of_one_service_are_shown(guided: Guided) -> None:
    every = logs(logs_lines=20)
    assert f"{PLAIN.project}/{PLAIN.backend}" in every
    assert f"{PLAIN.project}/{PLAIN.database}" in every
    for service, other in ((PLAIN.backend, PLAIN.database), (PLAIN.database, PLAIN.backend)):
        one = logs(logs_lines=20, logs_services=[service])
        assert f"{PLAIN.project}/{service}" in one
        assert f"{PLAIN.project}/{other}" not in one


def test_lines_are_found_by_their_text_and_level(guided: Guided) -> None:
    parser = logs(logs_text="JWTParser", logs_window="1h", logs_services=[PLAIN.backend])
    assert "InvalidSignatureError" in parser
    assert "GET /health" not in parser
    errors = logs(logs_level="error", logs_window="1h")
    assert errors.count("an error of the guide") == ERRORS
    assert "GET /health 200" not in errors


def test_lines_are_shown_as_they_are_written(guided: Guided, tmp_path: pathlib.Path) -> None:
    argv = [BIN / "ansible-playbook", "-i", inventory([PLAIN]), "playbooks/logs.yml", "-e", json.dumps({"logs_follow_seconds": 8, "logs_lines": 1})]
    shown = tmp_path / "shown"
    with shown.open("wb") as file, subprocess.Popen([str(word) for word in argv], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=file) as process:
        number = 0
        while process.poll() is None:
            request("GET", f"{ITEMS}/{700000 + number}")
            number += 1
            time.sleep(0.3)
    text = shown.read_text(errors="replace")
    seen = [one for one in range(number) if f"/api/v1/items/{700000 + one} 404" in text]
    # More than the last line that was there before: what came while it looked.
    assert process.returncode == 0
    assert len(seen) > 3, text[-3000:]
