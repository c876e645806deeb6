# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Migration scripts and settings in all their spellings, graphs of any shape, and the verdicts on them."""

from __future__ import annotations

import posixpath

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _migrations as migrations
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import ContainerRef, Stack
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._migrations import Code, Graph, Revision
from ansible_collections.stackops.runbook.plugins.module_utils._process import Completed
from hypothesis import given
from hypothesis import strategies as st

GENERATED = b'''"""add notes

Revision ID: 1975ea83b712
Revises: ae1027a6acf
Create Date: 2026-11-01 10:00:00
"""
from typing import Sequence, Union

from alembic import op

revision: str = "1975ea83b712"
down_revision: Union[str, Sequence[str], None] = "ae1027a6acf"
branch_labels: Union[str, Sequence[str], None] = None
depends_on: Union[str, Sequence[str], None] = None


def upgrade() -> None:
    revision = "not this one"
'''


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (GENERATED, Revision("1975ea83b712", ("ae1027a6acf",), message="add notes")),
        (b"revision = '1'\ndown_revision = None\n", Revision("1", message="0001_x")),
        (b"revision = '3'\ndown_revision = ('1', '2')\n", Revision("3", ("1", "2"), message="0001_x")),
        (b"revision = '3'\ndown_revision = ['1']\nbranch_labels = ('api',)\ndepends_on = '2'\n", Revision("3", ("1",), ("2",), ("api",), "0001_x")),
        (b'"""Revision ID: 3"""\nrevision = "3"\n', Revision("3", message="0001_x")),
        (b"from x import y\nNUMBER = 7\n", None),
        (b"", None),
        (b"\x00\xff", None),
        # Not Python of today, but its assignments are plain.
        (b'revision = "9"\ndown_revision: str | None = "8"\nnew syntax here!\n', Revision("9", ("8",), message="0001_x")),
    ],
)
def test_scripts(source, expected):
    assert migrations.parse_script(source, "/app/migrations/versions/0001_x.py") == expected


@pytest.mark.parametrize("source", [b"revision = make()\n", b"revision = '1'\ndown_revision = f'{x}'\n", b"revision = None\n"])
def test_computed_revisions_are_not_guessed(source):
    with pytest.raises(CheckError) as caught:
        migrations.parse_script(source, "x.py")
    assert caught.value.code == "unparsable"


@given(st.binary(max_size=200))
def test_any_script(source):
    for prefix in (b"", b"revision = '1'\ndown_revision = "):
        try:
            migrations.parse_script(prefix + source, "x.py")
        except CheckError as error:
            assert error.code == "unparsable"


def test_scripts_are_never_run(tmp_path):
    target = tmp_path / "ran"
    migrations.parse_script(f"import pathlib; pathlib.Path({str(target)!r}).touch()\nrevision = '1'\n".encode())
    assert not target.exists()


# -- graphs ------------------------------------------------------------------------------------------------------------


@st.composite
def graphs(draw):
    """Revisions r0…rn, each with parents and dependencies among those before it."""
    revisions = []
    for number in range(draw(st.integers(0, 12))):
        before = [f"r{one}" for one in range(number)]
        choice = st.lists(st.sampled_from(before), max_size=3, unique=True) if before else st.just([])
        revisions.append(Revision(f"r{number}", tuple(draw(choice)), tuple(draw(choice))))
    return draw(st.permutations(revisions))


@given(graphs(), st.data())
def test_pending_and_applied_are_a_partition_in_order(revisions, data):
    graph = Graph(revisions)
    at = data.draw(st.lists(st.sampled_from(sorted(graph.by_id)), unique=True)) if revisions else []
    applied = graph.with_ancestors(at)
    pending = [one.revision for one in graph.pending(applied)]
    assert sorted([*applied, *pending]) == sorted(graph.by_id)
    done = set(applied)
    for revision in pending:
        assert set(graph.parents(revision)) <= done
        done.add(revision)


@given(graphs())
def test_at_the_heads_nothing_is_pending(revisions):
    graph = Graph(revisions)
    assert graph.pending(graph.with_ancestors(graph.heads)) == []
    for head in graph.heads:
        assert not any(head in one.down for one in revisions)
    verdict = migrations.judge(Code("/app", graph.heads, graph), list(graph.heads))
    assert verdict["state"] == "up-to-date"


def test_broken_graphs_are_unparsable():
    for revisions in ([Revision("2", ("1",))], [Revision("1"), Revision("1")]):
        with pytest.raises(CheckError) as caught:
            Graph(revisions)
        assert caught.value.code == "unparsable"


def test_circles_end():
    graph = Graph([Revision("1", ("2",)), Revision("2", ("1",))])
    assert graph.heads == ()
    assert len(graph.pending(set())) == 2


def test_labels_and_beginnings_name_revisions():
    graph = Graph([Revision("aaaa1111", labels=("api",)), Revision("bbbb2222", ("aaaa",), ("api",))])
    assert graph.heads == ("bbbb2222",)
    assert graph.parents("bbbb2222") == ["aaaa1111", "aaaa1111"]


# -- verdicts ----------------------------------------------------------------------------------------------------------

LINE = Graph([Revision("1", message="one"), Revision("2", ("1",), message="two"), Revision("3", ("2",), message="three")])
FORK = Graph([*LINE.by_id.values(), Revision("3b", ("2",))])
BRANCHES = Graph([Revision("a1"), Revision("b1", depends_on=("a1",))])


@pytest.mark.parametrize(
    ("graph", "current", "state", "pending", "several", "unknown"),
    [
        (LINE, ["3"], "up-to-date", [], False, None),
        (LINE, ["1"], "pending", ["2", "3"], False, None),
        (LINE, [], "pending", ["1", "2", "3"], False, None),
        (LINE, None, "not-initialised", ["1", "2", "3"], False, None),
        (LINE, ["4"], "ahead", [], False, "4"),
        (FORK, ["3"], "multiple-heads", ["3b"], True, None),
        (FORK, ["2"], "multiple-heads", ["3", "3b"], True, None),
        (FORK, ["3", "3b"], "up-to-date", [], True, None),
        # What another depends on is no row of its own in alembic's table.
        (BRANCHES, ["b1"], "up-to-date", [], True, None),
        (Graph([]), None, "up-to-date", [], False, None),
        (Graph([]), ["1"], "ahead", [], False, "1"),
    ],
)
def test_verdicts(graph, current, state, pending, several, unknown):
    verdict = migrations.judge(Code("/app/migrations", graph.heads, graph), current)
    assert (verdict["state"], [one["revision"] for one in verdict["pending"]], verdict["multiple_heads"]) == (state, pending, several)
    assert (verdict["unknown_revision"], verdict["database_ahead"]) == (unknown, state == "ahead")


def test_pending_ones_have_messages():
    assert migrations.judge(Code("/x", LINE.heads, LINE), ["2"])["pending"] == [{"revision": "3", "message": "three"}]


def test_with_heads_alone():
    code = Code(None, ("3",), None)
    assert migrations.judge(code, ["3"])["state"] == "up-to-date"
    other = migrations.judge(code, ["2"])
    assert (other["state"], other["database_ahead"], other["unknown_revision"]) == ("pending", None, None)


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "location", "versions", "recursive"),
    [
        ("[alembic]\nscript_location = migrations\n", "migrations", (), False),
        ("[alembic]\nscript_location = %(here)s/alembic\nfile_template = %%(rev)s_%%(slug)s\n", "/app/alembic", (), False),
        ("[alembic]\nscript_location = a\nversion_locations = %(here)s/v1 %(here)s/v2\n", "a", ("/app/v1", "/app/v2"), False),
        ("[alembic]\nscript_location = a\nversion_path_separator = os\nversion_locations = v1:my dir\n", "a", ("v1", "my dir"), False),
        ("[alembic]\nscript_location = a\npath_separator = newline\nversion_locations =\n  v1\n  v2\n", "a", ("v1", "v2"), False),
        ("[alembic]\nscript_location = a\nrecursive_version_locations = true\n", "a", (), True),
        ("[alembic]\nscript_location = app.db:migrations\nsqlalchemy.url = postgresql://u:p%w@h/d\n", "app.db:migrations", (), False),
    ],
)
def test_ini(text, location, versions, recursive):
    settings = migrations.parse_ini(text, "/app")
    assert (settings.script_location, settings.version_locations, settings.recursive) == (location, versions, recursive)


@pytest.mark.parametrize("text", ["", "nonsense", "[other]\nx = 1\n", "[alembic]\n", "[alembic\n"])
def test_no_ini(text):
    assert migrations.parse_ini(text, "/app") is None


@given(st.text(max_size=200))
def test_any_ini(text):
    migrations.parse_ini(text, "/app")
    migrations.parse_ini("[alembic]\nscript_location = x\n" + text, "/app")
    migrations.parse_pyproject(text, "/app")
    migrations.parse_environment(text.encode())


def test_pyproject():
    text = '[project]\nname = "x"\n\n[tool.alembic]\nscript_location = "%(here)s/db"\n'
    text += "version_locations = [\n  \"%(here)s/v1\", 'v2'\n]\n\n[tool.other]\nx = 1\n"
    settings = migrations.parse_pyproject(text, "/app")
    assert (settings.script_location, settings.version_locations) == ("/app/db", ("/app/v1", "v2"))
    assert migrations.parse_pyproject("[tool.other]\nscript_location = 'x'\n", "/app") is None


def test_version_table_of_an_env():
    source = b"from alembic import context\ndef run():\n    context.configure(connection=c, version_table='versions', version_table_schema='app')\n"
    assert migrations.parse_environment(source) == migrations.VersionTable("versions", "app")
    assert migrations.parse_environment(b"context.configure(version_table=settings.table)") == migrations.VersionTable()


# -- images ------------------------------------------------------------------------------------------------------------


class Files:
    """The engine's archive reading over a dictionary; the live tests use the engine's own."""

    def __init__(self, files, heads=None):
        self.tree = files
        self.heads = heads
        self.ran = []

    def read_archive(self, dummy, path, limit_bytes):
        found = {name: content for name, content in self.tree.items() if name == path or name.startswith(path.rstrip("/") + "/")}
        if not found:
            raise CheckError(path, "no such path", "", "not-found")
        assert sum(map(len, found.values())) <= limit_bytes
        return found

    def exec(self, dummy, argv, timeout_seconds, **dummy_options):
        assert timeout_seconds > 0
        self.ran.append(list(argv))
        return Completed(tuple(argv), 0 if self.heads else 1, (self.heads or "").encode(), b"FAILED: no")


def script(revision, down=None):
    return f'"""m{revision}"""\nrevision = {revision!r}\ndown_revision = {down!r}\n'.encode()


def container(running=True, command=("uvicorn",), env=(), working_dir="/app", service="api", image="sha256:1", state=None, ports=None):
    return ContainerRef(
        {
            "Id": service,
            "Name": f"/{service}",
            "Image": image,
            "Path": command[0],
            "Args": list(command[1:]),
            "State": {"Status": state or ("running" if running else "exited")},
            "Config": {
                "WorkingDir": working_dir,
                "Env": list(env),
                "Labels": {"com.docker.compose.project": "shop", "com.docker.compose.service": service},
            },
            "HostConfig": {"PortBindings": ports or {}},
        }
    )


def read(files, **options):
    return migrations.read_code(Files(files), container(**options))


VERSIONS = {"v/1.py": script("1"), "v/2.py": script("2", "1"), "v/__init__.py": b"", "v/deep/3.py": script("3", "2"), "v/__pycache__/1.cpython-312.pyc": b"\0"}


def under(place, files=None):
    return {posixpath.join(place, name[2:]): content for name, content in (VERSIONS if files is None else files).items()}


@pytest.mark.parametrize(
    ("files", "options", "location"),
    [
        ({"/app/alembic.ini": b"[alembic]\nscript_location = migrations\n", **under("/app/migrations/versions")}, {}, "/app/migrations"),
        ({"/app/alembic.ini": b"[alembic]\nscript_location = %(here)s/db\n", **under("/app/db/versions")}, {"working_dir": "/"}, "/app/db"),
        ({"/app/backend/alembic.ini": b"[alembic]\nscript_location = alembic\n", **under("/app/backend/alembic/versions")}, {}, "/app/backend/alembic"),
        (
            {"/srv/api/conf/a.ini": b"[alembic]\nscript_location = pkg.db:mig\n", **under("/srv/api/pkg/db/mig/versions")},
            {"working_dir": "/srv/api", "command": ("alembic", "-c", "conf/a.ini", "upgrade", "head")},
            "/srv/api/pkg/db/mig",
        ),
        (
            {"/etc/a.ini": b"[alembic]\nscript_location = /opt/mig\n", **under("/opt/mig/versions")},
            {"env": ["ALEMBIC_CONFIG=/etc/a.ini"]},
            "/opt/mig",
        ),
        ({"/app/pyproject.toml": b'[tool.alembic]\nscript_location = "%(here)s/m"\n', **under("/app/m/versions")}, {}, "/app/m"),
    ],
)
def test_where_alembic_lies(files, options, location):
    code = read(files, **options)
    assert (code.script_location, code.heads) == (location, ("2",))


def test_version_locations_and_recursion():
    ini = b"[alembic]\nscript_location = m\nversion_locations = %(here)s/one %(here)s/two\nrecursive_version_locations = true\n"
    files = {"/app/alembic.ini": ini, "/app/one/1.py": script("1"), "/app/two/x/2.py": script("2", "1"), "/app/m/versions/9.py": script("9")}
    assert read(files).heads == ("2",)
    assert read({**files, "/app/alembic.ini": ini.replace(b"true", b"false")}).heads == ("1",)


def test_no_alembic_is_nothing():
    assert read({"/app/main.py": b""}) is None


def test_without_scripts_there_is_nothing_to_apply():
    assert read({"/app/alembic.ini": b"[alembic]\nscript_location = m\n", "/app/m/env.py": b""}).heads == ()


INI = {"/app/alembic.ini": b"[alembic]\nscript_location = m\n"}
COMPUTED = {**INI, "/app/m/versions/1.py": b"revision = make()\n"}


@pytest.mark.parametrize("files", [INI, COMPUTED, {**INI, "/app/m/versions/1.pyc": b"\0"}, {**INI, "/app/m/versions/2.py": script("2", "1")}])
def test_what_cannot_be_parsed_is_asked_for_where_it_runs(files):
    stack = Stack("shop", containers=[container()])
    engine = Files(files, heads="abc123 (head)\ndef456 (api) (head)\n")
    row = migrations.check_application(engine, stack, container(), lambda *dummy: ["abc123", "def456"])
    assert (row["state"], row["heads"], engine.ran) == ("up-to-date", ["abc123", "def456"], [["alembic", "heads"]])
    stopped = Files(files, heads="abc123 (head)\n")
    row = migrations.check_application(stopped, stack, container(running=False), lambda *dummy: ["abc123"])
    assert (row["state"], row["status"], stopped.ran) == ("unknown", "unknown", [])
    assert row["reason"]
    failing = migrations.check_application(Files(files), stack, container(), lambda *dummy: ["abc123"])
    assert "exit code 1: FAILED: no" in failing["reason"]


def test_an_unreachable_database_leaves_the_heads():
    def fail(*dummy):
        raise CheckError("db", "connection refused", "", "refused")

    engine = Files({**INI, "/app/m/versions/1.py": script("1")})
    facts = migrations.collect_migrations([Stack("shop", containers=[container()])], engine, fail)
    (row,) = facts["applications"]
    assert (row["state"], row["heads"], facts["status"]) == ("unknown", ["1"], "unknown")
    assert "connection refused" in row["reason"]
    assert facts["errors"][0]["source"] == "shop/api"


KEYS = {
    "project", "service", "status", "tool", "script_location", "heads", "current", "pending", "multiple_heads", "database_ahead", "unknown_revision", "state",
    "reason",
}  # fmt: skip


def test_one_row_for_each_image():
    web = container(service="web", ports={"8000/tcp": [{"HostIp": "", "HostPort": "8000"}]})
    stack = Stack("shop", containers=[container(service="a-worker"), web, container(service="other", image="sha256:2")])
    facts = migrations.collect_migrations([stack], Files({**INI, "/app/m/versions/1.py": script("1")}), lambda *dummy: ["1"])
    assert [(row["service"], row["state"]) for row in facts["applications"]] == [("other", "up-to-date"), ("web", "up-to-date")]
    assert all(set(row) == KEYS for row in facts["applications"])
    assert facts["summary"] == "2 applications with migrations, all up to date"


def test_one_image_with_two_databases_is_two_applications():
    def of(service, database=None):
        return container(service=service, env=[f"DATABASE_URL=postgresql://app:x@db/{database}"] if database else [])

    stack = Stack("shop", containers=[of("tenant-a", "a"), of("tenant-b", "b"), of("worker-b", "b"), of("cron")])
    facts = migrations.collect_migrations([stack], Files({**INI, "/app/m/versions/1.py": script("1")}), lambda dummy, one, code: ["1"])
    assert [row["service"] for row in facts["applications"]] == ["tenant-a", "tenant-b"]


def test_a_surprise_in_one_does_not_stop_the_others():
    def surprise(dummy, one, dummy_code):
        if one.service == "web":
            raise RuntimeError("boom")

    stack = Stack("shop", containers=[container(service="web"), container(service="other", image="sha256:2")])
    facts = migrations.collect_migrations([stack], Files({**INI, "/app/m/versions/1.py": script("1")}), surprise)
    assert [(row["service"], row["state"]) for row in facts["applications"]] == [("other", "not-initialised"), ("web", "unknown")]
    assert facts["status"] == "critical"


# -- applications without alembic --------------------------------------------------------------------------------------


def tables(stack, files, fetch, **options):
    return migrations.collect_migrations([stack], Files(files), fetch, tables=True, **options)


def with_database(service, image, database="shop"):
    return container(service=service, image=image, env=[f"DATABASE_URL=postgresql://app:x@db/{database}"])


def test_without_alembic_the_table_is_read_and_what_is_not_known_is_said():
    stack = Stack("shop", containers=[with_database("web", "sha256:1")])
    facts = tables(stack, {}, lambda *dummy: ["0007"])
    (row,) = facts["applications"]
    assert (row["current"], row["state"], row["status"], row["heads"], row["database_ahead"]) == (["0007"], "unknown", "unknown", [], None)
    assert set(row) == KEYS
    assert "cannot be known" in row["reason"]
    assert (facts["status"], "ALEMBIC_CONFIG" in facts["errors"][0]["hint"]) == ("unknown", True)
    # diagnose does not ask for it: an application without alembic is none of its business.
    assert migrations.collect_migrations([stack], Files({}), lambda *dummy: ["0007"])["applications"] == []


def test_a_database_without_a_version_table_is_no_application_with_migrations():
    stack = Stack("shop", containers=[with_database("web", "sha256:1")])
    assert tables(stack, {}, lambda *dummy: None)["status"] == "ok"

    def nowhere(*dummy):
        raise CheckError("database", "no PostgreSQL address in its environment", "", "no-address")

    assert tables(Stack("shop", containers=[container()]), {}, nowhere)["applications"] == []


def test_a_worker_without_scripts_says_nothing_beside_the_application_that_has_them():
    class Two(Files):
        def read_archive(self, identifier, path, limit_bytes):
            if identifier != "web":
                raise CheckError(path, "no such path", "", "not-found")
            return super().read_archive(identifier, path, limit_bytes)

    files = {**INI, "/app/m/versions/1.py": script("1")}
    others = [with_database("worker", "sha256:2"), container(service="proxy", image="sha256:3"), with_database("reports", "sha256:4", "reports")]
    stack = Stack("shop", containers=[with_database("web", "sha256:1"), *others])
    facts = migrations.collect_migrations([stack], Two(files), lambda *dummy: ["1"], tables=True)
    assert [(row["service"], row["state"]) for row in facts["applications"]] == [("reports", "unknown"), ("web", "up-to-date")]


def test_services_that_are_asked_for_are_looked_at_whatever_shares_their_image():
    stack = Stack("shop", containers=[container(service="a"), container(service="b")])
    facts = migrations.collect_migrations([stack], Files({**INI, "/app/m/versions/1.py": script("1")}), lambda *dummy: ["1"], services=["b"])
    assert [row["service"] for row in facts["applications"]] == ["b"]
