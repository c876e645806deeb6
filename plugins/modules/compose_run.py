#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_run
short_description: Run a command in a container of its own beside a Compose service
version_added: 1.0.0
description:
  - Runs a command with the image, environment, networks and volumes of a service, in a container that is removed afterwards (C(run --rm)).
  - What it prints is returned without secrets, at most the last mebibyte of each stream.
  - A command that does not end in time is ended, and its container is removed.
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
      - Every run runs the command.
options:
  service:
    description:
      - The name of the service.
    type: str
    required: true
  command:
    description:
      - The command and its arguments. There is no shell unless it is named. Secrets belong into the service's environment and not here.
    type: list
    elements: str
    required: true
  user:
    description:
      - The user in the container.
    type: str
  entrypoint:
    description:
      - What to use instead of the image's entry point.
    type: str
  with_dependencies:
    description:
      - Start the services that it depends on as well, where they do not run.
    type: bool
    default: false
  command_timeout_seconds:
    description:
      - How long one command may take.
    type: float
    default: 300
seealso:
  - module: stackops.runbook.compose_service
"""

EXAMPLES = r"""
- name: See why the application does not start
  stackops.runbook.compose_run:
    project_name: shop
    service: backend
    command: [python, -c, import app.main]
  become: true
  register: started

- name: Show it
  ansible.builtin.debug:
    msg: "{{ started.output.stderr }}"
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
  sample: "shop/backend: run a command in a new container of backend, which is removed afterwards"
plan:
  description: The commands.
  returned: always
  type: list
  elements: str
  sample: ["docker compose --project-name shop run --rm -T --name shop-backend-run-1f2e3d4c --no-deps backend python -c 'import app.main'"]
before:
  description: Nothing.
  returned: always
  type: dict
  sample: {}
after:
  description: The exit code.
  returned: always
  type: dict
  sample: {exit_code: 1}
undo:
  description: What to type to go back, or why there is no way.
  returned: always
  type: list
  elements: str
  sample: ["What the command itself changes, for example in the database, is not undone by this."]
verified:
  description: Whether the effect is there, as C(ok) (null where nothing was done) and C(detail).
  returned: always
  type: dict
  sample: {ok: true, detail: "it ended with exit code 1, and its container is gone"}
output:
  description: What the command gave back.
  returned: when it has ended
  type: dict
  contains:
    exit_code:
      description: The exit code.
      type: int
      returned: always
      sample: 1
    ended_at:
      description: When it had ended, as it can be used in a file's name.
      type: str
      returned: always
      sample: 20261126T031415Z
    stdout:
      description: The end of its standard output, without secrets.
      type: str
      returned: always
      sample: ""
    stderr:
      description: The end of its standard error, without secrets, and what Compose said.
      type: str
      returned: always
      sample: "ModuleNotFoundError: No module named 'reportlab'"
    stdout_bytes:
      description: How much there was on standard output.
      type: int
      returned: always
      sample: 0
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
from ansible_collections.stackops.runbook.plugins.module_utils._compose_run import run_compose_run


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **docker_connection_arguments(),
            **one_project_arguments(),
            **remediation_arguments(),
            "service": {"type": "str", "required": True},
            "command": {"type": "list", "elements": "str", "required": True},
            "user": {"type": "str"},
            "entrypoint": {"type": "str"},
            "with_dependencies": {"type": "bool", "default": False},
            "command_timeout_seconds": {"type": "float", "default": 300},
        },
        supports_check_mode=True,
    )
    result = run_compose_run(module.params, module.check_mode)
    if result.get("failed"):
        module.fail_json(msg=result["summary"], **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
