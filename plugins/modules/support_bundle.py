#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: support_bundle
short_description: Collect what somebody needs who helps from afar
version_added: 1.0.0
author:
  - stackops.runbook contributors (@stackops)
description:
  - Collects from one host what the guide asks to send - versions, C(ps), the last log lines of each service, the configuration, the last
    errors, the facts of M(stackops.runbook.stack_facts) - and what an engineer then asks for, such as database settings and activity,
    network, disk, cron and the state of the monitoring.
  - The archive is kept in the run's private directory on the controller until M(stackops.runbook.support_bundle_write) redacts it, or the
    run ends. It is not redacted before, so nothing else should read it.
  - What cannot be read is left out and named. Where the engine is dead, containers and their logs are read from Docker's directory.
  - Nothing stays on the target.
extends_documentation_fragment:
  - stackops.runbook.attributes
  - stackops.runbook.docker_connection
  - stackops.runbook.project_selection
  - stackops.runbook.project_selection.stacks
  - stackops.runbook.postgres_connection.servers
  - stackops.runbook.http_endpoints
attributes:
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on the controller.
    support: full
  check_mode:
    support: full
    details:
      - Nothing is collected in check mode.
  diff_mode:
    support: N/A
    details:
      - This action does not change anything.
  idempotent:
    support: full
    details:
      - This action does not change anything on the target.
options:
  log_paths:
    description:
      - Log files, globs or directories on the target to look for errors in besides those that are found.
    type: list
    elements: str
    default: []
  window_seconds:
    description:
      - How far back errors in the logs are counted.
    type: int
    default: 3600
  log_lines:
    description:
      - How many of the last lines of each log to collect.
    type: int
    default: 500
  error_lines:
    description:
      - How many of the last lines with an error of each log to show by themselves.
    type: int
    default: 20
  files:
    description:
      - More files on the target, as paths or globs. They are redacted like all others, or left out.
    type: list
    elements: str
    default: []
  max_file_bytes:
    description:
      - A text that is longer loses its begin. Another file that is longer is left out.
    type: int
    default: 5242880
  max_bytes:
    description:
      - How much to collect from a host in all, before it is compressed.
    type: int
    default: 52428800
  timeout_seconds:
    description:
      - Time limit for everything. What was not collected by then is left out.
    type: int
    default: 120
  directory:
    description:
      - Where to put the archive, a directory of the user who logs in. The action plugin sets it, so there is no need to.
    type: path
seealso:
  - module: stackops.runbook.stack_facts
  - module: stackops.runbook.support_bundle_write
"""

EXAMPLES = r"""
- name: One redacted bundle of all hosts
  hosts: all
  gather_facts: false
  tasks:
    - name: Collect
      stackops.runbook.support_bundle:
        log_lines: 1000
      become: true
      ignore_unreachable: true

    - name: Redact and write
      stackops.runbook.support_bundle_write:
        dest: ./bundles
        rule_dirs:
          - "{{ playbook_dir }}/rules"
      run_once: true
      delegate_to: localhost
"""

RETURN = r"""
files:
  description: Number of files that were collected.
  returned: when something was collected
  type: int
  sample: 57
bytes:
  description: Size of the archive.
  returned: when something was collected
  type: int
  sample: 283011
projects:
  description: Names of the Compose projects that were found.
  returned: when something was collected
  type: list
  elements: str
  sample: [shop]
engine:
  description: Whether the container engine answered.
  returned: when something was collected
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stackops.runbook.plugins.module_utils._arguments import (
    docker_connection_arguments,
    project_selection_arguments,
    stacks_arguments,
)
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._http_probe import endpoint_arguments
from ansible_collections.stackops.runbook.plugins.module_utils._postgres import server_arguments
from ansible_collections.stackops.runbook.plugins.module_utils._support_bundle import BundleOptions, collect_bundle


def main() -> None:
    """Collect, and leave the archive for the action plugin."""
    module = AnsibleModule(
        argument_spec={
            **docker_connection_arguments(),
            **project_selection_arguments(),
            **stacks_arguments(),
            "endpoints": {"type": "list", "elements": "dict", "default": [], "options": endpoint_arguments()},
            "log_paths": {"type": "list", "elements": "str", "default": []},
            **server_arguments(),
            "window_seconds": {"type": "int", "default": 3600},
            "log_lines": {"type": "int", "default": 500},
            "error_lines": {"type": "int", "default": 20},
            "files": {"type": "list", "elements": "str", "default": []},
            "max_file_bytes": {"type": "int", "default": 5 << 20},
            "max_bytes": {"type": "int", "default": 50 << 20},
            "timeout_seconds": {"type": "int", "default": 120},
            "directory": {"type": "path"},
        },
        supports_check_mode=True,
    )
    if module.check_mode or not module.params["directory"]:
        module.exit_json(changed=False, msg="Nothing is collected: this is check mode, or the action plugin did not run.")
    options = BundleOptions.from_params({**module.params, "endpoints": [dict(endpoint) for endpoint in module.params["endpoints"]]})
    try:
        result = collect_bundle(options, module.params["directory"])
    except CheckError as error:
        module.fail_json(msg=error.sentence)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
