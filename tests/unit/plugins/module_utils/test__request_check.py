# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import pathlib
import re
import stat
import typing as t

import pytest
import yaml
from ansible_collections.stackops.runbook.plugins.doc_fragments import log_sources
from ansible_collections.stackops.runbook.plugins.module_utils import _request_check
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import ContainerRef, Stack
from ansible_collections.stackops.runbook.plugins.module_utils._request_check import check_requests, openapi_locations, sources_of
from ansible_collections.stackops.runbook.plugins.module_utils._request_rules import RULES, WatchOptions

NOW = 1795435200.0
MODULE = pathlib.Path(__file__).parents[4] / "plugins" / "modules" / "log_requests.py"
_TEXT = MODULE.read_text(encoding="utf-8")


def _part(name: str) -> t.Any:
    found = re.search(rf'^{name} = r"""\n(.*?)^"""', _TEXT, re.MULTILINE | re.DOTALL)
    assert found
    return yaml.safe_load(found[1])


OPTIONS: dict[str, t.Any] = {**yaml.safe_load(log_sources.ModuleDocFragment.DOCUMENTATION)["options"], **_part("DOCUMENTATION")["options"]}
RETURNED: dict[str, t.Any] = _part("RETURN")


def params(**given: t.Any) -> dict[str, t.Any]:
    defaults = {name: option.get("default") for name, option in OPTIONS.items()}
    return {**defaults, "project_src": None, "project_name": None, "services": [], **given}


def log(path: pathlib.Path, minute: str = "59", count: int = 60, status: int = 401) -> str:
    lines = [
        f'203.0.113.9 - - [23/Nov/2026:11:{minute}:{number % 60:02} +0000] "POST /login HTTP/1.1" {status} 5 "-" "curl" rt=0.{number:03}\n'
        for number in range(count)
    ]
    with path.open("a", encoding="utf-8") as file:
        file.writelines(lines)
    return str(path)


def test_a_log_at_a_path_is_judged_without_an_engine(tmp_path: pathlib.Path) -> None:
    found = check_requests(params(paths=[log(tmp_path / "access.log")]), now=NOW)
    assert [finding["rule"] for finding in found["findings"]] == ["auth_failures", "auth_burst_ip"] and found["status"] == "warning" and not found["errors"]
    assert found["requests"]["sources"][0]["requests"] == 60 and found["requests"]["sources"][0]["max_ms"] == 59.0


def test_everything_that_is_returned_is_documented(tmp_path: pathlib.Path) -> None:
    found = check_requests(params(paths=[log(tmp_path / "access.log"), str(tmp_path / "missing.log")]), now=NOW)
    assert set(found) == set(RETURNED)
    for name in ("findings", "logs", "errors"):
        assert {key for entry in found[name] for key in entry} == set(RETURNED[name]["contains"]), name
    assert set(found["metrics"]) == set(RETURNED["metrics"]["sample"])


def test_the_documented_defaults_are_those_of_the_check() -> None:
    options = _request_check._module_options(params())
    assert options == WatchOptions(max_bytes=OPTIONS["max_bytes"]["default"], max_lines=200_000, look_back_seconds=3600.0)
    assert OPTIONS["disabled_rules"]["choices"] == list(RULES)


def test_with_a_state_file_each_line_counts_once(tmp_path: pathlib.Path) -> None:
    path, state = log(tmp_path / "access.log"), tmp_path / "state" / "requests.json"
    given = params(paths=[path], state_file=str(state), latency=False)
    assert check_requests(given, check_mode=True, now=NOW)["status"] == "warning" and not state.parent.exists()
    assert check_requests(given, now=NOW)["status"] == "warning" and stat.S_IMODE(state.stat().st_mode) == 0o600
    kept = state.read_bytes()
    assert check_requests(given, check_mode=True, now=NOW + 60)["logs"][0]["requests"] == 0 and state.read_bytes() == kept
    again = check_requests(given, now=NOW + 60)
    assert again["status"] == "ok" and again["requests"] is None


def test_a_damaged_state_file_is_told_and_written_anew(tmp_path: pathlib.Path) -> None:
    path, state = log(tmp_path / "access.log"), tmp_path / "requests.json"
    state.write_text("{")
    given = params(paths=[path], state_file=str(state))
    found = check_requests(given, now=NOW)
    assert found["status"] == "warning" and "not readable" in found["errors"][0]["reason"]
    assert json.loads(state.read_text())["schema_version"] == 1 and check_requests(given, now=NOW + 9)["status"] == "ok"


def test_a_state_file_that_cannot_be_written_is_told(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    found = check_requests(params(paths=[log(tmp_path / "access.log")], state_file=str(tmp_path / "file" / "state.json")), now=NOW)
    assert any("could not be written" in error["reason"] or "not readable" in error["reason"] for error in found["errors"])


def test_how_far_to_look_back(tmp_path: pathlib.Path) -> None:
    path = log(tmp_path / "access.log", minute="20")
    assert check_requests(params(paths=[path], window="30m"), now=NOW)["status"] == "ok"
    assert check_requests(params(paths=[path]), now=NOW)["findings"][0]["count"] == 60


def test_a_path_without_a_log_is_told(tmp_path: pathlib.Path) -> None:
    found = check_requests(params(paths=[str(tmp_path / "*.nothing")]), now=NOW)
    assert found["status"] == "unknown" and [error["reason"] for error in found["errors"]] == ["no log file is there"]


@pytest.mark.parametrize("given", [{"window": "soon"}, {"window": "0s"}, {"rule_window_seconds": 1}, {"ignore_clients": ["x/y"]}, {"login_paths": "("}])
def test_options_that_make_no_sense(given: dict[str, t.Any], tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        check_requests(params(paths=[str(tmp_path)], **given))


def test_an_engine_that_does_not_answer_is_unknown(tmp_path: pathlib.Path) -> None:
    given = params(docker_host=f"unix://{tmp_path}/no.sock", timeout=1, tls=False, validate_certs=False)
    found = check_requests({**given, **dict.fromkeys(("tls_hostname", "ca_path", "client_cert", "client_key", "api_version"))}, now=NOW)
    assert found["status"] == "unknown" and found["errors"] and found["errors"][0]["hint"]


def _container(service: str, **more: t.Any) -> ContainerRef:
    labels = {"com.docker.compose.project": "shop", "com.docker.compose.service": service}
    ports = {f"{port}/tcp": {} for port in more.get("ports", ())}
    inspect = {
        "Id": service, "Name": f"/shop-{service}-1", "State": {}, "Mounts": more.get("mounts", []), "LogPath": f"/var/lib/docker/containers/{service}-json.log",
        "Config": {"Labels": labels, "Image": more.get("image", "shop"), "ExposedPorts": ports, "Cmd": more.get("command")},
        "HostConfig": {"NetworkMode": more.get("mode", "shop_default"), "LogConfig": {"Type": "json-file"}},
        "NetworkSettings": {"Networks": {"shop_default": {"IPAddress": more.get("address", "")}}},
    }  # fmt: skip
    return ContainerRef(inspect)


def test_where_documents_of_applications_are_likely_to_be() -> None:
    stack = Stack(
        "shop",
        containers=[
            _container("backend", ports=(8000,), address="172.18.0.3", command=["uvicorn", "app:app"]),
            _container("inner", ports=(9000,), mode="host", command=["gunicorn", "app"]),
            _container("silent", address="172.18.0.4", command=["uvicorn", "app:app"]),
            _container("db", ports=(5432,), address="172.18.0.5", image="postgres:17"),
        ],
    )
    found = openapi_locations([stack], None)
    assert found["shop/backend"] == "http://172.18.0.3:8000/openapi.json" and found["shop/inner"] == "http://127.0.0.1:9000/openapi.json"
    assert "shop/silent" not in found and "shop/db" not in found


def test_paths_win_over_files_on_mounts_but_not_over_containers(tmp_path: pathlib.Path) -> None:
    log(tmp_path / "app.log")
    mounts = [{"Type": "bind", "Source": str(tmp_path), "Destination": "/app/logs", "RW": True}]
    stack = Stack("shop", containers=[_container("backend", mounts=mounts)])
    found, errors = sources_of([stack], None)
    assert [source.name for source in found] == ["container:shop-backend-1", str(tmp_path / "app.log")] and not errors
    other = log(tmp_path / "other.txt")
    assert [source.name for source in sources_of([stack], None, [other])[0]] == ["container:shop-backend-1", other]
