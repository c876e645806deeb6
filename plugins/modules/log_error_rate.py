#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: log_error_rate
short_description: Count the errors in logs, group them, and tell which are new
version_added: 1.0.0
description:
  - Counts the records and the errors of a window of time in log files, in the logs of containers and in the journal, by the
    minute. Errors are grouped by the shape of their message, and those that were not there in the window before are marked.
  - The format is found by looking. Known are JSON (structlog, python-json-logger, loguru, ECS and others), logfmt, the text of
    Python's standard library, of loguru, uvicorn, gunicorn, nginx, PostgreSQL and redis, access logs in combined format, and any
    of them as Docker's logging driver C(json-file) keeps it, in split lines as well.
  - The begin of the window is searched in the file, so that the last hour of a large log takes no longer than that of a small
    one. Rotated files (C(.1), C(.gz), C(.bz2), C(.xz), and C(.zst) where C(zstd) is installed) are read as far as the window goes.
  - A log that cannot be read, or of which no line names a level, is V(unknown) with the reason, never free of errors.
  - What looks like a secret in a message is replaced.
author:
  - stackops.runbook contributors (@stackops)
extends_documentation_fragment:
  - stackops.runbook.attributes.state_file
  - stackops.runbook.attributes
  - stackops.runbook.attributes.action_group
  - stackops.runbook.docker_connection
  - stackops.runbook.project_selection
  - stackops.runbook.log_sources
options:
  window:
    description:
      - The span of time that ends now, or at O(until), as V(90s), V(15m), V(1h) or V(3d), or V(all) for everything there is.
    type: str
    default: 1h
  since:
    description:
      - The begin of the window, as V(2026-11-23T10:00:00Z), V(2026-11-23) or seconds since the epoch. It wins over O(window).
    type: str
  until:
    description:
      - The end of the window, as O(since). It is now by default.
    type: str
  level:
    description:
      - From which level on a record counts as an error. A line of an access log is one where its status is 500 or higher.
    type: str
    choices: [warning, error, critical]
    default: error
  errors_warning:
    description:
      - From this number of errors in the window on, a log's status is V(warning).
    type: int
    default: 11
  errors_critical:
    description:
      - From this number of errors in the window on, a log's status is V(critical).
    type: int
  error_percent_warning:
    description:
      - From this share of errors in all records on, a log's status is V(warning).
    type: float
  error_percent_critical:
    description:
      - From this share of errors in all records on, a log's status is V(critical).
    type: float
  errors_per_minute_warning:
    description:
      - From this number of errors per minute on, over all of the window, a log's status is V(warning).
    type: float
  errors_per_minute_critical:
    description:
      - From this number of errors per minute on, over all of the window, a log's status is V(critical).
    type: float
  min_records:
    description:
      - With fewer records in the window, their share of errors is not judged.
    type: int
    default: 50
  baseline:
    description:
      - Whether to read the window before as well, of the same length, to tell which errors are new.
    type: bool
    default: true
  timezone:
    description:
      - The zone of times that have none, as V(UTC), V(+08:00) or V(Asia/Taipei). By default it is that in the environment
        variable E(TZ) of the container, else UTC. RV(sources[].time_assumption) tells where it was needed.
    type: str
  requests:
    description:
      - Whether to return the requests in the logs, with how long they took and which failed.
    type: bool
    default: false
  slow_request_ms:
    description:
      - From this many milliseconds on, a request counts as slow.
    type: float
    default: 1000
  max_bytes:
    description:
      - How much to read of one log at most. Where the window has more, its newest part is read and RV(sources[].truncated) is
        true. A log in a format that has to be parsed line by line is read for a quarter of it.
    type: int
    default: 268435456
  state_file:
    description:
      - A file on the target that keeps how far each log was read. Then only what was written since the last run counts, through
        rotation and truncation; the first run reads the window.
      - It is written with mode C(0600), and not in check mode.
    type: path
notes:
  - Where the engine cannot be reached, the module does not fail. The result's RV(status) is then V(unknown), and RV(errors) says what was tried and
    what to do.
seealso:
  - module: stackops.runbook.compose_health
  - module: stackops.runbook.stack_facts
"""

EXAMPLES = r"""
- name: Count the errors of the last hour in all logs of the host's Compose projects
  stackops.runbook.log_error_rate:
  become: true
  register: logs

- name: Show the most frequent error of each log
  ansible.builtin.debug:
    msg: "{{ item.groups[0].count }} times {{ item.groups[0].shape }}"
  loop: "{{ logs.sources | selectattr('groups') }}"
  loop_control:
    label: "{{ item.name }}"

- name: Look at one log, and fail where more than one record in a hundred is an error
  stackops.runbook.log_error_rate:
    paths: [/srv/shop/logs/app.log]
    window: 15m
    error_percent_warning: 0.5
    error_percent_critical: 1
  register: app
  failed_when: app.status == 'critical'

- name: Count what was written since the last run, for a job that cron starts every five minutes
  stackops.runbook.log_error_rate:
    paths: [/srv/shop/logs]
    state_file: /var/lib/stackops/app-log.json

- name: Tell which requests of one project were slow yesterday
  stackops.runbook.log_error_rate:
    project_name: shop
    since: "2026-11-22"
    until: "2026-11-23"
    requests: true
    slow_request_ms: 500
  become: true
  register: yesterday
"""

RETURN = r"""
status:
  description: The worst status of all logs, V(ok), V(warning), V(critical) or V(unknown). Empty logs are left out of it.
  returned: always
  type: str
  sample: warning
summary:
  description: What was found, in one line.
  returned: always
  type: str
  sample: 37 errors in 2 logs, most in container:shop-backend-1
metrics:
  description: Numbers with their unit and their thresholds.
  returned: always
  type: dict
  sample:
    errors: {value: 37, unit: "", warning: 11, critical: null}
    error_percent: {value: 1.2, unit: "%", warning: null, critical: null}
errors:
  description: What could not be read, with the reason and what to do about it.
  returned: always
  type: list
  elements: dict
  contains:
    source:
      description: What was read.
      type: str
      returned: always
      sample: /srv/shop/logs/app.log
    reason:
      description: What came back.
      type: str
      returned: always
      sample: permission denied
    hint:
      description: What to do about it.
      type: str
      returned: always
      sample: Run with become, or let the user read the file.
window_seconds:
  description: The length of the window.
  returned: always
  type: float
  sample: 3600
window_start:
  description: The begin of the window. With O(state_file), when the last run was.
  returned: always
  type: str
  sample: "2026-11-23T11:00:00Z"
window_end:
  description: The end of the window.
  returned: always
  type: str
  sample: "2026-11-23T12:00:00Z"
sources:
  description: The logs.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The path, C(container:) and the name of the container, or C(journald:) and the unit.
      type: str
      returned: always
      sample: container:shop-backend-1
    project:
      description: The Compose project that it belongs to.
      type: str
      returned: always
      sample: shop
    service:
      description: The service that it belongs to.
      type: str
      returned: always
      sample: backend
    type:
      description: V(file), V(container) or V(journald).
      type: str
      returned: always
      sample: container
    status:
      description: The verdict, V(ok), V(warning), V(critical) or V(unknown).
      type: str
      returned: always
      sample: warning
    reason:
      description:
        - Why it is V(unknown), V(missing), V(permission-denied), V(unparsable), V(empty), V(driver-unreadable), V(timeout) or V(binary).
      type: str
      returned: always
      sample: null
    format:
      description: What most of its lines are, V(json), V(logfmt), V(text), V(access-clf), V(uvicorn) or V(nginx-error).
      type: str
      returned: always
      sample: json
    paths:
      description: The files that were read, oldest first.
      type: list
      elements: str
      returned: always
      sample: [/srv/shop/logs/app.log.1, /srv/shop/logs/app.log]
    read_bytes:
      description: How much was read.
      type: int
      returned: always
      sample: 1482752
    truncated:
      description: Whether only the newest part of the window was read, because of O(max_bytes).
      type: bool
      returned: always
      sample: false
    lines:
      description: The records in the window. A traceback belongs to the record before it.
      type: int
      returned: always
      sample: 3051
    unparsed_lines:
      description: Lines in the window that are no record and belong to none.
      type: int
      returned: always
      sample: 0
    errors:
      description: The records at or above O(level) in the window.
      type: int
      returned: always
      sample: 37
    warnings:
      description: The warnings in the window.
      type: int
      returned: always
      sample: 4
    error_percent:
      description: The share of errors in the records; null where there are none.
      type: float
      returned: always
      sample: 1.213
    errors_per_minute:
      description: Errors per minute, over all of the window.
      type: float
      returned: always
      sample: 0.617
    last_error_at:
      description: When the newest of the errors was written. Null where there is none.
      type: str
      returned: always
      sample: "2026-11-23T11:42:51Z"
    peak_minute:
      description: The minute with the most errors.
      type: str
      returned: always
      sample: "2026-11-23T11:42:00Z"
    peak_minute_errors:
      description: How many errors that minute has.
      type: int
      returned: always
      sample: 21
    baseline_errors:
      description: The errors in the window before; null where the log does not reach back that far.
      type: int
      returned: always
      sample: 2
    last_record_at:
      description: When the last record was written; in logs that are not in order, to the minute.
      type: str
      returned: always
      sample: "2026-11-23T11:59:58.120Z"
    last_record_age_seconds:
      description: How long ago that was.
      type: float
      returned: always
      sample: 1.88
    clock_offset_seconds:
      description:
        - By how many seconds the newest line of a file is ahead of when the file was written to; negative where it is behind by whole half hours, as zones are.
        - Null where the two agree, and for logs that are no files. A log with an offset is not read for the right time.
      type: float
      returned: always
      sample: 28800.4
    time_assumption:
      description: What was assumed about times, for example that those without a zone are UTC.
      type: str
      returned: always
      sample: "its times have no zone: taken as UTC"
    histogram:
      description: Every minute that has records.
      type: list
      elements: dict
      returned: always
      contains:
        minute:
          description: The begin of the minute.
          type: str
          returned: always
          sample: "2026-11-23T11:42:00Z"
        records:
          description: Its records.
          type: int
          returned: always
          sample: 55
        errors:
          description: Those at level error or above.
          type: int
          returned: always
          sample: 21
    groups:
      description: Errors and warnings by the shape of their message, the fifty most frequent.
      type: list
      elements: dict
      returned: always
      contains:
        shape:
          description: The message with its numbers, identifiers and quoted values masked.
          type: str
          returned: always
          sample: "order # failed"
        count:
          description: How many there are.
          type: int
          returned: always
          sample: 21
        level:
          description: V(critical), V(error) or V(warning).
          type: str
          returned: always
          sample: error
        first_seen:
          description: When the first was written.
          type: str
          returned: always
          sample: "2026-11-23T11:42:00.120Z"
        last_seen:
          description: When the last was written.
          type: str
          returned: always
          sample: "2026-11-23T11:42:51.480Z"
        sample:
          description: One of the messages, without secrets.
          type: str
          returned: always
          sample: order 42 failed
        logger:
          description: The logger that wrote the first.
          type: str
          returned: always
          sample: shop.orders
        is_new:
          description: Whether the window before has none; null where that is not known.
          type: bool
          returned: always
          sample: true
        error:
          description: What the message means, with the names in it; all null where that is not known.
          type: dict
          returned: always
          sample: {kind: database-refused, exception: psycopg2.OperationalError, message: Connection refused, parameters: {host: db, port: "5432"}}
kinds:
  description: What the errors of each service mean, most frequent first.
  returned: always
  type: list
  elements: dict
  sample:
    - kind: database-refused
      project: shop
      service: backend
      count: 21
      exception: psycopg2.OperationalError
      sample: Connection refused
      parameters: {host: db, port: "5432"}
      first_seen: "2026-11-23T11:42:00.120Z"
      last_seen: "2026-11-23T11:42:51.480Z"
requests:
  description:
    - The requests in the logs, with the 50th, 95th and 99th percentile of their duration and the worst paths; null without O(requests).
    - Percentiles are at most two percent off.
  returned: always
  type: dict
  sample:
    status: ok
    summary: 3000 requests in 1 logs, 2 slower than 1000 ms
    slow_request_ms: 1000
    sources:
      - {name: /srv/shop/logs/app.log, requests: 3000, slow: 2, errors_5xx: 0, p50_ms: 20.1, p95_ms: 104.3, p99_ms: 211.4, max_ms: 1382.9}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stackops.runbook.plugins.module_utils._arguments import (
    docker_connection_arguments,
    log_source_arguments,
    project_selection_arguments,
)
from ansible_collections.stackops.runbook.plugins.module_utils._log_error_rate import check_logs


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **docker_connection_arguments(),
            **project_selection_arguments(),
            **log_source_arguments(),
            "window": {"type": "str", "default": "1h"},
            "since": {"type": "str"},
            "until": {"type": "str"},
            "level": {"type": "str", "choices": ["warning", "error", "critical"], "default": "error"},
            "errors_warning": {"type": "int", "default": 11},
            "errors_critical": {"type": "int"},
            "error_percent_warning": {"type": "float"},
            "error_percent_critical": {"type": "float"},
            "errors_per_minute_warning": {"type": "float"},
            "errors_per_minute_critical": {"type": "float"},
            "min_records": {"type": "int", "default": 50},
            "baseline": {"type": "bool", "default": True},
            "timezone": {"type": "str"},
            "requests": {"type": "bool", "default": False},
            "slow_request_ms": {"type": "float", "default": 1000},
            "max_bytes": {"type": "int", "default": 268435456},
            "state_file": {"type": "path"},
        },
        supports_check_mode=True,
    )
    try:
        found = check_logs(module.params, module.check_mode)
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
