#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_override
short_description: Give a Compose service limits, a health check or a restart policy
version_added: 1.0.0
description:
  - Writes the settings into a Compose file that is laid over the project's own, and recreates the service with it. The project's files are not
    touched.
  - Where the project has one file with a usual name, it is the override file that Compose takes by itself, for example
    C(docker-compose.override.yml). Where there is one of somebody else already, or the project was started with files of other names, it is
    C(compose.stackops.yml), and the result says how Compose has to be called from then on.
  - A memory limit below what the service uses now is refused.
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
    details:
      - A second run changes nothing.
options:
  service:
    description:
      - The name of the service.
    type: str
    required: true
  memory:
    description:
      - The most memory, for example V(512m).
    type: str
  cpus:
    description:
      - How many processors at most, for example V(1.5).
    type: float
  memory_reservation:
    description:
      - How much memory is kept for it where memory is scarce.
    type: str
  cpus_reservation:
    description:
      - How many processors are kept for it. Compose v1 knows no such thing.
    type: float
  test:
    description:
      - The command of the health check, as Compose has it. The first word is V(CMD), V(CMD-SHELL) or V(NONE).
    type: list
    elements: str
  interval:
    description:
      - Time between two health checks, for example V(30s).
    type: str
  timeout_health:
    description:
      - How long one health check may take.
    type: str
  retries:
    description:
      - After how many failures the container is unhealthy.
    type: int
  start_period:
    description:
      - How long failures do not count after the start.
    type: str
  restart:
    description:
      - The restart policy.
    type: str
    choices: ["no", always, on-failure, unless-stopped]
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
  - module: stackops.runbook.compose_health
"""

EXAMPLES = r"""
- name: Show what a memory limit would change
  stackops.runbook.compose_override:
    project_name: shop
    service: backend
    memory: 512m
    cpus: 1
  become: true
  check_mode: true
  diff: true

- name: Give the backend a health check
  stackops.runbook.compose_override:
    project_name: shop
    service: backend
    test: [CMD, curl, -f, "http://localhost:8000/health"]
    interval: 30s
    timeout_health: 10s
    retries: 3
    start_period: 60s
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
  sample: "shop/backend: write /srv/shop/docker-compose.override.yml and recreate backend with it."
plan:
  description: The commands.
  returned: always
  type: list
  elements: str
  sample: ["write /srv/shop/docker-compose.override.yml", "docker compose --project-name shop up -d --no-build backend"]
before:
  description: In what the containers differ from the settings.
  returned: always
  type: dict
  sample: {file: null, differences: ["memory limit (bytes) is not set, not 536870912"]}
after:
  description: The file and the settings.
  returned: always
  type: dict
  sample: {file: /srv/shop/docker-compose.override.yml, settings: {deploy: {resources: {limits: {memory: 512m}}}}}
undo:
  description: What to type to go back, or why there is no way.
  returned: always
  type: list
  elements: str
  sample: ["rm /srv/shop/docker-compose.override.yml", "docker compose --project-name shop up -d --no-build backend"]
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
from ansible_collections.stackops.runbook.plugins.module_utils._compose_override import run_compose_override


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **docker_connection_arguments(),
            **one_project_arguments(),
            **remediation_arguments(),
            "service": {"type": "str", "required": True},
            "memory": {"type": "str"},
            "cpus": {"type": "float"},
            "memory_reservation": {"type": "str"},
            "cpus_reservation": {"type": "float"},
            "test": {"type": "list", "elements": "str"},
            "interval": {"type": "str"},
            "timeout_health": {"type": "str"},
            "retries": {"type": "int"},
            "start_period": {"type": "str"},
            "restart": {"type": "str", "choices": ["no", "always", "on-failure", "unless-stopped"]},
            "health_timeout_seconds": {"type": "float", "default": 120},
            "command_timeout_seconds": {"type": "float", "default": 600},
        },
        supports_check_mode=True,
    )
    result = run_compose_override(module.params, module.check_mode)
    if result.get("failed"):
        module.fail_json(msg=result["summary"], **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
