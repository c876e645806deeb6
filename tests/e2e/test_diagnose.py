# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook over real hosts: healthy, read-only, without root, with hosts missing, with input that is wrong."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
import yaml
from ansible_collections.stackops.runbook.plugins.plugin_utils._facts_schema import FactsSchema

from tests.support.fleet_hosts import PLAIN, RENAMED, STACK_ON_HOST, StackHost, diagnose, on_host

pytestmark = pytest.mark.live

# What a diagnosis must not change: configuration, the stack's files, what containers are made of and how often they
# were started, the database's contents and the engine's objects. What runc leaves in /tmp for a moment is a health check's.
SNAPSHOT = f"""
cd {STACK_ON_HOST}
find /etc /root /srv /usr/local /var/spool/cron -xdev -type f -not -path '*/logs/*' -exec sha256sum {{}} + 2>/dev/null | sort
find {STACK_ON_HOST}/logs -type f -printf '%p %m %U %G\\n' | sort
docker ps --all --no-trunc --format '{{{{.ID}}}} {{{{.Image}}}} {{{{.Names}}}}' | sort
docker inspect --format '{{{{.Id}}}} {{{{.RestartCount}}}} {{{{.State.StartedAt}}}}' $(docker ps --all --quiet) | sort
docker images --all --no-trunc --quiet | sort; docker network ls --no-trunc --quiet | sort; docker volume ls --quiet | sort
for container in $(docker ps --quiet --filter label=com.docker.compose.service={{database}}); do
  docker exec "$container" sh -c 'pg_dump -U "$POSTGRES_USER" "$POSTGRES_DB" | grep -v -e ^.restrict -e ^.unrestrict | sha256sum'
done
find /tmp /var/tmp -mindepth 1 -not -path '/tmp/systemd-private*' -not -path '/var/tmp/systemd-private*' -not -path '/tmp/runc-process*' | sort
"""

NO_SERVER = {"login_host": "127.0.0.1", "login_port": 1, "login_user": "x", "login_password": "unused-but-given"}


def snapshot(host: StackHost) -> str:
    """Return the state of *host* that a diagnosis must leave as it is."""
    return on_host(host, SNAPSHOT.replace("{database}", host.database))


def inventory_with(base: pathlib.Path, target: pathlib.Path, **hosts: dict[str, t.Any]) -> pathlib.Path:
    """Write the inventory *base* with *hosts* changed or added, and return its path."""
    content = yaml.safe_load(base.read_text())
    for name, variables in hosts.items():
        content["all"]["hosts"].setdefault(name.replace("_", "-"), {}).update(variables)
    target.write_text(yaml.safe_dump(content))
    return target


def test_a_healthy_stack_has_no_finding_above_info_and_is_left_as_it_was(both_hosts: pathlib.Path, tmp_path: pathlib.Path) -> None:
    before = {host: snapshot(host) for host in (PLAIN, RENAMED)}
    result = diagnose(both_hosts, tmp_path)
    after = {host: snapshot(host) for host in (PLAIN, RENAMED)}
    for host in (PLAIN, RENAMED):
        fired = [finding for finding in result.row(host.name)["findings"] if finding["result"] == "fire" and finding["severity"] != "info"]
        assert fired == [], result.output
        assert result.row(host.name)["status"] == "ok", result.output
        assert before[host] == after[host]
    assert result.exit_code == 0
    assert "changed=0" in result.output


def test_the_facts_are_as_the_schema_says(both_hosts: pathlib.Path, tmp_path: pathlib.Path) -> None:
    result = diagnose(both_hosts, tmp_path)
    schema = FactsSchema.load()
    for host in (PLAIN, RENAMED):
        row = result.row(host.name)
        assert schema.unknown_paths({"host": {key: value for key, value in row["host"].items() if key != "name"}, "facts": row["facts"]}) == []


def test_no_secret_of_the_stack_is_in_any_output(both_hosts: pathlib.Path, tmp_path: pathlib.Path) -> None:
    result = diagnose(both_hosts, tmp_path, "-vvv", "--diff")
    written = "".join(path.read_text(errors="replace") for path in result.directory.iterdir()) + result.output
    for host in (PLAIN, RENAMED):
        environment = dict(line.split("=", 1) for line in on_host(host, f"cat {STACK_ON_HOST}/.env").splitlines() if "=" in line and not line.startswith("#"))
        secrets = [value for name, value in environment.items() if name in ("POSTGRES_PASSWORD", "DATABASE_PASSWORD", "JWT_SECRET")]
        assert len(secrets) >= 2
        for secret in secrets:
            assert len(secret) > 6
            assert secret not in written


def test_without_root_it_runs_and_says_what_it_may_not_read(both_hosts: pathlib.Path, tmp_path: pathlib.Path) -> None:
    ops = inventory_with(both_hosts, tmp_path / "ops.yml", **{PLAIN.name.replace("-", "_"): {"ansible_user": "ops"}})
    result = diagnose(ops, tmp_path / "reports", "--limit", PLAIN.name)
    row = result.row(PLAIN.name)
    assert row["status"] != "ok", result.output
    assert result.causes(PLAIN.name)[0]["rule"] == "docker-permission-denied", result.output
    assert row["facts"]["engine"]["failure"] == "permission-denied"
    assert row["facts"]["host"]["memory_total_bytes"] > 0
    unread = [finding for finding in row["findings"] if finding["result"] == "unknown"]
    assert unread
    assert any("become" in error["hint"] or "root" in error["hint"] for error in row["facts"]["engine"]["errors"])
    assert result.exit_code == 0


def test_hosts_that_cannot_be_reached_are_rows_with_a_reason(both_hosts: pathlib.Path, tmp_path: pathlib.Path) -> None:
    gone = {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_ssh_common_args": "-o ConnectTimeout=2"}
    no_python = {**yaml.safe_load(both_hosts.read_text())["all"]["hosts"][RENAMED.name], "ansible_python_interpreter": "/usr/bin/no-python"}
    inventory = inventory_with(both_hosts, tmp_path / "hosts.yml", a_gone=gone, no_python=no_python)
    result = diagnose(inventory, tmp_path / "reports")
    assert result.report["summary"]["unreachable"] == 1
    assert result.row("a-gone")["status"] == "unreachable"
    assert "refused" in result.row("a-gone")["reason"]
    assert result.row("no-python")["status"] == "unknown"
    assert "no-python" in result.row("no-python")["reason"]
    assert result.row(PLAIN.name)["status"] == "ok"
    assert "a-gone" in (result.directory / "report.html").read_text()


def test_every_host_unreachable_still_gives_a_report(tmp_path: pathlib.Path) -> None:
    inventory = tmp_path / "gone.yml"
    hosts = {name: {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_ssh_common_args": "-o ConnectTimeout=2"} for name in ("gone1", "gone2")}
    inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    result = diagnose(inventory, tmp_path / "reports")
    assert result.report["summary"]["unreachable"] == 2


@pytest.mark.parametrize(
    ("variables", "collector", "words"),
    [
        ({"diagnose_project_name": "no-such-project"}, "engine", "no-such-project"),
        ({"diagnose_project_src": "/srv/nowhere"}, "engine", "/srv/nowhere"),
        ({"diagnose_docker_host": "unix:///run/no-such.sock"}, "engine", "/run/no-such.sock"),
        ({"diagnose_log_paths": ["/var/log/no-such.log"]}, "logs", "/var/log/no-such.log"),
        ({"diagnose_postgres": [NO_SERVER]}, "postgres", "127.0.0.1"),
        ({"diagnose_endpoints": [{"name": "shop", "url": "http://no-such-host.invalid/"}]}, "http", "no-such-host.invalid"),
    ],
    ids=["project", "directory", "socket", "log", "postgres", "endpoint"],
)
def test_what_the_inventory_says_wrongly_is_told_and_the_rest_goes_on(
    both_hosts: pathlib.Path, tmp_path: pathlib.Path, variables: dict[str, t.Any], collector: str, words: str
) -> None:
    result = diagnose(both_hosts, tmp_path, "--limit", PLAIN.name, **variables)
    facts = result.facts(PLAIN.name)
    assert facts[collector]["status"] != "ok"
    assert words in json.dumps(facts[collector])
    assert facts["host"]["memory_total_bytes"] > 0
    assert words in result.output
    assert "unused-but-given" not in result.output


@pytest.fixture
def broken_input(both_hosts: pathlib.Path) -> t.Iterator[None]:
    """A Compose file that is none, a log of random bytes, and a log of one line of 20 MB."""
    logs = f"{STACK_ON_HOST}/logs"
    on_host(PLAIN, f"cp -p {STACK_ON_HOST}/docker-compose.yml /root/compose.kept && printf 'services: [' > {STACK_ON_HOST}/docker-compose.yml")
    on_host(PLAIN, f"head -c 1000000 /dev/urandom > {logs}/garbage.log; head -c 20000000 /dev/zero | tr '\\0' x > {logs}/long.log")
    try:
        yield
    finally:
        on_host(PLAIN, f"mv /root/compose.kept {STACK_ON_HOST}/docker-compose.yml; rm {logs}/garbage.log {logs}/long.log")


def test_broken_files_are_named_and_the_rest_goes_on(broken_input: None, both_hosts: pathlib.Path, tmp_path: pathlib.Path) -> None:
    result = diagnose(both_hosts, tmp_path, "--limit", PLAIN.name)
    facts = result.facts(PLAIN.name)
    project = facts["compose"]["projects"][0]
    assert not project["config_readable"]
    assert "docker-compose.yml" in json.dumps(facts["compose"]["errors"]) + project["config_error"]
    sources = {source["name"]: source for source in facts["logs"]["sources"]}
    assert sources[f"{STACK_ON_HOST}/logs/garbage.log"]["reason"] == "binary"
    assert sources[f"{STACK_ON_HOST}/logs/long.log"]["status"] == "unknown"
    assert sources[f"{STACK_ON_HOST}/logs/app.log"]["status"] == "ok"
    assert [container["status"] for container in facts["compose"]["containers"]] == ["ok", "ok"]
    assert "garbage.log" in result.output


def test_fail_on_gives_the_play_an_exit_code(both_hosts: pathlib.Path, tmp_path: pathlib.Path) -> None:
    variables = {"diagnose_endpoints": [{"name": "closed", "url": "http://127.0.0.1:1/"}]}
    result = diagnose(both_hosts, tmp_path, "--limit", PLAIN.name, diagnose_fail_on="critical", **variables)
    assert result.causes(PLAIN.name)[0]["severity"] == "critical"
    assert result.exit_code != 0


def test_a_second_run_says_what_is_new_and_what_is_over(both_hosts: pathlib.Path, tmp_path: pathlib.Path) -> None:
    closed = {"diagnose_endpoints": [{"name": "closed", "url": "http://127.0.0.1:1/"}]}
    runs = [diagnose(both_hosts, tmp_path, "--limit", PLAIN.name, **variables) for variables in (closed, closed, {})]
    changes = [
        {kind: [change["object"] for change in listed if change["severity"] != "info"] for kind, listed in run.report["changes"].items()} for run in runs
    ]
    assert changes == [
        {"new": ["closed"], "ongoing": [], "resolved": []},
        {"new": [], "ongoing": ["closed"], "resolved": []},
        {"new": [], "ongoing": [], "resolved": ["closed"]},
    ]


def test_a_rule_with_a_typo_is_named_with_its_file_and_line(both_hosts: pathlib.Path, tmp_path: pathlib.Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "mine.yml").write_text("---\nschema: 1\nrules:\n  - id: my-rule\n    sevreity: critical\n")
    done = diagnose_lint(rules)
    assert done.returncode != 0
    assert f"{rules / 'mine.yml'}:5" in done.stdout
    assert "sevreity" in done.stdout


def diagnose_lint(rules: pathlib.Path) -> t.Any:
    """Run the playbook with ``diagnose_lint_rules`` over the shipped rules and those in *rules*."""
    from tests.support.fleet_hosts import BIN, run

    variables = json.dumps({"diagnose_lint_rules": True, "diagnose_rule_dirs": [str(rules)]})
    return run(BIN / "ansible-playbook", "-i", "localhost,", "-c", "local", "playbooks/diagnose.yml", "-e", variables, check=False)
