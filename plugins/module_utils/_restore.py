# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the module ``pg_restore`` does: restore, roll back, tidy up, list, and drill."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import signal
import tempfile
import threading
import time
import types
import typing as t

from . import _offsite as offsite
from ._backup import failure, find_stacks, result
from ._backup_arguments import DEFAULT_ROOT
from ._backup_options import offsite_of, selections_of
from ._backup_run import set_row
from ._backup_store import BackupStore, StoredSet, read_manifest
from ._database_facts import Facts
from ._discovery import Selection, Stack, discover, typed_compose
from ._engine import Engine, EngineOptions
from ._envelope import CheckError, human_bytes
from ._maintenance import window_while
from ._postgres import Instance, Login, PostgresOptions, find_instances
from ._postgres_tools import beside
from ._progress import Progress
from ._restore_host import bring_up, lay_out
from ._restore_journal import Journal, journals, unfinished
from ._restore_run import Restore, RestoreOptions, Source, only_database, plain_source
from ._restore_swap import maintenance_database, our_databases
from ._set_verify import decrypted, verify_stored

Row = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked for; the options of ``pg_restore`` are described there."""

    selections: tuple[Selection, ...]
    login: Login
    options: RestoreOptions
    action: str = "restore"
    root: str = DEFAULT_ROOT
    wanted: str = "latest"
    database: t.Optional[str] = None
    service: t.Optional[str] = None
    keep_old_hours: float = 24.0
    identity_file: t.Optional[str] = None
    offsite: t.Optional[offsite.Offsite] = None
    allow_other_project: bool = False
    confirm: t.Optional[str] = None
    progress_file: t.Optional[str] = None

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Request:
        """Return the request from a module's parameters."""
        names = {field.name for field in dataclasses.fields(RestoreOptions)}
        given: Row = {name: tuple(value) if isinstance(value, list) else value for name, value in params.items() if name in names and value is not None}
        return cls(
            selections=selections_of(params),
            login=Login.from_params(params),
            options=RestoreOptions(**given),
            action=params.get("action") or "restore",
            root=params.get("root") or DEFAULT_ROOT,
            wanted=params.get("from") or "latest",
            database=params.get("database") or None,
            service=params.get("service") or None,
            keep_old_hours=float(params["keep_old_hours"]) if params.get("keep_old_hours") is not None else 24.0,
            identity_file=params.get("identity_file") or None,
            offsite=offsite_of(params),
            allow_other_project=bool(params.get("allow_other_project")),
            confirm=params.get("confirm") or None,
            progress_file=params.get("progress_file") or None,
        )


def run_restore(params: t.Mapping[str, t.Any], check_mode: bool) -> Row:
    """Do what the module ``pg_restore`` is asked for, for the stacks that are chosen."""
    request = Request.from_params(params)
    rows: list[Row] = []
    try:
        engine = Engine.connect(EngineOptions.from_params(params))
        stacks = _stacks(engine, request)
        if request.action in ("restore", "rollback") and len(stacks) != 1:
            names = ", ".join(stack.name for stack in stacks) or "none"
            raise CheckError("stacks", f"one stack at a time is restored; found: {names}", "Name it in project_name or project_src.", "ambiguous")
        with signals_as_errors():
            rows = [{"project": stack.name, **_for_stack(engine, stack, request, check_mode)} for stack in stacks]
    except CheckError as error:
        return failure(rows, [error])
    except OSError as error:
        return failure(rows, [CheckError(str(error.filename or request.root), error.strerror or str(error), "", "os")])
    # What Ansible calls warnings it shows by itself, and asks for in another way.
    alone = {name: value for name, value in rows[0].items() if name != "warnings"} if len(rows) == 1 else {}
    return {**alone, **result(rows)}


def _stacks(engine: Engine, request: Request) -> list[Stack]:
    """Return the stacks that are chosen; for a restore also one that is not there (yet), where it was named."""
    try:
        return find_stacks(engine, request.selections)
    except CheckError as error:
        selection = request.selections[0]
        if error.code != "project-unknown" or request.action != "restore" or not selection.project_name:
            raise
        return [Stack(selection.project_name, working_dir=selection.project_src)]


@contextlib.contextmanager
def signals_as_errors() -> t.Iterator[None]:
    """Let a polite end (SIGTERM, SIGHUP, SIGINT) undo what is under way, instead of leaving that to the next run."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, frame: t.Optional[types.FrameType]) -> None:
        hint = "Run it again: it starts anew, or finishes or takes back what was under way."
        raise CheckError("restore", f"ended by {signal.Signals(number).name}", hint, "interrupted")

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _for_stack(engine: Engine, stack: Stack, request: Request, check_mode: bool) -> Row:
    store = BackupStore(request.root, stack.name)
    if request.action == "list":
        return _list(engine, stack, store, request)
    if request.action in ("restore", "rollback") and not check_mode and request.confirm != stack.name:
        given = f"it is {request.confirm!r}" if request.confirm else "it is not set"
        hint = f"See the plan with --check, then set restore_confirm: {stack.name}"
        raise CheckError(stack.name, f"confirm must be the project's name to replace its data; {given}", hint, "not-confirmed")
    work = {"restore": _restore, "rollback": _roll_back, "finalize": _finalize, "drill": _drill}[request.action]
    if check_mode:
        return work(engine, stack, store, request, True)
    store.prepare()
    with store.lock(request.action), silence_for(stack, request):
        store.sweep()
        return work(engine, stack, store, request, False)


def silence_for(stack: Stack, request: Request) -> contextlib.AbstractContextManager[None]:
    """Return a maintenance window for a stack whose services are about to stop; a drill stops none and only takes processor and disk."""
    checks = ("resources", "database") if request.action == "drill" else ()
    return window_while(f"{request.action} of {stack.name}", (stack.name,) if not checks else (), checks, request.options.time_limit_seconds)


def _machinery(engine: Engine, stack: Stack, store: BackupStore, request: Request) -> Restore:
    instances = find_instances([stack], PostgresOptions(login=request.login))
    return Restore(engine, stack, instances, store, request.options, Progress(request.progress_file))


# -- restore -----------------------------------------------------------------------------------------------------------


def _restore(engine: Engine, stack: Stack, store: BackupStore, request: Request, check_mode: bool) -> Row:
    began = time.monotonic()
    if check_mode:
        return _planned(engine, stack, store, request)
    steps: list[str] = []
    host = next((one for one in unfinished(store.restore_path) if one.data["kind"] == "host"), None)
    if host is not None or not stack.siblings:
        stack, steps, host = _recover_host(engine, stack, store, request, host)
        request = dataclasses.replace(request, options=dataclasses.replace(request.options, start_created=True))
    machinery = _machinery(engine, stack, store, request)
    for journal in [one for one in unfinished(store.restore_path) if one.data["kind"] != "host"]:
        if machinery.settle(journal, finish=True):
            summary = f"restore {journal.id}, which was interrupted, is finished: {journal.data['source']} is live"
            status = "warning" if machinery.warnings else "ok"
            return {**_journal_row(journal), "changed": True, "status": status, "summary": summary, "warnings": machinery.warnings, "errors": []}
        steps.append(f"restore {journal.id}, which was interrupted, was taken back")
        # Containers run again that were stopped when they were looked at, and have to be stopped once more.
        machinery = _machinery(engine, discover(engine, Selection(project_name=stack.name))[0], store, request)
    with _source(engine, machinery.instances, store, request) as source:
        journal = machinery.run(source, request.keep_old_hours)
    if host is not None:
        host.save("done")
    kept, kept_volumes = machinery.kept, [one["outgoing"] for one in journal.data.get("volumes") or []]
    stopped = f"the application was down for {machinery.downtime_seconds:.1f} s" if journal.data["stopped"] else "nothing was stopped"
    old = f"the old data is kept as {', '.join([*kept, *kept_volumes])}" if kept or kept_volumes else "there was none before"
    return {
        **_journal_row(journal),
        "changed": True,
        "status": "warning" if machinery.warnings else "ok",
        "set_id": source.label,
        "kept_database": kept[0] if kept else None,
        "kept_databases": kept,
        "kept_volumes": kept_volumes,
        "downtime_seconds": machinery.downtime_seconds,
        "duration_seconds": round(time.monotonic() - began, 3),
        "verification": machinery.checks,
        "steps": steps,
        "warnings": machinery.warnings,
        "errors": [],
        "next_steps": _next_steps(request, machinery, journal),
        "summary": f"{source.label} is live, verified; {stopped}; {old}",
    }


def _next_steps(request: Request, machinery: Restore, journal: Journal) -> list[str]:
    steps = [f"To go back within {request.keep_old_hours:g} h: `{rollback_command(request, machinery.stack.name)}`"] if machinery.kept else []
    if journal.data.get("files"):
        labels = next((container.labels for container in machinery.stack.siblings), {})
        steps.append(f"To have the restored configuration take effect, on the host: `{typed_compose(labels, 'up -d')}`")
    return steps


def rollback_command(request: Request, project: str) -> str:
    """Return the command that swaps the data of before the restore back in, with what it takes to find them."""
    values = {"restore_rollback": "true", "restore_confirm": project}
    if any(selection.project_name or selection.project_src for selection in request.selections):
        values["restore_project_name"] = project
    if request.root != DEFAULT_ROOT:
        values["restore_root"] = request.root
    pairs = [word for name, value in values.items() for word in ("-e", f"{name}={value}")]
    return shlex.join(["ansible-playbook", "stackops.runbook.restore", "--become", *pairs])


def _journal_row(journal: Journal) -> Row:
    targets = journal.data.get("targets", [])
    return {
        "restore_id": journal.id,
        "state": journal.state,
        "database": targets[0]["live"] if targets else None,
        "databases": [one["live"] for one in targets],
    }


@contextlib.contextmanager
def _source(engine: Engine, instances: t.Sequence[Instance], store: BackupStore, request: Request) -> t.Iterator[Source]:
    """Yield what is to be restored, readable: fetched from off-site and decrypted where it has to be."""
    if request.wanted.endswith((".sql.gz", ".sql")):
        yield _plain(engine, instances, request)
        return
    volumes = bool(request.options.volumes)
    with _chosen(store, request) as stored, decrypted(stored, request.identity_file, store.tmp_path, volumes) as (path, databases):
        chosen = [one for one in databases if request.database in (None, one["name"]) and request.service in (None, one["service"])]
        if not chosen:
            there = ", ".join(f"{one['service']}/{one['name']}" for one in databases)
            raise CheckError(f"set {stored.id}", f"it has no such database; there are: {there}", "Correct database and service.", "not-found")
        if request.options.target_database and len(chosen) != 1:
            raise CheckError(f"set {stored.id}", "target_database is for one database", "Name the one in database.", "ambiguous")
        yield Source(stored.id, path, tuple(chosen), stored.manifest, stored)


def _plain(engine: Engine, instances: t.Sequence[Instance], request: Request) -> Source:
    if not request.wanted.endswith(".gz"):
        raise CheckError(request.wanted, "only compressed plain files are taken", f"Compress it: gzip {request.wanted}", "unsupported")
    if not os.path.isfile(request.wanted):
        raise CheckError(request.wanted, "no such file on the host", "Copy it there, or correct from.", "not-found")
    chosen = [one for one in instances if request.service in (None, one.service)]
    if len(chosen) != 1:
        there = ", ".join(str(one.service) for one in instances) or "none"
        raise CheckError(request.wanted, f"it does not say which server it is for; there are: {there}", "Name the one in service.", "ambiguous")
    return plain_source(request.wanted, str(chosen[0].service), request.database or only_database(engine, chosen[0]))


@contextlib.contextmanager
def _chosen(store: BackupStore, request: Request) -> t.Iterator[StoredSet]:
    """Yield the set that was asked for, if it may be restored here."""
    with contextlib.ExitStack() as stack:
        if request.offsite is not None and not os.path.isabs(request.wanted):
            into = stack.enter_context(tempfile.TemporaryDirectory(prefix="offsite-", dir=store.tmp_path))
            stored = _loaded(offsite.fetch(request.offsite, store.project, _offsite_id(store, request), into))
        elif os.path.isabs(request.wanted):
            stored = _loaded(request.wanted)
        else:
            stored = store.find(request.wanted)
        yield _acceptable(stored, store, request)


def _loaded(path: str) -> StoredSet:
    """Return a set that is not in the store: what its manifest says is all that is known of it."""
    manifest = read_manifest(path)
    suspect = bool((manifest.get("compare") or {}).get("suspect"))
    level = manifest["verification"]["level"]
    return StoredSet(str(manifest["set_id"]), path, manifest, level=level, suspect=suspect, bytes=manifest["totals"]["bytes"])


def _offsite_id(store: BackupStore, request: Request) -> str:
    where = t.cast(offsite.Offsite, request.offsite)
    there = sorted(offsite.list_sets(where, store.project))
    if request.wanted in there:
        return request.wanted
    if request.wanted == "latest" and there:
        return there[-1]
    before = [name for name in there if name[:16] <= request.wanted.replace("-", "").replace(":", "")[:16]]
    if before and request.wanted[:2].isdigit():
        return before[-1]
    listed = ", ".join(there[-10:]) or "none"
    raise CheckError(where.remote, f"no such set of {store.project} there; there are: {listed}", "Correct from.", "no-such-set")


def _acceptable(stored: StoredSet, store: BackupStore, request: Request) -> StoredSet:
    """Refuse a set that is damaged, in doubt or another project's."""
    if stored.manifest is None or stored.problem:
        raise CheckError(
            f"set {stored.id}", stored.problem or "it has no manifest", "Nothing was changed. Choose another set: restore_list shows them.", "corrupt"
        )
    if stored.suspect and request.wanted != stored.id:
        reasons = "; ".join((stored.manifest.get("compare") or {}).get("reasons") or [])
        raise CheckError(f"set {stored.id}", f"it looks as if data had been lost before it: {reasons}", "Name its id in from if it is the one.", "suspect")
    name = stored.manifest["project"]["name"]
    if name != store.project and not request.allow_other_project:
        raise CheckError(
            f"set {stored.id}", f"it is of the project {name}, not of {store.project}", "Set allow_other_project: true if this is right.", "foreign"
        )
    return stored


def _planned(engine: Engine, stack: Stack, store: BackupStore, request: Request) -> Row:
    """Say what a restore would do. Nothing is started, written or fetched for it."""
    plan: list[str] = []
    waiting = unfinished(store.restore_path) if stack.siblings else []
    plan += [f"restore {journal.id} was interrupted ({journal.state}): finish it or take it back" for journal in waiting]
    if request.wanted.endswith(".sql.gz"):
        label, names = request.wanted, [request.database or "the only database"]
    elif request.offsite is not None and not os.path.isabs(request.wanted):
        label, names = f"{_offsite_id(store, request)} from {request.offsite.remote}", [request.database or "every database in it"]
    else:
        with _chosen(store, request) as stored:
            manifest = t.cast("Facts", stored.manifest)
            names = [f"{one['service']}/{one['name']}" for one in manifest["databases"] if request.database in (None, one["name"])]
            label = f"{stored.id} ({stored.level}, {human_bytes(stored.bytes)})"
    running = [one.service for one in stack.siblings if one.running and one.role == "application"]
    stopped = ", ".join(request.options.stop_services or running) or "nothing"
    if not stack.siblings:
        plan.append("lay out the configuration of the set, start the database, create the roles of the set")
    plan += [
        f"check {label}: checksums, full decode, versions, roles, extensions, locale, space, logins",
        f"restore {', '.join(names)} beside the live database, analyse it, compare it with the set",
        f"stop {stopped}, and whatever else is connected",
        *([f"put the content of {', '.join(request.options.volumes)} in place"] if request.options.volumes else []),
        "swap by rename in one transaction, start, wait for health; swap back if it does not get well",
        f"keep the old database for {request.keep_old_hours:g} h",
    ]
    summary = f"would restore {label}"
    return {"changed": True, "status": "ok", "state": "planned", "plan": plan, "summary": summary, "errors": []}


def _recover_host(engine: Engine, stack: Stack, store: BackupStore, request: Request, begun: t.Optional[Journal]) -> tuple[Stack, list[str], Journal]:
    """Bring up an empty host from a set and nothing else: its configuration, its database server, its roles.

    *begun* is the record of an attempt that was interrupted: without it, what that one left would pass for a stack in use.
    """
    steps: list[str] = []
    journal = begun or Journal.begin(store.restore_path, kind="host", source=request.wanted, targets=[])
    journal.save("preparing")
    with _chosen(store, request) as stored, decrypted(stored, request.identity_file, store.tmp_path) as (path, dummy):
        manifest = t.cast("Facts", stored.manifest)
        directory = stack.working_dir or manifest["project"]["working_dir"]
        steps += lay_out(path, directory, begun is not None)
        up = bring_up(engine, stack.name, directory, manifest, path, request.login, request.options.health_timeout_seconds, steps)
        return up, steps, journal


# -- the other actions -------------------------------------------------------------------------------------------------


def _roll_back(engine: Engine, stack: Stack, store: BackupStore, request: Request, check_mode: bool) -> Row:
    machinery = _machinery(engine, stack, store, request)
    waiting = [one for one in unfinished(store.restore_path) if one.data["kind"] != "host"]
    done = next((one for one in journals(store.restore_path) if one.state == "done" and one.data["targets"] and not one.data.get("rolled_back_by")), None)
    if done is None and not waiting:
        raise CheckError(stack.name, "no restore is there to be rolled back", "See restore_list for sets to restore.", "not-found")
    source = waiting[0] if waiting else t.cast(Journal, done)
    if check_mode:
        plan = [f"bring back what was live before restore {source.id} ({source.data['source']})"]
        return {"changed": True, "status": "ok", "state": "planned", "plan": plan, "summary": f"would {plan[0]}", "errors": []}
    if waiting:
        for journal in waiting:
            machinery.settle(journal, finish=False)
        summary = f"restore {source.id}, which was interrupted, was taken back"
        return {**_journal_row(source), "changed": True, "status": "ok", "summary": summary, "errors": []}
    journal = machinery.roll_back(source)
    source.save(source.state, rolled_back_by=journal.id)
    kept = ", ".join(one["old"] for one in journal.data["targets"])
    summary = f"what was live before restore {source.id} is live again; what was restored is kept as {kept}"
    return {
        **_journal_row(journal), "changed": True, "status": "ok", "summary": summary, "errors": [], "downtime_seconds": machinery.downtime_seconds,
        "kept_database": journal.data["targets"][0]["old"],
    }  # fmt: skip


def _finalize(engine: Engine, stack: Stack, store: BackupStore, request: Request, check_mode: bool) -> Row:
    machinery = _machinery(engine, stack, store, request)
    if check_mode:
        names = [row["name"] for row in _kept(engine, machinery.instances)]
        return {"changed": bool(names), "status": "ok", "kept": names, "summary": f"{len(names)} databases are kept", "errors": []}
    busy = {journal.id for journal in unfinished(store.restore_path)}
    gone = machinery.tidy(request.keep_old_hours, busy)
    return {"changed": bool(gone), "status": "ok", "dropped": gone, "summary": f"dropped {', '.join(gone)}" if gone else "nothing to drop", "errors": []}


def _kept(engine: Engine, instances: t.Sequence[Instance]) -> list[Facts]:
    found: list[Facts] = []
    for instance in instances:
        if instance.container is not None and instance.container.running:
            with beside(engine, instance, "restore") as tools, tools.session(maintenance_database(())) as session:
                found += [{"service": instance.service, **row} for row in our_databases(session)]
    return found


def _list(engine: Engine, stack: Stack, store: BackupStore, request: Request) -> Row:
    sets = [set_row(stored) for stored in store.sets()]
    remote = offsite.list_sets(request.offsite, store.project) if request.offsite is not None else []
    kept = _kept(engine, find_instances([stack], PostgresOptions(login=request.login)))
    lines = [f"{row['set_id']}  {row['level']}  {human_bytes(row['bytes'])}  {row['problem'] or ', '.join(row['databases'])}" for row in sets]
    lines += [f"{name}  off-site" for name in remote] + [f"{row['name']}  kept by restore {row['restore_id']}" for row in kept]
    return {"changed": False, "status": "ok", "sets": sets, "offsite_sets": remote, "kept": kept, "lines": lines, "summary": f"{len(sets)} sets", "errors": []}


def _drill(engine: Engine, stack: Stack, store: BackupStore, request: Request, check_mode: bool) -> Row:
    """Restore the set into a throw-away server of the same image, with no network, and compare: proof, and how long it takes."""
    if check_mode:
        with _chosen(store, request) as stored:
            return {"changed": False, "status": "ok", "summary": f"would restore {stored.id} into a throw-away server", "errors": []}
    Progress(request.progress_file).step(stack.name, "drill", 1, 1)
    limits = (request.options.parallel, request.options.time_limit_seconds)
    with _chosen(store, request) as stored:
        evidence = verify_stored(engine, stored, "equivalent", request.identity_file, store.tmp_path, *limits)
        if stored.path.startswith(store.sets_path + os.sep):
            store.record_verification(stored, evidence)
    failed = [one for one in evidence["checks"] if not one["ok"]]
    if failed:
        hint = "Do not rely on this set. Verify the others: ansible-playbook stackops.runbook.backup_verify"
        raise CheckError(f"set {stored.id}: {failed[0]['name']}", failed[0]["detail"], hint, "not-equivalent")
    summary = f"{stored.id} comes back as it was ({evidence['level']}), in {evidence['duration_seconds']:.1f} s"
    return {
        "changed": False, "status": "ok", "set_id": stored.id, "duration_seconds": evidence["duration_seconds"], "verification": evidence["checks"],
        "level": evidence["level"], "summary": summary, "errors": [],
    }  # fmt: skip
