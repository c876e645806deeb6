#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pg_slow_queries
short_description: List the slowest statements of PostgreSQL
version_added: 1.0.0
author:
  - stackops.runbook contributors (@stackops)
description:
  - Reads C(pg_stat_statements) of the PostgreSQL servers of Compose projects, or of any PostgreSQL server, and ranks its statements.
  - With O(sample_seconds) it takes two samples and shows what is slow now, not since the last reset. It never resets anything.
  - The columns of the view are read from the catalogue, so that any version of the extension from 1.8 (PostgreSQL 13) on works.
  - Where the statements cannot be read, the result says which of the reasons it is and gives the exact fix.
extends_documentation_fragment:
  - stackops.runbook.attributes
  - stackops.runbook.attributes.read_only
  - stackops.runbook.attributes.action_group
  - stackops.runbook.project_selection
  - stackops.runbook.postgres_connection
  - stackops.runbook.docker_connection
options:
  rank_by:
    description:
      - What to rank the statements by.
      - V(mean) is the mean time of one execution, V(total) the time of all of them, V(calls) their number.
      - V(io) is the time of reading and writing blocks, or the number of blocks read where C(track_io_timing) is off.
      - V(temp) is the number of temporary blocks written, which is what spills out of C(work_mem).
    type: str
    choices: [mean, total, calls, io, temp]
    default: mean
  limit:
    description:
      - How many statements to list for each server.
    type: int
    default: 20
  min_calls:
    description:
      - Leave out statements with fewer calls. Once or twice is a migration or a person, and those are often the slowest of all.
    type: int
    default: 3
  min_mean_ms:
    description:
      - Leave out statements with a lower mean time in milliseconds.
    type: float
    default: 0
  exclude:
    description:
      - Regular expressions of PostgreSQL, in any case of letters. Statements whose text matches one of them are left out.
    type: list
    elements: str
    default: []
  sample_seconds:
    description:
      - Distance of two samples in seconds. What was executed in between is ranked.
      - V(0) takes one sample and ranks what was counted since the last reset of the statistics.
    type: float
    default: 0
  query_characters:
    description:
      - Cut the text of statements to this length.
    type: int
    default: 1000
  warning_ms:
    description:
      - The status is at least V(warning) when the mean time of a listed statement reaches this many milliseconds.
    type: float
    default: 500
  critical_ms:
    description:
      - The status is V(critical) when the mean time of a listed statement reaches this many milliseconds.
    type: float
    default: 5000
notes:
  - Literals are removed from the statements, also from those that C(pg_stat_statements) leaves as they are, such as C(ALTER ROLE ... PASSWORD).
seealso:
  - name: pg_stat_statements
    description: The extension that counts statements.
    link: https://www.postgresql.org/docs/current/pgstatstatements.html
"""

EXAMPLES = r"""
- name: List the slowest statements of every PostgreSQL on the host
  stackops.runbook.pg_slow_queries:
  register: slow

- name: Show them
  ansible.builtin.debug:
    msg: "{{ slow.instances | map(attribute='statements') | map(attribute='queries') | flatten }}"

- name: See what is slow right now in one project, without what the backup does
  stackops.runbook.pg_slow_queries:
    project_src: /srv/shop
    sample_seconds: 5
    rank_by: total
    exclude:
      - ^COPY\M

- name: Ask a PostgreSQL server outside Compose
  stackops.runbook.pg_slow_queries:
    login_host: db.example.com
    login_user: monitor
    login_password: "{{ vault_monitor_password }}"
    login_db: shop
    ssl_mode: verify-full
    ssl_root_cert: /etc/ssl/certs/example-ca.pem

- name: Fail when a statement takes more than two seconds on average
  stackops.runbook.pg_slow_queries:
    critical_ms: 2000
  register: slow
  failed_when: slow.status == "critical"
"""

RETURN = r"""
status:
  description: The worst verdict over the servers; V(unknown) where one could not be read.
  returned: always
  type: str
  sample: warning
summary:
  description: One line that a person can read.
  returned: always
  type: str
  sample: 20 statements of 1 of 1 servers, the slowest takes 812.4 ms on average
metrics:
  description: Numbers with their units and thresholds.
  returned: always
  type: dict
  sample:
    slowest_mean_ms: {critical: 5000.0, unit: ms, value: 812.4, warning: 500.0}
    statements: {unit: "", value: 20}
errors:
  description: What could not be read, why, and what to do about it.
  returned: always
  type: list
  elements: dict
  contains:
    source:
      description: What was to be read.
      returned: always
      type: str
    reason:
      description: What came back.
      returned: always
      type: str
    hint:
      description: The next step.
      returned: always
      type: str
  sample:
    - hint: CREATE EXTENSION pg_stat_statements;
      reason: "pg_stat_statements: not-created"
      source: shop/postgres
instances:
  description: The PostgreSQL servers.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Project and service, or host and port of a server outside Compose.
      returned: always
      type: str
      sample: shop/postgres
    project:
      description: The Compose project, or null.
      returned: always
      type: str
    service:
      description: The Compose service, or null.
      returned: always
      type: str
    status:
      description: The verdict on this server.
      returned: always
      type: str
    reachable:
      description: Whether a session could be opened.
      returned: always
      type: bool
    via:
      description: The way that led to the server, one of V(container-network), V(published-port), V(exec) and V(login_host).
      returned: always
      type: str
    failure:
      description:
        - Why there is no session, or null. One of V(not-running), V(refused), V(timeout), V(auth-failed), V(database-missing), V(too-many-connections),
          V(starting-up), V(no-credentials), V(driver-missing), V(name-not-resolved), V(permission-denied), V(tls-error) and V(protocol-error).
      returned: always
      type: str
    message:
      description: What the server or the driver said, or null.
      returned: always
      type: str
    version:
      description: Version of the server.
      returned: always
      type: str
    version_number:
      description: The version as a number.
      returned: always
      type: int
      sample: 170012
    database:
      description: The database that the session is in. The statements are those of all databases.
      returned: always
      type: str
    user:
      description: The user of the session.
      returned: always
      type: str
    statements:
      description: What C(pg_stat_statements) says.
      returned: always
      type: dict
      contains:
        available:
          description: Whether all statements could be read.
          returned: always
          type: bool
        failure:
          description:
            - Why not, or null. One of V(not-preloaded), V(not-created), V(package-missing), V(no-privilege), V(tracking-off), V(no-connection),
              V(invalid-pattern) and V(query-failed).
          returned: always
          type: str
        message:
          description: What the server said where it refused, or null.
          returned: always
          type: str
        fix:
          description: The SQL or the setting that repairs it.
          returned: always
          type: list
          elements: str
        problems:
          description:
            - What makes the numbers less than they could be. V(no-privilege), V(extension-outdated), V(evicted), V(io-timing-off), V(texts-lost)
              or V(short-history).
          returned: always
          type: list
          elements: dict
          contains:
            code:
              description: Which it is.
              returned: always
              type: str
            message:
              description: What it means.
              returned: always
              type: str
            fix:
              description: The SQL or the setting that repairs it.
              returned: always
              type: str
        extension_version:
          description: Version of the extension in this database, or null.
          returned: always
          type: str
        evicted:
          description: How many times statements were dropped for lack of room, or null where the server does not tell.
          returned: always
          type: int
        stats_reset_at:
          description: When counting began, or null where the server does not tell.
          returned: always
          type: str
        io_timing:
          description: Whether times of reading and writing are measured.
          returned: always
          type: bool
        queries:
          description: The statements, the worst first.
          returned: always
          type: list
          elements: dict
          contains:
            queryid:
              description: The server's identifier of the statement. A string, because it has 64 bits.
              returned: always
              type: str
            database:
              description: The database it ran in.
              returned: always
              type: str
            user:
              description: The user it ran as.
              returned: always
              type: str
            query:
              description: Its text on one line, without literals and comments.
              returned: always
              type: str
            calls:
              description: How many times it was executed.
              returned: always
              type: int
            rows:
              description: Rows returned or changed.
              returned: always
              type: int
            mean_exec_time_ms:
              description: Mean time of one execution.
              returned: always
              type: float
            max_exec_time_ms:
              description: Time of the slowest execution, or null in a sample.
              returned: always
              type: float
            stddev_exec_time_ms:
              description: Standard deviation of the times, or null in a sample.
              returned: always
              type: float
            total_exec_time_ms:
              description: Time of all executions.
              returned: always
              type: float
            percent_of_total:
              description: Its share of the time of all statements.
              returned: always
              type: float
            rows_per_call:
              description: Rows for each execution.
              returned: always
              type: float
            cache_hit_percent:
              description: Share of blocks found in shared buffers, or null where it touched none.
              returned: always
              type: float
            shared_blocks_read:
              description: Blocks not found in shared buffers.
              returned: always
              type: int
            temp_blocks_written:
              description: Temporary blocks written.
              returned: always
              type: int
            io_time_ms:
              description: Time of reading and writing, or null while C(track_io_timing) is off.
              returned: always
              type: float
            source:
              description: V(since_reset) or V(sample).
              returned: always
              type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stackops.runbook.plugins.module_utils._arguments import docker_connection_arguments, project_selection_arguments
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import Selection, discover
from ansible_collections.stackops.runbook.plugins.module_utils._engine import Engine, EngineOptions
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError, envelope
from ansible_collections.stackops.runbook.plugins.module_utils._postgres import PostgresOptions, connection_arguments
from ansible_collections.stackops.runbook.plugins.module_utils._postgres_statements import RANKINGS, collect_statements


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **docker_connection_arguments(),
            **project_selection_arguments(),
            **connection_arguments(),
            "rank_by": {"type": "str", "choices": list(RANKINGS), "default": "mean"},
            "limit": {"type": "int", "default": 20},
            "min_calls": {"type": "int", "default": 3},
            "min_mean_ms": {"type": "float", "default": 0},
            "exclude": {"type": "list", "elements": "str", "default": []},
            "sample_seconds": {"type": "float", "default": 0},
            "query_characters": {"type": "int", "default": 1000},
            "warning_ms": {"type": "float", "default": 500},
            "critical_ms": {"type": "float", "default": 5000},
        },
        supports_check_mode=True,
    )
    options = PostgresOptions.from_params(module.params)
    try:
        if options.servers:
            result = collect_statements([], None, options)
        else:
            engine = Engine.connect(EngineOptions.from_params(module.params))
            result = collect_statements(discover(engine, Selection.from_params(module.params)), engine, options)
    except CheckError as error:
        result = envelope("unknown", error.reason, {}, [error], instances=[])
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
