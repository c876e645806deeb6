# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host is lost. Another one, empty, gets configuration, database and application back from the off-site set and nothing else."""

from __future__ import annotations

import json
import time
import typing as t

import pytest

from tests.support.fleet_hosts import CACHE, PLAIN, RENAMED, STACK_ON_HOST, StackHost, fault, on_host, playbook, run
from tests.support.fleet_hosts import testbed as bed  # by its own name it would be taken for a test

NEW = StackHost(PLAIN.name.replace("plain", "new"))
ROWS = "SELECT count(*), sum(hashtextextended(i::text, 0)) FROM items i"
#: From the empty host to the healthy application; what it really took is printed.
MOST_SECONDS = 300


def sql(host: StackHost, statement: str) -> str:
    """Run *statement* in the stack's database on *host*."""
    container = on_host(host, f"docker ps -q -f label=com.docker.compose.service={PLAIN.database}").strip()
    script = 'psql -XqAt -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "$0"'
    return run("docker", "exec", host.name, "docker", "exec", container, "sh", "-c", script, statement).stdout.strip()


@pytest.fixture(scope="module")
def off_site(hosts: tuple[StackHost, StackHost]) -> t.Iterator[dict[str, t.Any]]:
    """An SFTP server (the sshd of another host) that both hosts may write to, as the option ``offsite`` names it; and a new host."""
    store = RENAMED
    fault(PLAIN, "reset")
    bed("host", "up", NEW.name)
    path = CACHE / "off-site-key"
    if not path.exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "off-site", "-f", path)
    key, public = path.read_text(), path.with_suffix(".pub").read_text().strip()
    on_host(store, f"grep -qF '{public}' /root/.ssh/authorized_keys || echo '{public}' >>/root/.ssh/authorized_keys; mkdir -p /srv/off-site")
    config = f"[away]\ntype = sftp\nhost = {bed('host', 'address', store.name).strip()}\nuser = root\nkey_file = /root/off-site-key\nshell_type = unix\n"
    for host in (PLAIN, NEW):
        on_host(host, f"umask 077; printf %s '{key}' >/root/off-site-key; printf %s '{config}' >/root/rclone.conf")
        on_host(
            host, "command -v rclone || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends rclone; } >/dev/null"
        )
    yield {"kind": "rclone", "remote": "away:/srv/off-site", "config_file": "/root/rclone.conf"}
    bed("host", "down", NEW.name)
    on_host(store, "rm -rf /srv/off-site")


def test_an_empty_host_gets_everything_back_from_off_site(hosts: tuple[StackHost, StackHost], off_site: dict[str, t.Any]) -> None:
    sql(PLAIN, "CREATE ROLE reporting LOGIN PASSWORD 'known-to-nobody'; GRANT SELECT ON items TO reporting")
    try:
        before = sql(PLAIN, ROWS)
        secret = on_host(PLAIN, f"grep ^POSTGRES_PASSWORD= {STACK_ON_HOST}/.env").strip().partition("=")[2]
        said = playbook("backup", [PLAIN], backup_root="/var/backups/away-test", backup_offsite=off_site, backup_level="decodable")
    finally:
        sql(PLAIN, "DROP OWNED BY reporting; DROP ROLE reporting")
        on_host(PLAIN, "rm -rf /var/backups/away-test")
    assert secret not in said

    began = time.monotonic()
    wanted = {"restore_project_name": PLAIN.project, "restore_project_src": STACK_ON_HOST, "restore_offsite": off_site}
    said = playbook("restore", [NEW], restore_confirm=PLAIN.project, **wanted)
    took = time.monotonic() - began
    print(f"an empty host was back after {took:.0f} s")  # noqa: T201  # the number that the test is for
    assert secret not in said
    assert took < MOST_SECONDS

    assert sql(NEW, ROWS) == before
    assert sql(NEW, "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'reporting'") == "t"
    assert on_host(NEW, f"cat {STACK_ON_HOST}/.env") == on_host(PLAIN, f"cat {STACK_ON_HOST}/.env")
    assert on_host(NEW, f"stat -c %a {STACK_ON_HOST}/.env").strip() == on_host(PLAIN, f"stat -c %a {STACK_ON_HOST}/.env").strip()
    health = on_host(NEW, f"curl -fsS http://127.0.0.1:{PLAIN.port}/health")
    assert json.loads(health)["status"] == "ok"
    assert secret in on_host(NEW, f"cat {STACK_ON_HOST}/.env")
