# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measuring how right ``diagnose`` is: bring a stack to healthy, change it, run the playbook, compare, take it back, again.

A host of the test bed serves for all cases of its stack. Between two cases its containers are removed, and it is
started anew from the files as they were rendered and the data as they were at first, so that no case sees anything of the one before.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import queue
import random
import shutil
import subprocess
import sys
import threading
import time
import typing as t

from testbedlib import hosts, images
from testbedlib.console import CommandFailed, run, say, succeeds

from . import accuracy_table, cases, recordings, score
from .changes import Change
from .faults import FAULTS, Fault
from .profiles import DIRECTORY, PROFILES, Profile
from .stack import RunningStack

ROOT = pathlib.Path(__file__).resolve().parents[3]
BIN = ROOT / ".venv" / "bin"
CACHE = ROOT / ".cache" / "accuracy"
PRISTINE = "/srv/pristine"
SNAPSHOT = "/srv/snapshot"
#: How long one diagnosis may take before it counts as a crash.
DIAGNOSE_SECONDS = 180
UP_SECONDS = 180
LOAD_SECONDS = 300
START_ATTEMPTS = 3

COLLECTOR = "/usr/local/lib/stackops-accuracy"
_COLLECT = """import json, sys
from module_utils._stack_facts import FactsOptions, collect_facts
print(json.dumps(collect_facts(FactsOptions(timeout_seconds=float(sys.argv[1])))))
"""
_WELL = """
until [ "$(docker ps --quiet --filter label=com.docker.compose.project="$1" --filter health=healthy | wc -l)" -ge "$2" ]; do sleep 0.7; done
"""
_NO_VOLUMES = """
volumes=$(docker volume ls --quiet); [ -z "$volumes" ] || docker volume rm $volumes > /dev/null
"""
_CLEAR = """
ids=$(docker ps --all --quiet); [ -z "$ids" ] || docker rm --force --volumes $ids > /dev/null
rm -rf {directory} && cp -a {pristine} {directory}
"""

Record = dict[str, t.Any]


class Lab:
    """One host with one stack, for case after case."""

    def __init__(self, profile: Profile, number: int, direct: bool = False) -> None:
        self.profile = profile
        self._direct = direct
        self.host = profile.host(number)
        self.stack = RunningStack(DIRECTORY, profile.project, profile.backend, profile.database, self.host)
        self._reports = CACHE / "reports" / profile.name
        self._inventories: dict[str, pathlib.Path] = {}
        self._snapshot_taken = False

    # -- the stack ------------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Start the host and put the rendered stack on it."""
        # One that is up may be left over from a run that was cut short, with a fault in it.
        hosts.down([self.host])
        hosts.up([self.host], self.profile.host_image)
        rendered = CACHE / "rendered" / self.host
        shutil.rmtree(rendered, ignore_errors=True)
        self.profile.write(rendered)
        for name in self.profile.images:
            _load(images.CATALOGUE[name].reference, self.host)
        self._on_host("rm", "-rf", PRISTINE)
        run(["docker", "cp", str(rendered), f"{self.host}:{PRISTINE}"])
        if self._direct:
            self._on_host("mkdir", "-p", COLLECTOR)
            run(["docker", "cp", str(ROOT / "plugins/module_utils"), f"{self.host}:{COLLECTOR}"])
            run(["docker", "exec", "--interactive", self.host, "tee", f"{COLLECTOR}/collect.py"], stdin=_COLLECT.encode())
        for user in hosts.USERS:
            path = CACHE / f"{self.host}-{user}.yml"
            path.write_text(hosts.inventory([self.host], user), "utf-8")
            self._inventories[user] = path

    def renew(self) -> None:
        """Start the stack anew, as if nothing had ever happened: its files as rendered, its data as it was when it was first well."""
        self._on_host("sh", "-ec", _CLEAR.format(directory=DIRECTORY, pristine=PRISTINE))
        if not self._snapshot_taken:
            self._on_host("sh", "-ec", _NO_VOLUMES)
            self._start()
            self.stack.compose("stop")
            self._on_host("sh", "-ec", f"rm -rf {SNAPSHOT} && cp -a {self._volume()} {SNAPSHOT}")
            self._snapshot_taken = True
            self._on_host("sh", "-ec", _CLEAR.format(directory=DIRECTORY, pristine=PRISTINE))
        volume = self._volume()
        self.stack.compose("create")
        self._on_host("sh", "-ec", f"find {volume} -mindepth 1 -delete && cp -a {SNAPSHOT}/. {volume}")
        self._start()

    def _volume(self) -> str:
        return f"/var/lib/docker/volumes/{self.profile.project}_database-data/_data"

    def _start(self) -> None:
        # On a busy machine a service may miss its first health checks, and Compose gives up on those that wait for it.
        for number in range(START_ATTEMPTS):
            try:
                self.stack.compose("up", "--detach")
                break
            except CommandFailed:
                if number == START_ATTEMPTS - 1:
                    raise
        # One process on the host that looks now and then, and not many from here: others measure on this machine, too.
        self._on_host("timeout", str(UP_SECONDS), "sh", "-c", _WELL, "well", self.stack.project, str(len(self.profile.checked)))

    def _on_host(self, *argv: str) -> None:
        run(["docker", "exec", self.host, *argv], UP_SECONDS + 10)

    # -- one case -------------------------------------------------------------------------------------------------

    def measure(self, case: cases.Case) -> Record:
        """Return the record of one case. What goes wrong with injecting is raised: it says nothing about the diagnosis."""
        began = time.monotonic()
        self.renew()
        ready = time.monotonic()
        fault, changes = FAULTS[case.fault](case.value) if case.fault else None, [Change(data, self.stack, self.profile.calls) for data in case.changes]
        try:
            if fault is not None:
                self._inject(case.fault, fault)
            for change in changes:
                change.make()
            injected = time.monotonic()
            row, crash, seconds = self._diagnose_directly(case) if self._direct else self.diagnose(case)
        finally:
            self._undo(fault, changes)
        record = self.record(case, row, crash)
        record["seconds"] = {
            "renew": round(ready - began, 1), "inject": round(injected - ready, 1), "diagnose": round(seconds, 2), "all": round(time.monotonic() - began, 1),
        }  # fmt: skip
        return record

    def _inject(self, name: str, fault: Fault) -> None:
        changes = fault.variables(self.stack)
        present = self.stack.variables()
        self.stack.remember({name: {key: present[key] for key in changes}})
        if changes:
            self.stack.set_variables(changes)
        fault.inject(self.stack)
        self.stack.wait_until(lambda: fault.shows(self.stack), f"{name} shows")

    def _undo(self, fault: t.Optional[Fault], changes: t.Sequence[Change]) -> None:
        if fault is not None:
            self._quietly(lambda: fault.repair(self.stack))
        for change in reversed(changes):
            change.stop()
            self._quietly(change.undo)

    @staticmethod
    def _quietly(action: t.Callable[[], None]) -> None:
        """Undo what can be: the stack is thrown away anyway, and what counts is that the next one becomes well."""
        try:
            action()
        except CommandFailed as error:
            say(f"    undo: {str(error).splitlines()[-1]}")

    def record(self, case: cases.Case, row: t.Mapping[str, t.Any], crash: str) -> Record:
        """Return what is kept of one diagnosis."""
        verdict = score.judged(case, row, crash)
        load = ((row.get("facts") or {}).get("host") or {}).get("load_per_cpu")
        return {
            "name": case.name,
            "kind": case.kind,
            "group": case.group,
            **dataclasses.asdict(verdict),
            "load_per_cpu": load,
            "direct": self._direct,
            "again": False,
        }

    def diagnose(self, case: cases.Case) -> tuple[dict[str, t.Any], str, float]:
        """Run the playbook and return the host's row, why it crashed where it did, and how long it took."""
        reports = self._reports / case.name
        shutil.rmtree(reports, ignore_errors=True)
        variables = {"diagnose_report_dir": str(reports), "diagnose_disabled_rules": list(recordings.disabled_rules(case)), **case.diagnose}
        argv = [str(BIN / "ansible-playbook"), "-i", str(self._inventories[case.user]), "playbooks/diagnose.yml", "-e", json.dumps(variables)]
        env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        began = time.monotonic()
        try:
            done = subprocess.run(
                argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=DIAGNOSE_SECONDS, check=False, stdin=subprocess.DEVNULL
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return {}, f"no end after {DIAGNOSE_SECONDS} s", DIAGNOSE_SECONDS
        seconds = time.monotonic() - began
        printed = done.stdout + done.stderr
        reports.mkdir(parents=True, exist_ok=True)
        (reports / "output.txt").write_text(printed, "utf-8")
        path = reports / "latest" / "report.json"
        if not path.exists():
            return {}, f"no report, exit code {done.returncode}: {printed[-300:]}", seconds
        row = json.loads(path.read_bytes())["hosts"][self.host]
        crash = f"exit code {done.returncode}" if done.returncode else "a traceback on the terminal" if "Traceback (most recent" in printed else ""
        return row, crash, seconds

    def _diagnose_directly(self, case: cases.Case) -> tuple[dict[str, t.Any], str, float]:
        """Run what the playbook runs, the collectors on the host and the rules here, without Ansible between them."""
        reports = self._reports / case.name / "latest"
        shutil.rmtree(reports.parent, ignore_errors=True)
        began = time.monotonic()
        limit = str(case.diagnose.get("diagnose_timeout_seconds", 60))
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        try:
            collected = run(["docker", "exec", "--user", case.user, self.host, "python3", f"{COLLECTOR}/collect.py", limit], DIAGNOSE_SECONDS)
            found = json.loads(collected.stdout)
            row = recordings.Recording(case.name, now, {**found["host"], "name": self.host}, found["facts"]).row(case)
        except (CommandFailed, ValueError) as error:
            return {}, str(error)[-300:], time.monotonic() - began
        seconds = time.monotonic() - began
        reports.mkdir(parents=True)
        (reports / "report.json").write_text(json.dumps({"generated_at": now, "hosts": {self.host: row}}), "utf-8")
        return row, "", seconds

    # -- judging again --------------------------------------------------------------------------------------------

    def judge_again(self, case: cases.Case, record: Record) -> Record:
        """Return the record of a case that was measured before, with the facts kept from then and the rules of now."""
        recording = self.recording(case.name)
        if recording is None:
            return record
        kept = {key: record[key] for key in ("seconds", "direct", "missed_before") if key in record}
        return {**self.record(case, recording.row(case), ""), **kept, "again": True}

    def recording(self, case: str) -> t.Optional[recordings.Recording]:
        """Return what the last diagnosis of *case* was made from."""
        latest = self._reports / case / "latest" / "report.json"
        return recordings.Recording.of_report(case, json.loads(latest.read_bytes())) if latest.exists() else None


def _load(reference: str, host: str) -> None:
    """Give the engine of *host* an image that its seed does not hold."""
    if succeeds(["docker", "exec", host, "docker", "image", "inspect", reference], 30):
        return
    with subprocess.Popen(["docker", "save", reference], stdout=subprocess.PIPE) as save:
        run(["docker", "exec", "--interactive", host, "docker", "load"], LOAD_SECONDS, stdin=save.stdout)


# -- the run ------------------------------------------------------------------------------------------------------------


class Results:
    """The records of one stack, written after each case, so that a run that was cut short can go on."""

    def __init__(self, profile: Profile) -> None:
        self._path = CACHE / f"{profile.name}.json"
        self._lock = threading.Lock()
        self.records: dict[str, Record] = json.loads(self._path.read_text("utf-8")) if self._path.exists() else {}

    def keep(self, record: Record) -> None:
        """Keep one record."""
        with self._lock:
            self.records[record["name"]] = record
            CACHE.mkdir(parents=True, exist_ok=True)
            temporary = self._path.with_suffix(".new")
            temporary.write_text(json.dumps(self.records, indent=1), "utf-8")
            temporary.replace(self._path)


def _measure(lab: Lab, case: cases.Case) -> t.Optional[Record]:
    """Measure one case, a second time where injecting failed; ``None`` where it failed again: that says nothing about the diagnosis."""
    for dummy in (1, 2):
        try:
            return lab.measure(case)
        except CommandFailed as error:
            say(f"    {lab.profile.name}/{case.name}: could not be injected: {error}")
    return None


def told(record: Record) -> str:
    """Return the line for one record."""
    good = record["first_right"] and record["folded"] and not record["wrong_causes"] and not record["crash"]
    seconds = record["seconds"]
    text = f"{'ok  ' if good else 'MISS'} {record['name']:34} {seconds['diagnose']:5.1f} s of {seconds['all']:5.1f} s"
    if not good:
        details = {key: record[key] for key in ("crash", "wrong_causes", "not_folded") if record[key]}
        text += f"  first_right={record['first_right']} causes={list(record['causes'])} {details}"
    return text


def _work_off(lab: Lab, waiting: queue.SimpleQueue[cases.Case], results: Results, deadline: float, looks: int, resumed: bool) -> None:
    """Measure what is waiting, case after case, on one host; what is missed, up to *looks* times. Where it is *resumed*, what was missed before stays known."""
    lab.up()
    while time.monotonic() < deadline:
        try:
            case = waiting.get_nowait()
        except queue.Empty:
            return
        for dummy in range(looks):
            record = _measure(lab, case)
            if record is None:
                say(f"{lab.profile.name}: NONE {case.name}: could not be injected")
                break
            earlier = results.records.get(case.name) if resumed else None
            record["missed_before"] = earlier is not None and (earlier.get("missed_before", False) or not _is_good(earlier))
            results.keep(record)
            say(f"{lab.profile.name}: {told(record)}")
            if _is_good(record):
                break
    say(f"{lab.profile.name}: out of time")


def _wanted(profile: Profile, options: argparse.Namespace) -> list[cases.Case]:
    chosen = profile.cases()
    if options.spread:
        chosen = [case for case in chosen if case.spread]
    if options.case:
        chosen = [case for case in chosen if case.name in options.case]
    if options.group:
        chosen = [case for case in chosen if case.group in options.group or case.kind in options.group]
    if options.resume:
        records = Results(profile).records
        chosen = [case for case in chosen if case.name not in records or (options.missed and not _is_good(records[case.name]))]
    if not options.list:
        # A run that is cut short is a fair sample.
        random.Random(6).shuffle(chosen)
    return chosen


def _is_good(record: Record) -> bool:
    return told(record).startswith("ok")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="accuracy", description="Measure how right diagnose is, on real containers with real faults.")
    parser.add_argument("--stack", action="append", choices=sorted(PROFILES), help="only this stack; may be given again")
    parser.add_argument("--case", action="append", metavar="NAME", help="only this case; may be given again")
    parser.add_argument("--group", action="append", metavar="NAME", help="only this group, or kind: fault, chain, combined, healthy")
    parser.add_argument("--spread", action="store_true", help="only a few of every kind, for continuous integration; what is missed is looked at twice")
    parser.add_argument("--resume", action="store_true", help="go on with what has no result yet")
    parser.add_argument("--missed", action="store_true", help="with --resume: what had a wrong result as well")
    parser.add_argument("--again", action="store_true", help="judge the facts of the last run with the rules of now; touch no host")
    parser.add_argument("--list", action="store_true", help="list the cases")
    parser.add_argument("--write", type=pathlib.Path, metavar="FILE", help="write the table of all results to this Markdown file, and the results beside it")
    parser.add_argument("--record", action="store_true", help="keep what was collected in every case, for the unit tests of the rules")
    parser.add_argument("--minutes", type=float, default=75, help="begin no case after so long; default: 75")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="use so many hosts for each stack; default: 1")
    parser.add_argument("--direct", action="store_true", help="collect and judge without ansible-playbook between them, which takes a third of the time")
    parser.add_argument("--keep", action="store_true", help="leave the hosts up")
    return parser


def main(argv: t.Optional[t.Sequence[str]] = None) -> int:
    """Run the command line and return its exit code: 1 where a bar is missed."""
    options = _parser().parse_args(argv)
    profiles = [PROFILES[name] for name in options.stack or PROFILES]
    wanted = {profile.name: _wanted(profile, options) for profile in profiles}
    if options.list:
        for profile in profiles:
            sys.stdout.writelines(f"{profile.name:8} {case.kind:9} {case.group:14} {case.name:36} {case.cause}\n" for case in wanted[profile.name])
        return 0
    if options.again:
        _judge_again(profiles, wanted)
    elif not _measure_all(profiles, wanted, options):
        return 1
    if options.record:
        for profile in profiles:
            _record(profile)
    return _conclude(profiles, wanted, options)


def _record(profile: Profile) -> None:
    """Keep what was collected in the cases of *profile*; a case that was not measured keeps what there is of it."""
    lab, names = Lab(profile, 1), [case.name for case in profile.cases()]
    kept = recordings.load(profile.name)
    found = [lab.recording(name) or kept.get(name) for name in names]
    recordings.write(profile.name, [one for one in found if one is not None])


def _judge_again(profiles: t.Sequence[Profile], wanted: t.Mapping[str, t.Sequence[cases.Case]]) -> None:
    for profile in profiles:
        results, lab = Results(profile), Lab(profile, 1)
        for case in wanted[profile.name]:
            before = results.records.get(case.name)
            if before is None:
                continue
            record = lab.judge_again(case, before)
            results.keep(record)
            if not _is_good(record) or not _is_good(before):
                say(f"{profile.name}: {told(record)}")


def _measure_all(profiles: t.Sequence[Profile], wanted: t.Mapping[str, t.Sequence[cases.Case]], options: argparse.Namespace) -> bool:
    """Measure on all hosts at the same time; return whether nothing broke."""
    images.ensure(tuple(dict.fromkeys(("base:trixie", *images.DEFAULT, *(name for profile in profiles for name in profile.images)))))
    CACHE.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 60 * options.minutes
    # What a spread is for is to notice a rule that broke: a machine that was busy for a moment is no reason to stop a release.
    looks = 2 if options.spread else 1
    failures: list[str] = []
    threads = []

    def work(lab: Lab, waiting: queue.SimpleQueue[cases.Case], results: Results) -> None:
        try:
            _work_off(lab, waiting, results, deadline, looks, options.resume)
        except CommandFailed as error:
            failures.append(f"{lab.host}: {error}")

    for profile in profiles:
        waiting: queue.SimpleQueue[cases.Case] = queue.SimpleQueue()
        for case in wanted[profile.name]:
            waiting.put(case)
        results = Results(profile)
        for number in range(1, 1 + min(options.jobs, len(wanted[profile.name]))):
            threads.append(threading.Thread(target=work, args=(Lab(profile, number, options.direct), waiting, results), daemon=True))
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        if not options.keep:
            hosts.down([profile.host(number) for profile in profiles for number in range(1, 1 + options.jobs)])
    for failure in failures:
        say(f"accuracy: {failure}")
    return not failures


def _conclude(profiles: t.Sequence[Profile], wanted: t.Mapping[str, t.Sequence[cases.Case]], options: argparse.Namespace) -> int:
    """Print the tables of what was wanted, write those of all there is, and say which bars are missed; a spread is not about time."""
    missed: list[str] = []
    measured: list[Record] = []
    for profile in profiles:
        names = {case.name for case in wanted[profile.name]}
        records = [record for name, record in Results(profile).records.items() if name in names]
        measured += records
        sys.stdout.write(f"\n{profile.title}\n\n{accuracy_table.table(records)}\n")
        missed += [f"{profile.name}: {line}" for line in score.missed_bars(records, timed=not options.spread)]
        missed += [f"{profile.name}: {name} was not measured" for name in sorted(names - {record["name"] for record in records})]
    sys.stdout.writelines(f"missed: {line}\n" for line in missed)
    if options.spread:
        right = sum(_is_good(record) for record in measured)
        sys.stdout.write(f"{right} passed, {sum(map(len, wanted.values())) - right} failed\n")
    if options.write:
        stacks = []
        for profile in PROFILES.values():
            kept = Results(profile).records
            stacks.append((profile.title, [(case, kept.get(case.name)) for case in profile.cases()]))
        accuracy_table.write(options.write, stacks)
    return 1 if missed else 0
