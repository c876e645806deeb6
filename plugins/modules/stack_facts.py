#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: stack_facts
short_description: Collect everything that can be read of a host and its Compose stacks
version_added: 1.0.0
author:
  - stackops.runbook contributors (@stackops)
description:
  - Runs all checks of the collection side by side in one task - containers, endpoints, logs, PostgreSQL, migrations, links between
    services, ports, the firewall and the host itself - over one connection to the engine and with one time limit.
  - This is the collecting half of the role P(stackops.runbook.diagnose#role). The modules for single checks run the same code.
  - Nothing has to be set. All Compose projects on the host are found by their containers' labels.
  - Passwords and tokens that the stack's containers know, and what looks like some, are taken out of the facts before they leave the host.
extends_documentation_fragment:
  - stackops.runbook.attributes
  - stackops.runbook.attributes.read_only
  - stackops.runbook.attributes.action_group
  - stackops.runbook.docker_connection
  - stackops.runbook.project_selection
  - stackops.runbook.project_selection.stacks
  - stackops.runbook.postgres_connection.servers
  - stackops.runbook.http_endpoints
attributes:
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on the controller.
    support: full
options:
  log_paths:
    description:
      - Log files, globs or directories on the target to read besides those that are found.
    type: list
    elements: str
    default: []
  collectors:
    description:
      - Run only these. Without any, all of them run.
    type: list
    elements: str
    choices: [engine, compose, http, logs, requests, postgres, database_logins, pools, migrations, links, ports, firewall, host]
    default: []
  firewall_expected:
    description:
      - The ports of the host that are meant to be reachable from outside, for the collector V(firewall), as
        O(stackops.runbook.published_ports#module:expected).
    type: list
    elements: dict
    suboptions:
      port:
        description: Port of the host, as published.
        type: int
        required: true
      protocol:
        description: Protocol of the port.
        type: str
        choices: [tcp, udp, sctp]
        default: tcp
      family:
        description: IP version for which it is meant to be reachable.
        type: str
        choices: [any, ipv4, ipv6]
        default: any
      from:
        description: Addresses and networks that are meant to reach it. Without any, everybody.
        type: list
        elements: str
        default: []
  window_seconds:
    description:
      - How far back logs are read.
    type: int
    default: 3600
  slow_request_ms:
    description:
      - Requests in the logs that took longer are slow.
    type: int
    default: 1000
  sample_seconds:
    description:
      - Take two samples of C(pg_stat_statements) this far apart and report what ran in between. V(0) reports what the server has counted
        since its last reset.
    type: float
    default: 0
  timeout_seconds:
    description:
      - Time limit that all collectors share. A collector that does not make it has the status V(unknown).
    type: int
    default: 60
  return_facts:
    description:
      - Whether the facts are part of the result. With V(false) they stay in a private file on the controller until the end of the run, where
        M(stackops.runbook.diagnose_report) finds them, and neither pass through variables nor through templates. This is what a fleet wants.
      - With V(false), a module that fails on a host does not fail the task. The host is a row of the report with the reason.
    type: bool
    default: true
seealso:
  - module: stackops.runbook.compose_health
  - module: stackops.runbook.diagnose_report
  - module: stackops.runbook.http_probe
  - module: stackops.runbook.log_error_rate
  - module: stackops.runbook.pg_slow_queries
  - module: stackops.runbook.published_ports
"""

EXAMPLES = r"""
- name: Collect all facts of all stacks on the host
  stackops.runbook.stack_facts:
  become: true
  register: collected

- name: Show what is not well
  ansible.builtin.debug:
    msg: "{{ collected.summary }}"
  when: collected.status != 'ok'

- name: Collect only the containers and the logs of the last five minutes of one project
  stackops.runbook.stack_facts:
    project_src: /srv/shop
    collectors: [compose, logs]
    window_seconds: 300
  become: true
  register: collected

- name: Collect from a PostgreSQL server outside Compose as well
  stackops.runbook.stack_facts:
    postgres:
      - login_host: db1.example.com
        login_user: monitor
        login_password: "{{ vault_monitor_password }}"
        ssl_mode: verify-full
"""

RETURN = r"""
schema:
  description: Version of the facts' schema.
  returned: when O(return_facts=true)
  type: int
  sample: 1
status:
  description: The worst status of all collectors.
  returned: always
  type: str
  sample: critical
summary:
  description: What was found, in one line.
  returned: always
  type: str
  sample: "shop: compose: 1 of 2 services is not well: backend unhealthy"
host:
  description: What was collected from.
  returned: when O(return_facts=true)
  type: dict
  contains:
    hostname:
      description: Name of the host.
      type: str
    os:
      description: Name of the distribution.
      type: str
    kernel:
      description: Release of the kernel.
      type: str
    python_version:
      description: Version of the interpreter.
      type: str
    is_root:
      description: Whether collecting ran as root.
      type: bool
    collected_at:
      description: When collecting began.
      type: str
    duration_ms:
      description: How long it took.
      type: int
facts:
  description:
    - One envelope for each collector, each with RV(facts.compose.status), C(summary), C(metrics), C(errors) and the collector's own facts.
    - The whole tree is described in U(https://github.com/stackops/runbook/blob/main/docs/facts.md).
  returned: when O(return_facts=true)
  type: dict
  contains:
    compose:
      description: The containers, as an example of an envelope.
      type: dict
      contains:
        status:
          description: One of V(ok), V(warning), V(critical) and V(unknown).
          type: str
        summary:
          description: What the collector found, in one line.
          type: str
        metrics:
          description: Numbers with their units and thresholds.
          type: dict
        errors:
          description: What could not be read, and what to do about it.
          type: list
          elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stackops.runbook.plugins.module_utils._arguments import (
    docker_connection_arguments,
    expected_port_arguments,
    project_selection_arguments,
    stacks_arguments,
)
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._http_probe import endpoint_arguments, hide_secrets
from ansible_collections.stackops.runbook.plugins.module_utils._postgres import server_arguments
from ansible_collections.stackops.runbook.plugins.module_utils._stack_facts import COLLECTORS, FactsOptions, collect_facts


def main() -> None:
    """Collect and return the facts."""
    module = AnsibleModule(
        argument_spec={
            **docker_connection_arguments(),
            **project_selection_arguments(),
            **stacks_arguments(),
            "endpoints": {"type": "list", "elements": "dict", "default": [], "options": endpoint_arguments()},
            "log_paths": {"type": "list", "elements": "str", "default": []},
            **server_arguments(),
            "collectors": {"type": "list", "elements": "str", "choices": list(COLLECTORS), "default": []},
            "firewall_expected": {"type": "list", "elements": "dict", "options": expected_port_arguments()},
            "window_seconds": {"type": "int", "default": 3600},
            "slow_request_ms": {"type": "int", "default": 1000},
            "sample_seconds": {"type": "float", "default": 0},
            "timeout_seconds": {"type": "int", "default": 60},
            "return_facts": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    try:
        options = FactsOptions.from_params({**module.params, "endpoints": [dict(endpoint) for endpoint in module.params["endpoints"]]})
    except CheckError as error:
        module.fail_json(msg=f"firewall_expected: {error.reason}. {error.hint}")
    # What Ansible masks by itself includes every short value of a header, and with it the numbers of the result.
    logins = {server[key] for server in module.params["postgres"] for key in ("login_password", "dsn") if server[key]}
    module.no_log_values = hide_secrets(module.params) | logins
    module.exit_json(changed=False, **collect_facts(options))


if __name__ == "__main__":
    main()
