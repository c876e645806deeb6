# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SIGKILL after each step of a backup, of a restore and of taking one back, followed by a second run.

A step is whatever changes something outside of the process. A first run, which nobody kills, counts them. By default a spread of them is
tried, and those around the swap; ``ALL_STEPS=1`` (``make faults``) tries all.
"""

from __future__ import annotations

import json
import os
import pathlib
import time
import typing as t

import pytest

from tests.support.backup_proof import database, drop_all, good, leftovers, own_databases, published, rows_of, temporary, uploads
from tests.support.backup_stack import BackupStack, Ended, sets_of

ALL_STEPS = os.environ.get("ALL_STEPS") == "1"
SPREAD = 8
THINGS = "CREATE TABLE things AS SELECT i AS id, 'thing ' || i AS name FROM generate_series(1, 500) i"
KILLED = -9


def chosen(names: t.Sequence[str], spread: int, *around: str) -> list[int]:
    """Return which steps to kill after: all, or so many evenly spaced ones and those whose name contains a word of *around*."""
    if ALL_STEPS:
        return list(range(1, len(names) + 1))
    even = {1 + round(number * (len(names) - 1) / max(1, spread - 1)) for number in range(spread)}
    return sorted(even | {number for number, name in enumerate(names, 1) if any(word in name for word in around)})


def killed(run: Ended) -> bool:
    """Tell whether a run was killed; one with fewer steps than the first may have come to its end."""
    assert run.exit_code in (KILLED, 0), run.output[-3000:]
    return run.exit_code == KILLED


def settle(stack: BackupStack, root: pathlib.Path) -> None:
    """Wait until the engine has ended what the killed process had started, which nobody has to ask for."""
    deadline = time.monotonic() + 20
    while leftovers(stack, root) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not leftovers(stack, root)


@pytest.fixture(scope="module")
def name(server17: BackupStack) -> t.Iterator[str]:
    """A database that is restored over and over."""
    with database(server17, "killed", THINGS) as made:
        yield made


def test_backup_killed_after_each_step(server17: BackupStack, name: str, root: pathlib.Path) -> None:
    wanted = {"databases": [name], "keep_days": 0, "min_verified": 2}
    good(server17.backup(root, **wanted))
    good(server17.backup(root, **wanted))
    counted = server17.backup(root, **wanted)
    assert len(good(counted)["pruned"]) == 1
    names = counted.result["step_names"]
    problems = []
    for step in chosen(names, SPREAD, "rename"):
        before, latest = published(root, server17)
        ids = sets_of(root, server17.project)
        if not killed(server17.backup(root, **wanted, kill_after=step)):
            continue
        settle(server17, root)
        after, latest_after = published(root, server17)
        label = f"after step {step} of {len(names)}, {names[step - 1]}"
        added = set(sets_of(root, server17.project)) - set(ids)
        if added:
            # Published by its rename: then it is whole, and what comes after may have begun.
            (new,) = added
            verified = server17.backup(root, action="verify", set=new, level="decodable")
            if verified.exit_code != 0:
                problems.append(f"{label}: the set that was published is not whole: {verified.message}")
            if not (root / server17.project / "latest").resolve().is_dir():
                problems.append(f"{label}: latest leads nowhere")
        elif (after, latest_after) != (before, latest):
            problems.append(f"{label}: sets or latest changed")
        second = server17.backup(root, **wanted)
        if second.exit_code != 0:
            problems.append(f"{label}: the next run: {second.message}")
        elif len(sets_of(root, server17.project)) != 2 or temporary(root, server17):
            problems.append(f"{label}: {sets_of(root, server17.project)}, {temporary(root, server17)} are left")
        if server17.backup(root, action="list").row()["missing"]:
            problems.append(f"{label}: a set that retention has deleted is missed")
    assert not problems, "\n".join(problems)


class Replaced:
    """A database in two states: *old*, which is live, and *new*, which is in the set."""

    def __init__(self, stack: BackupStack, root: pathlib.Path, live: str, **params: t.Any) -> None:
        self.stack, self.root, self.live = stack, root, live
        self.new = rows_of(stack, live)
        good(stack.backup(root, databases=[live], **params))
        self.old = self.age()

    def age(self) -> str:
        """Have the old state live, and nothing of an earlier restore."""
        if own_databases(self.stack, self.live) != [self.live] or rows_of(self.stack, self.live) != getattr(self, "old", ""):
            self.stack.restore(self.root, action="finalize", keep_old_hours=0)
            self.stack.sql("DELETE FROM things WHERE id > 300; UPDATE things SET name = 'old'", self.live)
        return rows_of(self.stack, self.live)

    def is_unfinished(self) -> bool:
        """Tell whether a restore is recorded that has not come to its end."""
        records = (self.root / self.stack.project / "restore").glob("*.json")
        return any(json.loads(path.read_text())["state"] not in ("done", "rolled-back") for path in records)

    def problems_between(self) -> list[str]:
        """Return what is wrong after a kill, before anybody has done anything about it."""
        databases = own_databases(self.stack, self.live)
        if self.live not in databases:
            return [f"there is no {self.live}, but {databases}"]
        if self.stack.sql(f"SELECT datallowconn FROM pg_database WHERE datname = '{self.live}'", "postgres") == "f":
            return []  # closed for the swap
        return [] if rows_of(self.stack, self.live) in (self.old, self.new) else ["it is neither the old nor the new one"]

    def problems_after(self, second: Ended, wanted: str) -> list[str]:
        """Return what is wrong after the run that followed."""
        if second.exit_code != 0:
            return [f"the next run: {second.message or second.output[-500:]}"]
        problems = []
        databases = own_databases(self.stack, self.live)
        if self.live not in databases:
            return [f"there is no {self.live}, but {databases}"]
        if rows_of(self.stack, self.live) != wanted:
            problems.append("the wrong state is live")
        if any("__restore_" in one for one in databases):
            problems.append(f"{databases} are left")
        if self.stack.sql(f"SELECT datallowconn, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{self.live}'", "postgres") != "t|":
            problems.append("it is closed, or has a comment of ours")
        if not self.stack.is_well():
            problems.append("the application is not well")
        stray = [path.name for path in self.stack.directory.iterdir() if path.name.startswith(".restore-")]
        if stray:
            problems.append(f"{stray} are left")
        if leftovers(self.stack, self.root) or temporary(self.root, self.stack):
            problems.append(f"left: {leftovers(self.stack, self.root)}, {temporary(self.root, self.stack)}")
        return problems


AROUND_THE_SWAP = ("RENAME", "COMMIT", "save swapping", "save starting", "save done")


def _restore_and_kill(
    case: Replaced, steps: t.Callable[[t.Sequence[str]], list[int]], inside: t.Optional[t.Callable[[str], str]] = None, **params: t.Any
) -> None:
    environment = case.stack.directory / ".env"
    new = environment.read_text()
    old = f"{new}# changed since\n" if params.get("config") else new
    environment.write_text(old)
    if inside:
        inside("echo old >state")
    counted = case.stack.restore(case.root, **params)
    good(counted)
    names = counted.result["step_names"]
    problems = []
    for number, step in enumerate(steps(names)):
        case.age()
        environment.write_text(old)
        if inside:
            inside("echo old >state")
        if not killed(case.stack.restore(case.root, kill_after=step, **params)):
            continue
        settle(case.stack, case.root)
        label = f"after step {step} of {len(names)}, {names[step - 1]}: "
        problems += [label + problem for problem in case.problems_between()]
        # In turn: go on, or go back. Before anything was recorded there is nothing to go back to.
        back = number % 2 and case.is_unfinished()
        second = case.stack.restore(case.root, action="rollback") if back else case.stack.restore(case.root, **params)
        problems += [label + problem for problem in case.problems_after(second, case.old if back else case.new)]
        # What comes after a run that did not end well says nothing: the next case would begin in the midst of this one.
        assert second.exit_code == 0, "\n".join([*problems, second.output[-3000:]])
        if environment.read_text() != (old if back else new):
            problems.append(f"{label}.env is the wrong one")
        if inside and inside("cat state") != ("old" if back else "new"):
            problems.append(f"{label}the volume has the wrong content")
    environment.write_text(new)
    for kept in case.stack.directory.glob(".env.before-*"):
        kept.unlink()
    assert not problems, "\n".join(problems)


def test_restore_killed_after_each_step(server17: BackupStack, name: str, root: pathlib.Path) -> None:
    case = Replaced(server17, root, name)
    # With the steps that a large database has, where several sessions load.
    _restore_and_kill(case, lambda names: chosen(names, 4, *AROUND_THE_SWAP, "run psql"), split_bytes=0)


def test_restore_with_its_application_killed_after_each_step(shop: BackupStack, root: pathlib.Path) -> None:
    shop.sql(THINGS)
    try:
        with uploads(shop) as inside:
            inside("echo new >state")
            case = Replaced(shop, root, "mydb", volumes=["uploads"])

            def steps(names: t.Sequence[str]) -> list[int]:
                begin = max(number for number, step in enumerate(names, 1) if step.startswith("stop"))
                files = ("/.env", "/_data", "ALLOW_CONNECTIONS")
                around = [
                    number
                    for number, step in enumerate(names, 1)
                    if number >= begin and (step.startswith(("stop", "start")) or any(name in step for name in files))
                ]
                return list(range(1, len(names) + 1)) if ALL_STEPS else around

            _restore_and_kill(case, steps, inside, config=True, volumes=["uploads"])
            shop.restore(root, action="finalize", keep_old_hours=0)
    finally:
        shop.sql("DROP TABLE IF EXISTS things")


def test_taking_a_restore_back_killed_after_each_step(server17: BackupStack, name: str, root: pathlib.Path) -> None:
    """Killed right after the swap, and then again while the next run takes it back."""
    case = Replaced(server17, root, name)
    counted = server17.restore(root)
    good(counted)
    swapped = max(number for number, step in enumerate(counted.result["step_names"], 1) if "COMMIT" in step)
    case.age()
    assert killed(server17.restore(root, kill_after=swapped))
    back = server17.restore(root, action="rollback")
    good(back)
    names = back.result["step_names"]
    problems = []
    for number, step in enumerate(chosen(names, 1, "COMMIT", "DROP", "save rolled-back")):
        case.age()
        assert killed(server17.restore(root, kill_after=swapped))
        if not killed(server17.restore(root, action="rollback", kill_after=step)):
            continue
        settle(server17, root)
        label = f"after step {step} of {len(names)}, {names[step - 1]}: "
        problems += [label + problem for problem in case.problems_between()]
        again = number % 2 == 1 or not case.is_unfinished()
        second = server17.restore(root) if again else server17.restore(root, action="rollback")
        problems += [label + problem for problem in case.problems_after(second, case.new if again else case.old)]
    assert not problems, "\n".join(problems)


def test_rollback_killed_after_each_step(server17: BackupStack, name: str, root: pathlib.Path) -> None:
    """A rollback on demand keeps both databases, whenever it is killed."""
    case = Replaced(server17, root, name)
    good(server17.restore(root))
    counted = server17.restore(root, action="rollback")
    good(counted)
    names = counted.result["step_names"]
    problems = []
    for step in chosen(names, 2, "COMMIT", "save done"):
        drop_others = [one for one in own_databases(server17, name) if one != name]
        if len(drop_others) != 1:
            problems.append(f"before step {step}: {drop_others}")
        case.age()
        good(server17.restore(root))
        if not killed(server17.restore(root, action="rollback", kill_after=step)):
            continue
        settle(server17, root)
        label = f"after step {step} of {len(names)}, {names[step - 1]}: "
        problems += [label + problem for problem in case.problems_between()]
        # Again: it is taken back, so that the restored one is live, or, where it was done, it is rolled back itself.
        second = server17.restore(root, action="rollback")
        problems += [label + problem for problem in case.problems_after(second, rows_of(server17, name))]
        kept = [one for one in own_databases(server17, name) if one != name]
        if len(kept) != 1 or rows_of(server17, name) not in (case.old, case.new):
            problems.append(f"{label}{kept} are kept")
    drop_all(server17, name)
    server17.sql(f"CREATE DATABASE {name}", "postgres")
    server17.sql(THINGS, name)
    assert not problems, "\n".join(problems)
