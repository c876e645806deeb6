# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real stacks on this machine's engine, one for all tests that can share it."""

from __future__ import annotations

import pathlib
import shutil
import tempfile
import typing as t

import pytest

from tests.support.backup_stack import PORT, PREFIX, BackupStack


def _running(stack: BackupStack) -> t.Iterator[BackupStack]:
    try:
        stack.up()
        # What restores have to look at: transactions in two phases, and logical slots.
        stack.sql("ALTER SYSTEM SET max_prepared_transactions = 5")
        stack.sql("ALTER SYSTEM SET wal_level = logical")
        stack.running().compose("restart", "postgres")
        stack.wait_until_well()
        yield stack
    finally:
        stack.down()


@pytest.fixture(scope="session")
def shop() -> t.Iterator[BackupStack]:
    """PostgreSQL 17 with its application."""
    yield from _running(BackupStack(f"{PREFIX}-shop", "17", PORT + 1))


@pytest.fixture(scope="session")
def server17() -> t.Iterator[BackupStack]:
    """PostgreSQL 17 alone: nothing to stop and start."""
    yield from _running(BackupStack(f"{PREFIX}-17", "17", PORT + 2, services=("postgres",)))


@pytest.fixture(scope="session")
def server15() -> t.Iterator[BackupStack]:
    """PostgreSQL 15 alone."""
    yield from _running(BackupStack(f"{PREFIX}-15", "15", PORT + 3, services=("postgres",)))


@pytest.fixture(scope="session")
def session_root() -> t.Iterator[pathlib.Path]:
    """A directory for roots of backups that no other may write to."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="vault-roots-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def root(session_root: pathlib.Path) -> pathlib.Path:
    """A root of backups, not made yet."""
    return pathlib.Path(tempfile.mkdtemp(dir=session_root)) / "backups"


@pytest.fixture(scope="module")
def module_root(session_root: pathlib.Path) -> pathlib.Path:
    """A root of backups for all tests of a file."""
    return pathlib.Path(tempfile.mkdtemp(dir=session_root)) / "backups"
