#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_service
short_description: Restart, recreate, start or pull services of a Compose project
version_added: 1.0.0
description:
  - Restarts services, recreates those that are no longer as declared, starts those that are missing, or pulls their images.
  - The Compose command is the one that made the project, with the files that its containers' labels name. Services that others depend on are never
    touched on the way.
  - Afterwards it waits until the containers are well, and says why where they are not.
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
    support: none
  idempotent:
    support: partial
    details:
      - O(state=restarted) always restarts. With the other states a second run changes nothing.
options:
  state:
    description:
      - What to have.
      - V(restarted) stops and starts the same containers.
      - V(recreated) makes containers anew whose Compose file, C(.env) or image is another one now. Those that are as declared stay, unless O(force).
      - V(started) starts services that should run and do not, each after those that it depends on, and waits for each.
      - V(pulled) pulls the images and recreates the containers that have an older one.
    type: str
    choices: [restarted, recreated, started, pulled]
    required: true
  services:
    description:
      - Names of services. With O(state=started) none means all.
    type: list
    elements: str
    default: []
  force:
    description:
      - With O(state=recreated), recreate containers that are as declared as well.
    type: bool
    default: false
  grace_seconds:
    description:
      - With O(state=restarted), how long a container may take to stop before it is killed. By default what it was made with.
    type: int
  health_timeout_seconds:
    description:
      - How long the containers may take to be well afterwards. Those with a health check must be healthy, others must stay up.
    type: float
    default: 120
  command_timeout_seconds:
    description:
      - How long one command may take.
    type: float
    default: 600
seealso:
  - module: stackops.runbook.compose_build
  - module: stackops.runbook.compose_health
"""

EXAMPLES = r"""
- name: Say what starting everything that is missing would do
  stackops.runbook.compose_service:
    project_name: shop
    state: started
  become: true
  check_mode: true

- name: Apply a changed .env to the backend
  stackops.runbook.compose_service:
    project_name: shop
    state: recreated
    services:
      - backend
    audit_reason: ticket 4711
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
  sample: "shop/backend: recreate backend (backend: the Compose file or .env has changed since it was made)"
plan:
  description: The commands.
  returned: always
  type: list
  elements: str
  sample: ["docker compose --project-name shop up -d --no-build backend"]
before:
  description: The containers as they were, with the images they had.
  returned: always
  type: dict
  sample: {containers: [{container: shop-backend-1, state: running}], drift: ["backend: stackops-test/app is another image now"]}
after:
  description: The containers as they are.
  returned: always
  type: dict
  sample: {containers: [{container: shop-backend-1, state: running}]}
undo:
  description: What to type to go back, or why there is no way.
  returned: always
  type: list
  elements: str
  sample: ["docker tag stackops-previous/shop-backend registry.example.com/shop:2", "docker compose --project-name shop up -d --no-build backend"]
verified:
  description: Whether the effect is there, as C(ok) (null where nothing was done) and C(detail).
  returned: always
  type: dict
  sample: {ok: true, detail: "1 project, 1 container, all well"}
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
from ansible_collections.stackops.runbook.plugins.module_utils._compose_service import run_compose_service


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **docker_connection_arguments(),
            **one_project_arguments(),
            **remediation_arguments(),
            "state": {"type": "str", "choices": ["restarted", "recreated", "started", "pulled"], "required": True},
            "services": {"type": "list", "elements": "str", "default": []},
            "force": {"type": "bool", "default": False},
            "grace_seconds": {"type": "int"},
            "health_timeout_seconds": {"type": "float", "default": 120},
            "command_timeout_seconds": {"type": "float", "default": 600},
        },
        supports_check_mode=True,
    )
    result = run_compose_service(module.params, module.check_mode)
    if result.get("failed"):
        module.fail_json(msg=result["summary"], **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
