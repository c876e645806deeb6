#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: debug_mode
short_description: Switch the debug mode of an application on for some time, and off again
version_added: 1.0.0
description:
  - Sets variables in the project's C(.env), keeps how it was before, and recreates the services that take them. It refuses variables that no service
    takes.
  - The debug mode ends by itself after O(minutes). Cron of the target sees to that, without the controller, and after a restart of the target as well.
  - Where somebody has worked on C(.env) meanwhile, only what was set for the debug mode is taken back.
author:
  - stackops.runbook contributors (@stackops)
extends_documentation_fragment:
  - stackops.runbook.attributes
  - stackops.runbook.attributes.action_group
  - stackops.runbook.docker_connection
  - stackops.runbook.project_selection.one
  - stackops.runbook.remediation
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  state:
    description:
      - Whether the debug mode is to be on. V(off) has everything as it was before.
    type: str
    choices: ["on", "off"]
    required: true
  variables:
    description:
      - Names and values to set.
    type: dict
    default: {"DEBUG": "true"}
  minutes:
    description:
      - After how many minutes it ends by itself.
    type: int
    default: 30
  services:
    description:
      - Services to recreate. By default those that take one of the O(variables).
    type: list
    elements: str
    default: []
  env_file:
    description:
      - The file to change. By default the C(.env) of the project.
    type: path
  health_timeout_seconds:
    description:
      - How long the services may take to be well afterwards.
    type: int
    default: 120
notes:
  - It needs C(/usr/local/sbin/stackops), which M(stackops.runbook.host_program) installs, and cron.
seealso:
  - module: stackops.runbook.host_program
"""

EXAMPLES = r"""
- name: Have what ends the debug mode
  stackops.runbook.host_program:
  become: true

- name: See more in the log for a quarter of an hour
  stackops.runbook.debug_mode:
    project_name: shop
    state: "on"
    minutes: 15
    variables:
      DEBUG: "true"
      LOG_LEVEL: DEBUG
  become: true

- name: End it before
  stackops.runbook.debug_mode:
    project_name: shop
    state: "off"
  become: true
"""

RETURN = r"""
status:
  description: V(planned), V(done), V(nothing-to-do) or V(failed).
  returned: always
  type: str
  sample: done
summary:
  description: What was done or would be, in one line.
  returned: always
  type: str
  sample: "shop/backend: set DEBUG=true in /srv/shop/.env for 15 minutes, and recreate backend."
plan:
  description: The commands that do the same by hand.
  returned: always
  type: list
  elements: str
  sample: ["docker compose --project-name shop up -d --no-build backend"]
before:
  description: What the file gave to the variables.
  returned: always
  type: dict
  sample: {DEBUG: "false"}
after:
  description: What it gives to them now or would, when that ends, and where the original is kept.
  returned: always
  type: dict
  sample: {DEBUG: "true", ends_at: "2026-11-26T04:30:00Z", original: /var/lib/stackops/debug/shop.json}
undo:
  description: How to go back.
  returned: always
  type: list
  elements: str
  sample: ["It ends by itself after 15 minutes: /etc/cron.d/stackops-debug on the host."]
verified:
  description: Whether the effect is there, as C(ok) and C(detail).
  returned: always
  type: dict
  sample: {ok: true, detail: "1 service, all well"}
errors:
  description: What went wrong, with the reason and what to do about it.
  returned: always
  type: list
  elements: dict
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stackops.runbook.plugins.module_utils._arguments import (
    docker_connection_arguments,
    one_project_arguments,
    remediation_arguments,
)
from ansible_collections.stackops.runbook.plugins.module_utils._debug_mode import switch_debug


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **docker_connection_arguments(),
            **one_project_arguments(),
            **remediation_arguments(),
            "state": {"type": "str", "choices": ["on", "off"], "required": True},
            "variables": {"type": "dict", "default": {"DEBUG": "true"}},
            "minutes": {"type": "int", "default": 30},
            "services": {"type": "list", "elements": "str", "default": []},
            "env_file": {"type": "path"},
            "health_timeout_seconds": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    result = switch_debug(module.params, module.check_mode)
    if result.get("failed"):
        module.fail_json(msg=result["summary"], **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
