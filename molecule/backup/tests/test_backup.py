# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The set against the stack that it is of, its copy, the schedule, and the stack after the restore."""

from __future__ import annotations

import hashlib
import json
import pathlib
import time

import pytest

ROOT = "/var/backups/stackops/shop"
COPIES = pathlib.Path(__file__).resolve().parents[3] / "build/molecule/backup/sets"


def psql(host, statement):
    """Return what the database says to *statement*."""
    return host.check_output("docker exec shop-postgres-1 sh -c %s %s", 'psql -qXAt -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "$0"', statement)


@pytest.fixture(scope="module")
def path(host):
    """Return the directory of the newest verified set."""
    return host.check_output("readlink -f %s/latest", ROOT)


@pytest.fixture(scope="module")
def manifest(host, path):
    """Return the manifest of that set."""
    return json.loads(host.check_output("cat %s/manifest.json", path))


@pytest.fixture(scope="module")
def secrets(host):
    """Return the secrets of the stack."""
    pairs = [line.partition("=") for line in host.check_output("cat /srv/stack/.env").splitlines()]
    found = [value.strip('"') for name, _, value in pairs if name.endswith(("_PASSWORD", "_SECRET"))]
    assert len(found) >= 2
    return found


def test_the_second_run_made_no_second_set(host):
    assert len(host.check_output("ls %s/sets", ROOT).split()) == 1
    assert host.check_output("ls -A %s/tmp %s/trash | grep -v : | tr -d '[:space:]'", ROOT, ROOT) == ""


def test_nobody_else_may_read_it(host, path):
    assert host.check_output("find /var/backups/stackops ! -user root -o ! -type l -perm /077") == ""


def test_its_files_are_those_that_it_lists(host, path, manifest):
    assert host.run("cd %s && sha256sum --check --quiet SHA256SUMS", path).rc == 0
    there = set(host.check_output("cd %s && find . -type f -printf '%%P\\n'", path).splitlines())
    assert there - {"manifest.json", "SHA256SUMS"} == {entry["path"] for entry in manifest["files"]}


def test_it_holds_what_the_database_had(host, manifest):
    (database,) = manifest["databases"]
    rows = {table["name"]: table["rows"] for table in database["tables"]}
    assert rows["Bücher 書"] == 5000
    assert database["large_objects"]["number"] == 1
    assert manifest["verification"]["level"] in ("decodable", "restorable", "equivalent")


def test_configuration_and_plain_sql_are_in_it(host, path):
    assert ".env" in host.check_output("tar -tzf %s/config.tar.gz", path)
    assert "PostgreSQL database dump complete" in host.check_output("zcat %s/backup_*.sql.gz | tail -n 5", path)


def test_the_copy_on_the_controller_is_the_same(host, path):
    # Copies of earlier runs stay: nothing is ever removed there.
    (copy,) = COPIES.glob(f"*/shop/{pathlib.Path(path).name}")
    assert copy.name == pathlib.PurePath(path).name
    there = {line.split("  ", 1)[1]: line.split("  ", 1)[0] for line in host.check_output("cd %s && sha256sum $(find * -type f)", path).splitlines()}
    here = {str(file.relative_to(copy)): hashlib.sha256(file.read_bytes()).hexdigest() for file in copy.rglob("*") if file.is_file()}
    assert here == there


def test_cron_has_its_program(host):
    lines = host.file("/etc/cron.d/stackops-backup").content_string.splitlines()
    assert "30 2 * * * root /usr/local/sbin/stackops backup" in lines
    assert "0 4 * * 0 root /usr/local/sbin/stackops verify" in lines
    assert host.file("/etc/stackops/backup.json").mode == 0o600
    assert host.file("/usr/local/sbin/stackops").mode == 0o755


def test_cron_itself_makes_a_set(host, path):
    """The role's own lines, with the next minute instead of their time."""
    assert host.service("cron").is_running
    lines = [line for line in host.file("/etc/cron.d/stackops-backup").content_string.splitlines() if not line.endswith(" verify")]
    state_before = host.check_output("cat /var/lib/stackops/backup-shop.json 2>/dev/null || true")
    # Three seconds are left for cron to see the file before that minute begins.
    began = host.check_output("date --iso-8601=seconds")
    minute = host.check_output("date -d '63 seconds' '+%M %H'")
    text = "\n".join(line.replace("30 2 * * *", f"{minute} * * *") for line in lines) + "\n"
    assert minute in text
    host.check_output("printf %%s %s > /etc/cron.d/stackops-test", text)
    try:
        deadline = time.monotonic() + 63 + 120
        while host.check_output("cat /var/lib/stackops/backup-shop.json 2>/dev/null || true") == state_before:
            assert time.monotonic() < deadline, host.check_output("journalctl -u cron --no-pager --since %s", began)
            time.sleep(1)
    finally:
        host.check_output("rm /etc/cron.d/stackops-test")
    assert "(root) CMD (/usr/local/sbin/stackops backup)" in host.check_output("journalctl -t CRON --no-pager --since %s", began)
    state = json.loads(host.check_output("cat /var/lib/stackops/backup-shop.json"))
    assert state["schema_version"] == 1
    assert state["last_run"]["status"] == "ok"
    assert state["set_id"] == pathlib.PurePath(host.check_output("readlink -f %s/latest", ROOT)).name != pathlib.PurePath(path).name
    assert state["bytes"] > 0
    assert state["last_success"] is not None


def test_the_program_says_nothing_when_all_is_well(host):
    """In the environment that cron gives it; what it says, cron would send by mail."""
    command = "env -i HOME=/root LOGNAME=root SHELL=/bin/sh PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /bin/sh -c"
    result = host.run(f"cd / && {command} '/usr/local/sbin/stackops verify --set latest --level decodable'")
    assert (result.rc, result.stdout, result.stderr) == (0, "", "")


def test_the_restored_database_is_as_it_was(host):
    before = json.loads(host.check_output("cat /var/tmp/contents.json"))
    assert [
        psql(host, 'SELECT count(*), sum(hashtextextended(b::text, 0)) FROM "Bücher 書" AS b'),
        psql(host, "SELECT count(*), sum(hashtextextended(i::text, 0)) FROM items AS i"),
    ] == before
    assert psql(host, "SELECT convert_from(lo_get(424242), 'UTF8')") == "a large object"
    assert psql(host, "SELECT nextval('odd')") == "48"
    assert psql(host, "SHOW work_mem") == "7MB"


def test_the_application_is_well_after_it(host):
    assert host.check_output("docker inspect --format '{{.State.Health.Status}}' shop-backend-1") == "healthy"


def test_the_old_database_is_kept(host):
    assert "__old_" in psql(host, "SELECT string_agg(datname, ' ') FROM pg_database")


def test_no_secret_is_in_what_others_read(host, manifest, secrets):
    texts = [json.dumps(manifest), host.check_output("cat /var/lib/stackops/*.json"), host.check_output("cat %s/index.json", ROOT)]
    assert [secret for secret in secrets if any(secret in text for text in texts)] == []
