#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_build
short_description: Build the image of a Compose service, for a try or for good
version_added: 1.0.0
description:
  - With O(keep=nothing) it says whether a service builds, including what its Dockerfile installs. The image has a throw-away name and is removed
    again. Nothing that runs changes, and no name of an image moves.
  - With O(keep=image) it builds the image anew and recreates the service with it. Where the build fails nothing changes.
  - A failed build is classified, with the line, image, file or package that is to be corrected, in RV(after).
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
    support: none
    details:
      - Every run builds.
options:
  services:
    description:
      - Names of services. Exactly one.
    type: list
    elements: str
    required: true
  keep:
    description:
      - Whether the V(image) is kept and the service recreated with it, or V(nothing).
    type: str
    choices: [nothing, image]
    default: nothing
  no_cache:
    description:
      - Build without the cache, so that packages are really installed.
    type: bool
    default: true
  pull:
    description:
      - With O(keep=image), ask the registry for a newer base image.
    type: bool
    default: false
  health_timeout_seconds:
    description:
      - How long the containers may take to be well afterwards. Those with a health check must be healthy, others must stay up.
    type: float
    default: 120
  command_timeout_seconds:
    description:
      - How long one command may take.
    type: float
    default: 1800
seealso:
  - module: stackops.runbook.compose_service
"""

EXAMPLES = r"""
- name: See whether the backend builds
  block:
    - name: Build it for a try
      stackops.runbook.compose_build:
        project_name: shop
        services:
          - backend
      become: true
      register: build
  rescue:
    - name: Say what is in the way
      ansible.builtin.fail:
        msg: "{{ build.after.build.kind }}: {{ build.after.build.summary }}. {{ build.after.build.hint }}"

- name: Build it anew and run it
  stackops.runbook.compose_build:
    project_name: shop
    services:
      - backend
    keep: image
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
  sample: "shop/backend: build backend as stackops-build-check/backend:1f2e3d4c, without the cache, and remove that image again"
plan:
  description: The commands.
  returned: always
  type: list
  elements: str
  sample: ["docker compose --project-name shop build --no-cache backend", "docker rmi stackops-build-check/backend:1f2e3d4c"]
before:
  description: The containers as they were.
  returned: always
  type: dict
  sample: {containers: [{container: shop-backend-1, image: shop-backend}]}
after:
  description: How long it took and how large the image is or, where it failed, why as C(build).
  returned: always
  type: dict
  sample: {build: {kind: package-install, package: psycopg2, manager: pip, exit_code: 1}}
undo:
  description: What to type to go back, or why there is no way.
  returned: always
  type: list
  elements: str
  sample: ["Nothing is to be undone: nothing that runs changes."]
verified:
  description: Whether the effect is there, as C(ok) (null where nothing was done) and C(detail).
  returned: always
  type: dict
  sample: {ok: true, detail: "it builds; what runs is as it was, and the image of the try is gone"}
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
from ansible_collections.stackops.runbook.plugins.module_utils._compose_build import run_compose_build


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **docker_connection_arguments(),
            **one_project_arguments(),
            **remediation_arguments(),
            "services": {"type": "list", "elements": "str", "required": True},
            "keep": {"type": "str", "choices": ["nothing", "image"], "default": "nothing"},
            "no_cache": {"type": "bool", "default": True},
            "pull": {"type": "bool", "default": False},
            "health_timeout_seconds": {"type": "float", "default": 120},
            "command_timeout_seconds": {"type": "float", "default": 1800},
        },
        supports_check_mode=True,
    )
    result = run_compose_build(module.params, module.check_mode)
    if result.get("failed"):
        module.fail_json(msg=result["summary"], **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
