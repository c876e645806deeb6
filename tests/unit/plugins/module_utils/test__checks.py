# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What checks make of facts that were recorded on real hosts, of files, and of backup sets."""

from __future__ import annotations

import json
import pathlib
import time
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _check_health as check_health
from ansible_collections.stackops.runbook.plugins.module_utils._check_backup import check as check_backup
from ansible_collections.stackops.runbook.plugins.module_utils._check_database import instance_observation
from ansible_collections.stackops.runbook.plugins.module_utils._check_errors import check as check_errors
from ansible_collections.stackops.runbook.plugins.module_utils._check_health import service_observations, with_dependencies
from ansible_collections.stackops.runbook.plugins.module_utils._check_http import check as check_http
from ansible_collections.stackops.runbook.plugins.module_utils._check_http import endpoint_observations
from ansible_collections.stackops.runbook.plugins.module_utils._check_output import summarise
from ansible_collections.stackops.runbook.plugins.module_utils._check_resources import container_observations, host_observations
from ansible_collections.stackops.runbook.plugins.module_utils._compose_config import ComposeConfig, Dependency, ServiceConfig
from ansible_collections.stackops.runbook.plugins.module_utils._compose_health import ComposeCollector, ComposeOptions
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import Stack
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError, rfc3339
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_checks import CheckRun
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_options import Monitoring, parse_monitoring
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_types import Observation

FACTS = pathlib.Path(__file__).resolve().parents[2] / "fixtures" / "facts"


def facts_of(name: str) -> dict[str, t.Any]:
    facts: dict[str, t.Any] = json.loads((FACTS / f"{name}.json").read_text(encoding="utf-8"))["facts"]
    return facts


def run_of(check: str, options: t.Optional[dict[str, t.Any]] = None, memory: t.Optional[dict[str, t.Any]] = None, **more: t.Any) -> CheckRun:
    monitoring = parse_monitoring({"checks": {check: options or {}}}, "test")
    return CheckRun(monitoring.checks[check], monitoring, memory or {}, **{"now": time.time(), **more})


def by_object(observations: t.Iterable[Observation]) -> dict[str, Observation]:
    return {one.object: one for one in observations}


# -- services and endpoints --------------------------------------------------------------------------------------------


def test_a_stopped_database_is_what_explains_the_rest() -> None:
    facts = facts_of("database-stopped")
    services = service_observations(facts["compose"])
    endpoints = with_dependencies(endpoint_observations(facts["http"], run_of("health").setting), services)
    observations = [Observation("engine", "ok", ""), *endpoints, *services]
    status, summary = summarise(observations)
    database = next(one for one in observations if one.object.endswith(("/postgres", "/db", "/database")))
    assert status == database.status == "critical"
    assert summary.startswith(database.object)
    assert database.next_command == "docker start shop-postgres-1"


def test_an_application_that_has_ended_is_told_with_its_exception() -> None:
    (critical,) = [one for one in service_observations(facts_of("fleet-web1")["compose"]) if one.status == "critical"]
    assert critical.object.endswith("/jobs") and critical.summary.startswith("exited: ")
    assert critical.cause and critical.details


def test_every_recorded_service_and_endpoint_has_an_observation() -> None:
    for path in sorted(FACTS.glob("*.json")):
        facts = facts_of(path.stem)
        if "projects" in facts.get("compose", {}):
            seen = by_object(service_observations(facts["compose"]))
            for row in facts["compose"]["containers"]:
                if row["status"] in ("critical", "warning") and not row["oneoff"]:
                    assert seen[f"{row['project']}/{row['service']}"].status != "ok", (path.stem, row["name"])
        if "endpoints" in facts.get("http", {}):
            seen = by_object(endpoint_observations(facts["http"], run_of("health").setting))
            assert all(one.status in ("ok", "warning", "critical", "unknown") and one.summary for one in seen.values())


def test_a_slow_endpoint_is_judged_by_the_thresholds_of_the_check() -> None:
    facts = facts_of("slow-endpoint")["http"]
    limits = {"thresholds": {"response_time_seconds": {"warning": "0.1", "critical": "0.2"}, "first_byte_seconds": {"warning": None}}}
    seen = by_object(endpoint_observations(facts, run_of("health", limits).setting))
    assert seen["http://localhost:8000/health"].status == "ok"
    assert (seen["http://localhost:8000/docs"].status, seen["http://localhost:8000/docs"].summary) == ("critical", "answers slowly: 0.28 s in total")


def test_declared_endpoints_are_judged_by_the_check_alone() -> None:
    (seen,) = check_http(run_of("front", {"type": "http", "endpoints": [{"url": "http://127.0.0.1:9/"}]})).observations
    assert (seen.object, seen.status) == ("http://127.0.0.1:9/", "critical")


def test_a_job_that_has_ended_is_no_outage_and_a_missing_service_is_one() -> None:
    config = ComposeConfig({
        "web": ServiceConfig("web", replicas=1, depends_on=(Dependency("migrate", "service_completed_successfully"),), restart="always"),
        "migrate": ServiceConfig("migrate", replicas=1, command=("alembic", "upgrade", "head")),
        "debug": ServiceConfig("debug", replicas=1, enabled=False),
    })  # fmt: skip
    stack = Stack("shop", working_dir="/srv/my shop", config=config)
    facts = ComposeCollector([stack], t.cast("t.Any", NoEngine()), ComposeOptions(stats=False, read_configs=False)).finish()
    seen = by_object(service_observations(facts))
    assert set(seen) == {"shop/web", "shop/migrate"}
    assert (seen["shop/web"].status, seen["shop/web"].next_command) == ("critical", "cd '/srv/my shop' && docker compose up -d web")
    assert seen["shop/migrate"].status == "ok"


class NoEngine:
    """An engine without containers."""

    remote = False

    def events(self, *dummy: t.Any) -> list[t.Any]:
        return []


def test_without_the_engine_all_that_was_there_is_unknown_because_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: t.Any) -> t.Any:
        raise CheckError("unix:///var/run/docker.sock", "connection refused", "systemctl status docker", "not-running")

    monkeypatch.setattr(Monitoring, "discover", refuse)
    memory = {"seen": [["shop/web", "shop"]], "projects": {}}
    result = check_health.check(run_of("health", memory=memory))
    assert [(one.object, one.status, one.parents) for one in result.observations] == [("engine", "critical", ()), ("shop/web", "unknown", ("engine",))]
    assert result.memory == memory


def test_a_project_without_containers_is_remembered_while_its_compose_file_is_there(tmp_path: pathlib.Path) -> None:
    compose_file = tmp_path / "docker-compose.yml"
    compose_file.write_text("services: {}")
    services = check_health._dump_config(ComposeConfig({"web": ServiceConfig("web", replicas=1, restart="always", command=("uvicorn", "--key=s3cret"))}))
    assert "s3cret" not in json.dumps(services)
    kept = {"services": services, "name": "shop", "flavour": "compose-v2", "working_dir": str(tmp_path), "config_files": [str(compose_file)]}
    projects = {"shop": kept, "gone": {**kept, "config_files": [str(tmp_path / "removed.yml")]}}
    (stack,) = check_health._without_containers(projects, ())
    assert (stack.name, set(projects)) == ("shop", {"shop"})
    assert stack.config is not None and stack.config.services["web"].replicas == 1
    assert check_health._without_containers(projects, ("shop",)) == []


# -- errors ------------------------------------------------------------------------------------------------------------


def line(moment: float, level: str, message: str) -> str:
    return json.dumps({"timestamp": rfc3339(moment), "level": level, "logger": "app", "message": message}) + "\n"


def test_errors_are_counted_once_and_more_than_ten_warn(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "app.log"
    now = 1_795_600_000.0
    log.write_text(line(now - 20, "INFO", "up") + line(now - 10, "ERROR", "boom") * 11)
    options = {"paths": [str(log)]}
    first = check_errors(run_of("errors", options, now=now, scheduled=True))
    (seen,) = first.observations
    assert (seen.status, seen.summary) == ("warning", "11 errors in 5 min")
    assert seen.details == (f"11 x boom ({log})",) and seen.next_command == f"tail -n 200 {log}"
    second = check_errors(run_of("errors", options, first.memory, now=now + 300, scheduled=True))
    assert [(one.status, one.summary) for one in second.observations] == [("ok", "0 errors in 5 min")]


def test_a_check_that_runs_every_minute_judges_its_whole_window(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("")
    options, memory, verdicts = {"paths": [str(log)]}, {}, []
    now = 1_795_600_000.0
    log.write_text(line(now - 1, "INFO", "up"))
    for minute in range(8):
        moment = now + 60 * minute
        with log.open("a") as file:
            file.write(line(moment - 1, "ERROR", "boom") * (4 if minute < 4 else 0))
        result = check_errors(run_of("errors", options, memory, now=moment, scheduled=True))
        memory = result.memory
        verdicts.append((result.observations[0].status, result.observations[0].metrics["errors"]["value"]))
    assert [count for dummy, count in verdicts] == [4, 8, 12, 16, 16, 12, 8, 4]
    assert [status for status, dummy in verdicts] == ["ok", "ok", "warning", "warning", "warning", "warning", "ok", "ok"]


def test_what_a_host_wrote_before_a_pause_is_no_news(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "app.log"
    now = 1_795_600_000.0
    log.write_text(line(now - 10, "INFO", "up"))
    options = {"paths": [str(log)]}
    first = check_errors(run_of("errors", options, now=now, scheduled=True))
    with log.open("a") as file:
        file.write(line(now + 60, "ERROR", "before the pause") * 50 + line(now + 7190, "ERROR", "now") * 2)
    (seen,) = check_errors(run_of("errors", options, first.memory, now=now + 7200, scheduled=True)).observations
    assert seen.metrics["errors"]["value"] == 2


def test_by_hand_the_window_is_read_and_nothing_is_kept(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "app.log"
    now = 1_795_600_000.0
    log.write_text(line(now - 1000, "ERROR", "old") * 20 + line(now - 10, "ERROR", "new") * 3)
    result = check_errors(run_of("errors", {"paths": [str(log)]}, now=now))
    assert result.observations[0].metrics["errors"]["value"] == 3
    assert result.memory == {}


def test_a_log_that_is_not_there_is_unknown(tmp_path: pathlib.Path) -> None:
    observations = check_errors(run_of("errors", {"paths": [str(tmp_path / "none.log")]}, scheduled=True)).observations
    assert "unknown" in {one.status for one in observations}
    assert any("none.log" in one.object for one in observations)


# -- host and database -------------------------------------------------------------------------------------------------


def test_a_full_disk_is_told_by_the_thresholds() -> None:
    facts = facts_of("disk-nearly-full")["host"]
    worst_row = max(facts["filesystems"], key=lambda row: row["used_percent"])
    seen = by_object(host_observations(facts, run_of("resources")))
    assert seen[worst_row["mount"]].status == worst_row["status"] != "ok"
    assert seen[worst_row["mount"]].next_command.startswith("du -xh")
    strict = {"thresholds": {"disk_used_percent": {"warning": "0", "critical": "1"}}}
    assert by_object(host_observations(facts, run_of("resources", strict)))[worst_row["mount"]].status == "critical"


def test_memory_that_runs_out_names_the_largest_processes() -> None:
    facts = facts_of("host-memory")["host"]
    limit = {"thresholds": {"memory_used_percent": {"critical": str(facts["memory_used_percent"] - 1)}}}
    seen = by_object(host_observations(facts, run_of("resources", limit)))["memory"]
    assert seen.status == "critical" and seen.details and "MiB" in seen.details[0]


def test_a_container_near_its_limit_is_told() -> None:
    rows = facts_of("container-limits")["compose"]
    used = [row for row in rows["containers"] if row["stats"]["memory_percent"] is not None]
    assert used
    seen = container_observations(rows, run_of("resources", {"thresholds": {"container_memory_percent": {"warning": "0", "critical": "100"}}}))
    assert len(seen) == len(used) and {one.status for one in seen} <= {"warning", "ok"}
    assert all(one.parents == (f"health:{one.stack}/{one.object.partition('/')[2].partition('#')[0]}",) for one in seen)


@pytest.mark.parametrize("name", ["database-stopped", "wrong-database-password", "postgres-states", "database-states", "slow-query"])
def test_every_recorded_server_has_an_observation(name: str) -> None:
    for instance in facts_of(name)["postgres"]["instances"]:
        seen = instance_observation(instance, run_of("database"))
        assert seen.summary
        if not instance["reachable"]:
            assert seen.status == instance["status"] and seen.status != "ok"
        # What has been slow since the last reset of the statistics is for the diagnosis.
        if instance["reachable"] and set(instance["concerns"]) <= {"slow statements"}:
            assert seen.status == "ok"


# -- backups -----------------------------------------------------------------------------------------------------------


def test_a_host_without_backups_is_told_of_once_there_is_a_check(tmp_path: pathlib.Path) -> None:
    (seen,) = check_backup(run_of("backup", {"root": str(tmp_path / "none")})).observations
    assert (seen.object, seen.status) == ("backups", "warning")


def test_a_project_whose_sets_are_gone_is_still_expected(tmp_path: pathlib.Path) -> None:
    (seen,) = check_backup(run_of("backup", {"root": str(tmp_path)}, {"projects": ["shop"]})).observations
    assert (seen.object, seen.status) == ("shop", "critical")
