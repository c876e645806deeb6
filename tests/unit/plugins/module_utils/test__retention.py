# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import datetime
import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._backup_store import LEVELS, StoredSet
from ansible_collections.stackops.runbook.plugins.module_utils._retention import Candidate, Plan, Policy, comparison, plan, suspicion
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = 1795435200.0  # 2026-11-23T12:00:00Z, a Monday
DAY = 86400.0


def aged(days: float, level: str = "decodable", **more: t.Any) -> Candidate:
    return Candidate(more.pop("id", f"d{days:g}"), NOW - days * DAY, level, **more)


def nightly(count: int, level: str = "decodable") -> list[Candidate]:
    return [aged(age, level) for age in range(count)]


def kept(result: Plan) -> list[str]:
    return sorted(result.keep, key=lambda name: float(name[1:]))


# Rules, one by one


def test_seven_days_and_the_first_set_beyond() -> None:
    result = plan(nightly(20), Policy(), NOW, NOW)
    assert kept(result) == [f"d{age}" for age in range(8)] and result.keep["d7"] == "the first set older than 7 days"
    assert result.delete == tuple(f"d{age}" for age in range(19, 7, -1)) and result.frozen == ""


def test_the_first_set_beyond_must_itself_be_one_to_rely_on() -> None:
    history = nightly(7) + [aged(7, "intact"), aged(8, "restorable", corrupt=True), aged(9, suspect=True), aged(10), aged(11)]
    result = plan(history, Policy(), NOW, NOW)
    assert result.delete == ("d11", "d9", "d7") and result.keep["d10"] == "the first set older than 7 days"
    assert result.keep["d8"].startswith("corrupt")
    only_suspect = plan(nightly(7) + [aged(9, suspect=True), aged(11, suspect=True)], Policy(), NOW, NOW)
    assert only_suspect.delete == ("d11",)


def test_eight_days_of_failures_cost_nothing() -> None:
    result = plan([aged(age) for age in range(9, 20)], Policy(), NOW, NOW)
    assert kept(result) == ["d9", "d10", "d11"] and result.keep["d10"] == "one of the newest 3 verified sets"
    failing = [aged(age, "written") for age in range(9)] + [aged(age) for age in range(9, 20)]
    assert {"d9", "d10", "d11"} <= set(plan(failing, Policy(), NOW, NOW).keep)
    corrupt = [aged(age, corrupt=True) for age in range(9)] + [aged(age) for age in range(9, 20)]
    assert "corrupt" in plan(corrupt, Policy(), NOW, NOW).frozen


def test_nothing_goes_without_any_verified_set() -> None:
    for history in (nightly(99, "intact"), [aged(age, corrupt=True) for age in range(99)], [aged(age, belongs=False) for age in range(99)], []):
        for force in (False, True):
            result = plan(history, Policy(min_verified=0, keep_days=0), NOW, NOW, force)
            assert result.delete == () and result.frozen == "there is no verified set" and len(result.keep) == len(history)


@pytest.mark.parametrize("policy", [Policy(keep_days=0, min_verified=0), Policy(keep_days=-5, min_verified=-5, keep_daily=-1)])
def test_never_everything(policy: Policy) -> None:
    assert kept(plan(nightly(5), policy, NOW + DAY, NOW)) == ["d0"]


def test_days_weeks_and_months_of_utc() -> None:
    policy = Policy(keep_days=2, keep_daily=4, keep_weekly=3, keep_monthly=3, min_verified=1)
    history = [aged(age / 2) for age in range(300)]
    result = plan(history, policy, NOW, NOW)
    times = {candidate.id: datetime.datetime.fromtimestamp(candidate.created_at or 0, datetime.timezone.utc) for candidate in history}
    assert [times[name].isoformat() for name in kept(result)[4:]] == [
        "2026-11-21T12:00:00+00:00",  # the first outside the window, and its day's last
        "2026-11-20T12:00:00+00:00",
        "2026-11-15T12:00:00+00:00",
        "2026-10-31T12:00:00+00:00",
        "2026-09-30T12:00:00+00:00",
    ]
    assert result.keep["d8"] == "the newest of week 2026-W46" and result.keep["d54"] == "the newest of month 2026-09"


def test_only_sets_to_rely_on_fill_a_day_s_place() -> None:
    history = [aged(0), aged(20, id="d20"), aged(20.1, suspect=True), aged(19.9, "intact"), aged(19.8, corrupt=True), aged(19, "intact"), aged(21)]
    result = plan(history, Policy(keep_daily=3, min_verified=1), NOW, NOW)
    assert result.keep["d20"] == "the first set older than 7 days" and result.keep["d21"] == "the newest of day 2026-11-02"
    assert result.delete == ("d20.1", "d19.9", "d19")


def test_marked_foreign_and_undated_sets_stay() -> None:
    history = nightly(9) + [aged(50, keep="before the move"), aged(60, belongs=False), Candidate("d70", None, "decodable"), aged(80)]
    result = plan(history, Policy(), NOW, NOW)
    assert result.delete == ("d80", "d8")
    assert (result.keep["d50"], result.keep["d60"]) == ("KEEP: before the move", "not known to be a set of this project")
    assert result.keep["d70"] == "its age is not known"


def test_a_foreign_set_does_not_count() -> None:
    result = plan([aged(age, belongs=False) for age in range(5)] + [aged(age) for age in range(10, 20)], Policy(), NOW, NOW)
    assert {"d10", "d11", "d12"} < set(result.keep) and len(result.delete) == 7
    assert plan([aged(0, belongs=False, suspect=True), *nightly(20)[1:]], Policy(), NOW, NOW).delete


def test_corrupt_sets_stay_for_thirty_days_or_the_window() -> None:
    history = [aged(0), *(aged(age, corrupt=True) for age in (29, 31, 61))]
    assert plan(history, Policy(), NOW, NOW).delete == ("d61", "d31")
    assert plan(history, Policy(keep_days=60), NOW, NOW).delete == ("d61",)


def test_what_freezes_and_what_force_overrides() -> None:
    suspect = [aged(0, id="new", suspect=True), *nightly(20)]
    corrupt = [aged(-0.001, id="new", corrupt=True), *nightly(20)]
    for history, now, high_water, reason in (
        (suspect, NOW, NOW, "looks as if data had been lost"),
        (corrupt, NOW + 100, NOW, "is corrupt"),
        (nightly(20), NOW - 1, NOW, "before the newest set"),
        (nightly(20), NOW, NOW - 31 * DAY, "30 days after the last run"),
        (nightly(20), NOW + 400 * DAY, NOW, "30 days after the last run"),
    ):
        frozen = plan(history, Policy(), now, high_water)
        assert reason in frozen.frozen and frozen.delete == () and set(frozen.keep) == {candidate.id for candidate in history}
        forced = plan(history, Policy(), now, high_water, force=True)
        assert forced.delete and not forced.frozen
    assert plan(nightly(20), Policy(), NOW, None).delete and plan(nightly(20), Policy(), NOW, NOW - 30 * DAY).delete


def test_forced_by_a_clock_in_the_future_three_sets_stay() -> None:
    result = plan(nightly(20), Policy(), NOW + 400 * DAY, NOW, force=True)
    assert kept(result) == ["d0", "d1", "d2"]


def test_a_candidate_is_made_of_a_stored_set() -> None:
    stored = StoredSet("x", "/x", {}, "found corrupt", 5.0, "intact", True, "why", 3, True)
    assert Candidate.of(stored) == Candidate("x", 5.0, "intact", True, True, "why", True)


# Any history


rarely = st.integers(0, 7).map(lambda dice: dice == 0)
histories = st.lists(
    st.builds(
        Candidate,
        id=st.just(""),
        created_at=st.none() | st.integers(-72, 120 * 24).map(lambda hours: NOW - hours * 3600.0) | st.floats(-3, 120).map(lambda days: NOW - days * DAY),
        level=st.sampled_from(LEVELS),
        suspect=rarely,
        corrupt=rarely,
        keep=st.sampled_from([None] * 9 + ["", "why"]),
        belongs=rarely.map(lambda foreign: not foreign),
    ),
    max_size=25,
).map(lambda found: [dataclasses.replace(candidate, id=f"s{number}") for number, candidate in enumerate(found)])
policies = st.builds(
    Policy,
    keep_days=st.integers(-1, 40) | st.floats(0, 40),
    keep_daily=st.integers(-1, 10),
    keep_weekly=st.integers(0, 6),
    keep_monthly=st.integers(0, 6),
    min_verified=st.integers(-1, 6),
)


@settings(max_examples=400, deadline=None)
@given(histories, policies, st.floats(-50, 500), st.none() | st.floats(-60, 60), st.booleans(), st.randoms())
def test_what_holds_for_any_history(history: list[Candidate], policy: Policy, days: float, noted: t.Optional[float], force: bool, random: t.Any) -> None:
    now, high_water = NOW + days * DAY, None if noted is None else NOW + noted * DAY
    result = plan(history, policy, now, high_water, force)
    gone = [candidate for candidate in history if candidate.id in result.delete]
    stays = [candidate for candidate in history if candidate.id in result.keep]
    # Every set is in one place, with a reason to stay.
    assert len(gone) + len(stays) == len(history) and len(gone) == len(result.delete) and all(result.keep.values())
    # Nothing that is not ours, is marked or has no age; nothing young; nothing corrupt for thirty days.
    for candidate in gone:
        assert candidate.belongs and candidate.keep is None and candidate.created_at is not None
        assert now - candidate.created_at >= max(0.0, policy.keep_days) * DAY
        assert not candidate.corrupt or now - candidate.created_at >= 30 * DAY
    own = [candidate for candidate in history if candidate.belongs and candidate.created_at is not None]
    verified = [candidate for candidate in own if candidate.verified]
    if gone:
        # As many verified sets as there were, or as there must be; and the newest that is not suspect.
        assert sum(candidate.verified and candidate.belongs for candidate in stays) >= min(len(verified), max(1, policy.min_verified))
        trusted = [candidate for candidate in verified if not candidate.suspect]
        assert not trusted or max(trusted, key=lambda candidate: (candidate.created_at or 0, candidate.id)).id in result.keep
        # Every moment of the window that could be restored still can be.
        begin = now - max(0.0, policy.keep_days) * DAY
        assert not any((candidate.created_at or 0) <= begin for candidate in trusted) or any(
            (candidate.created_at or 0) <= begin for candidate in stays if candidate in trusted
        )
    # Frozen, nothing goes; and what freezes does.
    assert not (result.frozen and gone)
    if own and not force:
        newest = max(own, key=lambda candidate: (candidate.created_at or 0, candidate.id))
        if newest.suspect or newest.corrupt or now < (newest.created_at or 0) or (high_water is not None and now > high_water + 30 * DAY):
            assert result.frozen and not gone
    # The order in which they are handed over does not matter, and a second run finds nothing to do.
    shuffled = list(history)
    random.shuffle(shuffled)
    assert plan(shuffled, policy, now, high_water, force).delete == result.delete
    again = plan(stays, policy, now, high_water, force)
    assert again.delete == () and (bool(result.frozen) or set(again.keep) == set(result.keep))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0.2, 3), st.sampled_from(["decodable"] * 6 + ["written", "corrupt", "suspect", "fails"])), max_size=90), policies)
def test_living_through_nights_always_leaves_something_to_restore(nights: list[tuple[float, str]], policy: Policy) -> None:
    now, high_water, alive = NOW, NOW, [Candidate("first", NOW, "decodable")]
    ever = 1
    for number, (days, what) in enumerate(nights):
        now += days * DAY
        if what != "fails":
            level = what if what in LEVELS else "decodable"
            alive.append(Candidate(f"n{number}", now, level, what == "suspect", what == "corrupt"))
            ever += what == "decodable"
        result = plan(alive, policy, now, high_water)
        alive = [candidate for candidate in alive if candidate.id in result.keep]
        high_water = now
        trusted = [candidate for candidate in alive if candidate.verified and not candidate.suspect]
        assert len(trusted) >= min(ever, max(1, policy.min_verified))
        begin = now - max(0.0, policy.keep_days) * DAY
        assert begin < NOW or any((candidate.created_at or 0) <= begin for candidate in trusted)


# Suspicion


def manifest(size: t.Optional[int] = None, **databases: t.Sequence[t.Optional[int]]) -> dict[str, t.Any]:
    files = (
        [] if size is None else [{"path": "databases/db/app/1.dat", "bytes": size, "kind": "database"}, {"path": "logs.tar.gz", "bytes": 10**9, "kind": "logs"}]
    )
    listed = [{"service": "db", "name": name, "tables": [{"rows": rows} for rows in tables]} for name, tables in databases.items()]
    return {"set_id": "20261123T120000Z-7f3a", "databases": listed, "files": files}


def test_an_emptied_database_is_suspect_however_small() -> None:
    assert suspicion(manifest(app=[5]), manifest(app=[0])) == (True, ["database app of db has 0 rows, 5 before"])
    assert suspicion(manifest(app=[5, 5]), manifest(app=[])) == (
        True,
        ["no database has any table", "database app of db has no tables, 2 before", "database app of db has 0 rows, 10 before"],
    )
    assert suspicion(manifest(app=[5], big=[10**6]), manifest(app=[0], big=[10**6]))[0]
    assert suspicion(None, manifest(app=[])) == (True, ["no database has any table"])


def test_a_database_that_is_gone_is_suspect() -> None:
    assert suspicion(manifest(app=[5], other=[1]), manifest(app=[5])) == (True, ["database other of db is not in this set"])
    assert suspicion(manifest(app=[5], other=[]), manifest(app=[5])) == (False, [])
    assert suspicion(manifest(app=[5]), manifest(app=[5], other=[])) == (False, [])


def test_rows_tables_and_bytes_that_shrink() -> None:
    assert suspicion(manifest(app=[1000]), manifest(app=[499]))[0] and not suspicion(manifest(app=[1000]), manifest(app=[500]))[0]
    assert suspicion(manifest(app=[1] * 4), manifest(app=[4])) == (True, ["database app of db has 1 tables, 4 before"])
    assert suspicion(manifest(2**21, app=[1]), manifest(2**20 - 1, app=[1])) == (True, ["the dumps have 1048575 bytes, 2097152 before"])
    assert suspicion(manifest(1000), manifest(100), shrink_ratio=0.05) == (False, [])
    assert suspicion(manifest(app=[1000]), manifest(app=[850]), shrink_ratio=0.9)[0]


def test_a_tiny_stack_does_not_flap() -> None:
    assert suspicion(manifest(5000, app=[50, 3]), manifest(900, app=[10, 3])) == (False, [])
    assert suspicion(manifest(app=[1, 1, 1]), manifest(app=[1])) == (False, [])
    assert suspicion(manifest(app=[0]), manifest(app=[0])) == (False, [])


def test_what_was_not_counted_is_not_compared() -> None:
    assert suspicion(manifest(2**30, app=[5000, None]), manifest(app=[0, 0])) == (False, [])
    assert suspicion(manifest(app=[5000]), manifest(app=[None])) == (False, [])
    assert suspicion({}, {}) == (False, []) and suspicion(manifest(app=[1]), {})[0]


def test_shrinking_that_is_allowed_is_still_told() -> None:
    suspect, reasons = suspicion(manifest(app=[5]), manifest(app=[0]), allow_shrink=True)
    assert not suspect and reasons == ["database app of db has 0 rows, 5 before"]


def test_the_comparison_for_the_manifest() -> None:
    assert comparison(manifest(4 * 2**20, app=[2000]), manifest(2**20, app=[500])) == {
        "previous_set_id": "20261123T120000Z-7f3a",
        "rows_ratio": 0.25,
        "bytes_ratio": 0.25,
        "suspect": True,
        "reasons": ["database app of db has 500 rows, 2000 before", "the dumps have 1048576 bytes, 4194304 before"],
    }
    first = comparison(None, manifest(app=[1]))
    assert first == {"previous_set_id": None, "rows_ratio": None, "bytes_ratio": None, "suspect": False, "reasons": []}


counts = st.lists(st.integers(0, 10**6) | st.none(), max_size=6)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), counts), st.integers(0, 2**40), st.floats(1, 10))
def test_a_set_that_only_grows_is_never_suspect(databases: dict[str, list[t.Optional[int]]], size: int, growth: float) -> None:
    before = manifest(size, **databases)
    grown = manifest(
        int(size * growth), **{name: [None if rows is None else int(rows * growth) for rows in tables] + [1] for name, tables in databases.items()}
    )
    assert suspicion(before, grown) == (False, [])
    assert suspicion(before, before)[1] in ([], ["no database has any table"])
