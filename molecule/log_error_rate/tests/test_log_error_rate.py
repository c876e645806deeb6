# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module said against a naive reading of the same files."""

from __future__ import annotations

import collections
import datetime
import json
import re

import pytest


@pytest.fixture(scope="module")
def results(host):
    """Return the module's three results."""
    return json.loads(host.file("/var/tmp/log_error_rate.json").content_string)


@pytest.fixture(scope="module")
def sources(results):
    """Return the logs of the directory, by the name of the file."""
    return {entry["name"].rpartition("/")[2]: entry for entry in results["directory"]["sources"]}


@pytest.fixture(scope="module")
def records(host, results):
    """Return the records of the window, read the naive way from the log and its rotated file."""
    text = host.check_output("zcat /srv/logs/app.log.1.gz; cat /srv/logs/app.log")
    start, end = (datetime.datetime.fromisoformat(results["directory"][name].replace("Z", "+00:00")) for name in ("window_start", "window_end"))
    parsed = [json.loads(line) for line in text.splitlines()]
    return [record for record in parsed if start <= datetime.datetime.fromisoformat(record["timestamp"]) < end]


def test_counts_are_those_of_a_naive_reading(sources, records):
    errors = [record for record in records if record["level"] == "error"]
    assert len(errors) > 20
    assert (sources["app.log"]["lines"], sources["app.log"]["errors"]) == (len(records), len(errors))
    assert sources["app.log"]["error_percent"] == pytest.approx(100 * len(errors) / len(records), abs=0.01)


def test_minutes_are_those_of_a_naive_reading(sources, records):
    naive = collections.Counter(record["timestamp"][:16] for record in records if record["level"] == "error")
    assert {entry["minute"][:16]: entry["errors"] for entry in sources["app.log"]["histogram"] if entry["errors"]} == naive


def test_groups_are_shapes_and_what_is_new_is_marked(sources, records):
    naive = collections.Counter(re.sub(r"\d+", "#", record["message"]) for record in records if record["level"] == "error")
    groups = {entry["sample"].split()[0]: entry for entry in sources["app.log"]["groups"]}
    assert {word: entry["count"] for word, entry in groups.items()} == {message.split()[0]: count for message, count in naive.items()}
    assert (groups["warehouse"]["is_new"], groups["order"]["is_new"]) == (True, False)


def test_a_traceback_belongs_to_its_record(host, sources):
    worker = sources["worker.log"]
    assert worker["errors"] == int(host.check_output("grep -c ' ERROR ' /srv/logs/worker.log"))
    assert worker["lines"] == int(host.check_output("grep -cE ' (INFO|ERROR) ' /srv/logs/worker.log"))


def test_what_is_no_log_is_unknown_and_never_free_of_errors(sources):
    assert (sources["noise.log"]["status"], sources["noise.log"]["reason"]) == ("unknown", "binary")


def test_a_second_run_counts_nothing_twice(results):
    (app,) = results["since"]["sources"]
    assert (app["lines"], app["errors"]) == (0, 0)


def test_the_state_is_for_root_alone(host):
    assert host.file("/var/tmp/log_error_rate.state").mode == 0o600


def test_logs_of_the_projects_are_found(host, results):
    names = {entry["name"] for entry in results["projects"]["sources"]}
    running = set(host.check_output("docker ps --format '{{.Names}}'").splitlines())
    assert {f"container:{name}" for name in running} <= names
    mounted = host.check_output("docker inspect shop-backend-1 --format '{{range .Mounts}}{{if eq .Destination \"/app/logs\"}}{{.Source}}{{end}}{{end}}'")
    assert f"{mounted}/app.log" in names


def test_nothing_was_changed(results):
    assert [results[name]["changed"] for name in ("directory", "since", "projects")] == [False, False, False]
