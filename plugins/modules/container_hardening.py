#!/usr/bin/python
# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: container_hardening
short_description: Tell where containers of a stack may do more than they need, with the Compose lines that change it
version_added: 1.0.0
description:
  - Looks at how the engine runs the containers of Compose projects and tells of what gives more away than a service needs - C(privileged),
    the engine's socket, name spaces and directories of the host, capabilities, root, secrets in the environment, debug mode, a database at every
    address of the host, missing limits, restart policy and log rotation, and images whose name does not say which version it is.
  - Each finding has a severity, a reason, and the lines of a Compose file that change it.
  - Of variables only the names are returned.
author:
  - stackops.runbook contributors (@stackops)
extends_documentation_fragment:
  - stackops.runbook.attributes
  - stackops.runbook.attributes.read_only
  - stackops.runbook.attributes.action_group
  - stackops.runbook.docker_connection
  - stackops.runbook.project_selection
  - stackops.runbook.security_ignore
notes:
  - Many images start as root and become another user. Where this module may look at the host's processes, the user of the main process counts,
    else what the container was created with.
  - Where the engine cannot be reached, the module does not fail. The result's RV(status) is then V(unknown), and RV(errors) says what to do.
seealso:
  - module: stackops.runbook.image_scan
  - module: stackops.runbook.published_ports
  - ref: stackops.runbook.security_scan role <ansible_collections.stackops.runbook.security_scan_role>
    description: This module with image scans, log security and exposure, as one report.
"""

EXAMPLES = r"""
- name: See what the containers of all Compose projects of the host should not have
  stackops.runbook.container_hardening:
  become: true
  register: hardening

- name: Show the lines that change the worst
  ansible.builtin.debug:
    msg: "{{ item.title }}: {{ item.compose }}"
  loop: "{{ hardening.findings | selectattr('severity', 'equalto', 'critical') }}"
  loop_control:
    label: "{{ item.rule }}"

- name: Accept for some time what cannot be changed now
  stackops.runbook.container_hardening:
    project_name: shop
    ignore:
      - id: root-user
        object: shop/legacy
        reason: the vendor's image needs it, a new one is announced
        expires: "2027-03-31"
  become: true
"""

RETURN = r"""
status:
  description: V(critical), V(warning) or V(ok) by the worst finding; findings of severity V(info) do not count. V(unknown) without the engine.
  returned: always
  type: str
  sample: critical
summary:
  description: How many services and findings there are.
  returned: always
  type: str
  sample: "2 services: 1 critical, 4 warning, 6 info"
metrics:
  description: The number of findings by severity.
  returned: always
  type: dict
  sample:
    findings_critical: {value: 1, unit: ""}
errors:
  description: What could not be read, each with C(source), C(reason) and C(hint).
  returned: always
  type: list
  elements: dict
  sample: []
findings:
  description: What was found, once for each service.
  returned: always
  type: list
  elements: dict
  contains:
    rule:
      description: The rule, as it stands in O(ignore[].id).
      type: str
      returned: always
      sample: engine-socket
    severity:
      description: V(critical), V(warning) or V(info).
      type: str
      returned: always
      sample: critical
    object:
      description: Project and service.
      type: str
      returned: always
      sample: shop/backend
    project:
      description: The Compose project.
      type: str
      returned: always
      sample: shop
    service:
      description: The service.
      type: str
      returned: always
      sample: backend
    containers:
      description: Its containers that are like this.
      type: list
      elements: str
      returned: always
      sample: [shop-backend-1]
    title:
      description: What was found.
      type: str
      returned: always
      sample: shop/backend has the engine's socket
    reason:
      description: What follows from it.
      type: str
      returned: always
      sample: Whoever reaches the engine's socket starts a container with the host's disk in it, which is root. Read-only does not help.
    evidence:
      description: What it was seen by. It holds no values of variables.
      type: str
      returned: always
      sample: "/var/run/docker.sock:/var/run/docker.sock:ro"
    compose:
      description: Lines of a Compose file that change it, to be adapted.
      type: str
      returned: always
      sample: "services:\n  backend:\n    security_opt: [no-new-privileges:true]"
ignored:
  description: What O(ignore) covers.
  returned: always
  type: list
  elements: dict
  sample:
    - {id: root-user, object: shop/legacy, reason: the vendor's image needs it, expires: "2027-03-31"}
ignore_expired:
  description: Entries of O(ignore) that count no more.
  returned: always
  type: list
  elements: dict
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stackops.runbook.plugins.module_utils._arguments import docker_connection_arguments, project_selection_arguments
from ansible_collections.stackops.runbook.plugins.module_utils._container_hardening import check_hardening
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._ignores import ignore_arguments


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **docker_connection_arguments(),
            **project_selection_arguments(),
            "ignore": {"type": "list", "elements": "dict", "default": [], "options": ignore_arguments()},
        },
        supports_check_mode=True,
    )
    try:
        found = check_hardening(module.params)
    except CheckError as error:
        module.fail_json(msg=error.sentence)
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
