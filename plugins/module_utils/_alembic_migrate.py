# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Bring a database to the revision that its application's code has, with a verified backup first, or only note a revision in it.

Whether that can be done is decided from the scripts, which are read and not run. Alembic itself runs where the application does:
in its container, or in one that Compose makes for it where that does not run, which is often so because a migration is missing.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import typing as t

from ._arguments import docker_connection_arguments
from ._backup import run_backup
from ._backup_arguments import DEFAULT_ROOT, backup_arguments
from ._backup_store import BackupStore
from ._compose_config import find_compose_command, project_arguments
from ._discovery import ContainerRef, Stack
from ._engine import Engine, EngineOptions
from ._envelope import CheckError
from ._host_configuration import complete
from ._maintenance import window_while
from ._migrations import STATUS_OF_STATE, Code, applications, current_from_stack, heads_by_running, judge, read_code
from ._process import Completed, run_command
from ._redaction import redactor_of
from ._remediation import Change, Facts, NothingChanged, Verified, Work, only_stack, run_remediation

_GRACE_SECONDS = 10.0
_USUAL_CONFIGURATIONS = ("alembic.ini", "pyproject.toml")


class Application:
    """An application with migrations, and its alembic."""

    def __init__(self, engine: Engine, stack: Stack, container: ContainerRef, code: Code) -> None:
        self.engine, self.stack, self.container, self.code = engine, stack, container, code

    @property
    def name(self) -> str:
        """Project and service."""
        return f"{self.stack.name}/{self.container.service}"

    def current(self) -> t.Optional[list[str]]:
        """Return the revisions that its database has, ``None`` where it has no version table.

        :raises CheckError: it cannot be asked.
        """
        return current_from_stack(self.engine)(self.stack, self.container, self.code)

    def shown(self, *words: str) -> tuple[str, ...]:
        """Return the command line to type for ``alembic`` *words*."""
        base = (*compose_words(self.stack), "exec" if self.container.running else "run", *(() if self.container.running else ("--rm", "--no-deps")), "-T")
        where = ("--workdir", self._directory) if self._directory != self.container.working_dir else ()
        program = (self.container.service, "alembic") if self.container.running else ("--entrypoint", "alembic", self.container.service)
        return (*base, *where, *program, *self._options, *words)

    def run(self, words: t.Sequence[str], limit_seconds: float, environment: t.Optional[t.Mapping[str, str]] = None) -> Completed:
        """Run ``alembic`` *words*, with variables of *environment* in place of the application's own.

        :raises CheckError: code ``tool-failed`` with what it said last, or ``timeout``.
        """
        if self.container.running:
            argv = ["alembic", *self._options, *words]
            completed = self.engine.exec(self.container.id, argv, limit_seconds, env=environment, workdir=self._directory)
        else:
            completed = run_command(self._one_off(words, environment or {}), limit_seconds, env=environment, grace_seconds=_GRACE_SECONDS)
        if completed.exit_code != 0:
            said = (completed.error_text.strip() or completed.text.strip()).splitlines()[-3:] or ["it said nothing"]
            raise CheckError(f"alembic {' '.join(words)}", f"exit code {completed.exit_code}: {' / '.join(said)[-600:]}", "", "tool-failed")
        return completed

    @property
    def _directory(self) -> str:
        return posixpath.dirname(self.code.config_path) if self.code.config_path else self.container.working_dir

    @property
    def _options(self) -> tuple[str, ...]:
        path = self.code.config_path
        return ("-c", path) if path and posixpath.basename(path) not in _USUAL_CONFIGURATIONS else ()

    def _one_off(self, words: t.Sequence[str], environment: t.Mapping[str, str]) -> list[str]:
        command = find_compose_command(self.stack.flavour)
        if command is None:
            hint = "Install docker compose (Debian: docker-compose), or start the service."
            raise CheckError(self.name, f"its container is {self.container.state}, and there is no Compose command to run another", hint, "not-installed")
        # Only the names: the values, which may be secret, are taken from the environment of Compose.
        variables = [word for name in sorted(environment) for word in ("-e", name)]
        options = ["run", "--rm", "--no-deps", "-T", "--workdir", self._directory, *variables, "--entrypoint", "alembic"]
        return [*command.argv, *project_arguments(self.stack, command), *options, self.container.service, *self._options, *words]


def compose_words(stack: Stack) -> tuple[str, ...]:
    """Return the beginning of a Compose command line for *stack*, to be typed."""
    command = find_compose_command(stack.flavour)
    argv = (os.path.basename(command.argv[0]), *command.argv[1:]) if command else ("docker", "compose")
    return (*argv, "-p", stack.name)


def find_application(engine: Engine, stack: Stack, service: t.Optional[str] = None) -> Application:
    """Return the application of *stack* that has migrations, or that of *service*.

    :raises CheckError: there is none (``no-alembic``), there are several (``ambiguous``), or its scripts cannot be read.
    """
    if service and not stack.of_service(service):
        hint = f"There are: {', '.join(stack.services)}."
        raise CheckError(f"{stack.name}/{service}", "no container of this service is there", hint, "not-found")
    found = []
    for container in applications(stack, [service] if service else ()):
        try:
            code = read_code(engine, container)
        except CheckError as error:
            if error.code != "unparsable" or not container.running:
                raise
            code = heads_by_running(engine, container)
        if code is not None:
            found.append(Application(engine, stack, container, code))
    if not found:
        hint = "Name the service whose image has the migrations, or set ALEMBIC_CONFIG to the path of its alembic.ini in its environment."
        raise CheckError(f"{stack.name}/{service}" if service else stack.name, "no alembic.ini is in it", hint, "no-alembic")
    if len(found) > 1:
        names = ", ".join(one.container.service for one in found)
        raise CheckError(stack.name, f"several of its services have migrations and a database of their own: {names}", "Name one in service.", "ambiguous")
    return found[0]


# -- what is to be done ------------------------------------------------------------------------------------------------


def explain_heads(application: Application) -> CheckError:
    """Return the error for a code with several heads: what they are, and the two ways out."""
    code = application.code
    messages = {one.revision: one.message for one in code.revisions.by_id.values()} if code.revisions else {}
    heads = ", ".join(f"{head} ({messages[head]})" if messages.get(head) else head for head in code.heads)
    reason = f"its code has {len(code.heads)} heads: {heads}. Two branches each added a migration after the same one, and 'upgrade head' cannot choose"
    merge = " ".join(application.shown("merge", "-m", "merge", *code.heads))
    hint = f"Join them in the code: {merge} and commit the file that it writes. Until then apply them all: revision heads (alembic upgrade heads)."
    return CheckError(application.name, reason, hint, "multiple-heads")


def wanted_revisions(application: Application, revision: str) -> tuple[str, ...]:
    """Return the revisions that *revision* (``head``, ``heads``, or one of the code) stands for.

    :raises CheckError: code ``multiple-heads`` or ``not-found``.
    """
    code = application.code
    if revision == "head" and len(code.heads) > 1:
        raise explain_heads(application)
    if revision in ("head", "heads"):
        return code.heads
    found = code.revisions.find(revision) if code.revisions else (revision if revision in code.heads else None)
    if found is None:
        known = ", ".join(sorted(code.revisions.by_id)[-10:] if code.revisions else code.heads)
        raise CheckError(application.name, f"its code has no revision {revision}", f"It has: {known}.", "not-found")
    return (found,)


def _state(application: Application) -> Facts:
    current = application.current()
    verdict = judge(application.code, current)
    return {"current": list(current or ()), "heads": list(application.code.heads), **verdict}


def _status(application: Application) -> Facts:
    """Return the result of the action ``status``: what is, in words, and what to type next."""
    state = _state(application)
    words = {
        "up-to-date": f"the database is at {', '.join(state['current']) or 'no revision'}, as the code is",
        "pending": "the database lacks " + ", ".join(f"{one['revision']} ({one['message']})" for one in state["pending"]),
        "ahead": f"the database is at {state['unknown_revision']}, which the code does not have: a newer release has migrated it",
        "not-initialised": "the database has never been migrated",
    }
    commands: list[tuple[str, ...]] = []
    errors = []
    if state["multiple_heads"]:
        error = explain_heads(application)
        errors.append(error.as_dict())
        words[state["state"]] = error.reason
        commands.append(application.shown("merge", "-m", "merge", *application.code.heads))
    elif state["state"] in ("pending", "not-initialised"):
        commands.append(application.shown("upgrade", "head"))
    return {
        "changed": False,
        "status": STATUS_OF_STATE[state["state"]],
        "summary": f"{application.name}: {words[state['state']]}",
        "plan": [" ".join(argv) for argv in commands],
        "before": state,
        "after": state,
        "undo": [],
        "verified": {"ok": state["state"] == "up-to-date", "detail": words[state["state"]]},
        "errors": errors,
    }


def _plan_upgrade(application: Application, params: t.Mapping[str, t.Any]) -> Work:
    revision = params["revision"] or "head"
    wanted = wanted_revisions(application, revision)
    state = _state(application)
    code = application.code
    if state["state"] == "ahead":
        hint = "Run the release that has this revision, or downgrade with it first: alembic downgrade"
        raise CheckError(application.name, f"its database is at {state['unknown_revision']}, which this code does not have", hint, "ahead")
    applied = code.revisions.with_ancestors(state["current"]) if code.revisions else set(state["current"])
    missing = [one for one in state["pending"] if code.revisions is None or one["revision"] in code.revisions.with_ancestors(wanted)]
    listed = ", ".join(f"{one['revision']} ({one['message']})" if one["message"] else one["revision"] for one in missing)
    backup_first = bool(params["backup"])
    commands = (("ansible-playbook", "stackops.runbook.backup"),) if backup_first else ()
    before = ", ".join(state["current"]) or "base"
    undo = [f"{' '.join(application.shown('downgrade', before))} (drops what the migrations added, with what is in it)"]
    if backup_first:
        undo.insert(0, f"restore the set that was made before: {restore_command(application.stack.name, '<set>')}")
    change = Change(
        "migration_upgrade",
        application.name,
        f"apply {len(missing)} migrations to its database: {listed}" + (", after a verified backup" if backup_first else ", without a backup"),
        (*commands, application.shown("upgrade", revision)),
        {"current": state["current"], "pending": state["pending"]},
        {"current": sorted({*state["current"], *wanted}) if code.revisions is None else _heads_after(application, state["current"], wanted)},
        tuple(undo),
        needed=not set(wanted) <= applied,
    )
    limit = float(params["time_limit_seconds"])

    def carry_out() -> Facts:
        done: Facts = {}
        if backup_first:
            done["backup"] = backup(params, application.stack.name)
        try:
            with _alone(application.stack, "migration", params, limit):
                application.run(("upgrade", revision), limit)
        except CheckError as error:
            raise _failed(application, error, state["current"], done.get("backup")) from error
        return {"current": application.current() or [], **done}

    def verify() -> Verified:
        current = application.current() or []
        has = code.revisions.with_ancestors(current) if code.revisions else set(current)
        ok = set(wanted) <= has
        return Verified(ok, f"the database is at {', '.join(current) or 'no revision'}")

    return Work(change, carry_out, verify, redactor_of([application.stack]))


def _heads_after(application: Application, current: t.Sequence[str], wanted: t.Sequence[str]) -> list[str]:
    graph = application.code.revisions
    if graph is None:
        return sorted(wanted)
    applied = graph.with_ancestors([*current, *wanted])
    followed = {parent for one in applied for parent in map(graph.find, graph.by_id[one].down) if parent}
    return sorted(applied - followed)


def _failed(application: Application, error: CheckError, before: t.Sequence[str], made: t.Optional[Facts]) -> CheckError:
    """Return *error* with where the database is now, and the way back."""
    try:
        now = application.current() or []
    except CheckError as unknown:
        where = f"where the database is now is not known: {unknown.reason}"
    else:
        where = "the database is as before" if sorted(now) == sorted(before) else f"the database is at {', '.join(now) or 'no revision'} now"
        if sorted(now) == sorted(before) and error.code == "tool-failed":
            return NothingChanged(error.source, f"{error.reason}; {where}", "Correct the migration, build the image, and run it again.", error.code)
    if error.code == "timeout":
        where += ". Alembic may still be at work: look with pg_stat_activity before anything else"
    hint = f"Correct the migration and run it again, or go back: {restore_command(application.stack.name, made['set_id'])}" if made else error.hint
    return CheckError(error.source, f"{error.reason}; {where}", hint, error.code)


def _plan_stamp(application: Application, params: t.Mapping[str, t.Any]) -> Work:
    if not params["revision"]:
        raise CheckError(application.name, "stamping needs to know the revision", "Name it in revision, for example head.", "invalid-option")
    revision = str(params["revision"])
    wanted = wanted_revisions(application, revision)
    state = _state(application)
    # A revision that the scripts do not have is in alembic's way; only then is the table emptied first.
    purge = ("--purge",) if state["unknown_revision"] else ()
    if not application.code.revisions:
        after = sorted(wanted)
    else:
        after = sorted(wanted) if revision in ("head", "heads") or purge or len(state["current"]) <= 1 else _heads_after(application, state["current"], wanted)
    before = ", ".join(state["current"])
    unknown = f" ({state['unknown_revision']} is not in this code: use the image that has it)" if purge else ""
    change = Change(
        "migration_stamp",
        application.name,
        f"note in its database that it is at {', '.join(wanted)}; no table is created or changed",
        (application.shown("stamp", *purge, revision),),
        {"current": state["current"]},
        {"current": after},
        (f"{' '.join(application.shown('stamp', before or 'base'))}{unknown}",),
        needed=sorted(state["current"]) != after,
    )
    limit = float(params["time_limit_seconds"])

    def carry_out() -> Facts:
        with _alone(application.stack, "migration", params, limit):
            application.run(("stamp", *purge, revision), limit)
        return {"current": application.current() or []}

    def verify() -> Verified:
        current = application.current() or []
        return Verified(set(wanted) <= set(current), f"the database says {', '.join(current) or 'no revision'}")

    return Work(change, carry_out, verify, redactor_of([application.stack]))


# -- what is around it -------------------------------------------------------------------------------------------------


def restore_command(project: str, set_id: str) -> str:
    """Return the command that restores a set of *project*."""
    return f"ansible-playbook stackops.runbook.restore -e restore_from={set_id} -e restore_confirm={project}"


def backup_root(params: t.Mapping[str, t.Any]) -> str:
    """Return where the sets are."""
    return str((params.get("backup_options") or {}).get("root") or DEFAULT_ROOT)


def backup(params: t.Mapping[str, t.Any], project: str, **more: t.Any) -> Facts:
    """Make a new set of *project*, verified, by the code of ``pg_backup``, and return what it is.

    :raises NothingChanged: there is no new set.
    """
    connection = {name: params[name] for name in docker_connection_arguments() if params.get(name) is not None}
    # What a person keeps a set for is the data; expired sets go when the backup's own time comes.
    given = {"logs": False, "prune": False, **(params.get("backup_options") or {}), **more, **connection, "project_name": project}
    try:
        result = run_backup(complete(given, backup_arguments(), "backup_options"), False)
    except CheckError as error:
        raise NothingChanged(error.source, error.reason, error.hint, error.code) from error
    if result.get("failed"):
        first = result["errors"][0]
        hint = f"{first['hint']} Nothing is changed without a backup; where it is kept in another way, set backup to false.".strip()
        raise NothingChanged(first["source"], f"no backup could be made: {first['reason']}", hint, "no-backup")
    row = result["stacks"][0]
    return {name: row.get(name) for name in ("set_id", "path", "level", "rows")}


@contextlib.contextmanager
def _alone(stack: Stack, purpose: str, params: t.Mapping[str, t.Any], limit_seconds: float) -> t.Iterator[None]:
    """Have no backup or restore of the same project at the same time, and wake nobody meanwhile."""
    store = BackupStore(backup_root(params), stack.name)
    store.prepare()
    with store.lock(purpose), window_while(f"{purpose} of {stack.name}", (stack.name,), (), limit_seconds):
        yield


def migrate(params: t.Mapping[str, t.Any], check_mode: bool) -> Facts:
    """Do what the module ``alembic_migrate`` is asked for."""
    if params["action"] == "status":
        try:
            application = _application(params)
            return t.cast(Facts, redactor_of([application.stack]).tree(_status(application)))
        except CheckError as error:
            verified = {"ok": None, "detail": error.reason}
            rest: Facts = {"plan": [], "before": {}, "after": {}, "undo": [], "verified": verified}
            return {"changed": False, "failed": True, "status": "unknown", "summary": error.sentence, "errors": [error.as_dict()], **rest}
    plan = {"upgrade": _plan_upgrade, "stamp": _plan_stamp}[params["action"]]
    return run_remediation(lambda: plan(_application(params), params), params, check_mode)


def _application(params: t.Mapping[str, t.Any]) -> Application:
    engine = Engine.connect(EngineOptions.from_params(params))
    return find_application(engine, only_stack(engine, params), params.get("service"))
