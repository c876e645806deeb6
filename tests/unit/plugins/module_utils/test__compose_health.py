# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ``compose`` facts of recorded projects. With a real engine: tests/live/test_compose_health.py."""

from __future__ import annotations

import copy
import datetime
import json
import pathlib
import typing as t

import pytest
import yaml
from ansible_collections.stackops.runbook.plugins.module_utils import _compose_health
from ansible_collections.stackops.runbook.plugins.module_utils._compose_config import ComposeConfig, parse_config
from ansible_collections.stackops.runbook.plugins.module_utils._compose_health import (
    ComposeOptions,
    check_compose,
    collect_compose,
    log_lines,
    redacted,
    wait_until_well,
)
from ansible_collections.stackops.runbook.plugins.module_utils._container_stats import usage
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import ContainerRef, Selection, Stack, stacks_of
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError, Thresholds

ROOT = pathlib.Path(__file__).parents[4]
FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures" / "compose"
RECORDED = {name: json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8")) for name in ("compose_v1", "compose_v2", "podman_compose")}
STATS = json.loads((FIXTURES / "stats_cgroup_v1.json").read_text(encoding="utf-8"))
# The recordings are of this time; a container that had just started then must not look like an old one.
NOW = max(
    moment
    for recording in RECORDED.values()
    for entry in recording.values()
    for moment in (ContainerRef(entry["inspect"]).started_at, ContainerRef(entry["inspect"]).finished_at)
    if moment
) + datetime.timedelta(seconds=5)

Facts = dict[str, t.Any]


class Replay:
    """An engine that has recorded containers, their logs, and two samples of counters for each that runs."""

    remote = True

    def __init__(self, entries: t.Mapping[str, Facts]) -> None:
        self.entries = {entry["inspect"]["Id"]: entry for entry in entries.values()}
        self.images: dict[str, str] = {}
        self.samples = 0
        self.unreadable_logs = False

    def containers(self, include_stopped: bool = True, labels: t.Sequence[str] = ()) -> list[Facts]:
        return [{"Id": id_, "Labels": entry["inspect"]["Config"]["Labels"]} for id_, entry in self.entries.items()]

    def inspect_many(self, ids: t.Sequence[str], dummy_listed: t.Sequence[Facts] = ()) -> list[Facts]:
        return [self.entries[id_]["inspect"] for id_ in ids]

    def image(self, reference: str) -> t.Optional[Facts]:
        return {"Id": self.images[reference]} if reference in self.images else None

    def stats_once(self, ids: t.Sequence[str]) -> dict[str, Facts]:
        self.samples += 1
        return dict.fromkeys(ids, STATS["first" if self.samples == 1 else "second"])

    def logs_tail(self, container_id: str, lines: int, since: t.Optional[float] = None) -> bytes:
        if self.unreadable_logs:
            raise CheckError(container_id, "configured logging driver does not support reading", "", "protocol-error")
        return "\n".join(self.entries[container_id]["log"][-lines:]).encode()

    def events(self, since: float, until: float, container_ids: t.Sequence[str]) -> list[Facts]:
        return []


@pytest.fixture(autouse=True)
def at_the_time_of_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_compose_health, "utc_now", lambda: NOW)


def config_of(flavour: str = "v2") -> ComposeConfig:
    text = (FIXTURES / ("config_v2.json" if flavour == "v2" else "config_v1.yml")).read_text(encoding="utf-8")
    return parse_config(yaml.safe_load(text))


def without(config: ComposeConfig, *names: str) -> ComposeConfig:
    return ComposeConfig({name: service for name, service in config.services.items() if name not in names}, config.name, config.complete)


def stack_of(engine: Replay, config: t.Optional[ComposeConfig], selection: t.Optional[Selection] = None, error: t.Optional[CheckError] = None) -> Stack:
    found = stacks_of(map(ContainerRef, engine.inspect_many(list(engine.entries))), selection or Selection())[0]
    error = error or (None if config else CheckError("compose config", "not asked for"))
    return Stack(
        found.name,
        found.flavour,
        found.working_dir,
        found.config_files,
        found.containers,
        config=config,
        config_error=error,
        selected_services=found.selected_services,
        siblings=found.siblings,
    )


def collected(
    *cases: str,
    recording: str = "compose_v2",
    config: t.Optional[ComposeConfig] = None,
    edit: t.Optional[t.Callable[[str, Facts], None]] = None,
    **options: t.Any,
) -> Facts:
    """Return the facts of the recorded *cases* (all, where none is named)."""
    entries = {name: copy.deepcopy(entry) for name, entry in RECORDED[recording].items() if not cases or name in cases}
    for name, entry in entries.items():
        if edit:
            edit(name, entry["inspect"])
    engine = Replay(entries)
    return collect_compose([stack_of(engine, config)], engine, ComposeOptions(**{"stats": False, **options}))  # type: ignore[arg-type]


def services(facts: Facts) -> dict[str, Facts]:
    return {service["name"]: service for service in facts["projects"][0]["services"]}


def containers(facts: Facts) -> dict[str, Facts]:
    return {container["service"] + (" (one-off)" if container["oneoff"] else ""): container for container in facts["containers"]}


# -- the shape ------------------------------------------------------------------------------------------------------


def check_shape(schema: t.Any, value: t.Any, path: str) -> None:
    """Assert that *value* has exactly the names of *schema*, at every depth."""
    if isinstance(schema, str):
        kind, optional = schema.split(":")[0].rstrip("?"), schema.split(":")[0].endswith("?")
        if value is None:
            assert optional, f"{path} must not be null"
            return
        types: dict[str, t.Any] = {"string": str, "time": str, "integer": int, "number": (int, float), "boolean": bool}
        assert isinstance(value, types[kind]), f"{path}: {value!r} is no {kind}"
        assert kind != "integer" or not isinstance(value, bool), path
        return
    if value is None and path.endswith((".cause", ".error")):
        return
    names = {name.rstrip("[]{}"): name for name in schema}
    assert set(value) == set(names), path
    for plain, name in names.items():
        entries = value[plain] if name.endswith("[]") else list(value[plain].values()) if name.endswith("{}") else [value[plain]]
        for entry in entries:
            check_shape(schema[name], entry, f"{path}.{plain}")


@pytest.mark.parametrize("recording", ["compose_v1", "compose_v2", "podman_compose"])
def test_facts_have_the_shape_of_the_schema(recording: str) -> None:
    schema = yaml.safe_load((ROOT / "roles/diagnose/files/facts_schema.yml").read_text(encoding="utf-8"))["collectors"]["compose"]
    facts = collected(recording=recording, config=None if recording == "podman_compose" else config_of(), stats=True)
    check_shape(schema, {name: facts[name] for name in ("projects", "containers")}, "compose")
    assert set(facts) == {"status", "summary", "metrics", "errors", "projects", "containers"}
    json.dumps(facts)


def test_the_module_documents_what_it_returns() -> None:
    documented = yaml.safe_load(module_text("RETURN"))
    schema = yaml.safe_load((ROOT / "roles/diagnose/files/facts_schema.yml").read_text(encoding="utf-8"))["collectors"]["compose"]
    for name in ("projects", "containers"):
        assert set(documented[name]["contains"]) == {key.rstrip("[]{}") for key in schema[f"{name}[]"]}
    assert set(documented["containers"]["contains"]["health"]["contains"]) == {key.rstrip("[]") for key in schema["containers[]"]["health"]}


def module_text(name: str) -> str:
    namespace: Facts = {}
    source = (ROOT / "plugins/modules/compose_health.py").read_text(encoding="utf-8")
    exec(source.split("from ansible.module_utils")[0], namespace)  # noqa: S102  # the module's documentation, without Ansible
    return t.cast(str, namespace[name])


# -- a healthy stack, and parts that are not ------------------------------------------------------------------------


def test_all_well() -> None:
    facts = collected("well", "scaled", "scaled 2", "port-holder", config=without(config_of(), *set(config_of().services) - {"well", "scaled", "port-holder"}))
    assert (facts["status"], facts["summary"]) == ("ok", "1 project, 4 containers, all well")
    assert services(facts)["scaled"]["expected_replicas"] == services(facts)["scaled"]["running_replicas"] == 2
    assert all(container["cause"] is None and container["last_log_lines"] == [] for container in facts["containers"])


@pytest.mark.parametrize(
    ("case", "status"),
    [
        ("well", "ok"),
        ("job", "ok"),
        ("well (one-off)", "ok"),
        ("starting", "unknown"),
        ("stale", "unknown"),
        ("paused", "warning"),
        ("child-out-of-memory", "warning"),
        ("out-of-memory", "critical"),
        ("loop-error", "critical"),
        ("probe-status", "critical"),
        ("port-taken", "critical"),
        ("waiting", "critical"),
        ("stopped", "critical"),
        ("job-failed", "critical"),
    ],
)
def test_verdict_on_a_container(case: str, status: str) -> None:
    assert collected(case)["containers"][0]["status"] == status


def test_a_service_that_was_stopped_is_down_though_its_exit_code_is_0() -> None:
    def stopped_database(dummy: str, raw: Facts) -> None:
        raw.update(Path="docker-entrypoint.sh", Args=["postgres"])
        raw["State"].update(Status="exited", ExitCode=0, FinishedAt=raw["State"]["StartedAt"])

    facts = collected("port-holder", edit=stopped_database)
    assert (facts["status"], facts["containers"][0]["cause"]["code"]) == ("critical", "terminated")


def test_what_compose_run_made_never_counts() -> None:
    facts = collected("well", "well (one-off)")
    assert facts["status"] == "ok" and facts["metrics"]["containers"]["value"] == 1
    assert containers(facts)["well (one-off)"]["cause"] is None
    assert services(facts)["well"]["running_replicas"] == 1


def test_a_service_without_a_container_is_missing() -> None:
    facts = collected("well", config=without(config_of(), *set(config_of().services) - {"well", "killed", "job", "with-profile"}))
    found = services(facts)
    assert found["killed"]["missing"] and found["killed"]["status"] == "critical"
    assert found["with-profile"] == {**found["with-profile"], "missing": False, "status": "ok", "expected_replicas": 0}
    assert facts["metrics"]["services_missing"]["value"] == 2, "killed and job: nothing tells that job is one"
    assert "shop/killed: no container" in facts["summary"]


def test_a_job_whose_container_was_pruned_is_not_missing() -> None:
    config = parse_config({"services": {"well": {}, "migrate": {"image": "shop/backend", "command": "alembic upgrade head"}}})
    facts = collected("well", config=config)
    assert services(facts)["migrate"] == {**services(facts)["migrate"], "missing": False, "one_shot": True, "status": "ok"}


def test_zero_replicas_are_legal() -> None:
    facts = collected("well", config=parse_config({"services": {"well": {}, "off": {"deploy": {"replicas": 0}}}}))
    assert facts["status"] == "ok" and not services(facts)["off"]["missing"]


def test_fewer_replicas_than_declared() -> None:
    facts = collected("scaled", config=parse_config({"services": {"scaled": {"scale": 2}}}))
    assert (facts["status"], services(facts)["scaled"]["status"]) == ("warning", "warning")
    assert "fewer than declared: shop/scaled" in facts["summary"]


def test_a_container_of_a_service_that_is_not_declared_is_an_orphan() -> None:
    facts = collected("well", "killed", config=parse_config({"services": {"well": {}}}))
    assert services(facts)["killed"]["orphan"] and not services(facts)["well"]["orphan"]
    assert facts["status"] == "warning", "nobody asked for it to be there"


def test_without_the_compose_file_what_is_expected_is_unknown() -> None:
    facts = collected("well", "waits-for-health", "probe-silent")
    found = services(facts)
    assert [found[name]["expected_replicas"] for name in sorted(found)] == [None, None, None]
    assert not any(service["missing"] or service["orphan"] for service in found.values())
    assert found["waits-for-health"]["depends_on"] == [{"service": "probe-silent", "condition": "service_healthy"}], "from the label"
    assert facts["projects"][0]["config_error"] == "not asked for"
    assert facts["errors"] == [{"source": "compose config", "reason": "not asked for", "hint": ""}]


def test_a_dependency_that_failed_is_named() -> None:
    facts = collected("waits-for-health", "probe-silent")
    cause = containers(facts)["waits-for-health"]["cause"]
    assert (cause["code"], cause["summary"]) == ("dependency-failed", "it waits for probe-silent: probe-silent is unhealthy")


def test_a_dependency_without_a_health_check_is_named() -> None:
    config = parse_config({"services": {"waiting": {"depends_on": {"scaled": {"condition": "service_healthy"}}}, "scaled": {}}})
    cause = containers(collected("waiting", "scaled", config=config))["waiting"]["cause"]
    assert cause["summary"] == "it waits for scaled: scaled has no health check"


def test_what_others_wait_for_to_complete_is_a_job() -> None:
    config = parse_config({"services": {"port-holder": {}, "web": {"depends_on": {"port-holder": {"condition": "service_completed_successfully"}}}}})
    assert services(collected("port-holder", config=config))["port-holder"]["one_shot"] is True


def test_selected_services_alone() -> None:
    engine = Replay(RECORDED["compose_v2"])
    stack = stack_of(engine, config_of(), Selection(services=("waits-for-health",)))
    facts = collect_compose([stack], engine, ComposeOptions(stats=False))  # type: ignore[arg-type]
    assert [container["service"] for container in facts["containers"]] == ["waits-for-health"]
    assert list(services(facts)) == ["waits-for-health"]
    assert facts["containers"][0]["cause"]["code"] == "dependency-failed", "what it depends on is still looked at"


def test_podman_compose() -> None:
    facts = collected(recording="podman_compose")
    assert facts["projects"][0]["flavour"] == "podman-compose"
    assert containers(facts)["web"]["cause"]["code"] == "unhealthy"
    assert (containers(facts)["db"]["cause"]["code"], containers(facts)["db"]["exit_code"]) == ("application-error", 3)


# -- details --------------------------------------------------------------------------------------------------------


def test_last_lines_of_what_is_not_well() -> None:
    facts = collected("bad-import", "well", log_tail=2)
    assert containers(facts)["bad-import"]["last_log_lines"][-1] == "ModuleNotFoundError: No module named 'fastapi_nosuch'"
    assert len(containers(facts)["bad-import"]["last_log_lines"]) == 2
    assert collected("bad-import", log_tail=0)["containers"][0]["last_log_lines"] == []


def test_a_log_that_cannot_be_read_is_said() -> None:
    engine = Replay({"bad-import": RECORDED["compose_v2"]["bad-import"]})
    engine.unreadable_logs = True
    facts = collect_compose([stack_of(engine, config_of())], engine, ComposeOptions(stats=False))  # type: ignore[arg-type]
    assert any("does not support reading" in error["reason"] and "json-file" in error["hint"] for error in facts["errors"])
    assert facts["containers"][0]["cause"]["code"] == "application-error"


def test_a_tag_that_moved_on() -> None:
    raw = RECORDED["compose_v2"]["well"]["inspect"]
    engine = Replay({"well": RECORDED["compose_v2"]["well"]})
    stack = stack_of(engine, config_of())
    for current, moved in ((raw["Image"], False), ("sha256:newer", True)):
        engine.images = {raw["Config"]["Image"]: current}
        image = collect_compose([stack], engine, ComposeOptions(stats=False))["containers"][0]["image"]  # type: ignore[arg-type]
        assert (image["local_tag_id"], image["tag_moved"]) == (current, moved)
    engine.images = {}
    assert collect_compose([stack], engine, ComposeOptions(stats=False))["containers"][0]["image"]["tag_moved"] is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("declared", "changed"),
    [
        ({}, []),
        ({"MODE": "production", "PRICE": "5$$"}, []),
        ({"MODE": "debug", "PRICE": "5$$"}, ["MODE"]),
        ({"MODE": "production", "ADDED": "1"}, ["ADDED"]),
    ],
    ids=["nothing declared", "as it runs", "another value", "a new variable"],
)
def test_variables_that_containers_do_not_have_yet(declared: dict[str, str], changed: list[str]) -> None:
    recorded = copy.deepcopy(RECORDED["compose_v2"]["well"])
    recorded["inspect"]["Config"]["Env"] = ["PATH=/usr/bin", "MODE=production", "PRICE=5$"]
    document = {"services": {"well": {"image": "stackops-test/base:trixie", "environment": declared}}}
    engine = Replay({"well": recorded})
    facts = collect_compose([stack_of(engine, parse_config(document))], engine, ComposeOptions(stats=False))  # type: ignore[arg-type]
    project = facts["projects"][0]
    assert project["services"][0]["changed_variables"] == changed
    assert project["env_newer_than_containers"] == (["well"] if changed else [])


def test_database_addresses_without_passwords() -> None:
    def with_url(dummy: str, raw: Facts) -> None:
        raw["Config"]["Env"] = ["DATABASE_URL=postgresql+psycopg2://app:canary-5ecret@db:5433/shop"]

    facts = collected("well", edit=with_url)
    expected = {"variable": "DATABASE_URL", "scheme": "postgresql+psycopg2", "host": "db", "port": 5433, "database": "shop", "user": "app"}
    assert facts["containers"][0]["database_urls"] == [expected]
    assert "canary-5ecret" not in json.dumps(facts)


def test_secrets_of_the_environment_are_taken_out_of_logs_and_commands() -> None:
    entry = copy.deepcopy(RECORDED["compose_v2"]["bad-import"])
    entry["inspect"]["Config"]["Env"] = ["JWT_SECRET=canary-5ecret"]
    entry["inspect"]["Args"] = ["--token", "canary-5ecret"]
    entry["log"].append("ValueError: bad key canary-5ecret")
    engine = Replay({"bad-import": entry})
    stack = stack_of(engine, config_of())
    facts = collect_compose([stack], engine, ComposeOptions(stats=False))  # type: ignore[arg-type]
    assert "canary-5ecret" in json.dumps(facts)
    assert "canary-5ecret" not in json.dumps(redacted(facts, [stack]))


def test_stats_of_two_samples() -> None:
    engine = Replay({"well": RECORDED["compose_v2"]["well"], "paused": RECORDED["compose_v2"]["paused"]})
    facts = collect_compose([stack_of(engine, config_of())], engine, ComposeOptions())  # type: ignore[arg-type]
    assert engine.samples == 2
    stats = containers(facts)["well"]["stats"]
    assert stats["available"] and stats["cpu_percent"] is not None and stats["memory_bytes"] > 0 and stats["memory_percent"] is None
    assert containers(facts)["paused"]["stats"]["available"] is False


def test_usage_by_hand() -> None:
    first, second = copy.deepcopy(STATS["first"]), copy.deepcopy(STATS["second"])
    first["read"], second["read"] = "2026-11-23T10:00:00Z", "2026-11-23T10:00:00.5Z"
    second["cpu_stats"]["cpu_usage"]["total_usage"] = first["cpu_stats"]["cpu_usage"]["total_usage"] + 250_000_000
    first["memory_stats"] = {"usage": 90 << 20, "stats": {"inactive_file": 20 << 20}}
    second["memory_stats"] = {"usage": 100 << 20, "stats": {"inactive_file": 20 << 20}}
    result = usage(first, second, 160 << 20)
    assert (result["cpu_percent"], result["memory_bytes"], result["memory_percent"]) == (50.0, 80 << 20, 50.0)
    assert (result["memory_lowest_bytes"], usage(second, first, None)["memory_lowest_bytes"]) == (70 << 20, 70 << 20)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"periods": 40, "throttled_periods": 31}, {"periods": 50, "throttled_periods": 40}, 90.0),
        ({"periods": 40, "throttled_periods": 31}, {"periods": 45, "throttled_periods": 31}, 0.0),
        # Without a limit there are no periods; and the counters start again with the container.
        ({"periods": 0, "throttled_periods": 0}, {"periods": 0, "throttled_periods": 0}, None),
        ({"periods": None}, {"periods": None}, None),
        ({"periods": 40, "throttled_periods": 31}, {"periods": 2, "throttled_periods": 2}, None),
        (None, None, None),
    ],
)
def test_periods_in_which_the_share_was_used_up(before: t.Any, after: t.Any, expected: float | None) -> None:
    first, second = copy.deepcopy(STATS["first"]), copy.deepcopy(STATS["second"])
    first["cpu_stats"]["throttling_data"], second["cpu_stats"]["throttling_data"] = before, after
    assert usage(first, second, None)["throttled_percent"] == expected


def test_an_engine_that_answers_zeros_has_no_numbers() -> None:
    nothing = {"read": "0001-01-01T00:00:00Z", "pids_stats": {}, "cpu_stats": {"cpu_usage": {"total_usage": 0}}, "memory_stats": {}}
    found = usage(nothing, nothing, None)
    assert (found.pop("available"), set(found.values())) == (False, {None})


def test_a_counter_that_began_anew_gives_no_percentage() -> None:
    assert usage(STATS["second"], {**STATS["first"], "read": "2099-01-01T00:00:00Z"}, None)["cpu_percent"] is None


@pytest.mark.parametrize(("share", "status"), [(0.5, "ok"), (0.8, "warning"), (0.95, "critical")])
def test_memory_near_its_limit(share: float, status: str) -> None:
    used = STATS["second"]["memory_stats"]["usage"] - STATS["second"]["memory_stats"]["stats"]["total_inactive_file"]

    def limited(dummy: str, raw: Facts) -> None:
        raw["HostConfig"]["Memory"] = int(used / share)

    facts = collected("well", edit=limited, stats=True)
    assert facts["containers"][0]["status"] == status
    assert collected("well", edit=limited, stats=True, memory_percent=Thresholds())["containers"][0]["status"] == "ok"


def test_the_kernels_log_is_read_where_it_can_decide() -> None:
    asked: list[bool] = []

    def kernel() -> list[Facts]:
        asked.append(True)
        container = ContainerRef(RECORDED["compose_v2"]["killed"]["inspect"])
        return [{"at": container.inspect["State"]["FinishedAt"], "process": "sleep", "pid": 1, "container_id": container.id, "scope": "container"}]

    assert collected("well", "bad-import", kernel_oom_kills=kernel)["status"] == "critical" and not asked
    assert collected("killed", kernel_oom_kills=kernel)["containers"][0]["oom_killed"] is True and asked


def test_a_kernel_log_that_may_not_be_read_stops_nothing() -> None:
    def kernel() -> list[Facts]:
        raise CheckError("kernel log", "operation not permitted", "Run with become: true.", "permission-denied")

    facts = collected("killed", kernel_oom_kills=kernel)
    assert facts["containers"][0]["cause"]["code"] == "killed"
    assert any(error["source"] == "kernel log" for error in facts["errors"])


def test_lines_of_a_log_are_text() -> None:
    assert log_lines(b"\x1b[31mred\x1b[0m\r\n\n  indented\tx\n\xff\x00bad\n" + b"y" * 5000) == ["red", "  indented\tx", "\ufffdbad", "y" * 2000]


# -- the module's entry, and waiting --------------------------------------------------------------------------------

PARAMETERS: Facts = {
    "log_tail": 5,
    "stats": False,
    "wait": False,
    "wait_timeout": 1,
    "memory_percent_warning": 80.0,
    "memory_percent_critical": 95.0,
    "restart_count": 3,
    "restart_window": 600,
    "config_timeout": 5,
    "docker_host": "unix:///nosuch/engine.sock",
    "timeout": 1,
}


@pytest.mark.parametrize("wait", [False, True])
def test_no_engine_is_unknown_and_says_what_to_do(wait: bool) -> None:
    facts = check_compose({**PARAMETERS, "wait": wait})
    assert (facts["status"], facts["projects"], facts["containers"]) == ("unknown", [], [])
    assert facts["errors"][0]["hint"]
    assert ("waited_seconds" in facts) is wait


def waited(*cases: str, timeout: float = 0.6) -> tuple[list[Stack], int]:
    engine = Replay({name: RECORDED["compose_v2"][name] for name in cases})
    looks: list[int] = []
    inspect_many = engine.inspect_many

    def counted(ids: t.Sequence[str], dummy_listed: t.Sequence[Facts] = ()) -> list[Facts]:
        looks.append(1)
        return inspect_many(ids)

    engine.inspect_many = counted  # type: ignore[method-assign]
    return wait_until_well(engine, Selection(), ComposeOptions(), timeout), len(looks)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cases", "again"),
    [
        (("well", "scaled"), False),
        (("well", "job"), False),
        (("starting",), True),
        (("probe-silent",), True),
        (("loop-error",), True),
        (("killed", "starting"), False),
        (("port-taken", "starting"), False),
    ],
    ids=["well", "job that ended", "starting", "unhealthy", "restarting", "ended", "could not start"],
)
def test_waiting_goes_on_while_it_makes_sense(cases: tuple[str, ...], again: bool) -> None:
    dummy, looks = waited(*cases)
    assert (looks > 1) is again


def test_waiting_for_a_project_that_never_comes() -> None:
    engine = Replay({"well": RECORDED["compose_v2"]["well"]})
    with pytest.raises(CheckError) as caught:
        wait_until_well(engine, Selection(project_name="nosuch"), ComposeOptions(), 0.6)  # type: ignore[arg-type]
    assert caught.value.code == "project-unknown"
