# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the module ``pg_backup`` does: back up, verify, prune and list, for every stack that is chosen."""

from __future__ import annotations

import contextlib
import os
import time
import typing as t

from ._backup_dump import HAS_TABLES, LIST_DATABASES, is_applications
from ._backup_options import BackupOptions
from ._backup_run import BackupRun, config_files, delete_sets, estimate_bytes, expire_offsite, free_bytes, last_good, retention, set_row
from ._backup_store import LEVELS, BackupStore, StoredSet
from ._database_facts import Facts
from ._discovery import Selection, Stack, discover
from ._engine import Engine
from ._envelope import CheckError, human_bytes, worst
from ._maintenance import window_while
from ._postgres import Instance, PostgresOptions, find_instances, open_session
from ._progress import Progress
from ._restore_journal import unfinished
from ._set_verify import verify_stored


def run_backup(params: t.Mapping[str, t.Any], check_mode: bool) -> Facts:
    """Do what the module ``pg_backup`` is asked for, for every stack; one that fails stops no other."""
    options = BackupOptions.from_params(params)
    work = {"backup": _backup_one, "verify": _verify_one, "prune": _prune_one, "list": _list_one}[params.get("action") or "backup"]
    try:
        engine = Engine.connect(options.engine)
        stacks = find_stacks(engine, options.selections)
    except CheckError as error:
        return failure([], [error])
    rows: list[Facts] = []
    errors: list[CheckError] = []
    for stack in stacks:
        try:
            rows.append({"project": stack.name, **work(engine, stack, options, check_mode)})
        except CheckError as error:
            errors.append(error)
            rows.append(
                {"project": stack.name, "changed": False, "status": "critical", "summary": f"{error.source}: {error.reason}", "errors": [error.as_dict()]}
            )
        except OSError as error:
            wrapped = CheckError(
                str(error.filename or options.root), error.strerror or str(error), f"Look at it: ls -ld {error.filename or options.root}", "os"
            )
            errors.append(wrapped)
            rows.append(
                {"project": stack.name, "changed": False, "status": "critical", "summary": f"{wrapped.source}: {wrapped.reason}", "errors": [wrapped.as_dict()]}
            )
    if not rows:
        errors.append(
            CheckError("stacks", "no Compose project with a PostgreSQL service on this host", "Name it in project_src, or see: docker ps", "project-unknown")
        )
    return failure(rows, errors) if errors else result(rows)


def find_stacks(engine: Engine, selections: t.Sequence[Selection]) -> list[Stack]:
    """Return the stacks that are to be kept: those with a PostgreSQL server, and those that were asked for by name."""
    found: dict[str, Stack] = {}
    for selection in selections:
        named = bool(selection.project_name or selection.project_src)
        for stack in discover(engine, selection):
            if named or stack.of_role("postgres"):
                found.setdefault(stack.name, stack)
    return list(found.values())


def result(rows: list[Facts]) -> Facts:
    """Return what a module returns when nothing failed."""
    return {
        "changed": any(row["changed"] for row in rows),
        "status": worst(row["status"] for row in rows),
        "summary": "; ".join(f"{row['project']}: {row['summary']}" for row in rows),
        "stacks": rows,
        "errors": [error for row in rows for error in row.get("errors", [])],
    }


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def failure(rows: list[Facts], errors: t.Sequence[CheckError]) -> Facts:
    """Return what a module returns when something failed: what failed, and what to do."""
    told = " ".join([*(_ended(error.sentence) for error in errors[:-1]), *(error.sentence for error in errors[-1:])])
    return {**result(rows), "failed": True, "status": "critical", "msg": told, "errors": [error.as_dict() for error in errors]}


# -- backup ------------------------------------------------------------------------------------------------------------


def _backup_one(engine: Engine, stack: Stack, options: BackupOptions, check_mode: bool) -> Facts:
    store = BackupStore(options.root, stack.name)
    instances = find_instances([stack], PostgresOptions(login=options.login))
    if not instances and not (options.volumes or options.paths):
        raise CheckError(stack.name, "it has no PostgreSQL service", "Name volumes or paths to keep, or leave this project out.", "no-database")
    recent = _recent(store, options)
    if recent is not None:
        age = round((time.time() - (recent.created_at or 0)) / 60)
        return {**set_row(recent), "changed": False, "status": "ok", "summary": f"{recent.id} is {age} min old: no new set is due"}
    if check_mode:
        return _planned(engine, stack, instances, store, options)
    store.prepare()
    # A dump takes processor and disk, and holds locks and a long transaction; services go on, and are watched.
    silence = window_while(f"backup of {stack.name}", (), ("resources", "database"), options.dump.time_limit_seconds)
    with store.lock("backup", options.lock_wait_seconds), silence:
        store.sweep()
        waiting = unfinished(store.restore_path)
        if waiting:
            hint = "Finish it or take it back: run the restore again (or restore_rollback: true)."
            raise CheckError(stack.name, f"restore {waiting[0].id} of {waiting[0].data['source']} was interrupted", hint, "restore-interrupted")
        return BackupRun(engine, stack, instances, store, options).run()


def _recent(store: BackupStore, options: BackupOptions) -> t.Optional[StoredSet]:
    """Return the newest good set where it is young enough to do."""
    newest = last_good(store) if options.max_age_seconds > 0 else None
    if newest is None or newest.created_at is None or not 0 <= time.time() - newest.created_at < options.max_age_seconds:
        return None
    return newest


def _planned(engine: Engine, stack: Stack, instances: t.Sequence[Instance], store: BackupStore, options: BackupOptions) -> Facts:
    """Say what a run would do; nothing is started for it, and nothing written."""
    databases: list[Facts] = []
    for instance in instances:
        with contextlib.closing(open_session(instance, engine, PostgresOptions(login=options.login), "postgres")) as session:
            used = bool(options.dump.databases) or session.rows(HAS_TABLES)[0]["yes"]
            rows = [row for row in session.rows(LIST_DATABASES) if is_applications(row, options.dump.databases)]
            databases += [{"service": instance.service, **row} for row in rows if row["name"] != "postgres" or used]
    estimate = estimate_bytes(store, sum(one["size_bytes"] for one in databases))
    planned = {
        "databases": databases,
        "estimated_bytes": estimate,
        "free_bytes": free_bytes(options.root),
        "files": [name for dummy, name in config_files(stack, options)],
        "delete": list(retention(store, options, time.time()).delete) if os.path.isdir(store.sets_path) else [],
    }
    names = ", ".join(f"{one['service']}/{one['name']}" for one in databases) or "no database"
    return {"changed": True, "status": "ok", "summary": f"would keep {names}, about {human_bytes(estimate)}", "plan": planned, "errors": []}


# -- retention, list, verify -------------------------------------------------------------------------------------------


def _prune_one(engine: Engine, stack: Stack, options: BackupOptions, check_mode: bool) -> Facts:
    store = BackupStore(options.root, stack.name)
    decided = retention(store, options, time.time())
    row: Facts = {
        "changed": bool(decided.delete),
        "status": "ok",
        "retention": decided.frozen,
        "keep": decided.keep,
        "pruned": list(decided.delete),
        "errors": [],
    }
    if check_mode:
        row.update(expire_offsite(store, options, time.time(), dry=True))
    elif decided.delete or options.offsite is not None:
        store.prepare()
        with store.lock("prune", options.lock_wait_seconds):
            store.sweep()
            row["pruned"] = delete_sets(store, retention(store, options, time.time()).delete)
            row.update(expire_offsite(store, options, time.time()))
    row["summary"] = decided.frozen or f"{len(row['pruned'])} sets {'would go' if check_mode else 'went'}, {len(decided.keep)} stay"
    if "offsite_pruned" in row:
        gone = row["offsite_pruned"]
        row["changed"] = row["changed"] or bool(gone)
        told = row["offsite_retention"] or f"{len(gone)} {'would go' if check_mode else 'went'}"
        row["summary"] += f"; off the host: {told}"
    return row


def _list_one(engine: Engine, stack: Stack, options: BackupOptions, check_mode: bool) -> Facts:
    store = BackupStore(options.root, stack.name)
    sets = [set_row(stored) for stored in store.sets()]
    missing = store.missing()
    problems = [f"{row['set_id']}: {row['problem']}" for row in sets if row["problem"]] + [f"{name}: is gone" for name in missing]
    status = "critical" if not sets else "warning" if problems else "ok"
    return {"changed": False, "status": status, "sets": sets, "missing": missing, "summary": "; ".join(problems) or f"{len(sets)} sets", "errors": []}


def _to_verify(store: BackupStore, wanted: t.Optional[str], level: str) -> list[StoredSet]:
    """Return the sets to verify: those asked for, else the newest and every one that has not reached *level* yet."""
    if wanted not in (None, "all"):
        return [store.find(str(wanted))]
    known = store.index()["sets"]
    # One that was ours and cannot be read any more is looked at as well: its manifest fails.
    ours = [one for one in store.sets() if one.belongs or (one.manifest is None and one.id in known)]
    if not ours:
        raise CheckError(store.path, "there is no set", "Make one: ansible-playbook stackops.runbook.backup", "not-found")
    below = LEVELS.index(level)
    return [one for number, one in enumerate(ours) if wanted == "all" or number == 0 or one.problem or LEVELS.index(one.level) < below]


def _verify_one(engine: Engine, stack: Stack, options: BackupOptions, check_mode: bool) -> Facts:
    store = BackupStore(options.root, stack.name)
    level = "equivalent" if options.level == "auto" else options.level
    chosen = _to_verify(store, options.wanted_set, level)
    if check_mode:
        return {
            "changed": False,
            "status": "ok",
            "summary": f"would verify {len(chosen)} sets up to {level}",
            "plan": {"sets": [one.id for one in chosen]},
            "errors": [],
        }
    progress = Progress(options.progress_file)
    rows = []
    with store.lock("verify", options.lock_wait_seconds):
        store.sweep()
        for number, stored in enumerate(chosen, 1):
            progress.step(stack.name, f"verification of {stored.id}", number, len(chosen))
            limits = (options.dump.parallel, options.dump.time_limit_seconds)
            evidence = verify_stored(engine, stored, level, options.identity_file, store.tmp_path, *limits)
            if stored.manifest is not None:
                store.record_verification(stored, evidence)
            rows.append({"set_id": stored.id, **evidence})
    failed = [row for row in rows if not all(one["ok"] for one in row["checks"])]
    missing = [] if options.wanted_set else store.missing()
    summary = "; ".join([f"{len(rows)} sets: {', '.join(sorted({one['level'] for one in rows}))}", *(f"{name}: is gone" for name in missing)])
    status = "warning" if missing else "ok"
    row = {"changed": True, "status": status, "verified": rows, "missing": missing, "errors": [], "summary": summary}
    if failed:
        bad = next(one for one in failed[0]["checks"] if not one["ok"])
        hint = "Do not rely on this set; the others were verified. Make a new one: ansible-playbook stackops.runbook.backup"
        raise CheckError(f"set {failed[0]['set_id']}: {bad['name']}", bad["detail"], hint, "corrupt")
    return row
