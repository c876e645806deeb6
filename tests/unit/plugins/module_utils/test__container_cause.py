# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Causes of recorded containers: each was really brought into its state (tests/live/compose_cases)."""

from __future__ import annotations

import copy
import datetime
import json
import pathlib
import typing as t

import pytest
import yaml
from ansible_collections.stackops.runbook.plugins.module_utils._container_cause import Circumstances, classify, in_restart_loop, oom_evidence
from ansible_collections.stackops.runbook.plugins.module_utils._container_health import health_of
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import ContainerRef
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures" / "compose"
RECORDED = {flavour: json.loads((FIXTURES / f"compose_{flavour}.json").read_text(encoding="utf-8")) for flavour in ("v1", "v2")}

SCHEMA = (pathlib.Path(__file__).parents[4] / "roles/diagnose/files/facts_schema.yml").read_text(encoding="utf-8")
CAUSE = yaml.safe_load(SCHEMA)["collectors"]["compose"]["containers[]"]["cause"]
CODES = CAUSE["code"].removeprefix("string: ").split(" | ")


def recorded(flavour: str, case: str) -> tuple[ContainerRef, list[str]]:
    entry = RECORDED[flavour][case]
    return ContainerRef(entry["inspect"]), entry["log"]


def now_of(container: ContainerRef) -> datetime.datetime:
    times = [moment for moment in (container.created_at, container.started_at, container.finished_at) if moment]
    return max(times) + datetime.timedelta(seconds=5)


def cause_of(container: ContainerRef, log: t.Sequence[str] = (), **around: t.Any) -> t.Optional[dict[str, t.Any]]:
    return classify(container, health_of(container), Circumstances(now_of(container), log_lines=log, **around))


def changed(container: ContainerRef, **parts: dict[str, t.Any]) -> ContainerRef:
    raw = copy.deepcopy(container.inspect)
    for name, values in parts.items():
        raw[name] = {**raw[name], **values} if isinstance(values, dict) else values
    return ContainerRef(raw)


EXPECTED = [
    ("bad-import", "application-error", "high", "import-error", {"module": "fastapi_nosuch"}),
    ("bad-mount", "mount-failed", "high", "mount-failed", {"source": "/srv/shop/nosuch-directory", "destination": "/etc/passwd"}),
    ("command-missing", "command-not-found", "high", "command-not-found", {"command": "nosuchprogram"}),
    ("command-missing-in-shell", "command-not-found", "high", "command-not-found", {"command": "nosuchprogram"}),
    ("job-failed", "application-error", "low", None, None),
    ("killed", "killed", "low", None, None),
    ("loop-clean", "restart-loop", "high", None, None),
    ("loop-error", "application-error", "high", "import-error", {"module": "nosuch"}),
    ("name-unknown", "application-error", "high", "database-name-not-resolved", {"host": "db-nosuch"}),
    ("not-executable", "not-executable", "high", "permission-denied", {"command": "/etc/hostname"}),
    ("paused", "paused", "high", None, None),
    ("port-taken", "port-already-allocated", "high", "address-in-use", {"port": "18999", "address": "127.0.0.1"}),
    ("probe-missing", "unhealthy", "high", "command-not-found", {"command": "curl"}),
    ("probe-missing-in-shell", "unhealthy", "high", "command-not-found", {"command": "curl"}),
    ("probe-name", "unhealthy", "high", None, None),
    ("probe-python", "unhealthy", "high", None, None),
    ("probe-refused", "unhealthy", "high", None, None),
    ("probe-silent", "unhealthy", "high", None, None),
    ("probe-status", "unhealthy", "high", None, None),
    ("probe-timeout", "unhealthy", "high", None, None),
    ("segfault", "segfault", "high", None, None),
    ("stale", "starting", "high", None, None),
    ("starting", "starting", "high", None, None),
    ("startup-failure", "startup-failure", "high", "unhandled", {}),
    ("stopped", "terminated", "medium", None, None),
    ("stopped-by-hand", "terminated", "high", None, None),
    ("waiting", "created-never-started", "medium", None, None),
]


@pytest.mark.parametrize("flavour", ["v1", "v2"])
@pytest.mark.parametrize(("case", "code", "confidence", "kind", "parameters"), EXPECTED, ids=[row[0] for row in EXPECTED])
def test_recorded_container(flavour: str, case: str, code: str, confidence: str, kind: t.Optional[str], parameters: t.Optional[dict[str, str]]) -> None:
    container, log = recorded(flavour, case)
    cause = cause_of(container, log)
    assert cause is not None
    assert (cause["code"], cause["confidence"]) == (code, confidence)
    assert (cause["error"]["kind"] if cause["error"] else None) == kind
    assert (cause["error"]["parameters"] if cause["error"] else None) == parameters
    assert cause["evidence"] and cause["summary"]


@pytest.mark.parametrize("flavour", ["v1", "v2"])
@pytest.mark.parametrize("case", ["well", "scaled", "scaled 2", "port-holder"])
def test_nothing_is_wrong_with_what_is_well(flavour: str, case: str) -> None:
    assert cause_of(*recorded(flavour, case)) is None


def test_a_job_that_ended_well_is_fine_and_a_service_is_not() -> None:
    container, log = recorded("v2", "job")
    assert cause_of(container, log, one_shot=True) is None
    cause = cause_of(container, log, one_shot=False)
    assert cause is not None and cause["code"] == "terminated"


def test_a_job_that_failed_is_never_fine() -> None:
    cause = cause_of(*recorded("v2", "job-failed"), one_shot=True)
    assert cause is not None
    assert {"source": "log", "text": "could not migrate"} in cause["evidence"]


def test_uvicorn_says_why_it_did_not_start() -> None:
    cause = cause_of(*recorded("v1", "startup-failure"))
    assert cause is not None
    assert cause["summary"].startswith("uvicorn could not start the application") and "settings are incomplete" in cause["summary"]


@pytest.mark.parametrize("code", [3, 4])
def test_gunicorn_start_up_codes(code: int) -> None:
    container, dummy = recorded("v2", "bad-import")
    container = changed(container, State={"ExitCode": code}, Path="gunicorn", Args=["app.main:app"])
    cause = cause_of(container, ["ModuleNotFoundError: No module named 'app.nosuch'", "[ERROR] Worker (pid:7) exited with code 3"])
    assert cause is not None
    assert (cause["code"], cause["error"]["kind"]) == ("startup-failure", "import-error")
    assert cause["summary"].startswith("gunicorn")


# -- killed, and by whom --------------------------------------------------------------------------------------------


def killed(memory: t.Optional[int] = None, **state: t.Any) -> ContainerRef:
    container, dummy = recorded("v2", "killed")
    return changed(container, State={**state}, HostConfig={"Memory": memory} if memory else {})


def event(container: ContainerRef, action: str, **attributes: str) -> dict[str, t.Any]:
    assert container.finished_at is not None
    return {"Action": action, "timeNano": int(container.finished_at.timestamp() * 1e9), "Actor": {"ID": container.id, "Attributes": attributes}}


def test_the_engine_says_that_memory_ran_out() -> None:
    cause = cause_of(killed(32 << 20, OOMKilled=True))
    assert cause is not None and (cause["code"], cause["confidence"]) == ("oom-container", "high")
    assert "32 MiB" in cause["summary"]
    assert {"source": "inspect", "text": "State.OOMKilled: true"} in cause["evidence"]


def test_recorded_out_of_memory_of_an_engine_that_noticed() -> None:
    cause = cause_of(*recorded("v2", "out-of-memory"))
    assert cause is not None and cause["code"] == "oom-container" and "32 MiB" in cause["summary"]


def test_the_kernel_knows_what_the_engine_overlooked() -> None:
    container, log = recorded("v1", "out-of-memory")
    # The engine wrote OOMKilled: false about this real kill; the same case of another run has true.
    container = changed(container, State={"OOMKilled": False})
    assert container.finished_at is not None
    kill = {"at": container.finished_at.isoformat(), "process": "python3", "pid": 4242, "container_id": container.id, "scope": "container"}
    cause = cause_of(container, log, kernel_oom_kills=[kill])
    assert cause is not None and (cause["code"], cause["confidence"]) == ("oom-container", "high")
    assert any(entry["source"] == "kernel" and "4242" in entry["text"] for entry in cause["evidence"])


def test_the_host_ran_out_of_memory() -> None:
    container = killed()
    assert container.finished_at is not None
    kill = {"at": (container.finished_at - datetime.timedelta(seconds=3)).isoformat(), "process": "python3", "pid": 7, "container_id": None, "scope": "host"}
    cause = cause_of(container, kernel_oom_kills=[kill])
    assert cause is not None and cause["code"] == "oom-host"


@pytest.mark.parametrize(
    "kill",
    [
        {"process": "python3", "pid": 7, "container_id": "ffffffffffff", "scope": "container"},
        {"process": "python3", "pid": 7, "container_id": None, "scope": "host", "seconds": -3600},
    ],
    ids=["another container", "another time"],
)
def test_an_oom_kill_elsewhere_explains_nothing(kill: dict[str, t.Any]) -> None:
    container = killed()
    assert container.finished_at is not None
    at = container.finished_at + datetime.timedelta(seconds=kill.pop("seconds", 0))
    cause = cause_of(container, kernel_oom_kills=[{**kill, "at": at.isoformat()}])
    assert cause is not None and cause["code"] == "killed"


def test_docker_stop_that_had_to_kill() -> None:
    container, log = recorded("v2", "stop-timeout")
    events = [event(container, "kill", signal="15"), event(container, "kill", signal="9"), event(container, "die", exitCode="137"), event(container, "stop")]
    cause = cause_of(container, log, events=events)
    assert cause is not None and (cause["code"], cause["confidence"]) == ("terminated", "high")
    assert "grace period" in cause["summary"]


def test_docker_kill() -> None:
    container = killed(32 << 20)
    cause = cause_of(container, events=[event(container, "kill", signal="9"), event(container, "die")])
    assert cause is not None and (cause["code"], cause["confidence"]) == ("killed", "high")


def test_a_kill_that_went_past_the_engine() -> None:
    container = killed(32 << 20)
    cause = cause_of(container, events=[event(container, "die")])
    assert cause is not None and (cause["code"], cause["confidence"]) == ("oom-container", "medium")
    container = killed()
    cause = cause_of(container, events=[event(container, "die")])
    assert cause is not None and (cause["code"], cause["confidence"]) == ("killed", "medium")


def test_events_of_an_earlier_life_do_not_count() -> None:
    container = killed(32 << 20)
    old = {**event(container, "stop"), "timeNano": 1}
    cause = cause_of(container, events=[old])
    assert cause is not None and cause["code"] == "killed"


def test_137_alone_is_never_out_of_memory() -> None:
    cause = cause_of(killed(32 << 20))
    assert cause is not None and (cause["code"], cause["confidence"]) == ("killed", "low")
    assert "not known" in cause["summary"]


def test_a_child_was_killed_while_the_main_process_goes_on() -> None:
    container, log = recorded("v1", "child-out-of-memory")
    assert cause_of(container, log) is None, "the engine of this recording did not notice"
    cause = cause_of(container, log, oom_kills=1)
    assert cause is not None and cause["code"] == "oom-container" and "goes on" in cause["summary"]
    cause = cause_of(*recorded("v2", "child-out-of-memory"))
    assert cause is not None and cause["code"] == "oom-container"


def restarted(times: int, uptime_seconds: float, memory: int = 64 << 20) -> tuple[ContainerRef, datetime.datetime]:
    """A container that runs again after *times* ends, and the time of looking at it."""
    container, dummy = recorded("v2", "well")
    container = changed(container, HostConfig={"Memory": memory}, RestartCount=times)
    assert container.started_at is not None
    ended = (container.started_at - datetime.timedelta(milliseconds=1)).isoformat()
    return changed(container, State={"FinishedAt": ended}), container.started_at + datetime.timedelta(seconds=uptime_seconds)


def test_a_container_that_runs_again_after_it_was_killed_for_memory() -> None:
    """The engine forgets the exit code and OOMKilled when it starts the container again; the kernel's log does not."""
    container, now = restarted(1, 40)
    assert container.created_at is not None
    kill = {"at": container.created_at.isoformat(), "process": "uvicorn", "pid": 99, "container_id": container.id[:12], "scope": "container"}
    health = health_of(container)
    cause = classify(container, health, Circumstances(now, kernel_oom_kills=[kill]))
    assert cause is not None and (cause["code"], cause["confidence"]) == ("oom-container", "high")
    assert cause["summary"] == "it was killed for memory (its limit is 64 MiB) and restarted once"
    container, now = restarted(5, 20)
    cause = classify(container, health, Circumstances(now, log_lines=["RuntimeError: of an earlier life"], kernel_oom_kills=[kill]))
    assert cause is not None and cause["code"] == "oom-container", "goes before what the log says"


def test_a_restart_by_the_kernel_is_known_from_the_engines_events() -> None:
    container, now = restarted(2, 40)
    died = event(container, "die", exitCode="137")
    cause = classify(container, health_of(container), Circumstances(now, events=[died]))
    assert cause is not None and (cause["code"], cause["confidence"]) == ("oom-container", "medium")
    for other in (event(container, "die", exitCode="1"), event(container, "kill", signal="9")):
        assert classify(container, health_of(container), Circumstances(now, events=[died, other])) is None
    without_limit, now = restarted(2, 40, memory=0)
    assert classify(without_limit, health_of(without_limit), Circumstances(now, events=[died])) is None


def test_oom_without_a_limit_is_the_hosts() -> None:
    container = killed(OOMKilled=True)
    assert oom_evidence(container, Circumstances(now_of(container)))[0] == "oom-host"


# -- start failures in other words ----------------------------------------------------------------------------------

START_ERRORS = [
    (
        "driver failed programming external connectivity on endpoint x: Error starting userland proxy: listen tcp4 0.0.0.0:8000: bind: address already in use",
        "port-already-allocated",
        {"port": "8000", "address": "0.0.0.0"},
    ),
    (
        "failed to set up container networking: driver failed programming external connectivity on x: Bind for :::8000 failed: port is already allocated",
        "port-already-allocated",
        {"port": "8000", "address": "::"},
    ),
    ("rootlessport listen tcp 0.0.0.0:80: bind: address already in use", "port-already-allocated", {"port": "80", "address": "0.0.0.0"}),
    ('invalid mount config for type "bind": bind source path does not exist: /srv/nosuch', "mount-failed", {"source": "/srv/nosuch"}),
    ('error while mounting volume "/var/lib/docker/volumes/x/_data": failed to mount local volume', "mount-failed", {}),
    ("No such image: shop/backend:1.4", "image-missing", {"image": "debian:trixie-slim"}),
    (
        'OCI runtime create failed: runc create failed: unable to start container process: exec: "/app/entrypoint": no such file or directory: unknown',
        "command-not-found",
        {"command": "/app/entrypoint"},
    ),
    (
        "OCI runtime create failed: runc create failed: unable to start container process: exec /app/run: exec format error",
        "not-executable",
        {"command": "sleep"},
    ),
    ("network 3f1c not found", "created-never-started", None),
    (
        "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: "
        'exec: "/opt/serve": stat /opt/serve: no such file or directory: unknown',
        "command-not-found",
        {"command": "/opt/serve"},
    ),
]


@pytest.mark.parametrize(("text", "code", "parameters"), START_ERRORS, ids=[row[1] + str(number) for number, row in enumerate(START_ERRORS)])
def test_start_failure(text: str, code: str, parameters: t.Optional[dict[str, str]]) -> None:
    container, dummy = recorded("v2", "waiting")
    cause = cause_of(changed(container, State={"Error": text, "ExitCode": 128}))
    assert cause is not None and cause["code"] == code
    if parameters is not None:
        assert {**cause["error"]["parameters"], **parameters} == cause["error"]["parameters"]


def test_a_container_that_failed_to_start_again_is_judged_by_the_start() -> None:
    container, dummy = recorded("v2", "stopped")
    failed = changed(container, State={"Error": "driver failed: Bind for 0.0.0.0:80 failed: port is already allocated", "ExitCode": 128})
    cause = cause_of(failed)
    assert cause is not None and cause["code"] == "port-already-allocated"


def test_what_waits_for_something_broken_says_for_what() -> None:
    cause = cause_of(*recorded("v2", "waits-for-health"), dependencies={"probe-silent": "probe-silent is unhealthy"})
    assert cause is not None
    assert (cause["code"], cause["error"]["parameters"]) == ("dependency-failed", {"service": "probe-silent"})


def test_an_image_that_is_gone() -> None:
    cause = cause_of(*recorded("v2", "waiting"), image_present=False)
    assert cause is not None and cause["code"] == "image-missing"


# -- loops ----------------------------------------------------------------------------------------------------------


def test_a_running_container_between_two_ends_is_in_a_loop() -> None:
    container, log = recorded("v2", "loop-error")
    container = changed(container, State={"Status": "running", "Running": True, "Restarting": False, "ExitCode": 0})
    cause = cause_of(container, log)
    assert cause is not None and cause["code"] == "application-error" and "restarted" in cause["summary"]


def test_a_shell_that_does_not_find_its_command_says_so_between_two_ends() -> None:
    container, dummy = recorded("v2", "loop-error")
    container = changed(container, State={"Status": "running", "Running": True, "Restarting": False, "ExitCode": 0})
    cause = cause_of(container, ["sh: 1: serve-api: not found"])
    assert cause is not None and cause["code"] == "command-not-found"
    assert cause["error"]["parameters"] == {"command": "serve-api"}


def test_restarts_of_long_ago_are_no_loop() -> None:
    container, dummy = recorded("v1", "well")
    container = changed(container, RestartCount=7)
    assert container.started_at is not None
    late = Circumstances(container.started_at + datetime.timedelta(hours=2))
    assert in_restart_loop(container, Circumstances(container.started_at + datetime.timedelta(minutes=1)))
    assert not in_restart_loop(container, late)
    assert classify(container, health_of(container), late) is None


@pytest.mark.parametrize(("exit_code", "words"), [(132, "SIGILL"), (134, "SIGABRT"), (135, "shm_size"), (136, "SIGFPE")])
def test_other_signals_are_named(exit_code: int, words: str) -> None:
    container, dummy = recorded("v1", "job-failed")
    cause = cause_of(changed(container, State={"ExitCode": exit_code}))
    assert cause is not None and words in cause["summary"]


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=150, deadline=None)
@given(
    case=st.sampled_from(sorted(RECORDED["v2"])),
    status=st.sampled_from(["created", "running", "restarting", "paused", "exited", "dead", "removing", "stopped", ""]),
    exit_code=st.one_of(st.none(), st.integers(-1, 255)),
    error=st.text(max_size=60),
    restarts=st.integers(0, 9),
    log=st.lists(st.text(max_size=60), max_size=5),
    oom_kills=st.one_of(st.none(), st.integers(0, 3)),
)
def test_whatever_the_engine_says_gives_a_known_cause_or_none(
    case: str, status: str, exit_code: t.Optional[int], error: str, restarts: int, log: list[str], oom_kills: t.Optional[int]
) -> None:
    container, dummy = recorded("v2", case)
    container = changed(container, State={"Status": status, "ExitCode": exit_code, "Error": error}, RestartCount=restarts)
    cause = cause_of(container, log, oom_kills=oom_kills)
    if cause is not None:
        assert cause["code"] in CODES and cause["confidence"] in ("high", "medium", "low")
        assert set(cause) == {"code", "confidence", "summary", "error", "evidence"}
        assert all(set(entry) == {"source", "text"} and len(entry["text"]) <= 500 for entry in cause["evidence"])
        json.dumps(cause)
