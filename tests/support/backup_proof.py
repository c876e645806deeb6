# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must be true before and after a fault in a backup or a restore, and how sets are damaged on purpose."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import typing as t

from tests.support.backup_stack import ROOT, BackupStack, Ended

sys.path.insert(0, str(ROOT / ".venv" / "collections"))

from ansible_collections.stackops.runbook.plugins.module_utils import _backup_manifest as manifests  # noqa: E402

HELPER_LABEL = "io.github.stackops.runbook.helper"
DAY = 86400.0

_TABLES = """SELECT n.nspname || '.' || c.relname || ' ' || (xpath('/row/h/text()', query_to_xml(format(
'SELECT count(*) || '':'' || coalesce(sum(hashtextextended(stackops_row::text, 0)::numeric), 0) AS h FROM ONLY %I.%I AS stackops_row',
n.nspname, c.relname), false, true, '')))[1]::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"""
# In no order that somebody has granted or set in.
_PROPERTIES = """SELECT to_jsonb(d) - '{oid,datname,datfrozenxid,datminmxid,dathasloginevt,datacl}'::text[], pg_get_userbyid(datdba),
shobj_description(oid, 'pg_database'), (SELECT json_agg(one::text ORDER BY one::text) FROM unnest(datacl) one),
(SELECT json_agg(concat_ws(' ', pg_get_userbyid(setrole), one) ORDER BY setrole, one) FROM pg_db_role_setting, unnest(setconfig) one WHERE setdatabase = d.oid)
FROM pg_database d WHERE datname = """


def rows_of(stack: BackupStack, database: t.Optional[str] = None) -> str:
    """Return number and hash of the rows of every table: two of these are equal if no row differs."""
    return stack.sql(_TABLES, database)


def properties_of(stack: BackupStack, database: str) -> str:
    """Return what belongs to a database itself, as the server has it."""
    literal = database.replace("'", "''")
    return stack.sql(f"{_PROPERTIES} '{literal}'", "template1")


def schema_of(stack: BackupStack, database: str) -> str:
    """Return the schema as ``pg_dump`` writes it, without its session's secret words."""
    argv = ["docker", "exec", stack.container(), "pg_dump", "-U", "postgres", "--schema-only", "-d", database]
    text = subprocess.run(argv, capture_output=True, check=True, text=True, timeout=120).stdout
    return "\n".join(line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


def tree(path: pathlib.Path) -> dict[str, str]:
    """Return what lies under *path*: of each entry its mode, and what is in it."""
    found: dict[str, str] = {}
    for directory, names, files in os.walk(path):
        for name in [*names, *files]:
            entry = pathlib.Path(directory, name)
            content = os.readlink(entry) if entry.is_symlink() else "" if entry.is_dir() else hashlib.sha256(entry.read_bytes()).hexdigest()
            found[str(entry.relative_to(path))] = f"{entry.lstat().st_mode:o} {content}"
    return found


def published(root: pathlib.Path, stack: BackupStack) -> tuple[dict[str, str], str]:
    """Return every file of every set, and where ``latest`` leads to."""
    latest = root / stack.project / "latest"
    return tree(root / stack.project / "sets"), os.readlink(latest) if latest.is_symlink() else ""


@contextlib.contextmanager
def database(stack: BackupStack, name: str, *statements: str) -> t.Iterator[str]:
    """Have a database of its own for the block; what restores make of it goes with it."""
    drop_all(stack, name)
    quoted = '"' + name.replace('"', '""') + '"'
    stack.sql(f"CREATE DATABASE {quoted}", "postgres")
    try:
        for statement in statements:
            stack.sql(statement, name)
        yield name
    finally:
        drop_all(stack, name)


def own_databases(stack: BackupStack, name: str) -> list[str]:
    """Return *name* and what restores made of it."""
    return [one for one in stack.databases() if one == name or one.startswith((f"{name}__old_", f"{name}__restore_"))]


def drop_all(stack: BackupStack, name: str) -> None:
    """Drop what :func:`own_databases` returns."""
    for one in own_databases(stack, name):
        quoted = '"' + one.replace('"', '""') + '"'
        stack.sql(f"ALTER DATABASE {quoted} ALLOW_CONNECTIONS true", "postgres")
        stack.sql(f"DROP DATABASE {quoted} WITH (FORCE)", "postgres")


def leftovers(stack: BackupStack, root: pathlib.Path) -> list[str]:
    """Return what no run may leave behind, however it ended: helper containers, sessions of the dump."""
    left = []
    ids = subprocess.run(["docker", "ps", "-aq", "--filter", f"label={HELPER_LABEL}"], capture_output=True, text=True, check=True).stdout.split()
    if ids:
        postgres = stack.container()
        # Others may work on this engine as well; one that is being removed is gone in a moment.
        inspected = subprocess.run(["docker", "inspect", *ids], capture_output=True, text=True, check=False).stdout
        for one in json.loads(inspected or "[]"):
            host = one["HostConfig"]
            if host["NetworkMode"] == f"container:{postgres}" or any(bind.startswith(str(root)) for bind in host["Binds"] or ()):
                left.append(f"container {one['Name']} ({one['State']['Status']})")
    sessions = stack.sql("SELECT pid, query FROM pg_stat_activity WHERE application_name = 'stackops-backup'", "postgres").splitlines()
    return left + [f"session {line}" for line in sessions]


def temporary(root: pathlib.Path, stack: BackupStack) -> list[str]:
    """Return what lies in the store's ``tmp`` and ``trash``."""
    return [str(entry) for name in ("tmp", "trash") for entry in (root / stack.project / name).glob("*")]


def good(ended: Ended) -> dict[str, t.Any]:
    """Return the row of a run that succeeded."""
    assert ended.exit_code == 0, ended.output[-3000:]
    return ended.row()


def refused(ended: Ended, *words: str) -> str:
    """Return what a run said that failed; every one of *words* must be in it."""
    assert ended.exit_code == 1 and ended.result.get("failed"), ended.output[-3000:]
    missing = [word for word in words if word.lower() not in ended.message.lower()]
    assert not missing, f"{missing} not in: {ended.message}"
    assert "Traceback" not in ended.output, ended.output[-3000:]
    return ended.message


@contextlib.contextmanager
def nothing_published(root: pathlib.Path, stack: BackupStack) -> t.Iterator[None]:
    """Hold that the block publishes, expires and points at nothing, leaves nothing behind."""
    before = published(root, stack)
    yield
    assert published(root, stack) == before
    assert not leftovers(stack, root)


def newest(root: pathlib.Path, stack: BackupStack) -> pathlib.Path:
    """Return the directory of the set that ``latest`` leads to."""
    return (root / stack.project / "latest").resolve()


def manifest_of(path: pathlib.Path) -> dict[str, t.Any]:
    """Return the manifest of a set."""
    return dict(manifests.read_manifest(str(path)))


def sign_again(path: pathlib.Path, **changes: t.Any) -> None:
    """Have the manifest of a set say what its files are now, as somebody could who wanted to hide something."""
    manifest = {**manifest_of(path), **changes}
    for entry in manifest["files"]:
        content = (path / entry["path"]).read_bytes()
        entry.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    manifest["totals"]["bytes"] = sum(entry["bytes"] for entry in manifest["files"])
    (path / "SHA256SUMS").write_bytes(manifests.sums_text(manifest["files"]))
    (path / "manifest.json").write_bytes(manifests.pretty(manifests.signed(manifest)))


def largest_data_file(path: pathlib.Path) -> pathlib.Path:
    """Return the largest file with rows of a set."""
    return max((path / "databases").rglob("*.dat*"), key=lambda entry: entry.stat().st_size)


#: A container that does nothing until it is stopped.
SLEEPER = ("docker", "run", "--detach", "--init", "--entrypoint", "sleep", "stackops-test/app", "infinity")


@contextlib.contextmanager
def uploads(stack: BackupStack) -> t.Iterator[t.Callable[[str], str]]:
    """Have a service of the stack with a volume for the block; what is yielded runs a script in it, from ``/data``."""
    name, volume = f"{stack.project}-uploads-1", f"{stack.project}_uploads"
    # Like those of its neighbour: the newest container says where the project is.
    labels = (stack.running().inspect("postgres") or {})["Config"]["Labels"]
    labels = {key: value for key, value in labels.items() if key.startswith("com.docker.compose.")} | {"com.docker.compose.service": "uploads"}
    words = [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
    subprocess.run([*SLEEPER[:2], "--name", name, *words, "--volume", f"{volume}:/data", *SLEEPER[2:]], check=True, capture_output=True, timeout=60)

    def inside(script: str) -> str:
        done = subprocess.run(["docker", "exec", "--user", "0", "--workdir", "/data", name, "sh", "-euc", script], check=True, capture_output=True, timeout=60)
        return done.stdout.decode().strip()

    try:
        yield inside
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], check=True, capture_output=True, timeout=60)
        subprocess.run(["docker", "volume", "rm", volume], check=True, capture_output=True, timeout=60)
