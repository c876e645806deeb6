# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Begin again with an empty database that has the application's migrations, and have the old one kept.

It is a restore of nothing: the new database is built beside the live one, migrated and compared while the application serves, swapped in by
renaming, and swapped back where the application does not get well. Before that there is a backup that was restored once to prove it.
"""

from __future__ import annotations

import re
import typing as t

from ._alembic_migrate import Application, backup, backup_root, find_application, restore_command
from ._backup_store import BackupStore
from ._database_facts import alembic_revisions, identifier
from ._database_url import database_urls
from ._discovery import Stack
from ._engine import Engine, EngineOptions
from ._envelope import CheckError, human_bytes
from ._maintenance import window_while
from ._postgres import Instance, names_of
from ._postgres_session import literal
from ._postgres_target import container_of, only_server
from ._postgres_tools import Tools, beside
from ._progress import Progress
from ._psql_stream import PsqlStream
from ._redaction import redactor_of
from ._remediation import Change, Facts, NothingChanged, Verified, Work, only_stack, run_remediation
from ._restore import signals_as_errors
from ._restore_journal import unfinished
from ._restore_run import Restore, RestoreOptions, Source, only_database

_PROVEN_LEVELS = ("restorable", "equivalent")
_DATABASE_VARIABLE = re.compile(r"(?:^|_)(?:DB|DATABASE|DBNAME|DB_NAME|DATABASE_NAME)$", re.IGNORECASE)
_LIVE = """
SELECT pg_catalog.pg_database_size(current_database()) AS bytes,
       (SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema') AS tables,
       (SELECT coalesce(sum(n_live_tup), 0) FROM pg_catalog.pg_stat_user_tables) AS rows"""
_EXTENSIONS = """
SELECT e.extname AS name, n.nspname AS schema FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname <> 'plpgsql' ORDER BY e.oid"""
_PUBLIC = """
SELECT pg_catalog.pg_get_userbyid(n.nspowner) AS owner, r.rolname AS grantee, a.privilege_type AS privilege
FROM pg_catalog.pg_namespace n LEFT JOIN LATERAL pg_catalog.aclexplode(n.nspacl) a ON true LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
WHERE n.nspname = 'public'"""


def with_database(environment: t.Mapping[str, str], hosts: t.Collection[str], live: str, other: str) -> dict[str, str]:
    """Return the variables of *environment* that lead to the database *live* on one of *hosts*, as they would lead to *other*."""
    found: dict[str, str] = {}
    for variable, url in database_urls(environment):
        if url.login_database != live or (url.host or "").lower() not in hosts:
            continue
        value = environment[variable]
        if "://" in value:
            found[variable] = re.sub(rf"/{re.escape(live)}(?=\?|$)", f"/{other}", value.strip(), count=1)
        elif "=" in value:
            found[variable] = re.sub(rf"(\bdbname\s*=\s*'?){re.escape(live)}\b", rf"\g<1>{other}", value)
        else:
            found.update({name: other for name, given in environment.items() if given == live and _DATABASE_VARIABLE.search(name)})
    return {name: value for name, value in found.items() if value != environment[name]}


class _Reset:
    """The way to an empty database on one server."""

    def __init__(self, engine: Engine, stack: Stack, params: t.Mapping[str, t.Any]) -> None:
        self.engine, self.stack, self.params = engine, stack, params
        self.instance: Instance = only_server(stack, {**params, "service": params.get("database_service")})
        self.live = str(params.get("database") or only_database(engine, self.instance))
        self.application = self._find_application()
        self._limit_seconds = float(params["time_limit_seconds"])
        self._kept: list[str] = []

    def work(self) -> Work:
        """Return the plan."""
        with beside(self.engine, self.instance, "reset") as tools, tools.session(self.live) as session:
            before = session.rows(_LIVE)[0]
        project = self.stack.name
        migrations = f"with the migrations of {self.application.container.service}" if self.application else "without migrations: no service of it has alembic"
        size = f"{before['tables']} tables, about {int(before['rows'])} rows, {human_bytes(before['bytes'])}"
        rollback = f"ansible-playbook stackops.runbook.restore -e restore_rollback=true -e restore_confirm={project}"
        change = Change(
            "reset_database",
            f"{self.instance.name}/{self.live}",
            f"put an empty database, {migrations}, in the place of {self.live} ({size}). The old one is kept beside it. Before that a backup is made, "
            f"and restored once to prove it. The application stops for the swap. It needs remediate_reset_confirm={project}",
            (("ansible-playbook", "stackops.runbook.backup", "-e", "backup_level=restorable"), *self._typed()),
            {"tables": before["tables"], "rows": int(before["rows"]), "bytes": before["bytes"]},
            {"rows": 0, "revisions": list(self.application.code.heads) if self.application else []},
            (f"{rollback} (while the old database is kept)", restore_command(project, "<set>")),
        )
        return Work(change, self._carry_out, self._verify, redactor_of([self.stack]))

    def _typed(self) -> tuple[tuple[str, ...], ...]:
        create = ("createdb", f"{self.live}__restore_...")
        return (
            (
                create,
                self.application.shown("upgrade", "head"),
                ("psql", "-c", f"ALTER DATABASE {self.live} RENAME TO ..., ALTER DATABASE ... RENAME TO {self.live}"),
            )
            if self.application
            else (create,)
        )

    def _find_application(self) -> t.Optional[Application]:
        try:
            found = find_application(self.engine, self.stack, self.params.get("service"))
        except CheckError as error:
            if error.code == "no-alembic" and not self.params.get("service"):
                return None
            raise
        if len(found.code.heads) > 1:
            raise CheckError(found.name, f"its code has several heads: {', '.join(found.code.heads)}", "See: the action migration_status", "multiple-heads")
        return found

    def _carry_out(self) -> Facts:
        confirm = self.params.get("confirm")
        if confirm != self.stack.name:
            given = f"it is {confirm!r}" if confirm else "it is not set"
            hint = f"See the plan first, then set remediate_reset_confirm: {self.stack.name}"
            raise NothingChanged(self.stack.name, f"confirm must be the project's name to replace its data; {given}", hint, "not-confirmed")
        level = (self.params.get("backup_options") or {}).get("level")
        made = backup(self.params, self.stack.name, level=level if level in _PROVEN_LEVELS else "restorable")
        if made["level"] not in _PROVEN_LEVELS:
            raise NothingChanged(self.stack.name, f"the set {made['set_id']} was not restored to prove it", "Look at the backup first.", "no-backup")
        store = BackupStore(backup_root(self.params), self.stack.name)
        options = RestoreOptions(health_timeout_seconds=float(self.params["health_timeout_seconds"]), time_limit_seconds=self._limit_seconds)
        with store.lock("reset"), window_while(f"reset of {self.live}", (self.stack.name,), (), self._limit_seconds), signals_as_errors():
            store.sweep()
            waiting = unfinished(store.restore_path)
            if waiting:
                hint = "Finish it or take it back: run the restore again (or restore_rollback: true)."
                raise NothingChanged(self.stack.name, f"restore {waiting[0].id} was interrupted", hint, "restore-interrupted")
            machinery = Restore(self.engine, self.stack, [self.instance], store, options, Progress(None))
            row = {"service": str(self.instance.service), "name": self.live}
            source = Source("an empty database", store.tmp_path, (row,), fill=self._fill)
            try:
                journal = machinery.run(source)
            except CheckError as error:
                raise NothingChanged(error.source, error.reason, error.hint, error.code) from error
        self._kept = machinery.kept
        after = {"backup": made, "restore_id": journal.id, "kept_databases": machinery.kept, "downtime_seconds": machinery.downtime_seconds}
        return {**after, "warnings": machinery.warnings} if machinery.warnings else after

    def _fill(self, tools: Tools, database: str, live: str) -> None:
        """Have in the new database what was made in the old one by an administrator, and then the migrations."""
        with tools.session(live) as session:
            extensions, public = session.rows(_EXTENSIONS), session.rows(_PUBLIC)
        with tools.session(database) as session:
            _prepare(session, extensions, public)
        if self.application is None:
            return
        hosts = {name.lower() for name in names_of(container_of(self.instance))}
        environment = with_database(self.application.container.env, hosts, live, database)
        if not environment:
            hint = "Give the application the address of its database in its environment, for example as DATABASE_URL."
            raise CheckError(self.application.name, f"no variable of its container leads to {live}, so that it cannot be sent elsewhere", hint, "no-address")
        self.application.run(("upgrade", "head"), self._limit_seconds, environment)
        with tools.session(database) as session:
            found = sorted(alembic_revisions(session) or [])
        if found != sorted(self.application.code.heads):
            reason = f"after the migrations the new database is at {', '.join(found) or 'no revision'}: they went elsewhere, or are not complete"
            names = ", ".join(sorted(environment))
            raise CheckError(self.application.name, reason, f"See whether env.py takes the address from {names}.", "not-verified")

    def _verify(self) -> Verified:
        with beside(self.engine, self.instance, "reset") as tools, tools.session(self.live) as session:
            revisions = sorted(alembic_revisions(session) or [])
            names = [row["name"] for row in session.rows("SELECT datname AS name FROM pg_catalog.pg_database")]
        wanted = sorted(self.application.code.heads) if self.application else revisions
        ok = revisions == wanted and all(one in names for one in self._kept)
        return Verified(ok, f"{self.live} is at {', '.join(revisions) or 'no revision'}; the old one is kept as {', '.join(self._kept) or 'nothing'}")


def _prepare(session: PsqlStream, extensions: t.Sequence[t.Mapping[str, t.Any]], public: t.Sequence[t.Mapping[str, t.Any]]) -> None:
    for row in public:
        if row["privilege"] in ("CREATE", "USAGE"):
            session.execute(f"GRANT {row['privilege']} ON SCHEMA public TO {identifier(row['grantee']) if row['grantee'] else 'PUBLIC'}")
    for owner in sorted({str(row["owner"]) for row in public} - {"pg_database_owner"}):
        session.execute(f"ALTER SCHEMA public OWNER TO {identifier(owner)}")
    for row in extensions:
        if not session.value(f"SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = {literal(row['schema'])}"):
            session.execute(f"CREATE SCHEMA {identifier(row['schema'])}")
        session.execute(f"CREATE EXTENSION IF NOT EXISTS {identifier(row['name'])} SCHEMA {identifier(row['schema'])}")


def reset_database(params: t.Mapping[str, t.Any], check_mode: bool) -> Facts:
    """Do what the module ``database_reset`` is asked for."""

    def plan() -> Work:
        engine = Engine.connect(EngineOptions.from_params(params))
        return _Reset(engine, only_stack(engine, params), params).work()

    return run_remediation(plan, params, check_mode)
